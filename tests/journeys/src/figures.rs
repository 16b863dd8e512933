//! What the operations centre says, against the services' own tables at the same positions.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use harness::{City, eventually};
use serde_json::Value;
use sqlx::PgPool;

/// Counts under names, without those of nothing.
type Counts = BTreeMap<String, i64>;

async fn counted(admin: &PgPool, sql: &'static str) -> Result<Counts> {
    let rows: Vec<(String, i64)> = sqlx::query_as(sql).fetch_all(admin).await?;
    Ok(rows.into_iter().filter(|(_, count)| *count != 0).collect())
}

fn told(rows: &Value, name: &str, count: &str) -> Counts {
    let rows = rows.as_array().map(Vec::as_slice).unwrap_or_default();
    let of = |row: &Value| Some((row[name].as_str()?.to_owned(), row[count].as_i64()?));
    rows.iter().filter_map(of).filter(|(_, count)| *count != 0).collect()
}

/// The tallies of a kind, under all that they are counted by.
fn tallied(rows: &Value, kind: &str) -> Counts {
    let mut counts = Counts::new();
    for row in rows.as_array().into_iter().flatten().filter(|row| row["kind"] == kind) {
        let by = ["outcome", "agency", "category", "ward"].map(|part| row[part].as_str().unwrap_or_default());
        *counts.entry(by.join(" ")).or_default() += row["count"].as_i64().unwrap_or_default();
    }
    counts
}

/// Compares everything that the overview says of reports with the tables of reports. Nothing moves meanwhile.
///
/// # Errors
/// Names what differs.
pub async fn reports_agree(city: &City) -> Result<()> {
    city.drained().await?;
    let admin = city.admin();
    let newest: i64 =
        sqlx::query_scalar("SELECT coalesce(max(position), 0) FROM reports.outbox WHERE stream = 'reports'")
            .fetch_one(&admin)
            .await?;
    let overview = city.visitor()?.get("/ioc/v1/overview").await?.expect(200)?;
    let sources = overview["sources"].as_array().context("sources")?;
    let included =
        sources.iter().filter(|row| row["stream"] == "reports").filter_map(|row| row["position"].as_i64()).max();
    ensure!(included == Some(newest), "the overview includes {included:?} of {newest}");

    let figures = &overview["reports"];
    let pairs = [
        (told(&figures["states"], "state", "reports"), "SELECT state, count(*) FROM reports.report GROUP BY 1"),
        (
            told(&figures["agencies"], "agency", "open"),
            "SELECT coalesce(lead_agency, ''), count(*) FROM reports.report
             WHERE state NOT IN ('rejected', 'duplicate', 'published', 'closed') GROUP BY 1",
        ),
        (
            told(&figures["wards"], "ward", "open"),
            "SELECT coalesce(ward_code, ''), count(*) FROM reports.report
             WHERE state NOT IN ('rejected', 'duplicate', 'published', 'closed') GROUP BY 1",
        ),
        (
            tallied(&figures["totals"], "submitted"),
            "SELECT '  ' || category || ' ' || coalesce(ward_code, ''), count(*) FROM reports.report GROUP BY 1",
        ),
        (
            tallied(&figures["totals"], "breach"),
            "SELECT state || ' ' || coalesce(agency, '') || '  ', count(*) FROM reports.escalation WHERE level = 100 GROUP BY 1",
        ),
        (
            tallied(&figures["totals"], "result"),
            "SELECT CASE WHEN kept_first THEN 'first ' WHEN kept_extended THEN 'extended ' ELSE 'late ' END || agency || '  ', count(*)
             FROM reports.outcome GROUP BY 1",
        ),
        (
            tallied(&figures["totals"], "rating"),
            "SELECT rating || ' ' || outcome.agency || '  ', count(*) FROM reports.rating JOIN reports.outcome USING (report_id, round) GROUP BY 1
             UNION ALL SELECT 'none ' || outcome.agency || '  ', count(*) FROM reports.history JOIN reports.outcome USING (report_id, round)
             WHERE action = 'expire' AND from_state = 'published' GROUP BY 1",
        ),
    ];
    for (told, sql) in pairs {
        let own = counted(&admin, sql).await?;
        ensure!(told == own, "the overview says {told:?}, the tables {own:?}: {sql}");
    }
    let by_day = "SELECT day || ' ' || category || ' ' || ward, sum(count)::bigint FROM ioc.report_day WHERE kind = 'submitted' GROUP BY 1";
    let own = "SELECT (created_at AT TIME ZONE 'Asia/Ho_Chi_Minh')::date || ' ' || category || ' ' || coalesce(ward_code, ''), count(*)
               FROM reports.report GROUP BY 1";
    let (told, own) = (counted(&admin, by_day).await?, counted(&admin, own).await?);
    ensure!(told == own, "by day the centre says {told:?}, the tables {own:?}");
    Ok(())
}

