//! Agents: the run of a program that works on a task by itself, what is done after it, and what is kept meanwhile.
//!
//! | file | |
//! | --- | --- |
//! | `adapters` | what the agents of a build have in common |
//! | `instructions` | what a run is told |
//! | `work` | one run: prompt, environment, limits, what the output says |
//! | `session` | the work on one task over all runs, kept while it is not done |
//! | `protect` | what a result may not be |
//! | `conclude` | the end of a run |
//! | `policy` | what follows from how a run ended |
//! | `program` | where it is, its version, its login |
//! | `home` | the program's HOME and the user's login |
//! | `ledger` | what all agents of a build have spent |
//! | `transcript` | what was told and printed |
//!
//! What adapters mean is the room `agent`'s to know; this one starts programs and touches files. It accepts nothing:
//! a result goes the way of every other, through collection and checks.

mod adapters;
mod conclude;
mod home;
mod instructions;
mod ledger;
mod policy;
mod program;
mod protect;
mod session;
mod transcript;
mod work;

pub use adapters::Agents;
pub(super) use conclude::{conclude, result, suspend, tell};
pub use instructions::next_prompt;
pub use ledger::Ledger;
pub use program::{Examined, Login, examine};
pub(super) use protect::look;
pub(super) use session::Session;
pub use session::{Unfinished, unfinished};
pub(super) use work::work;
