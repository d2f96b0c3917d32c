//! `approve`, `reject`, `resolve` and `rollback`: what a person decides about results, between builds.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::sync::Arc;

use serde_json::{Value, json};

use super::build::{hold, now};
use super::caching;
use super::options::{ApproveArgs, Global, RejectArgs, ResolveArgs, RollbackArgs};
use super::session::Session;
use super::{Exit, Output, Stop};
use crate::execute::{RunContext, recover};
use crate::graph::TaskIndex;
use crate::incremental::{Caller, Engine, Options};
use crate::model::{Approval, Diagnostic, RunId, WorkspacePath};
use crate::process::Processes;
use crate::report::count;
use crate::schedule::{Desk, Refused, Settled, Side, Step};
use crate::store::{self, Access, Attempts, Journal, Lock, Programs, RunDir, State};
use crate::workspace::Witness;

/// A desk in a workspace that nobody else changes meanwhile.
struct Held {
    desk: Desk,
    session: Session,
    /// Everything that a crash left behind has been put back.
    notices: Vec<Diagnostic>,
    _lock: Option<Lock>,
}

/// Under [`Access::ReadOnly`] nothing is written, and nobody is kept waiting.
fn open(global: &Global, caller: Caller, command: &str, access: Access) -> Result<Held, Stop> {
    let session = Session::open(global, caller)?;
    let run = store::new_run_id();
    let (mut notices, mut lock) = (Vec::new(), None);
    if access == Access::Write {
        notices = store::prepare(&session.folder)?;
        lock = Some(hold(&session, command, &mut |_| ControlFlow::Break(()))?);
    }
    let (journal, intents) = Journal::open(&session.folder, access);
    let (state, said) = State::open(&session.folder, access);
    notices.extend(said);
    if access == Access::Write {
        notices.extend(recover(&session.workspace, &session.folder, &state, &intents));
        journal.clear();
    }
    let options = Options {
        caller: session.caller.clone(),
        tools: Some(session.tool_runner()),
        programs: Programs::load(&session.folder),
        forced: BTreeSet::new(),
        isolation: None,
        folder: session.folder.clone(),
    };
    let mut engine = Engine::new(Arc::clone(&session.plan), session.workspace.clone(), state, options);
    let everything: Vec<TaskIndex> = session.plan.order().collect();
    engine.observe(&everything);
    let run_dir = RunDir::of(&session.folder, &run);
    let repository = crate::execute::repository(session.workspace.root(), &session.folder);
    let found = caching::find(&session, repository.as_ref());
    notices.extend(found.notices);
    let context = RunContext {
        began: crate::workspace::stamp_now(),
        tree: session.workspace.clone(),
        witness: Witness::new(&session.workspace),
        makes_in: super::build::makes_in(&session),
        folder: session.folder.clone(),
        processes: Processes::new(),
        journal,
        objects: store::Objects::of(&session.folder),
        attempts: Attempts::of(&run_dir),
        flakes: store::Flakes::of(&session.folder),
        run_dir,
        run,
        caller: session.caller.clone(),
        agents: session.agents(None),
        maker: caching::maker(&session.caller, repository.as_ref()),
        repository,
        cache: found.cache,
        events: Box::new(|_| {}),
    };
    Ok(Held { desk: Desk::new(engine, Arc::new(context)), session, notices, _lock: lock })
}

impl Held {
    fn stop(&self, refused: Refused) -> Stop {
        let exit = match &refused {
            Refused::Usage(_) => Exit::Usage,
            Refused::Stale(_) => Exit::Stale,
            Refused::Integrity(_) => Exit::Integrity,
            Refused::Failed(_) => Exit::Failed,
        };
        self.session.stop(exit, vec![refused.diagnostic()])
    }

    /// Several reasons at once: the gravest gives the exit code.
    fn stop_all(&self, refused: Vec<Refused>) -> Stop {
        let stops: Vec<Stop> = refused.into_iter().map(|one| self.stop(one)).collect();
        let exit = stops.iter().fold(Exit::Success, |exit, stop| exit.or(stop.exit));
        self.session.stop(exit, stops.into_iter().flat_map(|stop| stop.diagnostics).collect())
    }

