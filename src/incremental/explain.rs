//! Why a task is not fresh, with the line of the manifest that brings each cause in.

use super::db::{self, Shape, State};
use super::engine::Engine;
use crate::graph::TaskIndex;
use crate::model::{
    Action, At, Diagnostic, Entry, EntryKind, Pattern, Place, Reason, ReasonKind, Record, Reference, Task,
    WorkspacePath,
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
        for reason in &mut reasons {
            reason.at = self.place(place_of(reason, task));
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

/// The line that brings a cause in: the pattern that names the file, the variable, the edge; else the task.
pub(super) fn place_of(reason: &Reason, task: &Task) -> At {
    let named = |pattern: &&Pattern, path: &WorkspacePath| {
        !pattern.negated
            && pattern
                .literal
                .as_ref()
                .map_or_else(|| path.is_within(&pattern.base()), |own| path.is_within(own))
    };
    let pattern = |path: &WorkspacePath| {
        task.inputs.iter().chain(&task.edits).rev().find(|pattern| named(pattern, path)).map(|p| p.at)
    };
    let output = |path: &WorkspacePath| {
        let output = task.outputs.iter().find(|o| path.is_within(&o.path)).map(|o| o.at);
        output.or_else(|| task.edits.iter().rev().find(|edits| named(edits, path)).map(|edits| edits.at))
    };
    let need = |reason: &Reason| {
        let id = reason.task.as_ref()?;
        task.needs
            .iter()
            .find(|need| matches!(need, Reference::Task(other, _) if other == id))
            .map(Reference::at)
    };
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
        ReasonKind::OutputMissing | ReasonKind::OutputModified => reason.path.as_ref().and_then(output),
        ReasonKind::ValidationChanged | ReasonKind::ValidationFailed | ReasonKind::GateFailed => {
            let check = task.validate.iter().find(|check| Some(check.definition()) == reason.new);
            check.or(task.validate.first()).map(|check| check.at)
        }
        _ => reason.path.as_ref().and_then(pattern).or_else(|| need(reason)),
    };
    found.unwrap_or(task.at)
}
