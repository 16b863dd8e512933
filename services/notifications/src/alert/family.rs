//! What follows what: an alert, those that it replaces, and those that replace it.
//!
//! Lock: all of a family, in the order of their ids (`store::family`). Whoever holds it decides about all that speaks of one event.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::desk::Desk;
use super::store::{self, Alert};
use super::{AlertId, Kind, Origin, State};
use crate::error::Error;

/// Alerts about one event, locked, the oldest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Family(Vec<Alert>);

impl Family {
    /// Locks and reads the family of an alert.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn of(transaction: &mut PgConnection, id: AlertId) -> Result<Self, Error> {
        store::family(transaction, id).await.map(Self)
    }

    /// The alert with that id.
    pub(crate) fn get(&self, id: AlertId) -> Option<&Alert> {
        self.0.iter().find(|alert| alert.id == id)
    }

    /// The warning that is in force; the end of one is none.
    pub(crate) fn in_force(&self, now: DateTime<Utc>) -> Option<&Alert> {
        let stands = |alert: &&Alert| alert.life.kind != Kind::Cancel && alert.life.state_at(now) == State::Released;
        self.0.iter().rfind(stands)
    }

    /// Drafts that wait for officers.
    pub(crate) fn waiting(&self, now: DateTime<Utc>) -> impl Iterator<Item = &Alert> {
        self.0.iter().filter(move |alert| alert.life.state_at(now) == State::Drafted)
    }

    /// Whether officers work on a draft that they can still release.
    pub(crate) fn is_in_hand(&self, draft: &Alert, now: DateTime<Utc>) -> bool {
        let earlier = draft.supersedes.and_then(|id| self.get(id)).map(|earlier| earlier.life.state_at(now));
        draft.life.drafted_by.is_some() && matches!(earlier, None | Some(State::Released | State::Expired))
    }
}

impl Alert {
    /// Whether a document of that sender drafted it.
    pub(crate) fn is_of_sender(&self, sender: &str) -> bool {
        let of = self.origin_reference.as_deref().and_then(|reference| reference.rsplit_once(','));
        self.origin == Origin::Cap && of.is_some_and(|(of, _)| of == sender)
    }
}

impl Desk {
    /// Gives up a draft, because what it was drafted for is over or has been said anew. The row is locked.
    ///
    /// # Errors
    /// [`Error::Refused`] when it is no draft.
    pub(crate) async fn withdraw(
        &self,
        transaction: &mut PgConnection,
        mut alert: Alert,
        officer: Option<Uuid>,
    ) -> Result<Alert, Error> {
        let now = self.clock.now();
        alert.life = alert.life.withdraw(now).map_err(Error::Refused)?;
        (alert.ended_by, alert.ended_at) = (officer, Some(now));
        store::update(transaction, &alert).await?;
        Ok(alert)
    }
}
