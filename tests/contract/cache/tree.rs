//! Tasks that run in the tree.

use std::os::unix::fs::PermissionsExt as _;

use super::{Restored as _, chain, is_settled, world};
use crate::support::WAIT;

#[test]
fn outputs_that_went_are_restored_and_nothing_runs() {
    let w = chain();
    w.remove("out").remove("b");
    w.check(&[]).fails_with(3);
    w.build(&[]).success().ran(&[]).restored(&["A", "B"]);
    assert_eq!((w.read("out/a"), w.read("b")), ("ONE\n".to_owned(), "ONE\nONE\n".to_owned()));
    is_settled(&w);
}

#[test]
fn an_edit_that_is_taken_back_runs_nothing_the_second_time() {
    let w = chain();
    w.file("a", "two\n");
    w.build(&[]).success().ran(&["A", "B"]);
    w.file("a", "one\n");
    w.build(&[]).success().ran(&[]).restored(&["A", "B"]);
    assert_eq!(w.read("b"), "ONE\nONE\n");
    is_settled(&w);
    w.file("a", "two\n");
    w.build(&["A"]).success().restored(&["A"]);
    assert_eq!(w.read("out/a"), "TWO\n");
}

#[test]
fn without_any_state_everything_is_restored() {
    let w = chain();
    for name in ["state", "state.log"] {
        if w.has(format!(".conductor/{name}")) {
            w.remove(&format!(".conductor/{name}"));
        }
    }
    w.remove("out").remove("b");
    w.build(&[]).success().ran(&[]).restored(&["A", "B"]);
    is_settled(&w);
}

#[test]
fn modes_links_and_empty_folders_come_back() {
    let w = world(
        "tasks: { A: { inputs: [], outputs: [out/], run: 'cd out; mkdir -p d/empty; echo x > x; chmod 750 x; echo p > p; chmod 600 p; ln -s x l; ln -s /nowhere d/dangling; : > none; head -c 300000 /dev/zero > zeros' } }\n",
    );
    w.build(&[]).success().ran(&["A"]);
    let before = crate::support::Tree::of(&w.path("out")).files();
    let mode = |path: &str| w.path(path).metadata().unwrap().permissions().mode() & 0o777;
    let modes = (mode("out/x"), mode("out/p"));
    assert_eq!(modes, (0o750, 0o600));
    w.remove("out");
    w.build(&[]).success().restored(&["A"]);
    assert_eq!(crate::support::Tree::of(&w.path("out")).files(), before);
    assert_eq!((mode("out/x"), mode("out/p")), modes);
    assert!(w.path("out/d/empty").is_dir());
    assert_eq!(std::fs::read_link(w.path("out/l")).unwrap(), std::path::Path::new("x"));
    assert_eq!(std::fs::read_link(w.path("out/d/dangling")).unwrap(), std::path::Path::new("/nowhere"));
    assert_eq!(std::fs::read(w.path("out/zeros")).unwrap(), vec![0; 300_000]);
    is_settled(&w);
}

#[test]
fn what_was_printed_is_told_again_and_kept_as_the_log() {
    let w = chain();
    w.remove("out/a");
    w.run(&["build", "A"]).success().says("made A").says("restored from the cache");
    w.run(&["log", "A"]).success().says("made A");
}

#[test]
fn a_forced_build_runs() {
    let w = chain();
    w.remove("out/a");
    w.build(&["--force", "A"]).success().ran(&["A"]).restored(&[]);
}

#[test]
fn a_task_whose_cache_is_off_and_one_that_always_or_incrementally_runs_never_come_from_it() {
    let w = world(
        "tasks:
  off: { cache: off, inputs: [], outputs: [a], run: date +%N > a }
  step: { incremental: true, inputs: [], outputs: [b], run: date +%N > b }
  always: { always: true, inputs: [], outputs: [c], run: echo c > c }
  local: { cache: local, inputs: [], outputs: [d], run: date +%N > d }
",
    );
    w.build(&[]).success();
    let made = w.read("d");
    for file in ["a", "b", "c", "d"] {
        w.remove(file);
    }
    w.build(&[]).success().ran(&["off", "step", "always"]).restored(&["local"]);
    assert_eq!(w.read("d"), made);
}

#[test]
fn a_failed_result_never_comes_back() {
    let w = world(
        "tasks: { A: { inputs: [a], outputs: [o], run: cp a o, validate: [ { run: test ! -e refuse } ] } }\n",
    );
    w.file("a", "1").file("refuse", "");
    w.build(&[]).fails_with(1).failed(&["A"]);
    w.build(&[]).fails_with(1).failed(&["A"]);
    w.remove("refuse");
    w.build(&[]).success().ran(&["A"]);
    w.remove("o");
    w.build(&[]).success().restored(&["A"]);
}

