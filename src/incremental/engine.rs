//! The engine: plan, recorded state, tree and database under one owner.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::caller::Caller;
use super::db::{self, Database, FileInput, ResultInput, TaskInput, Verdict};
use super::snapshot::{Listing, Snapshot};
use super::world::{ToolRunner, World};
use crate::graph::{Plan, TaskIndex};
use crate::model::{
    Action, ActionKey, Components, Diagnostic, Entry, Failure, Isolation, OutputEntry, PathIndex, Reason,
    Record, Signature, Task, TaskId, Validation, WorkspacePath,
};
use crate::store;
use crate::workspace::Tree;

/// What an engine is made for.
pub struct Options {
    /// conductor's environment.
    pub caller: Caller,
    /// Runs `tools` commands; none where commands may not run (`check`, `why`, `list`).
    pub tools: Option<ToolRunner>,
    /// What is known of the programs among the tools.
    pub programs: store::Programs,
    /// Tasks to run whatever their state.
    pub forced: BTreeSet<TaskIndex>,
    /// `--isolation`
    pub isolation: Option<Isolation>,
    /// `.conductor`
    pub folder: std::path::PathBuf,
}

/// See the module.
pub struct Engine {
    pub(super) db: Database,
    pub(super) plan: Arc<Plan>,
    pub(super) workspace: Tree,
    pub(super) state: store::State,
    pub(super) world: World,
    pub(super) forced: BTreeSet<TaskIndex>,
    /// Inputs of the database, by file and by task; made when first asked for.
    pub(super) files: Vec<Option<FileInput>>,
    pub(super) results: Vec<Option<ResultInput>>,
    pub(super) tasks: Vec<Option<TaskInput>>,
    /// Files that this session has looked at.
    pub(super) observed: Vec<bool>,
    /// Of those, the ones that a walk has found and that no pattern means, as far as anybody asked.
    pub(super) only_walked: Vec<bool>,
    pub(super) looks: super::look_back::Looks,
    pub(super) candidate: Vec<bool>,
    /// Outputs are hashed whatever their signature says.
    pub(super) distrustful: bool,
    /// Files below these folders are known, sorted.
    pub(super) walked: super::resolve::Walked,
    pub(super) ways: super::trails::Ways,
    /// The warnings that were given.
    pub(super) doubted: BTreeSet<super::doubts::Subject>,
    /// Files that are recorded outputs of any task, whether the manifest still has it or not.
    pub(super) owned: Vec<bool>,
    /// Tasks with recorded outputs that the manifest no longer has.
    pub(super) gone: Vec<TaskId>,
    /// Tasks with a record whose definition is another one now.
    pub(super) redefined: Vec<TaskIndex>,
    /// Tasks with a record that are gone or redefined, whatever they made.
    pub(super) changed: Vec<TaskId>,
    /// Recorded outputs that their makers no longer declare, once they were looked for.
    pub(super) estranged: Option<super::estranged::Estrangement>,
    /// See [`Engine::makers`].
    pub(super) makers: OnceCell<PathIndex<TaskIndex>>,
    /// The place of each task in the plan's order, once somebody asks.
    ranks: OnceCell<Vec<u32>>,
    /// Bytes that the tree does not hold any more.
    pub(super) objects: store::Objects,
    /// The editors, once they were looked for.
    pub(super) chains: Option<Arc<super::chain::Chains>>,
    /// Results that come from `conductor.lock`.
    pub(super) locked: super::locked::Lock,
    /// In which tasks run that none is set for by themselves.
    isolation: Option<Isolation>,
}

/// Everything that a worker needs to bring one task up to date; holds no handle of the database.
#[derive(Clone)]
pub struct Assignment {
    /// Which task.
    pub index: TaskIndex,
    /// Its definition.
    pub task: Arc<Task>,
    /// Its checks alone are to run, on the outputs that stand.
    pub validation_only: bool,
    /// What the result will depend on.
    pub action: Action,
    /// Of `action`.
    pub key: ActionKey,
    /// Why it is due.
    pub reasons: Vec<Reason>,
    /// Its inputs as they were when the key was made.
    pub snapshot: Arc<Snapshot>,
    /// What conductor recorded at its outputs, with the signature that vouches for it where it was seen.
    pub previous: Vec<(OutputEntry, Signature)>,
    /// What it made and no task declares any more.
    pub leftovers: Vec<WorkspacePath>,
    /// The declared checks with the inputs that tasks make; the files among their inputs are looked at when
    /// the checks start.
    pub validation: Validation,
    /// What the patterns of the checks' inputs found.
    pub check_listings: Vec<Listing>,
    /// Its last accepted result.
    pub record: Option<Arc<Record>>,
    /// What became of its last attempt, if that was not accepted.
    pub failure: Option<Arc<Failure>>,
    /// Where it runs.
    pub isolation: Isolation,
    /// What everything that it needs made, directly or not, sorted by path: for a worktree's commit.
    pub inherited: Vec<OutputEntry>,
    /// Outputs of earlier results, its own and of what it needs, that nobody makes any more.
    pub vanished: Vec<WorkspacePath>,
    /// The commits of the results that it needs, hexadecimal.
    pub commits: Vec<String>,
    /// Where its inputs are declared, to say where one is missing.
    pub inputs_at: Option<crate::model::Place>,
    /// Every path that its `edits` match, sorted; some may not be there.
    pub edits: Vec<WorkspacePath>,
}

