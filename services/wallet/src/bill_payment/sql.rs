//! Statements about payments of bills. A state is changed only from the state that the decision was made on.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use ledger::money::Money;
use proto::wallet::v1::BillPaymentFailed;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{BillPaymentId, State};
use crate::account::CURRENCY;
use crate::bill::BillId;
use crate::city::{BillerKind, Proof};
use crate::error::STEP_UP_REQUIRED;
use crate::event;
use crate::step_up::Proven;

/// A payment of a bill as saved.
#[derive(Clone, Debug)]
pub(crate) struct BillPayment {
    pub(crate) id: BillPaymentId,
    pub(crate) user_id: Uuid,
    pub(crate) session_id: Uuid,
    pub(crate) fingerprint: Vec<u8>,
    pub(crate) bill_id: BillId,
    pub(crate) biller_code: String,
    pub(crate) kind: BillerKind,
    /// Plain of a fee, and in rows from before it was sealed.
    pub(crate) customer_code: Option<String>,
    pub(crate) customer_code_sealed: Option<Vec<u8>>,
    /// The same.
    pub(crate) reference: Option<String>,
    pub(crate) reference_sealed: Option<Vec<u8>>,
    pub(crate) period: String,
    pub(crate) amount: i64,
    pub(crate) state: State,
    pub(crate) biller_reference: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) transfer_id: Option<Uuid>,
    pub(crate) requested_at: DateTime<Utc>,
    pub(crate) updated_at: DateTime<Utc>,
    pub(crate) proof_id: Option<Uuid>,
    pub(crate) proof_level: Option<Proof>,
}

/// A payment that ends without having moved money.
#[derive(Clone, Debug)]
pub(crate) struct Failed {
    pub(crate) id: BillPaymentId,
    pub(crate) user_id: Uuid,
    pub(crate) bill_id: BillId,
    pub(crate) biller_code: String,
    pub(crate) kind: BillerKind,
    pub(crate) period: String,
    pub(crate) amount: i64,
    /// A stable code.
    pub(crate) reason: String,
}

impl BillPayment {
    /// The proof that it came with.
    pub(crate) fn proven(&self) -> Option<Proven> {
        self.proof_id.zip(self.proof_level).map(|(id, level)| Proven { id, level })
    }

    /// Whether it stopped for want of a proof; with one, it goes on.
    pub(crate) fn lacks_proof(&self) -> bool {
        self.state == State::Failed && self.reason.as_deref() == Some(STEP_UP_REQUIRED.code())
    }

    /// The end of this payment for a reason.
    pub(crate) fn failed(&self, reason: &str) -> Failed {
        Failed {
            id: self.id,
            user_id: self.user_id,
            bill_id: self.bill_id,
            biller_code: self.biller_code.clone(),
            kind: self.kind,
            period: self.period.clone(),
            amount: self.amount,
            reason: reason.to_owned(),
        }
    }
}

impl Failed {
    /// The event that tells it.
    pub(crate) fn event(&self) -> BillPaymentFailed {
        BillPaymentFailed {
            bill_payment_id: self.id.to_string(),
            user_id: self.user_id.to_string(),
            bill_id: self.bill_id.to_string(),
            biller_code: self.biller_code.clone(),
            kind: self.kind.name().to_owned(),
            period: self.period.clone(),
            amount: Some(event::money(Money::from_minor(self.amount, CURRENCY))),
            reason: self.reason.clone(),
        }
    }
}

/// What a posted payment was for.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) bill_id: BillId,
    pub(crate) biller_code: String,
    pub(crate) kind: BillerKind,
    pub(crate) period: String,
    pub(crate) biller_reference: Option<String>,
}

