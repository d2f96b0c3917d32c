//! `conductor.lock` as a second source of recorded results, where the state has none or none that holds.
//!
//! A line of the lock stands in the database like a record of the state: the same verdict judges it, and dependents
//! read its outputs. It is asked for candidates alone, in the order of dependencies, and only when what the state has
//! of a task does not hold; so a workspace in which nothing changed never reads its lock. Of several lines for one
//! task the one that holds is taken.
//!
//! The state learns of such a result only when a build has found that it holds ([`Engine::confirm`]): then the action
//! with that key is known whole, since it is the present one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use super::db::{self, Shape, State};
use super::engine::Engine;
use crate::graph::TaskIndex;
use crate::model::{
    Action, Digest, EntryKind, Locked, Reason, ReasonKind, Record, TaskId, Via, WorkspacePath,
};
use crate::store::Lockfile;
use crate::workspace::Ignores;

/// How a line of the lock is judged where the state knows nothing of its task.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trust {
    /// As a question about the sources: the tools are those of the lock, and an output that no checkout brings with
    /// it (git ignores it, it is an empty folder, it stays on its branch) is as the lock says.
    Told,
    /// As a question about this workspace: the tools are those of this machine, and every output must be here.
    Seen,
}

/// The lock as an engine has it.
#[derive(Default)]
pub(super) struct Lock {
    source: Option<(PathBuf, Trust)>,
    file: Option<Lockfile>,
    read: bool,
    ignores: Ignores,
    /// The line that stands for the result of a task.
    used: BTreeMap<TaskIndex, Used>,
}

/// A line that stands for a result.
#[derive(Clone)]
pub(super) struct Used {
    line: Arc<Locked>,
    /// The state has no result of the task.
    alone: bool,
}

/// How well a result fits things as they are; the lower the better.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    Holds,
    NeedsChecks,
    IsStale,
}

impl Lock {
    fn is_told(&self) -> bool {
        self.source.as_ref().is_some_and(|(_, trust)| *trust == Trust::Told)
    }

    /// The state speaks for the task from now on.
    pub(super) fn forget(&mut self, index: TaskIndex) {
        self.used.remove(&index);
    }

    fn candidates(&mut self, task: &TaskId) -> &[Locked] {
        if !std::mem::replace(&mut self.read, true) {
            self.file = self.source.as_ref().and_then(|(root, _)| Lockfile::read(root));
        }
        self.file.as_ref().map_or(&[], |file| file.candidates(task))
    }
}

impl Engine {
    /// From now on the lock of the workspace counts; said before [`Engine::observe`].
    pub fn read_lock(&mut self, trust: Trust) {
        self.locked.source = Some((self.workspace.root().to_owned(), trust));
    }

    /// The same with the lock as it was read already.
    pub fn take_lock(&mut self, lock: Option<Lockfile>, trust: Trust) {
        self.read_lock(trust);
        self.locked.file = lock;
        self.locked.read = true;
    }

    /// The lock, with what it says of itself.
    pub fn give_lock_back(&mut self) -> Option<Lockfile> {
        self.locked.file.take()
    }

    /// The line of the lock that stands for the result of a task, where one does.
    pub fn from_lock(&self, index: TaskIndex) -> Option<&Locked> {
        self.locked.used.get(&index).map(|used| &*used.line)
    }

    /// Lets lines of the lock stand for results that the state has not, or that do not hold. The candidates are marked.
    pub(super) fn consult_lock(&mut self, scope: &[TaskIndex]) {
        if self.locked.source.is_none() {
            return;
        }
        let plan = Arc::clone(&self.plan);
        let asked: Vec<TaskIndex> = scope
            .iter()
            .copied()
            .filter(|index| self.is_candidate(*index) && !plan.is_hidden(*index))
            .collect();
        self.look_at_locked_outputs(&asked);
        for index in asked.iter().copied() {
            let holds = self.result_input(index).record(&self.db).is_some() && self.fit(index) == Fit::Holds;
            if !holds {
                self.choose_line(index);
            }
        }
        if !self.locked.is_told() {
            self.forget_lost_starts(&asked);
        }
    }

    /// All at once, since a fresh checkout has to read them all.
    fn look_at_locked_outputs(&mut self, asked: &[TaskIndex]) {
        let mut outputs = Vec::new();
        for index in asked.iter().copied() {
            if self.result_input(index).record(&self.db).is_some() {
                continue;
            }
            let id = self.plan.task_id(index);
            for line in self.locked.candidates(&id).iter().filter(|line| !line.on_branch) {
                outputs.extend(line.outputs.iter().map(|output| self.state.intern(&output.path)));
            }
        }
        self.look_at_all(outputs);
    }

