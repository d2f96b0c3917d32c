//! What is done after a run that led to no result.

use serde_json::json;

use crate::world::{Agents, PROGRAMS, one_task, resumed, writes};

#[test]
fn a_refused_result_is_mended_in_its_session_which_is_shown_the_evidence() {
    let w = Agents::new(&one_task("claude", ""));
    w.script(json!({"T1": [writes("wrong answer"), writes("right")]}));
    w.build(&[]).success().ran(&["T1"]);
    assert_eq!(w.world.read("out.txt"), "right");
    let calls = w.calls("T1");
    assert_eq!(resumed(&calls), [false, true]);
    assert_eq!(calls[0]["session"], calls[1]["session"]);
    let told = calls[1]["prompt"].as_str().unwrap();
    for part in
        ["grep -q right out.txt", "exit code 3", "out.txt:1: wrong answer", "Places that it names: out.txt:1"]
    {
        assert!(told.contains(part), "`{part}` is not in: {told}");
    }
    assert_eq!(w.ends("T1"), ["invalid", "ok"]);
}

#[test]
fn what_the_first_attempt_left_is_there_for_the_second() {
    let w = Agents::new(&one_task("codex", ""));
    let appends = json!({"do": [{"append": {"path": "out.txt", "text": "right"}}]});
    w.script(json!({"T1": [writes("not yet "), appends]}));
    w.build(&[]).success();
    assert_eq!(w.world.read("out.txt"), "not yet right");
}

#[test]
fn the_last_of_three_attempts_is_a_fresh_session_that_is_told_what_was_done() {
    let w = Agents::new(&one_task("claude", ""));
    w.script(json!({"T1": [writes("one"), writes("two"), writes("right")]}));
    w.build(&[]).success().ran(&["T1"]);
    let calls = w.calls("T1");
    assert_eq!(resumed(&calls), [false, true, false]);
    assert_ne!(calls[0]["session"], calls[2]["session"]);
    let told = calls[2]["prompt"].as_str().unwrap();
    for part in ["Write the answer into out.txt.", "earlier attempt", "out.txt:1: two", "out.txt"] {
        assert!(told.contains(part), "`{part}` is not in: {told}");
    }
}

#[test]
fn attempts_are_one_more_than_retries() {
    for (retries, attempts) in [(0, 1), (1, 2), (3, 4)] {
        let w = Agents::new(&one_task("claude", &format!("    retries: {retries}\n")));
        let words = ["a", "b", "c", "d", "e", "f"];
        w.script(json!({"T1": words.map(writes)}));
        w.build(&[]).fails_with(1).failed(&["T1"]);
        assert_eq!(w.calls("T1").len(), attempts, "retries: {retries}");
        assert!(!w.world.has("out.txt"));
    }
}

#[test]
fn the_same_failure_twice_is_enough() {
    let w = Agents::new(&one_task("claude", "    retries: 5\n"));
    w.script(json!({"T1": [writes("wrong")]}));
    w.build(&[]).fails_with(1).failed(&["T1"]);
    assert_eq!(w.calls("T1").len(), 2);
    // Numbers and times do not make it another one.
    w.world.file("in.txt", "another\n");
    w.script(json!({"T1": [writes("took 12 ms"), writes("took 3.5 s"), writes("right")]}));
    w.build(&[]).fails_with(1).failed(&["T1"]);
    assert_eq!(w.calls("T1").len(), 2);
}

#[test]
fn a_program_that_cannot_resume_begins_anew_each_time() {
    let w = Agents::with(&[("pi", "resume: []")], &one_task("pi", ""));
    w.script(json!({"T1": [writes("wrong"), writes("right")]}));
    w.build(&[]).success();
    let calls = w.calls("T1");
    assert_eq!(resumed(&calls), [false, false]);
    assert!(calls[1]["prompt"].as_str().unwrap().contains("Write the answer into out.txt."));
    assert!(calls[1]["prompt"].as_str().unwrap().contains("out.txt:1: wrong"));
}

#[test]
fn every_program_goes_on_with_its_session() {
    for program in PROGRAMS {
        let w = Agents::new(&one_task(program, ""));
        w.script(json!({"T1": [writes("wrong"), writes("right")]}));
        w.build(&[]).success().ran(&["T1"]);
        let calls = w.calls("T1");
        assert_eq!(resumed(&calls), [false, true], "{program}");
        assert_eq!(calls[0]["session"], calls[1]["session"], "{program}");
        assert!(calls[1]["prompt"].as_str().unwrap().contains("out.txt:1: wrong"), "{program}");
        assert_eq!(w.ends("T1"), ["invalid", "ok"], "{program}");
    }
}

