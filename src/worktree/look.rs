//! What a merge would change, and what is there now: may it be replaced without losing anything?

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use git2::{DiffOptions, IndexEntry, IndexEntryExtendedFlag, IndexEntryFlag, ObjectType, Oid};

use super::index::SUBMODULE;
use super::{Error, tree};

const LINK: u32 = 0o120_000;

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
        let blob = |file: &git2::DiffFile<'_>| file.exists().then(|| (file.id(), u32::from(file.mode())));
        let Some(path) = delta.new_file().path_bytes().or(delta.old_file().path_bytes()) else { continue };
        let change = changes.entry(path.to_owned()).or_default();
        change.0 = blob(&delta.old_file()).or(change.0);
        change.1 = blob(&delta.new_file()).or(change.1);
    }
    Ok(changes)
}

/// Which of these paths git shows as changed between index and working tree.
pub(super) fn modified<T>(
    git: &git2::Repository,
    changes: &BTreeMap<Vec<u8>, T>,
) -> Result<BTreeSet<Vec<u8>>, Error> {
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
    /// What git has also: it may be replaced.
    Free,
    /// What the merge makes of it, or nothing where there is to be nothing.
    Stays,
    /// Something that only a person has.
    Taken,
    /// A folder, where a file is to be.
    Folder,
}

/// One path that a merge changes, with all that tells what is there now.
pub(super) struct Look<'a> {
    pub(super) top: &'a Path,
    pub(super) path: &'a [u8],
    pub(super) old: Option<Blob>,
    pub(super) new: Option<Blob>,
    pub(super) entry: Option<&'a IndexEntry>,
    pub(super) modified: &'a BTreeSet<Vec<u8>>,
}

impl Look<'_> {
    /// What lies there.
    pub(super) fn disk(&self) -> Disk {
        let has = |flag: IndexEntryExtendedFlag| {
            self.entry.is_some_and(|entry| entry.flags_extended & flag.bits() != 0)
        };
        let entry = self.entry.filter(|_| !has(IndexEntryExtendedFlag::INTENT_TO_ADD));
        let staged = entry.map(|entry| (entry.id, entry.mode));
        if staged != self.old && staged != self.new {
            return Disk::Taken;
        }
        if [self.old, self.new].iter().flatten().any(|(_, mode)| *mode == SUBMODULE) {
            // The index alone changes; what is in the submodule is its own affair.
            return Disk::Stays;
        }
        let path = self.top.join(to_path(self.path));
        if let Some(blocker) = self.blocked() {
            return if self.new.is_none() || blocker { Disk::Stays } else { Disk::Taken };
        }
        let found = match path.symlink_metadata() {
            Ok(found) if found.is_dir() => {
                return if self.new.is_some() { Disk::Folder } else { Disk::Stays };
            }
            Ok(found) => found,
            Err(_) if self.new.is_none() || has(IndexEntryExtendedFlag::SKIP_WORKTREE) => return Disk::Stays,
            // A person removed it; or it never was there.
            Err(_) if self.old.is_some() && staged.is_some() => return Disk::Taken,
            Err(_) => return Disk::Free,
        };
        if self.new.is_some_and(|new| is(&path, &found, new)) {
            return Disk::Stays;
        }
        // git is told not to look at these: it would call them unmodified.
        let unseen = has(IndexEntryExtendedFlag::SKIP_WORKTREE)
            || entry.is_some_and(|entry| entry.flags & IndexEntryFlag::VALID.bits() != 0);
        let clean = staged.is_some() && !unseen && !self.modified.contains(self.path);
        if clean || self.old.is_some_and(|old| is(&path, &found, old)) { Disk::Free } else { Disk::Taken }
    }

    /// Is a part of the path above it no folder? Says whether that part is a file that goes in this merge; none where nothing is in
    /// the way.
    fn blocked(&self) -> Option<bool> {
        let mut folder = self.top.to_owned();
        let parts: Vec<&[u8]> = self.path.split(|byte| *byte == b'/').collect();
        for part in &parts[..parts.len() - 1] {
            folder.push(OsStr::from_bytes(part));
            match folder.symlink_metadata() {
                Ok(found) if found.is_dir() => {}
                Ok(_) => return Some(false),
                Err(_) => return None,
            }
        }
        None
    }
}

/// Does the file hold exactly this blob, or the same lines with CRLF ends, and may it be executed as the mode says?
fn is(path: &Path, found: &fs::Metadata, (id, mode): Blob) -> bool {
    let hash = |bytes: &[u8]| Oid::hash_object(ObjectType::Blob, bytes).is_ok_and(|hash| hash == id);
    if found.is_symlink() || mode == LINK {
        let text = fs::read_link(path);
        return mode == LINK && text.is_ok_and(|text| hash(text.as_os_str().as_bytes()));
    }
    if !found.is_file() || (found.mode() & 0o100 != 0) != (mode == 0o100_755) {
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

/// The files below a folder that stay when the merge is done, as they are in nobody's commit.
pub(super) fn files_below(top: &Path, folder: &[u8], goes: &dyn Fn(&[u8]) -> bool) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(top.join(to_path(folder))).into_iter().flatten().flatten() {
        let path = [folder, b"/", entry.file_name().as_bytes()].concat();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            files.extend(files_below(top, &path, goes));
        } else if !goes(&path) {
            files.push(to_path(&path).to_owned());
        }
    }
    files
}

pub(super) fn to_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}
