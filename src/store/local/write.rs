//! Writes results into the cache, on a thread of its own, in batches: the content of all, made durable at once, and
//! only then the entries that name it.
//!
//! Files of the tree may change before their content is kept; what is not the recorded content any more is not kept,
//! which is no trouble.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::entry::{self, Beside, BesideKind, CacheEntry};
use super::{Shared, for_each};
use crate::model::{ActionKey, Digest, Entry, EntryKind, WorkspacePath};
use crate::store::blobs::{has_content, put_whole};
use crate::store::frame;

/// So many results share one sync.
const BATCH: usize = 64;

/// The first byte of a set of paths.
const SET_VERSION: u8 = 1;

/// Where content is to be taken from.
pub struct Source {
    /// What it is.
    pub entry: Entry,
    /// Where it lies.
    pub from: PathBuf,
    /// It lies there with the permissions that it had when it was made.
    pub as_made: bool,
}

/// A result that is to be kept.
pub struct Draft {
    /// All but sizes and permissions.
    pub entry: CacheEntry,
    /// Of each of its outputs, in their order.
    pub outputs: Vec<Source>,
    /// Of each of its edits that has new content, in their order.
    pub edits: Vec<Source>,
    /// Files that belong to it.
    pub beside: Vec<(BesideKind, PathBuf)>,
    /// For a task with a depfile: the key of what it declares, and the paths that it named.
    pub discovered: Option<(ActionKey, Vec<WorkspacePath>)>,
}

/// Gathers results, and hands them to the thread that writes: one that is woken for each would cost small tasks more
/// than what it writes.
pub(super) struct Writer {
    shared: Arc<Shared>,
    gathered: Vec<Draft>,
    /// Once there was something to write.
    thread: Option<(Sender<Vec<Draft>>, JoinHandle<()>)>,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, gathered: Vec::new(), thread: None }
    }

    pub(super) fn take(&mut self, draft: Draft) {
        self.gathered.push(draft);
        if self.gathered.len() >= BATCH {
            self.flush();
        }
    }

    /// Hands over what was gathered.
    pub(super) fn flush(&mut self) {
        if self.gathered.is_empty() {
            return;
        }
        let (queue, _) = self.thread.get_or_insert_with(|| {
            let (queue, batches) = channel();
            let shared = Arc::clone(&self.shared);
            (queue, std::thread::spawn(move || work(&shared, &batches)))
        });
        // A thread that is gone has said why.
        let _ = queue.send(std::mem::take(&mut self.gathered));
    }

    /// Waits until everything is written.
    pub(super) fn finish(&mut self) {
        self.flush();
        if let Some((queue, thread)) = self.thread.take() {
            drop(queue);
            let _ = thread.join();
        }
    }
}

fn work(shared: &Shared, batches: &Receiver<Vec<Draft>>) {
    let root = Root::of(shared);
    for batch in batches {
        // Nothing of a batch counts before its entries are there.
        if let Err(error) = keep(shared, &root, batch) {
            shared.complain(format!("a result could not be kept: {error}"));
        }
    }
}

/// What is known of one file after its content was kept.
struct Kept {
    size: u64,
    mode: u32,
    names_root: bool,
}

/// Why content was not kept.
enum Lost {
    /// It is not what was recorded any more, or nothing that may be restored.
    Changed,
    Failed(io::Error),
}

fn keep(shared: &Shared, root: &Root, batch: Vec<Draft>) -> io::Result<()> {
    let lock = shared.lock_file()?;
    lock.lock_shared()?;
    let mut entries = Vec::with_capacity(batch.len());
    for draft in batch {
        match keep_content(shared, root, draft) {
            Ok(whole) => entries.push(whole),
            Err(Lost::Changed) => {}
            Err(Lost::Failed(error)) => shared.complain(format!("a result could not be kept: {error}")),
        }
    }
    shared.blobs.sync().map_err(|error| io::Error::other(error.to_string()))?;
    for (entry, discovered) in entries {
        if let Err(error) = write_entry(shared, entry, discovered) {
            shared.complain(format!("a result could not be kept: {error}"));
        }
    }
    Ok(())
}

