//! `conductor check`: is it all fresh? Reads, and writes nothing at all.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;

use serde_json::{Value, json};

use super::options::{CheckArgs, CheckFormat, Global};
use super::session::Session;
use super::{Exit, Output, Stop};
use crate::graph::TaskIndex;
use crate::incremental::{Caller, Engine, Standing, Trust};
use crate::model::ReasonKind;
use crate::report::checked::{self, Checked, Findings};
use crate::report::style::Paint;
use crate::report::{Style, count, diagnostics, explain, github, junit, sarif};
use crate::store::Lockfile;

/// What `check` found.
struct Judged {
    standings: BTreeMap<TaskIndex, Standing>,
    lock: Option<Lockfile>,
    exit: Exit,
}

pub(super) fn run(global: &Global, args: &CheckArgs, caller: Caller, output: &Output) -> Result<Exit, Stop> {
    let summary = caller.0.get(std::ffi::OsStr::new("GITHUB_STEP_SUMMARY")).cloned();
    let repository = caller.0.get(std::ffi::OsStr::new("GITHUB_WORKSPACE")).cloned();
    let outcome = Session::open(global, caller).and_then(|session| {
        let mut engine = session.engine_to_read();
        let judged = judge(&session, args, &mut engine)?;
        Ok((session, engine, judged))
    });
    let mut findings = Findings::default();
    let (exit, told) = match outcome {
        Ok((session, engine, judged)) => {
            let told = match args.format {
                CheckFormat::Human => {
                    if let Some(lock) = &judged.lock {
                        output.warn(lock.damage(), lock.sources());
                    }
                    Some(render(&session, &judged.standings, output.style()))
                }
                CheckFormat::Json => Some(format!("{:#}\n", document(&session, &judged))),
                _ => None,
            };
            if told.is_none() {
                findings = gather(&session, &engine, &judged, repository.as_deref());
            }
            (judged.exit, told)
        }
        Err(stop) if matches!(args.format, CheckFormat::Human | CheckFormat::Json) => return Err(stop),
        // The platform is told of a manifest that does not hold, as of everything else.
        Err(stop) => {
            output.warn(&stop.diagnostics, &stop.sources);
            findings.add_problems(&stop.diagnostics, &stop.sources);
            (stop.exit, None)
        }
    };
    output.say(&match told {
        Some(text) => text,
        None => machine_text(args.format, &findings)?,
    });
    if let (CheckFormat::Github, Some(path)) = (args.format, summary) {
        append_summary(std::path::Path::new(&path), &github::summary(&findings))?;
    }
    Ok(exit)
}

fn judge(session: &Session, args: &CheckArgs, engine: &mut Engine) -> Result<Judged, Stop> {
    let (_, scope) = session.scope(&args.targets)?;
    let lock = Lockfile::read(session.workspace.root());
    if args.outputs {
        engine.distrust_outputs();
    }
    let damaged = lock.as_ref().is_some_and(|lock| !lock.damage().is_empty());
    engine.take_lock(lock, Trust::Told);
    engine.observe(&scope);
    session.refuse_unordered(engine)?;
    session.refuse_unreadable_instructions(engine, &scope)?;
    let standings = engine.assess(&scope)?;
    let modified = |standing: &Standing| {
        standing.reasons().iter().any(|reason| reason.kind == ReasonKind::OutputModified)
    };
    let tampered = args.outputs && (standings.values().any(modified) || !engine.tampered(&scope).is_empty());
    let stale = if standings.values().any(Standing::is_due) { Exit::Stale } else { Exit::Success };
    let exit = if tampered || damaged { stale.or(Exit::Integrity) } else { stale };
    Ok(Judged { standings, lock: engine.give_lock_back(), exit })
}

fn machine_text(format: CheckFormat, findings: &Findings) -> Result<String, Stop> {
    Ok(match format {
        CheckFormat::Sarif => format!("{:#}\n", sarif::document(findings)),
        CheckFormat::Junit => junit::document(findings)?,
        _ => github::annotations(findings),
    })
}

/// GitHub gives each step a file; what earlier commands of the step said stays.
fn append_summary(path: &std::path::Path, text: &str) -> Result<(), Stop> {
    let opened = std::fs::OpenOptions::new().create(true).append(true).open(path);
    opened.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|error| {
        let message = format!("cannot write the step summary {}: {error}", path.display());
        Stop::plain(Exit::Failed, crate::model::Diagnostic::error("cli::io", message))
    })
}

