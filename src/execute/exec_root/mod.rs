//! Where the commands and checks of one attempt run: in the tree itself, or in a private folder from whose
//! root the task's paths are seen just as from the workspace's.

mod check_inputs;
mod collect;
mod prepare;
mod remove;
mod setup;
mod suspend;
mod written;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(super) use check_inputs::CheckInputs;
pub(super) use collect::{discovered, no_secret, outputs, with_ways};
pub use prepare::unenforced;
pub(super) use prepare::{IsolatedDir, NotReady, PRIVATE};
pub use remove::remove_all;
pub(super) use suspend::Suspended;
pub(super) use written::writes;

use crate::execute::run_context::RunContext;
use crate::execute::staging::StagingError;
use crate::model::{Entry, EntryKind, Input, Signature, WorkspacePath};
use crate::process::Confinement;
use crate::store::Objects;
use crate::workspace::{self, Cloned, Cloning, Expected, Root, Tree};

/// How many entries of git's configuration the environment holds.
const COUNT: &str = "GIT_CONFIG_COUNT";

/// See the module.
pub(in crate::execute) struct ExecRoot {
    /// The task's paths are below this.
    pub(in crate::execute) dir: Arc<Root>,
    pub(in crate::execute) private: Option<Private>,
}

/// A file in a private folder, with the digest of that copy. Only [`ExecRoot::bring`] makes one.
pub(in crate::execute) struct Brought {
    path: WorkspacePath,
    entry: Entry,
}

impl Brought {
    /// As an input of a check.
    pub(in crate::execute) fn as_input(&self, of: &Input) -> Input {
        Input { path: self.path.clone(), entry: self.entry, ..of.clone() }
    }
}

/// How often a file that is written meanwhile is copied again.
const PATIENCE: u32 = 20;

/// Folders and variables of a private exec root. Commands in the tree share the caller's.
pub(in crate::execute) struct Private {
    /// HOME
    pub(in crate::execute) home: PathBuf,
    /// TMPDIR
    pub(in crate::execute) tmp: PathBuf,
    /// Further variables of its commands.
    pub(in crate::execute) env: Vec<(&'static str, OsString)>,
    /// Keeps its commands there, as far as this machine can.
    pub(in crate::execute) confinement: Confinement,
}

impl ExecRoot {
    /// The tree itself.
    pub(in crate::execute) fn tree(context: &RunContext) -> Self {
        Self { dir: context.tree.as_root(), private: None }
    }

    /// The folder that stands for the workspace's root.
    pub(in crate::execute) fn root(&self) -> &Path {
        self.dir.root()
    }

    /// Reads a file that the task sees, links followed.
    pub(in crate::execute) fn read(&self, path: &WorkspacePath) -> std::io::Result<Vec<u8>> {
        self.dir.read(path)
    }

    /// Copies the present file of the tree at `path` into this private folder, and replaces the file there. The entry
    /// is that of the copy, so the bytes that can be read here are the bytes that were hashed.
    pub(in crate::execute) fn bring(
        &self,
        tree: &Tree,
        path: &WorkspacePath,
    ) -> Result<Brought, StagingError> {
        let to = path.under(self.root());
        if tree.is_folder(path) {
            workspace::make_folder(&to)?;
            return Ok(Brought { path: path.clone(), entry: self.dir.observe(path).entry });
        }
        let mut patience = PATIENCE;
        loop {
            self.clear(path)?;
            match workspace::clone_file(&path.under(tree.root()), &to, Expected::Anything)? {
                Cloned::Shared | Cloned::Copied => break,
                Cloned::Changed if tree.signature(path) == Signature::ABSENT => break,
                Cloned::Changed if patience == 0 => {
                    return Err(StagingError(format!(
                        "{path} does not stand still long enough to be copied"
                    )));
                }
                Cloned::Changed => patience -= 1,
            }
        }
        Ok(Brought { path: path.clone(), entry: self.dir.observe(path).entry })
    }

    /// Copies files of the tree into this private folder, each only if it has the expected entry; a file without one is
    /// copied as it is. Returns the files with another entry, of which there is no copy then.
    pub(in crate::execute) fn bring_as(
        &self,
        tree: &Tree,
        files: &BTreeMap<WorkspacePath, Option<Entry>>,
    ) -> Result<Vec<WorkspacePath>, StagingError> {
        let is_folder = |entry: &Option<Entry>| entry.is_some_and(|entry| entry.kind == EntryKind::Folder);
        let (folders, files): (Vec<_>, Vec<_>) = files.iter().partition(|(_, entry)| is_folder(entry));
        for (path, _) in folders {
            workspace::make_folder(&path.under(self.root()))?;
        }
        let under = |root: &Path| files.iter().map(|(path, _)| path.under(root)).collect::<Vec<PathBuf>>();
        let (from, to) = (under(tree.root()), under(self.root()));
        let copies = from.iter().zip(&to).zip(files.iter().map(|(_, entry)| **entry));
        let copies = copies.map(|((from, to), entry)| Cloning {
            from,
            to,
            expected: entry.map_or(Expected::Anything, Expected::Entry),
        });
        let came = workspace::clone_many(&copies.collect::<Vec<_>>())?;
        let mut moved = Vec::new();
        for ((path, entry), came) in files.into_iter().zip(came) {
            match (came, entry) {
                (Cloned::Changed, Some(_)) => moved.push(path.clone()),
                (Cloned::Changed, None) => _ = self.bring(tree, path)?,
                _ => {}
            }
        }
        Ok(moved)
    }

