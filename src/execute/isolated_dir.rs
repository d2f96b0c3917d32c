//! An attempt that runs apart, in a sandbox or a worktree: a private folder that holds what the task sees and
//! nothing else, so that the result is true of a snapshot, and the tree is touched by accepted results alone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::RunContext;
use super::exec_root::{ExecRoot, Private};
use super::perform::{Refusal, set_up};
use super::staging::{StagingError, make_folders};
use crate::incremental::{Assignment, Change};
use crate::model::{Entry, EntryKind, Isolation, Pattern, Sees, Signature, Task, Via, WorkspacePath, Writes};
use crate::process::confine::{Confinement, Support};
use crate::workspace::{self, Cloning, Expected, Globs, Observed, Root};
use crate::worktree::Linked;

/// The private folder of one task.
pub(super) struct IsolatedDir {
    pub(super) exec_root: ExecRoot,
    /// `.conductor/workspaces/TASK`
    pub(super) folder: PathBuf,
    /// HOME, TMPDIR, and results on their way.
    pub(super) private: PathBuf,
    /// What lay in it when the command started.
    pub(super) before: BTreeMap<WorkspacePath, Signature>,
    /// Brought in by `copy`: no part of the result, whatever happens to it.
    pub(super) copied: BTreeSet<WorkspacePath>,
    /// Made by `setup`: no part of what the task writes.
    pub(super) prepared: BTreeSet<WorkspacePath>,
    /// What git knows of it, where it is a worktree.
    pub(super) linked: Option<Linked>,
    /// An earlier attempt left off in it.
    pub(super) reopened: bool,
}

/// The private folder of a task, and what belongs to it beside that.
pub(super) fn folders(context: &RunContext, task: &Task) -> (PathBuf, PathBuf) {
    let (name, workspaces) = (task.id.file_name(), context.folder.join(WORKSPACES));
    (workspaces.join(&name), workspaces.join(PRIVATE).join(&name))
}

/// Where the task's commands run, HOME and TMPDIR made, and what keeps them there.
pub(super) fn private_root(
    context: &RunContext,
    assignment: &Assignment,
    folder: &Path,
    private: &Path,
    linked: Option<&Linked>,
) -> Result<ExecRoot, StagingError> {
    let (home, tmp) = (private.join("home"), private.join("tmp"));
    for made in [folder, &home, &tmp] {
        workspace::make_folder(made)?;
    }
    let dir = Arc::new(Root::open(folder)?);
    let mut write = vec![folder.to_owned(), home.clone(), tmp.clone()];
    write.extend(linked.map(|linked| linked.git_dir().to_owned()));
    let confinement = confinement(context, assignment, write);
    Ok(ExecRoot { dir, private: Some(Private { home, tmp, env: Vec::new(), confinement }) })
}

/// Why it could not be prepared.
pub(super) enum NotReady {
    /// These inputs are no longer as they were when the key was made.
    Moved(Vec<WorkspacePath>),
    /// Something failed.
    Failed(StagingError),
}

impl<E: Into<StagingError>> From<E> for NotReady {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Where the private folders are, below `.conductor`.
const WORKSPACES: &str = "workspaces";

/// Not a task's name.
pub(super) const PRIVATE: &str = ".private";

impl IsolatedDir {
    /// Makes the folder and fills it with what the task sees.
    pub(super) fn prepare(context: &RunContext, assignment: &Assignment) -> Result<Self, NotReady> {
        let (folder, private) = folders(context, &assignment.task);
        remove_all(&private)?;
        let linked = match (assignment.isolation, &context.repository) {
            (Isolation::Worktree, Some(repository)) => {
                Some(repository.create(assignment.task.id.as_str(), &folder).map_err(git_failed)?)
            }
            (Isolation::Worktree, None) => {
                return Err(StagingError("there is no git repository any more".to_owned()).into());
            }
            _ => {
                Self::discard(context, &folder)?;
                None
            }
        };
        let exec_root = private_root(context, assignment, &folder, &private, linked.as_ref())?;
        let (before, copied, prepared) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        let reopened = false;
        let mut isolated = Self { exec_root, folder, private, before, copied, prepared, linked, reopened };
        match isolated.fill(context, assignment) {
            Ok(()) => Ok(isolated),
            Err(error) => {
                isolated.remove();
                // What went while it was copied is no failure of the task's.
                let moved = assignment.snapshot.changes(&context.tree);
                Err(if moved.is_empty() { error } else { NotReady::Moved(moved) })
            }
        }
    }

