//! The state's snapshot: tables of files and tasks as they were at the last compaction, used where they
//! lie in memory, without making an object per row. Knows nothing of what changed since (the log does).
//!
//! Three sections of a sealed file, each an rkyv archive: the files' names, the files' rows, the tasks. Its
//! tail holds the tasks' bodies (a `Record` or a `Failure` each), which are read one by one when asked for.
//!
//! Invariants: a file's id is its row's number and survives compaction; tasks are sorted by id. Every
//! access is checked, so a snapshot that violates them answers wrongly but never panics; the checksums are
//! what makes sure that it does not.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use rkyv::primitive::ArchivedU32;
use rkyv::rancor;
use rkyv::util::AlignedVec;
use rkyv::{Archive, Serialize};

use super::Error;
use super::durable::Durability;
use super::sealed::{Kind, Refused, Sealed};

const KIND: Kind = Kind { magic: b"conductor st", version: 3, durability: Durability::Lasting };

/// Names one after the other, and where each ends.
#[derive(Archive, Serialize, Default)]
pub(super) struct Names {
    ends: Vec<u32>,
    bytes: Vec<u8>,
}

/// The paths of files, by id, and the ids in the order of the paths.
#[derive(Archive, Serialize, Default)]
pub(super) struct PathTable {
    pub(super) names: Names,
    pub(super) sorted: Vec<u32>,
}

/// The rows of files, by id.
#[derive(Archive, Serialize, Default)]
pub(super) struct FileTable {
    pub(super) cells: Vec<FileCell>,
}

/// A file's row, flat.
#[derive(Archive, Serialize, Default)]
pub(super) struct FileCell {
    pub(super) size: u64,
    pub(super) mtime_ns: i64,
    pub(super) ctime_ns: i64,
    pub(super) inode: u64,
    pub(super) changed_at: u64,
    pub(super) mode: u32,
    pub(super) kind: u8,
    /// This and the two below: 0 or 1. As `bool`s they would have to be checked one by one when the table is opened.
    pub(super) executable: u8,
    pub(super) racy: u8,
    /// 0 for a path that has an id and was never looked at.
    pub(super) observed: u8,
    pub(super) digest: [u8; 32],
}

/// The rows of tasks, sorted by id.
#[derive(Archive, Serialize, Default)]
pub(super) struct TaskTable {
    pub(super) clock: u64,
    /// How many files no task has among its inputs or outputs.
    pub(super) unused_files: u64,
    pub(super) ids: Names,
    pub(super) cells: Vec<TaskCell>,
    /// Each task's inputs, then its outputs, as file ids.
    pub(super) edges: Vec<u32>,
}

/// A task's row, flat. Ends are those of the row's part of a table; it begins where the row before ends.
#[derive(Archive, Serialize, Default)]
pub(super) struct TaskCell {
    pub(super) fingerprint: [u8; 32],
    pub(super) verified_at: u64,
    pub(super) outputs_changed_at: u64,
    /// Of the bodies in the tail: the record's, then the failure's.
    pub(super) bodies_end: u64,
    pub(super) record_length: u32,
    pub(super) failure_length: u32,
    pub(super) duration_ms: u32,
    pub(super) inputs_end: u32,
    pub(super) outputs_end: u32,
}

impl Names {
    pub(super) fn push(&mut self, name: &[u8]) {
        self.bytes.extend_from_slice(name);
        self.ends.push(u32::try_from(self.bytes.len()).unwrap_or(u32::MAX));
    }
}

impl ArchivedNames {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn get(&self, index: usize) -> Option<&[u8]> {
        let end = self.ends.get(index)?.to_native() as usize;
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before].to_native() as usize);
        self.bytes.get(start..end)
    }
}

struct Tables<'a> {
    paths: &'a ArchivedPathTable,
    files: &'a ArchivedFileTable,
    tasks: &'a ArchivedTaskTable,
}

self_cell::self_cell! {
    struct Loaded {
        owner: [AlignedVec; 3],
        #[covariant]
        dependent: Tables,
    }
}

struct Open {
    tables: Loaded,
    file: File,
    tail: u64,
    length: u64,
    identity: [u8; 32],
}

/// A snapshot, or none: then every table is empty.
#[derive(Default)]
pub(super) struct Snapshot(Option<Open>);

/// A row's number in the task table, with its parts.
pub(super) struct TaskAt<'a> {
    pub(super) cell: &'a ArchivedTaskCell,
    pub(super) inputs: &'a [ArchivedU32],
    pub(super) outputs: &'a [ArchivedU32],
    /// Where its bodies begin, from the beginning of the file.
    pub(super) bodies: u64,
}

impl Snapshot {
    /// Reads and checks the snapshot at `path`; where there is no file, the empty one.
    pub(super) fn open(path: &Path) -> Result<Self, Refused> {
        let Some(sealed) = Sealed::<3>::open(path, &KIND)? else { return Ok(Self::default()) };
        let (identity, length) = (sealed.identity(), sealed.length());
        let tables = Loaded::try_new(sealed.sections()?, |[paths, files, tasks]| {
            Ok::<_, rancor::Failure>(Tables {
                paths: rkyv::access(paths)?,
                files: rkyv::access(files)?,
                tasks: rkyv::access(tasks)?,
            })
        })
        .map_err(|_| Refused::Damaged)?;
        let (file, tail) = sealed.into_tail();
        Ok(Self(Some(Open { tables, file, tail, length, identity })))
    }

