//! The cache on this machine: results by the keys of their actions, and their content, shared by all checkouts that
//! use one folder.
//!
//! ```text
//! v2/blobs/ab/cd…      content by its digest, as it is or compressed (`.zst`)
//! v2/actions/a/bcd…    an entry by its action's key (`entry.rs`)
//! v2/bound/a/bcd…      one that holds in a single workspace, by key and workspace
//! v2/paths/a/bcd…/     for tasks with a depfile: by the key of what they declare, the sets of paths that runs found
//! v2/lock              shared by who reads or writes, exclusive for who collects garbage
//! v2/collected         when that was done last
//! ```
//!
//! It knows nothing of tasks, of the tree or of what validates a result. Invariants: whatever the folder holds, it is
//! an entry with verified content or a miss, never an error and never wrong bytes; what is found damaged is removed,
//! so that it is written anew; an entry is written after all its content.

mod collect;
mod entry;
mod fetch;
mod keys;
mod write;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

pub use collect::{Collected, Damage, Statistics};
pub use entry::{Beside, BesideKind, CacheEntry, CachedEdit, CachedFile, Maker};
pub use fetch::Missing;
pub use keys::{BadKey, Keys};
pub use write::{Draft, Source};

use super::bans::Bans;
use super::blobs::{Blobs, Packing, UNFINISHED};
use crate::model::{ActionKey, Diagnostic, Encoder, Record, WorkspacePath};
use entry::Unusable;

/// The format; another one has a folder of its own.
const VERSION: &str = "v2";

/// No honest entry is larger, in bytes.
const LARGEST_ENTRY: u64 = 256 << 20;

/// So many sets of paths are tried for one task.
const SETS: usize = 32;

/// How a cache is used.
#[derive(Default)]
pub struct CacheOptions {
    /// The folder.
    pub dir: PathBuf,
    /// Results may come from it.
    pub read: bool,
    /// Results may go into it.
    pub write: bool,
    /// Signatures.
    pub keys: Keys,
    /// The workspace's root.
    pub root: PathBuf,
    /// `.conductor`, where the bans are.
    pub folder: PathBuf,
}

/// A cache that is open.
pub struct Cache {
    shared: Arc<Shared>,
    bans: Mutex<Bans>,
    writer: Mutex<write::Writer>,
}

