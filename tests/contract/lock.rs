//! `conductor.lock`: what a checkout without any state knows of results, how it is kept, merged, damaged.

use crate::support::World;

/// Commits everything that git does not ignore.
fn commit(w: &World) {
    w.git(&["add", "-A"]).git(&["commit", "-q", "--allow-empty", "-m", "x"]);
}

/// A world that was built, locked and committed.
fn locked(manifest: &str, files: &[(&str, &str)]) -> World {
    let w = World::new(manifest);
    for (path, content) in files {
        w.file(path, content);
    }
    w.git(&["init", "-q"]);
    w.build(&[]).success();
    w.run(&["lock"]).success();
    commit(&w);
    w
}

/// A fresh clone: no state, no cache, nothing that git has not.
fn clone(w: &World) -> World {
    let other = World::empty();
    other.git(&["clone", "-q", &w.root().display().to_string(), "."]);
    assert!(!other.has(".conductor"));
    other
}

const CHAIN: &str = "
tasks:
  A: { inputs: [\"src/*\"], outputs: [a], run: cat src/* > a }
  B: { inputs: [], needs: [A], outputs: [b/], run: \"mkdir -p b; cp a b/copy; cp a b/more\", validate: [{ non_empty: b/copy }] }
  C: { inputs: [b/copy, c.txt], outputs: [c], run: cat b/copy c.txt > c; echo C >> ran }
";

fn chain() -> World {
    locked(CHAIN, &[("src/x", "1"), ("c.txt", "c")])
}

#[test]
fn a_fresh_clone_is_checked_without_state_secrets_or_tools_that_run() {
    let mut w = World::new(
        "
tasks:
  T:
    inputs: [x]
    tools: [{ run: echo v1; touch tool-ran }, sh]
    secrets: [TOKEN]
    outputs: [o]
    run: cp x o
    validate: [{ run: touch checked }]
",
    );
    w.set_env("TOKEN", "secret-value");
    w.file("x", "1").git(&["init", "-q"]);
    w.build(&[]).success();
    w.run(&["lock"]).success();
    w.remove("tool-ran").remove("checked");
    commit(&w);
    assert!(!w.read("conductor.lock").contains("secret-value"));
    let other = clone(&w).env("PATH", "/nowhere");
    let before = other.tree();
    other.check(&[]).success();
    other.check(&["--outputs"]).success();
    other.why("T").success();
    before.is_unchanged(&other.tree(), "check and why");
}

#[test]
fn a_build_takes_committed_outputs_that_match_the_lock_over_without_running_anything() {
    let other = clone(&chain());
    other.build(&["--frozen"]).success();
    other.build(&[]).runs_nothing();
    assert_eq!(other.read("ran"), "C\n", "as committed");
    other.remove("conductor.lock");
    other.check(&[]).success();
    other.run(&["why", "C"]).success().says("known from conductor.lock");
    // From then on the state knows it all: the file that changed is named.
    other.file("c.txt", "other");
    assert_eq!(other.check(&[]).fails_with(3).reason("C", "input_changed")["path"], "c.txt");
    other.build(&[]).success().ran(&["C"]).fresh(&["A", "B"]);
}

#[test]
fn without_a_state_the_reason_names_the_part_of_the_key_that_differs() {
    let edit = |change: &dyn Fn(&World), task: &str, kind: &str, name: &str| {
        let other = clone(&chain());
        change(&other);
        let run = other.check(&[]);
        let reason = run.fails_with(3).reason(task, kind);
        assert_eq!(reason["name"], name, "{run}");
        other.build(&["--frozen"]).fails_with(3).says(&format!("--frozen: {task} is stale"));
        other.build(&[]).success();
        other.check(&[]).success();
    };
    edit(&|w| _ = w.file("c.txt", "2"), "C", "input_changed", "inputs");
    edit(&|w| _ = w.file("src/y", "2"), "A", "input_changed", "inputs");
    edit(
        &|w| _ = w.file("conductor.yaml", w.read("conductor.yaml").replace("c.txt > c", "c.txt >c")),
        "C",
        "definition_changed",
        "definition",
    );
}

#[test]
fn a_changed_check_is_told_and_runs_alone() {
    let other = clone(&chain());
    other.file(
        "conductor.yaml",
        other.read("conductor.yaml").replace("non_empty: b/copy", "non_empty: b/more"),
    );
    other.check(&[]).fails_with(3).reason("B", "validation_changed");
    other.build(&[]).success().ran(&[]).checked_again(&["B"]);
    other.build(&[]).runs_nothing();
}

#[test]
fn an_output_that_is_not_what_the_lock_says_is_stale_and_tampered_with() {
    let other = clone(&chain());
    other.file("a", "by hand");
    assert_eq!(other.check(&[]).fails_with(3).reason("A", "output_modified")["path"], "a");
    other.check(&["--outputs"]).fails_with(4);
    other.remove("a");
    other.check(&[]).fails_with(3).reason("A", "output_missing");
    other.check(&["--outputs"]).fails_with(3);
}

#[test]
fn an_absent_output_that_git_ignores_is_judged_by_the_lock_and_made_by_a_build() {
    let w = locked(CHAIN, &[("src/x", "1"), ("c.txt", "c"), (".gitignore", "/a\n/b/\n/ran\n")]);
    let other = clone(&w);
    assert!(!other.has("a") && !other.has("b"));
    other.check(&[]).success();
    other.build(&["--frozen"]).fails_with(3);
    other.file("src/x", "2");
    other.check(&[]).fails_with(3).reason("A", "input_changed");
    other.file("src/x", "1");
    // A and B are made again to the same bytes, and C stays as it was committed.
    other.build(&[]).success().ran(&["A", "B"]).fresh(&["C"]);
    assert!(!other.has("ran"));
    other.build(&[]).runs_nothing();
}

#[test]
fn a_build_keeps_the_lock_current_and_writes_it_only_if_it_says_something_else() {
    let w = chain();
    let written = || w.path("conductor.lock").metadata().unwrap().modified().unwrap();
    let before = written();
    w.build(&[]).runs_nothing();
    w.build(&["A"]).runs_nothing();
    w.build(&["--force"]).success().ran(&["A", "B", "C"]);
    let text = w.read("conductor.lock");
    w.build(&[]).runs_nothing();
    assert_eq!(before, written(), "the same bytes, the same file");
    w.file("c.txt", "2");
    w.build(&[]).success().ran(&["C"]);
    let now = w.read("conductor.lock");
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let (old, new) = (lines(&text), lines(&now));
    let differing: Vec<usize> = (0..old.len()).filter(|at| old[*at] != new[*at]).collect();
    assert_eq!((old.len(), new.len(), differing), (7, 7, vec![6]), "only the line of C differs");
    commit(&w);
    clone(&w).check(&[]).success();
    // A failure leaves the last accepted result where it was.
    w.file("conductor.yaml", w.read("conductor.yaml").replace("echo C >> ran", "false"));
    w.build(&[]).fails_with(1);
    assert_eq!(w.read("conductor.lock"), now);
}

#[test]
fn there_is_no_lock_where_nobody_asked_for_one() {
    let w = World::new(CHAIN);
    w.file("src/x", "1").file("c.txt", "c");
    w.build(&[]).success();
    assert!(!w.has("conductor.lock") && !w.has(".conductor/locked"));
}

#[test]
fn tasks_that_left_the_manifest_and_results_that_were_taken_back_leave_the_lock() {
    let w = chain();
    w.file("c.txt", "2");
    w.build(&[]).success();
    w.run(&["rollback", "C"]).success();
    assert!(!w.read("conductor.lock").contains("\"C\""), "{}", w.read("conductor.lock"));
    let manifest = w.read("conductor.yaml");
    w.file("conductor.yaml", manifest.split("  C:").next().unwrap());
    w.build(&[]).success();
    assert_eq!(w.read("conductor.lock").lines().count(), 5);
}

#[test]
fn a_build_of_one_target_leaves_the_lines_of_the_others() {
    let w = chain();
    let other = clone(&w);
    let text = other.read("conductor.lock");
    other.file("src/x", "2");
    other.build(&["A"]).success().ran(&["A"]);
    let now = other.read("conductor.lock");
    let differing = text.lines().zip(now.lines()).filter(|(old, new)| old != new).count();
    assert_eq!(differing, 1, "{now}");
    other.check(&["A"]).success();
    other.check(&[]).fails_with(3);
}

#[test]
fn what_somebody_else_built_and_committed_is_fresh_after_a_pull() {
    let w = chain();
    let other = clone(&w);
    other.build(&[]).runs_nothing();
    w.file("src/x", "2");
    w.build(&[]).success().ran(&["A", "B", "C"]);
    commit(&w);
    other.git(&["pull", "-q"]);
    other.check(&[]).success();
    other.build(&["--frozen"]).success();
    other.build(&[]).runs_nothing();
    assert_eq!(other.conflicts(), [""; 0]);
    assert_eq!(other.git_says(&["status", "--short"]), "");
}

#[test]
fn two_lines_for_one_task_are_both_candidates() {
    let w = chain();
    w.file(".gitattributes", "conductor.lock merge=union\n");
    commit(&w);
    w.git(&["checkout", "-qb", "two"]);
    w.file("src/x", "2");
    w.build(&[]).success();
    commit(&w);
    w.git(&["checkout", "-q", "main"]).git(&["checkout", "-qb", "three"]);
    w.file("c.txt", "3");
    w.build(&[]).success();
    commit(&w);
    // Of the sources git makes one; of what was made from them, C is of neither side.
    w.git(&["merge", "-q", "--no-commit", "-X", "ours", "two"]);
    let text = w.read("conductor.lock");
    assert_eq!(text.matches("\"task\":\"C\"").count(), 2, "{text}");
    commit(&w);
    let other = clone(&w);
    let run = other.check(&[]);
    run.fails_with(3);
    assert_eq!(["A", "B", "C"].map(|task| run.state(task)), ["fresh", "fresh", "stale"], "{run}");
    other.build(&[]).success().ran(&["C"]).fresh(&["A", "B"]);
    assert_eq!(other.read("conductor.lock").matches("\"task\":\"C\"").count(), 1);
    // Whichever state the sources are in, the line of that state is the one that holds.
    let lock = |rev: &str| w.git_says(&["show", &format!("{rev}:conductor.lock")]) + "\n";
    let line_of_c = |rev: &str| lock(rev).lines().last().unwrap().to_owned();
    for text in [lock("main") + &line_of_c("three~1") + "\n", lock("three~1") + &line_of_c("main") + "\n"] {
        for rev in ["main", "three~1"] {
            let other = clone(&w);
            other.git(&["fetch", "-q", "origin", "main"]);
            other.git(&["checkout", "-q", &w.git_says(&["rev-parse", rev])]).file("conductor.lock", &text);
            other.check(&[]).success();
            other.build(&[]).runs_nothing();
            assert_eq!(other.read("conductor.lock"), lock(rev));
        }
    }
}

#[test]
fn damage_is_told_with_its_line_fails_the_check_and_is_mended_by_a_build() {
    let w = chain();
    let whole = w.read("conductor.lock");
    let lines: Vec<&str> = whole.lines().collect();
    let damaged = [
        (whole.replacen(lines[4], &format!("<<<<<<< ours\n{}\n=======\n>>>>>>> theirs", lines[4]), 1), 5),
        (whole.replacen(lines[4], &lines[4][..40], 1), 5),
        (whole.replacen(lines[4], &lines[4].replacen("\"key\":\"", "\"key\":\"0", 1), 1), 5),
        (whole.replacen(lines[0], "", 1), 1),
        ("\u{0}garbage".to_owned(), 1),
    ];
    for (text, line) in damaged {
        w.file("conductor.lock", &text);
        let run = w.check(&[]);
        let label = run.fails_with(4).diagnostics()[0]["labels"][0].clone();
        assert_eq!((&label["file"], &label["line"]), (&"conductor.lock".into(), &line.into()), "{run}");
        assert_eq!(run.json()["fresh"], true, "the state knows it all: {run}");
        w.run(&["check"]).fails_with(4).says(&format!("line {line}"));
        w.build(&[]).runs_nothing();
        assert_eq!(w.read("conductor.lock"), whole, "mended");
        w.check(&[]).success();
    }
    // In a clone the lines that are whole still count.
    w.file("conductor.lock", whole.replacen(lines[6], "", 1) + "xxx\n");
    commit(&w);
    let run = clone(&w).check(&[]);
    run.fails_with(4).kinds("C");
    assert_eq!(["A", "B"].map(|task| run.state(task)), ["fresh", "fresh"], "{run}");
}

#[test]
fn a_lock_of_another_format_is_left_alone() {
    let w = chain();
    let text = w.read("conductor.lock").replacen("# conductor.lock 1", "# conductor.lock 2", 1);
    w.file("conductor.lock", &text);
    w.check(&[]).fails_with(4);
    w.run(&["lock"]).fails_with(4).says("lock::version");
    w.build(&["--force"]).success();
    assert_eq!(w.read("conductor.lock"), text);
}

#[test]
fn the_lock_is_no_input_of_what_reads_everything() {
    let w = locked("tasks:\n  T: { inputs: [\"**\"], outputs: [o], run: ls > o }\n", &[("x", "1")]);
    w.check(&[]).success();
    w.build(&[]).runs_nothing();
    clone(&w).check(&[]).success();
    let w = locked("tasks:\n  T: { inputs: [.], outputs: [o], run: ls > o }\n", &[("x", "1")]);
    w.build(&[]).runs_nothing();
    clone(&w).check(&[]).success();
}

#[test]
fn what_a_depfile_named_is_known_to_a_clone() {
    let w = locked(
        "
tasks:
  T: { inputs: [x], outputs: [o], depfile: d.mk, run: \"cat x h/* > o; echo o: h/a h/b > d.mk\" }
",
        &[("x", "1"), ("h/a", "1"), ("h/b", "1"), (".gitignore", "d.mk\n")],
    );
    let other = clone(&w);
    other.check(&[]).success();
    other.file("h/b", "2");
    other.check(&[]).fails_with(3).reason("T", "input_changed");
    other.file("h/b", "1");
    other.build(&[]).runs_nothing();
    other.file("h/b", "2");
    assert_eq!(other.check(&[]).reason("T", "input_changed")["path"], "h/b");
}

#[test]
fn variables_of_the_caller_count_and_their_values_are_not_in_the_lock() {
    let mut w =
        World::new("tasks:\n  T: { inputs: [], env: [REGION], outputs: [o], run: echo $REGION > o }\n");
    w.set_env("REGION", "eu-west-secretive");
    w.git(&["init", "-q"]);
    w.build(&[]).success();
    w.run(&["lock"]).success();
    commit(&w);
    assert!(!w.read("conductor.lock").contains("secretive"));
    let other = clone(&w).env("REGION", "eu-west-secretive");
    other.check(&[]).success();
    let other = clone(&w).env("REGION", "us");
    assert_eq!(other.check(&[]).fails_with(3).reason("T", "env_changed")["name"], "REGION");
}

#[test]
fn a_check_believes_the_lock_about_tools_and_a_build_looks_at_them() {
    let w = World::new("tasks:\n  T: { inputs: [], tools: [./tool], outputs: [o], run: ./tool > o }\n");
    w.program("tool", "#!/bin/sh\necho 1\n").git(&["init", "-q"]);
    w.build(&[]).success();
    w.run(&["lock"]).success();
    commit(&w);
    let other = clone(&w);
    other.program("tool", "#!/bin/sh\necho 2\n");
    other.check(&[]).success();
    other.build(&["--frozen"]).fails_with(3);
    assert_eq!(other.build(&[]).success().reason("T", "tool_changed")["name"], "./tool");
    assert_eq!(other.read("o"), "2\n");
    let other = clone(&w);
    other.file("conductor.yaml", other.read("conductor.yaml").replace("[./tool]", "[./tool, sh]"));
    assert_eq!(other.check(&[]).fails_with(3).reason("T", "tool_changed")["name"], "sh");
}

#[test]
fn gates_and_tasks_that_always_run_are_known_to_a_clone() {
    let w = locked(
        "
groups:
  G: { gate: [{ run: test -e a, inputs: [g.txt] }] }
tasks:
  A: { group: G, inputs: [x], outputs: [a], run: cp x a }
  E: { inputs: [], always: true, outputs: [e], run: echo same > e }
  B: { inputs: [], needs: [E], after: [G], outputs: [b], run: cp e b; echo B >> ran }
",
        &[("x", "1"), ("g.txt", "1")],
    );
    let other = clone(&w);
    let run = other.check(&[]);
    assert_eq!(
        ["A", "G:gate", "E", "B"].map(|task| run.success().state(task)),
        ["fresh", "fresh", "always", "fresh"]
    );
    other.file("g.txt", "2");
    let run = other.check(&[]);
    assert_eq!((run.fails_with(3).state("G:gate"), run.state("A")), ("stale".into(), "fresh".into()));
    other.file("g.txt", "1");
    other.build(&[]).success().ran(&["E"]).fresh(&["A", "G:gate", "B"]);
    assert_eq!(other.read("ran"), "B\n");
}

const EDITORS: &str = "
tasks:
  E1: { isolation: sandbox, edits: [doc.txt], inputs: [one], run: cat one >> doc.txt }
  E2: { isolation: sandbox, edits: [doc.txt], needs: [E1], inputs: [two], run: cat two >> doc.txt }
  R: { needs: [E2], inputs: [doc.txt], outputs: [r], run: cp doc.txt r }
";

fn editors() -> World {
    locked(EDITORS, &[("doc.txt", "base\n"), ("one", "1\n"), ("two", "2\n")])
}

#[test]
fn chains_of_edits_are_known_to_a_clone_by_the_states_of_each_file() {
    let w = editors();
    assert_eq!(w.read("doc.txt"), "base\n1\n2\n");
    let other = clone(&w);
    other.check(&[]).success();
    other.build(&["--frozen"]).success();
    other.build(&[]).runs_nothing();
    assert_eq!(other.read("doc.txt"), "base\n1\n2\n");
    let other = clone(&w);
    other.file("two", "3\n");
    let run = other.check(&[]);
    run.fails_with(3).reason("E2", "input_changed");
    assert_eq!((run.state("E1"), run.state("R")), ("fresh".into(), "blocked".into()));
    // A state of the chain that somebody put back.
    let other = clone(&w);
    other.file("doc.txt", "base\n1\n");
    let run = other.check(&[]);
    run.fails_with(3).reason("E2", "output_modified");
    assert_eq!(run.state("E1"), "fresh");
}

#[test]
fn an_editor_that_must_run_where_its_starting_point_is_nowhere_starts_from_the_tree() {
    let w = editors();
    // Before and after the clone's state knows the chain.
    for builds in [0, 1] {
        let other = clone(&w);
        for _ in 0..builds {
            other.build(&[]).runs_nothing();
        }
        other.file("one", "one\n");
        let run = other.build(&[]);
        run.success().ran(&["E1", "E2", "R"]);
        assert_eq!(other.read("doc.txt"), "base\n1\n2\none\n2\n", "{run}");
        assert_eq!(other.read("r"), other.read("doc.txt"));
        other.build(&[]).runs_nothing();
        other.check(&[]).success();
        commit(&other);
        clone(&other).check(&[]).success();
    }
}

#[test]
fn a_result_that_stays_on_its_branch_is_checked_by_the_lock_and_made_by_a_build() {
    let w = World::new(
        "
tasks:
  T: { inputs: [x], isolation: worktree, integrate: branch, outputs: [o], run: cp x o }
  U: { inputs: [], needs: [T], isolation: worktree, outputs: [u], run: cp o u }
",
    );
    w.file("x", "1").git(&["init", "-q"]);
    commit(&w);
    w.build(&[]).success();
    w.run(&["lock"]).success();
    commit(&w);
    let other = clone(&w);
    other.check(&[]).success();
    other.file("x", "2");
    other.check(&[]).fails_with(3).reason("T", "input_changed");
    other.file("x", "1");
    // Whoever needs its bytes must have them here.
    let run = other.build(&[]);
    run.success().ran(&["T"]).fresh(&["U"]);
    assert_eq!(other.git_says(&["show", "conductor/T:o"]), "1");
    other.build(&[]).runs_nothing();
}

#[test]
fn the_same_inputs_give_the_same_lock_whoever_builds_them() {
    let w = chain();
    let other = clone(&w);
    other.remove("conductor.lock").git(&["commit", "-qam", "without"]);
    other.build(&["--force"]).success();
    other.run(&["lock"]).success();
    assert_eq!(other.read("conductor.lock"), w.read("conductor.lock"));
}

#[test]
fn tampering_is_seen_where_the_task_stands_on_something_stale_too() {
    let w = chain();
    w.file("src/x", "2").file("c", "by hand");
    w.check(&["--outputs"]).fails_with(4);
    w.check(&[]).fails_with(3);
}

#[test]
fn a_decision_of_a_person_brings_the_lock_up_to_date_too() {
    let w = World::new("tasks:\n  T: { inputs: [x], approve: true, outputs: [o], run: cp x o }\n");
    w.file("x", "1").git(&["init", "-q"]);
    w.run(&["lock"]).success().says("0 results");
    w.build(&[]).fails_with(5);
    assert!(!w.read("conductor.lock").contains("\"T\""));
    w.run(&["approve", "T"]).success();
    commit(&w);
    clone(&w).check(&[]).success();
}

#[test]
fn a_result_that_came_from_the_lock_can_be_checked_rolled_back_and_cleaned_like_any_other() {
    let other = clone(&chain());
    other.build(&[]).runs_nothing();
    other.run(&["rollback", "C"]).fails_with(1).says("rollback::not_kept");
    other.file("c.txt", "2");
    other.build(&[]).success().ran(&["C"]);
    other.run(&["rollback", "C"]).success();
    assert_eq!(other.read("c"), "1c", "as it was committed");
    other.run(&["clean"]).success();
    assert!(!other.has("a") && !other.has("b/copy"));
    other.build(&[]).success();
    other.build(&[]).runs_nothing();
}
