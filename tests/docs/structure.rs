//! The structure of the source: rooms keep to their floors, and files to their form.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;

use crate::{files, read};

/// Each room's floor, from the table in `src/lib.rs`.
fn floors() -> BTreeMap<String, u32> {
    let row = Regex::new(r"(?m)^//! \| \[`(\w+)`\] \| (\d+) \|").unwrap();
    let map = read("src/lib.rs");
    row.captures_iter(&map).map(|row| (row[1].to_owned(), row[2].parse().unwrap())).collect()
}

/// The source without comments and without the text of strings, in which a path means nothing.
fn code(text: &str) -> String {
    let quoted = Regex::new(r#""(\\.|[^"\\])*""#).unwrap();
    let lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.map(|line| quoted.replace_all(line, "\"\"").into_owned()).collect::<Vec<_>>().join("\n")
}

/// The rooms that a file names: `crate::room`, also within `crate::{room::…, room}`.
fn rooms_named(text: &str) -> BTreeSet<String> {
    let text = code(text);
    let single = Regex::new(r"\bcrate::(\w+)").unwrap();
    let mut rooms: BTreeSet<String> = single.captures_iter(&text).map(|found| found[1].to_owned()).collect();
    for (start, _) in text.match_indices("crate::{") {
        rooms.extend(first_names(&text[start + "crate::{".len()..]));
    }
    rooms
}

/// The first component of each path in a list that ends at its closing brace.
fn first_names(list: &str) -> Vec<String> {
    let (mut depth, mut names, mut at_start) = (0, Vec::new(), true);
    let mut name = String::new();
    for c in list.chars() {
        let is_word = c.is_alphanumeric() || c == '_';
        if depth == 0 && at_start && is_word {
            name.push(c);
            continue;
        }
        if !name.is_empty() {
            names.push(std::mem::take(&mut name));
            at_start = false;
        }
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => at_start = true,
            _ => {}
        }
    }
    names.extend(Some(name).filter(|name| !name.is_empty()));
    names
}

/// The room of a file below `src/`; none for `lib.rs` and `main.rs`, which see all of them.
fn room_of(file: &str) -> Option<&str> {
    let rest = file.strip_prefix("src/")?;
    rest.split_once('/').map(|(room, _)| room)
}

#[test]
fn a_room_knows_lower_floors_only() {
    let floors = floors();
    let mut wrong = Vec::new();
    for file in files("src", "rs") {
        let Some(room) = room_of(&file) else { continue };
        let own = floors.get(room).unwrap_or_else(|| panic!("src/lib.rs does not map the room {room}"));
        for other in rooms_named(&read(&file)) {
            let Some(floor) = floors.get(&other) else { continue };
            if other != room && floor >= own {
                wrong.push(format!("{file} (floor {own}) names {other} (floor {floor})"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_room_is_on_the_map_and_on_the_disk() {
    let mapped: BTreeSet<String> = floors().into_keys().collect();
    let there: BTreeSet<String> =
        files("src", "rs").iter().filter_map(|file| room_of(file)).map(str::to_owned).collect();
    assert_eq!(mapped, there);
    let told = read("docs/architecture.md");
    for (room, floor) in floors() {
        assert!(
            told.contains(&format!("| `{room}` | {floor} |")),
            "docs/architecture.md does not have {room}"
        );
    }
}

#[test]
fn one_room_alone_knows_each_of_the_heavy_dependencies() {
    for (dependency, room) in [("salsa", "incremental"), ("git2", "worktree"), ("clap", "cli")] {
        let names = Regex::new(&format!(r"\b{dependency}::|\buse {dependency}\b|#\[{dependency}")).unwrap();
        for file in files("src", "rs").iter().filter(|file| room_of(file) != Some(room)) {
            assert!(!names.is_match(&code(&read(file))), "{file} names {dependency}; only {room}/ may");
        }
    }
}

/// Every Rust file of the repository.
pub(crate) fn all_sources() -> Vec<String> {
    ["src", "tests", "benches", "examples"]
        .into_iter()
        .filter(|folder| crate::root().join(folder).is_dir())
        .flat_map(|folder| files(folder, "rs"))
        .collect()
}

#[test]
fn every_source_file_says_what_it_is_for() {
    for file in all_sources() {
        assert!(read(&file).starts_with("//! "), "{file} does not begin with `//! `");
    }
}

/// Lines of code: no blank ones, no comments, and not the file's own `mod tests`.
fn lines_of_code(text: &str) -> usize {
    let own = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    own.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//")).count()
}

#[test]
fn no_source_file_outgrows_its_subject() {
    for file in all_sources() {
        let lines = lines_of_code(&read(&file));
        assert!(lines <= 500, "{file} has {lines} lines of code; split it");
    }
}

#[test]
fn a_list_of_imports_is_read_to_its_end() {
    assert_eq!(
        first_names("model::{A, B}, store, graph::x::{C}}; use other::{d}"),
        ["model", "store", "graph"]
    );
    assert_eq!(
        rooms_named("// crate::cli\nuse crate::{model::A, store};\nlet a = crate::graph::f(\"crate::cli\");"),
        ["graph", "model", "store"].map(str::to_owned).into()
    );
}
