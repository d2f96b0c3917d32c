//! The compiled plan, kept between runs: opaque bytes with a header that says whether they still hold.
//! Knows nothing of what is in either.

use std::path::Path;

use rkyv::util::AlignedVec;

use super::sealed::{Kind, Sealed};
use super::{Error, durable};

const KIND: Kind = Kind { magic: b"conductor pl", version: 2 };

/// Keeps a plan in the folder `dir` (`.conductor`). The caller holds the [`Lock`](super::Lock).
pub fn save_plan(dir: &Path, header: &[u8], plan: &[u8]) -> Result<(), Error> {
    let path = dir.join("plan");
    durable::remove_leftovers(&path);
    Sealed::write(&path, &KIND, [header, plan], 0, |_| Ok(()))
}

/// The plan that was kept last, if `accept` takes its header. None for one that is missing, damaged or of
/// another version: it is compiled again and replaced.
pub fn load_plan(dir: &Path, accept: impl FnOnce(&[u8]) -> bool) -> Option<AlignedVec> {
    let sealed = Sealed::<2>::open(&dir.join("plan"), &KIND).ok()??;
    let header = sealed.section(0).ok()?;
    if accept(&header) { sealed.section(1).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_loaded_only_if_its_header_is_accepted() {
        let dir = tempfile::tempdir().unwrap();
        assert!(load_plan(dir.path(), |_| true).is_none());
        save_plan(dir.path(), b"header", b"plan").unwrap();
        assert_eq!(load_plan(dir.path(), |header| header == b"header").unwrap().as_slice(), b"plan");
        assert!(load_plan(dir.path(), |_| false).is_none());
    }

    #[test]
    fn no_flipped_bit_and_no_truncation_of_a_plan_is_believed() {
        let dir = tempfile::tempdir().unwrap();
        save_plan(dir.path(), b"header", b"plan").unwrap();
        let path = dir.path().join("plan");
        let whole = std::fs::read(&path).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, bytes).unwrap();
            assert!(load_plan(dir.path(), |_| true).is_none(), "bit {bit}");
        }
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(load_plan(dir.path(), |_| true).is_none(), "length {length}");
        }
    }
}
