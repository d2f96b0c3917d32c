//! `conductor log [T9]`: what a task printed when it last ran, or prints right now.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use super::options::{Global, LogArgs};
use super::session::Session;
use super::{Exit, Output, Stop, transcript};
use crate::incremental::Caller;
use crate::model::{AgentRun, CheckEvidence, Diagnostic, Event, RunId, TaskId};
use crate::report::{events, explain, usage};
use crate::store::{Lock, RunDir, list_runs};

/// Between two looks at a log that is followed.
const PERIOD: Duration = Duration::from_millis(100);

pub(super) fn run(global: &Global, args: &LogArgs, caller: Caller, output: &Output) -> Result<Exit, Stop> {
    let session = Session::open(global, caller)?;
    let runs = match &args.run {
        Some(run) => vec![known_run(&session, run)?],
        None => list_runs(&session.folder),
    };
    let Some(target) = &args.task else { return overview(&session, &runs, output) };
    let task = session.plan.task_id(session.one(target)?);
    if args.follow {
        return follow(&session, &task, output);
    }
    let found = runs.iter().find(|run| mentions(&session.folder, run, &task));
    let Some(run) = found else {
        let diagnostic = Diagnostic::error("cli::no_log", format!("{task} has not run yet"));
        return Err(Stop::plain(Exit::Usage, diagnostic.help(format!("conductor build {task}"))));
    };
    let files = files(&session.folder, run, &task);
    let mut text = String::new();
    for file in &files {
        if file.ends_with(format!("{}.log", task.file_name())) {
            text = String::from_utf8_lossy(&std::fs::read(file).unwrap_or_default()).into_owned();
        }
    }
    let checked = checks(&session.folder, run, &task);
    let agents = agent_runs(&session.folder, run, &task);
    let transcript = if args.transcript { Some(read_transcript(&session, &task, run)?) } else { None };
    if output.json {
        let checks: Vec<_> =
            checked.iter().map(|(phase, evidence)| json!({"phase": phase, "evidence": evidence})).collect();
        let mut document = json!({"version": 1, "task": task, "run": run, "text": text, "checks": checks});
        if !agents.is_empty() {
            document["agent"] = json!(agents);
        }
        if let Some(transcript) = transcript {
            document["transcript"] = transcript.into();
        }
        output.say_json(&document);
        return Ok(Exit::Success);
    }
    if let Some(transcript) = transcript {
        output.say(&transcript::render(&transcript));
        return Ok(Exit::Success);
    }
    output.say(&text);
    for file in files.iter().filter(|file| !file.ends_with(format!("{}.log", task.file_name()))) {
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        let part = name.strip_prefix(&format!("{}.", task.file_name())).unwrap_or(&name).to_owned();
        let text = String::from_utf8_lossy(&std::fs::read(file).unwrap_or_default()).into_owned();
        output.say(&format!("--- {part}\n{text}"));
    }
    for (number, run) in (1..).zip(&agents) {
        output.say(&format!("--- agent run {number}: {}\n", usage::run(run)));
        if let Some(complaint) = &run.complaint {
            output.say(&format!("{}\n", complaint.trim_end()));
        }
    }
    for (phase, evidence) in &checked {
        output.say(&format!("--- {phase}: {}\n", explain::evidence(evidence)));
    }
    if text.is_empty() && files.is_empty() && checked.is_empty() {
        output.hint(&format!("{task} printed nothing in run {run}\n"));
    }
    Ok(Exit::Success)
}

fn known_run(session: &Session, run: &str) -> Result<RunId, Stop> {
    let runs = list_runs(&session.folder);
    runs.into_iter().find(|known| known.0 == run).ok_or_else(|| {
        let diagnostic = Diagnostic::error("cli::unknown_run", format!("there is no run `{run}`"));
        Stop::plain(Exit::Usage, diagnostic.help("`conductor runs` lists them"))
    })
}

fn read_events(folder: &Path, run: &RunId) -> Vec<crate::model::Stamped> {
    let file = std::fs::File::open(RunDir::of(folder, run).events());
    file.map(|file| events::read(std::io::BufReader::new(file)).collect()).unwrap_or_default()
}

/// Did the task start in that run?
fn mentions(folder: &Path, run: &RunId, task: &TaskId) -> bool {
    !files(folder, run, task).is_empty()
        || read_events(folder, run)
            .iter()
            .any(|stamped| matches!(&stamped.event, Event::TaskStarted { task: other, .. } if other == task))
}

