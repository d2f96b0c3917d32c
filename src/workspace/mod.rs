//! The tree of files: the only room that reads it. What stands at a path (`look`), which paths there are
//! (`walk`, `rules`), which of them a pattern means (`glob`), and how files are written, moved and copied
//! so that neither a crash nor a second device loses one (`files`), and copied privately and cheaply (`clone`).
//!
//! It does not know tasks, keys or records; it remembers nothing between two calls.
//!
//! Invariants: no call follows a link at the end of a path, except [`Root::follow`], which resolves
//! links, and a walk, which resolves the links on the way to its base. No call changes the
//! process's working folder, and every descriptor is close-on-exec.

mod clone;
mod files;
mod folder;
mod follow;
mod glob;
mod look;
mod nearby;
mod parallel;
mod rules;
mod walk;
mod witness;

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, Mode, OFlags};

use crate::model::WorkspacePath;

pub use clone::{Cloned, Cloning, Expected, clone_file, clone_many};
pub use files::{copy_file, make_folder, move_path, prune_empty_parents, remove_path, write_atomic};
pub use follow::{End, Trail};
pub use glob::{BadGlob, Globs, compile_name_glob, parse_glob};
pub use look::{Observed, digest_file, link_at, settled_signature, signature_and_links, stamp_now};
pub use parallel::map as in_parallel;
pub use walk::{Ignores, Listing};
pub use witness::{Touch, Touched, Watch, Witness};

/// Why the tree could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried: `read`, `rename`, …
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The text is no glob.
    #[error("`{glob}` is no glob")]
    Glob {
        /// As it was given.
        glob: String,
        /// What is wrong with it.
        source: BadGlob,
    },
}

impl Error {
    fn io(action: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io { action, path: path.to_owned(), source: source.into() }
    }
}

/// An open folder whose contents are named by [`WorkspacePath`]s: a private folder, or the inside of a [`Tree`].
#[derive(Debug)]
pub struct Root {
    /// Absolute, without links.
    root: PathBuf,
    /// The root, open: lookups relative to it are shorter and survive its renaming.
    dir: OwnedFd,
}

impl Root {
    /// Opens the folder `root`.
    ///
    /// # Errors
    /// `root` is not there, is no folder, or may not be read.
    pub fn open(root: &Path) -> Result<Self, Error> {
        let root = root.canonicalize().map_err(|error| Error::io("open", root, error))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::openat(CWD, &root, flags, Mode::empty())
            .map_err(|error| Error::io("open", &root, error))?;
        Ok(Self { root, dir })
    }

    /// The root folder: absolute and without links, so that paths which tools print (depfiles) can be
    /// compared with it.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Is there a folder at `path`, itself and not through a link?
    pub fn is_folder(&self, path: &WorkspacePath) -> bool {
        self.signature(path).is_folder()
    }

    /// Opens a folder below the root for reading, unless it is a link.
    fn open_folder(&self, path: &[u8]) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.dir, relative(path), flags, Mode::empty())?)
    }
}

/// The person's files: the folder that holds the manifest, with all below it.
///
/// A private folder is a [`Root`] and never a `Tree`, so a function that asks what the person's files are now cannot
/// be given a copy of them.
#[derive(Clone, Debug)]
pub struct Tree(Arc<Root>);

impl Tree {
    /// Opens the workspace whose root folder is `root`.
    ///
    /// # Errors
    /// As [`Root::open`].
    pub fn open(root: &Path) -> Result<Self, Error> {
        Ok(Self(Arc::new(Root::open(root)?)))
    }

    /// The same folder as a task sees it that runs in the tree.
    pub fn as_root(&self) -> Arc<Root> {
        Arc::clone(&self.0)
    }
}

impl std::ops::Deref for Tree {
    type Target = Root;

    fn deref(&self) -> &Root {
        &self.0
    }
}

/// The root's own name, seen from the root, is `.`.
fn relative(path: &[u8]) -> &OsStr {
    OsStr::from_bytes(if path.is_empty() { b"." } else { path })
}
