//! Bytes from a file into the object database.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use git2::{ObjectType, Oid};

use super::Error;
use crate::model::{Digest, WorkspacePath};

/// Files up to this size are read at once; a longer one passes through a buffer.
const AT_ONCE: u64 = 16 << 20;

/// Stores the file at `path` exactly as it is.
pub(super) fn store_as_is(git: &git2::Repository, path: &Path) -> Result<Oid, Error> {
    let size = path.symlink_metadata().map_err(Error::io("read", path))?.len();
    let objects = git.odb().map_err(Error::git("open", "the object database"))?;
    if size <= AT_ONCE {
        let bytes = fs::read(path).map_err(Error::io("read", path))?;
        return objects.write(ObjectType::Blob, &bytes).map_err(Error::git("store", path.display()));
    }
    let known = Oid::hash_file(ObjectType::Blob, path).map_err(Error::git("read", path.display()))?;
    if objects.exists(known) {
        return Ok(known);
    }
    let length =
        usize::try_from(size).map_err(|_| Error::io("read", path)(io::ErrorKind::FileTooLarge.into()))?;
    let mut writer = objects.writer(length, ObjectType::Blob).map_err(Error::git("store", path.display()))?;
    let mut file = File::open(path).map_err(Error::io("read", path))?;
    let copied = io::copy(&mut (&mut file).take(size), &mut writer).map_err(Error::io("store", path))?;
    if copied != size {
        return Err(Error::Changed { path: path.to_owned() });
    }
    writer.finalize().map_err(Error::git("store", path.display()))
}

/// Stores the link at `path`: its text.
pub(super) fn store_link(git: &git2::Repository, path: &Path) -> Result<Oid, Error> {
    let text = fs::read_link(path).map_err(Error::io("read the link", path))?;
    git.blob(text.as_os_str().as_bytes()).map_err(Error::git("store", path.display()))
}

/// Stores the file at `path` as `git add` would under the name `name`: with line ends as the repository wants them.
/// `expected` is the digest of the bytes that were accepted.
pub(super) fn store_as_added(
    git: &git2::Repository,
    path: &Path,
    name: &WorkspacePath,
    expected: Option<&Digest>,
) -> Result<Oid, Error> {
    let size = path.symlink_metadata().map_err(Error::io("read", path))?.len();
    if size <= AT_ONCE {
        let bytes = fs::read(path).map_err(Error::io("read", path))?;
        if expected.is_some_and(|expected| Digest::of(&bytes) != *expected) {
            return Err(Error::Changed { path: path.to_owned() });
        }
        return store_bytes(git, &bytes, name);
    }
    let mut hasher = blake3::Hasher::new();
    let mut writer = git.blob_writer(Some(name.as_path())).map_err(Error::git("store", name))?;
    let mut file = File::open(path).map_err(Error::io("read", path))?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        let length = file.read(&mut buffer).map_err(Error::io("read", path))?;
        if length == 0 {
            break;
        }
        hasher.update(&buffer[..length]);
        writer.write_all(&buffer[..length]).map_err(Error::io("store", path))?;
    }
    if expected.is_some_and(|expected| Digest(*hasher.finalize().as_bytes()) != *expected) {
        return Err(Error::Changed { path: path.to_owned() });
    }
    // `core.safecrlf` forbids the conversion: then the bytes as they are.
    writer
        .commit()
        .or_else(|_| store_as_is(git, path).map_err(|error| git2::Error::from_str(&error.to_string())))
        .map_err(Error::git("store", name))
}

/// As [`store_as_added`], of bytes in memory.
pub(super) fn store_bytes(git: &git2::Repository, bytes: &[u8], name: &WorkspacePath) -> Result<Oid, Error> {
    let as_they_are = || git.blob(bytes).map_err(Error::git("store", name));
    // What libgit2 may change on the way in are line ends and `$Id$`; only that is worth the way over a file.
    let may_change = bytes.contains(&b'\r') || bytes.windows(4).any(|four| four == b"$Id:");
    if !may_change {
        return as_they_are();
    }
    let mut writer = git.blob_writer(Some(name.as_path())).map_err(Error::git("store", name))?;
    writer.write_all(bytes).map_err(Error::io("store", name.as_path()))?;
    // `core.safecrlf` forbids the conversion: then the bytes as they are.
    writer.commit().or_else(|_| as_they_are())
}
