//! Looks at all of a cache: how much there is, what is damaged, and what goes because it is old or too much.
//!
//! Garbage is collected while nobody reads or writes: builds hold the lock only while they find and fetch one result
//! or keep a few, so neither waits for long, and no build misses what it has found. What was used last stays longest.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{Cache, CacheEntry, Keys, Shared, entry, for_each, is_absent, read_bounded};
use crate::model::Digest;
use crate::store::{Error, failed};

/// A collection reads all entries, and is not worth more than one a day.
const BETWEEN: Duration = Duration::from_secs(24 * 60 * 60);

/// What a cache holds.
#[derive(Clone, Debug, Default)]
pub struct Statistics {
    /// Results.
    pub entries: usize,
    /// Pieces of content.
    pub blobs: usize,
    /// All of it on disk, in bytes.
    pub bytes: u64,
    /// Of the content as it was, uncompressed, each piece once; as far as entries tell.
    pub content_bytes: u64,
    /// What the commands took whose results are here.
    pub duration: Duration,
    /// When the result was used that was not used for the longest time.
    pub oldest: Option<SystemTime>,
}

/// What a collection removed, and what is left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Results that went.
    pub entries: usize,
    /// Pieces of content that went.
    pub blobs: usize,
    /// Bytes that went.
    pub bytes: u64,
    /// Results that are left.
    pub kept_entries: usize,
    /// Bytes that are left.
    pub kept_bytes: u64,
}

/// Something that is not as it was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damage {
    /// Which file.
    pub path: PathBuf,
    /// What is wrong.
    pub what: String,
    /// It was removed.
    pub removed: bool,
}

/// A file of `actions/`, `bound/` or `paths/`.
struct Found {
    path: PathBuf,
    used: SystemTime,
    size: u64,
}

impl Cache {
    /// What there is.
    pub fn statistics(&self) -> Statistics {
        let _hold = self.shared.hold();
        let blobs = self.shared.blobs.list();
        let actions = self.shared.entries();
        let sets = self.shared.files("paths");
        let mut statistics =
            Statistics { entries: actions.len(), blobs: blobs.len(), ..Statistics::default() };
        statistics.bytes = blobs.iter().map(|(_, _, size)| size).sum::<u64>()
            + actions.iter().chain(&sets).map(|found| found.size).sum::<u64>();
        statistics.oldest = actions.iter().map(|found| found.used).min();
        let mut known = HashSet::new();
        for entry in actions.iter().filter_map(|found| self.shared.entry_at(&found.path).ok()) {
            statistics.duration += entry.duration;
            let new = entry.needed().filter(|(digest, _)| known.insert(*digest));
            statistics.content_bytes += new.map(|(_, size)| size).sum::<u64>();
        }
        statistics
    }

    /// Removes what was not used for `max_age`, and of the rest what was used least recently until `max_size` bytes
    /// are left; what no result needs; and what killed writes left behind. Waits for who reads or writes.
    ///
    /// # Errors
    /// The cache cannot be locked.
    pub fn collect(&self, max_size: u64, max_age: Duration) -> Result<Collected, Error> {
        if !self.shared.dir.is_dir() {
            return Ok(Collected::default());
        }
        let lock = self.shared.lock_file().map_err(failed("lock", &self.shared.dir))?;
        lock.lock().map_err(failed("lock", &self.shared.dir))?;
        Ok(self.shared.collect(max_size, max_age))
    }

    /// As [`Self::collect`], once a day, where this may write and nobody is in the way.
    pub fn collect_if_due(&self, max_size: u64, max_age: Duration) -> Option<Collected> {
        if !self.is_written() || !self.shared.dir.is_dir() || !self.shared.is_due() {
            return None;
        }
        let lock = self.shared.lock_file().ok()?;
        match lock.try_lock() {
            Ok(()) => Some(self.shared.collect(max_size, max_age)),
            // Whoever holds it, or the next build, will do it.
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => None,
        }
    }

