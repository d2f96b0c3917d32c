//! From targets as people type them to sets of tasks.

use std::collections::BTreeSet;

use super::{Plan, TaskIndex};
use crate::model::{Diagnostic, GroupId, TaskId, WorkspacePath};

/// The tasks that `targets` name: a task id (with all, some or none of its matrix values), a group (with its gate), an
/// output's path (relative to the folder `from`, where the person stands), `tag:NAME`, or a glob over ids. No target: the manifest's
/// `default`, else every task. Hidden gates are never among them.
pub fn select(
    plan: &Plan,
    targets: &[String],
    from: &WorkspacePath,
) -> Result<BTreeSet<TaskIndex>, Vec<Diagnostic>> {
    let mut selected = BTreeSet::new();
    let mut unknown = Vec::new();
    if targets.is_empty() && plan.settings().default.is_empty() {
        return Ok(plan.indices().filter(|i| !plan.is_hidden(*i)).collect());
    }
    let defaults = plan.settings().default.iter().map(|(target, at)| (target.as_str(), Some(*at)));
    let given = targets.iter().map(|target| (target.as_str(), None));
    let wanted: Vec<_> = if targets.is_empty() { defaults.collect() } else { given.collect() };
    for (target, at) in wanted {
        let found = find(plan, target, from);
        if found.is_empty() {
            let mut diagnostic =
                Diagnostic::error("graph::unknown_target", format!("no task, group or output `{target}`"));
            if let Some(at) = at {
                diagnostic = diagnostic.label(at, "names nothing");
            }
            unknown.push(diagnostic.help(hint(plan, target)));
        }
        selected.extend(found.into_iter().filter(|i| !plan.is_hidden(*i)));
    }
    if unknown.is_empty() { Ok(selected) } else { Err(unknown) }
}

fn find(plan: &Plan, target: &str, from: &WorkspacePath) -> Vec<TaskIndex> {
    let name = target.strip_prefix(':').unwrap_or(target);
    if let Some(index) = plan.index_of(name) {
        return vec![index];
    }
    let matching =
        |accept: &dyn Fn(TaskIndex) -> bool| plan.indices().filter(|i| accept(*i)).collect::<Vec<_>>();
    if let Some(tag) = target.strip_prefix("tag:") {
        return matching(&|i| plan.task(i).is_ok_and(|task| task.tags.iter().any(|own| own == tag)));
    }
    let group = GroupId::new(name);
    if plan.groups().iter().any(|other| other.id == group) {
        return matching(&|i| plan.task(i).is_ok_and(|task| task.group.as_ref() == Some(&group)));
    }
    let instances = matching(&|i| TaskId::new(plan.id(i)).base() == name && plan.id(i) != name);
    if !instances.is_empty() {
        return instances;
    }
    let instances = instances_with(plan, name);
    if !instances.is_empty() {
        return instances;
    }
    let makers = makers_of(plan, target, from);
    if makers.is_empty() && target.contains(['*', '?', '[', '{']) {
        return crate::workspace::compile_name_glob(target)
            .map(|glob| matching(&|i| glob.is_match(plan.id(i))))
            .unwrap_or_default();
    }
    makers
}

/// `T1[os=a]`: the instances of a matrix task that have these values, in whatever order.
fn instances_with(plan: &Plan, target: &str) -> Vec<TaskIndex> {
    let Some((base, wanted)) = parts(target) else { return Vec::new() };
    let has_all = |i: &TaskIndex| {
        parts(plan.id(*i)).is_some_and(|(other, values)| {
            other == base && wanted.split(',').all(|pair| values.split(',').any(|own| own == pair))
        })
    };
    plan.indices().filter(has_all).collect()
}

/// An id's base and its matrix values.
fn parts(id: &str) -> Option<(&str, &str)> {
    let (base, values) = id.split_once('[')?;
    Some((base, values.strip_suffix(']')?))
}

/// The tasks that declare `target`, a folder around it, or something below it.
fn makers_of(plan: &Plan, target: &str, from: &WorkspacePath) -> Vec<TaskIndex> {
    let Ok(path) = WorkspacePath::resolve(from, target.as_bytes()) else { return Vec::new() };
    let makes = |i: &TaskIndex| {
        plan.task(*i).is_ok_and(|task| {
            task.outputs.iter().any(|output| {
                path.is_within(&output.path) || (output.path.is_within(&path) && !path.is_root())
            })
        })
    };
    plan.indices().filter(makes).collect()
}

