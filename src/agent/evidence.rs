//! What was wrong with a result, told to the agent that made it; and whether two results failed in the same way.

use std::fmt::Write as _;
use std::sync::LazyLock;

use regex::Regex;
use serde::{Deserialize, Serialize};

use super::positions::positions;
use super::prompt::{Brief, list, outline};
use crate::model::{AgentEnd, Digest, Encoder, WorkspacePath};

/// How much of the end of a check's output is shown.
const OUTPUT: usize = 8 * 1024;
/// How many paths of one kind are named.
const PATHS: usize = 40;
/// How much of a diff is shown to a session that begins anew.
const DIFF: usize = 24 * 1024;
/// How much of what the program itself said is shown.
const MESSAGE: usize = 2000;

/// A check that refused a result.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FailedCheck {
    /// The check as written: `run: cargo test`.
    pub check: String,
    /// Its exit code, where it ran a command that ended by itself.
    pub exit: Option<i32>,
    /// What it printed, or why it refused.
    pub output: String,
}

/// Why a result was not accepted.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Evidence {
    /// How the run ended, where that alone is what was wrong.
    pub end: Option<AgentEnd>,
    /// What the program said of it.
    pub message: Option<String>,
    /// Checks that refused.
    pub checks: Vec<FailedCheck>,
    /// Declared outputs that are not there.
    pub missing: Vec<WorkspacePath>,
    /// Files that it wrote and had not to.
    pub undeclared: Vec<WorkspacePath>,
    /// Nothing at all has changed.
    pub unchanged: bool,
}

/// What the agent that goes on with its session is told.
pub fn feedback(evidence: &Evidence) -> String {
    let mut text = String::from("Your work on this task was checked and is not accepted yet.\n");
    describe(evidence, &mut text);
    text.push_str(
        "\nFind the cause and fix it in your work. Do not weaken, skip or edit a check, and do not start over: keep what is \
         right. The rules of the task still hold. Run the failing check yourself before you finish, where you can.\n",
    );
    text
}

/// What the agent is told that was interrupted by something that does not concern its work.
pub fn go_on() -> String {
    "You were interrupted before you had finished; nothing is wrong with your work so far. Your files and this conversation are as you \
     left them. Go on with the task where you stopped, and finish it.\n"
        .to_owned()
}

/// What a new session is told after others have failed: the task again, what is wrong with what is there, and how the tree differs
/// from where the first one began. `diff` may be cut.
pub fn fresh_start(brief: &Brief<'_>, evidence: &Evidence, diff: &str) -> String {
    let mut text = outline(brief);
    text.push_str(
        "\n# Where things stand\n\nAn earlier attempt at this task has left its work in place. You do not know that attempt; judge its work \
         by the files.\n",
    );
    describe(evidence, &mut text);
    if !diff.trim().is_empty() {
        let (diff, cut) = start_of(diff.trim_end(), DIFF);
        let more = if cut { "\n(The rest is left out. Read the files.)\n" } else { "" };
        let fence = fence(diff);
        let _ = write!(text, "\nWhat it changed so far:\n\n{fence}diff\n{diff}\n{fence}\n{more}");
    }
    text.push_str("\nGo on from there: keep what is right, replace what is not, and finish the task.\n");
    text
}

fn describe(evidence: &Evidence, text: &mut String) {
    if evidence.unchanged {
        text.push_str(
            "\nNo file has changed. The task asks for files; an answer in words alone does not count.\n",
        );
    }
    if let Some(sentence) = evidence.end.and_then(ended) {
        let _ = write!(text, "\n{sentence}\n");
    }
    if let Some(message) = &evidence.message {
        let (message, _) = start_of(message.trim(), MESSAGE);
        let _ = write!(text, "\n{}\n", quoted(message));
    }
    for check in &evidence.checks {
        failed_check(check, text);
    }
    paths("These outputs are missing. Make each of them at exactly this path", &evidence.missing, text);
    paths(
        "These files were written, but they are not among what the task may write. Remove them, or put their content where it belongs",
        &evidence.undeclared,
        text,
    );
}

/// What is said of a run that did not come to a good end.
fn ended(end: AgentEnd) -> Option<&'static str> {
    Some(match end {
        AgentEnd::Timeout => "The attempt was stopped because it took too long.",
        AgentEnd::Stalled => {
            "The attempt was stopped because it neither printed nor changed anything for too long. Do not start commands that wait for \
             input or never end."
        }
        AgentEnd::Overflow => {
            "The attempt ran out of context. Read only what you need, in parts, and do not print large files or logs."
        }
        AgentEnd::NoResult | AgentEnd::Failed | AgentEnd::Signalled => {
            "The attempt broke off before it was finished."
        }
        AgentEnd::Ok
        | AgentEnd::Auth
        | AgentEnd::RateLimit
        | AgentEnd::Provider
        | AgentEnd::Budget
        | AgentEnd::TurnLimit
        | AgentEnd::Config
        | AgentEnd::Cancelled
        | AgentEnd::NoChange
        | AgentEnd::Invalid => return None,
    })
}

