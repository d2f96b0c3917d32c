//! The oracle: says what a build must run and what the tree must hold afterwards, from contents alone. It keeps
//! whole contents where conductor keeps digests, ticks and signatures, and so cannot make the same mistakes.
//! Links are followed in its own idea of the tree (`follow`).

use std::collections::{BTreeMap, BTreeSet};

use globset::{GlobBuilder, GlobMatcher};

use crate::follow::End;
use crate::recipe::{Content, Entry, GROUP, Recipe, Task};

/// What a task's last accepted result rests on.
#[derive(Clone, PartialEq, Debug)]
struct Record {
    definition: String,
    inputs: BTreeMap<String, Entry>,
    /// Links on the ways, and the entries at their ends.
    behind: BTreeMap<String, Entry>,
    discovered: BTreeMap<String, Entry>,
    needs: BTreeMap<String, Content>,
    validation: Vec<(String, Entry)>,
    outputs: BTreeMap<String, Content>,
}

/// The version of a gate's check, its tasks' outputs, and the entries behind the links among these.
type Gate = (u8, BTreeMap<String, Content>, BTreeMap<String, Entry>);

/// The tree and everything that conductor should remember.
#[derive(Clone, Default)]
pub(crate) struct World {
    /// The manifest.
    pub(crate) recipe: Recipe,
    /// Every file but the manifest.
    pub(crate) disk: BTreeMap<String, Content>,
    records: BTreeMap<String, Record>,
    gates: BTreeMap<usize, Gate>,
}

/// What a build does.
#[derive(Default, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    /// Tasks whose command must run.
    pub(crate) ran: BTreeSet<String>,
    /// Those of them that have no other cause than `always`.
    pub(crate) restless: BTreeSet<String>,
    /// Tasks of which only the checks must run.
    pub(crate) validated: BTreeSet<String>,
    /// Gates that must be asked.
    pub(crate) gates: BTreeSet<String>,
}

/// Patterns in order; the last one that matches decides.
struct Patterns(Vec<(bool, GlobMatcher)>);

impl Patterns {
    fn new(patterns: &[String]) -> Self {
        let compile = |pattern: &String| {
            let negated = pattern.starts_with('!');
            let text = pattern.trim_start_matches('!');
            let text = text.trim_end_matches('/');
            // A path that is written out may be a folder.
            let text = if is_literal(text) { format!("{{{text},{text}/**}}") } else { text.to_owned() };
            let glob = GlobBuilder::new(&text).literal_separator(true).build().unwrap();
            (negated, glob.compile_matcher())
        };
        Self(patterns.iter().map(compile).collect())
    }

    fn matches(&self, path: &str) -> bool {
        self.0.iter().rev().find(|(_, glob)| glob.is_match(path)).is_some_and(|(negated, _)| !negated)
    }
}

/// Has the pattern no glob characters, and is it no folder?
fn is_literal(pattern: &str) -> bool {
    !pattern.starts_with('!') && !pattern.contains(['*', '?', '[', '{']) && !pattern.ends_with('/')
}

/// Does an output of `other` match these inputs?
fn feeds(other: &Task, written: &[String]) -> bool {
    let patterns = Patterns::new(written);
    let outputs = [Some(other.main_output()), other.optional()];
    if other.folder().is_none() {
        return outputs.into_iter().flatten().any(|path| patterns.matches(&path));
    }
    let folder = other.folder().unwrap();
    let layer = folder.rsplit_once('/').unwrap().0;
    written.iter().any(|pattern| {
        let below = pattern.strip_prefix(layer);
        pattern.starts_with(&format!("{folder}/"))
            || below.is_some_and(|rest| rest == "/" || rest.starts_with("/**"))
    })
}

/// The part of a pattern without glob characters: the folder in which it may match, or itself.
fn base(pattern: &str) -> &str {
    let pattern = pattern.trim_end_matches('/');
    match pattern.find(['*', '?', '[', '{']) {
        Some(at) => pattern[..at].rsplit_once('/').map_or("", |(folder, _)| folder),
        None => pattern,
    }
}

