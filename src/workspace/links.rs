//! The way of a link: every path inside the workspace on which it depends where the link leads. No content is read.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path};

use super::Root;
use crate::model::WorkspacePath;

/// As many links as the kernel follows in one path.
const MAX_LINKS: usize = 40;

impl Root {
    /// The paths that are looked up when the link at `path` is followed: folders, further links, and last the place
    /// where it leads to, which need not be there. The way ends where it leaves the workspace or goes in a circle.
    pub fn link_way(&self, path: &WorkspacePath) -> Vec<WorkspacePath> {
        let (Some(name), Some(mut at)) = (path.name(), path.parent()) else { return Vec::new() };
        let mut rest = vec![OsString::from(std::ffi::OsStr::from_bytes(name))];
        let (mut way, mut links) = (Vec::new(), 0);
        while let Some(name) = rest.pop() {
            if name == ".." {
                let Some(above) = at.parent() else { break };
                at = above;
                continue;
            }
            let here = at.join(name.as_bytes());
            let target = std::fs::read_link(here.under(self.root())).ok();
            if links > 0 {
                way.push(here.clone());
            }
            let Some(target) = target else {
                at = here;
                continue;
            };
            links += 1;
            let Some(inside) = self.inside(&target).filter(|_| links <= MAX_LINKS) else { break };
            if target.is_absolute() {
                at = WorkspacePath::root();
            }
            rest.extend(inside.into_iter().rev());
        }
        way
    }

    /// The names of a link's text, from the root where it is absolute; none where that is outside.
    fn inside(&self, target: &Path) -> Option<Vec<OsString>> {
        let target = if target.is_absolute() { target.strip_prefix(self.root()).ok()? } else { target };
        let names = target.components().filter(|part| !matches!(part, Component::CurDir));
        Some(names.map(|part| part.as_os_str().to_owned()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn way(links: &[(&str, &str)], path: &str) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(top.join("d/e")).unwrap();
        for (link, target) in links {
            symlink(target.replace("TOP", top.to_str().unwrap()), top.join(link)).unwrap();
        }
        let root = Root::open(&top).unwrap();
        root.link_way(&WorkspacePath::new(path).unwrap()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_way_names_every_link_and_folder_and_its_end() {
        assert_eq!(way(&[("l", "f")], "l"), ["f"]);
        assert_eq!(way(&[("l", "d/./e/../f")], "l"), ["d", "d/e", "d/f"]);
        assert_eq!(way(&[("l", "m"), ("m", "k/f"), ("k", "d/e")], "l"), ["m", "k", "d", "d/e", "d/e/f"]);
        assert_eq!(way(&[("d/l", "../f")], "d/l"), ["f"]);
        assert_eq!(way(&[("l", "TOP/d/f")], "l"), ["d", "d/f"]);
    }

    #[test]
    fn a_way_ends_outside_and_in_a_circle() {
        assert!(way(&[("l", "../x")], "l").is_empty());
        assert!(way(&[("l", "/etc/passwd")], "l").is_empty());
        assert_eq!(way(&[("l", "m"), ("m", "l")], "l").len(), MAX_LINKS);
        assert!(way(&[], "d").is_empty());
    }
}
