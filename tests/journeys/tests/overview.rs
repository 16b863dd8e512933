//! What the operations centre says of field reports is what the reports' own tables say at the same position, after a random stretch of days.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use chrono::TimeDelta;
use harness::{Citizen, City, eventually};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

const REPORTS: usize = 24;
/// The most that is done to one report.
const MOST_STEPS: u64 = 9;
const AGENCIES: [&str; 2] = ["HEPCO", "HUEWACO"];
const CATEGORIES: [&str; 3] = ["TT", "TO", "MT"];
const PLACES: [(f64, f64); 3] = [(16.479631, 107.574292), (16.454228, 107.583011), (16.4637, 107.5909)];
const EVIDENCE: &[u8] = include_bytes!("../../../services/trangtien/src/walkthrough/evidence.png");

/// A sequence of numbers that a seed repeats.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.below(all.len() as u64)).expect("few")]
    }
}

/// Those who send and handle reports.
struct People {
    citizen: Citizen,
    supervisor: Citizen,
    agencies: Vec<Citizen>,
}

impl People {
    async fn arrive(city: &City) -> Result<Self> {
        let visitor = city.visitor()?;
        let (citizen, supervisor) = (visitor.sign_up().await?, visitor.sign_up().await?);
        sqlx::query(
            "INSERT INTO reports.officer (user_id, role, agency, appointed_at) VALUES ($1, 'supervisor', NULL, now())",
        )
        .bind(supervisor.user)
        .execute(&city.admin())
        .await?;
        let mut agencies = Vec::new();
        for agency in AGENCIES {
            let officer = visitor.sign_up().await?;
            let role = json!({"role": "agency", "agency": agency});
            supervisor.put(&format!("/reports/v1/officers/{}", officer.user), &role).await?.expect(204)?;
            agencies.push(officer);
        }
        Ok(Self { citizen, supervisor, agencies })
    }

    async fn submit(&self, dice: &mut Dice) -> Result<String> {
        let (category, (lat, lon)) = (dice.of(&CATEGORIES), dice.of(&PLACES));
        let mut body = json!({"category": category, "text": "Vỉa hè bị chiếm", "position": {"lat": lat, "lon": lon}});
        if dice.below(6) == 0 {
            // No position: the ward stays unknown.
            body["address"] = json!("12 Lê Lợi");
            body.as_object_mut().context("an object")?.remove("position");
        }
        let filed = self.citizen.post("/reports/v1/reports", &body).await?.expect(201)?;
        Ok(filed["id"].as_str().context("id")?.to_owned())
    }

    /// Does one thing to a report that may be done to it; `false` when nothing is.
    async fn step(&self, report: &str, dice: &mut Dice) -> Result<bool> {
        let path = format!("/reports/v1/reports/{report}");
        let seen = self.supervisor.get(&path).await?.expect(200)?;
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
                show_evidence(officer, &path).await?;
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
        who.post(&format!("{path}/transitions"), &action).await?.expect(201)?;
        Ok(true)
    }

    async fn say(&self, path: &str, what: &str, body: Value) -> Result<bool> {
        self.citizen.post(&format!("{path}/{what}"), &body).await?.expect(201)?;
        Ok(true)
    }
}

async fn show_evidence(officer: &Citizen, path: &str) -> Result<()> {
    let request = officer.visitor.request(Method::POST, &format!("{path}/photos"))?.bearer_auth(&officer.token);
    let request = request.header("content-type", "image/png").header("idempotency-key", Uuid::new_v4().to_string());
    let status = request.body(EVIDENCE).send().await?.status();
    ensure!(status == 201, "the photo: {status}");
    Ok(())
}

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
async fn agrees(city: &City) -> Result<()> {
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

/// Those whose limit has run out, by the tables: due, and waiting for an office.
async fn overdue_agrees(city: &City) -> Result<()> {
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

#[tokio::test]
async fn the_overview_of_reports_equals_their_tables_after_a_random_stretch_of_days() -> Result<()> {
    let seed = u64::from_be_bytes(Uuid::new_v4().into_bytes()[..8].try_into()?);
    eprintln!("seed {seed}");
    let mut dice = Dice(seed);
    let city = City::all_in_one().await?;
    let people = People::arrive(&city).await?;
    for number in 0..REPORTS {
        let report = people.submit(&mut dice).await?;
        for _ in 0..dice.below(MOST_STEPS + 1) {
            if !people.step(&report, &mut dice).await? {
                break;
            }
        }
        if number == REPORTS / 2 {
            city.wipe_redis().await?;
        }
    }
    agrees(&city).await?;
    // Limits run out, and results that nobody rated are closed.
    city.advance(TimeDelta::days(16)).await?;
    agrees(&city).await?;
    overdue_agrees(&city).await?;
    city.finish().await
}
