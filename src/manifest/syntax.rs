//! YAML text → a tree. Knows nothing of what the keys mean.
//!
//! Hostile text is refused in bounded time and memory: nesting, the number of nodes, what aliases expand
//! to and how far the parser looks ahead all have limits.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};

use super::places::{Places, locate};
use super::problems::Problems;
use super::tree::{Entry, Kind, Node, duplicates, measure};
use crate::model::{At, Diagnostic};

/// How deep collections may nest.
pub(super) const MAX_DEPTH: usize = 64;
/// How many nodes one file may have: a manifest of 100,000 tasks has three million.
const MAX_NODES: usize = 8_000_000;
/// What all anchors and aliases of one file may expand to, in bytes (a node counts as 64 and its text).
const MAX_EXPANSION: usize = 64 << 20;
/// How many characters the parser may read before it yields an event. It keeps all tokens of a nested
/// flow collection until it knows that the collection is no key, so this bounds its memory.
const MAX_LOOKAHEAD: usize = 4 << 20;

/// Parses `text`, which is file number `file`. None when there is no tree to go on with, which was
/// reported.
pub(super) fn parse<'s>(file: u32, text: &'s str, problems: &Problems) -> Option<Node<'s>> {
    let body = text.strip_prefix('\u{feff}').unwrap_or(text);
    if let Some(nul) = text.bytes().position(|byte| byte == 0) {
        let at = locate(text, file, nul, 1);
        problems.push(
            Diagnostic::error("manifest::control_character", "a NUL byte is no part of a text")
                .label(at, "here")
                .help("is this a binary file?"),
        );
        return None;
    }
    let lookahead = Rc::new(Cell::new(0));
    let count = Rc::clone(&lookahead);
    let chars = body.chars().take_while(move |_| {
        count.set(count.get() + 1);
        count.get() <= MAX_LOOKAHEAD
    });
    let mut parser = Parser::new_from_iter(chars);
    let mut builder = Builder::new(Places::new(file, text), problems);
    loop {
        lookahead.set(0);
        let event = parser.next_event()?;
        if lookahead.get() > MAX_LOOKAHEAD {
            builder.too_large("a single value is longer than 4 MiB");
            return None;
        }
        match event {
            Ok((event, span)) => match builder.event(event, span) {
                Step::Next => {}
                Step::Done => return builder.root,
                Step::Broken => return None,
            },
            Err(error) => {
                builder.syntax_error(&error);
                return None;
            }
        }
    }
}

/// What to do after an event.
enum Step {
    Next,
    Done,
    Broken,
}

/// A collection that is not complete yet.
struct Frame<'s> {
    start: At,
    anchor: usize,
    map: bool,
    /// Where its children begin in [`Builder::items`] or [`Builder::entries`].
    base: usize,
    key: Key<'s>,
}

/// The key whose value comes next.
enum Key<'s> {
    None,
    Some(Cow<'s, str>, At),
    /// It was refused; its value is skipped.
    Refused,
}

struct Anchored<'s> {
    node: Node<'s>,
    bytes: usize,
    height: usize,
}

struct Builder<'s, 'p> {
    places: Places<'s>,
    problems: &'p Problems,
    frames: Vec<Frame<'s>>,
    /// Children of open collections: one stack for all, so that each list is allocated once.
    items: Vec<Node<'s>>,
    entries: Vec<Entry<'s>>,
    anchors: HashMap<usize, Anchored<'s>>,
    nodes: usize,
    expanded: usize,
    root: Option<Node<'s>>,
    documents: usize,
}

impl<'s, 'p> Builder<'s, 'p> {
    fn new(places: Places<'s>, problems: &'p Problems) -> Self {
        Self {
            places,
            problems,
            frames: Vec::new(),
            items: Vec::new(),
            entries: Vec::new(),
            anchors: HashMap::new(),
            nodes: 0,
            expanded: 0,
            root: None,
            documents: 0,
        }
    }

