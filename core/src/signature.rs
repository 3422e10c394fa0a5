//! Signatures of what nodes leave for each other, or for their own next start: HMAC-SHA256.
//!
//! Whoever can write to Redis or to the data directory, but has no key of the installation, must
//! not be able to make up an administrator.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::ids::Secret;

/// Bytes of a signature.
pub const TAG_BYTES: usize = 32;

/// A signature.
pub type Tag = [u8; TAG_BYTES];

/// What a signature is for: one cannot be passed off as another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The snapshot of records on disk.
    Snapshot,
    /// Messages between the nodes of a region.
    Region,
    /// Messages between regions.
    Regions,
    /// Messages about rights, between nodes wherever they are.
    Rights,
}

impl Purpose {
    fn label(self) -> &'static str {
        match self {
            Self::Snapshot => "meridian/1/records/snapshot",
            Self::Region => "meridian/1/records/region",
            Self::Regions => "meridian/1/records/regions",
            Self::Rights => "meridian/1/rights",
        }
    }
}

/// Signs and checks for one purpose.
#[derive(Clone)]
pub struct Signer {
    keyed: Hmac<Sha256>,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer")
    }
}

impl Signer {
    /// The key of a purpose is derived from the installation's secret: the salt key, or the master
    /// key where there is none.
    pub fn new(secret: &Secret, purpose: Purpose) -> Self {
        let derived = keyed(secret.reveal().as_bytes())
            .chain_update(purpose.label())
            .finalize()
            .into_bytes();
        Self {
            keyed: keyed(&derived),
        }
    }

    /// Begins a signature over bytes that come in pieces.
    pub fn begin(&self) -> Signing {
        Signing(self.keyed.clone())
    }

    /// The signature of a message.
    pub fn sign(&self, message: &[u8]) -> Tag {
        self.begin().with(message).tag()
    }

    /// A message with its signature in front, as text.
    pub fn sign_text(&self, message: &str) -> String {
        let tag = hex(&self.sign(message.as_bytes()));
        format!("{tag}{message}")
    }

    /// The message of [`Self::sign_text`], if the signature is ours.
    pub fn verified<'a>(&self, wrapped: &'a [u8]) -> Option<&'a [u8]> {
        let (tag, message) = wrapped.split_at_checked(2 * TAG_BYTES)?;
        let tag = from_hex(tag)?;
        self.begin().with(message).is(&tag).then_some(message)
    }
}

/// A signature in the making.
#[derive(Clone)]
pub struct Signing(Hmac<Sha256>);

impl std::fmt::Debug for Signing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signing")
    }
}

impl Signing {
    /// Takes more bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The same, in a chain.
    #[must_use]
    pub fn with(mut self, bytes: &[u8]) -> Self {
        self.update(bytes);
        self
    }

    /// The signature.
    pub fn tag(self) -> Tag {
        self.0.finalize().into_bytes().into()
    }

    /// Whether this is the signature; takes the same time for every wrong one.
    pub fn is(self, tag: &Tag) -> bool {
        self.0.verify_slice(tag).is_ok()
    }
}

/// Any key will do: a long one is hashed first.
fn keyed(key: &[u8]) -> Hmac<Sha256> {
    match Hmac::new_from_slice(key) {
        Ok(keyed) => keyed,
        Err(never) => {
            debug_assert!(false, "{never}");
            Hmac::new(&Default::default())
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(digits: &[u8]) -> Option<Tag> {
    let mut tag = [0; TAG_BYTES];
    for (byte, pair) in tag.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |place: usize| char::from(pair[place]).to_digit(16);
        *byte = u8::try_from(digit(0)? << 4 | digit(1)?).ok()?;
    }
    Some(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_by_whoever_has_the_secret_and_the_purpose() {
        let signer = |secret: &str, purpose| Signer::new(&Secret::new(secret.to_owned()), purpose);
        let ours = signer("sk-salt", Purpose::Region);
        let wrapped = ours.sign_text("{\"a\":1}");
        assert_eq!(ours.verified(wrapped.as_bytes()), Some(&b"{\"a\":1}"[..]));
        for other in [
            signer("sk-salt", Purpose::Regions),
            signer("sk-other", Purpose::Region),
        ] {
            assert_eq!(other.verified(wrapped.as_bytes()), None);
        }
        for bad in [
            wrapped.replace('1', "2"),
            wrapped[1..].to_owned(),
            wrapped[2..].to_owned(),
            String::new(),
            "\u{e9}".repeat(40),
        ] {
            assert_eq!(ours.verified(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn pieces_have_the_signature_of_the_whole() {
        let signer = Signer::new(&Secret::new("x".repeat(200)), Purpose::Snapshot);
        let pieces = signer.begin().with(b"one ").with(b"two");
        assert!(pieces.is(&signer.sign(b"one two")));
        assert!(!signer.begin().with(b"one").is(&signer.sign(b"one two")));
    }

    #[test]
    fn the_construction_is_the_standard_one() {
        // RFC 4231, case 2.
        let tag = keyed(b"Jefe").chain_update(b"what do ya want for nothing?");
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(hex(&tag.finalize().into_bytes()), expected);
    }
}
