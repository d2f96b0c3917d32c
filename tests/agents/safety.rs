//! What an agent may not do, and what it is not given.

use serde_json::{Value, json};

use crate::world::{Agents, one_task, writes};

fn plants(path: &str) -> Value {
    json!({"do": [
        {"write": {"path": "out.txt", "text": "right"}},
        {"write": {"path": path, "text": "{}"}},
    ]})
}

#[test]
fn the_environment_is_an_allow_list_and_home_is_private() {
    let w = Agents::new(&one_task("claude", "    env: { COLOUR: red }\n"));
    let world = w
        .world
        .env("UNRELATED", "x")
        .env("AWS_SECRET_ACCESS_KEY", "y")
        .env("ANTHROPIC_API_KEY", "key-of-mine");
    let w = Agents { world, ..w };
    w.script(json!({"T1": [writes("right")]}));
    w.build(&[]).success();
    let call = w.calls("T1")[0].clone();
    let names: Vec<&str> =
        call["env"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    for name in ["PATH", "HOME", "TMPDIR", "CONDUCTOR_TASK", "COLOUR", "ANTHROPIC_API_KEY"] {
        assert!(names.contains(&name), "{name} is not in {names:?}");
    }
    for name in ["UNRELATED", "AWS_SECRET_ACCESS_KEY", "OPENAI_API_KEY"] {
        assert!(!names.contains(&name), "{name} is in {names:?}");
    }
    assert_ne!(call["home"], w.home().to_str().unwrap());
    // Nothing of it is left.
    assert!(!std::path::Path::new(call["home"].as_str().unwrap()).exists());
}

#[test]
fn the_users_home_is_handed_over_only_where_the_adapter_says_so() {
    let w = Agents::with(&[("claude", "home: user")], &one_task("claude", ""));
    w.script(json!({"T1": [writes("right")]}));
    w.build(&[]).success();
    assert_eq!(w.calls("T1")[0]["home"], w.home().to_str().unwrap());
}

#[test]
fn it_works_in_a_folder_that_holds_what_it_may_read() {
    let w = Agents::new(&one_task("claude", ""));
    w.world.file("private.txt", "nobody's business\n");
    w.script(json!({"T1": [writes("right")]}));
    w.build(&[]).success();
    let cwd = w.calls("T1")[0]["cwd"].as_str().unwrap().to_owned();
    assert!(cwd.contains(".conductor/workspaces"), "{cwd}");
}

#[test]
fn settings_of_agents_are_not_changed_by_who_does_not_declare_it() {
    for path in [
        ".claude/settings.json",
        ".mcp.json",
        ".codex/config.toml",
        ".gemini/settings.json",
        "opencode.json",
        ".github/workflows/x.yml",
    ] {
        let manifest = "tasks:
  T1:
    agent: claude
    instructions: Write.
    inputs: []
    outputs: [out.txt]
    edits: [\"**\"]
    retries: 0
";
        let w = Agents::new(manifest);
        w.script(json!({"T1": [plants(path)]}));
        w.build(&[]).fails_with(1).failed(&["T1"]).says(path);
        assert!(!w.world.has(path), "{path}");
        assert_eq!(w.ends("T1"), ["invalid"]);
    }
}

#[test]
fn who_declares_them_may_change_settings() {
    let manifest = "tasks:
  T1:
    agent: claude
    instructions: Write.
    inputs: []
    outputs: [out.txt, .mcp.json]
";
    let w = Agents::new(manifest);
    w.script(json!({"T1": [plants(".mcp.json")]}));
    w.build(&[]).success().ran(&["T1"]);
    assert!(w.world.has(".mcp.json"));
}

#[test]
fn gits_configuration_stays_as_it_is() {
    let w = Agents::new(&one_task("claude", "    retries: 0\n"));
    let before = w.world.read(".git/config");
    let steps = json!([{"write": {"path": "out.txt", "text": "right"}}, {"git_config": "[core]\n\tfsmonitor = /tmp/evil\n"}]);
    w.script(json!({"T1": [{"do": steps}]}));
    let run = w.build(&[]);
    if w.complaints().is_empty() {
        // It could write there, and its result is not taken.
        run.fails_with(1).failed(&["T1"]).says("git's configuration");
        assert!(!w.world.has("out.txt"));
    } else {
        run.success();
        assert_eq!(w.world.read(".git/config"), before);
    }
}

#[test]
fn checks_come_from_the_manifest_and_not_from_the_agents_tree() {
    // The agent sees all and rewrites the manifest and the script that checks it, in its own tree.
    let manifest = "tasks:
  T1:
    agent: claude
    instructions: Write.
    inputs: [in.txt]
    outputs: [out.txt]
    sees: all
    writes: warn
    retries: 0
    validate:
      - run: sh check.sh
        inputs: [check.sh]
";
    let w = Agents::new(manifest);
    w.world.file("check.sh", "grep -q right out.txt\n");
    w.world.git(&["add", "-A"]).git(&["commit", "-q", "-m", "check"]);
    let steps = json!([
        {"write": {"path": "out.txt", "text": "wrong"}},
        {"write": {"path": "check.sh", "text": "exit 0\n"}},
        {"write": {"path": "conductor.yaml", "text": "conductor: 1\ntasks: {}\n"}},
    ]);
    w.script(json!({"T1": [{"do": steps}]}));
    w.build(&[]).fails_with(1).failed(&["T1"]);
    assert!(!w.world.has("out.txt"));
    assert_eq!(w.world.read("check.sh"), "grep -q right out.txt\n");
}

#[test]
fn a_login_is_the_users_own_file() {
    let w = Agents::new(&one_task("claude", ""));
    let text = "agents: { claude: { login: [.fake_agent, .claude/.credentials.json] } }\n".to_owned();
    w.world.manifest(&(text + &one_task("claude", "")));
    std::fs::create_dir_all(w.home().join(".claude")).unwrap();
    std::fs::write(w.home().join(".claude/.credentials.json"), "old").unwrap();
    // The program renews it by replacing the file.
    let steps = json!([
        {"remove": "$HOME/.claude/.credentials.json"},
        {"write": {"path": "$HOME/.claude/.credentials.json", "text": "renewed"}},
        {"write": {"path": "out.txt", "text": "right"}},
    ]);
    w.script(json!({"T1": [{"do": steps}]}));
    w.build(&[]).success();
    assert_eq!(w.complaints(), [""; 0]);
    assert_eq!(std::fs::read_to_string(w.home().join(".claude/.credentials.json")).unwrap(), "renewed");
}

#[test]
fn it_writes_nothing_outside_of_its_folders() {
    let w = Agents::new(&one_task("claude", ""));
    let (tree, home) = (w.world.path("planted.txt"), w.home().join("planted.txt"));
    let plants = |path: &std::path::Path| json!({"write": {"path": path.to_str().unwrap(), "text": "x"}});
    let steps = json!([plants(&tree), plants(&home), {"write": {"path": "out.txt", "text": "right"}}]);
    w.script(json!({"T1": [{"do": steps}]}));
    w.build(&[]).success().ran(&["T1"]);
    if w.complaints().is_empty() {
        eprintln!("SKIPPED: this kernel confines nothing, so an agent was not held to its folders");
        return;
    }
    assert_eq!(w.complaints().len(), 2, "{:?}", w.complaints());
    assert!(!tree.exists() && !home.exists());
}

#[test]
fn a_sandbox_holds_an_agent_too() {
    let w = Agents::new(&one_task("claude", "    isolation: sandbox\n"));
    w.world.file("private.txt", "nobody's business\n");
    w.script(json!({"T1": [writes("wrong"), writes("right")]}));
    w.build(&[]).success().ran(&["T1"]);
    let calls = w.calls("T1");
    assert_eq!(calls.len(), 2);
    assert!(calls[0]["cwd"].as_str().unwrap().contains(".conductor/"), "{calls:#?}");
    w.build(&[]).runs_nothing();
}

#[test]
fn an_agent_in_the_tree_itself_is_possible_too() {
    let w = Agents::new(&one_task("claude", "    isolation: none\n"));
    w.script(json!({"T1": [writes("wrong"), writes("right")]}));
    w.build(&[]).success().ran(&["T1"]);
    assert_eq!(w.calls("T1")[0]["cwd"], w.world.root().to_str().unwrap());
    assert_ne!(w.calls("T1")[0]["home"], w.home().to_str().unwrap());
    w.build(&[]).runs_nothing();
}
