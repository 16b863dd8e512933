//! What officers do with alerts: draft, adopt, release, cancel.
//!
//! | [`Desk::release`], [`Desk::cancel`] | round trips |
//! | --- | --- |
//! | read, lock the alert and the one it supersedes, read again | 3 to 4 |
//! | write both, begin the fan-out, schedule its job | 3 to 4 |
//! | append the event | 1 |
//!
//! All of a step happens in one transaction: whoever dies half way has done nothing, and who asks again is told what is.
//! Locks, in this order: `alert` (by id), `alert_fan_out`, `job`, `outbox_head`.

use std::sync::Arc;

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use platform::clock::Clock;
use platform::job::NewJob;
use platform::outbox::NewEvent;
use proto::notifications::v1::{AlertCancelled, AlertReleased};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::cap::{self, Message, Reference};
use super::fan_out::{self, JOB_KIND};
use super::store::{self, Alert};
use super::{AlertId, Bilingual, Content, Kind, Life, Origin, Refusal, State};
use super::{climb, tell};
use crate::SCHEMA;
use crate::city::City;
use crate::error::Error;
use crate::meter::Meter;

/// The longest time for which an alert is in force.
pub(crate) const MAX_LIFE: TimeDelta = TimeDelta::days(7);
/// How long the end of an alert can be told at least, however soon the alert would have ended by itself.
const END_LIFE: TimeDelta = TimeDelta::hours(6);

/// Where officers work on alerts. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Desk {
    pub(crate) pool: PgPool,
    pub(crate) clock: Clock,
    pub(crate) city: Arc<City>,
    pub(crate) meter: Meter,
}

/// Who drafts.
#[derive(Clone, Debug)]
pub(crate) enum Author {
    /// An officer, who stands for it.
    Officer(Uuid),
    /// An alarm of a river.
    Alarm(Uuid),
    /// A CAP document of somebody else, brought by an officer, who stands for it, or by a partner.
    Cap {
        /// Sender and identifier.
        reference: String,
        officer: Option<Uuid>,
    },
}

impl From<Uuid> for Author {
    fn from(officer: Uuid) -> Self {
        Self::Officer(officer)
    }
}

impl Author {
    fn officer(&self) -> Option<Uuid> {
        match self {
            Self::Officer(officer) => Some(*officer),
            Self::Alarm(_) => None,
            Self::Cap { officer, .. } => *officer,
        }
    }

    fn origin(self) -> (Origin, Option<String>) {
        match self {
            Self::Officer(_) => (Origin::Officer, None),
            Self::Alarm(alarm) => (Origin::Alarm, Some(alarm.to_string())),
            Self::Cap { reference, .. } => (Origin::Cap, Some(reference)),
        }
    }
}

/// What somebody wants to warn of.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) content: Content,
    pub(crate) expires_at: DateTime<Utc>,
    /// The alert in force that it is to replace.
    pub(crate) updates: Option<AlertId>,
}

impl Desk {
    /// Writes a draft. Call it in a transaction.
    ///
    /// # Errors
    /// When what it says is not valid, or there is nothing in force to replace.
    pub(crate) async fn draft(
        &self,
        connection: &mut PgConnection,
        author: impl Into<Author>,
        wanted: Wanted,
    ) -> Result<Alert, Error> {
        let author = author.into();
        let now = self.clock.now();
        wanted.content.check(&self.city)?;
        let expires_at = self.checked_end(wanted.expires_at)?;
        if let Some(earlier) = wanted.updates {
            let earlier = store::read(&mut *connection, earlier).await?;
            earlier.life.replace(Kind::Update, now).map_err(Error::Refused)?;
            same_status(&earlier, &wanted.content)?;
        }
        let kind = if wanted.updates.is_some() { Kind::Update } else { Kind::Alert };
        let life = Life { kind, state: State::Drafted, drafted_by: author.officer(), released_by: None, expires_at };
        let mut alert = self.new_alert(life, wanted.content, wanted.updates);
        (alert.origin, alert.origin_reference) = author.origin();
        store::insert(connection, &alert).await?;
        Ok(alert)
    }

