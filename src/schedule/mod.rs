//! The one loop: which task next, on which slot, and what its end means for the others.
//!
//! The coordinator is one thread; it owns the engine. Workers on a rayon pool perform assignments and
//! answer over a channel. Every transition of a task goes through `Build::settle` or `Build::start`.

mod agents;
mod desk;
mod flaky;
mod landing;
mod outcome;
mod resolve;
mod rollback;
mod slots;
mod start;
mod verify;
mod waiting;

use std::collections::{BinaryHeap, HashSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use crate::execute::{self, Outcome, RunContext, Staged};
use crate::graph::{TaskIndex, cone, critical_path};
use crate::incremental::{Assignment, Engine, Verdict};
use crate::model::{
    Diagnostic, Event, RunOutcome, RunResult, Status, Summary, TaskId, TaskResult, WorkspacePath,
};
use crate::store::{self, CancelRequest, RunDir};
use agents::Gates;
pub use desk::{Desk, Refused, Settled};
pub use outcome::plain;
pub use resolve::Side;
pub use rollback::Step;
use slots::Slots;
use start::UnderWay;
pub use verify::{Sample, Verified, verify};

/// How to build.
pub struct Options {
    /// Job slots.
    pub jobs: usize,
    /// Go on with everything that does not depend on a failure.
    pub keep_going: bool,
    /// When the build began: before it looked at the tree.
    pub began: Instant,
}

/// What reaches the coordinator.
pub enum Message {
    /// A worker tells what happens.
    Event(Event),
    /// An attempt ended.
    Finished {
        /// What was to be done.
        assignment: Box<Assignment>,
        /// Which attempt it was, from one.
        attempt: u32,
        /// How it ended.
        outcome: Outcome,
        /// What its worker has gone on with.
        next: Option<TaskIndex>,
    },
    /// A signal arrived, for the n-th time.
    Signal(i32, usize),
}

/// Where the events of a build go.
pub trait Sink {
    /// Takes the next event.
    fn event(&mut self, event: Event);

    /// Nothing more comes for the moment.
    fn flush(&mut self);
}

/// Where a task stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Not in the cone: fresh, and nothing that it depends on can change.
    Idle,
    /// This many of its dependencies have not ended; whether one of them failed.
    Waiting { left: u32, blocked: bool },
    /// All dependencies are fresh or ran; it waits for a slot.
    Ready,
    /// A worker has it.
    Running,
    /// It failed and waits for its next attempt.
    BackingOff,
    /// It ended.
    Settled(Status),
}

/// How often a task is asked again because its inputs moved before it started.
const PATIENCE: u32 = 5;

/// Between two looks at clocks, cancel requests and the state's log.
const TICK: Duration = Duration::from_millis(100);

/// How long the coordinator sleeps while the workers do without it: what they tell meanwhile is handled at once, and
/// they need not wake it for each word. One that has nothing to go on with does.
const REST: Duration = Duration::from_millis(2);

