//! `build --verify`: what came of the sample, and stopping it.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use serde_json::{Value, json};

use super::interruption::Interruption;
use super::{Exit, Output};
use crate::execute::{Difference, DifferentLine, RunContext};
use crate::graph::TaskIndex;
use crate::incremental::Engine;
use crate::model::TaskId;
use crate::report::style::Paint;
use crate::report::{Style, count};
use crate::schedule::{self, Message, Sample, Verified};
use crate::store::RunDir;

/// Between two looks at whether somebody wants it to stop.
const TICK: Duration = Duration::from_millis(20);

/// Reads `5%` or `3`.
pub(super) fn parse(text: &str) -> Result<Sample, String> {
    let refuse = || "a sample is a share or a number of tasks: 5% or 3".to_owned();
    match text.strip_suffix('%') {
        Some(percent) => percent
            .parse()
            .ok()
            .filter(|percent| *percent > 0.0 && *percent <= 100.0)
            .map(Sample::Percent)
            .ok_or_else(refuse),
        None => text.parse().ok().filter(|count| *count > 0).map(Sample::Count).ok_or_else(refuse),
    }
}

/// Runs the sample. Signals and `cancel` stop it.
pub(super) fn run(
    engine: &mut Engine,
    context: &RunContext,
    scope: &[TaskIndex],
    sample: Sample,
    interrupted: &Interruption,
    output: &Output,
) -> Verified {
    let (outbox, inbox) = sync_channel(16);
    interrupted.forward(&outbox);
    let (stopped, over) = (AtomicBool::new(false), AtomicBool::new(false));
    let mut tell = |task: &TaskId, number: usize, of: usize| {
        let go_on = !stopped.load(Ordering::SeqCst);
        if go_on {
            output.hint(&format!("verifying {task} ({number} of {of})\n"));
        }
        go_on
    };
    std::thread::scope(|threads| {
        let (stopped, over) = (&stopped, &over);
        threads.spawn(move || watch(&inbox, context, stopped, over));
        let verified = schedule::verify(engine, context, scope, sample, &mut tell);
        over.store(true, Ordering::SeqCst);
        verified
    })
}

/// Stops what runs as soon as somebody asks for it.
fn watch(inbox: &Receiver<Message>, context: &RunContext, stopped: &AtomicBool, over: &AtomicBool) {
    let mut requests = RunDir::of(&context.folder, &context.run);
    while !over.load(Ordering::SeqCst) {
        let again = match inbox.recv_timeout(TICK) {
            Ok(Message::Signal(_, times)) => Some(times > 1),
            Ok(_) | Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let again = again.or_else(|| (!requests.poll_cancel().is_empty()).then_some(false));
        if let Some(again) = again {
            stopped.store(true, Ordering::SeqCst);
            context.processes.stop_all(again);
        }
    }
}

/// The exit code that the sample alone would give.
pub(super) fn exit(verified: &Verified) -> Exit {
    let stopped = if verified.stopped { Exit::Signal(15) } else { Exit::Success };
    let failed = if verified.failed.is_empty() { Exit::Success } else { Exit::Failed };
    let different = if verified.different.is_empty() { Exit::Success } else { Exit::Integrity };
    stopped.or(different).or(failed)
}

/// For people.
pub(super) fn render(verified: &Verified, style: Style) -> String {
    let mut text = String::new();
    for (task, differences) in &verified.different {
        let word = style.paint(Paint::Bad, "differs");
        let _ = writeln!(
            text,
            "{}  {word}  the same key made something else",
            style.paint(Paint::Name, task.as_str())
        );
        for difference in differences {
            let (old, new) = (difference.recorded.describe(), difference.again.describe());
            let _ = writeln!(text, "  {}: {old} {} {new}", difference.path, style.arrow());
            if let Some(line) = &difference.line {
                let shown =
                    |line: &Option<String>| line.clone().unwrap_or_else(|| "(no such line)".to_owned());
                let _ = writeln!(text, "    line {}, recorded: {}", line.number, shown(&line.recorded));
                let _ = writeln!(text, "    line {}, again:    {}", line.number, shown(&line.again));
            }
        }
    }
    for (task, message) in &verified.failed {
        let word = style.paint(Paint::Bad, "failed");
        let name = style.paint(Paint::Name, task.as_str());
        let _ = writeln!(text, "{name}  {word}  it did not succeed with its declared inputs alone");
        for line in message.lines() {
            let _ = writeln!(text, "  {line}");
        }
    }
    let ran = verified.same.len() + verified.different.len() + verified.failed.len();
    let rest = if verified.stopped { ", and was stopped" } else { "" };
    let _ = writeln!(
        text,
        "verified {ran} of {}: {} the same, {} different, {} failed{rest}",
        count(verified.of, "fresh task"),
        verified.same.len(),
        verified.different.len(),
        verified.failed.len()
    );
    text
}

/// `verified` of the build's document.
pub(super) fn document(verified: &Verified) -> Value {
    let different: serde_json::Map<String, Value> = verified
        .different
        .iter()
        .map(|(task, differences)| (task.to_string(), differences.iter().map(difference).collect()))
        .collect();
    let failed: serde_json::Map<String, Value> =
        verified.failed.iter().map(|(task, message)| (task.to_string(), json!(message))).collect();
    json!({"of": verified.of, "same": verified.same, "different": different, "failed": failed,
        "stopped": verified.stopped})
}

fn difference(difference: &Difference) -> Value {
    let digest = |entry: &crate::model::Entry| entry.exists().then_some(entry.digest);
    let mut value = json!({
        "path": difference.path,
        "recorded": digest(&difference.recorded),
        "again": digest(&difference.again),
    });
    if let Some(DifferentLine { number, recorded, again }) = &difference.line {
        value["line"] = json!({"number": number, "recorded": recorded, "again": again});
    }
    value
}
