//! Statements on the audit.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::chain::{Fields, Hash, Record, Tip};
use super::tries::{PLACES, Tries};
use crate::vault::Digest;

/// Which records are wanted; what is absent lets everything through.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Who: a citizen's id, an operator's login, the name of a process.
    pub actor: Option<String>,
    /// The citizen whom it concerns.
    pub subject: Option<Uuid>,
    /// What: `session.start`, or all that begins so when it ends in a dot: `session.`.
    pub action: Option<String>,
    /// From where: an operator's machine, the name of a process, or [`address_digest`](super::address_digest).
    pub place: Option<String>,
    /// From this time on.
    pub since: Option<DateTime<Utc>>,
    /// Before this time.
    pub until: Option<DateTime<Utc>>,
}

struct Row {
    position: i64,
    recorded_at: DateTime<Utc>,
    actor_kind: String,
    actor: String,
    action: String,
    subject: Option<Uuid>,
    object: String,
    channel: String,
    place: String,
    session_id: Option<Uuid>,
    device_id: Option<Uuid>,
    reason: String,
    trace_id: Option<String>,
    previous_hash: Vec<u8>,
    hash: Vec<u8>,
}

impl From<Row> for Record {
    fn from(row: Row) -> Self {
        Self {
            position: row.position,
            recorded_at: row.recorded_at,
            fields: Fields {
                actor_kind: row.actor_kind,
                actor: row.actor,
                action: row.action,
                subject: row.subject,
                object: row.object,
                channel: row.channel,
                place: row.place,
                session_id: row.session_id,
                device_id: row.device_id,
                reason: row.reason,
            },
            trace_id: row.trace_id,
            previous_hash: hash(row.previous_hash),
            hash: hash(row.hash),
        }
    }
}

fn hash(bytes: Vec<u8>) -> Hash {
    Hash(bytes.try_into().expect("a CHECK holds hashes to 32 bytes"))
}

/// The newest record's position and hash, locked until the transaction ends.
pub(super) async fn lock_tip(conn: &mut PgConnection) -> Result<Tip, sqlx::Error> {
    let row = sqlx::query!("SELECT position, hash FROM identity.audit_head FOR UPDATE").fetch_one(conn).await?;
    Ok(Tip { position: row.position, hash: hash(row.hash) })
}

/// The newest record's position and hash.
pub(super) async fn tip(pool: &PgPool) -> Result<Tip, sqlx::Error> {
    let row = sqlx::query!("SELECT position, hash FROM identity.audit_head").fetch_one(pool).await?;
    Ok(Tip { position: row.position, hash: hash(row.hash) })
}

