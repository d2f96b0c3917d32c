//! The state: what conductor remembers of files and tasks between runs. Knows how to keep it safe and fast,
//! not what follows from it.
//!
//! On disk it is a snapshot (`state`) and a log of what changed since (`state.log`). Every change is an
//! operation that goes through [`State::change`], which appends it to the log and applies it; opening
//! applies the same operations again.
//!
//! Invariants: the tables in memory equal the snapshot plus the log plus what the next commit writes; the
//! clock is no less than any tick in a row; after a crash at any moment the files on disk hold the state as
//! it was after some commit.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use crate::model::{Diagnostic, Digest, Entry, Failure, Record, Signature, TaskId, WorkspacePath};

use super::files::{FileId, FileRow, Files};
use super::log::{Bytes, Log, Op};
use super::snapshot::Snapshot;
use super::tasks::{Body, Row, TaskRow, Tasks};
use super::{Access, Error, durable};
use refused::{cut_short, set_aside};

mod compact;
mod refused;
#[cfg(test)]
mod speed;
#[cfg(test)]
mod tests;

/// Recorded results, file signatures and durations.
pub struct State {
    dir: PathBuf,
    access: Access,
    snapshot: Snapshot,
    tables: Tables,
    log: Log,
}

/// What lies above the snapshot.
#[derive(Default)]
struct Tables {
    files: Files,
    tasks: Tasks,
    clock: u64,
}

impl State {
    /// Opens the state in the folder `dir` (`.conductor`). Never fails: what is damaged or of another
    /// version is set aside under [`Access::Write`] and ignored under [`Access::ReadOnly`], each with a
    /// warning. Under [`Access::Write`] the caller holds the [`Lock`](super::Lock).
    pub fn open(dir: &Path, access: Access) -> (Self, Vec<Diagnostic>) {
        if access == Access::Write {
            durable::remove_leftovers(&dir.join("state"));
        }
        let (mut state, warnings) = Self::open_once(dir, access);
        if access == Access::Write && state.is_renumbering_due() {
            // It can wait: what did not succeed now is due again the next time.
            let _ = state.renumber();
        }
        (state, warnings)
    }

    fn open_once(dir: &Path, access: Access) -> (Self, Vec<Diagnostic>) {
        // Under `ReadOnly` a build beside this reader may compact between the reading of the snapshot and
        // of the log; what was read then belongs together the next time.
        let mut tries = 5;
        loop {
            let (state, warnings, whole) = Self::read(dir, access);
            tries -= 1;
            if whole || tries == 0 {
                return (state, warnings);
            }
        }
    }

    /// Reads snapshot and log; says whether no other snapshot took the place of the first in between.
    fn read(dir: &Path, access: Access) -> (Self, Vec<Diagnostic>, bool) {
        let (snapshot, warning) = match Snapshot::open(&dir.join("state")) {
            Ok(snapshot) => (snapshot, None),
            Err(refused) => (Snapshot::default(), Some(set_aside(dir, "state", &refused, access))),
        };
        let mut tables = Tables::new(&snapshot);
        let (log, found) = Log::open(&dir.join("state.log"), access, snapshot.identity(), |op, body| {
            tables.apply(&snapshot, op, body);
        });
        let whole = found.belongs || warning.is_some() || snapshot.is_at(&dir.join("state"));
        // Without its snapshot a log is worth nothing, and one warning is enough.
        let warning = warning.or_else(|| match found.refused? {
            _ if found.belongs => Some(cut_short(dir, "state.log")),
            refused => Some(set_aside(dir, "state.log", &refused, access)),
        });
        (Self { dir: dir.to_owned(), access, snapshot, tables, log }, warning.into_iter().collect(), whole)
    }

    fn change(&mut self, op: &Op<'_>) {
        let body = self.log.push(op);
        self.tables.apply(&self.snapshot, op, body);
    }

    /// How many file ids there are; they are dense, from 0.
    pub fn file_count(&self) -> usize {
        self.tables.files.count()
    }

