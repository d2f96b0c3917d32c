//! The state against a plain model of it: whatever is done, and whatever happens to its files, it holds
//! what the model held after some commit.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use crate::model::{
    Action, ActionKey, Diagnostic, Digest, Entry, EntryKind, Failure, Input, OutputEntry, Reason, ReasonKind,
    Record, RunId, Signature, TaskId, Validation, WorkspacePath,
};
use crate::store::{Access, FileId, FileRow, State};

fn path(text: &str) -> WorkspacePath {
    WorkspacePath::new(text).unwrap()
}

fn task(number: u8) -> TaskId {
    TaskId::new(format!("T{number}"))
}

fn entry(content: u8) -> Entry {
    if content == 0 {
        Entry::absent()
    } else {
        Entry { digest: Digest::of(&[content]), ..Entry::bare(EntryKind::File) }
    }
}

fn signature(size: u8) -> Signature {
    Signature { size: size.into(), mtime_ns: -5, ctime_ns: 7, inode: 9, mode: 0o100_644 }
}

fn record(output: u8, duration: u8) -> Record {
    let input = Input { path: path("in"), entry: entry(1), from: Some(task(0)), discovered: true };
    let action = Action { inputs: vec![input], ..Action::default() };
    Record {
        key: action.key(),
        action,
        outputs: vec![OutputEntry { path: path("out"), entry: entry(output) }],
        validation: Validation::default(),
        validation_key: Digest::of(b"v"),
        evidence: Vec::new(),
        duration: Duration::from_millis(duration.into()),
        run: RunId("r".to_owned()),
    }
}

fn failure(number: u8) -> Failure {
    let reason = Reason::new(ReasonKind::PreviousFailed).name(number.to_string());
    Failure { key: ActionKey(Digest::of(b"k")), reason, run: RunId("r".to_owned()), outputs: Vec::new() }
}

#[derive(Clone, PartialEq, Debug, Default)]
struct Task {
    fingerprint: Option<Digest>,
    verified_at: u64,
    outputs_changed_at: u64,
    inputs: Vec<FileId>,
    outputs: Vec<FileId>,
    record: Option<Record>,
    failure: Option<Failure>,
}

/// What a state should hold.
#[derive(Clone, PartialEq, Debug, Default)]
struct Model {
    files: Vec<(WorkspacePath, Option<FileRow>)>,
    tasks: BTreeMap<String, Task>,
}

/// All that a state says of itself, through every way there is to ask.
fn model_of(state: &State) -> Model {
    let count = u32::try_from(state.file_count()).unwrap();
    let file = |id| (WorkspacePath::from_normal(state.path(id)), state.file(id));
    let files: Vec<_> = (0..count).map(FileId).map(file).collect();
    for (id, (path, _)) in files.iter().enumerate() {
        assert_eq!(state.file_id(path), Some(FileId(u32::try_from(id).unwrap())));
    }
    let ids: Vec<_> = state.ids().map(str::to_owned).collect();
    let rows = state.rows(ids.iter().map(String::as_str));
    let tasks = ids.iter().zip(rows).map(|(id, joined)| {
        let (joined, row) = (joined.unwrap(), state.row(&TaskId::new(id)).unwrap());
        assert_eq!(format!("{joined:?}"), format!("{row:?}"));
        let (record, failure) = (state.record(&TaskId::new(id)), state.failure(&TaskId::new(id)));
        assert_eq!((row.has_record, row.has_failure), (record.is_some(), failure.is_some()));
        assert_eq!(row.duration, record.as_ref().map_or(Duration::ZERO, |record| record.duration));
        assert!(row.verified_at <= state.now() && row.outputs_changed_at <= state.now());
        let task = Task {
            fingerprint: Some(row.fingerprint).filter(|fingerprint| fingerprint.0 != [0; 32]),
            verified_at: row.verified_at,
            outputs_changed_at: row.outputs_changed_at,
            inputs: row.inputs.collect(),
            outputs: row.outputs.collect(),
            record,
            failure,
        };
        (id.clone(), task)
    });
    Model { tasks: tasks.collect(), files }
}

