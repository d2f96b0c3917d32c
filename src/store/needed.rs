//! Which objects the records still speak of: what a sweep must leave.

use std::collections::HashSet;

use super::State;
use crate::model::{Digest, Edited, OutputEntry, Record, TaskId, Undo};

impl State {
    /// The digests of everything that a record or a failure may ever want to bring back: what results replaced,
    /// every state of edited paths, results that are on a branch or wait for a person, and what is recorded as the
    /// result itself.
    pub fn needed_objects(&self) -> HashSet<Digest> {
        let mut needed = HashSet::new();
        for id in self.ids().map(TaskId::new) {
            if let Some(record) = self.record(&id) {
                of_record(&record, &mut needed);
            }
            if let Some(failure) = self.failure(&id) {
                of_outputs(&failure.outputs, &mut needed);
                of_undo(&failure.undo, &mut needed);
                if let Some(pending) = failure.pending {
                    of_record(&pending.record, &mut needed);
                }
            }
        }
        needed
    }
}

fn of_record(record: &Record, needed: &mut HashSet<Digest>) {
    of_outputs(&record.outputs, needed);
    of_undo(&record.undo, needed);
    of_edits(&record.edited, needed);
    needed.extend(record.agent.iter().filter_map(|agent| agent.transcript_digest()));
}

fn of_outputs(outputs: &[OutputEntry], needed: &mut HashSet<Digest>) {
    needed.extend(outputs.iter().map(|output| output.entry.digest));
}

fn of_undo(undo: &[Undo], needed: &mut HashSet<Digest>) {
    for undo in undo {
        of_outputs(&undo.outputs, needed);
    }
}

fn of_edits(edited: &[Edited], needed: &mut HashSet<Digest>) {
    needed.extend(edited.iter().flat_map(|edited| [edited.before.digest, edited.after.digest]));
}
