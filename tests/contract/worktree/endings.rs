//! How attempts end: kept worktrees, what `clean` does, approval, rollback.

use super::{branches, differs, nothing_left, on, repo};

const FAILS: &str = "tasks:
  T1: { inputs: [in.txt], isolation: worktree, outputs: [out], run: 'cp in.txt out; echo note > note.txt; grep -q good in.txt', writes: warn }
";

#[test]
fn a_failed_worktree_is_kept_said_where_and_replaced_by_the_next_run() {
    let w = repo(FAILS, &[("in.txt", "bad\n")]);
    let run = w.run(&["build"]);
    run.fails_with(1);
    let said: Vec<&str> = run
        .stderr
        .lines()
        .chain(run.stdout.lines())
        .filter(|line| line.contains(".conductor/workspaces/T1"))
        .collect();
    assert_eq!(said.len(), 1, "{run}");
    assert_eq!(w.read(".conductor/workspaces/T1/note.txt"), "note\n");
    assert!(w.git_says(&["worktree", "list"]).contains(".conductor/workspaces/T1"));
    assert_eq!(w.git_says(&["-C", ".conductor/workspaces/T1", "status", "--short"]), "?? note.txt\n?? out");
    assert!(!w.has("out"));
    // It stays while other things are built, and through another failure.
    w.build(&[]).fails_with(1);
    assert_eq!(w.git_says(&["worktree", "list"]).lines().count(), 2);
    w.file("in.txt", "good\n");
    w.build(&[]).success();
    nothing_left(&w);
}

#[test]
fn clean_removes_kept_worktrees_with_their_entries() {
    let w = repo(FAILS, &[("in.txt", "bad\n")]);
    w.run(&["build"]).fails_with(1);
    let dry = w.run(&["clean", "--dry-run"]);
    dry.success();
    assert!(w.has(".conductor/workspaces/T1"));
    w.run(&["clean"]).success();
    nothing_left(&w);
    // Also where the folder went without its entry.
    w.run(&["build"]).fails_with(1);
    w.remove(".conductor/workspaces");
    w.run(&["clean"]).success();
    nothing_left(&w);
}

#[test]
fn clean_branches_removes_conductors_branches_and_no_other() {
    let w = repo(
        "defaults: { isolation: worktree }
tasks:
  T1: { inputs: [], outputs: [one], run: touch one }
  T2: { inputs: [], outputs: [two], run: touch two }
  T3: { inputs: [], outputs: [three], run: touch three }
",
        &[],
    );
    w.build(&[]).success();
    let mine = w.git_says(&["commit-tree", "-m", "mine", "HEAD^{tree}"]);
    w.git(&["branch", "-qf", "conductor/T2", &mine]).git(&["branch", "-q", "feature"]).git(&[
        "branch",
        "-q",
        "conductor/mine",
    ]);
    w.run(&["clean"]).success();
    assert_eq!(branches(&w), ["conductor/T1", "conductor/T2", "conductor/T3", "conductor/mine", "feature"]);
    w.run(&["clean", "--branches", "--dry-run"]).success().says("conductor/T1");
    assert_eq!(branches(&w).len(), 5);
    w.run(&["clean", "--branches"]).success().says("conductor/T1").says("conductor/T2");
    assert_eq!(branches(&w), ["conductor/T2", "conductor/mine", "feature"]);
    let json = w.json("clean", &["--branches"]);
    json.success().json();
}

#[test]
fn a_first_result_that_waits_for_approval_has_no_branch_yet() {
    let w = repo(
        "defaults: { isolation: worktree }
tasks:
  T1: { inputs: [in.txt], approve: true, edits: [shared.txt], outputs: [out], run: 'cp in.txt out; cat in.txt >> shared.txt' }
  T2: { needs: [T1], inputs: [], outputs: [two], run: cp out two }
",
        &[("in.txt", "1\n"), ("shared.txt", "base\n")],
    );
    w.build(&[]).fails_with(5);
    assert_eq!(branches(&w), [""; 0]);
    assert!(!w.has("out"));
    assert_eq!(w.read("shared.txt"), "base\n");
    assert_eq!(w.git_says(&["worktree", "list"]).lines().count(), 1);
    w.run(&["approve", "T1"]).success();
    assert_eq!(differs(&w, "conductor/T1"), ["A out", "M shared.txt"]);
    assert_eq!(w.read("out") + &w.read("shared.txt"), "1\nbase\n1\n");
    w.build(&[]).success().ran(&["T2"]);
    w.build(&[]).runs_nothing();
    let first = w.git_says(&["rev-parse", "conductor/T1"]);
    w.file("in.txt", "2\n");
    w.build(&[]).fails_with(5);
    assert_eq!(w.git_says(&["rev-parse", "conductor/T1"]), first);
    w.run(&["reject", "T1", "--note", "no"]).success();
    assert_eq!(w.git_says(&["rev-parse", "conductor/T1"]), first);
    assert_eq!(w.read("out"), "1\n");
    nothing_left(&w);
}

