//! Promise 2: a failure stops only what depends on it, and leaves the last good outputs where they were.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use proptest::collection::vec;
use proptest::prelude::{Strategy, any};

use crate::dag::{Dag, dags};
use crate::ground::Ground;
use crate::seeds::try_many;

/// What a task does: writes half of a result first, and fails where its file says so.
fn run(dag: &Dag, i: usize) -> String {
    let read = dag.read(i);
    format!("echo half > out/{i}.txt; grep -q good ctl/{i}.txt; cat {read} | cksum > out/{i}.txt")
}

/// The keys as they should compare: equal where everything that a task reads is equal.
struct Keys<'a> {
    dag: &'a Dag,
    files: Vec<String>,
}

impl Keys<'_> {
    fn now(&self) -> Vec<u64> {
        let mut keys: Vec<u64> = Vec::new();
        for i in self.dag.indices() {
            let mut hasher = DefaultHasher::new();
            self.files[i].hash(&mut hasher);
            self.dag.needs[i].iter().for_each(|need| keys[*need].hash(&mut hasher));
            keys.push(hasher.finish());
        }
        keys
    }
}

fn ids(tasks: &BTreeSet<usize>) -> BTreeSet<String> {
    tasks.iter().map(|i| format!("T{i}")).collect()
}

fn law(dag: &Dag, broken: &[u8], changed: &[u8], keep_going: bool, repair: bool) -> Result<(), String> {
    let n = dag.needs.len();
    let pick = |numbers: &[u8]| -> BTreeSet<usize> { numbers.iter().map(|b| usize::from(*b) % n).collect() };
    let (broken, changed) = (pick(broken), pick(changed));
    let more = |i| format!("    outputs: [out/{i}.txt]\n");
    let ground = Ground::with(&dag.manifest(|i| run(dag, i), more), &[]);
    dag.write_files(&ground);
    ground.heals("of everything");
    let mut keys = Keys { dag, files: (0..n).map(|i| format!("good {i}\n")).collect() };
    let recorded = keys.now();
    let before: Vec<String> = (0..n).map(|i| ground.read(&format!("out/{i}.txt"))).collect();
    let write = |keys: &mut Keys, i: usize, text: String| {
        ground.write(&format!("ctl/{i}.txt"), &text);
        keys.files[i] = text;
    };
    for i in changed.iter().copied() {
        write(&mut keys, i, format!("good {i} again\n"));
    }
    for i in broken.iter().copied() {
        write(&mut keys, i, format!("bad {i}\n"));
    }
    let now = keys.now();
    let mut stopped = BTreeSet::new();
    let mut failed = BTreeSet::new();
    for i in 0..n {
        if dag.needs[i].iter().any(|need| stopped.contains(need)) {
            stopped.insert(i);
        } else if broken.contains(&i) {
            stopped.insert(i);
            failed.insert(i);
        }
    }
    let due: BTreeSet<usize> = (0..n).filter(|i| now[*i] != recorded[*i] && !stopped.contains(i)).collect();
    let built = ground.build(if keep_going { &["-k", "-j2"] } else { &["-j2"] });
    let is = |status: &str| -> BTreeSet<String> {
        built.those(|told| told.status == status).into_iter().collect()
    };
    let tell = |what: &str| {
        Err(format!("{what}: broken {broken:?}, changed {changed:?}: {}\n{dag:?}", built.ran.text()))
    };
    if built.ran.code != Some(1) {
        return tell("a build with a failure ends with 1");
    }
    if keep_going && (is("failed") != ids(&failed) || is("ran") != ids(&due)) {
        return tell(&format!("{failed:?} fail, {due:?} run, and nothing else"));
    }
    if !is("failed").is_subset(&ids(&failed)) || !is("ran").is_subset(&ids(&due)) || is("failed").is_empty() {
        return tell("a build that stops at a failure does nothing that it need not do");
    }
    for i in (0..n).filter(|i| !is("ran").contains(&format!("T{i}"))) {
        if ground.read(&format!("out/{i}.txt")) != before[i] {
            return tell(&format!("the last good output of T{i} is in place"));
        }
    }
    let ran = is("ran");
    for i in broken.iter().copied() {
        let text = if repair { format!("good {i}\n") } else { format!("good {i} at last\n") };
        write(&mut keys, i, text);
    }
    let after = keys.now();
    let held = |i: &usize| if ran.contains(&format!("T{i}")) { now[*i] } else { recorded[*i] };
    let due: BTreeSet<usize> = (0..n).filter(|i| after[*i] != held(i)).collect();
    let repaired = ground.heals("after the repair");
    let ran: BTreeSet<String> = repaired.ran().into_iter().collect();
    if ran != ids(&due) {
        return Err(format!("after the repair {ran:?} ran instead of {due:?}: {}", repaired.ran.text()));
    }
    dag.compare(&ground, "after the repair")
}

#[test]
fn a_failure_stops_only_its_dependents_and_leaves_the_last_good_outputs() {
    let some = || vec(any::<u8>(), 1..4);
    let cases = (dags(4..16), some(), vec(any::<u8>(), 0..5), any::<bool>(), any::<bool>());
    try_many("failures", 14, &cases.prop_map(|case| case), |(dag, broken, changed, keep_going, repair)| {
        law(dag, broken, changed, *keep_going || changed.len() > 2, *repair)
    });
}