fn write_entry(
    shared: &Shared,
    entry: CacheEntry,
    discovered: Option<(ActionKey, Vec<WorkspacePath>)>,
) -> io::Result<()> {
    let Some(bytes) = entry::seal(&entry, &shared.options.keys) else { return Ok(()) };
    let bound = entry.bound_to.is_some();
    let place = if bound { shared.bound_action(entry.key) } else { shared.action(entry.key) };
    put_whole(&place, 0o600, |file| file.write_all(&bytes))?;
    if let Some((declared, paths)) = discovered {
        let bytes = seal_set(&paths);
        let place = shared.sets(declared).join(Digest::of(&bytes).to_hex());
        put_whole(&place, 0o600, |file| file.write_all(&bytes))?;
    }
    if bound {
        shared.trouble().bound.push(entry.by.task);
    }
    Ok(())
}

type Whole = (CacheEntry, Option<(ActionKey, Vec<WorkspacePath>)>);

fn keep_content(shared: &Shared, root: &Root, draft: Draft) -> Result<Whole, Lost> {
    let Draft { mut entry, outputs, edits, beside, discovered } = draft;
    let outputs = keep_all(shared, root, &outputs)?;
    let edits = keep_all(shared, root, &edits)?;
    let names_root = outputs.iter().chain(&edits).any(|kept| kept.names_root);
    for (file, kept) in entry.outputs.iter_mut().zip(outputs) {
        (file.mode, file.size) = (kept.mode, kept.size);
    }
    let changed = entry.edited.iter_mut().filter(|edit| edit.is_change() && has_content(&edit.after));
    for (edit, kept) in changed.zip(edits) {
        edit.size = kept.size;
    }
    for (what, from) in beside {
        let Ok(bytes) = fs::read(&from) else { continue };
        let (digest, size) = (Digest::of(&bytes), bytes.len() as u64);
        if !shared.blobs.has(&digest) {
            shared.blobs.write(&mut &bytes[..], &digest, &mut |_| {}).map_err(Lost::Failed)?;
        }
        entry.beside.push(Beside { what, digest, size });
    }
    if names_root {
        entry.bound_to = Some(root.bytes.clone());
    }
    Ok((entry, discovered))
}

fn keep_all(shared: &Shared, root: &Root, sources: &[Source]) -> Result<Vec<Kept>, Lost> {
    let numbered: Vec<(usize, &Source)> = sources.iter().enumerate().collect();
    let all = Mutex::new(Vec::with_capacity(sources.len()));
    for_each(&numbered, |(number, source)| {
        let kept = keep_one(shared, root, source);
        all.lock().unwrap_or_else(PoisonError::into_inner).push((*number, kept));
    });
    let mut all = all.into_inner().unwrap_or_else(PoisonError::into_inner);
    all.sort_by_key(|(number, _)| *number);
    all.into_iter().map(|(_, kept)| kept).collect()
}

fn keep_one(shared: &Shared, root: &Root, source: &Source) -> Result<Kept, Lost> {
    let metadata = source.from.symlink_metadata().map_err(|_| Lost::Changed)?;
    let mode = match source.entry.kind {
        EntryKind::File if !metadata.is_file() => return Err(Lost::Changed),
        EntryKind::File if source.as_made => metadata.permissions().mode() & 0o7777,
        EntryKind::File if source.entry.executable => 0o755,
        EntryKind::File => 0o644,
        _ => 0,
    };
    // Nothing may bring a program back that runs as somebody else.
    if mode & !0o777 != 0 {
        return Err(Lost::Changed);
    }
    if !has_content(&source.entry) {
        return Ok(Kept { size: 0, mode, names_root: false });
    }
    let mut search = root.search();
    let size = shared.blobs.put(&source.from, &source.entry, &mut |bytes| search.push(bytes));
    let size = size.map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::NotFound | io::ErrorKind::Other => Lost::Changed,
        _ => Lost::Failed(error),
    })?;
    Ok(Kept { size, mode, names_root: search.finish() })
}

/// The workspace's root, to be looked for in what is kept.
struct Root {
    bytes: Vec<u8>,
    /// None where the root is so short that it says nothing.
    pattern: Option<regex::bytes::Regex>,
}

