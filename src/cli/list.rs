//! `conductor list`: tasks with their state; while a build runs, what each of them is doing.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::options::{Global, TargetArgs};
use super::session::Session;
use super::{Exit, Output, Stop};
use crate::graph::TaskIndex;
use crate::incremental::{Caller, Engine, Standing, Verdict};
use crate::model::{Diagnostic, Task, Wait, Work};
use crate::report::live_state::{Activity, LiveState};
use crate::report::style::Paint;
use crate::report::{Style, events, one_line};
use crate::store::{Lock, RunDir};

pub(super) fn run(global: &Global, args: &TargetArgs, caller: Caller, output: &Output) -> Result<Exit, Stop> {
    let session = Session::open(global, caller)?;
    let all: Vec<TaskIndex> = session.plan.order().collect();
    let shown: Vec<TaskIndex> = if args.targets.is_empty() {
        session.plan.indices().filter(|index| !session.plan.is_hidden(*index)).collect()
    } else {
        session.scope(&args.targets)?.0.into_iter().collect()
    };
    let mut engine = session.reader();
    engine.observe(&all);
    session.refuse_unordered(&mut engine)?;
    let standings = engine.assess(&all)?;
    let live = live(&session);
    let waits = awaited(&mut engine, &standings)?;
    if output.json {
        let mut document = document(&session, &shown, &standings, live.as_ref());
        for (index, what) in waits {
            if let Some(row) = document["tasks"].get_mut(session.plan.id(index)) {
                row["waits_for"] = json!(what);
            }
        }
        for index in &shown {
            let took = engine.state().row(&session.plan.task_id(*index)).map(|row| row.duration.as_millis());
            if let (Some(took @ 1..), Some(row)) = (took, document["tasks"].get_mut(session.plan.id(*index)))
            {
                row["duration_ms"] = json!(u64::try_from(took).unwrap_or(u64::MAX));
            }
        }
        output.say_json(&document);
    } else {
        output.say(&table(&session, &shown, &standings, live.as_ref(), output.style()));
        let shown = waits.iter().filter(|(index, _)| shown.contains(index));
        let lines = shown.map(|(index, what)| told(session.plan.id(*index), what));
        output.hint(&lines.collect::<String>());
    }
    Ok(Exit::Success)
}

/// Of the tasks whose result is ready: what a person is to say of it.
fn awaited(
    engine: &mut Engine,
    standings: &BTreeMap<TaskIndex, Standing>,
) -> Result<BTreeMap<TaskIndex, &'static str>, Diagnostic> {
    let mut waits = BTreeMap::new();
    for index in standings.iter().filter(|(_, standing)| standing.is_due()).map(|(index, _)| *index) {
        if engine.verdict(index)?.state != Verdict::Waiting {
            continue;
        }
        let failure = engine.state().failure(&engine.plan().task_id(index));
        let what = failure.and_then(|failure| failure.pending).map(|pending| match pending.wait {
            Wait::Approval => "approval",
            Wait::Conflict(_) => "resolve",
        });
        waits.extend(what.map(|what| (index, what)));
    }
    Ok(waits)
}

fn told(id: &str, what: &str) -> String {
    match what {
        "approval" => format!("{id} waits for approval: conductor approve {id} or conductor reject {id}\n"),
        _ => format!("{id} waits for a version to be chosen: conductor why {id}, conductor resolve PATH\n"),
    }
}

/// What the build that runs now has told so far.
fn live(session: &Session) -> Option<LiveState> {
    let holder = Lock::holder(&session.folder)?;
    let file = std::fs::File::open(RunDir::of(&session.folder, &holder.run).events()).ok()?;
    let told = file.metadata().and_then(|metadata| metadata.modified()).ok();
    let events: Vec<_> = events::read(std::io::BufReader::new(file)).collect();
    let mut live = LiveState::from_events(events.iter());
    // The last event was told when the file was last written; time went on since.
    live.now += told.and_then(|told| told.elapsed().ok()).unwrap_or_default();
    Some(live)
}

