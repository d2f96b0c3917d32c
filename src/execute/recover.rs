//! After a crash: undoes what was begun and never ended, and stops what is still running.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use super::integrate::is_covered;
use super::staging::restore;
use crate::model::{Diagnostic, Event, RunId, TaskId, UNFINISHED};
use crate::report::events;
use crate::store::{BranchMove, Intent, Marks, Objects, RunDir, State, list_runs};
use crate::workspace::Root;
use crate::worktree::{Error, Repository};

/// How many runs that never came to their end are looked at.
const LOOKED_AT: usize = 8;
/// The last event of a run fits into so many bytes.
const LAST_EVENT: i64 = 4096;

/// Brings the tree back to the last good outputs. Called with the lock held, before anything is looked at.
/// Returns what a person should know.
pub fn recover(workspace: &Root, folder: &Path, state: &State, intents: &[Intent]) -> Vec<Diagnostic> {
    // A check or a gate may have run that has no intent, so the journal does not name all runs.
    let mut runs: BTreeSet<RunId> = unfinished(folder).collect();
    runs.extend(intents.iter().map(|intent| intent.run.clone()));
    for run in runs {
        crate::process::reap_strays(&run.0);
    }
    let mut notices = Vec::new();
    for intent in intents.iter().filter(|intent| !is_recorded(state, intent)) {
        if let Err(error) = restore(workspace, folder, intent, None) {
            let message =
                format!("the outputs of {} could not be put back after a crash: {error}", intent.task);
            let aside = folder.join("aside").join(&intent.aside);
            notices.push(
                Diagnostic::warning("build::recovery", message)
                    .help(format!("they are in {}", aside.display())),
            );
        }
    }
    for output in intents.iter().flat_map(|intent| &intent.outputs) {
        let folder = if output.folder { Some(output.path.clone()) } else { output.path.parent() };
        remove_unfinished(&folder.unwrap_or_default().under(workspace.root()), output.folder);
    }
    for intent in intents.iter().filter(|intent| !intent.landing && is_recorded(state, intent)) {
        keep_replaced(folder, intent);
    }
    orphans(workspace, &folder.join("aside"), intents);
    for place in unclaimed(folder, state) {
        // What cannot be removed now is tried again by the next build.
        let _ = super::exec_root::remove_all(&place);
        crate::workspace::prune_empty_parents(folder, &place);
    }
    // Results from the cache that never came in.
    let _ = super::exec_root::remove_all(&folder.join(super::restore::INCOMING));
    let marks = Marks::of(folder);
    let workspaces = marks.workspaces();
    let moved = intents.iter().any(|intent| intent.branch.is_some());
    if moved || workspaces.is_dir() {
        let repository = super::git::repository(workspace.root(), folder);
        notices.extend(repository.and_then(|repository| git_side(&repository, state, intents, &workspaces)));
        private_folders(&marks);
        marks.tidy();
        let strangers = marks.not_yet_named(&marks.strangers());
        notices.extend(not_conductors(workspace.root(), &strangers));
    }
    notices
}

/// A warning that names entries of others below `.conductor`; none if there are no such entries.
pub fn not_conductors(root: &Path, strangers: &[PathBuf]) -> Option<Diagnostic> {
    let shown = strangers.iter().map(|place| place.strip_prefix(root).unwrap_or(place).display().to_string());
    let shown: Vec<String> = shown.collect();
    let (verb, what) = if shown.len() == 1 { ("is", "it") } else { ("are", "them") };
    let message = format!("{} {verb} not conductor's, which leaves {what} alone", shown.join(", "));
    let help = "move it elsewhere: a task whose folder has the same name cannot run";
    (!shown.is_empty()).then(|| Diagnostic::warning("build::not_conductors", message).help(help))
}

/// Branches of results that were never recorded go back, and worktrees in which nobody works any more go.
fn git_side(
    repository: &Repository,
    state: &State,
    intents: &[Intent],
    workspaces: &Path,
) -> Option<Diagnostic> {
    let back = |branch: &BranchMove| -> Result<(), Error> {
        repository.unlock_branch(&branch.name)?;
        let tip = repository.branch_tip(&branch.name)?;
        if tip.as_ref() == Some(&branch.after) || tip.is_none() {
            repository.set_branch(&branch.name, tip.as_deref(), branch.before.as_deref())?;
        }
        Ok(())
    };
    let unrecorded = intents.iter().filter(|intent| !is_recorded(state, intent));
    let moved = unrecorded.filter_map(|intent| intent.branch.as_ref()).map(back);
    let removed = std::iter::once_with(|| repository.recover(workspaces).map(drop));
    let failed: Vec<Error> = moved.chain(removed).filter_map(Result::err).collect();
    failed.first().map(|error| {
        Diagnostic::warning("build::recovery", format!("git was not brought back after a crash: {error}"))
    })
}

