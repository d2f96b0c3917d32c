//! Plays a run: finds it in the script, does what it says, and writes down what it was told.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::call::Call;
use crate::folder;
use crate::script::{End, Form, OnTerm, Run, Script, Step};
use crate::session::Session;
use crate::stream::{self, Ending};

/// The argument of a process that stays.
pub(crate) const STAY: &str = "--stay";
/// And of one that does so in a session of its own.
pub(crate) const APART: &str = "--apart";
/// How long it does, in seconds: longer than any test waits.
const LONG: u64 = 600;
/// Between two looks for a file, and between two writes that are to be two reads.
const PAUSE: Duration = Duration::from_millis(20);

/// Does nothing for a long time, in a session of its own where it is told so.
pub(crate) fn stay(apart: bool) -> ExitCode {
    if apart && let Err(error) = rustix::process::setsid() {
        let _ = writeln!(io::stderr(), "fake agent: no session of its own: {error}");
    }
    std::thread::sleep(Duration::from_secs(LONG));
    ExitCode::SUCCESS
}

/// Plays a call, and says how it exits.
pub(crate) fn play(call: &Call) -> io::Result<u8> {
    let prompt = call.prompt()?;
    let task = std::env::var("CONDUCTOR_TASK").unwrap_or_default();
    let number = runs_before(&task) + 1;
    let Some(mut session) = Session::open(call, &task, number)? else {
        log(&said(call, &task, number, &prompt, None))?;
        stream::no_session(call)?;
        return Ok(1);
    };
    log(&said(call, &task, number, &prompt, Some(&session.id)))?;
    let script = Script::read()?;
    let run = script
        .run(&task, number)
        .ok_or_else(|| io::Error::other(format!("the script says nothing of the task `{task}`")))?;
    stream::begin(call, &session)?;
    heed_term(call, run, &session)?;
    for step in &run.steps {
        if let Err(error) = act(call, run, &mut session, step) {
            log(&json!({"task": task, "run": number, "error": error.to_string()}))?;
            let _ = writeln!(io::stderr(), "fake agent: {error}");
        }
    }
    session.spend(run.usage);
    if !run.forgets {
        session.keep()?;
    }
    let code = stream::end(call, &session, &ending(run))?;
    Ok(run.exit.unwrap_or(code))
}

fn ending(run: &Run) -> Ending<'_> {
    Ending { end: run.end, usage: run.usage, message: run.message.as_deref() }
}

/// What it was told.
fn said(call: &Call, task: &str, number: usize, prompt: &str, session: Option<&str>) -> Value {
    let mut names: Vec<String> = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into()).collect();
    names.sort();
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    json!({
        "task": task,
        "run": number,
        "cli": call.cli.name(),
        "argv": call.arguments,
        "env": names,
        "home": variable("HOME"),
        "tmpdir": variable("TMPDIR"),
        "prompt": prompt,
        "prompt_file": fs::read_to_string(variable("CONDUCTOR_PROMPT_FILE")).unwrap_or_default(),
        "cwd": std::env::current_dir().unwrap_or_default(),
        "session": session,
        "resumed": call.resume.is_some(),
        "attempt": variable("CONDUCTOR_ATTEMPT"),
        "pid": std::process::id(),
    })
}

fn log_file() -> PathBuf {
    folder().join("log.jsonl")
}

/// Where there is no folder for it, nobody wants to know.
fn log(entry: &Value) -> io::Result<()> {
    if !folder().is_dir() {
        return Ok(());
    }
    let mut file = fs::OpenOptions::new().append(true).create(true).open(log_file())?;
    file.write_all(format!("{entry}\n").as_bytes())
}

/// How often it was called for this task: by the log, or where there is none by the attempt.
fn runs_before(task: &str) -> usize {
    let Ok(log) = fs::read_to_string(log_file()) else {
        let attempt = std::env::var("CONDUCTOR_ATTEMPT").ok().and_then(|attempt| attempt.parse().ok());
        return attempt.unwrap_or(1_usize).saturating_sub(1);
    };
    let entries = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    entries.filter(|entry| entry["task"] == task && entry.get("argv").is_some()).count()
}

/// Does at TERM and INT what the script says.
#[expect(
    clippy::disallowed_methods,
    reason = "it ends in the middle of its work, as the programs do that it plays"
)]
fn heed_term(call: &Call, run: &Run, session: &Session) -> io::Result<()> {
    if run.on_term == OnTerm::Die {
        return Ok(());
    }
    let succeeds = run.on_term == OnTerm::Succeed;
    let last = stream::last_words(call, session, &Ending { end: End::Ok, usage: run.usage, message: None });
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT])?;
    std::thread::spawn(move || {
        for _ in signals.forever() {
            if succeeds {
                let _ = io::stdout().write_all(last.as_bytes());
                let _ = io::stdout().flush();
                std::process::exit(0);
            }
        }
    });
    Ok(())
}

