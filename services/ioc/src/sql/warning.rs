//! Every statement of warnings. The writing ones need the lock of the board, as all others do.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::city::Name;
use crate::overview::{WardReach, WarningRow};
use crate::warning::Batch;

/// How long after its time something is still told of a warning: its reach settles with the last answers of the gateways.
const SETTLED: TimeDelta = TimeDelta::days(7);

/// Adds a batch of events. The caller holds the lock, which gave `revision`, and announces.
pub(crate) async fn add(tx: &mut PgConnection, batch: &Batch, revision: i64) -> Result<(), sqlx::Error> {
    for one in &batch.released {
        sqlx::query!(
            "INSERT INTO ioc.warning (alert_id, identifier, category, severity, headline_vi, headline_en, wards, released_at, expires_at, \
                                      exercise, revision) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT ON CONSTRAINT warning_pk DO NOTHING",
            one.id,
            one.identifier,
            one.category,
            one.severity,
            one.headline.0,
            one.headline.1,
            &one.wards,
            one.released_at,
            one.expires_at,
            one.exercise,
            revision
        )
        .execute(&mut *tx)
        .await?;
    }
    for one in &batch.ended {
        sqlx::query!(
            "INSERT INTO ioc.warning_end (alert_id, how, ended_at, revision) VALUES ($1, $2, $3, $4) \
             ON CONFLICT ON CONSTRAINT warning_end_pk DO NOTHING",
            one.id,
            one.how,
            one.at,
            revision
        )
        .execute(&mut *tx)
        .await?;
    }
    add_reach(tx, batch, revision).await
}

async fn add_reach(tx: &mut PgConnection, batch: &Batch, revision: i64) -> Result<(), sqlx::Error> {
    if batch.reached.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = batch.reached.iter().map(|row| row.id).collect();
    let wards: Vec<String> = batch.reached.iter().map(|row| row.ward.clone()).collect();
    let recipients: Vec<i64> = batch.reached.iter().map(|row| row.recipients).collect();
    let reached: Vec<i64> = batch.reached.iter().map(|row| row.reached).collect();
    let complete: Vec<bool> = batch.reached.iter().map(|row| row.complete).collect();
    sqlx::query!(
        "INSERT INTO ioc.warning_reach (alert_id, ward, recipients, reached, complete, revision) \
         SELECT alert_id, ward, recipients, reached, complete, $6 \
         FROM UNNEST($1::uuid[], $2::text[], $3::bigint[], $4::bigint[], $5::boolean[]) AS new (alert_id, ward, recipients, reached, complete) \
         ON CONFLICT ON CONSTRAINT warning_reach_pk DO UPDATE \
         SET recipients = EXCLUDED.recipients, reached = EXCLUDED.reached, complete = EXCLUDED.complete, revision = EXCLUDED.revision",
        &ids,
        &wards,
        &recipients,
        &reached,
        &complete,
        revision
    )
    .execute(tx)
    .await
    .map(|_| ())
}

/// Warnings that changed after a revision, the newest first; from -1 on those that are in force.
pub(crate) async fn changed(
    tx: &mut PgConnection,
    (after, now): (i64, DateTime<Utc>),
    limit: i64,
) -> Result<Vec<WarningRow>, sqlx::Error> {
    // What was told of a warning changes for a while after its time.
    let over = if after < 0 { now } else { now - SETTLED };
    let rows = sqlx::query!(
        "SELECT warning.alert_id, identifier, category, severity, headline_vi, headline_en, wards, released_at, expires_at, exercise, \
                how AS \"how?\", ended_at AS \"ended_at?\" \
         FROM ioc.warning LEFT JOIN ioc.warning_end ON warning_end.alert_id = warning.alert_id \
         WHERE expires_at > $2 \
           AND CASE WHEN $1::bigint < 0 THEN how IS NULL \
                    ELSE GREATEST(warning.revision, warning_end.revision, \
                                  (SELECT MAX(revision) FROM ioc.warning_reach WHERE warning_reach.alert_id = warning.alert_id)) > $1 END \
         ORDER BY released_at DESC, warning.alert_id LIMIT $3",
        after,
        over,
        limit
    )
    .fetch_all(&mut *tx)
    .await?;
    let ids: Vec<Uuid> = rows.iter().map(|row| row.alert_id).collect();
    let reach = sqlx::query!(
        "SELECT alert_id, ward, recipients, reached, complete FROM ioc.warning_reach WHERE alert_id = ANY($1) ORDER BY ward",
        &ids
    )
    .fetch_all(tx)
    .await?;
    let of = |id: Uuid| reach.iter().filter(move |row| row.alert_id == id);
    Ok(rows
        .into_iter()
        .map(|row| {
            let all = of(row.alert_id).find(|reach| reach.ward.is_empty());
            let wards = row.wards.into_iter().map(|ward| {
                let told = of(row.alert_id).find(|reach| reach.ward == ward);
                let (recipients, reached) = told.map_or((0, 0), |told| (told.recipients, told.reached));
                WardReach { ward, recipients, reached }
            });
            WarningRow {
                alert_id: row.alert_id,
                identifier: row.identifier,
                category: row.category,
                severity: row.severity,
                headline: Name { vi: row.headline_vi, en: row.headline_en },
                released_at: row.released_at,
                expires_at: row.expires_at,
                ended: row.how,
                ended_at: row.ended_at,
                exercise: row.exercise,
                recipients: all.map_or(0, |all| all.recipients),
                reached: all.map_or(0, |all| all.reached),
                complete: all.is_some_and(|all| all.complete),
                wards: wards.collect(),
            }
        })
        .collect())
}
