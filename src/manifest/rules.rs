//! What the keys of one task must and must not say together.

use super::reader::Reader;
use crate::model::{At, Diagnostic, Isolation, Task, Work};

/// Checks `task`, whose key stands at `at`; `key` finds where one of its keys is set.
pub(super) fn check(reader: &Reader<'_>, at: At, task: &Task, key: &dyn Fn(&str) -> Option<At>) {
    let report = |diagnostic: Diagnostic| reader.shared.problems.push(diagnostic);
    if key("inputs").is_none() {
        report(
            Diagnostic::error(
                "manifest::missing_inputs",
                format!("`{}` does not say what it reads", task.id),
            )
            .label(at, "no `inputs`")
            .help("list what it reads, or write `inputs: []` when it reads nothing"),
        );
    }
    if let Some(edits) = key("edits").filter(|_| !task.edits.is_empty()) {
        let isolation = key("isolation");
        if let (Some(isolation), Isolation::None) = (isolation, task.isolation) {
            report(
                Diagnostic::error("manifest::edits_in_place", "`edits` cannot be made in the working tree")
                    .label(isolation, "no isolation")
                    .label(edits, "existing files change")
                    .help("write `isolation: worktree` or `isolation: sandbox`"),
            );
        } else if isolation.is_none() && matches!(task.work, Work::Run(_)) {
            report(
                Diagnostic::error(
                    "manifest::edits_need_isolation",
                    "a command with `edits` must say where it runs",
                )
                .label(edits, "existing files change")
                .help("write `isolation: worktree` or `isolation: sandbox`"),
            );
        }
    }
}
