//! The compiled plan, kept between runs: opaque bytes with a header that says whether they still hold.
//! Knows nothing of what is in either.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rkyv::util::AlignedVec;

use super::Error;
use super::durable::{self, Durability};
use super::sealed::{Kind, Sealed};

const KIND: Kind = Kind { magic: b"conductor pl", version: 4, durability: Durability::Passing };

/// The part of a plan that is read piece by piece. The reader checks each piece.
pub struct PlanBodies {
    file: File,
    start: u64,
}

impl PlanBodies {
    /// The bytes at `range`, as they are on disk.
    pub fn read(&self, range: Range<u64>) -> Option<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(range.end.checked_sub(range.start)?).ok()?];
        self.file.read_exact_at(&mut bytes, self.start.checked_add(range.start)?).ok()?;
        Some(bytes)
    }
}

/// Keeps a plan in the folder `dir` (`.conductor`). The caller holds the [`Lock`](super::Lock).
pub fn save_plan(dir: &Path, header: &[u8], columns: &[u8], bodies: &[u8]) -> Result<(), Error> {
    let path = dir.join("plan");
    durable::remove_leftovers(&path);
    Sealed::write(&path, &KIND, [header, columns], bodies.len() as u64, |out| out.write_all(bodies))
}

/// The plan that was kept last, if `accept` takes its header. None for one that is missing, damaged or of
/// another version: it is compiled again and replaced.
pub fn load_plan(dir: &Path, accept: impl FnOnce(&[u8]) -> bool) -> Option<(AlignedVec, PlanBodies)> {
    let sealed = Sealed::<2>::open(&dir.join("plan"), &KIND).ok()??;
    let header = sealed.section(0).ok()?;
    if !accept(&header) {
        return None;
    }
    let columns = sealed.section(1).ok()?;
    let (file, start) = sealed.into_tail();
    Some((columns, PlanBodies { file, start }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_loaded_only_if_its_header_is_accepted() {
        let dir = tempfile::tempdir().unwrap();
        assert!(load_plan(dir.path(), |_| true).is_none());
        save_plan(dir.path(), b"header", b"columns", b"bodies").unwrap();
        let (columns, bodies) = load_plan(dir.path(), |header| header == b"header").unwrap();
        assert_eq!(columns.as_slice(), b"columns");
        assert_eq!(bodies.read(2..6).unwrap(), b"dies");
        assert!(bodies.read(2..7).is_none());
        assert!(load_plan(dir.path(), |_| false).is_none());
    }

    #[test]
    fn no_flipped_bit_in_its_columns_and_no_truncation_of_a_plan_is_believed() {
        let dir = tempfile::tempdir().unwrap();
        save_plan(dir.path(), b"header", b"columns", b"bodies").unwrap();
        let path = dir.path().join("plan");
        let whole = std::fs::read(&path).unwrap();
        for bit in 0..(whole.len() - b"bodies".len()) * 8 {
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
