//! The commit of an accepted result, and its branch.

use std::fs;

use super::{branches, commit, differs, nothing_left, on, repo};

/// Two tasks of which the second needs the first, and one beside them.
const THREE: &str = "defaults: { isolation: worktree }
tasks:
  T1: { title: The first, inputs: [in.txt], outputs: [one/], run: 'cp in.txt one/a; [ ! -e in.txt ] || grep -q short in.txt || cp in.txt one/b' }
  T2: { needs: [T1], inputs: [], outputs: [two.txt], run: cat one/* > two.txt }
  T3: { inputs: [in.txt], outputs: [three.txt], run: wc -c < in.txt > three.txt }
";

#[test]
fn a_commit_has_trailers_parents_and_the_fallback_author() {
    let w = repo(THREE, &[("in.txt", "in\n")]);
    let run = w.build(&[]);
    run.success().ran(&["T1", "T2", "T3"]);
    let head = w.git_says(&["rev-parse", "HEAD"]);
    let one = w.git_says(&["rev-parse", "conductor/T1"]);
    assert_eq!(w.git_says(&["log", "-1", "--format=%P", "conductor/T1"]), head);
    assert_eq!(w.git_says(&["log", "-1", "--format=%P", "conductor/T2"]), format!("{head} {one}"));
    assert_eq!(
        w.git_says(&["log", "-1", "--format=%s|%an|%ae|%cn", "conductor/T1"]),
        "T1: The first|conductor|conductor@localhost|conductor"
    );
    let id = run.json()["run"].as_str().unwrap().to_owned();
    let key = run.task("T1")["key"].as_str().unwrap().to_owned();
    assert_eq!(
        w.git_says(&["log", "-1", "--format=%(trailers)", "conductor/T1"]),
        format!("Conductor-Task: T1\nConductor-Run: {id}\nConductor-Key: {key}")
    );
    assert_eq!(differs(&w, "conductor/T1"), ["A one/a", "A one/b"]);
    assert_eq!(differs(&w, "conductor/T3"), ["A three.txt"]);
    assert_eq!(differs(&w, "conductor/T2"), ["A one/a", "A one/b", "A two.txt"]);
    assert_eq!(branches(&w), ["conductor/T1", "conductor/T2", "conductor/T3"]);
    w.build(&[]).runs_nothing();
    nothing_left(&w);
}

#[test]
fn the_author_is_whom_gits_configuration_names() {
    let w = repo(THREE, &[("in.txt", "in\n")]);
    w.git(&["config", "user.name", "Ada"]).git(&["config", "user.email", "ada@example.org"]);
    w.build(&["T1"]).success();
    assert_eq!(
        w.git_says(&["log", "-1", "--format=%an <%ae> %cn", "conductor/T1"]),
        "Ada <ada@example.org> Ada"
    );
    // The user's own configuration.
    let w = repo(THREE, &[("in.txt", "in\n")]);
    fs::write(
        w.root().with_file_name("home").join(".gitconfig"),
        "[user]\nname=Bob\nemail=bob@example.org\n",
    )
    .unwrap();
    w.build(&["T1"]).success();
    assert_eq!(w.git_says(&["log", "-1", "--format=%an <%ae>", "conductor/T1"]), "Bob <bob@example.org>");
    // And where git is told to look elsewhere for it.
    let mut w = repo(THREE, &[("in.txt", "in\n")]);
    let elsewhere = w.root().with_file_name("elsewhere");
    fs::write(&elsewhere, "[user]\nname=Eve\nemail=eve@example.org\n").unwrap();
    w.set_env("GIT_CONFIG_GLOBAL", elsewhere.to_str().unwrap());
    w.build(&["T1"]).success();
    assert_eq!(w.git_says(&["log", "-1", "--format=%an <%ae>", "conductor/T1"]), "Eve <eve@example.org>");
}

#[test]
fn merging_one_branch_after_another_with_plain_git_gives_the_tree_and_deletes_nothing() {
    let w = repo(
        THREE,
        &[("in.txt", "in\n"), ("kept.txt", "kept\n"), (".gitignore", "/one/\n/two.txt\n/three.txt\n")],
    );
    w.build(&[]).success();
    for branch in ["conductor/T3", "conductor/T1", "conductor/T2"] {
        // What the tree has is ignored there, and the same.
        w.git(&["merge", "-q", "--no-edit", branch]);
        assert_eq!(w.git_says(&["diff", "--diff-filter=D", "--name-only", "HEAD~", "HEAD"]), "", "{branch}");
    }
    assert_eq!(
        w.git_says(&["ls-tree", "-r", "--name-only", "HEAD"]),
        ".gitignore\nconductor.yaml\nin.txt\nkept.txt\none/a\none/b\nthree.txt\ntwo.txt"
    );
    assert_eq!(w.git_says(&["status", "--porcelain"]), "");
    w.build(&[]).runs_nothing();
}

#[test]
fn an_output_that_is_made_no_more_is_deleted_on_its_branch_and_on_those_that_need_it() {
    let w = repo(THREE, &[("in.txt", "in\n")]);
    w.build(&[]).success();
    w.git(&["add", "-A"]).git(&["commit", "-qm", "results"]);
    w.file("in.txt", "short\n");
    w.build(&[]).success().ran(&["T1", "T2", "T3"]);
    assert!(!w.has("one/b"));
    assert_eq!(differs(&w, "conductor/T1"), ["M one/a", "D one/b"]);
    assert_eq!(differs(&w, "conductor/T2"), ["M one/a", "D one/b", "M two.txt"]);
    assert_eq!(differs(&w, "conductor/T3"), ["M three.txt"]);
    // Another result without it: HEAD has it still, the tree has not.
    w.file("in.txt", "short again\n").build(&[]).success();
    assert_eq!(differs(&w, "conductor/T1"), ["M one/a", "D one/b"]);
    assert_eq!(differs(&w, "conductor/T2"), ["M one/a", "D one/b", "M two.txt"]);
    w.git(&["checkout", "-q", "--", "one"]).git(&["stash", "-q"]);
    for branch in ["conductor/T1", "conductor/T2", "conductor/T3"] {
        w.git(&["merge", "-q", "--no-edit", branch]);
    }
    assert_eq!(
        w.git_says(&["ls-tree", "-r", "--name-only", "HEAD"]),
        "conductor.yaml\nin.txt\none/a\nthree.txt\ntwo.txt"
    );
}

#[test]
fn an_output_that_is_declared_no_more_is_deleted_on_the_branch_as_in_the_tree() {
    let tasks = |output: &str| {
        format!(
            "tasks:\n  T1: {{ inputs: [], isolation: worktree, outputs: [{output}], run: touch {output} }}\n"
        )
    };
    let w = repo(&tasks("old"), &[]);
    w.build(&[]).success();
    commit(&w, "results");
    w.manifest(&tasks("new")).build(&[]).success().ran(&["T1"]);
    assert!(w.has("new") && !w.has("old"));
    assert_eq!(differs(&w, "conductor/T1"), ["A new", "D old"]);
}

#[test]
fn a_persons_file_in_an_output_folder_stays_on_the_branch_as_in_the_tree() {
    let w = repo(
        "tasks:
  T1: { inputs: [in.txt], isolation: worktree, outputs: [out/], run: cp in.txt out/made }
",
        &[("in.txt", "1\n"), ("out/mine", "mine\n")],
    );
    w.build(&[]).success();
    assert_eq!(differs(&w, "conductor/T1"), ["A out/made"]);
    commit(&w, "results");
    w.file("in.txt", "2\n").build(&[]).success();
    assert_eq!(differs(&w, "conductor/T1"), ["M out/made"]);
    assert_eq!(w.read("out/mine"), "mine\n");
}

#[test]
fn head_may_move_between_two_builds() {
    let w = repo(THREE, &[("in.txt", "in\n"), (".gitignore", "/one/\n/two.txt\n/three.txt\n")]);
    w.build(&["T1"]).success();
    w.file("more.txt", "more\n");
    commit(&w, "second");
    w.build(&["T2"]).success().ran(&["T2"]);
    assert_eq!(differs(&w, "conductor/T2"), ["A one/a", "A one/b", "A two.txt"]);
    w.git(&["merge", "-q", "--no-edit", "conductor/T1"]).git(&["merge", "-q", "--no-edit", "conductor/T2"]);
    assert!(w.has("more.txt"));
    // Merged, they are contained in HEAD, which is the only parent then.
    w.file("in.txt", "other\n");
    commit(&w, "third");
    w.build(&["T3"]).success();
    assert_eq!(w.git_says(&["log", "-1", "--format=%P", "conductor/T3"]), w.git_says(&["rev-parse", "HEAD"]));
}

#[test]
fn a_branch_follows_accepted_results_alone() {
    let w = repo(
        "tasks:
  T1: { inputs: [in.txt], isolation: worktree, outputs: [out], run: cp in.txt out, validate: [ { matches: { path: out, regex: good } } ] }
",
        &[("in.txt", "good 1\n")],
    );
    w.build(&[]).success();
    let first = w.git_says(&["rev-parse", "conductor/T1"]);
    w.file("in.txt", "bad\n");
    w.build(&[]).fails_with(1).failed(&["T1"]);
    assert_eq!(w.git_says(&["rev-parse", "conductor/T1"]), first);
    assert_eq!(w.read("out"), "good 1\n");
    w.file("in.txt", "good 2\n");
    w.build(&[]).success();
    assert_eq!(on(&w, "conductor/T1", "out"), "good 2");
    assert_eq!(w.git_says(&["log", "-1", "--format=%P", "conductor/T1"]), w.git_says(&["rev-parse", "HEAD"]));
    nothing_left(&w);
}

#[test]
fn a_tip_that_conductor_did_not_write_is_kept_aside_and_reported() {
    let w = repo(THREE, &[("in.txt", "in\n")]);
    w.build(&["T1"]).success().never_says("did not make");
    let mine = w.git_says(&["commit-tree", "-m", "mine", "HEAD^{tree}"]);
    w.git(&["branch", "-qf", "conductor/T1", &mine]);
    // A check of freshness leaves it.
    w.build(&["T1"]).runs_nothing();
    assert_eq!(w.git_says(&["rev-parse", "conductor/T1"]), mine);
    w.file("in.txt", "other\n");
    let run = w.run(&["build", "T1"]);
    run.success().says("conductor/T1").says("conductor-kept/");
    let kept: Vec<String> =
        branches(&w).into_iter().filter(|name| name.starts_with("conductor-kept/")).collect();
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!(w.git_says(&["rev-parse", &kept[0]]), mine);
    assert_eq!(on(&w, "conductor/T1", "one/a"), "other");
    // Once.
    w.file("in.txt", "third\n");
    w.run(&["build", "T1"]).success().never_says("conductor-kept/");
    // An amended commit has conductor's trailers and is a person's.
    w.git(&["worktree", "add", "-q", "../mine", "conductor/T1"]);
    w.git(&[
        "-C",
        "../mine",
        "commit",
        "-q",
        "--amend",
        "--allow-empty",
        "-m",
        &w.git_says(&["log", "-1", "--format=%B", "conductor/T1"]),
        "--author=Me <me@localhost>",
    ]);
    let amended = w.git_says(&["rev-parse", "conductor/T1"]);
    w.git(&["worktree", "remove", "../mine"]);
    w.file("in.txt", "fourth\n");
    w.run(&["build", "T1"]).success().says("conductor-kept/");
    assert!(
        branches(&w)
            .iter()
            .any(|name| name.starts_with("conductor-kept/") && w.git_says(&["rev-parse", name]) == amended)
    );
}

#[test]
fn a_tip_is_put_aside_only_for_a_result_that_is_accepted() {
    let w = repo(
        "tasks:
  T1: { inputs: [in.txt], isolation: worktree, outputs: [out], run: cp in.txt out }
",
        &[("in.txt", "1\n")],
    );
    let mine = w.git_says(&["commit-tree", "-m", "mine", "HEAD^{tree}"]);
    w.git(&["branch", "-q", "conductor/T1", &mine]);
    w.file("out", "a person's\n");
    w.build(&[]).fails_with(4);
    assert_eq!(branches(&w), ["conductor/T1"]);
    assert_eq!(w.git_says(&["rev-parse", "conductor/T1"]), mine);
    let resolved = w.run(&["resolve", "out", "--theirs"]);
    resolved.success().says("conductor-kept/");
    assert_eq!(on(&w, "conductor/T1", "out"), "1");
}

#[test]
fn a_branch_that_is_checked_out_stays_where_it_is_and_the_result_stands() {
    let w = repo(THREE, &[("in.txt", "in\n"), (".gitignore", "/one/\n/two.txt\n/three.txt\n")]);
    w.build(&["T1"]).success();
    w.git(&["checkout", "-q", "conductor/T1"]);
    let mine = w.git_says(&["rev-parse", "HEAD"]);
    w.file("in.txt", "second\n");
    w.run(&["build", "T1"]).success().says("checked out");
    assert_eq!(w.git_says(&["rev-parse", "HEAD"]), mine);
    assert_eq!(w.git_says(&["symbolic-ref", "HEAD"]), "refs/heads/conductor/T1");
    assert_eq!(w.read("one/a"), "second\n");
    w.build(&["T1"]).runs_nothing();
    // So it does where the tip is a person's.
    w.git(&["commit", "-q", "--allow-empty", "-m", "mine"]);
    w.file("in.txt", "third\n");
    w.run(&["build", "T1"]).success().says("checked out");
    assert_eq!(w.git_says(&["log", "-1", "--format=%s"]), "mine");
    assert_eq!(w.read("one/a"), "third\n");
}

#[test]
fn a_deleted_branch_is_made_again_and_a_commit_that_git_threw_away_is_not_missed() {
    let w = repo(THREE, &[("in.txt", "in\n")]);
    w.build(&["T1"]).success();
    w.git(&["branch", "-qD", "conductor/T1"]);
    w.git(&["reflog", "expire", "--expire=now", "--all"]).git(&["gc", "-q", "--prune=now"]);
    w.build(&["T1"]).runs_nothing();
    // The next one needs what is gone; its files are in the tree.
    w.build(&["T2"]).success().ran(&["T2"]);
    assert_eq!(differs(&w, "conductor/T2"), ["A one/a", "A one/b", "A two.txt"]);
    w.file("in.txt", "again\n");
    w.run(&["build", "T1"]).success().never_says("did not make");
    assert_eq!(on(&w, "conductor/T1", "one/a"), "again");
}

#[test]
fn after_clean_and_after_a_lost_state_conductor_knows_its_own_branches() {
    let w = repo(THREE, &[("in.txt", "in\n")]);
    w.build(&[]).success();
    w.run(&["clean"]).success();
    w.run(&["build"]).success().never_says("did not make");
    w.remove(".conductor");
    w.run(&["build"]).success().never_says("did not make");
    assert_eq!(branches(&w), ["conductor/T1", "conductor/T2", "conductor/T3"]);
    nothing_left(&w);
}

#[test]
fn a_branch_in_the_way_is_told_and_the_result_stands() {
    let w = repo(THREE, &[("in.txt", "in\n")]);
    w.git(&["branch", "-q", "conductor"]);
    w.run(&["build"]).success().says("conductor/T1").says("the result is in commit");
    assert_eq!(w.read("one/a"), "in\n");
    assert_eq!(branches(&w), ["conductor"]);
    w.build(&[]).runs_nothing();
    nothing_left(&w);
}

#[test]
fn matrix_and_namespace_have_their_branches() {
    let w = repo(
        "include: [api/conductor.yaml]
tasks:
  T1: { inputs: [], isolation: worktree, matrix: { os: [a, 'b~c'], v: [1] }, outputs: ['${matrix.os}.txt'], run: 'echo x > \"${matrix.os}.txt\"' }
",
        &[("api/conductor.yaml", "conductor: 1\nnamespace: api\ntasks:\n  T1: { inputs: [], isolation: worktree, outputs: [out], run: touch out }\n")],
    );
    w.build(&["-j", "4"]).success();
    assert_eq!(branches(&w), ["conductor/T1@os=a,v=1", "conductor/T1@os=b%7Ec,v=1", "conductor/api@T1"]);
    assert_eq!(differs(&w, "conductor/T1@os=b%7Ec,v=1"), ["A b~c.txt"]);
    assert_eq!(differs(&w, "conductor/api@T1"), ["A api/out"]);
    nothing_left(&w);
}

#[test]
fn keys_are_those_of_a_build_in_the_tree() {
    let tasks = "tasks:
  T1: { inputs: [in.txt], outputs: [one/], run: 'cp in.txt one/a' }
  T2: { needs: [T1], inputs: [in.txt], outputs: [two.txt], run: cat one/* > two.txt }
";
    let w = repo(tasks, &[("in.txt", "in\n"), (".gitignore", "/one/\n/two.txt\n")]);
    let none = w.build(&[]);
    none.success();
    // Fresh under another isolation too.
    w.build(&["--isolation", "worktree"]).runs_nothing();
    assert_eq!(branches(&w), [""; 0]);
    let forced = w.build(&["--isolation", "worktree", "--force"]);
    forced.success().ran(&["T1", "T2"]);
    for task in ["T1", "T2"] {
        assert_eq!(none.task(task)["key"], forced.task(task)["key"]);
        assert_eq!(none.task(task)["outputs"], forced.task(task)["outputs"]);
    }
    assert_eq!(branches(&w), ["conductor/T1", "conductor/T2"]);
    w.build(&[]).runs_nothing();
    nothing_left(&w);
}
