//! What differs between a commit and the working tree, and what a commit held: for whoever asks what an edit since
//! then means.
//!
//! The index counts as part of the working tree, files that git does not know yet too; files that it ignores do
//! not, for nobody can say what they were. Renames are a path that went and a path that came. Nothing is written.

use std::collections::BTreeSet;
use std::path::Path;

use git2::{Diff, DiffOptions, ObjectType, Oid, TreeWalkMode, TreeWalkResult};

use super::index::{LINK, SUBMODULE};
use super::look::{Blob, is, to_path};
use super::{Error, Repository, parse_id};
use crate::model::WorkspacePath;

/// A path of the workspace that is not what it was in a commit.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Changed {
    /// Where.
    pub path: WorkspacePath,
    /// The commit has it.
    pub before: bool,
    /// It is on disk.
    pub now: bool,
    /// The commit or the index has it: git was told of it.
    pub tracked: bool,
    /// A submodule, or a repository inside this one: what lies below is unknown.
    pub folder: bool,
}

impl Repository {
    /// The commit at which HEAD and the commit that `revision` names parted: what a branch has changed is what
    /// differs from there, however far the other one has gone on. Before the first commit: the commit itself.
    ///
    /// # Errors
    /// There is no such commit, or the two have no common ancestor.
    pub fn merge_base(&self, revision: &str) -> Result<String, Error> {
        let git = self.lock();
        let commit = git.revparse_single(revision).and_then(|object| object.peel_to_commit());
        let commit = commit
            .map_err(|error| Error::UnknownRevision {
                revision: revision.to_owned(),
                message: error.message().to_owned(),
            })?
            .id();
        let Ok(head) = git.head().and_then(|head| head.peel_to_commit()) else {
            return Ok(commit.to_string());
        };
        let base = git.merge_base(head.id(), commit);
        base.map(|base| base.to_string())
            .map_err(|_| Error::NoCommonAncestor { revision: revision.to_owned(), shallow: git.is_shallow() })
    }

    /// Every path of the workspace that differs between the commit and the working tree, sorted.
    ///
    /// # Errors
    /// The commit or the index cannot be read, or there is no working tree.
    pub fn changed_since(&self, commit: &str) -> Result<Vec<Changed>, Error> {
        let prefix = self.path_in_git(&WorkspacePath::root())?;
        let git = self.lock();
        let tree = tree_of(&git, commit)?;
        let mut index = git.index().map_err(Error::git("read", "the index"))?;
        index.read(false).map_err(Error::git("read", "the index"))?;
        let mut options = options(&prefix);
        let compare = |what: &str| Error::git("compare", what.to_owned());
        let staged = git
            .diff_tree_to_index(Some(&tree), Some(&index), Some(&mut options))
            .map_err(compare("the commit with the index"))?;
        let edited = git
            .diff_index_to_workdir(Some(&index), Some(&mut options))
            .map_err(compare("the index with the working tree"))?;
        let top = git.workdir().unwrap_or(&self.root).to_owned();
        let mut changed = Vec::new();
        for name in names(&staged).into_iter().chain(names(&edited)).collect::<BTreeSet<_>>() {
            let name = name.strip_suffix(b"/").unwrap_or(&name);
            let Some(path) = below(&prefix, name) else { continue };
            let before = blob_at(&tree, name);
            let full = top.join(to_path(name));
            let found = full.symlink_metadata().ok();
            // Staged, and edited back again.
            if let (Some(before), Some(found)) = (before, &found)
                && before.1 != SUBMODULE
                && !found.is_dir()
                && is(&full, found, before)
            {
                continue;
            }
            let now = found.is_some();
            if before.is_none() && !now {
                continue;
            }
            let tracked = before.is_some() || index.get_path(to_path(name), 0).is_some();
            let folder = found.is_some_and(|found| found.is_dir());
            changed.push(Changed { path, before: before.is_some(), now, tracked, folder });
        }
        changed.sort();
        changed.dedup();
        Ok(changed)
    }

