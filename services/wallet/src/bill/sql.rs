//! Statements about linked customers and their bills.

use chrono::{DateTime, NaiveDate, Utc};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::biller::FetchedBill;
use super::{BillId, NewSubscription, SubscriptionId};
use crate::bill_payment::{BillPaymentId, State};
use crate::city::{Biller, BillerKind};

/// A linked customer code.
#[derive(Clone, Debug)]
pub(crate) struct Subscription {
    pub(crate) id: SubscriptionId,
    pub(crate) biller_code: String,
    pub(crate) customer_code: String,
    pub(crate) label: Option<String>,
    pub(crate) created_at: DateTime<Utc>,
}

/// A bill as a citizen who has linked its customer sees it.
#[derive(Clone, Debug)]
pub(crate) struct ListedBill {
    pub(crate) id: BillId,
    pub(crate) biller_code: String,
    pub(crate) customer_code: String,
    pub(crate) kind: BillerKind,
    pub(crate) label: Option<String>,
    pub(crate) reference: String,
    pub(crate) period: String,
    pub(crate) amount: i64,
    pub(crate) issued_on: NaiveDate,
    pub(crate) due_on: NaiveDate,
    pub(crate) details: Value,
    /// Whether the biller still asks for it.
    pub(crate) open: bool,
    /// Its payment that has not failed, whoever made it.
    pub(crate) payment_id: Option<BillPaymentId>,
    pub(crate) payment_state: Option<State>,
    /// Who made that.
    pub(crate) payer: Option<Uuid>,
}

/// Which bills are asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wanted {
    /// Only those that are to be paid, or only the others; without, all.
    pub(crate) payable: Option<bool>,
    /// One bill only.
    pub(crate) id: Option<BillId>,
    /// Those that are listed after this one.
    pub(crate) after: Option<(NaiveDate, BillId)>,
}

/// A bill that is about to be paid, locked.
#[derive(Clone, Debug)]
pub(crate) struct Payable {
    pub(crate) biller_code: String,
    pub(crate) customer_code: String,
    pub(crate) kind: BillerKind,
    pub(crate) reference: String,
    pub(crate) period: String,
    pub(crate) amount: i64,
    pub(crate) open: bool,
}

/// Adds a link, in the citizen's turn.
pub(super) async fn insert(connection: &mut PgConnection, user: Uuid, new: &Subscription) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO wallet.bill_subscription (id, user_id, biller_code, customer_code, label, created_at)
         VALUES ($1, $2, $3, $4, $5, $6)",
        new.id.uuid(),
        user,
        new.biller_code,
        new.customer_code,
        new.label,
        new.created_at,
    )
    .execute(connection)
    .await
    .map(|_| ())
}

/// How many customers a citizen has linked.
pub(super) async fn count_of(connection: &mut PgConnection, user: Uuid) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM wallet.bill_subscription WHERE user_id = $1"#, user)
        .fetch_one(connection)
        .await
}

/// The link, whosever it is.
pub(super) async fn find(
    connection: &mut PgConnection,
    id: SubscriptionId,
) -> Result<Option<Subscription>, sqlx::Error> {
    sqlx::query_as!(
        Subscription,
        "SELECT id, biller_code, customer_code, label, created_at FROM wallet.bill_subscription WHERE id = $1",
        id.uuid(),
    )
    .fetch_optional(connection)
    .await
}

/// The citizen's link to a customer.
pub(super) async fn find_by_customer(
    connection: &mut PgConnection,
    user: Uuid,
    new: &NewSubscription,
) -> Result<Option<Subscription>, sqlx::Error> {
    sqlx::query_as!(
        Subscription,
        "SELECT id, biller_code, customer_code, label, created_at FROM wallet.bill_subscription
         WHERE user_id = $1 AND biller_code = $2 AND customer_code = $3",
        user,
        new.biller_code,
        new.customer_code,
    )
    .fetch_optional(connection)
    .await
}

/// The citizen's links, the oldest first.
pub(crate) async fn of_citizen(
    connection: &mut PgConnection,
    user: Uuid,
    limit: i64,
) -> Result<Vec<Subscription>, sqlx::Error> {
    sqlx::query_as!(
        Subscription,
        "SELECT id, biller_code, customer_code, label, created_at FROM wallet.bill_subscription
         WHERE user_id = $1 ORDER BY id LIMIT $2",
        user,
        limit,
    )
    .fetch_all(connection)
    .await
}

/// Takes a link of the citizen's away; `false` when there is none.
pub(crate) async fn remove(connection: &mut PgConnection, user: Uuid, id: SubscriptionId) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!("DELETE FROM wallet.bill_subscription WHERE id = $1 AND user_id = $2", id.uuid(), user)
        .execute(connection)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Stores what a biller said of a customer: new bills are added, known ones take its word, and those that it asks for no more are closed.
