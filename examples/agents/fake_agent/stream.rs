//! What each program prints: the events as they stand in its stream, and the exit code that goes with its ends.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use serde_json::{Value, json};

use crate::call::{Call, Cli};
use crate::script::{End, Usage};
use crate::session::Session;

/// How it ends.
pub(crate) struct Ending<'a> {
    pub(crate) end: End,
    pub(crate) usage: Usage,
    pub(crate) message: Option<&'a str>,
}

impl Ending<'_> {
    /// The HTTP status that stands behind such an end, and what the provider says.
    fn status(&self) -> (u16, String) {
        let (status, words) = match self.end {
            End::Auth => (401, "invalid api key"),
            End::RateLimit => (429, "rate limit exceeded"),
            End::Provider => (500, "internal error"),
            End::Overflow => (400, "prompt is too long: 250000 tokens exceed the context window"),
            _ => (0, "it did not work"),
        };
        (status, self.message.unwrap_or(words).to_owned())
    }
}

fn say(events: &[Value]) -> io::Result<()> {
    let mut out = io::stdout();
    out.write_all(lines(events).as_bytes())?;
    out.flush()
}

fn lines(events: &[Value]) -> String {
    let mut text = String::new();
    for event in events {
        match event {
            // A program without events.
            Value::String(line) => {
                text.push_str(line);
                text.push('\n');
            }
            event => {
                let _ = writeln!(text, "{event}");
            }
        }
    }
    text
}

/// The session to go on with is not there.
pub(crate) fn no_session(call: &Call) -> io::Result<()> {
    writeln!(
        io::stderr(),
        "No conversation found with session ID: {}",
        call.resume.as_deref().unwrap_or_default()
    )
}

/// The first events.
pub(crate) fn begin(call: &Call, session: &Session) -> io::Result<()> {
    let id = &session.id;
    match call.cli {
        Cli::Claude | Cli::Qwen => say(&[json!({"type": "system", "subtype": "init", "session_id": id})]),
        Cli::Codex => {
            say(&[json!({"type": "thread.started", "thread_id": id}), json!({"type": "turn.started"})])
        }
        Cli::Gemini => say(&[json!({"type": "init", "session_id": id, "model": "fake"})]),
        Cli::Opencode => {
            say(&[json!({"type": "step_start", "sessionID": id, "part": {"type": "step-start"}})])
        }
        Cli::Pi => say(&[json!({"type": "session", "version": 3, "id": id}), json!({"type": "agent_start"})]),
        Cli::Copilot => say(&[json!({"type": "assistant.turn_start", "data": {"turnId": "0"}})]),
        Cli::Aider => say(&["Aider v0.86.2".into(), "Git repo: .git".into()]),
        Cli::Command => Ok(()),
    }
}

/// Something that it says on the way.
pub(crate) fn text(call: &Call, session: &Session, text: &str) -> io::Result<()> {
    let id = &session.id;
    let event = match call.cli {
        Cli::Claude | Cli::Qwen => json!({
            "type": "assistant", "session_id": id,
            "message": {"role": "assistant", "content": [{"type": "text", "text": text}]},
        }),
        Cli::Codex => {
            json!({"type": "item.completed", "item": {"id": "item_0", "type": "agent_message", "text": text}})
        }
        Cli::Gemini => json!({"type": "message", "role": "assistant", "content": text, "delta": true}),
        Cli::Opencode => json!({"type": "text", "sessionID": id, "part": {"type": "text", "text": text}}),
        Cli::Pi => {
            json!({"type": "message_update", "message": {"role": "assistant", "content": [{"type": "text", "text": text}]}})
        }
        Cli::Copilot => json!({"type": "assistant.message", "data": {"content": text}}),
        Cli::Aider | Cli::Command => text.into(),
    };
    say(&[event])
}

