//! `conductor cancel [T9]`: asks the build that runs in this workspace to stop, or to stop one task.

use serde_json::json;

use super::options::{CancelArgs, Global};
use super::session::Session;
use super::{Exit, Output, Stop};
use crate::incremental::Caller;
use crate::model::Diagnostic;
use crate::store::{CancelRequest, Lock, RunDir};

pub(super) fn run(global: &Global, args: &CancelArgs, caller: Caller, output: &Output) -> Result<Exit, Stop> {
    let session = Session::open(global, caller)?;
    let request = match &args.task {
        Some(task) => CancelRequest::Task(session.plan.task_id(session.one(task)?)),
        None => CancelRequest::All,
    };
    let Some(holder) = Lock::holder(&session.folder) else {
        let diagnostic = Diagnostic::error("cli::nothing_runs", "no build runs in this workspace");
        return Err(Stop::plain(Exit::Usage, diagnostic));
    };
    RunDir::of(&session.folder, &holder.run).request_cancel(&request)?;
    if output.json {
        output.say_json(&json!({"version": 1, "run": holder.run, "task": args.task}));
    } else {
        let what = args.task.as_deref().unwrap_or("the build");
        output.say(&format!("asked run {} to stop {what}\n", holder.run));
    }
    Ok(Exit::Success)
}
