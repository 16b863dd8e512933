//! Statements about payments. Rows are only ever added.

use ledger::money::Money;
use ledger::{Key, Outcome, Posted, Reject, TransferId};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Payment, PaymentId};
use crate::account::CURRENCY;
use crate::error::Error;
use crate::merchant::MerchantId;

/// What the ledger has answered under a key, if it has.
pub(crate) async fn answered(connection: &mut PgConnection, key: &Key) -> Result<Option<Outcome>, Error> {
    let (request_key, fingerprint) = (key.request_key().0, key.stored_fingerprint().0);
    let transfer = sqlx::query!(
        r#"SELECT id, sequence, block, debit_balance, credit_balance, posted_at, fingerprint
           FROM ledger.transfer WHERE id = $1"#,
        request_key,
    )
    .fetch_optional(&mut *connection)
    .await?;
    if let Some(row) = transfer {
        let posted = Posted {
            transfer: TransferId::from(row.id),
            sequence: row.sequence,
            block: row.block,
            debit_balance: Money::from_minor(row.debit_balance, CURRENCY),
            credit_balance: Money::from_minor(row.credit_balance, CURRENCY),
            posted_at: row.posted_at,
        };
        return if row.fingerprint == fingerprint {
            Ok(Some(Outcome::Posted(vec![posted])))
        } else {
            Err(Error::KeyReused)
        };
    }
    let refused = sqlx::query!(
        r#"SELECT reject AS "reject!", subject AS "subject!", fingerprint FROM ledger.request WHERE request_key = $1 AND reject IS NOT NULL"#,
        request_key,
    )
    .fetch_optional(connection)
    .await?;
    match refused {
        Some(row) if row.fingerprint != fingerprint => Err(Error::KeyReused),
        Some(row) => Ok(Reject::from_stored(&row.reject, row.subject).map(Outcome::Rejected)),
        None => Ok(None),
    }
}

/// Adds the payments of one batch of the ledger.
pub(crate) async fn insert(connection: &mut PgConnection, payments: &[Payment]) -> Result<(), sqlx::Error> {
    let ids: Vec<Uuid> = payments.iter().map(|payment| payment.id.uuid()).collect();
    let sequences: Vec<i64> = payments.iter().map(|payment| payment.sequence).collect();
    let payers: Vec<Uuid> = payments.iter().map(|payment| payment.payer_user_id).collect();
    let merchants: Vec<Uuid> = payments.iter().map(|payment| payment.merchant_id.uuid()).collect();
    let owners: Vec<Uuid> = payments.iter().map(|payment| payment.merchant_owner_user_id).collect();
    let names: Vec<String> = payments.iter().map(|payment| payment.merchant_name.clone()).collect();
    let tills: Vec<Uuid> = payments.iter().map(|payment| payment.till_id.uuid()).collect();
    let amounts: Vec<i64> = payments.iter().map(|payment| payment.amount).collect();
    let notes: Vec<Option<Vec<u8>>> = payments.iter().map(|payment| payment.note_sealed.clone()).collect();
    let times: Vec<_> = payments.iter().map(|payment| payment.paid_at).collect();
    sqlx::query!(
        "INSERT INTO wallet.payment (id, sequence, payer_user_id, merchant_id, merchant_owner_user_id, merchant_name, till_id, amount, note_sealed, paid_at)
         SELECT id, sequence, payer, merchant, owner, name, till, amount, note, paid_at
         FROM unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::uuid[], $5::uuid[], $6::text[], $7::uuid[], $8::bigint[], $9::bytea[], $10::timestamptz[])
              AS new (id, sequence, payer, merchant, owner, name, till, amount, note, paid_at)",
        &ids,
        &sequences,
        &payers,
        &merchants,
        &owners,
        &names,
        &tills,
        &amounts,
        &notes as &[Option<Vec<u8>>],
        &times,
    )
    .execute(connection)
    .await
    .map(|_| ())
}

/// The payment, if the citizen made it or owns the merchant that got it.
pub(crate) async fn find_seen_by(
    connection: &mut PgConnection,
    user: Uuid,
    id: PaymentId,
) -> Result<Option<Payment>, sqlx::Error> {
    sqlx::query_as!(
        Payment,
        "SELECT id, sequence, payer_user_id, merchant_id, merchant_owner_user_id, merchant_name, till_id, amount, note, note_sealed, paid_at
         FROM wallet.payment WHERE id = $1 AND (payer_user_id = $2 OR merchant_owner_user_id = $2)",
        id.uuid(),
        user,
    )
    .fetch_optional(connection)
    .await
}

/// Payments of these ids, in no order.
pub(crate) async fn find_all(connection: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Payment>, sqlx::Error> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    sqlx::query_as!(
        Payment,
        "SELECT id, sequence, payer_user_id, merchant_id, merchant_owner_user_id, merchant_name, till_id, amount, note, note_sealed, paid_at
         FROM wallet.payment WHERE id = ANY($1)",
        ids,
    )
    .fetch_all(connection)
    .await
}

/// A merchant's payments before a place in the journal, newest first.
pub(crate) async fn of_merchant_before(
    connection: &mut PgConnection,
    merchant: MerchantId,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<Payment>, sqlx::Error> {
    sqlx::query_as!(
        Payment,
        "SELECT id, sequence, payer_user_id, merchant_id, merchant_owner_user_id, merchant_name, till_id, amount, note, note_sealed, paid_at
         FROM wallet.payment WHERE merchant_id = $1 AND ($2::bigint IS NULL OR sequence < $2) ORDER BY sequence DESC LIMIT $3",
        merchant.uuid(),
        before,
        limit,
    )
    .fetch_all(connection)
    .await
}

/// A merchant's payments after a place in the journal, oldest first.
pub(crate) async fn of_merchant_after(
    connection: &mut PgConnection,
    merchant: MerchantId,
    after: i64,
    limit: i64,
) -> Result<Vec<Payment>, sqlx::Error> {
    sqlx::query_as!(
        Payment,
        "SELECT id, sequence, payer_user_id, merchant_id, merchant_owner_user_id, merchant_name, till_id, amount, note, note_sealed, paid_at
         FROM wallet.payment WHERE merchant_id = $1 AND sequence > $2 ORDER BY sequence LIMIT $3",
        merchant.uuid(),
        after,
        limit,
    )
    .fetch_all(connection)
    .await
}
