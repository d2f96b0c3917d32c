//! Private copies of files, as cheap as the file system makes them: sharing their blocks where it can
//! (`reflink`), copied by the kernel elsewhere.
//!
//! It does not know the purpose of the copies.
//!
//! Invariants: a copy is never a hard link, so that nobody who writes it writes the original. A file that is
//! not what was expected, or that changes while it is copied, is never passed off as a copy: nothing is left at
//! the target then.

use std::fs::{self, File, Permissions};
use std::io::{self, Seek};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Timespec, Timestamps};

use super::files::folder_of;
use super::look::{digest_of, signature_of};
use super::{Error, parallel};
use crate::model::{Digest, Entry, EntryKind, Signature};

/// The permissions that a copy keeps. Those that make a program run as its owner are no part of a copy.
const PERMISSIONS: u32 = 0o777;

/// What a file must be for a copy of it to count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expected {
    /// As it was when it was looked at: cheap, since nothing is read for it. For a file that was so young then
    /// that its signature says little ([`Observed::racy`](super::Observed::racy)), take its entry.
    Signature(Signature),
    /// This content: the copy is read once.
    Entry(Entry),
    /// Whatever it is, as long as it does not change while it is copied.
    Anything,
}

/// What became of a copy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cloned {
    /// It shares the blocks of the original until either is written.
    Shared,
    /// It was copied (a link or an empty folder: made anew).
    Copied,
    /// There is none, because the file is not what was expected, or changed meanwhile.
    Changed,
}

/// One copy to be made; see [`clone_file`].
#[derive(Clone, Copy, Debug)]
pub struct Cloning<'a> {
    /// The original.
    pub from: &'a Path,
    /// Where the copy is to be.
    pub to: &'a Path,
    /// What the original must be.
    pub expected: Expected,
}

/// Copies a file with its permissions and its time of modification, a link as a link, a folder without
/// what is in it, to `to`, where nothing may be. Makes the folders that lead there.
///
/// The time is kept for tools that compare times: among copies, too, a result must not seem older than
/// its source.
///
/// # Errors
/// `from` cannot be read or is something special; something is at `to`, or it cannot be written. A file that is
/// gone is [`Cloned::Changed`], and so is one that became something else.
pub fn clone_file(from: &Path, to: &Path, expected: Expected) -> Result<Cloned, Error> {
    let begun = match rustix::fs::statat(CWD, from, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(Cloned::Changed),
        Err(error) => return Err(Error::io("read", from, error)),
    };
    let signature = signature_of(&begun);
    if matches!(expected, Expected::Signature(expected) if expected != signature) {
        return Ok(Cloned::Changed);
    }
    match FileType::from_raw_mode(begun.st_mode) {
        FileType::RegularFile => clone_content(from, to, signature, expected),
        FileType::Symlink => clone_link(from, to, expected),
        FileType::Directory if is_kind(expected, EntryKind::Folder) => {
            in_folder(to, || fs::create_dir(to)).map_err(|error| Error::io("make", to, error))?;
            Ok(Cloned::Copied)
        }
        FileType::Directory => Ok(Cloned::Changed),
        _ => Err(Error::io(
            "copy",
            from,
            io::Error::new(io::ErrorKind::InvalidInput, "neither a file nor a link"),
        )),
    }
}

