//! One run of an agent's program: from what it is told to how it ended.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::home::HomeFolder;
use super::instructions::prompt;
use super::program::{self, Question, hand_through};
use super::session::Session;
use super::transcript::Transcript;
use crate::agent::{self, Heard, Listener, Values};
use crate::execute::RunContext;
use crate::execute::command::tree_size;
use crate::execute::command_result::{CommandResult, Failed, complaint, spawn_refusal, stamp};
use crate::execute::environment::environment;
use crate::execute::exec_root::ExecRoot;
use crate::execute::outcome::Refusal;
use crate::incremental::{Assignment, ToolSeen};
use crate::model::{
    Adapter, AgentEnd, AgentOutput, AgentRun, AgentWork, Budget, Digest, Event, PromptChannel, Task, Usage,
    Work, WorkspacePath,
};
use crate::process::{Confinement, End, Ended, SpawnError, Spec, Stdin};

/// What one run works with.
pub(super) struct Start<'a> {
    pub(super) context: &'a RunContext,
    pub(super) exec_root: &'a ExecRoot,
    pub(super) assignment: &'a Assignment,
    pub(super) agent: &'a AgentWork,
    pub(super) adapter: &'a Adapter,
    pub(super) attempt: u32,
}

/// Runs the program once; anything but its own word that it came to its end is a failure.
pub(in crate::execute) fn work(
    context: &RunContext,
    exec_root: &ExecRoot,
    assignment: &Assignment,
    session: &mut Session,
    attempt: u32,
) -> Result<CommandResult, Box<Failed>> {
    let Work::Agent(agent) = &assignment.task.work else {
        return Err(Failed::before(Refusal::new("it has no agent")));
    };
    let Some(adapter) = context.agents.adapter(&agent.adapter) else {
        return Err(Failed::before(Refusal::new(format!("there is no adapter `{}`", agent.adapter))));
    };
    let start = Start { context, exec_root, assignment, agent, adapter, attempt };
    start.run(session)
}

