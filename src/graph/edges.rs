//! Makes the edges: from `needs`, `after`, groups and gates, and from paths.
//!
//! An edge leads from a task to one that it depends on, and keeps the span and the words that explain it
//! until cycles have been looked for. Paths are matched against declared outputs alone: the tree is
//! never read here, so the graph of a manifest is the same on every machine.

use std::collections::HashMap;
use std::rc::Rc;

use crate::model::{
    At, Diagnostic, GroupId, Manifest, Pattern, Reference, Task, TaskId, Work, WorkspacePath,
};
use crate::workspace::Globs;

/// How a task depends on another; a set, since several may hold between two tasks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct EdgeKinds(pub u8);

impl EdgeKinds {
    /// All its outputs are inputs.
    pub const NEEDS: Self = Self(1);
    /// Some of its outputs match an input pattern.
    pub const INPUT: Self = Self(2);
    /// Order alone.
    pub const AFTER: Self = Self(4);
    /// Order alone, through a group's gate.
    pub const GATE: Self = Self(8);

    /// Are all of `other` in it?
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Do outputs flow along it?
    pub fn carries_outputs(self) -> bool {
        self.has(Self::NEEDS) || self.has(Self::INPUT)
    }

    /// The contract's name of the strongest: needs, input, after or gate.
    pub fn name(self) -> &'static str {
        match self {
            _ if self.has(Self::GATE) => "gate",
            _ if self.has(Self::NEEDS) => "needs",
            _ if self.has(Self::INPUT) => "input",
            _ => "after",
        }
    }
}

impl std::ops::BitOr for EdgeKinds {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// An edge with its explanation.
#[derive(Clone, Debug)]
pub(super) struct Edge {
    pub(super) to: u32,
    pub(super) kinds: EdgeKinds,
    /// The place in the manifest that makes it.
    pub(super) at: At,
    pub(super) why: Why,
}

/// What is said of the place that makes an edge. There are many edges, so the words are shared, or not
/// written before somebody asks for them.
#[derive(Clone, Debug)]
pub(super) enum Why {
    /// `T1 needs T2`
    Says(Rc<str>),
    /// It reads the output of that number of the task at the other end, by this glob if by any.
    Reads { output: u32, glob: Option<Rc<str>> },
}

/// The tasks of a manifest with a gate for every group that something refers to, and their edges.
pub(super) struct Edges {
    pub(super) tasks: Vec<Task>,
    /// Groups without checks that others wait for have a gate that no person sees.
    pub(super) hidden_from: usize,
    /// By task.
    pub(super) out: Vec<Vec<Edge>>,
}

/// More edges than this are refused, lest a short manifest takes all memory: a thousand tasks that read the
/// outputs of a thousand others have a million.
pub(super) const MAX_EDGES: usize = 5_000_000;

/// Adds gates and makes all edges, but no more than `limit`. The diagnostics are those of patterns that do not compile, which the
/// manifest's own checks have normally found.
pub(super) fn connect(manifest: &Manifest, limit: usize) -> (Edges, Vec<Diagnostic>) {
    let (tasks, hidden_from) = with_gates(manifest);
    let index: HashMap<&TaskId, u32> = (0..).zip(&tasks).map(|(i, task)| (&task.id, i)).collect();
    let mut members: HashMap<&GroupId, Vec<u32>> = HashMap::new();
    for (i, task) in (0..).zip(&tasks) {
        if let (Some(group), false) = (&task.group, matches!(task.work, Work::Gate)) {
            members.entry(group).or_default().push(i);
        }
    }
    let names = Names { index, members };
    let producers = Producers::new(&tasks);
    let mut edges = Vec::with_capacity(tasks.len());
    let mut diagnostics = Vec::new();
    let mut count = 0;
    for (i, task) in (0..).zip(&tasks) {
        let mut out = Vec::new();
        if count > limit {
            edges.push(out);
            continue;
        }
        names.explicit(manifest, task, &mut out);
        if let Err(diagnostic) = producers.inferred(&tasks, i, &mut out) {
            diagnostics.push(diagnostic);
        }
        count += out.len();
        if count > limit {
            diagnostics.push(too_many(&task.id, &out, limit));
        }
        edges.push(out);
    }
    (Edges { tasks, hidden_from, out: edges }, diagnostics)
}

fn too_many(task: &TaskId, last: &[Edge], limit: usize) -> Diagnostic {
    let message = format!("the tasks depend on each other in more than {limit} ways");
    // The place that makes most of this task's edges is as good an example as any.
    let mut by_place: HashMap<(u32, u32), (usize, At)> = HashMap::new();
    for edge in last {
        by_place.entry((edge.at.file, edge.at.offset)).or_insert((0, edge.at)).0 += 1;
    }
    let most = by_place.into_values().max_by_key(|(count, at)| (*count, std::cmp::Reverse(at.offset)));
    let diagnostic = Diagnostic::error("graph::too_many_edges", message).help(
        "tasks that only have to wait come `after` a group; or let one task between them gather what many read",
    );
    match most {
        Some((count, at)) => diagnostic.label(at, format!("this alone makes {count} edges of {task}")),
        None => diagnostic,
    }
}

/// The tasks, then gates with checks, then (from the returned index on) gates without any: those exist so
/// that n tasks after a group of m make n + m edges and not n × m.
fn with_gates(manifest: &Manifest) -> (Vec<Task>, usize) {
    let mut tasks = manifest.tasks.clone();
    let (visible, hidden): (Vec<_>, Vec<_>) =
        manifest.groups.iter().partition(|group| !group.gate.is_empty());
    tasks.extend(visible.iter().map(|group| Task::gate(group)));
    let hidden_from = tasks.len();
    tasks.extend(hidden.iter().map(|group| Task::gate(group)));
    (tasks, hidden_from)
}

struct Names<'a> {
    index: HashMap<&'a TaskId, u32>,
    members: HashMap<&'a GroupId, Vec<u32>>,
}

