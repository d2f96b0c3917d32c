//! What `check` found, for GitHub Actions: annotations on standard output (workflow commands) and a step summary in
//! Markdown. Both forms are GitHub's own ("Workflow commands for GitHub Actions").

use std::fmt::Write as _;
use std::time::Duration;

use super::checked::{Checked, Findings, Standing, first, sentences};
use super::count;
use crate::model::{Place, format_duration};

/// Rows of the summary's table. GitHub cuts summaries off at 1 MiB.
const MAX_ROWS: usize = 200;

/// An annotation for every task that is stale, at the line of the manifest that brings the cause in; a notice for
/// every task that is blocked; and the counts as the last line.
pub fn annotations(findings: &Findings) -> String {
    let mut text = String::new();
    for problem in &findings.problems {
        let level = if problem.is_error { "error" } else { "warning" };
        command(&mut text, level, findings, problem.at.as_ref(), &problem.code, &problem.message);
    }
    for task in &findings.tasks {
        let title = |what: &str| format!("{} is {what}", task.task);
        match &task.standing {
            Standing::Stale(reasons) => {
                let said = sentences(reasons).join("\n");
                command(&mut text, "error", findings, task.place(), &title("stale"), &said);
            }
            Standing::Blocked(by) => {
                let said = format!("it waits for {by}");
                command(&mut text, "notice", findings, task.place(), &title("blocked"), &said);
            }
            Standing::Fresh | Standing::Always => {}
        }
    }
    let _ = writeln!(text, "{}", findings.headline());
    text
}

fn command(
    text: &mut String,
    level: &str,
    findings: &Findings,
    at: Option<&Place>,
    title: &str,
    message: &str,
) {
    let mut properties = Vec::new();
    if let Some(at) = at {
        properties.push(format!("file={}", property(&findings.file(at))));
        properties.push(format!("line={},col={}", at.line, at.column));
    }
    properties.push(format!("title={}", property(title)));
    let _ = writeln!(text, "::{level} {}::{}", properties.join(","), data(message));
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// The step summary: hits, what they saved where that is known, and the cause of every task that is not fresh.
pub fn summary(findings: &Findings) -> String {
    let mut text = String::new();
    let hits: Vec<&Checked> = findings.tasks.iter().filter(|task| task.standing == Standing::Fresh).collect();
    let verdict = if findings.is_fresh() { "everything is fresh" } else { "something is stale" };
    let _ = writeln!(text, "### conductor check: {verdict}\n");
    let _ = writeln!(text, "{}", findings.headline());
    let _ =
        writeln!(text, "\nHits: {} of {}{}\n", hits.len(), count(findings.tasks.len(), "task"), saved(&hits));
    for problem in &findings.problems {
        let place = problem.at.as_ref().map(|at| format!(" `{}:{}`", findings.file(at), at.line));
        let _ =
            writeln!(text, "- **{}**{} {}", problem.code, place.unwrap_or_default(), cell(&problem.message));
    }
    let rows: Vec<String> = findings.tasks.iter().filter_map(row).collect();
    if !rows.is_empty() {
        let _ = writeln!(text, "\n| task | | cause |\n| --- | --- | --- |");
        for row in rows.iter().take(MAX_ROWS) {
            let _ = writeln!(text, "{row}");
        }
        if rows.len() > MAX_ROWS {
            let _ = writeln!(text, "\n{} more", rows.len() - MAX_ROWS);
        }
    }
    text
}

/// Only what is known counts: a fresh checkout knows results, and not how long they took.
fn saved(hits: &[&Checked]) -> String {
    let time: Duration = hits.iter().filter_map(|task| task.took).sum();
    let money: u64 = hits.iter().filter_map(|task| task.micro_usd).fold(0, u64::saturating_add);
    let mut saved = Vec::new();
    if time > Duration::ZERO {
        saved.push(format_duration(time));
    }
    if money > 0 {
        saved.push(format!("{}.{:02} USD", money / 1_000_000, money % 1_000_000 / 10_000));
    }
    if saved.is_empty() { String::new() } else { format!("; saved: {}", saved.join(", ")) }
}

fn row(task: &Checked) -> Option<String> {
    let (what, cause) = match &task.standing {
        Standing::Stale(reasons) => ("stale", first(reasons)),
        Standing::Blocked(by) => ("blocked", format!("waits for {by}")),
        Standing::Always => ("always", "runs each time".to_owned()),
        Standing::Fresh => return None,
    };
    Some(format!("| {} | {what} | {} |", cell(&task.task), cell(&cause)))
}

/// Text that neither ends a table's cell nor becomes markup.
fn cell(text: &str) -> String {
    let mut cell = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\r' => cell.push(' '),
            '|' | '\\' | '`' | '*' | '_' | '[' | ']' => cell.extend(['\\', c]),
            '<' => cell.push_str("&lt;"),
            '&' => cell.push_str("&amp;"),
            c if c.is_control() => cell.push('?'),
            c => cell.push(c),
        }
    }
    cell
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::testing::findings;

    #[test]
    fn an_annotation_points_at_the_line_that_brings_the_cause_in() {
        let text = annotations(&findings());
        let expected = "\
::error file=sub/conductor.lock,line=7,col=1,title=lock%3A%3Adamaged::conductor.lock is damaged
::error file=sub/conductor.yaml,line=12,col=5,title=T2 is stale::a%250A,b changed (96a4257 → b20ab0a)%0Avariable X changed: \"1\" → \"2\"
::notice file=sub/conductor.yaml,line=20,col=3,title=T3 is blocked::it waits for T2
4 tasks: 1 fresh, 1 stale, 1 blocked
";
        assert_eq!(text, expected);
    }

    #[test]
    fn the_summary_has_hits_savings_and_causes_and_no_markup_of_names() {
        let text = summary(&findings());
        assert!(text.starts_with("### conductor check: something is stale\n"), "{text}");
        assert!(text.contains("Hits: 1 of 4 tasks; saved: 1m30s, 2.50 USD\n"), "{text}");
        assert!(text.contains("| T2 | stale | a%0A,b changed (96a4257 → b20ab0a) (+1) |"), "{text}");
        assert!(text.contains("| A\\_\\*x\\* | always | runs each time |"), "{text}");
        assert!(!text.contains("| T1 |"), "{text}");
    }
}
