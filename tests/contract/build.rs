//! `build`: targets, scope, the document that it prints, and a second build that runs nothing.

use serde_json::json;

use crate::support::World;

/// T1 → T2 → T3 by paths; T9 stands alone.
const CHAIN: &str = "
tasks:
  T1: { inputs: [a.txt], outputs: [out/1], run: cp a.txt out/1, tags: [early] }
  T2: { inputs: [out/1], outputs: [out/2], run: cp out/1 out/2 }
  T3: { inputs: [out/2], outputs: [out/3], run: cp out/2 out/3, tags: [late] }
  T9: { inputs: [], outputs: [nine.txt], run: echo 9 > nine.txt, tags: [late] }
";

fn chain() -> World {
    let world = World::new(CHAIN);
    world.file("a.txt", "one\n");
    world
}

#[test]
fn a_first_build_runs_everything_and_a_second_one_nothing() {
    let w = chain();
    w.build(&[]).success().ran(&["T1", "T2", "T3", "T9"]);
    assert_eq!(w.read("out/3"), "one\n");
    w.build(&[]).runs_nothing().fresh(&["T1", "T2", "T3", "T9"]);
}

#[test]
fn an_edit_runs_exactly_its_cone() {
    let w = chain();
    w.build(&[]).success();
    w.file("a.txt", "two\n");
    w.build(&[]).success().ran(&["T1", "T2", "T3"]).fresh(&["T9"]);
    assert_eq!(w.read("out/3"), "two\n");
    w.build(&[]).runs_nothing();
}

#[test]
fn a_target_brings_what_it_stands_on_and_nothing_else() {
    let w = chain();
    w.build(&["T2"]).success().ran(&["T1", "T2"]);
    assert!(!w.has("out/3") && !w.has("nine.txt"));
    w.build(&["T3"]).success().ran(&["T3"]).fresh(&["T1", "T2"]);
}

#[test]
fn a_target_is_an_id_a_path_a_tag_or_a_glob() {
    for (target, ran) in [
        ("T1", &["T1"][..]),
        ("out/1", &["T1"]),
        ("tag:early", &["T1"]),
        ("tag:late", &["T1", "T2", "T3", "T9"]),
        ("T[12]", &["T1", "T2"]),
        ("nine.txt", &["T9"]),
    ] {
        chain().build(&[target]).success().ran(ran);
    }
}

#[test]
fn an_outputs_path_is_seen_from_the_folder_in_which_one_stands() {
    let w = chain();
    w.folder("out");
    w.run_in("out", &["build", "--format", "json", "1"]).success().ran(&["T1"]);
    w.run_in("out", &["build", "--format", "json", "../nine.txt"]).success().ran(&["T9"]);
}

#[test]
fn a_group_and_its_gate_are_a_target() {
    let w = World::new(
        "
groups:
  G: { gate: [{ run: test -e one }] }
tasks:
  T1: { group: G, inputs: [], outputs: [one], run: touch one }
  T2: { inputs: [], outputs: [two], run: touch two }
",
    );
    w.build(&["G"]).success().ran(&["T1", "G:gate"]);
}

