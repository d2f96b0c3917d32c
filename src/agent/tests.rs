//! What is said to agents: the same for the same task, complete, and without anything of this machine.

use super::*;
use crate::model::{
    Adapter, AgentEnd, AgentOutput, At, Budget, Check, CheckKind, Command, Events, Group, GroupId, Isolation,
    Output, Pattern, Piece, Reading, Rule, Sees, Task, TaskId, Template, Usage, WorkspacePath,
};

fn path(text: &str) -> WorkspacePath {
    WorkspacePath::new(text).unwrap()
}

fn check_of(kind: CheckKind) -> Check {
    Check { kind, inputs: Vec::new(), at: At::default() }
}

/// A task with most that a prompt speaks of.
fn task() -> Task {
    let group = Group {
        id: GroupId::new("A"),
        at: At::default(),
        title: None,
        after: Vec::new(),
        gate: Vec::new(),
        budget: Budget::default(),
        dir: WorkspacePath::root(),
        env: Vec::new(),
        pass_env: Vec::new(),
    };
    let output =
        |text: &str, folder: bool| Output { path: path(text), folder, optional: folder, at: At::default() };
    let test = Template(vec![Piece::Text("cargo test ".to_owned()), Piece::Outputs]);
    Task {
        id: TaskId::new("T9"),
        title: Some("REST handlers".to_owned()),
        role: Some("backend engineer".to_owned()),
        effort: Some(std::time::Duration::from_secs(1800)),
        outputs: vec![output("docs/api", true), output("src/orders.rs", false)],
        edits: vec![Pattern {
            glob: "src/**/*.rs".to_owned(),
            negated: false,
            literal: None,
            folder: false,
            at: At::default(),
        }],
        validate: vec![
            check_of(CheckKind::Run(Command::Shell(test))),
            check_of(CheckKind::NonEmpty(path("src/orders.rs"))),
            check_of(CheckKind::Run(Command::Shell(Template::text("set -x\nmake lint\n")))),
        ],
        isolation: Isolation::Worktree,
        sees: Sees::Inputs,
        network: false,
        ..Task::gate(&group)
    }
}

fn needs() -> Vec<NeededOutput> {
    let title = Some("Schema".to_owned());
    vec![NeededOutput { path: path("db/schema.sql"), task: TaskId::new("T1"), title }]
}

fn evidence() -> Evidence {
    Evidence {
        checks: vec![FailedCheck {
            check: "run: cargo test".to_owned(),
            exit: Some(101),
            output: "error[E0425]: cannot find value `x`\n --> src/orders.rs:12:5\nfinished in 0.42s\n"
                .to_owned(),
        }],
        missing: vec![path("docs/api")],
        undeclared: vec![path("scratch.txt")],
        ..Evidence::default()
    }
}

