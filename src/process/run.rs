//! One process from its start to the end of the last thing that it started.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, PipeReader, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::MemfdFlags;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};

use super::confine::{self, Outcome, Report};
use super::descent::{self, PATIENCE};
use super::output::Output;
use super::register::{self, Entry, Order};
use super::{End, Ended, Processes, SpawnError, Spec, Stdin};

/// Output is read in pieces of this many bytes: what a pipe holds.
const PIECE: usize = 64 * 1024;

/// How much is still read after the process has ended. More comes only from what it left running.
const LAST_WORDS: usize = 1024 * 1024;

/// Longer durations are as good as this one, and cannot overflow the clock.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// As [`Processes::run`].
pub(super) fn run(processes: &Processes, spec: &mut Spec<'_>) -> Result<Ended, SpawnError> {
    let began = Instant::now();
    let mut running = Running::start(processes, spec)?;
    let mut limits = Limits::new(spec, began);
    let mut output = Output::new(spec.secrets, spec.log, spec.on_line);
    let stopped = running.watch(&mut limits, &mut output);
    running.read_last_words(&mut output);
    let report = running.report.take();
    let kill_at = limits.kill_at.unwrap_or_else(|| Instant::now() + limits.grace);
    let (status, order) = running.end(kill_at, stopped.is_some());
    let summary = output.finish();
    if let Some(report) = report.filter(|_| stopped.is_none()) {
        ran(report, spec, status)?;
    }
    Ok(Ended {
        end: stopped.unwrap_or_else(|| natural(status, order)),
        duration: began.elapsed(),
        bytes: summary.bytes,
        tail: summary.tail,
        digest: summary.digest,
        log_error: summary.log_error,
    })
}

/// Was it the program that ended, or what should have become the program?
fn ran(report: Report, spec: &Spec<'_>, status: Option<ExitStatus>) -> Result<(), SpawnError> {
    let program = PathBuf::from(spec.argv.first().cloned().unwrap_or_default());
    match report.outcome() {
        Outcome::Ran => Ok(()),
        Outcome::NotStarted(source) => Err(spawn_error(&program, spec.dir, source)),
        Outcome::NotConfined(mut reason) => {
            if reason.is_empty() {
                let end = status.map_or_else(|| "no end".to_owned(), |status| status.to_string());
                reason = format!("conductor's second start said nothing ({end})");
            }
            Err(SpawnError::NotConfined { program, reason })
        }
    }
}

/// How it ended by itself; where nobody learns that, because it was not waited for any longer, who wanted that.
fn natural(status: Option<ExitStatus>, order: Order) -> End {
    let by_itself = status
        .and_then(|status| status.code().map(End::Exited).or_else(|| status.signal().map(End::Signalled)));
    by_itself.unwrap_or(if order == Order::Cancel { End::Cancelled } else { End::Stopped })
}

struct Running {
    child: Child,
    entry: Arc<Entry>,
    /// Readable when the process has ended.
    ended: OwnedFd,
    /// Its output. Never blocks, and never ends: see `command`.
    pipe: PipeReader,
    /// Whether the program ran at all, where it is a confined one.
    report: Option<Report>,
    /// For [`Self::read`], as soon as there is something to read.
    buffer: Vec<u8>,
    /// Keeps the pipe's other end open. The process's end is what counts, and while the pipe cannot end
    /// before it, that is one wake-up less for every process.
    _command: Command,
}

impl Running {
    fn start(processes: &Processes, spec: &Spec<'_>) -> Result<Self, SpawnError> {
        let program = PathBuf::from(spec.argv.first().cloned().unwrap_or_default());
        let failed = |source: io::Error| SpawnError::Other { program: program.clone(), source };
        let (pipe, mut command, report) = prepare(spec, &program)?;
        let env = spec.env.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let wake = register::waker().map_err(failed)?;
        let start = || {
            if processes.stopping.load(Ordering::SeqCst) {
                return Err(SpawnError::AlreadyStopping);
            }
            let child = command.spawn().map_err(|error| match &report {
                Some(_) if spec.dir.is_dir() => not_confined(&program, error),
                _ => spawn_error(&program, spec.dir, error),
            })?;
            let pid = Pid::from_child(&child);
            Ok((child, pid))
        };
        let (mut child, entry) =
            register::start(start, (processes.id, spec.owner, descent::marker(env), wake))?;
        match pidfd_open(entry.pid, PidfdFlags::empty()) {
            Ok(ended) => {
                Ok(Self { child, entry, ended, pipe, report, buffer: Vec::new(), _command: command })
            }
            Err(error) => {
                let _ = child.kill().and_then(|()| child.wait());
                register::remove(&entry);
                Err(failed(error.into()))
            }
        }
    }