    /// The folder `dir` as a working folder of commands.
    pub(in crate::execute) fn working_folder(&self, dir: &WorkspacePath) -> PathBuf {
        dir.under(self.root())
    }

    /// Makes a folder, and those above it.
    pub(in crate::execute) fn make_folder(&self, path: &WorkspacePath) -> Result<(), StagingError> {
        Ok(workspace::make_folder(&path.under(self.root()))?)
    }

    /// Keeps the bytes of a file among the objects.
    pub(in crate::execute) fn keep(
        &self,
        objects: &Objects,
        path: &WorkspacePath,
        entry: &Entry,
    ) -> Result<(), StagingError> {
        objects.put(&path.under(self.root()), entry).map_err(|error| StagingError(error.to_string()))
    }

    /// Writes a file from the objects.
    pub(in crate::execute) fn restore(
        &self,
        objects: &Objects,
        path: &WorkspacePath,
        entry: &Entry,
    ) -> Result<(), StagingError> {
        let mode = if entry.executable { 0o755 } else { 0o644 };
        let restored = objects.restore(entry, &path.under(self.root()), mode);
        restored.map_err(|error| StagingError(error.to_string()))
    }

    /// Copies a file or an empty folder of a result from another folder, in the place of the file that is there.
    pub(in crate::execute) fn bring_result(
        &self,
        made: &Root,
        path: &WorkspacePath,
        entry: &Entry,
    ) -> Result<(), StagingError> {
        copy(made, self.root(), path, entry)
    }

    /// Copies a file or an empty folder of a result to another folder.
    pub(in crate::execute) fn copy_result(
        &self,
        to: &Path,
        path: &WorkspacePath,
        entry: &Entry,
    ) -> Result<(), StagingError> {
        copy(&self.dir, to, path, entry)
    }

    /// Gives a link another text.
    fn turn_link(&self, link: &WorkspacePath, text: &Path) -> Result<(), StagingError> {
        self.clear(link)?;
        std::os::unix::fs::symlink(text, link.under(self.root()))
            .map_err(|error| StagingError(format!("{link} cannot be made: {error}")))
    }

    /// Removes a file, and the folders that held nothing else. A folder is no state of an edited file.
    pub(in crate::execute) fn take_away(&self, path: &WorkspacePath) -> Result<(), StagingError> {
        if self.clear(path)? {
            workspace::prune_empty_parents(self.root(), &path.under(self.root()));
        }
        Ok(())
    }

    /// Removes a file or link at `path`. Returns whether there was one.
    fn clear(&self, path: &WorkspacePath) -> Result<bool, StagingError> {
        let there = self.dir.signature(path);
        let is_file = there != Signature::ABSENT && !there.is_folder();
        if is_file {
            workspace::remove_path(&path.under(self.root()))?;
        }
        Ok(is_file)
    }

    /// Puts its own folders into an environment. A HOME that the task declares stays.
    pub(in crate::execute) fn adapt(
        &self,
        env: &mut BTreeMap<OsString, OsString>,
        declared: impl Fn(&str) -> bool,
    ) {
        let Some(private) = &self.private else { return };
        for (name, folder) in [("HOME", &private.home), ("TMPDIR", &private.tmp)] {
            if !declared(name) {
                env.insert(name.into(), folder.clone().into());
            }
        }
        // git's configuration comes numbered; the task's own declarations stay.
        let count = env.get(OsStr::new(COUNT)).and_then(|count| count.to_str()?.parse::<usize>().ok());
        let declared = count.unwrap_or(0);
        for (name, value) in &private.env {
            let (name, value) = match name.strip_suffix("_0") {
                Some(name) => (format!("{name}_{declared}"), value.clone()),
                None if *name == COUNT => (COUNT.to_owned(), (declared + 1).to_string().into()),
                None => ((*name).to_owned(), value.clone()),
            };
            env.insert(name.into(), value);
        }
    }

    /// Keeps a command in its place.
    pub(in crate::execute) fn confinement(&self) -> Option<&Confinement> {
        self.private.as_ref().map(|private| &private.confinement)
    }
}

fn copy(from: &Root, to: &Path, path: &WorkspacePath, entry: &Entry) -> Result<(), StagingError> {
    let to = path.under(to);
    if entry.kind == EntryKind::Folder {
        return Ok(workspace::make_folder(&to)?);
    }
    Ok(workspace::copy_file(&path.under(from.root()), &to)?)
}
