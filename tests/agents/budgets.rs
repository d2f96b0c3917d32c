//! Limits on cost, tokens and turns: of a task, of a group, of a run. What is over them waits for a person.

use serde_json::{Value, json};

use crate::world::{Agents, one_task, resumed, writes};

/// A run that uses this much in one step, says so, and would go on for long.
fn spends(usd: f64, tokens: u64) -> Value {
    json!({"do": [
        {"write": {"path": "out.txt", "text": "half "}},
        {"spend": {"input": tokens, "output": 0, "usd": usd, "turns": 1}},
        "hang",
    ]})
}

fn finishes() -> Value {
    json!({"do": [{"append": {"path": "out.txt", "text": "right"}}], "usage": {"input": 1, "output": 1, "usd": 0.01}})
}

#[test]
fn who_is_over_its_budget_is_stopped_and_the_next_build_goes_on() {
    let w = Agents::new(&one_task("opencode", "    budget: { usd: 1 }\n"));
    w.script(json!({"T1": [spends(1.5, 10), finishes()]}));
    let run = w.build(&[]);
    run.fails_with(5).are("paused", &["T1"]);
    assert_eq!(run.json()["summary"]["paused"], 1);
    assert_eq!(w.ends("T1"), ["budget"]);
    assert!(!w.world.has("out.txt"));
    // Not done is stale.
    w.world.check(&[]).fails_with(3);
    w.build(&[]).success().ran(&["T1"]);
    assert_eq!(w.world.read("out.txt"), "half right");
    assert_eq!(resumed(&w.calls("T1")), [false, true]);
    w.build(&[]).runs_nothing();
}

#[test]
fn tokens_are_limited_too() {
    let w = Agents::new(&one_task("claude", "    budget: { tokens: 5k }\n"));
    w.script(json!({"T1": [spends(0.0, 6000), finishes()]}));
    w.build(&[]).fails_with(5).are("paused", &["T1"]);
    assert_eq!(w.ends("T1"), ["budget"]);
    w.build(&[]).success();
    assert_eq!(w.world.read("out.txt"), "half right");
}

#[test]
fn the_limits_are_told_to_the_program() {
    let w = Agents::new(&one_task("claude", "    budget: { usd: 3, turns: 7 }\n"));
    w.script(json!({"T1": [writes("right")]}));
    w.build(&[]).success();
    let argv: Vec<String> = serde_json::from_value(w.calls("T1")[0]["argv"].clone()).unwrap();
    let behind = |flag: &str| argv.iter().position(|arg| arg == flag).map(|at| argv[at + 1].as_str());
    assert_eq!(behind("--max-budget-usd"), Some("3.00"));
    assert_eq!(behind("--max-turns"), Some("7"));
}

#[test]
fn a_run_has_a_budget_of_its_own_and_what_is_over_it_waits() {
    let task = |id: &str, needs: &str| {
        format!(
            "  {id}:
    agent: opencode
    instructions: Write.
    inputs: []
    needs: [{needs}]
    outputs: [{id}.txt]
"
        )
    };
    let w = Agents::new(&format!("tasks:\n{}{}", task("A", ""), task("B", "A")));
    let wrote = |id: &str| json!([{"do": [{"write": {"path": format!("{id}.txt"), "text": "x"}}], "usage": {"usd": 0.6}}]);
    w.script(json!({"A": wrote("A"), "B": wrote("B")}));
    let run = w.build(&["--budget", "usd=0.5"]);
    run.fails_with(5).ran(&["A"]).are("paused", &["B"]);
    assert!(w.calls("B").is_empty());
    w.build(&["--budget", "usd=0.5"]).fails_with(0).ran(&["B"]);
}

