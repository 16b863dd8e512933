//! Citizens whose meters are read: they link a customer code once and pay its bills, the newest first.

use std::path::Path;

use anyhow::Context as _;
use chrono::{DateTime, Months, Utc};
use platform::dataset::read_csv;
use rand::seq::IndexedRandom as _;
use serde::Deserialize;
use serde_json::{Value, json};

use super::payer::{paid, top_up};
use crate::walkthrough::{Person, World, items};

/// The months that have been read when a household links its code.
const MONTHS: u32 = 6;
/// What a household uses in a month, by kind of meter: kWh or m³.
const USAGES: [(&str, std::ops::Range<u32>); 2] = [("electricity", 40..260), ("water", 6..28)];

/// The city's utilities.
pub(super) struct Utilities(Vec<Utility>);

#[derive(Clone, Debug, Deserialize)]
struct Utility {
    code: String,
    kind: String,
}

impl Utilities {
    /// Those of the city's folder.
    ///
    /// # Errors
    /// When they can't be read, or there is none whose meters are read.
    pub(super) fn read(city: &Path) -> anyhow::Result<Self> {
        let rows = read_csv::<Utility>(&city.join("billers.csv")).map_err(|fault| anyhow::anyhow!("{fault}"))?;
        let read: Vec<Utility> =
            rows.into_iter().map(|(_, row)| row).filter(|row| usage_of(&row.kind).is_some()).collect();
        anyhow::ensure!(!read.is_empty(), "the city has no utility that reads meters");
        Ok(Self(read))
    }

    /// A citizen pays an open bill; one without moves into another house first.
    pub(super) async fn settle(&self, person: &Person, now: DateTime<Utc>) -> anyhow::Result<()> {
        if let Some(bill) = open_bill(person).await? {
            return pay(person, &bill).await;
        }
        if !self.link(person, now).await? {
            return Ok(());
        }
        let bill = open_bill(person).await?.context("meters that were read are billed")?;
        pay(person, &bill).await
    }

    /// Links a new customer of some utility; `false` when the citizen has enough of them.
    async fn link(&self, person: &Person, now: DateTime<Utc>) -> anyhow::Result<bool> {
        let utility = self.0.choose(&mut rand::rng()).context("there is one")?;
        let usage = usage_of(&utility.kind).context("meters are read")?;
        let readings = (0..MONTHS).filter_map(|ago| now.date_naive().checked_sub_months(Months::new(ago)));
        let readings: Vec<Value> = readings
            .map(|day| json!({ "usage": rand::random_range(usage.clone()), "read_on": day.to_string() }))
            .collect();
        let world: &World = &person.world;
        let path = format!("/billers/{}/customers", utility.code);
        let customer = world.steer(&path, &json!({ "readings": readings })).await?;
        let body = json!({ "biller_code": utility.code, "customer_code": customer["customer_code"] });
        let linked = person.post("/wallet/v1/bill-subscriptions", &body).await?;
        if matches!(linked.body["code"].as_str(), Some("too-many" | "too-many-requests")) {
            return Ok(false);
        }
        linked.expect(201).map(|_| true)
    }
}

fn usage_of(kind: &str) -> Option<std::ops::Range<u32>> {
    USAGES.iter().find(|(name, _)| *name == kind).map(|(_, usage)| usage.clone())
}

/// Some bill of a meter that waits to be paid.
async fn open_bill(person: &Person) -> anyhow::Result<Option<Value>> {
    let list = person.get("/wallet/v1/bills?state=open").await?.expect(200)?;
    Ok(items(&list).iter().find(|bill| bill["kind"] != "fee").cloned())
}

/// Pays a bill or a fee and waits for the end. Who is poor goes to the bank; what another journey of the citizen pays is left to it.
pub(super) async fn pay(person: &Person, bill: &Value) -> anyhow::Result<()> {
    let path = format!("/wallet/v1/bills/{}/payments", bill["id"].as_str().context("id")?);
    let asked = person.post(&path, &json!({ "amount": bill["amount"] })).await?;
    match asked.body["code"].as_str() {
        Some("insufficient-funds") => top_up(person).await,
        Some("bill-paid" | "bill-being-paid" | "bill-closed" | "limit-day" | "limit-month") => Ok(()),
        _ => paid(person, &asked.expect(202)?).await,
    }
}