impl Root {
    fn of(shared: &Shared) -> Self {
        let bytes = shared.options.root.as_os_str().as_encoded_bytes().to_vec();
        let mut literal = "(?-u)".to_owned();
        for byte in &bytes {
            let _ = write!(literal, "\\x{byte:02X}");
        }
        let pattern = regex::bytes::Regex::new(&literal).ok();
        Self { pattern: pattern.filter(|_| bytes.len() > 1), bytes }
    }

    fn search(&self) -> Search<'_> {
        Search { root: self, held: Vec::new(), begun: false, found: false }
    }
}

/// Looks for the root, as a whole path or the beginning of one, in a stream.
struct Search<'a> {
    root: &'a Root,
    held: Vec<u8>,
    /// Something has left already, in front of what is held.
    begun: bool,
    found: bool,
}

impl Search<'_> {
    fn push(&mut self, bytes: &[u8]) {
        if self.found || self.root.pattern.is_none() {
            return;
        }
        self.held.extend_from_slice(bytes);
        // With a byte in front of it, since that decides.
        let overlap = self.root.bytes.len() + 1;
        if self.held.len() > overlap * 2 {
            self.look(false);
            self.held.drain(..self.held.len() - overlap);
            self.begun = true;
        }
    }

    fn look(&mut self, is_end: bool) {
        let Some(pattern) = &self.root.pattern else { return };
        let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        self.found |= pattern.find_iter(&self.held).any(|hit| {
            let begins = match hit.start().checked_sub(1) {
                Some(before) => !is_name(&self.held[before]) && self.held[before] != b'.',
                None => !self.begun,
            };
            begins && self.held.get(hit.end()).map_or(is_end, |next| !is_name(next))
        });
    }

    fn finish(mut self) -> bool {
        self.look(true);
        self.found
    }
}

fn seal_set(paths: &[WorkspacePath]) -> Vec<u8> {
    let mut bytes = frame::begin();
    bytes.push(SET_VERSION);
    let mut bytes = postcard::to_extend(paths, bytes).unwrap_or_default();
    frame::end(&mut bytes);
    bytes
}

/// A set of paths that was read; none where it is damaged.
pub(super) fn open_set(bytes: &[u8]) -> Option<Vec<WorkspacePath>> {
    let frame::Read::Frame(payload) = frame::read(bytes) else { return None };
    let paths: Vec<WorkspacePath> = postcard::from_bytes(payload.strip_prefix(&[SET_VERSION])?).ok()?;
    let is_normal = |path: &WorkspacePath| {
        WorkspacePath::new(path.as_bytes()).is_ok_and(|normal| normal == *path) && !path.is_root()
    };
    paths.iter().all(is_normal).then_some(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(content: &str, expected: bool) {
        let bytes = b"/home/me/work".to_vec();
        let literal = regex::escape("/home/me/work");
        let root = Root { pattern: regex::bytes::Regex::new(&literal).ok(), bytes };
        for chunk in [1, 7, 64, 100_000] {
            let mut search = root.search();
            content.as_bytes().chunks(chunk).for_each(|bytes| search.push(bytes));
            assert_eq!(search.finish(), expected, "{content:.40} in chunks of {chunk}");
        }
    }

    #[test]
    fn the_workspace_is_found_in_a_stream_as_a_whole_path_only() {
        check("/home/me/work", true);
        check("see /home/me/work/src/a.c:3", true);
        check("-I/home/me/work ", false);
        check("file:///home/me/work\n", true);
        check(&format!("{}\0/home/me/work\0{}", "x".repeat(300), "y".repeat(300)), true);
        check("/home/me/workshop", false);
        check("/srv/home/me/work", false);
        check(&"/home/me/worx".repeat(500), false);
        check("", false);
    }

    #[test]
    fn a_set_of_paths_reads_back_and_damage_is_seen() {
        let paths = ["a.h", "deep/b.h"].map(|path| WorkspacePath::new(path).unwrap());
        let bytes = seal_set(&paths);
        assert_eq!(open_set(&bytes), Some(paths.to_vec()));
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open_set(&bytes), None, "bit {bit}");
        }
    }
}
