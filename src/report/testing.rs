//! Sequences of events, short to write, and an output that a test can read again.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::model::{
    ActionKey, CheckEvidence, Diagnostic, Digest, EVENTS_VERSION, Entry, EntryKind, Event, OutputEntry,
    Place, Reason, ReasonKind, RunId, RunOutcome, Stamped, Status, Summary, TaskId, WorkspacePath,
};

use super::checked::{Checked, Findings, Problem, Standing};
use super::{Reader, Style, Titles};

/// Unicode without colour.
pub(super) const UNICODE: Style = Style { unicode: true, ..Style::PLAIN };

/// A run that is told event by event; [`Story::after`] moves its clock.
#[derive(Default)]
pub(super) struct Story {
    pub(super) events: Vec<Stamped>,
    t: u64,
    summary: Summary,
}

impl Story {
    pub(super) fn new(scope: usize, fresh: usize) -> Self {
        let mut story = Self::default();
        story.summary.fresh = fresh;
        story
            .push(Event::RunStarted {
                run: RunId("20261122-140501-4711".to_owned()),
                conductor: "0.1.0".to_owned(),
                pid: 4711,
                started: "2026-11-22T14:05:01+01:00".to_owned(),
                targets: vec!["GROUP_E".to_owned()],
                jobs: 8,
                scope,
            })
            .push(Event::Planned { fresh, candidates: scope - fresh })
    }

    pub(super) fn push(mut self, event: Event) -> Self {
        self.events.push(Stamped { v: EVENTS_VERSION, t: self.t, event });
        self
    }

    pub(super) fn after(mut self, millis: u64) -> Self {
        self.t += millis;
        self
    }

    pub(super) fn start(self, task: &str, reasons: Vec<Reason>) -> Self {
        self.attempt(task, 1, reasons)
    }

    pub(super) fn attempt(self, task: &str, attempt: u32, reasons: Vec<Reason>) -> Self {
        let key = ActionKey(Digest::of(task.as_bytes()));
        let task = TaskId::new(task);
        self.push(Event::TaskStarted { task, key, reasons, attempt, validation_only: false })
    }

    pub(super) fn output(self, task: &str, line: &str) -> Self {
        self.push(Event::TaskOutput { task: TaskId::new(task), line: line.to_owned() })
    }

    pub(super) fn check(self, task: &str, check: &str, refusal: Option<&str>, millis: u64) -> Self {
        let evidence = CheckEvidence {
            check: check.to_owned(),
            passed: refusal.is_none(),
            exit: None,
            message: refusal.map(str::to_owned),
            log: Digest::of(b""),
            duration: Duration::from_millis(millis),
        };
        self.push(Event::CheckFinished { task: TaskId::new(task), phase: "validate".to_owned(), evidence })
    }

    pub(super) fn retry(self, task: &str, attempt: u32, message: &str) -> Self {
        let wait = Duration::from_secs(1);
        self.push(Event::TaskRetry { task: TaskId::new(task), attempt, message: message.to_owned(), wait })
    }

    pub(super) fn notice(self, diagnostic: Diagnostic) -> Self {
        self.push(Event::Notice { diagnostic })
    }

    /// An end without a message.
    pub(super) fn end(self, task: &str, status: Status, millis: u64) -> Self {
        self.finished(task, status, millis, Vec::new(), None)
    }

    pub(super) fn fail(self, task: &str, millis: u64, message: &str) -> Self {
        self.finished(task, Status::Failed, millis, Vec::new(), Some(message))
    }

    /// Skipped because it needs `cause`.
    pub(super) fn skip(self, task: &str, cause: Option<&str>) -> Self {
        let reasons = cause.map(|cause| Reason::new(ReasonKind::DependencyChanged).task(&TaskId::new(cause)));
        self.finished(task, Status::Skipped, 0, reasons.into_iter().collect(), None)
    }

