//! What a person does to edited files: between builds, and while they go on.

use super::{ALL, E1, E2, E3, PAUSE, built, failing, is_settled, manifest, states, with, world};
use crate::support::{Run, World};

#[test]
fn a_persons_edit_is_the_new_base_and_the_editors_run_again_in_order() {
    let w = built();
    w.file("a", "mine\n");
    assert_eq!(states(&w, &ALL), ["stale", "blocked", "blocked"]);
    let reason = w.check(&[]).reason("e1", "input_changed");
    assert_eq!(reason["path"], "a");
    let run = w.build(&[]);
    run.success().ran(&ALL);
    assert_eq!(w.read("a"), "mine\none\ntwo\nthree\n");
    is_settled(&w);
}

#[test]
fn after_a_persons_edit_an_editor_that_finds_the_same_as_before_does_not_run() {
    let first = "  e1: { isolation: sandbox, inputs: [], edits: [a], run: 'sed -i s/[[:blank:]]//g a' }\n";
    let w = world(&[first, E2, E3]);
    w.file("a", "b \n");
    w.build(&[]).success().ran(&ALL);
    w.file("a", "b  \n");
    w.build(&[]).success().ran(&["e1"]).fresh(&["e2", "e3"]);
    assert_eq!(w.read("a"), "b\ntwo\nthree\n");
    is_settled(&w);
    w.file("a", " b\n");
    w.build(&[]).success().ran(&["e1"]);
    assert_eq!(w.read("a"), "b\ntwo\nthree\n");
    is_settled(&w);
}

#[test]
fn a_person_who_deletes_an_edited_file_has_made_that_the_base() {
    let w = built();
    w.remove("a");
    assert_eq!(states(&w, &ALL), ["stale", "blocked", "blocked"]);
    assert_eq!(w.check(&[]).reason("e1", "input_removed")["path"], "a");
    w.build(&[]).success().ran(&ALL);
    assert_eq!(w.read("a"), "one\ntwo\nthree\n", "the editors found nothing there");
    is_settled(&w);
    w.file("a", "again\n");
    w.build(&[]).success().ran(&ALL);
    assert_eq!(w.read("a"), "again\none\ntwo\nthree\n");
}

#[test]
fn a_file_that_a_person_deletes_and_no_editor_makes_stays_away_and_comes_back_as_a_base() {
    let globbed = |id: &str, needs: &str| {
        let run = format!("for f in src/*; do if [ -e $f ]; then echo {id} >> $f; fi; done");
        format!(
            "  {id}: {{ isolation: sandbox, inputs: [], needs: [{needs}], edits: [\"src/*\"], run: '{run}' }}\n"
        )
    };
    let w = World::new(&manifest(&[&globbed("e1", ""), &globbed("e2", "e1")]));
    w.file("src/x", "x\n").file("src/y", "y\n");
    w.build(&[]).success().ran(&["e1", "e2"]);
    w.remove("src/x");
    w.build(&[]).success().ran(&["e1", "e2"]);
    assert!(!w.has("src/x"));
    assert_eq!(w.read("src/y"), "y\ne1\ne2\n");
    is_settled(&w);
    w.file("src/x", "x\n");
    w.build(&[]).success().ran(&["e1", "e2"]);
    assert_eq!(w.read("src/x"), "x\ne1\ne2\n");
    assert_eq!(w.read("src/y"), "y\ne1\ne2\n");
    is_settled(&w);
}

#[test]
fn a_person_may_edit_between_a_failure_and_the_next_build() {
    let mut w = world(&[E1, &failing(E2, "e2"), E3]);
    w.build(&[]).success();
    w.set_env("FAIL", "e2");
    w.file("a", "mine\n");
    w.build(&[]).fails_with(1).ran(&["e1"]);
    assert_eq!(w.read("a"), "mine\none\n");
    w.file("a", "mine again\n");
    w.unset_env("FAIL");
    w.build(&[]).success().ran(&ALL);
    assert_eq!(w.read("a"), "mine again\none\ntwo\nthree\n");
    is_settled(&w);
}

#[test]
fn a_path_put_back_to_an_earlier_state_makes_the_later_editors_stale() {
    let w = built();
    w.file("a", "base\none\n");
    assert_eq!(states(&w, &ALL), ["fresh", "stale", "stale"]);
    for id in ["e2", "e3"] {
        let reason = w.check(&[]).reason(id, "output_modified");
        assert_eq!(reason["path"], "a");
        assert_eq!(reason["at"]["file"], "conductor.yaml");
    }
    w.build(&[]).success().ran(&["e2", "e3"]);
    assert_eq!(w.read("a"), "base\none\ntwo\nthree\n");
    is_settled(&w);
}

