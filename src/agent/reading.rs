//! Reads values out of a program's output, one event or line at a time, in bounded memory.

use std::borrow::Cow;
use std::collections::HashMap;

use regex::Regex;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::matching::{self, Filter, PatternError};
use crate::model::{Reading, Scope, Take};

/// How much text is kept of one reading; of more, the end.
const LONGEST_TEXT: usize = 256 * 1024;
/// How many things are told apart by `by`; what comes later is counted without.
const MOST_THINGS: usize = 10_000;

/// What a session had used when its last run ended. Where a program counts from the session's beginning, the
/// next run's numbers are what it tells beyond these.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct SessionTotals {
    /// Tokens read.
    pub tokens_in: u64,
    /// Tokens written.
    pub tokens_out: u64,
    /// Millionths of a US dollar.
    pub micro_usd: u64,
    /// Turns.
    pub turns: u64,
}

/// Where a value is looked for.
struct Source {
    filter: Filter,
    at: Vec<String>,
    by: Option<String>,
    line: Option<Regex>,
}

impl Source {
    fn new(reading: &Reading) -> Result<Self, PatternError> {
        Ok(Self {
            filter: Filter::new(&reading.filter)?,
            at: reading.at.clone(),
            by: reading.by.clone(),
            line: reading.text.as_deref().map(matching::regex).transpose()?,
        })
    }

    /// The values in `event`; none where it is not one of those that are meant.
    fn in_event<'e>(&self, event: &'e Value) -> Option<Vec<&'e Value>> {
        if self.line.is_some() || !self.filter.matches(event) {
            return None;
        }
        if self.at.is_empty() {
            return Some(vec![event]);
        }
        let found: Vec<_> = self.at.iter().flat_map(|path| matching::at(event, path)).collect();
        (!found.is_empty()).then_some(found)
    }

    fn in_line<'l>(&self, line: &'l str) -> Option<&'l str> {
        let found = self.line.as_ref()?.captures(line)?;
        found.get(1).or_else(|| found.get(0)).map(|found| found.as_str())
    }

    /// What the event tells of.
    fn thing(&self, event: &Value) -> Option<String> {
        let values = matching::at(event, self.by.as_ref()?);
        values.first().map(|value| matching::text(value).into_owned())
    }
}

/// Does an event or a line of a kind occur?
pub(super) struct Occurs(Vec<(Source, bool)>);

