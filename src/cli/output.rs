//! Where a command's words go: standard output for what was asked, standard error for what went wrong.

use std::ffi::OsStr;
use std::io::{IsTerminal as _, Write};

use super::options::Color;
use crate::incremental::Caller;
use crate::model::{Diagnostic, Sources};
use crate::report::{Style, Terminal, diagnostics};

/// Standard output and standard error, with what they can show.
pub(super) struct Output {
    pub(super) json: bool,
    pub(super) stdout: Terminal,
    stderr: Terminal,
    color: Color,
}

impl Output {
    pub(super) fn new(caller: &Caller, color: Color, json: bool) -> Self {
        Self {
            json,
            stdout: terminal(caller, std::io::stdout().is_terminal(), || {
                rustix::termios::tcgetwinsize(std::io::stdout())
            }),
            stderr: terminal(caller, std::io::stderr().is_terminal(), || {
                rustix::termios::tcgetwinsize(std::io::stderr())
            }),
            color,
        }
    }

    /// How to write to standard output.
    pub(super) fn style(&self) -> Style {
        self.colored(self.stdout.style())
    }

    /// How to write to standard error.
    pub(super) fn error_style(&self) -> Style {
        self.colored(self.stderr.style())
    }

    fn colored(&self, style: Style) -> Style {
        match self.color {
            Color::Auto => style,
            Color::Always => Style { color: true, ..style },
            Color::Never => Style { color: false, ..style },
        }
    }

    /// Writes to standard output. A reader that has gone away (`| head`) is no failure.
    #[expect(clippy::unused_self, reason = "what is said goes through the one who knows where to")]
    pub(super) fn say(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    /// Writes one JSON document to standard output.
    pub(super) fn say_json(&self, value: &serde_json::Value) {
        self.say(&format!("{value:#}\n"));
    }

    /// Writes to standard error.
    #[expect(clippy::unused_self, reason = "as above")]
    pub(super) fn hint(&self, text: &str) {
        let mut err = std::io::stderr().lock();
        let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
    }

    /// Tells problems: as a document on standard output where the command speaks JSON, else on standard
    /// error.
    pub(super) fn diagnostics(&self, found: &[Diagnostic], sources: &Sources) {
        if self.json {
            self.say_json(&diagnostics::to_json(found, sources));
        } else {
            self.warn(found, sources);
        }
    }

    /// Tells problems beside the command's own output.
    pub(super) fn warn(&self, found: &[Diagnostic], sources: &Sources) {
        if found.is_empty() {
            return;
        }
        self.hint(&diagnostics::render(found, sources, self.error_style()));
    }
}

fn terminal(
    caller: &Caller,
    is_terminal: bool,
    size: impl Fn() -> rustix::io::Result<rustix::termios::Winsize>,
) -> Terminal {
    let set = |name: &str| caller.0.get(OsStr::new(name)).is_some_and(|value| !value.is_empty());
    let text = |name: &str| caller.text(name);
    Terminal {
        is_terminal,
        no_color: set("NO_COLOR"),
        ci: set("CI"),
        term: text("TERM"),
        utf8: Terminal::is_utf8(
            text("LC_ALL").as_deref(),
            text("LC_CTYPE").as_deref(),
            text("LANG").as_deref(),
        ),
        width: size().ok().map(|size| size.ws_col.into()),
    }
}
