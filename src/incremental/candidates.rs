//! Which tasks may be anything but fresh: salsa's red-green marks, kept between processes.
//!
//! A file's row says at which tick its content last changed, a task's at which tick its key was last known
//! to hold. A task all of whose files and dependencies are older than that is fresh without asking; every
//! other task of the scope is a candidate, and the query decides. Being a candidate is never wrong, only
//! slower; being none must be certain.

use super::accept::tree_inputs;
use super::engine::Engine;
use crate::graph::{Plan, TaskIndex};
use crate::model::{Input, TaskId};
use crate::store::{FileId, State};
use crate::workspace::in_parallel;

/// A task's row, in short. There is one for each task of the plan, so it is kept small.
pub(super) struct Brief {
    verified_at: u64,
    outputs_changed_at: u64,
    /// Its inputs, then its outputs: `files[start..end]`, the latter from `outputs`.
    start: u32,
    outputs: u32,
    end: u32,
    has_failure: bool,
    has_record: bool,
    /// The row's files are still those that the manifest's words name.
    pub(super) known: bool,
}

impl Brief {
    /// Has it outputs in the tree?
    fn has_outputs(&self) -> bool {
        self.outputs < self.end
    }
}

/// The plan's tasks with their rows: one walk along both, in the order of ids.
#[derive(Default)]
pub(super) struct Briefs {
    by_task: Vec<Option<Brief>>,
    files: Vec<FileId>,
    /// Which files are recorded outputs of any task.
    pub(super) owned: Vec<bool>,
    /// Tasks that left outputs behind when they left the manifest.
    pub(super) gone: Vec<TaskId>,
    /// Tasks with a record whose definition is another one now.
    pub(super) redefined: Vec<TaskIndex>,
    /// Tasks with a record that are gone or redefined, whatever they made.
    pub(super) changed: Vec<TaskId>,
}

impl Briefs {
    pub(super) fn join(plan: &Plan, state: &State) -> Self {
        let files = state.file_count();
        let (owned, files) = (vec![false; files], Vec::with_capacity(files));
        let mut joined = Self { files, owned, ..Self::default() };
        joined.by_task.resize_with(plan.len(), || None);
        // The state counts files in 32 bits, and so does the plan its edges.
        let count = |files: &Vec<FileId>| u32::try_from(files.len()).unwrap_or(u32::MAX);
        let mut ids = plan.sorted().peekable();
        for (id, row) in state.tasks() {
            while ids.next_if(|index| plan.id(*index) < id).is_some() {}
            let start = count(&joined.files);
            joined.files.extend(row.inputs);
            let outputs = count(&joined.files);
            joined.files.extend(row.outputs);
            let end = count(&joined.files);
            for file in &joined.files[outputs as usize..] {
                joined.owned[file.0 as usize] = true;
            }
            let Some(index) = ids.next_if(|index| plan.id(*index) == id) else {
                if end > outputs {
                    joined.gone.push(TaskId::new(id));
                }
                if row.has_record {
                    joined.changed.push(TaskId::new(id));
                }
                continue;
            };
            let same = row.fingerprint == plan.fingerprint(index);
            if row.has_record && !same {
                joined.changed.push(TaskId::new(id));
                if end > outputs {
                    joined.redefined.push(index);
                }
            }
            let said = row.has_record && !plan.asks_the_world(index);
            joined.by_task[index as usize] = Some(Brief {
                verified_at: row.verified_at,
                outputs_changed_at: row.outputs_changed_at,
                start,
                outputs,
                end,
                has_failure: row.has_failure,
                has_record: row.has_record,
                known: said && same,
            });
        }
        joined
    }

    /// The row of a task.
    pub(super) fn get(&self, index: TaskIndex) -> Option<&Brief> {
        self.by_task[index as usize].as_ref()
    }

    /// Inputs and outputs of a row.
    pub(super) fn files(&self, brief: &Brief) -> &[FileId] {
        &self.files[brief.start as usize..brief.end as usize]
    }
}

/// Tasks are marked in chunks of this many.
const CHUNK: usize = 4096;

impl Engine {
    /// Marks the candidates of `scope`, whose files have been looked at.
    pub(super) fn mark_candidates(&mut self, scope: &[TaskIndex], briefs: &Briefs) {
        let (plan, state, forced) = (&*self.plan, &self.state, &self.forced);
        let marks = in_parallel(scope, CHUNK, false, |index| {
            forced.contains(index) || may_have_changed(plan, state, *index, briefs)
        });
        for (index, changed) in scope.iter().copied().zip(marks) {
            let bare = || briefs.get(index).is_some_and(|brief| !brief.has_outputs());
            let visible = !self.plan.is_hidden(index);
            self.candidate[index as usize] = visible && (changed || bare() && self.has_lost(index));
        }
        debug_assert_eq!(self.wrongly_passed_over(scope), None, "its rows are not as its record says");
    }

    /// A task of a small scope that is no candidate although a row that it rests on is not what its record says.
    fn wrongly_passed_over(&self, scope: &[TaskIndex]) -> Option<TaskId> {
        const FEW: usize = 1000;
        let holds = |input: &Input| {
            let row = self.state.file_id(&input.path).and_then(|id| self.state.file(id));
            row.is_some_and(|row| row.entry == input.entry)
        };
        let passed = scope.iter().filter(|index| !self.candidate[**index as usize]).take(FEW);
        passed.map(|index| self.plan.task_id(*index)).find(|id| {
            let record = self.state.record(id);
            record.is_some_and(|record| !tree_inputs(&record).all(holds))
        })
    }

    /// Are the bytes of a result gone that stays on its branch?
    fn has_lost(&self, index: TaskIndex) -> bool {
        let record = self.state.record(&self.plan.task_id(index));
        record.is_some_and(|record| !self.lost(&record).is_empty())
    }
}

/// Is something younger than the task's last verification?
fn may_have_changed(plan: &Plan, state: &State, index: TaskIndex, briefs: &Briefs) -> bool {
    let Some(brief) = briefs.get(index).filter(|brief| brief.known && !brief.has_failure) else {
        return true;
    };
    if plan.is_always(index) {
        return true;
    }
    let younger = |tick: u64| tick > brief.verified_at;
    briefs.files(brief).iter().any(|id| state.changed_at(*id).is_none_or(younger))
        || plan.deps(index).filter(|(_, kinds)| kinds.carries_outputs()).any(|(dep, _)| {
            briefs.get(dep).is_none_or(|dep| !dep.has_record || younger(dep.outputs_changed_at))
        })
}
