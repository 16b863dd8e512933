//! The form of a refresh token.
//!
//! `base64url(session (16) ‖ generation (4) ‖ salt (16) ‖ HMAC-SHA256 over these (32))`.
//! A token of any generation can be made again from its session's row, so the successor for a lost answer need not be
//! stored; and a forged one is told from an old one without asking the database, so that forgeries kill no family.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use crate::session::SessionId;
use crate::vault::{self, Vault};

/// Random bytes that every token of a family carries and its session's row keeps.
pub(crate) type Salt = [u8; SALT_BYTES];

const SALT_BYTES: usize = 16;
const FIELDS_BYTES: usize = 16 + 4 + SALT_BYTES;
const TOKEN_BYTES: usize = FIELDS_BYTES + vault::DIGEST_BYTES;
/// A token in base64url.
pub(crate) const TOKEN_CHARACTERS: usize = (TOKEN_BYTES * 4).div_ceil(3);

/// A genuine refresh token, taken apart. `Debug` is not derived: the salt stays out of logs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct RefreshToken {
    /// The family.
    pub session: SessionId,
    /// Its number in the family.
    pub generation: u32,
    /// The family's random part.
    pub salt: Salt,
}

impl RefreshToken {
    /// The token as the client holds it.
    pub(crate) fn encode(&self, vault: &Vault) -> String {
        let fields = self.fields();
        let tag = vault.refresh_tag(&fields);
        URL_SAFE_NO_PAD.encode([fields.as_slice(), tag.as_slice()].concat())
    }

    /// Takes a token apart; nothing unless this service made it.
    pub(crate) fn decode(text: &str, vault: &Vault) -> Option<Self> {
        if text.len() != TOKEN_CHARACTERS {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (fields, tag) = bytes.split_at_checked(FIELDS_BYTES)?;
        if !vault.is_refresh_tag(fields, tag) {
            return None;
        }
        Some(Self {
            session: Uuid::from_slice(&fields[..16]).ok()?.into(),
            generation: u32::from_be_bytes(fields[16..20].try_into().ok()?),
            salt: fields[20..].try_into().ok()?,
        })
    }

    fn fields(&self) -> [u8; FIELDS_BYTES] {
        let mut fields = [0; FIELDS_BYTES];
        fields[..16].copy_from_slice(self.session.uuid().as_bytes());
        fields[16..20].copy_from_slice(&self.generation.to_be_bytes());
        fields[20..].copy_from_slice(&self.salt);
        fields
    }
}

#[cfg(test)]
mod tests {
    use platform::config::Secret;

    use super::*;
    use crate::config::Keys;
    use crate::testing;

    #[test]
    fn a_token_survives_the_way_to_the_client_and_back() {
        let vault = testing::vault();
        let token = RefreshToken { session: SessionId::generate(), generation: 41, salt: vault::random() };
        let text = token.encode(&vault);
        assert_eq!(text.len(), TOKEN_CHARACTERS);
        assert!(RefreshToken::decode(&text, &vault) == Some(token));
        assert_eq!(text, token.encode(&vault), "the same generation is the same token");
        let successor = RefreshToken { generation: 42, ..token };
        assert_ne!(text, successor.encode(&vault));
    }

    #[test]
    fn a_change_of_the_key_signs_nobody_out() {
        let vault = |secret: &str, others: &[&str]| {
            let key = |name: &str| Secret::new(format!("{name}-encryption-0123456789abcdef0123456789abcdef"));
            let retired_encryption = others.iter().map(|name| key(name)).collect();
            Vault::try_new(&Keys { encryption: key(secret), retired_encryption, ..testing::config().keys })
                .expect("valid keys")
        };
        let token = RefreshToken { session: SessionId::generate(), generation: 3, salt: vault::random() };
        let decodes = |by: &Vault, made_by: &Vault| RefreshToken::decode(&token.encode(made_by), by) == Some(token);
        let (old, accepting, sealing) = (vault("old", &[]), vault("old", &["new"]), vault("new", &["old"]));
        for (by, made_by) in [(&accepting, &old), (&old, &accepting), (&sealing, &accepting), (&accepting, &sealing)] {
            assert!(decodes(by, made_by), "replicas of neighbouring steps take each other's tokens");
        }
        assert!(!decodes(&old, &sealing), "which is why there are two steps");
        assert!(!decodes(&vault("new", &[]), &old), "a key that is gone verifies nothing");
    }

    #[test]
    fn a_changed_token_is_not_ours() {
        let vault = testing::vault();
        let text = RefreshToken { session: SessionId::generate(), generation: 0, salt: vault::random() }.encode(&vault);
        for index in 0..text.len() - 1 {
            let mut changed = text.clone().into_bytes();
            changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).expect("ASCII");
            assert!(RefreshToken::decode(&changed, &vault).is_none(), "character {index}");
        }
        for other in ["", "a", &text[1..], &format!("{text}A"), &"A".repeat(TOKEN_CHARACTERS)] {
            assert!(RefreshToken::decode(other, &vault).is_none());
        }
    }
}
