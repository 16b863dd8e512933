//! People without a telephone: an officer of their ward registers them with their papers, and a guardian acts for them.
//!
//! | module | what lives there |
//! | --- | --- |
//! | `rule` | until when, and where a registration stands (pure) |
//! | `confirm` | the guardian's word, with which the account begins or passes to them |
//! | `attach` | a number for the account, so that its owner speaks for themself |
//! | `leave` | the account is closed by the guardian or an officer |
//! | `sql` | every statement |
//!
//! Two people make an account: an officer of the agency that keeps the ward's register, who sees the papers of both in person, and the
//! guardian, who confirms in their own app. Before that nothing is kept but what the officer wrote, sealed, for seven days.
//! The account has a citizen number (tier 1), no telephone number, and so nothing to sign in by; its guardian gets tokens to act for
//! it like any other (`delegation`).
//!
//! Who has no number always has a guardian who answers for them: that delegation is not ended by the guardian, and their own account
//! is not closed, before the number is attached, the account closed, or another guardian confirmed. When its time is over the guardian
//! pays no more, and still answers for the account until one of these happens.
//!
//! Lock order: challenge, the guardian's citizen, the dependent's citizen, dependent, delegation, revocation head, audit head, outbox.

mod attach;
mod confirm;
mod leave;
mod rule;
mod sql;

use chrono::{DateTime, Utc};
use platform::auth::Principal;
use platform::idempotency::{self, Claim as KeyClaim, Key};
use platform::outbox::{self, NewEvent};
use platform::typed_id;
use proto::identity::v1::DependentRegistered;
use sqlx::PgConnection;
use uuid::Uuid;

pub(crate) use self::attach::PhoneProof;
pub(crate) use self::rule::State;
pub(crate) use self::sql::{is_without_phone, leave as refuse_all, stands_for_anybody};
use crate::audit::{self, Action, Entry, Origin, Reason};
use crate::citizen::{self, CitizenId};
use crate::closing::{Answer, Closing};
use crate::delegation::Terms;
use crate::ekyc::Said;
use crate::ekyc::number::CitizenNumber;
use crate::ekyc::verifier::Claim;
use crate::error::{DependentFault, Error};
use crate::vault;
use crate::{Identity, SCHEMA};

/// For how many people one guardian stands or is asked to, at most.
const MAX_DEPENDENTS: i64 = 10;
const CLAIM: &str = "dependent.claim";

typed_id! {
    /// A registration of somebody without a telephone.
    pub struct RegistrationId;
}

/// A registration as it is kept.
#[derive(Clone, Debug)]
pub(crate) struct Dependent {
    pub id: RegistrationId,
    pub guardian_id: Uuid,
    pub registered_by: Uuid,
    pub ward: String,
    claim: Option<Vec<u8>>,
    pub kinds: Vec<String>,
    pub transaction_maximum: i64,
    pub day_maximum: i64,
    pub month_maximum: i64,
    pub valid_until: DateTime<Utc>,
    pub registered_at: DateTime<Utc>,
    pub confirmed_at: Option<DateTime<Utc>>,
    pub citizen_id: Option<Uuid>,
    pub delegation_id: Option<Uuid>,
    pub ended_at: Option<DateTime<Utc>>,
}

/// What an officer writes down.
#[derive(Debug)]
pub(crate) struct NewDependent {
    /// Code of the ward whose register has them.
    pub ward: String,
    /// The guardian's citizen number, from the card they show.
    pub guardian: CitizenNumber,
    /// Who is registered, as their papers say.
    pub who: Said,
    pub terms: Terms,
}

/// A registration with what its guardian may know of the person.
pub(crate) struct Shown {
    pub registration: Dependent,
    pub full_name: Option<String>,
    pub without_phone: bool,
    pub closing: Option<(Closing, Vec<Answer>)>,
}

impl Dependent {
    pub(crate) fn state(&self, now: DateTime<Utc>) -> State {
        let Self { registered_at, confirmed_at, ended_at, valid_until: until, .. } = *self;
        rule::Times { registered_at, confirmed_at, ended_at, until }.state(now)
    }

    fn guardian(&self) -> CitizenId {
        self.guardian_id.into()
    }
}