    /// The id of `path`, where it has one.
    pub fn file_id(&self, path: &WorkspacePath) -> Option<FileId> {
        self.tables.files.id(&self.snapshot, path.as_bytes())
    }

    /// The id of `path`, given now where it had none.
    pub fn intern(&mut self, path: &WorkspacePath) -> FileId {
        self.file_id(path).unwrap_or_else(|| self.add(path.as_bytes()))
    }

    fn add(&mut self, path: &[u8]) -> FileId {
        let id = FileId(u32::try_from(self.file_count()).unwrap_or(u32::MAX));
        self.change(&Op::Interned(Bytes(path)));
        id
    }

    /// The ids of many paths, which are sorted: much faster than one by one.
    pub fn intern_sorted<'p>(&mut self, paths: impl IntoIterator<Item = &'p [u8]>) -> Vec<FileId> {
        let mut rank = 0;
        let mut ids = Vec::new();
        for path in paths {
            let known = loop {
                let Some(id) = self.snapshot.file_of_rank(rank) else { break None };
                match self.snapshot.path(id).unwrap_or_default().cmp(path) {
                    std::cmp::Ordering::Less => rank += 1,
                    std::cmp::Ordering::Equal => break Some(FileId(id)),
                    std::cmp::Ordering::Greater => break None,
                }
            };
            let id = known.or_else(|| self.tables.files.added(path)).unwrap_or_else(|| self.add(path));
            ids.push(id);
        }
        ids
    }

    /// The path of a file, as its bytes; empty for an id that this state never gave.
    pub fn path(&self, id: FileId) -> &[u8] {
        self.tables.files.path(&self.snapshot, id)
    }

    /// Is nearly every file that it knows an input or output of some task?
    pub fn is_mostly_used(&self) -> bool {
        self.snapshot.unused_files() <= self.file_count() / 8
    }

    /// Sorts ids, each of which is there once, by their paths.
    pub fn sort_by_path(&self, ids: &mut Vec<FileId>) {
        if ids.len() < self.file_count() / 16 {
            return ids.sort_unstable_by_key(|id| self.path(*id));
        }
        // Among so many the snapshot's order is faster: it has been sorted already.
        let mut missing = vec![false; self.file_count()];
        for id in ids.drain(..) {
            missing[id.0 as usize] = true;
        }
        let found = |id: &u32| missing.get_mut(*id as usize).is_some_and(std::mem::take);
        ids.extend(self.snapshot.ranked().filter(found).map(FileId));
        let added = (0..).zip(&missing).filter(|(_, missing)| **missing).map(|(id, _)| FileId(id));
        let sorted = ids.len();
        ids.extend(added);
        if ids.len() > sorted {
            // Stable, for what is sorted already is then only merged.
            ids.sort_by_key(|id| self.path(*id));
        }
    }

    /// What is known of a file; none where it was never looked at.
    pub fn file(&self, id: FileId) -> Option<FileRow> {
        self.tables.files.row(&self.snapshot, id)
    }

    /// Does what is known of a file say that its content, seen with this signature, is the recorded one?
    pub fn is_vouched_for(&self, id: FileId, now: &Signature) -> bool {
        self.tables.files.is_vouched_for(&self.snapshot, id, now)
    }

    /// The tick at which the content of a file last changed, as [`Self::file`] has it.
    pub fn changed_at(&self, id: FileId) -> Option<u64> {
        self.tables.files.changed_at(&self.snapshot, id)
    }

    /// Remembers what a file looks like. Its `changed_at` becomes [`Self::now`] only if the entry differs;
    /// where nothing differs, nothing is written.
    pub fn set_file(&mut self, id: FileId, signature: Signature, entry: Entry, racy: bool) {
        let old = self.file(id);
        let unchanged = old.filter(|row| row.entry == entry);
        let changed_at = unchanged.map_or(self.now(), |row| row.changed_at);
        if old != Some(FileRow { signature, entry, racy, changed_at }) {
            self.change(&Op::File { id, signature, entry, racy, changed_at });
        }
    }

    /// The clock: a number that only grows, across runs too.
    pub fn now(&self) -> u64 {
        self.tables.clock
    }

    /// Moves the clock on and returns it. A tick at which nothing was recorded may be given again by a
    /// later run.
    pub fn tick(&mut self) -> u64 {
        self.tables.clock += 1;
        self.tables.clock
    }

    /// What is known of a task.
    pub fn row(&self, id: &TaskId) -> Option<TaskRow<'_>> {
        self.tables.tasks.row(&self.snapshot, id.as_str())
    }

    /// The rows of many tasks, whose ids are sorted by their bytes: much faster than one by one.
    pub fn rows<'a>(
        &'a self,
        sorted_ids: impl Iterator<Item = &'a str>,
    ) -> impl Iterator<Item = Option<TaskRow<'a>>> {
        self.tables.tasks.rows(&self.snapshot, sorted_ids)
    }

    /// The ids of all tasks that have a row, sorted.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.tasks().map(|(id, _)| id)
    }

    /// All tasks that have a row, sorted by their ids' bytes.
    pub fn tasks(&self) -> impl Iterator<Item = (&str, TaskRow<'_>)> {
        self.tables.tasks.all(&self.snapshot)
    }

    /// A task's last accepted result. None also where the row says that there is one but it cannot be read.
    pub fn record(&self, id: &TaskId) -> Option<Record> {
        let row = self.tables.tasks.owned(&self.snapshot, id.as_str())?;
        postcard::from_bytes(unseal(&self.body(row.record)?)?).ok()
    }

    /// A task's last failure, if its last attempt failed.
    pub fn failure(&self, id: &TaskId) -> Option<Failure> {
        let row = self.tables.tasks.owned(&self.snapshot, id.as_str())?;
        serde_json::from_slice(unseal(&self.body(row.failure)?)?).ok()
    }

    fn body(&self, body: Body) -> Option<Vec<u8>> {
        match body {
            Body::None => None,
            Body::Snapshot { offset, length } => self.snapshot.read(offset, length),
            Body::Log { offset, length } => self.log.read(offset, length),
        }
    }

    /// Remembers an accepted result, and forgets the failure. `outputs_changed_at` becomes `verified_at`
    /// if the outputs differ from those of the previous record, and stays otherwise.
    pub fn put_record(
        &mut self,
        id: &TaskId,
        fingerprint: Digest,
        verified_at: u64,
        inputs: &[FileId],
        outputs: &[FileId],
        record: &Record,
    ) {
        let before = self.record(id).filter(|before| record.gives_the_same_as(before));
        let kept = before.and_then(|_| self.row(id)).map(|row| row.outputs_changed_at);
        self.change(&Op::Recorded {
            task: id.as_str(),
            fingerprint,
            verified_at,
            outputs_changed_at: kept.unwrap_or(verified_at),
            duration_ms: u32::try_from(record.duration.as_millis()).unwrap_or(u32::MAX),
            inputs: Cow::Borrowed(inputs),
            outputs: Cow::Borrowed(outputs),
            body: Bytes(&seal(&postcard::to_stdvec(record).unwrap_or_default())),
        });
    }

    /// Writes an accepted result down anew, with other words in the same place: key, outputs and ticks stay.
    pub fn amend_record(&mut self, id: &TaskId, record: &Record) {
        let Some(row) = self.tables.tasks.owned(&self.snapshot, id.as_str()) else { return };
        let failure = self.failure(id);
        self.change(&Op::Recorded {
            task: id.as_str(),
            fingerprint: Digest(row.fingerprint),
            verified_at: row.verified_at,
            outputs_changed_at: row.outputs_changed_at,
            duration_ms: row.duration_ms,
            inputs: Cow::Borrowed(&row.inputs),
            outputs: Cow::Borrowed(&row.outputs),
            body: Bytes(&seal(&postcard::to_stdvec(record).unwrap_or_default())),
        });
        if let Some(failure) = failure {
            self.put_failure(id, &failure);
        }
    }

    /// Remembers that the recorded result was found to hold at `verified_at`. Nothing happens where there
    /// is no row.
    pub fn put_verified(&mut self, id: &TaskId, fingerprint: Digest, verified_at: u64, inputs: &[FileId]) {
        let task = id.as_str();
        self.change(&Op::Verified { task, fingerprint, verified_at, inputs: Cow::Borrowed(inputs) });
    }

    /// Remembers that the last attempt failed. The last accepted result stays.
    pub fn put_failure(&mut self, id: &TaskId, failure: &Failure) {
        // JSON, because a reason leaves out what it does not have, which postcard cannot express.
        let body = seal(&serde_json::to_vec(failure).unwrap_or_default());
        self.change(&Op::Failed { task: id.as_str(), body: Bytes(&body) });
    }

    /// Forgets all of a task.
    pub fn forget(&mut self, id: &TaskId) {
        if self.row(id).is_some() {
            self.change(&Op::Forgotten { task: id.as_str() });
        }
    }

    /// Writes what changed since the last commit, all or nothing, and syncs it. Does nothing where nothing
    /// changed, or under [`Access::ReadOnly`]. After an error (a full disk) the state in memory is as good
    /// as before, the files can be read, and the next commit tries again.
    pub fn commit(&mut self) -> Result<(), Error> {
        self.log.commit()
    }

    /// Commits, then compacts where the log has grown out of proportion. File ids stay the same.
    pub fn finish(&mut self) -> Result<(), Error> {
        self.commit()?;
        if self.access == Access::Write && self.is_compaction_due() { self.compact() } else { Ok(()) }
    }
}

