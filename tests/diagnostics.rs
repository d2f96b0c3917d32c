//! Every kind of diagnostic of the manifest: one malformed file each under `tests/diagnostics/`, and the
//! snapshot of what is printed. A case is `CODE.yaml`, or a folder `CODE/` with a `conductor.yaml`.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use conductor::graph;
use conductor::manifest::{self, Location};
use conductor::model::Diagnostic;
use conductor::report::Style;
use conductor::report::diagnostics::render;

const STYLE: Style = Style { color: false, unicode: true, width: 80 };

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/diagnostics")
}

/// Loads, and adds the warnings that need the tree.
fn load(location: &Location) -> (Vec<Diagnostic>, String) {
    let loaded = manifest::load(location, &|_| None);
    let errors = loaded.diagnostics.iter().any(Diagnostic::is_error);
    assert_eq!(loaded.manifest.is_none(), errors, "a manifest exactly when there is no error");
    let mut diagnostics = loaded.diagnostics;
    if let Some(manifest) = loaded.manifest {
        diagnostics.extend(manifest::undeclared_paths(&manifest, &location.root));
        diagnostics.extend(graph::compile(manifest).err().unwrap_or_default());
    }
    let page = render(&diagnostics, &loaded.sources, STYLE);
    (diagnostics, page)
}

/// The code is among those reported, and the page is what the snapshot holds.
#[track_caller]
fn check(code: &str, location: &Location) {
    let (diagnostics, page) = load(location);
    let codes: BTreeSet<&str> = diagnostics.iter().map(|one| one.code.as_str()).collect();
    let told = ["manifest", "graph"].iter().any(|room| codes.contains(format!("{room}::{code}").as_str()));
    assert!(told, "{code} is not among {codes:?}\n{page}");
    insta::with_settings!({
        snapshot_path => "diagnostics/snapshots",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!(code, page.trim_end());
    });
}

#[test]
fn every_malformed_file_is_answered_with_its_diagnostic() {
    for code in written_cases() {
        let folder = cases().join(&code);
        let file =
            if folder.is_dir() { folder.join("conductor.yaml") } else { folder.with_extension("yaml") };
        check(&code, &manifest::locate(&file).unwrap());
    }
}

fn written_cases() -> BTreeSet<String> {
    std::fs::read_dir(cases())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().is_some_and(|name| name != "snapshots"))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect()
}

/// Cases that are too large for a file, or no file at all.
const MADE_HERE: [&str; 9] = [
    "expansion_too_large",
    "not_a_dispatcher",
    "not_found",
    "too_large",
    "too_many_edges",
    "too_many_files",
    "too_many_problems",
    "too_many_tasks",
    "unreadable",
];

fn written(name: &str, text: &str) -> (tempfile::TempDir, Location) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(name);
    std::fs::write(&file, text).unwrap();
    let location = manifest::locate(&file).unwrap();
    (folder, location)
}

#[track_caller]
fn check_text(code: &str, text: &str) {
    let (_folder, location) = written("conductor.yaml", text);
    check(code, &location);
}

#[test]
fn variables_and_defaults_may_not_expand_without_end() {
    let mut text = "conductor: 1\nvars:\n  a: xxxxxxxxxxxxxxxx\n".to_owned();
    for (name, before) in ('b'..='z').zip('a'..) {
        writeln!(text, "  {name}: ${{vars.{before}}}${{vars.{before}}}${{vars.{before}}}").unwrap();
    }
    check_text("expansion_too_large", &text);
}

#[test]
fn a_manifest_has_a_limited_size() {
    check_text("too_large", &"#".repeat((64 << 20) + 1));
}

#[test]
fn a_manifest_has_a_limited_number_of_files() {
    let text = "conductor: 1\ninclude: [\"m/*.yaml\"]\ntasks: { T: { run: make, inputs: [] } }\n";
    let (folder, location) = written("conductor.yaml", text);
    std::fs::create_dir(folder.path().join("m")).unwrap();
    for number in 0..5000 {
        std::fs::write(folder.path().join(format!("m/{number}.yaml")), "conductor: 1\n").unwrap();
    }
    check("too_many_files", &location);
}

