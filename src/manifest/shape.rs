//! Holds a tree against the table of keys: unknown and missing keys, values of a wrong kind, numbers and
//! words that are none. Values that hold `${…}` are judged when they are filled in.

use super::keys::{Key, Type};
use super::problems::{Problems, did_you_mean};
use super::scalar::{self, Scalar};
use super::table;
use super::tree::{Entry, Kind, Node};
use crate::model::{At, Diagnostic, parse_bytes, parse_duration};

/// What other tools call a key of conductor.
const ELSEWHERE: [(&str, &str); 23] = [
    ("artifacts", "outputs"),
    ("checks", "validate"),
    ("cmd", "run"),
    ("command", "run"),
    ("commands", "run"),
    ("cwd", "dir"),
    ("dependencies", "needs"),
    ("depends", "needs"),
    ("depends_on", "needs"),
    ("deps", "needs"),
    ("description", "title"),
    ("environment", "env"),
    ("generates", "outputs"),
    ("name", "title"),
    ("phase", "group"),
    ("prompt", "instructions"),
    ("requires", "needs"),
    ("retry", "retries"),
    ("script", "run"),
    ("sources", "inputs"),
    ("targets", "default"),
    ("validation", "validate"),
    ("workdir", "dir"),
];

/// What people write for a switch, and what it is called here.
const SWITCHES: [(&str, &str); 4] = [("false", "off"), ("no", "off"), ("true", "on"), ("yes", "on")];

/// Checks a whole file.
pub(super) fn check(root: &Node<'_>, problems: &Problems) {
    Shape { problems }.record(root.entries(), table::FILE, None);
}

/// What a value belongs to, for messages.
#[derive(Clone, Copy)]
struct Holder<'e> {
    key: &'e str,
    at: At,
    /// The value is an item of the list under `key`.
    item: bool,
}

impl<'e> Holder<'e> {
    fn of(entry: &'e Entry<'_>) -> Self {
        Self { key: &entry.key, at: entry.key_at, item: false }
    }

    fn name(&self) -> String {
        if self.item { format!("an entry of `{}`", self.key) } else { format!("`{}`", self.key) }
    }
}

struct Shape<'p> {
    problems: &'p Problems,
}

