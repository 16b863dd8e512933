//! Signed notes: a text and the Ed25519 signatures under it, in the form of C2SP (`signed-note`), so that tools of transparency logs read them.
//!
//! Pure: no I/O.
//!
//! ```text
//! text, every line ended
//!
//! — key-name base64(four bytes of the key's id, then the 64 bytes of the signature)
//! ```
//!
//! A public key is written `name+id+base64(0x01, 32 bytes)`; its id is the start of SHA-256 over name, line break, 0x01 and the key.
//! Invariant: what is read is written again byte by byte the same, or refused; so one note has one form.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

/// The kind of key that we know: Ed25519.
const ALGORITHM: u8 = 1;
/// Bytes of an Ed25519 seed and of a public key.
const KEY_BYTES: usize = 32;
/// What a line with a signature begins with.
const SIGNATURE_MARK: &str = "— ";
/// The most bytes of a note that is read.
pub const MAX_NOTE_BYTES: usize = 4_096;

/// Why a note or a key is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Not a key of this form.
    #[error("the key is not written as name+id+key, or its id is not that of the key")]
    Key,
    /// Not a seed of 32 bytes.
    #[error("a signing key is 64 hexadecimal digits")]
    Seed,
    /// A name that no key may have.
    #[error("a key's name has no blanks and no plus sign")]
    Name,
    /// Not a note of this form.
    #[error("the text is not a signed note")]
    Malformed,
    /// Nobody with this key signed it.
    #[error("the note carries no signature of this key")]
    Unsigned,
    /// The signature is wrong.
    #[error("the signature does not hold")]
    Signature,
}

/// Signs notes.
pub struct Signer {
    pair: Ed25519KeyPair,
}

impl fmt::Debug for Signer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Signer").finish_non_exhaustive()
    }
}

impl Signer {
    /// The key of a seed (RFC 8032, section 5.1.5) of 64 hexadecimal digits.
    ///
    /// # Errors
    /// When it is not such a seed.
    pub fn try_new(seed: &str) -> Result<Self, NoteError> {
        let mut bytes = [0; KEY_BYTES];
        hex::decode_to_slice(seed.trim(), &mut bytes).map_err(|_| NoteError::Seed)?;
        let pair = Ed25519KeyPair::from_seed_unchecked(&bytes).map_err(|_| NoteError::Seed)?;
        Ok(Self { pair })
    }

    /// The public key under a name.
    ///
    /// # Errors
    /// When no key may have this name.
    pub fn public_key(&self, name: &str) -> Result<PublicKey, NoteError> {
        let key = self.pair.public_key().as_ref().try_into().map_err(|_| NoteError::Key)?;
        PublicKey::try_new(name, key)
    }

    /// Signs a text, whose lines are all ended, under a name.
    ///
    /// # Errors
    /// When no key may have this name, or the text could be taken for a note itself.
    pub fn sign(&self, name: &str, text: &str) -> Result<Note, NoteError> {
        let key = self.public_key(name)?;
        if !is_plain(text) {
            return Err(NoteError::Malformed);
        }
        let mut bytes = key.id().to_vec();
        bytes.extend_from_slice(self.pair.sign(text.as_bytes()).as_ref());
        Ok(Note { text: text.to_owned(), signatures: vec![Signature { name: key.name, bytes }] })
    }
}

/// A public key and its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    name: String,
    key: [u8; KEY_BYTES],
}

impl PublicKey {
    fn try_new(name: &str, key: [u8; KEY_BYTES]) -> Result<Self, NoteError> {
        let plain = |c: char| !c.is_whitespace() && !c.is_control() && c != '+';
        if name.is_empty() || !name.chars().all(plain) {
            return Err(NoteError::Name);
        }
        Ok(Self { name: name.to_owned(), key })
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn tagged(&self) -> Vec<u8> {
        [&[ALGORITHM], self.key.as_slice()].concat()
    }

    fn id(&self) -> [u8; 4] {
        let hash = Sha256::new().chain_update(&self.name).chain_update(b"\n").chain_update(self.tagged()).finalize();
        [hash[0], hash[1], hash[2], hash[3]]
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}+{}+{}", self.name, hex::encode(self.id()), STANDARD.encode(self.tagged()))
    }
}

impl FromStr for PublicKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(_), Some(tagged)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteError::Key);
        };
        let tagged = STANDARD.decode(tagged).map_err(|_| NoteError::Key)?;
        let Some((&ALGORITHM, key)) = tagged.split_first() else { return Err(NoteError::Key) };
        let key = Self::try_new(name, key.try_into().map_err(|_| NoteError::Key)?)?;
        if key.to_string() == text { Ok(key) } else { Err(NoteError::Key) }
    }
}

/// A text and its signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<Signature>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Signature {
    name: String,
    /// The key's id, then the signature.
    bytes: Vec<u8>,
}

