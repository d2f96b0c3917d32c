//! The compiled plan: all that a manifest says, in the form that every command works on, whether it was
//! just compiled or loaded from `.conductor/plan`.
//!
//! Columns that a no-op reads for every task are archived by rkyv and used in place; a task's whole
//! definition is a postcard body that is read and decoded when somebody asks for it (`bodies`). A plan holds no facts about
//! the tree or about past runs.

use std::sync::Arc;

use rkyv::util::AlignedVec;
use self_cell::self_cell;

use super::bodies::{Bodies, Checksum, Decoded, Recompile, checksum};
use super::edges::{EdgeKinds, Edges};
use crate::model::{Digest, Encoder, Group, Manifest, Settings, Sources, Task, TaskId, Work, WorkspacePath};
use crate::store::PlanBodies;

/// A task by its position in the plan.
pub type TaskIndex = u32;

#[derive(rkyv::Archive, rkyv::Serialize)]
struct Columns {
    /// In the manifest's order; then gates with checks; then hidden gates.
    ids: Vec<String>,
    /// Positions in the order of the ids' bytes.
    sorted: Vec<u32>,
    fingerprints: Vec<[u8; 32]>,
    flags: Vec<u8>,
    /// Dependencies of task i: `deps[deps_start[i]..deps_start[i + 1]]`; dependents likewise.
    deps_start: Vec<u32>,
    deps: Vec<u32>,
    dep_kinds: Vec<u8>,
    rdeps_start: Vec<u32>,
    rdeps: Vec<u32>,
    /// Dependencies first.
    order: Vec<u32>,
    /// Milliseconds; 0 where the manifest says nothing.
    efforts: Vec<u64>,
    bodies_start: Vec<u64>,
    checksums: Vec<Checksum>,
    head: Vec<u8>,
}

/// Everything that is not per task.
#[derive(serde::Serialize, serde::Deserialize)]
struct Head {
    settings: Settings,
    groups: Vec<Group>,
    sources: Sources,
    warnings: Vec<crate::model::Diagnostic>,
}

type View<'a> = &'a ArchivedColumns;

self_cell! {
    struct Archive {
        owner: AlignedVec,
        #[covariant]
        dependent: View,
    }
}

/// See the module.
pub struct Plan {
    archive: Archive,
    head: Head,
    bodies: Bodies,
    decoded: Decoded,
}

const ALWAYS: u8 = 1;
const GATE: u8 = 2;
const HIDDEN: u8 = 4;
const WORLD: u8 = 8;
const AGENT: u8 = 16;
const EDITS: u8 = 32;

/// The bytes are no plan of this version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a compiled plan of this version: {0}")]
pub struct BadPlan(pub(super) String);

impl Plan {
    /// Archives a manifest with its edges.
    pub(super) fn archive(manifest: Manifest, graph: &Edges, order: Vec<u32>) -> Result<Self, BadPlan> {
        let (columns, bodies) = columns(manifest, graph, order)?;
        let bytes =
            rkyv::to_bytes::<rkyv::rancor::Error>(&columns).map_err(|error| BadPlan(error.to_string()))?;
        Self::from_parts(bytes, Bodies::Held(bodies))
    }

    /// Takes up what [`Self::parts`] gave. The caller has verified a checksum of the columns; this verifies
    /// their form. `recompile` is asked when a body turns out to be damaged.
    pub fn load(columns: AlignedVec, bodies: PlanBodies, recompile: Recompile) -> Result<Self, BadPlan> {
        Self::from_parts(columns, Bodies::kept(bodies, recompile))
    }