#[test]
fn a_prompt_says_what_to_do_what_to_write_what_to_read_and_what_must_hold() {
    let (task, needs) = (task(), needs());
    let inputs = [path("db/schema.sql"), path("docs/spec.md")];
    let brief = Brief { task: &task, instructions: "Write the handlers.\n", inputs: &inputs, needs: &needs };
    let text = prompt(&brief);
    for part in [
        "# Task: REST handlers",
        "Your role: backend engineer",
        "Write the handlers.",
        "about 30m",
        "- docs/api/ (a folder",
        "- src/orders.rs\n",
        "- src/**/*.rs",
        "- docs/spec.md\n",
        "- db/schema.sql (from T1: Schema)",
        "this command succeeds: `cargo test docs/api src/orders.rs`",
        "      make lint",
        "There is no network",
        "Do not commit",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    assert_eq!(text.matches("db/schema.sql").count(), 1, "what a task made is told once");
    assert_eq!(text, prompt(&brief), "the same each time");
    assert!(!text.contains("/home") && !text.contains("/tmp"), "nothing of this machine");
}

#[test]
fn a_prompt_has_no_part_for_what_a_task_has_not() {
    let task = Task {
        outputs: Vec::new(),
        edits: Vec::new(),
        validate: Vec::new(),
        role: None,
        effort: None,
        network: true,
        ..task()
    };
    let text = prompt(&Brief { task: &task, instructions: "Look.", inputs: &[], needs: &[] });
    for part in ["# What to write", "# What to read", "# What you may change", "must pass", "role", "network"]
    {
        assert!(!text.contains(part), "{part} is in\n{text}");
    }
    assert!(text.contains("Change no file"));
}

#[test]
fn thousands_of_inputs_do_not_fill_a_prompt() {
    let task = task();
    let inputs: Vec<WorkspacePath> = (0..5000).map(|number| path(&format!("src/{number:04}.rs"))).collect();
    let text = prompt(&Brief { task: &task, instructions: "x", inputs: &inputs, needs: &[] });
    assert!(text.contains("- and 4900 more") && text.len() < 10_000, "{} bytes", text.len());
}

#[test]
fn a_task_in_a_folder_is_told_where_the_workspace_is() {
    let task = Task { dir: path("services/api"), ..task() };
    let text = prompt(&Brief { task: &task, instructions: "x", inputs: &[], needs: &[] });
    assert!(text.contains("`services/api`") && text.contains("`../..`"), "{text}");
}

#[test]
fn feedback_shows_the_failing_check_with_its_places_and_what_is_amiss() {
    let text = feedback(&evidence());
    for part in [
        "exit code 101",
        "    run: cargo test",
        "cannot find value",
        "Places that it names: src/orders.rs:12:5",
        "- docs/api\n",
        "- scratch.txt\n",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    assert!(feedback(&Evidence { unchanged: true, ..Evidence::default() }).contains("No file has changed"));
}

#[test]
fn feedback_shows_the_end_of_a_long_output_in_a_fence_that_it_cannot_close() {
    let output = format!("{}\n```\nthe last line\n", "noise\n".repeat(20_000));
    let check = FailedCheck { check: "run: x".to_owned(), exit: Some(1), output };
    let text = feedback(&Evidence { checks: vec![check], ..Evidence::default() });
    assert!(
        text.contains("The end of its output:\n\n````\n") && text.contains("the last line\n````"),
        "{text}"
    );
    assert!(text.len() < 10_000, "{} bytes", text.len());
}

#[test]
fn a_session_that_begins_anew_gets_the_task_what_is_wrong_and_what_changed() {
    let (task, needs) = (task(), needs());
    let brief = Brief { task: &task, instructions: "Write the handlers.", inputs: &[], needs: &needs };
    let overflow = Evidence { end: Some(AgentEnd::Overflow), ..evidence() };
    let diff = format!("--- a\n+++ b\n{}", "+line\n".repeat(50_000));
    let text = fresh_start(&brief, &overflow, &diff);
    for part in [
        "Write the handlers.",
        "ran out of context",
        "cargo test",
        "```diff\n--- a",
        "(The rest is left out.",
    ] {
        assert!(text.contains(part), "{part} is not in the text");
    }
    assert!(text.len() < 40_000, "{} bytes", text.len());
}

#[test]
fn the_same_failure_has_the_same_signature_whatever_numbers_and_paths_it_shows() {
    let with = |output: &str| {
        let check = FailedCheck { check: "run: t".to_owned(), exit: Some(1), output: output.to_owned() };
        signature(&Evidence { checks: vec![check], ..Evidence::default() })
    };
    let first = with("test a failed in 0.42s at /tmp/x1/a.rs:12\naddress 0x7ffe01 id 3f2a9c1b7d\nb failed");
    let second = with("b failed\ntest a failed in 13.5s at /tmp/zz/q.rs:98\naddress 0x55aa id 9b8c7d6e5f");
    assert_eq!(first, second);
    assert_ne!(
        first,
        with("test c failed in 0.42s at /tmp/x1/a.rs:12\naddress 0x7ffe01 id 3f2a9c1b7d\nb failed")
    );
    assert_ne!(signature(&evidence()), signature(&Evidence { missing: Vec::new(), ..evidence() }));
}

/// An adapter as for a program that prints events.
fn listening() -> Adapter {
    let filter = |kind: &str| vec![("type".to_owned(), kind.to_owned())];
    let reading = |kind: &str, at: &[&str]| Reading {
        filter: filter(kind),
        at: at.iter().map(|&path| path.to_owned()).collect(),
        ..Reading::default()
    };
    let ok = Rule { is: AgentEnd::Ok, filter: filter("done"), last: Vec::new(), text: None, exit: vec![0] };
    Adapter {
        events: Events {
            end: vec![reading("done", &[])],
            text: vec![reading("say", &["text"])],
            tokens_out: vec![reading("done", &["tokens"])],
            ..Events::default()
        },
        outcome: vec![ok],
        ..Adapter::default()
    }
}

const STREAM: &str = "{\"type\":\"say\",\"text\":\"hello\"}\nnoise\n{\"type\":\"done\",\"tokens\":7}\n";

fn heard(adapter: &Adapter, stream: &[u8], exit: i32, file: Option<&str>) -> Heard {
    let mut listener = Listener::new(adapter).unwrap();
    stream.split(|byte| *byte == b'\n').for_each(|line| listener.line(line));
    listener.finish(Some(exit), file.map(str::as_bytes), &SessionTotals::default())
}

#[test]
fn a_stream_that_is_cut_anywhere_is_no_success() {
    let adapter = listening();
    let whole = heard(&adapter, STREAM.as_bytes(), 0, None);
    assert_eq!((whole.end, whole.text.as_deref(), whole.usage.tokens_out), (AgentEnd::Ok, Some("hello"), 7));
    for end in 0..STREAM.len() - 1 {
        assert_eq!(heard(&adapter, &STREAM.as_bytes()[..end], 0, None).end, AgentEnd::NoResult, "at {end}");
    }
    assert_eq!(
        heard(&adapter, STREAM.as_bytes(), 1, None).end,
        AgentEnd::Failed,
        "a good word and a bad exit"
    );
}

#[test]
fn endless_output_and_events_in_pieces_are_heard_in_bounded_memory() {
    let adapter = listening();
    let mut listener = Listener::new(&adapter).unwrap();
    let noise = vec![b'x'; 64 * 1024];
    for _ in 0..1600 {
        listener.line(&noise);
    }
    let long = format!(r#"{{"type":"say","text":"{}"}}"#, "a".repeat(200_000));
    long.as_bytes().chunks(64 * 1024).for_each(|piece| listener.line(piece));
    assert_eq!(listener.said().map(str::len), Some(200_000));
    // One that never ends is passed over, and what follows is heard again.
    let endless = format!(r#"{{"type":"say","text":"{}"#, "y".repeat(64 * 1024));
    for _ in 0..400 {
        listener.line(endless.as_bytes());
    }
    listener.line(b"");
    STREAM.split('\n').for_each(|line| listener.line(line.as_bytes()));
    let heard = listener.finish(Some(0), None, &SessionTotals::default());
    assert_eq!((heard.end, heard.text.as_deref()), (AgentEnd::Ok, Some("hello")));
}

#[test]
fn a_result_file_goes_before_what_was_printed() {
    let ok = Rule { is: AgentEnd::Ok, filter: Vec::new(), last: Vec::new(), text: None, exit: vec![0] };
    let adapter = Adapter { output: AgentOutput::ResultFile, outcome: vec![ok], ..Adapter::default() };
    let check = |exit: i32, file: &str, end: AgentEnd| {
        let heard = heard(&adapter, b"working", exit, Some(file));
        assert_eq!(heard.end, end, "{file}: {heard:?}");
        heard
    };
    assert_eq!(heard(&adapter, b"working", 0, None).text.as_deref(), Some("working"));
    let told = check(
        0,
        r#"{"outcome":"ok","session":"s1","text":"done","tokens_in":10,"tokens_out":2,"cost_usd":0.5,"turns":3}"#,
        AgentEnd::Ok,
    );
    let usage =
        Usage { tokens_in: 10, tokens_out: 2, micro_usd: Some(500_000), turns: 3, ..Usage::default() };
    assert_eq!(
        (told.session.as_deref(), told.text.as_deref(), told.usage),
        (Some("s1"), Some("done"), usage)
    );
    check(1, r#"{"outcome":"ok"}"#, AgentEnd::Failed);
    let limited =
        check(1, r#"{"outcome":"rate_limit","retry_after":7,"message":"slow down"}"#, AgentEnd::RateLimit);
    assert_eq!(limited.retry_after, Some(std::time::Duration::from_secs(7)));
    assert_eq!(limited.message.as_deref(), Some("slow down"));
    check(0, r#"{"outcome":"splendid"}"#, AgentEnd::Failed);
    check(0, "{", AgentEnd::Failed);
}