impl Shape<'_> {
    /// `holder` holds the map; the file itself has none.
    fn record(&self, entries: &[Entry<'_>], keys: &[Key], holder: Option<Holder<'_>>) {
        for entry in entries {
            match keys.iter().find(|key| key.name == entry.key) {
                Some(key) => self.value(&entry.value, &key.kind, Holder::of(entry)),
                None => self.unknown(entry, keys, holder.is_none()),
            }
        }
        // Whether a file begins with its version was judged before.
        let Some(holder) = holder else { return };
        for key in keys.iter().filter(|key| key.required) {
            if !entries.iter().any(|entry| entry.key == key.name) {
                self.problems.push(
                    Diagnostic::error(
                        "manifest::missing_key",
                        format!("{} lacks `{}`", holder.name(), key.name),
                    )
                    .label(holder.at, "is incomplete")
                    .help(format!("add `{}`: {}", key.name, key.doc)),
                );
            }
        }
    }

    fn unknown(&self, entry: &Entry<'_>, keys: &[Key], top: bool) {
        let name = &*entry.key;
        let ours = |theirs: &str| {
            let (_, ours) = ELSEWHERE.iter().find(|(name, _)| *name == theirs)?;
            keys.iter().any(|key| key.name == *ours).then(|| format!("did you mean `{ours}`?"))
        };
        let known = keys.iter().map(|key| key.name).chain(ELSEWHERE.map(|(theirs, _)| theirs));
        let meant = self.problems.nearest(name, known).and_then(ours);
        let of_task = || {
            (top && table::TASK.iter().any(|key| key.name == name)).then(|| {
                format!("`{name}` is a key of tasks: write it in a task, or under `defaults` for all")
            })
        };
        let help = meant
            .or_else(of_task)
            .unwrap_or_else(|| did_you_mean(self.problems, name, "keys", keys.iter().map(|key| key.name)));
        self.problems.push(
            Diagnostic::error("manifest::unknown_key", format!("unknown key `{name}`"))
                .label(entry.key_at, "not known here")
                .help(help),
        );
    }

    fn value(&self, node: &Node<'_>, kind: &Type, holder: Holder<'_>) {
        if node.is_null() && *kind != Type::Anything {
            return self.empty(node, kind, holder);
        }
        match (kind, &node.kind) {
            (Type::Anything, _) => {}
            (Type::OneOf(forms), _) => match forms.iter().find(|form| fits(form, node)) {
                Some(form) => self.value(node, form, holder),
                None => self.wrong(node, kind, holder),
            },
            (Type::List(kind), Kind::List(items)) => {
                let holder = Holder { item: true, ..holder };
                for item in items {
                    self.value(item, kind, Holder { at: item.at, ..holder });
                }
            }
            (Type::Map(kind), Kind::Map(entries)) => {
                for entry in entries {
                    self.value(&entry.value, kind, Holder::of(entry));
                }
            }
            (Type::Record(keys), Kind::Map(entries)) => self.record(entries, keys, Some(holder)),
            (Type::Defaults(keys, not), Kind::Map(entries)) => {
                self.not_defaults(entries, not);
                self.record(entries, keys, Some(holder));
            }
            (_, Kind::Scalar { text, plain }) if fits(kind, node) => {
                if !text.contains("${") {
                    self.scalar(text, *plain, kind, node.at);
                }
            }
            _ => self.wrong(node, kind, holder),
        }
    }

    fn not_defaults(&self, entries: &[Entry<'_>], not: &[&str]) {
        for entry in entries.iter().filter(|entry| not.contains(&&*entry.key)) {
            self.problems.push(
                Diagnostic::error("manifest::not_a_default", format!("`{}` cannot be a default", entry.key))
                    .label(entry.key_at, "says what one task is")
                    .help("write it in each task"),
            );
        }
    }

    fn empty(&self, node: &Node<'_>, kind: &Type, holder: Holder<'_>) {
        let nothing = match kind {
            Type::List(_) => ", or `[]` for none",
            Type::Map(_) | Type::Record(_) | Type::Defaults(..) => ", or `{}` for none",
            _ => "",
        };
        let place = if node.at.length > 0 { node.at } else { holder.at };
        self.problems.push(
            Diagnostic::error("manifest::empty_value", format!("{} has no value", holder.name()))
                .label(place, "nothing")
                .help(format!("write {}{nothing}, or remove it", kind.describe())),
        );
    }

    fn wrong(&self, node: &Node<'_>, kind: &Type, holder: Holder<'_>) {
        let message = format!("{} must be {}", holder.name(), kind.describe());
        let diagnostic = Diagnostic::error("manifest::wrong_type", message)
            .label(node.at, format!("this is {}", node.describe()));
        let short = node.scalar().filter(|text| text.len() < 40);
        self.problems.push(match (kind, short) {
            (Type::List(Type::Text | Type::OneOf(_)), Some(text)) => {
                diagnostic.help(format!("write `{}: [{text}]`", holder.key))
            }
            (Type::Record(keys), Some(text)) if keys.iter().any(|key| key.name == "run") => {
                diagnostic.help(format!("write `run: {text}`"))
            }
            _ => diagnostic,
        });
    }

    fn scalar(&self, text: &str, plain: bool, kind: &Type, at: At) {
        let (code, message) = match kind {
            Type::Flag => match scalar::resolve(text) {
                Scalar::Bool(_) if plain => return,
                _ => ("manifest::wrong_type", format!("`{text}` is neither `true` nor `false`")),
            },
            Type::Integer(least) => {
                if text.parse().is_ok_and(|number: u32| number >= *least) {
                    return;
                }
                ("manifest::bad_number", format!("`{text}` is no whole number of at least {least}"))
            }
            Type::Number => {
                if text.parse().is_ok_and(|number: f64| number.is_finite() && number >= 0.0) {
                    return;
                }
                ("manifest::bad_number", format!("`{text}` is no number of at least 0"))
            }
            Type::Count => {
                if crate::model::parse_count(text).is_some() {
                    return;
                }
                ("manifest::bad_number", format!("`{text}` is no number such as `40` or `2M`"))
            }
            Type::Duration => match parse_duration(text) {
                Ok(_) => return,
                Err(error) => ("manifest::bad_duration", format!("`{text}` is no duration: {error}")),
            },
            Type::Size => match parse_bytes(text) {
                Ok(_) => return,
                Err(error) => ("manifest::bad_size", format!("`{text}` is no size: {error}")),
            },
            Type::Word(words) => {
                if words.contains(&text) {
                    return;
                }
                ("manifest::unknown_word", format!("`{text}` is none of {}", words.join(", ")))
            }
            _ => return,
        };
        let help = match kind {
            Type::Word(words) => match SWITCHES.iter().find(|(theirs, _)| *theirs == text) {
                Some((_, ours)) if words.contains(ours) => format!("did you mean `{ours}`?"),
                _ => did_you_mean(self.problems, text, "words", words.iter().copied()),
            },
            Type::Duration => {
                "write a number and a unit (`ms`, `s`, `m`, `h`, `d`), such as `90s` or `1h30m`".to_owned()
            }
            Type::Size => "write a number and a unit, such as `10GB` or `512MiB`".to_owned(),
            _ => format!("write {}", kind.describe()),
        };
        self.problems.push(Diagnostic::error(code, message).label(at, "here").help(help));
    }
}

/// Is `node` of the form (scalar, list or map) that `kind` asks for?
fn fits(kind: &Type, node: &Node<'_>) -> bool {
    match kind {
        Type::Anything => true,
        Type::OneOf(forms) => forms.iter().any(|form| fits(form, node)),
        Type::List(_) => matches!(node.kind, Kind::List(_)),
        Type::Map(_) | Type::Record(_) | Type::Defaults(..) => matches!(node.kind, Kind::Map(_)),
        _ => node.scalar().is_some(),
    }
}
