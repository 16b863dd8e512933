//! Statements: what the issuer says in a signed JWT that is no access token, for one other service to rely on once.
//!
//! Each kind has a `typ` (RFC 8725, section 3.11) and an audience of its own, so that a statement never passes as an access token,
//! an access token never as a statement, and one kind of statement never as another.
//! Invariant: a statement is good only in the session that it was made in, and no longer than its kind lives.

use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::LEEWAY_S;
use super::verifier::{AuthError, Verifier};

/// What a citizen proved about one transaction (`step-up`): issued by identity, taken by the service that moves the money.
pub const STEP_UP: StatementKind = StatementKind { typ: "step-up+jwt", audience: "trangtien-step-up", lifetime_s: 180 };

/// A kind of statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatementKind {
    /// The `typ` of the header.
    pub typ: &'static str,
    /// The `aud`.
    pub audience: &'static str,
    /// How long one may live, in seconds.
    pub lifetime_s: i64,
}

/// The claims of a statement; what it says stands beside them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement<T> {
    /// Issuer.
    pub iss: String,
    /// Whom it is about.
    pub sub: Uuid,
    /// Audience; that of its kind.
    pub aud: String,
    /// The session in which it was made.
    pub sid: Uuid,
    /// Unix seconds at which it was made.
    pub iat: i64,
    /// Unix seconds at which it is over.
    pub exp: i64,
    /// Its own id: who relies on it once remembers this.
    pub jti: Uuid,
    /// What it says.
    #[serde(flatten)]
    pub says: T,
}

impl<T> Statement<T> {
    /// A new statement of a kind.
    pub fn new(kind: StatementKind, issuer: &str, whose: (Uuid, Uuid), says: T, now: DateTime<Utc>) -> Self {
        let ((sub, sid), iat) = (whose, now.timestamp());
        Self {
            iss: issuer.to_owned(),
            sub,
            aud: kind.audience.to_owned(),
            sid,
            iat,
            exp: iat + kind.lifetime_s,
            jti: crate::id::new(),
            says,
        }
    }
}

impl Verifier {
    /// Checks a statement of a kind that a caller brings along: signature, type, issuer, audience, time, and that it was made for
    /// this subject in this session. What it says, and that it serves once, is for the service to check.
    ///
    /// # Errors
    /// Why it is refused; `NoKeys` when that can't be said yet.
    pub async fn statement<T: DeserializeOwned>(
        &self,
        kind: StatementKind,
        token: &str,
        whose: (Uuid, Uuid),
    ) -> Result<Statement<T>, AuthError> {
        let statement: Statement<T> = self.claims(token, kind.typ, kind.audience).await?;
        if (statement.sub, statement.sid) != whose {
            return Err(AuthError::Invalid);
        }
        let lifetime_s = statement.exp.checked_sub(statement.iat).ok_or(AuthError::Invalid)?;
        if !(1..=kind.lifetime_s).contains(&lifetime_s) || statement.iat > self.now_s() + LEEWAY_S {
            return Err(AuthError::Invalid);
        }
        if statement.exp + LEEWAY_S <= self.now_s() { Err(AuthError::Expired) } else { Ok(statement) }
    }
}
