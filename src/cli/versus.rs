//! `conductor why T9 --vs RUN`: what differs between the task now and the task as it was in an earlier run.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::Stop;
use super::session::Session;
use crate::graph::TaskIndex;
use crate::incremental::{Compared, Engine};
use crate::model::{Attempt, Entry, OutputEntry, Reason, RunId, Status, WorkspacePath};
use crate::report::style::Paint;
use crate::report::{Style, explain};
use crate::store::{last_attempt, list_runs};

/// The task as it was in a run, and what differs since.
pub(super) struct Versus {
    run: RunId,
    /// What held in that run, and the run that it came from; none where the task had no result then.
    before: Option<(RunId, Attempt)>,
    compared: Compared,
    reasons: Vec<Reason>,
    outputs: Vec<Changed>,
}

/// An output that is recorded with another content than the run had.
struct Changed {
    path: WorkspacePath,
    old: Entry,
    new: Entry,
}

/// Compares with the run that `wanted` names.
pub(super) fn versus(
    session: &Session,
    engine: &mut Engine,
    index: TaskIndex,
    wanted: &str,
) -> Result<Versus, Stop> {
    let runs = list_runs(&session.folder);
    let Some(at) = runs.iter().position(|run| run.0 == wanted) else {
        return Err(super::runs::unknown(wanted));
    };
    let run = runs[at].clone();
    let before = as_of(session, engine, index, &runs[at..]);
    let (compared, reasons) = match &before {
        Some((_, before)) => engine.versus(index, before)?,
        None => (Compared::Nothing, Vec::new()),
    };
    let recorded = engine.state().record(&session.plan.task_id(index));
    let outputs = match (&before, recorded) {
        (Some((_, before)), Some(record)) if accepted(before) => changed(&before.outputs, &record.outputs),
        _ => Vec::new(),
    };
    Ok(Versus { run, before, compared, reasons, outputs })
}

/// What held of a task in the first of `runs`, which go backwards in time: its attempt there; else, as it was
/// fresh or out of scope then, its last accepted one before.
fn as_of(session: &Session, engine: &Engine, index: TaskIndex, runs: &[RunId]) -> Option<(RunId, Attempt)> {
    let task = session.plan.task_id(index);
    let (first, earlier) = runs.split_first()?;
    let there = |run: &RunId| Some((run.clone(), last_attempt(&session.folder, run, &task)?));
    let kept = there(first).or_else(|| earlier.iter().filter_map(there).find(|(_, found)| accepted(found)));
    kept.or_else(|| {
        // The folder of that run may be gone by now.
        let record = engine.state().record(&task).filter(|record| record.run <= *first)?;
        let attempt = Attempt {
            task,
            status: Status::Ran,
            action: record.action,
            validation: Some(record.validation),
            outputs: record.outputs,
        };
        Some((record.run, attempt))
    })
}

fn accepted(attempt: &Attempt) -> bool {
    matches!(attempt.status, Status::Ran | Status::Fresh | Status::Cached)
}

/// Both sorted by path.
fn changed(before: &[OutputEntry], now: &[OutputEntry]) -> Vec<Changed> {
    let find = |side: &[OutputEntry], path: &WorkspacePath| {
        let at = side.binary_search_by(|output| output.path.cmp(path)).ok()?;
        side.get(at).map(|output| output.entry)
    };
    let paths: std::collections::BTreeSet<&WorkspacePath> =
        before.iter().chain(now).map(|output| &output.path).collect();
    let both = paths.into_iter().map(|path| Changed {
        path: path.clone(),
        old: find(before, path).unwrap_or(Entry::absent()),
        new: find(now, path).unwrap_or(Entry::absent()),
    });
    both.filter(|one| one.old != one.new).collect()
}

impl Versus {
    /// The part of the document of `why` that answers this.
    pub(super) fn json(&self) -> Value {
        let before = self.before.as_ref();
        let outputs: Vec<Value> = self
            .outputs
            .iter()
            .map(|one| json!({"path": one.path, "old": one.old.describe(), "new": one.new.describe()}))
            .collect();
        json!({
            "run": self.run,
            "from": before.map(|(run, _)| run),
            "status": before.map(|(_, attempt)| attempt.status),
            "key": before.map(|(_, attempt)| attempt.action.key()),
            "compared": self.compared.name(),
            "differences": self.reasons,
            "outputs": outputs,
        })
    }

    /// The lines for people.
    pub(super) fn text(&self, style: Style) -> String {
        let mut text = String::new();
        let Some((from, attempt)) = &self.before else {
            let _ = writeln!(text, "compared with run {}: it had no result then", self.run);
            return text;
        };
        let there = if *from == self.run {
            format!(
                "where it {}",
                if attempt.status == Status::Fresh { "was checked again" } else { attempt.status.name() }
            )
        } else {
            format!("when the result of run {from} stood")
        };
        let _ = writeln!(text, "compared with run {}, {there}:", self.run);
        if self.compared == Compared::Recorded {
            let _ = writeln!(
                text,
                "  (its key is not known before it is unblocked; compared is what is recorded)"
            );
        }
        for reason in &self.reasons {
            for line in explain::paragraph(reason, style) {
                let _ = writeln!(text, "  {line}");
            }
        }
        for one in &self.outputs {
            let (old, new) = (one.old.describe(), one.new.describe());
            let path = style.paint(Paint::Name, &one.path.to_string());
            let _ = writeln!(text, "  made {path} anew ({} {} {})", old, style.arrow(), new);
        }
        if self.reasons.is_empty() && self.outputs.is_empty() {
            text.push_str("  nothing differs\n");
        }
        text
    }
}
