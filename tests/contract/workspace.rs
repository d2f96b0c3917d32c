//! Where conductor works: discovery, `-C`, `-f`, links, what it keeps in `.conductor`, and what damage does.

use crate::support::World;

const ONE: &str = "tasks: { T1: { inputs: [a], outputs: [o], run: cp a o } }";

fn one() -> World {
    let w = World::new(ONE);
    w.file("a", "1");
    w
}

#[test]
fn the_manifest_is_found_upwards() {
    let w = one();
    w.folder("deep/er");
    w.run_in("deep/er", &["build", "--format", "json"]).success().ran(&["T1"]);
    assert!(w.has("o") && w.has(".conductor") && !w.has("deep/er/.conductor"));
}

#[test]
fn a_folder_is_named_with_c() {
    let w = World::empty();
    w.file("ws/conductor.yaml", format!("conductor: 1\n{ONE}")).file("ws/a", "1");
    w.run(&["-C", "ws", "build", "--format", "json"]).success().ran(&["T1"]);
    w.run(&["build", "-C", "ws", "--format", "json"]).runs_nothing();
    w.run(&["-C", "nowhere", "build"]).fails_with(2).says("nowhere");
    w.run(&["-C", "ws/a", "build"]).fails_with(2);
}

#[test]
fn files_that_a_build_writes_are_relative_to_the_folder_that_c_names() {
    let w = World::empty();
    w.file("ws/conductor.yaml", format!("conductor: 1\n{ONE}")).file("ws/a", "1");
    w.run(&["-C", "ws", "build", "--events", "e.jsonl", "--trace", "t.json"]).success();
    assert!(w.has("ws/e.jsonl") && w.has("ws/t.json") && !w.has("e.jsonl"));
    let runs = || std::fs::read_dir(w.path("ws/.conductor/runs")).unwrap().count();
    let before = runs();
    w.run(&["-C", "ws", "build", "--events", "no/such/folder"]).fails_with(2).says("no/such/folder");
    assert_eq!(runs(), before, "no run is left behind that never began");
}

#[test]
fn what_is_missing_on_a_command_line_is_named_in_the_document_too() {
    let found = World::empty().run(&["why", "--format", "json"]).fails_with(2).diagnostics();
    assert!(found[0]["message"].as_str().unwrap().contains("<TARGET>"), "{found:?}");
}

#[test]
fn tasks_of_no_group_are_not_listed_under_the_group_before_them() {
    let w = World::new(
        "groups: { G: { title: First } }\ntasks: { T1: { group: G, inputs: [], run: x }, T2: { inputs: [], run: x } }",
    );
    let list = w.run(&["list"]);
    list.success().says("G First").says("no group");
    assert!(!one().run(&["list"]).to_string().contains("no group"));
}

#[test]
fn a_run_that_there_is_not_is_a_usage_error_in_every_format() {
    let w = one();
    w.build(&[]).success();
    for format in ["human", "json", "markdown"] {
        let run = w.run(&["runs", "20200101-000000-1", "--format", format]);
        run.fails_with(2).says("there is no run `20200101-000000-1`");
    }
}

#[test]
fn a_manifest_is_named_with_f() {
    let w = World::empty();
    w.file("ws/other.yaml", format!("conductor: 1\n{ONE}")).file("ws/a", "1");
    w.run(&["-f", "ws/other.yaml", "build", "--format", "json"]).success().ran(&["T1"]);
    assert!(w.has("ws/o") && w.has("ws/.conductor"));
    w.run(&["-C", "ws", "-f", "other.yaml", "build", "--format", "json"]).runs_nothing();
    w.run(&["-f", "nope.yaml", "build"]).fails_with(2).says("nope.yaml");
}

#[test]
fn a_dispatcher_file_belongs_to_the_folder_above() {
    let w = World::empty();
    w.file(".conductor/task-dispatcher.yaml", format!("conductor: 1\n{ONE}")).file("a", "1");
    w.build(&[]).success().ran(&["T1"]);
    assert!(w.has("o") && !w.has(".conductor/o"));
    w.build(&[]).runs_nothing();
    let ignored = w.read(".conductor/.gitignore");
    assert!(ignored.lines().all(|line| line.trim() != "*"), "the manifest would be ignored: {ignored}");
    w.git(&["init", "-q"]).git(&["add", "-A"]);
    let listed = std::process::Command::new("git").args(["ls-files"]).current_dir(w.root()).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.contains(".conductor/task-dispatcher.yaml"), "{listed}");
    assert!(!listed.contains("state") && !listed.contains("runs/") && !listed.contains("lock"), "{listed}");
}

#[test]
fn of_two_manifests_the_nearest_counts_and_conductor_yaml_before_the_dispatcher_file() {
    let w = one();
    w.file("sub/conductor.yaml", "conductor: 1\ntasks: { X: { inputs: [], run: 'true' } }\n");
    w.run_in("sub", &["build", "--format", "json"]).success().ran(&["X"]);
    w.file(".conductor/task-dispatcher.yaml", "conductor: 1\ntasks: { Y: { inputs: [], run: 'true' } }\n");
    w.build(&[]).success().ran(&["T1"]);
}

