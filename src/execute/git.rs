//! The git side of a result that was made in a worktree: the commit that holds it, and the branch that is to
//! stand there. conductor commits, never the task.

use super::Site;
use crate::incremental::{Assignment, Change};
use crate::model::{Diagnostic, Entry, EntryKind, Integrate, Isolation, Task, WorkspacePath};
use crate::store::BranchMove;
use crate::workspace::{Observed, Workspace};
use crate::worktree::{Commit, Content, Repository, Trailers, branch_name};

/// Commits a result: HEAD's tree, what the task's needs made, and what it made itself. No branch moves yet.
/// The outputs lie below `at`.
///
/// A branch that stands at a commit which conductor did not make is kept under another name first.
pub(super) fn commit(
    site: &Site,
    assignment: &Assignment,
    at: &Workspace,
    outputs: &[(WorkspacePath, Observed)],
    edited: &[Change],
) -> Result<(BranchMove, Option<Diagnostic>), String> {
    let repository = site.repository.as_ref().ok_or("there is no git repository any more")?;
    let task = &assignment.task;
    let mut entries = Vec::new();
    for made in &assignment.inherited {
        entries.extend(content(site, &made.path, &made.entry).map(|content| (made.path.clone(), content)));
    }
    let gone = assignment.previous.iter().map(|(output, _)| &output.path);
    let gone = gone.filter(|path| task.outputs.iter().any(|output| path.is_within(&output.path)));
    entries.extend(gone.map(|path| (path.clone(), Content::Absent)));
    for (path, seen) in outputs {
        entries.extend(content_at(at, path, &seen.entry).map(|content| (path.clone(), content)));
    }
    for change in edited.iter().filter(|change| change.before != change.after) {
        entries
            .extend(content(site, &change.path, &change.after).map(|content| (change.path.clone(), content)));
    }
    let trailers = Trailers {
        task: task.id.as_str().to_owned(),
        run: site.run.0.clone(),
        key: assignment.key.0.to_hex(),
    };
    let title = title(task);
    let commit = Commit { entries: &entries, needs: &assignment.commits, title: &title, trailers: &trailers };
    let after = repository.commit(&commit).map_err(|error| error.to_string())?;
    let name = branch_name(task.id.as_str());
    let (before, warning) = tip(site, repository, assignment, &name)?;
    Ok((BranchMove { name, before, after }, warning))
}

/// Moves a branch to the commit of a result that has just been accepted. That it could not be moved loses
/// nothing: the result stands, and the commit is told.
pub fn move_branch(site: &Site, branch: &BranchMove) -> Option<Diagnostic> {
    let repository = site.repository.as_ref()?;
    let moved = repository.set_branch(&branch.name, branch.before.as_deref(), Some(&branch.after));
    moved.err().map(|error| {
        Diagnostic::warning("build::branch", error.to_string())
            .help(format!("the result is in commit {}", branch.after))
    })
}

/// Moves the branch of a result that is rolled back.
///
/// # Errors
/// It does not stand where conductor left it, or cannot be moved.
pub fn move_branch_back(
    site: &Site,
    task: &crate::model::TaskId,
    from: &str,
    to: Option<&str>,
) -> Result<(), String> {
    let Some(repository) = site.repository.as_ref() else { return Ok(()) };
    let name = branch_name(task.as_str());
    match repository.branch_tip(&name) {
        // A person removed it.
        Ok(None) => Ok(()),
        Ok(Some(tip)) if to == Some(&*tip) => Ok(()),
        Ok(Some(_)) => repository.set_branch(&name, Some(from), to).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

fn title(task: &Task) -> String {
    task.title.as_ref().map_or_else(|| task.id.to_string(), |title| format!("{}: {title}", task.id))
}

/// Where the branch stands, by conductor's doing.
fn tip(
    site: &Site,
    repository: &Repository,
    assignment: &Assignment,
    name: &str,
) -> Result<(Option<String>, Option<Diagnostic>), String> {
    let tip = repository.branch_tip(name).map_err(|error| error.to_string())?;
    let own = match (&assignment.record, &assignment.failure) {
        (Some(record), _) => record.commit.as_ref(),
        (None, Some(failure)) => failure.commit.as_ref(),
        (None, None) => None,
    };
    if tip.is_none() || tip.as_ref() == own {
        return Ok((tip, None));
    }
    let kept = repository.keep_aside(name, &site.run.0).map_err(|error| error.to_string())?;
    let warning = kept.map(|kept| {
        let message = format!("the branch {name} stood at a commit that conductor did not make");
        Diagnostic::warning("build::branch", message).help(format!("it is kept as {kept}"))
    });
    Ok((None, warning))
}

/// A state of a path: where the tree holds it from there, else from the objects.
fn content(site: &Site, path: &WorkspacePath, entry: &Entry) -> Option<Content> {
    if !entry.exists() {
        return Some(Content::Absent);
    }
    if site.workspace.observe(path).entry == *entry {
        return content_at(&site.workspace, path, entry);
    }
    match entry.kind {
        EntryKind::Link => site.objects.read(entry).ok().map(Content::Link),
        EntryKind::File => Some(Content::File {
            from: site.objects.file(entry),
            executable: entry.executable,
            expected: Some(entry.digest),
        }),
        _ => None,
    }
}

fn content_at(at: &Workspace, path: &WorkspacePath, entry: &Entry) -> Option<Content> {
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

/// What keeps tasks that want a git worktree from having one: there is no repository, or it cannot be used.
pub fn needs_repository(
    root: &std::path::Path,
    tasks: impl Iterator<Item = (std::sync::Arc<Task>, Isolation)>,
) -> Vec<Diagnostic> {
    let wanting: Vec<_> = tasks
        .filter(|(task, isolation)| *isolation == Isolation::Worktree || task.integrate == Integrate::Branch)
        .collect();
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
