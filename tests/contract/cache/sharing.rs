//! Checkouts that use one cache.

use super::{Restored as _, chain, checkout, files, is_settled, world};

#[test]
fn two_checkouts_exchange_their_results() {
    let one = chain();
    let two = checkout(&one);
    two.file("a", "one\n");
    two.build(&[]).success().ran(&[]).restored(&["A", "B"]);
    assert_eq!(two.read("b"), one.read("b"));
    is_settled(&two);
    two.file("a", "two\n").build(&[]).success().ran(&["A", "B"]);
    one.file("a", "two\n").build(&[]).success().ran(&[]).restored(&["A", "B"]);
    assert_eq!(one.read("b"), "TWO\nTWO\n");
    one.run(&["log", "A"]).success().says("made A");
}

#[test]
fn a_result_that_names_its_workspace_stays_there_and_is_reported() {
    let one = world(
        "tasks: { A: { inputs: [a], outputs: [o, p], run: 'echo \"-I$PWD/include $PWD\" > o; cp a p' } }\n",
    );
    one.file("a", "1").build(&[]).success().ran(&["A"]);
    let plain = world("tasks: { A: { inputs: [a], outputs: [o], run: 'echo $PWD/x > o' } }\n");
    plain.file("a", "1");
    plain.run(&["build"]).success().says("the result of A names this workspace by its absolute path");
    let made = one.read("o");
    one.remove("o").build(&[]).success().restored(&["A"]);
    assert_eq!(one.read("o"), made);
    let two = checkout(&one);
    two.file("a", "1").build(&[]).success().ran(&["A"]).restored(&[]);
    assert!(two.read("o").contains(two.root().to_str().unwrap()));
    two.remove("o").build(&[]).success().restored(&["A"]);
    one.remove("o").build(&[]).success().restored(&["A"]);
    assert_eq!(one.read("o"), made, "each has its own");
    assert_eq!(files(&one, "bound").len(), 2);
}

#[test]
fn builds_that_run_at_once_over_one_cache_end_right_while_garbage_is_collected() {
    let one = world(
        "tasks: { A: { inputs: [a], outputs: [o/], run: 'for n in 1 2 3 4 5 6 7 8; do cat a a > o/$n; echo $n >> o/$n; done' } }\n",
    );
    let others: Vec<_> = (0..3).map(|_| checkout(&one)).collect();
    let all: Vec<_> = std::iter::once(&one).chain(&others).collect();
    let right = |a: &str, n: u32| format!("{a}{a}{n}\n");
    for round in 0..12 {
        let a = format!("content {}\n", round % 4);
        for w in &all {
            w.file("a", &a);
        }
        let builds: Vec<_> = all.iter().map(|w| w.start(&[])).collect();
        // All that is there may go at any moment, and nothing that a build is bringing in.
        for limit in ["0B", "2kB", "1GB", "0B"] {
            one.run(&["cache", "gc", "--max-size", limit]).success();
        }
        for build in builds {
            build.wait().success().never_says("warning");
        }
        for w in &all {
            for n in 1..=8 {
                assert_eq!(w.read(format!("o/{n}")), right(&a, n), "round {round}");
            }
        }
    }
    one.run(&["cache", "verify"]).success();
    for w in &all {
        is_settled(w);
    }
}

#[test]
fn what_one_checkout_took_back_is_kept_from_it_whoever_keeps_the_same_again() {
    let one = world("tasks: { A: { inputs: [a], outputs: [o], run: cp a o } }\n");
    one.file("a", "1").build(&[]).success();
    let two = checkout(&one);
    two.file("a", "1").build(&[]).success().restored(&["A"]);
    one.run(&["rollback", "A"]).success();
    assert_eq!(files(&one, "actions").len(), 0, "it left the cache");
    two.build(&["--force"]).success().ran(&["A"]);
    assert_eq!(files(&one, "actions").len(), 1);
    // What the state remembers of it goes with the next accepted result; the ban stays.
    one.file("a", "2").build(&[]).success().ran(&["A"]);
    one.file("a", "1").build(&[]).success().ran(&["A"]).restored(&[]);
    one.remove("o").build(&[]).success().restored(&["A"]);
    two.remove("o").build(&[]).success().restored(&["A"]);
}
