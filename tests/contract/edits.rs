//! `edits`: files of the tree that tasks change in place. What lies there is held against the chain of its editors;
//! editors run in sandboxes, in their order, and the tree gets what the whole chain made.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;

use crate::support::World;

mod agents;
mod manifest;
mod persons;

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
