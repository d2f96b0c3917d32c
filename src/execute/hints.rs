//! Guesses at what a command looked for in vain: words of its output that name a file of the workspace which
//! its private folder does not hold. A guess only adds a sentence to a failure.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use super::RunContext;
use super::exec_root::ExecRoot;
use crate::incremental::Assignment;
use crate::model::{Signature, WorkspacePath};

/// No more than these are named.
const MOST: usize = 5;

/// A sentence that says which lines to add to the manifest; none where nothing looks like it.
pub(super) fn undeclared_reads(
    context: &RunContext,
    exec_root: &ExecRoot,
    assignment: &Assignment,
    said: &[u8],
) -> Option<String> {
    exec_root.private.as_ref()?;
    let task = &assignment.task;
    let text = String::from_utf8_lossy(said);
    let dir = exec_root.working_folder(&task.dir);
    let split = |c: char| {
        c.is_whitespace()
            || matches!(c, '\'' | '"' | '`' | ':' | ',' | ';' | '(' | ')' | '<' | '>' | '=' | '[' | ']')
    };
    let mut found = BTreeSet::new();
    for word in text.split(split).filter(|word| !word.is_empty()) {
        let Some(path) = seen_from(&dir, word, exec_root.root(), context.tree.root()) else { continue };
        let missing = exec_root.dir.signature(&path) == Signature::ABSENT;
        let there = context.tree.signature(&path);
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

/// The path of the workspace that a command in the folder `dir` means by a word, be it written from there, from
/// the root of its private folder or from that of the workspace itself.
fn seen_from(dir: &Path, word: &str, private: &Path, tree: &Path) -> Option<WorkspacePath> {
    let mut full = PathBuf::new();
    for part in dir.join(word).components() {
        match part {
            Component::ParentDir => _ = full.pop(),
            Component::CurDir => {}
            part => full.push(part),
        }
    }
    let inside = full.strip_prefix(private).or_else(|_| full.strip_prefix(tree)).ok()?;
    WorkspacePath::new(inside.as_os_str().as_bytes()).ok().filter(|path| !path.is_root())
}
