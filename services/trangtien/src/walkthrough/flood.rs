//! The flood night: the rivers of October 2025 rise once more, as an exercise, and the city warns its people.
//!
//! Gauges send the readings of [`READINGS`] as OGC SensorThings; each crossing of alarm 3 drafts a warning that one officer adopts and
//! another releases; citizens of the river's wards get it, those of other wards do not; a report comes in from the water and is handled;
//! at the end the warnings are ended and the alarms closed. Officers are appointed on the city's own machine, where the gauges' secret
//! lies too; everything else is public HTTP.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use chrono::{DateTime, FixedOffset};
use identity::officer::RoleKind;
use platform::config::Secret;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::person::items;
use super::report::{self, Officers};
use super::script::Script;
use super::{Answer, Person, World, eventually, text};
use crate::admin;
use crate::database::Place;
use crate::folder::secrets_of_running;
use crate::up::settings::SENSOR_CLIENT;

/// What the rivers did: `station,at,level_m,source`, in order of time.
const READINGS: &str = include_str!("flood-2025.csv");
/// The wards of the citizens: at the one river, at the other, and in the mountains.
const KIM_LONG: &str = "19774";
const PHONG_THAI: &str = "19858";
const INLAND: &str = "20161";
/// Where the water stands in the street.
const STREET: (f64, f64) = (16.458, 107.559);
/// What is measured, by the words of the standard.
const MEASUREMENT: &str = "http://www.opengis.net/def/observationType/OGC-OM/2.0/OM_Measurement";
const SECONDS_OF_A_DAY: f64 = 86_400.0;

/// A reading of the past.
#[derive(Clone, Debug, PartialEq)]
struct Reading {
    station: &'static str,
    at: DateTime<FixedOffset>,
    level_m: f64,
}

/// Those who act.
struct Cast {
    /// Sends readings.
    secret: Secret,
    operator: Person,
    lead: Person,
    agency: Person,
    /// Citizens by ward.
    citizens: BTreeMap<&'static str, Person>,
}

/// What has happened so far.
#[derive(Default)]
struct Story {
    /// The datastream of each station.
    gauges: BTreeMap<&'static str, i64>,
    /// The open alarm of each station and its level.
    alarms: BTreeMap<&'static str, (String, u64)>,
    /// The warning in force of each station.
    warnings: BTreeMap<&'static str, String>,
}

/// Replays the flood: a day of it in `day` of the clock.
///
/// # Errors
/// The first step that does not hold.
pub(super) async fn night(
    script: &mut Script,
    world: &World,
    (data_dir, day): (&Path, Duration),
) -> anyhow::Result<()> {
    let cast = gather(script, world, data_dir).await?;
    let mut story = Story::default();
    script.chapter("The gauges");
    let readings = readings()?;
    for reading in &readings {
        if !story.gauges.contains_key(reading.station) {
            let id = register(script, world, (&cast.secret, reading.station)).await?;
            story.gauges.insert(reading.station, id);
        }
    }
    script.chapter("The rivers rise");
    let (start, first) = (Instant::now(), readings.first().context("there are readings")?.at);
    for reading in &readings {
        #[expect(clippy::cast_precision_loss, reason = "a flood lasts some days")]
        let days = (reading.at - first).num_seconds() as f64 / SECONDS_OF_A_DAY;
        tokio::time::sleep_until((start + day.mul_f64(days)).into()).await;
        measure(script, world, (&cast, reading), &mut story).await?;
    }
    ends(script, &cast, &story).await
}

fn readings() -> anyhow::Result<Vec<Reading>> {
    let lines = READINGS.lines().filter(|line| !line.starts_with('#')).skip(1);
    let read = |line: &'static str| {
        let mut fields = line.split(',');
        let mut field = || fields.next().with_context(|| format!("`{line}` is too short"));
        Ok(Reading { station: field()?, at: field()?.parse()?, level_m: field()?.parse()? })
    };
    lines.map(read).collect()
}