#[test]
fn a_result_that_came_only_at_a_second_try_is_made_again() {
    let w = world(
        "tasks: { A: { inputs: [], outputs: [o], retries: { max: 1, backoff: 1ms }, run: 'date +%N > o; test -e tried || { touch tried; exit 1; }' } }\n",
    );
    w.build(&[]).success().ran(&["A"]);
    w.remove("o");
    w.build(&[]).success().ran(&["A"]).restored(&[]);
}

#[test]
fn a_result_whose_input_changed_while_it_ran_is_not_kept() {
    let w = world(&format!("tasks: {{ A: {{ inputs: [a], outputs: [o], run: '{WAIT}; cp a o' }} }}\n"));
    w.file("a", "1");
    let build = w.start(&[]);
    w.wait_for("started").file("a", "2").file("go", "");
    build.wait().fails_with(3);
    assert_eq!(super::files(&w, "actions"), Vec::<std::path::PathBuf>::new());
    w.file("a", "1").remove("started");
    w.build(&[]).success().ran(&["A"]);
}

#[test]
fn checks_that_are_others_today_run_on_what_is_restored() {
    let w = world("tasks: { A: { inputs: [a], outputs: [o], run: 'date +%N > o' } }\n");
    w.file("a", "1").build(&[]).success();
    let made = w.read("o");
    w.file("a", "2").build(&[]).success().ran(&["A"]);
    w.manifest("tasks: { A: { inputs: [a], outputs: [o], run: 'date +%N > o', validate: [ { run: 'echo x >> checked; test ! -e refuse' } ] } }\n");
    w.file("a", "1");
    w.build(&[]).success().restored(&["A"]);
    assert_eq!((w.read("o"), w.read("checked")), (made, "x\n".to_owned()));
    is_settled(&w);
    assert_eq!(w.read("checked"), "x\n", "once accepted, they need not run again");
}

#[test]
fn a_restored_result_that_todays_checks_refuse_is_made_again_and_the_last_good_one_stands() {
    let w = world("tasks: { A: { inputs: [a], outputs: [o], run: 'cat a > o; date +%N >> o' } }\n");
    w.file("a", "1\n").build(&[]).success();
    w.file("a", "2\n").build(&[]).success();
    let second = w.read("o");
    w.manifest("tasks: { A: { inputs: [a], outputs: [o], run: 'cat a > o; date +%N >> o', validate: [ { run: 'grep -qx 2 o' } ] } }\n");
    w.file("a", "1\n");
    let failed = w.build(&[]);
    failed.fails_with(1).failed(&["A"]).restored(&[]);
    assert_eq!(w.read("o"), second);
    w.file("a", "2\n");
    w.build(&[]).success();
    assert_eq!(w.read("o"), second);
}

#[test]
fn a_check_that_cannot_run_fails_the_build_and_what_was_restored_stands() {
    let w = world("tasks: { A: { inputs: [a], outputs: [o], run: cp a o } }\n");
    w.file("a", "1").build(&[]).success();
    w.remove("o");
    w.manifest(
        "tasks: { A: { inputs: [a], outputs: [o], run: cp a o, validate: [ { run: [no-such-program-here] } ] } }\n",
    );
    w.build(&[]).fails_with(1).failed(&["A"]);
    assert_eq!(w.read("o"), "1");
    w.build(&[]).fails_with(1).failed(&["A"]).ran(&[]);
}

#[test]
fn a_depfile_is_part_of_what_is_asked_for() {
    let manifest = "tasks: { A: { inputs: [main], outputs: [o], depfile: o.d, run: 'h=$(cat main); cat $h > o; echo \"o: main $h\" > o.d; echo x >> runs' } }\n";
    let w = world(manifest);
    w.file("main", "x.h\n").file("x.h", "x1").file("y.h", "y1");
    w.build(&[]).success().ran(&["A"]);
    w.file("x.h", "x2").build(&[]).success().ran(&["A"]);
    w.file("x.h", "x1").build(&[]).success().ran(&[]).restored(&["A"]);
    assert_eq!(w.read("o"), "x1");
    is_settled(&w);
    w.file("main", "y.h\n").build(&[]).success().ran(&["A"]);
    w.file("main", "x.h\n").build(&[]).success().restored(&["A"]);
    is_settled(&w);
    w.file("x.h", "x3").build(&[]).success().ran(&["A"]);
    assert_eq!((w.read("o"), w.read("runs")), ("x3".to_owned(), "x\nx\nx\nx\n".to_owned()));
}

