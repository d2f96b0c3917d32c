//! Every kind of reason: what makes it appear, with the old and the new value and the manifest's line.
//! `why`, `check` and `build` agree on each.

use serde_json::Value;

use crate::support::{Run, World};

/// Asks all who know for the one reason; they must agree. Then builds, so that nothing is left.
#[track_caller]
fn reason(w: &World, task: &str, kind: &str) -> Value {
    let check = w.check(&[task]);
    check.fails_with(3);
    let from_check = check.reason(task, kind);
    let why = w.why(task);
    why.success();
    assert_eq!(why.reason(task, kind), from_check);
    let build = w.build(&[task]);
    build.success();
    assert_eq!(build.reason(task, kind), from_check, "{build}");
    w.check(&[task]).success();
    from_check
}

/// The line of the manifest (from 1) that a text stands on.
fn line_of(w: &World, text: &str) -> usize {
    let manifest = w.read("conductor.yaml");
    manifest.lines().position(|line| line.contains(text)).unwrap() + 1
}

#[track_caller]
fn is_at(w: &World, reason: &Value, text: &str) {
    assert_eq!(reason["at"]["file"], "conductor.yaml", "{reason}");
    assert_eq!(reason["at"]["line"], line_of(w, text), "{reason}");
    assert!(reason["at"]["column"].as_u64().is_some_and(|column| column > 0), "{reason}");
}

