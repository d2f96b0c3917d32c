//! `conductor doctor`: can the agents that the manifest uses work here? Looks at programs and logins; starts no task,
//! spends nothing and writes nothing into the workspace.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use super::options::{DoctorArgs, Global};
use super::session::Session;
use super::{Exit, Output, Stop};
use crate::execute::{self, Examined, Login};
use crate::incremental::Caller;
use crate::manifest;
use crate::model::{Adapter, Diagnostic, Work};
use crate::report::count;

pub(super) fn run(global: &Global, args: &DoctorArgs, caller: Caller, output: &Output) -> Result<Exit, Stop> {
    let session = Session::open(global, caller)?;
    let users = users(&session);
    let adapters = adapters(&session, &args.agents, &users)?;
    let root = session.workspace.root();
    let (mut ready, mut agents) = (true, Vec::new());
    for adapter in &adapters {
        let examined = execute::examine(adapter, root, &session.caller)?;
        let tasks = users.get(&adapter.name).copied().unwrap_or(0);
        ready &= examined.problems.is_empty();
        if output.json {
            agents.push(document(adapter, &examined, tasks));
        } else {
            output.say(&text(&examined, tasks, root));
        }
    }
    if output.json {
        output.say_json(&json!({ "version": 1, "ready": ready, "agents": agents }));
    } else if adapters.is_empty() {
        output.say("No task of the manifest is done by an agent.\n");
    }
    Ok(if ready { Exit::Success } else { Exit::Failed })
}

/// How many tasks each agent has.
fn users(session: &Session) -> BTreeMap<String, usize> {
    let plan = &session.plan;
    let tasks =
        plan.indices().filter(|index| plan.is_agent(*index)).filter_map(|index| plan.task(index).ok());
    let mut users = BTreeMap::new();
    for task in tasks {
        if let Work::Agent(agent) = &task.work {
            *users.entry(agent.adapter.clone()).or_default() += 1;
        }
    }
    users
}

/// Those that are named, else those that have tasks. One that is named and built in need not stand in the manifest.
fn adapters(
    session: &Session,
    named: &[String],
    users: &BTreeMap<String, usize>,
) -> Result<Vec<Adapter>, Stop> {
    let built_in = manifest::built_in_adapters();
    let all = || session.plan.settings().agents.iter().chain(&built_in);
    let find = |name: &str| all().find(|adapter| adapter.name == name).cloned();
    if named.is_empty() {
        return Ok(users.keys().filter_map(|name| find(name)).collect());
    }
    let unknown = |name: &String| {
        let mut names: Vec<&str> = all().map(|adapter| adapter.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let diagnostic = Diagnostic::error("cli::unknown_agent", format!("there is no adapter `{name}`"));
        Stop::plain(Exit::Usage, diagnostic.help(format!("one of: {}", names.join(", "))))
    };
    named.iter().map(|name| find(name).ok_or_else(|| unknown(name))).collect()
}

fn text(found: &Examined, tasks: usize, root: &Path) -> String {
    let ready = if found.problems.is_empty() { "ready" } else { "not ready" };
    let used = if tasks == 0 { String::new() } else { format!(" ({})", count(tasks, "task")) };
    let mut text = format!("{}{used}: {ready}\n", found.agent);
    let mut row = |name: &str, value: &str| {
        let _ = writeln!(text, "  {name:<9}{value}");
    };
    if let Some(program) = &found.program {
        row("program", &program.strip_prefix(root).unwrap_or(program).display().to_string());
        row("version", found.version.as_deref().unwrap_or("it tells none"));
    }
    match &found.login {
        None | Some(Login::Missing) => {}
        Some(Login::Keys(keys)) => row("login", &format!("{} is set", keys.join(", "))),
        Some(Login::Told(command)) => row("login", &format!("`{command}` says that it is logged in")),
        Some(Login::Files(files)) => row("login", &format!("~/{} is there", files.join(", ~/"))),
        Some(Login::Unneeded) => row("login", "none that its adapter knows of"),
    }
    for problem in &found.problems {
        row("problem", problem);
    }
    text
}

fn document(adapter: &Adapter, found: &Examined, tasks: usize) -> Value {
    let (kind, by) = match &found.login {
        None => ("unknown", Vec::new()),
        Some(Login::Keys(keys)) => ("key", keys.clone()),
        Some(Login::Told(command)) => ("command", vec![command.clone()]),
        Some(Login::Files(files)) => ("file", files.clone()),
        Some(Login::Unneeded) => ("unneeded", Vec::new()),
        Some(Login::Missing) => ("missing", Vec::new()),
    };
    json!({
        "agent": found.agent,
        "tasks": tasks,
        "ready": found.problems.is_empty(),
        "program": found.program.as_ref().map(|program| program.to_string_lossy()),
        "version": found.version,
        "require": adapter.require,
        "login": { "kind": kind, "by": by },
        "problems": found.problems,
    })
}
