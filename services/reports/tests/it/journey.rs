//! A report from the citizen's phone to the rated result.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::stage::{PLACE, ROADS, Stage, jpeg, road};

#[tokio::test]
async fn a_report_goes_its_whole_way() {
    let stage = Stage::new().await;
    let citizen = Uuid::now_v7();
    let report = stage.report(citizen).await;
    let path = format!("/reports/v1/reports/{report}");
    stage.get(None, &path).await.expect(404);
    let own = stage.get(Some(citizen), &path).await.expect(200);
    assert_eq!((own["mine"].as_bool(), own["ward"]["code"].as_str()), (Some(true), Some("19789")));

    let seen = stage.get(Some(stage.ioc), &path).await.expect(200);
    assert_eq!(seen["proposed_agency"], ROADS);
    assert_eq!(seen["reporter"], json!(citizen));
    stage.act(stage.ioc, &report, json!({"action": "claim"})).await.expect(201);
    stage.act(stage.ioc, &report, json!({"action": "ask", "question": "Phía nào của đường?"})).await.expect(201);
    stage.say(citizen, &report, "answers", json!({"text": "Phía cổng chính"})).await.expect(201);
    let given = json!({"action": "distribute", "lead_agency": ROADS});
    let moved = stage.act(stage.ioc, &report, given).await.expect(201);
    assert_eq!(moved["state"], "distributed");
    assert_eq!(stage.get(None, &path).await.expect(200)["state"], "distributed", "checked, so it is public");
    stage.act(stage.roads, &report, json!({"action": "accept"})).await.expect(201);

    let done = json!({"action": "submit-result", "text": "Đã vá mặt đường"});
    assert_eq!(stage.act(stage.roads, &report, done.clone()).await.refused(422), "evidence-missing");
    let photo = stage.photo(stage.roads, &report, jpeg(640, 480)).await.expect(201);
    let photo = format!("{path}/photos/{}", photo["id"].as_str().expect("an id"));
    stage.act(stage.roads, &report, done).await.expect(201);
    stage.get(None, &photo).await.expect(404);
    assert_eq!(stage.get(None, &path).await.expect(200)["result"], Value::Null, "not before it is published");
    stage.act(stage.ioc, &report, json!({"action": "approve"})).await.expect(201);
    assert_eq!(stage.get(None, &path).await.expect(200)["result"], "Đã vá mặt đường");
    let shown = stage.get(None, &photo).await;
    assert_eq!((shown.status.as_u16(), &shown.headers["content-type"]), (200, &"image/jpeg".parse().expect("a type")));
    let rated = stage.say(citizen, &report, "ratings", json!({"rating": "satisfied"})).await.expect(201);
    assert_eq!(rated["state"], "closed");

    let timeline = stage.get(None, &format!("{path}/timeline")).await.expect(200);
    assert_eq!(timeline["chain_holds"], true);
    let actions: Vec<_> =
        timeline["items"].as_array().expect("a list").iter().map(|item| item["action"].clone()).collect();
    let expected = ["submit", "claim", "ask", "answer", "distribute", "accept", "submit-result", "approve", "rate"];
    assert_eq!(actions, expected);
    let statistics = stage.get(None, "/reports/v1/statistics").await.expect(200);
    assert_eq!(statistics["results"], 1);
    assert_eq!(statistics["within_first_deadline"], 1);
    assert_eq!(statistics["ratings"], json!({"satisfied": 1}));
}

#[tokio::test]
async fn a_dissatisfied_reporter_has_it_looked_at_again_twice() {
    let stage = Stage::new().await;
    let citizen = Uuid::now_v7();
    let report = stage.report(citizen).await;
    for round in 1..=3 {
        stage.published(&report).await;
        stage
            .say(citizen, &report, "ratings", json!({"rating": "dissatisfied", "comment": "Vẫn còn"}))
            .await
            .expect(201);
        let again = stage.say(citizen, &report, "reopenings", json!({"reason": "Vẫn còn ổ gà"})).await;
        if round == 3 {
            assert_eq!(again.refused(422), "reopen-exhausted");
            break;
        }
        assert_eq!(again.expect(201)["round"], round + 1);
        assert_eq!(stage.state(&report).await, "verifying");
    }
    let reason = json!({"action": "reopen", "reason": "Người dân khiếu nại"});
    stage.act(stage.ioc, &report, reason.clone()).await.expect(403);
    assert_eq!(stage.act(stage.supervisor, &report, reason).await.expect(201)["round"], 4);
    assert_eq!(stage.count("reports.rating WHERE rating = 'dissatisfied'").await, 3);
}

#[tokio::test]
async fn what_lies_near_and_the_map_are_found() {
    let stage = Stage::new().await;
    let report = stage.report(Uuid::now_v7()).await;
    let (lat, lon) = PLACE;
    let near = format!("/reports/v1/duplicates?category=HT&lat={}&lon={lon}", lat + 0.0009);
    let found = stage.get(None, &near).await.expect(200);
    assert_eq!(found["items"][0]["id"], json!(report));
    assert_eq!(found["items"][0]["distance_m"], 100);
    assert_eq!(found["items"][0]["text"], Value::Null, "nobody has looked at it yet");
    let far = format!("/reports/v1/duplicates?category=HT&lat={}&lon={lon}", lat + 0.003);
    assert_eq!(stage.get(None, &far).await.expect(200)["items"], json!([]));
    let map = "/reports/v1/map.geojson?bbox=107.5,16.4,107.7,16.5";
    assert_eq!(stage.get(None, map).await.expect(200)["features"], json!([]));
    stage.in_progress(&report).await;
    let features = stage.get(None, map).await.expect(200);
    assert_eq!(features["features"][0]["geometry"]["coordinates"], json!([lon, lat]));
    let place = stage.get(None, &format!("/reports/v1/locate?lat={lat}&lon={lon}")).await.expect(200);
    assert_eq!(place["ward"]["code"], "19789");
    assert_eq!(stage.get(None, "/reports/v1/locate?lat=21.03&lon=105.85").await.refused(422), "outside-city");
}

#[tokio::test]
async fn a_report_that_tells_the_same_is_merged() {
    let stage = Stage::new().await;
    let (first, second) = (stage.report(Uuid::now_v7()).await, stage.report(Uuid::now_v7()).await);
    for report in [&first, &second] {
        stage.act(stage.ioc, report, json!({"action": "claim"})).await.expect(201);
    }
    let merge = |into: &str| json!({"action": "merge", "into": into});
    assert_eq!(stage.act(stage.ioc, &second, merge(&second)).await.refused(422), "merge-target-invalid");
    assert_eq!(stage.act(stage.ioc, &second, merge(&first)).await.expect(201)["state"], "duplicate");
    assert_eq!(stage.act(stage.ioc, &first, merge(&second)).await.refused(422), "merge-target-invalid");
}

#[tokio::test]
async fn a_caller_has_no_reporter() {
    let stage = Stage::new().await;
    let mut body = road("Bà con gọi báo");
    body["channel"] = json!("call");
    assert_eq!(stage.post(Uuid::now_v7(), "/reports/v1/reports", &body).await.refused(403), "forbidden");
    assert_eq!(stage.post(stage.roads, "/reports/v1/reports", &body).await.refused(403), "forbidden");
    stage.post(stage.ioc, "/reports/v1/reports", &body).await.expect(201);
    assert_eq!(stage.count("reports.reporter").await, 0);
}
