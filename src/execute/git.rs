//! The git side of a result that was made in a worktree: the commit that holds it, and the branch that is to
//! stand there. conductor commits, never the task.

use super::RunContext;
use crate::incremental::{Assignment, Change};
use crate::model::{Diagnostic, Entry, EntryKind, Isolation, Record, Task, TaskId, WorkspacePath};
use crate::store::{BranchMove, Marks};
use crate::workspace::{Observed, Root};
use crate::worktree::{Commit, Content, Repository, Trailers, branch_name};

/// Commits a result: HEAD's tree, what the task's needs made, and what it made itself. No branch moves yet.
/// The outputs lie below `at`.
pub(super) fn commit(
    context: &RunContext,
    assignment: &Assignment,
    at: &Root,
    outputs: &[(WorkspacePath, Observed)],
    edited: &[Change],
) -> Result<BranchMove, String> {
    let repository = context.repository.as_ref().ok_or("there is no git repository any more")?;
    let task = &assignment.task;
    let mut entries: Vec<(WorkspacePath, Content)> =
        assignment.vanished.iter().map(|path| (path.clone(), Content::Absent)).collect();
    for made in &assignment.inherited {
        entries.extend(content(context, &made.path, &made.entry).map(|content| (made.path.clone(), content)));
    }
    let previous = assignment.previous.iter().map(|(output, _)| &output.path);
    let previous = previous.filter(|path| task.outputs.iter().any(|output| path.is_within(&output.path)));
    let gone = previous.chain(&assignment.leftovers);
    entries.extend(gone.map(|path| (path.clone(), Content::Absent)));
    for (path, seen) in outputs {
        entries.extend(content_at(at, path, &seen.entry).map(|content| (path.clone(), content)));
    }
    for change in edited.iter().filter(|change| change.before != change.after) {
        entries.extend(
            content(context, &change.path, &change.after).map(|content| (change.path.clone(), content)),
        );
    }
    let trailers = Trailers {
        task: task.id.as_str().to_owned(),
        run: context.run.0.clone(),
        key: assignment.key.0.to_hex(),
    };
    let title = title(task);
    // A commit whose branch was removed may be gone; what it held is among the entries.
    let needs = assignment.commits.iter().filter(|commit| repository.trailers(commit).is_ok());
    let needs: Vec<String> = needs.cloned().collect();
    let commit = Commit { entries: &entries, needs: &needs, title: &title, trailers: &trailers };
    let after = repository.commit(&commit).map_err(|error| error.to_string())?;
    let name = branch_name(task.id.as_str());
    let before = repository.branch_tip(&name).map_err(|error| error.to_string())?;
    let foreign = before.as_ref().is_some_and(|tip| !is_own(repository, &name, tip, own_commit(assignment)));
    Ok(BranchMove { name, before, foreign, after })
}

/// Commits a result that a person changed and the checks accepted, as the tree and the objects hold it.
///
/// # Errors
/// It cannot be committed.
pub fn commit_adopted(
    context: &RunContext,
    assignment: &Assignment,
    record: &Record,
) -> Result<Option<BranchMove>, String> {
    if assignment.isolation != Isolation::Worktree || record.on_branch {
        return Ok(None);
    }
    let paths: Vec<&WorkspacePath> = record.outputs.iter().map(|output| &output.path).collect();
    let seen = context.tree.observe_all(&paths);
    let outputs: Vec<(WorkspacePath, Observed)> = paths.into_iter().cloned().zip(seen).collect();
    let edited = record.edited.iter().map(|edited| Change {
        path: edited.path.clone(),
        before: edited.before,
        after: edited.after,
    });
    let edited: Vec<Change> = edited.collect();
    commit(context, assignment, &context.tree, &outputs, &edited).map(Some)
}

/// Moves a branch to the commit of a result that has just been accepted; what somebody else put there is kept
/// under another name. That it could not be moved loses nothing: the result stands, and the commit is told.
pub fn move_branch(context: &RunContext, branch: &BranchMove) -> Option<Diagnostic> {
    let repository = context.repository.as_ref()?;
    let kept = if branch.foreign { repository.keep_aside(&branch.name, &context.run.0) } else { Ok(None) };
    let moved = kept.and_then(|kept| {
        let before = branch.before.as_deref().filter(|_| !branch.foreign);
        repository.set_branch(&branch.name, before, Some(&branch.after)).map(|()| kept)
    });
    match moved {
        Ok(None) => None,
        Ok(Some(kept)) => {
            let message = format!("the branch {} stood at a commit that conductor did not make", branch.name);
            Some(Diagnostic::warning("build::branch", message).help(format!("it is kept as {kept}")))
        }
        Err(error) => Some(
            Diagnostic::warning("build::branch", error.to_string())
                .help(format!("the result is in commit {}", branch.after)),
        ),
    }
}

