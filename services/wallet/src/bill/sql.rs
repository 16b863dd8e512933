//! Statements about bills.

use chrono::{DateTime, NaiveDate, Utc};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::biller::FetchedBill;
use super::customer::Customer;
use super::{BillId, CustomerId, SubscriptionId, mask};
use crate::bill_payment::{BillPaymentId, State};
use crate::city::{Biller, BillerKind};

/// A bill as a citizen who has linked its customer sees it.
#[derive(Clone, Debug)]
pub(crate) struct ListedBill {
    pub(crate) id: BillId,
    pub(crate) biller_code: String,
    pub(crate) kind: BillerKind,
    pub(crate) customer_id: Option<CustomerId>,
    /// The citizen's link to its customer; none of a fee.
    pub(crate) subscription_id: Option<SubscriptionId>,
    /// Of a fee, its procedure; else of a link from before it was sealed, until [`opened`](super::opened) puts it in.
    pub(crate) customer_code: Option<String>,
    pub(crate) customer_code_sealed: Option<Vec<u8>>,
    /// Of a link from before it was sealed, until it is opened.
    pub(crate) label: Option<String>,
    pub(crate) label_sealed: Option<Vec<u8>>,
    /// Without the customer's code, until it is opened.
    pub(crate) reference: String,
    pub(crate) period: String,
    pub(crate) amount: i64,
    pub(crate) issued_on: NaiveDate,
    pub(crate) due_on: NaiveDate,
    /// As the reference.
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
    pub(crate) kind: BillerKind,
    pub(crate) customer_id: Option<CustomerId>,
    /// The citizen's link to its customer; none of a fee.
    pub(crate) subscription_id: Option<SubscriptionId>,
    /// Of a fee, its procedure; else of a link from before it was sealed.
    pub(crate) customer_code: Option<String>,
    pub(crate) customer_code_sealed: Option<Vec<u8>>,
    /// Without the customer's code.
    pub(crate) reference: String,
    pub(crate) period: String,
    pub(crate) amount: i64,
    pub(crate) open: bool,
}

