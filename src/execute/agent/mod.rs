//! Agents: the run of a program that works on a task by itself, what is done after it, and what is kept meanwhile.
//!
//! | file | |
//! | --- | --- |
//! | `work` | one run: prompt, environment, limits, what the output says |
//! | `session` | the work on one task over all runs, kept while it is not done |
//! | `policy` | what follows from how a run ended |
//! | `program` | where it is, its version, its login |
//! | `home` | the program's HOME and the user's login |
//! | `ledger` | what all agents of a build have spent |
//! | `transcript` | what was told and printed |
//!
//! What adapters mean is the room `agent`'s to know; this one starts programs and touches files. It accepts nothing:
//! a result goes the way of every other, through collection and checks.

mod home;
mod ledger;
mod policy;
mod program;
mod session;
mod transcript;
mod work;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

pub use ledger::Ledger;
pub use program::{Examined, Login, examine};
pub(super) use session::Session;
pub use session::{Unfinished, unfinished};
pub(super) use work::work;

use super::RunContext;
use super::isolated_dir::IsolatedDir;
use super::perform::{Disposition, Refusal};
use super::secrets::Finder;
use crate::agent::{self, Brief, Evidence, NeededOutput};
use crate::incremental::{Assignment, Change};
use crate::model::{
    Adapter, AgentEnd, AgentResult, Event, Instructions, Piece, Task, TaskId, Work, WorkspacePath,
};
use crate::workspace::Observed;
use policy::{Next, Progress, next};
use transcript::Transcript;

/// From these agents' programs take settings, whichever a task uses: the next task may use another one.
const ALWAYS: [&str; 12] = [
    ".claude",
    ".mcp.json",
    ".codex",
    ".gemini",
    ".qwen",
    ".opencode",
    "opencode.json",
    ".github",
    ".pi",
    ".copilot",
    ".aider.conf.yml",
    ".gitmodules",
];

/// The agents of one build: their adapters, and what they have in common.
#[derive(Default)]
pub struct Agents {
    adapters: BTreeMap<String, Adapter>,
    /// What they spend.
    pub ledger: Ledger,
    /// What the programs say of themselves, asked once.
    versions: Mutex<BTreeMap<String, Option<String>>>,
}

impl Agents {
    /// Those of a manifest.
    pub fn new(adapters: &[Adapter], ledger: Ledger) -> Self {
        let named = adapters.iter().map(|adapter| (adapter.name.clone(), adapter.clone()));
        Self { adapters: named.collect(), ledger, versions: Mutex::default() }
    }

    /// The adapter of that name.
    pub fn adapter(&self, name: &str) -> Option<&Adapter> {
        self.adapters.get(name)
    }

    /// The part of `path` that makes it one from which an agent's program takes settings.
    pub(super) fn protected<'p>(&self, path: &'p WorkspacePath) -> Option<&'p [u8]> {
        let protect: Vec<&str> =
            self.adapters.values().flat_map(|adapter| &adapter.protect).map(String::as_str).collect();
        path.components().find(|part| ALWAYS.iter().chain(&protect).any(|name| name.as_bytes() == *part))
    }

    fn version(&self, adapter: &Adapter, ask: impl FnOnce() -> Option<String>) -> Option<String> {
        let mut versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        versions.entry(adapter.name.clone()).or_insert_with(ask).clone()
    }
}

/// What a record keeps of the agent whose result is about to be accepted.
pub(super) fn result(
    context: &RunContext,
    assignment: &Assignment,
    session: &Session,
) -> Option<Box<AgentResult>> {
    let Work::Agent(work) = &assignment.task.work else { return None };
    Some(Box::new(session.result(context, work.model.clone())))
}

/// What the next run of a task's agent will be told, by a build that begins now. `folder` is `.conductor`.
pub fn next_prompt(folder: &Path, root: &Path, assignment: &Assignment) -> String {
    prompt(root, assignment, Session::kept(folder, assignment).as_ref())
}

