//! What a plain scalar of YAML 1.2's core schema is: `no` and `on` are strings, `0x1F` is a number.
//!
//! Text keys take a scalar as it is written (`1.10` stays `1.10`), so types matter only where a key
//! asks for a number or a boolean, and in maps that are handed on as JSON.

use serde_json::Value;

use super::tree::{Kind, Node};

/// A scalar's value in the core schema.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Scalar<'s> {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(&'s str),
}

/// Resolves a plain scalar (YAML 1.2.2, section 10.3.2).
pub(super) fn resolve(text: &str) -> Scalar<'_> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Scalar::Null,
        "true" | "True" | "TRUE" => Scalar::Bool(true),
        "false" | "False" | "FALSE" => Scalar::Bool(false),
        ".nan" | ".NaN" | ".NAN" => Scalar::Float(f64::NAN),
        _ => number(text).unwrap_or(Scalar::Text(text)),
    }
}

fn number(text: &str) -> Option<Scalar<'_>> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        let infinity = if text.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY };
        return Some(Scalar::Float(infinity));
    }
    for (prefix, radix) in [("0x", 16), ("0o", 8)] {
        if let Some(digits) = text.strip_prefix(prefix)
            && digits.bytes().all(|byte| char::from(byte).is_digit(radix))
        {
            return i64::from_str_radix(digits, radix).ok().map(Scalar::Integer);
        }
    }
    if !unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.')
        || !unsigned.contains(|c: char| c.is_ascii_digit())
    {
        return None;
    }
    if unsigned.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().map(Scalar::Integer).or_else(|_| text.parse().map(Scalar::Float)).ok();
    }
    // Rust's grammar of floats is that of the core schema, once words and hexadecimals are excluded.
    text.parse().ok().map(Scalar::Float)
}

/// A count as people write it: `40`, `500k`, `2M`.
pub(super) fn count(text: &str) -> Option<u64> {
    let (digits, factor) = match text.as_bytes().last()? {
        b'k' | b'K' => (&text[..text.len() - 1], 1e3),
        b'M' => (&text[..text.len() - 1], 1e6),
        b'G' => (&text[..text.len() - 1], 1e9),
        _ => return text.parse().ok(),
    };
    let number: f64 = digits.parse().ok().filter(|number: &f64| *number >= 0.0 && *number < 1e9)?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded above")]
    Some((number * factor) as u64)
}

/// A tree as JSON: what rooms get that read a part of the manifest by themselves (`agents`, `remote`).
pub(super) fn to_json(node: &Node<'_>) -> Value {
    match &node.kind {
        Kind::List(items) => items.iter().map(to_json).collect(),
        Kind::Map(entries) => {
            entries.iter().map(|entry| (entry.key.to_string(), to_json(&entry.value))).collect()
        }
        Kind::Scalar { text, plain: false } => Value::String(text.to_string()),
        Kind::Scalar { text, plain: true } => match resolve(text) {
            Scalar::Null => Value::Null,
            Scalar::Bool(value) => value.into(),
            Scalar::Integer(value) => value.into(),
            // JSON has no infinity and no NaN.
            Scalar::Float(value) => value.into(),
            Scalar::Text(text) => text.into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_yaml_1_1_stay_text() {
        for word in ["no", "yes", "on", "off", "n", "0777x", "1_000", "12:30", "infinity", "nan", "+", "."] {
            assert_eq!(resolve(word), Scalar::Text(word));
        }
    }

    #[test]
    fn the_core_schema_is_known() {
        assert_eq!(resolve("~"), Scalar::Null);
        assert_eq!(resolve("True"), Scalar::Bool(true));
        assert_eq!(resolve("-12"), Scalar::Integer(-12));
        assert_eq!(resolve("0x1F"), Scalar::Integer(31));
        assert_eq!(resolve("0o17"), Scalar::Integer(15));
        assert_eq!(resolve("1.5e3"), Scalar::Float(1500.0));
        assert_eq!(resolve("-.inf"), Scalar::Float(f64::NEG_INFINITY));
    }

    #[test]
    fn counts_may_end_in_a_unit() {
        assert_eq!(count("40"), Some(40));
        assert_eq!(count("500k"), Some(500_000));
        assert_eq!(count("1.5M"), Some(1_500_000));
        assert_eq!(count("-1"), None);
        assert_eq!(count("many"), None);
        assert_eq!(count("é"), None);
    }
}