    /// Removes what stands at a place where a private folder is to be made.
    fn discard(context: &RunContext, folder: &Path) -> Result<(), StagingError> {
        if folder.join(".git").is_file()
            && let Some(repository) = &context.repository
        {
            for leftover in repository.leftovers(folder.parent().unwrap_or(folder)).map_err(git_failed)? {
                if leftover.place == *folder {
                    repository.discard(&leftover).map_err(git_failed)?;
                }
            }
        }
        remove_all(folder)
    }

    fn fill(&mut self, context: &RunContext, assignment: &Assignment) -> Result<(), NotReady> {
        let task = &assignment.task;
        self.bring_what_it_sees(context, assignment)?;
        if task.incremental {
            for (output, _) in &assignment.previous {
                if context.tree.observe(&output.path).entry == output.entry {
                    self.copy(context, &output.path)?;
                }
            }
        }
        if let Some(linked) = &self.linked {
            let seen = self.exec_root.dir.list(&WorkspacePath::root())?;
            let files = seen.iter().filter(|path| !self.exec_root.dir.is_folder(path));
            linked.snapshot(files).map_err(git_failed)?;
        }
        workspace::make_folder(&task.dir.under(self.exec_root.root()))?;
        make_folders(&self.exec_root.dir, task)?;
        let changed = assignment.snapshot.changes(&context.tree);
        if !changed.is_empty() {
            return Err(NotReady::Moved(changed));
        }
        // Whatever becomes of the tree meanwhile, what an editor found can be brought back.
        for input in assignment.action.inputs.iter().filter(|input| input.via == Via::Edits) {
            let kept = context.objects.put(&input.path.under(self.exec_root.root()), &input.entry);
            kept.map_err(|error| StagingError(error.to_string()))?;
        }
        Ok(())
    }

    /// Puts everything that the task sees into the folder, each path in the state that the key names: from the tree
    /// where the tree holds that, else from the objects.
    fn bring_what_it_sees(&self, context: &RunContext, assignment: &Assignment) -> Result<(), StagingError> {
        let mut in_tree: BTreeSet<WorkspacePath> = BTreeSet::new();
        if assignment.task.sees == Sees::All {
            // What an earlier run made must not pass for something that this one makes.
            let outputs = &assignment.task.outputs;
            let own = |path: &WorkspacePath| outputs.iter().any(|output| path.is_within(&output.path));
            let seen = context.tree.walk(&[WorkspacePath::root()]).paths;
            in_tree.extend(seen.into_iter().filter(|path| !own(path)));
        }
        // What an editor is not to find although the tree has it: a state before it came to be.
        for path in assignment.edits.iter().filter(|path| !assignment.finds(path)) {
            in_tree.remove(path);
        }
        let inputs = assignment.action.inputs.iter().map(|input| (&input.path, input.entry));
        let needs = assignment.action.needs.iter().map(|need| (&need.path, need.entry));
        let mut kept = Vec::new();
        for (path, entry) in inputs.chain(needs).filter(|(_, entry)| entry.exists()) {
            if assignment.snapshot.holds(path, &entry) {
                in_tree.insert(path.clone());
            } else {
                in_tree.remove(path);
                kept.push((path, entry));
            }
        }
        let under = |root: &Path| in_tree.iter().map(|path| path.under(root)).collect::<Vec<PathBuf>>();
        let (from, to) = (under(context.tree.root()), under(self.exec_root.root()));
        let copies = from.iter().zip(&to);
        // What changes while it is copied is found by the guard afterwards.
        let copies = copies.map(|(from, to)| Cloning { from, to, expected: Expected::Anything });
        workspace::clone_many(&copies.collect::<Vec<_>>())?;
        kept.into_iter().try_for_each(|(path, entry)| self.restore(context, path, &entry))
    }

