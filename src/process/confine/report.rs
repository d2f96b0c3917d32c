//! The report of a second start: the parent must know for certain whether the wanted program ever ran.
//!
//! It goes through a pipe of its own, which is the second start's standard error until the very exec, so that
//! complaints of a loader or of `bwrap` are part of it. The exec closes it. Its bytes are
//! text, why it could not be confined; or [`READY`], it is confined and about to become the
//! program, and after that [`FAILED`] with the error's number where it could not.

use std::io::{self, PipeReader, Read, Write};

/// Confined.
const READY: u8 = 0x06;
/// Confined, but the program could not be started: the error's number follows, in four bytes.
const FAILED: u8 = 0x15;

/// More than this was never said on purpose.
const LONGEST: u64 = 16 * 1024;

/// The parent's end.
#[derive(Debug)]
pub(in super::super) struct Report(PipeReader);

/// What became of a second start.
#[derive(Debug)]
pub(in super::super) enum Outcome {
    /// The program ran: everything that is known of the process is the program's own.
    Ran,
    /// The program could not be started.
    NotStarted(io::Error),
    /// It could not be confined, and the program was not started. The reason, where one was given.
    NotConfined(String),
}

impl Report {
    /// A report, and the end that the second start gets as its standard error.
    pub(super) fn pipe() -> io::Result<(Self, io::PipeWriter)> {
        let (reader, writer) = io::pipe()?;
        rustix::io::ioctl_fionbio(&reader, true)?;
        Ok((Self(reader), writer))
    }

    /// To be asked once the process has ended; does not wait.
    pub(in super::super) fn outcome(self) -> Outcome {
        let mut said = Vec::new();
        // It ends with "would block", because the parent's `Command` holds the other end.
        let _ = self.0.take(LONGEST).read_to_end(&mut said);
        outcome(&said)
    }
}

fn outcome(said: &[u8]) -> Outcome {
    let Some(at) = said.iter().position(|byte| *byte == READY) else {
        return Outcome::NotConfined(String::from_utf8_lossy(said).trim().to_owned());
    };
    match said[at + 1..] {
        [FAILED, a, b, c, d, ..] => {
            Outcome::NotStarted(io::Error::from_raw_os_error(i32::from_ne_bytes([a, b, c, d])))
        }
        _ => Outcome::Ran,
    }
}

/// Says that the process is confined.
pub(super) fn ready(mut to: impl Write) -> io::Result<()> {
    to.write_all(&[READY])
}

/// Says that the program could not be started.
pub(super) fn failed(mut to: impl Write, error: &io::Error) -> io::Result<()> {
    let [a, b, c, d] = error.raw_os_error().unwrap_or(0).to_ne_bytes();
    to.write_all(&[FAILED, a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_word_of_readiness_means_that_the_program_ran() {
        let check = |said: &[u8], expected: &str| assert_eq!(format!("{:?}", outcome(said)), expected);
        check(b"", r#"NotConfined("")"#);
        check(b"running 0 tests\n", r#"NotConfined("running 0 tests")"#);
        check(&[READY], "Ran");
        let mut said = b"bwrap: a remark\n".to_vec();
        ready(&mut said).unwrap();
        assert!(matches!(outcome(&said), Outcome::Ran));
        failed(&mut said, &io::Error::from_raw_os_error(2)).unwrap();
        assert!(
            matches!(outcome(&said), Outcome::NotStarted(error) if error.kind() == io::ErrorKind::NotFound)
        );
    }
}
