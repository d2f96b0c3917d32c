//! What people and machines see of a run. Everything here is a reader of the event stream (or of plain
//! results that the caller hands over); nothing here knows the store, the plan, the tree or the
//! environment, and nothing is written but to the `Write` that the caller gives.
//!
//! | file | for |
//! | --- | --- |
//! | [`style`] | colour, glyphs and width, decided once from facts |
//! | [`explain`] | a reason as a sentence |
//! | [`live`] | progress on a terminal, drawn over |
//! | [`live_state`] | what each task is doing now |
//! | [`plain`] | progress in pipes and CI, one line an event |
//! | [`summary`] | how a build ended, and what to type next |
//! | [`json`] | `build --format json` |
//! | [`diagnostics`] | problems with their places in the manifest |
//! | [`events`] | the stream itself as JSON lines, written and read |
//! | [`runs`] | the history: a line or a JSON row for each run |
//! | [`markdown`] | the execution log of one run |
//! | [`checked`] | what `check` found, for those of the next three |
//! | [`github`] | annotations and a step summary for GitHub Actions |
//! | [`sarif`] | for code scanning |
//! | [`junit`] | for whatever shows tests |
//! | [`trace`] | a run in Chrome's trace format |
//! | [`usage`] | what agents used |

pub mod checked;
pub mod diagnostics;
pub mod events;
pub mod explain;
mod failure;
pub mod github;
pub mod json;
pub mod junit;
pub mod live;
pub mod live_state;
pub mod markdown;
pub mod plain;
pub mod runs;
pub mod sarif;
mod screen;
pub mod style;
pub mod summary;
mod text;
pub mod trace;
pub mod usage;

#[cfg(test)]
mod testing;

use std::sync::Arc;

pub use failure::Failure;
pub use style::{Style, Terminal};
pub use text::{count, one_line};

use crate::model::{Stamped, TaskId};

/// Follows a run.
pub trait Reader {
    /// Takes the next event. A reader that cannot write any more keeps quiet: what people see of a run
    /// never decides how it ends.
    fn event(&mut self, event: &Stamped);

    /// Nothing more comes for the moment: what was held back to be written with it is to be written now.
    fn flush(&mut self) {}

    /// The stream ended, with or without a `run_finished`.
    fn finish(&mut self) {}
}

/// Hands every event to several readers, in order.
#[derive(Default)]
pub struct Fanout(pub Vec<Box<dyn Reader + Send>>);

impl Reader for Fanout {
    fn event(&mut self, event: &Stamped) {
        for reader in &mut self.0 {
            reader.event(event);
        }
    }

    fn flush(&mut self) {
        for reader in &mut self.0 {
            reader.flush();
        }
    }

    fn finish(&mut self) {
        for reader in &mut self.0 {
            reader.finish();
        }
    }
}

/// What tasks are called besides their ids. Events carry ids alone; the caller, who has the manifest,
/// lends the titles.
#[derive(Clone, Default)]
pub struct Titles(Option<Arc<Lookup>>);

type Lookup = dyn Fn(&TaskId) -> Option<String> + Send + Sync;

impl Titles {
    /// Titles that `lookup` finds.
    pub fn new(lookup: impl Fn(&TaskId) -> Option<String> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(lookup)))
    }

    /// The title of a task, on one line.
    pub fn get(&self, task: &TaskId) -> Option<String> {
        let title = self.0.as_ref()?(task)?;
        Some(text::one_line(&title))
    }

    /// `T9 error-recovery API`, or the id alone.
    pub fn label(&self, task: &TaskId) -> String {
        match self.get(task) {
            Some(title) => format!("{task} {title}"),
            None => task.to_string(),
        }
    }
}
