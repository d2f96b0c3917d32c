//! How long the state takes at 100,000 tasks and 200,000 files; run by hand, for nothing that is timed
//! belongs among the tests:
//! `cargo test --release --lib store::state::speed -- --ignored --nocapture`

use std::path::Path;
use std::time::{Duration, Instant};

use crate::model::{
    Action, Digest, Entry, EntryKind, Input, OutputEntry, Record, RunId, Signature, TaskId, Validation,
    WorkspacePath,
};
use crate::store::{Access, FileId, State, TaskRow, load_plan, save_plan};

const TASKS: usize = 100_000;

fn timed<T>(what: &str, run: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = run();
    println!("{what:<44} {:8.2} ms", start.elapsed().as_secs_f64() * 1e3);
    result
}

fn task_id(task: usize) -> TaskId {
    TaskId::new(format!("task_{task:06}"))
}

/// Task `t` reads file 2t and the output of two others, and writes file 2t + 1.
fn file_path(file: usize) -> WorkspacePath {
    let kind = if file.is_multiple_of(2) { "src" } else { "build/out" };
    WorkspacePath::new(format!("module_{:04}/{kind}/file_{:06}.txt", file / 400, file / 2)).unwrap()
}

fn entry(file: usize) -> Entry {
    Entry { digest: Digest::of(&file.to_le_bytes()), ..Entry::bare(EntryKind::File) }
}

fn signature(file: usize) -> Signature {
    Signature { size: file as u64, mtime_ns: 1, ctime_ns: 2, inode: file as u64, mode: 0o100_644 }
}

fn inputs_of(task: usize) -> [usize; 3] {
    [2 * task, (task / 2) * 2 + 1, (task / 3) * 2 + 1]
}

fn record(task: usize) -> Record {
    let input = |file: usize| Input {
        path: file_path(file),
        entry: entry(file),
        from: (!file.is_multiple_of(2)).then(|| task_id(file / 2)),
        via: crate::model::Via::Inputs,
    };
    let definition = vec![("run".to_owned(), format!("generate --number {task} < in > out"))];
    let action = Action { definition, inputs: inputs_of(task).map(input).to_vec(), ..Action::default() };
    Record {
        key: action.key(),
        action,
        outputs: vec![OutputEntry { path: file_path(2 * task + 1), entry: entry(2 * task + 1) }],
        validation: Validation::default(),
        validation_key: Digest::of(b"validation"),
        evidence: Vec::new(),
        duration: Duration::from_millis(12),
        run: RunId("20261122-140501-4711".to_owned()),
        edited: Vec::new(),
        landed_by: None,
        commit: None,
        on_branch: false,
        approval: None,
        undo: Vec::new(),
        agent: None,
    }
}

fn fill(state: &mut State) {
    let tick = state.tick();
    let files: Vec<_> = (0..2 * TASKS).map(file_path).collect();
    let ids: Vec<_> = files.iter().map(|path| state.intern(path)).collect();
    for (file, id) in ids.iter().enumerate() {
        state.set_file(*id, signature(file), entry(file), false);
    }
    for task in 0..TASKS {
        let inputs = inputs_of(task).map(|file| ids[file]);
        let (task, output, made) = (task_id(task), [ids[2 * task + 1]], record(task));
        state.put_record(&task, Digest::of(task.as_str().as_bytes()), tick, &inputs, &output, &made);
    }
}

/// Opens the state and asks all that a build asks which finds everything fresh; prints the best of 20
/// rounds and returns how many tasks are fresh.
fn no_op(what: &str, dir: &Path, paths: &[WorkspacePath], tasks: &[TaskId]) -> usize {
    let mut best = [f64::MAX; 4];
    let mut count = 0;
    for _ in 0..20 {
        let mut laps = [0.0; 4];
        let mut state = lap(&mut laps[0], || State::open(dir, Access::Write).0);
        let ids = lap(&mut laps[1], || state.intern_sorted(paths.iter().map(WorkspacePath::as_bytes)));
        let mut changed_at = vec![0; state.file_count()];
        lap(&mut laps[2], || {
            for (number, id) in ids.iter().enumerate() {
                let row = state.file(*id).filter(|row| row.signature.inode != number as u64 + 1);
                changed_at[id.0 as usize] = row.map_or(0, |row| row.changed_at);
            }
        });
        let fresh = |row: &TaskRow<'_>| {
            row.inputs.clone().all(|id: FileId| changed_at[id.0 as usize] <= row.verified_at)
        };
        count = lap(&mut laps[3], || {
            state.rows(tasks.iter().map(TaskId::as_str)).filter(|row| row.as_ref().is_some_and(fresh)).count()
        });
        for (best, lap) in best.iter_mut().zip(laps) {
            *best = best.min(lap);
        }
    }
    let [open, ids, files, rows] = best;
    println!("{what:<32} open {open:.2} + ids {ids:.2} + files {files:.2} + rows {rows:.2} ms");
    count
}

fn lap<T>(milliseconds: &mut f64, run: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = run();
    *milliseconds = start.elapsed().as_secs_f64() * 1e3;
    result
}

fn megabytes(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len() >> 20)
}

#[test]
#[ignore = "prints times; run by hand"]
fn a_hundred_thousand_tasks() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let mut paths: Vec<_> = (0..2 * TASKS).map(file_path).collect();
    paths.sort();
    let tasks: Vec<_> = (0..TASKS).map(task_id).collect();
    let open = || State::open(dir, Access::Write).0;

    let mut state = open();
    timed("fill", || fill(&mut state));
    timed("commit", || state.commit().unwrap());
    println!("log {} MB", megabytes(&dir.join("state.log")));
    drop(state);
    let mut state = timed("open, all of it in the log", open);
    timed("compact", || state.compact().unwrap());
    println!("snapshot {} MB", megabytes(&dir.join("state")));
    drop(state);
    assert_eq!(no_op("no-op", dir, &paths, &tasks), TASKS);

    let mut state = open();
    let id = state.file_id(&paths[0]).unwrap();
    timed("one edit, committed", || {
        state.tick();
        state.set_file(id, signature(0), entry(7), false);
        state.finish().unwrap();
    });
    drop(state);
    assert!(no_op("no-op after it", dir, &paths, &tasks) < TASKS);

    let mut state = open();
    timed("one record", || state.record(&tasks[77]).unwrap());
    timed("all records", || tasks.iter().filter_map(|id| state.record(id)).count());
    timed("10k results, committed", || {
        state.tick();
        for task in 0..10_000 {
            let ids = inputs_of(task).map(|file| state.file_id(&file_path(file)).unwrap());
            state.set_file(ids[0], signature(1), entry(task), false);
            let (tick, output) = (state.now(), [state.file_id(&file_path(2 * task + 1)).unwrap()]);
            state.put_record(&task_id(task), Digest::of(b""), tick, &ids, &output, &record(task));
        }
        state.commit().unwrap();
    });
    println!("log {} MB", megabytes(&dir.join("state.log")));
    drop(state);
    no_op("no-op after them", dir, &paths, &tasks);

    let plan: Vec<u8> = (0..20_000_000_u32).map(|byte| byte.to_le_bytes()[0]).collect();
    timed("save a plan of 20 MB", || save_plan(dir, b"header", &plan, b"").unwrap());
    for _ in 0..3 {
        timed("load it", || load_plan(dir, |_| true).unwrap());
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    println!("{}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap());
}
