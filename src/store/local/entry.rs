//! An entry of the cache: what was made under a key, and all that is needed to accept it elsewhere. How it is
//! written, and what is believed of one that was read.
//!
//! ```text
//! frame            marker, length, checksum (`store/frame.rs`)
//!   version        1 byte
//!   signature      1 byte: 0 none, 1 there is one; then 32 bytes public key, 64 bytes ed25519
//!   body           postcard of `CacheEntry`
//! ```
//!
//! It knows neither where entries lie nor what the manifest says of a task today: whoever restores one holds it
//! against that. Invariant: an entry that [`open`] gives is whole, is the one for its key, is signed where that is
//! required, and names no path, kind or permission that no honest result has.

use std::collections::HashSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::keys::{Distrust, Keys};
use crate::model::{
    ActionKey, AgentResult, Approval, CheckEvidence, Digest, Edited, Encoder, Entry, EntryKind, OutputEntry,
    Record, UNFINISHED, WorkspacePath,
};
use crate::store::frame;

/// The first byte of a payload.
const VERSION: u8 = 1;

/// An output as it is kept.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CachedFile {
    /// Where and what.
    pub output: OutputEntry,
    /// The permission bits of a file, before the umask takes its part.
    pub mode: u32,
    /// Bytes of its content.
    pub size: u64,
}

/// A path that matches the task's `edits`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CachedEdit {
    /// Where.
    pub path: WorkspacePath,
    /// What the task found.
    pub before: Entry,
    /// What it left.
    pub after: Entry,
    /// Bytes of `after`.
    pub size: u64,
}

/// Content that belongs to a result without being part of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Beside {
    /// What it is.
    pub what: BesideKind,
    /// Its content.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
}

/// What lies beside a result.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum BesideKind {
    /// What the task printed.
    Log,
    /// All that its agent read and printed; named by the agent's result as well.
    Transcript,
}

/// Who made a result.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Maker {
    /// The task, by the name that it had.
    pub task: String,
    /// The run.
    pub run: String,
    /// The user's name, where known.
    pub user: String,
    /// The machine's name, where known.
    pub host: String,
    /// conductor's version.
    pub conductor: String,
    /// When the run began, RFC 3339.
    pub at: String,
    /// The commit that HEAD stood at when the run began, where there is git.
    pub commit: Option<String>,
}

/// A result in the cache.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CacheEntry {
    /// Of the action.
    pub key: ActionKey,
    /// Of the validation that accepted it.
    pub validation_key: Digest,
    /// What was made, sorted by path.
    pub outputs: Vec<CachedFile>,
    /// What became of the paths of its `edits`, sorted by path.
    pub edited: Vec<CachedEdit>,
    /// What the checks said.
    pub evidence: Vec<CheckEvidence>,
    /// How long the command took.
    pub duration: Duration,
    /// The agent that made it, where one did.
    pub agent: Option<Box<AgentResult>>,
    /// Who approved it, where somebody had to.
    pub approval: Option<Approval>,
    /// Log and transcript.
    pub beside: Vec<Beside>,
    /// Who made it.
    pub by: Maker,
    /// Its outputs name the workspace that they were made in by its absolute path: it holds there alone.
    pub bound_to: Option<Vec<u8>>,
}

/// Why an entry is not used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum Unusable {
    /// Not what was written.
    #[error("it is damaged")]
    Damaged,
    /// It is whole, and of another key.
    #[error("it is the entry of another key")]
    Misplaced,
    /// No honest result is like that.
    #[error("it names a path or a kind of file that no result may have")]
    Unsound,
    /// Nobody who is trusted wrote it.
    #[error(transparent)]
    Distrusted(#[from] Distrust),
}

impl CacheEntry {
    /// The record as an entry; sizes and permissions are filled in when its content is kept.
    pub fn of(record: &Record, by: Maker) -> Self {
        let file = |output: &OutputEntry| CachedFile { output: output.clone(), mode: 0, size: 0 };
        let edit = |edited: &Edited| CachedEdit {
            path: edited.path.clone(),
            before: edited.before,
            after: edited.after,
            size: 0,
        };
        Self {
            key: record.key,
            validation_key: record.validation_key,
            outputs: record.outputs.iter().map(file).collect(),
            edited: record.edited.iter().map(edit).collect(),
            evidence: record.evidence.clone(),
            duration: record.duration,
            agent: record.agent.clone(),
            approval: record.approval.clone(),
            beside: Vec::new(),
            by,
            bound_to: None,
        }
    }

