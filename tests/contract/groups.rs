//! Groups: gates, `after`, and how failures travel along them.

use crate::support::World;

const TWO: &str = "
groups:
  A: { title: First, gate: [{ run: \"echo x >> gate-runs; test ! -e broken\", inputs: [limit] }] }
  B: { after: [A] }
tasks:
  A1: { group: A, inputs: [a], outputs: [a1], run: head -n 1 a > a1 }
  A2: { group: A, inputs: [], outputs: [a2], run: touch a2 }
  B1: { group: B, inputs: [], outputs: [b1], run: test -e gate-runs && touch b1 }
";

fn world() -> World {
    let w = World::new(TWO);
    w.file("a", "1\n").file("limit", "1");
    w
}

fn gate_runs(w: &World) -> usize {
    if w.has("gate-runs") { w.read("gate-runs").lines().count() } else { 0 }
}

#[test]
fn a_gate_runs_after_its_group_and_before_what_comes_after() {
    let w = world();
    w.build(&[]).success().ran(&["A1", "A2", "B1", "A:gate"]);
    w.build(&[]).runs_nothing().fresh(&["A1", "A2", "B1", "A:gate"]);
    assert_eq!(gate_runs(&w), 1);
}

#[test]
fn a_gate_does_not_run_for_one_member_alone_but_for_what_stands_behind_it() {
    let w = world();
    let run = w.build(&["A1"]);
    run.success().ran(&["A1"]);
    assert_eq!(gate_runs(&w), 0);
    w.build(&["B1"]).success().ran(&["A2", "A:gate", "B1"]);
    let w = world();
    w.build(&["A"]).success().ran(&["A1", "A2", "A:gate"]);
}

#[test]
fn a_gate_is_a_target_of_its_own() {
    let w = world();
    w.build(&["A:gate"]).success().ran(&["A1", "A2", "A:gate"]);
    w.why("A:gate").success();
}

#[test]
fn a_gate_that_refuses_fails_the_build_and_skips_what_comes_after() {
    let w = world();
    w.file("broken", "");
    let run = w.build(&[]);
    run.fails_with(1).ran(&["A1", "A2"]).failed(&["A:gate"]).skipped(&["B1"]);
    let check = w.check(&[]);
    check.fails_with(3);
    assert!(check.kinds("A:gate").contains(&"gate_failed".to_owned()), "{check}");
    w.remove("broken");
    w.build(&[]).success().ran(&["A:gate", "B1"]).fresh(&["A1", "A2"]);
}

#[test]
fn a_gate_runs_again_when_an_output_of_its_group_or_its_input_changes() {
    let w = world();
    w.build(&[]).success();
    w.file("a", "1\n2\n").build(&[]).success().ran(&["A1"]);
    assert_eq!(gate_runs(&w), 1, "the same outputs");
    w.file("a", "2\n").build(&[]).success();
    assert_eq!(gate_runs(&w), 2);
    w.file("limit", "2");
    w.check(&[]).fails_with(3);
    w.build(&[]).success().fresh(&["A1", "A2", "B1"]).ran(&["A:gate"]);
    assert_eq!(gate_runs(&w), 3);
    w.manifest(&TWO.replace("test ! -e broken", "test -e a1"));
    w.build(&[]).success();
    assert_eq!(gate_runs(&w), 4);
    w.build(&[]).runs_nothing();
}

#[test]
fn what_comes_after_a_gate_is_not_stale_because_the_gate_ran_again() {
    let w = world();
    w.build(&[]).success();
    w.file("a", "2\n").build(&[]).success().fresh(&["A2", "B1"]);
}

#[test]
fn a_failure_in_a_group_skips_its_gate_and_the_groups_after_it() {
    let w = world();
    w.manifest(&TWO.replace("touch a2", "exit 1"));
    w.build(&["-k"]).fails_with(1).ran(&["A1"]).failed(&["A2"]).skipped(&["A:gate", "B1"]);
}

#[test]
fn a_group_after_a_group_waits_for_all_of_it() {
    let w = World::new(
        "
groups: { A: {}, B: { after: [A] }, C: { after: [B] } }
tasks:
  A1: { group: A, inputs: [], outputs: [a1], run: sleep 0.1; touch a1 }
  B1: { group: B, inputs: [], outputs: [b1], run: test -e a1; touch b1 }
  C1: { group: C, inputs: [], outputs: [c1], run: test -e b1; touch c1 }
",
    );
    w.build(&["C1", "-j", "4"]).success().ran(&["A1", "B1", "C1"]);
}

#[test]
fn needs_of_a_group_are_the_outputs_of_its_tasks() {
    let w = World::new(
        "
groups: { A: {} }
tasks:
  A1: { group: A, inputs: [x], outputs: [a1], run: cp x a1 }
  A2: { group: A, inputs: [], outputs: [a2], run: touch a2 }
  T: { needs: [A], inputs: [], outputs: [o], run: cat a1 a2 > o }
",
    );
    w.file("x", "1").build(&["T"]).success().ran(&["A1", "A2", "T"]);
    w.file("x", "2").build(&["T"]).success().ran(&["A1", "T"]);
    assert_eq!(w.read("o"), "2");
}

#[test]
fn a_failed_dependency_by_after_blocks() {
    let w = World::new(
        "
tasks:
  T1: { inputs: [], run: exit 1 }
  T2: { after: [T1], inputs: [], run: touch ran }
",
    );
    w.build(&["-k", "T2"]).fails_with(1).failed(&["T1"]).skipped(&["T2"]);
    assert!(!w.has("ran"));
}

#[test]
fn after_a_group_or_a_task_of_another_file_and_namespace() {
    let w = World::new(
        "
include: [sub/conductor.yaml]
tasks:
  T1: { needs: [\"api:T1\"], inputs: [], outputs: [o], run: cp sub/out o }
",
    );
    w.file(
        "sub/conductor.yaml",
        "conductor: 1\nnamespace: api\ntasks: { T1: { inputs: [in], outputs: [out], run: cp in out } }\n",
    );
    w.file("sub/in", "1").build(&[]).success().ran(&["T1", "api:T1"]);
    assert_eq!(w.read("o"), "1");
    w.file("sub/in", "2").build(&["T1"]).success().ran(&["T1", "api:T1"]);
    w.run_in("sub", &["build", "--format", "json"]).success();
}
