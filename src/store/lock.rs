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

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};
    use std::time::Instant;

    use super::*;

    fn holder(command: &str) -> Holder {
        Holder { pid: std::process::id(), command: command.to_owned(), ..Holder::default() }
    }

    fn no_wait(dir: &Path) -> Result<Lock, LockError> {
        Lock::acquire(dir, &holder("second"), &mut |_| ControlFlow::Break(()))
    }

    #[test]
    fn a_second_build_is_told_who_holds_the_lock_until_it_is_free() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Lock::holder(dir.path()), None);
        let lock = Lock::acquire(dir.path(), &holder("first"), &mut |_| ControlFlow::Continue(())).unwrap();
        assert_eq!(Lock::holder(dir.path()), Some(holder("first")));
        let Err(LockError::Held(other)) = no_wait(dir.path()) else { panic!("two builds") };
        assert_eq!(other, holder("first"));
        drop(lock);
        assert_eq!(Lock::holder(dir.path()), None);
        no_wait(dir.path()).unwrap();
    }

    #[test]
    fn a_waiting_build_goes_on_when_the_first_one_ends_and_stops_when_it_is_told_to() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = Some(no_wait(dir.path()).unwrap());
        let mut asked = 0;
        let mut wait = |_: &Holder| {
            asked += 1;
            if asked == 3 {
                first = None;
            }
            ControlFlow::Continue(())
        };
        let second = Lock::acquire(dir.path(), &holder("second"), &mut wait).unwrap();
        assert_eq!(asked, 3);
        let start = Instant::now();
        let mut patience = 2;
        let mut wait = |_: &Holder| {
            patience -= 1;
            if patience == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        assert!(Lock::acquire(dir.path(), &holder("third"), &mut wait).is_err());
        assert!(start.elapsed() >= POLL);
        drop(second);
    }

    #[test]
    fn readers_never_make_a_build_believe_that_another_one_runs() {
        let dir = tempfile::tempdir().unwrap();
        drop(no_wait(dir.path()).unwrap());
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                        Lock::holder(dir.path());
                    }
                });
            }
            let refused = (0..300).filter(|_| no_wait(dir.path()).is_err()).count();
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            assert_eq!(refused, 0);
        });
    }

    /// Not a test of its own: the other process of the test below.
    #[test]
    fn another_process_that_holds_the_lock() {
        if let Some(dir) = std::env::var_os("CONDUCTOR_TEST_LOCK") {
            let _lock = no_wait(Path::new(&dir)).unwrap();
            std::fs::write(Path::new(&dir).join("locked"), "").unwrap();
            std::thread::sleep(Duration::from_secs(60));
        }
    }

    #[test]
    fn a_lock_dies_with_its_process() {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::lock::tests::another_process_that_holds_the_lock"])
            .env("CONDUCTOR_TEST_LOCK", dir.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        while !dir.path().join("locked").exists() {
            assert_eq!(child.try_wait().unwrap(), None, "it never locked");
            std::thread::sleep(Duration::from_millis(5));
        }
        let held = Lock::holder(dir.path());
        assert_eq!(held.map(|holder| holder.pid), Some(child.id()));
        assert!(no_wait(dir.path()).is_err());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(Lock::holder(dir.path()), None);
        no_wait(dir.path()).unwrap();
    }
}