async fn gather(script: &mut Script, world: &World, data_dir: &Path) -> anyhow::Result<Cast> {
    script.chapter("Who is there");
    let citizens = script
        .step("three citizens say which ward is theirs", async {
            let mut citizens = BTreeMap::new();
            for ward in [KIM_LONG, PHONG_THAI, INLAND] {
                let person = world.sign_up().await?;
                person.put("/notifications/v1/wards", &json!({ "codes": [ward] })).await?.expect(200)?;
                let device =
                    json!({ "token": format!("flood-{}", Uuid::new_v4()), "platform": "fcm", "name": "Walkthrough" });
                person.post("/notifications/v1/devices", &device).await?.expect(201)?;
                citizens.insert(ward, person);
            }
            Ok((
                citizens,
                vec![format!("{KIM_LONG} at the Perfume River, {PHONG_THAI} at the Bo, {INLAND} in the mountains")],
            ))
        })
        .await?;
    let place = Place::running_in(data_dir);
    let appoint = async |role: RoleKind, agency: Option<&str>| {
        let person = world.sign_up().await?;
        let reason = "flood exercise".parse().map_err(|error| anyhow::anyhow!("a reason: {error}"))?;
        admin::grant_role(&place, (person.id().await?, role, agency), reason).await?;
        person.renewed().await
    };
    let (operator, lead, agency) = script
        .step("an operator, a lead and an officer of the waterworks are appointed on the city's machine", async {
            let operator = appoint(RoleKind::IocOperator, None).await?;
            let lead = appoint(RoleKind::IocLead, None).await?;
            let agency = appoint(RoleKind::AgencyOfficer, Some("HUEWACO")).await?;
            Ok(((operator, lead, agency), vec!["on record in the audit".to_owned()]))
        })
        .await?;
    let secret = secrets_of_running(data_dir)?.sensors;
    Ok(Cast { secret, operator, lead, agency, citizens })
}

/// Sends something as the gauges do.
async fn send(world: &World, secret: &Secret, (path, body): (&str, &Value)) -> anyhow::Result<Answer> {
    let request = world.request(Method::POST, &format!("/sta/v1.1{path}"))?;
    super::person::send(request.basic_auth(SENSOR_CLIENT, Some(secret.expose())).json(body)).await
}