    fn from_parts(columns: AlignedVec, bodies: Bodies) -> Result<Self, BadPlan> {
        let archive = Archive::try_new(columns, |bytes| {
            rkyv::access::<ArchivedColumns, rkyv::rancor::Error>(bytes)
                .map_err(|error| BadPlan(error.to_string()))
        })?;
        let columns = archive.borrow_dependent();
        let n = columns.ids.len();
        let lengths = [
            columns.sorted.len(),
            columns.fingerprints.len(),
            columns.flags.len(),
            columns.order.len(),
            columns.checksums.len(),
        ];
        let starts = [columns.deps_start.len(), columns.rdeps_start.len(), columns.bodies_start.len()];
        if lengths.iter().any(|len| *len != n) || starts.iter().any(|len| *len != n + 1) {
            return Err(BadPlan("columns of different lengths".to_owned()));
        }
        let head = postcard::from_bytes(&columns.head).map_err(|error| BadPlan(error.to_string()))?;
        Ok(Self { archive, head, bodies, decoded: Decoded::default() })
    }

    /// Columns and bodies, for `.conductor/plan`; none for a plan that came from there.
    pub fn parts(&self) -> Option<(&[u8], &[u8])> {
        Some((self.archive.borrow_owner(), self.bodies.held()?))
    }

    pub(super) fn bodies(&self) -> &Bodies {
        &self.bodies
    }

    fn columns(&self) -> View<'_> {
        self.archive.borrow_dependent()
    }

    /// How many tasks, gates and hidden gates included.
    pub fn len(&self) -> usize {
        self.columns().ids.len()
    }

    /// Has it no task at all?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All positions.
    pub fn indices(&self) -> impl Iterator<Item = TaskIndex> + use<> {
        (0..).take(self.len())
    }

    /// The id at a position.
    pub fn id(&self, index: TaskIndex) -> &str {
        &self.columns().ids[index as usize]
    }

    /// The id at a position, owned.
    pub fn task_id(&self, index: TaskIndex) -> TaskId {
        TaskId::new(self.id(index))
    }

    /// The position of an id.
    pub fn index_of(&self, id: &str) -> Option<TaskIndex> {
        let columns = self.columns();
        let at = columns.sorted.binary_search_by(|i| self.id(i.to_native()).cmp(id)).ok()?;
        columns.sorted.get(at).map(|i| i.to_native())
    }

    /// Positions in the order of the ids' bytes.
    pub fn sorted(&self) -> impl Iterator<Item = TaskIndex> {
        self.columns().sorted.iter().map(|i| i.to_native())
    }

    /// Positions, dependencies first.
    pub fn order(&self) -> impl DoubleEndedIterator<Item = TaskIndex> {
        self.columns().order.iter().map(|i| i.to_native())
    }

    /// A digest of all that the manifest says of this task that freshness can depend on, edges included.
    pub fn fingerprint(&self, index: TaskIndex) -> Digest {
        Digest(self.columns().fingerprints[index as usize])
    }

    fn flag(&self, index: TaskIndex, flag: u8) -> bool {
        self.columns().flags[index as usize] & flag != 0
    }

    /// `always: true`
    pub fn is_always(&self, index: TaskIndex) -> bool {
        self.flag(index, ALWAYS)
    }

    /// A group's gate?
    pub fn is_gate(&self, index: TaskIndex) -> bool {
        self.flag(index, GATE)
    }

    /// A gate without checks, which exists for its edges alone and which nobody is shown.
    pub fn is_hidden(&self, index: TaskIndex) -> bool {
        self.flag(index, HIDDEN)
    }

    /// Does it depend on what only the world can tell: globs, folders, the caller's variables, tools?
    pub fn asks_the_world(&self, index: TaskIndex) -> bool {
        self.flag(index, WORLD)
    }

    /// Does an agent do it?
    pub fn is_agent(&self, index: TaskIndex) -> bool {
        self.flag(index, AGENT)
    }

    /// Does it change existing files in place?
    pub fn edits(&self, index: TaskIndex) -> bool {
        self.flag(index, EDITS)
    }

    /// Its dependencies, each with the kinds of the edge.
    pub fn deps(&self, index: TaskIndex) -> impl Iterator<Item = (TaskIndex, EdgeKinds)> {
        let columns = self.columns();
        let range = range(&columns.deps_start, index);
        columns.deps[range.clone()]
            .iter()
            .map(|i| i.to_native())
            .zip(columns.dep_kinds[range].iter().map(|k| EdgeKinds(*k)))
    }

    /// Its dependents.
    pub fn dependents(&self, index: TaskIndex) -> impl Iterator<Item = TaskIndex> {
        let columns = self.columns();
        columns.rdeps[range(&columns.rdeps_start, index)].iter().map(|i| i.to_native())
    }

    /// `effort:` in milliseconds, where the manifest gives one.
    pub fn effort_ms(&self, index: TaskIndex) -> Option<u64> {
        Some(self.columns().efforts[index as usize].to_native()).filter(|effort| *effort > 0)
    }

    /// The whole definition.
    pub fn task(&self, index: TaskIndex) -> Result<Arc<Task>, BadPlan> {
        self.decoded.get_or_decode(index, || self.decode(index))
    }

    fn decode(&self, index: TaskIndex) -> Result<Task, BadPlan> {
        let columns = self.columns();
        let start = &columns.bodies_start;
        let range = start[index as usize].to_native()..start[index as usize + 1].to_native();
        let body = self.bodies.get(range, columns.checksums[index as usize]);
        let body = body.ok_or_else(|| BadPlan(format!("the definition of {}", self.id(index))))?;
        postcard::from_bytes(&body).map_err(|error| BadPlan(error.to_string()))
    }

    /// Does any task make something in `folder`?
    pub fn makes_in(&self, folder: &WorkspacePath) -> bool {
        let is_in = |path: &WorkspacePath| path.parent().is_some_and(|parent| parent == *folder);
        let tasks = self.indices().filter_map(|index| self.task(index).ok());
        tasks.into_iter().any(|task| {
            let made = task.outputs.iter().map(|output| &output.path);
            made.chain(task.depfile.iter().map(|(path, _)| path))
                .any(|path| is_in(path) || folder.is_within(path))
        })
    }

    /// Settings of the whole workspace.
    pub fn settings(&self) -> &Settings {
        &self.head.settings
    }

    /// Groups in the manifest's order.
    pub fn groups(&self) -> &[Group] {
        &self.head.groups
    }

    /// The manifest's files; their text is empty when the plan came from disk.
    pub fn sources(&self) -> &Sources {
        &self.head.sources
    }

    /// What the manifest's checks found that is no error.
    pub fn warnings(&self) -> &[crate::model::Diagnostic] {
        &self.head.warnings
    }

    /// Gives the sources their text back, after compiling.
    pub(super) fn with_text(mut self, sources: Sources) -> Self {
        self.head.sources = sources;
        self
    }
}