    /// Writes a snapshot in place of the one at `path`. `bodies` writes exactly as much as the cells say.
    pub(super) fn write(
        path: &Path,
        (paths, files, tasks): (&PathTable, &FileTable, &TaskTable),
        bodies: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
    ) -> Result<(), Error> {
        let encoded = || {
            Ok::<_, rancor::Error>([rkyv::to_bytes(paths)?, rkyv::to_bytes(files)?, rkyv::to_bytes(tasks)?])
        };
        let sections = encoded().map_err(std::io::Error::other).map_err(super::failed("encode", path))?;
        let tail = tasks.cells.last().map_or(0, |cell| cell.bodies_end);
        Sealed::write(path, &KIND, sections.each_ref().map(AlignedVec::as_slice), tail, bodies)
    }

    /// What a log names that belongs to this snapshot; zeros for the empty one.
    pub(super) fn identity(&self) -> [u8; 32] {
        self.0.as_ref().map_or([0; 32], |open| open.identity)
    }

    /// The file's length in bytes.
    pub(super) fn length(&self) -> u64 {
        self.0.as_ref().map_or(0, |open| open.length)
    }

    /// Is it still the file at `path`? False when another one was renamed to it.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        let there = std::fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()));
        let this = self.0.as_ref().and_then(|open| open.file.metadata().ok());
        there == this.map(|metadata| (metadata.dev(), metadata.ino()))
    }

    /// The last tick.
    pub(super) fn clock(&self) -> u64 {
        self.tasks().map_or(0, |tasks| tasks.clock.to_native())
    }

    /// How many files no task has among its inputs or outputs.
    pub(super) fn unused_files(&self) -> usize {
        self.tasks()
            .and_then(|tasks| usize::try_from(tasks.unused_files.to_native()).ok())
            .unwrap_or_default()
    }

    fn tables(&self) -> Option<&Tables<'_>> {
        self.0.as_ref().map(|open| open.tables.borrow_dependent())
    }

    fn paths(&self) -> Option<&ArchivedPathTable> {
        self.tables().map(|tables| tables.paths)
    }

    fn tasks(&self) -> Option<&ArchivedTaskTable> {
        self.tables().map(|tables| tables.tasks)
    }

    pub(super) fn file_count(&self) -> usize {
        self.paths().map_or(0, |paths| paths.names.len())
    }

    pub(super) fn file(&self, id: u32) -> Option<&ArchivedFileCell> {
        self.tables()?.files.cells.get(id as usize).filter(|cell| cell.observed != 0)
    }

    pub(super) fn path(&self, id: u32) -> Option<&[u8]> {
        self.paths()?.names.get(id as usize)
    }

    /// The id of the path of rank `rank`, from 0.
    pub(super) fn file_of_rank(&self, rank: usize) -> Option<u32> {
        self.paths()?.sorted.get(rank).map(|id| id.to_native())
    }

    /// The ids of all files, in the order of their paths.
    pub(super) fn ranked(&self) -> impl Iterator<Item = u32> {
        self.paths().into_iter().flat_map(|paths| paths.sorted.iter().map(|id| id.to_native()))
    }

    /// The rank of `path` among the paths, or of the first one after it.
    pub(super) fn rank_of(&self, path: &[u8]) -> Result<usize, usize> {
        let Some(paths) = self.paths() else { return Err(0) };
        paths
            .sorted
            .binary_search_by(|id| paths.names.get(id.to_native() as usize).unwrap_or_default().cmp(path))
    }

    pub(super) fn task_count(&self) -> usize {
        self.tasks().map_or(0, |tasks| tasks.ids.len())
    }

    /// The id of the task in row `row`, as its bytes.
    pub(super) fn task_id(&self, row: usize) -> Option<&[u8]> {
        self.tasks()?.ids.get(row)
    }

    /// The row of the task `id`, or of the first one after it.
    pub(super) fn find_task(&self, id: &str) -> Result<usize, usize> {
        let Some(tasks) = self.tasks() else { return Err(0) };
        let (mut low, mut high) = (0, tasks.ids.len());
        while low < high {
            let middle = low.midpoint(high);
            match tasks.ids.get(middle).unwrap_or_default().cmp(id.as_bytes()) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    pub(super) fn task(&self, row: usize) -> Option<TaskAt<'_>> {
        let open = self.0.as_ref()?;
        let tasks = open.tables.borrow_dependent().tasks;
        let cell = tasks.cells.get(row)?;
        let before = row.checked_sub(1).and_then(|row| tasks.cells.get(row));
        let start = before.map_or(0, |cell| cell.outputs_end.to_native()) as usize;
        let middle = cell.inputs_end.to_native() as usize;
        let end = cell.outputs_end.to_native() as usize;
        Some(TaskAt {
            cell,
            inputs: tasks.edges.get(start..middle)?,
            outputs: tasks.edges.get(middle..end)?,
            bodies: open.tail + before.map_or(0, |cell| cell.bodies_end.to_native()),
        })
    }

    /// Reads `length` bytes at `offset` of the file.
    pub(super) fn read(&self, offset: u64, length: u32) -> Option<Vec<u8>> {
        let mut bytes = vec![0; length as usize];
        self.0.as_ref()?.file.read_exact_at(&mut bytes, offset).ok()?;
        Some(bytes)
    }
}
