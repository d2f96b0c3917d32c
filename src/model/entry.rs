//! What conductor knows of one path on disk: its content ([`Entry`]) and how to tell cheaply that the
//! content is still the same ([`Signature`]).

use serde::{Deserialize, Serialize};

use super::{Digest, Encoder};

/// The kind of thing at a path.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum EntryKind {
    /// Nothing is there.
    Absent = 0,
    /// A regular file.
    File = 1,
    /// A symbolic link; its digest is that of its text.
    Link = 2,
    /// A folder, recorded only where it is empty and so holds no entry of its own.
    Folder = 3,
    /// A socket, pipe or device: never a valid input or output.
    Special = 4,
    /// Something that could not be read.
    Unreadable = 5,
}

/// The content at a path: kind, executable bit and digest. Two equal entries are the same to any task.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// What kind of thing.
    pub kind: EntryKind,
    /// For a file: may its owner execute it?
    pub executable: bool,
    /// BLAKE3 of a file's content or a link's text; of nothing for every other kind.
    pub digest: Digest,
}

impl Entry {
    /// The entry of a kind that has no content.
    pub fn bare(kind: EntryKind) -> Self {
        Self { kind, executable: false, digest: Digest::of(b"") }
    }

    /// Nothing at that path.
    pub fn absent() -> Self {
        Self::bare(EntryKind::Absent)
    }

    /// Is something there?
    pub fn exists(&self) -> bool {
        self.kind != EntryKind::Absent
    }

    /// Adds kind, executable bit and digest to an encoding.
    pub fn encode(&self, encoder: &mut Encoder) {
        encoder.tag(self.kind as u8).tag(u8::from(self.executable)).digest(&self.digest);
    }

    /// For reasons: the short digest, with what is special about the entry.
    pub fn describe(&self) -> String {
        match self.kind {
            EntryKind::Absent => "absent".to_owned(),
            EntryKind::File if self.executable => format!("{} (executable)", self.digest.short()),
            EntryKind::File => self.digest.short(),
            EntryKind::Link => format!("{} (link)", self.digest.short()),
            EntryKind::Folder => "empty folder".to_owned(),
            EntryKind::Special => "special file".to_owned(),
            EntryKind::Unreadable => "unreadable".to_owned(),
        }
    }
}

/// What `lstat` says of a path. While it stays the same, so does the content, unless the file was
/// written within the file system's time granularity of being looked at (then it is *racy*).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Signature {
    /// Bytes.
    pub size: u64,
    /// Nanoseconds since 1970, of the content.
    pub mtime_ns: i64,
    /// Nanoseconds since 1970, of content or metadata; catches `touch -r` and `mv` of an older file.
    pub ctime_ns: i64,
    /// The inode's number.
    pub inode: u64,
    /// Type and permission bits; 0 where nothing is there.
    pub mode: u32,
}

const SECOND: i64 = 1_000_000_000;

impl Signature {
    /// The signature of nothing.
    pub const ABSENT: Self = Self { size: 0, mtime_ns: 0, ctime_ns: 0, inode: 0, mode: 0 };

    /// The signature of something that cannot be looked at. It is never equal to that of a file.
    pub const UNKNOWN: Self = Self { size: 0, mtime_ns: 0, ctime_ns: 0, inode: 0, mode: u32::MAX };

    /// Does it say that a folder is there?
    pub fn is_folder(&self) -> bool {
        self.mode & 0o170_000 == 0o040_000
    }

    /// Could the file still change without its signature changing? True when it was written so shortly
    /// before `now_ns` (nanoseconds since 1970) that a second write may carry the same times. Kernels
    /// stamp files once a tick (up to 10 ms); a file system that keeps whole seconds needs two of them.
    pub fn is_racy(&self, now_ns: i64) -> bool {
        const TICK: i64 = 20_000_000;
        let slack = if self.is_in_seconds() { 2 * SECOND } else { TICK };
        // Whatever sets the mtime sets the ctime too, and only the kernel sets that.
        *self != Self::ABSENT && self.ctime_ns >= now_ns.saturating_sub(slack)
    }

    /// Could the file have been written when the kernel stamped files with `stamp_ns`, or later?
    pub fn may_be_of(&self, stamp_ns: i64) -> bool {
        let slack = if self.is_in_seconds() { 2 * SECOND } else { 0 };
        self.ctime_ns.max(self.mtime_ns) >= stamp_ns.saturating_sub(slack)
    }

    /// Does its file system keep whole seconds, as far as one can tell?
    fn is_in_seconds(&self) -> bool {
        self.mtime_ns % SECOND == 0 && self.ctime_ns % SECOND == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_the_same_tick_may_have_been_written_after_it_began() {
        let file = Signature { mtime_ns: 5_000_000_001, ctime_ns: 5_000_000_001, ..Default::default() };
        assert!(file.may_be_of(5_000_000_001));
        assert!(!file.may_be_of(5_000_000_002));
        let coarse = Signature { mtime_ns: 5_000_000_000, ctime_ns: 5_000_000_000, ..Default::default() };
        assert!(coarse.may_be_of(6_900_000_000));
        assert!(!coarse.may_be_of(7_100_000_000));
    }

    #[test]
    fn a_file_as_young_as_the_look_is_racy() {
        let young = Signature { mtime_ns: 1_000_000_001, ctime_ns: 1_000_000_001, ..Default::default() };
        assert!(young.is_racy(1_000_000_005));
        assert!(!young.is_racy(2_000_000_000));
        let coarse = Signature { mtime_ns: 1_000_000_000, ctime_ns: 1_000_000_000, ..Default::default() };
        assert!(coarse.is_racy(2_900_000_000));
        assert!(!coarse.is_racy(4_000_000_000));
    }
}
