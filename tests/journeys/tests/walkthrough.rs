//! `trangtien walkthrough`, as an evaluator runs it, against both shapes of the city.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use harness::City;
use harness::city::program;
use serde_json::json;
use tokio::process::Command;

#[tokio::test]
async fn every_step_holds_in_one_process() -> Result<()> {
    walk(City::all_in_one().await?).await
}

#[tokio::test]
async fn every_step_holds_with_one_process_per_role() -> Result<()> {
    walk(City::split().await?).await
}

#[tokio::test]
async fn the_flood_night_holds_in_one_process() -> Result<()> {
    flood(City::all_in_one().await?).await
}

#[tokio::test]
async fn the_flood_night_holds_with_one_process_per_role() -> Result<()> {
    flood(City::split().await?).await
}

async fn walk(city: City) -> Result<()> {
    let text = told(&city, &[]).await?;
    ensure!(text.contains("the citizen rates it"), "officers take part: {text}");
    ensure!(text.contains("the child takes it back"), "a child without a telephone is cared for: {text}");
    city.finish().await
}

/// The scenario as fast as the city answers.
async fn flood(city: City) -> Result<()> {
    let text = told(&city, &["--scenario", "flood", "--day-seconds", "0"]).await?;
    ensure!(text.contains("alarm 3 (báo động)"), "the rivers rise: {text}");
    let releases = text.matches("the operator adopts it and the lead releases it").count();
    ensure!(releases == 5, "each crossing of alarm 3 is a warning, not {releases}: {text}");
    centre_agrees(&city).await?;
    city.finish().await
}

/// What the operations centre counted of messages, reports by the minute and warnings is what the others' tables say.
async fn centre_agrees(city: &City) -> Result<()> {
    city.drained().await?;
    let overview = city.visitor()?.get("/ioc/v1/overview").await?.expect(200)?;
    let lanes = overview["totals"].as_array().context("totals")?.iter().filter_map(|row| {
        let kind = row["kind"].as_str().filter(|kind| kind.starts_with("lane-"))?;
        Some((format!("{kind} {}", row["outcome"].as_str()?), row["count"].as_i64()?))
    });
    let told: BTreeMap<String, i64> = lanes.collect();
    let own = counted(
        city,
        "SELECT 'lane-' || lane || ' ' || state, count(*) FROM notifications.message WHERE state <> 'waiting' GROUP BY 1",
    )
    .await?;
    ensure!(told == own && !own.is_empty(), "by lane the overview says {told:?}, the tables {own:?}");
    ensure!(overview["alarms"] == json!([]) && overview["warnings"] == json!([]), "all is over: {overview}");
    for (what, centre, own) in [
        (
            "reports by minute",
            "SELECT outcome, sum(count)::bigint FROM ioc.minute_tally WHERE kind = 'report' GROUP BY 1",
            "SELECT kind, sum(count)::bigint FROM ioc.report_total GROUP BY 1",
        ),
        (
            "ends of warnings",
            "SELECT alert_id || ' ' || how, 1::bigint FROM ioc.warning JOIN ioc.warning_end USING (alert_id)",
            "SELECT id || ' ' || state, 1::bigint FROM notifications.alert WHERE kind <> 'cancel' AND state <> 'withdrawn'",
        ),
        (
            "recipients of warnings",
            "SELECT alert_id::text, recipients FROM ioc.warning JOIN ioc.warning_reach USING (alert_id) WHERE ward = ''",
            "SELECT alert_id::text, recipients FROM notifications.alert_fan_out JOIN notifications.alert ON id = alert_id
             WHERE kind <> 'cancel'",
        ),
    ] {
        let (centre, own) = (counted(city, centre).await?, counted(city, own).await?);
        ensure!(centre == own && !own.is_empty(), "{what}: the centre has {centre:?}, the tables {own:?}");
    }
    Ok(())
}

async fn counted(city: &City, sql: &'static str) -> Result<BTreeMap<String, i64>> {
    let rows: Vec<(String, i64)> = sqlx::query_as(sql).fetch_all(&city.admin()).await?;
    Ok(rows.into_iter().collect())
}

/// What the program tells of steps that all hold.
async fn told(city: &City, scenario: &[&str]) -> Result<String> {
    let walked = Command::new(program()?)
        .args(["walkthrough", "--url", city.url().as_str(), "--data-dir"])
        .arg(city.data_folder())
        .args(scenario)
        .output()
        .await?;
    let text = String::from_utf8_lossy(&walked.stdout).into_owned();
    ensure!(walked.status.success(), "{text}\n{}", String::from_utf8_lossy(&walked.stderr));
    let last = text.lines().rev().find(|line| !line.trim().is_empty()).context("it prints its steps")?;
    ensure!(last.starts_with("All ") && last.contains("steps hold"), "it ends by saying that all hold: {last}");
    Ok(text)
}

#[tokio::test]
async fn a_city_that_is_not_there_is_an_error() -> Result<()> {
    let walked = Command::new(program()?).args(["walkthrough", "--url", "http://127.0.0.1:9"]).output().await?;
    ensure!(!walked.status.success(), "it fails");
    ensure!(!walked.stderr.is_empty(), "it says why");
    Ok(())
}
