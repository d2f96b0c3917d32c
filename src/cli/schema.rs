//! `conductor schema`: the JSON Schema of the manifest, for editors.

use super::{Exit, Output};
use crate::manifest;

pub(super) fn run(output: &Output) -> Exit {
    output.say_json(&manifest::json_schema());
    Exit::Success
}
