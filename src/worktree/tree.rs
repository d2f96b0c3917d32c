//! A tree of git with some paths changed. Only the folders on the way to those paths are read and written, however
//! large the rest is; submodules and modes of what is not changed stay.

use std::collections::BTreeMap;

use git2::{ObjectType, Oid, Repository, Tree, TreeBuilder};

use super::Error;
use crate::model::WorkspacePath;

/// The mode of a folder in its parent's tree.
const FOLDER: i32 = 0o040_000;

/// What a path becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// A blob with git's mode.
    Set(Oid, i32),
    /// Nothing; a folder goes with all that is in it.
    Remove,
}

#[derive(Default)]
struct Node {
    change: Option<Change>,
    below: BTreeMap<Vec<u8>, Node>,
}

impl Node {
    /// Does anything stand here or below after the change?
    fn sets(&self) -> bool {
        matches!(self.change, Some(Change::Set(..))) || self.below.values().any(Self::sets)
    }
}

/// The tree `base` (none: an empty one) with `changes`. Where one path is changed twice the last one counts.
pub(super) fn edit(
    git: &Repository,
    base: Option<&Tree<'_>>,
    changes: impl IntoIterator<Item = (WorkspacePath, Change)>,
) -> Result<Oid, Error> {
    let mut root = Node::default();
    for (path, change) in changes {
        let mut node = &mut root;
        for part in path.components() {
            node = node.below.entry(part.to_vec()).or_default();
        }
        node.change = Some(change);
    }
    match build(git, base, &root, &WorkspacePath::root())? {
        Some(tree) => Ok(tree),
        None => empty(git),
    }
}

/// The tree without entries.
pub(super) fn empty(git: &Repository) -> Result<Oid, Error> {
    let builder = git.treebuilder(None).map_err(Error::git("begin", "an empty tree"))?;
    builder.write().map_err(Error::git("write", "an empty tree"))
}

/// The tree at `path`; none where nothing is left of it.
fn build(
    git: &Repository,
    base: Option<&Tree<'_>>,
    node: &Node,
    path: &WorkspacePath,
) -> Result<Option<Oid>, Error> {
    let mut builder = git.treebuilder(base).map_err(Error::git("read the tree of", path))?;
    for (name, child) in &node.below {
        build_entry(git, &mut builder, name, child, &path.join(name))?;
    }
    if builder.is_empty() {
        return Ok(None);
    }
    builder.write().map(Some).map_err(Error::git("write the tree of", path))
}

fn build_entry(
    git: &Repository,
    builder: &mut TreeBuilder<'_>,
    name: &[u8],
    node: &Node,
    path: &WorkspacePath,
) -> Result<(), Error> {
    let refused =
        |message: &str| Error::NotForGit { path: path.as_path().to_owned(), message: message.to_owned() };
    let before = builder.get(name).map_err(Error::git("look up", path))?;
    let before = before.map(|entry| (entry.kind(), entry.id()));
    if matches!(before, Some((Some(ObjectType::Commit), _))) {
        return if node.sets() {
            Err(refused("there is a submodule, which conductor leaves alone"))
        } else {
            Ok(())
        };
    }
    if let Some(Change::Set(id, mode)) = node.change {
        if node.below.values().any(Node::sets) {
            return Err(refused("it would be a file and a folder at once"));
        }
        return insert(builder, name, id, mode, path);
    }
    let old = match before {
        Some((Some(ObjectType::Tree), id)) if node.change.is_none() => {
            Some(git.find_tree(id).map_err(Error::git("read the tree of", path))?)
        }
        // A file stays where something below it, which cannot be there, is to be removed.
        Some((Some(ObjectType::Blob), _)) if node.change.is_none() && !node.sets() => return Ok(()),
        _ => None,
    };
    match build(git, old.as_ref(), node, path)? {
        Some(tree) => insert(builder, name, tree, FOLDER, path),
        None if before.is_some() => builder.remove(name).map_err(Error::git("remove", path)),
        None => Ok(()),
    }
}

fn insert(
    builder: &mut TreeBuilder<'_>,
    name: &[u8],
    id: Oid,
    mode: i32,
    path: &WorkspacePath,
) -> Result<(), Error> {
    let refused = |error: git2::Error| Error::NotForGit {
        path: path.as_path().to_owned(),
        message: error.message().to_owned(),
    };
    builder.insert(name, id, mode).map(drop).map_err(refused)
}
