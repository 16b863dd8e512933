//! A citizen leaves.
//!
//! 1. The citizen asks, soon after signing in and with the PIN where one is set. Each service closes what it keeps of them, or says
//!    what stands against it (event `ClosingRequested`, call `AnswerClosing`).
//! 2. When all have closed, the citizen may take it back for `lifetimes.closing_cooling_seconds`. When one objects, all open again.
//! 3. A last message goes out while the number is still known. Then identity erases its own in one transaction with the event
//!    `ErasureDue`, delegations end with it and the other side is told; each service erases and confirms.
//!
//! Each step is one transaction and every answer may come again: a process that dies leaves the step before or the step after.
//!
//! | module | what lives there |
//! | --- | --- |
//! | `rule` | the states (pure) |
//! | `erase` | what identity removes |
//! | `job` | the last message, and the end of the time to take it back |
//! | `sql` | statements |

mod erase;
mod job;
pub(crate) mod rule;
mod sql;

use chrono::{DateTime, TimeDelta, Utc};
use platform::auth::Principal;
use platform::job::{NewJob, schedule};
use platform::outbox::{self, NewEvent};
use proto::identity::v1::{ClosingAgreed, ClosingEnded, ClosingRequested};
use sqlx::PgConnection;

pub(crate) use self::job::{ErasureJob, JOB, LAST_WORD_JOB, LastWordJob};
use self::rule::State;
use crate::archive::SERVICES;
use crate::audit::{self, Action, Entry, Origin, Source};
use crate::citizen::{self, CitizenId};
use crate::config::Lifetimes;
use crate::error::{DependentFault, Error};
use crate::pin::strength::Pin;
use crate::{Identity, SCHEMA, dependent};

platform::typed_id! {
    /// A closing.
    pub(crate) struct ClosingId;
}

/// Hindrances that one service may name.
const MAX_HINDRANCES: usize = 16;
/// The most bytes of one of them.
const MAX_CODE: usize = 40;
/// Identity's own objection: somebody who acts for the city gives the role back first.
const ROLES_HELD: &str = "roles-held";
/// Another: nobody would stand for somebody who has no number.
const DEPENDENTS_HELD: &str = "dependents-held";
/// How long before the erasure the last message is sent.
const LAST_WORD: TimeDelta = TimeDelta::hours(1);

/// Why a closing does not go on, beside what can always go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ClosingFault {
    /// None is under way, or it can't be taken back any more.
    #[error("there is no closing that could be taken back")]
    None,
    /// A service's answer is malformed.
    #[error("an answer to a closing is malformed")]
    Answer,
}

/// Who wants an account closed, or kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaker {
    /// Whose it is.
    Owner,
    /// The guardian or an officer, for somebody without a number.
    Other,
}

/// A closing as its citizen sees it.
#[derive(Clone, Debug)]
pub(crate) struct Closing {
    pub id: ClosingId,
    pub citizen: CitizenId,
    pub state: State,
    pub asked_at: DateTime<Utc>,
    pub erase_at: Option<DateTime<Utc>>,
    pub ended_at: Option<DateTime<Utc>>,
}

/// What a service said.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub service: String,
    pub answered: bool,
    pub hindrances: Vec<String>,
}

impl Identity {
    /// Begins a closing of the caller's account; the one that is under way, if there is one.
    pub(crate) async fn close_account(
        &self,
        caller: &Principal,
        pin: Option<&Pin>,
        origin: Origin,
    ) -> Result<(Closing, Vec<Answer>), Error> {
        self.prove_leaving(caller, pin).await?;
        let user = CitizenId::from(caller.subject);
        self.close((user, Speaker::Owner), &Entry::of(user, Action::ClosingAsk, "", &self.source(origin))).await
    }

    /// Lets somebody close an account: they signed in moments ago, and know the PIN where one is set.
    pub(crate) async fn prove_leaving(&self, caller: &Principal, pin: Option<&Pin>) -> Result<(), Error> {
        self.require_fresh(caller)?;
        let user = CitizenId::from(caller.subject);
        if self.citizen(user).await?.pin_set {
            self.refuse_cooling_pin(user).await?;
            self.check_pin(user, pin.ok_or(Error::PinProofRequired)?).await?;
        }
        Ok(())
    }