/// What the commit of a result takes over from those of its needs.
#[derive(Default)]
struct Inherited {
    /// The last state of each path.
    made: BTreeMap<WorkspacePath, Entry>,
    /// Paths that were made once and are no more.
    vanished: Vec<WorkspacePath>,
    /// The commits that hold them.
    commits: Vec<String>,
}

impl Engine {
    /// Takes over the recorded state. Looks at nothing yet.
    pub fn new(plan: Arc<Plan>, workspace: Tree, state: store::State, options: Options) -> Self {
        let n = plan.len();
        let files = state.file_count();
        Self {
            db: Database::default(),
            workspace,
            world: World::new(options.caller, options.tools, options.programs),
            forced: options.forced,
            files: Vec::new(),
            results: vec![None; n],
            tasks: vec![None; n],
            observed: vec![false; files],
            only_walked: Vec::new(),
            looks: super::look_back::Looks::default(),
            candidate: vec![false; n],
            distrustful: false,
            walked: super::resolve::Walked::default(),
            ways: super::trails::Ways::default(),
            doubted: BTreeSet::new(),
            owned: Vec::new(),
            gone: Vec::new(),
            redefined: Vec::new(),
            changed: Vec::new(),
            estranged: None,
            makers: OnceCell::new(),
            ranks: OnceCell::new(),
            objects: store::Objects::of(&options.folder),
            chains: None,
            locked: super::locked::Lock::default(),
            isolation: options.isolation,
            plan,
            state,
        }
    }

    /// The plan.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// These are to run whatever their state; said before [`Engine::observe`].
    pub fn force(&mut self, tasks: BTreeSet<TaskIndex>) {
        self.forced = tasks;
    }

    /// The recorded state, to be read.
    pub fn state(&self) -> &store::State {
        &self.state
    }

    /// What is recorded of a task, as the database has it.
    pub fn recorded(&self, index: TaskIndex) -> Option<Arc<Record>> {
        self.results.get(index as usize).copied().flatten()?.record(&self.db)
    }

    /// As [`Engine::recorded`], or as the state has it where nothing was asked about the task.
    pub fn recorded_or_kept(&self, index: TaskIndex) -> Option<Arc<Record>> {
        self.recorded(index).or_else(|| self.state.record(&self.plan.task_id(index)).map(Arc::new))
    }

    /// What is known of the programs among the tools, to be kept.
    pub fn programs_mut(&mut self) -> &mut store::Programs {
        &mut self.world.kept
    }

    /// The recorded state, to be committed.
    pub fn state_mut(&mut self) -> &mut store::State {
        &mut self.state
    }

    /// Tasks that left outputs behind when they left the manifest.
    pub fn gone(&self) -> &[TaskId] {
        &self.gone
    }

    /// May it be anything but fresh? Known after [`Engine::observe`].
    pub fn is_candidate(&self, index: TaskIndex) -> bool {
        self.candidate[index as usize]
    }

    /// Must be asked, because something that it reads has changed.
    pub fn make_candidate(&mut self, index: TaskIndex) {
        self.candidate[index as usize] = true;
    }

    /// What is to be done about a task, given its dependencies' recorded results.
    pub fn verdict(&mut self, index: TaskIndex) -> Result<Verdict, Diagnostic> {
        let task = self.task_input(index)?;
        Ok(db::verdict(&self.db, task))
    }

    /// Everything that a worker needs. The task must be stale or unvalidated.
    pub fn assignment(&mut self, index: TaskIndex) -> Result<Assignment, Diagnostic> {
        let verdict = self.verdict(index)?;
        let reasons = self.reasons(index)?;
        let input = self.task_input(index)?;
        let shape = input.shape(&self.db);
        let action = db::describe(&self.db, &shape).map_err(|dep| {
            Diagnostic::error("build::blocked", format!("{} has no result yet", self.plan.id(dep)))
        })?;
        let key = action.key();
        let snapshot = Arc::new(self.snapshot(&shape, &action));
        for id in snapshot.files.iter().filter_map(|seen| self.state.file_id(&seen.path)) {
            self.looks.touch(id);
        }
        let record = shape.result.record(&self.db);
        let failure = input.failure(&self.db);
        self.find_estranged();
        let isolation = self.isolation_of(&shape.task);
        let Inherited { made, vanished, commits } = match isolation {
            Isolation::Worktree => self.inherited_results(index),
            _ => Inherited::default(),
        };
        let validation = db::validation(&self.db, &shape);
        Ok(Assignment {
            check_listings: self.check_listings(&shape, &validation),
            inherited: made.into_iter().map(|(path, entry)| OutputEntry { path, entry }).collect(),
            vanished,
            commits,
            index,
            task: Arc::clone(&shape.task),
            validation_only: verdict.state == db::State::Unvalidated && !shape.task.is_gate(),
            key,
            reasons,
            snapshot,
            previous: self.previous(&shape.task, record.as_deref(), failure.as_deref()),
            leftovers: self.leftovers(&shape.task, record.as_deref()),
            validation,
            isolation,
            inputs_at: self.place(shape.task.inputs.first().map_or(shape.task.at, |pattern| pattern.at)),
            edits: shape.edits.iter().map(|edit| edit.path.clone()).collect(),
            record,
            failure,
            action,
        })
    }