    /// Of the lines for a task the one that holds; else what the state has; else the first.
    fn choose_line(&mut self, index: TaskIndex) {
        let id = self.plan.task_id(index);
        let own = self.result_input(index).record(&self.db);
        let news = |line: &&Locked| {
            own.as_ref().is_none_or(|own| {
                own.key != line.key
                    || own.validation_key != line.validation_key
                    || own.outputs != line.outputs
            })
        };
        let lines: Vec<Arc<Locked>> =
            self.locked.candidates(&id).iter().filter(news).cloned().map(Arc::new).collect();
        if lines.is_empty() {
            return;
        }
        let alone = own.is_none();
        // What the state has is better than a line that holds no more than it does.
        let mut best: Option<(Fit, Option<Arc<Locked>>)> =
            own.is_some().then(|| (self.fit(index).max(Fit::NeedsChecks), None));
        for line in lines {
            self.stand_for(index, Some(Used { line: Arc::clone(&line), alone }), None);
            let fit = self.fit(index);
            if best.as_ref().is_none_or(|(known, _)| fit < *known) {
                best = Some((fit, Some(line)));
            }
            if fit == Fit::Holds {
                break;
            }
        }
        match best {
            Some((_, Some(line))) => {
                let outputs: Vec<WorkspacePath> =
                    line.outputs.iter().map(|output| output.path.clone()).collect();
                let in_tree = !line.on_branch;
                self.stand_for(index, Some(Used { line, alone }), None);
                for path in outputs.iter().filter(|_| in_tree) {
                    let id = self.state.intern(path);
                    self.set_owned(id, true);
                }
            }
            _ => self.stand_for(index, None, own),
        }
    }

    /// Sets what stands for the result of a task: a line, or what the state has.
    fn stand_for(&mut self, index: TaskIndex, used: Option<Used>, own: Option<Arc<Record>>) {
        let result = self.result_input(index);
        let record = used.as_ref().map(|used| Arc::new(used.line.record())).or(own);
        match used {
            Some(used) => _ = self.locked.used.insert(index, used),
            None => _ = self.locked.used.remove(&index),
        }
        let before = result.record(&self.db);
        db::set_result(&mut self.db, result, record.clone());
        self.note_links(index, before.as_deref(), record.as_deref());
        self.tasks[index as usize] = None;
        if self.plan.edits(index) {
            self.forget_editors();
        }
    }

    fn fit(&mut self, index: TaskIndex) -> Fit {
        match self.verdict(index).map(|verdict| verdict.state) {
            Ok(State::Fresh | State::Waiting) => Fit::Holds,
            Ok(State::Unvalidated) => Fit::NeedsChecks,
            Ok(State::Stale) if self.plan.is_always(index) && self.has_no_cause(index) => Fit::Holds,
            _ => Fit::IsStale,
        }
    }

    /// A task that runs each time has nothing else to be told of.
    fn has_no_cause(&mut self, index: TaskIndex) -> bool {
        self.reasons(index).is_ok_and(|found| found.iter().all(|reason| reason.kind == ReasonKind::Always))
    }

    /// Editors that must run, on a state of a file whose bytes are nowhere here: a fresh checkout has the last state of
    /// a chain alone. The chain of such a file begins anew with what lies in the tree, as it would without a lock.
    fn forget_lost_starts(&mut self, asked: &[TaskIndex]) {
        let editors: Vec<TaskIndex> = asked.iter().copied().filter(|index| self.plan.edits(*index)).collect();
        if editors.is_empty() {
            return;
        }
        loop {
            let mut lost = BTreeSet::new();
            for index in editors.iter().copied() {
                if self.fit(index) == Fit::IsStale {
                    lost.extend(self.lost_starts(index));
                }
            }
            let chains = self.chains();
            let mut forgotten = false;
            for editor in chains.editors.iter() {
                let known = self.result_input(editor.index).record(&self.db).is_some();
                if known && lost.iter().any(|path| editor.edits(path)) {
                    self.stand_for(editor.index, None, None);
                    self.make_candidate(editor.index);
                    forgotten = true;
                }
            }
            if !forgotten {
                return;
            }
        }
    }

    /// The edited paths whose state before this task neither the tree nor the objects hold.
    fn lost_starts(&mut self, index: TaskIndex) -> Vec<WorkspacePath> {
        let Ok(input) = self.task_input(index) else { return Vec::new() };
        let shape = input.shape(&self.db);
        let Ok(action) = db::describe(&self.db, &shape) else { return Vec::new() };
        let row = |path: &WorkspacePath| self.state.file_id(path).and_then(|id| self.state.file(id));
        let is_here = |path: &WorkspacePath, entry| {
            row(path).is_some_and(|row| row.entry == entry) || self.objects.has(&entry)
        };
        let edited = action.inputs.iter().filter(|input| input.via == Via::Edits);
        edited.filter(|input| !is_here(&input.path, input.entry)).map(|input| input.path.clone()).collect()
    }

