//! Places in files that the output of compilers, linters and tests names.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;

/// As many are of use to anyone.
const MOST: usize = 50;

/// A place that an output names.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Position {
    /// As it was written.
    pub file: String,
    /// From 1.
    pub line: u32,
    /// From 1, where one was named.
    pub column: Option<u32>,
}

/// `src/a.rs:12:5`, `src/a.ts(12,5)`, `File "a.py", line 12`, `a.c:12`.
static PLACE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(concat!(
        r#"(?:File "(?P<py>[^"\n]{1,300})", line (?P<pl>\d{1,7}))"#,
        r"|(?P<file>[[:word:]@+~%./\\-]{0,300}[[:word:]-]\.[A-Za-z][[:word:]]{0,9})",
        r"(?::(?P<line>\d{1,7})(?::(?P<col>\d{1,5}))?|\((?P<pline>\d{1,7})(?:[,:]\s?(?P<pcol>\d{1,5}))?\))",
    ))
    .ok()
});

/// The places that `text` names, each once, in the order in which they come.
pub fn positions(text: &str) -> Vec<Position> {
    let Some(place) = PLACE.as_ref() else { return Vec::new() };
    let (mut seen, mut found) = (BTreeSet::new(), Vec::new());
    for captures in place.captures_iter(text) {
        let part = |names: [&str; 2]| names.into_iter().find_map(|name| captures.name(name));
        let (Some(file), Some(line)) =
            (part(["file", "py"]), part(["line", "pline"]).or_else(|| captures.name("pl")))
        else {
            continue;
        };
        // `http://host.name:8080` is no place.
        if text[..file.start()].ends_with("://") || file.as_str().starts_with("//") {
            continue;
        }
        let Some(line) = line.as_str().parse().ok().filter(|line| *line > 0) else { continue };
        let column = part(["col", "pcol"]).and_then(|column| column.as_str().parse().ok());
        let file = file.as_str().strip_prefix("./").unwrap_or(file.as_str()).to_owned();
        let position = Position { file, line, column };
        if seen.insert(position.clone()) {
            found.push(position);
        }
        if found.len() == MOST {
            break;
        }
    }
    found
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.line)?;
        self.column.map_or(Ok(()), |column| write!(f, ":{column}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_tools_write_them() {
        let check = |text: &str, expected: &[&str]| {
            let found: Vec<String> = positions(text).iter().map(Position::to_string).collect();
            assert_eq!(found, expected, "{text}");
        };
        check("  --> src/lib.rs:12:5\n   |\n", &["src/lib.rs:12:5"]);
        check("thread 'main' panicked at src/a-b/mod.rs:3:9:", &["src/a-b/mod.rs:3:9"]);
        check("src/index.ts(12,5): error TS2322", &["src/index.ts:12:5"]);
        check(r#"  File "tests/test_x.py", line 7, in test"#, &["tests/test_x.py:7"]);
        check("tests/test_x.py:7: AssertionError\n./tests/test_x.py:7: again", &["tests/test_x.py:7"]);
        check("main.c:4: undefined reference; foo_test.go:31: no", &["main.c:4", "foo_test.go:31"]);
        check("at Object.<anonymous> (/w/src/a.test.js:10:3)", &["/w/src/a.test.js:10:3"]);
        check("psql:db/schema.sql:8: ERROR", &["db/schema.sql:8"]);
        check("http://example.com:8080/x and 12:34:56 and v1.2:3", &[]);
        check(&"a.c:1\n".repeat(1000), &["a.c:1"]);
    }
}
