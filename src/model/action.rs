//! The action: everything that a task's result depends on, as one description that feeds both its key
//! and the explanation of what changed, so that the two cannot disagree.
//!
//! The encoding is specified byte for byte in `docs/keys.md`. Never part of it: mtimes, absolute paths,
//! the task's id, the machine's name.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use super::{Digest, Encoder, Entry, OutputEntry, Reason, ReasonKind, TaskId, WorkspacePath};

/// The digest of an [`Action`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ActionKey(pub Digest);

/// An input file and its content.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Input {
    /// Where.
    pub path: WorkspacePath,
    /// What.
    pub entry: Entry,
    /// The task that makes it, where one does. Not part of the key.
    pub from: Option<TaskId>,
    /// What brings it in. Not part of the key.
    pub via: Via,
}

/// What makes a path an input.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub enum Via {
    /// It matches the task's `edits`: the entry is the state in which the task finds it, whatever later
    /// editors have made of it.
    Edits,
    /// It matches the task's `inputs`.
    #[default]
    Inputs,
    /// The depfile of the last run named it.
    Depfile,
    /// No pattern matches it: it is a link on the way to an input, or lies at the end of one. New
    /// kinds come last, so that older records stay readable.
    Link,
}

impl Input {
    /// Does a pattern of the task mean it?
    pub fn is_named(&self) -> bool {
        matches!(self.via, Via::Edits | Via::Inputs)
    }

    /// Known from the depfile alone?
    pub fn is_discovered(&self) -> bool {
        self.via == Via::Depfile
    }
}

/// An output of a needed task.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Need {
    /// Where.
    pub path: WorkspacePath,
    /// What.
    pub entry: Entry,
    /// Which task made it. Not part of the key.
    pub from: TaskId,
}

/// Everything that a result depends on.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Action {
    /// Named parts of the definition, in a fixed order: `run`, `dir`, `outputs`, …
    pub definition: Vec<(String, String)>,
    /// Declared variables and their values, sorted by name; none where unset.
    pub env: Vec<(String, Option<String>)>,
    /// Declared tools and their digest or output, in the order declared.
    pub tools: Vec<(String, String)>,
    /// Sorted by path.
    pub inputs: Vec<Input>,
    /// Sorted by path.
    pub needs: Vec<Need>,
}

/// The digests that an action's key is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Components {
    /// Of the definition.
    pub definition: Digest,
    /// Of the variables.
    pub env: Digest,
    /// Of the tools.
    pub tools: Digest,
    /// Of the inputs.
    pub inputs: Digest,
    /// Of the needed outputs.
    pub needs: Digest,
}

impl Components {
    /// The key.
    pub fn key(&self) -> ActionKey {
        let mut encoder = Encoder::new("conductor action 1");
        for part in [&self.definition, &self.env, &self.tools, &self.inputs, &self.needs] {
            encoder.digest(part);
        }
        ActionKey(encoder.finish())
    }
}

fn encode_entries<'a>(
    domain: &str,
    entries: impl ExactSizeIterator<Item = (&'a WorkspacePath, &'a Entry)>,
) -> Digest {
    let mut encoder = Encoder::new(domain);
    encoder.count(entries.len());
    for (path, entry) in entries {
        encoder.bytes(path.as_bytes());
        entry.encode(&mut encoder);
    }
    encoder.finish()
}

/// Sorted entries as one digest: inputs, and the outputs that a validation saw.
pub(super) fn inputs_digest(inputs: &[Input]) -> Digest {
    encode_entries("conductor inputs 1", inputs.iter().map(|input| (&input.path, &input.entry)))
}

