//! Repositories of every kind, and what in them is the user's.

use std::os::unix::fs::PermissionsExt as _;

use super::{branches, commit, differs, nothing_left, on, plain, repo};
use crate::support::{Tree, World};

const ONE: &str = "defaults: { isolation: worktree }
tasks:
  T1: { inputs: [in.txt], outputs: [out/], run: cp in.txt out/a }
  T2: { needs: [T1], inputs: [], outputs: [two.txt], run: cp out/a two.txt }
";

/// What of git's folder is the user's: everything but objects, conductor's branches and their logs.
fn users_part(w: &World) -> Vec<(String, Vec<u8>)> {
    let git = w.path(".git");
    let mut files = Vec::new();
    let tree = Tree::of(&git);
    for file in tree.files() {
        let own = ["objects/", "refs/heads/conductor/", "logs/refs/heads/conductor/"];
        if !own.iter().any(|prefix| file.starts_with(prefix)) {
            files.push((file.clone(), std::fs::read(git.join(&file)).unwrap()));
        }
    }
    files
}

#[test]
fn index_head_stash_untracked_and_ignored_files_of_the_user_stay_byte_for_byte() {
    let w = repo(
        ONE,
        &[("in.txt", "in\n"), ("tracked.txt", "t\n"), ("gone.txt", "g\n"), (".gitignore", "*.tmp\n")],
    );
    w.file("tracked.txt", "stashed\n").git(&["stash", "-q"]);
    w.file("tracked.txt", "staged\n").git(&["add", "tracked.txt"]);
    w.file("tracked.txt", "and changed\n").remove("gone.txt");
    w.file("untracked.txt", "u\n").file("ignored.tmp", "i\n").file("in.txt", "uncommitted\n");
    w.file("intended.txt", "n\n").git(&["add", "-N", "intended.txt"]);
    let before = users_part(&w);
    let status = w.git_says(&["status", "--porcelain"]);
    w.build(&["-j", "4"]).success().ran(&["T1", "T2"]);
    // git itself writes the index anew in `git status`, so this comes first.
    let index = |part: &[(String, Vec<u8>)]| part.iter().find(|(name, _)| name == "index").cloned();
    assert!(index(&before).is_some());
    assert_eq!(
        users_part(&w).iter().map(|(name, _)| name).collect::<Vec<_>>(),
        before.iter().map(|(name, _)| name).collect::<Vec<_>>()
    );
    for (now, then) in users_part(&w).iter().zip(&before).filter(|(now, _)| now.0 != "index") {
        assert_eq!(now, then);
    }
    let now = w.git_says(&["status", "--porcelain"]);
    let new: Vec<&str> = now.lines().filter(|line| !status.contains(line)).collect();
    assert_eq!(new, ["?? out/", "?? two.txt"]);
    assert_eq!(now.lines().count(), status.lines().count() + 2);
    assert_eq!(w.git_says(&["stash", "list"]).lines().count(), 1);
    assert_eq!(w.git_says(&["show", ":tracked.txt"]), "staged");
    assert_eq!(w.read("tracked.txt"), "and changed\n");
    assert_eq!(w.read("untracked.txt") + &w.read("ignored.tmp"), "u\ni\n");
    // The commit is of the uncommitted input's result, and of nothing else that is uncommitted.
    assert_eq!(differs(&w, "conductor/T1"), ["A out/a"]);
    assert_eq!(on(&w, "conductor/T1", "out/a"), "uncommitted");
    assert_eq!(on(&w, "conductor/T1", "in.txt"), "in");
    nothing_left(&w);
}

#[test]
fn the_index_is_not_even_read_anew() {
    let w = repo(ONE, &[("in.txt", "in\n")]);
    let before = (std::fs::read(w.path(".git/index")).unwrap(), std::fs::read(w.path(".git/HEAD")).unwrap());
    let time = w.path(".git/index").metadata().unwrap().modified().unwrap();
    w.build(&[]).success();
    assert_eq!(
        (std::fs::read(w.path(".git/index")).unwrap(), std::fs::read(w.path(".git/HEAD")).unwrap()),
        before
    );
    assert_eq!(w.path(".git/index").metadata().unwrap().modified().unwrap(), time);
}

