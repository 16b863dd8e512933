//! Statements about merchants, stores and tills. Reads by an owner see only what is the owner's.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Merchant, MerchantId, Payee, Store, StoreId, Till, TillId};

/// What the database gives a new merchant: its number.
pub(super) async fn insert_merchant(connection: &mut PgConnection, merchant: &Merchant) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        "INSERT INTO wallet.merchant (id, owner_user_id, name, qr_name, city, qr_city, category, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         RETURNING number",
        merchant.id.uuid(),
        merchant.owner_user_id,
        merchant.name,
        merchant.qr_name,
        merchant.city,
        merchant.qr_city,
        merchant.category,
        merchant.created_at,
    )
    .fetch_one(connection)
    .await
}

pub(super) async fn insert_store(connection: &mut PgConnection, store: &Store) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO wallet.store (id, merchant_id, name, address, created_at) VALUES ($1, $2, $3, $4, $5)",
        store.id.uuid(),
        store.merchant_id.uuid(),
        store.name,
        store.address,
        store.created_at,
    )
    .execute(connection)
    .await
    .map(|_| ())
}

pub(super) async fn insert_till(connection: &mut PgConnection, till: &Till) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO wallet.till (id, store_id, merchant_id, name, created_at) VALUES ($1, $2, $3, $4, $5)",
        till.id.uuid(),
        till.store_id.uuid(),
        till.merchant_id.uuid(),
        till.name,
        till.created_at,
    )
    .execute(connection)
    .await
    .map(|_| ())
}

pub(super) async fn count_merchants(connection: &mut PgConnection, owner: Uuid) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM wallet.merchant WHERE owner_user_id = $1"#, owner)
        .fetch_one(connection)
        .await
}

pub(super) async fn count_stores(connection: &mut PgConnection, merchant: MerchantId) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM wallet.store WHERE merchant_id = $1"#, merchant.uuid())
        .fetch_one(connection)
        .await
}

pub(super) async fn count_tills(connection: &mut PgConnection, store: StoreId) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM wallet.till WHERE store_id = $1"#, store.uuid())
        .fetch_one(connection)
        .await
}

/// The merchant, if it is the owner's.
pub(crate) async fn own_merchant(
    connection: &mut PgConnection,
    owner: Uuid,
    id: MerchantId,
) -> Result<Option<Merchant>, sqlx::Error> {
    sqlx::query_as!(
        Merchant,
        "SELECT id, number, owner_user_id, name, qr_name, city, qr_city, category, created_at, closed_at
         FROM wallet.merchant WHERE id = $1 AND owner_user_id = $2",
        id.uuid(),
        owner,
    )
    .fetch_optional(connection)
    .await
}

/// The owner's merchants after one, oldest first.
pub(crate) async fn own_merchants(
    connection: &mut PgConnection,
    owner: Uuid,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Merchant>, sqlx::Error> {
    sqlx::query_as!(
        Merchant,
        "SELECT id, number, owner_user_id, name, qr_name, city, qr_city, category, created_at, closed_at
         FROM wallet.merchant WHERE owner_user_id = $1 AND ($2::uuid IS NULL OR id > $2) ORDER BY id LIMIT $3",
        owner,
        after,
        limit,
    )
    .fetch_all(connection)
    .await
}

/// The store, if its merchant is the owner's.
pub(crate) async fn own_store(
    connection: &mut PgConnection,
    owner: Uuid,
    merchant: MerchantId,
    id: StoreId,
) -> Result<Option<Store>, sqlx::Error> {
    sqlx::query_as!(
        Store,
        "SELECT store.id, store.merchant_id, store.name, store.address, store.created_at
         FROM wallet.store JOIN wallet.merchant ON merchant.id = store.merchant_id
         WHERE store.id = $1 AND store.merchant_id = $2 AND merchant.owner_user_id = $3",
        id.uuid(),
        merchant.uuid(),
        owner,
    )
    .fetch_optional(connection)
    .await
}

/// A merchant's stores after one, oldest first.
pub(crate) async fn stores(
    connection: &mut PgConnection,
    merchant: MerchantId,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Store>, sqlx::Error> {
    sqlx::query_as!(
        Store,
        "SELECT id, merchant_id, name, address, created_at
         FROM wallet.store WHERE merchant_id = $1 AND ($2::uuid IS NULL OR id > $2) ORDER BY id LIMIT $3",
        merchant.uuid(),
        after,
        limit,
    )
    .fetch_all(connection)
    .await
}

/// A store's tills after one, oldest first.
pub(crate) async fn tills(
    connection: &mut PgConnection,
    store: StoreId,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Till>, sqlx::Error> {
    sqlx::query_as!(
        Till,
        "SELECT id, store_id, merchant_id, name, created_at
         FROM wallet.till WHERE store_id = $1 AND ($2::uuid IS NULL OR id > $2) ORDER BY id LIMIT $3",
        store.uuid(),
        after,
        limit,
    )
    .fetch_all(connection)
    .await
}

/// The till of a store.
pub(crate) async fn till(
    connection: &mut PgConnection,
    store: StoreId,
    id: TillId,
) -> Result<Option<Till>, sqlx::Error> {
    sqlx::query_as!(
        Till,
        "SELECT id, store_id, merchant_id, name, created_at FROM wallet.till WHERE id = $1 AND store_id = $2",
        id.uuid(),
        store.uuid(),
    )
    .fetch_optional(connection)
    .await
}

/// Whom a till pays.
pub(crate) async fn payee(connection: &mut PgConnection, id: TillId) -> Result<Option<Payee>, sqlx::Error> {
    sqlx::query_as!(
        Payee,
        "SELECT till.id AS till, merchant.id AS merchant, merchant.name AS merchant_name, merchant.owner_user_id AS merchant_owner
         FROM wallet.till JOIN wallet.merchant ON merchant.id = till.merchant_id
         WHERE till.id = $1",
        id.uuid(),
    )
    .fetch_optional(connection)
    .await
}

/// Writes down that merchants were closed, with the transfer that paid out each, if there was money; gives how many were open.
pub(crate) async fn mark_closed(
    connection: &mut PgConnection,
    (merchants, payouts): (&[Uuid], &[Option<Uuid>]),
    now: DateTime<Utc>,
) -> Result<u64, sqlx::Error> {
    let done = sqlx::query!(
        "UPDATE wallet.merchant SET closed_at = $3, payout_id = closed.payout
         FROM unnest($1::uuid[], $2::uuid[]) AS closed (merchant, payout)
         WHERE merchant.id = closed.merchant AND merchant.closed_at IS NULL",
        merchants,
        payouts as &[Option<Uuid>],
        now,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}
