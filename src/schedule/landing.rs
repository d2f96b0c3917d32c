//! When edited paths come into the tree: as soon as the last editor of a path is accepted, before anything
//! that reads it is judged; at the end of the build also what the first editors made, where the rest failed.

use super::{Build, Phase};
use crate::execute;
use crate::graph::TaskIndex;
use crate::incremental::{Landing, Move};
use crate::model::{Diagnostic, EntryKind, Event, Status, TaskResult};
use crate::workspace::Observed;
use std::sync::Arc;
use std::time::Duration;

impl Build<'_> {
    /// A task ended well; what it edited lands if nothing else is to happen to it.
    pub(super) fn land_then_settle(&mut self, index: TaskIndex, result: TaskResult, log: Option<String>) {
        match self.land(index, false) {
            Ok(()) => self.settle_with_log(index, result, None, log),
            Err(message) => self.fail(index, None, message, log, Duration::ZERO),
        }
    }

    /// The build is over: paths whose later editors failed or never ran.
    pub(super) fn land_what_stands(&mut self) {
        for index in self.scope.clone() {
            if !self.engine.plan().edits(index) {
                continue;
            }
            if let Err(message) = self.land(index, true) {
                self.broken = true;
                self.sink.event(Event::Notice { diagnostic: Diagnostic::error("build::landing", message) });
            }
        }
        self.engine.leave_unedited();
    }

    fn land(&mut self, index: TaskIndex, last: bool) -> Result<(), String> {
        if !self.engine.plan().edits(index) {
            return Ok(());
        }
        let (phases, scope, unrecorded) = (&self.phases, &self.scope, &self.unrecorded);
        let stands = |editor: TaskIndex| match phases[editor as usize] {
            _ if unrecorded.contains(&editor) => false,
            _ if editor == index && !last => true,
            Phase::Idle => scope.contains(&editor),
            Phase::Settled(status) => matches!(status, Status::Fresh | Status::Ran | Status::Cached),
            _ => false,
        };
        let Landing { moves, mut contested } = self.engine.landing(index, &stands, last);
        if !moves.is_empty() {
            self.landings += 1;
            let plan = Arc::clone(self.engine.plan());
            let landed = execute::land(&self.context, &|editor| plan.task_id(editor), self.landings, moves)?;
            self.engine.landed(&landed.moves, landed.name());
            self.unsettled.extend(landed.staged);
            contested.extend(landed.contested);
            // Somebody wrote there as it came in: that is a person's version.
            // A folder holds files of its own, and is no state of the file that was to go.
            let is_gone =
                |step: &Move, seen: &Observed| !step.to.exists() && seen.entry.kind == EntryKind::Folder;
            let displaced = landed.moves.iter();
            let displaced = displaced.filter(|(step, seen)| step.to != seen.entry && !is_gone(step, seen));
            contested.extend(displaced.map(|(step, _)| step.path.clone()));
        }
        for path in contested.into_iter().filter(|path| self.kept_out.insert(path.clone())) {
            self.stale = true;
            let task = self.engine.plan().task_id(index);
            let message =
                format!("{path} changed while {task} ran; what was made of it waits for the next build");
            let help = "run `conductor build` again: your version is the new base";
            self.sink.event(Event::Notice {
                diagnostic: Diagnostic::warning("build::changed", message).help(help),
            });
        }
        Ok(())
    }
}