impl World {
    fn owned(&self, path: &str) -> bool {
        self.records.values().any(|record| record.outputs.contains_key(path))
    }

    /// The files that no task made.
    pub(crate) fn sources(&self) -> BTreeMap<String, Content> {
        self.disk.iter().filter(|(path, _)| !self.owned(path)).map(|(p, c)| (p.clone(), c.clone())).collect()
    }

    /// What the tasks of the manifest have made, as recorded.
    pub(crate) fn outputs(&self) -> BTreeMap<String, Content> {
        let records = self.recipe.tasks.values().filter_map(|task| self.records.get(&task.id()));
        records.flat_map(|record| record.outputs.clone()).collect()
    }

    fn dependencies(&self, task: &Task) -> BTreeSet<usize> {
        let written = self.recipe.patterns(task);
        let fed =
            self.recipe.tasks.values().filter(|other| other.index != task.index && feeds(other, &written));
        fed.map(|other| other.index).chain(task.needs.iter().copied()).collect()
    }

    /// The tasks and gates that a build of `targets` looks at.
    fn scope(&self, targets: Option<&[usize]>) -> (BTreeSet<usize>, BTreeSet<usize>) {
        let all: Vec<usize> = self.recipe.tasks.keys().copied().collect();
        let mut pending: Vec<usize> = targets.map_or(all, <[usize]>::to_vec);
        let groups = self.recipe.tasks.keys().last().map_or(0, |index| index / GROUP + 1);
        let mut gates: BTreeSet<usize> =
            if targets.is_none() { (0..groups).collect() } else { BTreeSet::new() };
        let mut tasks = BTreeSet::new();
        while let Some(index) = pending.pop() {
            if !tasks.insert(index) {
                continue;
            }
            let task = &self.recipe.tasks[&index];
            pending.extend(self.dependencies(task));
            pending.extend(&task.after);
            let mut group = task.group();
            while group > 0 && self.recipe.chained.contains(&group) {
                group -= 1;
                gates.insert(group);
                pending.extend(self.recipe.tasks.range(group * GROUP..(group + 1) * GROUP).map(|(i, _)| *i));
            }
        }
        (tasks, gates)
    }

    /// The paths that its patterns match, under the names that the patterns give them.
    fn inputs(&self, task: &Task) -> BTreeMap<String, Entry> {
        let written = self.recipe.patterns(task);
        let patterns = Patterns::new(&written);
        let fed: Vec<&Task> = self.dependencies(task).iter().map(|index| &self.recipe.tasks[index]).collect();
        let mut inputs: BTreeMap<String, Entry> = BTreeMap::new();
        for pattern in written.iter().filter(|pattern| !pattern.starts_with('!')) {
            if let Some(folder) = self.folder_behind(base(pattern)) {
                let found = self.below(&folder).map(|(path, content)| {
                    (format!("{}{}", base(pattern), &path[folder.len()..]), Some(content.clone()))
                });
                inputs.extend(found.filter(|(name, _)| patterns.matches(name)));
            }
        }
        let literal = written.iter().map(|pattern| pattern.trim_end_matches('/'));
        let literal = literal.filter(|pattern| is_literal(pattern) && patterns.matches(pattern));
        let is_folder = |path: &str| self.below(path).next().is_some() || self.folder_behind(path).is_some();
        for path in literal.filter(|path| !is_folder(path)) {
            let makes = |other: &&Task| other.declares(path) || other.folder().as_deref() == Some(path);
            let theirs = fed.iter().any(makes);
            let there = self.raw(path);
            if !self.owned(path) && (there.is_some() || !theirs) {
                inputs.insert(path.to_owned(), there);
            }
        }
        let meant = |path: &str| written.iter().any(|pattern| pattern.trim_end_matches('/') == path);
        for (path, content) in self.disk.iter().filter(|(path, _)| patterns.matches(path)) {
            let is_folder = meant(path) && self.folder_behind(path).is_some();
            if !self.owned(path) && !task.declares(path) && !is_folder {
                inputs.insert(path.clone(), Some(content.clone()));
            }
        }
        let made = fed
            .iter()
            .filter(|other| feeds(other, &written))
            .filter_map(|other| self.records.get(&other.id()));
        for (path, content) in
            made.flat_map(|record| &record.outputs).filter(|(path, _)| patterns.matches(path))
        {
            inputs.insert(path.clone(), Some(content.clone()));
        }
        inputs
    }

