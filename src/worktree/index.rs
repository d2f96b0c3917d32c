//! The index of a working tree: git's lock on it, replacing it in one step, and its entries.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use git2::{Index, IndexEntry, IndexTime, Oid};
use tempfile::TempDir;

use super::Error;
use super::remove::Area;

/// The mode of a submodule.
pub(super) const SUBMODULE: u32 = 0o160_000;

/// The bits of an entry's flags that tell the sides of a conflict apart.
const STAGES: u16 = 0x3000;

/// An entry whose stat data are those that git would write.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the index holds the lower 32 bits"
)]
pub(super) fn index_entry(path: &[u8], id: Oid, mode: u32, stat: &fs::Metadata) -> IndexEntry {
    IndexEntry {
        ctime: IndexTime::new(stat.ctime() as i32, stat.ctime_nsec() as u32),
        mtime: IndexTime::new(stat.mtime() as i32, stat.mtime_nsec() as u32),
        dev: stat.dev() as u32,
        ino: stat.ino() as u32,
        mode,
        uid: stat.uid(),
        gid: stat.gid(),
        file_size: stat.size() as u32,
        id,
        flags: 0,
        flags_extended: 0,
        path: path.to_vec(),
    }
}

/// An entry that says nothing of the file, so that git reads it.
pub(super) fn unknown(path: &[u8], id: Oid, mode: u32) -> IndexEntry {
    let zero = IndexTime::new(0, 0);
    IndexEntry {
        ctime: zero,
        mtime: zero,
        dev: 0,
        ino: 0,
        mode,
        uid: 0,
        gid: 0,
        file_size: 0,
        id,
        flags: 0,
        flags_extended: 0,
        path: path.to_vec(),
    }
}

/// git's lock on the index of a working tree, with a copy of the index to be changed. Dropped, it leaves the index
/// as it was.
pub(super) struct IndexLock {
    /// `index.lock`; gone when this is dropped.
    lock: PathBuf,
    target: PathBuf,
    copy: PathBuf,
    index: Index,
    committed: bool,
    _folder: TempDir,
}

/// The first words of a lock that conductor holds, before its process id.
const HOLDER: &str = "held by conductor, process ";

impl IndexLock {
    /// Takes the lock. While it is held no `git commit`, `git add` or `git checkout` changes the index.
    ///
    /// # Errors
    /// [`Error::IndexLocked`]; an index in a format that libgit2 cannot read.
    pub(super) fn take(git: &git2::Repository, area: &Area) -> Result<Self, Error> {
        let target = git.path().join("index");
        let lock = git.path().join("index.lock");
        remove_stale(&lock);
        let mut file = match File::create_new(&lock) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(Error::IndexLocked { path: lock });
            }
            file => file.map_err(Error::io("lock the index by", &lock))?,
        };
        let undo = |error| {
            let _ = fs::remove_file(&lock);
            error
        };
        let mut prepare = || {
            write!(file, "{HOLDER}{}", std::process::id()).map_err(Error::io("write", &lock))?;
            let folder = area.make()?;
            let copy = folder.path().join("index");
            let stamp = match fs::copy(&target, &copy) {
                Ok(_) => target.metadata().map_or(0, |metadata| metadata.mtime()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
                Err(error) => return Err(Error::io("read", &target)(error)),
            };
            let mut index = Index::open(&copy).map_err(|error| unreadable(&target, &error))?;
            doubt_racy(&mut index, stamp).map_err(Error::git("update", target.display()))?;
            Ok((folder, copy, index))
        };
        let (folder, copy, index) = prepare().map_err(undo)?;
        Ok(Self { lock, target, copy, index, committed: false, _folder: folder })
    }

    /// The index as it was, to be changed.
    pub(super) fn index(&mut self) -> &mut Index {
        &mut self.index
    }

    /// Replaces the index by what [`Self::index`] is now.
    pub(super) fn commit(mut self) -> Result<(), Error> {
        self.index.write().map_err(Error::git("write", self.target.display()))?;
        let permissions = self.target.metadata().map_or(0o644, |metadata| metadata.mode() & 0o777);
        let _ = fs::set_permissions(&self.copy, fs::Permissions::from_mode(permissions));
        fs::rename(&self.copy, &self.lock).map_err(Error::io("write", &self.lock))?;
        fs::rename(&self.lock, &self.target).map_err(Error::io("replace", &self.target))?;
        self.committed = true;
        Ok(())
    }
}

impl Drop for IndexLock {
    fn drop(&mut self) {
        if !self.committed {
            let _ = fs::remove_file(&self.lock);
        }
    }
}

/// Removes the lock of a conductor that was killed.
fn remove_stale(lock: &Path) {
    let holder = fs::read_to_string(lock).ok().and_then(|text| Some(text.strip_prefix(HOLDER)?.to_owned()));
    if holder.is_some_and(|id| !Path::new("/proc").join(id).exists()) {
        let _ = fs::remove_file(lock);
    }
}

fn unreadable(index: &Path, error: &git2::Error) -> Error {
    Error::Unusable {
        root: index.to_owned(),
        message: error.message().to_owned(),
        help: "a split or sparse index must be made a plain one: git update-index --no-split-index, git sparse-checkout \
               reapply --no-sparse-index",
    }
}

/// git looks at the content of files that are not older than the index, for they may have changed without a trace. The
/// new index is younger than the old one, so that these files must be marked, as git does: by a size of 0.
fn doubt_racy(index: &mut Index, stamp: i64) -> Result<(), git2::Error> {
    let racy = |entry: &IndexEntry| i64::from(entry.mtime.seconds()) >= stamp && entry.mode != SUBMODULE;
    let doubtful: Vec<IndexEntry> = index.iter().filter(racy).filter(|entry| entry.file_size != 0).collect();
    for mut entry in doubtful {
        if entry.flags & STAGES == 0 {
            entry.file_size = 0;
            index.add(&entry)?;
        }
    }
    Ok(())
}
