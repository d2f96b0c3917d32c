//! `check --format github|sarif|junit`: what each platform takes, valid by its own rules.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

use crate::support::{Run, World};

const MANIFEST: &str = "
tasks:
  A: { inputs: [x], outputs: [a], run: cp x a }
  B: { inputs: [], needs: [A], outputs: [b], run: cp a b }
  C: { inputs: [c.txt], outputs: [c], run: cp c.txt c }
  E: { inputs: [], always: true, outputs: [e], run: echo e > e }
";

/// A workspace in the folder `work` of a repository, built, with one input changed.
fn world() -> World {
    let w = World::new(MANIFEST);
    w.file("x", "1").file("c.txt", "1");
    w.build(&[]).success();
    w
}

fn formats() -> [&'static str; 5] {
    ["human", "json", "github", "sarif", "junit"]
}

fn check(w: &World, format: &str) -> Run {
    w.run(&["check", "--format", format])
}

#[track_caller]
fn sarif(run: &Run) -> Value {
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schemas/sarif-2.1.0.json");
    // Two patterns there hold a bracket that not every reader of regular expressions takes for itself.
    let text = std::fs::read_to_string(schema).unwrap().replace("-[a-zA-Z]{2}]?$", "-[a-zA-Z]{2}\\\\]?$");
    let schema: Value = serde_json::from_str(&text).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let document = run.json();
    let errors: Vec<String> = validator
        .iter_errors(&document)
        .map(|error| format!("{error} at {}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}\n{run}");
    document
}

/// Elements with their attributes as `name a=1 b=2`, where the whole is one well-formed document.
#[track_caller]
fn xml(run: &Run) -> Vec<String> {
    use quick_xml::events::Event;
    let mut reader = quick_xml::Reader::from_str(&run.stdout);
    reader.config_mut().check_end_names = true;
    let (mut found, mut depth) = (Vec::new(), 0);
    loop {
        let event = reader.read_event();
        assert!(event.is_ok(), "{event:?}: {run}");
        let event = event.unwrap();
        depth += match &event {
            Event::Start(_) => 1,
            Event::End(_) => -1,
            _ => 0,
        };
        if let Event::Start(tag) | Event::Empty(tag) = &event {
            let mut text = tag.name().as_ref().to_owned();
            for attribute in tag.attributes() {
                let attribute = attribute.unwrap();
                let _ = write!(text, " {}={}", attribute.key.as_ref(), attribute.value);
            }
            found.push(text);
        }
        if matches!(event, Event::Eof) {
            assert_eq!(depth, 0, "{run}");
            return found;
        }
    }
}

#[test]
fn the_exit_code_is_the_same_in_every_format() {
    let w = world();
    for format in formats() {
        check(&w, format).success();
    }
    w.file("x", "2");
    for format in formats() {
        check(&w, format).fails_with(3);
    }
    w.file("c", "by hand");
    for format in formats() {
        w.run(&["check", "--outputs", "--format", format]).fails_with(4);
    }
    w.file("conductor.lock", "garbage");
    for format in formats() {
        check(&w, format).fails_with(4);
    }
    w.manifest("tasks: 1\n");
    for format in formats() {
        check(&w, format).fails_with(2);
    }
}

#[test]
fn github_gets_annotations_with_file_and_line_of_the_manifest_and_a_step_summary() {
    let mut w = world();
    w.set_env("GITHUB_STEP_SUMMARY", &w.path("summary.md").display().to_string());
    w.set_env("GITHUB_WORKSPACE", &w.root().parent().unwrap().display().to_string());
    w.file("summary.md", "of an earlier command\n").file("x", "2");
    let run = check(&w, "github");
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert!(
        lines[0].starts_with("::error file=work/conductor.yaml,line=4,col=17,title=A is stale::x changed ("),
        "{run}"
    );
    assert_eq!(lines[1], "::notice file=work/conductor.yaml,line=5,col=3,title=B is blocked::it waits for A");
    assert_eq!(lines[2..], ["4 tasks: 1 fresh, 1 stale, 1 blocked"], "{run}");
    let summary = w.read("summary.md");
    assert!(
        summary.starts_with("of an earlier command\n### conductor check: something is stale\n"),
        "{summary}"
    );
    assert!(summary.contains("Hits: 1 of 4 tasks; saved: "), "{summary}");
    assert!(summary.contains("| A | stale | x changed ("), "{summary}");
    assert!(summary.contains("| B | blocked | waits for A |"), "{summary}");
    // Other formats leave the summary alone.
    check(&w, "sarif");
    assert_eq!(w.read("summary.md"), summary);
}

#[test]
fn a_manifest_that_does_not_hold_is_told_in_every_format() {
    let w = World::new("tasks:\n  A: { inputs: [x], outputs: [a], run: cp x a, retires: 1 }\n");
    let run = check(&w, "github");
    assert!(run.fails_with(2).stdout.contains("::error file=conductor.yaml,line=3,col="), "{run}");
    let document = sarif(&check(&w, "sarif"));
    let result = &document["runs"][0]["results"][0];
    assert_eq!(result["ruleId"], "manifest_unknown_key", "{document:#}");
    assert_eq!(result["locations"][0]["physicalLocation"]["region"]["startLine"], 3);
    let elements = xml(&check(&w, "junit"));
    assert!(
        elements.iter().any(|element| element.starts_with("error type=manifest::unknown_key")),
        "{elements:#?}"
    );
}

#[test]
fn sarif_is_valid_by_its_schema_and_says_where_the_cause_comes_from() {
    let w = world();
    assert_eq!(sarif(&check(&w, "sarif"))["runs"][0]["results"], serde_json::json!([]));
    w.file("x", "2").remove("c").file("conductor.lock", "garbage");
    let document = sarif(&check(&w, "sarif"));
    let results = document["runs"][0]["results"].as_array().unwrap();
    let told: Vec<(&str, &str, u64)> = results
        .iter()
        .map(|result| {
            let place = &result["locations"][0]["physicalLocation"];
            let line = place["region"]["startLine"].as_u64().unwrap();
            (result["ruleId"].as_str().unwrap(), place["artifactLocation"]["uri"].as_str().unwrap(), line)
        })
        .collect();
    let expected = [
        ("input_changed", "conductor.yaml", 4),
        ("blocked", "conductor.yaml", 5),
        ("output_missing", "conductor.yaml", 6),
        ("lock_damaged", "conductor.lock", 1),
    ];
    assert_eq!(told, expected, "{document:#}");
    let related = &results[0]["relatedLocations"][0]["physicalLocation"]["artifactLocation"]["uri"];
    assert_eq!(related, "x");
}

#[test]
fn junit_is_well_formed_and_has_a_case_for_every_task() {
    let w = world();
    w.file("x", "2");
    let elements = xml(&check(&w, "junit"));
    assert_eq!(elements[0], "testsuites tests=4 failures=2 errors=0 skipped=1");
    let cases = elements.iter().filter(|element| element.starts_with("testcase ")).count();
    assert_eq!(cases, 4, "{elements:#?}");
    assert!(elements.contains(&"failure type=blocked message=waits for A".to_owned()), "{elements:#?}");
    assert!(elements.contains(&"skipped message=runs each time".to_owned()), "{elements:#?}");
}

#[test]
fn names_that_mean_harm_change_no_format() {
    let w = World::new(
        "tasks:\n  A: { inputs: [\"in/*\"], outputs: [a], run: \"ls in > a\", title: \"<b>::error::%0A\" }\n",
    );
    w.file("in/x", "1");
    w.build(&[]).success();
    w.file("in/<a>&\"'::error::x\n%0A]]>\u{1b}[31m", "1").file(std::path::Path::new("in/y"), "1");
    let run = check(&w, "github");
    assert_eq!(run.fails_with(3).stdout.lines().count(), 2, "{run}");
    sarif(&check(&w, "sarif"));
    xml(&check(&w, "junit"));
}

#[test]
fn nothing_is_written_in_any_format() {
    let w = world();
    w.file("x", "2").file("conductor.lock", "garbage");
    for format in formats() {
        let before = w.tree();
        w.run(&["check", "--outputs", "--format", format]).fails_with(4);
        before.is_unchanged(&w.tree(), format);
    }
}
