//! People without a telephone: a number of their own, another guardian, the end of the account; never left with nobody.

use chrono::TimeDelta;
use http::Method;
use platform::auth::AuthError;
use proto::identity::v1::{DelegationEnded, DependentBound, PhoneAttached};
use serde_json::{Value, json};

use super::closing::{agree, erasure};
use super::dependent::{AUNT, MINE, MOTHER, bound, call, form, proved, register, registrar, someone};
use super::http::Answer;
use crate::challenge::Purpose;
use crate::device::DeviceId;
use crate::session::Opened;
use crate::testing::{Stage, wrong};

const NUMBER: &str = "0987654321";

/// The guardian attaches a number with a code that was sent to it.
async fn attach(stage: &Stage, guardian: (&Opened, DeviceId), id: &str, number: &str) -> Answer {
    let (challenge, code) = stage.code(number, guardian.1, Purpose::AttachPhone).await;
    let body = json!({ "challenge_id": challenge, "code": code.expose() });
    stage.call(Method::POST, &format!("{MINE}/{id}/phone")).token(&guardian.0.tokens.access).json(body).await
}

async fn acting_token(stage: &Stage, guardian: &str, delegation: &Value) -> Answer {
    let path = format!("/identity/v1/me/delegations/{}/tokens", delegation.as_str().expect("an id"));
    stage.call(Method::POST, &path).token(guardian).empty().await
}

#[tokio::test]
async fn with_a_number_of_their_own_they_speak_for_themselves() {
    let stage = Stage::new().await;
    let officer = registrar(&stage).await;
    proved(&stage, MOTHER).await;
    let device = DeviceId::generate();
    let mother = stage.sign_in(MOTHER.0, device).await;
    let token = mother.tokens.access.clone();
    let (id, child) = bound(&stage, &officer, (&mother, MOTHER.1)).await;
    let path = format!("{MINE}/{id}/phone");
    let taken = attach(&stage, (&mother, device), &id, MOTHER.0).await;
    assert_eq!(taken.code(), "phone-taken", "{}", taken.body);
    let (challenge, code) = stage.code(NUMBER, device, Purpose::AttachPhone).await;
    for (body, says) in [
        (json!({ "challenge_id": challenge, "code": wrong(&code).expose() }), "otp-wrong"),
        (json!({ "challenge_id": challenge, "code": "12" }), "invalid-body"),
    ] {
        assert_eq!(stage.call(Method::POST, &path).token(&token).json(body).await.code(), says);
    }
    // A code for a sign-in, and one that another device asked for, prove nothing here.
    for (device, purpose) in [(device, Purpose::SignIn), (DeviceId::generate(), Purpose::AttachPhone)] {
        let (challenge, code) = stage.code(NUMBER, device, purpose).await;
        let body = json!({ "challenge_id": challenge, "code": code.expose() });
        assert_eq!(stage.call(Method::POST, &path).token(&token).json(body).await.code(), "otp-unknown");
    }
    let done = attach(&stage, (&mother, device), &id, NUMBER).await;
    assert_eq!(done.status, 204, "{}", done.body);
    assert_eq!(stage.events::<PhoneAttached>().await.len(), 1);
    assert_eq!(attach(&stage, (&mother, device), &id, "0987654322").await.code(), "dependent-has-phone");

    let own = someone(&stage, NUMBER).await;
    assert_eq!((json!(own.citizen.id), own.new_citizen), (child["dependent_id"].clone(), false));
    let me = stage.call(Method::GET, "/identity/v1/me").token(&own.tokens.access).empty().await;
    assert_eq!((me.text("phone_masked"), me.text("display_name")), ("+84******321".into(), "Nguyễn Minh An".into()));
    for (method, rest) in [(Method::POST, "closing"), (Method::DELETE, "closing")] {
        let path = format!("{MINE}/{id}/{rest}");
        assert_eq!(stage.call(method, &path).token(&token).json(json!({})).await.code(), "dependent-has-phone");
    }
    let officers = format!("/identity/v1/dependents/{id}/closing");
    let closing = stage.call(Method::POST, &officers).token(&officer).json(json!({"reason": "file 1"})).await;
    assert_eq!(closing.code(), "dependent-has-phone");
    // The delegation goes on until its date or the owner's word.
    assert_eq!(acting_token(&stage, &token, &child["delegation_id"]).await.status, 201);
    let delegation = format!("/identity/v1/me/delegations/{}", child["delegation_id"].as_str().expect("an id"));
    assert_eq!(stage.call(Method::DELETE, &delegation).token(&own.tokens.access).empty().await.status, 204);
    assert_eq!(acting_token(&stage, &token, &child["delegation_id"]).await.code(), "delegation-over");
}

