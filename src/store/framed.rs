//! One value in a file of its own, versioned and checksummed: what is lost or damaged is nothing at all.
//! Knows nothing of what the value means.

use std::io::{Error as IoError, Write as _};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Error, durable, frame};

/// Writes the value in the place of the one before, in one step.
///
/// # Errors
/// The file cannot be written; the old one stays.
pub fn write_frame<T: Serialize>(path: &Path, version: u8, value: &T) -> Result<(), Error> {
    durable::replace(path, |file| {
        let mut bytes = frame::begin();
        bytes.push(version);
        let mut bytes = postcard::to_extend(value, bytes).map_err(IoError::other)?;
        frame::end(&mut bytes);
        file.write_all(&bytes)
    })
}

/// The value, where it is whole and of this version.
pub fn read_frame<T: DeserializeOwned>(path: &Path, version: u8) -> Option<T> {
    let bytes = std::fs::read(path).ok()?;
    let (written, body) = frame::payloads(&bytes).next()?.split_first()?;
    postcard::from_bytes(body).ok().filter(|_| *written == version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_damaged_or_of_another_version_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("value");
        assert_eq!(read_frame::<String>(&path, 1), None);
        write_frame(&path, 1, &"whole").unwrap();
        assert_eq!(read_frame::<String>(&path, 1).as_deref(), Some("whole"));
        assert_eq!(read_frame::<String>(&path, 2), None);
        let bytes = std::fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            std::fs::write(&path, &damaged).unwrap();
            assert_eq!(read_frame::<String>(&path, 1), None, "byte {at}");
        }
    }
}
