//! The snapshot: everything that a task's keys rest on, as it was when the keys were made; and the guard, which says
//! whether it still is, or was at any moment meanwhile something else.
//!
//! The same question is asked before the start, after the command, and after the checks. It concerns the person's tree
//! and the programs of this machine, never a private folder.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use super::tools::ToolSeen;
use crate::model::{Entry, LOCKFILE, PathIndex, Reason, ReasonKind, Signature, WorkspacePath};
use crate::workspace::{Globs, Touch, Touched, Tree, Watch, Witness};

/// The files that a task reads, and its tools, as they were.
#[derive(Clone, Default)]
pub struct Snapshot {
    /// The state's tick when it was taken. A result is verified as of this tick.
    pub observed_at: u64,
    /// Inputs, links on the way to them, and needed outputs, sorted by path.
    pub files: Vec<Seen>,
    /// Source files so young when they were hashed that a later write may bear the same signature: their
    /// content is compared.
    pub racy: Vec<(WorkspacePath, Entry)>,
    /// The matches of the globs and folders among its inputs, one listing for each list of patterns.
    pub listings: Vec<Listing>,
    /// Files that nobody may write meanwhile, sorted; their times and final content are not compared.
    pub unwritten: Vec<WorkspacePath>,
    /// The programs that `tools` names.
    pub tools: Vec<ToolSeen>,
}

/// A file as it was.
#[derive(Clone)]
pub struct Seen {
    /// Where.
    pub path: WorkspacePath,
    /// When its content was read.
    pub signature: Signature,
    /// That content.
    pub entry: Entry,
}

/// Something that is not as it was.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Moved {
    /// A file, link or folder of the tree.
    File(WorkspacePath),
    /// A program, by the name under which the task knows it.
    Tool(String),
}

impl Moved {
    /// As a cause for a task to be due.
    pub fn reason(&self) -> Reason {
        let reason = Reason::new(ReasonKind::ChangedDuringRun);
        match self {
            Self::File(path) => reason.path(path),
            Self::Tool(name) => reason.name(name.clone()),
        }
    }

    /// The path, where it is one.
    pub fn path(&self) -> Option<&WorkspacePath> {
        match self {
            Self::File(path) => Some(path),
            Self::Tool(_) => None,
        }
    }
}

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.fmt(f),
            Self::Tool(name) => write!(f, "the tool {name}"),
        }
    }
}

/// The matches of one list of patterns.
#[derive(Clone)]
pub struct Listing {
    /// The patterns.
    pub globs: Arc<Globs>,
    /// Where to walk.
    pub bases: Vec<WorkspacePath>,
    /// Places behind links, each with the base under which the patterns know it.
    pub through: Vec<(WorkspacePath, WorkspacePath)>,
    /// Folders to which links among the inputs lead: all files in them count.
    pub behind: Vec<WorkspacePath>,
    /// Those of `bases` that are written out although a rule ignores them.
    pub named: Vec<WorkspacePath>,
    /// Every match, sorted.
    pub found: Vec<WorkspacePath>,
    /// Paths that match but are no part of the listing: made by tasks, and so inputs by another way.
    pub made: Arc<HashSet<WorkspacePath>>,
    /// The task's own outputs, which never match its inputs.
    pub own: Arc<PathIndex<()>>,
}

/// The result of walking a listing's bases.
struct Look {
    matches: HashSet<WorkspacePath>,
    folders: Vec<WorkspacePath>,
}

impl Listing {
    fn look(&self, tree: &Tree) -> Look {
        let mut walked = tree.walk(&self.bases);
        for folder in &self.named {
            let below = tree.walk_named(folder);
            walked.paths.extend(below.paths);
            walked.folders.extend(below.folders);
        }
        // Files behind links are inputs by themselves; only their folders are of interest.
        walked.folders.extend(tree.walk(&self.behind).folders);
        Look { matches: self.select(walked.paths).into_iter().collect(), folders: walked.folders }
    }

    /// The same patterns with their matches as of now.
    pub fn taken_now(&self, tree: &Tree) -> Self {
        let mut found: Vec<WorkspacePath> = self.look(tree).matches.into_iter().collect();
        found.sort();
        Self { found, ..self.clone() }
    }

