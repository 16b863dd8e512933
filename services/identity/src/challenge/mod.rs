//! One-time codes: asked for, handed to notifications once, answered.
//!
//! | step | round trips |
//! | --- | --- |
//! | ask | 1 to PostgreSQL (pause, known device), 1 to Redis (caps), then one transaction: pause, challenge, event |
//! | take (notifications) | 1 transaction: lock, mark |
//! | look (before something costly) | 1, without a lock |
//! | answer | within the caller's transaction: lock, then count or consume |
//!
//! Asking takes the same steps for every number, known or not. The code leaves by gRPC only, never in an event or log.
//! What stands in the way of whoever asks too often is in `toll`.
//! Invariants: a wrong answer is counted under the challenge's lock; a challenge is consumed at most once.

mod rule;
mod sql;
mod toll;

use std::net::IpAddr;

use chrono::{DateTime, TimeDelta, Utc};
use platform::http::Language;
use platform::outbox::{self, NewEvent};
use proto::identity::v1::OtpRequested;
use sqlx::PgConnection;
use tracing::info;

pub(crate) use rule::Code;
pub use rule::{ChallengeId, Purpose};
pub(crate) use sql::{prune, sent_to};
pub(crate) use toll::{network, subscriber};

use self::rule::{Answer, State, Verdict};
use self::toll::Acquaintance;
use crate::config::Lifetimes;
use crate::device::{self, DeviceId};
use crate::error::{Error, seconds_until};
use crate::phone::Phone;
use crate::vault::{Digest, Place, same};
use crate::{Identity, SCHEMA};

/// How long after the first take the same code is handed out again, for an answer that was lost.
const RETAKE: TimeDelta = TimeDelta::seconds(60);
const CODE: &str = "challenge.code";
const PHONE: &str = "challenge.phone";

/// A request for a code.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub phone: Phone,
    pub purpose: Purpose,
    pub device: DeviceId,
    pub language: Language,
    /// Where it came from, if the transport says.
    pub address: Option<IpAddr>,
}

/// What is told to whoever asked: the same for every number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub id: ChallengeId,
    pub expires_at: DateTime<Utc>,
    pub resend_after_s: u32,
}

/// A code on its way to the phone.
pub(crate) struct Taken {
    pub phone: Phone,
    pub code: Code,
    pub language: Language,
    pub purpose: Purpose,
    pub expires_at: DateTime<Utc>,
}

/// What somebody answers.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub challenge: ChallengeId,
    pub purpose: Purpose,
    pub device: Option<DeviceId>,
    pub code: Code,
}

/// What a right answer proves.
#[derive(Clone, Debug)]
pub(crate) struct Proved {
    pub phone: Phone,
    pub phone_digest: Digest,
    pub device: DeviceId,
    pub language: Language,
}

/// What a look at a challenge says about an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// It would be taken.
    Right,
    /// It would be refused, and is to be answered, so that it is counted.
    Bad,
    /// There is no such challenge for this number, device and purpose.
    Foreign,
}

/// A challenge as it is stored.
struct Row {
    id: ChallengeId,
    purpose: Purpose,
    phone_digest: Digest,
    phone: Option<Vec<u8>>,
    device: DeviceId,
    language: String,
    code_digest: Vec<u8>,
    code: Option<Vec<u8>>,
    tries: u8,
    created_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
    taken_at: Option<DateTime<Utc>>,
    consumed: bool,
}

impl Identity {
    /// Makes a challenge and has its code sent.
    pub(crate) async fn ask_code(&self, ask: Ask) -> Result<Asked, Error> {
        let outcome = self.try_ask_code(&ask).await;
        match &outcome {
            Ok(_) => self.meter.otp_sent(ask.purpose.as_str()),
            Err(Error::CodeTooSoon { .. }) => self.meter.otp_refused("too-soon"),
            Err(Error::CapsAway(_)) => self.meter.otp_refused("caps-away"),
            // A reached cap is counted by its kind where it is found.
            Err(Error::CodeCapped { .. } | Error::CodesPaused { .. }) => {}
            Err(_) => self.meter.otp_refused("error"),
        }
        outcome
    }

    async fn try_ask_code(&self, ask: &Ask) -> Result<Asked, Error> {
        let now = self.now();
        let digest = self.vault.phone_digest(ask.phone.e164());
        let pause = Lifetimes::span(self.config.lifetimes.otp_resend_seconds);
        let (sent_at, known_device) = {
            let mut conn = self.pool.acquire().await?;
            (
                sql::sent_at(&mut conn, &digest, ask.device).await?,
                device::is_known(&mut conn, &digest, ask.device).await?,
            )
        };
        if let Some(next) = sent_at.map(|sent_at| sent_at + pause).filter(|next| *next > now) {
            return Err(Error::CodeTooSoon { retry_s: seconds_until(next, now) });
        }
        self.pay_toll(ask, &digest, Acquaintance::of(known_device), now).await?;
        let row = self.new_challenge(ask, digest, now);
        let mut tx = platform::db::begin(&self.pool).await?;
        if !sql::mark_sent(&mut tx, &digest, ask.device, now, now - pause).await? {
            return Err(Error::CodeTooSoon { retry_s: u64::from(self.config.lifetimes.otp_resend_seconds).max(1) });
        }
        sql::insert(&mut tx, &row).await?;
        let event = OtpRequested { challenge_id: row.id.to_string() };
        outbox::append(&mut tx, SCHEMA, now, &[NewEvent::new(row.id.uuid(), &event)]).await?;
        tx.commit().await?;
        info!(challenge.id = %row.id, purpose = ask.purpose.as_str(), "one-time code requested");
        Ok(Asked { id: row.id, expires_at: row.expires_at, resend_after_s: self.config.lifetimes.otp_resend_seconds })
    }