fn failed_check(check: &FailedCheck, text: &mut String) {
    let exit = check.exit.map_or_else(String::new, |code| format!(" (exit code {code})"));
    let _ = write!(text, "\nThis check fails{exit}:\n\n{}\n", indented(&check.check));
    let output = check.output.trim();
    if output.is_empty() {
        text.push_str("\nIt printed nothing.\n");
        return;
    }
    let end = end_of(output, OUTPUT);
    let which = if end.len() < output.len() { "The end of its output" } else { "Its output" };
    let fence = fence(end);
    let _ = write!(text, "\n{which}:\n\n{fence}\n{end}\n{fence}\n");
    let places = positions(output);
    if !places.is_empty() {
        let shown: Vec<String> = places.iter().take(PATHS / 2).map(ToString::to_string).collect();
        let _ = write!(text, "\nPlaces that it names: {}\n", shown.join(", "));
    }
}

fn paths(what: &str, paths: &[WorkspacePath], text: &mut String) {
    if !paths.is_empty() {
        let _ = write!(text, "\n{what}:\n\n{}", list(paths.iter().map(WorkspacePath::to_text), PATHS));
    }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}

fn quoted(text: &str) -> String {
    text.lines().map(|line| format!("> {line}")).collect::<Vec<_>>().join("\n")
}

/// A fence that no line of `text` ends.
fn fence(text: &str) -> String {
    let longest = text
        .lines()
        .map(|line| line.trim_start().bytes().take_while(|byte| *byte == b'`').count())
        .max()
        .unwrap_or(0);
    "`".repeat(longest.max(2) + 1)
}

/// At most `most` bytes of the end, from the beginning of a line where there is one.
fn end_of(text: &str, most: usize) -> &str {
    if text.len() <= most {
        return text;
    }
    let end = &text[text.ceil_char_boundary(text.len() - most)..];
    end.split_once('\n').map_or(end, |(_, lines)| if lines.is_empty() { end } else { lines })
}

fn start_of(text: &str, most: usize) -> (&str, bool) {
    if text.len() <= most {
        return (text, false);
    }
    let start = &text[..text.floor_char_boundary(most)];
    (start.rsplit_once('\n').map_or(start, |(lines, _)| lines), true)
}

/// What differs from run to run though the failure is the same.
static NOISE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(concat!(
        r"\x1b\[[0-9;]*[A-Za-z]",
        r"|(?:/(?:tmp|var/tmp|dev/shm|private/var/folders)|[\w./-]*/\.conductor/workspaces)/[\w.@=,%+/-]*",
        r"|\b0x[0-9a-fA-F]+\b",
        r"|\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b",
        r"|\b(?:[0-9]+[a-f]|[a-f]+[0-9])[0-9a-f]{5,}\b",
        r"|[0-9]+(?:[.:,][0-9]+)*\s?(?:ns|µs|us|ms|s|m|min|h)?\b",
        r"|[0-9]+",
    ))
    .ok()
});

/// Two results that failed alike have the same signature: numbers, hexadecimal digits, temporary paths and timings do
/// not count, nor does the order of lines.
pub fn signature(evidence: &Evidence) -> Digest {
    let mut encoder = Encoder::new("conductor agent failure 1");
    encoder.text(evidence.end.map_or("", AgentEnd::name));
    encoder.tag(u8::from(evidence.unchanged));
    encoder.text(&normal(evidence.message.as_deref().unwrap_or_default()));
    encoder.count(evidence.checks.len());
    for check in &evidence.checks {
        encoder.text(&check.check);
        encoder.text(&check.exit.map_or_else(String::new, |code| code.to_string()));
        encoder.text(&normal(end_of(&check.output, OUTPUT)));
    }
    for paths in [&evidence.missing, &evidence.undeclared] {
        let mut paths: Vec<_> = paths.iter().collect();
        paths.sort();
        encoder.count(paths.len());
        for path in paths {
            encoder.bytes(path.as_bytes());
        }
    }
    encoder.finish()
}

fn normal(text: &str) -> String {
    let clean = NOISE.as_ref().map_or(text.into(), |noise| noise.replace_all(text, "#"));
    // Tests that run at once fail in any order.
    let mut lines: Vec<String> = clean
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|line| !line.is_empty())
        .collect();
    lines.sort();
    lines.dedup();
    lines.join("\n")
}
