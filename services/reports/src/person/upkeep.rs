//! Seals what stands plain from before, or was written by a process of an earlier version.
//!
//! Lock order: all keys of a batch first, by person, then its rows, and those only that nobody holds: so that a step, which holds a key
//! when it takes its report's row, waits for nobody here who waits for a key.
//! What is found of somebody who was erased, as after a restore, goes.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use platform::person::{PersonError, PersonKey, Unsealed};
use serde_json::{Map, Value};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::erase::REMOVED;
use super::{ADDRESS, BODY, COMMENT, DETAILS, form_of, numbered, parted, sealed_answers};
use crate::Reports;

/// Rows of a table that one transaction seals.
const BATCH: i64 = 200;

/// Rows from before there were keys.
pub(crate) struct Plain(pub(crate) Arc<Reports>);

#[async_trait]
impl Unsealed for Plain {
    async fn seal_some(
        &self,
        tx: &mut PgConnection,
        now: DateTime<Utc>,
        passed_over: &[Uuid],
    ) -> Result<usize, PersonError> {
        let found = Found::look(tx, passed_over).await?;
        let keys = self.keys(tx, &found, now).await?;
        let reports = self.seal_reports(tx, &found.reports, &keys).await?;
        let entries = seal_history(tx, &found.entries, (&keys, now)).await?;
        Ok(reports + entries + seal_ratings(tx, &found.ratings, &keys).await?)
    }
}

/// Keys of reporters; none of those who were erased.
type Keys = HashMap<Uuid, PersonKey>;

/// Rows that are still plain, and whose they are.
struct Found {
    reports: Vec<(Uuid, Option<Uuid>)>,
    entries: Vec<(Uuid, i64, Uuid)>,
    ratings: Vec<(Uuid, i32, Uuid)>,
}

impl Found {
    async fn look(tx: &mut PgConnection, passed_over: &[Uuid]) -> Result<Self, sqlx::Error> {
        let reports = sqlx::query!(
            r#"SELECT report.id, reporter.user_id AS "user_id?"
               FROM reports.report LEFT JOIN reports.reporter ON reporter.report_id = report.id
               WHERE NOT report.sealed AND (reporter.user_id IS NULL OR reporter.user_id <> ALL ($2))
               ORDER BY report.id LIMIT $1"#,
            BATCH,
            passed_over
        )
        .fetch_all(&mut *tx)
        .await?;
        let entries = sqlx::query!(
            "SELECT history.report_id, history.version, reporter.user_id
             FROM reports.history JOIN reports.reporter ON reporter.report_id = history.report_id
             WHERE history.actor = 'citizen' AND history.details <> '{}' AND reporter.user_id <> ALL ($2)
             ORDER BY history.report_id, history.version LIMIT $1",
            BATCH,
            passed_over
        )
        .fetch_all(&mut *tx)
        .await?;
        let ratings = sqlx::query!(
            "SELECT rating.report_id, rating.round, reporter.user_id
             FROM reports.rating JOIN reports.reporter ON reporter.report_id = rating.report_id
             WHERE rating.comment IS NOT NULL AND reporter.user_id <> ALL ($2)
             ORDER BY rating.report_id, rating.round LIMIT $1",
            BATCH,
            passed_over
        )
        .fetch_all(&mut *tx)
        .await?;
        Ok(Self {
            reports: reports.into_iter().map(|row| (row.id, row.user_id)).collect(),
            entries: entries.into_iter().map(|row| (row.report_id, row.version, row.user_id)).collect(),
            ratings: ratings.into_iter().map(|row| (row.report_id, row.round, row.user_id)).collect(),
        })
    }

    /// Everybody of whom there is something, in order.
    fn users(&self) -> BTreeSet<Uuid> {
        let reports = self.reports.iter().filter_map(|row| row.1);
        reports.chain(self.entries.iter().map(|row| row.2)).chain(self.ratings.iter().map(|row| row.2)).collect()
    }
}

