//! The journal: what conductor is about to make in the workspace, written down before a task may write, so
//! that after a crash its traces are told from a person's files. Knows nothing of how to clean up.
//!
//! Appended frames, not synced: it guards against a killed conductor, whose writes the kernel still has.
//! After a power cut an unlisted file is taken for a person's, which loses nothing.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::model::{RunId, Signature, TaskId, WorkspacePath};

use super::{Access, Error, failed, frame};

/// An output that a task may make.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Planned {
    /// Where.
    pub path: WorkspacePath,
    /// A folder, with all that the task puts into it.
    pub folder: bool,
}

/// What conductor is about to do for one task.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Intent {
    /// For which task.
    pub task: TaskId,
    /// In which run.
    pub run: RunId,
    /// What the task may make.
    pub outputs: Vec<Planned>,
    /// Previous outputs that are moved aside before it starts.
    pub moved_aside: Vec<WorkspacePath>,
    /// Files in its output folders that are not conductor's, as they look now.
    pub foreign: Vec<(WorkspacePath, Signature)>,
    /// The folder under `.conductor/aside` that holds what was moved aside.
    pub aside: String,
    /// A branch that is about to move.
    pub branch: Option<BranchMove>,
    /// The tree is to hold other states of edited paths: done once a record says that it landed by `aside`.
    pub landing: bool,
}

impl Intent {
    /// Is there nothing that would have to be undone?
    pub fn is_nothing(&self) -> bool {
        self.outputs.is_empty() && !self.sets_aside() && self.branch.is_none() && !self.landing
    }

    /// Is something moved or copied to `aside`?
    pub fn sets_aside(&self) -> bool {
        !self.moved_aside.is_empty() || !self.foreign.is_empty()
    }
}

/// A branch that moves from one commit to another; commits in hexadecimal.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BranchMove {
    /// Without `refs/heads/`.
    pub name: String,
    /// None where it is made.
    pub before: Option<String>,
    /// Somebody else put it there: that is kept under another name.
    pub foreign: bool,
    /// Where it is to stand.
    pub after: String,
}

#[derive(Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "lines live while they are written or read, one at a time")]
enum Line<'a> {
    Begin(u64, Cow<'a, Intent>),
    End(u64),
}

/// Stands for an intent that has begun.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Ticket(u64);

/// The open journal; may be used from many threads.
pub struct Journal {
    path: PathBuf,
    inner: Mutex<Inner>,
}

struct Inner {
    /// None under [`Access::ReadOnly`], or until something begins.
    file: Option<File>,
    access: Access,
    length: u64,
    next: u64,
    open: usize,
}

/// The journal is emptied when nothing is open and it is longer than this, in bytes.
const LONG: u64 = 64 << 10;

impl Journal {
    /// Opens the journal in the folder `dir` (`.conductor`), and returns what was begun and never ended: a
    /// crash left it. Those stay in the journal until [`Self::clear`]. What is damaged is skipped.
    pub fn open(dir: &Path, access: Access) -> (Self, Vec<Intent>) {
        let path = dir.join("journal");
        let bytes = std::fs::read(&path).unwrap_or_default();
        let mut open = BTreeMap::new();
        let mut next = 0;
        for line in lines(&bytes) {
            match line {
                Line::Begin(ticket, intent) => {
                    next = next.max(ticket.saturating_add(1));
                    open.insert(ticket, intent.into_owned());
                }
                Line::End(ticket) => {
                    open.remove(&ticket);
                }
            }
        }
        let inner = Inner { file: None, access, length: bytes.len() as u64, next, open: open.len() };
        (Self { path, inner: Mutex::new(inner) }, open.into_values().collect())
    }

    /// Writes down what is about to be made. Nothing of it may be made if this fails.
    pub fn begin(&self, intent: &Intent) -> Result<Ticket, Error> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let ticket = inner.next;
        inner
            .append(&self.path, &Line::Begin(ticket, Cow::Borrowed(intent)))
            .map_err(failed("write", &self.path))?;
        inner.next += 1;
        inner.open += 1;
        Ok(Ticket(ticket))
    }

    /// Writes down that it was made and recorded, or taken back. An end that cannot be written makes the
    /// next start look at the intent once more, which does no harm.
    pub fn end(&self, ticket: Ticket) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = inner.append(&self.path, &Line::End(ticket.0));
        inner.open = inner.open.saturating_sub(1);
        if inner.open == 0 && inner.length > LONG {
            inner.empty();
        }
    }

    /// Empties the journal: nothing is open any more.
    pub fn clear(&self) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.length > 0 && inner.open_file(&self.path).is_ok() {
            inner.open = 0;
            inner.empty();
        }
    }
}

