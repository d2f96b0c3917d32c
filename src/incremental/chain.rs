//! Chains: the editors of one path, in their order, and which state of the path the tree holds.
//!
//! Every editor's record says in which state it found a path and in which it left it, and whether the tree
//! has held that since (`landed`) or still holds an older result (`held`). From these and from what lies in the
//! tree today follows the rest (`stand`): whether everything is as it was left, whether somebody put the path
//! back to an earlier state, or whether a person edited it, so that there is a new base. Editors run apart, on
//! states that are kept as objects; the tree gets the last state of a path when all its editors are accepted.
//!
//! An editor's key holds each path in the state in which the editor finds it, so that an early editor whose
//! result is the same again makes no later one run.
//!
//! An editor that leaves the manifest, or a path, leaves the chain: the others start from what the person wrote,
//! as if it had never been. Where it was the only one, its result stays and is the person's from then on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::db::{self, Dep, EditPath};
use super::engine::Engine;
use super::stand::{Chain, Link, Stand};
use crate::graph::{EdgeKinds, Plan, TaskIndex};
use crate::model::{Edited, Entry, EntryKind, Integrate, Pattern, Record, Task, TaskId, WorkspacePath};
use crate::workspace::Globs;

/// The tasks with `edits`.
pub(super) struct Chains {
    /// Dependencies first.
    pub(super) editors: Arc<[Editor]>,
    /// What tasks recorded of paths that they edit no more, because they or their `edits` are gone.
    pub(super) gone: BTreeMap<WorkspacePath, Vec<Edited>>,
}

/// A task with `edits`.
pub(super) struct Editor {
    pub(super) index: TaskIndex,
    pub(super) task: Arc<Task>,
    pub(super) globs: Globs,
    /// It waits for these editors, by needs; positions in [`Chains::editors`].
    pub(super) before: BTreeSet<usize>,
}

impl Editor {
    pub(super) fn edits(&self, path: &WorkspacePath) -> bool {
        self.globs.matches(path) && !self.task.outputs.iter().any(|output| path.is_within(&output.path))
    }
}

impl Engine {
    /// All editors, found once.
    pub(super) fn chains(&mut self) -> Arc<Chains> {
        if let Some(chains) = &self.chains {
            return Arc::clone(chains);
        }
        let plan = Arc::clone(&self.plan);
        let mut editors: Vec<Editor> = Vec::new();
        for index in plan.order().filter(|index| plan.edits(*index)) {
            let Ok(task) = plan.task(index) else { continue };
            let Ok(globs) = Globs::new(&task.edits) else { continue };
            let within = carried(&plan, index);
            let before = editors.iter().enumerate().filter(|(_, other)| within.contains(&other.index));
            let before = before.map(|(at, _)| at).collect();
            editors.push(Editor { index, task, globs, before });
        }
        let gone = self.gone_edits(&editors);
        let chains = Arc::new(Chains { editors: editors.into(), gone });
        self.chains = Some(Arc::clone(&chains));
        chains
    }

    fn gone_edits(&self, editors: &[Editor]) -> BTreeMap<WorkspacePath, Vec<Edited>> {
        let mut gone: BTreeMap<WorkspacePath, Vec<Edited>> = BTreeMap::new();
        for id in &self.changed {
            let editor = editors.iter().find(|editor| editor.task.id == *id);
            let edited = self.state.record(id).map(|record| record.edited).unwrap_or_default();
            for edited in edited.into_iter().filter(|e| !editor.is_some_and(|editor| editor.edits(&e.path))) {
                gone.entry(edited.path.clone()).or_default().push(edited);
            }
        }
        gone
    }

    /// Forgets what tasks did to paths that they edit no more, for those paths that are `settled`.
    pub(super) fn forget_gone(&mut self, settled: &dyn Fn(&Chains, &WorkspacePath) -> bool) {
        let chains = self.chains();
        let paths: BTreeSet<&WorkspacePath> =
            chains.gone.keys().filter(|path| settled(&chains, path)).collect();
        if paths.is_empty() {
            return;
        }
        for id in self.changed.clone() {
            let editor = chains.editors.iter().find(|editor| editor.task.id == id);
            let is_own = |path: &WorkspacePath| editor.is_some_and(|editor| editor.edits(path));
            let Some(mut record) = self.state.record(&id) else { continue };
            let before = record.edited.len();
            record.edited.retain(|edited| !paths.contains(&edited.path) || is_own(&edited.path));
            if record.edited.len() == before {
                continue;
            }
            let index = self.plan.index_of(id.as_str());
            if index.is_none() && record.edited.is_empty() && record.outputs.is_empty() {
                self.state.forget(&id);
            } else {
                self.amend(&id, index, record);
            }
        }
        let gone = chains.gone.iter().filter(|(path, _)| !paths.contains(path));
        let gone = gone.map(|(path, edited)| (path.clone(), edited.clone())).collect();
        self.chains = Some(Arc::new(Chains { editors: Arc::clone(&chains.editors), gone }));
    }

