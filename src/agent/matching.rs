//! How an event is held against what an adapter says: dotted paths, and regular expressions over values.
//!
//! - A path names a value: `usage.input_tokens`. A number indexes a list (`content.0.text`), `*` stands for each of its
//!   items. A key that holds dots itself is found too: of `item.type` the whole is tried first, then `item`, then on.
//! - A value is compared as text: strings as they are, numbers and booleans as JSON has them, lists and objects as compact
//!   JSON. Null is no value.
//! - A value that is one word (letters, digits, `_ . : -`, or nothing) must match as a whole: `type: result` does not
//!   match `tool_result`. In a longer text the expression may match anywhere: `error.message: context window`.

use std::borrow::Cow;

use regex::{Regex, RegexBuilder};
use serde_json::Value;

/// How large a compiled expression may become.
const SIZE_LIMIT: usize = 1 << 20;

/// Why a text is no regular expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct PatternError {
    /// One line.
    pub why: String,
}

/// A regular expression over one value.
#[derive(Clone, Debug)]
pub struct Pattern {
    whole: Regex,
    anywhere: Regex,
}

/// `text` compiled: as it stands.
pub(super) fn regex(text: &str) -> Result<Regex, PatternError> {
    RegexBuilder::new(text).size_limit(SIZE_LIMIT).build().map_err(|error| {
        let error = error.to_string();
        let why = error.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        PatternError { why }
    })
}

impl Pattern {
    /// Compiles `text`, in the dialect of the regex crate.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        let anywhere = regex(text)?;
        Ok(Self { whole: regex(&format!("^(?:{text})$"))?, anywhere })
    }

    /// See the file's head.
    pub fn matches(&self, value: &str) -> bool {
        let is_word =
            value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b':' | b'-'));
        if is_word { self.whole.is_match(value) } else { self.anywhere.is_match(value) }
    }
}

/// Is `path` a dotted path: no part of it empty?
pub fn is_path(path: &str) -> bool {
    path.split('.').all(|part| !part.is_empty())
}

/// Every value at `path` below `value`, in the order of the document.
pub(super) fn at<'v>(value: &'v Value, path: &str) -> Vec<&'v Value> {
    let mut found = Vec::new();
    descend(value, path, &mut found);
    found
}

fn descend<'v>(value: &'v Value, path: &str, found: &mut Vec<&'v Value>) {
    match value {
        Value::Object(map) => {
            // The whole first, then shorter and shorter beginnings.
            let ends = std::iter::once(path.len()).chain(path.rmatch_indices('.').map(|(dot, _)| dot));
            for end in ends {
                let before = found.len();
                if let Some(inner) = map.get(&path[..end]) {
                    step(inner, path.get(end + 1..), found);
                }
                if found.len() > before {
                    return;
                }
            }
        }
        Value::Array(items) => {
            let (part, rest) = path.split_once('.').map_or((path, None), |(part, rest)| (part, Some(rest)));
            if part == "*" {
                for item in items {
                    step(item, rest, found);
                }
            } else if let Some(item) = part.parse().ok().and_then(|index: usize| items.get(index)) {
                step(item, rest, found);
            }
        }
        _ => {}
    }
}

fn step<'v>(value: &'v Value, rest: Option<&str>, found: &mut Vec<&'v Value>) {
    match rest {
        Some(rest) => descend(value, rest, found),
        None if value.is_null() => {}
        None => found.push(value),
    }
}

/// A value as text.
pub(super) fn text(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => Cow::Borrowed(text),
        other => Cow::Owned(other.to_string()),
    }
}

/// What an event must hold: each path a value that matches.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter(Vec<(String, Pattern)>);

impl Filter {
    pub(super) fn new(filter: &[(String, String)]) -> Result<Self, PatternError> {
        let compile = |(path, text): &(String, String)| Ok((path.clone(), Pattern::new(text)?));
        filter.iter().map(compile).collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn matches(&self, event: &Value) -> bool {
        self.0
            .iter()
            .all(|(path, pattern)| at(event, path).into_iter().any(|value| pattern.matches(&text(value))))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_word_matches_as_a_whole_and_a_longer_text_anywhere() {
        let check = |pattern: &str, value: &str, matches: bool| {
            assert_eq!(Pattern::new(pattern).unwrap().matches(value), matches, "{pattern} on {value}");
        };
        check("result", "result", true);
        check("result", "tool_result", false);
        check("a|b", "ab", false);
        check("(?i)ERROR|aborted", "error", true);
        check("context window", "Your input exceeds the context window of this model.", true);
        check("^40[13]", "401 bad key", true);
        check("^40[13]", "status 401", false);
        check("", "", true);
        check("", "x", false);
        check("5..", "503", true);
        check("5..", "1503", false);
        assert!(Pattern::new("(").is_err());
        assert!(Pattern::new("(?:a{1000}){1000}").is_err(), "too large");
    }

    #[test]
    fn a_path_leads_through_objects_lists_and_keys_with_dots() {
        let event = json!({
            "type": "x",
            "item": { "type": "message", "n": null, "list": [{ "a": 1 }, { "a": 2 }, { "b": 3 }] },
            "item.kind": "dotted",
            "a.b": { "c": true },
        });
        let check = |path: &str, expected: &[&str]| {
            let found: Vec<_> = at(&event, path).into_iter().map(text).collect();
            assert_eq!(found, expected, "{path}");
        };
        check("item.type", &["message"]);
        check("item.kind", &["dotted"]);
        check("a.b.c", &["true"]);
        check("item.list.1.a", &["2"]);
        check("item.list.*.a", &["1", "2"]);
        check("item.list.9.a", &[]);
        check("item.n", &[]);
        check("item.list.2", &[r#"{"b":3}"#]);
        check("type.x", &[]);
    }

    #[test]
    fn all_that_a_filter_says_must_hold() {
        let filter = |pairs: &[(&str, &str)]| {
            let owned: Vec<_> = pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
            Filter::new(&owned).unwrap()
        };
        let event = json!({ "type": "result", "is_error": true, "n": 429 });
        assert!(filter(&[("type", "result"), ("is_error", "true"), ("n", "4..")]).matches(&event));
        assert!(!filter(&[("type", "result"), ("is_error", "false")]).matches(&event));
        assert!(!filter(&[("missing", ".*")]).matches(&event));
        assert!(filter(&[]).matches(&event));
    }
}
