//! Sensors in, alarms out: over HTTP, as a gauge's gateway and as officers.

use chrono::{DateTime, TimeDelta, Utc};
use ioc::config::{SensorClient, SensorClients};
use platform::config::Secret;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::stage::{Centre, LIMIT, Stage, Wall, open, until};

const SECRET: &str = "a-secret-of-the-test";

/// A centre with two clients of sensors.
async fn centre(stage: &Stage) -> Centre {
    let mut sensor_clients = SensorClients::default();
    for (name, stations, exercise_only) in [
        ("gauges", &["*"][..], false),
        ("others", &["*"], false),
        ("bo", &["phu-oc"], false),
        ("rehearsal", &["*"], true),
    ] {
        let stations = stations.iter().map(|code| (*code).to_owned()).collect();
        sensor_clients.insert(name, SensorClient { secret: Secret::new(SECRET), stations, exercise_only });
    }
    stage.centre("a", ioc::Config { sensor_clients, ..open() }).await
}

/// A gateway of sensors.
struct Gateway<'a> {
    centre: &'a Centre,
    name: &'static str,
}

impl Gateway<'_> {
    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> (u16, Value) {
        let client = reqwest::Client::new();
        let mut request = client.request(method, format!("{}/sta/v1.1{path}", self.centre.url));
        request = request.basic_auth(self.name, Some(SECRET));
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.expect("answered");
        (answer.status().as_u16(), answer.json().await.expect("JSON"))
    }

    async fn get(&self, path: &str) -> Value {
        let (status, body) = self.send(Method::GET, path, None).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.send(Method::POST, path, Some(body)).await
    }

    /// Registers a gauge at a station; gives its datastream.
    async fn gauge(&self, station: &str, exercise: bool) -> i64 {
        let (status, thing) = self.post("/Things", &gauge(station, exercise)).await;
        assert_eq!(status, 201, "{thing}");
        let streams = self.get(&format!("/Things({})/Datastreams", thing["@iot.id"])).await;
        streams["value"][0]["@iot.id"].as_i64().expect("a datastream")
    }

    async fn read(&self, stream: i64, at: DateTime<Utc>, value: f64) -> (u16, Value) {
        self.post(&format!("/Datastreams({stream})/Observations"), &json!({ "phenomenonTime": at, "result": value }))
            .await
    }
}

fn gauge(station: &str, exercise: bool) -> Value {
    json!({
        "name": format!("Trạm {station}"), "description": "River gauge", "properties": { "owner": "city" },
        "Locations": [{ "name": "Bank", "description": "", "encodingType": "application/geo+json",
                        "location": { "type": "Point", "coordinates": [107.55, 16.45] } }],
        "Datastreams": [{
            "name": "Water level", "description": "",
            "observationType": "http://www.opengis.net/def/observationType/OGC-OM/2.0/OM_Measurement",
            "unitOfMeasurement": { "name": "metre", "symbol": "m", "definition": "http://unitsofmeasure.org/ucum.html#para-30" },
            "properties": { "station": station, "exercise": exercise },
            "Sensor": { "name": "Radar", "description": "", "encodingType": "application/pdf", "metadata": "https://example.org/radar.pdf" },
            "ObservedProperty": { "name": "Water level", "definition": "https://example.org/level", "description": "" },
        }],
    })
}

