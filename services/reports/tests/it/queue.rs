//! The officers' lists: every number that the operations centre counts leads to its reports, and to no others.

use serde_json::json;
use uuid::Uuid;

use crate::stage::{ROADS, Stage, eventually};

impl Stage {
    /// The ids that the operations centre is listed.
    async fn listed(&self, query: &str) -> Vec<String> {
        let page = self.get(Some(self.ioc), &format!("/reports/v1/queue?{query}")).await.expect(200);
        let items = page["items"].as_array().expect("a list");
        items.iter().map(|item| item["id"].as_str().expect("an id").to_owned()).collect()
    }

    /// The city's day.
    fn day(&self) -> String {
        self.clock.now().with_timezone(&chrono_tz::Asia::Ho_Chi_Minh).date_naive().to_string()
    }
}

#[tokio::test]
async fn the_queue_is_cut_by_ward_leader_and_lateness() {
    let stage = Stage::new().await;
    let (waiting, given) = (stage.report(Uuid::now_v7()).await, stage.report(Uuid::now_v7()).await);
    let nowhere =
        json!({"category": "HT", "text": "Ổ gà", "attributes": {"damage": "pothole", "depth_cm": 5}, "address": "?"});
    let nowhere = stage.post(Uuid::now_v7(), "/reports/v1/reports", &nowhere).await.expect(201);
    let nowhere = nowhere["id"].as_str().expect("an id").to_owned();
    stage.in_progress(&given).await;
    let sorted = |mut ids: Vec<String>| {
        ids.sort_unstable();
        ids
    };
    assert_eq!(sorted(stage.listed("ward=19789").await), sorted(vec![waiting.clone(), given.clone()]));
    assert_eq!(stage.listed("ward=19789&state=received").await, [waiting.as_str()]);
    assert_eq!(stage.listed("ward=19753").await, [""; 0]);
    assert_eq!(stage.listed("ward=none").await, [nowhere.as_str()]);
    assert_eq!(stage.listed(&format!("lead_agency={ROADS}")).await, [given.as_str()]);
    assert_eq!(stage.listed("lead_agency=CA-19789").await, [""; 0], "it helps");
    assert_eq!(stage.listed("overdue=true").await, [""; 0]);
    stage.clock.advance(chrono::TimeDelta::days(60));
    assert_eq!(stage.listed("overdue=true").await.len(), 3);
}

#[tokio::test]
async fn what_came_in_is_listed_by_day_ended_or_not() {
    let stage = Stage::new().await;
    let (first, second) = (stage.report(Uuid::now_v7()).await, stage.report(Uuid::now_v7()).await);
    stage.act(stage.ioc, &first, json!({"action": "claim"})).await.expect(201);
    stage.act(stage.ioc, &first, json!({"action": "reject", "reason": "Không thuộc thẩm quyền"})).await.expect(201);
    let today = stage.day();
    stage.clock.advance(chrono::TimeDelta::days(1));
    let third = stage.report(Uuid::now_v7()).await;
    let tomorrow = stage.day();
    assert_eq!(stage.listed(&format!("happened=submitted&day={today}")).await, [second.as_str(), first.as_str()]);
    assert_eq!(stage.listed(&format!("happened=submitted&day={tomorrow}&ward=19789")).await, [third.as_str()]);
    assert_eq!(stage.listed(&format!("happened=submitted&state=rejected&day={today}")).await, [first.as_str()]);
    assert_eq!(stage.listed("happened=submitted").await, [third.as_str()], "without a day it is today");
    let path = format!("/reports/v1/queue?happened=submitted&day={today}&limit=1");
    let page = stage.get(Some(stage.ioc), &path).await.expect(200);
    let cursor = page["next_cursor"].as_str().expect("a second page");
    assert_eq!(
        stage.listed(&format!("happened=submitted&day={today}&limit=1&cursor={cursor}")).await,
        [first.as_str()]
    );
    let agency = stage.get(Some(stage.roads), "/reports/v1/queue?happened=submitted").await.expect(200);
    assert_eq!(agency["items"], json!([]), "an agency sees its own only");
}

