//! Removing whole folders, and the area of unfinished things, in which a crash leaves what nobody misses.
//!
//! What git could take for a worktree is renamed before it is removed, and made before it is renamed:
//! at no moment does it see half of one.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::Error;

/// How often something is tried anew that another conductor may hinder by tidying up.
pub(super) const TRIES: usize = 20;

/// Removes a folder with all below it, a file or a link, whatever permissions a task gave the folders. Nothing
/// there is fine. No link is followed.
pub(super) fn remove_tree(path: &Path) -> Result<(), Error> {
    let is_folder = match path.symlink_metadata() {
        Ok(metadata) => metadata.is_dir(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io("remove", path)(error)),
    };
    let remove = || if is_folder { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    let removed = match remove() {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && is_folder => {
            open_up(path);
            remove()
        }
        removed => removed,
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Lets the owner write the folder and those below it. What cannot be changed shows when it is removed.
fn open_up(folder: &Path) {
    let _ = fs::set_permissions(folder, Permissions::from_mode(0o700));
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}

/// Where one workspace keeps what it is making or removing: on the file system of the repository, outside of what
/// git reads.
pub(super) struct Area {
    /// `conductor/unfinished` in git's common folder.
    folder: PathBuf,
    /// What the names begin with, so that two workspaces of one repository keep apart.
    prefix: String,
}

impl Area {
    pub(super) fn new(common_dir: &Path, workspace: &str) -> Self {
        Self { folder: common_dir.join("conductor/unfinished"), prefix: format!("{workspace}-") }
    }

    /// A new, empty folder, which goes when it is dropped.
    pub(super) fn make(&self) -> Result<TempDir, Error> {
        let make = || -> io::Result<TempDir> {
            fs::create_dir_all(&self.folder)?;
            // As any folder of git's; the umask takes its part.
            let permissions = Permissions::from_mode(0o777);
            tempfile::Builder::new().prefix(&self.prefix).permissions(permissions).tempdir_in(&self.folder)
        };
        retry(make).map_err(Error::io("make a folder in", &self.folder))
    }

    /// Makes `path`, on the same file system, disappear in one step, then removes it.
    pub(super) fn remove(&self, path: &Path) -> Result<(), Error> {
        let unfinished = self.make()?;
        match fs::rename(path, unfinished.path().join("removed")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            renamed => renamed.map_err(Error::io("remove", path))?,
        }
        remove_tree(unfinished.path())?;
        drop(unfinished);
        self.leave();
        Ok(())
    }

    /// Removes what crashes left here. Only while nothing else of this workspace is at work.
    pub(super) fn clear(&self) -> Result<(), Error> {
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(&self.prefix) {
                remove_tree(&entry.path())?;
            }
        }
        self.leave();
        Ok(())
    }

    /// Removes the folders that lead here, if they are empty.
    pub(super) fn leave(&self) {
        if fs::remove_dir(&self.folder).is_ok() {
            let _ = self.folder.parent().map(fs::remove_dir);
        }
    }
}

/// Tries again while a folder that was just made is gone: somebody else found it empty.
pub(super) fn retry<T>(mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for _ in 1..TRIES {
        match attempt() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            done => return done,
        }
    }
    attempt()
}