#[test]
fn a_workspace_is_the_same_through_a_link_and_with_odd_characters_in_its_path() {
    let w = World::empty();
    w.file("a b ü'$x/conductor.yaml", format!("conductor: 1\n{ONE}"))
        .file("a b ü'$x/a", "1")
        .link("l", "a b ü'$x");
    w.run(&["-C", "a b ü'$x", "build", "--format", "json"]).success().ran(&["T1"]);
    w.run(&["-C", "l", "build", "--format", "json"]).runs_nothing();
    w.run_in("l", &["build", "--format", "json", "o"]).runs_nothing();
}

#[test]
fn a_workspace_that_was_moved_or_copied_stays_fresh() {
    let w = World::empty();
    w.file("x/conductor.yaml", format!("conductor: 1\n{ONE}")).file("x/a", "1");
    w.run(&["-C", "x", "build", "--format", "json"]).success().ran(&["T1"]);
    std::fs::rename(w.path("x"), w.path("y")).unwrap();
    w.run(&["-C", "y", "build", "--format", "json"]).runs_nothing();
    assert!(
        std::process::Command::new("cp")
            .args(["-r", "y", "z"])
            .current_dir(w.root())
            .status()
            .unwrap()
            .success()
    );
    w.run(&["-C", "z", "check"]).success();
    w.run(&["-C", "z", "build", "--format", "json"]).runs_nothing();
}

type Damage = fn(&[u8]) -> Vec<u8>;

#[test]
fn any_damage_to_any_file_in_its_folder_is_healed_by_the_next_build() {
    let damages: [Damage; 4] = [
        |_| Vec::new(),
        |_| b"garbage".to_vec(),
        |bytes| bytes[..bytes.len() / 2].to_vec(),
        |bytes| {
            bytes
                .iter()
                .enumerate()
                .map(|(at, byte)| if at == bytes.len() / 3 { byte ^ 0x55 } else { *byte })
                .collect()
        },
    ];
    for damage in damages {
        let w = one();
        w.build(&[]).success();
        w.file("a", "2").build(&[]).success();
        let files = crate::support::Tree::of(&w.path(".conductor")).files();
        assert!(files.len() > 3, "{files:?}");
        for file in files {
            let path = w.path(".conductor").join(&file);
            let Ok(bytes) = std::fs::read(&path) else { continue };
            std::fs::write(&path, damage(&bytes)).unwrap();
            let run = w.build(&[]);
            run.success();
            assert_eq!(w.read("o"), "2", "{file}");
            w.build(&[]).runs_nothing();
        }
    }
}

#[test]
fn a_state_of_another_version_is_set_aside_with_one_line() {
    let w = one();
    w.build(&[]).success();
    let path = w.path(".conductor/state");
    let found = if path.exists() { path } else { w.path(".conductor/state.log") };
    let mut bytes = std::fs::read(&found).unwrap();
    // The version follows the magic.
    bytes[12] = 99;
    std::fs::write(&found, bytes).unwrap();
    let run = w.run(&["build"]);
    run.success();
    assert_eq!(run.stdout.matches("warning:").count() + run.stderr.matches("warning:").count(), 1, "{run}");
    w.build(&[]).runs_nothing();
}

#[test]
fn clean_removes_what_was_made_and_keeps_what_was_modified() {
    let w = World::new(
        "
tasks:
  T1: { inputs: [], outputs: [out/one], run: echo 1 > out/one }
  T2: { inputs: [], outputs: [two, d/], run: echo 2 > two; touch d/x }
",
    );
    w.file("mine", "x").build(&[]).success();
    w.file("two", "by hand").file("d/notes", "mine");
    let dry = w.json("clean", &["--dry-run"]).success().json();
    assert_eq!(dry["removed"].as_array().unwrap().len(), 2);
    assert!(w.has("out/one"));
    let run = w.json("clean", &[]);
    let document = run.success().json();
    assert_eq!(document["version"], 1);
    assert_eq!(document["removed"], serde_json::json!(["out/one", "d/x"]));
    assert_eq!(document["kept"], serde_json::json!(["two"]));
    assert!(!w.has("out") && !w.has("d/x"));
    assert_eq!(
        (w.read("two"), w.read("d/notes"), w.read("mine")),
        ("by hand".into(), "mine".into(), "x".into())
    );
    w.build(&[]).success().ran(&["T1", "T2"]);
    assert_eq!(w.conflicts(), ["two"]);
    w.run(&["clean", "T1"]).success();
    assert!(!w.has("out/one") && w.has("two"));
    w.build(&[]).success().ran(&["T1"]).fresh(&["T2"]);
}

