//! What an agent did for a task: how each run of its program ended, what it used, and what it said of itself.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::result::millis;
use super::{Digest, Entry};

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
