//! One line of `conductor.lock`: what a checkout without any state needs to know of an accepted result, to tell
//! whether it still holds.
//!
//! It holds digests, not what was digested: of the parts of a key, of outputs, of edited files. Two things it holds
//! in full, because no checkout could guess them: what the tools answered, and which paths a depfile named.
//! Never part of it: times, runs, places on a machine. So the same inputs give the same line, whoever built them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::action::merge_tools;
use super::{
    Action, ActionKey, Components, Digest, Edited, Entry, EntryKind, Input, OutputEntry, Reason, ReasonKind,
    Record, RunId, TaskId, Validation, Via, WorkspacePath,
};

/// The name of the file, in the root of the workspace. No walk lists it: it says what was read, and is not read itself.
pub const LOCKFILE: &str = "conductor.lock";

/// What stands for a run in results that came from a lock: no run of this workspace made them.
pub const LOCK_RUN: &str = "00000000-000000-0";

/// A result as a lock has it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "Line", into = "Line")]
pub struct Locked {
    /// Which task.
    pub task: TaskId,
    /// Of the action; what [`Components::key`] makes of the parts.
    pub key: ActionKey,
    /// Of the checks that accepted it.
    pub validation_key: Digest,
    /// The parts of the key.
    pub components: Components,
    /// What the tools answered, in the order declared.
    pub tools: Vec<(String, String)>,
    /// What the depfile named, sorted.
    pub discovered: Vec<WorkspacePath>,
    /// What was made, sorted by path.
    pub outputs: Vec<OutputEntry>,
    /// What became of the paths of its `edits`, sorted by path.
    pub edited: Vec<Edited>,
    /// Its files are on its branch and not in the tree.
    pub on_branch: bool,
}

impl Locked {
    /// What a lock holds of a result.
    pub fn of(task: &TaskId, record: &Record) -> Self {
        let discovered = record.action.inputs.iter().filter(|input| input.is_discovered());
        Self {
            task: task.clone(),
            key: record.key,
            validation_key: record.validation_key,
            components: record.action.components(),
            tools: record.action.tools.clone(),
            discovered: discovered.map(|input| input.path.clone()).collect(),
            outputs: record.outputs.clone(),
            edited: record.edited.clone(),
            on_branch: record.on_branch,
        }
    }

    /// The result, as far as the lock knows it: of the action it holds the tools and the paths that the depfile named.
    pub fn record(&self) -> Record {
        let discovered = self.discovered.iter().map(|path| Input {
            path: path.clone(),
            entry: Entry::absent(),
            from: None,
            via: Via::Depfile,
        });
        let action = Action { tools: self.tools.clone(), inputs: discovered.collect(), ..Action::default() };
        self.completed(action, Validation::default())
    }

    /// The result with the action and the validation that turned out to have its keys.
    pub fn completed(&self, action: Action, validation: Validation) -> Record {
        Record {
            key: self.key,
            action,
            outputs: self.outputs.clone(),
            validation,
            validation_key: self.validation_key,
            evidence: Vec::new(),
            duration: Duration::ZERO,
            run: RunId(LOCK_RUN.to_owned()),
            edited: self.edited.clone(),
            landed_by: None,
            commit: None,
            on_branch: self.on_branch,
            approval: None,
            undo: Vec::new(),
            agent: None,
        }
    }

    /// Which parts of the key differ from those of `action`, in the order in which a person wants to hear it. The
    /// lock knows no more of them than that.
    pub fn differences(&self, action: &Action) -> Vec<Reason> {
        let now = action.components();
        let mut reasons = Vec::new();
        let differs = |kind, name: &str, old: &Digest, new: &Digest| {
            let reason = Reason::new(kind).name(name).old(old.short()).new_value(new.short());
            (old != new).then_some(reason)
        };
        let old = &self.components;
        reasons.extend(differs(
            ReasonKind::DefinitionChanged,
            "definition",
            &old.definition,
            &now.definition,
        ));
        // Where there is one variable only, it is that one.
        let variable = if let [(name, _)] = &action.env[..] { name } else { "env" };
        reasons.extend(differs(ReasonKind::EnvChanged, variable, &old.env, &now.env));
        merge_tools(&self.tools, &action.tools, &mut reasons);
        reasons.extend(differs(ReasonKind::InputChanged, "inputs", &old.inputs, &now.inputs));
        reasons.extend(differs(ReasonKind::DependencyChanged, "needs", &old.needs, &now.needs));
        reasons
    }
}

