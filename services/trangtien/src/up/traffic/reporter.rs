//! Citizens who report what is wrong, and officers who have it mended, some at once, some late, some not yet.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use identity::officer::RoleKind;
use platform::dataset::read_csv;
use rand::seq::IndexedRandom as _;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::admin;
use crate::database::Place;
use crate::walkthrough::{EVIDENCE, Person, World};

/// How often each category is reported: code and weight, this project's estimate for Huế.
const CATEGORIES: [(&str, u32); 10] =
    [("HT", 18), ("CS", 12), ("MT", 26), ("TN", 10), ("TT", 12), ("GT", 8), ("CX", 5), ("TO", 4), ("DV", 2), ("TH", 3)];
/// A ward of the city is this much busier than a commune of its size.
const WARD_WEIGHT: u32 = 3;
/// The longest pause of an officer between two steps.
const MAX_PAUSE: Duration = Duration::from_secs(15);
/// One report in so many stays where it is for the day, at each step.
const LEFT_LYING: u32 = 8;
/// Officers sign in anew before their access token expires.
const SHIFT: Duration = Duration::from_secs(480);
/// Of a hundred reporters who see a result: satisfied, acceptable, dissatisfied; the rest say nothing.
const RATINGS: [(&str, u32); 3] = [("satisfied", 45), ("acceptable", 15), ("dissatisfied", 8)];

/// Those who report and those who handle it.
pub(super) struct Desk {
    world: World,
    data_dir: PathBuf,
    lands: Lands,
    officers: Mutex<Officers>,
}

/// Where people report from.
#[derive(Clone, Debug, Deserialize)]
struct Ward {
    kind: String,
    legacy_ward_count: u32,
    label_lon: f64,
    label_lat: f64,
}

#[derive(Default)]
struct Officers {
    admin: Option<Seat>,
    centre: Option<Seat>,
    agencies: HashMap<String, Seat>,
}

/// An officer and since when their token is good.
struct Seat {
    person: Person,
    since: Instant,
}

impl Seat {
    fn new(person: Person) -> Self {
        Self { person, since: Instant::now() }
    }

    /// The officer, signed in.
    async fn taken(&mut self) -> anyhow::Result<Person> {
        if self.since.elapsed() > SHIFT {
            *self = Self::new(self.person.renewed().await?);
        }
        Ok(self.person.clone())
    }
}

/// Where people report from, and what the forms must know.
pub(super) struct Lands {
    wards: Vec<Ward>,
    forms: HashMap<String, Value>,
}

impl Lands {
    /// Those of the city.
    ///
    /// # Errors
    /// When its wards or forms can't be read.
    pub(super) async fn read(world: &World, city: &Path) -> anyhow::Result<Self> {
        let wards = read_csv(&city.join("wards.csv")).map_err(|fault| anyhow::anyhow!("{fault}"))?;
        let wards = wards.into_iter().map(|(_, ward)| ward).collect();
        let categories = world.get("/reports/v1/categories").await?.expect(200)?;
        let items = categories["items"].as_array().context("items")?;
        let forms = items.iter().filter_map(|item| Some((item["code"].as_str()?.to_owned(), answers(item)))).collect();
        Ok(Self { wards, forms })
    }
}

impl Desk {
    /// A desk with nobody at it yet.
    pub(super) fn open(world: &World, lands: Lands, data_dir: &Path) -> Arc<Self> {
        let (world, data_dir) = (world.clone(), data_dir.to_owned());
        Arc::new(Self { world, data_dir, lands, officers: Mutex::default() })
    }

    /// One report and what comes of it.
    pub(super) async fn tell(&self, citizen: &Person) -> anyhow::Result<()> {
        let (code, _) = CATEGORIES.choose_weighted(&mut rand::rng(), |(_, weight)| *weight)?;
        let weight = |ward: &Ward| ward.legacy_ward_count * if ward.kind == "ward" { WARD_WEIGHT } else { 1 };
        let ward = self.lands.wards.choose_weighted(&mut rand::rng(), weight)?;
        let body = json!({
            "category": code, "text": format!("Phản ánh số {:05}", rand::random_range(0..100_000_u32)),
            "attributes": self.lands.forms.get(*code).cloned().unwrap_or_else(|| json!({})),
            "position": { "lat": ward.label_lat, "lon": ward.label_lon },
        });
        let filed = citizen.post("/reports/v1/reports", &body).await?;
        if filed.body["code"] == "too-many-reports" {
            // This citizen has told enough for today.
            return Ok(());
        }
        let report = filed.expect(201)?["id"].as_str().context("id")?.to_owned();
        self.handle(&report).await?;
        let chance = rand::random_range(0..100_u32);
        let mut below = 0;
        let rating = RATINGS.iter().find(|(_, share)| {
            below += share;
            chance < below
        });
        if let Some((rating, _)) = rating
            && let seen = citizen.get(&path(&report)).await?.expect(200)?
            && seen["state"] == "published"
        {
            let body = json!({ "rating": rating, "version": seen["version"] });
            citizen.post(&format!("{}/ratings", path(&report)), &body).await?.expect(201)?;
        }
        Ok(())
    }

