//! The salsa database: inputs, and the one tracked query.
//!
//! Inputs are created by the engine when a task is first asked about, so a query never looks anything up:
//! all that it may read hangs on its argument. Setters are called through [`set`] alone, which compares
//! first, because salsa's own never do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use salsa::Setter as _;

use super::tools::ToolSeen;
use super::trails::Links;
use crate::graph::{EdgeKinds, TaskIndex};
use crate::model::{
    Action, ActionKey, Components, Digest, Entry, Failure, Input, Need, Record, Task, TaskId, Validation,
    Via, WorkspacePath,
};
use crate::workspace::Globs;

/// A path's content.
#[salsa::input]
pub(super) struct FileInput {
    #[returns(copy)]
    pub(super) entry: Entry,
}

/// A task's accepted result.
#[salsa::input]
pub(super) struct ResultInput {
    #[returns(clone)]
    pub(super) record: Option<Arc<Record>>,
}

/// A task as it stands today.
#[salsa::input]
pub(super) struct TaskInput {
    #[returns(clone)]
    pub(super) shape: Arc<Shape>,
    #[returns(clone)]
    pub(super) failure: Option<Arc<Failure>>,
    #[returns(copy)]
    pub(super) forced: bool,
}

/// What the manifest and the tree's listing make of a task. Compared by identity of its parts where they change.
pub(super) struct Shape {
    pub(super) task: Arc<Task>,
    pub(super) definition: Vec<(String, String)>,
    pub(super) env: Vec<(String, Option<String>)>,
    pub(super) tools: Vec<(String, String)>,
    /// The programs that stand behind `tools`, as they were found.
    pub(super) programs: Vec<ToolSeen>,
    pub(super) globs: Globs,
    /// Its inputs in the tree: path, the cause that makes it an input, content.
    pub(super) sources: Vec<(WorkspacePath, Via, FileInput)>,
    /// Where the links among its inputs lead.
    pub(super) links: Links,
    /// One for each check, since each has an order of its own.
    pub(super) checks: Vec<Globs>,
    pub(super) check_sources: Vec<(WorkspacePath, Via, FileInput)>,
    pub(super) check_links: Links,
    /// Its recorded outputs as they are on disk.
    pub(super) outputs: Vec<(WorkspacePath, FileInput)>,
    /// Those of them that may be absent, since the lock speaks for them and no checkout brings them with it.
    pub(super) excused: BTreeSet<WorkspacePath>,
    /// Optional outputs that its last run did not make: a result of a clean build does not have them either.
    pub(super) unmade: Vec<(WorkspacePath, FileInput)>,
    pub(super) deps: Vec<Dep>,
    /// What its `edits` match, sorted by path.
    pub(super) edits: Vec<EditPath>,
    /// The editors before it whose paths may be its own, in their order.
    pub(super) earlier: Vec<Dep>,
    /// Recorded outputs that stay on its branch and whose bytes are gone.
    pub(super) lost: Vec<WorkspacePath>,
    pub(super) result: ResultInput,
}

/// A path that a task edits, as the tree has it today.
pub(super) struct EditPath {
    pub(super) path: WorkspacePath,
    /// What the first editor of the path starts from.
    pub(super) base: Entry,
    /// The editors of the path before this one, in their order.
    pub(super) earlier: Vec<TaskIndex>,
    /// A person edited it.
    pub(super) persons: bool,
    /// Somebody put it back to a state before this task's: the task is due.
    pub(super) reset: bool,
    /// All that its editors made is accepted, and the tree does not hold it yet.
    pub(super) unlanded: bool,
}

/// An edge along which outputs flow.
pub(super) struct Dep {
    pub(super) index: TaskIndex,
    pub(super) id: TaskId,
    pub(super) kinds: EdgeKinds,
    pub(super) result: ResultInput,
}

/// The answer for one task.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// What is to be done.
    pub state: State,
    /// The key of the action as things are now; none where a dependency has no result.
    pub key: Option<ActionKey>,
}

/// What is to be done about a task.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Nothing.
    Fresh,
    /// Its checks must run again on the outputs that are there; its command need not.
    Unvalidated,
    /// It ran and everything accepted it but a person, for whom it waits.
    Waiting,
    /// It must run.
    Stale,
    /// This task, whose outputs it needs, has no result.
    Blocked(TaskIndex),
}

/// The database; the engine's thread owns the only handle.
#[salsa::db]
#[derive(Clone, Default)]
pub(super) struct Database {
    storage: salsa::Storage<Self>,
}

