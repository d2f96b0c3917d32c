//! Progress for pipes, CI and `--progress plain`: lines that are only ever appended. A task's output is
//! shown as it comes, behind the task's id, so that interleaved tasks can be told apart and searched.

use std::fmt;
use std::io::{BufWriter, Write};

use crate::model::{Event, Severity, Stamped, Status, TaskId, format_duration};

use super::failure::refusal;
use super::style::Paint;
use super::summary::{Detail, Recap};
use super::text::{clean, first_line, one_line};
use super::{Reader, Style, Titles, explain};

/// Ids are aligned up to this width; a longer one just takes its room.
const ID_WIDTH: usize = 16;

/// How much to say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verbosity {
    /// Every start, every line of output, every end.
    Normal,
    /// Failures and the summary.
    Quiet,
}

/// Writes a line for everything that happens.
pub struct Plain {
    out: BufWriter<Box<dyn Write + Send>>,
    style: Style,
    verbosity: Verbosity,
    titles: Titles,
    recap: Recap,
    counter: Counter,
    /// Of the widest id so far.
    id_width: usize,
    /// Something stands above the summary.
    said: bool,
    /// Nobody reads any more.
    closed: bool,
}

impl Plain {
    /// Writes to `out`, at each [`Reader::flush`].
    pub fn new(out: Box<dyn Write + Send>, style: Style, titles: Titles, verbosity: Verbosity) -> Self {
        let recap = Recap::new(titles.clone());
        let counter = Counter::default();
        let out = BufWriter::new(out);
        Self { out, style, verbosity, titles, recap, counter, id_width: 0, said: false, closed: false }
    }

    fn say(&mut self, text: &str) {
        self.said = true;
        self.closed = self.closed || self.out.write_all(text.as_bytes()).is_err();
    }

    /// The line of an event; none where it has nothing to say in passing.
    fn line(&mut self, event: &Event) -> Option<String> {
        let style = self.style;
        match event {
            Event::Planned { fresh, candidates } if *candidates > 0 => {
                let tasks = fresh + candidates;
                let line = format!("{fresh} of {tasks} tasks fresh, at most {candidates} to run");
                Some(style.paint(Paint::Dim, &line))
            }
            Event::TaskStarted { task, reasons, attempt, validation_only, .. } => {
                self.id_width = self.id_width.max(task.as_str().len()).min(ID_WIDTH);
                let label = style.paint(Paint::Name, &self.titles.label(task));
                let mut why = explain::headline(reasons, style);
                if *validation_only {
                    why = format!("checks alone, {why}");
                }
                if *attempt > 1 {
                    why = format!("attempt {attempt}");
                }
                Some(format!("{} {label}: {why}", self.counter))
            }
            Event::TaskOutput { task, line } => Some(self.prefixed(task, &clean(line))),
            Event::CheckFinished { task, evidence, .. } if !evidence.passed => {
                Some(self.prefixed(task, &refusal(evidence, style)))
            }
            Event::TaskRetry { task, attempt, message, wait } => {
                let mark = style.paint(Paint::Warn, style.pick("↻", "retry"));
                let wait = format_duration(*wait);
                Some(format!(
                    "{mark} {task} attempt {attempt} failed: {}; again in {wait}",
                    first_line(message)
                ))
            }
            Event::TaskFinished { task, .. } => finished(event, task.as_str(), style),
            _ => None,
        }
    }

    fn prefixed(&self, task: &TaskId, text: &str) -> String {
        let id = format!("{:width$} {}", task.as_str(), self.style.bar(), width = self.id_width);
        format!("{} {text}", self.style.paint(Paint::Dim, &id)).trim_end().to_owned()
    }
}

/// `✓ T9 ran in 1.2s`. Nothing for tasks that came to nothing: the summary counts them.
pub(super) fn finished(event: &Event, label: &str, style: Style) -> Option<String> {
    let Event::TaskFinished { status, duration, validated, message, .. } = event else { return None };
    let time = format_duration(*duration);
    let message = message.as_deref().map(|message| format!(": {}", first_line(message))).unwrap_or_default();
    let text = match status {
        Status::Fresh if *validated => format!("checked again in {time}"),
        Status::Fresh | Status::Skipped => return None,
        Status::Ran => format!("ran in {time}"),
        Status::Cached => format!("restored from the cache in {time}"),
        Status::Failed => format!("{}after {time}{message}", style.pick("failed ", "")),
        Status::Cancelled if duration.is_zero() => return None,
        Status::Cancelled => format!("{}after {time}", style.pick("stopped ", "")),
        Status::Paused => format!("{}{message}", style.pick(" paused", "")).trim_start().to_owned(),
    };
    let separator = if text.starts_with(':') { "" } else { " " };
    Some(format!("{} {}{separator}{text}", style.mark(*status), style.paint(Paint::Name, label)))
}

/// A warning or an error in two lines at most; where in the manifest is the caller's to show.
pub(super) fn notice(event: &Event, style: Style) -> Option<String> {
    let Event::Notice { diagnostic } = event else { return None };
    let word = match diagnostic.severity {
        Severity::Error => style.paint(Paint::Bad, "error:"),
        Severity::Warning => style.paint(Paint::Warn, "warning:"),
    };
    let help = diagnostic.help.as_ref().map(|help| format!("\n  help: {}", one_line(help)));
    Some(format!("{word} {}{}", one_line(&diagnostic.message), help.unwrap_or_default()))
}

