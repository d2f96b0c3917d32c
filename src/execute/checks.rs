//! Runs checks: `require`, `validate`, `gate`. conductor runs them, never the task.

use std::time::Instant;

use regex::bytes::RegexBuilder;

use super::RunContext;
use super::command::{Call, Paths};
use super::exec_root::ExecRoot;
use super::outcome::Refusal;
use crate::agent::{Evidence, FailedCheck};
use crate::incremental::Assignment;
use crate::model::{Check, CheckEvidence, CheckKind, Digest, Event, Signature, WorkspacePath};
use crate::process::{End, SpawnError};

/// What a list of checks led to.
pub(super) struct Verdict {
    pub(super) evidence: Vec<CheckEvidence>,
    pub(super) failure: Option<CheckFailure>,
}

/// The check that refused; those behind it did not run.
pub(super) struct CheckFailure {
    pub(super) message: String,
    /// It could not start, or was stopped: this says nothing of the outputs, and never re-runs the task.
    pub(super) could_not_run: bool,
    pub(super) cancelled: bool,
    pub(super) definition: String,
    /// As written, for people.
    pub(super) check: String,
    /// Its exit code, where it ran a command that ended by itself.
    pub(super) exit: Option<i32>,
    /// What it printed, or why it refused.
    pub(super) said: String,
}

impl From<CheckFailure> for Refusal {
    fn from(failure: CheckFailure) -> Self {
        let check = FailedCheck { check: failure.check, exit: failure.exit, output: failure.said };
        let evidence = Evidence { checks: vec![check], ..Evidence::default() };
        Self { cancelled: failure.cancelled, evidence, ..Self::new(failure.message) }
    }
}

/// Runs `checks` in order until one refuses.
pub(super) fn run(
    context: &RunContext,
    exec_root: &ExecRoot,
    assignment: &Assignment,
    phase: &str,
    checks: &[Check],
) -> Verdict {
    let paths = Paths::new(&assignment.task, &assignment.action);
    let mut verdict = Verdict { evidence: Vec::new(), failure: None };
    for (number, check) in (1..).zip(checks) {
        let start = Instant::now();
        let (mut evidence, failure) = one(context, exec_root, assignment, phase, number, check, &paths);
        evidence.duration = start.elapsed();
        (context.events)(Event::CheckFinished {
            task: assignment.task.id.clone(),
            phase: phase.to_owned(),
            evidence: evidence.clone(),
        });
        verdict.evidence.push(evidence);
        if failure.is_some() {
            verdict.failure = failure;
            break;
        }
    }
    verdict
}

fn one(
    context: &RunContext,
    exec_root: &ExecRoot,
    assignment: &Assignment,
    phase: &str,
    number: usize,
    check: &Check,
    paths: &Paths,
) -> (CheckEvidence, Option<CheckFailure>) {
    let evidence = CheckEvidence {
        check: check.display(),
        passed: true,
        exit: None,
        message: None,
        log: Digest::of(b""),
        duration: std::time::Duration::ZERO,
    };
    let plain = |refused: Option<String>| {
        let failure = refused.map(|message| failed(check, message, false, false));
        let message = failure.as_ref().map(|failure| failure.message.clone());
        (CheckEvidence { passed: failure.is_none(), message, ..evidence.clone() }, failure)
    };
    match &check.kind {
        CheckKind::NonEmpty(path) => plain(is_empty(exec_root, path)),
        CheckKind::Matches { path, regex } => plain(does_not_match(exec_root, path, regex)),
        CheckKind::Run(command) => {
            let part = format!("{phase}-{number}");
            let log = context.log(&assignment.task.id, Some(&part));
            let call = Call {
                context,
                exec_root,
                task: &assignment.task,
                command,
                paths,
                log,
                stall: None,
                is_work: false,
            };
            command_check(check, &call, evidence.clone())
        }
    }
}

fn failed(check: &Check, message: String, could_not_run: bool, cancelled: bool) -> CheckFailure {
    let (definition, said) = (check.definition(), message.clone());
    CheckFailure { message, could_not_run, cancelled, definition, check: check.display(), exit: None, said }
}

fn command_check(
    check: &Check,
    call: &Call<'_>,
    evidence: CheckEvidence,
) -> (CheckEvidence, Option<CheckFailure>) {
    let ended = match call.run() {
        Ok(ended) => ended,
        Err(error) => {
            let stopping = matches!(error, SpawnError::AlreadyStopping);
            let message = format!("the check `{}` could not start: {error}", check.display());
            let refused = CheckEvidence { passed: false, message: Some(message.clone()), ..evidence };
            return (refused, Some(failed(check, message, true, stopping)));
        }
    };
    let exit = if let End::Exited(code) = ended.end { Some(code) } else { None };
    let tail = String::from_utf8_lossy(&ended.tail).into_owned();
    let evidence = CheckEvidence { exit, log: ended.digest, passed: exit == Some(0), ..evidence };
    if evidence.passed {
        return (evidence, None);
    }
    let said = if tail.trim().is_empty() { String::new() } else { format!("\n{}", tail.trim_end()) };
    let (message, could_not_run, cancelled) = match ended.end {
        End::Exited(code @ (126 | 127)) => (format!("could not run (exit {code})"), true, false),
        End::Exited(code) => (format!("failed with exit code {code}"), false, false),
        End::Signalled(signal) => (format!("was killed by signal {signal}"), false, false),
        End::TimedOut => ("did not end in time".to_owned(), true, false),
        End::Stalled => ("stalled".to_owned(), true, false),
        End::Cancelled | End::Stopped => ("was stopped".to_owned(), true, true),
    };
    let message = format!("the check `{}` {message}{said}", check.display());
    let refused = CheckEvidence { message: Some(message.clone()), ..evidence };
    let failure = CheckFailure { exit, said: tail, ..failed(check, message, could_not_run, cancelled) };
    (refused, Some(failure))
}

fn is_empty(exec_root: &ExecRoot, path: &WorkspacePath) -> Option<String> {
    let signature = exec_root.dir.signature(path);
    if signature == Signature::ABSENT {
        return Some(format!("{path} does not exist"));
    }
    if signature.is_folder() {
        let files = exec_root.dir.list(path).unwrap_or_default();
        let holds_one = files.iter().any(|file| !exec_root.dir.signature(file).is_folder());
        return (!holds_one).then(|| format!("{path} holds no file"));
    }
    // A link is as empty as what it leads to.
    (exec_root.dir.size(path) == 0).then(|| format!("{path} is empty"))
}

fn does_not_match(exec_root: &ExecRoot, path: &WorkspacePath, regex: &str) -> Option<String> {
    let content = match exec_root.read(path) {
        Ok(content) => content,
        Err(error) => return Some(format!("{path} cannot be read: {error}")),
    };
    match RegexBuilder::new(regex).multi_line(true).build() {
        Ok(compiled) if compiled.is_match(&content) => None,
        Ok(_) => Some(format!("nothing in {path} matches `{regex}`")),
        Err(error) => Some(format!("`{regex}` is no regular expression: {error}")),
    }
}