    fn copy(&self, context: &RunContext, path: &WorkspacePath) -> Result<(), StagingError> {
        let (from, to) = (path.under(context.tree.root()), path.under(self.exec_root.root()));
        if context.tree.is_folder(path) {
            return Ok(workspace::make_folder(&to)?);
        }
        Ok(workspace::copy_file(&from, &to)?)
    }

    /// Brings in what the accepted result holds, for checks that run alone.
    pub(super) fn bring_result(
        &self,
        context: &RunContext,
        assignment: &Assignment,
    ) -> Result<(), StagingError> {
        let Some(record) = &assignment.record else { return Ok(()) };
        for output in &record.outputs {
            let there = context.tree.observe(&output.path).entry == output.entry && !record.on_branch;
            if there {
                self.copy(context, &output.path)?;
            } else {
                self.restore(context, &output.path, &output.entry)?;
            }
        }
        for edited in record.edited.iter().filter(|edited| !edited.after.exists()) {
            self.take_away(&edited.path)?;
        }
        for edited in record.edited.iter().filter(|edited| edited.after != edited.before) {
            // In a fresh checkout the tree is all that has it.
            if edited.after.exists() && context.tree.observe(&edited.path).entry == edited.after {
                self.take_away(&edited.path)?;
                self.copy(context, &edited.path)?;
            } else if edited.after.exists() {
                self.restore(context, &edited.path, &edited.after)?;
            }
        }
        Ok(())
    }

    /// Brings in a result that lies at `made`, its edited states among the objects, for checks that run alone.
    pub(super) fn bring_made(
        &self,
        context: &RunContext,
        made: &Root,
        outputs: &[(WorkspacePath, Observed)],
        edited: &[Change],
    ) -> Result<(), StagingError> {
        for (path, observed) in outputs {
            let to = path.under(self.exec_root.root());
            if observed.entry.kind == EntryKind::Folder {
                workspace::make_folder(&to)?;
            } else {
                workspace::copy_file(&path.under(made.root()), &to)?;
            }
        }
        for change in edited.iter().filter(|change| !change.after.exists()) {
            self.take_away(&change.path)?;
        }
        for change in edited.iter().filter(|change| change.after != change.before && change.after.exists()) {
            self.restore(context, &change.path, &change.after)?;
        }
        Ok(())
    }

    /// Removes a file and the folders that held nothing else. A folder is no state of an edited file.
    fn take_away(&self, path: &WorkspacePath) -> Result<(), StagingError> {
        let place = path.under(self.exec_root.root());
        if place.symlink_metadata().is_ok_and(|there| !there.is_dir()) {
            workspace::remove_path(&place)?;
            workspace::prune_empty_parents(self.exec_root.root(), &place);
        }
        Ok(())
    }

    fn restore(&self, context: &RunContext, path: &WorkspacePath, entry: &Entry) -> Result<(), StagingError> {
        let mode = if entry.executable { 0o755 } else { 0o644 };
        let restored = context.objects.restore(entry, &path.under(self.exec_root.root()), mode);
        restored.map_err(|error| StagingError(error.to_string()))
    }

