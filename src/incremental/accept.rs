//! Takes results in: what a worker made becomes the record, the rows, and the inputs of the database.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::db;
use super::engine::{Assignment, Engine};
use crate::graph::TaskIndex;
use crate::model::{
    ActionKey, CheckEvidence, Digest, Failure, Input, OutputEntry, Record, RunId, Validation, WorkspacePath,
};
use crate::store::FileId;
use crate::workspace::Observed;

/// No validation has this key.
const UNVALIDATED: Digest = Digest([0; 32]);

/// What a worker hands back of a task that conductor may accept.
pub struct Produced {
    /// Every file, link and empty folder that it made, as seen after the checks, sorted by path.
    pub outputs: Vec<(WorkspacePath, Observed)>,
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
    Overtaken(Vec<WorkspacePath>),
}

impl Engine {
    /// Records a result.
    pub fn accept(&mut self, assignment: &Assignment, run: &RunId, produced: Produced) -> Accepted {
        let overtaken = self.overtaken(assignment);
        if !overtaken.is_empty() {
            return Accepted::Overtaken(overtaken);
        }
        self.state.tick();
        let outputs = self.take_outputs(assignment, produced.outputs);
        let output_ids: Vec<FileId> = outputs.iter().map(|output| self.state.intern(&output.path)).collect();
        let mut action = assignment.action.clone();
        self.add_discovered(&mut action.inputs, produced.discovered);
        let components = action.components();
        let validation_key = produced.validation.key(&components, &outputs);
        let record = Record {
            key: components.key(),
            validation_key: if produced.validated { validation_key } else { UNVALIDATED },
            validation: produced.validation,
            evidence: produced.evidence,
            duration: produced.duration,
            run: run.clone(),
            action,
            outputs,
        };
        self.record(assignment, record, &output_ids)
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
        let output_ids: Vec<FileId> =
            record.outputs.iter().map(|output| self.state.intern(&output.path)).collect();
        self.record(assignment, record, &output_ids);
    }

    /// Notes that a candidate turned out to be fresh, so that the next session need not ask.
    pub fn confirm(&mut self, index: TaskIndex) {
        let Ok(input) = self.task_input(index) else { return };
        let shape = input.shape(&self.db);
        if self.state.failure(&shape.task.id).is_some() {
            return;
        }
        let inputs = self.input_ids(&shape.task.id, index);
        self.state.tick();
        let verified_at = self.state.now();
        self.state.put_verified(&shape.task.id, self.row_fingerprint(index), verified_at, &inputs);
    }

    /// Notes a failure; the last accepted result stays.
    pub fn refuse(&mut self, index: TaskIndex, failure: &Failure) {
        let id = self.plan.task_id(index);
        if !failure.outputs.is_empty() {
            // What stands on disk is no longer what was recorded.
            self.state.forget(&id);
            self.results[index as usize] = None;
        }
        self.state.put_failure(&id, failure);
        self.tasks[index as usize] = None;
    }

    /// Inputs that the rest of the build has seen in another state than this task saw them.
    fn overtaken(&self, assignment: &Assignment) -> Vec<WorkspacePath> {
        let moved = |path: &WorkspacePath, seen| {
            let row = self.state.file_id(path).and_then(|id| self.state.file(id));
            row.is_some_and(|row| row.signature != seen)
        };
        let files = assignment.snapshot.files.iter();
        files.filter(|seen| moved(&seen.path, seen.signature)).map(|seen| seen.path.clone()).collect()
    }

