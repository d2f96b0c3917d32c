//! Starting tasks: on a free slot, or ahead of one.
//!
//! While every slot is taken, the next tasks already lie in the pool's queue, so that a worker goes from one to the
//! next without waiting for the coordinator; where tasks last a millisecond, that wait would be a tenth of the build.
//! Nobody can tell but by the clock. Invariants: no more tasks run at once than there are slots; tasks start in the
//! order in which they would otherwise; and once something did not succeed, none begins before the coordinator knows.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::slots::Claim;
use super::{Build, Message, Phase, outcome};
use crate::execute::{self, Outcome};
use crate::graph::TaskIndex;
use crate::incremental::Assignment;
use crate::model::{Status, TaskId};

/// The tasks that the pool has.
#[derive(Default)]
pub(super) struct UnderWay {
    /// Each, and how urgent the most urgent task is that waits for it.
    tasks: HashMap<TaskIndex, u64>,
    /// Those of them that wait for a slot, which they get in this order.
    ahead: VecDeque<(TaskIndex, Claim)>,
    /// How many may.
    limit: usize,
    /// Those that a person wants stopped and that nothing was found of yet that could be.
    cancelled: HashSet<TaskIndex>,
    doubts: Doubts,
}

/// How much has happened that the coordinator has yet to judge. While there is anything, no worker begins a task that
/// was given to it ahead.
#[derive(Clone, Default)]
struct Doubts(Arc<AtomicUsize>);

impl Doubts {
    fn raise(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    fn settle(&self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }

    fn any(&self) -> bool {
        self.0.load(Ordering::SeqCst) > 0
    }
}

impl UnderWay {
    /// For `jobs` slots and a pool of so many threads.
    pub(super) fn new(jobs: usize, threads: usize) -> Self {
        // A thread beyond the slots, which is for agents, would begin at once.
        let limit = if threads == jobs { jobs } else { 0 };
        Self { limit, ..Self::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// None begins any more that has not begun.
    pub(super) fn halt(&self) {
        self.doubts.raise();
    }

    fn may_start_ahead(&self) -> bool {
        self.ahead.len() < self.limit && !self.doubts.any()
    }

    /// Whatever is started now must be more urgent, so that nothing which an end sets free is overtaken.
    fn most_urgent_behind(&self) -> u64 {
        self.tasks.values().copied().max().unwrap_or(0)
    }
}

impl Build<'_> {
    /// Starts ready tasks while there are slots, and the next ones ahead.
    pub(super) fn start_ready(&mut self) {
        while !self.halted
            && let Some((index, claim)) = self.queue.pop(&self.slots)
        {
            if let Some(assignment) = self.assign(index) {
                self.slots.take(index, claim);
                self.launch(assignment, false);
            }
        }
        while !self.halted
            && self.under_way.may_start_ahead()
            && self.slots.are_all_taken_singly()
            && let Some((index, claim)) = self.queue.pop_single(self.under_way.most_urgent_behind())
        {
            if let Some(assignment) = self.assign(index) {
                self.under_way.ahead.push_back((index, claim));
                self.launch(assignment, true);
            }
        }
    }

    /// What is to be done for a task whose turn it is; none where it is not to start after all.
    fn assign(&mut self, index: TaskIndex) -> Option<Assignment> {
        if self.phases[index as usize] != Phase::Ready {
            return None;
        }
        match self.engine.assignment(index) {
            Ok(assignment) => self.passes_gate(&assignment).then_some(assignment),
            Err(diagnostic) => {
                self.fail_unstarted(index, &diagnostic);
                None
            }
        }
    }

    fn launch(&mut self, assignment: Assignment, is_ahead: bool) {
        let index = assignment.index;
        let dependents = self.engine.plan().dependents(index);
        let behind = dependents.map(|dependent| self.priority[dependent as usize]).max().unwrap_or(0);
        self.under_way.tasks.insert(index, behind);
        self.attempts[index as usize] += 1;
        self.phases[index as usize] = Phase::Running;
        let attempt = self.attempts[index as usize];
        let site = Arc::clone(&self.site);
        let outbox = self.outbox.clone();
        let doubts = self.under_way.doubts.clone();
        self.pool.spawn(move || {
            let message = if is_ahead && doubts.any() {
                Message::Withheld(index)
            } else {
                let work = std::panic::AssertUnwindSafe(|| execute::perform(&site, &assignment, attempt));
                let outcome = std::panic::catch_unwind(work).unwrap_or_else(|_| outcome::crashed());
                if !outcome.is_plain_success() {
                    doubts.raise();
                }
                Message::Finished(index, Box::new(assignment), attempt, outcome)
            };
            // The coordinator outlives its workers; if it is gone nobody needs the answer.
            let _ = outbox.send(message);
        });
    }

    /// A worker has ended an attempt.
    pub(super) fn ended(
        &mut self,
        index: TaskIndex,
        assignment: &Assignment,
        attempt: u32,
        outcome: Outcome,
    ) {
        self.leave(index);
        let is_plain = outcome.is_plain_success();
        self.finished(index, assignment, attempt, outcome);
        if !is_plain {
            self.under_way.doubts.settle();
        }
    }

    /// A worker has left a task alone that was given to it ahead.
    pub(super) fn withheld(&mut self, index: TaskIndex) {
        self.attempts[index as usize] -= 1;
        if self.leave(index) {
            self.settle(index, Status::Cancelled, Some(outcome::plain(Status::Cancelled)));
        } else {
            self.enqueue(index);
        }
    }

    /// Its slot is free, or taken by the one that comes next. Says whether a person wanted it stopped and it was not.
    fn leave(&mut self, index: TaskIndex) -> bool {
        self.under_way.tasks.remove(&index);
        self.slots.give_back(index);
        if let Some((next, claim)) = self.under_way.ahead.pop_front() {
            self.slots.take(next, claim);
        }
        let is_cancelled = self.under_way.cancelled.remove(&index);
        if is_cancelled {
            self.under_way.doubts.settle();
        }
        is_cancelled
    }

    /// Stops one task: its process, or what would have become of it.
    pub(super) fn cancel(&mut self, task: &TaskId) {
        let Some(index) = self.engine.plan().index_of(task.as_str()) else { return };
        match self.phases[index as usize] {
            Phase::Running => {
                if self.under_way.cancelled.insert(index) {
                    self.under_way.doubts.raise();
                }
                self.stop_cancelled();
            }
            Phase::Waiting { .. } | Phase::Ready | Phase::BackingOff => {
                self.settle(index, Status::Cancelled, Some(outcome::plain(Status::Cancelled)));
            }
            Phase::Idle | Phase::Settled(_) => {}
        }
    }

    /// Stops the processes of cancelled tasks, as soon as there are any.
    pub(super) fn stop_cancelled(&mut self) {
        let (plan, processes) = (self.engine.plan(), &self.site.processes);
        let under_way = &mut self.under_way;
        under_way.cancelled.retain(|index| {
            let is_stopped = processes.cancel(plan.task_id(*index).as_str());
            if is_stopped {
                under_way.doubts.settle();
            }
            !is_stopped
        });
    }
}