/// The same of those whose limit has run out: due, and waiting for an office. There must be some.
///
/// # Errors
/// Names what differs.
pub async fn overdue_agree(city: &City) -> Result<()> {
    let visitor = city.visitor()?;
    let own = counted(
        &city.admin(),
        "SELECT report.state, count(*) FROM reports.report JOIN LATERAL (
             SELECT 1 FROM reports.escalation WHERE report_id = report.id AND level = 100 AND escalation.state = report.state
                 AND escalated_at >= report.updated_at LIMIT 1) AS late ON true
         WHERE report.state NOT IN ('rejected', 'duplicate', 'published', 'closed', 'needs-info') GROUP BY 1",
    )
    .await?;
    ensure!(!own.is_empty(), "after so many days something is overdue");
    eventually("overdue reports to be counted", || async {
        let overview = visitor.get("/ioc/v1/overview").await?.expect(200)?;
        let told = told(&overview["reports"]["states"], "state", "overdue");
        ensure!(told == own, "the overview says {told:?}, the tables {own:?}");
        Ok(Some(()))
    })
    .await
}

/// Compares what the overview says of money with the ledger's own transfers. Nothing moves meanwhile.
///
/// # Errors
/// Names what differs.
pub async fn payments_agree(city: &City) -> Result<()> {
    city.drained().await?;
    let (admin, visitor) = (city.admin(), city.visitor()?);
    let newest: i64 = sqlx::query_scalar("SELECT max(sequence) FROM ledger.shard").fetch_one(&admin).await?;
    let overview = eventually("the comparison with the books", || async {
        let overview = visitor.get("/ioc/v1/overview").await?.expect(200)?;
        let compared = overview["books"]["state"] == "equal" && overview["books"]["position"] == newest;
        ensure!(compared, "at {newest}: {}", overview["books"]);
        Ok(Some(overview))
    })
    .await?;
    // The ledger writes names with underscores, events with hyphens.
    let own: Vec<(String, i64, i64)> = sqlx::query_as(
        "SELECT replace(name, '_', '-'), count(*), sum(amount)::bigint FROM ledger.transfer JOIN ledger.transfer_kind k ON k.code = transfer.kind GROUP BY 1 ORDER BY 1",
    )
    .fetch_all(&admin)
    .await?;
    let row = |row: &Value| {
        let amount = row["amount"]["amount"].as_str()?.parse().ok()?;
        Some((row["kind"].as_str()?.to_owned(), row["count"].as_i64()?, amount))
    };
    let mut told: Vec<(String, i64, i64)> =
        overview["book_totals"].as_array().into_iter().flatten().filter_map(row).collect();
    told.sort();
    ensure!(told == own, "the overview says {told:?}, the ledger {own:?}");
    // What the wall shows by kind, and sums up in its headline.
    let completed = overview["totals"].as_array().into_iter().flatten().filter(|row| row["outcome"] == "completed");
    let mut moved: Vec<(String, i64, i64)> = completed.filter_map(row).collect();
    moved.sort();
    ensure!(moved == own, "by kind the overview says {moved:?}, the ledger {own:?}");
    Ok(())
}
