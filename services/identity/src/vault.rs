//! Everything that a key of the configuration protects: keyed digests, sealing, and the tags of refresh tokens.
//!
//! Each configured secret is stretched into one key per use, so that no key serves two purposes; sealed values are bound to their
//! table, column and row (`platform::seal`).
//! Invariant: nothing in here is ever logged or shown; errors say only that something could not be opened.

use std::net::IpAddr;

use aws_lc_rs::hmac;
use platform::config::Secret;
use platform::seal::{self, Ring, mac};
use uuid::Uuid;

use crate::SCHEMA;
use crate::config::Keys;

pub(crate) use platform::seal::{DIGEST_BYTES, Digest, MIN_SECRET_BYTES, Place, Sealer, Unsealable, random, same};

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

/// The service's keys.
pub(crate) struct Vault {
    code: hmac::Key,
    phone: hmac::Key,
    cap: hmac::Key,
    address: hmac::Key,
    number: hmac::Key,
    outside: hmac::Key,
    request: hmac::Key,
    refusal: hmac::Key,
    /// The first tags; all verify. In the order of `ring`.
    refresh: Vec<hmac::Key>,
    pin: hmac::Key,
    subject: hmac::Key,
    /// The first seals; all open.
    ring: Ring,
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
            refusal: mac_key(&keys.phone_hmac, "identity refusal"),
            refresh: encryption().map(|secret| mac_key(secret, "identity refresh token")).collect(),
            pin: mac_key(&keys.pin_pepper, "identity pin pepper"),
            subject: mac_key(&keys.phone_hmac, "identity pairwise subject"),
            ring: Ring::new(SCHEMA.name(), encryption()),
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

    /// By which refusals of a kind are counted: what was refused, whose it is, and why.
    pub(crate) fn refusal_digest(&self, action: &str, whose: &[u8], reason: &str) -> Digest {
        mac(&self.refusal, &[action.as_bytes(), whose, reason.as_bytes()])
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
        self.ring.seal(place, plain)
    }

    /// Opens what [`Vault::seal`] made, also under an older key.
    pub(crate) fn open(&self, place: Place, sealed: &[u8]) -> Result<Vec<u8>, Unsealable> {
        self.ring.open(place, sealed)
    }

    /// The configuration's `encryption` keys.
    pub(crate) fn ring(&self) -> &Ring {
        &self.ring
    }

    /// A new key for one person's attributes, and the form in which it is stored at `place`.
    pub(crate) fn new_personal_key(&self, place: Place) -> (Sealer, Vec<u8>) {
        self.ring.new_personal_key(place)
    }

    /// Opens a person's key.
    pub(crate) fn personal_key(&self, place: Place, sealed: &[u8]) -> Result<Sealer, Unsealable> {
        self.ring.personal_key(place, sealed)
    }
}

fn check(name: &'static str, secret: &Secret) -> Result<(), KeyError> {
    match secret.expose().len() {
        0 => Err(KeyError::Missing(name)),
        length if length < MIN_SECRET_BYTES => Err(KeyError::Short(name)),
        _ => Ok(()),
    }
}

fn mac_key(secret: &Secret, label: &str) -> hmac::Key {
    seal::mac_key(SCHEMA.name(), secret, label)
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
