//! `affected --base REF`: what an edit since a commit makes stale, told without any recorded state.

use serde_json::{Value, json};

use crate::support::{Run, World};

const MANIFEST: &str = "tasks:
  A: { inputs: ['src/*.txt', '!src/skip.txt'], outputs: [out/a], run: 'cat src/*.txt > out/a' }
  B: { inputs: [b.txt], outputs: [out/b], run: cp b.txt out/b, validate: [{ run: test -s out/b, inputs: [check.txt] }] }
  C: { inputs: [out/a], outputs: [out/c], run: cp out/a out/c }
  D: { inputs: [], after: [A], outputs: [out/d], run: echo d > out/d }
";

/// A repository with one commit, tagged `base`.
fn world(manifest: &str) -> World {
    let world = World::new(manifest);
    for (name, text) in [
        ("src/x.txt", "x"),
        ("src/skip.txt", "s"),
        ("b.txt", "b"),
        ("check.txt", "c"),
        (".gitignore", "out/\n"),
    ] {
        world.file(name, text);
    }
    world.git(&["init", "-q"]);
    commit(&world);
    world.git(&["tag", "base"]);
    world
}

fn commit(world: &World) {
    world.git(&["add", "-A"]).git(&["commit", "-q", "--allow-empty", "-m", "one"]);
}

#[track_caller]
fn affected(world: &World, base: &str) -> Run {
    let run = world.json("affected", &["--base", base]);
    run.success();
    run
}

#[track_caller]
fn check(world: &World, expected: &[&str]) -> Value {
    let document = affected(world, "base").json();
    assert_eq!(document["version"], 1);
    assert_eq!(document["base"], "base");
    assert_eq!(document["tasks"], json!(expected), "{document:#}");
    document
}

