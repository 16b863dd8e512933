//! From the events of warnings to what the wall shows of them: pure, no I/O.
//!
//! Each event replaces a row; events of one warning come in order. The end of a warning that another replaced comes with the other's event,
//! and may be told before its own beginning: ends are therefore kept apart.

use chrono::{DateTime, Utc};
use platform::events::Event;
use proto::notifications::v1::{AlertCancelled, AlertReached, AlertReleased};
use uuid::Uuid;

use crate::tally::{TallyError, bounded};

const SEVERITIES: [&str; 5] = ["extreme", "severe", "moderate", "minor", "unknown"];

/// A warning that was released.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Released {
    pub(crate) id: Uuid,
    pub(crate) identifier: String,
    pub(crate) category: String,
    pub(crate) severity: &'static str,
    /// Vietnamese, English.
    pub(crate) headline: (String, String),
    pub(crate) wards: Vec<String>,
    pub(crate) released_at: DateTime<Utc>,
    pub(crate) expires_at: DateTime<Utc>,
    pub(crate) exercise: bool,
}

/// How a warning ended before its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) id: Uuid,
    pub(crate) how: &'static str,
    pub(crate) at: DateTime<Utc>,
}

/// How many have a warning in a ward; in all for the empty one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reached {
    pub(crate) id: Uuid,
    pub(crate) ward: String,
    pub(crate) recipients: i64,
    pub(crate) reached: i64,
    pub(crate) complete: bool,
}

/// What a batch of events changes, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(crate) released: Vec<Released>,
    pub(crate) ended: Vec<Ended>,
    pub(crate) reached: Vec<Reached>,
}

impl Batch {
    /// Whether there is nothing in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.released.is_empty() && self.ended.is_empty() && self.reached.is_empty()
    }

    /// Takes one event; those of other kinds change nothing.
    ///
    /// # Errors
    /// When its payload is not what its type says; the batch is then of no use.
    pub(crate) fn add(&mut self, event: &Event) -> Result<(), TallyError> {
        if let Some(read) = event.decode::<AlertReleased>() {
            let read = read?;
            if let Ok(earlier) = read.supersedes_alert_id.parse() {
                self.ended.push(Ended { id: earlier, how: "updated", at: event.time });
            }
            self.released.push(Released {
                id: event.subject,
                identifier: read.identifier,
                category: read.category,
                severity: bounded(&read.severity, &SEVERITIES),
                headline: (read.headline_vi, read.headline_en),
                wards: read.ward_codes,
                released_at: at(read.released_at, event),
                expires_at: at(read.expires_at, event),
                exercise: read.exercise,
            });
        } else if let Some(read) = event.decode::<AlertCancelled>() {
            self.ended.push(Ended { id: event.subject, how: "cancelled", at: at(read?.cancelled_at, event) });
        } else if let Some(read) = event.decode::<AlertReached>() {
            self.reach(event.subject, &read?);
        }
        Ok(())
    }

    fn reach(&mut self, id: Uuid, read: &AlertReached) {
        self.reached.retain(|row| row.id != id);
        let complete = read.complete;
        let row = |ward: &str, recipients: i64, reached: i64| Reached {
            id,
            ward: ward.to_owned(),
            recipients: recipients.max(0),
            reached: reached.clamp(0, recipients.max(0)),
            complete,
        };
        self.reached.push(row("", read.recipients, read.reached));
        let wards = read.wards.iter().filter(|ward| !ward.ward_code.is_empty());
        self.reached.extend(wards.map(|ward| row(&ward.ward_code, ward.recipients, ward.reached)));
    }
}

fn at(seconds: i64, event: &Event) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap_or(event.time)
}

#[cfg(test)]
mod tests {
    use prost::Name;
    use proto::notifications::v1::WardReached;

    use super::*;

    fn event<M: prost::Message + Name>(subject: u128, message: &M) -> Event {
        Event {
            id: platform::id::new(),
            source: "notifications".to_owned(),
            position: 1,
            kind: M::full_name(),
            subject: Uuid::from_u128(subject),
            time: "2025-10-27T00:00:00Z".parse().expect("a time"),
            traceparent: None,
            data: message.encode_to_vec().into(),
        }
    }

    #[test]
    fn an_update_ends_what_it_replaces_and_the_last_reach_counts() {
        let mut batch = Batch::default();
        let update = AlertReleased {
            supersedes_alert_id: Uuid::from_u128(1).to_string(),
            severity: "grave".to_owned(),
            ..AlertReleased::default()
        };
        batch.add(&event(2, &update)).expect("read");
        let ward = WardReached { ward_code: "19774".to_owned(), recipients: 3, reached: 9 };
        for reached in [1, 2] {
            let told = AlertReached {
                recipients: 3,
                reached,
                complete: reached == 2,
                wards: vec![ward.clone()],
                ..AlertReached::default()
            };
            batch.add(&event(2, &told)).expect("read");
        }
        batch
            .add(&event(2, &AlertCancelled { cancelled_at: 1_761_523_260, ..AlertCancelled::default() }))
            .expect("read");
        assert_eq!((batch.released.len(), batch.released[0].severity), (1, "other"));
        let ends: Vec<_> = batch.ended.iter().map(|ended| (ended.id.as_u128(), ended.how)).collect();
        assert_eq!(ends, [(1, "updated"), (2, "cancelled")]);
        let told: Vec<_> =
            batch.reached.iter().map(|row| (row.ward.as_str(), row.recipients, row.reached, row.complete)).collect();
        assert_eq!(told, [("", 3, 2, true), ("19774", 3, 3, true)]);
    }
}
