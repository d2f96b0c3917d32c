//! After the command: finds its writes in the private folder, declared or not.

use std::collections::{BTreeMap, BTreeSet};

use super::prepare::IsolatedDir;
use crate::execute::run_context::RunContext;
use crate::execute::staging::StagingError;
use crate::incremental::{Assignment, Change};
use crate::model::{Entry, EntryKind, Isolation, Signature, Task, WorkspacePath, Writes};
use crate::workspace::{self, Globs, Observed, Root};

impl IsolatedDir {
    /// Was this brought in by `copy`, and left as it was? Then it is no output.
    pub(in crate::execute) fn is_copied(&self, path: &WorkspacePath, now: &Signature) -> bool {
        self.copied.contains(path) && self.before.get(path) == Some(now)
    }

    /// Remembers the content of the folder, so that later writes can be told.
    pub(in crate::execute) fn mark(&mut self) -> Result<(), StagingError> {
        self.before = self.listing()?;
        Ok(())
    }

    /// Everything in the folder.
    pub(in crate::execute) fn listing(&self) -> Result<BTreeMap<WorkspacePath, Signature>, StagingError> {
        let paths = self.exec_root.dir.list(&WorkspacePath::root())?;
        let bytes: Vec<&[u8]> = paths.iter().map(WorkspacePath::as_bytes).collect();
        let signatures = self.exec_root.dir.signatures(&bytes);
        Ok(paths.into_iter().zip(signatures).collect())
    }

    /// What the command wrote, changed or removed although the task declares it neither as output nor under
    /// `edits`. What git ignores does not count.
    pub(in crate::execute) fn undeclared(
        &self,
        context: &RunContext,
        assignment: &Assignment,
    ) -> Result<Vec<WorkspacePath>, StagingError> {
        let task = &assignment.task;
        let now = self.listing()?;
        let edits = Globs::new(&task.edits)?;
        let moved = now.iter().filter(|(path, seen)| self.before.get(*path) != Some(*seen));
        let gone = self.before.iter().filter(|(path, _)| !now.contains_key(*path));
        let declared = |path: &WorkspacePath| {
            task.outputs.iter().any(|output| path.is_within(&output.path))
                || task.depfile.as_ref().is_some_and(|(depfile, _)| depfile == path)
                || edits.matches(path)
                || self.copied.contains(path)
                || self.prepared.contains(path)
        };
        let mut found: Vec<WorkspacePath> = moved
            .chain(gone)
            .filter(|(path, signature)| !signature.is_folder() && !declared(path))
            .map(|(path, _)| path.clone())
            .filter(|path| !context.tree.ignores(path, false))
            .filter(|path| !self.is_only_touched(context, assignment, path))
            .collect();
        found.sort();
        Ok(found)
    }

    /// Has it another time, but the content with which it was brought in?
    fn is_only_touched(&self, context: &RunContext, assignment: &Assignment, path: &WorkspacePath) -> bool {
        let now = self.exec_root.dir.observe(path).entry;
        let read = assignment.action.inputs.iter().map(|input| (&input.path, input.entry));
        let needed = assignment.action.needs.iter().map(|need| (&need.path, need.entry));
        let brought = read.chain(needed).find(|(input, _)| *input == path).map(|(_, entry)| entry);
        let brought = brought.unwrap_or_else(|| context.tree.observe(path).entry);
        self.before.contains_key(path) && now.exists() && now == brought
    }

    /// What became of every path that matches `edits`.
    pub(in crate::execute) fn edited(&self, assignment: &Assignment) -> Result<Vec<Change>, StagingError> {
        let task = &assignment.task;
        if task.edits.is_empty() {
            return Ok(Vec::new());
        }
        let globs = Globs::new(&task.edits)?;
        let own = |path: &WorkspacePath| task.outputs.iter().any(|output| path.is_within(&output.path));
        let mut paths: BTreeSet<WorkspacePath> = assignment.edits.iter().cloned().collect();
        let now = self.exec_root.dir.list(&WorkspacePath::root())?;
        paths.extend(
            now.into_iter().filter(|path| globs.matches(path) && !own(path) && !self.copied.contains(path)),
        );
        let mut changes = Vec::new();
        for path in paths {
            let mut after = self.exec_root.dir.observe(&path).entry;
            if after.kind == EntryKind::Folder {
                after = Entry::absent();
            }
            if matches!(after.kind, EntryKind::Special | EntryKind::Unreadable) {
                return Err(StagingError(format!("{path} cannot be read back after it was edited")));
            }
            let before = assignment.found(&path);
            changes.push(Change { path, before, after });
        }
        Ok(changes)
    }

    /// Keeps the bytes of every state that is new.
    pub(in crate::execute) fn keep(
        &self,
        context: &RunContext,
        edited: &[Change],
    ) -> Result<(), StagingError> {
        for change in edited.iter().filter(|change| change.before != change.after) {
            self.exec_root.keep(&context.objects, &change.path, &change.after)?;
        }
        Ok(())
    }

    /// Sets the outputs apart before checks run, whose changes are not the task's: returns the folder from which
    /// they are to be taken.
    pub(in crate::execute) fn set_apart(
        &self,
        outputs: &[(WorkspacePath, Observed)],
    ) -> Result<Root, StagingError> {
        let made = self.private.join("made");
        workspace::make_folder(&made)?;
        for (path, observed) in outputs {
            self.exec_root.copy_result(&made, path, &observed.entry)?;
        }
        Ok(Root::open(&made)?)
    }
}

/// How undeclared writes are taken.
pub(in crate::execute) fn writes(task: &Task, isolation: Isolation) -> Writes {
    task.writes.unwrap_or(if isolation == Isolation::Worktree { Writes::Error } else { Writes::Warn })
}
