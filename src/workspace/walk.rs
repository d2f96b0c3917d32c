//! Which paths there are: everything below a folder ([`Root::list`]), or what the ignore rules
//! leave of it ([`Root::walk`]).
//!
//! Neither enters a link that it finds, and neither enters or lists `.git` or `.conductor`. A walk
//! also leaves out the workspace's `conductor.lock`: else results would depend on recorded results.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rustix::fs::FileType;

use super::rules::Rules;
use super::{End, Error, Root, Trail, folder, parallel};
use crate::model::{LOCKFILE, WorkspacePath};

/// What a walk found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Listing {
    /// Files, links and special files, sorted by their bytes.
    pub paths: Vec<WorkspacePath>,
    /// Folders that could not be read, sorted by their bytes: what is below them is unknown.
    pub unreadable: Vec<WorkspacePath>,
    /// Folders that were read, by the names that they have without links, sorted by their bytes.
    pub folders: Vec<WorkspacePath>,
}

impl Root {
    /// What makes up the thing at `path`: the path itself where it is a file, a link, something special or
    /// an empty folder; else all such paths below it. Nothing where nothing is. Ignore rules do not
    /// count. Sorted by bytes.
    ///
    /// # Errors
    /// A folder cannot be read.
    pub fn list(&self, path: &WorkspacePath) -> Result<Vec<WorkspacePath>, Error> {
        let mut paths = Vec::new();
        if self.is_folder(path) {
            self.list_folder(path, &mut paths)?;
        } else if self.signature(path).mode != 0 {
            paths.push(path.clone());
        }
        paths.sort_unstable();
        Ok(paths)
    }

    fn list_folder(&self, path: &WorkspacePath, paths: &mut Vec<WorkspacePath>) -> Result<(), Error> {
        let mut empty = true;
        let mut folders = Vec::new();
        let read = self.open_folder(path.as_bytes()).and_then(|dir| {
            folder::read(dir, |name, kind| {
                empty = false;
                match kind {
                    _ if folder::is_private(name) => {}
                    FileType::Directory => folders.push(path.join(name)),
                    _ => paths.push(path.join(name)),
                }
            })
        });
        match read {
            Ok(()) if empty => paths.push(path.clone()),
            Ok(()) => {}
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(Error::io("read", &path.under(&self.root), error)),
        }
        folders.iter().try_for_each(|folder| self.list_folder(folder, paths))
    }

    /// The files and links below `bases` that no rule ignores: `.gitignore` at every level (also above the
    /// workspace, inside its repository), `.git/info/exclude` and `.conductorignore`; the user's own
    /// excludes do not count, for keys must not depend on the machine. Hidden files are listed. A base
    /// that is ignored itself or that is no folder yields nothing. If a base lies behind links, the walk
    /// lists the folder at the end of the links, by that folder's rules, and names the files through the base.
    pub fn walk(&self, bases: &[WorkspacePath]) -> Listing {
        self.walk_from(bases, false)
    }

    /// As [`Self::walk`] for one folder that was written out by name, and so counts even where a rule
    /// ignores it; the rules still judge what is below it.
    pub fn walk_named(&self, folder: &WorkspacePath) -> Listing {
        self.walk_from(std::slice::from_ref(folder), true)
    }

    fn walk_from(&self, bases: &[WorkspacePath], named: bool) -> Listing {
        let (mut plain, mut behind) = (Vec::new(), Vec::new());
        for base in bases {
            match self.behind_links(base) {
                Some(place) => behind.push((base, place)),
                None => plain.push(base.clone()),
            }
        }
        let mut listing = self.walk_plain(plain, named);
        for (base, place) in behind {
            let found = self.walk_plain(vec![place.clone()], named);
            let seen_from = |path: &WorkspacePath| path.rebased(&place, base);
            listing.paths.extend(found.paths.iter().filter_map(seen_from));
            listing.unreadable.extend(found.unreadable.iter().filter_map(seen_from));
            // Folders keep their own names: a watch follows no link.
            listing.folders.extend(found.folders);
            listing.paths.sort_unstable();
            listing.unreadable.sort_unstable();
            listing.folders.sort_unstable();
        }
        listing
    }

    /// The folder to which the links on the way of a base lead, where there are any.
    fn behind_links(&self, base: &WorkspacePath) -> Option<WorkspacePath> {
        match self.follow(base) {
            Trail { links, end: End::Folder(place) } if !links.is_empty() => Some(place),
            _ => None,
        }
    }

    fn walk_plain(&self, bases: Vec<WorkspacePath>, named: bool) -> Listing {
        let top = Rules::above(&self.root);
        let bases = outermost(bases);
        let queue = Queue::new(bases.iter().filter_map(|base| self.enter(base, &top, named)).collect());
        parallel::together(|| {
            let Some(job) = queue.next() else { return false };
            let mut found = Found::default();
            self.walk_folder(&job, &mut found);
            queue.done(found);
            true
        });
        queue.finish()
    }

    /// Would a walk leave out what is, or might one day be, at `path`?
    pub fn ignores(&self, path: &WorkspacePath, is_folder: bool) -> bool {
        Ignores::default().covers(self, path, is_folder)
    }

