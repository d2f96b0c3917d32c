//! A witness of the tree: which paths of the watched folders were written, moved, made or removed since a moment,
//! even if everything is as before by now.
//!
//! One inotify instance serves a whole build. A thread reads it all the time, so that folders that come to be below a
//! watched tree are watched at once, and so that the kernel's queue does not overflow. It does not know which task
//! reads which path.
//!
//! Invariants: an answer covers everything that happened before the question (the queue is read first); where
//! something may have been missed there is no answer at all.

use std::collections::{BTreeMap, HashMap};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

use super::{Tree, folder};
use crate::model::WorkspacePath;

/// So many folders are watched at most: the kernel's limit belongs to all programs of a user.
const MOST_FOLDERS: usize = 4096;

/// Something that happened at a path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Touch {
    /// Where.
    pub path: WorkspacePath,
    /// The kind of event.
    pub what: Touched,
}

/// The kinds of events.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Touched {
    /// A file or link was written, made, removed, or moved there or away.
    File,
    /// A folder was moved there or away, with all below it.
    FolderMoved,
    /// A folder was removed. Before that everything in it was.
    FolderRemoved,
    /// A folder came to be and went before anybody could look into it.
    FolderUnseen,
}

/// See the module.
pub struct Witness {
    /// None where it is never to have an answer.
    tree: Option<Tree>,
    /// Started when the first folder is to be watched.
    running: OnceLock<Option<Running>>,
}

/// A moment from which on some folders are watched.
#[derive(Default)]
pub struct Watch {
    /// None where some folder could not be watched.
    since: Option<(u64, Arc<Inner>)>,
    has_grown: bool,
}

struct Running {
    inner: Arc<Inner>,
    stop: Arc<OwnedFd>,
    reader: Option<JoinHandle<()>>,
}

struct Inner {
    tree: Tree,
    queue: OwnedFd,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// Each with whether folders that come to be in it are watched too.
    folders: HashMap<WorkspacePath, bool>,
    by_watch: HashMap<i32, WorkspacePath>,
    /// Counts events and beginnings of watches.
    clock: u64,
    /// When each path was touched last, and the same in the order of time.
    last: HashMap<WorkspacePath, u64>,
    order: BTreeMap<u64, Touch>,
    /// When something was missed last.
    missed: Option<u64>,
    /// Beginnings of the watches that somebody may still ask about, with their number.
    open: BTreeMap<u64, usize>,
}

impl Witness {
    /// A witness for the files of `tree`; one that has no answers where the system has none.
    pub fn new(tree: &Tree) -> Self {
        Self { tree: Some(tree.clone()), running: OnceLock::new() }
    }

    /// A witness that never has an answer.
    pub fn blind() -> Self {
        Self { tree: None, running: OnceLock::new() }
    }

    /// Watches `folders` themselves, and `whole` with all folders that will come to be in them.
    pub fn watch<'p>(
        &self,
        folders: impl IntoIterator<Item = &'p WorkspacePath>,
        whole: impl IntoIterator<Item = &'p WorkspacePath>,
    ) -> Watch {
        let running = self.running.get_or_init(|| Running::start(self.tree.clone()?));
        let Some(running) = running else { return Watch::default() };
        let inner = &running.inner;
        let mut seen = inner.lock();
        let (mut covered, before) = (true, seen.by_watch.len());
        for (path, whole) in
            folders.into_iter().map(|path| (path, false)).chain(whole.into_iter().map(|path| (path, true)))
        {
            covered &= inner.add(&mut seen, path, whole);
        }
        if !covered {
            return Watch::default();
        }
        let has_grown = seen.by_watch.len() > before;
        inner.read(&mut seen);
        seen.clock += 1;
        let since = seen.clock;
        *seen.open.entry(since).or_default() += 1;
        Watch { since: Some((since, Arc::clone(inner))), has_grown }
    }
}

impl Watch {
    /// Is there an answer to be had, as far as is known by now?
    pub fn is_covered(&self) -> bool {
        self.since.is_some()
    }

    /// Was one of the folders watched by nobody before?
    pub fn has_grown(&self) -> bool {
        self.has_grown
    }

