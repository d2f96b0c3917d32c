//! Bytes that must not be lost although the tree no longer holds them: what a result replaced, what an
//! editor found, results that stay on a branch or wait for a person. Content-addressed, one per workspace,
//! apart from any cache.
//!
//! It does not know why something is kept; whoever sweeps says what is still needed. Invariants: an object
//! appears under its name only when it is whole; what is read is verified, so that damage is an error and
//! never wrong bytes; nothing here is ever linked to a file that somebody may write.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::{Error, failed};
use crate::model::{Digest, Entry, EntryKind};

/// The beginning of the names of objects that are being written.
const UNFINISHED: &str = ".tmp-";

/// Its time says when the objects were last swept.
const SWEPT: &str = ".swept";

/// A sweep reads all records, and is not worth more than one a day.
const BETWEEN_SWEEPS: Duration = Duration::from_secs(24 * 60 * 60);

/// The objects of one workspace.
#[derive(Debug)]
pub struct Objects {
    dir: PathBuf,
    /// Written since the last [`Self::sync`].
    unsynced: Mutex<Vec<PathBuf>>,
    /// Something was kept through this handle.
    grown: AtomicBool,
}

impl Objects {
    /// The objects below `folder` (`.conductor`). Nothing is made before the first one is kept.
    pub fn of(folder: &Path) -> Self {
        Self { dir: folder.join("objects"), unsynced: Mutex::new(Vec::new()), grown: AtomicBool::new(false) }
    }

    fn place(&self, digest: &Digest) -> PathBuf {
        let hex = digest.to_hex();
        self.dir.join(&hex[..2]).join(&hex[2..])
    }

    /// Is the content of `entry` here? An entry without content (an empty folder, nothing) always is. The
    /// bytes are verified when they are read.
    pub fn has(&self, entry: &Entry) -> bool {
        !has_content(entry) || self.place(&entry.digest).is_file()
    }

    /// Keeps a copy of the file or link at `from`, whose content is said to be `entry`.
    ///
    /// # Errors
    /// It cannot be read, is something else by now, or cannot be kept.
    pub fn put(&self, from: &Path, entry: &Entry) -> Result<(), Error> {
        if !has_content(entry) || self.has(entry) {
            return Ok(());
        }
        let keep = || -> io::Result<()> {
            let mut source: Box<dyn Read> = if entry.kind == EntryKind::Link {
                Box::new(io::Cursor::new(fs::read_link(from)?.into_os_string().into_vec()))
            } else {
                Box::new(File::open(from)?)
            };
            self.write(&mut source, &entry.digest)
        };
        keep().map_err(failed("keep the content of", from))
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
        let place = self.place(&entry.digest);
        let keep = || -> io::Result<()> {
            fs::create_dir_all(place.parent().unwrap_or(&self.dir))?;
            fs::set_permissions(from, Permissions::from_mode(0o444))?;
            fs::rename(from, &place)
        };
        match keep() {
            Ok(()) => {
                self.note(place);
                Ok(())
            }
            // Another device, say.
            Err(_) => self.put(from, entry),
        }
    }

    fn write(&self, source: &mut dyn Read, digest: &Digest) -> io::Result<()> {
        let place = self.place(digest);
        let folder = place.parent().unwrap_or(&self.dir);
        fs::create_dir_all(folder)?;
        let mut file = tempfile::Builder::new()
            .prefix(UNFINISHED)
            .permissions(Permissions::from_mode(0o444))
            .tempfile_in(folder)?;
        if copy_hashing(source, file.as_file_mut())? != *digest {
            return Err(io::Error::other("it changed meanwhile"));
        }
        file.persist(&place)?;
        self.note(place);
        Ok(())
    }

    fn note(&self, place: PathBuf) {
        self.grown.store(true, Ordering::Relaxed);
        self.unsynced.lock().unwrap_or_else(PoisonError::into_inner).push(place);
    }

