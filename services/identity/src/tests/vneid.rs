//! Visits to VNeID: linked, refused, replayed, of another session; what collides changes nothing.

use chrono::TimeDelta;
use http::{Method, StatusCode};
use proto::identity::v1::VneidLinked;
use reqwest::redirect::Policy;
use serde_json::{Value, json};
use url::Url;

use super::ekyc::Scene;
use crate::tests::http::Answer;
use crate::tests::step_up::Phone;

const LINK: &str = "/identity/v1/me/vneid";
const RETURNS: &str = "/identity/v1/me/vneid/returns";
const NUMBER: &str = "046199012345";

pub(super) fn verdict(answer: &Answer) -> (u16, &str) {
    (answer.status.as_u16(), answer.code())
}

impl Scene {
    pub(super) async fn known(&self, number: &str, subject: &str) {
        self.steer(
            "/vneid/people",
            json!({ "citizen_number": number, "full_name": "Nguyễn Thị Hương", "subject": subject }),
        )
        .await;
    }

    async fn try_begin(&self, token: &str, body: Value) -> Answer {
        self.stage.call(Method::POST, LINK).token(token).json(body).await
    }

    /// Begins a visit.
    pub(super) async fn begin(&self, token: &str) -> Url {
        let begun = self.try_begin(token, json!({})).await;
        assert_eq!(begun.status, StatusCode::CREATED, "{}", begun.body);
        begun.text("authorization_url").parse().expect("a URL")
    }

