//! The laws: what conductor promises (`docs/architecture.md`, invariants), held against random
//! graphs, random edits, crashes, damage and full disks. Everything here drives the binary, as a
//! person does.
//!
//! `CONDUCTOR_LAWS_CASES` sets how many random scenarios are tried (default: as many as fit a
//! minute), `CONDUCTOR_LAWS_SEED` which ones. `CONDUCTOR_LAWS_ALL=1` tries all of a matrix
//! (`midrun.rs`). A scenario that breaks a law is shrunk and printed as a shell script.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod cache;
mod chains;
mod dag;
mod edits;
mod failures;
mod faults;
mod ground;
mod integration;
mod keys;
mod locks;
mod midrun;
mod oracle;
mod random_builds;
mod recipe;
mod scenario;
mod worktrees;
