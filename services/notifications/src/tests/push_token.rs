//! Tokens of the push gateway: asked for as a service account, kept while they live, asked for again when they end.

use chrono::TimeDelta;
use serde_json::Value;
use tokio::net::TcpListener;
use uuid::Uuid;

use super::{Town, until};
use crate::event::tests::{event, payment_of};

/// A town whose push gateway takes nothing but tokens of its service account; and where that gateway is.
async fn town() -> (Town, String) {
    let mut town = Town::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let outside = sandbox::Config::generate().with_service_account();
    let push = town.config.push.as_mut().unwrap();
    push.url = format!("{url}/gateways/fcm").parse().unwrap();
    push.project.clone_from(&outside.push.project);
    push.timeout_ms = 30_000;
    push.token = None;
    push.service_account = outside.push.account_file(&url);
    tokio::spawn(sandbox::serve(listener, outside, town.clock.clone(), town.shutdown.clone()));
    (town, url)
}

async fn get(town: &Town, url: &str) -> Value {
    town.client.get(url).send().await.unwrap().json().await.unwrap()
}

/// Pays, and waits until that many push messages have come.
async fn pushed(town: &Town, url: &str, user: Uuid, count: usize) {
    town.happen(&[event(user, &payment_of(user, platform::id::new()))]).await;
    let all = format!("{url}/push?token=phone");
    until(async || (get(town, &all).await.as_array().unwrap().len() == count).then_some(())).await;
}

#[tokio::test]
async fn tokens_are_asked_for_kept_and_replaced() {
    let (town, url) = town().await;
    let user = platform::id::new();
    town.device(user, "phone").await;
    let role = town.role().await;
    let issued = async || get(&town, &format!("{url}/push/tokens")).await["issued"].as_u64().unwrap();
    pushed(&town, &url, user, 1).await;
    pushed(&town, &url, user, 2).await;
    assert_eq!(issued().await, 1, "a token is kept while it lives");
    town.later(TimeDelta::minutes(56));
    pushed(&town, &url, user, 3).await;
    assert_eq!(issued().await, 2, "it is replaced before it ends");
    town.later(TimeDelta::hours(3));
    pushed(&town, &url, user, 4).await;
    assert_eq!(issued().await, 3, "it has ended meanwhile");
    // A new one that is refused is not replaced at once.
    town.later(TimeDelta::minutes(1));
    let taken_back = town.client.delete(format!("{url}/push/tokens")).send().await.unwrap();
    assert!(taken_back.status().is_success());
    pushed(&town, &url, user, 5).await;
    assert_eq!(issued().await, 4, "the gateway refused it before its time");
    let failed = "SELECT count(*) FROM notifications.attempt WHERE outcome <> 'delivered'";
    assert_eq!(town.count(failed).await, 0, "nobody waited for it");
    role.stop().await;
}
