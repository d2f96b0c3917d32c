//! What is remembered of results that differ under one key, in `.conductor/flakes`: failures that nothing has
//! explained yet, flakes, and which results were verified last. Knows nothing of what a failure or a result is.
//!
//! Appended frames, not synced, of which the newest are kept: what is lost is found out again. Only the build that holds
//! the lock writes.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::{durable, frame};
use crate::model::{ActionKey, Flake, RunId, TaskId};

/// The first byte of every frame's payload: how the rest is encoded.
const VERSION: u8 = 1;

/// So many notes are kept; twice as many may be in the file before it is written anew.
const KEPT: usize = 4096;

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
enum Note {
    /// It ran and failed; `by_check`: it was its checks that refused, which are not in its key.
    Failed { task: TaskId, key: ActionKey, run: RunId, by_check: bool },
    /// Two results.
    Flaky(Flake),
    /// It was run again and made the same, or not.
    Verified { task: TaskId, key: ActionKey },
}

/// The ledger. May be used from many threads; read when it is first asked.
#[derive(Debug)]
pub struct Flakes {
    path: PathBuf,
    notes: Mutex<Option<Vec<Note>>>,
}

impl Flakes {
    /// Of the workspace whose `.conductor` is `dir`.
    pub fn of(dir: &Path) -> Self {
        Self { path: dir.join("flakes"), notes: Mutex::new(None) }
    }

    /// A result of this task under this key is not to be relied on: it differed before, or it failed before. Such a
    /// result never enters the cache.
    pub fn is_flaky(&self, task: &TaskId, key: &ActionKey) -> bool {
        self.with(|notes| {
            notes.iter().any(|note| match note {
                Note::Failed { task: of, key: under, by_check: false, .. } => of == task && under == key,
                Note::Flaky(flake) => flake.task == *task && flake.key == *key,
                _ => false,
            })
        })
    }

    /// The run in which the task failed under this key. A refusal by its checks counts for the same run alone, since
    /// the checks may have been others before.
    pub fn failure(&self, task: &TaskId, key: &ActionKey, now: &RunId) -> Option<RunId> {
        self.with(|notes| {
            notes.iter().rev().find_map(|note| match note {
                Note::Failed { task: of, key: under, run, by_check }
                    if of == task && under == key && (!by_check || run == now) =>
                {
                    Some(run.clone())
                }
                _ => None,
            })
        })
    }

    /// Remembers that the task ran and failed.
    pub fn failed(&self, task: &TaskId, key: ActionKey, run: &RunId, by_check: bool) {
        self.add(Note::Failed { task: task.clone(), key, run: run.clone(), by_check });
    }

    /// Remembers a flake.
    pub fn note(&self, flake: Flake) {
        self.add(Note::Flaky(flake));
    }

    /// Remembers that the task was run again to be compared.
    pub fn verified(&self, task: &TaskId, key: ActionKey) {
        self.add(Note::Verified { task: task.clone(), key });
    }

    /// All flakes, the oldest first.
    pub fn all(&self) -> Vec<Flake> {
        let flake = |note: &Note| match note {
            Note::Flaky(flake) => Some(flake.clone()),
            _ => None,
        };
        self.with(|notes| notes.iter().filter_map(flake).collect())
    }

    /// For each result that was verified, how long ago: a greater number is later.
    pub fn last_verified(&self) -> HashMap<(TaskId, ActionKey), usize> {
        let verified = |(at, note): (usize, &Note)| match note {
            Note::Verified { task, key } => Some(((task.clone(), *key), at + 1)),
            _ => None,
        };
        self.with(|notes| notes.iter().enumerate().filter_map(verified).collect())
    }

