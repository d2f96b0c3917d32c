//! Why a task is not fresh, with the line of the manifest that brings each cause in.

use std::collections::HashMap;

use super::db::{self, Shape, State};
use super::engine::Engine;
use crate::graph::TaskIndex;
use crate::model::{
    Action, At, Diagnostic, Entry, EntryKind, PathIndex, Place, Reason, ReasonKind, Record, Reference, Task,
    TaskId, WorkspacePath,
};

impl Engine {
    /// Every cause, the one that a person wants first in front. Empty for a task that is fresh, and for one
    /// that is blocked although it once had a result.
    pub fn reasons(&mut self, index: TaskIndex) -> Result<Vec<Reason>, Diagnostic> {
        let input = self.task_input(index)?;
        let verdict = db::verdict(&self.db, input);
        let shape = input.shape(&self.db);
        let record = shape.result.record(&self.db);
        if let State::Blocked(dep) = verdict.state {
            let never =
                record.is_none().then(|| Reason::new(ReasonKind::NeverBuilt).task(&self.plan.task_id(dep)));
            return Ok(never.into_iter().collect());
        }
        if verdict.state == State::Fresh {
            return Ok(Vec::new());
        }
        let mut reasons = Vec::new();
        if verdict.state == State::Waiting {
            reasons.extend(input.failure(&self.db).map(|failure| failure.reason.clone()));
            return Ok(self.placed(reasons, &shape.task));
        }
        if input.forced(&self.db) {
            reasons.push(Reason::new(ReasonKind::Forced));
        }
        if shape.task.always {
            reasons.push(Reason::new(ReasonKind::Always));
        }
        let Ok(action) = db::describe(&self.db, &shape) else { return Ok(reasons) };
        let failure = input.failure(&self.db);
        let unrecorded = failure.as_ref().is_some_and(|failure| !failure.outputs.is_empty());
        let failure = failure.filter(|failure| {
            let withdrawn = failure.reason.kind == ReasonKind::RolledBack;
            unrecorded || withdrawn || Some(failure.key) == verdict.key
        });
        let failed = failure.map(|failure| failure.reason.clone());
        match record {
            // What changed is the better answer, unless a check refused what stands.
            Some(record) => {
                let refused =
                    failed.as_ref().is_some_and(|reason| reason.kind == ReasonKind::ValidationFailed);
                let (before, behind) = if refused { (failed, None) } else { (None, failed) };
                reasons.extend(before);
                self.differences(&shape, &action, &record, &mut reasons);
                reasons.extend(behind);
            }
            None if unrecorded => reasons.extend(failed),
            None => {
                reasons.extend(failed);
                reasons.push(Reason::new(ReasonKind::NeverBuilt));
            }
        }
        Ok(self.placed(reasons, &shape.task))
    }

    /// Each with the line that brings it in.
    fn placed(&self, mut reasons: Vec<Reason>, task: &Task) -> Vec<Reason> {
        let lines = Lines::of(task);
        for reason in &mut reasons {
            reason.at = self.place(lines.place_of(reason));
        }
        reasons
    }

    fn differences(&self, shape: &Shape, action: &Action, record: &Record, reasons: &mut Vec<Reason>) {
        let locked = self.locked_differences(shape, action);
        let is_locked = locked.is_some();
        reasons.extend(locked.unwrap_or_else(|| action.differences(&record.action)));
        for ((path, file), output) in shape.outputs.iter().zip(&record.outputs) {
            let now = file.entry(&self.db);
            if !db::is_other(shape, path, now, output.entry) {
                continue;
            }
            let gone = now.kind == EntryKind::Absent;
            let kind = if gone { ReasonKind::OutputMissing } else { ReasonKind::OutputModified };
            reasons.push(Reason::new(kind).path(path).old(output.entry.describe()).new_value(now.describe()));
        }
        for (path, file) in &shape.unmade {
            let now = file.entry(&self.db);
            if now.exists() {
                let reason = Reason::new(ReasonKind::OutputModified).path(path);
                reasons.push(reason.old(Entry::absent().describe()).new_value(now.describe()));
            }
        }
        for edit in shape.edits.iter().filter(|edit| edit.reset || edit.unlanded) {
            let after = record.edited(&edit.path).map_or_else(Entry::absent, |edited| edited.after);
            let row = self.state.file_id(&edit.path).and_then(|id| self.state.file(id));
            let now = row.map_or_else(Entry::absent, |row| row.entry);
            let kind = if now.exists() { ReasonKind::OutputModified } else { ReasonKind::OutputMissing };
            let reason = Reason::new(kind).path(&edit.path);
            reasons.push(reason.old(after.describe()).new_value(now.describe()));
        }
        reasons.extend(shape.lost.iter().map(|path| Reason::new(ReasonKind::OutputMissing).path(path)));
        let validation = db::validation(&self.db, shape);
        let key = validation.key(&action.components(), &record.outputs);
        if reasons.is_empty() && key != record.validation_key {
            // The lock knows its key alone.
            let known = (!is_locked).then(|| validation.differences(&record.validation));
            reasons.extend(known.into_iter().flatten());
            if reasons.is_empty() {
                reasons.push(Reason::new(ReasonKind::ValidationChanged));
            }
        }
    }

