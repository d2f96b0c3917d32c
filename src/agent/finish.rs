//! What became of a run of an agent's program, once it has ended.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::limit::retry_after;
use super::listener::{Listener, priced, shortened};
use super::reading::SessionTotals;
use crate::model::{AgentEnd, AgentOutput, Usage};

/// No wait is so long: it is a point in time, in seconds since 1970.
const EPOCH: Duration = Duration::from_secs(1_000_000_000);

/// What is known of a run that has ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Heard {
    /// How it ended, by its exit and its own word. That conductor stopped it, it cannot know.
    pub end: AgentEnd,
    /// It said that it came to its end; true where its adapter has no such word.
    pub saw_end: bool,
    /// The session, by the name that the program gave it.
    pub session: Option<String>,
    /// The answer.
    pub text: Option<String>,
    /// What this run used, without its time.
    pub usage: Usage,
    /// What its session has used in all, for the next run that goes on with it.
    pub totals: SessionTotals,
    /// How often a tool was refused to it.
    pub denials: u64,
    /// When a provider's limit is over, where it says so.
    pub retry_after: Option<Duration>,
    /// What went wrong, in the program's words.
    pub message: Option<String>,
}

/// What a program may leave in the file that `{result_file}` names.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Told {
    outcome: Option<String>,
    session: Option<String>,
    text: Option<String>,
    tokens_in: Option<u64>,
    tokens_out: Option<u64>,
    cost_usd: Option<f64>,
    turns: Option<u64>,
    denials: Option<u64>,
    retry_after: Option<Value>,
    message: Option<String>,
}

impl Listener {
    /// The program has ended with code `exit` (none: by a signal). `result_file` is what it left there, `before` what
    /// its session had used when it began.
    pub fn finish(self, exit: Option<i32>, result_file: Option<&[u8]>, before: &SessionTotals) -> Heard {
        let (usage, totals) = self.counted(before);
        let (end, said) = self.judge(exit);
        let saw_end = !self.end.is_declared() || self.end.seen();
        // An answer without the event that ends it is half of one.
        let end = if end == AgentEnd::Ok && !saw_end { AgentEnd::NoResult } else { end };
        let text = match self.output {
            AgentOutput::JsonLines => self.text.value().map(str::to_owned),
            AgentOutput::Text | AgentOutput::ResultFile => {
                self.text.value().or_else(|| Some(self.words.trim())).map(str::to_owned)
            }
        };
        let mut heard = Heard {
            end,
            saw_end,
            session: self.session.value().map(str::to_owned),
            text: text.filter(|text| !text.is_empty()),
            usage,
            totals,
            denials: self.denials.value(1.0, 0).0.unwrap_or(0),
            retry_after: self.retry_after.value().and_then(moment),
            message: None,
        };
        if end != AgentEnd::Ok {
            heard.message = self.message.value().map(shortened).or(said).or_else(|| self.last_words());
        }
        if let Some(file) = result_file.filter(|_| self.output == AgentOutput::ResultFile) {
            self.told(file, exit, &mut heard);
        }
        if matches!(heard.end, AgentEnd::RateLimit | AgentEnd::Provider) && heard.retry_after.is_none() {
            let now = jiff::Zoned::now();
            let texts = [heard.message.as_deref(), Some(self.words.as_str())];
            heard.retry_after = texts.into_iter().flatten().find_map(|text| retry_after(text, &now));
        }
        heard
    }

    /// The first rule that holds, and what it goes by.
    fn judge(&self, exit: Option<i32>) -> (AgentEnd, Option<String>) {
        if let Some(rule) = self.rules.iter().find(|rule| rule.holds(exit)) {
            return (rule.is, rule.said.clone());
        }
        let end = match exit {
            Some(0) => AgentEnd::NoResult,
            Some(_) => AgentEnd::Failed,
            None => AgentEnd::Signalled,
        };
        (end, None)
    }

    /// The last lines that are no events.
    fn last_words(&self) -> Option<String> {
        let mut lines: Vec<&str> =
            self.words.lines().rev().filter(|line| !line.trim().is_empty()).take(5).collect();
        lines.reverse();
        (!lines.is_empty()).then(|| shortened(&lines.join("\n")))
    }

    /// Lays over what the program wrote into its result file.
    fn told(&self, file: &[u8], exit: Option<i32>, heard: &mut Heard) {
        let told: Told = match serde_json::from_slice(file) {
            Ok(told) => told,
            Err(error) => {
                heard.end = AgentEnd::Failed;
                heard.message = Some(format!("its result file is not what it should be: {error}"));
                return;
            }
        };
        match told.outcome.as_deref() {
            None => {}
            Some(outcome) => match AgentEnd::NAMED.into_iter().find(|end| end.name() == outcome) {
                // That it went well is believed after a good end alone.
                Some(AgentEnd::Ok) if exit != Some(0) => {}
                Some(end) => heard.end = end,
                None => {
                    heard.end = AgentEnd::Failed;
                    heard.message =
                        Some(format!("its result file names an outcome that there is not: `{outcome}`"));
                    return;
                }
            },
        }
        heard.session = told.session.or(heard.session.take());
        heard.text = told.text.or(heard.text.take());
        heard.denials = told.denials.unwrap_or(heard.denials);
        heard.retry_after = told.retry_after.and_then(|value| seconds(&value)).or(heard.retry_after);
        let usage = &mut heard.usage;
        usage.tokens_in = told.tokens_in.unwrap_or(usage.tokens_in);
        usage.tokens_out = told.tokens_out.unwrap_or(usage.tokens_out);
        usage.turns = told.turns.unwrap_or(usage.turns);
        let price = || self.price.map(|price| priced(price, usage.tokens_in, usage.tokens_out));
        usage.micro_usd = told.cost_usd.map(micro).or_else(price).or(usage.micro_usd);
        heard.message = match heard.end {
            AgentEnd::Ok => None,
            _ => told.message.map(|message| shortened(&message)).or(heard.message.take()),
        };
    }
}

fn micro(usd: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` stops at both ends")]
    let micro = (usd * 1e6).round() as u64;
    micro
}

/// A number of seconds, or words of a time.
fn seconds(value: &Value) -> Option<Duration> {
    match value {
        Value::Number(number) => Duration::try_from_secs_f64(number.as_f64()?).ok(),
        Value::String(text) => moment(text),
        _ => None,
    }
}

/// What a reading of `retry_after` found: a number of seconds, `12s`, or a sentence.
fn moment(text: &str) -> Option<Duration> {
    let number = text.trim().parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    // A number of seconds since 1970 is a point in time.
    let now = Duration::from_secs(jiff::Timestamp::now().as_second().unsigned_abs());
    let number = number.map(|wait| if wait >= EPOCH { wait.saturating_sub(now) } else { wait });
    number
        .or_else(|| crate::model::parse_duration(text).ok())
        .or_else(|| retry_after(text, &jiff::Zoned::now()))
}