#[test]
fn what_a_session_has_cost_is_counted_once() {
    // The program tells what the session has cost; each run counts what it added.
    let w = Agents::new(&one_task("claude", ""));
    let mut first = writes("wrong");
    first["usage"] = json!({"input": 100, "output": 10, "usd": 0.5, "turns": 2});
    let mut second = writes("right");
    second["usage"] = json!({"input": 40, "output": 4, "usd": 0.25, "turns": 1});
    w.script(json!({"T1": [first.clone(), second.clone()]}));
    w.build(&[]).success();
    let micro: Vec<_> = w.runs("T1").iter().map(|run| run["usage"]["micro_usd"].clone()).collect();
    assert_eq!(micro, [500_000, 250_000]);
    // And the same of tokens.
    for program in ["codex", "qwen"] {
        let w = Agents::new(&one_task(program, ""));
        w.script(json!({"T1": [first, second]}));
        w.build(&[]).success();
        let tokens = |name: &str| -> Vec<u64> {
            w.runs("T1").iter().map(|run| run["usage"][name].as_u64().unwrap()).collect()
        };
        assert_eq!((tokens("tokens_in"), tokens("tokens_out")), (vec![100, 40], vec![10, 4]), "{program}");
    }
}

#[test]
fn a_budget_in_dollars_needs_a_program_that_tells_what_it_costs_or_a_price() {
    let manifest = one_task("codex", "    budget: { usd: 1 }\n");
    let w = Agents::new(&manifest);
    w.build(&[]).fails_with(2).says("nobody tells what `codex` costs");
    // So it is where the command line has the limit.
    w.manifest(&[], &one_task("codex", ""));
    w.build(&["--budget", "usd=1"]).fails_with(2).says("nobody tells what `codex` costs");
    w.manifest(&[("codex", "price: { input: 1000000, output: 1000000 }")], &manifest);
    let mut run = writes("right");
    run["usage"] = json!({"input": 1, "output": 1});
    w.script(json!({"T1": [run]}));
    w.build(&[]).success();
    assert_eq!(w.runs("T1")[0]["usage"]["micro_usd"], 2_000_000);
}

#[test]
fn a_group_has_a_budget_of_its_own() {
    let task = |id: &str, group: &str, needs: &str| {
        format!(
            "  {id}:
    agent: opencode
    instructions: Write.
    inputs: []
    group: {group}
    needs: [{needs}]
    outputs: [{id}.txt]
"
        )
    };
    let groups = "groups: { SMALL: { budget: { tokens: 100 } }, LARGE: {} }\ntasks:\n";
    let tasks = [task("A", "SMALL", ""), task("B", "SMALL", "A"), task("C", "LARGE", "A")].concat();
    let w = Agents::new(&(groups.to_owned() + &tasks));
    let wrote = |id: &str| json!([{"do": [{"write": {"path": format!("{id}.txt"), "text": "x"}}], "usage": {"input": 150, "output": 1}}]);
    w.script(json!({"A": wrote("A"), "B": wrote("B"), "C": wrote("C")}));
    w.build(&["-k"]).fails_with(5).ran(&["A", "C"]).are("paused", &["B"]);
    assert!(w.calls("B").is_empty());
    w.build(&[]).success().ran(&["B"]);
}

#[test]
fn turns_and_time_are_limited_too() {
    let w = Agents::new(&one_task("opencode", "    budget: { turns: 1 }\n"));
    w.script(json!({"T1": [spends(0.0, 1), finishes()]}));
    w.build(&[]).fails_with(5).are("paused", &["T1"]);
    assert_eq!(w.ends("T1"), ["turn_limit"]);
    let w = Agents::new(&one_task("opencode", "    budget: { time: 2s }\n"));
    w.script(json!({"T1": [spends(0.0, 1), finishes()]}));
    w.build(&[]).fails_with(5).are("paused", &["T1"]);
    assert_eq!(w.ends("T1"), ["budget"]);
    w.build(&[]).success().ran(&["T1"]);
}

#[test]
fn who_comes_to_the_end_over_its_budget_has_its_result() {
    let w = Agents::new(&one_task("claude", "    budget: { usd: 1 }\n"));
    let mut run = writes("right");
    run["usage"] = json!({"input": 1, "output": 1, "usd": 2.5});
    w.script(json!({"T1": [run]}));
    w.build(&[]).success().ran(&["T1"]);
}
