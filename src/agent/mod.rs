//! What an adapter means: the command line that it makes, what is read out of a program's output as it comes, and
//! what is said to an agent.
//!
//! It starts nothing, reads no file and knows no manifest: values go in, texts and numbers come out. How its regular
//! expressions and paths are meant is said in `docs/agents.md`; `matching` is where that is done.

mod evidence;
mod finish;
mod limit;
mod listener;
mod matching;
mod positions;
mod prompt;
mod reading;
mod template;
mod version;

pub use evidence::{Evidence, FailedCheck, feedback, fresh_start, go_on, signature};
pub use finish::Heard;
pub use limit::retry_after;
pub use listener::Listener;
pub use matching::{Pattern, PatternError, is_path};
pub use positions::{Position, positions};
pub use prompt::{Brief, NeededOutput, prompt};
pub use reading::SessionTotals;
pub use template::{TemplateError, Values, command_line, fill, placeholders, uses};
pub use version::is_version;

#[cfg(test)]
mod tests;