    /// Until the process has ended, or is given up. Says why it was stopped, where it was.
    fn watch(&mut self, limits: &mut Limits<'_>, output: &mut Output<'_>) -> Option<End> {
        loop {
            let now = Instant::now();
            if limits.give_up_at().is_some_and(|at| now >= at) {
                return limits.stopped;
            }
            if let Some(signal) = limits.judge(now, self.entry.order()) {
                descent::signal_tree(self.entry.pid, signal);
            }
            let mut events = [
                PollFd::from_borrowed_fd(self.ended.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(self.pipe.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(self.entry.wake.as_fd(), PollFlags::IN),
            ];
            let wait =
                limits.next().and_then(|at| Timespec::try_from(at.saturating_duration_since(now)).ok());
            // Interrupted is as good as too early.
            let _ = poll(&mut events, wait.as_ref());
            let [ended, printed, ordered] = events.map(|event| !event.revents().is_empty());
            if printed && self.read(output) > 0 {
                limits.active(Instant::now());
            }
            if ordered {
                let _ = rustix::io::read(&self.entry.wake, &mut [0; 8]);
            }
            if ended {
                return limits.stopped;
            }
        }
    }

    /// Reads once, without waiting. Returns how many bytes there were.
    fn read(&mut self, output: &mut Output<'_>) -> usize {
        self.buffer.resize(PIECE, 0);
        let length = self.pipe.read(&mut self.buffer).unwrap_or(0);
        output.push(&self.buffer[..length]);
        length
    }

    fn read_last_words(&mut self, output: &mut Output<'_>) {
        let mut total = 0;
        while total < LAST_WORDS && rustix::io::ioctl_fionread(&self.pipe).is_ok_and(|left| left > 0) {
            match self.read(output) {
                0 => break,
                length => total += length,
            }
        }
    }

    /// Clears up behind the process, and reaps it last: until then its id, and so its group's, is not given
    /// to another. None where it could not be killed or reaped. With the last order that came.
    fn end(mut self, kill_at: Instant, is_stopped: bool) -> (Option<ExitStatus>, Order) {
        descent::end_leftovers(&self.entry, kill_at);
        let status = self.reap(is_stopped);
        // Not before: an unregistered child that has ended is anyone's to reap.
        register::remove(&self.entry);
        (status, self.entry.order())
    }

    /// Reaps it. One that ended by itself and cannot be reaped is traced: whoever traces it is told before its parent,
    /// and may take their time, until somebody wants to hear no more of it.
    fn reap(&mut self, is_stopped: bool) -> Option<ExitStatus> {
        let mut pause = Duration::from_millis(1);
        loop {
            let status = register::reap(&mut self.child);
            if status.is_some() || is_stopped || self.entry.order() != Order::None {
                return status;
            }
            descent::wait(&self.entry, pause);
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }
}

fn prepare(spec: &Spec<'_>, program: &Path) -> Result<(PipeReader, Command, Option<Report>), SpawnError> {
    let failed = |source: io::Error| SpawnError::Other { program: program.to_owned(), source };
    let (reader, writer) = io::pipe().map_err(failed)?;
    rustix::io::ioctl_fionbio(&reader, true).map_err(|error| failed(error.into()))?;
    let env = spec.env.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()));
    let confinement = spec.confinement.filter(|confinement| confinement.is_enforceable());
    let (mut command, report) = if let Some(confinement) = confinement {
        let (command, report) = confine::confined(confinement, &spec.argv, spec.dir, env)
            .map_err(|problem| not_confined(program, problem))?;
        (command, Some(report))
    } else {
        let (program, arguments) =
            spec.argv.split_first().ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(spec.dir)
            .env_clear()
            .envs(env)
            .stderr(writer.try_clone().map_err(failed)?);
        (command, None)
    };
    command.process_group(0).stdin(stdin(spec.stdin).map_err(failed)?).stdout(writer);
    Ok((reader, command, report))
}

/// A file in memory: the process reads it at its own pace, and nobody has to feed it.
fn stdin(stdin: Stdin<'_>) -> io::Result<Stdio> {
    let Stdin::Bytes(bytes) = stdin else { return null() };
    let mut file = File::from(rustix::fs::memfd_create("stdin", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file.into())
}

/// `/dev/null`, opened once for all.
fn null() -> io::Result<Stdio> {
    static NULL: OnceLock<File> = OnceLock::new();
    if let Some(null) = NULL.get() {
        return Ok(null.try_clone()?.into());
    }
    let opened = File::open("/dev/null")?;
    Ok(NULL.get_or_init(|| opened).try_clone()?.into())
}

fn spawn_error(program: &Path, dir: &Path, source: io::Error) -> SpawnError {
    let program = program.to_owned();
    if !dir.is_dir() {
        SpawnError::Dir(dir.to_owned())
    } else if source.kind() != io::ErrorKind::NotFound {
        SpawnError::Other { program, source }
    } else if let Some(interpreter) = interpreter(&program).filter(|interpreter| !interpreter.exists()) {
        SpawnError::NoInterpreter { program, interpreter }
    } else {
        SpawnError::NotFound(program)
    }
}

/// What the first line of a script names.
fn interpreter(script: &Path) -> Option<PathBuf> {
    let mut head = Vec::new();
    File::open(script).ok()?.take(256).read_to_end(&mut head).ok()?;
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let name = line.trim_ascii().split(u8::is_ascii_whitespace).next()?;
    Some(PathBuf::from(OsStr::from_bytes(name)))
}

fn not_confined(program: &Path, error: impl std::fmt::Display) -> SpawnError {
    SpawnError::NotConfined { program: program.to_owned(), reason: error.to_string() }
}

/// When a process is to be stopped, and how far that has got.
struct Limits<'a> {
    timeout_at: Option<Instant>,
    stall: Option<Stall<'a>>,
    grace: Duration,
    /// Why it is being stopped.
    stopped: Option<End>,
    /// When its grace is over.
    kill_at: Option<Instant>,
    killed: bool,
}

struct Stall<'a> {
    limit: Duration,
    progress: Option<&'a dyn Fn() -> u64>,
    seen: u64,
    /// When it last printed or made progress.
    active_at: Instant,
    /// When progress is looked at next.
    look_at: Instant,
}

