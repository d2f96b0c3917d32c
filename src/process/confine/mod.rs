//! Confinement: a process, with everything that it starts, writes where it may and nowhere else, does not
//! read what is hidden from it, and has no network where that is off.
//!
//! Nothing runs in the child between fork and exec, so the confining is done by a second start of this very
//! program ([`enter`]): it takes the restrictions upon itself and becomes the wanted program by `exec`. That
//! is one process all along, with the same id, group, descriptors and signals.
//!
//! ```text
//! conductor ──spawn──▶ [bwrap … --] conductor __confine SPEC -- PROGRAM ARGS ──exec──▶ PROGRAM ARGS
//!                                        └─ standard error: the report (`report`), closed by the exec
//! ```
//!
//! | file | |
//! | --- | --- |
//! | `support` | what this machine can enforce, and by which means |
//! | `command` | the command line that starts a confined process; the outside |
//! | `inside` | what the second start does |
//! | `files` | Landlock: who may write and read where |
//! | `network` | a network of its own, with nothing in it but a loopback |
//! | `privileges` | what root gives up |
//! | `bubblewrap` | the same by `bwrap`, where the kernel has no Landlock |
//! | `report` | how the second start tells that it is done, or why it is not |
//!
//! It does not know tasks, sandboxes or worktrees, only paths.
//!
//! Invariants:
//! - What cannot be confined by the means that were found does not run. Only where [`Support`] says beforehand
//!   that there is no means does it run unconfined, and [`Confinement::unenforced`] says so.
//! - The program's exit code is the program's own. Whatever goes wrong before it runs is a
//!   [`SpawnError`](super::SpawnError).
//! - Nothing that the process's environment names is loaded before the process is confined.
//!
//! What confinement is not: a wall against somebody who attacks the kernel, or a service that runs outside and
//! does the work for others (a container daemon's socket can be connected to). Names, sizes
//! and times of hidden files can be asked for one by one; their content and the listings of folders cannot.

mod bubblewrap;
mod command;
mod files;
mod inside;
mod network;
mod privileges;
mod report;
mod support;

use std::path::PathBuf;

pub use inside::{ENTRY, enter};
pub use support::{Files, Network, Support};

pub(super) use command::confined;
pub(super) use report::{Outcome, Report};

/// What a process may do. Everything that it starts is bound by the same, for good.
///
/// Of several paths that contain one another the innermost decides, but `read` takes nothing away from
/// `write`; at the very same path `write` counts more than `read`, and `read` more than `hide`. Links are
/// resolved first. In a folder on the way to a hidden one nothing can be made, whoever may write it.
///
/// Beside `write`, it may write what every program needs: `/dev/null`, `zero`, `full`, `random`, `urandom` and
/// `tty`, pseudo-terminals, and `/dev/shm`, where semaphores and shared memory live (Python's
/// `multiprocessing` does not start without them). Processes of ordinary users may also write `/proc`, where the
/// kernel lets them change nothing but processes of their own. `/tmp` is not
/// among them: give it a private folder and name that in TMPDIR.
///
/// No device can be made, not even below `write`, and no set-user-id program gains anything. Root keeps of its
/// powers what containers usually leave to root (`privileges`). Other processes can be neither inspected nor
/// (from Linux 6.12 on) signalled.
#[derive(Clone, Debug)]
pub struct Confinement {
    /// Folders (all below them) and files that it may write, and read. They must be there.
    pub write: Vec<PathBuf>,
    /// Folders (all below them) and files inside `hide` that it may read. Those that are not there are
    /// passed over.
    pub read: Vec<PathBuf>,
    /// Folders (all below them) and files that it may not read. Everything else may be read. A folder that
    /// leads to a hidden one cannot be listed either, and what is made in it later cannot be read.
    pub hide: Vec<PathBuf>,
    /// May it use the network? Without, it has a loopback of its own and nothing else; sockets in the file
    /// system still work.
    pub network: bool,
    /// By which means: [`Support::detect`], unless a test wants others.
    pub support: Support,
}

impl Confinement {
    /// Are there any means to enforce a part of it?
    pub fn is_enforceable(&self) -> bool {
        self.files() != Files::Nothing || self.network_by().is_some_and(|by| by != Network::Nothing)
    }

    /// A sentence for each part of it that this machine cannot enforce, for a warning.
    pub fn unenforced(&self) -> Vec<String> {
        let files = self.support.files_gap();
        files.into_iter().chain(self.network_by().and_then(Network::gap)).map(str::to_owned).collect()
    }

    /// By which means the paths are enforced.
    fn files(&self) -> Files {
        self.support.files
    }

    /// By which means the network is taken away. None where it may be used.
    fn network_by(&self) -> Option<Network> {
        (!self.network).then_some(self.support.network)
    }
}
