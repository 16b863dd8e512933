//! Values that a key protects: authenticated encryption bound to a place, keyed digests, keys stretched from a configured secret.
//!
//! Sealed bytes are `1 ‖ key id (4) ‖ nonce (12) ‖ AES-256-GCM ciphertext and tag`; the place (table, column, row) is the associated
//! data, so that the same bytes open nowhere else. Each use of a secret has a key of its own (HKDF-SHA256).
//! Invariant: nothing in here is ever logged or shown; errors say only that something could not be opened.

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::{hkdf, hmac, rand};
use uuid::Uuid;

use crate::config::Secret;

/// A configured secret must have at least this many bytes.
pub const MIN_SECRET_BYTES: usize = 32;
/// Keyed digests have this many bytes (SHA-256).
pub const DIGEST_BYTES: usize = 32;
/// Keys have this many bytes.
pub const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;
const KEY_ID_BYTES: usize = 4;
const FORMAT: u8 = 1;
const HEADER_BYTES: usize = 1 + KEY_ID_BYTES + NONCE_BYTES;

/// A keyed digest.
pub type Digest = [u8; DIGEST_BYTES];

/// A sealed value that these keys don't open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a sealed value does not open under the configured keys")]
pub struct Unsealable;

/// Where a sealed value lives; the same bytes don't open anywhere else.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    column: &'static str,
    row: Uuid,
}

impl Place {
    /// `column` is `table.column`.
    pub fn new(column: &'static str, row: impl Into<Uuid>) -> Self {
        Self { column, row: row.into() }
    }

    fn bytes(self) -> Vec<u8> {
        [self.column.as_bytes(), self.row.as_bytes()].concat()
    }
}

/// One AES-256-GCM key.
#[derive(Debug)]
pub struct Sealer {
    id: [u8; KEY_ID_BYTES],
    key: RandomizedNonceKey,
}

impl Sealer {
    /// The sealing key of a service's configured secret; its id follows from the secret.
    pub fn of_secret(service: &str, secret: &Secret) -> Self {
        let id = stretch(service, secret, &format!("{service} sealing key id"));
        let mut short = [0; KEY_ID_BYTES];
        short.copy_from_slice(&id[..KEY_ID_BYTES]);
        Self { id: short, key: gcm(&stretch(service, secret, &format!("{service} sealing"))) }
    }

    /// One person's own key; it has no id.
    pub fn personal(key: &[u8; KEY_BYTES]) -> Self {
        Self { id: [0; KEY_ID_BYTES], key: gcm(key) }
    }

    /// Encrypts and authenticates `plain` for `place`.
    pub fn seal(&self, place: Place, plain: &[u8]) -> Vec<u8> {
        let mut text = plain.to_vec();
        let nonce = self
            .key
            .seal_in_place_append_tag(Aad::from(place.bytes()), &mut text)
            .expect("AES-GCM seals a value of this size");
        let mut sealed = Vec::with_capacity(HEADER_BYTES + text.len());
        sealed.push(FORMAT);
        sealed.extend_from_slice(&self.id);
        sealed.extend_from_slice(nonce.as_ref());
        sealed.append(&mut text);
        sealed
    }

    /// Opens what [`Sealer::seal`] made for the same place.
    ///
    /// # Errors
    /// When it was made by another key or for another place, or was changed.
    pub fn open(&self, place: Place, sealed: &[u8]) -> Result<Vec<u8>, Unsealable> {
        if sealed.len() < HEADER_BYTES || sealed[0] != FORMAT || sealed[1..=KEY_ID_BYTES] != self.id {
            return Err(Unsealable);
        }
        let nonce =
            Nonce::try_assume_unique_for_key(&sealed[1 + KEY_ID_BYTES..HEADER_BYTES]).map_err(|_| Unsealable)?;
        let mut text = sealed[HEADER_BYTES..].to_vec();
        let plain = self.key.open_in_place(nonce, Aad::from(place.bytes()), &mut text).map_err(|_| Unsealable)?;
        Ok(plain.to_vec())
    }