///
/// `asked_at` is when the biller was asked: a row that a later answer has changed stays. Says which bills are new.
pub(super) async fn store(
    connection: &mut PgConnection,
    (biller, customer_code): (&Biller, &str),
    bills: &[FetchedBill],
    asked_at: DateTime<Utc>,
) -> Result<Vec<Uuid>, sqlx::Error> {
    // In one order, so that two who store the same customer's bills never wait for each other in a circle.
    let mut bills: Vec<&FetchedBill> = bills.iter().collect();
    bills.sort_by(|one, other| one.reference.cmp(&other.reference));
    let ids: Vec<Uuid> = bills.iter().map(|_| platform::id::new()).collect();
    let references: Vec<String> = bills.iter().map(|bill| bill.reference.clone()).collect();
    let periods: Vec<String> = bills.iter().map(|bill| bill.period.clone()).collect();
    let amounts: Vec<i64> = bills.iter().map(|bill| bill.amount.minor()).collect();
    let issued: Vec<NaiveDate> = bills.iter().map(|bill| bill.issued_on).collect();
    let due: Vec<NaiveDate> = bills.iter().map(|bill| bill.due_on).collect();
    let details: Vec<Value> = bills.iter().map(|bill| Value::Object(bill.details.clone())).collect();
    let mut kept = sqlx::query_scalar!(
        "INSERT INTO wallet.bill (id, biller_code, customer_code, kind, reference, period, amount, issued_on, due_on, details, status, updated_at)
         SELECT id, $8, $9, $11, reference, period, amount, issued_on, due_on, details, 'open', $10
         FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::date[], $6::date[], $7::jsonb[])
              AS new (id, reference, period, amount, issued_on, due_on, details)
         ON CONFLICT ON CONSTRAINT bill_reference_uq DO UPDATE
         SET amount = excluded.amount, due_on = excluded.due_on, details = excluded.details, status = 'open', updated_at = excluded.updated_at
         WHERE bill.customer_code = excluded.customer_code AND bill.updated_at <= excluded.updated_at
         RETURNING id",
        &ids,
        &references,
        &periods,
        &amounts,
        &issued,
        &due,
        &details,
        biller.code,
        customer_code,
        asked_at,
        biller.kind.name(),
    )
    .fetch_all(&mut *connection)
    .await?;
    // A bill that was known keeps the id that it has.
    kept.retain(|id| ids.contains(id));
    sqlx::query!(
        "UPDATE wallet.bill SET status = 'closed', updated_at = $4
         WHERE id IN (
             SELECT id FROM wallet.bill
             WHERE biller_code = $1 AND customer_code = $2 AND status = 'open' AND reference <> ALL($3) AND updated_at <= $4
             ORDER BY reference FOR UPDATE)",
        biller.code,
        customer_code,
        &references,
        asked_at,
    )
    .execute(connection)
    .await?;
    Ok(kept)
}

/// Bills of the customers that a citizen has linked, and notices that are addressed to them, the latest due day first.
pub(crate) async fn list(
    connection: &mut PgConnection,
    user: Uuid,
    wanted: Wanted,
    limit: i64,
) -> Result<Vec<ListedBill>, sqlx::Error> {
    let (after_due, after_id) = wanted.after.map_or((None, None), |(due, id)| (Some(due), Some(id.uuid())));
    sqlx::query_as!(
        ListedBill,
        r#"SELECT bill.id, bill.biller_code, bill.customer_code, bill.kind AS "kind: BillerKind", seen.label AS "label?", bill.reference, bill.period, bill.amount,
                  bill.issued_on, bill.due_on, bill.details, bill.status = 'open' AS "open!",
                  payment.id AS "payment_id?: BillPaymentId", payment.state AS "payment_state?: State", payment.user_id AS "payer?"
           FROM (
               SELECT bill.id, subscription.label FROM wallet.bill_subscription AS subscription
               JOIN wallet.bill ON bill.biller_code = subscription.biller_code AND bill.customer_code = subscription.customer_code
               WHERE subscription.user_id = $1
               UNION ALL
               SELECT bill.id, NULL FROM wallet.bill WHERE bill.user_id = $1
           ) AS seen
           JOIN wallet.bill ON bill.id = seen.id
           LEFT JOIN wallet.bill_payment AS payment ON payment.bill_id = bill.id AND payment.state <> 'failed'
           WHERE true
             AND ($2::uuid IS NULL OR bill.id = $2)
             AND ($3::boolean IS NULL OR (bill.status = 'open' AND payment.id IS NULL) = $3)
             AND ($4::date IS NULL OR (bill.due_on, bill.id) < ($4, $5::uuid))
           ORDER BY bill.due_on DESC, bill.id DESC LIMIT $6"#,
        user,
        wanted.id.map(BillId::uuid) as Option<Uuid>,
        wanted.payable as Option<bool>,
        after_due as Option<NaiveDate>,
        after_id as Option<Uuid>,
        limit,
    )
    .fetch_all(connection)
    .await
}

/// What kind of bill it is; nothing when the citizen doesn't see it. A bill's kind never changes.
pub(crate) async fn kind_of(
    connection: &mut PgConnection,
    user: Uuid,
    id: BillId,
) -> Result<Option<BillerKind>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT kind AS "kind: BillerKind" FROM wallet.bill
           WHERE id = $1 AND (user_id = $2 OR EXISTS (
               SELECT FROM wallet.bill_subscription AS subscription
               WHERE subscription.user_id = $2 AND subscription.biller_code = bill.biller_code
                 AND subscription.customer_code = bill.customer_code))"#,
        id.uuid(),
        user,
    )
    .fetch_optional(connection)
    .await
}

/// Locks a bill that the citizen sees, for as long as it takes to save the intent to pay it.
pub(crate) async fn lock(
    connection: &mut PgConnection,
    user: Uuid,
    id: BillId,
) -> Result<Option<Payable>, sqlx::Error> {
    sqlx::query_as!(
        Payable,
        r#"SELECT biller_code, customer_code, kind AS "kind: BillerKind", reference, period, amount, status = 'open' AS "open!" FROM wallet.bill
           WHERE id = $1 AND (user_id = $2 OR EXISTS (
               SELECT FROM wallet.bill_subscription AS subscription
               WHERE subscription.user_id = $2 AND subscription.biller_code = bill.biller_code
                 AND subscription.customer_code = bill.customer_code))
           FOR UPDATE OF bill"#,
        id.uuid(),
        user,
    )
    .fetch_optional(connection)
    .await
}
