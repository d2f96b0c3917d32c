//! Why a task is not fresh, typed, with the old and the new value.

use serde::{Deserialize, Serialize};

use super::{TaskId, WorkspacePath};

/// The kind of a [`Reason`]; part of the contract's JSON.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReasonKind {
    /// There is no accepted result.
    NeverBuilt,
    /// The last run of this very action failed.
    PreviousFailed,
    /// `--force`.
    Forced,
    /// `always: true`.
    Always,
    /// `run`, or an agent's instructions or model, differ.
    CommandChanged,
    /// Another part of the definition differs (`outputs`, `dir`, `sees`, `network`, …); `name` says which.
    DefinitionChanged,
    /// A declared variable has another value.
    EnvChanged,
    /// A declared tool has another digest or output.
    ToolChanged,
    /// An input's content, kind or executable bit differs.
    InputChanged,
    /// A path is an input now.
    InputAdded,
    /// A path is no input any more.
    InputRemoved,
    /// An output of a task that this one needs differs.
    DependencyChanged,
    /// A recorded output is not there.
    OutputMissing,
    /// A recorded output has other content.
    OutputModified,
    /// The checks, or what they read, differ.
    ValidationChanged,
    /// The checks refused these outputs.
    ValidationFailed,
    /// An input changed while the task ran.
    ChangedDuringRun,
    /// The result was withdrawn by `rollback`.
    RolledBack,
    /// A gate refused.
    GateFailed,
    /// The result waits for `approve`.
    ApprovalMissing,
    /// The result would come from the cache but is not there.
    NotInCache,
}

impl ReasonKind {
    /// The contract's name: `input_changed`.
    pub fn name(self) -> String {
        serde_json::to_value(self).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
    }
}

/// A place in a manifest file, for people and JSON.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Place {
    /// Relative to the workspace root.
    pub file: String,
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
}

/// One cause.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Reason {
    /// What kind of cause.
    pub kind: ReasonKind,
    /// The file, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<WorkspacePath>,
    /// The variable, tool, key or check, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The other task at the end of the edge, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskId>,
    /// What was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<String>,
    /// What it is now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<String>,
    /// The line of the manifest that brings it in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Place>,
}

impl Reason {
    /// A cause without details.
    pub fn new(kind: ReasonKind) -> Self {
        Self { kind, path: None, name: None, task: None, old: None, new: None, at: None }
    }

    /// Names the file.
    pub fn path(mut self, path: &WorkspacePath) -> Self {
        self.path = Some(path.clone());
        self
    }

    /// Names the variable, tool, key or check.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Names the other task.
    pub fn task(mut self, task: &TaskId) -> Self {
        self.task = Some(task.clone());
        self
    }

    /// Says what was recorded.
    pub fn old(mut self, old: impl Into<String>) -> Self {
        self.old = Some(old.into());
        self
    }

    /// Says what it is now.
    pub fn new_value(mut self, new: impl Into<String>) -> Self {
        self.new = Some(new.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_only_what_is_known() {
        let reason =
            Reason::new(ReasonKind::InputChanged).path(&WorkspacePath::new("a.txt").unwrap()).old("x");
        assert_eq!(
            serde_json::to_string(&reason).unwrap(),
            r#"{"kind":"input_changed","path":"a.txt","old":"x"}"#
        );
        assert_eq!(ReasonKind::OutputMissing.name(), "output_missing");
    }
}
