//! A task's own worktree: making it, keeping it, removing it, and finding those that were left behind.
//!
//! A place is made whole or not at all: a crash leaves a folder that git does not know, or an entry that is
//! complete. Both are found again by [`Repository::leftovers`].

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use git2::Oid;

use super::admin::{Admin, entry_of, is_ours, real, says_conductors};
use super::remove::{Area, remove_tree};
use super::{Error, Repository, name, tree};
use crate::model::Digest;

/// What the names of folders begin with that are being removed.
const GOING: &str = ".conductor-going-";

/// A linked worktree that conductor made. Dropping it leaves it where it is.
#[derive(Debug)]
pub struct Linked {
    pub(super) place: PathBuf,
    pub(super) admin: Admin,
    pub(super) common_dir: PathBuf,
    workspace: String,
}

/// A worktree of conductor's that nobody works in any more.
#[derive(Debug)]
pub struct Leftover {
    /// Its folder, which may be gone.
    pub place: PathBuf,
    /// Why it was kept ([`Linked::keep`]); none where a killed run left it.
    pub kept: Option<String>,
    admin: Option<Admin>,
    /// The folder is somebody else's.
    entry_only: bool,
}

impl Repository {
    /// Makes a linked worktree at the folder `place`, somewhere below `.conductor/workspaces/`. It is empty, and its HEAD is
    /// detached at an empty commit without parents. `git worktree list` shows it. `name` (a task's id) is
    /// for people who look into git's folder. A worktree of conductor's at `place` is replaced, also
    /// half of one that a killed run left. An empty folder that conductor has made is used as it is.
    ///
    /// Several threads may call it at once; it is done one after the other.
    ///
    /// # Errors
    /// `place` is elsewhere, holds something that conductor did not make, or cannot be written.
    pub fn create(&self, name: &str, place: &Path) -> Result<Linked, Error> {
        let place = real(place);
        if !is_ours(&place) {
            return Err(Error::NotOurs { place });
        }
        let git = self.lock();
        let common_dir = self.common_dir.canonicalize().map_err(Error::io("open", &self.common_dir))?;
        let name = format!("conductor-{}-{}", self.workspace_name(), name::component(name));
        self.clear(&place, &common_dir.join("worktrees").join(&name))?;
        fs::create_dir_all(&place).map_err(Error::io("make", &place))?;
        let head = empty_commit(&git)?.to_string();
        let admin = Admin::create(&common_dir, &self.area(), &name, &place, &head)?;
        Ok(Linked { place, admin, common_dir, workspace: self.workspace_name() })
    }

    /// The worktrees of conductor's below the folder `below` (`ROOT/.conductor/workspaces`), kept ones too. The caller
    /// knows that nobody works in them: it holds the workspace's lock, say.
    ///
    /// A folder there that is no worktree is none, unless it is empty. Worktrees that conductor did not make are
    /// none either, locked or not.
    ///
    /// # Errors
    /// git's entries cannot be listed.
    pub fn leftovers(&self, below: &Path) -> Result<Vec<Leftover>, Error> {
        let below = real(below);
        let mut found = Vec::new();
        for admin in Admin::all(&self.common_dir)? {
            let place = admin.place().filter(|place| place.starts_with(&below) && is_ours(place));
            let Some(place) = place else { continue };
            let owns = self.owns(&place);
            let is_gone = place.symlink_metadata().is_err();
            // Where somebody else's folder took the place, the entry alone is conductor's.
            if owns || admin.is_conductors() {
                let entry_only = !owns && !is_gone;
                found.push(Leftover { place, kept: admin.kept(), admin: Some(admin), entry_only });
            }
        }
        for entry in fs::read_dir(&below).into_iter().flatten().flatten() {
            let place = entry.path();
            let going = entry.file_name().to_string_lossy().starts_with(GOING);
            let unlisted = self.owns(&place) && found.iter().all(|leftover| leftover.place != place);
            if unlisted && (going || is_remains(&place)) {
                let admin = entry_of(&place, &self.common_dir).filter(is_orphan);
                found.push(Leftover { place, kept: None, admin, entry_only: false });
            }
        }
        Ok(found)
    }

    /// The worktree at `place` that was kept ([`Linked::keep`]), to be worked in again; none where there is none, or
    /// git knows nothing of it any more.
    ///
    /// # Errors
    /// git's entries cannot be listed.
    pub fn reopen(&self, place: &Path) -> Result<Option<Linked>, Error> {
        let place = real(place);
        if !is_ours(&place) || !place.join(".git").is_file() {
            return Ok(None);
        }
        let common_dir = self.common_dir.canonicalize().map_err(Error::io("open", &self.common_dir))?;
        let kept = Admin::all(&common_dir)?
            .into_iter()
            .find(|admin| admin.kept().is_some() && admin.place().as_deref() == Some(&*place))
            .filter(|_| self.owns(&place));
        Ok(kept.map(|admin| Linked { place, admin, common_dir, workspace: self.workspace_name() }))
    }