impl Names<'_> {
    fn members(&self, group: &GroupId) -> &[u32] {
        self.members.get(group).map_or(&[], Vec::as_slice)
    }

    /// The edges that the manifest writes out.
    fn explicit(&self, manifest: &Manifest, task: &Task, out: &mut Vec<Edge>) {
        let mut edge = |to: Option<u32>, kinds, at, says: &Rc<str>| {
            if let Some(to) = to {
                out.push(Edge { to, kinds, at, why: Why::Says(Rc::clone(says)) });
            }
        };
        for reference in &task.needs {
            match reference {
                Reference::Task(id, at) => {
                    let says = format!("{} needs {id}", task.id).into();
                    edge(self.index.get(id).copied(), EdgeKinds::NEEDS, *at, &says);
                }
                Reference::Group(group, at) => {
                    let says = format!("{} needs group {group}", task.id).into();
                    for member in self.members(group) {
                        edge(Some(*member), EdgeKinds::NEEDS, *at, &says);
                    }
                    edge(self.gate(group), EdgeKinds::GATE, *at, &says);
                }
            }
        }
        for reference in &task.after {
            let (to, name) = self.awaited(reference);
            edge(to, EdgeKinds::AFTER, reference.at(), &format!("{} comes after {name}", task.id).into());
        }
        let group = task.group.as_ref().and_then(|id| manifest.groups.iter().find(|group| group.id == *id));
        let Some(group) = group else { return };
        for reference in &group.after {
            let (to, name) = self.awaited(reference);
            let says = format!("{} is in {}, which comes after {name}", task.id, group.id).into();
            edge(to, EdgeKinds::AFTER, reference.at(), &says);
        }
        if matches!(task.work, Work::Gate) {
            let says = format!("{} is complete when all its tasks are", group.id).into();
            for member in self.members(&group.id) {
                edge(Some(*member), EdgeKinds::NEEDS | EdgeKinds::GATE, group.at, &says);
            }
        }
    }

    fn gate(&self, group: &GroupId) -> Option<u32> {
        self.index.get(&TaskId::gate(group)).copied()
    }

    fn awaited<'r>(&self, reference: &'r Reference) -> (Option<u32>, &'r str) {
        match reference {
            Reference::Task(id, _) => (self.index.get(id).copied(), id.as_str()),
            Reference::Group(group, _) => (self.gate(group), group.as_str()),
        }
    }
}