/// One build.
#[expect(clippy::struct_excessive_bools, reason = "each is a thing that has happened, or has not")]
pub struct Build<'a> {
    engine: Engine,
    context: Arc<RunContext>,
    options: Options,
    scope: Vec<TaskIndex>,
    phases: Vec<Phase>,
    /// How often each task was started, and sent back before its start.
    attempts: Vec<u32>,
    moves: Vec<u32>,
    priority: Vec<u64>,
    /// Tasks whose dependencies ended and that nobody has judged yet.
    due: Vec<TaskIndex>,
    queue: slots::Queue,
    slots: Slots,
    retries: BinaryHeap<std::cmp::Reverse<(Instant, TaskIndex)>>,
    /// What agents wait for.
    gates: Gates,
    /// Looks for what other terminals ask.
    cancels: RunDir,
    under_way: UnderWay,
    pool: rayon::ThreadPool,
    inbox: Receiver<Message>,
    outbox: SyncSender<Message>,
    sink: &'a mut dyn Sink,
    /// Tasks that ran and whose result nothing vouches for.
    unrecorded: HashSet<TaskIndex>,
    /// Results that are not yet safely recorded keep what they replaced.
    unsettled: Vec<Staged>,
    /// Tasks whose waiting result is in the tree, and not yet safely recorded.
    taken_in: Vec<TaskId>,
    committed: Instant,
    /// When requests to cancel were looked for.
    looked: Instant,
    signal: Option<i32>,
    /// No new task starts: something failed, or a signal came.
    halted: bool,
    stale: bool,
    broken: bool,
    /// A person's version stands in the way of a result.
    contested: bool,
    /// Edited paths that did not come into the tree, because a person was there first.
    kept_out: HashSet<WorkspacePath>,
    /// It was said that changes may go unseen.
    is_doubt_told: bool,
    /// How often edited paths were brought into the tree.
    landings: usize,
    /// How many tasks `check` would not call fresh.
    to_run: usize,
    summary: Summary,
    results: Vec<(TaskId, TaskResult)>,
}

impl<'a> Build<'a> {
    /// Prepares a build of `scope` (closed, in dependency order), which the engine has observed.
    pub fn new(
        mut engine: Engine,
        context: Arc<RunContext>,
        scope: Vec<TaskIndex>,
        options: Options,
        channel: (SyncSender<Message>, Receiver<Message>),
        sink: &'a mut dyn Sink,
    ) -> Result<Self, Diagnostic> {
        let plan = Arc::clone(engine.plan());
        let n = plan.len();
        let to_run = engine.count_to_run(&scope)?;
        let history = |index: TaskIndex| {
            let row = engine.state().row(&plan.task_id(index)).map(|row| row.duration.as_millis());
            row.and_then(|ms| u64::try_from(ms).ok())
                .filter(|ms| *ms > 0)
                .or(plan.effort_ms(index))
                .unwrap_or(1)
        };
        let in_cone = cone(&plan, &scope, |index| engine.is_candidate(index));
        let cone: Vec<TaskIndex> = scope.iter().copied().filter(|index| in_cone[*index as usize]).collect();
        let agents =
            if cone.iter().any(|index| plan.is_agent(*index)) { slots::agents(plan.settings()) } else { 0 };
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads((options.jobs + agents).min(cone.len()).max(1))
            .thread_name(|number| format!("worker-{number}"))
            .build()
            .map_err(|error| Diagnostic::error("build::threads", error.to_string()))?;
        // Whatever depends on a task of the cone is in it, so nothing outside can make a path longer.
        let priority = critical_path(&plan, &cone, history);
        let mut phases = vec![Phase::Idle; n];
        let mut due = Vec::new();
        for index in cone {
            let left = plan.deps(index).filter(|(dep, _)| in_cone[*dep as usize]).count();
            let left = u32::try_from(left).unwrap_or(u32::MAX);
            phases[index as usize] = Phase::Waiting { left, blocked: false };
            if left == 0 {
                due.push(index);
            }
        }
        Ok(Self {
            due,
            slots: Slots::new(options.jobs, plan.settings()),
            queue: slots::Queue::default(),
            attempts: vec![0; n],
            moves: vec![0; n],
            retries: BinaryHeap::new(),
            gates: Gates::default(),
            under_way: UnderWay::default(),
            cancels: RunDir::of(&context.folder, &context.run),
            unrecorded: HashSet::new(),
            unsettled: Vec::new(),
            taken_in: Vec::new(),
            committed: Instant::now(),
            looked: Instant::now(),
            signal: None,
            halted: false,
            stale: false,
            broken: false,
            contested: false,
            kept_out: HashSet::new(),
            is_doubt_told: false,
            landings: 0,
            to_run,
            summary: Summary::default(),
            results: Vec::new(),
            outbox: channel.0,
            inbox: channel.1,
            engine,
            context,
            options,
            scope,
            phases,
            priority,
            pool,
            sink,
        })
    }

