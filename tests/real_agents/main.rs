//! Agents that are real, against a model's server on this machine: codex, which the tests install from npm into the target
//! folder, and claude and gemini where they are installed. What cannot run here says so.
#![expect(clippy::unwrap_used, reason = "a test ends where its world does not stand")]

#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "these tests want less of it than others")]
mod support;

mod model_server;

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use rustix::fs::FlockOperation;

use model_server::{Mode, ModelServer, USED};
use serde_json::Value;
use support::{World, wait_until};

const CODEX: &str = "0.169.0";

/// A program that is real.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Cli {
    Codex,
    Claude,
    Gemini,
}

impl Cli {
    fn name(self) -> &'static str {
        match self {
            Self::Codex => "codex",
            Self::Claude => "claude",
            Self::Gemini => "gemini",
        }
    }

    /// Where it is; none, said loudly, where it cannot be had.
    fn program(self) -> Option<PathBuf> {
        let found = match self {
            Self::Codex => installed_codex(),
            Self::Claude | Self::Gemini => {
                on_path(self.name()).ok_or_else(|| "it is not installed".to_owned())
            }
        };
        found.map_err(|why| skip(self.name(), &why)).ok()
    }

    /// What is laid over the built-in adapter so that it asks the server.
    fn adapter(self, program: &Path, port: u16) -> String {
        let bin = program.display();
        match self {
            Self::Codex => format!(
                r#"{{ bin: "{bin}", login: [], model: mock-1, argv: ["{{bin}}", exec, -c, model_provider=p, -c,
      'model_providers.p={{{{name="p",base_url="http://127.0.0.1:{port}/v1",env_key="CODEX_API_KEY",wire_api="responses",request_max_retries=1,stream_max_retries=1}}}}'] }}"#
            ),
            Self::Claude => format!(r#"{{ bin: "{bin}", login: [] }}"#),
            Self::Gemini => format!(
                // Without a model of a name it asks another one first which it is to be, five times where that is refused.
                r#"{{ bin: "{bin}", login: [], model: gemini-3.1-pro-preview, files: {{ .gemini/settings.json: '{{{{"security":{{{{"auth":{{{{"selectedType":"gemini-api-key"}}}}}}}}}}}}' }} }}"#
            ),
        }
    }
}

/// Said past the test harness, which keeps back what tests print that pass.
fn skip(name: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: the tests with the real {name} do not run: {why}");
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|program| program.is_file())
}

/// codex in the target folder, installed by whoever comes first.
fn installed_codex() -> Result<PathBuf, String> {
    static INSTALLED: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    INSTALLED.get_or_init(install_codex).clone()
}