    /// [`Sealer::open`] for UTF-8 text.
    ///
    /// # Errors
    /// As there, and when it is no text.
    pub fn open_text(&self, place: Place, sealed: &[u8]) -> Result<String, Unsealable> {
        String::from_utf8(self.open(place, sealed)?).map_err(|_| Unsealable)
    }
}

/// The keys of a configuration: the newest seals, all open.
#[derive(Debug)]
pub struct Ring(Vec<Sealer>);

impl Ring {
    /// The keys of a service's secrets, the newest first.
    ///
    /// # Panics
    /// Without any secret.
    pub fn new<'a>(service: &str, secrets: impl IntoIterator<Item = &'a Secret>) -> Self {
        let sealers: Vec<Sealer> = secrets.into_iter().map(|secret| Sealer::of_secret(service, secret)).collect();
        assert!(!sealers.is_empty(), "a ring has a newest key");
        Self(sealers)
    }

    /// What values that the newest key sealed begin with, after their format.
    pub fn newest_id(&self) -> &[u8] {
        &self.0[0].id
    }

    /// The same of the other keys.
    pub fn retired_ids(&self) -> Vec<Vec<u8>> {
        self.0[1..].iter().map(|sealer| sealer.id.to_vec()).collect()
    }

    /// Whether there is another key beside the newest.
    pub fn has_retired(&self) -> bool {
        self.0.len() > 1
    }

    /// Seals under the newest key.
    pub fn seal(&self, place: Place, plain: &[u8]) -> Vec<u8> {
        self.0[0].seal(place, plain)
    }

    /// Opens what [`Ring::seal`] made, also under an older key.
    ///
    /// # Errors
    /// When no key opens it.
    pub fn open(&self, place: Place, sealed: &[u8]) -> Result<Vec<u8>, Unsealable> {
        let id = sealed.get(1..=KEY_ID_BYTES).ok_or(Unsealable)?;
        let sealer = self.0.iter().find(|sealer| sealer.id == id).ok_or(Unsealable)?;
        sealer.open(place, sealed)
    }

    /// A new key for one person's attributes, and the form in which it is stored at `place`.
    pub fn new_personal_key(&self, place: Place) -> (Sealer, Vec<u8>) {
        let key: [u8; KEY_BYTES] = random();
        (Sealer::personal(&key), self.seal(place, &key))
    }

    /// Opens a person's key.
    ///
    /// # Errors
    /// When no key opens it.
    pub fn personal_key(&self, place: Place, sealed: &[u8]) -> Result<Sealer, Unsealable> {
        let key: [u8; KEY_BYTES] = self.open(place, sealed)?.try_into().map_err(|_| Unsealable)?;
        Ok(Sealer::personal(&key))
    }
}

/// Random bytes of the system's generator.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).expect("the system has random bytes");
    bytes
}

/// The key of one use of a service's secret.
fn stretch(service: &str, secret: &Secret, label: &str) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    hkdf::Salt::new(hkdf::HKDF_SHA256, format!("trangtien {service} v1").as_bytes())
        .extract(secret.expose().as_bytes())
        .expand(&[label.as_bytes()], hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(&mut key))
        .expect("HKDF-SHA256 gives 32 bytes");
    key
}

/// The key of keyed digests for one use of a service's secret.
pub fn mac_key(service: &str, secret: &Secret, label: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, &stretch(service, secret, label))
}

fn gcm(key: &[u8; KEY_BYTES]) -> RandomizedNonceKey {
    RandomizedNonceKey::new(&AES_256_GCM, key).expect("an AES-256 key has 32 bytes")
}

/// HMAC-SHA256 over length-prefixed parts, so that no two lists of parts give the same input.
pub fn mac(key: &hmac::Key, parts: &[&[u8]]) -> Digest {
    let mut context = hmac::Context::with_key(key);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut digest = [0; DIGEST_BYTES];
    digest.copy_from_slice(context.sign().as_ref());
    digest
}

/// Compares digests in constant time.
pub fn same(left: &[u8], right: &[u8]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(left, right).is_ok()
}
