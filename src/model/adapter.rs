//! How an agent's command-line program is driven: its arguments, how it gets its task, what it prints, and what
//! its ends mean. All of it is data, written in YAML: `src/manifest/adapters.yaml` holds the built-in ones, `agents:`
//! in a manifest lays further ones over them. `docs/agents.md` says what each part means.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::AgentEnd;

/// One adapter, all of its parts.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Adapter {
    /// Its name under `agents:`, which is what a task's `agent:` says.
    pub name: String,
    /// `bin:`, the program: a name on PATH, or a path (relative ones are the manifest's).
    pub bin: String,
    /// `argv:`, where `{bin}` is the first element of all.
    pub argv: Vec<Argument>,
    /// `new:`, behind `argv` where a session begins.
    pub new: Vec<Argument>,
    /// `resume:`, behind `argv` where a session goes on; empty: it cannot.
    pub resume: Vec<Argument>,
    /// `tail:`, behind all others.
    pub tail: Vec<Argument>,
    /// `prompt:`
    pub prompt: PromptChannel,
    /// `env:`, sorted by name; values are templates like the arguments.
    pub env: Vec<(String, String)>,
    /// `pass_env:`, names that are handed through from the caller where set.
    pub pass_env: Vec<String>,
    /// `secrets:`, names that are handed through from the caller where set, and whose values are masked.
    pub secrets: Vec<String>,
    /// `files:`, paths below HOME and their contents, which are templates too; sorted by path.
    pub files: Vec<(String, String)>,
    /// `login:`, paths below HOME that are linked from the user's own, where they exist there.
    pub login: Vec<String>,
    /// `settings:`, paths below HOME that are copied from the user's own, where they exist there. What becomes of the
    /// copies never reaches the user's files.
    pub settings: Vec<String>,
    /// `home:`
    pub home: Home,
    /// `output:`
    pub output: AgentOutput,
    /// `events:`
    pub events: Events,
    /// `outcome:`; the first that applies holds.
    pub outcome: Vec<Rule>,
    /// `model:`, unless a task names one.
    pub model: Option<String>,
    /// `price:`, for a program that does not tell what it cost.
    pub price: Option<Price>,
    /// `stall:`, how long it may neither print nor change anything.
    pub stall: Duration,
    /// `grace:`, between TERM and KILL.
    pub grace: Duration,
    /// `version:`, the arguments with which it prints its version.
    pub version: Vec<String>,
    /// `require:`, what its version must begin with, where that is pinned.
    pub require: Option<String>,
    /// `check_login:`, the arguments of a command that succeeds where it can log in, where there is such a command.
    pub check_login: Vec<String>,
    /// `help:`, what a person does who has it not installed or is not logged in.
    pub help: Option<String>,
    /// `protect:`, paths at which its project settings lie; tasks may not write there unless they declare it.
    pub protect: Vec<String>,
}

/// A part of the command line, a template with placeholders: `{model}`; `{{` stands for `{`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Argument {
    /// Always there.
    Always(String),
    /// A list within the list: left out as a whole where one of its placeholders is empty.
    Group(Vec<String>),
}

/// How a program gets its prompt.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum PromptChannel {
    /// `stdin`
    #[default]
    Stdin,
    /// `arg`, or `arg:--message`: as the last argument, behind that flag where there is one. One that is too large for the kernel goes through a
    /// file, of which the argument tells.
    Argument(Option<String>),
    /// `file`: in the file that `{prompt_file}` names.
    File,
}

/// Whose HOME a program has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Home {
    /// An empty one of its own.
    #[default]
    Private,
    /// The user's.
    User,
}

/// What a program prints.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum AgentOutput {
    /// `json`: JSON objects, one a line; other lines are text.
    #[default]
    JsonLines,
    /// `text`
    Text,
    /// `file`: one JSON object in the file that `{result_file}` names, in conductor's own words.
    ResultFile,
}

/// Where in the output things stand. Of several readings of one thing the first that found a value holds.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Events {
    /// The session's id.
    pub session: Vec<Reading>,
    /// What only a run that came to its end prints.
    pub end: Vec<Reading>,
    /// The answer.
    pub text: Vec<Reading>,
    /// What went wrong, in the program's words.
    pub message: Vec<Reading>,
    /// Tokens read.
    pub tokens_in: Vec<Reading>,
    /// Tokens written.
    pub tokens_out: Vec<Reading>,
    /// US dollars.
    pub cost_usd: Vec<Reading>,
    /// Turns of the model.
    pub turns: Vec<Reading>,
    /// Tools that it was not allowed to use.
    pub denials: Vec<Reading>,
    /// Seconds until a provider's limit is over, or a sentence that says so.
    pub retry_after: Vec<Reading>,
}

/// One thing that is read out of the output.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Reading {
    /// `where:`, which events: dotted paths and what they must hold. Empty: any.
    pub filter: Vec<(String, String)>,
    /// `at:`, dotted paths of the value; numbers at several are added up, texts joined. None: the event itself counts.
    pub at: Vec<String>,
    /// `text:`, a regular expression whose first group is the value, in lines that are no events.
    pub text: Option<String>,
    /// `take:`
    pub take: Take,
    /// `by:`, a dotted path: events with the same value there tell of one thing, and the last of them holds.
    pub by: Option<String>,
    /// `scope:`
    pub scope: Scope,
}

/// Which of several values holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Take {
    /// The first.
    First,
    /// The last.
    #[default]
    Last,
    /// All of them added up.
    Sum,
    /// How many there are.
    Count,
    /// All of them one behind the other.
    Concat,
}

/// What a number counts from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Scope {
    /// From the start of the program.
    #[default]
    Run,
    /// From the beginning of the session, over all programs that went on with it.
    Session,
}

/// When a run ended how. All that is said must hold.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Rule {
    /// `is:`
    pub is: AgentEnd,
    /// `where:`, some event holds this; with `last`, that one does.
    pub filter: Vec<(String, String)>,
    /// `last:`, the last event that holds this.
    pub last: Vec<(String, String)>,
    /// `text:`, a regular expression that some line matches which is no event.
    pub text: Option<String>,
    /// `exit:`, one of these codes.
    pub exit: Vec<i32>,
}

impl Adapter {
    /// Does anything tell what a run of it costs?
    pub fn tells_cost(&self) -> bool {
        !self.events.cost_usd.is_empty() || self.price.is_some() || self.output == AgentOutput::ResultFile
    }
}

/// US dollars for a million tokens.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Price {
    /// `input:`
    pub input: f64,
    /// `output:`
    pub output: f64,
}
