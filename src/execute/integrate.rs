//! Results that were made apart come into the tree: outputs by rename from where they were made, edited
//! files from the objects. The journal says it beforehand and what stood there lies aside until the result
//! is recorded, so that a crash leaves all of it or none.
//!
//! Invariant: a person's version is never overwritten here. It is found before anything moves, or when it
//! is moved aside; then everything goes back.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::RunContext;
use super::staging::{Found, Staged, StagingError};
use super::steps::{Outputs, as_accepted};
use crate::graph::TaskIndex;
use crate::incremental::{Assignment, Move};
use crate::model::{Diagnostic, Entry, EntryKind, Isolation, TaskId, WorkspacePath};
use crate::store::{BranchMove, Intent, Planned};
use crate::workspace::{self, Observed, Root};

/// Why a result did not come into the tree.
pub(super) enum Obstacle {
    /// A person's version stands at these paths.
    Conflict(Vec<WorkspacePath>),
    /// It could not be put there; everything is as it was.
    Failed(StagingError),
}

impl<E: Into<StagingError>> From<E> for Obstacle {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// A result that came into the tree.
pub(super) struct Integrated {
    /// To be finished once the result is recorded.
    pub(super) staged: Staged,
    /// The accepted outputs as they look there.
    pub(super) outputs: Outputs,
    /// Files in the place of some of them: somebody wrote as they came in. These are a person's versions.
    pub(super) displaced: Outputs,
    /// What a person should know of files of theirs.
    pub(super) warnings: Vec<Diagnostic>,
}

/// What becomes of the files that a result is brought in from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// They are nobody's any more, once they are in the tree.
    Spent,
    /// They are needed until the result is recorded: a crash must leave them whole.
    Kept,
}

/// Brings `outputs`, which lie below `made`, to their places in the tree.
pub(super) fn integrate(
    context: &RunContext,
    assignment: &Assignment,
    attempt: u32,
    (made, source): (&Root, Source),
    outputs: &[(WorkspacePath, Observed)],
    branch: Option<BranchMove>,
) -> Result<Integrated, Obstacle> {
    let entries: BTreeMap<&WorkspacePath, Entry> =
        outputs.iter().map(|(path, seen)| (path, seen.entry)).collect();
    let found = Found::look(context, assignment, false)?;
    let conflicts = conflicts(context, assignment, &found, &entries);
    if !conflicts.is_empty() && assignment.isolation != Isolation::None {
        return Err(Obstacle::Conflict(conflicts));
    }
    let mut staged = Staged::begin_found(context, &assignment.task, attempt, found, false, branch)?;
    // In the tree a person's version gives way: it is kept with the conflicts.
    let overwrite = assignment.isolation == Isolation::None;
    let mut coming = Coming { context, made, source, overwrite, brought: Vec::new() };
    let came = coming.bring_all(&staged, outputs);
    let came = came.and_then(|outputs| Ok((outputs, staged.keep_conflicts(context, &entries)?)));
    match came {
        Ok((outputs, warnings)) => {
            let (outputs, displaced) = as_accepted(outputs, |path| entries.get(path).copied());
            Ok(Integrated { staged, outputs, displaced, warnings })
        }
        Err(obstacle) => {
            coming.take_back();
            staged.restore(context, None)?;
            Err(obstacle)
        }
    }
}

/// A result on its way into the tree.
struct Coming<'a> {
    context: &'a RunContext,
    /// Below this its files lie.
    made: &'a Root,
    source: Source,
    /// What stands in its way has been kept elsewhere.
    overwrite: bool,
    /// Files that are in the tree already.
    brought: Vec<WorkspacePath>,
}

