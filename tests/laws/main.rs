//! The laws: what conductor promises (`docs/architecture.md`, invariants), held against random
//! graphs, random edits, crashes, damage and full disks. Everything here drives the binary, as a
//! person does.
//!
//! `cargo test` tries a fixed part (`seeds.rs`); these variables widen it, and `.ci/nightly` sets
//! them: `CONDUCTOR_LAWS_RANDOM=1` (a new seed for each case), `CONDUCTOR_LAWS_CASES`,
//! `CONDUCTOR_LAWS_KILLS`, `CONDUCTOR_LAWS_SECONDS` (for each law), `CONDUCTOR_LAWS_ALL=1` (all of
//! a matrix, `midrun.rs`), `CONDUCTOR_LAWS_SEED` (another fixed seed), `CONDUCTOR_LAWS_SHRINK` (how
//! long to shrink), `CONDUCTOR_LAWS_REPORT` (a file that gets a line for each law). A scenario that
//! breaks a law is shrunk and printed as a shell script.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod cache;
mod chains;
mod dag;
mod edits;
mod failures;
mod faults;
mod follow;
mod ground;
mod integration;
mod keys;
mod locks;
mod midrun;
mod oracle;
mod random_builds;
mod recipe;
mod scenario;
mod seeds;
mod worktrees;