#[test]
fn a_flood_of_problems_is_cut_short() {
    let lines = (0..5000).map(|number| format!("key{number}: 1\n"));
    let (_folder, location) =
        written("conductor.yaml", &("conductor: 1\n".to_owned() + &lines.collect::<String>()));
    let (diagnostics, page) = load(&location);
    assert_eq!(diagnostics.len(), 101);
    insta::with_settings!({
        snapshot_path => "diagnostics/snapshots",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!("too_many_problems", page.rsplit_once("\n\nmanifest").unwrap().1.trim_end());
    });
}

#[test]
fn a_manifest_has_a_limited_number_of_tasks() {
    let digits = "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]";
    let mut text = "conductor: 1\ntasks:\n".to_owned();
    for number in 0..26 {
        let axes = format!("a: {digits}, b: {digits}, c: {digits}, d: {digits}");
        writeln!(text, "  T{number}: {{ run: x, inputs: [], matrix: {{ {axes} }} }}").unwrap();
    }
    check_text("too_many_tasks", &text);
}

#[test]
fn tasks_that_all_read_from_all_others_are_too_many_edges() {
    let mut text = "conductor: 1\ngroups: { A: {} }\ntasks:\n".to_owned();
    for number in 0..2300 {
        writeln!(text, "  a{number}: {{ group: A, run: x, inputs: [], outputs: [out/{number}] }}").unwrap();
    }
    for number in 0..2300 {
        writeln!(text, "  b{number}: {{ needs: [A], run: x, inputs: [] }}").unwrap();
    }
    check_text("too_many_edges", &text);
}

#[test]
fn instances_that_all_write_one_path_are_told_in_bounded_time() {
    let digits = "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]";
    let text = format!(
        "conductor: 1
tasks:
  T: {{ run: x, inputs: [], outputs: [same], matrix: {{ a: {digits}, b: {digits}, c: {digits}, d: {digits} }} }}
"
    );
    let (_folder, location) = written("conductor.yaml", &text);
    let (diagnostics, _) = load(&location);
    assert_eq!(diagnostics.len(), 100);
    assert!(diagnostics.iter().all(|one| one.code == "graph::overlapping_outputs"), "{:?}", diagnostics[0]);
}

#[test]
fn a_hostile_glob_is_refused() {
    let deep = "{".repeat(500) + "a" + &"}".repeat(500);
    let text =
        format!("conductor: 1\ntasks: {{ T: {{ run: x, inputs: ['{deep}', '{}'] }} }}\n", "*a".repeat(4000));
    let (_folder, location) = written("conductor.yaml", &text);
    let (diagnostics, _) = load(&location);
    let told: Vec<_> = diagnostics.iter().map(|one| one.labels[0].text.as_str()).collect();
    assert_eq!(told, ["its braces nest more than 32 levels deep", "it is longer than 4096 bytes"]);
}

