//! Finding and stopping what a process started: its group, its descendants, and the orphans among them
//! that the kernel gave to this program because it is a child subreaper.
//!
//! A process id that is not a child's own may be recycled at any moment, so such a process is signalled
//! through a descriptor (pidfd) that was checked, once open, to be the process that was meant.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, getpid, kill_process_group, pidfd_open, pidfd_send_signal};

use super::register::{self, Entry, Marker, Order};
use super::{RUN_VARIABLE, TASK_VARIABLE};

/// How long a killed process may take to disappear before it is given up: it hangs in the kernel, or is
/// not ours to kill.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// How long the leftovers of a dead conductor have to end by themselves.
const LEFTOVER_GRACE: Duration = Duration::from_secs(2);

/// A process as /proc shows it.
#[derive(Clone, Copy, Debug)]
struct Process {
    pid: Pid,
    parent: i32,
    group: i32,
    /// In clock ticks since boot; with the id it names a process for good.
    start: u64,
    life: Life,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Life {
    Alive,
    /// On its way out: nothing can be told of it any more, not even its environment.
    Ending,
    /// To be reaped.
    Ended,
}

/// The kernel's flag of a process that is ending (`PF_EXITING`).
const EXITING: u32 = 4;

impl Process {
    fn read(pid: Pid) -> Option<Self> {
        let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may hold anything, parentheses too.
        let fields = stat.get(stat.iter().rposition(|byte| *byte == b')')? + 2..)?;
        let fields: Vec<&str> = std::str::from_utf8(fields).ok()?.split_ascii_whitespace().collect();
        Some(Self {
            pid,
            parent: fields.get(1)?.parse().ok()?,
            group: fields.get(2)?.parse().ok()?,
            start: fields.get(19)?.parse().ok()?,
            life: match (*fields.first()?, fields.get(6)?.parse::<u32>().ok()?) {
                ("Z" | "X", _) => Life::Ended,
                (_, flags) if flags & EXITING != 0 => Life::Ending,
                _ => Life::Alive,
            },
        })
    }

    /// Signals it, and never another process that has its id by now.
    fn send(&self, signal: Signal) {
        let Ok(fd) = pidfd_open(self.pid, PidfdFlags::empty()) else { return };
        if Self::read(self.pid).is_some_and(|now| now.start == self.start) {
            // It has gone, or belongs to someone else.
            let _ = pidfd_send_signal(fd, signal);
        }
    }

    fn is_of(&self, run: &str) -> bool {
        self.life == Life::Alive && self.marker().1.is_some_and(|name| name == run.as_bytes())
    }

