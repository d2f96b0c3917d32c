//! What an agent's result may not be, beside what may be wrong with every task's.

use crate::execute::run_context::RunContext;
use crate::incremental::{Assignment, Change};
use crate::model::{Task, WorkspacePath};
use crate::workspace::Observed;

/// What is wrong with an agent's result, beside what may be wrong with every task's.
pub(in crate::execute) fn look(
    context: &RunContext,
    assignment: &Assignment,
    outputs: &[(WorkspacePath, Observed)],
    edited: &[Change],
) -> Result<(), String> {
    protect(context, assignment, outputs, edited)?;
    some_change(&assignment.task, outputs, edited)
}

/// Files from which agents' programs take settings, hooks or servers to start are changed only by a task that names
/// them: what one agent plants there, the next one would run.
fn protect(
    context: &RunContext,
    assignment: &Assignment,
    outputs: &[(WorkspacePath, Observed)],
    edited: &[Change],
) -> Result<(), String> {
    let task = &assignment.task;
    let changed = edited.iter().filter(|change| change.after != change.before).map(|change| &change.path);
    for path in outputs.iter().map(|(path, _)| path).chain(changed) {
        let Some(part) = context.agents.protected(path) else { continue };
        let named = task.outputs.iter().any(|output| output.path.components().any(|other| other == part))
            || task.edits.iter().any(|pattern| pattern.glob.split('/').any(|other| other.as_bytes() == part));
        if !named {
            let part = String::from_utf8_lossy(part);
            return Err(format!(
                "it changed {path}, from which agents take settings; a task that is to do so names `{part}` in its `outputs` or `edits`"
            ));
        }
    }
    Ok(())
}

/// An agent that changed nothing at all, and whose result nothing checks, did not do what it was asked.
fn some_change(task: &Task, outputs: &[(WorkspacePath, Observed)], edited: &[Change]) -> Result<(), String> {
    let touched = !outputs.is_empty() || edited.iter().any(|change| change.after != change.before);
    if touched || !task.validate.is_empty() {
        return Ok(());
    }
    Err("it changed nothing, and there is no check that would accept that".to_owned())
}
