//! Invalidation after a task has another result. Tasks that read through links that it made or
//! removed get new shapes, and files are looked at again under their other names. Tasks that read
//! its outputs without an edge of their own become candidates.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::db::{Dep, EditPath};
use super::engine::Engine;
use super::trails::{MadeLink, Way};
use crate::graph::{EdgeKinds, TaskIndex};
use crate::model::{Entry, EntryKind, Record, WorkspacePath};
use crate::store::FileId;

impl Engine {
    /// The links that dependencies made, as recorded. An editor does not read through those that it edits.
    pub(super) fn made_links(&self, deps: &[Dep], edits: &[EditPath]) -> Vec<MadeLink> {
        let edited = |path: &WorkspacePath| edits.binary_search_by(|edit| edit.path.cmp(path)).is_ok();
        let mut made = Vec::new();
        for dep in deps {
            let Some(record) = dep.result.record(&self.db) else { continue };
            let needed = dep.kinds.has(EdgeKinds::NEEDS);
            for (path, entry) in links_of(&record).filter(|(path, _)| !edited(path)) {
                // The tree does not hold outputs that stay on a branch, and may not hold an
                // editor's result.
                let is_elsewhere = record.on_branch || record.output(path).is_none();
                let text = is_elsewhere.then(|| self.objects.read(&entry).ok()).flatten();
                made.push(MadeLink { path: path.clone(), needed, text });
            }
        }
        made
    }

    /// A file was looked at: looks at its other names again.
    pub(super) fn refresh_aliases(&mut self, id: FileId) {
        let aliases: Vec<FileId> = self.ways.aliases.get(&id).into_iter().flatten().copied().collect();
        for alias in aliases {
            self.unsee(alias);
            self.look_at_all(vec![alias]);
        }
    }

    fn unsee(&mut self, id: FileId) {
        if let Some(seen) = self.observed.get_mut(id.0 as usize) {
            *seen = false;
        }
    }

    /// Forgets all ways, because the tree has changed.
    pub(super) fn forget_ways(&mut self) {
        self.ways.folders.clear();
        for alias in std::mem::take(&mut self.ways.aliases).into_values().flatten() {
            self.unsee(alias);
        }
    }

    /// A task has a result: resets the tasks that read through links that it made or removed. The
    /// links may be those of the result before, but the tree may have held something else
    /// meanwhile.
    pub(super) fn note_links(&mut self, index: TaskIndex, before: Option<&Record>, now: Option<&Record>) {
        let links = before.into_iter().chain(now).flat_map(links_of);
        let links: BTreeSet<WorkspacePath> = links.map(|(link, _)| link.clone()).collect();
        if links.is_empty() {
            return;
        }
        let plan = Arc::clone(&self.plan);
        let readers: Vec<TaskIndex> =
            plan.dependents(index).chain(self.ways.readers.iter().copied()).collect();
        for reader in readers {
            for path in self.known_inputs(reader) {
                if self.leads_through(&path, &links)
                    && let Some(id) = self.state.file_id(&path)
                {
                    self.unsee(id);
                }
            }
            self.tasks[reader as usize] = None;
        }
        self.forget_ways_through(&links);
    }

    /// Does a path lead through one of these links, as far as its way is known?
    fn leads_through(&self, path: &WorkspacePath, links: &BTreeSet<WorkspacePath>) -> bool {
        let way = path.parent().and_then(|folder| self.ways.folders.get(&folder)?.as_ref());
        links.iter().any(|link| path.is_within(link)) || way.is_some_and(|way| way.leads_through(links))
    }

    /// Forgets the ways that lead through these links. The others stay, because cached shapes rest
    /// on them.
    fn forget_ways_through(&mut self, links: &BTreeSet<WorkspacePath>) {
        let is_turned = |folder: &WorkspacePath, way: Option<&Arc<Way>>| {
            links.iter().any(|link| folder.is_within(link)) || way.is_some_and(|way| way.leads_through(links))
        };
        let mut turned = Vec::new();
        self.ways.folders.retain(|folder, way| {
            let stays = !is_turned(folder, way.as_ref());
            if !stays {
                turned.push(folder.clone());
            }
            stays
        });
        for folder in &turned {
            self.walked.forget(folder);
        }
        let (state, turned): (_, BTreeSet<WorkspacePath>) = (&self.state, turned.into_iter().collect());
        let is_behind = |id: &FileId| {
            let path = WorkspacePath::from_normal(state.path(*id));
            path.parent().is_some_and(|folder| turned.contains(&folder))
        };
        let mut unseen = Vec::new();
        for names in self.ways.aliases.values_mut() {
            unseen.extend(names.extract_if(.., |id| is_behind(id)));
        }
        for id in unseen {
            self.unsee(id);
        }
    }

    /// The files of the tree that a task's patterns write out, that its last result read, and that
    /// its present shape names.
    fn known_inputs(&mut self, index: TaskIndex) -> Vec<WorkspacePath> {
        let mut known = Vec::new();
        if let Ok(task) = self.plan.task(index) {
            let checks = task.validate.iter().flat_map(|check| &check.inputs);
            let patterns = task.inputs.iter().chain(checks);
            known.extend(patterns.filter_map(|pattern| pattern.literal.clone()));
        }
        if let Some(record) = self.result_input(index).record(&self.db) {
            let inputs = record.action.inputs.iter().chain(&record.validation.inputs);
            known.extend(inputs.filter(|input| input.from.is_none()).map(|input| input.path.clone()));
        }
        if let Some(input) = self.tasks[index as usize] {
            let shape = input.shape(&self.db);
            known.extend(shape.sources.iter().chain(&shape.check_sources).map(|(path, ..)| path.clone()));
        }
        known
    }

    /// The outputs changed: marks the tasks that read them without an edge of their own.
    pub(super) fn wake_strangers(&mut self, before: Option<&Record>, now: &Record) {
        if self.ways.strangers.is_none() {
            self.ways.strangers = Some(self.find_strangers());
        }
        let Some(strangers) = self.ways.strangers.as_ref().filter(|strangers| !strangers.is_empty()) else {
            return;
        };
        let outputs = before.into_iter().chain([now]).flat_map(|record| &record.outputs);
        let ids = outputs.filter_map(|output| self.state.file_id(&output.path));
        let due: Vec<TaskIndex> = ids.filter_map(|id| strangers.get(&id)).flatten().copied().collect();
        for index in due {
            self.candidate[index as usize] = true;
        }
    }

    fn find_strangers(&self) -> HashMap<FileId, Vec<TaskIndex>> {
        let mut strangers: HashMap<FileId, Vec<TaskIndex>> = HashMap::new();
        for (id, row) in self.state.tasks() {
            let mut made = row.inputs.filter(|id| self.is_owned(*id)).peekable();
            if made.peek().is_none() {
                continue;
            }
            let Some(index) = self.plan.index_of(id) else { continue };
            made.for_each(|id| strangers.entry(id).or_default().push(index));
        }
        strangers
    }
}

/// The links among a task's outputs and edits.
fn links_of(record: &Record) -> impl Iterator<Item = (&WorkspacePath, Entry)> {
    let outputs = record.outputs.iter().map(|output| (&output.path, output.entry));
    let edited = record.edited.iter().filter(|edited| edited.before != edited.after);
    let all = outputs.chain(edited.map(|edited| (&edited.path, edited.after)));
    all.filter(|(_, entry)| entry.kind == EntryKind::Link)
}
