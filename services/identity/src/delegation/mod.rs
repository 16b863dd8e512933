//! Delegation: a guardian acts for a child or an elder, within limits and until a date.
//!
//! | module | what lives there |
//! | --- | --- |
//! | `rule` | what may be delegated, and where a delegation stands (pure) |
//! | `expiry` | both sides are told that its date has come |
//! | `sql` | every statement |
//!
//! One of the two proposes it to the other's telephone number, the other confirms it, either ends it at once. Whether somebody has
//! that number is not said: whoever proves it sees the proposal. The guardian then asks for a token that says both of them
//! ([`platform::auth::ActingClaims`]); the wallet asks here what it allows each time, and counts by itself.
//!
//! Lock order: the citizen who proposes, delegation, revocation head, audit head, platform's outbox.
//! Invariants: limits never change; nobody acts for themself; who acts for somebody gets no token for a third, and none for anything
//! but payments, because no other route takes the audience of that token.

mod expiry;
mod rule;
mod sql;

use chrono::{DateTime, Utc};
use platform::auth::{ACTING_AUDIENCE, Act, ActingClaims, Claims, Principal};
use platform::idempotency::{self, Claim, Key};
use platform::outbox::{self, NewEvent};
use platform::typed_id;
use proto::identity::v1::{DelegationBegan, DelegationEnded};
use sqlx::PgConnection;
use uuid::Uuid;

pub(crate) use self::rule::{Kind, LONGEST, OPEN_FOR, State, Terms};
pub(crate) use self::sql::{InForce, leave};
use crate::audit::{self, Action, Entry, Origin};
use crate::citizen::{self, CitizenId};
use crate::error::{DependentFault, Error};
use crate::phone::Phone;
use crate::session::access_token;
use crate::{Identity, SCHEMA, dependent, revocation, session};

/// Delegations and proposals of one citizen that have not ended, at most.
const MAX_OPEN: i64 = 10;

typed_id! {
    /// A delegation.
    pub struct DelegationId;
}

/// A delegation as it is kept.
#[derive(Clone, Debug)]
pub(crate) struct Delegation {
    pub id: DelegationId,
    pub proposed_by: Uuid,
    pub guardian_id: Option<Uuid>,
    pub dependent_id: Option<Uuid>,
    pub other_digest: Option<Vec<u8>>,
    pub kinds: Vec<String>,
    pub transaction_maximum: i64,
    pub day_maximum: i64,
    pub month_maximum: i64,
    pub valid_until: DateTime<Utc>,
    pub proposed_at: DateTime<Utc>,
    pub confirmed_at: Option<DateTime<Utc>>,
    pub ended_at: Option<DateTime<Utc>>,
}

/// Which side of a delegation somebody is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = DelegationSide)]
pub(crate) enum Side {
    /// Acts for the other.
    Guardian,
    /// Is acted for.
    Dependent,
}

/// A delegation that somebody proposes.
pub(crate) struct Proposal {
    /// On which side they are.
    pub side: Side,
    /// The other's number.
    pub other: Phone,
    pub terms: Terms,
}

/// A token for a guardian.
pub(crate) struct ActingToken {
    pub access: String,
    pub expires_in_s: u32,
}

/// Whether whoever ends a delegation keeps their account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    Stays,
    Leaves,
}

impl InForce {
    /// The word to both that one of them has ended it.
    pub(crate) fn ended(&self, by: CitizenId, presence: Presence) -> NewEvent {
        let event = DelegationEnded {
            delegation_id: self.id.to_string(),
            guardian_id: self.guardian.to_string(),
            dependent_id: self.dependent.to_string(),
            ended_by: by.to_string(),
            left: presence == Presence::Leaves,
        };
        // To whoever stays, so that nothing is told of somebody who is erased.
        let subject = if self.guardian == by.uuid() { self.dependent } else { self.guardian };
        NewEvent::new(subject, &event)
    }
}

impl Delegation {
    pub(crate) fn state(&self, now: DateTime<Utc>) -> State {
        let Self { proposed_at, confirmed_at, ended_at, valid_until: until, .. } = *self;
        rule::Times { proposed_at, confirmed_at, ended_at, until }.state(now)
    }

