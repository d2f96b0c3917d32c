//! The JSON Schema of the manifest, for editors: made from the table of keys.

use serde_json::{Map, Value, json};

use super::keys::{Key, Type};
use super::table;

/// The schema (draft 2020-12).
pub(super) fn schema() -> Value {
    let mut schema = record(table::FILE, &[]);
    if let Value::Object(members) = &mut schema {
        members.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
        members.insert("title".to_owned(), json!("conductor manifest, format 1"));
        members.insert(
            "$defs".to_owned(),
            json!({ "task": record(table::TASK, &[]), "filled": { "type": "string", "pattern": "\\$\\{" } }),
        );
    }
    if let Some(version) = schema.pointer_mut("/properties/conductor") {
        *version = json!({ "const": 1, "description": "the version of the format" });
    }
    schema
}

fn record(keys: &[Key], without: &[&str]) -> Value {
    let mut properties = Map::new();
    for key in keys.iter().filter(|key| !without.contains(&key.name)) {
        let mut value = of_type(&key.kind);
        if let Value::Object(members) = &mut value {
            let default =
                if key.default.is_empty() { String::new() } else { format!(" (default: {})", key.default) };
            members.insert("description".to_owned(), format!("{}{default}", key.doc).into());
        }
        properties.insert(key.name.to_owned(), value);
    }
    let required: Vec<&str> = keys.iter().filter(|key| key.required).map(|key| key.name).collect();
    let mut schema = json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

fn of_type(kind: &Type) -> Value {
    match kind {
        Type::Text => json!({ "type": ["string", "number", "boolean"] }),
        Type::Flag => or_filled(&json!({ "type": "boolean" })),
        Type::Integer(least) => or_filled(&json!({ "type": "integer", "minimum": least })),
        Type::Number => or_filled(&json!({ "type": "number", "minimum": 0 })),
        Type::Count => or_filled(&json!({
            "anyOf": [
                { "type": "integer", "minimum": 0 },
                { "type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?[kKMG]?$" },
            ]
        })),
        Type::Duration => or_filled(&json!({
            "type": "string",
            "pattern": "^\\s*([0-9.]+\\s*(ms|s|m|h|d)\\s*)+$",
        })),
        Type::Size => or_filled(&json!({
            "anyOf": [
                { "type": "integer", "minimum": 0 },
                { "type": "string", "pattern": "^\\s*[0-9.]+\\s*(B|[kKMGT]B|[KMGT]iB)?\\s*$" },
            ]
        })),
        // `true` and `false` are words where YAML has made booleans of them.
        Type::Word(words) => {
            let mut all: Vec<Value> = words.iter().map(|word| json!(word)).collect();
            all.extend(words.iter().filter_map(|word| word.parse::<bool>().ok()).map(Value::Bool));
            or_filled(&json!({ "enum": all }))
        }
        Type::List(item) => json!({ "type": "array", "items": of_type(item) }),
        Type::Map(value) => json!({ "type": "object", "additionalProperties": of_type(value) }),
        Type::Record(keys) if *keys == table::TASK => json!({ "$ref": "#/$defs/task" }),
        Type::Record(keys) => record(keys, &[]),
        Type::Defaults(keys, without) => record(keys, without),
        Type::OneOf(forms) => json!({ "anyOf": forms.iter().map(of_type).collect::<Vec<_>>() }),
        Type::Anything => json!({}),
    }
}

/// The value, or a text in which something is filled in first.
fn or_filled(schema: &Value) -> Value {
    json!({ "anyOf": [schema, { "$ref": "#/$defs/filled" }] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(yaml: &str, valid: bool) {
        let validator = jsonschema::validator_for(&schema()).unwrap();
        let value: Value = serde_yaml::from_str(yaml).unwrap();
        assert_eq!(validator.is_valid(&value), valid, "{yaml}");
    }

    #[test]
    fn the_schema_knows_what_a_manifest_may_hold() {
        check("{ conductor: 1, tasks: { T1: { run: make, inputs: [], timeout: 1h30m, retries: 2 } } }", true);
        check("{ conductor: 1, vars: { t: 5m }, defaults: { timeout: '${vars.t}' } }", true);
        check("{ conductor: 1, remote: { endpoint: 'grpc://x:1', execute: true } }", true);
        check("{ conductor: 2 }", false);
        check("{ tasks: {} }", false);
        check("{ conductor: 1, defaults: { outputs: [a] } }", false);
        check("{ conductor: 1, tasks: { T1: { runs: make } } }", false);
        check("{ conductor: 1, tasks: { T1: { run: make, timeout: soon } } }", false);
    }
}
