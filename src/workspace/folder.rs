//! Reading one folder: names and types, as the kernel has them, without a `stat` where it knows the type.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, FileType, RawDir};

use crate::model::UNFINISHED;

/// Entries are read into a buffer of this many bytes at a time.
const BUFFER: usize = 32 * 1024;

/// Hands over each name in the folder `dir`, with its type, except `.` and `..`; in no particular order.
pub(super) fn read(dir: impl AsFd, mut each: impl FnMut(&[u8], FileType)) -> io::Result<()> {
    let dir = dir.as_fd();
    let mut buffer = Vec::with_capacity(BUFFER);
    let mut entries = RawDir::new(dir, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let kind = match entry.file_type() {
            // Some file systems do not keep the type in the folder.
            FileType::Unknown => rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
                .map_or(FileType::Unknown, |stat| FileType::from_raw_mode(stat.st_mode)),
            kind => kind,
        };
        each(name.to_bytes(), kind);
    }
    Ok(())
}

/// Names that no walk enters or lists, at any depth: git's, conductor's, and files that are being written.
pub(super) fn is_private(name: &[u8]) -> bool {
    matches!(name, b".git" | b".conductor") || name.starts_with(UNFINISHED.as_bytes())
}
