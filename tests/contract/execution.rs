//! How tasks run: environment, secrets, tools, folders, timeouts, retries, slots and pools.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::support::{Run, WAIT, World};

/// What T1 printed.
#[track_caller]
fn printed(w: &World) -> String {
    w.json("log", &["T1"]).success().json()["text"].as_str().unwrap().to_owned()
}

fn variables(text: &str) -> BTreeMap<&str, &str> {
    text.lines().filter_map(|line| line.split_once('=')).collect()
}

#[test]
fn the_environment_of_a_task_is_exactly_the_allow_list() {
    let mut w = World::new(
        "
env: { TOP: top, BOTH: top }
pass_env: [PASSED_BY_FILE]
tasks:
  T1:
    inputs: []
    env: { OWN: own, BOTH: own }
    pass_env: [PASSED, NOT_SET]
    secrets: [TOKEN]
    run: [env]
",
    );
    for (name, value) in [
        ("HOME", "/home/test"),
        ("USER", "u"),
        ("LOGNAME", "l"),
        ("SHELL", "/bin/sh"),
        ("TERM", "dumb"),
        ("TMPDIR", "/tmp"),
        ("LANG", "de_DE.UTF-8"),
        ("PASSED", "p"),
        ("PASSED_BY_FILE", "f"),
        ("TOKEN", "hunter2hunter2"),
        ("LC_ALL", "C"),
        ("EDITOR", "vi"),
        ("CONDUCTOR_CACHE_DIR", "/nowhere"),
        ("LD_PRELOAD", ""),
    ] {
        w.set_env(name, value);
    }
    w.build(&[]).success();
    let text = printed(&w);
    let found = variables(&text);
    let run = found["CONDUCTOR_RUN"];
    let path = std::env::var("PATH").unwrap();
    let expected = BTreeMap::from([
        ("PATH", path.as_str()),
        ("HOME", "/home/test"),
        ("USER", "u"),
        ("LOGNAME", "l"),
        ("SHELL", "/bin/sh"),
        ("TERM", "dumb"),
        ("TMPDIR", "/tmp"),
        ("LANG", "C.UTF-8"),
        ("TOP", "top"),
        ("BOTH", "own"),
        ("OWN", "own"),
        ("PASSED", "p"),
        ("PASSED_BY_FILE", "f"),
        ("TOKEN", "***"),
        ("CONDUCTOR_TASK", "T1"),
        ("CONDUCTOR_RUN", run),
    ]);
    assert_eq!(found, expected);
    assert!(!run.is_empty());
}

#[test]
fn pass_env_is_never_part_of_a_key() {
    let mut w = World::new(
        "tasks: { T1: { inputs: [], pass_env: [LEVEL], outputs: [o], run: 'echo ${LEVEL-none} > o' } }",
    );
    w.set_env("LEVEL", "1");
    w.build(&[]).success();
    assert_eq!(w.read("o"), "1\n");
    w.set_env("LEVEL", "2");
    w.set_env("HOME", "/elsewhere");
    w.build(&[]).runs_nothing();
}

#[test]
fn a_tasks_standard_input_is_empty() {
    let w = World::new("tasks: { T1: { inputs: [], outputs: [o], run: cat > o } }");
    w.build(&[]).success();
    assert_eq!(w.read("o"), "");
}

const SECRET: &str = "hunter2hunter2";

#[test]
fn an_unset_secret_stops_the_build_before_anything_starts() {
    let mut w = World::new(
        "
tasks:
  T1: { inputs: [], outputs: [o], run: touch o }
  T2: { needs: [T1], inputs: [], secrets: [TOKEN], outputs: [p], run: touch p }
",
    );
    let run = w.build(&[]);
    run.fails_with(2).says("TOKEN").diagnostics();
    assert!(!w.has("o"));
    w.build(&["T1"]).success();
    w.set_env("TOKEN", SECRET);
    w.build(&[]).success().ran(&["T2"]);
    w.unset_env("TOKEN");
    w.build(&[]).runs_nothing();
    w.set_env("TOKEN", "another");
    w.build(&[]).runs_nothing();
}

