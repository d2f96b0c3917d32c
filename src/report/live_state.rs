//! What each task is doing now: a fold over the events of a run. The live display draws it, and
//! `conductor list` answers from it in another terminal while the run goes on.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::time::Duration;

use crate::model::{Event, RunId, RunOutcome, Stamped, Status, Summary, TaskId, format_duration};

/// What a task is doing, or how it ended. Times count from the start of the run.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Activity {
    /// Nothing was heard of it: it is fresh already, or its turn has not come.
    #[default]
    Waiting,
    /// Its command or its checks run.
    Running {
        /// When this attempt began.
        since: Duration,
        /// From 1.
        attempt: u32,
        /// Only its checks run.
        validation_only: bool,
    },
    /// An attempt failed, the next one follows.
    Retrying {
        /// When.
        at: Duration,
        /// The attempt that failed.
        attempt: u32,
        /// Why.
        message: String,
    },
    /// It ended.
    Finished {
        /// How.
        status: Status,
        /// How long it took.
        duration: Duration,
        /// What went wrong.
        message: Option<String>,
    },
}

impl Activity {
    /// For people: `running for 1m02s`, `ran in 1.2s`, `failed: exit status 3`; `now` counts from the
    /// start of the run.
    pub fn describe(&self, now: Duration) -> String {
        match self {
            Self::Waiting => "waiting".to_owned(),
            Self::Running { since, attempt, validation_only } => {
                let what = if *validation_only { "checking" } else { "running" };
                let time = format_duration(now.saturating_sub(*since));
                match attempt {
                    0 | 1 => format!("{what} for {time}"),
                    _ => format!("{what} for {time}, attempt {attempt}"),
                }
            }
            Self::Retrying { at, attempt, .. } => {
                let wait = format_duration(at.saturating_sub(now));
                format!("attempt {attempt} failed, again in {wait}")
            }
            Self::Finished { status, duration, message } => match (status, message) {
                (Status::Ran, _) => format!("ran in {}", format_duration(*duration)),
                (status, Some(message)) => format!("{}: {message}", status.name()),
                (status, None) => status.name().to_owned(),
            },
        }
    }
}

/// A run at a moment.
#[derive(Clone, Debug, Default)]
pub struct LiveState {
    /// Which run; none before its first event.
    pub run: Option<RunId>,
    /// conductor's process, for whoever wants to know if it still lives.
    pub pid: u32,
    /// The time of the last event.
    pub now: Duration,
    /// Tasks that may have to run; all in scope until that is known.
    pub candidates: usize,
    /// Of those, the ones that ended; and those that were fresh from the start.
    pub summary: Summary,
    /// What those that ran took together.
    pub spent: Duration,
    /// `--jobs`
    pub jobs: usize,
    /// How it ended.
    pub result: Option<RunOutcome>,
    /// In the order in which they started.
    running: Vec<TaskId>,
    tasks: HashMap<TaskId, Activity>,
    fresh: usize,
}

impl LiveState {
    /// The state after all of `events`.
    pub fn from_events(events: impl IntoIterator<Item = impl Borrow<Stamped>>) -> Self {
        let mut state = Self::default();
        for event in events {
            state.event(event.borrow());
        }
        state
    }

    /// Takes the next event.
    pub fn event(&mut self, event: &Stamped) {
        self.now = Duration::from_millis(event.t);
        match &event.event {
            Event::RunStarted { run, pid, scope, jobs, .. } => {
                (self.run, self.pid, self.candidates, self.jobs) = (Some(run.clone()), *pid, *scope, *jobs);
            }
            Event::Planned { fresh, candidates } => {
                (self.fresh, self.candidates) = (*fresh, *candidates);
                self.summary.add(Status::Fresh, *fresh);
            }
            Event::TaskStarted { task, attempt, validation_only, .. } => {
                if !self.running.contains(task) {
                    self.running.push(task.clone());
                }
                let (attempt, validation_only) = (*attempt, *validation_only);
                self.tasks
                    .insert(task.clone(), Activity::Running { since: self.now, attempt, validation_only });
            }
            Event::TaskRetry { task, attempt, message, wait } => {
                let (attempt, message) = (*attempt, message.clone());
                self.tasks
                    .insert(task.clone(), Activity::Retrying { at: self.now + *wait, attempt, message });
            }
            Event::TaskFinished { task, status, duration, message, .. } => {
                self.running.retain(|running| running != task);
                self.summary.add(*status, 1);
                if *status == Status::Ran {
                    self.spent += *duration;
                }
                let (status, duration, message) = (*status, *duration, message.clone());
                self.tasks.insert(task.clone(), Activity::Finished { status, duration, message });
            }
            Event::RunFinished { result, .. } => self.result = Some(*result),
            Event::Notice { .. }
            | Event::TaskOutput { .. }
            | Event::CheckFinished { .. }
            | Event::AgentFinished { .. } => {}
        }
    }

    /// What one task is doing.
    pub fn of(&self, task: &TaskId) -> &Activity {
        self.tasks.get(task).unwrap_or(&Activity::Waiting)
    }

    /// Tasks that run or are about to try again, in the order in which they started.
    pub fn running(&self) -> impl ExactSizeIterator<Item = (&TaskId, &Activity)> {
        self.running.iter().map(|task| (task, self.of(task)))
    }

    /// Candidates that ended.
    pub fn settled(&self) -> usize {
        self.summary.total() - self.fresh
    }

    /// How long what is left may take: the mean of what ran so far, over the jobs that can be busy.
    /// Unknown until a few have run, and a guess after that; tasks that turn out fresh make it shorter.
    pub fn remaining(&self) -> Option<Duration> {
        const ENOUGH: usize = 3;
        let left = self.candidates.saturating_sub(self.settled());
        if self.summary.ran < ENOUGH || left == 0 {
            return None;
        }
        let mean = self.spent / u32::try_from(self.summary.ran).ok()?;
        let busy = left.min(self.jobs.max(1));
        Some(mean * u32::try_from(left.div_ceil(busy)).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::testing::Story;

    #[test]
    fn each_task_is_where_its_last_event_left_it() {
        let story = Story::new(6, 1)
            .start("T1", Vec::new())
            .start("T2", Vec::new())
            .start("T3", Vec::new())
            .after(62_000)
            .end("T1", Status::Ran, 62_000)
            .fail("T2", 62_000, "exit status 3")
            .retry("T3", 1, "exit status 1")
            .start("T4", Vec::new());
        let state = LiveState::from_events(&story.events);
        let describe = |task| state.of(&TaskId::new(task)).describe(Duration::from_millis(62_300));
        assert_eq!(describe("T1"), "ran in 1m02s");
        assert_eq!(describe("T2"), "failed: exit status 3");
        assert_eq!(describe("T3"), "attempt 1 failed, again in 700ms");
        assert_eq!(describe("T4"), "running for 300ms");
        assert_eq!(describe("T5"), "waiting");
        assert_eq!(state.settled(), 2);
        let running: Vec<_> = state.running().map(|(task, _)| task.as_str()).collect();
        assert_eq!(running, ["T3", "T4"]);
    }

    #[test]
    fn the_rest_is_guessed_only_after_a_few_have_run() {
        let story = Story::new(12, 0).end("T1", Status::Ran, 2000).end("T2", Status::Ran, 4000);
        assert_eq!(LiveState::from_events(&story.events).remaining(), None);
        let story = story.end("T3", Status::Ran, 6000);
        // Nine are left for eight jobs: two rounds of four seconds.
        assert_eq!(LiveState::from_events(&story.events).remaining(), Some(Duration::from_secs(8)));
    }
}
