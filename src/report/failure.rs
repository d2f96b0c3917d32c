//! A task that did not get through: what is kept of it while it runs, and how it is told.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::Duration;

use crate::model::{CheckEvidence, Reason, Status, TaskId, format_duration};

use super::style::Paint;
use super::text::{clean, count, one_line, shell_word};
use super::{Style, Titles, explain};

/// Lines of a task's output that are kept for the case that it fails.
const TAIL: usize = 20;

/// A task that did not get through.
#[derive(Clone, Debug)]
pub struct Failure {
    pub(super) task: TaskId,
    pub(super) message: String,
    /// Why it ran.
    pub(super) reasons: Vec<Reason>,
    pub(super) waits_for_approval: bool,
    pub(super) refused: Vec<CheckEvidence>,
    pub(super) tail: Tail,
    pub(super) log: Option<String>,
    pub(super) duration: Duration,
}

/// The last lines that a task printed.
#[derive(Clone, Default, Debug)]
pub(super) struct Tail {
    lines: VecDeque<String>,
    dropped: usize,
}

impl Failure {
    /// A task that failed: what, why it ran, the end of its output, and what to type next.
    pub(super) fn render(&self, titles: &Titles, style: Style) -> String {
        let mut text = String::new();
        let label = style.paint(Paint::Name, &titles.label(&self.task));
        let mut message = self.message.trim().lines();
        let first = message.next().map(|line| clean(line)).unwrap_or_default();
        let time = style.paint(Paint::Dim, &format!("({})", format_duration(self.duration)));
        let _ = writeln!(text, "{} {label}: {first} {time}", style.mark(Status::Failed));
        for line in message {
            let _ = writeln!(text, "  {}", clean(line));
        }
        for evidence in &self.refused {
            if !self.message.contains(&evidence.check) {
                // What it said is in the first line already.
                let said = evidence.message.as_ref().is_some_and(|said| self.message.contains(said.as_str()));
                let evidence = if said {
                    &CheckEvidence { message: None, exit: None, ..evidence.clone() }
                } else {
                    evidence
                };
                let _ = writeln!(text, "  {}", refusal(evidence, style));
            }
        }
        self.tail.render(&mut text, style);
        if !self.reasons.is_empty() {
            let _ = writeln!(text, "  why  {}", explain::headline(&self.reasons, style));
        }
        if let Some(log) = &self.log {
            let _ = writeln!(text, "  log  {log}");
        }
        let _ = writeln!(text, "  next {}", next(&self.task, &["log", "why", "build"], style));
        text
    }
}

impl Tail {
    pub(super) fn push(&mut self, line: &str) {
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
pub(super) fn next(task: &TaskId, commands: &[&str], style: Style) -> String {
    let word = shell_word(task.as_str());
    let commands: Vec<_> = commands.iter().map(|command| format!("conductor {command} {word}")).collect();
    commands.join(&format!(" {} ", style.dot()))
}
