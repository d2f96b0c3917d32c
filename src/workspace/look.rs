//! What stands at a path: its signature (one `lstat`) and its entry (kind, executable bit, digest).
//!
//! Invariant: the signature is always taken *before* the content is read. A write in between then shows
//! as another signature at the next look; a write within the clock's granularity is what
//! [`Observed::racy`] is for.

use std::fs::File;
use std::io::{self, Read};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::{Workspace, parallel, relative};
use crate::model::{Digest, Entry, EntryKind, Signature, WorkspacePath};

/// Paths are stat-ed in chunks of this many: long enough to make the queue's lock cheap.
const STAT_CHUNK: usize = 512;

/// The signature of something that is there and cannot even be looked at. Never equal to a real one.
const HIDDEN: Signature = Signature { size: 0, mtime_ns: 0, ctime_ns: 0, inode: 0, mode: u32::MAX };

/// What stood at a path when it was looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Observed {
    /// Taken before the content was read.
    pub signature: Signature,
    /// The content. A folder is [`EntryKind::Folder`], whether it is empty or not.
    pub entry: Entry,
    /// The signature must not be trusted: the content may have changed since without changing it.
    pub racy: bool,
}

impl Workspace {
    /// The signature of what is at `path`; [`Signature::ABSENT`] where nothing is.
    pub fn signature(&self, path: &WorkspacePath) -> Signature {
        self.stat(path.as_bytes())
    }

    /// The signatures of many paths, in their order, on all processors. This is the floor of a build that
    /// has nothing to do, so it neither allocates nor copies a path (shorter than 256 bytes).
    pub fn signatures<P: AsRef<[u8]> + Sync>(&self, paths: &[P]) -> Vec<Signature> {
        parallel::map(paths, STAT_CHUNK, Signature::ABSENT, |path| self.stat(path.as_ref()))
    }

    /// Looks at `path` and reads what is there.
    pub fn observe(&self, path: &WorkspacePath) -> Observed {
        let now = now_ns();
        let signature = self.signature(path);
        let entry = self.entry(path, &signature);
        let racy = signature.is_racy(now) || entry.kind == EntryKind::Unreadable;
        Observed { signature, entry, racy }
    }

    /// As [`Self::observe`] for many paths, in their order, on all processors.
    pub fn observe_all(&self, paths: &[&WorkspacePath]) -> Vec<Observed> {
        // Files differ in size by orders of magnitude: small chunks keep every thread busy to the end.
        let chunk = (paths.len() / (parallel::threads() * 16)).clamp(1, 64);
        let blank = Observed { signature: Signature::ABSENT, entry: Entry::absent(), racy: false };
        parallel::map(paths, chunk, blank, |path| self.observe(path))
    }

    fn stat(&self, path: &[u8]) -> Signature {
        match rustix::fs::statat(&self.dir, relative(path), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => signature_of(&stat),
            // A component that is a file, a circle of links, a name that no file can bear.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG) => Signature::ABSENT,
            Err(_) => HIDDEN,
        }
    }

    fn entry(&self, path: &WorkspacePath, signature: &Signature) -> Entry {
        if *signature == Signature::ABSENT {
            return Entry::absent();
        }
        if *signature == HIDDEN {
            return Entry::bare(EntryKind::Unreadable);
        }
        let content = match FileType::from_raw_mode(signature.mode) {
            FileType::RegularFile => self.file_digest(path).map(|digest| Entry {
                kind: EntryKind::File,
                executable: signature.mode & 0o100 != 0,
                digest,
            }),
            FileType::Symlink => self.link_digest(path).map(|digest| Entry {
                kind: EntryKind::Link,
                executable: false,
                digest,
            }),
            FileType::Directory => Ok(Entry::bare(EntryKind::Folder)),
            _ => Ok(Entry::bare(EntryKind::Special)),
        };
        content.unwrap_or_else(|error| {
            // It went since it was looked at; its signature says otherwise, so the next look is fresh.
            let gone = error.kind() == io::ErrorKind::NotFound;
            Entry::bare(if gone { EntryKind::Absent } else { EntryKind::Unreadable })
        })
    }

    fn file_digest(&self, path: &WorkspacePath) -> io::Result<Digest> {
        // What was a file a moment ago may be a pipe by now, whose opening would wait for a writer.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.dir, relative(path.as_bytes()), flags, Mode::empty())?;
        digest_of(File::from(file))
    }

    fn link_digest(&self, path: &WorkspacePath) -> io::Result<Digest> {
        let text = rustix::fs::readlinkat(&self.dir, relative(path.as_bytes()), Vec::new())?;
        Ok(Digest::of(text.as_bytes()))
    }
}

/// Streamed, not mapped into memory: a file that is truncated while it is mapped kills its reader.
fn digest_of(mut file: impl Read) -> io::Result<Digest> {
    let mut buffer = [0; 64 * 1024];
    let mut hasher = blake3::Hasher::new();
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(Digest(*hasher.finalize().as_bytes())),
            Ok(length) => hasher.update(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
    }
}

/// The digest of a file anywhere on this machine (a tool), links followed.
pub fn digest_file(path: &std::path::Path) -> io::Result<Digest> {
    digest_of(File::open(path)?)
}

fn signature_of(stat: &Stat) -> Signature {
    Signature {
        size: u64::try_from(stat.st_size).unwrap_or_default(),
        mtime_ns: nanoseconds(stat.st_mtime, stat.st_mtime_nsec),
        ctime_ns: nanoseconds(stat.st_ctime, stat.st_ctime_nsec),
        inode: stat.st_ino,
        mode: stat.st_mode,
    }
}

fn nanoseconds(seconds: i64, nanoseconds: impl TryInto<i64>) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds.try_into().unwrap_or_default())
}

fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