impl Start<'_> {
    fn task(&self) -> &Task {
        &self.assignment.task
    }

    fn run(&self, session: &mut Session) -> Result<CommandResult, Box<Failed>> {
        let stop = |session: &mut Session, end: AgentEnd, message: String| {
            session.ended = Some(end);
            Err(Failed::before(Refusal::new(message)))
        };
        if let Some((end, why)) = self.reached(session, &Usage::default()) {
            return stop(session, end, why);
        }
        if session.id.is_none() || self.adapter.resume.is_empty() {
            session.forget_session();
        }
        let prompt = prompt(&|path| self.instructions(path), self.assignment, Some(session))
            .map_err(|message| Failed::before(Refusal::new(message)))?;
        let prepared = self.prepare(session, prompt).map_err(|error| {
            Failed::before(Refusal::new(format!("its agent's folders could not be made: {error}")))
        })?;
        let program = match program::find(self.adapter, &prepared.env, self.context.tree.root()) {
            Ok(program) => program,
            Err(message) => return stop(session, AgentEnd::Config, message),
        };
        session.version = self.context.agents.version(self.adapter, || self.ask_version(&program, &prepared));
        if let Some(message) = program::wrong_version(self.adapter, session.version.as_deref()) {
            return stop(session, AgentEnd::Config, message);
        }
        self.start(session, &prepared, &program)
    }

    /// What of a limit is reached, by what was spent on the task and by what all spent.
    fn reached(&self, session: &Session, now: &Usage) -> Option<(AgentEnd, String)> {
        let mut spent = session.spent;
        spent.add(now);
        let own = self.agent.budget.reached(&spent).map(|(end, why)| (end, format!("its budget: {why}")));
        own.or_else(|| self.context.agents.ledger.reached(self.task().group.as_ref()))
    }

    /// The file with the instructions, as the key names it: from where the agent works, or from the tree, where something
    /// that ran before the agent has written its own.
    fn instructions(&self, path: &WorkspacePath) -> Result<String, String> {
        let places = [self.exec_root.read(path), self.context.tree.read(path)];
        let keyed = |content: &Vec<u8>| {
            let digest = Digest::of(content);
            self.assignment.action.inputs.iter().any(|input| input.entry.digest == digest)
                || self.assignment.action.needs.iter().any(|need| need.entry.digest == digest)
        };
        let content = places.into_iter().flatten().find(keyed);
        let content = content.ok_or_else(|| format!("its instructions {path} changed as it began"))?;
        Ok(String::from_utf8_lossy(&content).into_owned())
    }

    /// Folders and environment.
    fn prepare(&self, session: &mut Session, prompt: String) -> std::io::Result<Prepared> {
        let state = session.state();
        fs::create_dir_all(&state)?;
        let result_file = state.join("result.json");
        let _ = fs::remove_file(&result_file);
        let resume = session.id.is_some() && !self.adapter.resume.is_empty();
        if !resume {
            session.forget_session();
        }
        let opened = uuid::Uuid::new_v4().to_string();
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let budget = self.agent.budget.left(&session.spent);
        let left = budget.and(&self.context.agents.ledger.left(self.task().group.as_ref()));
        let prompt_file = state.join("prompt.md");
        fs::write(&prompt_file, &prompt)?;
        let mut values = Values {
            bin: self.adapter.bin.clone(),
            model: self.agent.model.clone().unwrap_or_default(),
            uuid: opened,
            session: session.id.clone().unwrap_or_default(),
            prompt: prompt.clone(),
            prompt_file: text(&prompt_file),
            result_file: text(&result_file),
            state: text(&state),
            max_turns: left.turns.map(|turns| turns.to_string()).unwrap_or_default(),
            budget_usd: left.usd.map(|usd| format!("{usd:.2}")).unwrap_or_default(),
            dir: text(&self.exec_root.working_folder(&self.task().dir)),
            task: self.task().id.to_string(),
            attempt: self.attempt.to_string(),
            wall: left.time.map(|time| time.as_secs().max(1).to_string()).unwrap_or_default(),
            ..Values::default()
        };
        let home = HomeFolder::prepare(self.adapter, &session.home(), &self.context.caller, |template| {
            agent::fill(template, &values)
        })?;
        values.home = text(&home.path);
        let env = self.environment(&home, &mut values);
        Ok(Prepared { prompt, result_file, state, values, home, env, resume, left })
    }

    /// The allow-list, what the adapter hands through, what the task declares.
    fn environment(&self, home: &HomeFolder, values: &mut Values) -> BTreeMap<OsString, OsString> {
        let task = self.task();
        let declared = |name: &str| task.env.iter().any(|variable| variable.name == name);
        let mut env = environment(task, &self.context.caller, &self.context.run);
        self.exec_root.adapt(&mut env, declared);
        if !declared("HOME") {
            env.insert("HOME".into(), home.path.clone().into());
        }
        let text = |(name, value): (&OsString, &OsString)| {
            Some((name.to_str()?.to_owned(), value.to_str()?.to_owned()))
        };
        // Secrets are not among them: what they are filled into may lie on disk.
        values.env = env.iter().filter_map(text).filter(|(name, _)| !task.secrets.contains(name)).collect();
        hand_through(self.adapter, &self.context.caller, &mut env, declared);
        let own = self.adapter.env.iter().map(|(name, value)| (name.as_str(), agent::fill(value, values)));
        let told = [
            ("CONDUCTOR_PROMPT_FILE", values.prompt_file.clone()),
            ("CONDUCTOR_RESULT_FILE", values.result_file.clone()),
            ("CONDUCTOR_SESSION", values.session.clone()),
            ("CONDUCTOR_MODEL", values.model.clone()),
            ("CONDUCTOR_ATTEMPT", self.attempt.to_string()),
        ];
        for (name, value) in own.filter(|(_, value)| !value.is_empty()).chain(told) {
            if !declared(name) {
                env.insert(name.into(), value.into());
            }
        }
        env
    }

    fn ask_version(&self, program: &Path, prepared: &Prepared) -> Option<String> {
        Question {
            program,
            arguments: &self.adapter.version,
            dir: &self.exec_root.working_folder(&self.task().dir),
            env: &prepared.env,
            secrets: &self.context.secrets(self.task()),
            owner: self.task().id.as_str(),
            confinement: self.confinement(program, prepared).as_ref(),
        }
        .version(&self.context.processes)
    }

    /// What keeps the program in its place: it writes its HOME and its state as well, and its own files may lie inside
    /// of what is hidden.
    fn confinement(&self, program: &Path, prepared: &Prepared) -> Option<Confinement> {
        let mut confinement = self.exec_root.confinement()?.clone();
        confinement.write.extend([prepared.state.clone(), prepared.home.path.clone()]);
        confinement.write.extend(prepared.home.writable.iter().cloned());
        confinement.read.extend(parts_of_program(program, self.context.tree.root()));
        Some(confinement)
    }

    fn start(
        &self,
        session: &mut Session,
        prepared: &Prepared,
        program: &Path,
    ) -> Result<CommandResult, Box<Failed>> {
        let task = self.task();
        let mut listener = Listener::new(self.adapter)
            .map_err(|error| Failed::before(Refusal::new(format!("its adapter is wrong: {error}"))))?;
        let mut argv = agent::command_line(self.adapter, &prepared.values, prepared.resume);
        if let Some(first) = argv.first_mut() {
            *first = program.to_string_lossy().into_owned();
        }
        let log = self.context.log(&task.id, None);
        let secrets = self.context.secrets(task);
        let dir = self.exec_root.working_folder(&task.dir);
        let (started, git) = (stamp(self.context, task), self.git_settings());
        let number = session.runs.len() + 1;
        let mut transcript =
            Transcript::begin(&session.transcript(), number, &prepared.prompt, prepared.resume);
        let mut meter = Meter { start: self, session, told: Usage::default(), over: None };
        let mut on_line = |line: &[u8]| {
            transcript.line(line);
            let before = listener.said().unwrap_or_default().to_owned();
            listener.line(line);
            for line in spoken(self.adapter, &before, &listener, line) {
                (self.context.events)(Event::TaskOutput { task: task.id.clone(), line });
            }
            meter.read(&listener);
        };
        let changes = || tree_size(self.exec_root, task);
        let seen = ToolSeen::at(&self.adapter.name, program);
        let confinement = self.confinement(program, prepared);
        let ended = self.context.processes.run(Spec {
            argv: argv.into_iter().map(OsString::from).collect(),
            dir: &dir,
            env: prepared.env.clone().into_iter().collect(),
            stdin: match self.adapter.prompt {
                PromptChannel::Stdin => Stdin::Bytes(prepared.prompt.as_bytes()),
                PromptChannel::Argument(_) | PromptChannel::File => Stdin::Null,
            },
            timeout: least(task.timeout, prepared.left.time),
            stall: Some(task.stall.unwrap_or(self.adapter.stall)),
            grace: self.adapter.grace,
            log: &log,
            secrets: &secrets,
            owner: task.id.as_str(),
            progress: Some(&changes),
            confinement: confinement.as_ref(),
            on_line: &mut on_line,
        });
        prepared.home.give_back();
        let over = meter.over.take();
        let told = meter.told;
        let ended = match ended {
            Ok(ended) => ended,
            Err(error) => {
                if matches!(error, SpawnError::NotFound(_)) {
                    session.ended = Some(AgentEnd::Config);
                }
                return Err(Failed::before(*spawn_refusal(&error)));
            }
        };
        let exit = if let End::Exited(code) = ended.end { Some(code) } else { None };
        let result = fs::read(&prepared.result_file).ok();
        let heard = listener.finish(exit, result.as_deref(), &session.totals);
        let (mut end, message) = self.judge(&ended, &heard, over, prepared);
        // A program that has lost the session is not to be asked for it again; that says nothing against the call.
        let is_lost = prepared.resume && is_unknown_session(end, &heard);
        if is_lost {
            end = AgentEnd::Failed;
        }
        let usage = Usage { time: ended.duration, ..heard.usage };
        self.context.agents.ledger.spend(task.group.as_ref(), &usage.since(&told));
        let run = AgentRun {
            end,
            session: heard.session.clone().or_else(|| session.id.clone()),
            resumed: prepared.resume,
            usage,
            complaint: message.clone(),
        };
        transcript.end(&run);
        self.remember(session, &heard, run, prepared);
        if is_lost {
            session.forget_session();
        }
        let log = (ended.bytes > 0).then(|| self.context.shown(&log));
        let ran =
            CommandResult { started, duration: ended.duration, log, tail: ended.tail, program: Some(seen) };
        if let Some(path) = git.changed() {
            session.ended = Some(AgentEnd::Invalid);
            let message = format!("it changed git's configuration ({})", self.context.shown(&path));
            let refusal = *ran.refuse(message);
            return Err(Box::new(Failed { refusal, tail: ran.tail }));
        }
        match message {
            None => Ok(ran),
            Some(message) => {
                let refusal = Refusal { cancelled: end == AgentEnd::Cancelled, ..*ran.refuse(message) };
                Err(Box::new(Failed { refusal, tail: ran.tail }))
            }
        }
    }

    /// What the session is after this run.
    fn remember(&self, session: &mut Session, heard: &Heard, run: AgentRun, prepared: &Prepared) {
        session.spent.add(&run.usage);
        session.ended = Some(run.end);
        session.retry_after = heard.retry_after;
        session.text.clone_from(&heard.text);
        session.totals = heard.totals;
        // A session in which nothing happened yet is none that could be gone on with. Of a run that was stopped in the
        // middle many programs have not told yet what it used.
        let is_stopped =
            matches!(run.end, AgentEnd::Timeout | AgentEnd::Stalled | AgentEnd::Cancelled | AgentEnd::Budget);
        let is_told = heard.text.is_some() || is_stopped && heard.session.is_some();
        let begun = heard.usage.tokens() > 0 || heard.saw_end || is_told || prepared.resume;
        let named =
            heard.session.clone().or_else(|| self.names_session().then(|| prepared.values.uuid.clone()));
        if !prepared.resume {
            session.id = named.filter(|_| begun && !self.adapter.resume.is_empty());
        }
        session.runs.push(run);
    }

    /// Does conductor name the sessions of this adapter?
    fn names_session(&self) -> bool {
        agent::uses(&self.adapter.new, "uuid")
    }

    /// How it ended, and what is wrong with that.
    fn judge(
        &self,
        ended: &Ended,
        heard: &Heard,
        over: Option<(AgentEnd, String)>,
        prepared: &Prepared,
    ) -> (AgentEnd, Option<String>) {
        let task = self.task();
        let out_of_time =
            ended.end == End::TimedOut && task.timeout.is_none_or(|limit| ended.duration < limit);
        let told = |end: AgentEnd| {
            let said = heard.message.as_ref().map_or_else(String::new, |said| format!(": {said}"));
            format!("its agent {}{said}", describe(end))
        };
        match (ended.end, over) {
            (End::Cancelled | End::TimedOut, Some((end, why))) => (end, Some(why)),
            (End::TimedOut, None) if out_of_time && prepared.left.time.is_some() => {
                let limit = crate::model::format_duration(prepared.left.time.unwrap_or_default());
                (AgentEnd::Budget, Some(format!("its budget: {limit} are used")))
            }
            (End::Exited(_), _) if heard.end == AgentEnd::Ok => (AgentEnd::Ok, None),
            (End::Exited(code), _) => {
                let code = if code == 0 { String::new() } else { format!(" (exit code {code})") };
                (heard.end, Some(format!("{}{code}", told(heard.end))))
            }
            (end, _) => {
                let stall = Some(task.stall.unwrap_or(self.adapter.stall));
                let task = Task { stall, ..task.clone() };
                let end = match end {
                    End::TimedOut => AgentEnd::Timeout,
                    End::Stalled => AgentEnd::Stalled,
                    End::Signalled(_) => AgentEnd::Signalled,
                    _ => AgentEnd::Cancelled,
                };
                (end, complaint(&task, ended))
            }
        }
    }

    /// git's configuration and hooks as they are now.
    fn git_settings(&self) -> GitSettings {
        let paths = self.context.repository.iter().flat_map(|repository| {
            let common = repository.common_dir();
            let hooks = fs::read_dir(common.join("hooks")).into_iter().flatten().flatten();
            let named = [common.join("config"), common.join("config.worktree"), common.join("hooks")];
            named.into_iter().chain(hooks.map(|hook| hook.path())).collect::<Vec<_>>()
        });
        GitSettings(paths.map(|path| (state_of(&path), path)).collect())
    }
}

