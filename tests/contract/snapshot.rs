//! One snapshot: a result is recorded only if everything that its key names stayed as it was while
//! the task and its checks used it. A file that was changed and put back has changed too.
//!
//! Tests marked `should_panic` fail today. A test that is mended loses the mark.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::support::{Run, World, wait_until};

/// A command that says that it has come to stop `n`, and goes on when `go` and the number is there.
fn stop(n: u8) -> String {
    format!("touch started{n}; while [ ! -e go{n} ]; do sleep 0.02; done")
}

/// A world in which `$1` and `$2` in the manifest are stops.
fn world(manifest: &str) -> World {
    let w = World::new(&manifest.replace("$1", &stop(1)).replace("$2", &stop(2)));
    w.file("a", "before");
    w
}

/// Builds, and at the first stop changes something that is taken back at the second.
fn meanwhile(w: &World, change: impl FnOnce(&World), back: impl FnOnce(&World)) -> Run {
    let build = w.start(&[]);
    w.wait_for("started1");
    change(w);
    w.file("go1", "").wait_for("started2");
    back(w);
    w.file("go2", "");
    build.wait()
}

/// Builds, and changes something for good at the first stop.
fn for_good(w: &World, change: impl FnOnce(&World)) -> Run {
    w.file("go2", "");
    let build = w.start(&[]);
    w.wait_for("started1");
    change(w);
    w.file("go1", "");
    build.wait()
}

/// The file says this again, as of an hour ago.
fn write_old(w: &World, path: &str, content: &str) {
    w.file(path, content);
    let file = std::fs::File::options().write(true).open(w.path(path)).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
}

/// Writes a file an hour ago, changes it at the first stop, and puts it back with its old time.
fn put_back(w: &World, path: &str, before: &str, during: &str) -> Run {
    write_old(w, path, before);
    let time = std::fs::metadata(w.path(path)).unwrap().modified().unwrap();
    let back = |w: &World| {
        w.file(path, before);
        std::fs::File::options().write(true).open(w.path(path)).unwrap().set_modified(time).unwrap();
    };
    meanwhile(w, |w| _ = w.file(path, during), back)
}

/// Nothing may call `task` fresh.
#[track_caller]
fn is_not_fresh(w: &World, run: &Run, task: &str) {
    let check = w.check(&[]);
    assert_ne!(check.state(task), "fresh", "{task} is called fresh: {run}\n{check}");
    assert_ne!(run.code, 0, "{run}");
}

/// The build ended stale because of `path`, `T1` is not recorded, and the next build runs it.
#[track_caller]
fn is_a_change(w: &World, run: &Run, path: &str) {
    is_not_fresh(w, run, "T1");
    run.fails_with(3);
    let reason = &run.reasons("T1")[0];
    assert_eq!((&reason["kind"], &reason["path"]), (&"changed_during_run".into(), &path.into()), "{run}");
    w.build(&[]).success().ran(&["T1"]);
    w.build(&[]).runs_nothing();
}

/// The build ended well, and there is nothing to do.
#[track_caller]
fn is_no_change(w: &World, run: &Run) {
    run.success();
    w.check(&[]).success();
    w.build(&[]).runs_nothing();
}

/// A folder for programs beside the workspace.
fn programs(w: &World) -> PathBuf {
    let bin = w.root().parent().unwrap().join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    bin
}

/// Writes a program by a process of its own, so that no other test's child inherits the open file.
fn program(bin: &std::path::Path, name: &str, script: &str) {
    let write =
        "printf '#!/bin/sh\\n%s\\n' \"$1\" > \"$0.new\" && chmod 755 \"$0.new\" && mv \"$0.new\" \"$0\"";
    let status =
        std::process::Command::new("sh").args(["-c", write]).arg(bin.join(name)).arg(script).status();
    assert!(status.unwrap().success());
}

fn path_with(bin: &std::path::Path) -> String {
    format!("{}:{}", bin.display(), std::env::var("PATH").unwrap())
}

