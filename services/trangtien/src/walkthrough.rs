//! `trangtien walkthrough`: the main job of the city, done by its people over public HTTP only, each step printed with what came back.
//!
//! A citizen signs in by phone and sets a PIN; a merchant opens a shop; the citizen tops up from a bank and pays by scanning;
//! both see it; a citizen reports a hole in the road, which officers have mended; callbacks of the bank that are late, doubled
//! or missing end right; the citizen proves who they are, and one payment by PIN, and signs in by VNeID; bad input is refused in words;
//! the citizen pays electricity bills and an agency's fee; a daughter pays for the citizen, and the citizen for a child without a
//! telephone; an operator signs in at the wall by browser and sees it all, in figures that agree with the books.
//! What phones receive is read from the sandbox.
//!
//! `--scenario flood` plays the flood night instead (see `flood`).
//!
//! It adds to whatever the city already holds and may be run again and again, also while others use the city.

mod bill;
mod browser;
mod child;
mod citizen;
mod fee;
mod flood;
mod guardian;
mod operator;
mod person;
mod proof;
mod refusal;
mod report;
mod script;
mod shop;
mod top_up;
mod vneid;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use url::Url;

pub use self::browser::{Browser, Page};
pub use self::person::{Answer, Person, World, eventually, money};
pub(crate) use self::person::{items, send};
pub(crate) use self::report::EVIDENCE;
use self::script::Script;
use crate::database::running;

/// What the citizen brings from the bank, in đồng.
const TOP_UP: u64 = 1_500_000;
/// What the bowl costs, in đồng.
const PRICE: u64 = 45_000;

/// What is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Scenario {
    /// The main job: a payment, bills, a field report, and what the operations centre sees of it.
    Day,
    /// The floods of October 2025, as an exercise: gauges, alarms, warnings, reports. On the city's own machine.
    Flood,
}

/// Walks through the city at `url`, or the one that runs in `data_dir`; a day of the flood takes as long as it says.
///
/// # Errors
/// The first step that does not hold.
pub async fn run(url: Option<Url>, data_dir: &Path, (scenario, day): (Scenario, Duration)) -> anyhow::Result<()> {
    let here = running(data_dir);
    // Whoever walks through a city that runs elsewhere is not on its machine.
    let on_its_machine = match (&url, &here) {
        (Some(url), Ok(here)) => here.http.parse().is_ok_and(|own: Url| own == *url),
        (Some(_), Err(_)) => false,
        (None, _) => true,
    };
    let url = match url {
        Some(url) => url,
        None => here?.http.parse().context("run.json holds no URL")?,
    };
    let mut script = Script::new();
    let world = arrive(&mut script, url).await?;
    if scenario == Scenario::Flood {
        ensure!(on_its_machine, "the flood is played on the city's own machine (--data-dir)");
        flood::night(&mut script, &world, (data_dir, day)).await?;
        script.end();
        return Ok(());
    }
    let before = operator::counts(&world).await?;
    let (buyer, pin) = citizen::sign_in(&mut script, &world).await?;
    let seller = shop::owner(&mut script, &world).await?;
    let shop = shop::open(&mut script, &seller).await?;
    top_up::from_bank(&mut script, &buyer).await?;
    let payment = shop::pay(&mut script, (&buyer, &seller), &shop).await?;
    citizen::hears_of_it(&mut script, &buyer).await?;
    report::from_hole_to_road(&mut script, &buyer, on_its_machine.then_some(data_dir)).await?;
    top_up::with_faults(&mut script, &buyer).await?;
    let number = proof::of_person_and_payment(&mut script, (&buyer, &pin), &shop).await?;
    vneid::signs_in(&mut script, (&buyer, &pin), &number).await?;
    refusal::of_bad_input(&mut script, (&buyer, &seller), &shop).await?;
    bill::from_meter_to_receipt(&mut script, &buyer).await?;
    let program = fee::from_notice_to_event(&mut script, &buyer, on_its_machine.then_some(data_dir)).await?;
    guardian::pays_for_the_citizen(&mut script, (&buyer, &pin), &shop).await?;
    let machine = program.map(|program| (data_dir, program));
    child::without_a_telephone(&mut script, (&buyer, &pin, &number), &shop, machine).await?;
    operator::sees_it(&mut script, &world, before).await?;
    operator::at_the_wall(&mut script, &world, (payment, on_its_machine.then_some(data_dir))).await?;
    script.end();
    Ok(())
}

/// Finds out what is here: the city is ready, and it has a sandbox.
async fn arrive(script: &mut Script, url: Url) -> anyhow::Result<World> {
    script.chapter("The city");
    let nowhere = World::new(url.clone(), url.clone())?;
    let configuration = script
        .step("The app asks what is here", async {
            let ready = nowhere.get("/readyz").await.context("the city does not answer")?;
            ensure!(ready.status == 200, "the city is not ready: {}", ready.body);
            let answer = nowhere.get("/app/v1/configuration").await?.expect(200)?;
            let features = answer["features"].as_object().into_iter().flatten();
            let here: Vec<&str> = features.filter(|(_, on)| **on == true).map(|(name, _)| name.as_str()).collect();
            Ok((
                answer.clone(),
                vec![format!("roles: {}", here.join(", ")), format!("languages: {}", answer["languages"])],
            ))
        })
        .await?;
    script
        .step("An officer looks up what can be reported", async {
            let categories = nowhere.get("/reports/v1/categories").await?.expect(200)?;
            let items = categories["items"].as_array().context("items")?;
            ensure!(!items.is_empty(), "there are categories");
            Ok(((), vec![format!("{} categories, the first: {}", items.len(), items[0])]))
        })
        .await?;
    let sandbox = configuration["sandbox"].as_str().context(
        "this city has no sandbox, so nobody can read the messages it sends; walk through one of `trangtien up`",
    )?;
    World::new(url, sandbox.parse().context("the sandbox's URL")?)
}

/// A field that must be text.
fn text<'a>(value: &'a Value, pointer: &str) -> anyhow::Result<&'a str> {
    value.pointer(pointer).and_then(Value::as_str).with_context(|| format!("{pointer} is missing in {value}"))
}

/// Đồng as people write them.
fn dong(amount: u64) -> String {
    let digits = amount.to_string();
    let grouped: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    format!("{} ₫", grouped.join("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_grouped() {
        assert_eq!(dong(500), "500 ₫");
        assert_eq!(dong(45_000), "45.000 ₫");
        assert_eq!(dong(1_234_567), "1.234.567 ₫");
    }
}
