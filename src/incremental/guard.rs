//! The mid-run guard: what a task's inputs looked like when its key was made, to be compared with the tree
//! before the task starts and after it ended. Signatures and listings; only what was just written is hashed.

use std::collections::HashSet;
use std::sync::Arc;

use crate::model::{Entry, Signature, WorkspacePath};
use crate::workspace::{Globs, Root};

/// The files that a task reads, as they were.
#[derive(Clone, Default)]
pub struct Snapshot {
    /// Inputs and needed outputs.
    pub files: Vec<Seen>,
    /// Source files so young when they were hashed that a later write may bear the same signature: their
    /// content is compared.
    pub racy: Vec<(WorkspacePath, Entry)>,
    /// What the globs and folders among its inputs found, where there are any.
    pub listing: Option<Listing>,
}

/// A file as it was.
#[derive(Clone)]
pub struct Seen {
    /// Where.
    pub path: WorkspacePath,
    /// When its content was read.
    pub signature: Signature,
    /// That content.
    pub entry: Entry,
}

impl Seen {
    /// Is the file as it was, given its signature now? Where all but the time of its last change of status
    /// and its permissions is the same (another hard link, a `chmod`), the content decides.
    fn holds(&self, now: &Signature, workspace: &Root) -> bool {
        let written = |seen: &Signature| (seen.size, seen.mtime_ns, seen.inode);
        self.signature == *now
            || (written(&self.signature) == written(now) && workspace.observe(&self.path).entry == self.entry)
    }
}

/// What globs found.
#[derive(Clone)]
pub struct Listing {
    /// The task's input patterns.
    pub globs: Arc<Globs>,
    /// Where to walk.
    pub bases: Vec<WorkspacePath>,
    /// Those of `bases` that are written out although a rule ignores them.
    pub named: Vec<WorkspacePath>,
    /// Every match, sorted.
    pub found: Vec<WorkspacePath>,
    /// Paths that match but are no part of the listing: made by tasks, and so inputs by another way.
    pub made: Arc<HashSet<WorkspacePath>>,
    /// The task's own outputs, which never match its inputs.
    pub own: Vec<WorkspacePath>,
}

impl Listing {
    /// What matches now.
    pub fn look(&self, workspace: &Root) -> Vec<WorkspacePath> {
        let named = self.named.iter().flat_map(|folder| workspace.walk_named(folder).paths);
        self.select(workspace.walk(&self.bases).paths.into_iter().chain(named))
    }

    /// Those of `walked` that belong to the listing.
    pub(super) fn select(&self, walked: impl IntoIterator<Item = WorkspacePath>) -> Vec<WorkspacePath> {
        let mine = |path: &WorkspacePath| self.own.iter().any(|own| path.is_within(own));
        let belongs =
            |path: &WorkspacePath| self.globs.matches(path) && !self.made.contains(path) && !mine(path);
        walked.into_iter().filter(belongs).collect()
    }
}

impl Snapshot {
    /// Did the tree hold `entry` at `path` when the key was made?
    pub fn holds(&self, path: &WorkspacePath, entry: &Entry) -> bool {
        let at = self.files.binary_search_by(|seen| seen.path.cmp(path)).ok();
        at.is_some_and(|at| self.files[at].entry == *entry)
    }

    /// The paths that are not as they were: changed, appeared or gone. Empty means that the key still holds.
    pub fn changes(&self, workspace: &Root) -> Vec<WorkspacePath> {
        let paths: Vec<&[u8]> = self.files.iter().map(|seen| seen.path.as_bytes()).collect();
        let now = workspace.signatures(&paths);
        let mut changed: Vec<WorkspacePath> = self
            .files
            .iter()
            .zip(now)
            .filter(|(before, now)| !before.holds(now, workspace))
            .map(|(before, _)| before.path.clone())
            .collect();
        let differs = |(path, before): &&(WorkspacePath, Entry)| workspace.observe(path).entry != *before;
        changed.extend(self.racy.iter().filter(differs).map(|(path, _)| path.clone()));
        if let Some(listing) = &self.listing {
            let now: HashSet<WorkspacePath> = listing.look(workspace).into_iter().collect();
            let before: HashSet<WorkspacePath> = listing.found.iter().cloned().collect();
            changed.extend(now.symmetric_difference(&before).cloned());
        }
        changed.sort();
        changed.dedup();
        changed
    }
}
