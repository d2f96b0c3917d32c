//! What an agent was told and what it printed: where that is kept, and how it is shown.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

use super::session::Session;
use crate::execute;
use crate::model::{AgentRun, RunId, TaskId};
use crate::report::usage;
use crate::store::{Access, Objects, RunDir, State};

/// The transcript of the task's last work in the run: of work that is not done, of a failure, of the recorded result.
pub(super) fn read(session: &Session, task: &TaskId, run: &RunId) -> Option<Vec<Value>> {
    let unfinished = execute::unfinished(&session.folder, task).and_then(|work| bytes(&work.transcript));
    let failed = || bytes(&RunDir::of(&session.folder, run).log(task).with_extension("transcript"));
    let recorded = || {
        let (state, _) = State::open(&session.folder, Access::ReadOnly);
        let entry = state.record(task)?.agent?.transcript?;
        Objects::of(&session.folder).read(&entry).ok()
    };
    let found = unfinished.or_else(failed).or_else(recorded)?;
    Some(found.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect())
}

fn bytes(path: &Path) -> Option<Vec<u8>> {
    std::fs::read(path).ok()
}

/// As people read it.
pub(super) fn render(lines: &[Value]) -> String {
    let mut text = String::new();
    for line in lines {
        if let Some(prompt) = line["prompt"].as_str() {
            let how = if line["resumed"] == true { "goes on with its session" } else { "begins" };
            let _ = writeln!(
                text,
                "=== run {} {how}; it is told:\n{}\n=== it prints:",
                line["run"],
                prompt.trim_end()
            );
        } else if let Some(line) = line["line"].as_str() {
            let _ = writeln!(text, "{line}");
        } else if let Some(why) = line["refused"].as_str() {
            let _ = writeln!(text, "=== its result was not accepted: {}\n", why.trim_end());
        } else if line["truncated"] == true {
            let _ = writeln!(text, "=== the rest of what it printed was not kept");
        } else if let Ok(run) = serde_json::from_value::<AgentRun>(line["end"].clone()) {
            let _ = writeln!(text, "=== {}\n", usage::run(&run));
        }
    }
    text
}
