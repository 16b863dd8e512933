//! The stream of the inbox: live over replicas, resumed without gap, ended with its session.

use http::{Method, StatusCode};
use serde_json::Value;

use super::TOKEN_LIFE_S;
use super::citizen::Citizen;
use super::{PATIENCE, Town};
use crate::inbox::MAX_STREAMS_PER_USER;

/// An open stream, as an app reads it.
struct Stream {
    response: reqwest::Response,
    text: String,
}

impl Stream {
    async fn open(citizen: &Citizen<'_>, last_event_id: Option<&str>) -> Self {
        let mut request = citizen.request(Method::GET, "/stream");
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut stream = Self { response, text: String::new() };
        assert!(stream.block().await.unwrap().contains("retry:"), "the greeting comes at once");
        stream
    }

    /// The next block of lines; `None` at the end of the stream.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                return Some(block);
            }
            let chunk = tokio::time::timeout(PATIENCE, self.response.chunk()).await.expect("in time").unwrap()?;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// Ids and titles of the next messages.
    async fn messages(&mut self, count: usize) -> Vec<(String, String)> {
        let mut found = Vec::new();
        while found.len() < count {
            let block = self.block().await.expect("the stream goes on");
            let field = |name: &str| {
                block.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
            };
            if let (Some(id), Some(data)) = (field("id:"), field("data:")) {
                let item: Value = serde_json::from_str(&data).unwrap();
                assert_eq!(item["sequence"].to_string(), id);
                found.push((id, item["title"].as_str().unwrap().to_owned()));
            }
        }
        found
    }

    async fn end(mut self) {
        while self.block().await.is_some() {}
    }
}

fn ids(messages: &[(String, String)]) -> Vec<&str> {
    messages.iter().map(|(id, _)| id.as_str()).collect()
}

#[tokio::test]
async fn messages_arrive_live_on_every_replica_and_resume_without_gap() {
    let town = Town::start().await;
    let (first, second) = (town.role().await, town.role().await);
    let lan = Citizen::of(&town, &first);
    let roaming = Citizen { role: &second, token: lan.token.clone(), ..Citizen::of(&town, &second) };
    lan.pay(1).await;
    let mut here = Stream::open(&lan, None).await;
    let mut there = Stream::open(&roaming, None).await;
    lan.pay(2).await;
    let expected = [("2".to_owned(), "Payment made".to_owned()), ("3".to_owned(), "Payment made".to_owned())];
    assert_eq!(here.messages(2).await, expected);
    assert_eq!(there.messages(2).await, expected);
    drop(here);
    lan.pay(2).await;
    let mut resumed = Stream::open(&roaming, Some("2")).await;
    assert_eq!(ids(&resumed.messages(3).await), ["3", "4", "5"]);
    lan.pay(1).await;
    assert_eq!(ids(&resumed.messages(1).await), ["6"]);
}

#[tokio::test]
async fn a_long_gap_is_caught_up_in_batches() {
    let town = Town::start().await;
    let role = town.role().await;
    let lan = Citizen::of(&town, &role);
    lan.pay(230).await;
    let mut stream = Stream::open(&lan, Some("0")).await;
    let expected: Vec<String> = (1..=230).map(|id: i32| id.to_string()).collect();
    assert_eq!(ids(&stream.messages(230).await), expected);
}

#[tokio::test]
async fn a_stream_ends_with_its_token_its_session_or_its_process() {
    let town = Town::start().await;
    let role = town.role().await;
    let (expiring, revoked) = (Citizen::of(&town, &role), Citizen::of(&town, &role));
    let stream = Stream::open(&revoked, None).await;
    town.issuer.revoke(revoked.session, TOKEN_LIFE_S);
    stream.end().await;
    let stream = Stream::open(&expiring, None).await;
    town.later(chrono::TimeDelta::seconds(TOKEN_LIFE_S + 10));
    stream.end().await;
    let fresh = Citizen::of(&town, &role);
    let stream = Stream::open(&fresh, None).await;
    role.shutdown.begin();
    stream.end().await;
}

#[tokio::test]
async fn wrong_ids_and_too_many_streams_are_refused() {
    let town = Town::start().await;
    let role = town.role().await;
    let lan = Citizen::of(&town, &role);
    for wrong in ["x", "-1", "1e3"] {
        let response = lan.request(Method::GET, "/stream").header("last-event-id", wrong).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{wrong}");
    }
    let mut open = Vec::new();
    for _ in 0..MAX_STREAMS_PER_USER {
        open.push(Stream::open(&lan, None).await);
    }
    let refused = lan.request(Method::GET, "/stream").send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    let problem: Value = refused.json().await.unwrap();
    assert_eq!(problem["code"], "too-many-streams");
}