impl Tables {
    fn new(snapshot: &Snapshot) -> Self {
        Self { files: Files::new(snapshot), tasks: Tasks::default(), clock: snapshot.clock() }
    }

    /// Does what an operation says; its body lies at `body`.
    fn apply(&mut self, snapshot: &Snapshot, op: &Op<'_>, body: Body) {
        match op {
            Op::Interned(path) => {
                self.files.add(path.0);
            }
            &Op::File { id, signature, entry, racy, changed_at } => {
                self.clock = self.clock.max(changed_at);
                self.files.set(id, FileRow { signature, entry, racy, changed_at });
            }
            Op::Recorded {
                task,
                fingerprint,
                verified_at,
                outputs_changed_at,
                duration_ms,
                inputs,
                outputs,
                body: _,
            } => {
                self.clock = self.clock.max(*verified_at).max(*outputs_changed_at);
                let row = Row {
                    fingerprint: fingerprint.0,
                    verified_at: *verified_at,
                    outputs_changed_at: *outputs_changed_at,
                    duration_ms: *duration_ms,
                    inputs: inputs.to_vec(),
                    outputs: outputs.to_vec(),
                    record: body,
                    failure: Body::None,
                };
                self.tasks.set(task, Some(row));
            }
            Op::Verified { task, fingerprint, verified_at, inputs } => {
                self.clock = self.clock.max(*verified_at);
                if let Some(row) = self.tasks.owned(snapshot, task) {
                    let (fingerprint, verified_at, inputs) = (fingerprint.0, *verified_at, inputs.to_vec());
                    self.tasks.set(task, Some(Row { fingerprint, verified_at, inputs, ..row }));
                }
            }
            Op::Failed { task, body: _ } => {
                let row = self.tasks.owned(snapshot, task).unwrap_or_default();
                self.tasks.set(task, Some(Row { failure: body, ..row }));
            }
            Op::Forgotten { task } => self.tasks.set(task, None),
        }
    }
}

/// A body as it is kept: the first 8 bytes of its BLAKE3, then itself. The log's and the snapshot's own
/// checksums do not reach bodies, which are read one by one.
fn seal(body: &[u8]) -> Vec<u8> {
    [&blake3::hash(body).as_bytes()[..8], body].concat()
}

fn unseal(bytes: &[u8]) -> Option<&[u8]> {
    let (sum, body) = bytes.split_at_checked(8)?;
    (blake3::hash(body).as_bytes()[..8] == *sum).then_some(body)
}
