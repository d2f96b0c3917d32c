//! Checks: `validate`, `require`, their own keys, and what a refusal means. "check" here is a check of a task, not
//! the command.

use crate::support::World;

fn manifest(validate: &str) -> String {
    format!(
        "
tasks:
  T1: {{ inputs: [a], outputs: [o], run: 'cp a o; echo x >> runs', validate: [{validate}] }}
  T2: {{ inputs: [o], outputs: [p], run: cp o p }}
"
    )
}

fn world(validate: &str) -> World {
    let w = World::new(&manifest(validate));
    w.file("a", "hello\n");
    w
}

/// How often T1's command ran.
fn runs(w: &World) -> usize {
    w.read("runs").lines().count()
}

#[test]
fn each_kind_of_check_accepts_and_refuses() {
    for (good, bad) in [
        ("{ non_empty: o }", "{ non_empty: missing }"),
        ("{ matches: { path: o, regex: \"^hel+o$\" } }", "{ matches: { path: o, regex: \"^goodbye\" } }"),
        ("{ run: grep -q hello o }", "{ run: grep -q goodbye o }"),
        ("{ run: [grep, -q, hello, o] }", "{ run: [grep, -q, goodbye, o] }"),
    ] {
        world(good).build(&[]).success().ran(&["T1", "T2"]);
        let w = world(bad);
        let run = w.build(&[]);
        run.fails_with(1).failed(&["T1"]).skipped(&["T2"]);
        assert!(!w.has("o"), "a refused result stands");
        w.check(&[]).fails_with(3);
    }
}

#[test]
fn an_empty_output_is_not_non_empty() {
    let w = World::new(
        "tasks: { T1: { inputs: [], outputs: [o, d/], run: touch o, validate: [{ non_empty: o }] } }",
    );
    w.build(&[]).fails_with(1);
    w.manifest("tasks: { T1: { inputs: [], outputs: [o, d/], run: touch o, validate: [{ non_empty: d }] } }");
    w.build(&[]).fails_with(1);
    w.manifest(
        "tasks: { T1: { inputs: [], outputs: [o, d/], run: touch o d/x, validate: [{ non_empty: d }] } }",
    );
    w.build(&[]).success();
}

#[test]
fn a_refusal_names_the_check_and_what_it_said() {
    let w = world("{ run: 'echo the reason >&2; exit 3' }");
    w.run(&["build"]).fails_with(1).says("T1").says("the reason").says("exit 3");
}

#[test]
fn a_changed_check_runs_alone() {
    let w = world("{ non_empty: o }");
    w.build(&[]).success();
    w.manifest(&manifest("{ non_empty: o }, { run: grep -q hello o }"));
    let check = w.check(&[]);
    check.fails_with(3).reason("T1", "validation_changed");
    let run = w.build(&[]);
    run.success().ran(&[]).fresh(&["T1", "T2"]).checked_again(&["T1"]);
    assert_eq!(run.task("T1")["validated"], true);
    assert_eq!(run.task("T1")["status"], "fresh");
    assert_eq!(run.kinds("T1"), ["validation_changed"]);
    assert_eq!(runs(&w), 1);
    w.build(&[]).runs_nothing();
}

#[test]
fn a_changed_input_of_a_check_runs_the_check_alone() {
    let w = world("{ run: grep -q -f words o, inputs: [words] }");
    w.file("words", "hello\n").build(&[]).success();
    w.file("words", "hell\n");
    let check = w.check(&[]);
    assert_eq!(check.reason("T1", "validation_changed")["path"], "words");
    w.build(&[]).success().ran(&[]).checked_again(&["T1"]);
    w.build(&[]).runs_nothing();
    assert_eq!(runs(&w), 1);
}

#[test]
fn a_removed_check_and_a_check_taken_back() {
    let w = world("{ non_empty: o }");
    w.build(&[]).success();
    w.manifest(&manifest(""));
    w.build(&[]).success().ran(&[]);
    w.build(&[]).runs_nothing();
    assert_eq!(runs(&w), 1);
}

#[test]
fn a_changed_check_that_refuses_runs_the_task_again() {
    let w = world("{ non_empty: o }");
    w.build(&[]).success();
    w.manifest(&manifest("{ run: test -e flag }"));
    let run = w.build(&[]);
    run.fails_with(1).failed(&["T1"]).skipped(&["T2"]);
    assert_eq!(runs(&w), 2);
    assert_eq!(w.read("o"), "hello\n", "the last good outputs are back");
    w.file("flag", "");
    let run = w.build(&[]);
    run.success();
    w.build(&[]).runs_nothing();
}

#[test]
fn a_changed_check_that_refuses_and_then_accepts_what_the_task_makes_anew() {
    let w = World::new("tasks: { T1: { always: false, inputs: [], outputs: [o], run: cat now > o } }");
    w.file("now", "old").build(&[]).success();
    w.file("now", "new");
    w.manifest(
        "tasks: { T1: { inputs: [], outputs: [o], run: cat now > o, validate: [{ run: grep -q new o }] } }",
    );
    let run = w.build(&[]);
    run.success().ran(&["T1"]);
    assert_eq!(run.kinds("T1"), ["validation_failed"], "{run}");
    assert_eq!(w.read("o"), "new");
    w.build(&[]).runs_nothing();
}

