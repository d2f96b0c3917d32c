//! `edits`: files of the tree that tasks change in place. What lies there is held against the chain of its editors;
//! editors run in sandboxes, in their order, and the tree gets what the whole chain made.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;

use crate::support::{Run, World};

/// Says `started` in the sandbox and goes on when the file `go` is there.
const PAUSE: &str = "touch started; while [ ! -e go ]; do sleep 0.02; done; rm started go";

/// Three editors of `a`, each of which adds a line.
const E1: &str = "  e1: { isolation: sandbox, inputs: [], edits: [a], run: 'echo one >> a' }\n";
const E2: &str = "  e2: { isolation: sandbox, inputs: [], needs: [e1], edits: [a], run: 'echo two >> a' }\n";
const E3: &str =
    "  e3: { isolation: sandbox, inputs: [], needs: [e2], edits: [a], run: 'echo three >> a' }\n";

const ALL: [&str; 3] = ["e1", "e2", "e3"];

fn manifest(tasks: &[&str]) -> String {
    format!("pass_env: [FAIL]\ntasks:\n{}", tasks.concat())
}

fn world(tasks: &[&str]) -> World {
    let w = World::new(&manifest(tasks));
    w.file("a", "base\n");
    w
}

/// Three editors that have run.
fn built() -> World {
    let w = world(&[E1, E2, E3]);
    w.build(&[]).success().ran(&ALL);
    assert_eq!(w.read("a"), "base\none\ntwo\nthree\n");
    w
}

/// The task with another command that does the same, or something else.
fn with(task: &str, from: &str, to: &str) -> String {
    let changed = task.replace(from, to);
    assert_ne!(changed, task);
    changed
}

/// This editor fails as long as FAIL names it; its key does not know.
fn failing(task: &str, id: &str) -> String {
    with(task, "run: 'echo", &format!("run: '[ \"${{FAIL:-}}\" != {id} ]; echo"))
}

/// The next build runs nothing, and `check` agrees and writes nothing.
#[track_caller]
fn is_settled(w: &World) {
    w.build(&[]).runs_nothing();
    let before = w.tree();
    w.check(&[]).success();
    before.is_unchanged(&w.tree(), "check");
}

/// What `check` says of these tasks, without writing anything; `why` and `--dry-run` say the same.
#[track_caller]
fn states(w: &World, tasks: &[&str]) -> Vec<String> {
    let before = w.tree();
    let check = w.check(&[]);
    let states = tasks.iter().map(|id| check.state(id)).collect();
    for id in tasks {
        let why = w.why(id);
        assert_eq!(why.success().json()["state"], check.task(id)["state"], "{why}");
        assert_eq!(why.json()["reasons"], check.task(id)["reasons"], "{why}");
    }
    let dry = w.build(&["--dry-run"]);
    assert_eq!(dry.success().json()["tasks"], check.json()["tasks"], "{dry}");
    before.is_unchanged(&w.tree(), "check, why or --dry-run");
    states
}

#[test]
fn editors_run_in_their_order_and_a_second_build_runs_nothing() {
    let w = built();
    is_settled(&w);
    w.build(&["--force"]).success().ran(&ALL);
    assert_eq!(w.read("a"), "base\none\ntwo\nthree\n", "forced editors start from the base");
    is_settled(&w);
}

#[test]
fn an_early_editor_that_comes_to_the_same_again_makes_no_later_one_run() {
    let w = built();
    w.manifest(&manifest(&[&with(E1, "echo one", "echo   one"), E2, E3]));
    w.build(&[]).success().ran(&["e1"]).fresh(&["e2", "e3"]);
    assert_eq!(w.read("a"), "base\none\ntwo\nthree\n");
    is_settled(&w);
}

#[test]
fn an_early_editor_that_runs_again_starts_from_the_base_and_the_later_ones_follow() {
    let w = built();
    w.manifest(&manifest(&[&with(E1, "echo one", "echo uno"), E2, E3]));
    assert_eq!(states(&w, &ALL), ["stale", "blocked", "blocked"]);
    w.build(&[]).success().ran(&ALL);
    assert_eq!(w.read("a"), "base\nuno\ntwo\nthree\n");
    is_settled(&w);
}

