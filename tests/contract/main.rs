//! The binary held to its contract, from outside: each module takes a topic, each test a sentence of it.
#![expect(clippy::unwrap_used, reason = "a test ends where its world does not stand")]

#[path = "../support/mod.rs"]
mod support;

mod build;
mod failures;
mod reasons;
mod staleness;
