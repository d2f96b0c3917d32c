//! Results that a person has taken back by `rollback`: no cache brings them back to this workspace, not even one
//! that others fill. One line each: the action's key, and what stands for what was made.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{Error, durable};
use crate::model::{ActionKey, Digest};

/// See the module.
#[derive(Debug)]
pub(super) struct Bans {
    path: PathBuf,
    banned: BTreeSet<(Digest, Digest)>,
}

impl Bans {
    /// Those of the workspace whose `.conductor` is `folder`. Lines that say nothing are passed over.
    pub(super) fn load(folder: &Path) -> Self {
        let path = folder.join("bans");
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let line = |line: &str| {
            let (key, result) = line.split_once(' ')?;
            Some((key.parse().ok()?, result.parse().ok()?))
        };
        Self { banned: text.lines().filter_map(line).collect(), path }
    }

    pub(super) fn has(&self, key: ActionKey, result: Digest) -> bool {
        self.banned.contains(&(key.0, result))
    }

    /// Bans a result, durably.
    pub(super) fn add(&mut self, key: ActionKey, result: Digest) -> Result<(), Error> {
        if self.banned.insert((key.0, result)) { self.save() } else { Ok(()) }
    }

    /// The same was made and accepted anew.
    pub(super) fn lift(&mut self, key: ActionKey, result: Digest) -> Result<(), Error> {
        if self.banned.remove(&(key.0, result)) { self.save() } else { Ok(()) }
    }

    fn save(&self) -> Result<(), Error> {
        durable::replace(&self.path, |file| {
            let lines = self.banned.iter().map(|(key, result)| format!("{key} {result}\n"));
            std::io::Write::write_all(file, lines.collect::<String>().as_bytes())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ban_is_of_one_result_and_lasts_until_it_is_lifted() {
        let dir = tempfile::tempdir().unwrap();
        let (key, result) = (ActionKey(Digest::of(b"key")), Digest::of(b"result"));
        Bans::load(dir.path()).add(key, result).unwrap();
        let mut bans = Bans::load(dir.path());
        assert!(bans.has(key, result) && !bans.has(key, Digest::of(b"another")));
        bans.lift(key, result).unwrap();
        assert!(!Bans::load(dir.path()).has(key, result));
    }

    #[test]
    fn lines_that_say_nothing_are_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let (key, result) = (Digest::of(b"key"), Digest::of(b"result"));
        let text = format!("nonsense\n{key}\n{key} {result} \n{key} {result}\n\u{1F980} x");
        std::fs::write(dir.path().join("bans"), text).unwrap();
        assert!(Bans::load(dir.path()).has(ActionKey(key), result));
    }
}