    /// Begins a closing; the one that is under way, if there is one. `entry` says who wants it.
    pub(crate) async fn close(
        &self,
        (user, speaker): (CitizenId, Speaker),
        entry: &Entry,
    ) -> Result<(Closing, Vec<Answer>), Error> {
        let now = self.now();
        let mut tx = platform::db::begin(&self.pool).await?;
        speaker.admit(&mut tx, user).await?;
        let closing = match sql::open_of(&mut tx, user).await? {
            Some(closing) => closing,
            None => begin_closing(&mut tx, user, entry, now).await?,
        };
        let answers = sql::answers(&mut tx, closing.id).await?;
        tx.commit().await?;
        Ok((closing, answers))
    }

    /// A citizen's newest closing.
    pub(crate) async fn closing_of(&self, user: CitizenId) -> Result<(Closing, Vec<Answer>), Error> {
        let mut connection = self.pool.acquire().await?;
        let closing = sql::newest_of(&mut connection, user).await?.ok_or(Error::NotFound)?;
        let answers = sql::answers(&mut connection, closing.id).await?;
        Ok((closing, answers))
    }

    /// Lets the caller stay.
    pub(crate) async fn take_back_closing(&self, caller: &Principal, origin: Origin) -> Result<(), Error> {
        let user = CitizenId::from(caller.subject);
        let entry = Entry::of(user, Action::ClosingTakeBack, "", &self.source(origin));
        self.take_back((user, Speaker::Owner), &entry).await
    }