    /// Removes what killed runs left below the folder `below`, and returns the places. Kept worktrees stay.
    ///
    /// # Errors
    /// One of them cannot be removed.
    pub fn recover(&self, below: &Path) -> Result<Vec<PathBuf>, Error> {
        let mut removed = Vec::new();
        for leftover in self.leftovers(below)?.into_iter().filter(|leftover| leftover.kept.is_none()) {
            self.discard(&leftover)?;
            if !leftover.entry_only {
                removed.push(leftover.place);
            }
        }
        self.area().clear()?;
        // As git does after its last worktree.
        let _ = fs::remove_dir(self.common_dir.join("worktrees"));
        Ok(removed)
    }

    /// Removes a leftover, kept or not.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn discard(&self, leftover: &Leftover) -> Result<(), Error> {
        match &leftover.admin {
            Some(admin) if leftover.entry_only => admin.remove(&self.area()),
            admin => discard(&leftover.place, admin.as_ref(), &self.area()),
        }
    }

    /// True if conductor made the folder at `place`: as its maker knows, or as its `.git` file says.
    fn owns(&self, place: &Path) -> bool {
        is_ours(place) && ((self.made)(place) || says_conductors(place))
    }

    /// Removes conductor's leftovers where a worktree is to be made, and its entries that lead there. An empty folder of
    /// its own stays.
    fn clear(&self, place: &Path, named: &Path) -> Result<(), Error> {
        let area = self.area();
        let (owns, is_there) = (self.owns(place), place.symlink_metadata().is_ok());
        // The name has the workspace in it, so that one without a place is half of conductor's own.
        let leads_here = |admin: &Admin| match admin.place() {
            Some(leads) => leads == place,
            None => admin.dir.file_name() == named.file_name(),
        };
        let entries: Vec<Admin> = Admin::all(&self.common_dir)?.into_iter().filter(leads_here).collect();
        if !owns && (is_there || entries.iter().any(|admin| !admin.is_conductors())) {
            return Err(Error::Occupied { place: place.to_owned() });
        }
        for admin in entries {
            admin.remove(&area)?;
        }
        if is_there && fs::read_dir(place).is_ok_and(|mut inside| inside.next().is_none()) {
            return Ok(());
        }
        let orphan = entry_of(place, &self.common_dir).filter(is_orphan);
        discard(place, orphan.as_ref(), &area)
    }

    pub(super) fn area(&self) -> Area {
        Area::new(&self.common_dir, &self.workspace_name())
    }

    /// Tells the workspaces of one repository apart.
    fn workspace_name(&self) -> String {
        use std::os::unix::ffi::OsStrExt as _;
        Digest::of(self.root.as_os_str().as_bytes()).to_hex()[..8].to_owned()
    }
}

impl Linked {
    /// Its folder: the workspace's root as the task sees it.
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// The folder in which git keeps what belongs to this worktree alone (`index`, `HEAD`). A confined task needs to
    /// write it, and git's common folder ([`Repository::common_dir`]) for objects.
    pub fn git_dir(&self) -> &Path {
        &self.admin.dir
    }

    /// Keeps it for a person to look at: [`Repository::recover`] leaves it, until a new one is made in its place.
    ///
    /// # Errors
    /// Its entry cannot be written.
    pub fn keep(&self, why: &str) -> Result<(), Error> {
        self.admin.keep(why)
    }

    /// Removes the folder with all that is in it, and git's entry.
    ///
    /// # Errors
    /// Either cannot be removed. What is left then is found by [`Repository::leftovers`].
    pub fn remove(self) -> Result<(), Error> {
        discard(&self.place, Some(&self.admin), &Area::new(&self.common_dir, &self.workspace))
    }
}

/// The folder first, and under another name: once git knows no worktree any more there must be no folder that
/// looks like one.
fn discard(place: &Path, admin: Option<&Admin>, area: &Area) -> Result<(), Error> {
    if !is_ours(place) {
        return Err(Error::NotOurs { place: place.to_owned() });
    }
    let going = place.parent().map(|folder| {
        tempfile::Builder::new().prefix(GOING).make_in(folder, |going| fs::rename(place, going))
    });
    let going = match going {
        Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => None,
        Some(renamed) => Some(renamed.map_err(Error::io("remove", place))?.into_temp_path()),
        None => None,
    };
    if let Some(admin) = admin {
        admin.remove(area)?;
    }
    going.map_or(Ok(()), |going| remove_tree(&going))
}

/// Is it what a killed run leaves of a worktree that git knows nothing of: a folder with a `.git` file, or an empty one?
fn is_remains(place: &Path) -> bool {
    place.is_dir()
        && !place.is_symlink()
        && (place.join(".git").is_file()
            || fs::read_dir(place).is_ok_and(|mut entries| entries.next().is_none()))
}

/// Does the entry of conductor's lead to a folder that is gone (the repository was moved with its worktrees)?
fn is_orphan(admin: &Admin) -> bool {
    admin.is_conductors()
        && admin.place().is_none_or(|place| is_ours(&place) && place.symlink_metadata().is_err())
}

/// The commit that a worktree stands at before it holds anything. It is always the same one.
fn empty_commit(git: &git2::Repository) -> Result<Oid, Error> {
    let tree = tree::empty(git)?;
    super::commit::seen(git, tree)
}
