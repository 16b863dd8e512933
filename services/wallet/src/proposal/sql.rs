//! Statements about proposals. Content is only ever added; a row is decided under its lock.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::rule::{Digest, Standing, State};
use super::{Content, ProposalId};
use crate::error::Error;

/// A proposal as saved.
#[derive(Clone, Debug)]
pub(crate) struct Proposal {
    pub(crate) id: ProposalId,
    pub(crate) content: String,
    pub(crate) digest: Vec<u8>,
    pub(crate) state: State,
    pub(crate) proposed_by: Uuid,
    pub(crate) proposed_at: DateTime<Utc>,
    pub(crate) expires_at: DateTime<Utc>,
    pub(crate) decided_by: Option<Uuid>,
    pub(crate) decided_at: Option<DateTime<Utc>>,
    pub(crate) result: Option<String>,
}

impl Proposal {
    /// As far as a decision needs it.
    pub(crate) fn standing(&self) -> Result<Standing, Error> {
        let digest: Digest =
            self.digest.as_slice().try_into().map_err(|_| Error::Broken("a digest has 32 bytes".to_owned()))?;
        Ok(Standing { proposed_by: self.proposed_by, digest, expires_at: self.expires_at, state: self.state })
    }

    /// What is proposed, if it is what the digest says.
    pub(crate) fn content(&self) -> Result<Content, Error> {
        if super::digest(&self.content)[..] != self.digest[..] {
            return Err(Error::Broken("a proposal's content is not that of its digest".to_owned()));
        }
        serde_json::from_str(&self.content).map_err(|error| Error::Broken(format!("a proposal can't be read: {error}")))
    }
}

/// Closes what nobody decided in time about something.
pub(super) async fn expire(
    connection: &mut PgConnection,
    subject: Uuid,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE wallet.proposal SET state = 'expired' WHERE subject = $1 AND state = 'open' AND expires_at <= $2",
        subject,
        now,
    )
    .execute(connection)
    .await
    .map(|_| ())
}

/// Saves a proposal; `false` when another about the same thing is open.
pub(super) async fn insert(
    connection: &mut PgConnection,
    (kind, subject): (&str, Uuid),
    new: &Proposal,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "INSERT INTO wallet.proposal (id, kind, subject, content, digest, state, proposed_by, proposed_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, 'open', $6, $7, $8)
         ON CONFLICT (subject) WHERE state IN ('open', 'approved') DO NOTHING",
        new.id.uuid(),
        kind,
        subject,
        new.content,
        new.digest,
        new.proposed_by,
        new.proposed_at,
        new.expires_at,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// A proposal.
pub(crate) async fn find(connection: &mut PgConnection, id: ProposalId) -> Result<Option<Proposal>, sqlx::Error> {
    sqlx::query_as!(
        Proposal,
        r#"SELECT id AS "id: ProposalId", content, digest, state AS "state: State", proposed_by, proposed_at, expires_at, decided_by,
                  decided_at, result
           FROM wallet.proposal WHERE id = $1"#,
        id.uuid(),
    )
    .fetch_optional(connection)
    .await
}

/// Locks a proposal until the transaction ends; what it says is read after that.
pub(super) async fn lock(connection: &mut PgConnection, id: ProposalId) -> Result<(), sqlx::Error> {
    sqlx::query_scalar!("SELECT id FROM wallet.proposal WHERE id = $1 FOR UPDATE", id.uuid())
        .fetch_optional(connection)
        .await
        .map(|_| ())
}

/// Proposals before one, the newest first.
pub(crate) async fn list(
    connection: &mut PgConnection,
    state: Option<State>,
    (before, limit): (Option<Uuid>, i64),
) -> Result<Vec<Proposal>, sqlx::Error> {
    sqlx::query_as!(
        Proposal,
        r#"SELECT id AS "id: ProposalId", content, digest, state AS "state: State", proposed_by, proposed_at, expires_at, decided_by,
                  decided_at, result
           FROM wallet.proposal WHERE ($1::text IS NULL OR state = $1) AND ($2::uuid IS NULL OR id < $2) ORDER BY id DESC LIMIT $3"#,
        state.map(State::name),
        before,
        limit,
    )
    .fetch_all(connection)
    .await
}

/// Writes a decision down, under the lock.
pub(super) async fn decide(
    connection: &mut PgConnection,
    (id, state): (ProposalId, State),
    by: Uuid,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE wallet.proposal SET state = $2, decided_by = $3, decided_at = $4 WHERE id = $1",
        id.uuid(),
        state.name(),
        by,
        now,
    )
    .execute(connection)
    .await
    .map(|_| ())
}

/// Writes down that what was approved is done.
pub(super) async fn finish(
    connection: &mut PgConnection,
    (id, result): (ProposalId, &str),
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE wallet.proposal SET state = 'done', result = $2, finished_at = $3 WHERE id = $1 AND state = 'approved'",
        id.uuid(),
        result,
        now,
    )
    .execute(connection)
    .await
    .map(|_| ())
}
