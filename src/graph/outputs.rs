//! No two tasks may write one path, nor one inside the other's folder.

use super::edges::Producers;
use crate::model::{Diagnostic, Task};

/// A diagnostic for each pair of outputs that overlap.
pub(super) fn overlaps(tasks: &[Task]) -> Vec<Diagnostic> {
    let producers = Producers::new(tasks);
    let mut diagnostics = Vec::new();
    for (i, task) in (0..).zip(tasks) {
        for output in &task.outputs {
            for (path, other) in producers.around(&output.path) {
                // A pair with one path is found from both sides: told from the later one.
                if other == i || (path == output.path && other > i) {
                    continue;
                }
                let owner = &tasks[other as usize];
                let Some(theirs) = owner.outputs.iter().find(|theirs| theirs.path == path) else { continue };
                let message = if path == output.path {
                    format!("{} and {} both write {path}", owner.id, task.id)
                } else {
                    format!("{} writes {} inside {path}, an output of {}", task.id, output.path, owner.id)
                };
                let help = if owner.id.base() == task.id.base() {
                    "instances of one matrix need outputs of their own: put ${matrix.…} into the path"
                } else {
                    "give each task paths of its own, or let one task make both"
                };
                let mut diagnostic = Diagnostic::error("graph::overlapping_outputs", message)
                    .label(output.at, format!("{} writes here", task.id));
                // Instances of one matrix share the place.
                if theirs.at != output.at {
                    diagnostic = diagnostic.label(theirs.at, format!("{} writes here", owner.id));
                }
                diagnostics.push(diagnostic.help(help));
            }
        }
    }
    diagnostics
}
