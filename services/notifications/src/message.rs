//! Messages to be sent: rows, made at most once each, in the transaction of the event that causes them.
//!
//! | [`enqueue`] of n drafts | round trips |
//! | --- | --- |
//! | who has devices, while they are held; who muted what | 2 |
//! | messages, inboxes | 2 |
//! | jobs, items of digests | 1 to 3 |
//! | settled events and the wake-up of streams | 2 |
//!
//! In-app messages have arrived when the transaction commits; push and SMS wait for their lane's workers: from the end of the citizen's
//! quiet hours on where the lane can wait, and news until the digest where one is wanted.
//!
//! Nobody gets a message who is erased. Who gets one is held (`citizen`), and an erasure, whose first mark stands before, lets go of that row
//! before it removes messages: it waits for a transaction that makes some and takes them along, or the transaction waits for it, sees
//! the mark and makes none.
//! Who is in no row of `citizen` is not held; identity says who there is with their first sign-in, long before anybody can leave.
//!
//! Locks, in this order: `citizen` (shared, in order of id), `message` (unique key), `inbox_head` (by citizen, in order of id), `job`, `outbox_head`.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use platform::job::NewJob;
use platform::outbox::NewEvent;
use proto::notifications::v1::{MessageSettled, MessagesSettled};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::SCHEMA;
use crate::lane::{Channel, Lane};
use crate::preference::Preferences;
use crate::template::Template;
use crate::{digest, inbox, preference_sql, template};

/// A message that an event calls for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Draft {
    /// The event that causes it.
    pub(crate) event_id: Uuid,
    /// A citizen; for one-time codes the sign-in challenge.
    pub(crate) recipient: Uuid,
    pub(crate) lane: Lane,
    pub(crate) channel: Channel,
    pub(crate) template: Template,
    /// What fills the template; holds no secret.
    pub(crate) parameters: Value,
}

/// How a message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// A worker is to send it.
    Waiting,
    /// It arrived, as far as its channel can tell.
    Delivered,
    /// It was given up.
    Failed,
    /// It was not to be sent.
    Suppressed,
}

impl State {
    /// The state's name in SQL, events and metrics.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Suppressed => "suppressed",
        }
    }
}

/// What is known about recipients when drafts are decided.
#[derive(Debug, Default)]
struct Recipients {
    preferences: HashMap<Uuid, Preferences>,
    with_device: HashSet<Uuid>,
}

impl Recipients {
    /// Whether a draft is not even a row: a push message that has no device to go to, of a lane that can wait until the app is opened.
    fn leaves_no_row(&self, draft: &Draft) -> bool {
        draft.channel == Channel::Push && draft.lane.may_be_muted() && !self.with_device.contains(&draft.recipient)
    }

    /// How a draft begins, with the reason when it already ends there. Pure.
    fn first_state(&self, draft: &Draft) -> (State, Option<&'static str>) {
        let muted = self.preferences.get(&draft.recipient).is_some_and(|own| !own.allow(draft.lane, draft.channel));
        match draft.channel {
            _ if muted => (State::Suppressed, Some("muted")),
            Channel::InApp => (State::Delivered, None),
            Channel::Push if !self.with_device.contains(&draft.recipient) => (State::Suppressed, Some("no-device")),
            Channel::Push | Channel::Sms => (State::Waiting, None),
        }
    }
}

impl Recipients {
    /// When a message that waits goes out. Pure.
    fn departure(&self, made: &Made, (now, zone): (DateTime<Utc>, Tz)) -> Departure {
        let Some(own) = self.preferences.get(&made.recipient).filter(|_| made.lane.may_be_muted()) else {
            return Departure::At(now);
        };
        let loud = |at: DateTime<Utc>| own.quiet.and_then(|quiet| quiet.end(at, zone)).unwrap_or(at);
        match own.digest_at {
            Some(hour) if made.is_digestible() => Departure::Together(loud(hour.next(now, zone))),
            _ => Departure::At(loud(now)),
        }
    }
}

/// How a message that waits goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Departure {
    /// By itself, from then on.
    At(DateTime<Utc>),
    /// With others, then.
    Together(DateTime<Utc>),
}

/// A message that [`enqueue`] made.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) id: Uuid,
    pub(crate) recipient: Uuid,
    pub(crate) lane: Lane,
    pub(crate) channel: Channel,
    pub(crate) template: Template,
    pub(crate) state: State,
}

impl Made {
    /// Whether it may be told together with others: news, but not the digest itself.
    fn is_digestible(&self) -> bool {
        (self.lane, self.channel) == (Lane::News, Channel::Push) && self.template != template::DIGEST
    }
}

