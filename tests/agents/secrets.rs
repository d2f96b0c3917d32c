//! A secret is handed to the agent and reaches nothing else: no log, no transcript, no event, no key, no file.

use serde_json::{Value, json};

use crate::support::{Run, Tree};
use crate::world::{Agents, one_task};

const SECRET: &str = "sk-live-7Hq2mZ0pXv9LwT4c";

fn world(further: &str) -> Agents {
    let w = Agents::new(&one_task("claude", further));
    Agents { world: w.world.env("ANTHROPIC_API_KEY", SECRET), ..w }
}

fn run(steps: &[Value]) -> Value {
    let mut steps = steps.to_vec();
    steps.push(json!({"write": {"path": "out.txt", "text": "right"}}));
    json!({"do": steps})
}

/// It is nowhere in what conductor printed and kept, in none of its forms.
#[track_caller]
fn nowhere(w: &Agents, run: &Run) {
    let base64 = "c2stbGl2ZS03SHEybVowcFh2OUx3VDRj";
    let kept = Tree::of(w.world.root());
    for form in [SECRET, base64] {
        run.never_says(form);
        assert_eq!(kept.holding(form.as_bytes()), [""; 0], "{form}");
    }
}

#[test]
fn a_secret_that_is_printed_is_masked_everywhere() {
    for form in ["plain", "split", "base64"] {
        let w = world("");
        w.script(json!({"T1": [run(&[json!({"tell": {"variable": "ANTHROPIC_API_KEY", "form": form}})])]}));
        let build = w.world.run(&["build", "--events", "events.jsonl"]);
        build.success().says("the value is");
        nowhere(&w, &build);
        let transcript = w.world.run(&["log", "T1", "--transcript"]);
        transcript.success().says("the value is");
        nowhere(&w, &transcript);
        nowhere(&w, &w.world.run(&["log", "T1"]));
    }
}

#[test]
fn a_secret_in_an_error_is_masked() {
    let w = world("    retries: 0\n");
    let failure = json!({"end": "auth", "message": format!("invalid key {SECRET}")});
    w.script(json!({"T1": [failure]}));
    let build = w.build(&[]);
    build.fails_with(1).says("invalid key");
    nowhere(&w, &build);
    nowhere(&w, &w.world.json("log", &["T1"]));
}

#[test]
fn a_result_that_holds_a_secret_is_none() {
    let w = world("    retries: 0\n");
    let keeps = json!({"do": [{"keep": {"variable": "ANTHROPIC_API_KEY", "path": "out.txt"}}, {"append": {"path": "out.txt", "text": " right"}}]});
    w.script(json!({"T1": [keeps]}));
    let build = w.build(&[]);
    build.fails_with(1).failed(&["T1"]);
    assert!(!w.world.has("out.txt"));
    nowhere(&w, &build);
}

#[test]
fn a_session_in_whose_home_a_secret_lies_is_not_kept() {
    let w = world("    budget: { tokens: 10 }\n");
    let keeps = json!({"do": [
        {"keep": {"variable": "ANTHROPIC_API_KEY", "path": "$HOME/.claude/settings.json"}},
        {"spend": {"input": 50, "output": 0, "usd": 0.0, "turns": 1}},
        "hang",
    ]});
    w.script(json!({"T1": [keeps, run(&[])]}));
    let build = w.build(&[]);
    build.fails_with(5);
    nowhere(&w, &build);
    w.build(&[]).success();
    let resumed: Vec<_> = w.calls("T1").iter().map(|call| call["resumed"].clone()).collect();
    assert_eq!(resumed, [false, false]);
}

#[test]
fn another_secret_is_no_other_key() {
    let w = world("");
    w.script(json!({"T1": [run(&[])]}));
    w.build(&[]).success();
    let w = Agents { world: w.world.env("ANTHROPIC_API_KEY", "another one altogether"), ..w };
    w.build(&[]).runs_nothing();
}
