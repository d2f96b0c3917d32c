//! Branches of tasks: where they are, and moving them only from where they are known to be.

use std::fs;
use std::path::Path;

use git2::{ErrorCode, Oid, Reference};

use super::admin::{Admin, head_in};
use super::{Error, Repository, parse_id};

/// Where the tips are kept that somebody else put on a branch of conductor's. Not below `conductor/`, where a task could have
/// the same name.
const KEPT: &str = "conductor-kept";

/// What git's log says of a branch that conductor moved.
const MESSAGE: &str = "conductor";

impl Repository {
    /// The commit at which the branch `name` (`conductor/T1`) stands; none where there is no such branch.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn branch_tip(&self, name: &str) -> Result<Option<String>, Error> {
        let git = self.lock();
        Ok(tip(&git, name)?.map(|tip| tip.to_string()))
    }

    /// Was it conductor that put the branch `name` where it stands? git's log of the branch says so, and of amended commits,
    /// which have the same trailers, it says otherwise. Where there is no such log, it was not.
    pub fn is_written_by_conductor(&self, name: &str) -> bool {
        let git = self.lock();
        let (Ok(Some(tip)), Ok(reference)) = (tip(&git, name), full(name)) else { return false };
        let Ok(log) = git.reflog(&reference) else { return false };
        log.get(0)
            .is_some_and(|last| last.id_new() == tip && last.message_bytes() == Some(MESSAGE.as_bytes()))
    }

    /// The branches below `conductor/`, sorted.
    ///
    /// # Errors
    /// The references cannot be read.
    pub fn branches(&self) -> Result<Vec<String>, Error> {
        let git = self.lock();
        let reading = |error| Error::git("list", "the branches below conductor/")(error);
        let mut names = Vec::new();
        for reference in git.references_glob("refs/heads/conductor/*").map_err(reading)? {
            let reference = reference.map_err(reading)?;
            let name = String::from_utf8_lossy(reference.name_bytes());
            names.extend(name.strip_prefix("refs/heads/").map(str::to_owned));
        }
        names.sort();
        Ok(names)
    }

    /// Moves the branch `name` from `expected` (none: it does not exist) to the commit `new` (none: removes it).
    /// Nothing happens where it is not at `expected`, whoever moved it and however recently.
    ///
    /// # Errors
    /// [`Error::Moved`]; [`Error::CheckedOut`] where a working tree other than conductor's own has it checked out;
    /// [`Error::NameTaken`] where another branch is in its way.
    pub fn set_branch(&self, name: &str, expected: Option<&str>, new: Option<&str>) -> Result<(), Error> {
        let git = self.lock();
        let expected = expected.map(parse_id).transpose()?;
        let new = new.map(parse_id).transpose()?;
        self.move_branch(&git, name, expected, new)
    }

    /// Puts the tip of the branch `name` (none: it does not exist), which conductor did not write, out of the way: it is then on the
    /// branch that this returns, `conductor-kept/RUN/T1`, and `name` is free.
    ///
    /// # Errors
    /// As [`Self::set_branch`].
    pub fn keep_aside(&self, name: &str, run: &str) -> Result<Option<String>, Error> {
        let git = self.lock();
        let Some(kept) = tip(&git, name)? else { return Ok(None) };
        self.check_not_checked_out(&git, name)?;
        let task = name.strip_prefix("conductor/").unwrap_or(name);
        let wanted = format!("{KEPT}/{}/{task}", super::name::component(run));
        for number in 1_u32.. {
            let aside = if number == 1 { wanted.clone() } else { format!("{wanted}-{number}") };
            match tip(&git, &aside)? {
                Some(other) if other != kept => continue,
                Some(_) => {}
                None => self.move_branch(&git, &aside, None, Some(kept))?,
            }
            self.move_branch(&git, name, Some(kept), None)?;
            return Ok(Some(aside));
        }
        Ok(None)
    }

    /// Removes the lock that a run which was killed while it moved the branch `name` left behind. The caller knows that
    /// such a run was under way and is no more.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn unlock_branch(&self, name: &str) -> Result<(), Error> {
        let lock = self.common_dir().join(format!("{}.lock", full(name)?));
        match std::fs::remove_file(&lock) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io("remove", lock)(error))
            }
            _ => Ok(()),
        }
    }

    /// Removes the branch `name`, wherever it stands. Not there is fine.
    ///
    /// # Errors
    /// [`Error::CheckedOut`] where a working tree other than conductor's own has it checked out.
    pub fn delete_branch(&self, name: &str) -> Result<(), Error> {
        let git = self.lock();
        match tip(&git, name)? {
            Some(tip) => self.move_branch(&git, name, Some(tip), None),
            None => Ok(()),
        }
    }

    fn move_branch(
        &self,
        git: &git2::Repository,
        name: &str,
        expected: Option<Oid>,
        new: Option<Oid>,
    ) -> Result<(), Error> {
        let found = tip(git, name)?;
        if found != expected {
            return Err(moved(name, expected, found));
        }
        if found == new {
            return Ok(());
        }
        self.check_not_checked_out(git, name)?;
        let reference = full(name)?;
        let lock = self.common_dir.join(format!("{reference}.lock"));
        // The lock may be one of a run that was killed.
        self.area().clear()?;
        let _note = self.area().note(&[lock, self.common_dir.join("packed-refs.lock")])?;
        let Some(new) = new else {
            let mut old = git.find_reference(&reference).map_err(Error::git("read the branch", name))?;
            // libgit2 compares with what `old` was read as, under the reference's lock.
            return old.delete().map_err(|error| changed_or(error, git, name, expected, "remove the branch"));
        };
        check_free(git, name)?;
        let set = match expected {
            Some(old) => git.reference_matching(&reference, new, true, old, MESSAGE),
            None => git.reference(&reference, new, false, MESSAGE),
        };
        set.map(drop).map_err(|error| changed_or(error, git, name, expected, "set the branch"))
    }

    /// A working tree whose branch moves under it would show changes that nobody made. conductor's own are no hindrance: they
    /// are a task's, whose result is what conductor commits.
    fn check_not_checked_out(&self, git: &git2::Repository, name: &str) -> Result<(), Error> {
        let reference = full(name)?;
        let checked_out = |place| Err(Error::CheckedOut { name: name.to_owned(), place });
        let is_bare = git.config().and_then(|config| config.get_bool("core.bare")).unwrap_or(false);
        if !is_bare && uses(&self.common_dir, &reference) {
            let main = git.workdir().filter(|_| !git.is_worktree()).or_else(|| self.common_dir.parent());
            return checked_out(main.unwrap_or(&self.common_dir).to_owned());
        }
        for admin in Admin::all(&self.common_dir)? {
            if let Some(place) = admin.place().filter(|_| uses(&admin.dir, &reference))
                && !admin.is_conductors()
            {
                return checked_out(place);
            }
        }
        Ok(())
    }
}

