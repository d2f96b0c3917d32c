//! What each run keeps of the tasks that it ran, in `runs/<id>/attempts`: what their keys were made of, so that a
//! later run can be compared with it. Knows nothing of what differs.
//!
//! Appended frames, not synced: what is lost costs an explanation, nothing else.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::{Attempt, RunId, TaskId};

use super::{RunDir, frame};

/// The first byte of every frame's payload: how the rest is encoded.
const VERSION: u8 = 1;

/// The file of a run that goes on; may be used from many threads.
#[derive(Debug)]
pub struct Attempts {
    path: PathBuf,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// None before the first attempt, so that a run in which nothing runs has no file.
    file: Option<File>,
    /// Whole frames that are not in the file yet.
    waiting: Vec<u8>,
}

impl Attempts {
    /// Of the run that has this folder.
    pub fn of(run: &RunDir) -> Self {
        Self { path: path_in(run.path()), inner: Mutex::default() }
    }

    /// Keeps an attempt, until [`Self::write`] in memory. One that cannot be written is lost.
    pub fn keep(&self, attempt: &Attempt) {
        let mut bytes = frame::begin();
        bytes.push(VERSION);
        let Ok(mut bytes) = postcard::to_extend(attempt, bytes) else { return };
        frame::end(&mut bytes);
        self.inner().waiting.extend_from_slice(&bytes);
    }

    /// Writes what was kept since the last call.
    pub fn write(&self) {
        let mut inner = self.inner();
        let Inner { file, waiting } = &mut *inner;
        if waiting.is_empty() {
            return;
        }
        if file.is_none() {
            *file = OpenOptions::new().append(true).create(true).open(&self.path).ok();
        }
        if file.as_mut().is_some_and(|file| file.write_all(waiting).is_err()) {
            *file = None;
        }
        waiting.clear();
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn path_in(run: &Path) -> PathBuf {
    run.join("attempts")
}

/// The last attempt of a task in a run; none where it was not run there, or nothing of it can be read.
pub fn last_attempt(dir: &Path, run: &RunId, task: &TaskId) -> Option<Attempt> {
    let bytes = std::fs::read(path_in(RunDir::of(dir, run).path())).ok()?;
    let attempts = frame::payloads(&bytes).filter_map(|payload| {
        let (version, body) = payload.split_first()?;
        // The task's name comes first, so that those of other tasks need not be read.
        let (name, _) = postcard::take_from_bytes::<TaskId>(body).ok()?;
        (*version == VERSION && name == *task).then_some(body)
    });
    attempts.filter_map(|body| postcard::from_bytes(body).ok()).last()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Action, Status};

    fn attempt(task: &str, command: &str) -> Attempt {
        let definition = vec![("run".to_owned(), command.to_owned())];
        Attempt {
            task: TaskId::new(task),
            status: Status::Ran,
            action: Action { definition, ..Action::default() },
            validation: None,
            outputs: Vec::new(),
        }
    }

    #[test]
    fn the_last_attempt_of_a_task_is_found_around_damage() {
        let dir = tempfile::tempdir().unwrap();
        let run = crate::store::new_run_id();
        let kept = Attempts::of(&RunDir::create(dir.path(), &run).unwrap());
        let last = |task: &str| last_attempt(dir.path(), &run, &TaskId::new(task));
        assert_eq!(last("T1"), None);
        for one in [attempt("T1", "a"), attempt("T2", "b"), attempt("T1", "c")] {
            kept.keep(&one);
        }
        assert_eq!(last("T1"), None);
        kept.write();
        assert_eq!(last("T1"), Some(attempt("T1", "c")));
        assert_eq!(last("T2"), Some(attempt("T2", "b")));
        assert_eq!(last("T3"), None);
        let path = path_in(RunDir::of(dir.path(), &run).path());
        let mut bytes = std::fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(last("T1"), Some(attempt("T1", "a")));
    }
}
