//! What is kept of agents' work, and what need not be done again.

use serde_json::json;

use crate::world::{Agents, one_task, writes};

#[test]
fn an_unchanged_task_costs_nothing() {
    let w = Agents::new(&one_task("claude", ""));
    w.script(json!({"T1": [writes("right")]}));
    w.build(&[]).success().ran(&["T1"]);
    w.script(json!({"T1": [{"end": "auth"}]}));
    w.build(&[]).runs_nothing();
    w.nobody_was_called();
    w.world.check(&[]).success();
}

#[test]
fn a_result_that_is_restored_needs_no_agent_and_its_checks_run_again() {
    let w = Agents::new(&one_task("claude", ""));
    let cache = w.world.root().parent().unwrap().join("cache");
    let mut world = w.world;
    world.unset_env("CONDUCTOR_CACHE");
    world.set_env("CONDUCTOR_CACHE_DIR", cache.to_str().unwrap());
    let w = Agents { world, ..w };
    w.script(json!({"T1": [writes("right")]}));
    w.build(&[]).success().ran(&["T1"]);
    w.script(json!({"T1": [{"end": "auth"}]}));
    w.world.remove("out.txt").remove(".conductor");
    let run = w.build(&[]);
    run.success().are("cached", &["T1"]);
    w.nobody_was_called();
    assert_eq!(w.world.read("out.txt"), "right");
    // What it had cost is known.
    assert_eq!(w.runs("T1").len(), 0);
    w.build(&[]).runs_nothing();
}

#[test]
fn a_changed_check_runs_alone_and_its_refusal_is_the_agents_to_mend() {
    let w = Agents::new(&one_task("claude", ""));
    w.script(json!({"T1": [writes("right\nand more")]}));
    w.build(&[]).success().ran(&["T1"]);
    w.script(json!({"T1": [writes("right")]}));
    let stricter = one_task("claude", "      - run: grep -q more out.txt\n");
    w.manifest(&[], &stricter);
    w.build(&[]).success().checked_again(&["T1"]);
    w.nobody_was_called();
}

#[test]
fn the_log_tells_of_every_run_and_the_transcript_of_every_line() {
    let w = Agents::new(&one_task("claude", ""));
    let mut first = writes("wrong");
    first["do"].as_array_mut().unwrap().push(json!({"say": "I try something"}));
    w.script(json!({"T1": [first, writes("right")]}));
    w.build(&[]).success();
    let runs = w.runs("T1");
    assert_eq!(runs[0]["end"], "invalid");
    assert_eq!(runs[1]["end"], "ok");
    assert_eq!(runs[0]["session"], w.calls("T1")[0]["session"]);
    assert_eq!((&runs[0]["resumed"], &runs[1]["resumed"]), (&json!(false), &json!(true)));
    assert_eq!(runs[0]["usage"]["turns"], 2);
    assert!(runs[0]["complaint"].as_str().unwrap().contains("grep -q right out.txt"), "{runs:#?}");
    let shown = w.world.run(&["log", "T1"]);
    shown.success().says("agent run 1: invalid").says("agent run 2: ok").says("$0.25");
    let transcript = w.world.run(&["log", "T1", "--transcript"]);
    transcript
        .success()
        .says("I try something")
        .says("Write the answer into out.txt.")
        .says("out.txt:1: wrong");
    let document = w.world.json("log", &["T1", "--transcript"]).success().json();
    let lines = document["transcript"].as_array().unwrap();
    let prompts: Vec<_> = lines.iter().filter_map(|line| line["prompt"].as_str()).collect();
    let calls = w.calls("T1");
    assert_eq!(prompts, [calls[0]["prompt"].as_str().unwrap(), calls[1]["prompt"].as_str().unwrap()]);
    // It is found without its run's logs as well.
    w.build(&[]).runs_nothing();
    w.world.run(&["log", "T1", "--transcript"]).success().says("I try something");
}

#[test]
fn the_transcript_of_a_failure_is_kept_with_its_run() {
    let w = Agents::new(&one_task("claude", "    retries: 0\n"));
    w.script(json!({"T1": [{"do": [{"say": "this is hopeless"}], "end": "failed"}]}));
    w.build(&[]).fails_with(1);
    w.world.run(&["log", "T1", "--transcript"]).success().says("this is hopeless");
}

#[test]
fn runs_and_the_summary_show_what_agents_cost_and_what_was_saved() {
    let w = Agents::new(&one_task("claude", ""));
    w.script(json!({"T1": [writes("right")]}));
    w.world.run(&["build"]).success().says("$0.25").says("1.1k tokens");
    w.world.run(&["build"]).success().says("saved $0.25");
    let document = w.world.json("runs", &[]).success().json();
    let runs = document["runs"].as_array().unwrap();
    assert_eq!(runs[1]["spent"]["micro_usd"], 250_000, "{document:#}");
    assert_eq!(runs[0]["saved"]["micro_usd"], 250_000, "{document:#}");
}

#[test]
fn an_agents_edits_are_kept_and_undone_like_any_others() {
    let manifest = "tasks:
  T1:
    agent: claude
    instructions: Add a line.
    inputs: []
    edits: [notes.md]
";
    let w = Agents::new(manifest);
    w.world.file("notes.md", "# Notes\n");
    w.world.git(&["add", "-A"]).git(&["commit", "-q", "-m", "notes"]);
    w.script(json!({"T1": [{"do": [{"append": {"path": "notes.md", "text": "a line\n"}}]}]}));
    w.build(&[]).success().ran(&["T1"]);
    assert_eq!(w.world.read("notes.md"), "# Notes\na line\n");
    w.build(&[]).runs_nothing();
    // A person's line is the agent's new base; what the agent added stays out of it.
    w.world.file("notes.md", "# Notes\na better line\n");
    w.build(&[]).fails_with(4);
    assert_eq!(w.calls("T1").len(), 1);
    w.world.run(&["resolve", "notes.md", "--mine"]).success();
    w.build(&[]).runs_nothing();
    assert_eq!(w.world.read("notes.md"), "# Notes\na better line\n");
    assert_eq!(w.calls("T1").len(), 1);
}

#[test]
fn a_result_waits_for_approval_and_costs_nothing_while_it_does() {
    let w = Agents::new(&one_task("claude", "    approve: true\n"));
    w.script(json!({"T1": [writes("right")]}));
    w.build(&[]).fails_with(5);
    assert!(!w.world.has("out.txt"));
    w.build(&[]).fails_with(5);
    assert_eq!(w.calls("T1").len(), 1);
    w.world.run(&["approve", "T1"]).success();
    assert_eq!(w.world.read("out.txt"), "right");
    w.build(&[]).runs_nothing();
    assert_eq!(w.calls("T1").len(), 1);
}

#[test]
fn an_agents_result_is_a_branch_of_one_commit() {
    let w = Agents::new(&one_task("claude", ""));
    w.script(json!({"T1": [writes("wrong"), writes("right")]}));
    w.build(&[]).success();
    assert_eq!(w.world.git_says(&["show", "conductor/T1:out.txt"]), "right");
    assert_eq!(w.world.git_says(&["diff", "--name-only", "HEAD", "conductor/T1"]), "out.txt");
    assert_eq!(w.world.git_says(&["worktree", "list"]).lines().count(), 1);
    assert!(!w.world.has(".conductor/sessions"));
}