#[derive(Clone, Debug)]
enum Step {
    Intern(u8),
    SetFile(u8, u8, u8, bool),
    Tick,
    Record(u8, u8, u8, Vec<u8>),
    Verified(u8, u8, Vec<u8>),
    Failure(u8, u8),
    Forget(u8),
    Commit,
    Compact,
    Renumber,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let paths = || proptest::collection::vec(0..8_u8, 0..3);
    prop_oneof![
        2 => (0..8_u8).prop_map(Step::Intern),
        6 => (0..8_u8, 0..3_u8, 0..3_u8, any::<bool>()).prop_map(|(f, s, e, r)| Step::SetFile(f, s, e, r)),
        3 => Just(Step::Tick),
        6 => (0..4_u8, 0..3_u8, any::<u8>(), paths()).prop_map(|(t, o, d, p)| Step::Record(t, o, d, p)),
        2 => (0..4_u8, any::<u8>(), paths()).prop_map(|(t, f, p)| Step::Verified(t, f, p)),
        2 => (0..4_u8, any::<u8>()).prop_map(|(t, f)| Step::Failure(t, f)),
        1 => (0..4_u8).prop_map(Step::Forget),
        4 => Just(Step::Commit),
        1 => Just(Step::Compact),
        1 => Just(Step::Renumber),
        2 => Just(Step::Reopen),
    ]
}

/// A state, the model of what it holds, and the model of what its files hold.
struct Pair<'a> {
    dir: &'a Path,
    state: State,
    model: Model,
    committed: Model,
}

impl<'a> Pair<'a> {
    fn new(dir: &'a Path) -> Self {
        Self { dir, state: open(dir), model: Model::default(), committed: Model::default() }
    }

    fn file(&mut self, number: u8) -> FileId {
        let path = path(&format!("f{number}"));
        let id = self.state.intern(&path);
        if id.0 as usize == self.model.files.len() {
            self.model.files.push((path, None));
        }
        id
    }

    fn ids(&mut self, numbers: &[u8]) -> Vec<FileId> {
        numbers.iter().map(|number| self.file(*number)).collect()
    }

    fn take(&mut self, step: &Step) {
        let now = self.state.now();
        match step {
            Step::Intern(number) => {
                self.file(*number);
            }
            &Step::SetFile(number, size, content, racy) => {
                let id = self.file(number);
                self.state.set_file(id, signature(size), entry(content), racy);
                let row = &mut self.model.files[id.0 as usize].1;
                let changed_at =
                    row.filter(|row| row.entry == entry(content)).map_or(now, |row| row.changed_at);
                *row = Some(FileRow { signature: signature(size), entry: entry(content), racy, changed_at });
            }
            Step::Tick => assert_eq!(self.state.tick(), now + 1),
            Step::Record(number, output, duration, paths) => {
                let (id, ids, record) = (task(*number), self.ids(paths), record(*output, *duration));
                self.state.put_record(&id, Digest::of(b"f"), now, &ids, &ids[..ids.len() / 2], &record);
                let old = self.model.tasks.entry(id.as_str().to_owned()).or_default();
                let same = old.record.as_ref().is_some_and(|old| old.outputs == record.outputs);
                *old = Task {
                    fingerprint: Some(Digest::of(b"f")),
                    verified_at: now,
                    outputs_changed_at: if same { old.outputs_changed_at } else { now },
                    outputs: ids[..ids.len() / 2].to_vec(),
                    inputs: ids,
                    record: Some(record),
                    failure: None,
                };
            }
            Step::Verified(number, fingerprint, paths) => {
                let (id, ids, fingerprint) = (task(*number), self.ids(paths), Digest::of(&[*fingerprint]));
                self.state.put_verified(&id, fingerprint, now, &ids);
                if let Some(task) = self.model.tasks.get_mut(id.as_str()) {
                    (task.fingerprint, task.verified_at, task.inputs) = (Some(fingerprint), now, ids);
                }
            }
            Step::Failure(number, cause) => {
                self.state.put_failure(&task(*number), &failure(*cause));
                let id = task(*number).as_str().to_owned();
                self.model.tasks.entry(id).or_default().failure = Some(failure(*cause));
            }
            Step::Forget(number) => {
                self.state.forget(&task(*number));
                self.model.tasks.remove(task(*number).as_str());
            }
            Step::Commit | Step::Compact | Step::Renumber | Step::Reopen => self.settle(step),
        }
    }

