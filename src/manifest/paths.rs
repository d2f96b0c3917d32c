//! Paths and globs as the manifest writes them: relative to the folder of their file, globset's dialect,
//! `\` escapes. Knows nothing of what is on disk.

use crate::model::{At, Diagnostic, PathError, WorkspacePath};
use crate::workspace::parse_glob;

/// A path or glob relative to the workspace root.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Parsed {
    /// With the folder of the file in front, whose own special characters are escaped.
    pub(super) glob: String,
    /// The path, where no component holds an unescaped glob character.
    pub(super) literal: Option<WorkspacePath>,
    /// Ended in `/`, or is the workspace itself.
    pub(super) folder: bool,
}

/// Why a text is no path or glob.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    Path(PathError),
    /// `..` behind a component with glob characters, which may stand for any folder.
    ParentOfGlob,
    Glob(String),
}

/// Parses `text` as it stands in a manifest of `folder`.
pub(super) fn parse(folder: &WorkspacePath, text: &str) -> Result<Parsed, Fault> {
    if text.is_empty() || text.contains('\0') {
        return Err(Fault::Path(PathError::Malformed));
    }
    if text.starts_with('/') {
        return Err(Fault::Path(PathError::Absolute));
    }
    if !text.contains(['*', '?', '[', '{', '\\']) {
        return plain(folder, text).map_err(Fault::Path);
    }
    let mut parts: Vec<(String, bool)> =
        folder.components().map(|part| (escape(&String::from_utf8_lossy(part)), false)).collect();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => match parts.pop() {
                None => return Err(Fault::Path(PathError::Leaves)),
                Some((_, true)) => return Err(Fault::ParentOfGlob),
                Some((_, false)) => {}
            },
            part => parts.push((part.to_owned(), is_glob(part))),
        }
    }
    let glob = parts.iter().map(|(part, _)| part.as_str()).collect::<Vec<_>>().join("/");
    let literal = if parts.iter().any(|(_, glob)| *glob) {
        parse_glob(&glob).map_err(|error| Fault::Glob(error.to_string()))?;
        None
    } else {
        Some(WorkspacePath::new(unescape(&glob)).map_err(Fault::Path)?)
    };
    Ok(Parsed { glob, literal, folder: text.ends_with('/') })
}

/// The common case: no character is special.
fn plain(folder: &WorkspacePath, text: &str) -> Result<Parsed, PathError> {
    let path = WorkspacePath::resolve(folder, text.as_bytes())?;
    let glob = if path.is_root() { "**".to_owned() } else { escape(&path.to_text()) };
    Ok(Parsed { glob, folder: text.ends_with('/') || path.is_root(), literal: Some(path) })
}

/// Does a component hold a glob character that is not escaped?
fn is_glob(text: &str) -> bool {
    let mut escaped = false;
    text.bytes().any(|byte| {
        let special = !escaped && matches!(byte, b'*' | b'?' | b'[' | b'{');
        escaped = !escaped && byte == b'\\';
        special
    })
}

/// `text` as a glob that matches itself alone.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '*' | '?' | '[' | ']' | '{' | '}' | '\\') {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

/// The inverse of [`escape`].
fn unescape(glob: &str) -> String {
    let mut text = String::with_capacity(glob.len());
    let mut characters = glob.chars();
    while let Some(character) = characters.next() {
        text.push(if character == '\\' { characters.next().unwrap_or('\\') } else { character });
    }
    text
}

/// The diagnostic for `fault` of `text`.
pub(super) fn diagnostic(fault: &Fault, text: &str, at: At) -> Diagnostic {
    match fault {
        Fault::Path(PathError::Absolute) => {
            Diagnostic::error("manifest::absolute_path", format!("`{text}` is an absolute path"))
                .label(at, "begins with `/`")
                .help(
                    "paths are relative to the folder of the manifest; a program outside goes under `tools`",
                )
        }
        Fault::Path(PathError::Leaves) => {
            Diagnostic::error("manifest::path_leaves_workspace", format!("`{text}` leaves the workspace"))
                .label(at, "leads above the workspace's root")
                .help("tasks read and write inside the workspace alone")
        }
        Fault::Path(PathError::Malformed) => {
            Diagnostic::error("manifest::bad_path", "a path is not empty").label(at, "this is no path")
        }
        Fault::ParentOfGlob => Diagnostic::error("manifest::bad_glob", format!("`{text}` is no glob"))
            .label(at, "`..` behind a glob may lead anywhere")
            .help("write `..` before the first component that holds glob characters"),
        Fault::Glob(why) => Diagnostic::error("manifest::bad_glob", format!("`{text}` is no glob"))
            .label(at, why.clone())
            .help("`\\` before a special character makes it an ordinary one"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(folder: &str, text: &str, glob: &str, literal: Option<&str>) {
        let folder =
            if folder.is_empty() { WorkspacePath::root() } else { WorkspacePath::new(folder).unwrap() };
        let parsed = parse(&folder, text).unwrap();
        assert_eq!(parsed.glob, glob);
        assert_eq!(parsed.literal, literal.map(|text| WorkspacePath::new(text).unwrap()));
    }

    #[test]
    fn a_path_is_relative_to_the_folder_of_its_file() {
        check("", "src/a.rs", "src/a.rs", Some("src/a.rs"));
        check("api", "./src//a.rs", "api/src/a.rs", Some("api/src/a.rs"));
        check("api", "../lib/**/*.rs", "lib/**/*.rs", None);
        check("", ".", "**", Some("."));
    }

    #[test]
    fn special_characters_of_the_folder_are_escaped() {
        check("a[1]", "*.rs", "a\\[1\\]/*.rs", None);
        check("a[1]", "b", "a\\[1\\]/b", Some("a[1]/b"));
    }

    #[test]
    fn an_escaped_glob_is_a_literal_path() {
        check("", r"a\[1\].rs", r"a\[1\].rs", Some("a[1].rs"));
        check("", r"a\\b", r"a\\b", Some(r"a\b"));
    }

    #[test]
    fn faults_are_told_apart() {
        let fault = |text| parse(&WorkspacePath::root(), text).unwrap_err();
        assert_eq!(fault("/etc"), Fault::Path(PathError::Absolute));
        assert_eq!(fault("../*"), Fault::Path(PathError::Leaves));
        assert_eq!(fault("a/../../b"), Fault::Path(PathError::Leaves));
        assert_eq!(fault("*/../b"), Fault::ParentOfGlob);
        assert_eq!(fault(""), Fault::Path(PathError::Malformed));
        assert!(matches!(fault("a[b"), Fault::Glob(_)));
    }
}
