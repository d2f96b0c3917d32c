//! A path inside the workspace: relative, normalised, made of bytes (names need not be UTF-8).

use std::ffi::OsStr;
use std::fmt::{self, Write as _};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The beginning of the names of files that are being written in the tree. A crash may leave one behind; no
/// walk lists it.
pub const UNFINISHED: &str = ".conductor-tmp-";

/// A path relative to the workspace root. Invariants: no leading or trailing `/`, no empty, `.` or `..`
/// component. The root itself is the empty path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct WorkspacePath(Box<[u8]>);

/// Why a text is no path inside the workspace.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It begins with `/`.
    #[error("the path is absolute")]
    Absolute,
    /// Its `..` components lead out of the workspace.
    #[error("the path leaves the workspace")]
    Leaves,
    /// It is empty, or holds a NUL byte.
    #[error("the path is empty or holds a NUL byte")]
    Malformed,
}

impl WorkspacePath {
    /// The workspace root.
    pub fn root() -> Self {
        Self::default()
    }

    /// Resolves `text` against the folder `base`, taking out `.` and `..`.
    pub fn resolve(base: &Self, text: &[u8]) -> Result<Self, PathError> {
        if text.is_empty() || text.contains(&0) {
            return Err(PathError::Malformed);
        }
        if text[0] == b'/' {
            return Err(PathError::Absolute);
        }
        let mut parts: Vec<&[u8]> = base.components().collect();
        for part in text.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => {
                    parts.pop().ok_or(PathError::Leaves)?;
                }
                name => parts.push(name),
            }
        }
        Ok(Self(parts.join(&b'/').into()))
    }

    /// As [`Self::resolve`] against the root.
    pub fn new(text: impl AsRef<[u8]>) -> Result<Self, PathError> {
        Self::resolve(&Self::root(), text.as_ref())
    }

    /// A path that is known to hold the invariants, such as one that a walk of the workspace yields.
    pub fn from_normal(bytes: impl Into<Box<[u8]>>) -> Self {
        let path = Self(bytes.into());
        debug_assert!(path.components().all(|part| !matches!(part, b"" | b"." | b"..")), "{path}");
        path
    }

    /// The bytes, components separated by `/`.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// For the file system: to be joined to the workspace root.
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// The place of this path under the folder `root`.
    pub fn under(&self, root: &Path) -> std::path::PathBuf {
        if self.is_root() { root.to_owned() } else { root.join(self.as_path()) }
    }

    /// Is it the workspace root?
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The components, from the root on.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'/').filter(|part| !part.is_empty())
    }

    /// The folder that holds it; none for the root.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let end = self.0.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        Some(Self(self.0[..end].into()))
    }

    /// The last component; none for the root.
    pub fn name(&self) -> Option<&[u8]> {
        self.components().next_back()
    }

    /// This path with `name` below it. `name` may hold several normal components.
    pub fn join(&self, name: &[u8]) -> Self {
        if self.is_root() {
            return Self(name.into());
        }
        Self([&self.0, b"/".as_slice(), name].concat().into())
    }

    /// Replaces the leading folder `from` by `to`; none if the path does not lie in `from`.
    pub fn rebased(&self, from: &Self, to: &Self) -> Option<Self> {
        if !self.is_within(from) {
            return None;
        }
        let rest = self.0.get(from.0.len()..).unwrap_or_default();
        let rest = rest.strip_prefix(b"/").unwrap_or(rest);
        Some(if rest.is_empty() { to.clone() } else { to.join(rest) })
    }

    /// The folders that hold it, from the innermost on, the root last.
    pub fn folders(&self) -> impl Iterator<Item = Self> + use<> {
        std::iter::successors(self.parent(), Self::parent)
    }

    /// Is it `folder` itself or somewhere below it?
    pub fn is_within(&self, folder: &Self) -> bool {
        folder.is_root()
            || (self.0.starts_with(&folder.0)
                && (self.0.len() == folder.0.len() || self.0.get(folder.0.len()) == Some(&b'/')))
    }

    /// UTF-8 text for people, JSON and documents: bytes that are no UTF-8 appear as `\xNN`, and a
    /// backslash that could be mistaken for one as `\x5C`.
    pub fn to_text(&self) -> String {
        match std::str::from_utf8(&self.0) {
            Ok(text) if !text.contains("\\x") => text.to_owned(),
            _ => escape(&self.0),
        }
    }

    /// The inverse of [`Self::to_text`].
    pub fn from_text(text: &str) -> Result<Self, PathError> {
        Self::new(unescape(text))
    }

    /// An owned name for the file system.
    pub fn to_os_string(&self) -> std::ffi::OsString {
        std::ffi::OsString::from_vec(self.0.to_vec())
    }
}

