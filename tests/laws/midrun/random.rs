//! Edits in the middle of a run, in random graphs. Nothing that is recorded may be wrong
//! afterwards.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::any;

use crate::dag::{Dag, Dice, dags};
use crate::ground::{Ground, Ran, conductor};
use crate::seeds::try_many;

/// Long enough for the slowest machine; nothing depends on it but the end of a test that hangs.
const FOREVER: Duration = Duration::from_secs(120);

/// Says that it runs, and waits for leave; reads before the wait or after it.
fn run(dag: &Dag, i: usize, held: &BTreeSet<usize>, early: bool) -> String {
    let read = dag.read(i);
    if !held.contains(&i) {
        return format!("cat {read} | cksum > out/{i}.txt");
    }
    let wait = format!(
        "touch $HANDS/started-{i}; n=0; until [ -e $HANDS/go-{i} ]; do sleep 0.01; n=$((n+1)); [ $n -lt 6000 ]; done"
    );
    if early {
        format!("v=$(cat {read} | cksum); {wait}; echo \"$v\" > out/{i}.txt")
    } else {
        format!("{wait}; cat {read} | cksum > out/{i}.txt")
    }
}

/// Does something to what task `i` reads. Says whether it must be noticed: the content is another
/// one afterwards.
fn disturb(ground: &Ground, dag: &Dag, i: usize, is_apart: &dyn Fn(usize) -> bool, dice: &mut Dice) -> bool {
    let path = format!("ctl/{i}.txt");
    let content = ground.read(&path);
    match dice.roll(7) {
        0 => ground.write(&path, "edited\n"),
        1 => {
            ground.write("x", "moved in\n");
            std::fs::rename(ground.path("x"), ground.path(&path)).unwrap();
        }
        2 => {
            ground.write(&path, "for a moment\n");
            ground.write(&path, content);
            return false;
        }
        3 => {
            let other = dice.roll(dag.needs.len());
            ground.write(&format!("ctl/{other}.txt"), "another one is edited\n");
            return other == i;
        }
        4 if Dag::reads_shared(i) => ground.write(&format!("shared/new{}.txt", dice.roll(3)), "new\n"),
        5 if Dag::reads_shared(i) => ground.write("shared/a.txt", "a, edited\n"),
        6 if !dag.needs[i].is_empty() => {
            let need = dag.needs[i][dice.roll(dag.needs[i].len())];
            // A person's version of such an output is a conflict, which no further build ends.
            if is_apart(need) {
                return false;
            }
            ground.write(&format!("out/{need}.txt"), "a person was here\n");
        }
        _ => {
            ground.write(&format!("out/{i}.txt"), "a person was here too\n");
            return false;
        }
    }
    true
}

fn law(dag: &Dag, held: &[u8], early: bool, seed: u64) -> Result<(), String> {
    let held: BTreeSet<usize> = held.iter().map(|number| usize::from(*number) % dag.needs.len()).collect();
    // Tasks in sandboxes read the same shared files as the held ones, which run in the tree.
    let is_apart = |i: usize| i % 2 == 1 && !held.contains(&i);
    let more = |i| {
        let isolation = if is_apart(i) { "sandbox" } else { "none" };
        format!("    outputs: [out/{i}.txt]\n    pass_env: [HANDS]\n    isolation: {isolation}\n")
    };
    let ground = Ground::with(&dag.manifest(|i| run(dag, i, &held, early), more), &[]);
    dag.write_files(&ground);
    let hands = tempfile::tempdir().unwrap();
    let mut command = conductor(ground.root());
    command.args(["build", "-k", "-j3", "--format", "json"]).env("HANDS", hands.path());
    let child =
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut dice = Dice(seed | 1);
    let over = std::thread::spawn(move || child.wait_with_output().unwrap());
    let (mut waiting, mut noticed, began) = (held.clone(), false, Instant::now());
    while !over.is_finished() {
        assert!(began.elapsed() < FOREVER, "the build hangs");
        let started = waiting.iter().copied().find(|i| hands.path().join(format!("started-{i}")).exists());
        if let Some(i) = started {
            noticed |= disturb(&ground, dag, i, &is_apart, &mut dice);
            std::fs::write(hands.path().join(format!("go-{i}")), "").unwrap();
            waiting.remove(&i);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let first = Ran::from_output(&over.join().unwrap());
    first.assert_no_panic();
    let expected: &[Option<i32>] = if noticed { &[Some(3)] } else { &[Some(0), Some(3)] };
    if !expected.contains(&first.code) {
        return Err(format!("an edit in mid-run ends with {expected:?}: {}", first.text()));
    }
    for i in &held {
        std::fs::write(hands.path().join(format!("go-{i}")), "").unwrap();
    }
    let build = || {
        let mut command = conductor(ground.root());
        command.args(["build", "-j3", "--format", "json"]).env("HANDS", hands.path());
        crate::ground::Built::new(Ran::from_output(&command.output().unwrap()))
    };
    let second = build();
    if second.ran.code != Some(0) {
        return Err(format!("the next build succeeds: {}", second.ran.text()));
    }
    dag.compare(&ground, "after an edit in mid-run and the next build")
        .map_err(|error| format!("{error}\nfirst: {}\nsecond: {}", first.text(), second.ran.text()))?;
    let third = build();
    if !third.ran().is_empty() {
        return Err(format!("the build after that runs nothing: {}", third.ran.text()));
    }
    Ok(())
}

#[test]
fn an_edit_in_mid_run_poisons_nothing() {
    let cases = (dags(3..10), vec(any::<u8>(), 1..4), any::<bool>(), any::<u64>());
    try_many("midrun", 20, &cases, |(dag, held, early, seed)| law(dag, held, *early, *seed));
}
