//! Reads the values of one task, group or file: fills in variables, resolves paths, and reports what is
//! wrong with a value. What the values are for, the callers know.
//!
//! A value of the wrong shape (a list for a text) was reported by [`super::shape`] before; here it is
//! simply none.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

use super::include::File;
use super::names::Names;
use super::problems::{Problems, did_you_mean};
use super::syntax::{Kind, Node};
use super::template::{Assembly, Found, Placeholder, split};
use super::{paths, scalar};
use crate::model::{
    At, Command, Diagnostic, EnvValue, EnvVar, Pattern, Piece, Template, WorkspacePath, parse_bytes,
    parse_duration,
};

/// How much text and how many list items (64 bytes each) variables, defaults and matrices may expand
/// to: a small file must not make a plan that fills the memory.
const MAX_EXPANSION: usize = 512 << 20;

/// What all readers share.
pub(super) struct Shared<'a> {
    pub(super) problems: &'a Problems,
    pub(super) names: Names,
    /// conductor's own environment.
    pub(super) caller: &'a dyn Fn(&str) -> Option<String>,
    /// What was asked of it.
    pub(super) looked_up: RefCell<BTreeMap<String, Option<String>>>,
    /// All pools by their whole names: how many tasks at once.
    pub(super) pools: RefCell<BTreeMap<String, u32>>,
    /// Adapters that the manifest defines, as JSON text.
    pub(super) adapters: RefCell<Vec<(String, String)>>,
    /// What is left of [`MAX_EXPANSION`].
    expansion: Cell<usize>,
}

impl<'a> Shared<'a> {
    pub(super) fn new(problems: &'a Problems, caller: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            problems,
            names: Names::default(),
            caller,
            looked_up: RefCell::default(),
            pools: RefCell::default(),
            adapters: RefCell::default(),
            expansion: Cell::new(MAX_EXPANSION),
        }
    }

    /// Counts `bytes` of expanded text; false when the limit is reached.
    pub(super) fn spend(&self, bytes: usize, at: At) -> bool {
        let left = self.expansion.get();
        if left < bytes {
            if left > 0 {
                self.problems.push(
                    Diagnostic::error(
                        "manifest::expansion_too_large",
                        "variables, defaults and matrices expand to more than 512 MiB",
                    )
                    .label(at, "the limit is reached here"),
                );
            }
            self.expansion.set(0);
            return false;
        }
        self.expansion.set(left - bytes);
        true
    }
}

/// A variable of `vars`.
pub(super) struct Var {
    pub(super) name: String,
    pub(super) value: String,
    pub(super) at: At,
    pub(super) used: Cell<bool>,
}

/// A file with what holds for all of its tasks.
pub(super) struct Scope<'a> {
    pub(super) file: &'a File<'a>,
    pub(super) root: &'a Node<'a>,
    pub(super) vars: Vec<Var>,
}

/// What `${task.…}` stands for.
#[derive(Clone, Default)]
pub(super) struct Facts {
    pub(super) id: String,
    pub(super) title: Option<String>,
    pub(super) role: Option<String>,
    pub(super) group: Option<String>,
}

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
    fn report(&self, diagnostic: Diagnostic) {
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

    /// None when a placeholder was refused.
    fn assemble(&self, text: &str, at: At, mode: Mode) -> Option<Template> {
        let mut assembly = Assembly::default();
        let mut sound = true;
        let mut rest = text;
        while let Some((before, found, after)) = split(rest) {
            assembly.text(before);
            let start = text.len() - rest.len() + before.len();
            rest = after;
            match found {
                Found::Escape => assembly.text("${"),
                Found::Open(name) => match Placeholder::parse(name) {
                    Some(placeholder) => {
                        let token = &text[start..text.len() - after.len()];
                        let place = || self.place(text, start, token, at);
                        match self.fill(placeholder, token == text, mode, &place) {
                            Some(piece) => {
                                if let Piece::Text(value) = piece {
                                    sound &= self.shared.spend(value.len(), at);
                                    if sound {
                                        assembly.text(&value);
                                    }
                                } else {
                                    assembly.open(piece);
                                }
                            }
                            None => sound = false,
                        }
                    }
                    None if matches!(mode, Mode::Command { .. }) => {
                        assembly.text("${");
                        rest = &text[start + 2..];
                    }
                    None => {
                        let token = &text[start..text.len() - after.len()];
                        self.report(unknown_placeholder(token).label(
                            self.place(text, start, token, at),
                            "conductor knows vars., env., task., matrix., inputs and outputs",
                        ));
                        sound = false;
                    }
                },
                Found::Unclosed if matches!(mode, Mode::Command { .. }) && !Placeholder::begins(after) => {
                    assembly.text("${");
                }
                Found::Unclosed => {
                    self.report(
                        Diagnostic::error("manifest::unclosed_placeholder", "a `${` without its `}`")
                            .label(self.place(text, start, "${", at), "begins here")
                            .help("write `$${` for a literal `${`"),
                    );
                    sound = false;
                }
            }
        }
        assembly.text(rest);
        sound.then(|| assembly.finish())
    }

    /// The place in the source of `token`, which begins at `start` of `text`. Quoting and folding make
    /// the source differ from the text, so the token is sought: as many times as it occurs before.
    fn place(&self, text: &str, start: usize, token: &str, at: At) -> At {
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
        if let Some(var) = vars.iter().find(|var| var.name == name) {
            var.used.set(true);
            return Some(var.value.clone());
        }
        let known = vars.iter().map(|var| var.name.as_str());
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
        let Some(var) = env.iter().find(|var| var.name == name) else {
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

fn unknown_placeholder(token: &str) -> Diagnostic {
    Diagnostic::error("manifest::unknown_placeholder", format!("`{token}` stands for nothing"))
        .help("write `$${` for a literal `${`")
}
