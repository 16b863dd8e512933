//! Every statement of the counts of field reports. The writing ones need the lock of the board, as all others do.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::overview::{AgencyReports, ReportTally, StateReports, WardReports};
use crate::report::{Batch, Case, Change, Flow, OPEN, Place, REPORTS};

/// How the reports that a batch is about stand. The caller holds the lock.
pub(crate) async fn known(tx: &mut PgConnection, reports: &[Uuid]) -> Result<BTreeMap<Uuid, Case>, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT report_id, version, state, agency, ward, overdue FROM ioc.report_case WHERE report_id = ANY($1)",
        reports
    )
    .fetch_all(tx)
    .await?;
    let case = |(version, overdue), place| Case { version, place, overdue };
    let place = |state, agency, ward| Place { state, agency, ward };
    Ok(rows
        .into_iter()
        .map(|row| (row.report_id, case((row.version, row.overdue), place(row.state, row.agency, row.ward))))
        .collect())
}

/// Adds a batch of events. The caller holds the lock, which gave `revision`.
pub(crate) async fn add(tx: &mut PgConnection, batch: &Batch, revision: i64) -> Result<(), sqlx::Error> {
    write_cases(&mut *tx, batch).await?;
    add_standing(&mut *tx, &batch.standing().collect::<Vec<_>>(), revision).await?;
    add_days(&mut *tx, &batch.days, revision).await?;
    super::add_minutes(&mut *tx, &batch.minutes, revision).await?;
    super::happening::add(&mut *tx, &batch.happenings).await?;
    super::add_positions(&mut *tx, REPORTS, &batch.positions).await?;
    super::announce(tx).await
}

async fn write_cases(tx: &mut PgConnection, batch: &Batch) -> Result<(), sqlx::Error> {
    let (ids, cases): (Vec<Uuid>, Vec<&Case>) = batch.cases().unzip();
    let versions: Vec<i64> = cases.iter().map(|case| case.version).collect();
    let overdue: Vec<bool> = cases.iter().map(|case| case.overdue).collect();
    let (states, agencies, wards) = places(cases.iter().map(|case| &case.place));
    sqlx::query!(
        "INSERT INTO ioc.report_case (report_id, version, state, agency, ward, overdue) \
         SELECT report_id, version, state, agency, ward, overdue \
         FROM UNNEST($1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::boolean[]) \
             AS new (report_id, version, state, agency, ward, overdue) \
         ON CONFLICT ON CONSTRAINT report_case_pk DO UPDATE \
         SET version = EXCLUDED.version, state = EXCLUDED.state, agency = EXCLUDED.agency, ward = EXCLUDED.ward, \
             overdue = EXCLUDED.overdue",
        &ids,
        &versions,
        &states,
        &agencies,
        &wards,
        &overdue
    )
    .execute(tx)
    .await
    .map(|_| ())
}

async fn add_standing(tx: &mut PgConnection, changes: &[(&Place, &Change)], revision: i64) -> Result<(), sqlx::Error> {
    let (states, agencies, wards) = places(changes.iter().map(|(place, _)| *place));
    let reports: Vec<i64> = changes.iter().map(|(_, change)| change.reports).collect();
    let overdue: Vec<i64> = changes.iter().map(|(_, change)| change.overdue).collect();
    // A row that is to become less must be there first: the checks look at what would be inserted.
    sqlx::query!(
        "INSERT INTO ioc.report_standing (state, agency, ward, reports, overdue, revision) \
         SELECT state, agency, ward, 0, 0, $4 FROM UNNEST($1::text[], $2::text[], $3::text[]) AS new (state, agency, ward) \
         ON CONFLICT ON CONSTRAINT report_standing_pk DO NOTHING",
        &states,
        &agencies,
        &wards,
        revision
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "UPDATE ioc.report_standing AS known \
         SET reports = known.reports + new.reports, overdue = known.overdue + new.overdue, revision = $6 \
         FROM UNNEST($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[]) \
             AS new (state, agency, ward, reports, overdue) \
         WHERE known.state = new.state AND known.agency = new.agency AND known.ward = new.ward",
        &states,
        &agencies,
        &wards,
        &reports,
        &overdue,
        revision
    )
    .execute(tx)
    .await
    .map(|_| ())
}

fn places<'a>(places: impl Iterator<Item = &'a Place>) -> (Vec<String>, Vec<String>, Vec<String>) {
    let mut columns = (Vec::new(), Vec::new(), Vec::new());
    for place in places {
        columns.0.push(place.state.clone());
        columns.1.push(place.agency.clone());
        columns.2.push(place.ward.clone());
    }
    columns
}