    /// What the commit of a task's result takes over.
    fn inherited_results(&mut self, index: TaskIndex) -> Inherited {
        let mut needed = super::chain::carried(&self.plan, index);
        needed.insert(index);
        let mut needed: Vec<TaskIndex> = needed.into_iter().collect();
        // Dependencies first, so that a later editor's state of a path is the one that stays.
        needed.sort_by_key(|other| self.rank(*other));
        let plan = Arc::clone(&self.plan);
        let mut inherited = Inherited::default();
        let mut earlier = BTreeSet::new();
        for other in needed {
            let result = self.result_input(other);
            let Some(record) = result.record(&self.db) else { continue };
            let Ok(task) = plan.task(other) else { continue };
            let own = PathIndex::set(task.outputs.iter().map(|output| &output.path));
            let undone = record.undo.iter().flat_map(|undo| &undo.outputs).map(|output| &output.path);
            let undone = undone.filter(|path| own.holds(path));
            // Where something stands there nonetheless, a person put it there.
            let there = |path: &WorkspacePath| self.workspace.signature(path) != Signature::ABSENT;
            let gone =
                undone.filter(|path| record.output(path).is_none() && (record.on_branch || !there(path)));
            earlier.extend(gone.cloned());
            if other == index {
                continue;
            }
            let made = record.outputs.iter().map(|output| (output.path.clone(), output.entry));
            inherited.made.extend(made);
            let edited = record.edited.iter().filter(|edited| edited.before != edited.after);
            inherited.made.extend(edited.map(|edited| (edited.path.clone(), edited.after)));
            inherited.commits.extend(record.commit.clone());
        }
        earlier.retain(|path| !inherited.made.contains_key(path));
        inherited.vanished = earlier.into_iter().collect();
        inherited
    }

    /// The place of a task in the plan's order.
    fn rank(&self, index: TaskIndex) -> u32 {
        let ranks = self.ranks.get_or_init(|| {
            let mut ranks = vec![0; self.plan.len()];
            for (rank, index) in (0..).zip(self.plan.order()) {
                ranks[index as usize] = rank;
            }
            ranks
        });
        ranks[index as usize]
    }

    /// Where a task runs: as it says, unless the build says otherwise. A task that edits files is never
    /// run in the tree, and nothing runs on a branch that does not say so.
    pub fn isolation_of(&self, task: &Task) -> Isolation {
        let bound = !task.edits.is_empty() || task.integrate == crate::model::Integrate::Branch;
        match self.isolation {
            _ if task.is_gate() => Isolation::None,
            Some(Isolation::None) if bound => task.isolation,
            Some(Isolation::Sandbox) if task.integrate == crate::model::Integrate::Branch => task.isolation,
            Some(isolation) => isolation,
            None => task.isolation,
        }
    }

    /// Recorded outputs, those that an unaccepted run left, and those that were another task's.
    fn previous(
        &self,
        task: &Task,
        record: Option<&Record>,
        failure: Option<&Failure>,
    ) -> Vec<(OutputEntry, Signature)> {
        let outputs = record.into_iter().flat_map(|record| record.outputs.iter().cloned());
        let left = failure.into_iter().flat_map(|failure| failure.outputs.iter().cloned());
        let all = outputs.chain(left).chain(self.inherited(task));
        let mut all: Vec<_> = all.map(|output| (self.signature_of(&output), output)).collect();
        all.sort_by(|(_, a), (_, b)| a.path.cmp(&b.path));
        all.into_iter().map(|(signature, output)| (output, signature)).collect()
    }

    /// The parts of the key of a recorded action, for `why` and the lock.
    pub fn components(&mut self, index: TaskIndex) -> Result<Option<Components>, Diagnostic> {
        let input = self.task_input(index)?;
        let shape = input.shape(&self.db);
        Ok(db::describe(&self.db, &shape).ok().map(|action| action.components()))
    }

    pub(super) fn is_owned(&self, id: store::FileId) -> bool {
        self.owned.get(id.0 as usize).copied().unwrap_or(false)
    }

    pub(super) fn set_owned(&mut self, id: store::FileId, owned: bool) {
        if self.owned.len() <= id.0 as usize {
            self.owned.resize(id.0 as usize + 1, false);
        }
        self.owned[id.0 as usize] = owned;
    }

    /// Ends the session and gives the state back.
    pub fn into_state(self) -> store::State {
        self.state
    }
}