    /// Stands for what was made, whoever made it and when: what a ban is about.
    pub(super) fn identity(&self) -> Digest {
        let outputs = self.outputs.iter().map(|file| (&file.output.path, file.output.entry));
        identity(outputs, self.edited.iter().map(|edit| (&edit.path, edit.after)))
    }

    /// All content that must be there for the result to be restored, with its size.
    pub(super) fn needed(&self) -> impl Iterator<Item = (Digest, u64)> {
        let has_content = |entry: &Entry| matches!(entry.kind, EntryKind::File | EntryKind::Link);
        let outputs = self.outputs.iter().filter(move |file| has_content(&file.output.entry));
        let edits = self.edited.iter().filter(move |edit| edit.is_change() && has_content(&edit.after));
        outputs
            .map(|file| (file.output.entry.digest, file.size))
            .chain(edits.map(|edit| (edit.after.digest, edit.size)))
            .chain(self.beside.iter().map(|beside| (beside.digest, beside.size)))
    }

    /// What lies beside it.
    pub fn beside(&self, what: BesideKind) -> Option<&Beside> {
        self.beside.iter().find(|beside| beside.what == what)
    }

    /// Could an honest result be like that?
    fn is_sound(&self) -> bool {
        let paths =
            self.outputs.iter().map(|file| &file.output.path).chain(self.edited.iter().map(|e| &e.path));
        let paths: Vec<&WorkspacePath> = paths.collect();
        let files = self.outputs.iter().filter(|file| file.output.entry.kind != EntryKind::Absent);
        // What lies below a file or a link would be written through it.
        let leaves: HashSet<&WorkspacePath> = files.map(|file| &file.output.path).collect();
        let hangs = |path: &WorkspacePath| {
            std::iter::successors(path.parent(), WorkspacePath::parent).any(|above| leaves.contains(&above))
        };
        let sorted = |paths: &[&WorkspacePath]| paths.windows(2).all(|pair| pair[0] < pair[1]);
        let (outputs, edits) = paths.split_at(self.outputs.len());
        let real = |file: &CachedFile| {
            matches!(file.output.entry.kind, EntryKind::File | EntryKind::Link | EntryKind::Folder)
        };
        let state =
            |entry: &Entry| matches!(entry.kind, EntryKind::File | EntryKind::Link | EntryKind::Absent);
        sorted(outputs)
            && sorted(edits)
            && paths.iter().all(|path| is_normal(path) && !hangs(path))
            && self.outputs.iter().all(|file| real(file) && file.has_honest_mode())
            && self.edited.iter().all(|edit| state(&edit.before) && state(&edit.after))
    }
}

impl CachedFile {
    /// Permissions alone, no bits that make a program run as its owner, and the executable bit that is recorded.
    fn has_honest_mode(&self) -> bool {
        let is_file = self.output.entry.kind == EntryKind::File;
        self.mode & !0o777 == 0 && (!is_file || (self.mode & 0o100 != 0) == self.output.entry.executable)
    }
}

impl CachedEdit {
    /// Did the task change it?
    pub fn is_change(&self) -> bool {
        self.before != self.after
    }
}

/// A path of the workspace in its normal form that neither git nor conductor has for itself.
fn is_normal(path: &WorkspacePath) -> bool {
    let private = |name: &[u8]| {
        name.eq_ignore_ascii_case(b".git") || name == b".conductor" || name.starts_with(UNFINISHED.as_bytes())
    };
    WorkspacePath::new(path.as_bytes()).is_ok_and(|normal| normal == *path)
        && !path.is_root()
        && !path.components().any(private)
}

