//! `approve: true`: a result waits for a person, who accepts exactly what was shown, or rejects it.

use crate::support::World;

fn world(isolation: &str) -> World {
    let w = World::new(&format!(
        "
tasks:
  T1: {{ isolation: {isolation}, approve: true, inputs: [a], outputs: [o, d/], run: cp a o; cp a d/x, validate: [ {{ run: '! grep -q bad o' }} ] }}
  T2: {{ inputs: [o], outputs: [p], run: cp o p }}
  T3: {{ inputs: [], outputs: [q], run: touch q }}
"
    ));
    w.file("a", "1");
    w
}

/// Built, and waiting.
fn waiting(isolation: &str) -> World {
    let w = world(isolation);
    let run = w.build(&[]);
    run.fails_with(5).are("paused", &["T1"]).skipped(&["T2"]).ran(&["T3"]);
    run.says(".conductor/pending/T1").says("conductor approve T1");
    assert_eq!(run.json()["result"], "paused");
    assert_eq!(run.reason("T1", "approval_missing")["kind"], "approval_missing");
    assert!(!w.has("o") && !w.has("d/x") && !w.has("p"));
    assert_eq!(w.read(".conductor/pending/T1/o"), "1");
    w
}

const EACH: [&str; 2] = ["none", "sandbox"];

#[test]
fn a_result_waits_and_nothing_of_it_is_in_the_tree_until_it_is_approved() {
    for isolation in EACH {
        let w = waiting(isolation);
        w.build(&[]).fails_with(5).ran(&[]).are("paused", &["T1"]);
        assert_eq!(w.check(&[]).fails_with(3).reason("T1", "approval_missing")["kind"], "approval_missing");
        let list = w.json("list", &[]);
        assert_eq!(
            (&list.task("T1")["state"], &list.task("T1")["waits_for"]),
            (&"stale".into(), &"approval".into())
        );
        w.run(&["list"]).success().says("waits for approval");
        w.run(&["why", "T1"]).success().says("approval");
        let run = w.json("approve", &["T1", "--note", "looks right"]);
        run.success();
        assert_eq!((&run.json()["decision"], &run.json()["task"]), (&"approved".into(), &"T1".into()));
        assert_eq!((w.read("o"), w.read("d/x")), ("1".to_owned(), "1".to_owned()), "at once");
        assert!(!w.has(".conductor/pending"));
        w.run(&["why", "T1"]).success().says("looks right");
        assert_eq!(w.why("T1").json()["recorded"]["approval"]["note"], "looks right");
        w.build(&[]).success().ran(&["T2"]);
        w.build(&[]).runs_nothing();
    }
}

#[test]
fn the_previous_outputs_stay_until_the_new_ones_are_approved() {
    for isolation in EACH {
        let w = waiting(isolation);
        w.run(&["approve", "T1"]).success();
        w.file("a", "2").build(&[]).fails_with(5);
        assert_eq!(
            (w.read("o"), w.read("d/x"), w.read(".conductor/pending/T1/o")),
            ("1".into(), "1".into(), "2".into())
        );
        w.run(&["approve", "T1"]).success();
        assert_eq!((w.read("o"), w.read("d/x")), ("2".into(), "2".into()));
        w.build(&[]).success();
    }
}

#[test]
fn what_the_checks_refuse_is_not_shown() {
    for isolation in EACH {
        let w = world(isolation);
        w.file("a", "bad").build(&["T1"]).fails_with(1).failed(&["T1"]);
        assert!(!w.has(".conductor/pending"));
        w.run(&["approve", "T1"]).fails_with(2);
    }
}

#[test]
fn a_changed_output_needs_a_new_result() {
    for isolation in EACH {
        let w = waiting(isolation);
        w.file(".conductor/pending/T1/d/x", "tampered");
        let run = w.json("approve", &["T1"]);
        run.fails_with(4);
        assert_eq!(run.diagnostics()[0]["code"], "approve::other_files");
        assert!(!w.has("o") && !w.has("d/x"));
        w.build(&["T1", "--force"]).fails_with(5);
        w.run(&["approve", "T1"]).success();
        assert_eq!(w.read("d/x"), "1");
    }
    let w = waiting("sandbox");
    w.remove(".conductor/pending").run(&["approve", "T1"]).fails_with(4);
    assert!(!w.has("o"));
}

#[test]
fn an_input_that_changed_since_is_not_what_was_shown() {
    for isolation in EACH {
        let w = waiting(isolation);
        w.file("a", "2");
        w.json("approve", &["T1"]).fails_with(3);
        assert!(!w.has("o"));
        w.build(&[]).fails_with(5);
        w.run(&["approve", "T1"]).success();
        assert_eq!(w.read("o"), "2");
    }
}