    /// Looks at every entry and all content. `repair` removes what is damaged.
    ///
    /// # Errors
    /// The cache cannot be locked for repairs.
    pub fn verify(&self, repair: bool) -> Result<Vec<Damage>, Error> {
        let shared = &self.shared;
        if !shared.dir.is_dir() {
            return Ok(Vec::new());
        }
        let _lock = if repair {
            let lock = shared.lock_file().map_err(failed("lock", &shared.dir))?;
            lock.lock().map_err(failed("lock", &shared.dir))?;
            Some(lock)
        } else {
            shared.hold()
        };
        let damage = std::sync::Mutex::new(Vec::new());
        let tell = |path: &Path, what: String| {
            let removed = repair
                && (fs::remove_file(path).is_ok() || path.is_dir() && fs::remove_dir_all(path).is_ok());
            let one = Damage { path: path.to_owned(), what, removed };
            damage.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(one);
        };
        for_each(&shared.blobs.list(), |(digest, path, _)| match digest {
            Some(digest) => {
                if let Err(error) = shared.blobs.verify(digest) {
                    tell(path, error.to_string());
                }
            }
            // Somebody is writing it, unless the lock is ours.
            None if repair || !is_unfinished(path) => {
                tell(path, "it is none of the cache's files".to_owned());
            }
            None => {}
        });
        for_each(&shared.entries(), |found| {
            if let Err(why) = shared.entry_at(&found.path) {
                tell(&found.path, why);
            }
        });
        for_each(&shared.files("paths"), |found| {
            if read_bounded(&found.path).ok().and_then(|bytes| super::write::open_set(&bytes)).is_none() {
                tell(&found.path, "it is damaged".to_owned());
            }
        });
        let mut damage = damage.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        damage.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(damage)
    }

    /// Removes everything. Returns how many bytes went.
    ///
    /// # Errors
    /// Something cannot be removed.
    pub fn clear(&self) -> Result<u64, Error> {
        let shared = &self.shared;
        if !shared.dir.is_dir() {
            return Ok(0);
        }
        let lock = shared.lock_file().map_err(failed("lock", &shared.dir))?;
        lock.lock().map_err(failed("lock", &shared.dir))?;
        let bytes = self.statistics_locked();
        for part in ["actions", "bound", "paths", "blobs", "collected"] {
            let place = shared.dir.join(part);
            let removed = if place.is_dir() { fs::remove_dir_all(&place) } else { fs::remove_file(&place) };
            match removed {
                Err(error) if !is_absent(&error) => return Err(failed("remove", &place)(error)),
                _ => {}
            }
        }
        Ok(bytes)
    }

    fn statistics_locked(&self) -> u64 {
        let blobs = self.shared.blobs.list();
        let files = self.shared.entries().into_iter().chain(self.shared.files("paths"));
        blobs.iter().map(|(_, _, size)| size).sum::<u64>() + files.map(|found| found.size).sum::<u64>()
    }
}

impl Shared {
    fn is_due(&self) -> bool {
        let modified =
            |name: &str| fs::metadata(self.dir.join(name)).and_then(|metadata| metadata.modified());
        // The lock is as old as the cache, and in a new one there is no garbage.
        let last = modified("collected").or_else(|_| modified("lock"));
        // A time in the future is one of a clock that was wrong.
        !last.is_ok_and(|last| last.elapsed().is_ok_and(|age| age < BETWEEN))
    }

    fn entry_at(&self, path: &Path) -> Result<CacheEntry, String> {
        let bytes = read_bounded(path).map_err(|error| error.to_string())?;
        // Whoever wrote it: others may trust whom this workspace does not.
        let entry = entry::open(&bytes, &Keys::default()).map_err(|why| why.to_string())?;
        // Where the entry of another workspace lies, only that one knows.
        if entry.bound_to.is_none() && path != self.action(entry.key) {
            return Err(super::Unusable::Misplaced.to_string());
        }
        let missing = entry.needed().find(|(digest, _)| !self.blobs.has(digest));
        match missing {
            Some((digest, _)) => Err(format!("its content {} is missing", digest.short())),
            None => Ok(entry),
        }
    }

