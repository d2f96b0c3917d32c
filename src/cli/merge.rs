//! `conductor merge [T9…]`: git merges of tasks' branches into HEAD, all of them or none.

use std::fmt::Write as _;
use std::ops::ControlFlow;

use serde_json::json;

use super::build::hold;
use super::options::{Global, TargetArgs};
use super::session::Session;
use super::{Exit, Output, Stop};
use crate::graph::TaskIndex;
use crate::incremental::Caller;
use crate::model::Diagnostic;
use crate::report::count;
use crate::store::{Access, State};
use crate::worktree::{Conflict, Error, Merge, Merged, Repository, branch_name};

pub(super) fn run(global: &Global, args: &TargetArgs, caller: Caller, output: &Output) -> Result<Exit, Stop> {
    let session = Session::open(global, caller)?;
    let repository = repository(&session)?;
    crate::store::prepare(&session.folder)?;
    let _lock = hold(&session, "merge", &mut |_| ControlFlow::Break(()))?;
    let branches = branches(&session, &args.targets)?;
    let message = |branch: &str| format!("Merge {}", branch.trim_start_matches("conductor/"));
    match repository.merge(&branches, &message) {
        Ok(Merge::Done(merged)) => {
            tell(output, &merged);
            Ok(Exit::Success)
        }
        Ok(Merge::AlreadyMerged) => {
            let nothing =
                Merged { commit: String::new(), merged: Vec::new(), already: branches, changed: Vec::new() };
            tell(output, &nothing);
            Ok(Exit::Success)
        }
        Ok(Merge::Conflicts(conflicts)) => {
            Err(session.stop(Exit::Failed, conflicts.iter().map(diagnostic).collect()))
        }
        Err(error) => Err(refused(&session, &error)),
    }
}

fn repository(session: &Session) -> Result<Repository, Stop> {
    let refuse = |message: String| {
        let diagnostic = Diagnostic::error("merge::no_repository", message);
        Stop::plain(Exit::Usage, diagnostic)
    };
    match Repository::open(session.workspace.root()) {
        Ok(Some(repository)) => Ok(repository),
        Ok(None) => Err(refuse("there is no git repository around this workspace".to_owned())),
        Err(error) => Err(refuse(error.to_string())),
    }
}

/// The branches of the named tasks, else of all tasks whose results have one; dependencies first.
fn branches(session: &Session, targets: &[String]) -> Result<Vec<String>, Stop> {
    let (state, _) = State::open(&session.folder, Access::ReadOnly);
    let has_branch = |index: &TaskIndex| {
        state.record(&session.plan.task_id(*index)).is_some_and(|record| record.commit.is_some())
    };
    let name = |index: TaskIndex| branch_name(session.plan.id(index));
    if targets.is_empty() {
        let all: Vec<String> = session.plan.order().filter(has_branch).map(name).collect();
        if all.is_empty() {
            let diagnostic = Diagnostic::error("merge::nothing", "no task has a branch with a result");
            let help = "tasks with `isolation: worktree` have one once they are built";
            return Err(Stop::plain(Exit::Usage, diagnostic.help(help)));
        }
        return Ok(all);
    }
    let (roots, _) = session.scope(targets)?;
    let named: Vec<TaskIndex> = session.plan.order().filter(|index| roots.contains(index)).collect();
    if let Some(without) = named.iter().find(|index| !has_branch(index)) {
        let id = session.plan.id(*without);
        let diagnostic = Diagnostic::error("merge::nothing", format!("{id} has no branch with a result"));
        return Err(Stop::plain(Exit::Usage, diagnostic.help(format!("conductor build {id}"))));
    }
    Ok(named.into_iter().map(name).collect())
}

fn tell(output: &Output, merged: &Merged) {
    let commit = (!merged.commit.is_empty()).then_some(&merged.commit);
    let changed: Vec<String> = merged.changed.iter().map(|path| path.display().to_string()).collect();
    if output.json {
        output.say_json(&json!({
            "version": 1, "commit": commit, "merged": merged.merged, "already": merged.already, "changed": changed
        }));
        return;
    }
    let mut text = String::new();
    for branch in &merged.already {
        let _ = writeln!(text, "{branch} is merged already");
    }
    for branch in &merged.merged {
        let _ = writeln!(text, "merged {branch}");
    }
    if let Some(commit) = commit {
        let at = &commit[..commit.len().min(10)];
        let _ = writeln!(text, "HEAD is at {at}, {} changed", count(changed.len(), "path"));
    }
    output.say(&text);
}

/// Both sides of a conflict.
fn diagnostic(conflict: &Conflict) -> Diagnostic {
    let side = |side: Option<&crate::worktree::Side>| {
        side.map_or("(removed)".to_owned(), |side| {
            side.excerpt.clone().unwrap_or_else(|| "(binary)".to_owned())
        })
    };
    let line = conflict.line.map_or(String::new(), |line| format!(":{line}"));
    let message = format!(
        "{}{line} was changed on both sides\n{}:\n{}\n{}:\n{}",
        conflict.path.display(),
        conflict.ours_from,
        side(conflict.ours.as_ref()).trim_end(),
        conflict.theirs_from,
        side(conflict.theirs.as_ref()).trim_end(),
    );
    Diagnostic::error("merge::conflict", message)
        .help(format!("nothing was merged; `git merge {}` lets you settle it", conflict.theirs_from))
}

fn refused(session: &Session, error: &Error) -> Stop {
    session.stop(Exit::Failed, vec![Diagnostic::error("merge::refused", error.to_string())])
}
