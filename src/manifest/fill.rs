//! Fills in `${…}`: which placeholders a string may hold, and what they stand for.

use super::problems::did_you_mean;
use super::reader::Reader;
use super::template::{Assembly, Found, Placeholder, split};
use crate::model::{At, Diagnostic, EnvValue, Piece, Template};

/// Which placeholders a string may hold.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// All are filled in now; unknown ones are errors.
    Text,
    /// Agents' instructions: `${env.X}`, `${inputs}` and `${outputs}` stay open; unknown ones are errors.
    Instructions,
    /// A command: the same stay open, and everything else is the shell's.
    Command {
        /// Are there inputs and outputs to speak of?
        lists: bool,
        /// Part of an argv list.
        argv: bool,
    },
}

impl Reader<'_> {
    /// `text`, which stands at `at`, with its placeholders filled in or left open. None when one was
    /// refused.
    pub(super) fn assemble(&self, text: &str, at: At, mode: Mode) -> Option<Template> {
        let is_command = matches!(mode, Mode::Command { .. });
        let literal = || Some(Piece::Text("${".to_owned()));
        let mut assembly = Assembly::default();
        let mut sound = true;
        let mut rest = text;
        while let Some((before, found, after)) = split(rest) {
            assembly.text(before);
            let start = text.len() - rest.len() + before.len();
            let token = &text[start..text.len() - after.len()];
            let place = || self.place(text, start, token, at);
            rest = after;
            let piece = match found {
                Found::Escape => literal(),
                Found::Open(name) => match Placeholder::parse(name) {
                    Some(placeholder) => self.fill(placeholder, token == text, mode, &place),
                    None if is_command => {
                        // There may be one of conductor's inside: `${OUT:-${vars.out}}`.
                        rest = &text[start + 2..];
                        literal()
                    }
                    None => self.refuse(unknown_placeholder(token, place())),
                },
                Found::Unclosed if is_command && !Placeholder::begins(after) => literal(),
                Found::Unclosed => self.refuse(unclosed_placeholder(place())),
            };
            match piece {
                Some(Piece::Text(value)) if self.shared.spend(value.len(), at) => assembly.text(&value),
                Some(Piece::Text(_)) | None => sound = false,
                Some(open) => assembly.open(open),
            }
        }
        assembly.text(rest);
        sound.then(|| assembly.finish())
    }

    fn refuse<T>(&self, diagnostic: Diagnostic) -> Option<T> {
        self.report(diagnostic);
        None
    }

    /// The place in the source of `token`, which begins at `start` of `text`. Quoting and folding make
    /// the source differ from the text, so the token is sought: as many times as it occurs before.
    fn place(&self, text: &str, start: usize, token: &str, at: At) -> At {
        if self.shared.problems.is_full() {
            return at;
        }
        let source = self.scope.file.text.get(at.offset as usize..).unwrap_or_default();
        let before = text[..start].matches(token).count();
        let Some((found, _)) = source.match_indices(token).nth(before) else { return at };
        let passed = &source[..found];
        let (lines, column) = match passed.rfind('\n') {
            Some(newline) => (passed.matches('\n').count(), passed[newline + 1..].chars().count() + 1),
            None => (0, at.column as usize + passed.chars().count()),
        };
        let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        At {
            offset: at.offset + small(found),
            length: small(token.len()),
            line: at.line + small(lines),
            column: small(column),
            ..at
        }
    }

    /// What a placeholder becomes; none when it was refused.
    fn fill(
        &self,
        placeholder: Placeholder<'_>,
        alone: bool,
        mode: Mode,
        place: &dyn Fn() -> At,
    ) -> Option<Piece> {
        match placeholder {
            Placeholder::Var(name) => self.var(name, place).map(Piece::Text),
            Placeholder::Matrix(name) => self.matrix_value(name, place).map(Piece::Text),
            Placeholder::Task(name) => self.fact(name, place).map(Piece::Text),
            Placeholder::Env(name) => self.env_value(name, mode, place),
            Placeholder::Inputs => self.list(Piece::Inputs, alone, mode, place),
            Placeholder::Outputs => self.list(Piece::Outputs, alone, mode, place),
        }
    }

    fn var(&self, name: &str, place: &dyn Fn() -> At) -> Option<String> {
        let vars = &self.scope.vars;
        if let Some(var) = vars.get(name) {
            var.used.set(true);
            return Some(var.value.clone());
        }
        let known = vars.keys().map(String::as_str);
        self.report(
            Diagnostic::error("manifest::unknown_var", format!("there is no variable `{name}`"))
                .label(place(), "not under `vars` of this file")
                .help(did_you_mean(self.shared.problems, name, "variables", known)),
        );
        None
    }

    fn matrix_value(&self, name: &str, place: &dyn Fn() -> At) -> Option<String> {
        if let Some((_, value)) = self.matrix.iter().find(|(key, _)| key == name) {
            return Some(value.clone());
        }
        let known = self.matrix.iter().map(|(key, _)| key.as_str());
        self.report(
            Diagnostic::error("manifest::unknown_matrix_key", format!("the matrix has no key `{name}`"))
                .label(place(), "not under `matrix` of this task")
                .help(did_you_mean(self.shared.problems, name, "matrix keys", known)),
        );
        None
    }

    fn fact(&self, name: &str, place: &dyn Fn() -> At) -> Option<String> {
        let known = ["id", "title", "role", "group"];
        let (message, help) = match self.facts {
            Some(facts) => match name {
                "id" => return Some(facts.id.clone()),
                "title" => return Some(facts.title.clone().unwrap_or_default()),
                "role" => return Some(facts.role.clone().unwrap_or_default()),
                "group" => return Some(facts.group.clone().unwrap_or_default()),
                _ => (
                    format!("a task has no `{name}` to fill in"),
                    did_you_mean(self.shared.problems, name, "facts of a task", known),
                ),
            },
            None => ("there is no task here".to_owned(), "`${task.…}` belongs into a task".to_owned()),
        };
        self.report(
            Diagnostic::error("manifest::unknown_task_field", message)
                .label(place(), "cannot be filled in")
                .help(help),
        );
        None
    }

    fn env_value(&self, name: &str, mode: Mode, place: &dyn Fn() -> At) -> Option<Piece> {
        let Some(env) = self.env else {
            self.report(
                Diagnostic::error("manifest::env_not_here", "the environment is not known here")
                    .label(place(), "cannot be filled in")
                    .help("put the value under `vars`, and use `${vars.…}` both here and under `env`"),
            );
            return None;
        };
        let found = env.binary_search_by(|var| var.name.as_str().cmp(name)).ok();
        let Some(var) = found.and_then(|index| env.get(index)) else {
            let known = env.iter().map(|var| var.name.as_str());
            let help = did_you_mean(self.shared.problems, name, "variables under `env`", known);
            self.report(
                Diagnostic::error("manifest::unknown_env", format!("`{name}` is not declared under `env`"))
                    .label(place(), "not in this task's environment")
                    .help(match mode {
                        Mode::Command { .. } => format!("{help}; the shell's own variables are `$NAME`"),
                        _ => help,
                    }),
            );
            return None;
        };
        match (&var.value, mode) {
            (_, Mode::Command { .. } | Mode::Instructions) => Some(Piece::Env(name.to_owned())),
            (EnvValue::Literal(value), _) => Some(Piece::Text(value.clone())),
            (EnvValue::Caller, _) => {
                let value = (self.shared.caller)(name);
                self.shared.looked_up.borrow_mut().insert(name.to_owned(), value.clone());
                if value.is_none() {
                    self.report(
                        Diagnostic::error("manifest::unset_env", format!("`{name}` is not set"))
                            .label(place(), "needs its value")
                            .label(var.at, "taken from conductor's own environment")
                            .help(format!("set it: `{name}=… conductor …`")),
                    );
                }
                value.map(Piece::Text)
            }
        }
    }

    fn list(&self, piece: Piece, alone: bool, mode: Mode, place: &dyn Fn() -> At) -> Option<Piece> {
        match mode {
            Mode::Command { lists: true, argv: true } if !alone => {
                self.report(
                    Diagnostic::error(
                        "manifest::placeholder_in_argument",
                        "a list of paths inside a longer argument",
                    )
                    .label(place(), "becomes several arguments")
                    .help("make it an element of its own, or write the command as one string for the shell"),
                );
                None
            }
            Mode::Command { lists: true, .. } | Mode::Instructions => Some(piece),
            Mode::Command { lists: false, .. } | Mode::Text => {
                self.report(
                    Diagnostic::error("manifest::placeholder_not_here", "paths cannot be filled in here")
                        .label(place(), "only in a task's commands and instructions"),
                );
                None
            }
        }
    }
}

fn unknown_placeholder(token: &str, at: At) -> Diagnostic {
    Diagnostic::error("manifest::unknown_placeholder", format!("`{token}` stands for nothing"))
        .label(at, "conductor knows vars., env., task., matrix., inputs and outputs")
        .help("write `$${` for a literal `${`")
}

fn unclosed_placeholder(at: At) -> Diagnostic {
    Diagnostic::error("manifest::unclosed_placeholder", "a `${` without its `}`")
        .label(at, "begins here")
        .help("write `$${` for a literal `${`")
}
