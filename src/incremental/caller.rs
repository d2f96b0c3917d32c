//! conductor's own environment, as data.

use std::collections::BTreeMap;
use std::ffi::OsString;

/// conductor's own environment, read once at the start.
#[derive(Clone, Debug, Default)]
pub struct Caller(pub BTreeMap<OsString, OsString>);

impl Caller {
    /// A variable as text, where it is set and UTF-8.
    pub fn text(&self, name: &str) -> Option<String> {
        self.0.get(std::ffi::OsStr::new(name)).and_then(|value| value.to_str()).map(str::to_owned)
    }
}
