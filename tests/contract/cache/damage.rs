//! Whatever becomes of the cache's files: a miss, healed by the next run, never an error and never a wrong byte.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use super::{Restored as _, checkout, files, is_settled, world};
use crate::support::World;

/// A small file, a large one that is kept compressed, a link, and a log.
const TASK: &str = "tasks: { A: { inputs: [a], outputs: [o/], run: 'echo says; cp a o/a; i=0; while [ $i -lt 900 ]; do echo line $i; i=$((i+1)); done > o/large; ln -s a o/l' } }\n";

type Damage = fn(&Path);

/// What can become of a file.
const DAMAGES: [(&str, Damage); 8] = [
    ("emptied", |file| fs::write(file, "").unwrap()),
    ("cut short", |file| {
        let bytes = fs::read(file).unwrap();
        fs::write(file, &bytes[..bytes.len() / 2]).unwrap();
    }),
    ("one bit flipped", |file| {
        let mut bytes = fs::read(file).unwrap();
        let at = bytes.len() / 2;
        bytes[at] ^= 16;
        fs::write(file, bytes).unwrap();
    }),
    ("longer", |file| fs::write(file, [&fs::read(file).unwrap()[..], b"more"].concat()).unwrap()),
    ("removed", |file| fs::remove_file(file).unwrap()),
    ("unreadable", |file| fs::set_permissions(file, Permissions::from_mode(0o000)).unwrap()),
    ("a folder", |file| {
        fs::remove_file(file).unwrap();
        fs::create_dir_all(file.join("in/it")).unwrap();
    }),
    ("a link to somebody else's file", |file| {
        fs::remove_file(file).unwrap();
        symlink("/etc/hostname", file).unwrap();
    }),
];

fn assert_right(w: &World, when: &str) {
    assert_eq!(w.read("o/a"), "1", "{when}");
    assert_eq!(w.read("o/large").lines().count(), 900, "{when}");
    assert_eq!(w.read("o/large").lines().last(), Some("line 899"), "{when}");
    assert_eq!(fs::read_link(w.path("o/l")).unwrap(), Path::new("a"), "{when}");
}

#[test]
fn whatever_file_is_damaged_and_however_the_task_runs_and_the_cache_is_whole_again() {
    let w = world(TASK);
    w.file("a", "1").build(&[]).success().ran(&["A"]);
    let all = [files(&w, "blobs"), files(&w, "actions")].concat();
    assert_eq!(all.len(), 5, "three contents of outputs, a log, and the entry: {all:?}");
    assert!(all.iter().any(|file| file.extension().is_some_and(|end| end == "zst")));
    for file in &all {
        for (what, damage) in DAMAGES {
            let when = format!("{} {what}", file.display());
            fs::set_permissions(file, Permissions::from_mode(0o644)).unwrap();
            damage(file);
            w.remove("o");
            let built = w.build(&[]);
            built.success();
            assert_right(&w, &when);
            // Where nothing but the log is damaged, or a privileged user reads what nobody may read, it is no miss.
            let status = built.task("A")["status"].clone();
            let is_log = status == "cached" && !file.exists();
            let is_read = status == "cached" && what == "unreadable";
            assert!(status == "ran" || is_log || is_read, "{when}: {status}");
            w.remove("o");
            if is_log {
                w.build(&["--force"]).success().ran(&["A"]);
                w.remove("o");
            }
            w.build(&[]).success().restored(&["A"]);
            assert_right(&w, &when);
            w.run(&["cache", "verify"]).success();
        }
    }
    is_settled(&w);
}

#[test]
fn damage_is_told_once_and_fails_no_build() {
    let w = world(TASK);
    w.file("a", "1").build(&[]).success();
    for file in files(&w, "blobs") {
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        fs::write(&file, "damage").unwrap();
    }
    w.remove("o");
    let run = w.run(&["build"]);
    run.success().says("warning: the cache: the content");
    assert_eq!(run.stdout.matches("warning").count() + run.stderr.matches("warning").count(), 1, "{run}");
}

#[test]
fn a_cache_that_cannot_be_written_is_told_once_and_fails_no_build() {
    for at in ["cache", "cache/v2", "cache/v2/actions", "cache/v2/blobs"] {
        let w = world(
            "tasks: { A: { inputs: [], outputs: [a], run: echo a > a }, B: { inputs: [], outputs: [b], run: echo b > b } }\n",
        );
        // A file where a folder has to be.
        let dir = w.root().with_file_name("elsewhere");
        let w = w.env("CONDUCTOR_CACHE_DIR", dir.join("cache").to_str().unwrap());
        let place = dir.join(at);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(&place, "in the way").unwrap();
        let run = w.run(&["build", "--progress", "plain"]);
        run.success().says("a result could not be kept");
        assert_eq!(run.stdout.matches("warning").count(), 1, "{at}: {run}");
        w.remove("a");
        w.build(&[]).success().ran(&["A"]);
        is_settled(&w);
    }
}

#[test]
fn a_killed_build_leaves_nothing_in_the_cache_that_is_believed() {
    let w = world(
        "tasks: { A: { inputs: [a], outputs: [o/], run: 'i=0; while [ $i -lt 60 ]; do cat a > o/$i; echo $i >> o/$i; i=$((i+1)); done' } }\n",
    );
    for round in 0..12_u64 {
        w.file("a", format!("{}\n", round % 3));
        let mut build = w
            .command(&["build"])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20 + round * 13 % 120));
        build.kill().unwrap();
        build.wait().unwrap();
        w.run(&["cache", "verify"]).success();
        w.build(&[]).success();
        for n in 0..60 {
            assert_eq!(w.read(format!("o/{n}")), format!("{}\n{n}\n", round % 3), "round {round}");
        }
    }
    assert!(!w.has(".conductor/incoming"));
    w.run(&["cache", "gc"]).success();
    let left: Vec<_> = [files(&w, "blobs"), files(&w, "actions")].concat();
    assert!(
        left.iter().all(|file| !file.file_name().unwrap().to_str().unwrap().starts_with('.')),
        "{left:?}"
    );
}

#[test]
fn one_result_that_cannot_be_kept_takes_no_other_with_it_and_is_told() {
    let tasks: Vec<String> =
        (0..40).map(|task| format!("  T{task}: {{ inputs: [], run: ': {task}' }}\n")).collect();
    let w = world(&format!("tasks:\n{}", tasks.concat()));
    w.build(&[]).success();
    let entry = files(&w, "actions").remove(7);
    let shard = entry.parent().unwrap();
    let beside = fs::read_dir(shard).unwrap().count();
    fs::remove_dir_all(shard).unwrap();
    fs::write(shard, "in the way").unwrap();
    w.run(&["build", "--force"]).success().says("a result could not be kept");
    assert_eq!(files(&w, "actions").len(), 40 - beside + 1, "all others, and what is in the way");
    let run = checkout(&w).build(&[]).success().json();
    assert_eq!(run["summary"]["cached"], 40 - beside, "{run}");
}

#[test]
fn an_entry_that_cannot_be_read_is_told() {
    let w = world(TASK);
    w.file("a", "1").build(&[]).success();
    let entry = files(&w, "actions").remove(0);
    fs::remove_file(&entry).unwrap();
    symlink(&entry, &entry).unwrap();
    w.remove("o");
    w.run(&["build"]).success().says("cannot be read");
    w.remove("o").build(&[]).success().restored(&["A"]);
}
