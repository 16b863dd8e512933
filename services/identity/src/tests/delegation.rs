//! Delegation: two words to begin it, one to end it, and a token that opens nothing of identity.

use std::time::Duration;

use chrono::TimeDelta;
use http::Method;
use platform::auth::AuthError;
use platform::metrics::Metrics;
use platform::rpc::{CallMetrics, CallSettings, InboundLayer, in_process};
use proto::identity::v1::delegation_service_client::DelegationServiceClient;
use proto::identity::v1::{DelegationEnded, DelegationExpired, GetDelegationRequest};
use serde_json::{Value, json};
use tonic::Code;
use tonic::service::Routes;
use uuid::Uuid;

use super::http::Answer;
use crate::challenge::Purpose;
use crate::device::DeviceId;
use crate::grpc;
use crate::pin::Proof;
use crate::pin::strength::Pin;
use crate::session::Opened;
use crate::testing::Stage;
use crate::tests::step_up::Phone;
use crate::tests::token::of_another_role;

const PATH: &str = "/identity/v1/me/delegations";
const MOTHER: &str = "0912345671";
const CHILD: &str = "0912345672";
const STRANGER: &str = "0912345673";

const PIN: &str = "502917";

fn pin(text: &str) -> Pin {
    Pin::parse(text).expect("six digits")
}

/// Somebody on a device that is new to them, with a PIN since they registered.
async fn someone(stage: &Stage, phone: &str) -> Opened {
    let opened = stage.sign_in(phone, DeviceId::generate()).await;
    if opened.new_citizen {
        let caller = stage.principal(&opened.tokens.access).await;
        stage.identity.set_pin(&caller, &pin(PIN), Proof::FreshSession, None).await.expect("set");
    }
    opened
}

fn terms(stage: &Stage, side: &str, phone: &str) -> Value {
    json!({
        "side": side, "phone": phone, "kinds": ["bill", "fee"],
        "limits": {"transaction": 200_000, "day": 500_000, "month": 2_000_000},
        "until": stage.clock.now() + TimeDelta::days(30), "pin": (side == "dependent").then_some(PIN),
    })
}

async fn propose(stage: &Stage, by: &Opened, body: Value) -> Answer {
    let key = Uuid::now_v7().to_string();
    stage.call(Method::POST, PATH).token(&by.tokens.access).key(&key).json(body).await
}

async fn call(stage: &Stage, by: &Opened, method: Method, rest: &str) -> Answer {
    stage.call(method, &format!("{PATH}{rest}")).token(&by.tokens.access).empty().await
}

async fn confirm_with(stage: &Stage, by: &Opened, id: &str, body: Value) -> Answer {
    stage.call(Method::POST, &format!("{PATH}/{id}/confirmation")).token(&by.tokens.access).json(body).await
}

async fn confirm(stage: &Stage, by: &Opened, id: &str) -> Answer {
    confirm_with(stage, by, id, json!({ "pin": PIN })).await
}

/// What somebody sees in their list: side and state.
async fn seen(stage: &Stage, by: &Opened) -> Vec<(String, String)> {
    let list = call(stage, by, Method::GET, "").await;
    let items = list.body["items"].as_array().expect("a list").clone();
    let text = |item: &Value, name: &str| item[name].as_str().expect("a text").to_owned();
    items.iter().map(|item| (text(item, "side"), text(item, "state"))).collect()
}

/// A mother who may act for her child; gives the delegation's id.
async fn agreed(stage: &Stage, mother: &Opened, child: &Opened) -> String {
    let made = propose(stage, mother, terms(stage, "guardian", CHILD)).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let id = made.text("id");
    assert_eq!(confirm(stage, child, &id).await.text("state"), "active");
    id
}

async fn token(stage: &Stage, mother: &Opened, id: &str) -> String {
    let answer = call(stage, mother, Method::POST, &format!("/{id}/tokens")).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    answer.text("access_token")
}

