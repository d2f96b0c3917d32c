//! Follows links: resolves a path component by component and link by link, inside the root.
//!
//! It does not know tasks or inputs and reads no content. It calls `readlink` once for each
//! component of the path.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::{Root, folder, relative};
use crate::model::WorkspacePath;

/// The kernel goes through no more links than this for one path.
const MOST_LINKS: usize = 40;

/// The way of a path: each link on it, and where it ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trail {
    /// Each link, at the place where it lies, in order, each once. The folders that lead to a link
    /// are no links themselves.
    pub links: Vec<WorkspacePath>,
    /// Where the way ends.
    pub end: End,
}

/// Where a way ends. No path in it leads through a link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum End {
    /// At a file (or something special: observing it tells).
    File(WorkspacePath),
    /// At a folder.
    Folder(WorkspacePath),
    /// At a folder that holds one of the links of the way.
    Around(WorkspacePath),
    /// At a path where nothing is.
    Missing(WorkspacePath),
    /// Outside the root, or in a folder that no walk enters (`.git`, `.conductor`).
    Outside,
    /// Nowhere: the links lead in a circle.
    Circle,
}

impl Trail {
    /// The place at the end, whether something is there or not.
    pub fn place(&self) -> Option<&WorkspacePath> {
        match &self.end {
            End::File(place) | End::Folder(place) | End::Around(place) | End::Missing(place) => Some(place),
            End::Outside | End::Circle => None,
        }
    }
}

/// The kind of a directory entry, as far as resolution needs it.
enum Step {
    Link(Vec<u8>),
    Other,
    Missing,
}

impl Root {
    /// Follows `path` component by component and link by link.
    pub fn follow(&self, path: &WorkspacePath) -> Trail {
        self.follow_with(path, &BTreeMap::new())
    }

    /// As [`Self::follow`], as if the links of `known`, with their texts, were there.
    pub fn follow_with(&self, path: &WorkspacePath, known: &BTreeMap<WorkspacePath, Vec<u8>>) -> Trail {
        let mut links: Vec<WorkspacePath> = Vec::new();
        let mut passed = 0;
        let mut at = WorkspacePath::root();
        // Last first.
        let mut rest: Vec<Vec<u8>> = path.components().rev().map(<[u8]>::to_vec).collect();
        while let Some(name) = rest.pop() {
            match name.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    let above = at.parent().or_else(|| self.come_back(self.above()?, &mut rest));
                    let Some(above) = above else { return Trail { links, end: End::Outside } };
                    at = above;
                    continue;
                }
                _ => {}
            }
            let next = at.join(&name);
            let text = match self.step_with(&next, known) {
                Step::Link(text) => text,
                Step::Other => {
                    at = next;
                    continue;
                }
                Step::Missing => {
                    let end = lexical(next, &rest).map_or(End::Outside, End::Missing);
                    return Trail { links, end };
                }
            };
            passed += 1;
            if passed > MOST_LINKS {
                return Trail { links, end: End::Circle };
            }
            if !links.contains(&next) {
                links.push(next);
            }
            rest.extend(text.split(|byte| *byte == b'/').rev().map(<[u8]>::to_vec));
            if text.starts_with(b"/") {
                let Some(inside) = self.come_back(PathBuf::from("/"), &mut rest) else {
                    return Trail { links, end: End::Outside };
                };
                at = inside;
            }
        }
        let end = self.end(at, &links);
        Trail { links, end }
    }

    /// The paths, beside `path` itself, that decide which file is read there: the links on the way
    /// and the place at the end. Empty if no link is on the way, or if the way leads out.
    pub fn on_the_way(&self, path: &WorkspacePath) -> Vec<WorkspacePath> {
        let trail = self.follow(path);
        let place = match &trail.end {
            End::File(place) | End::Missing(place) => Some(place.clone()),
            End::Folder(_) | End::Around(_) | End::Circle => None,
            End::Outside => return Vec::new(),
        };
        let mut found = trail.links;
        found.extend(place);
        found.retain(|other| other != path);
        found
    }

    /// Is a link at `path`, itself and not through a link on the way?
    pub fn is_link(&self, path: &WorkspacePath) -> bool {
        matches!(self.step(path), Step::Link(_))
    }

    /// For a link with an absolute text that leads back into the root: a relative text with the
    /// same meaning, which stays valid in a copy of the folder.
    pub fn relative_text(&self, path: &WorkspacePath) -> Option<PathBuf> {
        let Step::Link(text) = self.step(path) else { return None };
        if !text.starts_with(b"/") {
            return None;
        }
        let mut rest: Vec<Vec<u8>> = text.split(|byte| *byte == b'/').rev().map(<[u8]>::to_vec).collect();
        let inside = self.come_back(PathBuf::from("/"), &mut rest)?;
        let up = path.components().count().saturating_sub(1);
        let mut relative: PathBuf = std::iter::repeat_n("..", up).collect();
        relative.push(inside.as_path());
        relative.extend(rest.iter().rev().map(|name| OsStr::from_bytes(name)));
        Some(if relative.as_os_str().is_empty() { PathBuf::from(".") } else { relative })
    }

    fn step_with(&self, path: &WorkspacePath, known: &BTreeMap<WorkspacePath, Vec<u8>>) -> Step {
        if let Some(text) = known.get(path) {
            return Step::Link(text.clone());
        }
        match self.step(path) {
            // The folder of such a link need not be there either.
            Step::Missing if known.keys().any(|link| link.is_within(path)) => Step::Other,
            step => step,
        }
    }

    fn step(&self, path: &WorkspacePath) -> Step {
        match rustix::fs::readlinkat(&self.dir, relative(path.as_bytes()), Vec::new()) {
            Ok(text) => Step::Link(text.into_bytes()),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG) => Step::Missing,
            // No link, or something that cannot even be looked at: observing it tells.
            Err(_) => Step::Other,
        }
    }

    fn end(&self, place: WorkspacePath, links: &[WorkspacePath]) -> End {
        if !self.is_folder(&place) {
            return End::File(place);
        }
        if links.iter().any(|link| link.is_within(&place)) {
            return End::Around(place);
        }
        if !links.is_empty() && place.components().any(folder::is_private) {
            return End::Outside;
        }
        End::Folder(place)
    }

    /// The folder above the root.
    fn above(&self) -> Option<PathBuf> {
        self.root.parent().map(Path::to_owned)
    }

    /// Resolves `rest` from the folder `at`, anywhere on this machine, until the path enters the
    /// root. Links outside the root are followed and not reported.
    fn come_back(&self, mut at: PathBuf, rest: &mut Vec<Vec<u8>>) -> Option<WorkspacePath> {
        loop {
            if let Ok(inside) = at.strip_prefix(&self.root) {
                return Some(WorkspacePath::from_normal(inside.as_os_str().as_bytes()));
            }
            let name = rest.pop()?;
            if !name.is_empty() {
                at = at.join(OsStr::from_bytes(&name)).canonicalize().ok()?;
            }
        }
    }
}