    /// As [`Self::marker`], but in the middle of an exec there is no environment for a moment.
    fn settled_marker(&self) -> Marker {
        for _ in 0..5 {
            let marker = self.marker();
            if marker != Marker::default() {
                return marker;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        self.marker()
    }

    fn marker(&self) -> Marker {
        let environ = std::fs::read(format!("/proc/{}/environ", self.pid)).unwrap_or_default();
        marker(environ.split(|byte| *byte == 0).filter_map(|variable| {
            let at = variable.iter().position(|byte| *byte == b'=')?;
            Some((&variable[..at], &variable[at + 1..]))
        }))
    }
}

/// Task and run, from an environment.
pub(super) fn marker<'a>(env: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Marker {
    let mut marker = Marker::default();
    for (name, value) in env {
        if name == TASK_VARIABLE.as_bytes() {
            marker.0 = Some(value.to_vec());
        } else if name == RUN_VARIABLE.as_bytes() {
            marker.1 = Some(value.to_vec());
        }
    }
    marker
}

/// All processes of this machine, or of this container.
fn processes() -> Vec<Process> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
        .filter_map(Process::read)
        .collect()
}

/// `of`, and everything that descends from them.
fn with_descendants(of: Vec<Process>, all: &[Process]) -> Vec<Process> {
    let mut family = of;
    let mut next = 0;
    while let Some(parent) = family.get(next).map(|process| process.pid.as_raw_pid()) {
        let children: Vec<Process> = all
            .iter()
            .filter(|child| child.parent == parent && family.iter().all(|known| known.pid != child.pid))
            .copied()
            .collect();
        family.extend(children);
        next += 1;
    }
    family
}

/// Signals a process that has not been reaped, its group, and its descendants in other groups.
pub(super) fn signal_tree(leader: Pid, signal: Signal) {
    // Before the signal, which cuts off the descendants of those that it ends.
    let all = processes();
    let family = with_descendants(Process::read(leader).into_iter().collect(), &all);
    let _ = kill_process_group(leader, signal);
    for process in family.iter().filter(|process| process.group != leader.as_raw_pid()) {
        process.send(signal);
    }
}

/// Stops and reaps what the process of `entry`, which has ended, left behind: SIGTERM now, SIGKILL from
/// `kill_at` on. Returns when all of it is gone.
pub(super) fn end_leftovers(entry: &Arc<Entry>, kill_at: Instant) {
    let mut told = HashSet::new();
    let mut pause = Duration::from_millis(1);
    loop {
        let (alive, ending) = leftovers(entry);
        let now = Instant::now();
        if (alive.is_empty() && !ending) || now > kill_at + PATIENCE {
            return;
        }
        let late = now >= kill_at || entry.order() == Order::Kill;
        for process in alive {
            let new = told.insert((process.pid, process.start));
            if late || new {
                process.send(if late { Signal::KILL } else { Signal::TERM });
            }
        }
        wait(entry, pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// Waits for an order, at most as long as `pause`.
pub(super) fn wait(entry: &Entry, pause: Duration) {
    let timeout = Timespec::try_from(pause).ok();
    let _ = poll(&mut [PollFd::from_borrowed_fd(entry.wake.as_fd(), PollFlags::IN)], timeout.as_ref());
    let _ = rustix::io::read(&entry.wake, &mut [0; 8]);
}

/// The orphans that the process of `entry` left, and their descendants; and whether an orphan of anyone's is
/// ending just now. Reaps orphans that have ended.
fn leftovers(entry: &Arc<Entry>) -> (Vec<Process>, bool) {
    // Almost always there is none, and this costs a few microseconds.
    if register::while_nothing_ends(adopted).is_empty() {
        return (Vec::new(), false);
    }
    let (orphans, others) = register::while_nothing_starts(|| (adopted(), register::others(entry)));
    let is_registered = |pid: Pid| pid == entry.pid || others.iter().any(|other| other.pid == pid);
    let mut left = Vec::new();
    let mut ending = false;
    for orphan in orphans.into_iter().filter(|orphan| !is_registered(orphan.pid)) {
        match orphan.life {
            Life::Ended => register::reap_orphan(orphan.pid),
            Life::Ending => ending = true,
            Life::Alive if !is_anothers(&orphan, entry, &others) => left.push(orphan),
            // What was said of it counts only if it could be asked.
            Life::Alive => ending |= Process::read(orphan.pid).is_none_or(|now| now.life != Life::Alive),
        }
    }
    (if left.is_empty() { left } else { with_descendants(left, &processes()) }, ending)
}

/// Is the orphan part of another process that still runs? Its group tells, else the task and run that its
/// environment names. One that names nobody who runs is a leftover; one that names nothing at all may be
/// anybody's, and is left alone until nothing else runs. Where two processes run for one task (checks
/// in parallel), what either leaves stays until the last of them has ended.
fn is_anothers(orphan: &Process, entry: &Entry, others: &[Arc<Entry>]) -> bool {
    if orphan.group == entry.pid.as_raw_pid() {
        return false;
    }
    if others.iter().any(|other| other.pid.as_raw_pid() == orphan.group) {
        return true;
    }
    let marker = orphan.settled_marker();
    if marker == Marker::default() {
        !others.is_empty()
    } else {
        others.iter().any(|other| other.marker == marker)
    }
}

/// The children that this program did not start itself: the kernel gives orphans to its main thread, while
/// children of other threads are listed with those.
fn adopted() -> Vec<Process> {
    let own = getpid();
    match children() {
        Ok(children) => children
            .split_ascii_whitespace()
            .filter_map(|pid| Pid::from_raw(pid.parse().ok()?))
            .filter_map(Process::read)
            .filter(|child| child.parent == own.as_raw_pid())
            .collect(),
        // A kernel that does not keep such lists.
        Err(_) => processes().into_iter().filter(|other| other.parent == own.as_raw_pid()).collect(),
    }
}

/// The kernel's list of the main thread's children, which is opened once, as it is read after every process.
fn children() -> io::Result<String> {
    static LIST: OnceLock<File> = OnceLock::new();
    let list = if let Some(list) = LIST.get() {
        list
    } else {
        let list = File::open(format!("/proc/self/task/{}/children", getpid()))?;
        LIST.get_or_init(|| list)
    };
    let (mut text, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        match list.read_at(&mut piece, text.len() as u64)? {
            0 => return String::from_utf8(text).map_err(io::Error::other),
            length => text.extend_from_slice(&piece[..length]),
        }
    }
}

/// Stops every process that the run `run` left behind when its conductor was killed, wherever it is: those
/// whose environment names that run. SIGTERM first, SIGKILL two seconds later. Returns how many there were.
pub fn reap_strays(run: &str) -> usize {
    let ancestors = ancestors();
    let began = Instant::now();
    let mut told = HashSet::new();
    loop {
        let mut strays = processes();
        strays.retain(|process| {
            process.life != Life::Ended
                && !ancestors.contains(&process.pid)
                && (told.contains(&(process.pid, process.start)) || process.is_of(run))
        });
        let late = began.elapsed() >= LEFTOVER_GRACE;
        for stray in &strays {
            let new = told.insert((stray.pid, stray.start));
            if late || new {
                stray.send(if late { Signal::KILL } else { Signal::TERM });
            }
        }
        if strays.is_empty() || began.elapsed() > LEFTOVER_GRACE + PATIENCE {
            return told.len();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// This process and those above it, which may be part of the run in question (a conductor in a task).
fn ancestors() -> HashSet<Pid> {
    let parent = |pid: &Pid| Process::read(*pid).and_then(|process| Pid::from_raw(process.parent));
    std::iter::successors(Some(getpid()), parent).collect()
}
