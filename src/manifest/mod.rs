//! The manifest: YAML files → tasks and groups with everything filled in, or diagnostics.
//!
//! It goes in steps, each in a file of its own: `include` reads the files, `syntax` makes trees in which
//! every node knows its place, `shape` holds them against the table of keys, `load` learns all names and
//! builds what the model calls a manifest. Every problem of every file is reported at once (`problems`);
//! hostile text is refused in bounded time and memory.
//!
//! It knows nothing of what is on disk beside the manifest's own files, nor of edges between tasks that
//! paths make: that is the graph's.

mod adapter;
mod check;
mod context;
mod environment;
mod fill;
mod include;
mod keys;
mod lint;
mod load;
mod matrix;
mod migrate;
mod names;
mod origin;
mod paths;
mod places;
mod problems;
mod reader;
mod rules;
mod scalar;
mod schema;
mod settings;
mod shape;
mod syntax;
mod table;
mod task;
mod template;
mod tree;

use std::path::{Path, PathBuf};

use crate::model::{Adapter, Diagnostic, Manifest, Sources};

pub use adapter::unknown_cost;
pub use keys::{Key, Type};
pub use lint::undeclared_paths;
pub use migrate::migrate;
pub use origin::Origin;

/// Where manifests are looked for in a folder, in this order.
const PLACES: [&str; 2] = ["conductor.yaml", ".conductor/task-dispatcher.yaml"];

/// Where a manifest was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Location {
    /// The root manifest, absolute.
    pub file: PathBuf,
    /// The workspace root, absolute.
    pub root: PathBuf,
}

/// Looks for a manifest in `start` (absolute) and the folders above it.
pub fn discover(start: &Path) -> Result<Location, Diagnostic> {
    let found = start.ancestors().find_map(|folder| {
        let file = PLACES.iter().map(|place| folder.join(place)).find(|file| file.is_file())?;
        Some(Location { file, root: folder.to_owned() })
    });
    found.ok_or_else(|| {
        Diagnostic::error(
            "manifest::not_found",
            format!("no {} in {} or above", PLACES.join(" or "), start.display()),
        )
        .help("`conductor init` writes one, `-f FILE` names one elsewhere")
    })
}

/// The manifest `file` (absolute): its workspace is its folder, or the one above where that is
/// `.conductor`.
pub fn locate(file: &Path) -> Result<Location, Diagnostic> {
    let folder = file.parent().filter(|_| file.is_file()).ok_or_else(|| {
        Diagnostic::error("manifest::not_found", format!("there is no file {}", file.display()))
    })?;
    let root = match folder.parent() {
        Some(above) if folder.file_name().is_some_and(|name| name == ".conductor") => above,
        _ => folder,
    };
    Ok(Location { file: file.to_owned(), root: root.to_owned() })
}

/// What loading yields.
#[derive(Clone, PartialEq, Debug)]
pub struct Loaded {
    /// None exactly when there is an error among the diagnostics.
    pub manifest: Option<Manifest>,
    /// Errors and warnings of all files, in the order of the files.
    pub diagnostics: Vec<Diagnostic>,
    /// The files, for printing the diagnostics.
    pub sources: Sources,
    /// What the manifest was made from.
    pub origin: Origin,
}

/// Loads a manifest with everything it includes. `env` is conductor's own environment.
pub fn load(location: &Location, env: &dyn Fn(&str) -> Option<String>) -> Loaded {
    load::load(location, env)
}

/// The adapters that hold without a manifest, sorted by name.
pub fn built_in_adapters() -> Vec<Adapter> {
    adapter::built_in().into_values().collect()
}

/// The table of all keys of a manifest file; those of tasks and other maps hang below.
pub fn keys() -> &'static [Key] {
    table::FILE
}

/// The JSON Schema of a manifest file, for editors.
pub fn json_schema() -> serde_json::Value {
    schema::schema()
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod streams;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod told;
