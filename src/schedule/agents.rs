//! What agents' tasks have in common while they run: a provider's limit holds all of them, and a login that does not
//! work stops all of them.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::outcome::plain;
use super::{Build, Phase};
use crate::execute::{Disposition, Refusal};
use crate::graph::TaskIndex;
use crate::incremental::Assignment;
use crate::model::{Event, Failure, Reason, ReasonKind, Status, TaskResult, Usage, Work};

/// Between two looks whether the first task that started after a limit got through.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// The longest that is waited before a provider is tried again that does not say how long.
const LONGEST: Duration = Duration::from_secs(300);

/// How long a task waits for limits in all, unless it says otherwise.
const LIMIT_WAIT: Duration = Duration::from_secs(60 * 60);

/// May a task of an adapter start?
enum Admission {
    Now,
    /// Not before this.
    At(Instant),
    /// Never: this task has shown that it cannot work.
    Never(TaskIndex),
}

/// One adapter's gate.
#[derive(Default)]
struct Gate {
    /// Shut until then.
    until: Option<Instant>,
    /// How often in a row the limit was met.
    strikes: u32,
    /// The task that tries whether the limit is over. The others wait for it.
    probe: Option<TaskIndex>,
    broken: Option<TaskIndex>,
}

/// The gates of all adapters.
#[derive(Default)]
pub(super) struct Gates {
    adapters: HashMap<String, Gate>,
    /// How long each task has waited.
    waited: HashMap<TaskIndex, Duration>,
}

impl Gates {
    fn admit(&mut self, adapter: &str, index: TaskIndex, now: Instant) -> Admission {
        let Some(gate) = self.adapters.get_mut(adapter) else { return Admission::Now };
        if let Some(broken) = gate.broken {
            return Admission::Never(broken);
        }
        if let Some(until) = gate.until.filter(|until| *until > now) {
            return Admission::At(until);
        }
        match gate.probe {
            Some(probe) if probe != index => Admission::At(now + LOOK_AGAIN),
            _ => {
                gate.probe = (gate.strikes > 0).then_some(index);
                Admission::Now
            }
        }
    }

    /// A task met its provider's limit: how long all of the adapter wait. None where the task has waited long
    /// enough.
    fn shut(
        &mut self,
        adapter: &str,
        index: TaskIndex,
        (told, first, most): (Option<Duration>, Duration, Duration),
        now: Instant,
    ) -> Option<Duration> {
        let gate = self.adapters.entry(adapter.to_owned()).or_default();
        let wait = told.unwrap_or_else(|| first.saturating_mul(1 << gate.strikes.min(16)).min(LONGEST));
        gate.strikes += 1;
        gate.probe = None;
        gate.until = gate.until.max(now.checked_add(wait));
        let waited = self.waited.entry(index).or_default();
        *waited = waited.saturating_add(wait);
        (*waited <= most).then_some(wait)
    }

    /// A task ended in another way than at its provider's limit. Where it was the one that tried, all others may start.
    fn passed(&mut self, adapter: &str, index: TaskIndex) {
        if self.adapters.get(adapter).is_some_and(|gate| gate.probe == Some(index) && gate.broken.is_none()) {
            self.adapters.remove(adapter);
        }
    }

    fn break_down(&mut self, adapter: &str, index: TaskIndex) {
        self.adapters.entry(adapter.to_owned()).or_default().broken = Some(index);
    }
}

