//! Commands, and text in which what is known only at run time is still open.

use serde::{Deserialize, Serialize};

/// A command.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Command {
    /// A string: `sh -eu -c`.
    Shell(Template),
    /// A list: a program and its arguments, no shell.
    Argv(Vec<Template>),
}

/// Text in which what is known only when the task runs is still open.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Template(pub Vec<Piece>);

/// A part of a [`Template`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Piece {
    /// As it is.
    Text(String),
    /// `${env.X}`: a variable that the task declares under `env`.
    Env(String),
    /// `${inputs}`
    Inputs,
    /// `${outputs}`
    Outputs,
}

impl Template {
    /// Text without open parts.
    pub fn text(text: impl Into<String>) -> Self {
        Self(vec![Piece::Text(text.into())])
    }

    /// As it was written (variables and matrix values filled in): what enters the key and what people see.
    pub fn source(&self) -> String {
        self.0
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => text.replace("${", "$${"),
                Piece::Env(name) => format!("${{env.{name}}}"),
                Piece::Inputs => "${inputs}".to_owned(),
                Piece::Outputs => "${outputs}".to_owned(),
            })
            .collect()
    }

    /// The text, where nothing in it is open.
    fn as_text(&self) -> Option<&str> {
        match self.0.as_slice() {
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }
}

impl Command {
    /// The program that the command starts first, where its first word names one plainly.
    pub fn first_word(&self) -> Option<&str> {
        match self {
            Self::Argv(argv) => argv.first()?.as_text(),
            Self::Shell(script) => match script.0.first()? {
                Piece::Text(text) => text.split_whitespace().next().filter(|word| is_plain(word)),
                _ => None,
            },
        }
    }

    /// For people: the script, or the arguments quoted for a shell.
    pub fn display(&self) -> String {
        match self {
            Self::Shell(script) => script.source(),
            Self::Argv(argv) => argv
                .iter()
                .map(|part| {
                    let text = part.source();
                    shlex::try_quote(&text).map(std::borrow::Cow::into_owned).unwrap_or(text)
                })
                .collect::<Vec<_>>()
                .join(" "),
        }
    }
}

/// Has it no meaning to a shell but itself?
fn is_plain(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_./+-".contains(&byte))
}

/// A command as it enters keys: the form is part of it, and arguments keep their boundaries and order.
pub(super) fn digestible(command: &Command) -> String {
    match command {
        Command::Shell(script) => format!("sh {}", script.source()),
        Command::Argv(argv) => {
            // A JSON array, because its escapes are specified.
            let parts: Vec<String> = argv.iter().map(Template::source).collect();
            format!("argv {}", serde_json::Value::from(parts))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_shows_what_was_written() {
        let template = Template(vec![
            Piece::Text("cp ${x} ".to_owned()),
            Piece::Inputs,
            Piece::Text(" ".to_owned()),
            Piece::Env("TO".to_owned()),
        ]);
        assert_eq!(template.source(), "cp $${x} ${inputs} ${env.TO}");
    }

    #[test]
    fn an_argv_is_shown_quoted() {
        let argv = Command::Argv(vec![Template::text("echo"), Template::text("a b")]);
        assert_eq!(argv.display(), "echo 'a b'");
    }
}