/// What the next run of the agent's program is told.
fn prompt(root: &Path, assignment: &Assignment, session: Option<&Session>) -> String {
    let Work::Agent(work) = &assignment.task.work else { return String::new() };
    let inputs: Vec<WorkspacePath> = read(assignment);
    let needs = needed(assignment);
    let instructions = instructions(root, assignment, &work.instructions);
    let brief = Brief { task: &assignment.task, instructions: &instructions, inputs: &inputs, needs: &needs };
    let Some(session) = session.filter(|session| !session.runs.is_empty()) else {
        return agent::prompt(&brief);
    };
    match (&session.id, &session.evidence) {
        (Some(_), Some(evidence)) => agent::feedback(evidence),
        (Some(_), None) => agent::go_on(),
        (None, evidence) => {
            agent::fresh_start(&brief, evidence.as_ref().unwrap_or(&Evidence::default()), &session.diff)
        }
    }
}

/// The files that the task reads and that no task makes.
fn read(assignment: &Assignment) -> Vec<WorkspacePath> {
    let inputs = assignment.action.inputs.iter().filter(|input| input.from.is_none() && input.entry.exists());
    inputs.map(|input| input.path.clone()).collect()
}

/// What other tasks have made for it.
fn needed(assignment: &Assignment) -> Vec<NeededOutput> {
    let made = assignment.action.inputs.iter().filter(|input| input.entry.exists());
    let made = made.filter_map(|input| Some((&input.path, input.from.as_ref()?)));
    let needed = assignment.action.needs.iter().map(|need| (&need.path, &need.from));
    let all = made.chain(needed).map(|(path, task)| (path.clone(), task.clone()));
    let all: BTreeMap<WorkspacePath, TaskId> = all.collect();
    all.into_iter().map(|(path, task)| NeededOutput { path, task, title: None }).collect()
}

/// The text of the instructions. A file is read as the key names it, which the guard has just looked at.
fn instructions(root: &Path, assignment: &Assignment, instructions: &Instructions) -> String {
    match instructions {
        Instructions::File(path) => {
            String::from_utf8_lossy(&std::fs::read(path.under(root)).unwrap_or_default()).into_owned()
        }
        Instructions::Text(template) => {
            let paths = |paths: Vec<String>| paths.join(" ");
            let inputs = || assignment.action.inputs.iter().map(|input| input.path.to_string()).collect();
            let outputs = || assignment.task.outputs.iter().map(|output| output.path.to_string()).collect();
            let value = |name: &str| {
                let mut found = assignment.action.env.iter().filter(|(other, _)| other == name);
                found.next().and_then(|(_, value)| value.clone()).unwrap_or_default()
            };
            template
                .0
                .iter()
                .map(|piece| match piece {
                    Piece::Text(text) => text.clone(),
                    Piece::Env(name) => value(name),
                    Piece::Inputs => paths(inputs()),
                    Piece::Outputs => paths(outputs()),
                })
                .collect()
        }
    }
}

/// What is wrong with an agent's result, beside what may be wrong with every task's.
pub(super) fn look(
    context: &RunContext,
    assignment: &Assignment,
    outputs: &[(WorkspacePath, Observed)],
    edited: &[Change],
) -> Result<(), String> {
    protect(context, assignment, outputs, edited)?;
    some_change(&assignment.task, outputs, edited)
}

/// Files from which agents' programs take settings, hooks or servers to start are changed only by a task that names
/// them: what one agent plants there, the next one would run.
fn protect(
    context: &RunContext,
    assignment: &Assignment,
    outputs: &[(WorkspacePath, Observed)],
    edited: &[Change],
) -> Result<(), String> {
    let task = &assignment.task;
    let changed = edited.iter().filter(|change| change.after != change.before).map(|change| &change.path);
    for path in outputs.iter().map(|(path, _)| path).chain(changed) {
        let Some(part) = context.agents.protected(path) else { continue };
        let named = task.outputs.iter().any(|output| output.path.components().any(|other| other == part))
            || task.edits.iter().any(|pattern| pattern.glob.split('/').any(|other| other.as_bytes() == part));
        if !named {
            let part = String::from_utf8_lossy(part);
            return Err(format!(
                "it changed {path}, from which agents take settings; a task that is to do so names `{part}` in its `outputs` or `edits`"
            ));
        }
    }
    Ok(())
}