    /// Brings in what the checks read, as the tree has it right now. What the task wrote at such a path without declaring
    /// it gives way: no task judges itself by a check of its own.
    pub(super) fn bring_check_inputs(
        &self,
        context: &RunContext,
        task: &Task,
        paths: &[WorkspacePath],
    ) -> Result<(), StagingError> {
        let edits = Globs::new(&task.edits)?;
        let own = |path: &WorkspacePath| {
            task.outputs.iter().any(|output| path.is_within(&output.path)) || edits.matches(path)
        };
        let is_marked = !self.before.is_empty();
        for path in paths.iter().filter(|path| context.tree.signature(path) != Signature::ABSENT) {
            let now = self.exec_root.dir.signature(path);
            let is_missing = now == Signature::ABSENT;
            let is_planted =
                is_marked && !now.is_folder() && self.before.get(path) != Some(&now) && !own(path);
            if is_planted && !is_missing {
                workspace::remove_path(&path.under(self.exec_root.root()))?;
            }
            if is_missing || is_planted {
                self.copy(context, path)?;
            }
        }
        Ok(())
    }

    /// Brings in what git has not: outside the key, and never part of the result.
    pub(super) fn bring_copies(
        &mut self,
        context: &RunContext,
        patterns: &[Pattern],
    ) -> Result<(), StagingError> {
        let seen = self.exec_root.dir.list(&WorkspacePath::root())?;
        let globs = Globs::new(patterns)?;
        for pattern in patterns.iter().filter(|pattern| !pattern.negated) {
            for path in context.tree.list(&pattern.base())? {
                let named = pattern.literal.as_ref().is_some_and(|literal| path.is_within(literal));
                if named || globs.matches(&path) {
                    self.copy(context, &path)?;
                    self.copied.insert(path);
                }
            }
        }
        self.hide_from_git(&seen)
    }

    /// Runs `setup`, and remembers what it made.
    pub(super) fn set_up(
        &mut self,
        context: &RunContext,
        assignment: &Assignment,
    ) -> Result<(), Box<Refusal>> {
        if assignment.task.setup.is_none() {
            return Ok(());
        }
        let everything = |isolated: &Self| -> Result<Vec<WorkspacePath>, StagingError> {
            Ok(isolated.exec_root.dir.list(&WorkspacePath::root())?)
        };
        let before: BTreeSet<WorkspacePath> = everything(self)?.into_iter().collect();
        set_up(context, &self.exec_root, assignment)?;
        self.prepared = everything(self)?.into_iter().filter(|path| !before.contains(path)).collect();
        let seen: Vec<WorkspacePath> =
            before.into_iter().filter(|path| !self.copied.contains(path)).collect();
        Ok(self.hide_from_git(&seen)?)
    }

    /// Lets git in a worktree pass over what was copied or prepared. `seen` is what the task sees: of a folder
    /// in which nothing of that lies the folder alone is named, so that git need not compare with every file.
    pub(super) fn hide_from_git(&mut self, seen: &[WorkspacePath]) -> Result<(), StagingError> {
        let (Some(linked), Some(private)) = (&self.linked, &mut self.exec_root.private) else {
            return Ok(());
        };
        let above = |path: &WorkspacePath| std::iter::successors(Some(path.clone()), WorkspacePath::parent);
        let seen = seen.iter().flat_map(above).chain([WorkspacePath::root()]);
        let seen: BTreeSet<WorkspacePath> = seen.collect();
        let whole = |path: &WorkspacePath| above(path).take_while(|path| !seen.contains(path)).last();
        let hidden: BTreeSet<WorkspacePath> =
            self.copied.iter().chain(&self.prepared).filter_map(whole).collect();
        private.env = linked.exclude(&hidden).map_err(git_failed)?;
        Ok(())
    }

    /// Was this brought in by `copy`, and left as it was? Then it is no output.
    pub(super) fn is_copied(&self, path: &WorkspacePath, now: &Signature) -> bool {
        self.copied.contains(path) && self.before.get(path) == Some(now)
    }

    /// Remembers what lies in the folder, to tell later what the command wrote.
    pub(super) fn mark(&mut self) -> Result<(), StagingError> {
        self.before = self.listing()?;
        Ok(())
    }

    /// Everything in the folder.
    pub(super) fn listing(&self) -> Result<BTreeMap<WorkspacePath, Signature>, StagingError> {
        let paths = self.exec_root.dir.list(&WorkspacePath::root())?;
        let bytes: Vec<&[u8]> = paths.iter().map(WorkspacePath::as_bytes).collect();
        let signatures = self.exec_root.dir.signatures(&bytes);
        Ok(paths.into_iter().zip(signatures).collect())
    }