/// The path that `rest` (last first) names from `at` on, where nothing is; none outside the root.
fn lexical(mut at: WorkspacePath, rest: &[Vec<u8>]) -> Option<WorkspacePath> {
    for name in rest.iter().rev() {
        match name.as_slice() {
            b"" | b"." => {}
            b".." => at = at.parent()?,
            name => at = at.join(name),
        }
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn path(text: &str) -> WorkspacePath {
        WorkspacePath::new(text).unwrap()
    }

    /// A folder with the file `src/f`, the folder `src/sub`, and links given as `name -> text`.
    /// `ROOT` in a text stands for the folder's own path.
    fn root(links: &[&str]) -> (tempfile::TempDir, Root) {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("ws")).unwrap();
        let root = Root::open(&folder.path().join("ws")).unwrap();
        fs::create_dir_all(root.root().join("src/sub")).unwrap();
        fs::create_dir_all(root.root().join(".git/refs")).unwrap();
        fs::write(root.root().join("src/f"), "").unwrap();
        for link in links {
            let (name, text) = link.split_once(" -> ").unwrap();
            let text = text.replace("ROOT", root.root().to_str().unwrap());
            let place = root.root().join(name);
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            symlink(text, place).unwrap();
        }
        (folder, root)
    }

    #[track_caller]
    fn check(links: &[&str], asked: &str, on_the_way: &[&str], end: End) {
        let (_folder, root) = root(links);
        let on_the_way: Vec<WorkspacePath> = on_the_way.iter().map(|link| path(link)).collect();
        assert_eq!(root.follow(&path(asked)), Trail { links: on_the_way, end }, "{asked} with {links:?}");
    }

    #[test]
    fn a_path_without_links_is_its_own_end() {
        check(&[], "src/f", &[], End::File(path("src/f")));
        check(&[], "src", &[], End::Folder(path("src")));
        check(&[], "src/g", &[], End::Missing(path("src/g")));
        check(&[], "src/f/below", &[], End::Missing(path("src/f/below")));
        check(&[], "no/such/folder", &[], End::Missing(path("no/such/folder")));
    }

    #[test]
    fn every_link_of_a_chain_is_told() {
        let chain = ["current -> release", "release -> ./src//v1", "src/v1 -> f"];
        check(&chain, "current", &["current", "release", "src/v1"], End::File(path("src/f")));
    }

    #[test]
    fn a_link_in_the_middle_of_a_path_is_told_where_it_lies() {
        check(&["l -> src"], "l/f", &["l"], End::File(path("src/f")));
        check(&["l -> src"], "l", &["l"], End::Folder(path("src")));
        check(&["l -> src"], "l/new", &["l"], End::Missing(path("src/new")));
        check(&["l -> src", "src/k -> sub"], "l/k", &["l", "src/k"], End::Folder(path("src/sub")));
        check(&["a/l -> ../src/sub"], "a/l/deep/x", &["a/l"], End::Missing(path("src/sub/deep/x")));
    }

    #[test]
    fn dots_in_a_text_are_seen_from_where_the_link_leads() {
        check(&["l -> src/sub", "src/k -> ../l/../f"], "src/k", &["src/k", "l"], End::File(path("src/f")));
    }

    #[test]
    fn an_absolute_text_and_a_way_around_outside_may_lead_back() {
        check(&["l -> ROOT/src/f"], "l", &["l"], End::File(path("src/f")));
        check(&["l -> ROOT"], "l/src/f", &["l"], End::File(path("src/f")));
        check(&["l -> ../ws/src/f"], "l", &["l"], End::File(path("src/f")));
        check(&["l -> ROOT/k", "k -> src"], "l/f", &["l", "k"], End::File(path("src/f")));
        check(&["l -> ROOT/src/none"], "l", &["l"], End::Missing(path("src/none")));
    }

    #[test]
    fn a_link_that_leads_out_or_where_no_walk_goes_is_outside() {
        for text in ["/etc", "/etc/passwd", "..", "../other", "/no/such/place", ".git/refs", ".git"] {
            check(&[&format!("l -> {text}")], "l", &["l"], End::Outside);
        }
        check(&["l -> /etc"], "l/passwd", &["l"], End::Outside);
    }

    #[test]
    fn a_folder_that_holds_the_link_is_around_it() {
        check(&["l -> ."], "l", &["l"], End::Around(WorkspacePath::root()));
        check(&["src/sub/up -> .."], "src/sub/up", &["src/sub/up"], End::Around(path("src")));
        check(&["l -> ."], "l/src/f", &["l"], End::File(path("src/f")));
    }

    #[test]
    fn a_circle_ends() {
        check(&["l -> l"], "l", &["l"], End::Circle);
        check(&["a -> b", "b -> a"], "a/x", &["a", "b"], End::Circle);
    }

    #[test]
    fn a_link_that_is_only_known_counts_as_one_that_is_there() {
        let (_folder, root) = root(&[]);
        let known = BTreeMap::from([(path("out/l"), b"../src/f".to_vec())]);
        let trail = root.follow_with(&path("out/l"), &known);
        assert_eq!(trail, Trail { links: vec![path("out/l")], end: End::File(path("src/f")) });
    }

    #[test]
    fn the_way_is_the_links_and_the_place_at_the_end() {
        let (_folder, root) = root(&["l -> src", "k -> l/f", "n -> l/none", "o -> /etc"]);
        let way = |asked: &str| {
            let found = root.on_the_way(&path(asked));
            found.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(way("k"), "l src/f");
        assert_eq!(way("l/f"), "l src/f");
        assert_eq!(way("n"), "l src/none");
        assert_eq!(way("l"), "");
        assert_eq!(way("o/passwd") + &way("o") + &way("src/f"), "");
    }

    #[test]
    fn an_absolute_text_into_the_folder_has_a_relative_one() {
        let (_folder, root) =
            root(&["l -> ROOT/src/f", "a/b/l -> ROOT/src", "r -> ROOT", "s -> src", "o -> /etc"]);
        let text = |asked: &str| root.relative_text(&path(asked)).map(|text| text.display().to_string());
        assert_eq!(text("l").as_deref(), Some("src/f"));
        assert_eq!(text("a/b/l").as_deref(), Some("../../src"));
        assert_eq!(text("r").as_deref(), Some("."));
        assert_eq!((text("s"), text("o"), text("src/f")), (None, None, None));
    }
}
