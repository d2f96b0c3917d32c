//! argv as typed options.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::schedule::Sample;

use crate::model::{Budget, parse_count, parse_duration};

/// Builds targets that are slow, costly or unreliable: only what is stale, and only what was checked counts.
#[derive(Parser, Debug)]
#[command(name = "conductor", version, max_term_width = 100, propagate_version = true)]
pub(super) struct Options {
    #[command(flatten)]
    pub(super) global: Global,
    #[command(subcommand)]
    pub(super) command: Command,
}

impl Options {
    /// Is standard output one JSON document?
    pub(super) fn is_json(&self) -> bool {
        match &self.command {
            Command::Build(args) => args.format.is_json(),
            Command::Check(args) => args.format == CheckFormat::Json,
            Command::Validate(args) | Command::Schema(args) | Command::Lock(args) => args.format.is_json(),
            Command::List(args) | Command::Merge(args) => args.format.is_json(),
            Command::Why(args) => args.format.is_json(),
            Command::Graph(args) => args.format == GraphFormat::Json,
            // A matrix is captured by a shell: what goes wrong is told beside it.
            Command::Affected(args) => args.format == AffectedFormat::Json,
            Command::Log(args) => args.format.is_json(),
            Command::Prompt(args) => args.format.is_json(),
            Command::Doctor(args) => args.format.is_json(),
            Command::Runs(args) => args.format == RunsFormat::Json,
            Command::Cancel(args) => args.format.is_json(),
            Command::Cache(args) => args.command.is_json(),
            Command::Clean(args) => args.format.is_json(),
            Command::Approve(args) => args.format.is_json(),
            Command::Reject(args) => args.format.is_json(),
            Command::Resolve(args) => args.format.is_json(),
            Command::Rollback(args) => args.format.is_json(),
            Command::Init(args) => args.format.is_json(),
            Command::Completions(args) => args.format.is_json(),
        }
    }
}

#[derive(Args, Debug, Clone)]
pub(super) struct Global {
    /// Run as if started in DIR
    #[arg(short = 'C', value_name = "DIR", global = true)]
    pub(super) directory: Option<PathBuf>,
    /// The manifest, instead of searching upwards for conductor.yaml
    #[arg(short = 'f', long = "file", value_name = "FILE", global = true)]
    pub(super) file: Option<PathBuf>,
    /// When to colour
    #[arg(long, value_enum, default_value_t = Color::Auto, global = true)]
    pub(super) color: Color,
}