#[tokio::test]
async fn a_gateway_registers_a_gauge_and_reads_back_what_it_sent() {
    let stage = Stage::new().await;
    let centre = centre(&stage).await;
    let gateway = Gateway { centre: &centre, name: "gauges" };
    let newest = |station: &str| {
        let (text, label) = (centre.metrics.encode(), format!("station=\"{station}\""));
        let line = text.lines().find(|line| line.contains("newest_reading_timestamp") && line.contains(&label));
        line.and_then(|line| line.split(' ').next_back()?.parse::<f64>().ok())
    };
    assert_eq!(newest("kim-long"), Some(0.0), "silent from the beginning");
    let stream = gateway.gauge("kim-long", false).await;
    let now = stage.clock.now();
    for (minute, value) in [(0, 0.4), (10, 0.5), (20, 0.6)] {
        let (status, made) = gateway.read(stream, now - TimeDelta::minutes(30 - minute), value).await;
        assert_eq!((status, &made["resultQuality"]), (201, &json!("good")), "{made}");
        let link = made["@iot.selfLink"].as_str().expect("a link").to_owned();
        assert!(link.starts_with("http://localhost:8080/sta/v1.1/Observations("), "{link}");
    }
    let at = now - TimeDelta::minutes(30);
    let (status, again) = gateway.read(stream, at, 0.4).await;
    assert_eq!(status, 201, "what is sent again is known: {again}");
    assert_eq!(gateway.read(stream, at, 0.7).await.1["code"], "observation-conflicts");
    assert_eq!(gateway.read(stream, now + TimeDelta::hours(1), 0.7).await.1["code"], "observation-ahead-of-time");

    let path = format!("/Datastreams({stream})/Observations?$orderby=phenomenonTime%20desc&$top=2");
    let page = gateway.get(&path).await;
    let results: Vec<f64> =
        page["value"].as_array().expect("a page").iter().filter_map(|one| one["result"].as_f64()).collect();
    assert_eq!(results, [0.6, 0.5]);
    let next = page["@iot.nextLink"].as_str().expect("there is more").replace("http://localhost:8080/sta/v1.1", "");
    let rest = gateway.get(&next).await;
    assert_eq!((rest["value"][0]["result"].as_f64(), rest.get("@iot.nextLink")), (Some(0.4), None));
    let filtered = gateway.get(&format!("/Datastreams({stream})/Observations?$filter=result%20gt%200.45")).await;
    assert_eq!(filtered["value"].as_array().map(Vec::len), Some(2));

    let thing = gateway.get(&format!("/Datastreams({stream})/Thing")).await;
    let expanded = gateway.get(&format!("/Things({})?$expand=Locations,Datastreams", thing["@iot.id"])).await;
    assert_eq!(expanded["Datastreams"][0]["unitOfMeasurement"]["symbol"], "m");
    assert_eq!(expanded["Locations"][0]["location"]["type"], "Point");
    let root = gateway.get("").await;
    assert_eq!(root["value"].as_array().map(Vec::len), Some(6));
    let claimed = root["serverSettings"]["conformance"].to_string();
    assert!(
        claimed.contains("req/request-data/top") && claimed.contains("req/datamodel/thing/properties"),
        "{claimed}"
    );
    for partial in ["/datamodel\"", "resource-path", "create-entity", "deep-insert", "filter", "expand", "data-array"] {
        assert!(!claimed.contains(partial), "{partial} does not hold as a whole: {claimed}");
    }

    let rows = json!([[now - TimeDelta::minutes(5), 0.7], [now - TimeDelta::minutes(1), 0.8], [now, "wet"]]);
    let array = json!([
        { "Datastream": { "@iot.id": stream }, "components": ["phenomenonTime", "result"], "dataArray": rows },
        { "Datastream": { "@iot.id": stream + 1_000 }, "components": ["phenomenonTime", "result"], "dataArray": rows },
    ]);
    let (status, told) = gateway.post("/CreateObservations", &array).await;
    assert_eq!((status, &told[2], &told[3]), (201, &json!("error"), &json!("error")), "{told}");
    let rows = json!([
        ["0001-01-01T00:00:00Z", 0.7],
        [now - TimeDelta::minutes(5), 0.9],
        [now, 0.9],
        ["9999-01-01T00:00:00Z", 1]
    ]);
    let array =
        json!([{ "Datastream": { "@iot.id": stream }, "components": ["phenomenonTime", "result"], "dataArray": rows }]);
    let (status, kept) = gateway.post("/CreateObservations", &array).await;
    let refused: Vec<bool> = kept.as_array().expect("rows").iter().map(|one| one == "error").collect();
    assert_eq!((status, refused), (201, vec![true, true, false, true]), "what is wrong takes nothing with it: {kept}");
    let path = format!("/Datastreams({stream})/Observations?$filter=phenomenonTime%20gt%20-9999-01-01T00:00:00Z");
    assert_eq!(gateway.send(Method::GET, &path, None).await.0, 400, "no such year");
    assert!(told[1].as_str().is_some_and(|link| link.contains("Observations(")), "{told}");
    until("the station has been heard", async || newest("kim-long").is_some_and(|at| at > 0.0)).await;
    assert_eq!(newest("phu-oc"), Some(0.0));
    centre.stop().await;
}

