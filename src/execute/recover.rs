//! After a crash: undoes what was begun and never ended, and stops what is still running.

use std::path::Path;

use super::staging::restore;
use crate::model::Diagnostic;
use crate::store::{Intent, State};
use crate::workspace::Workspace;

/// Brings the tree back to the last good outputs. Called with the lock held, before anything is looked at.
/// Returns what a person should know.
pub fn recover(workspace: &Workspace, folder: &Path, state: &State, intents: &[Intent]) -> Vec<Diagnostic> {
    let mut runs: Vec<&str> = intents.iter().map(|intent| intent.run.0.as_str()).collect();
    runs.sort_unstable();
    runs.dedup();
    for run in runs {
        crate::process::reap_strays(run);
    }
    let mut notices = Vec::new();
    for intent in intents.iter().filter(|intent| !is_recorded(state, intent)) {
        if let Err(error) = restore(workspace, folder, intent, None) {
            let message =
                format!("the outputs of {} could not be put back after a crash: {error}", intent.task);
            let aside = folder.join("aside").join(&intent.aside);
            notices.push(
                Diagnostic::warning("build::recovery", message)
                    .help(format!("they are in {}", aside.display())),
            );
        }
    }
    orphans(workspace, &folder.join("aside"), intents);
    notices
}

/// The crash came between the record and the end of the intent: what was made stands.
fn is_recorded(state: &State, intent: &Intent) -> bool {
    if intent.landing {
        let record = state.record(&intent.task);
        return record.is_some_and(|record| record.landed_by.as_ref() == Some(&intent.aside));
    }
    let accepted = state.record(&intent.task).is_some_and(|record| record.run == intent.run);
    let left = state
        .failure(&intent.task)
        .is_some_and(|failure| failure.run == intent.run && !failure.outputs.is_empty());
    accepted || left
}

/// Outputs that are still set aside though no intent speaks of them (the journal was lost): they are the
/// last good ones, or a person's, and go back where nothing took their place; else they are kept with the
/// conflicts.
fn orphans(workspace: &Workspace, aside: &Path, intents: &[Intent]) {
    let Ok(runs) = std::fs::read_dir(aside) else { return };
    let conflicts = aside.with_file_name("conflicts");
    for run in runs.flatten() {
        let Ok(attempts) = std::fs::read_dir(run.path()) else { continue };
        for attempt in attempts.flatten() {
            let place = attempt.path();
            let known = intents.iter().any(|intent| aside.join(&intent.aside) == place);
            let Ok(moved) = Workspace::open(&place.join("moved")) else { continue };
            if known {
                continue;
            }
            for path in moved.list(&crate::model::WorkspacePath::root()).unwrap_or_default() {
                let free = path.under(workspace.root());
                let kept = path.under(&conflicts.join(run.file_name()));
                let to = if free.symlink_metadata().is_err() { free } else { kept };
                let _ = crate::workspace::move_path(&path.under(moved.root()), &to);
            }
        }
    }
    let _ = std::fs::remove_dir_all(aside);
}
