//! Takes accepted results back: what they replaced comes back byte for byte, in the reverse order of
//! dependencies, and the tasks are due again.
//!
//! Everything is looked at before anything changes: where a person has changed a file since, or bytes are
//! gone, nothing happens at all.

use std::collections::BTreeSet;

use super::desk::{Desk, Refused, Settled};
use crate::execute;
use crate::graph::TaskIndex;
use crate::incremental::Move;
use crate::model::{
    Diagnostic, Entry, EntryKind, Failure, OutputEntry, Reason, ReasonKind, Record, RunId, TaskId, Undo,
    WorkspacePath,
};

/// What rolling one task back does.
#[derive(Debug)]
pub struct Step {
    /// Which.
    pub task: TaskId,
    /// The run whose result goes.
    pub run: RunId,
    /// Paths that come to hold something else: what they hold now, and what then.
    pub paths: Vec<(WorkspacePath, Entry, Entry)>,
    /// The task's own `rollback`, as people write it.
    pub command: Option<String>,
    /// Where its branch goes: from, to; none where it has none.
    pub branch: Option<(String, Option<String>)>,
    index: TaskIndex,
    record: Record,
    undo: Undo,
}

impl Desk {
    /// The tasks whose standing result `run` made.
    pub fn made_by(&self, run: &RunId) -> BTreeSet<TaskIndex> {
        let plan = self.engine.plan();
        let made = |index: &TaskIndex| {
            self.engine.state().record(&plan.task_id(*index)).is_some_and(|record| record.run == *run)
        };
        plan.indices().filter(|index| !plan.is_gate(*index)).filter(made).collect()
    }

    /// What rolling these tasks back would do, in the order in which it would happen.
    ///
    /// # Errors
    /// A task has no result, a person has changed a file since, or what was replaced was not kept.
    pub fn plan_rollback(&mut self, tasks: &BTreeSet<TaskIndex>) -> Result<Vec<Step>, Vec<Refused>> {
        let plan = std::sync::Arc::clone(self.engine.plan());
        let order: Vec<TaskIndex> = plan.order().filter(|index| tasks.contains(index)).collect();
        let (mut steps, mut refused) = (Vec::new(), Vec::new());
        // What the tree will hold of a path once the steps before have been taken.
        let mut ahead: std::collections::BTreeMap<WorkspacePath, Entry> = std::collections::BTreeMap::new();
        for index in order.into_iter().rev() {
            match self.plan_step(index, &mut ahead) {
                Ok(step) => steps.push(step),
                Err(reasons) => refused.extend(reasons),
            }
        }
        if refused.is_empty() { Ok(steps) } else { Err(refused) }
    }

    fn plan_step(
        &mut self,
        index: TaskIndex,
        ahead: &mut std::collections::BTreeMap<WorkspacePath, Entry>,
    ) -> Result<Step, Vec<Refused>> {
        let id = self.id(index);
        let Some(record) = self.engine.state().record(&id) else {
            let failure = self.engine.state().failure(&id);
            let before = failure.filter(|failure| failure.reason.kind == ReasonKind::RolledBack);
            let diagnostic = if before.is_some() {
                Diagnostic::error("rollback::nothing", format!("{id} has been rolled back already"))
                    .help(format!("`conductor build {id}` makes a result anew"))
            } else {
                let message = format!("{id} has no result that could be rolled back");
                Diagnostic::error("rollback::nothing", message)
            };
            return Err(vec![Refused::Usage(diagnostic)]);
        };
        let task =
            self.engine.plan().task(index).map_err(|error| {
                vec![Refused::Failed(Diagnostic::error("state::plan", error.to_string()))]
            })?;
        let Some(undo) = record.undo.last().cloned() else {
            let message = format!("what the result of {id} replaced was not kept any more");
            return Err(vec![Refused::Failed(Diagnostic::error("rollback::not_kept", message))]);
        };
        let mut refused = Vec::new();
        let mut paths = Vec::new();
        if !record.on_branch {
            let before = |path: &WorkspacePath| undo.outputs.iter().find(|output| output.path == *path);
            let gone = undo.outputs.iter().filter(|output| record.output(&output.path).is_none());
            let all = record.outputs.iter().map(|output| (&output.path, output.entry));
            let all: Vec<(&WorkspacePath, Entry)> =
                all.chain(gone.map(|output| (&output.path, Entry::absent()))).collect();
            for (path, recorded) in all {
                let mut now = self.output_now(path);
                if now.kind == EntryKind::Unreadable && !recorded.exists() && self.goes(&record, path) {
                    now = Entry::absent();
                }
                let to = before(path).map_or_else(Entry::absent, |output| output.entry);
                if recorded.kind == EntryKind::Folder && now.kind == EntryKind::Unreadable {
                    // An empty folder in which a person has put something: that is theirs by now.
                } else if now != recorded && now != to {
                    refused.push(changed_since(&id, path));
                } else if now != to {
                    paths.push((path.clone(), now, to));
                }
            }
        }
        for edited in &record.edited {
            let now = ahead.get(&edited.path).copied();
            let now = now.unwrap_or_else(|| self.context.tree.observe(&edited.path).entry);
            if edited.before == edited.after || !edited.landed || now == edited.before {
                continue;
            }
            if self.engine.is_persons(&edited.path, now) {
                refused.push(changed_since(&id, &edited.path));
            }
            ahead.insert(edited.path.clone(), edited.before);
            paths.push((edited.path.clone(), now, edited.before));
        }
        let put_back = paths.iter().filter(|(_, _, to)| to.exists());
        let (kept, lost): (Vec<_>, Vec<_>) = put_back.partition(|(_, _, to)| self.context.objects.has(to));
        for (path, _, to) in kept {
            if let Err(error) = self.context.objects.verify(to) {
                let message = format!("what stood at {path} before {id} ran cannot be put back: {error}");
                refused.push(Refused::Integrity(Diagnostic::error("rollback::damaged", message)));
            }
        }
        if let Some((path, ..)) = lost.first() {
            let why = if undo.kept { "it is gone" } else { "the task is `incremental`" };
            let message = format!("what stood at {path} before {id} ran was not kept: {why}");
            refused.push(Refused::Failed(Diagnostic::error("rollback::not_kept", message)));
        }
        let branch = record.commit.clone().map(|commit| (commit, undo.commit.clone()));
        if let Some((from, to)) = &branch
            && let Err(message) = execute::check_branch(&self.context, &id, from, to.as_deref())
        {
            let help = "put that branch elsewhere first, or keep the result";
            refused.push(Refused::Integrity(Diagnostic::error("rollback::branch", message).help(help)));
        }
        if !refused.is_empty() {
            return Err(refused);
        }
        let command = task.rollback.as_ref().map(crate::model::Command::display);
        Ok(Step { task: id, run: record.run.clone(), paths, command, branch, index, record, undo })
    }