fn gather(
    session: &Session,
    engine: &Engine,
    judged: &Judged,
    repository: Option<&std::ffi::OsStr>,
) -> Findings {
    let mut findings =
        Findings { prefix: prefix(session.workspace.root(), repository), ..Findings::default() };
    if let Some(lock) = &judged.lock {
        findings.add_problems(lock.damage(), lock.sources());
    }
    for (index, standing) in &judged.standings {
        let record = engine.recorded_or_kept(*index);
        let task = session.plan.task(*index).ok();
        findings.tasks.push(Checked {
            task: session.plan.id(*index).to_owned(),
            standing: match standing {
                Standing::Fresh => checked::Standing::Fresh,
                Standing::Always => checked::Standing::Always,
                Standing::Stale { reasons, .. } => checked::Standing::Stale(reasons.clone()),
                Standing::Blocked { by, .. } => checked::Standing::Blocked(session.plan.id(*by).to_owned()),
            },
            at: task.and_then(|task| engine.place(task.at)),
            took: record.as_ref().map(|record| record.duration).filter(|took| !took.is_zero()),
            micro_usd: record.as_ref().and_then(|record| record.agent.as_ref()?.usage.micro_usd),
        });
    }
    findings
}

/// From the root of the repository to `root`, with a `/` at its end: where the platform says that is, else where git
/// has it.
fn prefix(root: &std::path::Path, repository: Option<&std::ffi::OsStr>) -> String {
    let named = repository.and_then(|path| std::path::Path::new(path).canonicalize().ok());
    let top = named.filter(|top| root.starts_with(top)).or_else(|| {
        root.ancestors().find(|folder| folder.join(".git").symlink_metadata().is_ok()).map(ToOwned::to_owned)
    });
    let below = top.and_then(|top| root.strip_prefix(top).ok().map(|below| below.display().to_string()));
    below.filter(|below| !below.is_empty()).map(|below| format!("{below}/")).unwrap_or_default()
}

fn document(session: &Session, judged: &Judged) -> Value {
    let standings = &judged.standings;
    let tasks: serde_json::Map<String, Value> = standings
        .iter()
        .map(|(index, standing)| (session.plan.id(*index).to_owned(), state_json(session, standing)))
        .collect();
    let mut document =
        json!({"version": 1, "fresh": !standings.values().any(Standing::is_due), "tasks": tasks});
    if let Some(lock) = judged.lock.as_ref().filter(|lock| !lock.damage().is_empty()) {
        let mut said = diagnostics::to_json(lock.damage(), lock.sources());
        document["diagnostics"] = said["diagnostics"].take();
    }
    document
}

/// `{"state", "reasons", "blocked_by"?}`
pub(super) fn state_json(session: &Session, standing: &Standing) -> Value {
    let mut state = json!({"state": standing.name(), "reasons": standing.reasons()});
    if let Standing::Blocked { by, .. } = standing {
        state["blocked_by"] = json!(session.plan.id(*by));
    }
    state
}

/// A line for each task that is not fresh, and the counts.
pub(super) fn render(session: &Session, standings: &BTreeMap<TaskIndex, Standing>, style: Style) -> String {
    let mut text = String::new();
    let width = standings.keys().map(|index| session.plan.id(*index).len()).max().unwrap_or(0).min(24);
    let (mut stale, mut blocked, mut always) = (0, 0, 0);
    for (index, standing) in standings.iter().filter(|(_, standing)| **standing != Standing::Fresh) {
        let id = format!("{:width$}", session.plan.id(*index));
        let id = style.paint(Paint::Name, &id);
        match standing {
            Standing::Fresh => {}
            Standing::Always => {
                always += 1;
                let _ = writeln!(text, "{id}  always   runs each time");
            }
            Standing::Stale { reasons, .. } => {
                stale += 1;
                let word = style.paint(Paint::Bad, "stale  ");
                let _ = writeln!(text, "{id}  {word}  {}", explain::headline(reasons, style));
            }
            Standing::Blocked { reasons, by } => {
                blocked += 1;
                let word = style.paint(Paint::Warn, "blocked");
                let never = if reasons.is_empty() { "" } else { "never built; " };
                let _ = writeln!(text, "{id}  {word}  {never}waits for {}", session.plan.id(*by));
            }
        }
    }
    let total = standings.len();
    if stale + blocked == 0 {
        let fresh = total - always;
        let _ = writeln!(
            text,
            "{}",
            style.paint(Paint::Good, &format!("fresh: {fresh} of {}", count(total, "task")))
        );
    } else {
        let fresh = total - always - stale - blocked;
        let _ = writeln!(text, "{}: {fresh} fresh, {stale} stale, {blocked} blocked", count(total, "task"));
        let _ = writeln!(text, "next: conductor why TASK · conductor build");
    }
    text
}
