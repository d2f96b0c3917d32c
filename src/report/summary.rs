//! The end of a build: one line of counts, then what went wrong and what to type next. [`Recap`] gathers
//! it from the events; progress readers hold one, so that a failure reads the same at the moment it
//! happens and at the end.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt::Write as _;
use std::time::Duration;

use crate::model::{
    CheckEvidence, Event, Reason, ReasonKind, RunOutcome, Stamped, Status, Summary, TaskId, format_duration,
};

use super::style::{Paint, paint_of};
use super::text::{clean, count, one_line, shell_word};
use super::{Style, Titles, explain};

/// Lines of a task's output that are kept for the case that it fails.
const TAIL: usize = 20;
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

/// A task that did not get through.
#[derive(Clone, Debug)]
pub struct Failure {
    task: TaskId,
    message: String,
    /// Why it ran.
    reasons: Vec<Reason>,
    waits_for_approval: bool,
    refused: Vec<CheckEvidence>,
    tail: Tail,
    log: Option<String>,
    duration: Duration,
}

/// The last lines that a task printed.
#[derive(Clone, Default, Debug)]
struct Tail {
    lines: VecDeque<String>,
    dropped: usize,
}

#[derive(Default)]
struct Watched {
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
                let watched = Watched { reasons: reasons.clone(), ..Watched::default() };
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
            Event::RunFinished { result, summary, duration, signal } => {
                self.end =
                    Some(End { result: *result, summary: *summary, duration: *duration, signal: *signal });
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
        let changed = reasons.iter().filter(|reason| reason.kind == ReasonKind::ChangedDuringRun);
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
                let cause = reasons.iter().find_map(|reason| reason.task.clone());
                cause
                    .map_or(&mut self.unstarted, |cause| self.blocked.entry(cause).or_default())
                    .push(task.clone());
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

    /// Was it started, and has it not ended?
    pub(super) fn is_running(&self, task: &TaskId) -> bool {
        self.running.contains_key(task)
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
        if self.validated > 0 {
            parts.insert(1.min(parts.len()), format!("{} checked again", self.validated));
        }
        let tasks = style.paint(Paint::Name, &count(total, "task"));
        format!("{tasks}: {} {}", parts.join(", "), style.paint(Paint::Dim, &format!("in {time}")))
    }

    /// The whole end: counts, failures, what was left undone and why. Ends in a line end.
    pub fn render(&self, style: Style, detail: Detail) -> String {
        let mut text = self.headline(style);
        text.push('\n');
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

    /// A task that failed: what, why it ran, the end of its output, and what to type next.
    pub fn failure(&self, failure: &Failure, style: Style) -> String {
        let mut text = String::new();
        let label = style.paint(Paint::Name, &self.titles.label(&failure.task));
        let mut message = failure.message.trim().lines();
        let first = message.next().map(|line| clean(line)).unwrap_or_default();
        let time = style.paint(Paint::Dim, &format!("({})", format_duration(failure.duration)));
        let _ = writeln!(text, "{} {label}: {first} {time}", style.mark(Status::Failed));
        for line in message {
            let _ = writeln!(text, "  {}", clean(line));
        }
        for evidence in &failure.refused {
            if !failure.message.contains(&evidence.check) {
                let _ = writeln!(text, "  {}", refusal(evidence, style));
            }
        }
        failure.tail.render(&mut text, style);
        if !failure.reasons.is_empty() {
            let _ = writeln!(text, "  why  {}", explain::headline(&failure.reasons, style));
        }
        if let Some(log) = &failure.log {
            let _ = writeln!(text, "  log  {log}");
        }
        let _ = writeln!(text, "  next {}", next(&failure.task, &["log", "why", "build"], style));
        text
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

impl Tail {
    fn push(&mut self, line: &str) {
        if self.lines.len() == TAIL {
            self.lines.pop_front();
            self.dropped += 1;
        }
        self.lines.push_back(clean(line).into_owned());
    }

    fn render(&self, text: &mut String, style: Style) {
        let bar = style.paint(Paint::Dim, style.bar());
        if self.dropped > 0 {
            let more = format!("{} {} before", style.ellipsis(), count(self.dropped, "line"));
            let _ = writeln!(text, "  {bar} {}", style.paint(Paint::Dim, &more));
        }
        for line in &self.lines {
            let _ = writeln!(text, "  {bar} {line}");
        }
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

/// A check that refused, and what it said.
pub(super) fn refusal(evidence: &CheckEvidence, style: Style) -> String {
    let mut text = format!("{} {}", style.paint(Paint::Bad, "check refused:"), one_line(&evidence.check));
    if let Some(message) = &evidence.message {
        let _ = write!(text, ": {}", one_line(message));
    } else if let Some(exit) = evidence.exit {
        let _ = write!(text, " (exit {exit})");
    }
    text
}

/// The commands about a task that a person may want next.
fn next(task: &TaskId, commands: &[&str], style: Style) -> String {
    let word = shell_word(task.as_str());
    let commands: Vec<_> = commands.iter().map(|command| format!("conductor {command} {word}")).collect();
    commands.join(&format!(" {} ", style.dot()))
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