#[test]
fn an_unset_secret_is_told_once_for_all_instances_and_not_where_nothing_need_run() {
    let mut w = World::new(
        "tasks: { T1: { matrix: { v: [a, b, c] }, inputs: [\"in/*\"], secrets: [TOKEN], tools: [no-such-tool], run: 'true' } }",
    );
    w.file("in/x", "1");
    assert_eq!(w.build(&[]).fails_with(2).diagnostics().len(), 2);
    w.manifest(
        "tasks: { T1: { matrix: { v: [a, b, c] }, inputs: [\"in/*\"], secrets: [TOKEN], run: 'true' } }",
    );
    w.set_env("TOKEN", "x");
    w.build(&[]).success();
    w.unset_env("TOKEN");
    w.build(&[]).success().runs_nothing();
    w.file("in/x", "2").build(&[]).fails_with(2);
}

#[test]
fn a_secret_is_redacted_everywhere() {
    let w = World::new(
        "
tasks:
  T1:
    inputs: []
    secrets: [TOKEN]
    outputs: [o]
    run: 'echo out $TOKEN; echo err $TOKEN >&2; printf %s $TOKEN | base64; touch o; exit 1'
  T2:
    inputs: []
    secrets: [TOKEN]
    run: 'true'
    validate: [{ run: 'echo check $TOKEN; exit 1' }]
",
    )
    .env("TOKEN", SECRET);
    let run = w.run(&["build", "-k", "--events", "events.jsonl"]);
    run.fails_with(1).says("out ***").says("err ***").says("check ***").never_says(SECRET);
    w.run(&["log", "T1"]).success().says("out ***").never_says(SECRET);
    w.run(&["runs", "--format", "markdown"]).success().never_says(SECRET);
    let encoded = "aHVudGVyMmh1bnRlcjI";
    for text in [SECRET, encoded] {
        assert_eq!(w.tree().holding(text.as_bytes()), [""; 0]);
    }
}

#[test]
fn a_result_that_holds_a_secrets_value_fails_and_is_never_stored() {
    for run in [
        "echo key=$TOKEN > o",
        "ln -s $TOKEN o",
        "rm -rf o; mkdir o; touch o/$TOKEN",
        "rm -rf o; mkdir o; mkdir o/$TOKEN",
    ] {
        let w = World::new(&format!(
            "tasks: {{ T1: {{ inputs: [], secrets: [TOKEN], outputs: [o], run: '{run}' }} }}"
        ))
        .env("TOKEN", SECRET);
        w.run(&["build"]).fails_with(1).says("holds the value of a secret").never_says(SECRET);
        let tree = w.tree();
        assert_eq!(tree.holding(SECRET.as_bytes()), [""; 0], "{run}");
        assert!(!tree.files().iter().any(|path| path.contains(SECRET)), "{run}");
    }
}

#[test]
fn a_failed_task_with_a_secret_in_its_outputs_leaves_it_nowhere() {
    let w = World::new(
        "tasks: { T1: { inputs: [], secrets: [TOKEN], outputs: [o], run: 'echo $TOKEN > o; exit 1' } }",
    )
    .env("TOKEN", SECRET);
    w.build(&[]).fails_with(1);
    assert_eq!(w.tree().holding(SECRET.as_bytes()), [""; 0]);
}

#[test]
fn an_empty_secret_is_set() {
    let w = World::new("tasks: { T1: { inputs: [], secrets: [TOKEN], outputs: [o], run: echo x > o } }")
        .env("TOKEN", "");
    w.build(&[]).success();
}

#[test]
fn a_missing_tool_is_an_error_at_build_and_a_warning_at_validate() {
    let w = World::new(
        "tasks: { T1: { inputs: [], tools: [no-such-tool], run: 'true' }, T2: { inputs: [], run: 'true' } }",
    );
    w.run(&["validate"]).success().says("no-such-tool");
    w.build(&[]).fails_with(2).says("no-such-tool").diagnostics();
    w.build(&["T2"]).success();
}

#[test]
fn a_tool_command_that_fails_is_an_error_at_build() {
    let w = World::new("tasks: { T1: { inputs: [], tools: [{ run: 'exit 3' }], run: 'true' } }");
    w.build(&[]).fails_with(2).says("exit 3");
}

