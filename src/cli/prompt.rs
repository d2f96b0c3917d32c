//! `conductor prompt T9`: exactly what the task's agent will be told next.

use serde_json::json;

use super::options::{Global, TargetArg};
use super::session::Session;
use super::{Exit, Output, Stop};
use crate::execute;
use crate::incremental::Caller;
use crate::model::Diagnostic;

pub(super) fn run(global: &Global, args: &TargetArg, caller: Caller, output: &Output) -> Result<Exit, Stop> {
    let session = Session::open(global, caller)?;
    let index = session.one(&args.target)?;
    let id = session.plan.id(index).to_owned();
    if !session.plan.is_agent(index) {
        let diagnostic =
            Diagnostic::error("cli::no_agent", format!("{id} is done by a command, not by an agent"));
        return Err(Stop::plain(
            Exit::Usage,
            diagnostic.help("`agent: claude` in the place of `run`, for example"),
        ));
    }
    let (_, scope) = session.scope(std::slice::from_ref(&id))?;
    let mut engine = session.reader();
    engine.observe(&scope);
    session.refuse_unordered(&mut engine)?;
    session.refuse_unreadable_instructions(&mut engine, &scope)?;
    let assignment = engine.assignment(index).map_err(|diagnostic| {
        let help = "what it is told names the outputs of what it needs: build that first";
        Stop::plain(Exit::Failed, diagnostic.help(help))
    })?;
    let prompt = execute::next_prompt(&session.folder, session.workspace.root(), &assignment);
    if output.json {
        output.say_json(&json!({"version": 1, "task": id, "key": assignment.key, "prompt": prompt}));
    } else {
        output.say(&prompt);
    }
    Ok(Exit::Success)
}
