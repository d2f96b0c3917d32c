//! `conductor merge`: tasks' branches into HEAD, all of them or none.

use serde_json::json;

use crate::support::World;

/// Two tasks in worktrees that are built, in a repository with one commit.
fn built() -> World {
    let w = World::new(
        "
defaults: { isolation: worktree }
tasks:
  a: { inputs: [in], outputs: [out/a], run: cp in out/a }
  b: { needs: [a], inputs: [], edits: [shared], run: 'sed -i s/^x$/B/ shared' }
",
    );
    w.file("in", "1\n").file("shared", "first\nx\nlast\n").file(".gitignore", ".conductor/\n");
    w.git(&["init", "-q"]).git(&["config", "user.name", "P"]).git(&["config", "user.email", "p@localhost"]);
    w.git(&["add", "."]).git(&["commit", "-q", "-m", "first"]);
    w.build(&[]).success().ran(&["a", "b"]);
    w
}

#[test]
fn results_that_are_in_the_tree_already_are_in_nobodys_way() {
    let w = built();
    let document = w.json("merge", &[]).success().json();
    assert_eq!(document["merged"], json!(["conductor/a", "conductor/b"]));
    assert_eq!(document["commit"], json!(w.git_says(&["rev-parse", "HEAD"])));
    assert_eq!(document["changed"], json!(["out/a", "shared"]));
    assert_eq!(w.git_says(&["status", "--short"]), "");
    assert_eq!(w.read("shared"), "first\nB\nlast\n");
    w.build(&[]).runs_nothing();
    let again = w.json("merge", &["b"]).success().json();
    assert_eq!((&again["commit"], &again["already"]), (&json!(null), &json!(["conductor/b"])));
    assert_eq!(w.git_says(&["fsck", "--strict", "--no-dangling"]), "");
}

#[test]
fn merging_one_task_after_another_deletes_nothing() {
    let w = built();
    w.json("merge", &["b"]).success();
    assert!(w.has("out/a"), "what b needs came with it");
    w.json("merge", &["a"]).success();
    assert_eq!(
        w.git_says(&["ls-tree", "-r", "--name-only", "HEAD"]),
        ".gitignore\nconductor.yaml\nin\nout/a\nshared"
    );
}

#[test]
fn a_conflict_shows_both_sides_and_merges_nothing() {
    let w = built();
    w.file("shared", "first\nmine\nlast\n").git(&["commit", "-q", "-m", "mine", "shared"]);
    let before = (w.git_says(&["rev-parse", "HEAD"]), w.git_says(&["status", "--short"]));
    let run = w.run(&["merge"]);
    run.fails_with(1).says("shared:2").says("mine").says("conductor/b").says("B").says("nothing was merged");
    assert_eq!((w.git_says(&["rev-parse", "HEAD"]), w.git_says(&["status", "--short"])), before);
    assert!(!w.has(".git/MERGE_HEAD") && !w.has(".git/index.lock"));
    let found = w.json("merge", &["b"]).fails_with(1).diagnostics();
    assert_eq!(found[0]["code"], "merge::conflict");
}

#[test]
fn a_path_with_changes_that_are_not_committed_is_never_overwritten() {
    let w = built();
    w.file("shared", "first\nx\nlast, and more\n");
    let run = w.run(&["merge", "b"]);
    run.fails_with(1).says("shared").says("commit or stash");
    assert_eq!(w.read("shared"), "first\nx\nlast, and more\n");
    w.json("merge", &["a"]).success();
    assert_eq!(w.read("shared"), "first\nx\nlast, and more\n");
}

#[test]
fn what_has_no_branch_cannot_be_merged() {
    let w = World::new("tasks: { T1: { inputs: [], outputs: [o], run: echo > o } }");
    w.run(&["merge"]).fails_with(2).says("no git repository");
    w.git(&["init", "-q"]);
    w.build(&[]).success();
    w.run(&["merge"]).fails_with(2).says("no task has a branch");
    w.run(&["merge", "T1"]).fails_with(2).says("T1 has no branch");
    w.run(&["merge", "nope"]).fails_with(2).says("nope");
}
