//! A YAML document as a tree in which every node knows its place. Invariants: keys of a map are distinct,
//! a node's span lies on one line, and the tree is at most [`super::syntax::MAX_DEPTH`] deep, so that
//! recursion over it is safe.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::model::At;

/// A value and its place.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Node<'s> {
    /// At most its first line.
    pub(super) at: At,
    pub(super) kind: Kind<'s>,
}

/// What a node is.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Kind<'s> {
    /// Plain scalars may be numbers, booleans or null; others are text.
    Scalar {
        text: Cow<'s, str>,
        plain: bool,
    },
    List(Vec<Node<'s>>),
    Map(Vec<Entry<'s>>),
}

/// A key and its value.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Entry<'s> {
    pub(super) key: Cow<'s, str>,
    pub(super) key_at: At,
    pub(super) value: Node<'s>,
}

impl<'s> Node<'s> {
    /// The entries of a map; none for anything else.
    pub(super) fn entries(&self) -> &[Entry<'s>] {
        match &self.kind {
            Kind::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a list; none for anything else.
    pub(super) fn items(&self) -> &[Node<'s>] {
        match &self.kind {
            Kind::List(items) => items,
            _ => &[],
        }
    }

    /// The text of a scalar that is not null.
    pub(super) fn scalar(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar { text, .. } if !self.is_null() => Some(text),
            _ => None,
        }
    }

    /// Is it nothing: `key:`, `~` or `null`?
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar { text, plain: true }
            if matches!(&**text, "" | "~" | "null" | "Null" | "NULL"))
    }

    /// The entry `key` of a map.
    pub(super) fn entry(&self, key: &str) -> Option<&Entry<'s>> {
        find(self.entries(), key)
    }

    /// The value of `key` in a map.
    pub(super) fn get(&self, key: &str) -> Option<&Node<'s>> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// Is it a list?
    pub(super) fn is_list(&self) -> bool {
        matches!(self.kind, Kind::List(_))
    }

    /// For messages: `a list`.
    pub(super) fn describe(&self) -> &'static str {
        match &self.kind {
            Kind::Map(_) => "a map",
            Kind::List(_) => "a list",
            Kind::Scalar { .. } if self.is_null() => "nothing",
            Kind::Scalar { .. } => "text",
        }
    }
}

/// The entry `key` among `entries`.
pub(super) fn find<'e, 's>(entries: &'e [Entry<'s>], key: &str) -> Option<&'e Entry<'s>> {
    entries.iter().find(|entry| entry.key == key)
}

/// Pairs of a key's first place and a later one, ordered by the later one.
pub(super) fn duplicates(entries: &[Entry<'_>]) -> Vec<(usize, usize)> {
    /// Below this, comparing all with all is quicker than hashing.
    const FEW: usize = 16;
    if entries.len() <= FEW {
        let first = |later: &usize| entries[..*later].iter().position(|one| one.key == entries[*later].key);
        return (0..entries.len()).filter_map(|later| Some((first(&later)?, later))).collect();
    }
    let mut seen = HashMap::with_capacity(entries.len());
    let mut pairs = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let first = *seen.entry(&*entry.key).or_insert(index);
        if first != index {
            pairs.push((first, index));
        }
    }
    pairs
}

/// What a copy of `node` costs, in bytes, and how many levels it has.
pub(super) fn measure(node: &Node<'_>) -> (usize, usize) {
    let (mut bytes, mut height) = (64, 0);
    for child in node.items().iter().chain(node.entries().iter().map(|entry| &entry.value)) {
        let (child_bytes, child_height) = measure(child);
        bytes += child_bytes;
        height = height.max(child_height);
    }
    match &node.kind {
        Kind::Scalar { text, .. } => (64 + text.len(), 0),
        Kind::List(_) => (bytes, height + 1),
        Kind::Map(entries) => {
            (bytes + entries.iter().map(|entry| entry.key.len() + 64).sum::<usize>(), height + 1)
        }
    }
}
