//! Statements about top-ups. A state is changed only from the state that the decision was made on.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use platform::auth::Acting;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Answer, Change, State, TopUpId, Word};

/// A top-up as saved.
#[derive(Clone, Debug)]
pub(crate) struct TopUp {
    pub(crate) id: TopUpId,
    pub(crate) user_id: Uuid,
    pub(crate) fingerprint: Vec<u8>,
    pub(crate) bank_code: String,
    /// The account number, in rows from before it was sealed.
    pub(crate) account: Option<String>,
    pub(crate) account_sealed: Option<Vec<u8>>,
    pub(crate) amount: i64,
    pub(crate) state: State,
    pub(crate) bank_reference: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) transfer_id: Option<Uuid>,
    /// The guardian who asked for it, and by which delegation.
    pub(crate) actor_id: Option<Uuid>,
    pub(crate) delegation_id: Option<Uuid>,
    pub(crate) requested_at: DateTime<Utc>,
    pub(crate) updated_at: DateTime<Utc>,
    /// When the bank said that it took the money, if it could not be credited at once or the bank had said before that it had not.
    pub(crate) taken_at: Option<DateTime<Utc>>,
}

/// The intent of a new top-up.
#[derive(Debug)]
pub(super) struct Intent<'a> {
    pub(super) id: TopUpId,
    pub(super) user_id: Uuid,
    pub(super) idempotency_key: &'a str,
    pub(super) fingerprint: &'a [u8; 32],
    pub(super) bank_code: &'a str,
    pub(super) account_sealed: &'a [u8],
    pub(super) amount: i64,
    pub(super) acting: Option<Acting>,
    pub(super) requested_at: DateTime<Utc>,
}

/// Saves an intent, in the citizen's turn and after it was looked whether the key is taken.
pub(super) async fn insert(connection: &mut PgConnection, intent: &Intent<'_>) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO wallet.top_up (id, user_id, idempotency_key, fingerprint, bank_code, account_sealed, amount, state, requested_at, updated_at,
            actor_id, delegation_id)
         VALUES ($1, $2, $3, $4, $5, $6, $7, 'requested', $8, $8, $9, $10)",
        intent.id.uuid(),
        intent.user_id,
        intent.idempotency_key,
        &intent.fingerprint[..],
        intent.bank_code,
        intent.account_sealed,
        intent.amount,
        intent.requested_at,
        intent.acting.map(|acting| acting.actor),
        intent.acting.map(|acting| acting.delegation),
    )
    .execute(connection)
    .await
    .map(|_| ())
}

/// How many top-ups of a citizen have not ended.
pub(crate) async fn count_open_of(connection: &mut PgConnection, user: Uuid) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM wallet.top_up WHERE user_id = $1 AND state NOT IN ('completed', 'failed')"#,
        user,
    )
    .fetch_one(connection)
    .await
}

/// What a citizen has asked for since a time, and not failed to get.
pub(super) async fn asked_since(
    connection: &mut PgConnection,
    user: Uuid,
    since: DateTime<Utc>,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT coalesce(sum(amount), 0)::bigint AS "amount!" FROM wallet.top_up
           WHERE user_id = $1 AND requested_at >= $2 AND state <> 'failed'"#,
        user,
        since,
    )
    .fetch_one(connection)
    .await
}

/// The top-up that a citizen's key belongs to.
pub(super) async fn find_by_key(
    connection: &mut PgConnection,
    user: Uuid,
    key: &str,
) -> Result<Option<TopUp>, sqlx::Error> {
    sqlx::query_as!(
        TopUp,
        r#"SELECT id, user_id, fingerprint, bank_code, account, account_sealed, amount, state AS "state: State", bank_reference, reason, transfer_id,
                  actor_id, delegation_id, requested_at, updated_at, taken_at
           FROM wallet.top_up WHERE user_id = $1 AND idempotency_key = $2"#,
        user,
        key,
    )
    .fetch_optional(connection)
    .await
}

/// The top-up.
pub(crate) async fn find(connection: &mut PgConnection, id: TopUpId) -> Result<Option<TopUp>, sqlx::Error> {
    sqlx::query_as!(
        TopUp,
        r#"SELECT id, user_id, fingerprint, bank_code, account, account_sealed, amount, state AS "state: State", bank_reference, reason, transfer_id,
                  actor_id, delegation_id, requested_at, updated_at, taken_at
           FROM wallet.top_up WHERE id = $1"#,
        id.uuid(),
    )
    .fetch_optional(connection)
    .await
}

