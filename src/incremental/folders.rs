//! Outputs that were declared as files and turned out to be folders. Nobody is made to wait for what lies in
//! them, so such a result is refused where somebody would read it.

use super::engine::Engine;
use crate::graph::TaskIndex;
use crate::model::{Pattern, Task, WorkspacePath};
use crate::workspace::{Globs, Observed};

impl Engine {
    /// Why these outputs of a task cannot be accepted: one that is declared as a file is a folder, and another
    /// task's patterns match something in it, but that task does not wait for this one.
    pub fn unexpected_folder(
        &self,
        index: TaskIndex,
        task: &Task,
        outputs: &[(WorkspacePath, Observed)],
    ) -> Option<String> {
        let files = task.outputs.iter().filter(|output| !output.folder).map(|output| &output.path);
        let inside: Vec<(&WorkspacePath, &WorkspacePath)> = files
            .flat_map(|file| {
                outputs
                    .iter()
                    .map(move |(path, _)| (file, path))
                    .filter(|(file, path)| path != file && path.is_within(file))
            })
            .collect();
        // Nearly always it made what it declares, and then nobody need look at other tasks.
        if inside.is_empty() {
            return None;
        }
        let waits = |other: TaskIndex| {
            self.plan.deps(other).any(|(dep, kinds)| dep == index && kinds.carries_outputs())
        };
        self.plan.indices().filter(|other| *other != index && !waits(*other)).find_map(|other| {
            let reader = self.plan.task(other).ok()?;
            let (folder, path) = inside.iter().find(|(_, path)| reads(&reader, path))?;
            Some(format!(
                "it made the folder {folder}, which it declares as a file, and {} reads {path} in it without waiting for it; \
                 write `{folder}/` under the outputs of {}",
                reader.id, task.id
            ))
        })
    }
}

fn reads(task: &Task, path: &WorkspacePath) -> bool {
    let checks = task.require.iter().chain(&task.validate).map(|check| check.inputs.as_slice());
    std::iter::once(task.inputs.as_slice())
        .chain(checks)
        .any(|patterns: &[Pattern]| Globs::new(patterns).is_ok_and(|globs| globs.matches(path)))
}
