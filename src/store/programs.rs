//! The programs that tasks declare under `tools`: their digests, and the signatures that vouch for them, so that
//! a build need not read a compiler to see that it is the same one. Knows nothing of what a program is for.
//!
//! One frame, replaced as a whole. Programs lie outside the workspace, so the state, whose paths are relative to
//! it, has no rows for them. A file that cannot be read costs one reading of each program.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::model::{Digest, Signature};

use super::{Error, durable, read_frame, write_frame};

/// The first byte of the payload: how the rest is encoded.
const VERSION: u8 = 1;

/// What is known of programs.
#[derive(Debug, Default)]
pub struct Programs {
    /// By the bytes of their paths, which need not be UTF-8.
    known: BTreeMap<Vec<u8>, (Signature, Digest)>,
    changed: bool,
}

impl Programs {
    /// What was kept in the folder `dir` (`.conductor`).
    pub fn load(dir: &Path) -> Self {
        let known = read_frame(&place(dir), VERSION);
        Self { known: known.unwrap_or_default(), changed: false }
    }

    /// The digest of the program at `path`, if it still has the signature under which it was read.
    pub fn digest(&self, path: &Path, signature: Signature) -> Option<Digest> {
        self.known
            .get(path.as_os_str().as_bytes())
            .filter(|(known, _)| *known == signature)
            .map(|(_, digest)| *digest)
    }

    /// Remembers a digest. The signature was taken before the program was read, and is not racy.
    pub fn learn(&mut self, path: &Path, signature: Signature, digest: Digest) {
        self.changed |= self.known.insert(path.as_os_str().as_bytes().to_vec(), (signature, digest))
            != Some((signature, digest));
    }

    /// Keeps what was learnt since, and forgets programs that are gone. The caller holds the
    /// [`Lock`](super::Lock).
    pub fn save(&mut self, dir: &Path) -> Result<(), Error> {
        if !std::mem::take(&mut self.changed) {
            return Ok(());
        }
        self.known.retain(|path, _| Path::new(OsStr::from_bytes(path)).exists());
        let path = place(dir);
        durable::remove_leftovers(&path);
        write_frame(&path, VERSION, &self.known)
    }
}

fn place(dir: &Path) -> PathBuf {
    dir.join("programs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_known_as_long_as_its_signature_is_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let program = Path::new("/bin/sh");
        let seen = Signature { size: 1, ..Signature::ABSENT };
        let mut programs = Programs::load(dir.path());
        assert_eq!(programs.digest(program, seen), None);
        programs.save(dir.path()).unwrap();
        assert!(!place(dir.path()).exists(), "nothing was learnt");
        programs.learn(program, seen, Digest::of(b"sh"));
        programs.learn(Path::new("/nowhere/gone"), seen, Digest::of(b"gone"));
        programs.save(dir.path()).unwrap();
        let again = Programs::load(dir.path());
        assert_eq!(again.digest(program, seen), Some(Digest::of(b"sh")));
        assert_eq!(again.digest(program, Signature { inode: 7, ..seen }), None);
        assert_eq!(again.digest(Path::new("/nowhere/gone"), seen), None);
    }

    #[test]
    fn damage_and_other_versions_are_as_if_nothing_was_kept() {
        let dir = tempfile::tempdir().unwrap();
        let seen = Signature { size: 1, ..Signature::ABSENT };
        let mut programs = Programs::default();
        programs.learn(Path::new("/bin/sh"), seen, Digest::of(b"sh"));
        programs.save(dir.path()).unwrap();
        let whole = std::fs::read(place(dir.path())).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            for damaged in [&bytes[..], &whole[..at]] {
                std::fs::write(place(dir.path()), damaged).unwrap();
                assert_eq!(Programs::load(dir.path()).digest(Path::new("/bin/sh"), seen), None, "byte {at}");
            }
        }
    }
}
