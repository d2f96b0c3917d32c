//! Merging branches of tasks into HEAD: all of them or none.
//!
//! The merges are computed in the object database first. Only where none of them conflicts, and no change that is
//! not committed stands in the way, are the working tree, the index and HEAD updated, in this order
//! ([`super::checkout`]): after a crash in between, the files that are new already count as in nobody's way, and
//! merging again completes it. There never is a `MERGE_HEAD`.

use std::path::PathBuf;

use git2::{ErrorCode, Oid, RepositoryState};

use super::checkout::Update;
use super::conflict::{self, Conflict};
use super::index::IndexLock;
use super::{Error, Repository, branch, commit};

/// What became of a merge.
#[derive(Debug)]
pub enum Merge {
    /// HEAD, index and working tree are at the result.
    Done(Merged),
    /// HEAD contained every branch already. Nothing was done.
    AlreadyMerged,
    /// Nothing was done: these paths would have to be merged by a person. All conflicts of all branches; `git merge BRANCH`
    /// is the way to settle one.
    Conflicts(Vec<Conflict>),
}

/// What was merged.
#[derive(Debug)]
pub struct Merged {
    /// Where HEAD is now, hexadecimal.
    pub commit: String,
    /// The branches that were merged, in order.
    pub merged: Vec<String>,
    /// The branches that HEAD contained already.
    pub already: Vec<String>,
    /// The paths that are other than before in HEAD, relative to the top of the working tree.
    pub changed: Vec<PathBuf>,
}

/// A merge in the making: where HEAD would be.
struct Making<'a> {
    at: Option<Oid>,
    merged: Vec<(&'a str, Oid)>,
    already: Vec<String>,
    conflicts: Vec<Conflict>,
}

impl Repository {
    /// Merges `branches` into HEAD one after the other, each with a merge commit of its own whose message is
    /// `message` of its name. On an unborn HEAD the first one becomes HEAD, as in git. Index and working tree follow. Hooks and
    /// programs of filters do not run, nothing is signed.
    ///
    /// A file that is what the merge makes of it already (the result of a task that was put into the tree, say) stands in no way.
    /// Files outside of a sparse checkout that git has left out stay out; new files are written.
    ///
    /// # Errors
    /// [`Error::InTheWay`] names every path that has uncommitted changes and would be changed; [`Error::NoBranch`],
    /// [`Error::UnderWay`], [`Error::IndexLocked`], [`Error::Moved`] (HEAD, by somebody else) likewise leave all as it is.
    pub fn merge(&self, branches: &[String], message: &dyn Fn(&str) -> String) -> Result<Merge, Error> {
        let git = self.lock();
        let top = git.workdir().ok_or_else(|| Error::NoWorkingTree { root: self.root.clone() })?.to_owned();
        if let Some(what) = under_way(git.state()) {
            return Err(Error::UnderWay { what, place: top });
        }
        self.area().clear()?;
        let start = commit::head(&git)?.map(|head| head.id());
        let made = make(&git, start, branches, message)?;
        if !made.conflicts.is_empty() {
            return Ok(Merge::Conflicts(made.conflicts));
        }
        let Some(end) = made.at.filter(|at| Some(*at) != start) else { return Ok(Merge::AlreadyMerged) };
        let mut lock = IndexLock::take(&git, &self.area())?;
        if lock.index().has_conflicts() {
            return Err(Error::UnderWay { what: "a merge with conflicts", place: top });
        }
        let update = Update::plan(&git, lock.index(), start, end)?;
        // Before anything is touched: somebody may have committed since.
        check_head(&git, start)?;
        let changed = update.paths();
        update.apply(&git, lock, &self.area())?;
        let names: Vec<&str> = made.merged.iter().map(|(name, _)| *name).collect();
        self.set_head(&git, start, end, &format!("merge {}: made by conductor", names.join(", ")))?;
        let merged = names.into_iter().map(str::to_owned).collect();
        Ok(Merge::Done(Merged { commit: end.to_string(), merged, already: made.already, changed }))
    }

