//! The steps of one attempt.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::agent::{self, Session};
use super::checks::{self, CheckFailure};
use super::command::{Call, Paths};
use super::command_result::{CommandResult, complaint, spawn_refusal};
use super::exec_root::ExecRoot;
use super::isolated_dir::{IsolatedDir, NotReady};
use super::restore::restore;
use super::staging::{Staged, StagingError};
use super::{RunContext, collect, isolated, pending};
use crate::agent::{Evidence, FailedCheck};
use crate::incremental::{Assignment, Produced};
use crate::model::{
    CheckEvidence, Diagnostic, Entry, Event, Isolation, Reason, ReasonKind, Signature, Task, Validation,
    Wait, Work, WorkspacePath,
};
use crate::process::End;
use crate::store::BranchMove;
use crate::workspace::Observed;

/// So many outputs are few.
const FEW: usize = 16;

/// How an attempt ended.
pub enum Outcome {
    /// These inputs are not as they were when the key was made; nothing was started.
    Moved(Vec<WorkspacePath>),
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
            && produced.edited.is_empty()
            && produced.discovered.is_empty()
            && produced.outputs.len() <= FEW
            && produced.outputs.iter().all(|(path, _)| is_declared(path))
    }
}

/// A result that was set aside until a person has spoken.
pub struct Waiting {
    /// What for.
    pub wait: Wait,
    /// What would be recorded.
    pub produced: Produced,
    /// For people.
    pub warnings: Vec<Diagnostic>,
    /// Where its output is kept, where it printed something.
    pub log: Option<String>,
}

/// A result that is ready to be accepted.
pub struct Done {
    /// What to record.
    pub produced: Produced,
    /// To be finished once the record is safe; none for a gate.
    pub staged: Option<Staged>,
    /// Where its branch goes once the result is accepted.
    pub branch: Option<BranchMove>,
    /// Inputs that changed while it ran: the outputs stand, but nothing may be recorded.
    pub changed: Vec<WorkspacePath>,
    /// The check that could not run: what was made stands, but the task has failed.
    pub unchecked: Option<Refusal>,
    /// Versions of a person that were kept.
    pub warnings: Vec<Diagnostic>,
    /// Where its output is kept, where it printed something.
    pub log: Option<String>,
    /// It came from the cache, in so long; nothing ran but checks.
    pub restored: Option<Duration>,
}

impl Done {
    /// How long it took to get it.
    pub fn took(&self) -> Duration {
        self.restored.unwrap_or(self.produced.duration)
    }
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
    /// What is to become of an agent's task.
    pub course: Disposition,
    /// What an agent is to know of it that tries again.
    pub evidence: Evidence,
}

/// What is to become of a task whose attempt did not succeed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Disposition {
    /// It has failed, or is tried again where that may help.
    #[default]
    Ordinary,
    /// The same attempt goes on when a provider's limit is over.
    Wait {
        /// Whose limit: all tasks of this adapter wait.
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
            course: Disposition::Ordinary,
            evidence: Evidence::default(),
        }
    }
}

impl From<StagingError> for Box<Refusal> {
    fn from(error: StagingError) -> Self {
        Self::new(Refusal::new(error.to_string()))
    }
}

impl From<CheckFailure> for Refusal {
    fn from(failure: CheckFailure) -> Self {
        let check = FailedCheck { check: failure.check, exit: failure.exit, output: failure.said };
        let evidence = Evidence { checks: vec![check], ..Evidence::default() };
        Self { cancelled: failure.cancelled, evidence, ..Self::new(failure.message) }
    }
}

/// Does what the assignment says, once.
pub fn perform(context: &RunContext, assignment: &Assignment, attempt: u32) -> Outcome {
    let changed = assignment.snapshot.changes(&context.tree);
    if !changed.is_empty() {
        return Outcome::Moved(changed);
    }
    if let Some(outcome) = restore(context, assignment, attempt) {
        return outcome;
    }
    (context.events)(Event::TaskStarted {
        task: assignment.task.id.clone(),
        key: assignment.key,
        reasons: assignment.reasons.clone(),
        attempt,
        validation_only: assignment.validation_only,
    });
    let outcome = match (&assignment.task.work, assignment.isolation) {
        (Work::Gate, _) => gate(context, assignment),
        (_, Isolation::None) if assignment.validation_only => Ok(validate_in_tree(context, assignment)),
        (_, Isolation::None) => in_tree(context, assignment, attempt),
        _ if assignment.validation_only => validate_apart(context, assignment),
        _ => isolated::attempt(context, assignment, attempt),
    };
    outcome.unwrap_or_else(Outcome::Refused)
}

fn validate_in_tree(context: &RunContext, assignment: &Assignment) -> Outcome {
    let validation = checks::look_at_inputs(context, &assignment.validation);
    validate_alone(context, &ExecRoot::tree(context), assignment, validation)
}

