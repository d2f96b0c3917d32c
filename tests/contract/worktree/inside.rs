//! What a task finds in its worktree.

use super::{nothing_left, plain, repo};

#[test]
fn it_is_a_linked_worktree_that_git_lists_while_it_runs() {
    let w = repo(
        "tasks:
  T1: { inputs: [in.txt], isolation: worktree, outputs: [list, top], run: 'git worktree list --porcelain > list; git rev-parse --show-toplevel > top' }
",
        &[("in.txt", "in\n")],
    );
    w.build(&[]).success().ran(&["T1"]);
    let place = w.path(".conductor/workspaces/T1");
    assert_eq!(w.read("top").trim_end(), place.to_str().unwrap());
    let list = w.read("list");
    let own = list.split("\n\n").find(|entry| entry.contains(place.to_str().unwrap())).unwrap();
    assert!(own.contains("\ndetached"), "{list}");
    assert!(!own.contains("prunable"), "{list}");
    nothing_left(&w);
}

#[test]
fn a_person_sees_it_in_git_worktree_list_and_cannot_prune_it_while_it_runs() {
    let w = repo(
        "tasks:
  T1: { inputs: [], isolation: worktree, outputs: [out], run: 'touch started; while [ ! -e go ]; do sleep 0.02; done; touch out', writes: warn }
",
        &[],
    );
    let build = w.start(&[]);
    w.wait_for(".conductor/workspaces/T1/started");
    assert!(w.git_says(&["worktree", "list"]).contains(".conductor/workspaces/T1"));
    w.git(&["worktree", "prune", "--expire", "now"]);
    assert_eq!(w.git_says(&["worktree", "list"]).lines().count(), 2);
    // From outside git sees in it what the task did.
    assert_eq!(w.git_says(&["-C", ".conductor/workspaces/T1", "status", "--short"]), "?? started");
    w.file(".conductor/workspaces/T1/go", "");
    build.wait().success().ran(&["T1"]);
    nothing_left(&w);
}

#[test]
fn its_head_is_a_commit_without_parents_of_exactly_what_the_task_sees() {
    let w = repo(
        "tasks:
  T0: { inputs: [in.txt], outputs: [made/zero], run: cp in.txt made/zero }
  T1:
    needs: [T0]
    inputs: [in.txt, 'src/**']
    isolation: worktree
    outputs: [seen/]
    run: |
      git log --format='%P|%an' > seen/log
      git ls-tree -r --name-only HEAD > seen/tree
      git status --porcelain > seen/status
      git symbolic-ref -q HEAD > seen/ref || echo detached > seen/ref
      find . -type f -not -name .git -not -path './seen/*' | sort > seen/files
",
        &[
            ("in.txt", "in\n"),
            ("src/a", "a\n"),
            ("src/deep/b", "b\n"),
            ("other.txt", "o\n"),
            (".gitignore", "*.log\n"),
        ],
    );
    w.file("src/ignored.log", "x\n").file("untracked.txt", "u\n");
    w.build(&[]).success().ran(&["T0", "T1"]);
    assert_eq!(w.read("seen/log"), "|conductor\n");
    assert_eq!(w.read("seen/tree"), "in.txt\nmade/zero\nsrc/a\nsrc/deep/b\n");
    assert_eq!(w.read("seen/files"), "./in.txt\n./made/zero\n./src/a\n./src/deep/b\n");
    // The redirection made the file before git looked.
    assert_eq!(w.read("seen/status"), "?? seen/\n");
    assert_eq!(w.read("seen/ref"), "detached\n");
}

#[test]
fn git_status_is_clean_whatever_line_ends_modes_and_links_there_are() {
    let w = repo(
        "tasks:
  T1: { inputs: ['src/**'], isolation: worktree, outputs: [out], run: 'git status --porcelain > ../out.txt 2>&1 || true; s=$(git status --porcelain); echo \"[$s]\" > out' }
",
        &[("src/crlf.txt", "a\r\nb\r\n"), ("src/plain", "a\n"), (".gitattributes", "*.txt text\n")],
    );
    w.git(&["config", "core.autocrlf", "true"]);
    w.program("src/tool", "#!/bin/sh\n").link("src/link", "plain").link("src/nowhere", "missing");
    w.file("src/with space\tand ü", "x").file("src/fresh", "written just now");
    w.build(&[]).success().ran(&["T1"]);
    assert_eq!(w.read("out"), "[]\n");
}

#[test]
fn git_diff_and_git_restore_work_in_it_and_a_restored_file_is_no_undeclared_write() {
    let w = repo(
        "tasks:
  T1:
    inputs: [in.txt, gone.txt]
    isolation: worktree
    outputs: [out/]
    run: |
      echo more >> in.txt
      rm gone.txt
      git diff --stat > out/stat
      git diff --name-status > out/names
      git restore .
      git add out/names && exit 9
      git status --porcelain --untracked-files=no > out/after
      cat in.txt gone.txt > out/content
",
        &[("in.txt", "in\n"), ("gone.txt", "gone\n")],
    );
    w.build(&[]).success().ran(&["T1"]);
    assert_eq!(w.read("out/names"), "D\tgone.txt\nM\tin.txt\n");
    assert_eq!(w.read("out/after"), "");
    assert_eq!(w.read("out/content"), "in\ngone\n");
    nothing_left(&w);
}

