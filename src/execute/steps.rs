//! Steps that attempts share, wherever they run.

use super::RunContext;
use super::checks;
use super::command_result::CommandResult;
use super::exec_root::{CheckInputs, ExecRoot};
use super::outcome::Refusal;
use crate::incremental::{Assignment, Guard, Moved};
use crate::model::{Entry, WorkspacePath};
use crate::workspace::Observed;

/// Files with their observed entries.
pub(super) type Outputs = Vec<(WorkspacePath, Observed)>;

/// The checks before the command. They look at the tree, wherever the command will run.
///
/// Returns those of their inputs that moved meanwhile: then they have accepted nothing, and nothing is to start.
pub(super) fn require(context: &RunContext, assignment: &Assignment) -> Result<Vec<Moved>, Box<Refusal>> {
    if assignment.task.require.is_empty() {
        return Ok(Vec::new());
    }
    let inputs = CheckInputs::required(context, assignment);
    let exec_root = &ExecRoot::tree(context);
    let required = checks::run(context, exec_root, assignment, "require", &assignment.task.require);
    match required.failure {
        Some(failure) => Err(Box::new(Refusal { retryable: true, ..failure.into() })),
        None => Ok(inputs.moved(context)),
    }
}

/// The checks must leave the outputs alone; outputs that they only touched are looked at again.
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

/// Everything that changed while a command ran: under the guard, among files that its depfile names first, or its program.
pub(super) fn changes(
    context: &RunContext,
    guard: &Guard,
    ran: &CommandResult,
    too_young: Vec<WorkspacePath>,
) -> Vec<Moved> {
    let mut changed = guard.changes(&context.tree);
    changed.extend(too_young.into_iter().map(Moved::File));
    changed.extend(ran.exchanged_program());
    changed
}

/// The paths of outputs.
pub(super) fn paths_of(outputs: &Outputs) -> Vec<WorkspacePath> {
    outputs.iter().map(|(path, _)| path.clone()).collect()
}

/// Compares a result in the tree with the accepted entries. Other bytes are a person's, never the result's. Returns the
/// accepted outputs, and the files that stand in the place of some of them.
pub(super) fn as_accepted(
    outputs: Outputs,
    accepted: impl Fn(&WorkspacePath) -> Option<Entry>,
) -> (Outputs, Outputs) {
    let mut displaced = Vec::new();
    let outputs = outputs.into_iter().map(|(path, seen)| match accepted(&path) {
        Some(entry) if entry != seen.entry => {
            displaced.push((path.clone(), seen));
            (path, Observed { entry, racy: true, ..seen })
        }
        _ => (path, seen),
    });
    (outputs.collect(), displaced)
}