    /// What the command wrote, changed or removed although the task declares it neither as output nor under
    /// `edits`. What git ignores does not count.
    pub(super) fn undeclared(
        &self,
        context: &RunContext,
        assignment: &Assignment,
    ) -> Result<Vec<WorkspacePath>, StagingError> {
        let task = &assignment.task;
        let now = self.listing()?;
        let edits = Globs::new(&task.edits)?;
        let moved = now.iter().filter(|(path, seen)| self.before.get(*path) != Some(*seen));
        let gone = self.before.iter().filter(|(path, _)| !now.contains_key(*path));
        let declared = |path: &WorkspacePath| {
            task.outputs.iter().any(|output| path.is_within(&output.path))
                || task.depfile.as_ref().is_some_and(|(depfile, _)| depfile == path)
                || edits.matches(path)
                || self.copied.contains(path)
                || self.prepared.contains(path)
        };
        let mut found: Vec<WorkspacePath> = moved
            .chain(gone)
            .filter(|(path, signature)| !signature.is_folder() && !declared(path))
            .map(|(path, _)| path.clone())
            .filter(|path| !context.tree.ignores(path, false))
            .filter(|path| !self.is_only_touched(context, assignment, path))
            .collect();
        found.sort();
        Ok(found)
    }

    /// Has it another time, but the content with which it was brought in?
    fn is_only_touched(&self, context: &RunContext, assignment: &Assignment, path: &WorkspacePath) -> bool {
        let now = self.exec_root.dir.observe(path).entry;
        let read = assignment.action.inputs.iter().map(|input| (&input.path, input.entry));
        let needed = assignment.action.needs.iter().map(|need| (&need.path, need.entry));
        let brought = read.chain(needed).find(|(input, _)| *input == path).map(|(_, entry)| entry);
        let brought = brought.unwrap_or_else(|| context.tree.observe(path).entry);
        self.before.contains_key(path) && now.exists() && now == brought
    }

    /// What became of every path that matches `edits`.
    pub(super) fn edited(&self, assignment: &Assignment) -> Result<Vec<Change>, StagingError> {
        let task = &assignment.task;
        if task.edits.is_empty() {
            return Ok(Vec::new());
        }
        let globs = Globs::new(&task.edits)?;
        let own = |path: &WorkspacePath| task.outputs.iter().any(|output| path.is_within(&output.path));
        let mut paths: BTreeSet<WorkspacePath> = assignment.edits.iter().cloned().collect();
        let now = self.exec_root.dir.list(&WorkspacePath::root())?;
        paths.extend(
            now.into_iter().filter(|path| globs.matches(path) && !own(path) && !self.copied.contains(path)),
        );
        let mut changes = Vec::new();
        for path in paths {
            let mut after = self.exec_root.dir.observe(&path).entry;
            if after.kind == EntryKind::Folder {
                after = Entry::absent();
            }
            if matches!(after.kind, EntryKind::Special | EntryKind::Unreadable) {
                return Err(StagingError(format!("{path} cannot be read back after it was edited")));
            }
            let before = assignment.found(&path);
            changes.push(Change { path, before, after });
        }
        Ok(changes)
    }

    /// Keeps the bytes of every state that is new.
    pub(super) fn keep(&self, context: &RunContext, edited: &[Change]) -> Result<(), StagingError> {
        for change in edited.iter().filter(|change| change.before != change.after) {
            let kept = context.objects.put(&change.path.under(self.exec_root.root()), &change.after);
            kept.map_err(|error| StagingError(error.to_string()))?;
        }
        Ok(())
    }