#[tokio::test]
async fn a_number_is_attached_soon_after_signing_in_and_with_the_pin() {
    let stage = Stage::new().await;
    let officer = registrar(&stage).await;
    proved(&stage, MOTHER).await;
    let device = DeviceId::generate();
    let mother = stage.sign_in(MOTHER.0, device).await;
    let (id, _) = bound(&stage, &officer, (&mother, MOTHER.1)).await;
    let pin = json!({ "pin": "502917" });
    let set = stage.call(Method::PUT, "/identity/v1/me/pin").token(&mother.tokens.access).json(pin).await;
    assert_eq!(set.status, 200, "{}", set.body);
    assert_eq!(attach(&stage, (&mother, device), &id, NUMBER).await.code(), "pin-proof-required");
    let (challenge, code) = stage.code(NUMBER, device, Purpose::AttachPhone).await;
    let path = format!("{MINE}/{id}/phone");
    let with = |pin: &str| json!({ "challenge_id": challenge, "code": code.expose(), "pin": pin });
    let token = mother.tokens.access.clone();
    assert_eq!(stage.call(Method::POST, &path).token(&token).json(with("502918")).await.code(), "pin-wrong");
    stage.clock.advance(TimeDelta::seconds(i64::from(stage.identity.config.lifetimes.fresh_seconds)));
    let stale = stage.identity.refresh(&mother.tokens.refresh, None).await.expect("alive").access;
    assert_eq!(stage.call(Method::POST, &path).token(&stale).json(with("502917")).await.code(), "session-not-fresh");
    assert_eq!(stage.count("citizen WHERE phone IS NULL").await, 1);
}

#[tokio::test]
async fn nobody_is_left_with_nobody_and_another_guardian_takes_over() {
    let stage = Stage::new().await;
    let officer = registrar(&stage).await;
    let (mother, aunt) = (proved(&stage, MOTHER).await, proved(&stage, AUNT).await);
    let token = &mother.tokens.access;
    let (id, child) = bound(&stage, &officer, (&mother, MOTHER.1)).await;
    let delegation = format!("/identity/v1/me/delegations/{}", child["delegation_id"].as_str().expect("an id"));
    assert_eq!(stage.call(Method::DELETE, &delegation).token(token).empty().await.code(), "dependent-without-phone");
    let asked = stage.call(Method::POST, "/identity/v1/me/closing").token(token).json(json!({})).await;
    assert_eq!(asked.status, 202, "{}", asked.body);
    agree(&stage, asked.text("id").parse().expect("an id")).await;
    let closing = stage.call(Method::GET, "/identity/v1/me/closing").token(token).empty().await;
    assert_eq!(
        (closing.text("state"), &closing.body["hindrances"][0]["code"]),
        ("refused".into(), &json!("dependents-held"))
    );

    let acting = acting_token(&stage, token, &child["delegation_id"]).await.text("access_token");
    let (later, passed) = bound(&stage, &officer, (&aunt, AUNT.1)).await;
    assert_eq!(passed["dependent_id"], child["dependent_id"], "the account stays, with its money");
    assert_eq!(stage.context.verifier.verify_acting(&acting).await, Err(AuthError::Revoked));
    let told = stage.events::<DelegationEnded>().await;
    assert_eq!(told.iter().map(|one| one.guardian_id.clone()).collect::<Vec<_>>(), [mother.citizen.id.to_string()]);
    assert_eq!(stage.events::<DependentBound>().await.len(), 2);
    for (method, rest) in [(Method::POST, "/closing"), (Method::DELETE, "/closing")] {
        let path = format!("{MINE}/{id}{rest}");
        assert_eq!(stage.call(method, &path).token(token).json(json!({})).await.code(), "registration-over");
    }
    assert_eq!(acting_token(&stage, &aunt.tokens.access, &passed["delegation_id"]).await.status, 201);
    // Now the mother may go; while she does, nobody is given to her.
    let asked = stage.call(Method::POST, "/identity/v1/me/closing").token(token).json(json!({})).await;
    assert_eq!(asked.status, 202, "{}", asked.body);
    let back = register(&stage, &officer, form(&stage, MOTHER.1)).await.text("id");
    assert_eq!(call(&stage, token, Method::POST, &format!("/{back}/confirmation")).await.code(), "guardian-leaves");
    agree(&stage, asked.text("id").parse().expect("an id")).await;
    stage.clock.advance(TimeDelta::days(2));
    erasure(&stage, "closing WHERE state = 'erasing'").await;
    assert_eq!(stage.count("dependent WHERE claim IS NOT NULL").await, 0, "what waited for her is gone");
    let aunt = someone(&stage, AUNT.0).await;
    let list = call(&stage, &aunt.tokens.access, Method::GET, "").await;
    assert_eq!((&list.body["items"][0]["id"], &list.body["items"][0]["without_phone"]), (&json!(later), &json!(true)));
}

