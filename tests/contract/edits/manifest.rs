//! What the manifest says of editors, and what becomes of chains when it changes.

use super::{E1, E2, E3, built, is_settled, manifest, states, with, world};
use crate::support::World;

#[test]
fn an_editor_that_makes_a_file_which_an_unordered_one_edits_fails_and_both_are_named() {
    let w = World::new(
        "
tasks:
  e1: { isolation: sandbox, inputs: [], edits: [\"src/*.x\", \"src/*.y\"], run: 'for f in src/*.x; do echo 1 >> $f; done; echo > src/new.y' }
  e2: { isolation: sandbox, inputs: [], edits: [\"src/*.y\"], run: 'true' }
  r: { inputs: [\"lib/new*\"], outputs: [o], run: touch o }
  e3: { isolation: sandbox, inputs: [], edits: [\"lib/*\"], run: 'echo > lib/new' }
",
    );
    w.file("src/a.x", "").file("lib/x", "");
    let run = w.build(&["-k"]);
    run.fails_with(1).failed(&["e1", "e3"]);
    for text in ["it made src/new.y", "which e2 edits too", "needs: [e1]"] {
        run.says(text);
    }
    run.says("it made lib/new").says("add `needs: [e3]` to r");
    assert!(!w.has("src/new.y") && !w.has("lib/new"));
    assert_eq!(w.read("src/a.x"), "", "nothing of it was accepted");
}

/// Every command that judges stops with 2 and one diagnostic.
#[track_caller]
fn is_refused(w: &World, code: &str, message: &str, lines: &[u64]) {
    for args in [
        &["build"][..],
        &["build", "--dry-run"],
        &["build", "--frozen"],
        &["check"],
        &["why", "e1"],
        &["list"],
        &["validate"],
    ] {
        let run = w.json(args[0], &args[1..]);
        run.fails_with(2);
        let found = run.diagnostics();
        assert_eq!(found.len(), 1, "{run}");
        assert_eq!(found[0]["code"], code, "{run}");
        assert_eq!(found[0]["message"], message, "{run}");
        let labels = found[0]["labels"].as_array().unwrap();
        let at: Vec<u64> = labels.iter().map(|label| label["line"].as_u64().unwrap()).collect();
        assert_eq!(at, lines, "{run}");
        assert!(found[0]["help"].is_string(), "{run}");
    }
}

#[test]
fn editors_of_one_file_must_be_ordered_by_needs() {
    let w = world(&[E1, &with(E2, "needs: [e1], edits: [a]", "edits: [\"*\", \"!conductor.yaml\"]")]);
    is_refused(&w, "edits::unordered", "e1 and e2 both edit a, and neither needs the other", &[4, 5]);
    w.manifest(&manifest(&[E1, &with(E2, "needs", "after")]));
    is_refused(&w, "edits::unordered", "e1 and e2 both edit a, and neither needs the other", &[4, 5]);
    w.manifest(&manifest(&[E1, E2]));
    w.build(&[]).success();
}

#[test]
fn a_reader_of_an_edited_file_must_need_its_last_editor() {
    let reader = "  r: { inputs: [a], outputs: [o], run: cp a o }\n";
    let w = world(&[E1, E2, reader]);
    is_refused(&w, "edits::unordered_reader", "r reads a, which e2 edits, and does not need it", &[6, 5]);
    w.manifest(&manifest(&[E1, E2, &with(reader, "inputs", "needs: [e1], inputs")]));
    is_refused(&w, "edits::unordered_reader", "r reads a, which e2 edits, and does not need it", &[6, 5]);
    w.manifest(&manifest(&[E1, E2, &with(reader, "inputs", "needs: [e2], inputs")]));
    w.build(&[]).success().ran(&["e1", "e2", "r"]);
    assert_eq!(w.read("o"), "base\none\ntwo\n");
    is_settled(&w);
    w.file("a", "mine\n");
    w.build(&[]).success().ran(&["e1", "e2", "r"]);
    assert_eq!(w.read("o"), "mine\none\ntwo\n");
    w.file("a", "mine\none\n");
    w.build(&[]).success().ran(&["e2"]).fresh(&["e1", "r"]);
    is_settled(&w);
}

#[test]
fn an_output_of_another_task_is_not_edited() {
    let maker = "  m: { inputs: [], outputs: [gen/], run: touch gen/x }\n";
    let w = world(&[&with(E1, "[a]", "[\"gen/**\"]"), maker]);
    is_refused(&w, "edits::output", "e1 edits gen, which m makes", &[4, 5]);
    w.manifest(&manifest(&[E1, "  m: { inputs: [], outputs: [a], run: touch a }\n"]));
    is_refused(&w, "edits::output", "e1 edits a, which m makes", &[4, 5]);
}

#[test]
fn an_editor_that_leaves_the_manifest_leaves_the_chain() {
    let w = built();
    w.manifest(&manifest(&[E1, E2]));
    w.build(&[]).success().ran(&[]);
    assert_eq!(w.read("a"), "base\none\ntwo\n", "the last");
    is_settled(&w);

    let w = built();
    w.manifest(&manifest(&[E1, &with(E3, "[e2]", "[e1]")]));
    w.build(&[]).success().ran(&["e3"]);
    assert_eq!(w.read("a"), "base\none\nthree\n", "one in the middle");
    is_settled(&w);

    let w = built();
    w.manifest(&manifest(&[&with(E2, "needs: [e1], ", ""), E3]));
    w.build(&[]).success().ran(&["e2", "e3"]);
    assert_eq!(w.read("a"), "base\ntwo\nthree\n", "the first");
    is_settled(&w);
    w.file("a", "base\none\n");
    w.build(&[]).success().ran(&["e2", "e3"]);
    assert_eq!(w.read("a"), "base\none\ntwo\nthree\n", "what it once made is a person's text now");
}

#[test]
fn an_editor_with_another_name_does_not_edit_its_own_result() {
    let w = world(&[E1]);
    w.build(&[]).success();
    w.manifest(&manifest(&[&with(E1, "e1:", "x1:")]));
    w.build(&[]).success().ran(&["x1"]);
    assert_eq!(w.read("a"), "base\none\n");
    is_settled(&w);
    w.manifest(&manifest(&["  other: { inputs: [], outputs: [o], run: touch o }\n"]));
    w.build(&[]).success().ran(&["other"]);
    assert_eq!(w.read("a"), "base\none\n", "without editors it is the person's");
    w.manifest(&manifest(&[E1]));
    w.build(&[]).success();
    assert_eq!(w.read("a"), "base\none\none\n");
}

#[test]
fn an_editor_that_no_longer_edits_a_path_leaves_its_chain() {
    let w = built();
    w.manifest(&manifest(&[E1, E2, &with(&with(E3, "[a]", "[b]"), ">> a", ">> b")]));
    w.build(&[]).success().ran(&["e3"]);
    assert_eq!(w.read("a"), "base\none\ntwo\n");
    assert_eq!(w.read("b"), "three\n");
    is_settled(&w);
}

#[test]
fn an_editor_may_join_at_any_place_of_the_chain() {
    let w = world(&[E1]);
    w.build(&[]).success();
    w.manifest(&manifest(&[E1, E2]));
    assert_eq!(states(&w, &["e1", "e2"]), ["fresh", "stale"]);
    w.build(&[]).success().ran(&["e2"]);
    assert_eq!(w.read("a"), "base\none\ntwo\n", "at the end");
    let middle = with(&with(E3, "[e2]", "[e1]"), "e3", "e15");
    w.manifest(&manifest(&[E1, &middle, &with(E2, "[e1]", "[e15]")]));
    w.build(&[]).success().ran(&["e15", "e2"]);
    assert_eq!(w.read("a"), "base\none\nthree\ntwo\n", "in the middle");
    is_settled(&w);
    let front = "  e0: { isolation: sandbox, inputs: [], edits: [a], run: 'echo zero >> a' }\n";
    let first = with(E1, "edits", "needs: [e0], edits");
    w.manifest(&manifest(&[front, &first, &middle, &with(E2, "[e1]", "[e15]")]));
    w.build(&[]).success().ran(&["e0", "e1", "e15", "e2"]);
    assert_eq!(w.read("a"), "base\nzero\none\nthree\ntwo\n", "in front");
    is_settled(&w);
    let idle = "  e00: { isolation: sandbox, inputs: [], edits: [a], run: 'true' }\n";
    let front = with(front, "edits", "needs: [e00], edits");
    w.manifest(&manifest(&[idle, &front, &first, &middle, &with(E2, "[e1]", "[e15]")]));
    w.build(&[]).success().ran(&["e00"]);
    assert_eq!(w.read("a"), "base\nzero\none\nthree\ntwo\n", "one that changes nothing");
    is_settled(&w);
}