/// Saves an intent, in the citizen's turn and under the bill's lock.
pub(super) async fn insert(connection: &mut PgConnection, key: &str, new: &BillPayment) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO wallet.bill_payment (id, user_id, session_id, idempotency_key, fingerprint, bill_id, biller_code, customer_code, reference,
            amount, state, requested_at, updated_at, kind, period, proof_id, proof_level, customer_code_sealed, reference_sealed)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 'requested', $11, $11, $12, $13, $14, $15, $16, $17)",
        new.id.uuid(),
        new.user_id,
        new.session_id,
        key,
        new.fingerprint,
        new.bill_id.uuid(),
        new.biller_code,
        new.customer_code,
        new.reference,
        new.amount,
        new.requested_at,
        new.kind.name(),
        new.period,
        new.proof_id,
        new.proof_level.map(Proof::name),
        new.customer_code_sealed.as_deref(),
        new.reference_sealed.as_deref(),
    )
    .execute(connection)
    .await
    .map(|_| ())
}

/// Lets a payment go on that stopped for want of a proof, for the session that proved it. In the citizen's turn, under the bill's lock.
pub(super) async fn resume(
    connection: &mut PgConnection,
    id: BillPaymentId,
    (proven, session): (Proven, Uuid),
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE wallet.bill_payment SET state = 'requested', reason = NULL, proof_id = $2, proof_level = $3, updated_at = $4, session_id = $5
         WHERE id = $1 AND state = 'failed' AND reason = 'step-up-required'",
        id.uuid(),
        proven.id,
        proven.level.name(),
        at,
        session,
    )
    .execute(connection)
    .await
    .map(|_| ())
}

/// How many payments of bills of a citizen have not ended.
pub(crate) async fn count_open_of(connection: &mut PgConnection, user: Uuid) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM wallet.bill_payment WHERE user_id = $1 AND state NOT IN ('paid', 'failed')"#,
        user,
    )
    .fetch_one(connection)
    .await
}

/// Where the one payment of a bill stands that has not failed.
pub(crate) async fn live_state(connection: &mut PgConnection, bill: BillId) -> Result<Option<State>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT state AS "state: State" FROM wallet.bill_payment WHERE bill_id = $1 AND state <> 'failed'"#,
        bill.uuid(),
    )
    .fetch_optional(connection)
    .await
}

/// The payment that a citizen's key belongs to.
pub(super) async fn find_by_key(
    connection: &mut PgConnection,
    user: Uuid,
    key: &str,
) -> Result<Option<BillPayment>, sqlx::Error> {
    sqlx::query_as!(
        BillPayment,
        r#"SELECT id, user_id, session_id, fingerprint, bill_id, biller_code, kind AS "kind: BillerKind", customer_code, customer_code_sealed, reference,
                  reference_sealed, period, amount, state AS "state: State",
                  biller_reference, reason, transfer_id, requested_at, updated_at, proof_id, proof_level AS "proof_level: Proof"
           FROM wallet.bill_payment WHERE user_id = $1 AND idempotency_key = $2"#,
        user,
        key,
    )
    .fetch_optional(connection)
    .await
}

/// The payment.
pub(crate) async fn find(connection: &mut PgConnection, id: BillPaymentId) -> Result<Option<BillPayment>, sqlx::Error> {
    sqlx::query_as!(
        BillPayment,
        r#"SELECT id, user_id, session_id, fingerprint, bill_id, biller_code, kind AS "kind: BillerKind", customer_code, customer_code_sealed, reference,
                  reference_sealed, period, amount, state AS "state: State",
                  biller_reference, reason, transfer_id, requested_at, updated_at, proof_id, proof_level AS "proof_level: Proof"
           FROM wallet.bill_payment WHERE id = $1"#,
        id.uuid(),
    )
    .fetch_optional(connection)
    .await
}

/// The payment, if it is the citizen's.
pub(crate) async fn find_own(
    connection: &mut PgConnection,
    user: Uuid,
    id: BillPaymentId,
) -> Result<Option<BillPayment>, sqlx::Error> {
    Ok(find(connection, id).await?.filter(|payment| payment.user_id == user))
}

/// Where a payment goes without its hold ending.
#[derive(Debug)]
pub(super) struct Transition<'a> {
    /// As it was when this was decided.
    pub(super) of: &'a BillPayment,
    pub(super) to: State,
    /// Kept from before when absent.
    pub(super) biller_reference: Option<&'a str>,
    /// Only for `failed`.
    pub(super) reason: Option<&'a str>,
    pub(super) at: DateTime<Utc>,
}

