//! From patterns to files: which paths a task's inputs name today, and the shape that the verdict reads.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use super::db::{Dep, FileInput, ResultInput, Shape, TaskInput};
use super::engine::Engine;
use super::snapshot::{Listing, Seen, Snapshot};
use super::tools::ToolSeen;
use super::trails::{Links, Reader, Reads};
use super::world::Tools;
use crate::graph::{EdgeKinds, TaskIndex};
use crate::model::{
    Action, Diagnostic, Input, PathIndex, Pattern, Record, Signature, Task, Validation, Via, WorkspacePath,
};
use crate::store::FileId;
use crate::workspace::Globs;

/// Files that a walk has found, and below which folders it looked.
#[derive(Default)]
pub(super) struct Walked {
    bases: BTreeSet<WorkspacePath>,
    pub(super) files: Vec<WorkspacePath>,
    /// The files below folders that are written out although a rule ignores them, or that lie
    /// behind links: no glob finds them.
    named: BTreeMap<WorkspacePath, Vec<WorkspacePath>>,
    /// The files below bases of globs that lie behind links.
    linked: BTreeMap<WorkspacePath, Vec<WorkspacePath>>,
}

impl Walked {
    /// True if a walk has looked at `path`.
    fn covers(&self, path: &WorkspacePath) -> bool {
        std::iter::successors(Some(path.clone()), WorkspacePath::parent).any(|at| self.bases.contains(&at))
    }

    /// Forgets the files below a folder that lies, or lay, behind links.
    pub(super) fn forget(&mut self, folder: &WorkspacePath) {
        self.named.remove(folder);
        self.linked.remove(folder);
    }

    /// The known files at or below `base`.
    pub(super) fn below(&self, base: &WorkspacePath) -> impl Iterator<Item = &WorkspacePath> {
        let files = self.linked.get(base).unwrap_or(&self.files);
        let start = files.partition_point(|path| path < base);
        let prefix = base.as_bytes();
        files[start..]
            .iter()
            .take_while(move |path| path.as_bytes().starts_with(prefix))
            .filter(move |path| path.is_within(base))
    }
}

impl Engine {
    /// Walks those of `bases` that no walk has covered.
    pub(super) fn cover(&mut self, bases: impl IntoIterator<Item = WorkspacePath>) {
        let mut missing: Vec<WorkspacePath> = Vec::new();
        for base in bases {
            if self.way(&base).is_some() {
                let walk = || self.workspace.walk(std::slice::from_ref(&base)).paths;
                self.walked.linked.entry(base.clone()).or_insert_with(walk);
            } else if !self.walked.covers(&base) {
                missing.push(base);
            }
        }
        missing.sort();
        missing.dedup();
        if missing.is_empty() {
            return;
        }
        let found = self.workspace.walk(&missing);
        self.walked.files.extend(found.paths);
        self.walked.files.sort();
        self.walked.files.dedup();
        self.walked.bases.extend(missing);
    }

    /// What counts below a folder that is written out: all that no rule below it ignores, be the folder
    /// itself ignored or not.
    pub(super) fn below_named(&mut self, folder: &WorkspacePath) -> Vec<WorkspacePath> {
        if self.way(folder).is_none() && !self.workspace.ignores(folder, true) {
            self.cover([folder.clone()]);
            return self.walked.below(folder).cloned().collect();
        }
        let walk = || self.workspace.walk_named(folder).paths;
        self.walked.named.entry(folder.clone()).or_insert_with(walk).clone()
    }

    /// A file came to be in the tree, or went: what walks find is no other than if they walked again.
    pub(super) fn note_walked(&mut self, path: &WorkspacePath, exists: bool) {
        self.forget_linked_walks();
        match (self.walked.files.binary_search(path), exists) {
            (Ok(at), false) => _ = self.walked.files.remove(at),
            (Err(at), true) if self.walked.covers(path) && !self.workspace.ignores(path, false) => {
                self.walked.files.insert(at, path.clone());
            }
            _ => {}
        }
    }

    /// Forgets the walks behind links, because a link may lead elsewhere now.
    pub(super) fn forget_linked_walks(&mut self) {
        self.walked.named.clear();
        self.walked.linked.clear();
    }

