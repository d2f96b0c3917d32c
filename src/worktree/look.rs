//! What a merge would change, and what is there now: may it be replaced without losing anything?

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use git2::{DiffOptions, IndexEntry, IndexEntryExtendedFlag, IndexEntryFlag, ObjectType, Oid};

use super::index::{EXECUTABLE, LINK, SUBMODULE};
use super::{Error, tree};

/// A blob with git's mode.
pub(super) type Blob = (Oid, u32);

/// Per path what it is, and what it is to be.
pub(super) type Changes = BTreeMap<Vec<u8>, (Option<Blob>, Option<Blob>)>;

/// Every path that differs between two commits, with what it was and what it will be.
pub(super) fn changes(git: &git2::Repository, start: Option<Oid>, end: Oid) -> Result<Changes, Error> {
    let tree_of = |id: Oid| {
        let tree = git.find_commit(id).and_then(|commit| commit.tree());
        tree.map_err(Error::git("read the tree of", id))
    };
    let old = match start {
        Some(start) => tree_of(start)?,
        None => git.find_tree(tree::empty(git)?).map_err(Error::git("read", "the empty tree"))?,
    };
    let new = tree_of(end)?;
    let diff =
        git.diff_tree_to_tree(Some(&old), Some(&new), None).map_err(Error::git("compare HEAD with", end))?;
    let mut changes = Changes::new();
    for delta in diff.deltas() {
        let blob =
            |file: &git2::DiffFile<'_>| (!file.id().is_zero()).then(|| (file.id(), u32::from(file.mode())));
        let Some(path) = delta.new_file().path_bytes().or(delta.old_file().path_bytes()) else { continue };
        let change = changes.entry(path.to_owned()).or_default();
        change.0 = blob(&delta.old_file()).or(change.0);
        change.1 = blob(&delta.new_file()).or(change.1);
    }
    Ok(changes)
}

/// Which of these paths git shows as changed between index and working tree.
fn modified(git: &git2::Repository, changes: &Changes) -> Result<BTreeSet<Vec<u8>>, Error> {
    let mut options = DiffOptions::new();
    options.disable_pathspec_match(true).include_typechange(true).ignore_submodules(true);
    for path in changes.keys() {
        options.pathspec(path.as_slice());
    }
    if changes.is_empty() {
        return Ok(BTreeSet::new());
    }
    let diff = git
        .diff_index_to_workdir(None, Some(&mut options))
        .map_err(Error::git("compare with the index", "the working tree"))?;
    let files = diff.deltas().filter_map(|delta| delta.old_file().path_bytes().map(<[u8]>::to_owned));
    Ok(files.collect())
}

/// What is on disk at a path that a merge changes.
pub(super) enum Disk {
    /// What git has also, or nothing: it may be replaced.
    Free,
    /// Nothing has to be done: it is what the merge makes of it, or a sparse checkout leaves it out.
    Stays,
    /// Something that only a person has.
    Taken,
    /// A folder, where a file is to be.
    Folder,
}

/// The working tree, as far as a merge would change it.
pub(super) struct Look<'a> {
    top: &'a Path,
    changes: &'a Changes,
    /// What differs between index and working tree.
    modified: BTreeSet<Vec<u8>>,
}

impl<'a> Look<'a> {
    pub(super) fn new(git: &git2::Repository, top: &'a Path, changes: &'a Changes) -> Result<Self, Error> {
        Ok(Self { top, changes, modified: modified(git, changes)? })
    }

