//! A model's server on this machine, for programs that are real: it speaks `OpenAI`'s Responses, Anthropic's Messages and
//! Gemini's `generateContent`, and does what the prompt says: `MOCK_FILE=out MOCK_TEXT=good`, the last of them.
//!
//! It decides from each request alone: where the last thing said is a tool's result the answer ends the turn, elsewhere
//! it calls the tool that writes the file.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use regex::Regex;
use serde_json::{Value, json};

/// What each answer says that it used.
pub(super) const USED: (u64, u64) = (1000, 50);

/// How it answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mode {
    /// As a model.
    Work,
    /// 401
    Unauthorized,
    /// 429
    Limited,
    /// 400: the prompt is too long.
    Overflow,
    /// Not at all.
    Hang,
    /// As a model until a tool's result comes, then not at all.
    HangAfterTool,
}

/// What it was asked.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) body: Value,
    /// The last thing said in it is a tool's result.
    pub(super) has_result: bool,
}

struct Shared {
    mode: Mutex<Mode>,
    requests: Mutex<Vec<Request>>,
}

/// Answers until the test's process ends.
pub(super) struct ModelServer {
    pub(super) port: u16,
    shared: Arc<Shared>,
}

impl ModelServer {
    pub(super) fn start(mode: Mode) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared { mode: Mutex::new(mode), requests: Mutex::default() });
        let all = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&all);
                // Who hangs up in the middle of an answer is the program's business.
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Self { port, shared }
    }

    /// Answers in another way from now on.
    pub(super) fn set(&self, mode: Mode) {
        *self.shared.mode.lock().unwrap() = mode;
    }

    /// All requests to a model so far.
    pub(super) fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }
}

fn serve(stream: TcpStream, shared: &Shared) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let (method, path, body) = read_request(&mut reader)?;
    let mut answer = Answer(stream);
    let Some(kind) = Kind::of(&path).filter(|_| method == "POST") else {
        if path.ends_with("/models") {
            let models = json!([{"id": "mock-1", "object": "model"}]);
            return answer.json(200, &json!({"object": "list", "data": models, "models": []}));
        }
        if path.contains("ountTokens") || path.ends_with("count_tokens") {
            return answer.json(200, &json!({"input_tokens": 100, "totalTokens": 100}));
        }
        return answer.json(404, &json!({"error": {"message": "not found"}}));
    };
    shared.requests.lock().unwrap().push(Request { body: body.clone(), has_result: kind.has_result(&body) });
    let mode = *shared.mode.lock().unwrap();
    match mode {
        Mode::Work => answer.work(kind, &path, &body),
        Mode::HangAfterTool if !kind.has_result(&body) => answer.work(kind, &path, &body),
        Mode::Unauthorized => answer.refuse(kind, 401, "authentication_error", "invalid x-api-key"),
        Mode::Limited => answer.refuse(kind, 429, "rate_limit_error", "rate limited"),
        Mode::Overflow => {
            let message = "prompt is too long: 250000 tokens > 200000 maximum";
            answer.refuse(kind, 400, "invalid_request_error", message)
        }
        Mode::Hang | Mode::HangAfterTool => {
            std::thread::sleep(Duration::from_secs(3600));
            None
        }
    }
}

/// Method, path without its query, and body.
fn read_request(reader: &mut BufReader<TcpStream>) -> Option<(String, String, Value)> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.split('?').next()?.to_owned());
    let (mut length, mut chunked, mut coding) = (0, false, String::new());
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().ok()?,
            "transfer-encoding" => chunked = value.eq_ignore_ascii_case("chunked"),
            "content-encoding" => value.clone_into(&mut coding),
            _ => {}
        }
    }
    let mut bytes = Vec::new();
    if chunked {
        loop {
            let mut size = String::new();
            reader.read_line(&mut size).ok()?;
            let size = usize::from_str_radix(size.trim().split(';').next()?, 16).ok()?;
            let mut chunk = vec![0; size + 2];
            reader.read_exact(&mut chunk).ok()?;
            if size == 0 {
                break;
            }
            bytes.extend_from_slice(&chunk[..size]);
        }
    } else {
        bytes.resize(length, 0);
        reader.read_exact(&mut bytes).ok()?;
    }
    if coding == "zstd" {
        bytes = zstd::decode_all(&*bytes).ok()?;
    }
    Some((method, path, serde_json::from_slice(&bytes).unwrap_or_default()))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Responses,
    Messages,
    Gemini,
}