    /// Forgets what was walked, because the tree has changed.
    pub(super) fn forget_walks(&mut self) {
        self.walked = Walked::default();
        self.forget_ways();
    }

    /// The files of the tree that patterns mean, without outputs of dependencies and the task's own
    /// outputs. A path that is written out counts even if nothing is there, so that its appearance
    /// is noticed, and even if a task that is gone has made it; a path that a glob finds does not.
    /// Links are followed.
    pub(super) fn reads(&mut self, reader: &Reader<'_>, patterns: &[Pattern], globs: &Globs) -> Reads {
        self.cover_patterns(patterns);
        let mut reads = Reads::default();
        let mut found: BTreeMap<WorkspacePath, bool> = BTreeMap::new();
        let mut folders = Vec::new();
        for pattern in patterns.iter().filter(|pattern| !pattern.negated) {
            let base = pattern.base();
            let Some(path) = &pattern.literal else {
                self.add_way(reader, &base, &mut reads);
                for path in self.walked.below(&base).filter(|path| globs.matches(path)) {
                    found.entry(path.clone()).or_insert(false);
                }
                continue;
            };
            if self.is_meant_folder(path) {
                self.add_way(reader, path, &mut reads);
                folders.push(path);
                for path in self.below_named(path).into_iter().filter(|path| globs.matches(path)) {
                    found.entry(path).or_insert(false);
                }
            } else if globs.matches(path) {
                found.insert(path.clone(), true);
            }
        }
        // A folder that is written out stands for its files, also if a glob matches the link to it.
        found.retain(|path, _| !folders.contains(&path));
        self.look_at_each(found.keys());
        for (path, written) in found {
            self.add_named(reader, &path, written, &mut reads);
        }
        self.follow_links(reader, globs, &mut reads);
        reads
    }

    /// Does a path that is written out mean a folder, itself or where links lead?
    fn is_meant_folder(&mut self, path: &WorkspacePath) -> bool {
        let id = self.look_at(path);
        self.state.file(id).is_some_and(|row| row.signature.is_folder()) || self.is_linked_folder(path)
    }

    /// Walks all that patterns name, in one go.
    fn cover_patterns(&mut self, patterns: &[Pattern]) {
        let mut bases = Vec::new();
        for pattern in patterns.iter().filter(|pattern| !pattern.negated) {
            let Some(path) = &pattern.literal else {
                bases.push(pattern.base());
                continue;
            };
            let id = self.look_at(path);
            if self.is_folder(id) && !self.workspace.ignores(path, true) {
                bases.push(path.clone());
            }
        }
        self.cover(bases);
    }

    /// True if a folder was seen there.
    pub(super) fn is_folder(&self, id: FileId) -> bool {
        self.state.file(id).is_some_and(|row| row.signature.is_folder())
    }

    /// The path of a file.
    pub(super) fn path(&self, id: FileId) -> WorkspacePath {
        WorkspacePath::from_normal(self.state.path(id))
    }

    /// The database's input for a file.
    pub(super) fn file_input(&mut self, id: FileId) -> FileInput {
        let at = id.0 as usize;
        if self.files.len() <= at {
            self.files.resize(at + 1, None);
        }
        if let Some(input) = self.files[at] {
            return input;
        }
        let entry = self.state.file(id).map_or_else(crate::model::Entry::absent, |row| row.entry);
        let input = FileInput::new(&self.db, entry);
        self.files[at] = Some(input);
        input
    }

    /// The database's input for a task's result.
    pub(super) fn result_input(&mut self, index: TaskIndex) -> ResultInput {
        if let Some(input) = self.results[index as usize] {
            return input;
        }
        let record = self.state.record(&self.plan.task_id(index)).map(Arc::new);
        let input = ResultInput::new(&self.db, record);
        self.results[index as usize] = Some(input);
        input
    }

