//! The ratchet of plain English (docs/style.md): the share of comment and prose lines that turn on
//! *what* or *who* never rises. Limits stand in `plain.txt`, one part of the repository a line, in
//! percent.
//!
//! Comment lines are lines of `.rs` files that begin with `//` (so `///` and `//!` too). Prose lines
//! are non-empty lines of `.md` files outside fenced blocks, tables (`|`) and HTML comments (`<!--`).
//! A line turns on such a word if it holds at least one.

use std::collections::BTreeMap;

use regex::Regex;

use crate::structure::all_sources;
use crate::{all_pages, read, root};

/// The file of limits.
const LIMITS: &str = "tests/docs/plain.txt";

/// The limit of a part that has no line in the file, and the lowest one that is asked for (2.0 %).
const GOAL: usize = 20;

/// A share so far below its limit lowers the limit (1.0 %).
const SLACK: usize = 10;

/// The lines that were counted, and those among them that turn on one of the words.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Count {
    lines: usize,
    turning: usize,
}

impl Count {
    /// The share in tenths of a percent, rounded up.
    fn share(self) -> usize {
        (1000 * self.turning).div_ceil(self.lines.max(1))
    }

    /// The limit to write down: never above `limit`, never below the goal.
    fn lowered(self, limit: usize) -> usize {
        self.share().max(GOAL).min(limit)
    }

    /// The complaint about this share, if there is one.
    fn complaint(self, part: &str, limit: usize) -> Option<String> {
        let (share, Self { lines, turning }) = (percent(self.share()), self);
        if self.share() > limit {
            return Some(format!(
                "{part}: {turning} of {lines} lines turn on what/who ({share} %), the limit is {} %. Help: \
                 rewrite the new ones (docs/style.md); the limit is never raised",
                percent(limit)
            ));
        }
        let lowered = self.lowered(limit);
        (lowered + SLACK <= limit).then(|| {
            format!(
                "{part}: {turning} of {lines} lines turn on what/who ({share} %), the limit of {} % is too high. \
                 Help: write `{part} {}` in {LIMITS}, or run CONDUCTOR_DOCS=write cargo test --test docs",
                percent(limit),
                percent(lowered)
            )
        })
    }
}

/// Tenths of a percent, as the file of limits writes them.
fn percent(tenths: usize) -> String {
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// The reverse of [`percent`].
fn tenths(text: &str) -> usize {
    let (whole, tenth) = text.split_once('.').unwrap_or_else(|| panic!("{LIMITS}: no tenth in `{text}`"));
    assert_eq!(tenth.len(), 1, "{LIMITS}: not one digit behind the point in `{text}`");
    whole.parse::<usize>().unwrap() * 10 + tenth.parse::<usize>().unwrap()
}

/// The lines of comments in Rust source.
fn comments(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).filter(|line| line.starts_with("//")).collect()
}

/// The lines of prose on a page.
fn prose(text: &str) -> Vec<&str> {
    let mut fenced = false;
    let mut found = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with("```") {
            fenced = !fenced;
        } else if !fenced && !line.is_empty() && !line.starts_with('|') && !line.starts_with("<!--") {
            found.push(line);
        }
    }
    found
}

fn count(lines: &[&str]) -> Count {
    let words = Regex::new(r"(?i)\b(what|who|whoever|whatever|whose|whom)\b").unwrap();
    Count { lines: lines.len(), turning: lines.iter().filter(|line| words.is_match(line)).count() }
}

/// The part of the repository that a file belongs to: a room of `src/`, else its first folder, else
/// the file itself.
fn part(file: &str) -> &str {
    let folder = |from: usize| file[from..].find('/').map(|end| &file[..from + end]);
    if file.starts_with("src/") { folder("src/".len()).unwrap_or("src") } else { folder(0).unwrap_or(file) }
}

/// All parts with their counts.
fn counts() -> BTreeMap<String, Count> {
    let mut counts: BTreeMap<String, Count> = BTreeMap::new();
    let mut add = |file: &str, own: Count| {
        let count = counts.entry(part(file).to_owned()).or_default();
        *count = Count { lines: count.lines + own.lines, turning: count.turning + own.turning };
    };
    for file in all_sources() {
        add(&file, count(&comments(&read(&file))));
    }
    for page in all_pages() {
        add(&page, count(&prose(&read(&page))));
    }
    counts
}

/// The limits as they stand.
fn limits() -> BTreeMap<String, usize> {
    let text = read(LIMITS);
    let rows = text.lines().map(|line| line.split_once(' ').unwrap_or_else(|| panic!("{LIMITS}: `{line}`")));
    rows.map(|(part, limit)| (part.to_owned(), tenths(limit))).collect()
}

#[test]
fn the_share_of_lines_that_turn_on_what_or_who_never_rises() {
    let (counts, mut limits) = (counts(), limits());
    let limit = |limits: &BTreeMap<String, usize>, part: &str| limits.get(part).copied().unwrap_or(GOAL);
    if std::env::var_os("CONDUCTOR_DOCS").is_some_and(|mode| mode == "write") {
        let row = |(part, count): (&String, &Count)| {
            format!("{part} {}\n", percent(count.lowered(limit(&limits, part))))
        };
        std::fs::write(root().join(LIMITS), counts.iter().map(row).collect::<String>()).unwrap();
        limits = self::limits();
    }
    let gone = limits.keys().filter(|part| !counts.contains_key(*part));
    let gone = gone
        .map(|part| format!("{part}: it has a limit and is not there. Help: remove its line from {LIMITS}"));
    let wrong = counts.iter().filter_map(|(part, count)| count.complaint(part, limit(&limits, part)));
    let wrong: Vec<String> = wrong.chain(gone).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_line_counts_once_and_only_if_it_is_comment_or_prose() {
    let source = "//! What it is for.\nlet what = \"who\"; // who\n    /// Whose, and what.\n// Somewhat.\n";
    assert_eq!(count(&comments(source)), Count { lines: 3, turning: 2 });
    let page = "# Who\n\nPlain.\n| what |\n<!-- what -->\n```sh\nwhat\n```\n- whatever_it_is\n- For whom?\n";
    assert_eq!(count(&prose(page)), Count { lines: 4, turning: 2 });
}

#[test]
fn a_limit_holds_from_above_and_follows_from_below() {
    let count = |turning| Count { lines: 100, turning };
    assert!(count(11).complaint("src/a", 100).unwrap().contains("11.0 %), the limit is 10.0 %"));
    assert_eq!(count(10).complaint("src/a", 100), None);
    assert_eq!(count(10).complaint("src/a", 109), None);
    assert!(count(10).complaint("src/a", 110).unwrap().contains("write `src/a 10.0`"));
    // Nothing below the goal is asked for, and nothing is ever raised.
    assert_eq!(count(0).complaint("src/a", 29), None);
    assert!(count(0).complaint("src/a", 30).unwrap().contains("write `src/a 2.0`"));
    assert_eq!(count(50).lowered(100), 100);
}

#[test]
fn a_file_belongs_to_its_room_or_to_its_first_folder() {
    let parts = ["src/store/local/mod.rs", "src/lib.rs", "tests/docs/main.rs", "README.md"].map(part);
    assert_eq!(parts, ["src/store", "src", "tests", "README.md"]);
}