#[test]
fn a_task_runs_in_its_folder_and_paths_stay_the_manifests() {
    let w = World::new(
        "tasks: { T1: { dir: sub/deep, inputs: [a], outputs: [out/o], run: 'pwd; cp ${inputs} ${outputs}' } }",
    );
    w.folder("sub/deep").file("a", "1").build(&[]).success();
    assert_eq!(w.read("out/o"), "1");
    assert_eq!(printed(&w).trim(), w.path("sub/deep").to_str().unwrap());
}

#[test]
fn a_folder_that_is_not_there_fails_the_task() {
    let w = World::new("tasks: { T1: { dir: nowhere, inputs: [], run: 'true' } }");
    w.run(&["build"]).fails_with(1).says("nowhere");
}

#[test]
fn variables_of_the_manifest_are_filled_in_and_all_else_is_the_shells() {
    let w = World::new(
        "
vars: { what: hello }
tasks:
  T1:
    title: A title
    inputs: []
    env: { WHO: world }
    outputs: [o]
    run: |
      x=1
      echo \"${vars.what} ${env.WHO} ${task.id} ${task.title} $x ${x} ${x:-2} $(echo 3)\" > ${outputs}
      echo '$${vars.what} $$ $HOME ${HOME}' >> ${outputs}
",
    );
    w.build(&[]).success();
    assert_eq!(w.read("o"), "hello world T1 A title 1 1 1 3\n${vars.what} $$ $HOME ${HOME}\n");
}

#[test]
fn a_timeout_stops_the_task_and_all_that_it_started() {
    let w = World::new("tasks: { T1: { timeout: 1s, inputs: [], run: 'sleep 1000 & echo $! > pid; wait' } }");
    w.run(&["build"]).fails_with(1).says("timeout of 1");
    assert!(!crate::support::is_alive(&w.read("pid")));
}

#[test]
fn a_silent_task_is_stopped_as_stalled_and_a_chatty_one_is_not() {
    let w = World::new(
        "
tasks:
  silent: { stall: 1s, inputs: [], run: sleep 1000 }
  chatty: { stall: 1s, inputs: [], run: 'for i in 1 2 3 4 5 6; do echo $i; sleep 0.3; done' }
  writing: { stall: 1s, inputs: [], outputs: [o], run: 'for i in 1 2 3 4 5 6; do echo $i >> o; sleep 0.3; done' }
",
    );
    let run = w.build(&["-k", "-j", "3"]);
    run.fails_with(1).failed(&["silent"]).ran(&["chatty", "writing"]).says("stall");
}

#[test]
fn retries_run_the_task_again_until_it_succeeds() {
    let w = World::new(
        "tasks: { T1: { retries: 2, inputs: [], outputs: [o], run: 'echo x >> tries; test $(wc -l < tries) = 3; touch o' } }",
    );
    w.manifest(
        &w.read("conductor.yaml")
            .replace("conductor: 1\n", "")
            .replace("retries: 2", "retries: { max: 2, backoff: 1ms }"),
    );
    w.build(&["--events", "e"]).success().ran(&["T1"]);
    let events = w.read("e");
    assert_eq!(events.matches("\"task_retry\"").count(), 2);
    assert!(events.contains("\"attempt\":3"));
}

#[test]
fn retries_end_and_the_task_fails() {
    let w = World::new(
        "tasks: { T1: { retries: { max: 2, backoff: 1ms }, inputs: [], run: 'echo x >> tries; exit 1' } }",
    );
    w.build(&[]).fails_with(1).failed(&["T1"]);
    assert_eq!(w.read("tries").lines().count(), 3);
}

#[test]
fn a_back_off_doubles_and_holds_no_slot() {
    let w = World::new(
        "
tasks:
  flaky: { effort: 9h, retries: { max: 1, backoff: 3s }, inputs: [], run: 'if [ ! -e other ]; then touch tried; exit 1; fi' }
  other: { inputs: [], run: 'test -e tried; touch other' }
",
    );
    let run: Run = w.build(&["-j", "1"]);
    run.success().ran(&["flaky", "other"]);
    let w = World::new("tasks: { T1: { retries: { max: 3, backoff: 5ms }, inputs: [], run: exit 1 } }");
    w.build(&["--events", "e"]).fails_with(1);
    let waits: Vec<u64> = w
        .read("e")
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["wait_ms"].as_u64())
        .collect();
    assert_eq!(waits, [5, 10, 20]);
}