/// The form on disk. Fields that say nothing are left out.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    task: TaskId,
    key: Digest,
    validation: Digest,
    definition: Digest,
    env: Digest,
    inputs: Digest,
    needs: Digest,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tools: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    discovered: Vec<WorkspacePath>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    outputs: Vec<(WorkspacePath, State)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    edits: Vec<Edit>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    branch: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Edit {
    path: WorkspacePath,
    before: State,
    after: State,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    landed: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    held: Option<State>,
}

/// What lies at a path, as a word or two: `HEX`, `HEX exec`, `HEX link`, `folder`, `absent`.
#[derive(Clone, Copy)]
struct State(Entry);

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entry = &self.0;
        match entry.kind {
            EntryKind::File if entry.executable => write!(f, "{} exec", entry.digest),
            EntryKind::File => write!(f, "{}", entry.digest),
            EntryKind::Link => write!(f, "{} link", entry.digest),
            EntryKind::Folder => f.write_str("folder"),
            EntryKind::Absent => f.write_str("absent"),
            EntryKind::Special => f.write_str("special"),
            EntryKind::Unreadable => f.write_str("unreadable"),
        }
    }
}

impl FromStr for State {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bare = match text {
            "folder" => Some(EntryKind::Folder),
            "absent" => Some(EntryKind::Absent),
            "special" => Some(EntryKind::Special),
            "unreadable" => Some(EntryKind::Unreadable),
            _ => None,
        };
        if let Some(kind) = bare {
            return Ok(Self(Entry::bare(kind)));
        }
        let (hex, word) = text.split_once(' ').unwrap_or((text, ""));
        let digest: Digest = hex.parse().map_err(|_| format!("`{text}` is no state of a file"))?;
        let (kind, executable) = match word {
            "" => (EntryKind::File, false),
            "exec" => (EntryKind::File, true),
            "link" => (EntryKind::Link, false),
            _ => return Err(format!("`{text}` is no state of a file")),
        };
        Ok(Self(Entry { kind, executable, digest }))
    }
}

impl Serialize for State {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for State {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl From<Locked> for Line {
    fn from(locked: Locked) -> Self {
        let edits = locked.edited.into_iter().map(|edited| Edit {
            path: edited.path,
            before: State(edited.before),
            after: State(edited.after),
            landed: edited.landed,
            held: edited.held.map(State),
        });
        Self {
            task: locked.task,
            key: locked.key.0,
            validation: locked.validation_key,
            definition: locked.components.definition,
            env: locked.components.env,
            inputs: locked.components.inputs,
            needs: locked.components.needs,
            tools: locked.tools,
            discovered: locked.discovered,
            outputs: locked.outputs.into_iter().map(|output| (output.path, State(output.entry))).collect(),
            edits: edits.collect(),
            branch: locked.on_branch,
        }
    }
}

impl TryFrom<Line> for Locked {
    type Error = String;

