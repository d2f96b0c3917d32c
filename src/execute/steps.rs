//! Steps that attempts share, wherever they run.

use super::RunContext;
use super::checks;
use super::command::{Call, Paths};
use super::command_result::{complaint, spawn_refusal};
use super::exec_root::ExecRoot;
use super::outcome::Refusal;
use crate::incremental::Assignment;
use crate::model::{Entry, WorkspacePath};
use crate::process::End;
use crate::workspace::Observed;

/// Files with what was seen there.
pub(super) type Outputs = Vec<(WorkspacePath, Observed)>;

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

/// Holds what the tree has of a result against what was accepted of it: bytes that are others are a person's, never the
/// result's. Returns the accepted outputs, and what stands in the place of some.
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