fn escape(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(&chunk.valid().replace("\\x", "\\x5Cx"));
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02X}");
        }
    }
    text
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("\\x") {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let code = rest.get(at + 2..at + 4).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        if let Some(byte) = code {
            bytes.push(byte);
            rest = &rest[at + 4..];
        } else {
            bytes.extend_from_slice(b"\\x");
            rest = &rest[at + 2..];
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

impl AsRef<[u8]> for WorkspacePath {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// For people, on one line: as [`WorkspacePath::to_text`], and control characters, which would move a terminal's
/// cursor, appear as `\xNN` too.
impl fmt::Display for WorkspacePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str(".");
        }
        let text = self.to_text();
        if !text.contains(char::is_control) {
            return f.write_str(&text);
        }
        for char in text.chars() {
            if char.is_control() {
                let mut bytes = [0; 4];
                for byte in char.encode_utf8(&mut bytes).bytes() {
                    write!(f, "\\x{byte:02X}")?;
                }
            } else {
                f.write_char(char)?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for WorkspacePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for WorkspacePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&self.to_text())
        } else {
            serializer.serialize_bytes(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for WorkspacePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            if text.is_empty() {
                return Ok(Self::root());
            }
            Self::from_text(&text).map_err(serde::de::Error::custom)
        } else {
            // Bytes written by this program; a damaged file is found by its checksum before this.
            Vec::<u8>::deserialize(deserializer).map(|bytes| Self(bytes.into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_shown_on_one_line_and_moves_no_cursor() {
        for (name, shown) in
            [("a\nb", "a\\x0Ab"), ("\u{1b}[31mred", "\\x1B[31mred"), ("c\u{85}1", "c\\xC2\\x851"), ("é", "é")]
        {
            let path = WorkspacePath::new(name).unwrap();
            assert_eq!(path.to_string(), shown);
            assert_eq!(WorkspacePath::from_text(shown).unwrap(), path);
            assert_eq!(path.to_text(), name, "JSON escapes by itself");
        }
    }

    fn path(text: &str) -> WorkspacePath {
        WorkspacePath::new(text).unwrap()
    }

    #[test]
    fn a_path_is_normalised_against_its_base() {
        assert_eq!(WorkspacePath::resolve(&path("a/b"), b"../c//./d/").unwrap(), path("a/c/d"));
        assert_eq!(WorkspacePath::resolve(&path("a"), b"../../b"), Err(PathError::Leaves));
        assert_eq!(WorkspacePath::new("/etc"), Err(PathError::Absolute));
        assert_eq!(WorkspacePath::new(""), Err(PathError::Malformed));
        assert!(WorkspacePath::new("./").unwrap().is_root());
    }

    #[test]
    fn within_respects_component_boundaries() {
        assert!(path("a/b").is_within(&path("a")));
        assert!(path("a").is_within(&path("a")));
        assert!(!path("ab").is_within(&path("a")));
        assert!(path("a").is_within(&WorkspacePath::root()));
    }

    #[test]
    fn a_path_below_one_folder_is_moved_below_another() {
        assert_eq!(path("a/b/c").rebased(&path("a"), &path("x/y")), Some(path("x/y/b/c")));
        assert_eq!(path("a").rebased(&path("a"), &path("x")), Some(path("x")));
        assert_eq!(path("a/b").rebased(&WorkspacePath::root(), &path("x")), Some(path("x/a/b")));
        assert_eq!(path("x/b").rebased(&path("x"), &WorkspacePath::root()), Some(path("b")));
        assert_eq!(path("ab").rebased(&path("a"), &path("x")), None);
    }

    #[test]
    fn names_that_are_not_utf8_survive_text() {
        for bytes in [&b"a\xffb"[..], b"a\\xFFb", b"\xc3\xa4/\x80", b"plain", b"back\\slash"] {
            let path = WorkspacePath::from_normal(bytes);
            assert_eq!(WorkspacePath::from_text(&path.to_text()).unwrap(), path, "{path}");
        }
    }

    #[test]
    fn parents_end_at_the_root() {
        assert_eq!(path("a/b").parent(), Some(path("a")));
        assert_eq!(path("a").parent(), Some(WorkspacePath::root()));
        assert_eq!(WorkspacePath::root().parent(), None);
    }
}