impl Action {
    /// The digests of its parts.
    pub fn components(&self) -> Components {
        let mut definition = Encoder::new("conductor definition 1");
        definition.count(self.definition.len());
        for (name, value) in &self.definition {
            definition.text(name).text(value);
        }
        let mut env = Encoder::new("conductor env 1");
        env.count(self.env.len());
        for (name, value) in &self.env {
            env.text(name).tag(u8::from(value.is_some())).text(value.as_deref().unwrap_or_default());
        }
        let mut tools = Encoder::new("conductor tools 1");
        tools.count(self.tools.len());
        for (name, value) in &self.tools {
            tools.text(name).text(value);
        }
        Components {
            definition: definition.finish(),
            env: env.finish(),
            tools: tools.finish(),
            inputs: inputs_digest(&self.inputs),
            needs: encode_entries(
                "conductor needs 1",
                self.needs.iter().map(|need| (&need.path, &need.entry)),
            ),
        }
    }

    /// Its key.
    pub fn key(&self) -> ActionKey {
        self.components().key()
    }

    /// What differs from `old`, in the order in which a person wants to hear it. Empty exactly when both
    /// have one key.
    pub fn differences(&self, old: &Self) -> Vec<Reason> {
        let mut reasons = Vec::new();
        diff_definitions(&old.definition, &self.definition, &mut reasons);
        merge(
            &old.env,
            &self.env,
            |a, b| a.0.cmp(&b.0),
            |old, new| {
                let name = old.or(new).map_or("", |(name, _)| name);
                let value = |side: Option<&(String, Option<String>)>| {
                    side.map(|(_, value)| value.clone().unwrap_or_else(|| "(unset)".to_owned()))
                };
                push_values(
                    &mut reasons,
                    ReasonKind::EnvChanged,
                    name,
                    value(old).as_deref(),
                    value(new).as_deref(),
                );
            },
        );
        merge_tools(&old.tools, &self.tools, &mut reasons);
        diff_inputs(&old.inputs, &self.inputs, &mut reasons);
        merge(
            &old.needs,
            &self.needs,
            |a, b| a.path.cmp(&b.path),
            |old, new| {
                if old.map(|need| need.entry) != new.map(|need| need.entry) {
                    let Some(any) = new.or(old) else { return };
                    let mut reason =
                        Reason::new(ReasonKind::DependencyChanged).path(&any.path).task(&any.from);
                    reason.old = old.map(|need| need.entry.describe());
                    reason.new = new.map(|need| need.entry.describe());
                    reasons.push(reason);
                }
            },
        );
        reasons
    }
}

/// What differs between two definitions. A name that is there several times (`output`) is told value by
/// value: which one came and which one went.
fn diff_definitions(old: &[(String, String)], new: &[(String, String)], reasons: &mut Vec<Reason>) {
    let values = |side: &'_ [(String, String)], name: &str| -> Vec<String> {
        side.iter().filter(|(other, _)| other == name).map(|(_, value)| value.clone()).collect()
    };
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in new.iter().chain(old) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    for name in names {
        let (before, after) = (values(old, name), values(new, name));
        let kind = match name {
            "run" | "agent" | "model" | "instructions" => ReasonKind::CommandChanged,
            _ => ReasonKind::DefinitionChanged,
        };
        if before.len() <= 1 && after.len() <= 1 {
            let (old, new) = (before.first().map(String::as_str), after.first().map(String::as_str));
            let told = reasons.len();
            push_values(reasons, kind, name, old, new);
            // A script is told as it was written, without the word that sets it apart from an argv.
            for side in
                reasons[told..].iter_mut().flat_map(|reason| [&mut reason.old, &mut reason.new]).flatten()
            {
                if let Some(script) = side.strip_prefix("sh ") {
                    *side = script.replace("$${", "${");
                }
            }
            continue;
        }
        let told = reasons.len();
        for gone in before.iter().filter(|value| !after.contains(value)) {
            push_values(reasons, kind, name, Some(gone), None);
        }
        for come in after.iter().filter(|value| !before.contains(value)) {
            push_values(reasons, kind, name, None, Some(come));
        }
        if before != after && reasons.len() == told {
            push_values(reasons, kind, name, Some(&before.join(" ")), Some(&after.join(" ")));
        }
    }
}

