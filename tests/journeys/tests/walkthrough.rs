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

async fn walk(city: City) -> Result<()> {
    let walked = Command::new(program()?)
        .args(["walkthrough", "--url", city.url().as_str(), "--data-dir"])
        .arg(city.data_folder())
        .output()
        .await?;
    let text = String::from_utf8_lossy(&walked.stdout);
    ensure!(walked.status.success(), "{text}\n{}", String::from_utf8_lossy(&walked.stderr));
    let last = text.lines().rev().find(|line| !line.trim().is_empty()).context("it prints its steps")?;
    ensure!(text.contains("the citizen rates it"), "officers take part: {text}");
    ensure!(last.starts_with("All ") && last.contains("steps hold"), "it ends by saying that all hold: {last}");
    city.finish().await
}

#[tokio::test]
async fn a_city_that_is_not_there_is_an_error() -> Result<()> {
    let walked = Command::new(program()?).args(["walkthrough", "--url", "http://127.0.0.1:9"]).output().await?;
    ensure!(!walked.status.success(), "it fails");
    ensure!(!walked.stderr.is_empty(), "it says why");
    Ok(())
}