#[salsa::db]
impl salsa::Database for Database {}

/// The verdict: compares the key of the world as it is with the recorded one, the outputs on disk with the
/// recorded ones, and the validation's key with the recorded one.
#[salsa::tracked(returns(copy))]
pub(super) fn verdict(db: &dyn salsa::Database, task: TaskInput) -> Verdict {
    let shape = task.shape(db);
    let action = match describe(db, &shape) {
        Ok(action) => action,
        Err(dep) => return Verdict { state: State::Blocked(dep), key: None },
    };
    let components = action.components();
    let key = components.key();
    let failure = task.failure(db);
    let failed = failure.as_ref().is_some_and(|failure| {
        failure.key == key || failure.reason.kind == crate::model::ReasonKind::RolledBack
    });
    let stale = Verdict { state: State::Stale, key: Some(key) };
    if !task.forced(db) && failure.is_some_and(|failure| waits(db, &shape, &failure, &components)) {
        return Verdict { state: State::Waiting, key: Some(key) };
    }
    let Some(record) = shape.result.record(db) else { return stale };
    if task.forced(db)
        || shape.task.always
        || failed
        || record.key != key
        || outputs_differ(db, &shape, &record)
    {
        return stale;
    }
    let validation = validation_key(db, &shape, &components, &record);
    let lands = shape.edits.iter().any(|edit| edit.unlanded);
    let holds = validation == record.validation_key && !lands;
    Verdict { state: if holds { State::Fresh } else { State::Unvalidated }, key: Some(key) }
}

/// Does the result that waits for a person still stand for the task as it is now?
fn waits(db: &dyn salsa::Database, shape: &Shape, failure: &Failure, components: &Components) -> bool {
    failure.pending.as_ref().is_some_and(|pending| {
        let record = &pending.record;
        record.key == components.key()
            && validation(db, shape).key(components, &record.outputs) == record.validation_key
    })
}

/// The action as things are now, or the needed task that has no result.
pub(super) fn describe(db: &dyn salsa::Database, shape: &Shape) -> Result<Action, TaskIndex> {
    let mut needs = Vec::new();
    for dep in &shape.deps {
        let record = dep.result.record(db).ok_or(dep.index)?;
        if dep.kinds.has(EdgeKinds::NEEDS) {
            let made = record.outputs.iter();
            needs.extend(made.map(|output| Need {
                path: output.path.clone(),
                entry: output.entry,
                from: dep.id.clone(),
            }));
        }
    }
    needs.sort_by(|a, b| a.path.cmp(&b.path));
    let mut sources = source_inputs(db, &shape.sources);
    sources.extend(edited_inputs(db, shape)?);
    Ok(Action {
        definition: shape.definition.clone(),
        env: shape.env.clone(),
        tools: shape.tools.clone(),
        inputs: with_made(db, shape, &|path| shape.reads(path), sources),
        needs,
    })
}

fn source_inputs(db: &dyn salsa::Database, sources: &[(WorkspacePath, Via, FileInput)]) -> Vec<Input> {
    let input = |(path, via, file): &(WorkspacePath, Via, FileInput)| Input {
        path: path.clone(),
        entry: file.entry(db),
        from: None,
        via: *via,
    };
    sources.iter().map(input).collect()
}

impl Shape {
    /// Why the task reads a path that a dependency made; none if it does not.
    fn reads(&self, path: &WorkspacePath) -> Option<Via> {
        let named = self.globs.matches(path).then_some(Via::Inputs);
        named.or_else(|| (self.links.lead_to(path) && !self.globs.excludes(path)).then_some(Via::Link))
    }

    /// Why its checks read such a path.
    fn checks_read(&self, path: &WorkspacePath) -> Option<Via> {
        let named = self.checks.iter().any(|globs| globs.matches(path)).then_some(Via::Inputs);
        named.or_else(|| self.check_links.lead_to(path).then_some(Via::Link))
    }
}

