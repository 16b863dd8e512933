//! Reads and writes what citizens chose.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use platform::http::Language;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::error::Error;
use crate::lane::{Channel, Lane};
use crate::preference::Preferences;
use crate::quiet::{Minute, QuietHours};

/// The choices of those of `users` who made any.
pub(crate) async fn read_all(
    connection: &mut PgConnection,
    users: &[Uuid],
) -> Result<HashMap<Uuid, Preferences>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT preference.user_id, language, version, quiet_from, quiet_to, digest_at,
                  array_remove(array_agg(muted.lane), NULL) AS "lanes!",
                  array_remove(array_agg(muted.channel), NULL) AS "channels!"
           FROM notifications.preference
               LEFT JOIN notifications.muted ON muted.user_id = preference.user_id
           WHERE preference.user_id = ANY ($1)
           GROUP BY preference.user_id"#,
        users
    )
    .fetch_all(connection)
    .await?;
    let read = rows.into_iter().map(|row| {
        let pairs = row.lanes.iter().zip(&row.channels);
        let muted = pairs.filter_map(|(lane, channel)| Some((Lane::from_name(lane)?, Channel::from_name(channel)?)));
        let stored = Preferences::stored(row.language.as_deref().map(Language::from_tag), muted, row.version);
        let quiet = QuietHours::stored(row.quiet_from, row.quiet_to);
        (row.user_id, stored.at_times(quiet, row.digest_at.and_then(Minute::stored)))
    });
    Ok(read.collect())
}

/// One citizen's choices.
pub(crate) async fn read(connection: &mut PgConnection, user: Uuid) -> Result<Preferences, sqlx::Error> {
    Ok(read_all(connection, &[user]).await?.remove(&user).unwrap_or_default())
}

/// Replaces a citizen's choices, if they are still at `expected_version` (or whatever they are, when that is `None`).
///
/// Call it in a transaction. Gives the new version.
///
/// # Errors
/// [`Error::Changed`] when they are not.
pub(crate) async fn replace(
    connection: &mut PgConnection,
    user: Uuid,
    chosen: &Preferences,
    expected_version: Option<i64>,
    now: DateTime<Utc>,
) -> Result<i64, Error> {
    let (quiet_from, quiet_to) = chosen.quiet.map(QuietHours::numbers).unzip();
    // The row's lock orders two changes at a time; whoever comes second sees the other's version.
    let version = sqlx::query_scalar!(
        "INSERT INTO notifications.preference (user_id, language, version, updated_at, quiet_from, quiet_to, digest_at)
         VALUES ($1, $2, 1, $3, $4, $5, $6)
         ON CONFLICT ON CONSTRAINT preference_pk
             DO UPDATE SET language = excluded.language, version = preference.version + 1, updated_at = excluded.updated_at,
                           quiet_from = excluded.quiet_from, quiet_to = excluded.quiet_to, digest_at = excluded.digest_at
         RETURNING version",
        user,
        chosen.language.map(Language::tag),
        now,
        quiet_from,
        quiet_to,
        chosen.digest_at.map(Minute::number)
    )
    .fetch_one(&mut *connection)
    .await?;
    if expected_version.is_some_and(|expected| expected != version - 1) {
        return Err(Error::Changed);
    }
    sqlx::query!("DELETE FROM notifications.muted WHERE user_id = $1", user).execute(&mut *connection).await?;
    let (lanes, channels): (Vec<&str>, Vec<&str>) =
        chosen.muted().map(|(lane, channel)| (lane.name(), channel.name())).unzip();
    sqlx::query!(
        "INSERT INTO notifications.muted (user_id, lane, channel)
         SELECT $1, lane, channel FROM unnest($2::text[], $3::text[]) AS switch (lane, channel)",
        user,
        &lanes as &[&str],
        &channels as &[&str]
    )
    .execute(connection)
    .await?;
    Ok(version)
}