fn range(start: &rkyv::Archived<Vec<u32>>, index: TaskIndex) -> std::ops::Range<usize> {
    start[index as usize].to_native() as usize..start[index as usize + 1].to_native() as usize
}

fn columns(manifest: Manifest, graph: &Edges, order: Vec<u32>) -> Result<(Columns, Vec<u8>), BadPlan> {
    let encode = |error: postcard::Error| BadPlan(error.to_string());
    let n = graph.tasks.len();
    let mut columns = Columns {
        ids: graph.tasks.iter().map(|task| task.id.as_str().to_owned()).collect(),
        sorted: (0..).take(n).collect(),
        fingerprints: Vec::with_capacity(n),
        flags: Vec::with_capacity(n),
        deps_start: vec![0],
        deps: Vec::new(),
        dep_kinds: Vec::new(),
        rdeps_start: Vec::new(),
        rdeps: Vec::new(),
        order,
        efforts: Vec::with_capacity(n),
        bodies_start: vec![0],
        checksums: Vec::with_capacity(n),
        head: Vec::new(),
    };
    let mut bodies = Vec::new();
    columns.sorted.sort_by(|a, b| columns.ids[*a as usize].cmp(&columns.ids[*b as usize]));
    for (i, task) in graph.tasks.iter().enumerate() {
        let deps = merged(graph, i);
        columns.fingerprints.push(fingerprint(task, graph, &deps).0);
        columns.flags.push(flags(task, i >= graph.hidden_from));
        columns.deps.extend(deps.iter().map(|(to, _)| *to));
        columns.dep_kinds.extend(deps.iter().map(|(_, kinds)| kinds.0));
        columns.deps_start.push(count(columns.deps.len()));
        columns
            .efforts
            .push(task.effort.map_or(0, |effort| u64::try_from(effort.as_millis()).unwrap_or(u64::MAX)));
        let start = bodies.len();
        bodies = postcard::to_extend(task, bodies).map_err(encode)?;
        columns.checksums.push(checksum(&bodies[start..]));
        columns.bodies_start.push(bodies.len() as u64);
    }
    (columns.rdeps_start, columns.rdeps) = reversed(n, &columns.deps_start, &columns.deps);
    let Manifest { settings, groups, sources, warnings, .. } = manifest;
    columns.head = postcard::to_stdvec(&Head { settings, groups, sources, warnings }).map_err(encode)?;
    Ok((columns, bodies))
}

