//! A task in a sandbox sees what it declares, writes where it may, and its result comes into the tree when
//! everything has accepted it.

use std::os::unix::fs::PermissionsExt as _;

use std::os::unix::ffi::OsStrExt as _;

use crate::support::{Run, World};

/// One task `T1` in a sandbox; `keys` are YAML lines of its own.
pub(crate) fn sandboxed(keys: &[&str]) -> World {
    let lines: Vec<String> = keys.iter().map(|key| format!("    {key}\n")).collect();
    World::new(&format!("tasks:\n  T1:\n    isolation: sandbox\n{}", lines.concat()))
}

/// Does this machine refuse what a sandbox forbids? Where it cannot, a build says so, and so does the test.
#[expect(clippy::print_stderr, reason = "a test that is skipped says so loudly")]
pub(crate) fn enforces(run: &Run) -> bool {
    let says = run.stderr.contains("not fully enforced") || run.stdout.contains("not fully enforced");
    if says {
        eprintln!("SKIPPED: this machine cannot enforce a sandbox: {run}");
    }
    !says
}

/// The private folders that are there.
pub(crate) fn left(w: &World) -> Vec<String> {
    let entries = std::fs::read_dir(w.path(".conductor/workspaces")).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name != ".made").collect()
}

#[test]
fn an_undeclared_read_fails_and_is_named_with_the_line_to_add_it_to() {
    let w = sandboxed(&["inputs: [a]", "outputs: [o]", "run: cat a src/other.txt > o"]);
    w.file("a", "1").file("src/other.txt", "2");
    let run = w.build(&[]);
    run.fails_with(1).failed(&["T1"]).says("src/other.txt").says("conductor.yaml:5").says("inputs");
    assert!(!w.has("o"));
    w.manifest(
        "tasks: { T1: { isolation: sandbox, inputs: [a, src/other.txt], outputs: [o], run: cat a src/other.txt > o } }",
    );
    w.build(&[]).success().ran(&["T1"]);
    assert_eq!(w.read("o"), "12");
}

#[test]
fn a_missing_output_whose_command_complained_of_an_undeclared_file_names_it_too() {
    let w = sandboxed(&["inputs: []", "outputs: [o]", "run: cp data.txt o || true"]);
    w.file("data.txt", "2").build(&[]).fails_with(1).says("did not make o").says("add `data.txt`");
}

#[test]
fn the_workspace_itself_is_out_of_reach_by_absolute_paths_and_by_dots() {
    let w = sandboxed(&["inputs: []", "outputs: [o]", "run: cat \"$WS/secret\" > o", "env: [WS]"]);
    let ws = w.root().to_str().unwrap().to_owned();
    let w = w.env("WS", &ws);
    w.file("secret", "mine");
    let run = w.build(&[]);
    if !enforces(&run) {
        return;
    }
    run.fails_with(1).says("secret").says("add `secret`");
    let up = "cat ../../../secret > o";
    w.manifest(&format!("tasks: {{ T1: {{ isolation: sandbox, inputs: [], outputs: [o], run: {up} }} }}"));
    w.build(&[]).fails_with(1).says("add `secret`");
    let list = "ls ../../.. > o";
    w.manifest(&format!("tasks: {{ T1: {{ isolation: sandbox, inputs: [], outputs: [o], run: {list} }} }}"));
    w.build(&[]).fails_with(1);
    assert!(!w.has("o"));
}

#[test]
fn writes_outside_are_refused() {
    let beside = tempfile::tempdir().unwrap();
    let w = sandboxed(&[
        "inputs: []",
        "outputs: [o]",
        "env: [WS, BESIDE]",
        "run: \"for f in $WS/x $BESIDE/x ../x ../../x /tmp/x-$CONDUCTOR_RUN; do if (echo no > $f) 2>/dev/null; then echo wrote $f; fi; done; touch o\"",
    ]);
    let ws = w.root().to_str().unwrap().to_owned();
    let w = w.env("WS", &ws).env("BESIDE", beside.path().to_str().unwrap());
    let run = w.build(&[]);
    if !enforces(&run) {
        return;
    }
    run.success();
    assert_eq!(w.run(&["log", "T1"]).success().stdout.matches("wrote").count(), 0);
    assert!(!w.has("x") && !w.has(".conductor/x") && !w.has(".conductor/workspaces/x"));
    assert_eq!(std::fs::read_dir(beside.path()).unwrap().count(), 0);
}

const STRAY: &str = "touch o stray; mkdir -p deep; touch deep/stray; echo more >> a";

#[test]
fn undeclared_writes_are_warned_of_and_thrown_away() {
    let w = sandboxed(&["inputs: [a]", "outputs: [o]", &format!("run: {STRAY}")]);
    w.file("a", "1\n");
    let run = w.build(&[]);
    run.success()
        .ran(&["T1"])
        .says("stray")
        .says("deep/stray")
        .says("does not declare: a, deep/stray, stray");
    assert!(!w.has("stray") && !w.has("deep"));
    assert_eq!(w.read("a"), "1\n");
    w.build(&[]).runs_nothing();
}