/// An agent that changed nothing at all, and whose result nothing checks, did not do what it was asked.
fn some_change(task: &Task, outputs: &[(WorkspacePath, Observed)], edited: &[Change]) -> Result<(), String> {
    let touched = !outputs.is_empty() || edited.iter().any(|change| change.after != change.before);
    if touched || !task.validate.is_empty() {
        return Ok(());
    }
    Err("it changed nothing, and there is no check that would accept that".to_owned())
}

/// What is done after a run that led to no result: the session is kept for another one, or it is at its end.
pub(super) fn conclude(
    context: &RunContext,
    assignment: &Assignment,
    mut session: Session,
    isolated: Option<IsolatedDir>,
    mut refusal: Refusal,
    attempt: u32,
) -> Refusal {
    let task = &assignment.task;
    let end = final_end(&mut session, isolated.as_ref(), &mut refusal);
    announce(context, assignment, &mut session, end, &refusal, attempt);
    let evidence = evidence(&refusal, end);
    let signature = agent::signature(&evidence);
    let progress = Progress {
        attempt,
        attempts: task.retries.map_or(0, |retries| retries.max) + 1,
        can_resume: session.id.is_some(),
        same_again: session.signature == Some(signature),
    };
    let next = end.map_or(Next::GiveUp, |end| next(end, progress));
    session.signature = Some(signature);
    refusal.retryable = matches!(next, Next::Resume | Next::Afresh);
    match next {
        Next::Resume | Next::Afresh => {
            if next == Next::Afresh {
                session.forget_session();
            }
            session.evidence = Some(evidence);
            suspend(context, assignment, session, isolated, "its agent goes on in it");
        }
        Next::Wait => {
            let wait = session.retry_after;
            refusal.course = Disposition::Wait { adapter: session.adapter().to_owned(), wait };
            suspend(context, assignment, session, isolated, "its agent waits for its provider");
        }
        Next::Pause => {
            if !refusal.cancelled {
                refusal.course = Disposition::Pause;
            }
            suspend(context, assignment, session, isolated, "its agent was stopped and can go on");
        }
        Next::StopAdapter => {
            refusal.course = Disposition::Stop { adapter: session.adapter().to_owned() };
            let help = context.agents.adapter(session.adapter()).and_then(|adapter| adapter.help.clone());
            if let Some(help) = help.filter(|help| !refusal.message.contains(help.as_str())) {
                refusal.message = format!("{}\n{help}", refusal.message);
            }
            give_up(context, assignment, session, isolated, &mut refusal);
        }
        Next::GiveUp => give_up(context, assignment, session, isolated, &mut refusal),
    }
    refusal
}

/// How the last run ended, now that its result was looked at. None where no run was made.
fn final_end(
    session: &mut Session,
    isolated: Option<&IsolatedDir>,
    refusal: &mut Refusal,
) -> Option<AgentEnd> {
    let end = session.ended.take()?;
    if end != AgentEnd::Ok {
        return Some(end);
    }
    if refusal.cancelled {
        return Some(AgentEnd::Cancelled);
    }
    let untouched =
        isolated.is_some_and(|isolated| isolated.listing().is_ok_and(|now| now == isolated.before));
    if untouched {
        refusal.message = format!("its agent came to the end and changed nothing\n{}", refusal.message);
        return Some(AgentEnd::NoChange);
    }
    Some(AgentEnd::Invalid)
}

