//! `conductor completions SHELL`.

use clap::CommandFactory as _;

use super::options::Options;
use super::{Exit, Output};

pub(super) fn run(shell: clap_complete::Shell, output: &Output) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Options::command(), "conductor", &mut script);
    output.say(&String::from_utf8_lossy(&script));
    Exit::Success
}
