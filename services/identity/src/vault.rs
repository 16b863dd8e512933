//! Everything that a key of the configuration protects: keyed digests, sealing, and the tags of refresh tokens.
//!
//! Each configured secret is stretched by HKDF-SHA256 into one key per use, so that no key serves two purposes.
//! Sealed bytes are `1 ‖ key id (4) ‖ nonce (12) ‖ AES-256-GCM ciphertext and tag`, bound to their table, column and row.
//! Invariant: nothing in here is ever logged or shown; errors say only that something could not be opened.

use std::net::IpAddr;

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::{hkdf, hmac, rand};
use platform::config::Secret;
use uuid::Uuid;

use crate::config::Keys;

/// A configured secret must have at least this many bytes.
pub(crate) const MIN_SECRET_BYTES: usize = 32;
/// Keyed digests have this many bytes (SHA-256).
pub(crate) const DIGEST_BYTES: usize = 32;
const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;
const KEY_ID_BYTES: usize = 4;
const FORMAT: u8 = 1;
const HEADER_BYTES: usize = 1 + KEY_ID_BYTES + NONCE_BYTES;

/// A keyed digest.
pub(crate) type Digest = [u8; DIGEST_BYTES];

/// Why the keys can't be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The setting is empty.
    #[error("identity.keys.{0} is not set; give at least 32 random bytes, for instance from `openssl rand -base64 48`")]
    Missing(&'static str),
    /// The setting is too short.
    #[error("identity.keys.{0} has fewer than 32 bytes")]
    Short(&'static str),
    /// Two settings hold the same secret.
    #[error("identity.keys.{0} and identity.keys.{1} must differ")]
    Shared(&'static str, &'static str),
}

/// A sealed value that this configuration's keys don't open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a sealed value does not open under the configured keys")]
pub(crate) struct Unsealable;

/// Where a sealed value lives; the same bytes don't open anywhere else.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    column: &'static str,
    row: Uuid,
}

impl Place {
    /// `column` is `table.column`.
    pub(crate) fn new(column: &'static str, row: impl Into<Uuid>) -> Self {
        Self { column, row: row.into() }
    }

    fn bytes(self) -> Vec<u8> {
        [self.column.as_bytes(), self.row.as_bytes()].concat()
    }
}

/// The service's keys.
pub(crate) struct Vault {
    code: hmac::Key,
    phone: hmac::Key,
    cap: hmac::Key,
    address: hmac::Key,
    number: hmac::Key,
    outside: hmac::Key,
    request: hmac::Key,
    /// The first tags; all verify. In the order of `sealers`.
    refresh: Vec<hmac::Key>,
    pin: hmac::Key,
    subject: hmac::Key,
    /// The first seals; all open.
    sealers: Vec<Sealer>,
}

impl Vault {
    /// Checks and stretches the configured secrets.
    pub(crate) fn try_new(keys: &Keys) -> Result<Self, KeyError> {
        let named = [
            ("otp_hmac", &keys.otp_hmac),
            ("phone_hmac", &keys.phone_hmac),
            ("encryption", &keys.encryption),
            ("pin_pepper", &keys.pin_pepper),
        ];
        for (index, (name, secret)) in named.iter().enumerate() {
            check(name, secret)?;
            if let Some((other, _)) = named[..index].iter().find(|(_, earlier)| earlier == secret) {
                return Err(KeyError::Shared(other, name));
            }
        }
        for secret in &keys.retired_encryption {
            check("retired_encryption", secret)?;
        }
        let encryption = || std::iter::once(&keys.encryption).chain(&keys.retired_encryption);
        Ok(Self {
            code: mac_key(&keys.otp_hmac, "identity one-time code"),
            phone: mac_key(&keys.phone_hmac, "identity phone look-up"),
            cap: mac_key(&keys.phone_hmac, "identity cap"),
            address: mac_key(&keys.phone_hmac, "identity audit address"),
            outside: mac_key(&keys.phone_hmac, "identity outside account"),
            number: mac_key(&keys.phone_hmac, "identity citizen number look-up"),
            request: mac_key(&keys.phone_hmac, "identity request fingerprint"),
            refresh: encryption().map(|secret| mac_key(secret, "identity refresh token")).collect(),
            pin: mac_key(&keys.pin_pepper, "identity pin pepper"),
            subject: mac_key(&keys.phone_hmac, "identity pairwise subject"),
            sealers: encryption().map(Sealer::from_secret).collect(),
        })
    }

    /// The look-up digest of an E.164 number.
    pub(crate) fn phone_digest(&self, e164: &str) -> Digest {
        mac(&self.phone, &[e164.as_bytes()])
    }

    /// The look-up digest of a citizen identity number.
    pub(crate) fn number_digest(&self, number: &str) -> Digest {
        mac(&self.number, &[number.as_bytes()])
    }

    /// The look-up digest of somebody's account at another provider of identities.
    pub(crate) fn outside_digest(&self, issuer: &str, subject: &str) -> Digest {
        mac(&self.outside, &[issuer.as_bytes(), subject.as_bytes()])
    }