impl<'a> Limits<'a> {
    fn new(spec: &Spec<'a>, began: Instant) -> Self {
        let stall = spec.stall.map(|limit| {
            let limit = limit.min(FOREVER);
            let seen = spec.progress.map_or(0, |progress| progress());
            let mut stall = Stall { limit, progress: spec.progress, seen, active_at: began, look_at: began };
            stall.look_at = stall.next_look(began);
            stall
        });
        Self {
            timeout_at: spec.timeout.map(|timeout| began + timeout.min(FOREVER)),
            stall,
            grace: spec.grace.min(FOREVER),
            stopped: None,
            kill_at: None,
            killed: false,
        }
    }

    /// The signal that is due now.
    fn judge(&mut self, now: Instant, order: Order) -> Option<Signal> {
        let at_once = order == Order::Kill;
        if self.stopped.is_none() {
            self.stopped = self.cause(now, order);
            self.stopped?;
            self.kill_at = Some(if at_once { now } else { now + self.grace });
            if !at_once {
                return Some(Signal::TERM);
            }
        }
        if self.killed || !(at_once || self.kill_at.is_some_and(|at| now >= at)) {
            return None;
        }
        self.kill_at = Some(now);
        self.killed = true;
        Some(Signal::KILL)
    }

    fn cause(&mut self, now: Instant, order: Order) -> Option<End> {
        match order {
            Order::Stop | Order::Kill => Some(End::Stopped),
            Order::Cancel => Some(End::Cancelled),
            Order::None if self.timeout_at.is_some_and(|at| now >= at) => Some(End::TimedOut),
            Order::None => {
                self.stall.as_mut().is_some_and(|stall| stall.is_over(now)).then_some(End::Stalled)
            }
        }
    }

    fn active(&mut self, now: Instant) {
        if let Some(stall) = &mut self.stall {
            stall.active_at = now;
        }
    }

    /// When there is something to judge again.
    fn next(&self) -> Option<Instant> {
        if self.killed {
            return self.give_up_at();
        }
        let stall = self.stall.as_ref().map(|stall| stall.look_at);
        self.kill_at.or_else(|| self.timeout_at.into_iter().chain(stall).min())
    }

    /// A process that is not gone by then hangs in the kernel.
    fn give_up_at(&self) -> Option<Instant> {
        self.kill_at.filter(|_| self.killed).map(|at| at + PATIENCE)
    }
}

impl Stall<'_> {
    fn is_over(&mut self, now: Instant) -> bool {
        if now < self.look_at {
            return false;
        }
        if let Some(progress) = self.progress {
            let seen = progress();
            if seen != self.seen {
                self.seen = seen;
                self.active_at = now;
            }
        }
        self.look_at = self.next_look(now);
        now >= self.active_at + self.limit
    }

    /// Where nobody is asked, at the moment the limit is reached; else four times within it, but not more
    /// than once a second.
    fn next_look(&self, now: Instant) -> Instant {
        let limit_at = self.active_at + self.limit;
        if self.progress.is_none() || limit_at <= now {
            return limit_at.max(now + Duration::from_millis(1));
        }
        limit_at.min(now + (self.limit / 4).max(Duration::from_secs(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a process that was started with `sleep SECONDS` and still runs is reaped to. It stands for one that has
    /// ended and cannot be reaped, because it is traced.
    #[track_caller]
    fn check(seconds: &str, is_stopped: bool, order: Option<Order>, expected: Option<i32>) {
        let processes = Processes::new();
        let argv = ["/bin/sleep", seconds].map(Into::into).to_vec();
        let mut on_line = |_: &[u8]| {};
        let spec = super::super::tests::plain(argv, Path::new("/"), &mut on_line);
        let mut running = Running::start(&processes, &spec).unwrap();
        if let Some(order) = order {
            assert!(register::order(order, |entry| entry.instance == processes.id));
        }
        let status = running.reap(is_stopped);
        let _ = running.child.kill().and_then(|()| running.child.wait());
        register::remove(&running.entry);
        assert_eq!(status.and_then(|status| status.code()), expected);
    }

    #[test]
    fn what_ended_by_itself_is_waited_for_until_somebody_wants_no_more_of_it() {
        check("0.2", false, None, Some(0));
        check("600", false, Some(Order::Cancel), None);
        check("600", false, Some(Order::Stop), None);
        check("600", true, None, None);
    }
}
