//! Listens to a program while it runs: every line of its output goes in as it comes, what it has used so far can be
//! asked at any moment, and at the end [`Listener::finish`] says what became of it.
//!
//! Memory is bounded whatever is printed: of each reading one value is kept, of text the end.

use regex::Regex;
use serde_json::Value;

use super::matching::{self, Filter, PatternError};
use super::reading::{Number, Occurs, SessionTotals, Text, keep_end};
use crate::model::{Adapter, AgentEnd, AgentOutput, Price, Rule, Usage};

/// A longer event is passed over.
const LONGEST_EVENT: usize = 16 << 20;
/// Whoever reads the output may hand over a longer line in pieces of at least this many bytes.
const LEAST_PIECE: usize = 16 << 10;
/// How much text that is no event is kept: the end.
const LAST_WORDS: usize = 16 << 10;
/// How much is kept of what an event says of a failure.
const LONGEST_MESSAGE: usize = 2000;
/// Millionths.
const MICRO: f64 = 1e6;

/// Where events say what went wrong, for adapters that do not say.
const SAID: [&str; 9] = [
    "error.data.message",
    "error.message",
    "data.message",
    "message.errorMessage",
    "errorMessage",
    "error",
    "message",
    "result",
    "errors.*",
];

/// Listens to one run of a program.
pub struct Listener {
    pub(super) output: AgentOutput,
    pub(super) session: Text,
    pub(super) end: Occurs,
    pub(super) text: Text,
    pub(super) message: Text,
    pub(super) retry_after: Text,
    tokens_in: Number,
    tokens_out: Number,
    cost: Number,
    turns: Number,
    pub(super) denials: Number,
    pub(super) price: Option<Price>,
    pub(super) rules: Vec<Heeded>,
    /// The last text that is no event.
    pub(super) words: String,
    /// The beginning of an event that comes in pieces.
    piece: Vec<u8>,
}

/// A rule, and whether it applies as far as the output goes.
pub(super) struct Heeded {
    pub(super) is: AgentEnd,
    filter: Filter,
    last: Option<Filter>,
    line: Option<Regex>,
    pub(super) exit: Vec<i32>,
    /// Does it ask for events?
    events: bool,
    event_hit: bool,
    line_hit: bool,
    /// What the event that it applies to says.
    pub(super) said: Option<String>,
}

impl Heeded {
    fn new(rule: &Rule) -> Result<Self, PatternError> {
        Ok(Self {
            is: rule.is,
            filter: Filter::new(&rule.filter)?,
            last: (!rule.last.is_empty()).then(|| Filter::new(&rule.last)).transpose()?,
            line: rule.text.as_deref().map(matching::regex).transpose()?,
            exit: rule.exit.clone(),
            events: !rule.filter.is_empty() || !rule.last.is_empty(),
            event_hit: false,
            line_hit: false,
            said: None,
        })
    }

    fn event(&mut self, event: &Value) {
        if !self.events {
            return;
        }
        let hit = match &self.last {
            Some(last) if !last.matches(event) => return,
            Some(_) => self.filter.matches(event),
            None if self.filter.matches(event) => true,
            None => return,
        };
        self.event_hit = hit;
        self.said = hit.then(|| said(event)).flatten();
    }

    fn line(&mut self, line: &str) {
        if !self.line_hit && self.line.as_ref().is_some_and(|regex| regex.is_match(line)) {
            self.line_hit = true;
            self.said = Some(shortened(line.trim()));
        }
    }

    /// Does all that it says hold? `exit` is none after a signal.
    pub(super) fn holds(&self, exit: Option<i32>) -> bool {
        let exits = match (self.exit.is_empty(), exit) {
            // That it went well is believed after a good end alone.
            (true, exit) => self.is != AgentEnd::Ok || exit == Some(0),
            (false, exit) => exit.is_some_and(|code| self.exit.contains(&code)),
        };
        exits && (!self.events || self.event_hit) && (self.line.is_none() || self.line_hit)
    }
}

/// What an event says of a failure.
fn said(event: &Value) -> Option<String> {
    let texts = SAID.iter().filter_map(|path| {
        let texts: Vec<&str> = matching::at(event, path).into_iter().filter_map(Value::as_str).collect();
        (!texts.is_empty()).then(|| texts.join("; "))
    });
    texts.map(|text| text.trim().to_owned()).find(|text| !text.is_empty()).map(|text| shortened(&text))
}

pub(super) fn shortened(text: &str) -> String {
    match text.get(..text.floor_char_boundary(LONGEST_MESSAGE)) {
        Some(start) if start.len() < text.len() => format!("{start}…"),
        _ => text.to_owned(),
    }
}

impl Listener {
    /// For one run of the adapter's program. An error names the expression that is none; loading the manifest has
    /// refused such adapters before.
    pub fn new(adapter: &Adapter) -> Result<Self, PatternError> {
        let events = &adapter.events;
        Ok(Self {
            output: adapter.output,
            session: Text::new(&events.session)?,
            end: Occurs::new(&events.end)?,
            text: Text::new(&events.text)?,
            message: Text::new(&events.message)?,
            retry_after: Text::new(&events.retry_after)?,
            tokens_in: Number::new(&events.tokens_in)?,
            tokens_out: Number::new(&events.tokens_out)?,
            cost: Number::new(&events.cost_usd)?,
            turns: Number::new(&events.turns)?,
            denials: Number::new(&events.denials)?,
            price: adapter.price,
            rules: adapter.outcome.iter().map(Heeded::new).collect::<Result<_, _>>()?,
            words: String::new(),
            piece: Vec::new(),
        })
    }

