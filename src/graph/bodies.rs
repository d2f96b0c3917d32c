//! The definitions of a plan's tasks, one after the other: in memory after compiling, else on disk, where
//! each is read when somebody asks for it. A build with nothing to do asks for none.
//!
//! Invariant: what is handed out has the checksum that the plan's columns name. Where the disk holds
//! something else the manifest is compiled again, so that damage costs time and nothing more.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::{BadPlan, Plan, TaskIndex};
use crate::model::{Digest, Task};
use crate::store::PlanBodies;

/// The first 8 bytes of a body's BLAKE3.
pub(super) type Checksum = [u8; 8];

pub(super) fn checksum(body: &[u8]) -> Checksum {
    Digest::of(body).0.first_chunk().copied().unwrap_or_default()
}

/// Compiles the manifest again that a kept plan was made from.
pub type Recompile = Box<dyn Fn() -> Option<Plan> + Send + Sync>;

/// See the module.
pub(super) enum Bodies {
    /// The plan was just compiled.
    Held(Vec<u8>),
    /// The plan was loaded.
    Kept { file: PlanBodies, recompile: Recompile, recompiled: OnceLock<Option<Box<Plan>>> },
}

impl Bodies {
    pub(super) fn kept(file: PlanBodies, recompile: Recompile) -> Self {
        Self::Kept { file, recompile, recompiled: OnceLock::new() }
    }

    /// All of them, where they are in memory.
    pub(super) fn held(&self) -> Option<&[u8]> {
        match self {
            Self::Held(bytes) => Some(bytes),
            Self::Kept { .. } => None,
        }
    }

    /// The body at `range`.
    pub(super) fn get(&self, range: Range<u64>, expected: Checksum) -> Option<Cow<'_, [u8]>> {
        match self {
            Self::Held(bytes) => {
                let range = usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?;
                bytes.get(range).filter(|body| checksum(body) == expected).map(Cow::Borrowed)
            }
            Self::Kept { file, recompile, recompiled } => {
                let body = file.read(range.clone()).filter(|body| checksum(body) == expected);
                body.map(Cow::Owned).or_else(|| {
                    let again = recompiled.get_or_init(|| recompile().map(Box::new)).as_ref()?;
                    again.bodies().get(range, expected)
                })
            }
        }
    }
}

/// A generation has so many definitions. A build asks for those of its tasks a dozen times; without a bound
/// the first build of a large workspace would hold all of them.
const GENERATION: usize = 4096;

/// The definitions that were asked for last.
#[derive(Default)]
pub(super) struct Decoded(Mutex<Generations>);

/// Two generations of definitions. When the young one is full, it becomes the old one, and the old one is
/// dropped. A definition that is asked for moves to the young one. So a definition in use stays, however
/// many others are asked for once.
#[derive(Default)]
struct Generations {
    young: HashMap<TaskIndex, Arc<Task>>,
    old: HashMap<TaskIndex, Arc<Task>>,
}

impl Generations {
    fn get(&mut self, index: TaskIndex) -> Option<Arc<Task>> {
        if let Some(task) = self.young.get(&index) {
            return Some(Arc::clone(task));
        }
        let task = self.old.remove(&index)?;
        self.put(index, Arc::clone(&task));
        Some(task)
    }

    fn put(&mut self, index: TaskIndex, task: Arc<Task>) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(index, task);
    }
}

impl Decoded {
    /// The definition at `index`, decoded now where it is none of those that are kept.
    pub(super) fn get_or_decode(
        &self,
        index: TaskIndex,
        decode: impl FnOnce() -> Result<Task, BadPlan>,
    ) -> Result<Arc<Task>, BadPlan> {
        let kept = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = kept().get(index) {
            return Ok(task);
        }
        let task = Arc::new(decode()?);
        kept().put(index, Arc::clone(&task));
        Ok(task)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{GroupId, Manifest, Task, WorkspacePath};
    use crate::store::{load_plan, save_plan};

    fn compiled() -> Plan {
        let group = |id: &str| crate::model::Group {
            id: GroupId::new(id),
            at: crate::model::At::default(),
            title: Some(format!("the title of {id}")),
            after: Vec::new(),
            gate: Vec::new(),
            dir: WorkspacePath::root(),
            env: Vec::new(),
            budget: crate::model::Budget::default(),
            pass_env: Vec::new(),
        };
        let tasks = ["A", "B"].map(|id| Task::gate(&group(id)));
        crate::graph::compile(Manifest { tasks: tasks.to_vec(), ..Manifest::default() }).unwrap()
    }

    fn check(damage: impl FnOnce(&mut [u8]), recompile: Recompile) -> Vec<Option<Arc<Task>>> {
        let dir = tempfile::tempdir().unwrap();
        let plan = compiled();
        let (columns, bodies) = plan.parts().unwrap();
        save_plan(dir.path(), b"", columns, bodies).unwrap();
        let path = dir.path().join("plan");
        let mut bytes = std::fs::read(&path).unwrap();
        let tail = bytes.len() - bodies.len();
        damage(&mut bytes[tail..]);
        std::fs::write(&path, bytes).unwrap();
        let (columns, bodies) = load_plan(dir.path(), |_| true).unwrap();
        let loaded = Plan::load(columns, bodies, recompile).unwrap();
        loaded.indices().map(|index| loaded.task(index).ok()).collect()
    }

    #[test]
    fn a_loaded_plan_has_the_same_definitions() {
        let plan = compiled();
        let tasks: Vec<_> = plan.indices().map(|index| plan.task(index).ok()).collect();
        assert_eq!(check(|_| {}, Box::new(|| unreachable!())), tasks);
    }

    #[test]
    fn a_definition_in_use_is_decoded_once_however_many_others_are_asked_for() {
        let task = compiled().task(0).unwrap();
        let (decoded, count) = (Decoded::default(), std::cell::Cell::new(0));
        let get = |index| {
            decoded.get_or_decode(index, || {
                count.set(count.get() + 1);
                Ok((*task).clone())
            })
        };
        let all = 10 * TaskIndex::try_from(GENERATION).unwrap();
        for index in 1..all {
            assert_eq!(get(0), Ok(Arc::clone(&task)));
            assert_eq!(get(index), Ok(Arc::clone(&task)));
        }
        assert_eq!(count.get(), all as usize);
        let kept = decoded.0.lock().unwrap();
        assert!(kept.young.len() + kept.old.len() <= 2 * GENERATION, "memory is bounded");
    }

    #[test]
    fn a_definition_that_cannot_be_decoded_is_asked_for_again() {
        let decoded = Decoded::default();
        let task = compiled().task(0).unwrap();
        assert!(decoded.get_or_decode(0, || Err(BadPlan(String::new()))).is_err());
        assert_eq!(decoded.get_or_decode(0, || Ok((*task).clone())), Ok(task));
    }

    #[test]
    fn a_damaged_definition_is_compiled_again() {
        let plan = compiled();
        let tasks: Vec<_> = plan.indices().map(|index| plan.task(index).ok()).collect();
        assert_eq!(check(|bodies| bodies[3] ^= 1, Box::new(|| Some(compiled()))), tasks);
    }

    #[test]
    fn a_damaged_definition_that_cannot_be_compiled_again_is_none() {
        assert_eq!(check(|bodies| bodies[3] ^= 1, Box::new(|| None))[0], None);
    }
}
