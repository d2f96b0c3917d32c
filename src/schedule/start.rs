//! Starting tasks: on a free slot, or by a worker that goes on by itself.
//!
//! While every slot is taken, the next few tasks lie where workers find them ([`Lookahead`]), so that one which has ended
//! a task goes on to the next without waiting for the coordinator; where tasks last a millisecond, that wait would be
//! a tenth of the build. Nobody can tell but by the clock: a worker hands its own slot on, tasks begin in the order
//! in which they would otherwise, and after anything but a plain success none begins before the coordinator has judged it.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::slots::Claim;
use super::{Build, Message, Phase, outcome};
use crate::execute::{self, Outcome, RunContext};
use crate::graph::TaskIndex;
use crate::incremental::Assignment;
use crate::model::{Event, Status, TaskId};

/// How many tasks are offered for each slot.
const AHEAD: usize = 3;

/// The tasks that workers have, and those that they take next.
#[derive(Default)]
pub(super) struct UnderWay {
    tasks: HashMap<TaskIndex, Rank>,
    lookahead: Arc<Lookahead>,
    /// What lies there, or did when the coordinator looked last.
    offered: Vec<(TaskIndex, Rank)>,
    /// Those that a person wants stopped, until there is a process to be stopped.
    cancelled: HashSet<TaskIndex>,
}

/// What is known of a task that matters for the order.
#[derive(Clone, Copy)]
struct Rank {
    /// The priority of the most urgent task that waits for it.
    behind: u64,
    /// Its end may be a plain success.
    is_plain: bool,
}

/// What workers take from without asking.
#[derive(Default)]
struct Lookahead(Mutex<Offer>);

#[derive(Default)]
struct Offer {
    turns: VecDeque<Turn>,
    /// So many ends that are no plain successes has the coordinator yet to judge: nothing is taken meanwhile.
    unjudged: usize,
}

/// An attempt that is about to begin.
struct Turn {
    assignment: Assignment,
    attempt: u32,
}

impl Lookahead {
    fn offer(&self) -> MutexGuard<'_, Offer> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a worker goes on with whose attempt ended like that.
    fn next(&self, is_plain: bool) -> Option<Turn> {
        let mut offer = self.offer();
        if !is_plain {
            offer.unjudged += 1;
        }
        if offer.unjudged == 0 { offer.turns.pop_front() } else { None }
    }
}

impl UnderWay {
    pub(super) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Do workers whose tasks end now have others to go on with?
    pub(super) fn goes_on(&self) -> bool {
        let offer = self.lookahead.offer();
        offer.unjudged == 0 && !offer.turns.is_empty()
    }

    /// Takes back what no worker has taken.
    fn withdraw(&mut self, which: impl Fn(TaskIndex) -> bool) -> Vec<TaskIndex> {
        let mut offer = self.lookahead.offer();
        let (back, stay): (VecDeque<Turn>, _) =
            std::mem::take(&mut offer.turns).into_iter().partition(|turn| which(turn.assignment.index));
        offer.turns = stay;
        let back: Vec<TaskIndex> = back.iter().map(|turn| turn.assignment.index).collect();
        self.offered.retain(|(index, _)| !back.contains(index));
        back
    }
}