/// Changes the state unless somebody else changed it first, or its citizen has proved it since: what lacked a proof is `requested` again then,
/// and no refusal of before may end it.
pub(super) async fn transition(connection: &mut PgConnection, change: &Transition<'_>) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "UPDATE wallet.bill_payment SET state = $3, biller_reference = coalesce($4, biller_reference), reason = $5, updated_at = $6
         WHERE id = $1 AND state = $2 AND proof_id IS NOT DISTINCT FROM $7",
        change.of.id.uuid(),
        change.of.state.name(),
        change.to.name(),
        change.biller_reference,
        change.reason,
        change.at,
        change.of.proof_id,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Marks payments held in the batch that sets their money aside. Says how many rows that had asked for it there were.
pub(crate) async fn mark_held(
    connection: &mut PgConnection,
    ids: &[Uuid],
    at: DateTime<Utc>,
) -> Result<u64, sqlx::Error> {
    let done = sqlx::query!(
        "UPDATE wallet.bill_payment SET state = 'held', updated_at = $2 WHERE id = ANY($1) AND state = 'requested'",
        ids,
        at,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// Marks payments paid in the batch that posts their money. Says how many rows there were for which it was held.
pub(crate) async fn mark_paid(
    connection: &mut PgConnection,
    ids: &[Uuid],
    transfers: &[Uuid],
    references: &[Option<String>],
    at: DateTime<Utc>,
) -> Result<u64, sqlx::Error> {
    let done = sqlx::query!(
        "UPDATE wallet.bill_payment SET state = 'paid', transfer_id = done.transfer_id,
                biller_reference = coalesce(done.biller_reference, bill_payment.biller_reference), updated_at = $4
         FROM unnest($1::uuid[], $2::uuid[], $3::text[]) AS done (id, transfer_id, biller_reference)
         WHERE bill_payment.id = done.id AND bill_payment.state IN ('held', 'confirming', 'unknown')",
        ids,
        transfers,
        references as &[Option<String>],
        at,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// Marks payments failed in the batch that refuses their money or gives it back. Says how many rows there were that had not ended.
pub(crate) async fn mark_failed(
    connection: &mut PgConnection,
    ids: &[Uuid],
    reasons: &[String],
    at: DateTime<Utc>,
) -> Result<u64, sqlx::Error> {
    let done = sqlx::query!(
        "UPDATE wallet.bill_payment SET state = 'failed', reason = done.reason, updated_at = $3
         FROM unnest($1::uuid[], $2::text[]) AS done (id, reason)
         WHERE bill_payment.id = done.id AND bill_payment.state NOT IN ('paid', 'failed')",
        ids,
        reasons,
        at,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// What posted payments were for, by transfer.
pub(crate) async fn told_of(
    connection: &mut PgConnection,
    transfers: &[Uuid],
) -> Result<HashMap<Uuid, Told>, sqlx::Error> {
    if transfers.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = sqlx::query!(
        r#"SELECT transfer_id AS "transfer_id!", bill_id, biller_code, kind AS "kind: BillerKind", period, biller_reference
           FROM wallet.bill_payment WHERE transfer_id = ANY($1)"#,
        transfers,
    )
    .fetch_all(connection)
    .await?;
    let told = rows.into_iter().map(|row| {
        let told = Told {
            bill_id: BillId::from(row.bill_id),
            biller_code: row.biller_code,
            kind: row.kind,
            period: row.period,
            biller_reference: row.biller_reference,
        };
        (row.transfer_id, told)
    });
    Ok(told.collect())
}

/// How many payments of bills are in each state that is not an end.
pub(crate) async fn count_open(connection: &mut PgConnection) -> Result<Vec<(State, i64)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT state AS "state: State", count(*) AS "count!" FROM wallet.bill_payment
           WHERE state NOT IN ('paid', 'failed') GROUP BY state"#
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.state, row.count)).collect())
}
