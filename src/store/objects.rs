//! Bytes that must not be lost although the tree no longer holds them: what a result replaced, what an
//! editor found, results that stay on a branch or wait for a person. Content-addressed ([`Blobs`]), one folder per
//! workspace, apart from any cache.
//!
//! It does not know why something is kept; whoever sweeps says what is still needed. Invariants: an object
//! appears under its name only when it is whole; what is read is verified, so that damage is an error and
//! never wrong bytes; nothing here is ever linked to a file that somebody may write.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::blobs::{Blobs, Packing, has_content};
use super::{Error, failed};
use crate::model::{Digest, Entry, EntryKind};

/// Its time says when the objects were last swept.
const SWEPT: &str = ".swept";

/// A sweep reads all records, and is not worth more than one a day.
const BETWEEN_SWEEPS: Duration = Duration::from_secs(24 * 60 * 60);

/// The objects of one workspace.
#[derive(Debug)]
pub struct Objects {
    blobs: Blobs,
}

impl Objects {
    /// The objects below `folder` (`.conductor`). Nothing is made before the first one is kept.
    pub fn of(folder: &Path) -> Self {
        Self { blobs: Blobs::of(folder.join("objects"), Packing::Plain) }
    }

    /// Is the content of `entry` here? An entry without content (an empty folder, nothing) always is. The
    /// bytes are verified when they are read.
    pub fn has(&self, entry: &Entry) -> bool {
        !has_content(entry) || self.blobs.has(&entry.digest)
    }

    /// Keeps a copy of the file or link at `from`, whose content is said to be `entry`.
    ///
    /// # Errors
    /// It cannot be read, is something else by now, or cannot be kept.
    pub fn put(&self, from: &Path, entry: &Entry) -> Result<(), Error> {
        if !has_content(entry) || self.has(entry) {
            return Ok(());
        }
        let kept = self.blobs.put(from, entry, &mut |_| {});
        kept.map(drop).map_err(failed("keep the content of", from))
    }

    /// Keeps the file or link at `from` by moving it here, where that is cheap and safe; nothing else may
    /// need it any more. The caller vouches for its content.
    ///
    /// # Errors
    /// It cannot be kept; then it is still where it was.
    pub fn take(&self, from: &Path, entry: &Entry) -> Result<(), Error> {
        let alone = from.symlink_metadata().is_ok_and(|metadata| metadata.is_file() && metadata.nlink() == 1);
        if !alone || !has_content(entry) || self.has(entry) {
            return self.put(from, entry);
        }
        // It may fail where the place is on another device, say.
        self.blobs.take(from, &entry.digest).or_else(|_| self.put(from, entry))
    }

    /// Makes everything durable that was kept since the last call; to be called before anything is
    /// recorded that rests on it.
    ///
    /// # Errors
    /// The device refuses.
    pub fn sync(&self) -> Result<(), Error> {
        self.blobs.sync()
    }

    /// Puts the content of `entry` at `to`, in the place of a file that may be there, in one step: verified
    /// first, with the permissions `mode` (octal, before the umask) for a file. Folders that lead there are made.
    ///
    /// # Errors
    /// The object is not here or damaged, or `to` cannot be written; `to` is as it was then.
    pub fn restore(&self, entry: &Entry, to: &Path, mode: u32) -> Result<(), Error> {
        let folder = to.parent().unwrap_or(Path::new("."));
        let write = || -> io::Result<()> {
            fs::create_dir_all(folder)?;
            match entry.kind {
                EntryKind::Folder => return fs::create_dir_all(to),
                EntryKind::File | EntryKind::Link => {}
                _ => return Err(io::Error::other("there is nothing to put back")),
            }
            let mut file = tempfile::Builder::new()
                .prefix(crate::model::UNFINISHED)
                .permissions(Permissions::from_mode(mode))
                .tempfile_in(folder)?;
            if entry.kind == EntryKind::Link {
                let text = OsString::from_vec(self.blobs.read(&entry.digest, u64::MAX)?);
                let link = tempfile::Builder::new()
                    .prefix(crate::model::UNFINISHED)
                    .make_in(folder, |path| symlink(Path::new(&text), path))?;
                return link.persist(to).map(drop).map_err(|error| error.error);
            }
            self.blobs.copy_to(&entry.digest, file.as_file_mut(), u64::MAX)?;
            file.persist(to).map(drop).map_err(|error| error.error)
        };
        write().map_err(failed("put back", to))
    }