    /// Lets an officer stand for a draft of nobody's, as it is or as they amend it, once. Call it in a transaction.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Refused`] when it is no draft any more, the end of a warning, or an officer's; those of a draft.
    pub(crate) async fn adopt(
        &self,
        transaction: &mut PgConnection,
        (officer, id): (Uuid, AlertId),
        (content, expires_at): (Option<Content>, Option<DateTime<Utc>>),
    ) -> Result<Alert, Error> {
        store::lock(transaction, id, None).await?;
        let mut alert = store::read(transaction, id).await?;
        let now = self.clock.now();
        let amends = content.is_some() || expires_at.is_some();
        let Some(life) = alert.life.adopt(officer, now).map_err(Error::Refused)? else {
            return if amends { Err(Error::Refused(Refusal::Adopted)) } else { Ok(alert) };
        };
        alert.life = life;
        alert.revision += i32::from(amends);
        if let Some(content) = content {
            content.check(&self.city)?;
            alert.content = content;
        }
        if let Some(expires_at) = expires_at {
            alert.life.expires_at = self.checked_end(expires_at)?;
        }
        store::adopt(transaction, &alert).await?;
        Ok(alert)
    }

    /// Drafts the end of an alert in force, because whoever sent it says that it is over. Call it in a transaction.
    ///
    /// # Errors
    /// [`Error::Refused`] when it is not in force.
    pub(crate) async fn draft_end(
        &self,
        transaction: &mut PgConnection,
        author: Author,
        (earlier, reason): (&Alert, Bilingual),
    ) -> Result<Alert, Error> {
        let now = self.clock.now();
        earlier.life.replace(Kind::Cancel, now).map_err(Error::Refused)?;
        let life = Life {
            kind: Kind::Cancel,
            state: State::Drafted,
            drafted_by: author.officer(),
            released_by: None,
            expires_at: earlier.life.expires_at.max((now + END_LIFE).trunc_subsecs(0)),
        };
        let mut alert = self.new_alert(life, earlier.content.cancelled(reason), Some(earlier.id));
        (alert.origin, alert.origin_reference) = author.origin();
        store::insert(transaction, &alert).await?;
        Ok(alert)
    }

    fn checked_end(&self, expires_at: DateTime<Utc>) -> Result<DateTime<Utc>, Error> {
        let (now, expires_at) = (self.clock.now(), expires_at.trunc_subsecs(0));
        let good = expires_at > now && expires_at <= now + MAX_LIFE;
        if good { Ok(expires_at) } else { Err(Error::ExpiryInvalid) }
    }

    /// Releases a draft, as the officer read it: from here on it goes to citizens. Asking again changes nothing.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Refused`] for whoever drafted it, and when it is no draft any more; [`Error::AlertChanged`].
    pub(crate) async fn release(&self, officer: Uuid, (id, revision): (AlertId, i32)) -> Result<Alert, Error> {
        let mut transaction = platform::db::begin(&self.pool).await?;
        let supersedes = store::read(&mut transaction, id).await?.supersedes;
        store::lock(&mut transaction, id, supersedes).await?;
        let mut alert = store::read(&mut transaction, id).await?;
        let now = self.clock.now();
        let Some(life) = alert.life.release(officer, now).map_err(Error::Refused)? else { return Ok(alert) };
        if revision != alert.revision {
            return Err(Error::AlertChanged(alert.revision));
        }
        alert.life = life;
        let earlier = self.send(&mut transaction, &mut alert, now).await?;
        store::update(&mut transaction, &alert).await?;
        let event = match &earlier {
            Some(earlier) if alert.life.kind == Kind::Cancel => cancelled_event(earlier, &alert, now),
            _ => released_event(&alert, now),
        };
        self.begin_fan_out(&mut transaction, &alert, event, now).await?;
        transaction.commit().await?;
        let step = match alert.life.kind {
            Kind::Alert => "released",
            Kind::Update => "updated",
            Kind::Cancel => "cancelled",
        };
        self.meter.alert(step, alert.content.severity);
        Ok(alert)
    }

    /// Gives a draft up, or ends an alert in force by a message that says so. Call it in a transaction; the metric is the
    /// caller's to count once that is committed.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Refused`] when it has ended; [`Error::InvalidField`].
    pub(crate) async fn cancel(
        &self,
        transaction: &mut PgConnection,
        officer: Uuid,
        id: AlertId,
        reason: Bilingual,
    ) -> Result<Alert, Error> {
        Content::check_reason(&reason)?;
        store::lock(transaction, id, None).await?;
        let mut alert = store::read(transaction, id).await?;
        let now = self.clock.now();
        if alert.life.state == State::Drafted {
            alert.life = alert.life.withdraw(now).map_err(Error::Refused)?;
            (alert.ended_by, alert.ended_at) = (Some(officer), Some(now));
            store::update(transaction, &alert).await?;
            return Ok(alert);
        }
        let life = Life {
            kind: Kind::Cancel,
            state: State::Released,
            drafted_by: Some(officer),
            released_by: Some(officer),
            expires_at: alert.life.expires_at.max((now + END_LIFE).trunc_subsecs(0)),
        };
        let mut ending = self.new_alert(life, alert.content.cancelled(reason), Some(id));
        self.send(transaction, &mut ending, now).await?;
        store::insert(transaction, &ending).await?;
        let event = cancelled_event(&alert, &ending, now);
        self.begin_fan_out(transaction, &ending, event, now).await?;
        Ok(ending)
    }

