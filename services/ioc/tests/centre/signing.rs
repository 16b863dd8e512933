//! Operators sign in by browser: what is refused, what the cookie opens, how its tokens are renewed, and what happens while the
//! provider is away.

use chrono::TimeDelta;
use ioc::config::SignInConfig;
use platform::config::Secret;
use reqwest::header::{COOKIE, HeaderMap, LOCATION, SET_COOKIE};
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};
use url::Url;

use crate::provider::{ISSUER, Provider, TOKEN_LIFE_S};
use crate::stage::{Centre, Stage, Wall};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const PENDING: &str = "trangtien-wall-sign-in";
const SESSION: &str = "trangtien-wall";

/// A stage with a provider.
struct House {
    stage: Stage,
    provider: Provider,
    config: ioc::Config,
}

impl House {
    async fn new() -> Self {
        let stage = Stage::new().await;
        let client_id = platform::id::new();
        let provider = Provider::start(stage.issuer.clone(), stage.clock.clone(), client_id).await;
        let sign_in = SignInConfig { client_id, client_secret: Secret::new(SECRET) };
        let city_url = Some(provider.url.parse().expect("a URL"));
        let config = ioc::Config { sign_in: Some(sign_in), city_url, ..ioc::Config::default() };
        Self { stage, provider, config }
    }

    async fn centre(&self, name: &str) -> Centre {
        self.stage.centre(name, self.config.clone()).await
    }
}

/// A browser: keeps cookies, and goes nowhere by itself.
#[derive(Clone)]
struct Browser {
    client: Client,
    pending: Option<String>,
    session: Option<String>,
}

impl Browser {
    fn new() -> Self {
        let client = Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build();
        Self { client: client.expect("a client"), pending: None, session: None }
    }

    fn request(&self, method: Method, url: &str) -> RequestBuilder {
        let pairs = [(PENDING, &self.pending), (SESSION, &self.session)];
        let kept = pairs.iter().filter_map(|(name, value)| value.as_ref().map(|value| format!("{name}={value}")));
        let request = self.client.request(method, url).header("accept-language", "en");
        request.header(COOKIE, kept.collect::<Vec<_>>().join("; "))
    }

    async fn get(&mut self, url: &str) -> Response {
        let answer = self.request(Method::GET, url).send().await.expect("answered");
        self.keep(answer.headers());
        answer
    }

    async fn post(&mut self, url: &str, site: &str) -> Response {
        let request = self.request(Method::POST, url).header("sec-fetch-site", site);
        let request = request.header("idempotency-key", "k").json(&json!({ "note": "seen" }));
        let answer = request.send().await.expect("answered");
        self.keep(answer.headers());
        answer
    }

    fn keep(&mut self, headers: &HeaderMap) {
        for value in headers.get_all(SET_COOKIE) {
            let text = value.to_str().expect("text");
            assert!(text.contains("; HttpOnly; SameSite=Lax") && text.contains("; Path=/"), "{text}");
            let (name, rest) = text.split_once('=').expect("a cookie");
            let value = rest.split(';').next().filter(|value| !value.is_empty()).map(str::to_owned);
            assert!([PENDING, SESSION].contains(&name), "{name}");
            *(if name == PENDING { &mut self.pending } else { &mut self.session }) = value;
        }
    }

    /// Goes to the provider; gives what it is asked.
    async fn begin(&mut self, centre: &Centre, query: &str) -> Asked {
        let answer = self.get(&format!("{}/ioc/sign-in{query}", centre.url)).await;
        assert_eq!(answer.status(), 303);
        let place: Url = location(&answer).parse().expect("a URL");
        let param = |name: &str| {
            place.query_pairs().find(|(own, _)| own == name).map(|(_, value)| value.into_owned()).expect("given")
        };
        assert_eq!(place.path(), "/oauth2/authorize");
        assert_eq!(param("redirect_uri"), format!("{ISSUER}/ioc/callback"));
        assert_eq!((param("response_type").as_str(), param("code_challenge_method").as_str()), ("code", "S256"));
        Asked { state: param("state"), nonce: param("nonce"), locale: param("ui_locales") }
    }

    async fn come_back(&mut self, centre: &Centre, (state, iss, rest): (&str, &str, &str)) -> Response {
        self.get(&format!("{}/ioc/callback?state={state}&iss={iss}&{rest}", centre.url)).await
    }

    /// Signs in and gives where the browser ends.
    async fn sign_in(&mut self, house: &House, centre: &Centre) -> Response {
        let asked = self.begin(centre, "").await;
        let code = house.provider.code_for(&asked.nonce);
        self.come_back(centre, (&asked.state, ISSUER, &format!("code={code}"))).await
    }