impl Kind {
    fn of(path: &str) -> Option<Self> {
        match path {
            _ if path.ends_with("/responses") => Some(Self::Responses),
            _ if path.ends_with("/messages") => Some(Self::Messages),
            _ if path.contains("enerateContent") => Some(Self::Gemini),
            _ => None,
        }
    }

    /// Is the last thing said the result of a tool?
    fn has_result(self, body: &Value) -> bool {
        let last = |list: &str| body[list].as_array().and_then(|all| all.last().cloned()).unwrap_or_default();
        match self {
            Self::Responses => last("input")["type"].as_str().is_some_and(|kind| kind.ends_with("_output")),
            Self::Messages => {
                let content = last("messages")["content"].clone();
                content.as_array().is_some_and(|parts| parts.iter().any(|part| part["type"] == "tool_result"))
            }
            Self::Gemini => {
                let parts = last("contents")["parts"].clone();
                parts
                    .as_array()
                    .is_some_and(|parts| parts.iter().any(|part| part["functionResponse"].is_object()))
            }
        }
    }

    fn tools(self, body: &Value) -> Vec<String> {
        let all = body["tools"].as_array().cloned().unwrap_or_default();
        let named = |tool: &Value| tool["name"].as_str().or(tool["type"].as_str()).map(str::to_owned);
        match self {
            Self::Gemini => all
                .iter()
                .flat_map(|tool| tool["functionDeclarations"].as_array().cloned().unwrap_or_default())
                .filter_map(|tool| named(&tool))
                .collect(),
            Self::Responses | Self::Messages => all.iter().filter_map(named).collect(),
        }
    }
}

