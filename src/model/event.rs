//! The event stream: the only interface between a run and what people see of it. Progress, the run's
//! file `events.jsonl`, the execution log and `list` are all readers of it. Documented in `docs/json.md`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::result::millis;
use super::{
    ActionKey, AgentRun, CheckEvidence, Diagnostic, OutputEntry, Reason, RunId, RunOutcome, Status, Summary,
    TaskId, Usage,
};

/// The version of the stream, in every line as `v`.
pub const EVENTS_VERSION: u32 = 1;

/// An event with its time.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Stamped {
    /// [`EVENTS_VERSION`]
    pub v: u32,
    /// Milliseconds since the run began.
    pub t: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// Something that happened in a run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The first line.
    RunStarted {
        /// Which run.
        run: RunId,
        /// conductor's version.
        conductor: String,
        /// conductor's process id.
        pid: u32,
        /// Wall-clock time, RFC 3339.
        started: String,
        /// Targets as given.
        targets: Vec<String>,
        /// `--jobs`.
        jobs: usize,
        /// Tasks in scope.
        scope: usize,
    },
    /// How many of the tasks in scope may have to run; sent once, before the first of them starts.
    Planned {
        /// Tasks that are fresh already, as `check` says.
        fresh: usize,
        /// Those that `check` calls stale, blocked or always. A task that stands on an `always` task alone counts as fresh: it
        /// runs only if that task gives something else.
        candidates: usize,
    },
    /// Something to tell the person.
    Notice {
        /// What.
        diagnostic: Diagnostic,
    },
    /// A task's command, or its checks alone, started.
    TaskStarted {
        /// Which.
        task: TaskId,
        /// Its key.
        key: ActionKey,
        /// Why it is not fresh.
        reasons: Vec<Reason>,
        /// From 1.
        attempt: u32,
        /// Only its checks run.
        validation_only: bool,
    },
    /// A line that a running task printed, already redacted; not kept in `events.jsonl` (the log has it).
    TaskOutput {
        /// Which.
        task: TaskId,
        /// Without its line end; bytes that are no UTF-8 are replaced.
        line: String,
    },
    /// A check ran.
    CheckFinished {
        /// Which task's.
        task: TaskId,
        /// `require`, `validate` or `gate`.
        phase: String,
        /// What it did.
        evidence: CheckEvidence,
    },
    /// A run of an agent's program ended, and its result was looked at.
    AgentFinished {
        /// Which task's.
        task: TaskId,
        /// From 1.
        attempt: u32,
        /// What it did, and how it ended.
        run: AgentRun,
    },
    /// An attempt failed and another follows.
    TaskRetry {
        /// Which.
        task: TaskId,
        /// The attempt that failed, from 1.
        attempt: u32,
        /// Why.
        message: String,
        /// Until the next one.
        #[serde(rename = "wait_ms", with = "millis")]
        wait: Duration,
    },
    /// A task ended. Not sent for those counted in `planned.fresh`.
    TaskFinished {
        /// Which.
        task: TaskId,
        /// How.
        status: Status,
        /// Its key, where known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<ActionKey>,
        /// Why it ran, or what is wrong.
        reasons: Vec<Reason>,
        /// Command and checks.
        #[serde(rename = "duration_ms", with = "millis")]
        duration: Duration,
        /// What it made.
        outputs: Vec<OutputEntry>,
        /// Only its checks ran, and accepted.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        validated: bool,
        /// What went wrong, for people.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
        /// Where its output is kept, relative to the workspace root; none where it printed nothing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        log: Option<String>,
    },
    /// The last line.
    RunFinished {
        /// How.
        result: RunOutcome,
        /// Counts.
        summary: Summary,
        /// The whole run.
        #[serde(rename = "duration_ms", with = "millis")]
        duration: Duration,
        /// The signal that stopped it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signal: Option<i32>,
        /// What its agents used; none where no agent ran.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        spent: Option<Usage>,
        /// What the agents had used whose results stood; none where there were none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        saved: Option<Usage>,
    },
}
