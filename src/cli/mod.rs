//! The command line: argv → options, one file a command, exit codes.
//!
//! The only room that knows the environment, the terminal and the process's exit code. Everything is
//! passed on as data.

mod affected;
mod base;
mod build;
mod cache;
mod caching;
mod cancel;
mod check;
mod clean;
mod completions;
mod desk;
mod doctor;
mod exit;
mod graph;
mod init;
mod interruption;
mod list;
mod lock;
mod log;
mod merge;
mod options;
mod output;
mod prompt;
mod runs;
mod schema;
mod session;
mod shards;
mod transcript;
mod validate;
mod verify;
mod versus;
mod why;

use std::collections::BTreeMap;
use std::ffi::OsString;

use clap::Parser as _;

pub use exit::Exit;
use options::{Command, Options};
use output::Output;

use crate::incremental::Caller;
use crate::model::{Diagnostic, Sources};

/// Why a command ended early: what to tell, and the exit code.
struct Stop {
    diagnostics: Vec<Diagnostic>,
    sources: Sources,
    exit: Exit,
}

impl Stop {
    fn new(exit: Exit, diagnostics: Vec<Diagnostic>, sources: &Sources) -> Self {
        Self { diagnostics, sources: sources.clone(), exit }
    }

    /// A problem that no place in the manifest explains.
    fn plain(exit: Exit, diagnostic: Diagnostic) -> Self {
        Self { diagnostics: vec![diagnostic], sources: Sources::default(), exit }
    }
}

impl From<Diagnostic> for Stop {
    fn from(diagnostic: Diagnostic) -> Self {
        Self::plain(Exit::Failed, diagnostic)
    }
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        Diagnostic::error("cli::io", error.to_string()).into()
    }
}

impl From<crate::store::Error> for Stop {
    fn from(error: crate::store::Error) -> Self {
        Diagnostic::error("cli::state", error.to_string()).into()
    }
}

/// Runs a command line and says how it ended.
pub fn run(args: impl IntoIterator<Item = OsString>, env: BTreeMap<OsString, OsString>) -> Exit {
    let args: Vec<OsString> = args.into_iter().collect();
    let caller = Caller(env);
    let options = match Options::try_parse_from(&args) {
        Ok(options) => options,
        Err(error) => return refuse_usage(&error, &args, &caller),
    };
    let output = Output::new(&caller, options.global.color, options.is_json());
    match dispatch(options, caller, &output) {
        Ok(exit) => exit,
        Err(stop) => {
            output.diagnostics(&stop.diagnostics, &stop.sources);
            stop.exit
        }
    }
}

fn dispatch(options: Options, caller: Caller, output: &Output) -> Result<Exit, Stop> {
    if !cfg!(target_os = "linux") {
        let diagnostic = Diagnostic::error("cli::platform", "conductor runs on Linux only for now");
        return Err(Stop::plain(Exit::Usage, diagnostic));
    }
    let global = options.global;
    match options.command {
        Command::Build(args) => build::run(&global, &args, caller, output),
        Command::Check(args) => check::run(&global, &args, caller, output),
        Command::Lock(args) => lock::run(&global, &args, caller, output),
        Command::Validate(_) => validate::run(&global, caller, output),
        Command::List(args) => list::run(&global, &args, caller, output),
        Command::Why(args) => why::run(&global, &args, caller, output),
        Command::Graph(args) => graph::run(&global, &args, caller, output),
        Command::Affected(args) => affected::run(&global, &args, caller, output),
        Command::Log(args) => log::run(&global, &args, caller, output),
        Command::Prompt(args) => prompt::run(&global, &args, caller, output),
        Command::Doctor(args) => doctor::run(&global, &args, caller, output),
        Command::Runs(args) => runs::run(&global, &args, caller, output),
        Command::Cancel(args) => cancel::run(&global, &args, caller, output),
        Command::Cache(args) => cache::run(&global, &args, caller, output),
        Command::Clean(args) => clean::run(&global, &args, caller, output),
        Command::Approve(args) => desk::approve(&global, &args, caller, output),
        Command::Reject(args) => desk::reject(&global, &args, caller, output),
        Command::Resolve(args) => desk::resolve(&global, &args, caller, output),
        Command::Merge(args) => merge::run(&global, &args, caller, output),
        Command::Rollback(args) => desk::rollback(&global, &args, caller, output),
        Command::Init(args) => init::run(&global, &args, output),
        Command::Schema(_) => Ok(schema::run(output)),
        Command::Completions(args) => Ok(completions::run(args.shell, output)),
    }
}

/// `--help` and `--version` go to standard output; a wrong command line is a diagnostic.
fn refuse_usage(error: &clap::Error, args: &[OsString], caller: &Caller) -> Exit {
    use clap::error::ErrorKind;
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // Nobody is left to tell when even this cannot be written.
        let _ = error.print();
        return Exit::Success;
    }
    let text: Vec<_> = args.iter().map(|arg| arg.to_string_lossy()).collect();
    let json = text.iter().any(|arg| arg == "--format=json")
        || text.windows(2).any(|pair| pair[0] == "--format" && pair[1] == "json");
    if json {
        let message = error.to_string();
        // The first paragraph: what is missing may stand on lines of its own.
        let lines = message.trim_start_matches("error: ").lines().take_while(|line| !line.is_empty());
        let message = lines.map(str::trim).collect::<Vec<_>>().join(" ");
        let diagnostic =
            Diagnostic::error("cli::usage", message).help("`conductor --help` lists the commands");
        Output::new(caller, options::Color::Auto, true).diagnostics(&[diagnostic], &Sources::default());
    } else {
        let _ = error.print();
    }
    Exit::Usage
}
