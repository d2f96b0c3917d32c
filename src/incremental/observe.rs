//! Looks at the tree for a scope: finds the files that its tasks read and made, stats them all in parallel,
//! hashes those whose signature is not the recorded one, and brings the rows up to date.

use super::candidates::Briefs;
use super::db;
use super::engine::Engine;
use crate::graph::TaskIndex;
use crate::model::{Entry, EntryKind, Pattern, Signature, WorkspacePath};
use crate::store::FileId;
use crate::workspace::Observed;

impl Engine {
    /// Looks at everything that the tasks of `scope` (closed under dependencies) depend on and marks the
    /// candidates among them. Returns how many files were looked at.
    pub fn observe(&mut self, scope: &[TaskIndex]) -> usize {
        // What is found to have changed is younger than all that earlier sessions have verified.
        self.state.tick();
        let mut briefs = Briefs::join(&self.plan, &self.state);
        self.owned = std::mem::take(&mut briefs.owned);
        self.gone = std::mem::take(&mut briefs.gone);
        self.redefined = std::mem::take(&mut briefs.redefined);
        self.changed = std::mem::take(&mut briefs.changed);
        let mut wanted: Vec<FileId> = Vec::new();
        let mut bases = Vec::new();
        for index in scope.iter().copied() {
            let brief = briefs.get(index);
            wanted.extend(brief.iter().flat_map(|brief| briefs.files(brief)));
            if !brief.is_some_and(|brief| brief.known) {
                self.open_task(index, &mut wanted, &mut bases);
            }
        }
        self.look_at_all(wanted);
        self.cover(bases);
        let walked: Vec<FileId> = self.walked_ids();
        self.look_at_all(walked);
        self.mark_candidates(scope, &briefs);
        self.consult_lock(scope);
        self.observed.iter().filter(|seen| **seen).count()
    }

    /// The literal paths of a task whose inputs must be found anew, and where to walk.
    fn open_task(&mut self, index: TaskIndex, wanted: &mut Vec<FileId>, bases: &mut Vec<WorkspacePath>) {
        let Ok(task) = self.plan.task(index) else { return };
        let checks = task.validate.iter().flat_map(|check| &check.inputs);
        for pattern in task.inputs.iter().chain(checks).filter(|pattern| !pattern.negated) {
            match &pattern.literal {
                Some(path) => wanted.push(self.state.intern(path)),
                None => bases.push(Pattern::base(pattern)),
            }
        }
    }

    fn walked_ids(&mut self) -> Vec<FileId> {
        let files = std::mem::take(&mut self.walked.files);
        let ids = files.iter().map(|path| self.state.intern(path)).collect();
        self.walked.files = files;
        ids
    }

    /// Looks at those files that this session has not looked at yet.
    pub(super) fn look_at_all(&mut self, mut ids: Vec<FileId>) {
        self.observed.resize(self.state.file_count(), false);
        ids.retain(|id| !std::mem::replace(&mut self.observed[id.0 as usize], true));
        let unsure = self.unsure(&ids);
        let paths: Vec<WorkspacePath> = unsure.iter().map(|id| self.path(*id)).collect();
        let paths: Vec<&WorkspacePath> = paths.iter().collect();
        let observed = self.workspace.observe_all(&paths);
        for (id, seen) in unsure.into_iter().zip(observed) {
            self.take(id, seen);
        }
    }

    /// Those of `ids` whose recorded signature does not say that their content is the recorded one.
    fn unsure(&self, ids: &[FileId]) -> Vec<FileId> {
        let (state, owned) = (&self.state, &self.owned);
        let distrustful = self.distrustful;
        let distrusted = |id: &FileId| distrustful && owned.get(id.0 as usize).is_some_and(|owned| *owned);
        let vouches_for = |id: &FileId, now: &Signature| {
            !distrusted(id) && state.file(*id).is_some_and(|row| !row.racy && row.signature == *now)
        };
        let sure = self.workspace.compare(ids, |id| state.path(*id), vouches_for);
        ids.iter().zip(sure).filter(|(_, sure)| !sure).map(|(id, _)| *id).collect()
    }

    /// Looks at one file unless this session has.
    pub(super) fn look_at(&mut self, path: &WorkspacePath) -> FileId {
        let id = self.state.intern(path);
        if self.observed.get(id.0 as usize).copied() != Some(true) {
            self.look_at_all(vec![id]);
        }
        id
    }

    /// Takes what was seen into the row and, where it exists, into the database.
    pub(super) fn take(&mut self, id: FileId, seen: Observed) {
        self.state.set_file(id, seen.signature, seen.entry, seen.racy);
        if let Some(input) = self.files.get(id.0 as usize).copied().flatten() {
            db::set_file(&mut self.db, input, seen.entry);
        }
    }

    /// Looks again at files that are known to have changed since, and forgets the shapes of the tasks that
    /// rest on listings.
    pub fn look_again(&mut self, paths: &[WorkspacePath]) {
        self.state.tick();
        for path in paths {
            let id = self.state.intern(path);
            if let Some(seen) = self.observed.get_mut(id.0 as usize) {
                *seen = false;
            }
            self.look_at_all(vec![id]);
        }
        self.forget_walks();
        self.tasks.fill(None);
    }

    /// Files that this session has looked at and that have another content now; looks at nothing that no
    /// task reads.
    pub fn changed_since_observed(&mut self) -> Vec<WorkspacePath> {
        let ids: Vec<FileId> =
            (0..).map(FileId).zip(&self.observed).filter(|(_, seen)| **seen).map(|(id, _)| id).collect();
        let paths: Vec<&[u8]> = ids.iter().map(|id| self.state.path(*id)).collect();
        let now = self.workspace.signatures(&paths);
        let moved = ids
            .iter()
            .zip(now)
            .filter(|(id, now)| self.state.file(**id).is_some_and(|row| row.signature != *now));
        let moved: Vec<(FileId, WorkspacePath)> = moved.map(|(id, _)| (*id, self.path(*id))).collect();
        // Folders come into being when tasks make something in them; what they hold is looked at by itself.
        let holds_nothing = |entry: &Entry| matches!(entry.kind, EntryKind::Absent | EntryKind::Folder);
        let differs = |(id, path): &(FileId, WorkspacePath)| {
            let Some(before) = self.state.file(*id).map(|row| row.entry) else { return false };
            let now = self.workspace.observe(path).entry;
            before != now && !(holds_nothing(&before) && holds_nothing(&now))
        };
        moved.into_iter().filter(differs).map(|(_, path)| path).collect()
    }

    /// From now on no recorded signature vouches for an output: each is hashed when it is looked at.
    pub fn distrust_outputs(&mut self) {
        self.distrustful = true;
    }
}
