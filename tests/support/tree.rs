//! A folder with all that is in it: content, links, permissions and times.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;

/// What stands at a path: mode, time of its last change in seconds and nanoseconds, content.
type Leaf = (u32, (i64, i64), Vec<u8>);

/// All that is below a folder; equal to another one only where nothing at all was written in between.
#[derive(PartialEq, Eq, Debug, Clone)]
pub(crate) struct Tree(BTreeMap<String, Leaf>);

impl Tree {
    /// Reads a folder; one that is not there is an empty tree.
    pub(crate) fn of(folder: &Path) -> Self {
        let mut leaves = BTreeMap::new();
        read(folder, folder, &mut leaves);
        Self(leaves)
    }

    /// The paths of the files and links.
    pub(crate) fn files(&self) -> Vec<String> {
        let is_file = |leaf: &Leaf| leaf.0 & 0o170_000 != 0o040_000;
        self.0.iter().filter(|(_, leaf)| is_file(leaf)).map(|(path, _)| path.clone()).collect()
    }

    /// Files that hold these bytes anywhere.
    pub(crate) fn holding(&self, bytes: &[u8]) -> Vec<String> {
        let holds = |leaf: &Leaf| leaf.2.windows(bytes.len()).any(|window| window == bytes);
        self.0.iter().filter(|(_, leaf)| holds(leaf)).map(|(path, _)| path.clone()).collect()
    }

    /// Nothing was written since `self` was read.
    #[track_caller]
    pub(crate) fn is_unchanged(&self, now: &Self, what: &str) {
        let differs = |path: &&String| self.0.get(*path) != now.0.get(*path);
        let changed: Vec<&String> = self.0.keys().chain(now.0.keys()).filter(differs).collect();
        assert!(changed.is_empty(), "{what} wrote {changed:?}");
    }
}

fn read(root: &Path, folder: &Path, leaves: &mut BTreeMap<String, Leaf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut here = folder.symlink_metadata().ok();
    for entry in entries {
        let path = entry.unwrap().path();
        let metadata = path.symlink_metadata().unwrap();
        if metadata.is_dir() {
            read(root, &path, leaves);
            continue;
        }
        let content = if metadata.is_symlink() {
            std::fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec()
        } else {
            std::fs::read(&path).unwrap_or_default()
        };
        leaves.insert(name(root, &path), leaf(&metadata, content));
    }
    if let Some(metadata) = here.take() {
        leaves.insert(name(root, folder), leaf(&metadata, Vec::new()));
    }
}

fn leaf(metadata: &std::fs::Metadata, content: Vec<u8>) -> Leaf {
    (metadata.mode(), (metadata.mtime(), metadata.mtime_nsec()), content)
}

fn name(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap().to_string_lossy().into_owned()
}

/// Copies a folder with all that is in it, except what conductor or a build made.
pub(crate) fn copy_tree(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        if name == ".conductor" || name == "build" {
            continue;
        }
        let (from, to) = (entry.path(), to.join(&name));
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir_all(&to).unwrap();
            copy_tree(&from, &to);
        } else if entry.file_type().unwrap().is_symlink() {
            symlink(std::fs::read_link(&from).unwrap(), &to).unwrap();
        } else {
            std::fs::copy(&from, &to).unwrap();
        }
    }
}
