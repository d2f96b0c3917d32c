//! Laws of `conductor.lock`: whatever two branches do to it, a merge by git leaves what both meant, or says so. And a
//! clone that has the lock alone is judged and built as the workspace that has the state.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use conductor::model::{Action, Digest, Locked, TaskId};
use conductor::store::Lockfile;
use proptest::prelude::*;

use crate::edits::{self, EditSeed};
use crate::ground::{Built, Ground};
use crate::random_builds::task_seed;
use crate::scenario::{Lawful, Scenario};
use crate::seeds::try_many;

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

/// A copy of a workspace as a checkout would have it: without what conductor keeps there.
fn checkout(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_name() == ".conductor" {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&to).unwrap();
            checkout(&from, &to);
        } else if entry.file_type().unwrap().is_symlink() {
            std::os::unix::fs::symlink(std::fs::read_link(from).unwrap(), to).unwrap();
        } else {
            // With its executable bits.
            std::fs::copy(from, to).unwrap();
        }
    }
}

/// Each task's state as `check` has it, and the exit code.
fn states(ground: &Ground) -> (Option<i32>, BTreeMap<String, String>, String) {
    let checked = ground.run(&["check", "--format", "json"]);
    checked.assert_no_panic();
    let document: serde_json::Value = serde_json::from_str(&checked.stdout).unwrap_or_default();
    let state = |task: &serde_json::Value| task["state"].as_str().unwrap_or_default().to_owned();
    let tasks = document["tasks"].as_object().into_iter().flatten();
    (checked.code, tasks.map(|(id, task)| (id.clone(), state(task))).collect(), checked.text())
}

/// Tasks whose outputs lose their maker leave files behind that only the state knows to be no sources; so no task
/// leaves here, and none makes something else than before.
fn keeps_every_task(edit: &EditSeed) -> bool {
    !matches!(edit.kind % 40, 11 | 27..=29 | 31 | 32)
}

fn law(scenario: &mut Scenario, edits: &[EditSeed]) -> Lawful {
    scenario.build(None, false, 2)?;
    let locked = scenario.ground.run(&["lock"]);
    if locked.code != Some(0) {
        return Err(locked.text());
    }
    for edit in edits.iter().filter(|edit| keeps_every_task(edit)) {
        edits::apply(scenario, edit);
    }
    scenario.put_manifest();
    let clone = Ground::new();
    checkout(scenario.ground.root(), clone.root());
    let (here, there) = (states(&scenario.ground), states(&clone));
    if (&here.0, &here.1) != (&there.0, &there.1) {
        return Err(format!("the state says\n{}\nthe lock says\n{}", here.2, there.2));
    }
    let did = |built: &Built| (built.ran.code, built.ran(), built.validated());
    let (here, there) = (scenario.ground.build(&["-j1"]), clone.build(&["-j1"]));
    if did(&here) != did(&there) {
        return Err(format!("with the state\n{}\nwith the lock\n{}", here.ran.text(), there.ran.text()));
    }
    let lock = "conductor.lock";
    if scenario.ground.read(lock) != clone.read(lock) {
        return Err(format!("two locks\n{}\n{}", scenario.ground.read(lock), clone.read(lock)));
    }
    let again = clone.build(&[]);
    let always = again.those(|told| told.reasons.iter().all(|reason| reason == "always"));
    if again.ran().iter().any(|id| !always.contains(id)) {
        return Err(format!("a second build in the clone runs something\n{}", again.ran.text()));
    }
    Ok(())
}

#[test]
fn a_clone_with_the_lock_alone_is_judged_and_built_as_the_workspace_with_the_state() {
    let edit = (0..40_u8, any::<u16>(), any::<u16>()).prop_map(|(kind, a, b)| EditSeed { kind, a, b });
    let tasks = proptest::collection::vec(task_seed(), 2..14);
    let seeds = (tasks, any::<u16>(), any::<u16>(), proptest::collection::vec(edit, 0..4));
    try_many("locks", 20, &seeds, |(tasks, groups, files, edits)| {
        let mut scenario = Scenario::new();
        scenario.world.recipe = edits::recipe(tasks, *groups);
        edits::first_files(&mut scenario, *files);
        let held = law(&mut scenario, edits);
        held.map_err(|broken| format!("{broken}\n\nto repeat it:\n{}", scenario.script()))
    });
}
