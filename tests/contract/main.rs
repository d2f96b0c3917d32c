//! The binary held to its contract, from outside: each module takes a topic, each test a sentence of it.
#![expect(clippy::unwrap_used, reason = "a test ends where its world does not stand")]

#[path = "../support/mod.rs"]
mod support;

mod affected;
mod announced;
mod approval;
mod build;
mod cache;
mod check_formats;
mod checks;
mod conflicts;
mod edits;
mod examples;
mod execution;
mod failures;
mod flakes;
mod groups;
mod inputs;
mod instructions;
mod json;
mod links;
mod live;
mod lock;
mod merge;
mod mid_run;
mod persons;
mod readonly;
mod reasons;
mod rollback;
mod sandbox;
mod sandbox_ends;
mod shard;
mod snapshot;
mod staleness;
mod strange;
mod strangers;
mod verify;
mod versus;
mod workspace;
mod worktree;
