//! Consumes the streams of the other services into the tallies.
//!
//! One batch of events is one lock, a handful of set-based statements and one notification, all in the consumer's transaction,
//! which also records the event ids: a replay has no effect. Field reports are read first under that lock: what an event changes depends
//! on how its report stood.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use platform::events::{Event, HandleError, Handler};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::city::City;
use crate::sql;
use crate::tally::{Batch, TallyError};

/// What is consumed into the tallies.
pub(crate) const STREAMS: [&str; 4] = [crate::tally::JOURNAL, "wallet", "identity", "notifications"];

/// Adds one stream's events to the tallies.
#[derive(Clone, Debug)]
pub(crate) struct Tallier {
    /// The stream.
    pub(crate) stream: &'static str,
    /// Whose days and currency count.
    pub(crate) city: Arc<City>,
}

#[async_trait]
impl Handler for Tallier {
    async fn handle(&self, tx: &mut PgConnection, events: &[Event]) -> Result<(), HandleError> {
        let mut batch = Batch::default();
        let mut warnings = crate::warning::Batch::default();
        for event in events {
            batch.add(self.stream, &self.city, event)?;
            warnings.add(event)?;
        }
        let revision = sql::lock(&mut *tx).await?;
        if !warnings.is_empty() {
            sql::warning::add(&mut *tx, &warnings, revision).await?;
        }
        Ok(sql::add(tx, self.stream, &batch, revision).await?)
    }
}

/// Adds the events of field reports to their counts.
#[derive(Clone, Debug)]
pub(crate) struct ReportCounter {
    /// Whose days count.
    pub(crate) city: Arc<City>,
}

#[async_trait]
impl Handler for ReportCounter {
    async fn handle(&self, tx: &mut PgConnection, events: &[Event]) -> Result<(), HandleError> {
        let reports: BTreeSet<Uuid> = events.iter().map(|event| event.subject).collect();
        let revision = sql::lock(&mut *tx).await?;
        let known = sql::report::known(&mut *tx, &reports.into_iter().collect::<Vec<_>>()).await?;
        let mut batch = crate::report::Batch::new(known);
        for event in events {
            batch.add(&self.city, event)?;
        }
        Ok(sql::report::add(tx, &batch, revision).await?)
    }
}

impl From<TallyError> for HandleError {
    fn from(error: TallyError) -> Self {
        match error {
            TallyError::Malformed(_) | TallyError::Amount | TallyError::Count => Self::poison(error.to_string()),
            // A smaller batch may fit; one event alone that does not is given up after the usual attempts.
            TallyError::Overflow => Self::retry(error),
        }
    }
}
