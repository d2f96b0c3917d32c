//! `conductor cache stat | gc | verify | clear`.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, SystemTime};

use super::{Restored as _, cache, chain, files, is_settled, world};
use crate::support::{Run, World};

fn json(w: &World, args: &[&str]) -> Run {
    w.run(&[&["cache"], args, &["--format", "json"]].concat())
}

#[test]
fn stat_says_where_it_is_and_how_much_it_holds() {
    let w = chain();
    let stat = json(&w, &["stat"]);
    let document = stat.success().json();
    assert_eq!(document["dir"], w.path(".conductor/cache").to_str().unwrap());
    assert_eq!(
        (&document["entries"], &document["read"], &document["write"]),
        (&2.into(), &true.into(), &true.into())
    );
    assert_eq!(document["max_size"], 10_000_000_000_u64);
    let on_disk: u64 = ["blobs", "actions", "bound", "paths"]
        .iter()
        .flat_map(|part| files(&w, part))
        .map(|file| fs::metadata(file).unwrap().len())
        .sum();
    assert_eq!(document["bytes"], on_disk);
    w.run(&["cache", "stat"]).success().says("2 results in").says("of 10.0GB allowed");
}

#[test]
fn the_cache_of_a_workspace_that_has_built_nothing_is_empty_and_is_not_made_by_looking() {
    let w = world("tasks: { A: { inputs: [], outputs: [a], run: echo > a } }\n");
    let before = w.tree();
    for args in [&["stat"][..], &["verify"], &["verify", "--repair"], &["gc"], &["clear"]] {
        json(&w, args).success();
        w.run(&[&["cache"], args].concat()).success();
    }
    assert_eq!(w.tree(), before);
}

#[test]
fn gc_removes_what_was_used_least_recently_until_the_rest_fits() {
    let w = world("tasks: { A: { inputs: [a], outputs: [o], run: 'cat a > o' } }\n");
    let content =
        |n: u32| (0..2000).map(|i| (i * 7919 % 10007 * (n + 1)).to_string()).collect::<Vec<_>>().join(" ");
    for n in 0..4 {
        w.file("a", content(n)).build(&[]).success().ran(&["A"]);
    }
    let size = |w: &World| json(w, &["stat"]).json()["bytes"].as_u64().unwrap();
    let all = size(&w);
    // The first is used again.
    w.file("a", content(0)).build(&[]).success().restored(&["A"]);
    let removed = json(&w, &["gc", "--max-size", &(all * 6 / 10).to_string()]).success().json();
    assert_eq!((&removed["removed"]["entries"], &removed["kept"]["entries"]), (&2.into(), &2.into()));
    assert_eq!(size(&w), removed["kept"]["bytes"].as_u64().unwrap());
    assert!(size(&w) <= all * 6 / 10);
    w.file("a", content(3)).build(&[]).success().restored(&["A"]);
    w.file("a", content(0)).build(&[]).success().restored(&["A"]);
    w.file("a", content(1)).build(&[]).success().ran(&["A"]);
    is_settled(&w);
}

#[test]
fn gc_removes_what_was_not_used_for_long_and_leaves_what_shares_its_content() {
    let w = world(
        "tasks:
  A: { inputs: [a], outputs: [o], run: 'cat a > o; echo shared > o' }
  B: { inputs: [a], outputs: [p], run: 'cat a; echo shared > p' }
",
    );
    w.file("a", "1").build(&[]).success();
    let [first, second] = &files(&w, "actions")[..] else { panic!("two entries") };
    let long_ago = SystemTime::now() - Duration::from_secs(40 * 24 * 60 * 60);
    fs::File::open(first).unwrap().set_modified(long_ago).unwrap();
    let removed = json(&w, &["gc"]).success().json();
    assert_eq!(removed["removed"]["entries"], 1);
    assert!(!first.exists() && second.exists());
    w.run(&["cache", "verify"]).success();
    json(&w, &["gc", "--max-age", "50d"]).success();
    assert!(second.exists());
    json(&w, &["gc", "--max-age", "0s"]).success();
    assert_eq!(files(&w, "blobs").len() + files(&w, "actions").len(), 0);
}

#[test]
fn garbage_is_collected_by_builds_once_a_day() {
    let w = world("cache: { max_size: 1B }\ntasks: { A: { inputs: [a], outputs: [o], run: cp a o } }\n");
    w.file("a", "1").build(&[]).success();
    assert_eq!(files(&w, "actions").len(), 1, "a new cache has no garbage yet");
    let age = |file: &str| {
        let file = fs::File::open(cache(&w).join(file)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(25 * 60 * 60)).unwrap();
    };
    age("lock");
    w.build(&[]).success();
    assert_eq!(files(&w, "actions").len(), 0, "it is a day old");
    w.file("a", "2").build(&[]).success();
    assert_eq!(files(&w, "actions").len(), 1, "the second build of the day has no look");
    age("collected");
    w.build(&[]).success();
    assert_eq!(files(&w, "actions").len(), 0);
}

#[test]
fn verify_finds_every_damage_and_repairs_it_where_it_is_told_to() {
    let w = chain();
    w.run(&["cache", "verify"]).success().says("everything is as it was written");
    let blobs = files(&w, "blobs");
    fs::set_permissions(&blobs[0], Permissions::from_mode(0o644)).unwrap();
    fs::write(&blobs[0], "damage").unwrap();
    fs::write(&files(&w, "actions")[0], "damage").unwrap();
    let found = json(&w, &["verify"]);
    assert_eq!(found.fails_with(4).json()["damaged"].as_array().unwrap().len(), 2, "{found}");
    w.run(&["cache", "verify"]).fails_with(4).says("--repair");
    let repaired = json(&w, &["verify", "--repair"]);
    assert!(
        repaired.success().json()["damaged"].as_array().unwrap().iter().all(|one| one["removed"] == true)
    );
    // An entry whose content went is damaged too.
    w.run(&["cache", "verify", "--repair"]).success();
    w.run(&["cache", "verify"]).success();
    w.remove("out").remove("b");
    w.build(&[]).success();
    w.remove("out").remove("b");
    w.build(&[]).success().restored(&["A", "B"]);
}

#[test]
fn clear_empties_it_and_the_workspace_stays_fresh() {
    let w = chain();
    json(&w, &["clear"]).success();
    assert_eq!(files(&w, "blobs").len() + files(&w, "actions").len(), 0);
    is_settled(&w);
    w.remove("b").build(&[]).success().ran(&["B"]);
}

#[test]
fn what_rollback_and_conflicts_keep_is_no_part_of_the_cache() {
    let w = chain();
    w.file("a", "two\n").build(&[]).success();
    w.file("b", "mine\n").build(&[]).success();
    w.run(&["cache", "clear"]).success();
    assert_eq!(w.conflicts(), ["b"]);
    w.run(&["rollback", "A"]).success();
    assert_eq!(w.read("out/a"), "ONE\n");
}

#[test]
fn inside_a_task_there_is_no_cache_to_look_after() {
    let w = chain().env("CONDUCTOR_TASK", "T1");
    w.run(&["cache", "stat"]).success().says("the cache is off: this is inside a running task");
    assert_eq!(json(&w, &["stat"]).success().json()["read"], false);
    w.run(&["cache", "clear"]).fails_with(2);
    assert_eq!(files(&w, "actions").len(), 2);
}

#[test]
fn wrong_limits_are_a_usage_error() {
    let w = chain();
    w.run(&["cache", "gc", "--max-size", "much"]).fails_with(2);
    w.run(&["cache", "gc", "--max-age", "long"]).fails_with(2);
    w.run(&["cache"]).fails_with(2);
}
