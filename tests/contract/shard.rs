//! `build --shard I/N`: every task in exactly one shard, on whatever machine, and shards of about the same length.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::World;

/// Tasks of the given lengths in hours, and one that the first two need.
fn manifest(efforts: &[u64]) -> String {
    let task = |(number, effort): (usize, &u64)| {
        let needs = if number < 2 { "needs: [base], " } else { "" };
        format!(
            "  T{number}: {{ {needs}effort: {effort}h, inputs: [], outputs: [o{number}], run: 'echo > o{number}' }}\n"
        )
    };
    let tasks: String = efforts.iter().enumerate().map(task).collect();
    format!("tasks:\n  base: {{ effort: 1m, inputs: [], outputs: [base], run: echo > base }}\n{tasks}")
}

/// What each shard builds, and what it counts as its own.
#[track_caller]
fn shards(world: &World, of: usize, args: &[&str]) -> Vec<BTreeSet<String>> {
    let one = |number: usize| {
        let shard = format!("{number}/{of}");
        let args = [&["--dry-run", "--shard", &shard], args].concat();
        let run = world.build(&args);
        run.success();
        run.json()["tasks"].as_object().unwrap().keys().cloned().collect()
    };
    (1..=of).map(one).collect()
}

#[test]
fn the_shards_together_are_everything_and_no_task_is_in_two() {
    let world = World::new(&manifest(&[5, 4, 3, 3, 2, 1, 1]));
    for of in [1, 2, 3, 5, 20] {
        let shards = shards(&world, of, &[]);
        let mut times: BTreeMap<&String, usize> = BTreeMap::new();
        for task in shards.iter().flatten() {
            *times.entry(task).or_default() += 1;
        }
        assert_eq!(times.len(), 8, "{shards:?}");
        // What others need is built wherever it is needed.
        let twice: Vec<_> = times.iter().filter(|(id, times)| **times > 1 && **id != "base").collect();
        assert!(twice.is_empty(), "{twice:?}");
    }
}

#[test]
fn shards_are_of_about_the_same_length() {
    let efforts = [8, 7, 6, 5, 4, 3, 2, 1];
    let world = World::new(&manifest(&efforts));
    let length = |shard: &BTreeSet<String>| -> u64 {
        shard.iter().filter_map(|id| Some(efforts[id.strip_prefix('T')?.parse::<usize>().ok()?])).sum()
    };
    let lengths: Vec<u64> = shards(&world, 3, &[]).iter().map(length).collect();
    assert_eq!(lengths.iter().sum::<u64>(), 36);
    assert!(lengths.iter().all(|length| (10..=14).contains(length)), "{lengths:?}");
}

#[test]
fn a_shard_builds_what_it_depends_on_and_nothing_else() {
    let world = World::new(&manifest(&[1, 1, 1, 1]));
    let mut built = BTreeSet::new();
    for number in 1..=2 {
        let elsewhere = World::new(&manifest(&[1, 1, 1, 1]));
        let run = elsewhere.build(&["--shard", &format!("{number}/2")]);
        run.success().says(&format!("shard {number}/2"));
        let tasks = run.json()["tasks"].as_object().unwrap().clone();
        assert!(tasks.len() < 5, "{run}");
        built.extend(tasks.keys().cloned());
        for id in ["T0", "T1"].iter().filter(|id| tasks.contains_key(**id)) {
            assert!(tasks.contains_key("base"), "{id} needs base: {run}");
        }
    }
    assert_eq!(built.len(), 5);
    // Targets are what is split.
    let split = shards(&world, 2, &["T2", "T3"]);
    assert_eq!(split, [BTreeSet::from(["T2".to_owned()]), BTreeSet::from(["T3".to_owned()])]);
    // More shards than tasks: some have nothing to do.
    world.build(&["--shard", "4/4", "T2"]).success();
    assert!(!world.has("o2"));
}

#[test]
fn what_a_machine_has_recorded_by_itself_does_not_change_the_split() {
    let text = "tasks:
  A: { inputs: [], outputs: [a], run: sleep 0.3; echo > a }
  B: { inputs: [], outputs: [b], run: echo > b }
  C: { inputs: [], outputs: [c], run: echo > c }
";
    let world = World::new(text);
    let before = shards(&world, 2, &[]);
    world.build(&[]).success();
    assert_eq!(shards(&world, 2, &[]), before);
    // But a file that all of them have does.
    let listed = world.json("list", &[]);
    assert!(listed.task("A")["duration_ms"].as_u64().unwrap() >= 300, "{listed}");
    world.file(
        "history.json",
        r#"{"tasks": {"A": {"duration_ms": 9000}, "B": {"duration_ms": 1000}, "C": {"duration_ms": 2000}}}"#,
    );
    let balanced = shards(&world, 2, &["--history", "history.json"]);
    let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(balanced, [ids(&["A"]), ids(&["B", "C"])]);
}

#[test]
fn a_shard_that_cannot_be_is_refused() {
    let world = World::new(&manifest(&[1]));
    for wrong in ["0/2", "3/2", "2", "a/b", "1/0"] {
        world.build(&["--shard", wrong]).fails_with(2).says("2/5");
    }
    world.file("history.json", "{}");
    world.build(&["--shard", "1/2", "--history", "history.json"]).fails_with(2).says("no history");
    world.build(&["--shard", "1/2", "--history", "gone.json"]).fails_with(2).says("gone.json");
    world.build(&["--history", "history.json"]).fails_with(2);
}
