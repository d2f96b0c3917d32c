//! A run's events on disk: `events.jsonl`, one JSON object a line. Knows the stream's form, not its meaning.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use crate::model::{Event, Stamped};

use super::{Error, failed};

/// Writes a run's events. Each is one write, so that another terminal sees it at once and whole.
pub struct EventLog {
    path: PathBuf,
    file: File,
    /// The last write failed: the file may end in the middle of a line.
    torn: bool,
}

impl EventLog {
    /// Makes the file at `path`.
    pub fn create(path: &Path) -> Result<Self, Error> {
        let file = OpenOptions::new().append(true).create(true).open(path).map_err(failed("create", path))?;
        Ok(Self { path: path.to_owned(), file, torn: false })
    }

    /// Appends an event. What a task prints is left out: its log has it.
    pub fn write(&mut self, event: &Stamped) -> Result<(), Error> {
        if matches!(event.event, Event::TaskOutput { .. }) {
            return Ok(());
        }
        let written = self.append(event);
        self.torn = written.is_err();
        written.map_err(failed("write", &self.path))
    }

    fn append(&mut self, event: &Stamped) -> io::Result<()> {
        let mut line = if self.torn { b"\n".to_vec() } else { Vec::new() };
        serde_json::to_writer(&mut line, event)?;
        line.push(b'\n');
        self.file.write_all(&line)
    }
}

/// Reads the events of the file at `path`, and says how many lines were none. A last line that is not
/// ended yet is being written and does not count.
pub fn read_events(path: &Path) -> Result<(Vec<Stamped>, usize), Error> {
    let mut reader = BufReader::new(File::open(path).map_err(failed("open", path))?);
    let (mut events, mut damaged) = (Vec::new(), 0);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).map_err(failed("read", path))? > 0 {
        if line.pop_if(|byte| *byte == b'\n').is_none() {
            break;
        }
        match serde_json::from_slice(&line) {
            Ok(event) => events.push(event),
            Err(_) if line.is_empty() => {}
            Err(_) => damaged += 1,
        }
        line.clear();
    }
    Ok((events, damaged))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Diagnostic, EVENTS_VERSION, TaskId};

    fn notice(t: u64) -> Stamped {
        Stamped { v: EVENTS_VERSION, t, event: Event::Notice { diagnostic: Diagnostic::warning("c", "m") } }
    }

    #[test]
    fn events_read_back_without_what_tasks_print() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        let mut log = EventLog::create(&path).unwrap();
        let line = Event::TaskOutput { task: TaskId::new("T1"), line: "secret".to_owned() };
        for event in [notice(1), Stamped { event: line, ..notice(2) }, notice(3)] {
            log.write(&event).unwrap();
        }
        assert_eq!(read_events(&path).unwrap(), (vec![notice(1), notice(3)], 0));
    }

    #[test]
    fn damaged_lines_are_counted_and_a_line_being_written_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        let mut log = EventLog::create(&path).unwrap();
        log.write(&notice(1)).unwrap();
        log.file.write_all(b"{\"v\":1,").unwrap();
        assert_eq!(read_events(&path).unwrap(), (vec![notice(1)], 0));
        // A full disk cut that line short; the next event begins a line of its own.
        log.torn = true;
        log.write(&notice(2)).unwrap();
        assert_eq!(read_events(&path).unwrap(), (vec![notice(1), notice(2)], 1));
    }
}