#[test]
fn rollback_moves_the_branch_back_and_removes_that_of_a_first_result() {
    let w = repo(
        "defaults: { isolation: worktree }
tasks:
  T1: { inputs: [in.txt], edits: [shared.txt], outputs: [out], run: 'cp in.txt out; cat in.txt >> shared.txt' }
",
        &[("in.txt", "1\n"), ("shared.txt", "base\n")],
    );
    w.build(&[]).success();
    let first = w.git_says(&["rev-parse", "conductor/T1"]);
    w.file("in.txt", "2\n");
    w.build(&[]).success();
    assert_eq!(w.read("shared.txt"), "base\n2\n");
    assert_ne!(w.git_says(&["rev-parse", "conductor/T1"]), first);
    w.run(&["rollback", "T1"]).success();
    assert_eq!(w.git_says(&["rev-parse", "conductor/T1"]), first);
    assert_eq!(w.read("out"), "1\n");
    let run = w.run(&["build"]);
    run.success().never_says("did not make");
    assert_eq!(on(&w, "conductor/T1", "out"), "2");
    w.build(&[]).runs_nothing();
    nothing_left(&w);
    // A first result.
    let w =
        repo("tasks:\n  T1: { inputs: [], isolation: worktree, outputs: [out], run: echo 1 > out }\n", &[]);
    w.build(&[]).success();
    w.run(&["rollback", "T1"]).success();
    assert_eq!(branches(&w), [""; 0]);
    assert!(!w.has("out"));
    w.build(&[]).success().ran(&["T1"]);
    assert_eq!(branches(&w), ["conductor/T1"]);
    // A tip that is a person's is not moved, and nothing happens at all.
    let mine = w.git_says(&["commit-tree", "-m", "mine", "HEAD^{tree}"]);
    w.git(&["branch", "-qf", "conductor/T1", &mine]);
    w.run(&["rollback", "T1"]).fails_with(4);
    assert_eq!(w.git_says(&["rev-parse", "conductor/T1"]), mine);
    assert!(w.has("out"));
}

#[test]
fn rollback_on_a_branch_moves_that_alone() {
    let w = repo(
        "tasks:
  T1: { inputs: [in.txt], isolation: worktree, integrate: branch, outputs: [out], run: cp in.txt out }
",
        &[("in.txt", "1\n")],
    );
    w.build(&[]).success();
    let first = w.git_says(&["rev-parse", "conductor/T1"]);
    w.file("in.txt", "2\n");
    w.build(&[]).success();
    w.file("out", "a person's\n");
    w.run(&["rollback", "T1"]).success();
    assert_eq!(w.git_says(&["rev-parse", "conductor/T1"]), first);
    assert_eq!(w.read("out"), "a person's\n");
    w.build(&[]).success().ran(&["T1"]);
    assert_eq!(w.read("out"), "a person's\n");
    assert_eq!(on(&w, "conductor/T1", "out"), "2");
}

#[test]
fn a_cancelled_task_leaves_no_worktree() {
    let w = repo(
        "tasks:
  T1: { inputs: [], isolation: worktree, outputs: [out], run: 'touch out; sleep 100' }
",
        &[],
    );
    let build = w.start(&[]);
    w.wait_for(".conductor/workspaces/T1/out");
    build.signal(rustix::process::Signal::INT);
    build.wait().fails_with(130);
    nothing_left(&w);
    assert_eq!(branches(&w), [""; 0]);
}

#[test]
fn a_retry_that_succeeds_leaves_nothing() {
    let w = repo(
        "tasks:
  T1: { inputs: [], isolation: worktree, copy: [flag], retries: { max: 2, backoff: 10ms }, outputs: [out], run: '[ -e flag ]; touch out', require: [ { run: 'if [ -e tried ]; then touch flag; else touch tried; fi' } ] }
",
        &[(".gitignore", "flag\ntried\n")],
    );
    w.build(&[]).success().ran(&["T1"]);
    nothing_left(&w);
}

#[test]
fn what_others_put_where_a_worktree_is_to_be_stays() {
    let w = repo(FAILS, &[("in.txt", "good\n")]);
    w.git(&["init", "-q", ".conductor/workspaces/T1"]);
    w.file(".conductor/workspaces/T1/mine", "mine\n").file("in.txt", "good 2\n");
    w.build(&[]).fails_with(1);
    assert_eq!(w.read(".conductor/workspaces/T1/mine"), "mine\n");
}
