//! Output as programs make it when something goes wrong, and what they leave running.

use serde_json::json;

use crate::support::is_alive;
use crate::world::{Agents, one_task, writes};

fn right() -> serde_json::Value {
    json!({"write": {"path": "out.txt", "text": "right"}})
}

#[test]
fn half_a_line_at_the_end_is_no_event_and_no_harm() {
    let w = Agents::new(&one_task("claude", "    retries: 0\n"));
    // The last event itself, broken off.
    let broken = json!({"do": [right(), {"piece": "{\"type\":\"result\",\"subtype\":\"success\",\"is_err"}], "end": "silent"});
    w.script(json!({"T1": [broken]}));
    w.build(&[]).fails_with(1).failed(&["T1"]);
    assert_eq!(w.ends("T1"), ["no_result"]);
    // Half a line in front of a whole one costs that one.
    w.world.file("in.txt", "2\n");
    let words =
        json!({"do": [right(), {"print": "{\"type\":"}, {"print": "no event at all"}, {"print": "[1,2]"}]});
    w.script(json!({"T1": [words]}));
    w.build(&[]).success().ran(&["T1"]);
}

#[test]
fn an_event_that_comes_in_pieces_is_one() {
    let w = Agents::new(&one_task("codex", ""));
    let event =
        ["{\"type\":\"turn.comp", "leted\",\"usage\":{\"input_tokens\":7,", "\"output_tokens\":3}}\n"];
    let mut steps = vec![right()];
    steps.extend(event.map(|piece| json!({"piece": piece})));
    w.script(json!({"T1": [{"do": steps, "end": "silent"}]}));
    w.build(&[]).success();
    assert_eq!(w.runs("T1")[0]["usage"]["tokens_in"], 7);
}

#[test]
fn a_hundred_megabytes_of_output_are_borne() {
    let w = Agents::new(&one_task("claude", ""));
    w.script(json!({"T1": [{"do": [{"flood": 100_000_000}, right()]}]}));
    w.build(&[]).success().ran(&["T1"]);
    // The end of it is what people are shown; the log is whole.
    let shown = w.world.run(&["log", "T1"]);
    assert!(shown.success().stdout.len() > 100_000_000);
}

#[test]
fn a_grandchild_that_holds_the_output_open_holds_nothing_up() {
    let w = Agents::new(&one_task("claude", ""));
    w.script(json!({"T1": [{"do": [{"leave": {"holds_output": true}}, right()]}]}));
    w.build(&[]).success().ran(&["T1"]);
    let left = w.left();
    assert_eq!(left.len(), 1);
    assert!(left.iter().all(|pid| !is_alive(pid)), "{left:?}");
}

#[test]
fn a_grandchild_in_a_session_of_its_own_does_not_survive() {
    for (end, code) in [("ok", 0), ("failed", 1)] {
        let w = Agents::new(&one_task("claude", "    retries: 0\n"));
        let steps =
            json!([{"leave": {"apart": true}}, {"leave": {"apart": true, "holds_output": true}}, right()]);
        w.script(json!({"T1": [{"do": steps, "end": end}]}));
        w.build(&[]).fails_with(code);
        let left = w.left();
        assert_eq!(left.len(), 2);
        assert!(left.iter().all(|pid| !is_alive(pid)), "{left:?}");
    }
}

#[test]
fn what_is_no_text_is_borne() {
    let w = Agents::new(&one_task("aider", ""));
    w.script(json!({"T1": [{"do": [{"print": "\u{0}\u{1b}[31mred\u{1b}[0m \u{202e}"}, right()]}]}));
    w.build(&[]).success();
    let mut run = writes("right");
    run["do"].as_array_mut().unwrap().push(json!({"say": "done, I think"}));
    w.world.file("in.txt", "2\n");
    w.script(json!({"T1": [run]}));
    w.build(&[]).success();
}
