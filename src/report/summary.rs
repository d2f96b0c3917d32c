//! The end of a build: one line of counts, then what went wrong and what to type next. [`Recap`] gathers
//! it from the events; progress readers hold one, so that a failure reads the same at the moment it
//! happens and at the end.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::time::Duration;

use crate::model::{
    CheckEvidence, Event, Reason, ReasonKind, RunOutcome, Stamped, Status, Summary, TaskId, format_duration,
};

use super::failure::{Failure, Tail, next};
use super::style::{Paint, paint_of};
use super::text::{count, one_line};
use super::usage;
use super::{Style, Titles};

/// Ids that are written out where a list of them may be long.
const IDS: usize = 8;
/// Failures that are shown in full at the end, and inputs that changed during the run.
const FAILURES: usize = 10;
const CHANGED: usize = 5;
/// Tasks that must have run before the slowest ones are worth a line, and how many it names.
const SLOWEST: usize = 3;

/// What a person wants to know of a run when it ends.
#[derive(Default)]
pub struct Recap {
    titles: Titles,
    /// Of tasks that run now.
    running: HashMap<TaskId, Watched>,
    failures: Vec<Failure>,
    paused: Vec<Failure>,
    /// Skipped, by the task that they need.
    blocked: BTreeMap<TaskId, Vec<TaskId>>,
    /// Of each task in `blocked`, the one that it needs.
    roots: HashMap<TaskId, TaskId>,
    /// Skipped because the run started nothing more.
    unstarted: Vec<TaskId>,
    /// Inputs that changed under a task: what, and which task.
    changed: Vec<(Reason, TaskId)>,
    /// The slowest first.
    slowest: Vec<(Duration, TaskId)>,
    ran: usize,
    validated: usize,
    end: Option<End>,
}

#[derive(Default)]
struct Watched {
    /// Not true of a task whose `require` is still being checked.
    started: bool,
    /// Why it runs.
    reasons: Vec<Reason>,
    tail: Tail,
    refused: Vec<CheckEvidence>,
}

struct End {
    result: RunOutcome,
    summary: Summary,
    duration: Duration,
    signal: Option<i32>,
    /// What agents used.
    agents: Option<String>,
}

/// How much the end says of each failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Detail {
    /// Everything: it was not said before.
    Full,
    /// The ids: the rest was said when it happened.
    Ids,
}

impl Recap {
    /// Nothing happened yet.
    pub fn new(titles: Titles) -> Self {
        Self { titles, ..Self::default() }
    }

    /// Takes the next event. A task that failed with it is handed back.
    pub fn event(&mut self, event: &Stamped) -> Option<&Failure> {
        match &event.event {
            Event::TaskStarted { task, reasons, .. } => {
                let watched = Watched { started: true, reasons: reasons.clone(), ..Watched::default() };
                self.running.insert(task.clone(), watched);
            }
            Event::TaskOutput { task, line } => {
                if let Some(watched) = self.running.get_mut(task) {
                    watched.tail.push(line);
                }
            }
            Event::CheckFinished { task, evidence, .. } if !evidence.passed => {
                self.running.entry(task.clone()).or_default().refused.push(evidence.clone());
            }
            Event::TaskFinished { .. } => return self.task_finished(&event.event),
            Event::RunFinished { result, summary, duration, signal, spent, saved } => {
                self.end = Some(End {
                    result: *result,
                    summary: *summary,
                    duration: *duration,
                    signal: *signal,
                    agents: usage::sentence(spent.as_ref(), saved.as_ref()),
                });
            }
            _ => {}
        }
        None
    }

    fn task_finished(&mut self, event: &Event) -> Option<&Failure> {
        let Event::TaskFinished { task, status, reasons, duration, validated, message, log, .. } = event
        else {
            return None;
        };
        let watched = self.running.remove(task).unwrap_or_default();
        // What happened stands in front of why it ran, which may be that it happened before.
        let happened = &reasons[..reasons.len().saturating_sub(watched.reasons.len())];
        let changed = happened.iter().filter(|reason| reason.kind == ReasonKind::ChangedDuringRun);
        let changed = changed.filter(|reason| reason.path.is_some());
        self.changed.extend(changed.map(|reason| (reason.clone(), task.clone())));
        self.validated += usize::from(*validated);
        match status {
            Status::Ran => {
                self.ran += 1;
                self.slowest.push((*duration, task.clone()));
                self.slowest.sort_by(|a, b| b.cmp(a));
                self.slowest.truncate(SLOWEST);
            }
            Status::Skipped => {
                self.skipped(task, reasons.iter().find_map(|reason| reason.task.as_ref()));
            }
            Status::Failed | Status::Paused => {
                let failure = Failure {
                    task: task.clone(),
                    message: message.clone().unwrap_or_else(|| status.name().to_owned()),
                    reasons: watched.reasons,
                    waits_for_approval: reasons.iter().any(|it| it.kind == ReasonKind::ApprovalMissing),
                    refused: watched.refused,
                    tail: watched.tail,
                    log: log.clone(),
                    duration: *duration,
                };
                let list = if *status == Status::Failed { &mut self.failures } else { &mut self.paused };
                list.push(failure);
                return if *status == Status::Failed { self.failures.last() } else { None };
            }
            Status::Fresh | Status::Cached | Status::Cancelled => {}
        }
        None
    }

