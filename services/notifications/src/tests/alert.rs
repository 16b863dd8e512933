//! Warnings over HTTP: who may do what, what is refused, what anybody can read.

use chrono::TimeDelta;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Role, TOKEN_LIFE_S, Town};
use crate::alert::tests::flood;

/// Somebody with a token.
pub(super) struct Officer<'a> {
    town: &'a Town,
    role: &'a Role,
    pub(super) id: Uuid,
    token: String,
}

impl<'a> Officer<'a> {
    pub(super) fn with(town: &'a Town, role: &'a Role, roles: &[&str]) -> Self {
        let id = platform::id::new();
        let token = town.issuer.officer_token(id, platform::id::new(), TOKEN_LIFE_S, roles);
        Self { town, role, id, token }
    }

    pub(super) async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> (StatusCode, Value) {
        self.call_with_key(method, path, body, &Uuid::new_v4().to_string()).await
    }

    pub(super) async fn call_with_key(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        key: &str,
    ) -> (StatusCode, Value) {
        let url = format!("{}/notifications/v1{path}", self.role.url);
        let request = self.town.client.request(method, url).bearer_auth(&self.token).header("idempotency-key", key);
        let request = if let Some(body) = body { request.json(body) } else { request };
        let response = request.send().await.unwrap();
        let status = response.status();
        (status, serde_json::from_str(&response.text().await.unwrap()).unwrap_or(Value::Null))
    }

    /// Drafts, and gives the alert's id.
    pub(super) async fn draft(&self, body: &Value) -> String {
        let (status, alert) = self.call(Method::POST, "/alerts", Some(body)).await;
        assert_eq!(status, StatusCode::CREATED, "{alert}");
        alert["id"].as_str().unwrap().to_owned()
    }

    pub(super) async fn release(&self, id: &str) -> (StatusCode, Value) {
        let (_, seen) = self.call(Method::GET, &format!("/alerts/{id}"), None).await;
        self.release_as(id, seen["revision"].as_i64().unwrap_or(1)).await
    }

    /// Releases what was read at a revision.
    pub(super) async fn release_as(&self, id: &str, revision: i64) -> (StatusCode, Value) {
        self.call(Method::POST, &format!("/alerts/{id}/release"), Some(&json!({ "revision": revision }))).await
    }

    pub(super) async fn cancel(&self, id: &str) -> (StatusCode, Value) {
        let reason = json!({ "reason": { "vi": "Nước đã rút.", "en": "The water has gone." } });
        self.call(Method::POST, &format!("/alerts/{id}/cancel"), Some(&reason)).await
    }
}

/// The body of a draft for these wards.
pub(super) fn draft_of(town: &Town, wards: &[&str]) -> Value {
    json!({ "content": flood(wards), "expires_at": town.clock.now() + TimeDelta::hours(12) })
}

pub(super) fn code(answer: &(StatusCode, Value)) -> (u16, &str) {
    (answer.0.as_u16(), answer.1["code"].as_str().unwrap_or_default())
}