/// Tasks that fail if two of them run at once.
fn alone(keys: &str) -> String {
    let mut manifest = "pools: { db: 1, two: 2 }\ntasks:\n".to_owned();
    for number in 0..6 {
        let task = format!("{{ {keys}, inputs: [], run: 'mkdir lock; sleep 0.05; rmdir lock' }}");
        writeln!(manifest, "  T{number}: {task}").unwrap();
    }
    manifest
}

#[test]
fn one_job_runs_one_task_at_a_time() {
    World::new(&alone("tags: []")).build(&["-j", "1"]).success();
}

#[test]
fn a_pool_of_one_runs_one_task_at_a_time() {
    World::new(&alone("pool: db")).build(&["-j", "6"]).success();
}

#[test]
fn weights_count_against_jobs_and_pools() {
    World::new(&alone("weight: 2")).build(&["-j", "3"]).success();
    World::new(&alone("pool: two, weight: 2")).build(&["-j", "6"]).success();
    let run = World::new(&alone("weight: 9")).run(&["build", "-j", "2"]);
    run.success().says("weighs 9");
}

#[test]
fn two_jobs_run_two_tasks_at_once() {
    let w = World::new(
        "
tasks:
  T1: { timeout: 60s, inputs: [], run: 'touch one; while [ ! -e two ]; do sleep 0.02; done' }
  T2: { timeout: 60s, inputs: [], run: 'touch two; while [ ! -e one ]; do sleep 0.02; done' }
",
    );
    w.build(&["-j", "2"]).success().ran(&["T1", "T2"]);
}

/// A manifest's tasks, a line for each number.
fn many(numbers: std::ops::Range<usize>, task: impl Fn(usize) -> String) -> String {
    numbers.map(|number| format!("  {}\n", task(number))).collect::<Vec<_>>().concat()
}

#[test]
fn no_more_tasks_run_at_once_than_there_are_jobs_however_short_they_are() {
    let tasks = many(0..120, |task| {
        let weight = if task % 40 == 7 { ", weight: 2" } else { "" };
        let run = "mkdir ../slots/1 2>/dev/null && s=1 || { mkdir ../slots/2 && s=2; } && rmdir ../slots/$s";
        format!("T{task}: {{ inputs: []{weight}, run: '{run}; : {task}' }}")
    });
    let w = World::new(&format!("tasks:\n{tasks}"));
    w.folder("../slots").build(&["-j", "2"]).success();
}

#[test]
fn after_a_failure_no_task_starts_that_was_next() {
    let tasks = many(0..60, |task| {
        let (effort, end) = (100 - task, if task == 30 { "exit 1" } else { "true" });
        format!("T{task:02}: {{ inputs: [], effort: {effort}m, run: 'echo {task} >> ../order; {end}' }}")
    });
    let w = World::new(&format!("tasks:\n{tasks}"));
    let order = || w.read("../order").lines().map(|line| line.parse().unwrap()).collect::<Vec<usize>>();
    let first: Vec<usize> = (0..=30).collect();
    w.build(&["-j", "1"]).fails_with(1);
    assert_eq!(order(), first);
    w.build(&["-j", "1", "-k"]).fails_with(1);
    let rest: Vec<usize> = (30..60).collect();
    assert_eq!(order(), [first, rest].concat(), "what was held back goes on, in its order");
}

#[test]
fn after_a_failure_that_only_the_whole_build_can_see_no_task_starts_either() {
    let w = World::new(
        "
tasks:
  A: { effort: 3h, inputs: [], outputs: [out], run: 'mkdir out; echo 1 > out/x' }
  B: { effort: 2h, inputs: [], run: touch ../b }
  R: { effort: 1h, inputs: ['**/x'], outputs: [r], run: touch r }
",
    );
    w.build(&["-j", "1"]).fails_with(1).are("failed", &["A"]).are("skipped", &["B", "R"]);
    assert!(!w.path("../b").exists());
}