fn identity<'a>(
    outputs: impl Iterator<Item = (&'a WorkspacePath, Entry)>,
    edits: impl Iterator<Item = (&'a WorkspacePath, Entry)>,
) -> Digest {
    let mut encoder = Encoder::new("conductor cached result 1");
    for (part, entries) in [outputs.collect::<Vec<_>>(), edits.collect()].into_iter().enumerate() {
        encoder.count(part).count(entries.len());
        for (path, entry) in entries {
            encoder.bytes(path.as_bytes());
            entry.encode(&mut encoder);
        }
    }
    encoder.finish()
}

/// As [`CacheEntry::identity`], of a record.
pub(super) fn identity_of(record: &Record) -> Digest {
    let outputs = record.outputs.iter().map(|output| (&output.path, output.entry));
    identity(outputs, record.edited.iter().map(|edited| (&edited.path, edited.after)))
}

/// An entry as it is written.
pub(super) fn seal(entry: &CacheEntry, keys: &Keys) -> Option<Vec<u8>> {
    let body = postcard::to_stdvec(entry).ok()?;
    let mut bytes = frame::begin();
    bytes.push(VERSION);
    keys.sign(&body, &mut bytes);
    bytes.extend_from_slice(&body);
    frame::end(&mut bytes);
    Some(bytes)
}

/// An entry that was read, if it can be believed.
pub(super) fn open(bytes: &[u8], keys: &Keys) -> Result<CacheEntry, Unusable> {
    let frame::Read::Frame(payload) = frame::read(bytes) else { return Err(Unusable::Damaged) };
    if bytes.len() != frame::HEAD + payload.len() {
        return Err(Unusable::Damaged);
    }
    let rest = payload.strip_prefix(&[VERSION]).ok_or(Unusable::Damaged)?;
    let body = keys.check(rest)?;
    let entry: CacheEntry = postcard::from_bytes(body).map_err(|_| Unusable::Damaged)?;
    if entry.is_sound() { Ok(entry) } else { Err(Unusable::Unsound) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A path that was read from somewhere, normal or not.
    fn any_path(bytes: &[u8]) -> WorkspacePath {
        postcard::from_bytes(&postcard::to_stdvec(&bytes.to_vec()).unwrap()).unwrap()
    }

    fn entry(outputs: &[(&[u8], EntryKind, u32)]) -> CacheEntry {
        let file = |(path, kind, mode): &(&[u8], EntryKind, u32)| CachedFile {
            output: OutputEntry {
                path: any_path(path),
                entry: Entry { kind: *kind, executable: mode & 0o100 != 0, digest: Digest::of(b"x") },
            },
            mode: *mode,
            size: 1,
        };
        CacheEntry {
            key: ActionKey(Digest::of(b"key")),
            validation_key: Digest::of(b"validation"),
            outputs: outputs.iter().map(file).collect(),
            edited: Vec::new(),
            evidence: Vec::new(),
            duration: Duration::from_secs(1),
            agent: None,
            approval: None,
            beside: Vec::new(),
            by: Maker::default(),
            bound_to: None,
        }
    }

    #[track_caller]
    fn check(outputs: &[(&[u8], EntryKind, u32)], expected: Result<(), Unusable>) {
        let keys = Keys::default();
        let bytes = seal(&entry(outputs), &keys).unwrap();
        assert_eq!(open(&bytes, &keys).map(drop), expected);
    }

    #[test]
    fn an_entry_reads_back_and_no_flipped_bit_or_lost_byte_is_believed() {
        let keys = Keys::default();
        let entry = entry(&[(b"a", EntryKind::File, 0o755), (b"b/c", EntryKind::Link, 0)]);
        let bytes = seal(&entry, &keys).unwrap();
        assert_eq!(open(&bytes, &keys), Ok(entry));
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&bytes, &keys).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(open(&bytes[..length], &keys).is_err(), "length {length}");
        }
        assert!(open(&[bytes, vec![0]].concat(), &keys).is_err());
    }

    #[test]
    fn paths_that_leave_the_workspace_and_files_that_are_none_are_refused() {
        use EntryKind::{Absent, File, Folder, Link, Special, Unreadable};
        check(&[(b"out/a", File, 0o644), (b"out/b", Folder, 0), (b"out/c", Link, 0)], Ok(()));
        for path in [
            &b"/etc/passwd"[..],
            b"../a",
            b"out/../../a",
            b"out//a",
            b"./a",
            b"a/",
            b"",
            b"a\0b",
            b"out/.git/hooks/post-checkout",
            b".GIT/config",
            b".conductor/state",
            b"out/.conductor-tmp-1",
        ] {
            check(&[(path, File, 0o644)], Err(Unusable::Unsound));
        }
        for kind in [Special, Unreadable, Absent] {
            check(&[(b"a", kind, 0)], Err(Unusable::Unsound));
        }
        for mode in [0o4755, 0o2755, 0o1644, 0o10_0644] {
            check(&[(b"a", File, mode)], Err(Unusable::Unsound));
        }
        check(&[(b"a", Link, 0), (b"a/passwd", File, 0o644)], Err(Unusable::Unsound));
        check(&[(b"b", File, 0o644), (b"a", File, 0o644)], Err(Unusable::Unsound));
        check(&[(b"a", File, 0o644), (b"a", File, 0o644)], Err(Unusable::Unsound));
    }

    #[test]
    fn an_executable_bit_that_contradicts_the_permissions_is_refused() {
        let keys = Keys::default();
        let mut entry = entry(&[(b"a", EntryKind::File, 0o644)]);
        entry.outputs[0].output.entry.executable = true;
        assert_eq!(open(&seal(&entry, &keys).unwrap(), &keys), Err(Unusable::Unsound));
    }
}
