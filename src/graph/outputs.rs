//! No two tasks may write one path, nor one inside the other's folder.

use super::edges::Producers;
use crate::model::{Diagnostic, Task};

/// So many are told; n tasks with one output have n × n such pairs.
const MAX_TOLD: usize = 100;

/// A diagnostic for each pair of outputs that overlap, as far as anybody reads them.
pub(super) fn overlaps(tasks: &[Task]) -> Vec<Diagnostic> {
    let producers = Producers::new(tasks);
    let mut diagnostics = Vec::new();
    for (i, task) in (0..).zip(tasks) {
        for output in &task.outputs {
            for (path, made) in producers.around(&output.path) {
                // A pair with one path is found from both sides: told from the later one.
                if made.task == i || (*path == output.path && made.task > i) {
                    continue;
                }
                if diagnostics.len() == MAX_TOLD {
                    return diagnostics;
                }
                let owner = &tasks[made.task as usize];
                let theirs = &owner.outputs[made.output as usize];
                let message = if *path == output.path {
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