#[test]
fn a_needed_output_that_is_rewritten_and_put_back_is_a_change() {
    let w = world(
        "tasks:
  T0: { inputs: [], outputs: [made], run: echo 1 > made }
  T1: { needs: [T0], inputs: [], outputs: [o], run: '$1; cp made o; $2' }",
    );
    w.build(&["T0"]).success();
    let time = std::fs::metadata(w.path("made")).unwrap().modified().unwrap();
    let back = |w: &World| {
        w.file("made", "1\n");
        std::fs::File::options().write(true).open(w.path("made")).unwrap().set_modified(time).unwrap();
    };
    let run = meanwhile(&w, |w| _ = w.file("made", "2\n"), back);
    is_a_change(&w, &run, "made");
}

#[test]
fn a_file_that_lives_only_meanwhile_deep_in_a_folder_input_is_a_change() {
    let w = world("tasks: { T1: { inputs: [src/], outputs: [o], run: '$1; ls -R src > o; $2' } }");
    w.file("src/deep/x", "x");
    let run = meanwhile(&w, |w| _ = w.file("src/deep/y", "y"), |w| _ = w.remove("src/deep/y"));
    is_a_change(&w, &run, "src/deep/y");
}

#[test]
fn a_folder_of_files_that_match_and_live_only_meanwhile_is_a_change() {
    let w =
        world("tasks: { T1: { inputs: ['src/**/*.c'], outputs: [o], run: '$1; cat src/*/*.c > o; $2' } }");
    w.file("src/one/a.c", "a");
    let run = meanwhile(&w, |w| _ = w.file("src/two/b.c", "b"), |w| _ = w.remove("src/two"));
    is_not_fresh(&w, &run, "T1");
    run.fails_with(3);
    w.build(&[]).success().ran(&["T1"]);
    assert_eq!(w.read("o"), "a");
}

#[test]
fn a_file_that_matches_nothing_and_lives_only_meanwhile_is_no_change() {
    let w = world("tasks: { T1: { inputs: ['src/*.c'], outputs: [o], run: '$1; cat src/*.c > o; $2' } }");
    w.file("src/a.c", "a");
    let run = meanwhile(&w, |w| _ = w.file("src/build.log", "b"), |w| _ = w.remove("src/build.log"));
    is_no_change(&w, &run);
}

#[test]
fn a_file_that_matches_nothing_and_stays_is_no_change() {
    let w = world("tasks: { T1: { inputs: ['src/*.c'], outputs: [o], run: '$1; cat src/*.c > o; $2' } }");
    w.file("src/a.c", "a");
    let run = for_good(&w, |w| _ = w.file("src/build.log", "b"));
    is_no_change(&w, &run);
}

#[test]
fn a_folder_that_is_moved_away_and_back_is_a_change() {
    let w =
        world("tasks: { T1: { inputs: [src/], outputs: [o], run: '$1; ls src > o || echo none > o; $2' } }");
    w.file("src/x", "x");
    let (here, away) = (w.path("src"), w.path("away"));
    let run =
        meanwhile(&w, |_| std::fs::rename(&here, &away).unwrap(), |_| std::fs::rename(&away, &here).unwrap());
    is_not_fresh(&w, &run, "T1");
    w.build(&[]).success().ran(&["T1"]);
    assert_eq!(w.read("o"), "x\n");
}

#[test]
fn a_link_that_is_turned_and_turned_back_is_a_change() {
    let w = world("tasks: { T1: { inputs: [current], outputs: [o], run: '$1; cat current > o; $2' } }");
    w.file("v1", "1").file("v2", "2").link("current", "v1");
    let run = meanwhile(&w, |w| _ = w.link("current", "v2"), |w| _ = w.link("current", "v1"));
    is_a_change(&w, &run, "current");
}

