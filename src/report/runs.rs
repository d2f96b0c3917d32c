//! The history of runs: what `conductor runs` lists. Knows a run by its events alone; which runs there
//! are, and whether one is still going on, is the caller's to know.

use std::borrow::Borrow;
use std::fmt::Write as _;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::model::{Event, RunId, RunOutcome, Stamped, Status, Summary, TaskId, Usage, format_duration};

use super::Style;
use super::style::Paint;
use super::summary::counts;
use super::text::{moment, one_line};
use super::usage;

/// A run in short; a row of `runs --format json`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct RunHead {
    /// Which run.
    pub run: RunId,
    /// When it began, RFC 3339.
    pub started: String,
    /// How it ended; none where it goes on or was killed.
    pub result: Option<RunOutcome>,
    /// Counts, as far as it got.
    pub summary: Summary,
    /// How long it took, or how far its last event is from its first.
    #[serde(rename = "duration_ms", serialize_with = "millis")]
    pub duration: Duration,
    /// As given; none: the default ones.
    pub targets: Vec<String>,
    /// Tasks that gave another result than before under the same key; from the ledger, not from events.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub flaky: Vec<TaskId>,
    /// What its agents used, as far as it got; none where no agent ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spent: Option<Usage>,
    /// What agents had used whose results stood.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub saved: Option<Usage>,
}

fn millis<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

impl RunHead {
    /// From all events of a run; none where it has no first line.
    pub fn from_events(events: impl IntoIterator<Item = impl Borrow<Stamped>>) -> Option<Self> {
        let mut head = Self::default();
        for event in events {
            head.event(event.borrow());
        }
        (!head.run.0.is_empty()).then_some(head)
    }

    /// Takes the next event.
    pub fn event(&mut self, event: &Stamped) {
        self.duration = Duration::from_millis(event.t);
        match &event.event {
            Event::RunStarted { run, started, targets, .. } => {
                self.run = run.clone();
                self.started.clone_from(started);
                self.targets.clone_from(targets);
            }
            Event::Planned { fresh, .. } => self.summary.add(Status::Fresh, *fresh),
            Event::TaskFinished { status, .. } => self.summary.add(*status, 1),
            Event::AgentFinished { run, .. } => self.spent.get_or_insert_default().add(&run.usage),
            Event::RunFinished { result, summary, duration, saved, .. } => {
                (self.result, self.summary, self.duration) = (Some(*result), *summary, *duration);
                self.saved = *saved;
            }
            _ => {}
        }
    }

    /// `success`, `failed`, …; `unfinished` where it goes on or was killed.
    pub fn result_name(&self) -> &'static str {
        match self.result {
            Some(RunOutcome::Success) => "success",
            Some(RunOutcome::Failed) => "failed",
            Some(RunOutcome::Paused) => "paused",
            Some(RunOutcome::Cancelled) => "cancelled",
            Some(RunOutcome::Stale) => "stale",
            None => "unfinished",
        }
    }

    /// `21 fresh, 1 ran`, and how many were flaky
    pub fn counts(&self) -> String {
        let mut parts: Vec<_> =
            counts(&self.summary).map(|(status, number)| format!("{number} {}", status.name())).collect();
        if !self.flaky.is_empty() {
            parts.push(format!("{} flaky", self.flaky.len()));
        }
        parts.join(", ")
    }
}

/// A table for people, one line a run, in the order given.
pub fn table(runs: &[RunHead], style: Style) -> String {
    let costs = runs.iter().any(|head| head.spent.is_some() || head.saved.is_some());
    let rows: Vec<Vec<String>> = runs
        .iter()
        .map(|head| {
            let targets =
                if head.targets.is_empty() { "(default)".to_owned() } else { head.targets.join(" ") };
            let mut row = vec![
                head.run.to_string(),
                moment(&head.started),
                head.result_name().to_owned(),
                format_duration(head.duration),
                head.counts(),
            ];
            row.extend(costs.then(|| match (&head.spent, &head.saved) {
                (Some(spent), _) => usage::short(spent),
                (None, Some(saved)) => format!("saved {}", usage::short(saved)),
                (None, None) => String::new(),
            }));
            row.push(one_line(&targets));
            row
        })
        .collect();
    let titles = ["RUN", "STARTED", "RESULT", "TIME", "TASKS", "AGENTS", "TARGETS"];
    let titles: Vec<String> =
        titles.iter().filter(|title| costs || **title != "AGENTS").map(|title| (*title).to_owned()).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([titles[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..titles.len()).map(width).collect();
    let mut text = String::new();
    let heading = line(&titles, &widths, |_, cell| style.paint(Paint::Dim, &cell));
    let _ = writeln!(text, "{heading}");
    for (head, row) in runs.iter().zip(&rows) {
        let paint = match head.result {
            Some(RunOutcome::Success) => Paint::Good,
            Some(RunOutcome::Failed) => Paint::Bad,
            _ => Paint::Warn,
        };
        let row = line(row, &widths, |column, cell| match column {
            0 => style.paint(Paint::Name, &cell),
            2 => style.paint(paint, &cell),
            _ => cell,
        });
        let _ = writeln!(text, "{row}");
    }
    text
}

/// Cells side by side; the last one is not padded.
fn line(cells: &[String], widths: &[usize], paint: impl Fn(usize, String) -> String) -> String {
    let last = cells.len() - 1;
    let cells = cells.iter().zip(widths).enumerate().map(|(column, (cell, width))| {
        let padded = if column == last { cell.clone() } else { format!("{cell:width$}") };
        paint(column, padded)
    });
    cells.collect::<Vec<_>>().join("  ")
}

/// `runs --format json`
pub fn json(runs: &[RunHead]) -> serde_json::Value {
    serde_json::json!({ "version": 1, "runs": runs })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::testing::{Story, UNICODE, failing_build};

    fn history() -> Vec<RunHead> {
        let killed = Story::new(3, 1).after(70_000).end("T1", Status::Ran, 60_000);
        let fresh = Story::new(22, 22).after(12).finish(RunOutcome::Success);
        [failing_build(), killed, fresh]
            .iter()
            .filter_map(|story| RunHead::from_events(&story.events))
            .collect()
    }

    #[test]
    fn each_run_is_a_line() {
        insta::assert_snapshot!(table(&history(), UNICODE));
    }

    #[test]
    fn each_run_is_a_row_of_json() {
        insta::assert_snapshot!(serde_json::to_string_pretty(&json(&history())).unwrap());
    }

    #[test]
    fn a_file_without_a_first_line_is_no_run() {
        assert_eq!(RunHead::from_events(&Story::default().end("T1", Status::Ran, 1).events), None);
    }
}