    /// What is kept of the fingerprint of a request whose words could be found by trying.
    pub(crate) fn fingerprint(&self, plain: &[u8]) -> Digest {
        mac(&self.request, &[plain])
    }

    /// Names a bucket of a cap without telling whose it is: 128 bits in hexadecimal.
    pub(crate) fn cap_digest(&self, whose: &[u8]) -> String {
        hex::encode(&mac(&self.cap, &[whose])[..16])
    }

    /// What the audit keeps of a network address: 128 bits in hexadecimal. Equal addresses give equal digests.
    pub(crate) fn address_digest(&self, address: IpAddr) -> String {
        let digest = match address.to_canonical() {
            IpAddr::V4(address) => mac(&self.address, &[&address.octets()]),
            IpAddr::V6(address) => mac(&self.address, &[&address.octets()]),
        };
        hex::encode(&digest[..16])
    }

    /// The subject that a citizen is within a sector (OpenID Connect Core, section 8.1), as a UUID of version 8.
    pub(crate) fn pairwise(&self, sector: &str, citizen: Uuid) -> Uuid {
        let digest = mac(&self.subject, &[sector.as_bytes(), citizen.as_bytes()]);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        uuid::Builder::from_custom_bytes(bytes).into_uuid()
    }

    /// The digest that a one-time code is kept as.
    pub(crate) fn code_digest(&self, challenge: Uuid, purpose: &str, code: &str) -> Digest {
        mac(&self.code, &[challenge.as_bytes(), purpose.as_bytes(), code.as_bytes()])
    }

    /// What argon2id hashes in place of a PIN.
    pub(crate) fn pepper_pin(&self, citizen: Uuid, pin: &str) -> Digest {
        mac(&self.pin, &[citizen.as_bytes(), pin.as_bytes()])
    }

    /// The tag that makes a refresh token genuine, under the configuration's `encryption`.
    pub(crate) fn refresh_tag(&self, fields: &[u8]) -> Digest {
        mac(&self.refresh[0], &[fields])
    }

    /// Whether [`Vault::refresh_tag`] made a tag, also under another of the configuration's keys.
    pub(crate) fn is_refresh_tag(&self, fields: &[u8], tag: &[u8]) -> bool {
        // All are tried, so that the time tells nothing about which one it was.
        self.refresh.iter().fold(false, |genuine, key| same(&mac(key, &[fields]), tag) | genuine)
    }

    /// Seals under the configuration's newest key.
    pub(crate) fn seal(&self, place: Place, plain: &[u8]) -> Vec<u8> {
        self.sealers[0].seal(place, plain)
    }

    /// Opens what [`Vault::seal`] made, also under an older key.
    pub(crate) fn open(&self, place: Place, sealed: &[u8]) -> Result<Vec<u8>, Unsealable> {
        let id = sealed.get(1..=KEY_ID_BYTES).ok_or(Unsealable)?;
        let sealer = self.sealers.iter().find(|sealer| sealer.id == id).ok_or(Unsealable)?;
        sealer.open(place, sealed)
    }

    /// A new key for one person's attributes, and the form in which it is stored at `place`.
    pub(crate) fn new_personal_key(&self, place: Place) -> (Sealer, Vec<u8>) {
        let key: [u8; KEY_BYTES] = random();
        (Sealer::personal(&key), self.seal(place, &key))
    }

    /// Opens a person's key.
    pub(crate) fn personal_key(&self, place: Place, sealed: &[u8]) -> Result<Sealer, Unsealable> {
        let key = self.open(place, sealed)?;
        let key: [u8; KEY_BYTES] = key.try_into().map_err(|_| Unsealable)?;
        Ok(Sealer::personal(&key))
    }
}

/// One AES-256-GCM key.
pub(crate) struct Sealer {
    id: [u8; KEY_ID_BYTES],
    key: RandomizedNonceKey,
}

impl Sealer {
    fn from_secret(secret: &Secret) -> Self {
        let id: [u8; KEY_BYTES] = stretch(secret, "identity sealing key id");
        let mut short = [0; KEY_ID_BYTES];
        short.copy_from_slice(&id[..KEY_ID_BYTES]);
        Self { id: short, key: gcm(&stretch(secret, "identity sealing")) }
    }

    fn personal(key: &[u8; KEY_BYTES]) -> Self {
        Self { id: [0; KEY_ID_BYTES], key: gcm(key) }
    }

    /// Encrypts and authenticates `plain` for `place`.
    pub(crate) fn seal(&self, place: Place, plain: &[u8]) -> Vec<u8> {
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
    pub(crate) fn open(&self, place: Place, sealed: &[u8]) -> Result<Vec<u8>, Unsealable> {
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
    pub(crate) fn open_text(&self, place: Place, sealed: &[u8]) -> Result<String, Unsealable> {
        String::from_utf8(self.open(place, sealed)?).map_err(|_| Unsealable)
    }
}

/// Random bytes of the system's generator.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).expect("the system has random bytes");
    bytes
}

fn check(name: &'static str, secret: &Secret) -> Result<(), KeyError> {
    match secret.expose().len() {
        0 => Err(KeyError::Missing(name)),
        length if length < MIN_SECRET_BYTES => Err(KeyError::Short(name)),
        _ => Ok(()),
    }
}

fn stretch(secret: &Secret, label: &str) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    hkdf::Salt::new(hkdf::HKDF_SHA256, b"trangtien identity v1")
        .extract(secret.expose().as_bytes())
        .expand(&[label.as_bytes()], hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(&mut key))
        .expect("HKDF-SHA256 gives 32 bytes");
    key
}