impl Coming<'_> {
    fn bring_all(
        &mut self,
        staged: &Staged,
        outputs: &[(WorkspacePath, Observed)],
    ) -> Result<Vec<(WorkspacePath, Observed)>, Obstacle> {
        for (path, observed) in outputs {
            self.bring(path, &observed.entry)?;
        }
        // Written between the look and the move.
        let late = staged.changed_aside();
        if !late.is_empty() && !self.overwrite {
            return Err(Obstacle::Conflict(late));
        }
        let paths: Vec<&WorkspacePath> = outputs.iter().map(|(path, _)| path).collect();
        let seen = self.context.tree.observe_all(&paths);
        Ok(paths.into_iter().cloned().zip(seen).collect())
    }

    fn bring(&mut self, path: &WorkspacePath, entry: &Entry) -> Result<(), Obstacle> {
        let to = path.under(self.context.tree.root());
        let there = to.symlink_metadata().ok();
        let in_the_way = || Obstacle::Conflict(vec![path.clone()]);
        match there {
            Some(there) if entry.kind == EntryKind::Folder && !there.is_dir() => return Err(in_the_way()),
            _ if entry.kind == EntryKind::Folder => return Ok(workspace::make_folder(&to)?),
            // A folder of a person's, where a file is to be. In an empty one there is nothing to lose.
            Some(there) if there.is_dir() => workspace::remove_path(&to).map_err(|_| in_the_way())?,
            // It was not there, or it was a file of a person with the same content.
            Some(_) if !self.overwrite => {
                let same = self.context.tree.observe(path).entry == *entry;
                return if same { Ok(()) } else { Err(in_the_way()) };
            }
            _ => {}
        }
        let from = path.under(self.made.root());
        match self.source {
            Source::Spent => workspace::move_path(&from, &to)?,
            Source::Kept => workspace::copy_file(&from, &to)?,
        }
        self.brought.push(path.clone());
        Ok(())
    }

    /// The result does not come in after all, and must not be lost.
    fn take_back(&self) {
        for path in self.brought.iter().filter(|_| self.source == Source::Spent) {
            // Where it cannot be moved it is lost, and made anew by the next build.
            let _ =
                workspace::move_path(&path.under(self.context.tree.root()), &path.under(self.made.root()));
        }
    }
}

/// Paths at which something stands that conductor neither recorded nor is about to repeat. What git has is safe
/// with git; that counts for a task that was never built here, so that a fresh clone which holds last week's
/// results can be built.
fn conflicts(
    context: &RunContext,
    assignment: &Assignment,
    found: &Found,
    entries: &BTreeMap<&WorkspacePath, Entry>,
) -> Vec<WorkspacePath> {
    let is_first = assignment.previous.is_empty();
    let foreign = found.foreign.iter().map(|(path, _)| path).filter(|path| entries.contains_key(path));
    let mut conflicts: Vec<WorkspacePath> = found
        .persons
        .iter()
        .chain(foreign)
        .filter(|path| {
            let same = entries.get(path) == Some(&context.tree.observe(path).entry);
            !(same || is_first && context.git_has(&path.under(context.tree.root())))
        })
        .cloned()
        .collect();
    conflicts.sort();
    conflicts.dedup();
    conflicts
}

/// What came of a landing.
pub struct Landed {
    /// The tree holds these now.
    pub moves: Vec<(Move, Observed)>,
    /// A person was there first.
    pub contested: Vec<WorkspacePath>,
    /// To be finished once the records say so; none where nothing had to be written.
    pub staged: Option<Staged>,
}

impl Landed {
    /// What names it in the records.
    pub fn name(&self) -> Option<&str> {
        self.staged.as_ref().map(|staged| staged.intent().aside.as_str())
    }
}

/// Brings edited paths of the tree to the states that their editors left: all, but for those at which a person
/// was first, or none of them. `name` tells the names of editors.
///
/// # Errors
/// They could not be written, or their bytes are gone; the tree is as it was.
pub fn land(
    context: &RunContext,
    name: &dyn Fn(TaskIndex) -> TaskId,
    number: usize,
    moves: Vec<Move>,
) -> Result<Landed, String> {
    bring_to(context, name, &format!("landing-{number}"), true, moves)
}

/// Had the landing that `aside` names been recorded when the one was that `last` names? Those of one run are
/// numbered and recorded in their order.
pub(super) fn is_covered(aside: &str, last: &str) -> bool {
    let parts = |name: &str| -> Option<(String, usize)> {
        let (run, number) = (name.split_once('/')?.0, name.rsplit_once(".landing-")?.1);
        Some((run.to_owned(), number.parse().ok()?))
    };
    parts(aside)
        .zip(parts(last))
        .is_some_and(|((run, number), (last_run, last))| run == last_run && number <= last)
}

