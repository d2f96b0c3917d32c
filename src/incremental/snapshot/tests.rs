//! The guard tells what has changed, what was put back, and what only looks like a change.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::model::{At, Digest, EntryKind, Pattern};
use crate::workspace::Observed;

/// A tree with the input `src/a`, everything below `src` as a pattern, and a file that nobody reads.
struct Scene {
    folder: tempfile::TempDir,
    tree: Tree,
    snapshot: Arc<Snapshot>,
}

fn path(text: &str) -> WorkspacePath {
    WorkspacePath::new(text).unwrap()
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("src/sub")).unwrap();
        fs::write(folder.path().join("src/a"), "one").unwrap();
        fs::write(folder.path().join("other"), "one").unwrap();
        // Young files are compared by their content, which is not what is tested here.
        std::thread::sleep(Duration::from_millis(30));
        let tree = Tree::open(folder.path()).unwrap();
        let Observed { signature, entry, .. } = tree.observe(&path("src/a"));
        let (glob, at) = ("src/**".to_owned(), At::default());
        let pattern = Pattern { glob, negated: false, literal: None, folder: false, at };
        let listing = Listing {
            globs: Arc::new(Globs::new(&[pattern]).unwrap()),
            bases: vec![path("src")],
            through: Vec::new(),
            behind: Vec::new(),
            named: Vec::new(),
            found: vec![path("src/a")],
            made: Arc::default(),
            own: Arc::new(PathIndex::set([&path("src/out")])),
        };
        let snapshot = Snapshot {
            files: vec![Seen { path: path("src/a"), signature, entry }],
            listings: vec![listing],
            ..Snapshot::default()
        };
        Self { folder, tree, snapshot: Arc::new(snapshot) }
    }

    /// What the guard says after `act`, as text; where nobody watches, and where somebody does.
    fn changes(act: impl Fn(&Path)) -> [Vec<String>; 2] {
        [true, false].map(|watched| {
            let scene = Self::new();
            let witness = if watched { Witness::new(&scene.tree) } else { Witness::blind() };
            let guard = scene.snapshot.guard(&scene.tree, &witness).ok().unwrap();
            act(scene.folder.path());
            guard.changes(&scene.tree).iter().map(ToString::to_string).collect()
        })
    }
}

fn nothing() -> [Vec<String>; 2] {
    [Vec::new(), Vec::new()]
}

fn both(changed: &str) -> [Vec<String>; 2] {
    [vec![changed.to_owned()], vec![changed.to_owned()]]
}

/// Gives a file the time of another one.
fn same_time(reference: &Path, file: &Path) {
    let time = fs::metadata(reference).unwrap().modified().unwrap();
    fs::File::options().write(true).open(file).unwrap().set_modified(time).unwrap();
}

#[test]
fn a_file_that_was_changed_and_put_back_with_its_old_time_has_changed() {
    let changed = Scene::changes(|root| {
        fs::copy(root.join("src/a"), root.join("kept")).unwrap();
        same_time(&root.join("src/a"), &root.join("kept"));
        fs::write(root.join("src/a"), "two").unwrap();
        fs::write(root.join("src/a"), "one").unwrap();
        same_time(&root.join("kept"), &root.join("src/a"));
    });
    assert_eq!(changed, both("src/a"));
}

#[test]
fn what_nobody_reads_and_what_the_task_makes_is_no_change() {
    let changed = Scene::changes(|root| {
        fs::write(root.join("other"), "two").unwrap();
        fs::write(root.join("src/out"), "made").unwrap();
        fs::create_dir(root.join("src/empty")).unwrap();
    });
    assert_eq!(changed, nothing());
}

#[test]
fn another_hard_link_is_no_change() {
    let changed = Scene::changes(|root| fs::hard_link(root.join("src/a"), root.join("link")).unwrap());
    assert_eq!(changed, nothing());
}

#[test]
fn permissions_alone_are_a_change_only_where_nobody_watches() {
    let act = |root: &Path| fs::set_permissions(root.join("src/a"), Permissions::from_mode(0o640)).unwrap();
    let [watched, blind] = Scene::changes(act);
    assert_eq!((watched, blind), (Vec::new(), vec!["src/a".to_owned()]));
}

#[test]
fn a_write_through_another_name_is_seen() {
    let changed = Scene::changes(|root| {
        fs::hard_link(root.join("src/a"), root.join("link")).unwrap();
        fs::write(root.join("link"), "two").unwrap();
    });
    assert_eq!(changed, both("src/a"));
}

#[test]
fn a_file_that_appears_and_stays_has_changed_the_listing() {
    assert_eq!(Scene::changes(|root| fs::write(root.join("src/sub/b"), "").unwrap()), both("src/sub/b"));
}

#[test]
fn a_file_that_lived_only_meanwhile_is_seen_or_leaves_a_doubt() {
    for watched in [true, false] {
        let scene = Scene::new();
        let witness = if watched { Witness::new(&scene.tree) } else { Witness::blind() };
        let guard = scene.snapshot.guard(&scene.tree, &witness).ok().unwrap();
        let file = scene.folder.path().join("src/sub/b");
        fs::write(&file, "").unwrap();
        fs::remove_file(&file).unwrap();
        assert_eq!(guard.changes(&scene.tree).is_empty(), !watched);
        assert_eq!(guard.is_doubtful(&scene.tree, |_| false), !watched);
        assert!(!guard.is_doubtful(&scene.tree, |folder| *folder == path("src/sub")));
    }
}

#[test]
fn a_folder_that_is_moved_away_and_back_has_changed_what_is_in_it() {
    let scene = Scene::new();
    let guard = scene.snapshot.guard(&scene.tree, &Witness::new(&scene.tree)).ok().unwrap();
    let root = scene.folder.path();
    fs::rename(root.join("src"), root.join("away")).unwrap();
    fs::rename(root.join("away"), root.join("src")).unwrap();
    assert!(guard.changes(&scene.tree).contains(&Moved::File(path("src"))));
}

#[test]
fn a_task_with_copies_sees_only_what_stays_changed() {
    let scene = Scene::new();
    let guard = scene.snapshot.guard_unwatched(&scene.tree).ok().unwrap();
    let file = scene.folder.path().join("src/a");
    fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
    assert_eq!(guard.changes(&scene.tree), []);
    fs::write(&file, "two").unwrap();
    assert_eq!(guard.changes(&scene.tree), [Moved::File(path("src/a"))]);
}

#[test]
fn a_guard_does_not_begin_over_something_that_has_moved_already() {
    let scene = Scene::new();
    fs::write(scene.folder.path().join("src/a"), "two").unwrap();
    let moved = scene.snapshot.guard(&scene.tree, &Witness::new(&scene.tree)).err();
    assert_eq!(moved, Some(vec![Moved::File(path("src/a"))]));
}

#[test]
fn a_young_file_is_held_against_its_content() {
    let scene = Scene::new();
    let entry = Entry { kind: EntryKind::File, executable: false, digest: Digest::of(b"two") };
    let snapshot = Snapshot { racy: vec![(path("src/a"), entry)], ..(*scene.snapshot).clone() };
    let moved = Arc::new(snapshot).guard_unwatched(&scene.tree).err();
    assert_eq!(moved, Some(vec![Moved::File(path("src/a"))]));
}
