//! Edits while a build runs. Before a task starts they are picked up; while it runs they make the result
//! unrecorded: exit 3, reason `changed_during_run`, and the next build does it.

use crate::support::{Run, WAIT, World};

/// Runs a build whose task waits, edits while it waits, and lets it go on.
fn edited(w: &World, args: &[&str], edit: impl FnOnce(&World)) -> Run {
    let build = w.start(args);
    w.wait_for("started");
    edit(w);
    w.file("go", "");
    let run = build.wait();
    w.remove("started").remove("go");
    run
}

/// The build ended stale because of `path`, nothing is recorded, and the next one ends right.
#[track_caller]
fn is_not_recorded(w: &World, run: &Run, path: &str) {
    run.fails_with(3).ran(&["T1"]);
    assert_eq!(run.json()["result"], "stale", "{run}");
    let reasons = run.reasons("T1");
    assert_eq!(reasons[0]["kind"], "changed_during_run", "{run}");
    assert_eq!(reasons[0]["path"], path, "{run}");
    run.says(path);
    let check = w.check(&["T1"]);
    check.fails_with(3);
    assert_eq!(check.kinds("T1")[0], "changed_during_run", "{check}");
    w.file("go", "");
    w.build(&["T1"]).success().ran(&["T1"]).never_says("conflicts");
    w.build(&["T1"]).runs_nothing();
}

fn manifest(keys: &str, run: &str) -> World {
    let manifest = format!(
        "
tasks:
  T1:
    {keys}
    outputs: [o]
    run: |
      {run}
      {WAIT}
  T2: {{ inputs: [o], outputs: [p], run: cp o p }}
"
    );
    let w = World::new(&manifest);
    w.file("a", "1").file("src/x", "x");
    w
}

#[test]
fn an_input_edited_while_its_task_runs_is_named_and_nothing_is_recorded() {
    let w = manifest("inputs: [a]", "cp a o");
    let run = edited(&w, &[], |w| _ = w.file("a", "2"));
    run.skipped(&["T2"]);
    assert_eq!(w.read("o"), "1", "the outputs stand");
    is_not_recorded(&w, &run, "a");
    assert_eq!(w.read("o"), "2");
}

#[test]
fn an_input_edited_to_the_same_length_is_seen_too() {
    let w = manifest("inputs: [a]", "cp a o");
    let run = edited(&w, &["T1"], |w| _ = w.file("a", "3"));
    is_not_recorded(&w, &run, "a");
}

#[test]
fn an_input_deleted_while_its_task_runs_is_named() {
    let w = manifest("inputs: [a]", "cat a > o || true");
    let run = edited(&w, &["T1"], |w| _ = w.remove("a"));
    run.fails_with(3);
    assert_eq!(run.reasons("T1")[0]["path"], "a");
}

#[test]
fn a_file_that_appears_in_a_globs_listing_is_named() {
    let w = manifest("inputs: [\"src/*\"]", "ls src > o");
    let run = edited(&w, &["T1"], |w| _ = w.file("src/y", "y"));
    is_not_recorded(&w, &run, "src/y");
    assert_eq!(w.read("o"), "x\ny\n");
}

#[test]
fn a_file_that_disappears_from_a_folders_listing_is_named() {
    let w = manifest("inputs: [src/]", "ls src > o");
    w.file("src/y", "y");
    let run = edited(&w, &["T1"], |w| _ = w.remove("src/y"));
    is_not_recorded(&w, &run, "src/y");
    assert_eq!(w.read("o"), "x\n");
}

#[test]
fn a_file_that_appears_where_a_literal_input_was_missing_is_named() {
    let w = manifest("inputs: [later]", "cat later > o 2>&1 || true");
    let run = edited(&w, &["T1"], |w| _ = w.file("later", "x"));
    is_not_recorded(&w, &run, "later");
}

