//! A person's version at an output of a task that runs apart: it is not overwritten, and `resolve` settles it.

use crate::support::{Run, World};

/// `T1` copies `a` to `o` in a sandbox, and counts how often it ran.
fn world(check: &str) -> World {
    let w = World::new(&format!(
        "
tasks:
  T1: {{ isolation: sandbox, inputs: [a], outputs: [o], run: 'cp a o; date +%N >> /dev/stderr'{check} }}
  T2: {{ isolation: sandbox, inputs: [o], outputs: [p], run: cp o p }}
"
    ));
    w.file("a", "1");
    w
}

#[track_caller]
fn kept(w: &World, run: &Run, path: &str) -> String {
    w.read(format!(".conductor/conflicts/{}/{path}", run.json()["run"].as_str().unwrap()))
}

/// Built, then edited by a person, and built into the conflict.
fn in_conflict(check: &str) -> World {
    let w = world(check);
    w.build(&[]).success();
    w.file("o", "mine").file("a", "2");
    let run = w.build(&[]);
    run.fails_with(4)
        .failed(&["T1"])
        .skipped(&["T2"])
        .says("o is not what conductor made")
        .says("resolve o --theirs");
    assert_eq!(run.json()["result"], "failed");
    assert_eq!((w.read("o"), kept(&w, &run, "o")), ("mine".to_owned(), "2".to_owned()));
    w
}

#[test]
fn a_person_s_version_is_not_overwritten_and_the_new_one_is_made_once() {
    let w = in_conflict("");
    let again = w.build(&[]);
    again.fails_with(4).ran(&[]);
    assert_eq!(w.read("o"), "mine");
    assert_eq!(w.check(&[]).fails_with(3).state("T1"), "stale");
    w.remove("o");
    let run = w.build(&[]);
    run.success().are("cached", &["T1"]).ran(&["T2"]);
    assert_eq!((w.read("o"), w.read("p")), ("2".to_owned(), "2".to_owned()));
    assert!(!w.has(".conductor/pending"));
    w.build(&[]).runs_nothing();
}

#[test]
fn a_file_that_conductor_never_made_stands_in_the_way_too() {
    let w = world("");
    w.file("o", "was here before");
    let run = w.build(&[]);
    run.fails_with(4);
    assert_eq!((w.read("o"), kept(&w, &run, "o")), ("was here before".to_owned(), "1".to_owned()));
    w.run(&["resolve", "o", "--theirs"]).success().says(".conductor/conflicts/");
    assert_eq!(w.read("o"), "1");
    assert_eq!(w.conflicts(), ["o", "o"]);
    w.build(&[]).success().ran(&["T2"]);
}

#[test]
fn what_equals_the_result_or_what_git_has_at_first_is_no_conflict() {
    let w = world("");
    w.file("o", "1").build(&[]).success();
    let w = world("");
    w.git(&["init", "-q"]).file("o", "old").git(&["add", "o"]).git(&["commit", "-qm", "x"]);
    w.build(&[]).success().never_says("conflicts");
    assert_eq!(w.read("o"), "1");
}

#[test]
fn theirs_puts_the_new_result_there_without_running() {
    let w = in_conflict("");
    let run = w.json("resolve", &["o", "--theirs"]);
    run.success();
    let told = run.json();
    assert_eq!(
        (&told["decision"], &told["changed"][0], &told["version"]),
        (&"resolved".into(), &"o".into(), &1.into())
    );
    assert_eq!(w.read("o"), "2");
    assert!(w.conflicts().iter().any(|path| path == "o"));
    assert_eq!(w.read(format!(".conductor/conflicts/{}/o", told["run"].as_str().unwrap())), "mine");
    w.build(&[]).success().ran(&["T2"]);
    w.build(&[]).runs_nothing();
}

#[test]
fn mine_makes_the_person_s_version_the_result() {
    let w = in_conflict("");
    w.run(&["resolve", "o", "--mine"]).success();
    assert_eq!(w.read("o"), "mine");
    w.build(&[]).success().ran(&["T2"]);
    assert_eq!(w.read("p"), "mine");
    w.build(&[]).runs_nothing();
    w.file("a", "3").build(&[]).success().ran(&["T1", "T2"]);
    assert_eq!(w.read("o"), "3");
}

