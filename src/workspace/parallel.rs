//! Work on many paths at once: short-lived threads that share a queue of chunks.
//!
//! Why no pool: callers are workers of the task pool, and a rayon worker that waits for another pool
//! steals tasks of its own meanwhile, so that hashing one file may take as long as a task. A scoped
//! thread costs some 20 µs, and is started only when the work has lasted ten times as long.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long the caller works alone before it calls for help.
const PATIENCE: Duration = Duration::from_micros(200);

/// How many threads may work at once, the caller included.
pub(super) fn threads() -> usize {
    // Counted once: the answer lies in several files of the control group.
    static COUNTED: OnceLock<usize> = OnceLock::new();
    *COUNTED.get_or_init(|| thread::available_parallelism().map_or(1, usize::from))
}

/// `step` does a piece of the work and says whether there may be more; it is called, by several threads
/// when the work lasts, until it says no.
pub(super) fn together(step: impl Fn() -> bool + Sync) {
    let began = Instant::now();
    thread::scope(|scope| {
        let mut helpers = threads() - 1;
        while step() {
            if helpers == 0 || began.elapsed() < PATIENCE {
                continue;
            }
            let help = || while step() {};
            for _ in 0..std::mem::take(&mut helpers) {
                // A machine that is out of threads has the caller still.
                if thread::Builder::new().name("files".to_owned()).spawn_scoped(scope, help).is_err() {
                    break;
                }
            }
        }
    });
}

/// `of` each item, in the order of the items, `chunk` of them at a time on one of all processors.
pub fn map<T: Sync, R: Send + Clone>(
    items: &[T],
    chunk: usize,
    blank: R,
    of: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    map_chunks(items, chunk, blank, |items, results| {
        for (item, result) in items.iter().zip(results) {
            *result = of(item);
        }
    })
}

/// As [`map`], for what has something to remember from one item to the next: `fill` gets some items and the
/// places of their results.
pub(super) fn map_chunks<T: Sync, R: Send + Clone>(
    items: &[T],
    chunk: usize,
    blank: R,
    fill: impl Fn(&[T], &mut [R]) + Sync,
) -> Vec<R> {
    let mut results = vec![blank; items.len()];
    let chunks = items.chunks(chunk).zip(results.chunks_mut(chunk));
    let queue = Mutex::new(chunks);
    together(move || {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
        let Some((items, results)) = next else { return false };
        fill(items, results);
        true
    });
    results
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_the_order_of_their_items() {
        let items: Vec<usize> = (0..10_000).collect();
        let doubled = map(&items, 7, 0, |item| {
            if item % 1000 == 0 {
                thread::sleep(Duration::from_millis(1));
            }
            item * 2
        });
        assert!(doubled.iter().enumerate().all(|(at, value)| *value == at * 2));
        assert!(map(&[] as &[usize], 7, 0, |item| *item).is_empty());
    }
}
