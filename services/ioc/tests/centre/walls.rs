//! Walls: snapshot, changes, resuming at any replica, limits, and who may look.

use std::time::Duration;

use ioc::overview::{Delta, Overview, Pulse};

use crate::stage::{LIMIT, Stage, Wall, minute, open};

/// How long a change may be held up between the centre and its wall.
const HELD_UP: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_wall_resumes_at_another_replica_with_what_it_missed() {
    let stage = Stage::new().await;
    let (one, other) = (stage.centre("a", open()).await, stage.centre("b", open()).await);
    stage.pay(platform::id::new(), 1_000).await;
    one.overview_when("counted", |overview| overview.last_payments.len() == 1).await;

    let mut wall = Wall::open(&one.url, None).await;
    let first = wall.next().await.expect("a snapshot");
    assert_eq!(first.event, "snapshot");
    let snapshot: Overview = serde_json::from_value(first.body).expect("an overview");
    assert_eq!(snapshot.city.name.vi, "Huế");
    assert_eq!(snapshot.minutes[0].tally.count, 1);
    let pulse: Pulse = serde_json::from_value(wall.next_of("pulse").await.body).expect("a pulse");
    assert_eq!(pulse.roles[0].service, "ioc");

    let before = minute(stage.clock.now());
    stage.pay(platform::id::new(), 2_000).await;
    // What the snapshot told may be told once more.
    let (second, delta) = loop {
        let message = wall.next_of("delta").await;
        let delta: Delta = serde_json::from_value(message.body.clone()).expect("a delta");
        if delta.today.iter().any(|tally| tally.count == 2) {
            break (message, delta);
        }
    };
    assert!(delta.last_payments.iter().any(|payment| payment.amount.amount == "2000"), "what is new: {delta:?}");
    let told = &second.body["minutes"][0]["minute"];
    assert!(*told == before || *told == minute(stage.clock.now()), "{told}");
    drop(wall);

    for amount in [3_000, 4_000] {
        stage.pay(platform::id::new(), amount).await;
    }
    other.overview_when("counted", |overview| overview.last_payments.len() == 4).await;
    let mut resumed = Wall::open(&other.url, second.id.as_deref()).await;
    let missed = resumed.next().await.expect("what was missed");
    assert_eq!(missed.event, "delta");
    let delta: Delta = serde_json::from_value(missed.body).expect("a delta");
    let amounts: Vec<_> = delta.last_payments.iter().map(|payment| payment.amount.amount.as_str()).collect();
    assert_eq!(amounts, ["4000", "3000"]);
    assert_eq!(delta.today[0].count, 4);

    // An id of another database, of the future or of nowhere gets everything.
    let (epoch, _) = second.id.as_deref().and_then(|id| id.split_once('.')).expect("an id");
    for id in [&format!("{epoch}.999999"), "another.1", "nonsense", &format!("{epoch}.-1")] {
        let first = Wall::open(&other.url, Some(id)).await.next().await.expect("a first event");
        assert_eq!(first.event, "snapshot", "{id}");
    }
}

