//! `conductor lock`: writes `conductor.lock`, which a build keeps current from then on.

use std::collections::HashSet;
use std::ops::ControlFlow;

use serde_json::json;

use super::build::hold;
use super::options::{FormatArgs, Global};
use super::session::Session;
use super::{Exit, Output, Stop};
use crate::graph::TaskIndex;
use crate::incremental::{Caller, Engine, Standing, Trust, Verdict};
use crate::model::{Diagnostic, Digest, Encoder, LOCKFILE, RunOutcome, RunResult, Severity, Status};
use crate::report::count;
use crate::store::{self, LockStamp, Lockfile};

pub(super) fn run(global: &Global, _: &FormatArgs, caller: Caller, output: &Output) -> Result<Exit, Stop> {
    let session = Session::open(global, caller)?;
    let notices = store::prepare(&session.folder)?;
    let lock = hold(&session, "lock", &mut |_| ControlFlow::Break(()))?;
    if !output.json {
        output.warn(&notices, session.sources());
    }
    let old = Lockfile::read(session.workspace.root());
    refuse_newer(old.as_ref())?;
    if let Some(old) = &old {
        output.warn(&as_warnings(old), old.sources());
    }
    let scope: Vec<TaskIndex> = session.plan.order().collect();
    let mut engine = session.engine_to_read();
    engine.read_lock(Trust::Seen);
    engine.observe(&scope);
    session.refuse_unordered(&mut engine)?;
    let standings = engine.assess(&scope)?;
    let holds = |index: TaskIndex| {
        let fresh = matches!(standings.get(&index), Some(Standing::Fresh | Standing::Always));
        fresh && engine.from_lock(index).is_none()
    };
    let lines = engine.lock(old.as_ref(), &holds);
    let (tasks, text) = (lines.len(), Lockfile::render(lines));
    let changed = old.is_none_or(|old| !old.says(&text));
    if changed {
        Lockfile::write(session.workspace.root(), &text)?;
    }
    drop(lock);
    let due = standings.values().filter(|standing| standing.is_due()).count();
    if output.json {
        output.say_json(&json!({
            "version": 1, "path": LOCKFILE, "changed": changed, "results": tasks, "stale": due,
        }));
        return Ok(Exit::Success);
    }
    let said = if changed { "written" } else { "unchanged" };
    output.say(&format!("{LOCKFILE}: {}, {said}\n", count(tasks, "result")));
    if due > 0 {
        let verb = if due == 1 { "is" } else { "are" };
        output.hint(&format!(
            "{} {verb} not up to date; `conductor build` brings the lock up to date too\n",
            count(due, "task")
        ));
    }
    Ok(Exit::Success)
}

fn refuse_newer(old: Option<&Lockfile>) -> Result<(), Stop> {
    match old.filter(|old| old.is_newer()) {
        Some(old) => Err(Stop::new(Exit::Integrity, old.damage().to_vec(), old.sources())),
        None => Ok(()),
    }
}

/// What is written anew stops nobody.
fn as_warnings(old: &Lockfile) -> Vec<Diagnostic> {
    let damage = old.damage().iter().cloned();
    damage.map(|damage| Diagnostic { severity: Severity::Warning, ..damage }).collect()
}

/// Keeps the lock current after a build whose results are committed, where there is a lock. Where neither it nor what
/// it rests on has changed since the last time, it is not even read.
pub(super) fn keep_current(
    session: &Session,
    engine: &Engine,
    scope: &[TaskIndex],
    result: &RunResult,
    output: &Output,
) -> Result<(), Stop> {
    let root = session.workspace.root();
    if !Lockfile::exists(root) {
        return Ok(());
    }
    let covers = covers(session, scope);
    if LockStamp::read(&session.folder)
        .is_some_and(|stamp| stamp == LockStamp::of(root, &session.folder, covers))
    {
        return Ok(());
    }
    let Some(old) = Lockfile::read(root) else { return Ok(()) };
    output.warn(&as_warnings(&old), old.sources());
    if old.is_newer() {
        return Ok(());
    }
    let unsettled: HashSet<&str> = result
        .tasks
        .iter()
        .filter(|(_, task)| !matches!(task.status, Status::Fresh | Status::Ran | Status::Cached))
        .map(|(id, _)| id.as_str())
        .collect();
    let mut built = vec![false; session.plan.len()];
    for index in scope {
        built[*index as usize] = !unsettled.contains(session.plan.id(*index));
    }
    let text = Lockfile::render(engine.lock(Some(&old), &|index| built[index as usize]));
    if !old.says(&text) {
        Lockfile::write(root, &text)?;
    }
    if result.outcome == RunOutcome::Success {
        // Without it the next build reads the lock, and that is all.
        let _ = LockStamp::of(root, &session.folder, covers).write(&session.folder);
    }
    Ok(())
}

/// Keeps the lock current after a person's decision about results, where there is a lock.
pub(super) fn after_decision(session: &Session, engine: &mut Engine) -> Result<(), Stop> {
    let root = session.workspace.root();
    let Some(old) = Lockfile::read(root).filter(|old| !old.is_newer()) else { return Ok(()) };
    let mut holds = vec![false; session.plan.len()];
    for index in session.plan.indices().filter(|index| !session.plan.is_hidden(*index)) {
        let known = engine.state().row(&session.plan.task_id(index)).is_some_and(|row| row.has_record);
        holds[index as usize] = known && engine.verdict(index)?.state == Verdict::Fresh;
    }
    let text = Lockfile::render(engine.lock(Some(&old), &|index| holds[index as usize]));
    if !old.says(&text) {
        Lockfile::write(root, &text)?;
    }
    Ok(())
}

/// Which tasks a build was about, and which there are.
fn covers(session: &Session, scope: &[TaskIndex]) -> Digest {
    let mut encoder = Encoder::new("conductor lock stamp 1");
    encoder.count(session.plan.len());
    for index in session.plan.indices() {
        encoder.digest(&session.plan.fingerprint(index));
    }
    for index in scope {
        encoder.count(*index as usize);
    }
    encoder.finish()
}