#[tokio::test]
async fn strangers_post_nothing_and_nobody_adds_to_anothers_things() {
    let stage = Stage::new().await;
    let centre = centre(&stage).await;
    let (gateway, other) = (Gateway { centre: &centre, name: "gauges" }, Gateway { centre: &centre, name: "others" });
    let stream = gateway.gauge("kim-long", false).await;
    let (status, body) = other.read(stream, stage.clock.now(), 1.0).await;
    assert_eq!((status, &body["code"]), (404, &json!("not-found")));
    for (body, code) in [
        (json!({ "name": "" }), "sta-entity-invalid"),
        (json!({}), "sta-entity-invalid"),
        (gauge("nowhere", false), "sta-entity-invalid"),
    ] {
        let (status, answer) = gateway.post("/Things", &body).await;
        assert_eq!((status, &answer["code"]), (400, &json!(code)), "{answer}");
    }
    let (status, refused) = gateway.send(Method::GET, "/Things?$select=name", None).await;
    assert_eq!((status, &refused["code"]), (501, &json!("sta-query-unsupported")));
    let (status, refused) = gateway.send(Method::GET, "/Things?$top=-1", None).await;
    assert_eq!((status, &refused["code"]), (400, &json!("sta-query-invalid")));
    let url = format!("{}/sta/v1.1/Things", centre.url);
    let client = reqwest::Client::new();
    let wrong = client.post(&url).basic_auth("gauges", Some("wrong")).json(&gauge("kim-long", false)).send().await;
    let wrong = wrong.expect("answered");
    assert_eq!(wrong.status(), 401);
    assert!(wrong.headers().get_all("www-authenticate").iter().any(|way| way.as_bytes().starts_with(b"Basic")));
    let token = stage.issuer.officer_token(Uuid::now_v7(), Uuid::now_v7(), 600, &["ioc.lead"]);
    assert_eq!(client.post(&url).bearer_auth(&token).json(&json!({})).send().await.expect("answered").status(), 403);
    assert_eq!(client.get(&url).bearer_auth(&token).send().await.expect("answered").status(), 200);
    let token = stage.issuer.officer_token(Uuid::now_v7(), Uuid::now_v7(), 600, &["finance.officer"]);
    assert_eq!(client.get(&url).bearer_auth(&token).send().await.expect("answered").status(), 403);
    centre.stop().await;
}

/// An officer's answer to a step.
async fn step(centre: &Centre, token: &str, (id, what): (&str, &str), body: &Value) -> (u16, Value) {
    let url = format!("{}/ioc/v1/alarms/{id}/{what}", centre.url);
    let request =
        reqwest::Client::new().post(url).bearer_auth(token).header("idempotency-key", Uuid::now_v7().to_string());
    let answer = request.json(body).send().await.expect("answered");
    (answer.status().as_u16(), answer.json().await.expect("JSON"))
}

