//! What `check` found as JUnit's XML, which every CI shows: a test case for every task, a failure for every task that
//! is not fresh.

use std::io::{self, Cursor};

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};

use super::checked::{Checked, Findings, Problem, Standing, first, sentences};

/// The document.
pub fn document(findings: &Findings) -> io::Result<String> {
    let mut writer = Writer::new_with_indent(Cursor::new(Vec::new()), b' ', 2);
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let due = findings.count(|standing| matches!(standing, Standing::Stale(_) | Standing::Blocked(_)));
    let skipped = findings.count(|standing| *standing == Standing::Always);
    let errors = findings.problems.iter().filter(|problem| problem.is_error).count();
    let counts = [
        ("tests", (findings.tasks.len() + errors).to_string()),
        ("failures", due.to_string()),
        ("errors", errors.to_string()),
        ("skipped", skipped.to_string()),
    ];
    let attributes = || counts.iter().map(|(name, value)| (*name, value.as_str()));
    writer.create_element("testsuites").with_attributes(attributes()).write_inner_content(|writer| {
        writer
            .create_element("testsuite")
            .with_attribute(("name", "conductor check"))
            .with_attributes(attributes())
            .write_inner_content(|writer| cases(writer, findings))?;
        Ok(())
    })?;
    let mut text = String::from_utf8(writer.into_inner().into_inner()).map_err(io::Error::other)?;
    text.push('\n');
    Ok(text)
}

type Xml = Writer<Cursor<Vec<u8>>>;

fn cases(writer: &mut Xml, findings: &Findings) -> io::Result<()> {
    for problem in findings.problems.iter().filter(|problem| problem.is_error) {
        of_problem(writer, findings, problem)?;
    }
    for task in &findings.tasks {
        of_task(writer, findings, task)?;
    }
    Ok(())
}

fn of_problem(writer: &mut Xml, findings: &Findings, problem: &Problem) -> io::Result<()> {
    let place = problem.at.as_ref();
    case(writer, findings, &problem.code, place, |writer| {
        outcome(writer, "error", &problem.code, &problem.message, &problem.message)
    })
}

fn of_task(writer: &mut Xml, findings: &Findings, task: &Checked) -> io::Result<()> {
    let place = task.place();
    match &task.standing {
        Standing::Fresh => case(writer, findings, &task.task, place, |_| Ok(())),
        Standing::Always => case(writer, findings, &task.task, place, |writer| {
            writer.create_element("skipped").with_attribute(("message", "runs each time")).write_empty()?;
            Ok(())
        }),
        Standing::Stale(reasons) => case(writer, findings, &task.task, place, |writer| {
            outcome(writer, "failure", "stale", &first(reasons), &sentences(reasons).join("\n"))
        }),
        Standing::Blocked(by) => case(writer, findings, &task.task, place, |writer| {
            let said = format!("waits for {by}");
            outcome(writer, "failure", "blocked", &said, &said)
        }),
    }
}

fn case(
    writer: &mut Xml,
    findings: &Findings,
    name: &str,
    place: Option<&crate::model::Place>,
    inner: impl FnOnce(&mut Xml) -> io::Result<()>,
) -> io::Result<()> {
    let name = allowed(name);
    let mut attributes =
        vec![("classname", "conductor".to_owned()), ("name", name), ("time", "0".to_owned())];
    if let Some(place) = place {
        attributes.push(("file", allowed(&findings.file(place))));
        attributes.push(("line", place.line.to_string()));
    }
    writer
        .create_element("testcase")
        .with_attributes(attributes.iter().map(|(name, value)| (*name, value.as_str())))
        .write_inner_content(inner)?;
    Ok(())
}

fn outcome(writer: &mut Xml, element: &str, kind: &str, message: &str, text: &str) -> io::Result<()> {
    let (kind, message, text) = (allowed(kind), allowed(message), allowed(text));
    writer
        .create_element(element)
        .with_attributes([("type", kind.as_str()), ("message", message.as_str())])
        .write_text_content(BytesText::new(&text))?;
    Ok(())
}

/// XML has no way to write most control characters, not even escaped.
fn allowed(text: &str) -> String {
    let is_allowed =
        |c: char| matches!(c, '\t' | '\n' | '\r') || (c >= ' ' && !matches!(c, '\u{fffe}' | '\u{ffff}'));
    text.chars().map(|c| if is_allowed(c) { c } else { '\u{fffd}' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::testing::findings;

    #[test]
    fn every_task_is_a_case_and_what_is_not_fresh_is_a_failure() {
        let text = document(&findings()).unwrap();
        assert!(text.contains(r#"<testsuites tests="5" failures="2" errors="1" skipped="1">"#), "{text}");
        assert!(text.contains(r#"name="T2" time="0" file="sub/conductor.yaml" line="12">"#), "{text}");
        assert!(text.contains(r#"<failure type="blocked" message="waits for T2">"#), "{text}");
    }

    #[test]
    fn no_character_of_a_name_makes_it_another_document() {
        let mut hostile = findings();
        hostile.tasks[0].task = "<a b='\u{0}\u{1b}\"' />&amp;]]>\u{ffff}".to_owned();
        let text = document(&hostile).unwrap();
        let mut reader = quick_xml::Reader::from_str(&text);
        let mut names = Vec::new();
        loop {
            match reader.read_event().unwrap() {
                Event::Eof => break,
                Event::Start(tag) | Event::Empty(tag) => {
                    for attribute in tag.attributes() {
                        attribute.unwrap();
                    }
                    names.push(tag.name().as_ref().to_owned());
                }
                _ => {}
            }
        }
        assert_eq!(names.iter().filter(|name| *name == "testcase").count(), 5, "{text}");
        assert!(!text.contains(['\u{0}', '\u{1b}', '\u{ffff}']), "{text}");
    }
}
