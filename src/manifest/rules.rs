//! What the keys of one task must and must not say together.

use std::collections::HashSet;

use super::problems::Problems;
use super::reader::Reader;
use super::task::Fields;
use crate::model::{At, Diagnostic, Integrate, Isolation, Reference, Task, Work};

/// Checks `task`, whose key stands at `at`.
pub(super) fn check(reader: &Reader<'_>, at: At, fields: &Fields<'_>, task: &Task) {
    let rules = Rules { problems: reader.shared.problems, fields, task, at };
    rules.inputs();
    rules.outputs();
    rules.edits();
    rules.isolation();
    rules.references();
    rules.environment();
}

struct Rules<'a> {
    problems: &'a Problems,
    fields: &'a Fields<'a>,
    task: &'a Task,
    at: At,
}

impl Rules<'_> {
    /// Where `key` is set, by the task or by `defaults`.
    fn set(&self, key: &str) -> Option<At> {
        self.fields.entry(key).map(|entry| entry.key_at)
    }

    fn inputs(&self) {
        let Some(at) = self.set("inputs") else {
            return self.problems.push(
                Diagnostic::error(
                    "manifest::missing_inputs",
                    format!("`{}` does not say what it reads", self.task.id),
                )
                .label(self.at, "no `inputs`")
                .help("list what it reads, or write `inputs: []` when it reads nothing"),
            );
        };
        let inputs = &self.task.inputs;
        if !inputs.is_empty() && inputs.iter().all(|pattern| pattern.negated) {
            self.problems.push(
                Diagnostic::warning("manifest::only_exclusions", "these inputs exclude, but include nothing")
                    .label(at, "every entry begins with `!`")
                    .help("say first what is read, such as `\"**\"`"),
            );
        }
    }

    fn outputs(&self) {
        // They are sorted by path.
        for pair in self.task.outputs.windows(2) {
            if let [first, second] = pair
                && first.path == second.path
            {
                self.problems.push(
                    Diagnostic::error(
                        "manifest::duplicate_output",
                        format!("`{}` is an output twice", first.path),
                    )
                    .label(second.at, "the second time")
                    .label(first.at, "the first time")
                    .help("remove one of them"),
                );
            }
        }
    }

    fn edits(&self) {
        let Some(edits) = self.set("edits").filter(|_| !self.task.edits.is_empty()) else { return };
        let help = "write `isolation: worktree` or `isolation: sandbox`";
        match (self.set("isolation"), self.task.isolation, &self.task.work) {
            (Some(isolation), Isolation::None, _) => self.problems.push(
                Diagnostic::error("manifest::edits_in_place", "`edits` cannot be made in the working tree")
                    .label(isolation, "no isolation")
                    .label(edits, "existing files change")
                    .help(help),
            ),
            (None, _, Work::Run(_)) => self.problems.push(
                Diagnostic::error(
                    "manifest::edits_need_isolation",
                    "a command with `edits` must say where it runs",
                )
                .label(edits, "existing files change")
                .help(help),
            ),
            _ => {}
        }
    }

    /// Keys that mean something in a sandbox or worktree alone. What `defaults` say is for tasks of both
    /// kinds.
    fn isolation(&self) {
        let isolation = self.task.isolation;
        if let Some(entry) = self.fields.own("integrate")
            && self.task.integrate == Integrate::Branch
            && isolation != Isolation::Worktree
        {
            self.problems.push(
                Diagnostic::error(
                    "manifest::integrate_needs_worktree",
                    "only a worktree has a branch to stay on",
                )
                .label(entry.key_at, "not a worktree")
                .help("write `isolation: worktree`"),
            );
        }
        let idle: &[&str] = match isolation {
            // Not `sees`: it is what `--isolation sandbox` goes by for a task that needs none by itself.
            Isolation::None => &["writes", "copy", "setup", "network"],
            Isolation::Sandbox => &["copy", "setup"],
            Isolation::Worktree => &[],
        };
        for entry in idle.iter().filter_map(|key| self.fields.own(key)) {
            if entry.key == "network" && self.task.network {
                continue;
            }
            let where_it_counts = if isolation == Isolation::None { "sandbox" } else { "worktree" };
            self.problems.push(
                Diagnostic::warning("manifest::no_effect", format!("`{}` has no effect here", entry.key))
                    .label(entry.key_at, format!("counts in a {where_it_counts}"))
                    .help(format!("write `isolation: {where_it_counts}`, or remove it")),
            );
        }
    }

    fn references(&self) {
        for reference in self.task.needs.iter().chain(&self.task.after) {
            match reference {
                Reference::Task(id, at) if *id == self.task.id => {
                    self.problems.push(self_need(id.as_str(), *at));
                }
                Reference::Group(id, at) if self.task.group.as_ref() == Some(id) => self.problems.push(
                    Diagnostic::error(
                        "manifest::needs_own_group",
                        format!("`{}` waits for its own group", self.task.id),
                    )
                    .label(*at, "the task is a member")
                    .help("name the members that must go first"),
                ),
                _ => {}
            }
        }
        if self.task.after.is_empty() {
            return;
        }
        let needs: HashSet<&str> = self.task.needs.iter().map(name).collect();
        for reference in self.task.after.iter().filter(|reference| needs.contains(name(reference))) {
            self.problems.push(
                Diagnostic::warning(
                    "manifest::needs_and_after",
                    format!("`{}` is under both `needs` and `after`", name(reference)),
                )
                .label(reference.at(), "has no effect")
                .help("`needs` orders too: remove it from `after`"),
            );
        }
    }

    fn environment(&self) {
        let Some(secrets) = self.set("secrets") else { return };
        for var in &self.task.env {
            if self.task.secrets.binary_search(&var.name).is_ok() {
                self.problems.push(
                    Diagnostic::error(
                        "manifest::env_and_secret",
                        format!("`{}` is both under `env` and under `secrets`", var.name),
                    )
                    .label(var.at, "would become part of the key")
                    .label(secrets, "never part of a key")
                    .help("remove it from one of them"),
                );
            }
        }
    }
}

/// The diagnostic for a task or group that is among what it waits for.
pub(super) fn self_need(id: &str, at: At) -> Diagnostic {
    Diagnostic::error("manifest::self_need", format!("`{id}` waits for itself"))
        .label(at, "itself")
        .help("remove it")
}

/// The whole id that a reference stands for.
pub(super) fn name(reference: &Reference) -> &str {
    match reference {
        Reference::Task(id, _) => id.as_str(),
        Reference::Group(id, _) => id.as_str(),
    }
}
