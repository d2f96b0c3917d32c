//! One action, from the look at its inputs to what it made: guard → require → stage → run → collect →
//! validate → guard; or a result from the cache in the place of all but the guard. Runs on a worker thread; takes plain data and gives plain data back.
//!
//! It decides nothing about other tasks, and records nothing: the coordinator does both.

mod agent;
mod byhand;
mod checks;
mod command;
mod command_result;
mod depfile;
mod environment;
mod exec_root;
mod git;
mod hints;
mod in_tree;
mod integrate;
mod isolated;
mod keep;
mod lookup;
mod outcome;
mod pending;
mod perform;
mod recover;
mod repeat;
mod restore;
mod run_context;
mod secrets;
mod staging;
mod steps;

pub use agent::{Agents, Examined, Ledger, Login, Unfinished, examine, next_prompt, unfinished};
pub use byhand::{check_result, copy_version, keep_version, return_version, run_by_hand, show_version};
pub use command::run_tool;
pub use exec_root::{remove_all, unenforced};
pub use git::{check_branch, commit_adopted, move_branch, move_branch_back, needs_repository, repository};
pub use integrate::{Landed, land, put_back};
pub use keep::keep_result;
pub use lookup::would_be_restored;
pub use outcome::{Disposition, Done, Outcome, Overtaken, Refusal, Waiting};
pub use pending::{Released, clear as clear_pending, folder as pending_folder, release, turn_into_conflict};
pub use perform::perform;
pub use recover::{not_conductors, recover};
pub use repeat::{Difference, DifferentLine, Repeated, repeat};
pub use run_context::RunContext;
pub use staging::{Staged, StagingError};
