//! What becomes of a process's output: redacted first, then to the log, to the reader of lines, and into the
//! tail, the digest and the count. Memory is bounded whatever is printed.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use super::redact::Redactor;
use crate::model::Digest;

/// A longer line comes in pieces of this many bytes.
const LONGEST_LINE: usize = 64 * 1024;
/// How much of the end is kept in memory.
const TAIL: usize = 8 * 1024;

/// The receiver of one process's output.
pub(super) struct Output<'a> {
    redactor: Redactor,
    /// Reused for what the redactor lets out.
    clean: Vec<u8>,
    sink: Sink<'a>,
}

struct Sink<'a> {
    log: Log<'a>,
    on_line: &'a mut dyn FnMut(&[u8]),
    /// The beginning of a line whose end has not come yet.
    line: Vec<u8>,
    tail: Vec<u8>,
    hasher: blake3::Hasher,
    bytes: u64,
}

/// All there is to say of an output that is complete.
pub(super) struct Summary {
    pub(super) bytes: u64,
    pub(super) tail: Vec<u8>,
    pub(super) digest: Digest,
    pub(super) log_error: Option<io::Error>,
}

impl<'a> Output<'a> {
    /// Output without `secrets`, for the file `log` and the reader `on_line`.
    pub(super) fn new(secrets: &[Vec<u8>], log: &'a Path, on_line: &'a mut dyn FnMut(&[u8])) -> Self {
        let sink = Sink {
            log: Log { path: log, file: None, error: None },
            on_line,
            line: Vec::new(),
            tail: Vec::new(),
            hasher: blake3::Hasher::new(),
            bytes: 0,
        };
        Self { redactor: Redactor::new(secrets), clean: Vec::new(), sink }
    }

    /// Takes in what the process printed.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if self.redactor.is_idle() {
            return self.sink.push(bytes);
        }
        self.redactor.push(bytes, &mut self.clean);
        self.sink.push(&self.clean);
        self.clean.clear();
    }

    /// No more follows.
    pub(super) fn finish(mut self) -> Summary {
        self.redactor.finish(&mut self.clean);
        self.sink.push(&self.clean);
        self.sink.finish()
    }
}

impl Sink<'_> {
    fn push(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.bytes += bytes.len() as u64;
        self.hasher.update(bytes);
        self.log.write(bytes);
        self.keep_tail(bytes);
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.push_piece(piece);
        }
    }

    /// A piece of a line; with its `\n` where it is the last one.
    fn push_piece(&mut self, piece: &[u8]) {
        let ended = piece.strip_suffix(b"\n");
        if let (true, Some(line)) = (self.line.is_empty() && piece.len() <= LONGEST_LINE, ended) {
            return (self.on_line)(without_return(line));
        }
        let mut rest = ended.unwrap_or(piece);
        while self.line.len() + rest.len() > LONGEST_LINE {
            let (now, later) = rest.split_at(LONGEST_LINE - self.line.len());
            self.line.extend_from_slice(now);
            (self.on_line)(&self.line);
            self.line.clear();
            rest = later;
        }
        self.line.extend_from_slice(rest);
        if ended.is_some() {
            (self.on_line)(without_return(&self.line));
            self.line.clear();
        }
    }

    fn keep_tail(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(&bytes[bytes.len().saturating_sub(TAIL)..]);
        if self.tail.len() > 4 * TAIL {
            self.tail.drain(..self.tail.len() - TAIL);
        }
    }

    fn finish(mut self) -> Summary {
        if !self.line.is_empty() {
            (self.on_line)(without_return(&self.line));
        }
        self.tail.drain(..self.tail.len().saturating_sub(TAIL));
        Summary {
            bytes: self.bytes,
            tail: self.tail,
            digest: Digest(*self.hasher.finalize().as_bytes()),
            log_error: self.log.error,
        }
    }
}

fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The log file, made at the first byte. When it cannot be written the process goes on without it.
struct Log<'a> {
    path: &'a Path,
    file: Option<File>,
    error: Option<io::Error>,
}

impl Log<'_> {
    fn write(&mut self, bytes: &[u8]) {
        if self.error.is_none() {
            self.error = self.try_write(bytes).err();
        }
    }

    fn try_write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(open_log(self.path)?),
        };
        file.write_all(bytes)
    }
}

fn open_log(path: &Path) -> io::Result<File> {
    let open = || OpenOptions::new().append(true).create(true).open(path);
    match (open(), path.parent()) {
        (Err(error), Some(folder)) if error.kind() == io::ErrorKind::NotFound => {
            std::fs::create_dir_all(folder)?;
            open()
        }
        (opened, _) => opened,
    }
}
