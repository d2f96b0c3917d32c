//! What makes a task run, and what must not: content counts, times do not, and the same bytes stop the wave.

use crate::support::World;

fn copy() -> World {
    let w = World::new("tasks: { T1: { inputs: [a], outputs: [o], run: cp a o } }");
    w.file("a", "1").build(&[]).success();
    w
}

#[test]
fn an_output_rebuilt_to_the_same_bytes_reruns_nothing() {
    let w = World::new(
        "
tasks:
  T1: { inputs: [a], outputs: [one], run: head -n 1 a > one }
  T2: { inputs: [one], outputs: [two], run: cp one two }
  T3: { needs: [T2], inputs: [], outputs: [three], run: cp two three }
",
    );
    w.file("a", "same\nx\n").build(&[]).success();
    w.file("a", "same\ny\n");
    w.build(&[]).success().ran(&["T1"]).fresh(&["T2", "T3"]);
    w.build(&[]).runs_nothing();
}

#[test]
fn a_touched_input_reruns_nothing() {
    let w = copy();
    let status = std::process::Command::new("touch").arg(w.path("a")).status().unwrap();
    assert!(status.success());
    w.check(&[]).success();
    w.build(&[]).runs_nothing();
}

#[test]
fn a_touched_output_reruns_nothing() {
    let w = copy();
    w.file("o", "1");
    w.build(&[]).runs_nothing();
}

#[test]
fn edits_of_the_same_length_in_quick_succession_are_all_seen() {
    let w = copy();
    for number in 10..40 {
        w.file("a", number.to_string());
        w.build(&[]).success().ran(&["T1"]);
        assert_eq!(w.read("o"), number.to_string());
    }
}

#[test]
fn a_file_that_was_exchanged_for_one_with_the_same_size_and_time_is_seen() {
    let w = copy();
    w.file("other", "2");
    let run = |program: &str, args: &[&str]| {
        assert!(
            std::process::Command::new(program).args(args).current_dir(w.root()).status().unwrap().success()
        );
    };
    run("touch", &["-r", "a", "other"]);
    run("mv", &["other", "a"]);
    w.build(&[]).success().ran(&["T1"]);
    assert_eq!(w.read("o"), "2");
    // In place too, with the time put back afterwards.
    run("sh", &["-c", "touch -r a stamp; printf 3 > a; touch -r stamp a"]);
    w.build(&[]).success().ran(&["T1"]);
    assert_eq!(w.read("o"), "3");
}

#[test]
fn an_output_exchanged_with_size_and_time_kept_is_seen_too() {
    let w = copy();
    let script = "touch -r o stamp; printf 9 > o; touch -r stamp o";
    assert!(
        std::process::Command::new("sh")
            .args(["-c", script])
            .current_dir(w.root())
            .status()
            .unwrap()
            .success()
    );
    w.check(&[]).fails_with(3);
    w.build(&[]).success().ran(&["T1"]);
    assert_eq!(w.read("o"), "1");
}

#[test]
fn without_its_state_everything_runs_once_and_no_output_is_called_a_persons() {
    let w = copy();
    w.remove(".conductor");
    w.build(&[]).success().ran(&["T1"]).never_says("your version");
    assert_eq!(w.conflicts(), [""; 0]);
    w.build(&[]).runs_nothing();
}

#[test]
fn after_keeps_order_and_never_makes_stale() {
    let manifest = "
tasks:
  T1: { inputs: [a], outputs: [one], run: cp a one }
  T2: { after: [T1], inputs: [], outputs: [two], run: test -e one && touch two }
";
    let w = World::new(manifest);
    w.file("a", "1");
    w.build(&["T2"]).success().ran(&["T1", "T2"]);
    w.file("a", "2");
    w.build(&["T2"]).success().ran(&["T1"]).fresh(&["T2"]);
    w.manifest(&manifest.replace("after: [T1], ", ""));
    w.build(&[]).runs_nothing();
}

#[test]
fn a_comment_another_title_and_another_order_in_the_manifest_rerun_nothing() {
    let w = World::new(
        "
tasks:
  T1: { title: One, effort: 4h, tags: [a], inputs: [], outputs: [one], run: touch one }
  T2: { inputs: [], outputs: [two], run: touch two }
",
    );
    w.build(&[]).success();
    w.manifest(
        "
# another comment
project: other
tasks:
  T2: { inputs: [], outputs: [two], run: touch two, timeout: 5m, retries: 3 }
  T1: { title: First, effort: 2h, role: someone, inputs: [], outputs: [one], run: touch one, weight: 2 }
",
    );
    w.build(&[]).runs_nothing();
}

