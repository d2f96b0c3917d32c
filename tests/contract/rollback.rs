//! `rollback`: what a result replaced comes back byte for byte, and the task is due again.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use crate::support::World;

const EACH: [&str; 2] = ["none", "sandbox"];

fn world(isolation: &str) -> World {
    let w = World::new(&format!(
        "
defaults: {{ isolation: {isolation} }}
tasks:
  T1: {{ inputs: [a], outputs: [o], run: cp a o }}
  T2: {{ inputs: [o], outputs: [p], run: cp o p }}
"
    ));
    w.file("a", "1").build(&[]).success();
    w
}

#[test]
fn a_first_result_is_removed() {
    for isolation in EACH {
        let w = world(isolation);
        let run = w.json("rollback", &["T1"]);
        run.success();
        assert_eq!(run.json()["steps"][0]["paths"], json!([{"path": "o", "action": "removed"}]));
        assert!(!w.has("o") && w.has("p"));
        let check = w.check(&[]);
        check.fails_with(3);
        assert_eq!(check.kinds("T1")[0], "rolled_back", "{check}");
        assert_eq!(check.state("T2"), "blocked");
        w.run(&["why", "T1"]).success().says("rolled back");
        w.build(&[]).success().ran(&["T1"]).fresh(&["T2"]);
        w.build(&[]).runs_nothing();
    }
}

#[test]
fn the_previous_bytes_come_back_and_the_task_runs_again_even_for_the_older_key() {
    for isolation in EACH {
        let w = world(isolation);
        w.file("a", "2").build(&[]).success();
        w.run(&["rollback", "T1"]).success().says("put back o");
        assert_eq!((w.read("o"), w.read("p")), ("1".to_owned(), "2".to_owned()));
        w.file("a", "1").build(&[]).success().ran(&["T1", "T2"]);
        assert_eq!(w.read("p"), "1");
        w.build(&[]).runs_nothing();
    }
}

const SHAPES: &str = "
tasks:
  T1:
    inputs: [n]
    outputs: [d/]
    run: |
      case $(cat n) in
      1) echo one > d/file; echo x > d/only-one; mkdir -p d/deep/er d/empty; echo y > d/deep/er/z; ln -s file d/link; chmod 755 d/file; printf '\\0\\377' > d/bytes ;;
      2) echo two > d/file; echo x > d/only-two; mkdir -p d/other; echo y > d/other/z; ln -s nowhere d/link; echo z > d/deep ;;
      esac
";