#[test]
fn a_link_that_makes_room_for_another_and_comes_back_is_a_change() {
    let w = world("tasks: { T1: { inputs: [current], outputs: [o], run: '$1; cat current > o; $2' } }");
    w.file("v1", "1").file("v2", "2").link("current", "v1");
    let (here, aside) = (w.path("current"), w.path("aside"));
    let change = |w: &World| {
        std::fs::rename(&here, &aside).unwrap();
        w.link("current", "v2");
    };
    let run = meanwhile(&w, change, |_| std::fs::rename(&aside, &here).unwrap());
    is_a_change(&w, &run, "current");
}

#[test]
fn a_linked_folder_on_the_way_that_is_turned_and_turned_back_is_a_change() {
    let w = world("tasks: { T1: { inputs: [current/x], outputs: [o], run: '$1; cat current/x > o; $2' } }");
    w.file("v1/x", "1").file("v2/x", "2").link("current", "v1");
    let run = meanwhile(&w, |w| _ = w.link("current", "v2"), |w| _ = w.link("current", "v1"));
    is_not_fresh(&w, &run, "T1");
    run.fails_with(3);
    w.build(&[]).success().ran(&["T1"]);
    assert_eq!(w.read("o"), "1");
}

#[test]
fn a_new_hard_link_and_another_time_of_access_are_no_change() {
    let w = world("tasks: { T1: { inputs: [a], outputs: [o], run: '$1; cp a o; $2' } }");
    let touch = |w: &World| {
        std::fs::hard_link(w.path("a"), w.path("b")).unwrap();
        let status = std::process::Command::new("touch").arg("-a").arg(w.path("a")).status().unwrap();
        assert!(status.success());
    };
    let run = meanwhile(&w, touch, |w| _ = w.remove("b"));
    is_no_change(&w, &run);
}

#[test]
fn a_checks_data_file_that_is_put_back_has_accepted_nothing() {
    let w = world(
        "tasks:
  T1:
    inputs: [a]
    outputs: [o]
    run: cp a o
    validate: [{ run: '$1; cmp -s o expected; $2', inputs: [expected] }]",
    );
    let run = put_back(&w, "expected", "something else", "before");
    is_not_fresh(&w, &run, "T1");
    w.build(&[]).failed(&["T1"]);
}

#[test]
fn a_gates_data_file_that_is_put_back_has_accepted_nothing() {
    let w = world(
        "groups: { G: { gate: [{ run: '$1; grep -q good verdict; $2', inputs: [verdict] }] } }
tasks:
  T1: { group: G, inputs: [a], outputs: [o], run: cp a o }",
    );
    let run = put_back(&w, "verdict", "bad", "good");
    is_not_fresh(&w, &run, "G:gate");
    w.build(&[]).fails_with(1);
}

#[test]
fn a_required_file_that_is_put_back_lets_no_task_count() {
    let w = world(
        "tasks:
  T1:
    inputs: [a]
    outputs: [o]
    require: [{ run: '$1; grep -q ready state; $2', inputs: [state] }]
    run: cp a o",
    );
    let run = put_back(&w, "state", "down", "ready");
    is_not_fresh(&w, &run, "T1");
    w.build(&[]).failed(&["T1"]);
}

#[test]
fn an_input_that_says_what_it_must_only_while_it_is_matched_is_a_change() {
    let w = world(
        "tasks:
  T1:
    inputs: [a]
    outputs: [o]
    run: cp a o
    validate: [{ run: '$1' }, { matches: { path: a, regex: good } }, { run: '$2' }]",
    );
    let run = put_back(&w, "a", "bad", "good");
    is_not_fresh(&w, &run, "T1");
    w.build(&[]).failed(&["T1"]);
}

#[test]
fn a_tool_that_is_a_link_which_is_turned_and_turned_back_is_a_change() {
    let mut w =
        world("tasks: { T1: { tools: [mytool], inputs: [], outputs: [o], run: '$1; mytool > o; $2' } }");
    let bin = programs(&w);
    program(&bin, "v1", "echo 1");
    program(&bin, "v2", "echo 2");
    w.set_env("PATH", &path_with(&bin));
    let turn = |to: &str| {
        let _ = std::fs::remove_file(bin.join("mytool"));
        std::os::unix::fs::symlink(to, bin.join("mytool")).unwrap();
    };
    turn("v1");
    let run = meanwhile(&w, |_| turn("v2"), |_| turn("v1"));
    is_not_fresh(&w, &run, "T1");
    run.fails_with(3);
    w.build(&[]).success().ran(&["T1"]);
    assert_eq!(w.read("o"), "1\n");
}

