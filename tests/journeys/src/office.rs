//! Field reports as a citizen, agencies and a supervisor handle them, at random.

use anyhow::{Context as _, Result};
use harness::{Citizen, City, Visitor, eventually};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::dice::Dice;
use crate::picture::with_words;

const AGENCIES: [&str; 2] = ["HEPCO", "HUEWACO"];
const CATEGORIES: [&str; 3] = ["TT", "TO", "MT"];
const PLACES: [(f64, f64); 3] = [(16.479631, 107.574292), (16.454228, 107.583011), (16.4637, 107.5909)];
/// What every report says.
pub const TEXT: &str = "Vỉa hè bị chiếm";
/// What the reporter's picture says without showing it.
pub const IN_PICTURE: &str = "GPS 16.479631 N, may cua nha rieng";
const EVIDENCE: &[u8] = include_bytes!("../../../services/trangtien/src/walkthrough/evidence.png");

/// Those who send and handle reports. Whatever may pass is asked again: servers and roles may die meanwhile.
#[derive(Debug)]
pub struct Office {
    /// Who sends them.
    pub citizen: Citizen,
    /// Who verifies, distributes and publishes.
    pub supervisor: Citizen,
    /// One officer of each of a few agencies.
    pub agencies: Vec<Citizen>,
}

impl Office {
    /// Signs everybody in and appoints the officers.
    ///
    /// # Errors
    /// When a step does not hold.
    pub async fn open(city: &City) -> Result<Self> {
        let visitor = city.visitor()?;
        let citizen = visitor.sign_up().await?;
        let supervisor = officer(city, &visitor, ("ioc.lead", None)).await?;
        let mut agencies = Vec::new();
        for agency in AGENCIES {
            agencies.push(officer(city, &visitor, ("agency.officer", Some(agency))).await?);
        }
        Ok(Self { citizen, supervisor, agencies })
    }

    /// Everybody, the reporter too.
    pub fn everybody(&mut self) -> impl Iterator<Item = &mut Citizen> {
        [&mut self.citizen, &mut self.supervisor].into_iter().chain(&mut self.agencies)
    }

    /// Sends a report of something somewhere, every other one with a photo; gives its id.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn submit(&self, dice: &mut Dice) -> Result<String> {
        let (category, (lat, lon)) = (dice.of(&CATEGORIES), dice.of(&PLACES));
        let mut body = json!({"category": category, "text": TEXT, "position": {"lat": lat, "lon": lon}});
        if dice.below(6) == 0 {
            // No position: the ward stays unknown.
            body["address"] = json!("12 Lê Lợi");
            body.as_object_mut().context("an object")?.remove("position");
        }
        let filed = self.citizen.insist("/reports/v1/reports", &body).await?.expect(201)?;
        let report = filed["id"].as_str().context("id")?.to_owned();
        if dice.below(2) == 0 {
            let picture = with_words(EVIDENCE, IN_PICTURE);
            self.citizen.send_photo(&format!("/reports/v1/reports/{report}"), &picture).await?;
        }
        Ok(report)
    }

    /// Does one thing to a report that may be done to it; `false` when nothing is.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn step(&self, report: &str, dice: &mut Dice) -> Result<bool> {
        let path = format!("/reports/v1/reports/{report}");
        let seen =
            eventually("the report", || async { self.supervisor.get(&path).await?.expect(200).map(Some) }).await?;
        let version = seen["version"].clone();
        let lead = AGENCIES.iter().position(|agency| seen["lead_agency"] == *agency);
        let officer = lead.map_or(&self.supervisor, |index| &self.agencies[index]);
        let reason = "Cần xem lại";
        let (who, mut action) = match seen["state"].as_str().context("state")? {
            "received" => (&self.supervisor, json!({"action": "claim"})),
            "verifying" => match dice.below(8) {
                0 => (&self.supervisor, json!({"action": "reject", "reason": reason})),
                1 => (&self.supervisor, json!({"action": "ask", "question": "Ở đâu?"})),
                _ => (&self.supervisor, json!({"action": "distribute", "lead_agency": dice.of(&AGENCIES)})),
            },
            "needs-info" => return self.say(&path, "answers", json!({"version": version, "text": "Đầu đường"})).await,
            "distributed" if dice.below(4) == 0 => (officer, json!({"action": "return", "reason": reason})),
            "distributed" => (officer, json!({"action": "accept"})),
            "in-progress" => {
                officer.send_photo(&path, EVIDENCE).await?;
                (officer, json!({"action": "submit-result", "text": "Đã xong"}))
            }
            "result-submitted" if dice.below(4) == 0 => {
                (&self.supervisor, json!({"action": "send-back", "reason": reason}))
            }
            "result-submitted" => (&self.supervisor, json!({"action": "approve"})),
            "published" => match dice.below(3) {
                0 => return Ok(false),
                1 => return self.say(&path, "reopenings", json!({"version": version, "reason": reason})).await,
                _ => {
                    let rating = dice.of(&["satisfied", "acceptable", "dissatisfied"]);
                    return self.say(&path, "ratings", json!({"version": version, "rating": rating})).await;
                }
            },
            _ => return Ok(false),
        };
        action["version"] = version;
        who.insist(&format!("{path}/transitions"), &action).await?.expect(201)?;
        Ok(true)
    }

    async fn say(&self, path: &str, what: &str, body: Value) -> Result<bool> {
        self.citizen.insist(&format!("{path}/{what}"), &body).await?.expect(201)?;
        Ok(true)
    }
}

/// Somebody who holds a role, at an agency or in the city.
///
/// # Errors
/// When they can't sign in.
pub async fn officer(city: &City, visitor: &Visitor, (role, agency): (&str, Option<&str>)) -> Result<Citizen> {
    let mut officer = visitor.sign_up().await?;
    sqlx::query(
        "INSERT INTO identity.role_grant (id, user_id, role, agency, granted_at) VALUES ($1, $2, $3, $4, now())",
    )
    .bind(Uuid::now_v7())
    .bind(officer.user)
    .bind(role)
    .bind(agency)
    .execute(&city.admin())
    .await?;
    officer.refresh().await?;
    Ok(officer)
}