impl Note {
    /// What was signed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether this key signed it.
    ///
    /// # Errors
    /// [`NoteError::Unsigned`] when there is no signature of the key, [`NoteError::Signature`] when there is a wrong one.
    pub fn verify(&self, key: &PublicKey) -> Result<(), NoteError> {
        let id = key.id();
        let theirs = |signature: &&Signature| signature.name == key.name && signature.bytes.starts_with(&id);
        let signature = self.signatures.iter().find(theirs).ok_or(NoteError::Unsigned)?;
        UnparsedPublicKey::new(&ED25519, &key.key)
            .verify(self.text.as_bytes(), &signature.bytes[id.len()..])
            .map_err(|_| NoteError::Signature)
    }
}

impl fmt::Display for Note {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}", self.text)?;
        for signature in &self.signatures {
            writeln!(formatter, "{SIGNATURE_MARK}{} {}", signature.name, STANDARD.encode(&signature.bytes))?;
        }
        Ok(())
    }
}

impl FromStr for Note {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        if text.len() > MAX_NOTE_BYTES {
            return Err(NoteError::Malformed);
        }
        let end = text.rfind("\n\n").ok_or(NoteError::Malformed)?;
        let (signed, rest) = (&text[..=end], &text[end + 2..]);
        let signatures: Option<Vec<Signature>> = rest.lines().map(signature).collect();
        let note = Self { text: signed.to_owned(), signatures: signatures.ok_or(NoteError::Malformed)? };
        let same = !note.signatures.is_empty() && is_plain(&note.text) && note.to_string() == text;
        if same { Ok(note) } else { Err(NoteError::Malformed) }
    }
}

fn signature(line: &str) -> Option<Signature> {
    let (name, encoded) = line.strip_prefix(SIGNATURE_MARK)?.split_once(' ')?;
    let bytes = STANDARD.decode(encoded).ok()?;
    (!name.is_empty() && bytes.len() > 4).then(|| Signature { name: name.to_owned(), bytes })
}

/// A text that can be signed: ended lines, none of them empty, no control characters.
fn is_plain(text: &str) -> bool {
    text.ends_with('\n') && text.lines().all(|line| !line.is_empty() && !line.chars().any(char::is_control))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";

    #[test]
    fn the_key_is_that_of_rfc_8032() {
        let key = Signer::try_new(SEED).expect("a seed").public_key("example.com/log").expect("a name");
        assert_eq!(hex::encode(key.key), "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
        assert_eq!(key.to_string().parse(), Ok(key));
    }

    #[test]
    fn a_signature_is_that_of_rfc_8032() {
        // Test 2 of section 7.1 signs one byte that no note could be; the pair is what matters here.
        let pair =
            Signer::try_new("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb").expect("a seed").pair;
        assert_eq!(
            hex::encode(pair.sign(&[0x72])),
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        );
    }

    #[test]
    fn a_key_of_another_program_is_read() {
        // The example of the specification's own reference implementation.
        let text = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        let key: PublicKey = text.parse().expect("a key");
        let note = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n\
                    — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
        let note: Note = note.parse().expect("a note");
        assert_eq!(note.verify(&key), Ok(()));
    }

    #[test]
    fn every_changed_byte_of_a_note_is_found() {
        let signer = Signer::try_new(SEED).expect("a seed");
        let key = signer.public_key("hue/ledger/1").expect("a name");
        let note = signer.sign("hue/ledger/1", "hue/ledger/1\n12\nabc\n").expect("signed").to_string();
        assert_eq!(note.parse::<Note>().expect("a note").verify(&key), Ok(()));
        let bytes = note.as_bytes();
        for place in 0..bytes.len() {
            for change in [1_u8, 0x20, 0x80] {
                let mut changed = bytes.to_vec();
                changed[place] ^= change;
                let holds = String::from_utf8(changed)
                    .ok()
                    .and_then(|text| text.parse::<Note>().ok())
                    .is_some_and(|note| note.verify(&key).is_ok());
                assert!(!holds, "byte {place} changed by {change}");
            }
        }
    }

    #[test]
    fn what_is_no_key_and_no_note_is_refused() {
        for text in ["", "a+b", "a+00000000+AQ==", "PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"]
        {
            assert!(text.parse::<PublicKey>().is_err(), "{text}");
        }
        for text in ["", "a", "a\n\n", "a\n\nb\n", "a\n\n— b \n", "a\n\n— b AAAAAA==", "\n\n— b AAAAAAA=\n"] {
            assert!(text.parse::<Note>().is_err(), "{text}");
        }
        assert!(matches!(Signer::try_new("00"), Err(NoteError::Seed)));
        let signer = Signer::try_new(SEED).expect("a seed");
        assert_eq!(signer.sign("a b", "text\n"), Err(NoteError::Name));
        assert_eq!(signer.sign("a", "one\n\ntwo\n"), Err(NoteError::Malformed));
    }
}
