//! Gives accepted results to the cache. What a result is and that it was accepted the coordinator knows; here is
//! where its content lies.

use super::RunContext;
use super::lookup::{declared, is_kept};
use crate::incremental::Assignment;
use crate::model::{Record, WorkspacePath};
use crate::store::{BesideKind, CacheEntry, Draft, Maker, Source};

/// Keeps a result that was just recorded, unless its task says otherwise; with what the task printed, where it has a
/// log in this run.
pub fn keep_result(context: &RunContext, assignment: &Assignment, record: &Record, has_log: bool) {
    let task = &assignment.task;
    let Some(cache) = context.cache.as_ref() else { return };
    cache.lift_ban(record);
    if !is_kept(task) || !cache.is_written() {
        return;
    }
    let by = Maker { task: task.id.as_str().to_owned(), run: record.run.0.clone(), ..context.maker.clone() };
    let outputs = record.outputs.iter().map(|output| {
        let from = if record.on_branch {
            context.objects.file(&output.entry)
        } else {
            output.path.under(context.tree.root())
        };
        Source { entry: output.entry, from, as_made: !record.on_branch }
    });
    let edited = record.edited.iter().filter(|edited| edited.before != edited.after && edited.after.exists());
    let edits = edited.map(|edited| Source {
        entry: edited.after,
        from: context.objects.file(&edited.after),
        as_made: false,
    });
    let mut beside = Vec::new();
    if has_log {
        beside.push((BesideKind::Log, context.log(&task.id, None)));
    }
    let transcript = record.agent.as_ref().and_then(|agent| agent.transcript);
    beside.extend(transcript.map(|entry| (BesideKind::Transcript, context.objects.file(&entry))));
    let discovered = task.depfile.as_ref().map(|_| {
        let found = record.action.inputs.iter().filter(|input| input.is_discovered());
        let paths: Vec<WorkspacePath> = found.map(|input| input.path.clone()).collect();
        (declared(&record.action).key(), paths)
    });
    let (outputs, edits) = (outputs.collect(), edits.collect());
    cache.keep(Draft { entry: CacheEntry::of(record, by), outputs, edits, beside, discovered });
}