    /// A task that needs a skipped one is skipped for what that one needed.
    fn skipped(&mut self, task: &TaskId, cause: Option<&TaskId>) {
        let Some(cause) = cause else { return self.unstarted.push(task.clone()) };
        let root = self.roots.get(cause).unwrap_or(cause).clone();
        self.blocked.entry(root.clone()).or_default().push(task.clone());
        self.roots.insert(task.clone(), root);
    }

    /// Was it started, and has it not ended?
    pub(super) fn is_running(&self, task: &TaskId) -> bool {
        self.running.get(task).is_some_and(|watched| watched.started)
    }

    /// The counts in one line: `22 tasks: 21 fresh, 1 ran in 1.3s`.
    pub fn headline(&self, style: Style) -> String {
        let Some(End { summary, duration, .. }) = &self.end else { return String::new() };
        let total = summary.total();
        let time = format_duration(*duration);
        if total == summary.fresh && self.validated == 0 {
            let what = match total {
                0 => "no task in scope".to_owned(),
                1 => "the task is fresh".to_owned(),
                _ => format!("all {total} tasks are fresh"),
            };
            return style.paint(Paint::Good, &format!("nothing to do: {what}"))
                + &style.paint(Paint::Dim, &format!(" ({time})"));
        }
        let mut parts: Vec<_> = counts(summary)
            .map(|(status, number)| style.paint(paint_of(status), &format!("{number} {}", status.name())))
            .collect();
        if let Some(fresh) = parts.first_mut().filter(|_| self.validated > 0) {
            // They are among the fresh ones.
            *fresh = format!("{fresh} ({} checked again)", self.validated);
        }
        let tasks = style.paint(Paint::Name, &count(total, "task"));
        format!("{tasks}: {} {}", parts.join(", "), style.paint(Paint::Dim, &format!("in {time}")))
    }

    /// The whole end: counts, failures, what was left undone and why. Ends in a line end.
    pub fn render(&self, style: Style, detail: Detail) -> String {
        let mut text = self.headline(style);
        text.push('\n');
        if let Some(agents) = self.end.as_ref().and_then(|end| end.agents.as_ref()) {
            let _ = writeln!(text, "{}", style.paint(Paint::Dim, agents));
        }
        self.undone(&mut text, style);
        self.slowest(&mut text, style);
        if detail == Detail::Full {
            for failure in self.failures.iter().take(FAILURES) {
                let _ = write!(text, "\n{}", self.failure(failure, style));
            }
        }
        let several = detail == Detail::Ids && self.failures.len() > 1;
        if several || self.failures.len() > FAILURES {
            let ids = ids(self.failures.iter().map(|failure| &failure.task));
            let _ = writeln!(text, "{} {ids}", style.mark(Status::Failed));
        }
        text
    }

    /// A task that failed, as it is told at the moment and at the end.
    pub fn failure(&self, failure: &Failure, style: Style) -> String {
        failure.render(&self.titles, style)
    }

    /// Tasks that wait, were never started or saw their inputs change.
    fn undone(&self, text: &mut String, style: Style) {
        for paused in &self.paused {
            let label = style.paint(Paint::Name, &self.titles.label(&paused.task));
            let _ = writeln!(text, "{} {label}: {}", style.mark(Status::Paused), one_line(&paused.message));
            if paused.waits_for_approval {
                let _ = writeln!(text, "  next {}", next(&paused.task, &["log", "approve"], style));
            }
        }
        let skipped = |tasks: &[TaskId]| {
            let text = format!("{}skipped {}", style.pick("⊘ ", ""), count(tasks.len(), "task"));
            style.paint(Paint::Warn, &text)
        };
        for (cause, tasks) in &self.blocked {
            let _ = writeln!(text, "{} depending on {cause}: {}", skipped(tasks), ids(tasks));
        }
        if !self.unstarted.is_empty() {
            let tasks = &self.unstarted;
            let what = format!("after the failure: {} (--keep-going goes on)", ids(tasks));
            let _ = writeln!(text, "{} {what}", skipped(tasks));
        }
        for (reason, task) in self.changed.iter().take(CHANGED) {
            let input = reason.path.as_ref().map_or_else(|| "an input".to_owned(), ToString::to_string);
            let line = format!("{input} changed while {task} ran: run conductor build again");
            let _ = writeln!(text, "{}", style.paint(Paint::Warn, &line));
        }
        if self.changed.len() > CHANGED {
            let _ = writeln!(text, "and {} changed", count(self.changed.len() - CHANGED, "more input"));
        }
        if let Some(End { result: RunOutcome::Cancelled, signal, .. }) = &self.end {
            let by = match signal {
                Some(2) => "stopped by Ctrl-C",
                Some(15) => "stopped by SIGTERM",
                _ => "stopped",
            };
            let _ = writeln!(text, "{by}; the next build goes on from here");
        }
    }

