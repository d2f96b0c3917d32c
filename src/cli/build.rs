//! `conductor build`: brings targets up to date.

use std::collections::BTreeSet;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use super::cache::limits;
use super::interruption::Interruption;
use super::options::{BuildArgs, Global, IsolationMode, Progress};
use super::session::{Session, warn};
use super::shards;
use super::{Exit, Output, Stop};
use super::{caching, check, verify};
use crate::execute::{RunContext, recover};
use crate::graph::TaskIndex;
use crate::incremental::{Caller, Engine, Options, Standing, Trust};
use crate::manifest::unknown_cost;
use crate::model::{
    Diagnostic, EVENTS_VERSION, Event, Isolation, RunId, RunOutcome, RunResult, Stamped, Status, TaskResult,
    Work,
};
use crate::process::{Processes, Signals};
use crate::report::plain::{Plain, Verbosity};
use crate::report::{Fanout, Reader as _, Titles, count, events, json, live, trace};
use crate::schedule::{self, Build, Message, Sink};
use crate::store::{self, Access, Attempts, Holder, Journal, Lock, LockError, Programs, RunDir, State};
use crate::workspace::Witness;

/// Runs are kept for so long, or so many of them, whichever is more.
pub(super) const KEEP: (usize, Duration) = (100, Duration::from_secs(30 * 24 * 60 * 60));

/// The tasks that were asked for, and all that they depend on, in dependency order.
type Goal = (BTreeSet<TaskIndex>, Vec<TaskIndex>);

/// Messages that may wait for the coordinator before a worker does.
const BACKLOG: usize = 512;

pub(super) fn run(global: &Global, args: &BuildArgs, caller: Caller, output: &Output) -> Result<Exit, Stop> {
    let session = Session::open(global, caller)?;
    warn(&session, output);
    let (roots, scope) = goal_of(&session, args, output)?;
    refuse_unknown_costs(&session, args, &scope)?;
    if args.dry_run || args.frozen {
        return look_only(&session, args, &roots, &scope, output);
    }
    if inside_a_task(&session) {
        let diagnostic =
            Diagnostic::error("build::nested", "this is a task of a build that holds this very workspace");
        return Err(Stop::plain(
            Exit::Usage,
            diagnostic.help("a task must not build the workspace that runs it"),
        ));
    }
    locked(global, args, session, (roots, scope), output)
}

/// `--budget usd=…` holds only where every agent's cost is told, as a manifest's own limits do.
fn refuse_unknown_costs(session: &Session, args: &BuildArgs, scope: &[TaskIndex]) -> Result<(), Stop> {
    if args.budget.as_ref().is_none_or(|budget| budget.usd.is_none()) {
        return Ok(());
    }
    let adapters = &session.plan.settings().agents;
    let agents = scope.iter().filter(|index| session.plan.is_agent(**index));
    let untold = agents.filter_map(|index| session.plan.task(*index).ok()).filter_map(|task| {
        let Work::Agent(agent) = &task.work else { return None };
        let adapter = adapters.iter().find(|adapter| adapter.name == agent.adapter)?;
        (!adapter.tells_cost()).then(|| unknown_cost(adapter, task.work_at))
    });
    let errors: Vec<Diagnostic> = untold.collect();
    if errors.is_empty() { Ok(()) } else { Err(session.stop(Exit::Usage, errors)) }
}

/// What the targets name, or the part of it that `--shard` gives to this machine.
fn goal_of(session: &Session, args: &BuildArgs, output: &Output) -> Result<Goal, Stop> {
    let (roots, scope) = session.scope(&args.targets)?;
    let Some(shard) = args.shard else { return Ok((roots, scope)) };
    let own = shards::own(session, &roots, shard, args.history.as_deref())?;
    output.hint(&format!(
        "shard {}/{}: {} of {}\n",
        shard.number,
        shard.of,
        own.len(),
        count(roots.len(), "task")
    ));
    let scope = crate::graph::closure(&session.plan, &own);
    Ok((own, scope))
}

