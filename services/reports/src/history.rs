//! The append-only history of a report: one row for each version, chained by SHA-256.
//!
//! A row's hash covers the hash before it and every column, each with its length before it, so that no two rows read alike.
//! The database refuses change, and a row that does not follow the one before it. Details that a citizen wrote are sealed under their key;
//! the hash covers them as they were before. They are removed when the citizen is erased; such a row keeps its hash, by which the rows
//! around it still hold, and so does one whose key is gone.

use chrono::{DateTime, Utc};
use platform::person::PersonKeys;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::error::Error;
use crate::lifecycle::Actor;
use crate::person::{Heard, NOTHING, Spoken};

/// The hash before the first row.
pub(crate) const GENESIS: [u8; 32] = [0; 32];

/// One thing that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) version: i64,
    pub(crate) action: String,
    pub(crate) from_state: Option<String>,
    pub(crate) to_state: String,
    pub(crate) round: i32,
    pub(crate) actor: String,
    pub(crate) agency: Option<String>,
    pub(crate) officer_id: Option<Uuid>,
    /// JSON as it was hashed.
    pub(crate) details: String,
    pub(crate) occurred_at: DateTime<Utc>,
}

impl Entry {
    /// What was said with it.
    pub(crate) fn details(&self) -> Value {
        serde_json::from_str(&self.details).unwrap_or_default()
    }

    /// Its hash behind that of the row before it.
    pub(crate) fn hash(&self, report: Uuid, previous: &[u8]) -> [u8; 32] {
        let officer = self.officer_id.map(|id| id.to_string()).unwrap_or_default();
        let texts: [&str; 7] = [
            &self.action,
            self.from_state.as_deref().unwrap_or_default(),
            &self.to_state,
            &self.actor,
            self.agency.as_deref().unwrap_or_default(),
            &officer,
            &self.details,
        ];
        let mut hash = Sha256::new();
        hash.update(previous);
        hash.update(report.as_bytes());
        hash.update(self.version.to_be_bytes());
        hash.update(self.round.to_be_bytes());
        hash.update(self.occurred_at.timestamp_micros().to_be_bytes());
        for text in texts {
            hash.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(text.as_bytes());
        }
        hash.finalize().into()
    }
}

/// How an actor is written down: the kind, and the agency.
pub(crate) fn actor(actor: &Actor) -> (&'static str, Option<&str>) {
    match actor {
        Actor::Reporter => ("citizen", None),
        Actor::Ioc => ("ioc", None),
        Actor::Supervisor => ("supervisor", None),
        Actor::Agency(code) => ("agency", Some(code)),
        Actor::System => ("system", None),
    }
}

/// The whole history of a report, oldest first, and whether its chain holds. What a citizen said is opened; where it was erased, with its
/// row or with the key, the entry says nothing and its hash is believed.
///
/// # Errors
/// What the database answered, or that the reporter's key does not open.
pub(crate) async fn read(
    persons: &PersonKeys,
    connection: &mut PgConnection,
    report: Uuid,
) -> Result<(Vec<Entry>, bool), Error> {
    let rows = sqlx::query!(
        "SELECT version, action, from_state, to_state, round, actor, agency, officer_id, details, details_sealed, occurred_at,
             erased_at, previous_hash, hash
         FROM reports.history WHERE report_id = $1 ORDER BY version",
        report
    )
    .fetch_all(&mut *connection)
    .await?;
    let spoken = match rows.iter().any(|row| row.details_sealed.is_some()) {
        true => Some(Spoken::of(persons, connection, report).await?),
        false => None,
    };
    let mut previous = GENESIS.to_vec();
    let mut holds = true;
    let mut entries = Vec::with_capacity(rows.len());
    for (row, expected) in rows.into_iter().zip(1_i64..) {
        let heard =
            spoken.as_ref().zip(row.details_sealed).map(|(spoken, sealed)| spoken.details(row.version, &sealed));
        let gone = row.erased_at.is_some() || heard == Some(Heard::Erased);
        let entry = Entry {
            version: row.version,
            action: row.action,
            from_state: row.from_state,
            to_state: row.to_state,
            round: row.round,
            actor: row.actor,
            agency: row.agency,
            officer_id: row.officer_id,
            details: match heard {
                Some(Heard::Known(details)) => details,
                _ => row.details,
            },
            occurred_at: row.occurred_at,
        };
        let erased = gone && entry.actor == "citizen" && entry.details == NOTHING;
        let whole = erased || row.hash == entry.hash(report, &previous);
        holds &= entry.version == expected && row.previous_hash == previous && whole;
        previous = row.hash;
        entries.push(entry);
    }
    Ok((entries, holds))
}
