//! `check`, `list`, `why`, `graph`, `validate`, `--dry-run`, `--frozen`, `runs`, `log`: they leave every byte and
//! every time of the workspace as it was, `.conductor` and its absence included.

use crate::support::World;

const COMMANDS: [&[&str]; 17] = [
    &["check"],
    &["check", "--outputs"],
    &["check", "--format", "json"],
    &["list"],
    &["list", "--format", "json"],
    &["why", "T2"],
    &["why", "T2", "--format", "json"],
    &["graph"],
    &["graph", "--format", "json"],
    &["validate"],
    &["build", "--dry-run"],
    &["build", "-n", "--force"],
    &["build", "--frozen"],
    &["runs"],
    &["runs", "--format", "json"],
    &["log"],
    &["clean", "--dry-run"],
];

fn world() -> World {
    let w = World::new(
        "
tasks:
  T1: { inputs: [\"src/*\"], tools: [{ run: touch tool-ran }], outputs: [d/], run: cp src/* d/ }
  T2: { inputs: [d/x], secrets: [TOKEN], outputs: [o], run: cp d/x o, validate: [{ run: touch checked }] }
",
    );
    w.file("src/x", "1");
    w
}

fn none_writes(w: &World) {
    for args in COMMANDS {
        let before = w.tree();
        let run = w.run(args);
        assert!([0, 2, 3, 4].contains(&run.code), "{run}");
        assert!(!run.stderr.contains("panicked"), "{run}");
        before.is_unchanged(&w.tree(), &args.join(" "));
    }
}

#[test]
fn nothing_is_written_where_nothing_was_built() {
    let w = world();
    none_writes(&w);
    assert!(!w.has(".conductor"));
}

#[test]
fn nothing_is_written_after_a_build_and_after_an_edit() {
    let mut w = world();
    w.set_env("TOKEN", "x");
    w.build(&[]).success();
    w.unset_env("TOKEN");
    none_writes(&w);
    w.file("src/x", "2").file("src/y", "2");
    none_writes(&w);
    w.remove("d").file("o", "by hand");
    none_writes(&w);
}

#[test]
fn a_check_needs_neither_secrets_nor_tools_that_run() {
    let mut w = world();
    w.set_env("TOKEN", "x");
    w.build(&[]).success();
    w.remove("tool-ran").remove("checked");
    w.unset_env("TOKEN");
    w.check(&[]).success();
    w.why("T1").success();
    assert!(!w.has("tool-ran") && !w.has("checked"), "check ran a command");
}

#[test]
fn nothing_is_written_beside_a_damaged_state() {
    let mut w = world();
    w.set_env("TOKEN", "x");
    w.build(&[]).success();
    for file in ["state", "state.log", "plan", "lock", "journal"] {
        if w.has(format!(".conductor/{file}")) {
            w.file(format!(".conductor/{file}"), "garbage");
        }
    }
    none_writes(&w);
}
