//! What an agent did for a task: how each run of its program ended, what it used, and what it said of itself.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::result::millis;
use super::{Budget, Digest, Entry, format_duration};

/// How a run of an agent's program ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentEnd {
    /// It came to its end, by its own word. Whether the result is any good the checks say.
    Ok,
    /// It says that it failed, for a reason that has no name of its own.
    Failed,
    /// It may not use the model: no login, a wrong key, no credit.
    Auth,
    /// The provider's limit on requests or tokens.
    RateLimit,
    /// The provider is out of order.
    Provider,
    /// Its context is full.
    Overflow,
    /// A limit on cost or tokens is reached, its own or conductor's.
    Budget,
    /// A limit on turns is reached, its own or conductor's.
    TurnLimit,
    /// It was called in a way that it does not understand.
    Config,
    /// Stopped: it took too long.
    Timeout,
    /// Stopped: it neither printed nor changed anything for too long.
    Stalled,
    /// Stopped because a person asked.
    Cancelled,
    /// A signal that did not come from conductor.
    Signalled,
    /// It ended without a word that it came to its end.
    NoResult,
    /// It came to its end and changed nothing.
    NoChange,
    /// It came to its end, and its result was not accepted.
    Invalid,
}

impl AgentEnd {
    /// All that a manifest may name.
    pub const NAMED: [Self; 9] = [
        Self::Ok,
        Self::Failed,
        Self::Auth,
        Self::RateLimit,
        Self::Provider,
        Self::Overflow,
        Self::Budget,
        Self::TurnLimit,
        Self::Config,
    ];

    /// As manifests and JSON have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Auth => "auth",
            Self::RateLimit => "rate_limit",
            Self::Provider => "provider",
            Self::Overflow => "overflow",
            Self::Budget => "budget",
            Self::TurnLimit => "turn_limit",
            Self::Config => "config",
            Self::Timeout => "timeout",
            Self::Stalled => "stalled",
            Self::Cancelled => "cancelled",
            Self::Signalled => "signalled",
            Self::NoResult => "no_result",
            Self::NoChange => "no_change",
            Self::Invalid => "invalid",
        }
    }
}

/// What agents used. Numbers of several runs add up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens read by the model.
    pub tokens_in: u64,
    /// Tokens written by it.
    pub tokens_out: u64,
    /// Millionths of a US dollar, where the program says so or its adapter has a price.
    pub micro_usd: Option<u64>,
    /// Turns of the model, where the program says so.
    pub turns: u64,
    /// Wall-clock time of the program.
    #[serde(rename = "time_ms", with = "millis")]
    pub time: Duration,
}

impl Usage {
    /// Read and written.
    pub fn tokens(&self) -> u64 {
        self.tokens_in.saturating_add(self.tokens_out)
    }

    /// What it cost, in US dollars.
    #[expect(
        clippy::cast_precision_loss,
        reason = "for people and limits; 2^53 millionths are nine billion dollars"
    )]
    pub fn usd(&self) -> Option<f64> {
        self.micro_usd.map(|micro| micro as f64 / 1e6)
    }

    /// What was used since `before`.
    pub fn since(&self, before: &Self) -> Self {
        let micro_usd =
            self.micro_usd.map(|micro| micro.saturating_sub(before.micro_usd.unwrap_or_default()));
        Self {
            tokens_in: self.tokens_in.saturating_sub(before.tokens_in),
            tokens_out: self.tokens_out.saturating_sub(before.tokens_out),
            micro_usd,
            turns: self.turns.saturating_sub(before.turns),
            time: self.time.saturating_sub(before.time),
        }
    }

    /// Both together.
    pub fn add(&mut self, other: &Self) {
        self.tokens_in = self.tokens_in.saturating_add(other.tokens_in);
        self.tokens_out = self.tokens_out.saturating_add(other.tokens_out);
        self.turns = self.turns.saturating_add(other.turns);
        self.time = self.time.saturating_add(other.time);
        self.micro_usd = match (self.micro_usd, other.micro_usd) {
            (None, None) => None,
            (a, b) => Some(a.unwrap_or_default().saturating_add(b.unwrap_or_default())),
        };
    }
}

/// One run of an agent's program.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AgentRun {
    /// How it ended.
    pub end: AgentEnd,
    /// The session, by the name that the program gave it.
    pub session: Option<String>,
    /// It went on with a session that an earlier run began.
    pub resumed: bool,
    /// What it used.
    pub usage: Usage,
    /// What was wrong: the evidence that the next run was shown.
    pub complaint: Option<String>,
}

/// What a record keeps of the agent that made its result.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AgentResult {
    /// The adapter's name.
    pub adapter: String,
    /// What the program says is its version.
    pub version: Option<String>,
    /// The model that was asked for.
    pub model: Option<String>,
    /// Every run of the program, in order; the last one's result was accepted.
    pub runs: Vec<AgentRun>,
    /// All runs together.
    pub usage: Usage,
    /// The answer of the last run.
    pub text: Option<String>,
    /// All that the runs read and printed, redacted, among the objects.
    pub transcript: Option<Entry>,
}

