//! After the command: collects the declared outputs, and reads the depfile.

use std::os::unix::ffi::OsStringExt as _;

use super::ExecRoot;
use crate::execute::depfile;
use crate::execute::run_context::RunContext;
use crate::execute::secrets::Finder;
use crate::execute::staging::existing;
use crate::incremental::Assignment;
use crate::model::{EntryKind, Signature, Task, WorkspacePath};
use crate::workspace::{Observed, Root, Tree};

/// Every file, link and empty folder at the declared outputs, sorted by path; or the reason why they cannot count.
/// `is_foreign` says of a path in an output folder that it is not the task's.
pub(in crate::execute) fn outputs(
    context: &RunContext,
    workspace: &Root,
    task: &Task,
    is_foreign: impl Fn(&WorkspacePath, &Signature) -> bool,
) -> Result<Vec<(WorkspacePath, Observed)>, String> {
    let mut paths = Vec::new();
    for output in &task.outputs {
        let signature = workspace.signature(&output.path);
        if signature == Signature::ABSENT {
            if output.optional {
                continue;
            }
            return Err(format!("it did not make {}, which it declares as an output", output.path));
        }
        if output.folder && !signature.is_folder() {
            return Err(format!("{} is declared as a folder (with `/`), but it made a file", output.path));
        }
        let mut below = existing(workspace, &output.path).map_err(|error| error.to_string())?;
        if below.is_empty() {
            below.push(output.path.clone());
        }
        paths.extend(below.into_iter().filter(|path| !is_foreign(path, &workspace.signature(path))));
    }
    paths.sort();
    paths.dedup();
    let seen = workspace.observe_all(&paths.iter().collect::<Vec<_>>());
    let outputs: Vec<(WorkspacePath, Observed)> = paths.into_iter().zip(seen).collect();
    for (path, observed) in &outputs {
        match observed.entry.kind {
            EntryKind::Special => {
                return Err(format!("{path} is a socket, pipe or device and cannot be an output"));
            }
            EntryKind::Unreadable => return Err(format!("{path} cannot be read back")),
            EntryKind::Absent => return Err(format!("{path} vanished while it was looked at")),
            EntryKind::File | EntryKind::Link | EntryKind::Folder => {}
        }
    }
    no_secret(context, workspace, task, &outputs)?;
    Ok(outputs)
}

/// A result that holds a secret's value must not stand.
pub(in crate::execute) fn no_secret(
    context: &RunContext,
    workspace: &Root,
    task: &Task,
    outputs: &[(WorkspacePath, Observed)],
) -> Result<(), String> {
    let Some(finder) = Finder::new(&context.secrets(task)) else { return Ok(()) };
    for (path, observed) in outputs {
        if finder.finds(path.as_bytes()) {
            // Not even the message may tell its name.
            return Err("the name of an output holds the value of a secret".to_owned());
        }
        let place = path.under(workspace.root());
        let content = match observed.entry.kind {
            EntryKind::File => std::fs::read(place),
            EntryKind::Link => std::fs::read_link(place).map(|text| text.into_os_string().into_vec()),
            _ => continue,
        };
        if finder.finds(&content.map_err(|error| format!("{path}: {error}"))?) {
            return Err(format!("{path} holds the value of a secret"));
        }
    }
    Ok(())
}

/// The inputs that the depfile adds.
#[derive(Default)]
pub(in crate::execute) struct Discovered {
    /// Files that are no declared input, output or needed output.
    pub(in crate::execute) inputs: Vec<(WorkspacePath, Observed)>,
    /// Of those the ones that nobody looked at before the command started and that are younger than its
    /// start: nobody knows which content the command read.
    pub(in crate::execute) too_young: Vec<WorkspacePath>,
}

/// Reads the depfile, where the task declares one.
pub(in crate::execute) fn discovered(
    context: &RunContext,
    exec_root: &ExecRoot,
    assignment: &Assignment,
    started: i64,
) -> Result<Discovered, String> {
    let task = &assignment.task;
    let Some((path, _)) = &task.depfile else { return Ok(Discovered::default()) };
    let text = exec_root.read(path).map_err(|error| format!("its depfile {path} cannot be read: {error}"))?;
    let guarded =
        |path: &WorkspacePath| assignment.snapshot.files.binary_search_by(|seen| seen.path.cmp(path)).is_ok();
    let declared = |path: &WorkspacePath| {
        let named =
            assignment.action.inputs.iter().any(|input| !input.is_discovered() && input.path == *path);
        named || assignment.action.needs.iter().any(|need| need.path == *path)
    };
    let own = |path: &WorkspacePath| task.outputs.iter().any(|output| path.is_within(&output.path));
    let prerequisites = depfile::prerequisites(&text);
    let named = depfile::inside(exec_root.root(), &task.dir, &prerequisites);
    let mut paths = with_ways(&context.tree, named);
    paths.retain(|path| !declared(path) && !own(path));
    let seen = context.tree.observe_all(&paths.iter().collect::<Vec<_>>());
    let young = |path: &WorkspacePath, seen: &Observed| {
        seen.signature.may_be_of(started) || is_below_a_moved_folder(&context.tree, path, started)
    };
    // Apart, the command read a copy, which must equal the file of the tree.
    let copied = |path: &WorkspacePath| exec_root.dir.observe(path).entry;
    let unknown = |path: &WorkspacePath, seen: &Observed| {
        if exec_root.private.is_some() {
            !assignment.snapshot.holds(path, &seen.entry) && copied(path) != seen.entry
        } else {
            !guarded(path) && young(path, seen)
        }
    };
    // Apart, the result is true of the copies; the tree's files are looked at again, since no signature vouches for these.
    let read = |path: &WorkspacePath, seen: Observed| match copied(path) {
        copy if exec_root.private.is_some() && copy.exists() && copy != seen.entry => {
            Observed { signature: Signature::UNKNOWN, entry: copy, racy: true }
        }
        _ => seen,
    };
    let too_young = paths.iter().zip(&seen).filter(|(path, seen)| unknown(path, seen));
    Ok(Discovered {
        too_young: too_young.map(|(path, _)| path.clone()).collect(),
        inputs: paths
            .into_iter()
            .zip(seen)
            .map(|(path, seen)| {
                let seen = read(&path, seen);
                (path, seen)
            })
            .collect(),
    })
}

/// Was a folder on the way to `path` moved since? That sets the time of its last change of status, but not the one of its
/// content. Making or removing an entry sets both.
fn is_below_a_moved_folder(tree: &Tree, path: &WorkspacePath, started: i64) -> bool {
    let above = std::iter::successors(path.parent(), WorkspacePath::parent);
    above.filter(|folder| !folder.is_root()).any(|folder| {
        let seen = tree.signature(&folder);
        seen.may_be_of(started) && seen.ctime_ns != seen.mtime_ns
    })
}

/// The paths with everything on their ways, sorted: links, and the places at their ends.
pub(in crate::execute) fn with_ways(workspace: &Root, paths: Vec<WorkspacePath>) -> Vec<WorkspacePath> {
    let ways: Vec<WorkspacePath> = paths.iter().flat_map(|path| workspace.on_the_way(path)).collect();
    let mut all = paths;
    all.extend(ways);
    all.sort();
    all.dedup();
    all
}
