//! Taking secrets out of a stream of bytes: each value, its base64 forms, and the longer lines of values that
//! have several. A value that arrives in two pieces is found; nothing that may be the beginning of one
//! leaves before it is known.

/// What stands for a secret.
const MASK: &[u8] = b"***";

/// Forms shorter than this are not derived from a secret: they would hit innocent text.
const SHORTEST_FORM: usize = 8;

/// Replaces secrets in a stream.
#[derive(Debug)]
pub(super) struct Redactor {
    /// What to look for, the longest first.
    needles: Vec<Vec<u8>>,
    /// Which bytes a needle may begin with.
    begins: [bool; 256],
    /// Bytes that may be the beginning of a needle.
    held: Vec<u8>,
    /// How many of `held` belong to a secret whose mask has left already.
    masked: usize,
}

impl Redactor {
    pub(super) fn new(secrets: &[Vec<u8>]) -> Self {
        let mut needles: Vec<Vec<u8>> = secrets.iter().flat_map(|secret| forms(secret)).collect();
        needles.sort_unstable_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        needles.dedup();
        let mut begins = [false; 256];
        for needle in &needles {
            begins[usize::from(needle[0])] = true;
        }
        Self { needles, begins, held: Vec::new(), masked: 0 }
    }

    /// Is there nothing to look for?
    pub(super) fn is_idle(&self) -> bool {
        self.needles.is_empty()
    }

    /// Takes in `bytes`, and appends to `clean` what may leave.
    pub(super) fn push(&mut self, bytes: &[u8], clean: &mut Vec<u8>) {
        self.held.extend_from_slice(bytes);
        self.release(clean, false);
    }

    /// No more bytes follow.
    pub(super) fn finish(&mut self, clean: &mut Vec<u8>) {
        self.release(clean, true);
    }

    fn release(&mut self, clean: &mut Vec<u8>, at_end: bool) {
        let mut masked = self.masked;
        let mut at = 0;
        loop {
            let rest = &self.held[at..];
            let innocent = rest.iter().position(|byte| self.begins[usize::from(*byte)]).unwrap_or(rest.len());
            clean.extend_from_slice(&rest[masked.saturating_sub(at).min(innocent)..innocent]);
            at += innocent;
            let rest = &self.held[at..];
            let Some(first) = rest.first() else { break };
            match self.look(rest, at_end) {
                Found::Maybe => break,
                Found::Whole(length) => {
                    // Secrets that overlap are covered by one mask.
                    if at >= masked {
                        clean.extend_from_slice(MASK);
                    }
                    masked = masked.max(at + length);
                }
                Found::Nothing if at >= masked => clean.push(*first),
                Found::Nothing => {}
            }
            at += 1;
        }
        self.masked = masked.saturating_sub(at);
        self.held.drain(..at);
    }

    fn look(&self, bytes: &[u8], at_end: bool) -> Found {
        for needle in &self.needles {
            if bytes.starts_with(needle) {
                return Found::Whole(needle.len());
            }
            if !at_end && needle.starts_with(bytes) {
                return Found::Maybe;
            }
        }
        Found::Nothing
    }
}

enum Found {
    Nothing,
    /// A needle of this many bytes.
    Whole(usize),
    /// What is there is the beginning of a needle.
    Maybe,
}

