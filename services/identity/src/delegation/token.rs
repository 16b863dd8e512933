//! The token by which a guardian acts, and what it stands for now.

use platform::auth::{ACTING_AUDIENCE, Act, ActingClaims, Claims, Principal};
use uuid::Uuid;

use super::{Delegation, DelegationId, Side, State, sql};
use crate::Identity;
use crate::audit::{Action, Origin};
use crate::citizen::CitizenId;
use crate::error::Error;
use crate::session::access_token;

/// A token for a guardian.
pub(crate) struct ActingToken {
    pub access: String,
    pub expires_in_s: u32,
}

impl Identity {
    /// A token by which a guardian acts, in the session that asks for it.
    pub(crate) async fn acting_token(
        &self,
        caller: &Principal,
        id: DelegationId,
        origin: Origin,
    ) -> Result<ActingToken, Error> {
        let signer = self.signer().await?;
        let guardian = CitizenId::from(caller.subject);
        let mut tx = platform::db::begin(&self.pool).await?;
        let (known, side) = self.locked(&mut tx, guardian, id).await?;
        let now = self.now();
        if known.state(now) != State::Active {
            return Err(Error::DelegationOver);
        }
        let (Side::Guardian, Some(dependent)) = (side, known.dependent_id) else { return Err(Error::Forbidden) };
        let issued_at = now.timestamp();
        let life = i64::from(self.config.lifetimes.access_token_seconds);
        let expires_at = (issued_at + life).min(known.valid_until.timestamp());
        let claims = Claims {
            iss: self.issuer.clone(),
            sub: dependent,
            aud: ACTING_AUDIENCE.to_owned(),
            client_id: caller.client.clone(),
            exp: expires_at,
            iat: issued_at,
            jti: platform::id::new(),
            sid: caller.session,
            auth_time: caller.authenticated_at.timestamp(),
            acr: String::new(),
            amr: Vec::new(),
            scope: String::new(),
            roles: Vec::new(),
            role_epoch: 0,
            agency: None,
        };
        let claims = ActingClaims { claims, act: Act { sub: guardian.uuid() }, delegation: id.uuid() };
        let access = access_token::encode(&signer, &claims)?;
        self.note(&mut tx, (guardian, Action::DelegationUse, id), origin, now).await?;
        tx.commit().await?;
        Ok(ActingToken { access, expires_in_s: u32::try_from(expires_at - issued_at).unwrap_or(0) })
    }

    /// What a guardian may do for somebody now.
    pub(crate) async fn delegation_in_force(
        &self,
        id: DelegationId,
        (guardian, dependent): (Uuid, Uuid),
    ) -> Result<Delegation, Error> {
        let found = sql::find(&mut *self.pool.acquire().await?, id).await?;
        let now = self.now();
        found
            .filter(|one| one.state(now) == State::Active)
            .filter(|one| (one.guardian_id, one.dependent_id) == (Some(guardian), Some(dependent)))
            .ok_or(Error::NotFound)
    }
}
