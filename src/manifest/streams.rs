//! The built-in adapters against what their programs print. The files in `streams/` were recorded from the versions that
//! `adapters.yaml` names, run against a model server on loopback that answered well, or with an error; they were shortened
//! by fields that no adapter reads. What such a server cannot bring about stands in `told`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use super::tests::load_files;
use super::told::TOLD;
use super::*;
use crate::agent::{Heard, Listener, SessionTotals, Values, command_line};
use crate::model::{AgentEnd, AgentOutput};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/manifest/streams")
}

fn adapters() -> &'static BTreeMap<String, Adapter> {
    static ADAPTERS: OnceLock<BTreeMap<String, Adapter>> = OnceLock::new();
    let read = || built_in_adapters().into_iter().map(|adapter| (adapter.name.clone(), adapter)).collect();
    ADAPTERS.get_or_init(read)
}

/// What is made of `output` and an end with `exit`.
fn hear(agent: &str, output: &str, exit: i32, before: &SessionTotals) -> Heard {
    let mut listener = Listener::new(&adapters()[agent]).unwrap();
    output.lines().for_each(|line| listener.line(line.as_bytes()));
    listener.finish(Some(exit), None, before)
}

fn recorded(stream: &str) -> String {
    std::fs::read_to_string(folder().join(stream).with_extension("txt")).unwrap()
}

/// Stream, exit code, how it ended, and a part of the answer or of the complaint.
const RECORDED: &[(&str, i32, AgentEnd, &str)] = &[
    ("aider/auth", 0, AgentEnd::Auth, "AuthenticationError"),
    ("aider/ok", 0, AgentEnd::Ok, "MOCK-DONE"),
    ("aider/rate_limit", 0, AgentEnd::RateLimit, "rate limited"),
    ("aider/resumed", 0, AgentEnd::Ok, "MOCK-DONE"),
    ("claude/auth", 1, AgentEnd::Auth, "Invalid API key"),
    ("claude/budget", 1, AgentEnd::Budget, "Reached maximum budget ($0.5)"),
    ("claude/config", 1, AgentEnd::Config, "unknown option '--no-such-flag'"),
    ("claude/credit", 1, AgentEnd::Auth, "Credit balance is too low"),
    ("claude/keyless", 1, AgentEnd::Auth, "Not logged in"),
    ("claude/no_session", 1, AgentEnd::Failed, "No conversation found"),
    ("claude/ok", 0, AgentEnd::Ok, "MOCK-DONE"),
    ("claude/overflow", 1, AgentEnd::Overflow, "Prompt is too long"),
    ("claude/overloaded", 1, AgentEnd::RateLimit, "529 Overloaded"),
    ("claude/provider", 1, AgentEnd::Provider, "500 boom"),
    ("claude/rate_limit", 1, AgentEnd::RateLimit, "Request rejected (429)"),
    ("claude/resumed", 0, AgentEnd::Ok, "MOCK-DONE"),
    ("claude/turn_limit", 1, AgentEnd::TurnLimit, "maximum number of turns (3)"),
    ("codex/auth", 1, AgentEnd::Auth, "401 Unauthorized"),
    ("codex/config", 2, AgentEnd::Config, "unexpected argument '--no-such-flag'"),
    ("codex/credit", 1, AgentEnd::Auth, "402 Payment Required"),
    ("codex/keyless", 1, AgentEnd::Auth, "Missing environment variable"),
    ("codex/no_session", 1, AgentEnd::Failed, "no rollout found"),
    ("codex/ok", 0, AgentEnd::Ok, "MOCK-DONE"),
    ("codex/overflow", 1, AgentEnd::Overflow, "ran out of room in the model's context window"),
    ("codex/overloaded", 1, AgentEnd::Provider, "status 529"),
    ("codex/provider", 1, AgentEnd::RateLimit, "experiencing high demand"),
    ("codex/rate_limit", 1, AgentEnd::RateLimit, "429 Too Many Requests"),
    ("codex/resumed", 0, AgentEnd::Ok, "MOCK-DONE"),
    ("gemini/auth", 145, AgentEnd::Auth, "invalid x-api-key"),
    ("gemini/ok", 0, AgentEnd::Ok, "MOCK-DONE"),
    ("gemini/overflow", 144, AgentEnd::Overflow, "prompt is too long"),
    ("opencode/auth", 1, AgentEnd::Auth, "invalid x-api-key"),
    ("opencode/ok", 0, AgentEnd::Ok, "MOCK-DONE"),
    ("opencode/rate_limit", 1, AgentEnd::RateLimit, "rate limited"),
    ("opencode/resumed", 0, AgentEnd::Ok, "MOCK-DONE"),
    ("qwen/auth", 1, AgentEnd::Auth, "401 invalid x-api-key"),
    ("qwen/ok", 0, AgentEnd::Ok, "MOCK-DONE"),
    ("qwen/overflow", 1, AgentEnd::Overflow, "prompt is too long"),
    ("qwen/provider", 1, AgentEnd::Provider, "500 boom"),
    ("qwen/resumed", 0, AgentEnd::Ok, "MOCK-DONE"),
    ("copilot/auth", 1, AgentEnd::Auth, "Authentication failed with provider"),
    ("copilot/ok", 0, AgentEnd::Ok, "MOCK-DONE"),
    ("copilot/overflow", 1, AgentEnd::Overflow, "rejected the prompt as too long"),
    ("copilot/provider", 1, AgentEnd::Provider, "500 boom"),
    ("copilot/rate_limit", 1, AgentEnd::RateLimit, "429 rate limited"),
    ("copilot/resumed", 0, AgentEnd::Ok, "MOCK-DONE"),
    ("pi/auth", 0, AgentEnd::Auth, "401 invalid x-api-key"),
    ("pi/config", 1, AgentEnd::Config, "Unknown option: --no-such-flag"),
    ("pi/credit", 0, AgentEnd::Auth, "402 Your credit balance"),
    ("pi/ok", 0, AgentEnd::Ok, "MOCK-DONE"),
    ("pi/overflow", 0, AgentEnd::Overflow, "prompt is too long"),
    ("pi/overloaded", 0, AgentEnd::RateLimit, "529 Overloaded"),
    ("pi/provider", 0, AgentEnd::Provider, "500 boom"),
    ("pi/rate_limit", 0, AgentEnd::RateLimit, "429 rate limited"),
    ("pi/resumed", 0, AgentEnd::Ok, "MOCK-DONE"),
    ("pi/unknown_model", 1, AgentEnd::Config, "not found"),
];