async fn add_days(
    tx: &mut PgConnection,
    days: &BTreeMap<(NaiveDate, Flow), i64>,
    revision: i64,
) -> Result<(), sqlx::Error> {
    let on: Vec<NaiveDate> = days.keys().map(|(day, _)| *day).collect();
    let kinds: Vec<String> = days.keys().map(|(_, flow)| flow.kind.to_owned()).collect();
    let outcomes: Vec<String> = days.keys().map(|(_, flow)| flow.outcome.to_owned()).collect();
    let agencies: Vec<String> = days.keys().map(|(_, flow)| flow.agency.clone()).collect();
    let categories: Vec<String> = days.keys().map(|(_, flow)| flow.category.clone()).collect();
    let wards: Vec<String> = days.keys().map(|(_, flow)| flow.ward.clone()).collect();
    let counts: Vec<i64> = days.values().copied().collect();
    sqlx::query!(
        "WITH new AS ( \
             SELECT day, kind, outcome, agency, category, ward, count \
             FROM UNNEST($1::date[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[]) \
                 AS new (day, kind, outcome, agency, category, ward, count) \
         ), by_day AS ( \
             INSERT INTO ioc.report_day AS known (day, kind, outcome, agency, category, ward, count, revision) \
             SELECT day, kind, outcome, agency, category, ward, count, $8 FROM new \
             ON CONFLICT ON CONSTRAINT report_day_pk DO UPDATE \
             SET count = known.count + EXCLUDED.count, revision = EXCLUDED.revision \
         ) \
         INSERT INTO ioc.report_total AS known (kind, outcome, agency, category, ward, count, revision) \
         SELECT kind, outcome, agency, category, ward, SUM(count)::bigint, $8 FROM new \
         GROUP BY kind, outcome, agency, category, ward \
         ON CONFLICT ON CONSTRAINT report_total_pk DO UPDATE \
         SET count = known.count + EXCLUDED.count, revision = EXCLUDED.revision",
        &on,
        &kinds,
        &outcomes,
        &agencies,
        &categories,
        &wards,
        &counts,
        revision
    )
    .execute(tx)
    .await
    .map(|_| ())
}

/// Reports by state, of those states that changed after a revision.
pub(crate) async fn states(tx: &mut PgConnection, after: i64) -> Result<Vec<StateReports>, sqlx::Error> {
    sqlx::query_as!(
        StateReports,
        "SELECT state, SUM(reports)::bigint AS \"reports!\", SUM(overdue)::bigint AS \"overdue!\" \
         FROM ioc.report_standing GROUP BY state HAVING MAX(revision) > $1 ORDER BY state",
        after
    )
    .fetch_all(tx)
    .await
}

/// Open reports by leading agency, of those agencies that changed after a revision.
pub(crate) async fn agencies(tx: &mut PgConnection, after: i64) -> Result<Vec<AgencyReports>, sqlx::Error> {
    sqlx::query_as!(
        AgencyReports,
        "SELECT agency, COALESCE(SUM(reports) FILTER (WHERE state = ANY($2)), 0)::bigint AS \"open!\", \
             SUM(overdue)::bigint AS \"overdue!\" \
         FROM ioc.report_standing GROUP BY agency HAVING MAX(revision) > $1 ORDER BY agency",
        after,
        &open()
    )
    .fetch_all(tx)
    .await
}

/// Open reports by ward, of those wards that changed after a revision.
pub(crate) async fn wards(tx: &mut PgConnection, after: i64) -> Result<Vec<WardReports>, sqlx::Error> {
    sqlx::query_as!(
        WardReports,
        "SELECT ward, COALESCE(SUM(reports) FILTER (WHERE state = ANY($2)), 0)::bigint AS \"open!\", \
             SUM(overdue)::bigint AS \"overdue!\" \
         FROM ioc.report_standing GROUP BY ward HAVING MAX(revision) > $1 ORDER BY ward",
        after,
        &open()
    )
    .fetch_all(tx)
    .await
}

fn open() -> [String; OPEN.len()] {
    OPEN.map(ToOwned::to_owned)
}

/// What happened on a day, of those counts that changed after a revision.
pub(crate) async fn day(tx: &mut PgConnection, day: NaiveDate, after: i64) -> Result<Vec<ReportTally>, sqlx::Error> {
    sqlx::query_as!(
        ReportTally,
        "SELECT kind, outcome, agency, category, ward, count FROM ioc.report_day \
         WHERE day = $1 AND revision > $2 ORDER BY kind, outcome, agency, category, ward",
        day,
        after
    )
    .fetch_all(tx)
    .await
}

/// What happened since the beginning, of those counts that changed after a revision.
pub(crate) async fn totals(tx: &mut PgConnection, after: i64) -> Result<Vec<ReportTally>, sqlx::Error> {
    sqlx::query_as!(
        ReportTally,
        "SELECT kind, outcome, agency, category, ward, count FROM ioc.report_total \
         WHERE revision > $1 ORDER BY kind, outcome, agency, category, ward",
        after
    )
    .fetch_all(tx)
    .await
}
