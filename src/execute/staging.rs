//! Keeps what stands at a task's outputs safe while it runs under `isolation: none`.
//!
//! Before the command starts, everything at its output paths is moved aside: what conductor recorded, and
//! what a person put there. Files of a person inside an output folder stay, with a copy kept. The journal
//! says all of it beforehand, so that a crash can be undone. After a success the old outputs go (a
//! person's version goes to `.conductor/conflicts`); after a failure everything is put back.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::RunContext;
use crate::incremental::Assignment;
use crate::model::{Diagnostic, Entry, EntryKind, Signature, Task, WorkspacePath};
use crate::store::{BranchMove, Intent, Objects, Planned, Ticket};
use crate::workspace::{self, Root};

/// What was set aside for one attempt of one task.
pub struct Staged {
    intent: Intent,
    /// None where there is nothing to undo.
    ticket: Option<Ticket>,
    aside: PathBuf,
    /// Paths whose content is a person's, not what conductor recorded.
    persons: Vec<WorkspacePath>,
    /// What conductor recorded and what now lies aside: to be kept for a rollback.
    replaced: Vec<(WorkspacePath, Entry)>,
}

/// Why a task's outputs could not be set aside or put back.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StagingError(pub(super) String);

impl<E: Into<workspace::Error>> From<E> for StagingError {
    fn from(error: E) -> Self {
        Self(error.into().to_string())
    }
}

/// What was written so shortly before it was moved aside is read once more.
const JUST_NOW: std::time::Duration = std::time::Duration::from_secs(60);

const MOVED: &str = "moved";
const FOREIGN: &str = "foreign";

impl Staged {
    /// Sets everything aside and makes the folders of the outputs.
    pub(super) fn begin(
        context: &RunContext,
        assignment: &Assignment,
        attempt: u32,
    ) -> Result<Self, StagingError> {
        let task = &assignment.task;
        let found = Found::look(context, assignment, task.incremental)?;
        Self::begin_found(context, task, attempt, found, task.incremental, None)
    }

    /// As [`Self::begin`], where a look has been taken already. `keep` leaves the previous outputs where they
    /// are; `branch` is about to move as well.
    pub(super) fn begin_found(
        context: &RunContext,
        task: &Task,
        attempt: u32,
        found: Found,
        keep: bool,
        branch: Option<BranchMove>,
    ) -> Result<Self, StagingError> {
        let outputs = if keep { &[][..] } else { &task.outputs };
        let outputs =
            outputs.iter().map(|output| Planned { path: output.path.clone(), folder: output.folder });
        let intent = Intent {
            task: task.id.clone(),
            run: context.run.clone(),
            outputs: outputs.collect(),
            moved_aside: found.moved,
            foreign: found.foreign,
            aside: format!("{}/{}.{attempt}", context.run, task.id.file_name()),
            branch,
            landing: false,
        };
        let staged = Self::open(context, intent, found.persons, found.replaced)?;
        match staged.set_aside(&context.tree).and_then(|()| make_folders(&context.tree, task)) {
            Ok(()) => Ok(staged),
            Err(error) => {
                staged.restore(context, None)?;
                Err(error)
            }
        }
    }

    /// For a result that stays on a branch: only that moves.
    pub(super) fn open_branch(
        context: &RunContext,
        task: &Task,
        attempt: u32,
        branch: Option<BranchMove>,
    ) -> Result<Self, StagingError> {
        let intent = Intent {
            task: task.id.clone(),
            run: context.run.clone(),
            outputs: Vec::new(),
            moved_aside: Vec::new(),
            foreign: Vec::new(),
            aside: format!("{}/{}.{attempt}", context.run, task.id.file_name()),
            branch,
            landing: false,
        };
        Self::open(context, intent, Vec::new(), Vec::new())
    }

    /// Writes down what is about to happen.
    pub(super) fn open(
        context: &RunContext,
        intent: Intent,
        persons: Vec<WorkspacePath>,
        replaced: Vec<(WorkspacePath, Entry)>,
    ) -> Result<Self, StagingError> {
        let aside = context.folder.join("aside").join(&intent.aside);
        let begin = || context.journal.begin(&intent).map_err(|error| StagingError(error.to_string()));
        let ticket = (!intent.is_nothing()).then(begin).transpose()?;
        Ok(Self { intent, ticket, aside, persons, replaced })
    }

    /// What was written down.
    pub(super) fn intent(&self) -> &Intent {
        &self.intent
    }

    /// The folder that holds what was set aside.
    pub(super) fn aside(&self) -> &Path {
        &self.aside
    }