    pub(super) fn finished(
        mut self,
        task: &str,
        status: Status,
        millis: u64,
        reasons: Vec<Reason>,
        message: Option<&str>,
    ) -> Self {
        self.summary.add(status, 1);
        self.push(Event::TaskFinished {
            task: TaskId::new(task),
            status,
            key: Some(ActionKey(Digest::of(task.as_bytes()))),
            reasons,
            duration: Duration::from_millis(millis),
            outputs: outputs(&format!("build/{task}.txt")),
            validated: false,
            message: message.map(str::to_owned),
            log: (status == Status::Failed)
                .then(|| format!(".conductor/runs/20261122-140501-4711/{task}.log")),
        })
    }

    pub(super) fn finish(self, result: RunOutcome) -> Self {
        let (summary, duration) = (self.summary, Duration::from_millis(self.t));
        let signal = (result == RunOutcome::Cancelled).then_some(2);
        self.push(Event::RunFinished { result, summary, duration, signal, spent: None, saved: None })
    }

    /// Feeds all of it to a reader.
    pub(super) fn tell(&self, reader: &mut dyn Reader) {
        for event in &self.events {
            reader.event(event);
        }
        reader.finish();
    }
}

pub(super) fn path(text: &str) -> WorkspacePath {
    WorkspacePath::new(text).unwrap()
}

pub(super) fn outputs(text: &str) -> Vec<OutputEntry> {
    let entry = Entry { digest: Digest::of(text.as_bytes()), ..Entry::bare(EntryKind::File) };
    vec![OutputEntry { path: path(text), entry }]
}

/// `PATH changed`, with digests.
pub(super) fn changed(text: &str) -> Reason {
    Reason::new(ReasonKind::InputChanged)
        .path(&path(text))
        .old(Digest::of(b"old").short())
        .new_value(Digest::of(b"new").short())
}

/// The titles of the tasks that the stories tell of.
pub(super) fn titles() -> Titles {
    Titles::new(|task| {
        let title = match task.as_str() {
            "T3" => "API router",
            "T9" => "error-recovery API",
            "T10" => "scheduler API",
            "T21" => "integration tests",
            _ => return None,
        };
        Some(title.to_owned())
    })
}

/// Bytes that a reader under test owns and the test sees.
#[derive(Clone, Default)]
pub(super) struct Page(Arc<Mutex<Vec<u8>>>);

impl Page {
    pub(super) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A build in which T9 fails and takes others with it.
pub(super) fn failing_build() -> Story {
    Story::new(17, 12)
        .after(10)
        .start("T3", vec![changed("src/a.txt"), changed("src/b.txt")])
        .start("T9", vec![Reason::new(ReasonKind::NeverBuilt)])
        .after(20)
        .output("T3", "compiling \u{1b}[32mrouter\u{1b}[0m")
        .output("T9", "cc: error: no such file")
        .after(400)
        .end("T3", Status::Ran, 420)
        .after(1000)
        .check("T9", "non_empty: build/T9.txt", Some("the file is empty"), 12)
        .fail("T9", 1420, "exit status 3")
        .skip("T10", Some("T9"))
        .skip("T21", Some("T9"))
        .skip("T4", None)
        .finish(RunOutcome::Failed)
}

/// A check that found a bit of everything, in a workspace below its repository, with names that mean harm.
pub(super) fn findings() -> Findings {
    let place = |file: &str, line, column| Some(Place { file: file.to_owned(), line, column });
    let at = |line, column| place("conductor.yaml", line, column);
    let task = |task: &str, standing, at| Checked {
        task: task.to_owned(),
        standing,
        at,
        took: Some(Duration::from_secs(90)),
        micro_usd: Some(2_500_000),
    };
    let env = Reason::new(ReasonKind::EnvChanged).name("X").old("1").new_value("2");
    let input = Reason { at: at(12, 5), ..changed("a%0A,b") };
    Findings {
        tasks: vec![
            task("T1", Standing::Fresh, at(9, 3)),
            task("T2", Standing::Stale(vec![input, env]), at(11, 3)),
            task("T3", Standing::Blocked("T2".to_owned()), at(20, 3)),
            task("A_*x*", Standing::Always, None),
        ],
        problems: vec![Problem {
            code: "lock::damaged".to_owned(),
            is_error: true,
            message: "conductor.lock is damaged".to_owned(),
            at: place("conductor.lock", 7, 1),
        }],
        prefix: "sub/".to_owned(),
    }
}
