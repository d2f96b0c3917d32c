//! The steps of an attempt in a sandbox or a worktree: prepare the private folder, run, collect, set apart,
//! validate, and only then bring the result into the tree.

use std::collections::BTreeMap;
use std::time::Duration;

use super::agent::{self, Session};
use super::apart::{Apart, NotReady, writes};
use super::integrate::{Obstacle, Source, integrate};
use super::perform::{Done, Outcome, Refusal, check_paths, require};
use super::ran::Ran;
use super::staging::{Staged, StagingError};
use super::{Site, checks, collect, git, hints, pending};
use crate::agent::Evidence;
use crate::incremental::{Assignment, Change, Produced};
use crate::model::{
    CheckKind, Diagnostic, Integrate, Isolation, Reason, ReasonKind, Signature, Wait, WorkspacePath, Writes,
};
use crate::workspace::{Observed, Workspace};

/// One attempt.
pub(super) fn attempt(site: &Site, assignment: &Assignment, attempt: u32) -> Result<Outcome, Box<Refusal>> {
    require(site, &super::place::Place::tree(site), assignment)?;
    let mut session = Session::of(site, assignment);
    let mut apart = match prepare(site, assignment, session.as_mut()) {
        Ok(apart) => apart,
        Err(NotReady::Moved(paths)) => return Ok(Outcome::Moved(paths)),
        Err(NotReady::Failed(error)) => return Err(error.into()),
    };
    let outcome = run(site, assignment, &mut apart, session.as_mut(), attempt)
        .and_then(|made| finish(site, assignment, attempt, made));
    if let Some(session) = session {
        return match outcome {
            Ok(outcome) => {
                apart.remove();
                session.close(None);
                Ok(outcome)
            }
            Err(refusal) => {
                Err(Box::new(agent::conclude(site, assignment, session, Some(apart), *refusal, attempt)))
            }
        };
    }
    match outcome {
        Ok(outcome) => {
            apart.remove();
            Ok(outcome)
        }
        // What a task wrote in sight of a secret may hold it, and is not kept.
        Err(refusal) if refusal.cancelled || !assignment.task.secrets.is_empty() => {
            apart.remove();
            Err(refusal)
        }
        Err(mut refusal) => {
            apart.leave_for_a_person(site, assignment, &mut refusal);
            Err(refusal)
        }
    }
}

/// The folder in which an agent left off, else a new one.
fn prepare(site: &Site, assignment: &Assignment, session: Option<&mut Session>) -> Result<Apart, NotReady> {
    if let Some(session) = session {
        if let Some(suspended) = session.take_suspended()
            && let Some(apart) = Apart::reopen(site, assignment, suspended)?
        {
            return Ok(apart);
        }
        session.lose_folder();
    }
    Apart::prepare(site, assignment)
}

/// What an attempt made, before it is brought anywhere.
pub(super) struct Made {
    pub(super) produced: Produced,
    /// Below this the outputs lie.
    pub(super) at: Workspace,
    pub(super) changed: Vec<WorkspacePath>,
    pub(super) unchecked: Option<Refusal>,
    pub(super) warnings: Vec<Diagnostic>,
    pub(super) log: Option<String>,
    /// It came from the cache.
    pub(super) restored: Option<Duration>,
}

