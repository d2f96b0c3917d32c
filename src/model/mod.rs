//! The nouns: plain data that every other room speaks of. Nothing here does I/O, knows YAML, salsa, git
//! or a terminal; every type can be compared and serialised.

mod action;
mod adapter;
mod agent;
mod command;
mod definition;
mod diagnostic;
mod digest;
mod entry;
mod event;
mod flake;
mod id;
mod locked;
mod manifest;
pub mod os_path;
mod path;
mod path_index;
mod reason;
mod record;
mod result;
mod task;
mod units;

pub use action::{Action, ActionKey, Components, Input, Need, Validation, Via};
pub use adapter::{
    Adapter, AgentOutput, Argument, Events, Home, Price, PromptChannel, Reading, Rule, Scope, Take,
};
pub use agent::{AgentEnd, AgentResult, AgentRun, Usage, micro};
use command::digestible;
pub use command::{Command, Piece, Template};
pub use diagnostic::{At, Diagnostic, Label, Severity, SourceFile, Sources};
pub use digest::{Digest, Encoder, ParseDigestError};
pub use entry::{Entry, EntryKind, Signature};
pub use event::{EVENTS_VERSION, Event, Stamped};
pub use flake::{Flake, FlakeKind};
pub use id::{GATE_SUFFIX, GroupId, TaskId};
pub use locked::{LOCK_RUN, LOCKFILE, Locked};
pub use manifest::{Budget, Group, Manifest, Reference, Settings};
pub use path::{PathError, UNFINISHED, WorkspacePath};
pub use path_index::PathIndex;
pub use reason::{Place, Reason, ReasonKind};
pub use record::{
    Approval, Attempt, CheckEvidence, Edited, Failure, OutputEntry, Pending, Record, Undo, Wait,
};
pub use result::{RunId, RunOutcome, RunResult, Status, Summary, TaskResult};
pub use task::{
    AgentWork, CacheMode, Check, CheckKind, EnvValue, EnvVar, Instructions, Integrate, Isolation, Output,
    Pattern, Retries, Sees, Task, Tool, ToolKind, Work, Writes,
};
pub use units::{ParseUnitError, format_duration, parse_bytes, parse_count, parse_duration};
