//! The witness sees what happens in the folders that it watches, and says so where it cannot.

use std::fs;
use std::path::Path;

use super::*;

struct Scene {
    folder: tempfile::TempDir,
    witness: Witness,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["src/sub", "other"] {
            fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        fs::write(folder.path().join("src/a"), "one").unwrap();
        let tree = Tree::open(folder.path()).unwrap();
        Self { folder, witness: Witness::new(&tree) }
    }

    fn root(&self) -> &Path {
        self.folder.path()
    }

    fn inner(&self) -> &Inner {
        &self.witness.running.get().unwrap().as_ref().unwrap().inner
    }

    /// Watches `src` and what will be in it, does `act`, and tells what was seen.
    fn seen(&self, act: impl FnOnce(&Path)) -> Vec<(String, Touched)> {
        let watch = self.witness.watch(&[path("")], &[path("src"), path("src/sub")]);
        assert!(watch.is_covered());
        act(self.root());
        let mut seen: Vec<(String, Touched)> =
            watch.touched().unwrap().into_iter().map(|touch| (touch.path.to_string(), touch.what)).collect();
        seen.sort_by(|a, b| a.0.cmp(&b.0));
        seen
    }
}

fn path(text: &str) -> WorkspacePath {
    if text.is_empty() { WorkspacePath::root() } else { WorkspacePath::new(text).unwrap() }
}

fn file(name: &str) -> (String, Touched) {
    (name.to_owned(), Touched::File)
}

#[test]
fn a_write_that_is_undone_is_seen() {
    let scene = Scene::new();
    let seen = scene.seen(|root| {
        fs::write(root.join("src/a"), "two").unwrap();
        fs::write(root.join("src/a"), "one").unwrap();
    });
    assert_eq!(seen, [file("src/a")]);
}

#[test]
fn a_file_that_lived_only_meanwhile_is_seen() {
    let scene = Scene::new();
    let seen = scene.seen(|root| {
        fs::write(root.join("src/sub/new"), "").unwrap();
        fs::remove_file(root.join("src/sub/new")).unwrap();
    });
    assert_eq!(seen, [file("src/sub/new")]);
}

#[test]
fn attributes_reads_and_links_to_a_file_are_nothing() {
    use std::os::unix::fs::PermissionsExt as _;
    let scene = Scene::new();
    let seen = scene.seen(|root| {
        fs::set_permissions(root.join("src/a"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::read(root.join("src/a")).unwrap();
        fs::hard_link(root.join("src/a"), root.join("other/link")).unwrap();
    });
    assert_eq!(seen, []);
}

#[test]
fn a_new_folder_is_watched_from_then_on() {
    let scene = Scene::new();
    let watch = scene.witness.watch(&[], &[path("src")]);
    fs::create_dir_all(scene.root().join("src/new/deep")).unwrap();
    assert_eq!(watch.touched().unwrap(), []);
    fs::write(scene.root().join("src/new/deep/f"), "").unwrap();
    fs::remove_file(scene.root().join("src/new/deep/f")).unwrap();
    let seen = watch.touched().unwrap();
    assert_eq!(seen, [Touch { path: path("src/new/deep/f"), what: Touched::File }]);
}

#[test]
fn a_folder_that_is_moved_is_told_with_what_comes_with_it() {
    let scene = Scene::new();
    fs::write(scene.root().join("other/b"), "").unwrap();
    let seen = scene.seen(|root| fs::rename(root.join("other"), root.join("src/came")).unwrap());
    let moved = |name: &str| (name.to_owned(), Touched::FolderMoved);
    assert_eq!(seen, [moved("other"), moved("src/came"), file("src/came/b")]);
}

#[test]
fn each_watch_sees_from_its_own_beginning_and_what_nobody_asks_for_is_forgotten() {
    let scene = Scene::new();
    let first = scene.witness.watch(&[], &[path("src")]);
    fs::write(scene.root().join("src/a"), "two").unwrap();
    let second = scene.witness.watch(&[], &[path("src")]);
    assert_eq!(second.touched().unwrap(), []);
    assert_eq!(first.touched().unwrap().len(), 1);
    fs::write(scene.root().join("src/b"), "two").unwrap();
    assert_eq!(second.touched().unwrap().len(), 1);
    drop(first);
    assert_eq!(second.touched().unwrap().len(), 1);
    drop(second);
    let inner = scene.inner();
    let seen = inner.lock();
    assert!(seen.order.is_empty() && seen.last.is_empty() && seen.open.is_empty());
}

#[test]
fn there_is_no_answer_where_not_everything_can_be_watched() {
    let scene = Scene::new();
    assert!(Witness::blind().watch(&[path("src")], &[]).touched().is_none());
    let watch = scene.witness.watch(&[path("src")], &[]);
    let inner = scene.inner();
    assert!(watch.touched().is_some());
    inner.lock().miss();
    assert!(watch.touched().is_none(), "an event was lost");
    assert!(scene.witness.watch(&[path("src")], &[]).touched().is_some(), "it was lost before");
}

#[test]
fn only_so_many_folders_are_watched() {
    let scene = Scene::new();
    let folders: Vec<WorkspacePath> = (0..=MOST_FOLDERS).map(|at| path(&format!("many/{at}"))).collect();
    for folder in &folders {
        fs::create_dir_all(folder.under(scene.root())).unwrap();
    }
    assert!(!scene.witness.watch(&folders, &[]).is_covered());
    assert!(scene.witness.watch(&folders[..10], &[]).is_covered(), "these are watched already");
}
