//! The steps of an attempt in a sandbox or a worktree: prepare the private folder, run, set apart,
//! validate, and only then bring the result into the tree.

use std::collections::BTreeMap;
use std::time::Duration;

use super::agent::{self, Session};
use super::command_result::CommandResult;
use super::exec_root::CheckInputs;
use super::exec_root::{IsolatedDir, NotReady, writes};
use super::integrate::{Obstacle, Source, integrate};
use super::outcome::{Done, Outcome, Overtaken, Refusal};
use super::staging::{Staged, StagingError};
use super::steps::{changes, require};
use super::{RunContext, exec_root, git, hints, pending};
use crate::agent::Evidence;
use crate::incremental::{Assignment, Change, Guard, Moved, Produced};
use crate::model::{
    CheckKind, Diagnostic, Integrate, Isolation, Reason, ReasonKind, Signature, Wait, WorkspacePath, Writes,
};
use crate::workspace::{Observed, Root};

/// One attempt.
pub(super) fn attempt(
    context: &RunContext,
    assignment: &Assignment,
    guard: &Guard,
    attempt: u32,
) -> Result<Outcome, Box<Refusal>> {
    let moved = require(context, assignment)?;
    if !moved.is_empty() {
        return Ok(Outcome::Moved(moved));
    }
    let mut session = Session::of(context, assignment);
    let mut isolated = match prepare(context, assignment, session.as_mut()) {
        Ok(isolated) => isolated,
        Err(NotReady::Moved(moved)) => return Ok(Outcome::Moved(moved)),
        Err(NotReady::Failed(error)) => return Err(error.into()),
    };
    let outcome = match run(context, assignment, &mut isolated, (guard, session.as_mut()), attempt) {
        Ok(made) => match made.overtaken() {
            Some(overtaken) => Ok(Outcome::Overtaken(Box::new(overtaken))),
            None => finish(context, assignment, attempt, made),
        },
        Err(refusal) => Err(refusal),
    };
    match session {
        Some(session) => end_session(context, assignment, isolated, session, outcome, attempt),
        None => end(context, assignment, isolated, outcome),
    }
}

/// The folder of an agent's attempt goes with its result; without one, the session decides.
fn end_session(
    context: &RunContext,
    assignment: &Assignment,
    isolated: IsolatedDir,
    session: Session,
    outcome: Result<Outcome, Box<Refusal>>,
    attempt: u32,
) -> Result<Outcome, Box<Refusal>> {
    match outcome {
        Ok(Outcome::Overtaken(overtaken)) => {
            // The work was paid for: the next build goes on where this one left off.
            agent::suspend(context, assignment, session, Some(isolated), "its tools changed while it ran");
            Ok(Outcome::Overtaken(overtaken))
        }
        Ok(outcome) => {
            isolated.remove();
            session.close(None);
            Ok(outcome)
        }
        Err(refusal) => {
            let isolated = Some(isolated);
            Err(Box::new(agent::conclude(context, assignment, session, isolated, *refusal, attempt)))
        }
    }
}

/// The folder of a command's attempt goes; that of a failure stays for a person to look at.
fn end(
    context: &RunContext,
    assignment: &Assignment,
    isolated: IsolatedDir,
    outcome: Result<Outcome, Box<Refusal>>,
) -> Result<Outcome, Box<Refusal>> {
    match outcome {
        Ok(outcome) => {
            isolated.remove();
            Ok(outcome)
        }
        // A folder that was written in sight of a secret may hold it, and is not kept.
        Err(refusal) if refusal.cancelled || !assignment.task.secrets.is_empty() => {
            isolated.remove();
            Err(refusal)
        }
        Err(mut refusal) => {
            isolated.leave_for_a_person(context, assignment, &mut refusal);
            Err(refusal)
        }
    }
}

/// The folder in which an agent left off, else a new one.
fn prepare(
    context: &RunContext,
    assignment: &Assignment,
    session: Option<&mut Session>,
) -> Result<IsolatedDir, NotReady> {
    if let Some(session) = session {
        if let Some(suspended) = session.take_suspended()
            && let Some(isolated) = IsolatedDir::reopen(context, assignment, suspended)?
        {
            return Ok(isolated);
        }
        session.lose_folder();
    }
    IsolatedDir::prepare(context, assignment)
}