#[test]
fn clean_removes_the_outputs_of_a_task_that_is_gone() {
    let w = one();
    w.build(&[]).success();
    w.manifest("tasks: { X: { inputs: [], run: 'true' } }");
    w.run(&["build"]).success().says("T1");
    w.run(&["clean"]).success();
    assert!(!w.has("o"));
    w.run(&["build"]).success().never_says("T1");
}

#[test]
fn init_writes_a_manifest_that_builds_and_never_overwrites_one() {
    let w = World::empty();
    w.run(&["init"]).success().says("conductor build");
    w.build(&[]).success();
    w.build(&[]).runs_nothing();
    let before = w.read("conductor.yaml");
    w.run(&["init"]).fails_with(2);
    assert_eq!(w.read("conductor.yaml"), before);
    w.run(&["-C", "sub", "init"]).fails_with(2);
    w.folder("sub").run(&["-C", "sub", "init"]).success();
    assert!(w.has("sub/conductor.yaml"));
}

#[test]
fn runs_tells_the_history_and_the_execution_log() {
    let w = World::new(
        "
project: example
groups: { G: { title: The group, gate: [{ run: test -e o }] } }
tasks:
  T1: { title: The task, group: G, role: engineer, effort: 4h, inputs: [a], outputs: [o], run: cp a o, validate: [{ non_empty: o }] }
  T2: { inputs: [o], run: test ! -e flag }
",
    );
    w.file("a", "1").build(&[]).success();
    w.file("flag", "").file("a", "2").build(&["T2"]).fails_with(1);
    let document = w.json("runs", &[]).success().json();
    let runs = document["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 2);
    assert_eq!((&runs[0]["result"], &runs[1]["result"]), (&"failed".into(), &"success".into()));
    assert_eq!(runs[0]["targets"], serde_json::json!(["T2"]));
    assert_eq!(runs[1]["summary"]["ran"], 3);
    w.run(&["runs"]).success().says("failed").says("success");
    let log = w.run(&["runs", "--format", "markdown"]);
    for text in ["example", "The group", "T1", "The task", "engineer", "4h", "T2", "failed"] {
        log.success().says(text);
    }
    let first = runs[1]["run"].as_str().unwrap();
    w.run(&["runs", first, "--format", "markdown"]).success().says("T1").says("1 passed");
    w.run(&["runs", "nope", "--format", "markdown"]).fails_with(2);
    w.run(&["log", "T1", "--run", "nope"]).fails_with(2);
}

#[test]
fn check_outputs_finds_tampering_that_times_do_not_show() {
    let w = one();
    w.build(&[]).success();
    w.check(&["--outputs"]).success();
    w.file("o", "9");
    let run = w.check(&["--outputs"]);
    run.fails_with(4);
    assert_eq!(run.kinds("T1"), ["output_modified"]);
    w.check(&[]).fails_with(3);
    w.build(&[]).success();
    w.file("a", "2");
    w.check(&["--outputs"]).fails_with(3);
}

#[test]
fn check_lists_an_always_task_as_such_and_does_not_count_it() {
    let w = World::new(
        "tasks: { T1: { always: true, inputs: [], run: 'true' }, T2: { inputs: [a], run: 'true' } }",
    );
    w.file("a", "1").build(&[]).success();
    let run = w.check(&[]);
    run.success();
    assert_eq!(run.state("T1"), "always");
    assert_eq!(run.json()["fresh"], true);
    w.file("a", "2").check(&[]).fails_with(3);
    w.run(&["why", "T1"]).success().says("always");
}

#[test]
fn blocked_tasks_have_no_cause_of_their_own() {
    let w = World::new(
        "
tasks:
  T1: { inputs: [a], outputs: [one], run: cp a one }
  T2: { inputs: [one], outputs: [two], run: cp one two }
  T3: { inputs: [two, b], outputs: [three], run: cat two b > three }
",
    );
    w.file("a", "1").file("b", "1");
    let never = w.check(&[]);
    assert_eq!(never.state("T2"), "blocked");
    let reason = &never.reasons("T2")[0];
    assert_eq!((&reason["kind"], &reason["task"]), (&"never_built".into(), &"T1".into()));
    w.build(&[]).success();
    w.file("a", "2");
    let run = w.check(&[]);
    run.fails_with(3);
    assert_eq!(
        (run.state("T1"), run.state("T2"), run.state("T3")),
        ("stale".into(), "blocked".into(), "blocked".into())
    );
    assert_eq!(run.kinds("T2"), [""; 0]);
    w.file("b", "2");
    let run = w.check(&[]);
    assert_eq!(run.state("T3"), "stale", "it has a cause of its own");
    assert_eq!(run.kinds("T3"), ["input_changed"]);
    w.check(&["T1"]).fails_with(3);
}

#[test]
fn crlf_and_a_byte_order_mark_are_fine() {
    let w = World::empty();
    w.file("conductor.yaml", format!("\u{feff}conductor: 1\r\n{ONE}\r\n")).file("a", "1");
    w.build(&[]).success();
}