    /// The entries, of whatever workspace.
    fn entries(&self) -> Vec<Found> {
        let mut found = self.files("actions");
        found.append(&mut self.files("bound"));
        found
    }

    /// The files of a part of the cache; what is being written is none.
    fn files(&self, part: &str) -> Vec<Found> {
        let mut found = Vec::new();
        let mut folders = vec![self.dir.join(part)];
        while let Some(folder) = folders.pop() {
            for file in fs::read_dir(folder).into_iter().flatten().flatten() {
                let Ok(metadata) = file.metadata() else { continue };
                let path = file.path();
                if metadata.is_dir() {
                    folders.push(path);
                } else if !is_unfinished(&path) {
                    let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                    found.push(Found { path, used, size: metadata.len() });
                }
            }
        }
        found
    }

    fn collect(&self, max_size: u64, max_age: Duration) -> Collected {
        let mut collected = Collected::default();
        let sizes: HashMap<Digest, u64> =
            self.blobs.list().into_iter().filter_map(|(digest, _, size)| Some((digest?, size))).collect();
        let mut entries = self.entries();
        entries.sort_by(|a, b| b.used.cmp(&a.used).then_with(|| a.path.cmp(&b.path)));
        let mut needed: HashSet<Digest> = HashSet::new();
        let (mut total, mut full) = (0_u64, false);
        let mut oldest = SystemTime::now();
        for found in entries {
            // A time in the future is one of a clock that was wrong.
            let is_old = found.used.elapsed().is_ok_and(|age| age > max_age);
            let entry = if is_old || full { None } else { self.entry_at(&found.path).ok() };
            let cost = entry.as_ref().map(|entry| {
                let new = entry.needed().map(|(digest, _)| digest).filter(|digest| !needed.contains(digest));
                let new: HashSet<Digest> = new.collect();
                new.iter().filter_map(|digest| sizes.get(digest)).sum::<u64>() + found.size
            });
            match (entry, cost) {
                (Some(entry), Some(cost)) if total + cost <= max_size => {
                    total += cost;
                    needed.extend(entry.needed().map(|(digest, _)| digest));
                    oldest = oldest.min(found.used);
                    collected.kept_entries += 1;
                }
                (entry, _) => {
                    // What was used before it is not kept in its stead.
                    full |= entry.is_some();
                    if fs::remove_file(&found.path).is_ok() {
                        collected.entries += 1;
                        collected.bytes += found.size;
                    }
                }
            }
        }
        // A set of paths is of use as long as a result is that was found by it.
        for set in self.files("paths").iter().filter(|set| collected.kept_entries == 0 || set.used < oldest) {
            if fs::remove_file(&set.path).is_ok() {
                collected.bytes += set.size;
            }
        }
        for (digest, path, size) in self.blobs.list() {
            if digest.is_none_or(|digest| !needed.contains(&digest)) && fs::remove_file(path).is_ok() {
                collected.blobs += 1;
                collected.bytes += size;
            }
        }
        self.tidy();
        collected.kept_bytes = total;
        let _ =
            File::create(self.dir.join("collected")).and_then(|file| file.set_modified(SystemTime::now()));
        collected
    }

    /// Removes what killed writes left behind, and empty folders.
    fn tidy(&self) {
        fn below(folder: &Path) -> io::Result<()> {
            for file in fs::read_dir(folder)?.flatten() {
                if file.file_type().is_ok_and(|kind| kind.is_dir()) {
                    let _ = below(&file.path());
                    let _ = fs::remove_dir(file.path());
                } else if is_unfinished(&file.path()) {
                    let _ = fs::remove_file(file.path());
                }
            }
            Ok(())
        }
        for part in ["actions", "bound", "paths"] {
            let _ = below(&self.dir.join(part));
        }
        self.blobs.remove_empty_folders();
    }
}

fn is_unfinished(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    name.starts_with(super::UNFINISHED.as_bytes())
}