/// Stores what a biller said of a customer, under its lock: new bills are added, known ones take its word, and those that it asks for no
/// more are closed. A bill of a customer whom nobody has linked any more goes to the one of whom the biller says it now.
///
/// `asked_at` is when the biller was asked: a row that a later answer has changed stays. Says which bills are new.
pub(super) async fn store(
    connection: &mut PgConnection,
    (biller, customer): (&Biller, Customer<'_>),
    bills: &[FetchedBill],
    asked_at: DateTime<Utc>,
) -> Result<Vec<Uuid>, sqlx::Error> {
    // In one order, so that two who store the same customer's bills never wait for each other in a circle.
    let mut bills: Vec<&FetchedBill> = bills.iter().collect();
    bills.sort_by(|one, other| one.reference.cmp(&other.reference));
    let whose = (customer.id, customer.code);
    let ids: Vec<Uuid> = bills.iter().map(|_| platform::id::new()).collect();
    let references: Vec<String> = bills.iter().map(|bill| mask::hide(&bill.reference, whose)).collect();
    let periods: Vec<String> = bills.iter().map(|bill| mask::strike(&bill.period, customer.code)).collect();
    let amounts: Vec<i64> = bills.iter().map(|bill| bill.amount.minor()).collect();
    let issued: Vec<NaiveDate> = bills.iter().map(|bill| bill.issued_on).collect();
    let due: Vec<NaiveDate> = bills.iter().map(|bill| bill.due_on).collect();
    let details: Vec<Value> =
        bills.iter().map(|bill| mask::hide_in(Value::Object(bill.details.clone()), whose)).collect();
    let mut kept = sqlx::query_scalar!(
        "INSERT INTO wallet.bill (id, biller_code, customer_id, kind, reference, period, amount, issued_on, due_on, details, status, updated_at)
         SELECT id, $8, $9, $11, reference, period, amount, issued_on, due_on, details, 'open', $10
         FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::date[], $6::date[], $7::jsonb[])
              AS new (id, reference, period, amount, issued_on, due_on, details)
         ON CONFLICT ON CONSTRAINT bill_reference_uq DO UPDATE
         SET customer_id = excluded.customer_id, amount = excluded.amount, due_on = excluded.due_on, details = excluded.details, status = 'open',
             updated_at = excluded.updated_at
         WHERE bill.updated_at <= excluded.updated_at AND bill.kind = excluded.kind AND bill.customer_code IS NULL AND (bill.customer_id = excluded.customer_id
             OR NOT EXISTS (SELECT FROM wallet.bill_subscription AS other WHERE other.customer_id = bill.customer_id))
         RETURNING id",
        &ids,
        &references,
        &periods,
        &amounts,
        &issued,
        &due,
        &details,
        biller.code,
        customer.id.uuid(),
        asked_at,
        biller.kind.name(),
    )
    .fetch_all(&mut *connection)
    .await?;
    // A bill that was known keeps the id that it has.
    kept.retain(|id| ids.contains(id));
    sqlx::query!(
        "UPDATE wallet.bill SET status = 'closed', updated_at = $3
         WHERE id IN (
             SELECT id FROM wallet.bill
             WHERE customer_id = $1 AND status = 'open' AND reference <> ALL($2) AND updated_at <= $3
             ORDER BY reference FOR UPDATE)",
        customer.id.uuid(),
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
        r#"SELECT bill.id, bill.biller_code, bill.kind AS "kind: BillerKind", bill.customer_id AS "customer_id: CustomerId",
                  seen.subscription_id AS "subscription_id?: SubscriptionId", seen.customer_code AS "customer_code?",
                  seen.customer_code_sealed AS "customer_code_sealed?", seen.label AS "label?", seen.label_sealed AS "label_sealed?",
                  bill.reference, bill.period, bill.amount, bill.issued_on, bill.due_on, bill.details, bill.status = 'open' AS "open!",
                  payment.id AS "payment_id?: BillPaymentId", payment.state AS "payment_state?: State", payment.user_id AS "payer?"
           FROM (
               SELECT bill.id, subscription.id AS subscription_id, subscription.customer_code, subscription.customer_code_sealed,
                      subscription.label, subscription.label_sealed
               FROM wallet.bill_subscription AS subscription
               JOIN wallet.bill ON bill.customer_id = subscription.customer_id
               WHERE subscription.user_id = $1
               UNION ALL
               -- From before there were customers.
               SELECT bill.id, subscription.id, subscription.customer_code, NULL, subscription.label, NULL
               FROM wallet.bill_subscription AS subscription
               JOIN wallet.bill ON bill.biller_code = subscription.biller_code AND bill.customer_code = subscription.customer_code
               WHERE subscription.user_id = $1
               UNION ALL
               SELECT bill.id, NULL, bill.customer_code, NULL, NULL, NULL FROM wallet.bill WHERE bill.user_id = $1
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
               WHERE subscription.user_id = $2 AND (subscription.customer_id = bill.customer_id
                   OR (subscription.biller_code = bill.biller_code AND subscription.customer_code = bill.customer_code))))"#,
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
        r#"SELECT bill.biller_code, bill.kind AS "kind: BillerKind", bill.customer_id AS "customer_id: CustomerId",
                  subscription.id AS "subscription_id?: SubscriptionId", coalesce(subscription.customer_code, bill.customer_code) AS customer_code,
                  subscription.customer_code_sealed AS "customer_code_sealed?", bill.reference, bill.period, bill.amount,
                  bill.status = 'open' AS "open!"
           FROM wallet.bill
           LEFT JOIN wallet.bill_subscription AS subscription ON subscription.user_id = $2 AND (subscription.customer_id = bill.customer_id
               OR (subscription.biller_code = bill.biller_code AND subscription.customer_code = bill.customer_code))
           WHERE bill.id = $1 AND (bill.user_id = $2 OR subscription.id IS NOT NULL)
           FOR UPDATE OF bill"#,
        id.uuid(),
        user,
    )
    .fetch_optional(connection)
    .await
}
