//! What happens to the state's files: cuts, flipped bits, crashes in the middle of a compaction, full disks.
//! Whatever does, the state holds what it held after some commit, and works on.

use std::fs;
use std::path::Path;

use super::{Model, Pair, Step, model_of, names, open, scratch, task};
use crate::model::Diagnostic;
use crate::store::{Access, State};

fn copy(from: &Path) -> tempfile::TempDir {
    let to = scratch();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.path().join(entry.file_name())).unwrap();
    }
    to
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
            let aside = |name: &String| name.starts_with("state.damaged-") || name.starts_with("state.v");
            assert!(names(cut.path()).iter().any(aside), "byte {byte}");
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
