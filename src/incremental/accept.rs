//! Takes results in: what a worker made becomes the record, the rows, and the inputs of the database.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::db;
use super::engine::{Assignment, Engine};
use super::snapshot::Moved;
use crate::graph::TaskIndex;
use crate::model::{
    ActionKey, AgentResult, Approval, CheckEvidence, Digest, Edited, Entry, Failure, Input, Isolation,
    OutputEntry, PathIndex, Record, RunId, Task, Undo, Validation, Via, WorkspacePath,
};
use crate::store::FileId;
use crate::workspace::Observed;

/// How many results of a task can be rolled back, one after the other.
const GENERATIONS: usize = 5;

/// After a task that took so long its `tools` commands are asked once more: that costs little beside the task.
const LONG: Duration = Duration::from_secs(1);

/// No validation has this key.
const UNVALIDATED: Digest = Digest([0; 32]);

/// What a worker hands back of a task that conductor may accept. What ran in the tree has neither edits nor a branch.
#[derive(Default)]
pub struct Produced {
    /// Every file, link and empty folder that it made, as the checks accepted it, sorted by path.
    pub outputs: Vec<(WorkspacePath, Observed)>,
    /// What the tree holds in the place of some of them: somebody wrote there as they came in.
    pub displaced: Vec<(WorkspacePath, Observed)>,
    /// What the depfile named, as seen after the command ended.
    pub discovered: Vec<(WorkspacePath, Observed)>,
    /// The checks with all that they declare as inputs, as seen before they started.
    pub validation: Validation,
    /// The checks accepted it. If not (one could not run), it is recorded all the same, so that the command
    /// need not run again, but it is not fresh before they did.
    pub validated: bool,
    /// Evidence of the checks.
    pub evidence: Vec<CheckEvidence>,
    /// How long the command ran.
    pub duration: Duration,
    /// What it found and left at the paths of its `edits`, sorted by path.
    pub edited: Vec<Change>,
    /// The commit that holds it.
    pub commit: Option<String>,
    /// Its files stay on the branch of that commit.
    pub on_branch: bool,
    /// A person's word, where the task wants one.
    pub approval: Option<Approval>,
    /// What the agent that made it did, where one did.
    pub agent: Option<Box<AgentResult>>,
}

/// A path that a task edits, before and after it ran.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// Where.
    pub path: WorkspacePath,
    /// What the task found.
    pub before: Entry,
    /// What it left.
    pub after: Entry,
}

/// What accepting a result led to.
pub enum Accepted {
    /// It is recorded; were the outputs other bytes than before?
    Recorded {
        /// Dependents must be asked again.
        outputs_changed: bool,
        /// Of what is recorded: with what the depfile named, unlike the assignment's.
        key: ActionKey,
    },
    /// While the task ran, the rest of the build saw one of its inputs change.
    Overtaken(Vec<Moved>),
}

impl Engine {
    /// Records a result.
    pub fn accept(&mut self, assignment: &Assignment, run: &RunId, produced: Produced) -> Accepted {
        // What ran apart saw a snapshot: its result is true of that, whatever happened to the tree since.
        if assignment.isolation == Isolation::None {
            let overtaken = self.overtaken(assignment);
            if !overtaken.is_empty() {
                return Accepted::Overtaken(overtaken);
            }
        }
        if produced.duration >= LONG {
            let others = self.world.other_answers(&assignment.task, &assignment.action.tools);
            if !others.is_empty() {
                self.tasks.fill(None);
                return Accepted::Overtaken(others.into_iter().map(Moved::Tool).collect());
            }
        }
        self.state.tick();
        let undo = Self::undo(assignment, run);
        let mut record = Self::draft(assignment, run, &produced);
        let discovered = self.add_discovered(&mut record.action.inputs, produced.discovered);
        if discovered {
            record.key = record.action.key();
            if produced.validated {
                record.validation_key = record.validation.key(&record.action.components(), &record.outputs);
            }
        }
        record.undo = undo;
        let old = self.result_input(assignment.index).record(&self.db);
        self.settle_edits(assignment.index, old.as_deref(), &mut record.edited);
        let output_ids: Vec<FileId> = if record.on_branch {
            self.let_go(assignment, &[]);
            Vec::new()
        } else {
            record.outputs = self.take_outputs(assignment, produced.outputs);
            self.take_displaced(produced.displaced);
            record.outputs.iter().map(|output| self.state.intern(&output.path)).collect()
        };
        self.record(assignment.index, &assignment.task, record, &output_ids, assignment.snapshot.observed_at)
    }