    /// The database's input for a task, with its shape as things are now.
    pub(super) fn task_input(&mut self, index: TaskIndex) -> Result<TaskInput, Diagnostic> {
        if let Some(input) = self.tasks[index as usize]
            && input.shape(&self.db).programs.iter().all(ToolSeen::is_same)
        {
            return Ok(input);
        }
        let shape = Arc::new(self.shape(index)?);
        let failure = self.state.failure(&shape.task.id).map(Arc::new);
        let forced = self.forced.contains(&index);
        let input = TaskInput::new(&self.db, shape, failure, forced);
        self.tasks[index as usize] = Some(input);
        Ok(input)
    }

    /// The declared tools of a task as they are now.
    pub(super) fn tools_of(
        &mut self,
        index: TaskIndex,
        task: &Task,
        recorded: &[(String, String)],
        told: bool,
    ) -> Tools {
        if task.tools.is_empty() {
            return Tools::default();
        }
        let plan = Arc::clone(&self.plan);
        let carrying = plan.deps(index).filter(|(_, kinds)| kinds.carries_outputs());
        let makers: Vec<Arc<Task>> = carrying.filter_map(|(dep, _)| plan.task(dep).ok()).collect();
        let is_made = |path: &WorkspacePath| {
            makers.iter().any(|maker| maker.outputs.iter().any(|output| path.is_within(&output.path)))
        };
        self.world.tools(task, self.workspace.root(), recorded, told, is_made)
    }

    fn shape(&mut self, index: TaskIndex) -> Result<Shape, Diagnostic> {
        let broken = |error: &dyn std::fmt::Display| Diagnostic::error("state::plan", error.to_string());
        let task = self.plan.task(index).map_err(|error| broken(&error))?;
        let result = self.result_input(index);
        let record = result.record(&self.db);
        let globs = Globs::new(&task.inputs).map_err(|error| broken(&error))?;
        let (deps, edits) = (self.deps(index), self.edit_paths(index));
        let own = PathIndex::set(task.outputs.iter().map(|output| &output.path));
        let made = self.made_links(&deps, &edits);
        let reader = Reader { index, own, edits: &edits, needed: OnceCell::new(), made };
        let mut reads = self.reads(&reader, &task.inputs, &globs);
        self.read_discovered(&task, record.as_deref(), &mut reads);
        let reader = Reader {
            edits: &[],
            made: reader.made.into_iter().filter(|link| !link.needed).collect(),
            ..reader
        };
        let (mut checks, mut check_reads) = (Vec::new(), Reads::default());
        for check in task.validate.iter().filter(|check| !check.inputs.is_empty()) {
            let globs = Globs::new(&check.inputs).map_err(|error| broken(&error))?;
            check_reads.merge(self.reads(&reader, &check.inputs, &globs));
            checks.push(globs);
        }
        self.note_reader(index, [&reads, &check_reads]);
        let in_tree = record.iter().filter(|record| !record.on_branch);
        let outputs = in_tree.clone().flat_map(|record| &record.outputs);
        let outputs = outputs.map(|output| {
            let id = self.look_at(&output.path);
            (output.path.clone(), self.file_input(id))
        });
        let outputs = outputs.collect();
        let unmade = in_tree.flat_map(|record| task.unmade(&record.outputs));
        let unmade = unmade.map(|path| {
            let id = self.look_at(path);
            (path.clone(), self.file_input(id))
        });
        let unmade = unmade.collect();
        let recorded_tools = record.as_ref().map_or(&[][..], |record| record.action.tools.as_slice());
        let (told, excused) = (self.is_told(index), self.excused(index));
        let tools = self.tools_of(index, &task, recorded_tools, told);
        Ok(Shape {
            definition: task.definition(),
            env: self.world.env(&task),
            tools: tools.values,
            programs: tools.programs,
            globs,
            sources: self.source_inputs(reads.sources),
            links: reads.links,
            checks,
            check_sources: self.source_inputs(check_reads.sources),
            check_links: check_reads.links,
            excused,
            outputs,
            unmade,
            deps,
            earlier: self.earlier_editors(index),
            lost: record.as_deref().map_or_else(Vec::new, |record| self.lost_to(index, record)),
            edits,
            result,
            task,
        })
    }

