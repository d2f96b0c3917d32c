//! The user's working tree and index brought from one commit to another, where nothing that is not committed is lost.
//!
//! Order: the index is locked; the new files are written in a folder of their own, which needs all the disk space
//! that there will be needed; they are renamed into place, one by one; the index is replaced. HEAD comes last and is the
//! caller's. Each step leaves what a second attempt takes as done.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use git2::build::CheckoutBuilder;
use git2::{Index, IndexEntryExtendedFlag, IndexEntryFlag, Oid};

use super::Error;
use super::index::{EXECUTABLE, IndexLock, LINK, SUBMODULE, index_entry, unknown};
use super::look::{Blob, Disk, Look, changes, to_path};
use super::remove::{Area, Unfinished};

/// What is to happen to a path.
struct Step {
    new: Option<Blob>,
    /// The file on disk need not change.
    stays: bool,
    /// What was there when it was looked at.
    seen: Seen,
}

impl Step {
    fn is_written(&self) -> bool {
        !self.stays && self.new.is_some_and(|(_, mode)| mode != SUBMODULE)
    }
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
        let look = Look::new(git, &top, &changes)?;
        let mut steps = BTreeMap::new();
        let mut in_the_way = BTreeSet::new();
        for (path, (_, new)) in &changes {
            let seen = see(&top.join(to_path(path)));
            let entry = index.get_path(to_path(path), 0);
            let disk = look.at(path, entry.as_ref());
            match disk {
                Disk::Free | Disk::Stays => {}
                Disk::Taken => drop(in_the_way.insert(PathBuf::from(to_path(path)))),
                Disk::Folder => in_the_way.extend(look.files_that_stay(path)),
            }
            steps.insert(path.clone(), Step { new: *new, stays: matches!(disk, Disk::Stays), seen });
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
        // Attributes decide on the line ends of the other files, so that these are made when those are there.
        let written =
            self.steps.iter().filter(|(_, step)| step.is_written()).map(|(path, _)| path.as_slice());
        let (rules, others): (Vec<_>, Vec<_>) = written.partition(|path| path.ends_with(b".gitattributes"));
        let staged = self.stage(git, if rules.is_empty() { &others } else { &rules }, area)?;
        for (path, step) in &self.steps {
            if step.new.is_none() && !step.stays {
                self.check_unchanged(path)?;
                self.remove(path)?;
            }
        }
        if rules.is_empty() {
            self.place(&others, staged.path())?;
        } else {
            self.place(&rules, staged.path())?;
            let staged = self.stage(git, &others, area)?;
            self.place(&others, staged.path())?;
        }
        for (path, step) in &self.steps {
            self.update_index(lock.index(), path, step)?;
        }
        lock.commit()
    }

    /// The files `paths` as they are to be in the working tree, in a folder of their own.
    fn stage(&self, git: &git2::Repository, paths: &[&[u8]], area: &Area) -> Result<Unfinished, Error> {
        let folder = area.make()?;
        if paths.is_empty() {
            return Ok(folder);
        }
        let mut options = CheckoutBuilder::new();
        options.force().disable_pathspec_match(true).update_index(false).target_dir(folder.path());
        for path in paths {
            options.path(*path);
        }
        let end = git.find_object(self.end, None).map_err(Error::git("read the commit", self.end))?;
        git.checkout_tree(&end, Some(&mut options)).map_err(Error::git("write the files of", self.end))?;
        for path in paths {
            let staged = folder.path().join(to_path(path));
            // libgit2 passes over a file that was a folder in HEAD, or the other way around.
            if staged.symlink_metadata().is_err()
                && let Some((id, mode)) = self.steps.get(*path).and_then(|step| step.new)
            {
                write_as_stored(git, id, mode, &staged)?;
            }
        }
        Ok(folder)
    }

    /// Is what is at `path` still what was looked at? The files that were written until then are what the merge makes of
    /// them: they are in nobody's way the next time.
    fn check_unchanged(&self, path: &[u8]) -> Result<(), Error> {
        let seen = self.steps.get(path).and_then(|step| step.seen);
        match see(&self.top.join(to_path(path))) {
            // A file or a folder that went to make room.
            None => Ok(()),
            found if found == seen => Ok(()),
            _ => Err(Error::InTheWay { paths: vec![to_path(path).to_owned()] }),
        }
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

    /// Renames staged files to where they belong.
    fn place(&self, paths: &[&[u8]], staged: &Path) -> Result<(), Error> {
        for path in paths {
            self.check_unchanged(path)?;
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
            placed.map_err(Error::io("write", &to))?;
        }
        Ok(())
    }

    fn update_index(&self, index: &mut Index, path: &[u8], step: &Step) -> Result<(), Error> {
        let name = to_path(path);
        let Some((id, mode)) = step.new else {
            if index.get_path(name, 0).is_none() {
                return Ok(());
            }
            return index.remove(name, 0).map_err(Error::git("remove from the index", name.display()));
        };
        let skipped = index.get_path(name, 0).map_or(0, |entry| entry.flags_extended)
            & IndexEntryExtendedFlag::SKIP_WORKTREE.bits();
        let stat = self.top.join(name).symlink_metadata();
        let mut entry = match stat {
            // What git wrote it may trust; anything else it looks at when it is asked.
            Ok(stat) if step.is_written() => index_entry(path, id, mode, &stat),
            _ => unknown(path, id, mode),
        };
        entry.flags_extended = skipped;
        if skipped != 0 {
            entry.flags |= IndexEntryFlag::EXTENDED.bits();
        }
        index.add(&entry).map_err(Error::git("add to the index", name.display()))
    }
}

/// What `lstat` says of a file or link, as far as it changes with its content; none where there is neither, for a
/// folder too.
type Seen = Option<[i128; 4]>;

fn see(path: &Path) -> Seen {
    let found = path.symlink_metadata().ok().filter(|found| !found.is_dir())?;
    let nanoseconds = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
    let mtime = nanoseconds(found.mtime(), found.mtime_nsec());
    let ctime = nanoseconds(found.ctime(), found.ctime_nsec());
    Some([mtime, ctime, found.ino().into(), found.size().into()])
}

/// Writes a blob with its bytes as they are stored.
fn write_as_stored(git: &git2::Repository, id: Oid, mode: u32, to: &Path) -> Result<(), Error> {
    let blob = git.find_blob(id).map_err(Error::git("read the blob", id))?;
    let write = || {
        to.parent().map_or(Ok(()), fs::create_dir_all)?;
        if mode == LINK {
            return symlink(OsStr::from_bytes(blob.content()), to);
        }
        fs::write(to, blob.content())?;
        let executable = if mode == EXECUTABLE { 0o111 } else { 0 };
        let permissions = to.metadata()?.mode();
        // Who may read it may execute it.
        fs::set_permissions(to, fs::Permissions::from_mode(permissions | ((permissions >> 2) & executable)))
    };
    write().map_err(Error::io("write", to))
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
