//! Statements about refunds. Rows are only ever added.

use sqlx::PgConnection;
use uuid::Uuid;

use super::Refund;
use crate::payment::PaymentId;

/// Adds the refunds of one batch of the ledger.
pub(crate) async fn insert(connection: &mut PgConnection, refunds: &[Refund]) -> Result<(), sqlx::Error> {
    let ids: Vec<Uuid> = refunds.iter().map(|refund| refund.id.uuid()).collect();
    let sequences: Vec<i64> = refunds.iter().map(|refund| refund.sequence).collect();
    let payments: Vec<Uuid> = refunds.iter().map(|refund| refund.payment_id.uuid()).collect();
    let refunders: Vec<Uuid> = refunds.iter().map(|refund| refund.refunder_user_id).collect();
    let amounts: Vec<i64> = refunds.iter().map(|refund| refund.amount).collect();
    let reasons: Vec<Option<Vec<u8>>> = refunds.iter().map(|refund| refund.reason_sealed.clone()).collect();
    let times: Vec<_> = refunds.iter().map(|refund| refund.refunded_at).collect();
    sqlx::query!(
        "INSERT INTO wallet.refund (id, sequence, payment_id, refunder_user_id, amount, reason_sealed, refunded_at)
         SELECT id, sequence, payment, refunder, amount, reason, refunded_at
         FROM unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::uuid[], $5::bigint[], $6::bytea[], $7::timestamptz[])
              AS new (id, sequence, payment, refunder, amount, reason, refunded_at)",
        &ids,
        &sequences,
        &payments,
        &refunders,
        &amounts,
        &reasons as &[Option<Vec<u8>>],
        &times,
    )
    .execute(connection)
    .await
    .map(|_| ())
}

/// What was given back of a payment so far.
pub(crate) async fn refunded(connection: &mut PgConnection, payment: PaymentId) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT coalesce(sum(amount), 0)::bigint AS "amount!" FROM wallet.refund WHERE payment_id = $1"#,
        payment.uuid(),
    )
    .fetch_one(connection)
    .await
}

/// Refunds of these ids, in no order.
pub(crate) async fn find_all(connection: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Refund>, sqlx::Error> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    sqlx::query_as!(
        Refund,
        "SELECT id, sequence, payment_id, refunder_user_id, amount, reason_sealed, refunded_at FROM wallet.refund WHERE id = ANY($1)",
        ids,
    )
    .fetch_all(connection)
    .await
}