#[test]
fn a_needed_output_edited_while_the_task_runs_is_named() {
    let w = World::new(&format!(
        "
tasks:
  T0: {{ inputs: [], outputs: [made], run: echo 1 > made }}
  T1: {{ needs: [T0], inputs: [], outputs: [o], run: 'cp made o; {WAIT}' }}
"
    ));
    let run = edited(&w, &[], |w| _ = w.file("made", "by hand"));
    run.fails_with(3);
    assert_eq!(run.reasons("T1")[0]["kind"], "changed_during_run", "{run}");
    assert_eq!(run.reasons("T1")[0]["path"], "made");
    w.file("go", "");
    w.build(&[]).success();
    assert_eq!((w.read("made"), w.read("o")), ("1\n".to_owned(), "1\n".to_owned()));
    w.build(&[]).runs_nothing();
}

#[test]
fn a_header_that_a_depfile_discovers_edited_in_mid_run_is_named() {
    let w = manifest("inputs: [a]\n    depfile: d", "cat h > o; echo 'o: h' > d");
    w.file("h", "1").file("go", "").build(&[]).success();
    w.remove("go").remove("started");
    w.file("a", "2");
    let run = edited(&w, &["T1"], |w| _ = w.file("h", "2"));
    is_not_recorded(&w, &run, "h");
    assert_eq!(w.read("o"), "2");
}

#[test]
fn a_header_that_nobody_knew_edited_in_mid_run_is_named() {
    let w = manifest("inputs: [a]\n    depfile: d", "cat h > o; echo 'o: h' > d");
    w.file("h", "1");
    let run = edited(&w, &["T1"], |w| _ = w.file("h", "2"));
    is_not_recorded(&w, &run, "h");
    assert_eq!(w.read("o"), "2");
}

#[test]
fn a_header_that_nobody_knew_written_in_the_very_tick_of_the_start_is_named() {
    let w = World::new(
        "tasks: { T1: { inputs: [], outputs: [o], depfile: d, run: \"echo 2 > h; cat h > o; echo 'o: h' > d\" } }",
    );
    w.file("h", "1");
    let run = w.build(&[]);
    run.fails_with(3);
    assert_eq!(run.reasons("T1")[0]["path"], "h", "{run}");
}

