//! What it is called as, and what it was told: by the arguments of the program that it plays.

use std::ffi::OsStr;
use std::io;
use std::path::Path;

/// The program that is played.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cli {
    Claude,
    Codex,
    Gemini,
    Opencode,
    Pi,
    Copilot,
    Qwen,
    Aider,
    Command,
}

impl Cli {
    const NAMED: [(&'static str, Self); 8] = [
        ("claude", Self::Claude),
        ("codex", Self::Codex),
        ("gemini", Self::Gemini),
        ("opencode", Self::Opencode),
        ("pi", Self::Pi),
        ("copilot", Self::Copilot),
        ("qwen", Self::Qwen),
        ("aider", Self::Aider),
    ];

    fn named(program: &str) -> Self {
        let name = Path::new(program).file_name().and_then(OsStr::to_str).unwrap_or_default();
        Self::NAMED.into_iter().find(|(other, _)| *other == name).map_or(Self::Command, |(_, cli)| cli)
    }

    pub(crate) fn name(self) -> &'static str {
        Self::NAMED.into_iter().find(|(_, cli)| *cli == self).map_or("command", |(name, _)| name)
    }

    /// What it answers to `--version`.
    pub(crate) fn version(self) -> &'static str {
        match self {
            Self::Claude => "2.1.330 (Claude Code)",
            Self::Codex => "codex-cli 0.169.0",
            Self::Gemini => "0.61.0",
            Self::Opencode => "1.18.33",
            Self::Pi => "0.73.1",
            Self::Copilot => "1.0.102",
            Self::Qwen => "0.24.4",
            Self::Aider => "aider 0.86.2",
            Self::Command => "fake_agent 1.0.0",
        }
    }

    /// How it gets its task.
    fn channel(self) -> Channel {
        match self {
            Self::Claude | Self::Codex | Self::Gemini | Self::Qwen => Channel::Stdin,
            Self::Opencode | Self::Pi => Channel::Last,
            Self::Copilot => Channel::Flag("-p"),
            Self::Aider => Channel::Flag("--message"),
            Self::Command => Channel::FileVariable("CONDUCTOR_PROMPT_FILE"),
        }
    }
}

/// Of aider's: the file in which it keeps what was said.
const HISTORY: &str = "--chat-history-file";

fn name_of_history(path: &str) -> Option<String> {
    Path::new(path).file_stem()?.to_str().map(str::to_owned)
}

/// See [`Cli::channel`].
enum Channel {
    Stdin,
    /// The last argument.
    Last,
    /// The argument behind this one.
    Flag(&'static str),
    /// In the file that this variable names.
    FileVariable(&'static str),
}

/// A call.
pub(crate) struct Call {
    pub(crate) cli: Cli,
    pub(crate) arguments: Vec<String>,
    pub(crate) asks_version: bool,
    /// The name that a new session is to have.
    pub(crate) new: Option<String>,
    /// The session to go on with.
    pub(crate) resume: Option<String>,
}

impl Call {
    pub(crate) fn read(arguments: &[String]) -> Self {
        let (program, arguments) = arguments.split_first().map_or(("", &[][..]), |(p, a)| (p.as_str(), a));
        let cli = Cli::named(program);
        let value = |flag: &str| {
            let joined = format!("{flag}=");
            let is = |argument: &&String| argument.as_str() == flag;
            let next = arguments.iter().position(|argument| is(&argument)).map(|at| at + 1);
            let apart = next.and_then(|at| arguments.get(at)).cloned();
            apart.or_else(|| arguments.iter().find_map(|a| a.strip_prefix(&joined).map(str::to_owned)))
        };
        let resume = match cli {
            Cli::Codex => value("resume"),
            Cli::Opencode | Cli::Pi => value("--session"),
            // Its session is the file in which it keeps what was said.
            Cli::Aider if !arguments.iter().any(|argument| argument == "--restore-chat-history") => None,
            Cli::Aider => value(HISTORY).as_deref().and_then(name_of_history),
            Cli::Command => std::env::var("CONDUCTOR_SESSION").ok().filter(|session| !session.is_empty()),
            _ => value("--resume"),
        };
        Self {
            cli,
            arguments: arguments.to_vec(),
            asks_version: arguments == ["--version"],
            new: match cli {
                Cli::Aider => value(HISTORY).as_deref().and_then(name_of_history),
                _ => value("--session-id"),
            },
            resume,
        }
    }

    /// What it was told, by the way of its program.
    pub(crate) fn prompt(&self) -> io::Result<String> {
        let missing = |what: &str| io::Error::other(format!("there is no {what}"));
        let behind = |flag: &str| {
            let at = self.arguments.iter().position(|argument| argument == flag);
            at.and_then(|at| self.arguments.get(at + 1)).ok_or_else(|| missing(flag))
        };
        match self.cli.channel() {
            Channel::Stdin => io::read_to_string(io::stdin()),
            Channel::Last => self.arguments.last().cloned().ok_or_else(|| missing("argument")),
            Channel::Flag(flag) => behind(flag).cloned(),
            Channel::FileVariable(name) => {
                std::fs::read_to_string(std::env::var_os(name).ok_or_else(|| missing(name))?)
            }
        }
    }
}
