//! Results that differ although nothing did that is in the key.

use serde::{Deserialize, Serialize};

use super::{ActionKey, LOCK_RUN, LOCKFILE, RunId, TaskId, WorkspacePath};

/// A task gave two results under one key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Flake {
    /// Which task.
    pub task: TaskId,
    /// The key of both.
    pub key: ActionKey,
    /// The run that gave the other result.
    pub run: RunId,
    /// The run that gave the first one; the same run where an attempt followed another.
    pub earlier: RunId,
    /// What differed.
    pub kind: FlakeKind,
    /// Outputs that differed, the first of them.
    pub paths: Vec<WorkspacePath>,
}

/// What differed between two results of one key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlakeKind {
    /// It failed, and then it did not.
    PassedAfterFailure,
    /// It had passed, and then it failed.
    FailedAfterSuccess,
    /// It made something else.
    OtherOutputs,
}

impl Flake {
    /// So many paths are kept.
    pub const PATHS: usize = 8;

    /// `it failed in run A and passed in run B under the same key`
    pub fn sentence(&self) -> String {
        let Self { run, earlier, .. } = self;
        let earlier_run = if earlier.0 == LOCK_RUN { LOCKFILE.to_owned() } else { format!("run {earlier}") };
        let named: Vec<String> = self.paths.iter().map(ToString::to_string).collect();
        match self.kind {
            FlakeKind::PassedAfterFailure if run == earlier => {
                format!("it failed and then passed under the same key in run {run}")
            }
            FlakeKind::PassedAfterFailure => {
                format!("it failed in {earlier_run} and passed in run {run} under the same key")
            }
            FlakeKind::FailedAfterSuccess => {
                format!("it passed in {earlier_run} and failed in run {run} under the same key")
            }
            FlakeKind::OtherOutputs => {
                format!(
                    "run {run} made something else than {earlier_run} under the same key: {}",
                    named.join(", ")
                )
            }
        }
    }
}
