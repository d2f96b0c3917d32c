//! Git: the only room that knows git2. What conductor asks of the repository around a workspace.
//!
//! It does not know tasks or the workspace. Invariants: nothing here changes the index, HEAD or a file of
//! the working tree; a missing or damaged repository is no error, it only has nothing to say.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use git2::{ObjectType, Oid, RepositoryOpenFlags};

/// The git repository that a folder is part of.
pub struct Repository {
    /// libgit2's handle may move between threads, but only one may use it at a time.
    git: Mutex<git2::Repository>,
    common_dir: PathBuf,
}

impl Repository {
    /// The repository around the folder `root`; none where there is none, or none that can be read. The
    /// environment (`GIT_DIR`) has no say in it.
    pub fn discover(root: &Path) -> Option<Self> {
        let git = git2::Repository::open_ext(root, RepositoryOpenFlags::empty(), &[] as &[&OsStr]).ok()?;
        let common_dir = git.commondir().to_owned();
        Some(Self { git: Mutex::new(git), common_dir })
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
}