/// An output, as the task and its number among that task's outputs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Made {
    pub(super) task: u32,
    pub(super) output: u32,
}

/// The declared outputs with their tasks.
pub(super) struct Producers<'a> {
    /// Sorted by path, then task.
    sorted: Vec<(&'a WorkspacePath, Made)>,
}

impl<'a> Producers<'a> {
    pub(super) fn new(tasks: &'a [Task]) -> Self {
        let of = |(i, task): (u32, &'a Task)| {
            let numbered = (0..).zip(&task.outputs);
            numbered.map(move |(number, output)| (&output.path, Made { task: i, output: number }))
        };
        let mut sorted: Vec<_> = (0..).zip(tasks).flat_map(of).collect();
        sorted.sort_unstable();
        Self { sorted }
    }

    fn from(&self, path: &WorkspacePath) -> &[(&'a WorkspacePath, Made)] {
        &self.sorted[self.sorted.partition_point(|(other, _)| *other < path)..]
    }

    /// The outputs below `folder`.
    fn below(&self, folder: &WorkspacePath) -> impl Iterator<Item = (&'a WorkspacePath, Made)> {
        // Names such as `a-b` sort between `a` and `a/b`, so the run is filtered, not just cut.
        let prefix = folder.as_bytes();
        self.from(folder)
            .iter()
            .copied()
            .take_while(move |(path, _)| path.as_bytes().starts_with(prefix))
            .filter(move |(path, _)| *path != folder && path.is_within(folder))
    }

    /// The outputs that are `path` itself or a folder around it.
    pub(super) fn around(&self, path: &WorkspacePath) -> impl Iterator<Item = (&'a WorkspacePath, Made)> {
        std::iter::successors(Some(path.clone()), WorkspacePath::parent)
            .flat_map(|at| self.from(&at).iter().copied().take_while(move |(other, _)| **other == at))
    }

    /// The edges that the paths of `task` imply, those of its checks included.
    fn inferred(&self, tasks: &[Task], index: u32, out: &mut Vec<Edge>) -> Result<(), Diagnostic> {
        let task = &tasks[index as usize];
        let checks = task.require.iter().chain(&task.validate).map(|check| check.inputs.as_slice());
        for patterns in std::iter::once(task.inputs.as_slice()).chain(checks) {
            if patterns.is_empty() || self.sorted.is_empty() {
                continue;
            }
            self.matched(tasks, index, patterns, out)?;
        }
        self.tools(tasks, index, out);
        Ok(())
    }

    /// A tool that another task makes is needed: the outputs of its maker are part of the key.
    fn tools(&self, tasks: &[Task], index: u32, out: &mut Vec<Edge>) {
        let task = &tasks[index as usize];
        let made = task.tools.iter().filter_map(|tool| Some((tool, tool.place(&task.dir)?)));
        for (tool, place) in made {
            for (_, made) in self.around(&place).filter(|(_, made)| made.task != index) {
                let maker = &tasks[made.task as usize].id;
                let says = format!("{} uses the tool {}, which {maker} makes", task.id, tool.name);
                out.push(Edge {
                    to: made.task,
                    kinds: EdgeKinds::NEEDS,
                    at: tool.at,
                    why: Why::Says(says.into()),
                });
            }
        }
    }

    fn matched(
        &self,
        tasks: &[Task],
        index: u32,
        patterns: &[Pattern],
        out: &mut Vec<Edge>,
    ) -> Result<(), Diagnostic> {
        let globs = Globs::new(patterns).map_err(|error| {
            Diagnostic::error("graph::bad_glob", error.to_string()).label(patterns[0].at, "in this list")
        })?;
        for pattern in patterns.iter().filter(|pattern| !pattern.negated) {
            let base = pattern.base();
            let glob: Option<Rc<str>> = pattern.literal.is_none().then(|| pattern.display().into());
            for (path, made) in self.below(&base).chain(self.around(&base)) {
                // What was written without a slash is a file, unless the pattern names something in it. Where it
                // turns out to be a folder that others read from, its task fails.
                let folder = tasks[made.task as usize].outputs[made.output as usize].folder;
                let named = base.is_within(path) && (*path != base || pattern.literal.is_none());
                let may_hold = folder || named;
                let matches = globs.matches(path) || (may_hold && globs.could_match_within(path));
                if made.task == index || !matches {
                    continue;
                }
                let why = Why::Reads { output: made.output, glob: glob.clone() };
                out.push(Edge { to: made.task, kinds: EdgeKinds::INPUT, at: pattern.at, why });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Command, Group};

    fn group(id: &str, after: &[&str]) -> Group {
        Group {
            id: GroupId::new(id),
            at: At::default(),
            title: None,
            after: after.iter().map(|id| Reference::Group(GroupId::new(*id), At::default())).collect(),
            gate: Vec::new(),
            dir: WorkspacePath::root(),
            env: Vec::new(),
            budget: crate::model::Budget::default(),
            pass_env: Vec::new(),
        }
    }

    fn members(of: &Group, count: usize) -> impl Iterator<Item = Task> + use<> {
        let of = of.clone();
        (0..count).map(move |number| Task {
            id: TaskId::new(format!("{}{number}", of.id)),
            work: Work::Run(Command::Argv(Vec::new())),
            ..Task::gate(&of)
        })
    }

    fn edges(graph: &Edges) -> usize {
        graph.out.iter().map(Vec::len).sum()
    }

    #[test]
    fn tasks_after_a_group_make_as_many_edges_as_there_are_tasks() {
        let (first, second) = (group("A", &[]), group("B", &["A"]));
        let mut tasks: Vec<Task> = members(&first, 700).chain(members(&second, 900)).collect();
        // A task that says so by itself makes one edge too.
        tasks.extend(members(&group("C", &[]), 100).map(|task| Task {
            group: None,
            after: vec![Reference::Group(GroupId::new("A"), At::default())],
            ..task
        }));
        let manifest = Manifest { tasks, groups: vec![first, second], ..Manifest::default() };
        let (graph, diagnostics) = connect(&manifest, usize::MAX);
        assert!(diagnostics.is_empty(), "{diagnostics:?}");
        // The gate of B waits for its 900 members too, and for A.
        assert_eq!(edges(&graph), 700 + 900 + 100 + 900 + 1);
    }

    #[test]
    fn no_more_edges_are_made_than_memory_holds() {
        let first = group("A", &[]);
        let needs = vec![Reference::Group(first.id.clone(), At::default())];
        let readers =
            members(&group("B", &[]), 500).map(|task| Task { needs: needs.clone(), group: None, ..task });
        let tasks = members(&first, 100).chain(readers.collect::<Vec<_>>()).collect();
        let manifest = Manifest { tasks, groups: vec![first], ..Manifest::default() };
        let (graph, diagnostics) = connect(&manifest, 1000);
        assert!(edges(&graph) < 1000 + 2 * 101, "{}", edges(&graph));
        let [one] = &diagnostics[..] else { panic!("{diagnostics:?}") };
        assert_eq!(one.code, "graph::too_many_edges");
        assert_eq!(one.labels[0].text, "this alone makes 101 edges of B9");
    }
}
