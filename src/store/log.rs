//! The state's log: what changed since the snapshot, appended in batches. Knows how operations are
//! written and read back, not what they do.
//!
//! The file is a magic, a frame that holds the identity of the snapshot that the log continues, and a frame
//! for each commit. A frame is whole or nothing, so a commit is atomic. A log that names another snapshot
//! was left by a crash in the middle of a compaction; the snapshot holds all of it already.

use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::{Digest, Entry, Signature};

use super::files::FileId;
use super::sealed::Refused;
use super::tasks::Body;
use super::{Access, Error, durable, failed, frame};

const MAGIC: &[u8; 12] = b"conductor lg";
const VERSION: u32 = 3;
/// The magic, the version, and the frame with the snapshot's identity.
const HEADER: usize = 16 + frame::HEAD + 32;

/// Bytes, encoded as such rather than as a sequence of numbers.
#[derive(Clone, Copy)]
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Bytes<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&[u8]>::deserialize(deserializer).map(Self)
    }
}

/// One change. The `body`, where there is one, comes last, so that it ends where the operation ends.
#[derive(Serialize, Deserialize)]
pub(super) enum Op<'a> {
    /// The path gets the next file id.
    Interned(#[serde(borrow)] Bytes<'a>),
    /// A file looks so.
    File { id: FileId, signature: Signature, entry: Entry, racy: bool, changed_at: u64 },
    /// A task has an accepted result, and no failure any more.
    Recorded {
        task: &'a str,
        fingerprint: Digest,
        verified_at: u64,
        outputs_changed_at: u64,
        duration_ms: u32,
        #[serde(borrow)]
        inputs: Cow<'a, [FileId]>,
        #[serde(borrow)]
        outputs: Cow<'a, [FileId]>,
        #[serde(borrow)]
        body: Bytes<'a>,
    },
    /// A task's accepted result was found to hold still.
    Verified {
        task: &'a str,
        fingerprint: Digest,
        verified_at: u64,
        #[serde(borrow)]
        inputs: Cow<'a, [FileId]>,
    },
    /// A task's last attempt failed.
    Failed {
        task: &'a str,
        #[serde(borrow)]
        body: Bytes<'a>,
    },
    /// Nothing is known of a task any more.
    Forgotten { task: &'a str },
}

impl Op<'_> {
    fn body_length(&self) -> usize {
        match self {
            Self::Recorded { body, .. } | Self::Failed { body, .. } => body.0.len(),
            _ => 0,
        }
    }
}

/// The log of one snapshot.
pub(super) struct Log {
    path: PathBuf,
    access: Access,
    identity: [u8; 32],
    /// None until there is a file that continues this snapshot.
    file: Option<File>,
    /// The file's length as far as it can be trusted; where there is no file, that of its header to be.
    written: u64,
    /// Something lies behind `written` and must go before anything is appended.
    torn: bool,
    /// The frame to be written by the next commit.
    pending: Vec<u8>,
}

/// What was found when a log was opened.
pub(super) struct Found {
    /// The log continues this very snapshot.
    pub(super) belongs: bool,
    /// Why it is not used, or not to its end.
    pub(super) refused: Option<Refused>,
}

