//! How runs of each built-in adapter's program end, by what it prints and exits with.

use serde_json::{Value, json};

use crate::world::{Agents, PROGRAMS, one_task, resumed, writes};

/// The ends that a program can tell of.
fn ends_of(program: &str) -> &'static [&'static str] {
    match program {
        "claude" | "command" => {
            &["failed", "auth", "rate_limit", "provider", "overflow", "budget", "turn_limit", "config"]
        }
        "codex" | "opencode" | "aider" => &["failed", "auth", "rate_limit", "provider", "overflow", "config"],
        "gemini" => &["failed", "auth", "rate_limit", "provider", "overflow", "turn_limit", "config"],
        "pi" => &["failed", "auth", "rate_limit", "provider", "overflow"],
        "copilot" => &["failed", "auth", "rate_limit", "provider"],
        "qwen" => &["failed", "auth", "rate_limit", "provider", "overflow", "budget", "turn_limit"],
        other => panic!("{other}"),
    }
}

/// A first run that ends like this, whatever it wrote, and a second one that does the task.
fn then_right(end: &str) -> Value {
    let mut first = writes("half");
    first["end"] = end.into();
    if matches!(end, "rate_limit" | "provider") {
        first["message"] = "too many requests, try again in 100ms".into();
    }
    json!({"T1": [first, writes("right")]})
}

fn check(program: &str) {
    let w = Agents::new(&one_task(program, "    retries: 1\n"));
    w.script(json!({"T1": [writes("right")]}));
    w.build(&[]).success().ran(&["T1"]);
    assert_eq!(w.ends("T1"), ["ok"], "{program}");
    for &end in ends_of(program) {
        // Another input is another key: the work begins anew.
        w.world.file("in.txt", format!("{end}\n"));
        w.script(then_right(end));
        let run = w.build(&[]);
        match end {
            "rate_limit" | "provider" => {
                run.success().ran(&["T1"]);
                assert_eq!(w.ends("T1"), [end, "ok"], "{program}");
            }
            // One of two attempts is left.
            "failed" | "overflow" => {
                run.success().ran(&["T1"]);
                assert_eq!(w.ends("T1"), [end, "ok"], "{program}");
                if end == "overflow" {
                    assert_eq!(resumed(&w.calls("T1")), [false, false], "{program}");
                }
            }
            "auth" | "config" => {
                run.fails_with(1).failed(&["T1"]);
                assert_eq!(w.ends("T1"), [end], "{program}");
            }
            "budget" | "turn_limit" => {
                run.fails_with(5).are("paused", &["T1"]);
                assert_eq!(w.ends("T1"), [end], "{program}");
                w.build(&[]).success().ran(&["T1"]);
                assert_eq!(w.ends("T1"), ["ok"], "{program}");
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn claude_says_how_it_ended() {
    check("claude");
}

#[test]
fn codex_says_how_it_ended() {
    check("codex");
}

#[test]
fn gemini_exits_with_the_status_of_http_and_that_is_no_signal() {
    check("gemini");
}

#[test]
fn opencode_says_how_it_ended() {
    check("opencode");
}

#[test]
fn pi_exits_with_0_on_every_error_and_its_last_message_counts() {
    check("pi");
}

#[test]
fn copilot_says_how_it_ended() {
    check("copilot");
}

#[test]
fn qwen_says_how_it_ended() {
    check("qwen");
}

#[test]
fn aider_exits_with_0_on_every_error_and_its_text_counts() {
    check("aider");
}

#[test]
fn a_command_says_in_its_result_file_how_it_ended() {
    check("command");
}

#[test]
fn who_exits_with_0_without_its_last_event_has_no_result() {
    for program in PROGRAMS.into_iter().filter(|program| !matches!(*program, "aider" | "command")) {
        let w = Agents::new(&one_task(program, "    retries: 0\n"));
        let mut run = writes("right");
        run["end"] = "silent".into();
        w.script(json!({"T1": [run]}));
        w.build(&[]).fails_with(1).failed(&["T1"]);
        assert_eq!(w.ends("T1"), ["no_result"], "{program}");
        assert!(!w.world.has("out.txt"), "{program}");
    }
}

#[test]
fn a_success_with_an_exit_code_is_none() {
    for program in PROGRAMS {
        let w = Agents::new(&one_task(program, "    retries: 0\n"));
        let mut run = writes("right");
        run["exit"] = 7.into();
        w.script(json!({"T1": [run]}));
        w.build(&[]).fails_with(1).failed(&["T1"]);
        assert_ne!(w.ends("T1"), ["ok"], "{program}");
        assert!(!w.world.has("out.txt"), "{program}");
    }
}

#[test]
fn a_denial_that_is_reported_as_success_is_seen_by_what_did_not_change() {
    let w = Agents::new(
        "tasks:
  T1:
    agent: claude
    instructions: Edit in.txt.
    inputs: []
    edits: [in.txt]
    retries: 0
",
    );
    w.script(json!({"T1": [{"do": [{"denied": "Write"}]}]}));
    w.build(&[]).fails_with(1).failed(&["T1"]);
    assert_eq!(w.ends("T1"), ["no_change"]);
}

#[test]
fn an_agent_that_is_not_installed_says_how_to_install_it() {
    let w = Agents::new(&one_task("claude", ""));
    let missing = "agents: { claude: { bin: no-such-program } }\n".to_owned();
    w.world.manifest(&(missing + &one_task("claude", "")));
    let run = w.build(&[]);
    run.fails_with(1).failed(&["T1"]).says("no-such-program").says("npm install");
    w.nobody_was_called();
}

#[test]
fn a_version_that_is_not_the_required_one_starts_nothing() {
    let w = Agents::with(&[("claude", "require: \"3\"")], &one_task("claude", ""));
    w.script(json!({"T1": [writes("right")]}));
    w.build(&[]).fails_with(1).failed(&["T1"]).says("2.1.330");
    w.nobody_was_called();
    w.manifest(&[("claude", "require: \"2.1\"")], &one_task("claude", ""));
    w.build(&[]).success().ran(&["T1"]);
}
