//! A build seen and stopped from elsewhere: signals, `list`, `log -f`, `cancel`, the lock, kill -9.

use rustix::process::Signal;

use crate::support::{WAIT, World, is_alive, wait_until};

/// T1 done, T2 waits for the file `go`, T3 after it.
fn waiting() -> World {
    World::new(&format!(
        "
tasks:
  T1: {{ inputs: [], outputs: [one], run: echo 1 > one }}
  T2: {{ inputs: [one], outputs: [two], run: 'echo $$ > pid; sleep 1000 & echo $! > child; echo hello; {WAIT}; cp one two; kill $(cat child)' }}
  T3: {{ inputs: [two], outputs: [three], run: cp two three }}
"
    ))
}

fn goes_on(w: &World) {
    for pid in ["pid", "child"] {
        wait_until("what the task started is gone", || !is_alive(&w.read(pid)));
    }
    w.file("go", "");
    w.build(&[]).success().ran(&["T2", "T3"]).fresh(&["T1"]);
    w.build(&[]).runs_nothing();
}

#[test]
fn a_signal_stops_everything_and_the_next_build_goes_on() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let w = waiting();
        let build = w.start(&[]);
        w.wait_for("started");
        build.signal(signal);
        let run = build.wait();
        run.fails_with(code).are("ran", &["T1"]).are("cancelled", &["T2", "T3"]);
        assert_eq!(run.json()["result"], "cancelled");
        assert!(!is_alive(&w.read("pid")) && !is_alive(&w.read("child")), "something is left running");
        goes_on(&w);
    }
}

#[test]
fn an_interrupted_task_leaves_the_last_good_outputs() {
    let w = World::new(&format!("tasks: {{ T1: {{ inputs: [a], outputs: [o], run: 'cp a o; {WAIT}' }} }}"));
    w.file("a", "1").file("go", "").build(&[]).success();
    w.remove("go").remove("started").file("a", "2");
    let build = w.start(&[]);
    w.wait_for("started");
    build.signal(Signal::INT);
    build.wait().fails_with(130);
    assert_eq!(w.read("o"), "1");
    w.file("go", "").build(&[]).success().ran(&["T1"]).never_says("conflicts");
    assert_eq!(w.read("o"), "2");
}

#[test]
fn a_task_that_ignores_the_first_signal_is_killed_at_the_second() {
    let w = World::new(
        "tasks: { T1: { inputs: [], run: 'trap \"\" TERM INT; echo $$ > pid; touch started; while :; do sleep 0.1; done' } }",
    );
    let mut build = w.start(&[]);
    w.wait_for("started");
    build.signal(Signal::INT);
    wait_until("it has heard the first", || {
        if !build.has_ended() {
            build.signal(Signal::INT);
        }
        build.has_ended()
    });
    build.wait().fails_with(130);
    assert!(!is_alive(&w.read("pid")));
}

#[test]
fn a_signal_outweighs_a_failure() {
    let w = World::new(&format!(
        "tasks: {{ bad: {{ inputs: [], run: exit 1 }}, T2: {{ after: [], inputs: [], run: '{WAIT}' }} }}"
    ));
    let build = w.start(&["-k", "-j", "2", "--events", "e"]);
    w.wait_for("started");
    wait_until("bad has failed", || w.has("e") && w.read("e").contains("\"status\":\"failed\""));
    build.signal(Signal::TERM);
    build.wait().fails_with(143).failed(&["bad"]).are("cancelled", &["T2"]);
}

#[test]
fn after_kill_9_the_next_build_ends_right_and_the_one_after_it_runs_nothing() {
    let w = waiting();
    w.file("two", "of a person");
    let build = w.start(&[]);
    w.wait_for("started");
    build.signal(Signal::KILL);
    assert_eq!(build.wait().code, -1);
    w.remove("started");
    w.file("go", "");
    let run = w.build(&[]);
    run.success();
    assert_eq!(w.read("three"), "1\n");
    for pid in ["pid", "child"] {
        assert!(!is_alive(&w.read(pid)), "a stray of the dead build still runs");
    }
    w.build(&[]).runs_nothing();
    let aside = w.path(".conductor/aside");
    assert!(!aside.exists() || std::fs::read_dir(aside).unwrap().next().is_none(), "something is left aside");
}

