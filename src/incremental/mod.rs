//! What is stale, and why: the only room that knows salsa.
//!
//! One thread owns the [`Engine`] and with it the database; workers get plain data ([`Assignment`]) and
//! give plain data back. Queries are flat: a verdict reads its dependencies' *recorded results*, which are
//! inputs, and never asks their verdicts. A task that was accepted sets one input, and only if it differs:
//! that is early cutoff.
//!
//! Between processes the same red-green scheme goes on in integers: every file's row says at which tick
//! its content last changed, every task's at which tick it was last verified; only tasks for which
//! something is younger become candidates and are asked (`candidates`).

mod accept;
mod assess;
mod caller;
mod candidates;
mod chain;
mod db;
mod declared;
mod doubts;
mod editing;
mod engine;
mod estranged;
mod explain;
mod folders;
mod instructions;
mod landing;
mod locked;
mod look_back;
mod observe;
mod resolve;
mod snapshot;
mod stand;
mod tools;
mod trails;
mod turned;
mod versus;
mod world;

pub use accept::{Accepted, Change, Produced};
pub use assess::{Standing, Told};
pub use caller::Caller;
pub use db::{State as Verdict, Verdict as Judgement};
pub use engine::{Assignment, Engine, Options};
pub use landing::{Landing, Move};
pub use locked::Trust;
pub use snapshot::{Guard, Listing, Moved, Seen, Snapshot};
pub use tools::ToolSeen;
pub use versus::Compared;
pub use world::ToolRunner;