/// A task that builds its own workspace would wait for itself.
fn inside_a_task(session: &Session) -> bool {
    let run = session.caller.text(crate::process::RUN_VARIABLE);
    run.is_some() && Lock::holder(&session.folder).map(|holder| holder.run.0) == run
}

/// `--dry-run` and `--frozen`: what would run, without running or writing anything.
fn look_only(
    session: &Session,
    args: &BuildArgs,
    roots: &BTreeSet<TaskIndex>,
    scope: &[TaskIndex],
    output: &Output,
) -> Result<Exit, Stop> {
    let mut engine = session.engine_to_read();
    engine.read_lock(Trust::Seen);
    if args.force {
        engine.force(roots.clone());
    }
    engine.observe(scope);
    session.refuse_unordered(&mut engine)?;
    session.refuse_unreadable_instructions(&mut engine, scope)?;
    let standings = engine.assess(scope)?;
    let stale = standings.values().any(Standing::is_due);
    let mut restorable = caching::restorable(session, &mut engine, &standings);
    if args.force {
        restorable.clear();
    }
    if output.json {
        let tasks: serde_json::Map<String, serde_json::Value> = standings
            .iter()
            .map(|(index, standing)| {
                let mut state = check::state_json(session, standing);
                if restorable.contains(index) {
                    state["in_cache"] = serde_json::json!(true);
                }
                (session.plan.id(*index).to_owned(), state)
            })
            .collect();
        output.say_json(
            &serde_json::json!({"version": 1, "dry_run": args.dry_run, "fresh": !stale, "tasks": tasks}),
        );
    } else {
        output.say(&check::render(session, &standings, output.style()));
        if !restorable.is_empty() {
            let ids: Vec<&str> = restorable.iter().take(8).map(|index| session.plan.id(*index)).collect();
            let more = restorable.len() - ids.len();
            let more = if more == 0 { String::new() } else { format!(" (+{more})") };
            output.say(&format!("from the cache: {}{more}\n", ids.join(" ")));
        }
    }
    if args.frozen && stale {
        let first = standings.iter().find(|(_, standing)| matches!(standing, Standing::Stale { .. }));
        let id = first.map_or("", |(index, _)| session.plan.id(*index));
        output.hint(&format!("--frozen: {id} is stale and nothing may run\n"));
        return Ok(Exit::Stale);
    }
    Ok(Exit::Success)
}

/// Takes the workspace for this process.
pub(super) fn hold(
    session: &Session,
    command: &str,
    wait: &mut dyn FnMut(&Holder) -> ControlFlow<()>,
) -> Result<Lock, Stop> {
    take(session, &holder(&store::new_run_id(), command), wait)
}

fn holder(run: &RunId, command: &str) -> Holder {
    Holder { pid: std::process::id(), run: run.clone(), command: command.to_owned(), since: now() }
}

/// Wall-clock time, RFC 3339.
pub(super) fn now() -> String {
    store::local_now().strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
}

fn take(
    session: &Session,
    holder: &Holder,
    wait: &mut dyn FnMut(&Holder) -> ControlFlow<()>,
) -> Result<Lock, Stop> {
    Lock::acquire(&session.folder, holder, wait).map_err(|error| match error {
        LockError::Held(other) => {
            let message = format!("{} holds this workspace{}", who(&other), since(&other));
            Stop::plain(
                Exit::Failed,
                Diagnostic::error("build::held", message).help("wait for it, or `conductor cancel`"),
            )
        }
        LockError::Io(error) => Stop::from(error),
    })
}

/// A holder that took the lock this very moment has not said who it is.
fn who(holder: &Holder) -> String {
    match holder.pid {
        0 => "another conductor".to_owned(),
        pid => format!("run {} (process {pid})", holder.run),
    }
}

fn since(holder: &Holder) -> String {
    if holder.since.is_empty() { String::new() } else { format!(" since {}", holder.since) }
}

