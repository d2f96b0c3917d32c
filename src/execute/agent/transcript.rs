//! What an agent was told and what it printed, as JSON lines, redacted already by whoever hands it in: kept while
//! the work goes on, and then among the objects.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::path::Path;

use serde_json::json;

use crate::model::AgentRun;

/// No more than this is kept of one run, in bytes: a program may print without end.
const MOST: usize = 64 * 1024 * 1024;

/// An open transcript, to which one run is added.
pub(super) struct Transcript {
    /// None where it cannot be written: a transcript decides nothing.
    file: Option<BufWriter<File>>,
    left: usize,
}

impl Transcript {
    /// Goes on with the file at `path`, for a run that is told `prompt`.
    pub(super) fn begin(path: &Path, number: usize, prompt: &str, resumed: bool) -> Self {
        let file = OpenOptions::new().append(true).create(true).open(path).ok().map(BufWriter::new);
        let mut transcript = Self { file, left: MOST };
        transcript.write(&json!({"run": number, "resumed": resumed, "prompt": prompt}));
        transcript
    }

    /// A line of its output.
    pub(super) fn line(&mut self, line: &[u8]) {
        if self.left == 0 {
            return;
        }
        let text = String::from_utf8_lossy(line);
        if text.len() >= self.left {
            self.left = 0;
            self.write(&json!({"truncated": true}));
            return;
        }
        self.left -= text.len();
        self.write(&json!({"line": text}));
    }

    /// It ended.
    pub(super) fn end(mut self, run: &AgentRun) {
        self.write(&json!({"end": run}));
        if let Some(mut file) = self.file.take() {
            let _ = file.flush();
        }
    }

    /// The result of the last run was looked at, and was not accepted.
    pub(super) fn refused(path: &Path, why: &str) {
        // A transcript decides nothing: one that cannot be written is as good as none.
        let file = OpenOptions::new().append(true).open(path);
        let _ = file.and_then(|mut file| writeln!(file, "{}", json!({"refused": why})));
    }

    fn write(&mut self, value: &serde_json::Value) {
        let written: Option<io::Result<()>> = self.file.as_mut().map(|file| writeln!(file, "{value}"));
        if written.is_some_and(|written| written.is_err()) {
            self.file = None;
        }
    }
}
