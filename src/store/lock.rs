//! The lock: one build per workspace at a time. Knows nothing of what a build is.
//!
//! An exclusive `flock` on `.conductor/lock`, which the kernel lets go when the process dies, however it dies;
//! std opens files close-on-exec, so no task inherits it. The file's content says who holds it, for people.
//!
//! To see whether somebody builds, a reader takes a *shared* lock for an instant. It disturbs nobody: readers
//! do not exclude each other, and a build that is refused the exclusive lock asks for a shared one, which only
//! another build refuses; where it gets that, it was a reader, and the build tries again.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::RunId;

/// Who holds the lock.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Holder {
    /// Its process; 0 where it has not said yet.
    pub pid: u32,
    /// Its run.
    pub run: RunId,
    /// Its command line.
    pub command: String,
    /// Since when, RFC 3339.
    pub since: String,
}

/// Why the lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else holds it.
    #[error("process {} holds the lock: `{}`, since {}", .0.pid, .0.command, .0.since)]
    Held(Holder),
    /// The lock's file could not be made or locked.
    #[error(transparent)]
    Io(#[from] super::Error),
}

/// The right to build, held until it is dropped or the process dies.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

/// How long a waiting build sleeps before it asks again.
const POLL: Duration = Duration::from_millis(50);
/// How long a reader may hold its shared lock, at the very most.
const INSTANT: Duration = Duration::from_millis(1);

impl Lock {
    /// Takes the lock in the folder `dir` (`.conductor`) for `holder`. While another build holds it, `wait`
    /// is asked every 50 ms: on [`ControlFlow::Break`] the answer is [`LockError::Held`].
    pub fn acquire(
        dir: &Path,
        holder: &Holder,
        wait: &mut dyn FnMut(&Holder) -> ControlFlow<()>,
    ) -> Result<Self, LockError> {
        let path = dir.join("lock");
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = opened.map_err(super::failed("open", &path))?;
        loop {
            match try_exclusive(&file).map_err(super::failed("lock", &path))? {
                Attempt::Taken => break,
                Attempt::Reader => std::thread::sleep(INSTANT),
                Attempt::Held => {
                    let other = read_holder(&file);
                    if wait(&other).is_break() {
                        return Err(LockError::Held(other));
                    }
                    std::thread::sleep(POLL);
                }
            }
        }
        let lock = Self { file };
        lock.write_holder(holder).map_err(super::failed("write", &path))?;
        Ok(lock)
    }

    /// Who is building in the workspace whose `.conductor` is `dir`, if anybody is. Writes nothing.
    pub fn holder(dir: &Path) -> Option<Holder> {
        let file = File::open(dir.join("lock")).ok()?;
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => Some(read_holder(&file)),
            // Closing the file lets the shared lock go.
            Ok(()) | Err(TryLockError::Error(_)) => None,
        }
    }

    fn write_holder(&self, holder: &Holder) -> io::Result<()> {
        let mut line = serde_json::to_vec(holder)?;
        line.push(b'\n');
        self.file.write_all_at(&line, 0)?;
        self.file.set_len(line.len() as u64)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // So that the file never names a run that is over; closing it lets the lock go.
        let _ = self.file.set_len(0);
    }
}

enum Attempt {
    Taken,
    /// Somebody only looks.
    Reader,
    Held,
}

fn try_exclusive(file: &File) -> io::Result<Attempt> {
    match file.try_lock() {
        Ok(()) => return Ok(Attempt::Taken),
        Err(TryLockError::Error(error)) => return Err(error),
        Err(TryLockError::WouldBlock) => {}
    }
    match file.try_lock_shared() {
        Ok(()) => file.unlock().map(|()| Attempt::Reader),
        Err(TryLockError::WouldBlock) => Ok(Attempt::Held),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// The first line of the lock's file; a holder that has not written it yet is nobody in particular.
fn read_holder(file: &File) -> Holder {
    let mut text = Vec::new();
    let mut from_start = file;
    let read =
        io::Seek::rewind(&mut from_start).and_then(|()| from_start.take(64 << 10).read_to_end(&mut text));
    let line = text.split(|byte| *byte == b'\n').next().filter(|_| read.is_ok());
    line.and_then(|line| serde_json::from_slice(line).ok()).unwrap_or_default()
}