    /// Outputs that stay on a branch and whose bytes are not kept any more: nothing can be built on them.
    pub(super) fn lost(&self, record: &Record) -> Vec<WorkspacePath> {
        let outputs = record.outputs.iter().filter(|_| record.on_branch);
        outputs.filter(|output| !self.objects.has(&output.entry)).map(|output| output.path.clone()).collect()
    }

    fn deps(&mut self, index: TaskIndex) -> Vec<Dep> {
        let plan = Arc::clone(&self.plan);
        let carrying = plan.deps(index).filter(|(_, kinds)| kinds.carries_outputs());
        let mut carrying: Vec<(TaskIndex, EdgeKinds)> = carrying.collect();
        self.sort_editors(&mut carrying);
        carrying.into_iter().map(|(dep, kinds)| self.dep(dep, kinds)).collect()
    }

    pub(super) fn dep(&mut self, index: TaskIndex, kinds: EdgeKinds) -> Dep {
        Dep { index, id: self.plan.task_id(index), kinds, result: self.result_input(index) }
    }

    fn source_inputs(&mut self, sources: BTreeMap<FileId, Via>) -> Vec<(WorkspacePath, Via, FileInput)> {
        sources.into_iter().map(|(id, via)| (self.path(id), via, self.file_input(id))).collect()
    }

    /// Adds the paths that the last run's depfile named, with the links on their ways.
    fn read_discovered(&mut self, task: &Task, record: Option<&Record>, reads: &mut Reads) {
        let inputs =
            record.iter().filter(|_| task.depfile.is_some()).flat_map(|record| &record.action.inputs);
        for input in inputs.filter(|input| input.is_discovered()) {
            let id = self.look_at(&input.path);
            reads.sources.entry(id).or_insert(Via::Depfile);
            for path in self.beside(&input.path, id) {
                let id = self.look_at(&path);
                reads.sources.entry(id).or_insert(Via::Depfile);
            }
        }
    }

    /// What the guard compares: signatures of everything the action names, and the listing of its globs.
    pub(super) fn snapshot(&self, shape: &Shape, action: &Action) -> Snapshot {
        let elsewhere = self.on_branches(shape);
        let row = |path: &WorkspacePath| self.state.file_id(path).and_then(|id| self.state.file(id));
        let signature = |path| row(path).map_or(Signature::ABSENT, |row| row.signature);
        let named = action.inputs.iter().filter(|input| input.via != Via::Edits);
        let named = named.map(|input| (&input.path, input.entry));
        let needed = action.needs.iter().map(|need| (&need.path, need.entry));
        let in_tree = named.chain(needed).filter(|(path, _)| !elsewhere.contains(*path));
        let mut files: Vec<Seen> = in_tree
            .map(|(path, entry)| Seen { path: path.clone(), signature: signature(path), entry })
            .collect();
        // What a person does to an edited path meanwhile matters, whatever state of it the task finds.
        files.extend(shape.edits.iter().map(|edit| {
            let entry = row(&edit.path).map_or_else(crate::model::Entry::absent, |row| row.entry);
            Seen { path: edit.path.clone(), signature: signature(&edit.path), entry }
        }));
        files.sort_by(|a, b| a.path.cmp(&b.path));
        files.dedup_by(|a, b| a.path == b.path);
        let sources = action.inputs.iter().filter(|input| input.from.is_none() && input.via != Via::Edits);
        let sources = sources.map(|input| &input.path).chain(shape.edits.iter().map(|edit| &edit.path));
        let young = |path: &WorkspacePath| Some((path.clone(), row(path).filter(|row| row.racy)?.entry));
        let racy = sources.filter_map(young).collect();
        Snapshot {
            observed_at: self.state.now(),
            files,
            racy,
            unwritten: Vec::new(),
            listings: self
                .listing(shape, &shape.task.inputs, &action.inputs, &shape.links)
                .into_iter()
                .chain(self.listing(shape, &shape.task.edits, &[], &Links::default()))
                .collect(),
            tools: shape.programs.clone(),
        }
    }

