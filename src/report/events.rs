//! The event stream as JSON lines: a run's `events.jsonl` and `--events FILE`. What is written here is
//! read here, also from a file that is still being written, was cut off, or comes from a newer
//! conductor: a line that cannot be understood is passed over.

use std::io::{BufRead, BufWriter, Write};

use crate::model::{Event, Stamped};

use super::Reader;

/// Writes each event as a line, so that others can follow. What tasks print is left out: their logs have it.
pub struct Lines {
    /// Writes whole lines: a reader never sees half of one, nor does a crash leave two halves mixed.
    out: BufWriter<Box<dyn Write + Send>>,
    closed: bool,
}

impl Lines {
    /// Writes to `out`, at each [`Reader::flush`].
    pub fn new(out: Box<dyn Write + Send>) -> Self {
        Self { out: BufWriter::new(out), closed: false }
    }
}

impl Reader for Lines {
    fn event(&mut self, event: &Stamped) {
        if self.closed || matches!(event.event, Event::TaskOutput { .. }) {
            return;
        }
        let written = serde_json::to_vec(event).map_err(Into::into).and_then(|mut line| {
            line.push(b'\n');
            self.out.write_all(&line)
        });
        self.closed = written.is_err();
    }

    fn flush(&mut self) {
        self.closed = self.closed || self.out.flush().is_err();
    }

    fn finish(&mut self) {
        self.flush();
    }
}

/// The events of a file, as far as they can be read and understood.
pub fn read(lines: impl BufRead) -> impl Iterator<Item = Stamped> {
    lines.split(b'\n').map_while(Result::ok).filter_map(|line| serde_json::from_slice(&line).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::testing::{Page, Story, failing_build};

    fn written(story: &Story) -> String {
        let page = Page::default();
        story.tell(&mut Lines::new(Box::new(page.clone())));
        page.text()
    }

    #[test]
    fn what_was_written_is_read_again() {
        let story = failing_build();
        let without_output: Vec<_> =
            story.events.iter().filter(|it| !matches!(it.event, Event::TaskOutput { .. })).cloned().collect();
        assert_eq!(read(written(&story).as_bytes()).collect::<Vec<_>>(), without_output);
    }

    #[test]
    fn each_event_is_a_line() {
        insta::assert_snapshot!(written(&failing_build()));
    }

    #[test]
    fn what_came_is_written_at_once_when_nothing_more_comes_for_the_moment() {
        let page = Page::default();
        let mut lines = Lines::new(Box::new(page.clone()));
        let story = Story::new(1, 0);
        for event in &story.events {
            lines.event(event);
        }
        assert_eq!(page.text(), "");
        lines.flush();
        assert_eq!(read(page.text().as_bytes()).collect::<Vec<_>>(), story.events);
    }

    #[test]
    fn a_line_that_is_cut_off_or_unknown_is_passed_over() {
        let text = written(&Story::new(1, 0));
        let text = format!("{{\"v\":2,\"t\":0,\"event\":\"of_tomorrow\"}}\n{text}{{\"v\":1,\"t\":");
        assert_eq!(read(text.as_bytes()).count(), 2);
    }
}