#[test]
fn a_check_reads_the_trees_files_whatever_the_task_wrote_in_their_place() {
    // The first task plants a check that it does not see, the second one changes a check that it does see.
    for inputs in ["inputs: []", "inputs: [check.sh]"] {
        let w = sandboxed(&[
            inputs,
            "outputs: [o]",
            "run: echo bad > o; echo exit 0 > check.sh",
            "validate: [{ run: sh check.sh, inputs: [check.sh] }]",
        ]);
        w.file("check.sh", "grep -q good o\n");
        w.build(&[]).fails_with(1).failed(&["T1"]);
        assert!(!w.has("o"));
        assert_eq!(w.read("check.sh"), "grep -q good o\n");
    }
}

#[test]
fn undeclared_writes_are_errors_where_the_task_says_so() {
    let w = sandboxed(&["inputs: [a]", "outputs: [o]", "writes: error", &format!("run: {STRAY}")]);
    let run = w.file("a", "1\n").build(&[]);
    run.fails_with(1).failed(&["T1"]).says("deep/stray").says("stray").says("outputs");
    assert!(!w.has("o") && !w.has("stray"));
    let reason = w.check(&[]).fails_with(3).reasons("T1");
    assert!(reason.iter().any(|reason| reason["kind"] == "validation_failed"), "{reason:?}");
}

#[test]
fn removing_an_input_is_an_undeclared_write_and_touching_one_is_none() {
    let w = sandboxed(&["inputs: [a, b]", "outputs: [o]", "writes: error", "run: touch o a b"]);
    w.file("a", "1").file("b", "2").build(&[]).success();
    w.manifest(
        "tasks: { T1: { isolation: sandbox, inputs: [a, b], outputs: [o], writes: error, run: 'touch o; rm b' } }",
    );
    w.build(&[]).fails_with(1).says("does not declare: b");
    assert_eq!(w.read("b"), "2");
}

#[test]
fn what_git_ignores_is_no_undeclared_write() {
    let w = sandboxed(&[
        "inputs: []",
        "outputs: [o]",
        "writes: error",
        "run: touch o x.tmp; mkdir -p cache; touch cache/y",
    ]);
    w.file(".gitignore", "*.tmp\n/cache/\n").git(&["init", "-q"]);
    w.build(&[]).success().ran(&["T1"]);
    assert!(!w.has("x.tmp") && !w.has("cache"));
}

#[test]
fn home_and_tmpdir_are_private_and_the_environment_is_the_allow_list() {
    let w = sandboxed(&[
        "inputs: []",
        "outputs: [env, at]",
        "env: { GIVEN: yes-it-is }",
        "run: 'env > env; touch \"$HOME/h\" \"$TMPDIR/t\"; ls -A \"$HOME\" \"$TMPDIR\" > at'",
    ]);
    let w = w.env("STRANGE", "1");
    let home = std::env::var("HOME").unwrap();
    w.build(&[]).success();
    let env = w.read("env");
    assert!(env.contains("GIVEN=yes-it-is") && env.contains("CONDUCTOR_TASK=T1"), "{env}");
    assert!(!env.contains("STRANGE"), "{env}");
    let value =
        |name: &str| env.lines().find_map(|line| line.strip_prefix(&format!("{name}="))).unwrap().to_owned();
    assert_ne!(value("HOME"), home);
    assert!(value("HOME").starts_with(w.path(".conductor").to_str().unwrap()), "{env}");
    assert_ne!(value("TMPDIR"), value("HOME"));
    assert!(!std::path::Path::new(&value("HOME")).exists(), "gone after success");
    assert_eq!(left(&w), [""; 0]);
}

#[test]
fn a_declared_home_stays() {
    let w = sandboxed(&["inputs: []", "outputs: [o]", "env: { HOME: /nowhere }", "run: echo $HOME > o"]);
    w.build(&[]).success();
    assert_eq!(w.read("o"), "/nowhere\n");
}

#[test]
fn the_command_runs_in_its_dir_though_nothing_lies_there() {
    let w = sandboxed(&[
        "dir: sub/deep",
        "inputs: [a]",
        "outputs: [sub/o]",
        "run: 'cp ../../a ../o; test \"$(basename \"$PWD\")\" = deep'",
    ]);
    w.file("a", "1").build(&[]).success();
    assert_eq!(w.read("sub/o"), "1");
}

#[test]
fn folders_are_inputs_and_outputs() {
    let w = sandboxed(&[
        "inputs: [src]",
        "outputs: [out/]",
        "run: 'cp -a src/. out; mkdir out/empty out/sub/empty'",
    ]);
    w.file("src/a", "1")
        .file("src/sub/b", "2")
        .program("src/run.sh", "#!/bin/sh\n")
        .link("src/link", "sub/b");
    let run = w.build(&[]);
    run.success();
    assert_eq!((w.read("out/a"), w.read("out/sub/b")), ("1".into(), "2".into()));
    assert!(w.path("out/empty").is_dir() && w.path("out/sub/empty").is_dir());
    assert_eq!(std::fs::read_link(w.path("out/link")).unwrap(), std::path::Path::new("sub/b"));
    assert_eq!(w.path("out/run.sh").metadata().unwrap().permissions().mode() & 0o100, 0o100);
    w.build(&[]).runs_nothing();
    w.remove("src/sub").link("src/link", "a").build(&[]).fails_with(1);
    w.manifest("tasks: { T1: { isolation: sandbox, inputs: [src], outputs: [out/], run: cp -a src/. out } }");
    w.build(&[]).success();
    assert!(!w.has("out/sub") && !w.has("out/empty"), "what only the old result had is gone");
    w.build(&[]).runs_nothing();
}

