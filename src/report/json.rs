//! `build --format json`: how a run ended, as one document. Its shape is the contract (`docs/json.md`).
//! Written as a stream, so that a hundred thousand tasks are never held as JSON.

use std::cell::Cell;
use std::io::{self, Write};

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::model::{OutputEntry, RunId, RunOutcome, RunResult, Summary, TaskId, TaskResult};

/// The version of the document.
const VERSION: u32 = 1;

/// Writes the document and a line end. `tasks` are all tasks in scope, the fresh ones too, with the
/// outputs that stand. `verified` tells what `--verify` found, where it was asked for.
pub fn write_build(
    out: &mut dyn Write,
    result: &RunResult,
    tasks: impl Iterator<Item = (TaskId, TaskResult)>,
    verified: Option<&serde_json::Value>,
) -> io::Result<()> {
    let document = Build {
        version: VERSION,
        run: &result.run,
        result: result.outcome,
        summary: result.summary,
        tasks: Stream(Cell::new(Some(tasks))),
        verified,
    };
    serde_json::to_writer(&mut *out, &document)?;
    writeln!(out)
}

#[derive(serde::Serialize)]
#[serde(bound = "I: Iterator<Item = (TaskId, TaskResult)>")]
struct Build<'a, I> {
    version: u32,
    run: &'a RunId,
    result: RunOutcome,
    summary: Summary,
    tasks: Stream<I>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verified: Option<&'a serde_json::Value>,
}

/// A map that is made while it is written, which can happen once.
struct Stream<I>(Cell<Option<I>>);

impl<I: Iterator<Item = (TaskId, TaskResult)>> Serialize for Stream<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (id, result) in self.0.take().into_iter().flatten() {
            map.serialize_entry(&id, &Task { outputs: Outputs(&result.outputs), result: &result })?;
        }
        map.end()
    }
}

#[derive(serde::Serialize)]
struct Task<'a> {
    #[serde(flatten)]
    result: &'a TaskResult,
    outputs: Outputs<'a>,
}

/// `{PATH: HEX}`
struct Outputs<'a>(&'a [OutputEntry]);

impl Serialize for Outputs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|output| (&output.path, output.entry.digest)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{ActionKey, Digest, Status};
    use crate::report::testing::{changed, outputs};

    #[test]
    fn the_document_has_the_shape_of_the_contract() {
        let summary = Summary { fresh: 1, ran: 1, ..Summary::default() };
        let result = RunResult {
            run: RunId("20261122-140501-4711".to_owned()),
            outcome: RunOutcome::Success,
            signal: None,
            summary,
            tasks: Vec::new(),
            duration: Duration::from_secs(1),
            contested: false,
        };
        let task = |status, reasons, validated| TaskResult {
            status,
            key: Some(ActionKey(Digest::of(b"key"))),
            reasons,
            duration: Duration::from_millis(420),
            outputs: outputs("build/router.sh"),
            validated,
        };
        let tasks = [
            (TaskId::new("T3"), task(Status::Ran, vec![changed("src/a.txt")], false)),
            (TaskId::new("T9"), task(Status::Fresh, Vec::new(), true)),
        ];
        let mut out = Vec::new();
        write_build(&mut out, &result, tasks.into_iter(), None).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        insta::assert_snapshot!(serde_json::to_string_pretty(&value).unwrap());
    }
}
