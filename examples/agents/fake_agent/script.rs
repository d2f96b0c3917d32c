//! What may stand in a script.

use std::collections::BTreeMap;
use std::io;

use serde::Deserialize;

/// The script that is used where HOME has none.
const RECORDED: &str = include_str!("recorded.yaml");

/// By a task's id, what each run for it does; `*` stands for all others. The last run is repeated.
#[derive(Deserialize)]
#[serde(transparent)]
pub(crate) struct Script(BTreeMap<String, Vec<Run>>);

impl Script {
    /// The one in HOME, or the one that is built in.
    pub(crate) fn read() -> io::Result<Self> {
        match std::fs::read_to_string(crate::folder().join("script.json")) {
            Ok(text) => Ok(serde_json::from_str(&text)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let recorded: serde_json::Value = serde_yaml::from_str(RECORDED).map_err(io::Error::other)?;
                Ok(serde_json::from_value(recorded)?)
            }
            Err(error) => Err(error),
        }
    }

    /// What run `number` for `task` does, from 1.
    pub(crate) fn run(&self, task: &str, number: usize) -> Option<&Run> {
        let runs = self.0.get(task).or_else(|| self.0.get("*"))?;
        runs.get(number - 1).or_else(|| runs.last())
    }
}

/// What one run does.
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Run {
    /// In this order.
    #[serde(rename = "do")]
    pub(crate) steps: Vec<Step>,
    pub(crate) end: End,
    /// Another exit code than the program has at such an end.
    pub(crate) exit: Option<u8>,
    /// What is said of a failure.
    pub(crate) message: Option<String>,
    pub(crate) usage: Usage,
    /// What it does when it is asked to end.
    pub(crate) on_term: OnTerm,
    /// It keeps no session.
    pub(crate) forgets: bool,
}

/// How a run ends.
#[derive(Deserialize, Default, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "snake_case")]
pub(crate) enum End {
    #[default]
    Ok,
    Failed,
    Auth,
    RateLimit,
    Provider,
    Overflow,
    Budget,
    TurnLimit,
    Config,
    /// Without a word.
    Silent,
}

/// What a run says that it used.
#[derive(Deserialize, Clone, Copy)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Usage {
    pub(crate) input: u64,
    pub(crate) output: u64,
    pub(crate) usd: f64,
    pub(crate) turns: u64,
}

impl Default for Usage {
    fn default() -> Self {
        Self { input: 1000, output: 50, usd: 0.25, turns: 2 }
    }
}

/// At TERM or INT.
#[derive(Deserialize, Default, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OnTerm {
    /// It dies by it.
    #[default]
    Die,
    /// It says that all went well, and exits with 0.
    Succeed,
    /// Nothing.
    Stay,
}

/// One thing that a run does. Paths begin where it was started, or with `$HOME/` or `$TMPDIR/`.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Step {
    /// Writes a file, and makes the folders that lead there.
    Write {
        path: String,
        text: String,
        #[serde(default)]
        executable: bool,
    },
    /// Adds to a file.
    Append {
        path: String,
        text: String,
    },
    Remove(String),
    /// Says something, as an event of its program.
    Say(String),
    /// Prints a line as it is.
    Print(String),
    /// Prints without a line end.
    Piece(String),
    /// Prints this many bytes, in lines.
    Flood(u64),
    /// Says in the middle of the work what was used so far.
    Spend(Usage),
    /// A tool was refused to it.
    Denied(String),
    /// Says the value of a variable.
    Tell {
        variable: String,
        #[serde(default)]
        form: Form,
    },
    /// Writes the value of a variable into a file.
    Keep {
        variable: String,
        path: String,
    },
    /// Starts a process that stays.
    Leave {
        /// In a session of its own.
        #[serde(default)]
        apart: bool,
        /// It holds standard output open.
        #[serde(default)]
        holds_output: bool,
    },
    /// Changes the configuration of the repository that it works in.
    GitConfig(String),
    /// Prints nothing, and changes a file so many times.
    Work {
        steps: u32,
        pause_ms: u64,
    },
    /// Makes a file in the folder of the log.
    Mark(String),
    /// Waits until there is such a file.
    Await(String),
    /// Neither prints nor does anything, until it is ended.
    Hang,
}

/// How a value is told.
#[derive(Deserialize, Default, Clone, Copy)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Form {
    #[default]
    Plain,
    /// In two writes.
    Split,
    Base64,
}
