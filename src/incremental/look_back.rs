//! The second look, at the end of a build: has something changed since it was looked at?
//!
//! What the build's own tasks read and made is always looked at again. Of all else the first look may be the
//! better one: a second takes as long, and its first answers are as old when it is over. So where there are
//! many files, it is taken only of a build that lasted much longer than a look does. Until then a build
//! vouches for what it has not touched as one vouches that had nothing to do: as of the moment at which it
//! was looked at.

use std::time::{Duration, Instant};

use super::engine::Engine;
use crate::model::{Entry, EntryKind, WorkspacePath};
use crate::store::FileId;

/// So many files are looked at in no time, whatever was looked at when.
const FEW: usize = 4096;

/// A second look takes at most this part of a build's time.
const PART: u32 = 5;

/// When the tree was looked at, for how long, and what was found in another state than it was recorded in.
#[derive(Default)]
pub(super) struct Looks {
    began: Option<Instant>,
    lasted: Duration,
    /// What was read or made since; some of it more than once.
    touched: Vec<FileId>,
}

impl Looks {
    pub(super) fn add(&mut self, began: Instant, lasted: Duration) {
        self.began.get_or_insert(began);
        self.lasted += lasted;
    }

    pub(super) fn touch(&mut self, id: FileId) {
        self.touched.push(id);
    }

    /// Are they so old that looking at `files` files once more is worth its time?
    fn are_old(&self, files: usize, now: Instant) -> bool {
        let age = self.began.map_or(Duration::MAX, |began| now.saturating_duration_since(began));
        files <= FEW || age > self.lasted * PART
    }
}

impl Engine {
    /// Files that have another content than when this session looked at them; looks at nothing that no task
    /// reads. Of what the session's own tasks neither read nor made, it may spare itself the look: see the module.
    pub fn changed_since_observed(&self) -> Vec<WorkspacePath> {
        let is_meant = |id: &FileId| !self.only_walked.get(id.0 as usize).is_some_and(|only| *only);
        let seen = || (0..).map(FileId).zip(&self.observed).filter(|(_, seen)| **seen).map(|(id, _)| id);
        let seen = || seen().filter(is_meant);
        let mut ids: Vec<FileId> = if self.looks.are_old(seen().count(), Instant::now()) {
            seen().collect()
        } else {
            let mut touched = self.looks.touched.clone();
            touched.sort_unstable();
            touched.dedup();
            touched.retain(is_meant);
            touched
        };
        let (state, workspace) = (&self.state, &self.workspace);
        state.sort_by_path(&mut ids);
        let same = workspace.compare(
            &ids,
            |id| state.path(*id),
            |id, now| state.file(*id).is_none_or(|row| row.signature == *now),
        );
        // Folders come into being when tasks make something in them; what they hold is looked at by itself.
        let holds_nothing = |entry: &Entry| matches!(entry.kind, EntryKind::Absent | EntryKind::Folder);
        let differs = |id: &FileId| {
            let Some(before) = state.file(*id).map(|row| row.entry) else { return false };
            let now = workspace.observe(&self.path(*id)).entry;
            before != now && !(holds_nothing(&before) && holds_nothing(&now))
        };
        let moved = ids.iter().zip(same).filter(|(_, same)| !same).map(|(id, _)| id);
        moved.filter(|id| differs(id)).map(|id| self.path(*id)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_files_are_looked_at_again_once_the_build_lasted_five_times_as_long_as_the_look() {
        let began = Instant::now();
        let mut looks = Looks::default();
        assert!(looks.are_old(FEW + 1, began), "nothing was looked at");
        looks.add(began, Duration::from_millis(150));
        looks.add(began + Duration::from_millis(200), Duration::from_millis(50));
        let after = |ms| began + Duration::from_millis(ms);
        assert!(!looks.are_old(FEW + 1, after(1000)));
        assert!(looks.are_old(FEW + 1, after(1001)));
        assert!(looks.are_old(FEW, after(1)), "few files are looked at in any case");
    }
}
