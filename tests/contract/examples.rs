//! Each example builds, a second build runs nothing, and an edit runs exactly its cone (the table in its README).

use crate::support::World;

const GATES: [&str; 5] = ["GROUP_A:gate", "GROUP_B:gate", "GROUP_C:gate", "GROUP_D:gate", "GROUP_E:gate"];

fn phase5_3() -> World {
    let w = World::example("phase5_3");
    let run = w.build(&[]);
    let tasks: Vec<String> = (1..=22).map(|number| format!("T{number}")).collect();
    let all: Vec<&str> = tasks.iter().map(String::as_str).chain(GATES).collect();
    run.success().ran(&all);
    w.build(&[]).runs_nothing();
    w
}

#[test]
fn phase5_3_builds_in_worktrees_eight_at_once_and_nothing_is_left_over() {
    let w = World::example("phase5_3");
    w.git(&["init", "-q"]);
    w.git(&["add", "-A"]);
    w.git(&["commit", "-q", "-m", "first"]);
    let build = ["-f", "worktrees.yaml", "build", "-j", "8", "--format", "json"];
    let tasks: Vec<String> = (1..=22).map(|number| format!("T{number}")).collect();
    let all: Vec<&str> = tasks.iter().map(String::as_str).chain(GATES).collect();
    w.run(&build).success().ran(&all).never_says("warning");
    w.run(&build).success().runs_nothing();
    assert_eq!(
        w.read("docs/progress.md"),
        "# Progress\n\nstate: all APIs are in place\n\n- T9: error recovery\n- T10: scheduler\n- T11: webhooks\n- T12: batches\n"
    );
    assert_eq!(w.git_says(&["status", "--short"]), " M docs/glossary.md\n M docs/progress.md");
    assert_eq!(w.git_says(&["worktree", "list"]).lines().count(), 1);
    let branches = w.git_says(&["branch", "--list", "--format", "%(refname:short)", "conductor/*"]);
    let mut wanted: Vec<String> = tasks.iter().map(|task| format!("conductor/{task}")).collect();
    wanted.sort();
    assert_eq!(branches.lines().collect::<Vec<_>>(), wanted);
    assert!(!w.has(".conductor/workspaces"));
    assert_eq!(w.git_says(&["diff", "--name-only", "HEAD", "conductor/T3"]), "build/api/router.sh");
    // A person's line in a shared file: its editors run again on it, and what reads none of it does not.
    let glossary = w.read("docs/glossary.md");
    w.file(
        "docs/glossary.md",
        glossary.replacen("# Glossary\n", "# Glossary\n\nWords of this service.\n", 1),
    );
    w.run(&build).success().ran(&["T1", "T6", "T7"]);
    assert!(w.read("docs/glossary.md").starts_with("# Glossary\n\nWords of this service.\n\n- letter"));
    w.run(&build).success().runs_nothing();
}

/// What ran without the gates, which come on top.
#[track_caller]
fn ran(w: &World, tasks: &[&str]) {
    let run = w.build(&[]);
    let document = run.success().json();
    let all = document["tasks"].as_object().unwrap();
    let mut found: Vec<&str> = all
        .iter()
        .filter(|(id, task)| task["status"] == "ran" && !GATES.contains(&id.as_str()))
        .map(|(id, _)| id.as_str())
        .collect();
    let mut wanted = tasks.to_vec();
    found.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(found, wanted, "{run}");
    w.build(&[]).runs_nothing();
}

fn replace(w: &World, path: &str, from: &str, to: &str) {
    let text = w.read(path);
    assert!(text.contains(from), "{from} is not in {path}");
    w.file(path, text.replacen(from, to, 1));
}

#[test]
fn phase5_3_builds_and_each_edit_runs_its_cone() {
    let w = phase5_3();
    replace(&w, "docs/dead-letters.txt", "50", "40");
    ran(&w, &["T6", "T9", "T12", "T21", "T22"]);
    replace(&w, "templates/dead-letters.sh.in", "", "");
    let template = w.read("templates/dead-letters.sh.in");
    w.file("templates/dead-letters.sh.in", template + "\n# x\n");
    ran(&w, &["T6"]);
    let theme = w.read("docs/theme.txt");
    let colour = theme.split('#').nth(1).map(|rest| format!("#{}", &rest[..6])).unwrap();
    replace(&w, "docs/theme.txt", &colour, "#123456");
    ran(&w, &["T17", "T19"]);
    let layout = w.read("docs/layout.txt");
    let mut lines: Vec<&str> = layout.lines().collect();
    let last = lines.pop().unwrap();
    lines.insert(lines.len() - 1, last);
    w.file("docs/layout.txt", lines.join("\n") + "\n");
    ran(&w, &["T19"]);
    let services = w.read("docs/services.txt");
    w.file("docs/services.txt", format!("# another comment\n{services}"));
    ran(&w, &["T2"]);
}

