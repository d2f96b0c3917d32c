//! Tasks that run apart, and what only they make: commits, branches, edits.

use super::{Restored as _, checkout, files, is_settled, world};
use crate::support::World;

fn repository(w: &World) {
    w.file(".gitignore", "/.conductor/\n/runs\n");
    w.git(&["init", "-q"]).git(&["config", "user.name", "P"]).git(&["config", "user.email", "p@localhost"]);
    w.git(&["add", "-A"]).git(&["commit", "-q", "-m", "first"]);
}

#[test]
fn a_sandboxed_result_comes_back_without_a_sandbox() {
    let w = world(
        "tasks: { A: { isolation: sandbox, inputs: [a], outputs: [o, d/], run: 'date +%N > o; cp a d/a' } }\n",
    );
    w.file("a", "1").build(&[]).success().ran(&["A"]);
    let made = w.read("o");
    w.remove("o").remove("d");
    w.build(&[]).success().restored(&["A"]);
    assert_eq!((w.read("o"), w.read("d/a")), (made, "1".to_owned()));
    is_settled(&w);
    assert!(!w.has(".conductor/workspaces") && !w.has(".conductor/incoming"));
}

#[test]
fn the_isolation_is_no_part_of_the_key_so_a_result_of_the_tree_serves_a_sandbox() {
    let w = world("tasks: { A: { inputs: [a], outputs: [o], run: 'date +%N > o' } }\n");
    w.file("a", "1").build(&[]).success().ran(&["A"]);
    w.remove("o");
    w.build(&["--isolation", "sandbox"]).success().restored(&["A"]);
}

#[test]
fn a_persons_file_in_the_way_of_an_isolated_result_stays_and_nothing_runs_until_it_is_resolved() {
    let w = world("tasks: { A: { isolation: sandbox, inputs: [a], outputs: [o], run: 'cp a o' } }\n");
    w.file("a", "1").build(&[]).success();
    w.file("a", "2").build(&[]).success();
    w.file("o", "mine").file("a", "1");
    w.build(&[]).fails_with(4).ran(&[]);
    assert_eq!(w.read("o"), "mine");
    w.run(&["resolve", "o", "--theirs"]).success();
    assert_eq!(w.read("o"), "1");
    is_settled(&w);
}

#[test]
fn changed_checks_of_an_isolated_task_run_in_a_sandbox_on_what_is_restored() {
    let task = |validate: &str| {
        format!(
            "tasks: {{ A: {{ isolation: sandbox, inputs: [a], outputs: [o], run: 'cp a o; echo x >> o'{validate} }} }}\n"
        )
    };
    let w = world(&task(""));
    w.file("a", "1").build(&[]).success();
    w.file("a", "2").build(&[]).success();
    w.manifest(&task(", validate: [ { run: 'test -e o; grep -q 1 o; touch o left' } ]"));
    w.file("a", "1").build(&[]).success().restored(&["A"]);
    assert!(!w.has("left"));
    is_settled(&w);
    w.file("a", "2");
    w.build(&[]).fails_with(1).failed(&["A"]);
    assert_eq!(w.read("o"), "1x\n", "what was accepted stands");
}

#[test]
fn a_worktrees_result_is_committed_and_its_branch_stands_as_after_a_run() {
    let w = world("tasks: { A: { isolation: worktree, inputs: [a], outputs: [o], run: 'date +%N > o' } }\n");
    w.file("a", "1");
    repository(&w);
    w.build(&[]).success().ran(&["A"]);
    let made = w.read("o");
    assert!(w.has(".git/conductor/cache/v2") && !w.has(".conductor/cache"));
    w.git(&["branch", "-D", "-q", "conductor/A"]).remove("o");
    w.build(&[]).success().restored(&["A"]);
    assert_eq!(w.read("o"), made);
    assert_eq!(w.git_says(&["show", "conductor/A:o"]), made.trim_end());
    is_settled(&w);
}

#[test]
fn a_result_that_stays_on_its_branch_is_restored_there_and_not_into_the_tree() {
    let w = world(
        "tasks:
  A: { isolation: worktree, integrate: branch, inputs: [a], outputs: [o], run: 'date +%N > o' }
  B: { isolation: worktree, integrate: branch, needs: [A], inputs: [], outputs: [p], run: 'cat o o > p' }
",
    );
    w.file("a", "1");
    repository(&w);
    w.build(&[]).success().ran(&["A", "B"]);
    let made = w.git_says(&["show", "conductor/A:o"]);
    let p = w.git_says(&["show", "conductor/B:p"]);
    w.file("a", "2").build(&[]).success().ran(&["A", "B"]);
    assert_ne!(w.git_says(&["show", "conductor/A:o"]), made);
    w.file("a", "1").build(&[]).success().restored(&["A", "B"]);
    assert_eq!(w.git_says(&["show", "conductor/A:o"]), made);
    assert_eq!(w.git_says(&["show", "conductor/B:p"]), p);
    assert!(!w.has("o") && !w.has("p"));
    is_settled(&w);
}