impl Build<'_> {
    /// Starts ready tasks while there are slots, and offers the next ones to the workers.
    pub(super) fn start_ready(&mut self) {
        let offered = self.under_way.offered.iter();
        let least = offered.map(|(index, _)| (self.priority[*index as usize], Reverse(*index))).min();
        if self.slots.is_any_free() || least.is_some_and(|least| self.queue.best() > Some(least)) {
            self.withdraw_offers();
        }
        while !self.halted
            && let Some((index, claim)) = self.queue.pop(&self.slots)
        {
            if let Some(assignment) = self.assign(index) {
                let goes_on = claim.is_single();
                let attempt = self.begin(index, claim, self.rank(&assignment));
                let (context, outbox) = (Arc::clone(&self.context), self.outbox.clone());
                let lookahead = Arc::clone(&self.under_way.lookahead);
                let turn = Turn { assignment, attempt };
                let coordinator = std::thread::current();
                self.pool.spawn(move || {
                    work(&context, &outbox, turn, &lookahead, goes_on);
                    coordinator.unpark();
                });
            }
        }
        self.offer_the_next();
    }

    fn offer_the_next(&mut self) {
        while !self.halted
            && self.under_way.offered.len() < self.options.jobs * AHEAD
            && self.slots.are_all_taken_singly()
            && let Some(limit) = self.most_urgent_to_come()
            && let Some((index, _)) = self.queue.pop_single(limit)
        {
            if let Some(assignment) = self.assign(index) {
                let rank = self.rank(&assignment);
                let attempt = self.attempts[index as usize] + 1;
                self.under_way.offered.push((index, rank));
                self.under_way.lookahead.offer().turns.push_back(Turn { assignment, attempt });
            }
        }
    }

    /// How urgent what may yet become ready before a slot is free; none where an end cannot be a plain success, so
    /// that nothing would be taken anyway.
    fn most_urgent_to_come(&self) -> Option<u64> {
        let ranks = self.under_way.tasks.values().chain(self.under_way.offered.iter().map(|(_, rank)| rank));
        let mut most_urgent = 0;
        for rank in ranks {
            if !rank.is_plain {
                return None;
            }
            most_urgent = most_urgent.max(rank.behind);
        }
        let backing_off = self.retries.iter().map(|due| self.priority[due.0.1 as usize]);
        Some(backing_off.fold(most_urgent, u64::max))
    }

    fn rank(&self, assignment: &Assignment) -> Rank {
        let task = &assignment.task;
        let dependents = self.engine.plan().dependents(assignment.index);
        let behind = dependents.map(|dependent| self.priority[dependent as usize]).max().unwrap_or(0);
        let is_plain = task.depfile.is_none() && task.edits.is_empty() && !assignment.validation_only;
        Rank { behind, is_plain }
    }

    /// What is to be done for a task whose turn it is; none where it is not to start after all.
    fn assign(&mut self, index: TaskIndex) -> Option<Assignment> {
        if self.phases[index as usize] != Phase::Ready {
            return None;
        }
        match self.engine.assignment(index) {
            Ok(assignment) => {
                for diagnostic in self.engine.new_doubts(index) {
                    self.sink.event(Event::Notice { diagnostic });
                }
                self.passes_gate(&assignment).then_some(assignment)
            }
            Err(diagnostic) => {
                self.fail_unstarted(index, &diagnostic);
                None
            }
        }
    }

    /// A worker has it. Which attempt that is.
    fn begin(&mut self, index: TaskIndex, claim: Claim, rank: Rank) -> u32 {
        self.slots.take(index, claim);
        self.under_way.tasks.insert(index, rank);
        self.attempts[index as usize] += 1;
        self.phases[index as usize] = Phase::Running;
        self.attempts[index as usize]
    }

    /// A worker has ended an attempt, and has gone on with `next`.
    pub(super) fn ended(
        &mut self,
        assignment: &Assignment,
        attempt: u32,
        outcome: Outcome,
        next: Option<TaskIndex>,
    ) {
        let index = assignment.index;
        self.under_way.tasks.remove(&index);
        self.under_way.cancelled.remove(&index);
        self.slots.give_back(index);
        if let Some(next) = next
            && let Some(place) = self.under_way.offered.iter().position(|(offered, _)| *offered == next)
        {
            let (_, rank) = self.under_way.offered.remove(place);
            self.begin(next, Claim::single(), rank);
        }
        let is_plain = outcome.is_plain_success(&assignment.task);
        if !is_plain {
            self.withdraw_offers();
        }
        self.finished(index, assignment, attempt, outcome);
        if !is_plain {
            self.under_way.lookahead.offer().unjudged -= 1;
        }
    }

    /// What no worker has taken waits in the queue again.
    pub(super) fn withdraw_offers(&mut self) {
        if !self.under_way.offered.is_empty() {
            for index in self.under_way.withdraw(|_| true) {
                self.queue.push(self.priority[index as usize], index, Claim::single());
            }
        }
    }

    /// Stops one task: its process, or what would have become of it.
    pub(super) fn cancel(&mut self, task: &TaskId) {
        let Some(index) = self.engine.plan().index_of(task.as_str()) else { return };
        let is_offered = self.under_way.offered.iter().any(|(offered, _)| *offered == index);
        match self.phases[index as usize] {
            Phase::Ready if is_offered && self.under_way.withdraw(|offered| offered == index).is_empty() => {
                self.stop(index);
            }
            Phase::Running => self.stop(index),
            Phase::Waiting { .. } | Phase::Ready | Phase::BackingOff => {
                self.settle(index, Status::Cancelled, Some(outcome::plain(Status::Cancelled)));
            }
            Phase::Idle | Phase::Settled(_) => {}
        }
    }

    fn stop(&mut self, index: TaskIndex) {
        self.under_way.cancelled.insert(index);
        self.stop_cancelled();
    }

    /// Stops the processes of cancelled tasks, as soon as there are any.
    pub(super) fn stop_cancelled(&mut self) {
        let (plan, processes) = (self.engine.plan(), &self.context.processes);
        self.under_way.cancelled.retain(|index| !processes.cancel(plan.task_id(*index).as_str()));
    }
}

/// Performs a turn, and what is offered after it to one who may go on.
fn work(
    context: &RunContext,
    outbox: &SyncSender<Message>,
    turn: Turn,
    lookahead: &Lookahead,
    goes_on: bool,
) {
    let mut turn = Some(turn);
    while let Some(Turn { assignment, attempt }) = turn.take() {
        let perform = AssertUnwindSafe(|| execute::perform(context, &assignment, attempt));
        let outcome = catch_unwind(perform).unwrap_or_else(|_| outcome::crashed());
        let is_plain = outcome.is_plain_success(&assignment.task);
        if goes_on || !is_plain {
            turn = lookahead.next(is_plain);
        }
        let next = turn.as_ref().map(|turn| turn.assignment.index);
        let assignment = Box::new(assignment);
        // The coordinator outlives its workers; if it is gone nobody needs the answer.
        let _ = outbox.send(Message::Finished { assignment, attempt, outcome, next });
    }
}