fn state(
    session: &Session,
    index: TaskIndex,
    standings: &BTreeMap<TaskIndex, Standing>,
    live: Option<&LiveState>,
) -> String {
    let recorded = standings.get(&index).map_or("unknown", Standing::name);
    match live.map(|live| (live, live.of(&session.plan.task_id(index)))) {
        Some((_, Activity::Waiting)) | None => recorded.to_owned(),
        Some((live, activity)) => activity.describe(live.now),
    }
}

fn document(
    session: &Session,
    shown: &[TaskIndex],
    standings: &BTreeMap<TaskIndex, Standing>,
    live: Option<&LiveState>,
) -> Value {
    let mut tasks = serde_json::Map::new();
    for index in shown.iter().copied() {
        if let Ok(task) = session.plan.task(index) {
            let state = state(session, index, standings, live);
            tasks.insert(session.plan.id(index).to_owned(), row(session, index, &task, &state));
        }
    }
    let groups: serde_json::Map<String, Value> = session
        .plan
        .groups()
        .iter()
        .map(|group| {
            let after: Vec<&str> = group.after.iter().map(name_of).collect();
            (
                group.id.to_string(),
                json!({"title": group.title, "after": after, "gate": !group.gate.is_empty()}),
            )
        })
        .collect();
    json!({"version": 1, "run": live.and_then(|live| live.run.as_ref()), "tasks": tasks, "groups": groups})
}

fn name_of(reference: &crate::model::Reference) -> &str {
    match reference {
        crate::model::Reference::Task(id, _) => id.as_str(),
        crate::model::Reference::Group(id, _) => id.as_str(),
    }
}

fn row(session: &Session, index: TaskIndex, task: &Task, state: &str) -> Value {
    let outputs: Vec<String> = task
        .outputs
        .iter()
        .map(|output| format!("{}{}", output.path.to_text(), if output.folder { "/" } else { "" }))
        .collect();
    let plan = &session.plan;
    let edges = |carry: bool| {
        let deps =
            plan.deps(index).filter(|(dep, kinds)| kinds.carries_outputs() == carry && !plan.is_hidden(*dep));
        deps.map(|(dep, _)| plan.id(dep)).collect::<Vec<_>>()
    };
    let mut row = json!({
        "title": task.title,
        "group": task.group,
        "role": task.role,
        "tags": task.tags,
        "state": state,
        "needs": edges(true),
        "after": edges(false),
        "inputs": task.inputs.iter().map(crate::model::Pattern::display).collect::<Vec<_>>(),
        "outputs": outputs,
    });
    if let Work::Agent(agent) = &task.work {
        row["agent"] = json!(agent.adapter);
    }
    row
}

fn table(
    session: &Session,
    shown: &[TaskIndex],
    standings: &BTreeMap<TaskIndex, Standing>,
    live: Option<&LiveState>,
    style: Style,
) -> String {
    let plan = &session.plan;
    let mut text = String::new();
    if let Some(run) = live.and_then(|live| live.run.as_ref()) {
        let _ = writeln!(text, "run {run} is going on\n");
    }
    let width = shown.iter().map(|index| plan.id(*index).len()).max().unwrap_or(0).min(32);
    let (mut group, mut gates) = (None, false);
    for index in shown.iter().copied() {
        let Ok(task) = plan.task(index) else { continue };
        if task.is_gate() && !std::mem::replace(&mut gates, true) {
            let _ = writeln!(text, "{}", style.paint(Paint::Dim, "gates"));
        }
        if task.group != group && !task.is_gate() {
            group.clone_from(&task.group);
            let heading = match &group {
                None => "no group".to_owned(),
                Some(id) => {
                    let title = plan.groups().iter().find(|other| other.id == *id);
                    let title = title.and_then(|group| group.title.clone()).unwrap_or_default();
                    one_line(&format!("{id} {title}"))
                }
            };
            let _ = writeln!(text, "{}", style.paint(Paint::Dim, &heading));
        }
        let state = state(session, index, standings, live);
        let paint =
            if standings.get(&index).is_some_and(Standing::is_due) { Paint::Bad } else { Paint::Good };
        let id = style.paint(Paint::Name, &format!("{:width$}", plan.id(index)));
        let state = style.paint(paint, &format!("{state:10}"));
        let line = format!("  {id}  {state}  {}", one_line(task.title.as_deref().unwrap_or_default()));
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}