    /// Moves HEAD, or the branch that it names, from `start` to `end`.
    fn set_head(&self, git: &git2::Repository, start: Option<Oid>, end: Oid, log: &str) -> Result<(), Error> {
        let head = git.find_reference("HEAD").map_err(Error::git("read", "HEAD"))?;
        let name = match head.symbolic_target() {
            Ok(Some(branch)) => branch.to_owned(),
            Ok(None) => "HEAD".to_owned(),
            Err(error) => return Err(Error::git("read", "HEAD")(error)),
        };
        let lock = if name == "HEAD" {
            git.path().join("HEAD.lock")
        } else {
            self.common_dir.join(format!("{name}.lock"))
        };
        let _note = self.area().note(&[lock])?;
        let set = match start {
            Some(start) => git.reference_matching(&name, end, true, start, log),
            None => git.reference(&name, end, false, log),
        };
        set.map(drop).map_err(|error| match error.code() {
            ErrorCode::Modified | ErrorCode::Exists => {
                head_moved(start, commit::head(git).ok().flatten().map(|head| head.id()))
            }
            _ => Error::git("set", &name)(error),
        })
    }
}

fn make<'a>(
    git: &git2::Repository,
    start: Option<Oid>,
    branches: &'a [String],
    message: &dyn Fn(&str) -> String,
) -> Result<Making<'a>, Error> {
    let mut making = Making { at: start, merged: Vec::new(), already: Vec::new(), conflicts: Vec::new() };
    for name in branches {
        let tip = branch::tip(git, name)?.ok_or_else(|| Error::NoBranch { name: name.clone() })?;
        let Some(at) = making.at else {
            making.at = Some(tip);
            making.merged.push((name, tip));
            continue;
        };
        let contained =
            git.graph_descendant_of(at, tip).map_err(Error::git("compare with HEAD the branch", name))?;
        if contained || at == tip {
            making.already.push(name.clone());
            continue;
        }
        let find = |id| git.find_commit(id).map_err(Error::git("read the commit", id));
        let (ours, theirs) = (find(at)?, find(tip)?);
        let mut index =
            git.merge_commits(&ours, &theirs, None).map_err(Error::git("merge the branch", name))?;
        if index.has_conflicts() {
            making.conflicts.extend(conflict::read(git, &index, name, &making.merged)?);
            continue;
        }
        let tree = index.write_tree_to(git).map_err(Error::git("write the merge of", name))?;
        let mut text = message(name);
        if !text.ends_with('\n') {
            text.push('\n');
        }
        making.at = Some(commit::write(git, tree, &[at, tip], &text)?);
        making.merged.push((name, tip));
    }
    Ok(making)
}

fn under_way(state: RepositoryState) -> Option<&'static str> {
    Some(match state {
        RepositoryState::Clean => return None,
        RepositoryState::Merge => "a merge",
        RepositoryState::Revert | RepositoryState::RevertSequence => "a revert",
        RepositoryState::CherryPick | RepositoryState::CherryPickSequence => "a cherry-pick",
        RepositoryState::Bisect => "a bisect",
        RepositoryState::Rebase | RepositoryState::RebaseInteractive | RepositoryState::RebaseMerge => {
            "a rebase"
        }
        RepositoryState::ApplyMailbox | RepositoryState::ApplyMailboxOrRebase => "`git am`",
    })
}

fn check_head(git: &git2::Repository, start: Option<Oid>) -> Result<(), Error> {
    let found = commit::head(git)?.map(|head| head.id());
    if found == start { Ok(()) } else { Err(head_moved(start, found)) }
}

fn head_moved(expected: Option<Oid>, found: Option<Oid>) -> Error {
    let text = |id: Option<Oid>| id.map_or_else(|| "no commit".to_owned(), |id| id.to_string());
    Error::Moved { name: "HEAD".to_owned(), expected: text(expected), found: text(found) }
}