#[tokio::test]
async fn two_words_begin_it_both_see_it_and_either_ends_it_everywhere() {
    let stage = Stage::new().await;
    let (mother, child) = (someone(&stage, MOTHER).await, someone(&stage, CHILD).await);
    let stranger = someone(&stage, STRANGER).await;
    let made = propose(&stage, &mother, terms(&stage, "guardian", CHILD)).await;
    let id = made.text("id");
    assert_eq!((made.text("state"), made.body["mine"].clone()), ("proposed".to_owned(), json!(true)));
    assert_eq!(seen(&stage, &child).await, [("dependent".to_owned(), "proposed".to_owned())]);
    assert!(seen(&stage, &stranger).await.is_empty());
    for (who, code) in [(&mother, "forbidden"), (&stranger, "not-found")] {
        assert_eq!(confirm(&stage, who, &id).await.code(), code);
    }
    for (who, method, rest, code) in [
        (&mother, Method::POST, "/tokens", "delegation-over"),
        (&stranger, Method::POST, "/tokens", "not-found"),
        (&stranger, Method::DELETE, "", "not-found"),
    ] {
        assert_eq!(call(&stage, who, method, &format!("/{id}{rest}")).await.code(), code, "{rest}");
    }
    for _ in 0..2 {
        let confirmed = confirm(&stage, &child, &id).await;
        assert_eq!((confirmed.status.as_u16(), confirmed.text("state")), (200, "active".to_owned()));
        assert_eq!(confirmed.text("other_id"), mother.citizen.id.to_string());
    }
    assert_eq!(call(&stage, &child, Method::POST, &format!("/{id}/tokens")).await.code(), "forbidden");

    let acting = token(&stage, &mother, &id).await;
    let (elsewhere, shutdown) = of_another_role(&stage);
    let party = elsewhere.verify_acting(&acting).await.expect("valid there");
    let acts = party.acting.expect("somebody acts");
    assert_eq!((party.subject, acts.actor), (child.citizen.id.uuid(), mother.citizen.id.uuid()));
    assert_eq!(elsewhere.verify(&acting).await, Err(AuthError::Invalid), "it is nobody's own token");
    stage.redis.kill().await;
    assert_eq!(call(&stage, &child, Method::DELETE, &format!("/{id}")).await.status, 204);
    assert_eq!(call(&stage, &child, Method::DELETE, &format!("/{id}")).await.status, 204, "ended before");
    tokio::time::timeout(Duration::from_secs(5), async {
        while elsewhere.verify_acting(&acting).await != Err(AuthError::Revoked) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("every process knows within five seconds");
    shutdown.begin();
    assert_eq!(seen(&stage, &mother).await, [("guardian".to_owned(), "ended".to_owned())]);
    assert_eq!(call(&stage, &mother, Method::POST, &format!("/{id}/tokens")).await.code(), "delegation-over");
    assert_eq!(confirm(&stage, &child, &id).await.code(), "delegation-over");
    for (action, count) in [("propose", 1), ("confirm", 1), ("use", 1), ("end", 1)] {
        let records: i64 = sqlx::query_scalar("SELECT count(*) FROM identity.audit WHERE action = $1 AND object = $2")
            .bind(format!("delegation.{action}"))
            .bind(&id)
            .fetch_one(&stage.admin())
            .await
            .expect("a count");
        assert_eq!(records, count, "{action}");
    }
}

#[tokio::test]
async fn who_acts_for_somebody_opens_nothing_of_theirs_in_identity_and_hands_nothing_on() {
    let stage = Stage::new().await;
    let (mother, child) = (someone(&stage, MOTHER).await, someone(&stage, CHILD).await);
    let id = agreed(&stage, &mother, &child).await;
    let grandchild = someone(&stage, STRANGER).await;
    let below = propose(&stage, &child, terms(&stage, "guardian", STRANGER)).await.text("id");
    assert_eq!(confirm(&stage, &grandchild, &below).await.status, 200);
    let acting = token(&stage, &mother, &id).await;
    for (method, path) in [
        (Method::GET, "/identity/v1/me".to_owned()),
        (Method::PUT, "/identity/v1/me/pin".to_owned()),
        (Method::GET, "/identity/v1/me/devices".to_owned()),
        (Method::GET, "/identity/v1/me/passkeys".to_owned()),
        (Method::GET, "/identity/v1/me/export".to_owned()),
        (Method::POST, "/identity/v1/step-ups".to_owned()),
        (Method::GET, PATH.to_owned()),
        (Method::DELETE, format!("{PATH}/{id}")),
        (Method::POST, format!("{PATH}/{below}/tokens")),
        (Method::DELETE, "/identity/v1/sessions/current".to_owned()),
    ] {
        let answer = stage.call(method, &path).token(&acting).json(json!({})).await;
        assert_eq!(answer.code(), "unauthenticated", "{path}");
    }
    assert_eq!(call(&stage, &mother, Method::POST, &format!("/{below}/tokens")).await.code(), "not-found");
    // It ends with the guardian's own session, too.
    let out = stage.call(Method::DELETE, "/identity/v1/sessions/current").token(&mother.tokens.access).empty().await;
    assert_eq!(out.status, 204);
    assert_eq!(stage.context.verifier.verify_acting(&acting).await, Err(AuthError::Revoked));
}

#[tokio::test]
async fn a_number_is_answered_alike_whether_somebody_has_it_or_not() {
    let stage = Stage::new().await;
    let mother = someone(&stage, MOTHER).await;
    let unknown = propose(&stage, &mother, terms(&stage, "guardian", CHILD)).await;
    someone(&stage, STRANGER).await;
    let known = propose(&stage, &mother, terms(&stage, "guardian", STRANGER)).await;
    let shape = |answer: &Answer| {
        let mut body = answer.body.clone();
        for name in ["id", "proposed_at", "until"] {
            body[name] = Value::Null;
        }
        (answer.status, body)
    };
    assert_eq!(shape(&unknown), shape(&known));
    let child = someone(&stage, CHILD).await;
    assert_eq!(seen(&stage, &child).await.len(), 1, "whoever proves the number sees it");

    let own = propose(&stage, &mother, terms(&stage, "guardian", MOTHER)).await;
    assert_eq!(own.code(), "invalid-body");
    let mut wrong = terms(&stage, "dependent", CHILD);
    wrong["limits"]["day"] = json!(1);
    assert_eq!(propose(&stage, &mother, wrong).await.code(), "invalid-body");
    let body = terms(&stage, "dependent", CHILD);
    let twice = async || {
        stage.call(Method::POST, PATH).token(&mother.tokens.access).key("again").json(body.clone()).await.text("id")
    };
    assert_eq!(twice().await, twice().await, "one key, one proposal");
    for _ in 0..7 {
        assert_eq!(propose(&stage, &mother, terms(&stage, "guardian", CHILD)).await.status, 201);
    }
    assert_eq!(propose(&stage, &mother, terms(&stage, "guardian", CHILD)).await.code(), "delegations-too-many");
}

#[tokio::test]
async fn time_ends_it_and_a_newer_one_takes_the_place_of_an_older() {
    let stage = Stage::new().await;
    let (mother, child) = (someone(&stage, MOTHER).await, someone(&stage, CHILD).await);
    let session = stage.principal(&child.tokens.access).await.session;
    let device = stage.identity.session_device(child.citizen.id, session.into()).await.expect("a device");
    let older = agreed(&stage, &mother, &child).await;
    let acting = token(&stage, &mother, &older).await;
    let newer = agreed(&stage, &mother, &child).await;
    assert_eq!(stage.context.verifier.verify_acting(&acting).await, Err(AuthError::Revoked));
    let told = stage.events::<DelegationEnded>().await;
    assert_eq!(told.iter().map(|one| &one.delegation_id).collect::<Vec<_>>(), [&older], "of the older one");
    assert_eq!((&told[0].ended_by, told[0].left), (&child.citizen.id.to_string(), false));
    // On one way, so that nobody hears of the end after the beginning.
    let way: Vec<(String, Uuid)> = sqlx::query_as(
        "SELECT kind, subject FROM identity.outbox WHERE kind LIKE '%.DelegationBegan' OR kind LIKE '%.DelegationEnded' ORDER BY arrival",
    )
    .fetch_all(&stage.admin())
    .await
    .expect("events");
    let kinds: Vec<&str> = way.iter().filter_map(|(kind, _)| kind.rsplit('.').next()).collect();
    assert_eq!(kinds, ["DelegationBegan", "DelegationEnded", "DelegationBegan"]);
    assert!(way.iter().all(|(_, subject)| *subject == child.citizen.id.uuid()), "{way:?}");
    let acting = token(&stage, &mother, &newer).await;
    let party = stage.context.verifier.verify_acting(&acting).await.expect("valid");
    assert!(party.expires_at <= stage.clock.now() + TimeDelta::seconds(600));

    let metrics = Metrics::new("wallet", "test");
    let allowed = async |caller: &'static str, id: &str, guardian: &Opened| {
        let routes = Routes::new(grpc::delegation::service(stage.identity.clone()));
        let (layer, calls) = (InboundLayer::new(&metrics), CallMetrics::new(&metrics));
        let channel = in_process(caller, routes, layer, &calls, CallSettings::default());
        let request = GetDelegationRequest {
            delegation_id: id.to_owned(),
            guardian_id: guardian.citizen.id.to_string(),
            dependent_id: child.citizen.id.to_string(),
        };
        DelegationServiceClient::new(channel).get_delegation(request).await.map(tonic::Response::into_inner)
    };
    let now = allowed("wallet", &newer, &mother).await.expect("in force");
    assert_eq!((now.kinds, now.day_maximum), (vec!["bill".to_owned(), "fee".to_owned()], 500_000));
    let code = |answer: Result<_, tonic::Status>| answer.err().map(|status| status.code());
    assert_eq!(code(allowed("reports", &newer, &mother).await), Some(Code::PermissionDenied));
    assert_eq!(code(allowed("wallet", &older, &mother).await), Some(Code::NotFound), "it ended");
    assert_eq!(code(allowed("wallet", &newer, &child).await), Some(Code::NotFound), "not theirs");
    stage.clock.advance(TimeDelta::days(31));
    assert_eq!(code(allowed("wallet", &newer, &mother).await), Some(Code::NotFound), "its time is over");
    let (mother, child) = (someone(&stage, MOTHER).await, stage.sign_in(CHILD, device).await);
    agreed(&stage, &mother, &child).await;
    assert_eq!(stage.events::<DelegationEnded>().await.len(), 2, "its date had come, and nobody was told of that");
    stage.clock.advance(TimeDelta::days(31));
    stage.identity.prune().await.expect("told");
    assert_eq!(stage.events::<DelegationExpired>().await.len(), 1);
    let (mother, child) = (someone(&stage, MOTHER).await, stage.sign_in(CHILD, device).await);
    agreed(&stage, &mother, &child).await;
    assert_eq!(stage.events::<DelegationEnded>().await.len(), 2, "both were told that its date has come");
    assert_eq!(stage.context.verifier.verify_acting(&acting).await, Err(AuthError::Expired));
}

#[tokio::test]
async fn both_sides_are_told_once_when_the_date_has_come_and_not_when_one_ended_it_before() {
    let stage = Stage::new().await;
    let (mother, child) = (someone(&stage, MOTHER).await, someone(&stage, CHILD).await);
    let ended = agreed(&stage, &mother, &child).await;
    assert_eq!(call(&stage, &mother, Method::DELETE, &format!("/{ended}")).await.status, 204);
    let silent = propose(&stage, &mother, terms(&stage, "guardian", STRANGER)).await;
    assert_eq!(silent.status, 201, "{}", silent.body);
    let expired = agreed(&stage, &mother, &child).await;
    stage.clock.advance(TimeDelta::days(29));
    stage.identity.prune().await.expect("pruned");
    assert_eq!(stage.events::<DelegationExpired>().await, []);
    stage.clock.advance(TimeDelta::days(1));
    // In several processes at once, and again.
    let replicas = [stage.identity.clone(), stage.replica(), stage.replica()];
    let done = futures::future::join_all(replicas.iter().map(|replica| replica.prune())).await;
    assert!(done.iter().all(Result::is_ok), "{done:?}");
    stage.identity.prune().await.expect("pruned again");
    let told = stage.events::<DelegationExpired>().await;
    assert_eq!(told.iter().map(|one| one.delegation_id.clone()).collect::<Vec<_>>(), std::slice::from_ref(&expired));
    assert_eq!(told[0].guardian_id, mother.citizen.id.to_string());
    assert_eq!(told[0].dependent_id, child.citizen.id.to_string());
    assert_eq!(stage.count("audit WHERE action = 'delegation.end' AND reason = 'expired'").await, 1);
    let mother = someone(&stage, MOTHER).await;
    assert_eq!(call(&stage, &mother, Method::DELETE, &format!("/{expired}")).await.status, 204);
    assert_eq!(stage.events::<DelegationEnded>().await.len(), 1, "what is over is not ended once more");
}

#[tokio::test]
async fn whoever_took_a_number_over_gives_nobody_power_over_its_money() {
    let stage = Stage::new().await;
    let thief = someone(&stage, MOTHER).await;
    someone(&stage, CHILD).await;
    let id = propose(&stage, &thief, terms(&stage, "guardian", CHILD)).await.text("id");
    stage.clock.advance(TimeDelta::seconds(1));
    let device = DeviceId::generate();
    let stolen = stage.sign_in(CHILD, device).await;
    let refused = confirm(&stage, &stolen, &id).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (403, "key-cooling"), "the device is new");
    assert!(refused.body["cooling_until"].is_string(), "{}", refused.body);
    let own = || terms(&stage, "dependent", MOTHER);
    assert_eq!(propose(&stage, &stolen, own()).await.code(), "key-cooling");
    stage.clock.advance(TimeDelta::days(1));
    let stale = stage.identity.refresh(&stolen.tokens.refresh, None).await.expect("refreshed");
    let word = stage.call(Method::POST, &format!("{PATH}/{id}/confirmation")).token(&stale.access);
    assert_eq!(word.json(json!({ "pin": PIN })).await.code(), "session-not-fresh");
    let stolen = stage.sign_in(CHILD, device).await;
    for (pin, code) in [(Value::Null, "pin-proof-required"), (json!("483920"), "pin-wrong")] {
        assert_eq!(confirm_with(&stage, &stolen, &id, json!({ "pin": pin })).await.code(), code);
        let mut body = own();
        body["pin"] = pin;
        assert_eq!(propose(&stage, &stolen, body).await.code(), code);
    }
    let (challenge, code) = stage.code(CHILD, device, Purpose::PinReset).await;
    let caller = stage.principal(&stolen.tokens.access).await;
    stage.identity.set_pin(&caller, &pin("271828"), Proof::Code(challenge, code), None).await.expect("reset");
    let reset = json!({ "pin": "271828" });
    assert_eq!(confirm_with(&stage, &stolen, &id, reset.clone()).await.code(), "pin-cooling");
    assert_eq!(seen(&stage, &stolen).await, [("dependent".to_owned(), "proposed".to_owned())], "nothing has begun");
    stage.clock.advance(TimeDelta::days(1));
    let later = stage.sign_in(CHILD, device).await;
    assert_eq!(
        confirm_with(&stage, &later, &id, reset).await.text("state"),
        "active",
        "their owner had a day to notice"
    );
}

