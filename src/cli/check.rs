//! `conductor check`: is it all fresh? Reads, and writes nothing at all.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::options::{CheckArgs, Global};
use super::session::Session;
use super::{Exit, Output, Stop};
use crate::graph::TaskIndex;
use crate::incremental::{Caller, Standing};
use crate::report::style::Paint;
use crate::report::{Style, count, explain};

pub(super) fn run(global: &Global, args: &CheckArgs, caller: Caller, output: &Output) -> Result<Exit, Stop> {
    let session = Session::open(global, caller)?;
    let (_, scope) = session.scope(&args.targets)?;
    let mut engine = session.reader();
    if args.outputs {
        engine.distrust_outputs();
    }
    engine.observe(&scope);
    session.refuse_unordered(&mut engine)?;
    let standings = engine.assess(&scope)?;
    if output.json {
        output.say_json(&document(&session, &standings));
    } else {
        output.say(&render(&session, &standings, output.style()));
    }
    let tampered = args.outputs
        && standings.values().any(|standing| {
            standing.reasons().iter().any(|reason| reason.kind == crate::model::ReasonKind::OutputModified)
        });
    let stale = if standings.values().any(Standing::is_due) { Exit::Stale } else { Exit::Success };
    Ok(if tampered { stale.or(Exit::Integrity) } else { stale })
}

fn document(session: &Session, standings: &BTreeMap<TaskIndex, Standing>) -> Value {
    let tasks: serde_json::Map<String, Value> = standings
        .iter()
        .map(|(index, standing)| (session.plan.id(*index).to_owned(), state_json(session, standing)))
        .collect();
    json!({"version": 1, "fresh": !standings.values().any(Standing::is_due), "tasks": tasks})
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