impl Identity {
    /// Registers somebody for a guardian, who is asked to confirm; once per key.
    pub(crate) async fn register_dependent(
        &self,
        officer: &Principal,
        new: &NewDependent,
        (origin, reason): (Origin, Reason),
        key: Key,
    ) -> Result<Dependent, Error> {
        let (now, by) = (self.now(), CitizenId::from(officer.subject));
        self.require_registrar(by, &new.ward).await?;
        rule::check(&new.terms, new.who.born(), (now, self.zone))?;
        // Keyed: a plain digest of numbers and a day of birth is found by trying.
        let key = Key { fingerprint: self.vault.fingerprint(&key.fingerprint), ..key };
        let mut tx = platform::db::begin(&self.pool).await?;
        if let KeyClaim::Replay(stored) = idempotency::claim(&mut tx, SCHEMA, &key, now).await? {
            let id: RegistrationId =
                serde_json::from_value(stored.body).map_err(|error| Error::Hashing(error.to_string()))?;
            return sql::find(&mut tx, id).await?.ok_or(Error::NotFound);
        }
        let guardian = self.admit_guardian(&mut tx, by, new, now).await?;
        let digest = self.vault.number_digest(&new.who.number().expose());
        if let Some(known) = self.holder_of_number(&mut tx, new.who.number()).await?
            && !is_without_phone(&mut tx, known.uuid()).await?
        {
            return Err(DependentFault::NumberTaken.into());
        }
        sql::lapse(&mut tx, Some(&digest), now, 1).await?;
        let registration = self.new_registration((guardian, by), new, now)?;
        if !sql::insert(&mut tx, &registration, &digest).await? {
            return Err(DependentFault::Registered.into());
        }
        let behest = self.behest_of(by, origin, &reason);
        let entry = Entry::at(&behest, Action::DependentRegister, registration.id).about(guardian);
        audit::append(&mut tx, &[entry], now).await?;
        let event = DependentRegistered {
            registration_id: registration.id.to_string(),
            guardian_id: registration.guardian_id.to_string(),
        };
        outbox::append(&mut tx, SCHEMA, now, &[NewEvent::new(guardian.uuid(), &event)]).await?;
        idempotency::store(&mut tx, SCHEMA, &key, 201, &registration.id).await?;
        tx.commit().await?;
        Ok(registration)
    }

    /// The guardian whom an officer names, locked: somebody else than the officer, of age, who can sign in and has room for one more.
    async fn admit_guardian(
        &self,
        tx: &mut PgConnection,
        officer: CitizenId,
        new: &NewDependent,
        now: DateTime<Utc>,
    ) -> Result<CitizenId, Error> {
        if !rule::may_be_guardian(new.guardian.birth_year(), self.today()) || new.guardian == *new.who.number() {
            return Err(Error::Field {
                field: "guardian_citizen_number",
                vi: "Người giám hộ là một người khác và đã đủ 18 tuổi.",
                en: "A guardian is somebody else, and of age.",
            });
        }
        let known = self.holder_of_number(tx, &new.guardian).await?.ok_or(DependentFault::GuardianUnknown)?;
        // Nobody stands for others who is stood for.
        citizen::lock(tx, known).await?.filter(|row| !row.is_without_phone()).ok_or(DependentFault::GuardianUnknown)?;
        if known == officer {
            return Err(Error::Forbidden);
        }
        if sql::count_of(tx, known, now).await? >= MAX_DEPENDENTS {
            return Err(Error::DelegationsTooMany);
        }
        Ok(known)
    }

    fn new_registration(
        &self,
        (guardian, officer): (CitizenId, CitizenId),
        new: &NewDependent,
        now: DateTime<Utc>,
    ) -> Result<Dependent, Error> {
        let id = RegistrationId::generate();
        let claim = serde_json::to_vec(&new.who.claim()).map_err(|error| Error::Hashing(error.to_string()))?;
        let [transaction_maximum, day_maximum, month_maximum] = new.terms.maxima;
        Ok(Dependent {
            id,
            guardian_id: guardian.uuid(),
            registered_by: officer.uuid(),
            ward: new.ward.clone(),
            claim: Some(self.vault.seal(vault::Place::new(CLAIM, id), &claim)),
            kinds: new.terms.kinds.iter().map(|kind| kind.as_str().to_owned()).collect(),
            transaction_maximum,
            day_maximum,
            month_maximum,
            valid_until: new.terms.until,
            registered_at: now,
            confirmed_at: None,
            citizen_id: None,
            delegation_id: None,
            ended_at: None,
        })
    }

    /// Registrations of an officer's wards, or of one of them, after one, oldest first.
    pub(crate) async fn dependents_of_wards(
        &self,
        officer: CitizenId,
        ward: Option<&str>,
        page: (Option<Uuid>, i64),
    ) -> Result<Vec<Dependent>, Error> {
        ward.map(|ward| self.organisations.check_ward(ward)).transpose()?;
        let mut wards = self.registers_of(officer).await?;
        wards.retain(|own| ward.is_none_or(|ward| own == ward));
        if wards.is_empty() {
            return Err(Error::Forbidden);
        }
        Ok(sql::of_wards(&self.pool, &wards, page).await?)
    }

