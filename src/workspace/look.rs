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
use rustix::time::{ClockId, clock_gettime};

use super::nearby::Nearby;
use super::{Root, parallel, relative};
use crate::model::{Digest, Entry, EntryKind, Signature, WorkspacePath};

/// Paths are stat-ed in chunks of this many: long enough to make the queue's lock cheap.
const STAT_CHUNK: usize = 512;

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

impl Root {
    /// The signature of what is at `path`; [`Signature::ABSENT`] where nothing is.
    pub fn signature(&self, path: &WorkspacePath) -> Signature {
        self.stat(path.as_bytes())
    }

    /// Asks of each item, in their order, on all processors, whether its path has the signature that `holds`
    /// expects. This is the floor of a build that has nothing to do, so it neither allocates nor copies a
    /// path (shorter than 256 bytes), and what is compared is compared here, by all processors. Paths in
    /// their order are looked at faster.
    pub fn compare<'p, T: Sync>(
        &self,
        items: &[T],
        path: impl Fn(&T) -> &'p [u8] + Sync,
        holds: impl Fn(&T, &Signature) -> bool + Sync,
    ) -> Vec<bool> {
        parallel::map_chunks(items, STAT_CHUNK, false, |items, results| {
            let mut nearby = Nearby::new(&self.dir);
            for (item, result) in items.iter().zip(results) {
                *result = holds(item, &signature_from(nearby.stat(path(item))));
            }
        })
    }

    /// The signatures of many paths, in their order, on all processors.
    pub fn signatures<P: AsRef<[u8]> + Sync>(&self, paths: &[P]) -> Vec<Signature> {
        parallel::map(paths, STAT_CHUNK, Signature::ABSENT, |path| self.stat(path.as_ref()))
    }

    /// As [`Self::signatures`], each with the number of hard links.
    pub fn signatures_with_links<P: AsRef<[u8]> + Sync>(&self, paths: &[P]) -> Vec<(Signature, u64)> {
        parallel::map(paths, STAT_CHUNK, (Signature::ABSENT, 0), |path| {
            let looked = rustix::fs::statat(&self.dir, relative(path.as_ref()), AtFlags::SYMLINK_NOFOLLOW);
            let links = looked.as_ref().map_or(0, |stat| stat.st_nlink);
            (signature_from(looked), links)
        })
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

    /// The content of a file, links followed.
    ///
    /// # Errors
    /// There is no file, or it cannot be read.
    pub fn read(&self, path: &WorkspacePath) -> io::Result<Vec<u8>> {
        let flags = OFlags::RDONLY | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.dir, relative(path.as_bytes()), flags, Mode::empty())?;
        let mut content = Vec::new();
        File::from(file).read_to_end(&mut content)?;
        Ok(content)
    }

    /// The size of a file in bytes, links followed; 0 where there is none.
    pub fn size(&self, path: &WorkspacePath) -> u64 {
        let stat = rustix::fs::statat(&self.dir, relative(path.as_bytes()), AtFlags::empty());
        stat.map_or(0, |stat| signature_of(&stat).size)
    }

    fn stat(&self, path: &[u8]) -> Signature {
        signature_from(rustix::fs::statat(&self.dir, relative(path), AtFlags::SYMLINK_NOFOLLOW))
    }

    fn entry(&self, path: &WorkspacePath, signature: &Signature) -> Entry {
        if *signature == Signature::ABSENT {
            return Entry::absent();
        }
        if *signature == Signature::UNKNOWN {
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
pub(super) fn digest_of(mut file: impl Read) -> io::Result<Digest> {
    let mut buffer = [0; 16 * 1024];
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

/// The signature of a file anywhere on this machine, links followed; none where there is no such file, or
/// where it is so young that it does not vouch for the content.
pub fn settled_signature(path: &std::path::Path) -> Option<Signature> {
    let now = now_ns();
    let signature = signature_of(&rustix::fs::stat(path).ok()?);
    Some(signature).filter(|signature| !signature.is_racy(now))
}

/// The signature of a file anywhere on this machine, links followed, with its number of hard links; none where there is
/// no such file.
pub fn signature_and_links(path: &std::path::Path) -> Option<(Signature, u64)> {
    let stat = rustix::fs::stat(path).ok()?;
    Some((signature_of(&stat), stat.st_nlink))
}

/// The signature and the text of a link anywhere on this machine; none where there is no link.
pub fn link_at(path: &std::path::Path) -> Option<(Signature, std::path::PathBuf)> {
    let stat = rustix::fs::lstat(path).ok()?;
    let is_link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
    is_link.then(|| std::fs::read_link(path).ok()).flatten().map(|text| (signature_of(&stat), text))
}

fn signature_from(looked: rustix::io::Result<Stat>) -> Signature {
    match looked {
        Ok(stat) => signature_of(&stat),
        // A component that is a file, a circle of links, a name that no file can bear.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG) => Signature::ABSENT,
        Err(_) => Signature::UNKNOWN,
    }
}

pub(super) fn signature_of(stat: &Stat) -> Signature {
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

/// What the kernel would stamp a file with that is written now, in nanoseconds since 1970. Its clock goes in ticks, and
/// is behind the one that programs are told by up to one of them: whatever is written from now on has no older stamp
/// than this, but may have an older one than the precise time.
pub fn stamp_now() -> i64 {
    let now = clock_gettime(ClockId::RealtimeCoarse);
    nanoseconds(now.tv_sec, now.tv_nsec)
}

fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;
    use std::process::Command;

    use super::*;

    fn workspace() -> (tempfile::TempDir, Root) {
        let folder = tempfile::tempdir().unwrap();
        let workspace = Root::open(folder.path()).unwrap();
        (folder, workspace)
    }

    fn path(text: impl AsRef<[u8]>) -> WorkspacePath {
        WorkspacePath::new(text).unwrap()
    }

    fn run(program: &str, arguments: &[&str], dir: &Path) {
        assert!(Command::new(program).args(arguments).current_dir(dir).status().unwrap().success());
    }

    #[test]
    fn the_digest_of_a_file_is_that_of_its_bytes_whatever_its_size() {
        let (folder, workspace) = workspace();
        for size in [0, 1, 65_535, 65_536, 65_537, 1_000_000] {
            let bytes: Vec<u8> = (0..size).map(|at: u32| (at % 251) as u8).collect();
            fs::write(folder.path().join("f"), &bytes).unwrap();
            let entry = workspace.observe(&path("f")).entry;
            assert_eq!((entry.kind, entry.digest), (EntryKind::File, Digest::of(&bytes)));
        }
    }

    #[test]
    fn a_link_is_its_text_wherever_it_leads() {
        let (folder, workspace) = workspace();
        fs::create_dir(folder.path().join("folder")).unwrap();
        for target in ["folder", "nowhere", "/etc", "link"] {
            let link = folder.path().join("link");
            let _ = fs::remove_file(&link);
            symlink(target, &link).unwrap();
            let entry = workspace.observe(&path("link")).entry;
            assert_eq!((entry.kind, entry.digest), (EntryKind::Link, Digest::of(target.as_bytes())));
        }
    }

    #[test]
    fn the_owners_executable_bit_is_part_of_the_entry_and_the_others_are_not() {
        let (folder, workspace) = workspace();
        fs::write(folder.path().join("f"), "x").unwrap();
        for (mode, executable) in [(0o644, false), (0o655, false), (0o744, true), (0o700, true)] {
            fs::set_permissions(folder.path().join("f"), fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(workspace.observe(&path("f")).entry.executable, executable, "{mode:o}");
        }
    }

    #[test]
    fn every_kind_of_thing_is_told_apart() {
        let (folder, workspace) = workspace();
        let kind = |name: &str| workspace.observe(&path(name)).entry.kind;
        fs::create_dir(folder.path().join("folder")).unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        run("mkfifo", &["pipe"], folder.path());
        assert_eq!(kind("folder"), EntryKind::Folder);
        assert_eq!(kind("pipe"), EntryKind::Special);
        assert_eq!(kind("nothing"), EntryKind::Absent);
        assert_eq!(kind("file/below"), EntryKind::Absent);
        assert_eq!(kind(&"long".repeat(100)), EntryKind::Absent);
        assert_eq!(workspace.observe(&WorkspacePath::root()).entry.kind, EntryKind::Folder);
    }

    #[test]
    fn what_cannot_be_read_is_unreadable_and_never_trusted() {
        let (folder, workspace) = workspace();
        fs::write(folder.path().join("file"), "x").unwrap();
        fs::set_permissions(folder.path().join("file"), fs::Permissions::from_mode(0o000)).unwrap();
        if fs::read(folder.path().join("file")).is_ok() {
            return; // Root reads everything.
        }
        let observed = workspace.observe(&path("file"));
        assert_eq!((observed.entry.kind, observed.racy), (EntryKind::Unreadable, true));
        assert!(observed.signature.mode != 0);
    }

    #[test]
    fn names_need_not_be_utf8() {
        let (folder, workspace) = workspace();
        let name = b"caf\xe9 \xff";
        fs::write(folder.path().join(std::ffi::OsStr::from_bytes(name)), "x").unwrap();
        assert_eq!(workspace.observe(&path(name)).entry.digest, Digest::of(b"x"));
        assert_eq!(workspace.list(&WorkspacePath::root()).unwrap(), [path(name)]);
    }

    #[test]
    fn a_file_that_was_just_written_is_racy_and_an_older_one_is_not() {
        let (folder, workspace) = workspace();
        // A busy machine may need more than a tick between the two.
        assert!((0..100).any(|_| {
            fs::write(folder.path().join("f"), "x").unwrap();
            workspace.observe(&path("f")).racy
        }));
        std::thread::sleep(std::time::Duration::from_millis(40));
        let observed = workspace.observe(&path("f"));
        assert!(!observed.racy);
        assert!(!workspace.observe(&path("nothing")).racy);
    }

    #[test]
    fn the_signature_sees_what_keeps_the_modification_time() {
        let (folder, workspace) = workspace();
        for name in ["f", "reference"] {
            fs::write(folder.path().join(name), "old").unwrap();
        }
        run("touch", &["-r", "f", "reference"], folder.path());
        let before = workspace.signature(&path("f"));
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs::write(folder.path().join("f"), "new").unwrap();
        run("touch", &["-r", "reference", "f"], folder.path());
        let after = workspace.signature(&path("f"));
        assert_eq!((before.size, before.mtime_ns), (after.size, after.mtime_ns));
        assert_ne!(before, after);
    }

    #[test]
    fn many_paths_are_looked_at_in_their_order() {
        let (folder, workspace) = workspace();
        let paths: Vec<WorkspacePath> = (0..2000).map(|at| path(format!("f{at}"))).collect();
        for (at, path) in paths.iter().enumerate().filter(|(at, _)| at % 3 != 0) {
            fs::write(path.under(folder.path()), at.to_string()).unwrap();
        }
        let borrowed: Vec<&WorkspacePath> = paths.iter().collect();
        for (at, observed) in workspace.observe_all(&borrowed).into_iter().enumerate() {
            let expected = (at % 3 != 0).then(|| Digest::of(at.to_string().as_bytes()));
            assert_eq!(observed.entry.exists().then_some(observed.entry.digest), expected, "{at}");
            assert_eq!(observed.signature, workspace.signature(&paths[at]));
        }
    }

    #[test]
    fn many_paths_compared_at_once_are_seen_as_each_is_alone() {
        let (folder, workspace) = workspace();
        fs::write(folder.path().join("file"), "x").unwrap();
        fs::create_dir_all(folder.path().join("b")).unwrap();
        symlink("b", folder.path().join("link")).unwrap();
        let mut paths = vec![WorkspacePath::root(), path("file")];
        for name in ["a", "b/c", "b", "link", "file", "gone", "d"] {
            for at in 0..20 {
                if at != 7 && !["link", "file", "gone"].contains(&name) {
                    fs::create_dir_all(folder.path().join(name)).unwrap();
                    fs::write(folder.path().join(format!("{name}/{at}")), at.to_string()).unwrap();
                }
                paths.extend([
                    path(format!("{name}/{at}")),
                    path(format!("{name}/{}", "long".repeat(at * 4))),
                ]);
            }
        }
        let alone: Vec<Signature> = paths.iter().map(|path| workspace.signature(path)).collect();
        let numbers: Vec<usize> = (0..paths.len()).collect();
        let same = workspace.compare(&numbers, |at| paths[*at].as_bytes(), |at, seen| alone[*at] == *seen);
        assert!(same.iter().all(|same| *same));
        let there = |name: &str| workspace.signature(&path(name)) != Signature::ABSENT;
        assert!(there("link/2") && there("a/0") && !there("a/7") && !there("file/3") && !there("gone/4"));
    }
}
