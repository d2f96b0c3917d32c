//! From changed paths to tasks: whose inputs they are, and who stands on those. Paths are matched against what the
//! manifest says; nothing is read, so a task may be named that turns out to be fresh, but none is left out.

use std::collections::{BTreeMap, HashSet};

use super::{Plan, TaskIndex};
use crate::model::{Instructions, Pattern, Reason, ReasonKind, Task, Work, WorkspacePath};
use crate::workspace::Globs;

/// A path that somebody changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Edit {
    /// Where.
    pub path: WorkspacePath,
    /// `input_added`, `input_changed` or `input_removed`.
    pub kind: ReasonKind,
    /// A person put it under version control. An output that nobody did was merely built here.
    pub tracked: bool,
    /// All below it may have changed.
    pub folder: bool,
    /// A rule hides it from globs.
    pub ignored: bool,
}

impl Edit {
    /// A file of such rules: when it changes, any listing below its folder may.
    fn hides(&self) -> bool {
        matches!(self.path.name(), Some(b".gitignore" | b".conductorignore"))
    }
}

/// What a depfile named the last time: none where the task has no result here.
pub type Discovered<'a> = &'a dyn Fn(&Task) -> Option<Vec<WorkspacePath>>;

/// The tasks that `edits` make stale, or that stand on one that may make something else now, with the reasons.
/// `redefined` are those whose definition is another one.
pub fn affected(
    plan: &Plan,
    edits: &[Edit],
    mut redefined: BTreeMap<TaskIndex, Vec<Reason>>,
    discovered: Discovered<'_>,
) -> BTreeMap<TaskIndex, Vec<Reason>> {
    let sources = if edits.is_empty() { Vec::new() } else { not_made(plan, edits) };
    let mut affected: BTreeMap<TaskIndex, Vec<Reason>> = BTreeMap::new();
    for index in plan.order() {
        let mut reasons = redefined.remove(&index).unwrap_or_default();
        if !edits.is_empty()
            && let Ok(task) = plan.task(index)
        {
            outputs(&task, edits, &mut reasons);
            inputs(&task, &sources, discovered, &mut reasons);
        }
        for (dep, _) in plan.deps(index).filter(|(_, kinds)| kinds.carries_outputs()) {
            if affected.contains_key(&dep) {
                reasons.push(Reason::new(ReasonKind::DependencyChanged).task(&plan.task_id(dep)));
            }
        }
        if !reasons.is_empty() {
            reasons.dedup();
            affected.insert(index, reasons);
        }
    }
    affected
}

/// Those of the edits that lie in no task's outputs: what a task makes reaches its readers along edges.
fn not_made<'e>(plan: &Plan, edits: &'e [Edit]) -> Vec<&'e Edit> {
    let tasks = plan.indices().filter_map(|index| plan.task(index).ok());
    let made: HashSet<WorkspacePath> = tasks
        .flat_map(|task| task.outputs.iter().map(|output| output.path.clone()).collect::<Vec<_>>())
        .collect();
    let above = |path: &WorkspacePath| std::iter::successors(Some(path.clone()), WorkspacePath::parent);
    edits.iter().filter(|edit| !above(&edit.path).any(|path| made.contains(&path))).collect()
}

/// An output that is under version control and is not what it was is not what its task made.
fn outputs(task: &Task, edits: &[Edit], reasons: &mut Vec<Reason>) {
    for edit in edits.iter().filter(|edit| edit.tracked) {
        let own = task.outputs.iter().any(|output| {
            edit.path.is_within(&output.path) || (edit.folder && output.path.is_within(&edit.path))
        });
        if own {
            let removed = edit.kind == ReasonKind::InputRemoved;
            let kind = if removed { ReasonKind::OutputMissing } else { ReasonKind::OutputModified };
            reasons.push(Reason::new(kind).path(&edit.path));
        }
    }
}

fn inputs(task: &Task, edits: &[&Edit], discovered: Discovered<'_>, reasons: &mut Vec<Reason>) {
    let tell = |reasons: &mut Vec<Reason>, edit: &Edit| {
        let reason = Reason::new(edit.kind).path(&edit.path);
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    };
    for patterns in [&task.inputs, &task.edits] {
        matching(patterns, edits).for_each(|edit| tell(reasons, edit));
    }
    if let Work::Agent(agent) = &task.work
        && let Instructions::File(file) = &agent.instructions
    {
        edits.iter().filter(|edit| concerns(edit, file)).for_each(|edit| tell(reasons, edit));
    }
    if task.depfile.is_some() {
        match discovered(task) {
            Some(known) => edits
                .iter()
                .filter(|edit| known.iter().any(|path| concerns(edit, path)))
                .for_each(|edit| tell(reasons, edit)),
            // What its command reads is not known here, so it may be any file.
            None => edits.first().into_iter().for_each(|edit| tell(reasons, edit)),
        }
    }
    for check in &task.validate {
        for edit in matching(&check.inputs, edits) {
            let reason = Reason::new(ReasonKind::ValidationChanged).path(&edit.path);
            if !reasons.contains(&reason) {
                reasons.push(reason);
            }
        }
    }
}

fn concerns(edit: &Edit, path: &WorkspacePath) -> bool {
    edit.path == *path || (edit.folder && path.is_within(&edit.path))
}

/// The edits that a list of patterns means. Patterns are compiled only where an edit lies in their reach.
fn matching<'e>(patterns: &[Pattern], edits: &[&'e Edit]) -> impl Iterator<Item = &'e Edit> {
    let bases: Vec<WorkspacePath> =
        patterns.iter().filter(|pattern| !pattern.negated).map(Pattern::base).collect();
    let near: Vec<&'e Edit> =
        edits.iter().copied().filter(|edit| bases.iter().any(|base| reaches(edit, base))).collect();
    let globs = if near.is_empty() { None } else { Globs::new(patterns).ok() };
    let positive = patterns.iter().filter(|pattern| !pattern.negated);
    let lists = positive.clone().any(|pattern| pattern.literal.is_none() || pattern.folder);
    let written: Vec<WorkspacePath> = positive.filter_map(|pattern| pattern.literal.clone()).collect();
    let means = move |edit: &&Edit| {
        let Some(globs) = &globs else { return false };
        let named = || written.iter().any(|path| edit.path.is_within(path));
        let itself = globs.matches(&edit.path) && (!edit.ignored || named());
        let below = edit.folder && globs.could_match_within(&edit.path);
        // A path that is written out is listed where it turns out to be a folder.
        let folder = edit.path.parent().unwrap_or_default();
        let listed = || lists || written.iter().any(|path| folder.is_within(path));
        itself || below || (edit.hides() && listed() && globs.could_match_within(&folder))
    };
    near.into_iter().filter(means)
}

/// Could the edit have to do with anything below `base`?
fn reaches(edit: &Edit, base: &WorkspacePath) -> bool {
    let folder = edit.path.parent().unwrap_or_default();
    edit.path.is_within(base)
        || (edit.folder && base.is_within(&edit.path))
        || (edit.hides() && (base.is_within(&folder) || folder.is_within(base)))
}