fn run(
    site: &Site,
    assignment: &Assignment,
    apart: &mut Apart,
    mut session: Option<&mut Session>,
    attempt: u32,
) -> Result<Made, Box<Refusal>> {
    let task = &assignment.task;
    if !apart.is_reopened() {
        apart.bring_copies(site, &task.copy)?;
        apart.set_up(site, assignment)?;
        apart.mark()?;
    }
    let ran = match session.as_deref_mut() {
        Some(session) => agent::work(site, &apart.place, assignment, session, attempt),
        None => Ran::command(site, &apart.place, assignment),
    };
    let ran = ran.map_err(|failed| {
        let mut refusal = failed.refusal;
        if let Some(hint) = hints::undeclared_reads(site, &apart.place, assignment, &failed.tail) {
            refusal.message = format!("{}\n{hint}", refusal.message);
        }
        Box::new(refusal)
    })?;
    let foreign = |path: &WorkspacePath, now: &Signature| apart.is_copied(path, now);
    let outputs = collect::outputs(site, &apart.place.workspace, task, foreign).map_err(|e| {
        let hint = hints::undeclared_reads(site, &apart.place, assignment, &ran.tail);
        ran.refuse(hint.map_or(e.clone(), |hint| format!("{e}\n{hint}")))
    })?;
    let discovered =
        collect::discovered(site, &apart.place, assignment, ran.started).map_err(|e| ran.refuse(e))?;
    let mut warnings = Vec::new();
    warnings.extend(undeclared(site, assignment, apart, &ran)?);
    let edited = apart.edited(assignment)?;
    no_secret_in_edits(site, assignment, apart, &edited).map_err(|e| ran.refuse(e))?;
    if session.is_some() {
        agent::look(site, assignment, &outputs, &edited).map_err(|e| ran.refuse(e))?;
    }
    apart.keep(site, &edited)?;
    let at = if task.validate.iter().any(|check| matches!(check.kind, CheckKind::Run(_))) {
        apart.set_apart(&outputs)?
    } else {
        Workspace::open(apart.place.root()).map_err(StagingError::from)?
    };
    let validation = checks::look_at_inputs(site, &assignment.validation);
    let before_checks = if session.is_some() { apart.listing()? } else { BTreeMap::new() };
    apart.bring_check_inputs(site, task, &check_paths(&validation))?;
    let (evidence, unchecked) = match ran.validate(site, &apart.place, assignment) {
        Err(refusal) if session.is_some() => {
            apart.absolve(&before_checks)?;
            return Err(refusal);
        }
        validated => validated?,
    };
    let agent = session.and_then(|session| {
        agent::tell(site, assignment, session, attempt);
        agent::result(site, assignment, session)
    });
    let mut changed = assignment.snapshot.changes(&site.workspace);
    changed.extend(discovered.too_young);
    let produced = Produced {
        discovered: discovered.inputs,
        validation,
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
    site: &Site,
    assignment: &Assignment,
    attempt: u32,
    made: Made,
) -> Result<Outcome, Box<Refusal>> {
    let Made { mut produced, at, changed, unchecked, mut warnings, log, restored } = made;
    if assignment.task.approve && produced.approval.is_none() {
        if let Some(refusal) = unchecked {
            return Err(Box::new(refusal));
        }
        return pending::hold(site, assignment, Wait::Approval, &at, produced, warnings, log);
    }
    let mut branch = None;
    if assignment.isolation == Isolation::Worktree {
        let step = git::commit(site, assignment, &at, &produced.outputs, &produced.edited)
            .map_err(|message| Box::new(Refusal::new(message)))?;
        produced.commit = Some(step.after.clone());
        branch = Some(step);
    }
    let staged = if produced.on_branch {
        keep_outputs(site, &at, &produced.outputs)?;
        Some(Staged::open_branch(site, &assignment.task, attempt, branch.clone())?)
    } else {
        match integrate(site, assignment, attempt, (&at, Source::Spent), &produced.outputs, branch.clone()) {
            Ok(came) => {
                produced.outputs = came.outputs;
                warnings.extend(came.warnings);
                Some(came.staged)
            }
            Err(Obstacle::Conflict(paths)) => {
                return pending::hold(site, assignment, Wait::Conflict(paths), &at, produced, warnings, log);
            }
            Err(Obstacle::Failed(error)) => return Err(error.into()),
        }
    };
    let done = Done { produced, staged, branch, changed, unchecked, warnings, log, restored };
    Ok(Outcome::Done(Box::new(done)))
}

/// Outputs that stay on a branch are kept for the tasks that need them.
fn keep_outputs(
    site: &Site,
    at: &Workspace,
    outputs: &[(WorkspacePath, Observed)],
) -> Result<(), Box<Refusal>> {
    for (path, observed) in outputs {
        let kept = site.objects.put(&path.under(at.root()), &observed.entry);
        kept.map_err(|error| Box::new(Refusal::new(error.to_string())))?;
    }
    Ok(())
}

/// Undeclared writes fail the task, or are named.
fn undeclared(
    site: &Site,
    assignment: &Assignment,
    apart: &Apart,
    ran: &Ran,
) -> Result<Option<Diagnostic>, Box<Refusal>> {
    let task = &assignment.task;
    let paths = apart.undeclared(site, assignment)?;
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
    site: &Site,
    assignment: &Assignment,
    apart: &Apart,
    edited: &[Change],
) -> Result<(), String> {
    let changed = edited.iter().filter(|change| change.after.exists() && change.after != change.before);
    let seen: Vec<(WorkspacePath, Observed)> =
        changed.map(|change| (change.path.clone(), apart.place.workspace.observe(&change.path))).collect();
    collect::no_secret(site, &apart.place.workspace, &assignment.task, &seen)
}
