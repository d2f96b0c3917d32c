//! Removing whole folders, and the area of unfinished things, in which a crash leaves what nobody misses.
//!
//! What git could take for a worktree is renamed before it is removed, and made before it is renamed:
//! at no moment does it see half of one.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process;

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
#[derive(Clone, Debug)]
pub(super) struct Area {
    /// `conductor/unfinished` in git's common folder.
    folder: PathBuf,
    /// What the names begin with, so that two workspaces of one repository keep apart.
    workspace: String,
}

/// The file in a folder of the area that names locks of git's, one a line, which its maker takes and gives back.
const LOCKS: &str = "locks";

impl Area {
    pub(super) fn new(common_dir: &Path, workspace: &str) -> Self {
        Self { folder: common_dir.join("conductor/unfinished"), workspace: workspace.to_owned() }
    }

    /// A new, empty folder.
    pub(super) fn make(&self) -> Result<Unfinished, Error> {
        let prefix = format!("{}-{}-", self.workspace, maker(process::id()).unwrap_or_default());
        let make = || -> io::Result<TempDir> {
            fs::create_dir_all(&self.folder)?;
            // As any folder of git's; the umask takes its part.
            let permissions = Permissions::from_mode(0o777);
            tempfile::Builder::new().prefix(&prefix).permissions(permissions).tempdir_in(&self.folder)
        };
        let folder = retry(make).map_err(Error::io("make a folder in", &self.folder))?;
        Ok(Unfinished { folder, area: self.clone() })
    }

    /// Makes `path`, on the same file system, disappear in one step, then removes it.
    pub(super) fn remove(&self, path: &Path) -> Result<(), Error> {
        let unfinished = self.make()?;
        match fs::rename(path, unfinished.path().join("removed")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            renamed => renamed.map_err(Error::io("remove", path))?,
        }
        remove_tree(unfinished.path())
    }

    /// A note that the lock files `locks` of git's are about to be taken, for as long as it lives: libgit2 leaves them
    /// behind when it is killed, and then nobody could move that reference any more.
    pub(super) fn note(&self, locks: &[PathBuf]) -> Result<Unfinished, Error> {
        let note = self.make()?;
        let lines: Vec<u8> =
            locks.iter().flat_map(|lock| [lock.as_os_str().as_bytes(), b"\n"].concat()).collect();
        let path = note.path().join(LOCKS);
        fs::write(&path, lines).map_err(Error::io("write", path))?;
        Ok(note)
    }

    /// Removes what processes of this workspace left here that are dead, and the locks that they held.
    pub(super) fn clear(&self) -> Result<(), Error> {
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some(rest) = name.strip_prefix(&self.workspace).and_then(|rest| rest.strip_prefix('-'))
            else {
                continue;
            };
            let made_by = rest.rsplit_once('-').map_or("", |(made_by, _)| made_by);
            let id = made_by.split('-').next().and_then(|id| id.parse().ok());
            if id.and_then(maker).as_deref() == Some(made_by) {
                continue;
            }
            let locks = fs::read(entry.path().join(LOCKS)).unwrap_or_default();
            for lock in locks.split(|byte| *byte == b'\n').filter(|lock| !lock.is_empty()) {
                remove_tree(Path::new(OsStr::from_bytes(lock)))?;
            }
            remove_tree(&entry.path())?;
        }
        self.leave();
        Ok(())
    }

    /// Removes the folders that lead here, if they are empty.
    fn leave(&self) {
        let _ = fs::remove_dir(&self.folder);
        let _ = self.folder.parent().map(fs::remove_dir);
    }
}

/// Names a process as no other one is named while the machine is up; none where there is no such process.
fn maker(id: u32) -> Option<String> {
    Some(format!("{id}-{}", started(id)?))
}

/// When a process was started, in ticks since the machine was.
pub(super) fn started(id: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    stat.rsplit(") ").next()?.split(' ').nth(19).map(str::to_owned)
}

/// A folder of the area. Dropped, it goes with all that is in it, and so does the area when it is empty.
#[derive(Debug)]
pub(super) struct Unfinished {
    folder: TempDir,
    area: Area,
}

impl Unfinished {
    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // It may have been renamed to where it belongs. What cannot be removed is found by `clear`.
        let _ = remove_tree(self.folder.path());
        self.area.leave();
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
