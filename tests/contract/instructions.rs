//! Instructions of agents that cannot be read: named before anything starts or is paid for.

use serde_json::Value;

use crate::support::World;

/// A workspace whose agent leaves `started` behind, and whose T1 has its instructions at `file`.
fn world(file: &str, more: &str) -> World {
    let w = World::empty();
    w.program("bin/agent", "#!/bin/sh\ncat > /dev/null\ntouch started\necho done > out\n");
    let bin = w.path("bin/agent");
    w.file(
        "conductor.yaml",
        format!(
            "conductor: 1
agents: {{ command: {{ bin: {} }} }}
tasks:
  T1: {{ agent: command, instructions: {{ file: {file} }}, inputs: [], outputs: [out], isolation: none }}
  T2: {{ inputs: [], outputs: [two], run: touch two }}
{more}",
            bin.display()
        ),
    );
    w
}

/// Every command that concerns T1 ends with 2 and this message, and nothing has started.
#[track_caller]
fn refused(w: &World, message: &str, line: u64) -> Value {
    let commands: [(&str, &[&str]); 6] = [
        ("validate", &[]),
        ("build", &[]),
        ("build", &["--dry-run"]),
        ("build", &["--frozen"]),
        ("check", &[]),
        ("why", &["T1"]),
    ];
    let mut help = Value::Null;
    for (command, args) in commands {
        let run = w.json(command, args);
        let diagnostics = run.fails_with(2).diagnostics();
        assert_eq!(diagnostics.len(), 1, "{command}: {diagnostics:?}");
        let one = &diagnostics[0];
        assert_eq!(one["code"], "build::no_instructions");
        assert_eq!(one["message"], message, "{command}");
        assert_eq!(one["labels"][0]["line"], line, "{command}");
        help = one["help"].clone();
    }
    assert!(!w.has("started") && !w.has("out") && !w.has("two"));
    help
}

#[test]
fn instructions_that_are_not_there_are_named_before_anything_starts() {
    let w = world("prompts/T1.md", "");
    let help = refused(&w, "prompts/T1.md, the instructions of T1, does not exist", 4);
    assert!(help.as_str().unwrap().contains("write the file"), "{help}");
    w.file("prompts/TT1.md", "Do it.");
    let help = refused(&w, "prompts/T1.md, the instructions of T1, does not exist", 4);
    assert_eq!(help, "did you mean `prompts/TT1.md`?");
    // What is out of scope has no say.
    w.build(&["T2"]).success().ran(&["T2"]);
    w.check(&["T2"]).success();
    w.file("prompts/T1.md", "Do it.").build(&[]).success().ran(&["T1"]);
    w.check(&[]).success();
    // What was there once is missed too.
    w.remove("started").remove("prompts/T1.md");
    assert_eq!(w.build(&[]).fails_with(2).diagnostics()[0]["code"], "build::no_instructions");
    assert!(!w.has("started"));
}

#[test]
fn instructions_that_are_no_file_are_named_with_what_they_are() {
    let w = world("prompts", "");
    w.folder("prompts");
    refused(&w, "prompts, the instructions of T1, is a folder", 4);
    w.file("prompts/T1.md", "Do it.");
    refused(&w, "prompts, the instructions of T1, is a folder", 4);
    let w = world("T1.md", "");
    w.link("T1.md", "nowhere");
    refused(&w, "T1.md, the instructions of T1, is a link that leads nowhere", 4);
    w.remove("T1.md").folder("prompts").link("T1.md", "prompts");
    refused(&w, "T1.md, the instructions of T1, is a link to a folder", 4);
    w.remove("T1.md");
    rustix::fs::mkfifoat(rustix::fs::CWD, w.path("T1.md"), rustix::fs::Mode::RWXU).unwrap();
    refused(&w, "T1.md, the instructions of T1, is no file", 4);
    w.remove("T1.md").file("prompts/one.md", "Do it.").link("T1.md", "prompts/one.md");
    w.build(&[]).success().ran(&["T1", "T2"]);
}

#[test]
fn instructions_that_another_task_makes_are_waited_for() {
    let w = world("made/T1.md", "  T3: { inputs: [], outputs: [made/], run: echo do it > made/T1.md }\n");
    w.run(&["validate"]).success();
    w.check(&[]).fails_with(3);
    w.build(&[]).success().ran(&["T1", "T2", "T3"]);
    w.build(&[]).runs_nothing();
}

#[test]
fn instances_of_a_matrix_share_what_is_wrong_with_their_instructions() {
    let more = "  M:
    { agent: command, matrix: { n: [1, 2, 3] }, instructions: { file: m.md }, inputs: [], outputs: ['m${matrix.n}'], isolation: none }
";
    let w = world("T1.md", more);
    w.file("T1.md", "Do it.");
    let diagnostics = w.json("validate", &[]).fails_with(2).diagnostics();
    assert_eq!(diagnostics.len(), 1, "{diagnostics:?}");
}
