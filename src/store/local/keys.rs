//! Signatures of cache entries: who signs what is written, and whose signatures count. Knows nothing of what is in
//! an entry.

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};

/// What a signature is of, in front of the bytes: a key that signs other things too signs no entry by it.
const DOMAIN: &[u8] = b"conductor cache entry 1";

/// The key that entries are signed with, and those whose signatures count.
#[derive(Default)]
pub struct Keys {
    signing: Option<SigningKey>,
    trusted: Vec<VerifyingKey>,
    required: bool,
}

/// Why a signature does not count.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum Distrust {
    /// There is none, and one is required.
    #[error("it is not signed")]
    Unsigned,
    /// It is by a key that is not among those that are trusted.
    #[error("it is signed by a key that is not trusted")]
    Unknown,
    /// It is not of these bytes.
    #[error("its signature is wrong")]
    Wrong,
}

/// A text is no key.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a key is 64 hexadecimal digits, and no weak point of the curve")]
pub struct BadKey;

impl Keys {
    /// The key to sign with (its 32 bytes of secret, hexadecimal), whose own signatures count too, and the public
    /// keys of others. `required`: what nobody of them has signed does not count.
    ///
    /// # Errors
    /// One of the texts is no key.
    pub fn new(signing: Option<&str>, trusted: &[String], required: bool) -> Result<Self, BadKey> {
        let signing =
            signing.map(|text| parse(text).map(|bytes| SigningKey::from_bytes(&bytes))).transpose()?;
        let public = |text: &String| {
            let key = VerifyingKey::from_bytes(&parse(text)?).map_err(|_| BadKey)?;
            if key.is_weak() { Err(BadKey) } else { Ok(key) }
        };
        let mut trusted = trusted.iter().map(public).collect::<Result<Vec<_>, _>>()?;
        trusted.extend(signing.as_ref().map(SigningKey::verifying_key));
        Ok(Self { signing, trusted, required })
    }

    /// The public key of the one that signs, hexadecimal: what others are to trust.
    pub fn public(&self) -> Option<String> {
        let key = self.signing.as_ref()?.verifying_key();
        Some(blake3::Hash::from_bytes(*key.as_bytes()).to_hex().to_string())
    }

    /// Does nothing count that is not signed?
    pub fn is_required(&self) -> bool {
        self.required
    }

    /// Writes the signature of `body`, or that there is none.
    pub(super) fn sign(&self, body: &[u8], out: &mut Vec<u8>) {
        let Some(key) = &self.signing else { return out.push(0) };
        out.push(1);
        out.extend_from_slice(key.verifying_key().as_bytes());
        out.extend_from_slice(&key.sign(&[DOMAIN, body].concat()).to_bytes());
    }

    /// The body behind a signature that counts. A signature that is there is checked, be it required or not, as
    /// far as its key is known.
    pub(super) fn check<'a>(&self, bytes: &'a [u8]) -> Result<&'a [u8], Distrust> {
        let Some((signed, rest)) = bytes.split_first() else { return Err(Distrust::Wrong) };
        if *signed == 0 {
            return if self.required { Err(Distrust::Unsigned) } else { Ok(rest) };
        }
        let parts = rest.split_first_chunk::<32>().and_then(|(key, rest)| {
            rest.split_first_chunk::<64>().map(|(signature, body)| (key, signature, body))
        });
        let Some((key, signature, body)) = parts else { return Err(Distrust::Wrong) };
        let key = VerifyingKey::from_bytes(key).map_err(|_| Distrust::Wrong)?;
        if self.required && !self.trusted.contains(&key) {
            return Err(Distrust::Unknown);
        }
        let message = [DOMAIN, body].concat();
        key.verify_strict(&message, &Signature::from_bytes(signature)).map_err(|_| Distrust::Wrong)?;
        Ok(body)
    }
}

fn parse(text: &str) -> Result<[u8; 32], BadKey> {
    blake3::Hash::from_hex(text.trim()).map(|hash| *hash.as_bytes()).map_err(|_| BadKey)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(byte: u8) -> String {
        format!("{byte:02x}").repeat(32)
    }

    fn signed(keys: &Keys, body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        keys.sign(body, &mut bytes);
        bytes.extend_from_slice(body);
        bytes
    }

    #[test]
    fn a_signature_counts_where_its_key_is_trusted_and_nothing_was_changed() {
        let (ci, other) = (secret(1), secret(2));
        let ci = Keys::new(Some(&ci), &[], true).unwrap();
        let other = Keys::new(Some(&other), &[], false).unwrap();
        let reader = Keys::new(None, &[ci.public().unwrap()], true).unwrap();
        let bytes = signed(&ci, b"body");
        assert_eq!(reader.check(&bytes), Ok(&b"body"[..]));
        assert_eq!(ci.check(&bytes), Ok(&b"body"[..]), "one trusts oneself");
        assert_eq!(reader.check(&signed(&other, b"body")), Err(Distrust::Unknown));
        assert_eq!(reader.check(&signed(&Keys::default(), b"body")), Err(Distrust::Unsigned));
        for bit in 8..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(reader.check(&bytes).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn where_no_signature_is_required_a_wrong_one_is_refused_all_the_same() {
        let anyone = Keys::default();
        let signer = secret(3);
        let signer = Keys::new(Some(&signer), &[], false).unwrap();
        let mut bytes = signed(&signer, b"body");
        assert_eq!(anyone.check(&bytes), Ok(&b"body"[..]));
        *bytes.last_mut().unwrap() ^= 1;
        assert_eq!(anyone.check(&bytes), Err(Distrust::Wrong));
        assert_eq!(anyone.check(&signed(&anyone, b"body")), Ok(&b"body"[..]));
        assert_eq!(anyone.check(b""), Err(Distrust::Wrong));
        assert_eq!(anyone.check(&[1, 2, 3]), Err(Distrust::Wrong));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for text in ["", "abc", &"0".repeat(63), &"g".repeat(64)] {
            assert!(Keys::new(Some(text), &[], false).is_err(), "{text}");
        }
        // The neutral point of the curve, under which anything verifies.
        let weak = format!("01{}", "00".repeat(31));
        assert!(Keys::new(None, &[weak], false).is_err());
    }
}