fn push_values(
    reasons: &mut Vec<Reason>,
    kind: ReasonKind,
    name: &str,
    old: Option<&str>,
    new: Option<&str>,
) {
    if old != new {
        let mut reason = Reason::new(kind).name(name);
        reason.old = old.map(str::to_owned);
        reason.new = new.map(str::to_owned);
        reasons.push(reason);
    }
}

/// Tools keep the order in which they were declared, which is part of the key: a change of order alone
/// is told as a change of the first tool that moved.
pub(super) fn merge_tools(old: &[(String, String)], new: &[(String, String)], reasons: &mut Vec<Reason>) {
    for index in 0..old.len().max(new.len()) {
        let (before, after) = (old.get(index), new.get(index));
        if before == after {
            continue;
        }
        let Some((name, _)) = after.or(before) else { continue };
        let same_name = before.filter(|(other, _)| other == name);
        push_values(
            reasons,
            ReasonKind::ToolChanged,
            name,
            same_name.or_else(|| old.iter().find(|(other, _)| other == name)).map(|v| v.1.as_str()),
            after.map(|v| v.1.as_str()),
        );
        if reasons.is_empty() {
            reasons.push(Reason::new(ReasonKind::ToolChanged).name(name.clone()));
        }
    }
}

/// What differs between two sorted lists of inputs.
pub(super) fn diff_inputs(old: &[Input], new: &[Input], reasons: &mut Vec<Reason>) {
    merge(
        old,
        new,
        |a, b| a.path.cmp(&b.path),
        |old, new| {
            let Some(any) = new.or(old) else { return };
            let (before, after) = (old.map(|input| input.entry), new.map(|input| input.entry));
            if before == after {
                return;
            }
            let kind = match (&any.from, before.filter(Entry::exists), after.filter(Entry::exists)) {
                (Some(_), ..) => ReasonKind::DependencyChanged,
                (None, None, Some(_)) => ReasonKind::InputAdded,
                (None, Some(_), None) => ReasonKind::InputRemoved,
                (None, ..) => ReasonKind::InputChanged,
            };
            let mut reason = Reason::new(kind).path(&any.path);
            reason.task.clone_from(&any.from);
            reason.old = before.map(|entry| entry.describe());
            reason.new = after.map(|entry| entry.describe());
            reasons.push(reason);
        },
    );
}

/// Walks two lists in step, both sorted by `order`, and hands over each pair of equal rank, or the one side
/// that is there.
fn merge<T>(
    old: &[T],
    new: &[T],
    order: impl Fn(&T, &T) -> Ordering,
    mut each: impl FnMut(Option<&T>, Option<&T>),
) {
    let (mut i, mut j) = (0, 0);
    while i < old.len() || j < new.len() {
        let ordering = match (old.get(i), new.get(j)) {
            (Some(a), Some(b)) => order(a, b),
            (Some(_), None) => Ordering::Less,
            _ => Ordering::Greater,
        };
        match ordering {
            Ordering::Less => each(old.get(i), None),
            Ordering::Equal => each(old.get(i), new.get(j)),
            Ordering::Greater => each(None, new.get(j)),
        }
        i += usize::from(ordering != Ordering::Greater);
        j += usize::from(ordering != Ordering::Less);
    }
}

/// What the acceptance of a result depends on: the checks, what they read, and the outputs that they
/// judged. Its key is apart from the action's, so that a changed check re-runs the check alone.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Validation {
    /// Each check as it was written.
    pub checks: Vec<String>,
    /// Where the checks run.
    pub dir: String,
    /// What the checks declare as inputs, sorted by path.
    pub inputs: Vec<Input>,
}

impl Validation {
    /// The key, given the action and the outputs that are judged. A check may compare outputs with the
    /// task's inputs, so those count too; the task's command does not.
    pub fn key(&self, action: &Components, outputs: &[OutputEntry]) -> Digest {
        let mut encoder = Encoder::new("conductor validation 1");
        encoder.count(self.checks.len());
        for check in &self.checks {
            encoder.text(check);
        }
        encoder.text(&self.dir).digest(&inputs_digest(&self.inputs));
        encoder.digest(&encode_entries(
            "conductor outputs 1",
            outputs.iter().map(|output| (&output.path, &output.entry)),
        ));
        for part in [&action.env, &action.tools, &action.inputs, &action.needs] {
            encoder.digest(part);
        }
        encoder.finish()
    }