impl Reader for Plain {
    fn event(&mut self, event: &Stamped) {
        let style = self.style;
        self.counter.event(&event.event, &self.recap);
        let failure = self.recap.event(event).cloned();
        let text = match (&event.event, self.verbosity) {
            (Event::Notice { .. }, _) => notice(&event.event, style).map(|text| text + "\n"),
            (Event::RunFinished { .. }, Verbosity::Normal) => Some(self.recap.render(style, Detail::Full)),
            (Event::RunFinished { .. }, Verbosity::Quiet) => Some(self.recap.render(style, Detail::Ids)),
            (_, Verbosity::Quiet) => failure.map(|failure| self.recap.failure(&failure, style)),
            (_, Verbosity::Normal) => self.line(&event.event).map(|line| line + "\n"),
        };
        if let Some(text) = text {
            let apart = self.said && matches!(event.event, Event::RunFinished { .. });
            self.say(&format!("{}{text}", if apart { "\n" } else { "" }));
        }
    }

    fn flush(&mut self) {
        self.closed = self.closed || self.out.flush().is_err();
    }

    fn finish(&mut self) {
        self.flush();
    }
}

/// Where in the run a task stands: `[ 3/22]` is the third of at most 22 that may have to run.
#[derive(Default)]
pub(super) struct Counter {
    /// Tasks that may have to run.
    pub(super) candidates: usize,
    /// Of those, the ones that were started or needed no start.
    pub(super) reached: usize,
}

impl Counter {
    /// To be told of an event before `recap` is.
    pub(super) fn event(&mut self, event: &Event, recap: &Recap) {
        match event {
            Event::RunStarted { scope, .. } => self.candidates = *scope,
            Event::Planned { candidates, .. } => self.candidates = *candidates,
            Event::TaskStarted { task, .. } | Event::TaskFinished { task, .. } if !recap.is_running(task) => {
                self.reached += 1;
            }
            _ => {}
        }
    }
}

impl fmt::Display for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A task that stands on an `always` task runs beside the candidates if that task gives something else.
        let total = self.candidates.max(self.reached).to_string();
        write!(f, "[{:width$}/{total}]", self.reached, width = total.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Diagnostic, Reason, ReasonKind, RunOutcome};
    use crate::report::testing::{Page, Story, UNICODE, changed, failing_build, titles};

    fn told(story: &Story, style: Style, verbosity: Verbosity) -> String {
        let page = Page::default();
        story.tell(&mut Plain::new(Box::new(page.clone()), style, titles(), verbosity));
        page.text()
    }

    #[test]
    fn a_failing_build_shows_each_line_and_ends_with_what_to_type_next() {
        insta::assert_snapshot!(told(&failing_build(), UNICODE, Verbosity::Normal));
    }

    #[test]
    fn in_ascii_the_marks_are_words() {
        insta::assert_snapshot!(told(&failing_build(), Style::PLAIN, Verbosity::Normal));
    }

    #[test]
    fn quiet_says_failures_and_the_summary_alone() {
        insta::assert_snapshot!(told(&failing_build(), UNICODE, Verbosity::Quiet));
    }

    #[test]
    fn retries_caches_pauses_and_stops_each_have_their_line() {
        let story = Story::new(5, 0)
            .notice(Diagnostic::warning("manifest::no_match", "`src/*.rs` matches nothing").help("remove it"))
            .start("T1", vec![Reason::new(ReasonKind::Forced)])
            .retry("T1", 1, "exit status 1")
            .after(1000)
            .attempt("T1", 2, vec![Reason::new(ReasonKind::Forced)])
            .end("T2", Status::Cached, 12)
            .end("T3", Status::Fresh, 0)
            .finished("T4", Status::Paused, 0, vec![Reason::new(ReasonKind::ApprovalMissing)], None)
            .after(3000)
            .end("T1", Status::Cancelled, 4000)
            .end("T5", Status::Cancelled, 0)
            .finish(RunOutcome::Cancelled);
        insta::assert_snapshot!(told(&story, UNICODE, Verbosity::Normal));
    }

    #[test]
    fn the_output_of_many_tasks_is_aligned() {
        let story = Story::new(3, 0)
            .start("a", vec![changed("x")])
            .output("a", "one")
            .start("longer", vec![changed("x")])
            .output("a", "")
            .output("longer", "two");
        insta::assert_snapshot!(told(&story, UNICODE, Verbosity::Normal));
    }

    #[test]
    fn colour_adds_nothing_but_escape_sequences() {
        let colourful = told(&failing_build(), Style { color: true, ..UNICODE }, Verbosity::Normal);
        let plain = told(&failing_build(), UNICODE, Verbosity::Normal);
        assert_ne!(colourful, plain);
        assert_eq!(anstream::adapter::strip_str(&colourful).to_string(), plain);
    }

    #[test]
    fn a_closed_pipe_is_no_concern_of_the_run() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        failing_build().tell(&mut Plain::new(Box::new(Closed), UNICODE, titles(), Verbosity::Normal));
    }
}