    /// The links on the ways of these patterns and paths, and the entries to which links among the
    /// paths lead.
    fn behind<'p>(
        &self,
        patterns: &[String],
        paths: impl IntoIterator<Item = &'p String>,
    ) -> BTreeMap<String, Entry> {
        let mut found = BTreeMap::new();
        let bases = patterns.iter().filter(|pattern| !pattern.starts_with('!')).map(|pattern| base(pattern));
        for base in bases {
            found.extend(self.follow(base).links.into_iter().map(|link| (link.clone(), self.raw(&link))));
        }
        for path in paths {
            self.add_behind(path, &mut found);
        }
        found
    }

    fn add_behind(&self, path: &str, found: &mut BTreeMap<String, Entry>) {
        let way = self.follow(path);
        if way.links.is_empty() {
            return;
        }
        found.extend(way.links.iter().map(|link| (link.clone(), self.raw(link))));
        match way.end {
            End::File(place) | End::Missing(place) => _ = found.insert(place.clone(), self.raw(&place)),
            End::Folder(folder) => {
                // No folder of a law holds links, so that is all.
                found
                    .extend(self.below(&folder).map(|(path, content)| (path.clone(), Some(content.clone()))));
            }
            End::Around(_) | End::Circle => {}
        }
    }

    fn validation(&self, task: &Task) -> Vec<(String, Entry)> {
        let Some((version, input)) = task.checks() else { return Vec::new() };
        let mut read = vec![(format!("{version} {input:?}"), input.as_ref().and_then(|path| self.raw(path)))];
        read.extend(self.behind(&[], input));
        read
    }

    /// The paths that depfiles named, with their ways, without those that are `known`.
    fn discovered<'p>(
        &self,
        named: impl IntoIterator<Item = &'p String>,
        known: &[&BTreeMap<String, Entry>],
    ) -> BTreeMap<String, Entry> {
        let mut found = BTreeMap::new();
        for path in named {
            found.insert(path.clone(), self.raw(path));
            // A depfile names files; a link to a folder is one on the way.
            if !matches!(self.follow(path).end, End::Folder(_)) {
                self.add_behind(path, &mut found);
            }
        }
        found.retain(|path, _| !known.iter().any(|known| known.contains_key(path)));
        found
    }

    /// Does a build of `targets` (none: everything), and says what it had to do.
    pub(crate) fn build(&mut self, targets: Option<&[usize]>, force: bool) -> Due {
        let (tasks, gates) = self.scope(targets);
        let mut due = Due::default();
        let mut heritage = self.heritage();
        for index in tasks {
            let task = self.recipe.tasks[&index].clone();
            let forced = force && targets.is_none_or(|targets| targets.contains(&index));
            if self.build_one(&task, forced, &mut due) {
                self.inherit(&task, &mut heritage);
            }
        }
        for group in gates {
            let Some(version) = self.recipe.gates.get(&group).copied() else { continue };
            let members = self.recipe.tasks.range(group * GROUP..(group + 1) * GROUP);
            let members = members.filter_map(|(_, task)| self.records.get(&task.id()));
            let made: BTreeMap<String, Content> = members.flat_map(|record| record.outputs.clone()).collect();
            let now = (version, made.clone(), self.behind(&[], made.keys()));
            if self.gates.get(&group) != Some(&now) {
                due.gates.insert(format!("G{group}:gate"));
                self.gates.insert(group, now);
            }
        }
        due
    }

    /// What tasks that are gone have left behind.
    fn heritage(&self) -> BTreeMap<String, BTreeSet<String>> {
        let live: BTreeSet<String> = self.recipe.tasks.values().map(Task::id).collect();
        let gone = self.records.iter().filter(|(id, _)| !live.contains(*id));
        gone.map(|(id, record)| (id.clone(), record.outputs.keys().cloned().collect())).collect()
    }

    /// A task that is gone and of which others have made everything anew is forgotten.
    fn inherit(&mut self, task: &Task, heritage: &mut BTreeMap<String, BTreeSet<String>>) {
        let made: Vec<String> = self.records[&task.id()].outputs.keys().cloned().collect();
        for (id, left) in heritage {
            let before = left.len();
            left.retain(|path| !made.contains(path));
            if left.is_empty() && before > 0 {
                self.records.remove(id);
            }
        }
    }

    /// Brings one task up to date; says whether its command ran.
    fn build_one(&mut self, task: &Task, forced: bool, due: &mut Due) -> bool {
        let id = task.id();
        let old = self.records.get(&id).cloned();
        let inputs = self.inputs(task);
        let needed = task.needs.iter().filter_map(|index| self.records.get(&self.recipe.tasks[index].id()));
        let needs: BTreeMap<String, Content> = needed.flat_map(|record| record.outputs.clone()).collect();
        let mut behind = self.behind(&self.recipe.patterns(task), inputs.keys().chain(needs.keys()));
        behind.retain(|path, _| {
            !inputs.contains_key(path) && !needs.contains_key(path) && !task.declares(path)
        });
        let known = old.iter().flat_map(|record| record.discovered.keys());
        let known = known.filter(|_| task.shape == crate::recipe::Shape::Depfile);
        let discovered = self.discovered(known, &[&inputs, &behind]);
        let definition = task.definition(&self.recipe);
        let validation = self.validation(task);
        let stands = old.as_ref().is_some_and(|record| {
            let intact = record.outputs.iter().all(|(path, content)| self.disk.get(path) == Some(content));
            let optional = task.optional().filter(|path| !record.outputs.contains_key(path));
            let intruder = optional.is_some_and(|path| self.disk.contains_key(&path));
            intact
                && !intruder
                && record.definition == definition
                && (&record.inputs, &record.behind) == (&inputs, &behind)
                && (&record.discovered, &record.needs) == (&discovered, &needs)
        });
        if let (true, false, false, Some(record)) = (stands, forced, task.always, &old) {
            if record.validation != validation {
                due.validated.insert(id.clone());
                self.records.insert(id, Record { validation, ..record.clone() });
            }
            return false;
        }
        due.ran.insert(id.clone());
        if stands && !forced {
            due.restless.insert(id.clone());
        }
        let made = task.make(&self.recipe, inputs.keys().cloned(), &|path| self.read(path));
        for (path, content) in old.iter().flat_map(|record| &record.outputs) {
            let others =
                self.recipe.tasks.values().any(|other| other.index != task.index && other.declares(path));
            if task.declares(path) || (!others && self.disk.get(path) == Some(content)) {
                self.disk.remove(path);
            }
        }
        // In a folder only what is no task's stays.
        let stays = self.sources();
        let is_folder = task.folder().is_some();
        self.disk.retain(|path, _| !task.declares(path) || (is_folder && stays.contains_key(path)));
        self.disk.extend(made.outputs.clone());
        let discovered = self.discovered(&made.discovered, &[&inputs, &behind]);
        let outputs = made.outputs;
        let record = Record { definition, inputs, behind, discovered, needs, validation, outputs };
        self.records.insert(id, record);
        true
    }
}