#[test]
fn a_sandboxed_tasks_tool_that_is_exchanged_is_a_change() {
    let mut w = World::new(
        "tasks:
  T1:
    isolation: sandbox
    tools: [mytool]
    inputs: []
    outputs: [o]
    run: 'touch started; while [ ! -e go ]; do sleep 0.02; done; rm started go; mytool > o'",
    );
    let bin = programs(&w);
    program(&bin, "mytool", "echo 1");
    w.set_env("PATH", &path_with(&bin));
    let build = w.start(&[]);
    w.wait_for(".conductor/workspaces/T1/started");
    program(&bin, "mytool", "echo 2");
    w.file(".conductor/workspaces/T1/go", "");
    let run = build.wait();
    // With the tool of before nothing may hold that the new one made.
    program(&bin, "mytool", "echo 1");
    is_not_fresh(&w, &run, "T1");
}

#[test]
fn a_tool_that_appears_earlier_on_the_tasks_own_path_makes_it_stale() {
    let w = World::empty();
    let (early, late) = (programs(&w).join("early"), programs(&w).join("late"));
    std::fs::create_dir_all(&early).unwrap();
    std::fs::create_dir_all(&late).unwrap();
    program(&late, "mytool", "echo late");
    w.manifest(&format!(
        "tasks:
  T1:
    env: {{ PATH: '{}:{}:/usr/bin:/bin' }}
    tools: [mytool]
    inputs: []
    outputs: [o]
    run: mytool > o",
        early.display(),
        late.display()
    ));
    // The caller finds another one.
    let other = programs(&w);
    program(&other, "mytool", "echo other");
    let w = w.env("PATH", &path_with(&other));
    w.build(&[]).success();
    assert_eq!(w.read("o"), "late\n");
    program(&early, "mytool", "echo early");
    let check = w.check(&[]);
    assert_ne!(check.state("T1"), "fresh", "T1 is called fresh: {check}");
    w.build(&[]).success().ran(&["T1"]);
    assert_eq!(w.read("o"), "early\n");
}

#[test]
fn an_adapters_program_that_is_exchanged_is_a_change() {
    let w = World::empty();
    let bin = programs(&w);
    let script = |version: u8| format!("cat > /dev/null; {}; echo {version} > o", stop(1));
    program(&bin, "agent", &script(1));
    w.manifest(&format!(
        "agents: {{ command: {{ bin: '{}', login: [] }} }}
tasks:
  T1: {{ agent: command, isolation: none, instructions: Write o., inputs: [], outputs: [o] }}",
        bin.join("agent").display()
    ));
    let run = for_good(&w, |_| program(&bin, "agent", &script(2)));
    is_not_fresh(&w, &run, "T1");
    run.fails_with(3);
    w.build(&[]).success().ran(&["T1"]);
    assert_eq!(w.read("o"), "2\n");
}

#[test]
fn a_file_that_lives_only_meanwhile_behind_a_link_is_a_change() {
    for inputs in ["l", "'l/*'", "'*'"] {
        let w = world(&format!(
            "tasks: {{ T1: {{ inputs: [{inputs}, '!*d?', '!go?', '!o'], outputs: [o], run: '$1; cat l/* > o; $2' }} }}"
        ));
        w.file("real/f", "1").link("l", "real");
        let run = meanwhile(&w, |w| _ = w.file("real/g", "2"), |w| _ = w.remove("real/g"));
        is_not_fresh(&w, &run, "T1");
    }
}