/// `usd=20,tokens=2M`: limits of a budget, by the names that a manifest has for them.
fn budget(text: &str) -> Result<Budget, String> {
    let mut budget = Budget::default();
    for part in text.split(',') {
        let (name, value) = part.split_once('=').ok_or_else(|| format!("`{part}` is not NAME=VALUE"))?;
        let (name, value) = (name.trim(), value.trim());
        let count =
            || parse_count(value).ok_or_else(|| format!("`{value}` is no number such as 40, 500k or 2M"));
        match name {
            "usd" => {
                let usd = value
                    .trim_start_matches('$')
                    .parse()
                    .ok()
                    .filter(|usd: &f64| usd.is_finite() && *usd >= 0.0);
                budget.usd = Some(usd.ok_or_else(|| format!("`{value}` is no amount of US dollars"))?);
            }
            "tokens" => budget.tokens = Some(count()?),
            "turns" => budget.turns = Some(count()?),
            "time" => {
                let time =
                    parse_duration(value).map_err(|error| format!("`{value}` is no duration: {error}"))?;
                budget.time = Some(time);
            }
            _ => return Err(format!("`{name}` is none of usd, tokens, turns, time")),
        }
    }
    Ok(budget)
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Color {
    Auto,
    Always,
    Never,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Format {
    /// For people
    #[default]
    Human,
    /// One versioned document
    Json,
}

impl Format {
    pub(super) fn is_json(self) -> bool {
        self == Self::Json
    }
}

#[derive(Subcommand, Debug)]
pub(super) enum Command {
    /// Bring targets up to date
    Build(BuildArgs),
    /// Is everything fresh? Reads only; exit code 3 if something is stale
    Check(CheckArgs),
    /// Write conductor.lock, to be committed: with it `check` answers on a fresh clone
    Lock(FormatArgs),
    /// Check the manifest alone
    Validate(FormatArgs),
    /// Show tasks and their state, live while a build runs
    List(TargetArgs),
    /// Why is a task stale, or fresh?
    Why(WhyArgs),
    /// Print the graph
    Graph(GraphArgs),
    /// Which tasks does an edit since a commit make stale?
    Affected(AffectedArgs),
    /// Show what a task printed
    Log(LogArgs),
    /// Print what a task's agent will be told
    Prompt(TargetArg),
    /// Can the agents that the manifest uses work here? Exit code 1 if one cannot
    Doctor(DoctorArgs),
    /// Show past runs
    Runs(RunsArgs),
    /// Stop the build that runs in this workspace, or one of its tasks
    Cancel(CancelArgs),
    /// Look after the cache of results
    Cache(CacheArgs),
    /// Remove recorded outputs that nobody has modified
    Clean(CleanArgs),
    /// Accept a result that waits for approval, exactly as it was shown
    Approve(ApproveArgs),
    /// Throw a result away that waits for approval; its task is due again
    Reject(RejectArgs),
    /// Say whose version of a file holds, yours or conductor's
    Resolve(ResolveArgs),
    /// Merge tasks' branches into HEAD, all of them or none
    Merge(TargetArgs),
    /// Take results back: what they replaced returns, and their tasks are due again
    Rollback(RollbackArgs),
    /// Write a first conductor.yaml
    Init(InitArgs),
    /// Print the JSON Schema of the manifest
    Schema(FormatArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
}

#[derive(Args, Debug)]
pub(super) struct DoctorArgs {
    /// Agents by their adapters' names, instead of those that have tasks
    #[arg(value_name = "AGENT")]
    pub(super) agents: Vec<String>,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: Format,
}

#[derive(Args, Debug)]
pub(super) struct FormatArgs {
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: Format,
}

#[derive(Args, Debug)]
pub(super) struct TargetArgs {
    /// Task ids, groups, output paths, tag:NAME, or globs over ids
    #[arg(value_name = "TARGET")]
    pub(super) targets: Vec<String>,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: Format,
}

#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(super) struct BuildArgs {
    /// Task ids, groups, output paths, tag:NAME, or globs over ids; default: the manifest's `default`
    #[arg(value_name = "TARGET")]
    pub(super) targets: Vec<String>,
    /// Job slots; default: the machine's parallelism
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) jobs: Option<u16>,
    /// After a failure go on with everything that does not depend on it
    #[arg(short, long)]
    pub(super) keep_going: bool,
    /// Say what would run, and run nothing
    #[arg(short = 'n', long)]
    pub(super) dry_run: bool,
    /// Run the targets even if they are fresh
    #[arg(long)]
    pub(super) force: bool,
    /// Anything stale is an error (exit code 3); nothing runs
    #[arg(long, conflicts_with_all = ["dry_run", "force"])]
    pub(super) frozen: bool,
    /// Build the I-th of N parts of the targets, and what it depends on; the same split on every machine
    #[arg(long, value_name = "I/N")]
    pub(super) shard: Option<Shard>,
    /// Balance --shard by the durations in FILE, written by `list --format json`, instead of `effort` alone
    #[arg(long, value_name = "FILE", requires = "shard")]
    pub(super) history: Option<PathBuf>,
    /// Then run a sample of the fresh tasks again, apart, and compare: 5%, or 3; exit code 4 where one made something else
    #[arg(long, value_name = "SAMPLE", value_parser = super::verify::parse, conflicts_with_all = ["dry_run", "frozen"])]
    pub(super) verify: Option<Sample>,
    /// Exit at once if another build holds the workspace
    #[arg(long)]
    pub(super) no_wait: bool,
    /// Run every task so
    #[arg(long, value_enum, value_name = "MODE")]
    pub(super) isolation: Option<IsolationMode>,
    /// What agents may spend in this build: usd=20,tokens=2M,turns=100,time=1h
    #[arg(long, value_name = "LIMITS", value_parser = budget)]
    pub(super) budget: Option<Budget>,
    /// How to show progress
    #[arg(long, value_enum, default_value_t = Progress::Auto)]
    pub(super) progress: Progress,
    /// Write the event stream to FILE, as JSON lines
    #[arg(long, value_name = "FILE")]
    pub(super) events: Option<PathBuf>,
    /// Write a trace to FILE, for Perfetto or Chrome's trace viewer
    #[arg(long, value_name = "FILE")]
    pub(super) trace: Option<PathBuf>,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: Format,
}

/// `2/5`
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Shard {
    /// From 1.
    pub(super) number: u16,
    pub(super) of: u16,
}

impl std::str::FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed =
            text.split_once('/').and_then(|(number, of)| Some((number.parse().ok()?, of.parse().ok()?)));
        match parsed {
            Some((number, of)) if (1..=of).contains(&number) => Ok(Self { number, of }),
            _ => Err("a shard is written I/N, with I from 1 to N: 2/5".to_owned()),
        }
    }
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum IsolationMode {
    None,
    Sandbox,
    Worktree,
}

