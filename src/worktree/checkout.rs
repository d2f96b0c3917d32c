//! The user's working tree and index brought from one commit to another, where nothing that is not committed is lost.
//!
//! Order: the index is locked; the new files are written in a folder of their own, which needs all the disk space
//! that there will be needed; they are renamed into place, one by one; the index is replaced. HEAD comes last and is the
//! caller's. Each step leaves what a second attempt takes as done.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use git2::build::CheckoutBuilder;
use git2::{Index, IndexEntryExtendedFlag, IndexEntryFlag, Oid};
use tempfile::TempDir;

use super::Error;
use super::index::{IndexLock, SUBMODULE, index_entry, unknown};
use super::look::{Blob, Disk, Look, changes, files_below, modified, to_path};
use super::remove::Area;

/// What is to happen to a path.
struct Step {
    new: Option<Blob>,
    /// The file on disk need not change.
    stays: bool,
}

/// The way from one commit to another.
pub(super) struct Update {
    top: PathBuf,
    end: Oid,
    steps: BTreeMap<Vec<u8>, Step>,
}

impl Update {
    /// What has to change from the commit `start` (none: nothing) to `end`.
    ///
    /// # Errors
    /// [`Error::InTheWay`] with every path where something uncommitted would be lost.
    pub(super) fn plan(
        git: &git2::Repository,
        index: &Index,
        start: Option<Oid>,
        end: Oid,
    ) -> Result<Self, Error> {
        let top = git.workdir().unwrap_or(Path::new("")).to_owned();
        let changes = changes(git, start, end)?;
        let modified = modified(git, &changes)?;
        let mut steps = BTreeMap::new();
        let mut in_the_way = BTreeSet::new();
        for (path, (old, new)) in &changes {
            let entry = index.get_path(to_path(path), 0);
            let look =
                Look { top: &top, path, old: *old, new: *new, entry: entry.as_ref(), modified: &modified };
            match look.disk() {
                Disk::Free => drop(steps.insert(path.clone(), Step { new: *new, stays: false })),
                Disk::Stays => drop(steps.insert(path.clone(), Step { new: *new, stays: true })),
                Disk::Taken => drop(in_the_way.insert(PathBuf::from(to_path(path)))),
                Disk::Folder => {
                    let goes = |path: &[u8]| changes.get(path).is_some_and(|(_, new)| new.is_none());
                    in_the_way.extend(files_below(&top, path, &goes));
                    steps.insert(path.clone(), Step { new: *new, stays: false });
                }
            }
        }
        if in_the_way.is_empty() {
            Ok(Self { top, end, steps })
        } else {
            Err(Error::InTheWay { paths: in_the_way.into_iter().collect() })
        }
    }

    /// The paths that differ between the commits.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        self.steps.keys().map(|path| to_path(path).to_owned()).collect()
    }

    /// Does it, files first, then the index.
    pub(super) fn apply(
        &self,
        git: &git2::Repository,
        mut lock: IndexLock,
        area: &Area,
    ) -> Result<(), Error> {
        // Attributes decide on the line ends of the other files.
        let (rules, others): (Vec<_>, Vec<_>) =
            self.steps.iter().partition(|(path, _)| path.ends_with(b".gitattributes"));
        for steps in [rules, others] {
            let staged = self.stage(git, &steps, area)?;
            for (path, step) in &steps {
                if step.new.is_none() && !step.stays {
                    self.remove(path)?;
                }
            }
            for (path, step) in &steps {
                if step.new.is_some_and(|(_, mode)| mode != SUBMODULE) && !step.stays {
                    self.place(path, staged.path())?;
                }
            }
        }
        for (path, step) in &self.steps {
            self.update_index(lock.index(), path, step)?;
        }
        lock.commit()
    }

    /// The new files as they are to be in the working tree, in a folder of their own.
    fn stage(
        &self,
        git: &git2::Repository,
        steps: &[(&Vec<u8>, &Step)],
        area: &Area,
    ) -> Result<TempDir, Error> {
        let folder = area.make()?;
        let mut options = CheckoutBuilder::new();
        options.force().disable_pathspec_match(true).update_index(false).target_dir(folder.path());
        let mut any = false;
        for (path, step) in steps {
            if step.new.is_some_and(|(_, mode)| mode != SUBMODULE) && !step.stays {
                options.path(path.as_slice());
                any = true;
            }
        }
        if any {
            let end = git.find_object(self.end, None).map_err(Error::git("read the commit", self.end))?;
            git.checkout_tree(&end, Some(&mut options))
                .map_err(Error::git("write the files of", self.end))?;
        }
        Ok(folder)
    }

    fn remove(&self, path: &[u8]) -> Result<(), Error> {
        let path = self.top.join(to_path(path));
        match fs::remove_file(&path) {
            Err(error) if !is_absent(&error) => return Err(Error::io("remove", &path)(error)),
            _ => {}
        }
        let above = path
            .ancestors()
            .skip(1)
            .take_while(|folder| *folder != self.top && folder.starts_with(&self.top));
        for folder in above {
            if fs::remove_dir(folder).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Renames a staged file to where it belongs.
    fn place(&self, path: &[u8], staged: &Path) -> Result<(), Error> {
        let (from, to) = (staged.join(to_path(path)), self.top.join(to_path(path)));
        let folder = to.parent().unwrap_or(&self.top);
        fs::create_dir_all(folder).map_err(Error::io("make", folder))?;
        if to.symlink_metadata().is_ok_and(|found| found.is_dir()) {
            remove_empty(&to).map_err(Error::io("replace the folder", &to))?;
        }
        let placed = match fs::rename(&from, &to) {
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => across(&from, &to),
            renamed => renamed,
        };
        placed.map_err(Error::io("write", &to))
    }

    fn update_index(&self, index: &mut Index, path: &[u8], step: &Step) -> Result<(), Error> {
        let name = to_path(path);
        let Some((id, mode)) = step.new else {
            return index.remove(name, 0).map_err(Error::git("remove from the index", name.display()));
        };
        let skipped = index.get_path(name, 0).map_or(0, |entry| entry.flags_extended)
            & IndexEntryExtendedFlag::SKIP_WORKTREE.bits();
        let stat = self.top.join(name).symlink_metadata();
        let mut entry = match stat {
            // What git wrote it may trust; anything else it looks at when it is asked.
            Ok(stat) if !step.stays && mode != SUBMODULE => index_entry(path, id, mode, &stat),
            _ => unknown(path, id, mode),
        };
        entry.flags_extended = skipped;
        if skipped != 0 {
            entry.flags |= IndexEntryFlag::EXTENDED.bits();
        }
        index.add(&entry).map_err(Error::git("add to the index", name.display()))
    }
}

/// Removes a folder that holds nothing but folders.
fn remove_empty(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        remove_empty(&entry?.path())?;
    }
    fs::remove_dir(folder)
}

/// As a renaming, to another file system.
fn across(from: &Path, to: &Path) -> io::Result<()> {
    let folder = to.parent().unwrap_or(Path::new("."));
    let copied = tempfile::Builder::new().prefix(".conductor-tmp-").make_in(folder, |copy| {
        let metadata = from.symlink_metadata()?;
        if metadata.is_symlink() {
            return std::os::unix::fs::symlink(fs::read_link(from)?, copy);
        }
        fs::copy(from, copy).map(drop)
    })?;
    copied.persist(to).map(drop).map_err(|error| error.error)
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory
    )
}