    /// The file that holds the bytes of `entry`, for readers that verify them. It may not be there.
    pub fn file(&self, entry: &Entry) -> PathBuf {
        self.blobs.place(&entry.digest)
    }

    /// The content of an object, verified.
    ///
    /// # Errors
    /// It is not here, or damaged.
    pub fn read(&self, entry: &Entry) -> Result<Vec<u8>, Error> {
        self.blobs.read(&entry.digest, u64::MAX).map_err(failed("read", &self.file(entry)))
    }

    /// Is the content of `entry` here and undamaged?
    ///
    /// # Errors
    /// It is not here, or damaged.
    pub fn verify(&self, entry: &Entry) -> Result<(), Error> {
        if !has_content(entry) {
            return Ok(());
        }
        self.blobs.verify(&entry.digest).map_err(failed("read", &self.file(entry)))
    }

    /// Sweeps where something was kept through this handle and the last sweep is a day ago. `needed` is asked
    /// only then.
    pub fn sweep_if_due(&self, needed: impl FnOnce() -> HashSet<Digest>) {
        let stamp = self.blobs.dir().join(SWEPT);
        let last = fs::metadata(&stamp).and_then(|metadata| metadata.modified()).ok();
        // A time in the future is one of a clock that was wrong.
        let recently = |last: std::time::SystemTime| last.elapsed().is_ok_and(|age| age < BETWEEN_SWEEPS);
        if !self.blobs.has_grown() || last.is_some_and(recently) {
            return;
        }
        self.sweep(&needed());
        if self.blobs.dir().is_dir() {
            // Without it the next build that keeps something sweeps once more.
            let _ = fs::remove_file(&stamp);
            let _ = File::create(&stamp);
        }
    }

    /// Removes every object whose digest is not in `needed`, and what killed writes left behind. Nobody may
    /// be keeping anything meanwhile. Returns how many bytes went.
    pub fn sweep(&self, needed: &HashSet<Digest>) -> u64 {
        let mut freed = 0;
        let _ = fs::remove_file(self.blobs.dir().join(SWEPT));
        for (digest, path, size) in self.blobs.list() {
            if digest.is_some_and(|digest| needed.contains(&digest)) {
                continue;
            }
            // What cannot be removed now is tried again by the next sweep.
            if fs::remove_file(path).is_ok() {
                freed += size;
            }
        }
        self.blobs.remove_empty_folders();
        freed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: &[u8], executable: bool) -> Entry {
        Entry { kind: EntryKind::File, executable, digest: Digest::of(bytes) }
    }

    fn world() -> (tempfile::TempDir, Objects) {
        let folder = tempfile::tempdir().unwrap();
        let objects = Objects::of(&folder.path().join(".conductor"));
        (folder, objects)
    }

