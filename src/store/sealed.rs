//! Sealed files: a few sections, each with its checksum, written at once and then only read. The state's
//! snapshot and the compiled plan are such files. Knows nothing of what a section holds.
//!
//! ```text
//! magic            12 bytes
//! version          u32, little endian as all that follows
//! each section     u64 length, 32 bytes BLAKE3
//! tail             u64 length
//! identity         32 bytes, BLAKE3 of all bytes above: it stands for the whole of the file's sections
//! sections         one after the other
//! tail             whatever the owner puts there, with checksums of its own; read piece by piece
//! ```
//!
//! Sections are read into memory rather than mapped: a mapped file that somebody truncates kills the process.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rkyv::util::AlignedVec;

use super::Error;
use super::durable::{self, Durability};

/// What kind of file, which version of its contents, and how it is written.
pub(super) struct Kind {
    pub(super) magic: &'static [u8; 12],
    pub(super) version: u32,
    pub(super) durability: Durability,
}

/// Why a file is not used.
#[derive(Debug)]
pub(super) enum Refused {
    /// It was written by a conductor that knows another version of the format.
    Version(u32),
    /// A length or checksum is wrong, or it is another kind of file.
    Damaged,
    /// It could not be read.
    Io(io::Error),
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof { Self::Damaged } else { Self::Io(error) }
    }
}

struct Section {
    offset: u64,
    length: usize,
    checksum: [u8; 32],
}

/// An open file of `N` sections.
pub(super) struct Sealed<const N: usize> {
    file: File,
    sections: Vec<Section>,
    tail: u64,
    length: u64,
    identity: [u8; 32],
}

const CHUNK: usize = 256 << 10;

impl<const N: usize> Sealed<N> {
    const HEADER: usize = 16 + N * 40 + 8 + 32;

    /// Opens the file at `path`; none where there is none. Reads and checks its header alone.
    pub(super) fn open(path: &Path, kind: &Kind) -> Result<Option<Self>, Refused> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Refused::Io(error)),
        };
        let mut start = [0; 16];
        file.read_exact_at(&mut start, 0)?;
        let Some(version) = start.strip_prefix(kind.magic).and_then(|rest| <[u8; 4]>::try_from(rest).ok())
        else {
            return Err(Refused::Damaged);
        };
        let version = u32::from_le_bytes(version);
        if version != kind.version {
            return Err(Refused::Version(version));
        }
        let mut header = vec![0; Self::HEADER];
        file.read_exact_at(&mut header, 0)?;
        let length = file.metadata()?.len();
        Self::parse(file, length, &header).ok_or(Refused::Damaged).map(Some)
    }

    fn parse(file: File, length: u64, header: &[u8]) -> Option<Self> {
        let (fields, identity) = header.split_last_chunk::<32>()?;
        if blake3::hash(fields).as_bytes() != identity {
            return None;
        }
        let mut rest = fields.get(16..)?;
        let mut offset = header.len() as u64;
        let mut sections = Vec::with_capacity(N);
        while let Some((field, after)) = rest.split_first_chunk::<40>() {
            let (size, checksum) = field.split_first_chunk::<8>()?;
            let size = u64::from_le_bytes(*size);
            let section =
                Section { offset, length: usize::try_from(size).ok()?, checksum: checksum.try_into().ok()? };
            sections.push(section);
            offset = offset.checked_add(size)?;
            rest = after;
        }
        let tail = u64::from_le_bytes(rest.try_into().ok()?);
        let whole = offset.checked_add(tail)? == length;
        whole.then_some(Self { file, sections, tail: offset, length, identity: *identity })
    }

    /// Stands for the contents of all sections.
    pub(super) fn identity(&self) -> [u8; 32] {
        self.identity
    }

    /// The whole file's length in bytes.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// The open file, and where its tail begins.
    pub(super) fn into_tail(self) -> (File, u64) {
        (self.file, self.tail)
    }

    /// Reads one section and checks it, a chunk at a time so that each is hashed while it is in the
    /// processor's cache.
    pub(super) fn section(&self, index: usize) -> Result<AlignedVec, Refused> {
        let Some(section) = self.sections.get(index) else { return Err(Refused::Damaged) };
        let mut bytes = AlignedVec::with_capacity(section.length);
        let mut hasher = blake3::Hasher::new();
        while bytes.len() < section.length {
            let start = bytes.len();
            bytes.resize(section.length.min(start + CHUNK), 0);
            let chunk = &mut bytes.as_mut_slice()[start..];
            self.file.read_exact_at(chunk, section.offset + start as u64)?;
            hasher.update(chunk);
        }
        if *hasher.finalize().as_bytes() == section.checksum { Ok(bytes) } else { Err(Refused::Damaged) }
    }

    /// Reads all sections, each on its own thread.
    pub(super) fn sections(&self) -> Result<[AlignedVec; N], Refused> {
        let mut refused = None;
        let sections = std::thread::scope(|scope| {
            let readers: [_; N] = std::array::from_fn(|index| scope.spawn(move || self.section(index)));
            readers.map(|reader| {
                reader.join().unwrap_or(Err(Refused::Damaged)).unwrap_or_else(|error| {
                    refused = Some(error);
                    AlignedVec::new()
                })
            })
        });
        refused.map_or(Ok(sections), Err)
    }

    /// Writes a new file in place of the one at `path`. `tail` writes exactly `tail_length` bytes.
    pub(super) fn write(
        path: &Path,
        kind: &Kind,
        sections: [&[u8]; N],
        tail_length: u64,
        tail: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), Error> {
        let mut header = Vec::with_capacity(Self::HEADER);
        header.extend_from_slice(kind.magic);
        header.extend_from_slice(&kind.version.to_le_bytes());
        for section in sections {
            header.extend_from_slice(&(section.len() as u64).to_le_bytes());
            header.extend_from_slice(blake3::hash(section).as_bytes());
        }
        header.extend_from_slice(&tail_length.to_le_bytes());
        let identity = blake3::hash(&header);
        header.extend_from_slice(identity.as_bytes());
        durable::replace_with(path, kind.durability, |file| {
            let mut out = BufWriter::with_capacity(CHUNK, file);
            out.write_all(&header)?;
            for section in sections {
                out.write_all(section)?;
            }
            tail(&mut out)?;
            out.flush()
        })
    }
}