/// Puts back what a result replaced, all of it or nothing.
///
/// # Errors
/// As for [`land`].
pub fn put_back(context: &RunContext, task: &TaskId, moves: Vec<Move>) -> Result<Landed, String> {
    bring_to(context, &|_| task.clone(), "rollback", false, moves)
}

fn bring_to(
    context: &RunContext,
    task: &dyn Fn(TaskIndex) -> TaskId,
    name: &str,
    landing: bool,
    moves: Vec<Move>,
) -> Result<Landed, String> {
    let vacated: BTreeSet<WorkspacePath> =
        moves.iter().filter(|step| !step.to.exists()).map(|step| step.path.clone()).collect();
    let (moves, contested): (Vec<Move>, Vec<Move>) =
        moves.into_iter().partition(|step| holds(context, step, &vacated));
    let contested: Vec<WorkspacePath> = contested.into_iter().map(|step| step.path).collect();
    let written: Vec<&Move> = moves.iter().filter(|step| step.from != step.to).collect();
    let mut landed = Landed { moves: Vec::new(), contested, staged: None };
    if let Some(first) = written.first() {
        let task = task(first.editor);
        let planned = written.iter().map(|step| Planned { path: step.path.clone(), folder: false });
        let there = written.iter().filter(|step| step.from.exists());
        let intent = Intent {
            aside: format!("{}/{}.{name}", context.run, task.file_name()),
            task,
            run: context.run.clone(),
            outputs: planned.collect(),
            moved_aside: there.map(|step| step.path.clone()).collect(),
            foreign: Vec::new(),
            branch: None,
            landing,
        };
        let staged =
            Staged::open(context, intent, Vec::new(), Vec::new()).map_err(|error| error.to_string())?;
        match write_states(context, &staged, &written) {
            Ok(()) => landed.staged = Some(staged),
            Err(cause) => {
                staged.restore(context, None).map_err(|error| format!("{cause}; and {error}"))?;
                return Err(cause);
            }
        }
    }
    let paths: Vec<&WorkspacePath> = moves.iter().map(|step| &step.path).collect();
    let seen = context.tree.observe_all(&paths);
    landed.moves = moves.into_iter().zip(seen).collect();
    Ok(landed)
}

/// Does the tree hold what it is said to hold? A folder is nothing, if all that it holds is about to go.
fn holds(context: &RunContext, step: &Move, vacated: &BTreeSet<WorkspacePath>) -> bool {
    let now = context.tree.observe(&step.path).entry;
    let goes = |path: &WorkspacePath| vacated.contains(path);
    let is_vacated = || context.tree.list(&step.path).is_ok_and(|below| below.iter().all(goes));
    let is_nothing = now.kind == EntryKind::Folder && !step.from.exists();
    now == step.from || (is_nothing && (!step.to.exists() || is_vacated()))
}

fn write_states(context: &RunContext, staged: &Staged, written: &[&Move]) -> Result<(), String> {
    staged.set_aside(&context.tree).map_err(|error| error.to_string())?;
    for step in written {
        let (to, aside) = (step.path.under(context.tree.root()), staged.kept(&step.path));
        if step.from.exists() && super::staging::entry_at(staged.aside(), &aside) != step.from {
            return Err(format!("{} changed at this very moment", step.path));
        }
        if !step.from.exists() && to.symlink_metadata().is_ok_and(|there| !there.is_dir()) {
            return Err(format!("{} came to be at this very moment", step.path));
        }
        if step.to.exists() {
            let mode = file_mode(&aside, step.to.executable);
            context.objects.restore(&step.to, &to, mode).map_err(|error| error.to_string())?;
        } else {
            workspace::prune_empty_parents(context.tree.root(), &to);
        }
    }
    Ok(())
}

/// The permissions of the file that was there, with the executable bits that the new state asks for.
pub(super) fn file_mode(before: &Path, executable: bool) -> u32 {
    let before = before.symlink_metadata().ok().filter(std::fs::Metadata::is_file);
    let mode = before.map_or(0o644, |metadata| metadata.permissions().mode() & 0o777);
    if executable { mode | ((mode & 0o444) >> 2) } else { mode & !0o111 }
}
