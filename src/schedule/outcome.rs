//! What the end of an attempt means: for the task, for its dependents, for the build.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Build, PATIENCE, Phase};
use crate::execute::{self, Disposition, Done, Outcome, Overtaken, Refusal};
use crate::graph::TaskIndex;
use crate::incremental::{Accepted, Assignment, Moved};
use crate::model::{
    Attempt, Diagnostic, Event, Failure, Isolation, OutputEntry, Reason, ReasonKind, Status, TaskResult,
    WorkspacePath,
};
use crate::store::BranchMove;

/// A result with nothing to tell but how it ended.
pub fn plain(status: Status) -> TaskResult {
    TaskResult {
        status,
        key: None,
        reasons: Vec::new(),
        duration: Duration::ZERO,
        outputs: Vec::new(),
        validated: false,
    }
}

/// A worker panicked: a defect of conductor's, told as the task's failure so that the rest goes on.
pub(super) fn crashed() -> Outcome {
    let message = "conductor itself failed here; this is a defect, please report it";
    Outcome::Refused(Box::new(Refusal::new(message)))
}

impl Build<'_> {
    pub(super) fn finished(
        &mut self,
        index: TaskIndex,
        assignment: &Assignment,
        attempt: u32,
        outcome: Outcome,
    ) {
        let waits = |refusal: &Refusal| matches!(refusal.disposition, Disposition::Wait { .. });
        if !matches!(&outcome, Outcome::Refused(refusal) if waits(refusal)) {
            self.agent_passed(assignment);
        }
        match outcome {
            Outcome::Moved(moved) => self.moved(index, assignment, &moved),
            Outcome::Overtaken(overtaken) => self.overtaken(index, assignment, *overtaken),
            Outcome::Done(done) => self.done(index, assignment, *done),
            Outcome::Validated(validation, evidence) => {
                let outputs =
                    assignment.record.as_ref().map(|record| record.outputs.clone()).unwrap_or_default();
                self.engine.accept_validation(assignment, validation, evidence);
                self.keep_accepted(assignment, Status::Fresh);
                let reasons = assignment.reasons.clone();
                let key = Some(assignment.key);
                let result = TaskResult { key, reasons, outputs, validated: true, ..plain(Status::Fresh) };
                self.land_then_settle(index, result, None);
            }
            Outcome::Waiting(waiting) => self.waiting(index, assignment, *waiting),
            Outcome::Invalid(reason) => {
                let failure = Failure::new(assignment.key, reason, self.context.run.clone());
                self.engine.refuse(index, &failure);
                self.attempts[index as usize] = 0;
                self.enqueue(index);
            }
            Outcome::Refused(refusal) => self.refused(index, assignment, attempt, *refusal),
        }
    }

    /// Inputs moved between the verdict and the start: look again and judge anew.
    fn moved(&mut self, index: TaskIndex, assignment: &Assignment, moved: &[Moved]) {
        self.attempts[index as usize] -= 1;
        self.moves[index as usize] += 1;
        let paths: Vec<WorkspacePath> = moved.iter().filter_map(Moved::path).cloned().collect();
        self.engine.look_again(&paths);
        let unsteady = self.moves[index as usize] > PATIENCE;
        let is_tampered =
            |moved: &&Moved| moved.path().is_some_and(|path| self.engine.is_tampered(assignment, path));
        let broken = moved.iter().find(|moved| unsteady || is_tampered(moved));
        if let Some(moved) = broken {
            self.stale = true;
            let result = TaskResult { reasons: vec![moved.reason()], ..plain(Status::Skipped) };
            self.settle(index, Status::Skipped, Some(result));
        } else {
            self.due.push(index);
        }
    }

    /// A task that ran apart used a tool that changed meanwhile. Nothing was brought into the tree; the next build runs
    /// it again.
    fn overtaken(&mut self, index: TaskIndex, assignment: &Assignment, overtaken: Overtaken) {
        self.stale = true;
        self.unrecorded.insert(index);
        let Overtaken { changed, duration, log } = overtaken;
        let mut reasons: Vec<Reason> = changed.iter().map(Moved::reason).collect();
        reasons.extend(assignment.reasons.iter().cloned());
        let message = changed
            .first()
            .map(|moved| format!("{moved} changed while it ran, so its result does not count"));
        let key = Some(assignment.key);
        let result = TaskResult { key, reasons, duration, ..plain(Status::Ran) };
        self.settle_with_log(index, result, message, log);
    }

    fn done(&mut self, index: TaskIndex, assignment: &Assignment, mut done: Done) {
        for diagnostic in std::mem::take(&mut done.warnings) {
            self.sink.event(Event::Notice { diagnostic });
        }
        let mut outputs: Vec<OutputEntry> = Vec::with_capacity(done.produced.outputs.len());
        outputs.extend(
            done.produced
                .outputs
                .iter()
                .map(|(path, seen)| OutputEntry { path: path.clone(), entry: seen.entry }),
        );
        if let Some(message) = self.engine.unordered_creation(index, &done.produced.edited) {
            let failure = Failure::new(
                assignment.key,
                Reason::new(ReasonKind::PreviousFailed),
                self.context.run.clone(),
            );
            self.engine.refuse(index, &failure);
            self.put_back(done.staged, &message);
            self.fail(index, Some(assignment), message, done.log, done.produced.duration);
            return;
        }
        let refused = self
            .engine
            .undeclared_dependency(index, &done.produced.discovered)
            .or_else(|| self.engine.unexpected_folder(index, &assignment.task, &done.produced.outputs));
        if let Some(message) = refused {
            // Its outputs stand in the way of nothing: the next attempt sets them aside as conductor's own.
            self.keep_unrecorded(index, assignment, outputs, Reason::new(ReasonKind::PreviousFailed));
            self.unsettled.extend(done.staged);
            self.fail(index, Some(assignment), message, done.log, done.produced.duration);
            return;
        }
        let duration = done.took();
        let status = if done.restored.is_some() { Status::Cached } else { Status::Ran };
        let mut result = TaskResult {
            key: Some(assignment.key),
            reasons: assignment.reasons.clone(),
            duration,
            outputs: outputs.clone(),
            ..plain(status)
        };
        let apart = assignment.isolation != Isolation::None;
        if !done.changed.is_empty() && !apart {
            let changed = std::mem::take(&mut done.changed);
            return self.leave_unrecorded(index, assignment, done, result, &changed);
        }
        let produced = std::mem::take(&mut done.produced);
        let displaced: Vec<Moved> =
            produced.displaced.iter().map(|(path, _)| Moved::File(path.clone())).collect();
        match self.engine.accept(assignment, &self.context.run, produced) {
            Accepted::Overtaken(moved) => {
                return self.leave_unrecorded(index, assignment, done, result, &moved);
            }
            Accepted::Recorded { outputs_changed, key } => {
                self.move_branch(done.branch.as_ref());
                result.key = Some(key);
                self.keep_accepted(assignment, status);
                if done.restored.is_none() {
                    self.saw_success(assignment, key, &outputs);
                }
                if done.restored.is_none() && done.is_whole() && displaced.is_empty() {
                    self.keep_in_cache(assignment, &done.changed, done.log.is_some());
                }
                if outputs_changed {
                    self.wake_dependents(index);
                }
            }
        }
        self.unsettled.extend(done.staged);
        if done.doubtful {
            self.tell_doubt(assignment);
        }
        if !done.unaccepted.is_empty() {
            // No check has accepted the result: it stands, and nothing may be built on it.
            self.unrecorded.insert(index);
        }
        // What ran apart saw a snapshot, for which its result stands, whatever has changed since.
        let mut moved: Vec<&Moved> = done.changed.iter().chain(&done.unaccepted).chain(&displaced).collect();
        moved.dedup();
        self.stale |= !moved.is_empty();
        result.reasons.splice(0..0, moved.into_iter().map(Moved::reason));
        match done.unchecked {
            None if done.unaccepted.is_empty() => self.land_then_settle(index, result, done.log),
            None => {
                let message = format!("{} changed while its checks ran", done.unaccepted[0]);
                self.settle_with_log(index, result, Some(message), done.log);
            }
            Some(refusal) => self.fail(index, Some(assignment), refusal.message, done.log, duration),
        }
    }

    /// The outputs of a task stand, but something that it used changed while it ran in the tree.
    fn leave_unrecorded(
        &mut self,
        index: TaskIndex,
        assignment: &Assignment,
        done: Done,
        mut result: TaskResult,
        changed: &[Moved],
    ) {
        self.unsettled.extend(done.staged);
        self.stale = true;
        let reasons: Vec<Reason> = changed.iter().map(Moved::reason).collect();
        let before = self.engine.state().failure(&assignment.task.id).map(|failure| failure.reason);
        self.keep_unrecorded(index, assignment, result.outputs.clone(), reasons[0].clone());
        if before.as_ref() == reasons.first() {
            let message = format!("{} changed again while {} ran", changed[0], assignment.task.id);
            let diagnostic = Diagnostic::warning("build::changes_its_input", message).help(format!(
                "if the task itself changes it, declare it under `edits`, or exclude it from the inputs: `!{}`",
                changed[0]
            ));
            self.sink.event(Event::Notice { diagnostic });
        }
        result.reasons.splice(0..0, reasons);
        let message = format!("{} changed while it ran, so its result is not recorded", changed[0]);
        self.settle_with_log(index, result, Some(message), done.log);
    }

    /// Says once that nobody can see what is changed and put back while tasks run.
    fn tell_doubt(&mut self, assignment: &Assignment) {
        if std::mem::replace(&mut self.is_doubt_told, true) {
            return;
        }
        let message = format!(
            "a folder that {} reads changed while it ran, and this file system does not tell what changed in it",
            assignment.task.id
        );
        let diagnostic = Diagnostic::warning("build::unwatched", message)
            .help("the result counts here, but it is not kept in the cache");
        self.sink.event(Event::Notice { diagnostic });
    }

    /// Keeps what was just recorded, so that later runs can be compared with this one.
    fn keep_accepted(&self, assignment: &Assignment, status: Status) {
        if self.engine.plan().is_gate(assignment.index) && self.engine.plan().is_hidden(assignment.index) {
            return;
        }
        if let Some(record) = self.engine.recorded(assignment.index) {
            self.context.attempts.keep(&Attempt {
                task: assignment.task.id.clone(),
                status,
                action: record.action.clone(),
                validation: Some(record.validation.clone()),
                outputs: record.outputs.clone(),
            });
        }
    }

    /// Gives what was just recorded to the cache, unless it is doubtful: a run that succeeded after one that failed
    /// may fail again, and of headers that changed meanwhile nobody knows what was read.
    fn keep_in_cache(&self, assignment: &Assignment, changed: &[Moved], has_log: bool) {
        let is_agent = self.engine.plan().is_agent(assignment.index);
        let is_retried = self.attempts[assignment.index as usize] > 1 && !is_agent;
        let is_vague = !changed.is_empty() && assignment.task.depfile.is_some();
        let Some(record) = self.engine.recorded(assignment.index) else { return };
        let flaky = |key| self.context.flakes.is_flaky(&assignment.task.id, key);
        if !is_retried && !is_vague && !flaky(&record.key) && !flaky(&assignment.key) {
            execute::keep_result(&self.context, assignment, &record, has_log);
        }
    }

    /// What a result replaced comes back.
    fn put_back(&mut self, staged: Option<crate::execute::Staged>, why: &str) {
        let restored = staged.map_or(Ok(()), |staged| staged.restore(&self.context, None));
        if let Err(error) = restored {
            self.broken = true;
            let message = format!("{why}; and its outputs could not be put back: {error}");
            self.sink.event(Event::Notice { diagnostic: Diagnostic::error("build::restore", message) });
        }
    }

    /// The branch of an accepted result goes where the result is.
    pub(super) fn move_branch(&mut self, branch: Option<&BranchMove>) {
        if let Some(diagnostic) = branch.and_then(|branch| execute::move_branch(&self.context, branch)) {
            self.sink.event(Event::Notice { diagnostic });
        }
    }

    /// The outputs stand in the tree, but no record vouches for them.
    fn keep_unrecorded(
        &mut self,
        index: TaskIndex,
        assignment: &Assignment,
        outputs: Vec<OutputEntry>,
        reason: Reason,
    ) {
        let failure = Failure { outputs, ..Failure::new(assignment.key, reason, self.context.run.clone()) };
        self.engine.refuse(index, &failure);
        self.unrecorded.insert(index);
    }

    pub(super) fn wake_dependents(&mut self, index: TaskIndex) {
        let plan = Arc::clone(self.engine.plan());
        for dependent in plan.dependents(index) {
            if plan.deps(dependent).any(|(dep, kinds)| dep == index && kinds.carries_outputs()) {
                self.engine.make_candidate(dependent);
            }
        }
    }

    fn refused(&mut self, index: TaskIndex, assignment: &Assignment, attempt: u32, refusal: Refusal) {
        self.saw_failure(assignment, &refusal);
        let Some(refusal) = self.wait_for_provider(assignment, attempt, refusal) else { return };
        match &refusal.disposition {
            Disposition::Pause | Disposition::Wait { .. } => return self.pause(assignment, refusal),
            Disposition::Stop { adapter } => self.stop_adapter(assignment, adapter),
            Disposition::Ordinary => {}
        }
        let retries = assignment.task.retries;
        if let Some(retries) = retries.filter(|r| refusal.retryable && attempt <= r.max && !self.halted) {
            let wait = retries.backoff.saturating_mul(1 << (attempt - 1).min(16));
            self.sink.event(Event::TaskRetry {
                task: assignment.task.id.clone(),
                attempt,
                message: refusal.message,
                wait,
            });
            self.phases[index as usize] = Phase::BackingOff;
            self.retries.push(std::cmp::Reverse((Instant::now() + wait, index)));
            return;
        }
        if refusal.cancelled {
            let result = TaskResult { duration: refusal.duration, ..plain(Status::Cancelled) };
            self.settle_with_log(index, result, Some(refusal.message), refusal.log);
            return;
        }
        // A check that could not run says nothing of the outputs: they stand, and it is tried again.
        if !assignment.validation_only {
            let failure = Failure::new(assignment.key, refusal.reason, self.context.run.clone());
            self.engine.refuse(index, &failure);
        }
        self.fail(index, Some(assignment), refusal.message, refusal.log, refusal.duration);
    }

    pub(super) fn fail_unstarted(&mut self, index: TaskIndex, diagnostic: &Diagnostic) {
        let help = diagnostic.help.as_ref().map_or(String::new(), |help| format!("; {help}"));
        self.fail(index, None, format!("{}{help}", diagnostic.message), None, Duration::ZERO);
    }

    pub(super) fn fail(
        &mut self,
        index: TaskIndex,
        assignment: Option<&Assignment>,
        message: String,
        log: Option<String>,
        duration: Duration,
    ) {
        if !self.options.keep_going {
            self.halt();
        }
        if let Some(assignment) = assignment {
            self.context.attempts.keep(&Attempt {
                task: assignment.task.id.clone(),
                status: Status::Failed,
                action: assignment.action.clone(),
                validation: None,
                outputs: Vec::new(),
            });
        }
        let result = TaskResult {
            key: assignment.map(|assignment| assignment.key),
            reasons: assignment.map(|assignment| assignment.reasons.clone()).unwrap_or_default(),
            duration,
            ..plain(Status::Failed)
        };
        self.settle_with_log(index, result, Some(message), log);
    }

    /// A task ended with something to tell.
    pub(super) fn settle_with_log(
        &mut self,
        index: TaskIndex,
        result: TaskResult,
        message: Option<String>,
        log: Option<String>,
    ) {
        let status = result.status;
        self.tell(index, &result, message, log);
        self.results.push((self.engine.plan().task_id(index), result));
        self.mark(index, status);
    }

    /// A task ended.
    pub(super) fn settle(&mut self, index: TaskIndex, status: Status, result: Option<TaskResult>) {
        match result {
            Some(result) => self.settle_with_log(index, result, None, None),
            None => self.mark(index, status),
        }
    }

    fn tell(&mut self, index: TaskIndex, result: &TaskResult, message: Option<String>, log: Option<String>) {
        let TaskResult { status, key, reasons, duration, outputs, validated } = result.clone();
        let task = self.engine.plan().task_id(index);
        self.sink.event(Event::TaskFinished {
            task,
            status,
            key,
            reasons,
            duration,
            outputs,
            validated,
            message,
            log,
        });
    }

    /// Counts a task as ended and lets its dependents know; iterative, since chains may be long.
    fn mark(&mut self, index: TaskIndex, status: Status) {
        let mut ended = vec![(index, status)];
        while let Some((index, status)) = ended.pop() {
            self.phases[index as usize] = Phase::Settled(status);
            let plan = Arc::clone(self.engine.plan());
            if !plan.is_hidden(index) {
                self.summary.add(status, 1);
            }
            let stops = self.stops_dependents(index);
            for dependent in plan.dependents(index) {
                let Phase::Waiting { left, blocked } = self.phases[dependent as usize] else { continue };
                let (left, blocked) = (left - 1, blocked || stops);
                self.phases[dependent as usize] = Phase::Waiting { left, blocked };
                if left > 0 {
                    continue;
                }
                if blocked {
                    let status = if self.signal.is_some() { Status::Cancelled } else { Status::Skipped };
                    self.tell_unstarted(dependent, status);
                    ended.push((dependent, status));
                } else {
                    self.due.push(dependent);
                }
            }
        }
    }

    fn tell_unstarted(&mut self, index: TaskIndex, status: Status) {
        if !self.engine.plan().is_hidden(index) {
            let reasons = self.obstacle(index).map(|obstacle| {
                let changed = self.unrecorded.contains(&obstacle);
                let kind = if changed { ReasonKind::ChangedDuringRun } else { ReasonKind::PreviousFailed };
                Reason::new(kind).task(&self.engine.plan().task_id(obstacle))
            });
            let result = TaskResult { reasons: reasons.into_iter().collect(), ..plain(status) };
            self.tell(index, &result, None, None);
            self.results.push((self.engine.plan().task_id(index), result));
        }
    }

    /// Has it ended in such a way that nothing which depends on it may start?
    fn stops_dependents(&self, index: TaskIndex) -> bool {
        match self.phases[index as usize] {
            Phase::Settled(Status::Fresh | Status::Ran | Status::Cached) => self.unrecorded.contains(&index),
            Phase::Settled(_) => true,
            _ => false,
        }
    }

    /// The dependency because of which a task never started, seen through gates that nobody is shown.
    fn obstacle(&self, index: TaskIndex) -> Option<TaskIndex> {
        let plan = self.engine.plan();
        let mut at = index;
        loop {
            at = plan.deps(at).map(|(dep, _)| dep).find(|dep| self.stops_dependents(*dep))?;
            if !plan.is_hidden(at) {
                return Some(at);
            }
        }
    }

    /// Everything that never started: cancelled after a signal, skipped after a failure.
    pub(super) fn settle_the_rest(&mut self) {
        self.queue.drain();
        let status = if self.signal.is_some() { Status::Cancelled } else { Status::Skipped };
        for index in self.scope.clone() {
            if !matches!(self.phases[index as usize], Phase::Idle | Phase::Settled(_)) {
                self.phases[index as usize] = Phase::Settled(status);
                self.tell_unstarted(index, status);
                if !self.engine.plan().is_hidden(index) {
                    self.summary.add(status, 1);
                }
            }
        }
    }
}