fn validate_alone(
    context: &RunContext,
    exec_root: &ExecRoot,
    assignment: &Assignment,
    validation: Validation,
) -> Outcome {
    let verdict = checks::run(context, exec_root, assignment, "validate", &assignment.task.validate);
    match verdict.failure {
        None => Outcome::Validated(validation, verdict.evidence),
        Some(failure) if failure.could_not_run => Outcome::Refused(Box::new(failure.into())),
        Some(failure) => {
            let reason =
                Reason::new(ReasonKind::ValidationFailed).name(failure.definition).new_value(failure.message);
            Outcome::Invalid(reason)
        }
    }
}

fn validate_apart(context: &RunContext, assignment: &Assignment) -> Result<Outcome, Box<Refusal>> {
    let mut isolated = match IsolatedDir::prepare(context, assignment) {
        Ok(isolated) => isolated,
        Err(NotReady::Moved(paths)) => return Ok(Outcome::Moved(paths)),
        Err(NotReady::Failed(error)) => return Err(error.into()),
    };
    let outcome = (|| {
        isolated.bring_result(context, assignment)?;
        isolated.bring_copies(context, &assignment.task.copy)?;
        isolated.set_up(context, assignment)?;
        let validation = checks::look_at_inputs(context, &assignment.validation);
        isolated.bring_check_inputs(context, &assignment.task, &check_paths(&validation))?;
        Ok(validate_alone(context, &isolated.exec_root, assignment, validation))
    })();
    isolated.remove();
    outcome
}

/// The files that checks read.
pub(super) fn check_paths(validation: &Validation) -> Vec<WorkspacePath> {
    validation.inputs.iter().map(|input| input.path.clone()).collect()
}

/// Runs `setup`, which prepares a private folder and is no part of the task.
pub(super) fn set_up(
    context: &RunContext,
    exec_root: &ExecRoot,
    assignment: &Assignment,
) -> Result<(), Box<Refusal>> {
    let Some(command) = &assignment.task.setup else { return Ok(()) };
    let task = &assignment.task;
    let paths = Paths::new(task, &assignment.action);
    let log = context.log(&task.id, Some("setup"));
    let call =
        Call { context, exec_root, task, command, paths: &paths, log, stall: task.stall, is_work: false };
    let ended = call.run().map_err(|error| spawn_refusal(&error))?;
    match complaint(task, &ended) {
        None => Ok(()),
        Some(message) => {
            let cancelled = matches!(ended.end, End::Cancelled | End::Stopped);
            let said = String::from_utf8_lossy(&ended.tail).trim_end().to_owned();
            let message = format!("its setup `{}` did not succeed: {message}\n{said}", command.display());
            Err(Box::new(Refusal { cancelled, retryable: !cancelled, ..Refusal::new(message.trim_end()) }))
        }
    }
}

fn gate(context: &RunContext, assignment: &Assignment) -> Result<Outcome, Box<Refusal>> {
    let start = Instant::now();
    let validation = checks::look_at_inputs(context, &assignment.validation);
    let verdict =
        checks::run(context, &ExecRoot::tree(context), assignment, "gate", &assignment.task.validate);
    if let Some(failure) = verdict.failure {
        let reason = Reason::new(ReasonKind::GateFailed).name(failure.definition.clone());
        return Err(Box::new(Refusal { reason, duration: start.elapsed(), ..failure.into() }));
    }
    let produced = Produced {
        validation,
        validated: true,
        evidence: verdict.evidence,
        duration: start.elapsed(),
        ..Produced::default()
    };
    let changed = assignment.snapshot.changes(&context.tree);
    let done = Done {
        produced,
        staged: None,
        branch: None,
        changed,
        unchecked: None,
        warnings: Vec::new(),
        log: None,
        restored: None,
    };
    Ok(Outcome::Done(Box::new(done)))
}

/// `isolation: none`: in the tree, with the previous outputs aside.
fn in_tree(context: &RunContext, assignment: &Assignment, attempt: u32) -> Result<Outcome, Box<Refusal>> {
    let exec_root = ExecRoot::tree(context);
    require(context, &exec_root, assignment)?;
    let mut session = Session::of(context, assignment);
    let mut staged = Staged::begin(context, assignment, attempt)?;
    let done = attempt_staged(context, &exec_root, assignment, &mut staged, session.as_mut(), attempt);
    let outcome = match done {
        Ok(done) if assignment.task.approve => hold_back(context, assignment, staged, done),
        Ok(done) => Ok(Outcome::Done(Box::new(Done { staged: Some(staged), ..done }))),
        Err(refusal) => Err(Box::new(take_back(context, assignment, staged, *refusal))),
    };
    match (session, outcome) {
        (Some(session), Err(refusal)) => {
            Err(Box::new(agent::conclude(context, assignment, session, None, *refusal, attempt)))
        }
        (Some(session), outcome) => {
            session.close(None);
            outcome
        }
        (None, outcome) => outcome,
    }
}