impl Plain {
    async fn keys(&self, tx: &mut PgConnection, found: &Found, now: DateTime<Utc>) -> Result<Keys, PersonError> {
        let mut keys = Keys::new();
        for user in found.users() {
            match self.0.persons.for_sealing(tx, user, now).await {
                Ok(key) => {
                    keys.insert(user, key);
                }
                Err(PersonError::Erased) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(keys)
    }

    async fn seal_reports(
        &self,
        tx: &mut PgConnection,
        found: &[(Uuid, Option<Uuid>)],
        keys: &Keys,
    ) -> Result<usize, PersonError> {
        let users: HashMap<Uuid, Option<Uuid>> = found.iter().copied().collect();
        let ids: Vec<Uuid> = found.iter().map(|row| row.0).collect();
        let rows = sqlx::query!(
            r#"SELECT id, category, body, address, attributes AS "attributes: Json<Map<String, Value>>", lon
               FROM reports.report WHERE id = ANY ($1) AND NOT sealed ORDER BY id FOR NO KEY UPDATE SKIP LOCKED"#,
            &ids
        )
        .fetch_all(&mut *tx)
        .await?;
        let count = rows.len();
        for row in rows {
            let Some(user) = users.get(&row.id).copied().flatten() else {
                sqlx::query!("UPDATE reports.report SET sealed = TRUE WHERE id = $1", row.id).execute(&mut *tx).await?;
                continue;
            };
            let key = keys.get(&user);
            let seal = |column, text: Option<String>| Some(key?.seal(column, row.id, &text?));
            let (texts, attributes) = parted(form_of(&self.0, &row.category), row.attributes.0);
            // A report says where it is; without a position, that this was removed.
            let place = (key.is_none() && row.lon.is_none() && row.address.is_some()).then_some(REMOVED);
            sqlx::query!(
                "UPDATE reports.report SET body = NULL, body_sealed = coalesce($2, body_sealed), address = $3,
                     address_sealed = coalesce($4, address_sealed), attributes = $5,
                     answers_sealed = coalesce($6, answers_sealed), sealed = TRUE
                 WHERE id = $1",
                row.id,
                seal(BODY, row.body) as Option<Vec<u8>>,
                place,
                seal(ADDRESS, row.address) as Option<Vec<u8>>,
                Value::Object(attributes),
                key.and_then(|key| sealed_answers(key, row.id, texts)) as Option<Vec<u8>>
            )
            .execute(&mut *tx)
            .await?;
        }
        Ok(count)
    }
}

async fn seal_history(
    tx: &mut PgConnection,
    found: &[(Uuid, i64, Uuid)],
    (keys, now): (&Keys, DateTime<Utc>),
) -> Result<usize, PersonError> {
    let mut count = 0;
    for (report, version, user) in found {
        let details = sqlx::query_scalar!(
            "SELECT details FROM reports.history
             WHERE report_id = $1 AND version = $2 AND details <> '{}' FOR NO KEY UPDATE SKIP LOCKED",
            report,
            version
        )
        .fetch_optional(&mut *tx)
        .await?;
        let Some(details) = details else { continue };
        let sealed = keys.get(user).map(|key| key.seal(DETAILS, numbered(*report, *version), &details));
        sqlx::query!(
            "UPDATE reports.history SET details = '{}', details_sealed = $3, erased_at = CASE WHEN $3::bytea IS NULL THEN $4::timestamptz END
             WHERE report_id = $1 AND version = $2",
            report,
            version,
            sealed as Option<Vec<u8>>,
            now
        )
        .execute(&mut *tx)
        .await?;
        count += 1;
    }
    Ok(count)
}

async fn seal_ratings(tx: &mut PgConnection, found: &[(Uuid, i32, Uuid)], keys: &Keys) -> Result<usize, PersonError> {
    let mut count = 0;
    for (report, round, user) in found {
        let comment = sqlx::query_scalar!(
            r#"SELECT comment AS "comment!" FROM reports.rating
               WHERE report_id = $1 AND round = $2 AND comment IS NOT NULL FOR NO KEY UPDATE SKIP LOCKED"#,
            report,
            round
        )
        .fetch_optional(&mut *tx)
        .await?;
        let Some(comment) = comment else { continue };
        let sealed = keys.get(user).map(|key| key.seal(COMMENT, numbered(*report, i64::from(*round)), &comment));
        sqlx::query!(
            "UPDATE reports.rating SET comment = NULL, comment_sealed = $3 WHERE report_id = $1 AND round = $2",
            report,
            round,
            sealed as Option<Vec<u8>>
        )
        .execute(&mut *tx)
        .await?;
        count += 1;
    }
    Ok(count)
}
