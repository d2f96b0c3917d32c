//! What a person's decision needs between builds: a command run in the tree, checks on a result with the
//! person's version in it, and versions of a file kept where they can be found again.

use std::path::PathBuf;

use super::command::{Call, Paths};
use super::command_result::complaint;
use super::exec_root::CheckInputs;
use super::exec_root::ExecRoot;
use super::exec_root::{IsolatedDir, NotReady};
use super::{RunContext, checks, pending};
use crate::incremental::Assignment;
use crate::model::{
    Action, CheckEvidence, Command, Entry, Isolation, Record, Signature, Task, TaskId, Validation,
    WorkspacePath,
};
use crate::workspace::{self, Root};

/// Runs a command of a task in the tree, for its effect. Its output is kept as `TASK.PART.log` of the run.
///
/// # Errors
/// What the command said when it did not succeed.
pub fn run_by_hand(
    context: &RunContext,
    task: &Task,
    action: &Action,
    command: &Command,
    part: &str,
) -> Result<(), String> {
    let (exec_root, paths) = (ExecRoot::tree(context), Paths::new(task, action));
    let log = context.log(&task.id, Some(part));
    let call = Call {
        context,
        exec_root: &exec_root,
        task,
        command,
        paths: &paths,
        log,
        stall: None,
        is_work: false,
    };
    let ended = call.run().map_err(|error| error.to_string())?;
    match complaint(task, &ended) {
        None => Ok(()),
        Some(message) => {
            let said = String::from_utf8_lossy(&ended.tail);
            Err(format!("{message}\n{}", said.trim_end()).trim_end().to_owned())
        }
    }
}

/// Runs a task's checks on `record`, with the tree's version of `mine` in it; where the task runs apart, in a private
/// folder.
///
/// # Errors
/// What the check that refused said, or why it could not be run.
pub fn check_result(
    context: &RunContext,
    assignment: &Assignment,
    record: &Record,
    mine: Option<&WorkspacePath>,
) -> Result<(Validation, Vec<CheckEvidence>), String> {
    if assignment.isolation == Isolation::None {
        let inputs = CheckInputs::in_tree(context, assignment, &[]);
        let evidence = checked(context, &ExecRoot::tree(context), assignment)?;
        return match inputs.moved(context).first() {
            Some(moved) => Err(format!("{moved} changed while the checks ran")),
            None => Ok((inputs.validation, evidence)),
        };
    }
    let isolated = match IsolatedDir::prepare(context, assignment) {
        Ok(isolated) => isolated,
        Err(NotReady::Moved(paths)) => {
            let first = paths.first().map(ToString::to_string).unwrap_or_default();
            return Err(format!("{first} changed at this very moment"));
        }
        Err(NotReady::Failed(error)) => return Err(error.to_string()),
    };
    let waiting = Root::open(&pending::folder(context, &assignment.task.id)).ok();
    let run = || -> Result<(Validation, Vec<CheckEvidence>), String> {
        let failed = |error: &dyn std::fmt::Display| error.to_string();
        let edited = record.edited.iter().map(|edited| (&edited.path, edited.after));
        let outputs = record.outputs.iter().map(|output| (&output.path, output.entry));
        for (path, entry) in outputs.chain(edited) {
            let root = &isolated.exec_root;
            let from = from_where(context, waiting.as_ref(), path, &entry, mine);
            match from {
                Some(from) => root.bring_result(from, path, &entry),
                None if !entry.exists() => root.take_away(path),
                None => root.restore(&context.objects, path, &entry),
            }
            .map_err(|error| failed(&error))?;
            // The checks judge the bytes that are recorded, and no others.
            if root.dir.observe(path).entry != entry {
                return Err(format!("{path} changed at this very moment"));
            }
        }
        let inputs = CheckInputs::bring(context, &isolated, assignment).map_err(|error| failed(&error))?;
        Ok((inputs.validation, checked(context, &isolated.exec_root, assignment)?))
    };
    let verdict = run();
    isolated.remove();
    verdict
}

/// The folder with a file that holds `entry`: the tree, or the one that holds the waiting result.
fn from_where<'a>(
    context: &'a RunContext,
    waiting: Option<&'a Root>,
    path: &WorkspacePath,
    entry: &Entry,
    mine: Option<&WorkspacePath>,
) -> Option<&'a Root> {
    let has_it = |root: &Root| root.signature(path) != Signature::ABSENT;
    if mine == Some(path) || context.tree.observe(path).entry == *entry {
        return Some(&*context.tree).filter(|root| has_it(root));
    }
    waiting.filter(|root| has_it(root))
}

fn checked(
    context: &RunContext,
    exec_root: &ExecRoot,
    assignment: &Assignment,
) -> Result<Vec<CheckEvidence>, String> {
    let verdict = checks::run(context, exec_root, assignment, "validate", &assignment.task.validate);
    verdict.failure.map_or(Ok(verdict.evidence), |failure| Err(failure.message))
}

/// Where a version of a file is kept that gave way in this run.
fn kept_at(context: &RunContext, path: &WorkspacePath) -> PathBuf {
    path.under(&context.folder.join("conflicts").join(&context.run.0))
}

/// Moves the tree's version of a file out of the way; says where it is now, or nothing where none was there.
///
/// # Errors
/// It cannot be moved.
pub fn keep_version(context: &RunContext, path: &WorkspacePath) -> Result<Option<String>, String> {
    let (from, to) = (path.under(context.tree.root()), kept_at(context, path));
    if from.symlink_metadata().is_err() {
        return Ok(None);
    }
    workspace::move_path(&from, &to).map_err(|error| error.to_string())?;
    Ok(Some(context.shown(&to)))
}

/// Takes [`keep_version`] back, where nothing has taken the file's place.
///
/// # Errors
/// It cannot be moved back.
pub fn return_version(context: &RunContext, path: &WorkspacePath) -> Result<(), String> {
    let (to, from) = (path.under(context.tree.root()), kept_at(context, path));
    if to.symlink_metadata().is_ok() || from.symlink_metadata().is_err() {
        return Ok(());
    }
    workspace::move_path(&from, &to).map_err(|error| error.to_string())?;
    workspace::prune_empty_parents(&context.folder, &from);
    Ok(())
}

/// As [`keep_version`], but leaves it where it is.
///
/// # Errors
/// It cannot be copied.
pub fn copy_version(context: &RunContext, path: &WorkspacePath) -> Result<Option<String>, String> {
    let (from, to) = (path.under(context.tree.root()), kept_at(context, path));
    if from.symlink_metadata().is_err() {
        return Ok(None);
    }
    workspace::copy_file(&from, &to).map_err(|error| error.to_string())?;
    Ok(Some(context.shown(&to)))
}

/// Puts the tree's version of a file into a result that waits.
///
/// # Errors
/// It cannot be copied.
pub fn show_version(context: &RunContext, task: &TaskId, path: &WorkspacePath) -> Result<(), String> {
    let from = path.under(context.tree.root());
    let to = path.under(&pending::folder(context, task));
    workspace::copy_file(&from, &to).map_err(|error| error.to_string())
}
