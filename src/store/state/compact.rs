//! Compaction: a new snapshot that holds all that the old one and its log held.
//!
//! A crash at any point leaves a state that opens as it was: until the new snapshot is renamed into place the
//! old one and its log hold; from then on the log names a snapshot that is gone, and is not used.

use std::io::{self, Write};

use crate::store::files::FileId;
use crate::store::snapshot::{FileCell, FileTable, PathTable, Snapshot, TaskCell, TaskTable};
use crate::store::tasks::{Body, Row};
use crate::store::{Access, Error, failed};

use super::State;

/// A log shorter than this is never worth a compaction, in bytes.
const SMALL: u64 = 256 << 10;

/// Fewer files than this that no task knows any more are not worth a renumbering.
const FEW: usize = 4096;

impl State {
    /// Replaying the log costs time at every start (about 8 ms a megabyte of files' signatures), writing the
    /// snapshot costs time once (about 5 ms a megabyte).
    pub(super) fn is_compaction_due(&self) -> bool {
        self.log.length() > SMALL.max(self.snapshot.length() / 16)
    }

    /// Are most files such that no task knew them at the last compaction?
    pub(super) fn is_renumbering_due(&self) -> bool {
        let unused = self.snapshot.unused_files();
        unused > FEW && unused > self.file_count() / 2
    }

    /// Writes a new snapshot and begins a new log. File ids stay the same.
    pub(super) fn compact(&mut self) -> Result<(), Error> {
        let all: Vec<_> = (0..self.file_count()).map(file_id).collect();
        self.rewrite(&all)
    }

    /// As [`Self::compact`], but files that no task knows are dropped and the others get new ids, in the
    /// order of their paths: only while nobody has seen an id yet.
    pub(super) fn renumber(&mut self) -> Result<(), Error> {
        let used = used(self.file_count(), &self.task_rows());
        let mut kept: Vec<_> = (0..self.file_count()).filter(|id| used[*id]).map(file_id).collect();
        kept.sort_by_key(|id| self.path(*id));
        self.rewrite(&kept)
    }

    /// Writes the files of `order` in that order, and all tasks, then reads them back.
    fn rewrite(&mut self, order: &[FileId]) -> Result<(), Error> {
        let rows = self.task_rows();
        let tables = (&self.path_table(order), &self.file_table(order), &self.task_table(order, &rows));
        Snapshot::write(&self.dir.join("state"), tables, |out| self.write_bodies(&rows, out))?;
        drop(rows);
        let log = self.dir.join("state.log");
        match std::fs::remove_file(&log) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("remove", &log)(error));
            }
            _ => {}
        }
        let (written, _) = Self::open_once(&self.dir, Access::Write);
        if written.file_count() != order.len() {
            let error = io::Error::other("it does not hold what was written to it");
            return Err(failed("read", &self.dir.join("state"))(error));
        }
        let now = self.now();
        *self = written;
        self.tables.clock = self.tables.clock.max(now);
        Ok(())
    }

    fn task_rows(&self) -> Vec<(&str, Row)> {
        self.ids().filter_map(|id| Some((id, self.tables.tasks.owned(&self.snapshot, id)?))).collect()
    }

    fn path_table(&self, order: &[FileId]) -> PathTable {
        let mut table = PathTable::default();
        for id in order {
            table.names.push(self.path(*id));
        }
        let mut sorted: Vec<_> = (0..order.len()).collect();
        sorted.sort_by_key(|index| self.path(order[*index]));
        table.sorted = sorted.into_iter().map(|index| file_id(index).0).collect();
        table
    }

    fn file_table(&self, order: &[FileId]) -> FileTable {
        let cell = |id: &FileId| self.file(*id).map_or_else(FileCell::default, FileCell::from);
        FileTable { cells: order.iter().map(cell).collect() }
    }

    fn task_table(&self, order: &[FileId], rows: &[(&str, Row)]) -> TaskTable {
        let mut renumbered = vec![0; self.file_count()];
        for (index, id) in order.iter().enumerate() {
            renumbered[id.0 as usize] = file_id(index).0;
        }
        let used = used(self.file_count(), rows);
        let unused = order.iter().filter(|id| !used[id.0 as usize]).count();
        let mut table = TaskTable { clock: self.now(), unused_files: unused as u64, ..TaskTable::default() };
        for (id, row) in rows {
            let mut edges = |ids: &[FileId]| {
                table.edges.extend(ids.iter().filter_map(|id| renumbered.get(id.0 as usize)));
                u32::try_from(table.edges.len()).unwrap_or(u32::MAX)
            };
            let (inputs_end, outputs_end) = (edges(&row.inputs), edges(&row.outputs));
            let before = table.cells.last().map_or(0, |cell| cell.bodies_end);
            let (record_length, failure_length) = (row.record.length(), row.failure.length());
            table.ids.push(id.as_bytes());
            table.cells.push(TaskCell {
                fingerprint: row.fingerprint,
                verified_at: row.verified_at,
                outputs_changed_at: row.outputs_changed_at,
                bodies_end: before + u64::from(record_length) + u64::from(failure_length),
                record_length,
                failure_length,
                duration_ms: row.duration_ms,
                inputs_end,
                outputs_end,
            });
        }
        table
    }

    /// Copies records and failures as they are, sealed: what cannot be read back becomes a body that
    /// does not open, and no worse.
    fn write_bodies(&self, rows: &[(&str, Row)], out: &mut dyn Write) -> io::Result<()> {
        for body in rows.iter().flat_map(|(_, row)| [row.record, row.failure]) {
            if body != Body::None {
                let bytes = self.body(body).unwrap_or_else(|| vec![0; body.length() as usize]);
                out.write_all(&bytes)?;
            }
        }
        Ok(())
    }
}

fn file_id(index: usize) -> FileId {
    FileId(u32::try_from(index).unwrap_or(u32::MAX))
}

/// By file id: does a task know it?
fn used(count: usize, rows: &[(&str, Row)]) -> Vec<bool> {
    let mut used = vec![false; count];
    for id in rows.iter().flat_map(|(_, row)| row.inputs.iter().chain(&row.outputs)) {
        if let Some(used) = used.get_mut(id.0 as usize) {
            *used = true;
        }
    }
    used
}