fn locked(
    global: &Global,
    args: &BuildArgs,
    mut session: Session,
    mut goal: Goal,
    output: &Output,
) -> Result<Exit, Stop> {
    let notices = store::prepare(&session.folder)?;
    let run = store::new_run_id();
    let interrupted = Arc::new(Interruption::default());
    let heard = Arc::clone(&interrupted);
    let _signals = Signals::install(move |signal, count| heard.take(signal, count))?;
    let mut told = false;
    let lock = take(&session, &holder(&run, "build"), &mut |other| {
        if args.no_wait || interrupted.is_set() {
            return ControlFlow::Break(());
        }
        if !std::mem::replace(&mut told, true) {
            output.hint(&format!("{} holds this workspace; waiting\n", who(other)));
        }
        ControlFlow::Continue(())
    });
    if let Some(signal) = interrupted.signal() {
        return Ok(Exit::Signal(signal));
    }
    let lock = lock?;
    // What the build that we waited for was built from may be another manifest by now.
    if told {
        session = Session::open(global, session.caller)?;
        goal = goal_of(&session, args, output)?;
    }
    session.save_plan();
    let opening = Opening { run, interrupted, notices };
    let exit = build(args, &session, goal, opening, output);
    drop(lock);
    exit
}

/// What a build begins with, once it holds the workspace.
struct Opening {
    run: RunId,
    interrupted: Arc<Interruption>,
    /// What the person should hear of first.
    notices: Vec<Diagnostic>,
}

fn build(
    args: &BuildArgs,
    session: &Session,
    (roots, scope): Goal,
    Opening { run, interrupted, mut notices }: Opening,
    output: &Output,
) -> Result<Exit, Stop> {
    let (start, began) = (Instant::now(), crate::workspace::stamp_now());
    let (journal, intents) = Journal::open(&session.folder, Access::Write);
    let (state, found) = State::open(&session.folder, Access::Write);
    notices.extend(found);
    notices.extend(recover(&session.workspace, &session.folder, &state, &intents));
    journal.clear();
    let forced = if args.force { roots } else { BTreeSet::new() };
    let options = Options {
        caller: session.caller.clone(),
        tools: Some(session.tool_runner()),
        programs: Programs::load(&session.folder),
        forced,
        isolation: args.isolation.map(IsolationMode::isolation),
        folder: session.folder.clone(),
    };
    let mut engine = Engine::new(Arc::clone(&session.plan), session.workspace.clone(), state, options);
    engine.read_lock(Trust::Seen);
    engine.observe(&scope);
    session.refuse_unordered(&mut engine)?;
    engine.narrow(&scope)?;
    // Only what may really have to run needs its secrets and tools, and only its inputs are doubted.
    let mut errors = engine.preflight(&scope);
    errors.extend(engine.unreadable_instructions(&scope));
    errors.extend(session.misplaced(&engine, &scope));
    if !errors.is_empty() {
        return Err(session.stop(Exit::Usage, errors));
    }
    notices.extend(engine.doubts(&scope));
    notices.extend(unenforced(&engine, &scope));
    let asked = asked_for(args, session)?;
    let run_dir = RunDir::create(&session.folder, &run)?;
    let repository = crate::execute::repository(session.workspace.root(), &session.folder);
    let found = caching::find(session, repository.as_ref());
    notices.extend(found.notices);
    let (outbox, inbox) = sync_channel(BACKLOG);
    interrupted.forward(&outbox);
    let events = outbox.clone();
    let context = Arc::new(RunContext {
        began,
        tree: session.workspace.clone(),
        witness: Witness::new(&session.workspace),
        makes_in: makes_in(session),
        folder: session.folder.clone(),
        processes: Processes::new(),
        journal,
        attempts: Attempts::of(&run_dir),
        flakes: store::Flakes::of(&session.folder),
        objects: store::Objects::of(&session.folder),
        run_dir,
        run: run.clone(),
        caller: session.caller.clone(),
        agents: session.agents(args.budget.as_ref()),
        maker: caching::maker(&session.caller, repository.as_ref()),
        repository,
        cache: found.cache,
        events: Box::new(move |event| {
            let _ = events.send(Message::Event(event));
        }),
    });
    let jobs = args.jobs.map_or_else(default_jobs, usize::from);
    let mut audience = Audience { readers: readers(args, session, &context, asked, output)?, start };
    audience.event(started(args, session, &run, jobs, &scope));
    for diagnostic in notices {
        audience.event(Event::Notice { diagnostic });
    }
    audience.flush();
    let options = schedule::Options { jobs, keep_going: args.keep_going, began: start };
    let build =
        Build::new(engine, Arc::clone(&context), scope.clone(), options, (outbox, inbox), &mut audience)?;
    let (result, mut engine) = build.run();
    // What could not be kept is read again the next time.
    let _ = engine.programs_mut().save(&session.folder);
    audience.readers.finish();
    let sample = args.verify.filter(|_| result.outcome == RunOutcome::Success);
    let verified =
        sample.map(|sample| verify::run(&mut engine, &context, &scope, sample, &interrupted, output));
    if output.json {
        tell_json(&result, &engine, &scope, verified.as_ref())?;
    } else if let Some(verified) = &verified {
        output.say(&verify::render(verified, output.style()));
    }
    tidy_up(session, &context, &mut engine);
    let found = verified.as_ref().map_or(Exit::Success, verify::exit);
    let signal = interrupted.signal().filter(|_| verified.is_some_and(|verified| verified.stopped));
    let exit = exit(&result).or(found).or(signal.map_or(Exit::Success, Exit::Signal));
    if let Err(stop) = super::lock::keep_current(session, &engine, &scope, &result, output) {
        // The document of the build is written; this is beside it.
        output.warn(&stop.diagnostics, &stop.sources);
        return Ok(exit.or(stop.exit));
    }
    Ok(exit)
}

