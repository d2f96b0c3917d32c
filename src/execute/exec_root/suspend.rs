//! A private folder that is left as it is between two attempts, because an agent will go on in it: after a refused
//! result, after a provider's limit, or in a later build.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::prepare::{IsolatedDir, folders, git_failed, private_root};
use super::remove::remove_all;
use crate::execute::outcome::Refusal;
use crate::execute::run_context::RunContext;
use crate::execute::staging::StagingError;
use crate::incremental::Assignment;
use crate::model::{Isolation, Signature, WorkspacePath};
use crate::store::Marks;

/// The facts that are needed to go on in the folder.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(in crate::execute) struct Suspended {
    /// Its content before the agent first began.
    before: Vec<(WorkspacePath, Signature)>,
    copied: Vec<WorkspacePath>,
    /// Made by `setup`, or by checks.
    prepared: Vec<WorkspacePath>,
}

impl IsolatedDir {
    /// Leaves the folder to be gone on in. What is beside it (TMPDIR, results on their way) goes.
    pub(in crate::execute) fn suspend(self, why: &str) -> Suspended {
        let suspended = Suspended {
            before: self.before.iter().map(|(path, seen)| (path.clone(), *seen)).collect(),
            copied: self.copied.iter().cloned().collect(),
            prepared: self.prepared.iter().cloned().collect(),
        };
        self.leave(why);
        suspended
    }

    /// The folder in which an earlier attempt left off; none where it is gone.
    pub(in crate::execute) fn reopen(
        context: &RunContext,
        assignment: &Assignment,
        suspended: Suspended,
    ) -> Result<Option<Self>, StagingError> {
        let (folder, private) = folders(context, &assignment.task);
        let linked = match (assignment.isolation, &context.repository) {
            (Isolation::Worktree, Some(repository)) => {
                let Some(linked) = repository.reopen(&folder).map_err(git_failed)? else { return Ok(None) };
                Some(linked)
            }
            (Isolation::Worktree, None) => return Ok(None),
            _ if Marks::of(&context.folder).is_made(&folder) => None,
            _ => return Ok(None),
        };
        remove_all(&private)?;
        let exec_root = private_root(context, assignment, &folder, &private, linked.as_ref())?;
        let Suspended { before, copied, prepared } = suspended;
        let (copied, prepared) = (copied.into_iter().collect(), prepared.into_iter().collect());
        let before = before.into_iter().collect();
        let reopened = true;
        let mut isolated = Self { exec_root, folder, private, before, copied, prepared, linked, reopened };
        let extra = |path: &WorkspacePath| isolated.copied.contains(path) || isolated.prepared.contains(path);
        let seen: Vec<WorkspacePath> = isolated.before.keys().filter(|path| !extra(path)).cloned().collect();
        isolated.hide_from_git(&seen)?;
        Ok(Some(isolated))
    }

    /// Is it one in which an earlier attempt left off?
    pub(in crate::execute) fn is_reopened(&self) -> bool {
        self.reopened
    }

    /// Leaves the folder of a failure for a person to look at, and says where it is.
    pub(in crate::execute) fn leave_for_a_person(
        self,
        context: &RunContext,
        assignment: &Assignment,
        refusal: &mut Refusal,
    ) {
        let what = if assignment.isolation == Isolation::Worktree { "worktree" } else { "sandbox" };
        let place = self.leave("its task failed");
        refusal.message = format!("{}\nits {what} is kept in {}", refusal.message, context.shown(&place));
    }

    /// Counts what checks have made since `since` as conductor's, so that the agent is not blamed for it.
    pub(in crate::execute) fn absolve(
        &mut self,
        since: &BTreeMap<WorkspacePath, Signature>,
    ) -> Result<(), StagingError> {
        let now = self.listing()?;
        let made = now.into_iter().filter(|(path, seen)| since.get(path) != Some(seen));
        self.prepared.extend(made.map(|(path, _)| path));
        Ok(())
    }
}
