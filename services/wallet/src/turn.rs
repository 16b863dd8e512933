//! A citizen's turn: an advisory lock that ends with its transaction.
//!
//! Whoever counts what a citizen has (merchants, stores, tills, open top-ups) and adds one more does so alone.
//! Lock order: a transaction takes its turn after it has claimed its idempotency key and before it counts or writes anything else.

use sqlx::PgConnection;
use uuid::Uuid;

/// Waits for the citizen's turn. Counting follows in a statement of its own, which sees what the turn before has committed.
pub(crate) async fn turn(connection: &mut PgConnection, user: Uuid) -> Result<(), sqlx::Error> {
    let name = format!("wallet.citizen:{user}");
    sqlx::query!("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", name).execute(connection).await.map(|_| ())
}