#[tokio::test]
async fn changes_come_at_most_four_times_a_second() {
    let stage = Stage::new().await;
    let centre = stage.centre("a", open()).await;
    centre.overview().await;
    let mut wall = Wall::open(&centre.url, None).await;
    assert_eq!(wall.next().await.expect("a snapshot").event, "snapshot");
    let paying = async {
        for _ in 0..150 {
            stage.pay(platform::id::new(), 1_000).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let watching = async {
        let mut arrivals = Vec::new();
        loop {
            let message = wall.next_of("delta").await;
            arrivals.push(message.at);
            let delta: Delta = serde_json::from_value(message.body).expect("a delta");
            if delta.today.iter().any(|tally| tally.count == 150) {
                return arrivals;
            }
        }
    };
    let ((), arrivals) = tokio::join!(paying, watching);
    assert!(arrivals.len() >= 3, "{arrivals:?}");
    // Over the whole time: single ones may be held up on their way.
    let took = arrivals[arrivals.len() - 1] - arrivals[0] + HELD_UP;
    assert!(took.as_millis() / 250 + 1 >= arrivals.len() as u128, "{arrivals:?}");
}

#[tokio::test]
async fn walls_are_bounded_and_end_with_the_process() {
    let stage = Stage::new().await;
    let centre = stage.centre("a", ioc::Config { max_walls: 2, ..open() }).await;
    let mut one = Wall::open(&centre.url, None).await;
    let two = Wall::open(&centre.url, None).await;
    let refused = reqwest::get(format!("{}/ioc/v1/stream", centre.url)).await.expect("answered");
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
    let body: serde_json::Value = refused.json().await.expect("a problem");
    assert_eq!(body["code"], "too-many-walls");

    drop(two);
    let began = std::time::Instant::now();
    while reqwest::get(format!("{}/ioc/v1/stream", centre.url)).await.expect("answered").status() != 200 {
        assert!(began.elapsed() < LIMIT, "the place is not given back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    centre.stop().await;
    while one.next().await.is_some() {}
}

#[tokio::test]
async fn outsiders_see_nothing_unless_the_wall_is_public() {
    let stage = Stage::new().await;
    let closed = stage.centre("a", ioc::Config::default()).await;
    let open = stage.centre("b", open()).await;
    let status = async |url: &str, path: &str, header: Option<(&str, &str)>| {
        let mut request = reqwest::Client::new().get(format!("{url}{path}"));
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        request.send().await.expect("answered").status().as_u16()
    };
    let proxied = Some(("x-forwarded-for", "203.0.113.9"));
    for path in ["/ioc/v1/overview", "/ioc/v1/stream", "/ioc/v1/directory", "/ioc/v1/wards.topojson", "/ioc/v1/alarms"]
    {
        for header in [None, proxied] {
            assert_eq!(status(&closed.url, path, header).await, 401, "{path}");
            assert_eq!(status(&closed.internal_url, path, header).await, 401, "{path} on the internal listener");
            assert_eq!(status(&open.url, path, header).await, 200, "{path} of a public wall");
        }
    }
    let path = "/ioc/v1/metrics";
    assert_eq!(status(&closed.url, path, None).await, 200, "metrics from loopback");
    for header in [proxied, Some(("forwarded", "for=127.0.0.1")), Some(("via", "1.1 edge"))] {
        assert_eq!(status(&closed.url, path, header).await, 403, "metrics through a proxy");
    }
    assert_eq!(status(&closed.internal_url, path, proxied).await, 200, "metrics on the internal listener");
    assert_eq!(status(&open.url, path, proxied).await, 403, "metrics beside a public wall");
}

#[tokio::test]
async fn operators_see_the_wall_from_anywhere_until_their_role_or_session_ends() {
    let stage = Stage::new().await;
    let centre = stage.centre("a", ioc::Config::default()).await;
    let (operator, session) = (platform::id::new(), platform::id::new());
    let client = reqwest::Client::new();
    let outside = |path: &str| client.get(format!("{}{path}", centre.url)).header("x-forwarded-for", "203.0.113.9");
    let get = |path: &str, roles: &[&str]| {
        outside(path).bearer_auth(stage.issuer.officer_token(operator, session, 600, roles))
    };
    let answer = async |request: reqwest::RequestBuilder| {
        let answer = request.send().await.expect("answered");
        let status = answer.status().as_u16();
        let body: serde_json::Value = answer.json().await.unwrap_or_default();
        (status, body["code"].as_str().unwrap_or_default().to_owned())
    };
    for path in ["/ioc/v1/overview", "/ioc/v1/directory", "/ioc/v1/wards.topojson"] {
        for role in ["ioc.operator", "ioc.lead", "admin"] {
            assert_eq!(answer(get(path, &["finance.officer", role])).await.0, 200, "{path} as {role}");
        }
        for roles in [&[][..], &["agency.head:HEPCO"], &["finance.approver"], &["ioc.operator:HEPCO"]] {
            assert_eq!(answer(get(path, roles)).await, (403, "forbidden".to_owned()), "{path} as {roles:?}");
        }
        let forged = outside(path).bearer_auth("nonsense");
        assert_eq!(answer(forged).await, (401, "unauthenticated".to_owned()), "{path}");
        assert_eq!(answer(outside(path)).await, (401, "unauthenticated".to_owned()), "{path}");
    }
    let roles = async |request: reqwest::RequestBuilder| {
        let body: serde_json::Value = request.send().await.expect("answered").json().await.expect("JSON");
        body["roles"][0].clone()
    };
    let (told, seen) = (roles(outside("/ioc/v1/roles")).await, roles(get("/ioc/v1/roles", &["admin"])).await);
    assert_eq!((&told["service"], &told["ready"], &told["instance"]), (&"ioc".into(), &true.into(), &"".into()));
    assert_eq!(seen["instance"], "a", "operators are told which process it is");
    assert_eq!(answer(get("/ioc/v1/metrics", &["admin"])).await, (403, "internal-only".to_owned()));

    let mut wall = Wall::of(get("/ioc/v1/stream", &["ioc.operator"])).await;
    assert_eq!(wall.next().await.expect("a snapshot").event, "snapshot");
    stage.issuer.revoke_roles(operator, 600);
    tokio::time::timeout(Duration::from_secs(5), async { while wall.next().await.is_some() {} })
        .await
        .expect("the stream ends within five seconds");
    assert_eq!(answer(get("/ioc/v1/overview", &["ioc.operator"])).await, (401, "unauthenticated".to_owned()));
}