/// The tool to be called, out of those that there are, and its arguments.
fn call(kind: Kind, body: &Value) -> Option<(String, Value)> {
    let (tools, text) = (kind.tools(body), body.to_string());
    let last = |pattern: &str| {
        let regex = Regex::new(pattern).unwrap();
        regex.captures_iter(&text).last().map(|found| found[1].to_owned())
    };
    let file = last(r#"MOCK_FILE=([^\s"\\]+)"#)?;
    let word = last(r#"MOCK_TEXT=([^\s"\\]+)"#)?;
    let shell = format!("printf %s {word} > {file}");
    let known = [
        ("Write", json!({"file_path": file, "content": word})),
        ("write_file", json!({"file_path": file, "content": word})),
        ("exec_command", json!({"cmd": shell})),
        ("shell_command", json!({"command": shell})),
        ("shell", json!({"command": ["bash", "-lc", shell]})),
        ("Bash", json!({"command": shell, "description": "w"})),
        ("run_shell_command", json!({"command": shell})),
    ];
    let (name, arguments) = known.into_iter().find(|(name, _)| tools.iter().any(|tool| tool == name))?;
    Some((name.to_owned(), arguments))
}

struct Answer(TcpStream);

impl Answer {
    fn send(&mut self, status: u16, kind: &str, more: &str, body: &str) -> Option<()> {
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\n{more}content-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        self.0.write_all(head.as_bytes()).ok()?;
        self.0.write_all(body.as_bytes()).ok()
    }

    fn json(&mut self, status: u16, body: &Value) -> Option<()> {
        self.send(status, "application/json", "", &body.to_string())
    }

    fn events(&mut self, events: &[Value]) -> Option<()> {
        let one = |event: &Value| match event["type"].as_str() {
            Some(kind) => format!("event: {kind}\ndata: {event}\n\n"),
            None => format!("data: {event}\n\n"),
        };
        self.send(200, "text/event-stream", "", &events.iter().map(one).collect::<String>())
    }

    fn refuse(&mut self, kind: Kind, status: u16, name: &str, message: &str) -> Option<()> {
        let body = match kind {
            Kind::Messages => json!({"type": "error", "error": {"type": name, "message": message}}),
            Kind::Gemini => {
                let word = match status {
                    401 => "UNAUTHENTICATED",
                    429 => "RESOURCE_EXHAUSTED",
                    _ => "INVALID_ARGUMENT",
                };
                json!({"error": {"code": status, "message": message, "status": word}})
            }
            Kind::Responses => {
                let code = match status {
                    401 => "invalid_api_key",
                    429 => "rate_limit_exceeded",
                    _ => "context_length_exceeded",
                };
                json!({"error": {"type": name, "code": code, "message": message}})
            }
        };
        let wait = if status == 429 { "retry-after: 1\r\n" } else { "" };
        self.send(status, "application/json", wait, &body.to_string())
    }

    fn work(&mut self, kind: Kind, path: &str, body: &Value) -> Option<()> {
        let call = if kind.has_result(body) { None } else { call(kind, body) };
        match kind {
            Kind::Responses => self.responses(body, call),
            Kind::Messages => self.messages(body, call),
            Kind::Gemini => {
                let part = match call {
                    Some((name, arguments)) => json!({"functionCall": {"name": name, "args": arguments}}),
                    None if body.to_string().contains("JsonSchema") => json!({"text": "{}"}),
                    None => json!({"text": "MOCK-DONE"}),
                };
                let answer = json!({
                    "candidates": [{"content": {"role": "model", "parts": [part]}, "finishReason": "STOP", "index": 0}],
                    "usageMetadata": {"promptTokenCount": USED.0, "candidatesTokenCount": USED.1, "totalTokenCount": USED.0 + USED.1},
                    "modelVersion": "mock", "responseId": "r1",
                });
                if path.contains("stream") { self.events(&[answer]) } else { self.json(200, &answer) }
            }
        }
    }

    fn responses(&mut self, body: &Value, call: Option<(String, Value)>) -> Option<()> {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let item = match call {
            Some((name, arguments)) => json!({
                "type": "function_call", "id": format!("fc_{id}"), "call_id": format!("call_{id}"), "name": name,
                "arguments": arguments.to_string(), "status": "completed",
            }),
            None => json!({
                "type": "message", "id": format!("msg_{id}"), "role": "assistant", "status": "completed",
                "content": [{"type": "output_text", "text": "MOCK-DONE", "annotations": []}],
            }),
        };
        let response = json!({
            "id": format!("resp_{id}"), "object": "response", "created_at": 1, "model": body["model"], "status": "completed", "output": [item],
            "usage": {
                "input_tokens": USED.0, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": USED.1,
                "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": USED.0 + USED.1,
            },
        });
        if body["stream"] != true {
            return self.json(200, &response);
        }
        let mut begun = response.clone();
        begun["status"] = "in_progress".into();
        begun["output"] = json!([]);
        begun["usage"] = Value::Null;
        self.events(&[
            json!({"type": "response.created", "response": begun}),
            json!({"type": "response.output_item.added", "output_index": 0, "item": item}),
            json!({"type": "response.output_item.done", "output_index": 0, "item": item}),
            json!({"type": "response.completed", "response": response}),
        ])
    }

    fn messages(&mut self, body: &Value, call: Option<(String, Value)>) -> Option<()> {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let stop = if call.is_some() { "tool_use" } else { "end_turn" };
        let (block, start, delta) = match call {
            Some((name, arguments)) => {
                let block = json!({"type": "tool_use", "id": format!("toolu_{id}"), "name": name, "input": arguments});
                let mut start = block.clone();
                start["input"] = json!({});
                let delta = json!({"type": "input_json_delta", "partial_json": arguments.to_string()});
                (block, start, delta)
            }
            None => (
                json!({"type": "text", "text": "MOCK-DONE"}),
                json!({"type": "text", "text": ""}),
                json!({"type": "text_delta", "text": "MOCK-DONE"}),
            ),
        };
        let usage = |written: u64| json!({"input_tokens": USED.0, "output_tokens": written, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0});
        let message = |content: Value, stop: Value, usage: Value| {
            json!({"id": format!("msg_{id}"), "type": "message", "role": "assistant", "model": body["model"],
                "content": content, "stop_reason": stop, "stop_sequence": null, "usage": usage})
        };
        if body["stream"] != true {
            return self.json(200, &message(json!([block]), stop.into(), usage(USED.1)));
        }
        self.events(&[
            json!({"type": "message_start", "message": message(json!([]), Value::Null, usage(1))}),
            json!({"type": "content_block_start", "index": 0, "content_block": start}),
            json!({"type": "content_block_delta", "index": 0, "delta": delta}),
            json!({"type": "content_block_stop", "index": 0}),
            json!({"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": null}, "usage": {"output_tokens": USED.1}}),
            json!({"type": "message_stop"}),
        ])
    }
}
