//! Failures: exit codes, what is skipped, what is kept, and what comes back.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use crate::support::World;

#[test]
fn a_failure_skips_its_dependents_and_names_itself() {
    let w = World::new(
        "
tasks:
  T1: { inputs: [], outputs: [one], run: echo to stderr >&2; exit 7 }
  T2: { inputs: [one], outputs: [two], run: cp one two }
  T3: { inputs: [two], outputs: [three], run: cp two three }
",
    );
    let run = w.build(&[]);
    run.fails_with(1).failed(&["T1"]).skipped(&["T2", "T3"]);
    let document = run.json();
    assert_eq!(document["result"], "failed");
    assert_eq!(document["summary"]["failed"], 1);
    assert_eq!(document["summary"]["skipped"], 2);
    let run = w.run(&["build"]);
    run.fails_with(1).says("T1").says("exit code 7").says("to stderr").says("conductor log T1");
}

#[test]
fn without_keep_going_nothing_new_starts_after_a_failure() {
    let w = World::new(
        "
tasks:
  bad: { inputs: [], run: exit 1, effort: 4h }
  good: { inputs: [], outputs: [good], run: touch good, effort: 1m }
",
    );
    w.build(&["-j", "1"]).fails_with(1).failed(&["bad"]).skipped(&["good"]);
    assert!(!w.has("good"));
}

#[test]
fn keep_going_builds_everything_that_does_not_depend_on_the_failure() {
    let w = World::new(
        "
tasks:
  bad: { inputs: [], outputs: [b], run: exit 1, effort: 4h }
  below: { inputs: [b], run: 'true' }
  good: { inputs: [], outputs: [good], run: touch good }
  better: { inputs: [good], outputs: [better], run: touch better }
",
    );
    for flag in ["-k", "--keep-going"] {
        w.build(&["-j", "1", flag]).fails_with(1).failed(&["bad"]).skipped(&["below"]);
    }
    assert!(w.has("good") && w.has("better"));
}