    /// Runs to the end and gives the engine back, for whoever wants to know more of it.
    pub fn run(mut self) -> (RunResult, Engine) {
        self.announce();
        loop {
            self.judge_due();
            self.start_ready();
            if self.under_way.is_empty() && self.due.is_empty() && (self.halted || self.retries.is_empty()) {
                break;
            }
            self.wait();
        }
        self.settle_the_rest();
        self.land_what_stands();
        self.sink.flush();
        self.commit(true);
        self.context.attempts.write();
        for diagnostic in self.context.cache.iter().flat_map(store::Cache::settle) {
            self.sink.event(Event::Notice { diagnostic });
        }
        self.look_back();
        let outcome = self.outcome();
        let duration = self.options.began.elapsed();
        let (spent, saved) = (self.spent(), self.saved());
        self.sink.event(Event::RunFinished {
            result: outcome,
            summary: self.summary,
            duration,
            signal: self.signal,
            spent,
            saved,
        });
        let result = RunResult {
            run: self.context.run.clone(),
            outcome,
            signal: self.signal,
            summary: self.summary,
            tasks: self.results,
            duration,
            contested: self.contested,
        };
        (result, self.engine)
    }

    fn announce(&mut self) {
        let plan = Arc::clone(self.engine.plan());
        let visible: Vec<TaskIndex> =
            self.scope.iter().copied().filter(|index| !plan.is_hidden(*index)).collect();
        let idle = visible.iter().filter(|index| self.phases[**index as usize] == Phase::Idle).count();
        self.summary.add(Status::Fresh, idle);
        // Tasks that only wait for others, by `after` or behind a gate, count as fresh too.
        let candidates = self.to_run;
        self.sink.event(Event::Planned { fresh: visible.len().saturating_sub(candidates), candidates });
    }

    /// Asks the engine about every task whose dependencies have ended.
    fn judge_due(&mut self) {
        while let Some(index) = self.due.pop() {
            if self.halted || matches!(self.phases[index as usize], Phase::Settled(_)) {
                continue;
            }
            if self.engine.plan().is_hidden(index) || !self.engine.is_candidate(index) {
                self.settle(index, Status::Fresh, None);
                continue;
            }
            if let Some(path) = self.engine.contested(index) {
                self.contest(index, &path);
                continue;
            }
            match self.engine.verdict(index) {
                Ok(judgement) if judgement.state == Verdict::Fresh => {
                    self.engine.confirm(index);
                    let key = judgement.key;
                    let result = TaskResult { key, ..outcome::plain(Status::Fresh) };
                    self.land_then_settle(index, result, None);
                }
                Ok(judgement) if judgement.state == Verdict::Waiting => self.still_waiting(index),
                Ok(_) => self.enqueue(index),
                Err(diagnostic) => self.fail_unstarted(index, &diagnostic),
            }
        }
    }

    fn enqueue(&mut self, index: TaskIndex) {
        let plan = self.engine.plan();
        let Ok(task) = plan.task(index) else { return };
        let claim = slots::Claim::of(&task, self.options.jobs);
        if task.weight as usize > self.options.jobs {
            let message =
                format!("{} weighs {}, more than the {} job slots", task.id, task.weight, self.options.jobs);
            let diagnostic =
                Diagnostic::warning("build::weight", message).help("it takes all of them; see --jobs");
            self.sink.event(Event::Notice { diagnostic });
        }
        self.phases[index as usize] = Phase::Ready;
        self.queue.push(self.priority[index as usize], index, claim);
    }

