//! Statements about proofs. Rows are only ever added.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::Proven;

/// A proof that moves money.
#[derive(Clone, Debug)]
pub(crate) struct Used {
    pub(crate) proven: Proven,
    pub(crate) user: Uuid,
    pub(crate) kind: &'static str,
    /// What it is for.
    pub(crate) reference: Uuid,
}

/// Records proofs; says how many had not been used before.
pub(crate) async fn record(
    connection: &mut PgConnection,
    used: &[Used],
    at: DateTime<Utc>,
) -> Result<u64, sqlx::Error> {
    let ids: Vec<Uuid> = used.iter().map(|used| used.proven.id).collect();
    let users: Vec<Uuid> = used.iter().map(|used| used.user).collect();
    let kinds: Vec<String> = used.iter().map(|used| used.kind.to_owned()).collect();
    let levels: Vec<String> = used.iter().map(|used| used.proven.level.name().to_owned()).collect();
    let references: Vec<Uuid> = used.iter().map(|used| used.reference).collect();
    let done = sqlx::query!(
        "INSERT INTO wallet.proof (id, user_id, kind, level, reference, used_at)
         SELECT id, user_id, kind, level, reference, $6
         FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::uuid[]) AS new (id, user_id, kind, level, reference)
         ON CONFLICT ON CONSTRAINT proof_pk DO NOTHING",
        &ids,
        &users,
        &kinds,
        &levels,
        &references,
        at,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}
