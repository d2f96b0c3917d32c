//! Results that wait for a person: everything but a person has accepted them, so they are kept, in
//! `.conductor/pending/TASK`, where they can be looked at, and are never made again for the same action.

use std::path::PathBuf;

use super::integrate::{Obstacle, Source, integrate};
use super::outcome::{Outcome, Refusal, Waiting};
use super::staging::{Staged, StagingError};
use super::{RunContext, git};
use crate::incremental::{Assignment, Change, Produced};
use crate::model::{Diagnostic, EntryKind, Isolation, Pending, TaskId, Wait, WorkspacePath};
use crate::store::BranchMove;
use crate::workspace::{self, Observed, Root};

/// Where a task's waiting result lies.
pub fn folder(context: &RunContext, task: &TaskId) -> PathBuf {
    context.folder.join("pending").join(task.file_name())
}

/// Sets a result aside.
pub(super) fn hold(
    context: &RunContext,
    assignment: &Assignment,
    wait: Wait,
    made: &Root,
    produced: Produced,
    mut warnings: Vec<Diagnostic>,
    log: Option<String>,
) -> Result<Outcome, Box<Refusal>> {
    let keep = || -> Result<(), StagingError> {
        let folder = folder(context, &assignment.task.id);
        clear(context, &assignment.task.id).map_err(|error| StagingError(error.to_string()))?;
        workspace::make_folder(&folder)?;
        for (path, observed) in &produced.outputs {
            let to = path.under(&folder);
            if observed.entry.kind == EntryKind::Folder {
                workspace::make_folder(&to)?;
            } else {
                workspace::copy_file(&path.under(made.root()), &to)?;
            }
        }
        for change in
            produced.edited.iter().filter(|change| change.after != change.before && change.after.exists())
        {
            let mode = if change.after.executable { 0o755 } else { 0o644 };
            let restored = context.objects.restore(&change.after, &change.path.under(&folder), mode);
            restored.map_err(|error| StagingError(error.to_string()))?;
        }
        Ok(())
    };
    keep()?;
    if let Wait::Conflict(paths) = &wait {
        let made: Vec<&WorkspacePath> = produced.outputs.iter().map(|(path, _)| path).collect();
        keep_new_versions(context, &assignment.task.id, &made, paths)?;
        warnings.extend(paths.iter().map(|path| conflict(context, &assignment.task.id, path)));
    }
    Ok(Outcome::Waiting(Box::new(Waiting { wait, produced, warnings, log })))
}

/// Keeps what a waiting result holds at and below `paths` where a person will look for it:
/// `.conductor/conflicts/RUN/PATH`.
fn keep_new_versions(
    context: &RunContext,
    task: &TaskId,
    made: &[&WorkspacePath],
    paths: &[WorkspacePath],
) -> Result<(), StagingError> {
    let kept = context.folder.join("conflicts").join(&context.run.0);
    let folder = folder(context, task);
    for path in made.iter().filter(|made| paths.iter().any(|path| made.is_within(path))) {
        let from = path.under(&folder);
        if from.is_dir() && !from.is_symlink() {
            workspace::make_folder(&path.under(&kept))?;
        } else {
            workspace::copy_file(&from, &path.under(&kept))?;
        }
    }
    Ok(())
}

/// A person has approved a result that cannot come in, because versions of theirs stand at `paths`: it waits
/// for these now. Says so of each.
///
/// # Errors
/// The new versions cannot be kept.
pub fn turn_into_conflict(
    context: &RunContext,
    task: &TaskId,
    pending: &mut Pending,
    paths: Vec<WorkspacePath>,
) -> Result<Vec<Diagnostic>, StagingError> {
    let made: Vec<&WorkspacePath> = pending.record.outputs.iter().map(|output| &output.path).collect();
    keep_new_versions(context, task, &made, &paths)?;
    let told = paths.iter().map(|path| conflict(context, task, path)).collect();
    pending.wait = Wait::Conflict(paths);
    Ok(told)
}

/// Says that a person's version stands in the way, and what to do.
fn conflict(context: &RunContext, task: &TaskId, path: &WorkspacePath) -> Diagnostic {
    let kept = path.under(&context.folder.join("conflicts").join(&context.run.0));
    let message =
        format!("{path} is not what conductor made; the new version by {task} does not overwrite it");
    let both = format!("`conductor resolve {path} --theirs` takes conductor's, `--mine` keeps yours");
    Diagnostic::error("build::conflict", message).help(if kept.symlink_metadata().is_ok() {
        format!("the new version is kept in {}; {both}", context.shown(&kept))
    } else {
        format!("the new version has nothing there; {both}")
    })
}