    /// Waits for the next message, at most until the next tick or retry is due.
    fn wait(&mut self) {
        self.sink.flush();
        if self.under_way.goes_on() {
            std::thread::park_timeout(REST);
        }
        let next = self.retries.peek().map(|due| due.0.0.saturating_duration_since(Instant::now()));
        match self.inbox.recv_timeout(next.map_or(TICK, |next| next.min(TICK))) {
            Ok(message) => {
                self.handle(message);
                // Take what has queued up before looking at the clock again.
                while let Ok(message) = self.inbox.try_recv() {
                    self.handle(message);
                }
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
        // What follows may take a while.
        self.sink.flush();
        self.poll();
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Event(event) => self.sink.event(event),
            Message::Signal(signal, count) => {
                self.signal.get_or_insert(signal);
                self.halt();
                self.context.processes.stop_all(count > 1);
            }
            Message::Finished { assignment, attempt, outcome, next } => {
                self.ended(&assignment, attempt, outcome, next);
            }
        }
    }

    /// No new task starts.
    fn halt(&mut self) {
        self.halted = true;
        self.withdraw_offers();
    }

    /// What is due by the clock: retries, cancel requests, the group commit.
    fn poll(&mut self) {
        while let Some(due) = self.retries.peek().filter(|due| due.0.0 <= Instant::now()) {
            let index = due.0.1;
            self.retries.pop();
            self.due.push(index);
        }
        if self.looked.elapsed() >= TICK {
            self.looked = Instant::now();
            self.context.attempts.write();
            for request in self.cancels.poll_cancel() {
                match request {
                    CancelRequest::All => self.handle(Message::Signal(15, 1)),
                    CancelRequest::Task(task) => self.cancel(&task),
                }
            }
        }
        self.stop_cancelled();
        self.commit(false);
    }

    /// Makes results durable, in groups, and lets go of what they replaced.
    fn commit(&mut self, last: bool) {
        if !last && (self.unsettled.is_empty() || self.committed.elapsed() < Duration::from_secs(1)) {
            return;
        }
        self.committed = Instant::now();
        if let Some(cache) = &self.context.cache {
            cache.flush();
        }
        let kept = self.context.objects.sync();
        let state = self.engine.state_mut();
        match kept.and_then(|()| if last { state.finish() } else { state.commit() }) {
            Ok(()) => {
                for staged in self.unsettled.drain(..) {
                    staged.finish(&self.context);
                }
                for task in self.taken_in.drain(..) {
                    // What cannot be removed now is removed by the next build's recovery.
                    let _ = execute::clear_pending(&self.context, &task);
                }
            }
            Err(error) if last || !self.broken => {
                self.broken = true;
                let diagnostic = Diagnostic::error("build::state", format!("results could not be recorded: {error}"))
                    .help("nothing is lost: the next build puts the last recorded outputs back and runs what is due");
                self.sink.event(Event::Notice { diagnostic });
            }
            Err(_) => {}
        }
    }

    /// Were inputs edited after the tasks that read them had ended? Then success would be a lie. Of what this
    /// build has not touched, the engine may take an answer that is as young as that of a build with nothing to do.
    fn look_back(&mut self) {
        if self.results.is_empty() || self.halted || self.stale {
            return;
        }
        let changed = self.engine.changed_since_observed();
        if let Some(first) = changed.first() {
            self.stale = true;
            let others =
                if changed.len() > 1 { format!(" and {} more", changed.len() - 1) } else { String::new() };
            let message = format!("{first}{others} changed while the build went on");
            let diagnostic =
                Diagnostic::warning("build::changed", message).help("run `conductor build` again");
            self.sink.event(Event::Notice { diagnostic });
        }
    }

    fn outcome(&self) -> RunOutcome {
        match () {
            () if self.signal.is_some() => RunOutcome::Cancelled,
            () if self.contested => RunOutcome::Failed,
            () if self.summary.failed > 0 || self.summary.cancelled > 0 || self.broken => RunOutcome::Failed,
            () if self.summary.paused > 0 => RunOutcome::Paused,
            () if self.stale => RunOutcome::Stale,
            () => RunOutcome::Success,
        }
    }
}