#[test]
fn linked_worktrees_of_one_repository_share_their_results() {
    let w = world("tasks: { A: { inputs: [a], outputs: [o], run: 'date +%N > o' } }\n");
    w.file("a", "1");
    repository(&w);
    w.build(&[]).success().ran(&["A"]);
    w.git(&["worktree", "add", "-q", "../other", "-b", "other"]);
    let built = w.run_in("../other", &["build", "--format", "json"]);
    built.success().restored(&["A"]);
    assert_eq!(w.read("../other/o"), w.read("o"));
}

const EDITORS: &str = "tasks:
  e1: { isolation: sandbox, inputs: [], edits: [\"src/*\"], run: 'echo one >> src/a; echo x >> $RUNS; echo new > src/new; rm -f src/gone', pass_env: [RUNS] }
  e2: { isolation: sandbox, inputs: [], needs: [e1], edits: [\"src/*\"], run: 'echo two >> src/a; echo x >> $RUNS', pass_env: [RUNS] }
";

fn editors(w: World) -> World {
    w.file("src/a", "base\n").file("src/gone", "gone\n");
    w.executable("src/a", true);
    w
}

#[test]
fn what_editors_did_is_done_again_without_them() {
    let w = editors(world(EDITORS).env("RUNS", "/dev/null"));
    w.build(&[]).success().ran(&["e1", "e2"]);
    let other = editors(checkout(&w).env("RUNS", "/dev/null"));
    other.build(&[]).success().ran(&[]).restored(&["e1", "e2"]);
    assert_eq!(other.read("src/a"), "base\none\ntwo\n");
    assert_eq!(other.read("src/new"), "new\n");
    assert!(!other.has("src/gone"));
    other.build(&[]).runs_nothing().restored(&[]);
    // What it found can be brought back, as after a run.
    other.run(&["rollback", "e2"]).success();
    other.run(&["rollback", "e1"]).success();
    assert_eq!((other.read("src/a"), other.read("src/gone")), ("base\n".to_owned(), "gone\n".to_owned()));
    assert!(!other.has("src/new"));
    other.build(&[]).success().ran(&["e1", "e2"]);
}

#[test]
fn an_edit_that_a_person_made_since_is_another_base_and_never_overwritten() {
    let w = editors(world(EDITORS).env("RUNS", "/dev/null"));
    w.build(&[]).success().ran(&["e1", "e2"]);
    let other = editors(checkout(&w).env("RUNS", "/dev/null"));
    other.file("src/a", "another base\n");
    other.build(&[]).success().ran(&["e1", "e2"]).restored(&[]);
    assert_eq!(other.read("src/a"), "another base\none\ntwo\n");
}

#[test]
fn a_task_inside_of_which_conductor_runs_uses_no_cache() {
    let w = world(
        "tasks: { A: { inputs: [inner/conductor.yaml], outputs: [o], run: 'cd inner; conductor build --format json > ../o', pass_env: [CONDUCTOR_CACHE] } }\n",
    );
    let conductor = std::path::Path::new(env!("CARGO_BIN_EXE_conductor")).parent().unwrap();
    let path = format!("{}:{}", conductor.display(), std::env::var("PATH").unwrap());
    let w = w.env("PATH", &path);
    w.file(
        "inner/conductor.yaml",
        "conductor: 1\ntasks: { I: { inputs: [], outputs: [i], run: date +%N > i } }\n",
    );
    w.build(&[]).success();
    assert!(w.has("inner/i") && !w.has("inner/.conductor/cache"));
    assert_eq!(files(&w, "actions").len(), 1);
}

#[test]
fn a_result_of_a_task_with_a_secret_never_comes_back_into_the_sight_of_another_one_that_it_holds() {
    let w =
        world("tasks: { A: { inputs: [], secrets: [TOKEN], outputs: [o], run: 'echo plain-value > o' } }\n");
    let w = w.env("TOKEN", "something-else");
    w.build(&[]).success().ran(&["A"]);
    w.remove("o");
    let w = w.env("TOKEN", "plain-value");
    w.build(&[]).fails_with(1).failed(&["A"]).restored(&[]);
}

#[test]
fn an_unchanged_agents_task_costs_nothing_a_second_time_and_keeps_what_the_agent_said() {
    let manifest = "agents: { command: { bin: helper } }
tasks:
  A: { agent: command, isolation: sandbox, inputs: [a], edits: [\"src/*\"], outputs: [o], instructions: do it }
";
    let program =
        "#!/bin/sh\ncat > /dev/null\necho I have done it\ndate +%N > o\necho by an agent >> src/x\n";
    let with = |w: World| {
        let bin = w.root().with_file_name("bin");
        std::fs::create_dir_all(&bin).unwrap();
        std::fs::write(bin.join("helper"), program).unwrap();
        w.file("a", "1").file("src/x", "first\n");
        w.executable("../bin/helper", true);
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        w.env("PATH", &path)
    };
    let w = with(world(manifest));
    w.build(&[]).success().ran(&["A"]);
    let made = w.read("o");
    w.run(&["log", "A", "--transcript"]).success().says("do it");
    let other = with(checkout(&w));
    other.build(&[]).success().ran(&[]).restored(&["A"]);
    assert_eq!((other.read("o"), other.read("src/x")), (made, "first\nby an agent\n".to_owned()));
    other.run(&["log", "A"]).success().says("I have done it");
    other.run(&["log", "A", "--transcript"]).success().says("do it");
    is_settled(&other);
}
