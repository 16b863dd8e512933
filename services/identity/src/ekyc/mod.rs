//! eKYC: a citizen proves the citizen identity number that is theirs, and rises to tier 1.
//!
//! A request is saved with a job, then the outside verifier is asked until it says something; its word is final for that request.
//! One number has one account, by a unique keyed digest; one account has one number. A proof of the number may also come from
//! VNeID, and takes the same last step: [`Identity::prove_number`].
//! Number, name and day of birth are sealed under the citizen's own key; what was asked is wiped when it is decided.
//!
//! Locks: citizen, then the request, then the number.

mod job;
pub(crate) mod number;
mod sql;
pub(crate) mod verifier;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use platform::auth::Principal;
use platform::idempotency::{self, Claim as KeyClaim};
use platform::job::NewJob;
use platform::outbox::{self, NewEvent};
use platform::typed_id;
use proto::identity::v1::TierChanged;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

pub(crate) use self::job::{EkycJob, JOB};
use self::number::{CitizenNumber, NumberFault, Sex};
use self::verifier::{Claim, Verdict};
use crate::audit::{self, Action, Entry, Origin};
use crate::citizen::{self, CitizenId, DisplayName, Tier};
use crate::error::Error;
use crate::vault::{Place, Sealer};
use crate::{Identity, SCHEMA};

/// Requests of one citizen within [`WINDOW`]; each costs the city, and somebody who guesses is slowed down.
const MAX_REQUESTS: i64 = 5;
const WINDOW: TimeDelta = TimeDelta::days(1);
/// How long the verifier is asked before the request is given up.
const PATIENCE: TimeDelta = TimeDelta::days(1);
/// The operation of its idempotency keys.
const OPERATION: &str = "ekyc";
const CLAIM: &str = "ekyc.claim";
const NUMBER: &str = "citizen_number.number";
const FULL_NAME: &str = "citizen_number.full_name";

typed_id! {
    /// A request to the outside verifier.
    pub struct EkycId;
}

/// Where a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, sqlx::Type, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
#[sqlx(type_name = "text", rename_all = "kebab-case")]
#[schema(as = EkycState)]
pub(crate) enum State {
    /// The verifier has not said anything yet.
    Pending,
    /// The number is the citizen's.
    Verified,
    /// It is not, or not for us.
    Refused,
}

/// A request as its citizen sees it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    pub id: EkycId,
    pub state: State,
    pub reason: Option<String>,
    pub asked_at: DateTime<Utc>,
    pub decided_at: Option<DateTime<Utc>>,
}

/// What a citizen says of themself, checked as far as that can be done here.
#[derive(Debug)]
pub(crate) struct Said {
    number: CitizenNumber,
    full_name: DisplayName,
    born: NaiveDate,
}

impl Said {
    /// Checks a number against its form and the day of birth.
    pub(crate) fn try_new(
        number: &str,
        full_name: &str,
        (born, sex): (NaiveDate, Option<Sex>),
        today: NaiveDate,
    ) -> Result<Self, Error> {
        let number = CitizenNumber::parse(number)?;
        number.check_birth(born, today)?;
        if sex.is_some_and(|sex| sex != number.sex()) {
            return Err(NumberFault::Sex.into());
        }
        Ok(Self { number, full_name: DisplayName::parse(full_name)?, born })
    }

    pub(crate) fn number(&self) -> &CitizenNumber {
        &self.number
    }

    pub(crate) fn born(&self) -> NaiveDate {
        self.born
    }

    pub(crate) fn claim(&self) -> Claim {
        Claim {
            citizen_number: self.number.expose(),
            full_name: self.full_name.as_str().to_owned(),
            date_of_birth: self.born,
        }
    }
}

/// Where a proof of a number comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The outside verifier.
    Ekyc,
    /// VNeID.
    Vneid,
    /// An officer, who saw the papers of somebody without a telephone.
    Officer,
}

impl Source {
    /// As it is stored and shown.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ekyc => "ekyc",
            Self::Vneid => "vneid",
            Self::Officer => "officer",
        }
    }
}

/// A number that was proved.
#[derive(Clone, Debug)]
pub(crate) struct ProvedNumber {
    pub masked: String,
    pub full_name: String,
    pub source: String,
    pub proved_at: DateTime<Utc>,
}