    async fn overview(&mut self, centre: &Centre) -> u16 {
        self.get(&format!("{}/ioc/v1/overview", centre.url)).await.status().as_u16()
    }
}

struct Asked {
    state: String,
    nonce: String,
    locale: String,
}

fn location(answer: &Response) -> String {
    answer.headers()[LOCATION].to_str().expect("text").to_owned()
}

async fn code_of(answer: Response) -> (u16, String) {
    let status = answer.status().as_u16();
    let body: Value = answer.json().await.expect("a problem");
    (status, body["code"].as_str().expect("a code").to_owned())
}

#[tokio::test]
async fn an_operator_gets_in_by_the_provider_and_out_again() {
    let house = House::new().await;
    let centre = house.centre("a").await;
    let mut browser = Browser::new();
    assert_eq!(browser.overview(&centre).await, 401);
    let asked = browser.begin(&centre, "?return_to=/ioc?theme=dark&ui_locales=vi").await;
    assert_eq!(asked.locale, "vi");
    let code = house.provider.code_for(&asked.nonce);
    let answer = browser.come_back(&centre, (&asked.state, ISSUER, &format!("code={code}"))).await;
    assert_eq!((answer.status().as_u16(), location(&answer).as_str()), (303, "/ioc?theme=dark"));
    assert!(browser.pending.is_none() && browser.session.is_some());
    assert_eq!(browser.overview(&centre).await, 200);
    let viewer: Value = browser.get(&format!("{}/ioc/v1/session", centre.url)).await.json().await.expect("JSON");
    assert_eq!(viewer["user_id"], json!(house.provider.person().user));
    assert_eq!(viewer["may_watch"], true);
    let stored: String = sqlx::query_scalar("SELECT string_agg(s::text, '') FROM ioc.session s")
        .fetch_one(&house.stage.database.pool(ioc::SCHEMA))
        .await
        .expect("a row");
    let kept = browser.session.clone().expect("kept");
    assert!(!stored.contains(&kept), "the cookie is not stored");

    // The stream works by the cookie too, and ends with the session.
    let mut wall = Wall::of(browser.request(Method::GET, &format!("{}/ioc/v1/stream", centre.url))).await;
    assert_eq!(wall.next().await.expect("a snapshot").event, "snapshot");

    let answer = browser.post(&format!("{}/ioc/sign-out", centre.url), "same-origin").await;
    let place: Url = location(&answer).parse().expect("a URL");
    let pairs: std::collections::BTreeMap<String, String> = place.query_pairs().into_owned().collect();
    assert_eq!((answer.status().as_u16(), place.path()), (303, "/oauth2/end-session"));
    assert_eq!(pairs["post_logout_redirect_uri"], format!("{ISSUER}/ioc"));
    assert!(pairs["id_token_hint"].starts_with("ey"));
    assert!(browser.session.is_none());
    browser.session = Some(kept);
    assert_eq!(browser.overview(&centre).await, 401, "the old cookie is dead");
    assert!(browser.session.is_none(), "and forgotten");
    house.stage.issuer.revoke(house.provider.session().expect("a session"), TOKEN_LIFE_S);
    while wall.next().await.is_some() {}
}

#[tokio::test]
async fn what_comes_back_must_be_the_answer_to_what_this_browser_asked() {
    let house = House::new().await;
    let centre = house.centre("a").await;
    let mut browser = Browser::new();
    let asked = browser.begin(&centre, "").await;
    let code = house.provider.code_for(&asked.nonce);
    let good = format!("code={code}");
    for (state, iss, rest) in [
        ("another", ISSUER, good.as_str()),
        ("", ISSUER, &good),
        (&asked.state, "https://evil.example", &good),
        (&asked.state, "", &good),
        (&asked.state, &format!("{ISSUER}&iss={ISSUER}"), &good),
        (&format!("{0}&state={0}", asked.state), ISSUER, &good),
    ] {
        let answer = browser.come_back(&centre, (state, iss, rest)).await;
        assert_eq!(answer.status(), 400, "{state} {iss}");
        assert_eq!(answer.headers()["content-type"], "text/html; charset=utf-8");
        assert!(browser.session.is_none());
        assert!(browser.pending.is_some(), "a foreign answer does not end what is under way");
    }
    // In another browser, with a cookie that was touched, or with one of long ago.
    let kept = browser.pending.clone().expect("kept");
    let touched = format!("{}{}", &kept[..kept.len() - 2], if kept.ends_with("AA") { "BB" } else { "AA" });
    for pending in [None, Some(touched), Some(String::new())] {
        let mut other = Browser { pending, ..browser.clone() };
        assert_eq!(other.come_back(&centre, (&asked.state, ISSUER, &good)).await.status(), 400);
        assert!(other.session.is_none());
    }
    // None of that used up the code; the right browser gets in, once.
    let answer = browser.come_back(&centre, (&asked.state, ISSUER, &good)).await;
    assert_eq!(answer.status(), 303);
    browser.session = None;
    assert_eq!(browser.come_back(&centre, (&asked.state, ISSUER, &good)).await.status(), 400, "replayed");
    browser.pending = Some(kept);
    assert_eq!(browser.come_back(&centre, (&asked.state, ISSUER, &good)).await.status(), 400, "with its cookie too");
    assert!(browser.session.is_none());

    let asked = browser.begin(&centre, "").await;
    let good = format!("code={}", house.provider.code_for(&asked.nonce));
    house.stage.clock.advance(TimeDelta::minutes(31));
    assert_eq!(browser.come_back(&centre, (&asked.state, ISSUER, &good)).await.status(), 400, "too late");

    let asked = browser.begin(&centre, "").await;
    let answer = browser.come_back(&centre, (&asked.state, ISSUER, "error=access_denied")).await;
    assert_eq!((answer.status().as_u16(), browser.session.is_none()), (400, true));
    assert!(answer.text().await.expect("a page").contains("Not signed in"));
}

