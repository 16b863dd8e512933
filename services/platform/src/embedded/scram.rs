//! What PostgreSQL keeps of a password: the verifier of SCRAM-SHA-256 (RFC 5802, RFC 7677).
//!
//! PostgreSQL takes a verifier wherever it takes a password. Ours repeats the hash once instead of 4096 times:
//! repetition protects passwords that people choose, and these have 160 random bits. In an unoptimised build
//! it makes a connection ten times cheaper.

use base64::{Engine as _, prelude::BASE64_STANDARD as BASE64};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest, Sha256};

/// The verifier of a generated password, to be given to PostgreSQL in its place. Not for passwords that people choose.
#[must_use]
pub fn verifier(password: &str) -> String {
    verifier_with(password, &rand::random::<[u8; 16]>())
}

fn verifier_with(password: &str, salt: &[u8]) -> String {
    // One round of PBKDF2: the salt and the block's number.
    let salted = mac(password.as_bytes(), &[salt, &1_u32.to_be_bytes()].concat());
    let stored = Sha256::digest(mac(&salted, b"Client Key"));
    let server = mac(&salted, b"Server Key");
    format!("SCRAM-SHA-256$1:{}${}:{}", BASE64.encode(salt), BASE64.encode(stored), BASE64.encode(server))
}

fn mac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_the_form_that_postgresql_reads() {
        let first = verifier_with("secret", b"0123456789abcdef");
        assert!(first.starts_with("SCRAM-SHA-256$1:MDEyMzQ1Njc4OWFiY2RlZg==$"), "{first}");
        assert_eq!(first, verifier_with("secret", b"0123456789abcdef"));
        assert_ne!(first, verifier_with("Secret", b"0123456789abcdef"));
        assert_ne!(verifier("secret"), verifier("secret"), "each has a salt of its own");
    }
}
