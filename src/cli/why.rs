//! `conductor why T9`: why it is stale, or that it is fresh, down to file, variable or edge.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::caching;
use super::check::state_json;
use super::options::{Global, WhyArgs};
use super::session::Session;
use super::versus::versus;
use super::{Exit, Output, Stop};
use crate::graph::TaskIndex;
use crate::incremental::{Caller, Standing};
use crate::model::{Flake, LOCK_RUN, LOCKFILE, Record, format_duration};
use crate::report::style::Paint;
use crate::report::{Style, count, explain};
use crate::store::Flakes;

pub(super) fn run(global: &Global, args: &WhyArgs, caller: Caller, output: &Output) -> Result<Exit, Stop> {
    let session = Session::open(global, caller)?;
    let index = session.one(&args.target)?;
    let (_, scope) = session.scope(&[session.plan.id(index).to_owned()])?;
    let mut engine = session.reader();
    engine.observe(&scope);
    session.refuse_unordered(&mut engine)?;
    session.refuse_unreadable_instructions(&mut engine, &scope)?;
    let standings = engine.assess(&scope)?;
    let key = engine.key_now(index)?;
    let versus = args.vs.as_ref().map(|run| versus(&session, &mut engine, index, run)).transpose()?;
    let record = engine.recorded_or_kept(index).as_deref().cloned();
    let chain = chain(&standings, index);
    let restorable = caching::restorable(&session, &mut engine, &standings).contains(&index);
    let mut flakes = Flakes::of(&session.folder).all();
    flakes.retain(|flake| flake.task.as_str() == session.plan.id(index));
    let Some(standing) = standings.get(&index) else { return Ok(Exit::Success) };
    if output.json {
        let mut document = json!({"version": 1, "task": session.plan.id(index)});
        if let (Value::Object(document), Value::Object(state)) =
            (&mut document, state_json(&session, standing))
        {
            document.extend(state);
        }
        document["key"] = json!(key);
        if restorable {
            document["in_cache"] = json!(true);
        }
        document["chain"] = chain.iter().map(|index| session.plan.id(*index)).collect();
        document["recorded"] = record.as_ref().map_or(Value::Null, |record| {
            json!({"key": record.key, "run": record.run, "duration_ms": record.duration.as_millis(), "checks": record.evidence,
                "approval": record.approval, "commit": record.commit})
        });
        if !flakes.is_empty() {
            document["flakes"] = flakes.iter().map(flake_json).collect();
        }
        if let Some(versus) = &versus {
            document["vs"] = versus.json();
        }
        output.say_json(&document);
    } else {
        output.say(&render(&session, index, &standings, &chain, record.as_ref(), output.style()));
        if restorable {
            output.say("  a build would restore its result from the cache\n");
        }
        for flake in &flakes {
            output.say(&format!("  flaky: {}\n", flake.sentence()));
        }
        if let Some(versus) = &versus {
            output.say(&versus.text(output.style()));
        }
    }
    Ok(Exit::Success)
}

fn flake_json(flake: &Flake) -> Value {
    let Flake { task: _, key, run, earlier, kind, paths } = flake;
    json!({"kind": kind, "key": key, "run": run, "earlier": earlier, "paths": paths})
}

/// From a blocked task to the stale one at the root of it.
fn chain(standings: &BTreeMap<TaskIndex, Standing>, index: TaskIndex) -> Vec<TaskIndex> {
    let mut chain = vec![index];
    let mut at = index;
    while let Some(Standing::Blocked { by, .. }) = standings.get(&at) {
        chain.push(*by);
        at = *by;
    }
    chain
}

fn render(
    session: &Session,
    index: TaskIndex,
    standings: &BTreeMap<TaskIndex, Standing>,
    chain: &[TaskIndex],
    record: Option<&Record>,
    style: Style,
) -> String {
    let id = |index: TaskIndex| style.paint(Paint::Name, session.plan.id(index));
    let mut text = String::new();
    let tell = |text: &mut String, standing: &Standing| {
        for reason in standing.reasons() {
            for line in explain::paragraph(reason, style) {
                let _ = writeln!(text, "  {line}");
            }
        }
    };
    match standings.get(&index) {
        Some(standing @ Standing::Stale { validation_only, .. }) => {
            let what = if *validation_only { "stale: its checks alone must run again" } else { "stale" };
            let _ = writeln!(text, "{} is {what}", id(index));
            tell(&mut text, standing);
        }
        Some(Standing::Blocked { .. }) => {
            let path: Vec<String> = chain.iter().map(|index| id(*index)).collect();
            let _ =
                writeln!(text, "{} is blocked: {}", id(index), path.join(&format!(" {} ", style.arrow())));
            if let Some((root, standing)) = chain.last().and_then(|root| Some((*root, standings.get(root)?)))
            {
                let _ = writeln!(text, "{} is stale", id(root));
                tell(&mut text, standing);
            }
        }
        Some(Standing::Always) => {
            let _ = writeln!(text, "{} runs each time (always: true)", id(index));
        }
        Some(Standing::Fresh) | None => {
            let _ = writeln!(text, "{} is fresh", id(index));
        }
    }
    if let Some(record) = record {
        let outputs = count(record.outputs.len(), "output");
        let _ = if record.run.0 == LOCK_RUN {
            writeln!(text, "  accepted elsewhere: {outputs}, known from {LOCKFILE}")
        } else {
            let time = format_duration(record.duration);
            writeln!(text, "  last accepted: run {}, {time}, {outputs}", record.run)
        };
        for check in &record.evidence {
            let _ = writeln!(text, "  {}", explain::evidence(check));
        }
        if let Some(approval) = &record.approval {
            let note = approval.note.as_ref().map_or(String::new(), |note| format!(": {note}"));
            let _ = writeln!(text, "  approved {}{note}", approval.at);
        }
        if let Some(commit) = &record.commit {
            let _ = writeln!(text, "  commit {}", &commit[..commit.len().min(10)]);
        }
    }
    text
}
