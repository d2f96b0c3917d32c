//! Looks at the tree for a scope: finds the files that its tasks read and made, stats them all in parallel,
//! hashes those whose signature is not the recorded one, and brings the rows up to date.

use std::time::Instant;

use super::candidates::Briefs;
use super::db;
use super::engine::Engine;
use crate::graph::{Plan, TaskIndex};
use crate::model::{Pattern, Signature, WorkspacePath};
use crate::store::{FileId, State};
use crate::workspace::Observed;

/// Fewer files are not worth a thread of their own.
const MANY: usize = 4096;

/// What plan and state say of a scope together.
struct Joined {
    briefs: Briefs,
    /// The files of the rows of all its tasks; one may be there several times.
    wanted: Vec<FileId>,
    /// Tasks whose inputs must be found anew.
    unknown: Vec<TaskIndex>,
    /// By file id: was the recorded signature found? None where nothing was looked at.
    vouched: Option<Vec<bool>>,
}

impl Joined {
    fn new(plan: &Plan, state: &State, scope: &[TaskIndex]) -> Self {
        let briefs = Briefs::join(plan, state);
        let (mut wanted, mut unknown) = (Vec::with_capacity(state.file_count()), Vec::new());
        for index in scope.iter().copied() {
            let brief = briefs.get(index);
            wanted.extend(brief.iter().flat_map(|brief| briefs.files(brief)));
            if !brief.is_some_and(|brief| brief.known) {
                unknown.push(index);
            }
        }
        Self { briefs, wanted, unknown, vouched: None }
    }
}

impl Engine {
    /// Looks at everything that the tasks of `scope` (closed under dependencies) depend on and marks the
    /// candidates among them. Returns how many files were looked at.
    pub fn observe(&mut self, scope: &[TaskIndex]) -> usize {
        // What is found to have changed is younger than all that earlier sessions have verified.
        self.state.tick();
        let Joined { mut briefs, wanted: mut files, unknown, vouched } = self.join(scope);
        self.owned = std::mem::take(&mut briefs.owned);
        self.gone = std::mem::take(&mut briefs.gone);
        self.redefined = std::mem::take(&mut briefs.redefined);
        self.changed = std::mem::take(&mut briefs.changed);
        let (mut bases, mut literals) = (Vec::new(), Vec::new());
        for index in unknown {
            self.open_task(index, &mut literals, &mut bases);
        }
        files.extend(&literals);
        match vouched {
            Some(vouched) => self.look_at_rest(files, &vouched),
            None => self.look_at_all(files),
        }
        bases.extend(self.folders(literals));
        self.cover(bases);
        self.look_at_walked();
        self.mark_candidates(scope, &briefs);
        self.consult_lock(scope);
        self.observed.iter().filter(|seen| **seen).count()
    }

    /// Joins plan and state. Where the scope is all of a large plan, nearly every file that the state knows
    /// will be wanted, so they are looked at meanwhile.
    fn join(&mut self, scope: &[TaskIndex]) -> Joined {
        let (plan, state, workspace) = (&*self.plan, &self.state, &*self.workspace);
        let whole = scope.len() == plan.len() && state.file_count() > MANY && state.is_mostly_used();
        if !whole || self.distrustful {
            return Joined::new(plan, state, scope);
        }
        let began = Instant::now();
        let look = || {
            let mut ids: Vec<FileId> = (0..).map(FileId).take(state.file_count()).collect();
            state.sort_by_path(&mut ids);
            let sure =
                workspace.compare(&ids, |id| state.path(*id), |id, now| state.is_vouched_for(*id, now));
            let mut vouched = vec![false; ids.len()];
            for (id, sure) in ids.into_iter().zip(sure) {
                vouched[id.0 as usize] = sure;
            }
            vouched
        };
        let joined = std::thread::scope(|threads| {
            let looking = std::thread::Builder::new().name("look".to_owned()).spawn_scoped(threads, look);
            let joined = Joined::new(plan, state, scope);
            // A machine that is out of threads looks afterwards.
            Joined { vouched: looking.ok().and_then(|looking| looking.join().ok()), ..joined }
        });
        self.looks.add(began, began.elapsed());
        joined
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

    /// Looks at what the walks have found: most of it is what patterns mean.
    fn look_at_walked(&mut self) {
        let mut walked: Vec<FileId> = self.walked_ids();
        self.observed.resize(self.state.file_count(), false);
        self.only_walked.resize(self.state.file_count(), false);
        walked.retain(|id| !self.observed[id.0 as usize]);
        for id in &walked {
            self.only_walked[id.0 as usize] = true;
        }
        self.look_at_all(walked);
    }

    /// The folders among literal paths that no rule ignores, each once.
    fn folders(&self, mut literals: Vec<FileId>) -> Vec<WorkspacePath> {
        literals.sort_unstable();
        literals.dedup();
        let folders = literals.into_iter().filter(|id| self.is_folder(*id)).map(|id| self.path(id));
        folders.filter(|path| !self.workspace.ignores(path, true)).collect()
    }

    fn walked_ids(&mut self) -> Vec<FileId> {
        let files = std::mem::take(&mut self.walked.files);
        let ids = files.iter().map(|path| self.state.intern(path)).collect();
        self.walked.files = files;
        ids
    }

    /// Looks at those of many files that this session has not looked at yet, all at once.
    pub(super) fn look_at_each<'p>(&mut self, paths: impl IntoIterator<Item = &'p WorkspacePath>) {
        let ids = paths.into_iter().map(|path| self.state.intern(path)).collect();
        self.look_at_all(ids);
    }

