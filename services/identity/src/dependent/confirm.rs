//! The guardian's word: the account begins, or passes from another guardian to this one.

use chrono::{DateTime, Utc};
use platform::auth::Principal;
use platform::outbox::{self, NewEvent};
use proto::identity::v1::{CitizenRegistered, DelegationBegan, DependentBound};
use sqlx::PgConnection;

use super::{Dependent, RegistrationId, State, sql};
use crate::audit::{self, Action, Entry, Origin};
use crate::citizen::{self, CitizenId, DisplayName, Tier};
use crate::closing;
use crate::delegation::{Delegation, DelegationId};
use crate::ekyc::Source;
use crate::ekyc::number::CitizenNumber;
use crate::ekyc::verifier::Claim;
use crate::error::{DependentFault, Error};
use crate::{Identity, SCHEMA, session};

/// What a confirmation does, and what is to be told of it.
struct Bound {
    citizen: CitizenId,
    events: Vec<NewEvent>,
    acts: Vec<Entry>,
    revoked: Vec<session::Revoked>,
}

impl Identity {
    /// Confirms a registration as its guardian; asked for again, nothing changes.
    pub(crate) async fn confirm_dependent(
        &self,
        caller: &Principal,
        id: RegistrationId,
        origin: Origin,
    ) -> Result<Dependent, Error> {
        let guardian = CitizenId::from(caller.subject);
        let entry = Entry::of(guardian, Action::DependentConfirm, id, &self.source(origin));
        let mut tx = platform::db::begin(&self.pool).await?;
        // The guardian first: a closing of theirs that begins meanwhile waits, and then sees whom they stand for.
        citizen::lock(&mut tx, guardian).await?.ok_or(Error::NotFound)?;
        let found = sql::find(&mut tx, id).await?.filter(|known| known.guardian_id == guardian.uuid());
        let claim = self.claim_of(&found.ok_or(Error::NotFound)?)?;
        let holder = match &claim {
            Some(claim) => self.lock_holder(&mut tx, claim).await?,
            None => None,
        };
        let known = sql::lock(&mut tx, id).await?.ok_or(Error::NotFound)?;
        let now = self.now();
        let claim = match (known.state(now), claim) {
            (State::Confirmed, _) => return Ok(known),
            (State::Proposed, Some(claim)) if known.claim.is_some() => claim,
            _ => return Err(DependentFault::Over.into()),
        };
        if closing::is_open_of(&mut tx, guardian).await? {
            return Err(DependentFault::GuardianLeaves.into());
        }
        let Bound { citizen, mut events, mut acts, revoked } = match holder {
            Some(citizen) => self.pass_on(&mut tx, citizen, &entry, now).await?,
            None => self.begin_account(&mut tx, (guardian, &claim), &entry, now).await?,
        };
        let delegation = delegation_of(&known, citizen, now);
        sql::insert_delegation(&mut tx, &delegation).await?;
        sql::confirm(&mut tx, id, (citizen, delegation.id), now).await?;
        // In this order: what the account is told from here on goes to the guardian.
        let (delegation_id, guardian_id) = (delegation.id.to_string(), guardian.to_string());
        let dependent_id = citizen.to_string();
        let bound = DependentBound {
            dependent_id: dependent_id.clone(),
            guardian_id: guardian_id.clone(),
            delegation_id: delegation_id.clone(),
        };
        let began = DelegationBegan { delegation_id, guardian_id, dependent_id };
        events.extend([NewEvent::new(citizen.uuid(), &bound), NewEvent::new(citizen.uuid(), &began)]);
        acts.extend([
            entry.clone().about(citizen),
            entry.like(Action::DelegationConfirm, delegation.id).about(citizen),
        ]);
        audit::append(&mut tx, &acts, now).await?;
        outbox::append(&mut tx, SCHEMA, now, &events).await?;
        let confirmed = sql::find(&mut tx, id).await?.ok_or(Error::NotFound)?;
        tx.commit().await?;
        self.forget_now(&revoked);
        Ok(confirmed)
    }

    /// The account that has the number already, locked, if it has no telephone; an account of somebody's own is nobody's to take.
    async fn lock_holder(&self, tx: &mut PgConnection, claim: &Claim) -> Result<Option<CitizenId>, Error> {
        let number = CitizenNumber::parse(&claim.citizen_number)?;
        let Some(holder) = self.holder_of_number(tx, &number).await? else { return Ok(None) };
        match citizen::lock(tx, holder).await? {
            Some(row) if row.is_without_phone() => Ok(Some(holder)),
            Some(_) => Err(DependentFault::NumberTaken.into()),
            // Erased in between, and the number with it.
            None => Ok(None),
        }
    }

    /// A new account without a telephone number, of which the citizen number is proved by the papers that the officer saw.
    async fn begin_account(
        &self,
        tx: &mut PgConnection,
        (guardian, claim): (CitizenId, &Claim),
        entry: &Entry,
        now: DateTime<Utc>,
    ) -> Result<Bound, Error> {
        let language = self.citizen(guardian).await?.language;
        let name = DisplayName::parse(&claim.full_name)?;
        let (citizen, key) = self.register_without_phone(tx, (&name, language), now).await?;
        let number = CitizenNumber::parse(&claim.citizen_number)?;
        let register = entry.like(Action::CitizenRegister, citizen).about(citizen);
        let proof = (&number, name.as_str(), Source::Officer);
        let proved = self.prove_number(tx, (citizen, &key), proof, &register, now).await?;
        proved.map_err(|_| DependentFault::NumberTaken)?;
        let registered = CitizenRegistered {
            user_id: citizen.to_string(),
            tier: Tier::CitizenNumber.number().into(),
            language: language.tag().to_owned(),
        };
        let events = vec![NewEvent::new(citizen.uuid(), &registered)];
        Ok(Bound { citizen, events, acts: vec![register], revoked: Vec::new() })
    }

    /// An account that has a guardian already: this one takes their place.
    async fn pass_on(
        &self,
        tx: &mut PgConnection,
        citizen: CitizenId,
        entry: &Entry,
        now: DateTime<Utc>,
    ) -> Result<Bound, Error> {
        let mut bound = Bound { citizen, events: Vec::new(), acts: Vec::new(), revoked: Vec::new() };
        for (older, told) in sql::delegations_for(tx, citizen).await? {
            bound.revoked.extend(self.end_now(tx, (older.id, citizen), now).await?);
            bound.acts.push(entry.like(Action::DelegationEnd, older.id).about(citizen));
            // Of one whose date had come both may have been told by that.
            bound.events.extend((!told).then(|| older.replaced(citizen)));
        }
        Ok(bound)
    }
}

/// By which the guardian acts: in the name of who is acted for, since they can't propose anything themself.
fn delegation_of(known: &Dependent, citizen: CitizenId, now: DateTime<Utc>) -> Delegation {
    Delegation {
        id: DelegationId::generate(),
        proposed_by: citizen.uuid(),
        guardian_id: Some(known.guardian_id),
        dependent_id: Some(citizen.uuid()),
        other_digest: None,
        kinds: known.kinds.clone(),
        transaction_maximum: known.transaction_maximum,
        day_maximum: known.day_maximum,
        month_maximum: known.month_maximum,
        valid_until: known.valid_until,
        proposed_at: known.registered_at,
        confirmed_at: Some(now),
        ended_at: None,
    }
}
