//! Delegation: a guardian acts for a child or an elder, within limits and until a date.
//!
//! | module | what lives there |
//! | --- | --- |
//! | `rule` | what may be delegated, and where a delegation stands (pure) |
//! | `admission` | who gives power over their own money proves that it is them |
//! | `token` | the token by which a guardian acts |
//! | `expiry` | both sides are told that its date has come |
//! | `sql` | every statement |
//!
//! One of the two proposes it to the other's telephone number, the other confirms it, either ends it at once. Whether somebody has
//! that number is not said: whoever proves it sees the proposal. The guardian then asks for a token that says both of them
//! ([`platform::auth::ActingClaims`]); the wallet asks here what it allows each time, and counts by itself.
//!
//! Lock order: the citizen who proposes or both who agree, by id, delegation, revocation head, audit head, platform's outbox.
//! Invariants: limits never change; nobody acts for themself; the dependent's word is proved by their PIN on a device that is not new; who acts for somebody gets no token for a third, and none for anything
//! but payments, because no other route takes the audience of that token.

mod admission;
mod expiry;
mod rule;
mod sql;
mod token;

use chrono::{DateTime, Utc};
use platform::auth::Principal;
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
use crate::pin::strength::Pin;
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
    /// The proposer's own PIN.
    pub pin: Option<Pin>,
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
        // To whoever stays, so that nothing is told of somebody who is erased.
        let subject = if self.guardian == by.uuid() { self.dependent } else { self.guardian };
        NewEvent::new(subject, &self.end(by, presence))
    }

    /// The word to both that a newer one takes its place: on the way of the word of that one, and so before it.
    pub(crate) fn replaced(&self, by: CitizenId) -> NewEvent {
        NewEvent::new(self.dependent, &self.end(by, Presence::Stays))
    }

    fn end(&self, by: CitizenId, presence: Presence) -> DelegationEnded {
        DelegationEnded {
            delegation_id: self.id.to_string(),
            guardian_id: self.guardian.to_string(),
            dependent_id: self.dependent.to_string(),
            ended_by: by.to_string(),
            left: presence == Presence::Leaves,
        }
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
        // Keyed: a plain digest of a PIN and a telephone number is found by trying.
        let key = &Key { fingerprint: self.vault.fingerprint(&key.fingerprint), ..key.clone() };
        if proposal.side == Side::Dependent {
            // Looked for before, and given up: what was answered is answered again without a proof.
            let mut tx = platform::db::begin(&self.pool).await?;
            if let Some(known) = replayed(&mut tx, key, now).await? {
                return Ok((known, proposal.side));
            }
            tx.rollback().await?;
            self.admit_power(caller, proposal.pin.as_ref()).await?;
        }
        let mut tx = platform::db::begin(&self.pool).await?;
        if let Some(known) = replayed(&mut tx, key, now).await? {
            return Ok((known, proposal.side));
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
        (id, pin): (DelegationId, Option<&Pin>),
        origin: Origin,
    ) -> Result<(Delegation, Side), Error> {
        let by = CitizenId::from(caller.subject);
        // Looked at before anything is locked: a PIN is hashed, and people are locked before their delegations.
        let (known, side) = self.visible(by, id).await?;
        let waits = known.state(self.now()) == State::Proposed && known.proposed_by != by.uuid();
        if side == Side::Dependent && waits {
            self.admit_power(caller, pin).await?;
        }
        let pair = match side {
            Side::Guardian => (by.uuid(), known.proposed_by),
            Side::Dependent => (known.proposed_by, by.uuid()),
        };
        let mut tx = platform::db::begin(&self.pool).await?;
        // Two confirmations between the same two people come one after the other, and each sees what the other did.
        if waits && !sql::lock_pair(&mut tx, pair).await? {
            return Err(Error::DelegationOver);
        }
        let (known, side) = self.locked(&mut tx, by, id).await?;
        let now = self.now();
        match known.state(now) {
            State::Active => return Ok((known, side)),
            State::Proposed if known.proposed_by != by.uuid() => {}
            State::Proposed => return Err(Error::Forbidden),
            State::Expired | State::Ended => return Err(Error::DelegationOver),
        }
        let (revoked, mut events) = self.replace_older(&mut tx, pair, (by, origin), now).await?;
        sql::confirm(&mut tx, id, pair, now).await?;
        let began = DelegationBegan {
            delegation_id: id.to_string(),
            guardian_id: pair.0.to_string(),
            dependent_id: pair.1.to_string(),
        };
        events.push(NewEvent::new(pair.1, &began));
        self.note(&mut tx, (by, Action::DelegationConfirm, id), origin, now).await?;
        outbox::append(&mut tx, SCHEMA, now, &events).await?;
        let confirmed = sql::find(&mut tx, id).await?.ok_or(Error::NotFound)?;
        tx.commit().await?;
        self.forget_now(&revoked);
        Ok((confirmed, side))
    }

    /// The newer one takes the place of the older, if there is one: ends that, and gives the word of it.
    async fn replace_older(
        &self,
        tx: &mut PgConnection,
        pair: (Uuid, Uuid),
        (by, origin): (CitizenId, Origin),
        now: DateTime<Utc>,
    ) -> Result<(Vec<session::Revoked>, Vec<NewEvent>), Error> {
        let Some((id, told)) = sql::unended(tx, pair).await? else { return Ok((Vec::new(), Vec::new())) };
        let revoked = self.end_now(tx, (id, by), now).await?;
        let replaced = Entry::of(by, Action::DelegationEnd, id, &self.source(origin)).because("replaced");
        audit::append(tx, &[replaced], now).await?;
        // Of one whose date had come both may have been told by that.
        let over = (!told).then_some(InForce { id, guardian: pair.0, dependent: pair.1 });
        Ok((revoked, over.iter().map(|over| over.replaced(by)).collect()))
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

    /// A delegation of a citizen or proposed to them; it does not exist for anybody else.
    async fn visible(&self, citizen: CitizenId, id: DelegationId) -> Result<(Delegation, Side), Error> {
        let mut conn = self.pool.acquire().await?;
        let digest = sql::digest_of(&mut conn, citizen).await?.ok_or(Error::NotFound)?;
        let known = sql::find(&mut conn, id).await?.ok_or(Error::NotFound)?;
        let side = known.side(citizen, &digest).ok_or(Error::NotFound)?;
        Ok((known, side))
    }

    /// The same, locked.
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

/// What a proposal of this key was answered with, if it was.
async fn replayed(tx: &mut PgConnection, key: &Key, now: DateTime<Utc>) -> Result<Option<Delegation>, Error> {
    let Claim::Replay(stored) = idempotency::claim(tx, SCHEMA, key, now).await? else { return Ok(None) };
    let id: DelegationId = serde_json::from_value(stored.body).map_err(|error| Error::Hashing(error.to_string()))?;
    sql::find(tx, id).await?.ok_or(Error::NotFound).map(Some)
}
