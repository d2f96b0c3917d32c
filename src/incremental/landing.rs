//! When edited paths come into the tree: what it is to hold once editors are accepted, and what is remembered of it
//! when it does. Does not write to the tree.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::chain::{Chains, Editor};
use super::engine::Engine;
use super::stand::Stand;
use crate::graph::TaskIndex;
use crate::model::{Edited, Entry, Integrate, WorkspacePath};
use crate::workspace::Observed;

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

/// What [`Engine::landing`] finds.
#[derive(Default, Debug)]
pub struct Landing {
    /// To be brought into the tree.
    pub moves: Vec<Move>,
    /// A person's version stands there.
    pub contested: Vec<WorkspacePath>,
}

impl Engine {
    /// What the tree is to hold of the paths that `index` edits, given which editors stand accepted in this
    /// build: the last state of a path all of whose editors do. If the build is over, `last`, also what its
    /// first editors made, where the tree holds a state before that: nothing is lost by going on. Beside it the
    /// paths at which a person's version stands in the way, since nobody has run on that.
    pub fn landing(&mut self, index: TaskIndex, stands: &dyn Fn(TaskIndex) -> bool, last: bool) -> Landing {
        let mut landing = Landing::default();
        if !self.plan.edits(index) {
            return landing;
        }
        let chains = self.chains();
        for path in self.recorded_paths(&chains, index) {
            let chain = self.chain(&chains, &path);
            let prefix = chain.editors.iter().zip(&chain.links);
            let prefix: Vec<(&Editor, Option<&Edited>)> = prefix
                .map(|(at, link)| (&chains.editors[*at], link))
                .take_while(|(editor, link)| link.accepted && stands(editor.index))
                .map(|(editor, link)| (editor, link.edited.as_ref()))
                .collect();
            let known = || prefix.iter().filter_map(|(_, edited)| *edited);
            if known().next().is_none() && chain.gone.is_empty() {
                continue;
            }
            let now = self.state_now(&path);
            let (base, stand) = chain.stand(now);
            let (mut state, mut target) = (base, None);
            for (editor, edited) in &prefix {
                state = edited.map_or(state, |edited| edited.after);
                if editor.task.integrate == Integrate::Tree {
                    target = Some((editor.index, state));
                }
            }
            let Some((editor, target)) = target else { continue };
            let whole = prefix.len() == chain.editors.len();
            let is_now = |edited: &Edited| edited.after == now || edited.in_tree() == Some(now);
            let ahead = now == base || known().any(is_now);
            if !(whole || last && ahead) {
                continue;
            }
            if stand == Stand::Edited {
                landing.contested.push(path);
            } else {
                landing.moves.push(Move { path, from: now, to: target, editor });
            }
        }
        landing
    }

    /// The paths of an editor of which it, or another one, has recorded something.
    fn recorded_paths(&mut self, chains: &Chains, index: TaskIndex) -> BTreeSet<WorkspacePath> {
        let mut paths = BTreeSet::new();
        let Some(editor) = chains.editors.iter().find(|editor| editor.index == index) else { return paths };
        for other in chains.editors.iter() {
            let result = self.result_input(other.index);
            let record = result.record(&self.db);
            let known = record.iter().flat_map(|record| &record.edited).map(|edited| &edited.path);
            paths.extend(known.filter(|path| editor.edits(path)).cloned());
        }
        paths.extend(chains.gone.keys().filter(|path| editor.edits(path)).cloned());
        paths
    }

    /// The tree holds these states now, as seen; `by` names what brought them there.
    pub fn landed(&mut self, moves: &[(Move, Observed)], by: Option<&str>) {
        let chains = self.chains();
        self.state.tick();
        for (step, seen) in moves {
            let id = self.state.intern(&step.path);
            self.mark_observed(id);
            self.take(id, *seen);
            self.note_walked(&step.path, step.to.exists());
        }
        for (at, editor) in chains.editors.iter().enumerate() {
            let result = self.result_input(editor.index);
            let Some(record) = result.record(&self.db) else { continue };
            let mut amended = (*record).clone();
            for edited in &mut amended.edited {
                let step = moves.iter().map(|(step, _)| step).find(|step| step.path == edited.path);
                let to = step.and_then(|step| chains.editors.iter().position(|e| e.index == step.editor));
                // Editors behind that one whose result somebody took out of the tree stay due.
                if let Some(to) = to.filter(|to| at <= *to && editor.edits(&edited.path)) {
                    edited.landed = editor.task.integrate == Integrate::Tree;
                    edited.held = None;
                    if let Some(by) = by.filter(|_| at == to) {
                        amended.landed_by = Some(by.to_owned());
                    }
                }
            }
            if amended != *record {
                self.amend(&editor.task.id, Some(editor.index), amended);
            }
        }
        let paths: BTreeSet<&WorkspacePath> = moves.iter().map(|(step, _)| &step.path).collect();
        self.forget_gone(&|_, path| paths.contains(path));
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
}
