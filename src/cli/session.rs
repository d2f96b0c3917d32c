//! What most commands begin with: find the manifest, get its plan, open what is recorded.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use super::exit::Exit;
use super::options::Global;
use super::{Output, Stop};
use crate::execute;
use crate::graph::{self, Plan, TaskIndex};
use crate::incremental::{Caller, Engine, Options, ToolRunner, Trust};
use crate::manifest::{self, Location, Origin};
use crate::model::{Budget, Diagnostic, Sources, WorkspacePath};
use crate::store::{self, Access, Programs, State};
use crate::workspace::Tree;

/// A workspace with its plan.
pub(super) struct Session {
    pub(super) workspace: Tree,
    /// `.conductor`
    pub(super) folder: PathBuf,
    pub(super) plan: Arc<Plan>,
    pub(super) caller: Caller,
    /// The folder in which the person stands, or which `-C` names.
    pub(super) start: PathBuf,
    /// The same from the workspace's root.
    pub(super) here: WorkspacePath,
    /// The compiled plan is not on disk yet: its header.
    unsaved: Option<Vec<u8>>,
}

/// Where the manifest is, as `-C` and `-f` say. A manifest that is found with a `namespace:` is part of the
/// one above that includes it, where there is such a one.
pub(super) fn locate(global: &Global, caller: &Caller) -> Result<(Location, PathBuf), Stop> {
    let (found, start) = nearest(global)?;
    Ok((whole(found, global, caller), start))
}

/// The manifest that `-f` names, else the nearest one, and where the person stands.
fn nearest(global: &Global) -> Result<(Location, PathBuf), Stop> {
    let start = match &global.directory {
        Some(directory) => std::path::absolute(directory)?,
        None => std::env::current_dir()?,
    };
    if !start.is_dir() {
        let diagnostic = Diagnostic::error("cli::directory", format!("{} is not a folder", start.display()));
        return Err(Stop::plain(Exit::Usage, diagnostic));
    }
    let found = match &global.file {
        Some(file) => manifest::locate(&start.join(file)),
        None => manifest::discover(&start),
    };
    found.map(|location| (location, start)).map_err(|diagnostic| Stop::plain(Exit::Usage, diagnostic))
}

/// The manifest that the one found is part of, unless it was named or is whole by itself.
fn whole(found: Location, global: &Global, caller: &Caller) -> Location {
    let named = global.file.is_some();
    if named { found } else { including(&found, caller).unwrap_or(found) }
}

/// May this be part of another manifest?
fn is_part(text: &str) -> bool {
    text.lines().any(|line| line.starts_with("namespace:"))
}

/// The manifest above that includes this one.
fn including(found: &Location, caller: &Caller) -> Option<Location> {
    std::fs::read_to_string(&found.file).ok().filter(|text| is_part(text))?;
    let mut folder = found.root.parent()?.to_owned();
    loop {
        let above = manifest::discover(&folder).ok()?;
        let sources = manifest::load(&above, &|name| caller.text(name)).sources;
        if sources.files.iter().any(|file| file.path == found.file) {
            return Some(above);
        }
        above.root.parent()?.clone_into(&mut folder);
    }
}

impl Session {
    /// Finds the manifest and its plan: the one on disk where it is still current, else compiled anew.
    pub(super) fn open(global: &Global, caller: Caller) -> Result<Self, Stop> {
        let (found, start) = nearest(global)?;
        // A plan that is current says all that this needs to know of the manifest's text.
        let (location, kept) = if let Some(plan) = cached(&found, &caller, global.file.is_some()) {
            (found, Some(plan))
        } else {
            let location = whole(found, global, &caller);
            let kept = cached(&location, &caller, true);
            (location, kept)
        };
        let usage = |code: &str, text: String| Stop::plain(Exit::Usage, Diagnostic::error(code, text));
        let workspace =
            Tree::open(&location.root).map_err(|error| usage("cli::workspace", error.to_string()))?;
        let here = start.strip_prefix(&location.root).ok().and_then(|path| {
            use std::os::unix::ffi::OsStrExt as _;
            WorkspacePath::new(path.as_os_str().as_bytes()).ok()
        });
        let (plan, unsaved) = if let Some(plan) = kept {
            (plan, None)
        } else {
            let (plan, origin) = compile(&location, &caller)?;
            let header = header(&location, &plan, &origin);
            (plan, header)
        };
        Ok(Self {
            workspace,
            folder: folder(&location),
            plan: Arc::new(plan),
            caller,
            here: here.unwrap_or_default(),
            start,
            unsaved,
        })
    }

    /// Keeps a plan that was compiled anew. That it could not be kept costs time, nothing else.
    pub(super) fn save_plan(&mut self) {
        if let (Some(header), Some((columns, bodies))) = (self.unsaved.take(), self.plan.parts()) {
            let _ = store::save_plan(&self.folder, &header, columns, bodies);
        }
    }

    /// The manifest's files, to show places in.
    pub(super) fn sources(&self) -> &Sources {
        self.plan.sources()
    }

    /// The tasks that targets name, and all that they depend on, in dependency order.
    pub(super) fn scope(&self, targets: &[String]) -> Result<(BTreeSet<TaskIndex>, Vec<TaskIndex>), Stop> {
        let roots = graph::select(&self.plan, targets, &self.here)
            .map_err(|unknown| Stop::new(Exit::Usage, unknown, self.sources()))?;
        let scope = graph::closure(&self.plan, &roots);
        Ok((roots, scope))
    }