#[test]
fn names_that_are_no_utf_8_go_in_and_come_out() {
    let w = sandboxed(&["inputs: [in]", "outputs: [out/]", "run: cp in/* out"]);
    let name = std::ffi::OsStr::from_bytes(b"n\xff\nx");
    std::fs::create_dir(w.path("in")).unwrap();
    std::fs::write(w.path("in").join(name), "1").unwrap();
    w.build(&[]).success();
    assert_eq!(std::fs::read(w.path("out").join(name)).unwrap(), b"1");
    w.build(&[]).runs_nothing();
}

#[test]
fn an_optional_output_may_be_missing_and_goes_when_it_is_made_no_more() {
    let w = sandboxed(&[
        "inputs: [a]",
        "outputs: [o, { path: maybe, optional: true }]",
        "run: 'cp a o; if grep -q yes a; then touch maybe; fi'",
    ]);
    w.file("a", "yes").build(&[]).success();
    assert!(w.has("maybe"));
    w.file("a", "no").build(&[]).success();
    assert!(!w.has("maybe"));
    w.build(&[]).runs_nothing();
}

#[test]
fn what_needed_tasks_made_is_there() {
    let w = World::new(
        "
defaults: { isolation: sandbox }
tasks:
  A: { inputs: [], outputs: [made/], run: echo 1 > made/x }
  B: { needs: [A], inputs: [], outputs: [o], run: cat made/x > o }
  C: { inputs: [o], outputs: [p], run: 'cat o > p; test ! -e made' }
",
    );
    w.build(&[]).success().ran(&["A", "B", "C"]);
    assert_eq!(w.read("p"), "1\n");
    w.build(&[]).runs_nothing();
}

#[test]
fn sees_all_holds_the_whole_tree() {
    let w = sandboxed(&[
        "sees: all",
        "inputs: []",
        "outputs: [o]",
        "run: 'cat src/any > o; test ! -e .git; test ! -e .conductor'",
    ]);
    w.git(&["init", "-q"]).file("src/any", "1").build(&[]).success();
    assert_eq!(w.read("o"), "1");
    w.build(&[]).runs_nothing();
}

#[test]
fn a_depfile_names_inputs_and_need_not_be_an_output() {
    let w = sandboxed(&[
        "sees: all",
        "inputs: [a]",
        "outputs: [o]",
        "depfile: x.d",
        "writes: error",
        "run: \"cat a h > o; echo o: a h > x.d\"",
    ]);
    w.file("a", "1").file("h", "2").build(&[]).success();
    assert!(!w.has("x.d"));
    w.build(&[]).runs_nothing();
    let check = w.file("h", "3").check(&[]);
    assert_eq!(check.reason("T1", "input_changed")["path"], "h");
    w.build(&[]).success();
    assert_eq!(w.read("o"), "13");
}

#[test]
fn an_incremental_task_finds_its_previous_outputs() {
    let w = sandboxed(&["incremental: true", "inputs: [a]", "outputs: [log]", "run: cat a >> log"]);
    w.file("a", "1").build(&[]).success();
    w.file("a", "2").build(&[]).success();
    assert_eq!(w.read("log"), "12");
    w.build(&[]).runs_nothing();
}

#[test]
fn copy_and_setup_prepare_a_sandbox_and_are_no_part_of_key_or_result() {
    let w = sandboxed(&[
        "inputs: []",
        "outputs: [o]",
        "writes: error",
        "copy: [.env, lib]",
        "setup: touch prepared",
        "run: 'cat .env lib/x > o; test -e prepared; echo spoilt > .env'",
    ]);
    w.file(".env", "e").file("lib/x", "x").build(&[]).success();
    assert_eq!((w.read("o"), w.read(".env")), ("ex".to_owned(), "e".to_owned()));
    assert!(!w.has("prepared"));
    w.file(".env", "other").build(&[]).runs_nothing();
}

#[test]
fn an_output_of_an_earlier_run_does_not_pass_for_a_new_one_where_the_whole_tree_is_seen() {
    let w = sandboxed(&[
        "sees: all",
        "inputs: [a]",
        "outputs: [o, d/]",
        "run: 'test -e o && exit 9; grep -q none a || cp a o; ls -A d > d/list'",
    ]);
    w.file("a", "1").build(&[]).success();
    w.file("d/mine", "x").file("a", "2").build(&[]).success();
    assert_eq!(w.read("d/list"), "list\n");
    w.file("a", "none").build(&[]).fails_with(1).says("did not make o");
    assert_eq!(w.read("o"), "2");
}
