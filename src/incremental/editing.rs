//! What is wrong with who edits and who reads the files of the tree. That depends on what lies in the tree, so it
//! is told of a manifest together with a tree, and of files that editors make when they have made them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Change;
use super::chain::{Chains, Editor, carried};
use super::engine::Engine;
use crate::graph::TaskIndex;
use crate::model::{At, Diagnostic, Integrate, Isolation, Pattern, Task, WorkspacePath};
use crate::workspace::Globs;

/// A task that reads a path.
struct Read {
    task: Arc<Task>,
    path: WorkspacePath,
    at: At,
}

impl Engine {
    /// Two editors of one file that no need orders, an output that another task edits, a reader that does not wait
    /// for the last editor.
    pub fn editing_errors(&mut self) -> Vec<Diagnostic> {
        let chains = self.chains();
        if chains.editors.is_empty() {
            return Vec::new();
        }
        let mut errors = self.edited_outputs(&chains);
        let mut paths: BTreeMap<WorkspacePath, Vec<usize>> = BTreeMap::new();
        for (at, editor) in chains.editors.iter().enumerate() {
            for path in self.domain(&chains, editor) {
                paths.entry(path).or_default().push(at);
            }
        }
        let mut told = BTreeSet::new();
        for (path, editors) in &paths {
            for pair in editors.windows(2) {
                let &[first, second] = pair else { continue };
                if !chains.editors[second].before.contains(&first) && told.insert((first, second)) {
                    errors.push(unordered(&chains.editors[first], &chains.editors[second], path));
                }
            }
        }
        for (path, last) in self.unordered_readers(&chains, &paths) {
            errors.push(self.unordered_reader(&path, &chains.editors[last]));
        }
        errors
    }

    /// Tasks that run in the tree although what they need stays on a branch, where they cannot find it.
    pub fn misplaced_readers(&self, scope: &[TaskIndex]) -> Vec<Diagnostic> {
        let mut errors = Vec::new();
        for index in scope.iter().copied() {
            if self.plan.is_hidden(index) || !self.is_candidate(index) {
                continue;
            }
            let Ok(task) = self.plan.task(index) else { continue };
            if task.is_gate() || self.isolation_of(&task) != Isolation::None {
                continue;
            }
            let carrying = self.plan.deps(index).filter(|(_, kinds)| kinds.carries_outputs());
            let needed = carrying.filter_map(|(dep, _)| self.plan.task(dep).ok());
            if let Some(maker) = needed.into_iter().find(|dep| dep.integrate == Integrate::Branch) {
                let message = format!("{} needs {}, whose result stays on its branch", task.id, maker.id);
                errors.push(
                    Diagnostic::error("build::on_branch", message)
                        .label(task.at, "runs in the working tree")
                        .label(maker.at, "`integrate: branch`")
                        .help(format!(
                            "write `isolation: worktree` for {}, or `integrate: tree` for {}",
                            task.id, maker.id
                        )),
                );
            }
        }
        errors
    }

    /// Outputs that an editor of another task may change.
    fn edited_outputs(&self, chains: &Chains) -> Vec<Diagnostic> {
        let mut errors = Vec::new();
        let tasks = self.plan.indices().filter(|index| !self.plan.is_hidden(*index));
        for task in tasks.filter_map(|index| self.plan.task(index).ok()) {
            for output in &task.outputs {
                let hits = |editor: &&Editor| {
                    let within =
                        |pattern: &Pattern| !pattern.negated && pattern.base().is_within(&output.path);
                    editor.task.id != task.id
                        && (editor.globs.matches(&output.path)
                            || (output.folder && editor.task.edits.iter().any(within)))
                };
                let Some(editor) = chains.editors.iter().find(hits) else { continue };
                let message = format!("{} edits {}, which {} makes", editor.task.id, output.path, task.id);
                let help = format!(
                    "let {} read it under `inputs`, or exclude it: `!{}`",
                    editor.task.id, output.path
                );
                errors.push(
                    Diagnostic::error("edits::output", message)
                        .label(edits_at(editor), "edited here")
                        .label(output.at, "and made here")
                        .help(help),
                );
            }
        }
        errors
    }