    /// The one task that a target names.
    pub(super) fn one(&self, target: &str) -> Result<TaskIndex, Stop> {
        let (roots, _) = self.scope(&[target.to_owned()])?;
        if let [index] = roots.iter().copied().collect::<Vec<_>>()[..] {
            return Ok(index);
        }
        let ids: Vec<&str> = roots.iter().take(8).map(|index| self.plan.id(*index)).collect();
        let message = format!("`{target}` names {} tasks; this command takes one", roots.len());
        let help = format!("one of: {}", ids.join(", "));
        Err(Stop::plain(Exit::Usage, Diagnostic::error("cli::several_tasks", message).help(help)))
    }

    /// An engine that reads the recorded state and the lock, and writes nothing.
    pub(super) fn reader(&self) -> Engine {
        let mut engine = self.engine_to_read();
        engine.read_lock(Trust::Told);
        engine
    }

    /// An engine that reads the recorded state and writes nothing.
    pub(super) fn engine_to_read(&self) -> Engine {
        let (state, _) = State::open(&self.folder, Access::ReadOnly);
        let options = Options {
            caller: self.caller.clone(),
            tools: None,
            programs: Programs::load(&self.folder),
            forced: BTreeSet::new(),
            isolation: None,
            folder: self.folder.clone(),
        };
        Engine::new(Arc::clone(&self.plan), self.workspace.clone(), state, options)
    }

    /// Stops where it is not clear who edits and who reads what lies in the tree. The engine has observed it.
    pub(super) fn refuse_unordered(&self, engine: &mut Engine) -> Result<(), Stop> {
        let errors = engine.editing_errors();
        if errors.is_empty() { Ok(()) } else { Err(self.stop(Exit::Usage, errors)) }
    }

    /// Stops where an agent of the scope would be told nothing. The engine has observed it.
    pub(super) fn refuse_unreadable_instructions(
        &self,
        engine: &mut Engine,
        scope: &[TaskIndex],
    ) -> Result<(), Stop> {
        let errors = engine.unreadable_instructions(scope);
        if errors.is_empty() { Ok(()) } else { Err(self.stop(Exit::Usage, errors)) }
    }

    /// What keeps tasks from running where they are to run: no repository for worktrees, results that are elsewhere.
    pub(super) fn misplaced(&self, engine: &Engine, scope: &[TaskIndex]) -> Vec<Diagnostic> {
        let due = scope.iter().filter(|index| engine.is_candidate(**index) && !self.plan.is_hidden(**index));
        let tasks = due.filter_map(|index| self.plan.task(*index).ok()).map(|task| {
            let isolation = engine.isolation_of(&task);
            (task, isolation)
        });
        let mut errors = execute::needs_repository(self.workspace.root(), tasks);
        errors.extend(engine.misplaced_readers(scope));
        errors
    }

    /// The agents that tasks of the manifest may use. `budget` is laid over the manifest's own for the run.
    pub(super) fn agents(&self, budget: Option<&Budget>) -> execute::Agents {
        let settings = self.plan.settings();
        let run = settings.budget.clone().overlaid(budget);
        execute::Agents::new(
            &settings.agents,
            execute::Ledger::new(run, settings.group_budgets.iter().cloned()),
        )
    }

    /// Runs `tools` commands.
    pub(super) fn tool_runner(&self) -> ToolRunner {
        let (root, caller) = (self.workspace.root().to_owned(), self.caller.clone());
        Box::new(move |task, command| execute::run_tool(&root, &caller, task, command))
    }

    /// A problem with its places in the manifest.
    pub(super) fn stop(&self, exit: Exit, diagnostics: Vec<Diagnostic>) -> Stop {
        Stop::new(exit, diagnostics, self.sources())
    }
}

fn folder(location: &Location) -> PathBuf {
    location.root.join(".conductor")
}

fn header(location: &Location, plan: &Plan, origin: &Origin) -> Option<Vec<u8>> {
    let part = plan.sources().files.first().is_some_and(|root| is_part(&root.text));
    postcard::to_stdvec(&(bytes_of(&location.file), env!("CARGO_PKG_VERSION"), part, origin)).ok()
}

fn bytes_of(path: &std::path::Path) -> &[u8] {
    std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str())
}

/// The plan on disk, where it is still that of `location`. One of a manifest that may be part of another
/// counts only if `accept_part`.
fn cached(location: &Location, caller: &Caller, accept_part: bool) -> Option<Plan> {
    let (columns, bodies) = store::load_plan(&folder(location), |header| {
        let read: Result<(Vec<u8>, String, bool, Origin), _> = postcard::from_bytes(header);
        read.is_ok_and(|(file, version, part, origin)| {
            file == bytes_of(&location.file)
                && version == env!("CARGO_PKG_VERSION")
                && (accept_part || !part)
                && origin.is_current(location, &|name| caller.text(name))
        })
    })?;
    let (location, caller) = (location.clone(), caller.clone());
    let recompile = move || compile(&location, &caller).ok().map(|(plan, _)| plan);
    Plan::load(columns, bodies, Box::new(recompile)).ok()
}

/// Reads and compiles the manifest; all that is wrong with it at once.
fn compile(location: &Location, caller: &Caller) -> Result<(Plan, Origin), Stop> {
    let loaded = manifest::load(location, &|name| caller.text(name));
    let Some(manifest) = loaded.manifest else {
        return Err(Stop::new(Exit::Usage, loaded.diagnostics, &loaded.sources));
    };
    let plan = graph::compile(manifest).map_err(|mut errors| {
        errors.extend(loaded.diagnostics);
        Stop::new(Exit::Usage, errors, &loaded.sources)
    })?;
    Ok((plan, loaded.origin))
}

/// Tells what the manifest's checks found that is no error.
pub(super) fn warn(session: &Session, output: &Output) {
    if !output.json {
        output.warn(session.plan.warnings(), session.sources());
    }
}