#[test]
fn an_edit_before_the_task_starts_is_picked_up() {
    let w = World::new(&format!(
        "
tasks:
  T1: {{ inputs: [], outputs: [first], run: '{WAIT}; echo 1 > first' }}
  T2: {{ inputs: [a, \"src/*\"], after: [T1], outputs: [o], run: cat a src/* > o }}
"
    ));
    w.file("a", "1").file("src/x", "x");
    let run = edited(&w, &["-j", "1"], |w| {
        w.file("a", "2").file("src/y", "y");
    });
    run.success().ran(&["T1", "T2"]);
    assert_eq!(w.read("o"), "2xy");
    w.build(&[]).runs_nothing();
}

#[test]
fn an_edit_before_a_fresh_tasks_turn_is_not_overlooked() {
    let w = World::new(&format!(
        "
tasks:
  T1: {{ inputs: [b], outputs: [first], run: 'cp b first; {WAIT}' }}
  T2: {{ inputs: [a], outputs: [o], run: cp a o }}
"
    ));
    w.file("a", "1").file("b", "1").file("go", "").build(&[]).success();
    w.remove("go").remove("started").file("b", "2");
    let run = edited(&w, &[], |w| _ = w.file("a", "2"));
    // T2 was judged fresh before the edit: success would be a lie.
    assert!(run.code == 3 || w.read("o") == "2", "{run}");
    w.file("go", "").build(&[]).success();
    assert_eq!(w.read("o"), "2");
}

#[test]
fn an_edit_after_its_task_ended_and_before_the_build_ends_is_not_called_success() {
    let w = World::new(&format!(
        "
tasks:
  T1: {{ inputs: [a], outputs: [o], run: cp a o }}
  T2: {{ inputs: [], after: [T1], run: '{WAIT}' }}
"
    ));
    w.file("a", "1");
    let run = edited(&w, &[], |w| _ = w.file("a", "2"));
    run.fails_with(3).says("a").ran(&["T1", "T2"]);
    w.build(&[]).success().ran(&["T1"]);
    assert_eq!(w.read("o"), "2");
}

#[test]
fn among_very_many_files_those_that_a_build_read_and_made_are_looked_at_again_however_short_it_was() {
    let w = World::new(&format!(
        "
tasks:
  T1: {{ inputs: [a], outputs: [o], run: cp a o }}
  T2: {{ inputs: [], after: [T1], always: true, run: '{WAIT}' }}
  T3: {{ inputs: ['many/*'], outputs: [n], run: ls many | wc -l > n }}
"
    ));
    for number in 0..4200 {
        w.file(format!("many/{number}"), "");
    }
    w.file("a", "1").file("go", "").build(&[]).success();
    for (edited_file, content) in [("a", "3"), ("o", "a person's")] {
        w.remove("go").remove("started").file("a", "2");
        let run = edited(&w, &[], |w| _ = w.file(edited_file, content));
        run.fails_with(3).says(edited_file).ran(&["T1", "T2"]);
        w.file("go", "").build(&[]).success();
        assert_eq!(w.read("o"), w.read("a"));
        w.file("a", "1").build(&[]).success();
    }
    // What it has not touched it may miss; the next build does not.
    w.remove("go").remove("started").file("a", "2");
    let run = edited(&w, &[], |w| _ = w.file("many/new", "").file("many/7", "7"));
    assert!([0, 3].contains(&run.code), "{run}");
    w.file("go", "").build(&[]).success().ran(&["T2", "T3"]);
    assert_eq!(w.read("n").trim(), "4201");
}

#[test]
fn a_task_that_changes_its_own_input_twice_is_told_about_edits() {
    let w = World::new("tasks: { T1: { inputs: [a], outputs: [o], run: cp a o; echo x >> a } }");
    w.file("a", "1");
    w.build(&[]).fails_with(3).says("a").never_says("`edits`");
    w.run(&["build"]).fails_with(3);
    let again = w.run(&["build"]);
    again.fails_with(3);
    again.says("`edits`");
    let told = again.stdout.matches("a changed while T1 ran").count();
    assert_eq!(told, 1, "{again}");
}

#[test]
fn an_edit_of_a_checks_own_input_while_it_runs_shows_at_the_next_build() {
    let w = World::new(&format!(
        "
tasks:
  T1:
    inputs: []
    outputs: [o]
    run: echo 1 > o
    validate: [{{ run: 'cat expected; {WAIT}', inputs: [expected] }}]
"
    ));
    w.file("expected", "1");
    let run = edited(&w, &[], |w| _ = w.file("expected", "2"));
    assert!([0, 3].contains(&run.code), "{run}");
    w.file("go", "");
    w.check(&[]).fails_with(3);
    w.build(&[]).success().checked_again(&["T1"]);
    w.build(&[]).runs_nothing();
}

#[test]
fn a_stray_write_of_a_task_into_anothers_output_is_noticed() {
    let w = World::new(
        "
tasks:
  T1: { inputs: [], outputs: [o], run: echo 1 > o }
  T2: { after: [T1], inputs: [], run: echo 2 > o }
",
    );
    let run = w.build(&[]);
    assert_ne!(run.code, 0, "the output is not what T1 made: {run}");
}

#[test]
fn a_task_that_links_or_chmods_its_input_has_not_changed_it() {
    for run in ["ln a o", "chmod 600 a; cp a o", "ln a b; cp a o; rm b"] {
        let w = World::new(&format!("tasks: {{ T1: {{ inputs: [a], outputs: [o], run: {run} }} }}"));
        w.file("a", "1").build(&[]).success().ran(&["T1"]);
        w.build(&[]).runs_nothing();
    }
    let w = World::new("tasks: { T1: { inputs: [a], outputs: [o], run: cp a o; chmod +x a } }");
    w.file("a", "1").build(&[]).fails_with(3);
}
