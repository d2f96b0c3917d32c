//! Outputs that change hands: what one task recorded and the manifest now gives to another task, or to
//! nobody. They are conductor's own all the same: never a person's, and never left behind as an input.

use super::engine::Engine;
use crate::model::{OutputEntry, Record, Signature, Task, TaskId, WorkspacePath};

/// A recorded output that its maker no longer declares.
pub(super) struct Estranged {
    maker: TaskId,
    /// The maker is in the manifest no more.
    gone: bool,
    output: OutputEntry,
}

fn declares(task: &Task, path: &WorkspacePath) -> bool {
    task.outputs.iter().any(|output| path.is_within(&output.path))
}

impl Engine {
    /// Looks for them once, before the first task is accepted; only tasks that left the manifest or changed in
    /// it can have any.
    pub(super) fn find_estranged(&mut self) {
        if self.estranged.is_some() {
            return;
        }
        let mut found = Vec::new();
        for maker in &self.gone {
            let outputs = self.state.record(maker).map(|record| record.outputs).unwrap_or_default();
            let estranged = |output| Estranged { maker: maker.clone(), gone: true, output };
            found.extend(outputs.into_iter().map(estranged));
        }
        for index in std::mem::take(&mut self.redefined) {
            let maker = self.plan.task_id(index);
            let (Ok(task), Some(record)) = (self.plan.task(index), self.state.record(&maker)) else {
                continue;
            };
            let lost = record.outputs.into_iter().filter(|output| !declares(&task, &output.path));
            found.extend(lost.map(|output| Estranged { maker: maker.clone(), gone: false, output }));
        }
        self.estranged = Some(found);
    }

    /// What others recorded at paths that are `task`'s now.
    pub(super) fn inherited(&self, task: &Task) -> Vec<OutputEntry> {
        let others = self.estranged.iter().flatten().filter(|other| other.maker != task.id);
        others.filter(|other| declares(task, &other.output.path)).map(|other| other.output.clone()).collect()
    }

    /// What `task` recorded and no task declares any more: it goes when the task runs again, as it would
    /// not be there after a clean build.
    pub(super) fn leftovers(&self, task: &Task, record: Option<&Record>) -> Vec<WorkspacePath> {
        let outputs = record.iter().flat_map(|record| &record.outputs).map(|output| &output.path);
        let mut left: Vec<WorkspacePath> = outputs.filter(|path| !declares(task, path)).cloned().collect();
        let mut others = self.plan.indices();
        while !left.is_empty()
            && let Some(other) = others.next()
        {
            if let Ok(other) = self.plan.task(other) {
                left.retain(|path| !declares(&other, path));
            }
        }
        left
    }

    /// `paths` have a new maker. A maker that is gone and has lost everything is forgotten.
    pub(super) fn adopt(&mut self, paths: &[OutputEntry]) {
        let Some(estranged) = self.estranged.as_mut().filter(|estranged| !estranged.is_empty()) else {
            return;
        };
        let adopted =
            |other: &Estranged| paths.binary_search_by(|output| output.path.cmp(&other.output.path)).is_ok();
        let (taken, left): (Vec<_>, Vec<_>) = estranged.drain(..).partition(adopted);
        *estranged = left;
        for Estranged { maker, .. } in taken.iter().filter(|other| other.gone) {
            if !self.estranged.iter().flatten().any(|other| other.maker == *maker) {
                self.state.forget(maker);
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