impl Build<'_> {
    /// Does the gate of its adapter let the task start? If not, it is seen to that it is asked again, or ends.
    pub(super) fn passes_gate(&mut self, assignment: &Assignment) -> bool {
        let Work::Agent(agent) = &assignment.task.work else { return true };
        // Its checks alone need no agent.
        if assignment.validation_only {
            return true;
        }
        let index = assignment.index;
        match self.gates.admit(&agent.adapter, index, Instant::now()) {
            Admission::Now => true,
            Admission::At(instant) => {
                self.phases[index as usize] = Phase::BackingOff;
                self.retries.push(std::cmp::Reverse((instant, index)));
                false
            }
            Admission::Never(broken) => {
                let task = self.engine.plan().task_id(broken);
                let message = format!("the agent {} cannot work, as {task} has shown", agent.adapter);
                let reason = Reason::new(ReasonKind::PreviousFailed).task(&task);
                let result = TaskResult { reasons: vec![reason], ..plain(Status::Skipped) };
                self.settle_with_log(index, result, Some(message), None);
                false
            }
        }
    }

    /// A run of an agent ended: the gate of its adapter learns from it.
    pub(super) fn agent_passed(&mut self, assignment: &Assignment) {
        if let Work::Agent(agent) = &assignment.task.work {
            self.gates.passed(&agent.adapter, assignment.index);
        }
    }

    /// A provider's limit: the same attempt goes on later. Gives the refusal back where it has waited long enough.
    pub(super) fn wait_for_provider(
        &mut self,
        assignment: &Assignment,
        attempt: u32,
        refusal: Refusal,
    ) -> Option<Refusal> {
        let Disposition::Wait { adapter, wait } = &refusal.disposition else { return Some(refusal) };
        let (index, task) = (assignment.index, &assignment.task);
        let first = task.retries.map_or(Duration::from_secs(1), |retries| retries.backoff);
        let most = task.limit_wait.unwrap_or(LIMIT_WAIT);
        let now = Instant::now();
        let shut = self.gates.shut(adapter, index, (*wait, first, most), now);
        let Some(wait) = shut.filter(|_| !self.halted) else { return Some(refusal) };
        // It is no attempt.
        self.attempts[index as usize] -= 1;
        let message = refusal.message;
        self.sink.event(Event::TaskRetry { task: task.id.clone(), attempt, message, wait });
        self.phases[index as usize] = Phase::BackingOff;
        self.retries.push(std::cmp::Reverse((now + wait, index)));
        None
    }

    /// A limit is reached: the task waits for a person, who builds again.
    pub(super) fn pause(&mut self, assignment: &Assignment, refusal: Refusal) {
        let reason =
            Reason::new(ReasonKind::PreviousFailed).name("paused").new_value(refusal.message.clone());
        let failure = Failure::new(assignment.key, reason.clone(), self.context.run.clone());
        self.engine.refuse(assignment.index, &failure);
        let key = Some(assignment.key);
        let result =
            TaskResult { key, reasons: vec![reason], duration: refusal.duration, ..plain(Status::Paused) };
        let message = format!(
            "{}; its session and its files are kept: `conductor build {}` goes on with it",
            refusal.message, assignment.task.id
        );
        self.settle_with_log(assignment.index, result, Some(message), refusal.log);
    }

    /// What the agents of this build used; none where none ran.
    pub(super) fn spent(&self) -> Option<Usage> {
        let spent = self.context.agents.ledger.total();
        (spent != Usage::default()).then_some(spent)
    }

    /// What the agents had used whose results stand, and need not be made again.
    pub(super) fn saved(&self) -> Option<Usage> {
        let plan = self.engine.plan();
        let stands = |index: &TaskIndex| {
            let phase = self.phases[*index as usize];
            matches!(phase, Phase::Idle | Phase::Settled(Status::Fresh | Status::Cached))
        };
        let agents = self.scope.iter().copied().filter(|index| plan.is_agent(*index)).filter(stands);
        let mut saved: Option<Usage> = None;
        for record in agents.filter_map(|index| self.engine.state().record(&plan.task_id(index))) {
            if let Some(agent) = &record.agent {
                saved.get_or_insert_default().add(&agent.usage);
            }
        }
        saved
    }

    /// No task of this adapter can succeed.
    pub(super) fn stop_adapter(&mut self, assignment: &Assignment, adapter: &str) {
        self.gates.break_down(adapter, assignment.index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn after_a_limit_one_task_tries_and_the_others_wait_for_it() {
        let (mut gates, now) = (Gates::default(), Instant::now());
        let is_now = |admission: &Admission| matches!(admission, Admission::Now);
        assert!(is_now(&gates.admit("a", 1, now)) && is_now(&gates.admit("a", 2, now)));
        assert_eq!(gates.shut("a", 1, (Some(SECOND * 7), SECOND, SECOND * 60), now), Some(SECOND * 7));
        assert!(matches!(gates.admit("a", 2, now), Admission::At(at) if at == now + SECOND * 7));
        assert!(is_now(&gates.admit("b", 3, now)), "another provider");
        gates.passed("a", 2);
        assert!(
            matches!(gates.admit("a", 2, now), Admission::At(_)),
            "who began before it knows nothing of the limit"
        );
        let later = now + SECOND * 8;
        assert!(is_now(&gates.admit("a", 2, later)));
        assert!(matches!(gates.admit("a", 1, later), Admission::At(_)));
        gates.passed("a", 2);
        assert!(is_now(&gates.admit("a", 1, later)));
    }

    #[test]
    fn who_is_told_no_time_waits_longer_each_time_and_not_for_ever() {
        let (mut gates, now) = (Gates::default(), Instant::now());
        let mut shut = || gates.shut("a", 1, (None, SECOND, SECOND * 7), now);
        assert_eq!(
            [shut(), shut(), shut(), shut()],
            [Some(SECOND), Some(SECOND * 2), Some(SECOND * 4), None]
        );
    }

    #[test]
    fn a_login_that_does_not_work_stops_all_of_its_adapter() {
        let (mut gates, now) = (Gates::default(), Instant::now());
        gates.break_down("a", 4);
        assert!(matches!(gates.admit("a", 5, now), Admission::Never(4)));
        gates.passed("a", 6);
        assert!(matches!(gates.admit("a", 5, now), Admission::Never(4)));
    }
}
