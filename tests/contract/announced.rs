//! `check`, `build --dry-run` and the first line of `build` name the same tasks.

use std::collections::BTreeSet;

use crate::support::World;

/// The tasks that are not fresh as `check` and `build --dry-run` say, which agree. Then builds, and holds what that
/// announces against them.
#[track_caller]
fn announced(w: &World, expected: &[&str]) {
    let due = |command: &str, args: &[&str]| -> BTreeSet<String> {
        let document = w.json(command, args).json();
        let tasks = document["tasks"].as_object().unwrap().iter();
        tasks.filter(|(_, task)| task["state"] != "fresh").map(|(id, _)| id.clone()).collect()
    };
    let (check, dry) = (due("check", &[]), due("build", &["--dry-run"]));
    let expected: BTreeSet<String> = expected.iter().map(|id| (*id).to_owned()).collect();
    assert_eq!((&check, &dry), (&expected, &expected));
    let all = w.json("check", &[]).json()["tasks"].as_object().unwrap().len();
    let run = w.run(&["build", "-k", "--progress", "plain"]);
    if expected.is_empty() {
        run.never_says("to run");
    } else {
        let (fresh, due) = (all - expected.len(), expected.len());
        run.says(&format!("{fresh} of {all} tasks fresh, at most {due} to run"));
    }
}

#[test]
fn what_only_waits_for_others_is_not_announced() {
    let w = World::new(
        "
groups:
  A: { gate: [ { non_empty: o1 } ] }
  B: { after: [A] }
  C: { after: [B], gate: [ { non_empty: o4 } ] }
tasks:
  t1: { group: A, inputs: [s1], outputs: [o1], run: cp s1 o1 }
  t2: { group: A, inputs: [s2], outputs: [o2], run: cp s2 o2 }
  t3: { group: B, inputs: [s3], outputs: [o3], run: cp s3 o3 }
  t4: { group: C, inputs: [s4], outputs: [o4], run: cp s4 o4 }
  t5: { after: [t4], inputs: [s5], outputs: [o5], run: cp s5 o5 }
  t6: { after: [t5], inputs: [o1, s6], outputs: [o6], run: cat o1 s6 > o6 }
",
    );
    for n in 1..=6 {
        w.file(format!("s{n}"), n.to_string());
    }
    announced(&w, &["t1", "t2", "t3", "t4", "t5", "t6", "A:gate", "C:gate"]);
    announced(&w, &[]);
    w.file("s1", "one");
    announced(&w, &["t1", "A:gate", "t6"]);
    w.file("s3", "three");
    announced(&w, &["t3"]);
    w.file("s4", "four").file("s5", "five");
    announced(&w, &["t4", "C:gate", "t5"]);
    announced(&w, &[]);
}

#[test]
fn tasks_that_run_always_are_announced_and_what_stands_on_them_is_not() {
    let w = World::new(
        "
tasks:
  a: { always: true, inputs: [], outputs: [now], run: cp source now }
  b: { inputs: [now], outputs: [out], run: cp now out }
  c: { inputs: [out, s], outputs: [c], run: cat out s > c }
",
    );
    w.file("source", "1").file("s", "1");
    announced(&w, &["a", "b", "c"]);
    announced(&w, &["a"]);
    w.file("s", "2");
    announced(&w, &["a", "c"]);
    // It gives something else: what stands on it runs beside what was announced, and is counted once.
    w.file("source", "2");
    let run = w.build(&[]);
    run.success().ran(&["a", "b", "c"]);
    let summary = &run.json()["summary"];
    assert_eq!((&summary["ran"], &summary["fresh"]), (&3.into(), &0.into()), "{summary}");
    w.file("source", "3");
    w.run(&["build", "--progress", "plain"])
        .success()
        .says("2 of 3 tasks fresh, at most 1 to run")
        .says("[3/3]");
}

#[test]
fn what_waits_for_a_person_or_failed_is_announced_each_time() {
    let w = World::new(
        "
tasks:
  p: { approve: true, inputs: [in], outputs: [p], run: cp in p }
  q: { inputs: [p], outputs: [q], run: cp p q }
  f: { inputs: [in], outputs: [f], run: 'cp in f; exit 1' }
  g: { after: [f], inputs: [in], outputs: [g], run: cp in g }
  h: { inputs: [in], outputs: [h], run: cp in h, validate: [ { non_empty: h } ] }
",
    );
    w.file("in", "1");
    announced(&w, &["p", "q", "f", "g", "h"]);
    announced(&w, &["p", "q", "f", "g"]);
    w.run(&["approve", "p"]).success();
    announced(&w, &["q", "f", "g"]);
    // A check that changed runs alone.
    let manifest =
        w.read("conductor.yaml").replace("{ non_empty: h }", "{ run: test -e h }").replace("; exit 1", "");
    w.file("conductor.yaml", manifest);
    announced(&w, &["f", "g", "h"]);
    announced(&w, &[]);
    // `g` comes after `f`, and is fresh whatever becomes of it.
    let manifest = w.read("conductor.yaml").replace("cp in f", "exit 1");
    w.file("conductor.yaml", manifest);
    announced(&w, &["f"]);
}

#[test]
fn editors_and_their_readers_are_announced_in_their_turn() {
    let w = World::new(
        "
tasks:
  e1: { inputs: [one], edits: [a], isolation: sandbox, run: cat one >> a }
  e2: { needs: [e1], inputs: [two], edits: [a], isolation: sandbox, run: cat two >> a }
  r: { needs: [e2], inputs: [a], outputs: [r], run: cp a r }
  x: { after: [r], inputs: [one], outputs: [x], run: cp one x }
",
    );
    w.file("a", "base\n").file("one", "1\n").file("two", "2\n");
    announced(&w, &["e1", "e2", "r", "x"]);
    announced(&w, &[]);
    w.file("two", "3\n");
    announced(&w, &["e2", "r"]);
    announced(&w, &[]);
}

#[test]
fn what_is_forced_is_announced_with_what_stands_on_it() {
    let w = World::new(
        "
tasks:
  a: { inputs: [s], outputs: [a], run: cp s a }
  b: { inputs: [a], outputs: [b], run: cp a b }
  c: { after: [b], inputs: [s], outputs: [c], run: cp s c }
",
    );
    w.file("s", "1").build(&[]).success();
    let run = w.run(&["build", "--force", "a", "--progress", "plain"]);
    run.success().says("0 of 1 tasks fresh, at most 1 to run");
    let run = w.run(&["build", "--force", "b", "--progress", "plain"]);
    run.success().says("1 of 2 tasks fresh, at most 1 to run");
}
