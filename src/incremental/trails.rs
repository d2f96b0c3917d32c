//! Links among inputs. Each link on the way to an input is an input, and so is the file or folder
//! at the end of the way.
//!
//! One rule holds for inputs that are written out, found by globs, named by depfiles or made by
//! tasks. A path keeps the name that the person gave it. The links and the places behind them are
//! added to it (`Via::Link`).
//!
//! Invariant: remembered ways are forgotten when a task makes, turns or removes a link (`turned`).

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::db::EditPath;
use super::engine::Engine;
use crate::graph::TaskIndex;
use crate::model::{EntryKind, PathIndex, Via, WorkspacePath};
use crate::store::FileId;
use crate::workspace::{End, Globs, Trail};

/// How the paths in a folder that lies behind links are reached.
pub(super) struct Way {
    links: Vec<WorkspacePath>,
    /// Where the folder lies; none where the links lead out or in a circle.
    place: Option<WorkspacePath>,
    /// A folder is there, and holds none of the links.
    is_folder: bool,
    /// They lead out of the workspace.
    is_outside: bool,
}

impl Way {
    /// Is one of these links on it, or would it be?
    pub(super) fn leads_through(&self, links: &BTreeSet<WorkspacePath>) -> bool {
        let is_new = |place: &WorkspacePath| links.iter().any(|link| place.is_within(link));
        self.links.iter().any(|link| links.contains(link)) || self.place.as_ref().is_some_and(is_new)
    }
}

/// The ways that this session has resolved.
#[derive(Default)]
pub(super) struct Ways {
    /// By folder; none where no link is on its way.
    pub(super) folders: HashMap<WorkspacePath, Option<Arc<Way>>>,
    /// By the file that lies at a place: the names behind links that were looked at for it.
    pub(super) aliases: BTreeMap<FileId, BTreeSet<FileId>>,
    /// Tasks that read through links.
    pub(super) readers: BTreeSet<TaskIndex>,
    /// By file: tasks whose last result read it although another task made it. Computed on first
    /// use.
    pub(super) strangers: Option<HashMap<FileId, Vec<TaskIndex>>>,
}

/// The inputs that a list of patterns leads to.
#[derive(Default)]
pub(super) struct Reads {
    /// The files of the tree.
    pub(super) sources: BTreeMap<FileId, Via>,
    /// The links that the patterns match: the place of each, and its name.
    starts: Vec<(WorkspacePath, WorkspacePath)>,
    pub(super) links: Links,
}

/// The places to which the links among a task's inputs lead.
#[derive(Default)]
pub(super) struct Links {
    /// Places to which links lead: outputs of dependencies at or below them are inputs.
    pub(super) behind: BTreeSet<WorkspacePath>,
    /// Each link as the task names it, with the end of its way.
    pub(super) ends: Vec<(WorkspacePath, End)>,
    /// Paths behind links that are missing or made by another task, and that no dependency
    /// declares.
    pub(super) unclaimed: BTreeSet<WorkspacePath>,
    /// A folder behind a link counts, so it must be listed each time.
    pub(super) lists: bool,
}

/// A task whose patterns are looked up, with the paths that their matches are compared with.
pub(super) struct Reader<'a> {
    pub(super) index: TaskIndex,
    /// Its own outputs.
    pub(super) own: PathIndex<()>,
    /// Its `edits`, which are no sources.
    pub(super) edits: &'a [EditPath],
    /// The outputs that its dependencies declare, once a path is found that they may make.
    pub(super) needed: OnceCell<PathIndex<()>>,
    /// The links that its dependencies made and that it reads.
    pub(super) made: Vec<MadeLink>,
}

/// A link that a dependency made.
#[derive(Clone)]
pub(super) struct MadeLink {
    pub(super) path: WorkspacePath,
    /// The task that made it is under `needs`.
    pub(super) needed: bool,
    /// Its text, where it is not in the tree.
    pub(super) text: Option<Vec<u8>>,
}

impl Reader<'_> {
    /// Is the path the task's own, and so none of its inputs?
    pub(super) fn owns(&self, path: &WorkspacePath) -> bool {
        self.own.holds(path) || self.edits.binary_search_by(|edit| edit.path.cmp(path)).is_ok()
    }
}

impl Reader<'_> {
    /// True if a dependency declares the path among its outputs.
    fn is_needed(&self, engine: &Engine, path: &WorkspacePath) -> bool {
        self.needed.get_or_init(|| engine.declared_by_dependencies(self.index)).holds(path)
    }
}

