//! Statements about notices of fees.

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::biller_code;
use crate::bill::BillId;
use crate::bill_payment::{BillPaymentId, State};

/// A notice as its agency sees it.
#[derive(Clone, Debug)]
pub(crate) struct Notice {
    pub(crate) id: BillId,
    /// Never shown to the agency.
    pub(crate) user_id: Uuid,
    pub(crate) agency: String,
    pub(crate) reference: String,
    pub(crate) procedure: String,
    pub(crate) channel: String,
    pub(crate) amount: i64,
    pub(crate) due_on: NaiveDate,
    pub(crate) issued_at: DateTime<Utc>,
    pub(crate) cancelled_at: Option<DateTime<Utc>>,
    /// Of the one payment that has not failed.
    pub(crate) payment_state: Option<State>,
    pub(crate) transfer_id: Option<Uuid>,
}

/// Adds a notice and its bill; `false` when the reference names another.
pub(super) async fn insert(
    connection: &mut PgConnection,
    client: Uuid,
    new: &Notice,
    (procedure_name, today): (&str, NaiveDate),
) -> Result<bool, sqlx::Error> {
    let details = serde_json::json!({
        "agency": new.agency, "procedure": new.procedure, "procedure_name": procedure_name, "channel": new.channel,
    });
    let added = sqlx::query!(
        "INSERT INTO wallet.bill (id, biller_code, customer_code, kind, reference, period, amount, issued_on, due_on, details, status, updated_at, user_id)
         VALUES ($1, $2, $3, 'fee', $4, $3, $5, $6, $7, $8, 'open', $9, $10)
         ON CONFLICT ON CONSTRAINT bill_reference_uq DO NOTHING",
        new.id.uuid(),
        biller_code(&new.agency),
        new.procedure,
        new.reference,
        new.amount,
        today,
        new.due_on,
        details,
        new.issued_at,
        new.user_id,
    )
    .execute(&mut *connection)
    .await?;
    if added.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query!(
        "INSERT INTO wallet.fee_notice (bill_id, client_id, agency, procedure, channel, issued_at) VALUES ($1, $2, $3, $4, $5, $6)",
        new.id.uuid(),
        client,
        new.agency,
        new.procedure,
        new.channel,
        new.issued_at,
    )
    .execute(connection)
    .await?;
    Ok(true)
}

/// A page of an agency's notices, the newest first; `id` for that one alone, `reference` for the one that it names.
async fn read(
    connection: &mut PgConnection,
    agency: &str,
    (id, reference): (Option<Uuid>, Option<&str>),
    (before, limit): (Option<Uuid>, i64),
) -> Result<Vec<Notice>, sqlx::Error> {
    sqlx::query_as!(
        Notice,
        r#"SELECT bill.id AS "id: BillId", bill.user_id AS "user_id!", notice.agency, bill.reference, notice.procedure, notice.channel, bill.amount,
                  bill.due_on, notice.issued_at, notice.cancelled_at, payment.state AS "payment_state?: State", payment.transfer_id AS "transfer_id?"
           FROM wallet.fee_notice AS notice
           JOIN wallet.bill ON bill.id = notice.bill_id
           LEFT JOIN wallet.bill_payment AS payment ON payment.bill_id = bill.id AND payment.state <> 'failed'
           WHERE notice.agency = $1 AND ($2::uuid IS NULL OR bill.id = $2) AND ($3::text IS NULL OR bill.reference = $3)
             AND ($4::uuid IS NULL OR bill.id < $4)
           ORDER BY bill.id DESC LIMIT $5"#,
        agency,
        id,
        reference,
        before,
        limit,
    )
    .fetch_all(connection)
    .await
}

/// A notice of an agency.
pub(crate) async fn find(
    connection: &mut PgConnection,
    agency: &str,
    id: BillId,
) -> Result<Option<Notice>, sqlx::Error> {
    Ok(read(connection, agency, (Some(id.uuid()), None), (None, 1)).await?.pop())
}

/// The notice that an agency's reference names.
pub(super) async fn find_by_reference(
    connection: &mut PgConnection,
    agency: &str,
    reference: &str,
) -> Result<Option<Notice>, sqlx::Error> {
    Ok(read(connection, agency, (None, Some(reference)), (None, 1)).await?.pop())
}

/// A page of an agency's notices, the newest first.
pub(crate) async fn list(
    pool: &PgPool,
    agency: &str,
    reference: Option<&str>,
    page: (Option<Uuid>, i64),
) -> Result<Vec<Notice>, sqlx::Error> {
    read(&mut *pool.acquire().await?, agency, (None, reference), page).await
}

/// How many notices of an agency to a citizen are open and unpaid.
pub(super) async fn count_open(connection: &mut PgConnection, agency: &str, user: Uuid) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM wallet.bill
           WHERE user_id = $1 AND biller_code = $2 AND status = 'open'
             AND NOT EXISTS (SELECT FROM wallet.bill_payment AS payment WHERE payment.bill_id = bill.id AND payment.state = 'paid')"#,
        user,
        biller_code(agency),
    )
    .fetch_one(connection)
    .await
}

/// Locks the bill of a notice; `false` when the agency has no such notice.
pub(super) async fn lock(connection: &mut PgConnection, agency: &str, id: BillId) -> Result<bool, sqlx::Error> {
    let locked = sqlx::query_scalar!(
        "SELECT id FROM wallet.bill WHERE id = $1 AND biller_code = $2 FOR UPDATE",
        id.uuid(),
        biller_code(agency),
    )
    .fetch_optional(connection)
    .await?;
    Ok(locked.is_some())
}

/// Takes a locked notice back.
pub(super) async fn cancel(connection: &mut PgConnection, id: BillId, at: DateTime<Utc>) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE wallet.bill SET status = 'closed', updated_at = $2 WHERE id = $1 AND status = 'open'",
        id.uuid(),
        at,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "UPDATE wallet.fee_notice SET cancelled_at = $2 WHERE bill_id = $1 AND cancelled_at IS NULL",
        id.uuid(),
        at,
    )
    .execute(connection)
    .await
    .map(|_| ())
}

/// What an agency is told of a paid notice.
#[derive(Debug)]
pub(super) struct Paid {
    pub(super) agency: String,
    pub(super) bill_id: Uuid,
    pub(super) reference: String,
    pub(super) procedure: String,
    pub(super) amount: i64,
    pub(super) transfer_id: Uuid,
    pub(super) paid_at: DateTime<Utc>,
}

/// The paid notice of a payment.
pub(super) async fn paid(connection: &mut PgConnection, payment: BillPaymentId) -> Result<Option<Paid>, sqlx::Error> {
    sqlx::query_as!(
        Paid,
        r#"SELECT notice.agency, notice.bill_id, bill.reference, notice.procedure, payment.amount, payment.transfer_id AS "transfer_id!",
                  transfer.posted_at AS paid_at
           FROM wallet.bill_payment AS payment
           JOIN wallet.fee_notice AS notice ON notice.bill_id = payment.bill_id
           JOIN wallet.bill ON bill.id = payment.bill_id
           JOIN ledger.transfer AS transfer ON transfer.id = payment.transfer_id
           WHERE payment.id = $1 AND payment.state = 'paid'"#,
        payment.uuid(),
    )
    .fetch_optional(connection)
    .await
}