    /// Goes from the root down to `base`, gathering the rules on the way.
    fn enter(&self, base: &WorkspacePath, top: &Arc<Rules>, named: bool) -> Option<Job> {
        let mut folder = WorkspacePath::root();
        let mut rules = Arc::clone(top);
        for name in base.components() {
            rules = rules.enter(&self.dir, folder.as_bytes());
            folder = folder.join(name);
            let barred = folder::is_private(name) || (!named && rules.ignores(folder.as_bytes(), true));
            if barred || !self.is_folder(&folder) {
                return None;
            }
        }
        self.is_folder(&folder).then_some(Job { folder, rules })
    }

    fn walk_folder(&self, job: &Job, found: &mut Found) {
        let mut entries = Vec::new();
        let mut has_rules = false;
        let read = self.open_folder(job.folder.as_bytes()).and_then(|dir| {
            folder::read(dir, |name, kind| {
                has_rules |= Rules::come_from(name);
                if !folder::is_private(name) {
                    entries.push((job.folder.join(name), kind == FileType::Directory));
                }
            })
        });
        match read {
            Ok(()) => found.read.push(job.folder.clone()),
            Err(error) if is_gone(&error) => {}
            Err(_) => found.unreadable.push(job.folder.clone()),
        }
        let rules = if has_rules {
            job.rules.enter(&self.dir, job.folder.as_bytes())
        } else {
            Arc::clone(&job.rules)
        };
        for (path, is_folder) in entries {
            if rules.ignores(path.as_bytes(), is_folder) || path.as_bytes() == LOCKFILE.as_bytes() {
                continue;
            }
            if is_folder {
                found.folders.push(Job { folder: path, rules: Arc::clone(&rules) });
            } else {
                found.paths.push(path);
            }
        }
    }
}

/// What a walk would leave out, asked about many paths: the rules of every folder are read once.
#[derive(Default)]
pub struct Ignores {
    /// The rules within a folder; none where the folder itself is left out.
    folders: HashMap<WorkspacePath, Option<Arc<Rules>>>,
}

impl Ignores {
    /// Would a walk leave out what is, or might one day be, at `path`?
    pub fn covers(&mut self, workspace: &Root, path: &WorkspacePath, is_folder: bool) -> bool {
        let (Some(parent), Some(name)) = (path.parent(), path.name()) else { return false };
        let Some(rules) = self.within(workspace, &parent) else { return true };
        let barred = folder::is_private(name) || path.as_bytes() == LOCKFILE.as_bytes();
        barred || rules.ignores(path.as_bytes(), is_folder)
    }

    fn within(&mut self, workspace: &Root, folder: &WorkspacePath) -> Option<Arc<Rules>> {
        if let Some(known) = self.folders.get(folder) {
            return known.clone();
        }
        let rules = match folder.parent() {
            None => Some(Rules::above(&workspace.root)),
            Some(_) if self.covers(workspace, folder, true) => None,
            Some(parent) => self.within(workspace, &parent),
        };
        let rules = rules.map(|rules| rules.enter(&workspace.dir, folder.as_bytes()));
        self.folders.insert(folder.clone(), rules.clone());
        rules
    }
}

/// Those of `folders` that lie within no other.
pub(super) fn outermost(mut folders: Vec<WorkspacePath>) -> Vec<WorkspacePath> {
    // By components, what lies within a folder follows it at once; by bytes `a.b` comes between `a` and `a/b`.
    folders.sort_unstable_by(|a, b| a.components().cmp(b.components()));
    folders.dedup_by(|later, earlier| later.is_within(earlier));
    folders
}

/// It was there a moment ago: someone is working in the tree. It is as if the walk had begun later.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// A folder to read, with the rules that hold for it.
struct Job {
    folder: WorkspacePath,
    rules: Arc<Rules>,
}

#[derive(Default)]
struct Found {
    folders: Vec<Job>,
    paths: Vec<WorkspacePath>,
    unreadable: Vec<WorkspacePath>,
    read: Vec<WorkspacePath>,
}

/// The folders still to read, and what was found, shared by the threads of a walk.
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    found: Found,
    /// How many threads are reading a folder, in which they may find more folders.
    reading: usize,
}

impl Queue {
    fn new(folders: Vec<Job>) -> Self {
        let state = State { found: Found { folders, ..Found::default() }, reading: 0 };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next folder; none when all are read. Waits while another thread may still find one.
    fn next(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.found.folders.pop() {
                state.reading += 1;
                return Some(job);
            }
            if state.reading == 0 {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A folder was read.
    fn done(&self, mut found: Found) {
        let mut state = self.lock();
        state.found.folders.append(&mut found.folders);
        state.found.paths.append(&mut found.paths);
        state.found.unreadable.append(&mut found.unreadable);
        state.found.read.append(&mut found.read);
        state.reading -= 1;
        drop(state);
        self.changed.notify_all();
    }

    fn finish(self) -> Listing {
        let found = self.state.into_inner().unwrap_or_else(PoisonError::into_inner).found;
        let mut listing = Listing { paths: found.paths, unreadable: found.unreadable, folders: found.read };
        listing.folders.sort_unstable();
        listing.paths.sort_unstable();
        listing.unreadable.sort_unstable();
        listing
    }
}

#[cfg(test)]
mod tests;