    /// Of what conductor recorded and moved aside: what turns out to be something else.
    pub(super) fn changed_aside(&self) -> Vec<WorkspacePath> {
        let changed = |(path, entry): &&(WorkspacePath, Entry)| {
            let young = self.kept(path).symlink_metadata().is_ok_and(|metadata| {
                metadata.modified().is_ok_and(|at| at.elapsed().is_ok_and(|age| age < JUST_NOW))
            });
            young && entry_at(&self.aside, &self.kept(path)) != *entry
        };
        self.replaced.iter().filter(changed).map(|(path, _)| path.clone()).collect()
    }

    /// Where a path lies that was moved aside.
    pub(super) fn kept(&self, path: &WorkspacePath) -> PathBuf {
        path.under(&self.aside.join(MOVED))
    }

    pub(super) fn set_aside(&self, workspace: &Root) -> Result<(), StagingError> {
        for (path, _) in self.foreign_files() {
            workspace::copy_file(&path.under(workspace.root()), &path.under(&self.aside.join(FOREIGN)))?;
        }
        for path in &self.intent.moved_aside {
            let place = path.under(workspace.root());
            workspace::move_path(&place, &path.under(&self.aside.join(MOVED)))?;
            // A folder must not stand where the task makes a file; one that only the old result had must not
            // show up as an empty one in the new result.
            let within = self.intent.outputs.iter().find(|output| path.is_within(&output.path));
            let keep = match within {
                Some(output) if output.folder => output.path.clone(),
                Some(output) => output.path.parent().unwrap_or_default(),
                None => WorkspacePath::root(),
            };
            workspace::prune_empty_parents(&keep.under(workspace.root()), &place);
        }
        Ok(())
    }

    /// Is this file, found inside an output folder afterwards, a person's that the task did not touch?
    pub(super) fn is_untouched(&self, path: &WorkspacePath, now: &Signature) -> bool {
        self.foreign().get(path).is_some_and(|before| *before == now)
    }

    /// Of what is a person's: the files. Empty folders have nothing to keep.
    fn foreign_files(&self) -> impl Iterator<Item = &(WorkspacePath, Signature)> {
        self.intent.foreign.iter().filter(|(_, signature)| !signature.is_folder())
    }

    fn foreign(&self) -> HashMap<&WorkspacePath, &Signature> {
        self.intent.foreign.iter().map(|(path, signature)| (path, signature)).collect()
    }

    /// The result stands. A person's version of an output that the result does not repeat is kept under
    /// `.conductor/conflicts/RUN/PATH` unless git has it; a warning names it.
    pub(super) fn keep_conflicts(
        &mut self,
        context: &RunContext,
        made: &BTreeMap<&WorkspacePath, Entry>,
    ) -> Result<Vec<Diagnostic>, StagingError> {
        let workspace = &context.tree;
        self.replaced.retain(|(path, entry)| made.get(path) != Some(entry));
        let overwritten = self.foreign_files().filter(|(path, before)| workspace.signature(path) != *before);
        let overwritten = overwritten.map(|(path, _)| (path, path.under(&self.aside.join(FOREIGN))));
        let replaced = self.persons.iter().map(|path| (path, path.under(&self.aside.join(MOVED))));
        let mut warnings = Vec::new();
        warnings.extend(self.strangers(workspace, made));
        for (path, kept) in replaced.chain(overwritten) {
            if made.get(path) == Some(&entry_at(&self.aside, &kept)) || context.git_has(&kept) {
                continue;
            }
            let place = path.under(&context.folder.join("conflicts").join(&context.run.0));
            // A copy: after a crash it is this one that goes back.
            workspace::copy_file(&kept, &place)?;
            let said = format!("your version is kept in {}", context.shown(&place));
            let message = format!("{path} was not what conductor made; {} replaced it", self.intent.task);
            warnings.push(Diagnostic::warning("build::conflict", message).help(said));
        }
        Ok(warnings)
    }

    /// Files that lie in the output folders and that this task did not make.
    fn strangers(&self, workspace: &Root, made: &BTreeMap<&WorkspacePath, Entry>) -> Option<Diagnostic> {
        let untouched =
            self.intent.foreign.iter().filter(|(path, before)| workspace.signature(path) == *before);
        let untouched = untouched.filter(|(path, _)| !made.contains_key(path));
        let names: Vec<String> = untouched.map(|(path, _)| path.to_string()).collect();
        let others = names.len().checked_sub(1)?;
        let more = if others == 0 { String::new() } else { format!(" and {others} more") };
        let message = format!(
            "{}{more} lies in an output folder of {}, which did not make it",
            names[0], self.intent.task
        );
        Some(
            Diagnostic::warning("build::foreign", message)
                .help("it is left alone, and is no part of the result"),
        )
    }