    /// The symbolic links of the workspace that git knows.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn tracked_links(&self) -> Result<Vec<WorkspacePath>, Error> {
        let prefix = self.path_in_git(&WorkspacePath::root())?;
        let git = self.lock();
        let index = git.index().map_err(Error::git("read", "the index"))?;
        let links = index.iter().filter(|entry| entry.mode == LINK);
        Ok(links.filter_map(|entry| below(&prefix, &entry.path)).collect())
    }

    /// The files of the workspace in a commit, links too, sorted.
    ///
    /// # Errors
    /// The commit cannot be read.
    pub fn files_at(&self, commit: &str) -> Result<Vec<WorkspacePath>, Error> {
        let prefix = self.path_in_git(&WorkspacePath::root())?;
        let git = self.lock();
        let mut files = Vec::new();
        let walked = tree_of(&git, commit)?.walk(TreeWalkMode::PreOrder, |folder, entry| {
            if entry.kind() == Some(ObjectType::Blob) {
                let name = [folder.as_bytes(), entry.name_bytes()].concat();
                files.extend(below(&prefix, &name));
            }
            TreeWalkResult::Ok
        });
        walked.map_err(Error::git("list the files of", commit))?;
        files.sort_unstable();
        Ok(files)
    }

    /// The content of a file of the workspace in a commit, as git keeps it; none where it has no file there.
    ///
    /// # Errors
    /// The commit or the file cannot be read.
    pub fn read_at(&self, commit: &str, path: &WorkspacePath) -> Result<Option<Vec<u8>>, Error> {
        let name = self.path_in_git(path)?;
        let git = self.lock();
        let Some((id, mode)) = blob_at(&tree_of(&git, commit)?, name.as_bytes()) else { return Ok(None) };
        if matches!(mode, LINK | SUBMODULE) {
            return Ok(None);
        }
        match git.find_blob(id) {
            Ok(blob) => Ok(Some(blob.content().to_vec())),
            Err(error) => Err(Error::git("read", path)(error)),
        }
    }
}

fn options(prefix: &WorkspacePath) -> DiffOptions {
    let mut options = DiffOptions::new();
    options.include_untracked(true).recurse_untracked_dirs(true).include_typechange(true);
    if !prefix.is_root() {
        options.disable_pathspec_match(true).pathspec(prefix.as_path());
    }
    options
}

fn tree_of<'g>(git: &'g git2::Repository, commit: &str) -> Result<git2::Tree<'g>, Error> {
    let id = parse_id(commit)?;
    git.find_commit(id).and_then(|commit| commit.tree()).map_err(Error::git("read the tree of", commit))
}

/// The paths of a diff, as git has them; a folder ends in `/`.
fn names(diff: &Diff<'_>) -> BTreeSet<Vec<u8>> {
    let sides = diff.deltas().flat_map(|delta| {
        [delta.old_file().path_bytes(), delta.new_file().path_bytes()].map(|path| path.map(<[u8]>::to_vec))
    });
    sides.flatten().collect()
}

fn blob_at(tree: &git2::Tree<'_>, name: &[u8]) -> Option<Blob> {
    let entry = tree.get_path(to_path(name)).ok()?;
    let id: Oid = entry.id();
    let mode = u32::try_from(entry.filemode()).ok()?;
    (entry.kind() != Some(ObjectType::Tree)).then_some((id, mode))
}

/// The path in the workspace, which lies at `prefix` of the repository.
fn below(prefix: &WorkspacePath, name: &[u8]) -> Option<WorkspacePath> {
    let path =
        if prefix.is_root() { name } else { name.strip_prefix(prefix.as_bytes())?.strip_prefix(b"/")? };
    (!path.is_empty() && Path::new(to_path(path)).is_relative()).then(|| WorkspacePath::from_normal(path))
}
