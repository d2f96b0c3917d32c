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
//! | `runs/<id>/` | events, logs and requests to cancel; what ran | [`RunDir`], [`Attempts`] |
//! | `plan` | the compiled plan | [`save_plan`], [`load_plan`] |
//! | `objects/` | bytes that the tree does not hold any more | [`Objects`] |
//! | `locked` | which state `conductor.lock` was made from | [`LockStamp`] |
//! | `sessions/` | agents' work that is not done | [`read_frame`], [`write_frame`] |
//! | `programs` | digests of `tools` programs | [`Programs`] |
//! | `bans` | results that were taken back | [`Cache`] |
//! | `flakes` | results that differed under one key | [`Flakes`] |
//!
//! Beside the folder, in the root of the workspace, lies `conductor.lock` ([`Lockfile`]), which people commit. The
//! [`Cache`] is elsewhere, shared by checkouts, and obeys the same two rules.

mod attempts;
mod bans;
mod blobs;
mod durable;
mod entries;
mod files;
mod flakes;
mod frame;
mod framed;
mod journal;
mod local;
mod lock;
mod lockfile;
mod log;
mod marks;
mod needed;
mod objects;
mod plan;
mod programs;
mod runs;
mod sealed;
mod snapshot;
mod state;
mod tasks;

use std::io;
use std::path::{Path, PathBuf};

pub use attempts::{Attempts, last_attempt};
pub use entries::{prepare, strangers};
pub use files::{FileId, FileRow};
pub use flakes::Flakes;
pub use framed::{read_frame, write_frame};
pub use journal::{BranchMove, Intent, Journal, Planned, Ticket};
pub use local::{
    BadKey, Beside, BesideKind, Cache, CacheEntry, CacheOptions, CachedEdit, CachedFile, Collected, Damage,
    Draft, Hold, Keys, Maker, Missing, Source, Statistics,
};
pub use lock::{Holder, Lock, LockError};
pub use lockfile::{LockStamp, Lockfile};
pub use marks::Marks;
pub use objects::Objects;
pub use plan::{PlanBodies, load_plan, save_plan};
pub use programs::Programs;
pub use runs::{CancelRequest, RunDir, list_runs, local_now, new_run_id, prune};
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
