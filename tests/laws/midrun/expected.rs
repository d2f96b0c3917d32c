//! The cells of the matrix that break the law today. The list shrinks until it is empty; a cell
//! that is mended and still listed fails the test.

use super::{Case, matrix};

/// Cells that always fail: point, isolation, act, and whether another task looks on. `*` is any.
const EXPECTED_TO_FAIL: &[&str] = &[
    // A program that shadows a tool on PATH, and is gone again, leaves no trace (docs/keys.md).
    "Tool * Meanwhile *",
    // A file that `copy` brings is outside the key.
    "Copy worktree Meanwhile *",
];

/// Cells that fail if the change comes at the right moment, which nothing can make sure of.
const MAY_FAIL: &[&str] = &[];

fn matches(pattern: &str, case: Case) -> bool {
    let name = case.name();
    let (mut words, mut own) = (pattern.split(' '), name.split(' '));
    own.by_ref().all(|own| words.next().is_some_and(|word| word == "*" || word == own))
        && words.next().is_none()
}

/// A complaint if the verdict on a cell is not the expected one.
pub(super) fn judge(case: Case, verdict: Result<(), String>) -> Option<String> {
    let name = case.name();
    let listed = |patterns: &[&str]| patterns.iter().any(|pattern| matches(pattern, case));
    match verdict {
        Ok(()) if listed(EXPECTED_TO_FAIL) => {
            Some(format!("{name}: the law holds; remove it from EXPECTED_TO_FAIL"))
        }
        Err(why) if !listed(EXPECTED_TO_FAIL) && !listed(MAY_FAIL) => Some(format!("{name}: {why}")),
        _ => None,
    }
}

#[test]
fn every_expected_failure_is_a_cell_of_the_matrix() {
    for pattern in EXPECTED_TO_FAIL.iter().chain(MAY_FAIL) {
        assert!(matrix().into_iter().any(|case| matches(pattern, case)), "no cell is `{pattern}`");
    }
}
