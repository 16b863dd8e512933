//! What officers do with alerts: draft, release, cancel.
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
use super::{AlertId, Bilingual, Content, Kind, Life, State};
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

/// What an officer wants to warn of.
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
        officer: Uuid,
        wanted: Wanted,
    ) -> Result<Alert, Error> {
        let now = self.clock.now();
        wanted.content.check(&self.city)?;
        let expires_at = wanted.expires_at.trunc_subsecs(0);
        if expires_at <= now || expires_at > now + MAX_LIFE {
            return Err(Error::ExpiryInvalid);
        }
        if let Some(earlier) = wanted.updates {
            let earlier = store::read(&mut *connection, earlier).await?;
            earlier.life.replace(Kind::Update, now).map_err(Error::Refused)?;
        }
        let kind = if wanted.updates.is_some() { Kind::Update } else { Kind::Alert };
        let life = Life { kind, state: State::Drafted, drafted_by: officer, released_by: None, expires_at };
        let alert = self.new_alert(life, wanted.content, wanted.updates);
        store::insert(connection, &alert).await?;
        Ok(alert)
    }

    /// Releases a draft: from here on it goes to citizens. Asking again changes nothing.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Refused`] for whoever drafted it, and when it is no draft any more.
    pub(crate) async fn release(&self, officer: Uuid, id: AlertId) -> Result<Alert, Error> {
        let mut transaction = platform::db::begin(&self.pool).await?;
        let supersedes = store::read(&mut transaction, id).await?.supersedes;
        store::lock(&mut transaction, id, supersedes).await?;
        let mut alert = store::read(&mut transaction, id).await?;
        let now = self.clock.now();
        let Some(life) = alert.life.release(officer, now).map_err(Error::Refused)? else { return Ok(alert) };
        alert.life = life;
        self.send(&mut transaction, &mut alert, now).await?;
        store::update(&mut transaction, &alert).await?;
        let event = released_event(&alert, now);
        self.begin_fan_out(&mut transaction, &alert, event, now).await?;
        transaction.commit().await?;
        self.meter.alert(if alert.life.kind == Kind::Update { "updated" } else { "released" }, alert.content.severity);
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
            drafted_by: officer,
            released_by: Some(officer),
            expires_at: alert.life.expires_at.max((now + END_LIFE).trunc_subsecs(0)),
        };
        let mut ending = self.new_alert(life, alert.content.cancelled(reason), Some(id));
        self.send(transaction, &mut ending, now).await?;
        store::insert(transaction, &ending).await?;
        let event = NewEvent::new(
            id.uuid(),
            &AlertCancelled {
                alert_id: id.to_string(),
                identifier: alert.identifier.clone(),
                cancel_alert_id: ending.id.to_string(),
                severity: alert.content.severity.name().to_owned(),
                ward_codes: alert.content.wards.clone(),
                cancelled_at: now.timestamp(),
                exercise: alert.content.status == super::Status::Exercise,
            },
        );
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
            supersedes,
            drafted_at: self.clock.now(),
            released_at: None,
            ended_by: None,
            ended_at: None,
            document: None,
        }
    }

    /// Ends the alert that this one supersedes, and makes the document. The rows are locked.
    async fn send(&self, transaction: &mut PgConnection, alert: &mut Alert, now: DateTime<Utc>) -> Result<(), Error> {
        let sent = now.trunc_subsecs(0);
        let mut earlier = None;
        if let Some(id) = alert.supersedes {
            let mut found = store::read(transaction, id).await?;
            found.life = found.life.replace(alert.life.kind, now).map_err(Error::Refused)?;
            (found.ended_by, found.ended_at) = (alert.life.released_by, Some(now));
            store::update(transaction, &found).await?;
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
        Ok(())
    }

    async fn begin_fan_out(
        &self,
        transaction: &mut PgConnection,
        alert: &Alert,
        event: NewEvent,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        fan_out::begin(transaction, alert.id).await?;
        let job = NewJob::new(JOB_KIND, alert.id.to_string(), now);
        platform::job::schedule(transaction, SCHEMA, now, job).await?;
        platform::outbox::append(transaction, SCHEMA, now, &[event]).await?;
        Ok(())
    }
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