#[test]
fn what_copy_and_setup_bring_is_there_outside_the_key_never_committed_and_no_undeclared_write() {
    let w = repo(
        "defaults: { copy: [.env, 'deps/**'], setup: mkdir tools; echo tool > tools/t }
tasks:
  T1:
    inputs: [in.txt]
    isolation: worktree
    outputs: [out/]
    run: |
      cat .env deps/lib/x tools/t > out/all
      echo changed >> .env
      echo new > deps/lib/cache
      echo used >> tools/t
      echo new > tools/new
      git status --porcelain > out/status
  T2: { inputs: [in.txt], copy: [], setup: 'true', isolation: worktree, outputs: [two], run: '[ ! -e .env ]; [ ! -e tools ]; touch two' }
",
        &[("in.txt", "in\n"), (".gitignore", ".env\ndeps/\n")],
    );
    w.file(".env", "secretless\n").file("deps/lib/x", "lib\n");
    let first = w.build(&[]);
    first.fails_with(1).failed(&["T1"]);
    // What was copied or prepared may change, as may what git ignores; another file is a write like any other.
    first.says("declare: tools/new");
    let text = w.read("conductor.yaml").replace("      echo new > tools/new\n", "");
    w.file("conductor.yaml", text);
    w.build(&[]).success();
    assert_eq!(w.read("out/all"), "secretless\nlib\ntool\n");
    assert_eq!(w.read("out/status"), "?? out/\n");
    assert_eq!(super::differs(&w, "conductor/T1"), ["A out/all", "A out/status"]);
    assert_eq!(w.read(".env"), "secretless\n");
    // Outside the key.
    w.file(".env", "another\n").file("deps/lib/x", "other\n");
    w.build(&[]).runs_nothing();
    let text = w.read("conductor.yaml").replace("echo tool > tools/t", "echo hammer > tools/t");
    w.file("conductor.yaml", text);
    w.build(&[]).runs_nothing();
    nothing_left(&w);
}

#[test]
fn what_was_copied_into_an_output_folder_is_no_output() {
    let w = repo(
        "tasks:
  T1: { inputs: [], copy: [out/cache], isolation: worktree, outputs: [out/], run: 'cat out/cache > out/made' }
",
        &[(".gitignore", "out/\n")],
    );
    w.file("out/cache", "mine\n");
    let run = w.build(&[]);
    run.success();
    assert_eq!(run.task("T1")["outputs"].as_object().unwrap().keys().collect::<Vec<_>>(), ["out/made"]);
    assert_eq!(super::differs(&w, "conductor/T1"), ["A out/made"]);
    assert_eq!(w.read("out/cache"), "mine\n");
    w.build(&[]).runs_nothing();
}

#[test]
fn a_failed_setup_fails_the_task_and_says_what_it_printed() {
    let w = repo(
        "tasks:
  T1: { inputs: [], isolation: worktree, outputs: [out], setup: 'echo no dice; exit 3', run: touch out }
",
        &[],
    );
    w.build(&[]).fails_with(1).failed(&["T1"]).says("setup").says("no dice");
    assert!(!w.has("out"));
}

#[test]
fn undeclared_writes_fail_the_task_unless_it_says_warn_and_what_git_ignores_does_not_count() {
    let run =
        "echo x > out; echo y > stray; mkdir -p more; echo z > more/file; echo i > trace.log; rm in.txt";
    let manifest = |writes: &str| {
        format!(
            "tasks:\n  T1: {{ inputs: [in.txt], isolation: worktree, outputs: [out], {writes} run: '{run}' }}\n"
        )
    };
    let w = repo(&manifest(""), &[("in.txt", "in\n"), (".gitignore", "*.log\n")]);
    let failed = w.build(&[]);
    failed.fails_with(1).failed(&["T1"]);
    failed.says("in.txt").says("more/file").says("stray").never_says("trace.log");
    assert!(!w.has("out"));
    assert_eq!(super::branches(&w), [""; 0]);
    w.manifest(&manifest("writes: warn,"));
    w.build(&[]).success().ran(&["T1"]).says("stray");
    assert_eq!(super::differs(&w, "conductor/T1"), ["A out"]);
    assert!(w.has("in.txt") && !w.has("stray"));
    nothing_left(&w);
}

#[test]
fn no_repository_is_an_error_of_the_manifest_with_its_place() {
    let manifest = "tasks:
  T1: { inputs: [], isolation: worktree, outputs: [out], run: touch out }
";
    let w = plain(manifest, &[]);
    for command in ["validate", "build"] {
        let run = w.json(command, &[]);
        run.fails_with(2);
        let diagnostic = &run.diagnostics()[0];
        assert!(diagnostic["message"].as_str().unwrap().contains("T1"), "{run}");
        assert!(diagnostic["message"].as_str().unwrap().contains("git"), "{run}");
        assert_eq!(diagnostic["labels"][0]["line"], 3, "{run}");
        assert!(diagnostic["help"].is_string(), "{run}");
    }
    assert!(!w.has("out"));
    w.manifest("tasks:\n  T1: { inputs: [], outputs: [out], run: touch out }\n");
    w.build(&["--isolation", "worktree"]).fails_with(2);
    w.build(&[]).success();
}

#[test]
fn a_git_configuration_that_the_task_declares_stands_beside_conductors_own() {
    let w = repo(
        "tasks:
  T1:
    inputs: []
    copy: [.env]
    isolation: worktree
    env: { GIT_CONFIG_COUNT: '1', GIT_CONFIG_KEY_0: user.name, GIT_CONFIG_VALUE_0: Ada }
    outputs: [out]
    run: n=$(git config user.name); s=$(git status --porcelain); echo \"$n[$s]\" > out
",
        &[],
    );
    w.file(".env", "x");
    w.build(&[]).success();
    assert_eq!(w.read("out"), "Ada[]\n");
}