/// The result of an attempt, before it is brought anywhere.
pub(super) struct Made {
    pub(super) produced: Produced,
    /// Below this the outputs lie.
    pub(super) at: Root,
    pub(super) changed: Vec<Moved>,
    pub(super) unchecked: Option<Refusal>,
    pub(super) warnings: Vec<Diagnostic>,
    pub(super) log: Option<String>,
    /// It came from the cache.
    pub(super) restored: Option<Duration>,
}

impl Made {
    /// Where a tool changed, of which the task has no copy: nobody knows which one made the result.
    pub(super) fn overtaken(&self) -> Option<Overtaken> {
        let tools = self.changed.iter().filter(|moved| matches!(moved, Moved::Tool(_)));
        let changed: Vec<Moved> = tools.cloned().collect();
        let (duration, log) = (self.produced.duration, self.log.clone());
        (!changed.is_empty()).then_some(Overtaken { changed, duration, log })
    }
}

fn run(
    context: &RunContext,
    assignment: &Assignment,
    isolated: &mut IsolatedDir,
    (guard, mut session): (&Guard, Option<&mut Session>),
    attempt: u32,
) -> Result<Made, Box<Refusal>> {
    let task = &assignment.task;
    if !isolated.is_reopened() {
        isolated.bring_copies(context, &task.copy)?;
        isolated.set_up(context, assignment)?;
        isolated.mark()?;
    }
    let ran = match session.as_deref_mut() {
        Some(session) => agent::work(context, &isolated.exec_root, assignment, session, attempt),
        None => CommandResult::command(context, &isolated.exec_root, assignment),
    };
    let ran = ran.map_err(|failed| {
        let mut refusal = failed.refusal;
        if let Some(hint) = hints::undeclared_reads(context, &isolated.exec_root, assignment, &failed.tail) {
            refusal.message = format!("{}\n{hint}", refusal.message);
        }
        Box::new(refusal)
    })?;
    let foreign = |path: &WorkspacePath, now: &Signature| isolated.is_copied(path, now);
    let outputs = exec_root::outputs(context, &isolated.exec_root.dir, task, foreign).map_err(|e| {
        let hint = hints::undeclared_reads(context, &isolated.exec_root, assignment, &ran.tail);
        ran.refuse(hint.map_or(e.clone(), |hint| format!("{e}\n{hint}")))
    })?;
    let discovered = exec_root::discovered(context, &isolated.exec_root, assignment, ran.started)
        .map_err(|e| ran.refuse(e))?;
    let mut warnings = Vec::new();
    warnings.extend(undeclared(context, assignment, isolated, &ran)?);
    let edited = isolated.edited(assignment)?;
    no_secret_in_edits(context, assignment, isolated, &edited).map_err(|e| ran.refuse(e))?;
    if session.is_some() {
        agent::look(context, assignment, &outputs, &edited).map_err(|e| ran.refuse(e))?;
    }
    isolated.keep(context, &edited)?;
    let at = if task.validate.iter().any(|check| matches!(check.kind, CheckKind::Run(_))) {
        isolated.set_apart(&outputs)?
    } else {
        Root::open(isolated.exec_root.root()).map_err(StagingError::from)?
    };
    let before_checks = if session.is_some() { isolated.listing()? } else { BTreeMap::new() };
    let inputs = CheckInputs::bring(context, isolated, assignment)?;
    let (evidence, unchecked) = match ran.validate(context, &isolated.exec_root, assignment) {
        Err(refusal) if session.is_some() => {
            isolated.absolve(&before_checks)?;
            return Err(refusal);
        }
        validated => validated?,
    };
    let agent = session.and_then(|session| {
        agent::tell(context, assignment, session, attempt);
        agent::result(context, assignment, session)
    });
    let changed = changes(context, guard, &ran, discovered.too_young);
    let produced = Produced {
        discovered: discovered.inputs,
        validation: inputs.validation,
        validated: unchecked.is_none(),
        evidence,
        duration: ran.duration,
        outputs,
        edited,
        on_branch: task.integrate == Integrate::Branch,
        agent,
        ..Produced::default()
    };
    Ok(Made { produced, at, changed, unchecked, warnings, log: ran.log, restored: None })
}