#[test]
fn a_retry_is_not_overtaken_by_what_is_less_urgent() {
    let urgent = "  A: { effort: 3h, inputs: [], retries: { max: 1, backoff: 0ms }, run: 'echo A >> ../order; mkdir ../once || exit 0; exit 1' }
  A2: { effort: 3h, needs: [A], inputs: [], run: echo A2 >> ../order }
";
    let others = many(0..12, |task| {
        format!("B{task}: {{ effort: 1m, inputs: [], run: 'echo B >> ../order; : {task}' }}")
    });
    let w = World::new(&format!("tasks:\n{urgent}{others}"));
    w.build(&["-j", "1"]).success();
    assert_eq!(w.read("../order"), format!("A\nA\nA2\n{}", "B\n".repeat(12)));
}

#[test]
fn the_longest_way_goes_first() {
    let w = World::new(
        "
tasks:
  short: { effort: 1m, inputs: [], run: echo short >> order }
  long: { effort: 1h, inputs: [], run: echo long >> order }
  head: { effort: 1m, inputs: [], outputs: [h], run: echo head >> order; touch h }
  tail: { effort: 2h, inputs: [h], run: echo tail >> order }
",
    );
    w.build(&["-j", "1"]).success();
    assert_eq!(w.read("order"), "head\ntail\nlong\nshort\n");
}

#[test]
fn a_task_that_prints_much_is_logged_whole() {
    let w = World::new(
        "tasks: { T1: { inputs: [], run: 'head -c 3000000 /dev/zero | tr \"\\0\" x | fold -w 100; echo end' } }",
    );
    w.build(&[]).success();
    let text = printed(&w);
    assert_eq!(text.len(), 3_000_000 + 29_999 + "\nend\n".len() - 1, "{}", &text[text.len() - 20..]);
    assert!(text.ends_with("xend\n") || text.ends_with("x\nend\n"));
}

#[test]
fn a_task_that_prints_bytes_that_are_no_text_does_no_harm() {
    let w = World::new("tasks: { T1: { inputs: [], run: 'printf \"\\377\\000\\033[31m\\r\\n\"; exit 1' } }");
    w.build(&[]).fails_with(1).json();
    w.run(&["build"]).fails_with(1).never_says("\u{1b}[31m");
    w.json("log", &["T1"]).success().json();
}

#[test]
fn a_script_longer_than_one_argument_may_be_runs() {
    let script = "      echo x >> o\n".repeat(20_000);
    let w = World::new(&format!("tasks:\n  T1:\n    inputs: []\n    outputs: [o]\n    run: |\n{script}"));
    w.build(&[]).success();
    assert_eq!(w.read("o").lines().count(), 20_000);
}

#[test]
fn more_inputs_than_one_argument_list_may_hold_are_a_failure_with_a_cause_or_work() {
    let w = World::new("tasks: { T1: { inputs: [\"in/*\"], outputs: [o], run: 'ls in | wc -l > o' } }");
    let long = "x".repeat(200);
    for number in 0..2000 {
        w.file(format!("in/{long}{number}"), "");
    }
    w.build(&[]).success();
    assert_eq!(w.read("o").trim(), "2000");
}

#[test]
fn a_task_must_not_build_the_workspace_that_runs_it() {
    let w = World::new(&format!(
        "tasks: {{ T1: {{ inputs: [], run: '{} build T2' }}, T2: {{ inputs: [], run: \"true\" }} }}",
        env!("CARGO_BIN_EXE_conductor")
    ));
    w.run(&["build", "T1"]).fails_with(1).says("a task of a build that holds this very workspace");
}

#[test]
fn a_task_may_build_another_workspace() {
    let w = World::new(&format!(
        "tasks: {{ T1: {{ inputs: [], run: '{} -C other build' }} }}",
        env!("CARGO_BIN_EXE_conductor")
    ));
    w.file(
        "other/conductor.yaml",
        "conductor: 1\ntasks: { X: { inputs: [], outputs: [x], run: touch x } }\n",
    );
    w.build(&[]).success();
    assert!(w.has("other/x"));
}

#[test]
fn a_log_is_there_while_the_task_runs() {
    let w = World::new(&format!("tasks: {{ T1: {{ inputs: [], run: 'echo early; {WAIT}; echo late' }} }}"));
    let build = w.start(&[]);
    w.wait_for("started");
    crate::support::wait_until("the log has the first line", || {
        w.run(&["log", "T1"]).stdout.contains("early")
    });
    w.file("go", "");
    build.wait().success();
    assert_eq!(printed(&w), "early\nlate\n");
}