#[tokio::test]
async fn who_has_no_pin_gives_no_power_and_a_device_with_another_key_is_new() {
    let stage = Stage::new().await;
    let mother = someone(&stage, MOTHER).await;
    let id = propose(&stage, &mother, terms(&stage, "guardian", CHILD)).await.text("id");
    let phone = Phone::new();
    let child = stage.sign_in(CHILD, phone.id).await;
    let without = confirm_with(&stage, &child, &id, json!({})).await;
    assert_eq!((without.status.as_u16(), without.code()), (409, "pin-not-set"));
    let caller = stage.principal(&child.tokens.access).await;
    stage.identity.set_pin(&caller, &pin(PIN), Proof::FreshSession, None).await.expect("set");
    stage.clock.advance(TimeDelta::seconds(1));
    let token = phone.sign_in(&stage, CHILD).await;
    let path = format!("{PATH}/{id}/confirmation");
    let rebound = stage.call(Method::POST, &path).token(&token).json(json!({ "pin": PIN })).await;
    assert_eq!(rebound.code(), "key-cooling");
    // The guardian's word gives nobody power over their own money.
    let by_child = propose(&stage, &mother, terms(&stage, "dependent", STRANGER)).await.text("id");
    let guardian = stage.sign_in(STRANGER, DeviceId::generate()).await;
    assert_eq!(confirm_with(&stage, &guardian, &by_child, json!({})).await.text("state"), "active");
}

#[tokio::test]
async fn words_that_come_at_once_leave_one_delegation_and_each_end_is_on_record() {
    let stage = Stage::new().await;
    let (mother, child) = (someone(&stage, MOTHER).await, someone(&stage, CHILD).await);
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(propose(&stage, &child, terms(&stage, "dependent", MOTHER)).await.text("id"));
    }
    let words = ids.iter().map(|id| confirm_with(&stage, &mother, id, json!({})));
    for word in futures::future::join_all(words).await {
        assert_eq!(word.status, 200, "{}", word.body);
    }
    assert_eq!(stage.count("delegation WHERE confirmed_at IS NOT NULL AND ended_at IS NULL").await, 1);
    assert_eq!(stage.count("audit WHERE action = 'delegation.end' AND reason = 'replaced'").await, 3);
    assert_eq!(stage.events::<DelegationEnded>().await.len(), 3, "both are told of each");
}