/// Brings the result to where it belongs, or sets it aside until a person has spoken.
pub(super) fn finish(
    context: &RunContext,
    assignment: &Assignment,
    attempt: u32,
    made: Made,
) -> Result<Outcome, Box<Refusal>> {
    let Made { mut produced, at, mut changed, unchecked, mut warnings, log, restored } = made;
    if assignment.task.approve && produced.approval.is_none() {
        if let Some(refusal) = unchecked {
            return Err(Box::new(refusal));
        }
        return pending::hold(context, assignment, Wait::Approval, &at, produced, warnings, log);
    }
    let mut branch = None;
    if assignment.isolation == Isolation::Worktree {
        let step = git::commit(context, assignment, &at, &produced.outputs, &produced.edited)
            .map_err(|message| Box::new(Refusal::new(message)))?;
        produced.commit = Some(step.after.clone());
        branch = Some(step);
    }
    let staged = if produced.on_branch {
        keep_outputs(context, &at, &produced.outputs)?;
        Some(Staged::open_branch(context, &assignment.task, attempt, branch.clone())?)
    } else {
        match integrate(context, assignment, attempt, (&at, Source::Spent), &produced.outputs, branch.clone())
        {
            Ok(came) => {
                (produced.outputs, produced.displaced) = (came.outputs, came.displaced);
                changed.extend(produced.displaced.iter().map(|(path, _)| Moved::File(path.clone())));
                warnings.extend(came.warnings);
                Some(came.staged)
            }
            Err(Obstacle::Conflict(paths)) => {
                return pending::hold(
                    context,
                    assignment,
                    Wait::Conflict(paths),
                    &at,
                    produced,
                    warnings,
                    log,
                );
            }
            Err(Obstacle::Failed(error)) => return Err(error.into()),
        }
    };
    let done = Done { staged, branch, changed, unchecked, warnings, log, restored, ..Done::of(produced) };
    Ok(Outcome::Done(Box::new(done)))
}

/// Outputs that stay on a branch are kept for the tasks that need them.
fn keep_outputs(
    context: &RunContext,
    at: &Root,
    outputs: &[(WorkspacePath, Observed)],
) -> Result<(), Box<Refusal>> {
    for (path, observed) in outputs {
        let kept = context.objects.put(&path.under(at.root()), &observed.entry);
        kept.map_err(|error| Box::new(Refusal::new(error.to_string())))?;
    }
    Ok(())
}

/// Undeclared writes fail the task, or are named.
fn undeclared(
    context: &RunContext,
    assignment: &Assignment,
    isolated: &IsolatedDir,
    ran: &CommandResult,
) -> Result<Option<Diagnostic>, Box<Refusal>> {
    let task = &assignment.task;
    let paths = isolated.undeclared(context, assignment)?;
    let Some(first) = paths.first() else { return Ok(None) };
    let named: Vec<String> = paths.iter().take(8).map(ToString::to_string).collect();
    let more = paths.len() - named.len();
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    let named = format!("{}{more}", named.join(", "));
    let advice = format!(
        "add {first} to its `outputs` (or to `edits`, where it changes what is there), or write `writes: warn`"
    );
    match writes(task, assignment.isolation) {
        Writes::Warn => {
            let message = format!("{} wrote what it does not declare: {named}", task.id);
            let advice = advice.replace(", or write `writes: warn`", "; it is thrown away");
            Ok(Some(
                Diagnostic::warning("build::undeclared_write", message)
                    .label(task.at, "declared here")
                    .help(advice),
            ))
        }
        Writes::Error => {
            let message = format!("it wrote what it does not declare: {named}\n{advice}");
            let reason = Reason::new(ReasonKind::ValidationFailed).name("writes").path(first);
            let evidence = Evidence { undeclared: paths.clone(), ..Evidence::default() };
            Err(Box::new(Refusal { reason, evidence, ..*ran.refuse(message) }))
        }
    }
}

fn no_secret_in_edits(
    context: &RunContext,
    assignment: &Assignment,
    isolated: &IsolatedDir,
    edited: &[Change],
) -> Result<(), String> {
    let changed = edited.iter().filter(|change| change.after.exists() && change.after != change.before);
    let seen: Vec<(WorkspacePath, Observed)> =
        changed.map(|change| (change.path.clone(), isolated.exec_root.dir.observe(&change.path))).collect();
    exec_root::no_secret(context, &isolated.exec_root.dir, &assignment.task, &seen)
}