/// Makes the messages of `drafts`, each at most once, and whatever sends them. Gives those that are new, and those that are suppressed
/// without a row.
pub(crate) async fn enqueue(
    connection: &mut PgConnection,
    drafts: &[Draft],
    (now, zone): (DateTime<Utc>, Tz),
) -> Result<Vec<Made>, sqlx::Error> {
    if drafts.is_empty() {
        return Ok(Vec::new());
    }
    let recipients = read_recipients(connection, drafts).await?;
    let made = insert(connection, drafts, &recipients, now).await?;
    let arrived: Vec<(Uuid, Uuid)> =
        made.iter().filter(|each| is_arrival(each)).map(|each| (each.recipient, each.id)).collect();
    inbox::insert(connection, &arrived).await?;
    let (mut jobs, mut items) = (Vec::new(), Vec::new());
    for each in made.iter().filter(|each| each.state == State::Waiting) {
        match recipients.departure(each, (now, zone)) {
            Departure::At(due) => jobs.push(NewJob::new(each.lane.job_kind(), each.id.to_string(), due)),
            Departure::Together(due) => items.push((each.id, each.recipient, due)),
        }
    }
    platform::job::schedule_all(connection, SCHEMA, now, &jobs).await?;
    digest::wait(connection, &items, now).await?;
    // About nobody in particular.
    let settled: Vec<NewEvent> =
        settled_together(&made).iter().map(|told| NewEvent::new(platform::id::new(), told)).collect();
    if !settled.is_empty() {
        platform::outbox::append(connection, SCHEMA, now, &settled).await?;
    }
    let woken: BTreeSet<Uuid> = arrived.into_iter().map(|(user, _)| user).collect();
    inbox::announce(connection, &woken).await?;
    Ok(made)
}

fn is_arrival(made: &Made) -> bool {
    made.channel == Channel::InApp && made.state == State::Delivered
}

/// How many of the messages ended at once, and how. Pure.
fn settled_together(made: &[Made]) -> Vec<MessagesSettled> {
    let mut counts: BTreeMap<_, i64> = BTreeMap::new();
    for each in made.iter().filter(|each| each.state != State::Waiting) {
        *counts.entry((each.lane.name(), each.channel.name(), each.state.name())).or_default() += 1;
    }
    let told = |((lane, channel, outcome), count): ((&str, &str, &str), i64)| {
        let (lane, channel, outcome) = (lane.to_owned(), channel.to_owned(), outcome.to_owned());
        MessagesSettled { lane, channel, outcome, count }
    };
    counts.into_iter().map(told).collect()
}

/// The event that says what became of a message that waited.
pub(crate) fn settled_event(id: Uuid, recipient: Uuid, what: (Lane, Channel, State)) -> NewEvent {
    let (lane, channel, state) = what;
    let message = MessageSettled {
        message_id: id.to_string(),
        lane: lane.name().to_owned(),
        channel: channel.name().to_owned(),
        outcome: state.name().to_owned(),
    };
    NewEvent::new(recipient, &message)
}

async fn read_recipients(connection: &mut PgConnection, drafts: &[Draft]) -> Result<Recipients, sqlx::Error> {
    let users: BTreeSet<Uuid> = drafts.iter().map(|draft| draft.recipient).collect();
    let users: Vec<Uuid> = users.into_iter().collect();
    let preferences = preference_sql::read_all(connection, &users).await?;
    // Everybody is looked at, so that everybody is held, with or without a device.
    let rows = sqlx::query!(
        r#"WITH held AS MATERIALIZED (
               SELECT user_id FROM notifications.citizen WHERE user_id = ANY ($1) ORDER BY user_id FOR KEY SHARE
           )
           SELECT one.user_id AS "user_id!", held.user_id AS "held?",
                  EXISTS (SELECT FROM notifications.device WHERE device.user_id = one.user_id) AS "has_device!"
           FROM unnest($1::uuid[]) AS one (user_id) LEFT JOIN held ON held.user_id = one.user_id"#,
        &users
    )
    .fetch_all(connection)
    .await?;
    let with_device = rows.into_iter().filter(|row| row.has_device).map(|row| row.user_id).collect();
    Ok(Recipients { preferences, with_device })
}

