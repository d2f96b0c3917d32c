//! An attempt that runs apart, in a sandbox or a worktree: a private folder that holds what the task sees and
//! nothing else, so that the result is true of a snapshot, and the tree is touched by accepted results alone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::remove::remove_all;
use super::setup::set_up;
use super::{ExecRoot, Private};
use crate::execute::outcome::Refusal;
use crate::execute::run_context::RunContext;
use crate::execute::staging::{StagingError, make_folders};
use crate::incremental::{Assignment, Change, Moved};
use crate::model::{Entry, EntryKind, Isolation, Pattern, Sees, Signature, Task, Via, WorkspacePath};
use crate::process::confine::{Confinement, Support};
use crate::store::Marks;
use crate::workspace::{self, End, Globs, Observed, Root};
use crate::worktree::Linked;

/// The private folder of one task.
pub(in crate::execute) struct IsolatedDir {
    pub(in crate::execute) exec_root: ExecRoot,
    /// `.conductor/workspaces/TASK`
    pub(in crate::execute) folder: PathBuf,
    /// HOME, TMPDIR, and results on their way.
    pub(in crate::execute) private: PathBuf,
    /// Its content when the command started.
    pub(in crate::execute) before: BTreeMap<WorkspacePath, Signature>,
    /// Brought in by `copy`: never part of the result.
    pub(in crate::execute) copied: BTreeSet<WorkspacePath>,
    /// Made by `setup`: no write of the task.
    pub(in crate::execute) prepared: BTreeSet<WorkspacePath>,
    /// Its entry in git, if it is a worktree.
    pub(in crate::execute) linked: Option<Linked>,
    /// An earlier attempt left off in it.
    pub(in crate::execute) reopened: bool,
}

/// The private folder of a task, and the folder for its HOME, TMPDIR and results.
pub(in crate::execute) fn folders(context: &RunContext, task: &Task) -> (PathBuf, PathBuf) {
    let (name, workspaces) = (task.id.file_name(), context.folder.join(WORKSPACES));
    (workspaces.join(&name), workspaces.join(PRIVATE).join(&name))
}