    /// Those of `walked` that belong to the listing.
    pub(super) fn select(&self, walked: impl IntoIterator<Item = WorkspacePath>) -> Vec<WorkspacePath> {
        walked.into_iter().filter(|path| self.belongs(path)).collect()
    }

    fn belongs(&self, path: &WorkspacePath) -> bool {
        self.globs.matches(path) && !self.made.contains(path) && !self.is_own(path)
    }

    fn is_own(&self, path: &WorkspacePath) -> bool {
        self.own.holds(path)
    }

    /// Every folder whose content matters, by its own name.
    fn watched(&self) -> impl Iterator<Item = &WorkspacePath> {
        self.bases.iter().chain(self.through.iter().map(|(place, _)| place)).chain(&self.behind)
    }

    fn is_behind(&self, path: &WorkspacePath) -> bool {
        self.behind.iter().any(|folder| path.is_within(folder) && path != folder)
    }

    /// True if the event concerns a path that belongs to the listing, or once did.
    fn is_touched(&self, touch: &Touch, tree: &Tree) -> bool {
        let path = &touch.path;
        let below_a_base = |path: &WorkspacePath| self.bases.iter().any(|base| path.is_within(base));
        match touch.what {
            Touched::File => {
                // A walk leaves the lock out too.
                let is_lock = path.as_bytes() == LOCKFILE.as_bytes();
                let is_named = self.named.iter().any(|folder| path.is_within(folder));
                let seen_from = |(place, base): &(WorkspacePath, WorkspacePath)| path.rebased(place, base);
                let mut names = self.through.iter().filter_map(seen_from).chain([path.clone()]);
                let belongs = names.any(|name| below_a_base(&name) && self.belongs(&name))
                    || self.is_behind(path) && !self.made.contains(path) && !self.is_own(path);
                !is_lock && belongs && (is_named || !tree.ignores(path, false))
            }
            Touched::FolderMoved | Touched::FolderUnseen => {
                let is_above = self.watched().any(|base| base.is_within(path));
                let may_match = self.globs.could_match_within(path) && !self.is_own(path);
                let is_below = below_a_base(path) && may_match || self.is_behind(path);
                is_above || (is_below && !tree.ignores(path, true))
            }
            // Everything in it was removed before, and each removal was seen.
            Touched::FolderRemoved => false,
        }
    }
}

impl Snapshot {
    /// Did the tree hold `entry` at `path` when the key was made?
    pub fn holds(&self, path: &WorkspacePath, entry: &Entry) -> bool {
        self.seen(path).is_some_and(|seen| seen.entry == *entry)
    }

    /// How `path` was when the key was made, where the key names it.
    pub fn seen(&self, path: &WorkspacePath) -> Option<&Seen> {
        let at = self.files.binary_search_by(|seen| seen.path.cmp(path)).ok()?;
        self.files.get(at)
    }

    /// Starts to guard the snapshot: from now on `witness` sees every change, even one that is undone later.
    ///
    /// # Errors
    /// Everything that differs from the snapshot already.
    pub fn guard(self: &Arc<Self>, tree: &Tree, witness: &Witness) -> Result<Guard, Vec<Moved>> {
        let mut parents: HashSet<WorkspacePath> = HashSet::new();
        let bases = || self.listings.iter().flat_map(Listing::watched);
        for path in self.files.iter().map(|seen| &seen.path).chain(&self.unwritten).chain(bases()) {
            add_parents(path, &mut parents);
        }
        // The watches stand before the first look, so every change after that look is seen.
        let is_bare = self.files.is_empty() && self.unwritten.is_empty() && self.listings.is_empty();
        let mut watch = if is_bare { Watch::default() } else { witness.watch(&parents, bases()) };
        let mut first = self.look(tree);
        while watch.is_covered() {
            let wider = witness.watch(&parents, &first.folders);
            if wider.is_covered() && !wider.has_grown() {
                break;
            }
            // Until now nobody watched some of the folders.
            watch = wider;
            first = self.look(tree);
        }
        let sight = if watch.is_covered() {
            Sight::Watched(watch)
        } else {
            Sight::Blind { stamps: stamps(tree, &first.folders) }
        };
        self.guarded(tree, &first, sight)
    }

