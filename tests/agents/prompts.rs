//! What agents are told.

use serde_json::json;

use crate::world::{Agents, PROGRAMS, one_task, writes};

const MANIFEST: &str = "tasks:
  LIB:
    run: printf lib > lib.txt
    inputs: []
    outputs: [lib.txt]
  T1:
    title: The answer
    agent: claude
    role: mathematician
    effort: 2h
    instructions: { file: prompts/T1.md }
    needs: [LIB]
    inputs: [in.txt]
    outputs: [out.txt, { path: notes.md, optional: true }]
    edits: [\"docs/*.md\"]
    validate:
      - non_empty: out.txt
      - run: grep -q right out.txt
";

fn world() -> Agents {
    let w = Agents::new(MANIFEST);
    w.world.file("prompts/T1.md", "Say what six times seven is.\n").file("docs/a.md", "a\n");
    w.world.git(&["add", "-A"]).git(&["commit", "-q", "-m", "more"]);
    w
}

#[test]
fn a_prompt_says_what_to_do_to_read_to_write_and_what_will_be_checked() {
    let w = world();
    w.script(json!({"T1": [writes("right")]}));
    w.build(&[]).success();
    let told = w.calls("T1")[0]["prompt"].as_str().unwrap().to_owned();
    for part in [
        "The answer",
        "mathematician",
        "2h",
        "Say what six times seven is.",
        "in.txt",
        "lib.txt",
        "LIB",
        "out.txt",
        "notes.md",
        "docs/*.md",
        "grep -q right out.txt",
    ] {
        assert!(told.contains(part), "`{part}` is not in: {told}");
    }
}

#[test]
fn prompt_prints_exactly_what_is_sent() {
    let w = world();
    w.build(&["LIB"]).success();
    let shown = w.world.run(&["prompt", "T1"]).success().stdout.clone();
    let document = w.world.json("prompt", &["T1"]).success().json();
    w.script(json!({"T1": [writes("right")]}));
    w.build(&[]).success();
    let call = w.calls("T1")[0].clone();
    assert_eq!(call["prompt"], shown.as_str());
    assert_eq!(document["prompt"], shown.as_str());
    assert_eq!(call["prompt_file"], shown.as_str());
}

#[test]
fn every_program_is_told_the_same_by_its_own_way() {
    for program in PROGRAMS {
        let w = Agents::new(&one_task(program, ""));
        let shown = w.world.run(&["prompt", "T1"]).success().stdout.clone();
        w.script(json!({"T1": [writes("right")]}));
        w.build(&[]).success();
        assert_eq!(w.calls("T1")[0]["prompt"], shown.as_str(), "{program}");
    }
}

#[test]
fn a_prompt_larger_than_an_argument_may_be_comes_whole() {
    for program in ["claude", "command", "opencode"] {
        let w = Agents::new(
            "tasks:
  T1:
    agent: AGENT
    instructions: { file: long.md }
    inputs: []
    outputs: [out.txt]
"
            .replace("AGENT", program)
            .as_str(),
        );
        w.world.file("long.md", "All of this matters.\n".repeat(20_000));
        w.world.git(&["add", "-A"]).git(&["commit", "-q", "-m", "more"]);
        w.script(json!({"T1": [writes("right")]}));
        w.build(&[]).success();
        let call = w.calls("T1")[0].clone();
        let told = call["prompt"].as_str().unwrap();
        if program == "opencode" {
            // By an argument that names the file.
            assert!(told.len() < 1000, "{}", told.len());
            assert!(call["prompt_file"].as_str().unwrap().len() > 400_000);
        } else {
            assert_eq!(call["prompt"], call["prompt_file"]);
            assert!(told.len() > 400_000);
        }
    }
}

#[test]
fn the_instructions_are_part_of_the_key() {
    let w = world();
    w.script(json!({"T1": [writes("right")]}));
    w.build(&[]).success();
    w.script(json!({"T1": [writes("right again")]}));
    w.world.file("prompts/T1.md", "Say what six times nine is.\n");
    w.build(&[]).success().ran(&["T1"]).fresh(&["LIB"]);
    assert_eq!(w.calls("T1").len(), 1);
    assert_eq!(w.world.read("out.txt"), "right again");
}

#[test]
fn a_prompt_of_a_command_is_a_usage_error() {
    world().world.run(&["prompt", "LIB"]).fails_with(2).says("agent");
}

#[test]
fn the_next_prompt_of_work_that_is_not_done_is_what_comes_next() {
    let w = Agents::new(&one_task("claude", "    budget: { tokens: 10 }\n"));
    let half = json!({"do": [{"write": {"path": "out.txt", "text": "half"}}, {"spend": {"input": 50, "output": 0, "usd": 0.0, "turns": 1}}, "hang"]});
    w.script(json!({"T1": [half, writes("right")]}));
    w.build(&[]).fails_with(5);
    let shown = w.world.run(&["prompt", "T1"]).success().stdout.clone();
    w.build(&[]).success();
    assert_eq!(w.calls("T1")[1]["prompt"], shown.as_str());
}
