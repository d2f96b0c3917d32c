//! Law: whatever two branches do to `conductor.lock`, a merge by git leaves what both meant, or says so.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use conductor::model::{Action, Digest, Locked, TaskId};
use conductor::store::Lockfile;
use proptest::prelude::*;

/// The lines of a lock: a task by its number, and of its result the number of the version.
type Lines = BTreeMap<u8, u8>;

fn locked(task: u8, version: u8) -> Locked {
    let action =
        Action { definition: vec![("run".into(), format!("{task} {version}"))], ..Action::default() };
    let components = action.components();
    Locked {
        task: TaskId::new(format!("T{task:03}")),
        key: components.key(),
        validation_key: Digest::of(&[version]),
        components,
        tools: Vec::new(),
        discovered: Vec::new(),
        outputs: Vec::new(),
        edited: Vec::new(),
        on_branch: false,
    }
}

fn render(lines: &Lines) -> String {
    Lockfile::render(lines.iter().map(|(task, version)| locked(*task, *version)))
}

/// The versions of a task that a lock has.
fn versions(found: &Lockfile, task: u8) -> Vec<u8> {
    let candidates = found.candidates(&TaskId::new(format!("T{task:03}")));
    (0..=9).filter(|version| candidates.contains(&locked(task, *version))).collect()
}

fn git(root: &Path, args: &[&str]) -> bool {
    let output = Command::new("git")
        .args(["-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "init.defaultBranch=main"])
        .args(args)
        .current_dir(root)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .output()
        .unwrap();
    output.status.success()
}

/// Merges two locks that come from one, by git itself. Says whether git found no conflict.
fn merge(root: &Path, base: &Lines, ours: &Lines, theirs: &Lines) -> bool {
    let commit = |lines: &Lines| {
        std::fs::write(root.join("conductor.lock"), render(lines)).unwrap();
        assert!(git(root, &["add", "-A"]) && git(root, &["commit", "-q", "--allow-empty", "-m", "x"]));
    };
    assert!(git(root, &["init", "-q"]));
    commit(base);
    assert!(git(root, &["checkout", "-qb", "theirs"]));
    commit(theirs);
    assert!(git(root, &["checkout", "-q", "main"]));
    commit(ours);
    git(root, &["merge", "-q", "-m", "x", "theirs"])
}

/// What a branch does to a lock.
#[derive(Clone, Debug)]
enum Edit {
    Change(u8),
    Add(u8),
    Remove(u8),
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let edit = prop_oneof![
        4 => (0..40_u8).prop_map(Edit::Change),
        1 => (0..40_u8).prop_map(Edit::Add),
        1 => (0..40_u8).prop_map(Edit::Remove),
    ];
    prop::collection::vec(edit, 0..6)
}

fn apply(base: &Lines, edits: &[Edit], version: u8) -> Lines {
    let mut lines = base.clone();
    for edit in edits {
        match edit {
            Edit::Change(task) => _ = lines.get_mut(task).map(|known| *known = version),
            Edit::Add(task) => _ = lines.entry(*task).or_insert(version),
            Edit::Remove(task) => _ = lines.remove(task),
        }
    }
    lines
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn changes_of_different_tasks_merge_whoever_their_neighbours_are(
        sides in prop::collection::vec(0..3_u8, 1..40),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let side = |side: u8| -> Lines {
            (0..).zip(&sides).map(|(task, of)| (task, if *of == side { side } else { 0 })).collect()
        };
        let all: Lines = (0..).zip(&sides).map(|(task, of)| (task, *of)).collect();
        prop_assert!(merge(folder.path(), &side(0), &side(1), &side(2)), "git found a conflict");
        let text = std::fs::read_to_string(folder.path().join("conductor.lock")).unwrap();
        prop_assert_eq!(text, render(&all));
    }

    #[test]
    fn a_merge_leaves_what_both_sides_meant_or_says_so(
        base in prop::collection::btree_map(0..40_u8, Just(0_u8), 0..30),
        (ours, theirs) in (edits(), edits()),
        union in any::<bool>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        if union {
            std::fs::write(root.join(".gitattributes"), "conductor.lock merge=union\n").unwrap();
        }
        let (ours, theirs) = (apply(&base, &ours, 1), apply(&base, &theirs, 2));
        let clean = merge(root, &base, &ours, &theirs);
        let found = Lockfile::read(root).unwrap();
        prop_assert_eq!(found.damage().is_empty(), clean, "only what git calls a conflict is damage");
        prop_assert!(clean || !union, "a union has no conflicts");
        for damage in found.damage() {
            prop_assert!(damage.labels[0].text.contains("a merge has left this conflict"), "{}", damage.labels[0].text);
        }
        for task in 0..40 {
            let (was, our, their) = (base.get(&task), ours.get(&task), theirs.get(&task));
            let there = versions(&found, task);
            let both: Vec<u8> = our.into_iter().chain(their).copied().collect();
            // No version is lost that a side has made, and none is there that no side has or had.
            for made in [our, their].into_iter().filter(|side| *side != was).flatten() {
                prop_assert!(there.contains(made), "T{} lost {}: {:?}", task, made, there);
            }
            prop_assert!(there.iter().all(|one| both.contains(one) || was == Some(one)), "T{}: {:?}", task, there);
            if clean && !union {
                let expected = if our == was { their } else { our };
                prop_assert_eq!(there, expected.into_iter().copied().collect::<Vec<_>>(), "T{}", task);
            }
        }
    }
}
