//! Tasks after the manifest was read and checked: every default, variable, namespace and matrix value
//! filled in. Spans stay attached so that a later reason or error can name its line.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{At, Budget, Command, Group, GroupId, Reference, TaskId, Template, WorkspacePath};

/// One task, or one instance of a matrix task.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a key of the manifest that is on or off")]
pub struct Task {
    /// With namespace and matrix values.
    pub id: TaskId,
    /// The task's key in the manifest.
    pub at: At,
    /// `title:`
    pub title: Option<String>,
    /// `group:`
    pub group: Option<GroupId>,
    /// `role:`
    pub role: Option<String>,
    /// `effort:`
    pub effort: Option<Duration>,
    /// `tags:`
    pub tags: Vec<String>,
    /// `run:` or `agent:`.
    pub work: Work,
    /// Where the command or its agent was written.
    pub work_at: At,
    /// The command's working folder.
    pub dir: WorkspacePath,
    /// `needs:`; their outputs are inputs.
    pub needs: Vec<Reference>,
    /// `after:`; order alone.
    pub after: Vec<Reference>,
    /// `inputs:` in the order written; the last match wins.
    pub inputs: Vec<Pattern>,
    /// `env:` of the file and of the task, sorted by name.
    pub env: Vec<EnvVar>,
    /// `pass_env:` of the file and of the task, sorted.
    pub pass_env: Vec<String>,
    /// `secrets:` names, sorted.
    pub secrets: Vec<String>,
    /// `tools:` in the order written.
    pub tools: Vec<Tool>,
    /// `outputs:` sorted by path.
    pub outputs: Vec<Output>,
    /// `edits:` in the order written.
    pub edits: Vec<Pattern>,
    /// `depfile:`
    pub depfile: Option<(WorkspacePath, At)>,
    /// `require:`
    pub require: Vec<Check>,
    /// `validate:`
    pub validate: Vec<Check>,
    /// `rollback:`
    pub rollback: Option<Command>,
    /// `isolation:`; none for `run`, worktree for `agent` unless set.
    pub isolation: Isolation,
    /// `sees:`
    pub sees: Sees,
    /// `integrate:`
    pub integrate: Integrate,
    /// `writes:`, where set.
    pub writes: Option<Writes>,
    /// `copy:`
    pub copy: Vec<Pattern>,
    /// `setup:`
    pub setup: Option<Command>,
    /// `approve:`
    pub approve: bool,
    /// `timeout:`
    pub timeout: Option<Duration>,
    /// `stall:`
    pub stall: Option<Duration>,
    /// `limit_wait:`
    pub limit_wait: Option<Duration>,
    /// `retries:`, where set.
    pub retries: Option<Retries>,
    /// `pool:`, with its namespace where the included file defines it.
    pub pool: Option<String>,
    /// `weight:`, at least 1.
    pub weight: u32,
    /// `incremental:`
    pub incremental: bool,
    /// `always:`
    pub always: bool,
    /// `cache:`
    pub cache: CacheMode,
    /// `network:`; false is `off`.
    pub network: bool,
    /// `platform:`, sorted by name.
    pub platform: Vec<(String, String)>,
}

impl Task {
    /// The task that is a group's gate.
    pub fn gate(group: &Group) -> Self {
        Self {
            id: TaskId::gate(&group.id),
            at: group.at,
            title: group.title.as_ref().map(|title| format!("{title}: gate")),
            group: Some(group.id.clone()),
            role: None,
            effort: None,
            tags: Vec::new(),
            work: Work::Gate,
            work_at: group.at,
            dir: group.dir.clone(),
            needs: Vec::new(),
            after: Vec::new(),
            inputs: Vec::new(),
            env: group.env.clone(),
            pass_env: group.pass_env.clone(),
            secrets: Vec::new(),
            tools: Vec::new(),
            outputs: Vec::new(),
            edits: Vec::new(),
            depfile: None,
            require: Vec::new(),
            validate: group.gate.clone(),
            rollback: None,
            isolation: Isolation::None,
            sees: Sees::Inputs,
            integrate: Integrate::Tree,
            writes: None,
            copy: Vec::new(),
            setup: None,
            approve: false,
            timeout: None,
            stall: None,
            limit_wait: None,
            retries: None,
            pool: None,
            weight: 1,
            incremental: false,
            always: false,
            cache: CacheMode::Off,
            network: true,
            platform: Vec::new(),
        }
    }

    /// Is it a group's gate?
    pub fn is_gate(&self) -> bool {
        matches!(self.work, Work::Gate)
    }
}

/// What a task does.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Work {
    /// `run:`
    Run(Command),
    /// `agent:`
    Agent(Box<AgentWork>),
    /// A group's gate: its checks are in [`Task::validate`].
    Gate,
}

