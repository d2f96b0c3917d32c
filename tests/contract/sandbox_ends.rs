//! How tasks in sandboxes are checked, how they end, and what is left of them.

use crate::sandbox::{enforces, left, sandboxed};
use crate::support::{World, wait_until};

#[test]
fn checks_run_in_the_sandbox_and_what_they_change_is_discarded() {
    let w = sandboxed(&[
        "inputs: [a]",
        "outputs: [o]",
        "writes: error",
        "run: cp a o",
        "validate: [ { run: \"test -e o && test ! -e spec && pwd > where && echo spoilt > o && touch junk\" }, { non_empty: o } ]",
    ]);
    w.file("a", "1").file("spec", "x").build(&[]).success();
    assert_eq!(w.read("o"), "1");
    assert!(!w.has("junk") && !w.has("where"));
    w.build(&[]).runs_nothing();
}

#[test]
fn a_check_that_refuses_leaves_the_last_good_outputs() {
    let w = sandboxed(&[
        "inputs: [a]",
        "outputs: [o]",
        "run: cp a o",
        "validate: [ { run: \"! grep -q bad o\" } ]",
    ]);
    w.file("a", "good").build(&[]).success();
    w.file("a", "bad").build(&[]).fails_with(1).failed(&["T1"]);
    assert_eq!(w.read("o"), "good");
    w.file("a", "good").build(&[]).runs_nothing();
}

#[test]
fn a_check_sees_its_own_inputs() {
    let w = sandboxed(&[
        "inputs: [a]",
        "outputs: [o]",
        "run: 'cp a o; test ! -e allowed'",
        "validate: [ { run: grep -qxFf o allowed, inputs: [allowed] } ]",
    ]);
    w.file("a", "1\n").file("allowed", "1\n").build(&[]).success();
    w.file("allowed", "1\n2\n").build(&[]).success().ran(&[]).checked_again(&["T1"]);
    w.file("allowed", "2\n").build(&[]).fails_with(1);
    assert_eq!(w.read("o"), "1\n");
}

#[test]
fn a_changed_check_runs_alone_in_a_sandbox() {
    let w = sandboxed(&["inputs: [a]", "outputs: [o]", "run: cp a o"]);
    w.file("a", "1").file("secret", "x").build(&[]).success();
    w.manifest("tasks: { T1: { isolation: sandbox, inputs: [a], outputs: [o], run: cp a o, validate: [ { run: 'test -s o && test ! -e secret && echo spoilt > o' } ] } }");
    w.build(&[]).success().ran(&[]).checked_again(&["T1"]);
    assert_eq!((w.read("o"), left(&w)), ("1".to_owned(), vec![]));
    w.build(&[]).runs_nothing();
}

#[test]
fn a_check_that_could_not_run_fails_the_build_and_never_runs_the_task_again() {
    let w = sandboxed(&[
        "inputs: []",
        "outputs: [o]",
        "run: date +%N > o",
        "validate: [ { run: [./nothing-there] } ]",
    ]);
    w.build(&[]).fails_with(1).failed(&["T1"]);
    let first = w.read("o");
    w.build(&[]).fails_with(1).ran(&[]);
    assert_eq!(w.read("o"), first);
    w.program("nothing-there", "#!/bin/sh\n");
    w.manifest("tasks: { T1: { isolation: sandbox, inputs: [], outputs: [o], run: date +%N > o, validate: [ { run: [./nothing-there], inputs: [nothing-there] } ] } }");
    w.build(&[]).success().ran(&[]).checked_again(&["T1"]);
}

#[test]
fn require_looks_at_the_tree() {
    let w = sandboxed(&["inputs: []", "outputs: [o]", "run: touch o", "require: [ { run: test -e ready } ]"]);
    w.build(&[]).fails_with(1).says("test -e ready");
    assert_eq!(left(&w), [""; 0], "nothing was prepared");
    w.file("ready", "").build(&[]).success();
}