/// While this lives, nothing goes from the cache but what is damaged or taken back.
pub struct Hold(#[expect(dead_code, reason = "it is the open file that holds the lock")] File);

/// What the writer's thread needs too.
struct Shared {
    dir: PathBuf,
    blobs: Blobs,
    options: CacheOptions,
    trouble: Mutex<Trouble>,
    has_bound: OnceLock<bool>,
}

/// What went wrong, told once.
#[derive(Default)]
struct Trouble {
    first: Option<String>,
    others: usize,
    /// Tasks whose outputs name the workspace.
    bound: Vec<String>,
}

impl Cache {
    /// Opens a cache; nothing is made before the first result is kept.
    pub fn open(options: CacheOptions) -> Self {
        let dir = options.dir.join(VERSION);
        let blobs = Blobs::of(dir.join("blobs"), Packing::Small);
        let bans = Mutex::new(Bans::load(&options.folder));
        let shared =
            Arc::new(Shared { dir, blobs, options, trouble: Mutex::default(), has_bound: OnceLock::new() });
        let writer = Mutex::new(write::Writer::new(Arc::clone(&shared)));
        Self { shared, bans, writer }
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.shared.options.dir
    }

    /// May results come from it?
    pub fn is_read(&self) -> bool {
        self.shared.options.read
    }

    /// May results go into it?
    pub fn is_written(&self) -> bool {
        self.shared.options.write
    }

    /// Signatures.
    pub fn keys(&self) -> &Keys {
        &self.shared.options.keys
    }

    /// Lies anything under this key, whatever it is worth? Asked first, since most often there is nothing.
    pub fn may_have(&self, key: ActionKey) -> bool {
        // What cannot be told is for the one who reads it to say.
        let is_there = |place: &Path| !place.symlink_metadata().is_err_and(|error| is_absent(&error));
        is_there(&self.shared.action(key))
            || self.shared.has_bound() && is_there(&self.shared.bound_action(key))
    }

    /// The result that is kept under a key, if all its content is there. Content is verified when it is fetched; what
    /// was found stays until then for who holds the cache.
    pub fn find(&self, key: ActionKey) -> Option<CacheEntry> {
        self.shared.places(key).iter().find_map(|place| {
            let entry = self.shared.read(place, key).filter(|entry| !self.is_banned(entry))?;
            self.shared.touch(place);
            Some(entry)
        })
    }

    /// As [`Self::find`], for who only wants to know: nothing is written.
    pub fn peek(&self, key: ActionKey) -> bool {
        let shared = &self.shared;
        shared.places(key).iter().any(|place| {
            let bytes = read_bounded(place).ok();
            let entry = bytes.and_then(|bytes| shared.judge(&bytes, key).ok());
            entry.is_some_and(|entry| shared.is_usable(&entry) && !self.is_banned(&entry))
        })
    }

    /// Sets of paths that runs of a task with this declared key have found in their depfiles, the last used first.
    pub fn path_sets(&self, declared: ActionKey) -> Vec<Vec<WorkspacePath>> {
        let folder = self.shared.sets(declared);
        let mut found: Vec<(std::time::SystemTime, PathBuf)> = Vec::new();
        for set in fs::read_dir(folder).into_iter().flatten().flatten() {
            if !set.file_name().as_encoded_bytes().starts_with(UNFINISHED.as_bytes())
                && let Ok(at) = set.metadata().and_then(|metadata| metadata.modified())
            {
                found.push((at, set.path()));
            }
        }
        found.sort_by(|a, b| b.cmp(a));
        let sets = found.into_iter().take(SETS).filter_map(|(_, place)| self.shared.read_set(&place));
        sets.collect()
    }

    /// Keeps garbage from being collected until it is dropped; none where there is nothing to be kept from that.
    pub fn hold(&self) -> Option<Hold> {
        self.shared.hold().map(Hold)
    }

    fn is_banned(&self, entry: &CacheEntry) -> bool {
        let bans = self.bans.lock().unwrap_or_else(PoisonError::into_inner);
        bans.has(entry.key, entry.identity())
    }

    /// A person has taken a result back: it leaves the cache, and comes back to this workspace from nowhere.
    ///
    /// # Errors
    /// The ban cannot be written.
    pub fn withdraw(&self, record: &Record) -> Result<(), super::Error> {
        let identity = entry::identity_of(record);
        self.bans.lock().unwrap_or_else(PoisonError::into_inner).add(record.key, identity)?;
        let _hold = self.shared.hold();
        for place in self.shared.places(record.key) {
            let found = read_bounded(&place).ok().and_then(|bytes| entry::open(&bytes, self.keys()).ok());
            if self.is_written() && found.is_some_and(|entry| entry.identity() == identity) {
                // What cannot be removed is banned.
                let _ = fs::remove_file(&place);
            }
        }
        Ok(())
    }

    /// The same result as one that was taken back was made and accepted anew. That the ban stays where this cannot be
    /// written costs a run.
    pub fn lift_ban(&self, record: &Record) {
        let mut bans = self.bans.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = bans.lift(record.key, entry::identity_of(record));
    }

    /// Keeps a result, in the background, with the next ones or at the next [`Self::flush`].
    pub fn keep(&self, draft: Draft) {
        if self.is_written() {
            self.writer().take(draft);
        }
    }

    /// Lets what waits to be kept wait no longer. Does not wait for it.
    pub fn flush(&self) {
        self.writer().flush();
    }

    /// Waits until everything is kept that was given to it, and says what a person should know.
    pub fn settle(&self) -> Vec<Diagnostic> {
        self.writer().finish();
        let trouble = std::mem::take(&mut *self.shared.trouble());
        trouble.told(self.dir())
    }

    fn writer(&self) -> MutexGuard<'_, write::Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that something went wrong with the cache, which never fails a build.
    pub fn complain(&self, what: String) {
        self.shared.complain(what);
    }
}

impl Trouble {
    fn told(self, dir: &Path) -> Vec<Diagnostic> {
        let mut told = Vec::new();
        if let Some(first) = self.first {
            let more = if self.others == 0 { String::new() } else { format!(" (and {} more)", self.others) };
            told.push(
                Diagnostic::warning("cache::trouble", format!("the cache: {first}{more}")).help(format!(
                    "nothing is wrong with the build, which did without; `conductor cache verify` looks at all of {}",
                    dir.display()
                )),
            );
        }
        if let Some(first) = self.bound.first() {
            let more = self.bound.len() - 1;
            let more = if more == 0 { String::new() } else { format!(" and of {more} more") };
            let message = format!("the result of {first}{more} names this workspace by its absolute path");
            told.push(Diagnostic::warning("cache::bound", message).help(
                "it is kept for this workspace alone; make paths in outputs relative, or write `cache: off`",
            ));
        }
        told
    }
}

impl Shared {
    fn action(&self, key: ActionKey) -> PathBuf {
        self.named("actions", &key.0.to_hex())
    }

    /// The entry that holds in this workspace alone.
    fn bound_action(&self, key: ActionKey) -> PathBuf {
        let mut encoder = Encoder::new("conductor bound entry 1");
        let name = encoder.digest(&key.0).bytes(self.options.root.as_os_str().as_encoded_bytes());
        self.named("bound", &name.finish().to_hex())
    }

    /// Did any result hold in a single workspace when this was asked first? Those of this workspace are made by its own
    /// builds, so none joins them from elsewhere.
    fn has_bound(&self) -> bool {
        *self
            .has_bound
            .get_or_init(|| !fs::symlink_metadata(self.dir.join("bound")).is_err_and(|e| is_absent(&e)))
    }

    /// Where its entry may lie.
    fn places(&self, key: ActionKey) -> [PathBuf; 2] {
        [self.action(key), self.bound_action(key)]
    }

    fn sets(&self, declared: ActionKey) -> PathBuf {
        self.named("paths", &declared.0.to_hex())
    }

    /// In one of sixteen folders: enough for a million entries, and a new cache has to make no more.
    fn named(&self, part: &str, hex: &str) -> PathBuf {
        self.dir.join(part).join(&hex[..1]).join(&hex[1..])
    }

    /// Nobody collects garbage while this is held. Where it cannot be had (nothing was kept yet, a folder that may
    /// only be read) one does without: content that goes meanwhile is a miss.
    fn hold(&self) -> Option<File> {
        let file = File::open(self.dir.join("lock")).ok()?;
        file.lock_shared().ok()?;
        Some(file)
    }

    /// The lock's file, made where it is not there.
    fn lock_file(&self) -> io::Result<File> {
        fs::create_dir_all(&self.dir)?;
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(self.dir.join("lock"))
    }

    /// An entry that can be used; one that is damaged is removed.
    fn read(&self, place: &Path, key: ActionKey) -> Option<CacheEntry> {
        let bytes = match read_bounded(place) {
            Ok(bytes) => bytes,
            Err(error) if is_absent(&error) => return None,
            Err(error) => {
                self.complain(format!("{} cannot be read: {error}", place.display()));
                self.remove_damaged(place);
                return None;
            }
        };
        match self.judge(&bytes, key) {
            Ok(entry) => self.is_usable(&entry).then_some(entry),
            Err(why) => {
                self.complain(format!("{} is not used: {why}", place.display()));
                // One that others trust stays.
                if !matches!(why, Unusable::Distrusted(_)) {
                    self.remove_damaged(place);
                }
                None
            }
        }
    }

    fn judge(&self, bytes: &[u8], key: ActionKey) -> Result<CacheEntry, Unusable> {
        let entry = entry::open(bytes, &self.options.keys)?;
        if entry.key == key { Ok(entry) } else { Err(Unusable::Misplaced) }
    }

    /// Does it hold in this workspace, and is all its content there?
    fn is_usable(&self, entry: &CacheEntry) -> bool {
        let root = self.options.root.as_os_str().as_encoded_bytes();
        entry.bound_to.as_deref().is_none_or(|bound| bound == root)
            && entry.needed().all(|(digest, _)| self.blobs.has(&digest))
    }

    fn remove_damaged(&self, place: &Path) {
        if self.options.write {
            // What cannot be removed is never used.
            let _ = fs::remove_file(place).or_else(|_| fs::remove_dir_all(place));
        }
    }

    /// Notes that an entry was used.
    fn touch(&self, place: &Path) {
        if self.options.write {
            // An entry that seems unused for longer than it is goes earlier, no more.
            let _ = File::open(place).and_then(|file| file.set_modified(std::time::SystemTime::now()));
        }
    }

    fn read_set(&self, place: &Path) -> Option<Vec<WorkspacePath>> {
        let bytes = read_bounded(place).ok()?;
        let set = write::open_set(&bytes);
        if set.is_none() {
            self.complain(format!("{} is damaged", place.display()));
            self.remove_damaged(place);
        }
        set
    }

    fn trouble(&self) -> MutexGuard<'_, Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn complain(&self, what: String) {
        let mut trouble = self.trouble();
        if trouble.first.is_none() {
            trouble.first = Some(what);
        } else {
            trouble.others += 1;
        }
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn read_bounded(place: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(place)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    if metadata.len() > LARGEST_ENTRY {
        return Err(io::Error::other("it is larger than any entry"));
    }
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(file, LARGEST_ENTRY), &mut bytes)?;
    Ok(bytes)
}

/// How many files are read or written at once.
fn threads(files: usize) -> usize {
    // Not asked for a few: the answer lies in several files of the control group.
    let processors = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    if files < 16 { 1 } else { processors().min(8) }
}

/// Does something with each item, on several processors where there are many.
fn for_each<T: Sync>(items: &[T], work: impl Fn(&T) + Sync) {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let take = || {
        while let Some(item) = items.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
            work(item);
        }
    };
    match threads(items.len()) {
        1 => take(),
        threads => std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(take);
            }
        }),
    }
}

#[cfg(test)]
mod tests;
