//! Public keys of devices: SubjectPublicKeyInfo of Ed25519 or P-256, as DER in base64 or as PEM. Pure.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ED25519, ParsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use crate::error::Error;

/// The longest text of a key that is looked at.
const MAX_TEXT: usize = 512;
/// Object identifier id-Ed25519 (RFC 8410), DER.
const ED25519_OID: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];
/// Object identifier prime256v1 (RFC 5480), DER.
const P256_OID: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];

/// Reads a key and gives its DER.
pub(crate) fn parse(text: &str) -> Result<Vec<u8>, Error> {
    decode(text).filter(|der| is_key(der)).ok_or(Error::Field {
        field: "device.public_key",
        vi: "Khóa công khai phải là SubjectPublicKeyInfo (Ed25519 hoặc P-256), dạng DER base64 hoặc PEM.",
        en: "A public key is the SubjectPublicKeyInfo of Ed25519 or P-256, as base64 DER or PEM.",
    })
}

fn decode(text: &str) -> Option<Vec<u8>> {
    if text.len() > MAX_TEXT {
        return None;
    }
    let body: String = text.lines().filter(|line| !line.starts_with("-----")).flat_map(str::split_whitespace).collect();
    STANDARD.decode(&body).or_else(|_| URL_SAFE_NO_PAD.decode(body.trim_end_matches('='))).ok()
}

fn is_key(der: &[u8]) -> bool {
    let names = |oid: &[u8]| der.get(..30).is_some_and(|head| head.windows(oid.len()).any(|window| window == oid));
    if names(ED25519_OID) {
        ParsedPublicKey::new(&ED25519, der).is_ok()
    } else {
        names(P256_OID) && ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, der).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};

    use super::*;

    fn keys() -> [Vec<u8>; 2] {
        let edwards = Ed25519KeyPair::generate().expect("a key");
        let edwards: PublicKeyX509Der<'_> = edwards.public_key().as_der().expect("DER");
        let p256 = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).expect("a key");
        let p256: PublicKeyX509Der<'_> = p256.public_key().as_der().expect("DER");
        [edwards.as_ref().to_vec(), p256.as_ref().to_vec()]
    }

    #[test]
    fn keys_are_read_in_every_usual_form() {
        for der in keys() {
            let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(&der));
            for text in [STANDARD.encode(&der), URL_SAFE_NO_PAD.encode(&der), pem] {
                assert_eq!(parse(&text).ok(), Some(der.clone()), "{text}");
            }
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let [edwards, mut p256] = keys();
        let last = p256.len() - 1;
        p256[last] ^= 1;
        for text in [
            "",
            "not a key",
            "AAAA",
            &STANDARD.encode(&edwards[..edwards.len() - 1]),
            &STANDARD.encode(&p256),
            &"A".repeat(600),
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