/// As [`clone_file`], for many files, on all processors. The results are in the order of the list.
///
/// # Errors
/// As [`clone_file`]: the first failure. Other copies were made by then; they stay.
pub fn clone_many(list: &[Cloning<'_>]) -> Result<Vec<Cloned>, Error> {
    let failed = Mutex::new(None);
    let chunk = (list.len() / (parallel::threads() * 16)).clamp(1, 64);
    let cloned = parallel::map(list, chunk, Cloned::Changed, |one| {
        let mut failure = None;
        if failed.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
            match clone_file(one.from, one.to, one.expected) {
                Ok(cloned) => return cloned,
                Err(error) => failure = Some(error),
            }
        }
        if let Some(error) = failure {
            failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
        Cloned::Changed
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(cloned), Err)
}

fn is_kind(expected: Expected, kind: EntryKind) -> bool {
    !matches!(expected, Expected::Entry(entry) if entry.kind != kind)
}

fn clone_link(from: &Path, to: &Path, expected: Expected) -> Result<Cloned, Error> {
    let text = match fs::read_link(from) {
        Ok(text) => text,
        // It is no link any more.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => return Ok(Cloned::Changed),
        Err(error) => return Err(Error::io("read", from, error)),
    };
    let is_expected = match expected {
        Expected::Entry(entry) => {
            entry.kind == EntryKind::Link && entry.digest == Digest::of(text.as_os_str().as_bytes())
        }
        // A link is never changed, only replaced, and what it is now is what was looked at unless it was
        // replaced within this call.
        Expected::Signature(_) | Expected::Anything => true,
    };
    if !is_expected {
        return Ok(Cloned::Changed);
    }
    in_folder(to, || symlink(&text, to)).map_err(|error| Error::io("make", to, error))?;
    Ok(Cloned::Copied)
}

fn clone_content(from: &Path, to: &Path, begun: Signature, expected: Expected) -> Result<Cloned, Error> {
    // Should something else be there by now: no link is followed, and no pipe waited for.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let original = match rustix::fs::openat(CWD, from, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::LOOP) => return Ok(Cloned::Changed),
        Err(error) => return Err(Error::io("read", from, error)),
    };
    let mut options = fs::OpenOptions::new();
    // Nobody else's until it has its content.
    options.read(true).write(true).create_new(true).mode(0o600);
    let mut copy = in_folder(to, || options.open(to)).map_err(|error| Error::io("make", to, error))?;
    let done = fill(&original, &mut copy, begun, expected);
    if !matches!(done, Ok(Cloned::Shared | Cloned::Copied)) {
        // There is something to tell already.
        let _ = fs::remove_file(to);
    }
    done.map_err(|error| Error::io("copy", from, error))
}

fn fill(original: &File, copy: &mut File, begun: Signature, expected: Expected) -> io::Result<Cloned> {
    let is_unchanged = || rustix::fs::fstat(original).map(|stat| signature_of(&stat) == begun);
    if !is_unchanged()? {
        return Ok(Cloned::Changed);
    }
    let cloned = share_or_copy(original, copy)?;
    if !is_unchanged()? || (begun.size != copy.metadata()?.len()) {
        return Ok(Cloned::Changed);
    }
    if let Expected::Entry(entry) = expected {
        copy.rewind()?;
        let is_executable = begun.mode & 0o100 != 0;
        let is_same = entry.kind == EntryKind::File
            && entry.executable == is_executable
            && entry.digest == digest_of(copy.try_clone()?)?;
        if !is_same {
            return Ok(Cloned::Changed);
        }
    }
    let permissions = Permissions::from_mode(begun.mode & PERMISSIONS);
    copy.set_permissions(permissions)?;
    let modified = Timespec {
        tv_sec: begun.mtime_ns.div_euclid(1_000_000_000),
        tv_nsec: begun.mtime_ns.rem_euclid(1_000_000_000),
    };
    rustix::fs::futimens(copy, &Timestamps { last_access: modified, last_modification: modified })?;
    Ok(cloned)
}

fn share_or_copy(mut original: &File, mut copy: &File) -> io::Result<Cloned> {
    // Whatever it fails of (another file system, one that cannot do it), copying may not.
    if rustix::fs::ioctl_ficlone(copy, original).is_ok() {
        return Ok(Cloned::Shared);
    }
    // In the kernel, where it can.
    io::copy(&mut original, &mut copy)?;
    Ok(Cloned::Copied)
}

/// Does `make` at `path`, and again once its folder is made, where it was not there.
fn in_folder<T>(path: &Path, make: impl Fn() -> io::Result<T>) -> io::Result<T> {
    match make() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(folder_of(path))?;
            make()
        }
        made => made,
    }
}

#[cfg(test)]
mod tests;