    /// Signs in there as somebody; the fields of the way back to the app.
    pub(super) async fn visit(&self, url: &Url, number: &str) -> Value {
        let back = self.way_back(url, number).await;
        assert!(back.as_str().starts_with("https://hue.example.org/vneid?"), "{back}");
        back.query_pairs()
            .map(|(name, value)| (name.into_owned(), json!(value)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }

    /// Signs in there as somebody; where the browser is sent then.
    pub(super) async fn way_back(&self, url: &Url, number: &str) -> Url {
        let mut url = url.clone();
        url.query_pairs_mut().append_pair("login_hint", number);
        let browser = reqwest::Client::builder().redirect(Policy::none()).build().expect("a browser");
        let answer = browser.get(url).send().await.expect("VNeID answers");
        let back = answer.headers().get("location").and_then(|value| value.to_str().ok()).expect("a way back");
        back.parse().expect("a URL")
    }

    pub(super) async fn return_with(&self, token: &str, back: &Value) -> Answer {
        self.stage.call(Method::POST, RETURNS).token(token).json(back.clone()).await
    }

    pub(super) async fn linked(&self, token: &str, number: &str) -> Answer {
        let back = self.visit(&self.begin(token).await, number).await;
        self.return_with(token, &back).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_visit_links_the_account_and_proves_the_number() {
    let scene = Scene::new().await;
    scene.known(NUMBER, "one").await;
    let token = scene.token("0912345678").await;
    let url = scene.begin(&token).await;
    let asked: Vec<String> = url.query_pairs().map(|(name, _)| name.into_owned()).collect();
    for needed in ["state", "nonce", "code_challenge", "client_id", "redirect_uri"] {
        assert!(asked.iter().any(|name| name == needed), "{needed}");
    }
    assert!(
        url.query_pairs().any(|pair| pair == ("max_age".into(), "0".into())),
        "a silent sign-on does not do: {url}"
    );
    let back = scene.visit(&url, NUMBER).await;
    let linked = scene.return_with(&token, &back).await;
    assert_eq!(linked.status, StatusCode::OK, "{}", linked.body);
    assert_eq!((&linked.body["tier"], &linked.body["vneid_linked"]), (&json!(1), &json!(true)));
    assert_eq!(linked.body["proved"]["source"], "vneid");
    assert_eq!(
        verdict(&scene.return_with(&token, &back).await),
        (422, "vneid-state-unknown"),
        "a return is taken once"
    );
    // Again, by the same account: nothing changes.
    assert_eq!(scene.linked(&token, NUMBER).await.status, StatusCode::OK);
    assert_eq!(scene.stage.count("citizen_number").await, 1);
    assert_eq!(scene.stage.count("audit WHERE action = 'tier.change'").await, 1);
    assert_eq!(scene.stage.events::<VneidLinked>().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn linking_needs_a_fresh_session_and_the_pin() {
    let scene = Scene::new().await;
    scene.known(NUMBER, "one").await;
    let phone = Phone::new();
    let token = phone.sign_in(&scene.stage, "0912345678").await;
    let pin = json!({ "pin": "502917" });
    assert_eq!(verdict(&scene.try_begin(&token, json!({})).await), (422, "pin-proof-required"));
    assert_eq!(verdict(&scene.try_begin(&token, json!({ "pin": "483920" })).await), (403, "pin-wrong"));
    assert_eq!(scene.try_begin(&token, pin.clone()).await.status, StatusCode::CREATED);
    let tomorrow = scene.stage.clock.now() + TimeDelta::days(1);
    let cool = sqlx::query("UPDATE identity.pin SET cooling_until = $1").bind(tomorrow);
    cool.execute(&scene.stage.admin()).await.expect("an update");
    assert_eq!(verdict(&scene.try_begin(&token, pin.clone()).await), (403, "pin-cooling"));
    let cooled = sqlx::query("UPDATE identity.pin SET cooling_until = NULL");
    cooled.execute(&scene.stage.admin()).await.expect("an update");
    let opened = scene.stage.sign_in("0912345678", phone.id).await;
    scene.stage.clock.advance(TimeDelta::seconds(900));
    let old = scene.stage.identity.refresh(&opened.tokens.refresh, None).await.expect("refreshed").access;
    assert_eq!(verdict(&scene.try_begin(&old, pin).await), (403, "session-not-fresh"));
    assert_eq!(scene.stage.count("vneid_attempt").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_collides_changes_nothing() {
    let scene = Scene::new().await;
    scene.known(NUMBER, "one").await;
    scene.known("046199054321", "two").await;
    let (one, two) = (scene.token("0912345678").await, scene.token("0987654321").await);
    assert_eq!(scene.linked(&one, NUMBER).await.status, StatusCode::OK);
    assert_eq!(verdict(&scene.linked(&two, NUMBER).await), (409, "vneid-taken"));
    assert_eq!(verdict(&scene.linked(&one, "046199054321").await), (409, "vneid-differs"));
    // The same person with another account there: the number is taken, and no link stays behind.
    scene.known(NUMBER, "three").await;
    assert_eq!(verdict(&scene.linked(&two, NUMBER).await), (409, "number-taken"));
    assert_eq!((scene.stage.count("vneid_link").await, scene.stage.count("citizen_number").await), (1, 1));
    assert_eq!(scene.stage.events::<VneidLinked>().await.len(), 1);
    let shown = scene.show(&two).await;
    assert_eq!((&shown["tier"], &shown["vneid_linked"]), (&json!(0), &json!(false)));
    assert_eq!(scene.linked(&two, "046199054321").await.status, StatusCode::OK, "their own");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_return_belongs_to_the_session_that_began_the_visit() {
    let scene = Scene::new().await;
    scene.known(NUMBER, "one").await;
    let (victim, thief) = (scene.token("0912345678").await, scene.token("0987654321").await);
    let back = scene.visit(&scene.begin(&thief).await, NUMBER).await;
    assert_eq!(verdict(&scene.return_with(&victim, &back).await), (422, "vneid-state-unknown"), "no login by surprise");
    let other_device = scene.token("0987654321").await;
    assert_eq!(verdict(&scene.return_with(&other_device, &back).await), (422, "vneid-state-unknown"));
    // A code of another visit: the verifier and the nonce are not its own.
    let (first, second) = (scene.begin(&victim).await, scene.begin(&victim).await);
    let (first, mut second) = (scene.visit(&first, NUMBER).await, scene.visit(&second, NUMBER).await);
    second["code"] = first["code"].clone();
    assert_eq!(verdict(&scene.return_with(&victim, &second).await), (403, "vneid-refused"));
    let late = scene.visit(&scene.begin(&victim).await, NUMBER).await;
    scene.stage.clock.advance(TimeDelta::minutes(10));
    let victim = scene.token("0912345678").await;
    assert_eq!(verdict(&scene.return_with(&victim, &late).await), (422, "vneid-state-unknown"));
    scene.stage.identity.prune().await.expect("prunes");
    assert_eq!(scene.stage.count("vneid_attempt").await, 0);
    assert_eq!(scene.stage.count("vneid_link").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_away_says_so() {
    let scene = Scene::new().await;
    scene.known(NUMBER, "one").await;
    let token = scene.token("0912345678").await;
    let back = scene.visit(&scene.begin(&token).await, NUMBER).await;
    scene.steer("/vneid/faults", json!({ "error_rate": 1.0 })).await;
    let begun = scene.try_begin(&token, json!({})).await;
    assert_eq!(verdict(&begun), (503, "vneid-unavailable"));
    assert_eq!(verdict(&scene.return_with(&token, &back).await), (503, "vneid-unavailable"));
    assert_eq!(scene.show(&token).await["tier"], 0);
}
