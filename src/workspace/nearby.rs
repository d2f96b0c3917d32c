//! Looking at many paths that are sorted: a folder of many files is opened, and they are looked up from there,
//! which spares the kernel the way to it. Knows nothing of what is found.
//!
//! What is seen is what looking at the whole path would have seen at some moment since the folder was
//! opened: whoever renames it meanwhile cannot be told from somebody who does so a moment later. So a
//! `Nearby` lives for a few hundred paths and no longer.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, Stat};

use super::relative;

/// So many paths in a row lie in one folder before it is opened: opening costs as much as looking at a few.
const ROW: u32 = 6;

/// Looks at paths below `root`.
pub(super) struct Nearby<'p, 'r> {
    root: &'r OwnedFd,
    /// The folder of the last path.
    folder: &'p [u8],
    /// How many paths in a row it was.
    row: u32,
    /// None before it was that often enough, and where it could not be opened.
    open: Option<OwnedFd>,
}

impl<'p, 'r> Nearby<'p, 'r> {
    pub(super) fn new(root: &'r OwnedFd) -> Self {
        Self { root, folder: &[], row: 0, open: None }
    }

    /// `lstat`; the root is the empty path.
    pub(super) fn stat(&mut self, path: &'p [u8]) -> rustix::io::Result<Stat> {
        let root = self.root;
        let end = path.iter().rposition(|byte| *byte == b'/');
        let open = end.and_then(|end| Some((self.open(&path[..end])?, &path[end + 1..])));
        let (dir, name) = open.unwrap_or((root.as_fd(), path));
        rustix::fs::statat(dir, relative(name), AtFlags::SYMLINK_NOFOLLOW)
    }

    /// The folder, if it is open.
    fn open(&mut self, folder: &'p [u8]) -> Option<BorrowedFd<'_>> {
        if self.folder != folder {
            (self.folder, self.row, self.open) = (folder, 0, None);
        }
        self.row += 1;
        if self.row == ROW {
            // Links on the way are followed, as they are when the whole path is looked up.
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            self.open = rustix::fs::openat(self.root, relative(folder), flags, Mode::empty()).ok();
        }
        self.open.as_ref().map(AsFd::as_fd)
    }
}