impl Log {
    /// Opens the log at `path` and hands each of its operations to `replay`, with the place of its body.
    pub(super) fn open(
        path: &Path,
        access: Access,
        identity: [u8; 32],
        mut replay: impl FnMut(&Op<'_>, Body),
    ) -> (Self, Found) {
        let mut log = Self {
            path: path.to_owned(),
            access,
            identity,
            file: None,
            written: HEADER as u64,
            torn: false,
            pending: frame::begin(),
        };
        let found = match load(path, access) {
            Ok((file, bytes)) => match check_header(&bytes, &identity) {
                Ok(true) => {
                    log.file = Some(file);
                    Found { belongs: true, refused: log.replay(&bytes, &mut replay) }
                }
                Ok(false) => Found { belongs: false, refused: None },
                Err(refused) => Found { belongs: false, refused: Some(refused) },
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Found { belongs: false, refused: None },
            Err(error) => Found { belongs: false, refused: Some(Refused::Io(error)) },
        };
        (log, found)
    }

    fn replay(&mut self, bytes: &[u8], replay: &mut impl FnMut(&Op<'_>, Body)) -> Option<Refused> {
        loop {
            let at = usize::try_from(self.written).unwrap_or(usize::MAX);
            match frame::read(bytes.get(at..).unwrap_or_default()) {
                frame::Read::End => return None,
                frame::Read::Torn => {
                    self.torn = true;
                    return None;
                }
                frame::Read::Frame(payload) if let Some(ops) = decode(payload, at + frame::HEAD) => {
                    for (op, body) in &ops {
                        replay(op, *body);
                    }
                    self.written += (frame::HEAD + payload.len()) as u64;
                }
                frame::Read::Frame(_) | frame::Read::Damaged(_) => {
                    self.torn = true;
                    return Some(Refused::Damaged);
                }
            }
        }
    }

    /// How long the log is, in bytes, with what the next commit writes.
    pub(super) fn length(&self) -> u64 {
        if self.pending.len() == frame::HEAD && self.file.is_none() {
            return 0;
        }
        self.written + self.pending.len() as u64
    }

    /// Adds an operation to the next commit; says where its body lies.
    pub(super) fn push(&mut self, op: &Op<'_>) -> Body {
        // Encoding into memory does not fail; were it to, the operation would hold for this run alone.
        let Ok(encoded) = postcard::to_stdvec(op) else { return Body::None };
        self.pending.extend_from_slice(&encoded);
        body_ending_at(self.written + self.pending.len() as u64, op)
    }

    /// Reads a body, written already or not.
    pub(super) fn read(&self, offset: u64, length: u32) -> Option<Vec<u8>> {
        if let Some(start) = offset.checked_sub(self.written) {
            let start = usize::try_from(start).ok()?;
            return self.pending.get(start..start + length as usize).map(<[u8]>::to_vec);
        }
        let mut bytes = vec![0; length as usize];
        self.file.as_ref()?.read_exact_at(&mut bytes, offset).ok()?;
        Some(bytes)
    }

    /// Appends what was pushed since the last commit and syncs it. On an error all of it stays pending, and
    /// the file ends where it ended.
    pub(super) fn commit(&mut self) -> Result<(), Error> {
        if self.pending.len() == frame::HEAD || self.access == Access::ReadOnly {
            return Ok(());
        }
        frame::end(&mut self.pending);
        self.append().map_err(failed("write", &self.path))?;
        self.written += self.pending.len() as u64;
        self.pending.truncate(frame::HEAD);
        Ok(())
    }

    fn append(&mut self) -> io::Result<()> {
        let file = match self.file.take() {
            Some(file) => file,
            None => self.create()?,
        };
        let file = self.file.insert(file);
        if self.torn {
            file.set_len(self.written)?;
            self.torn = false;
        }
        let written = file.write_all_at(&self.pending, self.written).and_then(|()| file.sync_data());
        if written.is_err() {
            // Should this fail too, the next commit tries again, and a reader takes it for torn.
            self.torn = true;
            let _ = file.set_len(self.written);
        }
        written
    }

    /// A new file with a header, in place of a log that does not belong to this snapshot.
    fn create(&self) -> io::Result<File> {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&self.path)?;
        let mut head = frame::begin();
        head.extend_from_slice(&self.identity);
        frame::end(&mut head);
        file.write_all_at(&[&MAGIC[..], &VERSION.to_le_bytes(), &head].concat(), 0)?;
        if let Some(dir) = self.path.parent() {
            durable::sync_dir(dir)?;
        }
        Ok(file)
    }
}

/// The file, open, and what it holds.
fn load(path: &Path, access: Access) -> io::Result<(File, Vec<u8>)> {
    let mut file = OpenOptions::new().read(true).write(access == Access::Write).open(path)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok((file, bytes))
}

/// Does the log continue the snapshot of that identity?
fn check_header(bytes: &[u8], identity: &[u8; 32]) -> Result<bool, Refused> {
    let Some((magic, rest)) = bytes.split_first_chunk::<12>() else {
        // A crash while the file was made.
        return if MAGIC.starts_with(bytes) { Ok(false) } else { Err(Refused::Damaged) };
    };
    if magic != MAGIC {
        return Err(Refused::Damaged);
    }
    let Some((version, rest)) = rest.split_first_chunk::<4>() else { return Ok(false) };
    let version = u32::from_le_bytes(*version);
    if version != VERSION {
        return Err(Refused::Version(version));
    }
    match frame::read(rest) {
        frame::Read::Frame(payload) => Ok(payload == identity),
        frame::Read::End | frame::Read::Torn => Ok(false),
        frame::Read::Damaged(_) => Err(Refused::Damaged),
    }
}

/// The operations of a frame whose payload lies at `start`: all of them or none.
fn decode(payload: &[u8], start: usize) -> Option<Vec<(Op<'_>, Body)>> {
    let mut ops = Vec::new();
    let mut rest = payload;
    while !rest.is_empty() {
        let (op, tail) = postcard::take_from_bytes::<Op<'_>>(rest).ok()?;
        rest = tail;
        let body = body_ending_at((start + payload.len() - rest.len()) as u64, &op);
        ops.push((op, body));
    }
    Some(ops)
}

fn body_ending_at(end: u64, op: &Op<'_>) -> Body {
    match u32::try_from(op.body_length()) {
        Ok(0) | Err(_) => Body::None,
        Ok(length) => Body::Log { offset: end - u64::from(length), length },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forget(log: &mut Log, task: &str) {
        log.push(&Op::Forgotten { task });
    }

    fn tasks_in(path: &Path) -> Vec<String> {
        let mut tasks = Vec::new();
        let (_, found) = Log::open(path, Access::ReadOnly, [7; 32], |op, _| {
            if let Op::Forgotten { task } = op {
                tasks.push((*task).to_owned());
            }
        });
        assert!(found.refused.is_none());
        tasks
    }

    #[test]
    fn a_full_disk_loses_nothing_once_there_is_room_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.log");
        let (mut log, _) = Log::open(&path, Access::Write, [7; 32], |_, _| {});
        forget(&mut log, "T1");
        log.commit().unwrap();
        let real = log.file.replace(OpenOptions::new().write(true).open("/dev/full").unwrap());
        forget(&mut log, "T2");
        let error = log.commit().unwrap_err();
        assert!(error.to_string().contains("state.log: No space left"), "{error}");
        assert_eq!(tasks_in(&path), ["T1"]);
        log.file = real;
        forget(&mut log, "T3");
        log.commit().unwrap();
        assert_eq!(tasks_in(&path), ["T1", "T2", "T3"]);
    }

    #[test]
    fn bodies_are_found_before_and_after_they_are_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.log");
        let (mut log, _) = Log::open(&path, Access::Write, [7; 32], |_, _| {});
        let mut bodies = Vec::new();
        for body in [&b"one"[..], b"two", b"three"] {
            bodies.push((log.push(&Op::Failed { task: "T1", body: Bytes(body) }), body));
            forget(&mut log, "T2");
            for (place, body) in &bodies {
                let Body::Log { offset, length } = *place else { panic!("{place:?}") };
                assert_eq!(log.read(offset, length).unwrap(), *body);
            }
            if *body != b"one"[..] {
                log.commit().unwrap();
            }
        }
    }
}
