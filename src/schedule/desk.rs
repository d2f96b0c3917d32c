//! What a person decides about results, between builds: the engine, the workspace and the lock in one hand.
//! Approving and rejecting are here; `resolve` and `rollback` are beside it.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::execute::{self, RunContext, Staged};
use crate::graph::TaskIndex;
use crate::incremental::{Accepted, Assignment, Engine, Produced, Verdict};
use crate::model::{
    Approval, Diagnostic, Failure, Pending, Reason, ReasonKind, RunId, TaskId, Wait, WorkspacePath,
};
use crate::store::Cache;

/// Why a decision was not carried out; nothing has changed.
#[derive(Debug)]
pub enum Refused {
    /// There is nothing to decide, or not so.
    Usage(Diagnostic),
    /// The world is not what the decision was about any more.
    Stale(Diagnostic),
    /// A person's files, or damage, are in the way.
    Integrity(Diagnostic),
    /// It was tried and failed.
    Failed(Diagnostic),
}

impl Refused {
    /// What to tell.
    pub fn diagnostic(self) -> Diagnostic {
        match self {
            Self::Usage(told) | Self::Stale(told) | Self::Integrity(told) | Self::Failed(told) => told,
        }
    }
}

/// A decision as it was carried out.
#[derive(Debug, Default)]
pub struct Settled {
    /// Paths of the tree that hold something else now.
    pub changed: Vec<WorkspacePath>,
    /// What a person should know.
    pub notices: Vec<Diagnostic>,
}

/// See the module. The engine has observed every task.
pub struct Desk {
    pub(super) engine: Engine,
    pub(super) context: Arc<RunContext>,
    pub(super) staged: Vec<Staged>,
    landings: usize,
    /// Tasks whose waiting result is in the tree, and not yet durably recorded.
    taken_in: Vec<TaskId>,
}

impl Desk {
    /// For decisions on what the engine has observed.
    pub fn new(engine: Engine, context: Arc<RunContext>) -> Self {
        Self { engine, context, staged: Vec::new(), landings: 0, taken_in: Vec::new() }
    }

    /// The engine, after a decision, for whoever wants to know more of it.
    pub fn engine_mut(&mut self) -> &mut Engine {
        &mut self.engine
    }

    pub(super) fn id(&self, index: TaskIndex) -> TaskId {
        self.engine.plan().task_id(index)
    }

    /// The result of a task that waits for a person.
    pub(super) fn pending(&self, index: TaskIndex) -> Option<Pending> {
        self.engine
            .state()
            .failure(&self.id(index))
            .and_then(|failure| failure.pending)
            .map(|pending| *pending)
    }

    /// Accepts exactly the result that was shown, and brings it into the tree.
    ///
    /// # Errors
    /// The task waits for no approval; its inputs or its files are others by now; a person's version is in the way.
    pub fn approve(&mut self, index: TaskIndex, approval: Approval) -> Result<Settled, Refused> {
        let pending = self.awaiting_approval(index)?;
        let assignment = self.waiting_assignment(index)?;
        let mut settled = self.take_in(index, &assignment, &pending, Some(approval))?;
        self.close()?;
        if let Some(record) = self.engine.recorded(index) {
            // It was printed in another run.
            execute::keep_result(&self.context, &assignment, &record, false);
        }
        settled.notices.extend(self.context.cache.iter().flat_map(Cache::settle));
        Ok(settled)
    }

    /// The word was given, but a person's versions stand at these paths: the result waits for these now.
    fn approved_but(
        &mut self,
        index: TaskIndex,
        pending: &Pending,
        approval: Approval,
        paths: Vec<WorkspacePath>,
    ) -> Refused {
        let (id, refused) = (self.id(index), in_the_way(&paths));
        let first = paths.first().cloned().unwrap_or_default();
        let mut pending = pending.clone();
        pending.record.approval = Some(approval);
        let Some(failure) = self.engine.state().failure(&id) else { return refused };
        if let Err(error) = execute::turn_into_conflict(&self.context, &id, &mut pending, paths) {
            return Refused::Failed(Diagnostic::error("approve::files", error.to_string()));
        }
        let reason = Reason::new(ReasonKind::OutputModified).path(&first);
        self.engine.refuse(index, &Failure { pending: Some(Box::new(pending)), reason, ..failure });
        self.close().err().unwrap_or(refused)
    }

    /// Throws the result away: the task is stale, with `note` as what a check would have said.
    ///
    /// # Errors
    /// The task waits for no approval, or this cannot be recorded.
    pub fn reject(&mut self, index: TaskIndex, note: Option<&str>) -> Result<Settled, Refused> {
        let pending = self.awaiting_approval(index)?;
        let mut reason = Reason::new(ReasonKind::ValidationFailed).name("approve");
        reason.new = Some(note.unwrap_or("rejected").to_owned());
        let failure = Failure::new(pending.record.key, reason, self.context.run.clone());
        self.engine.refuse(index, &failure);
        self.close()?;
        let cleared = execute::clear_pending(&self.context, &self.id(index));
        let notice = cleared.err().map(|error| Diagnostic::warning("approve::left", error.to_string()));
        Ok(Settled { notices: notice.into_iter().collect(), ..Settled::default() })
    }

    fn awaiting_approval(&self, index: TaskIndex) -> Result<Pending, Refused> {
        self.pending(index).filter(|pending| pending.wait == Wait::Approval).ok_or_else(|| {
            let message = format!("{} does not wait for approval", self.id(index));
            Refused::Usage(
                Diagnostic::error("approve::nothing", message).help("`conductor list` shows what does"),
            )
        })
    }