#[tokio::test]
async fn two_officers_release_a_warning_that_anybody_can_read() {
    let town = Town::start().await;
    let role = town.role().await;
    let drafter = Officer::with(&town, &role, &["ioc.operator"]);
    let lead = Officer::with(&town, &role, &["ioc.lead"]);
    let id = drafter.draft(&draft_of(&town, &["19774"])).await;
    let (_, drafted) = lead.call(Method::GET, &format!("/alerts/{id}"), None).await;
    assert_eq!((&drafted["state"], &drafted["kind"]), (&json!("drafted"), &json!("alert")));
    let address = format!("{}/cap/v1/alerts/{}.xml", role.url, drafted["identifier"].as_str().unwrap());
    let get = |url: &str| town.client.get(url).send();
    assert_eq!(get(&address).await.unwrap().status(), StatusCode::NOT_FOUND, "a draft is nobody's");
    assert_eq!(code(&drafter.release(&id).await), (409, "alert-same-officer"));

    let (status, released) = lead.release(&id).await;
    assert_eq!((status, &released["state"]), (StatusCode::OK, &json!("released")));
    assert_eq!((&released["drafted_by"], &released["released_by"]), (&json!(drafter.id), &json!(lead.id)));
    assert_eq!(lead.release(&id).await, (status, released.clone()), "a second click");
    let other = Officer::with(&town, &role, &["ioc.operator"]);
    assert_eq!(code(&other.release(&id).await), (409, "alert-not-drafted"));
    assert_eq!(town.count("SELECT count(*) FROM notifications.job WHERE kind = 'fan-out-alert'").await, 1);
    assert_eq!(town.count("SELECT count(*) FROM notifications.outbox WHERE kind LIKE '%AlertReleased'").await, 1);

    let document = get(&address).await.unwrap();
    assert_eq!(document.status(), StatusCode::OK);
    assert_eq!(document.headers()["content-type"], "application/cap+xml; charset=utf-8");
    assert!(document.headers()["cache-control"].to_str().unwrap().contains("immutable"));
    let etag = document.headers()["etag"].clone();
    let text = document.text().await.unwrap();
    assert!(text.contains("<msgType>Alert</msgType>") && text.contains("<value>19774</value>"), "{text}");
    let again = town.client.get(&address).header("if-none-match", etag).send().await.unwrap();
    assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    let feed = get(&format!("{}/cap/v1/feed.atom", role.url)).await.unwrap();
    assert_eq!(feed.headers()["content-type"], "application/atom+xml; charset=utf-8");
    let etag = feed.headers()["etag"].clone();
    assert!(feed.text().await.unwrap().contains(drafted["identifier"].as_str().unwrap()));
    let request = town.client.get(format!("{}/cap/v1/feed.atom", role.url)).header("if-none-match", etag);
    assert_eq!(request.send().await.unwrap().status(), StatusCode::NOT_MODIFIED);
    assert_eq!(role.metric("alerts_total severity=\"severe\" step=\"released\"").as_deref(), Some("1"));
    role.stop().await;
}

