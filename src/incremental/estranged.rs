//! Outputs that change hands: what one task recorded and the manifest now gives to another task, or to
//! nobody. They are conductor's own all the same: never a person's, and never left behind as an input.

use std::collections::BTreeMap;

use super::engine::Engine;
use crate::model::{OutputEntry, PathIndex, Record, Signature, Task, TaskId, WorkspacePath};

/// A recorded output that its maker no longer declares.
struct Estranged {
    maker: TaskId,
    output: OutputEntry,
}

/// All of them.
#[derive(Default)]
pub(super) struct Estrangement {
    by_path: BTreeMap<WorkspacePath, Vec<Estranged>>,
    /// How many each maker has that is in the manifest no more.
    of_gone: BTreeMap<TaskId, usize>,
}

impl Estrangement {
    fn add(&mut self, maker: &TaskId, output: OutputEntry) {
        let estranged = Estranged { maker: maker.clone(), output };
        self.by_path.entry(estranged.output.path.clone()).or_default().push(estranged);
    }

    fn within<'a>(&'a self, folder: &'a WorkspacePath) -> impl Iterator<Item = &'a Estranged> {
        let from = self.by_path.range(folder..);
        let alike = from.take_while(|(path, _)| path.as_bytes().starts_with(folder.as_bytes()));
        alike.filter(|(path, _)| path.is_within(folder)).flat_map(|(_, estranged)| estranged)
    }
}

fn declared(task: &Task) -> PathIndex<()> {
    PathIndex::set(task.outputs.iter().map(|output| &output.path))
}

impl Engine {
    /// Looks for them once, before the first task is accepted; only tasks that left the manifest or changed in
    /// it can have any.
    pub(super) fn find_estranged(&mut self) {
        if self.estranged.is_some() {
            return;
        }
        let mut found = Estrangement::default();
        for maker in &self.gone {
            let outputs = self.state.record(maker).map(|record| record.outputs).unwrap_or_default();
            found.of_gone.insert(maker.clone(), outputs.len());
            for output in outputs {
                found.add(maker, output);
            }
        }
        for index in std::mem::take(&mut self.redefined) {
            let maker = self.plan.task_id(index);
            let (Ok(task), Some(record)) = (self.plan.task(index), self.state.record(&maker)) else {
                continue;
            };
            let declared = declared(&task);
            let lost = record.outputs.into_iter().filter(|output| !declared.holds(&output.path));
            for output in lost {
                found.add(&maker, output);
            }
        }
        self.estranged = Some(found);
    }

    /// What others recorded at paths that are `task`'s now.
    pub(super) fn inherited(&self, task: &Task) -> Vec<OutputEntry> {
        let Some(estranged) = self.estranged.as_ref().filter(|estranged| !estranged.by_path.is_empty())
        else {
            return Vec::new();
        };
        let others = task.outputs.iter().flat_map(|output| estranged.within(&output.path));
        others.filter(|other| other.maker != task.id).map(|other| other.output.clone()).collect()
    }

    /// What `task` recorded and no task declares any more: it goes when the task runs again, as it would
    /// not be there after a clean build.
    pub(super) fn leftovers(&self, task: &Task, record: Option<&Record>) -> Vec<WorkspacePath> {
        let outputs = record.iter().flat_map(|record| &record.outputs).map(|output| &output.path);
        let declared = declared(task);
        let left = outputs.filter(|path| !declared.holds(path) && !self.makers().holds(path));
        left.cloned().collect()
    }

    /// `paths` have a new maker. A maker that is gone and has lost everything is forgotten.
    pub(super) fn adopt(&mut self, paths: &[OutputEntry]) {
        let Some(estranged) = self.estranged.as_mut().filter(|estranged| !estranged.by_path.is_empty())
        else {
            return;
        };
        let taken = paths.iter().filter_map(|output| estranged.by_path.remove(&output.path)).flatten();
        for Estranged { maker, .. } in taken {
            let Some(left) = estranged.of_gone.get_mut(&maker) else { continue };
            *left -= 1;
            if *left == 0 {
                self.state.forget(&maker);
            }
        }
    }

    /// The signature that vouches for a recorded output, where what lies there was last seen to be it. A row
    /// with other content is of a person's edit: its signature vouches for nothing.
    pub(super) fn signature_of(&self, output: &OutputEntry) -> Signature {
        let row = self.state.file_id(&output.path).and_then(|id| self.state.file(id));
        row.filter(|row| row.entry == output.entry && !row.racy)
            .map_or(Signature::ABSENT, |row| row.signature)
    }
}