#[test]
fn the_summary_adds_up_to_the_tasks_in_scope() {
    let w = World::new(
        "
tasks:
  fresh: { inputs: [], outputs: [f], run: touch f }
  bad: { inputs: [], outputs: [b], run: exit 1 }
  below: { inputs: [b], run: 'true' }
  good: { inputs: [], run: 'true' }
  outside: { inputs: [], run: 'true' }
",
    );
    w.build(&["fresh"]).success();
    let run = w.build(&["-k", "fresh", "bad", "below", "good"]);
    let document = run.fails_with(1).json();
    let sum: u64 = document["summary"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
    assert_eq!(sum, 4, "{run}");
    assert_eq!(document["tasks"].as_object().unwrap().len(), 4);
    run.fresh(&["fresh"]).ran(&["good"]).failed(&["bad"]).skipped(&["below"]);
}

#[test]
fn a_failed_task_leaves_the_last_good_outputs() {
    let w = World::new(
        "tasks: { T1: { inputs: [a], outputs: [o, d/], run: cp a o; cp a d/x; test $(cat a) = good } }",
    );
    w.file("a", "good").build(&[]).success();
    w.file("a", "bad");
    w.build(&[]).fails_with(1).failed(&["T1"]);
    assert_eq!((w.read("o"), w.read("d/x")), ("good".to_owned(), "good".to_owned()));
    w.file("a", "good");
    w.build(&[]).success();
    assert_eq!(w.read("o"), "good");
}

#[test]
fn a_failed_first_run_leaves_no_outputs() {
    let w =
        World::new("tasks: { T1: { inputs: [], outputs: [o, deep/er/x], run: touch o deep/er/x; exit 1 } }");
    w.build(&[]).fails_with(1);
    assert!(!w.has("o") && !w.has("deep/er/x"));
}

#[test]
fn what_a_failed_task_made_is_kept_for_a_look() {
    let w = World::new("tasks: { T1: { inputs: [], outputs: [o], run: echo half > o; exit 1 } }");
    let run = w.run(&["build"]);
    run.fails_with(1).says("what it made is kept in .conductor/runs/");
    let kept = run.stdout.split("kept in ").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    assert_eq!(w.read(format!("{kept}/o")), "half\n");
}

#[test]
fn a_declared_output_that_was_not_made_fails_the_task() {
    let w = World::new("tasks: { T1: { inputs: [], outputs: [o, p], run: touch o } }");
    w.run(&["build"]).fails_with(1).says("p").says("did not make");
    w.check(&[]).fails_with(3);
}

#[test]
fn an_output_of_an_earlier_run_does_not_pass_for_one_of_this_run() {
    let w =
        World::new("tasks: { T1: { inputs: [a], outputs: [o], run: if grep -q good a; then cp a o; fi } }");
    w.file("a", "good").build(&[]).success();
    w.file("a", "bad");
    w.run(&["build"]).fails_with(1).says("did not make o");
    assert_eq!(w.read("o"), "good");
}

#[test]
fn a_folder_that_was_declared_and_a_file_made_is_a_failure() {
    let w = World::new("tasks: { T1: { inputs: [], outputs: [o/], run: rmdir o; echo x > o } }");
    w.run(&["build"]).fails_with(1).says("folder");
}

#[test]
fn a_pipe_cannot_be_an_output() {
    let w = World::new("tasks: { T1: { inputs: [], outputs: [o], run: mkfifo o } }");
    w.run(&["build"]).fails_with(1).says("cannot be an output");
}

#[test]
fn a_missing_program_in_an_argv_fails_the_task() {
    let w = World::new("tasks: { T1: { inputs: [], run: [no-such-program, x] } }");
    w.run(&["build"]).fails_with(1).says("no-such-program");
}

#[test]
fn why_a_program_cannot_be_started_is_told() {
    let interpreted =
        ("tool", "#!/no/such/interpreter\n", 0o755, "its interpreter /no/such/interpreter is not there");
    let plain = ("tool", "#!/bin/sh\n", 0o644, "Permission denied");
    let gone = ("gone", "#!/bin/sh\n", 0o755, "cannot find the program");
    for isolation in ["none", "sandbox"] {
        for (name, text, mode, why) in [interpreted, plain, gone] {
            let w = World::new(&format!(
                "tasks: {{ T1: {{ isolation: {isolation}, inputs: [tool], run: [./{name}] }} }}"
            ));
            w.file("tool", text);
            std::fs::set_permissions(w.path("tool"), Permissions::from_mode(mode)).unwrap();
            w.run(&["build"]).fails_with(1).says(&format!("/{name}")).says(why).never_says("/./");
        }
    }
}

#[test]
fn a_missing_program_in_a_shell_fails_the_task() {
    let w = World::new("tasks: { T1: { inputs: [], run: no-such-program } }");
    w.run(&["build"]).fails_with(1).says("127");
}

#[test]
fn a_shell_stops_at_the_first_failing_line_and_at_an_unset_variable() {
    let w = World::new("tasks: { T1: { inputs: [], outputs: [o], run: \"false\\ntouch o\" } }");
    w.build(&[]).fails_with(1);
    let w = World::new("tasks: { T1: { inputs: [], outputs: [o], run: \"touch o$NOT_SET_ANYWHERE\" } }");
    w.build(&[]).fails_with(1);
}

#[test]
fn a_task_killed_by_a_signal_fails() {
    let w = World::new("tasks: { T1: { inputs: [], run: kill -9 $$ } }");
    w.run(&["build"]).fails_with(1).says("signal 9");
}

#[test]
fn an_incremental_task_finds_its_outputs_and_keeps_them() {
    let w = World::new(
        "tasks: { T1: { incremental: true, inputs: [a], outputs: [log], run: cat a >> log; ! grep -q bad a } }",
    );
    w.file("a", "1\n").build(&[]).success();
    w.file("a", "2\n").build(&[]).success();
    assert_eq!(w.read("log"), "1\n2\n");
    w.build(&[]).runs_nothing();
    w.file("a", "bad\n").build(&[]).fails_with(1);
    assert!(w.read("log").starts_with("1\n2\n"));
}

#[test]
fn without_incremental_a_task_does_not_find_its_old_outputs() {
    let w = World::new(
        "tasks: { T1: { inputs: [a], outputs: [log, d/], run: cat a >> log; cat a >> d/$(cat a) } }",
    );
    w.file("a", "1").build(&[]).success();
    w.file("a", "2").build(&[]).success();
    assert_eq!(w.read("log"), "2");
    assert!(w.has("d/2") && !w.has("d/1"));
}

#[test]
fn of_a_failure_and_an_edit_in_mid_run_the_failure_counts() {
    let w = World::new(
        "
tasks:
  edited: { inputs: [a], outputs: [o], run: cp a o; echo 2 > a }
  bad: { inputs: [], run: exit 1 }
",
    );
    w.file("a", "1");
    w.build(&["-k"]).fails_with(1).ran(&["edited"]).failed(&["bad"]);
}

#[test]
fn a_grandchild_that_holds_the_output_open_does_not_hang_the_build_and_does_not_survive_it() {
    let w = World::new("tasks: { T1: { inputs: [], outputs: [pid], run: sleep 1000 & echo $! > pid } }");
    w.build(&[]).success().ran(&["T1"]);
    assert!(!crate::support::is_alive(&w.read("pid")));
}

#[test]
fn a_daemon_that_left_its_group_does_not_survive_its_task() {
    let w = World::new(
        "tasks: { T1: { inputs: [], outputs: [pid], run: \"setsid sh -c 'echo $$ > pid; exec sleep 1000' & while [ ! -s pid ]; do sleep 0.01; done\" } }",
    );
    w.build(&[]).success();
    assert!(!crate::support::is_alive(&w.read("pid")));
}
