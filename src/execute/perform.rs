//! The steps of one attempt.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use super::Site;
use super::checks::{self, CheckFailure};
use super::collect;
use super::command::{Call, Paths};
use super::staging::{Staged, StagingError};
use crate::incremental::{Assignment, Produced};
use crate::model::{
    CheckEvidence, Diagnostic, Entry, Event, Integrate, Isolation, Reason, ReasonKind, Task, Validation,
    Work, WorkspacePath,
};
use crate::process::{End, Ended, SpawnError};
use crate::workspace::Observed;

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
}

/// A result that is ready to be accepted.
pub struct Done {
    /// What to record.
    pub produced: Produced,
    /// To be finished once the record is safe; none for a gate.
    pub staged: Option<Staged>,
    /// Inputs that changed while it ran: the outputs stand, but nothing may be recorded.
    pub changed: Vec<WorkspacePath>,
    /// The check that could not run: what was made stands, but the task has failed.
    pub unchecked: Option<Refusal>,
    /// Versions of a person that were kept.
    pub warnings: Vec<Diagnostic>,
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
}

impl Refusal {
    fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            reason: Reason::new(ReasonKind::PreviousFailed),
            retryable: false,
            cancelled: false,
            duration: Duration::ZERO,
            log: None,
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
        Self { cancelled: failure.cancelled, ..Self::new(failure.message) }
    }
}

/// Does what the assignment says, once.
pub fn perform(site: &Site, assignment: &Assignment, attempt: u32) -> Outcome {
    if let Some(what) = unavailable(&assignment.task) {
        return Outcome::Refused(Box::new(Refusal::new(what)));
    }
    let changed = assignment.snapshot.changes(&site.workspace);
    if !changed.is_empty() {
        return Outcome::Moved(changed);
    }
    (site.events)(Event::TaskStarted {
        task: assignment.task.id.clone(),
        key: assignment.key,
        reasons: assignment.reasons.clone(),
        attempt,
        validation_only: assignment.validation_only,
    });
    let outcome = match &assignment.task.work {
        _ if assignment.validation_only => Ok(validate_alone(site, assignment)),
        Work::Gate => gate(site, assignment),
        Work::Run(_) | Work::Agent(_) => work(site, assignment, attempt),
    };
    outcome.unwrap_or_else(Outcome::Refused)
}

/// What this version cannot do yet and must not leave out in silence.
fn unavailable(task: &Task) -> Option<String> {
    let what = match () {
        () if matches!(task.work, Work::Agent(_)) => "`agent` tasks",
        () if !task.edits.is_empty() => "`edits`",
        () if task.isolation == Isolation::Sandbox => "`isolation: sandbox`",
        () if task.isolation == Isolation::Worktree => "`isolation: worktree`",
        () if task.integrate == Integrate::Branch => "`integrate: branch`",
        () if task.approve => "`approve: true`",
        () if !task.network => "`network: off`",
        () => return None,
    };
    Some(format!("{what} are not available yet in this version of conductor; the task was not started"))
}

fn validate_alone(site: &Site, assignment: &Assignment) -> Outcome {
    let validation = checks::look_at_inputs(site, &assignment.validation);
    let verdict = checks::run(site, assignment, phase(&assignment.task), &assignment.task.validate);
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

fn phase(task: &Task) -> &'static str {
    if task.is_gate() { "gate" } else { "validate" }
}

fn gate(site: &Site, assignment: &Assignment) -> Result<Outcome, Box<Refusal>> {
    let start = Instant::now();
    let validation = checks::look_at_inputs(site, &assignment.validation);
    let verdict = checks::run(site, assignment, "gate", &assignment.task.validate);
    if let Some(failure) = verdict.failure {
        let reason = Reason::new(ReasonKind::GateFailed).name(failure.definition.clone());
        return Err(Box::new(Refusal { reason, duration: start.elapsed(), ..failure.into() }));
    }
    let produced = Produced {
        outputs: Vec::new(),
        discovered: Vec::new(),
        validation,
        validated: true,
        evidence: verdict.evidence,
        duration: start.elapsed(),
    };
    let changed = assignment.snapshot.changes(&site.workspace);
    let done = Done { produced, staged: None, changed, unchecked: None, warnings: Vec::new(), log: None };
    Ok(Outcome::Done(Box::new(done)))
}

