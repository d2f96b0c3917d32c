//! The state against a plain model of it, whatever is done. What happens to its files is in `damage`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use crate::model::{
    Action, ActionKey, Digest, Entry, EntryKind, Failure, Input, OutputEntry, Reason, ReasonKind, Record,
    RunId, Signature, TaskId, Validation, WorkspacePath,
};
use crate::store::{Access, FileId, FileRow, State};

mod damage;

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
    let input =
        Input { path: path("in"), entry: entry(1), from: Some(task(0)), via: crate::model::Via::Depfile };
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
        edited: Vec::new(),
        landed_by: None,
        commit: None,
        on_branch: false,
        approval: None,
        undo: Vec::new(),
        agent: None,
    }
}

fn failure(number: u8) -> Failure {
    let reason = Reason::new(ReasonKind::PreviousFailed).name(number.to_string());
    Failure::new(ActionKey(Digest::of(b"k")), reason, RunId("r".to_owned()))
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

#[test]
fn a_state_may_be_opened_on_one_thread_and_used_on_another() {
    fn check<T: Send>() {}
    check::<State>();
}

#[test]
fn files_are_sorted_by_their_paths_whether_the_snapshot_has_them_or_not() {
    let dir = tempfile::tempdir().unwrap();
    let (mut state, _) = State::open(dir.path(), Access::Write);
    let mut ids = Vec::new();
    for round in 0..2 {
        // An order that is nobody's: 37 and 64 have no divisor in common.
        for at in 0..64 {
            let name = format!("{}/{round}", at * 37 % 64);
            ids.push(state.intern(&path(&name)));
            state.set_file(ids[ids.len() - 1], signature(1), entry(1), false);
        }
        if round == 0 {
            state.compact().unwrap();
        }
    }
    for step in [1, 2, 40] {
        let mut some: Vec<FileId> = ids.iter().copied().step_by(step).collect();
        let mut expected = some.clone();
        expected.sort_by_key(|id| state.path(*id));
        state.sort_by_path(&mut some);
        assert_eq!(some, expected, "every {step}");
    }
}