    /// Is this input the output of a dependency and no longer what that dependency recorded?
    pub fn is_tampered(&self, assignment: &Assignment, path: &WorkspacePath) -> bool {
        let made = assignment.action.inputs.iter().filter(|input| input.from.is_some());
        let made = made.map(|input| (&input.path, input.entry));
        let needed = assignment.action.needs.iter().map(|need| (&need.path, need.entry));
        let row = self.state.file_id(path).and_then(|id| self.state.file(id));
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
            let maker = self.plan.indices().find(|maker| {
                self.plan.task(*maker).is_ok_and(|task| task.outputs.iter().any(|output| path.is_within(&output.path)))
            })?;
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
        let own = |path: &WorkspacePath| {
            let declared = assignment.task.outputs.iter().any(|output| path.is_within(&output.path));
            declared || assignment.leftovers.contains(path)
        };
        for (old, _) in assignment.previous.iter().filter(|(old, _)| own(&old.path)) {
            if let Some(id) = self.state.file_id(&old.path) {
                self.set_owned(id, false);
                if seen.binary_search_by(|(path, _)| path.cmp(&old.path)).is_err() {
                    let now = self.workspace.observe(&old.path);
                    self.take(id, now);
                }
            }
        }
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

    fn mark_observed(&mut self, id: FileId) {
        self.observed.resize(self.state.file_count(), false);
        self.observed[id.0 as usize] = true;
    }

    fn add_discovered(&mut self, inputs: &mut Vec<Input>, discovered: Vec<(WorkspacePath, Observed)>) {
        inputs.retain(|input| !input.discovered);
        for (path, observed) in discovered {
            if inputs.iter().any(|input| input.path == path) {
                continue;
            }
            let id = self.state.intern(&path);
            self.mark_observed(id);
            let entry = observed.entry;
            self.take(id, observed);
            inputs.push(Input { path, entry, from: None, discovered: true });
        }
        inputs.sort_by(|a, b| a.path.cmp(&b.path));
    }

    fn record(&mut self, assignment: &Assignment, record: Record, outputs: &[FileId]) -> Accepted {
        let (index, key) = (assignment.index, record.key);
        let inputs: Vec<WorkspacePath> = tree_inputs(&record).cloned().collect();
        let inputs: Vec<FileId> = inputs.iter().map(|path| self.state.intern(path)).collect();
        let mut outputs = outputs.to_vec();
        for path in assignment.task.unmade(&record.outputs) {
            let now = self.workspace.observe(path);
            let id = self.state.intern(path);
            self.mark_observed(id);
            self.take(id, now);
            outputs.push(id);
        }
        let verified_at = self.state.now();
        let fingerprint = self.row_fingerprint(index);
        self.state.put_record(&assignment.task.id, fingerprint, verified_at, &inputs, &outputs, &record);
        let result = self.result_input(index);
        let outputs_changed = db::set_result(&mut self.db, result, Some(Arc::new(record)));
        self.tasks[index as usize] = None;
        Accepted::Recorded { outputs_changed, key }
    }

    fn input_ids(&mut self, id: &crate::model::TaskId, index: TaskIndex) -> Vec<FileId> {
        let Ok(input) = self.task_input(index) else { return Vec::new() };
        let shape = input.shape(&self.db);
        let Some(record) = self.state.record(id) else { return Vec::new() };
        let discovered = tree_inputs(&record)
            .filter(|path| record.action.inputs.iter().any(|input| input.discovered && input.path == **path));
        let declared = shape.sources.iter().map(|(path, ..)| path);
        let checks = shape.check_sources.iter().map(|(path, _)| path);
        declared.chain(checks).chain(discovered).map(|path| self.state.intern(path)).collect()
    }

    /// A task with a folder among its literal inputs must be listed each time, though its text does not show
    /// it: its row never matches.
    fn row_fingerprint(&self, index: TaskIndex) -> Digest {
        let folder = self.plan.task(index).is_ok_and(|task| {
            let checks = task.validate.iter().flat_map(|check| &check.inputs);
            task.inputs.iter().chain(checks).filter_map(|pattern| pattern.literal.as_ref()).any(|path| {
                let row = self.state.file_id(path).and_then(|id| self.state.file(id));
                row.is_some_and(|row| row.signature.is_folder())
            })
        });
        if folder { Digest([0; 32]) } else { self.plan.fingerprint(index) }
    }
}

/// The files of the tree that a record rests on: inputs and inputs of checks that no task makes.
fn tree_inputs(record: &Record) -> impl Iterator<Item = &WorkspacePath> {
    let inputs = record.action.inputs.iter().chain(&record.validation.inputs);
    inputs.filter(|input| input.from.is_none()).map(|input| &input.path)
}
