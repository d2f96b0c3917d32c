//! How conductor scales: medians of whole processes, each beside a floor or a peer that was measured in the
//! same run, interleaved with it, so that the load of the machine falls on both.
//!
//! `cargo bench` prints one table in about two minutes; `docs/performance.md` says what the rows mean and
//! how its own numbers were made. Sizes come from the environment:
//!
//! | variable | default | |
//! | --- | --- | --- |
//! | `CONDUCTOR_BENCH_TASKS` | 10000 | tasks of the large graph, each with one source, one output, two needs |
//! | `CONDUCTOR_BENCH_TRIVIAL` | 2000 | tasks of the graph that is nothing but processes, and processes that are confined |
//! | `CONDUCTOR_BENCH_FILES` | 10000 | files of a result that is kept in the cache and restored; and a tenth of them |
//! | `CONDUCTOR_BENCH_LEAVES` | 8000 | outputs that one task reads |
//! | `CONDUCTOR_BENCH_ROUNDS` | 9 | how often each process is measured |
//!
//! The floors are this very program, started anew with the name of a floor (`floor`).

#![expect(clippy::print_stdout, reason = "the table is what a bench is for")]

mod apart;
mod cached;
mod confined;
mod fan_in;
mod floor;
mod measure;
mod table;
mod tree;

use std::path::Path;
use std::process::{Command, ExitCode};