    fn settle(&mut self, step: &Step) {
        match step {
            Step::Commit => self.state.commit().unwrap(),
            Step::Compact => self.state.compact().unwrap(),
            Step::Renumber => {
                self.state.renumber().unwrap();
                self.model = self.model.renumbered();
            }
            _ => {
                self.state = open(self.dir);
                self.model = self.committed.clone();
            }
        }
        self.committed = self.model.clone();
    }
}

impl Model {
    fn renumbered(&self) -> Self {
        let used = |id: &FileId| {
            self.tasks.values().any(|task| task.inputs.contains(id) || task.outputs.contains(id))
        };
        let mut kept: Vec<_> = (0..).map(FileId).take(self.files.len()).filter(used).collect();
        kept.sort_by_key(|id| &self.files[id.0 as usize].0);
        let new =
            |id: &FileId| FileId(u32::try_from(kept.iter().position(|other| other == id).unwrap()).unwrap());
        let mut tasks = self.tasks.clone();
        for task in tasks.values_mut() {
            task.inputs = task.inputs.iter().map(new).collect();
            task.outputs = task.outputs.iter().map(new).collect();
        }
        Self { files: kept.iter().map(|id| self.files[id.0 as usize].clone()).collect(), tasks }
    }
}

/// In memory where there is such a place: these tests sync thousands of small files.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn open(dir: &Path) -> State {
    let (state, warnings) = State::open(dir, Access::Write);
    assert_eq!(warnings, []);
    state
}

fn copy(from: &Path) -> tempfile::TempDir {
    let to = scratch();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.path().join(entry.file_name())).unwrap();
    }
    to
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn it_holds_what_was_put_into_it(steps in proptest::collection::vec(step(), 1..40)) {
        let dir = scratch();
        let mut pair = Pair::new(dir.path());
        for step in &steps {
            pair.take(step);
            prop_assert_eq!(model_of(&pair.state), pair.model.clone(), "after {:?}", step);
            let (on_disk, warnings) = State::open(dir.path(), Access::ReadOnly);
            prop_assert_eq!(warnings, vec![]);
            prop_assert_eq!(model_of(&on_disk), pair.committed.clone(), "on disk after {:?}", step);
        }
    }
}

/// A folder with a snapshot, and a log of several commits on top; and what it held after each of them.
fn history() -> (tempfile::TempDir, Vec<Model>) {
    let dir = scratch();
    let mut pair = Pair::new(dir.path());
    let mut models = vec![Model::default()];
    for round in 0..6_u8 {
        for step in [
            Step::Tick,
            Step::SetFile(round, 1, round % 3, false),
            Step::Record(round % 3, round % 2, round, vec![round, 0]),
            Step::Failure(round % 4, round),
            if round == 2 { Step::Compact } else { Step::Commit },
        ] {
            pair.take(&step);
        }
        models.push(pair.committed.clone());
    }
    (dir, models)
}

/// Opens a damaged copy, which must hold one of the models, and then work as if nothing had been.
#[track_caller]
fn check_damaged(dir: &Path, models: &[Model]) -> (usize, Vec<Diagnostic>) {
    let before = names(dir);
    let (reader, seen) = State::open(dir, Access::ReadOnly);
    assert_eq!(names(dir), before);
    let (state, warnings) = State::open(dir, Access::Write);
    assert_eq!(warnings.len(), seen.len());
    assert!(warnings.len() <= 1, "{warnings:?}");
    let model = model_of(&state);
    assert_eq!(model_of(&reader), model);
    let at = models.iter().position(|other| *other == model).expect("it holds what it never held");
    let mut pair = Pair { dir, state, committed: model.clone(), model };
    for step in [Step::SetFile(7, 1, 1, true), Step::Record(3, 1, 1, vec![7]), Step::Commit, Step::Reopen] {
        pair.take(&step);
        assert_eq!(model_of(&pair.state), pair.model);
    }
    (at, warnings)
}

#[test]
fn a_log_cut_anywhere_holds_what_was_committed_before_the_cut() {
    let (dir, models) = history();
    let whole = fs::read(dir.path().join("state.log")).unwrap();
    let mut reached = Vec::new();
    for length in (0..=whole.len()).rev().step_by(3) {
        let cut = copy(dir.path());
        fs::write(cut.path().join("state.log"), &whole[..length]).unwrap();
        let (at, warnings) = check_damaged(cut.path(), &models);
        assert_eq!(warnings, [], "a torn end is what a crash leaves");
        reached.push(at);
    }
    reached.dedup();
    assert_eq!(reached, [6, 5, 4, 3]);
}