    /// The side of a citizen whose number has a digest; `None` for anybody else.
    pub(crate) fn side(&self, citizen: CitizenId, digest: &[u8]) -> Option<Side> {
        let is = |id: Option<Uuid>| id == Some(citizen.uuid());
        match (is(self.guardian_id), is(self.dependent_id)) {
            (true, _) => Some(Side::Guardian),
            (_, true) => Some(Side::Dependent),
            _ if self.other_digest.as_deref() != Some(digest) => None,
            _ if self.guardian_id.is_none() => Some(Side::Guardian),
            _ => Some(Side::Dependent),
        }
    }

    /// The other one's id, as far as it is known.
    pub(crate) fn other(&self, side: Side) -> Option<Uuid> {
        match side {
            Side::Guardian => self.dependent_id,
            Side::Dependent => self.guardian_id,
        }
    }
}

impl Identity {
    /// Proposes a delegation to whoever has a number, once per key.
    pub(crate) async fn propose_delegation(
        &self,
        caller: &Principal,
        proposal: &Proposal,
        (origin, key): (Origin, &Key),
    ) -> Result<(Delegation, Side), Error> {
        let (now, by) = (self.now(), CitizenId::from(caller.subject));
        proposal.terms.check(now)?;
        let other = self.vault.phone_digest(proposal.other.e164());
        let mut tx = platform::db::begin(&self.pool).await?;
        if let Claim::Replay(stored) = idempotency::claim(&mut tx, SCHEMA, key, now).await? {
            let id: DelegationId =
                serde_json::from_value(stored.body).map_err(|error| Error::Hashing(error.to_string()))?;
            return Ok((sql::find(&mut tx, id).await?.ok_or(Error::NotFound)?, proposal.side));
        }
        citizen::lock(&mut tx, by).await?.ok_or(Error::NotFound)?;
        if sql::digest_of(&mut tx, by).await?.as_deref() == Some(other.as_slice()) {
            return Err(Error::Field {
                field: "phone",
                vi: "Không thể tự ủy quyền cho mình.",
                en: "Nobody acts for themself.",
            });
        }
        if sql::count_open(&mut tx, by, now).await? >= MAX_OPEN {
            return Err(Error::DelegationsTooMany);
        }
        let own = |side| (proposal.side == side).then_some(by.uuid());
        let Terms { kinds, maxima: [transaction_maximum, day_maximum, month_maximum], until } = &proposal.terms;
        let new = Delegation {
            id: DelegationId::generate(),
            proposed_by: by.uuid(),
            guardian_id: own(Side::Guardian),
            dependent_id: own(Side::Dependent),
            other_digest: None,
            kinds: kinds.iter().map(|kind| kind.as_str().to_owned()).collect(),
            transaction_maximum: *transaction_maximum,
            day_maximum: *day_maximum,
            month_maximum: *month_maximum,
            valid_until: *until,
            proposed_at: now,
            confirmed_at: None,
            ended_at: None,
        };
        sql::insert(&mut tx, &new, &proposal.terms, &other).await?;
        self.note(&mut tx, (by, Action::DelegationPropose, new.id), origin, now).await?;
        idempotency::store(&mut tx, SCHEMA, key, 201, &new.id).await?;
        tx.commit().await?;
        Ok((new, proposal.side))
    }

    /// Confirms what was proposed to the caller's number; asked for again, nothing changes.
    pub(crate) async fn confirm_delegation(
        &self,
        caller: &Principal,
        id: DelegationId,
        origin: Origin,
    ) -> Result<(Delegation, Side), Error> {
        let by = CitizenId::from(caller.subject);
        let mut tx = platform::db::begin(&self.pool).await?;
        let (known, side) = self.locked(&mut tx, by, id).await?;
        let now = self.now();
        match known.state(now) {
            State::Active => return Ok((known, side)),
            State::Proposed if known.proposed_by != by.uuid() => {}
            State::Proposed => return Err(Error::Forbidden),
            State::Expired | State::Ended => return Err(Error::DelegationOver),
        }
        let pair = match side {
            Side::Guardian => (by.uuid(), known.proposed_by),
            Side::Dependent => (known.proposed_by, by.uuid()),
        };
        // The newer one takes the place of the older.
        let mut revoked = Vec::new();
        if let Some(older) = sql::in_force(&mut tx, pair).await? {
            revoked = self.end_now(&mut tx, (older.into(), by), now).await?;
        }
        sql::confirm(&mut tx, id, pair, now).await?;
        let began = DelegationBegan {
            delegation_id: id.to_string(),
            guardian_id: pair.0.to_string(),
            dependent_id: pair.1.to_string(),
        };
        outbox::append(&mut tx, SCHEMA, now, &[NewEvent::new(pair.1, &began)]).await?;
        self.note(&mut tx, (by, Action::DelegationConfirm, id), origin, now).await?;
        let confirmed = sql::find(&mut tx, id).await?.ok_or(Error::NotFound)?;
        tx.commit().await?;
        self.forget_now(&revoked);
        Ok((confirmed, side))
    }

