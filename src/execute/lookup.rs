//! Under which keys a task's result may be in the cache, and whether one from there may stand for a run. Fetches and
//! writes nothing.

use super::exec_root::with_ways;
use crate::incremental::Assignment;
use crate::model::{Action, CacheMode, Input, ReasonKind, Task, Via, WorkspacePath};
use crate::store::Cache;
use crate::workspace::{Observed, Root};

/// Are results of this task ever kept?
pub(super) fn is_kept(task: &Task) -> bool {
    task.cache != CacheMode::Off && !task.incremental && !task.always && !task.is_gate()
}

/// May a result from the cache stand for this run?
pub(super) fn is_wanted(assignment: &Assignment) -> bool {
    let forced = assignment.reasons.iter().any(|reason| reason.kind == ReasonKind::Forced);
    let withdrawn =
        assignment.failure.as_ref().is_some_and(|failure| failure.reason.kind == ReasonKind::RolledBack);
    is_kept(&assignment.task) && !assignment.validation_only && !forced && !withdrawn
}

/// Does the cache have a result for this task as things are? A cheap look that writes nothing.
pub fn would_be_restored(cache: &Cache, workspace: &Root, assignment: &Assignment) -> bool {
    let known = |action: &Action| cache.peek(action.key());
    cache.is_read()
        && is_wanted(assignment)
        && candidates(cache, workspace, assignment).any(|candidate| known(&candidate.action))
}

/// An action under which a result may be kept.
pub(super) struct Candidate {
    pub(super) action: Action,
    pub(super) discovered: Vec<(WorkspacePath, Observed)>,
}

/// The action without what depfiles named.
pub(super) fn declared(action: &Action) -> Action {
    let inputs = action.inputs.iter().filter(|input| !input.is_discovered()).cloned().collect();
    Action { inputs, ..action.clone() }
}

/// The action itself; for a task with a depfile one for each set of paths that an earlier run found, as these are
/// now.
pub(super) fn candidates<'a>(
    cache: &Cache,
    workspace: &'a Root,
    assignment: &'a Assignment,
) -> Box<dyn Iterator<Item = Candidate> + 'a> {
    if assignment.task.depfile.is_none() {
        let action = assignment.action.clone();
        return Box::new(std::iter::once(Candidate { action, discovered: Vec::new() }));
    }
    let base = declared(&assignment.action);
    let sets = cache.path_sets(base.key());
    Box::new(sets.into_iter().map(move |paths| {
        let mut paths = with_ways(workspace, paths);
        paths.retain(|path| !base.inputs.iter().any(|input| input.path == *path));
        let seen = workspace.observe_all(&paths.iter().collect::<Vec<_>>());
        let discovered: Vec<(WorkspacePath, Observed)> = paths.into_iter().zip(seen).collect();
        let mut action = base.clone();
        action.inputs.extend(discovered.iter().map(|(path, seen)| Input {
            path: path.clone(),
            entry: seen.entry,
            from: None,
            via: Via::Depfile,
        }));
        action.inputs.sort_by(|a, b| a.path.cmp(&b.path));
        Candidate { action, discovered }
    }))
}
