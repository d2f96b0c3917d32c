//! `matrix`: one instance of a task for each combination of values.

use super::context::{Scope, Shared};
use super::reader::Reader;
use super::tree::Entry;
use crate::model::{Diagnostic, TaskId};

/// How many instances one task may have.
const MAX_INSTANCES: usize = 10_000;
/// How many keys a matrix may have: all of them stand in every id.
const MAX_KEYS: usize = 32;

/// The instances of the task in `entry`, in the order of their values: the last key turns fastest.
pub(super) fn instances(
    shared: &Shared<'_>,
    scope: &Scope<'_>,
    entry: &Entry<'_>,
    id: &str,
) -> Vec<(TaskId, Vec<(String, String)>)> {
    let Some(matrix) = entry.value.entry("matrix") else { return vec![(TaskId::new(id), Vec::new())] };
    let reader = Reader { shared, scope, facts: None, matrix: &[], env: None };
    let mut combinations: Vec<Vec<(String, String)>> = vec![Vec::new()];
    for (number, axis) in matrix.value.entries().iter().enumerate() {
        let values = values(&reader, axis);
        if combinations.len().saturating_mul(values.len()) > MAX_INSTANCES || number >= MAX_KEYS {
            shared.problems.push(
                Diagnostic::error(
                    "manifest::matrix_too_large",
                    format!("a matrix has at most {MAX_KEYS} keys and {MAX_INSTANCES} instances"),
                )
                .label(axis.key_at, "the limit is reached here")
                .help("make several tasks of it"),
            );
            break;
        }
        combinations = combinations
            .iter()
            .flat_map(|before| {
                values.iter().map(move |value| {
                    before.iter().cloned().chain([(axis.key.to_string(), value.clone())]).collect()
                })
            })
            .collect();
    }
    let id_of = |values: &[(String, String)]| {
        let pairs: Vec<String> = values.iter().map(|(key, value)| format!("{key}={value}")).collect();
        TaskId::new(if pairs.is_empty() { id.to_owned() } else { format!("{id}[{}]", pairs.join(",")) })
    };
    combinations.into_iter().map(|values| (id_of(&values), values)).collect()
}

/// The values of one key, distinct and fit to stand in an id.
fn values(reader: &Reader<'_>, axis: &Entry<'_>) -> Vec<String> {
    let report = |diagnostic: Diagnostic| reader.shared.problems.push(diagnostic);
    let mut values = Vec::new();
    for item in axis.value.items() {
        let Some(value) = reader.text(item) else { continue };
        let unfit = |c: char| matches!(c, ',' | '=' | '[' | ']') || c.is_control() || c.is_whitespace();
        if value.is_empty() || value.contains(unfit) {
            report(
                Diagnostic::error("manifest::matrix_value", format!("`{value}` cannot stand in a task's id"))
                    .label(item.at, "empty, or holds a space or one of `,=[]`")
                    .help("take a short name here, and look up the rest by it in the command"),
            );
        } else if values.contains(&value) {
            report(
                Diagnostic::error("manifest::matrix_duplicate", format!("`{value}` is in the matrix twice"))
                    .label(item.at, "the second time")
                    .help("remove one of them"),
            );
        } else {
            values.push(value);
        }
    }
    if matches!(axis.value.items(), []) && axis.value.is_list() {
        report(
            Diagnostic::error("manifest::empty_matrix", format!("`{}` has no values", axis.key))
                .label(axis.key_at, "the task would have no instance")
                .help("list at least one value"),
        );
    }
    // Something to build, so that references to the task do not fail as well.
    if values.is_empty() {
        values.push("?".to_owned());
    }
    values
}