    /// Everything that happened since, each path with the last thing that happened to it. None where something may
    /// have been missed.
    pub fn touched(&self) -> Option<Vec<Touch>> {
        let (since, inner) = self.since.as_ref()?;
        let mut seen = inner.lock();
        inner.read(&mut seen);
        if seen.missed.is_some_and(|missed| missed >= *since) {
            return None;
        }
        Some(seen.order.range(since..).map(|(_, touch)| touch.clone()).collect())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let Some((since, inner)) = &self.since else { return };
        let mut seen = inner.lock();
        if let Some(count) = seen.open.get_mut(since) {
            *count -= 1;
            if *count == 0 {
                seen.open.remove(since);
            }
        }
        seen.forget();
    }
}

impl Running {
    fn start(tree: Tree) -> Option<Self> {
        let queue = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok()?;
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC).ok()?);
        let inner = Arc::new(Inner { tree, queue, seen: Mutex::default() });
        Some(Self { inner, stop, reader: None }.with_reader())
    }

    fn with_reader(mut self) -> Self {
        let (inner, stop) = (Arc::clone(&self.inner), Arc::clone(&self.stop));
        let read = move || {
            loop {
                let mut both = [PollFd::new(&inner.queue, PollFlags::IN), PollFd::new(&*stop, PollFlags::IN)];
                match poll(&mut both, None) {
                    Ok(_) if both[1].revents().is_empty() => inner.read(&mut inner.lock()),
                    Err(Errno::INTR) => {}
                    _ => return,
                }
            }
        };
        // Without a thread of its own it is read when somebody asks.
        self.reader = std::thread::Builder::new().name("witness".to_owned()).spawn(read).ok();
        self
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = rustix::io::write(&*self.stop, &1_u64.to_ne_bytes());
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

/// Attributes alone (times, permissions, another hard link) are not asked for.
fn changes() -> WatchFlags {
    WatchFlags::MODIFY
        | WatchFlags::CREATE
        | WatchFlags::DELETE
        | WatchFlags::MOVED_FROM
        | WatchFlags::MOVED_TO
        | WatchFlags::DELETE_SELF
        | WatchFlags::MOVE_SELF
        | WatchFlags::ONLYDIR
        | WatchFlags::DONT_FOLLOW
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches a folder. Says whether it is watched now; one that is not there need not be, for its parent is.
    fn add(&self, seen: &mut Seen, path: &WorkspacePath, whole: bool) -> bool {
        if let Some(known) = seen.folders.get_mut(path) {
            *known |= whole;
            return true;
        }
        if seen.folders.len() >= MOST_FOLDERS {
            return false;
        }
        let place = path.under(self.tree.root());
        if is_remote(&place) {
            return false;
        }
        match inotify::add_watch(&self.queue, &place, changes()) {
            Ok(watch) => {
                // The same folder under another name: it was moved.
                if let Some(before) = seen.by_watch.insert(watch, path.clone()) {
                    seen.folders.remove(&before);
                }
                seen.folders.insert(path.clone(), whole);
                true
            }
            Err(error) => matches!(error, Errno::NOENT | Errno::NOTDIR | Errno::LOOP),
        }
    }

    /// Takes everything out of the kernel's queue.
    fn read(&self, seen: &mut Seen) {
        let mut buffer = [MaybeUninit::uninit(); 16 * 1024];
        let mut events = inotify::Reader::new(&self.queue, &mut buffer);
        let mut fresh = Vec::new();
        loop {
            match events.next() {
                Ok(event) => {
                    let name = event.file_name().map(|name| name.to_bytes().to_vec());
                    fresh.extend(seen.take(event.wd(), event.events(), name.as_deref()));
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => {
                    seen.miss();
                    break;
                }
            }
        }
        for path in fresh {
            self.enter(seen, &path);
        }
    }

    /// Watches a new folder from now on. Its present files count as made together with it.
    fn enter(&self, seen: &mut Seen, path: &WorkspacePath) {
        let is_ignored = |path: &WorkspacePath| self.tree.ignores(path, true);
        // Below a folder that is watched although a rule ignores it, that rule says nothing.
        if is_ignored(path) && !path.parent().is_some_and(|parent| is_ignored(&parent)) {
            return;
        }
        if !self.add(seen, path, true) {
            seen.miss();
            return;
        }
        if !seen.folders.contains_key(path) {
            seen.touch(path.clone(), Touched::FolderUnseen);
            return;
        }
        let Ok(dir) = self.tree.open_folder(path.as_bytes()) else {
            seen.touch(path.clone(), Touched::FolderUnseen);
            return;
        };
        let mut folders = Vec::new();
        let read = folder::read(dir, |name, kind| {
            if folder::is_private(name) {
            } else if kind == rustix::fs::FileType::Directory {
                folders.push(path.join(name));
            } else {
                seen.touch(path.join(name), Touched::File);
            }
        });
        if read.is_err() {
            seen.touch(path.clone(), Touched::FolderUnseen);
        }
        for folder in folders {
            self.enter(seen, &folder);
        }
    }
}

impl Seen {
    fn miss(&mut self) {
        self.clock += 1;
        self.missed = Some(self.clock);
    }

    fn touch(&mut self, path: WorkspacePath, what: Touched) {
        if self.open.is_empty() {
            return;
        }
        self.clock += 1;
        if let Some(before) = self.last.insert(path.clone(), self.clock) {
            let known = self.order.remove(&before);
            // A folder that was moved and then made anew was moved nevertheless.
            let was_moved = known.is_some_and(|touch| touch.what == Touched::FolderMoved);
            let what = if was_moved { Touched::FolderMoved } else { what };
            self.order.insert(self.clock, Touch { path, what });
        } else {
            self.order.insert(self.clock, Touch { path, what });
        }
    }

    /// Takes an event; returns the folder that came to be, if it is to be watched.
    fn take(&mut self, watch: i32, what: ReadFlags, name: Option<&[u8]>) -> Option<WorkspacePath> {
        if what.contains(ReadFlags::QUEUE_OVERFLOW) {
            self.miss();
            return None;
        }
        let folder = self.by_watch.get(&watch)?.clone();
        if what.contains(ReadFlags::IGNORED) {
            self.by_watch.remove(&watch);
            self.folders.remove(&folder);
            return None;
        }
        if what.contains(ReadFlags::MOVE_SELF) {
            self.touch(folder, Touched::FolderMoved);
            return None;
        }
        let name = name.filter(|name| !folder::is_private(name))?;
        let path = folder.join(name);
        if !what.contains(ReadFlags::ISDIR) {
            self.touch(path, Touched::File);
            return None;
        }
        if what.intersects(ReadFlags::MOVED_FROM | ReadFlags::MOVED_TO) {
            self.touch(path.clone(), Touched::FolderMoved);
        }
        if what.contains(ReadFlags::DELETE) {
            self.touch(path.clone(), Touched::FolderRemoved);
        }
        let is_new = what.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO);
        (is_new && self.folders.get(&folder).is_some_and(|whole| *whole)).then_some(path)
    }

    /// Drops events that are older than every open watch.
    fn forget(&mut self) {
        let first = self.open.keys().next().copied();
        let kept = first.map_or_else(BTreeMap::new, |first| self.order.split_off(&first));
        if kept.is_empty() {
            self.last.clear();
        } else {
            for touch in self.order.values() {
                self.last.remove(&touch.path);
            }
        }
        self.order = kept;
    }
}

/// Is it on a file system where others write without this kernel's knowledge?
fn is_remote(place: &std::path::Path) -> bool {
    // NFS, SMB, SMB2, CIFS, 9P, FUSE, Ceph, AFS (two), Coda, OCFS2, GFS2, Lustre, VirtualBox.
    const REMOTE: [u32; 14] = [
        0x6969,
        0x517B,
        0xFE53_4D42,
        0xFF53_4D42,
        0x0102_1997,
        0x6573_5546,
        0x00C3_6400,
        0x5346_414F,
        0x6B41_4653,
        0x7375_7245,
        0x7461_636F,
        0x0116_1970,
        0x0BD0_0BD0,
        0x786F_4256,
    ];
    // The type is a signed number on some machines; only its low half counts.
    rustix::fs::statfs(place).is_ok_and(|stat| {
        let kind = stat.f_type.to_le_bytes();
        kind.first_chunk().is_some_and(|low| REMOTE.contains(&u32::from_le_bytes(*low)))
    })
}

#[cfg(test)]
mod tests;
