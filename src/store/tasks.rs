//! The table of tasks: for each the last accepted result and the last failure. Knows nothing of what is
//! in a record, nor whether it still holds.
//!
//! The snapshot's rows lie beneath; rows that changed since lie above them, sorted by id.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::Duration;

use rkyv::primitive::ArchivedU32;

use crate::model::Digest;

use super::files::FileId;
use super::snapshot::{Snapshot, TaskAt};

/// What is known of a task, without its record.
#[derive(Clone, Debug)]
pub struct TaskRow<'a> {
    /// Of the task's definition, at the time the row was written: the caller's to define.
    pub fingerprint: Digest,
    /// The tick at which its key was computed from the files as they were.
    pub verified_at: u64,
    /// The tick at which its outputs last changed.
    pub outputs_changed_at: u64,
    /// It has an accepted result.
    pub has_record: bool,
    /// Its last attempt failed.
    pub has_failure: bool,
    /// How long its command took; zero where it has no record.
    pub duration: Duration,
    /// The files that its key was computed from.
    pub inputs: FileIds<'a>,
    /// The files that it made.
    pub outputs: FileIds<'a>,
}

/// The files of a row, in the order in which they were given.
#[derive(Clone, Debug)]
pub struct FileIds<'a>(Slice<'a>);

#[derive(Clone, Debug)]
enum Slice<'a> {
    Archived(std::slice::Iter<'a, ArchivedU32>),
    Owned(std::slice::Iter<'a, FileId>),
}

impl Iterator for FileIds<'_> {
    type Item = FileId;

    fn next(&mut self) -> Option<FileId> {
        match &mut self.0 {
            Slice::Archived(ids) => ids.next().map(|id| FileId(id.to_native())),
            Slice::Owned(ids) => ids.next().copied(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.0 {
            Slice::Archived(ids) => ids.size_hint(),
            Slice::Owned(ids) => ids.size_hint(),
        }
    }
}

impl ExactSizeIterator for FileIds<'_> {}

/// Where a record or failure lies, encoded and sealed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Body {
    /// There is none.
    #[default]
    None,
    /// In the snapshot's file.
    Snapshot { offset: u64, length: u32 },
    /// In the log.
    Log { offset: u64, length: u32 },
}

impl Body {
    fn in_snapshot(offset: u64, length: u32) -> Self {
        if length == 0 { Self::None } else { Self::Snapshot { offset, length } }
    }

    /// Bytes.
    pub(super) fn length(self) -> u32 {
        match self {
            Self::None => 0,
            Self::Snapshot { length, .. } | Self::Log { length, .. } => length,
        }
    }
}

/// A row that changed since the snapshot.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    pub(super) fingerprint: [u8; 32],
    pub(super) verified_at: u64,
    pub(super) outputs_changed_at: u64,
    pub(super) duration_ms: u32,
    pub(super) inputs: Vec<FileId>,
    pub(super) outputs: Vec<FileId>,
    pub(super) record: Body,
    pub(super) failure: Body,
}

impl Row {
    fn view(&self) -> TaskRow<'_> {
        TaskRow {
            fingerprint: Digest(self.fingerprint),
            verified_at: self.verified_at,
            outputs_changed_at: self.outputs_changed_at,
            has_record: self.record != Body::None,
            has_failure: self.failure != Body::None,
            duration: Duration::from_millis(self.duration_ms.into()),
            inputs: FileIds(Slice::Owned(self.inputs.iter())),
            outputs: FileIds(Slice::Owned(self.outputs.iter())),
        }
    }
}

impl<'a> TaskAt<'a> {
    fn view(&self) -> TaskRow<'a> {
        TaskRow {
            fingerprint: Digest(self.cell.fingerprint),
            verified_at: self.cell.verified_at.to_native(),
            outputs_changed_at: self.cell.outputs_changed_at.to_native(),
            has_record: self.cell.record_length != 0,
            has_failure: self.cell.failure_length != 0,
            duration: Duration::from_millis(self.cell.duration_ms.to_native().into()),
            inputs: FileIds(Slice::Archived(self.inputs.iter())),
            outputs: FileIds(Slice::Archived(self.outputs.iter())),
        }
    }

    fn to_row(&self) -> Row {
        let record = self.cell.record_length.to_native();
        let ids = |ids: &[ArchivedU32]| ids.iter().map(|id| FileId(id.to_native())).collect();
        Row {
            fingerprint: self.cell.fingerprint,
            verified_at: self.cell.verified_at.to_native(),
            outputs_changed_at: self.cell.outputs_changed_at.to_native(),
            duration_ms: self.cell.duration_ms.to_native(),
            inputs: ids(self.inputs),
            outputs: ids(self.outputs),
            record: Body::in_snapshot(self.bodies, record),
            failure: Body::in_snapshot(self.bodies + u64::from(record), self.cell.failure_length.to_native()),
        }
    }
}

/// What changed since the snapshot; none for a task that was forgotten.
#[derive(Default)]
pub(super) struct Tasks(BTreeMap<Box<str>, Option<Row>>);

impl Tasks {
    pub(super) fn row<'a>(&'a self, snapshot: &'a Snapshot, id: &str) -> Option<TaskRow<'a>> {
        match self.0.get(id) {
            Some(row) => row.as_ref().map(Row::view),
            None => snapshot.task(snapshot.find_task(id).ok()?).map(|task| task.view()),
        }
    }

    /// The row itself, to change it or to copy it.
    pub(super) fn owned(&self, snapshot: &Snapshot, id: &str) -> Option<Row> {
        match self.0.get(id) {
            Some(row) => row.clone(),
            None => snapshot.task(snapshot.find_task(id).ok()?).map(|task| task.to_row()),
        }
    }

    pub(super) fn set(&mut self, id: &str, row: Option<Row>) {
        self.0.insert(id.into(), row);
    }

    /// All tasks that have a row, sorted by their ids.
    pub(super) fn all<'a>(&'a self, snapshot: &'a Snapshot) -> impl Iterator<Item = (&'a str, TaskRow<'a>)> {
        let task =
            |row| Some((std::str::from_utf8(snapshot.task_id(row)?).ok()?, snapshot.task(row)?.view()));
        let mut beneath = (0..snapshot.task_count()).filter_map(task).peekable();
        let mut above = self.0.iter().peekable();
        std::iter::from_fn(move || {
            loop {
                let Some((id, row)) = above.peek().map(|(id, row)| (&***id, row.as_ref())) else {
                    return beneath.next();
                };
                if let Some(other) = beneath.next_if(|(other, _)| *other < id) {
                    return Some(other);
                }
                beneath.next_if(|(other, _)| *other == id);
                above.next();
                if let Some(row) = row {
                    return Some((id, row.view()));
                }
            }
        })
    }

    /// The rows of `ids`, which are sorted, found by walking both tables in step.
    pub(super) fn rows<'a>(
        &'a self,
        snapshot: &'a Snapshot,
        ids: impl Iterator<Item = &'a str>,
    ) -> impl Iterator<Item = Option<TaskRow<'a>>> {
        let mut above = self.0.iter().peekable();
        let mut beneath = 0;
        ids.map(move |id| {
            while above.next_if(|(other, _)| &***other < id).is_some() {}
            if let Some((_, row)) = above.peek().filter(|(other, _)| &***other == id) {
                return row.as_ref().map(Row::view);
            }
            loop {
                match snapshot.task_id(beneath)?.cmp(id.as_bytes()) {
                    Ordering::Less => beneath += 1,
                    Ordering::Equal => return snapshot.task(beneath).map(|task| task.view()),
                    Ordering::Greater => return None,
                }
            }
        })
    }
}
