//! What keys there are: the one place that says so. The check for unknown keys and wrong types
//! ([`super::shape`]), the JSON Schema ([`super::schema`]) and the table in `docs/manifest.md` all read
//! [`super::table`], which is made of the types here.

/// A key of the manifest.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Key {
    /// As it is written.
    pub name: &'static str,
    /// What its value may be.
    pub kind: Type,
    /// What holds where it is left out; empty where there is nothing to say.
    pub default: &'static str,
    /// Must it be there?
    pub required: bool,
    /// One line for people.
    pub doc: &'static str,
}

/// What a value may be.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Type {
    /// Any scalar, taken as it is written.
    Text,
    /// `true` or `false`.
    Flag,
    /// A whole number of at least so much.
    Integer(u32),
    /// A number that is not negative.
    Number,
    /// A whole number that may end in `k`, `M` or `G`.
    Count,
    /// Such as `30m`.
    Duration,
    /// Such as `10GB`.
    Size,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A list of such values.
    List(&'static Type),
    /// A map from names that the author chooses.
    Map(&'static Type),
    /// A map with these keys.
    Record(&'static [Key]),
    /// The keys of a task, without those named.
    Defaults(&'static [Key], &'static [&'static str]),
    /// One of several forms, each another kind of node (scalar, list, map).
    OneOf(&'static [Type]),
    /// Anything, handed on as it is.
    Anything,
}

impl Type {
    /// For people: `a list of texts`.
    pub fn describe(&self) -> String {
        match self {
            Self::Text => "a text".to_owned(),
            Self::Flag => "`true` or `false`".to_owned(),
            Self::Integer(least) => format!("a whole number of at least {least}"),
            Self::Number => "a number".to_owned(),
            Self::Count => "a number such as `40` or `2M`".to_owned(),
            Self::Duration => "a duration such as `30m`".to_owned(),
            Self::Size => "a size such as `10GB`".to_owned(),
            Self::Word(words) => {
                words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" or ")
            }
            Self::List(item) => match item {
                Self::Text => "a list of texts".to_owned(),
                Self::Record(_) => "a list of maps".to_owned(),
                _ => "a list".to_owned(),
            },
            Self::Map(value) => match value {
                Self::Text => "a map of texts".to_owned(),
                Self::List(_) => "a map of lists".to_owned(),
                _ => "a map".to_owned(),
            },
            Self::Record(keys) => {
                let names: Vec<&str> = keys.iter().map(|key| key.name).collect();
                if names.len() > 4 { "a map".to_owned() } else { format!("a map with {}", names.join(", ")) }
            }
            Self::Defaults(..) => "a map of task keys".to_owned(),
            Self::OneOf(forms) => forms.iter().map(Self::describe).collect::<Vec<_>>().join(", or "),
            Self::Anything => "anything".to_owned(),
        }
    }
}

/// An optional key.
pub(super) const fn key(name: &'static str, kind: Type, default: &'static str, doc: &'static str) -> Key {
    Key { name, kind, default, required: false, doc }
}

/// A key that must be there.
pub(super) const fn required(name: &'static str, kind: Type, doc: &'static str) -> Key {
    Key { name, kind, default: "", required: true, doc }
}