    /// Paths that dependencies made and that are not in the tree, because they stay on a branch.
    fn on_branches(&self, shape: &Shape) -> HashSet<WorkspacePath> {
        let records = shape.deps.iter().filter_map(|dep| dep.result.record(&self.db));
        let mut elsewhere = HashSet::new();
        for record in records.filter(|record| record.on_branch) {
            elsewhere.extend(record.outputs.iter().map(|output| output.path.clone()));
            let edited = record.edited.iter().filter(|edited| edited.before != edited.after);
            elsewhere.extend(edited.map(|edited| edited.path.clone()));
        }
        elsewhere
    }

    /// What the checks' patterns find, one listing for each check that has any.
    pub(super) fn check_listings(&self, shape: &Shape, validation: &Validation) -> Vec<Listing> {
        let checks = shape.task.validate.iter();
        checks
            .filter_map(|check| self.listing(shape, &check.inputs, &validation.inputs, &shape.check_links))
            .collect()
    }

    /// The listing of some patterns as the walk that the key rests on has seen it; `inputs` is what they led to.
    fn listing(
        &self,
        shape: &Shape,
        patterns: &[Pattern],
        inputs: &[Input],
        links: &Links,
    ) -> Option<Listing> {
        let is_open = |pattern: &&Pattern| {
            !pattern.negated
                && pattern.literal.as_ref().is_none_or(|path| {
                    let row = self.state.file_id(path).and_then(|id| self.state.file(id));
                    row.is_some_and(|row| row.signature.is_folder())
                        || self.place_behind_links(path).is_some()
                })
        };
        let bases: Vec<WorkspacePath> = patterns.iter().filter(is_open).map(Pattern::base).collect();
        let is_folder = |path: &&WorkspacePath| {
            let row = self.state.file_id(path).and_then(|id| self.state.file(id));
            row.is_none_or(|row| row.signature.is_folder())
        };
        let behind: Vec<WorkspacePath> = links.behind.iter().filter(is_folder).cloned().collect();
        if bases.is_empty() && behind.is_empty() {
            return None;
        }
        let through = |base: &WorkspacePath| Some((self.place_behind_links(base)?.clone(), base.clone()));
        let made = inputs.iter().filter(|input| input.from.is_some()).map(|input| input.path.clone());
        let made = made.flat_map(|path| self.names_in(&bases, &path));
        let owned = |path: &WorkspacePath| self.state.file_id(path).is_some_and(|id| self.is_owned(id));
        let recorded = bases.iter().flat_map(|base| {
            let lies = |path: &WorkspacePath| path.rebased(base, self.place_behind_links(base)?);
            let is_made = move |path: &&WorkspacePath| owned(lies(path).as_ref().unwrap_or(path));
            self.walked.below(base).filter(is_made)
        });
        let own = shape.task.outputs.iter().map(|output| &output.path);
        let own = own.chain(shape.task.depfile.iter().map(|(path, _)| path));
        let own: Vec<WorkspacePath> = own.flat_map(|path| self.names_in(&bases, path)).collect();
        let mut listing = Listing {
            globs: Arc::new(Globs::new(patterns).ok()?),
            found: Vec::new(),
            made: Arc::new(made.chain(recorded.cloned()).collect()),
            own: Arc::new(PathIndex::set(&own)),
            named: bases.iter().filter(|base| self.walked.named.contains_key(base)).cloned().collect(),
            through: bases.iter().filter_map(through).collect(),
            behind,
            bases,
        };
        let named = listing.named.iter().flat_map(|folder| &self.walked.named[folder]);
        let known: BTreeSet<WorkspacePath> =
            listing.bases.iter().flat_map(|base| self.walked.below(base)).chain(named).cloned().collect();
        listing.found = listing.select(known);
        Some(listing)
    }
    /// A path, with its names below those of `bases` that lie behind links.
    fn names_in(&self, bases: &[WorkspacePath], path: &WorkspacePath) -> Vec<WorkspacePath> {
        let name = |base: &WorkspacePath| {
            let place = self.place_behind_links(base)?;
            if place.is_within(path) { Some(base.clone()) } else { path.rebased(place, base) }
        };
        bases.iter().filter_map(name).chain([path.clone()]).collect()
    }
}