#[test]
fn after_kill_9_the_last_good_outputs_are_there_again_with_the_next_command_that_builds() {
    let w = World::new(&format!(
        "tasks: {{ T1: {{ inputs: [a], outputs: [o], run: 'echo half > o; {WAIT}; cp a o; ! grep -q bad a' }} }}"
    ));
    w.file("a", "1").file("go", "").build(&[]).success();
    w.remove("go").remove("started").file("a", "bad");
    let build = w.start(&[]);
    w.wait_for("started");
    build.signal(Signal::KILL);
    build.wait();
    w.file("go", "");
    w.build(&[]).fails_with(1);
    assert_eq!(w.read("o"), "1", "the last good output");
}

#[test]
fn list_shows_what_each_task_is_doing() {
    let w = waiting();
    let build = w.start(&[]);
    w.wait_for("started");
    let list = w.json("list", &[]);
    let document = list.success().json();
    assert!(list.state("T2").starts_with("running"), "{list}");
    assert!(list.state("T1").starts_with("ran"), "{list}");
    assert!(document["run"].is_string());
    w.run(&["list"]).success().says("running").says("is going on");
    w.file("go", "");
    build.wait().success();
    assert_eq!(w.json("list", &[]).state("T2"), "fresh");
}

#[test]
fn check_list_and_why_never_wait_for_a_build() {
    let w = waiting();
    let mut build = w.start(&[]);
    w.wait_for("started");
    w.check(&[]).fails_with(3);
    w.why("T3").success();
    w.json("list", &[]).success();
    w.json("graph", &[]).success();
    w.json("runs", &[]).success();
    assert!(!build.has_ended());
    w.file("go", "");
    build.wait().success();
}

#[test]
fn log_f_follows_a_task_to_its_end() {
    let w = waiting();
    let build = w.start(&[]);
    w.wait_for("started");
    let seen = std::fs::File::create(w.path("seen")).unwrap();
    let mut log = w.command(&["log", "-f", "T2"]).stdout(seen).spawn().unwrap();
    // It follows before the task may end, however slow this machine is.
    wait_until("what was printed so far", || w.read("seen") == "hello\n");
    w.file("go", "");
    assert!(log.wait().unwrap().success());
    assert_eq!(w.read("seen"), "hello\n");
    build.wait().success();
    w.run(&["log", "-f", "T2"]).fails_with(2);
}

#[test]
fn cancel_stops_the_build() {
    let w = waiting();
    let build = w.start(&[]);
    w.wait_for("started");
    w.run(&["cancel"]).success();
    let run = build.wait();
    run.fails_with(143).are("cancelled", &["T2", "T3"]);
    goes_on(&w);
    w.run(&["cancel"]).fails_with(2).says("no build runs");
}

#[test]
fn cancel_stops_one_task_and_what_depends_on_it() {
    let w = waiting();
    w.manifest(&format!("{}  T4: {{ inputs: [], outputs: [four], run: 'while [ ! -e go4 ]; do sleep 0.02; done; touch four' }}\n", w.read("conductor.yaml").replace("conductor: 1\n", "")));
    let build = w.start(&["-j", "3", "-k"]);
    w.wait_for("started");
    w.run(&["cancel", "T2"]).success();
    wait_until("T2 is gone", || !is_alive(&w.read("pid")));
    w.file("go4", "");
    let run = build.wait();
    assert_ne!(run.code, 0, "{run}");
    run.are("cancelled", &["T2"]).are("ran", &["T1", "T4"]);
    w.file("go", "").build(&[]).success().ran(&["T2", "T3"]).fresh(&["T1", "T4"]);
}