#[tokio::test]
async fn tokens_that_are_not_what_was_asked_for_are_not_believed() {
    let house = House::new().await;
    let centre = house.centre("a").await;
    let past = house.stage.clock.now().timestamp() - 60;
    for forged in [
        json!({ "nonce": "another" }),
        json!({ "nonce": null }),
        json!({ "aud": platform::id::new() }),
        json!({ "iss": "https://evil.example" }),
        json!({ "exp": past }),
        json!({ "iat": past + 3_600 }),
        json!({ "azp": "another" }),
        json!({ "sub": platform::id::new() }),
        json!({ "sid": platform::id::new() }),
    ] {
        house.provider.signs_in(|person| person.forged = forged.clone());
        let mut browser = Browser::new();
        let answer = browser.sign_in(&house, &centre).await;
        assert_eq!((answer.status().as_u16(), browser.session.is_none()), (400, true), "{forged}");
    }
}

#[tokio::test]
async fn nobody_is_sent_anywhere_but_to_the_wall() {
    let house = House::new().await;
    let centre = house.centre("a").await;
    for place in ["https://evil.example/", "//evil.example", "/%5Cevil.example", "/ioc/sign-in", "javascript:alert(1)"]
    {
        let mut browser = Browser::new();
        let asked = browser.begin(&centre, &format!("?return_to={place}")).await;
        let code = house.provider.code_for(&asked.nonce);
        let answer = browser.come_back(&centre, (&asked.state, ISSUER, &format!("code={code}"))).await;
        assert_eq!(location(&answer), "/ioc", "{place}");
    }
}

#[tokio::test]
async fn somebody_without_a_role_is_told_so_and_can_leave() {
    let house = House::new().await;
    let centre = house.centre("a").await;
    house.provider.signs_in(|person| person.roles = vec!["finance.officer"]);
    let mut browser = Browser::new();
    let answer = browser.sign_in(&house, &centre).await;
    assert_eq!(answer.status(), 403);
    let page = answer.text().await.expect("a page");
    assert!(page.contains(&house.provider.person().user.to_string()), "{page}");
    assert!(page.contains("grant-role") && page.contains("action=\"/ioc/sign-out\""), "{page}");
    assert!(page.contains("<html lang=\"en\">") && page.contains("<main>") && !page.contains("<script"), "{page}");
    let answer = browser.get(&format!("{}/ioc/v1/overview", centre.url)).await;
    assert_eq!(code_of(answer).await, (403, "forbidden".to_owned()));
    let answer = browser.post(&format!("{}/ioc/sign-out", centre.url), "same-origin").await;
    assert_eq!((answer.status().as_u16(), browser.session.is_none()), (303, true));
}

#[tokio::test]
async fn another_site_changes_nothing_by_the_cookie() {
    let house = House::new().await;
    let centre = house.centre("a").await;
    let mut browser = Browser::new();
    browser.sign_in(&house, &centre).await;
    let alarm = format!("{}/ioc/v1/alarms/{}/acknowledge", centre.url, platform::id::new());
    for path in [alarm.clone(), format!("{}/ioc/sign-out", centre.url)] {
        let answer = browser.post(&path, "cross-site").await;
        assert_eq!(code_of(answer).await, (403, "cross-site-request".to_owned()), "{path}");
    }
    assert_eq!(code_of(browser.post(&alarm, "same-origin").await).await, (404, "not-found".to_owned()));
    // A token of its own is nothing that another site could send.
    let token = house.stage.issuer.officer_token(platform::id::new(), platform::id::new(), 600, &["ioc.lead"]);
    let request = browser.request(Method::POST, &alarm).header("sec-fetch-site", "cross-site").bearer_auth(token);
    let request = request.header("idempotency-key", "k").json(&json!({}));
    assert_eq!(code_of(request.send().await.expect("answered")).await, (404, "not-found".to_owned()));
}

