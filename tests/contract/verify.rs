//! `build --verify`: a sample of the fresh tasks runs again, apart; what differs is shown, and nothing is changed.

use std::collections::BTreeSet;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::World;

const STEADY: &str = "tasks:
  A: { inputs: [a.txt], outputs: [out/a], run: cp a.txt out/a }
  B: { inputs: [out/a], outputs: [out/b/], run: 'cp out/a out/b/x; ln -s x out/b/l' }
";

fn steady() -> World {
    let world = World::new(STEADY);
    world.file("a.txt", "a\n");
    world
}

#[track_caller]
fn verified(world: &World, args: &[&str], exit: i32) -> Value {
    let run = world.build(args);
    run.fails_with(exit);
    run.json()["verified"].clone()
}

#[test]
fn what_makes_the_same_again_is_told_and_nothing_in_the_tree_changes() {
    let world = steady();
    world.build(&[]).success();
    let outputs = || (world.tree().files(), world.read("out/a"), world.read("out/b/x"));
    let (files, record) = (outputs(), world.why("A").json()["recorded"]["run"].clone());
    let found = verified(&world, &["--verify", "100%"], 0);
    let nothing = json!({});
    assert_eq!(found["of"], 2);
    assert_eq!(found["same"].as_array().unwrap().len(), 2, "{found}");
    assert_eq!(
        (&found["different"], &found["failed"], &found["stopped"]),
        (&nothing, &nothing, &json!(false))
    );
    let now = outputs();
    assert_eq!((&files.1, &files.2), (&now.1, &now.2));
    assert!(!world.has(".conductor/workspaces/A"), "nothing is left of where it ran");
    assert_eq!(world.why("A").json()["recorded"]["run"], record, "the record stays");
    world.check(&["--outputs"]).success();
    world.build(&[]).runs_nothing();
    world
        .run(&["build", "--verify", "2"])
        .success()
        .says("verified 2 of 2 fresh tasks: 2 the same, 0 different");
}

#[test]
fn what_makes_something_else_is_shown_with_its_first_line_and_exits_4() {
    let world = World::new(
        "tasks: { T: { inputs: [a.txt], outputs: [o, bin], run: \"echo same > o; date +%s%N >> o; printf '\\\\0' > bin; date +%N >> bin\" } }\n",
    );
    world.file("a.txt", "a");
    world.build(&[]).success();
    let before = (world.read("o"), world.read("bin"));
    let found = verified(&world, &["--verify", "1"], 4);
    let different = found["different"]["T"].as_array().unwrap();
    let paths: Vec<&Value> = different.iter().map(|one| &one["path"]).collect();
    assert_eq!(paths, [&json!("bin"), &json!("o")]);
    assert!(different[0].get("line").is_none(), "no line of what is no text");
    assert_eq!(different[1]["line"]["number"], 2);
    assert_eq!(different[1]["line"]["recorded"], before.0.lines().nth(1).unwrap());
    assert_ne!(different[1]["line"]["again"], different[1]["line"]["recorded"]);
    assert_ne!(different[1]["recorded"], different[1]["again"]);
    assert_eq!((world.read("o"), world.read("bin")), before);
    world.check(&["--outputs"]).success();
    world.run(&["build", "--verify", "1"]).fails_with(4).says("differs").says("line 2, recorded: ");
    // It is a flake from now on, and never in the cache.
    assert_eq!(world.why("T").json()["flakes"][0]["kind"], "other_outputs");
}

#[test]
fn a_task_that_reads_what_it_does_not_declare_fails_apart_with_exit_1() {
    let world = World::new("tasks: { T: { inputs: [], outputs: [o], run: cp a.txt o } }\n");
    world.file("a.txt", "a");
    world.build(&[]).success();
    let found = verified(&world, &["--verify", "1"], 1);
    assert!(found["failed"]["T"].as_str().unwrap().contains("exit code"), "{found}");
    world.build(&[]).runs_nothing();
}