    /// What would be recorded of a result, but for what its depfile named.
    pub fn draft(assignment: &Assignment, run: &RunId, produced: &Produced) -> Record {
        let outputs: Vec<OutputEntry> = produced
            .outputs
            .iter()
            .map(|(path, seen)| OutputEntry { path: path.clone(), entry: seen.entry })
            .collect();
        let edited = produced.edited.iter().map(|change| Edited {
            path: change.path.clone(),
            before: change.before,
            after: change.after,
            landed: false,
            held: None,
        });
        let components = assignment.action.components();
        let validation_key = produced.validation.key(&components, &outputs);
        Record {
            key: components.key(),
            validation_key: if produced.validated { validation_key } else { UNVALIDATED },
            validation: produced.validation.clone(),
            evidence: produced.evidence.clone(),
            duration: produced.duration,
            run: run.clone(),
            action: assignment.action.clone(),
            edited: edited.collect(),
            landed_by: None,
            commit: produced.commit.clone(),
            on_branch: produced.on_branch,
            approval: produced.approval.clone(),
            undo: Vec::new(),
            agent: produced.agent.clone(),
            outputs,
        }
    }

    /// What can be rolled back once this result is recorded: what stands now, and what stood before that.
    fn undo(assignment: &Assignment, run: &RunId) -> Vec<Undo> {
        let (mut undo, outputs, commit) = match (&assignment.record, &assignment.failure) {
            (Some(record), _) => (record.undo.clone(), record.outputs.clone(), record.commit.clone()),
            (None, Some(failure)) => (failure.undo.clone(), failure.outputs.clone(), failure.commit.clone()),
            (None, None) => (Vec::new(), Vec::new(), None),
        };
        let kept = !assignment.task.incremental || outputs.is_empty();
        undo.push(Undo { run: run.clone(), outputs, commit, kept });
        undo.drain(..undo.len().saturating_sub(GENERATIONS));
        undo
    }

    /// Records that the checks of a task, whose outputs stand, accepted them anew.
    pub fn accept_validation(
        &mut self,
        assignment: &Assignment,
        validation: Validation,
        evidence: Vec<CheckEvidence>,
    ) {
        let Some(old) = &assignment.record else { return };
        let mut record = (**old).clone();
        record.action = assignment.action.clone();
        record.validation_key = validation.key(&record.action.components(), &record.outputs);
        record.validation = validation;
        record.evidence = evidence;
        self.state.tick();
        let in_tree = record.outputs.iter().filter(|_| !record.on_branch);
        let output_ids: Vec<FileId> = in_tree.map(|output| self.state.intern(&output.path)).collect();
        let observed_at = assignment.snapshot.observed_at;
        self.record(assignment.index, &assignment.task, record, &output_ids, observed_at);
    }

    /// Records a result that a person changed and the checks accepted. Its key is that of things as they are now.
    pub fn adopt_result(&mut self, assignment: &Assignment, mut record: Record) {
        self.state.tick();
        let paths: Vec<WorkspacePath> = record.outputs.iter().map(|output| output.path.clone()).collect();
        let edited: Vec<WorkspacePath> = record.edited.iter().map(|edited| edited.path.clone()).collect();
        for path in paths.iter().chain(&edited) {
            let seen = self.workspace.observe(path);
            let id = self.state.intern(path);
            self.mark_observed(id);
            self.take(id, seen);
        }
        let ids: Vec<FileId> = paths.iter().map(|path| self.state.intern(path)).collect();
        record.action = self.action_behind(assignment, &record);
        let components = record.action.components();
        record.key = components.key();
        record.validation_key = assignment.validation.key(&components, &record.outputs);
        record.validation = assignment.validation.clone();
        self.record(assignment.index, &assignment.task, record, &ids, assignment.snapshot.observed_at);
    }

