//! The command that prepares a private folder, and is no part of the task.

use super::ExecRoot;
use crate::execute::command::{Call, Paths};
use crate::execute::command_result::{complaint, spawn_refusal};
use crate::execute::outcome::Refusal;
use crate::execute::run_context::RunContext;
use crate::incremental::Assignment;
use crate::process::End;

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
