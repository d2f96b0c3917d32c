//! Settles a path at which a person's version and conductor's differ: `--mine` makes the person's version the
//! result, once the checks accept it; `--theirs` puts conductor's there; `--replay` makes an edit the new
//! base from which the editors run again. Whatever gives way is kept in `.conductor/conflicts/RUN`.

use super::desk::{Desk, Refused, Settled};
use crate::execute;
use crate::graph::TaskIndex;
use crate::incremental::{Assignment, Move};
use crate::model::{
    Diagnostic, Entry, EntryKind, Failure, OutputEntry, Pending, Record, Wait, WorkspacePath,
};

/// Whose version holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// The person's.
    Mine,
    /// conductor's.
    Theirs,
    /// The person's, as what editors start from.
    Replay,
}

/// What stands at the path.
enum Conflict {
    /// A new result could not come in.
    Held(Pending),
    /// An output is not what was recorded.
    Output(Record),
    /// An edited path is in no state that an editor left.
    Edit(Record),
}

impl Desk {
    /// Settles one path.
    ///
    /// # Errors
    /// Nothing is in conflict there; the checks refuse the person's version; or conductor's was not kept.
    pub fn resolve(&mut self, path: &WorkspacePath, side: Side) -> Result<Settled, Refused> {
        let (index, conflict) = self.conflict_at(path).ok_or_else(|| {
            let message = format!("nothing is in conflict at {path}");
            Refused::Usage(Diagnostic::error("resolve::nothing", message))
        })?;
        let settled = match (conflict, side) {
            (Conflict::Held(pending), Side::Theirs) => self.held_theirs(index, path, pending)?,
            (Conflict::Held(pending), Side::Mine) => self.held_mine(index, path, pending)?,
            (Conflict::Output(record), Side::Theirs) => {
                let to = record.output(path).map_or_else(Entry::absent, |output| output.entry);
                self.put_theirs(index, path, to)?
            }
            (Conflict::Output(record), Side::Mine) => self.output_mine(index, path, record)?,
            (Conflict::Edit(_), Side::Theirs) => {
                let to = self.engine.last_state(path).unwrap_or_else(Entry::absent);
                self.put_theirs(index, path, to)?
            }
            (Conflict::Edit(record), Side::Mine) => self.edit_mine(index, path, record)?,
            (Conflict::Edit(_), Side::Replay) => {
                self.engine.rebase(path);
                Settled::default()
            }
            (_, Side::Replay) => {
                let message = format!("{path} is an output: only what a task edits can be replayed");
                let help = "use `--mine` or `--theirs`";
                return Err(Refused::Usage(Diagnostic::error("resolve::no_base", message).help(help)));
            }
        };
        self.close()?;
        Ok(settled)
    }

    fn conflict_at(&mut self, path: &WorkspacePath) -> Option<(TaskIndex, Conflict)> {
        let plan = std::sync::Arc::clone(self.engine.plan());
        for index in plan.indices() {
            if let Some(pending) = self.pending(index)
                && matches!(&pending.wait, Wait::Conflict(paths) if paths.contains(path))
            {
                return Some((index, Conflict::Held(pending)));
            }
        }
        let now = self.context.tree.observe(path).entry;
        for index in plan.indices() {
            let Some(record) = self.engine.state().record(&plan.task_id(index)) else { continue };
            let output = record.output(path).filter(|_| !record.on_branch);
            // A person has chosen already, and the result waits for other paths.
            let pending = self.pending(index).and_then(|pending| pending.record.output(path).cloned());
            let chosen = pending.is_some_and(|output| output.entry == now);
            if output.is_some_and(|output| output.entry != now) && !chosen {
                return Some((index, Conflict::Output(record)));
            }
        }
        if !self.engine.is_persons(path, now) {
            return None;
        }
        let last = self.engine.last_editor(path)?;
        let record = self.engine.state().record(&plan.task_id(last))?;
        Some((last, Conflict::Edit(record)))
    }

    /// The person's version moves out of the way; when nothing is in the way any more, the result comes in.
    fn held_theirs(
        &mut self,
        index: TaskIndex,
        path: &WorkspacePath,
        pending: Pending,
    ) -> Result<Settled, Refused> {
        let assignment = self.waiting_assignment(index)?;
        let kept = execute::keep_version(&self.context, path).map_err(failed)?;
        let mut settled = match self.narrow(index, path, pending, &assignment) {
            Ok(settled) => settled,
            Err(refused) => {
                execute::return_version(&self.context, path).map_err(failed)?;
                return Err(refused);
            }
        };
        settled.notices.extend(kept.map(|kept| yours_is_in(path, &kept)));
        Ok(settled)
    }

