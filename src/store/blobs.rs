//! Content-addressed bytes in a folder: what [`Objects`](super::Objects) and the cache have in common.
//!
//! It does not know why something is kept, nor for how long. Invariants: bytes appear under their name only when
//! they are whole; what is read is verified, so that damage is an error and never wrong bytes; nothing here is ever
//! linked to a file that somebody may write.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::{Error, failed};
use crate::model::{Digest, Entry, EntryKind};

/// The beginning of the names of files that are being written.
pub(super) const UNFINISHED: &str = ".tmp-";

/// The end of the names of compressed files.
const PACKED: &str = ".zst";

/// Smaller files are not worth compressing.
const WORTH_PACKING: u64 = 4096;
/// Whether it pays is tried on so many bytes of the beginning.
const SAMPLE: usize = 64 * 1024;
/// From so many files on the whole file system is synced at once.
const MANY: usize = 64;

/// How bytes are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Packing {
    /// As they are.
    Plain,
    /// Sharing the blocks of the file that they come from, else compressed, where that pays.
    Small,
}

/// The bytes in one folder.
#[derive(Debug)]
pub(super) struct Blobs {
    dir: PathBuf,
    packing: Packing,
    /// Written since the last [`Self::sync`].
    unsynced: Mutex<Vec<PathBuf>>,
    /// Something was kept through this handle.
    grown: AtomicBool,
    /// The file system has refused to share blocks.
    no_sharing: AtomicBool,
}

/// What is told of bytes on their way in or out.
pub(super) type Watch<'a> = &'a mut dyn FnMut(&[u8]);

impl Blobs {
    /// Those below `dir`. Nothing is made before the first one is kept.
    pub(super) fn of(dir: PathBuf, packing: Packing) -> Self {
        let (grown, no_sharing) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { dir, packing, unsynced: Mutex::new(Vec::new()), grown, no_sharing }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Was something kept through this handle?
    pub(super) fn has_grown(&self) -> bool {
        self.grown.load(Ordering::Relaxed)
    }

    /// Where bytes lie that are kept as they are.
    pub(super) fn place(&self, digest: &Digest) -> PathBuf {
        let hex = digest.to_hex();
        self.dir.join(&hex[..2]).join(&hex[2..])
    }

    fn packed(&self, digest: &Digest) -> PathBuf {
        let mut place = self.place(digest).into_os_string();
        place.push(PACKED);
        place.into()
    }

    /// The digest that a file below the folder is named by.
    pub(super) fn digest_of_name(folder: &std::ffi::OsStr, name: &std::ffi::OsStr) -> Option<Digest> {
        let name = name.as_bytes();
        let name = name.strip_suffix(PACKED.as_bytes()).unwrap_or(name);
        std::str::from_utf8(&[folder.as_bytes(), name].concat()).ok()?.parse().ok()
    }

    /// Is it here? The bytes are verified when they are read.
    pub(super) fn has(&self, digest: &Digest) -> bool {
        self.place(digest).is_file() || (self.packing == Packing::Small && self.packed(digest).is_file())
    }

    /// Keeps a copy of the file or link at `from`, whose content is said to have this digest; `watch` sees the
    /// content, also where it is here already. Returns its size.
    pub(super) fn put(&self, from: &Path, entry: &Entry, watch: Watch<'_>) -> io::Result<u64> {
        if entry.kind == EntryKind::Link {
            let text = fs::read_link(from)?.into_os_string().into_vec();
            watch(&text);
            self.write(&mut &text[..], &entry.digest, &mut |_| {})?;
            return Ok(text.len() as u64);
        }
        let mut source = File::open(from)?;
        let metadata = source.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is no file any more"));
        }
        if self.has(&entry.digest) {
            let (found, size) = copy_hashing(&mut source, &mut io::sink(), watch)?;
            return verify(&found, &entry.digest, "it changed meanwhile").map(|()| size);
        }
        if self.packing == Packing::Small {
            if let Some(size) = self.share(&source, &entry.digest, watch)? {
                return Ok(size);
            }
            if metadata.len() >= WORTH_PACKING {
                return self.pack_if_it_pays(&mut source, &entry.digest, watch);
            }
        }
        self.write(&mut source, &entry.digest, watch)
    }

