//! `conductor clean`: removes recorded outputs that nobody has modified, and their records; worktrees of tasks that
//! failed; with `--branches` also conductor's branches.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::build::{KEEP, hold};
use super::options::{CleanArgs, Global};
use super::session::Session;
use super::{Exit, Output, Stop};
use crate::execute::{not_conductors, recover, remove_all, repository};
use crate::incremental::Caller;
use crate::model::{Diagnostic, Failure, RunId, TaskId};
use crate::report::count;
use crate::store::{Access, Journal, Marks, Objects, State, list_runs, strangers};
use crate::workspace::{prune_empty_parents, remove_path};
use crate::worktree::{self, branch_name};

pub(super) fn run(global: &Global, args: &CleanArgs, caller: Caller, output: &Output) -> Result<Exit, Stop> {
    let session = Session::open(global, caller)?;
    let access = if args.dry_run { Access::ReadOnly } else { Access::Write };
    let mut notices = Vec::new();
    let _lock = if args.dry_run {
        None
    } else {
        notices = crate::store::prepare(&session.folder)?;
        Some(hold(&session, "clean", &mut |_| ControlFlow::Break(()))?)
    };
    let (mut state, found) = State::open(&session.folder, access);
    notices.extend(found);
    if !args.dry_run {
        let (journal, intents) = Journal::open(&session.folder, access);
        notices.extend(recover(&session.workspace, &session.folder, &state, &intents));
        journal.clear();
    }
    output.warn(&notices, session.sources());
    let tasks: Vec<TaskId> = if args.targets.is_empty() {
        state.ids().map(TaskId::new).collect()
    } else {
        session.scope(&args.targets)?.0.into_iter().map(|index| session.plan.task_id(index)).collect()
    };
    let (mut removed, mut kept) = (Vec::new(), Vec::new());
    let git = git_side(&session, &state, args, &tasks)?;
    for task in &tasks {
        let Some(record) = state.record(task) else { continue };
        for output in record.outputs {
            let now = session.workspace.observe(&output.path);
            if !now.entry.exists() {
                continue;
            }
            if now.entry != output.entry {
                kept.push(output.path);
                continue;
            }
            let place = output.path.under(session.workspace.root());
            if !args.dry_run && remove_path(&place).is_ok() {
                prune_empty_parents(session.workspace.root(), &place);
            }
            removed.push(output.path);
        }
        if !args.dry_run {
            // A result that waits for a person has cost something, and is no output yet.
            let waiting = state.failure(task).filter(|failure| failure.pending.is_some());
            state.forget(task);
            if let Some(failure) = waiting {
                state.put_failure(task, &Failure { outputs: Vec::new(), undo: Vec::new(), ..failure });
            }
        }
    }
    state.finish()?;
    name_others(&session, args.dry_run, output);
    let targets = (!args.targets.is_empty()).then_some(&*tasks);
    let (leftovers, gone) = leftovers(&session, &state, targets, args.dry_run);
    if !args.dry_run {
        for task in &gone {
            state.forget(task);
        }
        state.finish()?;
        Objects::of(&session.folder).sweep(&state.needed_objects());
    }
    if output.json {
        let Cleaned { worktrees, branches, kept_branches } = git;
        output.say_json(&json!({
            "version": 1, "dry_run": args.dry_run, "removed": removed, "kept": kept,
            "worktrees": worktrees, "branches": branches, "kept_branches": kept_branches,
            "leftovers": leftovers,
        }));
        return Ok(Exit::Success);
    }
    let mut text = String::new();
    let verb = if args.dry_run { "would remove" } else { "removed" };
    for path in &removed {
        let _ = writeln!(text, "{verb} {path}");
    }
    for path in &kept {
        let _ = writeln!(text, "kept {path}: it is not what conductor made");
    }
    for place in &git.worktrees {
        let _ = writeln!(text, "{verb} the worktree {place}");
    }
    for place in &leftovers {
        let _ = writeln!(text, "{verb} {place}");
    }
    for name in &git.branches {
        let _ = writeln!(text, "{verb} the branch {name}");
    }
    for name in &git.kept_branches {
        let _ = writeln!(text, "kept the branch {name}: it stands at a commit that conductor did not write");
    }
    let _ = writeln!(text, "{verb} {}, kept {}", count(removed.len(), "output"), kept.len());
    output.say(&text);
    Ok(Exit::Success)
}

/// Warns of entries of others below `.conductor`, and removes marks of folders that are gone.
fn name_others(session: &Session, dry_run: bool, output: &Output) {
    let marks = Marks::of(&session.folder);
    if !dry_run {
        marks.tidy();
    }
    let root = session.workspace.root();
    let manifests = session.plan.sources().files.iter().map(|file| root.join(&file.path));
    let mut others = marks.strangers();
    others.extend(strangers(&session.folder, &manifests.collect::<Vec<PathBuf>>()));
    output.warn(&Vec::from_iter(not_conductors(root, &others)), session.sources());
}