/// All that gives a secret away: itself, its longer lines, itself inside of a JSON text, and its base64 forms wherever it
/// begins in what was encoded.
pub fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
    let mut forms: Vec<Vec<u8>> = vec![secret.to_vec()];
    let lines = secret.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    forms.extend(lines.filter(|line| line.len() >= SHORTEST_FORM).map(<[u8]>::to_vec));
    if let Ok(text) = std::str::from_utf8(secret) {
        let quoted = serde_json::Value::from(text).to_string();
        forms.extend(quoted.get(1..quoted.len() - 1).map(|inside| inside.as_bytes().to_vec()));
    }
    for alphabet in [STANDARD, URL_SAFE] {
        forms.extend(
            (0..3)
                .map(|offset| base64_inside(secret, offset, alphabet))
                .filter(|form| form.len() >= SHORTEST_FORM),
        );
    }
    forms.retain(|form| !form.is_empty());
    forms
}

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL_SAFE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The part of the base64 text that `secret` alone determines when it begins at `offset` (modulo 3) in what
/// is encoded: every group of six bits that lies within it.
fn base64_inside(secret: &[u8], offset: usize, alphabet: &[u8; 64]) -> Vec<u8> {
    // The first group that begins inside the secret: after 0, 4 or 2 of its bits.
    let skip = [0, 4, 2][offset % 3];
    let bits = secret.len() * 8;
    (skip..)
        .step_by(6)
        .take_while(|start| start + 6 <= bits)
        .map(|start| {
            let window = u16::from(secret[start / 8]) << 8
                | secret.get(start / 8 + 1).map_or(0, |byte| u16::from(*byte));
            alphabet[usize::from(window >> (10 - start % 8) & 63)]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Redacts `text`, cut into pieces at each of `cuts`.
    fn redact(secrets: &[&[u8]], text: &[u8], cuts: &[usize]) -> String {
        let secrets: Vec<Vec<u8>> = secrets.iter().map(|secret| secret.to_vec()).collect();
        let mut redactor = Redactor::new(&secrets);
        let mut clean = Vec::new();
        let mut start = 0;
        for &cut in cuts {
            redactor.push(&text[start..cut], &mut clean);
            start = cut;
        }
        redactor.push(&text[start..], &mut clean);
        redactor.finish(&mut clean);
        String::from_utf8(clean).unwrap()
    }

    #[test]
    fn a_secret_is_masked_wherever_the_stream_is_cut() {
        let text = b"token=hunter2secret; hunter2 hunter2secre";
        for first in 0..text.len() {
            for second in first..text.len() {
                let clean = redact(&[b"hunter2secret"], text, &[first, second]);
                assert_eq!(clean, "token=***; hunter2 hunter2secre", "cut at {first} and {second}");
            }
        }
    }

    #[test]
    fn overlapping_and_nested_secrets_leave_nothing_behind() {
        for cut in 0..10 {
            assert_eq!(redact(&[b"abcd", b"cdef"], b"12abcdef34", &[cut]), "12***34");
            assert_eq!(redact(&[b"abc", b"abcdef"], b"1abcdef234", &[cut]), "1***234");
            assert_eq!(redact(&[b"abc", b"abcdef"], b"1abcde2345", &[cut]), "1***de2345");
            assert_eq!(redact(&[b"aa"], b"1aaaaa2345", &[cut]), "1***2345");
        }
    }

    #[test]
    fn base64_of_a_secret_is_masked_at_every_alignment() {
        // printf 'user:s3cr3t-pa55word' | base64, and with one and two letters less in front.
        for (text, left) in [
            ("dXNlcjpzM2NyM3QtcGE1NXdvcmQ=", "dXNlcjp***Q="),
            ("c2VyOnMzY3IzdC1wYTU1d29yZA==", "c2VyOn***A=="),
            ("ZXI6czNjcjN0LXBhNTV3b3Jk", "ZXI6***"),
        ] {
            assert_eq!(redact(&[b"s3cr3t-pa55word"], text.as_bytes(), &[11]), left);
        }
    }

    #[test]
    fn the_lines_of_a_long_secret_are_secrets() {
        let key: &[u8] = b"-----BEGIN KEY-----\nMIIBOgIBAAJB\n-----END KEY-----\n";
        assert_eq!(redact(&[key], b"> MIIBOgIBAAJB\r\n", &[4]), "> ***\r\n");
    }

    #[test]
    fn an_empty_secret_hides_nothing() {
        assert_eq!(redact(&[b""], b"text", &[2]), "text");
    }
}
