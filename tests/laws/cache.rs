//! The laws with the cache on: the tree is what a clean build makes, whatever came from the cache; nothing is made
//! twice for one key; crashes and full disks leave nothing that is believed; and every way of copying gives the same.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::faults::Unmount;
use crate::ground::{Built, Ground, Ran, conductor};
use crate::random_builds::{story, tell};
use crate::scenario::Scenario;
use crate::seeds::{self, try_many};

#[test]
fn with_a_cache_a_build_of_a_random_graph_equals_a_clean_one_and_nothing_is_made_twice_for_one_key() {
    try_many("cache", 12, &story(), |story| {
        let mut scenario = Scenario::cached();
        let told = tell(story, &mut scenario);
        told.map_err(|broken| format!("{broken}\n\nto repeat it:\n{}", scenario.script()))
    });
}

/// Many small outputs and a large one, and a task that reads them.
const MANIFEST: &str = "conductor: 1
tasks:
  many:
    inputs: [word]
    outputs: [many/, large]
    run: |
      i=0; while [ $i -lt 40 ]; do echo \"$(cat word) $i\" > many/$i; i=$((i+1)); done
      i=0; while [ $i -lt 3000 ]; do echo \"$(cat word) $i $i $i\"; i=$((i+1)); done > large
  sum: { inputs: [many/, large], outputs: [sum], run: 'cat many/* large | cksum > sum' }
";

/// A smaller command for the large file, since a shell that starts `cat` 3000 times takes its time.
fn manifest() -> String {
    MANIFEST
        .replace("echo \"$(cat word) $i $i $i\"", "echo \"$w $i $i $i\"")
        .replace("      i=0; while [ $i -lt 3000", "      w=$(cat word); i=0; while [ $i -lt 3000")
}

fn assert_right(root: &Path, word: &str, when: &str) {
    for n in [0, 7, 39] {
        let found = fs::read_to_string(root.join(format!("many/{n}"))).unwrap_or_default();
        assert_eq!(found, format!("{word} {n}\n"), "{when}");
    }
    let large = fs::read_to_string(root.join("large")).unwrap_or_default();
    assert_eq!(large.lines().count(), 3000, "{when}");
    assert_eq!(large.lines().last(), Some(&*format!("{word} 2999 2999 2999")), "{when}");
}

#[test]
fn builds_with_a_cache_heal_themselves_after_kill_9_at_any_moment() {
    let ground = Ground::with(&manifest(), &[]).cached();
    let mut random = seeds::dice("kills_with_a_cache", 11);
    for round in seeds::kills("kills_with_a_cache", 24) {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let word = format!("word {}", round % 4);
        ground.write("word", &word);
        let mut build = ground.start(&["-j2"]);
        std::thread::sleep(Duration::from_millis((random >> 33) % 160));
        build.kill().unwrap();
        build.wait().unwrap();
        let when = format!("after kill {round}");
        ground.heals(&when);
        assert_right(ground.root(), &word, &when);
        let verified = ground.run(&["cache", "verify"]);
        assert_eq!(verified.code, Some(0), "{when}: {}", verified.text());
        assert!(!ground.path(".conductor/incoming").exists(), "{when}");
    }
}

/// A folder that holds another file system, unmounted when the test ends; none where that cannot be had.
fn mounted(ground: &Ground, name: &str, kind: &str) -> Option<(PathBuf, Unmount)> {
    let disk = ground.path(name);
    fs::create_dir(&disk).unwrap();
    let mount = if let Some(size) = kind.strip_prefix("tmpfs ") {
        Command::new("mount").args(["-t", "tmpfs", "-o", size, "tmpfs"]).arg(&disk).output()
    } else {
        let image = ground.path(&format!("{name}.image"));
        fs::File::create(&image).unwrap().set_len(320 << 20).unwrap();
        let made = Command::new(format!("mkfs.{kind}")).arg("-q").arg(&image).output();
        if !made.is_ok_and(|made| made.status.success()) {
            return None;
        }
        Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&disk).output()
    };
    mount.is_ok_and(|mount| mount.status.success()).then(|| (disk.clone(), Unmount(disk)))
}