    /// What differs from `old`, each as a `validation_changed`.
    pub fn differences(&self, old: &Self) -> Vec<Reason> {
        let mut reasons = Vec::new();
        for index in 0..self.checks.len().max(old.checks.len()) {
            let (before, after) = (old.checks.get(index), self.checks.get(index));
            if before != after {
                let mut reason = Reason::new(ReasonKind::ValidationChanged);
                reason.old = before.cloned();
                reason.new = after.cloned();
                reasons.push(reason);
            }
        }
        if self.dir != old.dir {
            push_values(&mut reasons, ReasonKind::ValidationChanged, "dir", Some(&old.dir), Some(&self.dir));
        }
        let mut inputs = Vec::new();
        diff_inputs(&old.inputs, &self.inputs, &mut inputs);
        reasons.extend(
            inputs.into_iter().map(|reason| Reason { kind: ReasonKind::ValidationChanged, ..reason }),
        );
        reasons
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(path: &str, content: &str) -> Input {
        let entry =
            Entry { digest: Digest::of(content.as_bytes()), ..Entry::bare(super::super::EntryKind::File) };
        Input { path: WorkspacePath::new(path).unwrap(), entry, from: None, via: Via::Inputs }
    }

    fn action(inputs: Vec<Input>) -> Action {
        Action { definition: vec![("run".to_owned(), "make".to_owned())], inputs, ..Action::default() }
    }

    #[track_caller]
    fn check(old: &Action, new: &Action, expected: &[ReasonKind]) {
        let kinds: Vec<_> = new.differences(old).into_iter().map(|reason| reason.kind).collect();
        assert_eq!(kinds, expected);
        assert_eq!(old.key() == new.key(), expected.is_empty(), "key and explanation disagree");
    }

    #[test]
    fn every_difference_is_named_and_changes_the_key() {
        let base = action(vec![input("a", "1"), input("b", "1")]);
        check(&base, &base, &[]);
        check(&base, &action(vec![input("a", "2"), input("b", "1")]), &[ReasonKind::InputChanged]);
        check(&base, &action(vec![input("b", "1")]), &[ReasonKind::InputRemoved]);
        check(
            &base,
            &action(vec![input("a", "1"), input("b", "1"), input("c", "1")]),
            &[ReasonKind::InputAdded],
        );
        let mut other = base.clone();
        other.definition[0].1 = "make all".to_owned();
        check(&base, &other, &[ReasonKind::CommandChanged]);
        let mut other = base.clone();
        other
            .definition
            .extend([("output", "a"), ("output", "b")].map(|(n, v)| (n.to_owned(), v.to_owned())));
        let mut reordered = other.clone();
        reordered.definition.swap(1, 2);
        check(&other, &reordered, &[ReasonKind::DefinitionChanged]);
        reordered.definition.remove(1);
        check(&other, &reordered, &[ReasonKind::DefinitionChanged]);
        let mut other = base.clone();
        other.env.push(("X".to_owned(), None));
        check(&base, &other, &[ReasonKind::EnvChanged]);
        let mut tools = base.clone();
        tools.tools = vec![("cc".to_owned(), "1".to_owned()), ("ld".to_owned(), "1".to_owned())];
        check(&base, &tools, &[ReasonKind::ToolChanged, ReasonKind::ToolChanged]);
    }

    #[test]
    fn the_maker_of_an_input_is_no_part_of_the_key() {
        let base = action(vec![input("a", "1")]);
        let mut made = base.clone();
        made.inputs[0].from = Some(TaskId::new("T1"));
        assert_eq!(base.key(), made.key());
    }
}
