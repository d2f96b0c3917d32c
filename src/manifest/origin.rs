//! What a manifest was made from, so that a compiled plan can be told to be current without parsing.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Location, include};
use crate::model::{Digest, Signature, WorkspacePath};
use crate::workspace;

/// How many bytes all files of a manifest may have together.
pub(super) const MAX_BYTES: u64 = 64 << 20;

/// The files, globs and variables that a manifest was made from.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Origin {
    /// All files, the root manifest first.
    pub(super) files: Vec<Source>,
    /// Each pattern under `include`, the folder of its file, and what it matched.
    pub(super) includes: Vec<(WorkspacePath, String, Vec<WorkspacePath>)>,
    /// Variables of the caller whose values became part of the manifest.
    pub(super) env: Vec<(String, Option<String>)>,
}

/// A manifest file as it was read.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Source {
    /// Absolute.
    #[serde(with = "crate::model::os_path")]
    pub(super) path: PathBuf,
    pub(super) digest: Digest,
    /// Taken before it was read; none where it does not vouch for the content.
    pub(super) signature: Option<Signature>,
}

impl Source {
    fn is_current(&self) -> bool {
        let vouched = self.signature.is_some() && workspace::settled_signature(&self.path) == self.signature;
        vouched
            || read(&self.path, MAX_BYTES)
                .is_ok_and(|bytes| bytes.is_some_and(|bytes| Digest::of(&bytes) == self.digest))
    }
}

impl Origin {
    /// Would loading `location` again yield the same manifest?
    pub fn is_current(&self, location: &Location, env: &dyn Fn(&str) -> Option<String>) -> bool {
        self.files.first().is_some_and(|root| root.path == location.file)
            && self.env.iter().all(|(name, value)| env(name) == *value)
            && self.files.iter().all(Source::is_current)
            && self.includes.iter().all(|(folder, pattern, matched)| {
                include::expand(&location.root, folder, pattern).is_ok_and(|found| found == *matched)
            })
    }

    /// Does one of the patterns under `include` mean this file?
    pub fn would_include(&self, path: &WorkspacePath) -> bool {
        self.includes.iter().any(|(folder, pattern, _)| include::means(folder, pattern, path))
    }

    /// Adds the variables that were looked up.
    pub(super) fn with_env(mut self, looked_up: BTreeMap<String, Option<String>>) -> Self {
        self.env = looked_up.into_iter().collect();
        self
    }
}

/// A file's bytes; none where it has more than `limit`, which holds for endless devices too.
pub(super) fn read(path: &Path, limit: u64) -> std::io::Result<Option<Vec<u8>>> {
    let file = std::fs::File::open(path)?;
    let size = file.metadata()?.len();
    if size > limit {
        return Ok(None);
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1);
    file.take(limit + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= limit).then_some(bytes))
}