    /// Like [`Self::guard`], for a task that reads its own copies: only lasting changes are seen.
    ///
    /// # Errors
    /// As [`Self::guard`].
    pub fn guard_unwatched(self: &Arc<Self>, tree: &Tree) -> Result<Guard, Vec<Moved>> {
        self.guarded(tree, &self.look(tree), Sight::Copied)
    }

    fn guarded(self: &Arc<Self>, tree: &Tree, first: &First, sight: Sight) -> Result<Guard, Vec<Moved>> {
        let guard = Guard { snapshot: Arc::clone(self), links: first.links(), sight };
        let changed = guard.differences(tree, first, |seen, now| seen.is_same(now, tree));
        if changed.is_empty() { Ok(guard) } else { Err(changed) }
    }

    fn look(&self, tree: &Tree) -> First {
        let paths: Vec<&[u8]> = self.files.iter().map(|seen| seen.path.as_bytes()).collect();
        let (mut matches, mut folders) = (Vec::with_capacity(self.listings.len()), Vec::new());
        for listing in &self.listings {
            let look = listing.look(tree);
            matches.push(look.matches);
            folders.extend(look.folders);
        }
        First { files: tree.signatures_with_links(&paths), matches, folders }
    }
}

/// Everything that a snapshot names, as one look finds it.
struct First {
    /// Signature and number of hard links, for each of the snapshot's files.
    files: Vec<(Signature, u64)>,
    /// For each of its listings.
    matches: Vec<HashSet<WorkspacePath>>,
    /// Every folder that the listings walked.
    folders: Vec<WorkspacePath>,
}

impl First {
    fn links(&self) -> Vec<u64> {
        self.files.iter().map(|(_, links)| *links).collect()
    }
}

impl Seen {
    /// Is the file as it was, as far as a single look can tell? Where only the time of its last change of status and
    /// its permissions differ (another hard link, a `chmod`), the content decides.
    fn is_same(&self, now: &Signature, tree: &Tree) -> bool {
        self.signature == *now || (self.is_only_touched(now) && tree.observe(&self.path).entry == self.entry)
    }

    /// Was the file not written since the first look? Where it was watched, its time of last change of status says
    /// little; where it was not, that time is all there is, unless the number of links explains it. A write through
    /// another hard link is seen by no watch.
    fn is_unwritten(
        &self,
        now: &Signature,
        (links_before, links_now): (u64, u64),
        is_covered: bool,
        tree: &Tree,
    ) -> bool {
        if self.signature == *now {
            return true;
        }
        let was_linked = links_before != links_now;
        let has_other_names = links_now > 1 && self.signature.mode == now.mode;
        let is_explained = was_linked || (is_covered && !has_other_names);
        is_explained && self.is_only_touched(now) && tree.observe(&self.path).entry == self.entry
    }

    /// Has the file its old content, written anew or not?
    fn has_same_content(&self, now: &Signature, tree: &Tree) -> bool {
        self.signature == *now || tree.observe(&self.path).entry == self.entry
    }

    fn is_only_touched(&self, now: &Signature) -> bool {
        let written = |seen: &Signature| (seen.size, seen.mtime_ns, seen.inode);
        written(&self.signature) == written(now)
    }
}

/// A snapshot under guard, from the first look on.
pub struct Guard {
    snapshot: Arc<Snapshot>,
    /// How many hard links each of its files had at the first look.
    links: Vec<u64>,
    sight: Sight,
}

/// How much of the time between two looks a guard sees.
enum Sight {
    /// All of it.
    Watched(Watch),
    /// None of it, but for the times that the kernel stamps.
    Blind {
        /// When the content of each listed folder had last changed.
        stamps: Vec<(WorkspacePath, i64)>,
    },
    /// It does not matter: the task has its own copies.
    Copied,
}

impl Guard {
    /// Everything that differs from the snapshot, or differed at any moment since the guard began. Empty means that
    /// the keys still hold.
    pub fn changes(&self, tree: &Tree) -> Vec<Moved> {
        let touched = self.touched();
        let now = self.snapshot.look(tree);
        let mut at = 0..;
        let mut changed = self.differences(tree, &now, |seen, signature| {
            let at = at.next().unwrap_or_default();
            let links = (self.links[at], now.files[at].1);
            match &self.sight {
                Sight::Copied => seen.has_same_content(signature, tree),
                _ => seen.is_unwritten(signature, links, touched.is_some(), tree),
            }
        });
        let concerned = touched.iter().flatten().filter(|touch| self.concerns(touch, tree));
        changed.extend(concerned.map(|touch| Moved::File(touch.path.clone())));
        sorted(changed)
    }