    #[test]
    fn what_was_kept_comes_back_byte_for_byte_with_its_mode() {
        let (folder, objects) = world();
        let (from, to) = (folder.path().join("from"), folder.path().join("deep/to"));
        fs::write(&from, "content").unwrap();
        let entry = file(b"content", true);
        assert!(!objects.has(&entry) && objects.verify(&entry).is_err());
        objects.put(&from, &entry).unwrap();
        objects.sync().unwrap();
        assert!(objects.has(&entry));
        objects.restore(&entry, &to, 0o755).unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"content");
        assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o100, 0o100);
        symlink("content", folder.path().join("link")).unwrap();
        let link = Entry { kind: EntryKind::Link, ..file(b"content", false) };
        objects.put(&folder.path().join("link"), &link).unwrap();
        objects.restore(&link, &to, 0o644).unwrap();
        assert_eq!(fs::read_link(&to).unwrap(), Path::new("content"));
    }

    #[test]
    fn a_file_that_somebody_else_may_write_is_copied_and_not_taken() {
        let (folder, objects) = world();
        let (from, other) = (folder.path().join("from"), folder.path().join("other"));
        fs::write(&from, "shared").unwrap();
        fs::hard_link(&from, &other).unwrap();
        let entry = file(b"shared", false);
        objects.take(&from, &entry).unwrap();
        fs::write(&other, "written").unwrap();
        assert_eq!(objects.read(&entry).unwrap(), b"shared");
        fs::write(folder.path().join("mine"), "mine").unwrap();
        objects.take(&folder.path().join("mine"), &file(b"mine", false)).unwrap();
        assert!(!folder.path().join("mine").exists());
        assert_eq!(objects.read(&file(b"mine", false)).unwrap(), b"mine");
    }

    #[test]
    fn a_damaged_object_is_an_error_and_leaves_what_was_there() {
        let (folder, objects) = world();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::write(&from, "content").unwrap();
        fs::write(&to, "old").unwrap();
        let entry = file(b"content", false);
        objects.put(&from, &entry).unwrap();
        for damage in [&b"contend"[..], b"", b"content and more"] {
            let place = objects.file(&entry);
            fs::set_permissions(&place, Permissions::from_mode(0o644)).unwrap();
            fs::write(&place, damage).unwrap();
            assert!(objects.restore(&entry, &to, 0o644).is_err());
            assert_eq!(fs::read(&to).unwrap(), b"old");
            assert!(objects.read(&entry).is_err() && objects.verify(&entry).is_err());
        }
        fs::remove_file(objects.file(&entry)).unwrap();
        let error = objects.restore(&entry, &to, 0o644).unwrap_err().to_string();
        assert!(error.contains("put back") && error.contains("to"), "{error}");
        let left = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(left, 3, "the folder .conductor, from and to");
    }

    #[test]
    fn content_that_changed_meanwhile_is_not_kept() {
        let (folder, objects) = world();
        fs::write(folder.path().join("from"), "new").unwrap();
        assert!(objects.put(&folder.path().join("from"), &file(b"old", false)).is_err());
        assert!(!objects.has(&file(b"old", false)));
    }

    #[test]
    fn a_sweep_leaves_what_is_needed_and_nothing_else() {
        let (folder, objects) = world();
        for name in ["a", "b"] {
            fs::write(folder.path().join(name), name).unwrap();
            objects.put(&folder.path().join(name), &file(name.as_bytes(), false)).unwrap();
        }
        assert_eq!(objects.sweep(&HashSet::from([Digest::of(b"a")])), 1);
        assert!(objects.has(&file(b"a", false)) && !objects.has(&file(b"b", false)));
        objects.sweep(&HashSet::new());
        assert!(!folder.path().join(".conductor/objects").exists());
    }

    #[test]
    fn a_sweep_is_due_once_a_day_and_only_where_something_was_kept() {
        let (folder, objects) = world();
        let keep = |objects: &Objects, name: &str| {
            fs::write(folder.path().join(name), name).unwrap();
            objects.put(&folder.path().join(name), &file(name.as_bytes(), false)).unwrap();
        };
        let never = || -> HashSet<Digest> { panic!("it is not due") };
        objects.sweep_if_due(never);
        keep(&objects, "a");
        objects.sweep_if_due(|| HashSet::from([Digest::of(b"a")]));
        keep(&objects, "b");
        objects.sweep_if_due(never);
        let stamp = File::open(folder.path().join(".conductor/objects/.swept")).unwrap();
        stamp.set_modified(std::time::SystemTime::now() - 2 * BETWEEN_SWEEPS).unwrap();
        Objects::of(&folder.path().join(".conductor")).sweep_if_due(never);
        objects.sweep_if_due(|| HashSet::from([Digest::of(b"a")]));
        assert!(objects.has(&file(b"a", false)) && !objects.has(&file(b"b", false)));
        objects.sweep(&HashSet::new());
        assert!(!folder.path().join(".conductor/objects").exists());
    }
}
