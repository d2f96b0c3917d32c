//! A whole manifest after it was read: settings, groups, and references that resolved to something.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Adapter, At, Check, Diagnostic, EnvVar, GroupId, Sources, Task, TaskId, WorkspacePath};

/// A whole manifest: the root file and everything it includes.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Manifest {
    /// What holds for the whole workspace.
    pub settings: Settings,
    /// In the order of the files.
    pub groups: Vec<Group>,
    /// In the order of the files, matrix instances in the order of their values. Gates are not among
    /// them: the graph makes those from [`Group::gate`].
    pub tasks: Vec<Task>,
    /// Where all of it was read.
    pub sources: Sources,
    /// Found while reading; errors never get this far.
    pub warnings: Vec<Diagnostic>,
}

/// Top-level keys that concern more than one task.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Settings {
    /// `project:`
    pub project: Option<String>,
    /// `default:`, targets as written, with their spans; empty: every task.
    pub default: Vec<(String, At)>,
    /// `pools:`, sorted by name. A namespaced pool is `api:db`.
    pub pools: Vec<(String, u32)>,
    /// `cache.dir`, as written.
    pub cache_dir: Option<String>,
    /// `cache.max_size` in bytes.
    pub cache_max_size: Option<u64>,
    /// `cache.max_age`.
    pub cache_max_age: Option<Duration>,
    /// `cache.read` and `cache.write`, as written.
    pub cache_policy: (Option<String>, Option<String>),
    /// `budget:` of a whole run.
    pub budget: Budget,
    /// The adapters that the manifest declares or that its tasks use, sorted by name.
    pub agents: Vec<Adapter>,
    /// `budget:` of groups that have one.
    pub group_budgets: Vec<(GroupId, Budget)>,
    /// `remote:` as JSON text.
    pub remote: Option<String>,
    /// `notify.webhook`.
    pub webhook: Option<String>,
}

/// Limits on what agents may spend.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Budget {
    /// US dollars.
    pub usd: Option<f64>,
    /// Tokens.
    pub tokens: Option<u64>,
    /// Model turns.
    pub turns: Option<u64>,
    /// Wall-clock time.
    pub time: Option<Duration>,
}

/// A group of tasks.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Group {
    /// With its namespace.
    pub id: GroupId,
    /// The group's key in the manifest.
    pub at: At,
    /// `title:`
    pub title: Option<String>,
    /// Groups and tasks that must be complete, gates included, before any member starts.
    pub after: Vec<Reference>,
    /// Checks that run when the members are done; empty where the group has no gate.
    pub gate: Vec<Check>,
    /// What the agents of its tasks may spend in one run.
    pub budget: Budget,
    /// Where the gate's checks run: the folder of the manifest file that declares the group.
    pub dir: WorkspacePath,
    /// Environment of the gate's checks: that of the file's top level.
    pub env: Vec<EnvVar>,
    /// `pass_env` of the file's top level.
    pub pass_env: Vec<String>,
}

/// A name that resolved to an existing task or group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Reference {
    /// One task; a reference to a matrix task becomes one of these for each instance.
    Task(TaskId, At),
    /// A group: its tasks, and its gate where it has one.
    Group(GroupId, At),
}

impl Reference {
    /// Where it was written.
    pub fn at(&self) -> At {
        match self {
            Self::Task(_, at) | Self::Group(_, at) => *at,
        }
    }
}