/// The keys of an agent task.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct AgentWork {
    /// `agent:`, the adapter's name.
    pub adapter: String,
    /// `model:`
    pub model: Option<String>,
    /// `instructions:`
    pub instructions: Instructions,
    /// `budget:`
    pub budget: Budget,
}

/// Where an agent's instructions stand.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Instructions {
    /// In the manifest.
    Text(Template),
    /// `{ file: … }`
    File(WorkspacePath),
}

/// A path or glob of `inputs` or `edits`, relative to the workspace root.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Pattern {
    /// In globset's dialect, with the folder of its manifest in front, without the `!`.
    pub glob: String,
    /// Began with `!`.
    pub negated: bool,
    /// The path it names where it holds no (unescaped) glob characters.
    pub literal: Option<WorkspacePath>,
    /// Ended in `/`: all below that folder.
    pub folder: bool,
    /// Where it was written.
    pub at: At,
}

/// A variable of `env`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EnvVar {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: EnvValue,
    /// Where it was written.
    pub at: At,
}

/// The value of a variable of `env`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum EnvValue {
    /// Written in the manifest.
    Literal(String),
    /// Taken from conductor's own environment, where it may be unset.
    Caller,
}

/// An entry of `tools`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Tool {
    /// As people know it: the program's name, or the command.
    pub name: String,
    /// How it is identified.
    pub kind: ToolKind,
    /// Where it was written.
    pub at: At,
}

impl Tool {
    /// The program, by name or by a path seen from the task's folder; none where a command does not name it plainly.
    pub fn program(&self) -> Option<&str> {
        match &self.kind {
            ToolKind::Program(name) => Some(name),
            ToolKind::Command(command) => command.first_word(),
        }
    }

    /// The place in the workspace that the program's path names; none for one that PATH finds.
    pub fn place(&self, dir: &WorkspacePath) -> Option<WorkspacePath> {
        let program = self.program().filter(|program| program.contains('/'))?;
        WorkspacePath::resolve(dir, program.as_bytes()).ok()
    }
}

/// How a tool enters the key.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum ToolKind {
    /// By the digest of the program that PATH finds.
    Program(String),
    /// By what the command prints.
    Command(Command),
}

/// An entry of `outputs`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Output {
    /// A file, or a folder with all below it.
    pub path: WorkspacePath,
    /// Written with a trailing `/`.
    pub folder: bool,
    /// `optional: true`: it may be missing afterwards.
    pub optional: bool,
    /// Where it was written.
    pub at: At,
}

/// One check of `require`, `validate` or `gate`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Check {
    /// What it does.
    pub kind: CheckKind,
    /// `inputs:` of the check.
    pub inputs: Vec<Pattern>,
    /// Where it was written.
    pub at: At,
}

/// What a check does.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum CheckKind {
    /// `run:`, passes on exit 0.
    Run(Command),
    /// `non_empty:`: the file exists and is not empty, or the folder holds a file.
    NonEmpty(WorkspacePath),
    /// `matches:`: the file's content matches the regular expression (`^` and `$` at each line).
    Matches {
        /// The file.
        path: WorkspacePath,
        /// In the dialect of the `regex` crate.
        regex: String,
    },
}

impl Check {
    /// For people: `non_empty: db/schema.sql`.
    pub fn display(&self) -> String {
        match &self.kind {
            CheckKind::Run(command) => format!("run: {}", command.display()),
            CheckKind::NonEmpty(path) => format!("non_empty: {path}"),
            CheckKind::Matches { path, regex } => format!("matches: {path} ~ {regex}"),
        }
    }
}

/// `retries:`
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Retries {
    /// How often again after the first attempt.
    pub max: u32,
    /// Before the first retry; doubles for each one after it.
    pub backoff: Duration,
}

/// `isolation:`
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// In the working tree.
    #[default]
    None,
    /// In a private folder that holds the declared inputs.
    Sandbox,
    /// In a git worktree.
    Worktree,
}

/// `sees:`
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sees {
    /// The declared inputs alone.
    #[default]
    Inputs,
    /// The whole tree.
    All,
}

/// `integrate:`
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Integrate {
    /// Accepted results are put into the working tree.
    #[default]
    Tree,
    /// They stay on the task's branch.
    Branch,
}

/// `writes:`
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Writes {
    /// Undeclared writes fail the task.
    Error,
    /// They are named.
    Warn,
}

/// `cache:`
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CacheMode {
    /// Never stored, never restored.
    Off,
    /// This machine's cache alone.
    Local,
    /// Also the remote one.
    #[default]
    Shared,
}
