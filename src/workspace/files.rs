//! Writing, moving, copying and removing files so that a crash leaves the old or the new, never half of
//! one, and so that a second device makes no difference.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use super::Error;
use crate::model::UNFINISHED;

/// Replaces the file at `path` by one with `bytes` as its content. Durable: after this returns, a power
/// cut leaves the new content (the file is synced before the renaming, its folder after it).
///
/// # Errors
/// The folder is not there or may not be written, or the disk is full; the old file is untouched then.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let folder = folder_of(path);
    let write = || -> io::Result<()> {
        // The umask takes its part of these permissions, as from any file that a program makes.
        let permissions = Permissions::from_mode(0o666);
        let mut file =
            tempfile::Builder::new().prefix(UNFINISHED).permissions(permissions).tempfile_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        File::open(folder)?.sync_all()
    };
    write().map_err(|error| Error::io("write", path, error))
}

/// Moves a file, link or folder to `to`, making the folders that lead there. A file at `to` is replaced, a
/// folder only where it is empty. Works across devices: the copy is complete before the original goes.
///
/// # Errors
/// `from` is not there, or `to` cannot be written.
pub fn move_path(from: &Path, to: &Path) -> Result<(), Error> {
    let renamed = match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && from.symlink_metadata().is_ok() => {
            make_folder(folder_of(to))?;
            fs::rename(from, to)
        }
        renamed => renamed,
    };
    let moved = match renamed {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => move_across(from, to),
        moved => moved,
    };
    moved.map_err(|error| Error::io("move", from, error))
}

fn move_across(from: &Path, to: &Path) -> io::Result<()> {
    let stage = tempfile::Builder::new().prefix(UNFINISHED).tempdir_in(folder_of(to))?;
    let copy = stage.path().join("copy");
    copy_tree(from, &copy)?;
    fs::rename(&copy, to)?;
    if from.symlink_metadata()?.is_dir() { fs::remove_dir_all(from) } else { fs::remove_file(from) }
}

fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    let metadata = from.symlink_metadata()?;
    if !metadata.is_dir() {
        return copy_entry(from, to);
    }
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        copy_tree(&entry.path(), &to.join(entry.file_name()))?;
    }
    // Last, for it may forbid writing.
    fs::set_permissions(to, metadata.permissions())
}

/// Copies a file (with its permissions, sharing its blocks where the file system can) or a link (as a
/// link) to `to`, making the folders that lead there; a file at `to` is replaced in one step.
///
/// # Errors
/// `from` is not there, is a folder or something special, or `to` cannot be written.
pub fn copy_file(from: &Path, to: &Path) -> Result<(), Error> {
    let folder = folder_of(to);
    make_folder(folder)?;
    let copy = || -> io::Result<()> {
        let copied =
            tempfile::Builder::new().prefix(UNFINISHED).make_in(folder, |copy| copy_entry(from, copy))?;
        copied.persist(to).map(drop).map_err(|error| error.error)
    };
    copy().map_err(|error| Error::io("copy", from, error))
}

fn copy_entry(from: &Path, to: &Path) -> io::Result<()> {
    let kind = from.symlink_metadata()?.file_type();
    if kind.is_symlink() {
        symlink(fs::read_link(from)?, to)
    } else if kind.is_file() {
        // The kernel copies (`copy_file_range`), by reference where the file system can.
        fs::copy(from, to).map(drop)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "neither a file nor a link"))
    }
}

/// Removes a file, a link or an empty folder. Nothing there is fine.
///
/// # Errors
/// A folder that is not empty, or one that may not be written.
pub fn remove_path(path: &Path) -> Result<(), Error> {
    let removed = match path.symlink_metadata() {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if is_absent(&error) => Ok(()),
        done => done.map_err(|error| Error::io("remove", path, error)),
    }
}

/// Removes the folders above `path` that became empty, from the innermost on, up to but not including
/// `root`. Stops at the first one that is not empty or cannot be removed.
pub fn prune_empty_parents(root: &Path, path: &Path) {
    for folder in path.ancestors().skip(1).take_while(|folder| *folder != root && folder.starts_with(root)) {
        match fs::remove_dir(folder) {
            Err(error) if !is_absent(&error) => break,
            _ => {}
        }
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// The folder that a file is in.
pub(super) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes a folder and those above it, where they are not there.
pub fn make_folder(folder: &Path) -> Result<(), Error> {
    // Somebody else may at this very moment remove an empty folder on the way there.
    let mut patience = 16;
    loop {
        match fs::create_dir_all(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && patience > 0 => patience -= 1,
            made => return made.map_err(|error| Error::io("make", folder, error)),
        }
    }
}
