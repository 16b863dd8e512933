//! The wards that concern citizens, by their own word: at most [`MAX_WARDS`] of each.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

/// Wards of one citizen at most.
pub(crate) const MAX_WARDS: usize = 5;

/// A citizen's wards, by code.
pub(crate) async fn read(pool: &PgPool, user: Uuid) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!("SELECT ward_code FROM notifications.ward_choice WHERE user_id = $1 ORDER BY ward_code", user)
        .fetch_all(pool)
        .await
}

/// Replaces a citizen's wards; the codes are checked and none stands there twice. Call it in a transaction.
pub(crate) async fn replace(
    connection: &mut PgConnection,
    user: Uuid,
    codes: &[String],
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    // Two changes of one citizen one after the other: the later one stands whole.
    sqlx::query!("SELECT pg_advisory_xact_lock(hashtextextended('ward:' || $1::text, 0))", user.to_string())
        .execute(&mut *connection)
        .await?;
    sqlx::query!("DELETE FROM notifications.ward_choice WHERE user_id = $1 AND ward_code <> ALL ($2)", user, codes)
        .execute(&mut *connection)
        .await?;
    sqlx::query!(
        "INSERT INTO notifications.ward_choice (user_id, ward_code, chosen_at)
         SELECT $1, code, $3 FROM unnest($2::text[]) AS chosen (code)
         ON CONFLICT ON CONSTRAINT ward_choice_pk DO NOTHING",
        user,
        codes,
        now
    )
    .execute(connection)
    .await?;
    Ok(())
}
