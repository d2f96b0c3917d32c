//! Many worktrees at once, and whole manifests in them.

use std::fmt::Write as _;

use super::{branches, differs, nothing_left, on, repo};

#[test]
fn twelve_tasks_run_in_parallel_worktrees() {
    let mut manifest = "defaults: { isolation: worktree }\npools: { agents: 12 }\ntasks:\n".to_owned();
    for task in 1..=12 {
        let _ = writeln!(
            manifest,
            "  T{task}: {{ inputs: ['src/**'], outputs: [out/{task}/], run: 'for n in 1 2 3 4 5; do cat src/* > out/{task}/$n; done; git status --porcelain > out/{task}/status' }}"
        );
    }
    manifest += "  last: { needs: [T1, T2, T3, T4, T5, T6, T7, T8, T9, T10, T11, T12], inputs: [], outputs: [last], run: cat out/*/1 > last }\n";
    let w = repo(&manifest, &[("src/a", "a\n"), ("src/b", "b\n"), (".gitignore", "/out/\n/last\n")]);
    for round in 0..3 {
        w.file("src/a", format!("round {round}\n"));
        let run = w.build(&["-j", "12"]);
        run.success();
        assert_eq!(run.json()["summary"]["ran"], 13, "{run}");
        assert_eq!(w.read("last"), format!("round {round}\nb\n").repeat(12));
        nothing_left(&w);
        assert_eq!(branches(&w).len(), 13);
    }
    assert_eq!(differs(&w, "conductor/T7").len(), 6);
    assert_eq!(w.read("out/7/status"), "?? out/\n");
    let parents = w.git_says(&["log", "-1", "--format=%P", "conductor/last"]);
    assert_eq!(parents.split(' ').count(), 13);
    for task in 1..=12 {
        w.git(&["merge", "-q", "--no-edit", &format!("conductor/T{task}")]);
    }
    w.git(&["merge", "-q", "--no-edit", "conductor/last"]);
    assert_eq!(w.git_says(&["ls-files", "out", "last"]).lines().count(), 73);
    w.build(&[]).runs_nothing();
}

#[test]
fn a_whole_manifest_runs_in_worktrees_where_the_command_line_says_so() {
    let w = repo(
        "groups: { G: { gate: [ { run: test -e two.txt } ] } }
tasks:
  T1: { inputs: [in.txt], outputs: [one/, { path: maybe, optional: true }], run: 'mkdir -p one/empty; cp in.txt one/a; ln -s a one/link; chmod +x one/a' }
  T2: { group: G, inputs: ['one/**'], outputs: [two.txt], run: cat one/link > two.txt, validate: [ { run: 'grep -q in two.txt; echo junk > two.txt' }, { non_empty: two.txt } ] }
  T3: { after: [G], inputs: [], incremental: true, outputs: [count], run: echo x >> count }
  T4: { inputs: [in.txt], outputs: [dep], depfile: d.d, run: 'cp in.txt dep; echo \"dep: in.txt\" > d.d' }
",
        &[("in.txt", "in\n")],
    );
    w.build(&["--isolation", "worktree"]).success().ran(&["T1", "T2", "T3", "T4", "G:gate"]);
    assert_eq!(w.read("two.txt"), "in\n");
    assert!(w.path("one/empty").is_dir());
    assert!(w.path("one/link").is_symlink());
    assert_eq!(
        w.git_says(&["ls-tree", "-r", "conductor/T1", "one"])
            .lines()
            .map(|line| line[..6].to_owned())
            .collect::<Vec<_>>(),
        ["100755", "120000"]
    );
    w.build(&["--isolation", "worktree"]).runs_nothing();
    w.build(&[]).runs_nothing();
    w.build(&["--force", "T3", "--isolation", "worktree"]).success();
    assert_eq!(w.read("count"), "x\nx\n");
    assert_eq!(on(&w, "conductor/T3", "count"), "x\nx");
    nothing_left(&w);
}

#[test]
fn a_task_may_see_the_whole_tree() {
    let w = repo(
        "tasks:
  T1: { inputs: [], sees: all, isolation: worktree, outputs: [list], run: 'git ls-files > list; git status --porcelain >> list; cat other.txt >> list' }
",
        &[("other.txt", "o\n"), (".gitignore", "*.log\n")],
    );
    w.file("untracked", "u\n").file("x.log", "x\n");
    w.build(&[]).success();
    assert_eq!(w.read("list"), ".gitignore\nconductor.yaml\nother.txt\nuntracked\n?? list\no\n");
    assert_eq!(differs(&w, "conductor/T1"), ["A list"]);
}

#[test]
fn a_task_that_changes_from_worktree_to_another_isolation_leaves_its_branch_and_nothing_else() {
    let tasks = |isolation: &str| {
        format!(
            "tasks:\n  T1: {{ inputs: [in.txt], isolation: {isolation}, outputs: [out], run: grep x in.txt > out }}\n"
        )
    };
    let w = repo(&tasks("worktree"), &[("in.txt", "x\n")]);
    w.build(&[]).success();
    w.file("in.txt", "y\n");
    w.build(&[]).fails_with(1);
    w.manifest(&tasks("sandbox")).file("in.txt", "xx\n");
    w.build(&[]).success();
    nothing_left(&w);
    assert_eq!(on(&w, "conductor/T1", "out"), "x");
    // Back again: the branch is conductor's own.
    w.manifest(&tasks("worktree")).file("in.txt", "xxx\n");
    w.run(&["build"]).success().never_says("did not make");
    assert_eq!(on(&w, "conductor/T1", "out"), "xxx");
}
