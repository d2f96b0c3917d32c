//! conductor in the background: started, signalled, waited for, and never left behind.

use std::io::Read as _;
use std::process::{Child, Command, Output, Stdio};
use std::thread::JoinHandle;

use rustix::process::{Pid, Signal, kill_process};

use super::{Run, wait_until};

/// A conductor that runs.
pub(crate) struct Background {
    child: Child,
    args: Vec<String>,
    streams: Option<[JoinHandle<Vec<u8>>; 2]>,
}

impl Background {
    /// Starts it; its output is read all the time, so that it never waits for a reader.
    pub(crate) fn start(mut command: Command, args: &[&str]) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let out = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            stdout.read_to_end(&mut bytes).unwrap();
            bytes
        });
        let err = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            stderr.read_to_end(&mut bytes).unwrap();
            bytes
        });
        Self { child, args: args.iter().map(|arg| (*arg).to_owned()).collect(), streams: Some([out, err]) }
    }

    /// Sends a signal to conductor alone.
    pub(crate) fn signal(&self, signal: Signal) -> &Self {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        self
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Has it ended?
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn wait(mut self) -> Run {
        wait_until("conductor ends", || self.has_ended());
        let status = self.child.wait().unwrap();
        let [stdout, stderr] = self.streams.take().unwrap().map(|stream| stream.join().unwrap());
        let args: Vec<&str> = self.args.iter().map(String::as_str).collect();
        Run::new(&Output { status, stdout, stderr }, &args)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // A test that failed must not leave a build behind; one that has ended is not killed.
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