#[test]
fn mine_is_refused_by_the_checks_and_changes_nothing() {
    let w = in_conflict(", validate: [ { run: '! grep -q mine o' } ]");
    let run = w.json("resolve", &["o", "--mine"]);
    run.fails_with(1);
    assert_eq!(run.diagnostics()[0]["code"], "resolve::checks");
    assert_eq!(w.read("o"), "mine");
    w.build(&[]).fails_with(4).ran(&[]);
    w.run(&["resolve", "o", "--theirs"]).success();
    assert_eq!(w.read("o"), "2");
}

#[test]
fn what_is_not_in_conflict_is_a_usage_error() {
    let w = world("");
    w.build(&[]).success();
    for side in ["--mine", "--theirs", "--replay"] {
        let run = w.json("resolve", &["o", side]);
        run.fails_with(2);
        assert_eq!(run.diagnostics()[0]["code"], "resolve::nothing");
    }
    w.run(&["resolve", "nowhere", "--mine"]).fails_with(2);
    w.run(&["resolve", "/etc/passwd", "--mine"]).fails_with(2).says("inside the workspace");
    w.run(&["resolve", "../x", "--mine"]).fails_with(2);
    w.run(&["resolve", "o"]).fails_with(2);
    w.run(&["resolve", "o", "--mine", "--theirs"]).fails_with(2);
    let w = in_conflict("");
    w.run(&["resolve", "o", "--replay"]).fails_with(2).says("--mine");
    assert_eq!(w.read("o"), "mine");
}

#[test]
fn an_input_that_changed_since_makes_the_waiting_result_stale() {
    let w = in_conflict("");
    w.file("a", "3");
    w.run(&["resolve", "o", "--theirs"]).fails_with(3);
    assert_eq!(w.read("o"), "mine");
    let run = w.build(&[]);
    run.fails_with(4);
    assert_eq!(kept(&w, &run, "o"), "3");
}

#[test]
fn paths_are_as_seen_from_where_the_person_stands() {
    let w = World::new("tasks: { T1: { isolation: sandbox, inputs: [a], outputs: [d/o], run: cp a d/o } }");
    w.file("a", "1").file("d/o", "mine").build(&[]).fails_with(4);
    w.run_in("d", &["resolve", "o", "--theirs"]).success();
    assert_eq!(w.read("d/o"), "1");
}

const FOLDER: &str = "tasks: { T1: { isolation: sandbox, inputs: [a], outputs: [d/, o], run: 'cp a o; cp a d/x; cp a d/y; ! grep -q few a || rm d/y' } }";

#[test]
fn each_of_several_paths_is_settled_by_itself() {
    let w = World::new(FOLDER);
    w.file("a", "1").build(&[]).success();
    w.file("a", "2").file("d/x", "mine x").file("o", "mine o").file("d/free", "stays");
    let run = w.build(&[]);
    run.fails_with(4).says("d/x is not what").says("o is not what");
    assert_eq!(w.read("d/y"), "1", "all or nothing");
    w.run(&["resolve", "d/x", "--mine"]).success();
    w.run(&["resolve", "d/x", "--mine"]).fails_with(2);
    assert_eq!(w.read("d/y"), "1");
    w.build(&[]).fails_with(4).ran(&[]).says("o");
    w.run(&["resolve", "o", "--theirs"]).success();
    assert_eq!((w.read("d/x"), w.read("d/y"), w.read("o")), ("mine x".into(), "2".into(), "2".into()));
    assert_eq!(w.read("d/free"), "stays");
    w.build(&[]).runs_nothing();
}

#[test]
fn an_old_output_that_a_person_edited_and_the_new_result_has_not_is_kept_or_goes_as_they_say() {
    for side in ["--mine", "--theirs"] {
        let w = World::new(FOLDER);
        w.file("a", "1").build(&[]).success();
        w.file("a", "few").file("d/y", "mine").build(&[]).fails_with(4).says("d/y");
        w.run(&["resolve", "d/y", side]).success();
        assert_eq!(w.read("d/x"), "few");
        assert_eq!(w.has("d/y"), side == "--mine", "{side}");
        w.build(&[]).runs_nothing();
    }
}

