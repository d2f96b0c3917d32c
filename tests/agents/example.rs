//! `examples/agents`, as its README has people try it.

use std::process::Command;

use crate::support::World;
use crate::world::fake_agent;

const GATES: [&str; 5] = ["GROUP_A:gate", "GROUP_B:gate", "GROUP_C:gate", "GROUP_D:gate", "GROUP_E:gate"];

fn example() -> World {
    let w = World::example("agents");
    w.remove("fake_agent");
    let path = format!("{}:{}", fake_agent().parent().unwrap().display(), std::env::var("PATH").unwrap());
    let w = w.env("PATH", &path);
    w.git(&["init", "-q"]).git(&["add", "-A"]).git(&["commit", "-q", "-m", "first"]);
    w
}

#[test]
fn the_22_tasks_are_done_by_agents_and_a_second_build_costs_nothing() {
    let w = example();
    w.run(&["doctor"]).success();
    let tasks: Vec<String> = (1..=22).map(|number| format!("T{number}")).collect();
    let all: Vec<&str> = tasks.iter().map(String::as_str).chain(GATES).collect();
    w.build(&[]).success().ran(&all);
    let again = w.run(&["build"]);
    again.success().says("saved $5.75");
    w.check(&[]).success();
    assert_eq!(w.read("docs/glossary.md").matches("\n- ").count(), 3);
    assert_eq!(w.read("docs/progress.md").matches("\n- ").count(), 5);
    assert_eq!(w.git_says(&["branch", "--list", "conductor/*"]).lines().count(), 22);
    let first = w.run(&["log", "T5"]);
    first
        .success()
        .says("agent run 1: invalid")
        .says("does not define breaker_state")
        .says("agent run 2: ok");
    w.run(&["log", "T5", "--transcript"]).success().says("breaker_state was missing");
    // What was made works.
    let state = w.path("state");
    let answer = Command::new("sh")
        .args(["build/gateway/gateway.sh", "me", "POST", "/api/retry", "invoice:2"])
        .current_dir(w.root())
        .env("STATE_DIR", &state)
        .env("RETRY_SLEEP", "no")
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&answer.stdout).starts_with("200"), "{answer:?}");
}

#[test]
fn an_edit_of_the_instructions_runs_their_task_and_what_comes_out_the_same_stops_there() {
    let w = example();
    w.build(&[]).success();
    let prompt = w.read("prompts/T17.md");
    w.file("prompts/T17.md", format!("{prompt}\nKeep it short.\n"));
    w.run(&["prompt", "T17"]).success().says("Keep it short.");
    w.build(&[]).success().ran(&["T17"]);
    w.build(&[]).runs_nothing();
}

#[test]
fn one_line_changes_the_agent() {
    let w = example();
    let manifest = w.read("conductor.yaml");
    for agent in ["claude", "codex", "gemini", "opencode", "pi", "copilot", "qwen", "aider"] {
        w.file("conductor.yaml", manifest.replace("agent: fake_agent ", &format!("agent: {agent} ")));
        w.run(&["validate"]).success();
        let tasks = w.json("list", &[]).success().json()["tasks"].clone();
        let with_agent = |id: &str| tasks[id]["agent"] == agent;
        assert!((1..=22).all(|number| with_agent(&format!("T{number}"))), "{tasks:#}");
    }
}
