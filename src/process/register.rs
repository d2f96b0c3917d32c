//! The register of running processes. Children belong to the whole program, not to one instance of
//! [`Processes`](super::Processes), and so does the register: only it can tell an orphan from a child
//! that someone waits for.

use std::cell::OnceCell;
use std::io;
use std::os::fd::OwnedFd;
use std::process::{Child, ExitStatus};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use rustix::event::{EventfdFlags, eventfd};
use rustix::process::{Pid, WaitId, WaitIdOptions, getpid};
use rustix::thread::gettid;

static RUNNING: Mutex<Vec<Arc<Entry>>> = Mutex::new(Vec::new());

/// Held for reading while a child is made and registered, and while the main thread's children are listed;
/// for writing by whoever must not meet a child that is not registered yet, and while one of the
/// main thread's is reaped: the kernel's list of children may skip some when it shrinks while it is read.
static CHILDREN: RwLock<()> = RwLock::new(());

/// What a run is told from outside; a greater one takes precedence.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub(super) enum Order {
    None = 0,
    Cancel = 1,
    Stop = 2,
    /// Stop, without grace.
    Kill = 3,
}

/// A running process.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) instance: u64,
    pub(super) owner: String,
    /// The values of the variables that name task and run, where it has them.
    pub(super) marker: Marker,
    /// Its process id, which is also its group's.
    pub(super) pid: Pid,
    /// Readable when an order came, or one to what the same thread ran before.
    pub(super) wake: Arc<OwnedFd>,
    order: AtomicU8,
}

/// Task and run, as a process's environment names them.
pub(super) type Marker = (Option<Vec<u8>>, Option<Vec<u8>>);

impl Entry {
    pub(super) fn order(&self) -> Order {
        match self.order.load(Ordering::SeqCst) {
            0 => Order::None,
            1 => Order::Cancel,
            2 => Order::Stop,
            _ => Order::Kill,
        }
    }
}

/// What wakes the runs of this thread, one after the other.
pub(super) fn waker() -> io::Result<Arc<OwnedFd>> {
    thread_local!(static WAKER: OnceCell<Arc<OwnedFd>> = const { OnceCell::new() });
    WAKER.with(|waker| {
        if let Some(waker) = waker.get() {
            return Ok(Arc::clone(waker));
        }
        let new = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        Ok(Arc::clone(waker.get_or_init(|| new)))
    })
}

fn running() -> MutexGuard<'static, Vec<Arc<Entry>>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Calls `start`, which makes a child, and registers it before anyone can ask for it.
pub(super) fn start<C, E>(
    start: impl FnOnce() -> Result<(C, Pid), E>,
    (instance, owner, marker, wake): (u64, &str, Marker, Arc<OwnedFd>),
) -> Result<(C, Arc<Entry>), E> {
    let _children = CHILDREN.read().unwrap_or_else(PoisonError::into_inner);
    let (child, pid) = start()?;
    let entry = Arc::new(Entry {
        instance,
        owner: owner.to_owned(),
        marker,
        pid,
        wake,
        order: AtomicU8::new(Order::None as u8),
    });
    running().push(Arc::clone(&entry));
    Ok((child, entry))
}

/// The process was reaped, or nobody will ever do that.
pub(super) fn remove(entry: &Arc<Entry>) {
    running().retain(|other| !Arc::ptr_eq(other, entry));
}

/// Calls `action` while no orphan is reaped.
pub(super) fn while_nothing_ends<R>(action: impl FnOnce() -> R) -> R {
    let _children = CHILDREN.read().unwrap_or_else(PoisonError::into_inner);
    action()
}

/// Calls `action` at a moment at which every child is registered.
pub(super) fn while_nothing_starts<R>(action: impl FnOnce() -> R) -> R {
    let _children = CHILDREN.write().unwrap_or_else(PoisonError::into_inner);
    action()
}

/// Gives an order to those that `to` picks, once what is starting now has started. Says whether there was
/// one.
pub(super) fn order(order: Order, to: impl Fn(&Entry) -> bool) -> bool {
    while_nothing_starts(|| {
        let mut any = false;
        for entry in running().iter().filter(|entry| to(entry)) {
            any = true;
            entry.order.fetch_max(order as u8, Ordering::SeqCst);
            // It fails only when the counter is full, and then the run is awake.
            let _ = rustix::io::write(&entry.wake, &1_u64.to_ne_bytes());
        }
        any
    })
}

/// All other running processes.
pub(super) fn others(than: &Arc<Entry>) -> Vec<Arc<Entry>> {
    running().iter().filter(|entry| !Arc::ptr_eq(entry, than)).cloned().collect()
}

/// Reaps a registered process, if it has ended.
pub(super) fn reap(child: &mut Child) -> Option<ExitStatus> {
    let mut reap = || child.try_wait().ok().flatten();
    if gettid() == getpid() { while_nothing_starts(reap) } else { reap() }
}

/// Reaps an adopted orphan if it has ended. Never a registered process: its own thread does that.
pub(super) fn reap_orphan(pid: Pid) {
    while_nothing_starts(|| {
        if running().iter().all(|entry| entry.pid != pid) {
            let _ = rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
        }
    });
}
