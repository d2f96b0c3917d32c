//! The tables of `docs/manifest.md`, made from the program's own table of keys.

use std::fmt::Write as _;

use conductor::manifest::{Key, Type, keys};

use crate::generated;

/// A map of keys that has a section of its own.
struct Section {
    place: String,
    keys: &'static [Key],
}

/// All maps in the order in which they are met, each once.
fn sections() -> Vec<Section> {
    let mut sections = vec![Section { place: "A manifest file".to_owned(), keys: keys() }];
    let mut next = 0;
    while next < sections.len() {
        let (keys, place) = (sections[next].keys, sections[next].place.clone());
        for key in keys {
            let place = if next == 0 { key.name.to_owned() } else { format!("{place}.{}", key.name) };
            collect(&key.kind, &place, &mut sections);
        }
        next += 1;
    }
    sections
}

fn collect(kind: &'static Type, place: &str, sections: &mut Vec<Section>) {
    match kind {
        Type::Record(keys) if sections.iter().all(|section| section.keys != *keys) => {
            sections.push(Section { place: place.to_owned(), keys });
        }
        Type::List(item) => collect(item, &format!("{place}[]"), sections),
        Type::Map(value) => collect(value, &format!("{place}.NAME"), sections),
        Type::OneOf(forms) => forms.iter().for_each(|form| collect(form, place, sections)),
        _ => {}
    }
}

fn tables() -> String {
    let mut text = String::new();
    for (number, section) in sections().iter().enumerate() {
        let title = if number == 0 { section.place.clone() } else { format!("`{}`", section.place) };
        let _ = writeln!(text, "## {title}\n\n| key | value | default | |\n| --- | --- | --- | --- |");
        for key in section.keys {
            let default = match (key.required, key.default) {
                (true, _) => "**required**".to_owned(),
                (false, "") => String::new(),
                (false, default) if default.contains(['{', '[']) => format!("`{default}`"),
                (false, default) => default.to_owned(),
            };
            let _ = writeln!(text, "| `{}` | {} | {default} | {} |", key.name, key.kind.describe(), key.doc);
        }
        text.push('\n');
    }
    text.trim_end().to_owned()
}

#[test]
fn the_page_of_the_manifest_has_every_key() {
    generated::check("docs/manifest.md", "keys", &tables());
}

#[test]
fn the_example_of_the_page_is_a_manifest() {
    let page = crate::read("docs/manifest.md");
    let example = page.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    let place = crate::Place::new();
    std::fs::write(place.work().join("conductor.yaml"), example).unwrap();
    std::fs::create_dir_all(place.work().join("docs")).unwrap();
    let output = place.command("conductor").args(["validate", "--color", "never"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