impl AgentResult {
    /// The transcript's digest, for whoever keeps or sweeps objects.
    pub fn transcript_digest(&self) -> Option<Digest> {
        self.transcript.map(|entry| entry.digest)
    }
}

impl Budget {
    /// Is nothing limited?
    pub fn is_unlimited(&self) -> bool {
        *self == Self::default()
    }

    /// The limit that `spent` has reached, for people, and how a run ends that is stopped for it.
    pub fn reached(&self, spent: &Usage) -> Option<(AgentEnd, String)> {
        let money = |usd: f64| format!("${usd:.2}");
        if let Some(usd) = self.usd
            && spent.micro_usd.is_some_and(|used| used >= micro(usd))
        {
            let used = spent.usd().unwrap_or_default();
            return Some((AgentEnd::Budget, format!("{} of {} are spent", money(used), money(usd))));
        }
        let reached = |limit: Option<u64>, used: u64| limit.filter(|limit| used >= *limit);
        if let Some(limit) = reached(self.tokens, spent.tokens()) {
            return Some((AgentEnd::Budget, format!("{} of {limit} tokens are used", spent.tokens())));
        }
        if let Some(limit) = reached(self.turns, spent.turns) {
            return Some((AgentEnd::TurnLimit, format!("{} of {limit} turns are taken", spent.turns)));
        }
        let limit = self.time.filter(|limit| spent.time >= *limit)?;
        let (used, limit) = (format_duration(spent.time), format_duration(limit));
        Some((AgentEnd::Budget, format!("{used} of {limit} are used")))
    }

    /// What `spent` leaves of it.
    pub fn left(&self, spent: &Usage) -> Self {
        Self {
            usd: self.usd.map(|usd| (usd - spent.usd().unwrap_or_default()).max(0.0)),
            tokens: self.tokens.map(|limit| limit.saturating_sub(spent.tokens())),
            turns: self.turns.map(|limit| limit.saturating_sub(spent.turns)),
            time: self.time.map(|limit| limit.saturating_sub(spent.time)),
        }
    }

    /// With the limits of `other` in the place of its own, where that has them.
    pub fn overlaid(self, other: Option<&Self>) -> Self {
        let Some(other) = other else { return self };
        Self {
            usd: other.usd.or(self.usd),
            tokens: other.tokens.or(self.tokens),
            turns: other.turns.or(self.turns),
            time: other.time.or(self.time),
        }
    }

    /// The tighter of both, limit by limit.
    pub fn and(&self, other: &Self) -> Self {
        fn least<T: PartialOrd>(a: Option<T>, b: Option<T>) -> Option<T> {
            match (a, b) {
                (Some(a), Some(b)) => Some(if b < a { b } else { a }),
                (a, b) => a.or(b),
            }
        }
        Self {
            usd: least(self.usd, other.usd),
            tokens: least(self.tokens, other.tokens),
            turns: least(self.turns, other.turns),
            time: least(self.time, other.time),
        }
    }
}

/// US dollars in millionths.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "amounts of money are small and never negative"
)]
pub fn micro(usd: f64) -> u64 {
    (usd.max(0.0) * 1e6).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spent(micro_usd: u64, tokens: u64) -> Usage {
        Usage { micro_usd: Some(micro_usd), tokens_out: tokens, ..Usage::default() }
    }

    #[test]
    fn a_limit_is_reached_by_what_is_spent_and_not_by_what_is_left() {
        let budget = Budget { usd: Some(2.0), tokens: Some(100), ..Budget::default() };
        assert_eq!(budget.reached(&spent(1_999_999, 99)), None);
        assert_eq!(budget.reached(&spent(2_000_000, 0)).map(|(end, _)| end), Some(AgentEnd::Budget));
        assert_eq!(
            budget.reached(&spent(0, 100)).map(|(_, why)| why).as_deref(),
            Some("100 of 100 tokens are used")
        );
        let left = budget.left(&spent(500_000, 30));
        assert_eq!((left.usd, left.tokens), (Some(1.5), Some(70)));
        assert_eq!(
            left.and(&Budget { tokens: Some(5), turns: Some(1), ..Budget::default() }).tokens,
            Some(5)
        );
    }

    #[test]
    fn what_nobody_tells_costs_nothing_that_could_be_added() {
        let mut sum = Usage::default();
        sum.add(&Usage { tokens_in: 5, ..Usage::default() });
        assert_eq!((sum.micro_usd, sum.tokens()), (None, 5));
        sum.add(&spent(7, 1));
        assert_eq!((sum.micro_usd, sum.tokens()), (Some(7), 6));
    }
}
