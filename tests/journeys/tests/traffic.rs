//! `trangtien up --traffic N`: a city whose people live by themselves shows on the wall, stops in order, and its books are in balance.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use harness::{City, eventually};
use journeys::figures::{payments_agree, reports_agree};
use serde_json::Value;

/// Journeys a second, as the day's mean: at night it is a tenth, in the evening three times as many.
const TRAFFIC: u32 = 40;
/// Reports come from at least so many wards.
const WARDS: usize = 3;
/// What money moved by, and what else people did.
const KINDS: [&str; 5] = ["payment", "top-up", "bill", "fee", "citizen"];

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
    let city = city.without_traffic().await?;
    ensure!(!city.log().contains("demo traffic was interrupted"), "the crowd could not go on");
    // What was under way when it stopped comes to its end now.
    city.drained().await?;
    payments_agree(&city).await?;
    reports_agree(&city).await?;
    city.finish().await
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