/// Adds records and moves the head to `tip`, under its lock.
pub(super) async fn insert(conn: &mut PgConnection, records: &[Record], tip: &Tip) -> Result<(), sqlx::Error> {
    let text = |of: fn(&Fields) -> &String| -> Vec<String> {
        records.iter().map(|record| of(&record.fields).clone()).collect()
    };
    let id = |of: fn(&Fields) -> Option<Uuid>| -> Vec<Option<Uuid>> {
        records.iter().map(|record| of(&record.fields)).collect()
    };
    let positions: Vec<i64> = records.iter().map(|record| record.position).collect();
    let times: Vec<DateTime<Utc>> = records.iter().map(|record| record.recorded_at).collect();
    let traces: Vec<Option<String>> = records.iter().map(|record| record.trace_id.clone()).collect();
    let previous: Vec<Vec<u8>> = records.iter().map(|record| record.previous_hash.0.to_vec()).collect();
    let hashes: Vec<Vec<u8>> = records.iter().map(|record| record.hash.0.to_vec()).collect();
    sqlx::query!(
        "WITH head AS (UPDATE identity.audit_head SET position = $1, hash = $2)
        INSERT INTO identity.audit
            (position, recorded_at, actor_kind, actor, action, subject, object, channel, place, session_id, device_id, reason,
            trace_id, previous_hash, hash)
        SELECT n.position, n.recorded_at, n.actor_kind, n.actor, n.action, n.subject, n.object, n.channel, n.place,
            n.session_id, n.device_id, n.reason, n.trace_id, n.previous_hash, n.hash
        FROM unnest($3::bigint[], $4::timestamptz[], $5::text[], $6::text[], $7::text[], $8::uuid[], $9::text[], $10::text[],
            $11::text[], $12::uuid[], $13::uuid[], $14::text[], $15::text[], $16::bytea[], $17::bytea[])
            AS n (position, recorded_at, actor_kind, actor, action, subject, object, channel, place, session_id, device_id,
            reason, trace_id, previous_hash, hash)",
        tip.position,
        tip.hash.0.as_slice(),
        &positions,
        &times,
        &text(|fields| &fields.actor_kind),
        &text(|fields| &fields.actor),
        &text(|fields| &fields.action),
        &id(|fields| fields.subject) as &[Option<Uuid>],
        &text(|fields| &fields.object),
        &text(|fields| &fields.channel),
        &text(|fields| &fields.place),
        &id(|fields| fields.session_id) as &[Option<Uuid>],
        &id(|fields| fields.device_id) as &[Option<Uuid>],
        &text(|fields| &fields.reason),
        &traces as &[Option<String>],
        &previous,
        &hashes,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Records after a position, oldest first.
pub(super) async fn after(
    pool: &PgPool,
    filter: &Filter,
    position: i64,
    limit: i64,
) -> Result<Vec<Record>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT position, recorded_at, actor_kind, actor, action, subject, object, channel, place, session_id, device_id, reason,
            trace_id, previous_hash, hash
        FROM identity.audit
        WHERE position > $1 AND ($2::text IS NULL OR actor = $2) AND ($3::uuid IS NULL OR subject = $3)
            AND ($4::text IS NULL OR action = $4 OR ($4 LIKE '%.' AND starts_with(action, $4)))
            AND ($5::timestamptz IS NULL OR recorded_at >= $5) AND ($6::timestamptz IS NULL OR recorded_at < $6)
            AND ($7::text IS NULL OR place = $7)
        ORDER BY position LIMIT $8",
        position,
        filter.actor.as_deref(),
        filter.subject,
        filter.action.as_deref(),
        filter.since,
        filter.until,
        filter.place.as_deref(),
        limit,
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// The newest records, newest first.
pub(super) async fn newest(pool: &PgPool, filter: &Filter, limit: i64) -> Result<Vec<Record>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT position, recorded_at, actor_kind, actor, action, subject, object, channel, place, session_id, device_id, reason,
            trace_id, previous_hash, hash
        FROM identity.audit
        WHERE ($1::text IS NULL OR actor = $1) AND ($2::uuid IS NULL OR subject = $2)
            AND ($3::text IS NULL OR action = $3 OR ($3 LIKE '%.' AND starts_with(action, $3)))
            AND ($4::timestamptz IS NULL OR recorded_at >= $4) AND ($5::timestamptz IS NULL OR recorded_at < $5)
            AND ($6::text IS NULL OR place = $6)
        ORDER BY position DESC LIMIT $7",
        filter.actor.as_deref(),
        filter.subject,
        filter.action.as_deref(),
        filter.since,
        filter.until,
        filter.place.as_deref(),
        limit,
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// Refusals that were counted and are taken out to be told.
pub(super) struct Counted {
    /// Where the first is on record.
    pub position: i64,
    /// All of them, the first too.
    pub count: i64,
    /// Those after the first, by their place, as far as places were kept.
    pub places: Json<BTreeMap<String, i64>>,
}

/// Counts more refusals of a kind that began to be counted after a time; `false` when none did.
/// Places beyond the first `PLACES` are not kept, in the order in which they came and then by name.
pub(super) async fn count_refusals(
    conn: &mut PgConnection,
    key: &Digest,
    more: &Tries,
    after: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "UPDATE identity.refusal SET count = count + $3, places = (
            SELECT coalesce(jsonb_object_agg(place, tries), '{}') FROM (
                SELECT e.place, sum(e.tries::bigint) AS tries FROM (
                    SELECT k.key AS place, k.value AS tries, 0 AS rank FROM jsonb_each_text(places) AS k
                    UNION ALL SELECT n.key, n.value, 1 FROM jsonb_each_text($4::jsonb) AS n
                ) AS e GROUP BY e.place ORDER BY min(e.rank), e.place LIMIT $5
            ) AS kept)
        WHERE key = $1 AND began_at > $2",
        &key[..],
        after,
        more.count,
        Json(&more.places) as _,
        PLACES,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Begins to count refusals of a kind; `false` when somebody else just did.
pub(super) async fn begin_refusals(
    tx: &mut PgConnection,
    key: &Digest,
    now: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "INSERT INTO identity.refusal (key, began_at) VALUES ($1, $2) ON CONFLICT ON CONSTRAINT refusal_pkey DO NOTHING",
        &key[..],
        now,
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Remembers where the first of them is on record.
pub(super) async fn place_refusals(tx: &mut PgConnection, key: &Digest, position: i64) -> Result<(), sqlx::Error> {
    sqlx::query!("UPDATE identity.refusal SET position = $2 WHERE key = $1", &key[..], position).execute(tx).await?;
    Ok(())
}

/// Takes out what began before a time and nobody holds.
pub(super) async fn take_refusals(
    tx: &mut PgConnection,
    before: DateTime<Utc>,
    batch: i64,
) -> Result<Vec<Counted>, sqlx::Error> {
    sqlx::query_as!(
        Counted,
        r#"DELETE FROM identity.refusal WHERE key = ANY (ARRAY(
            SELECT key FROM identity.refusal WHERE began_at <= $1 ORDER BY began_at LIMIT $2 FOR UPDATE SKIP LOCKED))
        RETURNING position, count, places AS "places: Json<BTreeMap<String, i64>>""#,
        before,
        batch,
    )
    .fetch_all(tx)
    .await
}

/// The same of one kind, waiting for whoever holds it.
pub(super) async fn take_refusals_of(
    tx: &mut PgConnection,
    key: &Digest,
    before: DateTime<Utc>,
) -> Result<Option<Counted>, sqlx::Error> {
    sqlx::query_as!(
        Counted,
        r#"DELETE FROM identity.refusal WHERE key = $1 AND began_at <= $2
        RETURNING position, count, places AS "places: Json<BTreeMap<String, i64>>""#,
        &key[..],
        before,
    )
    .fetch_optional(tx)
    .await
}

/// The records at some positions, oldest first.
pub(super) async fn at(tx: &mut PgConnection, positions: &[i64]) -> Result<Vec<Record>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT position, recorded_at, actor_kind, actor, action, subject, object, channel, place, session_id, device_id, reason,
            trace_id, previous_hash, hash
        FROM identity.audit WHERE position = ANY ($1) ORDER BY position",
        positions,
    )
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().map(Into::into).collect())
}
