//! The state, opened again and again.

use std::path::Path;
use std::time::Duration;

use crate::model::{
    Action, ActionKey, Digest, Entry, EntryKind, Failure, Input, OutputEntry, Reason, ReasonKind, Record,
    RunId, Signature, TaskId, Validation, WorkspacePath,
};
use crate::store::{Access, FileId, State};

fn path(text: &str) -> WorkspacePath {
    WorkspacePath::new(text).unwrap()
}

fn entry(content: &str) -> Entry {
    Entry { digest: Digest::of(content.as_bytes()), ..Entry::bare(EntryKind::File) }
}

fn signature(size: u64) -> Signature {
    Signature { size, mtime_ns: -5, ctime_ns: 7, inode: 9, mode: 0o100_644 }
}

fn record(output: &str, content: &str) -> Record {
    let input =
        Input { path: path("in"), entry: entry("in"), from: Some(TaskId::new("T0")), discovered: true };
    let action = Action { inputs: vec![input], ..Action::default() };
    Record {
        key: action.key(),
        action,
        outputs: vec![OutputEntry { path: path(output), entry: entry(content) }],
        validation: Validation::default(),
        validation_key: Digest::of(b"v"),
        evidence: Vec::new(),
        duration: Duration::from_millis(1234),
        run: RunId("r".to_owned()),
    }
}

fn failure(name: &str) -> Failure {
    let reason = Reason::new(ReasonKind::PreviousFailed).name(name);
    Failure { key: ActionKey(Digest::of(b"k")), reason, run: RunId("r".to_owned()) }
}

fn open(dir: &Path) -> State {
    let (state, warnings) = State::open(dir, Access::Write);
    assert_eq!(warnings, []);
    state
}

#[test]
fn what_was_put_is_there_after_opening_again_and_after_compaction() {
    let dir = tempfile::tempdir().unwrap();
    let task = TaskId::new("T1");
    let mut state = open(dir.path());
    let tick = state.tick();
    let (a, b) = (state.intern(&path("a")), state.intern(&path("b")));
    state.set_file(a, signature(1), entry("a"), true);
    state.put_record(&task, Digest::of(b"f"), tick, &[a], &[b], &record("b", "1"));
    state.put_failure(&task, &failure("x"));
    for round in 0..3 {
        assert_eq!(state.now(), tick, "round {round}");
        assert_eq!(state.file_id(&path("a")), Some(a));
        assert_eq!(state.path(b), b"b");
        let row = state.file(a).unwrap();
        assert_eq!((row.signature, row.entry, row.racy, row.changed_at), (signature(1), entry("a"), true, 1));
        assert_eq!(state.file(b), None);
        let row = state.row(&task).unwrap();
        assert_eq!((row.fingerprint, row.verified_at, row.outputs_changed_at), (Digest::of(b"f"), 1, 1));
        assert!(row.has_record && row.has_failure);
        assert_eq!(row.duration, Duration::from_millis(1234));
        assert_eq!((row.inputs.collect(), row.outputs.collect()), (vec![a], vec![b]));
        assert_eq!(state.record(&task), Some(record("b", "1")));
        assert_eq!(state.failure(&task), Some(failure("x")));
        state.commit().unwrap();
        if round == 1 {
            state.compact().unwrap();
        }
        state = open(dir.path());
    }
}

#[test]
fn ids_are_dense() {
    let dir = tempfile::tempdir().unwrap();
    let mut state = open(dir.path());
    assert_eq!(state.intern_sorted([&b"a"[..], b"b", b"c"]), [FileId(0), FileId(1), FileId(2)]);
    assert_eq!(state.intern_sorted([&b"b"[..], b"bb"]), [FileId(1), FileId(3)]);
}
