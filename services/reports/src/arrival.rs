//! Photos on their way: announced before the file is stored, so that every file in the store is named by a row.
//!
//! | | file | `arrival` | `attachment` |
//! | --- | --- | --- | --- |
//! | [`begin`] | | yes | |
//! | stored | yes | yes | |
//! | written down, with the ticket of the arrival | yes | yes | yes |
//! | [`LIFE`] later | yes | | yes |
//! | [`LIFE`] later, when it was never written down | | | |
//!
//! Whoever takes a file away takes the ticket back first, in a transaction by itself, and looks under the arrival's lock whether a new one
//! was given: what began before is not written down any more, what begins later stores the file again.
//! Wherever a process dies, `attachment` names no file that is not there, and what is left in the store goes with its arrival.
//! The arrival stays for its time also when the file was taken away at once, because the same photo, sent twice, may be stored a moment later.
//!
//! Locks: the report before an arrival. Who writes a photo down shares its arrival, who takes it away has it alone, while the store is asked.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use platform::task::Task;
use uuid::Uuid;

use crate::Reports;
use crate::error::Error;
use crate::metrics::Count;
use crate::photo;

/// How long after its beginning a photo can still be stored: far longer than any request lasts.
pub(crate) const LIFE: TimeDelta = TimeDelta::hours(1);
/// How often arrivals are looked at whose time has passed.
const SWEEP_EVERY: TimeDelta = TimeDelta::minutes(1);
/// Arrivals that are looked at in one go.
const BATCH: i64 = 500;

/// What a photo is written down with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket(pub(crate) Uuid);