#[tokio::test]
async fn a_river_that_rises_raises_an_alarm_that_the_wall_shows_until_it_falls() {
    let stage = Stage::new().await;
    let centre = centre(&stage).await;
    let gateway = Gateway { centre: &centre, name: "gauges" };
    let stream = gateway.gauge("kim-long", false).await;
    let mut wall = Wall::open(&centre.url, None).await;
    assert_eq!(wall.next_of("snapshot").await.body["alarms"], json!([]));
    let start = stage.clock.now() - TimeDelta::hours(20);
    let at = |hour: i64| start + TimeDelta::hours(hour);
    gateway.read(stream, at(0), 0.9).await;
    gateway.read(stream, at(1), 2.2).await;
    let alarm = loop {
        let delta = wall.next_of("delta").await.body;
        if let Some(alarm) = delta["alarms"].as_array().and_then(|alarms| alarms.first()) {
            break alarm.clone();
        }
    };
    assert_eq!(
        (&alarm["state"], &alarm["level"], &alarm["station_name"]),
        (&json!("raised"), &json!(2), &json!("Kim Long"))
    );
    let id = alarm["id"].as_str().expect("an id").to_owned();

    // What no river does raises nothing.
    let (_, jump) = gateway.read(stream, at(1) + TimeDelta::minutes(1), 5.0).await;
    assert_eq!(jump["resultQuality"], "jump");
    let (_, beyond) = gateway.read(stream, at(2), 99.0).await;
    assert_eq!(beyond["resultQuality"], "out-of-range");
    let (_, late) = gateway.read(stream, at(0) + TimeDelta::minutes(1), 1.0).await;
    assert_eq!(late["resultQuality"], "late");

    let operator = stage.issuer.officer_token(Uuid::now_v7(), Uuid::now_v7(), 600, &["ioc.operator"]);
    let (status, seen) = step(&centre, &operator, (&id, "acknowledge"), &json!({ "note": "Đã báo trực ban" })).await;
    assert_eq!((status, &seen["state"]), (200, &json!("acknowledged")), "{seen}");
    let citizen = stage.issuer.officer_token(Uuid::now_v7(), Uuid::now_v7(), 600, &[]);
    assert_eq!(step(&centre, &citizen, (&id, "acknowledge"), &json!({})).await.0, 403);
    assert_eq!(step(&centre, &operator, (&id, "close"), &json!({ "note": "x" })).await.0, 403);

    gateway.read(stream, at(3), 3.6).await;
    let alone = centre.overview().await.alarms;
    assert_eq!((alone[0].level, alone[0].state.name()), (2, "acknowledged"), "one reading alone warns nobody");
    gateway.read(stream, at(3) + TimeDelta::minutes(10), 3.7).await;
    let overview = centre.overview().await;
    let shown = overview.alarms.first().expect("an alarm");
    assert_eq!((shown.level, shown.state.name()), (3, "raised"), "who saw level 2 has not seen level 3");
    gateway.read(stream, at(6), 1.5).await;
    gateway.read(stream, at(8), 0.8).await;
    assert!(centre.overview().await.alarms.is_empty(), "it is over");

    let url = format!("{}/ioc/v1/alarms/{id}", centre.url);
    let one: Value = reqwest::Client::new()
        .get(&url)
        .bearer_auth(&operator)
        .send()
        .await
        .expect("answered")
        .json()
        .await
        .expect("JSON");
    let steps: Vec<&str> =
        one["steps"].as_array().expect("steps").iter().filter_map(|step| step["kind"].as_str()).collect();
    assert_eq!(steps, ["raised", "acknowledged", "rose", "fell", "closed"]);
    assert!(one["steps"][1]["note"].is_string(), "officers see notes");
    let anyone: Value = reqwest::get(&url).await.expect("answered").json().await.expect("JSON");
    assert!(anyone["steps"][1]["note"].is_null() && anyone["acknowledged_by"].is_null(), "the wall names no officer");
    assert_eq!(step(&centre, &operator, (&id, "acknowledge"), &json!({})).await.1["code"], "alarm-closed");
    let list: Value = reqwest::get(format!("{}/ioc/v1/alarms?state=open", centre.url))
        .await
        .expect("answered")
        .json()
        .await
        .expect("JSON");
    assert_eq!(list["items"], json!([]));
    centre.stop().await;
}

#[tokio::test]
async fn a_station_has_one_alarm_however_many_gauges_tell_of_it() {
    let stage = Stage::new().await;
    let centre = centre(&stage).await;
    let (one, two) = (Gateway { centre: &centre, name: "gauges" }, Gateway { centre: &centre, name: "others" });
    let (first, second) = (one.gauge("kim-long", false).await, two.gauge("kim-long", false).await);
    let at = |minutes: i64| stage.clock.now() - TimeDelta::hours(10) + TimeDelta::minutes(minutes);
    one.read(first, at(0), 2.2).await;
    two.read(second, at(1), 2.3).await;
    one.read(first, at(60), 3.6).await;
    one.read(first, at(70), 3.7).await;
    two.read(second, at(30), 2.4).await;
    let alarms = centre.overview().await.alarms;
    assert_eq!(alarms.iter().map(|alarm| alarm.level).collect::<Vec<_>>(), [3], "the newest reading decides");
    two.read(second, at(120), 4.6).await;
    one.read(first, at(130), 4.7).await;
    let told = "SELECT count(*) FROM ioc.outbox WHERE kind LIKE '%AlarmLevelChanged'";
    let told: i64 = sqlx::query_scalar(told).fetch_one(&stage.database.pool(ioc::SCHEMA)).await.expect("counted");
    assert_eq!(told, 2, "it reached level 3, and then a metre above it");
    let lead = stage.issuer.officer_token(Uuid::now_v7(), Uuid::now_v7(), 600, &["ioc.lead"]);
    let note = json!({ "note": format!("{} ", "x".repeat(500)) });
    assert_eq!(step(&centre, &lead, (&alarms[0].id.to_string(), "close"), &note).await.0, 200);
    centre.stop().await;
}

