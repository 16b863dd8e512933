//! A merchant's live feed: in order, over replicas, resumed without loss, ended with its session.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use futures::StreamExt as _;
use http::Request;
use serde_json::{Value, json};

use crate::stage::{Replica, Shop, Stage, dong};

/// An open stream.
struct Live {
    body: BodyDataStream,
    text: String,
}

impl Live {
    async fn open(wallet: &Replica, token: &str, shop: &Shop, after: Option<i64>) -> Self {
        let mut request = Request::get(shop.path("/stream")).header("authorization", format!("Bearer {token}"));
        if let Some(after) = after {
            request = request.header("last-event-id", after);
        }
        let response = wallet.send(request.body(Body::empty()).expect("a request")).await;
        assert_eq!(
            (response.status().as_u16(), &response.headers()["content-type"]),
            (200, &http::HeaderValue::from_static("text/event-stream"))
        );
        Self { body: response.into_body().into_data_stream(), text: String::new() }
    }

    /// The next event: its id and data. `None` when the stream has ended.
    async fn next(&mut self) -> Option<(i64, Value)> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    event.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
                };
                let found = field("id:").zip(field("data:"));
                self.text = rest.to_owned();
                if let Some((id, data)) = found {
                    return Some((
                        id.parse().expect("a place in the journal"),
                        serde_json::from_str(&data).expect("JSON"),
                    ));
                }
                continue;
            }
            let chunk =
                tokio::time::timeout(Duration::from_secs(20), self.body.next()).await.expect("something in time");
            self.text.push_str(std::str::from_utf8(&chunk?.expect("no error")).expect("text"));
        }
    }

    async fn amounts(&mut self, count: usize) -> Vec<(i64, Value)> {
        let mut seen = Vec::new();
        for _ in 0..count {
            let (id, data) = self.next().await.expect("the stream goes on");
            seen.push((id, data["amount"].clone()));
        }
        seen
    }
}

async fn pay(wallet: &Replica, citizen: &str, shop: &Shop, amount: i64) -> i64 {
    let body = json!({"till_id": shop.till, "amount": dong(amount)});
    wallet.post(citizen, "/wallet/v1/payments", &body).await.expect(201)["sequence"].as_i64().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn payments_by_any_replica_arrive_in_order_and_a_stream_resumes() {
    let stage = Stage::new().await;
    let one = stage.start().await;
    let two = stage.replica("two").await;
    let citizen = one.funded(&stage, 100_000).await;
    let (shop, other) = (one.shop(&stage).await, one.shop(&stage).await);
    pay(&one, &citizen, &shop, 1).await;
    let mut live = Live::open(&one, &shop.token, &shop, None).await;
    let mut expected = Vec::new();
    for amount in 2..=9 {
        let wallet = if amount % 2 == 0 { &two } else { &one };
        pay(wallet, &citizen, &other, amount + 100).await;
        expected.push((pay(wallet, &citizen, &shop, amount).await, dong(amount)));
    }
    assert_eq!(live.amounts(8).await, expected, "from now on, this merchant's only, in order");
    drop(live);
    // Comes back to another replica with what it saw last.
    let mut live = Live::open(&two, &shop.token, &shop, Some(expected[3].0)).await;
    assert_eq!(live.amounts(4).await, expected[4..]);
    let next = pay(&one, &citizen, &shop, 10).await;
    assert_eq!(live.amounts(1).await, [(next, dong(10))]);
    let mut all = Live::open(&one, &shop.token, &shop, Some(0)).await;
    assert_eq!(all.amounts(10).await.len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_the_token() {
    let stage = Stage::new().await;
    let wallet = stage.start().await;
    let shop = wallet.shop(&stage).await;
    let owner: uuid::Uuid =
        sqlx::query_scalar("SELECT owner_user_id FROM wallet.merchant").fetch_one(&stage.admin()).await.expect("a row");
    let short = stage.issuer.token(owner, owner, 30);
    let mut live = Live::open(&wallet, &short, &shop, None).await;
    stage.clock.advance(chrono::TimeDelta::seconds(31));
    assert_eq!(live.next().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_has_only_so_many_streams() {
    let stage = Stage::new().await;
    let wallet = stage.start().await;
    let shop = wallet.shop(&stage).await;
    let mut open = Vec::new();
    for _ in 0..20 {
        open.push(Live::open(&wallet, &shop.token, &shop, None).await);
    }
    let answer = wallet.get(&shop.token, &shop.path("/stream")).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (429, "too-many-requests"));
    open.pop();
    open.push(Live::open(&wallet, &shop.token, &shop, None).await);
    // Streams that all wake at once leave connections for others.
    let citizen = wallet.funded(&stage, 10_000).await;
    let place = pay(&wallet, &citizen, &shop, 7).await;
    for live in &mut open {
        assert_eq!(live.amounts(1).await, [(place, dong(7))]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_is_not_ours_is_refused() {
    let stage = Stage::new().await;
    let wallet = stage.start().await;
    let shop = wallet.shop(&stage).await;
    for place in ["-1", "x", "9223372036854775808"] {
        let request = Request::get(shop.path("/stream"))
            .header("authorization", format!("Bearer {}", shop.token))
            .header("last-event-id", place);
        let answer = wallet.call(request.body(Body::empty()).expect("a request")).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, "invalid-header"), "{place}");
    }
}