#[test]
fn a_folder_of_a_person_where_a_file_is_to_be_stays() {
    let w = world("");
    w.file("o/deep/precious", "mine");
    w.build(&["T1"]).fails_with(4);
    assert_eq!(w.read("o/deep/precious"), "mine");
    w.run(&["resolve", "o", "--mine"]).fails_with(2);
    w.run(&["resolve", "o", "--theirs"]).success();
    assert_eq!(w.read("o"), "1");
    assert!(w.conflicts().contains(&"o/deep/precious".to_owned()));
    w.build(&["T1"]).runs_nothing();
    let w = World::new(FOLDER);
    w.file("a", "1").file("o/precious", "mine").build(&[]).fails_with(4);
    assert!(!w.has("d/x"), "all or nothing");
    w.remove("o").build(&[]).success().are("cached", &["T1"]);
    assert_eq!((w.read("d/x"), w.read("o")), ("1".to_owned(), "1".to_owned()));
    let w = world("");
    w.folder("o").build(&[]).success();
    assert_eq!(w.read("o"), "1", "an empty folder has nothing to lose");
}

#[test]
fn a_file_of_a_person_where_an_output_folder_is_to_be_stays() {
    let w = World::new(FOLDER);
    w.file("a", "1").file("d", "mine");
    let run = w.build(&[]);
    run.fails_with(4);
    assert_eq!((w.read("d"), kept(&w, &run, "d/x")), ("mine".to_owned(), "1".to_owned()));
    w.run(&["resolve", "d", "--mine"]).fails_with(2);
    assert_eq!(w.read("d"), "mine");
    w.run(&["resolve", "d", "--theirs"]).success();
    assert_eq!(w.read("d/x"), "1");
}

#[test]
fn a_waiting_result_whose_files_are_damaged_is_made_anew() {
    let w = in_conflict("");
    w.file(".conductor/pending/T1/o", "tampered");
    w.run(&["resolve", "o", "--theirs"]).fails_with(4);
    assert_eq!(w.read("o"), "mine");
    w.remove("o").build(&[]).success().ran(&["T1", "T2"]);
    assert_eq!(w.read("o"), "2");
}

#[test]
fn resolve_serves_the_tree_too_where_an_output_was_edited() {
    let w = World::new(
        "tasks: { T1: { inputs: [a], outputs: [o], run: cp a o, validate: [ { run: '! grep -q bad o' } ] } }",
    );
    w.file("a", "1").build(&[]).success();
    w.file("o", "bad").run(&["resolve", "o", "--mine"]).fails_with(1);
    w.check(&[]).fails_with(3);
    w.file("o", "mine").run(&["resolve", "o", "--mine"]).success();
    w.build(&[]).runs_nothing();
    assert_eq!(w.read("o"), "mine");
}

#[test]
fn resolve_theirs_brings_back_a_recorded_output_whose_bytes_are_kept_or_says_that_they_are_not() {
    let w = World::new("tasks: { T1: { inputs: [a], outputs: [o], run: cp a o } }");
    w.file("a", "1").build(&[]).success();
    w.file("a", "2").build(&[]).success();
    w.file("a", "1").build(&[]).success();
    w.file("o", "mine").run(&["resolve", "o", "--theirs"]).success();
    assert_eq!((w.read("o"), w.conflicts()), ("1".to_owned(), vec!["o".to_owned()]));
    w.build(&[]).runs_nothing();
    w.file("a", "9").build(&[]).success();
    w.file("o", "mine")
        .run(&["resolve", "o", "--theirs"])
        .fails_with(1)
        .says("was not kept")
        .says("conductor build T1");
    assert_eq!(w.read("o"), "mine");
}

#[test]
fn an_edit_of_an_output_that_comes_while_the_task_runs_is_no_less_a_person_s() {
    let signal = tempfile::tempdir().unwrap();
    let go = signal.path().join("go");
    let w = World::new(&format!(
        "tasks: {{ T1: {{ isolation: sandbox, inputs: [a], outputs: [o], run: 'cp a o; echo started; while [ ! -e {} ]; do sleep 0.02; done' }} }}",
        go.display()
    ));
    std::fs::write(&go, "").unwrap();
    w.file("a", "1").build(&[]).success();
    std::fs::remove_file(&go).unwrap();
    w.file("a", "2");
    let build = w.start(&[]);
    crate::support::wait_until("T1 runs", || w.run(&["log", "T1"]).stdout.contains("started"));
    w.file("o", "mine");
    std::fs::write(&go, "").unwrap();
    let run = build.wait();
    run.fails_with(4);
    assert_eq!((w.read("o"), kept(&w, &run, "o")), ("mine".to_owned(), "2".to_owned()));
}
