//! The field report: a citizen tells of a hole in the road, the operations centre hands it on, an agency mends it, everybody sees.
//!
//! The first admin is made on the city's own machine, as `trangtien admin grant-role` does it; everything else is
//! public HTTP. Where the city runs elsewhere, the officers' part is left out and said so.

use std::path::Path;

use anyhow::{Context as _, ensure};
use identity::officer::RoleKind;
use serde_json::{Value, json};
use uuid::Uuid;

use super::person::items;
use super::script::Script;
use super::{Person, World, eventually, text};
use crate::admin;
use crate::database::Place;

/// A place in the middle of the city, and what is wrong there.
pub(super) const PLACE: (f64, f64) = (16.454_228, 107.583_011);
const WORDS: &str = "Ổ gà sâu trước cổng trường, xe máy dễ ngã";
const DONE: &str = "Đã vá mặt đường";
/// What an agency shows as evidence: a picture of 8 × 8 pixels.
pub(crate) const EVIDENCE: &[u8] = include_bytes!("evidence.png");

/// Those who handle reports.
pub(super) struct Officers {
    pub(super) centre: Person,
    pub(super) agency: Person,
}

/// A report from the citizen's phone to the rated result.
pub(super) async fn from_hole_to_road(
    script: &mut Script,
    citizen: &Person,
    data_dir: Option<&Path>,
) -> anyhow::Result<()> {
    let world = &citizen.world;
    script.chapter("A field report");
    let report = reported(script, citizen).await?;
    let Some(data_dir) = data_dir else {
        script.note("What officers do with it is shown by a walkthrough on the city's own machine (--data-dir).");
        return Ok(());
    };
    let officers = appointed(script, world, data_dir, &report).await?;
    handled(script, &officers, &report).await?;
    seen(script, citizen, &report).await
}

/// The citizen looks where they stand and sends the report.
async fn reported(script: &mut Script, citizen: &Person) -> anyhow::Result<String> {
    let (world, (lat, lon)) = (&citizen.world, PLACE);
    script
        .step("the citizen's app finds the ward", async {
            let place = world.get(&format!("/reports/v1/locate?lat={lat}&lon={lon}")).await?.expect(200)?;
            Ok(((), vec![place["ward"].to_string()]))
        })
        .await?;
    let report = script
        .step("the citizen reports a hole in the road", async {
            let body = json!({
                "category": "HT", "text": WORDS, "attributes": { "damage": "pothole", "depth_cm": 30 },
                "position": { "lat": lat, "lon": lon },
            });
            let key = Uuid::new_v4().to_string();
            let filed = citizen.post_as("/reports/v1/reports", &body, &key).await?.expect(201)?;
            let again = citizen.post_as("/reports/v1/reports", &body, &key).await?.expect(201)?;
            ensure!(again["id"] == filed["id"], "an app that sends it again has made one report");
            let lines = vec![format!("201 {} {}, ward {}", filed["id"], filed["state"], filed["ward"]["name"])];
            Ok((text(&filed, "/id")?.to_owned(), lines))
        })
        .await?;
    script
        .step("nobody else sees it before it was looked at", async {
            let refusal = world.get(&path(&report)).await?.refused()?;
            Ok(((), vec![refusal]))
        })
        .await?;
    Ok(report)
}

/// An admin is made on the machine and appoints the others.
async fn appointed(script: &mut Script, world: &World, data_dir: &Path, report: &str) -> anyhow::Result<Officers> {
    let admin = script
        .step("the city's first admin is appointed on its machine", async {
            let (admin, id) = somebody(world).await?;
            let place = Place::running_in(data_dir);
            let reason = "walkthrough".parse().map_err(|error| anyhow::anyhow!("a reason: {error}"))?;
            admin::grant_role(&place, (id, RoleKind::Admin, None), reason).await?;
            let lines = vec![format!("{id}, on record in the audit")];
            Ok((admin, lines))
        })
        .await?;
    script
        .step("the admin appoints an operator of the centre and an officer of the agency", async {
            let appoint = async |role: String| {
                let (person, id) = somebody(world).await?;
                let post = format!("/identity/v1/officers/{id}/roles/{role}");
                admin.put(&post, &json!({ "reason": "walkthrough" })).await?.expect(201)?;
                person.renewed().await
            };
            let centre = appoint("ioc.operator".to_owned()).await?;
            let seen = centre.get(&path(report)).await?.expect(200)?;
            let proposed = text(&seen, "/proposed_agency").context("a rule proposes an agency")?.to_owned();
            let agency = appoint(format!("agency.officer:{proposed}")).await?;
            Ok((Officers { centre, agency }, vec![format!("agency {proposed}, proposed by the rules")]))
        })
        .await
}