/// Sandboxes of killed attempts: those that were kept on purpose have no private part any more.
fn private_folders(marks: &Marks) {
    let remove = super::exec_root::remove_all;
    let workspaces = marks.workspaces();
    let private = workspaces.join(super::exec_root::PRIVATE);
    for entry in std::fs::read_dir(&private).into_iter().flatten().flatten() {
        let folder = workspaces.join(entry.file_name());
        // What cannot be removed now is removed when the task runs again.
        if marks.is_made(&folder) {
            let _ = marks.remove_with(&folder, || remove(&folder));
        }
        let _ = remove(&entry.path());
    }
    let _ = std::fs::remove_dir(&private);
    let _ = std::fs::remove_dir(workspaces);
}

/// The last runs, as far as they were killed: what they left was not looked for yet, as a build does so before
/// its own run begins.
fn unfinished(folder: &Path) -> impl Iterator<Item = RunId> {
    let runs = list_runs(folder).into_iter().take(LOOKED_AT);
    runs.take_while(|run| !has_finished(&RunDir::of(folder, run).events()))
}

/// Does the file of a run's events end in the last one? What cannot be read does not.
fn has_finished(events: &Path) -> bool {
    let end = File::open(events).and_then(|mut file| {
        let length = file.metadata()?.len();
        let start = i64::try_from(length).unwrap_or(i64::MAX).min(LAST_EVENT);
        file.seek(SeekFrom::End(-start))?;
        Ok(BufReader::new(file.take(length)))
    });
    end.is_ok_and(|end| events::read(end).last().is_some_and(|last| is_end(&last.event)))
}

fn is_end(event: &Event) -> bool {
    matches!(event, Event::RunFinished { .. })
}

/// The crash came between the record and the end of the intent: what was made stands.
fn is_recorded(state: &State, intent: &Intent) -> bool {
    if intent.landing {
        let record = state.record(&intent.task);
        return record
            .and_then(|record| record.landed_by)
            .is_some_and(|last| is_covered(&intent.aside, &last));
    }
    let accepted = state.record(&intent.task).is_some_and(|record| record.run == intent.run);
    let left = state.failure(&intent.task).is_some_and(|failure| {
        let rolled_back = failure.reason.kind == crate::model::ReasonKind::RolledBack;
        failure.run == intent.run && (rolled_back || !failure.outputs.is_empty())
    });
    accepted || left
}

/// Removes files of conductor's own that were being written when it was killed.
fn remove_unfinished(folder: &Path, deep: bool) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(UNFINISHED.as_bytes()) {
            // What cannot be removed is never listed, and in nobody's way.
            let _ = std::fs::remove_file(entry.path()).or_else(|_| std::fs::remove_dir_all(entry.path()));
        } else if deep && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_unfinished(&entry.path(), true);
        }
    }
}

/// Folders of waiting results for which no task waits any more.
fn unclaimed(folder: &Path, state: &State) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder.join("pending")).into_iter().flatten().flatten();
    let mut places: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    if !places.is_empty() {
        let ids = state.ids().map(TaskId::new);
        let waits = |id: &TaskId| state.failure(id).is_some_and(|failure| failure.pending.is_some());
        let claimed: BTreeSet<String> = ids.filter(waits).map(|id| id.file_name()).collect();
        let name = |place: &PathBuf| place.file_name().map(|name| name.to_string_lossy().into_owned());
        places.retain(|place| !name(place).is_some_and(|name| claimed.contains(&name)));
    }
    places
}

/// What a recorded result replaced and what still lies aside is kept for a rollback, as it would have been.
fn keep_replaced(folder: &Path, intent: &Intent) {
    let objects = Objects::of(folder);
    let Ok(moved) = Root::open(&folder.join("aside").join(&intent.aside).join("moved")) else { return };
    for path in &intent.moved_aside {
        // Where it cannot be kept, a rollback will say so.
        let _ = objects.take(&path.under(moved.root()), &moved.observe(path).entry);
    }
    let _ = objects.sync();
}

/// Outputs that are still set aside though no intent speaks of them (the journal was lost): they are the
/// last good ones, or a person's, and go back where nothing took their place; else they are kept with the
/// conflicts.
fn orphans(workspace: &Root, aside: &Path, intents: &[Intent]) {
    let Ok(runs) = std::fs::read_dir(aside) else { return };
    let conflicts = aside.with_file_name("conflicts");
    for run in runs.flatten() {
        let Ok(attempts) = std::fs::read_dir(run.path()) else { continue };
        for attempt in attempts.flatten() {
            let place = attempt.path();
            let known = intents.iter().any(|intent| aside.join(&intent.aside) == place);
            let Ok(moved) = Root::open(&place.join("moved")) else { continue };
            if known {
                continue;
            }
            for path in moved.list(&crate::model::WorkspacePath::root()).unwrap_or_default() {
                let free = path.under(workspace.root());
                let kept = path.under(&conflicts.join(run.file_name()));
                let to = if free.symlink_metadata().is_err() { free } else { kept };
                let _ = crate::workspace::move_path(&path.under(moved.root()), &to);
            }
        }
    }
    let _ = std::fs::remove_dir_all(aside);
}