fn act(call: &Call, run: &Run, session: &mut Session, step: &Step) -> io::Result<()> {
    match step {
        Step::Write { path, text, executable } => {
            let path = place(path);
            write(&path, text.as_bytes())?;
            if *executable {
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).map_err(|e| at(&path, &e))?;
            }
            Ok(())
        }
        Step::Append { path, text } => {
            let path = place(path);
            let mut content = fs::read(&path).unwrap_or_default();
            content.extend_from_slice(text.as_bytes());
            write(&path, &content)
        }
        Step::Remove(path) => fs::remove_file(place(path)).map_err(|error| at(&place(path), &error)),
        Step::Say(text) => stream::text(call, session, text),
        Step::Print(line) => print(format!("{line}\n").as_bytes()),
        Step::Piece(text) => print(text.as_bytes()),
        Step::Flood(bytes) => flood(*bytes),
        Step::Spend(usage) => {
            stream::spend(call, session, *usage)?;
            session.spend(*usage);
            session.keep()
        }
        Step::Denied(tool) => stream::denied(call, session, tool),
        Step::Tell { variable, form } => tell(call, session, variable, *form),
        Step::Keep { variable, path } => write(&place(path), value(variable)?.as_bytes()),
        Step::Leave { apart, holds_output } => leave(*apart, *holds_output),
        Step::GitConfig(text) => git_config(text),
        Step::Work { steps, pause_ms } => {
            for number in 0..*steps {
                write(Path::new("progress.tmp"), number.to_string().as_bytes())?;
                std::thread::sleep(Duration::from_millis(*pause_ms));
            }
            fs::remove_file("progress.tmp")
        }
        Step::Mark(name) => write(&folder().join(name), b""),
        Step::Await(name) => {
            while !folder().join(name).exists() {
                std::thread::sleep(PAUSE);
            }
            Ok(())
        }
        Step::Hang => {
            // Who dies in the middle has kept its session so far.
            session.spend(run.usage);
            session.keep()?;
            loop {
                std::thread::sleep(Duration::from_secs(LONG));
            }
        }
    }
}

fn place(path: &str) -> PathBuf {
    for name in ["HOME", "TMPDIR"] {
        if let Some(rest) = path.strip_prefix(&format!("${name}/")) {
            return PathBuf::from(std::env::var_os(name).unwrap_or_default()).join(rest);
        }
    }
    path.into()
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|error| at(folder, &error))?;
    }
    fs::write(path, bytes).map_err(|error| at(path, &error))
}

fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn print(bytes: &[u8]) -> io::Result<()> {
    io::stdout().write_all(bytes)?;
    io::stdout().flush()
}

fn flood(bytes: u64) -> io::Result<()> {
    let line = "the quick brown fox jumps over the lazy dog, and it does so again\n".repeat(64);
    let mut out = io::BufWriter::new(io::stdout().lock());
    for _ in 0..bytes.div_ceil(line.len() as u64) {
        out.write_all(line.as_bytes())?;
    }
    out.flush()
}

fn value(variable: &str) -> io::Result<String> {
    std::env::var(variable).map_err(|_| io::Error::other(format!("{variable} is not in the environment")))
}

fn tell(call: &Call, session: &Session, variable: &str, form: Form) -> io::Result<()> {
    let value = value(variable)?;
    match form {
        Form::Plain => stream::text(call, session, &format!("the value is {value}")),
        Form::Base64 => stream::text(call, session, &format!("the value is {}", base64(value.as_bytes()))),
        Form::Split => {
            let (one, two) = value.split_at(value.len() / 2);
            print(format!("the value is {one}").as_bytes())?;
            std::thread::sleep(PAUSE);
            print(format!("{two}\n").as_bytes())
        }
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let number = (0..3).fold(0_usize, |n, at| n << 8 | group.get(at).map_or(0, |b| usize::from(*b)));
        for at in 0..4 {
            let digit = DIGITS[number >> (18 - 6 * at) & 63];
            text.push(if at > group.len() { '=' } else { char::from(digit) });
        }
    }
    text
}

/// Starts itself anew, to stay.
fn leave(apart: bool, holds_output: bool) -> io::Result<()> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(STAY).stdin(Stdio::null()).stderr(Stdio::null());
    if apart {
        command.arg(APART);
    }
    if !holds_output {
        command.stdout(Stdio::null());
    }
    log(&json!({"left": command.spawn()?.id()}))
}

/// The configuration that git reads in the folder, that of a linked worktree's repository as well.
fn git_config(text: &str) -> io::Result<()> {
    let dot_git = Path::new(".git");
    let folder = match fs::read_to_string(dot_git) {
        Ok(link) => {
            let admin = PathBuf::from(link.trim_start_matches("gitdir:").trim());
            let common = fs::read_to_string(admin.join("commondir"))?;
            admin.join(common.trim())
        }
        Err(_) => dot_git.to_owned(),
    };
    let path = folder.join("config");
    let mut file = fs::OpenOptions::new().append(true).open(&path).map_err(|error| at(&path, &error))?;
    file.write_all(text.as_bytes())
}
