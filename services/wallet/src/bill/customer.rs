//! Customers at billers, known by a keyed digest of their code.
//!
//! Lock: the customer's row, before what refers to it. Whoever makes one that is not there yet waits for whoever does the same; a change
//! of the secret makes no second one, as long as it is done in two steps (`docs/operations.md`).

use chrono::{DateTime, Utc};
use platform::id;
use platform::person::PersonKeys;
use sqlx::PgConnection;
use uuid::Uuid;

use super::CustomerId;

/// What the digest is made for.
const LOOKUP: &str = "bill_customer.lookup";

/// A customer that is locked, with the code that names it at its biller.
#[derive(Clone, Copy)]
pub(crate) struct Customer<'a> {
    pub(crate) id: CustomerId,
    pub(crate) biller_code: &'a str,
    pub(crate) code: &'a str,
}

/// The digests by which a customer may be known, the newest first.
pub(crate) fn lookups(persons: &PersonKeys, (biller, code): (&str, &str)) -> Vec<Vec<u8>> {
    persons.lookups(LOOKUP, &format!("{biller}:{code}"))
}

/// The customer, locked, and made where it is not known yet. What is stored under its plain code from before refers to it from then on.
///
/// # Errors
/// What the database answered.
pub(crate) async fn known<'a>(
    persons: &PersonKeys,
    connection: &mut PgConnection,
    named: (&'a str, &'a str),
    now: DateTime<Utc>,
) -> Result<Customer<'a>, sqlx::Error> {
    let customer = locked(persons, connection, named, now).await?;
    adopt(connection, &[customer]).await?;
    Ok(customer)
}

/// The customer, locked, and made where it is not known yet. Whoever needs several locks them in the order of biller and newest digest.
///
/// # Errors
/// What the database answered.
pub(crate) async fn locked<'a>(
    persons: &PersonKeys,
    connection: &mut PgConnection,
    (biller_code, code): (&'a str, &'a str),
    now: DateTime<Utc>,
) -> Result<Customer<'a>, sqlx::Error> {
    let lookups = lookups(persons, (biller_code, code));
    let id = match lock(connection, biller_code, &lookups).await? {
        Some(id) => id,
        None => make(connection, biller_code, &lookups, now).await?,
    };
    Ok(Customer { id, biller_code, code })
}

/// Locks the customer that one of the digests names; from then on it is the newest that does.
async fn lock(
    connection: &mut PgConnection,
    biller: &str,
    lookups: &[Vec<u8>],
) -> Result<Option<CustomerId>, sqlx::Error> {
    let found = sqlx::query!(
        r#"SELECT id, lookup = $3 AS "newest!" FROM wallet.bill_customer WHERE biller_code = $1 AND lookup = ANY ($2)
           ORDER BY id LIMIT 1 FOR NO KEY UPDATE"#,
        biller,
        lookups,
        lookups[0],
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some(found) = found else { return Ok(None) };
    if !found.newest {
        // A secret that was changed in one step may have made two: then the older stays, under the older secret.
        sqlx::query!(
            "UPDATE wallet.bill_customer SET lookup = $2 WHERE id = $1 AND NOT EXISTS (
                 SELECT FROM wallet.bill_customer AS other WHERE other.biller_code = $3 AND other.lookup = $2)",
            found.id,
            lookups[0],
            biller,
        )
        .execute(connection)
        .await?;
    }
    Ok(Some(CustomerId::from(found.id)))
}

async fn make(
    connection: &mut PgConnection,
    biller: &str,
    lookups: &[Vec<u8>],
    now: DateTime<Utc>,
) -> Result<CustomerId, sqlx::Error> {
    // Of one name for all who know the same secrets, whichever is the newest to them.
    let name = format!("wallet.bill_customer:{}", hex::encode(lookups.iter().min().map_or(&[][..], Vec::as_slice)));
    sqlx::query!("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", name).execute(&mut *connection).await?;
    if let Some(id) = lock(connection, biller, lookups).await? {
        return Ok(id);
    }
    sqlx::query!(
        "INSERT INTO wallet.bill_customer (id, biller_code, lookup, created_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT ON CONSTRAINT bill_customer_lookup_uq DO NOTHING",
        id::new(),
        biller,
        lookups[0],
        now,
    )
    .execute(&mut *connection)
    .await?;
    // Gone again is only what an erasure has taken in this very moment.
    lock(connection, biller, lookups).await?.ok_or(sqlx::Error::RowNotFound)
}