async fn insert(
    connection: &mut PgConnection,
    drafts: &[Draft],
    recipients: &Recipients,
    now: DateTime<Utc>,
) -> Result<Vec<Made>, sqlx::Error> {
    let all = drafts.iter().map(|draft| {
        let Draft { recipient, lane, channel, template, .. } = *draft;
        let (state, reason) = recipients.first_state(draft);
        (draft, reason, Made { id: platform::id::new(), recipient, lane, channel, template, state })
    });
    let (nowhere, rows): (Vec<_>, Vec<_>) = all.partition(|(draft, ..)| recipients.leaves_no_row(draft));
    if rows.is_empty() {
        return Ok(nowhere.into_iter().map(|(.., made)| made).collect());
    }
    let ids: Vec<Uuid> = rows.iter().map(|(.., made)| made.id).collect();
    let events: Vec<Uuid> = rows.iter().map(|(draft, ..)| draft.event_id).collect();
    let to: Vec<Uuid> = rows.iter().map(|(draft, ..)| draft.recipient).collect();
    let lanes: Vec<&str> = rows.iter().map(|(draft, ..)| draft.lane.name()).collect();
    let channels: Vec<&str> = rows.iter().map(|(draft, ..)| draft.channel.name()).collect();
    let templates: Vec<&str> = rows.iter().map(|(draft, ..)| draft.template.name()).collect();
    let parameters: Vec<&Value> = rows.iter().map(|(draft, ..)| &draft.parameters).collect();
    let names: Vec<&str> = rows.iter().map(|(.., made)| made.state.name()).collect();
    let reasons: Vec<Option<&str>> = rows.iter().map(|(_, reason, _)| *reason).collect();
    let inserted: HashSet<Uuid> = sqlx::query_scalar!(
        r#"INSERT INTO notifications.message
               (id, event_id, recipient, lane, channel, template, parameters, state, reason, created_at, settled_at)
           SELECT draft.id, draft.event_id, draft.recipient, draft.lane, draft.channel, draft.template, draft.parameters,
                  draft.state, draft.reason, $10::timestamptz, CASE WHEN draft.state <> 'waiting' THEN $10::timestamptz END
           FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::jsonb[], $8::text[], $9::text[])
               AS draft (id, event_id, recipient, lane, channel, template, parameters, state, reason)
           WHERE NOT EXISTS (SELECT FROM notifications.person_key WHERE person = draft.recipient AND key IS NULL)
           ON CONFLICT ON CONSTRAINT message_is_sent_once DO NOTHING
           RETURNING id"#,
        &ids,
        &events,
        &to,
        &lanes as &[&str],
        &channels as &[&str],
        &templates as &[&str],
        &parameters as &[&Value],
        &names as &[&str],
        &reasons as &[Option<&str>],
        now,
    )
    .fetch_all(connection)
    .await?
    .into_iter()
    .collect();
    // What has no row is as new as the message in the app that it goes with.
    let companion = |draft: &Draft| (draft.event_id, draft.recipient, draft.template.name());
    let known: HashSet<_> =
        rows.iter().filter(|(.., made)| !inserted.contains(&made.id)).map(|(draft, ..)| companion(draft)).collect();
    let new = rows.into_iter().filter(|(.., made)| inserted.contains(&made.id));
    let nowhere = nowhere.into_iter().filter(|(draft, ..)| !known.contains(&companion(draft)));
    Ok(new.chain(nowhere).map(|(.., made)| made).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_ended_at_once_is_told_together() {
        let made = |channel, state| Made {
            id: Uuid::nil(),
            recipient: Uuid::nil(),
            lane: Lane::Payment,
            channel,
            template: template::PAYMENT_SENT,
            state,
        };
        let (app, push) = (made(Channel::InApp, State::Delivered), made(Channel::Push, State::Suppressed));
        let waiting = made(Channel::Push, State::Waiting);
        let told = settled_together(&[app.clone(), push, waiting, app]);
        let kinds: Vec<_> = told.into_iter().map(|told| (told.channel, told.outcome, told.count)).collect();
        let line = |channel: &str, outcome: &str, count| (channel.to_owned(), outcome.to_owned(), count);
        assert_eq!(kinds, [line("in-app", "delivered", 2), line("push", "suppressed", 1)]);
        assert!(settled_together(&[made(Channel::Sms, State::Waiting)]).is_empty());
    }

    #[test]
    fn what_a_draft_becomes() {
        let (plain, quiet) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let draft = |recipient, lane, channel| Draft {
            event_id: Uuid::nil(),
            recipient,
            lane,
            channel,
            template: template::PAYMENT_SENT,
            parameters: json!({}),
        };
        let muted = Channel::ALL.map(|channel| (Lane::Payment, channel));
        let recipients = Recipients {
            preferences: HashMap::from([(quiet, Preferences::stored(None, muted, 1))]),
            with_device: HashSet::from([quiet]),
        };
        let state = |recipient, lane, channel| recipients.first_state(&draft(recipient, lane, channel));
        assert_eq!(state(plain, Lane::Payment, Channel::InApp), (State::Delivered, None));
        assert_eq!(state(plain, Lane::Payment, Channel::Push), (State::Suppressed, Some("no-device")));
        assert_eq!(state(plain, Lane::Security, Channel::Sms), (State::Waiting, None));
        assert_eq!(state(quiet, Lane::Payment, Channel::InApp), (State::Suppressed, Some("muted")));
        assert_eq!(state(quiet, Lane::Payment, Channel::Push), (State::Suppressed, Some("muted")));
        assert_eq!(state(quiet, Lane::News, Channel::Push), (State::Waiting, None));
        let leaves_no_row = |recipient, lane, channel| recipients.leaves_no_row(&draft(recipient, lane, channel));
        assert!(leaves_no_row(plain, Lane::Payment, Channel::Push));
        assert!(!leaves_no_row(plain, Lane::Security, Channel::Push), "operators see why a warning did not arrive");
        assert!(
            !leaves_no_row(plain, Lane::Payment, Channel::InApp) && !leaves_no_row(quiet, Lane::Payment, Channel::Push)
        );
    }
}