    /// Takes in one line of output, without its end or with it. Where a line was cut into pieces of some size, the pieces
    /// may come one by one.
    pub fn line(&mut self, line: &[u8]) {
        let line = line.trim_ascii_end();
        if self.output != AgentOutput::JsonLines {
            return self.words(line);
        }
        if !self.piece.is_empty() && self.goes_on(line) {
            return;
        }
        if !line.trim_ascii_start().starts_with(b"{") {
            return self.words(line);
        }
        match serde_json::from_slice::<Value>(line) {
            Ok(event) => self.event(&event),
            Err(error) if error.is_eof() && line.len() >= LEAST_PIECE => self.piece = line.to_vec(),
            Err(_) => self.words(line),
        }
    }

    /// Is `line` the next piece of the event that has begun?
    fn goes_on(&mut self, line: &[u8]) -> bool {
        // An event that is whole by itself: the one that had begun never ended.
        if line.starts_with(b"{\"") && serde_json::from_slice::<Value>(line).is_ok() {
            self.piece = Vec::new();
            return false;
        }
        if self.piece.len() + line.len() > LONGEST_EVENT {
            // Its last piece is a short one; what follows is a line of its own again.
            if line.len() < LEAST_PIECE {
                self.piece = Vec::new();
            }
            return true;
        }
        self.piece.extend_from_slice(line);
        // Trying at each piece would take quadratic time.
        if line.ends_with(b"}")
            && let Ok(event) = serde_json::from_slice::<Value>(&self.piece)
        {
            self.piece = Vec::new();
            self.event(&event);
        } else if line.len() < LEAST_PIECE {
            self.piece = Vec::new();
        }
        true
    }

    fn event(&mut self, event: &Value) {
        for text in [&mut self.session, &mut self.text, &mut self.message, &mut self.retry_after] {
            text.event(event);
        }
        self.end.event(event);
        for number in self.numbers() {
            number.event(event);
        }
        for rule in &mut self.rules {
            rule.event(event);
        }
    }

    fn words(&mut self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        for text in [&mut self.session, &mut self.text, &mut self.message, &mut self.retry_after] {
            text.line(&line);
        }
        self.end.line(&line);
        for number in self.numbers() {
            number.line(&line);
        }
        for rule in &mut self.rules {
            rule.line(&line);
        }
        self.words.push_str(&line);
        self.words.push('\n');
        keep_end(&mut self.words, LAST_WORDS);
    }

    fn numbers(&mut self) -> [&mut Number; 5] {
        [&mut self.tokens_in, &mut self.tokens_out, &mut self.cost, &mut self.turns, &mut self.denials]
    }

    /// Has it said that it came to its end?
    pub fn saw_end(&self) -> bool {
        self.end.is_declared() && self.end.seen()
    }

    /// The answer as far as it goes, for people; none where the output is text, which they read as it is.
    pub fn said(&self) -> Option<&str> {
        self.text.value().filter(|_| self.output == AgentOutput::JsonLines)
    }

    /// What this run has used so far, without its time. `before` is what its session had used when it began.
    pub fn usage(&self, before: &SessionTotals) -> Usage {
        self.counted(before).0
    }

    /// The usage of this run, and what its session has used in all.
    pub(super) fn counted(&self, before: &SessionTotals) -> (Usage, SessionTotals) {
        let (tokens_in, all_in) = self.tokens_in.value(1.0, before.tokens_in);
        let (tokens_out, all_out) = self.tokens_out.value(1.0, before.tokens_out);
        let (cost, all_cost) = self.cost.value(MICRO, before.micro_usd);
        let (turns, all_turns) = self.turns.value(1.0, before.turns);
        let (tokens_in, tokens_out) = (tokens_in.unwrap_or(0), tokens_out.unwrap_or(0));
        let usage = Usage {
            tokens_in,
            tokens_out,
            micro_usd: cost.or_else(|| Some(priced(self.price?, tokens_in, tokens_out))),
            turns: turns.unwrap_or(0),
            ..Usage::default()
        };
        let totals = SessionTotals {
            tokens_in: all_in.unwrap_or(before.tokens_in),
            tokens_out: all_out.unwrap_or(before.tokens_out),
            micro_usd: all_cost.unwrap_or(before.micro_usd),
            turns: all_turns.unwrap_or(before.turns),
        };
        (usage, totals)
    }
}

/// Dollars for a million tokens are millionths of a dollar for one.
pub(super) fn priced(price: Price, tokens_in: u64, tokens_out: u64) -> u64 {
    #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
    let cost = tokens_in as f64 * price.input + tokens_out as f64 * price.output;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` stops at both ends")]
    let rounded = cost.round() as u64;
    rounded
}
