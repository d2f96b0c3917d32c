//! Strange places and things: whatever it meets, conductor ends with a code and a cause, hangs nowhere and never
//! panics.

use crate::support::{Run, World};

const ONE: &str = "tasks: { T1: { inputs: [a], outputs: [o], run: cp a o } }";

#[test]
fn a_file_where_its_folder_should_be_is_told() {
    let w = World::new(ONE);
    w.file("a", "1").file(".conductor", "a file");
    let run = w.build(&[]);
    assert_ne!(run.code, 0);
    run.fails_with(run.code).says(".conductor").diagnostics();
    assert_eq!(w.read(".conductor"), "a file");
    w.check(&[]).fails_with(3);
}

#[test]
fn its_folder_may_be_a_link() {
    let w = World::new(ONE);
    w.file("a", "1").folder("elsewhere").link(".conductor", "elsewhere");
    w.build(&[]).success().ran(&["T1"]);
    w.build(&[]).runs_nothing();
}

#[test]
fn without_any_variable_it_still_works_or_says_why_not() {
    let mut w = World::new(ONE);
    w.file("a", "1");
    for name in ["PATH", "HOME", "LANG"] {
        w.unset_env(name);
    }
    let run = w.build(&[]);
    assert!([0, 1].contains(&run.code), "{run}");
    run.fails_with(run.code).json();
}

#[test]
fn a_pipe_among_the_inputs_hangs_nobody() {
    let w = World::new("tasks: { T1: { inputs: [\"in/*\", p], outputs: [o], run: ls in > o } }");
    w.folder("in");
    for pipe in ["in/pipe", "p"] {
        assert!(std::process::Command::new("mkfifo").arg(w.path(pipe)).status().unwrap().success());
    }
    w.check(&[]).fails_with(3);
    let run = w.build(&[]);
    assert!([0, 1, 2].contains(&run.code), "{run}");
    run.fails_with(run.code);
}

#[test]
fn outputs_that_leave_the_workspace_or_lie_in_the_folders_of_others_are_refused() {
    for path in ["../o", "/tmp/o", ".git/o", ".conductor/o", ".", "a/../../o"] {
        let w = World::new(&format!("tasks: {{ T1: {{ inputs: [], outputs: [\"{path}\"], run: 'true' }} }}"));
        w.json("validate", &[]).fails_with(2).diagnostics();
        w.build(&[]).fails_with(2);
    }
}

#[test]
fn a_linked_folder_on_the_way_to_an_output_is_gone_through_or_told() {
    let w = World::new("tasks: { T1: { inputs: [a], outputs: [l/o], run: cp a l/o } }");
    w.file("a", "1").folder("real").link("l", "real");
    let run = w.build(&[]);
    assert!([0, 1].contains(&run.code), "{run}");
    if run.code == 0 {
        w.build(&[]).runs_nothing();
        w.file("a", "2").build(&[]).success().ran(&["T1"]);
        assert_eq!(w.read("real/o"), "2");
        w.file("real/o", "by hand").check(&[]).fails_with(3);
    }
}

#[test]
fn a_task_may_remove_folders_of_its_outputs_and_fail() {
    let w = World::new(
        "tasks: { T1: { inputs: [a], outputs: [d/e/o], run: 'cp a d/e/o; if grep -q bad a; then rm -rf d; exit 1; fi' } }",
    );
    w.file("a", "good").build(&[]).success();
    w.file("a", "bad").build(&[]).fails_with(1);
    assert_eq!(w.read("d/e/o"), "good");
}

#[test]
fn a_task_that_fails_after_it_put_a_file_where_its_folder_was_leaves_the_folder() {
    let w = World::new(
        "tasks: { T1: { inputs: [a], outputs: [d/], run: 'cp a d/x; if grep -q bad a; then rm -rf d; echo > d; exit 1; fi' } }",
    );
    w.file("a", "good").build(&[]).success();
    w.file("a", "bad").build(&[]).fails_with(1);
    assert_eq!(w.read("d/x"), "good");
    w.file("a", "fine").build(&[]).success();
    assert_eq!(w.read("d/x"), "fine");
}

#[test]
fn a_task_may_leave_read_only_outputs_and_make_them_again() {
    let w = World::new(
        "tasks: { T1: { inputs: [a], outputs: [o, d/], run: 'cp a o; cp a d/x; chmod 444 o d/x; chmod 555 d' } }",
    );
    w.file("a", "1").build(&[]).success();
    w.build(&[]).runs_nothing();
    let run = w.file("a", "2").build(&[]);
    run.success().ran(&["T1"]);
    assert_eq!((w.read("o"), w.read("d/x")), ("2".to_owned(), "2".to_owned()));
}

#[test]
fn a_task_that_removes_conductors_folder_does_not_crash_it() {
    let w = World::new("tasks: { T1: { inputs: [], outputs: [o], run: 'rm -rf .conductor; echo 1 > o' } }");
    let run = w.build(&[]);
    assert!([0, 1].contains(&run.code), "{run}");
    run.fails_with(run.code);
    w.manifest("tasks: { T1: { inputs: [], outputs: [o], run: 'echo 1 > o' } }");
    w.build(&[]).success();
    w.build(&[]).runs_nothing();
}

#[test]
fn a_path_that_is_an_output_of_one_and_an_excluded_input_of_another_makes_no_edge() {
    let w = World::new(
        "
tasks:
  T1: { inputs: [\"d/*\", \"!d/two\"], outputs: [d/one], run: touch d/one }
  T2: { inputs: [\"d/*\", \"!d/one\"], outputs: [d/two], run: touch d/two }
",
    );
    w.build(&[]).success();
    w.build(&[]).runs_nothing();
}

#[test]
fn hundred_files_of_a_person_in_an_output_folder_are_told_in_one_line() {
    let w = World::new("tasks: { T1: { inputs: [], outputs: [d/], run: touch d/x } }");
    for number in 0..100 {
        w.file(format!("d/{number}"), "");
    }
    let run = w.run(&["build"]);
    run.success().says("99 more");
}

#[test]
fn a_workspace_may_lie_in_a_folder_whose_name_is_not_utf_8() {
    use std::os::unix::ffi::OsStrExt as _;
    let w = World::empty();
    let name = std::ffi::OsStr::from_bytes(b"n\xff\nx");
    let folder = w.path(name);
    std::fs::create_dir(&folder).unwrap();
    let run = |args: &[&str]| {
        let mut command = w.command(args);
        Run::of(command.current_dir(&folder), args)
    };
    let started = run(&["init", "--format", "json"]);
    assert!(started.success().json()["file"].as_str().is_some_and(|file| file.ends_with("conductor.yaml")));
    run(&["build", "--format", "json"]).success().ran(&["hello", "shout"]);
    assert!(folder.join(".conductor/plan").exists(), "the plan is kept");
    run(&["build", "--format", "json"]).runs_nothing();
    run(&["check"]).success();
}

#[test]
fn a_title_moves_no_cursor() {
    let w = World::new("tasks: { T1: { inputs: [], title: \"\\e[31mred\\a\", run: 'true' } }");
    for command in ["list", "check", "build", "runs"] {
        let text = w.run(&[command]).to_string();
        assert!(!text.contains('\u{1b}') && !text.contains('\u{7}'), "{command}: {text:?}");
    }
}
