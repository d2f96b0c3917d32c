//! `conductor affected --base REF`: the tasks that an edit since REF makes stale.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::options::{AffectedArgs, AffectedFormat, Global};
use super::session::{Session, locate};
use super::shards::History;
use super::{Exit, Output, Stop, base};
use crate::graph::{self, Edit, TaskIndex};
use crate::incremental::Caller;
use crate::model::{Diagnostic, LOCKFILE, PathIndex, Reason, ReasonKind, Task, WorkspacePath};
use crate::report::style::Paint;
use crate::report::{Style, count, explain};
use crate::store::{Access, State};
use crate::workspace::Root;
use crate::worktree::{Changed, Error, Repository};

pub(super) fn run(
    global: &Global,
    args: &AffectedArgs,
    caller: Caller,
    output: &Output,
) -> Result<Exit, Stop> {
    if args.shards.is_some() && args.format != AffectedFormat::Matrix {
        let diagnostic = Diagnostic::error("cli::usage", "--shards goes with --format matrix");
        return Err(Stop::plain(Exit::Usage, diagnostic));
    }
    let (location, _) = locate(global, &caller)?;
    let session = Session::open(global, caller)?;
    let (_, scope) = session.scope(&args.targets)?;
    let repository = Repository::open(session.workspace.root()).map_err(|error| refuse(&error))?;
    let repository = repository.ok_or_else(no_repository)?;
    let commit = repository.merge_base(&args.base).map_err(|error| refuse(&error))?;
    let mut changed = repository.changed_since(&commit).map_err(|error| refuse(&error))?;
    // It tells what was built, and nothing is built from it.
    changed.retain(|one| one.path.as_bytes() != LOCKFILE.as_bytes());
    let edits = edits(&session.workspace, &repository, &changed).map_err(|error| refuse(&error))?;
    let redefined = if may_redefine(&session, &changed) {
        let before = base::plan_at(&repository, &commit, &location, &session.caller);
        match before.map_err(|error| refuse(&error))? {
            Ok(before) => base::redefined(&session.plan, &before),
            Err(notice) => {
                output.hint(&format!("warning: {}\n", notice.message));
                base::everything(&session.plan)
            }
        }
    } else {
        BTreeMap::new()
    };
    let (state, _) = State::open(&session.folder, Access::ReadOnly);
    let discovered = |task: &Task| {
        let record = state.record(&task.id)?;
        let inputs = record.action.inputs.iter().filter(|input| input.is_discovered());
        Some(inputs.map(|input| input.path.clone()).collect::<Vec<WorkspacePath>>())
    };
    let mut affected = graph::affected(&session.plan, &edits, redefined, &discovered);
    let scope: BTreeSet<TaskIndex> = scope.into_iter().collect();
    affected.retain(|index, _| scope.contains(index) && !session.plan.is_hidden(*index));
    match args.format {
        AffectedFormat::Human => output.say(&render(&session, args, &affected, &scope, output.style())),
        AffectedFormat::Json => output.say_json(&document(&session, args, &commit, &affected)),
        AffectedFormat::Matrix => {
            let matrix = matrix(&session, &state, &affected.keys().copied().collect(), args.shards);
            output.say(&format!("{matrix}\n"));
        }
    }
    Ok(Exit::Success)
}

fn refuse(error: &Error) -> Stop {
    let diagnostic = match error {
        Error::UnknownRevision { .. } => Diagnostic::error("affected::unknown_ref", error.to_string()).help(
            "name a branch, tag or commit that this clone has: in CI fetch it first (`git fetch origin main`, and --base origin/main)",
        ),
        Error::NoCommonAncestor { .. } => Diagnostic::error("affected::no_common_ancestor", error.to_string())
            .help("fetch the whole history: `git fetch --unshallow`, or `fetch-depth: 0` under actions/checkout"),
        _ => Diagnostic::error("affected::git", error.to_string()),
    };
    Stop::plain(Exit::Usage, diagnostic)
}

fn no_repository() -> Stop {
    let message = "the workspace is in no git repository, so nothing tells what was edited";
    let diagnostic = Diagnostic::error("affected::no_repository", message);
    Stop::plain(Exit::Usage, diagnostic.help("`conductor check` tells what is stale by what was recorded"))
}