    /// Does nothing lie below a path but what the result made?
    fn goes(&self, record: &Record, path: &WorkspacePath) -> bool {
        let below = self.context.tree.list(path).unwrap_or_default();
        below.iter().all(|path| record.output(path).is_some())
    }

    /// What stands at the path of an output: a folder with something in it is no output, but on the way to
    /// others.
    fn output_now(&self, path: &WorkspacePath) -> Entry {
        let now = self.context.tree.observe(path).entry;
        let holds_something = || self.context.tree.list(path).is_ok_and(|below| !below.is_empty());
        if now.kind == EntryKind::Folder && holds_something() {
            return Entry { kind: EntryKind::Unreadable, ..now };
        }
        now
    }

    /// Takes one step. What was taken before it stays taken, whatever becomes of this one.
    ///
    /// # Errors
    /// The task's own `rollback` failed, or the files could not be put back; then they are as they were.
    pub fn roll_back(&mut self, step: &Step) -> Result<Settled, Refused> {
        let mut settled = Settled::default();
        let task = self.engine.plan().task(step.index);
        let task =
            task.map_err(|error| Refused::Failed(Diagnostic::error("state::plan", error.to_string())))?;
        if let Some(command) = &task.rollback {
            execute::run_by_hand(&self.context, &task, &step.record.action, command, "rollback").map_err(
                |said| {
                    let message = format!("the rollback `{}` of {}: {said}", command.display(), step.task);
                    Refused::Failed(
                        Diagnostic::error("rollback::command", message).help("its files are as they were"),
                    )
                },
            )?;
        }
        let moves = step.paths.iter().map(|(path, from, to)| Move {
            path: path.clone(),
            from: *from,
            to: *to,
            editor: step.index,
        });
        let landed = execute::put_back(&self.context, &step.task, moves.collect())
            .map_err(|message| Refused::Failed(Diagnostic::error("rollback::files", message)))?;
        if !landed.contested.is_empty() {
            let first = landed.contested[0].clone();
            if let Some(staged) = landed.staged {
                let _ = staged.restore(&self.context, None);
            }
            return Err(changed_since(&step.task, &first));
        }
        if let Some((_, to)) = &step.branch
            && let Err(message) = execute::move_branch_back(&self.context, &step.task, to.as_deref())
        {
            if let Some(staged) = landed.staged {
                let _ = staged.restore(&self.context, None);
            }
            return Err(Refused::Integrity(Diagnostic::error("rollback::branch", message)));
        }
        settled.changed = landed.moves.iter().map(|(step, _)| step.path.clone()).collect();
        self.staged.extend(landed.staged);
        let mut outputs: Vec<OutputEntry> = step.undo.outputs.clone();
        let edited =
            step.record.edited.iter().filter(|edited| edited.landed && edited.before != edited.after);
        outputs.extend(edited.map(|edited| OutputEntry { path: edited.path.clone(), entry: edited.before }));
        outputs.sort_by(|a, b| a.path.cmp(&b.path));
        let undo = step.record.undo[..step.record.undo.len() - 1].to_vec();
        let failure = Failure {
            outputs,
            undo,
            commit: step.undo.commit.clone(),
            ..Failure::new(step.record.key, Reason::new(ReasonKind::RolledBack), self.context.run.clone())
        };
        // Neither this nor another checkout's copy of it comes back from a cache.
        if let Some(Err(error)) = self.context.cache.as_ref().map(|cache| cache.withdraw(&step.record)) {
            settled.notices.push(Diagnostic::warning("rollback::cache", error.to_string()));
        }
        self.engine.refuse(step.index, &failure);
        self.engine.look_again(&settled.changed);
        self.close()?;
        // A result of its that waits for a person goes with the one that it was to replace.
        if let Err(error) = execute::clear_pending(&self.context, &step.task) {
            settled.notices.push(Diagnostic::warning("rollback::left", error.to_string()));
        }
        Ok(settled)
    }
}

fn changed_since(task: &TaskId, path: &WorkspacePath) -> Refused {
    let message = format!("{path} has changed since {task} made it, so its result is not rolled back");
    let help = "put your version elsewhere first, or keep the result";
    Refused::Integrity(Diagnostic::error("rollback::changed", message).help(help))
}
