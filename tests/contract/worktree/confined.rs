//! What a task in a worktree can reach.

use super::{nothing_left, repo};
use crate::support::Run;

/// Is there nothing here that could confine a process? A build tells.
fn is_open(run: &Run) -> bool {
    run.stderr.contains("enforced")
}

#[test]
fn it_reads_nothing_else_of_the_tree_and_writes_nothing_outside() {
    let w = repo(
        "defaults: { isolation: worktree }
tasks:
  T0: { inputs: [], outputs: [probe], run: touch probe }
",
        &[("in.txt", "in\n"), ("secret.txt", "hidden\n"), ("sub/deep.txt", "hidden\n")],
    );
    let probe = w.build(&[]);
    if is_open(&probe) {
        eprintln!("SKIPPED: nothing confines processes on this machine: {probe}");
        return;
    }
    let (root, outside) = (w.root().display().to_string(), w.root().with_file_name("outside"));
    std::fs::create_dir(&outside).unwrap();
    w.manifest(&format!(
        "defaults: {{ isolation: worktree }}
tasks:
  T1:
    inputs: [in.txt]
    outputs: [log]
    run: |
      try() {{ if (eval \"$1\") > /dev/null 2>&1; then echo \"could: $1\"; fi >> log; }}
      touch log
      try 'cat {root}/secret.txt'
      try 'cat ../../../secret.txt'
      try 'ls {root}/sub'
      try 'cat {root}/sub/deep.txt'
      try 'echo x > {root}/new.txt'
      try 'echo x >> {root}/in.txt'
      try 'echo x > {outside}/new.txt'
      try 'rm {root}/in.txt'
      try 'echo x > {root}/.conductor/x'
      try 'ls {root}/.conductor/runs'
      try 'echo x > {root}/.git/hooks/pre-commit'
      try 'echo x >> {root}/.git/config'
      try 'git config user.name x'
      try 'echo x > {root}/.git/objects/x'
      try 'echo x > {root}/.git/refs/heads/x'
      try 'echo x > {root}/.git/HEAD'
      try 'echo x > {root}/.git/index'
      try 'git branch mine'
      try 'git commit -m x --allow-empty'
      try 'git update-ref refs/heads/main HEAD'
      try 'git push . HEAD:refs/heads/x'
      git status --porcelain > /dev/null
      git diff --quiet
      git log -1 > /dev/null
      echo changed >> in.txt; git restore in.txt
      echo home > $HOME/x; echo tmp > $TMPDIR/x; mktemp > /dev/null
",
        outside = outside.display()
    ));
    let before = w.git_says(&["for-each-ref"]);
    let run = w.build(&[]);
    run.success().ran(&["T1"]);
    assert_eq!(w.read("log"), "", "{run}");
    let now: Vec<String> = w
        .git_says(&["for-each-ref"])
        .lines()
        .filter(|line| !line.ends_with("conductor/T1"))
        .map(str::to_owned)
        .collect();
    assert_eq!(now.join("\n"), before);
    assert_eq!(w.read("in.txt"), "in\n");
    nothing_left(&w);
}

#[test]
fn two_tasks_do_not_see_each_others_worktrees() {
    let w = repo(
        "defaults: { isolation: worktree, writes: warn }
tasks:
  T1: { inputs: [], outputs: [one], run: 'touch started; while [ ! -e go ]; do sleep 0.02; done; touch one' }
  T2: { inputs: [], outputs: [two], run: 'if cat ../T1/started 2> err; then echo seen > two; else echo not > two; fi' }
",
        &[],
    );
    let build = w.start(&["-j", "2"]);
    w.wait_for(".conductor/workspaces/T1/started").wait_for("two");
    w.file(".conductor/workspaces/T1/go", "");
    let run = build.wait();
    run.success();
    if is_open(&run) {
        eprintln!("SKIPPED: nothing confines processes on this machine");
        return;
    }
    assert_eq!(w.read("two"), "not\n");
}