#[test]
fn folders_come_back_with_modes_links_and_what_only_one_of_the_results_had() {
    for isolation in EACH {
        let w = World::new(SHAPES);
        let build = || w.build(&["--isolation", isolation]);
        w.file("n", "1\n");
        build().success();
        let list = || {
            let find = "find d -printf '%p %y %l %m\\n' | sort; find d -type f -exec sha256sum {} + | sort";
            let output =
                std::process::Command::new("sh").args(["-c", find]).current_dir(w.root()).output().unwrap();
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let first = list();
        w.file("n", "2\n").file("d/mine", "a person's");
        build().success();
        assert_eq!(w.read("d/only-two"), "x\n");
        let mine = w.path("d/mine").metadata().unwrap();
        w.run(&["rollback", "T1"]).success();
        assert_eq!(w.read("d/mine"), "a person's");
        assert_eq!(w.path("d/mine").metadata().unwrap().modified().unwrap(), mine.modified().unwrap());
        w.remove("d/mine");
        assert_eq!(list(), first, "{isolation}");
        build().success().ran(&["T1"]);
        w.build(&[]).runs_nothing();
    }
}

#[test]
fn an_empty_folder_into_which_a_person_put_something_is_left_to_them() {
    let w = World::new("tasks: { T1: { inputs: [], outputs: [d/], run: 'mkdir d/empty; touch d/x' } }");
    w.build(&[]).success();
    w.file("d/empty/precious", "mine").run(&["rollback", "T1"]).success();
    assert_eq!((w.read("d/empty/precious"), w.has("d/x")), ("mine".to_owned(), false));
}

#[test]
fn an_output_that_was_a_file_and_became_a_folder_comes_back_as_a_file() {
    for isolation in EACH {
        let w = World::new("tasks: { T1: { inputs: [], outputs: [d], run: echo 1 > d } }");
        w.build(&["--isolation", isolation]).success();
        w.manifest("tasks: { T1: { inputs: [], outputs: [d/], run: echo 2 > d/x } }");
        w.build(&["--isolation", isolation]).success();
        w.run(&["rollback", "T1"]).success();
        assert_eq!(w.read("d"), "1\n");
        w.build(&[]).success();
        assert_eq!(w.read("d/x"), "2\n");
        w.build(&[]).runs_nothing();
    }
}

#[test]
fn edited_files_come_back_created_ones_go_and_deleted_ones_return() {
    let w = World::new(
        "tasks: { E: { isolation: sandbox, inputs: [n], edits: [src/*], run: 'cat n >> src/a; rm -f src/b; echo new > src/c; chmod 755 src/x' } }",
    );
    w.file("n", "1\n").file("src/a", "a\n").file("src/b", "b\n").file("src/x", "x\n");
    w.build(&[]).success();
    assert_eq!((w.read("src/a"), w.has("src/b"), w.read("src/c")), ("a\n1\n".into(), false, "new\n".into()));
    w.run(&["rollback", "E"]).success();
    assert_eq!((w.read("src/a"), w.read("src/b"), w.has("src/c")), ("a\n".into(), "b\n".into(), false));
    assert_eq!(w.path("src/x").metadata().unwrap().permissions().mode() & 0o111, 0);
    assert_eq!(w.check(&[]).fails_with(3).kinds("E")[0], "rolled_back");
    w.build(&[]).success().ran(&["E"]);
    assert_eq!(w.read("src/a"), "a\n1\n");
    w.build(&[]).runs_nothing();
}

#[test]
fn a_whole_run_is_rolled_back_in_reverse_order() {
    for isolation in EACH {
        let w = world(isolation);
        w.file("a", "2");
        let run = w.build(&[]).json()["run"].as_str().unwrap().to_owned();
        let dry = w.json("rollback", &["--run", &run, "--dry-run"]);
        let order = |run: &crate::support::Run| -> Vec<String> {
            let steps = run.json()["steps"].as_array().unwrap().clone();
            steps.iter().map(|step| step["task"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(order(dry.success()), ["T2", "T1"]);
        assert_eq!(dry.json()["dry_run"], true);
        assert_eq!(order(w.json("rollback", &["--run", &run]).success()), ["T2", "T1"]);
        assert_eq!((w.read("o"), w.read("p")), ("1".to_owned(), "1".to_owned()));
        w.json("rollback", &["--run", &run]).fails_with(2);
        w.json("rollback", &["--run", "nonsense"]).fails_with(2);
        w.build(&[]).success().ran(&["T1", "T2"]);
    }
}

#[test]
fn a_result_that_followed_a_rollback_can_be_rolled_back_to_what_stood_then() {
    for isolation in EACH {
        let w = world(isolation);
        for content in ["2", "3"] {
            w.file("a", content).build(&[]).success();
        }
        w.run(&["rollback", "T1"]).success();
        assert_eq!(w.read("o"), "2");
        w.run(&["rollback", "T1"]).fails_with(2).says("already");
        w.file("a", "4").build(&[]).success();
        w.run(&["rollback", "T1"]).success();
        assert_eq!(w.read("o"), "2");
        w.file("a", "5").build(&[]).success();
        assert_eq!(w.read("p"), "5");
    }
}

#[test]
fn a_person_s_change_stops_everything_before_anything_happens() {
    for isolation in EACH {
        let w = world(isolation);
        w.manifest(&format!(
            "
defaults: {{ isolation: {isolation} }}
tasks:
  T1: {{ inputs: [a], outputs: [o], run: cp a o, rollback: touch undone-T1 }}
  T2: {{ inputs: [o], outputs: [p], run: cp o p, rollback: touch undone-T2 }}
"
        ));
        let run = w.file("a", "2").build(&[]).json()["run"].as_str().unwrap().to_owned();
        w.file("o", "mine");
        for args in [&["--run", &run][..], &["--run", &run, "--dry-run"], &["T1"]] {
            let refused = w.json("rollback", args);
            refused.fails_with(4);
            assert_eq!(refused.diagnostics()[0]["code"], "rollback::changed");
        }
        assert_eq!((w.read("o"), w.read("p")), ("mine".to_owned(), "2".to_owned()));
        assert!(!w.has("undone-T1") && !w.has("undone-T2"));
        w.run(&["rollback", "T2"]).success().says("undone-T2");
        assert!(w.has("undone-T2"));
        assert_eq!(w.read("p"), "1");
    }
}

#[test]
fn the_task_s_own_rollback_runs_first_in_the_tree_and_stops_all_when_it_fails() {
    let w = World::new(
        "
tasks:
  T1: { inputs: [a], outputs: [o], run: cp a o, rollback: 'cat o p >> order 2>/dev/null || cat o >> order; echo T1 >> order' }
  T2: { inputs: [o], outputs: [p], run: cp o p, rollback: 'echo T2 >> order; test ! -e refuse' }
",
    );
    w.file("a", "1\n").build(&[]).success();
    let run = w.file("a", "2\n").build(&[]).json()["run"].as_str().unwrap().to_owned();
    w.file("refuse", "");
    let refused = w.json("rollback", &["--run", &run]);
    refused.fails_with(1).says("test ! -e refuse");
    assert_eq!(refused.diagnostics()[0]["code"], "rollback::command");
    assert_eq!((w.read("o"), w.read("p"), w.read("order")), ("2\n".into(), "2\n".into(), "T2\n".into()));
    w.check(&[]).success();
    w.remove("refuse").remove("order").run(&["rollback", "--run", &run]).success();
    assert_eq!(w.read("order"), "T2\n2\n1\nT1\n", "T2 first, and T1 with its result still there");
    assert_eq!((w.read("o"), w.read("p")), ("1\n".into(), "1\n".into()));
}

#[test]
fn a_dry_run_writes_nothing() {
    let w = World::new("tasks: { T1: { inputs: [a], outputs: [o], run: cp a o, rollback: touch undone } }");
    w.file("a", "1").build(&[]).success();
    w.file("a", "2").build(&[]).success();
    let before = w.tree();
    w.run(&["rollback", "T1", "--dry-run"]).success().says("would run touch undone").says("put back o");
    assert_eq!(w.tree(), before);
}

#[test]
fn what_an_incremental_task_replaced_was_not_kept() {
    let w = World::new("tasks: { T1: { incremental: true, inputs: [a], outputs: [o], run: cat a >> o } }");
    w.file("a", "1").build(&[]).success();
    w.file("a", "2").build(&[]).success();
    let run = w.json("rollback", &["T1"]);
    run.fails_with(1).says("incremental");
    assert_eq!(w.read("o"), "12");
    w.check(&[]).success();
}

#[test]
fn what_has_no_result_cannot_be_rolled_back() {
    let w = World::new("tasks: { T1: { inputs: [], outputs: [o], run: touch o } }");
    let run = w.json("rollback", &["T1"]);
    run.fails_with(2);
    assert_eq!(run.diagnostics()[0]["code"], "rollback::nothing");
    w.run(&["rollback"]).fails_with(2);
    w.run(&["rollback", "nobody"]).fails_with(2);
}

/// The files of `.conductor/objects`.
fn objects(w: &World) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for folder in std::fs::read_dir(w.path(".conductor/objects")).into_iter().flatten().flatten() {
        let files = std::fs::read_dir(folder.path()).into_iter().flatten().flatten();
        found.extend(files.map(|file| file.path()));
    }
    found
}

#[test]
fn damaged_bytes_are_never_put_back_and_nothing_happens_at_all() {
    for (damage, code) in [(Some("9"), 4), (Some(""), 4), (Some("longer than it was"), 4), (None, 1)] {
        let w =
            World::new("tasks: { T1: { inputs: [a], outputs: [o], run: cp a o, rollback: touch undone } }");
        w.file("a", "1").build(&[]).success();
        w.file("a", "2").build(&[]).success();
        let kept = objects(&w);
        assert_eq!(kept.len(), 1);
        std::fs::remove_file(&kept[0]).unwrap();
        if let Some(damage) = damage {
            std::fs::write(&kept[0], damage).unwrap();
        }
        w.json("rollback", &["T1"]).fails_with(code).says("o");
        assert_eq!((w.read("o"), w.has("undone")), ("2".to_owned(), false));
        w.build(&[]).runs_nothing();
        w.file("a", "3").build(&[]).success();
        w.run(&["rollback", "T1"]).success();
        assert_eq!(w.read("o"), "2");
    }
}

#[test]
fn a_rollback_drops_a_newer_result_that_waits() {
    let w = World::new("tasks: { T1: { approve: true, inputs: [a], outputs: [o], run: cp a o } }");
    w.file("a", "1").build(&[]).fails_with(5);
    w.run(&["approve", "T1"]).success();
    w.file("a", "2").build(&[]).fails_with(5);
    w.run(&["rollback", "T1"]).success();
    assert!(!w.has("o") && !w.has(".conductor/pending"));
    w.build(&[]).fails_with(5).are("paused", &["T1"]);
    w.run(&["approve", "T1"]).success();
    assert_eq!(w.read("o"), "2");
}

#[test]
fn objects_are_swept_and_what_a_rollback_needs_stays() {
    let w = world("none");
    for round in 2..12 {
        w.file("a", round.to_string()).build(&[]).success();
    }
    let stamp = std::fs::File::open(w.path(".conductor/objects/.swept")).unwrap();
    stamp.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(200_000)).unwrap();
    assert!(objects(&w).len() >= 9, "not more than once a day");
    w.build(&[]).runs_nothing();
    assert!(objects(&w).len() >= 9, "not where nothing was kept");
    w.file("a", "12").build(&[]).success();
    assert_eq!(objects(&w).len(), 5, "five generations of both tasks, of the same bytes");
    w.run(&["rollback", "T1"]).success();
    assert_eq!(w.read("o"), "11");
}

#[test]
fn clean_leaves_no_objects_no_sandboxes_and_no_results_of_tasks_that_are_gone() {
    let w = World::new(
        "
tasks:
  A: { inputs: [a], outputs: [o], run: cp a o }
  F: { isolation: sandbox, inputs: [], outputs: [f], run: touch f half; exit 1 }
  P: { approve: true, inputs: [], outputs: [p], run: touch p }
  GONE: { approve: true, inputs: [], outputs: [q], run: touch q }
",
    );
    w.file("a", "1").build(&["-k"]).fails_with(1);
    w.file("a", "2").build(&["-k"]).fails_with(1);
    let manifest = w.read("conductor.yaml");
    w.file(
        "conductor.yaml",
        manifest.lines().filter(|line| !line.contains("GONE")).collect::<Vec<_>>().join("\n"),
    );
    let old = ".conductor/conflicts/20200101-000000-1";
    w.file(format!("{old}/o"), "mine").file(".conductor/conflicts/20990101-000000-1/o", "mine");
    let month = std::time::Duration::from_secs(40 * 24 * 60 * 60);
    std::fs::File::open(w.path(old)).unwrap().set_modified(std::time::SystemTime::now() - month).unwrap();
    let gone = [old, ".conductor/pending/GONE", ".conductor/workspaces/F"];
    let before = w.tree();
    let dry = w.json("clean", &["--dry-run"]);
    assert_eq!(dry.success().json()["leftovers"], json!(gone));
    assert_eq!(w.tree(), before);
    let run = w.json("clean", &[]);
    assert_eq!(run.success().json()["leftovers"], json!(gone));
    for path in [&gone[..], &["o", ".conductor/objects", ".conductor/workspaces"]].concat() {
        assert!(!w.has(path), "{path}");
    }
    assert!(w.has(".conductor/conflicts/20990101-000000-1/o"));
    w.run(&["approve", "P"]).success();
    assert!(w.has("p"), "what waits for a person is not thrown away");
}
