//! Which state of its chain a path is in, told from what its editors recorded and from what the tree holds.
//! Pure: knows neither the tree nor the state.

use crate::model::{Edited, Entry};

/// Which state of its chain a path is in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stand {
    /// As conductor left it.
    Held,
    /// Somebody put it back to what it was before the editor at this position and all behind it.
    Reset(usize),
    /// A person edited it.
    Edited,
}

/// What one editor of a path has to say of it.
#[derive(Clone, Default, Debug)]
pub(super) struct Link {
    /// What it recorded of the path.
    pub(super) edited: Option<Edited>,
    /// It has an accepted result; without `edited` that passes the path on as it was.
    pub(super) accepted: bool,
}

/// One path's chain: its editors with what they recorded of it, in their order.
#[derive(Debug)]
pub(super) struct Chain {
    /// Positions among all editors.
    pub(super) editors: Vec<usize>,
    /// One for each of them.
    pub(super) links: Vec<Link>,
    /// What tasks recorded that edit the path no more, because the manifest has changed since.
    pub(super) gone: Vec<Edited>,
}

impl Chain {
    fn known(&self) -> impl DoubleEndedIterator<Item = (usize, &Edited)> {
        self.links.iter().enumerate().filter_map(|(at, link)| Some((at, link.edited.as_ref()?)))
    }