    /// Makes everything durable that was kept since the last call; to be called before anything is
    /// recorded that rests on it.
    ///
    /// # Errors
    /// The device refuses.
    pub fn sync(&self) -> Result<(), Error> {
        let places = std::mem::take(&mut *self.unsynced.lock().unwrap_or_else(PoisonError::into_inner));
        let mut folders: Vec<&Path> = Vec::new();
        for place in &places {
            match File::open(place).and_then(|file| file.sync_all()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(failed("sync", place)(error));
                }
                _ => folders.extend(place.parent()),
            }
        }
        folders.sort_unstable();
        folders.dedup();
        for folder in folders.into_iter().chain((!places.is_empty()).then_some(&*self.dir)) {
            super::durable::sync_dir(folder).map_err(failed("sync", folder))?;
        }
        Ok(())
    }

    /// Puts the content of `entry` at `to`, in the place of a file that may be there, in one step: verified
    /// first, with the permissions `mode` (octal, before the umask) for a file. Folders that lead there are made.
    ///
    /// # Errors
    /// The object is not here or damaged, or `to` cannot be written; `to` is as it was then.
    pub fn restore(&self, entry: &Entry, to: &Path, mode: u32) -> Result<(), Error> {
        let folder = to.parent().unwrap_or(Path::new("."));
        let place = self.place(&entry.digest);
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
            let mut source = File::open(&place)?;
            if entry.kind == EntryKind::Link {
                let mut text = Vec::new();
                source.read_to_end(&mut text)?;
                verify(&Digest::of(&text), &entry.digest)?;
                let text = OsString::from_vec(text);
                let link = tempfile::Builder::new()
                    .prefix(crate::model::UNFINISHED)
                    .make_in(folder, |path| symlink(Path::new(&text), path))?;
                return link.persist(to).map(drop).map_err(|error| error.error);
            }
            verify(&copy_hashing(&mut source, file.as_file_mut())?, &entry.digest)?;
            file.persist(to).map(drop).map_err(|error| error.error)
        };
        write().map_err(failed("put back", to))
    }

    /// The file that holds the bytes of `entry`, for readers that verify them. It may not be there.
    pub fn file(&self, entry: &Entry) -> PathBuf {
        self.place(&entry.digest)
    }

    /// The content of an object, verified.
    ///
    /// # Errors
    /// It is not here, or damaged.
    pub fn read(&self, entry: &Entry) -> Result<Vec<u8>, Error> {
        let place = self.place(&entry.digest);
        let bytes = fs::read(&place).map_err(failed("read", &place))?;
        verify(&Digest::of(&bytes), &entry.digest).map_err(failed("read", &place))?;
        Ok(bytes)
    }

    /// Is the content of `entry` here and undamaged?
    ///
    /// # Errors
    /// It is not here, or damaged.
    pub fn verify(&self, entry: &Entry) -> Result<(), Error> {
        if !has_content(entry) {
            return Ok(());
        }
        let place = self.place(&entry.digest);
        let found = File::open(&place).and_then(|mut file| copy_hashing(&mut file, &mut io::sink()));
        found.and_then(|found| verify(&found, &entry.digest)).map_err(failed("read", &place))
    }

    /// Sweeps where something was kept through this handle and the last sweep is a day ago. `needed` is asked
    /// only then.
    pub fn sweep_if_due(&self, needed: impl FnOnce() -> HashSet<Digest>) {
        let stamp = self.dir.join(SWEPT);
        let last = fs::metadata(&stamp).and_then(|metadata| metadata.modified()).ok();
        // A time in the future is one of a clock that was wrong.
        let recently = |last: std::time::SystemTime| last.elapsed().is_ok_and(|age| age < BETWEEN_SWEEPS);
        if !self.grown.load(Ordering::Relaxed) || last.is_some_and(recently) {
            return;
        }
        self.sweep(&needed());
        if self.dir.is_dir() {
            // Without it the next build that keeps something sweeps once more.
            let _ = fs::remove_file(&stamp);
            let _ = File::create(&stamp);
        }
    }

    /// Removes every object whose digest is not in `needed`, and what killed writes left behind. Nobody may
    /// be keeping anything meanwhile. Returns how many bytes went.
    pub fn sweep(&self, needed: &HashSet<Digest>) -> u64 {
        let mut freed = 0;
        let _ = fs::remove_file(self.dir.join(SWEPT));
        for folder in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let prefix = folder.file_name();
            for object in fs::read_dir(folder.path()).into_iter().flatten().flatten() {
                let mut hex = prefix.as_bytes().to_vec();
                hex.extend_from_slice(object.file_name().as_bytes());
                let digest = std::str::from_utf8(&hex).ok().and_then(|hex| hex.parse::<Digest>().ok());
                if digest.is_some_and(|digest| needed.contains(&digest)) {
                    continue;
                }
                let size = object.metadata().map_or(0, |metadata| metadata.len());
                // What cannot be removed now is tried again by the next sweep.
                if fs::remove_file(object.path()).is_ok() {
                    freed += size;
                }
            }
            let _ = fs::remove_dir(folder.path());
        }
        let _ = fs::remove_dir(&self.dir);
        freed
    }
}

fn has_content(entry: &Entry) -> bool {
    matches!(entry.kind, EntryKind::File | EntryKind::Link)
}

fn verify(found: &Digest, expected: &Digest) -> io::Result<()> {
    if found == expected {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidData, "its kept content is damaged"))
    }
}

fn copy_hashing(source: &mut dyn Read, target: &mut dyn Write) -> io::Result<Digest> {
    let mut buffer = vec![0; 64 * 1024];
    let mut hasher = blake3::Hasher::new();
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return Ok(Digest(*hasher.finalize().as_bytes())),
            Ok(length) => {
                hasher.update(&buffer[..length]);
                target.write_all(&buffer[..length])?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
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
            let place = objects.place(&entry.digest);
            fs::set_permissions(&place, Permissions::from_mode(0o644)).unwrap();
            fs::write(&place, damage).unwrap();
            assert!(objects.restore(&entry, &to, 0o644).is_err());
            assert_eq!(fs::read(&to).unwrap(), b"old");
            assert!(objects.read(&entry).is_err() && objects.verify(&entry).is_err());
        }
        fs::remove_file(objects.place(&entry.digest)).unwrap();
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