/// What its checks did, each with its phase.
fn checks(folder: &Path, run: &RunId, task: &TaskId) -> Vec<(String, CheckEvidence)> {
    let events = read_events(folder, run).into_iter();
    let found = events.filter_map(|stamped| match stamped.event {
        Event::CheckFinished { task: other, phase, evidence } if other == *task => Some((phase, evidence)),
        _ => None,
    });
    found.collect()
}

/// What its agent did.
fn agent_runs(folder: &Path, run: &RunId, task: &TaskId) -> Vec<AgentRun> {
    let events = read_events(folder, run).into_iter();
    let found = events.filter_map(|stamped| match stamped.event {
        Event::AgentFinished { task: other, run, .. } if other == *task => Some(run),
        _ => None,
    });
    found.collect()
}

fn read_transcript(session: &Session, task: &TaskId, run: &RunId) -> Result<Vec<serde_json::Value>, Stop> {
    transcript::read(session, task, run).ok_or_else(|| {
        let message = format!("no transcript of {task} is kept");
        let diagnostic = Diagnostic::error("cli::no_transcript", message);
        Stop::plain(
            Exit::Usage,
            diagnostic.help("only agents have one; `conductor log` shows what a command printed"),
        )
    })
}

/// The task's own log first, then those of its checks.
fn files(folder: &Path, run: &RunId, task: &TaskId) -> Vec<PathBuf> {
    let own = RunDir::of(folder, run).log(task);
    let prefix = format!("{}.", task.file_name());
    let entries = own.parent().and_then(|logs| std::fs::read_dir(logs).ok());
    let mut files: Vec<PathBuf> = entries
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let rest = name.strip_prefix(&prefix).and_then(|rest| rest.strip_suffix("log"));
            rest.is_some_and(|part| {
                let parts = ["require-", "validate-", "gate-", "setup.", "rollback."];
                part.is_empty() || parts.iter().any(|phase| part.starts_with(phase))
            })
        })
        .collect();
    files.sort_by_key(|path| (path != &own, path.clone()));
    files
}

/// Prints a log as it grows, until the build that writes it has ended the task.
fn follow(session: &Session, task: &TaskId, output: &Output) -> Result<Exit, Stop> {
    let Some(holder) = Lock::holder(&session.folder) else {
        let diagnostic = Diagnostic::error("cli::nothing_runs", "no build runs in this workspace");
        return Err(Stop::plain(Exit::Usage, diagnostic.help(format!("conductor log {task}"))));
    };
    let path = RunDir::of(&session.folder, &holder.run).log(task);
    let mut offset = 0;
    loop {
        // Asked before the log is read, so that nothing printed before the end is missed.
        let ended = Lock::holder(&session.folder).is_none_or(|now| now.run != holder.run)
            || read_events(&session.folder, &holder.run).iter().any(
                |stamped| matches!(&stamped.event, Event::TaskFinished { task: other, .. } if other == task),
            );
        if let Ok(mut file) = std::fs::File::open(&path) {
            let mut bytes = Vec::new();
            file.seek(SeekFrom::Start(offset))?;
            offset += file.read_to_end(&mut bytes)? as u64;
            output.say(&String::from_utf8_lossy(&bytes));
        }
        if ended {
            return Ok(Exit::Success);
        }
        std::thread::sleep(PERIOD);
    }
}

/// Which tasks printed something in the last run.
fn overview(session: &Session, runs: &[RunId], output: &Output) -> Result<Exit, Stop> {
    let Some(run) = runs.first() else {
        let diagnostic = Diagnostic::error("cli::no_runs", "nothing has run yet");
        return Err(Stop::plain(Exit::Usage, diagnostic.help("conductor build")));
    };
    let shown = session.plan.indices().filter(|index| !session.plan.is_hidden(*index));
    let tasks: Vec<TaskId> = shown
        .map(|i| session.plan.task_id(i))
        .filter(|t| !files(&session.folder, run, t).is_empty())
        .collect();
    if output.json {
        output.say_json(&json!({"version": 1, "run": run, "tasks": tasks}));
    } else if tasks.is_empty() {
        output.say(&format!("no task printed anything in run {run}\n"));
    } else {
        output.say(&format!("run {run}\n"));
        for task in tasks {
            output.say(&format!("  {task}  conductor log {task}\n"));
        }
    }
    Ok(Exit::Success)
}