#[test]
fn a_flipped_bit_in_the_log_hides_its_commit_and_those_after_it() {
    let (dir, models) = history();
    let whole = fs::read(dir.path().join("state.log")).unwrap();
    for byte in (0..whole.len()).step_by(3) {
        let cut = copy(dir.path());
        let mut bytes = whole.clone();
        bytes[byte] ^= 1 << (byte % 8);
        fs::write(cut.path().join("state.log"), bytes).unwrap();
        let (at, warnings) = check_damaged(cut.path(), &models);
        assert!((3..6).contains(&at), "byte {byte}");
        // In the very last frame a wrong length looks like an end that was never written.
        assert!(!warnings.is_empty() || at == 5, "byte {byte}");
    }
}

#[test]
fn a_damaged_snapshot_is_set_aside_or_hides_single_records() {
    let (dir, models) = history();
    fs::remove_file(dir.path().join("state.log")).unwrap();
    let whole = fs::read(dir.path().join("state")).unwrap();
    let bodies: usize = open(dir.path()).ids().count();
    assert_eq!(bodies, 3);
    let mut hidden = 0;
    for byte in (0..whole.len()).step_by(3) {
        let cut = copy(dir.path());
        let mut bytes = whole.clone();
        bytes[byte] ^= 1 << (byte % 8);
        fs::write(cut.path().join("state"), bytes).unwrap();
        let (reader, warnings) = State::open(cut.path(), Access::ReadOnly);
        if warnings.is_empty() {
            let lost = (0..4).map(task).filter(|id| {
                let Some(row) = reader.row(id) else { return false };
                row.has_record != reader.record(id).is_some()
                    || row.has_failure != reader.failure(id).is_some()
            });
            assert_eq!(lost.count(), 1, "byte {byte}");
            hidden += 1;
        } else {
            assert_eq!(check_damaged(cut.path(), &models).0, 0, "byte {byte}");
            assert!(
                cut.path().join("state.damaged-1").exists()
                    || cut.path().join("state.v1").exists()
                    || names(cut.path()).len() > 1
            );
        }
    }
    assert!(hidden > 0);
    for length in (1..whole.len()).step_by(3) {
        let cut = copy(dir.path());
        fs::write(cut.path().join("state"), &whole[..length]).unwrap();
        let (at, warnings) = check_damaged(cut.path(), &models);
        assert_eq!((at, warnings.len()), (0, 1), "length {length}");
    }
}

#[test]
fn a_crash_between_any_two_steps_of_a_compaction_loses_nothing() {
    let (dir, models) = history();
    let before = copy(dir.path());
    open(dir.path()).compact().unwrap();
    assert_eq!(names(dir.path()), ["state"]);
    let half = fs::read(dir.path().join("state")).unwrap();

    let writing = copy(before.path());
    fs::write(writing.path().join(".state.tmp-x"), &half[..half.len() / 2]).unwrap();
    let renamed = copy(before.path());
    fs::copy(dir.path().join("state"), renamed.path().join("state")).unwrap();
    for folder in [&writing, &renamed, &dir] {
        let (at, warnings) = check_damaged(folder.path(), &models);
        assert_eq!((at, warnings), (6, vec![]));
        assert!(!folder.path().join(".state.tmp-x").exists());
    }
}

#[test]
fn a_state_of_another_version_is_set_aside_with_one_warning() {
    let (dir, models) = history();
    let mut bytes = fs::read(dir.path().join("state")).unwrap();
    bytes[12] = 9;
    fs::write(dir.path().join("state"), bytes).unwrap();
    let (at, warnings) = check_damaged(dir.path(), &models);
    assert_eq!((at, warnings[0].code.as_str()), (0, "state::version"));
    assert!(warnings[0].message.contains("format version 9") && warnings[0].message.ends_with("state.v9"));
    assert_eq!(names(dir.path()), ["state.log", "state.v9"]);
}

#[test]
fn a_reader_writes_nothing_and_sees_its_own_changes() {
    let dir = scratch();
    let (mut reader, _) = State::open(&dir.path().join("none"), Access::ReadOnly);
    let id = reader.intern(&path("a"));
    reader.set_file(id, signature(1), entry(1), false);
    assert_eq!(reader.file(id).unwrap().entry, entry(1));
    reader.finish().unwrap();
    assert_eq!(names(dir.path()), Vec::<String>::new());
}