    /// The lock says what was decided too, where there is one. That it could not be written is told; the decision holds.
    fn keep_lock(&mut self, output: &Output) {
        if let Err(stop) = super::lock::after_decision(&self.session, self.desk.engine_mut()) {
            output.warn(&stop.diagnostics, &stop.sources);
        }
    }

    /// Says what was decided and what became of the tree.
    fn tell(&self, output: &Output, what: &str, task: Option<&str>, settled: &Settled, text: &str) {
        let notices: Vec<Diagnostic> = self.notices.iter().chain(&settled.notices).cloned().collect();
        if output.json {
            output.say_json(&json!({
                "version": 1,
                "run": self.desk.run(),
                "decision": what,
                "task": task,
                "changed": settled.changed,
                "notices": notices.iter().map(|notice| json!({
                    "code": notice.code, "message": notice.message, "help": notice.help
                })).collect::<Vec<_>>(),
            }));
            return;
        }
        output.warn(&notices, self.session.sources());
        let mut said = text.to_owned();
        for path in &settled.changed {
            let _ = writeln!(said, "  {path}");
        }
        output.say(&said);
    }
}

pub(super) fn approve(
    global: &Global,
    args: &ApproveArgs,
    caller: Caller,
    output: &Output,
) -> Result<Exit, Stop> {
    let mut held = open(global, caller, "approve", Access::Write)?;
    let index = held.session.one(&args.task)?;
    let approval = Approval { at: now(), note: args.note.clone() };
    let settled = held.desk.approve(index, approval).map_err(|refused| held.stop(refused))?;
    let id = held.session.plan.id(index).to_owned();
    let text = format!("approved {id}; its result is in place\n");
    held.keep_lock(output);
    held.tell(output, "approved", Some(&id), &settled, &text);
    Ok(Exit::Success)
}

pub(super) fn reject(
    global: &Global,
    args: &RejectArgs,
    caller: Caller,
    output: &Output,
) -> Result<Exit, Stop> {
    let mut held = open(global, caller, "reject", Access::Write)?;
    let index = held.session.one(&args.task)?;
    let settled = held.desk.reject(index, args.note.as_deref()).map_err(|refused| held.stop(refused))?;
    let id = held.session.plan.id(index).to_owned();
    let text = format!("rejected {id}; `conductor build {id}` makes it anew\n");
    held.tell(output, "rejected", Some(&id), &settled, &text);
    Ok(Exit::Success)
}

pub(super) fn resolve(
    global: &Global,
    args: &ResolveArgs,
    caller: Caller,
    output: &Output,
) -> Result<Exit, Stop> {
    let mut held = open(global, caller, "resolve", Access::Write)?;
    let path = path_of(&held.session, &args.path)?;
    let side = match (args.mine, args.theirs, args.replay) {
        (true, ..) => Side::Mine,
        (_, true, _) => Side::Theirs,
        _ => Side::Replay,
    };
    let settled = held.desk.resolve(&path, side).map_err(|refused| held.stop(refused))?;
    let text = match side {
        Side::Mine => format!("{path}: your version is the result now\n"),
        Side::Theirs => format!("{path}: conductor's version is in place\n"),
        Side::Replay => format!("{path}: your version is the new base; next: conductor build\n"),
    };
    held.keep_lock(output);
    held.tell(output, "resolved", None, &settled, &text);
    Ok(Exit::Success)
}

/// A path as a person writes it: from where they stand.
fn path_of(session: &Session, written: &str) -> Result<WorkspacePath, Stop> {
    let here = session.here.under(session.workspace.root());
    let full = here.join(written);
    let inside = full.strip_prefix(session.workspace.root()).ok().map(|path| {
        use std::os::unix::ffi::OsStrExt as _;
        path.as_os_str().as_bytes().to_vec()
    });
    let path = inside.and_then(|path| WorkspacePath::new(path).ok());
    path.ok_or_else(|| {
        let message = format!("{written} is no path inside the workspace");
        Stop::plain(Exit::Usage, Diagnostic::error("cli::path", message))
    })
}