#[test]
fn a_check_that_could_not_start_fails_the_build_and_never_reruns_the_task() {
    for broken in ["{ run: no-such-program }", "{ run: [no-such-program] }", "{ run: 'touch f; ./f' }"] {
        let w = world("{ non_empty: o }");
        w.build(&[]).success();
        w.manifest(&manifest(broken));
        w.build(&[]).fails_with(1).failed(&["T1"]);
        w.build(&[]).fails_with(1).failed(&["T1"]);
        assert_eq!(runs(&w), 1, "{broken}");
        assert_eq!(w.read("o"), "hello\n");
        w.manifest(&manifest("{ non_empty: o }"));
        w.build(&[]).success().ran(&[]);
        assert_eq!(runs(&w), 1);
    }
}

#[test]
fn a_first_result_whose_check_could_not_start_is_checked_later_and_not_made_again() {
    let w = world("{ run: no-such-program }");
    w.build(&[]).fails_with(1).failed(&["T1"]).skipped(&["T2"]);
    w.check(&[]).fails_with(3);
    w.manifest(&manifest("{ run: grep -q hello o }"));
    w.build(&[]).success().ran(&["T2"]).checked_again(&["T1"]);
    assert_eq!(runs(&w), 1);
}

#[test]
fn a_check_has_a_timeout_too() {
    let w = World::new(
        "tasks: { T1: { inputs: [], outputs: [o], run: touch o, timeout: 1s, validate: [{ run: sleep 100 }] } }",
    );
    w.run(&["build"]).fails_with(1).says("sleep 100");
}

#[test]
fn a_check_that_changes_the_outputs_is_refused() {
    let w = world("{ run: echo more >> o }");
    w.run(&["build"]).fails_with(1).says("o changed while its checks ran");
}

#[test]
fn a_check_that_merely_touches_the_outputs_is_fine() {
    let w = world("{ run: touch o }");
    w.build(&[]).success();
    w.build(&[]).runs_nothing();
}

#[test]
fn checks_run_in_order_and_stop_at_the_first_refusal() {
    let w = world("{ run: echo 1 >> trace }, { run: 'echo 2 >> trace; false' }, { run: echo 3 >> trace }");
    w.build(&[]).fails_with(1);
    assert_eq!(w.read("trace"), "1\n2\n");
}

#[test]
fn checks_run_again_after_a_run_that_made_the_same_bytes() {
    let w = World::new(
        "tasks: { T1: { inputs: [a], outputs: [o], run: head -n 1 a > o, validate: [{ run: echo x >> trace }] } }",
    );
    w.file("a", "1\n2\n").build(&[]).success();
    w.file("a", "1\n3\n").build(&[]).success().ran(&["T1"]);
    assert_eq!(w.read("trace"), "x\nx\n", "a check may compare outputs with inputs");
}

#[test]
fn an_edited_output_is_not_merely_checked() {
    let w = world("{ non_empty: o }");
    w.build(&[]).success();
    w.file("o", "edited\n").manifest(&manifest("{ run: 'true' }"));
    w.build(&[]).success().ran(&["T1"]);
    assert_eq!(w.read("o"), "hello\n");
}

#[test]
fn the_input_of_a_check_makes_an_edge() {
    let w = World::new(
        "
tasks:
  T1: { inputs: [], outputs: [o], run: touch o, validate: [{ run: test -s words, inputs: [words] }] }
  T2: { inputs: [a], outputs: [words], run: cp a words }
",
    );
    w.file("a", "1").build(&["T1"]).success().ran(&["T1", "T2"]);
    w.file("a", "2").build(&["T1"]).success().ran(&["T2"]).checked_again(&["T1"]);
}

#[test]
fn a_requirement_is_checked_before_the_task_starts() {
    let manifest =
        "tasks: { T1: { inputs: [], outputs: [o], run: touch o, require: [{ run: test -e ready }] } }";
    let w = World::new(manifest);
    let run = w.run(&["build"]);
    run.fails_with(1).says("test -e ready");
    assert!(!w.has("o"));
    w.file("ready", "").build(&[]).success().ran(&["T1"]);
    w.remove("ready").build(&[]).runs_nothing();
}

#[test]
fn a_check_sees_the_tasks_environment_and_folder() {
    let w = World::new(
        "
tasks:
  T1:
    dir: sub
    env: { NAME: value }
    inputs: []
    outputs: [sub/o]
    run: touch o
    validate: [{ run: 'test $NAME = value && test -e o && test $CONDUCTOR_TASK = T1' }]
",
    );
    w.folder("sub").build(&[]).success();
}

#[test]
fn a_refused_result_is_tried_again_with_retries() {
    let w = World::new(
        "tasks: { T1: { retries: { max: 2, backoff: 1ms }, inputs: [], outputs: [o], run: 'echo x >> runs; cp runs o', validate: [{ run: test $(wc -l < o) = 3 }] } }",
    );
    w.build(&[]).success().ran(&["T1"]);
    assert_eq!(runs(&w), 3);
}