#[test]
fn every_end_of_every_program_is_understood() {
    let mut wrong = Vec::new();
    let recorded = RECORDED.iter().map(|(stream, exit, end, says)| {
        let agent = stream.split_once('/').unwrap().0;
        ((*stream).to_owned(), agent, recorded(stream), *exit, *end, *says)
    });
    let told = TOLD.iter().map(|(agent, output, exit, end, says)| {
        (format!("{agent}: {output}"), *agent, (*output).to_owned(), *exit, *end, *says)
    });
    for (name, agent, output, exit, end, says) in recorded.chain(told) {
        let heard = hear(agent, &output, exit, &SessionTotals::default());
        let said = if end == AgentEnd::Ok { &heard.text } else { &heard.message };
        if heard.end != end || !said.as_deref().unwrap_or_default().contains(says) {
            wrong.push(format!("{name}\n  {:?}, which says {said:?}", heard.end));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_end_that_an_adapter_knows_is_shown_by_a_stream() {
    let mut shown: BTreeSet<(&str, AgentEnd)> = BTreeSet::new();
    shown.extend(RECORDED.iter().map(|(stream, _, end, _)| (stream.split_once('/').unwrap().0, *end)));
    shown.extend(TOLD.iter().map(|(agent, _, _, end, _)| (*agent, *end)));
    for (name, adapter) in adapters() {
        for rule in &adapter.outcome {
            assert!(shown.contains(&(name.as_str(), rule.is)), "{name}: {:?} is shown by nothing", rule.is);
        }
    }
}

#[test]
fn no_recorded_stream_lies_there_unread() {
    let mut there = BTreeSet::new();
    for agent in std::fs::read_dir(folder()).unwrap() {
        let agent = agent.unwrap();
        for file in std::fs::read_dir(agent.path()).unwrap() {
            let name = file.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned();
            there.insert(format!("{}/{name}", agent.file_name().to_string_lossy()));
        }
    }
    let read: BTreeSet<String> = RECORDED.iter().map(|(stream, ..)| (*stream).to_owned()).collect();
    assert_eq!(there, read);
}

#[test]
fn sessions_and_usage_are_read() {
    let check = |stream: &str, session: &str, tokens: (u64, u64), micro: Option<u64>, turns: u64| {
        let agent = stream.split_once('/').unwrap().0;
        let heard = hear(agent, &recorded(stream), 0, &SessionTotals::default());
        let usage = heard.usage;
        assert!(heard.session.as_deref().is_some_and(|id| id.starts_with(session)), "{:?}", heard.session);
        assert_eq!((usage.tokens_in, usage.tokens_out), tokens, "{stream}");
        assert_eq!((usage.micro_usd, usage.turns), (micro, turns), "{stream}");
        assert!(heard.saw_end);
    };
    check("claude/ok", "", (2000, 100), Some(7500), 2);
    check("codex/ok", "01a21", (2000, 100), None, 1);
    check("gemini/ok", "e5ac4f67-", (2000, 100), None, 1);
    check("opencode/ok", "ses_", (2000, 100), Some(12500), 2);
    check("copilot/ok", "", (0, 0), None, 1);
    check("qwen/ok", "", (2000, 100), None, 2);
    check("pi/ok", "01a21", (2000, 100), Some(12500), 2);
}

#[test]
fn what_a_run_uses_is_known_while_it_goes_on() {
    let so_far = |stream: &str, lines: usize| {
        let agent = stream.split_once('/').unwrap().0;
        let mut listener = Listener::new(&adapters()[agent]).unwrap();
        recorded(stream).lines().take(lines).for_each(|line| listener.line(line.as_bytes()));
        listener.usage(&SessionTotals::default())
    };
    let claude = so_far("claude/ok", 4);
    assert_eq!((claude.tokens_in, claude.turns), (2000, 2));
    let opencode = so_far("opencode/ok", 3);
    assert_eq!((opencode.tokens_in, opencode.micro_usd), (1000, Some(6250)));
}

#[test]
fn what_a_session_had_used_before_is_not_counted_again() {
    // codex counts the session's tokens, claude the session's dollars.
    let check = |agent: &str, tokens_in: u64, micro_usd: Option<u64>| {
        let first = hear(agent, &recorded(&format!("{agent}/ok")), 0, &SessionTotals::default());
        let second = hear(agent, &recorded(&format!("{agent}/resumed")), 0, &first.totals);
        assert_eq!(second.session, first.session, "{agent}");
        assert_eq!((second.usage.tokens_in, second.usage.micro_usd), (tokens_in, micro_usd), "{agent}");
    };
    check("claude", 2000, Some(7500));
    check("codex", 2000, None);
    check("qwen", 2000, None);
    check("pi", 2000, Some(12500));
    let first = hear("opencode", &recorded("opencode/resumed"), 0, &SessionTotals::default());
    assert_eq!(first.usage.tokens_in, 2000);
}

#[test]
fn a_limit_that_says_when_it_is_over_is_waited_for() {
    let now = jiff::Timestamp::now().as_second();
    let rejected = format!(
        r#"{{"type":"rate_limit_event","rate_limit_info":{{"status":"rejected","resetsAt":{},"rateLimitType":"five_hour"}}}}"#,
        now + 600
    );
    let result = r#"{"type":"result","subtype":"success","is_error":true,"result":"You've hit your limit"}"#;
    let heard = hear("claude", &format!("{rejected}\n{result}"), 1, &SessionTotals::default());
    let wait = heard.retry_after.unwrap();
    assert!(wait > Duration::from_secs(500) && wait <= Duration::from_secs(600), "{wait:?}");
    let heard = hear("opencode", &recorded("opencode/rate_limit"), 1, &SessionTotals::default());
    assert_eq!(heard.retry_after, Some(Duration::from_secs(1)), "the header of the answer");
    let codex =
        TOLD.iter().find(|(agent, _, _, end, _)| (*agent, *end) == ("codex", AgentEnd::RateLimit)).unwrap();
    let heard = hear("codex", codex.1, 1, &SessionTotals::default());
    assert_eq!(heard.retry_after, Some(Duration::from_secs(2 * 86400 + 3 * 3600 + 5 * 60)));
}

#[test]
fn the_built_in_adapters_are_sound_as_the_adapters_of_a_manifest_would_have_to_be() {
    let indented: Vec<String> =
        include_str!("adapters.yaml").lines().map(|line| format!("  {line}")).collect();
    let indented = indented.join("\n");
    let manifest = format!(
        "conductor: 1\nagents:\n{indented}\ntasks:\n  T: {{ run: 'true', inputs: [], outputs: [o] }}\n"
    );
    let loaded = load_files(&[("conductor.yaml", &manifest)]);
    assert_eq!(loaded.diagnostics, []);
    let names: Vec<String> = adapters().keys().cloned().collect();
    let expected = ["aider", "claude", "codex", "command", "copilot", "gemini", "opencode", "pi", "qwen"];
    assert_eq!(names, expected);
}

#[test]
fn a_program_that_names_no_session_begins_a_new_one_each_time() {
    let manifest = "conductor: 1\nagents:\n  plain: { output: text }\n  telling: { events: { final: { where: { type: done } } } }\n  filing: {}\ntasks:\n  T: { run: 'true', inputs: [], outputs: [o] }\n";
    let loaded = load_files(&[("conductor.yaml", manifest)]);
    assert_eq!(loaded.diagnostics, []);
    let goes_on: Vec<_> = loaded
        .manifest
        .unwrap()
        .settings
        .agents
        .iter()
        .map(|adapter| (adapter.name.clone(), !adapter.resume.is_empty()))
        .collect();
    // A result file may name one.
    let expected = [("filing", true), ("plain", false), ("telling", false)];
    assert_eq!(goes_on, expected.map(|(name, goes_on)| (name.to_owned(), goes_on)));
}

#[test]
fn an_adapter_says_what_a_person_and_a_build_need_of_it() {
    for (name, adapter) in adapters() {
        let key = |text: &str| text.contains("MOCK") || text.contains("mock-1") || text.contains("base_url");
        assert!(
            !adapter.env.iter().chain(&adapter.files).any(|(_, value)| key(value)),
            "{name}: a test's value"
        );
        assert_eq!(adapter.require, None, "{name}: any version goes unless a manifest pins one");
        assert_eq!(adapter.model, None, "{name}: the program's own choice");
        let last = adapter.outcome.iter().filter(|rule| rule.is == AgentEnd::Ok).count();
        assert_eq!(last, 1, "{name}: one way to succeed");
        if name == "command" {
            continue;
        }
        assert!(
            adapter.help.is_some() && !adapter.version.is_empty() && !adapter.protect.is_empty(),
            "{name}"
        );
        assert!(!adapter.secrets.is_empty() && !adapter.login.is_empty(), "{name}");
        assert!(!adapter.resume.is_empty(), "{name}: a session can go on");
        if adapter.output == AgentOutput::JsonLines {
            assert!(!adapter.events.end.is_empty() && !adapter.events.text.is_empty(), "{name}");
        }
        for proxy in ["HTTPS_PROXY", "https_proxy", "NO_PROXY"] {
            assert!(adapter.pass_env.iter().any(|passed| passed == proxy), "{name}: {proxy}");
        }
    }
}

#[test]
fn command_lines_are_those_that_were_measured() {
    let values = Values {
        bin: "agent".to_owned(),
        model: "big".to_owned(),
        uuid: "u-1".to_owned(),
        session: "s-1".to_owned(),
        prompt: "do it".to_owned(),
        max_turns: "9".to_owned(),
        budget_usd: "1.50".to_owned(),
        state: "/state".to_owned(),
        ..Values::default()
    };
    let line = |agent: &str, resume| command_line(&adapters()[agent], &values, resume).join(" ");
    let check = |agent: &str, begins: &str, goes_on: &str| {
        assert!(line(agent, false).contains(begins), "{}", line(agent, false));
        assert!(line(agent, true).contains(goes_on), "{}", line(agent, true));
    };
    check("claude", "--model big --max-turns 9 --max-budget-usd 1.50 --session-id u-1", "--resume s-1");
    check("codex", "agent exec --json", "agent exec resume s-1 --json");
    check("gemini", "-m big --session-id u-1", "--resume s-1");
    check("opencode", "--model big do it", "--session s-1 do it");
    check("pi", "--model big do it", "--session s-1 do it");
    check("copilot", "--session-id u-1 -p do it", "--resume=s-1 -p do it");
    check("qwen", "--max-session-turns 9 --session-id u-1", "--resume s-1");
    check("aider", "/state/u-1.md --message do it", "/state/s-1.md --restore-chat-history --message do it");
    assert_eq!((line("command", false), line("command", true)), ("agent".to_owned(), "agent".to_owned()));
}
