//! Files of a room know each other without circles: a way leads down and never returns.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;

use crate::{files, read};

/// Circles that remain, with the reason. A room's own `mod.rs` is written `mod`.
const KNOWN: [(&str, &[&str], &str); 12] = [
    ("cli", &["mod", "options", "output", "verify"], "the room's entry point knows its commands"),
    (
        "cli",
        &["build", "cache", "caching", "lock"],
        "`build` and `cache` share how a cache is opened and told",
    ),
    ("graph", &["bodies", "plan"], "a plan reads its bodies, which are compiled again as a plan"),
    (
        "incremental",
        &["chain", "db", "doubts", "engine", "estranged", "locked", "look_back", "resolve", "trails"],
        "one `Engine` is implemented in parts; the engine in parts is to end this",
    ),
    ("manifest", &["include", "origin"], "an origin is made from included files and checked against them"),
    ("manifest", &["fill", "reader"], "a reader fills texts in, and filling reports through the reader"),
    ("manifest", &["rules", "task"], "rules judge the task that is being read"),
    (
        "model",
        &["action", "adapter", "agent", "manifest", "record", "result", "task"],
        "nouns that hold each other",
    ),
    (
        "process/confine",
        &["bubblewrap", "command", "files", "inside", "network", "support"],
        "what is supported is tried out by confining a process",
    ),
    ("process", &["mod", "output", "redact", "register", "run"], "the room's nouns stand in its `mod.rs`"),
    ("schedule", &["*"], "one `Build` is implemented in parts"),
    ("store", &["*"], "the room's errors stand in its `mod.rs`"),
];

/// A file of a room, as its path below `src/` without `.rs`; a `mod.rs` is its folder.
type Module = String;

struct Sources {
    room: String,
    text: BTreeMap<Module, String>,
    /// The names that a `mod.rs` passes on, each with the module that it comes from.
    passed_on: BTreeMap<Module, BTreeMap<String, String>>,
    /// Uses of a name above, by the room's whole path, and in a `mod.rs` of a file beside it.
    above: Regex,
    absolute: Regex,
    beside: Regex,
}

impl Sources {
    fn of(room: &str) -> Self {
        let module = |file: &str| {
            let name = file.strip_prefix("src/")?.strip_suffix(".rs")?;
            (!name.contains("tests")).then(|| name.strip_suffix("/mod").unwrap_or(name).to_owned())
        };
        let all = files(&format!("src/{room}"), "rs");
        let text = all.iter().filter_map(|file| Some((module(file)?, code(&read(file)))));
        let text: BTreeMap<Module, String> = text.collect();
        let passed =
            Regex::new(r"pub(?:\([^)]*\))? use (?:self::)?(\w+)::(\{[^}]*\}|\w+)( as \w+)?;").unwrap();
        let name = Regex::new(r"\w+(?: as \w+)?").unwrap();
        let passed_on = text.iter().map(|(module, text)| (module.clone(), passed_on(text, &passed, &name)));
        let used = r"((?:\w+::)*(?:\{(?:[^{}]|\{[^{}]*\})*\}|\w+))";
        Self {
            room: room.to_owned(),
            passed_on: passed_on.collect(),
            above: Regex::new(&format!(r"\b((?:super::)+){used}")).unwrap(),
            absolute: Regex::new(&format!(r"\bcrate::{room}::{used}")).unwrap(),
            beside: Regex::new(r"(?m)^use (\w+)::").unwrap(),
            text,
        }
    }

    /// The file that a path of names ends in.
    fn resolve(&self, path: &[String]) -> Option<Module> {
        let mut at = path.first()?.clone();
        for name in &path[1..] {
            let below = format!("{at}/{name}");
            if self.text.contains_key(&below) {
                at = below;
                continue;
            }
            let from = self.passed_on.get(&at).and_then(|names| names.get(name));
            return match from.filter(|from| self.text.contains_key(&format!("{at}/{from}"))) {
                Some(from) => {
                    let next: Vec<String> =
                        at.split('/').map(str::to_owned).chain([from.clone(), name.clone()]).collect();
                    self.resolve(&next)
                }
                None => Some(at),
            };
        }
        Some(at)
    }

    /// The files that `module` names.
    fn named(&self, module: &str) -> BTreeSet<Module> {
        let text = &self.text[module];
        let own: Vec<String> = module.split('/').map(str::to_owned).collect();
        let mut paths = Vec::new();
        for found in self.above.captures_iter(text) {
            let depth = found[1].matches("super").count();
            if depth < own.len() {
                expand(&own[..own.len() - depth], &found[2], &mut paths);
            }
        }
        for found in self.absolute.captures_iter(text) {
            expand(std::slice::from_ref(&self.room), &found[1], &mut paths);
        }
        for found in self.beside.captures_iter(text) {
            let below = format!("{module}/{}", &found[1]);
            if self.text.contains_key(&below) {
                paths.push(below.split('/').map(str::to_owned).collect());
            }
        }
        let named = paths.iter().filter_map(|path| self.resolve(path));
        named.filter(|named| named != module).collect()
    }
}