fn work(site: &Site, assignment: &Assignment, attempt: u32) -> Result<Outcome, Box<Refusal>> {
    let required = checks::run(site, assignment, "require", &assignment.task.require);
    if let Some(failure) = required.failure {
        return Err(Box::new(Refusal { retryable: true, ..failure.into() }));
    }
    let staged = Staged::begin(site, assignment, attempt)?;
    let started = SystemTime::now();
    match attempt_staged(site, assignment, &staged, started) {
        Ok(done) => Ok(Outcome::Done(Box::new(Done { staged: Some(staged), ..done }))),
        Err(mut refusal) => {
            let failed = site.run_dir.path().join("failed").join(assignment.task.id.file_name());
            // What was made in sight of a secret may hold it, and is not kept.
            let kept = assignment.task.secrets.is_empty().then_some(&*failed);
            if let Err(error) = staged.restore(site, kept) {
                refusal.message =
                    format!("{}\nand its outputs could not be put back: {error}", refusal.message);
            } else if failed.exists() {
                refusal.message =
                    format!("{}\nwhat it made is kept in {}", refusal.message, site.shown(&failed));
            }
            Err(refusal)
        }
    }
}

fn attempt_staged(
    site: &Site,
    assignment: &Assignment,
    staged: &Staged,
    started: SystemTime,
) -> Result<Done, Box<Refusal>> {
    let task = &assignment.task;
    let ended = run_command(site, assignment)?;
    let log = (ended.bytes > 0).then(|| site.shown(&site.log(&task.id, None)));
    let refuse = |message: String| {
        let refusal = Refusal::new(message);
        Box::new(Refusal { retryable: true, duration: ended.duration, log: log.clone(), ..refusal })
    };
    if let Some(message) = complaint(task, &ended) {
        let cancelled = matches!(ended.end, End::Cancelled | End::Stopped);
        return Err(Box::new(Refusal { retryable: !cancelled, cancelled, ..*refuse(message) }));
    }
    let outputs = collect::outputs(site, task, staged).map_err(refuse)?;
    let discovered = collect::discovered(site, assignment, started).map_err(refuse)?;
    let validation = checks::look_at_inputs(site, &assignment.validation);
    let verdict = checks::run(site, assignment, "validate", &task.validate);
    let mut unchecked = None;
    if let Some(failure) = verdict.failure {
        let keep = failure.could_not_run && !failure.cancelled;
        let reason = Reason::new(ReasonKind::ValidationFailed).name(failure.definition.clone());
        let log = log.clone();
        let refusal = Refusal { reason, retryable: true, duration: ended.duration, log, ..failure.into() };
        if !keep {
            return Err(Box::new(refusal));
        }
        unchecked = Some(refusal);
    }
    let outputs = settled(site, outputs).map_err(refuse)?;
    let mut changed = assignment.snapshot.changes(&site.workspace);
    changed.extend(discovered.too_young);
    let made: BTreeMap<&WorkspacePath, Entry> =
        outputs.iter().map(|(path, seen)| (path, seen.entry)).collect();
    let warnings = staged.keep_conflicts(site, &made);
    let produced = Produced {
        discovered: discovered.inputs,
        validation,
        validated: unchecked.is_none(),
        evidence: verdict.evidence,
        duration: ended.duration,
        outputs,
    };
    Ok(Done { produced, staged: None, changed, unchecked, warnings, log })
}

fn run_command(site: &Site, assignment: &Assignment) -> Result<Ended, Box<Refusal>> {
    let task = &assignment.task;
    let Work::Run(command) = &task.work else {
        return Err(Box::new(Refusal::new("it has no command")));
    };
    let paths = Paths::new(task, &assignment.action);
    let log = site.log(&task.id, None);
    let call = Call { site, task, command, paths: &paths, log, stall: task.stall, is_work: true };
    call.run().map_err(|error| {
        let cancelled = matches!(error, SpawnError::AlreadyStopping);
        Box::new(Refusal { cancelled, ..Refusal::new(error.to_string()) })
    })
}

/// What is wrong with how the command ended.
fn complaint(task: &Task, ended: &Ended) -> Option<String> {
    let limit = |limit: Option<Duration>| crate::model::format_duration(limit.unwrap_or_default());
    match ended.end {
        End::Exited(0) => None,
        End::Exited(code) => Some(format!("it failed with exit code {code}")),
        End::Signalled(signal) => Some(format!("it was killed by signal {signal}")),
        End::TimedOut => Some(format!("it did not end within its timeout of {}", limit(task.timeout))),
        End::Stalled => Some(format!("it printed and changed nothing for {} (stall)", limit(task.stall))),
        End::Cancelled => Some("it was cancelled".to_owned()),
        End::Stopped => Some("it was stopped".to_owned()),
    }
}

/// The checks must leave the outputs alone; what they only touched is looked at again.
fn settled(
    site: &Site,
    outputs: Vec<(WorkspacePath, Observed)>,
) -> Result<Vec<(WorkspacePath, Observed)>, String> {
    let mut settled = Vec::with_capacity(outputs.len());
    for (path, before) in outputs {
        if site.workspace.signature(&path) == before.signature {
            settled.push((path, before));
            continue;
        }
        let now = site.workspace.observe(&path);
        if now.entry != before.entry {
            return Err(format!("{path} changed while its checks ran"));
        }
        settled.push((path, now));
    }
    Ok(settled)
}
