//! Diagnostics for people (miette's graphical form) and for programs (JSON).
//!
//! Here a diagnostic meets its source text. It does not know which code means what, nor when a
//! diagnostic is printed.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::fmt;

use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, MietteSpanContents, SourceCode,
    SourceSpan, SpanContents, ThemeCharacters, ThemeStyles,
};
use serde_json::{Value, json};

use super::Style;
use crate::model::{At, Diagnostic, Digest, Label, Severity, SourceFile, Sources};

/// The version of [`to_json`]'s document.
const JSON_VERSION: u32 = 1;

/// How many bytes of a line, or of two, are shown before and after a label: a manifest may be one line.
const WIDE: usize = 400;
/// How many bytes apart labels may be in one snippet.
const FAR: usize = 4000;

/// All diagnostics, one after the other, each with its lines of source.
pub fn render(diagnostics: &[Diagnostic], sources: &Sources, style: Style) -> String {
    let theme = GraphicalTheme {
        characters: if style.unicode { ThemeCharacters::unicode() } else { ThemeCharacters::ascii() },
        styles: if style.color { ThemeStyles::ansi() } else { ThemeStyles::none() },
    };
    let handler = GraphicalReportHandler::new_themed(theme).with_links(false).with_width(style.width);
    let texts = Texts::new(sources);
    let mut page = String::new();
    for diagnostic in diagnostics {
        if !page.is_empty() {
            page.push('\n');
        }
        for part in Part::of(diagnostic, &texts) {
            // Writing to a string does not fail, and what miette cannot draw it says in the text.
            let _ = handler.render_report(&mut page, &part);
        }
    }
    page
}