fn mac_key(secret: &Secret, label: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, &stretch(secret, label))
}

fn gcm(key: &[u8; KEY_BYTES]) -> RandomizedNonceKey {
    RandomizedNonceKey::new(&AES_256_GCM, key).expect("an AES-256 key has 32 bytes")
}

/// HMAC-SHA256 over length-prefixed parts, so that no two lists of parts give the same input.
fn mac(key: &hmac::Key, parts: &[&[u8]]) -> Digest {
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
pub(crate) fn same(left: &[u8], right: &[u8]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(left, right).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(prefix: &str) -> Keys {
        let secret = |name: &str| Secret::new(format!("{prefix}-{name}-0123456789abcdef0123456789abcdef"));
        Keys {
            otp_hmac: secret("otp"),
            phone_hmac: secret("phone"),
            encryption: secret("encryption"),
            retired_encryption: Vec::new(),
            pin_pepper: secret("pepper"),
        }
    }

    #[test]
    fn empty_short_and_shared_secrets_are_refused() {
        let refused = |keys: &Keys| Vault::try_new(keys).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(refused(&Keys::default()).contains("identity.keys.otp_hmac is not set"));
        assert!(refused(&Keys { pin_pepper: Secret::new("short"), ..keys("a") }).contains("pin_pepper has fewer"));
        let shared = Keys { pin_pepper: keys("a").phone_hmac, ..keys("a") };
        assert!(refused(&shared).contains("phone_hmac and identity.keys.pin_pepper must differ"));
    }

    #[test]
    fn sealed_values_open_only_in_their_place() {
        let vault = Vault::try_new(&keys("a")).expect("valid keys");
        let (here, there) = (Uuid::now_v7(), Uuid::now_v7());
        let sealed = vault.seal(Place::new("challenge.code", here), b"123456");
        assert_eq!(vault.open(Place::new("challenge.code", here), &sealed).expect("opens"), b"123456");
        assert!(vault.open(Place::new("challenge.code", there), &sealed).is_err());
        assert!(vault.open(Place::new("challenge.phone", here), &sealed).is_err());
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert!(vault.open(Place::new("challenge.code", here), &changed).is_err(), "byte {index}");
        }
        assert!(vault.open(Place::new("challenge.code", here), &sealed[..sealed.len() / 2]).is_err());
        assert!(!sealed.windows(6).any(|window| window == b"123456"));
    }

    #[test]
    fn a_rotated_key_still_opens_older_values() {
        let old = Vault::try_new(&keys("old")).expect("valid keys");
        let place = Place::new("citizen.data_key", Uuid::now_v7());
        let sealed = old.seal(place, b"key");
        let rotated = Keys { retired_encryption: vec![keys("old").encryption], ..keys("new") };
        let new = Vault::try_new(&rotated).expect("valid keys");
        assert_eq!(new.open(place, &sealed).expect("opens"), b"key");
        assert!(Vault::try_new(&keys("new")).expect("valid keys").open(place, &sealed).is_err());
    }

    #[test]
    fn a_personal_key_opens_only_its_own_values() {
        let vault = Vault::try_new(&keys("a")).expect("valid keys");
        let place = Place::new("citizen.data_key", Uuid::now_v7());
        let (sealer, stored) = vault.new_personal_key(place);
        let name = Place::new("citizen.display_name", Uuid::now_v7());
        let sealed = sealer.seal(name, "Nguyễn Thị Hương".as_bytes());
        let again = vault.personal_key(place, &stored).expect("opens");
        assert_eq!(again.open_text(name, &sealed).expect("opens"), "Nguyễn Thị Hương");
        let (other, _) = vault.new_personal_key(place);
        assert!(other.open(name, &sealed).is_err());
    }

    #[test]
    fn digests_depend_on_every_part_and_on_the_key() {
        let (one, two) = (Vault::try_new(&keys("a")).expect("valid"), Vault::try_new(&keys("b")).expect("valid"));
        let id = Uuid::now_v7();
        let digest = one.code_digest(id, "sign-in", "123456");
        assert_eq!(digest, one.code_digest(id, "sign-in", "123456"));
        assert_ne!(digest, one.code_digest(id, "sign-i", "n123456"));
        assert_ne!(digest, one.code_digest(Uuid::now_v7(), "sign-in", "123456"));
        assert_ne!(digest, two.code_digest(id, "sign-in", "123456"));
        assert_ne!(one.phone_digest("+84912345678"), two.phone_digest("+84912345678"));
        assert!(same(&digest, &digest) && !same(&digest, &digest[1..]));
    }
}