    /// The action of a task once `record` is its result: with a person's edit as a state that it left, it finds what
    /// it found before, and not the edit.
    fn action_behind(&mut self, assignment: &Assignment, record: &Record) -> crate::model::Action {
        let index = assignment.index;
        let result = self.result_input(index);
        let before = result.record(&self.db);
        db::set_result(&mut self.db, result, Some(Arc::new(record.clone())));
        self.note_links(index, before.as_deref(), Some(record));
        self.tasks[index as usize] = None;
        self.forget_editors();
        let shape = self.task_input(index).map(|input| input.shape(&self.db));
        let action = shape.ok().and_then(|shape| db::describe(&self.db, &shape).ok());
        action.unwrap_or_else(|| assignment.action.clone())
    }

    /// Notes that a candidate turned out to be fresh, so that the next session need not ask.
    pub fn confirm(&mut self, index: TaskIndex) {
        if self.adopt_line(index) {
            return;
        }
        // One that asks the world is asked each time, whatever was noted.
        if self.plan.asks_the_world(index) {
            return;
        }
        let Ok(input) = self.task_input(index) else { return };
        let shape = input.shape(&self.db);
        if self.state.failure(&shape.task.id).is_some() {
            return;
        }
        let inputs = self.input_ids(&shape.task.id, index);
        self.state.tick();
        let verified_at = self.state.now();
        let fingerprint = self.row_fingerprint(index);
        self.state.put_verified(&shape.task.id, fingerprint, verified_at, &inputs);
    }

    /// Notes a failure; the last accepted result stays.
    pub fn refuse(&mut self, index: TaskIndex, failure: &Failure) {
        let id = self.plan.task_id(index);
        let failure = &self.carry_on(&id, failure.clone());
        if !failure.outputs.is_empty() || failure.reason.kind == crate::model::ReasonKind::RolledBack {
            // What stands on disk is no longer what was recorded.
            self.state.forget(&id);
            self.results[index as usize] = None;
            self.locked.forget(index);
        }
        self.state.put_failure(&id, failure);
        self.tasks[index as usize] = None;
    }

    /// A failure takes over what the record or the failure before it knew of the tree and of what can be rolled
    /// back, where nothing else will say so.
    fn carry_on(&self, id: &crate::model::TaskId, mut failure: Failure) -> Failure {
        let (record, before) = (self.state.record(id), self.state.failure(id));
        if failure.undo.is_empty() {
            let undo = record.as_ref().map(|record| &record.undo);
            failure.undo = undo.or(before.as_ref().map(|before| &before.undo)).cloned().unwrap_or_default();
        }
        if failure.commit.is_none() && failure.reason.kind != crate::model::ReasonKind::RolledBack {
            let commit = record.as_ref().map(|record| &record.commit);
            failure.commit = commit.or(before.as_ref().map(|before| &before.commit)).cloned().flatten();
        }
        if failure.outputs.is_empty() && record.is_none() {
            failure.outputs = before.map(|before| before.outputs).unwrap_or_default();
        }
        failure
    }

    /// Inputs that the rest of the build has seen in another state than this task saw them.
    fn overtaken(&self, assignment: &Assignment) -> Vec<Moved> {
        let moved = |path: &WorkspacePath, seen| {
            let row = self.state.file_id(path).and_then(|id| self.state.file(id));
            row.is_some_and(|row| row.signature != seen)
        };
        let files = assignment.snapshot.files.iter();
        files
            .filter(|seen| moved(&seen.path, seen.signature))
            .map(|seen| Moved::File(seen.path.clone()))
            .collect()
    }

    /// Is this input the output of a dependency and no longer what that dependency recorded?
    pub fn is_tampered(&self, assignment: &Assignment, path: &WorkspacePath) -> bool {
        let row = self.state.file_id(path).and_then(|id| self.state.file(id));
        if assignment.edits.binary_search(path).is_ok() {
            // What earlier editors left is no state of the tree; what the tree held instead is the measure.
            let later = assignment.action.inputs.iter().any(|i| i.path == *path && i.from.is_some());
            return later && !row.is_some_and(|row| assignment.snapshot.holds(path, &row.entry));
        }
        let made = assignment.action.inputs.iter().filter(|input| input.from.is_some());
        let made = made.map(|input| (&input.path, input.entry));
        let needed = assignment.action.needs.iter().map(|need| (&need.path, need.entry));
        made.chain(needed)
            .any(|(other, entry)| other == path && row.as_ref().is_none_or(|row| row.entry != entry))
    }