/// The document that `--format json` prints on errors: `{"version":1,"diagnostics":[…]}`. Lines and
/// columns count from 1, columns and lengths in characters.
pub fn to_json(diagnostics: &[Diagnostic], sources: &Sources) -> Value {
    let texts = Texts::new(sources);
    let label = |label: &Label| {
        json!({
            "file": sources.file(label.at).map(|file| &file.name),
            "line": label.at.line,
            "column": label.at.column,
            "length": texts.characters(label.at),
            "text": label.text,
        })
    };
    let diagnostics: Vec<Value> = diagnostics
        .iter()
        .map(|one| {
            json!({
                "code": one.code,
                "severity": one.severity,
                "message": one.message,
                "help": one.help,
                "labels": one.labels.iter().map(label).collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({ "version": JSON_VERSION, "diagnostics": diagnostics })
}

/// The texts of the sources, read again where they are not at hand.
struct Texts<'a> {
    sources: &'a Sources,
    texts: Vec<OnceCell<Cow<'a, str>>>,
}

impl<'a> Texts<'a> {
    fn new(sources: &'a Sources) -> Self {
        Self { sources, texts: vec![OnceCell::new(); sources.files.len()] }
    }

    /// None for a file that is gone or has changed, whose spans would point anywhere.
    fn get(&self, at: At) -> Option<(&SourceFile, &str)> {
        let file = self.sources.file(at)?;
        let text = self.texts.get(at.file as usize)?.get_or_init(|| printable(text_of(file)));
        text.get(at.offset as usize..)?;
        (!text.is_empty()).then_some((file, &**text))
    }

    fn characters(&self, at: At) -> usize {
        let (offset, length) = (at.offset as usize, at.length as usize);
        let span = self.get(at).and_then(|(_, text)| text.get(offset..offset + length));
        span.map_or(length, |span| span.chars().count())
    }
}

fn text_of(file: &SourceFile) -> Cow<'_, str> {
    if !file.text.is_empty() {
        return Cow::Borrowed(&file.text);
    }
    let bytes = std::fs::read(&file.path).ok().filter(|bytes| Digest::of(bytes) == file.digest);
    Cow::Owned(String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned())
}

/// Without control characters, which could make a terminal do things; every byte stays at its place.
fn printable(text: Cow<'_, str>) -> Cow<'_, str> {
    let harmful = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
    if !text.contains(harmful) {
        return text;
    }
    let mut clean = String::with_capacity(text.len());
    for character in text.chars() {
        if harmful(character) {
            clean.extend(std::iter::repeat_n('?', character.len_utf8()));
        } else {
            clean.push(character);
        }
    }
    Cow::Owned(clean)
}

/// A message without control characters, which a manifest may have put into it.
fn spoken(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let escape = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    Cow::Owned(text.chars().map(escape).collect())
}

/// What miette draws at once: labels in one file. A diagnostic that speaks of several files has several
/// parts; the first has its code and message, the last its help.
struct Part<'a> {
    message: Cow<'a, str>,
    code: Option<&'a str>,
    severity: miette::Severity,
    help: Option<Cow<'a, str>>,
    labels: Vec<(Option<String>, At)>,
    source: Option<Snippets<'a>>,
}

impl<'a> Part<'a> {
    fn of(diagnostic: &'a Diagnostic, texts: &'a Texts<'a>) -> Vec<Self> {
        let file = diagnostic.labels.first().map(|label| label.at.file);
        let (here, elsewhere): (Vec<&Label>, Vec<&Label>) =
            diagnostic.labels.iter().partition(|label| Some(label.at.file) == file);
        let text = |label: &Label| (!label.text.is_empty()).then(|| spoken(&label.text).into_owned());
        let mut parts = vec![Self {
            message: spoken(&diagnostic.message),
            code: Some(&diagnostic.code),
            severity: match diagnostic.severity {
                Severity::Error => miette::Severity::Error,
                Severity::Warning => miette::Severity::Warning,
            },
            help: None,
            labels: here.iter().map(|label| (text(label), label.at)).collect(),
            source: Snippets::new(&here, texts),
        }];
        parts.extend(elsewhere.into_iter().map(|label| Self {
            message: spoken(&label.text),
            code: None,
            severity: miette::Severity::Advice,
            help: None,
            labels: vec![(None, label.at)],
            source: Snippets::new(&[label], texts),
        }));
        if let Some(last) = parts.last_mut() {
            last.help = diagnostic.help.as_deref().map(spoken);
        }
        parts
    }
}

impl fmt::Display for Part<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Part<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl std::error::Error for Part<'_> {}

impl miette::Diagnostic for Part<'_> {
    fn code<'s>(&'s self) -> Option<Box<dyn fmt::Display + 's>> {
        self.code.map(|code| Box::new(code) as Box<dyn fmt::Display>)
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(self.severity)
    }

    fn help<'s>(&'s self) -> Option<Box<dyn fmt::Display + 's>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_ref().map(|source| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let text = self.source.as_ref()?.text;
        Some(Box::new(self.labels.iter().enumerate().map(move |(index, (said, at))| {
            let start = at.offset as usize;
            let end = text.floor_char_boundary(start + (at.length as usize).min(WIDE));
            let span = (start, end.max(start) - start);
            if index == 0 {
                LabeledSpan::new_primary_with_span(said.clone(), span)
            } else {
                LabeledSpan::new_with_span(said.clone(), span)
            }
        })))
    }
}

/// One file's text with the places that labels name, whose lines are known: miette's own reader counts
/// the lines from the top of the file for each label, which is slow in a manifest of 20 MB.
struct Snippets<'a> {
    name: &'a str,
    text: &'a str,
    /// Offsets and places of the labels.
    known: Vec<(usize, At)>,
}

impl<'a> Snippets<'a> {
    fn new(labels: &[&Label], texts: &'a Texts<'a>) -> Option<Self> {
        let (file, text) = texts.get(labels.first()?.at)?;
        let known = labels.iter().map(|label| (label.at.offset as usize, label.at)).collect();
        Some(Self { name: &file.name, text, known })
    }
}

impl SourceCode for Snippets<'_> {
    fn read_span<'s>(
        &'s self,
        span: &SourceSpan,
        lines_before: usize,
        lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'s> + 's>, MietteError> {
        let (offset, end) = (span.offset(), span.offset() + span.len());
        let (Some(before), Some(after)) = (self.text.get(..offset), self.text.get(end..)) else {
            return Err(MietteError::OutOfBounds);
        };
        // Labels so far from each other belong into snippets of their own.
        if span.len() > FAR {
            return Err(MietteError::OutOfBounds);
        }
        let (_, at) =
            self.known.iter().find(|(known, _)| *known == offset).ok_or(MietteError::OutOfBounds)?;
        let line = (at.line as usize).saturating_sub(1);
        let start = window_start(before, lines_before);
        let stop = end + window_end(after, lines_after);
        let shown = &self.text[start..stop];
        Ok(Box::new(MietteSpanContents::new_named(
            self.name.to_owned(),
            shown.as_bytes(),
            (start, stop - start).into(),
            line - before[start..].matches('\n').count().min(line),
            (at.column as usize).saturating_sub(1),
            shown.matches('\n').count() + 1,
        )))
    }
}

