//! `integrate: branch`: results that stay on their branch.

use super::{branches, commit, differs, nothing_left, on, repo};

const STAYS: &str = "defaults: { isolation: worktree }
tasks:
  T1: { inputs: [in.txt], integrate: branch, outputs: [one/], run: cp in.txt one/a }
  T2: { needs: [T1], inputs: ['one/**'], integrate: branch, outputs: [two.txt], run: cat one/* > two.txt }
";

#[test]
fn nothing_comes_into_the_tree_and_those_that_need_it_find_it() {
    let w = repo(STAYS, &[("in.txt", "in\n")]);
    let before = w.git_says(&["status", "--porcelain"]);
    w.build(&[]).success().ran(&["T1", "T2"]);
    assert_eq!(w.git_says(&["status", "--porcelain"]), before);
    assert!(!w.has("one") && !w.has("two.txt"));
    assert_eq!(on(&w, "conductor/T1", "one/a"), "in");
    assert_eq!(on(&w, "conductor/T2", "two.txt"), "in");
    w.build(&[]).runs_nothing();
    w.check(&[]).success();
    w.file("in.txt", "more\n");
    w.check(&[]).fails_with(3);
    w.build(&[]).success().ran(&["T1", "T2"]);
    assert_eq!(on(&w, "conductor/T2", "two.txt"), "more");
    assert_eq!(w.git_says(&["status", "--porcelain"]), " M in.txt");
    nothing_left(&w);
    // A merge brings the bytes that conductor knows.
    commit(&w, "in");
    w.git(&["merge", "-q", "--no-edit", "conductor/T2"]);
    assert_eq!(w.read("two.txt"), "more\n");
    w.build(&[]).runs_nothing();
}

#[test]
fn a_reader_in_the_tree_is_told_before_anything_runs() {
    let w = repo(
        "tasks:
  T1: { inputs: [], isolation: worktree, integrate: branch, outputs: [one], run: touch one }
  T2: { inputs: [one], outputs: [two], run: cp one two }
",
        &[],
    );
    for command in ["validate", "build"] {
        let run = w.json(command, &[]);
        run.fails_with(2);
        let diagnostic = &run.diagnostics()[0];
        assert!(diagnostic["message"].as_str().unwrap().contains("T2 needs T1"), "{run}");
        assert_eq!(diagnostic["labels"][0]["line"], 4, "{run}");
        assert_eq!(diagnostic["labels"][1]["line"], 3, "{run}");
    }
    assert_eq!(branches(&w), [""; 0]);
    // In worktrees both are at home.
    w.build(&["--isolation", "worktree"]).success().ran(&["T1", "T2"]);
    assert!(w.has("two") && !w.has("one"));
}

#[test]
fn bytes_that_are_lost_are_made_again() {
    let w = repo(STAYS, &[("in.txt", "in\n")]);
    w.build(&[]).success();
    let mut objects = Vec::new();
    super::named(&w.path(".conductor"), "", &mut objects);
    let objects: Vec<_> = objects
        .into_iter()
        .filter(|path| path.components().any(|part| part.as_os_str() == "objects"))
        .collect();
    assert!(!objects.is_empty());
    for object in objects {
        std::fs::remove_file(object).unwrap();
    }
    let run = w.build(&[]);
    run.success();
    assert_eq!(run.task("T1")["status"], "ran");
    w.build(&[]).runs_nothing();
    assert_eq!(on(&w, "conductor/T1", "one/a"), "in");
}

#[test]
fn edits_stay_on_the_branch_too() {
    let w = repo(
        "defaults: { isolation: worktree, integrate: branch }
tasks:
  T1: { inputs: [], edits: [shared.txt], outputs: [], run: echo one >> shared.txt }
  T2: { needs: [T1], inputs: [], edits: [shared.txt], outputs: [two.txt], run: 'echo two >> shared.txt; cp shared.txt two.txt' }
",
        &[("shared.txt", "base\n")],
    );
    w.build(&[]).success().ran(&["T1", "T2"]);
    assert_eq!(w.read("shared.txt"), "base\n");
    assert_eq!(on(&w, "conductor/T1", "shared.txt"), "base\none");
    assert_eq!(on(&w, "conductor/T2", "two.txt"), "base\none\ntwo");
    assert_eq!(differs(&w, "conductor/T1"), ["M shared.txt"]);
    w.build(&[]).runs_nothing();
    w.file("shared.txt", "another\n");
    w.build(&[]).success().ran(&["T1", "T2"]);
    assert_eq!(on(&w, "conductor/T2", "shared.txt"), "another\none\ntwo");
    w.build(&[]).runs_nothing();
    nothing_left(&w);
}

#[test]
fn integrate_branch_among_the_defaults_is_for_those_in_worktrees() {
    let w = repo(
        "defaults: { integrate: branch }
tasks:
  T1: { inputs: [], outputs: [one], run: echo 1 > one }
  T2: { inputs: [], isolation: sandbox, outputs: [two], run: echo 2 > two }
  T3: { inputs: [one, two], isolation: worktree, outputs: [three], run: cat one two > three }
  T4: { needs: [T1, T2], inputs: [], outputs: [four], run: cat one two > four }
",
        &[],
    );
    w.run(&["validate"]).success();
    w.build(&[]).success().ran(&["T1", "T2", "T3", "T4"]);
    assert!(w.has("one") && w.has("two") && w.has("four") && !w.has("three"));
    w.build(&[]).runs_nothing();
    // Where none is in a worktree no repository is asked for.
    let w = super::plain(
        "defaults: { integrate: branch }\ntasks:\n  T1: { inputs: [], outputs: [one], run: echo 1 > one }\n",
        &[],
    );
    w.build(&[]).success().ran(&["T1"]);
}

#[test]
fn a_changed_check_runs_alone_on_what_the_branch_holds() {
    let w = repo(
        "tasks:
  T1: { inputs: [], isolation: worktree, integrate: branch, outputs: [one], run: echo 1 > one, validate: [ { run: grep -q 1 one } ] }
",
        &[],
    );
    w.build(&[]).success();
    let text = w.read("conductor.yaml").replace("grep -q 1 one", "grep -qx 1 one");
    w.file("conductor.yaml", text);
    w.build(&[]).success().checked_again(&["T1"]).ran(&[]);
    w.build(&[]).runs_nothing();
    assert!(!w.has("one"));
    nothing_left(&w);
}
