//! Git: the only room that knows git2. What conductor asks of the repository around a workspace: a linked
//! worktree for a task ([`Linked`]), a commit of its result ([`Repository::commit`]), its branch, and merging it.
//!
//! It does not know tasks, their states or who runs them; only names, places, paths and bytes. Paths are relative to
//! the workspace, which may lie in a folder of the repository.
//!
//! Invariants:
//! - Nothing here but [`Repository::merge`] changes the index, HEAD or a file of the user's working tree, and
//!   that only where nothing of a person is lost.
//! - No hook runs, and no program of a filter.
//! - What is removed lies below `.conductor/workspaces/`; a worktree or a branch that a person made stays.

mod admin;
mod blob;
mod branch;
mod checkout;
mod commit;
mod conflict;
mod error;
mod index;
mod linked;
mod look;
mod merge;
mod name;
mod remove;
mod since;
mod snapshot;
#[cfg(test)]
mod tests;
mod tree;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use git2::{ErrorCode, ObjectType, Oid, RepositoryOpenFlags};

use crate::model::WorkspacePath;

pub use commit::{Commit, Content, Trailers};
pub use conflict::{Conflict, Side};
pub use error::Error;
pub use linked::{Leftover, Linked};
pub use merge::{Merge, Merged};
pub use name::branch_name;
pub use since::Changed;

/// Tells whether conductor has made the folder at a path.
type Made = Box<dyn Fn(&Path) -> bool + Send + Sync>;

/// The git repository that a folder is part of.
pub struct Repository {
    /// libgit2's handle may move between threads, but only one may use it at a time.
    git: Mutex<git2::Repository>,
    common_dir: PathBuf,
    /// The workspace's root, without links.
    root: PathBuf,
    /// True for a folder that conductor has made, as far as anybody but git knows.
    made: Made,
    /// Where the workspace lies in the repository; none where the repository has no working tree around it.
    prefix: Option<WorkspacePath>,
}

impl Repository {
    /// The repository around the folder `root`; none where there is none, or none that can be read. The
    /// environment (`GIT_DIR`) has no say in it.
    pub fn discover(root: &Path) -> Option<Self> {
        Self::open(root).ok().flatten()
    }

    /// As [`Self::discover`], but tells no repository from one that cannot be used.
    ///
    /// # Errors
    /// There is a repository, but it is damaged, belongs to somebody else, or has a format (SHA-256,
    /// reftable, a partial clone) that libgit2 does not know.
    pub fn open(root: &Path) -> Result<Option<Self>, Error> {
        let git = match git2::Repository::open_ext(root, RepositoryOpenFlags::empty(), &[] as &[&OsStr]) {
            Ok(git) => git,
            Err(error) if error.code() == ErrorCode::NotFound => return Ok(None),
            Err(error) => return Err(unusable(root, &error)),
        };
        let root = root.canonicalize().map_err(Error::io("open", root))?;
        let common_dir = git.commondir().to_owned();
        let top = git.workdir().and_then(|top| top.canonicalize().ok());
        let prefix = top.and_then(|top| Some(root.strip_prefix(top).ok()?.as_os_str().as_bytes().to_owned()));
        let prefix = prefix.map(WorkspacePath::from_normal);
        let made = Box::new(|_: &Path| false);
        Ok(Some(Self { git: Mutex::new(git), common_dir, root, made, prefix }))
    }

    /// `made` tells from now on which folders conductor has made. Without it those of worktrees are told by the
    /// names of git's entries alone, as older versions left them.
    #[must_use]
    pub fn knowing(self, made: impl Fn(&Path) -> bool + Send + Sync + 'static) -> Self {
        Self { made: Box::new(made), ..self }
    }

    /// Can tasks have worktrees of it here?
    ///
    /// # Errors
    /// The workspace is in no working tree of the repository.
    pub fn check(&self) -> Result<(), Error> {
        self.path_in_git(&WorkspacePath::root()).map(drop)
    }

    /// The folder that all worktrees of the repository share: `.git`, or what `.git` leads to.
    pub fn common_dir(&self) -> &Path {
        &self.common_dir
    }

    /// The commit that HEAD stands at, in hexadecimal; none before the first commit.
    pub fn head_commit(&self) -> Option<String> {
        let git = self.lock();
        let commit = git.head().ok()?.peel_to_commit().ok()?;
        Some(commit.id().to_string())
    }

    /// Does the object database hold a blob with exactly the bytes of the file at `path` (of a link: of its
    /// text)? Then these bytes are safe with git, whatever happens to the file. Nothing is written, and
    /// no filter (line ends, LFS) applies.
    pub fn has_bytes(&self, path: &Path) -> bool {
        let hash = || -> Option<Oid> {
            if path.symlink_metadata().ok()?.is_symlink() {
                let text = std::fs::read_link(path).ok()?;
                return Oid::hash_object(ObjectType::Blob, text.as_os_str().as_bytes()).ok();
            }
            Oid::hash_file(ObjectType::Blob, path).ok()
        };
        hash().is_some_and(|id| self.lock().odb().is_ok_and(|objects| objects.exists(id)))
    }

    fn lock(&self) -> MutexGuard<'_, git2::Repository> {
        self.git.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The path that git knows `path` by.
    fn path_in_git(&self, path: &WorkspacePath) -> Result<WorkspacePath, Error> {
        let prefix = self.prefix.as_ref().ok_or_else(|| Error::NoWorkingTree { root: self.root.clone() })?;
        Ok(if path.is_root() { prefix.clone() } else { prefix.join(path.as_bytes()) })
    }
}

fn unusable(root: &Path, error: &git2::Error) -> Error {
    let message = error.message().to_owned();
    let help = if error.code() == ErrorCode::Owner {
        "if you trust its owner: git config --global --add safe.directory FOLDER"
    } else if message.contains("unsupported extension") || message.contains("object format") {
        "conductor works with SHA-1 repositories in the usual format: no reftable, no partial clone"
    } else {
        "`git status` there may say more"
    };
    Error::Unusable { root: root.to_owned(), message, help }
}

/// The hexadecimal name of a commit.
fn parse_id(id: &str) -> Result<Oid, Error> {
    Oid::from_str(id).map_err(Error::git("read", format!("the commit id `{id}`")))
}
