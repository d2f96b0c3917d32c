//! Where things stand in a text: bytes, lines and columns.

use saphyr_parser::{Marker, Span};

use crate::model::At;

/// The place of `length` bytes at `offset` of `text`, by counting lines: for the error path.
pub(super) fn locate(text: &str, file: u32, offset: usize, length: usize) -> At {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let column = before[line_start..].trim_start_matches('\u{feff}').chars().count() + 1;
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    At { file, offset: small(offset), length: small(length), line: small(line), column: small(column) }
}

/// Files are limited to 64 MiB, so every offset fits.
fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Turns the parser's places, which count characters, into bytes. It walks along with the events, so a
/// whole file costs one pass.
pub(super) struct Places<'s> {
    pub(super) text: &'s str,
    pub(super) file: u32,
    /// Characters are bytes, but for the byte order mark.
    ascii: bool,
    /// How far the walk has come.
    char: usize,
    byte: usize,
}

impl<'s> Places<'s> {
    /// At the beginning of `text`, behind its byte order mark.
    pub(super) fn new(file: u32, text: &'s str) -> Self {
        let body = text.strip_prefix('\u{feff}').unwrap_or(text);
        Self { text, file, ascii: body.is_ascii(), char: 0, byte: text.len() - body.len() }
    }

    /// The byte of a character.
    pub(super) fn byte(&mut self, index: usize) -> usize {
        if self.ascii {
            self.byte = (self.byte + index - self.char).min(self.text.len());
            self.char = index;
            return self.byte;
        }
        while self.char < index
            && let Some(next) = self.text[self.byte..].chars().next()
        {
            self.byte += next.len_utf8();
            self.char += 1;
        }
        while self.char > index
            && let Some(previous) = self.text[..self.byte].chars().next_back()
        {
            self.byte -= previous.len_utf8();
            self.char -= 1;
        }
        self.byte
    }

    /// Where a span begins.
    pub(super) fn start(&mut self, start: Marker) -> At {
        At {
            file: self.file,
            offset: small(self.byte(start.index())),
            length: 0,
            line: small(start.line()),
            column: small(start.col() + 1),
        }
    }

    /// From `start` to `end`, cut at the end of its first line.
    pub(super) fn until(&mut self, start: At, end: Marker) -> At {
        let end = self.byte(end.index());
        let whole = self.text.get(start.offset as usize..end).unwrap_or_default();
        let line = whole.find('\n').map_or(whole, |newline| &whole[..newline]).trim_end();
        At { length: small(line.len()), ..start }
    }

    /// A span, cut at the end of its first line.
    pub(super) fn at(&mut self, span: Span) -> At {
        let start = self.start(span.start);
        self.until(start, span.end)
    }
}
