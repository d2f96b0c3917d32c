//! The salsa database: inputs, and the one tracked query.
//!
//! Inputs are created by the engine when a task is first asked about, so a query never looks anything up:
//! all that it may read hangs on its argument. Setters are called through [`set`] alone, which compares
//! first, because salsa's own never do.

use std::sync::Arc;

use salsa::Setter as _;

use crate::graph::{EdgeKinds, TaskIndex};
use crate::model::{
    Action, ActionKey, Components, Digest, Entry, Failure, Input, Need, Record, Task, TaskId, Validation,
    WorkspacePath,
};
use crate::store::FileId;
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

/// What the manifest and the tree's listing make of a task.
#[derive(PartialEq, Eq, Hash, Clone, Copy, Debug)]
pub(super) struct Source {
    pub(super) id: FileId,
    pub(super) discovered: bool,
}

/// See [`TaskInput::shape`]. Compared by identity of its parts where they change.
pub(super) struct Shape {
    pub(super) task: Arc<Task>,
    pub(super) definition: Vec<(String, String)>,
    pub(super) env: Vec<(String, Option<String>)>,
    pub(super) tools: Vec<(String, String)>,
    pub(super) globs: Globs,
    /// Files of the tree that its inputs name: path, whether the depfile named it, content.
    pub(super) sources: Vec<(WorkspacePath, Source, FileInput)>,
    /// One for each check, since each has an order of its own.
    pub(super) checks: Vec<Globs>,
    pub(super) check_sources: Vec<(WorkspacePath, FileInput)>,
    /// Its recorded outputs as they are on disk.
    pub(super) outputs: Vec<(WorkspacePath, FileInput)>,
    /// Optional outputs that its last run did not make: a result of a clean build does not have them either.
    pub(super) unmade: Vec<(WorkspacePath, FileInput)>,
    pub(super) deps: Vec<Dep>,
    pub(super) result: ResultInput,
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
    let failed = task.failure(db).is_some_and(|failure| failure.key == key);
    let stale = Verdict { state: State::Stale, key: Some(key) };
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
    let state = if validation == record.validation_key { State::Fresh } else { State::Unvalidated };
    Verdict { state, key: Some(key) }
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
    let sources = shape.sources.iter().map(|(path, source, file)| Input {
        path: path.clone(),
        entry: file.entry(db),
        from: None,
        discovered: source.discovered,
    });
    Ok(Action {
        definition: shape.definition.clone(),
        env: shape.env.clone(),
        tools: shape.tools.clone(),
        inputs: with_made(db, shape, &|path| shape.globs.matches(path), sources.collect()),
        needs,
    })
}

/// Adds to `sources` what dependencies made and the patterns match; what a task made is told as its, even where
/// the same path was found in the tree.
fn with_made(
    db: &dyn salsa::Database,
    shape: &Shape,
    matches: &dyn Fn(&WorkspacePath) -> bool,
    sources: Vec<Input>,
) -> Vec<Input> {
    let mut inputs = sources;
    for dep in shape.deps.iter().filter(|dep| dep.kinds.has(EdgeKinds::INPUT)) {
        for output in dep.result.record(db).iter().flat_map(|record| &record.outputs) {
            if matches(&output.path) {
                inputs.push(Input {
                    path: output.path.clone(),
                    entry: output.entry,
                    from: Some(dep.id.clone()),
                    discovered: false,
                });
            }
        }
    }
    inputs.sort_by(|a, b| a.path.cmp(&b.path).then(b.from.is_some().cmp(&a.from.is_some())));
    inputs.dedup_by(|later, kept| later.path == kept.path);
    inputs
}

/// What the checks declare as inputs, as things are now.
pub(super) fn validation(db: &dyn salsa::Database, shape: &Shape) -> Validation {
    let sources = shape.check_sources.iter().map(|(path, file)| Input {
        path: path.clone(),
        entry: file.entry(db),
        from: None,
        discovered: false,
    });
    Validation {
        checks: shape.task.validate.iter().map(crate::model::Check::definition).collect(),
        dir: shape.task.dir.to_text(),
        inputs: with_made(
            db,
            shape,
            &|path| shape.checks.iter().any(|globs| globs.matches(path)),
            sources.collect(),
        ),
    }
}

fn validation_key(db: &dyn salsa::Database, shape: &Shape, action: &Components, record: &Record) -> Digest {
    validation(db, shape).key(action, &record.outputs)
}

/// Is an output on disk not what was recorded?
fn outputs_differ(db: &dyn salsa::Database, shape: &Shape, record: &Record) -> bool {
    shape.outputs.len() != record.outputs.len()
        || shape.unmade.iter().any(|(_, file)| file.entry(db).exists())
        || shape
            .outputs
            .iter()
            .zip(&record.outputs)
            .any(|((path, file), output)| *path != output.path || file.entry(db) != output.entry)
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
    let outputs = |record: &Option<Arc<Record>>| record.as_ref().map(|record| record.outputs.clone());
    let differs = outputs(&before) != outputs(&record);
    input.set_record(db).to(record);
    differs
}
