//! Nothing that conductor did not make is lost: a person's edit of an output, a person's file in its place or
//! beside it.

use crate::support::World;

fn copied() -> World {
    let w = World::new("tasks: { T1: { inputs: [a], outputs: [o], run: cp a o } }");
    w.file("a", "1").build(&[]).success();
    w
}

/// The one version that was kept, of the run that `run` was.
#[track_caller]
fn kept(w: &World, run: &crate::support::Run, path: &str) -> String {
    let id = run.json()["run"].as_str().unwrap().to_owned();
    w.read(format!(".conductor/conflicts/{id}/{path}"))
}

#[test]
fn a_persons_edit_of_an_output_is_kept_and_named() {
    let w = copied();
    w.file("o", "by hand");
    let run = w.build(&[]);
    run.success().ran(&["T1"]).says(".conductor/conflicts/").says("o");
    assert_eq!(kept(&w, &run, "o"), "by hand");
    assert_eq!(w.read("o"), "1");
    w.build(&[]).runs_nothing();
}

#[test]
fn a_persons_edit_is_kept_too_where_an_input_changed_with_it() {
    let w = copied();
    w.file("o", "by hand").file("a", "2");
    let run = w.build(&[]);
    run.success().ran(&["T1"]);
    assert_eq!(kept(&w, &run, "o"), "by hand");
    assert_eq!(w.read("o"), "2");
}

#[test]
fn a_file_of_a_person_at_an_outputs_path_is_kept() {
    let w = World::new("tasks: { T1: { inputs: [], outputs: [o], run: echo made > o } }");
    w.file("o", "was here before");
    let run = w.build(&[]);
    run.success().says(".conductor/conflicts/");
    assert_eq!(kept(&w, &run, "o"), "was here before");
}

#[test]
fn what_equals_the_result_is_no_conflict() {
    let w = World::new("tasks: { T1: { inputs: [], outputs: [o], run: echo made > o } }");
    w.file("o", "made\n").build(&[]).success().never_says("conflicts");
    assert_eq!(w.conflicts(), [""; 0]);
    w.manifest("tasks: { T1: { inputs: [a], outputs: [o], run: cp a o } }");
    w.file("a", "2").file("o", "2").build(&[]).success().ran(&["T1"]);
    assert_eq!(w.conflicts(), [""; 0]);
}

#[test]
fn what_git_has_is_no_conflict() {
    let w = World::new("tasks: { T1: { inputs: [], outputs: [o], run: echo made > o } }");
    w.git(&["init", "-q"]).file("o", "committed").git(&["add", "o"]).git(&["commit", "-qm", "x"]);
    w.build(&[]).success().never_says("conflicts");
    assert_eq!(w.conflicts(), [""; 0]);
    w.file("o", "not committed").build(&[]).success().says("conflicts");
    assert_eq!(w.conflicts(), ["o"]);
}

#[test]
fn a_persons_edit_comes_back_when_the_task_fails() {
    let w = World::new("tasks: { T1: { inputs: [a], outputs: [o], run: cp a o; ! grep -q bad a } }");
    w.file("a", "1").build(&[]).success();
    w.file("o", "by hand").file("a", "bad").build(&[]).fails_with(1);
    assert_eq!(w.read("o"), "by hand");
}

#[test]
fn a_persons_edit_of_an_incremental_tasks_output_is_kept() {
    let w = World::new("tasks: { T1: { incremental: true, inputs: [a], outputs: [o], run: cp a o } }");
    w.file("a", "1").build(&[]).success();
    w.file("o", "by hand").file("a", "2");
    let run = w.build(&[]);
    run.success().ran(&["T1"]);
    assert_eq!(kept(&w, &run, "o"), "by hand");
}