/// Brings over what stands under the plain codes of customers that are locked: rows from before, or of a process of an earlier version
/// that still runs. All links are locked before any bill, each in the order of their ids, as an erasure does.
///
/// Such a process knows links and bills by their plain form only. A link that it made a second time goes; a bill that it stored a
/// second time is nobody's any more, and its payment, if it has one, goes its way.
///
/// # Errors
/// What the database answered.
pub(crate) async fn adopt(connection: &mut PgConnection, customers: &[Customer<'_>]) -> Result<(), sqlx::Error> {
    let billers: Vec<String> = customers.iter().map(|customer| customer.biller_code.to_owned()).collect();
    let codes: Vec<String> = customers.iter().map(|customer| customer.code.to_owned()).collect();
    let links = sqlx::query_scalar!(
        "SELECT plain.id FROM wallet.bill_subscription AS plain
         JOIN unnest($1::text[], $2::text[]) AS named (biller, code) ON plain.biller_code = named.biller AND plain.customer_code = named.code
         WHERE plain.customer_code IS NOT NULL AND plain.customer_id IS NULL ORDER BY plain.id FOR UPDATE OF plain",
        &billers,
        &codes,
    )
    .fetch_all(&mut *connection)
    .await?;
    let bills = sqlx::query_scalar!(
        "SELECT plain.id FROM wallet.bill AS plain
         JOIN unnest($1::text[], $2::text[]) AS named (biller, code) ON plain.biller_code = named.biller AND plain.customer_code = named.code
         WHERE plain.customer_code IS NOT NULL AND plain.kind <> 'fee' ORDER BY plain.id FOR UPDATE OF plain",
        &billers,
        &codes,
    )
    .fetch_all(&mut *connection)
    .await?;
    for customer in customers {
        if !links.is_empty() {
            adopt_links(connection, *customer).await?;
        }
        if !bills.is_empty() {
            adopt_bills(connection, *customer).await?;
        }
    }
    Ok(())
}

async fn adopt_links(connection: &mut PgConnection, customer: Customer<'_>) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "WITH twice AS (
             DELETE FROM wallet.bill_subscription AS plain
             WHERE plain.biller_code = $2 AND plain.customer_code = $3 AND plain.customer_id IS NULL AND EXISTS (
                 SELECT FROM wallet.bill_subscription AS known WHERE known.user_id = plain.user_id AND known.customer_id = $1)
         )
         UPDATE wallet.bill_subscription AS plain SET customer_id = $1
         WHERE plain.biller_code = $2 AND plain.customer_code = $3 AND plain.customer_id IS NULL AND NOT EXISTS (
             SELECT FROM wallet.bill_subscription AS known WHERE known.user_id = plain.user_id AND known.customer_id = $1)",
        customer.id.uuid(),
        customer.biller_code,
        customer.code,
    )
    .execute(connection)
    .await
    .map(|_| ())
}

async fn adopt_bills(connection: &mut PgConnection, customer: Customer<'_>) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "WITH stored_twice AS (
             UPDATE wallet.bill AS plain SET customer_code = NULL, reference = plain.id::text, details = '{}', status = 'closed'
             WHERE plain.biller_code = $2 AND plain.customer_code = $3 AND plain.kind <> 'fee' AND EXISTS (
                 SELECT FROM wallet.bill AS known
                 WHERE known.biller_code = $2 AND known.reference = replace(plain.reference, $3, ($1::uuid)::text) AND known.id <> plain.id)
         )
         UPDATE wallet.bill AS plain SET customer_id = $1::uuid, customer_code = NULL, reference = replace(plain.reference, $3, ($1::uuid)::text),
             period = replace(plain.period, $3, '*'),
             details = CASE WHEN $3 ~ '[A-Z]' THEN replace(plain.details::text, $3, ($1::uuid)::text)::jsonb ELSE plain.details END
         WHERE plain.biller_code = $2 AND plain.customer_code = $3 AND plain.kind <> 'fee' AND NOT EXISTS (
             SELECT FROM wallet.bill AS known
             WHERE known.biller_code = $2 AND known.reference = replace(plain.reference, $3, ($1::uuid)::text) AND known.id <> plain.id)",
        customer.id.uuid(),
        customer.biller_code,
        customer.code,
    )
    .execute(connection)
    .await
    .map(|_| ())
}

/// Removes the digest and what bills say of customers, which are locked, whom nobody has linked and whose bills nobody has paid here.
///
/// Whose bills were paid keep both until the payer is erased: a bill is known again by its customer, and never paid twice. Whoever links
/// the customer again gets new rows of bills.
pub(crate) async fn forget_unused(connection: &mut PgConnection, customers: &[Uuid]) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "WITH nobodys AS (
             UPDATE wallet.bill_customer AS customer SET lookup = NULL
             WHERE id = ANY ($1) AND lookup IS NOT NULL
                 AND NOT EXISTS (SELECT FROM wallet.bill_subscription AS link WHERE link.customer_id = customer.id)
                 AND NOT EXISTS (SELECT FROM wallet.bill_payment AS payment JOIN wallet.bill ON bill.id = payment.bill_id
                                 WHERE bill.customer_id = customer.id)
             RETURNING id
         )
         UPDATE wallet.bill SET details = '{}', status = 'closed', reference = bill.id::text, period = '-'
         FROM nobodys WHERE bill.customer_id = nobodys.id",
        customers,
    )
    .execute(connection)
    .await
    .map(|_| ())
}

/// Whom a customer concerns: who has linked it, the first ones first.
pub(super) async fn linked_by(
    connection: &mut PgConnection,
    customer: CustomerId,
    limit: i64,
) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "SELECT user_id FROM wallet.bill_subscription WHERE customer_id = $1 ORDER BY id LIMIT $2",
        customer.uuid(),
        limit,
    )
    .fetch_all(connection)
    .await
}
