//! One action, from the look at its inputs to what it made: guard → require → stage → run → collect →
//! validate → guard; or a result from the cache in the place of all but the guard. Runs on a worker thread; takes plain data and gives plain data back.
//!
//! It decides nothing about other tasks, and records nothing: the coordinator does both.

mod agent;
mod byhand;
mod checks;
mod collect;
mod command;
mod command_result;
mod depfile;
mod environment;
mod exec_root;
mod git;
mod hints;
mod integrate;
mod isolated;
mod isolated_dir;
mod keep;
mod lookup;
mod pending;
mod perform;
mod recover;
mod repeat;
mod restore;
mod secrets;
mod staging;
mod suspend;

pub use agent::{Agents, Examined, Ledger, Login, Unfinished, examine, next_prompt, unfinished};
pub use byhand::{check_result, copy_version, keep_version, return_version, run_by_hand, show_version};
pub use command::run_tool;
pub use git::{check_branch, commit_adopted, move_branch, move_branch_back, needs_repository};
pub use integrate::{Landed, land, put_back};
pub use isolated_dir::{remove_all, unenforced};
pub use keep::keep_result;
pub use lookup::would_be_restored;
pub use pending::{Released, clear as clear_pending, folder as pending_folder, release, turn_into_conflict};
pub use perform::{Disposition, Done, Outcome, Refusal, Waiting, perform};
pub use recover::recover;
pub use repeat::{Difference, DifferentLine, Repeated, repeat};
pub use staging::{Staged, StagingError};

use std::path::{Path, PathBuf};

use crate::incremental::Caller;
use crate::model::{Event, RunId, TaskId};
use crate::process::Processes;
use crate::store::{Attempts, Cache, Flakes, Journal, Maker, Objects, RunDir};
use crate::workspace::Tree;
use crate::worktree::Repository;

/// Where actions run: what all workers of one build share.
pub struct RunContext {
    /// How the kernel stamped files when the build began, in nanoseconds since 1970.
    pub began: i64,
    /// The tree.
    pub tree: Tree,
    /// `.conductor`
    pub folder: PathBuf,
    /// Running children.
    pub processes: Processes,
    /// What is about to be made.
    pub journal: Journal,
    /// Bytes that the tree does not hold any more.
    pub objects: Objects,
    /// Results of this and other checkouts; none where it is off.
    pub cache: Option<Cache>,
    /// Who makes results, for those who find them there.
    pub maker: Maker,
    /// Logs and events of this run.
    pub run_dir: RunDir,
    /// What was run in it, to be compared with later runs.
    pub attempts: Attempts,
    /// Results that differed under one key.
    pub flakes: Flakes,
    /// Which run.
    pub run: RunId,
    /// conductor's environment.
    pub caller: Caller,
    /// What agents of the build have in common.
    pub agents: Agents,
    /// The git repository, where there is one; asked whether it has a person's bytes.
    pub repository: Option<Repository>,
    /// Tells the coordinator what happens.
    pub events: Box<dyn Fn(Event) + Send + Sync>,
}

impl RunContext {
    /// The log of a task, or of one of its checks.
    fn log(&self, task: &TaskId, part: Option<&str>) -> PathBuf {
        let log = self.run_dir.log(task);
        part.map_or_else(|| log.clone(), |part| log.with_extension(format!("{part}.log")))
    }

    /// A path below the workspace root, for people.
    fn shown(&self, path: &Path) -> String {
        path.strip_prefix(self.tree.root()).unwrap_or(path).display().to_string()
    }

    /// Does git have exactly these bytes?
    fn git_has(&self, path: &Path) -> bool {
        self.repository.as_ref().is_some_and(|repository| repository.has_bytes(path))
    }
}