/// What a file of that many bytes costs must not depend on what is in it: these once took all memory.
#[test]
fn hostile_texts_are_refused_in_bounded_time_and_memory() {
    let nines = |name: char| format!("[{}]", vec![format!("*{name}"); 9].join(", "));
    let bomb = ('b'..='z').zip('a'..).map(|(name, before)| format!("{name}: &{name} {}\n", nines(before)));
    let texts = [
        ("alias_bomb", format!("conductor: 1\na: &a [x, x, x]\n{}", bomb.collect::<String>())),
        ("too_deep", format!("conductor: 1\ntasks: {}", "[".repeat(10_000))),
        ("too_deep", format!("conductor: 1\ntasks: {}", "{a: ".repeat(10_000))),
        ("too_deep", format!("conductor: 1\ntasks:\n  {}a\n", "- ".repeat(10_000))),
        (
            "too_deep",
            (1..2_000).fold("tasks:\n".to_owned(), |text, depth| text + &" ".repeat(depth) + "a:\n"),
        ),
        ("too_large", format!("conductor: 1\nproject: '{}'\n", "x".repeat(5 << 20))),
        ("too_large", "a ".repeat(3 << 20)),
        ("too_large", "\n:{}[]".repeat(1 << 20)),
        ("yaml_syntax", "a: ]\n".repeat(1 << 20)),
        ("duplicate_key", format!("conductor: 1\n{}", "a: 1\n".repeat(100_000))),
    ];
    for (code, text) in texts {
        let (_folder, location) = written("conductor.yaml", &text);
        let (diagnostics, _) = load(&location);
        assert!(diagnostics.len() <= 101);
        let codes: BTreeSet<&str> = diagnostics.iter().map(|one| one.code.as_str()).collect();
        assert!(codes.contains(format!("manifest::{code}").as_str()), "{code}: {codes:?}");
    }
}

#[test]
fn a_file_that_is_gone_is_named() {
    let location =
        Location { file: PathBuf::from("/nowhere/conductor.yaml"), root: PathBuf::from("/nowhere") };
    check("unreadable", &location);
}

#[test]
fn where_there_is_no_manifest_help_is_offered() {
    let diagnostic = manifest::discover(Path::new("/")).unwrap_err();
    assert_eq!(diagnostic.code, "manifest::not_found");
    assert!(diagnostic.help.is_some_and(|help| help.contains("conductor init")));
}

#[test]
fn what_is_no_dispatcher_file_cannot_be_migrated() {
    for text in ["a: b", "tasks: [", ""] {
        assert_eq!(manifest::migrate(text).unwrap_err().code, "manifest::not_a_dispatcher");
    }
}

/// The codes that stand in the sources of a room, its tests apart.
fn codes_in_the_sources_of(room: &str) -> BTreeSet<String> {
    let prefix = format!("\"{room}::");
    let room = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(room);
    let mut codes = BTreeSet::new();
    for entry in std::fs::read_dir(room).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "rs") || path.ends_with("tests.rs") {
            continue;
        }
        let text = std::fs::read_to_string(path).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap();
        for (start, quoted) in text.match_indices(&prefix) {
            let rest = &text[start + quoted.len()..];
            codes.insert(rest[..rest.find('"').unwrap()].to_owned());
        }
    }
    codes
}

#[test]
fn every_code_has_a_case() {
    let mut cases = written_cases();
    cases.extend(MADE_HERE.iter().map(|code| (*code).to_owned()));
    let manifest = codes_in_the_sources_of("manifest");
    let missing: Vec<_> = manifest.difference(&cases).collect();
    assert!(missing.is_empty(), "no case for {missing:?}");
    let known = &manifest | &codes_in_the_sources_of("graph");
    let stale: Vec<_> = cases.difference(&known).collect();
    assert!(stale.is_empty(), "no code for {stale:?}");
}

#[test]
fn every_error_says_what_to_do_and_where() {
    for code in written_cases() {
        let folder = cases().join(&code);
        let file =
            if folder.is_dir() { folder.join("conductor.yaml") } else { folder.with_extension("yaml") };
        let location = manifest::locate(&file).unwrap();
        let loaded = manifest::load(&location, &|_| None);
        for diagnostic in &loaded.diagnostics {
            let label =
                diagnostic.labels.first().unwrap_or_else(|| panic!("{} has no place", diagnostic.code));
            let text = &loaded.sources.file(label.at).unwrap().text;
            let (start, end) = (label.at.offset as usize, (label.at.offset + label.at.length) as usize);
            assert!(text.get(start..end).is_some(), "{}: its span is no text", diagnostic.code);
            let line = text[..start].matches('\n').count() + 1;
            assert_eq!(line, label.at.line as usize, "{}: another line", diagnostic.code);
            assert!(!diagnostic.message.ends_with('.'), "{}", diagnostic.message);
        }
    }
}
