//! How a run ended, for the whole and for each task; the contract's `build --format json`.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ActionKey, OutputEntry, Reason, TaskId};

/// Names a run: the local time at its start and the process id, `20261122-140501-4711`. Sorts by time, and runs of
/// one second by their process id, as a number: 999 comes before 1000.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub String);

impl RunId {
    /// What it sorts by; the whole text last, so that no two ids are of equal rank.
    fn rank(&self) -> (&str, u64, &str) {
        let (time, process) = self.0.rsplit_once('-').unwrap_or((&self.0, ""));
        (time, process.parse().unwrap_or(u64::MAX), &self.0)
    }
}

impl Ord for RunId {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl PartialOrd for RunId {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How a task ended in a run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Nothing to do.
    Fresh,
    /// Its command ran and was accepted.
    Ran,
    /// Its result came from the cache.
    Cached,
    /// Its command or a check failed.
    Failed,
    /// Never started, because something else failed.
    Skipped,
    /// Stopped, or never started, because of a signal or `cancel`.
    Cancelled,
    /// Waits for a person or a limit.
    Paused,
}

impl Status {
    /// The contract's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Ran => "ran",
            Self::Cached => "cached",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
            Self::Paused => "paused",
        }
    }
}

/// How many tasks ended how; adds up to the tasks in scope.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Summary {
    /// [`Status::Fresh`]
    pub fresh: usize,
    /// [`Status::Ran`]
    pub ran: usize,
    /// [`Status::Cached`]
    pub cached: usize,
    /// [`Status::Failed`]
    pub failed: usize,
    /// [`Status::Skipped`]
    pub skipped: usize,
    /// [`Status::Cancelled`]
    pub cancelled: usize,
    /// [`Status::Paused`]
    pub paused: usize,
}

impl Summary {
    /// Counts `number` tasks that ended as `status`.
    pub fn add(&mut self, status: Status, number: usize) {
        *match status {
            Status::Fresh => &mut self.fresh,
            Status::Ran => &mut self.ran,
            Status::Cached => &mut self.cached,
            Status::Failed => &mut self.failed,
            Status::Skipped => &mut self.skipped,
            Status::Cancelled => &mut self.cancelled,
            Status::Paused => &mut self.paused,
        } += number;
    }

    /// All tasks in scope.
    pub fn total(&self) -> usize {
        self.fresh + self.ran + self.cached + self.failed + self.skipped + self.cancelled + self.paused
    }
}

/// How the whole run ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunOutcome {
    /// Everything in scope is up to date.
    Success,
    /// A task or gate failed.
    Failed,
    /// Waits for a person or a limit.
    Paused,
    /// Stopped by a signal or `cancel`.
    Cancelled,
    /// An input changed while the run went on; the next run does what is due.
    Stale,
}

/// How one task ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TaskResult {
    /// How.
    pub status: Status,
    /// The action's key, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<ActionKey>,
    /// Why it ran or would have to.
    pub reasons: Vec<Reason>,
    /// How long its command and checks took.
    #[serde(rename = "duration_ms", with = "millis")]
    pub duration: Duration,
    /// What it made, or what stands recorded.
    #[serde(skip)]
    pub outputs: Vec<OutputEntry>,
    /// Fresh, but its checks ran again and accepted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub validated: bool,
}

/// How a run ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RunResult {
    /// Which run.
    pub run: RunId,
    /// How it ended.
    pub outcome: RunOutcome,
    /// The signal that stopped it (2 or 15), where one did.
    pub signal: Option<i32>,
    /// Counts.
    pub summary: Summary,
    /// Every task that was not simply fresh, in the order in which they ended.
    pub tasks: Vec<(TaskId, TaskResult)>,
    /// How long the whole run took.
    pub duration: Duration,
    /// It failed because a person's version stands in the way of a result, at least among other causes.
    pub contested: bool,
}

/// Durations as a number of milliseconds in JSON, and as they are in binary encodings.
pub(super) mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return duration.serialize(serializer);
        }
        serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        if !deserializer.is_human_readable() {
            return Duration::deserialize(deserializer);
        }
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_one_second_sort_by_their_process_as_a_number() {
        let ids =
            ["20261125-163254-1000", "20261125-163255-999", "20261125-163255-1067", "20261126-000000-1"];
        let ids = ids.map(|id| RunId(id.to_owned()));
        assert!(ids.is_sorted(), "{ids:?}");
        assert_ne!(RunId("a-01".to_owned()).cmp(&RunId("a-1".to_owned())), std::cmp::Ordering::Equal);
    }
}