    /// Is everything that a line says of a task's tools and absent outputs taken for true?
    pub(super) fn is_told(&self, index: TaskIndex) -> bool {
        self.locked.is_told() && self.locked.used.get(&index).is_some_and(|used| used.alone)
    }

    /// The outputs of a line that are absent and may be, because no checkout brings them with it.
    pub(super) fn excused(&mut self, index: TaskIndex) -> BTreeSet<WorkspacePath> {
        let mut excused = BTreeSet::new();
        if !self.is_told(index) {
            return excused;
        }
        let line = self.locked.used.get(&index).map(|used| Arc::clone(&used.line));
        let outputs = line.iter().flat_map(|line| &line.outputs);
        for output in outputs {
            let row = self.state.file_id(&output.path).and_then(|id| self.state.file(id));
            let absent = row.is_none_or(|row| !row.entry.exists());
            let (ignores, workspace) = (&mut self.locked.ignores, &self.workspace);
            // git keeps no empty folders.
            if absent
                && (output.entry.kind == EntryKind::Folder || ignores.covers(workspace, &output.path, false))
            {
                excused.insert(output.path.clone());
            }
        }
        excused
    }

    /// Why a result of the lock does not have the key of `action`; none where the state knows the result itself.
    pub(super) fn locked_differences(&self, shape: &Shape, action: &Action) -> Option<Vec<Reason>> {
        let index = self.plan.index_of(shape.task.id.as_str())?;
        Some(self.from_lock(index)?.differences(action))
    }

    /// Takes a result of the lock that holds into the state, with the action that its key turned out to be of.
    pub(super) fn adopt_line(&mut self, index: TaskIndex) -> bool {
        let Some(Used { line, .. }) = self.locked.used.get(&index).cloned() else { return false };
        let Ok(input) = self.task_input(index) else { return false };
        let shape = input.shape(&self.db);
        let Ok(action) = db::describe(&self.db, &shape) else { return false };
        let record = line.completed(action, db::validation(&self.db, &shape));
        self.state.tick();
        let in_tree = record.outputs.iter().filter(|_| !record.on_branch);
        let outputs: Vec<_> = in_tree.map(|output| self.state.intern(&output.path)).collect();
        let now = self.state.now();
        self.record(index, &shape.task, record, &outputs, now);
        true
    }

    /// What the lock is to say now. Of a task whose recorded result `holds`, that; of any other what `old` says, since
    /// somebody may have a better result than this workspace; and where that says nothing, what is recorded. Nothing
    /// of tasks that the manifest has not, and of results that were taken back or that no check has accepted.
    pub fn lock(&self, old: Option<&Lockfile>, holds: &dyn Fn(TaskIndex) -> bool) -> Vec<Locked> {
        let mut lines = Vec::new();
        for index in self.plan.indices().filter(|index| !self.plan.is_hidden(*index)) {
            let id = self.plan.task_id(index);
            let known = old.map_or(&[][..], |old| old.candidates(&id));
            let own = if known.is_empty() || holds(index) { self.state.record(&id) } else { None };
            match own.filter(|record| record.validation_key != Digest([0; 32])) {
                Some(record) => lines.push(Locked::of(&id, &record)),
                None if self.is_taken_back(&id) => {}
                None => lines.extend(known.iter().cloned()),
            }
        }
        lines
    }

    fn is_taken_back(&self, id: &TaskId) -> bool {
        self.state.failure(id).is_some_and(|failure| failure.reason.kind == ReasonKind::RolledBack)
    }

    /// Recorded outputs in the tree that are not what was recorded, of every task of the scope, whatever else is to be
    /// said of it. What is not there at all is no such output.
    pub fn tampered(&mut self, scope: &[TaskIndex]) -> BTreeMap<TaskIndex, Vec<WorkspacePath>> {
        let mut found: BTreeMap<TaskIndex, Vec<WorkspacePath>> = BTreeMap::new();
        for index in scope.iter().copied() {
            let Some(record) = self.result_input(index).record(&self.db) else { continue };
            for output in record.outputs.iter().filter(|_| !record.on_branch) {
                let id = self.look_at(&output.path);
                let now = self.state.file(id).map(|row| row.entry);
                if now.is_some_and(|now| now.exists() && now != output.entry) {
                    found.entry(index).or_default().push(output.path.clone());
                }
            }
        }
        found
    }

    /// As [`Engine::lost`], but for results on a branch of which the lock is believed.
    pub(super) fn lost_to(&self, index: TaskIndex, record: &Record) -> Vec<WorkspacePath> {
        if self.is_told(index) { Vec::new() } else { self.lost(record) }
    }
}
