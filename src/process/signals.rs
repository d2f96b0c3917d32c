//! Signals that reach conductor itself.

use std::io;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals as Caught};

/// Hears SIGINT, SIGTERM and SIGHUP, until it is dropped.
#[derive(Debug)]
pub struct Signals {
    handle: Handle,
    thread: Option<thread::JoinHandle<()>>,
}

impl Signals {
    /// From now on `on_signal` is called, on a thread of its own, for each signal that asks this program to
    /// end: with the signal's number (2 or 15; a hang-up counts as 15) and how many there were, from 1. A
    /// signal that was ignored when the program started (`nohup`, a shell's background job) stays so.
    ///
    /// # Errors
    /// The system refuses a handler or a thread.
    pub fn install(mut on_signal: impl FnMut(i32, usize) + Send + 'static) -> io::Result<Self> {
        let ignored = ignored_signals();
        let wanted = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| ignored >> (signal - 1) & 1 == 0);
        let mut caught = Caught::new(wanted)?;
        let handle = caught.handle();
        let thread = thread::Builder::new().name("signals".to_owned()).spawn(move || {
            for (before, signal) in caught.forever().enumerate() {
                on_signal(if signal == SIGHUP { SIGTERM } else { signal }, before + 1);
            }
        })?;
        Ok(Self { handle, thread: Some(thread) })
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The set of signals that this program ignores; bit 0 is signal 1.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let set = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use rustix::process::{Signal, getpid, kill_process};

    use super::*;

    #[test]
    fn signals_are_counted_and_a_hang_up_asks_to_end() {
        let (sender, receiver) = channel();
        let signals = Signals::install(move |signal, count| sender.send((signal, count)).unwrap()).unwrap();
        kill_process(getpid(), Signal::TERM).unwrap();
        assert_eq!(receiver.recv().unwrap(), (SIGTERM, 1));
        kill_process(getpid(), Signal::HUP).unwrap();
        assert_eq!(receiver.recv().unwrap(), (SIGTERM, 2));
        kill_process(getpid(), Signal::INT).unwrap();
        assert_eq!(receiver.recv().unwrap(), (SIGINT, 3));
        drop(signals);
        assert!(receiver.recv().is_err(), "the thread has ended");
    }
}
