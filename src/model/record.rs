//! What is remembered of a task between runs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::result::millis;
use super::{
    Action, ActionKey, AgentResult, Digest, Entry, Reason, RunId, Status, Task, TaskId, Validation,
    WorkspacePath,
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
    /// What it left in the tree without being accepted (an input changed while it ran, or a rollback put it
    /// back): conductor's own, never to be taken for a person's.
    pub outputs: Vec<OutputEntry>,
    /// What can still be rolled back, the newest last, where there is no record to say so.
    #[serde(default)]
    pub undo: Vec<Undo>,
    /// The commit at which conductor left the task's branch, where there is no record to say so.
    #[serde(default)]
    pub commit: Option<String>,
    /// A result that waits for a person, where that is why.
    #[serde(default)]
    pub pending: Option<Box<Pending>>,
}

impl Failure {
    /// With nothing left behind.
    pub fn new(key: ActionKey, reason: Reason, run: RunId) -> Self {
        Self { key, reason, run, outputs: Vec::new(), undo: Vec::new(), commit: None, pending: None }
    }
}

/// A result that everything but a person has accepted. Its files lie in `.conductor/pending/TASK`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Pending {
    /// What it waits for.
    pub wait: Wait,
    /// What would be recorded.
    pub record: Record,
    /// What its depfile named.
    pub discovered: Vec<WorkspacePath>,
}

/// What a [`Pending`] result waits for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Wait {
    /// `approve: true`.
    Approval,
    /// Versions of a person at these paths, which must not be overwritten.
    Conflict(Vec<WorkspacePath>),
}

/// That a person has accepted a result.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Approval {
    /// When, RFC 3339.
    pub at: String,
    /// `--note`
    pub note: Option<String>,
}

/// A path that matches a task's `edits`: what the task found there and what it left. Absent is a state.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Edited {
    /// Where.
    pub path: WorkspacePath,
    /// What the task found: the base, or what the editor before it left.
    pub before: Entry,
    /// What it left.
    pub after: Entry,
    /// The tree has held `after`, or what later editors made of it, since this result was accepted.
    pub landed: bool,
    /// Not so, but an older result of the task's that the tree holds still, it or what later editors made of it.
    pub held: Option<Entry>,
}

impl Edited {
    /// The state that this task left and that the tree holds, it or what later editors made of it.
    pub fn in_tree(&self) -> Option<Entry> {
        if self.landed { Some(self.after) } else { self.held }
    }
}

/// What a result replaced. The bytes are among the objects that `.conductor/` keeps.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Undo {
    /// The run whose result can be taken back.
    pub run: RunId,
    /// What stood recorded before it, sorted by path; none before the first result.
    pub outputs: Vec<OutputEntry>,
    /// The commit at which its branch stood; none where there was no branch.
    pub commit: Option<String>,
    /// The replaced bytes were kept; those of an `incremental` task are not.
    pub kept: bool,
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
    /// What became of the paths of its `edits`, sorted by path.
    pub edited: Vec<Edited>,
    /// The landing that brought the tree to what it holds of `edited`.
    pub landed_by: Option<String>,
    /// The commit on the task's branch that holds it, in hexadecimal, for `isolation: worktree`.
    pub commit: Option<String>,
    /// `integrate: branch`: its files are not in the tree.
    pub on_branch: bool,
    /// Who approved it, for `approve: true`.
    pub approval: Option<Approval>,
    /// What it and results before it replaced, the newest last.
    pub undo: Vec<Undo>,
    /// The agent that made it, where one did.
    pub agent: Option<Box<AgentResult>>,
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

    /// Do dependents and later editors find the same in both?
    pub fn gives_the_same_as(&self, other: &Self) -> bool {
        let left = |record: &Self| {
            record.edited.iter().map(|edited| (edited.path.clone(), edited.after)).collect::<Vec<_>>()
        };
        self.outputs == other.outputs && self.on_branch == other.on_branch && left(self) == left(other)
    }

    /// What it made of the path, where that matches its `edits`.
    pub fn edited(&self, path: &WorkspacePath) -> Option<&Edited> {
        self.edited.binary_search_by(|edited| edited.path.cmp(path)).ok().and_then(|at| self.edited.get(at))
    }
}