    /// The build is over: what nobody edits any more is the person's from now on.
    pub fn leave_unedited(&mut self) {
        self.forget_gone(&|chains, path| !chains.editors.iter().any(|editor| editor.edits(path)));
    }

    /// Writes down what is known better of a result.
    pub(super) fn amend(&mut self, id: &TaskId, index: Option<TaskIndex>, record: Record) {
        self.state.amend_record(id, &record);
        if let Some(index) = index {
            let result = self.result_input(index);
            db::set_result(&mut self.db, result, Some(Arc::new(record)));
        }
    }

    /// The editors that a task waits for, in their order.
    pub(super) fn earlier_editors(&mut self, index: TaskIndex) -> Vec<Dep> {
        if !self.plan.edits(index) {
            return Vec::new();
        }
        let chains = self.chains();
        let Some(editor) = chains.editors.iter().find(|editor| editor.index == index) else {
            return Vec::new();
        };
        let earlier = editor.before.iter().map(|at| chains.editors[*at].index);
        earlier.map(|dep| self.dep(dep, EdgeKinds::default())).collect()
    }

    /// Puts the editors among dependencies in their order.
    pub(super) fn sort_editors(&mut self, deps: &mut [(TaskIndex, EdgeKinds)]) {
        if deps.iter().filter(|(dep, _)| self.plan.edits(*dep)).count() > 1 {
            let chains = self.chains();
            deps.sort_by_key(|(dep, _)| chains.editors.iter().position(|editor| editor.index == *dep));
        }
    }

    pub(super) fn chain(&mut self, chains: &Chains, path: &WorkspacePath) -> Chain {
        let editors: Vec<usize> =
            (0..chains.editors.len()).filter(|at| chains.editors[*at].edits(path)).collect();
        let mut links = Vec::with_capacity(editors.len());
        for at in &editors {
            let result = self.result_input(chains.editors[*at].index);
            links.push(match result.record(&self.db) {
                Some(record) => Link { edited: record.edited(path).cloned(), accepted: true },
                None => {
                    Link { edited: self.rolled_back(&chains.editors[*at].task.id, path), accepted: false }
                }
            });
        }
        Chain { editors, links, gone: chains.gone.get(path).cloned().unwrap_or_default() }
    }

    /// What the tree holds at a path, to an editor: no folder is a state of a file.
    pub(super) fn state_now(&mut self, path: &WorkspacePath) -> Entry {
        let id = self.look_at(path);
        let now = self.state.file(id).map_or_else(Entry::absent, |row| row.entry);
        if now.kind == EntryKind::Folder { Entry::absent() } else { now }
    }

    /// What a rollback put at a path, as if the task had left it as it found it.
    fn rolled_back(&self, id: &TaskId, path: &WorkspacePath) -> Option<Edited> {
        let failure = self.state.failure(id)?;
        let put = failure.outputs.iter().find(|output| output.path == *path)?;
        Some(Edited { path: path.clone(), before: put.entry, after: put.entry, landed: true, held: None })
    }