#[test]
fn a_persons_version_gives_way_to_a_restored_result_as_to_one_that_ran_and_is_kept() {
    let w = chain();
    w.file("a", "two\n").build(&[]).success();
    w.file("out/a", "mine\n").file("out/beside", "a person's\n").file("a", "one\n");
    w.build(&[]).success().restored(&["A", "B"]).says("your version is kept");
    assert_eq!((w.read("out/a"), w.read("out/beside")), ("ONE\n".to_owned(), "a person's\n".to_owned()));
    assert_eq!(w.conflicts(), ["out/a"]);
}

#[test]
fn of_an_output_folder_only_what_was_recorded_goes() {
    let w = world("tasks: { A: { inputs: [a], outputs: [out/], run: 'cp a out/$(cat a)' } }\n");
    w.file("a", "one").build(&[]).success();
    w.file("a", "two").build(&[]).success();
    w.file("out/mine", "a person's");
    w.file("a", "one").build(&[]).success().restored(&["A"]);
    assert!(w.has("out/one") && !w.has("out/two"));
    assert_eq!(w.read("out/mine"), "a person's");
    is_settled(&w);
}

#[test]
fn what_was_rolled_back_is_made_again_and_not_restored() {
    let w = world("tasks: { A: { inputs: [a], outputs: [o], run: 'date +%N > o' } }\n");
    w.file("a", "1").build(&[]).success();
    let first = w.read("o");
    w.run(&["rollback", "A"]).success();
    let again = w.build(&[]);
    again.success().ran(&["A"]).restored(&[]);
    assert_eq!(again.kinds("A")[0], "rolled_back");
    let second = w.read("o");
    assert_ne!(second, first);
    w.remove("o");
    w.build(&[]).success().restored(&["A"]);
    assert_eq!(w.read("o"), second);
}

#[test]
fn the_same_result_as_one_that_was_rolled_back_counts_once_it_was_accepted_anew() {
    let w = chain();
    w.run(&["rollback", "A"]).success();
    w.build(&["A"]).success().ran(&["A"]);
    w.remove("out/a");
    w.build(&["A"]).success().restored(&["A"]);
}

#[test]
fn a_result_that_waits_is_kept_once_a_person_has_approved_it() {
    let w = world("tasks: { A: { approve: true, inputs: [a], outputs: [o], run: 'date +%N > o' } }\n");
    w.file("a", "1").build(&[]).fails_with(5);
    assert_eq!(super::files(&w, "actions").len(), 0);
    w.run(&["approve", "A"]).success();
    let made = w.read("o");
    w.remove("o");
    w.build(&[]).success().restored(&["A"]);
    assert_eq!(w.read("o"), made);
    w.run(&["why", "A"]).success().says("approved");
}

#[test]
fn a_task_without_outputs_is_not_run_twice_for_one_key() {
    let w = world("tasks: { test: { inputs: [a], run: 'echo tested >> ../runs' } }\n");
    w.file("a", "1").build(&[]).success().ran(&["test"]);
    w.file("a", "2").build(&[]).success().ran(&["test"]);
    w.file("a", "1").build(&[]).success().restored(&["test"]);
    assert_eq!(w.read("../runs"), "tested\ntested\n");
}

#[test]
fn why_and_a_dry_run_say_what_would_be_restored_and_write_nothing() {
    let w = chain();
    w.remove("out/a");
    let before = w.tree();
    assert_eq!(w.why("A").json()["in_cache"], true);
    w.run(&["why", "A"]).success().says("restore its result from the cache");
    let dry = w.build(&["--dry-run"]);
    assert_eq!(dry.task("A")["in_cache"], true);
    w.run(&["build", "--dry-run"]).success().says("from the cache: A");
    w.build(&["--dry-run", "--force"]).success().never_says("in_cache");
    w.check(&[]).fails_with(3);
    w.build(&["--frozen"]).fails_with(3);
    assert_eq!(w.tree(), before);
    w.file("a", "new\n");
    assert!(w.why("A").json()["in_cache"].is_null());
}

#[test]
fn a_link_on_the_way_to_an_output_is_gone_through_by_no_restore() {
    let w = chain();
    w.remove("out").folder("../elsewhere").link("out", "../elsewhere");
    w.build(&["A"]).success().ran(&["A"]).restored(&[]).says("out is a link");
    assert_eq!(w.read("out/a"), "ONE\n");
}

#[test]
fn a_result_that_changed_a_setuid_bit_is_not_kept() {
    let w = world("tasks: { A: { inputs: [], outputs: [o], run: 'echo > o; chmod 4755 o' } }\n");
    w.build(&[]).success();
    w.remove("o");
    w.build(&[]).success().ran(&["A"]);
}
