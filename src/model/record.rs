//! What is remembered of a task between runs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::result::millis;
use super::{
    Action, ActionKey, Digest, Entry, Reason, RunId, Status, Task, TaskId, Validation, WorkspacePath,
};

/// One file, link or empty folder that a task made.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OutputEntry {
    /// Where.
    pub path: WorkspacePath,
    /// What.
    pub entry: Entry,
}

/// Evidence that a check ran.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CheckEvidence {
    /// The check as written.
    pub check: String,
    /// Did it accept?
    pub passed: bool,
    /// Its exit code, where it ran a command that ended by itself.
    pub exit: Option<i32>,
    /// What it said, when it refused: the reason or the end of its output.
    pub message: Option<String>,
    /// Of its whole output.
    pub log: Digest,
    /// How long it took.
    #[serde(rename = "duration_ms", with = "millis")]
    pub duration: Duration,
}

/// The last attempt failed, and on what.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// The action that failed; a failure of another action says nothing of this one.
    pub key: ActionKey,
    /// Why: previous failed, validation failed, gate failed or changed during run.
    pub reason: Reason,
    /// The run.
    pub run: RunId,
    /// What it left in the tree without being accepted (an input changed while it ran): conductor's own,
    /// never to be taken for a person's.
    pub outputs: Vec<OutputEntry>,
}

/// What a run keeps of a task that it ran, or of which it ran the checks.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Attempt {
    /// Which task. The first field: readers look at it alone.
    pub task: TaskId,
    /// How it ended; `fresh` where its checks alone ran, and accepted.
    pub status: Status,
    /// What its key was made of.
    pub action: Action,
    /// What accepted it.
    pub validation: Option<Validation>,
    /// What it made, sorted by path.
    pub outputs: Vec<OutputEntry>,
}

/// The last accepted result of a task.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Of `action`.
    pub key: ActionKey,
    /// What the result depends on.
    pub action: Action,
    /// What was made, sorted by path.
    pub outputs: Vec<OutputEntry>,
    /// What accepted it.
    pub validation: Validation,
    /// The validation's key; freshness requires that it is today's.
    pub validation_key: Digest,
    /// The evidence of the checks.
    pub evidence: Vec<CheckEvidence>,
    /// How long the command took.
    pub duration: Duration,
    /// The run that made it.
    pub run: RunId,
}

impl Task {
    /// Optional output files that are not among `outputs` (sorted by path): an intruder there is noticed.
    pub fn unmade(&self, outputs: &[OutputEntry]) -> impl Iterator<Item = &WorkspacePath> {
        let optional = self.outputs.iter().filter(|output| output.optional && !output.folder);
        optional.map(|output| &output.path).filter(|path| {
            // What was declared as a file may have become a folder with something in it.
            let at = outputs.partition_point(|output| output.path < **path);
            outputs.get(at).is_none_or(|output| !output.path.is_within(path))
        })
    }
}

impl Record {
    /// The output at `path`.
    pub fn output(&self, path: &WorkspacePath) -> Option<&OutputEntry> {
        self.outputs.binary_search_by(|output| output.path.cmp(path)).ok().and_then(|at| self.outputs.get(at))
    }
}
