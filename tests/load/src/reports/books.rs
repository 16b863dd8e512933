//! Whether the database and the store hold what was answered. Only reads, as the administrator.

use std::path::Path;

use anyhow::ensure;

use super::life::Tally;
use crate::city::Place;
use crate::relay::number;

/// Events of reports that are not known to be in Redis. The cursor is saved at most once a second.
pub(super) const LAG: &str = "
    SELECT count(*) FROM reports.outbox o LEFT JOIN reports.outbox_cursor c ON c.stream = o.stream
    WHERE o.position IS NULL OR o.position > coalesce(c.position, 0)";

/// Steps of a life that is complete: submit, claim, distribute, accept, submit-result, approve, rate.
const STEPS: u64 = 7;

/// Checks that what was answered is there; gives how many reports are closed. What got no answer may be there beside.
pub(super) async fn check(place: &Place, tally: &Tally) -> anyhow::Result<u64> {
    let (rated, errors) = (tally.rated(), tally.errors());
    let count = async |sql: &'static str| anyhow::Ok(u64::try_from(number(&place.admin, sql).await?)?);
    let closed = count("SELECT count(*) FROM reports.report WHERE state = 'closed'").await?;
    ensure!(
        (rated..=rated + errors).contains(&closed),
        "{rated} were rated and {errors} stopped, but {closed} are closed"
    );
    let ratings = count("SELECT count(*) FROM reports.rating").await?;
    ensure!(ratings == closed, "{closed} are closed, and there are {ratings} ratings");
    let steps = count(
        "SELECT count(*) FROM reports.history h JOIN reports.report r ON r.id = h.report_id WHERE r.state = 'closed'",
    )
    .await?;
    ensure!(steps == closed * STEPS, "{closed} lives have {steps} steps");
    let (photos, evidence) = tally.photos();
    for (kind, answered, kept) in [
        ("photos", photos, count("SELECT count(*) FROM reports.attachment WHERE kind = 'report'").await?),
        ("evidence", evidence, count("SELECT count(*) FROM reports.attachment WHERE kind = 'evidence'").await?),
    ] {
        ensure!((answered..=answered + errors).contains(&kept), "{answered} of {kind} were answered, {kept} are kept");
    }
    let files = pictures(&place.data_dir.join("files"))?;
    ensure!(files >= photos + evidence, "{files} pictures are in the store for {photos} and {evidence}");
    Ok(closed)
}

/// Pictures in a folder and below it.
fn pictures(folder: &Path) -> anyhow::Result<u64> {
    let mut found = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found += pictures(&entry.path())?;
        } else if entry.path().extension().is_some_and(|extension| extension == "jpg") {
            found += 1;
        }
    }
    Ok(found)
}
