//! Colour, glyphs and width: decided once, from facts about the terminal that the caller has gathered.
//! Does not look at the environment itself, so that every decision can be tested.

use anstyle::{AnsiColor, Effects};

use crate::model::Status;

/// The width where nobody knows better.
const DEFAULT_WIDTH: usize = 80;

/// Facts about the place that output goes to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is one fact about the terminal")]
pub struct Terminal {
    /// Is it a terminal at all?
    pub is_terminal: bool,
    /// `NO_COLOR` is set and not empty.
    pub no_color: bool,
    /// `CI` is set: a machine reads along, and nothing may be drawn over.
    pub ci: bool,
    /// `TERM`
    pub term: Option<String>,
    /// The locale's character set is UTF-8; see [`Terminal::is_utf8`].
    pub utf8: bool,
    /// Columns, where known.
    pub width: Option<usize>,
}

impl Terminal {
    /// Does a locale speak UTF-8? The first of the three that is set and not empty decides, as in POSIX.
    pub fn is_utf8(lc_all: Option<&str>, lc_ctype: Option<&str>, lang: Option<&str>) -> bool {
        [lc_all, lc_ctype, lang].into_iter().flatten().find(|value| !value.is_empty()).is_some_and(|value| {
            let value = value.to_ascii_lowercase();
            value.contains("utf-8") || value.contains("utf8")
        })
    }

    /// Can lines be drawn over? If not, progress is plain.
    pub fn is_live(&self) -> bool {
        self.is_terminal && !self.ci && !self.is_dumb()
    }

    /// How to write to it.
    pub fn style(&self) -> Style {
        Style {
            color: self.is_terminal && !self.no_color && !self.is_dumb(),
            unicode: self.utf8,
            width: self.width.filter(|width| *width > 0).unwrap_or(DEFAULT_WIDTH),
        }
    }

    fn is_dumb(&self) -> bool {
        self.term.as_deref().is_none_or(|term| term.is_empty() || term == "dumb")
    }
}

/// How to write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Style {
    /// With ANSI colours.
    pub color: bool,
    /// With glyphs beyond ASCII.
    pub unicode: bool,
    /// Columns.
    pub width: usize,
}

/// What a piece of text is to its reader.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Paint {
    /// All is well.
    Good,
    /// It failed.
    Bad,
    /// Something to look at.
    Warn,
    /// A name to find.
    Name,
    /// Less important than what stands around it.
    Dim,
}

impl Style {
    /// No colour, ASCII, 80 columns.
    pub const PLAIN: Self = Self { color: false, unicode: false, width: DEFAULT_WIDTH };

    /// `text` as what it is.
    pub fn paint(self, paint: Paint, text: &str) -> String {
        if !self.color || text.is_empty() {
            return text.to_owned();
        }
        let style = match paint {
            Paint::Good => AnsiColor::Green.on_default(),
            Paint::Bad => AnsiColor::Red.on_default().effects(Effects::BOLD),
            Paint::Warn => AnsiColor::Yellow.on_default(),
            Paint::Name => anstyle::Style::new().effects(Effects::BOLD),
            Paint::Dim => anstyle::Style::new().effects(Effects::DIMMED),
        };
        format!("{style}{text}{style:#}")
    }

    /// From old to new.
    pub fn arrow(self) -> &'static str {
        self.pick("→", "->")
    }

    /// Between things of equal rank.
    pub fn dot(self) -> &'static str {
        self.pick("·", "-")
    }

    /// In front of what a task printed.
    pub fn bar(self) -> &'static str {
        self.pick("│", "|")
    }

    /// Where something was left out.
    pub fn ellipsis(self) -> &'static str {
        self.pick("…", "...")
    }

    /// In front of a task that ended.
    pub fn mark(self, status: Status) -> String {
        let (unicode, ascii) = match status {
            Status::Fresh | Status::Ran | Status::Cached => ("✓", "ok"),
            Status::Failed => ("✗", "FAILED"),
            Status::Skipped => ("⊘", "skipped"),
            Status::Cancelled => ("■", "stopped"),
            Status::Paused => ("‖", "paused"),
        };
        self.paint(paint_of(status), self.pick(unicode, ascii))
    }

    /// One of two texts.
    pub fn pick(self, unicode: &'static str, ascii: &'static str) -> &'static str {
        if self.unicode { unicode } else { ascii }
    }
}

/// The colour of a status.
pub fn paint_of(status: Status) -> Paint {
    match status {
        Status::Fresh => Paint::Dim,
        Status::Ran | Status::Cached => Paint::Good,
        Status::Failed => Paint::Bad,
        Status::Skipped | Status::Cancelled | Status::Paused => Paint::Warn,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terminal() -> Terminal {
        Terminal {
            is_terminal: true,
            term: Some("xterm-256color".to_owned()),
            utf8: true,
            width: Some(120),
            ..Terminal::default()
        }
    }

    #[test]
    fn a_terminal_is_live_and_colourful() {
        assert!(terminal().is_live());
        assert_eq!(terminal().style(), Style { color: true, unicode: true, width: 120 });
    }

    #[test]
    fn no_color_keeps_the_live_display() {
        let terminal = Terminal { no_color: true, ..terminal() };
        assert!(terminal.is_live());
        assert!(!terminal.style().color);
    }

    #[test]
    fn a_pipe_and_a_dumb_terminal_get_neither() {
        for other in [
            Terminal { is_terminal: false, ..terminal() },
            Terminal { term: Some("dumb".to_owned()), ..terminal() },
            Terminal { term: None, ..terminal() },
        ] {
            assert!(!other.is_live() && !other.style().color, "{other:?}");
        }
        assert!(!Terminal { ci: true, ..terminal() }.is_live());
    }

    #[test]
    fn the_first_locale_variable_that_is_set_decides() {
        assert!(Terminal::is_utf8(None, None, Some("en_GB.UTF-8")));
        assert!(Terminal::is_utf8(Some(""), None, Some("C.utf8")));
        assert!(!Terminal::is_utf8(Some("C"), None, Some("en_GB.UTF-8")));
        assert!(!Terminal::is_utf8(None, None, None));
    }
}