    /// Lets a citizen stay. `entry` says who wants it.
    pub(crate) async fn take_back(&self, (user, speaker): (CitizenId, Speaker), entry: &Entry) -> Result<(), Error> {
        let now = self.now();
        let mut tx = platform::db::begin(&self.pool).await?;
        speaker.admit(&mut tx, user).await?;
        let open = sql::lock_open_of(&mut tx, user).await?;
        let closing = open.filter(|closing| closing.state.may_be_taken_back()).ok_or(ClosingFault::None)?;
        sql::end(&mut tx, closing.id, State::TakenBack, now).await?;
        audit::append(&mut tx, &[entry.like(Action::ClosingTakeBack, closing.id)], now).await?;
        outbox::append(&mut tx, SCHEMA, now, &[ended(&closing, State::TakenBack, &[])]).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Writes down what a service says; tells whether it must open again.
    ///
    /// Lock: the closing's row.
    pub(crate) async fn hear_closing(
        &self,
        (id, service): (ClosingId, &str),
        hindrances: &[String],
    ) -> Result<bool, Error> {
        let plain = |code: &String| {
            code.len() <= MAX_CODE && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
        };
        if hindrances.len() > MAX_HINDRANCES || !hindrances.iter().all(plain) {
            return Err(ClosingFault::Answer.into());
        }
        let now = self.now();
        let mut tx = platform::db::begin(&self.pool).await?;
        // One that is not known is over for whoever asks.
        let Some(closing) = sql::lock(&mut tx, id).await? else { return Ok(true) };
        if closing.state != State::Asked {
            return Ok(closing.state.is_over());
        }
        sql::answer(&mut tx, (id, service), hindrances, now).await?;
        let answers = sql::answers(&mut tx, id).await?;
        let words: Vec<rule::Word> = answers.iter().map(word).collect();
        let state = closing.state.after(&words);
        match state {
            State::Cooling => self.agree(&mut tx, &closing, now).await?,
            State::Refused => {
                sql::end(&mut tx, id, state, now).await?;
                outbox::append(&mut tx, SCHEMA, now, &[ended(&closing, state, &answers)]).await?;
            }
            _ => {}
        }
        tx.commit().await?;
        Ok(state.is_over())
    }

    async fn agree(&self, tx: &mut PgConnection, closing: &Closing, now: DateTime<Utc>) -> Result<(), Error> {
        let erase_at = now + Lifetimes::span(self.config.lifetimes.closing_cooling_seconds);
        sql::agree(tx, closing.id, erase_at).await?;
        let near = (erase_at - LAST_WORD).max(now);
        schedule(tx, SCHEMA, now, NewJob::new(LAST_WORD_JOB, closing.id.to_string(), near)).await?;
        schedule(tx, SCHEMA, now, NewJob::new(JOB, closing.id.to_string(), erase_at)).await?;
        let event = ClosingAgreed {
            user_id: closing.citizen.to_string(),
            closing_id: closing.id.to_string(),
            erase_at: erase_at.timestamp(),
        };
        outbox::append(tx, SCHEMA, now, &[NewEvent::new(closing.citizen.uuid(), &event)]).await?;
        Ok(())
    }

    /// Writes down that a service has erased; the last one ends the closing.
    pub(crate) async fn hear_erasure(&self, id: ClosingId, service: &str) -> Result<(), Error> {
        let now = self.now();
        let mut tx = platform::db::begin(&self.pool).await?;
        let closing = sql::lock(&mut tx, id).await?.ok_or(Error::NotFound)?;
        if closing.state == State::Erasing {
            sql::erased(&mut tx, (id, service), now).await?;
            if sql::all_erased(&mut tx, id).await? {
                sql::end(&mut tx, id, State::Erased, now).await?;
                let source = Source::schedule(&self.instance);
                audit::append(&mut tx, &[Entry::of(closing.citizen, Action::ClosingEnd, id, &source)], now).await?;
            }
        }
        tx.commit().await?;
        Ok(())
    }
}

impl Speaker {
    /// Locks the citizen; others speak for them only while they have no number.
    async fn admit(self, tx: &mut PgConnection, user: CitizenId) -> Result<(), Error> {
        let row = citizen::lock(tx, user).await?;
        match (self, row) {
            // Who is being erased is told that it is too late.
            (Self::Owner, None) => Err(ClosingFault::None.into()),
            (Self::Other, None) => Err(Error::NotFound),
            (Self::Other, Some(row)) if !row.is_without_phone() => Err(DependentFault::HasPhone.into()),
            _ => Ok(()),
        }
    }
}

/// Asks all services; identity's own word is given at once.
async fn begin_closing(
    tx: &mut PgConnection,
    user: CitizenId,
    entry: &Entry,
    now: DateTime<Utc>,
) -> Result<Closing, Error> {
    let id = ClosingId::generate();
    sql::insert(tx, (id, user), &SERVICES, now).await?;
    let mut own = Vec::new();
    own.extend(sql::holds_roles(tx, user).await?.then(|| ROLES_HELD.to_owned()));
    own.extend(dependent::stands_for_anybody(tx, user).await?.then(|| DEPENDENTS_HELD.to_owned()));
    sql::answer(tx, (id, SCHEMA.name()), &own, now).await?;
    audit::append(tx, &[entry.like(Action::ClosingAsk, id)], now).await?;
    let event = ClosingRequested { user_id: user.to_string(), closing_id: id.to_string() };
    outbox::append(tx, SCHEMA, now, &[NewEvent::new(user.uuid(), &event)]).await?;
    Ok(Closing { id, citizen: user, state: State::Asked, asked_at: now, erase_at: None, ended_at: None })
}

/// Whether a citizen is on their way out. Under the citizen's lock.
pub(crate) async fn is_open_of(conn: &mut PgConnection, user: CitizenId) -> Result<bool, sqlx::Error> {
    Ok(sql::open_of(conn, user).await?.is_some())
}

fn word(answer: &Answer) -> rule::Word {
    rule::Word { answered: answer.answered, hindered: !answer.hindrances.is_empty() }
}

fn ended(closing: &Closing, state: State, answers: &[Answer]) -> NewEvent {
    let event = ClosingEnded {
        user_id: closing.citizen.to_string(),
        closing_id: closing.id.to_string(),
        outcome: state.as_str().to_owned(),
        hindrances: answers.iter().flat_map(|answer| answer.hindrances.iter().cloned()).collect(),
    };
    NewEvent::new(closing.citizen.uuid(), &event)
}