    /// The result is recorded: what was set aside is kept for a rollback, or not needed any more.
    pub fn finish(self, context: &RunContext) {
        for (path, entry) in &self.replaced {
            // Where it cannot be kept (a full disk), a rollback will say so.
            let _ = context.objects.take(&self.kept(path), entry);
        }
        if self.intent.sets_aside() {
            discard(&self.aside, &context.folder.join("aside"));
        }
        self.end(context);
    }

    fn end(self, context: &RunContext) {
        if let Some(ticket) = self.ticket {
            context.journal.end(ticket);
        }
    }

    /// The task failed: what it made goes to `failed`, for a person to look at, and everything that was set
    /// aside comes back.
    pub fn restore(self, context: &RunContext, failed: Option<&Path>) -> Result<(), StagingError> {
        restore(&context.tree, &context.folder, &self.intent, failed)?;
        self.end(context);
        Ok(())
    }
}

/// Undoes an attempt: for the worker after a failure, and for recovery after a crash.
pub(super) fn restore(
    workspace: &Root,
    folder: &Path,
    intent: &Intent,
    failed: Option<&Path>,
) -> Result<(), StagingError> {
    let aside = folder.join("aside").join(&intent.aside);
    let kept =
        |part: &str, path: &WorkspacePath| Some(path.under(&aside.join(part))).filter(|kept| is_there(kept));
    // What was to be moved and is not in its place aside was never moved: the command had not started.
    let mut in_place: HashSet<&WorkspacePath> = HashSet::new();
    let mut back: Vec<(&WorkspacePath, PathBuf)> = Vec::new();
    for path in &intent.moved_aside {
        match kept(MOVED, path) {
            Some(kept) => back.push((path, kept)),
            None => _ = in_place.insert(path),
        }
    }
    for (path, before) in &intent.foreign {
        match kept(FOREIGN, path).filter(|_| workspace.signature(path) != *before) {
            Some(kept) => back.push((path, kept)),
            None => _ = in_place.insert(path),
        }
    }
    // Edited paths are everybody's: what is no state that conductor knows was written since by a person.
    let objects = Objects::of(folder);
    let is_persons = |path: &WorkspacePath| {
        let now = workspace.observe(path).entry;
        intent.landing && now.exists() && (now.kind == EntryKind::Folder || !objects.has(&now))
    };
    for output in &intent.outputs {
        if is_persons(&output.path) {
            continue;
        }
        for path in existing(workspace, &output.path)? {
            if !in_place.contains(&path) {
                clear(workspace, &path, failed)?;
            }
        }
    }
    for (path, kept) in back {
        let place = path.under(workspace.root());
        if is_persons(path) {
            objects.put(&kept, &entry_at(&aside, &kept)).map_err(|error| StagingError(error.to_string()))?;
            continue;
        }
        if is_there(&place) {
            clear(workspace, path, failed)?;
        }
        workspace::move_path(&kept, &place)?;
    }
    discard(&aside, &folder.join("aside"));
    Ok(())
}

fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// Takes something that a failed task made out of the way.
fn clear(workspace: &Root, path: &WorkspacePath, failed: Option<&Path>) -> Result<(), StagingError> {
    let place = path.under(workspace.root());
    match failed {
        Some(failed) if !place.is_dir() || place.is_symlink() => {
            workspace::move_path(&place, &path.under(failed))?;
        }
        _ => workspace::remove_path(&place)?,
    }
    workspace::prune_empty_parents(workspace.root(), &place);
    Ok(())
}

fn discard(aside: &Path, root: &Path) {
    // What cannot be removed is removed by the next build's recovery.
    let _ = std::fs::remove_dir_all(aside);
    workspace::prune_empty_parents(root, aside);
}

/// The content of a file that was set aside.
pub(super) fn entry_at(aside: &Path, kept: &Path) -> Entry {
    let path = kept.strip_prefix(aside).ok().map(|path| path.as_os_str().as_bytes());
    let entry = Root::open(aside).ok().zip(path.and_then(|path| WorkspacePath::new(path).ok()));
    entry.map_or_else(Entry::absent, |(aside, path)| aside.observe(&path).entry)
}

