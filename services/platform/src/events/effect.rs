//! The transaction of an effect: leases checked, event ids recorded, handler run, committed.

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures::FutureExt as _;
use sqlx::{AssertSqlSafe, PgConnection, PgPool};
use tracing::{Instrument as _, info_span};
use uuid::Uuid;

use super::{Event, HandleError, Handler};
use crate::db::Schema;
use crate::lease::{Leased, Leases};
use crate::trace::{self, TraceContext};

/// The most rows that one pruning statement removes.
const PRUNE_BATCH: i64 = 5_000;

/// Brings about effects for one consumer.
pub(super) struct Effects {
    pub(super) pool: PgPool,
    pub(super) schema: Schema,
    pub(super) consumer: String,
    pub(super) leases: Leases,
    pub(super) handler: Arc<dyn Handler>,
}

/// Why an effect did not happen; nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub(super) enum EffectError {
    #[error("a lease was lost")]
    LeaseLost,
    #[error("the database does not answer")]
    Database(#[from] sqlx::Error),
    #[error("the events were not handled")]
    Handler(#[from] HandleError),
}

impl Effects {
    /// Handles those of `events` that are new, in one transaction under the leases of their partitions; says how many.
    pub(super) async fn apply(&self, leased: &[Leased], events: &[Event]) -> Result<usize, EffectError> {
        let mut transaction = crate::db::begin(&self.pool).await?;
        if !self.leases.guard(&mut transaction, leased).await? {
            return Err(EffectError::LeaseLost);
        }
        let new = self.record(&mut transaction, events).await?;
        if !new.is_empty() {
            self.handle(&mut transaction, &new).await?;
            // A handler that swallowed a failed statement would otherwise "commit" a transaction that is rolled back.
            sqlx::query("SELECT 1").execute(&mut *transaction).await.map_err(HandleError::from)?;
        }
        transaction.commit().await?;
        Ok(new.len())
    }

    /// Runs the handler; inside the events' trace if they share one. A panic counts as a failure that may pass.
    pub(super) async fn handle(&self, transaction: &mut PgConnection, events: &[Event]) -> Result<(), HandleError> {
        let shared = events.first().and_then(|event| event.traceparent.as_deref());
        let shared = shared.filter(|shared| events.iter().all(|event| event.traceparent.as_deref() == Some(*shared)));
        let work = AssertUnwindSafe(self.handler.handle(transaction, events)).catch_unwind();
        let handled = match shared.and_then(TraceContext::parse) {
            Some(context) => {
                let span = info_span!("events", consumer = self.consumer, count = events.len());
                context.adopt(&span);
                trace::scope(context, work.instrument(span)).await
            }
            None => work.await,
        };
        handled.unwrap_or_else(|_| Err(HandleError::retry("the handler panicked")))
    }

    /// Records events as consumed and gives back those that were not yet, in order.
    pub(super) async fn record(
        &self,
        transaction: &mut PgConnection,
        events: &[Event],
    ) -> Result<Vec<Event>, sqlx::Error> {
        let ids: Vec<Uuid> = events.iter().map(|event| event.id).collect();
        let new: HashSet<Uuid> = sqlx::query_scalar(AssertSqlSafe(self.schema.sql(RECORD)))
            .bind(&self.consumer)
            .bind(&ids)
            .fetch_all(transaction)
            .await?
            .into_iter()
            .collect();
        Ok(events.iter().filter(|event| new.contains(&event.id)).cloned().collect())
    }

    /// Removes records of consumption older than `before`, at most a batch.
    pub(super) async fn prune(&self, before: DateTime<Utc>) -> Result<u64, sqlx::Error> {
        let removed = sqlx::query(AssertSqlSafe(self.schema.sql(PRUNE)))
            .bind(before)
            .bind(PRUNE_BATCH)
            .execute(&self.pool)
            .await?;
        Ok(removed.rows_affected())
    }
}

// Every statement on consumed_event.

const RECORD: &str = "
    INSERT INTO {schema}.consumed_event (consumer, event_id) SELECT $1, event_id FROM unnest($2::uuid[]) AS event_id
    ON CONFLICT ON CONSTRAINT consumed_event_pk DO NOTHING RETURNING event_id";

const PRUNE: &str = "
    DELETE FROM {schema}.consumed_event WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM {schema}.consumed_event WHERE consumed_at < $1 LIMIT $2))";