    /// A registration of a ward whose officer asks; it does not exist for anybody else.
    pub(crate) async fn dependent_of_ward(&self, officer: CitizenId, id: RegistrationId) -> Result<Dependent, Error> {
        let known = sql::find(&mut *self.pool.acquire().await?, id).await?.ok_or(Error::NotFound)?;
        match self.require_registrar(officer, &known.ward).await {
            Ok(()) => Ok(known),
            Err(Error::Forbidden) => Err(Error::NotFound),
            Err(error) => Err(error),
        }
    }

    /// What was registered for a guardian, the newest first.
    pub(crate) async fn dependents_of(&self, guardian: CitizenId) -> Result<Vec<Shown>, Error> {
        let found = sql::of_guardian(&mut *self.pool.acquire().await?, guardian).await?;
        let mut shown = Vec::with_capacity(found.len());
        for registration in found {
            shown.push(self.show_to_guardian(registration).await?);
        }
        Ok(shown)
    }

    /// A registration as its guardian sees it: the name while it waits and while the account has no number.
    pub(crate) async fn show_to_guardian(&self, registration: Dependent) -> Result<Shown, Error> {
        let claim = self.claim_of(&registration)?.map(|claim| claim.full_name);
        let mut shown = Shown { registration, full_name: claim, without_phone: false, closing: None };
        let (Some(citizen), Some(delegation)) = (shown.registration.citizen_id, shown.registration.delegation_id)
        else {
            return Ok(shown);
        };
        let mut conn = self.pool.acquire().await?;
        let theirs = sql::still_stands(&mut conn, delegation).await? && is_without_phone(&mut conn, citizen).await?;
        drop(conn);
        if theirs {
            shown.without_phone = true;
            shown.full_name = self.citizen(citizen.into()).await?.display_name;
            shown.closing = match self.closing_of(citizen.into()).await {
                Err(Error::NotFound) => None,
                other => Some(other?),
            };
        }
        Ok(shown)
    }

    /// What the officer wrote down, while it waits.
    fn claim_of(&self, registration: &Dependent) -> Result<Option<Claim>, Error> {
        let Some(sealed) = &registration.claim else { return Ok(None) };
        let plain = self.vault.open(vault::Place::new(CLAIM, registration.id), sealed)?;
        let claim = serde_json::from_slice(&plain);
        Ok(Some(claim.map_err(|_| Error::Hashing("a stored claim can't be read".to_owned()))?))
    }

    /// Refuses, or takes back, what waits for the guardian's word; nothing happens when it has ended before.
    pub(crate) async fn end_registration(
        &self,
        id: RegistrationId,
        by: CitizenId,
        entry: impl FnOnce(&Dependent) -> Result<Entry, Error>,
    ) -> Result<(), Error> {
        let mut tx = platform::db::begin(&self.pool).await?;
        let known = sql::lock(&mut tx, id).await?.ok_or(Error::NotFound)?;
        let entry = entry(&known)?;
        let now = self.now();
        match known.state(now) {
            State::Proposed => {}
            State::Confirmed => return Err(DependentFault::Over.into()),
            State::Ended | State::Lapsed => return Ok(()),
        }
        sql::end(&mut tx, id, by, now).await?;
        audit::append(&mut tx, &[entry], now).await?;
        tx.commit().await?;
        Ok(())
    }

    /// The guardian does not want it.
    pub(crate) async fn refuse_dependent(
        &self,
        guardian: CitizenId,
        id: RegistrationId,
        origin: Origin,
    ) -> Result<(), Error> {
        let entry = Entry::of(guardian, Action::DependentEnd, id, &self.source(origin));
        let own = |known: &Dependent| if known.guardian() == guardian { Ok(entry) } else { Err(Error::NotFound) };
        self.end_registration(id, guardian, own).await
    }

    /// An officer of the ward takes it back.
    pub(crate) async fn withdraw_dependent(
        &self,
        officer: CitizenId,
        id: RegistrationId,
        (origin, reason): (Origin, Reason),
    ) -> Result<(), Error> {
        self.dependent_of_ward(officer, id).await?;
        let behest = self.behest_of(officer, origin, &reason);
        let entry = Entry::at(&behest, Action::DependentEnd, id);
        self.end_registration(id, officer, |known| Ok(entry.about(known.guardian()))).await
    }

    /// Refuses who is no officer of the agency that keeps a ward's register of people.
    async fn require_registrar(&self, officer: CitizenId, ward: &str) -> Result<(), Error> {
        self.organisations.check_ward(ward)?;
        let wards = self.registers_of(officer).await?;
        if wards.iter().any(|own| own == ward) { Ok(()) } else { Err(Error::Forbidden) }
    }

    /// Wipes what nobody answered in time; tells how many.
    pub(crate) async fn lapse_dependents(&self, now: DateTime<Utc>, batch: i64) -> Result<u64, Error> {
        Ok(sql::lapse(&mut *self.pool.acquire().await?, None, now, batch).await?)
    }
}