/// What a part of the work has used.
pub(crate) fn spend(call: &Call, session: &Session, usage: Usage) -> io::Result<()> {
    let id = &session.id;
    let Usage { input, output, usd, .. } = usage;
    let event = match call.cli {
        Cli::Claude => json!({
            "type": "assistant", "session_id": id,
            "message": {
                "id": format!("msg_{}", session.totals.input), "role": "assistant", "content": [],
                "usage": {"input_tokens": input, "output_tokens": output},
            },
        }),
        Cli::Opencode => opencode_step(id, "tool-calls", usage),
        Cli::Pi => pi_message("", "toolUse", usage, None),
        Cli::Aider => {
            format!("Tokens: {input} sent, {output} received. Cost: ${usd} message, ${usd} session.").into()
        }
        // The others tell of it at the end alone.
        Cli::Codex | Cli::Gemini | Cli::Copilot | Cli::Qwen | Cli::Command => return Ok(()),
    };
    say(&[event])
}

fn opencode_step(id: &str, reason: &str, usage: Usage) -> Value {
    json!({
        "type": "step_finish", "sessionID": id,
        "part": {"type": "step-finish", "reason": reason, "cost": usage.usd, "tokens": {"input": usage.input, "output": usage.output}},
    })
}

fn pi_message(text: &str, stop: &str, usage: Usage, error: Option<&str>) -> Value {
    json!({"type": "message_end", "message": {
        "role": "assistant",
        "content": [{"type": "text", "text": text}],
        "usage": {"input": usage.input, "output": usage.output, "cost": {"total": usage.usd}},
        "stopReason": stop,
        "errorMessage": error,
    }})
}

/// A tool was refused to it.
pub(crate) fn denied(call: &Call, session: &Session, tool: &str) -> io::Result<()> {
    match call.cli {
        Cli::Claude => say(&[json!({
            "type": "system", "subtype": "permission_denied", "tool_name": tool, "session_id": session.id,
        })]),
        _ => text(call, session, &format!("I was not allowed to use {tool}.")),
    }
}

/// What it prints at the end, with all that comes before it printed already.
pub(crate) fn last_words(call: &Call, session: &Session, ending: &Ending<'_>) -> String {
    lines(&last(call, session, ending).0)
}

/// Prints the end, and gives the exit code that goes with it.
pub(crate) fn end(call: &Call, session: &Session, ending: &Ending<'_>) -> io::Result<u8> {
    if ending.end == End::Silent {
        return Ok(0);
    }
    if call.cli == Cli::Command {
        return leave_result(session, ending);
    }
    let (events, code) = last(call, session, ending);
    say(&events)?;
    Ok(code)
}

const DONE: &str = "It is done.";

fn last(call: &Call, session: &Session, ending: &Ending<'_>) -> (Vec<Value>, u8) {
    match call.cli {
        Cli::Claude => claude(session, ending),
        Cli::Codex => codex(session, ending),
        Cli::Gemini => gemini(ending),
        Cli::Opencode => opencode(session, ending),
        Cli::Pi => pi(ending),
        Cli::Copilot => copilot(session, ending),
        Cli::Qwen => qwen(session, ending),
        Cli::Aider => aider(ending),
        Cli::Command => (vec![DONE.into()], 0),
    }
}

/// Its cost is that of the session, its tokens are those of the run.
fn claude(session: &Session, ending: &Ending<'_>) -> (Vec<Value>, u8) {
    let (status, message) = ending.status();
    let subtype = match ending.end {
        End::TurnLimit => "error_max_turns",
        End::Budget => "error_max_budget_usd",
        End::Failed => "error_during_execution",
        _ => "success",
    };
    let ok = ending.end == End::Ok;
    let mut event = json!({
        "type": "result",
        "subtype": subtype,
        "is_error": !ok,
        "result": if ok { DONE } else { message.as_str() },
        "session_id": session.id,
        "num_turns": ending.usage.turns,
        "total_cost_usd": session.totals.usd,
        "usage": {"input_tokens": ending.usage.input, "output_tokens": ending.usage.output},
    });
    match ending.end {
        End::Auth | End::RateLimit | End::Provider => event["api_error_status"] = status.into(),
        End::Overflow => event["terminal_reason"] = "prompt_too_long".into(),
        End::Config => return (vec!["error: unknown option '--nope'".into()], 1),
        _ => {}
    }
    (vec![event], u8::from(!ok))
}