    /// Every path that an editor's globs match today, or matched when it or another editor ran.
    pub(super) fn domain(&mut self, chains: &Chains, editor: &Editor) -> BTreeSet<WorkspacePath> {
        let mut domain = BTreeSet::new();
        for pattern in editor.task.edits.iter().filter(|pattern| !pattern.negated) {
            let base = Pattern::base(pattern);
            // Files behind a link are edited by their own names.
            let is_behind_link = self.way(&base).is_some();
            let found: Vec<WorkspacePath> = if let Some(path) = &pattern.literal {
                let id = self.look_at(path);
                match self.state.file(id) {
                    Some(row) if row.signature.is_folder() && is_behind_link => Vec::new(),
                    Some(row) if row.signature.is_folder() => self.below_named(path),
                    Some(row) if row.entry.exists() => vec![path.clone()],
                    _ => Vec::new(),
                }
            } else if is_behind_link {
                Vec::new()
            } else {
                self.cover([base.clone()]);
                self.walked.below(&base).cloned().collect()
            };
            domain.extend(found.into_iter().filter(|path| editor.edits(path)));
        }
        domain.extend(chains.gone.keys().filter(|path| editor.edits(path)).cloned());
        domain.retain(|path| !self.state.file_id(path).is_some_and(|id| self.is_owned(id)));
        for other in chains.editors.iter() {
            let result = self.result_input(other.index);
            let record = result.record(&self.db);
            let known = record.iter().flat_map(|record| &record.edited).map(|edited| &edited.path);
            domain.extend(known.filter(|path| editor.edits(path)).cloned());
        }
        domain
    }

    /// What a task edits, as the tree has it today.
    pub(super) fn edit_paths(&mut self, index: TaskIndex) -> Vec<EditPath> {
        if !self.plan.edits(index) {
            return Vec::new();
        }
        let chains = self.chains();
        let Some(at) = chains.editors.iter().position(|editor| editor.index == index) else {
            return Vec::new();
        };
        let mut paths = Vec::new();
        for path in self.domain(&chains, &chains.editors[at]) {
            let now = self.state_now(&path);
            let chain = self.chain(&chains, &path);
            let (base, stand) = chain.stand(now);
            let position = chain.editors.iter().position(|other| *other == at).unwrap_or_default();
            let earlier = chain.editors[..position].iter().map(|other| chains.editors[*other].index);
            // Where it found nothing and left nothing there is nothing of it that could have been taken away.
            let made = |own: &Edited| own.in_tree().is_some_and(|left| left.exists() || own.before.exists());
            let in_tree = chain.links[position].edited.as_ref().is_some_and(made);
            let is_last = chain.last().map_or(chain.editors.len() - 1, |(last, _)| last) == position;
            let lands = chains.editors[at].task.integrate == Integrate::Tree;
            let due = chain.outcome(base).is_some_and(|outcome| outcome != now);
            paths.push(EditPath {
                earlier: earlier.collect(),
                base,
                persons: stand == Stand::Edited,
                reset: in_tree && matches!(stand, Stand::Reset(first) if position >= first),
                unlanded: is_last && lands && stand == Stand::Held && due,
                path,
            });
        }
        paths
    }

    /// What is to be recorded of the paths that a task edited, given its last result: which of them the tree
    /// holds. What it neither found nor left is remembered only as long as another editor knows the path.
    pub(super) fn settle_edits(&mut self, index: TaskIndex, old: Option<&Record>, edited: &mut Vec<Edited>) {
        if !self.plan.edits(index) {
            return;
        }
        let chains = self.chains();
        let today = self.edit_paths(index);
        let at = |path: &WorkspacePath| today.binary_search_by(|edit| edit.path.cmp(path)).ok();
        let mut persons = BTreeSet::new();
        for edited in edited.iter_mut() {
            let today = at(&edited.path).map(|at| &today[at]);
            let before = old.and_then(|old| old.edited(&edited.path));
            let in_tree = before.and_then(Edited::in_tree);
            if today.is_some_and(|edit| edit.persons) {
                persons.insert(edited.path.clone());
            } else if !today.is_some_and(|edit| edit.reset) {
                edited.landed = in_tree == Some(edited.after);
                edited.held = in_tree.filter(|_| !edited.landed);
            }
        }
        edited.retain(|edited| {
            let exists = |edited: &Edited| {
                edited.before.exists()
                    || edited.after.exists()
                    || edited.in_tree().is_some_and(|held| held.exists())
            };
            let chain = self.chain(&chains, &edited.path);
            let others = chain.editors.iter().zip(&chain.links);
            let others = others.filter(|(at, _)| chains.editors[**at].index != index);
            let mut others = others.filter_map(|(_, link)| link.edited.as_ref()).chain(&chain.gone);
            exists(edited) || others.any(exists)
        });
        self.let_go_of(&persons);
    }