#[test]
fn a_task_that_waits_for_a_slot_can_be_cancelled_and_the_next_one_goes_on() {
    let w = World::new(
        "
tasks:
  T1: { effort: 3h, inputs: [], run: 'touch started; while [ ! -e go ]; do sleep 0.02; done' }
  T2: { effort: 2h, inputs: [], run: touch two }
  T3: { effort: 1h, inputs: [], run: touch three }
",
    );
    let build = w.start(&["-j", "1"]);
    w.wait_for("started");
    w.run(&["cancel", "T2"]).success();
    let requests = || {
        let runs = std::fs::read_dir(w.path(".conductor/runs")).unwrap().flatten();
        runs.flat_map(|run| std::fs::read_dir(run.path().join("cancel")).into_iter().flatten()).count()
    };
    wait_until("the request was read", || requests() == 0);
    wait_until("it is told at once", || w.run(&["list"]).stdout.contains("T2  cancelled"));
    w.file("go", "");
    let run = build.wait();
    assert_ne!(run.code, 0, "{run}");
    run.are("cancelled", &["T2"]).are("ran", &["T1", "T3"]);
    assert!(!w.path("two").exists());
    w.build(&[]).success().ran(&["T2"]).fresh(&["T1", "T3"]);
}

#[test]
fn a_second_build_says_who_holds_the_workspace_and_waits() {
    let w = waiting();
    let build = w.start(&[]);
    w.wait_for("started");
    let mut second = w.start(&["--events", "second"]);
    let third = w.run(&["build", "--no-wait"]);
    third.fails_with(1).says(&build.id().to_string());
    w.json("build", &["--no-wait"]).fails_with(1).diagnostics();
    w.run(&["clean"]).fails_with(1).says(&build.id().to_string());
    assert!(!second.has_ended());
    let id = build.id();
    w.file("go", "");
    build.wait().success();
    let run = second.wait();
    run.runs_nothing();
    assert!(
        run.stderr.is_empty() || run.stderr.contains(&id.to_string()) || run.stderr.contains("nothing to do")
    );
}

#[test]
fn a_build_that_waits_can_be_interrupted() {
    let w = waiting();
    let build = w.start(&[]);
    w.wait_for("started");
    let second = w.spawn(&["build"]);
    // It says that it waits only when it has installed its handlers.
    let running = build.id();
    wait_until("the second build polls the lock", || {
        std::fs::read_to_string(format!("/proc/{}/wchan", second.id()))
            .is_ok_and(|at| at.contains("nanosleep"))
            || std::fs::read_to_string(format!("/proc/{}/status", second.id()))
                .is_ok_and(|s| s.contains("State:\tS"))
    });
    second.signal(Signal::INT);
    let run = second.wait();
    assert!(run.code == 130 || run.code == -1, "{run}");
    assert!(is_alive(&running.to_string()), "the first build is not concerned");
    w.file("go", "");
    build.wait().success();
}

#[test]
fn a_build_that_waited_builds_what_is_there_by_then() {
    let w = waiting();
    let build = w.start(&[]);
    w.wait_for("started");
    let second = w.start(&["T1"]);
    wait_until("it waits", || {
        std::fs::read_to_string(format!("/proc/{}/status", second.id()))
            .is_ok_and(|s| s.contains("State:\tS"))
    });
    w.manifest("tasks: { T1: { inputs: [], outputs: [one], run: echo other > one } }");
    w.file("go", "");
    build.wait();
    let run = second.wait();
    assert!([0, 3].contains(&run.code), "{run}");
    w.build(&[]).success();
    assert_eq!(w.read("one"), "other\n");
}

#[test]
fn a_manifest_edited_in_mid_run_counts_for_the_next_build() {
    let w = waiting();
    let build = w.start(&[]);
    w.wait_for("started");
    w.manifest("tasks: { T1: { inputs: [], outputs: [one], run: echo other > one } }");
    w.file("go", "");
    build.wait().success();
    w.build(&[]).success().ran(&["T1"]);
    assert_eq!(w.read("one"), "other\n");
}
