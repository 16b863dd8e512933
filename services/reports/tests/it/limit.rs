//! Time limits: escalations at their time and once, waits that end by themselves, clocks that stop.

use chrono::TimeDelta;
use serde_json::json;
use uuid::Uuid;

use crate::stage::{Stage, eventually};

async fn levels(stage: &Stage) -> Vec<(i16, String)> {
    sqlx::query_as("SELECT level, state FROM reports.escalation ORDER BY escalated_at, level")
        .fetch_all(&stage.admin())
        .await
        .expect("a query")
}

fn named(levels: &[(i16, &str)]) -> Vec<(i16, String)> {
    levels.iter().map(|(level, state)| (*level, (*state).to_owned())).collect()
}

/// Waits until these levels were escalated, and no more job is due.
async fn come_to(stage: &Stage, expected: &[(i16, &str)]) {
    eventually(&format!("{expected:?}"), async || {
        let now = stage.clock.now();
        let due: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM reports.job WHERE state = 'running' OR (state = 'due' AND due_at <= $1)",
        )
        .bind(now)
        .fetch_one(&stage.admin())
        .await
        .expect("a query");
        due == 0 && levels(stage).await.len() >= expected.len()
    })
    .await;
    assert_eq!(levels(stage).await, named(expected));
}

#[tokio::test]
async fn each_level_is_escalated_once_at_its_time() {
    let stage = Stage::new().await;
    let report = stage.urgent(Uuid::now_v7()).await;
    stage.clock.advance(TimeDelta::minutes(11));
    come_to(&stage, &[]).await;
    stage.clock.advance(TimeDelta::seconds(62));
    come_to(&stage, &[(80, "received")]).await;
    stage.clock.advance(TimeDelta::minutes(3));
    come_to(&stage, &[(80, "received"), (100, "received")]).await;
    stage.clock.advance(TimeDelta::minutes(8));
    let all = [(80, "received"), (100, "received"), (150, "received")];
    come_to(&stage, &all).await;
    assert_eq!(stage.count("reports.outbox WHERE kind LIKE '%ReportEscalated'").await, 3);
    let text = stage.context.metrics.encode();
    assert!(
        text.lines().any(|line| line.starts_with("trangtien_reports_sla_breaches_total{") && line.ends_with(" 1")),
        "{text}"
    );
    // The next step has a limit of its own, and the plan of the last one is taken back.
    stage.act(stage.ioc, &report, json!({"action": "claim"})).await.expect(201);
    stage.clock.advance(TimeDelta::minutes(20));
    come_to(&stage, &all).await;
    stage.clock.advance(TimeDelta::minutes(5));
    come_to(&stage, &[all[0], all[1], all[2], (80, "verifying")]).await;
}

#[tokio::test]
async fn a_stopped_clock_escalates_nothing_and_goes_on_where_it_stopped() {
    let stage = Stage::new().await;
    let citizen = Uuid::now_v7();
    let report = stage.urgent(citizen).await;
    stage.act(stage.ioc, &report, json!({"action": "claim"})).await.expect(201);
    stage.clock.advance(TimeDelta::minutes(25));
    come_to(&stage, &[(80, "verifying")]).await;
    stage.act(stage.ioc, &report, json!({"action": "ask", "question": "Bao nhiêu người?"})).await.expect(201);
    stage.clock.advance(TimeDelta::hours(70));
    come_to(&stage, &[(80, "verifying")]).await;
    stage.say(citizen, &report, "answers", json!({"text": "Ba người"})).await.expect(201);
    stage.clock.advance(TimeDelta::minutes(4));
    come_to(&stage, &[(80, "verifying")]).await;
    stage.clock.advance(TimeDelta::seconds(70));
    come_to(&stage, &[(80, "verifying"), (100, "verifying")]).await;
}

#[tokio::test]
async fn a_citizen_who_does_not_answer_ends_it() {
    let stage = Stage::new().await;
    let citizen = Uuid::now_v7();
    let asked = stage.urgent(citizen).await;
    stage.act(stage.ioc, &asked, json!({"action": "claim"})).await.expect(201);
    stage.act(stage.ioc, &asked, json!({"action": "ask", "question": "Ở đâu?"})).await.expect(201);
    stage.clock.advance(TimeDelta::minutes(72 * 60 - 1));
    assert_eq!(stage.state(&asked).await, "needs-info");
    stage.clock.advance(TimeDelta::minutes(2));
    eventually("it is rejected", async || stage.state(&asked).await == "rejected").await;
    // It may be reopened, as any other that was rejected.
    stage.say(citizen, &asked, "reopenings", json!({"reason": "Tôi đi vắng"})).await.expect(201);

    let rated = stage.urgent(citizen).await;
    stage.published(&rated).await;
    stage.clock.advance(TimeDelta::hours(239));
    assert_eq!(stage.state(&rated).await, "published");
    stage.clock.advance(TimeDelta::hours(2));
    eventually("it is closed unrated", async || stage.state(&rated).await == "closed").await;
    assert_eq!(stage.count("reports.rating").await, 0);
    stage.clock.advance(TimeDelta::hours(73));
    let late = stage.say(citizen, &rated, "reopenings", json!({"reason": "Hỏng lại"})).await;
    assert_eq!(late.refused(422), "reopen-too-late");
}
