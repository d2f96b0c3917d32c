//! The second start of this program: it confines itself and becomes the program that it was started for.
//!
//! It runs before anything else of conductor does, reads nothing but its arguments, and starts no thread.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use rustix::fs::{Access, access};
use rustix::io::Errno;

use super::command::word;
use super::{files, network, privileges, report};

/// The argument, right after the program's name, by which a second start is known. No command is called so.
pub const ENTRY: &str = "__confine";

/// What a second start ends with when it does not become the program. Nobody takes it for the
/// program's own code: the report says which it was.
const NOT_RUN: u8 = 125;

/// The arguments of a second start.
#[derive(Default, Debug)]
pub(super) struct Order {
    pub(super) landlock: bool,
    pub(super) without_network: bool,
    pub(super) view: files::View,
    env: Vec<(OsString, OsString)>,
    argv: Vec<OsString>,
}

/// Why a process could not be confined.
#[derive(Debug, thiserror::Error)]
pub(in super::super) enum Problem {
    #[error("unexpected argument `{}`", .0.display())]
    Argument(OsString),
    #[error("cannot {action} {}: {source}", path.display())]
    Path { action: &'static str, path: PathBuf, source: io::Error },
    #[error("Landlock: {0}")]
    Landlock(#[from] landlock::RulesetError),
    #[error("Landlock is not in force")]
    NotInForce,
    #[error("cannot {action}: {source}")]
    System { action: &'static str, source: io::Error },
}

impl Problem {
    /// For `map_err`.
    pub(super) fn system<E: Into<io::Error>>(action: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::System { action, source: source.into() }
    }
}

/// Does what the arguments after [`ENTRY`] say. Returns only if that fails.
pub fn enter(args: impl Iterator<Item = OsString>) -> ExitCode {
    let Ok(mut report) = take_report() else { return NOT_RUN.into() };
    let confined = Order::parse(args).and_then(|order| order.confine().map(|()| order));
    let done = match confined {
        Ok(order) => order.exec(&mut report),
        Err(problem) => write!(report, "{problem}").map(|()| NOT_RUN),
    };
    // A parent that could not be told takes the silence for a failure, and is right.
    done.unwrap_or(NOT_RUN).into()
}

/// Standard error is the report's pipe: moved aside, so that the exec closes it. From here on it goes where
/// standard output goes.
fn take_report() -> io::Result<File> {
    let report = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stderr(), 3)?;
    rustix::stdio::dup2_stderr(rustix::stdio::stdout())?;
    Ok(report.into())
}

impl Order {
    fn parse(mut args: impl Iterator<Item = OsString>) -> Result<Self, Problem> {
        let mut order = Self::default();
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| Problem::Argument(arg.clone()));
            match arg.to_str() {
                Some(word::LANDLOCK) => order.landlock = true,
                Some(word::NAMESPACE) => order.without_network = true,
                Some(word::WRITE) => order.view.write.push(value()?.into()),
                Some(word::READ) => order.view.read.push(value()?.into()),
                Some(word::HIDE) => order.view.hide.push(value()?.into()),
                Some(word::ENV) => order.env.push(variable(&value()?)?),
                Some(word::END) => {
                    order.argv = args.collect();
                    return Ok(order);
                }
                _ => return Err(Problem::Argument(arg)),
            }
        }
        Err(Problem::Argument(OsString::new()))
    }

    fn confine(&self) -> Result<(), Problem> {
        // First, for it writes to /proc.
        if self.without_network {
            network::leave()?;
        }
        privileges::give_up().map_err(Problem::system("give up privileges"))?;
        if self.landlock {
            files::restrict(&self.view, !self.without_network)?;
        }
        Ok(())
    }

    /// Becomes the program. Returns only if that fails, or where there is none.
    fn exec(&self, report: &mut File) -> io::Result<u8> {
        report::ready(&mut *report)?;
        let Some((program, arguments)) = self.argv.split_first() else { return Ok(0) };
        let mut command = Command::new(program);
        command.args(arguments).envs(self.env.iter().map(|(name, value)| (name, value)));
        let error = if is_text_without_interpreter(program) { Errno::NOEXEC.into() } else { command.exec() };
        report::failed(report, &error).map(|()| NOT_RUN)
    }
}

/// The C library's `execvp`, which the standard library calls here, hands a file of a format that the kernel
/// does not know to `/bin/sh`. An unconfined start fails instead, and so must this one. (A program for
/// another kind of machine is not told apart from one that the kernel has an emulator for: `sh` complains of it.)
fn is_text_without_interpreter(program: &OsStr) -> bool {
    if access(program, Access::EXEC_OK).is_err() {
        return false;
    }
    let mut start = Vec::new();
    let read = File::open(program).and_then(|file| file.take(256).read_to_end(&mut start));
    read.is_ok() && !start.starts_with(b"#!") && !start.contains(&0)
}

/// `NAME=VALUE`.
fn variable(text: &OsStr) -> Result<(OsString, OsString), Problem> {
    let bytes = text.as_bytes();
    let at = bytes.iter().position(|byte| *byte == b'=').ok_or_else(|| Problem::Argument(text.to_owned()))?;
    Ok((OsStr::from_bytes(&bytes[..at]).to_owned(), OsStr::from_bytes(&bytes[at + 1..]).to_owned()))
}