#[test]
fn a_middle_editor_that_runs_again_starts_from_what_the_one_before_it_left() {
    let w = built();
    w.manifest(&manifest(&[E1, &with(E2, "echo two", "echo due"), E3]));
    w.build(&[]).success().ran(&["e2", "e3"]).fresh(&["e1"]);
    assert_eq!(w.read("a"), "base\none\ndue\nthree\n");
    is_settled(&w);
}

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
fn the_tree_is_not_touched_before_the_whole_chain_is_accepted() {
    let w = built();
    let last = with(E3, "run: 'echo", &format!("run: '{PAUSE}; echo"));
    w.manifest(&manifest(&[&with(E1, "echo one", "echo uno"), E2, &last]));
    let build = w.start(&[]);
    w.wait_for(".conductor/workspaces/e3/started");
    assert_eq!(w.read("a"), "base\none\ntwo\nthree\n", "the first two have run");
    assert_eq!(w.read(".conductor/workspaces/e3/a"), "base\nuno\ntwo\n");
    w.file(".conductor/workspaces/e3/go", "");
    build.wait().success().ran(&ALL);
    assert_eq!(w.read("a"), "base\nuno\ntwo\nthree\n");
    let last = w.read("conductor.yaml");
    assert!(last.contains("started"));
}

#[test]
fn when_a_later_editor_fails_the_tree_keeps_the_last_whole_chain() {
    let mut w = world(&[E1, E2, &failing(E3, "e3")]);
    w.build(&[]).success().ran(&ALL);
    let first = with(E1, "echo one", "echo uno");
    w.manifest(&manifest(&[&first, E2, &failing(E3, "e3")]));
    w.set_env("FAIL", "e3");
    w.build(&[]).fails_with(1).ran(&["e1", "e2"]).failed(&["e3"]);
    assert_eq!(w.read("a"), "base\none\ntwo\nthree\n");
    assert_eq!(states(&w, &ALL), ["fresh", "fresh", "stale"]);
    assert_eq!(w.check(&[]).kinds("e3"), ["dependency_changed", "previous_failed"]);
    w.build(&[]).fails_with(1).ran(&[]).failed(&["e3"]);
    assert_eq!(w.read("a"), "base\none\ntwo\nthree\n");
    w.unset_env("FAIL");
    w.build(&[]).success().ran(&["e3"]).fresh(&["e1", "e2"]);
    assert_eq!(w.read("a"), "base\nuno\ntwo\nthree\n");
    is_settled(&w);
}