#[test]
fn a_rejected_result_is_stale_with_the_note_as_its_reason() {
    for isolation in EACH {
        let w = waiting(isolation);
        let run = w.json("reject", &["T1", "--note", "wrong tone"]);
        run.success();
        assert_eq!((&run.json()["decision"], &run.json()["task"]), (&"rejected".into(), &"T1".into()));
        assert!(!w.has(".conductor/pending"));
        let check = w.check(&["T1"]);
        let reasons = check.fails_with(3).reasons("T1");
        assert_eq!(
            (&reasons[0]["kind"], &reasons[0]["new"]),
            (&"validation_failed".into(), &"wrong tone".into()),
            "{check}"
        );
        w.run(&["why", "T1"]).success().says("wrong tone");
        w.run(&["approve", "T1"]).fails_with(2);
        w.run(&["reject", "T1"]).fails_with(2);
        w.build(&["T1"]).fails_with(5).are("paused", &["T1"]);
        w.run(&["approve", "T1"]).success();
        w.build(&[]).success();
    }
}

#[test]
fn what_does_not_wait_is_a_usage_error() {
    let w = world("sandbox");
    for command in ["approve", "reject"] {
        let run = w.json(command, &["T3"]);
        run.fails_with(2);
        assert_eq!(run.diagnostics()[0]["code"], "approve::nothing");
        w.run(&[command, "nobody"]).fails_with(2);
        w.run(&[command]).fails_with(2);
    }
}

#[test]
fn a_person_s_file_in_the_way_of_an_approved_result_is_never_lost() {
    let w = waiting("none");
    w.file("o", "mine").file("d/other", "mine");
    let run = w.json("approve", &["T1"]);
    run.success().says("conflicts");
    assert_eq!(
        (w.read("o"), w.conflicts(), w.read("d/other")),
        ("1".into(), vec!["o".to_owned()], "mine".into())
    );
    for side in ["--theirs", "--mine"] {
        let w = waiting("sandbox");
        w.file("o", "mine");
        w.json("approve", &["T1", "--note", "fine"]).fails_with(4);
        assert_eq!(w.read("o"), "mine");
        assert_eq!(w.json("list", &[]).task("T1")["waits_for"], "resolve");
        w.build(&[]).fails_with(4).ran(&[]);
        w.run(&["resolve", "o", side]).success();
        assert_eq!(w.read("o"), if side == "--mine" { "mine" } else { "1" });
        assert_eq!(w.why("T1").json()["recorded"]["approval"]["note"], "fine");
        w.build(&[]).success();
    }
}

#[test]
fn under_none_a_person_s_version_stays_while_the_result_waits() {
    let w = world("none");
    w.file("o", "mine").file("d/x", "mine");
    w.build(&["T1"]).fails_with(5);
    assert_eq!((w.read("o"), w.read("d/x")), ("mine".to_owned(), "mine".to_owned()));
    assert_eq!(w.conflicts(), [""; 0]);
    w.run(&["reject", "T1"]).success();
    assert_eq!((w.read("o"), w.read("d/x")), ("mine".to_owned(), "mine".to_owned()));
}

#[test]
fn edits_wait_for_approval_like_outputs() {
    let w = World::new(
        "tasks: { E: { isolation: sandbox, approve: true, inputs: [], edits: [src/*], run: 'echo more >> src/a; rm src/b; echo new > src/c' } }",
    );
    w.file("src/a", "1\n").file("src/b", "2\n");
    w.build(&[]).fails_with(5);
    assert_eq!((w.read("src/a"), w.read("src/b"), w.has("src/c")), ("1\n".into(), "2\n".into(), false));
    w.file(".conductor/pending/E/src/c", "tampered").run(&["approve", "E"]).fails_with(4);
    w.file(".conductor/pending/E/src/c", "new\n").run(&["approve", "E"]).success().says("src/a");
    assert_eq!(
        (w.read("src/a"), w.has("src/b"), w.read("src/c")),
        ("1\nmore\n".into(), false, "new\n".into())
    );
    w.build(&[]).runs_nothing();
    w.run(&["rollback", "E"]).success();
    assert_eq!((w.read("src/a"), w.read("src/b"), w.has("src/c")), ("1\n".into(), "2\n".into(), false));
}

#[test]
fn paused_beats_stale_and_failures_beat_paused() {
    let w = World::new(
        "
tasks:
  P: { approve: true, inputs: [], outputs: [p], run: touch p }
  S: { inputs: [s], outputs: [t], run: 'cp s t; echo x >> s' }
  F: { inputs: [f], outputs: [g], run: 'cp f g; ! grep -q bad f' }
  C: { isolation: sandbox, inputs: [], outputs: [c], run: touch c }
",
    );
    w.file("s", "1").file("f", "bad");
    w.build(&["P", "S"]).fails_with(5);
    w.build(&["-k", "P", "S", "F"]).fails_with(1);
    w.file("c", "mine").build(&["-k"]).fails_with(4);
}

#[test]
fn an_edit_in_mid_run_leaves_nothing_to_approve_in_the_tree() {
    let w =
        World::new("tasks: { T1: { approve: true, inputs: [a], outputs: [o], run: 'cp a o; echo x >> a' } }");
    w.file("a", "1");
    let run = w.build(&[]);
    run.says("a changed while it ran");
    assert!([1, 3].contains(&run.code), "{run}");
    assert!(!w.has("o") && !w.has(".conductor/pending"));
}