    /// A file that a depfile names, that another task makes, and that nothing in the manifest makes this task
    /// wait for: it may be read too early.
    pub fn undeclared_dependency(
        &self,
        index: TaskIndex,
        discovered: &[(WorkspacePath, Observed)],
    ) -> Option<String> {
        let owned = |path: &WorkspacePath| self.state.file_id(path).is_some_and(|id| self.is_owned(id));
        let mut suspects = discovered.iter().map(|(path, _)| path).filter(|path| owned(path)).peekable();
        // Nearly always there are none, and then nobody need know what comes before this task.
        suspects.peek()?;
        let before: BTreeSet<TaskIndex> =
            crate::graph::closure(&self.plan, &BTreeSet::from([index])).into_iter().collect();
        suspects.find_map(|path| {
            let maker = self.makers().around(path).copied().min()?;
            (!before.contains(&maker)).then(|| {
                let (maker, task) = (self.plan.id(maker), self.plan.id(index));
                format!("its depfile names {path}, which {maker} makes, but {task} does not wait for {maker}; add `needs: [{maker}]`")
            })
        })
    }

    fn take_outputs(
        &mut self,
        assignment: &Assignment,
        seen: Vec<(WorkspacePath, Observed)>,
    ) -> Vec<OutputEntry> {
        self.let_go(assignment, &seen);
        let mut outputs = Vec::with_capacity(seen.len());
        for (path, observed) in seen {
            let id = self.state.intern(&path);
            self.mark_observed(id);
            self.set_owned(id, true);
            let entry = observed.entry;
            self.take(id, observed);
            outputs.push(OutputEntry { path, entry });
        }
        self.adopt(&outputs);
        outputs
    }

    /// The record holds what was accepted; the rows hold what is there, so that the task is not fresh.
    fn take_displaced(&mut self, displaced: Vec<(WorkspacePath, Observed)>) {
        for (path, observed) in displaced {
            let id = self.state.intern(&path);
            self.take(id, observed);
        }
    }

    /// What the task made before and is not among `seen` is its no more.
    fn let_go(&mut self, assignment: &Assignment, seen: &[(WorkspacePath, Observed)]) {
        let declared = assignment.task.outputs.iter().map(|output| &output.path);
        let own = PathIndex::set(declared.chain(&assignment.leftovers));
        for (old, _) in assignment.previous.iter().filter(|(old, _)| own.holds(&old.path)) {
            if let Some(id) = self.state.file_id(&old.path) {
                self.set_owned(id, false);
                if seen.binary_search_by(|(path, _)| path.cmp(&old.path)).is_err() {
                    let now = self.workspace.observe(&old.path);
                    self.take(id, now);
                }
            }
        }
    }

    pub(super) fn mark_observed(&mut self, id: FileId) {
        self.observed.resize(self.state.file_count(), false);
        self.observed[id.0 as usize] = true;
    }

    /// Returns whether the inputs are others now.
    fn add_discovered(
        &mut self,
        inputs: &mut Vec<Input>,
        discovered: Vec<(WorkspacePath, Observed)>,
    ) -> bool {
        let before = inputs.clone();
        inputs.retain(|input| !input.is_discovered());
        let mut known: HashSet<WorkspacePath> = inputs.iter().map(|input| input.path.clone()).collect();
        for (path, observed) in discovered {
            if !known.insert(path.clone()) {
                continue;
            }
            let id = self.state.intern(&path);
            self.mark_observed(id);
            let entry = observed.entry;
            self.take(id, observed);
            inputs.push(Input { path, entry, from: None, via: Via::Depfile });
        }
        inputs.sort_by(|a, b| a.path.cmp(&b.path));
        *inputs != before
    }