impl Occurs {
    pub(super) fn new(readings: &[Reading]) -> Result<Self, PatternError> {
        readings.iter().map(|one| Ok((Source::new(one)?, false))).collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn event(&mut self, event: &Value) {
        for (source, seen) in &mut self.0 {
            *seen = *seen || source.in_event(event).is_some();
        }
    }

    pub(super) fn line(&mut self, line: &str) {
        for (source, seen) in &mut self.0 {
            *seen = *seen || source.in_line(line).is_some();
        }
    }

    /// Is it declared at all?
    pub(super) fn is_declared(&self) -> bool {
        !self.0.is_empty()
    }

    pub(super) fn seen(&self) -> bool {
        self.0.iter().any(|(_, seen)| *seen)
    }
}

/// A text, out of the first reading that finds one.
pub(super) struct Text(Vec<TextReading>);

struct TextReading {
    source: Source,
    take: Take,
    value: Option<String>,
}

impl Text {
    pub(super) fn new(readings: &[Reading]) -> Result<Self, PatternError> {
        let compile =
            |one: &Reading| Ok(TextReading { source: Source::new(one)?, take: one.take, value: None });
        readings.iter().map(compile).collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn event(&mut self, event: &Value) {
        for reading in &mut self.0 {
            if let Some(values) = reading.source.in_event(event) {
                let texts: Vec<Cow<'_, str>> = values.into_iter().map(matching::text).collect();
                reading.put(&texts.concat());
            }
        }
    }

    pub(super) fn line(&mut self, line: &str) {
        for reading in &mut self.0 {
            if let Some(text) = reading.source.in_line(line) {
                reading.put(text);
            }
        }
    }

    pub(super) fn value(&self) -> Option<&str> {
        self.0.iter().find_map(|reading| reading.value.as_deref())
    }
}

impl TextReading {
    fn put(&mut self, text: &str) {
        if text.is_empty() || (self.take == Take::First && self.value.is_some()) {
            return;
        }
        let kept = self.value.get_or_insert_default();
        if self.take != Take::Concat {
            kept.clear();
        }
        kept.push_str(text);
        keep_end(kept, LONGEST_TEXT);
    }
}

/// Cuts the beginning off where `text` is longer than `most` bytes by half.
pub(super) fn keep_end(text: &mut String, most: usize) {
    if text.len() > most + most / 2 {
        let from = text.ceil_char_boundary(text.len() - most);
        text.drain(..from);
    }
}

/// A number, out of the first reading that finds one.
pub(super) struct Number(Vec<NumberReading>);

struct NumberReading {
    source: Source,
    take: Take,
    scope: Scope,
    value: Option<f64>,
    /// What each thing counts for, where there is a `by`.
    things: HashMap<String, f64>,
}

impl Number {
    pub(super) fn new(readings: &[Reading]) -> Result<Self, PatternError> {
        let compile = |one: &Reading| {
            let source = Source::new(one)?;
            Ok(NumberReading {
                source,
                take: one.take,
                scope: one.scope,
                value: None,
                things: HashMap::new(),
            })
        };
        readings.iter().map(compile).collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn event(&mut self, event: &Value) {
        for reading in &mut self.0 {
            let Some(values) = reading.source.in_event(event) else { continue };
            let number = if reading.take == Take::Count {
                let items = |value: &&Value| value.as_array().map_or(1, Vec::len);
                Some(count(values.iter().map(items).sum()))
            } else {
                values.into_iter().filter_map(number).reduce(|a, b| a + b)
            };
            if let Some(number) = number {
                let thing = reading.source.thing(event);
                reading.put(number, thing);
            }
        }
    }

    pub(super) fn line(&mut self, line: &str) {
        for reading in &mut self.0 {
            let Some(text) = reading.source.in_line(line) else { continue };
            let number = if reading.take == Take::Count { Some(1.0) } else { parse(text) };
            if let Some(number) = number {
                reading.put(number, None);
            }
        }
    }

    /// What this run used, and what the session has used where the program tells that. `before` is what the
    /// session had used before.
    pub(super) fn value(&self, unit: f64, before: u64) -> (Option<u64>, Option<u64>) {
        let Some((told, scope)) = self.0.iter().find_map(|reading| Some((reading.value?, reading.scope)))
        else {
            return (None, None);
        };
        let told = whole(told * unit);
        match scope {
            Scope::Run => (Some(told), None),
            // Less than before: the program began to count anew.
            Scope::Session => (Some(told.checked_sub(before).unwrap_or(told)), Some(told)),
        }
    }
}

impl NumberReading {
    fn put(&mut self, number: f64, thing: Option<String>) {
        match self.take {
            Take::First => {
                self.value.get_or_insert(number);
            }
            Take::Last | Take::Concat => self.value = Some(number),
            Take::Sum | Take::Count => {
                let known = thing.as_ref().is_some_and(|thing| self.things.contains_key(thing));
                let before = match thing {
                    Some(thing) if known || self.things.len() < MOST_THINGS => {
                        self.things.insert(thing, number)
                    }
                    _ => None,
                };
                self.value = Some(self.value.unwrap_or(0.0) + number - before.unwrap_or(0.0));
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "no list has so many items")]
fn count(items: usize) -> f64 {
    items as f64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` stops at both ends")]
fn whole(number: f64) -> u64 {
    number.round() as u64
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => parse(text),
        _ => None,
    }
    .filter(|number| number.is_finite() && *number >= 0.0)
}

/// A number as programs print it: `1,234`, `4.2k`, `$0.05`.
pub(super) fn parse(text: &str) -> Option<f64> {
    let text = text.trim().trim_start_matches('$').replace([',', '_'], "");
    let (digits, factor) = match text.char_indices().next_back()? {
        (end, 'k' | 'K') => (&text[..end], 1e3),
        (end, 'm' | 'M') => (&text[..end], 1e6),
        _ => (text.as_str(), 1.0),
    };
    let number: f64 = digits.parse().ok()?;
    (number.is_finite() && number >= 0.0).then_some(number * factor)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn reading(at: &str, take: Take) -> Reading {
        Reading { at: vec![at.to_owned()], take, ..Reading::default() }
    }

    #[test]
    fn numbers_are_taken_as_declared() {
        let events =
            [json!({ "n": 3, "id": "a" }), json!({ "n": "1.5k", "id": "b" }), json!({ "n": 4, "id": "a" })];
        let check = |reading: Reading, expected: Option<u64>| {
            let mut number = Number::new(&[reading]).unwrap();
            for event in &events {
                number.event(event);
            }
            assert_eq!(number.value(1.0, 0).0, expected);
        };
        check(reading("n", Take::First), Some(3));
        check(reading("n", Take::Last), Some(4));
        check(reading("n", Take::Sum), Some(1507));
        check(reading("n", Take::Count), Some(3));
        check(Reading { by: Some("id".to_owned()), ..reading("n", Take::Sum) }, Some(1504));
        check(Reading { by: Some("id".to_owned()), ..reading("n", Take::Count) }, Some(2));
        check(reading("m", Take::Last), None);
        check(Reading { at: vec!["n".to_owned(), "n".to_owned()], ..Reading::default() }, Some(8));
    }

    #[test]
    fn a_list_counts_as_many_as_it_holds() {
        let mut number = Number::new(&[reading("denied", Take::Count)]).unwrap();
        number.event(&json!({ "denied": [1, 2] }));
        number.event(&json!({ "denied": [] }));
        assert_eq!(number.value(1.0, 0).0, Some(2));
    }

    #[test]
    fn what_counts_from_the_sessions_beginning_is_differenced() {
        let mut number =
            Number::new(&[Reading { scope: Scope::Session, ..reading("n", Take::Last) }]).unwrap();
        assert_eq!(number.value(1.0, 10), (None, None));
        number.event(&json!({ "n": 25 }));
        assert_eq!(number.value(1.0, 10), (Some(15), Some(25)));
        assert_eq!(number.value(1.0, 30), (Some(25), Some(25)), "the program counts anew");
    }

    #[test]
    fn the_first_reading_that_finds_something_holds() {
        let late =
            Reading { filter: vec![("type".to_owned(), "end".to_owned())], ..reading("n", Take::Last) };
        let mut number = Number::new(&[late, reading("n", Take::Sum)]).unwrap();
        number.event(&json!({ "n": 1 }));
        number.event(&json!({ "n": 2 }));
        assert_eq!(number.value(1.0, 0).0, Some(3));
        number.event(&json!({ "n": 7, "type": "end" }));
        assert_eq!(number.value(1.0, 0).0, Some(7));
    }

    #[test]
    fn texts_are_taken_as_declared_and_never_without_bound() {
        let mut text = Text::new(&[reading("t.*.x", Take::Concat)]).unwrap();
        text.event(&json!({ "t": [{ "x": "a" }, { "y": 1 }, { "x": "b" }] }));
        text.event(&json!({ "t": [{ "x": "c" }] }));
        assert_eq!(text.value(), Some("abc"));
        for _ in 0..100 {
            text.event(&json!({ "t": [{ "x": "é".repeat(10_000) }] }));
        }
        assert!(text.value().unwrap().len() <= LONGEST_TEXT * 3 / 2);
    }

    #[test]
    fn numbers_are_read_as_programs_print_them() {
        let check = |text: &str, expected: Option<f64>| assert_eq!(parse(text), expected, "{text}");
        check("4.2k", Some(4200.0));
        check("1,234", Some(1234.0));
        check("$0.05", Some(0.05));
        check("2M", Some(2e6));
        check("", None);
        check("-1", None);
        check("inf", None);
    }
}