#[test]
fn phase5_3_a_renamed_argument_checks_the_engines_again_and_does_not_make_them() {
    let w = phase5_3();
    replace(&w, "docs/services.txt", "max base command", "max delay command");
    let run = w.build(&[]);
    let gates: Vec<&str> = GATES.into_iter().filter(|gate| run.task(gate)["status"] == "ran").collect();
    run.success().ran(&[&["T2", "T9", "T10", "T11", "T12"][..], &gates].concat());
    run.checked_again(&["T4", "T5", "T6", "T7", "T8"]);
    w.build(&[]).runs_nothing();
}

#[test]
fn phase5_3_a_breaker_that_opens_too_late_is_found_by_the_integration_tests() {
    let w = phase5_3();
    let answers = w.read("build/integration/answers.txt");
    replace(&w, "docs/breaker.txt", "threshold 3", "threshold 4");
    let run = w.build(&[]);
    run.fails_with(1).failed(&["T21"]);
    assert_eq!(run.task("T5")["status"], "ran");
    assert_eq!(w.read("build/integration/answers.txt"), answers, "the previous answers stay");
    replace(&w, "docs/breaker.txt", "threshold 4", "threshold 3");
    w.build(&[]).success();
    w.build(&[]).runs_nothing();
}

#[test]
fn phase5_3_load_and_a_deleted_output() {
    let w = phase5_3();
    let load = w.read("docs/load.txt");
    let number = load.split(|c: char| !c.is_ascii_digit()).find(|word| !word.is_empty()).unwrap().to_owned();
    let more = (number.parse::<u64>().unwrap() + 1).to_string();
    replace(&w, "docs/load.txt", &number, &more);
    ran(&w, &["T22"]);
    w.remove("build/ui/theme.css");
    ran(&w, &["T17"]);
    w.run(&["runs", "--format", "markdown"]).success().says("T17");
}

#[test]
fn codegen_builds_and_an_edit_that_means_nothing_stops_at_the_generators() {
    let w = World::example("codegen");
    let before: Vec<String> = ["client.sh", "server.sh", "README.md", "transcript.txt"]
        .map(|f| w.read(format!("gen/{f}")))
        .to_vec();
    w.git(&["init", "-q"]).git(&["add", "-A"]).git(&["commit", "-qm", "x"]);
    w.build(&[]).success();
    let after: Vec<String> = ["client.sh", "server.sh", "README.md", "transcript.txt"]
        .map(|f| w.read(format!("gen/{f}")))
        .to_vec();
    assert_eq!(before, after, "what is committed is what is generated");
    assert_eq!(w.conflicts(), [""; 0]);
    w.build(&[]).runs_nothing();
    let spec = w.read("api.spec");
    w.file("api.spec", format!("{spec}\n# a comment\n"));
    w.check(&[]).fails_with(3);
    w.build(&[])
        .success()
        .ran(&["code[part=client]", "code[part=server]", "reference"])
        .fresh(&["roundtrip"]);
    w.file("api.spec", format!("{spec}\ncall count GET /items/count/total\n"));
    w.build(&[]).success().ran(&["code[part=client]", "code[part=server]", "reference", "roundtrip"]);
    w.build(&[]).runs_nothing();
}

#[test]
fn c_project_builds_and_its_headers_count() {
    if !std::process::Command::new("sh")
        .args(["-c", "command -v cc && command -v ar"])
        .output()
        .unwrap()
        .status
        .success()
    {
        eprintln!("SKIPPED: c_project needs cc and ar, which are not here");
        return;
    }
    let w = World::example("c_project");
    let objects = ["object[source=words]", "object[source=table]", "object[source=main]"];
    w.build(&[]).success().ran(&[&objects[..], &["library", "program", "test"]].concat());
    w.build(&[]).runs_nothing();
    let header = w.read("include/table.h");
    w.file("include/table.h", format!("{header}\n/* a comment */\n"));
    w.build(&[]).success().ran(&["object[source=table]", "object[source=main]"]);
    w.build(&[]).runs_nothing();
    let source = w.read("src/words.c");
    w.file("src/words.c", format!("{source}\n/* a comment */\n"));
    w.build(&[]).success().ran(&["object[source=words]"]);
    let expected = w.read("tests/expected.txt");
    w.file("tests/expected.txt", format!("{expected}nonsense\n"));
    w.build(&[]).fails_with(1).failed(&["test"]);
}
