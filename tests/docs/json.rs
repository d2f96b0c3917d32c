//! Every JSON document that a command prints fits its schema in `docs/schemas/`.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use crate::{Place, copy, files, read, root};

/// A schema with the shared definitions put into it.
fn schema(name: &str) -> Value {
    let text = read(&format!("docs/schemas/{name}.json")).replace("common.json#/", "#/");
    let mut schema: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
    let common: Value =
        serde_json::from_str(&read("docs/schemas/common.json").replace("common.json#/", "#/")).unwrap();
    schema["$defs"] = common["$defs"].clone();
    schema
}

#[track_caller]
fn check(name: &str, document: &Value) {
    let validator = jsonschema::validator_for(&schema(name)).unwrap();
    let errors: Vec<String> = validator
        .iter_errors(document)
        .map(|error| format!("{error} at {}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{name}: {}\n{document:#}", errors.join("\n"));
}

/// Runs a command and holds what it prints against a schema.
#[track_caller]
fn document(place: &Place, name: &str, exit: i32, args: &str) -> Value {
    let output = place.command("conductor").args(args.split(' ')).output().unwrap();
    assert_eq!(output.status.code(), Some(exit), "{args}: {}", String::from_utf8_lossy(&output.stderr));
    let document = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{args}: {error}"));
    check(name, &document);
    document
}

/// A workspace with the big example, not built.
fn workspace() -> Place {
    let place = Place::new();
    copy(&root().join("examples/phase5_3"), &place.work());
    place
}

fn edit(folder: &Path, file: &str, text: &str) {
    std::fs::write(folder.join(file), text).unwrap();
}

#[test]
fn every_document_fits_its_schema() {
    let place = workspace();
    document(&place, "validate", 0, "validate --format json");
    document(&place, "diagnostics", 2, "cancel --format json");
    let built = document(&place, "build", 0, "build --format json --events events.jsonl --trace trace.json");
    assert_eq!(built["summary"]["ran"], 27);
    let events = std::fs::read_to_string(place.work().join("events.jsonl")).unwrap();
    for line in events.lines() {
        check("event", &serde_json::from_str(line).unwrap());
    }
    let trace: Value =
        serde_json::from_slice(&std::fs::read(place.work().join("trace.json")).unwrap()).unwrap();
    assert!(trace["traceEvents"].is_array() || trace.is_array(), "Chrome's trace format");
    document(&place, "build", 0, "build --format json");
    document(&place, "check", 0, "check --format json");
    let lock = document(&place, "lock", 0, "lock --format json");
    assert_eq!((&lock["results"], &lock["changed"]), (&json!(27), &json!(true)));
    edit(&place.work(), "conductor.lock", "garbage\n");
    let checked = document(&place, "check", 4, "check --format json");
    assert_eq!(checked["diagnostics"][0]["code"], "lock::damaged");
    document(&place, "lock", 0, "lock --format json");
    document(&place, "list", 0, "list --format json");
    document(&place, "why", 0, "why T21 --format json");
    let run = built["run"].as_str().unwrap();
    let compared = document(&place, "why", 0, &format!("why T21 --vs {run} --format json"));
    assert_eq!(compared["vs"]["status"], "ran");
    document(&place, "graph", 0, "graph --format json");
    document(&place, "runs", 0, "runs --format json");
    document(&place, "logs", 0, "log --format json");
    document(&place, "log", 0, "log T22 --format json");
    document(&place, "clean", 0, "clean --dry-run --format json T3");
}

#[test]
fn documents_about_what_is_stale_or_failed_fit_their_schemas() {
    let place = workspace();
    let built = document(&place, "build", 0, "build --format json");
    edit(&place.work(), "docs/breaker.txt", "threshold 4\n");
    std::fs::remove_file(place.work().join("build/ui/theme.css")).unwrap();
    let checked = document(&place, "check", 3, "check --format json");
    assert_eq!(checked["fresh"], false);
    document(&place, "dry_run", 0, "build --dry-run --format json");
    document(&place, "dry_run", 3, "build --frozen --format json");
    document(&place, "why", 0, "why T5 --format json");
    let compared =
        document(&place, "why", 0, &format!("why T5 --vs {} --format json", built["run"].as_str().unwrap()));
    assert_ne!(compared["vs"]["differences"], serde_json::json!([]));
    document(&place, "why", 0, "why T21 --format json");
    document(&place, "list", 0, "list --format json");
    let failed = document(&place, "build", 1, "build --keep-going --format json --events events.jsonl");
    assert_eq!(failed["result"], "failed");
    let events = std::fs::read_to_string(place.work().join("events.jsonl")).unwrap();
    for line in events.lines() {
        check("event", &serde_json::from_str(line).unwrap());
    }
    document(&place, "diagnostics", 2, "build nothing-of-that-name --format json");
    edit(&place.work(), "conductor.yaml", "conductor: 1\ntasks: { a: { rnu: x } }\n");
    let wrong = document(&place, "diagnostics", 2, "check --format json");
    assert!(wrong["diagnostics"].as_array().is_some_and(|found| found.len() > 1));
}

#[test]
fn the_document_of_a_merge_fits_its_schema() {
    let place = Place::new();
    let manifest =
        "conductor: 1\ntasks: { A: { isolation: worktree, inputs: [], outputs: [o], run: echo > o } }\n";
    edit(&place.work(), "conductor.yaml", manifest);
    let git = |args: &[&str]| {
        let git = std::process::Command::new("git").args(args).current_dir(place.work()).output().unwrap();
        assert!(git.status.success(), "{}", String::from_utf8_lossy(&git.stderr));
    };
    git(&["init", "-q"]);
    git(&["config", "user.name", "P"]);
    git(&["config", "user.email", "p@localhost"]);
    git(&["add", "conductor.yaml"]);
    git(&["commit", "-q", "-m", "first"]);
    document(&place, "build", 0, "build --format json");
    let merged = document(&place, "merge", 0, "merge --format json");
    assert_eq!(merged["merged"], json!(["conductor/A"]));
    assert_eq!(document(&place, "merge", 0, "merge A --format json")["commit"], json!(null));
}

#[test]
fn documents_of_what_a_person_decides_fit_their_schemas() {
    let place = Place::new();
    let manifest = "conductor: 1
tasks:
  A: { approve: true, inputs: [a], outputs: [o], run: cp a o }
  S: { isolation: sandbox, inputs: [a], outputs: [p], run: cp a p, rollback: echo back }
";
    edit(&place.work(), "conductor.yaml", manifest);
    edit(&place.work(), "a", "1");
    edit(&place.work(), "p", "mine");
    document(&place, "build", 4, "build --keep-going --format json");
    let listed = document(&place, "list", 0, "list --format json");
    assert_eq!(
        (&listed["tasks"]["A"]["waits_for"], &listed["tasks"]["S"]["waits_for"]),
        (&json!("approval"), &json!("resolve"))
    );
    document(&place, "decision", 0, "reject A --note no --format json");
    document(&place, "build", 4, "build --keep-going --format json");
    document(&place, "decision", 0, "approve A --note yes --format json");
    document(&place, "why", 0, "why A --format json");
    document(&place, "decision", 0, "resolve p --theirs --format json");
    document(&place, "diagnostics", 2, "resolve p --mine --format json");
    document(&place, "diagnostics", 2, "approve A --format json");
    document(&place, "rollback", 0, "rollback S --dry-run --format json");
    let rolled = document(&place, "rollback", 0, "rollback S --format json");
    assert_eq!(rolled["steps"][0]["command"], "echo back");
    document(&place, "diagnostics", 2, "rollback S --format json");
    document(&place, "clean", 0, "clean --format json");
}

#[test]
fn documents_about_the_cache_fit_their_schemas() {
    let place = Place::new();
    edit(
        &place.work(),
        "conductor.yaml",
        "conductor: 1\ntasks: { A: { inputs: [a], outputs: [o], run: cp a o } }\n",
    );
    edit(&place.work(), "a", "1");
    document(&place, "cache_stat", 0, "cache stat --format json");
    document(&place, "build", 0, "build --format json");
    std::fs::remove_file(place.work().join("o")).unwrap();
    assert_eq!(document(&place, "why", 0, "why A --format json")["in_cache"], true);
    let dry = document(&place, "dry_run", 0, "build --dry-run --format json");
    assert_eq!(dry["tasks"]["A"]["in_cache"], true);
    let built = document(&place, "build", 0, "build --format json --events events.jsonl");
    assert_eq!(built["summary"]["cached"], 1);
    let events = std::fs::read_to_string(place.work().join("events.jsonl")).unwrap();
    for line in events.lines() {
        check("event", &serde_json::from_str(line).unwrap());
    }
    assert_eq!(document(&place, "cache_stat", 0, "cache stat --format json")["entries"], 1);
    document(&place, "cache_verify", 0, "cache verify --format json");
    let actions = files_below(&place.work().join(".conductor/cache/v2/actions"));
    std::fs::write(&actions[0], "damage").unwrap();
    let damaged = document(&place, "cache_verify", 4, "cache verify --format json");
    assert_eq!(damaged["damaged"].as_array().unwrap().len(), 1);
    document(&place, "cache_gc", 0, "cache gc --max-age 0s --format json");
    document(&place, "cache_clear", 0, "cache clear --format json");
}

#[test]
fn the_document_about_agents_fits_its_schema() {
    let place = crate::Place::new();
    let manifest = "conductor: 1\nagents:\n  mine: { bin: ./mine.sh, version: [--version] }\n  gone: { bin: no-such-agent-here }\ntasks:\n  T: { agent: mine, instructions: Write it., inputs: [], outputs: [out.txt] }\n";
    edit(&place.work(), "conductor.yaml", manifest);
    let program = place.work().join("mine.sh");
    std::fs::write(&program, "#!/bin/sh\necho mine 1.2.3\n").unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let found = document(&place, "doctor", 0, "doctor --format json");
    let mine = &found["agents"][0];
    assert_eq!(
        (&mine["agent"], &mine["tasks"], &mine["version"]),
        (&json!("mine"), &json!(1), &json!("mine 1.2.3"))
    );
    assert_eq!(mine["login"]["kind"], "unneeded");
    let found = document(&place, "doctor", 1, "doctor mine gone --format json");
    assert_eq!((&found["ready"], &found["agents"][1]["program"]), (&json!(false), &Value::Null));
    document(&place, "diagnostics", 2, "doctor nobody --format json");
}

fn files_below(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

#[test]
fn init_tells_what_it_wrote() {
    document(&Place::new(), "init", 0, "init --format json");
}

#[test]
fn every_kind_of_event_has_a_schema_that_refuses_what_is_not_told() {
    let finished = json!({"v": 1, "t": 3, "event": "planned", "fresh": 1, "candidates": 0});
    check("event", &finished);
    let validator = jsonschema::validator_for(&schema("event")).unwrap();
    assert!(!validator.is_valid(&json!({"v": 1, "t": 3, "event": "planned", "fresh": 1})));
    assert!(!validator.is_valid(&json!({"v": 1, "t": 3, "event": "unheard_of"})));
    let told: BTreeSet<String> = variants("src/model/event.rs", "Event");
    let known = schema("event")["oneOf"].as_array().unwrap().iter().map(event_name).collect();
    assert_eq!(told, known);
}

fn event_name(one: &Value) -> String {
    one["properties"]["event"]["const"].as_str().unwrap().to_owned()
}

/// The variants of an enum of the source, in snake case.
fn variants(file: &str, name: &str) -> BTreeSet<String> {
    let text = read(file);
    let body = text.split(&format!("pub enum {name} {{\n")).nth(1).unwrap().split("\n}").next().unwrap();
    let variant = regex::Regex::new(r"(?m)^    ([A-Z]\w+)[ ,]").unwrap();
    let capital = regex::Regex::new(r"([a-z])([A-Z])").unwrap();
    let snake = |name: &str| capital.replace_all(name, "${1}_$2").to_lowercase();
    variant.captures_iter(body).map(|found| snake(&found[1])).collect()
}

#[test]
fn every_kind_of_reason_is_in_the_schema_and_on_the_page() {
    let kinds = variants("src/model/reason.rs", "ReasonKind");
    let listed = schema("check")["$defs"]["reason"]["properties"]["kind"]["enum"].clone();
    let listed: BTreeSet<String> =
        listed.as_array().unwrap().iter().map(|kind| kind.as_str().unwrap().to_owned()).collect();
    assert_eq!(kinds, listed);
    let page = read("docs/json.md");
    for kind in kinds {
        assert!(page.contains(&format!("| `{kind}` |")), "docs/json.md does not tell {kind}");
    }
}

#[test]
fn every_schema_is_on_the_page() {
    let page = read("docs/json.md");
    for file in files("docs/schemas", "json") {
        let link = file.strip_prefix("docs/").unwrap();
        assert!(page.contains(&format!("({link})")), "docs/json.md does not link to {file}");
    }
}

#[test]
fn documents_of_what_an_edit_affects_and_of_what_differs_fit_their_schemas() {
    let place = Place::new();
    let manifest = "conductor: 1
tasks:
  A: { inputs: [a], outputs: [o], run: 'cp a o; date +%N >> o' }
  B: { inputs: [], outputs: [p], run: 'cp a p' }
";
    edit(&place.work(), "conductor.yaml", manifest);
    edit(&place.work(), "a", "1");
    edit(&place.work(), ".gitignore", "o\np\n");
    for args in [
        &["init", "-q"][..],
        &["add", "."],
        &["-c", "user.name=P", "-c", "user.email=p@localhost", "commit", "-q", "-m", "x"],
    ] {
        assert!(place.command("git").args(args).status().unwrap().success());
    }
    edit(&place.work(), "a", "2");
    let affected = document(&place, "affected", 0, "affected --base HEAD --format json");
    assert_eq!(affected["tasks"], json!(["A"]));
    document(&place, "affected_matrix", 0, "affected --base HEAD --format matrix");
    document(&place, "affected_matrix", 0, "affected --base HEAD --format matrix --shards 2");
    document(&place, "diagnostics", 2, "affected --base nowhere --format json");
    let built = document(&place, "build", 4, "build --verify 100% --format json");
    assert_eq!(built["verified"]["different"]["A"][0]["line"]["number"], 1);
    assert!(built["verified"]["failed"]["B"].is_string());
    assert_eq!(document(&place, "runs", 0, "runs --format json")["runs"][0]["flaky"], json!(["A"]));
    assert!(document(&place, "why", 0, "why A --format json")["flakes"][0]["paths"] == json!(["o"]));
    assert!(document(&place, "list", 0, "list --format json")["tasks"]["A"].is_object());
}