#[tokio::test]
async fn when_the_time_is_over_the_guardian_pays_no_more_and_still_answers() {
    let stage = Stage::new().await;
    let officer = registrar(&stage).await;
    let mother = proved(&stage, MOTHER).await;
    let (id, child) = bound(&stage, &officer, (&mother, MOTHER.1)).await;
    stage.clock.advance(TimeDelta::days(301));
    let device = DeviceId::generate();
    let mother = stage.sign_in(MOTHER.0, device).await;
    assert_eq!(acting_token(&stage, &mother.tokens.access, &child["delegation_id"]).await.code(), "delegation-over");
    let asked = stage.call(Method::POST, "/identity/v1/me/closing").token(&mother.tokens.access).json(json!({})).await;
    agree(&stage, asked.text("id").parse().expect("an id")).await;
    let closing = stage.call(Method::GET, "/identity/v1/me/closing").token(&mother.tokens.access).empty().await;
    assert_eq!(closing.body["hindrances"][0]["code"], "dependents-held");
    assert_eq!(attach(&stage, (&mother, device), &id, NUMBER).await.status, 204, "the grown child has a number");
    assert_eq!(json!(someone(&stage, NUMBER).await.citizen.id), child["dependent_id"]);
}

#[tokio::test]
async fn an_account_is_closed_by_the_guardian_or_the_ward_and_the_number_is_free_again() {
    let stage = Stage::new().await;
    let officer = registrar(&stage).await;
    let mother = proved(&stage, MOTHER).await;
    let token = &mother.tokens.access;
    let (id, child) = bound(&stage, &officer, (&mother, MOTHER.1)).await;
    let mine = format!("{MINE}/{id}/closing");
    let offices = format!("/identity/v1/dependents/{id}");
    let asked = stage.call(Method::POST, &mine).token(token).json(json!({})).await;
    assert_eq!((asked.status.as_u16(), asked.text("state")), (202, "asked".to_owned()), "{}", asked.body);
    let why = json!({ "reason": "file 118/HT" });
    let same = stage.call(Method::POST, &format!("{offices}/closing")).token(&officer).json(why.clone()).await;
    assert_eq!(same.text("id"), asked.text("id"), "one at a time");
    let closing = asked.text("id").parse().expect("an id");
    stage.identity.hear_closing((closing, "wallet"), &["balance-not-zero".to_owned()]).await.expect("heard");
    agree(&stage, closing).await;
    let list = call(&stage, token, Method::GET, "").await;
    assert_eq!(list.body["items"][0]["closing"]["state"], "refused", "money first: {}", list.body);

    let asked = stage.call(Method::POST, &format!("{offices}/closing")).token(&officer).json(why.clone()).await;
    assert_eq!(stage.call(Method::DELETE, &mine).token(token).empty().await.status, 204, "the guardian takes it back");
    agree(&stage, asked.text("id").parse().expect("an id")).await;
    let kept = format!("{offices}/closing?reason=file");
    assert_eq!(stage.call(Method::DELETE, &kept).token(&officer).empty().await.code(), "closing-not-open");
    let asked = stage.call(Method::POST, &mine).token(token).json(json!({})).await;
    agree(&stage, asked.text("id").parse().expect("an id")).await;
    assert_eq!(stage.call(Method::GET, &offices).token(&officer).empty().await.body["closing"]["state"], "cooling");
    stage.clock.advance(TimeDelta::days(2));
    erasure(&stage, "closing WHERE state = 'erasing'").await;
    assert_eq!(stage.count("citizen WHERE erased_at IS NOT NULL AND octet_length(data_key) = 0").await, 1);
    assert_eq!(stage.count("delegation WHERE ended_at IS NULL").await, 0);
    let told = stage.events::<DelegationEnded>().await;
    assert!(told.len() == 1 && told[0].left && told[0].guardian_id == mother.citizen.id.to_string(), "{told:?}");
    for action in ["closing.ask", "closing.take-back"] {
        let sql = "SELECT count(*) FROM identity.audit WHERE action = $1 AND subject = $2::uuid AND actor <> $2::text";
        let records: i64 = sqlx::query_scalar(sql)
            .bind(action)
            .bind(child["dependent_id"].as_str())
            .fetch_one(&stage.admin())
            .await
            .expect("a count");
        assert!(records > 0, "{action} by somebody else, about the child");
    }
    let (officer, mother) = (registrar_again(&stage).await, someone(&stage, MOTHER.0).await);
    let (_, anew) = bound(&stage, &officer, (&mother, MOTHER.1)).await;
    assert_ne!(anew["dependent_id"], child["dependent_id"], "a new account");
}

/// The officer's token, days later.
async fn registrar_again(stage: &Stage) -> String {
    someone(stage, "0912345670").await.tokens.access
}
