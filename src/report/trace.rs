//! A run in Chrome's trace format (`--trace FILE`), for <chrome://tracing>, Perfetto and speedscope: a row
//! for each slot that was busy, a slice for each attempt of a task, and its checks within it.
//!
//! The format: <https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU> (JSON
//! Object Format, complete events). Times are microseconds.

use std::collections::HashMap;
use std::io::{self, Write};
use std::time::Duration;

use serde_json::{Value, json};

use crate::model::{ActionKey, CheckEvidence, Event, Reason, Stamped, Status, TaskId};

use super::{Reader, Style, explain};

/// Writes the trace while the run goes on; it is whole after [`Reader::finish`].
pub struct Trace {
    out: Box<dyn Write + Send>,
    /// Who runs in each slot.
    slots: Vec<Option<TaskId>>,
    open: HashMap<TaskId, Slice>,
    /// Milliseconds of the last event.
    now: u64,
    /// Something was written, so a comma is due.
    begun: bool,
    ended: bool,
    closed: bool,
}

/// An attempt that has not ended.
struct Slice {
    slot: usize,
    since: u64,
    args: Value,
}

impl Trace {
    /// Writes to `out`.
    pub fn new(out: Box<dyn Write + Send>) -> Self {
        let slots = Vec::new();
        Self { out, slots, open: HashMap::new(), now: 0, begun: false, ended: false, closed: false }
    }

    /// Puts an attempt into the first free slot. A slot that is used for the first time gets its name.
    fn start(&mut self, task: &TaskId, attempt: u32, reasons: &[Reason], key: &ActionKey) {
        let free = self.slots.iter().position(Option::is_none);
        let slot = free.unwrap_or_else(|| {
            self.slots.push(None);
            let slot = self.slots.len() - 1;
            let name = json!({ "name": format!("slot {}", slot + 1) });
            self.write(&json!({ "ph": "M", "name": "thread_name", "pid": 1, "tid": slot + 1, "args": name }));
            slot
        });
        self.slots[slot] = Some(task.clone());
        let args = json!({ "attempt": attempt, "key": key.0.short(), "why": explain::headline(reasons, Style::PLAIN) });
        self.open.insert(task.clone(), Slice { slot, since: self.now, args });
    }

    /// Ends an attempt as a slice with what became of it.
    fn end(&mut self, task: &TaskId, outcome: &str, color: &str, message: Option<&str>) {
        let Some(Slice { slot, since, mut args }) = self.open.remove(task) else { return };
        self.slots[slot] = None;
        args["status"] = outcome.into();
        if let Some(message) = message {
            args["message"] = message.into();
        }
        self.write(&json!({
            "ph": "X", "cat": "task", "name": task, "pid": 1, "tid": slot + 1,
            "ts": since * 1000, "dur": (self.now - since) * 1000, "cname": color, "args": args,
        }));
    }

    /// A check ended just now; it lies within its task's slice.
    fn check(&mut self, task: &TaskId, phase: &str, evidence: &CheckEvidence) {
        let Some(Slice { slot, since, .. }) = self.open.get(task) else { return };
        let (tid, since) = (slot + 1, since * 1000);
        let end = self.now * 1000;
        let start = end.saturating_sub(micros(evidence.duration)).max(since);
        let color = if evidence.passed { "good" } else { "terrible" };
        self.write(&json!({
            "ph": "X", "cat": "check", "name": evidence.check, "pid": 1, "tid": tid,
            "ts": start, "dur": end - start, "cname": color,
            "args": { "phase": phase, "passed": evidence.passed, "message": evidence.message },
        }));
    }

    fn write(&mut self, event: &Value) {
        let before = if self.begun { ",\n" } else { "{\"traceEvents\":[\n" };
        self.begun = true;
        self.put(&format!("{before}{event}"));
    }

    fn put(&mut self, text: &str) {
        if !self.closed {
            let written: io::Result<()> = self.out.write_all(text.as_bytes());
            self.closed = written.is_err();
        }
    }
}

impl Reader for Trace {
    fn event(&mut self, event: &Stamped) {
        self.now = event.t;
        match &event.event {
            Event::RunStarted { run, .. } => {
                let name = json!({ "name": format!("conductor {run}") });
                self.write(&json!({ "ph": "M", "name": "process_name", "pid": 1, "tid": 0, "args": name }));
            }
            Event::TaskStarted { task, key, reasons, attempt, .. } => {
                self.start(task, *attempt, reasons, key);
            }
            Event::CheckFinished { task, phase, evidence } => self.check(task, phase, evidence),
            Event::TaskRetry { task, message, .. } => self.end(task, "retried", "bad", Some(message)),
            Event::TaskFinished { task, status, message, .. } => {
                let color = match status {
                    Status::Failed => "terrible",
                    Status::Cancelled | Status::Paused | Status::Skipped => "grey",
                    Status::Fresh | Status::Ran | Status::Cached => "good",
                };
                self.end(task, status.name(), color, message.as_deref());
            }
            _ => {}
        }
    }

    /// Ends what is still open, so that the document is whole whatever became of the run.
    fn finish(&mut self) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let running: Vec<_> = self.slots.iter().flatten().cloned().collect();
        for task in running {
            self.end(&task, "unfinished", "grey", None);
        }
        let end = if self.begun { "\n]}\n" } else { "{\"traceEvents\":[]}\n" };
        self.put(end);
        let _ = self.out.flush();
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::testing::{Page, Story, changed, failing_build};

    fn traced(story: &Story) -> Vec<Value> {
        let page = Page::default();
        story.tell(&mut Trace::new(Box::new(page.clone())));
        let document: Value = serde_json::from_str(&page.text()).unwrap();
        document["traceEvents"].as_array().unwrap().clone()
    }

    #[test]
    fn a_run_is_rows_of_slices_with_checks_within() {
        let lines: Vec<_> = traced(&failing_build()).iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn a_slot_is_used_again_and_a_back_off_holds_none() {
        let story = Story::new(3, 0)
            .start("T1", vec![changed("a")])
            .after(10)
            .retry("T1", 1, "exit status 1")
            .start("T2", Vec::new())
            .after(10)
            .attempt("T1", 2, Vec::new())
            .after(10)
            .end("T2", Status::Ran, 10)
            .end("T1", Status::Ran, 10);
        let slices: Vec<_> = traced(&story)
            .iter()
            .filter(|event| event["ph"] == "X")
            .map(|event| format!("{} in {} at {}", event["name"], event["tid"], event["ts"]))
            .collect();
        assert_eq!(slices, ["\"T1\" in 1 at 0", "\"T2\" in 1 at 10000", "\"T1\" in 2 at 20000"]);
    }

    #[test]
    fn a_run_that_was_cut_off_still_makes_a_whole_document() {
        let events = traced(&Story::new(1, 0).start("T1", Vec::new()).after(5).output("T1", "x"));
        assert_eq!(events.last().unwrap()["args"]["status"], "unfinished");
        assert!(traced(&Story::default()).is_empty());
    }
}
