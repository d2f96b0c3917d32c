//! Promise 9: the same inputs have the same key, wherever and by whom the build is run.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, SystemTime};

use crate::edits::{TaskSeed, first_files, recipe};
use crate::ground::{Built, Ran, conductor};
use crate::random_builds::task_seed;
use crate::scenario::Scenario;
use crate::seeds::try_many;

fn build(scenario: &Scenario, jobs: &str, env: &[(&str, &str)]) -> Built {
    let mut command = conductor(scenario.ground.root());
    command.args(["build", "--format", "json", jobs]).envs(env.iter().copied());
    Built::new(Ran::from_output(&command.output().unwrap()))
}

fn prepare(seeds: &[TaskSeed], files: u16) -> Scenario {
    let mut scenario = Scenario::new();
    scenario.world.recipe = recipe(seeds, 0x0303);
    first_files(&mut scenario, files);
    scenario.put_manifest();
    scenario
}

fn law(seeds: &[TaskSeed], files: u16) -> Result<(), String> {
    let here = prepare(seeds, files);
    let there = prepare(seeds, files);
    // Older, with other rights for others, and made in another order: none of that is content.
    for (n, path) in there.world.disk.keys().rev().enumerate() {
        let path = there.ground.path(path);
        if path.is_symlink() {
            continue;
        }
        let file = fs::File::options().append(true).open(&path).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + n as u64)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    }
    let elsewhere = tempfile::tempdir().unwrap();
    let home = elsewhere.path().display().to_string();
    let mine = build(&here, "-j1", &[]);
    let env = [
        ("HOME", home.as_str()),
        ("TMPDIR", &home),
        ("USER", "nobody"),
        ("LANG", "de_DE.UTF-8"),
        ("TZ", "Asia/Tokyo"),
    ];
    let theirs = build(&there, "-j4", &env);
    for built in [&mine, &theirs] {
        if built.ran.code != Some(0) || built.tasks.is_empty() {
            return Err(built.ran.text());
        }
    }
    for (id, told) in &mine.tasks {
        let other = theirs.tasks.get(id);
        let same = other.is_some_and(|other| (&other.key, &other.outputs) == (&told.key, &told.outputs));
        if !same || told.key.is_none() {
            return Err(format!("{id}: here {told:?}, there {other:?}"));
        }
    }
    Ok(())
}

#[test]
fn the_same_inputs_have_the_same_key_in_any_folder_for_anybody() {
    let seeds = proptest::collection::vec(task_seed(), 2..16);
    try_many("keys", 5, &(seeds, proptest::prelude::any::<u16>()), |(seeds, files)| law(seeds, *files));
}