    /// Officers bring a report to its published result, unless it is left lying.
    async fn handle(&self, report: &str) -> anyhow::Result<()> {
        let centre = self.centre().await?;
        if !taken_up().await {
            return Ok(());
        }
        act(&centre, report, json!({ "action": "claim" })).await?;
        let seen = centre.get(&path(report)).await?.expect(200)?;
        // Where no rule proposes an agency, the operators still look for one.
        let Some(agency) = seen["proposed_agency"].as_str() else { return Ok(()) };
        let officer = self.officer_of(agency).await?;
        act(&centre, report, json!({ "action": "distribute", "lead_agency": agency })).await?;
        if !taken_up().await {
            return Ok(());
        }
        act(&officer, report, json!({ "action": "accept" })).await?;
        if !taken_up().await {
            return Ok(());
        }
        officer.send_photo(&path(report), EVIDENCE).await?;
        act(&officer, report, json!({ "action": "submit-result", "text": "Đã xử lý xong" })).await?;
        if taken_up().await {
            act(&centre, report, json!({ "action": "approve" })).await?;
        }
        Ok(())
    }

    /// The operator of the centre, appointed when first needed.
    async fn centre(&self) -> anyhow::Result<Person> {
        let mut officers = self.officers.lock().await;
        if officers.centre.is_none() {
            let person = self.appoint(&mut officers, "ioc.operator").await?;
            officers.centre = Some(Seat::new(person));
        }
        officers.centre.as_mut().context("the seat was just taken")?.taken().await
    }

    /// An agency's officer, appointed when first needed.
    async fn officer_of(&self, agency: &str) -> anyhow::Result<Person> {
        let mut officers = self.officers.lock().await;
        if !officers.agencies.contains_key(agency) {
            let person = self.appoint(&mut officers, &format!("agency.officer:{agency}")).await?;
            officers.agencies.insert(agency.to_owned(), Seat::new(person));
        }
        officers.agencies.get_mut(agency).context("the seat was just taken")?.taken().await
    }

    /// The admin, made on the machine when first needed.
    pub(super) async fn admin(&self) -> anyhow::Result<Person> {
        self.admin_of(&mut *self.officers.lock().await).await
    }

    async fn admin_of(&self, officers: &mut Officers) -> anyhow::Result<Person> {
        if officers.admin.is_none() {
            let (person, id) = self.newcomer().await?;
            let reason = "demo traffic".parse().map_err(|error| anyhow::anyhow!("a reason: {error}"))?;
            admin::grant_role(&Place::running_in(&self.data_dir), (id, RoleKind::Admin, None), reason).await?;
            officers.admin = Some(Seat::new(person));
        }
        officers.admin.as_mut().context("the seat was just taken")?.taken().await
    }

    async fn appoint(&self, officers: &mut Officers, role: &str) -> anyhow::Result<Person> {
        let admin = self.admin_of(officers).await?;
        let (person, id) = self.newcomer().await?;
        let reason = json!({ "reason": "demo traffic" });
        admin.put(&format!("/identity/v1/officers/{id}/roles/{role}"), &reason).await?.expect(201)?;
        person.renewed().await
    }

    async fn newcomer(&self) -> anyhow::Result<(Person, Uuid)> {
        let person = self.world.sign_up().await?;
        let id = person.id().await?;
        Ok((person, id))
    }
}

/// Answers to what a category's form must know: the first choice, a small number, yes.
fn answers(category: &Value) -> Value {
    let asked = category["attributes"].as_array().into_iter().flatten().filter(|asked| asked["required"] == true);
    let answer = |asked: &Value| match asked["kind"].as_str() {
        Some("choice") => asked["choices"][0]["code"].clone(),
        Some("number") => json!(1),
        Some("flag") => json!(true),
        _ => json!("…"),
    };
    asked
        .filter_map(|asked| Some((asked["code"].as_str()?.to_owned(), answer(asked))))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// Waits as an officer would; `false` when the report is left lying.
async fn taken_up() -> bool {
    tokio::time::sleep(MAX_PAUSE.mul_f64(rand::random::<f64>())).await;
    rand::random_range(0..LEFT_LYING) > 0
}

async fn act(officer: &Person, report: &str, mut action: Value) -> anyhow::Result<()> {
    let now = officer.get(&path(report)).await?.expect(200)?;
    action["version"] = now["version"].clone();
    officer.post(&format!("{}/transitions", path(report)), &action).await?.expect(201).map(|_| ())
}

fn path(report: &str) -> String {
    format!("/reports/v1/reports/{report}")
}