#[test]
fn when_a_later_editor_fails_at_first_the_tree_holds_what_was_accepted() {
    let mut w = world(&[E1, &failing(E2, "e2"), E3]).env("FAIL", "e2");
    let run = w.build(&[]);
    run.fails_with(1).ran(&["e1"]).failed(&["e2"]).skipped(&["e3"]);
    assert_eq!(w.read("a"), "base\none\n");
    assert_eq!(states(&w, &ALL), ["fresh", "stale", "blocked"]);
    w.unset_env("FAIL");
    w.build(&[]).success().ran(&["e2", "e3"]).fresh(&["e1"]);
    assert_eq!(w.read("a"), "base\none\ntwo\nthree\n");
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

#[test]
fn editors_make_remove_and_rename_files_and_folders() {
    let w = World::new(
        "
tasks:
  e1:
    isolation: sandbox
    inputs: []
    edits: [\"src/**\"]
    run: |
      mkdir -p src/new/deep
      echo made > src/new/deep/file
      mv src/old.txt src/renamed.txt
      rm -r src/gone
      rm src/file
      mkdir src/file
      echo inside > src/file/x
  e2:
    isolation: sandbox
    inputs: []
    needs: [e1]
    edits: [\"src/**\"]
    run: |
      cat src/renamed.txt src/new/deep/file src/file/x > src/all
      rm src/new/deep/file
",
    );
    w.file("src/old.txt", "old\n").file("src/gone/b/c", "c\n").file("src/gone/d", "d\n").file("src/file", "");
    w.build(&[]).success().ran(&["e1", "e2"]);
    assert_eq!(w.read("src/all"), "old\nmade\ninside\n");
    assert_eq!(w.read("src/renamed.txt"), "old\n");
    assert_eq!(w.read("src/file/x"), "inside\n");
    for gone in ["src/old.txt", "src/gone", "src/new"] {
        assert!(!w.has(gone), "{gone}");
    }
    is_settled(&w);
    w.file("src/file/x", "edited\n");
    w.build(&[]);
    w.remove("src/file").file("src/file", "").file("src/old.txt", "older\n").file("src/gone/d", "d\n");
    w.remove("src/renamed.txt");
    w.build(&[]).success();
    assert_eq!(w.read("src/all"), "older\nmade\ninside\n");
    is_settled(&w);
}

#[test]
fn executable_bits_and_links_are_part_of_a_state() {
    let w = World::new(
        "
tasks:
  e1: { isolation: sandbox, inputs: [], edits: [tool, link], run: 'chmod +x tool; ln -sf there link' }
  e2: { isolation: sandbox, inputs: [], needs: [e1], edits: [tool, link], run: 'test -x tool; readlink link >> tool; rm link; echo x > link' }
",
    );
    w.file("tool", "#!/bin/sh\n").link("link", "nowhere");
    w.build(&[]).success().ran(&["e1", "e2"]);
    assert_eq!(w.read("tool"), "#!/bin/sh\nthere\n");
    assert_ne!(w.path("tool").metadata().unwrap().permissions().mode() & 0o111, 0);
    assert!(w.path("link").symlink_metadata().unwrap().is_file());
    is_settled(&w);
    w.executable("tool", false);
    w.build(&[]).success().ran(&["e1", "e2"]);
    assert_eq!(w.read("tool"), "#!/bin/sh\nthere\nthere\n", "without its bits it is a person's version");
    w.link("link", "nowhere");
    w.build(&[]).success().ran(&["e1", "e2"]);
    is_settled(&w);
}

#[test]
fn permissions_of_an_edited_file_stay() {
    let w = world(&[E1]);
    std::fs::set_permissions(w.path("a"), std::fs::Permissions::from_mode(0o640)).unwrap();
    w.build(&[]).success();
    assert_eq!(w.path("a").metadata().unwrap().permissions().mode() & 0o777, 0o640);
}

#[test]
fn names_that_are_not_utf_8_are_edited() {
    let run = "for f in src/*; do echo one >> \"$f\"; done";
    let w = World::new(&format!(
        "tasks:\n  e1: {{ isolation: sandbox, inputs: [], edits: [\"src/*\"], run: '{run}' }}\n"
    ));
    let name = OsStr::from_bytes(b"src/caf\xe9 \n'x");
    w.file(name, "base\n");
    w.build(&[]).success().ran(&["e1"]);
    assert_eq!(w.read(name), "base\none\n");
    is_settled(&w);
    w.file(name, "mine\n");
    w.check(&[]).fails_with(3);
    w.build(&[]).success().ran(&["e1"]);
    assert_eq!(w.read(name), "mine\none\n");
}

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
fn a_reader_with_a_glob_sees_files_that_editors_made_and_removed_in_the_same_build() {
    let w = World::new(
        "
tasks:
  e1: { isolation: sandbox, inputs: [], edits: [\"src/*\"], run: 'rm src/x; echo new > src/new' }
  r: { needs: [e1], inputs: [\"src/*\"], outputs: [o], run: cat src/* > o }
",
    );
    w.file("src/x", "x\n").file("src/y", "y\n");
    w.build(&[]).success().ran(&["e1", "r"]);
    assert_eq!(w.read("o"), "new\ny\n");
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

#[test]
fn a_file_may_be_edited_and_read_by_the_same_task() {
    let both = "  e1: { isolation: sandbox, inputs: [\"src/*\"], edits: [\"src/*\"], run: 'cat src/b >> src/a; rm src/b' }\n";
    let w = World::new(&manifest(&[both]));
    w.file("src/a", "a\n").file("src/b", "b\n");
    w.build(&[]).success().ran(&["e1"]);
    assert_eq!(w.read("src/a"), "a\nb\n");
    assert!(!w.has("src/b"));
    is_settled(&w);
    w.file("src/b", "B\n");
    w.build(&[]).success().ran(&["e1"]);
    assert_eq!(w.read("src/a"), "a\nB\n");
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
fn what_an_editor_writes_beside_its_edits_fails_it_or_is_thrown_away() {
    let strict = with(&with(E1, "run: '", "run: 'echo > b; "), "edits", "writes: error, edits");
    let w = world(&[&strict]);
    w.build(&[]).fails_with(1).failed(&["e1"]).says("it wrote what it does not declare: b");
    assert_eq!(w.read("a"), "base\n");
    assert_eq!(w.check(&[]).reasons("e1")[0]["kind"], "validation_failed");
    w.manifest(&manifest(&[&with(&strict, "writes: error", "writes: warn")]));
    w.build(&[]).success().ran(&["e1"]).says("wrote what it does not declare: b");
    assert_eq!(w.read("a"), "base\none\n");
    assert!(!w.has("b"));
}

#[test]
fn an_edit_that_holds_a_secret_is_refused() {
    let leaks = with(&with(E1, "echo one", "echo $TOKEN"), "edits", "secrets: [TOKEN], edits");
    let w = world(&[&leaks]).env("TOKEN", "s3cr3t-v4lue-0f-a-t0ken");
    w.build(&[]).fails_with(1).failed(&["e1"]).never_says("s3cr3t");
    assert_eq!(w.read("a"), "base\n");
    let kept = w.tree();
    for file in kept.files() {
        assert!(!w.read(&file).contains("s3cr3t"), "{file}");
    }
}

#[test]
fn a_check_that_refuses_what_an_editor_made_keeps_it_out_of_the_tree() {
    let checked = with(E2, "edits", "validate: [{ matches: { path: a, regex: ok } }], edits");
    let w = world(&[E1, &checked, E3]);
    w.build(&[]).fails_with(1).ran(&["e1"]).failed(&["e2"]);
    assert_eq!(w.read("a"), "base\none\n");
    w.file("a", "ok\n");
    w.build(&[]).success().ran(&ALL);
    assert_eq!(w.read("a"), "ok\none\ntwo\nthree\n");
    w.manifest(&manifest(&[E1, &with(&checked, "regex: ok", "regex: two"), E3]));
    w.build(&[]).success().ran(&[]).checked_again(&["e2"]);
    is_settled(&w);
}

#[test]
fn two_chains_may_share_an_editor() {
    let shared = "  s: { isolation: sandbox, inputs: [], needs: [e1, f1], edits: [a, b], run: 'echo s >> a; echo s >> b' }\n";
    let f1 = "  f1: { isolation: sandbox, inputs: [], edits: [b], run: 'echo f >> b' }\n";
    let f2 = "  f2: { isolation: sandbox, inputs: [], needs: [s], edits: [b], run: '[ \"${FAIL:-}\" != f2 ]; echo g >> b' }\n";
    let mut w = world(&[E1, f1, shared, f2]);
    w.file("b", "other\n");
    w.build(&["-j2"]).success().ran(&["e1", "f1", "s", "f2"]);
    assert_eq!((w.read("a"), w.read("b")), ("base\none\ns\n".to_owned(), "other\nf\ns\ng\n".to_owned()));
    is_settled(&w);
    w.file("a", "mine\n");
    w.build(&[]).success().ran(&["e1", "s"]).fresh(&["f1", "f2"]);
    assert_eq!((w.read("a"), w.read("b")), ("mine\none\ns\n".to_owned(), "other\nf\ns\ng\n".to_owned()));
    is_settled(&w);
    w.file("b", "other\nf\n");
    w.build(&[]).success().ran(&["s", "f2"]);
    is_settled(&w);
    w.set_env("FAIL", "f2");
    w.file("a", "base\n").file("b", "new\n");
    w.build(&["-k"]).fails_with(1).ran(&["e1", "f1", "s"]).failed(&["f2"]);
    assert_eq!((w.read("a"), w.read("b")), ("base\none\ns\n".to_owned(), "new\nf\ns\n".to_owned()));
    w.unset_env("FAIL");
    w.build(&[]).success().ran(&["f2"]);
    assert_eq!(w.read("b"), "new\nf\ns\ng\n");
    is_settled(&w);
}

#[test]
fn one_editor_may_be_built_alone() {
    let w = world(&[E1, E2, E3]);
    w.build(&["e1"]).success().ran(&["e1"]);
    assert_eq!(w.read("a"), "base\none\n", "what is accepted so far");
    w.build(&["e2"]).success().ran(&["e2"]).fresh(&["e1"]);
    assert_eq!(w.read("a"), "base\none\ntwo\n");
    w.build(&[]).success().ran(&["e3"]);
    assert_eq!(w.read("a"), "base\none\ntwo\nthree\n");
    is_settled(&w);
    w.manifest(&manifest(&[&with(E1, "echo one", "echo uno"), E2, E3]));
    w.build(&["e1"]).success().ran(&["e1"]);
    assert_eq!(w.read("a"), "base\none\ntwo\nthree\n", "the last whole chain");
    w.build(&["e1"]).runs_nothing();
    assert_eq!(states(&w, &ALL), ["fresh", "stale", "blocked"]);
    w.build(&["e2"]).success().ran(&["e2"]);
    assert_eq!(w.read("a"), "base\none\ntwo\nthree\n");
    w.build(&[]).success().ran(&["e3"]);
    assert_eq!(w.read("a"), "base\nuno\ntwo\nthree\n");
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