impl Inner {
    fn open_file(&mut self, path: &Path) -> io::Result<&File> {
        if self.access == Access::ReadOnly {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        let file = match self.file.take() {
            Some(file) => file,
            None => OpenOptions::new().write(true).create(true).truncate(false).open(path)?,
        };
        Ok(self.file.insert(file))
    }

    fn append(&mut self, path: &Path, line: &Line<'_>) -> io::Result<()> {
        let mut bytes = postcard::to_extend(line, frame::begin()).map_err(io::Error::other)?;
        frame::end(&mut bytes);
        let length = self.length;
        let file = self.open_file(path)?;
        if let Err(error) = file.write_all_at(&bytes, length) {
            // Half a frame is skipped by a reader; the next one is written over it.
            let _ = file.set_len(length);
            return Err(error);
        }
        self.length += bytes.len() as u64;
        Ok(())
    }

    fn empty(&mut self) {
        if self.file.as_ref().is_some_and(|file| file.set_len(0).is_ok()) {
            self.length = 0;
        }
    }
}

/// All lines that can be read.
fn lines(bytes: &[u8]) -> impl Iterator<Item = Line<'static>> {
    frame::payloads(bytes).filter_map(|payload| postcard::from_bytes(payload).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intent(task: &str) -> Intent {
        let path = |text| WorkspacePath::new(text).unwrap();
        Intent {
            task: TaskId::new(task),
            run: RunId("r".to_owned()),
            outputs: vec![Planned { path: path("out"), folder: true }],
            moved_aside: vec![path("out/old")],
            foreign: vec![(path("out/mine"), Signature::ABSENT)],
            aside: "a".to_owned(),
            branch: None,
            landing: false,
        }
    }

    fn left(dir: &Path) -> Vec<Intent> {
        Journal::open(dir, Access::ReadOnly).1
    }

    #[test]
    fn what_was_begun_and_never_ended_is_left_until_it_is_cleared() {
        let dir = tempfile::tempdir().unwrap();
        let (journal, found) = Journal::open(dir.path(), Access::Write);
        assert_eq!(found, []);
        assert!(!dir.path().join("journal").exists());
        let first = journal.begin(&intent("T1")).unwrap();
        journal.begin(&intent("T2")).unwrap();
        journal.end(first);
        drop(journal);
        let (journal, found) = Journal::open(dir.path(), Access::Write);
        assert_eq!(found, [intent("T2")]);
        journal.begin(&intent("T3")).unwrap();
        assert_eq!(left(dir.path()), [intent("T2"), intent("T3")]);
        journal.clear();
        assert_eq!(left(dir.path()), []);
        assert_eq!(std::fs::metadata(dir.path().join("journal")).unwrap().len(), 0);
    }

    #[test]
    fn it_does_not_grow_while_tasks_end() {
        let dir = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(dir.path(), Access::Write);
        for _ in 0..5000 {
            let ticket = journal.begin(&intent("T1")).unwrap();
            journal.end(ticket);
        }
        assert!(std::fs::metadata(dir.path().join("journal")).unwrap().len() <= LONG);
        assert_eq!(left(dir.path()), []);
    }

    #[test]
    fn damage_hides_only_what_it_hits() {
        let dir = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(dir.path(), Access::Write);
        for task in ["T1", "T2", "T3"] {
            journal.begin(&intent(task)).unwrap();
        }
        let path = dir.path().join("journal");
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x55;
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(left(dir.path()).len(), 2, "byte {at}");
            std::fs::write(&path, &whole[..at]).unwrap();
            assert_eq!(left(dir.path()).len(), at * 3 / whole.len(), "length {at}");
        }
    }

    #[test]
    fn a_torn_end_does_not_hide_what_follows_it() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("journal"), &frame::begin()[..9]).unwrap();
        let (journal, found) = Journal::open(dir.path(), Access::Write);
        assert_eq!(found, []);
        journal.begin(&intent("T1")).unwrap();
        assert_eq!(left(dir.path()), [intent("T1")]);
    }

    #[test]
    fn a_full_disk_is_an_error_that_names_the_journal() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/dev/full", dir.path().join("journal")).unwrap();
        let inner = Inner { file: None, access: Access::Write, length: 0, next: 0, open: 0 };
        let journal = Journal { path: dir.path().join("journal"), inner: Mutex::new(inner) };
        let error = journal.begin(&intent("T1")).unwrap_err();
        assert!(error.to_string().contains("journal: No space left"), "{error}");
    }

    #[test]
    fn readers_write_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(dir.path(), Access::ReadOnly);
        assert!(journal.begin(&intent("T1")).is_err());
        journal.clear();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