fn hint(plan: &Plan, target: &str) -> String {
    let names = plan.indices().filter(|i| !plan.is_hidden(*i)).map(|i| plan.id(i));
    let groups = plan.groups().iter().map(|group| group.id.as_str());
    let qualified = |name: &&str| name.rsplit_once(':').is_some_and(|(_, own)| own == target);
    let mut elsewhere = plan.indices().map(|i| plan.id(i)).filter(qualified);
    if let Some(name) = elsewhere.next() {
        return format!("did you mean `{name}`?");
    }
    let near = names.chain(groups).map(|name| (strsim::damerau_levenshtein(target, name), name)).min();
    match near {
        Some((distance, name)) if distance <= target.len() / 3 + 1 => format!("did you mean `{name}`?"),
        _ => "`conductor list` shows what there is".to_owned(),
    }
}

/// `roots` and everything that they depend on, in dependency order, hidden gates included.
pub fn closure(plan: &Plan, roots: &BTreeSet<TaskIndex>) -> Vec<TaskIndex> {
    let mut within = vec![false; plan.len()];
    for root in roots {
        within[*root as usize] = true;
    }
    // Dependents come before what they depend on, so one pass reaches everything.
    for index in plan.order().rev() {
        if within[index as usize] {
            for (to, _) in plan.deps(index) {
                within[to as usize] = true;
            }
        }
    }
    plan.order().filter(|i| within[*i as usize]).collect()
}

/// Which tasks are among those of `scope` (closed) that `starts` names, or depend on one of them.
pub fn cone(plan: &Plan, scope: &[TaskIndex], starts: impl Fn(TaskIndex) -> bool) -> Vec<bool> {
    let mut cone = vec![false; plan.len()];
    let mut reached: Vec<TaskIndex> = scope.iter().copied().filter(|index| starts(*index)).collect();
    if reached.is_empty() {
        return cone;
    }
    let mut within = vec![false; plan.len()];
    for index in scope {
        within[*index as usize] = true;
    }
    while let Some(index) = reached.pop() {
        if !std::mem::replace(&mut cone[index as usize], true) {
            reached.extend(plan.dependents(index).filter(|next| within[*next as usize]));
        }
    }
    cone
}

/// For each task the length of the longest chain of dependents that waits for it, itself included, in the
/// unit of `cost`.
pub fn critical_path(plan: &Plan, scope: &[TaskIndex], cost: impl Fn(TaskIndex) -> u64) -> Vec<u64> {
    let mut lengths = vec![0_u64; plan.len()];
    for index in scope.iter().rev().copied() {
        let behind = plan.dependents(index).map(|next| lengths[next as usize]).max().unwrap_or(0);
        lengths[index as usize] = cost(index).max(1).saturating_add(behind);
    }
    lengths
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Command, Group, Manifest, Reference, Task, Work};

    #[test]
    fn the_cone_is_what_depends_on_its_beginning_within_the_scope() {
        let nobody = Group {
            id: GroupId::new("G"),
            at: crate::model::At::default(),
            title: None,
            after: Vec::new(),
            gate: Vec::new(),
            dir: WorkspacePath::root(),
            env: Vec::new(),
            budget: crate::model::Budget::default(),
            pass_env: Vec::new(),
        };
        let task = |id: &str, needs: &[&str]| Task {
            id: TaskId::new(id),
            work: Work::Run(Command::Argv(Vec::new())),
            group: None,
            needs: needs
                .iter()
                .map(|id| Reference::Task(TaskId::new(*id), crate::model::At::default()))
                .collect(),
            ..Task::gate(&nobody)
        };
        // a ← b ← d, a ← c ← d, c ← e; f stands alone.
        let tasks = vec![
            task("a", &[]),
            task("b", &["a"]),
            task("c", &["a"]),
            task("d", &["b", "c"]),
            task("e", &["c"]),
            task("f", &[]),
        ];
        let plan = crate::graph::compile(Manifest { tasks, ..Manifest::default() }).unwrap();
        let cone = |targets: &[&str], start: &str| -> String {
            let targets: Vec<String> = targets.iter().map(|&target| target.to_owned()).collect();
            let scope = closure(&plan, &select(&plan, &targets, &WorkspacePath::root()).unwrap());
            let cone = cone(&plan, &scope, |index| plan.id(index) == start);
            plan.indices().filter(|index| cone[*index as usize]).map(|index| plan.id(index)).collect()
        };
        assert_eq!(cone(&[], "b"), "bd");
        assert_eq!(cone(&[], "c"), "cde");
        assert_eq!(cone(&["d"], "c"), "cd");
        assert_eq!(cone(&["d"], "f"), "", "it is not in the scope");
    }
}