/// How well a citizen is known.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    pub tier: Tier,
    pub number: Option<ProvedNumber>,
    pub request: Option<Request>,
}

/// Why a number can't be this citizen's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NumberConflict {
    /// It is another account's.
    Taken,
    /// The citizen has another one.
    Differs,
}

/// A pending request, opened.
struct Pending {
    citizen: CitizenId,
    claim: Vec<u8>,
    asked_at: DateTime<Utc>,
}

impl Identity {
    /// Asks the verifier about the caller. Gives the request, or the one that this key made before.
    pub(crate) async fn ask_ekyc(
        &self,
        caller: &Principal,
        said: &Said,
        (key, fingerprint): (String, [u8; 32]),
        origin: Origin,
    ) -> Result<Request, Error> {
        if self.verifies.is_none() {
            return Err(Error::EkycUnavailable);
        }
        let (citizen, now) = (CitizenId::from(caller.subject), self.now());
        // Keyed: a plain digest of a number and a day of birth is found by trying.
        let fingerprint = self.vault.fingerprint(&fingerprint);
        let key = idempotency::Key { caller: caller.subject, operation: OPERATION, key, fingerprint };
        let mut tx = platform::db::begin(&self.pool).await?;
        if let KeyClaim::Replay(stored) = idempotency::claim(&mut tx, SCHEMA, &key, now).await? {
            return serde_json::from_value(stored.body).map_err(|error| Error::Hashing(error.to_string()));
        }
        let row = citizen::lock(&mut tx, citizen).await?.ok_or(Error::NotFound)?;
        if sql::number(&mut tx, citizen).await?.is_some() {
            return Err(Error::EkycDone);
        }
        match sql::latest(&mut tx, citizen).await? {
            Some(latest) if latest.state == State::Pending => return Err(Error::EkycPending),
            _ => {}
        }
        if sql::count_since(&mut tx, citizen, now - WINDOW).await? >= MAX_REQUESTS {
            return Err(Error::EkycTooMany);
        }
        let request =
            Request { id: EkycId::generate(), state: State::Pending, reason: None, asked_at: now, decided_at: None };
        let claim = serde_json::to_vec(&said.claim()).map_err(|error| Error::Hashing(error.to_string()))?;
        let sealed = row.key(&self.vault)?.seal(Place::new(CLAIM, request.id), &claim);
        sql::insert(&mut tx, citizen, &request, &sealed).await?;
        platform::job::schedule(&mut tx, SCHEMA, now, NewJob::new(JOB, request.id.to_string(), now)).await?;
        let entry = Entry::of(citizen, Action::EkycAsk, request.id, &self.source(origin));
        audit::append(&mut tx, &[entry], now).await?;
        idempotency::store(&mut tx, SCHEMA, &key, 202, &request).await?;
        tx.commit().await?;
        Ok(request)
    }

    /// How well the citizen is known, and what the verifier was asked last.
    pub(crate) async fn ekyc_of(&self, citizen: CitizenId) -> Result<Standing, Error> {
        let tier = self.citizen(citizen).await?.tier;
        let mut conn = self.pool.acquire().await?;
        let request = sql::latest(&mut conn, citizen).await?;
        let number = match sql::number(&mut conn, citizen).await? {
            Some(row) => {
                let key = citizen::find(&mut conn, citizen).await?.ok_or(Error::NotFound)?.key(&self.vault)?;
                Some(row.open(&key, citizen)?)
            }
            None => None,
        };
        Ok(Standing { tier, number, request })
    }

    /// The citizen's proved number, whole, for themself.
    pub(crate) async fn proved_number(&self, citizen: CitizenId) -> Result<Option<(String, ProvedNumber)>, Error> {
        let mut conn = self.pool.acquire().await?;
        let Some(row) = sql::number(&mut conn, citizen).await? else { return Ok(None) };
        let key = citizen::find(&mut conn, citizen).await?.ok_or(Error::NotFound)?.key(&self.vault)?;
        let number = key.open_text(Place::new(NUMBER, citizen), &row.number)?;
        Ok(Some((number, row.open(&key, citizen)?)))
    }