#[test]
fn a_result_that_holds_a_secret_fails_and_is_kept_nowhere() {
    let w = sandboxed(&[
        "inputs: []",
        "secrets: [TOKEN]",
        "outputs: [o]",
        "run: 'echo $TOKEN; echo $TOKEN > o; echo $TOKEN > stray'",
    ]);
    let w = w.env("TOKEN", "t0p-s3cret-value");
    w.build(&[]).fails_with(1).says("secret").never_says("t0p-s3cret-value");
    assert!(!w.has("o"));
    let found =
        std::process::Command::new("grep").args(["-r", "t0p-s3cret-value"]).arg(w.root()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
}

#[test]
fn a_timeout_a_stall_and_retries_hold_in_a_sandbox() {
    let w = sandboxed(&["inputs: []", "outputs: [o]", "timeout: 300ms", "run: sleep 60"]);
    w.build(&[]).fails_with(1).says("timeout");
    w.manifest(
        "tasks: { T1: { isolation: sandbox, inputs: [], outputs: [o], stall: 300ms, run: sleep 60 } }",
    );
    w.build(&[]).fails_with(1).says("stall");
    let counter = tempfile::tempdir().unwrap();
    let flaky = "if [ -e \"$1/again\" ]; then touch o; else touch stray; exit 1; fi";
    std::fs::write(counter.path().join("again"), "").unwrap();
    let retry = format!(
        "tasks: {{ T1: {{ isolation: sandbox, inputs: [], outputs: [o], retries: 1, run: [sh, -c, '{flaky}', sh, {}] }} }}",
        counter.path().display()
    );
    w.manifest(&retry).build(&[]).success();
}

#[test]
fn a_second_attempt_starts_in_a_clean_sandbox() {
    let w = sandboxed(&[
        "inputs: []",
        "outputs: [o]",
        "retries: 2",
        "run: 'test ! -e o && test ! -e stray || exit 9; touch o stray; exit 1'",
    ]);
    w.build(&[]).fails_with(1).says("exit code 1").never_says("exit code 9");
}

#[test]
fn a_failed_sandbox_is_kept_with_a_line_that_says_where_and_the_next_run_cleans_it() {
    let w = sandboxed(&[
        "inputs: [a]",
        "outputs: [o]",
        "run: 'echo half > o; mkdir locked; touch locked/x; chmod 500 locked; ! grep -q bad a'",
    ]);
    w.file("a", "bad");
    w.build(&[]).fails_with(1).says("its sandbox is kept in .conductor/workspaces/T1");
    assert_eq!(w.read(".conductor/workspaces/T1/o"), "half\n");
    w.build(&[]).fails_with(1);
    assert_eq!(left(&w), ["T1"]);
    w.file("a", "good").build(&[]).success();
    assert_eq!(left(&w), [""; 0]);
}

#[test]
fn an_edit_in_mid_run_is_recorded_under_the_snapshots_key_and_dependents_go_on() {
    let signal = tempfile::tempdir().unwrap();
    let path = signal.path().to_str().unwrap().to_owned();
    // A sandbox may write nothing outside; the test is told by what it prints.
    let w = World::new(&format!(
        "
tasks:
  A: {{ isolation: sandbox, inputs: [a], outputs: [o], run: \"cp a o; echo started; while [ ! -e {path}/go ]; do sleep 0.02; done\" }}
  B: {{ isolation: sandbox, inputs: [o], outputs: [p], run: cp o p }}
"
    ));
    w.file("a", "before");
    let build = w.start(&[]);
    wait_until("A runs", || w.run(&["log", "A"]).stdout.contains("started"));
    w.file("a", "after");
    std::fs::write(signal.path().join("go"), "").unwrap();
    let run = build.wait();
    run.fails_with(3).ran(&["A", "B"]).says("a changed while A ran");
    assert_eq!(run.json()["result"], "stale");
    assert!(run.kinds("A").contains(&"changed_during_run".to_owned()), "{run}");
    assert_eq!((w.read("o"), w.read("p")), ("before".to_owned(), "before".to_owned()));
    // The record is of the snapshot: with the old content nothing is due.
    w.file("a", "before");
    w.check(&[]).success();
    w.file("a", "after").build(&[]).success().ran(&["A", "B"]);
    assert_eq!(w.read("p"), "after");
    w.build(&[]).runs_nothing();
}

const SIMPLE: &str = "tasks: { A: { inputs: [a], outputs: [o], run: cp a o }, B: { needs: [A], inputs: [], outputs: [d/], run: cp o d/p; ln -s p d/l } }";

#[test]
fn a_whole_manifest_can_be_run_in_sandboxes_with_the_same_keys_and_results() {
    let (plain, apart) = (World::new(SIMPLE), World::new(SIMPLE));
    for w in [&plain, &apart] {
        w.file("a", "1");
    }
    let (one, other) = (plain.build(&[]), apart.build(&["--isolation", "sandbox"]));
    one.success().ran(&["A", "B"]);
    other.success().ran(&["A", "B"]);
    for task in ["A", "B"] {
        assert_eq!(one.task(task)["key"], other.task(task)["key"], "{task}");
        assert_eq!(one.task(task)["outputs"], other.task(task)["outputs"], "{task}");
    }
    apart.build(&[]).runs_nothing();
    apart.build(&["--isolation", "none"]).runs_nothing();
    apart.file("a", "2").build(&["--isolation", "none"]).success();
    apart.build(&["--isolation", "sandbox"]).runs_nothing();
}

#[test]
fn isolation_none_runs_a_sandboxed_task_in_the_tree() {
    let w = sandboxed(&["inputs: []", "outputs: [o]", "run: cat undeclared > o"]);
    w.file("undeclared", "1").build(&["--isolation", "none"]).success();
    assert_eq!(w.read("o"), "1");
}

#[test]
fn sandboxes_find_undeclared_inputs_of_a_whole_manifest() {
    let w = World::new("tasks:\n  A:\n    inputs: [a]\n    outputs: [o]\n    run: cat a b > o\n");
    w.file("a", "1").file("b", "2").build(&[]).success();
    w.build(&["--isolation", "sandbox", "--force"])
        .fails_with(1)
        .says("add `b` to its `inputs` (conductor.yaml:4)");
    assert_eq!(w.read("o"), "12");
}

#[test]
fn the_network_can_be_off() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let connect = format!(
        "python3 -c \"import socket; socket.create_connection((\\\"127.0.0.1\\\", {port}), 5)\" 2>/dev/null && echo reached > o || echo cut > o"
    );
    let w = sandboxed(&["inputs: []", "outputs: [o]", "network: off", &format!("run: '{connect}'")]);
    let run = w.build(&[]);
    if !enforces(&run) {
        return;
    }
    run.success();
    assert_eq!(w.read("o"), "cut\n");
}

#[test]
fn a_person_s_file_in_an_output_folder_stays_is_named_once_and_is_no_part_of_the_result() {
    let w = sandboxed(&["inputs: [a]", "outputs: [d/]", "run: cp a d/made"]);
    w.file("a", "1").file("d/notes", "mine");
    let run = w.build(&[]);
    run.success().says("d/notes");
    assert_eq!(run.task("T1")["outputs"].as_object().unwrap().keys().collect::<Vec<_>>(), ["d/made"]);
    w.file("a", "2").build(&[]).success();
    assert_eq!((w.read("d/notes"), w.read("d/made")), ("mine".to_owned(), "2".to_owned()));
    w.build(&[]).runs_nothing();
}

#[test]
fn many_sandboxes_at_once_come_and_go() {
    let tasks: Vec<String> = (0..60)
        .map(|n| format!("  t{n}: {{ inputs: [a], outputs: [out/{n}/o], run: cp a out/{n}/o }}\n"))
        .collect();
    let w = World::new(&format!("defaults: {{ isolation: sandbox }}\ntasks:\n{}", tasks.concat()));
    for round in 0..3 {
        w.file("a", round.to_string());
        let run = w.build(&["-j", "8"]);
        run.success();
        assert_eq!(run.json()["summary"]["ran"], 60);
        assert_eq!(left(&w), [""; 0]);
    }
    let aside = std::fs::read_dir(w.path(".conductor/aside"));
    assert_eq!(aside.map_or(0, Iterator::count), 0);
}