#[test]
fn a_reader_beside_a_build_sees_a_state_that_was_committed() {
    let dir = scratch();
    let mut state = open(dir.path());
    let ids: Vec<_> = (0..20).map(|number| state.intern(&path(&format!("f{number}")))).collect();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..200_u8 {
                state.tick();
                for id in &ids {
                    state.set_file(*id, signature(round), entry(round), false);
                }
                state.commit().unwrap();
                if round % 5 == 0 {
                    state.compact().unwrap();
                }
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        let mut last = 0;
        while !done.load(std::sync::atomic::Ordering::Relaxed) {
            let (reader, warnings) = State::open(dir.path(), Access::ReadOnly);
            assert_eq!(warnings, []);
            let rows: Vec<_> = (0..20).map(|id| reader.file(FileId(id))).collect();
            assert!(rows.iter().all(|row| *row == rows[0]), "half of a commit");
            assert!(reader.now() >= last, "an older state than before");
            last = reader.now();
        }
    });
}

#[test]
fn a_full_disk_is_reported_and_what_was_committed_stays() {
    let folder = scratch();
    let dir = folder.path();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=256k", "none"])
        .arg(dir)
        .output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: no tmpfs can be mounted here, so that no disk can be filled");
        return;
    }
    let mut pair = Pair::new(dir);
    let failed = (0..=255).find(|round| {
        let paths: Vec<_> = (0..8).cycle().take(200).collect();
        for step in [Step::Tick, Step::SetFile(*round, 1, *round, false), Step::Record(*round, 0, 0, paths)] {
            pair.take(&step);
        }
        if pair.state.commit().is_err() {
            return true;
        }
        pair.committed = pair.model.clone();
        round % 16 == 0 && pair.state.compact().is_err()
    });
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        assert!(failed.is_some(), "the disk never filled");
        assert!(model_of(&pair.state) == pair.model, "the state in memory was harmed");
        assert!(model_of(&open(dir)) == pair.committed, "what was committed is not what is there");
    }));
    drop(pair);
    std::process::Command::new("umount").arg("-l").arg(dir).status().unwrap();
    outcome.unwrap();
}

#[test]
fn files_that_no_task_knows_any_more_are_dropped_when_they_are_most() {
    let dir = scratch();
    let mut state = open(dir.path());
    let ids: Vec<_> = (0..6000).map(|number| state.intern(&path(&format!("f{number:04}")))).collect();
    state.put_record(&task(1), Digest::of(b"f"), 1, &ids[5990..], &[], &record(1, 1));
    state.compact().unwrap();
    let state = open(dir.path());
    assert_eq!(state.file_count(), 10);
    let inputs: Vec<_> = state.row(&task(1)).unwrap().inputs.map(|id| state.path(id).to_vec()).collect();
    assert_eq!(inputs, (5990..6000).map(|number| format!("f{number}").into_bytes()).collect::<Vec<_>>());
}

#[test]
fn sorted_paths_get_the_ids_that_they_get_one_by_one() {
    let dir = scratch();
    let mut state = open(dir.path());
    assert_eq!(state.intern_sorted([&b"a"[..], b"b", b"c"]), [FileId(0), FileId(1), FileId(2)]);
    state.compact().unwrap();
    assert_eq!(state.intern_sorted([&b"A"[..], b"b", b"bb"]), [FileId(3), FileId(1), FileId(4)]);
    assert_eq!(
        state.intern_sorted([&b"A"[..], b"bb", b"c", b"d"]),
        [FileId(3), FileId(4), FileId(2), FileId(5)]
    );
}

#[test]
fn nothing_is_written_where_nothing_changed() {
    let dir = scratch();
    let mut pair = Pair::new(dir.path());
    pair.take(&Step::SetFile(1, 1, 1, false));
    pair.take(&Step::Commit);
    let before = fs::metadata(dir.path().join("state.log")).unwrap();
    pair.take(&Step::Tick);
    pair.take(&Step::SetFile(1, 1, 1, false));
    pair.take(&Step::Forget(1));
    pair.state.finish().unwrap();
    let after = fs::metadata(dir.path().join("state.log")).unwrap();
    assert_eq!((before.len(), before.modified().unwrap()), (after.len(), after.modified().unwrap()));
}
