//! Chains: the editors of one path, in their order, and which state of the path the tree holds.
//!
//! Every editor's record says in which state it found a path and in which it left it, and whether the tree
//! has held that since (`landed`). From these and from what lies in the tree today follows the rest: whether
//! everything is as it was left, whether somebody put the path back to an earlier state, or whether a person
//! edited it, so that there is a new base. Editors run apart, on states that are kept as objects; the tree
//! gets the last state of a path when all its editors are accepted.
//!
//! An editor's key holds each path in the state in which the editor finds it, so that an early editor whose
//! result is the same again makes no later one run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::db::{self, Dep, EditPath};
use super::engine::Engine;
use crate::graph::{self, EdgeKinds, TaskIndex};
use crate::model::{Diagnostic, Edited, Entry, Integrate, Pattern, Task, TaskId, WorkspacePath};
use crate::workspace::{Globs, Observed};

/// The tasks with `edits`.
pub(super) struct Chains {
    /// Dependencies first.
    editors: Vec<Editor>,
    /// What editors that are gone from the manifest left.
    gone: BTreeMap<WorkspacePath, Vec<Entry>>,
}

struct Editor {
    index: TaskIndex,
    task: Arc<Task>,
    globs: Globs,
    /// It waits for these editors, by needs; positions in [`Chains::editors`].
    before: BTreeSet<usize>,
}

impl Editor {
    fn edits(&self, path: &WorkspacePath) -> bool {
        self.globs.matches(path) && !self.task.outputs.iter().any(|output| path.is_within(&output.path))
    }
}

/// A path that the tree is to hold in another state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Move {
    /// Where.
    pub path: WorkspacePath,
    /// What the tree holds now; where it holds something else by then, a person was there.
    pub from: Entry,
    /// What it is to hold.
    pub to: Entry,
    /// The editor whose state that is.
    pub editor: TaskIndex,
}

/// Which state of its chain a path is in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stand {
    /// As conductor left it.
    Held,
    /// Somebody put it back to what it was before the editor at this position and all behind it.
    Reset(usize),
    /// A person edited it.
    Edited,
}

/// One path's chain: its editors with what they recorded of it.
struct Chain {
    /// Positions in [`Chains::editors`].
    editors: Vec<usize>,
    /// For each of them.
    edited: Vec<Option<Edited>>,
}

impl Chain {
    /// What the first editor finds, and which state `now` is. `gone` are states that editors left which the
    /// manifest has no more.
    fn stand(&self, now: Entry, gone: &[Entry]) -> (Entry, Stand) {
        let known = || self.edited.iter().enumerate().filter_map(|(at, edited)| Some((at, edited.as_ref()?)));
        let Some(base) = known().next().map(|(_, first)| first.before) else { return (now, Stand::Held) };
        let landed_behind = |at: usize| known().find(|(other, edited)| *other > at && edited.landed);
        let behind = |at: usize| landed_behind(at).map_or(Stand::Held, |(other, _)| Stand::Reset(other));
        let is_now = |(_, edited): &(usize, &Edited)| edited.after == now;
        if let Some((at, _)) = known().rev().filter(|(_, edited)| edited.landed).find(is_now) {
            return (base, behind(at));
        }
        if now == base {
            let first = known().find(|(_, edited)| edited.landed);
            return (base, first.map_or(Stand::Held, |(at, _)| Stand::Reset(at)));
        }
        // A branch that a person merged, say.
        if let Some((at, _)) = known().rev().find(is_now) {
            return (base, behind(at));
        }
        if gone.contains(&now) { (base, Stand::Held) } else { (now, Stand::Edited) }
    }
}

