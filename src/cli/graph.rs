//! `conductor graph`: the graph as dot, mermaid or json.

use super::options::{Global, GraphArgs, GraphFormat};
use super::session::Session;
use super::{Exit, Output, Stop};
use crate::graph::export;
use crate::incremental::Caller;

pub(super) fn run(global: &Global, args: &GraphArgs, caller: Caller, output: &Output) -> Result<Exit, Stop> {
    let session = Session::open(global, caller)?;
    let scope = if args.targets.is_empty() {
        session.plan.order().collect()
    } else {
        session.scope(&args.targets)?.1
    };
    match args.format {
        GraphFormat::Dot => output.say(&export::to_dot(&session.plan, &scope)),
        GraphFormat::Mermaid => output.say(&export::to_mermaid(&session.plan, &scope)),
        GraphFormat::Json => output.say_json(&export::to_json(&session.plan, &scope)),
    }
    Ok(Exit::Success)
}