    /// Refuses what no result can be: a key that its parts do not make, paths out of order.
    fn try_from(line: Line) -> Result<Self, String> {
        let tools = Action { tools: line.tools.clone(), ..Action::default() }.components().tools;
        let components = Components {
            definition: line.definition,
            env: line.env,
            tools,
            inputs: line.inputs,
            needs: line.needs,
        };
        if components.key().0 != line.key {
            return Err("the key is not that of its parts".to_owned());
        }
        let outputs: Vec<OutputEntry> =
            line.outputs.into_iter().map(|(path, state)| OutputEntry { path, entry: state.0 }).collect();
        let edited: Vec<Edited> = line
            .edits
            .into_iter()
            .map(|edit| Edited {
                path: edit.path,
                before: edit.before.0,
                after: edit.after.0,
                landed: edit.landed,
                held: edit.held.map(|state| state.0),
            })
            .collect();
        let in_order = outputs.is_sorted_by(|a, b| a.path < b.path)
            && edited.is_sorted_by(|a, b| a.path < b.path)
            && line.discovered.is_sorted();
        if !in_order {
            return Err("its paths are not in order".to_owned());
        }
        Ok(Self {
            task: line.task,
            key: ActionKey(line.key),
            validation_key: line.validation,
            components,
            tools: line.tools,
            discovered: line.discovered,
            outputs,
            edited,
            on_branch: line.branch,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let entry =
            |text: &str| Entry { digest: Digest::of(text.as_bytes()), ..Entry::bare(EntryKind::File) };
        let path = |text: &str| WorkspacePath::new(text).unwrap();
        let input = |name: &str, via| Input { path: path(name), entry: entry(name), from: None, via };
        let action = Action {
            definition: vec![("run".into(), "cc".into())],
            env: vec![("A".into(), Some("1".into()))],
            tools: vec![("cc".into(), "v1".into()), ("as".into(), "v2".into())],
            inputs: vec![input("a.c", Via::Inputs), input("a.h", Via::Depfile)],
            needs: Vec::new(),
        };
        let executable = Entry { executable: true, ..entry("x") };
        let kinds = [("o/a", entry("a")), ("o/b", executable), ("o/c", Entry::bare(EntryKind::Folder))];
        let edited =
            Edited { path: path("e"), before: Entry::absent(), after: entry("e"), landed: true, held: None };
        Record {
            key: action.key(),
            outputs: kinds.map(|(name, entry)| OutputEntry { path: path(name), entry }).into(),
            edited: vec![edited],
            action,
            ..Locked { task: TaskId::new("T"), ..blank() }.record()
        }
    }

    fn blank() -> Locked {
        let components = Action::default().components();
        Locked {
            task: TaskId::new("T"),
            key: components.key(),
            validation_key: Digest::of(b"v"),
            components,
            tools: Vec::new(),
            discovered: Vec::new(),
            outputs: Vec::new(),
            edited: Vec::new(),
            on_branch: false,
        }
    }

    #[test]
    fn a_line_says_all_that_it_was_made_from_and_refuses_a_key_that_its_parts_do_not_make() {
        let locked = Locked::of(&TaskId::new("T1[os=a]"), &record());
        let text = serde_json::to_string(&locked).unwrap();
        assert_eq!(serde_json::from_str::<Locked>(&text).unwrap(), locked, "{text}");
        assert!(!text.contains('\n'));
        let other = text.replacen("v1", "v9", 1);
        let error = serde_json::from_str::<Locked>(&other).unwrap_err().to_string();
        assert!(error.contains("the key is not that of its parts"), "{error}");
    }

    #[test]
    fn no_reason_is_told_exactly_where_the_keys_are_equal() {
        let record = record();
        let locked = Locked::of(&TaskId::new("T"), &record);
        assert_eq!(locked.differences(&record.action), []);
        let kinds = |change: &dyn Fn(&mut Action)| {
            let mut action = record.action.clone();
            change(&mut action);
            assert_ne!(action.key(), record.key);
            locked
                .differences(&action)
                .into_iter()
                .map(|reason| (reason.kind, reason.name.unwrap()))
                .collect::<Vec<_>>()
        };
        let one = |kind, name: &str| vec![(kind, name.to_owned())];
        assert_eq!(kinds(&|a| a.definition.clear()), one(ReasonKind::DefinitionChanged, "definition"));
        assert_eq!(kinds(&|a| a.env[0].1 = None), one(ReasonKind::EnvChanged, "A"));
        assert_eq!(kinds(&|a| a.tools[1].1 = "v3".into()), one(ReasonKind::ToolChanged, "as"));
        assert_eq!(kinds(&|a| a.inputs.truncate(1)), one(ReasonKind::InputChanged, "inputs"));
    }
}