/// May the branch of a result that is to be rolled back move back from `from` to `to`?
///
/// # Errors
/// It stands at a commit of somebody else's.
pub fn check_branch(context: &RunContext, task: &TaskId, from: &str, to: Option<&str>) -> Result<(), String> {
    let Some(repository) = context.repository.as_ref() else { return Ok(()) };
    let name = branch_name(task.as_str());
    match repository.branch_tip(&name).map_err(|error| error.to_string())? {
        Some(tip) if to != Some(&*tip) && !is_own(repository, &name, &tip, Some(from)) => {
            Err(format!("the branch {name} stands at {tip}, which conductor did not write"))
        }
        _ => Ok(()),
    }
}

/// Moves the branch of a result that is rolled back.
///
/// # Errors
/// It cannot be moved.
pub fn move_branch_back(context: &RunContext, task: &TaskId, to: Option<&str>) -> Result<(), String> {
    let Some(repository) = context.repository.as_ref() else { return Ok(()) };
    let name = branch_name(task.as_str());
    match repository.branch_tip(&name).map_err(|error| error.to_string())? {
        // A person removed it.
        None => Ok(()),
        Some(tip) => repository.set_branch(&name, Some(&tip), to).map_err(|error| error.to_string()),
    }
}

fn title(task: &Task) -> String {
    task.title.as_ref().map_or_else(|| task.id.to_string(), |title| format!("{}: {title}", task.id))
}

/// The commit at which conductor left the task's branch, as far as is recorded.
fn own_commit(assignment: &Assignment) -> Option<&str> {
    match (&assignment.record, &assignment.failure) {
        (Some(record), _) => record.commit.as_deref(),
        (None, Some(failure)) => failure.commit.as_deref(),
        (None, None) => None,
    }
}

/// Did conductor put the branch at its tip? The record says so, or git's log of the branch, where the records are lost.
fn is_own(repository: &Repository, name: &str, tip: &str, recorded: Option<&str>) -> bool {
    recorded == Some(tip) || repository.is_written_by_conductor(name)
}

/// A state of a path: where the tree holds it from there, else from the objects.
fn content(context: &RunContext, path: &WorkspacePath, entry: &Entry) -> Option<Content> {
    if !entry.exists() {
        return Some(Content::Absent);
    }
    if context.tree.observe(path).entry == *entry {
        return content_at(&context.tree, path, entry);
    }
    match entry.kind {
        EntryKind::Link => context.objects.read(entry).ok().map(Content::Link),
        EntryKind::File => Some(Content::File {
            from: context.objects.file(entry),
            executable: entry.executable,
            expected: Some(entry.digest),
        }),
        _ => None,
    }
}

fn content_at(at: &Root, path: &WorkspacePath, entry: &Entry) -> Option<Content> {
    use std::os::unix::ffi::OsStringExt as _;
    let from = path.under(at.root());
    match entry.kind {
        EntryKind::File => {
            Some(Content::File { from, executable: entry.executable, expected: Some(entry.digest) })
        }
        EntryKind::Link => {
            std::fs::read_link(from).ok().map(|text| Content::Link(text.into_os_string().into_vec()))
        }
        _ => None,
    }
}

/// The repository around a workspace. It knows the folders that conductor made below `folder`, which is `.conductor`.
pub fn repository(root: &std::path::Path, folder: &std::path::Path) -> Option<Repository> {
    let marks = Marks::of(folder);
    Some(Repository::discover(root)?.knowing(move |place| marks.is_made(place)))
}

/// What keeps tasks that want a git worktree from having one: there is no repository, or it cannot be used.
pub fn needs_repository(
    root: &std::path::Path,
    tasks: impl Iterator<Item = (std::sync::Arc<Task>, Isolation)>,
) -> Vec<Diagnostic> {
    let wanting: Vec<_> = tasks.filter(|(_, isolation)| *isolation == Isolation::Worktree).collect();
    if wanting.is_empty() {
        return Vec::new();
    }
    let problem = match Repository::open(root) {
        Ok(Some(repository)) => match repository.check() {
            Ok(()) => return Vec::new(),
            Err(error) => error.to_string(),
        },
        Ok(None) => "there is no git repository around this workspace".to_owned(),
        Err(error) => error.to_string(),
    };
    wanting
        .iter()
        .map(|(task, _)| {
            Diagnostic::error(
                "build::no_repository",
                format!("{} runs in a git worktree, and {problem}", task.id),
            )
            .label(task.at, "`isolation: worktree`")
            .help("run `git init`, or write `isolation: sandbox`")
        })
        .collect()
}
