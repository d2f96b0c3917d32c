//! The manifest as it was in a commit, and which tasks are defined otherwise now.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::graph::{self, Plan, TaskIndex};
use crate::incremental::Caller;
use crate::manifest::{self, Location};
use crate::model::{Diagnostic, Reason, ReasonKind, Task, WorkspacePath};
use crate::worktree::{Error, Repository};

/// The plan of a commit, or why there is none: then nothing is known of any definition.
pub(super) type Before = Result<Plan, Diagnostic>;

/// Compiles the manifest as it was in `commit`. Its files are written to a temporary folder, since that is where
/// the loader reads.
pub(super) fn plan_at(
    repository: &Repository,
    commit: &str,
    location: &Location,
    caller: &Caller,
) -> Result<Before, Error> {
    let unknown = |why: &str| {
        let message =
            format!("the manifest as it was cannot be compared: {why}; every task counts as changed");
        Diagnostic::warning("affected::no_manifest_before", message)
    };
    let named = location.file.strip_prefix(&location.root).ok().and_then(path_of);
    let Some(root) = named else {
        return Ok(Err(unknown("it lies outside of the workspace")));
    };
    let folder = match tempfile::Builder::new().prefix("conductor-base-").tempdir() {
        Ok(folder) => folder,
        Err(error) => return Ok(Err(unknown(&format!("no temporary folder can be made ({error})")))),
    };
    let files = repository.files_at(commit)?;
    if files.binary_search(&root).is_err() {
        return Ok(Err(unknown(&format!("{root} was not there at {}", &commit[..10]))));
    }
    // What an include matches depends on what is ignored.
    let rules = |path: &WorkspacePath| matches!(path.name(), Some(b".gitignore" | b".conductorignore"));
    let mut wanted: Vec<WorkspacePath> =
        files.iter().filter(|path| **path == root || rules(path)).cloned().collect();
    let mut written = BTreeSet::new();
    let then = Location { file: root.under(folder.path()), root: folder.path().to_owned() };
    let loaded = loop {
        for path in &wanted {
            if let Some(bytes) = repository.read_at(commit, path)?
                && let Err(error) = write(&path.under(folder.path()), &bytes)
            {
                return Ok(Err(unknown(&format!(
                    "{path} cannot be written to a temporary folder ({error})"
                ))));
            }
        }
        written.extend(wanted);
        let loaded = manifest::load(&then, &|name| caller.text(name));
        wanted = files
            .iter()
            .filter(|path| !written.contains(*path) && loaded.origin.would_include(path))
            .cloned()
            .collect();
        if wanted.is_empty() {
            break loaded;
        }
    };
    let first = |errors: &[Diagnostic]| {
        let error = errors.iter().find(|one| one.is_error());
        unknown(error.map_or("it was invalid", |error| &error.message))
    };
    let Some(manifest) = loaded.manifest else { return Ok(Err(first(&loaded.diagnostics))) };
    Ok(graph::compile(manifest).map_err(|errors| first(&errors)))
}

fn path_of(relative: &Path) -> Option<WorkspacePath> {
    use std::os::unix::ffi::OsStrExt as _;
    WorkspacePath::new(relative.as_os_str().as_bytes()).ok()
}

fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(path, bytes)
}

/// The tasks that are new, or of which the manifest says something else than it did.
pub(super) fn redefined(now: &Plan, before: &Plan) -> BTreeMap<TaskIndex, Vec<Reason>> {
    let visible = now.indices().filter(|index| !now.is_hidden(*index));
    let differs = visible.filter_map(|index| {
        let reasons = match before.index_of(now.id(index)) {
            None => vec![Reason::new(ReasonKind::NeverBuilt)],
            Some(old) if before.fingerprint(old) == now.fingerprint(index) => return None,
            Some(old) => match (before.task(old), now.task(index)) {
                (Ok(old), Ok(new)) => differences(&old, &new),
                _ => vec![Reason::new(ReasonKind::DefinitionChanged)],
            },
        };
        Some((index, reasons))
    });
    differs.collect()
}

/// Every task, for what is not known to be the same counts as changed.
pub(super) fn everything(now: &Plan) -> BTreeMap<TaskIndex, Vec<Reason>> {
    let reason = || vec![Reason::new(ReasonKind::DefinitionChanged).name("manifest")];
    now.indices().filter(|index| !now.is_hidden(*index)).map(|index| (index, reason())).collect()
}

fn differences(old: &Task, new: &Task) -> Vec<Reason> {
    let by_name = |task: &Task| {
        let mut parts: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in task.declarations() {
            parts.entry(name).or_default().push(value);
        }
        parts
    };
    let (old, new) = (by_name(old), by_name(new));
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let mut reasons: Vec<Reason> = Vec::new();
    for name in names.into_iter().filter(|name| old.get(*name) != new.get(*name)) {
        let kind = match name.as_str() {
            "run" | "agent" | "model" | "instructions" | "instructions file" => ReasonKind::CommandChanged,
            "env" => ReasonKind::EnvChanged,
            "tool" => ReasonKind::ToolChanged,
            "check" | "check input" => ReasonKind::ValidationChanged,
            _ => ReasonKind::DefinitionChanged,
        };
        reasons.push(Reason::new(kind).name(name));
    }
    if reasons.is_empty() {
        // Only the edges are others.
        reasons.push(Reason::new(ReasonKind::DefinitionChanged).name("needs"));
    }
    reasons
}
