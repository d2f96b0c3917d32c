//! Frames: the checksummed, length-prefixed records of the append-only files (the state's log, the journal).
//! Knows nothing of what a frame holds.
//!
//! A frame is a marker (8 bytes), the payload's length (8 bytes, little endian), the first 16 bytes of the
//! payload's BLAKE3, and the payload. The marker is what a reader looks for to find its way again after damage.

/// Bytes in front of a payload.
pub(super) const HEAD: usize = 32;

const MARKER: [u8; 8] = *b"\xf7frame\r\n";

/// What stands at the beginning of some bytes.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Read<'a> {
    /// A whole frame's payload; the next frame begins [`HEAD`] + its length further on.
    Frame(&'a [u8]),
    /// Nothing more.
    End,
    /// The beginning of a frame and no more: a write that did not end.
    Torn,
    /// Anything else. A whole frame begins again at this offset, where one does.
    Damaged(Option<usize>),
}

/// Begins a frame: the payload is to be appended to what is returned.
pub(super) fn begin() -> Vec<u8> {
    vec![0; HEAD]
}

/// Ends a frame that began with [`begin`].
pub(super) fn end(frame: &mut [u8]) {
    if let Some((head, payload)) = frame.split_at_mut_checked(HEAD) {
        head.copy_from_slice(&head_of(payload));
    }
}

fn head_of(payload: &[u8]) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[..8].copy_from_slice(&MARKER);
    head[8..16].copy_from_slice(&(payload.len() as u64).to_le_bytes());
    head[16..].copy_from_slice(&blake3::hash(payload).as_bytes()[..16]);
    head
}

/// Reads the frame at the beginning of `bytes`.
pub(super) fn read(bytes: &[u8]) -> Read<'_> {
    if bytes.is_empty() {
        return Read::End;
    }
    if let Some(payload) = whole(bytes) {
        return Read::Frame(payload);
    }
    match find(&bytes[1..]) {
        Some(at) => Read::Damaged(Some(at + 1)),
        None if is_torn(bytes) => Read::Torn,
        None => Read::Damaged(None),
    }
}

/// The payloads of all whole frames.
pub(super) fn payloads(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        loop {
            match read(rest) {
                Read::Frame(payload) => {
                    rest = &rest[HEAD + payload.len()..];
                    return Some(payload);
                }
                Read::Damaged(Some(at)) => rest = &rest[at..],
                Read::Damaged(None) | Read::Torn | Read::End => return None,
            }
        }
    })
}

fn announced(bytes: &[u8]) -> Option<usize> {
    let length = bytes.get(8..16)?.try_into().ok()?;
    usize::try_from(u64::from_le_bytes(length)).ok()
}

fn whole(bytes: &[u8]) -> Option<&[u8]> {
    let payload = bytes.get(HEAD..)?.get(..announced(bytes)?)?;
    (bytes[..HEAD] == head_of(payload)).then_some(payload)
}

fn is_torn(bytes: &[u8]) -> bool {
    let marked = bytes.iter().zip(MARKER).all(|(have, want)| *have == want);
    marked && announced(bytes).is_none_or(|length| length > bytes.len().saturating_sub(HEAD))
}

/// Where the next whole frame begins.
fn find(bytes: &[u8]) -> Option<usize> {
    let marked = bytes.windows(MARKER.len()).enumerate().filter(|(_, window)| *window == MARKER);
    marked.map(|(at, _)| at).find(|at| whole(&bytes[*at..]).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(payload: &[u8]) -> Vec<u8> {
        let mut frame = begin();
        frame.extend_from_slice(payload);
        end(&mut frame);
        frame
    }

    #[test]
    fn a_frame_reads_back() {
        let bytes = [framed(b"one"), framed(b"")].concat();
        assert_eq!(read(&bytes), Read::Frame(b"one"));
        assert_eq!(read(&bytes[HEAD + 3..]), Read::Frame(b""));
        assert_eq!(read(&[]), Read::End);
    }

    #[test]
    fn every_beginning_of_a_frame_is_torn_and_every_flipped_bit_is_seen() {
        let bytes = framed(b"payload");
        for end in 1..bytes.len() {
            assert_eq!(read(&bytes[..end]), Read::Torn, "{end}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(!matches!(read(&bytes), Read::Frame(_)), "bit {bit}");
            bytes.extend(framed(b"next"));
            assert_eq!(read(&bytes), Read::Damaged(Some(HEAD + 7)), "bit {bit}");
        }
    }
}
