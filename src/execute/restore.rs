//! A result from the cache instead of a run: found by the key, fetched whole into `.conductor/incoming/TASK`, held
//! against what the task declares, checked where its validation is another one today, and then brought in by the same
//! steps as a result that ran.
//!
//! Whatever goes wrong here is a miss: the task runs, and the tree is as it was.

use std::time::Instant;

use super::checks::{self, CheckFailure};
use super::exec_root::CheckInputs;
use super::exec_root::ExecRoot;
use super::exec_root::{IsolatedDir, NotReady, remove_all};
use super::integrate::{Obstacle, Source, integrate};
use super::isolated::{self, Made};
use super::lookup::{Candidate, candidates, is_wanted};
use super::outcome::{Done, Outcome, Refusal};
use super::steps::{paths_of, settled};
use super::{RunContext, exec_root, pending};
use crate::incremental::{Assignment, Change, Guard, Moved, Produced};
use crate::model::{
    CheckEvidence, EntryKind, Event, Integrate, Isolation, OutputEntry, Reason, ReasonKind, Validation, Via,
    Wait, WorkspacePath,
};
use crate::store::{BesideKind, Cache, CacheEntry, Hold, Missing};
use crate::workspace::{self, Globs, Observed, Root};

/// Where results from the cache are brought together, below `.conductor`.
pub(super) const INCOMING: &str = "incoming";

/// Brings a result in from the cache; none where there is none that can be used.
pub(super) fn restore(
    context: &RunContext,
    assignment: &Assignment,
    guard: &Guard,
    attempt: u32,
) -> Option<Outcome> {
    let cache = context.cache.as_ref().filter(|cache| cache.is_read())?;
    if attempt > 1 || !is_wanted(assignment) {
        return None;
    }
    let start = Instant::now();
    let candidates = candidates(cache, &context.tree, assignment);
    let mut promising = candidates.filter(|candidate| cache.may_have(candidate.action.key())).peekable();
    promising.peek()?;
    // What is found now stays until it is fetched.
    let hold = cache.hold();
    let find = |candidate: Candidate| Some((cache.find(candidate.action.key())?, candidate));
    let (entry, candidate) = promising.find_map(find)?;
    let coming = Coming { context, cache, assignment, guard, attempt, entry, candidate, start };
    let outcome = coming.bring(hold);
    let folder = coming.folder();
    // What cannot be removed now is removed by the next build's recovery.
    let _ = remove_all(&folder);
    workspace::prune_empty_parents(&context.folder, &folder);
    outcome.unwrap_or_else(|why| {
        let task = &assignment.task.id;
        cache.complain(format!("the result of {task} was not restored, and the task ran: {why}"));
        None
    })
}

/// A result on its way from the cache.
struct Coming<'a> {
    context: &'a RunContext,
    cache: &'a Cache,
    assignment: &'a Assignment,
    guard: &'a Guard,
    attempt: u32,
    entry: CacheEntry,
    candidate: Candidate,
    start: Instant,
}

/// What the checks of today say of it.
enum Judged {
    Accepted(Vec<CheckEvidence>),
    /// A check could not run.
    Unchecked(Vec<CheckEvidence>, Box<Refusal>),
    /// They refuse it, or its inputs moved.
    No(Option<Outcome>),
}