/// Positions and edges are counted in 32 bits; the loader's limit on a manifest's size keeps below that.
fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// One edge to each dependency, sorted, with all kinds that lead to it.
fn merged(graph: &Edges, index: usize) -> Vec<(u32, EdgeKinds)> {
    let mut deps: Vec<_> = graph.out[index].iter().map(|edge| (edge.to, edge.kinds)).collect();
    deps.sort_by_key(|(to, _)| *to);
    deps.dedup_by(|(to, kinds), (kept, all)| {
        let same = to == kept;
        if same {
            *all = *all | *kinds;
        }
        same
    });
    deps
}

fn reversed(n: usize, deps_start: &[u32], deps: &[u32]) -> (Vec<u32>, Vec<u32>) {
    let mut start = vec![0_u32; n + 1];
    for to in deps {
        start[*to as usize + 1] += 1;
    }
    for i in 0..n {
        start[i + 1] += start[i];
    }
    let mut next = start.clone();
    let mut rdeps = vec![0; deps.len()];
    for from in 0..n {
        for to in &deps[deps_start[from] as usize..deps_start[from + 1] as usize] {
            rdeps[next[*to as usize] as usize] = count(from);
            next[*to as usize] += 1;
        }
    }
    (start, rdeps)
}

fn fingerprint(task: &Task, graph: &Edges, deps: &[(u32, EdgeKinds)]) -> Digest {
    let mut encoder = Encoder::new("conductor fingerprint 1");
    let declarations = task.declarations();
    encoder.count(declarations.len());
    for (name, value) in &declarations {
        encoder.text(name).text(value);
    }
    for (to, kinds) in deps.iter().filter(|(_, kinds)| kinds.carries_outputs()) {
        encoder
            .tag(kinds.0 & (EdgeKinds::NEEDS | EdgeKinds::INPUT).0)
            .text(graph.tasks[*to as usize].id.as_str());
    }
    encoder.finish()
}

fn flags(task: &Task, hidden: bool) -> u8 {
    let checks = task.validate.iter().flat_map(|check| &check.inputs);
    let world = task.inputs.iter().chain(checks).any(|pattern| pattern.literal.is_none() || pattern.folder)
        || !task.tools.is_empty()
        || task.env.iter().any(|variable| variable.value == crate::model::EnvValue::Caller)
        || !task.edits.is_empty();
    let bit = |on: bool, flag: u8| if on { flag } else { 0 };
    bit(task.always, ALWAYS)
        | bit(task.is_gate(), GATE)
        | bit(hidden, HIDDEN)
        | bit(world, WORLD)
        | bit(matches!(task.work, Work::Agent(_)), AGENT)
        | bit(!task.edits.is_empty(), EDITS)
}