/// The exec root of the task's commands, with HOME, TMPDIR and confinement.
pub(in crate::execute) fn private_root(
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
pub(in crate::execute) enum NotReady {
    /// Something that the key names is no longer as it was when the key was made.
    Moved(Vec<Moved>),
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
pub(in crate::execute) const PRIVATE: &str = ".private";

impl IsolatedDir {
    /// Makes the folder and fills it with what the task sees.
    pub(in crate::execute) fn prepare(
        context: &RunContext,
        assignment: &Assignment,
    ) -> Result<Self, NotReady> {
        let (folder, private) = folders(context, &assignment.task);
        remove_all(&private)?;
        Self::claim(context, &assignment.task, &folder)?;
        let linked = match (assignment.isolation, &context.repository) {
            (Isolation::Worktree, Some(repository)) => {
                Some(repository.create(assignment.task.id.as_str(), &folder).map_err(git_failed)?)
            }
            (Isolation::Worktree, None) => {
                return Err(StagingError("there is no git repository any more".to_owned()).into());
            }
            _ => None,
        };
        let exec_root = private_root(context, assignment, &folder, &private, linked.as_ref())?;
        let (before, copied, prepared) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        let reopened = false;
        let mut isolated = Self { exec_root, folder, private, before, copied, prepared, linked, reopened };
        match isolated.fill(context, assignment) {
            Ok(()) => Ok(isolated),
            Err(error) => {
                isolated.remove();
                // A file that went while it was copied is no failure of the task.
                Err(assignment.snapshot.guard_unwatched(&context.tree).err().map_or(error, NotReady::Moved))
            }
        }
    }

    /// Makes the private folder, empty. What conductor left in its place goes; of what others put there nothing is
    /// touched.
    fn claim(context: &RunContext, task: &Task, folder: &Path) -> Result<(), StagingError> {
        let marks = Marks::of(&context.folder);
        marks.remove_with(folder, || {
            if folder.join(".git").is_file()
                && let Some(repository) = &context.repository
            {
                let leftovers =
                    repository.leftovers(folder.parent().unwrap_or(folder)).map_err(git_failed)?;
                for leftover in leftovers.iter().filter(|leftover| leftover.place == *folder) {
                    repository.discard(leftover).map_err(git_failed)?;
                }
            }
            if marks.is_made(folder) { remove_all(folder) } else { Ok(()) }
        })?;
        marks.make(folder).map_err(|error| {
            let shown = context.shown(folder);
            StagingError(if error.kind() == std::io::ErrorKind::AlreadyExists {
                let id = &task.id;
                format!("{shown}, where {id} is to run, is not conductor's; move it elsewhere or remove it, and build again")
            } else {
                format!("cannot make {shown}: {error}")
            })
        })
    }

    fn fill(&mut self, context: &RunContext, assignment: &Assignment) -> Result<(), NotReady> {
        let task = &assignment.task;
        self.bring_what_it_sees(context, assignment)?;
        if task.incremental {
            let previous = assignment.previous.iter().filter(|(output, _)| output.entry.exists());
            let previous = previous.map(|(output, _)| (output.path.clone(), Some(output.entry)));
            // A version of a person's is left to the person.
            self.exec_root.bring_as(&context.tree, &previous.collect())?;
        }
        if let Some(linked) = &self.linked {
            let seen = self.exec_root.dir.list(&WorkspacePath::root())?;
            let files = seen.iter().filter(|path| !self.exec_root.dir.is_folder(path));
            linked.snapshot(files).map_err(git_failed)?;
        }
        self.exec_root.make_folder(&task.dir)?;
        make_folders(&self.exec_root.dir, task)?;
        // The states that an editor found can be brought back, even if the tree loses them.
        for input in assignment.action.inputs.iter().filter(|input| input.via == Via::Edits) {
            self.exec_root.keep(&context.objects, &input.path, &input.entry)?;
        }
        Ok(())
    }

    /// Puts everything that the task sees into the folder, each path in the state that the key names: from the tree
    /// where the tree holds that, else from the objects. Each copy is compared with the key, so the task reads exactly
    /// the content that the key names.
    fn bring_what_it_sees(&self, context: &RunContext, assignment: &Assignment) -> Result<(), NotReady> {
        let mut in_tree: BTreeMap<WorkspacePath, Option<Entry>> = BTreeMap::new();
        if assignment.task.sees == Sees::All {
            // Outputs of an earlier run must not pass for outputs of this one.
            let outputs = &assignment.task.outputs;
            let own = |path: &WorkspacePath| outputs.iter().any(|output| path.is_within(&output.path));
            let seen = context.tree.walk(&[WorkspacePath::root()]).paths;
            in_tree.extend(seen.into_iter().filter(|path| !own(path)).map(|path| (path, None)));
        }
        // The tree has files that the editor is not to find: it starts from a state before them.
        for path in assignment.edits.iter().filter(|path| !assignment.finds(path)) {
            in_tree.remove(path);
        }
        let inputs = assignment.action.inputs.iter().map(|input| (&input.path, input.entry));
        let needs = assignment.action.needs.iter().map(|need| (&need.path, need.entry));
        let links: BTreeSet<&WorkspacePath> = inputs
            .clone()
            .chain(needs.clone())
            .filter(|(_, entry)| entry.kind == EntryKind::Link)
            .map(|(path, _)| path)
            .collect();
        // The link and its target are inputs too, and make this path.
        let is_behind = |path: &WorkspacePath| path.folders().any(|folder| links.contains(&folder));
        let mut kept = Vec::new();
        let seen = inputs.chain(needs).filter(|(path, entry)| entry.exists() && !is_behind(path));
        for (path, entry) in seen {
            if assignment.snapshot.holds(path, &entry) {
                in_tree.insert(path.clone(), Some(entry));
            } else {
                in_tree.remove(path);
                kept.push((path, entry));
            }
        }
        let moved = self.exec_root.bring_as(&context.tree, &in_tree)?;
        if !moved.is_empty() {
            return Err(NotReady::Moved(moved.into_iter().map(Moved::File).collect()));
        }
        let brought =
            |link: &&&WorkspacePath| in_tree.contains_key(**link) && !assignment.edits.contains(**link);
        for link in links.iter().filter(brought) {
            self.settle_link(context, link)?;
        }
        kept.into_iter()
            .try_for_each(|(path, entry)| Ok(self.exec_root.restore(&context.objects, path, &entry)?))
    }

    /// Makes a link that was brought in lead to the copy: an absolute text that names the workspace becomes relative, and
    /// an empty folder at its end is created.
    pub(super) fn settle_link(&self, context: &RunContext, link: &WorkspacePath) -> Result<(), StagingError> {
        if let Some(text) = context.tree.relative_text(link) {
            self.exec_root.turn_link(link, &text)?;
        }
        if let End::Folder(folder) = context.tree.follow(link).end {
            self.exec_root.make_folder(&folder)?;
        }
        Ok(())
    }

    /// Brings in the accepted result, for checks that run alone.
    pub(in crate::execute) fn bring_result(
        &self,
        context: &RunContext,
        assignment: &Assignment,
    ) -> Result<(), StagingError> {
        let Some(record) = &assignment.record else { return Ok(()) };
        for output in &record.outputs {
            let is_brought = !record.on_branch && self.bring_entry(context, &output.path, &output.entry)?;
            if !is_brought {
                self.exec_root.restore(&context.objects, &output.path, &output.entry)?;
            }
        }
        for edited in record.edited.iter().filter(|edited| !edited.after.exists()) {
            self.exec_root.take_away(&edited.path)?;
        }
        for edited in
            record.edited.iter().filter(|edited| edited.after != edited.before && edited.after.exists())
        {
            self.exec_root.take_away(&edited.path)?;
            // In a fresh checkout the tree is all that has it.
            if !self.bring_entry(context, &edited.path, &edited.after)? {
                self.exec_root.restore(&context.objects, &edited.path, &edited.after)?;
            }
        }
        Ok(())
    }

    /// Copies a file of the tree, if it holds `entry`.
    fn bring_entry(
        &self,
        context: &RunContext,
        path: &WorkspacePath,
        entry: &Entry,
    ) -> Result<bool, StagingError> {
        let one = BTreeMap::from([(path.clone(), Some(*entry))]);
        Ok(self.exec_root.bring_as(&context.tree, &one)?.is_empty())
    }

    /// Brings in a result that lies at `made`, its edited states among the objects, for checks that run alone.
    pub(in crate::execute) fn bring_made(
        &self,
        context: &RunContext,
        made: &Root,
        outputs: &[(WorkspacePath, Observed)],
        edited: &[Change],
    ) -> Result<(), StagingError> {
        for (path, observed) in outputs {
            self.exec_root.bring_result(made, path, &observed.entry)?;
        }
        for change in edited.iter().filter(|change| !change.after.exists()) {
            self.exec_root.take_away(&change.path)?;
        }
        for change in edited.iter().filter(|change| change.after != change.before && change.after.exists()) {
            self.exec_root.restore(&context.objects, &change.path, &change.after)?;
        }
        Ok(())
    }

    /// Brings in the files of `copy`: outside the key, and never part of the result.
    pub(in crate::execute) fn bring_copies(
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
                    self.exec_root.bring(&context.tree, &path)?;
                    self.copied.insert(path);
                }
            }
        }
        self.hide_from_git(&seen)
    }

    /// Runs `setup`, and remembers its files.
    pub(in crate::execute) fn set_up(
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
    pub(in crate::execute) fn hide_from_git(&mut self, seen: &[WorkspacePath]) -> Result<(), StagingError> {
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

    /// Removes the folder with all that is in it.
    pub(in crate::execute) fn remove(mut self) {
        // Leftovers are removed when the task runs again, or by `clean`.
        let linked = self.linked.take();
        let folder = self.folder.parent().and_then(Path::parent).unwrap_or(&self.folder);
        let marks = Marks::of(folder);
        let _ = marks.remove_with(&self.folder, || {
            let _ = linked.map(Linked::remove);
            remove_all(&self.folder)
        });
        let _ = remove_all(&self.private);
        for folder in [&self.folder, &self.private] {
            workspace::prune_empty_parents(
                self.folder.parent().and_then(Path::parent).unwrap_or(folder),
                folder,
            );
        }
    }

    /// Leaves the folder for a person to look at; says where it is.
    pub(in crate::execute) fn leave(self, why: &str) -> PathBuf {
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
pub(in crate::execute) fn git_failed(error: crate::worktree::Error) -> StagingError {
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

impl Assignment {
    /// Will the task find something at this path that it edits?
    fn finds(&self, path: &WorkspacePath) -> bool {
        self.found(path).exists()
    }

    /// The state in which the task finds a path that it edits.
    pub(in crate::execute) fn found(&self, path: &WorkspacePath) -> Entry {
        let inputs = &self.action.inputs;
        let at = inputs.binary_search_by(|input| input.path.cmp(path)).ok();
        at.map(|at| &inputs[at])
            .filter(|input| input.via == Via::Edits)
            .map_or_else(Entry::absent, |input| input.entry)
    }
}
