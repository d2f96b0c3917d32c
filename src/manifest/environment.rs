//! `env`, `pass_env` and `secrets`.

use std::collections::BTreeMap;

use super::fill::Mode;
use super::names::is_variable;
use super::reader::Reader;
use super::tree::{Kind, Node};
use crate::model::{At, Diagnostic, EnvValue, EnvVar};

/// The variables of several `env` keys, later ones laid over earlier ones, sorted by name.
pub(super) fn env<'n, 's: 'n>(reader: &Reader<'_>, nodes: impl Iterator<Item = &'n Node<'s>>) -> Vec<EnvVar> {
    let mut vars = BTreeMap::new();
    for node in nodes {
        match &node.kind {
            Kind::Map(entries) => {
                for entry in entries {
                    check_name(reader, &entry.key, entry.key_at);
                    let value = reader.filled(&entry.value, Mode::Text);
                    if let Some(value) = value {
                        vars.insert(
                            entry.key.to_string(),
                            (EnvValue::Literal(value.into_owned()), entry.key_at),
                        );
                    }
                }
            }
            Kind::List(items) => {
                for item in items {
                    if let Some(name) = item.scalar() {
                        check_name(reader, name, item.at);
                        vars.insert(name.to_owned(), (EnvValue::Caller, item.at));
                    }
                }
            }
            Kind::Scalar { .. } => {}
        }
    }
    vars.into_iter().map(|(name, (value, at))| EnvVar { name, value, at }).collect()
}

/// The names of `pass_env` or `secrets`, sorted.
pub(super) fn names<'n, 's: 'n>(
    nodes: impl IntoIterator<Item = &'n Node<'s>>,
    reader: &Reader<'_>,
) -> Vec<String> {
    let mut names = Vec::new();
    for item in nodes.into_iter().flat_map(Node::items) {
        if let Some(name) = item.scalar() {
            check_name(reader, name, item.at);
            names.push(name.to_owned());
        }
    }
    names.sort_unstable();
    names.dedup();
    names
}

fn check_name(reader: &Reader<'_>, name: &str, at: At) {
    if !is_variable(name) {
        reader.shared.problems.push(
            Diagnostic::error("manifest::bad_variable_name", format!("`{name}` cannot name a variable"))
                .label(at, "letters, digits and `_`, not a digit first"),
        );
    }
}
