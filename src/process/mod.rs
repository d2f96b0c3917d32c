//! Processes: start one, capture what it prints, stop it when its time is over or someone says so, and
//! leave nothing of it behind (`run`, `descent`); let it do no more than it may ([`confine`]). Signals that reach
//! conductor itself are in `signals`.
//!
//! It does not know what a task is, where logs are kept or who reads the lines; just command execution.
//!
//! Invariants:
//! - Only the thread that runs a process signals and reaps it, and signals it only before it reaps it: no
//!   signal ever hits a recycled process id. Everyone else leaves an order and wakes that thread.
//! - The end of a run is the end of its process, not the end of its output: a grandchild that keeps the
//!   pipe open holds nothing up.
//! - All children of this program are started here. An orphan among its children is therefore
//!   what a task left behind.
//! - Nothing runs in the child between fork and exec, so that the standard library can spawn it in the
//!   manner of `vfork`, at a cost that does not grow with this program's memory.

pub mod confine;
mod descent;
mod output;
mod program;
mod redact;
mod register;
mod run;
mod signals;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::model::Digest;

pub use confine::Confinement;
pub use descent::reap_strays;
pub use program::find_program;
pub use redact::forms as secret_forms;
pub use signals::Signals;

/// The variable that names the task in the environment of everything that it starts.
pub const TASK_VARIABLE: &str = "CONDUCTOR_TASK";
/// The variable that names the run.
pub const RUN_VARIABLE: &str = "CONDUCTOR_RUN";

/// What to run, and how.
pub struct Spec<'a> {
    /// The program, as an absolute path (see [`find_program`]), and its arguments.
    pub argv: Vec<OsString>,
    /// The working folder.
    pub dir: &'a Path,
    /// The whole environment: nothing is inherited.
    pub env: Vec<(OsString, OsString)>,
    /// What it reads.
    pub stdin: Stdin<'a>,
    /// How long it may take.
    pub timeout: Option<Duration>,
    /// How long it may neither print nor make progress.
    pub stall: Option<Duration>,
    /// How long it has to end by itself after SIGTERM, before SIGKILL.
    pub grace: Duration,
    /// Where its output is kept, both streams as they come. Made at the first byte, and appended to.
    pub log: &'a Path,
    /// Values that appear as `***` in everything that leaves here; see [`Ended`].
    pub secrets: &'a [Vec<u8>],
    /// Who runs it, for [`Processes::cancel`].
    pub owner: &'a str,
    /// A number that changes as work goes on without output; asked about once a second at most, and
    /// only where there is a `stall`.
    pub progress: Option<&'a dyn Fn() -> u64>,
    /// What it may do; everything, where there is none.
    pub confinement: Option<&'a Confinement>,
    /// Called for each line, without its end; a line longer than 64 KiB comes in pieces.
    pub on_line: &'a mut dyn FnMut(&[u8]),
}

/// What a process reads.
#[derive(Clone, Copy, Debug)]
pub enum Stdin<'a> {
    /// Nothing.
    Null,
    /// These bytes. They are never written to disk.
    Bytes(&'a [u8]),
}

/// How a process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// By itself, with this code.
    Exited(i32),
    /// By a signal that did not come from here.
    Signalled(i32),
    /// Stopped: it took too long.
    TimedOut,
    /// Stopped: neither output nor progress for too long.
    Stalled,
    /// Stopped by [`Processes::cancel`].
    Cancelled,
    /// Stopped by [`Processes::stop_all`].
    Stopped,
}

/// A process that has ended, with all that it started.
#[derive(Debug)]
pub struct Ended {
    /// How.
    pub end: End,
    /// From its start until it and its descendants were gone.
    pub duration: Duration,
    /// How many bytes it printed, after redaction.
    pub bytes: u64,
    /// The last 8 KiB of its output, redacted.
    pub tail: Vec<u8>,
    /// Of its whole output, redacted.
    pub digest: Digest,
    /// Why the log is not complete, where it is not (a full disk, say).
    pub log_error: Option<io::Error>,
}

/// Why a process could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// There is no such program.
    #[error("cannot find the program {}", .0.display())]
    NotFound(PathBuf),
    /// The script is there, and the interpreter that its first line names is not.
    #[error("cannot start {}: its interpreter {} is not there", program.display(), interpreter.display())]
    NoInterpreter {
        /// The script.
        program: PathBuf,
        /// What it names.
        interpreter: PathBuf,
    },
    /// The working folder is not there.
    #[error("cannot enter the folder {}", .0.display())]
    Dir(PathBuf),
    /// The system refused.
    #[error("cannot start {}: {source}", program.display())]
    Other {
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It could not be confined, and so was not started.
    #[error("cannot confine {}, so it was not started: {reason}", program.display())]
    NotConfined {
        /// The program.
        program: PathBuf,
        /// What was in the way.
        reason: String,
    },
    /// [`Processes::stop_all`] was called: nothing starts any more.
    #[error("conductor is stopping")]
    AlreadyStopping,
}

/// All that runs now. Shared by the threads that run tasks.
#[derive(Debug)]
pub struct Processes {
    /// Tells this instance's processes from another's.
    id: u64,
    stopping: AtomicBool,
}

impl Processes {
    /// Nothing runs yet. From here on this program adopts the orphans of what it starts.
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        // Where the kernel cannot do that, a process that left its group and lost its parent gets away.
        let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
        Self { id: NEXT.fetch_add(1, Ordering::Relaxed), stopping: AtomicBool::new(false) }
    }

    /// Runs a process and waits until it and everything that it started are gone.
    ///
    /// # Errors
    /// It could not be started. However it ends once it runs is no error.
    pub fn run(&self, mut spec: Spec<'_>) -> Result<Ended, SpawnError> {
        run::run(self, &mut spec)
    }

    /// Stops everything, and lets nothing start any more: SIGTERM, then SIGKILL after each one's grace, or
    /// at once where `escalate` is set. Returns immediately; the calls of [`Self::run`] return when their
    /// processes are gone.
    pub fn stop_all(&self, escalate: bool) {
        let order = if escalate { register::Order::Kill } else { register::Order::Stop };
        // Whoever does not see this has registered its process by the time the order is given.
        self.stopping.store(true, Ordering::SeqCst);
        register::order(order, |entry| entry.instance == self.id);
    }

    /// Stops what `owner` runs. Says whether there was anything.
    pub fn cancel(&self, owner: &str) -> bool {
        register::order(register::Order::Cancel, |entry| entry.instance == self.id && entry.owner == owner)
    }
}

impl Default for Processes {
    fn default() -> Self {
        Self::new()
    }
}