fn install_codex() -> Result<PathBuf, String> {
    for program in ["node", "npm"] {
        on_path(program).ok_or_else(|| format!("there is no `{program}` to install it with"))?;
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("agents");
    fs::create_dir_all(&folder).unwrap();
    let lock = File::create(folder.join("lock")).unwrap();
    rustix::fs::flock(&lock, FlockOperation::LockExclusive).unwrap();
    let place = folder.join(format!("codex-{CODEX}"));
    let program = place.join("node_modules/.bin/codex");
    if !program.exists() {
        // What was installed by half is never found at the place.
        let half = folder.join("unfinished");
        let _ = fs::remove_dir_all(&half);
        fs::create_dir(&half).unwrap();
        let output = Command::new("npm")
            .args(["install", "--no-audit", "--no-fund", "--loglevel=error", "--prefix"])
            .arg(&half)
            .arg(format!("@openai/codex@{CODEX}"))
            .current_dir(&half)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        if !output.status.success() {
            return Err(format!("npm could not install it: {}", String::from_utf8_lossy(&output.stderr)));
        }
        let _ = fs::remove_dir_all(&place);
        fs::rename(&half, &place).unwrap();
    }
    let output = Command::new(&program).arg("--version").output().unwrap();
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    // npm takes an older one in silence where node is too old.
    assert_eq!(version, format!("codex-cli {CODEX}"));
    Ok(program)
}

/// A task that the model does as the server says, and whose check wants `good` and says how to get there.
fn world(cli: Cli, program: &Path, server: &ModelServer, text: &str, keys: &str) -> World {
    let name = cli.name();
    let mut w = World::new(&format!(
        "agents:\n  {name}: {}\ntasks:\n  T1:\n    agent: {name}\n    inputs: []\n    outputs: [out]\n    \
         instructions: Write it. MOCK_FILE=out MOCK_TEXT={text}\n    \
         validate: [{{ run: sh check.sh, inputs: [check.sh] }}]\n    {keys}\n",
        cli.adapter(program, server.port)
    ));
    let home = w.root().with_file_name("home");
    fs::create_dir(&home).unwrap();
    w.set_env("HOME", home.to_str().unwrap());
    for (name, value) in [
        ("CODEX_API_KEY", "a-key-of-nobody"),
        ("ANTHROPIC_API_KEY", "a-key-of-nobody"),
        ("GEMINI_API_KEY", "a-key-of-nobody"),
    ] {
        w.set_env(name, value);
    }
    let address = format!("http://127.0.0.1:{}", server.port);
    w.set_env("ANTHROPIC_BASE_URL", &address);
    w.set_env("GOOGLE_GEMINI_BASE_URL", &address);
    w.file(
        "check.sh",
        "grep -q good out && exit 0\necho 'that is not it: MOCK_FILE=out MOCK_TEXT=good'\nexit 1\n",
    );
    w.git(&["init", "-q"]).git(&["add", "-A"]).git(&["commit", "-q", "-m", "first"]);
    w
}

fn stage(cli: Cli, mode: Mode, text: &str, keys: &str) -> Option<(World, ModelServer)> {
    let program = cli.program()?;
    let server = ModelServer::start(mode);
    Some((world(cli, &program, &server, text, keys), server))
}

/// What the last build says of its agent: one object a run of the program.
#[track_caller]
fn runs(w: &World) -> Vec<Value> {
    w.json("log", &["T1"]).success().json()["agent"].as_array().cloned().unwrap_or_default()
}

/// How the runs ended.
#[track_caller]
fn ends(w: &World) -> Vec<String> {
    runs(w).iter().map(|run| run["end"].as_str().unwrap().to_owned()).collect()
}

/// Processes that bear the workspace in their environment.
fn processes_of(w: &World) -> Vec<String> {
    let root = w.root().to_str().unwrap().to_owned();
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names
        .filter(|name| name.parse::<u32>().is_ok_and(|id| id != std::process::id()))
        .filter(|name| {
            let environment = fs::read(format!("/proc/{name}/environ")).unwrap_or_default();
            environment.windows(root.len()).any(|part| part == root.as_bytes())
        })
        .collect()
}

/// Every answer of the server is counted, and once.
#[track_caller]
fn is_counted(cli: Cli, server: &ModelServer, runs: &[Value]) {
    let used = |run: &Value, what: &str| run["usage"][what].as_u64().unwrap();
    if cli == Cli::Gemini {
        // It asks its model for more than the work alone.
        let answers = server.requests().len() as u64;
        let all: u64 = runs.iter().map(|run| used(run, "tokens_in")).sum();
        assert_eq!(all, answers * USED.0);
        return;
    }
    // Two answers a run: one that calls the tool, one that ends.
    for run in runs {
        assert_eq!((used(run, "tokens_in"), used(run, "tokens_out")), (2 * USED.0, 2 * USED.1));
    }
}

fn writes_and_runs_nothing_again(cli: Cli) {
    let Some((w, server)) = stage(cli, Mode::Work, "good", "") else { return };
    let run = w.build(&[]);
    assert_eq!(run.code, 0, "{run}\n{}", w.run(&["log", "T1", "--transcript"]));
    run.ran(&["T1"]);
    assert_eq!(w.read("out"), "good");
    let made = runs(&w);
    assert_eq!(ends(&w), ["ok"]);
    is_counted(cli, &server, &made);
    assert!(made[0]["session"].as_str().is_some_and(|session| session.len() == 36), "{}", made[0]);
    let asked = server.requests().len();
    assert!(asked >= 2, "{asked} requests");
    w.build(&[]).runs_nothing();
    assert_eq!(server.requests().len(), asked);
    assert_eq!(processes_of(&w), [] as [String; 0]);
    assert_eq!(w.git_says(&["status", "--short", "--untracked-files=no"]), "");
}

fn goes_on_after_a_refused_result(cli: Cli) {
    let Some((w, server)) = stage(cli, Mode::Work, "bad", "retries: 1") else { return };
    let run = w.build(&[]);
    assert_eq!(run.code, 0, "{run}\n{}", w.run(&["log", "T1", "--transcript"]));
    assert_eq!(w.read("out"), "good");
    assert_eq!(ends(&w), ["invalid", "ok"]);
    let made = runs(&w);
    assert_eq!(made[0]["session"], made[1]["session"]);
    assert_eq!(made[1]["resumed"], true);
    is_counted(cli, &server, &made);
    // The same conversation: what was said first is still there.
    let last = server.requests().last().unwrap().body.to_string();
    assert!(last.contains("MOCK_TEXT=bad") && last.contains("that is not it"), "{last}");
}

fn is_not_let_in(cli: Cli) {
    let Some((w, _server)) = stage(cli, Mode::Unauthorized, "good", "") else { return };
    let run = w.run(&["build"]);
    run.fails_with(1).says(cli.name());
    assert_eq!(ends(&w), ["auth"], "{}", w.run(&["log", "T1", "--transcript"]));
}

fn waits_for_its_provider(cli: Cli) {
    let Some((w, server)) = stage(cli, Mode::Limited, "good", "retries: { max: 0, backoff: 100ms }") else {
        return;
    };
    let mut build = w.start(&["--events", "events.jsonl"]);
    // gemini asks ten times by itself, over minutes, whatever its settings say.
    let waits = || match cli {
        Cli::Gemini => !server.requests().is_empty(),
        Cli::Codex | Cli::Claude => {
            w.has("events.jsonl") && w.read("events.jsonl").contains("\"task_retry\"")
        }
    };
    wait_until("it waits for its provider", || build.has_ended() || waits());
    server.set(Mode::Work);
    let run = build.wait();
    assert_eq!(run.code, 0, "{run}\n{}", w.run(&["log", "T1", "--transcript"]));
    let ends = ends(&w);
    assert_eq!(ends.last().map(String::as_str), Some("ok"));
    if cli != Cli::Gemini {
        assert_eq!(ends[0], "rate_limit");
    }
}

fn overflows(cli: Cli) {
    let Some((w, _server)) = stage(cli, Mode::Overflow, "good", "retries: 1") else { return };
    w.build(&[]).fails_with(1).failed(&["T1"]);
    let ends = ends(&w);
    assert_eq!(ends[0], "overflow", "{}", w.run(&["log", "T1", "--transcript"]));
    assert!(runs(&w).iter().all(|run| run["resumed"] == false));
}

fn is_stopped_where_it_hangs(cli: Cli) {
    let Some((w, _server)) = stage(cli, Mode::Hang, "good", "retries: 0\n    timeout: 20s") else { return };
    w.build(&[]).fails_with(1).failed(&["T1"]);
    assert_eq!(ends(&w), ["timeout"]);
    assert_eq!(processes_of(&w), [] as [String; 0]);
}

fn goes_on_where_it_was_interrupted(cli: Cli) {
    let Some((w, server)) = stage(cli, Mode::HangAfterTool, "bad", "retries: 1") else { return };
    let mut build = w.start(&[]);
    wait_until("the model has the tool's result", || {
        build.has_ended() || server.requests().iter().any(|request| request.has_result)
    });
    build.signal(rustix::process::Signal::INT);
    let run = build.wait();
    run.fails_with(130);
    assert_eq!(processes_of(&w), [] as [String; 0]);
    let first = runs(&w);
    assert_eq!(ends(&w), ["cancelled"], "{run}");
    server.set(Mode::Work);
    let run = w.build(&[]);
    assert_eq!(run.code, 0, "{run}\n{}", w.run(&["log", "T1", "--transcript"]));
    assert_eq!(ends(&w), ["invalid", "ok"]);
    let then = runs(&w);
    assert_eq!((&then[0]["resumed"], &then[0]["session"]), (&true.into(), &first[0]["session"]));
    let last = server.requests().last().unwrap().body.to_string();
    assert!(last.contains("MOCK_TEXT=bad") && last.contains("You were interrupted"), "{last}");
}

macro_rules! tests_of {
    ($module:ident, $cli:expr) => {
        mod $module {
            use super::Cli;

            #[test]
            fn writes_a_file_and_a_second_build_asks_nobody() {
                super::writes_and_runs_nothing_again($cli);
            }

            #[test]
            fn goes_on_in_its_session_after_a_refused_result_and_usage_is_counted_once() {
                super::goes_on_after_a_refused_result($cli);
            }

            #[test]
            fn goes_on_in_its_session_where_it_was_interrupted() {
                super::goes_on_where_it_was_interrupted($cli);
            }

            #[test]
            fn is_not_let_in() {
                super::is_not_let_in($cli);
            }

            #[test]
            fn waits_for_its_provider() {
                super::waits_for_its_provider($cli);
            }

            #[test]
            fn overflows() {
                super::overflows($cli);
            }

            #[test]
            fn is_stopped_where_it_hangs_and_leaves_no_process() {
                super::is_stopped_where_it_hangs($cli);
            }
        }
    };
}

tests_of!(codex, Cli::Codex);
tests_of!(claude, Cli::Claude);
tests_of!(gemini, Cli::Gemini);
