//! Guesses at what a command looked for in vain: words of its output that name a file of the workspace which
//! its private folder does not hold. A guess only adds a sentence to a failure.

use std::collections::BTreeSet;

use super::Site;
use super::place::Place;
use crate::incremental::Assignment;
use crate::model::{Signature, WorkspacePath};

/// No more than these are named.
const MOST: usize = 5;

/// A sentence that says which lines to add to the manifest; none where nothing looks like it.
pub(super) fn undeclared_reads(
    site: &Site,
    place: &Place,
    assignment: &Assignment,
    said: &[u8],
) -> Option<String> {
    place.private.as_ref()?;
    let task = &assignment.task;
    let text = String::from_utf8_lossy(said);
    let root = place.root().to_string_lossy().into_owned();
    let split = |c: char| {
        c.is_whitespace()
            || matches!(c, '\'' | '"' | '`' | ':' | ',' | ';' | '(' | ')' | '<' | '>' | '=' | '[' | ']')
    };
    let mut found = BTreeSet::new();
    for word in text.split(split).filter(|word| !word.is_empty()) {
        let word = word.strip_prefix(&root).map_or(word, |rest| rest.trim_start_matches('/'));
        let from_dir = |word: &str| {
            let full = if task.dir.is_root() { word.to_owned() } else { format!("{}/{word}", task.dir) };
            WorkspacePath::new(full).ok().filter(|path| !path.is_root())
        };
        let Some(path) = from_dir(word) else { continue };
        let missing = place.workspace.signature(&path) == Signature::ABSENT;
        let there = site.workspace.signature(&path);
        if missing && there != Signature::ABSENT && !path.as_bytes().starts_with(b".conductor") {
            let slash = if there.is_folder() { "/" } else { "" };
            found.insert(format!("{path}{slash}"));
        }
    }
    let named: Vec<String> = found.into_iter().take(MOST).collect();
    let first = named.first()?;
    let at = assignment.inputs_at.as_ref().map_or(String::new(), |at| format!(" ({}:{})", at.file, at.line));
    let verb = if named.len() == 1 { "is" } else { "are" };
    Some(format!(
        "its output names {}, which {verb} in the workspace but not declared by {}: add `{first}` to its `inputs`{at}",
        named.join(", "),
        task.id,
    ))
}