    /// Keeps the file at `from` by moving it here. The caller vouches for its content, and that nobody may write it.
    pub(super) fn take(&self, from: &Path, digest: &Digest) -> io::Result<()> {
        let place = self.place(digest);
        fs::create_dir_all(place.parent().unwrap_or(&self.dir))?;
        fs::set_permissions(from, Permissions::from_mode(0o444))?;
        fs::rename(from, &place)?;
        self.note(place);
        Ok(())
    }

    /// Keeps bytes as they are.
    pub(super) fn write(&self, source: &mut dyn Read, digest: &Digest, watch: Watch<'_>) -> io::Result<u64> {
        let mut size = 0;
        self.keep(self.place(digest), |file| {
            let (found, length) = copy_hashing(source, file, watch)?;
            size = length;
            verify(&found, digest, "it changed meanwhile")
        })?;
        Ok(size)
    }

    /// Shares the blocks of a file; none where the file system does not do that.
    fn share(&self, source: &File, digest: &Digest, watch: Watch<'_>) -> io::Result<Option<u64>> {
        if self.no_sharing.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let mut size = None;
        self.keep(self.place(digest), |file| {
            // Whatever it fails of (another file system, one that cannot do it), copying may not.
            if rustix::fs::ioctl_ficlone(&*file, source).is_err() {
                self.no_sharing.store(true, Ordering::Relaxed);
                return Err(io::ErrorKind::Unsupported.into());
            }
            let (found, length) = copy_hashing(file, &mut io::sink(), watch)?;
            size = Some(length);
            verify(&found, digest, "it changed meanwhile")
        })
        .map(|()| size)
        .or_else(|error| if self.no_sharing.load(Ordering::Relaxed) { Ok(None) } else { Err(error) })
    }

    fn pack_if_it_pays(&self, source: &mut File, digest: &Digest, watch: Watch<'_>) -> io::Result<u64> {
        let mut sample = Vec::with_capacity(SAMPLE);
        source.take(SAMPLE as u64).read_to_end(&mut sample)?;
        let packed = zstd::bulk::compress(&sample, 1)?;
        let mut source = sample.as_slice().chain(source);
        if packed.len() > sample.len() / 8 * 7 {
            return self.write(&mut source, digest, watch);
        }
        let mut size = 0;
        self.keep(self.packed(digest), |file| {
            let mut encoder = zstd::Encoder::new(file, 1)?;
            let (found, length) = copy_hashing(&mut source, &mut encoder, watch)?;
            encoder.finish()?;
            size = length;
            verify(&found, digest, "it changed meanwhile")
        })?;
        Ok(size)
    }

