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
    let (citizen, report) = (Uuid::now_v7(), stage.report(Uuid::now_v7()).await);
    let (lat, lon) = PLACE;
    let near = format!("/reports/v1/duplicates?category=HT&lat={}&lon={lon}", lat + 0.0009);
    let found = stage.get(Some(citizen), &near).await.expect(200);
    assert_eq!(found["items"][0]["state"], "received");
    assert_eq!(found["items"][0]["text"], Value::Null, "nobody has looked at it yet");
    let far = format!("/reports/v1/duplicates?category=HT&lat={}&lon={lon}", lat + 0.003);
    assert_eq!(stage.get(Some(citizen), &far).await.expect(200)["items"], json!([]));
    let map = "/reports/v1/map.geojson?bbox=107.5,16.4,107.7,16.5";
    assert_eq!(stage.get(None, map).await.expect(200)["features"], json!([]));
    stage.in_progress(&report).await;
    let found = stage.get(None, &near).await.expect(200);
    assert_eq!((&found["items"][0]["id"], &found["items"][0]["distance_m"]), (&json!(report), &json!(100)));
    let features = stage.get(None, map).await.expect(200);
    assert_eq!(features["features"][0]["geometry"]["coordinates"], json!([lon, lat]));
    let place = stage.get(None, &format!("/reports/v1/locate?lat={lat}&lon={lon}")).await.expect(200);
    assert_eq!(place["ward"]["code"], "19789");
    assert_eq!(stage.get(None, "/reports/v1/locate?lat=21.03&lon=105.85").await.refused(422), "outside-city");
}

