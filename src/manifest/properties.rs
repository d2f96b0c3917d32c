//! What holds for every text: it is read as `serde_yaml` reads it, and nothing makes loading panic.

use proptest::prelude::*;
use serde_json::Value;

use super::problems::Problems;
use super::tests::{FULL, load_files};
use super::tree::{Kind, Node};
use super::{Loaded, scalar, syntax};

/// Texts that look like something else, or need quoting.
fn tricky() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("no"),
        Just("on"),
        Just("~"),
        Just("null"),
        Just("true"),
        Just("1"),
        Just("1.50"),
        Just("0x1F"),
        Just("0o17"),
        Just("1e3"),
        Just(".inf"),
        Just("-"),
        Just("- a"),
        Just("a: b"),
        Just("# a"),
        Just("a #b"),
        Just("é\u{1F980}"),
        Just("two\nlines"),
        Just("\n"),
        Just(" a "),
        Just("'"),
        Just("\""),
        Just("\\"),
        Just("${vars.x}"),
        Just("*.rs"),
        Just("&a"),
        Just("!a"),
        Just("%a"),
        Just("@a"),
        Just("`a`"),
        Just("{a}"),
        Just("[a]"),
        Just("a,b"),
        Just("?"),
        Just("? a"),
        Just("|"),
        Just(">"),
        Just("="),
        Just("<<x"),
        Just("2001-01-01"),
    ]
    .prop_map(str::to_owned)
}

fn value() -> impl Strategy<Value = Value> {
    let text = prop_oneof![tricky(), "[ -~]{0,12}", "[a-zé\\n ]{0,20}"];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        (-1000i32..1000).prop_map(|number| Value::from(f64::from(number) / 8.0)),
        text.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(text.clone(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Both readings of `text` agree, and every plain scalar stands where its span says.
fn check_reading(text: &str) {
    let problems = Problems::default();
    let node = syntax::parse(0, text, &problems);
    let found = problems.finish();
    let theirs = serde_yaml::from_str::<Value>(text);
    match (node, theirs) {
        (Some(node), Ok(theirs)) if found.is_empty() => {
            check_spans(&node, text);
            assert_eq!(scalar::to_json(&node), theirs, "{text}");
        }
        // To serde_yaml `<<` is a key like any other; here it is refused, lest it be taken for a merge.
        _ if found.iter().any(|one| one.code == "manifest::merge_key") => {}
        (_, theirs) => assert!(theirs.is_err(), "{text}\n{found:#?}"),
    }
}

fn check_spans(node: &Node<'_>, text: &str) {
    let at = node.at;
    let (start, end) = (at.offset as usize, (at.offset + at.length) as usize);
    let span = text.get(start..end).unwrap();
    let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
    assert_eq!(text[..start].matches('\n').count() + 1, at.line as usize, "{text}");
    assert_eq!(text[line_start..start].chars().count() + 1, at.column as usize, "{text}");
    match &node.kind {
        Kind::Scalar { text: value, plain: true } if !value.contains(' ') => {
            assert_eq!(span, value, "{text}");
        }
        Kind::Scalar { .. } => {}
        Kind::List(items) => items.iter().for_each(|item| check_spans(item, text)),
        Kind::Map(entries) => entries.iter().for_each(|entry| check_spans(&entry.value, text)),
    }
}

/// What holds for whatever was loaded.
fn check_loaded(loaded: &Loaded) {
    assert_eq!(loaded.manifest.is_none(), loaded.diagnostics.iter().any(crate::model::Diagnostic::is_error));
    for label in loaded.diagnostics.iter().flat_map(|one| &one.labels) {
        let text = &loaded.sources.file(label.at).unwrap().text;
        let (start, end) = (label.at.offset as usize, (label.at.offset + label.at.length) as usize);
        assert!(text.get(start..end).is_some(), "{label:?} of {text:?}");
    }
}

fn load_bytes(bytes: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("conductor.yaml");
    std::fs::write(&file, bytes).unwrap();
    check_loaded(&super::load(&super::locate(&file).unwrap(), &|_| None));
}

/// Pieces that YAML or the manifest gives a meaning.
const PIECES: [&str; 40] = [
    "\n",
    " ",
    "  ",
    ": ",
    "- ",
    "[",
    "]",
    "{",
    "}",
    ",",
    "#",
    "&a ",
    "*a",
    "!",
    "!!str ",
    "|",
    ">",
    "'",
    "\"",
    "\t",
    "? ",
    "---\n",
    "...\n",
    "%YAML 1.2\n",
    "<<: *a",
    "${",
    "${vars.x}",
    "$${",
    "${inputs}",
    "~",
    "é",
    "\u{feff}",
    "\r\n",
    "\0",
    "tasks:\n",
    "run: ",
    "inputs:",
    "T1",
    "../",
    "**/*",
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_block_document_is_read_as_serde_yaml_reads_it(value in value()) {
        check_reading(&serde_yaml::to_string(&value).unwrap());
    }

    #[test]
    fn a_flow_document_is_read_as_serde_yaml_reads_it(value in value()) {
        check_reading(&value.to_string());
    }

    #[test]
    fn a_plain_scalar_is_what_serde_yaml_takes_it_for(word in "[-+0-9a-fxo._eE~]{1,6}|[a-zA-Z]{1,5}") {
        check_reading(&format!("a: {word}\n"));
    }

    #[test]
    fn a_word_of_digits_is_what_serde_yaml_takes_it_for(word in "[-+]{0,2}0{0,2}[xob.]?[0-9]{0,3}[.e_]?[-+]?[0-9]{0,2}") {
        check_reading(&format!("a: {word}\n"));
    }

    #[test]
    fn no_bytes_make_loading_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        load_bytes(&bytes);
    }

    #[test]
    fn no_pieces_of_yaml_make_loading_panic(pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..60)) {
        load_bytes(format!("conductor: 1\n{}", pieces.concat()).as_bytes());
    }

    #[test]
    fn no_mutation_of_a_manifest_makes_loading_panic(
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0usize..12, prop::sample::select(&PIECES[..])), 1..6)
    ) {
        let mut text: Vec<u8> = FULL.as_bytes().to_vec();
        for (place, removed, piece) in edits {
            let start = place.index(text.len());
            let end = (start + removed).min(text.len());
            text.splice(start..end, piece.bytes());
        }
        load_bytes(&text);
    }
}

#[test]
fn the_full_manifest_is_sound() {
    let loaded = load_files(&[("conductor.yaml", FULL)]);
    let codes: Vec<&str> = loaded.diagnostics.iter().map(|diagnostic| diagnostic.code.as_ref()).collect();
    assert_eq!(codes, ["manifest::not_yet"; 2], "`remote` and `notify`");
}
