//! One attempt: the guard, the cache, and then the way that fits the task.

use std::time::Instant;

use super::checks;
use super::exec_root::CheckInputs;
use super::exec_root::ExecRoot;
use super::exec_root::{IsolatedDir, NotReady};
use super::outcome::{Done, Outcome, Refusal};
use super::restore::restore;
use super::{RunContext, in_tree, isolated};
use crate::incremental::{Assignment, Guard, Moved, Produced};
use crate::model::{Event, Isolation, Reason, ReasonKind, Work, WorkspacePath};

/// Makes one attempt at an assignment.
pub fn perform(context: &RunContext, assignment: &Assignment, attempt: u32) -> Outcome {
    // A private folder holds copies; a task in the tree sees every change there.
    let guard = if assignment.isolation == Isolation::None {
        assignment.snapshot.guard(&context.tree, &context.witness)
    } else {
        assignment.snapshot.guard_unwatched(&context.tree)
    };
    let guard = match guard {
        Ok(guard) => guard,
        Err(moved) => return Outcome::Moved(moved),
    };
    if let Some(outcome) = restore(context, assignment, &guard, attempt) {
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
        (Work::Gate, _) => gate(context, assignment, &guard),
        (_, Isolation::None) if assignment.validation_only => {
            Ok(validate_in_tree(context, assignment, &guard))
        }
        (_, Isolation::None) => in_tree::attempt(context, assignment, &guard, attempt),
        _ if assignment.validation_only => validate_apart(context, assignment, &guard),
        _ => isolated::attempt(context, assignment, &guard, attempt),
    };
    outcome.unwrap_or_else(Outcome::Refused)
}

fn validate_in_tree(context: &RunContext, assignment: &Assignment, guard: &Guard) -> Outcome {
    let recorded = assignment.record.iter().filter(|record| !record.on_branch);
    let outputs = recorded.flat_map(|record| &record.outputs).map(|output| output.path.clone());
    let outputs: Vec<WorkspacePath> = outputs.collect();
    let inputs = CheckInputs::in_tree(context, assignment, &outputs);
    validate_alone(context, &ExecRoot::tree(context), assignment, inputs, || guard.changes(&context.tree))
}

/// Runs the checks on the outputs that stand. `changes` names further changes that the checks could see.
fn validate_alone(
    context: &RunContext,
    exec_root: &ExecRoot,
    assignment: &Assignment,
    inputs: CheckInputs,
    changes: impl FnOnce() -> Vec<Moved>,
) -> Outcome {
    let verdict = checks::run(context, exec_root, assignment, "validate", &assignment.task.validate);
    let mut moved = inputs.moved(context);
    moved.extend(changes());
    match verdict.failure {
        Some(failure) if failure.could_not_run => Outcome::Refused(Box::new(failure.into())),
        _ if !moved.is_empty() => Outcome::Moved(moved),
        None => Outcome::Validated(inputs.validation, verdict.evidence),
        Some(failure) => {
            let reason =
                Reason::new(ReasonKind::ValidationFailed).name(failure.definition).new_value(failure.message);
            Outcome::Invalid(reason)
        }
    }
}

fn validate_apart(
    context: &RunContext,
    assignment: &Assignment,
    guard: &Guard,
) -> Result<Outcome, Box<Refusal>> {
    let mut isolated = match IsolatedDir::prepare(context, assignment) {
        Ok(isolated) => isolated,
        Err(NotReady::Moved(moved)) => return Ok(Outcome::Moved(moved)),
        Err(NotReady::Failed(error)) => return Err(error.into()),
    };
    let outcome = (|| {
        isolated.bring_result(context, assignment)?;
        isolated.bring_copies(context, &assignment.task.copy)?;
        isolated.set_up(context, assignment)?;
        let inputs = CheckInputs::bring(context, &isolated, assignment)?;
        // The checks see copies of files, but the tools of this machine.
        let changes = || guard.changed_tools();
        Ok(validate_alone(context, &isolated.exec_root, assignment, inputs, changes))
    })();
    isolated.remove();
    outcome
}

fn gate(context: &RunContext, assignment: &Assignment, guard: &Guard) -> Result<Outcome, Box<Refusal>> {
    let start = Instant::now();
    let inputs = CheckInputs::in_tree(context, assignment, &[]);
    let root = ExecRoot::tree(context);
    let verdict = checks::run(context, &root, assignment, "gate", &assignment.task.validate);
    if let Some(failure) = verdict.failure {
        let reason = Reason::new(ReasonKind::GateFailed).name(failure.definition.clone());
        return Err(Box::new(Refusal { reason, duration: start.elapsed(), ..failure.into() }));
    }
    let mut changed = guard.changes(&context.tree);
    changed.extend(inputs.moved(context));
    let produced = Produced {
        validation: inputs.validation,
        validated: true,
        evidence: verdict.evidence,
        duration: start.elapsed(),
        ..Produced::default()
    };
    Ok(Outcome::Done(Box::new(Done { changed, ..Done::of(produced) })))
}
