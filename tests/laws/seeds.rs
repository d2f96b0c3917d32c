//! The seeds of random laws. `cargo test` tries a fixed number of cases from a fixed seed, and each
//! seed of the file `seeds`, so it decides the same on each run. With `CONDUCTOR_LAWS_RANDOM=1`
//! every case has a new seed; one that breaks its law is added to the file.
//!
//! Rounds of kills are no such law: their moments depend on the machine, so no seed repeats them.

use std::fmt::Write as _;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use proptest::prelude::Strategy;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestError, TestRunner};

/// The file of seeds.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/laws/seeds");

/// Returns a number from the environment.
pub(crate) fn setting(name: &str, otherwise: u32) -> u32 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(otherwise)
}

/// True if every case is to have a new seed.
fn is_random() -> bool {
    setting("CONDUCTOR_LAWS_RANDOM", 0) == 1
}

/// The end of the time for one law, if it is limited (`CONDUCTOR_LAWS_SECONDS`).
fn deadline() -> Option<Instant> {
    let seconds = setting("CONDUCTOR_LAWS_SECONDS", 0);
    (seconds > 0).then(|| Instant::now() + Duration::from_secs(seconds.into()))
}

/// A seed that nobody knows beforehand.
fn new_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// The seed of a law's dice: `fixed`, or a new one, which is printed.
pub(crate) fn dice(law: &str, fixed: u64) -> u64 {
    if !is_random() {
        return fixed;
    }
    let seed = new_seed();
    let _ = std::writeln!(std::io::stderr(), "{law}: dice from {seed}");
    seed
}

/// The numbers of the rounds in which `law` kills something: `fixed` of them, or
/// `CONDUCTOR_LAWS_KILLS`, as long as there is time.
pub(crate) fn kills(law: &'static str, fixed: u32) -> impl Iterator<Item = u32> {
    let (rounds, deadline) = (setting("CONDUCTOR_LAWS_KILLS", fixed), deadline());
    let report = Report { law, began: Instant::now(), cases: 0 };
    (1..=rounds).take_while(move |_| deadline.is_none_or(|deadline| Instant::now() < deadline)).scan(
        report,
        |report, round| {
            report.cases = round;
            Some(round)
        },
    )
}

/// Adds a line to the file that `CONDUCTOR_LAWS_REPORT` names: a law, its cases, its seconds.
struct Report {
    law: &'static str,
    began: Instant,
    cases: u32,
}

impl Drop for Report {
    fn drop(&mut self) {
        let Some(file) = std::env::var_os("CONDUCTOR_LAWS_REPORT") else { return };
        let mut line = String::new();
        let _ = writeln!(line, "{} {} {}", self.law, self.cases, self.began.elapsed().as_secs());
        let file = std::fs::File::options().append(true).create(true).open(file);
        let _ = file.and_then(|mut file| file.write_all(line.as_bytes()));
    }
}

/// Tries the cases that one seed makes. An error is the shrunk failure in words.
fn try_seed<S: Strategy>(
    seed: u64,
    cases: u32,
    strategy: &S,
    holds: &impl Fn(&S::Value) -> Result<(), String>,
) -> Result<(), String> {
    let config = Config {
        cases,
        rng_seed: RngSeed::Fixed(seed),
        max_shrink_iters: setting("CONDUCTOR_LAWS_SHRINK", 150),
        failure_persistence: None,
        ..Config::default()
    };
    match TestRunner::new(config).run(strategy, |value| holds(&value).map_err(TestCaseError::fail)) {
        Ok(()) => Ok(()),
        // The script says it better than the numbers do.
        Err(TestError::Fail(why, _)) => Err(why.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

/// The seeds of `law` in the text of the file.
fn kept(text: &str, law: &str) -> Vec<u64> {
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let fields = lines.map(|line| {
        let mut words = line.split(' ');
        let seed = words.by_ref().nth(1).and_then(|seed| seed.parse().ok());
        (line.split(' ').next(), seed.unwrap_or_else(|| panic!("{FILE}: no seed in `{line}`")))
    });
    fields.filter(|(own, _)| *own == Some(law)).map(|(_, seed)| seed).collect()
}

/// The line that keeps a seed.
fn line(law: &str, seed: u64, why: &str) -> String {
    let first = why.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let hint: String = first.chars().take(120).collect();
    format!("{law} {seed} {hint}\n")
}

/// Tries `cases` cases of a law; prints the shrunk scenario of one that breaks it.
pub(crate) fn try_many<S: Strategy>(
    law: &'static str,
    cases: u32,
    strategy: &S,
    holds: impl Fn(&S::Value) -> Result<(), String>,
) {
    let cases = setting("CONDUCTOR_LAWS_CASES", cases);
    let mut report = Report { law, began: Instant::now(), cases: 0 };
    if is_random() {
        let deadline = deadline();
        while report.cases < cases && deadline.is_none_or(|deadline| Instant::now() < deadline) {
            let seed = new_seed();
            report.cases += 1;
            if let Err(why) = try_seed(seed, 1, strategy, &holds) {
                keep(&line(law, seed, &why));
                panic!("the seed {seed} breaks the law; it is kept in tests/laws/seeds\n{why}");
            }
        }
        return;
    }
    let held = try_seed(setting("CONDUCTOR_LAWS_SEED", 1).into(), cases, strategy, &holds);
    held.unwrap_or_else(|why| panic!("{why}"));
    report.cases = cases;
    for seed in kept(&std::fs::read_to_string(FILE).unwrap(), law) {
        report.cases += 1;
        try_seed(seed, 1, strategy, &holds)
            .unwrap_or_else(|why| panic!("seed {seed} of tests/laws/seeds: {why}"));
    }
}

/// Adds a line to the file of seeds, or to the one that `CONDUCTOR_LAWS_SEEDS` names.
fn keep(line: &str) {
    let file = std::env::var_os("CONDUCTOR_LAWS_SEEDS").unwrap_or(FILE.into());
    let file = std::fs::File::options().append(true).create(true).open(Path::new(&file));
    file.and_then(|mut file| file.write_all(line.as_bytes())).unwrap();
}

#[test]
fn a_seed_that_was_kept_is_found_again_for_its_law_alone() {
    let text = format!("# a comment\n{}{}", line("one", 7, "\n  broken\nat length"), line("two", 8, ""));
    assert_eq!(text, "# a comment\none 7 broken\ntwo 8 \n");
    assert_eq!((kept(&text, "one"), kept(&text, "two"), kept(&text, "three")), (vec![7], vec![8], vec![]));
}

#[test]
fn every_seed_of_the_file_belongs_to_a_law() {
    let text = std::fs::read_to_string(FILE).unwrap();
    let laws = ["random_builds", "cache", "chains", "failures", "keys", "locks", "midrun"];
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let law = line.split(' ').next().unwrap_or_default();
        assert!(laws.contains(&law) && !kept(line, law).is_empty(), "{FILE}: `{line}`");
    }
}

#[test]
fn property_tests_begin_with_a_seed_that_is_fixed_or_told() {
    // Cargo sets it from `.cargo/config.toml`, unless the caller does.
    let seed = std::env::var("PROPTEST_RNG_SEED").unwrap_or_default();
    assert!(seed.parse::<u64>().is_ok(), "PROPTEST_RNG_SEED is `{seed}`");
}