    /// Fills a file that appears at `place` once it is whole.
    fn keep(&self, place: PathBuf, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
        put_whole(&place, 0o444, fill)?;
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
    pub(super) fn sync(&self) -> Result<(), Error> {
        let places = std::mem::take(&mut *self.unsynced.lock().unwrap_or_else(PoisonError::into_inner));
        if places.len() >= MANY {
            let done = File::open(&self.dir).and_then(|dir| Ok(rustix::fs::syncfs(dir)?));
            return done.map_err(failed("sync", &self.dir));
        }
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

    /// Writes bytes, `limit` at most, into `to`, an empty file; they are verified, and where this fails `to` is of no
    /// use.
    pub(super) fn copy_to(&self, digest: &Digest, to: &mut File, limit: u64) -> io::Result<()> {
        let place = self.place(digest);
        let mut plain = match File::open(&place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.packing == Packing::Small => {
                // A few bytes may unpack to very many.
                let unpacked = zstd::Decoder::new(File::open(self.packed(digest))?)?;
                let mut unpacked = unpacked.take(limit.saturating_add(1));
                return verify(&copy_hashing(&mut unpacked, to, &mut |_| {})?.0, digest, DAMAGED);
            }
            opened => opened?,
        };
        let shared = self.packing == Packing::Small
            && !self.no_sharing.load(Ordering::Relaxed)
            && rustix::fs::ioctl_ficlone(&*to, &plain).is_ok();
        let copied = if shared {
            copy_hashing(to, &mut io::sink(), &mut |_| {})?
        } else {
            copy_hashing(&mut plain, to, &mut |_| {})?
        };
        verify(&copied.0, digest, DAMAGED)
    }

    /// The bytes, verified; `limit` is the most that there may be.
    pub(super) fn read(&self, digest: &Digest, limit: u64) -> io::Result<Vec<u8>> {
        // One more, so that what is longer is found.
        let mut source = self.open(digest)?.take(limit.saturating_add(1));
        let mut bytes = Vec::new();
        source.read_to_end(&mut bytes)?;
        verify(&Digest::of(&bytes), digest, DAMAGED)?;
        Ok(bytes)
    }

    /// Are they here and undamaged?
    pub(super) fn verify(&self, digest: &Digest) -> io::Result<()> {
        let (found, _) = copy_hashing(&mut self.open(digest)?, &mut io::sink(), &mut |_| {})?;
        verify(&found, digest, DAMAGED)
    }

    fn open(&self, digest: &Digest) -> io::Result<Box<dyn Read>> {
        match File::open(self.place(digest)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.packing == Packing::Small => {
                Ok(Box::new(zstd::Decoder::new(File::open(self.packed(digest))?)?))
            }
            opened => Ok(Box::new(opened?)),
        }
    }

    /// Takes damaged bytes away, so that they are written anew.
    pub(super) fn remove(&self, digest: &Digest) {
        for place in [self.place(digest), self.packed(digest)] {
            // What cannot be removed is found damaged again, and is never used.
            let _ = fs::remove_file(&place).or_else(|_| fs::remove_dir_all(&place));
        }
    }

    /// Removes the folders that hold nothing any more, and the one above them.
    pub(super) fn remove_empty_folders(&self) {
        for folder in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let _ = fs::remove_dir(folder.path());
        }
        let _ = fs::remove_dir(&self.dir);
    }

    /// Every file below the folder: what it is named by (none for what is being written, or is not ours), where it
    /// is, and how many bytes it takes.
    pub(super) fn list(&self) -> Vec<(Option<Digest>, PathBuf, u64)> {
        let mut found = Vec::new();
        for folder in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            for file in fs::read_dir(folder.path()).into_iter().flatten().flatten() {
                let digest = Self::digest_of_name(&folder.file_name(), &file.file_name());
                let size = file.metadata().map_or(0, |metadata| metadata.size());
                found.push((digest, file.path(), size));
            }
        }
        found
    }
}

const DAMAGED: &str = "its kept content is damaged";

/// Fills a file that appears at `place`, whatever is there, once it is whole. Its folder is made where it is missing.
pub(super) fn put_whole(
    place: &Path,
    mode: u32,
    fill: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let folder = place.parent().unwrap_or(Path::new("."));
    let begin = || {
        let permissions = Permissions::from_mode(mode);
        tempfile::Builder::new().prefix(UNFINISHED).permissions(permissions).tempfile_in(folder)
    };
    let mut file = begin().or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => fs::create_dir_all(folder).and_then(|()| begin()),
        _ => Err(error),
    })?;
    fill(file.as_file_mut())?;
    let persisted = file.persist(place).or_else(|error| match error.error.kind() {
        // Nothing of ours is a folder here.
        io::ErrorKind::IsADirectory => {
            fs::remove_dir_all(place)?;
            error.file.persist(place).map_err(|error| error.error)
        }
        _ => Err(error.error),
    });
    persisted.map(drop)
}

pub(super) fn has_content(entry: &Entry) -> bool {
    matches!(entry.kind, EntryKind::File | EntryKind::Link)
}

pub(super) fn verify(found: &Digest, expected: &Digest, complaint: &'static str) -> io::Result<()> {
    if found == expected { Ok(()) } else { Err(io::Error::new(io::ErrorKind::InvalidData, complaint)) }
}

/// Copies everything; returns its digest and how many bytes there were.
fn copy_hashing(
    source: &mut dyn Read,
    target: &mut dyn Write,
    watch: Watch<'_>,
) -> io::Result<(Digest, u64)> {
    let mut buffer = vec![0; 64 * 1024];
    let mut hasher = blake3::Hasher::new();
    let mut size = 0;
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return Ok((Digest(*hasher.finalize().as_bytes()), size)),
            Ok(length) => {
                hasher.update(&buffer[..length]);
                watch(&buffer[..length]);
                target.write_all(&buffer[..length])?;
                size += length as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