impl IsolationMode {
    pub(super) fn isolation(self) -> crate::model::Isolation {
        match self {
            Self::None => crate::model::Isolation::None,
            Self::Sandbox => crate::model::Isolation::Sandbox,
            Self::Worktree => crate::model::Isolation::Worktree,
        }
    }
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Progress {
    /// Live on a terminal, else plain
    Auto,
    /// One line for each thing that happens
    Plain,
    /// Failures and the summary
    Quiet,
}

#[derive(Args, Debug)]
pub(super) struct CheckArgs {
    /// Task ids, groups, output paths, tag:NAME, or globs over ids
    #[arg(value_name = "TARGET")]
    pub(super) targets: Vec<String>,
    /// Hash every output and compare it with what was recorded; exit code 4 if one was tampered with
    #[arg(long)]
    pub(super) outputs: bool,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: CheckFormat,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum CheckFormat {
    /// For people
    #[default]
    Human,
    /// One versioned document
    Json,
    /// Annotations for GitHub Actions, and a step summary in the file that `GITHUB_STEP_SUMMARY` names
    Github,
    /// SARIF 2.1.0, for code scanning
    Sarif,
    /// JUnit's XML, for whatever shows tests
    Junit,
}

#[derive(Args, Debug)]
pub(super) struct TargetArg {
    /// A task id, or anything that names one task
    #[arg(value_name = "TARGET")]
    pub(super) target: String,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: Format,
}

#[derive(Args, Debug)]
pub(super) struct WhyArgs {
    /// A task id, or anything that names one task
    #[arg(value_name = "TARGET")]
    pub(super) target: String,
    /// Say also what differs from what the task was in this run (`conductor runs` lists them)
    #[arg(long, value_name = "RUN")]
    pub(super) vs: Option<String>,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: Format,
}

#[derive(Args, Debug)]
pub(super) struct GraphArgs {
    /// Only these and what they depend on
    #[arg(value_name = "TARGET")]
    pub(super) targets: Vec<String>,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: GraphFormat,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum GraphFormat {
    /// For Graphviz
    #[default]
    Dot,
    /// For Markdown
    Mermaid,
    /// One versioned document
    Json,
}

#[derive(Args, Debug)]
pub(super) struct AffectedArgs {
    /// Only these and what they depend on
    #[arg(value_name = "TARGET")]
    pub(super) targets: Vec<String>,
    /// A commit, branch or tag: what was changed since HEAD and it parted counts, the working tree included
    #[arg(long, value_name = "REF")]
    pub(super) base: String,
    /// With --format matrix: so many jobs of about the same length, instead of one for each task
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) shards: Option<u16>,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: AffectedFormat,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum AffectedFormat {
    /// For people
    #[default]
    Human,
    /// One versioned document
    Json,
    /// One line for `strategy.matrix` of GitHub Actions
    Matrix,
}

#[derive(Args, Debug)]
pub(super) struct LogArgs {
    /// A task id; without one: which tasks printed something in the last run
    #[arg(value_name = "TASK")]
    pub(super) task: Option<String>,
    /// Follow the output while the task runs
    #[arg(short = 'f', long, requires = "task")]
    pub(super) follow: bool,
    /// Everything that its agent was told and printed
    #[arg(long, requires = "task", conflicts_with = "follow")]
    pub(super) transcript: bool,
    /// The manifest: the same as before the command, where `-f` means it too
    #[arg(id = "file", long, value_name = "FILE", hide = true)]
    manifest: Option<PathBuf>,
    /// Of this run instead of the last one in which the task ran
    #[arg(long, value_name = "RUN")]
    pub(super) run: Option<String>,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: Format,
}

#[derive(Args, Debug)]
pub(super) struct CacheArgs {
    #[command(subcommand)]
    pub(super) command: CacheCommand,
}

#[derive(Subcommand, Debug)]
pub(super) enum CacheCommand {
    /// Show where it is, how it is used, and how much it holds
    Stat(FormatArgs),
    /// Remove what was not used for long or is too much, by the manifest's limits
    Gc(GcArgs),
    /// Look at all that it holds; exit code 4 if something is damaged
    Verify(VerifyArgs),
    /// Remove all that it holds
    Clear(FormatArgs),
}

impl CacheCommand {
    fn is_json(&self) -> bool {
        match self {
            Self::Stat(args) | Self::Clear(args) => args.format.is_json(),
            Self::Gc(args) => args.format.is_json(),
            Self::Verify(args) => args.format.is_json(),
        }
    }
}

#[derive(Args, Debug)]
pub(super) struct GcArgs {
    /// So much may stay, such as 5GB
    #[arg(long, value_name = "SIZE", value_parser = crate::model::parse_bytes)]
    pub(super) max_size: Option<u64>,
    /// What was not used for so long goes, such as 7d
    #[arg(long, value_name = "DURATION", value_parser = crate::model::parse_duration)]
    pub(super) max_age: Option<std::time::Duration>,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: Format,
}

#[derive(Args, Debug)]
pub(super) struct VerifyArgs {
    /// Remove what is damaged
    #[arg(long)]
    pub(super) repair: bool,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: Format,
}

#[derive(Args, Debug)]
pub(super) struct RunsArgs {
    /// A run's id, for --format markdown; default: the last one
    #[arg(value_name = "RUN")]
    pub(super) run: Option<String>,
    /// Output format; markdown is the execution log of one run
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: RunsFormat,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum RunsFormat {
    /// For people
    #[default]
    Human,
    /// One versioned document
    Json,
    /// The execution log of one run
    Markdown,
}

#[derive(Args, Debug)]
pub(super) struct CancelArgs {
    /// A task id; without one: the whole build
    #[arg(value_name = "TASK")]
    pub(super) task: Option<String>,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: Format,
}

#[derive(Args, Debug)]
pub(super) struct CleanArgs {
    /// Only the outputs of these
    #[arg(value_name = "TARGET")]
    pub(super) targets: Vec<String>,
    /// The branches of these too, as far as conductor put them where they stand
    #[arg(long)]
    pub(super) branches: bool,
    /// Say what would be removed, and remove nothing
    #[arg(short = 'n', long)]
    pub(super) dry_run: bool,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: Format,
}

#[derive(Args, Debug)]
pub(super) struct ApproveArgs {
    /// A task id
    #[arg(value_name = "TASK")]
    pub(super) task: String,
    /// To be kept with the result
    #[arg(long, value_name = "TEXT")]
    pub(super) note: Option<String>,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: Format,
}

#[derive(Args, Debug)]
pub(super) struct RejectArgs {
    /// A task id
    #[arg(value_name = "TASK")]
    pub(super) task: String,
    /// Why; `conductor why` shows it
    #[arg(long, value_name = "TEXT")]
    pub(super) note: Option<String>,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: Format,
}

#[derive(Args, Debug)]
#[command(group(clap::ArgGroup::new("side").required(true)))]
pub(super) struct ResolveArgs {
    /// The file
    #[arg(value_name = "PATH")]
    pub(super) path: String,
    /// Yours becomes the result, if the checks accept it
    #[arg(long, group = "side")]
    pub(super) mine: bool,
    /// conductor's is put there; yours is kept under .conductor/conflicts
    #[arg(long, group = "side")]
    pub(super) theirs: bool,
    /// Yours is what the tasks that edit the file start from anew
    #[arg(long, group = "side")]
    pub(super) replay: bool,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: Format,
}

#[derive(Args, Debug)]
pub(super) struct RollbackArgs {
    /// The tasks: an id, a group, an output's path, tag:NAME, or a glob over ids
    #[arg(value_name = "TARGET", required_unless_present = "run", conflicts_with = "run")]
    pub(super) target: Option<String>,
    /// Every task whose standing result this run made
    #[arg(long, value_name = "RUN")]
    pub(super) run: Option<String>,
    /// Say what would happen, and change nothing
    #[arg(short = 'n', long)]
    pub(super) dry_run: bool,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: Format,
}

#[derive(Args, Debug)]
pub(super) struct InitArgs {
    /// Convert a dispatcher file of the old kind
    #[arg(long, value_name = "FILE")]
    pub(super) from: Option<PathBuf>,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: Format,
}

#[derive(Args, Debug)]
pub(super) struct CompletionsArgs {
    /// For which shell
    #[arg(value_name = "SHELL")]
    pub(super) shell: clap_complete::Shell,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: Format,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn f_is_the_manifest_before_log_and_follow_behind_it() {
        let parse = |args: &str| Options::try_parse_from(args.split(' ')).unwrap();
        let options = parse("conductor -f a.yaml log -f T1");
        assert_eq!(options.global.file, Some(PathBuf::from("a.yaml")));
        assert!(matches!(options.command, Command::Log(LogArgs { follow: true, .. })));
        assert_eq!(parse("conductor log T1 --file b.yaml").global.file, Some(PathBuf::from("b.yaml")));
        assert_eq!(parse("conductor build -f c.yaml").global.file, Some(PathBuf::from("c.yaml")));
    }
}
