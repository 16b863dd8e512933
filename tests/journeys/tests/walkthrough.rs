//! `trangtien walkthrough`, as an evaluator runs it, against both shapes of the city.

use anyhow::{Context as _, Result, ensure};
use harness::City;
use harness::city::program;
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
    city.finish().await
}

/// The scenario as fast as the city answers.
async fn flood(city: City) -> Result<()> {
    let text = told(&city, &["--scenario", "flood", "--day-seconds", "0"]).await?;
    ensure!(text.contains("alarm 3 (báo động)"), "the rivers rise: {text}");
    let releases = text.matches("the operator adopts it and the lead releases it").count();
    ensure!(releases == 5, "each crossing of alarm 3 is a warning, not {releases}: {text}");
    city.finish().await
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
