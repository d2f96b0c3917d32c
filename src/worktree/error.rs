//! What can go wrong between conductor and git. Each message says what was tried, on which path or
//! reference, and what to do where something can be done.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

/// Why something that was asked of git was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system refused.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// git's data could not be read or written.
    #[error("git: cannot {action} {subject}: {message}")]
    Git {
        /// What was tried.
        action: &'static str,
        /// On what: a reference, a commit, a path.
        subject: String,
        /// What the library said.
        message: String,
    },
    /// There is a repository, but this program cannot work with it.
    #[error("cannot use the git repository at `{}`: {message}; {help}", root.display())]
    Unusable {
        /// The folder that was opened.
        root: PathBuf,
        /// Why.
        message: String,
        /// What to do.
        help: &'static str,
    },
    /// The repository has no working tree here, or the workspace is not in it.
    #[error("the workspace `{}` is in no working tree of its git repository; tasks with worktrees need one", root.display())]
    NoWorkingTree {
        /// The workspace's root.
        root: PathBuf,
    },
    /// A place that is not conductor's to make or to remove.
    #[error("`{}` is not below `.conductor/workspaces/`, so conductor neither makes nor removes a worktree there", place.display())]
    NotOurs {
        /// The place.
        place: PathBuf,
    },
    /// Something of somebody else's where a worktree is to be made.
    #[error("`{}` is in the way: conductor did not make what is there, or what git knows of it; move it away", place.display())]
    Occupied {
        /// The place.
        place: PathBuf,
    },
    /// Something that no tree of git can hold.
    #[error("`{}` cannot be put into a git tree: {message}", path.display())]
    NotForGit {
        /// The path, relative to the workspace.
        path: PathBuf,
        /// Why.
        message: String,
    },
    /// A file is not what it was when it was accepted.
    #[error("`{}` changed while it was being committed; build again", path.display())]
    Changed {
        /// The file that was read.
        path: PathBuf,
    },
    /// A name that git does not accept.
    #[error("git accepts no branch named `{name}`")]
    BadName {
        /// The branch.
        name: String,
    },
    /// Another branch stands where a folder of branches would have to be, or the other way around.
    #[error(
        "cannot make the branch `{name}`: there is a branch `{other}`, and git keeps both under one name on \
         disk; rename it: git branch -m {other} NEW-NAME"
    )]
    NameTaken {
        /// The branch that was to be made.
        name: String,
        /// The branch in its way.
        other: String,
    },
    /// A branch is not where it was expected.
    #[error(
        "the branch `{name}` is at {found}, not at {expected} as expected; somebody moved it meanwhile: run the command again"
    )]
    Moved {
        /// The branch, or HEAD.
        name: String,
        /// Where it should have been.
        expected: String,
        /// Where it is.
        found: String,
    },
    /// A branch that a working tree has checked out.
    #[error(
        "the branch `{name}` is checked out in `{}`; switch that working tree to another branch \
         (git -C {} switch --detach) and run the command again", place.display(), place.display()
    )]
    CheckedOut {
        /// The branch.
        name: String,
        /// The working tree.
        place: PathBuf,
    },
    /// There is no such branch.
    #[error("there is no branch `{name}`; build the task with `integrate: branch` or in a worktree first")]
    NoBranch {
        /// The branch.
        name: String,
    },
    /// There is no such commit.
    #[error("git knows no commit `{revision}`: {message}")]
    UnknownRevision {
        /// As it was given.
        revision: String,
        /// What the library said.
        message: String,
    },
    /// Nothing tells where two commits parted.
    #[error("HEAD and `{revision}` have no common commit{}", if *shallow { " in this shallow clone" } else { "" })]
    NoCommonAncestor {
        /// As it was given.
        revision: String,
        /// The clone holds a part of the history alone.
        shallow: bool,
    },
    /// A merge would overwrite what is not committed.
    #[error(
        "the merge would change {}, which hold changes that are not committed; commit or stash them, then merge again",
        list(paths)
    )]
    InTheWay {
        /// The paths, relative to the top of the working tree.
        paths: Vec<PathBuf>,
    },
    /// The working tree is in the middle of something.
    #[error("cannot merge while {what} is under way in `{}`; finish or abort it first", place.display())]
    UnderWay {
        /// What git is in the middle of.
        what: &'static str,
        /// The working tree.
        place: PathBuf,
    },
    /// Another program holds the index.
    #[error(
        "cannot update the index: `{}` exists, another git command may be running; wait for it, or remove the \
         file if there is none", path.display()
    )]
    IndexLocked {
        /// The lock.
        path: PathBuf,
    },
}

impl Error {
    /// For `map_err`: `action` on `path` failed.
    pub(super) fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.as_ref().to_owned(), source }
    }

    /// For `map_err`: git's `action` on `subject` failed.
    pub(super) fn git(action: &'static str, subject: impl Display) -> impl FnOnce(git2::Error) -> Self {
        move |error| Self::Git { action, subject: subject.to_string(), message: error.message().to_owned() }
    }
}

/// At most ten paths, and how many more there are.
fn list(paths: &[PathBuf]) -> String {
    const SHOWN: usize = 10;
    let mut text: Vec<String> =
        paths.iter().take(SHOWN).map(|path| format!("`{}`", path.display())).collect();
    if paths.len() > SHOWN {
        text.push(format!("{} more", paths.len() - SHOWN));
    }
    text.join(", ")
}
