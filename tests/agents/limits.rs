//! Providers' limits, and the limits of time.

use rustix::process::Signal;
use serde_json::json;

use crate::support::{is_alive, wait_until};
use crate::world::{Agents, one_task, resumed, writes};

fn limited() -> serde_json::Value {
    json!({"end": "rate_limit", "message": "rate limit reached, try again in 100ms"})
}

#[test]
fn a_providers_limit_is_no_attempt() {
    let w = Agents::new(&one_task("codex", "    retries: 0\n"));
    w.script(json!({"T1": [limited(), limited(), limited(), writes("right")]}));
    w.build(&[]).success().ran(&["T1"]);
    let attempts: Vec<_> = w.calls("T1").iter().map(|call| call["attempt"].clone()).collect();
    assert_eq!(attempts, ["1", "1", "1", "1"]);
    assert_eq!(w.ends("T1"), ["rate_limit", "rate_limit", "rate_limit", "ok"]);
}

#[test]
fn a_limit_that_lasts_longer_than_a_task_may_wait_pauses_it() {
    let w = Agents::new(&one_task("codex", "    limit_wait: 2s\n"));
    w.script(json!({"T1": [{"end": "rate_limit", "message": "rate limit reached, try again in 3h"}]}));
    w.build(&[]).fails_with(5).are("paused", &["T1"]).says("rate limit reached");
    assert_eq!(w.calls("T1").len(), 1);
    w.script(json!({"T1": [writes("right")]}));
    w.build(&[]).success().ran(&["T1"]);
}

#[test]
fn behind_a_limit_one_task_tries_for_all_of_the_adapter() {
    let task = |id: &str| {
        format!(
            "  {id}:
    agent: codex
    instructions: Write.
    inputs: []
    outputs: [{id}.txt]
"
        )
    };
    let w = Agents::new(&format!("pools: {{ agents: 1 }}\ntasks:\n{}{}{}", task("A"), task("B"), task("C")));
    let wrote = |id: &str| json!({"do": [{"write": {"path": format!("{id}.txt"), "text": "x"}}]});
    w.script(
        json!({"A": [limited(), wrote("A")], "B": [limited(), wrote("B")], "C": [limited(), wrote("C")]}),
    );
    w.build(&[]).success().ran(&["A", "B", "C"]);
    let ends = |task: &str| w.calls(task).len();
    assert_eq!((ends("A"), ends("B"), ends("C")), (2, 2, 2));
}

#[test]
fn an_agent_that_takes_too_long_is_stopped_and_goes_on_in_its_session() {
    let w = Agents::new(&one_task("claude", "    timeout: 3s\n    retries: 1\n"));
    let hangs = json!({"do": [{"say": "I begin"}, {"spend": {"input": 10, "output": 1, "usd": 0.0, "turns": 1}}, "hang"]});
    w.script(json!({"T1": [hangs, writes("right")]}));
    w.build(&[]).success().ran(&["T1"]);
    assert_eq!(w.ends("T1"), ["timeout", "ok"]);
    assert_eq!(resumed(&w.calls("T1")), [false, true]);
}

#[test]
fn an_agent_that_is_silent_is_stopped() {
    let w = Agents::new(&one_task("claude", "    stall: 1s\n    retries: 0\n"));
    w.script(json!({"T1": [{"do": ["hang"]}]}));
    w.build(&[]).fails_with(1).failed(&["T1"]);
    assert_eq!(w.ends("T1"), ["stalled"]);
}

#[test]
fn who_prints_nothing_and_changes_its_files_is_at_work() {
    let w = Agents::new(&one_task("claude", "    stall: 4s\n    retries: 0\n"));
    // Longer than it may be idle.
    let works = json!({"do": [
        {"work": {"steps": 60, "pause_ms": 100}},
        {"write": {"path": "out.txt", "text": "right"}},
    ]});
    w.script(json!({"T1": [works]}));
    w.build(&[]).success().ran(&["T1"]);
}

#[test]
fn who_is_stopped_and_says_that_all_went_well_is_not_believed() {
    for program in ["claude", "gemini", "codex"] {
        let w = Agents::new(&one_task(program, "    timeout: 2s\n    retries: 0\n"));
        let run =
            json!({"do": [{"write": {"path": "out.txt", "text": "right"}}, "hang"], "on_term": "succeed"});
        w.script(json!({"T1": [run]}));
        w.build(&[]).fails_with(1).failed(&["T1"]);
        assert_eq!(w.ends("T1"), ["timeout"], "{program}");
        assert!(!w.world.has("out.txt"), "{program}");
    }
}

#[test]
fn who_does_not_heed_term_is_killed() {
    let w = Agents::new(&one_task("claude", "    timeout: 1s\n    retries: 0\n"));
    w.script(json!({"T1": [{"do": ["hang"], "on_term": "stay"}]}));
    w.build(&[]).fails_with(1).failed(&["T1"]);
    let pid = w.calls("T1")[0]["pid"].to_string();
    assert!(!is_alive(&pid));
}

#[test]
fn what_a_person_interrupts_goes_on_where_it_was() {
    let w = Agents::new(&one_task("claude", ""));
    let first = json!({"do": [
        {"write": {"path": "out.txt", "text": "half "}},
        {"spend": {"input": 10, "output": 1, "usd": 0.0, "turns": 1}},
        {"mark": "begun"},
        "hang",
    ]});
    let second = json!({"do": [{"append": {"path": "out.txt", "text": "right"}}]});
    w.script(json!({"T1": [first, second]}));
    let build = w.world.start(&[]);
    wait_until("the agent has begun", || w.folder().join("begun").exists());
    build.signal(Signal::INT);
    assert_eq!(build.wait().code, 130);
    assert!(!is_alive(&w.calls("T1")[0]["pid"].to_string()));
    w.build(&[]).success().ran(&["T1"]);
    assert_eq!(w.world.read("out.txt"), "half right");
    assert_eq!(resumed(&w.calls("T1")), [false, true]);
}
