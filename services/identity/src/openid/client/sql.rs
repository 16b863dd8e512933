//! Statements on clients.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::{Access, Client, ClientId, Grant};
use crate::key::Algorithm;
use crate::openid::scope::Scopes;
use crate::revocation;

struct Row {
    id: Uuid,
    name_vi: String,
    name_en: String,
    access: String,
    secret_digest: Option<Vec<u8>>,
    grants: Vec<String>,
    scopes: Vec<String>,
    redirect_uris: Vec<String>,
    post_logout_redirect_uris: Vec<String>,
    sector: Option<String>,
    id_token_algorithm: String,
    agency: Option<String>,
    epoch: i32,
    version: i64,
    created_at: DateTime<Utc>,
    created_by: Option<Uuid>,
    disabled_at: Option<DateTime<Utc>>,
}

impl From<Row> for Client {
    fn from(row: Row) -> Self {
        let held = |grant: &Grant| row.grants.iter().any(|name| name == grant.as_str());
        Self {
            id: row.id.into(),
            access: if row.access == Access::Public.as_str() { Access::Public } else { Access::Confidential },
            secret_digest: row.secret_digest,
            grants: Grant::ALL.into_iter().filter(held).collect(),
            scopes: Scopes::parse(&row.scopes.join(" ")),
            redirect_uris: row.redirect_uris,
            post_logout_redirect_uris: row.post_logout_redirect_uris,
            sector: row.sector,
            id_token_algorithm: Algorithm::stored(&row.id_token_algorithm).unwrap_or(Algorithm::Rs256),
            agency: row.agency,
            epoch: revocation::epoch_of(row.epoch),
            version: row.version,
            created_at: row.created_at,
            created_by: row.created_by,
            disabled_at: row.disabled_at,
            name_vi: row.name_vi,
            name_en: row.name_en,
        }
    }
}

pub(super) async fn find(conn: &mut PgConnection, id: ClientId) -> Result<Option<Client>, sqlx::Error> {
    let row = sqlx::query_as!(
        Row,
        "SELECT id, name_vi, name_en, access, secret_digest, grants, scopes, redirect_uris, post_logout_redirect_uris, sector,
            id_token_algorithm, agency, epoch, version, created_at, created_by, disabled_at
        FROM identity.client WHERE id = $1",
        id.uuid(),
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(Into::into))
}

/// A client, locked for a change.
pub(super) async fn lock(conn: &mut PgConnection, id: ClientId) -> Result<Option<Client>, sqlx::Error> {
    let row = sqlx::query_as!(
        Row,
        "SELECT id, name_vi, name_en, access, secret_digest, grants, scopes, redirect_uris, post_logout_redirect_uris, sector,
            id_token_algorithm, agency, epoch, version, created_at, created_by, disabled_at
        FROM identity.client WHERE id = $1 FOR NO KEY UPDATE",
        id.uuid(),
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(Into::into))
}

/// Clients after one, oldest first.
pub(super) async fn list(pool: &PgPool, after: Option<Uuid>, limit: i64) -> Result<Vec<Client>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT id, name_vi, name_en, access, secret_digest, grants, scopes, redirect_uris, post_logout_redirect_uris, sector,
            id_token_algorithm, agency, epoch, version, created_at, created_by, disabled_at
        FROM identity.client WHERE $1::uuid IS NULL OR id > $1 ORDER BY id LIMIT $2",
        after,
        limit,
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// Adds a client; `false` when one with its id is there.
pub(super) async fn insert(conn: &mut PgConnection, client: &Client) -> Result<bool, sqlx::Error> {
    let grants: Vec<String> = client.grants.iter().map(|grant| grant.as_str().to_owned()).collect();
    let result = sqlx::query!(
        "INSERT INTO identity.client (id, name_vi, name_en, access, secret_digest, grants, scopes, redirect_uris,
            post_logout_redirect_uris, sector, id_token_algorithm, agency, created_at, created_by)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
        ON CONFLICT ON CONSTRAINT client_pkey DO NOTHING",
        client.id.uuid(),
        client.name_vi,
        client.name_en,
        client.access.as_str(),
        client.secret_digest.as_deref(),
        &grants,
        &client.scopes.names(),
        &client.redirect_uris,
        &client.post_logout_redirect_uris,
        client.sector,
        client.id_token_algorithm.as_str(),
        client.agency,
        client.created_at,
        client.created_by,
    )
    .execute(conn)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// Stores an edited client as its next version.
pub(super) async fn update(conn: &mut PgConnection, client: &Client) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE identity.client SET name_vi = $2, name_en = $3, scopes = $4, redirect_uris = $5, post_logout_redirect_uris = $6,
            secret_digest = $7, disabled_at = $8, epoch = $9, version = version + 1
        WHERE id = $1",
        client.id.uuid(),
        client.name_vi,
        client.name_en,
        &client.scopes.names(),
        &client.redirect_uris,
        &client.post_logout_redirect_uris,
        client.secret_digest.as_deref(),
        client.disabled_at,
        i32::try_from(client.epoch).expect("it counts acts of admins"),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Refuses the client's own tokens with a lower epoch, from the next position of revocations on.
pub(super) async fn cut_off(
    conn: &mut PgConnection,
    client: &Client,
    (now, forget_at): (DateTime<Utc>, DateTime<Utc>),
) -> Result<(), sqlx::Error> {
    let position = revocation::take_positions(&mut *conn, 1).await?;
    sqlx::query!(
        "INSERT INTO identity.role_revocation (position, user_id, role_epoch, revoked_at, forget_at) VALUES ($1, $2, $3, $4, $5)",
        position,
        client.id.uuid(),
        i32::try_from(client.epoch).expect("it counts acts of admins"),
        now,
        forget_at,
    )
    .execute(conn)
    .await?;
    Ok(())
}