#[test]
fn a_login_that_does_not_work_stops_all_tasks_of_the_adapter_and_no_other() {
    let task = |id: &str, agent: &str, needs: &str| {
        format!(
            "  {id}:
    agent: {agent}
    instructions: Write.
    inputs: []
    needs: [{needs}]
    outputs: [{id}.txt]
"
        )
    };
    let manifest = format!(
        "pools: {{ agents: 1 }}\ntasks:\n{}{}{}",
        task("A", "claude", ""),
        task("B", "claude", ""),
        task("C", "codex", "")
    );
    let w = Agents::new(&manifest);
    let wrote = |id: &str| json!([{"do": [{"write": {"path": format!("{id}.txt"), "text": "x"}}]}]);
    w.script(json!({"A": [{"end": "auth"}], "B": [{"end": "auth"}], "C": wrote("C")}));
    let run = w.build(&["-k"]);
    run.fails_with(1).ran(&["C"]).says("ANTHROPIC_API_KEY");
    assert_eq!(w.calls("A").len() + w.calls("B").len(), 1, "{run}");
    assert_eq!(w.calls("C").len(), 1);
    // With the login mended all goes on.
    w.script(json!({"A": wrote("A"), "B": wrote("B")}));
    w.build(&[]).success().ran(&["A", "B"]).fresh(&["C"]);
}

#[test]
fn an_undeclared_file_is_a_failure_that_the_agent_is_told_of() {
    let w = Agents::new(&one_task("claude", ""));
    let first = json!({"do": [{"write": {"path": "out.txt", "text": "right"}}, {"write": {"path": "src/other.txt", "text": "x"}}]});
    w.script(json!({"T1": [first, {"do": [{"remove": "src/other.txt"}]}]}));
    w.build(&[]).success().ran(&["T1"]);
    let told = w.calls("T1")[1]["prompt"].as_str().unwrap().to_owned();
    assert!(told.contains("src/other.txt"), "{told}");
    assert!(!w.world.has("src/other.txt"));
}

#[test]
fn a_missing_output_is_a_failure_that_the_agent_is_told_of() {
    let w = Agents::new(&one_task("claude", ""));
    let first = json!({"do": [{"write": {"path": "$TMPDIR/x", "text": "right"}}]});
    w.script(json!({"T1": [first, writes("right")]}));
    w.build(&[]).success().ran(&["T1"]);
    let told = w.calls("T1")[1]["prompt"].as_str().unwrap().to_owned();
    assert!(told.contains("No file has changed") && told.contains("out.txt"), "{told}");
}

#[test]
fn a_session_that_is_gone_is_followed_by_a_new_one() {
    // The program forgets its sessions; whoever goes on is told so by its failure, and begins anew.
    let w = Agents::new(&one_task("claude", "    retries: 3\n"));
    let forgets = json!({"do": [{"write": {"path": "out.txt", "text": "wrong"}}], "forgets": true});
    w.script(json!({"T1": [forgets, writes("never played"), writes("right")]}));
    w.build(&[]).success().ran(&["T1"]);
    let calls = w.calls("T1");
    assert_eq!(resumed(&calls)[..2], [false, true]);
    assert!(!resumed(&calls)[2], "{calls:#?}");
    assert!(calls[2]["prompt"].as_str().unwrap().contains("Write the answer into out.txt."));
}

#[test]
fn agents_of_many_tasks_work_at_once() {
    let task = |number: u32| {
        format!(
            "  A{number}:
    agent: claude
    instructions: Write.
    inputs: []
    outputs: [a{number}.txt]
"
        )
    };
    let tasks = [1, 2, 3, 4, 5, 6].map(task).concat();
    let w = Agents::new(&format!("pools: {{ agents: 6 }}\ntasks:\n{tasks}"));
    // Each waits for the next one to have begun: one after another they would never end.
    let script = (1..=6).map(|number| {
        let next = number % 6 + 1;
        let steps = json!([
            {"mark": format!("begun{number}")},
            {"await": format!("begun{next}")},
            {"write": {"path": format!("a{number}.txt"), "text": "x"}},
        ]);
        (format!("A{number}"), json!([{"do": steps}]))
    });
    w.script(serde_json::Value::Object(script.collect()));
    w.build(&["-j", "1"]).success().ran(&["A1", "A2", "A3", "A4", "A5", "A6"]);
    w.build(&[]).runs_nothing();
}