/// What a run starts with.
struct Prepared {
    prompt: String,
    result_file: PathBuf,
    state: PathBuf,
    values: Values,
    home: HomeFolder,
    env: BTreeMap<OsString, OsString>,
    resume: bool,
    /// Of all budgets.
    left: Budget,
}

/// Sums up what the stream tells, and stops the program when a limit is reached.
struct Meter<'a> {
    start: &'a Start<'a>,
    session: &'a Session,
    told: Usage,
    over: Option<(AgentEnd, String)>,
}

impl Meter<'_> {
    fn read(&mut self, listener: &Listener) {
        let usage = listener.usage(&self.session.totals);
        if usage == self.told {
            return;
        }
        let task = self.start.task();
        self.start.context.agents.ledger.spend(task.group.as_ref(), &usage.since(&self.told));
        self.told = usage;
        // Who has come to the end spends nothing more.
        if self.over.is_none() && !listener.saw_end() {
            self.over = self.start.reached(self.session, &usage);
            if self.over.is_some() {
                self.start.context.processes.cancel(task.id.as_str());
            }
        }
    }
}

/// Files of git's that say what programs it runs, with their states.
struct GitSettings(Vec<(Option<(SystemTime, u64)>, PathBuf)>);

impl GitSettings {
    /// One that has changed since.
    fn changed(&self) -> Option<PathBuf> {
        self.0.iter().find(|(before, path)| state_of(path) != *before).map(|(_, path)| path.clone())
    }
}

