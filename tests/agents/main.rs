//! Agents, from outside: with an agent that plays a script in the place of each built-in program, and with the real
//! programs against a server on loopback that answers as their models do.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test ends where its world does not stand")]

#[expect(dead_code, reason = "other tests need all of it")]
#[path = "../support/mod.rs"]
mod support;

mod budgets;
mod ends;
mod example;
mod limits;
mod policy;
mod prompts;
mod record;
mod safety;
mod secrets;
mod streams;
mod world;