/// The changed paths, as the graph takes them. A link counts as changed if a path that decides its end has changed: a
/// further link, a folder on its way, or its target, even if that came, went, or is of another kind now.
fn edits(workspace: &Root, repository: &Repository, changed: &[Changed]) -> Result<Vec<Edit>, Error> {
    let edit = |one: &Changed| Edit {
        kind: match (one.before, one.now) {
            (false, _) => ReasonKind::InputAdded,
            (true, false) => ReasonKind::InputRemoved,
            (true, true) => ReasonKind::InputChanged,
        },
        ignored: workspace.ignores(&one.path, one.folder),
        path: one.path.clone(),
        tracked: one.tracked,
        folder: one.folder,
    };
    let mut edits: Vec<Edit> = changed.iter().map(edit).collect();
    if edits.is_empty() {
        return Ok(edits);
    }
    let paths: BTreeSet<&WorkspacePath> = changed.iter().map(|one| &one.path).collect();
    let below = PathIndex::set(paths.iter().copied());
    let folders = PathIndex::set(changed.iter().filter(|one| one.folder).map(|one| &one.path));
    for link in repository.tracked_links()? {
        let trail = workspace.follow(&link);
        let mut steps = trail.links.iter().filter(|step| **step != link).chain(trail.place());
        let is_changed = |step: &WorkspacePath| paths.contains(step) || folders.holds(step);
        let on_its_way =
            steps.any(|step| is_changed(step) || step.folders().any(|folder| is_changed(&folder)));
        let below = |target: &WorkspacePath| below.below(target).next().is_some();
        if !paths.contains(&link) && (on_its_way || trail.place().is_some_and(below)) {
            let ignored = workspace.ignores(&link, false);
            // It may lead to a folder, below which others read.
            edits.push(Edit {
                path: link,
                kind: ReasonKind::InputChanged,
                tracked: false,
                folder: true,
                ignored,
            });
        }
    }
    Ok(edits)
}

/// Could the manifest have said something else? One of its files changed, or one is gone that an `include` may have
/// matched.
fn may_redefine(session: &Session, changed: &[Changed]) -> bool {
    let root = session.workspace.root();
    let files = session.sources().files.iter().filter_map(|file| file.path.canonicalize().ok());
    let files: BTreeSet<std::path::PathBuf> = files.collect();
    changed.iter().any(|one| {
        let rules = matches!(one.path.name(), Some(b".gitignore" | b".conductorignore"));
        !one.now || rules || one.path.under(root).canonicalize().is_ok_and(|path| files.contains(&path))
    })
}

fn document(
    session: &Session,
    args: &AffectedArgs,
    commit: &str,
    affected: &BTreeMap<TaskIndex, Vec<Reason>>,
) -> Value {
    let ids: Vec<&str> = affected.keys().map(|index| session.plan.id(*index)).collect();
    let reasons: serde_json::Map<String, Value> = affected
        .iter()
        .map(|(index, reasons)| (session.plan.id(*index).to_owned(), json!(reasons)))
        .collect();
    json!({"version": 1, "base": args.base, "merge_base": commit, "tasks": ids, "reasons": reasons})
}

fn render(
    session: &Session,
    args: &AffectedArgs,
    affected: &BTreeMap<TaskIndex, Vec<Reason>>,
    scope: &BTreeSet<TaskIndex>,
    style: Style,
) -> String {
    let mut text = String::new();
    let width = affected.keys().map(|index| session.plan.id(*index).len()).max().unwrap_or(0).min(24);
    for (index, reasons) in affected {
        let id = style.paint(Paint::Name, &format!("{:width$}", session.plan.id(*index)));
        let _ = writeln!(text, "{id}  {}", explain::headline(reasons, style));
    }
    let all = scope.iter().filter(|index| !session.plan.is_hidden(**index)).count();
    let _ = writeln!(text, "since {}: {} of {} affected", args.base, affected.len(), count(all, "task"));
    text
}

/// `{"include":[…]}`: a job for each task, or for each of so many shards.
fn matrix(session: &Session, state: &State, affected: &BTreeSet<TaskIndex>, shards: Option<u16>) -> Value {
    let plan = &session.plan;
    let Some(count) = shards else {
        let jobs: Vec<Value> = affected.iter().map(|index| json!({"task": plan.id(*index)})).collect();
        return json!({"include": jobs});
    };
    // One process computes the whole split, so what this workspace has recorded may have its say. What is not
    // affected is restored rather than run.
    let costs = History::recorded(state).costs(plan);
    let cost = |index| if affected.contains(&index) { costs[index as usize] } else { 1 };
    let split = graph::split(plan, affected, usize::from(count), cost);
    let filled = split.iter().filter(|shard| !shard.is_empty());
    let jobs = filled.enumerate().map(|(number, shard)| {
        let ids = shard.iter().map(|index| quoted(plan.id(*index))).collect::<Vec<_>>().join(" ");
        json!({"shard": number + 1, "tasks": ids})
    });
    json!({"include": jobs.collect::<Vec<_>>()})
}

/// For a shell, into whose line the matrix is pasted.
fn quoted(id: &str) -> String {
    shlex::try_quote(id).map_or_else(|_| id.to_owned(), std::borrow::Cow::into_owned)
}