#[test]
fn a_link_that_a_person_put_at_an_outputs_path_is_kept_and_its_target_untouched() {
    let w = World::new("tasks: { T1: { inputs: [], outputs: [o], run: echo made > o } }");
    w.file("precious", "mine").link("o", "precious");
    w.build(&[]).success();
    assert_eq!(w.read("precious"), "mine");
    assert_eq!(w.read("o"), "made\n");
    assert_eq!(w.conflicts(), ["o"]);
}

const FOLDER: &str = "tasks: { T1: { inputs: [a], outputs: [d/], run: cp a d/made; ! grep -q bad a } }";

#[test]
fn a_file_of_a_person_inside_an_output_folder_stays_and_is_no_part_of_the_result() {
    let w = World::new(FOLDER);
    w.file("a", "1").file("d/notes", "mine").file("d/sub/more", "mine");
    let run = w.build(&[]);
    run.success().says("d/notes");
    assert_eq!(run.task("T1")["outputs"].as_object().unwrap().keys().collect::<Vec<_>>(), ["d/made"]);
    assert_eq!((w.read("d/notes"), w.read("d/sub/more")), ("mine".to_owned(), "mine".to_owned()));
    w.file("d/notes", "other").file("d/third", "new");
    w.build(&[]).runs_nothing();
    w.file("a", "2").build(&[]).success().ran(&["T1"]);
    assert_eq!((w.read("d/notes"), w.read("d/third")), ("other".to_owned(), "new".to_owned()));
    w.file("a", "bad").build(&[]).fails_with(1);
    assert_eq!((w.read("d/notes"), w.read("d/made")), ("other".to_owned(), "2".to_owned()));
    assert_eq!(w.conflicts(), [""; 0]);
}

#[test]
fn a_file_of_a_person_inside_an_output_folder_that_the_task_overwrites_is_kept() {
    let w = World::new(FOLDER);
    w.file("a", "1").file("d/made", "mine");
    let run = w.build(&[]);
    run.success().ran(&["T1"]);
    assert_eq!(kept(&w, &run, "d/made"), "mine");
    assert_eq!(w.read("d/made"), "1");
}

#[test]
fn a_file_of_a_person_inside_an_output_folder_comes_back_when_the_task_fails() {
    let w = World::new(FOLDER);
    w.file("a", "bad").file("d/made", "mine").file("d/notes", "mine").build(&[]).fails_with(1);
    assert_eq!((w.read("d/made"), w.read("d/notes")), ("mine".to_owned(), "mine".to_owned()));
}

#[test]
fn a_file_of_a_person_that_the_task_removes_from_its_folder_is_kept() {
    let w = World::new("tasks: { T1: { inputs: [], outputs: [d/], run: rm -rf d; mkdir d; touch d/made } }");
    w.file("d/notes", "mine");
    let run = w.build(&[]);
    run.success();
    assert_eq!(kept(&w, &run, "d/notes"), "mine");
}

#[test]
fn files_beside_the_outputs_are_never_touched() {
    let w = World::new("tasks: { T1: { inputs: [a], outputs: [d/o], run: cp a d/o } }");
    w.file("a", "1").file("d/other", "x").build(&[]).success();
    w.file("a", "2").build(&[]).success();
    assert_eq!(w.read("d/other"), "x");
}

#[test]
fn an_output_folder_behind_a_link_is_not_followed_out_of_the_workspace() {
    let w = World::new("tasks: { T1: { inputs: [a], outputs: [d/], run: cp a d/made } }");
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("precious"), "mine").unwrap();
    w.file("a", "1").link("d", outside.path());
    let run = w.build(&[]);
    assert!([0, 1].contains(&run.code), "{run}");
    assert_eq!(std::fs::read_to_string(outside.path().join("precious")).unwrap(), "mine");
}

#[test]
fn a_conflict_in_each_of_two_runs_keeps_both_versions() {
    let w = copied();
    w.file("o", "first").build(&[]).success();
    w.file("o", "second").build(&[]).success();
    assert_eq!(w.conflicts(), ["o", "o"]);
}