#[tokio::test]
async fn what_nobody_has_verified_is_not_found_by_its_neighbours() {
    let stage = Stage::new().await;
    let report = stage.report(Uuid::now_v7()).await;
    let (lat, lon) = PLACE;
    let mut elsewhere = road("Ổ gà khác");
    elsewhere["position"] = json!({"lat": lat + 0.0002, "lon": lon + 0.0003});
    stage.post(Uuid::now_v7(), "/reports/v1/reports", &elsewhere).await.expect(201);
    let path = |metres: f64| format!("/reports/v1/duplicates?category=HT&lat={}&lon={lon}", lat + metres / 111_320.0);
    assert_eq!(stage.get(None, &path(0.0)).await.expect(200)["items"], json!([]), "without a token");
    let citizen = Uuid::now_v7();
    for metres in [-180.0, -90.0, -1.0, 0.0, 22.0, 60.0, 150.0] {
        let found = stage.get(Some(citizen), &path(metres)).await.expect(200);
        let [one, other] = [&found["items"][0], &found["items"][1]];
        assert_eq!(one, other, "two places of one square look alike from everywhere");
        assert_eq!((&one["id"], &one["text"]), (&json!(null), &json!(null)), "its id would tell when it was sent");
        assert!(one["created_at"].as_str().is_some_and(|at| at.ends_with("T17:00:00Z")), "a day of the city: {one}");
    }
    stage.in_progress(&report).await;
    let found = stage.get(None, &path(100.0)).await.expect(200);
    assert_eq!((&found["items"][0]["id"], &found["items"][0]["distance_m"]), (&json!(report), &json!(100)));
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

#[tokio::test]
async fn an_agency_asks_for_more_time_and_the_first_deadline_stays() {
    let stage = Stage::new().await;
    let report = stage.report(Uuid::now_v7()).await;
    stage.in_progress(&report).await;
    let path = format!("/reports/v1/reports/{report}");
    let first = stage.get(None, &path).await.expect(200)["first_due_at"].clone();
    assert_ne!(first, Value::Null);
    let until = (stage.clock.now() + chrono::TimeDelta::days(40)).to_rfc3339();
    let ask = json!({"action": "request-extension", "until": until, "reason": "Chờ vật tư"});
    assert_eq!(
        stage.act(stage.ioc, &report, json!({"action": "grant-extension"})).await.refused(409),
        "no-extension-asked"
    );
    stage.act(stage.roads, &report, ask.clone()).await.expect(201);
    assert_eq!(stage.act(stage.roads, &report, ask).await.refused(409), "extension-not-open");
    assert_eq!(stage.get(Some(stage.ioc), &path).await.expect(200)["extension_asked"], true);
    stage.act(stage.ioc, &report, json!({"action": "grant-extension"})).await.expect(201);
    let after = stage.get(None, &path).await.expect(200);
    assert_eq!(after["first_due_at"], first);
    assert!(after["due_at"].as_str() > first.as_str(), "{after}");
    // A result that is sent back goes on with what is left of the time.
    stage.photo(stage.roads, &report, jpeg(16, 16)).await.expect(201);
    stage.act(stage.roads, &report, json!({"action": "submit-result", "text": "Đã vá"})).await.expect(201);
    stage.act(stage.ioc, &report, json!({"action": "send-back", "reason": "Ảnh mờ"})).await.expect(201);
    stage.act(stage.roads, &report, json!({"action": "submit-result", "text": "Đã vá lại"})).await.expect(201);
    stage.act(stage.supervisor, &report, json!({"action": "approve"})).await.expect(201);
    let statistics = stage.get(None, "/reports/v1/statistics").await.expect(200);
    assert_eq!((&statistics["results"], &statistics["within_extended_deadline"]), (&json!(1), &json!(1)));
}

#[tokio::test]
async fn officers_are_known_by_their_roles_alone() {
    let stage = Stage::new().await;
    stage.report(Uuid::now_v7()).await;
    let person = Uuid::now_v7();
    let queue = async |roles: &[&str]| {
        let token = stage.token_of_roles(person, roles);
        let request = http::Request::get("/reports/v1/queue").header("authorization", format!("Bearer {token}"));
        stage.call(request.body(axum::body::Body::empty()).expect("a request")).await
    };
    let items = |answer: Value| answer["items"].as_array().map(Vec::len);
    let agency = format!("agency.officer:{ROADS}");
    assert_eq!(items(queue(&["ioc.operator"]).await.expect(200)), Some(1));
    assert_eq!(items(queue(&["ioc.lead"]).await.expect(200)), Some(1));
    assert_eq!(items(queue(&[&agency]).await.expect(200)), Some(0), "it was not given to them");
    for roles in [&[][..], &["admin"], &["finance.officer"]] {
        assert_eq!(queue(roles).await.refused(403), "forbidden");
    }
    // What was written down here once makes nobody an officer.
    sqlx::query("INSERT INTO reports.officer (user_id, role, appointed_at) VALUES ($1, 'supervisor', now())")
        .bind(person)
        .execute(&stage.admin())
        .await
        .expect("written");
    assert_eq!(queue(&[]).await.refused(403), "forbidden");
    let appointed = reports::appointment::appointed(&stage.context.pool).await.expect("read");
    assert_eq!(appointed.iter().map(|one| one.role_name()).collect::<Vec<_>>(), ["ioc.lead"]);
}

#[tokio::test]
async fn an_officer_acts_for_what_stands_below_their_agency_and_in_their_ward() {
    let stage = Stage::new().await;
    let report = stage.report(Uuid::now_v7()).await;
    stage.act(stage.ioc, &report, json!({"action": "claim"})).await.expect(201);
    let distribute = json!({"action": "distribute", "lead_agency": ROADS, "co_agencies": ["HEPCO"]});
    stage.act(stage.ioc, &report, distribute).await.expect(201);
    let call = async |role: &str, method: http::Method, path: &str, body: Value| {
        let token = stage.token_of_roles(Uuid::now_v7(), &[role]);
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .header("idempotency-key", Uuid::now_v7().to_string());
        stage.call(request.body(body.to_string().into()).expect("a request")).await
    };
    let queue = "/reports/v1/queue";
    for (role, seen) in [
        ("agency.head:UBND-19789", 1),
        ("agency.officer:UBND-19753", 0),
        ("agency.officer:HEPCO:19789", 1),
        ("agency.officer:HEPCO:19753", 0),
        ("agency.officer:TNDT", 0),
    ] {
        let page = call(role, http::Method::GET, queue, Value::Null).await.expect(200);
        assert_eq!(page["items"].as_array().map(Vec::len), Some(seen), "{role}");
        let below = call(role, http::Method::GET, &format!("{queue}?agency={ROADS}"), Value::Null).await;
        assert_eq!(below.status.as_u16(), if role == "agency.head:UBND-19789" { 200 } else { 403 }, "{role}");
    }
    let accept = json!({"action": "accept", "version": stage.version(&report).await});
    let path = format!("/reports/v1/reports/{report}/transitions");
    for (role, status) in [
        ("agency.officer:UBND-19753", 404),
        ("agency.officer:HEPCO:19753", 404),
        ("agency.officer:HEPCO:19789", 403),
        ("agency.head:UBND-19789", 201),
    ] {
        call(role, http::Method::POST, &path, accept.clone()).await.expect(status);
    }
    assert_eq!(stage.count(&format!("reports.history WHERE action = 'accept' AND agency = '{ROADS}'")).await, 1);
}

#[tokio::test]
async fn lists_join_without_gap_and_show_only_what_is_public() {
    let stage = Stage::new().await;
    let citizen = Uuid::now_v7();
    let mut public = Vec::new();
    for index in 0..5 {
        let report = stage.report(citizen).await;
        if index != 2 {
            stage.in_progress(&report).await;
            public.insert(0, report);
        }
    }
    let mut seen = Vec::new();
    let mut path = "/reports/v1/reports?category=HT&ward=19789&state=in-progress&limit=3".to_owned();
    loop {
        let page = stage.get(None, &path).await.expect(200);
        seen.extend(
            page["items"].as_array().expect("a list").iter().map(|item| item["id"].as_str().expect("an id").to_owned()),
        );
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/reports/v1/reports?category=HT&ward=19789&state=in-progress&limit=3&cursor={cursor}");
    }
    assert_eq!(seen, public);
    let mine = stage.get(Some(citizen), "/reports/v1/reports?mine=true").await.expect(200);
    assert_eq!(mine["items"].as_array().map(Vec::len), Some(5));
    assert_eq!(stage.get(Some(Uuid::now_v7()), "/reports/v1/reports?mine=true").await.expect(200)["items"], json!([]));
    stage.get(None, "/reports/v1/reports?mine=true").await.expect(401);
    for query in ["state=unknown", "colour=red", "mine=true&category=HT", "cursor=!"] {
        assert_eq!(
            stage.get(Some(citizen), &format!("/reports/v1/reports?{query}")).await.refused(400),
            "invalid-query"
        );
    }
    for bbox in ["", "1,2,3", "2,0,1,1", "a,b,c,d"] {
        assert_eq!(
            stage.get(None, &format!("/reports/v1/map.geojson?bbox={bbox}")).await.refused(400),
            "invalid-query"
        );
    }
}
