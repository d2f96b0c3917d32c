//! Makes the edges: what `needs`, `after`, groups and gates say, and what paths imply.
//!
//! An edge leads from a task to one that it depends on, and keeps the span and the words that explain it
//! until cycles have been looked for. Paths are matched against declared outputs alone: the tree is
//! never read here, so the graph of a manifest is the same on every machine.

use std::collections::HashMap;

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

/// An edge with what explains it.
#[derive(Clone, Debug)]
pub(super) struct Edge {
    pub(super) to: u32,
    pub(super) kinds: EdgeKinds,
    /// The place in the manifest that makes it.
    pub(super) at: At,
    /// Said of that place: `needs T2`, `reads a.txt, an output of T2`.
    pub(super) says: String,
    /// The output that a glob matched, for edges that a glob made.
    pub(super) through_glob: Option<WorkspacePath>,
}

/// The tasks of a manifest with a gate for every group that something refers to, and their edges.
pub(super) struct Edges {
    pub(super) tasks: Vec<Task>,
    /// Groups without checks that others wait for have a gate that no person sees.
    pub(super) hidden_from: usize,
    /// By task.
    pub(super) out: Vec<Vec<Edge>>,
}

/// Adds gates and makes all edges. The diagnostics are those of patterns that do not compile, which the
/// manifest's own checks have normally found.
pub(super) fn connect(manifest: &Manifest) -> (Edges, Vec<Diagnostic>) {
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
    for (i, task) in (0..).zip(&tasks) {
        let mut out = Vec::new();
        names.explicit(manifest, task, &mut out);
        if let Err(diagnostic) = producers.inferred(&tasks, i, &mut out) {
            diagnostics.push(diagnostic);
        }
        edges.push(out);
    }
    (Edges { tasks, hidden_from, out: edges }, diagnostics)
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
        let mut edge = |to: Option<u32>, kinds, at, says: String| {
            if let Some(to) = to {
                out.push(Edge { to, kinds, at, says, through_glob: None });
            }
        };
        for reference in &task.needs {
            match reference {
                Reference::Task(id, at) => {
                    edge(
                        self.index.get(id).copied(),
                        EdgeKinds::NEEDS,
                        *at,
                        format!("{} needs {id}", task.id),
                    );
                }
                Reference::Group(group, at) => {
                    for member in self.members(group) {
                        edge(
                            Some(*member),
                            EdgeKinds::NEEDS,
                            *at,
                            format!("{} needs group {group}", task.id),
                        );
                    }
                    edge(self.gate(group), EdgeKinds::GATE, *at, format!("{} needs group {group}", task.id));
                }
            }
        }
        for reference in &task.after {
            let (to, name) = self.awaited(reference);
            edge(to, EdgeKinds::AFTER, reference.at(), format!("{} comes after {name}", task.id));
        }
        let group = task.group.as_ref().and_then(|id| manifest.groups.iter().find(|group| group.id == *id));
        let Some(group) = group else { return };
        for reference in &group.after {
            let (to, name) = self.awaited(reference);
            let says = format!("{} is in {}, which comes after {name}", task.id, group.id);
            edge(to, EdgeKinds::AFTER, reference.at(), says);
        }
        if matches!(task.work, Work::Gate) {
            for member in self.members(&group.id) {
                let says = format!("{} is complete when all its tasks are", group.id);
                edge(Some(*member), EdgeKinds::NEEDS | EdgeKinds::GATE, group.at, says);
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

/// Who declares which output.
pub(super) struct Producers {
    /// Sorted by path: path, task.
    sorted: Vec<(WorkspacePath, u32)>,
    by_path: HashMap<WorkspacePath, Vec<u32>>,
}

impl Producers {
    pub(super) fn new(tasks: &[Task]) -> Self {
        let mut sorted: Vec<_> = (0..)
            .zip(tasks)
            .flat_map(|(i, task)| task.outputs.iter().map(move |output| (output.path.clone(), i)))
            .collect();
        sorted.sort();
        let mut by_path: HashMap<_, Vec<u32>> = HashMap::new();
        for (path, task) in &sorted {
            by_path.entry(path.clone()).or_default().push(*task);
        }
        Self { sorted, by_path }
    }

    /// The outputs at or below `folder`.
    fn below(&self, folder: &WorkspacePath) -> impl Iterator<Item = &(WorkspacePath, u32)> {
        let start = self.sorted.partition_point(|(path, _)| path < folder);
        // Names such as `a-b` sort between `a` and `a/b`, so the run is filtered, not just cut.
        let prefix = folder.as_bytes();
        self.sorted[start..]
            .iter()
            .take_while(move |(path, _)| path.as_bytes().starts_with(prefix))
            .filter(move |(path, _)| path.is_within(folder))
    }

    /// The outputs that are `path` itself or a folder around it: `(output, task)`.
    pub(super) fn around(&self, path: &WorkspacePath) -> Vec<(WorkspacePath, u32)> {
        let mut found = Vec::new();
        let mut at = Some(path.clone());
        while let Some(folder) = at {
            for task in self.by_path.get(&folder).into_iter().flatten() {
                found.push((folder.clone(), *task));
            }
            at = folder.parent();
        }
        found
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
        Ok(())
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
            let around = self.around(&base);
            for (path, producer) in self.below(&base).chain(&around) {
                let output = tasks[*producer as usize].outputs.iter().find(|output| output.path == *path);
                let matches = globs.matches(path)
                    || output.is_some_and(|output| {
                        // A file cannot hold the input; what was written without a slash may be a folder.
                        (output.folder || *path != base) && globs.could_match_within(path)
                    });
                if *producer == index || !matches {
                    continue;
                }
                let says = format!(
                    "{} reads {}, which {} makes",
                    tasks[index as usize].id,
                    if pattern.literal.is_some() { path.to_text() } else { pattern.display() },
                    tasks[*producer as usize].id
                );
                let through_glob = pattern.literal.is_none().then(|| path.clone());
                out.push(Edge { to: *producer, kinds: EdgeKinds::INPUT, at: pattern.at, says, through_glob });
            }
        }
        Ok(())
    }
}