    /// What a path was before these made `entry` of it.
    fn origin<'a>(mut entry: Entry, edits: impl Iterator<Item = &'a Edited>) -> Entry {
        let mut left: Vec<&Edited> = edits.collect();
        let makes = |edited: &Edited, entry| edited.after == entry || edited.in_tree() == Some(entry);
        while let Some(at) = left.iter().position(|edited| makes(edited, entry)) {
            entry = left.swap_remove(at).before;
        }
        entry
    }

    /// What a person wrote. Tasks that are gone do not count, as if they had never been: so an editor that was
    /// renamed does not edit its own result. None before anything ran.
    fn base(&self, now: Entry) -> Option<Entry> {
        let gones = self.gone.iter().find_map(Edited::in_tree);
        let Some((at, first)) = self.known().next() else {
            let is_gones = self.gone.iter().any(|gone| gone.in_tree() == Some(now));
            return is_gones.then(|| Self::origin(now, self.gone.iter()));
        };
        Some(match gones {
            // Those in front have no result; that of the first which has one may be from before an edit.
            Some(held) if at > 0 && first.in_tree().is_none() => {
                Self::origin(held, self.gone.iter().chain(self.known().map(|(_, edited)| edited)))
            }
            _ => Self::origin(first.before, self.gone.iter()),
        })
    }

    /// What the first editor finds, and which state `now` is.
    pub(super) fn stand(&self, now: Entry) -> (Entry, Stand) {
        let Some(base) = self.base(now) else { return (now, Stand::Held) };
        let in_tree =
            |at: usize| self.known().find(|(other, edited)| *other >= at && edited.in_tree().is_some());
        let since = |at: usize| in_tree(at).map_or(Stand::Held, |(other, _)| Stand::Reset(other));
        if let Some((at, _)) = self.known().rev().find(|(_, edited)| edited.in_tree() == Some(now)) {
            return (base, since(at + 1));
        }
        if now == base {
            return (base, since(0));
        }
        // Accepted and never landed: a branch that a person merged, say.
        let first = self.known().next().map_or(base, |(_, first)| first.before);
        let (mut state, mut found) = (first, None);
        for (at, edited) in self.known() {
            if edited.before != state {
                break;
            }
            state = edited.after;
            found = if state == now { Some(at) } else { found };
        }
        match found {
            Some(at) => (base, since(at + 1)),
            None if self.gone.iter().any(|gone| gone.in_tree() == Some(now)) => (base, Stand::Held),
            None => (now, Stand::Edited),
        }
    }

    /// The last editor that recorded something of the path.
    pub(super) fn last(&self) -> Option<(usize, &Edited)> {
        self.known().next_back()
    }

    /// What the whole chain makes of `base`, if each editor has run on what the one before it left.
    pub(super) fn outcome(&self, base: Entry) -> Option<Entry> {
        let mut state = base;
        for link in &self.links {
            match &link.edited {
                Some(edited) if edited.before == state => state = edited.after,
                None if link.accepted => {}
                _ => return None,
            }
        }
        Some(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Digest, EntryKind, WorkspacePath};

    fn entry(name: char) -> Entry {
        let digest = Digest::of(name.to_string().as_bytes());
        if name == '-' { Entry::absent() } else { Entry { kind: EntryKind::File, executable: false, digest } }
    }

    /// `AB` found A and left B, which the tree does not hold; `AB!` does; `AB/C` still holds its older result C; `.`
    /// has no result, `=` passes on.
    fn edited(text: &str) -> Edited {
        let states: Vec<char> = text.chars().collect();
        Edited {
            path: WorkspacePath::new("p").unwrap(),
            before: entry(states[0]),
            after: entry(states[1]),
            landed: text.ends_with('!'),
            held: text.split_once('/').map(|(_, old)| entry(old.chars().next().unwrap())),
        }
    }

    fn chain(links: &str, gone: &str) -> Chain {
        let link = |text: &str| match text {
            "." => Link::default(),
            "=" => Link { edited: None, accepted: true },
            text => Link { edited: Some(edited(text)), accepted: true },
        };
        let links: Vec<Link> = links.split_whitespace().map(link).collect();
        let editors = (0..links.len()).collect();
        Chain { editors, links, gone: gone.split_whitespace().map(edited).collect() }
    }

    #[track_caller]
    fn check(links: &str, gone: &str, now: char, base: char, stand: Stand) {
        assert_eq!(chain(links, gone).stand(entry(now)), (entry(base), stand), "{links} | {gone} | {now}");
    }

    #[test]
    fn a_state_of_the_chain_is_told_from_an_edit() {
        check("AB! BC!", "", 'C', 'A', Stand::Held);
        check("AB! BC!", "", 'B', 'A', Stand::Reset(1));
        check("AB! BC!", "", 'A', 'A', Stand::Reset(0));
        check("AB! BC!", "", 'Z', 'Z', Stand::Edited);
        check("AB! BC!", "", '-', '-', Stand::Edited);
        check("", "", 'A', 'A', Stand::Held);
        check(". .", "", 'A', 'A', Stand::Held);
        check("AB! .", "", 'B', 'A', Stand::Held);
    }

    #[test]
    fn what_an_early_editor_made_anew_leaves_the_tree_as_the_last_whole_chain() {
        check("AX/B BC!", "", 'C', 'A', Stand::Held);
        check("AX/B XY/C", "", 'C', 'A', Stand::Held);
        check("AX/B BC!", "", 'B', 'A', Stand::Reset(1));
        check("AX/B BC!", "", 'X', 'A', Stand::Reset(1));
    }

    #[test]
    fn after_an_edit_became_the_base_no_old_result_is_taken_for_a_state() {
        check("ZX BC", "", 'Z', 'Z', Stand::Held);
        check("ZX BC", "", 'C', 'C', Stand::Edited);
        check("ZB BC", "", 'Z', 'Z', Stand::Held);
        assert_eq!(chain("ZB BC", "").outcome(entry('Z')), Some(entry('C')));
        assert_eq!(chain("ZX BC", "").outcome(entry('Z')), None);
        assert_eq!(chain("ZX .", "").outcome(entry('Z')), None);
        assert_eq!(chain("ZX =", "").outcome(entry('Z')), Some(entry('X')));
    }

    #[test]
    fn editors_that_are_gone_do_not_count_and_what_they_made_is_no_base() {
        check("BC!", "AB!", 'C', 'A', Stand::Held);
        check("AB!", "BC!", 'C', 'A', Stand::Held);
        check(".", "AB!", 'B', 'A', Stand::Held);
        check(".", "AB! BC!", 'C', 'A', Stand::Held);
        check(".", "AB!", 'Z', 'Z', Stand::Held);
        check(". BC", "ZX!", 'X', 'Z', Stand::Held);
        check(". BC", "ZX!", 'Q', 'Q', Stand::Edited);
        check("AB! CD!", "BC!", 'D', 'A', Stand::Held);
        check("AB! CD!", "BC!", 'Z', 'Z', Stand::Edited);
    }
}