    fn event(&mut self, event: Event<'s>, span: Span) -> Step {
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    let at = self.places.at(span);
                    self.problems.push(
                        Diagnostic::error("manifest::several_documents", "a manifest is one YAML document")
                            .label(at, "a second document begins here")
                            .help("write it to a file of its own, and name that under `include`"),
                    );
                    return Step::Done;
                }
                Step::Next
            }
            Event::StreamEnd => {
                // An empty document is nothing, at its beginning.
                let at = At { file: self.places.file, line: 1, column: 1, ..At::default() };
                let text = Cow::Borrowed("");
                self.root.get_or_insert(Node { at, kind: Kind::Scalar { text, plain: true } });
                Step::Done
            }
            Event::Scalar(text, style, anchor, tag) => {
                let at = self.places.at(span);
                let plain = style == ScalarStyle::Plain && !self.is_text_tag(tag.as_deref(), at);
                let node = Node { at, kind: Kind::Scalar { text: self.borrowed(text, at), plain } };
                self.finish(node, anchor)
            }
            Event::SequenceStart(anchor, tag) => self.open(span, anchor, tag.as_deref(), false),
            Event::MappingStart(anchor, tag) => self.open(span, anchor, tag.as_deref(), true),
            Event::SequenceEnd | Event::MappingEnd => self.close(span),
            Event::Alias(anchor) => self.alias(anchor, span),
            Event::Nothing | Event::StreamStart | Event::DocumentEnd => Step::Next,
        }
    }

    /// The parser copies every scalar; most stand in the source as they are, and the copy can go.
    fn borrowed(&self, text: Cow<'s, str>, at: At) -> Cow<'s, str> {
        let start = at.offset as usize;
        for skip in [0, 1] {
            let from = start + skip;
            if let Some(slice) = self.places.text.get(from..from + text.len())
                && slice == text
            {
                return Cow::Borrowed(slice);
            }
        }
        text
    }

    /// Refuses tags other than those of the core schema; true for `!!str`.
    fn is_text_tag(&self, tag: Option<&Tag>, at: At) -> bool {
        match tag {
            Some(tag) if tag.is_yaml_core_schema() => tag.suffix == "str",
            Some(tag) if tag.handle.is_empty() && tag.suffix == "!" => true,
            Some(tag) => {
                self.problems.push(
                    Diagnostic::error("manifest::unknown_tag", format!("the tag `{tag}` means nothing here"))
                        .label(at, "tagged")
                        .help("leave it out"),
                );
                false
            }
            None => false,
        }
    }

    fn open(&mut self, span: Span, anchor: usize, tag: Option<&Tag>, map: bool) -> Step {
        let start = self.places.start(span.start);
        self.is_text_tag(tag, start);
        if self.frames.len() >= MAX_DEPTH {
            self.too_deep(start);
            return Step::Broken;
        }
        let base = if map { self.entries.len() } else { self.items.len() };
        self.frames.push(Frame { start, anchor, map, base, key: Key::None });
        Step::Next
    }

    fn close(&mut self, span: Span) -> Step {
        let Some(frame) = self.frames.pop() else { return Step::Broken };
        let at = self.places.until(frame.start, span.end);
        let kind = if frame.map {
            let entries: Vec<_> = self.entries.drain(frame.base..).collect();
            Kind::Map(self.distinct(entries))
        } else {
            Kind::List(self.items.drain(frame.base..).collect())
        };
        self.finish(Node { at, kind }, frame.anchor)
    }

    /// A node is complete: remembers it for aliases and hands it to what holds it.
    fn finish(&mut self, node: Node<'s>, anchor: usize) -> Step {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            self.too_large("more than 8 million values");
            return Step::Broken;
        }
        if anchor > 0 {
            let (bytes, height) = measure(&node);
            if !self.expand(bytes, node.at) {
                return Step::Broken;
            }
            self.anchors.insert(anchor, Anchored { node: node.clone(), bytes, height });
        }
        self.place(node);
        Step::Next
    }

    fn place(&mut self, node: Node<'s>) {
        let Some(frame) = self.frames.last_mut() else {
            self.root = Some(node);
            return;
        };
        if !frame.map {
            self.items.push(node);
            return;
        }
        match std::mem::replace(&mut frame.key, Key::None) {
            Key::Some(key, key_at) => self.entries.push(Entry { key, key_at, value: node }),
            Key::Refused => {}
            Key::None => frame.key = accept_key(node, self.problems),
        }
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Step {
        let at = self.places.at(span);
        let Some(anchored) = self.anchors.get(&anchor) else {
            self.problems.push(
                Diagnostic::error("manifest::recursive_alias", "an alias stands inside what it repeats")
                    .label(at, "this would repeat itself without end"),
            );
            return Step::Broken;
        };
        let (bytes, height) = (anchored.bytes, anchored.height);
        if self.frames.len() + height > MAX_DEPTH {
            self.too_deep(at);
            return Step::Broken;
        }
        if !self.expand(bytes, at) {
            return Step::Broken;
        }
        if let Some(anchored) = self.anchors.get(&anchor) {
            self.place(anchored.node.clone());
        }
        Step::Next
    }

    /// Counts `bytes` against what aliases may expand to.
    fn expand(&mut self, bytes: usize, at: At) -> bool {
        self.expanded += bytes;
        let fits = self.expanded <= MAX_EXPANSION;
        if !fits {
            self.problems.push(
                Diagnostic::error("manifest::alias_bomb", "the aliases expand to more than 64 MiB")
                    .label(at, "the limit is reached here")
                    .help("write shared values under `vars` or `defaults`"),
            );
        }
        fits
    }

    /// Reports duplicate keys; the first one stays.
    fn distinct(&self, entries: Vec<Entry<'s>>) -> Vec<Entry<'s>> {
        let duplicates = duplicates(&entries);
        if duplicates.is_empty() {
            return entries;
        }
        for (first, second) in &duplicates {
            let (first, second) = (&entries[*first], &entries[*second]);
            self.problems.push(
                Diagnostic::error("manifest::duplicate_key", format!("`{}` is set twice", second.key))
                    .label(second.key_at, "the second time")
                    .label(first.key_at, "the first time")
                    .help("remove one of them"),
            );
        }
        let mut repeated = duplicates.iter().map(|(_, second)| *second).peekable();
        let first_time = |(index, _): &(usize, _)| repeated.next_if_eq(index).is_none();
        entries.into_iter().enumerate().filter(first_time).map(|(_, entry)| entry).collect()
    }

    fn too_deep(&self, at: At) {
        self.problems.push(
            Diagnostic::error("manifest::too_deep", format!("nested more than {MAX_DEPTH} levels deep"))
                .label(at, "the limit is reached here"),
        );
    }

    fn too_large(&mut self, message: &str) {
        let at = At { file: self.places.file, line: 1, column: 1, ..At::default() };
        self.problems.push(
            Diagnostic::error("manifest::too_large", format!("the manifest is too large: {message}"))
                .label(at, "in this file"),
        );
    }

    fn syntax_error(&mut self, error: &ScanError) {
        let offset = self.places.byte(error.marker().index());
        let text = self.places.text;
        let length =
            text[offset..].chars().next().filter(|c| *c != '\n' && *c != '\r').map_or(0, char::len_utf8);
        let at = locate(text, self.places.file, offset, length);
        let info = error.info();
        if info.contains("recursion limit") {
            return self.too_deep(at);
        }
        let line_start = text[..offset].rfind('\n').map_or(0, |newline| newline + 1);
        let indentation =
            text[line_start..].split(|c: char| !c.is_whitespace() || c == '\n').next().unwrap_or("");
        self.problems.push(if indentation.contains('\t') {
            Diagnostic::error("manifest::tab_indentation", "tabs cannot indent YAML")
                .label(at, info)
                .help("indent with spaces")
        } else {
            let diagnostic = Diagnostic::error("manifest::yaml_syntax", "this is not YAML").label(at, info);
            match hint(info) {
                Some(hint) => diagnostic.help(hint),
                None => diagnostic,
            }
        });
    }
}

/// What the parser's commonest complaints usually come from.
fn hint(info: &str) -> Option<&'static str> {
    if info.contains("mapping values are not allowed") || info.contains("':'") {
        Some("a text that holds `: ` must be quoted")
    } else if info.contains("expected key") || info.contains("simple key") || info.contains("indent") {
        Some("is this line indented like its neighbours, and does its key end in `: `?")
    } else if info.contains("unknown anchor") {
        Some("a text that begins with `*` (a glob) must be quoted")
    } else if info.contains("unexpected character") || info.contains("any valid token") {
        Some("a text that begins with a special character must be quoted")
    } else {
        None
    }
}

/// Keys are scalars, and not `<<`.
fn accept_key<'s>(node: Node<'s>, problems: &Problems) -> Key<'s> {
    match node.kind {
        Kind::Scalar { text, plain } if !(plain && text == "<<") => Key::Some(text, node.at),
        Kind::Scalar { .. } => {
            problems.push(
                Diagnostic::error("manifest::merge_key", "merge keys (`<<`) are not supported")
                    .label(node.at, "here")
                    .help("write what tasks share under `defaults`"),
            );
            Key::Refused
        }
        Kind::List(_) | Kind::Map(_) => {
            problems.push(
                Diagnostic::error("manifest::complex_key", "a key is a text, not a list or a map")
                    .label(node.at, "this is used as a key")
                    .help("a text that begins with `{` or `[` must be quoted"),
            );
            Key::Refused
        }
    }
}