    /// Worth a line where waiting for them was most of the run.
    fn slowest(&self, text: &mut String, style: Style) {
        let noticeable = self.slowest.first().is_some_and(|(longest, _)| longest.as_secs() >= 1);
        if self.ran <= SLOWEST || !noticeable {
            return;
        }
        let tasks: Vec<_> = self
            .slowest
            .iter()
            .map(|(duration, task)| format!("{task} {}", format_duration(*duration)))
            .collect();
        let _ = writeln!(text, "{}", style.paint(Paint::Dim, &format!("slowest: {}", tasks.join(", "))));
    }
}

/// The counts that are not zero.
pub(super) fn counts(summary: &Summary) -> impl Iterator<Item = (Status, usize)> {
    [
        (Status::Fresh, summary.fresh),
        (Status::Ran, summary.ran),
        (Status::Cached, summary.cached),
        (Status::Failed, summary.failed),
        (Status::Skipped, summary.skipped),
        (Status::Cancelled, summary.cancelled),
        (Status::Paused, summary.paused),
    ]
    .into_iter()
    .filter(|(_, number)| *number > 0)
}

/// `T1 T2 T3 (+4)`
fn ids<'a>(tasks: impl IntoIterator<Item = &'a TaskId>) -> String {
    let mut tasks = tasks.into_iter();
    let first: Vec<_> = tasks.by_ref().take(IDS).map(TaskId::as_str).collect();
    match tasks.count() {
        0 => first.join(" "),
        more => format!("{} (+{more})", first.join(" ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::testing::{Story, UNICODE, failing_build, path, titles};

    fn ending(story: &Story, detail: Detail) -> String {
        let mut recap = Recap::new(titles());
        for event in &story.events {
            recap.event(event);
        }
        recap.render(UNICODE, detail)
    }

    #[track_caller]
    fn check(story: Story, result: RunOutcome, expected: &str) {
        assert_eq!(ending(&story.finish(result), Detail::Full), format!("{expected}\n"));
    }

    #[test]
    fn where_all_is_fresh_there_is_nothing_to_do() {
        check(
            Story::new(22, 22).after(12),
            RunOutcome::Success,
            "nothing to do: all 22 tasks are fresh (12ms)",
        );
        check(Story::new(1, 1), RunOutcome::Success, "nothing to do: the task is fresh (0ms)");
        check(Story::new(0, 0), RunOutcome::Success, "nothing to do: no task in scope (0ms)");
    }

    #[test]
    fn only_counts_that_are_not_zero_are_said() {
        let story = Story::new(22, 20).after(1300).end("T1", Status::Ran, 1200).end("T2", Status::Cached, 2);
        check(story, RunOutcome::Success, "22 tasks: 20 fresh, 1 ran, 1 cached in 1.3s");
    }

    #[test]
    fn the_slowest_are_named_when_more_than_a_few_ran() {
        let story = (1..=5).fold(Story::new(5, 0).after(15000), |story, number| {
            story.end(&format!("T{number}"), Status::Ran, number * 1000)
        });
        check(story, RunOutcome::Success, "5 tasks: 5 ran in 15.0s\nslowest: T5 5.0s, T4 4.0s, T3 3.0s");
    }

    #[test]
    fn an_input_that_changed_during_the_run_is_named() {
        let reason = Reason::new(ReasonKind::ChangedDuringRun).path(&path("src/a.txt"));
        let story = Story::new(1, 0).after(1000).finished("T9", Status::Ran, 900, vec![reason], None);
        check(
            story,
            RunOutcome::Stale,
            "1 task: 1 ran in 1.0s\nsrc/a.txt changed while T9 ran: run conductor build again",
        );
    }

    #[test]
    fn a_chain_of_skipped_tasks_is_told_by_its_first_cause() {
        let story = Story::new(3, 0).skip("T10", Some("T9")).skip("T21", Some("T10")).skip("T4", None);
        check(
            story,
            RunOutcome::Failed,
            "3 tasks: 3 skipped in 0ms\n⊘ skipped 2 tasks depending on T9: T10 T21\n\
             ⊘ skipped 1 task after the failure: T4 (--keep-going goes on)",
        );
    }

    #[test]
    fn of_a_noisy_task_the_last_lines_are_kept() {
        let story = (0..100).fold(Story::new(1, 0).start("T1", Vec::new()), |story, number| {
            story.output("T1", &format!("line {number}"))
        });
        insta::assert_snapshot!(ending(&story.fail("T1", 10, "timed out\nno output for 5m"), Detail::Full));
    }

    #[test]
    fn failures_that_were_told_already_are_only_named() {
        let story = failing_build().fail("T7", 1, "exit status 1");
        insta::assert_snapshot!(ending(&story, Detail::Ids));
    }
}