#[tokio::test]
async fn a_client_raises_alarms_of_its_stations_only_and_one_for_exercises_none_that_is_meant() {
    let stage = Stage::new().await;
    let centre = centre(&stage).await;
    let (bo, rehearsal) = (Gateway { centre: &centre, name: "bo" }, Gateway { centre: &centre, name: "rehearsal" });
    for (client, body, code) in [
        (&bo, gauge("kim-long", false), "station-forbidden"),
        (&bo, gauge("kim-long", true), "station-forbidden"),
        (&rehearsal, gauge("kim-long", false), "exercise-only"),
    ] {
        let (status, refused) = client.post("/Things", &body).await;
        assert_eq!((status, &refused["code"]), (403, &json!(code)));
        // Nor to a thing that it has.
        let (_, thing) = client.post("/Things", &json!({ "name": "Mast" })).await;
        let mut datastream = body["Datastreams"][0].clone();
        datastream["Thing"] = json!({ "@iot.id": thing["@iot.id"] });
        let (status, refused) = client.post("/Datastreams", &datastream).await;
        assert_eq!((status, &refused["code"]), (403, &json!(code)));
    }
    bo.gauge("phu-oc", false).await;
    rehearsal.gauge("phu-oc", true).await;
    centre.stop().await;
}

#[tokio::test]
async fn a_gauge_that_was_set_anew_is_believed_after_three_readings() {
    let stage = Stage::new().await;
    let centre = centre(&stage).await;
    let gateway = Gateway { centre: &centre, name: "gauges" };
    let stream = gateway.gauge("kim-long", false).await;
    let at = |minutes: i64| stage.clock.now() - TimeDelta::hours(10) + TimeDelta::minutes(minutes);
    let mut judged = Vec::new();
    for (minutes, level) in [(0, 0.5), (10, 4.0), (20, 0.6), (30, 4.0), (40, 4.1), (50, 4.2), (60, 4.2)] {
        let (_, kept) = gateway.read(stream, at(minutes), level).await;
        judged.push(kept["resultQuality"].as_str().expect("judged").to_owned());
    }
    assert_eq!(judged, ["good", "jump", "good", "jump", "jump", "good", "good"]);
    let alarms = centre.overview().await.alarms;
    assert_eq!(alarms.iter().map(|alarm| alarm.level).collect::<Vec<_>>(), [3], "and two of them warn");
    until("the newest reading is measured", async || {
        centre
            .metrics
            .encode()
            .lines()
            .any(|line| line.contains("newest_reading_timestamp") && line.contains("kim-long"))
    })
    .await;
    centre.stop().await;
}