/// Tells of a run of the program, with how it ended in the end.
pub(super) fn announce(
    context: &RunContext,
    assignment: &Assignment,
    session: &mut Session,
    end: Option<AgentEnd>,
    refusal: &Refusal,
    attempt: u32,
) {
    let Some(end) = end else { return };
    if session.told == session.runs.len() {
        return;
    }
    if let Some(run) = session.runs.last()
        && run.end != end
    {
        Transcript::refused(&session.transcript(), &refusal.message);
    }
    if let Some(run) = session.runs.last_mut() {
        run.end = end;
        run.complaint = Some(refusal.message.clone());
    }
    tell(context, assignment, session, attempt);
}

/// The same of a run whose result was accepted.
pub(super) fn tell(context: &RunContext, assignment: &Assignment, session: &mut Session, attempt: u32) {
    session.told = session.runs.len();
    if let Some(run) = session.runs.last() {
        let task = assignment.task.id.clone();
        (context.events)(Event::AgentFinished { task, attempt, run: run.clone() });
    }
}

/// What the next run is to know of this one.
fn evidence(refusal: &Refusal, end: Option<AgentEnd>) -> Evidence {
    let mut evidence = refusal.evidence.clone();
    if evidence == Evidence::default() {
        evidence.message = Some(refusal.message.clone());
    }
    evidence.unchanged = end == Some(AgentEnd::NoChange);
    evidence.end = end.filter(|end| !matches!(end, AgentEnd::Invalid | AgentEnd::NoChange));
    evidence
}

/// Keeps everything for another run. A folder in which a secret lies is not kept, nor is such a session.
fn suspend(
    context: &RunContext,
    assignment: &Assignment,
    mut session: Session,
    isolated: Option<IsolatedDir>,
    why: &str,
) {
    let finder = Finder::new(&context.secrets(&assignment.task));
    let holds = |folder: &Path| finder.as_ref().is_some_and(|finder| finder.finds_below(folder));
    if holds(&session.home()) {
        session.forget_session();
        let _ = super::isolated_dir::remove_all(&session.home());
    }
    if let Some(isolated) = isolated {
        if holds(isolated.exec_root.root()) {
            isolated.remove();
            session.lose_folder();
        } else {
            session.diff = changed_paths(&isolated);
            session.suspended = Some(isolated.suspend(why));
        }
    }
    session.keep();
}

/// What the agent has changed so far, for one that begins without knowing it.
fn changed_paths(isolated: &IsolatedDir) -> String {
    let Ok(now) = isolated.listing() else { return String::new() };
    let changed =
        now.iter().filter(|(path, seen)| !seen.is_folder() && isolated.before.get(*path) != Some(seen));
    let gone = isolated.before.iter().filter(|(path, seen)| !seen.is_folder() && !now.contains_key(*path));
    let line = |verb: &str, path: &WorkspacePath| format!("{verb} {path}\n");
    let verb = |path: &WorkspacePath| if isolated.before.contains_key(path) { "changed" } else { "made" };
    let own = |path: &WorkspacePath| !isolated.prepared.contains(path) && !isolated.copied.contains(path);
    changed
        .filter(|(path, _)| own(path))
        .map(|(path, _)| line(verb(path), path))
        .chain(gone.map(|(path, _)| line("removed", path)))
        .collect()
}

/// The work is at its end without a result: what a person may want to see stays.
fn give_up(
    context: &RunContext,
    assignment: &Assignment,
    session: Session,
    isolated: Option<IsolatedDir>,
    refusal: &mut Refusal,
) {
    let task = &assignment.task;
    let never_ran = session.runs.is_empty();
    session.close(Some(&context.run_dir.log(&task.id).with_extension("transcript")));
    let Some(isolated) = isolated else { return };
    // What was written in sight of a secret is kept only where it holds none.
    let finder = Finder::new(&context.secrets(task));
    let holds_one = finder.is_some_and(|finder| finder.finds_below(isolated.exec_root.root()));
    if never_ran || refusal.cancelled || holds_one {
        isolated.remove();
        return;
    }
    isolated.leave_for_a_person(context, assignment, refusal);
}
