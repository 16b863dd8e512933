//! What a citizen lets a client know and do: given at the hosted page, seen and taken back by `/identity/v1/me/consents`.
//!
//! Taking it back ends whatever the client holds of the citizen, in the same transaction.
//! Lock order: consent, authorisation, session, revocation head, audit head, outbox head.

use chrono::{DateTime, Utc};
use platform::outbox;
use uuid::Uuid;

use super::client::{Client, ClientId};
use super::scope::Scopes;
use super::sql;
pub(crate) use super::sql::ConsentRow;
use crate::audit::{self, Action, Entry, Origin};
use crate::citizen::CitizenId;
use crate::error::Error;
use crate::session::EndReason;
use crate::{Identity, SCHEMA};

impl Identity {
    /// What a citizen lets a client know; everything, if it is the city's own.
    pub(super) async fn consented(&self, citizen: CitizenId, client: &Client) -> Result<Scopes, Error> {
        if client.is_first_party() {
            return Ok(client.scopes.clone());
        }
        Ok(sql::consented(&mut *self.pool.acquire().await?, citizen, client.id).await?)
    }

    /// Lets a client know more.
    pub(super) async fn consent(
        &self,
        citizen: CitizenId,
        client: &Client,
        scopes: &Scopes,
        (origin, now): (Origin, DateTime<Utc>),
    ) -> Result<(), Error> {
        let mut tx = platform::db::begin(&self.pool).await?;
        sql::put_consent(&mut tx, (citizen, client.id), scopes, now).await?;
        let entry = Entry::of(citizen, Action::ConsentGive, client.id, &self.source(origin));
        audit::append(&mut tx, &[entry], now).await?;
        tx.commit().await?;
        Ok(())
    }

    /// A page of a citizen's consents.
    pub(crate) async fn consents(
        &self,
        citizen: CitizenId,
        after: Option<Uuid>,
        limit: i64,
    ) -> Result<Vec<ConsentRow>, Error> {
        Ok(sql::consents(&self.pool, citizen, after, limit).await?)
    }

    /// Takes back what a client was let know, and ends what it holds.
    pub(crate) async fn withdraw_consent(
        &self,
        citizen: CitizenId,
        client: ClientId,
        origin: Origin,
    ) -> Result<(), Error> {
        let now = self.now();
        let mut tx = platform::db::begin(&self.pool).await?;
        if !sql::delete_consent(&mut tx, citizen, client).await? {
            return Err(Error::NotFound);
        }
        let reason = EndReason::ConsentWithdrawn;
        let ended = sql::end_of_client(&mut tx, (citizen, client), reason, now).await?;
        self.meter.sessions_ended(reason.as_str(), ended.len());
        let (revoked, events) = self.revoke(&mut tx, citizen, &ended, now).await?;
        let withdrawal = Entry::of(citizen, Action::ConsentWithdraw, client, &self.source(origin));
        let ends = ended.iter().map(|session| withdrawal.like(Action::SessionEnd, session).because(reason.as_str()));
        let entries: Vec<Entry> = std::iter::once(withdrawal.clone()).chain(ends).collect();
        audit::append(&mut tx, &entries, now).await?;
        outbox::append(&mut tx, SCHEMA, now, &events).await?;
        tx.commit().await?;
        self.forget_now(&revoked);
        Ok(())
    }
}