#[test]
fn hooks_do_not_run() {
    let w = repo(ONE, &[("in.txt", "in\n")]);
    let hooks = [
        "pre-commit",
        "prepare-commit-msg",
        "commit-msg",
        "post-commit",
        "post-checkout",
        "post-index-change",
        "reference-transaction",
        "post-merge",
        "pre-auto-gc",
        "post-rewrite",
    ];
    for hook in hooks {
        w.program(
            &format!(".git/hooks/{hook}"),
            &format!("#!/bin/sh\necho {hook} >> {}\nexit 1\n", w.root().with_file_name("ran").display()),
        );
    }
    w.build(&[]).success().ran(&["T1", "T2"]);
    w.file("in.txt", "more\n");
    w.build(&[]).success().ran(&["T1", "T2"]);
    assert!(!w.root().with_file_name("ran").exists());
    assert_eq!(
        std::fs::metadata(w.path(".git/hooks/pre-commit")).unwrap().permissions().mode() & 0o111,
        0o111
    );
}

#[test]
fn filters_do_not_run() {
    let w = repo(ONE, &[("in.txt", "in\n"), (".gitattributes", "* filter=evil\n")]);
    let ran = w.root().with_file_name("ran");
    for side in ["clean", "smudge"] {
        w.git(&["config", &format!("filter.evil.{side}"), &format!("touch {}; cat", ran.display())]);
    }
    let _ = std::fs::remove_file(&ran);
    w.build(&[]).success().ran(&["T1", "T2"]);
    assert!(!ran.exists());
}

#[test]
fn a_linked_worktree_of_the_users_is_a_workspace_like_any_other() {
    let main = repo(ONE, &[("in.txt", "in\n")]);
    main.git(&["worktree", "add", "-q", "-b", "side", "side"]);
    main.file("side/in.txt", "side\n");
    main.run_in("side", &["build"]).success();
    assert_eq!(main.read("side/two.txt"), "side\n");
    assert!(!main.has("two.txt"));
    assert_eq!(on(&main, "conductor/T2", "two.txt"), "side");
    assert_eq!(
        main.git_says(&["log", "-1", "--format=%P", "conductor/T1"]),
        main.git_says(&["rev-parse", "side"])
    );
    assert_eq!(main.git_says(&["worktree", "list"]).lines().count(), 2);
    assert_eq!(main.git_says(&["-C", "side", "status", "--porcelain"]), " M in.txt\n?? out/\n?? two.txt");
    assert!(!main.has("side/.conductor/workspaces"));
}

#[test]
fn two_worktrees_of_one_repository_build_at_once() {
    let main = repo(ONE, &[("in.txt", "in\n"), (".gitignore", "/side/\n")]);
    main.git(&["worktree", "add", "-q", "-b", "side", "side"]);
    for round in 0..4 {
        main.file("in.txt", format!("main {round}\n")).file("side/in.txt", format!("side {round}\n"));
        let one = main.start(&[]);
        let mut command = main.command(&["build", "--format", "json"]);
        command.current_dir(main.path("side"));
        let two = crate::support::Background::start(command, &["build"]);
        one.wait().success();
        two.wait().success();
        assert_eq!(main.read("two.txt"), format!("main {round}\n"));
        assert_eq!(main.read("side/two.txt"), format!("side {round}\n"));
    }
    assert_eq!(main.git_says(&["worktree", "list"]).lines().count(), 2);
    main.git(&["fsck", "--no-progress", "--no-dangling"]);
}

#[test]
fn submodules_are_left_alone() {
    let w = repo(ONE, &[("in.txt", "in\n")]);
    let lib = w.root().with_file_name("lib");
    let lib = lib.to_str().unwrap();
    w.git(&["init", "-q", lib]).git(&["-C", lib, "commit", "-q", "--allow-empty", "-m", "lib"]);
    w.git(&["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", lib, "sub"]);
    commit(&w, "with a submodule");
    let entry = w.git_says(&["ls-tree", "HEAD", "sub"]);
    w.build(&[]).success().ran(&["T1", "T2"]);
    assert_eq!(w.git_says(&["ls-tree", "conductor/T2", "sub"]), entry);
    assert_eq!(differs(&w, "conductor/T1"), ["A out/a"]);
    assert_eq!(w.git_says(&["status", "--porcelain"]), "?? out/\n?? two.txt");
    nothing_left(&w);
}

