//! `${…}` in the strings of a manifest: finds placeholders and says what they stand for. Which of them a
//! string may hold, and what their values are, [`super::reader`] decides.

use crate::model::{Piece, Template};

/// What follows in a string.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Found<'t> {
    /// `$${`: a literal `${`.
    Escape,
    /// `${name}`
    Open(&'t str),
    /// `${` without an end.
    Unclosed,
}

/// Splits `text` at its first `${` or `$${`: what stands before, what it is, what follows.
pub(super) fn split(text: &str) -> Option<(&str, Found<'_>, &str)> {
    let start = text.find("${")?;
    let (before, inside) = (&text[..start], &text[start + 2..]);
    if let Some(before) = before.strip_suffix('$') {
        return Some((before, Found::Escape, inside));
    }
    Some(match inside.find('}') {
        Some(end) => (before, Found::Open(&inside[..end]), &inside[end + 1..]),
        None => (before, Found::Unclosed, inside),
    })
}

/// The placeholders of conductor; all others are the shell's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Placeholder<'t> {
    Var(&'t str),
    Env(&'t str),
    Task(&'t str),
    Matrix(&'t str),
    Inputs,
    Outputs,
}

impl<'t> Placeholder<'t> {
    /// Reads what stands between the braces.
    pub(super) fn parse(name: &'t str) -> Option<Self> {
        match name {
            "inputs" => return Some(Self::Inputs),
            "outputs" => return Some(Self::Outputs),
            _ => {}
        }
        let (prefix, name) = name.split_once('.')?;
        match prefix {
            "vars" => Some(Self::Var(name)),
            "env" => Some(Self::Env(name)),
            "task" => Some(Self::Task(name)),
            "matrix" => Some(Self::Matrix(name)),
            _ => None,
        }
    }

    /// Does a text that follows `${` begin like one of conductor's placeholders with a name?
    pub(super) fn begins(inside: &str) -> bool {
        ["vars.", "env.", "task.", "matrix."].iter().any(|prefix| inside.starts_with(prefix))
    }
}

/// Puts pieces together, joining neighbouring texts.
#[derive(Default)]
pub(super) struct Assembly(Template);

impl Assembly {
    /// Adds literal text.
    pub(super) fn text(&mut self, text: &str) {
        match self.0.0.last_mut() {
            Some(Piece::Text(last)) => last.push_str(text),
            _ if text.is_empty() => {}
            _ => self.0.0.push(Piece::Text(text.to_owned())),
        }
    }

    /// Adds a part that stays open.
    pub(super) fn open(&mut self, piece: Piece) {
        self.0.0.push(piece);
    }

    /// The whole.
    pub(super) fn finish(self) -> Template {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_escaped_placeholder_is_literal() {
        assert_eq!(split("a $${b}"), Some(("a ", Found::Escape, "b}")));
        assert_eq!(split("$$${b}"), Some(("$", Found::Escape, "b}")));
        assert_eq!(split("a ${b} c"), Some(("a ", Found::Open("b"), " c")));
        assert_eq!(split("a ${b"), Some(("a ", Found::Unclosed, "b")));
        assert_eq!(split("a $b {c}"), None);
    }

    #[test]
    fn only_conductors_prefixes_are_placeholders() {
        assert_eq!(Placeholder::parse("vars.x"), Some(Placeholder::Var("x")));
        assert_eq!(Placeholder::parse("x:-1"), None);
        assert_eq!(Placeholder::parse("other.x"), None);
        assert_eq!(Placeholder::parse("inputs"), Some(Placeholder::Inputs));
    }
}
