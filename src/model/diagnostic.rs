//! A problem or a hint that conductor tells a person about, with its places in the manifest.
//!
//! A diagnostic is data; the source text joins it only where it is printed (`report::diagnostics`).

use serde::{Deserialize, Serialize};

use super::Digest;

/// A span in a manifest file. Offsets and lengths are bytes; lines and columns count from 1, columns in
/// characters. At most 4 GiB of source, which the loader enforces.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct At {
    /// Index into [`Sources::files`].
    pub file: u32,
    /// Where it begins, in bytes.
    pub offset: u32,
    /// How long it is, in bytes.
    pub length: u32,
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1, in characters.
    pub column: u32,
}

/// Does it stop the command?
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It does.
    Error,
    /// It does not.
    Warning,
}

/// A place that a diagnostic points at.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Label {
    /// The span.
    pub at: At,
    /// What is said of it.
    pub text: String,
}

/// A message with a code, its places and what to do.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Diagnostic {
    /// Stable and documented, such as `manifest::unknown_key`.
    pub code: String,
    /// Error or warning.
    pub severity: Severity,
    /// One sentence without a full stop.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Where; the first is the main one. May be empty.
    pub labels: Vec<Label>,
}

impl Diagnostic {
    /// An error.
    pub fn error(code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            severity: Severity::Error,
            message: message.into(),
            help: None,
            labels: Vec::new(),
        }
    }

    /// A warning.
    pub fn warning(code: &str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, message) }
    }

    /// Adds a place.
    pub fn label(mut self, at: At, text: impl Into<String>) -> Self {
        self.labels.push(Label { at, text: text.into() });
        self
    }

    /// Says what to do.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Is it an error?
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// A manifest file as it was read.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SourceFile {
    /// As people know it: relative to the workspace root where it lies inside.
    pub name: String,
    /// Its absolute path on this machine, for reading it again; never part of a key.
    #[serde(with = "super::os_path")]
    pub path: std::path::PathBuf,
    /// Of its bytes.
    pub digest: Digest,
    /// Its text; empty when the plan was loaded from disk, and then read when a diagnostic needs it.
    #[serde(skip)]
    pub text: String,
}

/// All files that a manifest was read from; [`At::file`] is an index into it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Sources {
    /// The root manifest first.
    pub files: Vec<SourceFile>,
}

impl Sources {
    /// The file of a span.
    pub fn file(&self, at: At) -> Option<&SourceFile> {
        self.files.get(at.file as usize)
    }
}
