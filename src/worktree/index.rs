//! The index of a working tree: git's lock on it, replacing it in one step, and its entries.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process;

use git2::{Index, IndexEntry, IndexTime, Oid};

use super::Error;
use super::remove::{Area, Unfinished, started};

/// git's mode of a file.
pub(super) const FILE: u32 = 0o100_644;
/// git's mode of an executable file.
pub(super) const EXECUTABLE: u32 = 0o100_755;
/// git's mode of a symbolic link.
pub(super) const LINK: u32 = 0o120_000;
/// git's mode of a submodule.
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
    held: Held,
    target: PathBuf,
    copy: PathBuf,
    index: Index,
    _folder: Unfinished,
}

impl IndexLock {
    /// Takes the lock. While it is held no `git commit`, `git add` or `git checkout` changes the index.
    ///
    /// # Errors
    /// [`Error::IndexLocked`]; an index in a format that libgit2 cannot read.
    pub(super) fn take(git: &git2::Repository, area: &Area) -> Result<Self, Error> {
        let target = git.path().join("index");
        let folder = area.make()?;
        let held = Held::take(git.path().join("index.lock"), folder.path())?;
        let copy = folder.path().join("index");
        let stamp = match fs::copy(&target, &copy) {
            Ok(_) => target.metadata().map_or(0, |metadata| metadata.mtime()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(Error::io("read", &target)(error)),
        };
        let mut index = Index::open(&copy).map_err(|error| unreadable(&target, &error))?;
        doubt_racy(&mut index, stamp).map_err(Error::git("update", target.display()))?;
        Ok(Self { held, target, copy, index, _folder: folder })
    }

    /// The index as it was, to be changed.
    pub(super) fn index(&mut self) -> &mut Index {
        &mut self.index
    }

    /// Replaces the index by what [`Self::index`] is now.
    pub(super) fn commit(mut self) -> Result<(), Error> {
        self.index.write().map_err(Error::git("write", self.target.display()))?;
        let mode = self.target.metadata().map_or(0o644, |metadata| metadata.mode() & 0o777);
        let permissions = Permissions::from_mode(mode);
        fs::set_permissions(&self.copy, permissions).map_err(Error::io("write", &self.copy))?;
        // Over the lock, as git does: the lock goes in the moment in which the index is there.
        fs::rename(&self.copy, &self.held.lock).map_err(Error::io("write", &self.held.lock))?;
        fs::rename(&self.held.lock, &self.target).map_err(Error::io("replace", &self.target))
    }
}

/// The file `index.lock`, while this program has it. Dropped, it is gone.
struct Held {
    lock: PathBuf,
}

impl Held {
    /// The lock says who holds it, from the moment on in which it is there: when its holder is dead it may go.
    fn take(lock: PathBuf, folder: &Path) -> Result<Self, Error> {
        let note = folder.join("lock");
        let holder = holder(process::id()).unwrap_or_default();
        fs::write(&note, &holder).map_err(Error::io("write", &note))?;
        let is_stale = |text: String| {
            let id = text.strip_prefix(HOLDER)?.split(' ').next()?.parse().ok()?;
            let (place, place_now) = (text.split_once(" in ")?.1, holder.split_once(" in ")?.1);
            Some(place == place_now && self::holder(id).as_deref() != Some(&text))
        };
        if fs::read_to_string(&lock).ok().and_then(is_stale) == Some(true) {
            fs::remove_file(&lock).map_err(Error::io("remove", &lock))?;
        }
        let taken = match fs::hard_link(&note, &lock) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                // A file system without hard links.
                File::create_new(&lock).and_then(|mut file| file.write_all(holder.as_bytes()))
            }
            linked => linked,
        };
        match taken {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(Error::IndexLocked { path: lock })
            }
            taken => {
                taken.map(|()| Self { lock: lock.clone() }).map_err(Error::io("lock the index by", lock))
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // After a commit it is not there, or another program's.
        if fs::read(&self.lock).is_ok_and(|text| text.starts_with(HOLDER.as_bytes())) {
            let _ = fs::remove_file(&self.lock);
        }
    }
}

/// The first words of a lock that conductor holds.
const HOLDER: &str = "held by conductor, process ";

/// A name that no other process ever has on this machine since it was started: the id alone is given again. None where
/// there is no such process.
fn holder(id: u32) -> Option<String> {
    let started = started(id)?;
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let space = fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{HOLDER}{id} started {started} in {} {}", space.display(), boot.trim()))
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
