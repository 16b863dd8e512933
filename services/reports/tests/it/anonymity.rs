//! Who sent a report is seen by the operations centre and by the reporter; no one else finds a trace.

use std::io::Write;
use std::sync::{Arc, Mutex};

use serde_json::json;
use uuid::Uuid;

use crate::stage::{PLACE, Stage, jpeg, road};

/// Everything that is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("not poisoned").extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Fails if the bytes hold the reporter's id, in letters or in bytes, or the numbers that were in the text.
fn expect_no_trace(what: &str, citizen: Uuid, bytes: &[u8]) {
    let texts = [citizen.to_string(), citizen.simple().to_string(), "0905123456".to_owned(), "0905 123 456".to_owned()];
    let needles = texts.iter().map(|text| text.as_bytes()).chain([&citizen.as_bytes()[..], b"be.ba@example.com"]);
    for needle in needles {
        let found = bytes.windows(needle.len()).any(|window| window == needle);
        assert!(!found, "{what} holds {}: {}", String::from_utf8_lossy(needle), String::from_utf8_lossy(bytes));
    }
}

#[tokio::test]
async fn the_reporter_leaves_no_trace() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let stage = Stage::new().await;
    let citizen = Uuid::now_v7();
    let mut body = road("Ổ gà, gọi tôi 0905 123 456 hoặc be.ba@example.com");
    body["address"] = json!("Nhà tôi, 0905123456");
    let filed = stage.post(citizen, "/reports/v1/reports", &body).await.expect(201);
    let report = filed["id"].as_str().expect("an id").to_owned();
    stage.photo(citizen, &report, jpeg(32, 32)).await.expect(201);
    stage.act(stage.ioc, &report, json!({"action": "claim"})).await.expect(201);
    stage.act(stage.ioc, &report, json!({"action": "ask", "question": "Số nhà?"})).await.expect(201);
    stage.say(citizen, &report, "answers", json!({"text": "Hỏi 0905123456"})).await.expect(201);
    stage.published(&report).await;
    let rating = json!({"rating": "dissatisfied", "comment": "Gọi 0905123456"});
    stage.say(citizen, &report, "ratings", rating).await.expect(201);
    stage.say(citizen, &report, "reopenings", json!({"reason": "Gọi 0905123456"})).await.expect(201);
    stage.in_progress(&report).await;

    let path = format!("/reports/v1/reports/{report}");
    let (lat, lon) = PLACE;
    let open = [
        path.clone(),
        format!("{path}/timeline"),
        "/reports/v1/reports".to_owned(),
        "/reports/v1/map.geojson?bbox=107.5,16.4,107.7,16.5".to_owned(),
        "/reports/v1/statistics".to_owned(),
        format!("/reports/v1/duplicates?category=HT&lat={lat}&lon={lon}"),
    ];
    for path in &open {
        for user in [None, Some(Uuid::now_v7()), Some(stage.roads), Some(stage.police)] {
            let answer = stage.get(user, path).await;
            answer.expect(200);
            expect_no_trace(path, citizen, &answer.bytes);
        }
    }
    let queue = stage.get(Some(stage.roads), "/reports/v1/queue").await;
    assert_eq!(queue.expect(200)["items"].as_array().map(Vec::len), Some(1));
    expect_no_trace("the agency's queue", citizen, &queue.bytes);

    let events: Vec<(String, Vec<u8>, Uuid, Option<String>)> = sqlx::query_as(
        "SELECT kind, data, subject, traceparent FROM reports.outbox WHERE stream = 'reports' ORDER BY arrival",
    )
    .fetch_all(&stage.admin())
    .await
    .expect("a query");
    assert!(events.len() > 10);
    for (kind, data, subject, _) in &events {
        expect_no_trace(kind, citizen, data);
        assert_eq!(subject.to_string(), report);
    }
    let private = format!("reports.outbox WHERE stream = 'reports-private' AND subject = '{citizen}'");
    assert!(stage.count(&private).await > 10, "whom to tell travels on its own stream");
    for table in ["history", "job"] {
        let sql = format!("SELECT coalesce(string_agg(to_jsonb(t)::text, ' '), '') FROM reports.{table} AS t");
        let rows: String =
            sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(&stage.admin()).await.expect("a query");
        assert!(!rows.is_empty() && !rows.contains(&citizen.to_string()), "{table} names the citizen");
    }
    expect_no_trace("a metric", citizen, stage.context.metrics.encode().as_bytes());
    let log = log.0.lock().expect("not poisoned").clone();
    assert!(!log.is_empty(), "something was logged");
    let ours: Vec<u8> = String::from_utf8_lossy(&log)
        .lines()
        .filter(|line| !line.contains("sqlx::"))
        .collect::<Vec<_>>()
        .join("\n")
        .into();
    expect_no_trace("the log", citizen, &ours);
}
