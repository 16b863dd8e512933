//! What is refused, and with which code.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::stage::{POLICE, ROADS, Stage, road};

fn changed(change: impl Fn(&mut Value)) -> Value {
    let mut body = road("Ổ gà");
    change(&mut body);
    body
}

#[tokio::test]
async fn a_report_that_does_not_fit_is_refused_with_its_code() {
    let stage = Stage::new().await;
    let citizen = Uuid::now_v7();
    for (body, code) in [
        (changed(|body| body["category"] = json!("XX")), "category-unknown"),
        (changed(|body| body["attributes"] = json!({})), "attribute-invalid"),
        (changed(|body| body["attributes"]["damage"] = json!("meteor")), "attribute-invalid"),
        (changed(|body| body["attributes"]["depth_cm"] = json!("30")), "attribute-invalid"),
        (changed(|body| body["attributes"]["colour"] = json!("red")), "attribute-invalid"),
        (changed(|body| body["position"] = json!({"lat": 21.03, "lon": 105.85})), "outside-city"),
        (changed(|body| body["position"] = json!({"lat": 1e300, "lon": 0.0})), "outside-city"),
        (changed(|body| body["position"] = Value::Null), "invalid-body"),
        (changed(|body| body["text"] = json!("   ")), "invalid-body"),
        (changed(|body| body["text"] = json!("ế".repeat(4_001))), "invalid-body"),
        (changed(|body| body["text"] = json!("a\u{0}b")), "invalid-body"),
        (changed(|body| body["reporter"] = json!("me")), "invalid-body"),
    ] {
        assert_eq!(stage.post(citizen, "/reports/v1/reports", &body).await.refused(422), code, "{body}");
    }
    let long = changed(|body| body["text"] = json!("ế".repeat(4_000)));
    stage.post(citizen, "/reports/v1/reports", &long).await.expect(201);
    let words = changed(|body| {
        body["position"] = Value::Null;
        body["address"] = json!("12 Lê Lợi");
    });
    stage.post(citizen, "/reports/v1/reports", &words).await.expect(201);
    assert_eq!(stage.count("reports.report").await, 2);
}

#[tokio::test]
async fn nobody_does_what_is_not_theirs_to_do() {
    let stage = Stage::new().await;
    let (citizen, stranger) = (Uuid::now_v7(), Uuid::now_v7());
    let report = stage.report(citizen).await;
    let path = format!("/reports/v1/reports/{report}");
    for user in [citizen, stranger] {
        assert_eq!(stage.act(user, &report, json!({"action": "claim"})).await.refused(403), "forbidden");
    }
    for (user, status) in [(stranger, 404), (stage.roads, 404), (stage.police, 404), (stage.ioc, 200), (citizen, 200)] {
        stage.get(Some(user), &path).await.expect(status);
        stage.get(Some(user), &format!("{path}/timeline")).await.expect(status);
    }
    stage.act(stage.roads, &report, json!({"action": "accept"})).await.expect(404);
    stage.in_progress(&report).await;
    stage.get(Some(stage.police), &path).await.expect(200);
    let done = json!({"action": "submit-result", "text": "Xong"});
    assert_eq!(stage.act(stage.police, &report, done).await.refused(403), "forbidden", "it only helps");
    for what in ["ratings", "reopenings", "answers"] {
        let body = match what {
            "ratings" => json!({"rating": "satisfied"}),
            "reopenings" => json!({"reason": "x"}),
            _ => json!({"text": "x"}),
        };
        stage.say(stranger, &report, what, body.clone()).await.expect(404);
        stage.say(stage.ioc, &report, what, body.clone()).await.expect(404);
        assert_eq!(stage.say(citizen, &report, what, body).await.refused(409), "wrong-state");
    }
    stage.get(Some(citizen), "/reports/v1/queue").await.expect(403);
    stage.get(None, "/reports/v1/queue").await.expect(401);
}

#[tokio::test]
async fn an_agency_sees_its_own_queue_only() {
    let stage = Stage::new().await;
    let mine = stage.report(Uuid::now_v7()).await;
    stage.report(Uuid::now_v7()).await;
    stage.in_progress(&mine).await;
    let length = async |user, query: &str| {
        let page = stage.get(Some(user), &format!("/reports/v1/queue{query}")).await.expect(200);
        page["items"].as_array().expect("a list").len()
    };
    assert_eq!(length(stage.ioc, "").await, 2);
    assert_eq!(length(stage.ioc, "?state=received").await, 1);
    assert_eq!(length(stage.ioc, &format!("?agency={ROADS}")).await, 1);
    assert_eq!(length(stage.roads, "").await, 1);
    assert_eq!(length(stage.police, "").await, 1, "it helps");
    stage.get(Some(stage.roads), &format!("/reports/v1/queue?agency={POLICE}")).await.expect(403);
    let first = stage.get(Some(stage.ioc), "/reports/v1/queue?limit=1").await.expect(200);
    let cursor = first["next_cursor"].as_str().expect("a second page").to_owned();
    let second = stage.get(Some(stage.ioc), &format!("/reports/v1/queue?limit=1&cursor={cursor}")).await.expect(200);
    assert_ne!(first["items"][0]["id"], second["items"][0]["id"]);
    assert_eq!(second["next_cursor"], Value::Null);
}

#[tokio::test]
async fn a_queue_is_asked_for_sensibly() {
    let stage = Stage::new().await;
    for query in ["overdue=1", "outcome=late", "day=2026-11-23", "happened=born", "happened=breach&overdue=true"] {
        let refused = stage.get(Some(stage.ioc), &format!("/reports/v1/queue?{query}")).await.refused(400);
        assert_eq!(refused, "invalid-query", "{query}");
    }
}

#[tokio::test]
async fn a_transition_takes_exactly_its_fields() {
    let stage = Stage::new().await;
    let report = stage.report(Uuid::now_v7()).await;
    stage.act(stage.ioc, &report, json!({"action": "claim"})).await.expect(201);
    for body in [
        json!({"action": "reject"}),
        json!({"action": "claim", "reason": "x"}),
        json!({"action": "distribute"}),
        json!({"action": "expire"}),
        json!({"action": "reject", "reason": "x", "colour": "red"}),
    ] {
        assert_eq!(stage.act(stage.ioc, &report, body).await.refused(422), "invalid-body");
    }
    let unknown = json!({"action": "distribute", "lead_agency": "XX"});
    assert_eq!(stage.act(stage.ioc, &report, unknown).await.refused(422), "agency-unknown");
    let past = json!({"action": "distribute", "lead_agency": ROADS, "deadline": "2020-01-01T00:00:00+07:00"});
    assert_eq!(stage.act(stage.ioc, &report, past).await.refused(422), "deadline-invalid");
}
