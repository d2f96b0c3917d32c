//! An agent that costs nothing: it plays a script, and prints what the program prints whose name it bears.
//!
//! Called as `claude`, `codex`, `gemini`, `opencode`, `pi`, `copilot`, `qwen` or `aider` (by a link of that name) it takes
//! the arguments and prints the stream of that program; under any other name it is an agent of the `command` adapter. What
//! it does is written in `~/.fake_agent/script.json`, and where there is none in `recorded.yaml`, which it brings along. It
//! runs nothing, and talks to nobody. What it was told it writes into `~/.fake_agent/log.jsonl`.
//!
//! `script` says what may stand in a script, `act` does that, `call` reads the arguments, `stream` prints.

mod act;
mod call;
mod script;
mod session;
mod stream;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use call::Call;

/// Folder of a script and of the log, below HOME.
const FOLDER: &str = ".fake_agent";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.get(1).is_some_and(|first| first == act::STAY) {
        return act::stay(arguments.iter().any(|argument| argument == act::APART));
    }
    let call = Call::read(&arguments);
    let played = if call.asks_version { say_version(&call) } else { act::play(&call) };
    match played {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let _ = writeln!(io::stderr(), "fake agent: {error}");
            ExitCode::from(70)
        }
    }
}

fn say_version(call: &Call) -> io::Result<u8> {
    writeln!(io::stdout(), "{}", call.cli.version())?;
    Ok(0)
}

/// Where script and log lie.
fn folder() -> PathBuf {
    PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(FOLDER)
}
