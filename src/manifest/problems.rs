//! Collects diagnostics while a manifest is read, so that all of them are told at once.
//!
//! One cause gives one diagnostic: a second one with the same code at the same place is dropped (a fault
//! in `defaults` or in a matrix task is met once for every task that it concerns). A file full of noise
//! cannot fill the memory or the terminal: beyond a limit problems are only counted.

use std::cell::RefCell;
use std::collections::HashSet;

use crate::model::Diagnostic;

/// As many diagnostics are shown; the last one then says how many more there are.
const SHOWN: usize = 100;
/// As many are kept before they are sorted and cut to [`SHOWN`].
const KEPT: usize = 1000;
/// How long a message may be, in bytes.
const MESSAGE: usize = 400;
/// How many names may be compared in search of one that was meant, over all diagnostics.
const COMPARISONS: usize = 2_000_000;

/// The diagnostics so far.
#[derive(Default)]
pub(super) struct Problems(RefCell<Inner>);

#[derive(Default)]
struct Inner {
    kept: Vec<Diagnostic>,
    /// Code, file and offset.
    seen: HashSet<(String, u32, u32)>,
    dropped: usize,
    errors: usize,
    comparisons: usize,
}

impl Problems {
    /// Adds `diagnostic` unless the same was said of the same place.
    pub(super) fn push(&self, mut diagnostic: Diagnostic) {
        shorten(&mut diagnostic.message);
        diagnostic.help.iter_mut().for_each(shorten);
        diagnostic.labels.iter_mut().for_each(|label| shorten(&mut label.text));
        let mut inner = self.0.borrow_mut();
        let is_error = diagnostic.is_error();
        if inner.kept.len() >= KEPT {
            inner.dropped += 1;
        } else {
            if let Some(label) = diagnostic.labels.first()
                && !inner.seen.insert((diagnostic.code.clone(), label.at.file, label.at.offset))
            {
                return;
            }
            inner.kept.push(diagnostic);
        }
        inner.errors += usize::from(is_error);
    }

    /// Was there an error?
    pub(super) fn any_error(&self) -> bool {
        self.0.borrow().errors > 0
    }

    /// Are there so many that the next one would only be counted? Then its text need not be made.
    pub(super) fn is_full(&self) -> bool {
        self.0.borrow().kept.len() >= KEPT
    }

    /// The one of `candidates` that `name` most likely stands for; of two, the first by the alphabet.
    pub(super) fn nearest<'c>(
        &self,
        name: &str,
        candidates: impl IntoIterator<Item = &'c str>,
    ) -> Option<&'c str> {
        if self.is_full() {
            return None;
        }
        let mut inner = self.0.borrow_mut();
        let allowed = (name.len() / 3).clamp(1, 4);
        let name = name.to_lowercase();
        let mut best: Option<(usize, &str)> = None;
        // Names whose lengths differ by more than the distance allowed cannot be near.
        for candidate in candidates.into_iter().filter(|one| one.len().abs_diff(name.len()) <= allowed) {
            inner.comparisons += 1;
            if inner.comparisons > COMPARISONS {
                break;
            }
            let rank = (strsim::osa_distance(&name, &candidate.to_lowercase()), candidate);
            if rank.0 <= allowed && best.is_none_or(|best| rank < best) {
                best = Some(rank);
            }
        }
        best.map(|(_, candidate)| candidate)
    }

    /// All of them, in the order of the files; errors are kept in favour of warnings.
    pub(super) fn finish(self) -> Vec<Diagnostic> {
        let inner = self.0.into_inner();
        let mut kept = inner.kept;
        let total = kept.len() + inner.dropped;
        if total > SHOWN {
            kept.sort_by_key(|diagnostic| (!diagnostic.is_error(), place(diagnostic)));
            kept.truncate(SHOWN);
        }
        kept.sort_by_key(place);
        if total > SHOWN {
            kept.push(Diagnostic {
                severity: kept
                    .iter()
                    .find(|one| one.is_error())
                    .map_or(crate::model::Severity::Warning, |one| one.severity),
                ..Diagnostic::error(
                    "manifest::too_many_problems",
                    format!("{} more problems are not shown", total - SHOWN),
                )
                .help("mend these first: many of the others may go with them")
            });
        }
        kept
    }
}

/// What is repeated of a manifest in a message may be megabytes long.
fn shorten(text: &mut String) {
    if text.len() > MESSAGE {
        text.truncate(text.floor_char_boundary(MESSAGE));
        text.push('…');
    }
}

fn place(diagnostic: &Diagnostic) -> (u32, u32) {
    diagnostic.labels.first().map_or((0, 0), |label| (label.at.file, label.at.offset))
}

/// A help text for a name that is not known: what may have been meant, else what there is.
pub(super) fn did_you_mean<'c>(
    problems: &Problems,
    name: &str,
    what: &str,
    candidates: impl IntoIterator<Item = &'c str> + Clone,
) -> String {
    if let Some(meant) = problems.nearest(name, candidates.clone()) {
        return format!("did you mean `{meant}`?");
    }
    let mut known: Vec<&str> = candidates.into_iter().take(13).collect();
    let more = if known.len() > 12 { ", …" } else { "" };
    known.truncate(12);
    if known.is_empty() {
        return format!("there are no {what} here");
    }
    format!("{what} here: {}{more}", known.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::At;

    fn at(offset: u32) -> At {
        At { offset, length: 1, line: 1, column: 1, file: 0 }
    }

    #[test]
    fn one_cause_is_told_once() {
        let problems = Problems::default();
        for _ in 0..3 {
            problems.push(Diagnostic::error("manifest::x", "x").label(at(4), ""));
        }
        problems.push(Diagnostic::error("manifest::x", "x").label(at(2), ""));
        let offsets: Vec<_> = problems.finish().iter().map(|one| one.labels[0].at.offset).collect();
        assert_eq!(offsets, [2, 4]);
    }

    #[test]
    fn a_flood_ends_with_how_many_more() {
        let problems = Problems::default();
        for offset in 0..5000 {
            problems.push(Diagnostic::error("manifest::x", "x").label(at(offset), ""));
        }
        let all = problems.finish();
        assert_eq!(all.len(), SHOWN + 1);
        assert_eq!(all[SHOWN].message, "4900 more problems are not shown");
    }

    #[test]
    fn a_name_is_recognised_by_its_neighbours() {
        let problems = Problems::default();
        assert_eq!(problems.nearest("timout", ["title", "timeout"]), Some("timeout"));
        assert_eq!(problems.nearest("TIMEOUT", ["title", "timeout"]), Some("timeout"));
        assert_eq!(problems.nearest("x", ["title", "timeout"]), None);
    }
}
