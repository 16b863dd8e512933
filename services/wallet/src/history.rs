//! A citizen's transactions: the journal as one account sees it, with who was on the other side.
//!
//! Reads only. The journal is the ledger's; what a transfer was for is the wallet's.

use chrono::{DateTime, Utc};
use ledger::AccountId;
use sqlx::PgConnection;
use uuid::Uuid;

/// One transfer as an account sees it.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) id: Uuid,
    pub(crate) sequence: i64,
    pub(crate) kind: i16,
    pub(crate) incoming: bool,
    pub(crate) amount: i64,
    /// The account's balance after it.
    pub(crate) balance: i64,
    pub(crate) posted_at: DateTime<Utc>,
    /// Of a payment, a refund or what was paid out of a shop that was closed.
    pub(crate) merchant_name: Option<String>,
    /// In rows from before it was sealed, until it is opened.
    pub(crate) note: Option<String>,
    pub(crate) note_sealed: Option<Vec<u8>>,
    /// Who wrote it.
    pub(crate) note_by: Option<Uuid>,
    /// Of a top-up.
    pub(crate) bank_code: Option<String>,
    /// Of a bill.
    pub(crate) biller_code: Option<String>,
    /// The guardian who paid for the citizen.
    pub(crate) acted_by: Option<Uuid>,
}

/// An account's transfers before a place in the journal, newest first.
pub(crate) async fn before(
    connection: &mut PgConnection,
    account: AccountId,
    sequence: Option<i64>,
    limit: i64,
) -> Result<Vec<Line>, sqlx::Error> {
    sqlx::query_as!(
        Line,
        r#"SELECT line.id AS "id!", line.sequence AS "sequence!", line.kind AS "kind!", line.incoming AS "incoming!", line.amount AS "amount!",
                  line.balance AS "balance!", line.posted_at AS "posted_at!",
                  coalesce(payment.merchant_name, refunded.merchant_name, closed.name) AS "merchant_name?", coalesce(payment.note, refund.reason) AS "note?",
                  coalesce(payment.note_sealed, refund.reason_sealed) AS "note_sealed?", coalesce(payment.payer_user_id, refund.refunder_user_id) AS "note_by?",
                  top_up.bank_code AS "bank_code?", bill_payment.biller_code AS "biller_code?", acted.actor_id AS "acted_by?"
           FROM (
               SELECT id, sequence, kind, credit = $1 AS incoming, amount,
                      CASE WHEN credit = $1 THEN credit_balance ELSE debit_balance END AS balance, posted_at
               FROM ledger.history($1, $2::bigint, 0, $3)
           ) AS line
           LEFT JOIN wallet.payment ON payment.id = line.id
           LEFT JOIN wallet.refund ON refund.id = line.id
           LEFT JOIN wallet.payment AS refunded ON refunded.id = refund.payment_id
           LEFT JOIN wallet.top_up ON top_up.transfer_id = line.id
           LEFT JOIN wallet.bill_payment ON bill_payment.transfer_id = line.id
           LEFT JOIN wallet.delegated_spending AS acted ON acted.reference = coalesce(bill_payment.id, payment.id)
           LEFT JOIN wallet.merchant AS closed ON closed.payout_id = line.id
           ORDER BY line.sequence DESC"#,
        account.uuid(),
        sequence as Option<i64>,
        limit,
    )
    .fetch_all(connection)
    .await
}

/// The transfer, if it touched the account.
pub(crate) async fn one(
    connection: &mut PgConnection,
    account: AccountId,
    id: Uuid,
) -> Result<Option<Line>, sqlx::Error> {
    sqlx::query_as!(
        Line,
        r#"SELECT line.id, line.sequence, line.kind, line.credit = $1 AS "incoming!", line.amount,
                  CASE WHEN line.credit = $1 THEN line.credit_balance ELSE line.debit_balance END AS "balance!", line.posted_at,
                  coalesce(payment.merchant_name, refunded.merchant_name, closed.name) AS "merchant_name?", coalesce(payment.note, refund.reason) AS "note?",
                  coalesce(payment.note_sealed, refund.reason_sealed) AS "note_sealed?", coalesce(payment.payer_user_id, refund.refunder_user_id) AS "note_by?",
                  top_up.bank_code AS "bank_code?", bill_payment.biller_code AS "biller_code?", acted.actor_id AS "acted_by?"
           FROM ledger.transfer AS line
           LEFT JOIN wallet.payment ON payment.id = line.id
           LEFT JOIN wallet.refund ON refund.id = line.id
           LEFT JOIN wallet.payment AS refunded ON refunded.id = refund.payment_id
           LEFT JOIN wallet.top_up ON top_up.transfer_id = line.id
           LEFT JOIN wallet.bill_payment ON bill_payment.transfer_id = line.id
           LEFT JOIN wallet.delegated_spending AS acted ON acted.reference = coalesce(bill_payment.id, payment.id)
           LEFT JOIN wallet.merchant AS closed ON closed.payout_id = line.id
           WHERE line.id = $2 AND (line.debit = $1 OR line.credit = $1)"#,
        account.uuid(),
        id,
    )
    .fetch_optional(connection)
    .await
}
