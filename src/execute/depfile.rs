//! Reads a depfile: the make rules that compilers write (`-MD`), of which only the prerequisites matter.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::model::WorkspacePath;

/// The prerequisites of all rules, in order, each once. Handles continued lines, escaped spaces, `\#` and
/// `$$` as gcc and clang write them.
pub(super) fn prerequisites(text: &[u8]) -> Vec<Vec<u8>> {
    let mut found: Vec<Vec<u8>> = Vec::new();
    let joined = join_lines(text);
    for line in joined.split(|byte| *byte == b'\n') {
        let Some(colon) = rule_colon(line) else { continue };
        for word in words(&line[colon + 1..]) {
            if !found.contains(&word) {
                found.push(word);
            }
        }
    }
    found
}

fn join_lines(text: &[u8]) -> Vec<u8> {
    let mut joined = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\n') {
        let line = rest[..at].strip_suffix(b"\r").unwrap_or(&rest[..at]);
        match line.strip_suffix(b"\\") {
            Some(line) => joined.extend_from_slice(&[line, b" "].concat()),
            None => joined.extend_from_slice(&[line, b"\n"].concat()),
        }
        rest = &rest[at + 1..];
    }
    joined.extend_from_slice(rest);
    joined
}

/// The colon that ends the targets: one that is followed by white space or the line's end.
fn rule_colon(line: &[u8]) -> Option<usize> {
    (0..line.len()).find(|at| line[*at] == b':' && line.get(at + 1).is_none_or(u8::is_ascii_whitespace))
}

fn words(text: &[u8]) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let mut word = Vec::new();
    let mut bytes = text.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match (byte, bytes.peek().copied()) {
            (b'\\', Some(next @ (b' ' | b'#' | b'\t'))) => {
                bytes.next();
                word.push(next);
            }
            (b'$', Some(b'$')) => {
                bytes.next();
                word.push(b'$');
            }
            (byte, _) if byte.is_ascii_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            (byte, _) => word.push(byte),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// The workspace's files among the prerequisites: relative ones seen from the command's folder, absolute
/// ones inside the workspace made relative, all others ignored.
pub(super) fn inside(root: &Path, dir: &WorkspacePath, prerequisites: &[Vec<u8>]) -> Vec<WorkspacePath> {
    let root = root.as_os_str().as_bytes();
    let mut paths: Vec<WorkspacePath> = prerequisites
        .iter()
        .filter_map(|path| match path.strip_prefix(root) {
            Some(rest) if rest.starts_with(b"/") => WorkspacePath::new(&rest[1..]).ok(),
            _ => WorkspacePath::resolve(dir, path).ok(),
        })
        .filter(|path| !path.is_root())
        .collect();
    paths.sort();
    paths.dedup();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[&str]) {
        let found = prerequisites(text.as_bytes());
        let found: Vec<_> = found.iter().map(|word| String::from_utf8_lossy(word)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn what_compilers_write_is_understood() {
        check("a.o: a.c \\\n  b.h c.h\n\nb.h:\nc.h:\n", &["a.c", "b.h", "c.h"]);
        check("a.o: with\\ space.c x\\#y $$z\r\n", &["with space.c", "x#y", "$z"]);
        check("c:/x.o: d.c", &["d.c"]);
        check("no rule here", &[]);
        check("", &[]);
    }

    #[test]
    fn only_paths_inside_the_workspace_count() {
        let words: Vec<Vec<u8>> = ["/w/src/a.c", "/usr/include/stdio.h", "../b.h", "../../out.h"]
            .iter()
            .map(|word| word.as_bytes().to_vec())
            .collect();
        let dir = WorkspacePath::new("src").unwrap();
        let found = inside(Path::new("/w"), &dir, &words);
        assert_eq!(found, [WorkspacePath::new("b.h").unwrap(), WorkspacePath::new("src/a.c").unwrap()]);
    }
}