impl Reads {
    /// Adds the inputs that other patterns of the same task lead to.
    pub(super) fn merge(&mut self, other: Self) {
        for (id, via) in other.sources {
            let known = self.sources.entry(id).or_insert(via);
            *known = (*known).min(via);
        }
        self.links.behind.extend(other.links.behind);
        self.links.ends.extend(other.links.ends);
        self.links.unclaimed.extend(other.links.unclaimed);
        self.links.lists |= other.links.lists;
    }
}

impl Links {
    /// Is a path read because a link leads to it, or to a folder above it?
    pub(super) fn lead_to(&self, path: &WorkspacePath) -> bool {
        !self.behind.is_empty()
            && (self.behind.contains(path) || path.folders().any(|folder| self.behind.contains(&folder)))
    }
}

impl Engine {
    /// The way of the paths in `folder`. None if no link is on it, or if one leads out of the
    /// workspace: a file there counts by its content alone.
    pub(super) fn way(&mut self, folder: &WorkspacePath) -> Option<Arc<Way>> {
        self.any_way(folder).filter(|way| !way.is_outside)
    }

    fn any_way(&mut self, folder: &WorkspacePath) -> Option<Arc<Way>> {
        if let Some(known) = self.ways.folders.get(folder) {
            return known.clone();
        }
        let parent = folder.parent()?;
        let is_plain = self.any_way(&parent).is_none() && !self.workspace.is_link(folder);
        let trail = (!is_plain).then(|| self.workspace.follow(folder));
        let way = trail.filter(|trail| !trail.links.is_empty()).map(|trail| {
            let (place, is_outside) = (trail.place().cloned(), trail.end == End::Outside);
            let is_folder = matches!(trail.end, End::Folder(_));
            Arc::new(Way { links: trail.links, place, is_folder, is_outside })
        });
        self.ways.folders.insert(folder.clone(), way.clone());
        way
    }

    /// The folder at the end of the links on the way of `folder`, if it was resolved already.
    pub(super) fn place_behind_links(&self, folder: &WorkspacePath) -> Option<&WorkspacePath> {
        let way = self.ways.folders.get(folder)?.as_ref()?;
        way.place.as_ref().filter(|_| way.is_folder)
    }

    /// The place of a path, with all links on its way resolved.
    pub(super) fn lies_at(&mut self, path: &WorkspacePath) -> WorkspacePath {
        let way = path.parent().and_then(|folder| self.way(&folder));
        let place = way.and_then(|way| Some(way.place.as_ref()?.join(path.name()?)));
        place.unwrap_or_else(|| path.clone())
    }

    /// Is this a folder behind a link, itself or on its way?
    pub(super) fn is_linked_folder(&mut self, path: &WorkspacePath) -> bool {
        self.way(path).is_some_and(|way| way.is_folder)
    }

    /// Adds the way of a folder that a pattern names.
    pub(super) fn add_way(&mut self, reader: &Reader<'_>, folder: &WorkspacePath, reads: &mut Reads) {
        let Some(way) = self.way(folder) else { return };
        reads.links.lists |= way.is_folder;
        for link in &way.links {
            self.add(reader, link, true, reads);
        }
    }

    /// Adds a path that a pattern matches. A path that is `written` out counts in any case.
    pub(super) fn add_named(
        &mut self,
        reader: &Reader<'_>,
        path: &WorkspacePath,
        written: bool,
        reads: &mut Reads,
    ) {
        let way = path.parent().and_then(|folder| self.way(&folder));
        let place = way.as_ref().and_then(|way| Some(way.place.as_ref()?.join(path.name()?)));
        let lies_at = place.as_ref().unwrap_or(path);
        let id = self.look_at(path);
        let mut lies = id;
        if let Some(place) = &place {
            lies = self.state.intern(place);
            self.ways.aliases.entry(lies).or_default().insert(id);
        }
        if reader.owns(path) || reader.owns(lies_at) {
            return;
        }
        let entry = self.state.file(id).map(|row| row.entry);
        let is_there = entry.is_some_and(|entry| entry.exists());
        let is_made = self.is_owned(lies);
        let dependencys = (is_made || !is_there) && reader.is_needed(self, lies_at);
        // A dependency's record speaks for what it made, but not for another name of it.
        let counts = if place.is_some() {
            written || (is_there && (dependencys || !is_made))
        } else {
            !dependencys && (written || (is_there && !is_made))
        };
        if counts {
            reads.sources.insert(id, Via::Inputs);
        }
        way.iter().flat_map(|way| &way.links).for_each(|link| self.add(reader, link, true, reads));
        if let Some(place) = &place {
            self.add(reader, place, written, reads);
        }
        if entry.is_some_and(|entry| entry.kind == EntryKind::Link) {
            reads.starts.push((lies_at.clone(), path.clone()));
        }
    }

