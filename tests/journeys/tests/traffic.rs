//! `trangtien up --traffic N`: a city whose people live by themselves shows on the wall, stops in order, and its books are in balance.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use harness::{City, eventually};
use journeys::figures::{payments_agree, reports_agree};
use serde_json::Value;

/// Journeys a second, as the day's mean, and about as many at the hour at which such a city starts.
const TRAFFIC: u32 = 40;
/// Reports come from at least so many wards.
const WARDS: usize = 3;
/// What money moved by, and what else people did.
const KINDS: [&str; 5] = ["payment", "top-up", "bill", "fee", "citizen"];

const PROGRAMS: &str = "SELECT count(*) FROM identity.client";
const NOTICES: &str = "SELECT count(*) FROM wallet.fee_notice";

#[tokio::test]
async fn demo_traffic_shows_everything_on_the_wall_and_leaves_the_books_in_balance() -> Result<()> {
    let city = City::with_traffic(TRAFFIC).await?;
    let visitor = city.visitor()?;
    eventually("everything that people do to show", || async {
        let overview = visitor.get("/ioc/v1/overview").await?.expect(200)?;
        let missing = missing(&overview);
        ensure!(missing.is_empty(), "the overview lacks {missing:?}");
        Ok(Some(()))
    })
    .await?;
    // At its next start the crowd asks for fees by the program that the agency has.
    let (programs, notices) = (count(&city, PROGRAMS).await?, count(&city, NOTICES).await?);
    city.kill_program().await?;
    eventually("another fee after the restart", || async {
        let now = count(&city, NOTICES).await?;
        Ok((now > notices).then_some(()))
    })
    .await?;
    ensure!(count(&city, PROGRAMS).await? == programs, "a restart registers another program");
    let city = city.without_traffic().await?;
    let log = city.log();
    for fault in ["demo traffic was interrupted", "a demo journey went wrong"] {
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(fault)).collect();
        ensure!(
            lines.is_empty(),
            "{} of the crowd's ways went wrong: {:#?}",
            lines.len(),
            &lines[..lines.len().min(5)]
        );
    }
    // What was under way when it stopped comes to its end now.
    city.drained().await?;
    payments_agree(&city).await?;
    reports_agree(&city).await?;
    city.finish().await
}

async fn count(city: &City, sql: &'static str) -> Result<i64> {
    Ok(sqlx::query_scalar(sql).fetch_one(&city.admin()).await?)
}

/// What nobody has done yet.
fn missing(overview: &Value) -> Vec<&'static str> {
    let rows = |rows: &Value| rows.as_array().cloned().unwrap_or_default();
    let done: Vec<Value> = rows(&overview["totals"]).into_iter().filter(|row| row["count"] != 0).collect();
    let mut missing: Vec<&str> =
        KINDS.into_iter().filter(|kind| !done.iter().any(|row| row["kind"] == *kind)).collect();
    if !done.iter().any(|row| row["kind"].as_str().is_some_and(|kind| kind.starts_with("message-"))) {
        missing.push("messages");
    }
    let reports = rows(&overview["reports"]["totals"]);
    let submitted = reports.iter().filter(|row| row["kind"] == "submitted");
    let wards: BTreeSet<&str> = submitted.filter_map(|row| row["ward"].as_str()).collect();
    if wards.len() < WARDS {
        missing.push("reports of several wards");
    }
    missing
}
