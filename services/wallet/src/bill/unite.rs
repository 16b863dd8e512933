//! A customer that two processes know under different secrets: the link says one customer, its code another.
//!
//! That happens when the secret of the digests is changed in one step, and not in two (`docs/operations.md`). The code is the same, so
//! both are one: an older row that no known secret finds gets the newest digest; where there are two rows, everything goes to the one
//! that is found.
//!
//! Lock order: the customers by biller and digest, all links of the one that goes, all bills of both, each by id.

use platform::person::PersonKeys;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{CustomerId, customer};

/// Makes the customer that a link refers to the one that its code names, (biller, code) in plain words.
///
/// # Errors
/// What the database answered; also when somebody did the same at this moment.
pub(super) async fn unite(
    persons: &PersonKeys,
    tx: &mut PgConnection,
    linked: CustomerId,
    named: (&str, &str),
) -> Result<(), sqlx::Error> {
    let lookups = customer::lookups(persons, named);
    if found_again(tx, linked, named.0, &lookups).await? {
        return Ok(());
    }
    let both = sqlx::query!(
        r#"SELECT id, lookup IS NOT NULL AND lookup = ANY ($3) AS "found!" FROM wallet.bill_customer
           WHERE id = $1 OR (biller_code = $2 AND lookup = ANY ($3)) ORDER BY biller_code, lookup FOR UPDATE"#,
        linked.uuid(),
        named.0,
        &lookups,
    )
    .fetch_all(&mut *tx)
    .await?;
    // The older one where there are several, as everybody finds it.
    let stays = both.iter().filter(|customer| customer.found).map(|customer| customer.id).min();
    match stays.filter(|stays| *stays != linked.uuid()) {
        Some(stays) => bring_over(tx, linked.uuid(), stays).await,
        None => Ok(()),
    }
}

/// Gives the linked customer the newest digest, when no other customer is found by any.
async fn found_again(
    tx: &mut PgConnection,
    linked: CustomerId,
    biller: &str,
    lookups: &[Vec<u8>],
) -> Result<bool, sqlx::Error> {
    let found = sqlx::query!(
        "UPDATE wallet.bill_customer SET lookup = $4 WHERE id = $1 AND NOT EXISTS (
             SELECT FROM wallet.bill_customer AS other WHERE other.biller_code = $2 AND other.lookup = ANY ($3))",
        linked.uuid(),
        biller,
        lookups,
        lookups[0],
    )
    .execute(tx)
    .await?;
    Ok(found.rows_affected() == 1)
}

/// Everything that refers to one customer refers to another from then on; both are locked.
async fn bring_over(tx: &mut PgConnection, goes: Uuid, stays: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query!("SELECT id FROM wallet.bill_subscription WHERE customer_id = $1 ORDER BY id FOR UPDATE", goes)
        .fetch_all(&mut *tx)
        .await?;
    sqlx::query!("SELECT id FROM wallet.bill WHERE customer_id IN ($1, $2) ORDER BY id FOR UPDATE", goes, stays)
        .fetch_all(&mut *tx)
        .await?;
    sqlx::query!(
        "WITH twice AS (
             DELETE FROM wallet.bill_subscription AS link WHERE customer_id = $1 AND EXISTS (
                 SELECT FROM wallet.bill_subscription AS other WHERE other.user_id = link.user_id AND other.customer_id = $2)
         )
         UPDATE wallet.bill_subscription AS link SET customer_id = $2 WHERE customer_id = $1 AND NOT EXISTS (
             SELECT FROM wallet.bill_subscription AS other WHERE other.user_id = link.user_id AND other.customer_id = $2)",
        goes,
        stays,
    )
    .execute(&mut *tx)
    .await?;
    bring_over_bills(tx, goes, stays).await?;
    sqlx::query!("UPDATE wallet.bill_customer SET lookup = NULL WHERE id = $1", goes).execute(tx).await.map(|_| ())
}

/// Of a bill that was stored twice one stays: the one that is being paid or was paid, so that nobody pays it again.
async fn bring_over_bills(tx: &mut PgConnection, goes: Uuid, stays: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE wallet.bill AS twice SET customer_id = NULL, reference = twice.id::text, details = '{}', status = 'closed'
         FROM wallet.bill AS other, wallet.bill_payment AS payment
         WHERE twice.customer_id = $2 AND other.customer_id = $1
             AND twice.reference = replace(other.reference, ($1::uuid)::text, ($2::uuid)::text)
             AND payment.bill_id = other.id AND payment.state <> 'failed'
             AND NOT EXISTS (SELECT FROM wallet.bill_payment AS own WHERE own.bill_id = twice.id AND own.state <> 'failed')",
        goes,
        stays,
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "WITH twice AS (
             UPDATE wallet.bill AS bill SET reference = bill.id::text, details = '{}', status = 'closed'
             WHERE customer_id = $1 AND EXISTS (
                 SELECT FROM wallet.bill AS other WHERE other.biller_code = bill.biller_code
                     AND other.reference = replace(bill.reference, ($1::uuid)::text, ($2::uuid)::text) AND other.id <> bill.id)
         )
         UPDATE wallet.bill AS bill SET customer_id = $2, reference = replace(reference, ($1::uuid)::text, ($2::uuid)::text),
             details = replace(details::text, ($1::uuid)::text, ($2::uuid)::text)::jsonb
         WHERE customer_id = $1 AND NOT EXISTS (
             SELECT FROM wallet.bill AS other WHERE other.biller_code = bill.biller_code
                 AND other.reference = replace(bill.reference, ($1::uuid)::text, ($2::uuid)::text) AND other.id <> bill.id)",
        goes,
        stays,
    )
    .execute(tx)
    .await
    .map(|_| ())
}
