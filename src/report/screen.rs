//! Lines at the end of a terminal that are drawn over in place. Knows a handful of escape sequences
//! (ECMA-48 and DEC private modes 7 and 2026), and nothing of what the lines say.
//!
//! Invariant: between two drawings the terminal is in its usual mode, with the cursor at the beginning
//! of the line below the rows.

use std::fmt::Write as _;
use std::io::Write;

/// Rows that are drawn over where they stand. The cursor rests on the line below them, so that a `^C`
/// that the terminal echoes is drawn over too.
pub(super) struct Screen {
    out: Box<dyn Write + Send>,
    /// Rows that stand there now.
    drawn: usize,
}

impl Screen {
    /// Nothing stands there yet.
    pub(super) fn new(out: Box<dyn Write + Send>) -> Self {
        Self { out, drawn: 0 }
    }

    /// Puts `scrolled` (whole lines) where the rows stood, and the new rows below it.
    pub(super) fn draw(&mut self, scrolled: &str, rows: &[String]) {
        if scrolled.is_empty() && rows.is_empty() && self.drawn == 0 {
            return;
        }
        // Terminals that know synchronized output (mode 2026) show all of it at once.
        let mut text = String::from("\x1b[?2026h\r");
        if self.drawn > 0 {
            let _ = write!(text, "\x1b[{}A", self.drawn);
        }
        for line in scrolled.lines() {
            let _ = writeln!(text, "{line}\x1b[K");
        }
        // Without automatic wrapping (mode 7) the terminal itself cuts a row at its width of the moment.
        text.push_str("\x1b[?7l");
        for row in rows {
            let _ = writeln!(text, "{row}\x1b[K");
        }
        text.push_str("\x1b[?7h\x1b[J\x1b[?2026l");
        self.drawn = rows.len();
        // A terminal that went away is no concern of the run.
        let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }
}

/// What a terminal shows in the end, as far as [`Screen`] makes use of it.
#[cfg(test)]
pub(super) fn seen(bytes: &str) -> String {
    let (mut lines, mut row, mut fresh) = (vec![String::new()], 0, true);
    for (index, part) in bytes.split("\x1b[").enumerate() {
        let mut text = part;
        if index > 0 {
            let end = part.find(|c: char| c.is_ascii_alphabetic()).unwrap();
            let (argument, command) = (&part[..end], &part[end..=end]);
            text = &part[end + 1..];
            match command {
                "A" => row -= argument.parse::<usize>().unwrap(),
                "J" => lines.truncate(row + 1),
                "K" | "h" | "l" => {}
                other => panic!("unknown sequence {other}"),
            }
        }
        for c in text.chars() {
            match c {
                '\n' => {
                    row += 1;
                    lines.resize(lines.len().max(row + 1), String::new());
                    fresh = true;
                }
                '\r' => fresh = true,
                c => {
                    // Whoever writes on a line writes all of it.
                    if std::mem::take(&mut fresh) {
                        lines[row].clear();
                    }
                    lines[row].push(c);
                }
            }
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::testing::Page;

    #[test]
    fn rows_are_drawn_over_and_what_scrolled_away_stays() {
        let page = Page::default();
        let mut screen = Screen::new(Box::new(page.clone()));
        screen.draw("", &["counts".to_owned(), "T1 running".to_owned(), "T2 running".to_owned()]);
        screen.draw("T1 ran\nT2 ran\n", &["counts again".to_owned()]);
        assert_eq!(seen(&page.text()), "T1 ran\nT2 ran\ncounts again\n");
        screen.draw("the end\n", &[]);
        assert_eq!(seen(&page.text()), "T1 ran\nT2 ran\nthe end\n");
    }
}
