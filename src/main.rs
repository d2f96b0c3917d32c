//! The `conductor` command: hands its arguments and environment to the library, and ends with its code.

use std::process::ExitCode;

use conductor::process::confine;

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    // Before anything else: a task waits for it to become its process.
    if args.nth(1).is_some_and(|first| first == confine::ENTRY) {
        return confine::enter(args);
    }
    conductor::cli::run(std::env::args_os(), std::env::vars_os().collect()).into()
}