#[tokio::test]
async fn an_exercise_tells_of_the_past_and_is_closed_by_a_lead() {
    let stage = Stage::new().await;
    let centre = centre(&stage).await;
    let gateway = Gateway { centre: &centre, name: "gauges" };
    let (meant, exercise) = (gateway.gauge("phu-oc", false).await, gateway.gauge("phu-oc", true).await);
    let past: DateTime<Utc> = "2025-10-27T00:00:00Z".parse().expect("a time");
    assert_eq!(gateway.read(meant, past, 4.52).await.1["resultQuality"], "late");
    assert!(centre.overview().await.alarms.is_empty(), "what is long past raises nothing");
    gateway.read(exercise, past, 4.52).await;
    let overview = centre.overview().await;
    let alarm = overview.alarms.first().expect("an alarm");
    assert!(alarm.exercise && alarm.level == 3);
    let lead = stage.issuer.officer_token(Uuid::now_v7(), Uuid::now_v7(), 600, &["ioc.lead"]);
    let id = alarm.id.to_string();
    assert_eq!(step(&centre, &lead, (&id, "close"), &json!({ "note": " " })).await.1["code"], "alarm-note-invalid");
    let (status, closed) = step(&centre, &lead, (&id, "close"), &json!({ "note": "Hết diễn tập" })).await;
    assert_eq!((status, &closed["state"]), (200, &json!("closed")), "{closed}");
    let began = std::time::Instant::now();
    let told: i64 = loop {
        let waiting = "SELECT count(*) FROM ioc.outbox WHERE kind LIKE 'trangtien.ioc.v1.Alarm%'";
        let told = sqlx::query_scalar(waiting).fetch_one(&stage.database.pool(ioc::SCHEMA)).await.expect("counted");
        if told >= 2 || began.elapsed() > LIMIT {
            break told;
        }
    };
    assert_eq!(told, 2, "raised and closed");
    centre.stop().await;
}

#[tokio::test]
async fn the_wall_shows_warnings_in_force_and_how_many_they_reached() {
    use proto::notifications::v1::{AlertCancelled, AlertReached, AlertReleased, MessageSettled, WardReached};
    let stage = Stage::new().await;
    let centre = centre(&stage).await;
    let (first, second) = (Uuid::now_v7(), Uuid::now_v7());
    let now = stage.clock.now();
    let released = |supersedes: Option<Uuid>| AlertReleased {
        identifier: "VN-46-1".to_owned(),
        severity: "severe".to_owned(),
        headline_vi: "Lũ sông Hương".to_owned(),
        headline_en: "Flood".to_owned(),
        ward_codes: vec!["19774".to_owned(), "19753".to_owned()],
        released_at: now.timestamp(),
        expires_at: (now + TimeDelta::hours(12)).timestamp(),
        supersedes_alert_id: supersedes.map(|id| id.to_string()).unwrap_or_default(),
        ..AlertReleased::default()
    };
    stage.publish("notifications", 1, first, &released(None)).await;
    let ward = WardReached { ward_code: "19774".to_owned(), recipients: 5, reached: 4 };
    let told = AlertReached { recipients: 5, reached: 4, complete: true, wards: vec![ward], ..AlertReached::default() };
    stage.publish("notifications", 2, first, &told).await;
    let settled = MessageSettled {
        lane: "emergency".to_owned(),
        channel: "push".to_owned(),
        outcome: "delivered".to_owned(),
        ..MessageSettled::default()
    };
    stage.publish("notifications", 3, Uuid::now_v7(), &settled).await;
    let overview = centre
        .overview_when("the reach is told", |overview| overview.warnings.iter().any(|warning| warning.reached == 4))
        .await;
    let shown = &overview.warnings[0];
    let wards: Vec<_> = shown.wards.iter().map(|ward| (ward.ward.as_str(), ward.recipients, ward.reached)).collect();
    assert_eq!((wards, shown.complete), (vec![("19774", 5, 4), ("19753", 0, 0)], true));
    let overview = centre
        .overview_when("the message is counted", |overview| {
            overview.totals.iter().any(|tally| tally.kind == "lane-emergency")
        })
        .await;
    assert!(overview.totals.iter().any(|tally| tally.kind == "message-push" && tally.count == 1));

    let mut wall = Wall::open(&centre.url, None).await;
    wall.next_of("snapshot").await;
    stage.publish("notifications", 4, second, &released(Some(first))).await;
    let mut seen = std::collections::BTreeMap::new();
    while seen.len() < 2 {
        for warning in wall.next_of("delta").await.body["warnings"].as_array().expect("warnings") {
            seen.insert(warning["alert_id"].as_str().expect("an id").to_owned(), warning["ended"].clone());
        }
    }
    assert_eq!((&seen[&first.to_string()], &seen[&second.to_string()]), (&json!("updated"), &Value::Null));
    stage
        .publish(
            "notifications",
            5,
            second,
            &AlertCancelled { cancelled_at: now.timestamp(), ..AlertCancelled::default() },
        )
        .await;
    centre.overview_when("nothing is in force", |overview| overview.warnings.is_empty()).await;
    centre.stop().await;
}
