//! A task's command that ran and succeeded: what the steps after it have in common, wherever it ran.

use std::time::Duration;

use super::checks::CheckFailure;
use super::command::{Call, Paths};
use super::exec_root::ExecRoot;
use super::outcome::Refusal;
use super::{RunContext, checks};
use crate::incremental::{Assignment, Moved, ToolSeen};
use crate::model::{CheckEvidence, Reason, ReasonKind, Task, Work};
use crate::process::{End, Ended, SpawnError};
use crate::workspace::stamp_now;

/// See the module.
pub(super) struct CommandResult {
    /// How the kernel stamped files before the command, in nanoseconds since 1970.
    pub(super) started: i64,
    /// Of the command.
    pub(super) duration: Duration,
    /// Where its output is kept, where it printed something.
    pub(super) log: Option<String>,
    /// The end of its output.
    pub(super) tail: Vec<u8>,
    /// An agent's program, as it was when it started.
    pub(super) program: Option<ToolSeen>,
}

/// How the kernel stamps files from now on. Where files count that nobody has looked at, those that were there when the
/// build began are to have an older stamp: that takes a tick (10 ms at most) if it began just now.
pub(super) fn stamp(context: &RunContext, task: &Task) -> i64 {
    const TICK: u32 = 20;
    for _ in 0..TICK {
        let now = stamp_now();
        if task.depfile.is_none() || now > context.began {
            return now;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    // The clock was set back.
    stamp_now()
}

impl CommandResult {
    /// Runs the command; anything but success is a refusal.
    pub(super) fn command(
        context: &RunContext,
        exec_root: &ExecRoot,
        assignment: &Assignment,
    ) -> Result<Self, Box<Failed>> {
        let task = &assignment.task;
        let started = stamp(context, task);
        let Work::Run(command) = &task.work else {
            return Err(Failed::before(Refusal::new("it has no command")));
        };
        let paths = Paths::new(task, &assignment.action);
        let log = context.log(&task.id, None);
        let call =
            Call { context, exec_root, task, command, paths: &paths, log, stall: task.stall, is_work: true };
        let ended = call.run().map_err(|error| Failed::before(*spawn_refusal(&error)))?;
        let log = (ended.bytes > 0).then(|| context.shown(&context.log(&task.id, None)));
        let complaint = complaint(task, &ended);
        let ran = Self { started, duration: ended.duration, log, tail: ended.tail, program: None };
        match complaint {
            None => Ok(ran),
            Some(message) => {
                let cancelled = matches!(ended.end, End::Cancelled | End::Stopped);
                let refusal = Refusal { retryable: !cancelled, cancelled, ..*ran.refuse(message) };
                Err(Box::new(Failed { refusal, tail: ran.tail }))
            }
        }
    }

    /// The program that ran, if it is another one by now.
    pub(super) fn exchanged_program(&self) -> Option<Moved> {
        let program = self.program.as_ref().filter(|program| !program.is_same())?;
        Some(Moved::Tool(program.name.clone()))
    }

    /// What was made is not accepted; another attempt may help.
    pub(super) fn refuse(&self, message: impl Into<String>) -> Box<Refusal> {
        let refusal = Refusal::new(message);
        Box::new(Refusal { retryable: true, duration: self.duration, log: self.log.clone(), ..refusal })
    }

    /// Runs the task's checks. A check that could not run accepts nothing, but what was made stands: then there
    /// is a refusal beside the evidence.
    pub(super) fn validate(
        &self,
        context: &RunContext,
        exec_root: &ExecRoot,
        assignment: &Assignment,
    ) -> Result<(Vec<CheckEvidence>, Option<Refusal>), Box<Refusal>> {
        let verdict = checks::run(context, exec_root, assignment, "validate", &assignment.task.validate);
        let Some(failure) = verdict.failure else { return Ok((verdict.evidence, None)) };
        let keep = failure.could_not_run && !failure.cancelled;
        let refusal = self.refused_by(failure);
        if keep { Ok((verdict.evidence, Some(refusal))) } else { Err(Box::new(refusal)) }
    }

    fn refused_by(&self, failure: CheckFailure) -> Refusal {
        let reason = Reason::new(ReasonKind::ValidationFailed).name(failure.definition.clone());
        let log = self.log.clone();
        Refusal { reason, retryable: true, duration: self.duration, log, ..failure.into() }
    }
}

/// A command that did not succeed, with the end of what it printed.
pub(super) struct Failed {
    pub(super) refusal: Refusal,
    pub(super) tail: Vec<u8>,
}

impl Failed {
    /// Nothing ran.
    pub(super) fn before(refusal: Refusal) -> Box<Self> {
        Box::new(Self { refusal, tail: Vec::new() })
    }
}

impl From<Box<Failed>> for Box<Refusal> {
    fn from(failed: Box<Failed>) -> Self {
        Self::new(failed.refusal)
    }
}

/// Why nothing ran at all.
pub(super) fn spawn_refusal(error: &SpawnError) -> Box<Refusal> {
    let cancelled = matches!(error, SpawnError::AlreadyStopping);
    Box::new(Refusal { cancelled, ..Refusal::new(error.to_string()) })
}

/// What is wrong with how a command ended.
pub(super) fn complaint(task: &Task, ended: &Ended) -> Option<String> {
    let limit = |limit: Option<Duration>| crate::model::format_duration(limit.unwrap_or_default());
    match ended.end {
        End::Exited(0) => None,
        End::Exited(code) => Some(format!("it failed with exit code {code}")),
        End::Signalled(signal) => Some(format!("it was killed by signal {signal}")),
        End::TimedOut => Some(format!("it did not end within its timeout of {}", limit(task.timeout))),
        End::Stalled => Some(format!("it printed and changed nothing for {} (stall)", limit(task.stall))),
        End::Cancelled => Some("it was cancelled".to_owned()),
        End::Stopped => Some("it was stopped".to_owned()),
    }
}