    /// What is at `path`, which is `entry` in the index.
    pub(super) fn at(&self, path: &[u8], entry: Option<&IndexEntry>) -> Disk {
        let (old, new) = self.changes.get(path).copied().unwrap_or_default();
        let has =
            |flag: IndexEntryExtendedFlag| entry.is_some_and(|entry| entry.flags_extended & flag.bits() != 0);
        let skipped = has(IndexEntryExtendedFlag::SKIP_WORKTREE);
        let entry = entry.filter(|_| !has(IndexEntryExtendedFlag::INTENT_TO_ADD));
        let staged = entry.map(|entry| (entry.id, entry.mode));
        if staged != old && staged != new {
            return Disk::Taken;
        }
        // What is in a submodule is its own affair. A file that git is not to know any more is the person's.
        let is_submodule = [old, new].iter().flatten().any(|(_, mode)| *mode == SUBMODULE);
        if is_submodule || (new.is_none() && staged.is_none()) {
            return Disk::Stays;
        }
        if let Some(part) = self.part_that_is_no_folder(path) {
            return match new {
                None => Disk::Stays,
                Some(_) if self.goes(&part) => Disk::Free,
                Some(_) => Disk::Taken,
            };
        }
        let full = self.top.join(to_path(path));
        let found = match full.symlink_metadata() {
            Ok(found) if found.is_dir() => return if new.is_some() { Disk::Folder } else { Disk::Stays },
            Ok(found) => found,
            Err(_) if new.is_none() || skipped => return Disk::Stays,
            // A person removed it.
            Err(_) if staged.is_some() => return Disk::Taken,
            Err(_) => return Disk::Free,
        };
        if new.is_some_and(|new| is(&full, &found, new)) {
            return Disk::Stays;
        }
        // git is told not to look at these: it would call them unmodified.
        let unseen = skipped || entry.is_some_and(|entry| entry.flags & IndexEntryFlag::VALID.bits() != 0);
        let clean = staged.is_some() && !unseen && !self.modified.contains(path);
        if clean || old.is_some_and(|old| is(&full, &found, old)) { Disk::Free } else { Disk::Taken }
    }

    /// The files below the folder `folder` that would stay, and so are in the way of a file in its place.
    pub(super) fn files_that_stay(&self, folder: &[u8]) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for entry in fs::read_dir(self.top.join(to_path(folder))).into_iter().flatten().flatten() {
            let path = [folder, b"/", entry.file_name().as_bytes()].concat();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                files.extend(self.files_that_stay(&path));
            } else if !self.goes(&path) {
                files.push(to_path(&path).to_owned());
            }
        }
        files
    }

    /// Does the merge remove what is at `path`?
    fn goes(&self, path: &[u8]) -> bool {
        self.changes.get(path).is_some_and(|(old, new)| old.is_some() && new.is_none())
    }

    /// The first part of the path above it that is there and is no folder itself.
    fn part_that_is_no_folder(&self, path: &[u8]) -> Option<Vec<u8>> {
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(end, _)| end);
        for end in ends {
            match self.top.join(to_path(&path[..end])).symlink_metadata() {
                Ok(found) if found.is_dir() => {}
                Ok(_) => return Some(path[..end].to_owned()),
                Err(_) => return None,
            }
        }
        None
    }
}

/// Does the file hold exactly this blob, or the same lines with CRLF ends, and may it be executed as the mode says?
pub(super) fn is(path: &Path, found: &fs::Metadata, (id, mode): Blob) -> bool {
    let hash = |bytes: &[u8]| Oid::hash_object(ObjectType::Blob, bytes).is_ok_and(|hash| hash == id);
    if found.is_symlink() || mode == LINK {
        let text = fs::read_link(path);
        return mode == LINK && text.is_ok_and(|text| hash(text.as_os_str().as_bytes()));
    }
    if !found.is_file() || (found.mode() & 0o100 != 0) != (mode == EXECUTABLE) {
        return false;
    }
    let Ok(bytes) = fs::read(path) else { return false };
    hash(&bytes) || (bytes.contains(&b'\r') && hash(&without_cr(&bytes)))
}

fn without_cr(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(bytes.len());
    for (at, byte) in bytes.iter().enumerate() {
        if *byte != b'\r' || bytes.get(at + 1) != Some(&b'\n') {
            text.push(*byte);
        }
    }
    text
}

pub(super) fn to_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}
