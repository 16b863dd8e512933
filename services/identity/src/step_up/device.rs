//! A device's own signature over a transaction: Ed25519 or P-256 by the key that it announced at sign-in. Pure but for one read.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use platform::auth::Principal;

use super::Transaction;
use crate::Identity;
use crate::config::Lifetimes;
use crate::device;
use crate::error::Error;

/// How far the device's clock may be from ours, in seconds, and how old a signature may be.
const TOLERANCE_S: i64 = 300;
/// The longest text of a signature that is looked at.
const MAX_TEXT: usize = 256;

/// A signature of a device.
#[derive(Clone, Debug)]
pub(crate) struct DeviceSignature {
    /// The raw signature.
    pub bytes: Vec<u8>,
    /// When the device says that it signed, in Unix seconds.
    pub signed_at: i64,
}

impl DeviceSignature {
    /// Reads a signature in base64 or base64url.
    pub(crate) fn parse(text: &str, signed_at: i64) -> Result<Self, Error> {
        let bytes = (text.len() <= MAX_TEXT)
            .then(|| STANDARD.decode(text).or_else(|_| URL_SAFE_NO_PAD.decode(text.trim_end_matches('='))).ok())
            .flatten();
        let bytes = bytes.ok_or(Error::Field {
            field: "signature",
            vi: "Chữ ký phải ở dạng base64.",
            en: "A signature is written in base64.",
        })?;
        Ok(Self { bytes, signed_at })
    }
}

/// Whether a key (SubjectPublicKeyInfo, DER) made a signature over a message.
///
/// ECDSA signatures may be DER, as secure stores of phones make them, or the two numbers side by side, as WebCrypto does.
pub(super) fn is_signed(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let algorithms: [&'static dyn VerificationAlgorithm; 3] =
        [&ED25519, &ECDSA_P256_SHA256_ASN1, &ECDSA_P256_SHA256_FIXED];
    algorithms
        .into_iter()
        .filter_map(|algorithm| ParsedPublicKey::new(algorithm, key).ok())
        .any(|key| key.verify_sig(message, signature).is_ok())
}

impl Identity {
    /// Refuses a signature that the device of the caller's session did not make for this transaction, now.
    pub(super) async fn check_device(
        &self,
        caller: &Principal,
        transaction: &Transaction,
        signature: &DeviceSignature,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        if (now.timestamp().saturating_sub(signature.signed_at)).unsigned_abs() > TOLERANCE_S.unsigned_abs() {
            return Err(Error::DeviceSignatureStale { now });
        }
        let citizen = caller.subject.into();
        let device = self.session_device(citizen, caller.session.into()).await?;
        let key = device::key(&mut *self.pool.acquire().await?, citizen, device).await?;
        let key = key.ok_or(Error::DeviceKeyMissing)?;
        // Whoever holds the SIM signs in with a key of their own: it proves nothing before the owner had time to notice.
        let until = key.bound_at + Lifetimes::span(self.config.lifetimes.pin_cooling_seconds);
        if !key.is_confirmed && until > now {
            return Err(Error::KeyCooling { until });
        }
        let digest = transaction.digest(&self.issuer, caller.subject, signature.signed_at);
        if is_signed(&key.spki, &digest, &signature.bytes) { Ok(()) } else { Err(Error::DeviceSignatureWrong) }
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
    };

    use super::*;

    #[test]
    fn both_kinds_of_keys_sign_and_only_for_their_message() {
        let edwards = Ed25519KeyPair::generate().expect("a key");
        let public: PublicKeyX509Der<'_> = edwards.public_key().as_der().expect("DER");
        let signature = edwards.sign(b"this");
        assert!(is_signed(public.as_ref(), b"this", signature.as_ref()));
        assert!(!is_signed(public.as_ref(), b"that", signature.as_ref()));
        for algorithm in [&ECDSA_P256_SHA256_ASN1_SIGNING, &ECDSA_P256_SHA256_FIXED_SIGNING] {
            let pair = EcdsaKeyPair::generate(algorithm).expect("a key");
            let mine: PublicKeyX509Der<'_> = pair.public_key().as_der().expect("DER");
            let signature = pair.sign(&SystemRandom::new(), b"this").expect("signs");
            assert!(is_signed(mine.as_ref(), b"this", signature.as_ref()));
            assert!(!is_signed(mine.as_ref(), b"that", signature.as_ref()));
            assert!(!is_signed(public.as_ref(), b"this", signature.as_ref()), "by another key");
        }
        assert!(!is_signed(b"no key", b"this", signature.as_ref()));
        assert!(!is_signed(public.as_ref(), b"this", b""));
    }

    #[test]
    fn a_signature_is_read_in_both_alphabets() {
        let bytes = [0xfb, 0xff, 0xfe];
        for text in [STANDARD.encode(bytes), URL_SAFE_NO_PAD.encode(bytes)] {
            assert_eq!(DeviceSignature::parse(&text, 0).map(|signature| signature.bytes).ok(), Some(bytes.to_vec()));
        }
        assert!(DeviceSignature::parse("not base64!", 0).is_err());
        assert!(DeviceSignature::parse(&"A".repeat(300), 0).is_err());
    }
}
