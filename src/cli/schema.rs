//! `conductor schema`: the JSON Schema of the manifest, for editors.

use super::{Exit, Output, Stop};
use crate::manifest;

pub(super) fn run(output: &Output) -> Result<Exit, Stop> {
    output.say_json(&manifest::json_schema());
    Ok(Exit::Success)
}
