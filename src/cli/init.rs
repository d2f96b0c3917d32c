//! `conductor init`: a first manifest, or one converted from a dispatcher file of the old kind.

use serde_json::json;

use super::options::{Global, InitArgs};
use super::{Exit, Output, Stop};
use crate::manifest;
use crate::model::{Diagnostic, Sources};
use crate::workspace::write_atomic;

/// Builds as it stands, and shows the keys that most people need.
const EXAMPLE: &str = include_str!("init.yaml");

pub(super) fn run(global: &Global, args: &InitArgs, output: &Output) -> Result<Exit, Stop> {
    let folder = match &global.directory {
        Some(directory) => std::path::absolute(directory)?,
        None => std::env::current_dir()?,
    };
    let place = global.file.as_ref().map_or_else(|| folder.join("conductor.yaml"), |file| folder.join(file));
    let refuse = |diagnostic: Diagnostic| Stop::new(Exit::Usage, vec![diagnostic], &Sources::default());
    if !folder.is_dir() {
        let message = format!("{} is not a folder", folder.display());
        return Err(refuse(Diagnostic::error("cli::directory", message)));
    }
    if place.exists() {
        let diagnostic = Diagnostic::error("cli::exists", format!("{} exists already", place.display()));
        return Err(refuse(diagnostic.help("conductor build")));
    }
    let text = match &args.from {
        None => EXAMPLE.to_owned(),
        Some(from) => {
            let text = std::fs::read_to_string(folder.join(from)).map_err(|error| {
                refuse(Diagnostic::error("cli::io", format!("{}: {error}", from.display())))
            })?;
            manifest::migrate(&text).map_err(refuse)?
        }
    };
    write_atomic(&place, text.as_bytes()).map_err(|error| Diagnostic::error("cli::io", error.to_string()))?;
    if output.json {
        output.say_json(&json!({"version": 1, "file": place.display().to_string()}));
    } else {
        let place = place.strip_prefix(&folder).unwrap_or(&place);
        output.say(&format!("wrote {}\nnext: conductor build\n", place.display()));
    }
    Ok(Exit::Success)
}