/// Does the working tree of `git_dir` have the branch checked out, or is it rebasing it?
fn uses(git_dir: &Path, reference: &str) -> bool {
    let rebased = |folder: &str| fs::read_to_string(git_dir.join(folder).join("head-name"));
    head_in(git_dir).as_deref() == Some(reference)
        || ["rebase-merge", "rebase-apply"]
            .into_iter()
            .any(|folder| rebased(folder).is_ok_and(|name| name.trim() == reference))
}

/// The commit at which a branch stands.
pub(super) fn tip(git: &git2::Repository, name: &str) -> Result<Option<Oid>, Error> {
    match git.find_reference(&full(name)?).and_then(|reference| reference.peel_to_commit()) {
        Ok(commit) => Ok(Some(commit.id())),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
        Err(error) => Err(Error::git("read the branch", name)(error)),
    }
}

fn full(name: &str) -> Result<String, Error> {
    let reference = format!("refs/heads/{name}");
    if Reference::is_valid_name(&reference) {
        Ok(reference)
    } else {
        Err(Error::BadName { name: name.to_owned() })
    }
}

/// git keeps branches as files: `conductor` and `conductor/T1` cannot both be there.
fn check_free(git: &git2::Repository, name: &str) -> Result<(), Error> {
    let taken = |other: &str| Err(Error::NameTaken { name: name.to_owned(), other: other.to_owned() });
    for (end, _) in name.match_indices('/') {
        if git.find_reference(&full(&name[..end])?).is_ok() {
            return taken(&name[..end]);
        }
    }
    let below = git.references_glob(&format!("refs/heads/{name}/*")).ok();
    let other = below.and_then(|mut below| below.next()?.ok());
    match other {
        Some(other) => {
            let other = String::from_utf8_lossy(other.name_bytes()).into_owned();
            taken(other.strip_prefix("refs/heads/").unwrap_or(&other))
        }
        None => Ok(()),
    }
}

fn moved(name: &str, expected: Option<Oid>, found: Option<Oid>) -> Error {
    let text = |tip: Option<Oid>| tip.map_or_else(|| "no commit".to_owned(), |tip| tip.to_string());
    Error::Moved { name: name.to_owned(), expected: text(expected), found: text(found) }
}

fn changed_or(
    error: git2::Error,
    git: &git2::Repository,
    name: &str,
    expected: Option<Oid>,
    action: &'static str,
) -> Error {
    match tip(git, name) {
        Ok(found) if found != expected => moved(name, expected, found),
        _ => Error::git(action, name)(error),
    }
}