#[test]
fn a_path_put_back_to_the_base_makes_all_its_editors_stale() {
    let w = built();
    w.file("a", "base\n");
    assert_eq!(states(&w, &ALL), ["stale", "stale", "stale"]);
    assert_eq!(w.check(&[]).reason("e1", "output_modified")["path"], "a");
    w.build(&[]).success().ran(&ALL);
    assert_eq!(w.read("a"), "base\none\ntwo\nthree\n");
    is_settled(&w);
}

#[test]
fn a_file_that_an_editor_made_and_a_person_removed_is_output_missing() {
    let w = World::new(&manifest(&[&with(E1, "edits: [a]", "edits: [\"a*\"]")]));
    w.build(&[]).success();
    assert_eq!(w.read("a"), "one\n");
    w.remove("a");
    assert_eq!(w.check(&[]).fails_with(3).reason("e1", "output_missing")["path"], "a");
    w.build(&[]).success().ran(&["e1"]);
    assert_eq!(w.read("a"), "one\n");
    is_settled(&w);
}

/// Runs a build, edits `a` while `id` runs, and lets it go on.
fn edited_while(w: &World, id: &str, content: &str) -> Run {
    let build = w.start(&[]);
    w.wait_for(&format!(".conductor/workspaces/{id}/started"));
    w.file("a", content);
    w.file(format!(".conductor/workspaces/{id}/go"), "");
    build.wait()
}

#[test]
fn an_edit_in_mid_run_is_not_overwritten_and_is_the_base_of_the_next_build() {
    for id in ALL {
        let pause = |task: &str| {
            let paused = format!("run: 'if [ -n \"${{FAIL:-}}\" ]; then {PAUSE}; fi; echo");
            if task.contains(&format!("  {id}:")) {
                with(task, "run: 'echo", &paused)
            } else {
                task.to_owned()
            }
        };
        let mut w = world(&[&pause(E1), &pause(E2), &pause(E3)]);
        w.build(&[]).success();
        let first = with(&pause(E1), "echo one", "echo uno");
        w.manifest(&manifest(&[&first, &pause(E2), &pause(E3)]));
        w.set_env("FAIL", "1");
        let run = edited_while(&w, id, "mine\n");
        run.fails_with(3).says("changed while");
        assert_eq!(run.kinds(id)[0], "changed_during_run", "{run}");
        assert_eq!(w.read("a"), "mine\n", "{id}");
        w.unset_env("FAIL");
        w.build(&[]).success().ran(&ALL);
        assert_eq!(w.read("a"), "mine\nuno\ntwo\nthree\n");
        is_settled(&w);
    }
}

#[test]
fn an_edit_in_mid_run_of_a_first_build_is_not_overwritten() {
    let w = world(&[&with(E1, "run: '", &format!("run: '{PAUSE}; "))]);
    edited_while(&w, "e1", "mine\n").fails_with(3);
    assert_eq!(w.read("a"), "mine\n");
    w.manifest(&manifest(&[E1]));
    w.build(&[]).success().ran(&["e1"]);
    assert_eq!(w.read("a"), "mine\none\n");
}

#[test]
fn a_file_that_a_person_makes_where_an_editor_makes_one_is_not_overwritten() {
    let ignored =
        "  e1: { isolation: sandbox, inputs: [], edits: [\"src/*\"], run: 'echo made >> src/x.o' }\n";
    let w = World::new(&manifest(&[ignored]));
    w.git(&["init", "-q"]).file(".gitignore", "*.o\n").file("src/x.o", "mine\n").file("src/y", "");
    w.build(&[]).fails_with(3).ran(&["e1"]).says("src/x.o");
    assert_eq!(w.read("src/x.o"), "mine\n");
    w.build(&[]).success().ran(&["e1"]);
    assert_eq!(w.read("src/x.o"), "mine\nmade\n");
    is_settled(&w);
}

#[test]
fn a_touched_file_makes_nothing_run() {
    let w = built();
    let content = w.read("a");
    w.remove("a").file("a", content);
    is_settled(&w);
}

#[test]
fn a_folder_in_the_place_of_an_edited_file_is_left_alone() {
    let w = built();
    w.remove("a").file("a/mine", "mine\n");
    let run = w.build(&[]);
    assert_ne!(run.code, 0, "{run}");
    run.says("a");
    assert_eq!(w.read("a/mine"), "mine\n");
    w.build(&[]);
    assert_eq!(w.read("a/mine"), "mine\n");
    w.remove("a").file("a", "mine\n");
    w.build(&[]).success();
    assert_eq!(w.read("a"), "mine\none\ntwo\nthree\n");
}
