//! What conductor keeps in `.conductor/` between runs: recorded results, file signatures, the journal of
//! what it is about to make, the lock, the runs with their events and logs, and the compiled plan.
//!
//! The room knows nothing of manifests, graphs or verdicts: it keeps rows and hands them back. Two
//! invariants hold in all of it. Whatever a file in `.conductor/` holds (another version, damage, half of
//! a write), opening it yields what can be trusted and never fails a build. And with
//! [`Access::ReadOnly`] nothing at all is written, while somebody else may be writing.
//!
//! | entry | holds | kept by |
//! | --- | --- | --- |
//! | `state`, `state.log` | recorded results, file signatures | [`State`] |
//! | `journal` | what is about to be made | [`Journal`] |
//! | `lock` | who is building | [`Lock`] |
//! | `runs/<id>/` | events, logs and requests to cancel | [`RunDir`] |
//! | `plan` | the compiled plan | [`save_plan`], [`load_plan`] |

mod durable;
mod files;
mod frame;
mod journal;
mod lock;
mod log;
mod objects;
mod plan;
mod runs;
mod sealed;
mod snapshot;
mod state;
mod tasks;

use std::io;
use std::path::{Path, PathBuf};

pub use files::{FileId, FileRow};
pub use journal::{BranchMove, Intent, Journal, Planned, Ticket};
pub use lock::{Holder, Lock, LockError};
pub use objects::Objects;
pub use plan::{PlanBodies, load_plan, save_plan};
pub use runs::{CancelRequest, RunDir, list_runs, new_run_id, prune};
pub use state::State;
pub use tasks::{FileIds, TaskRow};

/// May an open store be written?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// By the one build that holds the [`Lock`].
    Write,
    /// By nobody through this handle; a build may be writing beside it.
    ReadOnly,
}

/// Something in `.conductor/` could not be written or made.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {cause}", path.display())]
pub struct Error {
    /// What was tried: `write`, `create`, …
    pub action: &'static str,
    /// On what.
    pub path: PathBuf,
    /// Why not.
    pub cause: io::Error,
}

/// Turns an I/O error into an [`Error`] that names what was tried on which path.
fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |cause| Error { action, path: path.to_owned(), cause }
}

/// What conductor itself makes in `.conductor/`, for its `.gitignore`. Never `*`: a manifest may live there.
const IGNORED: [&str; 14] = [
    "/.gitignore",
    "/.*.tmp-*",
    "/lock",
    "/state",
    "/state.*",
    "/journal",
    "/plan",
    "/runs/",
    "/aside/",
    "/conflicts/",
    "/workspaces/",
    "/objects/",
    "/pending/",
    "/cache/",
];

/// Makes the folder `.conductor` at `dir`, with a `.gitignore` that names conductor's own entries. Lines
/// that a person added to it stay.
pub fn prepare(dir: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(dir).map_err(failed("create", dir))?;
    let path = dir.join(".gitignore");
    let mut text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(failed("read", &path)(error)),
    };
    let missing: Vec<_> =
        IGNORED.into_iter().filter(|entry| !text.lines().any(|line| line == *entry)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    for entry in missing {
        text.push_str(entry);
        text.push('\n');
    }
    durable::replace(&path, |file| io::Write::write_all(file, text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gitignore_names_our_entries_and_keeps_the_lines_of_others() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join(".conductor");
        prepare(&dir).unwrap();
        let path = dir.join(".gitignore");
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().collect::<Vec<_>>(), IGNORED);
        std::fs::write(&path, "/mine\n/lock").unwrap();
        prepare(&dir).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("/mine\n/lock\n/.gitignore\n"), "{text}");
        assert_eq!(text.lines().filter(|line| *line == "/lock").count(), 1);
    }
}
