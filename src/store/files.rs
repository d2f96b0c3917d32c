//! The table of files: what each path looked like when it was last looked at. Knows nothing of tasks.
//!
//! The snapshot's rows lie beneath; rows that changed since lie above them, found through one dense array.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::{Digest, Entry, EntryKind, Signature};

use super::snapshot::{ArchivedFileCell, FileCell, Snapshot};

/// Stands for a path in the state: dense, from 0, the same as long as the state is open and across
/// compaction.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FileId(pub u32);

/// What is known of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileRow {
    /// What `lstat` said when the entry was read.
    pub signature: Signature,
    /// The content.
    pub entry: Entry,
    /// The content may have changed since without the signature changing: it must be read again.
    pub racy: bool,
    /// The tick at which the entry last changed.
    pub changed_at: u64,
}

impl ArchivedFileCell {
    fn signature(&self) -> Signature {
        Signature {
            size: self.size.to_native(),
            mtime_ns: self.mtime_ns.to_native(),
            ctime_ns: self.ctime_ns.to_native(),
            inode: self.inode.to_native(),
            mode: self.mode.to_native(),
        }
    }
}

impl From<&ArchivedFileCell> for FileRow {
    fn from(cell: &ArchivedFileCell) -> Self {
        Self {
            signature: cell.signature(),
            entry: Entry {
                kind: kind(cell.kind),
                executable: cell.executable != 0,
                digest: Digest(cell.digest),
            },
            racy: cell.racy != 0,
            changed_at: cell.changed_at.to_native(),
        }
    }
}

impl From<FileRow> for FileCell {
    fn from(row: FileRow) -> Self {
        Self {
            size: row.signature.size,
            mtime_ns: row.signature.mtime_ns,
            ctime_ns: row.signature.ctime_ns,
            inode: row.signature.inode,
            changed_at: row.changed_at,
            mode: row.signature.mode,
            kind: row.entry.kind as u8,
            executable: u8::from(row.entry.executable),
            racy: u8::from(row.racy),
            observed: 1,
            digest: row.entry.digest.0,
        }
    }
}

/// The inverse of `kind as u8`.
fn kind(number: u8) -> EntryKind {
    use EntryKind::{Absent, File, Folder, Link, Special, Unreadable};
    let all = [Absent, File, Link, Folder, Special, Unreadable];
    all.into_iter().find(|kind| *kind as u8 == number).unwrap_or(Unreadable)
}

/// What changed since the snapshot.
#[derive(Default)]
pub(super) struct Files {
    /// By file id: 0 where the snapshot's row holds (or there is none), else 1 + the index into `rows`.
    slots: Vec<u32>,
    rows: Vec<FileRow>,
    /// Paths that the snapshot has not; their ids follow its own.
    paths: Vec<Arc<[u8]>>,
    ids: HashMap<Arc<[u8]>, FileId>,
}

impl Files {
    /// No change since `snapshot`.
    pub(super) fn new(snapshot: &Snapshot) -> Self {
        Self { slots: vec![0; snapshot.file_count()], ..Self::default() }
    }

    /// How many ids there are.
    pub(super) fn count(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn id(&self, snapshot: &Snapshot, path: &[u8]) -> Option<FileId> {
        let known = snapshot.rank_of(path).ok().and_then(|rank| snapshot.file_of_rank(rank)).map(FileId);
        known.or_else(|| self.added(path))
    }

    /// The id of a path that the snapshot has not.
    pub(super) fn added(&self, path: &[u8]) -> Option<FileId> {
        self.ids.get(path).copied()
    }

    /// Gives an id to a path that has none.
    pub(super) fn add(&mut self, path: &[u8]) -> FileId {
        // Four billion paths do not fit in memory.
        let id = FileId(u32::try_from(self.slots.len()).unwrap_or(u32::MAX));
        let path: Arc<[u8]> = path.into();
        self.slots.push(0);
        self.paths.push(Arc::clone(&path));
        self.ids.insert(path, id);
        id
    }

    /// Empty where there is no such id.
    pub(super) fn path<'a>(&'a self, snapshot: &'a Snapshot, id: FileId) -> &'a [u8] {
        let added =
            (id.0 as usize).checked_sub(snapshot.file_count()).and_then(|index| self.paths.get(index));
        added.map(|path| &**path).or_else(|| snapshot.path(id.0)).unwrap_or_default()
    }

    pub(super) fn row(&self, snapshot: &Snapshot, id: FileId) -> Option<FileRow> {
        match self.slots.get(id.0 as usize)?.checked_sub(1) {
            Some(index) => self.rows.get(index as usize).copied(),
            None => snapshot.file(id.0).map(FileRow::from),
        }
    }

    /// Is there a row with this signature, and one that vouches for the content? Copies nothing.
    pub(super) fn is_vouched_for(&self, snapshot: &Snapshot, id: FileId, now: &Signature) -> bool {
        let Some(slot) = self.slots.get(id.0 as usize) else { return false };
        match slot.checked_sub(1) {
            Some(index) => {
                self.rows.get(index as usize).is_some_and(|row| !row.racy && row.signature == *now)
            }
            None => snapshot.file(id.0).is_some_and(|cell| cell.racy == 0 && cell.signature() == *now),
        }
    }

    pub(super) fn changed_at(&self, snapshot: &Snapshot, id: FileId) -> Option<u64> {
        match self.slots.get(id.0 as usize)?.checked_sub(1) {
            Some(index) => self.rows.get(index as usize).map(|row| row.changed_at),
            None => snapshot.file(id.0).map(|cell| cell.changed_at.to_native()),
        }
    }

    pub(super) fn set(&mut self, id: FileId, row: FileRow) {
        let Some(slot) = self.slots.get_mut(id.0 as usize) else { return };
        if let Some(old) = slot.checked_sub(1).and_then(|index| self.rows.get_mut(index as usize)) {
            *old = row;
        } else {
            self.rows.push(row);
            *slot = u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
        }
    }
}
