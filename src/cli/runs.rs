//! `conductor runs`: past runs, and the execution log of one.

use super::options::{Global, RunsArgs, RunsFormat};
use super::session::Session;
use super::{Exit, Output, Stop};
use crate::incremental::Caller;
use crate::model::{Diagnostic, RunId, Stamped, TaskId};
use crate::report::events;
use crate::report::markdown::{Facts, GroupFacts, TaskFacts, execution_log};
use crate::report::runs::{RunHead, json, table};
use crate::store::{Flakes, RunDir, list_runs};

/// Lines of a failed task's output in the execution log.
const TAIL: usize = 20;

pub(super) fn run(global: &Global, args: &RunsArgs, caller: Caller, output: &Output) -> Result<Exit, Stop> {
    let session = Session::open(global, caller)?;
    let runs = list_runs(&session.folder);
    if args.format == RunsFormat::Markdown {
        return markdown(&session, args.run.as_deref(), &runs, output);
    }
    let wanted = runs.iter().filter(|run| args.run.as_ref().is_none_or(|wanted| run.0 == *wanted));
    let mut heads: Vec<RunHead> =
        wanted.filter_map(|run| RunHead::from_events(read(&session, run))).collect();
    for flake in Flakes::of(&session.folder).all() {
        let head = heads.iter_mut().find(|head| head.run == flake.run);
        if let Some(head) = head.filter(|head| !head.flaky.contains(&flake.task)) {
            head.flaky.push(flake.task);
        }
    }
    if let (Some(wanted), []) = (&args.run, &heads[..]) {
        return Err(unknown(wanted));
    }
    match args.format {
        RunsFormat::Json => output.say_json(&json(&heads)),
        _ => output.say(&table(&heads, output.style())),
    }
    Ok(Exit::Success)
}

/// No run has this id.
pub(super) fn unknown(wanted: &str) -> Stop {
    let diagnostic = Diagnostic::error("cli::unknown_run", format!("there is no run `{wanted}`"))
        .help("`conductor runs` lists them");
    Stop::plain(Exit::Usage, diagnostic)
}

fn read(session: &Session, run: &RunId) -> Vec<Stamped> {
    let file = std::fs::File::open(RunDir::of(&session.folder, run).events());
    file.map(|file| events::read(std::io::BufReader::new(file)).collect()).unwrap_or_default()
}

fn markdown(session: &Session, wanted: Option<&str>, runs: &[RunId], output: &Output) -> Result<Exit, Stop> {
    let run = runs.iter().find(|run| wanted.is_none_or(|wanted| run.0 == wanted));
    let Some(run) = run else {
        let nothing = || {
            let diagnostic = Diagnostic::error("cli::no_runs", "nothing has run yet");
            Stop::plain(Exit::Usage, diagnostic.help("conductor build"))
        };
        return Err(wanted.map_or_else(nothing, unknown));
    };
    let events = read(session, run);
    let targets = RunHead::from_events(&events).map(|head| head.targets).unwrap_or_default();
    // A target may have left the manifest since; then everything is told.
    let scope = session.scope(&targets).map_or_else(|_| session.plan.order().collect(), |(_, scope)| scope);
    let facts = |index| {
        let task = session.plan.task(index).ok()?;
        Some(TaskFacts {
            id: task.id.clone(),
            title: task.title.clone(),
            group: task.group.clone(),
            role: task.role.clone(),
            effort: task.effort,
        })
    };
    let mut scope: Vec<_> = scope.into_iter().filter(|index| !session.plan.is_hidden(*index)).collect();
    scope.sort_unstable();
    let tasks: Vec<TaskFacts> =
        scope.iter().copied().filter(|index| !session.plan.is_gate(*index)).filter_map(facts).collect();
    let gated = |group: &crate::model::GroupId| {
        let gate = session.plan.index_of(TaskId::gate(group).as_str());
        gate.is_some_and(|gate| scope.contains(&gate))
    };
    let groups: Vec<GroupFacts> = session
        .plan
        .groups()
        .iter()
        .map(|group| GroupFacts { id: group.id.clone(), title: group.title.clone(), gate: gated(&group.id) })
        .collect();
    let tail = |task: &TaskId| {
        let text = std::fs::read(RunDir::of(&session.folder, run).log(task)).ok()?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        Some(lines[lines.len().saturating_sub(TAIL)..].join("\n"))
    };
    let project = session.plan.settings().project.as_deref();
    output.say(&execution_log(&events, &Facts { project, groups: &groups, tasks: &tasks, tail: &tail }));
    Ok(Exit::Success)
}