#[track_caller]
fn kinds(document: &Value, task: &str) -> Vec<String> {
    let reasons = document["reasons"][task].as_array().unwrap();
    reasons.iter().map(|reason| reason["kind"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn nothing_is_affected_where_nothing_was_edited() {
    let world = world(MANIFEST);
    check(&world, &[]);
    world.run(&["affected", "--base", "base"]).success().says("0 of 4 tasks affected");
    // What a build makes is no edit, be it ignored or not.
    world.file(".gitignore", "");
    commit(&world);
    world.git(&["tag", "-f", "base"]);
    world.build(&[]).success();
    check(&world, &[]);
}

#[test]
fn an_edit_affects_its_readers_and_what_stands_on_them_but_not_what_comes_after() {
    let world = world(MANIFEST);
    world.file("src/x.txt", "y");
    let document = check(&world, &["A", "C"]);
    assert_eq!(document["reasons"]["A"], json!([{"kind": "input_changed", "path": "src/x.txt"}]));
    assert_eq!(document["reasons"]["C"], json!([{"kind": "dependency_changed", "task": "A"}]));
    for step in [&["add", "-A"][..], &["commit", "-q", "-m", "two"]] {
        world.git(step);
        check(&world, &["A", "C"]);
    }
    world.run(&["affected", "--base", "base"]).success().says("2 of 4 tasks affected");
}

#[test]
fn an_edit_that_was_staged_and_taken_back_is_none() {
    let world = world(MANIFEST);
    world.file("src/x.txt", "y").git(&["add", "-A"]).file("src/x.txt", "x");
    check(&world, &[]);
}

#[test]
fn files_that_git_does_not_know_yet_count_and_excluded_and_ignored_ones_do_not() {
    let world = world(MANIFEST);
    world.file("src/skip.txt", "other").file("unread.txt", "u").file("src/deep/no.txt", "n");
    check(&world, &[]);
    world.file(".conductorignore", "src/hidden.txt\n").file("src/hidden.txt", "h");
    commit(&world);
    world.git(&["tag", "-f", "base"]);
    world.file("src/hidden.txt", "i");
    check(&world, &[]);
    world.file("src/new.txt", "n");
    let document = check(&world, &["A", "C"]);
    assert_eq!(kinds(&document, "A"), ["input_added"]);
}

#[test]
fn renames_and_deletions_count_on_both_sides() {
    let world = world(MANIFEST);
    world.git(&["mv", "b.txt", "src/b.txt"]);
    let document = check(&world, &["A", "B", "C"]);
    assert_eq!(kinds(&document, "A"), ["input_added"]);
    assert_eq!(kinds(&document, "B"), ["input_removed"]);
    world.git(&["reset", "-q", "--hard", "base"]);
    world.remove("src/x.txt");
    assert_eq!(kinds(&check(&world, &["A", "C"]), "A"), ["input_removed"]);
}

#[test]
fn what_a_check_reads_affects_its_task() {
    let world = world(MANIFEST);
    world.file("check.txt", "other");
    assert_eq!(kinds(&check(&world, &["B"]), "B"), ["validation_changed"]);
}

#[test]
fn a_changed_rule_may_hide_or_show_any_file_below_it() {
    let world = world(MANIFEST);
    world.file("src/.gitignore", "x.txt\n");
    check(&world, &["A", "C"]);
}

#[test]
fn a_link_is_affected_by_whatever_decides_where_it_leads() {
    type Case<'a> = (&'a str, &'a dyn Fn(&World), &'a [&'a str]);
    let manifest = "tasks:
  A: { inputs: [one], outputs: [out/a], run: cat one > out/a }
  B: { inputs: [below/x.txt], outputs: [out/b], run: cp below/x.txt out/b }
  C: { inputs: [b.txt], outputs: [out/c], run: cp b.txt out/c }
";
    let edits: [Case; 8] = [
        ("a file becomes a folder", &|w| _ = w.remove("file").file("file/x", "1"), &["A"]),
        ("a file goes", &|w| _ = w.remove("file"), &["A"]),
        ("a file changes", &|w| _ = w.file("file", "2"), &["A"]),
        ("a link in between leads elsewhere", &|w| _ = w.remove("two").link("two", "b.txt"), &["A"]),
        ("a link in between becomes a file", &|w| _ = w.remove("two").file("two", "2"), &["A"]),
        ("a folder's file changes", &|w| _ = w.file("folder/x.txt", "2"), &["B"]),
        ("a folder becomes a file", &|w| _ = w.remove("folder").file("folder", "2"), &["B"]),
        ("something else changes", &|w| _ = w.file("b.txt", "2"), &["C"]),
    ];
    for (what, edit, expected) in edits {
        let world = world(manifest);
        world.file("file", "1").file("folder/x.txt", "1");
        world.link("one", "two").link("two", "file").link("below", "folder");
        commit(&world);
        world.git(&["tag", "-f", "base"]);
        edit(&world);
        let document = affected(&world, "base").json();
        assert_eq!(document["tasks"], json!(expected), "{what}: {document:#}");
    }
    // A target that comes to be.
    let world = world("tasks: { A: { inputs: [one], outputs: [out/a], run: cat one > out/a } }\n");
    world.link("one", "nothing/yet");
    commit(&world);
    world.git(&["tag", "-f", "base"]);
    check(&world, &[]);
    world.file("nothing/yet", "1");
    check(&world, &["A"]);
}

#[test]
fn a_link_is_affected_by_the_file_that_it_leads_to() {
    let world = world("tasks: { L: { inputs: [l], outputs: [o], run: cp l o } }\n");
    world.link("l", "b.txt");
    commit(&world);
    world.git(&["tag", "-f", "base"]);
    check(&world, &[]);
    world.file("b.txt", "other");
    check(&world, &["L"]);
}

#[test]
fn a_repository_inside_this_one_may_hold_anything() {
    let world = world("tasks: { A: { inputs: ['src/**'], outputs: [o], run: echo > o } }\n");
    world.file("src/nested/n.txt", "n").git(&["-C", "src/nested", "init", "-q"]);
    check(&world, &["A"]);
}

#[test]
fn the_lock_is_no_edit_and_tells_nothing_of_one() {
    let world =
        world("tasks: { A: { inputs: ['**/*.lock', b.txt], outputs: [out/a], run: cp b.txt out/a } }\n");
    world.build(&[]).success();
    world.run(&["lock"]).success();
    commit(&world);
    check(&world, &[]);
    world.file("b.txt", "other");
    check(&world, &["A"]);
}

#[test]
fn what_the_other_branch_changed_meanwhile_does_not_count() {
    let world = world(MANIFEST);
    world.git(&["checkout", "-q", "-b", "feature"]).file("b.txt", "mine");
    commit(&world);
    world.git(&["checkout", "-q", "main"]).file("src/x.txt", "theirs");
    commit(&world);
    world.git(&["checkout", "-q", "feature"]);
    let document = affected(&world, "main").json();
    assert_eq!(document["tasks"], json!(["B"]));
    assert_eq!(document["merge_base"], json!(world.git_says(&["rev-parse", "base"])));
}

#[test]
fn an_edit_of_the_manifest_affects_the_tasks_whose_definition_it_changed() {
    let world = world(MANIFEST);
    world.manifest(&MANIFEST.replace("echo d >", "echo e >").replace("tasks:", "# a comment\ntasks:"));
    let document = check(&world, &["D"]);
    assert_eq!(document["reasons"]["D"], json!([{"kind": "command_changed", "name": "run"}]));
    world.manifest(&format!("{MANIFEST}  E: {{ inputs: [out/d], outputs: [e], run: cp out/d e }}\n"));
    assert_eq!(kinds(&check(&world, &["E"]), "E"), ["never_built"]);
    world.manifest(&MANIFEST.replace("after: [A]", "needs: [B]"));
    assert_eq!(kinds(&check(&world, &["D"]), "D"), ["definition_changed"]);
    world.manifest(&MANIFEST.replace("after: [A]", "timeout: 5m"));
    check(&world, &[]);
}

#[test]
fn included_manifests_are_compared_as_they_were() {
    let world = world(
        "include: ['parts/*/conductor.yaml']\ntasks: { T: { inputs: [], outputs: [t], run: echo > t } }\n",
    );
    let part = |run: &str| {
        format!("conductor: 1\nnamespace: p\ntasks: {{ P: {{ inputs: [], outputs: [o], run: '{run}' }} }}\n")
    };
    let other =
        "conductor: 1\nnamespace: q\ntasks: { Q: { inputs: ['../p/o'], outputs: [o], run: cp ../p/o o } }\n";
    world.file("parts/p/conductor.yaml", part("echo 1 > o")).file("parts/q/conductor.yaml", other);
    world.file("vars.txt", "").file(".gitignore", "o\nt\n");
    commit(&world);
    world.git(&["tag", "-f", "base"]);
    check(&world, &[]);
    world.file("parts/p/conductor.yaml", part("echo 2 > o"));
    check(&world, &["p:P", "q:Q"]);
    world.file("parts/p/conductor.yaml", part("echo 1 > o")).remove("parts/q/conductor.yaml");
    check(&world, &[]);
}

#[test]
fn a_manifest_that_was_invalid_or_not_there_makes_everything_count_and_that_is_told() {
    let world = world("tasks: { A: { rnu: x } }\n");
    world.manifest(MANIFEST);
    let run = affected(&world, "base");
    assert_eq!(run.json()["tasks"], json!(["A", "B", "C", "D"]));
    run.says("cannot be compared").says("every task counts as changed");
    let world = World::new(MANIFEST);
    world.file("b.txt", "b").git(&["init", "-q"]).git(&["add", "b.txt"]).git(&["commit", "-q", "-m", "one"]);
    let run = affected(&world, "HEAD");
    assert_eq!(run.json()["tasks"], json!(["A", "B", "C", "D"]));
    run.says("was not there at");
}

#[test]
fn an_output_under_version_control_that_was_edited_affects_its_maker_and_its_readers() {
    let world = world(MANIFEST);
    world.build(&[]).success();
    world.git(&["add", "-f", "out/a", "out/b"]);
    commit(&world);
    world.git(&["tag", "-f", "base"]);
    check(&world, &[]);
    world.file("out/a", "by hand");
    assert_eq!(kinds(&check(&world, &["A", "C"]), "A"), ["output_modified"]);
    world.remove("out/b");
    assert_eq!(kinds(&check(&world, &["A", "B", "C"]), "B"), ["output_missing"]);
    // Another one that was merely built is no edit.
    world.file("out/d", "by hand");
    check(&world, &["A", "B", "C"]);
}

#[test]
fn a_depfile_names_inputs_that_are_known_once_its_task_was_built() {
    let manifest = "tasks: { O: { inputs: [b.txt], outputs: [o], depfile: o.d, run: \"cp b.txt o; printf 'o: b.txt check.txt\\\\n' > o.d\" } }\n";
    let world = world(manifest);
    world.file("src/x.txt", "other").file(".gitignore", "o\no.d\n");
    // Not built here, it may read anything.
    check(&world, &["O"]);
    world.build(&[]).success();
    check(&world, &[]);
    world.file("check.txt", "other");
    assert_eq!(kinds(&check(&world, &["O"]), "O"), ["input_changed"]);
}

#[test]
fn edited_paths_and_gates_are_affected_too() {
    let manifest = "groups: { G: { gate: [{ run: 'true', inputs: [check.txt] }] } }
tasks:
  E: { group: G, isolation: worktree, inputs: [], edits: ['src/*.txt'], run: echo }
";
    let world = world(manifest);
    world.file("src/x.txt", "other");
    check(&world, &["E", "G:gate"]);
    world.file("src/x.txt", "x").file("check.txt", "other");
    check(&world, &["G:gate"]);
}

#[test]
fn targets_narrow_it_to_what_they_depend_on() {
    let world = world(MANIFEST);
    world.file("src/x.txt", "y").file("b.txt", "y");
    let narrowed = world.json("affected", &["--base", "base", "A"]);
    assert_eq!(narrowed.json()["tasks"], json!(["A"]));
    world.json("affected", &["--base", "base", "Z"]).fails_with(2).says("Z");
}

#[test]
fn a_workspace_in_a_folder_of_its_repository_sees_its_own_part() {
    let world = World::empty();
    world.file("ws/conductor.yaml", format!("conductor: 1\n{MANIFEST}"));
    world.file("ws/src/x.txt", "x").file("src/x.txt", "outside").git(&["init", "-q"]);
    commit(&world);
    let affected = |world: &World| {
        world.run_in("ws", &["affected", "--base", "HEAD", "--format", "json"]).json()["tasks"].clone()
    };
    world.file("src/x.txt", "other");
    assert_eq!(affected(&world), json!([]));
    world.file("ws/src/x.txt", "other");
    assert_eq!(affected(&world), json!(["A", "C"]));
    world.file("ws/conductor.yaml", format!("conductor: 1\n{}", MANIFEST.replace("echo d", "echo e")));
    assert_eq!(affected(&world), json!(["A", "C", "D"]));
}

#[test]
fn it_writes_nothing() {
    let world = world(MANIFEST);
    world.file("src/x.txt", "y").manifest(&MANIFEST.replace("echo d", "echo e"));
    let before = world.tree();
    let index = world.read(".git/index");
    check(&world, &["A", "C", "D"]);
    assert_eq!(world.tree(), before);
    assert_eq!(world.read(".git/index"), index);
}

#[test]
fn an_unknown_ref_is_a_diagnostic_with_exit_code_2() {
    let world = world(MANIFEST);
    let run = world.json("affected", &["--base", "nowhere"]);
    run.fails_with(2);
    assert_eq!(run.json()["diagnostics"][0]["code"], "affected::unknown_ref");
    world.run(&["affected"]).fails_with(2);
    world.git(&["checkout", "-q", "--orphan", "alone"]);
    world.git(&["commit", "-q", "-m", "alone"]);
    let run = world.json("affected", &["--base", "base"]);
    run.fails_with(2);
    assert_eq!(run.json()["diagnostics"][0]["code"], "affected::no_common_ancestor");
    let bare = World::new(MANIFEST);
    let run = bare.json("affected", &["--base", "HEAD"]);
    run.fails_with(2);
    assert_eq!(run.json()["diagnostics"][0]["code"], "affected::no_repository");
}

#[test]
fn a_matrix_has_a_job_for_each_task_or_for_each_shard() {
    let world = world(
        "tasks:
  A: { inputs: [b.txt], effort: 3h, outputs: [a], run: cp b.txt a }
  B: { inputs: [b.txt], effort: 1h, outputs: [b], run: cp b.txt b }
  C: { inputs: [b.txt], effort: 2h, outputs: [c], run: cp b.txt c }
  M: { inputs: [check.txt], matrix: { os: [x] }, outputs: [m], run: cp check.txt m }
",
    );
    let matrix = |args: &[&str]| {
        let run = world.run(&[&["affected", "--base", "base", "--format", "matrix"], args].concat());
        run.success();
        assert_eq!(run.stdout.lines().count(), 1, "one line: {run}");
        run.json()
    };
    assert_eq!(matrix(&[]), json!({"include": []}));
    world.file("b.txt", "other");
    assert_eq!(matrix(&[]), json!({"include": [{"task": "A"}, {"task": "B"}, {"task": "C"}]}));
    let halves = json!({"include": [{"shard": 1, "tasks": "A"}, {"shard": 2, "tasks": "B C"}]});
    assert_eq!(matrix(&["--shards", "2"]), halves);
    world.git(&["checkout", "-q", "b.txt"]).file("check.txt", "other");
    assert_eq!(matrix(&["--shards", "9"]), json!({"include": [{"shard": 1, "tasks": "'M[os=x]'"}]}));
    world.run(&["affected", "--base", "base", "--shards", "2"]).fails_with(2).says("--format matrix");
}
