//! Notices when a task gives two results under one key: it failed and then passed, or the other way around, or it made
//! something else. What an agent does, what runs each time and what a person stopped is no evidence.

use super::Build;
use crate::execute::Refusal;
use crate::incremental::Assignment;
use crate::model::{
    ActionKey, Diagnostic, Event, Flake, FlakeKind, OutputEntry, ReasonKind, Record, Work, WorkspacePath,
};

/// May two results of one key be held against each other? Where `--isolation` runs a task elsewhere than it usually
/// does, what it lacks there is told by itself.
fn is_comparable(assignment: &Assignment) -> bool {
    let task = &assignment.task;
    let at_home = assignment.isolation == task.isolation;
    matches!(task.work, Work::Run(_)) && !task.always && !assignment.validation_only && at_home
}

impl Build<'_> {
    /// The task's command ran, and it or a check refused. One that never started says nothing.
    pub(super) fn saw_failure(&mut self, assignment: &Assignment, refusal: &Refusal) {
        if !is_comparable(assignment) || refusal.cancelled || refusal.duration.is_zero() {
            return;
        }
        let by_check = refusal.reason.kind == ReasonKind::ValidationFailed;
        let (task, key, run) = (assignment.task.id.clone(), assignment.key, self.context.run.clone());
        self.context.flakes.failed(&task, key, &run, by_check);
        let passed = assignment.record.as_ref().filter(|record| record.key == key && !by_check);
        if let Some(record) = passed {
            self.withdraw(record);
            let earlier = record.run.clone();
            let kind = FlakeKind::FailedAfterSuccess;
            let flake = Flake { task, key, run, earlier, kind, paths: Vec::new() };
            self.note(assignment, flake);
        }
    }

    /// The task ran and was accepted under this key, with these outputs, sorted by path.
    pub(super) fn saw_success(&mut self, assignment: &Assignment, key: ActionKey, outputs: &[OutputEntry]) {
        if !is_comparable(assignment) {
            return;
        }
        let (task, run) = (assignment.task.id.clone(), self.context.run.clone());
        // A depfile may have made another key of it meanwhile; it failed under the one with which it began.
        if let Some(earlier) = self.context.flakes.failure(&task, &assignment.key, &run) {
            let kind = FlakeKind::PassedAfterFailure;
            let (task, run) = (task.clone(), run.clone());
            self.note(assignment, Flake { task, key, run, earlier, kind, paths: Vec::new() });
        }
        // What an incremental task makes depends on what it made before.
        let before = assignment.record.as_ref();
        let before = before.filter(|record| record.key == key && !assignment.task.incremental);
        if let Some(record) = before.filter(|record| record.outputs != outputs) {
            self.withdraw(record);
            let paths = differing(&record.outputs, outputs);
            let (earlier, kind) = (record.run.clone(), FlakeKind::OtherOutputs);
            self.note(assignment, Flake { task, key, run, earlier, kind, paths });
        }
    }

    /// A result that was kept before it was doubtful is taken back.
    fn withdraw(&mut self, record: &Record) {
        if let Some(Err(error)) = self.context.cache.as_ref().map(|cache| cache.withdraw(record)) {
            let diagnostic = Diagnostic::warning("build::cache", error.to_string());
            self.sink.event(Event::Notice { diagnostic });
        }
    }

    fn note(&mut self, assignment: &Assignment, flake: Flake) {
        let message = format!("{} is flaky: {}", flake.task, flake.sentence());
        self.context.flakes.note(flake);
        let diagnostic = Diagnostic::warning("build::flaky", message)
            .label(assignment.task.at, "declared here")
            .help("its result is kept out of the cache; does it read something that it does not declare?");
        self.sink.event(Event::Notice { diagnostic });
    }
}

/// The first paths at which two results differ.
fn differing(one: &[OutputEntry], other: &[OutputEntry]) -> Vec<WorkspacePath> {
    let only = |of: &[OutputEntry], than: &[OutputEntry]| -> Vec<WorkspacePath> {
        of.iter().filter(|output| !than.contains(output)).map(|output| output.path.clone()).collect()
    };
    let mut paths = [only(one, other), only(other, one)].concat();
    paths.sort();
    paths.dedup();
    paths.truncate(Flake::PATHS);
    paths
}