    pub(super) fn record(
        &mut self,
        index: TaskIndex,
        task: &Task,
        record: Record,
        outputs: &[FileId],
        observed_at: u64,
    ) -> Accepted {
        let key = record.key;
        let inputs: Vec<WorkspacePath> = tree_inputs(&record).map(|input| input.path.clone()).collect();
        let inputs: Vec<FileId> = inputs.iter().map(|path| self.state.intern(path)).collect();
        let mut outputs = outputs.to_vec();
        for path in task.unmade(&record.outputs).filter(|_| !record.on_branch) {
            let now = self.workspace.observe(path);
            let id = self.state.intern(path);
            self.mark_observed(id);
            self.take(id, now);
            outputs.push(id);
        }
        self.locked.forget(index);
        let verified_at = self.verified_at(&record, observed_at);
        // Without a look at the checks, nothing must take it for fresh.
        let unvalidated = record.validation_key == UNVALIDATED;
        let fingerprint = if unvalidated { Digest([0; 32]) } else { self.row_fingerprint(index) };
        self.state.put_record(&task.id, fingerprint, verified_at, &inputs, &outputs, &record);
        let result = self.result_input(index);
        let (before, record) = (result.record(&self.db), Arc::new(record));
        let outputs_changed = db::set_result(&mut self.db, result, Some(Arc::clone(&record)));
        self.tasks[index as usize] = None;
        self.forget_editors();
        self.note_links(index, before.as_deref(), Some(&record));
        if outputs_changed {
            self.wake_strangers(before.as_deref(), &record);
        }
        Accepted::Recorded { outputs_changed, key }
    }

    /// As of which tick a record holds. It is as old as the look at its inputs, unless every row that it rests on is
    /// at this very moment as the record says: then it holds as of now. A row that is not makes the task a candidate,
    /// whenever it was written.
    fn verified_at(&self, record: &Record, observed_at: u64) -> u64 {
        let outputs = record.outputs.iter().filter(|_| !record.on_branch);
        let all = tree_inputs(record)
            .map(|input| (&input.path, &input.entry))
            .chain(outputs.map(|output| (&output.path, &output.entry)));
        let others = all.filter_map(|(path, entry)| {
            let id = self.state.file_id(path);
            let row = id.and_then(|id| self.state.file(id));
            let holds = row.is_some_and(|row| row.entry == *entry);
            (!holds).then(|| id.and_then(|id| self.state.changed_at(id)).unwrap_or_default())
        });
        others.min().map_or(self.state.now(), |changed_at| observed_at.min(changed_at.saturating_sub(1)))
    }

    fn input_ids(&mut self, id: &crate::model::TaskId, index: TaskIndex) -> Vec<FileId> {
        let Ok(input) = self.task_input(index) else { return Vec::new() };
        let shape = input.shape(&self.db);
        let Some(record) = self.state.record(id) else { return Vec::new() };
        let discovered = tree_inputs(&record).filter(|input| input.is_discovered());
        let discovered = discovered.map(|input| &input.path);
        let declared = shape.sources.iter().map(|(path, ..)| path);
        let checks = shape.check_sources.iter().map(|(path, ..)| path);
        declared.chain(checks).chain(discovered).map(|path| self.state.intern(path)).collect()
    }

    /// If a task has a folder among its literal inputs or behind a link, the folder must be listed
    /// each time, though the task's text does not show it. Its row never matches.
    fn row_fingerprint(&mut self, index: TaskIndex) -> Digest {
        let shape = self.task_input(index).map(|input| input.shape(&self.db));
        let lists = shape.is_ok_and(|shape| shape.links.lists || shape.check_links.lists);
        let folder = self.plan.task(index).is_ok_and(|task| {
            let checks = task.validate.iter().flat_map(|check| &check.inputs);
            task.inputs.iter().chain(checks).filter_map(|pattern| pattern.literal.as_ref()).any(|path| {
                let row = self.state.file_id(path).and_then(|id| self.state.file(id));
                row.is_some_and(|row| row.signature.is_folder())
            })
        });
        if folder || lists { Digest([0; 32]) } else { self.plan.fingerprint(index) }
    }
}

/// The files of the tree that a record rests on: inputs and inputs of checks that no task makes.
pub(super) fn tree_inputs(record: &Record) -> impl Iterator<Item = &Input> {
    let inputs = record.action.inputs.iter().chain(&record.validation.inputs);
    inputs.filter(|input| input.from.is_none() && input.via != Via::Edits)
}