const SPARSE: &str = "run: 'cp in.txt out/a; s=$(git status --porcelain); echo \"[$s]\" > out/s; echo x > in.txt; git restore in.txt; git diff --exit-code' }";

#[test]
fn a_sparse_checkout_stays_one() {
    for old in [false, true] {
        let w = repo(ONE, &[("in.txt", "in\n"), ("big/data", "d\n"), ("src/a", "a\n")]);
        if old {
            w.git(&["config", "core.sparseCheckout", "true"]);
            w.file(".git/info/sparse-checkout", "/*\n!/big/\n").git(&["read-tree", "-mu", "HEAD"]);
        } else {
            w.git(&["sparse-checkout", "set", "src"]);
        }
        assert!(!w.has("big/data"));
        w.file("conductor.yaml", w.read("conductor.yaml").replace("run: cp in.txt out/a }", SPARSE));
        w.build(&[]).success().ran(&["T1", "T2"]);
        assert_eq!(w.read("out/s"), "[?? out/]\n");
        assert!(!w.has("big/data"));
        assert_eq!(on(&w, "conductor/T1", "big/data"), "d");
        assert_eq!(differs(&w, "conductor/T1"), ["A out/a", "A out/s"]);
        nothing_left(&w);
    }
}

#[test]
fn a_detached_head_stays_detached() {
    let w = repo(ONE, &[("in.txt", "in\n")]);
    w.git(&["checkout", "-q", "--detach"]);
    let head = w.read(".git/HEAD");
    w.build(&[]).success();
    assert_eq!(w.read(".git/HEAD"), head);
    assert_eq!(w.git_says(&["log", "-1", "--format=%P", "conductor/T1"]), head.trim_end());
}

#[test]
fn an_unborn_head_stays_unborn() {
    let w = plain(ONE, &[("in.txt", "in\n")]);
    w.git(&["init", "-q"]);
    w.build(&[]).success().ran(&["T1", "T2"]);
    assert_eq!(w.git_says(&["log", "-1", "--format=[%P]", "conductor/T1"]), "[]");
    assert_eq!(
        w.git_says(&["log", "-1", "--format=%P", "conductor/T2"]),
        w.git_says(&["rev-parse", "conductor/T1"])
    );
    assert_eq!(w.git_says(&["ls-tree", "-r", "--name-only", "conductor/T2"]), "out/a\ntwo.txt");
    assert_eq!(w.git_says(&["for-each-ref", "refs/heads/main"]), "");
    w.build(&[]).runs_nothing();
    commit(&w, "first at last");
    w.file("in.txt", "more\n");
    w.build(&[]).success();
    nothing_left(&w);
}

#[test]
fn a_workspace_in_a_folder_of_the_repository_commits_below_that_folder() {
    let w = plain("tasks: {}\n", &[]);
    w.file("service/conductor.yaml", format!("conductor: 1\n{ONE}"))
        .file("service/in.txt", "in\n")
        .file("outer.txt", "o\n");
    w.remove("conductor.yaml").git(&["init", "-q"]);
    commit(&w, "first");
    w.run_in("service", &["build"]).success();
    assert_eq!(differs(&w, "conductor/T1"), ["A service/out/a"]);
    assert_eq!(differs(&w, "conductor/T2"), ["A service/out/a", "A service/two.txt"]);
    assert_eq!(w.read("service/two.txt"), "in\n");
    assert_eq!(w.git_says(&["worktree", "list"]).lines().count(), 1);
    assert!(!w.has("service/.conductor/workspaces"));
}

#[test]
fn a_bare_repository_with_worktrees_is_one_too() {
    let w = repo(ONE, &[("in.txt", "in\n")]);
    let (bare, tree) = (w.root().with_file_name("bare.git"), w.root().with_file_name("tree"));
    w.git(&["clone", "-q", "--bare", ".", bare.to_str().unwrap()]);
    w.git(&["-C", bare.to_str().unwrap(), "worktree", "add", "-q", tree.to_str().unwrap(), "main"]);
    crate::support::Run::of(w.command(&["build"]).current_dir(&tree), &["build"]).success();
    assert!(tree.join("two.txt").is_file());
    assert_eq!(
        w.git_says(&["-C", bare.to_str().unwrap(), "branch", "--list", "conductor/*"]).lines().count(),
        2
    );
}