    /// The assignment of a task whose waiting result is still the one for its inputs.
    pub(super) fn waiting_assignment(&mut self, index: TaskIndex) -> Result<Assignment, Refused> {
        let verdict = self.engine.verdict(index).map_err(Refused::Failed)?;
        if verdict.state != Verdict::Waiting {
            let message = format!("what {} reads has changed since its result was made", self.id(index));
            let help =
                format!("`conductor why {}` says what; `conductor build` makes it anew", self.id(index));
            return Err(Refused::Stale(Diagnostic::error("approve::stale", message).help(help)));
        }
        self.engine.assignment(index).map_err(Refused::Failed)
    }

    /// Brings a waiting result into the tree and records it.
    pub(super) fn take_in(
        &mut self,
        index: TaskIndex,
        assignment: &Assignment,
        pending: &Pending,
        approval: Option<Approval>,
    ) -> Result<Settled, Refused> {
        let released = execute::release(&self.context, assignment, pending, 0)
            .map_err(|message| Refused::Integrity(Diagnostic::error("approve::other_files", message)))?;
        let released = match (released, approval.clone()) {
            (Ok(released), _) => released,
            (Err(paths), Some(approval)) => return Err(self.approved_but(index, pending, approval, paths)),
            (Err(paths), None) => return Err(in_the_way(&paths)),
        };
        self.staged.extend(released.staged);
        let approval = approval.or_else(|| released.produced.approval.clone());
        let produced = Produced { approval, ..released.produced };
        let changed = produced.outputs.iter().map(|(path, _)| path.clone()).collect();
        let mut settled = Settled { changed, notices: released.warnings };
        match self.engine.accept(assignment, &self.context.run, produced) {
            Accepted::Recorded { .. } => {
                let moved = released.branch.and_then(|branch| execute::move_branch(&self.context, &branch));
                settled.notices.extend(moved);
            }
            Accepted::Overtaken(moved) => {
                let paths: Vec<WorkspacePath> =
                    moved.iter().filter_map(|moved| moved.path().cloned()).collect();
                return Err(self.undo(&paths));
            }
        }
        self.land(index, &mut settled)?;
        self.taken_in.push(assignment.task.id.clone());
        Ok(settled)
    }

    fn undo(&mut self, paths: &[WorkspacePath]) -> Refused {
        for staged in self.staged.drain(..) {
            // What cannot be put back now is put back by the next build's recovery.
            let _ = staged.restore(&self.context, None);
        }
        let named = paths.first().map(ToString::to_string).unwrap_or_default();
        Refused::Stale(Diagnostic::error("approve::stale", format!("{named} changed at this very moment")))
    }

    /// Brings what a task edited into the tree.
    pub(super) fn land(&mut self, index: TaskIndex, settled: &mut Settled) -> Result<(), Refused> {
        let standing: BTreeSet<TaskIndex> = self.engine.standing_editors();
        let landing = self.engine.landing(index, &|editor| standing.contains(&editor), true);
        if landing.contested.is_empty() {
            self.put(landing.moves, settled)
        } else {
            Err(in_the_way(&landing.contested))
        }
    }

    /// Brings edited paths of the tree to other states.
    pub(super) fn put(
        &mut self,
        moves: Vec<crate::incremental::Move>,
        settled: &mut Settled,
    ) -> Result<(), Refused> {
        if moves.is_empty() {
            return Ok(());
        }
        self.landings += 1;
        let plan = Arc::clone(self.engine.plan());
        let landed = execute::land(&self.context, &|editor| plan.task_id(editor), self.landings, moves)
            .map_err(|message| Refused::Failed(Diagnostic::error("edits::landing", message)))?;
        if !landed.contested.is_empty() {
            let refused = in_the_way(&landed.contested);
            if let Some(staged) = landed.staged {
                let _ = staged.restore(&self.context, None);
            }
            return Err(refused);
        }
        settled.changed.extend(landed.moves.iter().map(|(step, _)| step.path.clone()));
        self.engine.landed(&landed.moves, landed.name());
        self.staged.extend(landed.staged);
        Ok(())
    }

    /// Makes it durable, and lets go of what it replaced.
    pub(super) fn close(&mut self) -> Result<(), Refused> {
        let kept = self.context.objects.sync();
        kept.and_then(|()| self.engine.state_mut().finish()).map_err(|error| {
            let help = "nothing is lost: the next build puts the last recorded files back";
            Refused::Failed(Diagnostic::error("build::state", error.to_string()).help(help))
        })?;
        for staged in self.staged.drain(..) {
            staged.finish(&self.context);
        }
        for task in self.taken_in.drain(..) {
            // What cannot be removed now is removed by the next build's recovery.
            let _ = execute::clear_pending(&self.context, &task);
        }
        Ok(())
    }

    /// Which run this is, in the records.
    pub fn run(&self) -> &RunId {
        &self.context.run
    }
}

/// A person's version stands at these paths.
pub(super) fn in_the_way(paths: &[WorkspacePath]) -> Refused {
    let first = paths.first().map(ToString::to_string).unwrap_or_default();
    let more = if paths.len() > 1 { format!(" and {} more", paths.len() - 1) } else { String::new() };
    let message = format!("{first}{more} is not what conductor made, and is not overwritten");
    let help = format!("`conductor resolve {first} --theirs` or `--mine`");
    Refused::Integrity(Diagnostic::error("build::conflict", message).help(help))
}
