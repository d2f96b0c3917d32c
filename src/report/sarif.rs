//! What `check` found as SARIF 2.1.0 (OASIS), which code scanning takes: a rule for every kind of cause, a result for
//! every task that is not fresh.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::checked::{Checked, Findings, Standing, sentences};
use crate::model::{Place, Reason, ReasonKind};

const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

/// The document.
pub fn document(findings: &Findings) -> Value {
    let mut results: Vec<Value> = findings.tasks.iter().filter_map(|task| of_task(findings, task)).collect();
    results.extend(findings.problems.iter().map(|problem| {
        let level = if problem.is_error { "error" } else { "warning" };
        result(findings, &rule_of(&problem.code), level, &problem.message, problem.at.as_ref())
    }));
    let mut rules: Vec<&str> = results.iter().filter_map(|result| result["ruleId"].as_str()).collect();
    rules.sort_unstable();
    rules.dedup();
    let rules: Vec<Value> =
        rules.into_iter().map(|id| json!({"id": id, "shortDescription": {"text": describe(id)}})).collect();
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "conductor",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            }},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }]
    })
}

fn of_task(findings: &Findings, task: &Checked) -> Option<Value> {
    let (rule, level, message) = match &task.standing {
        Standing::Stale(reasons) => {
            let said = format!("{} is stale: {}", task.task, sentences(reasons).join("; "));
            (reasons.first().map_or_else(|| "stale".to_owned(), |reason| reason.kind.name()), "error", said)
        }
        Standing::Blocked(by) => {
            ("blocked".to_owned(), "note", format!("{} is blocked: it waits for {by}", task.task))
        }
        Standing::Fresh | Standing::Always => return None,
    };
    let mut value = result(findings, &rule, level, &message, task.place());
    value["partialFingerprints"] = json!({"conductorTask/v1": format!("{}:{rule}", task.task)});
    if let Standing::Stale(reasons) = &task.standing {
        let related: Vec<Value> = reasons.iter().filter_map(|reason| related(findings, reason)).collect();
        if !related.is_empty() {
            value["relatedLocations"] = related.into();
        }
    }
    Some(value)
}

fn result(findings: &Findings, rule: &str, level: &str, message: &str, at: Option<&Place>) -> Value {
    let mut value = json!({"ruleId": rule, "level": level, "message": {"text": message}});
    if let Some(at) = at {
        value["locations"] = json!([{"physicalLocation": {
            "artifactLocation": {"uri": uri(findings.file(at).as_bytes())},
            "region": {"startLine": at.line.max(1), "startColumn": at.column.max(1)},
        }}]);
    }
    value
}

/// The file that changed, beside the line of the manifest that names it.
fn related(findings: &Findings, reason: &Reason) -> Option<Value> {
    let path = reason.path.as_ref()?;
    let whole = [findings.prefix.as_bytes(), path.as_bytes()].concat();
    Some(json!({
        "physicalLocation": {"artifactLocation": {"uri": uri(&whole)}},
        "message": {"text": sentences(std::slice::from_ref(reason)).join("")},
    }))
}

/// A relative reference (RFC 3986). A colon in the first segment would make a scheme of it.
fn uri(path: &[u8]) -> String {
    let mut uri = String::with_capacity(path.len());
    for byte in path {
        match byte {
            b'/' | b'-' | b'.' | b'_' | b'~' => uri.push(char::from(*byte)),
            byte if byte.is_ascii_alphanumeric() => uri.push(char::from(*byte)),
            byte => _ = write!(uri, "%{byte:02X}"),
        }
    }
    uri
}

/// `lock::damaged` as an id without punctuation that viewers give a meaning to.
fn rule_of(code: &str) -> String {
    code.replace("::", "_")
}

fn describe(rule: &str) -> String {
    let kind: Option<ReasonKind> = serde_json::from_value(json!(rule)).ok();
    let text = match kind {
        Some(ReasonKind::NeverBuilt) => "There is no accepted result.",
        Some(ReasonKind::CommandChanged) => "The command differs from the one that made the result.",
        Some(ReasonKind::DefinitionChanged) => {
            "The task's definition differs from the one that made the result."
        }
        Some(ReasonKind::EnvChanged) => "A declared variable has another value.",
        Some(ReasonKind::ToolChanged) => "A declared tool is another one.",
        Some(ReasonKind::InputChanged) => "An input has other content.",
        Some(ReasonKind::InputAdded) => "A file is an input now.",
        Some(ReasonKind::InputRemoved) => "A file is no input any more.",
        Some(ReasonKind::DependencyChanged) => "A needed task made something different.",
        Some(ReasonKind::OutputMissing) => "A recorded output is not there.",
        Some(ReasonKind::OutputModified) => "An output is not what was recorded.",
        Some(ReasonKind::ValidationChanged) => "The checks, or what they read, differ.",
        Some(ReasonKind::ValidationFailed) => "A check refused the result.",
        Some(ReasonKind::PreviousFailed) => "The last run failed.",
        None if rule == "blocked" => "It stands on a task that is stale.",
        _ => return rule.replace('_', " "),
    };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::testing::findings;

    #[test]
    fn every_task_that_is_not_fresh_is_a_result_with_its_rule_and_place() {
        let document = document(&findings());
        let run = &document["runs"][0];
        let results = run["results"].as_array().unwrap();
        let rules: Vec<&str> = results.iter().map(|result| result["ruleId"].as_str().unwrap()).collect();
        assert_eq!(rules, ["input_changed", "blocked", "lock_damaged"]);
        let place = &results[0]["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "sub/conductor.yaml");
        assert_eq!(place["region"], json!({"startLine": 12, "startColumn": 5}));
        let related = &results[0]["relatedLocations"][0]["physicalLocation"]["artifactLocation"]["uri"];
        assert_eq!(related, "sub/a%250A%2Cb");
        assert_eq!(run["tool"]["driver"]["rules"].as_array().unwrap().len(), 3);
    }
}