const ONE: &str = "
tasks:
  T1:
    inputs:
      - a.txt
      - \"src/*.c\"
    env: { MODE: fast }
    outputs: [out]
    run: cat a.txt src/*.c > out
";

fn one() -> World {
    let w = World::new(ONE);
    w.file("a.txt", "a").file("src/x.c", "x");
    w
}

fn built() -> World {
    let w = one();
    w.build(&[]).success();
    w
}

#[test]
fn never_built() {
    let w = one();
    let found = reason(&w, "T1", "never_built");
    assert_eq!(found["at"]["line"], line_of(&w, "T1:"));
}

#[test]
fn input_changed_has_both_digests_and_the_line_of_the_pattern() {
    let w = built();
    w.file("a.txt", "b");
    let found = reason(&w, "T1", "input_changed");
    assert_eq!(found["path"], "a.txt");
    assert!(found["old"].is_string() && found["new"].is_string() && found["old"] != found["new"], "{found}");
    is_at(&w, &found, "- a.txt");
}

#[test]
fn input_added_names_the_glob() {
    let w = built();
    w.file("src/y.c", "y");
    let found = reason(&w, "T1", "input_added");
    assert_eq!(found["path"], "src/y.c");
    is_at(&w, &found, "src/*.c");
}

#[test]
fn input_removed_names_the_glob() {
    let w = built();
    w.file("src/y.c", "y").build(&[]).success();
    w.remove("src/y.c");
    let found = reason(&w, "T1", "input_removed");
    assert_eq!(found["path"], "src/y.c");
    is_at(&w, &found, "src/*.c");
}

#[test]
fn a_literal_input_that_was_deleted_is_a_reason_and_its_absence_a_state() {
    let w = World::new("tasks: { T1: { inputs: [a.txt], outputs: [out], run: ls > out } }");
    w.file("a.txt", "a").build(&[]).success();
    w.remove("a.txt");
    let found = reason(&w, "T1", "input_removed");
    assert_eq!(found["path"], "a.txt");
    w.build(&[]).runs_nothing();
    w.file("a.txt", "a");
    reason(&w, "T1", "input_added");
}

#[test]
fn command_changed_has_both_commands() {
    let w = built();
    w.manifest(&ONE.replace("cat a.txt src/*.c", "cat src/*.c a.txt"));
    let found = reason(&w, "T1", "command_changed");
    assert!(found["old"].as_str().unwrap().ends_with("cat a.txt src/*.c > out"), "{found}");
    assert!(found["new"].as_str().unwrap().ends_with("cat src/*.c a.txt > out"), "{found}");
    is_at(&w, &found, "run:");
}

#[test]
fn the_words_of_an_argv_are_not_a_shells() {
    let w = World::new("tasks: { T1: { inputs: [], run: [echo, \"a b\"] } }");
    w.build(&[]).success();
    w.manifest("tasks: { T1: { inputs: [], run: [echo, a, b] } }");
    reason(&w, "T1", "command_changed");
    w.manifest("tasks: { T1: { inputs: [], run: [echo, b, a] } }");
    reason(&w, "T1", "command_changed");
}

#[test]
fn env_changed_has_both_values() {
    let w = built();
    w.manifest(&ONE.replace("fast", "slow"));
    let found = reason(&w, "T1", "env_changed");
    assert_eq!(
        (&found["name"], &found["old"], &found["new"]),
        (&"MODE".into(), &"fast".into(), &"slow".into())
    );
    is_at(&w, &found, "MODE");
}

#[test]
fn a_variable_of_the_caller_counts_where_it_is_declared() {
    let mut w = World::new(
        "tasks: { T1: { inputs: [], env: [LEVEL], outputs: [o], run: 'echo ${LEVEL-none} > o' } }",
    );
    w.build(&[]).success();
    assert_eq!(w.read("o"), "none\n");
    w.set_env("LEVEL", "3");
    let found = reason(&w, "T1", "env_changed");
    assert_eq!((&found["name"], &found["new"]), (&"LEVEL".into(), &"3".into()));
    assert_eq!(w.read("o"), "3\n");
    w.set_env("OTHER", "3");
    w.build(&[]).runs_nothing();
    w.unset_env("LEVEL");
    reason(&w, "T1", "env_changed");
    assert_eq!(w.read("o"), "none\n");
}

#[test]
fn a_variable_that_is_empty_is_not_one_that_is_unset() {
    let mut w = World::new(
        "tasks: { T1: { inputs: [], env: [LEVEL], outputs: [o], run: 'echo ${LEVEL-none} > o' } }",
    );
    w.build(&[]).success();
    w.set_env("LEVEL", "");
    reason(&w, "T1", "env_changed");
    assert_eq!(w.read("o"), "\n");
}

#[test]
fn tool_changed_by_another_program() {
    let mut w = World::new("tasks: { T1: { inputs: [], tools: [mytool], outputs: [o], run: mytool > o } }");
    w.program("bin/mytool", "#!/bin/sh\necho 1\n");
    let path = format!("{}:{}", w.path("bin").display(), std::env::var("PATH").unwrap());
    w.set_env("PATH", &path);
    w.build(&[]).success();
    w.program("bin/mytool", "#!/bin/sh\necho 2\n");
    let found = reason(&w, "T1", "tool_changed");
    assert_eq!(found["name"], "mytool");
    is_at(&w, &found, "mytool");
    assert_eq!(w.read("o"), "2\n");
}

#[test]
fn a_program_that_was_exchanged_for_one_with_the_same_size_and_time_is_seen() {
    let mut w = World::new("tasks: { T1: { inputs: [], tools: [mytool], outputs: [o], run: mytool > o } }");
    w.program("bin/mytool", "#!/bin/sh\necho 1\n");
    let path = format!("{}:{}", w.path("bin").display(), std::env::var("PATH").unwrap());
    w.set_env("PATH", &path);
    w.build(&[]).success();
    // Until it is old enough for its signature to vouch for it.
    while !w.has(".conductor/programs") {
        w.build(&[]).success().runs_nothing();
    }
    let modified = w.path("bin/mytool").metadata().unwrap().modified().unwrap();
    w.program("bin/other", "#!/bin/sh\necho 2\n");
    std::fs::rename(w.path("bin/other"), w.path("bin/mytool")).unwrap();
    std::fs::File::open(w.path("bin/mytool")).unwrap().set_modified(modified).unwrap();
    reason(&w, "T1", "tool_changed");
    assert_eq!(w.read("o"), "2\n");
}

#[test]
fn tool_changed_by_another_answer_of_its_command() {
    let w = World::new(
        "tasks: { T1: { inputs: [], tools: [{ run: cat version }], outputs: [o], run: cat version > o } }",
    );
    w.file("version", "1.0").build(&[]).success();
    w.build(&[]).runs_nothing();
    w.file("version", "2.0");
    let run = w.build(&[]);
    run.success().ran(&["T1"]);
    let found = run.reason("T1", "tool_changed");
    assert_eq!((&found["old"], &found["new"]), (&"1.0".into(), &"2.0".into()));
}

#[test]
fn dependency_changed_names_the_task_and_the_path() {
    let w = World::new(
        "
tasks:
  T1: { inputs: [a], outputs: [one], run: cp a one }
  T2: { needs: [T1], inputs: [], outputs: [two], run: cp one two }
  T3: { inputs: [one], outputs: [three], run: cp one three }
",
    );
    w.file("a", "1").build(&[]).success();
    w.file("a", "2");
    let run = w.build(&[]);
    run.success().ran(&["T1", "T2", "T3"]);
    for task in ["T2", "T3"] {
        let found = run.reason(task, "dependency_changed");
        assert_eq!((&found["task"], &found["path"]), (&"T1".into(), &"one".into()));
        assert_ne!(found["old"], found["new"]);
        assert!(found["at"]["line"].is_u64(), "{found}");
    }
}

#[test]
fn output_missing() {
    let w = built();
    w.remove("out");
    let found = reason(&w, "T1", "output_missing");
    assert_eq!(found["path"], "out");
    is_at(&w, &found, "outputs:");
    assert_eq!(w.read("out"), "ax");
}

#[test]
fn output_modified() {
    let w = built();
    w.file("out", "by hand");
    let found = reason(&w, "T1", "output_modified");
    assert_eq!(found["path"], "out");
    assert_ne!(found["old"], found["new"]);
    assert_eq!(w.read("out"), "ax");
}

#[test]
fn definition_changed_says_which_key() {
    let w = World::new("tasks: { T1: { inputs: [], outputs: [out], run: touch out more } }");
    w.build(&[]).success();
    w.manifest("tasks: { T1: { inputs: [], outputs: [out, more], run: touch out more } }");
    let found = reason(&w, "T1", "definition_changed");
    assert_eq!((&found["name"], &found["new"]), (&"output".into(), &"more".into()));
}

#[test]
fn previous_failed_until_it_succeeds() {
    let w = World::new("tasks: { T1: { inputs: [], outputs: [o], run: cp source o } }");
    w.build(&[]).fails_with(1).failed(&["T1"]);
    let check = w.check(&[]);
    check.fails_with(3);
    assert_eq!(check.kinds("T1"), ["previous_failed", "never_built"]);
    w.file("source", "now");
    w.build(&[]).success().ran(&["T1"]);
    w.check(&[]).success();
}

#[test]
fn a_failure_is_tried_again_though_nothing_changed() {
    let w = World::new("tasks: { T1: { inputs: [a], outputs: [o], run: cp a o; test ! -e flag } }");
    w.file("a", "1").build(&[]).success();
    w.file("a", "2").file("flag", "").build(&[]).fails_with(1);
    let run = w.build(&[]);
    run.fails_with(1);
    assert!(run.kinds("T1").contains(&"previous_failed".to_owned()), "{run}");
    w.remove("flag");
    w.build(&[]).success().ran(&["T1"]);
    assert_eq!(w.read("o"), "2");
}

#[test]
fn an_edit_taken_back_leaves_everything_fresh() {
    let w = built();
    w.file("a.txt", "b");
    w.check(&[]).fails_with(3);
    w.file("a.txt", "a");
    w.check(&[]).success();
    w.build(&[]).runs_nothing();
}

#[test]
fn several_reasons_are_all_told_in_json_and_counted_for_people() {
    let w = built();
    w.file("a.txt", "b").file("src/x.c", "y").file("src/z.c", "z");
    let check = w.check(&[]);
    assert_eq!(check.kinds("T1"), ["input_changed", "input_changed", "input_added"]);
    let run = w.run(&["check"]);
    run.fails_with(3).says("a.txt").says("(+2)");
}

#[test]
fn why_says_what_people_need_file_line_and_values() {
    let w = built();
    w.file("a.txt", "b").manifest(&ONE.replace("fast", "slow"));
    let run = w.run(&["why", "T1"]);
    let line = line_of(&w, "MODE");
    run.success()
        .says("T1 is stale")
        .says("a.txt changed")
        .says(&format!("conductor.yaml:{line}:"))
        .says("slow");
}

#[test]
fn why_of_a_fresh_task_says_that_it_is_fresh() {
    let w = built();
    let run = w.why("T1");
    assert_eq!(
        (run.success().json()["state"].clone(), run.json()["reasons"].clone()),
        ("fresh".into(), Value::Array(vec![]))
    );
    w.run(&["why", "T1"]).success().says("T1 is fresh");
}

#[test]
fn why_of_a_blocked_task_names_the_chain_to_the_cause() {
    let w = World::new(
        "
tasks:
  T1: { inputs: [a], outputs: [one], run: cp a one }
  T2: { inputs: [one], outputs: [two], run: cp one two }
  T3: { inputs: [two], outputs: [three], run: cp two three }
",
    );
    w.file("a", "1").build(&[]).success();
    w.file("a", "2");
    let run = w.why("T3");
    let document = run.success().json();
    assert_eq!(document["state"], "blocked");
    assert_eq!(document["chain"], serde_json::json!(["T3", "T2", "T1"]));
    assert_eq!(document["reasons"], serde_json::json!([]));
    let human: Run = w.run(&["why", "T3"]);
    human.says("T3 is blocked").says("T1 is stale").says("a changed");
}

#[test]
fn why_takes_one_task() {
    let w = World::new("tasks: { T1: { inputs: [], run: 'true' }, T2: { inputs: [], run: 'true' } }");
    w.why("T*").fails_with(2).diagnostics();
    w.why("T5").fails_with(2).diagnostics();
}