    /// A span as people and JSON name it.
    pub fn place(&self, at: At) -> Option<Place> {
        let file = self.plan.sources().file(at)?;
        Some(Place { file: file.name.clone(), line: at.line, column: at.column })
    }
}

/// The lines of the manifest that cause reasons. There may be as many reasons as inputs, so each is looked up.
pub(super) struct Lines<'a> {
    task: &'a Task,
    /// Where each pattern of `inputs` and `edits` is, the last one of a path with the highest number.
    patterns: PathIndex<(usize, At)>,
    needs: HashMap<&'a TaskId, At>,
}

impl<'a> Lines<'a> {
    pub(super) fn of(task: &'a Task) -> Self {
        let patterns = task.inputs.iter().chain(&task.edits).enumerate();
        let patterns = patterns.filter(|(_, pattern)| !pattern.negated).map(|(number, pattern)| {
            let path = pattern.literal.clone().unwrap_or_else(|| pattern.base());
            (path, (number, pattern.at))
        });
        let needs = task.needs.iter().rev().filter_map(|need| match need {
            Reference::Task(id, at) => Some((id, *at)),
            Reference::Group(..) => None,
        });
        Self { task, patterns: patterns.collect(), needs: needs.collect() }
    }

    fn last_pattern(&self, path: &WorkspacePath) -> Option<At> {
        self.patterns.around(path).max_by_key(|(number, _)| *number).map(|(_, at)| *at)
    }

    fn output(&self, path: &WorkspacePath) -> Option<At> {
        let output = self.task.outputs.iter().find(|output| path.is_within(&output.path));
        let edits = self.task.edits.iter().rev().filter(|pattern| !pattern.negated);
        let mut edits = edits.filter(|pattern| path.is_within(&pattern.base()));
        output.map(|output| output.at).or_else(|| edits.next().map(|pattern| pattern.at))
    }

    /// The pattern that names the file, the variable, the edge; else the task.
    pub(super) fn place_of(&self, reason: &Reason) -> At {
        let task = self.task;
        let found = match reason.kind {
            ReasonKind::CommandChanged => Some(task.work_at),
            ReasonKind::EnvChanged => task
                .env
                .iter()
                .find(|variable| Some(&variable.name) == reason.name.as_ref())
                .map(|variable| variable.at),
            ReasonKind::ToolChanged => {
                task.tools.iter().find(|tool| Some(&tool.name) == reason.name.as_ref()).map(|tool| tool.at)
            }
            ReasonKind::OutputMissing | ReasonKind::OutputModified => {
                reason.path.as_ref().and_then(|path| self.output(path))
            }
            ReasonKind::ValidationChanged | ReasonKind::ValidationFailed | ReasonKind::GateFailed => {
                let check = task.validate.iter().find(|check| Some(check.definition()) == reason.new);
                check.or(task.validate.first()).map(|check| check.at)
            }
            _ => {
                let pattern = reason.path.as_ref().and_then(|path| self.last_pattern(path));
                let need = || reason.task.as_ref().and_then(|id| self.needs.get(id)).copied();
                pattern.or_else(need)
            }
        };
        found.unwrap_or(task.at)
    }
}