    /// A person's edit is the base of these paths: the tree holds no result of any editor there.
    fn let_go_of(&mut self, paths: &BTreeSet<WorkspacePath>) {
        if paths.is_empty() {
            return;
        }
        let chains = self.chains();
        for editor in chains.editors.iter() {
            let result = self.result_input(editor.index);
            let Some(record) = result.record(&self.db) else { continue };
            let mut amended = (*record).clone();
            for edited in amended.edited.iter_mut().filter(|edited| paths.contains(&edited.path)) {
                (edited.landed, edited.held) = (false, None);
            }
            if amended != *record {
                self.amend(&editor.task.id, Some(editor.index), amended);
            }
        }
        self.forget_gone(&|_, path| paths.contains(path));
        self.forget_editors();
    }

    /// The editors whose results hold as things are now.
    pub fn standing_editors(&mut self) -> BTreeSet<TaskIndex> {
        let chains = self.chains();
        let editors = chains.editors.iter().map(|editor| editor.index);
        editors
            .filter(|index| {
                let state = self.verdict(*index).map(|verdict| verdict.state);
                let held = matches!(state, Ok(db::State::Fresh | db::State::Unvalidated));
                held && self.state.record(&self.plan.task_id(*index)).is_some()
            })
            .collect()
    }

    /// Is `now`, at a path that tasks edit, a person's doing?
    pub fn is_persons(&mut self, path: &WorkspacePath, now: Entry) -> bool {
        let chains = self.chains();
        self.chain(&chains, path).stand(now).1 == Stand::Edited
    }

    /// The last editor of a path that has a result.
    pub fn last_editor(&mut self, path: &WorkspacePath) -> Option<TaskIndex> {
        let chains = self.chains();
        let chain = self.chain(&chains, path);
        chain.last().map(|(at, _)| chains.editors[chain.editors[at]].index)
    }

    /// The last state of a path that an editor left.
    pub fn last_state(&mut self, path: &WorkspacePath) -> Option<Entry> {
        let chains = self.chains();
        self.chain(&chains, path).last().map(|(_, edited)| edited.after)
    }

    /// What lies at `path` is what its first editor starts from, from now on.
    pub fn rebase(&mut self, path: &WorkspacePath) {
        let chains = self.chains();
        let now = self.state_now(path);
        let chain = self.chain(&chains, path);
        let first = chain.editors.iter().zip(&chain.links).find(|(_, link)| link.edited.is_some());
        let Some(editor) = first.map(|(at, _)| &chains.editors[*at]) else { return };
        let Some(mut record) = self.state.record(&editor.task.id) else { return };
        for edited in record.edited.iter_mut().filter(|edited| edited.path == *path) {
            edited.before = now;
        }
        self.amend(&editor.task.id, Some(editor.index), record);
        self.let_go_of(&BTreeSet::from([path.clone()]));
    }

    /// The shapes of all editors hold what one of them recorded.
    pub(super) fn forget_editors(&mut self) {
        if let Some(chains) = self.chains.clone() {
            for editor in chains.editors.iter() {
                self.tasks[editor.index as usize] = None;
            }
        }
    }

    /// The path at which a person's edit stands in the way of an agent's result: nothing on that chain starts
    /// before the person says what is to become of it.
    pub fn contested(&mut self, index: TaskIndex) -> Option<WorkspacePath> {
        if self.plan.is_agent(index)
            && let Some(record) =
                self.state.record(&self.plan.task_id(index)).filter(|record| !record.on_branch)
        {
            for output in &record.outputs {
                let id = self.look_at(&output.path);
                let now = self.state.file(id).map_or_else(Entry::absent, |row| row.entry);
                if now.exists() && now != output.entry {
                    return Some(output.path.clone());
                }
            }
        }
        if !self.plan.edits(index) {
            return None;
        }
        let chains = self.chains();
        let editor = chains.editors.iter().find(|editor| editor.index == index)?;
        self.domain(&chains, editor).into_iter().find(|path| {
            let chain = self.chain(&chains, path);
            let agents = chain.editors.iter().any(|at| self.plan.is_agent(chains.editors[*at].index));
            let now = self.state_now(path);
            agents && chain.stand(now).1 == Stand::Edited
        })
    }
}

/// All that a task depends on along edges that carry outputs.
pub(super) fn carried(plan: &Plan, index: TaskIndex) -> BTreeSet<TaskIndex> {
    let mut found = BTreeSet::new();
    let mut pending = vec![index];
    while let Some(at) = pending.pop() {
        let carrying = plan.deps(at).filter(|(_, kinds)| kinds.carries_outputs());
        pending.extend(carrying.map(|(dep, _)| dep).filter(|dep| found.insert(*dep)));
    }
    found
}
