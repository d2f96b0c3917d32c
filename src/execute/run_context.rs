//! What all workers of one build share. Knows no step of an attempt.

use std::path::{Path, PathBuf};

use super::agent::Agents;
use crate::incremental::Caller;
use crate::model::{Event, RunId, TaskId, WorkspacePath};
use crate::process::Processes;
use crate::store::{Attempts, Cache, Flakes, Journal, Maker, Objects, RunDir};
use crate::workspace::{Tree, Witness};
use crate::worktree::Repository;

/// Where actions run: what all workers of one build share.
pub struct RunContext {
    /// How the kernel stamped files when the build began, in nanoseconds since 1970.
    pub began: i64,
    /// The tree.
    pub tree: Tree,
    /// Sees what happens to the tree while tasks run in it.
    pub witness: Witness,
    /// Do tasks of this build make anything in that folder?
    pub makes_in: Box<dyn Fn(&WorkspacePath) -> bool + Send + Sync>,
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
    pub(super) fn log(&self, task: &TaskId, part: Option<&str>) -> PathBuf {
        let log = self.run_dir.log(task);
        part.map_or_else(|| log.clone(), |part| log.with_extension(format!("{part}.log")))
    }

    /// A path below the workspace root, for people.
    pub(super) fn shown(&self, path: &Path) -> String {
        path.strip_prefix(self.tree.root()).unwrap_or(path).display().to_string()
    }

    /// Does git have exactly these bytes?
    pub(super) fn git_has(&self, path: &Path) -> bool {
        self.repository.as_ref().is_some_and(|repository| repository.has_bytes(path))
    }
}
