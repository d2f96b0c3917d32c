//! What a plain scalar of YAML 1.2 is: `no` and `on` are strings, `0x1F` is a number, `05` is a string.
//!
//! Text keys take a scalar as it is written (`1.10` stays `1.10`), so types matter only where a key
//! asks for a number or a boolean, and in maps that are handed on as JSON. What a number is, `serde_yaml`
//! says: programs that people use beside conductor read the same file the same way.

use serde_json::Value;

use super::tree::{Kind, Node};

/// A scalar's value.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Scalar<'s> {
    Null,
    Bool(bool),
    /// Between the least `i64` and the greatest `u64`.
    Integer(i128),
    Float(f64),
    Text(&'s str),
}

/// Resolves a plain scalar (YAML 1.2.2, section 10.3.2).
pub(super) fn resolve(text: &str) -> Scalar<'_> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Scalar::Null,
        "true" | "True" | "TRUE" => Scalar::Bool(true),
        "false" | "False" | "FALSE" => Scalar::Bool(false),
        _ => number(text).unwrap_or(Scalar::Text(text)),
    }
}

fn number(text: &str) -> Option<Scalar<'_>> {
    if let Ok(number) = text.parse::<serde_yaml::Number>() {
        let integer = number.as_u64().map(i128::from).or_else(|| number.as_i64().map(i128::from));
        return integer.map(Scalar::Integer).or_else(|| number.as_f64().map(Scalar::Float));
    }
    // An integer of more than 64 bits, at which `serde_yaml` gives up.
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let is_decimal = !unsigned.starts_with('0') && unsigned.bytes().all(|byte| byte.is_ascii_digit());
    if is_decimal { text.parse().ok().map(Scalar::Float) } else { None }
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
            Scalar::Integer(value) => serde_json::Number::from_i128(value).map_or(Value::Null, Value::Number),
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
    fn what_begins_with_a_zero_is_text_unless_it_is_a_fraction_or_has_a_radix() {
        for word in ["05", "-05", "+05", "00", "-00", "+00", "000", "0123456789", "09"] {
            assert_eq!(resolve(word), Scalar::Text(word));
        }
        for (word, integer) in
            [("0", 0), ("-0", 0), ("+5", 5), ("0b11", 3), ("+0x1f", 31), ("-0x1F", -31), ("-0o17", -15)]
        {
            assert_eq!(resolve(word), Scalar::Integer(integer), "{word}");
        }
        for (word, float) in
            [("05.5", 5.5), ("-05.5", -5.5), ("0e1", 0.0), ("01e1", 10.0), (".5", 0.5), ("5.", 5.0)]
        {
            assert_eq!(resolve(word), Scalar::Float(float), "{word}");
        }
    }

    #[test]
    fn every_size_of_an_integer_is_a_number() {
        assert_eq!(resolve("18446744073709551615"), Scalar::Integer(u64::MAX.into()));
        assert_eq!(resolve("-9223372036854775808"), Scalar::Integer(i64::MIN.into()));
        assert_eq!(resolve("100000000000000000000"), Scalar::Float(1e20));
        assert_eq!(resolve("-9223372036854775809"), Scalar::Float(-9_223_372_036_854_775_809.0));
    }
}