#[test]
fn a_full_disk_while_a_result_is_kept_or_restored_costs_the_result_and_nothing_else() {
    let ground = Ground::new();
    let test = "a_full_disk_while_a_result_is_kept_or_restored_costs_the_result_and_nothing_else";
    let (Some((kept, _one)), Some((work, _two))) =
        (mounted(&ground, "kept", "tmpfs size=900k"), mounted(&ground, "work", "tmpfs size=8m"))
    else {
        eprintln!("SKIPPED: {test}: a tmpfs cannot be mounted here");
        return;
    };
    fs::write(work.join("conductor.yaml"), manifest()).unwrap();
    let run = |args: &[&str]| {
        let mut command = conductor(&work);
        command.env("CONDUCTOR_CACHE", "rw").env("CONDUCTOR_CACHE_DIR", &kept);
        Ran::from_output(&command.args(args).output().unwrap())
    };
    let fill = |disk: &Path, spare: u64| {
        let ballast = disk.join("ballast");
        let _ = fs::write(&ballast, vec![0_u8; 9 << 20]);
        let taken = fs::metadata(&ballast).map_or(0, |metadata| metadata.len());
        let file = fs::File::options().write(true).open(&ballast).unwrap();
        file.set_len(taken.saturating_sub(spare << 10)).unwrap();
    };
    // The cache's disk is full: what cannot be kept is not kept.
    for (round, spare) in [0, 8, 40, 120, 200].into_iter().enumerate() {
        let word = format!("kept {round}");
        fs::write(work.join("word"), &word).unwrap();
        fill(&kept, spare);
        let built = Built::new(run(&["build", "--format", "json"]));
        assert_eq!(built.ran.code, Some(0), "{spare} KiB: {}", built.ran.text());
        assert_right(&work, &word, "while the cache is full");
        fs::remove_file(kept.join("ballast")).unwrap();
        let verified = run(&["cache", "verify"]);
        assert_eq!(verified.code, Some(0), "{spare} KiB: {}", verified.text());
        run(&["cache", "clear"]);
    }
    // The workspace's disk is full: what cannot be restored is made, once there is room.
    for (round, spare) in [0, 8, 40, 120, 300].into_iter().enumerate() {
        let (word, other) = (format!("work {round}"), format!("other {round}"));
        for word in [&word, &other] {
            fs::write(work.join("word"), word).unwrap();
            let built = run(&["build"]);
            assert_eq!(built.code, Some(0), "{}", built.text());
        }
        fs::write(work.join("word"), &word).unwrap();
        fill(&work, spare);
        let full = run(&["build", "--format", "json"]);
        full.assert_no_panic();
        if full.code != Some(0) {
            assert_right(&work, &other, "after a restore that failed");
        }
        fs::remove_file(work.join("ballast")).unwrap();
        let healed = run(&["build"]);
        assert_eq!(healed.code, Some(0), "{spare} KiB: {} after {}", healed.text(), full.text());
        assert_right(&work, &word, "once there is room");
        let again = Built::new(run(&["build", "--format", "json"]));
        assert_eq!([again.ran(), again.restored()].concat(), Vec::<String>::new(), "{}", again.ran.text());
        run(&["cache", "clear"]);
    }
}

/// The numbers of the disk blocks that a file's content lies in.
fn shares_blocks(one: &Path, two: &Path) -> bool {
    let first = |path: &Path| {
        let output = Command::new("filefrag").arg("-v").arg(path).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = text.lines().find(|line| line.trim_start().starts_with("0:"))?.to_owned();
        line.split(':').nth(2).map(|blocks| blocks.split("..").next().unwrap_or_default().trim().to_owned())
    };
    first(one).is_some() && first(one) == first(two)
}

/// The largest file below a folder.
fn largest(folder: &Path) -> PathBuf {
    let mut found: Vec<(u64, PathBuf)> = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                found.push((entry.metadata().unwrap().len(), entry.path()));
            }
        }
    }
    found.sort();
    found.pop().unwrap().1
}

#[test]
fn on_every_file_system_and_across_them_the_same_comes_back_and_blocks_are_shared_where_they_can() {
    let test =
        "on_every_file_system_and_across_them_the_same_comes_back_and_blocks_are_shared_where_they_can";
    let ground = Ground::new();
    let mut places: Vec<(&str, PathBuf)> = vec![("plain", ground.path("plain"))];
    fs::create_dir(&places[0].1).unwrap();
    let mut mounts = Vec::new();
    for kind in ["btrfs", "xfs", "tmpfs size=8m"] {
        match mounted(&ground, kind.split(' ').next().unwrap(), kind) {
            Some((place, unmount)) => {
                places.push((kind, place));
                mounts.push(unmount);
            }
            None => eprintln!("SKIPPED: {test}: {kind} cannot be made and mounted here"),
        }
    }
    for (kind, place) in &places {
        // The cache beside the workspace, and on another file system.
        for (other, cache) in &places {
            let (work, cache) = (place.join(format!("work-{other}")), cache.join(format!("cache-of-{kind}")));
            fs::create_dir(&work).unwrap();
            let when = format!("{kind}, the cache on {other}");
            let run = |args: &[&str]| {
                let mut command = conductor(&work);
                command.env("CONDUCTOR_CACHE", "rw").env("CONDUCTOR_CACHE_DIR", &cache);
                Ran::from_output(&command.args(args).output().unwrap())
            };
            fs::write(work.join("conductor.yaml"), manifest()).unwrap();
            fs::write(work.join("word"), "one").unwrap();
            let built = run(&["build"]);
            assert_eq!(built.code, Some(0), "{when}: {}", built.text());
            assert!(!built.text().contains("warning"), "{when}: {}", built.text());
            let blob = largest(&cache.join("v2/blobs"));
            let is_packed = blob.extension().is_some_and(|end| end == "zst");
            let can_share = kind == other && matches!(*kind, "btrfs" | "xfs");
            if can_share {
                assert!(!is_packed, "{when}: blocks are shared, so there is nothing to save");
            }
            fs::remove_dir_all(work.join("many")).unwrap();
            fs::remove_file(work.join("large")).unwrap();
            let restored = Built::new(run(&["build", "--format", "json"]));
            assert_eq!(restored.restored(), ["many"], "{when}: {}", restored.ran.text());
            assert_right(&work, "one", &when);
            let _ = Command::new("sync").arg("-f").arg(work.join("large")).status();
            if can_share && Command::new("filefrag").arg("-V").output().is_ok() {
                assert!(shares_blocks(&blob, &work.join("large")), "{when}");
            }
            // What is written in the workspace never reaches the cache.
            let before = fs::read(&blob).unwrap();
            fs::write(work.join("large"), "written").unwrap();
            assert_eq!(fs::read(&blob).unwrap(), before, "{when}");
            assert_eq!(run(&["cache", "verify"]).code, Some(0), "{when}");
        }
    }
}