    /// The person's version becomes part of the result, if the checks accept it there.
    fn held_mine(
        &mut self,
        index: TaskIndex,
        path: &WorkspacePath,
        mut pending: Pending,
    ) -> Result<Settled, Refused> {
        let assignment = self.waiting_assignment(index)?;
        let entry = self.context.tree.observe(path).entry;
        let outputs = &mut pending.record.outputs;
        let below = outputs.iter().any(|output| output.path != *path && output.path.is_within(path));
        if below || !matches!(entry.kind, EntryKind::File | EntryKind::Link) {
            let message = format!("there is no file of yours at {path} that could be its result");
            let help = "move yours away and `conductor build`, or use `--theirs`";
            return Err(Refused::Usage(Diagnostic::error("resolve::no_file", message).help(help)));
        }
        // It may lie in an output folder to which the new result adds nothing of that name.
        outputs.retain(|output| output.path != *path);
        outputs.push(OutputEntry { path: path.clone(), entry });
        outputs.sort_by(|a, b| a.path.cmp(&b.path));
        let (validation, evidence) =
            execute::check_result(&self.context, &assignment, &pending.record, Some(path))
                .map_err(|message| refused_by_checks(path, &message))?;
        pending.record.evidence = evidence;
        pending.record.validation = validation;
        let components = pending.record.action.components();
        pending.record.validation_key = pending.record.validation.key(&components, &pending.record.outputs);
        execute::show_version(&self.context, &assignment.task.id, path).map_err(failed)?;
        self.narrow(index, path, pending, &assignment)
    }

    /// One path less is in conflict; with none left the result is taken in.
    fn narrow(
        &mut self,
        index: TaskIndex,
        path: &WorkspacePath,
        mut pending: Pending,
        assignment: &Assignment,
    ) -> Result<Settled, Refused> {
        let left = match &pending.wait {
            Wait::Conflict(paths) => paths.iter().filter(|other| *other != path).cloned().collect(),
            Wait::Approval => Vec::new(),
        };
        if left.is_empty() {
            return self.take_in(index, assignment, &pending, None);
        }
        pending.wait = Wait::Conflict(left);
        if let Some(failure) = self.engine.state().failure(&self.id(index)) {
            self.engine.refuse(index, &Failure { pending: Some(Box::new(pending)), ..failure });
        }
        Ok(Settled::default())
    }

    /// conductor's version goes back to where it was.
    fn put_theirs(&mut self, index: TaskIndex, path: &WorkspacePath, to: Entry) -> Result<Settled, Refused> {
        if to.exists() && !self.context.objects.has(&to) {
            let message = format!("what conductor made at {path} was not kept");
            let help =
                format!("`conductor build {}` makes it anew and keeps your version aside", self.id(index));
            return Err(Refused::Failed(Diagnostic::error("resolve::not_kept", message).help(help)));
        }
        let kept = execute::copy_version(&self.context, path).map_err(failed)?;
        let from = self.context.tree.observe(path).entry;
        let mut settled = Settled::default();
        let step = Move { path: path.clone(), from, to, editor: index };
        self.put(vec![step], &mut settled)?;
        settled.notices.extend(kept.map(|kept| yours_is_in(path, &kept)));
        Ok(settled)
    }

    fn output_mine(
        &mut self,
        index: TaskIndex,
        path: &WorkspacePath,
        mut record: Record,
    ) -> Result<Settled, Refused> {
        let entry = self.context.tree.observe(path).entry;
        if !entry.exists() {
            record.outputs.retain(|output| output.path != *path);
        }
        for output in record.outputs.iter_mut().filter(|output| output.path == *path) {
            output.entry = entry;
        }
        self.adopt(index, path, record)
    }

    fn edit_mine(
        &mut self,
        index: TaskIndex,
        path: &WorkspacePath,
        mut record: Record,
    ) -> Result<Settled, Refused> {
        let entry = self.context.tree.observe(path).entry;
        for edited in record.edited.iter_mut().filter(|edited| edited.path == *path) {
            edited.after = entry;
            edited.landed = true;
        }
        self.context
            .objects
            .put(&path.under(self.context.tree.root()), &entry)
            .map_err(|error| Refused::Failed(Diagnostic::error("resolve::keep", error.to_string())))?;
        self.adopt(index, path, record)
    }

    /// Records a result with a person's version in it, if the checks accept that.
    fn adopt(
        &mut self,
        index: TaskIndex,
        path: &WorkspacePath,
        mut record: Record,
    ) -> Result<Settled, Refused> {
        let mut assignment = self.engine.assignment(index).map_err(Refused::Failed)?;
        let (validation, evidence) = execute::check_result(&self.context, &assignment, &record, Some(path))
            .map_err(|message| refused_by_checks(path, &message))?;
        assignment.validation = validation;
        record.evidence = evidence;
        record.run = self.context.run.clone();
        let branch = execute::commit_adopted(&self.context, &assignment, &record)
            .map_err(|message| Refused::Failed(Diagnostic::error("resolve::commit", message)))?;
        if let Some(branch) = &branch {
            record.commit = Some(branch.after.clone());
        }
        self.engine.adopt_result(&assignment, record);
        let notice = branch.and_then(|branch| execute::move_branch(&self.context, &branch));
        Ok(Settled { changed: vec![path.clone()], notices: notice.into_iter().collect() })
    }
}

fn failed(message: String) -> Refused {
    Refused::Failed(Diagnostic::error("resolve::files", message))
}

fn refused_by_checks(path: &WorkspacePath, message: &str) -> Refused {
    let message = format!("your version of {path} was not accepted: {message}");
    Refused::Failed(Diagnostic::error("resolve::checks", message).help("nothing has changed"))
}

fn yours_is_in(path: &WorkspacePath, kept: &str) -> Diagnostic {
    Diagnostic::warning("build::conflict", format!("{path} is conductor's now"))
        .help(format!("your version is kept in {kept}"))
}