/// Its tokens are those of the session.
fn codex(session: &Session, ending: &Ending<'_>) -> (Vec<Value>, u8) {
    let (status, message) = ending.status();
    let failed = |message: String| {
        let error = json!({"type": "error", "message": message});
        (vec![error, json!({"type": "turn.failed", "error": {"message": message}})], 1)
    };
    match ending.end {
        End::Ok | End::Silent => {
            let usage = json!({"input_tokens": session.totals.input, "cached_input_tokens": 0, "output_tokens": session.totals.output});
            let said = json!({"type": "item.completed", "item": {"id": "item_9", "type": "agent_message", "text": DONE}});
            (vec![said, json!({"type": "turn.completed", "usage": usage})], 0)
        }
        End::Config => (vec!["error: unexpected argument '--nope' found".into()], 2),
        End::Auth | End::RateLimit | End::Provider => {
            failed(format!("unexpected status {status}: {message}"))
        }
        _ => failed(message),
    }
}

/// It exits with the HTTP status, of which eight bits are left.
fn gemini(ending: &Ending<'_>) -> (Vec<Value>, u8) {
    let (status, message) = ending.status();
    let usage = ending.usage;
    let error = |message: String| json!({"type": "result", "status": "error", "error": {"type": "ApiError", "message": message}});
    match ending.end {
        End::Ok | End::Silent => {
            let stats = json!({"input_tokens": usage.input, "output_tokens": usage.output, "total_tokens": usage.input + usage.output});
            let said = json!({"type": "message", "role": "assistant", "content": DONE, "delta": true});
            (vec![said, json!({"type": "result", "status": "success", "stats": stats})], 0)
        }
        End::TurnLimit => (vec![error("Reached max session turns".to_owned())], 53),
        End::Config | End::Budget => (vec!["Invalid configuration".into()], 52),
        End::Failed => (vec![error(message)], 1),
        End::Auth | End::RateLimit | End::Provider | End::Overflow => {
            let said = json!({"error": {"code": status, "message": message}}).to_string();
            (vec![error(said)], u8::try_from(status % 256).unwrap_or(1))
        }
    }
}

fn opencode(session: &Session, ending: &Ending<'_>) -> (Vec<Value>, u8) {
    let (status, message) = ending.status();
    let id = &session.id;
    let error = |name: &str, data: Value| {
        (vec![json!({"type": "error", "sessionID": id, "error": {"name": name, "data": data}})], 1)
    };
    match ending.end {
        End::Ok | End::Silent => {
            let said = json!({"type": "text", "sessionID": id, "part": {"type": "text", "text": DONE}});
            (vec![said, opencode_step(id, "stop", ending.usage)], 0)
        }
        End::Overflow => error("ContextOverflowError", json!({"message": message})),
        End::Config => error("ProviderModelNotFoundError", json!({"providerID": "fake", "modelID": "none"})),
        End::Auth | End::RateLimit | End::Provider => {
            error("APIError", json!({"message": message, "statusCode": status}))
        }
        _ => error("UnknownError", json!({"message": message})),
    }
}

/// It exits with 0 whatever the provider says.
fn pi(ending: &Ending<'_>) -> (Vec<Value>, u8) {
    let (status, message) = ending.status();
    let last = match ending.end {
        End::Ok | End::Silent => pi_message(DONE, "stop", ending.usage, None),
        End::Auth | End::RateLimit | End::Provider | End::Overflow => {
            pi_message("", "error", ending.usage, Some(&format!("{status} {message}")))
        }
        _ => pi_message("", "error", ending.usage, Some(&message)),
    };
    (vec![last, json!({"type": "agent_end", "messages": []})], 0)
}

