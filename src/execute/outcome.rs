//! How an attempt may end: the vocabulary that workers and the coordinator share. Knows no step of an attempt.

use std::time::Duration;

use super::staging::{Staged, StagingError};
use crate::agent::Evidence;
use crate::incremental::{Moved, Produced};
use crate::model::{CheckEvidence, Diagnostic, Reason, ReasonKind, Task, Validation, Wait, WorkspacePath};
use crate::store::BranchMove;

/// So many outputs are few.
const FEW: usize = 16;

/// How an attempt ended.
pub enum Outcome {
    /// Something that the key names is not as it was when the key was made; nothing came of the attempt.
    Moved(Vec<Moved>),
    /// It ran apart, and a tool changed meanwhile, of which it has no copy: nothing of it counts.
    Overtaken(Box<Overtaken>),
    /// It ran and everything accepted it.
    Done(Box<Done>),
    /// Its checks alone ran, and accepted the outputs that stand.
    Validated(Validation, Vec<CheckEvidence>),
    /// Its checks alone ran, and refused the outputs that stand: the task is to run.
    Invalid(Reason),
    /// It did not succeed.
    Refused(Box<Refusal>),
    /// Everything accepted it but a person.
    Waiting(Box<Waiting>),
}

impl Outcome {
    /// Is it one of those that nothing which the rest of the build knows can turn into a failure? Others need not wait
    /// until such a one is recorded. Of many outputs that is not looked into.
    pub fn is_plain_success(&self, task: &Task) -> bool {
        let Self::Done(done) = self else { return false };
        let produced = &done.produced;
        let is_declared = |path: &WorkspacePath| {
            task.outputs
                .iter()
                .any(|output| output.path == *path || output.folder && path.is_within(&output.path))
        };
        done.unchecked.is_none()
            && done.changed.is_empty()
            && done.unaccepted.is_empty()
            && produced.displaced.is_empty()
            && produced.edited.is_empty()
            && produced.discovered.is_empty()
            && produced.outputs.len() <= FEW
            && produced.outputs.iter().all(|(path, _)| is_declared(path))
    }
}

/// A result that was set aside until a person has spoken.
pub struct Waiting {
    /// The reason to wait.
    pub wait: Wait,
    /// The result that would be recorded.
    pub produced: Produced,
    /// For people.
    pub warnings: Vec<Diagnostic>,
    /// Where its output is kept, where it printed something.
    pub log: Option<String>,
}

/// A result that is ready to be accepted.
pub struct Done {
    /// The result to record.
    pub produced: Produced,
    /// To be finished once the record is safe; none for a gate.
    pub staged: Option<Staged>,
    /// Where its branch goes once the result is accepted.
    pub branch: Option<BranchMove>,
    /// Changes while it ran. In the tree the outputs stand then, but nothing may be recorded.
    pub changed: Vec<Moved>,
    /// Inputs of its checks that changed while these ran: they have accepted nothing.
    pub unaccepted: Vec<Moved>,
    /// Something may have changed and been put back unseen: the result counts here, and nowhere else.
    pub doubtful: bool,
    /// The check that could not run: the outputs stand, but the task has failed.
    pub unchecked: Option<Refusal>,
    /// Versions of a person that were kept.
    pub warnings: Vec<Diagnostic>,
    /// Where its output is kept, where it printed something.
    pub log: Option<String>,
    /// It came from the cache, in so long; nothing ran but checks.
    pub restored: Option<Duration>,
}

impl Done {
    /// A result with nothing beside it.
    pub(super) fn of(produced: Produced) -> Self {
        Self {
            produced,
            staged: None,
            branch: None,
            changed: Vec::new(),
            unaccepted: Vec::new(),
            doubtful: false,
            unchecked: None,
            warnings: Vec::new(),
            log: None,
            restored: None,
        }
    }

    /// Is it a result that may count elsewhere too?
    pub fn is_whole(&self) -> bool {
        self.unchecked.is_none() && self.unaccepted.is_empty() && !self.doubtful
    }

    /// How long it took to get it.
    pub fn took(&self) -> Duration {
        self.restored.unwrap_or(self.produced.duration)
    }
}

/// An attempt of which nothing counts, although it succeeded.
pub struct Overtaken {
    /// The changes.
    pub changed: Vec<Moved>,
    /// How long the command ran.
    pub duration: Duration,
    /// Where its output is kept, where it printed something.
    pub log: Option<String>,
}

/// Why an attempt did not succeed.
pub struct Refusal {
    /// For people.
    pub message: String,
    /// For the record.
    pub reason: Reason,
    /// Another attempt may help.
    pub retryable: bool,
    /// conductor stopped it, because a person asked.
    pub cancelled: bool,
    /// How long the command ran.
    pub duration: Duration,
    /// Where its output is kept, where it printed something.
    pub log: Option<String>,
    /// The next step for an agent's task.
    pub disposition: Disposition,
    /// The evidence for an agent that tries again.
    pub evidence: Evidence,
}

/// The next step for a task after an attempt that did not succeed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Disposition {
    /// It has failed, or is tried again where that may help.
    #[default]
    Ordinary,
    /// The same attempt goes on when a provider's limit is over.
    Wait {
        /// The adapter with the limit: all its tasks wait.
        adapter: String,
        /// For how long, where the provider said so.
        wait: Option<Duration>,
    },
    /// A limit is reached; a person decides whether it goes on.
    Pause,
    /// No task of this adapter can succeed.
    Stop {
        /// Which.
        adapter: String,
    },
}

impl Refusal {
    /// It has failed, for that reason.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            reason: Reason::new(ReasonKind::PreviousFailed),
            retryable: false,
            cancelled: false,
            duration: Duration::ZERO,
            log: None,
            disposition: Disposition::Ordinary,
            evidence: Evidence::default(),
        }
    }
}

impl From<StagingError> for Box<Refusal> {
    fn from(error: StagingError) -> Self {
        Self::new(Refusal::new(error.to_string()))
    }
}
