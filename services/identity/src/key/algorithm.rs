//! The algorithms that tokens are signed with: how keys are made, and how they look as JWK. Pure, but for randomness.

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::EncodingKey;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::error::Error;

/// Tags of DER (X.690).
const INTEGER: u8 = 0x02;
const SEQUENCE: u8 = 0x30;

/// What a token is signed with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = SigningAlgorithm)]
pub enum Algorithm {
    /// Ed25519.
    #[default]
    #[serde(rename = "EdDSA")]
    EdDsa,
    /// RSA 2048 with SHA-256, for clients that know nothing else.
    #[serde(rename = "RS256")]
    Rs256,
}

/// A new key.
pub(super) struct NewKey {
    /// As [`Algorithm::jwk`] reads it.
    pub public: Vec<u8>,
    /// PKCS #8, DER.
    pub private: Vec<u8>,
}

impl Algorithm {
    /// All of them.
    pub(crate) const ALL: [Self; 2] = [Self::EdDsa, Self::Rs256];

    /// As in JOSE and in the database.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Rs256 => "RS256",
        }
    }

    /// The algorithm with a stored name.
    pub(crate) fn stored(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == name)
    }

    /// For a token's header.
    pub(crate) fn of_header(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::EdDsa => jsonwebtoken::Algorithm::EdDSA,
            Self::Rs256 => jsonwebtoken::Algorithm::RS256,
        }
    }

    /// Makes a key. An RSA key takes up to a second of computing.
    pub(super) fn generate(self) -> Result<NewKey, Error> {
        match self {
            Self::EdDsa => {
                let pair = Ed25519KeyPair::generate().map_err(|_| Error::NoSigningKey)?;
                let private = pair.to_pkcs8().map_err(|_| Error::NoSigningKey)?.as_ref().to_vec();
                Ok(NewKey { public: pair.public_key().as_ref().to_vec(), private })
            }
            Self::Rs256 => {
                let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| Error::NoSigningKey)?;
                let private: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| Error::NoSigningKey)?;
                Ok(NewKey { public: pair.public_key().as_ref().to_vec(), private: private.as_ref().to_vec() })
            }
        }
    }

    /// Reads the private half.
    pub(super) fn signing_key(self, pkcs8: &[u8]) -> Result<EncodingKey, Error> {
        match self {
            Self::EdDsa => Ok(EncodingKey::from_ed_der(pkcs8)),
            Self::Rs256 => {
                let text =
                    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(pkcs8));
                Ok(EncodingKey::from_rsa_pem(text.as_bytes())?)
            }
        }
    }

    /// The public half as JWK (RFC 7517; RFC 8037 and RFC 7518, section 6.3); nothing when it is no key.
    pub(super) fn jwk(self, kid: &str, public: &[u8]) -> Option<Value> {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let common = json!({ "use": "sig", "alg": self.as_str(), "kid": kid });
        let own = match self {
            Self::EdDsa => json!({ "kty": "OKP", "crv": "Ed25519", "x": text(public) }),
            Self::Rs256 => {
                let (modulus, exponent) = rsa_numbers(public)?;
                json!({ "kty": "RSA", "n": text(modulus), "e": text(exponent) })
            }
        };
        let (Value::Object(mut jwk), Value::Object(own)) = (common, own) else { return None };
        jwk.extend(own);
        Some(Value::Object(jwk))
    }
}

/// Modulus and exponent of an RSAPublicKey, without the zero that keeps DER's integers positive.
fn rsa_numbers(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (content, []) = element(der, SEQUENCE)? else { return None };
    let (modulus, rest) = element(content, INTEGER)?;
    let (exponent, []) = element(rest, INTEGER)? else { return None };
    let bare = |number: &'_ [u8]| number.iter().take_while(|byte| **byte == 0).count();
    Some((&modulus[bare(modulus)..], &exponent[bare(exponent)..]))
}

/// The content of the first element, which has this tag, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = if *first < 0x80 {
        (usize::from(*first), rest)
    } else {
        let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f)).filter(|(bytes, _)| bytes.len() <= 4)?;
        (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
    };
    if *found == tag { rest.split_at_checked(length) } else { None }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_numbers_of_an_rsa_key_are_those_that_verify() {
        let key = Algorithm::Rs256.generate().expect("a key");
        let signer = Algorithm::Rs256.signing_key(&key.private).expect("it signs");
        let claims = json!({ "sub": "x" });
        let token = jsonwebtoken::encode(&jsonwebtoken::Header::new(Algorithm::Rs256.of_header()), &claims, &signer)
            .expect("a token");
        let (signed, signature) = token.rsplit_once('.').expect("three parts");
        let (n, e) = rsa_numbers(&key.public).expect("a key");
        assert_eq!((n.len(), e), (256, [1, 0, 1].as_slice()));
        RsaPublicKeyComponents { n, e }
            .verify(
                &RSA_PKCS1_2048_8192_SHA256,
                signed.as_bytes(),
                &URL_SAFE_NO_PAD.decode(signature).expect("base64url"),
            )
            .expect("it verifies");
    }

    #[test]
    fn a_jwk_says_what_the_key_is_for_and_nothing_private() {
        let key = Algorithm::EdDsa.generate().expect("a key");
        let jwk = Algorithm::EdDsa.jwk("k", &key.public).expect("a JWK");
        let x = URL_SAFE_NO_PAD.encode(&key.public);
        assert_eq!(jwk, json!({ "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": "k", "x": x }));
        assert_eq!(Algorithm::stored("RS256"), Some(Algorithm::Rs256));
        assert_eq!(Algorithm::stored("none"), None);
    }

    proptest! {
        #[test]
        fn reading_a_key_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            rsa_numbers(&bytes);
            rsa_numbers(&[&[SEQUENCE, 0x82][..], &bytes].concat());
        }
    }
}