    /// Adds a link on the way or a place to which one leads.
    fn add(&mut self, reader: &Reader<'_>, path: &WorkspacePath, counts: bool, reads: &mut Reads) {
        if reader.owns(path) {
            return;
        }
        let id = self.look_at(path);
        let is_there = self.state.file(id).is_some_and(|row| row.entry.exists());
        let is_made = self.is_owned(id);
        if (is_made || !is_there) && reader.is_needed(self, path) {
            reads.links.behind.insert(path.clone());
            return;
        }
        if is_made || !is_there {
            reads.links.unclaimed.insert(path.clone());
        }
        if counts || (is_there && !is_made) {
            reads.sources.entry(id).or_insert(Via::Link);
        }
    }

    /// Follows to the end the links that the patterns match and those that dependencies made.
    pub(super) fn follow_links(&mut self, reader: &Reader<'_>, globs: &Globs, reads: &mut Reads) {
        for start in std::mem::take(&mut reads.starts) {
            self.follow_link(reader, globs, start, reads);
        }
        let mut unread: Vec<&MadeLink> = reader.made.iter().collect();
        // A link may lead to a folder in which other links were made.
        loop {
            let is_read = |link: &&MadeLink| {
                link.needed || globs.matches(&link.path) || reads.links.lead_to(&link.path)
            };
            let (read, rest): (Vec<&MadeLink>, Vec<&MadeLink>) = unread.into_iter().partition(is_read);
            if read.is_empty() {
                return;
            }
            unread = rest;
            for link in read {
                self.follow_link(reader, globs, (link.path.clone(), link.path.clone()), reads);
            }
        }
    }

    fn follow_link(
        &mut self,
        reader: &Reader<'_>,
        globs: &Globs,
        start: (WorkspacePath, WorkspacePath),
        reads: &mut Reads,
    ) {
        let known = reader.made.iter().filter_map(|link| Some((link.path.clone(), link.text.clone()?)));
        let known: BTreeMap<WorkspacePath, Vec<u8>> = known.collect();
        let (mut listed, mut queue) = (BTreeSet::new(), vec![start]);
        while let Some((link, name)) = queue.pop() {
            let Trail { links, end } = self.workspace.follow_with(&link, &known);
            for link in &links {
                self.add(reader, link, true, reads);
            }
            match &end {
                End::File(place) | End::Missing(place) => self.add(reader, place, true, reads),
                End::Folder(folder) if listed.insert(folder.clone()) => {
                    queue.extend(self.list_behind(reader, globs, folder, &name, reads));
                }
                End::Folder(_) | End::Around(_) | End::Outside | End::Circle => {}
            }
            reads.links.ends.push((name, end));
        }
    }

    /// Adds the files of a folder to which a link leads, and returns the links among them with
    /// their names. `name` is the task's name for the folder.
    fn list_behind(
        &mut self,
        reader: &Reader<'_>,
        globs: &Globs,
        folder: &WorkspacePath,
        name: &WorkspacePath,
        reads: &mut Reads,
    ) -> Vec<(WorkspacePath, WorkspacePath)> {
        reads.links.behind.insert(folder.clone());
        let mut links = Vec::new();
        // Of a folder that a dependency makes, its record says all that counts.
        if reader.is_needed(self, folder) {
            return links;
        }
        reads.links.lists = true;
        let files = self.below_named(folder);
        self.look_at_each(&files);
        for file in files {
            let Some(name) = file.rebased(folder, name) else { continue };
            if reader.owns(&name) || globs.excludes(&name) || globs.excludes(&file) {
                continue;
            }
            self.add(reader, &file, false, reads);
            let row = self.state.file_id(&file).and_then(|id| self.state.file(id));
            if row.is_some_and(|row| row.entry.kind == EntryKind::Link) {
                links.push((file, name));
            }
        }
        links
    }

    /// The links on the way of a path that a depfile named, and the place at its end.
    pub(super) fn beside(&mut self, path: &WorkspacePath, id: FileId) -> Vec<WorkspacePath> {
        let is_link = self.state.file(id).is_some_and(|row| row.entry.kind == EntryKind::Link);
        if is_link || path.parent().is_some_and(|folder| self.way(&folder).is_some()) {
            self.workspace.on_the_way(path)
        } else {
            Vec::new()
        }
    }

    /// Remembers whether a task reads through links.
    pub(super) fn note_reader(&mut self, index: TaskIndex, reads: [&Reads; 2]) {
        let through_links = |reads: &Reads| {
            !reads.links.ends.is_empty() || reads.sources.values().any(|via| *via == Via::Link)
        };
        if reads.into_iter().any(through_links) {
            self.ways.readers.insert(index);
        }
    }
}