impl Coming<'_> {
    fn folder(&self) -> std::path::PathBuf {
        self.context.folder.join(INCOMING).join(self.assignment.task.id.file_name())
    }

    /// `Ok(None)` is a miss about which there is nothing to say.
    fn bring(&self, hold: Option<Hold>) -> Result<Option<Outcome>, String> {
        let (context, assignment) = (self.context, self.assignment);
        self.hold_against_the_task()?;
        let folder = self.folder();
        remove_all(&folder).map_err(|error| error.to_string())?;
        workspace::make_folder(&folder).map_err(|error| error.to_string())?;
        match self.cache.fetch(&self.entry, &folder) {
            Ok(()) => {}
            // The cache has said what is damaged.
            Err(Missing::Content(_)) => return Ok(None),
            Err(Missing::Target(why)) => return Err(why),
        }
        let at = Root::open(&folder).map_err(|error| error.to_string())?;
        let outputs = self.entry.outputs.iter().map(|file| {
            let path = file.output.path.clone();
            let signature = at.signature(&path);
            (path, Observed { signature, entry: file.output.entry, racy: true })
        });
        let outputs: Vec<(WorkspacePath, Observed)> = outputs.collect();
        exec_root::no_secret(context, &at, &assignment.task, &outputs)?;
        let changed = self.guard.changes(&context.tree);
        if !changed.is_empty() {
            return Ok(Some(Outcome::Moved(changed)));
        }
        let same = |(path, seen): &(WorkspacePath, Observed)| context.tree.signature(path) == seen.signature;
        if !self.candidate.discovered.iter().all(same) {
            return Ok(None);
        }
        self.keep_states(&at)?;
        let log = self.entry.beside(BesideKind::Log);
        let log = log.and_then(|log| self.cache.fetch_beside(&log.digest, log.size));
        drop(hold);
        let validation = CheckInputs::in_tree(context, assignment, &[]).validation;
        let entries: Vec<OutputEntry> = self.entry.outputs.iter().map(|file| file.output.clone()).collect();
        let today = validation.key(&self.candidate.action.components(), &entries);
        let produced = self.produced(outputs, validation);
        let holds = today == self.entry.validation_key;
        let brought = if assignment.isolation == Isolation::None {
            self.bring_into_the_tree(&at, produced, holds)
        } else {
            self.bring_apart(at, produced, holds)
        };
        brought.inspect(|outcome| {
            if let (Some(Outcome::Done(_) | Outcome::Waiting(_)), Some(log)) = (outcome, &log) {
                self.replay(log);
            }
        })
    }

    /// Nothing that the task does not declare comes in, and nothing through a link.
    fn hold_against_the_task(&self) -> Result<(), String> {
        let task = &self.assignment.task;
        for file in &self.entry.outputs {
            let OutputEntry { path, entry } = &file.output;
            let Some(output) = task.outputs.iter().find(|output| path.is_within(&output.path)) else {
                return Err(format!("it holds {path}, which the task does not declare"));
            };
            if output.folder && *path == output.path && entry.kind != EntryKind::Folder {
                return Err(format!("{path} is no folder in it"));
            }
        }
        let made = |output: &crate::model::Output| {
            self.entry.outputs.iter().any(|file| file.output.path.is_within(&output.path))
        };
        if let Some(missing) = task.outputs.iter().find(|output| !output.optional && !made(output)) {
            return Err(format!("it lacks {}", missing.path));
        }
        let edits = Globs::new(&task.edits).map_err(|error| error.to_string())?;
        for edit in &self.entry.edited {
            let path = &edit.path;
            let own = task.outputs.iter().any(|output| path.is_within(&output.path));
            if own || !edits.matches(path) {
                return Err(format!("it changes {path}, which the task does not declare"));
            }
            if edit.before != self.assignment.found(path) {
                return Err(format!("it found another {path}"));
            }
        }
        self.no_link_on_the_way()
    }

    fn no_link_on_the_way(&self) -> Result<(), String> {
        let outputs = self.entry.outputs.iter().map(|file| &file.output.path);
        let paths = outputs.chain(self.entry.edited.iter().map(|edit| &edit.path));
        let above = |path: &WorkspacePath| std::iter::successors(path.parent(), WorkspacePath::parent);
        let mut folders: Vec<WorkspacePath> =
            paths.flat_map(above).filter(|folder| !folder.is_root()).collect();
        folders.sort();
        folders.dedup();
        let is_link = |folder: &&WorkspacePath| {
            folder.under(self.context.tree.root()).symlink_metadata().is_ok_and(|it| it.is_symlink())
        };
        match folders.iter().find(is_link) {
            Some(link) => Err(format!("{link} is a link, and what is restored goes through none")),
            None => Ok(()),
        }
    }

    /// States of edited files, and the transcript, are kept with the objects, as after a run.
    fn keep_states(&self, at: &Root) -> Result<(), String> {
        let objects = &self.context.objects;
        for edit in self.entry.edited.iter().filter(|edit| edit.is_change() && edit.after.exists()) {
            objects.put(&edit.path.under(at.root()), &edit.after).map_err(|error| error.to_string())?;
        }
        let inputs = self.assignment.action.inputs.iter().filter(|input| input.via == Via::Edits);
        for input in inputs.filter(|input| self.assignment.snapshot.holds(&input.path, &input.entry)) {
            let from = input.path.under(self.context.tree.root());
            objects.put(&from, &input.entry).map_err(|error| error.to_string())?;
        }
        let transcript = self.entry.agent.as_ref().and_then(|agent| agent.transcript);
        if let (Some(entry), Some(beside)) = (transcript, self.entry.beside(BesideKind::Transcript))
            && entry.digest == beside.digest
            && !objects.has(&entry)
            && let Some(bytes) = self.cache.fetch_beside(&beside.digest, beside.size)
        {
            let from = self.folder().join(crate::model::UNFINISHED);
            std::fs::write(&from, bytes).map_err(|error| error.to_string())?;
            objects.put(&from, &entry).map_err(|error| error.to_string())?;
            std::fs::remove_file(&from).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn produced(&self, outputs: Vec<(WorkspacePath, Observed)>, validation: Validation) -> Produced {
        let (entry, assignment) = (&self.entry, self.assignment);
        let mut edited: Vec<Change> = entry
            .edited
            .iter()
            .map(|edit| Change { path: edit.path.clone(), before: edit.before, after: edit.after })
            .collect();
        // Paths that are known here by other editors alone, and that are not there for this one.
        let others =
            assignment.edits.iter().filter(|path| !entry.edited.iter().any(|edit| edit.path == **path));
        let others = others.map(|path| (path, assignment.found(path)));
        edited.extend(others.map(|(path, state)| Change { path: path.clone(), before: state, after: state }));
        edited.sort_by(|a, b| a.path.cmp(&b.path));
        Produced {
            outputs,
            displaced: Vec::new(),
            discovered: self.candidate.discovered.clone(),
            validation,
            validated: true,
            evidence: entry.evidence.clone(),
            duration: entry.duration,
            edited,
            commit: None,
            on_branch: assignment.task.integrate == Integrate::Branch,
            approval: entry.approval.clone().filter(|_| assignment.task.approve),
            agent: entry.agent.clone(),
        }
    }

    fn must_wait(&self) -> bool {
        self.assignment.task.approve && self.entry.approval.is_none()
    }

    fn bring_into_the_tree(
        &self,
        at: &Root,
        mut produced: Produced,
        holds: bool,
    ) -> Result<Option<Outcome>, String> {
        let (context, assignment) = (self.context, self.assignment);
        if self.must_wait() {
            let hold = || {
                pending::hold(context, assignment, Wait::Approval, at, produced, Vec::new(), None)
                    .map(Some)
                    .map_err(|refusal| refusal.message)
            };
            return if holds { hold() } else { Ok(None) };
        }
        let accepted = std::mem::take(&mut produced.outputs);
        let came = integrate(context, assignment, self.attempt, (at, Source::Spent), &accepted, None);
        let came = match came {
            Ok(came) => came,
            Err(Obstacle::Conflict(_)) => return Ok(None),
            Err(Obstacle::Failed(error)) => return Err(error.to_string()),
        };
        (produced.outputs, produced.displaced) = (came.outputs, came.displaced);
        let (judged, unaccepted) = if holds {
            (Judged::Accepted(std::mem::take(&mut produced.evidence)), Vec::new())
        } else {
            self.judge_in_tree(&mut produced)
        };
        let unchecked = match judged {
            Judged::Accepted(evidence) => {
                produced.evidence = evidence;
                None
            }
            Judged::Unchecked(evidence, refusal) => {
                produced.evidence = evidence;
                Some(*refusal)
            }
            Judged::No(outcome) => {
                came.staged.restore(context, None).map_err(|error| error.to_string())?;
                return Ok(outcome);
            }
        };
        produced.validated = unchecked.is_none() && unaccepted.is_empty();
        match settled(context, produced.outputs) {
            Ok(outputs) => produced.outputs = outputs,
            Err(why) => {
                came.staged.restore(context, None).map_err(|error| error.to_string())?;
                return Err(why);
            }
        }
        let changed = self.guard.changes(&context.tree);
        Ok(Some(Outcome::Done(Box::new(Done {
            staged: Some(came.staged),
            changed,
            unaccepted,
            unchecked,
            warnings: came.warnings,
            log: self.log(),
            restored: Some(self.start.elapsed()),
            ..Done::of(produced)
        }))))
    }

    /// Runs the checks of today on the result in the tree. Beside their verdict: their inputs that moved meanwhile.
    fn judge_in_tree(&self, produced: &mut Produced) -> (Judged, Vec<Moved>) {
        let inputs = CheckInputs::in_tree(self.context, self.assignment, &paths_of(&produced.outputs));
        let judged = self.judge(&ExecRoot::tree(self.context));
        let unaccepted = inputs.moved(self.context);
        produced.validation = inputs.validation;
        (judged, unaccepted)
    }

    fn bring_apart(&self, at: Root, mut produced: Produced, holds: bool) -> Result<Option<Outcome>, String> {
        let mut unchecked = None;
        if !holds {
            match self.judge_apart(&at, &mut produced)? {
                Judged::Accepted(evidence) => produced.evidence = evidence,
                Judged::Unchecked(evidence, refusal) => {
                    (produced.evidence, produced.validated) = (evidence, false);
                    unchecked = Some(*refusal);
                }
                Judged::No(outcome) => return Ok(outcome),
            }
        }
        let restored = Some(self.start.elapsed());
        let changed = self.guard.changes(&self.context.tree);
        let made = Made { produced, at, changed, unchecked, warnings: Vec::new(), log: self.log(), restored };
        if made.overtaken().is_some() {
            return Ok(Some(Outcome::Moved(made.changed)));
        }
        let outcome = isolated::finish(self.context, self.assignment, self.attempt, made);
        outcome.map(Some).map_err(|refusal| refusal.message)
    }

    fn judge(&self, exec_root: &ExecRoot) -> Judged {
        let assignment = self.assignment;
        (self.context.events)(Event::TaskStarted {
            task: assignment.task.id.clone(),
            key: self.candidate.action.key(),
            reasons: assignment.reasons.clone(),
            attempt: self.attempt,
            validation_only: true,
        });
        let verdict = checks::run(self.context, exec_root, assignment, "validate", &assignment.task.validate);
        let Some(failure) = verdict.failure else { return Judged::Accepted(verdict.evidence) };
        match (failure.cancelled, failure.could_not_run) {
            (true, _) => Judged::No(Some(Outcome::Refused(Box::new(failure.into())))),
            (false, true) => Judged::Unchecked(verdict.evidence, Box::new(self.refused_by(failure))),
            (false, false) => Judged::No(None),
        }
    }

    fn refused_by(&self, failure: CheckFailure) -> Refusal {
        let reason = Reason::new(ReasonKind::ValidationFailed).name(failure.definition.clone());
        Refusal { reason, log: self.log(), ..failure.into() }
    }

    fn judge_apart(&self, at: &Root, produced: &mut Produced) -> Result<Judged, String> {
        let (context, assignment) = (self.context, self.assignment);
        let mut isolated = match IsolatedDir::prepare(context, assignment) {
            Ok(isolated) => isolated,
            Err(NotReady::Moved(paths)) => return Ok(Judged::No(Some(Outcome::Moved(paths)))),
            Err(NotReady::Failed(error)) => return Err(error.to_string()),
        };
        let mut judge = || -> Result<Judged, String> {
            isolated
                .bring_made(context, at, &produced.outputs, &produced.edited)
                .map_err(|error| error.to_string())?;
            isolated.bring_copies(context, &assignment.task.copy).map_err(|error| error.to_string())?;
            isolated.set_up(context, assignment).map_err(|refusal| refusal.message)?;
            let inputs =
                CheckInputs::bring(context, &isolated, assignment).map_err(|error| error.to_string())?;
            produced.validation = inputs.validation;
            Ok(self.judge(&isolated.exec_root))
        };
        let judged = judge();
        isolated.remove();
        judged
    }

    /// Where this run keeps what the task printed when it ran.
    fn log(&self) -> Option<String> {
        let has_log = self.entry.beside(BesideKind::Log).is_some();
        has_log.then(|| self.context.shown(&self.context.log(&self.assignment.task.id, None)))
    }

    /// What the task printed is told again.
    fn replay(&self, bytes: &[u8]) {
        let task = &self.assignment.task.id;
        let place = self.context.log(task, None);
        if let Some(folder) = place.parent() {
            // A log that cannot be written costs its reader, not the build.
            let _ = workspace::make_folder(folder).map(|()| std::fs::write(&place, bytes));
        }
        // What an agent's program prints is for machines; people read its answer.
        let said = self.entry.agent.as_ref().and_then(|agent| agent.text.as_deref());
        for line in String::from_utf8_lossy(said.map_or(bytes, str::as_bytes)).lines() {
            let line = line.to_owned();
            (self.context.events)(Event::TaskOutput { task: task.clone(), line });
        }
    }
}
