//! Reads the values of one task, group or file: fills in variables, resolves paths, and reports what is
//! wrong with a value. What the values are for, the callers know.
//!
//! A value of the wrong shape (a list for a text) was reported by [`super::shape`] before; here it is
//! simply none.

use std::borrow::Cow;
use std::time::Duration;

use super::context::{Facts, Scope, Shared};
use super::fill::Mode;
use super::tree::{Kind, Node};
use super::{paths, scalar};
use crate::model::{
    At, Command, Diagnostic, EnvVar, Pattern, Piece, Template, WorkspacePath, parse_bytes, parse_duration,
};

/// Reads values in the context of one task (or gate, or file).
pub(super) struct Reader<'a> {
    pub(super) shared: &'a Shared<'a>,
    pub(super) scope: &'a Scope<'a>,
    /// None outside tasks and gates.
    pub(super) facts: Option<&'a Facts>,
    pub(super) matrix: &'a [(String, String)],
    /// None where the environment is not known: outside tasks, and in what it may itself be made from.
    pub(super) env: Option<&'a [EnvVar]>,
}

impl Reader<'_> {
    pub(super) fn report(&self, diagnostic: Diagnostic) {
        self.shared.problems.push(diagnostic);
    }

    /// The text of a scalar, placeholders filled in.
    pub(super) fn text(&self, node: &Node<'_>) -> Option<String> {
        self.filled(node, Mode::Text).map(Cow::into_owned)
    }

    /// The same without a copy where nothing is filled in.
    pub(super) fn filled<'n>(&self, node: &'n Node<'_>, mode: Mode) -> Option<Cow<'n, str>> {
        let text = node.scalar()?;
        if !self.shared.spend(text.len() + 64, node.at) {
            return None;
        }
        if !text.contains("${") {
            return Some(Cow::Borrowed(text));
        }
        let template = self.assemble(text, node.at, mode)?;
        let whole: String = template
            .0
            .into_iter()
            .filter_map(|piece| if let Piece::Text(text) = piece { Some(text) } else { None })
            .collect();
        Some(Cow::Owned(whole))
    }

    /// A string in which parts stay open.
    pub(super) fn template(&self, node: &Node<'_>, mode: Mode) -> Option<Template> {
        let text = node.scalar()?;
        if !self.shared.spend(text.len() + 64, node.at) {
            return None;
        }
        if text.contains("${") { self.assemble(text, node.at, mode) } else { Some(Template::text(text)) }
    }

    /// The texts of a list.
    pub(super) fn texts(&self, node: &Node<'_>) -> Vec<(String, At)> {
        let texts: Vec<(String, At)> =
            node.items().iter().filter_map(|item| Some((self.text(item)?, item.at))).collect();
        self.warn_duplicates(texts.iter().map(|(text, at)| (text.as_str(), *at)));
        texts
    }

    fn warn_duplicates<'t>(&self, texts: impl Iterator<Item = (&'t str, At)>) {
        let mut sorted: Vec<_> = texts.collect();
        if sorted.len() < 2 {
            return;
        }
        sorted.sort_unstable_by_key(|(text, at)| (*text, at.offset));
        for pair in sorted.windows(2) {
            if let [(first, first_at), (second, second_at)] = pair
                && first == second
                && first_at != second_at
            {
                self.report(
                    Diagnostic::warning("manifest::duplicate_entry", format!("`{second}` is listed twice"))
                        .label(*second_at, "the second time")
                        .label(*first_at, "the first time")
                        .help("remove one of them"),
                );
            }
        }
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self, node: &Node<'_>) -> Option<bool> {
        match scalar::resolve(&self.filled(node, Mode::Text)?) {
            scalar::Scalar::Bool(value) => Some(value),
            _ => self.refused(node, "manifest::wrong_type", "is neither true nor false"),
        }
    }

    /// A whole number of at least `least`.
    pub(super) fn integer(&self, node: &Node<'_>, least: u32) -> Option<u32> {
        let text = self.filled(node, Mode::Text)?;
        match text.parse().ok().filter(|number| *number >= least) {
            Some(number) => Some(number),
            None => {
                self.refused(node, "manifest::bad_number", &format!("is no whole number of at least {least}"))
            }
        }
    }

    /// Such as `30m`.
    pub(super) fn duration(&self, node: &Node<'_>) -> Option<Duration> {
        let text = self.filled(node, Mode::Text)?;
        match parse_duration(&text) {
            Ok(duration) => Some(duration),
            Err(error) => self.refused(node, "manifest::bad_duration", &format!("is no duration: {error}")),
        }
    }

    /// Such as `10GB`.
    pub(super) fn size(&self, node: &Node<'_>) -> Option<u64> {
        let text = self.filled(node, Mode::Text)?;
        match parse_bytes(&text) {
            Ok(bytes) => Some(bytes),
            Err(error) => self.refused(node, "manifest::bad_size", &format!("is no size: {error}")),
        }
    }

    fn refused<T>(&self, node: &Node<'_>, code: &str, what: &str) -> Option<T> {
        self.report(
            Diagnostic::error(code, format!("`{}` {what}", node.scalar().unwrap_or_default()))
                .label(node.at, what.to_owned()),
        );
        None
    }

    /// A path or glob.
    pub(super) fn pattern(&self, node: &Node<'_>) -> Option<Pattern> {
        let text = self.filled(node, Mode::Text)?;
        let (negated, glob) = match text.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, &*text),
        };
        let parsed = self.parsed(glob, node.at)?;
        Some(Pattern {
            glob: parsed.glob,
            negated,
            literal: parsed.literal,
            folder: parsed.folder,
            at: node.at,
        })
    }

    /// A list of paths and globs.
    pub(super) fn patterns(&self, node: &Node<'_>) -> Vec<Pattern> {
        let patterns: Vec<Pattern> = node.items().iter().filter_map(|item| self.pattern(item)).collect();
        self.warn_duplicates(
            patterns
                .iter()
                .filter(|pattern| !pattern.negated)
                .map(|pattern| (pattern.glob.as_str(), pattern.at)),
        );
        patterns
    }

    fn parsed(&self, text: &str, at: At) -> Option<paths::Parsed> {
        match paths::parse(&self.scope.file.folder, text) {
            Ok(parsed) => Some(parsed),
            Err(fault) => {
                self.report(paths::diagnostic(&fault, text, at));
                None
            }
        }
    }

    /// A path without glob characters, and whether it was written with a trailing `/`.
    pub(super) fn path(&self, node: &Node<'_>) -> Option<(WorkspacePath, bool)> {
        let text = self.filled(node, Mode::Text)?;
        let parsed = self.parsed(&text, node.at)?;
        if parsed.literal.is_none() {
            self.report(
                Diagnostic::error(
                    "manifest::glob_in_path",
                    format!("`{text}` is a glob, but one path is meant"),
                )
                .label(node.at, "holds glob characters")
                .help("write one path; `\\` before a special character makes it an ordinary one"),
            );
        }
        Some((parsed.literal?, parsed.folder))
    }

    /// A path of `outputs`.
    pub(super) fn output(&self, node: &Node<'_>) -> Option<(WorkspacePath, bool)> {
        let text = self.filled(node, Mode::Text)?;
        let parsed = self.parsed(&text, node.at)?;
        let Some(path) = parsed.literal else {
            let folder = text.split(['*', '?', '[', '{']).next().and_then(|fixed| fixed.rsplit_once('/'));
            let help = match folder {
                Some((folder, _)) => format!("name the folder: `{folder}/`"),
                None => "name each file, or a folder that holds them: `out/`".to_owned(),
            };
            self.report(
                Diagnostic::error("manifest::glob_in_output", "an output is a path, not a glob")
                    .label(node.at, "what a task makes must be known beforehand")
                    .help(help),
            );
            return None;
        };
        let reserved = path.components().any(|part| part == b".git" || part == b".conductor");
        if path.is_root() || reserved {
            let whose = if path.is_root() { "the whole workspace" } else { "conductor's own, or git's" };
            self.report(
                Diagnostic::error("manifest::reserved_output", format!("`{text}` cannot be an output"))
                    .label(node.at, whose)
                    .help("write into a folder of its own"),
            );
            return None;
        }
        Some((path, parsed.folder))
    }

    /// A command: a string for the shell, or a list of arguments.
    pub(super) fn command(&self, node: &Node<'_>, lists: bool) -> Option<Command> {
        let empty = match &node.kind {
            Kind::Scalar { text, .. } => text.trim().is_empty() && !node.is_null(),
            Kind::List(items) => items.first().is_none_or(|first| first.scalar() == Some("")),
            Kind::Map(_) => return None,
        };
        if empty {
            self.report(
                Diagnostic::error("manifest::empty_command", "the command is empty")
                    .label(node.at, "nothing to run")
                    .help("a string is run by `sh -eu -c`, a list is a program with its arguments"),
            );
            return None;
        }
        match &node.kind {
            Kind::List(items) => items
                .iter()
                .map(|item| self.template(item, Mode::Command { lists, argv: true }))
                .collect::<Option<Vec<_>>>()
                .map(Command::Argv),
            _ => self.template(node, Mode::Command { lists, argv: false }).map(Command::Shell),
        }
    }
}