/// Announces a photo of a report that may have one more of its kind, or has this one.
///
/// # Errors
/// `TooManyPhotos` when there are as many as may be.
pub(crate) async fn begin(
    reports: &Reports,
    (report, photo): (Uuid, Uuid),
    (kind, round): (&'static str, u32),
) -> Result<Ticket, Error> {
    // Whoever takes the file away just now is waited for.
    let ticket = sqlx::query_scalar!(
        r#"INSERT INTO reports.arrival AS arrival (photo_id, report_id, ticket, begun_at)
           SELECT $2, $1, $6, $7
           WHERE EXISTS (SELECT FROM reports.attachment WHERE id = $2)
              OR (SELECT count(*) FROM reports.attachment AS kept
                  WHERE kept.report_id = $1 AND kept.kind = $3 AND (kept.kind = 'report' OR kept.round = $4)) < $5
           ON CONFLICT ON CONSTRAINT arrival_pk
           DO UPDATE SET begun_at = EXCLUDED.begun_at, ticket = coalesce(arrival.ticket, EXCLUDED.ticket)
           RETURNING ticket AS "ticket!""#,
        report,
        photo,
        kind,
        i32::try_from(round).unwrap_or(i32::MAX),
        photo::most(kind),
        platform::id::new(),
        reports.now()
    )
    .fetch_optional(&reports.pool)
    .await?;
    ticket.map(Ticket).ok_or(Error::TooManyPhotos)
}

/// Takes the file of a photo away, unless it is written down.
///
/// # Errors
/// When the store or the database is away; then it goes when its time has passed.
pub(crate) async fn withdraw(reports: &Reports, photo: Uuid) -> Result<(), Error> {
    take_back(reports, photo, None).await?;
    remove(reports, photo, Then::Keep).await
}

/// Takes the files of a report away that are not written down.
pub(crate) async fn withdraw_all(reports: &Reports, report: Uuid) -> Result<(), Error> {
    let photos = sqlx::query_scalar!(
        "SELECT photo_id FROM reports.arrival
         WHERE report_id = $1 AND NOT EXISTS (SELECT FROM reports.attachment WHERE id = photo_id)",
        report
    )
    .fetch_all(&reports.pool)
    .await?;
    for photo in photos {
        withdraw(reports, photo).await?;
    }
    Ok(())
}

/// Takes back the ticket of a photo that is not written down, if it began before a time.
async fn take_back(reports: &Reports, photo: Uuid, before: Option<DateTime<Utc>>) -> Result<(), sqlx::Error> {
    let mut tx = platform::db::begin(&reports.pool).await?;
    // By itself: who was writing it down has ended before the next statement looks.
    sqlx::query!("SELECT photo_id FROM reports.arrival WHERE photo_id = $1 FOR UPDATE", photo)
        .fetch_optional(&mut *tx)
        .await?;
    sqlx::query!(
        "UPDATE reports.arrival SET ticket = NULL
         WHERE photo_id = $1 AND begun_at < coalesce($2::timestamptz, 'infinity')
           AND NOT EXISTS (SELECT FROM reports.attachment WHERE id = photo_id)",
        photo,
        before
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await
}

/// What becomes of an arrival whose file was taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Keep,
    End,
}

/// Removes the file of an arrival without a ticket.
async fn remove(reports: &Reports, photo: Uuid, then: Then) -> Result<(), Error> {
    let mut tx = platform::db::begin(&reports.pool).await?;
    let report = sqlx::query_scalar!(
        "SELECT report_id FROM reports.arrival WHERE photo_id = $1 AND ticket IS NULL FOR UPDATE",
        photo
    );
    let Some(report) = report.fetch_optional(&mut *tx).await? else { return Ok(()) };
    reports.photos.remove(report, photo).await?;
    if then == Then::End {
        sqlx::query!("DELETE FROM reports.arrival WHERE photo_id = $1", photo).execute(&mut *tx).await?;
    }
    tx.commit().await?;
    if then == Then::End {
        reports.metrics.count(&Count::Photo("unfinished"));
    }
    Ok(())
}

/// The task that ends arrivals whose time has passed, and takes away the files that were never written down.
pub(crate) fn sweep_task(reports: Arc<Reports>) -> Task {
    Task::new("photo-arrivals", move |shutdown| async move {
        loop {
            let turn = async {
                if let Err(error) = sweep(&reports, reports.now() - LIFE).await {
                    tracing::warn!(%error, "files of unfinished photos can't be removed");
                }
                reports.clock.sleep_until(reports.clock.now() + SWEEP_EVERY).await;
            };
            tokio::select! {
                () = turn => {}
                () = shutdown.cancelled() => return Ok(()),
            }
        }
    })
}

/// Ends what began before a time, until nothing is left of it.
async fn sweep(reports: &Reports, before: DateTime<Utc>) -> Result<(), Error> {
    loop {
        // Also what somebody was still writing down when it was looked at, and was waited for.
        while forget_kept(reports, before).await? > 0 {}
        let photos = sqlx::query_scalar!(
            "SELECT photo_id FROM reports.arrival
             WHERE begun_at < $1 AND NOT EXISTS (SELECT FROM reports.attachment WHERE id = photo_id)
             ORDER BY begun_at LIMIT $2",
            before,
            BATCH
        )
        .fetch_all(&reports.pool)
        .await?;
        if photos.is_empty() {
            return Ok(());
        }
        for photo in photos {
            take_back(reports, photo, Some(before)).await?;
            remove(reports, photo, Then::End).await?;
        }
    }
}

/// Forgets arrivals whose photos are written down.
async fn forget_kept(reports: &Reports, before: DateTime<Utc>) -> Result<u64, sqlx::Error> {
    let forgotten = sqlx::query!(
        "DELETE FROM reports.arrival WHERE photo_id IN (
             SELECT photo_id FROM reports.arrival
             WHERE begun_at < $1 AND EXISTS (SELECT FROM reports.attachment WHERE id = photo_id)
             ORDER BY photo_id LIMIT $2 FOR UPDATE SKIP LOCKED)",
        before,
        BATCH
    );
    Ok(forgotten.execute(&reports.pool).await?.rows_affected())
}
