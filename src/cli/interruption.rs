//! Signals that arrive while a build runs, before it runs and after.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;

use crate::schedule::Message;

/// The last signal with its number, and who is to hear of the next.
#[derive(Default)]
struct Heard {
    signal: Option<(i32, usize)>,
    outbox: Option<SyncSender<Message>>,
}

/// Signals that arrive before and while the build runs.
#[derive(Default)]
pub(super) struct Interruption {
    set: AtomicBool,
    state: Mutex<Heard>,
}

impl Interruption {
    pub(super) fn take(&self, signal: i32, count: usize) {
        self.set.store(true, Ordering::SeqCst);
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        state.signal.get_or_insert((signal, count));
        if let Some(outbox) = &state.outbox {
            let _ = outbox.send(Message::Signal(signal, count));
        }
    }

    pub(super) fn is_set(&self) -> bool {
        self.set.load(Ordering::SeqCst)
    }

    pub(super) fn signal(&self) -> Option<i32> {
        let state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        state.signal.map(|(signal, _)| signal)
    }

    /// From now on signals go to the coordinator, the one that came before too.
    pub(super) fn forward(&self, outbox: &SyncSender<Message>) {
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((signal, count)) = state.signal {
            let _ = outbox.send(Message::Signal(signal, count));
        }
        state.outbox = Some(outbox.clone());
    }
}