pub(super) fn rollback(
    global: &Global,
    args: &RollbackArgs,
    caller: Caller,
    output: &Output,
) -> Result<Exit, Stop> {
    let access = if args.dry_run { Access::ReadOnly } else { Access::Write };
    let mut held = open(global, caller, "rollback", access)?;
    let tasks: BTreeSet<TaskIndex> = match (&args.run, &args.target) {
        (Some(run), _) => held.desk.made_by(&RunId(run.clone())),
        (None, Some(target)) => held.session.scope(std::slice::from_ref(target))?.0,
        (None, None) => BTreeSet::new(),
    };
    let tasks: BTreeSet<TaskIndex> =
        tasks.into_iter().filter(|index| !held.session.plan.is_gate(*index)).collect();
    if tasks.is_empty() {
        let what = args.run.as_deref().map_or("nothing is named".to_owned(), |run| {
            format!("no task's standing result was made by run {run}")
        });
        let diagnostic = Diagnostic::error("rollback::nothing", what).help("`conductor runs` lists the runs");
        return Err(Stop::plain(Exit::Usage, diagnostic));
    }
    let steps = held.desk.plan_rollback(&tasks).map_err(|refused| held.stop_all(refused))?;
    let mut done = 0;
    let mut stopped = None;
    for step in steps.iter().filter(|_| !args.dry_run) {
        match held.desk.roll_back(step) {
            Ok(settled) => {
                held.notices.extend(settled.notices);
                done += 1;
            }
            Err(refused) => {
                stopped = Some(held.stop(refused));
                break;
            }
        }
    }
    if done > 0 {
        held.keep_lock(output);
    }
    let taken = if args.dry_run { &steps[..] } else { &steps[..done] };
    tell_rollback(&held, args.dry_run, taken, output, stopped.is_some());
    stopped.map_or(Ok(Exit::Success), Err)
}

fn tell_rollback(held: &Held, dry_run: bool, steps: &[Step], output: &Output, stopped: bool) {
    if output.json {
        // After an error the document is the error's.
        if !stopped {
            let steps: Vec<Value> = steps.iter().map(step_json).collect();
            output
                .say_json(&json!({"version": 1, "dry_run": dry_run, "run": held.desk.run(), "steps": steps}));
        }
        return;
    }
    output.warn(&held.notices, held.session.sources());
    let mut text = String::new();
    let verb = if dry_run { "would roll back" } else { "rolled back" };
    for step in steps {
        let _ = writeln!(text, "{verb} {} (run {})", step.task, step.run);
        if let Some(command) = &step.command {
            let _ = writeln!(text, "  {} {command}", if dry_run { "would run" } else { "ran" });
        }
        for (path, _, to) in &step.paths {
            let word = if to.exists() { "put back" } else { "removed" };
            let _ = writeln!(text, "  {word} {path}");
        }
        if let Some((_, to)) = &step.branch {
            let to = to.as_ref().map_or("gone".to_owned(), |to| format!("at {}", &to[..to.len().min(10)]));
            let _ = writeln!(text, "  its branch is {to}");
        }
    }
    let _ = writeln!(text, "{verb} {}", count(steps.len(), "task"));
    output.say(&text);
}

fn step_json(step: &Step) -> Value {
    let paths: Vec<Value> = step
        .paths
        .iter()
        .map(
            |(path, _, to)| json!({"path": path, "action": if to.exists() { "restored" } else { "removed" }}),
        )
        .collect();
    json!({
        "task": step.task, "run": step.run, "paths": paths, "command": step.command,
        "branch": step.branch.as_ref().map(|(from, to)| json!({"from": from, "to": to})),
    })
}
