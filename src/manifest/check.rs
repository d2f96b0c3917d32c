//! Checks: the entries of `require`, `validate` and `gate`.

use regex::RegexBuilder;

use super::reader::Reader;
use super::tree::Node;
use crate::model::{Check, CheckKind, Diagnostic};

/// The keys of which a check has exactly one.
const KINDS: [&str; 3] = ["run", "non_empty", "matches"];

/// A list of checks. `lists`: may their commands hold `${inputs}` and `${outputs}`?
pub(super) fn checks(reader: &Reader<'_>, node: &Node<'_>, lists: bool) -> Vec<Check> {
    node.items().iter().filter_map(|item| check(reader, item, lists)).collect()
}

fn check(reader: &Reader<'_>, node: &Node<'_>, lists: bool) -> Option<Check> {
    let entries = node.entries();
    let mut kinds = entries.iter().filter(|entry| KINDS.contains(&&*entry.key));
    let first = kinds.next();
    if let (Some(first), Some(second)) = (first, kinds.next()) {
        reader.report(
            Diagnostic::error("manifest::two_checks", "two checks in one entry")
                .label(second.key_at, "the second one")
                .label(first.key_at, "the first one")
                .help("give each check an entry of its own, with its own `-`"),
        );
        return None;
    }
    let Some(first) = first else {
        if !entries.is_empty() {
            reader.report(
                Diagnostic::error("manifest::no_check", "this entry checks nothing")
                    .label(node.at, "no `run`, `non_empty` or `matches`")
                    .help("a check is one of `run: COMMAND`, `non_empty: PATH`, `matches: { path, regex }`"),
            );
        }
        return None;
    };
    let kind = match &*first.key {
        "run" => CheckKind::Run(reader.command(&first.value, lists)?),
        "non_empty" => CheckKind::NonEmpty(reader.path(&first.value)?.0),
        _ => matches(reader, &first.value)?,
    };
    let inputs = node.get("inputs").map(|inputs| reader.patterns(inputs)).unwrap_or_default();
    Some(Check { kind, inputs, at: first.key_at })
}

fn matches(reader: &Reader<'_>, node: &Node<'_>) -> Option<CheckKind> {
    let path = node.get("path").and_then(|path| reader.path(path));
    let written = node.get("regex")?;
    let regex = reader.text(written)?;
    if let Err(error) = compile(reader, &regex) {
        let text = error.to_string();
        let why = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
        reader.report(
            Diagnostic::error("manifest::bad_regex", "this is no regular expression")
                .label(written.at, why)
                .help(
                    "the dialect is that of Rust's regex crate: https://docs.rs/regex/latest/regex/#syntax",
                ),
        );
        return None;
    }
    Some(CheckKind::Matches { path: path?.0, regex })
}

/// Is `regex` one? Faults of syntax come to light first, at little cost. That an expression is too large
/// is found out for so many; beyond that, where it is used.
fn compile(reader: &Reader<'_>, regex: &str) -> Result<(), regex::Error> {
    const LITTLE: usize = 64 << 10;
    const COSTLY: usize = 1000;
    let compile = |limit| RegexBuilder::new(regex).multi_line(true).size_limit(limit).build().map(drop);
    match compile(LITTLE) {
        Err(regex::Error::CompiledTooBig(_)) => {
            let costly = &reader.shared.costly_regexes;
            costly.set(costly.get() + 1);
            if costly.get() <= COSTLY { compile(16 * LITTLE) } else { Ok(()) }
        }
        result => result,
    }
}