#[test]
fn what_the_environment_says_of_git_has_no_say() {
    let mut w = repo(ONE, &[("in.txt", "in\n")]);
    let other = w.root().with_file_name("other");
    w.git(&["init", "-q", other.to_str().unwrap()]);
    // As in a hook of another repository.
    w.set_env("GIT_DIR", other.join(".git").to_str().unwrap());
    w.set_env("GIT_INDEX_FILE", other.join("index").to_str().unwrap());
    w.set_env("GIT_WORK_TREE", other.to_str().unwrap());
    w.build(&[]).success();
    assert_eq!(branches(&w), ["conductor/T1", "conductor/T2"]);
    assert!(!other.join("index").exists());
}

#[test]
fn a_workspace_that_is_reached_through_a_link_is_the_same_one() {
    let w = repo(ONE, &[("in.txt", "in\n")]);
    let link = w.root().with_file_name("link");
    std::os::unix::fs::symlink(w.root(), &link).unwrap();
    let build = ["-C", link.to_str().unwrap(), "build"];
    w.run(&build).success();
    assert_eq!(w.read("two.txt"), "in\n");
    assert_eq!(differs(&w, "conductor/T1"), ["A out/a"]);
    nothing_left(&w);
    w.build(&[]).runs_nothing();
    let text = w.read("conductor.yaml").replace("cp out/a two.txt", "cp out/a two.txt; false");
    w.file("conductor.yaml", text);
    w.run(&build).fails_with(1).says(".conductor/workspaces/T2");
    w.run(&["-C", link.to_str().unwrap(), "clean"]).success().says("the worktree .conductor/workspaces/T2");
    nothing_left(&w);
}

#[test]
fn halves_of_worktrees_that_conductor_left_are_recovered() {
    let w = repo(ONE, &[("in.txt", "in\n")]);
    // As it is left when conductor is killed: with an entry that bears conductor's name, locked or not, whose folder
    // is there or gone, and a folder without its entry.
    for name in ["T1", "T9"] {
        let place = format!(".conductor/workspaces/conductor-0123abcd-{name}");
        w.git(&["worktree", "add", "-q", "--detach", "--lock", "--reason", "initializing", &place]);
    }
    w.remove(".conductor/workspaces/conductor-0123abcd-T9");
    w.file(".conductor/workspaces/T2/.git", "gitdir: /nowhere/.git/worktrees/conductor-0123abcd-T2\n");
    w.build(&[]).success().ran(&["T1", "T2"]);
    nothing_left(&w);
    // A person's own worktree elsewhere stays, locked or not.
    w.git(&["worktree", "add", "-q", "--detach", "--lock", "../mine"]);
    w.file("in.txt", "more\n").build(&[]).success();
    assert_eq!(w.git_says(&["worktree", "list"]).lines().count(), 2);
}

#[test]
fn names_that_are_not_utf_8_and_hostile_ones_are_committed_as_they_are() {
    use std::os::unix::ffi::OsStrExt as _;
    let w = repo(
        "tasks:
  T1: { inputs: ['src/**'], isolation: worktree, outputs: [out/], run: 'cp src/* out/; s=$(git status --porcelain -z | wc -c); echo \"$s\" > out/s' }
",
        &[("src/a b\n\"c", "1\n"), ("src/-q", "2\n")],
    );
    let strange = std::ffi::OsStr::from_bytes(b"src/\xff\xfe*");
    w.file(strange, "3\n");
    let run = w.build(&[]);
    run.success();
    assert_eq!(w.read("out/s"), "8\n", "only `?? out/` is told");
    let names = w.git_says(&["ls-tree", "-r", "--name-only", "conductor/T1", "out/"]);
    assert_eq!(names, "out/-q\n\"out/a b\\n\\\"c\"\nout/s\n\"out/\\377\\376*\"");
    nothing_left(&w);
    w.build(&[]).runs_nothing();
}