    /// Whose a number is, if it was proved.
    pub(crate) async fn holder_of_number(
        &self,
        tx: &mut PgConnection,
        number: &CitizenNumber,
    ) -> Result<Option<CitizenId>, Error> {
        Ok(sql::holder(tx, &self.vault.number_digest(&number.expose())).await?)
    }

    /// Books what the verifier says of a request; nothing when it was decided before.
    async fn decide_ekyc(&self, id: EkycId, verdict: Result<Verdict, &'static str>) -> Result<(), Error> {
        let now = self.now();
        let Some(pending) = sql::pending(&mut *self.pool.acquire().await?, id).await? else { return Ok(()) };
        let citizen = pending.citizen;
        let mut tx = platform::db::begin(&self.pool).await?;
        let row = citizen::lock(&mut tx, citizen).await?.ok_or(Error::NotFound)?;
        let Some(pending) = sql::lock_pending(&mut tx, id).await? else { return Ok(()) };
        let key = row.key(&self.vault)?;
        let claim = open_claim(&key, id, &pending)?;
        let entry = Entry::of(citizen, Action::EkycDecide, id, &audit::Source::schedule(&self.instance))
            .by_service(&self.instance);
        let reason = match verdict {
            Ok(Verdict::Matched) => {
                let number = CitizenNumber::parse(&claim.citizen_number)?;
                let proof = (&number, claim.full_name.as_str(), Source::Ekyc);
                let proved = self.prove_number(&mut tx, (citizen, &key), proof, &entry, now).await?;
                proved.err().map(NumberConflict::reason)
            }
            Ok(Verdict::Mismatched) => Some("mismatch"),
            Ok(Verdict::Unknown) => Some("number-unknown"),
            Err(reason) => Some(reason),
        };
        sql::decide(&mut tx, id, reason, now).await?;
        audit::append(&mut tx, &[entry.because(reason.unwrap_or("verified"))], now).await?;
        tx.commit().await?;
        self.meter.ekyc(reason.unwrap_or("verified"));
        Ok(())
    }

    /// The last step of every proof of a number: it is this citizen's and nobody else's, and they rise to tier 1. Under the citizen's lock.
    pub(crate) async fn prove_number(
        &self,
        tx: &mut PgConnection,
        (citizen, key): (CitizenId, &Sealer),
        (number, full_name, source): (&CitizenNumber, &str, Source),
        entry: &Entry,
        now: DateTime<Utc>,
    ) -> Result<Result<(), NumberConflict>, Error> {
        let digest = self.vault.number_digest(&number.expose());
        if let Some(known) = sql::number(tx, citizen).await? {
            let same = crate::vault::same(&known.digest, &digest);
            return Ok(if same { Ok(()) } else { Err(NumberConflict::Differs) });
        }
        let sealed = sql::NumberRow {
            digest: digest.to_vec(),
            number: key.seal(Place::new(NUMBER, citizen), number.expose().as_bytes()),
            full_name: key.seal(Place::new(FULL_NAME, citizen), full_name.as_bytes()),
            source: source.as_str().to_owned(),
            proved_at: now,
        };
        if !sql::insert_number(tx, citizen, &sealed).await? {
            return Ok(Err(NumberConflict::Taken));
        }
        if citizen::raise_tier(tx, citizen, Tier::CitizenNumber, now).await? {
            let tier = Tier::CitizenNumber.number().into();
            let event = TierChanged { user_id: citizen.to_string(), tier };
            audit::append(tx, &[entry.like(Action::TierChange, Tier::CitizenNumber.number())], now).await?;
            outbox::append(tx, SCHEMA, now, &[NewEvent::new(citizen.uuid(), &event)]).await?;
        }
        Ok(Ok(()))
    }
}

impl NumberConflict {
    /// The word for the citizen.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Taken => "number-taken",
            Self::Differs => "number-differs",
        }
    }
}

fn open_claim(key: &Sealer, id: EkycId, pending: &Pending) -> Result<Claim, Error> {
    let plain = key.open(Place::new(CLAIM, id), &pending.claim)?;
    serde_json::from_slice(&plain).map_err(|_| Error::Hashing("a stored claim can't be read".to_owned()))
}