    /// Tasks that read one of these paths and do not wait for its last editor, which is told beside it.
    fn unordered_readers(
        &self,
        chains: &Chains,
        paths: &BTreeMap<WorkspacePath, Vec<usize>>,
    ) -> Vec<(Read, usize)> {
        let plan = &self.plan;
        let mut readers = Vec::new();
        for index in plan.indices().filter(|index| !plan.is_hidden(*index)) {
            let Ok(task) = plan.task(index) else { continue };
            let checks = task.validate.iter().map(|check| &check.inputs);
            let lists = std::iter::once(&task.inputs).chain(checks).filter(|list| !list.is_empty());
            let mut waits_for = None;
            let found =
                lists.filter_map(|list| Some((list, Globs::new(list).ok()?))).find_map(|(list, globs)| {
                    paths.iter().filter(|(path, _)| globs.matches(path)).find_map(|(path, editors)| {
                        let last = *editors.last()?;
                        let own = editors.iter().any(|at| chains.editors[*at].index == index);
                        let waits_for = waits_for.get_or_insert_with(|| carried(plan, index));
                        let waits = own || waits_for.contains(&chains.editors[last].index);
                        (!waits)
                            .then(|| (path.clone(), list.first().map_or(task.at, |pattern| pattern.at), last))
                    })
                });
            readers.extend(found.map(|(path, at, last)| (Read { task, path, at }, last)));
        }
        readers
    }

    fn unordered_reader(&self, read: &Read, last: &Editor) -> Diagnostic {
        let (reader, editor, path) = (&read.task.id, &last.task.id, &read.path);
        let message = format!("{reader} reads {path}, which {editor} edits, and does not need it");
        let before = self.plan.index_of(reader.as_str());
        let is_before = before.is_some_and(|reader| carried(&self.plan, last.index).contains(&reader));
        let help = if is_before {
            format!("{editor} waits for {reader}, which cannot wait for it too: exclude it there, `!{path}`")
        } else {
            format!("add `needs: [{editor}]` to {reader}")
        };
        Diagnostic::error("edits::unordered_reader", message)
            .label(read.at, format!("{path} is read here"))
            .label(edits_at(last), "and edited here")
            .help(help)
    }

    /// A file that an editor has just made, and that another task which is not ordered with it edits or reads.
    pub fn unordered_creation(&mut self, index: TaskIndex, edited: &[Change]) -> Option<String> {
        let made: BTreeSet<&WorkspacePath> = edited
            .iter()
            .filter(|change| !change.before.exists() && change.after.exists())
            .map(|change| &change.path)
            .collect();
        if made.is_empty() {
            return None;
        }
        let chains = self.chains();
        let own = chains.editors.iter().position(|editor| editor.index == index)?;
        let ordered = |at: usize| {
            at == own || chains.editors[own].before.contains(&at) || chains.editors[at].before.contains(&own)
        };
        let id = &chains.editors[own].task.id;
        for path in &made {
            let other = (0..chains.editors.len()).find(|at| !ordered(*at) && chains.editors[*at].edits(path));
            if let Some(other) = other.map(|at| &chains.editors[at].task.id) {
                return Some(format!(
                    "it made {path}, which {other} edits too, and neither of {id} and {other} needs the other; add `needs: [{id}]` to {other}, or the other way round"
                ));
            }
        }
        let editors = |path: &&WorkspacePath| {
            let editors = (0..chains.editors.len()).filter(|at| chains.editors[*at].edits(path));
            ((*path).clone(), editors.collect())
        };
        let paths = made.iter().map(editors).collect();
        let (read, last) = self.unordered_readers(&chains, &paths).into_iter().next()?;
        let (reader, last) = (&read.task.id, &chains.editors[last].task.id);
        Some(format!(
            "it made {}, which {reader} reads, and {reader} does not need {last}; add `needs: [{last}]` to {reader}",
            read.path
        ))
    }
}

fn edits_at(editor: &Editor) -> At {
    editor.task.edits.first().map_or(editor.task.at, |pattern| pattern.at)
}

fn unordered(first: &Editor, second: &Editor, path: &WorkspacePath) -> Diagnostic {
    let message =
        format!("{} and {} both edit {path}, and neither needs the other", first.task.id, second.task.id);
    Diagnostic::error("edits::unordered", message)
        .label(edits_at(first), format!("{} edits it", first.task.id))
        .label(edits_at(second), format!("{} edits it too", second.task.id))
        .help(format!("add `needs: [{}]` to {}, or the other way round", first.task.id, second.task.id))
}