/// The paths that the task edits, each in the state in which the task finds it: what the editor before it left,
/// else the base. What is not there then is no input.
fn edited_inputs(db: &dyn salsa::Database, shape: &Shape) -> Result<Vec<Input>, TaskIndex> {
    if shape.edits.is_empty() {
        return Ok(Vec::new());
    }
    let earlier: Result<BTreeMap<TaskIndex, (&TaskId, Arc<Record>)>, TaskIndex> = shape
        .earlier
        .iter()
        .map(|dep| dep.result.record(db).map(|record| (dep.index, (&dep.id, record))).ok_or(dep.index))
        .collect();
    let earlier = earlier?;
    let found = |edit: &EditPath| {
        let last = edit.earlier.iter().rev().find_map(|index| {
            let (id, record) = earlier.get(index)?;
            Some(((*id).clone(), record.edited(&edit.path)?.after))
        });
        let (from, entry) = last.map_or((None, edit.base), |(id, after)| (Some(id), after));
        entry.exists().then(|| Input { path: edit.path.clone(), entry, from, via: Via::Edits })
    };
    Ok(shape.edits.iter().filter_map(found).collect())
}

/// Adds to `sources` the outputs of dependencies that the task reads. An output is reported as its
/// maker's, even if the same path was found in the tree.
fn with_made(
    db: &dyn salsa::Database,
    shape: &Shape,
    reads: &dyn Fn(&WorkspacePath) -> Option<Via>,
    sources: Vec<Input>,
) -> Vec<Input> {
    let mut inputs = sources;
    // The last editor of a path comes first, and stays.
    for dep in shape.deps.iter().rev() {
        let record = dep.result.record(db);
        let edited =
            record.iter().flat_map(|record| &record.edited).filter(|edited| edited.before != edited.after);
        inputs.extend(edited.filter_map(|edited| {
            let via = reads(&edited.path)?;
            let (path, from) = (edited.path.clone(), Some(dep.id.clone()));
            Some(Input { path, entry: edited.after, from, via })
        }));
    }
    for dep in shape.deps.iter().filter(|dep| dep.kinds.has(EdgeKinds::INPUT)) {
        for output in dep.result.record(db).iter().flat_map(|record| &record.outputs) {
            if let Some(via) = reads(&output.path) {
                let (path, from) = (output.path.clone(), Some(dep.id.clone()));
                inputs.push(Input { path, entry: output.entry, from, via });
            }
        }
    }
    let rank = |input: &Input| (input.via != Via::Edits, input.from.is_none());
    inputs.sort_by(|a, b| a.path.cmp(&b.path).then(rank(a).cmp(&rank(b))));
    inputs.dedup_by(|later, kept| later.path == kept.path);
    inputs
}

/// What the checks declare as inputs, as things are now.
pub(super) fn validation(db: &dyn salsa::Database, shape: &Shape) -> Validation {
    let sources = source_inputs(db, &shape.check_sources);
    Validation {
        checks: shape.task.validate.iter().map(crate::model::Check::definition).collect(),
        dir: shape.task.dir.to_text(),
        inputs: with_made(db, shape, &|path| shape.checks_read(path), sources),
    }
}

fn validation_key(db: &dyn salsa::Database, shape: &Shape, action: &Components, record: &Record) -> Digest {
    validation(db, shape).key(action, &record.outputs)
}

/// Is an output on disk not what was recorded?
fn outputs_differ(db: &dyn salsa::Database, shape: &Shape, record: &Record) -> bool {
    if !shape.lost.is_empty() || shape.edits.iter().any(|edit| edit.reset) {
        return true;
    }
    if record.on_branch {
        return false;
    }
    shape.outputs.len() != record.outputs.len()
        || shape.unmade.iter().any(|(_, file)| file.entry(db).exists())
        || shape.outputs.iter().zip(&record.outputs).any(|((path, file), output)| {
            *path != output.path || is_other(shape, path, file.entry(db), output.entry)
        })
}

/// Is `now` another state of an output than was recorded?
pub(super) fn is_other(shape: &Shape, path: &WorkspacePath, now: Entry, recorded: Entry) -> bool {
    now != recorded && (now.exists() || !shape.excused.contains(path))
}

/// Sets a file's content if it differs. Returns whether it did.
pub(super) fn set_file(db: &mut Database, input: FileInput, entry: Entry) -> bool {
    let differs = input.entry(db) != entry;
    if differs {
        input.set_entry(db).to(entry);
    }
    differs
}

/// Sets a task's result. Dependents see another result only where outputs differ, since they read nothing
/// else of it; the setter is called in any case that matters to the task itself.
pub(super) fn set_result(db: &mut Database, input: ResultInput, record: Option<Arc<Record>>) -> bool {
    let before = input.record(db);
    if before == record {
        return false;
    }
    let differs = match (&before, &record) {
        (Some(before), Some(record)) => !record.gives_the_same_as(before),
        _ => true,
    };
    input.set_record(db).to(record);
    differs
}
