//! `conductor completions SHELL`.

use clap::CommandFactory as _;
use serde_json::json;

use super::options::Options;
use super::{Exit, Output};

pub(super) fn run(shell: clap_complete::Shell, output: &Output) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Options::command(), "conductor", &mut script);
    let script = String::from_utf8_lossy(&script);
    if output.json {
        output.say_json(&json!({"version": 1, "shell": shell.to_string(), "script": script}));
    } else {
        output.say(&script);
    }
    Exit::Success
}