    fn new_challenge(&self, ask: &Ask, phone_digest: Digest, now: DateTime<Utc>) -> Row {
        let id = ChallengeId::generate();
        let code = Code::generate();
        Row {
            id,
            purpose: ask.purpose,
            phone_digest,
            phone: Some(self.vault.seal(Place::new(PHONE, id), ask.phone.e164().as_bytes())),
            device: ask.device,
            language: ask.language.tag().to_owned(),
            code_digest: self.vault.code_digest(id.uuid(), ask.purpose.as_str(), code.expose()).to_vec(),
            code: Some(self.vault.seal(Place::new(CODE, id), code.expose().as_bytes())),
            tries: 0,
            created_at: now,
            expires_at: now + Lifetimes::span(self.config.lifetimes.otp_seconds),
            taken_at: None,
            consumed: false,
        }
    }

    /// Hands a code out: at first take, and again shortly after; otherwise there is nothing.
    pub(crate) async fn take_code(&self, id: ChallengeId) -> Result<Taken, Error> {
        let now = self.now();
        let mut tx = platform::db::begin(&self.pool).await?;
        let row = sql::lock(&mut tx, id).await?.ok_or(Error::NotFound)?;
        let late = row.taken_at.is_some_and(|taken_at| now >= taken_at + RETAKE) || now >= row.expires_at;
        let (Some(code), Some(phone), false) = (&row.code, &row.phone, late) else { return Err(Error::NotFound) };
        let code = self.vault.open(Place::new(CODE, id), code)?;
        let e164 = self.vault.open(Place::new(PHONE, id), phone)?;
        if row.taken_at.is_none() {
            sql::mark_taken(&mut tx, id, now).await?;
        }
        tx.commit().await?;
        let text = |bytes| String::from_utf8(bytes).map_err(|_| crate::vault::Unsealable);
        Ok(Taken {
            phone: self.numbering.stored(text(e164)?)?,
            code: Code::parse(&text(code)?).ok_or(crate::vault::Unsealable)?,
            language: Language::from_tag(&row.language),
            purpose: row.purpose,
            expires_at: row.expires_at,
        })
    }

    /// Whether an answer would be taken as it stands now, and proves this number; counts and consumes nothing.
    ///
    /// What it tells is not final: [`Identity::answer_code`] decides.
    pub(crate) async fn look_at_code(
        &self,
        attempt: &Attempt,
        phone: &Digest,
        now: DateTime<Utc>,
    ) -> Result<Look, Error> {
        let row = sql::read(&mut *self.pool.acquire().await?, attempt.challenge).await?;
        let Some(row) = row.filter(|row| row.phone_digest == *phone) else { return Ok(Look::Foreign) };
        Ok(match self.verdict(&row, attempt, now) {
            Verdict::Right => Look::Right,
            Verdict::Foreign => Look::Foreign,
            Verdict::Used | Verdict::Exhausted | Verdict::Expired | Verdict::Wrong { .. } => Look::Bad,
        })
    }

    /// Judges an answer under the challenge's lock and consumes the challenge if it is right.
    ///
    /// Whatever comes back, the caller commits: a wrong answer has been counted.
    pub(crate) async fn answer_code(
        &self,
        tx: &mut PgConnection,
        attempt: &Attempt,
        now: DateTime<Utc>,
    ) -> Result<Proved, Error> {
        let verdict = match sql::lock(tx, attempt.challenge).await? {
            None => Err(Error::ChallengeUnknown),
            Some(row) => self.judge(tx, row, attempt, now).await,
        };
        let outcome = match &verdict {
            Ok(_) => "right",
            Err(Error::CodeWrong { .. }) => "wrong",
            Err(Error::CodeExhausted) => "exhausted",
            Err(Error::CodeExpired) => "expired",
            Err(Error::CodeUsed) => "used",
            Err(Error::ChallengeUnknown) => "unknown",
            Err(_) => "error",
        };
        self.meter.otp_check(attempt.purpose.as_str(), outcome);
        verdict
    }

    fn verdict(&self, row: &Row, attempt: &Attempt, now: DateTime<Utc>) -> Verdict {
        let digest = self.vault.code_digest(row.id.uuid(), row.purpose.as_str(), attempt.code.expose());
        let answer =
            Answer { purpose: attempt.purpose, device: attempt.device, matches: same(&digest, &row.code_digest) };
        let state = State {
            purpose: row.purpose,
            device: row.device,
            tries: row.tries,
            expires_at: row.expires_at,
            consumed: row.consumed,
        };
        rule::judge(&state, answer, now)
    }

    async fn judge(
        &self,
        tx: &mut PgConnection,
        row: Row,
        attempt: &Attempt,
        now: DateTime<Utc>,
    ) -> Result<Proved, Error> {
        match self.verdict(&row, attempt, now) {
            Verdict::Foreign => Err(Error::ChallengeUnknown),
            Verdict::Used => Err(Error::CodeUsed),
            Verdict::Exhausted => Err(Error::CodeExhausted),
            Verdict::Expired => Err(Error::CodeExpired),
            Verdict::Wrong { left } => {
                sql::count_wrong(tx, row.id).await?;
                Err(Error::CodeWrong { left })
            }
            Verdict::Right => {
                let sealed = row.phone.as_ref().ok_or(crate::vault::Unsealable)?;
                let e164 = String::from_utf8(self.vault.open(Place::new(PHONE, row.id), sealed)?)
                    .map_err(|_| crate::vault::Unsealable)?;
                sql::consume(tx, row.id, now).await?;
                Ok(Proved {
                    phone: self.numbering.stored(e164)?,
                    phone_digest: row.phone_digest,
                    device: row.device,
                    language: Language::from_tag(&row.language),
                })
            }
        }
    }
}