/// Removes what conductor keeps for people and nobody needs any more: folders of failed sandboxes, waiting results
/// of tasks that are gone, and conflicts older than runs are kept. Of `targets` only the sandboxes. Returns the
/// places, and the tasks that are to be forgotten with them.
fn leftovers(
    session: &Session,
    state: &State,
    targets: Option<&[TaskId]>,
    dry_run: bool,
) -> (Vec<String>, Vec<TaskId>) {
    let below = |name: &str| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(session.folder.join(name)).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    };
    let named = |place: &PathBuf, task: &TaskId| place.file_name() == Some(OsStr::new(&task.file_name()));
    let mut gone = Vec::new();
    let marks = Marks::of(&session.folder);
    let mut places = below("workspaces");
    // Those of git have been removed with what git knows of them.
    places.retain(|place| marks.is_made(place) && !place.join(".git").is_file());
    if let Some(targets) = targets {
        places.retain(|place| targets.iter().any(|task| named(place, task)));
    } else {
        let waits = |id: &TaskId| state.failure(id).is_some_and(|failure| failure.pending.is_some());
        let ids = state.ids().filter(|id| session.plan.index_of(id).is_none()).map(TaskId::new);
        gone = ids.filter(waits).collect();
        let waiting = gone.iter().map(|task| session.folder.join("pending").join(task.file_name()));
        places.extend(waiting.filter(|place| place.is_dir()));
        places.extend(below("conflicts").into_iter().filter(|place| is_old(session, place)));
    }
    places.sort();
    if !dry_run {
        places.retain(|place| marks.remove_with(place, || remove_all(place)).is_ok());
        for place in &places {
            prune_empty_parents(&session.folder, place);
        }
    }
    let shown = |place: &PathBuf| place.strip_prefix(session.workspace.root()).unwrap_or(place).to_owned();
    (places.iter().map(|place| shown(place).display().to_string()).collect(), gone)
}

/// Is it of a run that is kept no more?
fn is_old(session: &Session, place: &Path) -> bool {
    let run = place.file_name().and_then(OsStr::to_str).map(|name| RunId(name.to_owned()));
    let listed = run.is_some_and(|run| list_runs(&session.folder).contains(&run));
    let modified = place.symlink_metadata().and_then(|metadata| metadata.modified());
    !listed && modified.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > KEEP.1))
}

/// What git had of conductor's.
#[derive(Default)]
struct Cleaned {
    /// Folders of worktrees, from the workspace's root.
    worktrees: Vec<String>,
    branches: Vec<String>,
    /// Branches that somebody else moved.
    kept_branches: Vec<String>,
}

/// Removes worktrees of tasks that failed, and branches where that is asked for; those of `tasks`, or all.
fn git_side(session: &Session, state: &State, args: &CleanArgs, tasks: &[TaskId]) -> Result<Cleaned, Stop> {
    let mut cleaned = Cleaned::default();
    let Some(repository) = repository(session.workspace.root(), &session.folder) else { return Ok(cleaned) };
    let stop = |error: worktree::Error| session.stop(Exit::Failed, vec![failed(&error)]);
    let all = args.targets.is_empty();
    let workspaces = session.folder.join("workspaces");
    for leftover in repository.leftovers(&workspaces).map_err(stop)? {
        let own = |task: &TaskId| leftover.place.file_name() == Some(OsStr::new(&task.file_name()));
        if !all && !tasks.iter().any(own) {
            continue;
        }
        let name = leftover.place.file_name().unwrap_or_default().to_owned();
        // The others are halves of what was being removed.
        if !name.as_encoded_bytes().starts_with(b".") {
            cleaned.worktrees.push(format!(".conductor/workspaces/{}", name.display()));
        }
        if !args.dry_run {
            repository.discard(&leftover).map_err(stop)?;
            prune_empty_parents(&session.folder, &workspaces.join(name));
        }
    }
    // Where conductor left the branches.
    let recorded = |task: &TaskId| {
        let commit = state.record(task).and_then(|record| record.commit);
        (branch_name(task.as_str()), commit.or_else(|| state.failure(task)?.commit))
    };
    let recorded: BTreeMap<String, Option<String>> = tasks.iter().map(recorded).collect();
    let branches = if args.branches { repository.branches().map_err(stop)? } else { Vec::new() };
    for name in branches.into_iter().filter(|name| all || recorded.contains_key(name)) {
        let tip = repository.branch_tip(&name).map_err(stop)?;
        let known = recorded.get(&name).is_some_and(|commit| *commit == tip);
        if !known && !repository.is_written_by_conductor(&name) {
            cleaned.kept_branches.push(name);
            continue;
        }
        if !args.dry_run {
            repository.delete_branch(&name).map_err(stop)?;
        }
        cleaned.branches.push(name);
    }
    Ok(cleaned)
}

fn failed(error: &worktree::Error) -> Diagnostic {
    Diagnostic::error("clean::git", error.to_string())
}
