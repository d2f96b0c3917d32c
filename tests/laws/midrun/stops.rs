//! Stops: places in a build at which its commands wait until the test lets them go on.
//!
//! A command connects to this process over TCP, says its stop's name, and reads until it is
//! answered. So it works from inside a private folder too, where files outside are out of sight.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// The commands that wait now.
#[derive(Default)]
struct State {
    /// Nobody has to wait any more.
    open: bool,
    /// Connections by the names of their stops.
    waiting: BTreeMap<String, TcpStream>,
}

/// See the module.
pub(crate) struct Stops {
    port: u16,
    shared: Arc<(Mutex<State>, Condvar)>,
}

impl Stops {
    /// Listens; its thread ends with the process.
    pub(crate) fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared: Arc<(Mutex<State>, Condvar)> = Arc::default();
        let own = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut name = String::new();
                if BufReader::new(&stream).read_line(&mut name).is_err() {
                    continue;
                }
                let mut state = own.0.lock().unwrap();
                if state.open {
                    answer(stream);
                } else {
                    state.waiting.insert(name.trim().to_owned(), stream);
                    own.1.notify_all();
                }
            }
        });
        Self { port, shared }
    }

    /// The variable that commands need: `PORT`.
    pub(crate) fn port(&self) -> String {
        self.port.to_string()
    }

    /// Waits until a command stands at `name`. False if that does not happen while `goes_on` holds.
    pub(crate) fn wait(&self, name: &str, mut goes_on: impl FnMut(Duration) -> bool) -> bool {
        let began = Instant::now();
        loop {
            let (state, changed) = &*self.shared;
            if state.lock().unwrap().waiting.contains_key(name) {
                return true;
            }
            if !goes_on(began.elapsed()) {
                return false;
            }
            let state = state.lock().unwrap();
            drop(changed.wait_timeout(state, Duration::from_millis(5)).unwrap());
        }
    }

    /// Lets the command at `name` go on, if one is there.
    pub(crate) fn release(&self, name: &str) {
        let stream = self.shared.0.lock().unwrap().waiting.remove(name);
        stream.into_iter().for_each(answer);
    }

    /// From now on nobody waits, or every command waits again.
    pub(crate) fn open(&self, open: bool) {
        let mut state = self.shared.0.lock().unwrap();
        state.open = open;
        std::mem::take(&mut state.waiting).into_values().for_each(answer);
    }
}

fn answer(mut stream: TcpStream) {
    // A command that only tells where it is has gone on already.
    let _ = stream.write_all(b"go\n");
}

/// A shell command that waits at the stop `name`.
pub(crate) fn hold(name: &str) -> String {
    format!("bash -c 'exec 3<>/dev/tcp/127.0.0.1/$PORT && echo {name} >&3 && read -r answer <&3'")
}

/// A shell command that tells that it has come to the stop `name`, and goes on.
pub(crate) fn tell(name: &str) -> String {
    format!("bash -c 'exec 3<>/dev/tcp/127.0.0.1/$PORT && echo {name} >&3'")
}