    fn new_alert(&self, life: Life, content: Content, supersedes: Option<AlertId>) -> Alert {
        let id = AlertId::generate();
        Alert {
            id,
            identifier: format!("{}-{}", self.city.warner.identifier_prefix, id.uuid()),
            life,
            content,
            revision: 1,
            supersedes,
            origin: Origin::Officer,
            origin_reference: None,
            drafted_at: self.clock.now(),
            released_at: None,
            ended_by: None,
            ended_at: None,
            document: None,
        }
    }

    /// Ends the alert that this one supersedes, and makes the document; gives the one that was ended. The rows are locked.
    async fn send(
        &self,
        transaction: &mut PgConnection,
        alert: &mut Alert,
        now: DateTime<Utc>,
    ) -> Result<Option<Alert>, Error> {
        let sent = now.trunc_subsecs(0);
        let mut earlier = None;
        if let Some(id) = alert.supersedes {
            let mut found = store::read(transaction, id).await?;
            same_status(&found, &alert.content)?;
            if let Some(life) = found.life.yields(alert.life.kind, now).map_err(Error::Refused)? {
                found.life = life;
                (found.ended_by, found.ended_at) = (alert.life.released_by, Some(now));
                store::update(transaction, &found).await?;
            }
            earlier = Some(found);
        }
        let reference = earlier.as_ref().map(|earlier| Reference {
            identifier: &earlier.identifier,
            sent: self.city.local(earlier.released_at.unwrap_or(sent)),
        });
        let document = cap::document(
            &Message {
                identifier: &alert.identifier,
                kind: alert.life.kind,
                sent: self.city.local(sent),
                expires: self.city.local(alert.life.expires_at),
                content: &alert.content,
                reference,
            },
            &self.city,
        );
        alert.released_at = Some(sent);
        alert.document = Some(document);
        Ok(earlier)
    }

    async fn begin_fan_out(
        &self,
        transaction: &mut PgConnection,
        alert: &Alert,
        event: NewEvent,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        fan_out::begin(transaction, alert.id).await?;
        let mut jobs = vec![NewJob::new(JOB_KIND, alert.id.to_string(), now), tell::job(alert.id, now)];
        jobs.extend(climb::job(alert.id, alert.content.severity, now));
        platform::job::schedule_all(transaction, SCHEMA, now, &jobs).await?;
        platform::outbox::append(transaction, SCHEMA, now, &[event]).await?;
        Ok(())
    }
}

/// An exercise replaces no warning that is meant, nor the other way round: whoever got the one would read the other as its end.
fn same_status(earlier: &Alert, content: &Content) -> Result<(), Error> {
    if earlier.content.status == content.status { Ok(()) } else { Err(Error::StatusDiffers) }
}

fn cancelled_event(ended: &Alert, ending: &Alert, now: DateTime<Utc>) -> NewEvent {
    NewEvent::new(
        ended.id.uuid(),
        &AlertCancelled {
            alert_id: ended.id.to_string(),
            identifier: ended.identifier.clone(),
            cancel_alert_id: ending.id.to_string(),
            severity: ended.content.severity.name().to_owned(),
            ward_codes: ended.content.wards.clone(),
            cancelled_at: now.timestamp(),
            exercise: ended.content.status == super::Status::Exercise,
        },
    )
}

fn released_event(alert: &Alert, now: DateTime<Utc>) -> NewEvent {
    let content = &alert.content;
    NewEvent::new(
        alert.id.uuid(),
        &AlertReleased {
            alert_id: alert.id.to_string(),
            identifier: alert.identifier.clone(),
            kind: alert.life.kind.name().to_owned(),
            category: content.category.name().to_owned(),
            severity: content.severity.name().to_owned(),
            urgency: content.urgency.name().to_owned(),
            certainty: content.certainty.name().to_owned(),
            headline_vi: content.headline.vi.clone(),
            headline_en: content.headline.en.clone(),
            ward_codes: content.wards.clone(),
            released_at: now.timestamp(),
            expires_at: alert.life.expires_at.timestamp(),
            supersedes_alert_id: alert.supersedes.map(|id| id.to_string()).unwrap_or_default(),
            exercise: content.status == super::Status::Exercise,
        },
    )
}