    fn with<T>(&self, ask: impl FnOnce(&[Note]) -> T) -> T {
        let mut notes = self.lock();
        ask(notes.get_or_insert_with(|| read(&self.path)))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Vec<Note>>> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A note that cannot be written holds for this run alone.
    fn add(&self, note: Note) {
        let mut guard = self.lock();
        let notes = guard.get_or_insert_with(|| read(&self.path));
        if !matches!(note, Note::Verified { .. }) && notes.contains(&note) {
            return;
        }
        let bytes = encode(&note);
        notes.push(note);
        if notes.len() > 2 * KEPT {
            notes.drain(..notes.len() - KEPT);
            let all: Vec<u8> = notes.iter().flat_map(encode).collect();
            let _ = durable::replace(&self.path, |file| file.write_all(&all));
            return;
        }
        // One write a frame: a reader never sees two halves mixed.
        let file = OpenOptions::new().append(true).create(true).open(&self.path);
        let _ = file.and_then(|mut file| file.write_all(&bytes));
    }
}

fn encode(note: &Note) -> Vec<u8> {
    let mut bytes = frame::begin();
    bytes.push(VERSION);
    // Encoding into memory does not fail; were it to, an empty note is one that nobody understands.
    let mut bytes = postcard::to_extend(note, bytes).unwrap_or_else(|_| frame::begin());
    frame::end(&mut bytes);
    bytes
}

/// What can be read: damage hides single notes, and another version all of its own.
fn read(path: &Path) -> Vec<Note> {
    let bytes = fs::read(path).unwrap_or_default();
    let decode = |payload: &[u8]| {
        let (version, body) = payload.split_first()?;
        (*version == VERSION).then(|| postcard::from_bytes(body).ok())?
    };
    frame::payloads(&bytes).filter_map(decode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Digest, FlakeKind};

    fn key(text: &str) -> ActionKey {
        ActionKey(Digest::of(text.as_bytes()))
    }

    fn run(name: &str) -> RunId {
        RunId(name.to_owned())
    }

    fn flake(task: &str) -> Flake {
        let (run, earlier) = (run("b"), run("a"));
        let kind = FlakeKind::OtherOutputs;
        Flake { task: TaskId::new(task), key: key("k"), run, earlier, kind, paths: Vec::new() }
    }

    #[test]
    fn what_failed_or_differed_under_a_key_is_flaky_under_that_key_alone() {
        let dir = tempfile::tempdir().unwrap();
        let task = TaskId::new("T");
        Flakes::of(dir.path()).failed(&task, key("k"), &run("a"), false);
        Flakes::of(dir.path()).failed(&task, key("c"), &run("a"), true);
        Flakes::of(dir.path()).note(flake("U"));
        let kept = Flakes::of(dir.path());
        assert!(kept.is_flaky(&task, &key("k")) && kept.is_flaky(&TaskId::new("U"), &key("k")));
        assert!(!kept.is_flaky(&task, &key("l")) && !kept.is_flaky(&TaskId::new("V"), &key("k")));
        assert_eq!(kept.failure(&task, &key("k"), &run("z")), Some(run("a")));
        // Its checks may have been others in another run.
        assert!(!kept.is_flaky(&task, &key("c")));
        assert_eq!(kept.failure(&task, &key("c"), &run("z")), None);
        assert_eq!(kept.failure(&task, &key("c"), &run("a")), Some(run("a")));
        assert_eq!(kept.all(), [flake("U")]);
    }

    #[test]
    fn damage_hides_single_notes_and_another_version_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let kept = Flakes::of(dir.path());
        for task in ["A", "B", "C"] {
            kept.note(flake(task));
        }
        let path = dir.path().join("flakes");
        let whole = fs::read(&path).unwrap();
        let one = whole.len() / 3;
        let mut bytes = whole.clone();
        bytes[one + frame::HEAD + 3] ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert_eq!(Flakes::of(dir.path()).all(), [flake("A"), flake("C")]);
        for end in 0..whole.len() {
            fs::write(&path, &whole[..end]).unwrap();
            assert_eq!(Flakes::of(dir.path()).all().len(), end / one);
        }
        let mut other = frame::begin();
        other.extend_from_slice(&[VERSION + 1, 1, 2, 3]);
        frame::end(&mut other);
        fs::write(&path, [other, whole].concat()).unwrap();
        assert_eq!(Flakes::of(dir.path()).all().len(), 3);
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        let blocked = Flakes::of(dir.path());
        blocked.note(flake("A"));
        assert_eq!(blocked.all(), [flake("A")]);
    }

    #[test]
    fn the_newest_notes_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let kept = Flakes::of(dir.path());
        for number in 0..=2 * KEPT {
            kept.verified(&TaskId::new(number.to_string()), key("k"));
        }
        let again = Flakes::of(dir.path()).last_verified();
        assert_eq!(again.len(), KEPT);
        let at = |number: usize| again.get(&(TaskId::new(number.to_string()), key("k"))).copied();
        assert_eq!((at(0), at(2 * KEPT)), (None, Some(KEPT)));
    }
}