/// Who follows the run, from its start on.
struct Audience {
    readers: Fanout,
    start: Instant,
}

impl Sink for Audience {
    fn event(&mut self, event: Event) {
        let t = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.readers.event(&Stamped { v: EVENTS_VERSION, t, event });
    }

    fn flush(&mut self) {
        self.readers.flush();
    }
}

/// Lets go of what nobody needs any more.
fn tidy_up(session: &Session, context: &RunContext, engine: &mut Engine) {
    context.journal.clear();
    // What is on disk must not speak of anything that goes.
    if engine.state_mut().commit().is_ok() {
        context.objects.sweep_if_due(|| engine.state().needed_objects());
    }
    let _ = store::prune(&session.folder, KEEP.0, KEEP.1);
    if let Some(cache) = &context.cache {
        let (max_size, max_age) = limits(session.plan.settings());
        let _ = cache.collect_if_due(max_size, max_age);
    }
}

/// What this machine cannot enforce of the isolation that tasks ask for, where one of them may run.
fn unenforced(engine: &Engine, scope: &[TaskIndex]) -> Option<Diagnostic> {
    let due = scope.iter().filter(|index| engine.is_candidate(**index));
    let tasks = due.filter_map(|index| engine.plan().task(*index).ok());
    let apart: Vec<_> = tasks.filter(|task| engine.isolation_of(task) != Isolation::None).collect();
    let said = if apart.is_empty() {
        Vec::new()
    } else {
        crate::execute::unenforced(apart.iter().any(|task| !task.network))
    };
    (!said.is_empty()).then(|| {
        let message = format!("isolation is not fully enforced here: {}", said.join("; "));
        Diagnostic::warning("build::not_enforced", message)
    })
}

fn default_jobs() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn started(args: &BuildArgs, session: &Session, run: &RunId, jobs: usize, scope: &[TaskIndex]) -> Event {
    Event::RunStarted {
        run: run.clone(),
        conductor: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        started: now(),
        targets: args.targets.clone(),
        jobs,
        scope: scope.iter().filter(|index| !session.plan.is_hidden(**index)).count(),
    }
}

fn create(path: &Path) -> Result<Box<dyn Write + Send>, Stop> {
    let file = std::fs::File::create(path).map_err(|error| {
        let message = format!("cannot write {}: {error}", path.display());
        Stop::plain(Exit::Usage, Diagnostic::error("cli::io", message))
    })?;
    Ok(Box::new(file))
}