#[test]
fn the_sample_rotates_until_every_task_was_in_it() {
    let tasks = ["A", "B", "C", "D", "E"];
    let lines = tasks.map(|id| format!("  {id}: {{ inputs: [], outputs: [{id}], run: echo > {id} }}\n"));
    let world = World::new(&format!("tasks:\n{}", lines.concat()));
    world.build(&[]).success();
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        let found = verified(&world, &["--verify", "40%"], 0);
        let same = found["same"].as_array().unwrap();
        assert_eq!(same.len(), 2);
        seen.extend(same.iter().map(|id| id.as_str().unwrap().to_owned()));
    }
    assert_eq!(seen, tasks.map(str::to_owned).into());
    // Targets narrow what it is taken from.
    assert_eq!(verified(&world, &["--verify", "100%", "A"], 0)["same"], json!(["A"]));
}

#[test]
fn what_is_not_to_be_repeated_is_never_in_the_sample() {
    let mut world = World::new(
        "groups: { G: { gate: [{ run: 'true' }] } }
tasks:
  Always: { group: G, inputs: [], outputs: [a], always: true, run: date +%N > a }
  Nothing: { inputs: [], outputs: [], run: 'true' }
  Secret: { inputs: [], outputs: [s], secrets: [KEY], run: date +%N > s }
  Undone: { inputs: [], outputs: [u], rollback: 'true', run: date +%N > u }
  Grows: { inputs: [], outputs: [g], incremental: true, run: date +%N >> g }
",
    );
    world.set_env("KEY", "a secret value");
    let found = verified(&world, &["--verify", "100%"], 0);
    assert_eq!((&found["of"], &found["same"]), (&json!(0), &json!([])));
}

#[test]
fn a_task_with_edits_in_a_worktree_is_repeated_from_what_it_found() {
    let world = World::new(
        "tasks: { E: { isolation: worktree, inputs: [], edits: ['src/*.txt'], run: 'git status >/dev/null; for f in src/*.txt; do echo more >> $f; done' } }\n",
    );
    world
        .file("src/x.txt", "x\n")
        .file(".gitignore", ".conductor\n")
        .git(&["init", "-q"])
        .git(&["add", "-A"]);
    world.git(&["commit", "-q", "-m", "one"]);
    world.build(&[]).success();
    let branch = world.git_says(&["rev-parse", "conductor/E"]);
    assert_eq!(verified(&world, &["--verify", "1"], 0)["same"], json!(["E"]));
    assert_eq!(world.read("src/x.txt"), "x\nmore\n");
    assert_eq!(world.git_says(&["rev-parse", "conductor/E"]), branch);
    assert!(!world.git_says(&["worktree", "list"]).contains(".conductor"));
}

#[test]
fn a_build_that_did_not_succeed_verifies_nothing_and_a_wrong_sample_is_refused() {
    let world = World::new(
        "tasks: { A: { inputs: [], outputs: [a], run: echo > a }, F: { inputs: [], outputs: [], run: 'false' } }\n",
    );
    let run = world.build(&["--keep-going", "--verify", "100%"]);
    run.fails_with(1);
    assert_eq!(run.json()["verified"], Value::Null);
    for wrong in ["0", "0%", "101%", "-1", "many", "%"] {
        world.build(&[&format!("--verify={wrong}")]).fails_with(2).says("5% or 3");
    }
    world.build(&["--verify", "1", "--dry-run"]).fails_with(2);
}

#[test]
fn a_signal_stops_it() {
    // It ends at once where `fast` is, which no private folder holds.
    let world = World::new(
        "tasks: { T: { inputs: [], outputs: [o], run: 'echo > o; test -e fast || sleep 600' } }\n",
    );
    world.file("fast", "");
    world.build(&[]).success();
    let running = world.start(&["--verify", "1"]);
    world.wait_for(".conductor/workspaces/T/o");
    running.signal(Signal::TERM);
    running.wait().fails_with(143);
    assert!(!world.has(".conductor/workspaces/T"));
    world.build(&[]).runs_nothing();
}
