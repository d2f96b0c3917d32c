//! Tables and links of the pages, held against the repository.

use std::collections::BTreeSet;

use regex::Regex;

use crate::{all_pages, files, read, root};

/// The first column of a table's rows that hold a name in backticks there.
fn first_column(text: &str) -> BTreeSet<String> {
    let row = Regex::new(r"(?m)^\| `([^`]+)` \|").unwrap();
    row.captures_iter(text).map(|row| row[1].to_owned()).collect()
}

/// A page's text from one heading to the next of the same level.
fn section<'t>(page: &'t str, heading: &str) -> &'t str {
    let start = page.find(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no `{heading}`"));
    let body = &page[start + heading.len() + 2..];
    let level = heading.split(' ').next().unwrap_or_default();
    body.split(&format!("\n{level} ")).next().unwrap_or_default()
}

#[test]
fn every_dependency_has_a_row_and_no_row_is_stale() {
    let manifest = read("Cargo.toml");
    let page = read("docs/dependencies.md");
    for (table, heading) in [("[dependencies]", "## In the program"), ("[dev-dependencies]", "## In tests")] {
        let body = manifest.split(&format!("\n{table}\n")).nth(1).unwrap().split("\n[").next().unwrap();
        let wanted: BTreeSet<String> =
            body.lines().filter_map(|line| line.split_once(" =")).map(|(name, _)| name.to_owned()).collect();
        assert_eq!(first_column(section(&page, heading)), wanted, "{table} and docs/dependencies.md differ");
    }
}

/// The names of all test functions of the repository.
fn tests() -> BTreeSet<String> {
    let test = Regex::new(r"#\[test\](?:\s*#\[[^\n]*\]|\s*//[^\n]*)*\s*fn (\w+)").unwrap();
    let mut names = BTreeSet::new();
    for file in ["src", "tests"].iter().flat_map(|folder| files(folder, "rs")) {
        names.extend(test.captures_iter(&read(&file)).map(|found| found[1].to_owned()));
    }
    names
}

#[test]
fn every_invariant_names_tests_that_exist() {
    let page = read("docs/architecture.md");
    let tests = tests();
    let name = Regex::new(r"`(\w+)`").unwrap();
    let mut rows = 0;
    for row in section(&page, "## Invariants").lines().filter(|line| line.starts_with("| ")).skip(2) {
        let cell = row.trim_end_matches('|').rsplit(" | ").next().unwrap();
        let named: Vec<_> = name.captures_iter(cell).map(|found| found[1].to_owned()).collect();
        assert!(!named.is_empty(), "an invariant without a test: {row}");
        for test in named {
            assert!(tests.contains(&test), "there is no test `{test}`, named in: {row}");
        }
        rows += 1;
    }
    assert!(rows >= 10, "only {rows} invariants");
}

/// As GitHub makes an anchor of a heading.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let link = Regex::new(r"\]\(([^)\s]+)\)").unwrap();
    for page in all_pages() {
        let text = read(&page);
        for target in link.captures_iter(&text).map(|found| found[1].to_owned()) {
            if target.contains("://") {
                continue;
            }
            let (path, fragment) = target.split_once('#').unwrap_or((&target, ""));
            let folder = root().join(&page).parent().unwrap().to_owned();
            let there = if path.is_empty() { root().join(&page) } else { folder.join(path) };
            assert!(there.exists(), "{page} links to {target}, which is not there");
            if !fragment.is_empty() {
                let text = std::fs::read_to_string(&there).unwrap();
                let mut headings = text.lines().filter(|line| line.starts_with('#'));
                assert!(headings.any(|line| anchor(line) == fragment), "{page}: no heading for {target}");
            }
        }
    }
}

#[test]
fn every_path_of_the_repository_that_a_page_names_is_there() {
    let path = Regex::new(r"`((?:src|tests|examples|docs|benches)/[\w./-]+)`").unwrap();
    for page in all_pages().iter().filter(|page| !page.starts_with("examples/")) {
        for found in path.captures_iter(&read(page)) {
            let named = &found[1];
            // The guide and the manifest's examples have files of their own.
            let own = ["docs/spec.md", "src/a.txt"].contains(&named);
            assert!(own || root().join(named).exists(), "{page} names {named}, which is not there");
        }
    }
}

#[test]
fn the_exit_codes_of_the_readme_are_those_of_the_program() {
    use conductor::cli::Exit;
    let page = read("README.md");
    let rows = section(&page, "## Exit codes");
    let exits = [Exit::Success, Exit::Failed, Exit::Usage, Exit::Stale, Exit::Integrity, Exit::Paused];
    for exit in exits {
        assert!(rows.contains(&format!("\n| {} | ", exit.code())), "the readme has no row for {exit:?}");
    }
    assert!(rows.contains(&format!("\n| {}, {} | ", Exit::Signal(2).code(), Exit::Signal(15).code())));
}

#[test]
fn the_commands_of_the_readme_are_those_of_the_program() {
    let place = crate::Place::new();
    let help = place.command("conductor").arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let command = Regex::new(r"(?m)^  ([a-z]+)  ").unwrap();
    let there: BTreeSet<String> = command
        .captures_iter(help.split("Options:").next().unwrap())
        .map(|found| found[1].to_owned())
        .filter(|name| name != "help")
        .collect();
    let page = read("README.md");
    let word = Regex::new(r"`([a-z]+)[ `]").unwrap();
    let column = section(&page, "## Commands").lines().filter(|line| line.starts_with("| `"));
    let told: BTreeSet<String> = column
        .flat_map(|line| {
            let first = line.split(" | ").next().unwrap_or_default().to_owned();
            word.captures_iter(&first).map(|found| found[1].to_owned()).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(told, there);
}