use measure::{Cost, interleaved, once, peak_kib};
use table::Row;
use tree::{Kind, Tree};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    let done = match args.first().and_then(|name| name.to_str()) {
        Some("floor") => floor::look(&args[1..]),
        Some("parse") => floor::parse(&args[1..]),
        Some("worktrees") => apart::make(&args[1..]),
        Some("spawn") => confined::spawn(&args[1..]),
        Some("fan-in") => fan_in::row(8000, 5),
        Some("cached") => cached::rows(1000, 5).and_then(|()| cached::rows(10_000, 3)),
        // `cargo bench` says `--bench`; without it this is a test run, in which nothing is measured.
        _ if args.iter().any(|arg| arg == "--bench") => bench(),
        _ => Ok(()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn bench() -> Result<()> {
    let size = |name: &str, default: usize| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let rounds = size("CONDUCTOR_BENCH_ROUNDS", 9).max(1);
    table::head();
    small(rounds)?;
    let trivials = size("CONDUCTOR_BENCH_TRIVIAL", 2000);
    trivial(trivials, rounds)?;
    confined::rows(trivials, rounds.min(5))?;
    fan_in::row(size("CONDUCTOR_BENCH_LEAVES", 8000), rounds.min(5))?;
    apart::rows(rounds.min(5))?;
    let files = size("CONDUCTOR_BENCH_FILES", 10_000);
    cached::rows(files / 10, rounds.min(5))?;
    cached::rows(files, rounds.min(3))?;
    large(size("CONDUCTOR_BENCH_TASKS", 10_000), rounds)
}

/// `conductor` on a tree.
fn conductor(tree: &Tree, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_conductor"));
    command.arg("-C").arg(tree.root()).args(args);
    command
}

/// This program again, as the floor of that name.
fn peer(name: &str, args: &[&Path]) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(name).args(args);
    Ok(command)
}

/// Builds until nothing is left to do and nothing is too young to be trusted.
fn settle(tree: &Tree) -> Result<()> {
    std::thread::sleep(std::time::Duration::from_millis(100));
    once(conductor(tree, &["build"]))?;
    once(conductor(tree, &["build"])).map(drop)
}

fn small(rounds: usize) -> Result<()> {
    let tree = Tree::make(&Kind::Layers { tasks: 100, layers: 5 })?;
    once(conductor(&tree, &["build"]))?;
    settle(&tree)?;
    let [noop, floor] = interleaved(
        rounds.max(9),
        [&mut || Ok(conductor(&tree, &["build"])), &mut || peer("floor", &[tree.root(), tree.list()])],
    )?;
    Row::new("100 tasks: no-op", noop).beside("lstat", floor).target("10 ms").print();
    Ok(())
}

/// First builds, each in a folder of its own: what is made where something was just removed takes ext4 longer.
fn trivial(tasks: usize, rounds: usize) -> Result<()> {
    let jobs = std::thread::available_parallelism()?.to_string();
    let mut trees: Vec<Tree> = Vec::new();
    for _ in 0..2 * rounds {
        trees.push(Tree::make(&Kind::Processes { tasks })?);
    }
    let list = trees[0].list().to_owned();
    let (cached, uncached) = trees.split_at(rounds);
    let build = |tree: Option<&Tree>, cache: &str| {
        let mut command = conductor(tree.ok_or("no tree is left")?, &["build", "-j", &jobs]);
        command.env("CONDUCTOR_CACHE", cache);
        Ok(command)
    };
    let (mut cached, mut uncached) = (cached.iter(), uncached.iter());
    let [with, without, theirs] = interleaved(
        rounds,
        [&mut || build(cached.next(), "rw"), &mut || build(uncached.next(), "off"), &mut || {
            let mut xargs = Command::new("xargs");
            xargs.args(["-n", "1", "-P", &jobs, "/bin/true"]).stdin(std::fs::File::open(&list)?);
            Ok(xargs)
        }],
    )?;
    let name = format!("{tasks} × /bin/true, no cache");
    Row::new(&name, without).beside("xargs -P", theirs.clone()).target("1.0 ×").print();
    Row::new("  each kept in the cache", with).beside("xargs -P", theirs).target("1.0 ×").print();
    Ok(())
}

fn large(tasks: usize, rounds: usize) -> Result<()> {
    let tree = Tree::make(&Kind::Layers { tasks, layers: 20 })?;
    let few = rounds.min(5);
    let [compile, parse] = interleaved(
        few,
        [&mut || Ok(conductor(&tree, &["validate"])), &mut || peer("parse", &[&tree.manifest()])],
    )?;
    Row::new(&format!("{tasks} tasks: validate"), compile).beside("YAML alone", parse).print();
    Row::new("  first build", once(conductor(&tree, &["build"]))?).print();
    std::thread::sleep(std::time::Duration::from_millis(100));
    Row::new("  second build", once(conductor(&tree, &["build"]))?).print();
    once(conductor(&tree, &["build"]))?;
    let mut floor = || peer("floor", &[tree.root(), tree.list()]);
    let [noop, floored] = interleaved(rounds, [&mut || Ok(conductor(&tree, &["build"])), &mut floor])?;
    Row::new("  no-op build", noop).beside("lstat", floored).target("1.5 ×").print();
    let [check, floored] = interleaved(rounds, [&mut || Ok(conductor(&tree, &["check"])), &mut floor])?;
    Row::new("  check", check).beside("lstat", floored).print();
    edit(&tree, rounds)?;
    let peak = peak_kib(conductor(&tree, &["build"]))?;
    table::memory("  peak memory of the no-op", peak, "300 MB");
    Ok(())
}

/// One source changes; the task that copies it runs, and those that need it, whose outputs stay the same.
fn edit(tree: &Tree, rounds: usize) -> Result<()> {
    let cone = tree.cone();
    let mut edits = 0;
    let mut edited = || {
        edits += 1;
        tree.edit(edits)?;
        Ok(conductor(tree, &["build"]))
    };
    let pairs = cone.iter().flat_map(|task| [tree.source(*task), tree.output(*task)]);
    let pairs: Vec<std::path::PathBuf> = pairs.collect();
    let mut floor = || {
        let mut command = peer("floor", &[tree.root(), tree.list()])?;
        command.args(&pairs);
        Ok(command)
    };
    let [ours, floored]: [Vec<Cost>; 2] = interleaved(rounds, [&mut edited, &mut floor])?;
    let name = format!("  one edit, a cone of {}", cone.len());
    Row::new(&name, ours).beside("lstat and cp", floored).target("1.5 ×").print();
    Ok(())
}