/// Where to begin: so many lines before the end of `before`; of its last line alone where that is far
/// away, and of the end of that line where it is very long.
fn window_start(before: &str, lines: usize) -> usize {
    let start_of = |lines| before.rmatch_indices('\n').nth(lines).map_or(0, |(newline, _)| newline + 1);
    [start_of(lines), start_of(0)]
        .into_iter()
        .find(|start| before.len() - start <= WIDE)
        .unwrap_or_else(|| before.ceil_char_boundary(before.len() - WIDE / 4))
}

/// Where to end, likewise.
fn window_end(after: &str, lines: usize) -> usize {
    let end_of = |lines| after.match_indices('\n').nth(lines).map_or(after.len(), |(newline, _)| newline + 1);
    [end_of(lines), end_of(0)]
        .into_iter()
        .find(|end| *end <= WIDE)
        .unwrap_or_else(|| after.floor_char_boundary(WIDE / 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(texts: &[&str]) -> Sources {
        let file = |(index, text): (usize, &&str)| SourceFile {
            name: format!("{index}.yaml"),
            path: std::path::PathBuf::new(),
            digest: Digest::of(text.as_bytes()),
            text: (*text).to_owned(),
        };
        Sources { files: texts.iter().enumerate().map(file).collect() }
    }

    fn at(file: u32, offset: u32, length: u32, line: u32, column: u32) -> At {
        At { file, offset, length, line, column }
    }

    const PLAIN: Style = Style { color: false, unicode: true, width: 80 };

    #[test]
    fn labels_in_two_files_make_two_snippets() {
        let sources = sources(&["a: 1\nb: 2\nc: é\nd: 4\n", "x: 1\n"]);
        let diagnostic = Diagnostic::error("manifest::x", "it is wrong")
            .label(at(0, 13, 2, 3, 4), "this")
            .label(at(0, 0, 1, 1, 1), "and this")
            .label(at(1, 0, 1, 1, 1), "that")
            .help("mend it");
        insta::assert_snapshot!(render(&[diagnostic], &sources, PLAIN));
    }

    #[test]
    fn the_document_counts_characters() {
        let sources = sources(&["é: äö\n"]);
        let diagnostic = Diagnostic::warning("manifest::x", "hm").label(at(0, 4, 4, 1, 4), "this");
        assert_eq!(
            to_json(&[diagnostic], &sources),
            json!({"version": 1, "diagnostics": [{
                "code": "manifest::x", "severity": "warning", "message": "hm", "help": null,
                "labels": [{"file": "0.yaml", "line": 1, "column": 4, "length": 2, "text": "this"}],
            }]})
        );
    }

    #[test]
    fn a_diagnostic_without_a_place_or_a_source_is_still_told() {
        let nowhere = Diagnostic::error("manifest::x", "it is gone").label(at(7, 0, 1, 1, 1), "here");
        assert!(render(&[nowhere], &Sources::default(), PLAIN).contains("it is gone"));
    }

    #[test]
    fn of_a_very_long_line_the_part_around_the_label_is_shown() {
        let text = format!("a: [{}X{}]\n", "1, ".repeat(100_000), ", 2".repeat(100_000));
        let sources = sources(&[&text]);
        let near = at(0, 300_004, 1, 1, 300_005);
        let diagnostic = Diagnostic::error("manifest::x", "it is wrong").label(near, "this");
        let page = render(&[diagnostic.label(at(0, 0, 1, 1, 1), "and this")], &sources, PLAIN);
        assert!(page.contains("0.yaml:1:300005") && page.len() < 4000, "{page}");
    }

    #[test]
    fn nothing_of_a_manifest_reaches_the_terminal_as_a_control_character() {
        let sources = sources(&["a: \u{1b}[31m\u{9b}\n"]);
        let diagnostic = Diagnostic::error("manifest::x", "no \u{1b}]0;x").label(at(0, 3, 1, 1, 4), "\u{7}");
        let page = render(&[diagnostic], &sources, PLAIN);
        assert!(!page.contains(|c: char| c.is_control() && c != '\n'), "{page:?}");
    }
}
