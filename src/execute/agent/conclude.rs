//! The end of an agent's run: what a record keeps of it, whether its session goes on, and what becomes of its folder.

use std::path::Path;

use super::policy::{Next, Progress, next};
use super::session::Session;
use super::transcript::Transcript;
use crate::agent::{self, Evidence};
use crate::execute::exec_root::{IsolatedDir, remove_all};
use crate::execute::outcome::{Disposition, Refusal};
use crate::execute::run_context::RunContext;
use crate::execute::secrets::Finder;
use crate::incremental::Assignment;
use crate::model::{AgentEnd, AgentResult, Event, Work, WorkspacePath};

/// What a record keeps of the agent whose result is about to be accepted.
pub(in crate::execute) fn result(
    context: &RunContext,
    assignment: &Assignment,
    session: &Session,
) -> Option<Box<AgentResult>> {
    let Work::Agent(work) = &assignment.task.work else { return None };
    Some(Box::new(session.result(context, work.model.clone())))
}

/// What is done after a run that led to no result: the session is kept for another one, or it is at its end.
pub(in crate::execute) fn conclude(
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
            refusal.disposition = Disposition::Wait { adapter: session.adapter().to_owned(), wait };
            suspend(context, assignment, session, isolated, "its agent waits for its provider");
        }
        Next::Pause => {
            if !refusal.cancelled {
                refusal.disposition = Disposition::Pause;
            }
            suspend(context, assignment, session, isolated, "its agent was stopped and can go on");
        }
        Next::StopAdapter => {
            refusal.disposition = Disposition::Stop { adapter: session.adapter().to_owned() };
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
pub(in crate::execute) fn announce(
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
pub(in crate::execute) fn tell(
    context: &RunContext,
    assignment: &Assignment,
    session: &mut Session,
    attempt: u32,
) {
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
pub(in crate::execute) fn suspend(
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
        let _ = remove_all(&session.home());
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
