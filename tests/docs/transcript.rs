//! Console blocks of a page: read, run in a folder of their own, and compared with what was printed.
//!
//! A comment `<!-- console: empty -->` before a block begins in an empty folder, `<!-- console: examples/x -->`
//! in a copy of that folder, `<!-- console: repository -->` where `examples/` is. Blocks without one go on
//! where the block before them ended. In a block `$ ` begins a command (`> ` continues it), and what follows
//! is all that it prints, standard error included; a line `...` stands for any number of lines. A
//! command that fails must be followed by `$ echo $?`.

use std::process::Command;

use crate::{Place, copy, root};

/// A command with what it should print.
pub(crate) struct Step {
    line: usize,
    command: String,
    expected: Vec<String>,
}

/// Blocks that run one after the other in one folder.
pub(crate) struct Session {
    start: String,
    pub(crate) steps: Vec<Step>,
}

/// The sessions of a page.
pub(crate) fn sessions(page: &str) -> Vec<Session> {
    let mut sessions: Vec<Session> = Vec::new();
    let mut start: Option<String> = None;
    let mut block = false;
    for (number, line) in (1..).zip(page.lines()) {
        let trimmed = line.trim();
        if let Some(place) = trimmed.strip_prefix("<!-- console: ") {
            start = Some(place.trim_end_matches("-->").trim().to_owned());
        } else if trimmed == "```console" {
            block = true;
            if let Some(start) = start.take() {
                sessions.push(Session { start, steps: Vec::new() });
            }
            assert!(!sessions.is_empty(), "line {number}: the first block says where it runs");
        } else if trimmed == "```" {
            block = false;
        } else if block {
            let steps = &mut sessions.last_mut().unwrap().steps;
            take_line(steps, number, line);
        }
    }
    sessions
}

fn take_line(steps: &mut Vec<Step>, number: usize, line: &str) {
    if let Some(command) = line.strip_prefix("$ ") {
        steps.push(Step { line: number, command: command.to_owned(), expected: Vec::new() });
        return;
    }
    let step = steps.last_mut().unwrap_or_else(|| panic!("line {number}: a block begins with `$ `"));
    match line.strip_prefix("> ").filter(|_| step.expected.is_empty()) {
        Some(more) => step.command = format!("{}\n{more}", step.command),
        None => step.expected.push(line.to_owned()),
    }
}

/// Runs a session; what differs, as text for people.
pub(crate) fn run(session: &Session) -> Vec<String> {
    let place = Place::new();
    match session.start.as_str() {
        "empty" => {}
        "repository" => copy(&root().join("examples"), &place.work().join("examples")),
        folder => copy(&root().join(folder), &place.work()),
    }
    let mut wrong = Vec::new();
    let (mut folder, mut code) = (place.work(), 0);
    for (index, step) in session.steps.iter().enumerate() {
        let told = place.folder.path().join("pwd");
        let script = format!(
            "cd '{}'; exec 2>&1; (exit {code})\n{}\ncode=$?; pwd > '{}'; exit $code",
            folder.display(),
            step.command.replace("cargo run --release -- ", "conductor "),
            told.display(),
        );
        let mut shell: Command = place.command("bash");
        let output = shell.arg("-c").arg(script).output().unwrap();
        code = output.status.code().unwrap_or(255);
        if let Ok(now) = std::fs::read_to_string(told) {
            folder = now.trim_end().into();
        }
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let printed = printed.replace(place.work().to_str().unwrap(), "/tmp/try");
        let (seen, meant) = (normal(&printed), normal(&step.expected.join("\n")));
        if !fits(&meant, &seen) {
            wrong.push(format!("line {}: $ {}\nprints\n{printed}", step.line, step.command));
        }
        let asked = session.steps.get(index + 1).is_some_and(|next| next.command.starts_with("echo $?"));
        if code != 0 && !asked {
            wrong.push(format!(
                "line {}: `{}` ends with {code}, and no `echo $?` follows",
                step.line, step.command
            ));
        }
    }
    wrong
}

/// Lines without what differs from run to run: times, dates, ids of runs, processes and commits, widths of columns.
fn normal(text: &str) -> Vec<String> {
    let rules = [
        (r"\b\d{8}-\d{6}-\d+\b", "RUN"),
        (r"\b\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\S*)", "DATE"),
        (r"\b(\d+h)?(\d+m)?\d+(\.\d+)?(ms|s|m)\b", "TIME"),
        (r"\bprocess \d+", "process N"),
        (r"\bHEAD is at [0-9a-f]{10}\b", "HEAD is at COMMIT"),
        (r" +", " "),
        (r"-{3,}", "---"),
    ];
    let mut text = text.to_owned();
    for (rule, with) in rules {
        text = regex::Regex::new(rule).unwrap().replace_all(&text, with).into_owned();
    }
    // A busy machine is told which tasks were slow.
    let lines = text.lines().filter(|line| !line.starts_with("slowest: "));
    let mut lines: Vec<String> = lines.map(|line| line.trim_end().to_owned()).collect();
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines
}

/// Does `seen` look like `meant`, in which `...` stands for any lines?
fn fits(meant: &[String], seen: &[String]) -> bool {
    match meant.split_first() {
        None => seen.is_empty(),
        Some((dots, rest)) if dots.trim() == "..." => {
            (0..=seen.len()).any(|skipped| fits(rest, &seen[skipped..]))
        }
        Some((line, rest)) => seen.first() == Some(line) && fits(rest, &seen[1..]),
    }
}

#[test]
fn dots_stand_for_any_lines() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    assert!(fits(&lines("a\n...\nd"), &lines("a\nb\nc\nd")));
    assert!(fits(&lines("..."), &[]));
    assert!(!fits(&lines("a\n...\nd"), &lines("a\nb")));
    assert_eq!(normal("T1 ran in 1m05s,  run 20261122-140501-4711"), ["T1 ran in TIME, run RUN"]);
}
