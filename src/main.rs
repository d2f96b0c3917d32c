//! The `conductor` command: hands its arguments and environment to the library, and ends with its code.

use std::process::ExitCode;

fn main() -> ExitCode {
    conductor::cli::run(std::env::args_os(), std::env::vars_os().collect()).into()
}
