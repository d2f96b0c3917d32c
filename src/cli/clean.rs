//! `conductor clean`: removes recorded outputs that nobody has modified, and their records.

use std::fmt::Write as _;
use std::ops::ControlFlow;

use serde_json::json;

use super::build::hold;
use super::options::{CleanArgs, Global};
use super::session::Session;
use super::{Exit, Output, Stop};
use crate::incremental::Caller;
use crate::model::TaskId;
use crate::report::count;
use crate::store::{Access, State};
use crate::workspace::{prune_empty_parents, remove_path};

pub(super) fn run(global: &Global, args: &CleanArgs, caller: Caller, output: &Output) -> Result<Exit, Stop> {
    let session = Session::open(global, caller)?;
    let access = if args.dry_run { Access::ReadOnly } else { Access::Write };
    let mut notices = Vec::new();
    let _lock = if args.dry_run {
        None
    } else {
        notices = crate::store::prepare(&session.folder)?;
        Some(hold(&session, "clean", &mut |_| ControlFlow::Break(()))?)
    };
    let (mut state, found) = State::open(&session.folder, access);
    notices.extend(found);
    output.warn(&notices, session.sources());
    let tasks: Vec<TaskId> = if args.targets.is_empty() {
        state.ids().map(TaskId::new).collect()
    } else {
        session.scope(&args.targets)?.0.into_iter().map(|index| session.plan.task_id(index)).collect()
    };
    let (mut removed, mut kept) = (Vec::new(), Vec::new());
    for task in tasks {
        let Some(record) = state.record(&task) else { continue };
        for output in record.outputs {
            let now = session.workspace.observe(&output.path);
            if !now.entry.exists() {
                continue;
            }
            if now.entry != output.entry {
                kept.push(output.path);
                continue;
            }
            let place = output.path.under(session.workspace.root());
            if !args.dry_run && remove_path(&place).is_ok() {
                prune_empty_parents(session.workspace.root(), &place);
            }
            removed.push(output.path);
        }
        if !args.dry_run {
            state.forget(&task);
        }
    }
    state.finish()?;
    if output.json {
        output.say_json(&json!({"version": 1, "dry_run": args.dry_run, "removed": removed, "kept": kept}));
        return Ok(Exit::Success);
    }
    let mut text = String::new();
    let verb = if args.dry_run { "would remove" } else { "removed" };
    for path in &removed {
        let _ = writeln!(text, "{verb} {path}");
    }
    for path in &kept {
        let _ = writeln!(text, "kept {path}: it is not what conductor made");
    }
    let _ = writeln!(text, "{verb} {}, kept {}", count(removed.len(), "output"), kept.len());
    output.say(&text);
    Ok(Exit::Success)
}
