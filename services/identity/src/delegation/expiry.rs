//! Delegations whose date has come: both sides are told, once.
//!
//! Nothing else happens then: who may act is judged by the date itself. Any number of replicas may look; a row is told of in the
//! transaction that marks it, and one that somebody else is marking or ending is left to them.

use chrono::{DateTime, Utc};
use platform::outbox::{self, NewEvent};
use proto::identity::v1::DelegationExpired;

use super::{DelegationId, sql};
use crate::audit::{self, Action, Entry, Source};
use crate::error::Error;
use crate::{Identity, SCHEMA};

impl Identity {
    /// Tells of what ran out by now; gives how many, at most `batch`.
    pub(crate) async fn expire_delegations(&self, now: DateTime<Utc>, batch: i64) -> Result<u64, Error> {
        let mut tx = platform::db::begin(&self.pool).await?;
        let over = sql::mark_expired(&mut tx, now, batch).await?;
        if over.is_empty() {
            return Ok(0);
        }
        let source = Source::schedule(&self.instance);
        let record = |one: &super::InForce| {
            Entry::of(one.dependent.into(), Action::DelegationEnd, one.id, &source)
                .by_service(&self.instance)
                .because("expired")
        };
        audit::append(&mut tx, &over.iter().map(record).collect::<Vec<_>>(), now).await?;
        let events: Vec<NewEvent> = over.iter().map(expired).collect();
        outbox::append(&mut tx, SCHEMA, now, &events).await?;
        tx.commit().await?;
        Ok(over.len() as u64)
    }
}

/// The word to both.
fn expired(over: &super::InForce) -> NewEvent {
    let id: DelegationId = over.id;
    let event = DelegationExpired {
        delegation_id: id.to_string(),
        guardian_id: over.guardian.to_string(),
        dependent_id: over.dependent.to_string(),
    };
    NewEvent::new(over.dependent, &event)
}
