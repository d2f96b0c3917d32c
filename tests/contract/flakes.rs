//! Two results under one key: what is remembered of them, where it shows, and that the cache never has them.

use serde_json::{Value, json};

use crate::support::{Run, World};

#[track_caller]
fn flakes(world: &World, task: &str) -> Vec<Value> {
    let why = world.why(task);
    why.success();
    why.json()["flakes"].as_array().cloned().unwrap_or_default()
}

#[track_caller]
fn flaky_in(world: &World, run: &Run) -> Value {
    let id = run.json()["run"].clone();
    let runs = world.json("runs", &[]).json();
    let row = runs["runs"].as_array().unwrap().iter().find(|row| row["run"] == id).cloned();
    row.unwrap()["flaky"].clone()
}

/// Fails until the file `ok` is there, which it does not declare.
const UNDECLARED: &str = "tasks: { T: { inputs: [], outputs: [o], run: 'test -e ok; echo > o' } }\n";

#[test]
fn a_task_that_failed_and_passes_under_the_same_key_is_flaky_and_its_result_is_kept_out_of_the_cache() {
    let world = World::new(UNDECLARED);
    let failed = world.build(&[]);
    failed.fails_with(1);
    assert_eq!(flakes(&world, "T"), Vec::<Value>::new());
    world.file("ok", "");
    let passed = world.run(&["build"]);
    passed.success().says("T is flaky").says("kept out of the cache");
    let found = flakes(&world, "T");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["kind"], "passed_after_failure");
    assert_eq!(found[0]["earlier"], failed.json()["run"]);
    assert_ne!(found[0]["run"], found[0]["earlier"]);
    world.run(&["why", "T"]).success().says("flaky: it failed in run");
    world.run(&["runs"]).success().says("1 flaky");
    // It is not restored, here or in another checkout: it runs.
    world.remove("o");
    world.build(&[]).success().ran(&["T"]);
}

#[test]
fn an_edit_that_makes_a_task_pass_makes_it_not_flaky() {
    let world = World::new("tasks: { T: { inputs: [a], outputs: [o], run: 'grep -q ok a; cp a o' } }\n");
    world.file("a", "no").build(&[]).fails_with(1);
    world.file("a", "ok").build(&[]).success();
    assert_eq!(flakes(&world, "T"), Vec::<Value>::new());
    // And one that repairs its check, which is not in its key.
    let check = |regex: &str| {
        format!(
            "tasks: {{ T: {{ inputs: [], outputs: [o], run: echo ok > o, validate: [{{ matches: {{ path: o, regex: {regex} }} }}] }} }}\n"
        )
    };
    let world = World::new(&check("no"));
    world.build(&[]).fails_with(1);
    world.manifest(&check("ok")).build(&[]).success();
    assert_eq!(flakes(&world, "T"), Vec::<Value>::new());
}

#[test]
fn an_attempt_that_succeeds_after_one_that_failed_is_flaky() {
    let world = World::new(
        "tasks: { T: { inputs: [], outputs: [o], retries: { max: 1, backoff: 0s }, run: 'test -e ok || { touch ok; exit 1; }; echo > o' } }\n",
    );
    let run = world.build(&[]);
    run.success();
    let found = flakes(&world, "T");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["run"], found[0]["earlier"]);
    assert_eq!(flaky_in(&world, &run), json!(["T"]));
}

#[test]
fn a_result_that_differs_under_the_same_key_is_flaky_with_its_paths() {
    let world = World::new(
        "tasks:
  T: { inputs: [], outputs: [o, same], run: 'cat seed > o; echo > same' }
  A: { inputs: [], outputs: [p], always: true, run: cat seed > p }
",
    );
    world.file("seed", "1").build(&[]).success();
    world.file("seed", "2");
    let again = world.build(&["--force"]);
    again.success().ran(&["A", "T"]);
    let found = flakes(&world, "T");
    assert_eq!(found.len(), 1);
    assert_eq!((&found[0]["kind"], &found[0]["paths"]), (&json!("other_outputs"), &json!(["o"])));
    // What runs each time does so because it may differ.
    assert_eq!(flakes(&world, "A"), Vec::<Value>::new());
    assert_eq!(flaky_in(&world, &again), json!(["T"]));
}

#[test]
fn a_task_that_passed_and_fails_under_the_same_key_is_flaky() {
    let world = World::new(UNDECLARED);
    world.file("ok", "").build(&[]).success();
    world.remove("ok");
    world.build(&["--force"]).fails_with(1);
    assert_eq!(flakes(&world, "T")[0]["kind"], "failed_after_success");
    // What the cache had of it is taken back.
    world.file("ok", "").remove("o");
    world.build(&[]).success().ran(&["T"]);
}

#[test]
fn what_fails_in_another_isolation_than_its_own_is_not_flaky() {
    let world = World::new(UNDECLARED);
    world.file("ok", "").build(&[]).success();
    world.build(&["--force", "--isolation", "sandbox"]).fails_with(1);
    world.build(&[]).success();
    assert_eq!(flakes(&world, "T"), Vec::<Value>::new());
}

#[test]
fn a_damaged_ledger_is_passed_over_and_readers_write_none() {
    let world = World::new(UNDECLARED);
    world.build(&[]).fails_with(1);
    world.file("ok", "").build(&[]).success();
    let whole = std::fs::read(world.path(".conductor/flakes")).unwrap();
    for bytes in [&whole[..whole.len() - 1], b"nonsense", b""] {
        world.file(".conductor/flakes", bytes);
        let before = world.tree();
        world.why("T").success();
        world.json("runs", &[]).success();
        assert_eq!(world.tree(), before);
        world.build(&[]).runs_nothing();
    }
}