/// What the tree held before comes back.
fn take_back(context: &RunContext, assignment: &Assignment, staged: Staged, mut refusal: Refusal) -> Refusal {
    let failed = context.run_dir.path().join("failed").join(assignment.task.id.file_name());
    // What was made in sight of a secret may hold it, and is not kept.
    let kept = assignment.task.secrets.is_empty().then_some(&*failed);
    if let Err(error) = staged.restore(context, kept) {
        refusal.message = format!("{}\nand its outputs could not be put back: {error}", refusal.message);
    } else if failed.exists() {
        refusal.message = format!("{}\nwhat it made is kept in {}", refusal.message, context.shown(&failed));
    }
    refusal
}

/// The checks before the command. They look at the tree, wherever the command will run.
pub(super) fn require(
    context: &RunContext,
    exec_root: &ExecRoot,
    assignment: &Assignment,
) -> Result<(), Box<Refusal>> {
    let required = checks::run(context, exec_root, assignment, "require", &assignment.task.require);
    match required.failure {
        Some(failure) => Err(Box::new(Refusal { retryable: true, ..failure.into() })),
        None => Ok(()),
    }
}

/// Sets a result that wants approval aside; the previous outputs come back.
fn hold_back(
    context: &RunContext,
    assignment: &Assignment,
    staged: Staged,
    done: Done,
) -> Result<Outcome, Box<Refusal>> {
    let held = match (done.unchecked, done.changed.first()) {
        (Some(refusal), _) => Err(Box::new(refusal)),
        (None, Some(path)) => {
            let reason = Reason::new(ReasonKind::ChangedDuringRun).path(path);
            let message = format!("{path} changed while it ran, so there is nothing to approve");
            Err(Box::new(Refusal { reason, log: done.log, ..Refusal::new(message) }))
        }
        (None, None) => {
            let Done { produced, warnings, log, .. } = done;
            pending::hold(context, assignment, Wait::Approval, &context.tree, produced, warnings, log)
        }
    };
    staged.restore(context, None)?;
    held
}

fn attempt_staged(
    context: &RunContext,
    exec_root: &ExecRoot,
    assignment: &Assignment,
    staged: &mut Staged,
    mut session: Option<&mut Session>,
    attempt: u32,
) -> Result<Done, Box<Refusal>> {
    let ran = match session.as_deref_mut() {
        Some(session) => agent::work(context, exec_root, assignment, session, attempt)?,
        None => CommandResult::command(context, exec_root, assignment)?,
    };
    let foreign = |path: &WorkspacePath, now: &Signature| staged.is_untouched(path, now);
    let outputs =
        collect::outputs(context, &context.tree, &assignment.task, foreign).map_err(|e| ran.refuse(e))?;
    let discovered =
        collect::discovered(context, exec_root, assignment, ran.started).map_err(|e| ran.refuse(e))?;
    if session.is_some() {
        agent::look(context, assignment, &outputs, &[]).map_err(|e| ran.refuse(e))?;
    }
    let validation = checks::look_at_inputs(context, &assignment.validation);
    let (evidence, unchecked) = ran.validate(context, exec_root, assignment)?;
    let outputs = settled(context, outputs).map_err(|e| ran.refuse(e))?;
    let agent = session.and_then(|session| {
        agent::tell(context, assignment, session, attempt);
        agent::result(context, assignment, session)
    });
    let mut changed = assignment.snapshot.changes(&context.tree);
    changed.extend(discovered.too_young);
    let made: BTreeMap<&WorkspacePath, Entry> =
        outputs.iter().map(|(path, seen)| (path, seen.entry)).collect();
    // A result that is to wait for a person replaces nothing yet.
    let warnings = if assignment.task.approve {
        Vec::new()
    } else {
        staged.keep_conflicts(context, &made).map_err(|error| ran.refuse(error.to_string()))?
    };
    let produced = Produced {
        discovered: discovered.inputs,
        validation,
        validated: unchecked.is_none(),
        evidence,
        duration: ran.duration,
        outputs,
        agent,
        ..Produced::default()
    };
    let log = ran.log;
    Ok(Done { produced, staged: None, branch: None, changed, unchecked, warnings, log, restored: None })
}

/// The checks must leave the outputs alone; what they only touched is looked at again.
pub(super) fn settled(
    context: &RunContext,
    outputs: Vec<(WorkspacePath, Observed)>,
) -> Result<Vec<(WorkspacePath, Observed)>, String> {
    let mut settled = Vec::with_capacity(outputs.len());
    for (path, before) in outputs {
        if context.tree.signature(&path) == before.signature {
            settled.push((path, before));
            continue;
        }
        let now = context.tree.observe(&path);
        if now.entry != before.entry {
            return Err(format!("{path} changed while its checks ran"));
        }
        settled.push((path, now));
    }
    Ok(settled)
}