#[tokio::test]
async fn many_who_release_at_once_release_once() {
    let town = Town::start().await;
    let (one, two) = (town.role().await, town.role().await);
    let drafter = Officer::with(&town, &one, &["ioc.operator"]);
    let id = drafter.draft(&draft_of(&town, &["19774"])).await;
    let officers: Vec<_> =
        (0..8).map(|number| Officer::with(&town, if number % 2 == 0 { &one } else { &two }, &["ioc.lead"])).collect();
    let answers = futures::future::join_all(officers.iter().map(|officer| officer.release(&id))).await;
    let released: Vec<_> = answers.iter().filter(|(status, _)| *status == StatusCode::OK).collect();
    assert_eq!(released.len(), 1, "{answers:?}");
    assert!(
        answers.iter().filter(|(status, _)| !status.is_success()).all(|answer| code(answer).1 == "alert-not-drafted")
    );
    assert_eq!(town.count("SELECT count(*) FROM notifications.outbox WHERE kind LIKE '%AlertReleased'").await, 1);
    let ends = futures::future::join_all(officers.iter().map(|officer| officer.cancel(&id))).await;
    assert_eq!(ends.iter().filter(|(status, _)| *status == StatusCode::OK).count(), 1, "{ends:?}");
    assert!(
        ends.iter().filter(|(status, _)| !status.is_success()).all(|answer| code(answer).1 == "alert-not-in-force")
    );
    assert_eq!(town.count("SELECT count(*) FROM notifications.alert").await, 2);
    assert_eq!(town.count("SELECT count(*) FROM notifications.outbox WHERE kind LIKE '%AlertCancelled'").await, 1);
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn only_officers_of_the_centre_see_and_move_alerts() {
    let town = Town::start().await;
    let role = town.role().await;
    let operator = Officer::with(&town, &role, &["ioc.operator"]);
    let body = draft_of(&town, &["19774"]);
    let id = operator.draft(&body).await;
    let citizen = Officer::with(&town, &role, &[]);
    let agency = Officer::with(&town, &role, &["reports.officer", "ioc.viewer"]);
    for somebody in [&citizen, &agency] {
        assert_eq!(code(&somebody.call(Method::POST, "/alerts", Some(&body)).await), (403, "forbidden"));
        assert_eq!(code(&somebody.release(&id).await), (403, "forbidden"));
        assert_eq!(code(&somebody.cancel(&id).await), (403, "forbidden"));
        for path in ["/alerts".to_owned(), format!("/alerts/{id}"), format!("/alerts/{id}/reach")] {
            assert_eq!(code(&somebody.call(Method::GET, &path, None).await), (403, "forbidden"), "{path}");
        }
    }
    let lead = Officer::with(&town, &role, &["ioc.lead"]);
    assert_eq!(code(&lead.call(Method::POST, "/alerts", Some(&body)).await), (403, "forbidden"), "leads release");
    assert_eq!(code(&lead.release(&Uuid::new_v4().to_string()).await), (404, "not-found"));
    assert_eq!(code(&lead.call(Method::GET, &format!("/alerts/{id}/reach"), None).await), (404, "not-found"));
    let second = operator.draft(&body).await;
    let (_, page) = lead.call(Method::GET, "/alerts?limit=1", None).await;
    assert_eq!(page["items"][0]["id"], json!(second));
    let cursor = page["next_cursor"].as_str().unwrap();
    let (_, page) = lead.call(Method::GET, &format!("/alerts?limit=1&cursor={cursor}"), None).await;
    assert_eq!((&page["items"][0]["id"], &page["next_cursor"]), (&json!(id), &Value::Null));
}

#[tokio::test]
async fn what_is_not_valid_is_refused_and_leaves_nothing() {
    let town = Town::start().await;
    let role = town.role().await;
    let operator = Officer::with(&town, &role, &["ioc.operator"]);
    let good = draft_of(&town, &["19774"]);
    let with = |path: &str, value: Value| {
        let mut body = good.clone();
        *body.pointer_mut(path).unwrap() = value;
        body
    };
    let circles = json!({ "description": { "vi": "a", "en": "a" }, "circles": ["107.5,16.4 1"] });
    for (body, wanted) in [
        (with("/content/wards", json!(["00000"])), "ward-unknown"),
        (with("/content/wards", json!([])), "wards-invalid"),
        (with("/content/wards", json!(["19774", "19774"])), "wards-invalid"),
        (with("/content/headline/en", json!("")), "invalid-field"),
        (with("/content/outline", circles), "alert-area-invalid"),
        (with("/content/severity", json!("grave")), "invalid-body"),
        (with("/expires_at", json!(town.clock.now())), "alert-expiry-invalid"),
        (with("/expires_at", json!(town.clock.now() + TimeDelta::days(8))), "alert-expiry-invalid"),
    ] {
        assert_eq!(code(&operator.call(Method::POST, "/alerts", Some(&body)).await), (422, wanted), "{body}");
    }
    let mut update = good.clone();
    update["updates"] = json!(Uuid::new_v4());
    assert_eq!(code(&operator.call(Method::POST, "/alerts", Some(&update)).await), (404, "not-found"));
    assert_eq!(town.count("SELECT count(*) FROM notifications.alert").await, 0);

    let post = |key| operator.call_with_key(Method::POST, "/alerts", Some(&good), key);
    let first = post("k1").await;
    assert_eq!(post("k1").await, first, "the same key, the same draft");
    assert_eq!(town.count("SELECT count(*) FROM notifications.alert").await, 1);
    let reused = operator.call_with_key(Method::POST, "/alerts", Some(&update), "k1").await;
    assert_eq!(code(&reused), (422, "idempotency-key-reused"));
}

#[tokio::test]
async fn alerts_are_replaced_ended_withdrawn_and_expire() {
    let town = Town::start().await;
    let role = town.role().await;
    let (one, two) = (Officer::with(&town, &role, &["ioc.operator"]), Officer::with(&town, &role, &["ioc.operator"]));
    let state = async |id: &str| two.call(Method::GET, &format!("/alerts/{id}"), None).await.1["state"].clone();
    let first = one.draft(&draft_of(&town, &["19774"])).await;
    let mut update = draft_of(&town, &["19774", "19753"]);
    update["updates"] = json!(first);
    let early = one.call(Method::POST, "/alerts", Some(&update)).await;
    assert_eq!(code(&early), (409, "alert-not-in-force"), "a draft can't be updated");
    two.release(&first).await;
    let mut exercise = update.clone();
    exercise["content"]["status"] = json!("exercise");
    let mixed = one.call(Method::POST, "/alerts", Some(&exercise)).await;
    assert_eq!(code(&mixed), (409, "alert-status-differs"), "an exercise ends no warning");
    let (second, rival) = (one.draft(&update).await, one.draft(&update).await);
    assert_eq!(state(&first).await, "released", "an update that is drafted changes nothing");
    let (_, released) = two.release(&second).await;
    assert_eq!((&released["kind"], &released["supersedes"]), (&json!("update"), &json!(first)));
    assert_eq!(state(&first).await, "updated");
    assert_eq!(code(&two.release(&rival).await), (409, "alert-not-in-force"), "replaced meanwhile");
    assert_eq!(code(&two.cancel(&first).await), (409, "alert-not-in-force"));
    assert_eq!(one.cancel(&rival).await.1["state"], "withdrawn");
    assert_eq!(code(&two.release(&rival).await), (409, "alert-not-drafted"));

    let (status, ending) = one.cancel(&second).await;
    assert_eq!((status, &ending["kind"], &ending["supersedes"]), (StatusCode::OK, &json!("cancel"), &json!(second)));
    assert_eq!(state(&second).await, "cancelled");
    let end = ending["id"].as_str().unwrap();
    assert_eq!(code(&two.cancel(end).await), (409, "alert-not-in-force"), "an end has no end");
    let address = format!("{}/cap/v1/alerts/{}.xml", role.url, ending["identifier"].as_str().unwrap());
    let document = town.client.get(address).send().await.unwrap().text().await.unwrap();
    let reference = format!("<references>ioc@hue.example,{},", released["identifier"].as_str().unwrap());
    assert!(document.contains("<msgType>Cancel</msgType>") && document.contains(&reference), "{document}");

    let short = one.draft(&draft_of(&town, &["19774"])).await;
    let late = one.draft(&draft_of(&town, &["19774"])).await;
    two.release(&short).await;
    town.later(TimeDelta::hours(12));
    let later = Officer::with(&town, &role, &["ioc.lead"]);
    let (_, expired) = later.call(Method::GET, &format!("/alerts/{short}"), None).await;
    assert_eq!(expired["state"], "expired");
    assert_eq!(code(&later.release(&late).await), (409, "alert-not-drafted"));
    assert_eq!(code(&later.cancel(&short).await), (409, "alert-not-in-force"));
    let lists = town.client.get(format!("{}/cap/v1/feed.atom", role.url)).send().await.unwrap().text().await.unwrap();
    assert_eq!(lists.matches("<entry>").count(), 4);
    role.stop().await;
}

#[tokio::test]
async fn citizens_choose_their_wards() {
    let town = Town::start().await;
    let role = town.role().await;
    let lan = Officer::with(&town, &role, &[]);
    let put = async |codes: Value| lan.call(Method::PUT, "/wards", Some(&json!({ "codes": codes }))).await;
    assert_eq!(lan.call(Method::GET, "/wards", None).await.1, json!({ "codes": [] }));
    let chosen = json!({ "codes": ["19753", "19774"] });
    assert_eq!(put(json!(["19774", "19753"])).await, (StatusCode::OK, chosen.clone()));
    assert_eq!(lan.call(Method::GET, "/wards", None).await.1, chosen);
    assert_eq!(code(&put(json!(["12345"])).await), (422, "ward-unknown"));
    assert_eq!(code(&put(json!(["19774", "19774"])).await), (422, "wards-invalid"));
    let six = ["19753", "19774", "19777", "19789", "19804", "19813"];
    assert_eq!(code(&put(json!(six)).await), (422, "wards-invalid"));
    assert_eq!(lan.call(Method::GET, "/wards", None).await.1, chosen, "what is refused changes nothing");
    let many = futures::future::join_all(six.iter().map(|ward| put(json!([ward])))).await;
    assert!(many.iter().all(|(status, _)| *status == StatusCode::OK));
    assert_eq!(lan.call(Method::GET, "/wards", None).await.1["codes"].as_array().unwrap().len(), 1);
    assert_eq!(put(json!([])).await.1, json!({ "codes": [] }));
}