#[test]
fn a_matrix_task_is_a_target_as_a_whole_and_by_instance() {
    let manifest = "
tasks:
  T1:
    matrix: { os: [a, b], v: [1, 2] }
    inputs: []
    outputs: [\"o/${matrix.os}${matrix.v}\"]
    run: echo ${matrix.os} > ${outputs}
  T2: { needs: [T1], inputs: [], outputs: [all], run: cat o/* > all }
";
    World::new(manifest).build(&["T1[os=a,v=2]"]).success().ran(&["T1[os=a,v=2]"]);
    let all = ["T1[os=a,v=1]", "T1[os=a,v=2]", "T1[os=b,v=1]", "T1[os=b,v=2]"];
    World::new(manifest).build(&["T1"]).success().ran(&all);
    let w = World::new(manifest);
    w.build(&["T2"]).success().ran(&[&all[..], &["T2"]].concat());
    assert_eq!(w.read("all"), "a\na\nb\nb\n");
}

#[test]
fn a_bare_build_builds_the_default() {
    let w = chain();
    w.manifest(&format!("default: [T2]\n{CHAIN}"));
    w.build(&[]).success().ran(&["T1", "T2"]);
}

#[test]
fn some_of_its_matrix_values_name_those_instances_that_have_them() {
    let w = World::new(
        "tasks: { T1: { matrix: { os: [a, b], v: [1, 2] }, inputs: [], outputs: ['o/${matrix.os}${matrix.v}'], run: 'touch ${outputs}' } }",
    );
    w.build(&["T1[os=a]"]).success().ran(&["T1[os=a,v=1]", "T1[os=a,v=2]"]);
    w.build(&["T1[v=1,os=b]"]).success().ran(&["T1[os=b,v=1]"]);
    w.build(&["T1[v=2]"]).success().ran(&["T1[os=b,v=2]"]).fresh(&["T1[os=a,v=2]"]);
    for target in ["T1[os=c]", "T1[os=a,os=b]", "T1[]", "T1[os=a", "T2[os=a]"] {
        w.build(&[target]).fails_with(2).diagnostics();
    }
}

#[test]
fn an_unknown_target_is_a_usage_error_that_names_a_near_one() {
    let w = chain();
    let run = w.build(&["T7"]);
    run.fails_with(2).says("T7").says("did you mean");
    run.diagnostics();
    assert!(!w.has(".conductor"), "an unknown target wrote something");
}

#[test]
fn the_document_has_the_shape_of_the_contract() {
    let w = chain();
    let document = w.build(&[]).success().json();
    assert_eq!(document["version"], 1);
    assert_eq!(document["result"], "success");
    assert!(document["run"].as_str().is_some_and(|run| !run.is_empty()));
    let summary =
        json!({"fresh": 0, "ran": 4, "cached": 0, "failed": 0, "skipped": 0, "cancelled": 0, "paused": 0});
    assert_eq!(document["summary"], summary);
    let task = &document["tasks"]["T1"];
    assert_eq!(task["status"], "ran");
    assert_eq!(task["key"].as_str().map(str::len), Some(64));
    assert_eq!(task["reasons"][0]["kind"], "never_built");
    assert!(task["duration_ms"].is_u64());
    let digest = blake3::hash(b"one\n").to_hex().to_string();
    assert_eq!(task["outputs"], json!({"out/1": digest}));
}

#[test]
fn a_fresh_task_is_told_with_its_key_and_outputs_and_without_reasons() {
    let w = chain();
    let first = w.build(&[]).success().task("T1");
    let again = w.build(&[]).success().task("T1");
    assert_eq!(again["status"], "fresh");
    assert_eq!(again["reasons"], json!([]));
    assert_eq!(again["key"], first["key"]);
    assert_eq!(again["outputs"], first["outputs"]);
}

#[test]
fn force_runs_the_targets_though_they_are_fresh() {
    let w = chain();
    w.build(&[]).success();
    let run = w.build(&["--force", "T2"]);
    run.success().ran(&["T2"]).fresh(&["T1"]);
    run.reason("T2", "forced");
    w.build(&[]).runs_nothing();
}

#[test]
fn frozen_is_an_error_where_something_is_stale_and_runs_nothing() {
    let w = chain();
    w.build(&["--frozen"]).fails_with(3);
    assert!(!w.has(".conductor") && !w.has("out"));
    w.build(&[]).success();
    w.build(&["--frozen"]).success();
    w.file("a.txt", "two\n");
    let before = w.tree();
    w.build(&["--frozen"]).fails_with(3);
    before.is_unchanged(&w.tree(), "build --frozen");
    w.build(&["--frozen", "T9"]).success();
}

#[test]
fn a_dry_run_says_what_would_run_and_ends_with_0() {
    let w = chain();
    let run = w.build(&["--dry-run"]);
    run.success();
    assert_eq!(run.state("T1"), "stale");
    assert!(!w.has("out"));
    w.run(&["build", "-n"]).success().says("T1").says("never built");
}

#[test]
fn a_task_without_outputs_runs_once() {
    let w = World::new("tasks: { T1: { inputs: [a], run: cat a } }");
    w.file("a", "1");
    w.build(&[]).success().ran(&["T1"]);
    w.build(&[]).runs_nothing();
    w.file("a", "2");
    w.build(&[]).success().ran(&["T1"]);
}

#[test]
fn an_always_task_runs_each_time_and_its_dependents_only_on_other_bytes() {
    let w = World::new(
        "
tasks:
  T1: { always: true, inputs: [], outputs: [now], run: cat value > now }
  T2: { inputs: [now], outputs: [copy], run: cp now copy }
",
    );
    w.file("value", "1");
    w.build(&[]).success().ran(&["T1", "T2"]);
    let run = w.build(&[]);
    run.success().ran(&["T1"]).fresh(&["T2"]);
    run.reason("T1", "always");
    w.file("value", "2");
    w.build(&[]).success().ran(&["T1", "T2"]);
}

#[test]
fn the_result_in_another_folder_has_the_same_keys() {
    let (one, other) = (chain(), chain());
    let (one, other) = (one.build(&[]).json(), other.build(&[]).json());
    for task in ["T1", "T2", "T3", "T9"] {
        assert_eq!(one["tasks"][task]["key"], other["tasks"][task]["key"]);
    }
}

#[test]
fn three_hundred_tasks_in_a_row_are_built() {
    use std::fmt::Write as _;
    let mut manifest = "tasks:\n".to_owned();
    for number in 0..300 {
        let inputs = if number == 0 { "[]".to_owned() } else { format!("[o/c{}]", number - 1) };
        let _ = writeln!(
            manifest,
            "  c{number}: {{ inputs: {inputs}, outputs: [o/c{number}], run: [touch, o/c{number}] }}"
        );
    }
    let w = World::new(&manifest);
    let document = w.build(&[]).success().json();
    assert_eq!(document["summary"]["ran"], 300);
    assert_eq!(w.build(&[]).runs_nothing().json()["summary"]["fresh"], 300);
}