/// The top-up, if it is the citizen's.
pub(crate) async fn find_own(
    connection: &mut PgConnection,
    user: Uuid,
    id: TopUpId,
) -> Result<Option<TopUp>, sqlx::Error> {
    Ok(find(connection, id).await?.filter(|top_up| top_up.user_id == user))
}

impl TopUp {
    /// What a word about it does. Once the bank has taken the money, a word of its own that it has not may be one from before:
    /// only officers, who have looked since, end it without the money.
    pub(super) fn on(&self, answer: Answer, whose: Word) -> Change {
        let older = |taken_at| match whose {
            Word::Bank => true,
            Word::Officers { proposed_at } => proposed_at <= taken_at,
        };
        match self.state.on(answer) {
            Change::Move(State::Failed) if self.taken_at.is_some_and(older) => Change::Contradiction,
            change => change,
        }
    }

    /// Whether it may be shown: all of theirs to the citizen, to who acts for them what they asked for.
    pub(crate) fn may_be_seen(&self, acting: Option<Acting>) -> bool {
        let asked =
            |acting: Acting| (self.actor_id, self.delegation_id) == (Some(acting.actor), Some(acting.delegation));
        acting.is_none_or(asked)
    }
}

/// Where a top-up goes.
#[derive(Debug)]
pub(super) struct Transition<'a> {
    /// As it was when this was decided.
    pub(super) of: &'a TopUp,
    pub(super) to: State,
    /// Kept from before when absent.
    pub(super) bank_reference: Option<&'a str>,
    /// Only for `failed`.
    pub(super) reason: Option<&'a str>,
    pub(super) at: DateTime<Utc>,
}

/// Changes the state unless somebody else changed it first, or the bank has taken the money since.
/// A failed top-up is left only because it has.
pub(super) async fn transition(connection: &mut PgConnection, change: &Transition<'_>) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "UPDATE wallet.top_up SET state = $3, bank_reference = coalesce($4, bank_reference), reason = $5, updated_at = $6,
                taken_at = CASE WHEN state = 'failed' THEN $6 ELSE taken_at END
         WHERE id = $1 AND state = $2 AND taken_at IS NOT DISTINCT FROM $7",
        change.of.id.uuid(),
        change.of.state.name(),
        change.to.name(),
        change.bank_reference,
        change.reason,
        change.at,
        change.of.taken_at,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Keeps that the bank has taken the money, which can't be credited now; `false` when the top-up has ended meanwhile.
pub(super) async fn mark_taken(
    connection: &mut PgConnection,
    id: TopUpId,
    at: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "UPDATE wallet.top_up SET taken_at = coalesce(taken_at, $2) WHERE id = $1 AND state NOT IN ('completed', 'failed')",
        id.uuid(),
        at,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Marks top-ups completed in the batch that posts their money. Says how many rows that were not completed before there were.
pub(crate) async fn complete(
    connection: &mut PgConnection,
    ids: &[Uuid],
    transfers: &[Uuid],
    references: &[Option<String>],
    at: DateTime<Utc>,
) -> Result<u64, sqlx::Error> {
    let done = sqlx::query!(
        "UPDATE wallet.top_up SET state = 'completed', reason = NULL, transfer_id = done.transfer_id,
                bank_reference = coalesce(done.bank_reference, top_up.bank_reference), updated_at = $4
         FROM unnest($1::uuid[], $2::uuid[], $3::text[]) AS done (id, transfer_id, bank_reference)
         WHERE top_up.id = done.id AND top_up.state <> 'completed'",
        ids,
        transfers,
        references as &[Option<String>],
        at,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// The banks that completed top-ups came from, by transfer.
pub(crate) async fn banks_of(
    connection: &mut PgConnection,
    transfers: &[Uuid],
) -> Result<HashMap<Uuid, String>, sqlx::Error> {
    if transfers.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = sqlx::query!(
        r#"SELECT transfer_id AS "transfer_id!", bank_code FROM wallet.top_up WHERE transfer_id = ANY($1)"#,
        transfers,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.transfer_id, row.bank_code)).collect())
}

/// How many top-ups are in each state that is not an end.
pub(crate) async fn count_open(connection: &mut PgConnection) -> Result<Vec<(State, i64)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT state AS "state: State", count(*) AS "count!" FROM wallet.top_up
           WHERE state NOT IN ('completed', 'failed') GROUP BY state"#
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.state, row.count)).collect())
}