/// The centre hands it on, the agency does it and shows evidence, the centre approves.
pub(super) async fn handled(script: &mut Script, officers: &Officers, report: &str) -> anyhow::Result<()> {
    let Officers { centre, agency } = officers;
    script
        .step("the centre takes it up and hands it on", async {
            act(centre, report, json!({ "action": "claim" })).await?;
            let seen = centre.get(&path(report)).await?.expect(200)?;
            let given = json!({ "action": "distribute", "lead_agency": seen["proposed_agency"] });
            let moved = act(centre, report, given).await?;
            Ok(((), vec![format!("{}, due {}", moved["state"], moved["due_at"])]))
        })
        .await?;
    script
        .step("the agency accepts it, and a result without evidence is refused", async {
            act(agency, report, json!({ "action": "accept" })).await?;
            let refusal =
                try_to(agency, report, json!({ "action": "submit-result", "text": DONE })).await?.refused()?;
            Ok(((), vec![refusal]))
        })
        .await?;
    script
        .step("the agency shows the mended road", async {
            let photo = agency.send_photo(&path(report), EVIDENCE).await?;
            let moved = act(agency, report, json!({ "action": "submit-result", "text": DONE })).await?;
            Ok((
                (),
                vec![
                    format!("photo {}, re-encoded without what else a camera writes", photo["id"]),
                    moved["state"].to_string(),
                ],
            ))
        })
        .await?;
    script
        .step("the centre approves the result", async {
            let moved = act(centre, report, json!({ "action": "approve" })).await?;
            Ok(((), vec![moved["state"].to_string()]))
        })
        .await
}

/// Everybody sees the result and nobody the reporter, who hears of it and rates it.
async fn seen(script: &mut Script, citizen: &Person, report: &str) -> anyhow::Result<()> {
    let world = &citizen.world;
    script
        .step("everybody sees the result, and nothing of the reporter", async {
            let public = world.get(&path(report)).await?.expect(200)?;
            ensure!(public["result"] == DONE, "the result is public: {public}");
            ensure!(public.get("reporter").is_none_or(Value::is_null), "the reporter is not: {public}");
            let ((lat, lon), near) = (PLACE, 0.01);
            let bounds = format!("{},{},{},{}", lon - near, lat - near, lon + near, lat + near);
            let map = world.get(&format!("/reports/v1/map.geojson?bbox={bounds}")).await?.expect(200)?;
            let features = map["features"].as_array().map_or(0, Vec::len);
            ensure!(features > 0, "it is on the map");
            Ok(((), vec![format!("{features} on the map around it")]))
        })
        .await?;
    script
        .step("the citizen hears of it in the app", async {
            let said = eventually("the messages of the report", || async {
                let inbox = citizen.get("/notifications/v1/inbox").await?.expect(200)?;
                let mine = items(&inbox).iter().filter(|item| item.to_string().contains(report));
                let titles: Vec<String> = mine.filter_map(|item| item["title"].as_str().map(str::to_owned)).collect();
                Ok((titles.len() >= 3).then_some(titles))
            })
            .await?;
            Ok(((), said))
        })
        .await?;
    script
        .step("the citizen rates it, and the history holds", async {
            let now = citizen.get(&path(report)).await?.expect(200)?;
            let body = json!({ "rating": "satisfied", "version": now["version"] });
            let rated = citizen.post(&format!("{}/ratings", path(report)), &body).await?.expect(201)?;
            let timeline = world.get(&format!("{}/timeline", path(report))).await?.expect(200)?;
            ensure!(timeline["chain_holds"] == true, "every step is chained to the one before: {timeline}");
            Ok(((), vec![format!("{}, {} steps", rated["state"], items(&timeline).len())]))
        })
        .await
}

fn path(report: &str) -> String {
    format!("/reports/v1/reports/{report}")
}

/// Somebody new who signs in, and their id.
async fn somebody(world: &World) -> anyhow::Result<(Person, Uuid)> {
    let person = world.sign_up().await?;
    let id = person.id().await?;
    Ok((person, id))
}

/// Does something to a report at its present version.
async fn try_to(officer: &Person, report: &str, mut action: Value) -> anyhow::Result<super::Answer> {
    let now = officer.get(&path(report)).await?.expect(200)?;
    action["version"] = now["version"].clone();
    officer.post(&format!("{}/transitions", path(report)), &action).await
}

async fn act(officer: &Person, report: &str, action: Value) -> anyhow::Result<Value> {
    try_to(officer, report, action).await?.expect(201)
}
