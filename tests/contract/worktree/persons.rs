//! A person's changes: in mid-run, at an output's path, at an edited path.

use super::{branches, nothing_left, on, repo};

const WAITS: &str = "touch started; while [ ! -e go ]; do sleep 0.02; done";

#[test]
fn an_edit_in_mid_run_is_named_and_the_snapshots_result_is_recorded() {
    let w = repo(
        &format!(
            "defaults: {{ isolation: worktree, writes: warn }}
tasks:
  T1: {{ inputs: [in.txt], outputs: [out], run: '{WAITS}; cp in.txt out' }}
  T2: {{ needs: [T1], inputs: [], outputs: [two], run: cp out two }}
"
        ),
        &[("in.txt", "old\n")],
    );
    let build = w.start(&[]);
    w.wait_for(".conductor/workspaces/T1/started");
    w.file("in.txt", "new\n").file(".conductor/workspaces/T1/go", "");
    let run = build.wait();
    run.fails_with(3).ran(&["T1", "T2"]);
    assert_eq!(run.kinds("T1")[0], "changed_during_run");
    assert_eq!(run.reasons("T1")[0]["path"], "in.txt");
    assert_eq!(w.read("two") + &on(&w, "conductor/T1", "out"), "old\nold");
    // Back to what the snapshot was, it is fresh.
    w.file("in.txt", "old\n");
    w.build(&[]).runs_nothing();
    w.file("in.txt", "new\n");
    let build = w.start(&[]);
    w.wait_for(".conductor/workspaces/T1/started").file(".conductor/workspaces/T1/go", "");
    build.wait().success().ran(&["T1", "T2"]);
    assert_eq!(on(&w, "conductor/T2", "two"), "new");
    nothing_left(&w);
}

#[test]
fn a_persons_file_at_an_outputs_path_is_not_overwritten_until_it_is_resolved() {
    let tasks = "tasks:
  T1: { inputs: [in.txt], isolation: worktree, outputs: [out, other], run: cp in.txt out; cp in.txt other }
";
    for side in ["--theirs", "--mine"] {
        let w = repo(tasks, &[("in.txt", "made\n")]);
        w.file("out", "a person's\n");
        w.build(&[]).fails_with(4);
        assert_eq!(w.read("out"), "a person's\n");
        assert!(!w.has("other"), "all or nothing");
        assert_eq!(branches(&w), [""; 0], "no branch before it is accepted");
        assert_eq!(w.conflicts(), ["out"]);
        nothing_left(&w);
        w.build(&[]).fails_with(4);
        w.run(&["resolve", "out", side]).success();
        let out = if side == "--mine" { "a person's\n" } else { "made\n" };
        assert_eq!(w.read("out"), out);
        assert_eq!(w.read("other"), "made\n");
        assert_eq!(on(&w, "conductor/T1", "out") + "\n", out);
        w.build(&[]).runs_nothing();
        nothing_left(&w);
    }
}

#[test]
fn a_persons_version_of_an_output_is_not_overwritten_and_a_result_adopted_later_is_on_the_branch() {
    let w = repo(
        "tasks:
  T1: { inputs: [in.txt], isolation: worktree, outputs: [out], run: cp in.txt out }
",
        &[("in.txt", "1\n")],
    );
    w.build(&[]).success();
    w.file("out", "a person's\n").file("in.txt", "2\n");
    w.build(&[]).fails_with(4);
    assert_eq!(w.read("out"), "a person's\n");
    assert_eq!(on(&w, "conductor/T1", "out"), "1");
    w.run(&["resolve", "out", "--mine"]).success();
    assert_eq!(on(&w, "conductor/T1", "out"), "a person's");
    w.build(&[]).runs_nothing();
    // An output that a person changed, without a new result: adopted, the branch holds it too.
    w.file("out", "better\n");
    w.run(&["resolve", "out", "--mine"]).success();
    w.build(&[]).runs_nothing();
    assert_eq!(on(&w, "conductor/T1", "out"), "better");
}

#[test]
fn what_git_has_is_no_conflict_in_a_fresh_clone() {
    let w = repo(
        "tasks:
  T1: { inputs: [in.txt], isolation: worktree, outputs: [out], run: cp in.txt out }
",
        &[("in.txt", "new\n"), ("out", "last week's\n")],
    );
    w.build(&[]).success().ran(&["T1"]);
    assert_eq!(w.read("out"), "new\n");
    assert_eq!(w.git_says(&["status", "--porcelain"]), " M out");
}

#[test]
fn a_person_edits_an_edited_path_and_the_editors_start_from_there() {
    let w = repo(
        "defaults: { isolation: worktree }
tasks:
  T1: { inputs: [], edits: [shared.txt], outputs: [], run: echo one >> shared.txt }
  T2: { needs: [T1], inputs: [], edits: [shared.txt, 'new/*'], outputs: [], run: 'echo two >> shared.txt; mkdir -p new; echo n > new/file' }
",
        &[("shared.txt", "base\n")],
    );
    w.build(&[]).success();
    assert_eq!(w.read("shared.txt"), "base\none\ntwo\n");
    assert_eq!(on(&w, "conductor/T1", "shared.txt"), "base\none");
    assert_eq!(on(&w, "conductor/T2", "shared.txt"), "base\none\ntwo");
    assert_eq!(super::differs(&w, "conductor/T2"), ["A new/file", "M shared.txt"]);
    w.build(&[]).runs_nothing();
    w.file("shared.txt", "edited\nbase\none\ntwo\n");
    w.build(&[]).success().ran(&["T1", "T2"]);
    assert_eq!(w.read("shared.txt"), "edited\nbase\none\ntwo\none\ntwo\n");
    assert_eq!(on(&w, "conductor/T2", "shared.txt"), "edited\nbase\none\ntwo\none\ntwo");
    w.build(&[]).runs_nothing();
    nothing_left(&w);
}

#[test]
fn merging_the_branches_of_editors_gives_what_the_tree_has() {
    let w = repo(
        "defaults: { isolation: worktree }
tasks:
  T1: { inputs: [], edits: [shared.txt, old.txt], outputs: [], run: 'echo one >> shared.txt; rm old.txt' }
  T2: { needs: [T1], inputs: [], edits: [shared.txt], outputs: [two], run: 'echo two >> shared.txt; touch two' }
",
        &[("shared.txt", "base\n"), ("old.txt", "old\n")],
    );
    w.build(&[]).success();
    assert!(!w.has("old.txt"));
    assert_eq!(super::differs(&w, "conductor/T1"), ["D old.txt", "M shared.txt"]);
    assert_eq!(super::differs(&w, "conductor/T2"), ["D old.txt", "M shared.txt", "A two"]);
    w.git(&["stash", "-q", "-u"]);
    for branch in ["conductor/T1", "conductor/T2"] {
        w.git(&["merge", "-q", "--no-edit", branch]);
    }
    assert_eq!(w.git_says(&["status", "--porcelain"]), "");
    assert!(w.has("two"));
    assert_eq!(w.read("shared.txt"), "base\none\ntwo\n");
    assert!(!w.has("old.txt"));
    w.build(&[]).runs_nothing();
}
