//! What a task's action is now, held against what it was in another run.

use super::db;
use super::engine::Engine;
use super::explain::Lines;
use crate::graph::TaskIndex;
use crate::model::{Attempt, Diagnostic, Reason};

/// What of a task was compared with an attempt of another run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Compared {
    /// What is on disk now.
    Now,
    /// What is recorded, as what it depends on must be built before more can be known.
    Recorded,
    /// Nothing: it was never built.
    Nothing,
}

impl Compared {
    /// The word for JSON.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::Now => Some("now"),
            Self::Recorded => Some("recorded"),
            Self::Nothing => None,
        }
    }
}

impl Engine {
    /// What differs from `before`, the action first, then the checks.
    pub fn versus(
        &mut self,
        index: TaskIndex,
        before: &Attempt,
    ) -> Result<(Compared, Vec<Reason>), Diagnostic> {
        let input = self.task_input(index)?;
        let shape = input.shape(&self.db);
        let record = shape.result.record(&self.db);
        let now = db::describe(&self.db, &shape).ok();
        let (compared, action, validation) = match (now, record) {
            (Some(action), _) => (Compared::Now, action, db::validation(&self.db, &shape)),
            (None, Some(record)) => (Compared::Recorded, record.action.clone(), record.validation.clone()),
            (None, None) => return Ok((Compared::Nothing, Vec::new())),
        };
        let mut reasons = action.differences(&before.action);
        if let Some(before) = &before.validation {
            reasons.extend(validation.differences(before));
        }
        let lines = Lines::of(&shape.task);
        for reason in &mut reasons {
            reason.at = self.place(lines.place_of(reason));
        }
        Ok((compared, reasons))
    }
}