async fn register(
    script: &mut Script,
    world: &World,
    (secret, station): (&Secret, &'static str),
) -> anyhow::Result<i64> {
    script
        .step(&format!("the gauge at {station} registers, marked as an exercise"), async {
            let body = json!({
                "name": format!("Exercise gauge {station}"), "description": "Replays the flood of October 2025",
                "Datastreams": [{
                    "name": format!("Water level {station}"), "description": "Metres above the gauge's zero",
                    "observationType": MEASUREMENT,
                    "unitOfMeasurement": { "name": "metre", "symbol": "m", "definition": "http://unitsofmeasure.org/ucum.html#para-30" },
                    "properties": { "station": station, "exercise": true },
                    "Sensor": { "name": "Replay", "description": "", "encodingType": "text/html", "metadata": "trangtien walkthrough" },
                    "ObservedProperty": { "name": "Water level", "definition": "http://vocab.nerc.ac.uk/standard_name/water_surface_height_above_reference_datum/", "description": "" },
                }],
            });
            let thing = send(world, secret, ("/Things", &body)).await?.expect(201)?;
            let request = world.request(Method::GET, &format!("/sta/v1.1/Things({})/Datastreams", thing["@iot.id"]))?;
            let streams = super::person::send(request.basic_auth(SENSOR_CLIENT, Some(secret.expose()))).await?.expect(200)?;
            let id = streams["value"][0]["@iot.id"].as_i64().context("a datastream")?;
            Ok((id, vec![format!("201 {}, datastream {id}", thing["@iot.selfLink"])]))
        })
        .await
}

/// A reading comes in; where the river crosses alarm 3, the city warns.
async fn measure(
    script: &mut Script,
    world: &World,
    (cast, reading): (&Cast, &Reading),
    story: &mut Story,
) -> anyhow::Result<()> {
    let (station, gauge) = (reading.station, story.gauges[reading.station]);
    let before = story.alarms.get(station).cloned();
    let what = format!("{} {station} {:.2} m", reading.at.format("%d/%m %H:%M"), reading.level_m);
    let (id, level) = script
        .step(&what, async {
            let body = json!({ "phenomenonTime": reading.at, "result": reading.level_m });
            let path = format!("/Datastreams({gauge})/Observations");
            let made = send(world, &cast.secret, (&path, &body)).await?.expect(201)?;
            ensure!(made["resultQuality"] == "good", "the river did that: {made}");
            let overview = cast.operator.get("/ioc/v1/overview").await?.expect(200)?;
            let alarms = overview["alarms"].as_array().into_iter().flatten();
            let measured = |alarm: &&Value| {
                let at = alarm["measured_at"].as_str().and_then(|at| DateTime::parse_from_rfc3339(at).ok());
                alarm["station"] == station && alarm["exercise"] == true && at == Some(reading.at)
            };
            let known = before.as_ref().map(|(id, _)| id.as_str());
            let alarm = alarms.filter(measured).find(|alarm| known.is_none_or(|known| alarm["id"] == known));
            let alarm = alarm.with_context(|| format!("the wall shows the alarm: {}", overview["alarms"]))?;
            let level = alarm["level"].as_u64().context("level")?;
            let line = format!("alarm {level} (báo động), {}", alarm["state"].as_str().unwrap_or_default());
            Ok(((text(alarm, "/id")?.to_owned(), level), vec![line]))
        })
        .await?;
    let rose = level == 3 && before.is_none_or(|(_, before)| before < 3);
    story.alarms.insert(station, (id.clone(), level));
    if rose {
        let first = story.warnings.is_empty();
        let warning = warn(script, world, (cast, station), &id).await?;
        arrives(script, (cast, station), &warning).await?;
        story.warnings.insert(station, text(&warning, "/id")?.to_owned());
        if first {
            flooded_street(script, cast).await?;
        }
    }
    Ok(())
}

/// An alarm at level 3 is seen, and its draft adopted and released by two officers; gives the warning.
async fn warn(
    script: &mut Script,
    world: &World,
    (cast, station): (&Cast, &str),
    alarm: &str,
) -> anyhow::Result<Value> {
    let Cast { operator, lead, .. } = cast;
    script
        .step("the operator acknowledges the alarm on the wall", async {
            let path = format!("/ioc/v1/alarms/{alarm}/acknowledge");
            let seen = operator.post(&path, &json!({ "note": "Trực ban đã thấy" })).await?.expect(200)?;
            ensure!(seen["state"] == "acknowledged", "it is: {seen}");
            Ok(((), vec![format!("{} {} m", seen["station_name"], seen["value_m"])]))
        })
        .await?;
    let draft = script
        .step("the alarm has drafted a warning, which nobody may release yet", async {
            let draft = eventually("the draft", || async {
                let list = operator.get("/notifications/v1/alerts").await?.expect(200)?;
                let of_alarm = |alert: &&Value| alert["origin_reference"] == alarm && alert["state"] == "drafted";
                Ok(items(&list).iter().find(of_alarm).cloned())
            })
            .await?;
            let path = format!("/notifications/v1/alerts/{}/release", text(&draft, "/id")?);
            let refusal = lead.post(&path, &json!({ "revision": draft["revision"] })).await?.refused()?;
            Ok((draft.clone(), vec![draft["content"]["headline"]["vi"].to_string(), refusal]))
        })
        .await?;
    let path = format!("/notifications/v1/alerts/{}", text(&draft, "/id")?);
    let released = script
        .step("the operator adopts it and the lead releases it", async {
            let adopted = operator.post(&format!("{path}/adopt"), &json!({})).await?.expect(200)?;
            let read = json!({ "revision": adopted["revision"] });
            let refusal = operator.post(&format!("{path}/release"), &read).await?.refused()?;
            let released = lead.post(&format!("{path}/release"), &read).await?.expect(200)?;
            ensure!(released["state"] == "released", "it is: {released}");
            Ok((released.clone(), vec![refusal, format!("{} {}", released["kind"], released["identifier"])]))
        })
        .await?;
    script
        .step("everybody reads it as CAP 1.2", async {
            let identifier = text(&released, "/identifier")?;
            let document = world.get(&format!("/cap/v1/alerts/{identifier}.xml")).await?.expect(200)?;
            let document = document.as_str().context("a document is text")?;
            let says = |part: &str| ensure_says(document, part);
            says("xmlns=\"urn:oasis:names:tc:emergency:cap:1.2\"")?;
            says("<status>Exercise</status>")?;
            says(if station == "kim-long" { KIM_LONG } else { PHONG_THAI })?;
            let feed = world.get("/cap/v1/feed.atom").await?.expect(200)?;
            ensure_says(feed.as_str().unwrap_or_default(), identifier)?;
            Ok(((), vec![format!("{} bytes, and it stands in the feed", document.len())]))
        })
        .await?;
    Ok(released)
}

fn ensure_says(document: &str, part: &str) -> anyhow::Result<()> {
    ensure!(document.contains(part), "{part} is missing in {document}");
    Ok(())
}

/// Citizens at the river get a warning, others do not, and the wall counts them.
async fn arrives(script: &mut Script, (cast, station): (&Cast, &str), warning: &Value) -> anyhow::Result<()> {
    let (id, ward) = (text(warning, "/id")?, if station == "kim-long" { KIM_LONG } else { PHONG_THAI });
    script
        .step("the citizen at the river gets it in the lane for emergencies", async {
            let citizen = cast.citizens.get(ward).context("a citizen")?;
            let message = eventually("the warning", || async {
                let inbox = citizen.get("/notifications/v1/inbox").await?.expect(200)?;
                Ok(items(&inbox).iter().find(|item| item.to_string().contains(id)).cloned())
            })
            .await?;
            ensure!(message["lane"] == "emergency", "its lane: {message}");
            // What the wall counts: the app says that it has it, and the citizen opens it.
            let id = text(&message, "/id")?;
            let received = format!("/notifications/v1/messages/{id}/received");
            let received = citizen.post(&received, &json!({})).await?.expect(200)?;
            let read = citizen.post(&format!("/notifications/v1/inbox/{id}/read"), &json!({})).await?.expect(200)?;
            let seen = format!("received {}, read {}", received["received_at"], read["read_at"]);
            Ok(((), vec![format!("{}: {}", message["title"], message["body"]), seen]))
        })
        .await?;
    script
        .step("the wall shows how many of the ward it reached", async {
            let reach = eventually("the reach", || async {
                let overview = cast.operator.get("/ioc/v1/overview").await?.expect(200)?;
                let warnings = overview["warnings"].as_array().into_iter().flatten();
                let shown =
                    warnings.filter(|warning| warning["alert_id"] == id).find(|warning| warning["complete"] == true);
                let wards = shown.and_then(|warning| warning["wards"].as_array()).into_iter().flatten();
                let ward =
                    wards.filter(|row| row["ward"] == ward).find(|row| row["reached"].as_i64() > Some(0)).cloned();
                Ok(ward.zip(shown.cloned()))
            })
            .await?;
            let (ward, warning) = reach;
            Ok((
                (),
                vec![format!("ward {ward}"), format!("in all {} of {}", warning["reached"], warning["recipients"])],
            ))
        })
        .await?;
    script
        .step("the citizen in the mountains does not", async {
            let citizen = cast.citizens.get(INLAND).context("a citizen")?;
            let inbox = citizen.get("/notifications/v1/inbox").await?.expect(200)?;
            ensure!(!inbox.to_string().contains(id), "nothing concerns ward {INLAND}: {inbox}");
            Ok(((), vec![format!("{} messages", items(&inbox).len())]))
        })
        .await
}

/// A report comes in from the water and is handled to its end.
async fn flooded_street(script: &mut Script, cast: &Cast) -> anyhow::Result<()> {
    let citizen = cast.citizens.get(KIM_LONG).context("a citizen")?;
    let report = script
        .step("a citizen reports a flooded street", async {
            let (lat, lon) = STREET;
            let body = json!({
                "category": "TN", "text": "Nước ngập ngang gối, xe không qua được",
                "attributes": { "kind": "flood", "depth_cm": 60 }, "position": { "lat": lat, "lon": lon },
            });
            let filed = citizen.post("/reports/v1/reports", &body).await?.expect(201)?;
            Ok((text(&filed, "/id")?.to_owned(), vec![format!("201 {} ward {}", filed["id"], filed["ward"]["name"])]))
        })
        .await?;
    let officers = Officers { centre: cast.operator.clone(), agency: cast.agency.clone() };
    report::handled(script, &officers, &report).await
}

/// The water falls: the warnings are ended, the alarms closed, and the wall is calm again.
async fn ends(script: &mut Script, cast: &Cast, story: &Story) -> anyhow::Result<()> {
    script.chapter("The exercise ends");
    script
        .step("the lead ends the warnings in force", async {
            let reason = json!({ "reason": { "vi": "Kết thúc diễn tập.", "en": "The exercise is over." } });
            let mut lines = Vec::new();
            for id in story.warnings.values() {
                let path = format!("/notifications/v1/alerts/{id}/cancel");
                let ending = cast.lead.post(&path, &reason).await?.expect(200)?;
                lines.push(format!("{} {}", ending["kind"], ending["identifier"]));
            }
            Ok(((), lines))
        })
        .await?;
    script
        .step("and closes the alarms", async {
            for (id, _) in story.alarms.values() {
                let path = format!("/ioc/v1/alarms/{id}/close");
                cast.lead.post(&path, &json!({ "note": "Kết thúc diễn tập" })).await?.expect(200)?;
            }
            Ok(((), vec![format!("{} alarms", story.alarms.len())]))
        })
        .await?;
    script
        .step("the citizen at the river hears that it is over, and the wall is calm", async {
            let citizen = cast.citizens.get(KIM_LONG).context("a citizen")?;
            let said = eventually("the end", || async {
                let inbox = citizen.get("/notifications/v1/inbox").await?.expect(200)?;
                let titles = items(&inbox).iter().filter_map(|item| item["title"].as_str());
                Ok(titles
                    .into_iter()
                    .find(|title| title.contains("Ended") || title.contains("kết thúc"))
                    .map(str::to_owned))
            })
            .await?;
            eventually("a calm wall", || async {
                let overview = cast.operator.get("/ioc/v1/overview").await?.expect(200)?.to_string();
                let ours = story.warnings.values().chain(story.alarms.values().map(|(id, _)| id));
                Ok(ours.into_iter().all(|id| !overview.contains(id.as_str())).then_some(()))
            })
            .await?;
            Ok(((), vec![said]))
        })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readings_are_in_order_of_time_and_of_two_stations() {
        let readings = readings().expect("the file is good");
        assert!(readings.windows(2).all(|pair| pair[0].at <= pair[1].at));
        assert_eq!(readings.len(), 23);
        let peak = readings.iter().map(|reading| reading.level_m).fold(0.0, f64::max);
        assert!((peak - 5.28).abs() < f64::EPSILON, "the record of Phú Ốc");
        assert!(readings.iter().all(|reading| ["kim-long", "phu-oc"].contains(&reading.station)));
    }
}