    /// The tools among [`Self::changes`]: a task with copies of its files sees no other change.
    pub fn changed_tools(&self) -> Vec<Moved> {
        let changed = self.snapshot.tools.iter().filter(|tool| !tool.is_same());
        changed.map(|tool| Moved::Tool(tool.name.clone())).collect()
    }

    /// Everything that happened in the watched folders; none where somebody may have missed something.
    fn touched(&self) -> Option<Vec<Touch>> {
        if let Sight::Watched(watch) = &self.sight { watch.touched() } else { None }
    }

    /// True if an unseen change may have been undone: a listed folder has another time, none of its matching files has
    /// changed, and `explains` knows no reason for it.
    pub fn is_doubtful(&self, tree: &Tree, explains: impl Fn(&WorkspacePath) -> bool) -> bool {
        match &self.sight {
            Sight::Copied => false,
            Sight::Watched(watch) => watch.touched().is_none() && !self.snapshot.listings.is_empty(),
            Sight::Blind { stamps } => {
                let differs =
                    |(folder, stamp): &&(WorkspacePath, i64)| tree.signature(folder).mtime_ns != *stamp;
                stamps.iter().filter(differs).any(|(folder, _)| !explains(folder))
            }
        }
    }

    fn differences(
        &self,
        tree: &Tree,
        now: &First,
        mut is_same: impl FnMut(&Seen, &Signature) -> bool,
    ) -> Vec<Moved> {
        let snapshot = &*self.snapshot;
        let files = snapshot.files.iter().zip(&now.files);
        let mut changed: Vec<WorkspacePath> = files
            .filter(|(seen, (signature, _))| !is_same(seen, signature))
            .map(|(seen, _)| seen.path.clone())
            .collect();
        let differs = |(path, before): &&(WorkspacePath, Entry)| tree.observe(path).entry != *before;
        changed.extend(snapshot.racy.iter().filter(differs).map(|(path, _)| path.clone()));
        for (listing, now) in snapshot.listings.iter().zip(&now.matches) {
            let before: HashSet<WorkspacePath> = listing.found.iter().cloned().collect();
            changed.extend(now.symmetric_difference(&before).cloned());
        }
        sorted(changed.into_iter().map(Moved::File).chain(self.changed_tools()).collect())
    }

    /// True if the event concerns an input, a folder on the way to one, or a path that a pattern matches.
    fn concerns(&self, touch: &Touch, tree: &Tree) -> bool {
        let files = &self.snapshot.files;
        let from = files.partition_point(|seen| seen.path < touch.path);
        let is_input = files.get(from).is_some_and(|seen| seen.path == touch.path)
            || self.snapshot.unwritten.binary_search(&touch.path).is_ok();
        let is_on_the_way = || {
            touch.what == Touched::FolderMoved && files.iter().any(|seen| seen.path.is_within(&touch.path))
        };
        is_input
            || is_on_the_way()
            || self.snapshot.listings.iter().any(|listing| listing.is_touched(touch, tree))
    }
}

/// The folders on the way to a path.
fn add_parents(path: &WorkspacePath, parents: &mut HashSet<WorkspacePath>) {
    let above = std::iter::successors(path.parent(), WorkspacePath::parent);
    for parent in above {
        if !parents.insert(parent) {
            break;
        }
    }
}

fn stamps(tree: &Tree, folders: &[WorkspacePath]) -> Vec<(WorkspacePath, i64)> {
    let paths: Vec<&[u8]> = folders.iter().map(WorkspacePath::as_bytes).collect();
    let seen = tree.signatures(&paths);
    folders.iter().cloned().zip(seen.into_iter().map(|seen| seen.mtime_ns)).collect()
}

fn sorted(mut changed: Vec<Moved>) -> Vec<Moved> {
    changed.sort();
    changed.dedup();
    changed
}

#[cfg(test)]
mod tests;