    /// Looks at those files that this session has not looked at yet.
    pub(super) fn look_at_all(&mut self, mut ids: Vec<FileId>) {
        self.retain_new(&mut ids);
        self.state.sort_by_path(&mut ids);
        let began = Instant::now();
        let unsure = self.unsure(&ids);
        self.looks.add(began, began.elapsed());
        self.read(unsure);
    }

    /// As [`Self::look_at_all`], where the signatures have been looked at already: `vouched` says by file id
    /// whether the recorded one was found.
    fn look_at_rest(&mut self, mut ids: Vec<FileId>, vouched: &[bool]) {
        self.retain_new(&mut ids);
        ids.retain(|id| !vouched.get(id.0 as usize).is_some_and(|vouched| *vouched));
        self.state.sort_by_path(&mut ids);
        self.read(ids);
    }

    fn retain_new(&mut self, ids: &mut Vec<FileId>) {
        self.observed.resize(self.state.file_count(), false);
        ids.retain(|id| !std::mem::replace(&mut self.observed[id.0 as usize], true));
    }

    /// Reads files and takes what is seen.
    fn read(&mut self, ids: Vec<FileId>) {
        let paths: Vec<WorkspacePath> = ids.iter().map(|id| self.path(*id)).collect();
        let paths: Vec<&WorkspacePath> = paths.iter().collect();
        let observed = self.workspace.observe_all(&paths);
        for (id, seen) in ids.into_iter().zip(observed) {
            self.take(id, seen);
        }
    }

    /// Those of `ids` whose recorded signature does not say that their content is the recorded one.
    fn unsure(&self, ids: &[FileId]) -> Vec<FileId> {
        let (state, owned) = (&self.state, &self.owned);
        let distrustful = self.distrustful;
        let distrusted = |id: &FileId| distrustful && owned.get(id.0 as usize).is_some_and(|owned| *owned);
        let vouches_for = |id: &FileId, now: &Signature| !distrusted(id) && state.is_vouched_for(*id, now);
        let sure = self.workspace.compare(ids, |id| state.path(*id), vouches_for);
        ids.iter().zip(sure).filter(|(_, sure)| !sure).map(|(id, _)| *id).collect()
    }

    /// Looks at one file unless this session has.
    pub(super) fn look_at(&mut self, path: &WorkspacePath) -> FileId {
        let id = self.state.intern(path);
        if self.observed.get(id.0 as usize).copied() != Some(true) {
            self.look_at_all(vec![id]);
        }
        if let Some(only_walked) = self.only_walked.get_mut(id.0 as usize) {
            *only_walked = false;
        }
        id
    }

    /// Takes what was seen into the row and, where it exists, into the database.
    pub(super) fn take(&mut self, id: FileId, seen: Observed) {
        self.looks.touch(id);
        self.state.set_file(id, seen.signature, seen.entry, seen.racy);
        if let Some(input) = self.files.get(id.0 as usize).copied().flatten() {
            db::set_file(&mut self.db, input, seen.entry);
        }
        self.refresh_aliases(id);
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

    /// From now on no recorded signature vouches for an output: each is hashed when it is looked at.
    pub fn distrust_outputs(&mut self) {
        self.distrustful = true;
    }
}
