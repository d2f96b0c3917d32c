//! `--format json`: one document on standard output and nothing else, whatever happens; and its shapes.

use serde_json::{Value, json};

use crate::support::World;

fn world() -> World {
    let w = World::new(
        "
groups:
  G: { title: The group, gate: [{ run: test -e o }] }
  H: { after: [G] }
tasks:
  T1: { title: One, group: G, role: engineer, tags: [a, b], inputs: [a, \"!b\"], outputs: [o, { path: p, optional: true }], run: cp a o }
  T2: { group: H, needs: [T1], inputs: [], outputs: [d/], run: cp o d/x }
  T3: { after: [T2], inputs: [], run: echo hello }
",
    );
    w.file("a", "1");
    w
}

#[test]
fn list_has_the_shape_of_the_contract() {
    let w = world();
    let document = w.json("list", &[]).success().json();
    assert_eq!(document["version"], 1);
    let expected = json!({
        "title": "One", "group": "G", "role": "engineer", "tags": ["a", "b"], "state": "stale",
        "needs": [], "after": [], "inputs": ["a", "!b"], "outputs": ["o", "p"],
    });
    assert_eq!(document["tasks"]["T1"], expected);
    assert_eq!(document["tasks"]["T2"]["needs"], json!(["T1"]));
    assert_eq!(document["tasks"]["T2"]["outputs"], json!(["d/"]));
    assert_eq!(document["tasks"]["T3"]["after"], json!(["T2"]));
    assert_eq!(document["groups"]["G"]["title"], "The group");
    assert_eq!(document["groups"]["H"]["after"], json!(["G"]));
    w.build(&[]).success();
    let document = w.json("list", &[]).success().json();
    assert!(document["tasks"].as_object().unwrap().values().all(|task| task["state"] == "fresh"));
    let document = w.json("list", &["T1"]).success().json();
    assert_eq!(document["tasks"].as_object().unwrap().len(), 1);
}

#[test]
fn list_names_the_agent_of_an_agents_task() {
    let w = World::new("tasks: { T1: { inputs: [], agent: claude, instructions: do it, outputs: [o] } }");
    assert_eq!(w.json("list", &[]).success().json()["tasks"]["T1"]["agent"], "claude");
}

#[test]
fn check_has_the_shape_of_the_contract() {
    let w = world();
    let document = w.check(&[]).fails_with(3).json();
    assert_eq!(document["version"], 1);
    assert_eq!(document["fresh"], false);
    assert_eq!(document["tasks"]["T1"]["state"], "stale");
    assert_eq!(document["tasks"]["T2"]["state"], "blocked");
    w.build(&[]).success();
    let document = w.check(&[]).success().json();
    assert_eq!(document["fresh"], true);
    for task in ["T1", "T2", "T3", "G:gate"] {
        assert_eq!(document["tasks"][task], json!({"state": "fresh", "reasons": []}));
    }
}

#[test]
fn why_has_the_shape_of_the_contract() {
    let document = world().why("T1").success().json();
    assert_eq!(document["version"], 1);
    assert_eq!(document["task"], "T1");
    assert_eq!(document["state"], "stale");
    assert_eq!(document["reasons"][0]["kind"], "never_built");
    assert!(document["chain"].is_array());
}

#[test]
fn graph_has_the_shape_of_the_contract() {
    let document = world().json("graph", &[]).success().json();
    assert_eq!(document["version"], 1);
    let mut nodes: Vec<&str> =
        document["nodes"].as_array().unwrap().iter().map(|node| node["id"].as_str().unwrap()).collect();
    nodes.sort_unstable();
    assert_eq!(nodes, ["G:gate", "T1", "T2", "T3"]);
    let edges = document["edges"].as_array().unwrap();
    let edge =
        |from: &str, to: &str, kind: &str| edges.contains(&json!({"from": from, "to": to, "kind": kind}));
    assert!(edge("T2", "T1", "needs"), "{edges:?}");
    assert!(edge("T3", "T2", "after"), "{edges:?}");
    assert!(edge("G:gate", "T1", "gate") && edge("T2", "G:gate", "after"), "{edges:?}");
    for edge in edges {
        assert!(["needs", "input", "after", "gate"].contains(&edge["kind"].as_str().unwrap()), "{edge}");
    }
}

#[test]
fn the_graph_is_drawn_for_graphviz_and_for_markdown() {
    let w = world();
    let dot = w.run(&["graph", "--format", "dot"]);
    assert!(dot.success().stdout.starts_with("digraph"), "{dot}");
    let mermaid = w.run(&["graph", "--format", "mermaid", "T1"]);
    assert!(mermaid.success().stdout.contains("T1"), "{mermaid}");
    mermaid.never_says("T3");
}

#[test]
fn an_input_edge_is_told_as_such() {
    let w = World::new(
        "tasks: { T1: { inputs: [], outputs: [o], run: touch o }, T2: { inputs: [o], run: 'true' } }",
    );
    let edges = w.json("graph", &[]).success().json()["edges"].clone();
    assert_eq!(edges, json!([{"from": "T2", "to": "T1", "kind": "input"}]));
}

#[test]
fn runs_and_log_begin_with_the_version() {
    let w = world();
    w.build(&[]).success();
    let runs = w.json("runs", &[]).success().json();
    assert_eq!(runs["version"], 1);
    let log = w.json("log", &["T3"]).success().json();
    assert_eq!((&log["version"], &log["task"], &log["text"]), (&json!(1), &json!("T3"), &json!("hello\n")));
    let overview = w.json("log", &[]).success().json();
    assert_eq!(overview["version"], 1);
}

#[test]
fn every_error_is_one_document_on_standard_output() {
    let w = world();
    let commands: [&[&str]; 22] = [
        &["build", "--format", "json", "nope"],
        &["build", "--format", "json", "--no-such-flag"],
        &["build", "--format=json", "--jobs", "many"],
        &["build", "--format", "json", "-j", "0"],
        &["build", "--frozen", "--force", "--format", "json"],
        &["build", "--format", "json", "--isolation", "nowhere"],
        &["build", "--format", "json", "-C", "no/such/folder"],
        &["build", "--format", "json", "-f", "nope.yaml"],
        &["check", "--format", "json", "nope"],
        &["check", "--format", "json", "-C", "/"],
        &["why", "--format", "json", "nope"],
        &["why", "--format", "json"],
        &["list", "--format", "json", "nope"],
        &["graph", "--format", "json", "nope"],
        &["log", "--format", "json", "nope"],
        &["log", "--format", "json", "T1"],
        &["log", "--format", "json"],
        &["log", "--format", "json", "-f"],
        &["cancel", "--format", "json"],
        &["clean", "--format", "json", "nope"],
        &["init", "--format", "json"],
        &["validate", "--format", "json", "-f", "nope.yaml"],
    ];
    for args in commands {
        let run = w.run(args);
        run.fails_with(2);
        assert!(!run.diagnostics().is_empty(), "{run}");
        assert!(run.diagnostics()[0]["severity"] == "error", "{run}");
    }
}

#[test]
fn a_broken_manifest_is_one_document_for_every_command() {
    let w = World::new("tasks: { T1: { inputs: [], runn: x }, T2: { inputs: [], needs: [T9], run: x } }");
    for command in ["build", "check", "list", "graph", "validate", "runs", "log", "clean", "cancel"] {
        let run = w.json(command, &[]);
        run.fails_with(2);
        let found = run.diagnostics();
        assert!(found.len() >= 2, "all errors at once: {run}");
        let label = &found[0]["labels"][0];
        assert_eq!((&label["file"], &label["line"]), (&json!("conductor.yaml"), &json!(2)), "{run}");
        for key in ["column", "length"] {
            assert!(label[key].as_u64().is_some_and(|number| number > 0), "{run}");
        }
        assert!(label["text"].is_string(), "{run}");
    }
    w.why("T1").fails_with(2).diagnostics();
}

#[test]
fn columns_count_characters() {
    let w = World::new("tasks: { \"é\": { inputs: [], run: x } }\nvars: { ö: ä, ü: \"${vars.nope}\" }");
    for diagnostic in w.json("validate", &[]).fails_with(2).diagnostics() {
        for label in diagnostic["labels"].as_array().unwrap() {
            let manifest = w.read("conductor.yaml");
            let line =
                manifest.lines().nth(usize::try_from(label["line"].as_u64().unwrap()).unwrap() - 1).unwrap();
            let end = label["column"].as_u64().unwrap() - 1 + label["length"].as_u64().unwrap();
            assert!(end <= line.chars().count() as u64 + 1, "{diagnostic} in {line}");
        }
    }
}

#[test]
fn no_manifest_is_a_usage_error_that_says_how_to_begin() {
    let w = World::empty();
    for command in ["build", "check", "list", "validate", "graph"] {
        w.json(command, &[]).fails_with(2).diagnostics();
    }
    w.run(&["build"]).fails_with(2).says("conductor init");
}

#[test]
fn a_manifest_of_the_old_kind_is_told_how_to_begin() {
    let w = World::empty();
    w.file("conductor.yaml", "groups:\n  GROUP_A:\n    - T1\n");
    let run = w.json("build", &[]);
    run.fails_with(2).diagnostics();
    run.says("conductor: 1");
}

#[test]
fn a_cycle_is_a_usage_error() {
    let w = World::new(
        "tasks: { T1: { needs: [T2], inputs: [], run: x }, T2: { needs: [T1], inputs: [], run: x } }",
    );
    let run = w.json("build", &[]);
    assert!(run.fails_with(2).diagnostics()[0]["code"].as_str().unwrap().contains("cycle"), "{run}");
}

#[test]
fn a_failed_build_is_one_document_too() {
    let w = World::new("tasks: { T1: { inputs: [], run: echo noise; echo more >&2; exit 1 } }");
    let document = w.build(&[]).fails_with(1).json();
    assert_eq!(document["result"], "failed");
    for mode in ["quiet", "plain"] {
        w.build(&["--progress", mode]).fails_with(1).json();
    }
}

#[test]
fn a_dry_run_and_frozen_are_one_document() {
    let w = world();
    for flag in ["--dry-run", "--frozen"] {
        let document = w.build(&[flag]).json();
        assert_eq!(document["version"], 1);
        assert_eq!(document["tasks"]["T1"]["state"], "stale");
    }
}

#[test]
fn events_are_json_lines_with_version_time_and_name() {
    let w = world();
    w.build(&["--events", "events.jsonl"]).success();
    let text = w.read("events.jsonl");
    let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut time = 0;
    for event in &events {
        assert_eq!(event["v"], 1, "{event}");
        assert!(event["t"].as_u64().is_some_and(|t| t >= time), "{event}");
        time = event["t"].as_u64().unwrap();
    }
    let names: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!((names[0], names[names.len() - 1]), ("run_started", "run_finished"));
    for name in ["planned", "task_started", "task_finished", "check_finished"] {
        assert!(names.contains(&name), "{name} is missing");
    }
    let run = events[0]["run"].as_str().unwrap();
    assert!(w.has(format!(".conductor/runs/{run}/events.jsonl")));
}

#[test]
fn a_trace_is_in_chromes_format() {
    let w = world();
    w.build(&["--trace", "trace.json"]).success();
    let trace: Value = serde_json::from_str(&w.read("trace.json")).unwrap();
    let events = trace["traceEvents"].as_array().or(trace.as_array()).unwrap().clone();
    let named = |name: &str| {
        events.iter().any(|event| {
            event["name"].as_str().is_some_and(|own| own.contains(name)) && event["ph"].is_string()
        })
    };
    assert!(named("T1") && named("T2"), "{trace}");
}

#[test]
fn validate_counts_and_warns() {
    let w = World::new("tasks: { T1: { inputs: [\"nothing/*.x\"], tools: [no-such-tool], run: 'true' } }");
    let document = w.json("validate", &[]).success().json();
    assert_eq!((&document["version"], &document["valid"]), (&json!(1), &json!(true)));
    let messages = document["diagnostics"].to_string();
    assert!(messages.contains("nothing/*.x") && messages.contains("no-such-tool"), "{messages}");
    assert!(document["diagnostics"].as_array().unwrap().iter().all(|d| d["severity"] == "warning"));
}

#[test]
fn the_schema_and_the_completions_are_printed() {
    let w = World::empty();
    let schema = w.run(&["schema"]);
    assert!(schema.success().json()["properties"]["tasks"].is_object(), "{schema}");
    w.run(&["schema", "--format", "json"]).success().json();
    for shell in ["bash", "zsh", "fish"] {
        w.run(&["completions", shell]).success().says("conductor");
        let document = w.run(&["completions", shell, "--format", "json"]).success().json();
        assert!(document["script"].as_str().is_some_and(|script| script.contains("conductor")));
    }
}

#[test]
fn no_command_writes_escape_codes_into_a_pipe() {
    let w = world();
    w.file("a", "1");
    for args in [
        &["build"][..],
        &["check"],
        &["list"],
        &["why", "T1"],
        &["runs"],
        &["graph"],
        &["build", "nope"],
        &["--help"],
    ] {
        w.run(args).never_says("\u{1b}");
    }
    w.file("a", "2");
    w.run(&["check"]).fails_with(3).never_says("\u{1b}");
    let coloured = w.run(&["check", "--color", "always"]);
    assert!(coloured.stdout.contains("\u{1b}["), "{coloured}");
    w.run(&["check", "--color", "never"]).never_says("\u{1b}");
}

#[test]
fn help_and_version_end_with_0_and_a_wrong_command_line_with_2() {
    let w = World::empty();
    w.run(&["--help"]).success().says("build");
    w.run(&["build", "--help"]).success().says("--keep-going");
    w.run(&["--version"]).success().says("conductor");
    w.run(&["no-such-command"]).fails_with(2);
    w.run(&[]).fails_with(2);
}

#[test]
fn a_reader_that_has_gone_away_is_no_failure() {
    let w = world();
    let mut child = w.command(&["build"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(w.has("d/x"));
}
