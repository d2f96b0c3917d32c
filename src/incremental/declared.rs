//! Declared outputs by path: those of a task's dependencies, and those of all tasks. A task may have thousands of
//! dependencies and thousands of inputs, so comparing each with each would be quadratic.

use super::engine::Engine;
use crate::graph::TaskIndex;
use crate::model::PathIndex;

impl Engine {
    /// The outputs that the dependencies of a task declare.
    pub(super) fn declared_by_dependencies(&self, index: TaskIndex) -> PathIndex<()> {
        let carrying = self.plan.deps(index).filter(|(_, kinds)| kinds.carries_outputs());
        let outputs = carrying.filter_map(|(dep, _)| self.plan.task(dep).ok()).flat_map(|dep| {
            let paths = dep.outputs.iter().map(|output| (output.path.clone(), ()));
            paths.collect::<Vec<_>>()
        });
        outputs.collect()
    }

    /// All tasks, by the outputs that they declare. Made once, because it decodes the whole plan.
    pub(super) fn makers(&self) -> &PathIndex<TaskIndex> {
        self.makers.get_or_init(|| {
            let tasks = self.plan.indices().filter_map(|index| Some((index, self.plan.task(index).ok()?)));
            let outputs = tasks.flat_map(|(index, task)| {
                let paths = task.outputs.iter().map(|output| (output.path.clone(), index));
                paths.collect::<Vec<_>>()
            });
            outputs.collect()
        })
    }
}
