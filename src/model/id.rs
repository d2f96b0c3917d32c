//! Names of tasks and groups.

use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};

/// What follows a group's id in the id of its gate: `GROUP_A:gate`.
pub const GATE_SUFFIX: &str = ":gate";

/// A task's whole id: namespace, base and matrix values, such as `api:T1[os=a,v=1]`; a group's gate is
/// the task `GROUP_A:gate`. Never part of a key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskId(String);

impl TaskId {
    /// An id that the manifest's checks have accepted.
    pub fn new(id: impl Into<String>) -> Self {
        Self(id.into())
    }

    /// The gate of `group`.
    pub fn gate(group: &GroupId) -> Self {
        Self(format!("{}{GATE_SUFFIX}", group.as_str()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id without its matrix values: `T1` for `T1[os=a]`.
    pub fn base(&self) -> &str {
        self.0.split_once('[').map_or(&self.0, |(base, _)| base)
    }

    /// A name for a file or folder: what a file name cannot hold is percent-encoded, and a name too long
    /// for a file system ends in a digest of the whole.
    pub fn file_name(&self) -> String {
        let mut name = String::new();
        for byte in self.0.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'=' | b',' | b'[' | b']' => {
                    name.push(char::from(byte));
                }
                b'.' if !name.is_empty() => name.push('.'),
                b':' => name.push('@'),
                other => {
                    let _ = write!(name, "%{other:02X}");
                }
            }
        }
        if name.len() > 180 {
            name.truncate(160);
            name.push('~');
            name.push_str(&super::Digest::of(self.0.as_bytes()).short());
        }
        name
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A group's whole id, with its namespace: `GROUP_A`, `api:GROUP_A`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GroupId(String);

impl GroupId {
    /// An id that the manifest's checks have accepted.
    pub fn new(id: impl Into<String>) -> Self {
        Self(id.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_are_safe_and_distinct() {
        assert_eq!(TaskId::new("api:T1[os=a/b,v=1]").file_name(), "api@T1[os=a%2Fb,v=1]");
        assert_eq!(TaskId::new(".hidden").file_name(), "%2Ehidden");
        assert!(TaskId::new("x".repeat(500)).file_name().len() < 200);
    }

    #[test]
    fn the_base_has_no_matrix_values() {
        assert_eq!(TaskId::new("api:T1[os=a]").base(), "api:T1");
    }
}
