//! Statements about what guardians spent.

use std::collections::HashMap;

use chrono::{DateTime, NaiveDate, Utc};
use platform::auth::Acting;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Spending, Spent};

/// What a delegation came to on a day and since the first of its month, one payment left out. In the citizen's turn.
pub(super) async fn spent(
    connection: &mut PgConnection,
    (delegation, but): (Uuid, Uuid),
    (first, day): (NaiveDate, NaiveDate),
) -> Result<Spent, sqlx::Error> {
    sqlx::query_as!(
        Spent,
        r#"SELECT coalesce(sum(amount) FILTER (WHERE spent_on = $4), 0)::bigint AS "day!", coalesce(sum(amount), 0)::bigint AS "month!"
           FROM wallet.delegated_spending AS spending
           WHERE delegation_id = $1 AND reference <> $2 AND spent_on >= $3 AND released_at IS NULL
             AND NOT EXISTS (SELECT FROM wallet.bill_payment AS payment WHERE payment.id = spending.reference AND payment.state = 'failed')"#,
        delegation,
        but,
        first,
        day,
    )
    .fetch_one(connection)
    .await
}

/// Counts a payment for one more request, again if it was released; `false` when its reference is another's or about another amount.
pub(super) async fn book(
    connection: &mut PgConnection,
    (user, acting): (Uuid, Acting),
    spending: &Spending,
    (day, now): (NaiveDate, DateTime<Utc>),
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "INSERT INTO wallet.delegated_spending AS known (reference, delegation_id, user_id, actor_id, kind, amount, spent_on, booked_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT ON CONSTRAINT delegated_spending_pk DO UPDATE
         SET released_at = NULL, spent_on = excluded.spent_on, booked_at = excluded.booked_at,
             bookings = CASE WHEN known.released_at IS NULL THEN known.bookings + 1 ELSE 1 END
         WHERE known.delegation_id = excluded.delegation_id AND known.amount = excluded.amount AND known.kind = excluded.kind",
        spending.reference,
        acting.delegation,
        user,
        acting.actor,
        spending.kind.name(),
        spending.amount,
        day,
        now,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Takes back that a request counted a payment. It counts no longer once all who counted it have; one whose money moved counts for good.
pub(super) async fn release(
    connection: &mut PgConnection,
    reference: Uuid,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE wallet.delegated_spending SET bookings = bookings - 1, released_at = CASE WHEN bookings <= 1 THEN $2::timestamptz END
         WHERE reference = $1 AND released_at IS NULL AND paid_at IS NULL",
        reference,
        now,
    )
    .execute(connection)
    .await
    .map(|_| ())
}

/// Has payments count for good, in the batch that moves their money. Says how many that were counted there were.
pub(crate) async fn mark_paid(
    connection: &mut PgConnection,
    references: &[Uuid],
    at: DateTime<Utc>,
) -> Result<u64, sqlx::Error> {
    let done = sqlx::query!(
        "UPDATE wallet.delegated_spending SET paid_at = $2, released_at = NULL WHERE reference = ANY ($1)",
        references,
        at,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// Who acted in a payment, and by what.
pub(crate) async fn acting_in(connection: &mut PgConnection, reference: Uuid) -> Result<Option<Acting>, sqlx::Error> {
    let row =
        sqlx::query!("SELECT actor_id, delegation_id FROM wallet.delegated_spending WHERE reference = $1", reference,)
            .fetch_optional(connection)
            .await?;
    Ok(row.map(|row| Acting { actor: row.actor_id, delegation: row.delegation_id }))
}

/// Who acted in payments, by the payment; those of citizens themselves left out.
pub(crate) async fn actors_in(
    connection: &mut PgConnection,
    references: &[Uuid],
) -> Result<HashMap<Uuid, Uuid>, sqlx::Error> {
    if references.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = sqlx::query!(
        "SELECT reference, actor_id FROM wallet.delegated_spending WHERE reference = ANY ($1)",
        references
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.reference, row.actor_id)).collect())
}

#[cfg(test)]
mod tests {
    use platform::db::PlatformTables;
    use platform::embedded::scratch;

    use super::super::Kind;
    use super::*;
    use crate::{MIGRATOR, SCHEMA};

    /// Requests with one key: some are refused, and are slow to take back what they counted; one may pay meanwhile.
    #[tokio::test]
    async fn a_payment_counts_as_long_as_anybody_may_make_it_and_for_good_once_it_is_made() {
        let parts = [
            (ledger::SCHEMA, &ledger::MIGRATOR, PlatformTables::NotWanted),
            (SCHEMA, &MIGRATOR, PlatformTables::Wanted),
        ];
        let database = scratch::database(&parts).await.expect("PostgreSQL is installed");
        let mut connection = database.pool(SCHEMA).acquire().await.expect("a connection");
        let now: DateTime<Utc> = "2026-01-10T05:00:00Z".parse().expect("a time");
        let day = now.date_naive();
        let (user, acting) = (Uuid::now_v7(), Acting { actor: Uuid::now_v7(), delegation: Uuid::now_v7() });
        let mut expected = 0;
        // b: a request counts it, r: one is refused and takes that back, p: one pays.
        for (steps, counts) in [
            ("b", true),
            ("br", false),
            ("brr", false),
            ("bbr", true),
            ("bbrr", false),
            ("brb", true),
            ("brbr", false),
            ("bp", true),
            ("bbrp", true),
            ("bbpr", true),
            ("bbprr", true),
            ("brp", true),
        ] {
            let spending = Spending { reference: Uuid::now_v7(), kind: Kind::Merchant, amount: 10 };
            for step in steps.chars() {
                match step {
                    'b' => {
                        assert!(book(&mut connection, (user, acting), &spending, (day, now)).await.expect("written"))
                    }
                    'r' => release(&mut connection, spending.reference, now).await.expect("written"),
                    _ => assert_eq!(mark_paid(&mut connection, &[spending.reference], now).await.expect("written"), 1),
                }
            }
            expected += if counts { spending.amount } else { 0 };
            let spent = spent(&mut connection, (acting.delegation, Uuid::nil()), (day, day)).await.expect("read");
            assert_eq!((spent.day, spent.month), (expected, expected), "{steps}");
        }
    }
}