fn copilot(session: &Session, ending: &Ending<'_>) -> (Vec<Value>, u8) {
    let (status, message) = ending.status();
    let ok = matches!(ending.end, End::Ok | End::Silent);
    let first = if ok {
        json!({"type": "assistant.message", "data": {"content": DONE}})
    } else {
        json!({"type": "session.error", "data": {"statusCode": status, "message": message}})
    };
    let turn = json!({"type": "assistant.turn_end", "data": {"turnId": "0"}});
    let result = json!({"type": "result", "sessionId": session.id, "exitCode": u8::from(!ok)});
    (vec![first, turn, result], u8::from(!ok))
}

/// Its tokens are those of the session.
fn qwen(session: &Session, ending: &Ending<'_>) -> (Vec<Value>, u8) {
    let (status, message) = ending.status();
    let mut event = json!({
        "type": "result", "subtype": "success", "is_error": false, "result": DONE, "session_id": session.id,
        "num_turns": ending.usage.turns,
        "usage": {"input_tokens": session.totals.input, "output_tokens": session.totals.output},
    });
    let said = match ending.end {
        End::Ok | End::Silent => return (vec![event], 0),
        End::TurnLimit => return (Vec::new(), 53),
        End::Budget => return (Vec::new(), 55),
        End::Auth | End::RateLimit | End::Provider => format!("[API Error: {status} {message}]"),
        End::Overflow | End::Failed | End::Config => message,
    };
    event["subtype"] = "error_during_execution".into();
    event["is_error"] = true.into();
    event["error"] = json!({"message": said});
    (vec![event], 1)
}

/// It has no events, and exits with 0 whatever the provider says.
fn aider(ending: &Ending<'_>) -> (Vec<Value>, u8) {
    let (_, message) = ending.status();
    let Usage { input, output, usd, .. } = ending.usage;
    let used = format!("Tokens: {input} sent, {output} received. Cost: ${usd} message, ${usd} session.");
    let error = match ending.end {
        End::Ok | End::Silent => return (vec![DONE.into(), used.into()], 0),
        End::Config => return (vec!["aider: error: unrecognized arguments: --nope".into()], 2),
        End::Auth => "litellm.AuthenticationError: AuthenticationError",
        End::RateLimit => "litellm.RateLimitError: RateLimitError",
        End::Provider => "litellm.InternalServerError: InternalServerError",
        End::Overflow => "litellm.ContextWindowExceededError: ContextWindowExceeded",
        End::Failed | End::Budget | End::TurnLimit => "litellm.BadRequestError: BadRequestError",
    };
    (vec![format!("{error}: {message}").into()], 0)
}

/// An agent of the `command` adapter writes what it has to say into a file.
fn leave_result(session: &Session, ending: &Ending<'_>) -> io::Result<u8> {
    let Some(path) = std::env::var_os("CONDUCTOR_RESULT_FILE") else { return Ok(0) };
    let ok = ending.end == End::Ok;
    let mut result = json!({
        "session": session.id,
        "tokens_in": ending.usage.input,
        "tokens_out": ending.usage.output,
        "cost_usd": ending.usage.usd,
        "turns": ending.usage.turns,
    });
    if ok {
        result["text"] = DONE.into();
    } else {
        result["outcome"] = outcome(ending.end).into();
        result["message"] = ending.status().1.into();
    }
    std::fs::write(path, result.to_string())?;
    Ok(u8::from(!ok))
}

fn outcome(end: End) -> &'static str {
    match end {
        End::Ok | End::Silent => "ok",
        End::Failed => "failed",
        End::Auth => "auth",
        End::RateLimit => "rate_limit",
        End::Provider => "provider",
        End::Overflow => "overflow",
        End::Budget => "budget",
        End::TurnLimit => "turn_limit",
        End::Config => "config",
    }
}