impl Engine {
    /// All editors, found once.
    fn chains(&mut self) -> Arc<Chains> {
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
            editors.push(Editor { index, task: Arc::new(task), globs, before });
        }
        let gone = if editors.is_empty() { BTreeMap::new() } else { self.gone_edits() };
        let chains = Arc::new(Chains { editors, gone });
        self.chains = Some(Arc::clone(&chains));
        chains
    }

    fn gone_edits(&self) -> BTreeMap<WorkspacePath, Vec<Entry>> {
        let mut gone: BTreeMap<WorkspacePath, Vec<Entry>> = BTreeMap::new();
        let ids = self.state.tasks().filter(|(id, row)| row.has_record && self.plan.index_of(id).is_none());
        let ids: Vec<TaskId> = ids.map(|(id, _)| TaskId::new(id)).collect();
        for edited in ids.iter().filter_map(|id| self.state.record(id)).flat_map(|record| record.edited) {
            gone.entry(edited.path).or_default().push(edited.after);
        }
        gone
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

    /// Tasks that run in the tree although what they need stays on a branch, where they cannot find it.
    pub fn misplaced_readers(&self, scope: &[TaskIndex]) -> Vec<Diagnostic> {
        let mut errors = Vec::new();
        for index in scope.iter().copied().filter(|index| !self.plan.is_hidden(*index)) {
            let Ok(task) = self.plan.task(index) else { continue };
            if task.is_gate() || self.isolation_of(&task) != crate::model::Isolation::None {
                continue;
            }
            let carrying = self.plan.deps(index).filter(|(_, kinds)| kinds.carries_outputs());
            let needed = carrying.filter_map(|(dep, _)| self.plan.task(dep).ok());
            if let Some(maker) = needed.into_iter().find(|dep| dep.integrate == Integrate::Branch) {
                let message = format!("{} needs {}, whose result stays on its branch", task.id, maker.id);
                errors.push(
                    Diagnostic::error("build::on_branch", message)
                        .label(task.at, "runs in the working tree")
                        .label(maker.at, "`integrate: branch`")
                        .help(format!(
                            "write `isolation: worktree` for {}, or `integrate: tree` for {}",
                            task.id, maker.id
                        )),
                );
            }
        }
        errors
    }

    fn chain(&mut self, chains: &Chains, path: &WorkspacePath) -> Chain {
        let editors: Vec<usize> =
            (0..chains.editors.len()).filter(|at| chains.editors[*at].edits(path)).collect();
        let mut edited = Vec::with_capacity(editors.len());
        for at in &editors {
            let result = self.result_input(chains.editors[*at].index);
            edited.push(match result.record(&self.db) {
                Some(record) => record.edited(path).cloned(),
                None => self.rolled_back(&chains.editors[*at].task.id, path),
            });
        }
        Chain { editors, edited }
    }

    /// What a rollback put at a path, as if the task had left it as it found it.
    fn rolled_back(&self, id: &TaskId, path: &WorkspacePath) -> Option<Edited> {
        let failure = self.state.failure(id)?;
        let put = failure.outputs.iter().find(|output| output.path == *path)?;
        Some(Edited { path: path.clone(), before: put.entry, after: put.entry, landed: true })
    }

    /// Every path that an editor's globs match today, or matched when it or another editor ran.
    fn domain(&mut self, chains: &Chains, editor: &Editor) -> BTreeSet<WorkspacePath> {
        let mut domain = BTreeSet::new();
        for pattern in editor.task.edits.iter().filter(|pattern| !pattern.negated) {
            let base = Pattern::base(pattern);
            let found: Vec<WorkspacePath> = if let Some(path) = &pattern.literal {
                let id = self.look_at(path);
                match self.state.file(id) {
                    Some(row) if row.signature.is_folder() => self.below_named(path),
                    Some(row) if row.entry.exists() => vec![path.clone()],
                    _ => Vec::new(),
                }
            } else {
                self.cover([base.clone()]);
                self.walked.below(&base).cloned().collect()
            };
            domain.extend(found.into_iter().filter(|path| editor.edits(path)));
        }
        domain.retain(|path| !self.state.file_id(path).is_some_and(|id| self.is_owned(id)));
        for other in &chains.editors {
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
            let id = self.look_at(&path);
            let now = self.state.file(id).map_or_else(Entry::absent, |row| row.entry);
            let chain = self.chain(&chains, &path);
            let gone = chains.gone.get(&path).map_or(&[][..], Vec::as_slice);
            let (base, stand) = chain.stand(now, gone);
            let position = chain.editors.iter().position(|other| *other == at).unwrap_or_default();
            let own = chain.edited[position].as_ref();
            let reset =
                matches!(stand, Stand::Reset(first) if position >= first) && own.is_some_and(|e| e.landed);
            let is_last = position + 1 == chain.editors.len();
            let lands = chains.editors[at].task.integrate == Integrate::Tree;
            let unlanded =
                is_last && lands && stand == Stand::Held && own.is_some_and(|own| own.after != now);
            paths.push(EditPath { path, base, reset, unlanded });
        }
        paths
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
        let chain = self.chain(&chains, path);
        let gone = chains.gone.get(path).map_or(&[][..], Vec::as_slice);
        chain.stand(now, gone).1 == Stand::Edited
    }

    /// The last editor of a path that has a result.
    pub fn last_editor(&mut self, path: &WorkspacePath) -> Option<TaskIndex> {
        let chains = self.chains();
        let chain = self.chain(&chains, path);
        let last = chain.editors.iter().zip(&chain.edited).rev().find(|(_, edited)| edited.is_some());
        last.map(|(at, _)| chains.editors[*at].index)
    }

    /// The last state of a path that an editor left.
    pub fn last_state(&mut self, path: &WorkspacePath) -> Option<Entry> {
        let chains = self.chains();
        self.chain(&chains, path).edited.iter().rev().flatten().next().map(|edited| edited.after)
    }

    /// What lies at `path` is what its first editor starts from, from now on.
    pub fn rebase(&mut self, path: &WorkspacePath) {
        let chains = self.chains();
        let id = self.look_at(path);
        let now = self.state.file(id).map_or_else(Entry::absent, |row| row.entry);
        let chain = self.chain(&chains, path);
        let first = chain.editors.iter().zip(&chain.edited).find(|(_, edited)| edited.is_some());
        let Some(editor) = first.map(|(at, _)| &chains.editors[*at]) else { return };
        let Some(mut record) = self.state.record(&editor.task.id) else { return };
        for edited in record.edited.iter_mut().filter(|edited| edited.path == *path) {
            edited.before = now;
        }
        self.state.amend_record(&editor.task.id, &record);
        let result = self.result_input(editor.index);
        db::set_result(&mut self.db, result, Some(Arc::new(record)));
        self.forget_editors();
    }

    /// The shapes of all editors hold what one of them recorded.
    pub(super) fn forget_editors(&mut self) {
        if let Some(chains) = self.chains.clone() {
            for editor in &chains.editors {
                self.tasks[editor.index as usize] = None;
            }
        }
    }

    /// What the tree is to hold of the paths that `index` edits, given which editors stand accepted in this
    /// build: the last state of a path all of whose editors do. If the build is over, `last`, also what its
    /// first editors made, where the tree holds a state before that: nothing is lost by going on.
    pub fn landing(&mut self, index: TaskIndex, stands: &dyn Fn(TaskIndex) -> bool, last: bool) -> Vec<Move> {
        if !self.plan.edits(index) {
            return Vec::new();
        }
        let chains = self.chains();
        let result = self.result_input(index);
        let Some(record) = result.record(&self.db) else { return Vec::new() };
        let mut moves = Vec::new();
        for path in record.edited.iter().map(|edited| &edited.path) {
            let chain = self.chain(&chains, path);
            let accepted = chain.editors.iter().zip(&chain.edited);
            let accepted = accepted.take_while(|(at, edited)| {
                let index = chains.editors[**at].index;
                let row = self.state.row(&self.plan.task_id(index));
                edited.is_some() && stands(index) && row.is_some_and(|row| row.has_record)
            });
            let accepted: Vec<(TaskIndex, &Edited, bool)> = accepted
                .filter_map(|(at, edited)| {
                    let editor = &chains.editors[*at];
                    Some((editor.index, edited.as_ref()?, editor.task.integrate == Integrate::Tree))
                })
                .collect();
            let Some((editor, target, _)) = accepted.iter().rfind(|(_, _, lands)| *lands) else { continue };
            let id = self.look_at(path);
            let now = self.state.file(id).map_or_else(Entry::absent, |row| row.entry);
            let gone = chains.gone.get(path).map_or(&[][..], Vec::as_slice);
            let (base, stand) = chain.stand(now, gone);
            let whole = accepted.len() == chain.editors.len();
            let ahead = now == base || accepted.iter().any(|(_, edited, _)| edited.after == now);
            if stand != Stand::Edited && (whole || (last && ahead)) {
                moves.push(Move { path: path.clone(), from: now, to: target.after, editor: *editor });
            }
        }
        moves
    }

    /// The tree holds these states now, as seen; `by` names what brought them there.
    pub fn landed(&mut self, moves: &[(Move, Observed)], by: Option<&str>) {
        let chains = self.chains();
        self.state.tick();
        for (step, seen) in moves {
            let id = self.state.intern(&step.path);
            self.mark_observed(id);
            self.take(id, *seen);
        }
        for (at, editor) in chains.editors.iter().enumerate() {
            let result = self.result_input(editor.index);
            let Some(record) = result.record(&self.db) else { continue };
            let mut amended = (*record).clone();
            for edited in &mut amended.edited {
                let step = moves.iter().map(|(step, _)| step).find(|step| step.path == edited.path);
                let to = step.and_then(|step| chains.editors.iter().position(|e| e.index == step.editor));
                if let Some(to) = to {
                    edited.landed = at <= to && editor.task.integrate == Integrate::Tree;
                    if let Some(by) = by.filter(|_| at == to) {
                        amended.landed_by = Some(by.to_owned());
                    }
                }
            }
            if amended != *record {
                self.state.amend_record(&editor.task.id, &amended);
                db::set_result(&mut self.db, result, Some(Arc::new(amended)));
            }
        }
        self.forget_editors();
        self.wake_readers(&chains, moves);
    }

    /// Whatever comes behind an editor may read what has landed.
    fn wake_readers(&mut self, chains: &Chains, moves: &[(Move, Observed)]) {
        let mut awake: Vec<TaskIndex> = chains
            .editors
            .iter()
            .filter(|editor| moves.iter().any(|(step, _)| editor.edits(&step.path)))
            .map(|editor| editor.index)
            .collect();
        let mut seen: BTreeSet<TaskIndex> = awake.iter().copied().collect();
        while let Some(index) = awake.pop() {
            let plan = Arc::clone(&self.plan);
            for dependent in plan.dependents(index).filter(|dependent| seen.insert(*dependent)) {
                self.make_candidate(dependent);
                self.tasks[dependent as usize] = None;
                awake.push(dependent);
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
            let id = self.look_at(path);
            let now = self.state.file(id).map_or_else(Entry::absent, |row| row.entry);
            let gone = chains.gone.get(path).map_or(&[][..], Vec::as_slice);
            agents && chain.stand(now, gone).1 == Stand::Edited
        })
    }

    /// What is wrong with who edits and who reads the files of the tree: two editors of one file that no need
    /// orders, an output that another task edits, a reader that does not wait for the last editor.
    pub fn editing_errors(&mut self) -> Vec<Diagnostic> {
        let chains = self.chains();
        let mut errors = Vec::new();
        let mut paths: BTreeMap<WorkspacePath, Vec<usize>> = BTreeMap::new();
        for (at, editor) in chains.editors.iter().enumerate() {
            for path in self.domain(&chains, editor) {
                paths.entry(path).or_default().push(at);
            }
        }
        let mut told = BTreeSet::new();
        for (path, editors) in &paths {
            for pair in editors.windows(2) {
                let &[first, second] = pair else { continue };
                if !chains.editors[second].before.contains(&first) && told.insert((first, second)) {
                    errors.push(unordered(&chains.editors[first], &chains.editors[second], path));
                }
            }
        }
        self.unordered_readers(&chains, &paths, &mut errors);
        errors
    }

    fn unordered_readers(
        &self,
        chains: &Chains,
        paths: &BTreeMap<WorkspacePath, Vec<usize>>,
        errors: &mut Vec<Diagnostic>,
    ) {
        if paths.is_empty() {
            return;
        }
        let plan = Arc::clone(&self.plan);
        for index in plan.indices().filter(|index| !plan.is_hidden(*index)) {
            let Ok(task) = plan.task(index) else { continue };
            let checks = task.validate.iter().map(|check| &check.inputs);
            let lists = std::iter::once(&task.inputs).chain(checks).filter(|list| !list.is_empty());
            let Some((path, last, at)) =
                lists.filter_map(|list| Some((list, Globs::new(list).ok()?))).find_map(|(list, globs)| {
                    let read = |path: &WorkspacePath| {
                        globs.matches(path)
                            || list.iter().any(|p| p.literal.as_ref() == Some(path) && !p.negated)
                    };
                    let (path, editors) = paths.iter().find(|(path, editors)| {
                        let own = editors.iter().any(|at| chains.editors[*at].index == index);
                        let waits = editors
                            .last()
                            .is_some_and(|at| carried(&plan, index).contains(&chains.editors[*at].index));
                        !own && !waits && read(path)
                    })?;
                    Some((path, editors.last().copied()?, list.first()?.at))
                })
            else {
                continue;
            };
            let last = &chains.editors[last];
            let message =
                format!("{} reads {path}, which {} edits, and does not need it", task.id, last.task.id);
            errors.push(
                Diagnostic::error("edits::unordered_reader", message)
                    .label(at, format!("{path} is read here"))
                    .label(last.task.edits.first().map_or(last.task.at, |p| p.at), "and edited here")
                    .help(format!("add `needs: [{}]` to {}", last.task.id, task.id)),
            );
        }
    }

    /// The editor whose globs match `path` and which is not ordered with `index`, which has just made it.
    pub fn unordered_editor(&mut self, index: TaskIndex, path: &WorkspacePath) -> Option<TaskId> {
        let chains = self.chains();
        let own = chains.editors.iter().position(|editor| editor.index == index)?;
        let ordered = |at: usize| {
            at == own || chains.editors[own].before.contains(&at) || chains.editors[at].before.contains(&own)
        };
        let other = (0..chains.editors.len()).find(|at| !ordered(*at) && chains.editors[*at].edits(path))?;
        Some(chains.editors[other].task.id.clone())
    }
}

fn unordered(first: &Editor, second: &Editor, path: &WorkspacePath) -> Diagnostic {
    let at = |editor: &Editor| editor.task.edits.first().map_or(editor.task.at, |pattern| pattern.at);
    let message =
        format!("{} and {} both edit {path}, and neither needs the other", first.task.id, second.task.id);
    Diagnostic::error("edits::unordered", message)
        .label(at(first), format!("{} edits it", first.task.id))
        .label(at(second), format!("{} edits it too", second.task.id))
        .help(format!("add `needs: [{}]` to {}, or the other way round", first.task.id, second.task.id))
}

/// All that a task depends on along edges that carry outputs.
pub(super) fn carried(plan: &graph::Plan, index: TaskIndex) -> BTreeSet<TaskIndex> {
    let mut found = BTreeSet::new();
    let mut pending = vec![index];
    while let Some(at) = pending.pop() {
        let carrying = plan.deps(at).filter(|(_, kinds)| kinds.carries_outputs());
        pending.extend(carrying.map(|(dep, _)| dep).filter(|dep| found.insert(*dep)));
    }
    found
}