    /// Ends a delegation, or refuses or takes back what is proposed; nothing happens when it has ended before.
    pub(crate) async fn end_delegation(
        &self,
        caller: &Principal,
        id: DelegationId,
        origin: Origin,
    ) -> Result<(), Error> {
        let by = CitizenId::from(caller.subject);
        let mut tx = platform::db::begin(&self.pool).await?;
        let (known, _) = self.locked(&mut tx, by, id).await?;
        let now = self.now();
        if known.ended_at.is_some() {
            return Ok(());
        }
        // Somebody without a number would be left with nobody.
        if let (State::Active | State::Expired, Some(_), Some(dependent)) =
            (known.state(now), known.confirmed_at, known.dependent_id)
            && dependent::is_without_phone(&mut tx, dependent).await?
        {
            return Err(DependentFault::WithoutPhone.into());
        }
        let revoked = self.end_now(&mut tx, (id, by), now).await?;
        if let (State::Active, Some(guardian), Some(dependent)) =
            (known.state(now), known.guardian_id, known.dependent_id)
        {
            let over = InForce { id, guardian, dependent };
            outbox::append(&mut tx, SCHEMA, now, &[over.ended(by, Presence::Stays)]).await?;
        }
        self.note(&mut tx, (by, Action::DelegationEnd, id), origin, now).await?;
        tx.commit().await?;
        self.forget_now(&revoked);
        Ok(())
    }

    /// A citizen's delegations, whatever became of them, and what is proposed to them.
    pub(crate) async fn delegations(&self, citizen: CitizenId) -> Result<Vec<(Delegation, Side)>, Error> {
        let mut conn = self.pool.acquire().await?;
        let digest = sql::digest_of(&mut conn, citizen).await?.ok_or(Error::NotFound)?;
        let found = sql::list(&mut conn, citizen, &digest).await?;
        Ok(found.into_iter().filter_map(|one| one.side(citizen, &digest).map(|side| (one, side))).collect())
    }

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

    /// The tokens that must be refused and the word to the others, when somebody has left by [`leave`].
    pub(crate) async fn delegations_left(
        &self,
        tx: &mut PgConnection,
        by: CitizenId,
        over: &[InForce],
        now: DateTime<Utc>,
    ) -> Result<(Vec<session::Revoked>, Vec<NewEvent>), Error> {
        if over.is_empty() {
            return Ok((Vec::new(), Vec::new()));
        }
        let ids: Vec<session::SessionId> = over.iter().map(|one| one.id.uuid().into()).collect();
        let forget_at = revocation::forget_at(&self.config.lifetimes, now);
        let revoked = session::revoke(tx, &ids, forget_at, now).await?;
        Ok((revoked, over.iter().map(|one| one.ended(by, Presence::Leaves)).collect()))
    }

    /// A delegation of a citizen or proposed to them, locked; it does not exist for anybody else.
    async fn locked(
        &self,
        tx: &mut PgConnection,
        citizen: CitizenId,
        id: DelegationId,
    ) -> Result<(Delegation, Side), Error> {
        let digest = sql::digest_of(tx, citizen).await?.ok_or(Error::NotFound)?;
        let known = sql::lock(tx, id).await?.ok_or(Error::NotFound)?;
        let side = known.side(citizen, &digest).ok_or(Error::NotFound)?;
        Ok((known, side))
    }

    /// Ends it, and every token of it within seconds.
    pub(crate) async fn end_now(
        &self,
        tx: &mut PgConnection,
        (id, by): (DelegationId, CitizenId),
        now: DateTime<Utc>,
    ) -> Result<Vec<session::Revoked>, Error> {
        sql::end(tx, id, by, now).await?;
        let forget_at = revocation::forget_at(&self.config.lifetimes, now);
        Ok(session::revoke(tx, &[id.uuid().into()], forget_at, now).await?)
    }

    async fn note(
        &self,
        tx: &mut PgConnection,
        (by, action, id): (CitizenId, Action, DelegationId),
        origin: Origin,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        Ok(audit::append(tx, &[Entry::of(by, action, id, &self.source(origin))], now).await?)
    }
}