/// The names that a `mod.rs` passes on.
fn passed_on(text: &str, passed: &Regex, name: &Regex) -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    for found in passed.captures_iter(text) {
        let renamed = found.get(3).map(|renamed| renamed.as_str()[" as ".len()..].to_owned());
        for one in name.find_iter(&found[2]) {
            let one = one.as_str().rsplit(" as ").next().unwrap().to_owned();
            names.insert(renamed.clone().unwrap_or(one), found[1].to_owned());
        }
    }
    names
}

/// The source without comments and tests.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// The paths in the tree of a `use`, below `prefix`.
fn expand(prefix: &[String], tree: &str, paths: &mut Vec<Vec<String>>) {
    let (mut depth, mut items, mut item) = (0, Vec::new(), String::new());
    for c in tree.chars() {
        match c {
            ',' if depth == 0 => items.push(std::mem::take(&mut item)),
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if c != ',' || depth > 0 {
            item.push(c);
        }
    }
    items.push(item);
    for item in items.iter().map(|item| item.trim()).filter(|item| !item.is_empty()) {
        if let Some(list) = item.strip_prefix('{').and_then(|item| item.strip_suffix('}')) {
            expand(prefix, list, paths);
        } else if let Some((head, list)) = item.split_once("::{") {
            let head = head.split("::").map(str::to_owned);
            let prefix: Vec<String> = prefix.iter().cloned().chain(head).collect();
            expand(&prefix, list.strip_suffix('}').unwrap_or(list), paths);
        } else {
            let names = item.split(" as ").next().unwrap().split("::").filter(|name| *name != "self");
            paths.push(prefix.iter().cloned().chain(names.map(str::to_owned)).collect());
        }
    }
}

/// Every set of modules that lead to each other.
fn circles(edges: &BTreeMap<Module, BTreeSet<Module>>) -> Vec<BTreeSet<Module>> {
    let reach = |from: &Module| {
        let (mut seen, mut left) = (BTreeSet::new(), vec![from.clone()]);
        while let Some(at) = left.pop() {
            for next in edges.get(&at).into_iter().flatten() {
                if seen.insert(next.clone()) {
                    left.push(next.clone());
                }
            }
        }
        seen
    };
    let reached: BTreeMap<&Module, BTreeSet<Module>> =
        edges.keys().map(|module| (module, reach(module))).collect();
    let mut circles: Vec<BTreeSet<Module>> = Vec::new();
    for (module, below) in &reached {
        if below.contains(*module) && !circles.iter().any(|circle| circle.contains(*module)) {
            let back = |other: &&Module| reached.get(*other).is_some_and(|below| below.contains(*module));
            circles.push(below.iter().filter(back).cloned().collect());
        }
    }
    circles
}

/// Is it one of those that the table names?
fn is_known(circle: &BTreeSet<Module>) -> bool {
    KNOWN.iter().any(|(folder, names, _)| {
        circle.iter().all(|module| {
            let name = if module == folder { "mod" } else { module.rsplit('/').next().unwrap() };
            let is_there = module == folder || module.rsplit_once('/').is_some_and(|(at, _)| at == *folder);
            is_there && (names == &["*"] || names.contains(&name))
        })
    })
}

#[test]
fn no_way_between_the_files_of_a_room_returns() {
    let rooms: BTreeSet<String> = files("src", "rs")
        .iter()
        .filter_map(|file| Some(file.strip_prefix("src/")?.split_once('/')?.0.to_owned()))
        .collect();
    let mut wrong = Vec::new();
    for room in rooms {
        let sources = Sources::of(&room);
        let edges: BTreeMap<Module, BTreeSet<Module>> =
            sources.text.keys().map(|module| (module.clone(), sources.named(module))).collect();
        assert!(edges.values().any(|named| !named.is_empty()), "nothing was read of {room}");
        let unknown = circles(&edges).into_iter().filter(|circle| !is_known(circle));
        wrong.extend(unknown.map(|circle| format!("{room}: {circle:?}")));
    }
    assert!(wrong.is_empty(), "these files know each other in a circle:\n{}", wrong.join("\n"));
}

#[test]
fn a_circle_is_found_and_a_way_down_is_none() {
    let edges = |pairs: &[(&str, &str)]| {
        let mut edges: BTreeMap<Module, BTreeSet<Module>> = BTreeMap::new();
        for (from, to) in pairs {
            edges.entry((*from).to_owned()).or_default().insert((*to).to_owned());
        }
        edges
    };
    assert!(circles(&edges(&[("a", "b"), ("b", "c"), ("a", "c")])).is_empty());
    let found = circles(&edges(&[("a", "b"), ("b", "c"), ("c", "b")]));
    assert_eq!(found, [BTreeSet::from(["b".to_owned(), "c".to_owned()])]);
    let mut paths = Vec::new();
    expand(&["x".to_owned()], "a::{B, c::{D, E as F}}", &mut paths);
    assert_eq!(paths, [vec!["x", "a", "B"], vec!["x", "a", "c", "D"], vec!["x", "a", "c", "E"]]);
}