#[test]
fn a_link_to_a_folder_that_is_turned_and_turned_back_is_a_change() {
    let w = world("tasks: { T1: { inputs: [l], outputs: [o], run: '$1; cat l/f > o; $2' } }");
    w.file("real/f", "1").file("other/f", "2").link("l", "real");
    let turn = |to: &'static str| {
        move |w: &World| {
            w.remove("l");
            w.link("l", to);
        }
    };
    let run = meanwhile(&w, turn("other"), turn("real"));
    is_not_fresh(&w, &run, "T1");
}

#[test]
fn an_output_that_is_good_only_while_it_is_checked_is_not_accepted() {
    let w = world(
        "tasks:
  T1: { inputs: [a], outputs: [o], run: cp a o, validate: [{ run: '$1; grep -q good o; $2' }] }",
    );
    w.file("a", "bad");
    let run = meanwhile(&w, |w| _ = w.file("o", "good"), |w| _ = w.file("o", "bad"));
    is_not_fresh(&w, &run, "T1");
    w.build(&[]).failed(&["T1"]);
}

#[test]
fn a_tools_command_with_another_answer_after_a_long_task_is_a_change() {
    let w = world(
        "tasks:
  T1: { tools: [{ run: cat v }], inputs: [], outputs: [o], run: 'sleep 1.1; $1; cat v > o' }",
    );
    w.file("v", "1");
    let run = for_good(&w, |w| _ = w.file("v", "2"));
    is_not_fresh(&w, &run, "T1");
    run.fails_with(3);
    w.build(&[]).success().ran(&["T1"]);
    w.file("v", "1").build(&[]).success().ran(&["T1"]);
    assert_eq!(w.read("o"), "1");
}

/// Builds a task that runs apart, makes a change while it runs, and returns the end.
fn while_apart(w: &World, change: impl FnOnce(&World)) -> Run {
    let build = w.start(&[]);
    wait_until("the task runs", || w.run(&["log", "T1"]).stdout.contains("started"));
    change(w);
    std::fs::write(w.root().parent().unwrap().join("go"), "").unwrap();
    build.wait()
}

/// A task apart, of which `keys` say more. It waits for `while_apart`, then runs `then`.
fn apart(keys: &str, then: &str) -> World {
    let w = World::new("tasks: {}");
    let go = w.root().parent().unwrap().join("go");
    let wait = format!("echo started; while [ ! -e {} ]; do sleep 0.02; done", go.display());
    w.manifest(&format!("tasks:\n  T1:\n    isolation: sandbox\n{keys}\n    run: '{wait}; {then}'\n"));
    w
}

#[test]
fn a_file_that_a_depfile_names_apart_is_recorded_as_the_task_read_it() {
    let w = apart(
        "    sees: all\n    inputs: [m]\n    outputs: [o]\n    depfile: d",
        "cat m h > o; echo o: m h > d",
    );
    w.file("m", "m").file("h", "old");
    while_apart(&w, |w| _ = w.file("h", "new")).fails_with(3);
    w.check(&[]).fails_with(3);
    w.build(&[]).success().ran(&["T1"]);
    assert_eq!(w.read("o"), "mnew");
}

#[test]
fn a_new_file_for_an_editor_is_named_by_the_build_in_which_it_appears() {
    let w = apart("    inputs: []\n    edits: [\"src/*\"]", "sed -i s/foo/bar/ src/*");
    w.file("src/a", "foo");
    while_apart(&w, |w| _ = w.file("src/c", "foo")).fails_with(3).says("src/c");
    w.build(&[]).success().ran(&["T1"]);
    assert_eq!((w.read("src/a"), w.read("src/c")), ("bar".to_owned(), "bar".to_owned()));
}

#[test]
fn the_same_bytes_written_anew_are_no_change_for_a_task_with_copies() {
    let w = apart("    inputs: [s]\n    outputs: [o]", "cat s > o");
    w.file("s", "1");
    let run = while_apart(&w, |w| _ = w.file("s", "1"));
    is_no_change(&w, &run);
}
