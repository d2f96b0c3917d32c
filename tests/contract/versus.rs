//! `why TASK --vs RUN`: what differs between a task now and the task as it was in an earlier run.

use serde_json::{Value, json};

use crate::support::{Run, World};

const TWO: &str = "
tasks:
  T1: { inputs: [a.txt], env: { MODE: fast }, outputs: [b.txt], run: cat a.txt > b.txt }
  T2: { inputs: [b.txt], outputs: [c.txt], run: cat b.txt > c.txt, validate: [ { non_empty: c.txt } ] }
";

fn two() -> World {
    let w = World::new(TWO);
    w.file("a.txt", "1");
    w
}

fn run_of(build: &Run) -> String {
    build.json()["run"].as_str().unwrap().to_owned()
}

#[track_caller]
fn versus(w: &World, task: &str, run: &str) -> Value {
    w.json("why", &[task, "--vs", run]).success().json()["vs"].clone()
}

fn kinds(vs: &Value) -> Vec<&str> {
    vs["differences"].as_array().unwrap().iter().map(|one| one["kind"].as_str().unwrap()).collect()
}

#[test]
fn files_variables_commands_and_outputs_that_differ_from_an_earlier_run_are_named() {
    let w = two();
    let first = run_of(w.build(&[]).success());
    let vs = versus(&w, "T1", &first);
    assert_eq!((&vs["run"], &vs["from"], &vs["status"]), (&json!(first), &json!(first), &json!("ran")));
    assert_eq!((&vs["compared"], kinds(&vs)), (&json!("now"), vec![]));
    w.file("a.txt", "2");
    w.build(&[]).success();
    w.manifest(&TWO.replace("fast", "slow"));
    // The second run took in a.txt; the variable is not built yet.
    let vs = versus(&w, "T1", &first);
    assert_eq!(kinds(&vs), ["env_changed", "input_changed"]);
    assert_eq!(vs["differences"][0]["old"], "fast");
    assert_eq!(vs["differences"][1]["path"], "a.txt");
    assert!(vs["differences"][1]["at"]["line"].as_u64().is_some());
    assert_eq!(vs["outputs"][0]["path"], "b.txt");
    let vs = versus(&w, "T2", &first);
    assert_eq!(kinds(&vs), ["dependency_changed"]);
    let text = w.run(&["why", "T1", "--vs", &first]);
    text.success().says("compared with run").says("a.txt changed").says("made b.txt anew");
}

#[test]
fn a_task_that_was_fresh_in_a_run_is_compared_with_the_result_that_stood_then() {
    let w = two();
    let first = run_of(w.build(&[]).success());
    let second = run_of(w.build(&[]).success().runs_nothing());
    w.file("a.txt", "2");
    let third = run_of(w.build(&[]).success());
    let vs = versus(&w, "T1", &second);
    assert_eq!((&vs["run"], &vs["from"]), (&json!(second), &json!(first)));
    assert_eq!(kinds(&vs), ["input_changed"]);
    assert_eq!(kinds(&versus(&w, "T1", &third)), Vec::<&str>::new());
    // What the run kept of its tasks may be gone; then the record knows, unless it is younger.
    for run in [&first, &third] {
        w.remove(&format!(".conductor/runs/{run}/attempts"));
    }
    assert_eq!(versus(&w, "T1", &third)["status"], "ran");
    let vs = versus(&w, "T1", &first);
    assert_eq!((&vs["from"], &vs["compared"]), (&Value::Null, &Value::Null));
    w.run(&["why", "T1", "--vs", &first]).success().says("it had no result then");
}

#[test]
fn a_failed_attempt_can_be_compared_with_and_so_can_a_changed_check() {
    let w = two();
    let first = run_of(w.build(&[]).success());
    w.manifest(&TWO.replace("cat b.txt > c.txt", "exit 3"));
    let failed = run_of(w.build(&[]).fails_with(1));
    w.manifest(&TWO.replace("non_empty: c.txt", "run: test -f c.txt"));
    let vs = versus(&w, "T2", &failed);
    assert_eq!((&vs["status"], kinds(&vs)), (&json!("failed"), vec!["command_changed"]));
    assert_eq!(kinds(&versus(&w, "T2", &first)), ["validation_changed"]);
    let checked = run_of(w.build(&[]).success());
    let vs = versus(&w, "T2", &checked);
    assert_eq!((&vs["status"], kinds(&vs)), (&json!("fresh"), vec![]));
}

#[test]
fn what_is_blocked_is_compared_as_it_is_recorded() {
    let w = two();
    let first = run_of(w.build(&[]).success());
    w.file("a.txt", "2");
    w.build(&[]).success();
    w.manifest(&TWO.replace("run: cat a.txt > b.txt", "run: cat a.txt a.txt > b.txt"));
    let vs = versus(&w, "T2", &first);
    assert_eq!(kinds(&vs), ["dependency_changed"]);
    w.run(&["why", "T2", "--vs", "no-such-run"]).fails_with(2).says("there is no run `no-such-run`");
    assert_eq!(w.json("why", &["T2", "--vs", "20200101-000000-1"]).fails_with(2).diagnostics().len(), 1);
}

#[test]
fn a_run_in_which_nothing_ran_keeps_nothing() {
    let w = two();
    w.build(&[]).success();
    let run = run_of(w.build(&[]).success());
    assert!(!w.has(format!(".conductor/runs/{run}/attempts")));
}