/// The readers that write the files which were asked for; made before there is a run, so that none is left behind
/// when they cannot be written.
fn asked_for(args: &BuildArgs, session: &Session) -> Result<Fanout, Stop> {
    let mut readers = Fanout::default();
    if let Some(path) = &args.events {
        readers.0.push(Box::new(events::Lines::new(create(&session.start.join(path))?)));
    }
    if let Some(path) = &args.trace {
        readers.0.push(Box::new(trace::Trace::new(create(&session.start.join(path))?)));
    }
    Ok(readers)
}

/// Who follows the run: its own file, the files that were asked for, and the person.
fn readers(
    args: &BuildArgs,
    session: &Session,
    context: &RunContext,
    asked: Fanout,
    output: &Output,
) -> Result<Fanout, Stop> {
    let mut readers = asked;
    readers.0.insert(0, Box::new(events::Lines::new(create(&context.run_dir.events())?)));
    let plan = Arc::clone(&session.plan);
    let titles = Titles::new(move |task| plan.task(plan.index_of(task.as_str())?).ok()?.title.clone());
    let style = output.style();
    let verbosity = if args.progress == Progress::Quiet { Verbosity::Quiet } else { Verbosity::Normal };
    if output.json {
        // Standard output holds the document and nothing else.
        let quiet = Plain::new(Box::new(std::io::stderr()), output.error_style(), titles, Verbosity::Quiet);
        readers.0.push(Box::new(quiet));
    } else if args.progress == Progress::Auto && output.stdout.is_live() {
        let height = || rustix::termios::tcgetwinsize(std::io::stdout()).ok().map(|size| size.ws_row.into());
        readers.0.push(Box::new(live::Live::new(Box::new(std::io::stdout()), height, style, titles)?));
    } else {
        readers.0.push(Box::new(Plain::new(Box::new(std::io::stdout()), style, titles, verbosity)));
    }
    Ok(readers)
}

/// The contract's document: all tasks in scope, in the manifest's order.
fn tell_json(
    result: &RunResult,
    engine: &Engine,
    scope: &[TaskIndex],
    verified: Option<&schedule::Verified>,
) -> Result<(), Stop> {
    let told: std::collections::HashMap<&str, &TaskResult> =
        result.tasks.iter().map(|(id, result)| (id.as_str(), result)).collect();
    let plan = engine.plan();
    let mut visible: Vec<TaskIndex> = scope.iter().copied().filter(|index| !plan.is_hidden(*index)).collect();
    visible.sort_unstable();
    let tasks = visible.into_iter().map(|index| {
        let id = plan.task_id(index);
        let told = told.get(id.as_str()).map(|result| (*result).clone());
        let result = told.unwrap_or_else(|| schedule::plain(Status::Fresh));
        if result.status == Status::Fresh
            && let Some(record) = engine.state().record(&id)
        {
            let fresh = TaskResult { key: Some(record.key), outputs: record.outputs, ..result };
            return (id, fresh);
        }
        (id, result)
    });
    let verified = verified.map(verify::document);
    json::write_build(&mut std::io::stdout().lock(), result, tasks, verified.as_ref()).map_err(Stop::from)
}

fn exit(result: &RunResult) -> Exit {
    match result.outcome {
        RunOutcome::Success => Exit::Success,
        RunOutcome::Failed if result.contested => Exit::Integrity,
        RunOutcome::Failed => Exit::Failed,
        RunOutcome::Paused => Exit::Paused,
        RunOutcome::Stale => Exit::Stale,
        RunOutcome::Cancelled => Exit::Signal(result.signal.unwrap_or(15)),
    }
}

/// Tells of folders whether tasks of the plan make anything in them.
pub(super) fn makes_in(session: &Session) -> Box<dyn Fn(&crate::model::WorkspacePath) -> bool + Send + Sync> {
    let plan = Arc::clone(&session.plan);
    Box::new(move |folder| plan.makes_in(folder))
}
