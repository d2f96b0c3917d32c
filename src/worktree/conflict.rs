//! What two sides of a merge disagree about, as data for a diagnostic.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use git2::{Index, IndexEntry, MergeFileInput, MergeFileOptions, Oid, Repository, merge_file};

use super::Error;

/// The longest excerpt, in bytes.
const LONGEST: usize = 2000;

/// Longer than any marker that a file could hold itself.
const MARKER: u16 = 60;

/// A path that two sides changed in ways that git cannot put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Relative to the top of the working tree.
    pub path: PathBuf,
    /// Where `ours` comes from: `HEAD`, or a branch that was to be merged before.
    pub ours_from: String,
    /// The branch that `theirs` is of.
    pub theirs_from: String,
    /// Before either side changed it; none where it was not there.
    pub base: Option<Side>,
    /// On the one side; none where that side removed it.
    pub ours: Option<Side>,
    /// On the other side; likewise.
    pub theirs: Option<Side>,
    /// The line, from 1, at which `ours` begins to differ; only where both sides are text.
    pub line: Option<usize>,
}

/// One side of a conflict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Side {
    /// The blob (for a submodule: the commit), hexadecimal: `git show ID` prints it.
    pub id: String,
    /// git's mode: 0o100644 a file, 0o100755 an executable one, 0o120000 a link, 0o160000 a submodule.
    pub mode: u32,
    /// What it says: where both sides are text the lines of the first disagreement, else its beginning. None where it is binary.
    pub excerpt: Option<String>,
}

/// The conflicts in `index`, which came of merging the branch `theirs` into HEAD with `merged` in it.
pub(super) fn read(
    git: &Repository,
    index: &Index,
    theirs: &str,
    merged: &[(&str, Oid)],
) -> Result<Vec<Conflict>, Error> {
    let reading = |error| Error::git("read the conflicts with", theirs)(error);
    let mut conflicts = Vec::new();
    for conflict in index.conflicts().map_err(reading)? {
        let conflict = conflict.map_err(reading)?;
        let sides = [&conflict.our, &conflict.their, &conflict.ancestor];
        let Some(named) = sides.into_iter().find_map(Option::as_ref) else { continue };
        let path = PathBuf::from(OsStr::from_bytes(&named.path));
        let side = |entry: &Option<IndexEntry>| entry.as_ref().map(|entry| Side::new(git, entry));
        let mut found = Conflict {
            ours_from: source(git, &path, conflict.our.as_ref(), merged),
            theirs_from: theirs.to_owned(),
            base: side(&conflict.ancestor),
            ours: side(&conflict.our),
            theirs: side(&conflict.their),
            path,
            line: None,
        };
        found.narrow(git);
        conflicts.push(found);
    }
    conflicts.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(conflicts)
}

/// The last merged branch that holds the same at `path`, else HEAD.
fn source(git: &Repository, path: &Path, ours: Option<&IndexEntry>, merged: &[(&str, Oid)]) -> String {
    let holds = |tip: &Oid| {
        let tree = git.find_commit(*tip).and_then(|commit| commit.tree());
        let found = tree.and_then(|tree| tree.get_path(path)).map(|entry| entry.id()).ok();
        found.is_some() && found == ours.map(|ours| ours.id)
    };
    let branch = merged.iter().rev().find(|(_, tip)| holds(tip));
    branch.map_or_else(|| "HEAD".to_owned(), |(name, _)| (*name).to_owned())
}

impl Side {
    fn new(git: &Repository, entry: &IndexEntry) -> Self {
        let excerpt = match git.find_blob(entry.id) {
            Ok(blob) if !blob.is_binary() => Some(excerpt(blob.content())),
            _ => None,
        };
        Self { id: entry.id.to_string(), mode: entry.mode, excerpt }
    }

    fn bytes(side: Option<&Self>, git: &Repository) -> Option<Vec<u8>> {
        let Some(side) = side else { return Some(Vec::new()) };
        side.excerpt.as_ref()?;
        Some(git.find_blob(Oid::from_str(&side.id).ok()?).ok()?.content().to_owned())
    }
}

impl Conflict {
    /// Leaves of each side the lines of the first disagreement, where there are two sides of text. What cannot be narrowed stays.
    fn narrow(&mut self, git: &Repository) {
        if self.ours.is_none() || self.theirs.is_none() {
            return;
        }
        let texts = || {
            Some([
                Side::bytes(self.base.as_ref(), git)?,
                Side::bytes(self.ours.as_ref(), git)?,
                Side::bytes(self.theirs.as_ref(), git)?,
            ])
        };
        let Some([base, ours, theirs]) = texts() else { return };
        let Some(hunk) = first_hunk(&base, &ours, &theirs) else { return };
        self.line = Some(hunk.line);
        for (side, text) in
            [(&mut self.base, hunk.base), (&mut self.ours, hunk.ours), (&mut self.theirs, hunk.theirs)]
        {
            if let Some(side) = side {
                side.excerpt = Some(excerpt(&text));
            }
        }
    }
}

#[derive(Default)]
struct Hunk {
    line: usize,
    ours: Vec<u8>,
    base: Vec<u8>,
    theirs: Vec<u8>,
}

fn first_hunk(base: &[u8], ours: &[u8], theirs: &[u8]) -> Option<Hunk> {
    let input = |bytes| {
        let mut input = MergeFileInput::new();
        input.content(bytes);
        input
    };
    let mut options = MergeFileOptions::new();
    options.style_diff3(true).marker_size(MARKER);
    let (base, ours, theirs) = (input(base), input(ours), input(theirs));
    let merged = merge_file(&base, &ours, &theirs, Some(&mut options)).ok()?;
    let marker = |line: &[u8], byte: u8| line.starts_with(&[byte; MARKER as usize]);
    let mut hunk = Hunk::default();
    let mut part = None;
    for (number, line) in merged.content().split_inclusive(|byte| *byte == b'\n').enumerate() {
        match part {
            None if marker(line, b'<') => (part, hunk.line) = (Some(0), number + 1),
            None => {}
            Some(0) if marker(line, b'|') => part = Some(1),
            Some(0 | 1) if marker(line, b'=') => part = Some(2),
            Some(2) if marker(line, b'>') => return Some(hunk),
            Some(0) => hunk.ours.extend(line),
            Some(1) => hunk.base.extend(line),
            Some(_) => hunk.theirs.extend(line),
        }
    }
    None
}

fn excerpt(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(LONGEST)]);
    if bytes.len() > LONGEST { format!("{text}…") } else { text.into_owned() }
}