#[tokio::test]
async fn many_tabs_and_replicas_renew_once_and_a_restart_ends_nothing() {
    let house = House::new().await;
    let (one, other) = (house.centre("a").await, house.centre("b").await);
    let mut browser = Browser::new();
    browser.sign_in(&house, &one).await;
    for round in 1..=3 {
        // Before its end while it still serves, then after.
        let ahead = if round == 1 { 30 } else { -30 };
        house.stage.clock.advance(TimeDelta::seconds(TOKEN_LIFE_S - ahead));
        let asked = (0..12).map(|tab| {
            let (mut browser, centre) = (browser.clone(), if tab % 2 == 0 { &one } else { &other });
            async move { browser.overview(centre).await }
        });
        let answers = futures::future::join_all(asked).await;
        assert!(answers.iter().all(|status| *status == 200), "{answers:?}");
        assert_eq!(house.provider.refreshes(), round, "one refresh for all of them");
    }
    one.stop().await;
    other.stop().await;
    let again = house.centre("a").await;
    assert_eq!(browser.overview(&again).await, 200);
}

#[tokio::test]
async fn a_taken_role_shows_at_once_and_an_ended_family_ends_the_session() {
    let house = House::new().await;
    let centre = house.centre("a").await;
    let mut browser = Browser::new();
    browser.sign_in(&house, &centre).await;
    house.provider.end_family();
    house.stage.clock.advance(TimeDelta::seconds(TOKEN_LIFE_S + 30));
    assert_eq!(browser.overview(&centre).await, 401);
    assert!(browser.session.is_none(), "the browser forgets it");

    browser.sign_in(&house, &centre).await;
    house.stage.issuer.revoke(house.provider.session().expect("a session"), TOKEN_LIFE_S);
    crate::stage::until("the revocation is known", async || browser.clone().overview(&centre).await == 401).await;
}

#[tokio::test]
async fn while_the_provider_is_away_nobody_signs_in_and_nobody_is_thrown_out() {
    let house = House::new().await;
    let centre = house.centre("a").await;
    let mut browser = Browser::new();
    browser.sign_in(&house, &centre).await;
    let mut early = Browser::new();
    let asked = early.begin(&centre, "").await;
    let code = format!("code={}", house.provider.code_for(&asked.nonce));
    house.provider.be_away(true);

    let answer = Browser::new().get(&format!("{}/ioc/sign-in", centre.url)).await;
    assert_eq!((answer.status().as_u16(), answer.headers().contains_key("retry-after")), (503, true));
    assert!(answer.text().await.expect("a page").contains("Nobody can sign in right now"));
    assert_eq!(early.come_back(&centre, (&asked.state, ISSUER, &code)).await.status(), 503);

    house.stage.clock.advance(TimeDelta::seconds(TOKEN_LIFE_S - 30));
    assert_eq!(browser.overview(&centre).await, 200, "the token at hand still serves");
    house.stage.clock.advance(TimeDelta::seconds(90));
    let answer = browser.get(&format!("{}/ioc/v1/overview", centre.url)).await;
    assert_eq!(code_of(answer).await, (503, "sign-in-away".to_owned()));
    assert!(browser.session.is_some(), "the session stays");
    house.provider.be_away(false);
    assert_eq!(browser.overview(&centre).await, 200, "and goes on");

    house.provider.be_away(true);
    let answer = browser.post(&format!("{}/ioc/sign-out", centre.url), "same-origin").await;
    assert_eq!((answer.status().as_u16(), browser.session.is_none()), (503, true));
    assert!(answer.text().await.expect("a page").contains("Signed out of the wall"));
}

#[tokio::test]
async fn a_weak_secret_stops_the_start_and_a_wall_without_a_sign_in_says_so() {
    let house = House::new().await;
    let centre = house.stage.centre("a", ioc::Config::default()).await;
    let answer = Browser::new().get(&format!("{}/ioc/sign-in", centre.url)).await;
    assert_eq!(answer.status(), 503);
    assert!(answer.text().await.expect("a page").contains("set-up-wall"));
    let weak = SignInConfig { client_id: platform::id::new(), client_secret: Secret::new("short") };
    let refused = house.stage.try_centre("b", ioc::Config { sign_in: Some(weak), ..ioc::Config::default() }).await;
    assert!(refused.is_err_and(|error| error.to_string().contains("client_secret")));
}