/// Forgets a waiting result.
///
/// # Errors
/// Its folder cannot be removed.
pub fn clear(context: &RunContext, task: &TaskId) -> std::io::Result<()> {
    let folder = folder(context, task);
    match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(std::io::Error::new(error.kind(), format!("cannot remove {}: {error}", folder.display())))
        }
        _ => {
            workspace::prune_empty_parents(&context.folder, &folder);
            Ok(())
        }
    }
}

/// A waiting result that was brought into the tree.
pub struct Released {
    /// To be accepted.
    pub produced: Produced,
    /// To be finished once the record is safe; none where the result stays on a branch.
    pub staged: Option<Staged>,
    /// Where its branch goes then.
    pub branch: Option<BranchMove>,
    /// For people.
    pub warnings: Vec<Diagnostic>,
}

/// Brings a waiting result into the tree.
///
/// # Errors
/// Its files are not those that were shown, a person's version stands in the way, or they cannot be written.
pub fn release(
    context: &RunContext,
    assignment: &Assignment,
    pending: &Pending,
    attempt: u32,
) -> Result<Result<Released, Vec<WorkspacePath>>, String> {
    let record = &pending.record;
    let folder = folder(context, &assignment.task.id);
    let made = Root::open(&folder).map_err(|error| error.to_string())?;
    let paths: Vec<&WorkspacePath> = record.outputs.iter().map(|output| &output.path).collect();
    let seen = made.observe_all(&paths);
    for (output, seen) in record.outputs.iter().zip(&seen) {
        if output.entry != seen.entry {
            let place = context.shown(&output.path.under(&folder));
            return Err(format!(
                "{place} is not what was made and checked; run `conductor build --force` for it"
            ));
        }
    }
    for edited in record.edited.iter().filter(|edited| edited.after != edited.before && edited.after.exists())
    {
        if made.observe(&edited.path).entry != edited.after {
            let place = context.shown(&edited.path.under(&folder));
            return Err(format!(
                "{place} is not what was made and checked; run `conductor build --force` for it"
            ));
        }
    }
    let mut outputs: Vec<(WorkspacePath, Observed)> = paths.into_iter().cloned().zip(seen).collect();
    let discovered = pending.discovered.iter().map(|path| (path.clone(), context.tree.observe(path)));
    let discovered = discovered.collect();
    let edited: Vec<Change> = record
        .edited
        .iter()
        .map(|edited| Change { path: edited.path.clone(), before: edited.before, after: edited.after })
        .collect();
    let (mut branch, mut warnings) = (None, Vec::new());
    if assignment.isolation == Isolation::Worktree {
        branch = Some(git::commit(context, assignment, &made, &outputs, &edited)?);
    }
    let (staged, mut displaced);
    displaced = Vec::new();
    if record.on_branch {
        for output in &record.outputs {
            let from = output.path.under(&folder);
            context.objects.put(&from, &output.entry).map_err(|error| error.to_string())?;
        }
        let open = Staged::open_branch(context, &assignment.task, attempt, branch.clone());
        staged = Some(open.map_err(|error| error.to_string())?);
    } else {
        match integrate(context, assignment, attempt, (&made, Source::Kept), &outputs, branch.clone()) {
            Ok(came) => {
                (outputs, displaced) = (came.outputs, came.displaced);
                staged = Some(came.staged);
                warnings.extend(came.warnings);
            }
            Err(Obstacle::Conflict(paths)) => return Ok(Err(paths)),
            Err(Obstacle::Failed(error)) => return Err(error.to_string()),
        }
    }
    let produced = Produced {
        outputs,
        displaced,
        discovered,
        validation: record.validation.clone(),
        validated: true,
        evidence: record.evidence.clone(),
        duration: record.duration,
        edited,
        commit: branch.as_ref().map(|branch| branch.after.clone()),
        on_branch: record.on_branch,
        approval: record.approval.clone(),
        agent: record.agent.clone(),
    };
    Ok(Ok(Released { produced, staged, branch, warnings }))
}
