//! Results that wait for a person, and tasks that wait because of what a person did.

use std::time::Duration;

use super::outcome::plain;
use super::{Build, Status};
use crate::execute::{self, Waiting};
use crate::graph::TaskIndex;
use crate::incremental::{Accepted, Assignment, Engine};
use crate::model::{Event, Failure, Pending, Reason, ReasonKind, TaskResult, Wait, WorkspacePath};

impl Build<'_> {
    /// A result is set aside.
    pub(super) fn waiting(&mut self, index: TaskIndex, assignment: &Assignment, waiting: Waiting) {
        let Waiting { wait, produced, warnings, log } = waiting;
        for diagnostic in warnings {
            self.sink.event(Event::Notice { diagnostic });
        }
        let record = Engine::draft(assignment, &self.context.run, &produced);
        let duration = record.duration;
        let discovered = produced.discovered.into_iter().map(|(path, _)| path).collect();
        let pending = Pending { wait: wait.clone(), record, discovered };
        let reason = reason(&wait);
        let failure = Failure {
            pending: Some(Box::new(pending)),
            ..Failure::new(assignment.key, reason, self.context.run.clone())
        };
        self.engine.refuse(index, &failure);
        self.wait_for(index, &wait, log, duration);
    }

    /// A result that was set aside by an earlier build still stands for the task.
    pub(super) fn still_waiting(&mut self, index: TaskIndex) {
        let failure = self.engine.state().failure(&self.engine.plan().task_id(index));
        let Some(pending) = failure.and_then(|failure| failure.pending) else { return self.enqueue(index) };
        if pending.wait == Wait::Approval {
            return self.wait_for(index, &pending.wait, None, Duration::ZERO);
        }
        match self.release(index, &pending) {
            Ok(Some(result)) => self.land_then_settle(index, result, None),
            Ok(None) => self.wait_for(index, &pending.wait, None, Duration::ZERO),
            // What was kept is not whole any more.
            Err(_) => self.enqueue(index),
        }
    }

    /// Takes a result in if nothing stands in its way any more.
    fn release(&mut self, index: TaskIndex, pending: &Pending) -> Result<Option<TaskResult>, String> {
        let assignment = self.engine.assignment(index).map_err(|diagnostic| diagnostic.message)?;
        let Ok(released) = execute::release(&self.context, &assignment, pending, 0)? else { return Ok(None) };
        self.unsettled.extend(released.staged);
        match self.engine.accept(&assignment, &self.context.run, released.produced) {
            Accepted::Recorded { outputs_changed, key } => {
                if outputs_changed {
                    self.wake_dependents(index);
                }
                self.move_branch(released.branch.as_ref());
                for diagnostic in released.warnings {
                    self.sink.event(Event::Notice { diagnostic });
                }
                self.taken_in.push(assignment.task.id.clone());
                let outputs = pending.record.outputs.clone();
                let reasons = assignment.reasons.clone();
                Ok(Some(TaskResult { key: Some(key), outputs, reasons, ..plain(Status::Cached) }))
            }
            Accepted::Overtaken(paths) => Err(format!("{paths:?} changed meanwhile")),
        }
    }

    fn wait_for(&mut self, index: TaskIndex, wait: &Wait, log: Option<String>, duration: Duration) {
        let id = self.engine.plan().task_id(index);
        match wait {
            Wait::Approval => {
                let shown = execute::pending_folder(&self.context, &id);
                let shown =
                    shown.strip_prefix(self.context.tree.root()).unwrap_or(&shown).display().to_string();
                let message = format!(
                    "it waits for approval: look at {shown}, then `conductor approve {id}` or `conductor reject {id}`"
                );
                let result = TaskResult { reasons: vec![reason(wait)], duration, ..plain(Status::Paused) };
                self.settle_with_log(index, result, Some(message), log);
            }
            Wait::Conflict(paths) => {
                let path = paths.first().cloned().unwrap_or_default();
                let message = format!(
                    "a person's {path} is in the way of its result; `conductor resolve {path} --theirs` or `--mine`"
                );
                self.contested = true;
                self.fail(index, None, message, log, duration);
            }
        }
    }

    /// A person's edit stands on an agent's result: nothing starts before it is settled.
    pub(super) fn contest(&mut self, index: TaskIndex, path: &WorkspacePath) {
        self.contested = true;
        let message = format!(
            "you edited {path}, which an agent made; `conductor resolve {path}` with `--mine`, `--replay` or `--theirs`"
        );
        self.fail(index, None, message, None, Duration::ZERO);
    }
}

fn reason(wait: &Wait) -> Reason {
    match wait {
        Wait::Approval => Reason::new(ReasonKind::ApprovalMissing),
        Wait::Conflict(paths) => {
            let reason = Reason::new(ReasonKind::OutputModified);
            paths.first().map_or(reason.clone(), |path| reason.path(path))
        }
    }
}