#[tokio::test]
async fn a_report_that_misses_two_limits_is_listed_for_each_of_them() {
    let stage = Stage::new().await;
    let report = stage.urgent(Uuid::now_v7()).await;
    let day = stage.day();
    let breaches = async |query: &str| {
        let path = format!("/reports/v1/queue?happened=breach&{query}");
        stage.get(Some(stage.ioc), &path).await.expect(200)
    };
    let missed = async |count: usize| {
        eventually("the limit is missed", async || {
            breaches(&format!("day={day}")).await["items"].as_array().map(Vec::len) == Some(count)
        })
        .await;
    };
    stage.clock.advance(chrono::TimeDelta::minutes(20));
    missed(1).await;
    stage.act(stage.ioc, &report, json!({"action": "claim"})).await.expect(201);
    stage.clock.advance(chrono::TimeDelta::minutes(50));
    missed(2).await;
    let items = breaches(&format!("day={day}")).await["items"].clone();
    let told = |field: &str| [items[0][field].clone(), items[1][field].clone()];
    assert_eq!(told("id"), [json!(report), json!(report)]);
    assert_eq!(told("outcome"), [json!("verifying"), json!("received")], "the newest first");
    let [last, first] = told("happened_at").map(|at| at.as_str().expect("a time").to_owned());
    assert!(last > first && items[0]["state"] == "verifying", "each with its time: {items}");
    assert_eq!(
        breaches("outcome=received").await["items"][0]["happened_at"],
        json!(first),
        "today, when no day is given"
    );
    let page = breaches("limit=1").await;
    let cursor = page["next_cursor"].as_str().expect("a second page");
    let second = breaches(&format!("limit=1&cursor={cursor}")).await;
    assert_eq!((&page["items"][0], &second["items"][0]), (&items[0], &items[1]));
    assert_eq!(second["next_cursor"], json!(null));
    stage.clock.advance(chrono::TimeDelta::days(1));
    assert_eq!(stage.listed("happened=breach&outcome=received").await, [""; 0], "without a day it is today");
    let open = stage.get(Some(stage.ioc), "/reports/v1/queue").await.expect(200);
    assert_eq!((&open["items"][0]["happened_at"], &open["items"][0]["outcome"]), (&json!(null), &json!(null)));
}

#[tokio::test]
async fn breaches_results_and_ratings_lead_to_their_reports() {
    let stage = Stage::new().await;
    let (citizen, silent) = (Uuid::now_v7(), Uuid::now_v7());
    let (rated, unrated) = (stage.report(citizen).await, stage.report(silent).await);
    for report in [&rated, &unrated] {
        stage.published(report).await;
    }
    stage.say(citizen, &rated, "ratings", json!({"rating": "dissatisfied"})).await.expect(201);
    assert_eq!(stage.listed(&format!("happened=result&outcome=first&lead_agency={ROADS}")).await.len(), 2);
    assert_eq!(stage.listed("happened=result&outcome=late").await, [""; 0]);
    assert_eq!(stage.listed("happened=rating&outcome=dissatisfied").await, [rated.as_str()]);
    assert_eq!(stage.listed("happened=rating&outcome=none").await, [""; 0], "its round has not ended yet");
    let then = stage.day();
    assert_eq!(stage.listed(&format!("happened=result&outcome=first&day={then}")).await.len(), 2);
    assert_eq!(stage.listed(&format!("happened=rating&day={then}&lead_agency={ROADS}")).await, [rated.as_str()]);
    assert_eq!(stage.listed(&format!("happened=rating&day={then}&lead_agency=CA-19789")).await, [""; 0]);
    let urgent = stage.urgent(Uuid::now_v7()).await;
    stage.clock.advance(chrono::TimeDelta::days(60));
    eventually("the round ends and the limit is missed", async || {
        stage.listed("happened=rating&outcome=none").await == [unrated.as_str()]
            && stage.listed(&format!("happened=breach&outcome=received&day={}", stage.day())).await == [urgent.as_str()]
    })
    .await;
    assert_eq!(stage.listed("happened=breach&outcome=in-progress").await, [""; 0]);
    // Both ended, each on its day; of an agency whatever ever happened is listed.
    let all = format!("happened=rating&lead_agency={ROADS}");
    assert_eq!(stage.listed(&all).await, [unrated.as_str(), rated.as_str()]);
    assert_eq!(stage.listed(&format!("happened=result&lead_agency={ROADS}")).await.len(), 2);
    let ended: String = sqlx::query_scalar(
        "SELECT (updated_at AT TIME ZONE 'Asia/Ho_Chi_Minh')::date::text FROM reports.report WHERE id = $1::uuid",
    )
    .bind(&unrated)
    .fetch_one(&stage.admin())
    .await
    .expect("a query");
    assert_eq!(stage.listed(&format!("happened=rating&day={ended}&outcome=none")).await, [unrated.as_str()]);
    assert_eq!(stage.listed(&format!("happened=rating&day={ended}")).await, [unrated.as_str()]);
    assert_eq!(stage.listed(&format!("happened=rating&day={then}")).await, [rated.as_str()]);
    assert_eq!(stage.listed(&format!("happened=rating&day={then}&outcome=dissatisfied")).await, [rated.as_str()]);
    assert_eq!(stage.listed(&format!("happened=rating&day={then}&outcome=none")).await, [""; 0]);
    // What is opened again ended all the same.
    stage.say(silent, &unrated, "reopenings", json!({"reason": "Lại hỏng"})).await.expect(201);
    assert_eq!(stage.listed(&format!("{all}&outcome=none")).await, [unrated.as_str()]);
    assert_eq!(stage.listed(&format!("happened=rating&day={ended}&outcome=none")).await, [unrated.as_str()]);
}