fn state_of(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = fs::symlink_metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

/// What people are shown of a line of output: the line, or what it adds to the answer.
fn spoken(adapter: &Adapter, before: &str, listener: &Listener, line: &[u8]) -> Vec<String> {
    let is_event = adapter.output == AgentOutput::JsonLines && line.trim_ascii_start().starts_with(b"{");
    if !is_event {
        return vec![String::from_utf8_lossy(line).into_owned()];
    }
    let now = listener.said().unwrap_or_default();
    let new = now.strip_prefix(before).filter(|_| !before.is_empty()).unwrap_or(now);
    if now == before { Vec::new() } else { new.lines().map(str::to_owned).collect() }
}

fn least(a: Option<Duration>, b: Option<Duration>) -> Option<Duration> {
    a.into_iter().chain(b).min()
}

/// Of a program that lies inside the workspace: what it reads of itself there.
fn parts_of_program(program: &Path, root: &Path) -> Vec<PathBuf> {
    let real = program.canonicalize().unwrap_or_else(|_| program.to_owned());
    let modules =
        real.ancestors().filter(|above| above.file_name() == Some(OsStr::new("node_modules"))).last();
    let package = modules.map(Path::to_owned);
    let parts = [Some(program.to_owned()), Some(real), package];
    parts.into_iter().flatten().filter(|part| part.starts_with(root)).collect()
}

/// Did a run that was to go on with a session end before anything happened in it?
fn is_unknown_session(end: AgentEnd, heard: &Heard) -> bool {
    let ended = matches!(end, AgentEnd::Failed | AgentEnd::Config | AgentEnd::NoResult);
    ended && heard.usage.tokens() == 0 && heard.text.is_none()
}

fn describe(end: AgentEnd) -> &'static str {
    match end {
        AgentEnd::Auth => "could not log in",
        AgentEnd::RateLimit => "met its provider's limit",
        AgentEnd::Provider => "met a provider that is out of order",
        AgentEnd::Overflow => "filled its context",
        AgentEnd::Budget => "reached a limit on cost",
        AgentEnd::TurnLimit => "reached its limit on turns",
        AgentEnd::Config => "was called in a way that it does not understand",
        AgentEnd::NoResult => "ended without saying that it had come to the end",
        _ => "failed",
    }
}