/// What stands at or below a path: itself for a file, all below for a folder, nothing where nothing is.
pub(super) fn existing(workspace: &Root, path: &WorkspacePath) -> Result<Vec<WorkspacePath>, StagingError> {
    let signature = workspace.signature(path);
    if signature == Signature::ABSENT {
        return Ok(Vec::new());
    }
    if signature.is_folder() { Ok(workspace.list(path)?) } else { Ok(vec![path.clone()]) }
}

/// The folders that its outputs and its depfile lie in.
pub(super) fn make_folders(workspace: &Root, task: &Task) -> Result<(), StagingError> {
    for output in &task.outputs {
        let folder = if output.folder { Some(output.path.clone()) } else { output.path.parent() };
        if let Some(folder) = folder.filter(|folder| !folder.is_root()) {
            workspace::make_folder(&folder.under(workspace.root()))?;
        }
    }
    let depfile = task.depfile.as_ref().and_then(|(path, _)| path.parent());
    if let Some(folder) = depfile.filter(|folder| !folder.is_root()) {
        workspace::make_folder(&folder.under(workspace.root()))?;
    }
    Ok(())
}

/// Where a person removed a recorded file, the folders that held nothing else are no result of anybody.
fn prune_vacated(
    workspace: &Root,
    output: &crate::model::Output,
    recorded: &HashMap<&WorkspacePath, (Entry, Signature)>,
) {
    for path in recorded.keys().filter(|path| **path != &output.path && path.is_within(&output.path)) {
        if workspace.signature(path) == Signature::ABSENT {
            let folder = output.path.under(workspace.root());
            workspace::prune_empty_parents(&folder, &path.under(workspace.root()));
        }
    }
}

/// What stands at a task's outputs before it runs.
#[derive(Default)]
pub(super) struct Found {
    pub(super) moved: Vec<WorkspacePath>,
    pub(super) persons: Vec<WorkspacePath>,
    pub(super) foreign: Vec<(WorkspacePath, Signature)>,
    /// Of `moved`: what conductor recorded.
    pub(super) replaced: Vec<(WorkspacePath, Entry)>,
}

impl Found {
    /// `keep`: the previous outputs are to stay where they are.
    pub(super) fn look(
        context: &RunContext,
        assignment: &Assignment,
        keep: bool,
    ) -> Result<Self, StagingError> {
        let recorded: HashMap<&WorkspacePath, (Entry, Signature)> = assignment
            .previous
            .iter()
            .map(|(output, signature)| (&output.path, (output.entry, *signature)))
            .collect();
        let mut found = Self::default();
        for output in &assignment.task.outputs {
            prune_vacated(&context.tree, output, &recorded);
            for path in existing(&context.tree, &output.path)? {
                found.sort_out(context, output, path, &recorded, keep);
            }
        }
        // A depfile of an earlier run must not pass for one of this run.
        let depfile = assignment.task.depfile.iter().map(|(path, _)| path);
        let is_output =
            |path: &&WorkspacePath| assignment.task.outputs.iter().any(|o| path.is_within(&o.path));
        for path in depfile.filter(|path| !is_output(path)) {
            if is_there(&path.under(context.tree.root())) {
                found.moved.push(path.clone());
            }
        }
        for path in &assignment.leftovers {
            let is_own = |(entry, _): &(Entry, Signature)| context.tree.observe(path).entry == *entry;
            if let Some((entry, _)) = recorded.get(path).filter(|known| is_own(known)) {
                found.replaced.push((path.clone(), *entry));
                found.moved.push(path.clone());
            }
        }
        Ok(found)
    }

    fn sort_out(
        &mut self,
        context: &RunContext,
        output: &crate::model::Output,
        path: WorkspacePath,
        recorded: &HashMap<&WorkspacePath, (Entry, Signature)>,
        keep: bool,
    ) {
        let now = context.tree.signature(&path);
        let own = recorded.get(&path).is_some_and(|(entry, signature)| {
            *signature == now || context.tree.observe(&path).entry == *entry
        });
        let inside = path != output.path;
        if inside && !recorded.contains_key(&path) {
            self.foreign.push((path, now));
            return;
        }
        if !own && !now.is_folder() {
            self.persons.push(path.clone());
        }
        // An incremental task finds everything where it was; a person's version is copied, not moved.
        if !keep {
            let known = recorded.get(&path).filter(|_| own);
            self.replaced.extend(known.map(|(entry, _)| (path.clone(), *entry)));
            self.moved.push(path);
        } else if !own {
            self.persons.pop();
            self.foreign.push((path, now));
        }
    }
}