#[test]
fn a_renamed_task_runs_once_and_leaves_no_complaint_behind() {
    let w = copy();
    w.manifest("tasks: { T2: { inputs: [a], outputs: [o], run: cp a o } }");
    w.build(&[]).success().ran(&["T2"]).never_says("your version");
    let run = w.run(&["build"]);
    run.success().never_says("T1");
    w.build(&[]).runs_nothing();
}

#[test]
fn outputs_of_a_task_that_is_gone_are_reported_and_never_taken_as_inputs() {
    let manifest = "
tasks:
  T1: { inputs: [], outputs: [gen/a.txt], run: echo a > gen/a.txt }
  T2: { inputs: [\"gen/*.txt\", b], outputs: [all], run: 'cat ${inputs} > all' }
";
    let w = World::new(manifest);
    w.file("b", "b\n").build(&[]).success();
    assert_eq!(w.read("all"), "b\na\n");
    w.manifest("tasks: { T2: { inputs: [\"gen/*.txt\", b], outputs: [all], run: 'cat ${inputs} > all' } }");
    let run = w.run(&["build"]);
    run.success().says("T1");
    assert_eq!(w.read("all"), "b\n");
    w.build(&[]).runs_nothing();
}

#[test]
fn an_output_that_is_no_longer_declared_is_no_input_of_others() {
    let w = World::new(
        "
tasks:
  T1: { inputs: [], outputs: [gen/a.txt, gen/b.txt], run: touch gen/a.txt gen/b.txt }
  T2: { needs: [T1], inputs: [\"gen/*.txt\"], outputs: [all], run: ls gen > all }
",
    );
    w.build(&[]).success();
    assert_eq!(w.read("all"), "a.txt\nb.txt\n");
    w.manifest(
        "
tasks:
  T1: { inputs: [], outputs: [gen/a.txt], run: touch gen/a.txt }
  T2: { needs: [T1], inputs: [\"gen/*.txt\"], outputs: [all], run: ls gen > all }
",
    );
    w.build(&[]).success().ran(&["T1", "T2"]);
    assert_eq!(w.read("all"), "a.txt\n", "as in a clean build");
    w.build(&[]).runs_nothing();
}

#[test]
fn an_output_that_was_a_file_may_become_a_folder_and_the_other_way_round() {
    let file = "tasks: { T1: { inputs: [], outputs: [o], run: echo file > o } }";
    let folder = "tasks: { T1: { inputs: [], outputs: [o/], run: echo x > o/x } }";
    let w = World::new(file);
    w.build(&[]).success();
    w.manifest(folder).build(&[]).success().ran(&["T1"]);
    assert_eq!(w.read("o/x"), "x\n");
    w.build(&[]).runs_nothing();
    w.manifest(file).build(&[]).success().ran(&["T1"]);
    assert_eq!(w.read("o"), "file\n");
    w.build(&[]).runs_nothing();
    w.manifest("tasks: { T1: { inputs: [], outputs: [o/y], run: echo y > o/y } }");
    w.build(&[]).success().ran(&["T1"]);
    assert_eq!(w.read("o/y"), "y\n");
}

#[test]
fn two_tasks_may_exchange_their_outputs() {
    let w = World::new(
        "
tasks:
  T1: { inputs: [], outputs: [a], run: echo 1 > a }
  T2: { inputs: [], outputs: [b], run: echo 2 > b }
",
    );
    w.build(&[]).success();
    w.manifest(
        "
tasks:
  T1: { inputs: [], outputs: [b], run: echo 1 > b }
  T2: { inputs: [], outputs: [a], run: echo 2 > a }
",
    );
    w.build(&[]).success().ran(&["T1", "T2"]);
    assert_eq!((w.read("a"), w.read("b")), ("2\n".to_owned(), "1\n".to_owned()));
    w.build(&[]).runs_nothing();
}

#[test]
fn an_output_may_move_from_one_task_to_another() {
    let w = World::new(
        "
tasks:
  T1: { inputs: [], outputs: [a, b], run: touch a b }
  T2: { inputs: [], outputs: [c], run: touch c }
",
    );
    w.build(&[]).success();
    w.manifest(
        "
tasks:
  T1: { inputs: [], outputs: [a], run: touch a }
  T2: { inputs: [], outputs: [b, c], run: echo from T2 > b; touch c }
",
    );
    w.build(&[]).success().ran(&["T1", "T2"]).never_says("your version");
    assert_eq!(w.read("b"), "from T2\n");
    w.build(&[]).runs_nothing();
}