    /// Sets the outputs apart before checks run, whose changes are not the task's: returns the folder from which
    /// they are to be taken.
    pub(super) fn set_apart(&self, outputs: &[(WorkspacePath, Observed)]) -> Result<Root, StagingError> {
        let made = self.private.join("made");
        workspace::make_folder(&made)?;
        for (path, observed) in outputs {
            let to = path.under(&made);
            if observed.entry.kind == EntryKind::Folder {
                workspace::make_folder(&to)?;
            } else {
                workspace::copy_file(&path.under(self.exec_root.root()), &to)?;
            }
        }
        Ok(Root::open(&made)?)
    }

    /// Removes the folder with all that is in it.
    pub(super) fn remove(self) {
        // What cannot be removed now is removed when the task runs again, or by `clean`.
        if let Some(linked) = self.linked {
            let _ = linked.remove();
        }
        for folder in [&self.folder, &self.private] {
            let _ = remove_all(folder);
            workspace::prune_empty_parents(
                self.folder.parent().and_then(Path::parent).unwrap_or(folder),
                folder,
            );
        }
    }

    /// Leaves the folder for a person to look at; says where it is.
    pub(super) fn leave(self, why: &str) -> PathBuf {
        let _ = remove_all(&self.private);
        workspace::prune_empty_parents(self.folder.parent().unwrap_or(&self.folder), &self.private);
        if let Some(linked) = &self.linked {
            // Not kept on purpose, it goes with the next build; it is here until then.
            let _ = linked.keep(why);
        }
        self.folder
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` hands over")]
pub(super) fn git_failed(error: crate::worktree::Error) -> StagingError {
    StagingError(error.to_string())
}

/// It writes its own folders and nothing else, and the rest of the real tree is not there for it.
fn confinement(context: &RunContext, assignment: &Assignment, write: Vec<PathBuf>) -> Confinement {
    let git = assignment.isolation == Isolation::Worktree;
    Confinement {
        write,
        // What git has of the repository: in a worktree it is asked what changed. git's own objects it only reads,
        // since conductor commits, never the task.
        read: context.repository.iter().filter(|_| git).map(|git| git.common_dir().to_owned()).collect(),
        hide: vec![context.tree.root().to_owned()],
        network: assignment.task.network,
        support: Support::detect(),
    }
}

/// What this machine cannot enforce for tasks that run apart, a sentence each; `network` where one of them is to
/// have none.
pub fn unenforced(network: bool) -> Vec<String> {
    let none = Vec::new;
    let network = !network;
    Confinement { write: none(), read: none(), hide: none(), network, support: Support::detect() }
        .unenforced()
}

/// How undeclared writes are taken.
pub(super) fn writes(task: &Task, isolation: Isolation) -> Writes {
    task.writes.unwrap_or(if isolation == Isolation::Worktree { Writes::Error } else { Writes::Warn })
}

/// Removes a folder, also one in which a task has forbidden writing. Nothing there is fine.
///
/// # Errors
/// Something in it cannot be removed.
pub fn remove_all(folder: &Path) -> Result<(), StagingError> {
    use std::os::unix::fs::PermissionsExt as _;
    fn loosen(folder: &Path) {
        let _ = std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700));
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                loosen(&entry.path());
            }
        }
    }
    if folder.symlink_metadata().is_err() {
        return Ok(());
    }
    if std::fs::remove_dir_all(folder).is_err() {
        loosen(folder);
        if let Err(error) = std::fs::remove_dir_all(folder)
            && folder.symlink_metadata().is_ok()
        {
            return Err(StagingError(format!("cannot remove {}: {error}", folder.display())));
        }
    }
    Ok(())
}

impl Assignment {
    /// Will the task find something at this path that it edits?
    fn finds(&self, path: &WorkspacePath) -> bool {
        self.found(path).exists()
    }

    /// The state in which the task finds a path that it edits.
    pub(super) fn found(&self, path: &WorkspacePath) -> Entry {
        let inputs = &self.action.inputs;
        let at = inputs.binary_search_by(|input| input.path.cmp(path)).ok();
        at.map(|at| &inputs[at])
            .filter(|input| input.via == Via::Edits)
            .map_or_else(Entry::absent, |input| input.entry)
    }
}
