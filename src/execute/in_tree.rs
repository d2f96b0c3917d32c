//! An attempt that runs in the tree (`isolation: none`), with the previous outputs aside and its inputs under guard.

use std::collections::BTreeMap;

use super::agent::{self, Session};
use super::command_result::CommandResult;
use super::exec_root::CheckInputs;
use super::exec_root::ExecRoot;
use super::outcome::{Done, Outcome, Refusal};
use super::staging::Staged;
use super::steps::{changes, paths_of, require, settled};
use super::{RunContext, exec_root, pending};
use crate::incremental::{Assignment, Guard, Produced};
use crate::model::{Entry, Signature, Wait, WorkspacePath};

/// `isolation: none`: in the tree, with the previous outputs aside.
pub(super) fn attempt(
    context: &RunContext,
    assignment: &Assignment,
    guard: &Guard,
    attempt: u32,
) -> Result<Outcome, Box<Refusal>> {
    let exec_root = ExecRoot::tree(context);
    let moved = require(context, assignment)?;
    if !moved.is_empty() {
        return Ok(Outcome::Moved(moved));
    }
    let mut session = Session::of(context, assignment);
    let mut staged = Staged::begin(context, assignment, attempt)?;
    let done = run(context, &exec_root, assignment, (&mut staged, guard), session.as_mut(), attempt);
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

/// Puts the previous outputs back.
fn take_back(context: &RunContext, assignment: &Assignment, staged: Staged, mut refusal: Refusal) -> Refusal {
    let failed = context.run_dir.path().join("failed").join(assignment.task.id.file_name());
    // A result that was made in sight of a secret may hold it, and is not kept.
    let kept = assignment.task.secrets.is_empty().then_some(&*failed);
    if let Err(error) = staged.restore(context, kept) {
        refusal.message = format!("{}\nand its outputs could not be put back: {error}", refusal.message);
    } else if failed.exists() {
        refusal.message = format!("{}\nwhat it made is kept in {}", refusal.message, context.shown(&failed));
    }
    refusal
}

/// Sets a result that wants approval aside; the previous outputs come back.
fn hold_back(
    context: &RunContext,
    assignment: &Assignment,
    staged: Staged,
    done: Done,
) -> Result<Outcome, Box<Refusal>> {
    let held = match (done.unchecked, done.changed.iter().chain(&done.unaccepted).next()) {
        (Some(refusal), _) => Err(Box::new(refusal)),
        (None, Some(moved)) => {
            let message = format!("{moved} changed while it ran, so there is nothing to approve");
            let refusal = Refusal { reason: moved.reason(), ..Refusal::new(message) };
            Err(Box::new(Refusal { log: done.log, ..refusal }))
        }
        (None, None) => {
            let Done { produced, warnings, log, .. } = done;
            pending::hold(context, assignment, Wait::Approval, &context.tree, produced, warnings, log)
        }
    };
    staged.restore(context, None)?;
    held
}

fn run(
    context: &RunContext,
    exec_root: &ExecRoot,
    assignment: &Assignment,
    (staged, guard): (&mut Staged, &Guard),
    mut session: Option<&mut Session>,
    attempt: u32,
) -> Result<Done, Box<Refusal>> {
    let ran = match session.as_deref_mut() {
        Some(session) => agent::work(context, exec_root, assignment, session, attempt)?,
        None => CommandResult::command(context, exec_root, assignment)?,
    };
    let foreign = |path: &WorkspacePath, now: &Signature| staged.is_untouched(path, now);
    let outputs =
        exec_root::outputs(context, &context.tree, &assignment.task, foreign).map_err(|e| ran.refuse(e))?;
    let discovered =
        exec_root::discovered(context, exec_root, assignment, ran.started).map_err(|e| ran.refuse(e))?;
    if session.is_some() {
        agent::look(context, assignment, &outputs, &[]).map_err(|e| ran.refuse(e))?;
    }
    let inputs = CheckInputs::in_tree(context, assignment, &paths_of(&outputs));
    let (evidence, unchecked) = ran.validate(context, exec_root, assignment)?;
    let unaccepted = inputs.moved(context);
    let outputs = settled(context, outputs).map_err(|e| ran.refuse(e))?;
    let agent = session.and_then(|session| {
        agent::tell(context, assignment, session, attempt);
        agent::result(context, assignment, session)
    });
    let changed = changes(context, guard, &ran, discovered.too_young);
    let doubtful = guard.is_doubtful(&context.tree, &context.makes_in);
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
        validation: inputs.validation,
        validated: unchecked.is_none() && unaccepted.is_empty(),
        evidence,
        duration: ran.duration,
        outputs,
        agent,
        ..Produced::default()
    };
    let log = ran.log;
    Ok(Done { changed, unaccepted, doubtful, unchecked, warnings, log, ..Done::of(produced) })
}
