//! A citizen leaves: services agree or object, the citizen may stay, and in the end nothing but an id is left.

use chrono::TimeDelta;
use http::{Method, StatusCode};
use platform::job::Runner;
use platform::task::Shutdown;
use proto::identity::v1::{
    ClosingAgreed, ClosingEnded, ClosingRequested, DelegationBegan, DelegationEnded, ErasureDue, ErasureNear,
    SessionRevoked,
};
use serde_json::json;

use crate::SCHEMA;
use crate::audit::Origin;
use crate::challenge::Purpose;
use crate::citizen::CitizenId;
use crate::closing::{self, ClosingId, ErasureJob, LastWordJob};
use crate::pin::Proof;
use crate::pin::strength::Pin;
use crate::testing::{Stage, eventually};
use crate::tests::http::Answer;
use crate::tests::step_up::Phone;

const PATH: &str = "/identity/v1/me/closing";
const OTHERS: [&str; 3] = ["wallet", "reports", "notifications"];
const NUMBER: &str = "0912345678";
const PIN: &str = "502917";

async fn ask(stage: &Stage, token: &str) -> Answer {
    stage.call(Method::POST, PATH).token(token).json(json!({ "pin": PIN })).await
}

pub(super) async fn begun(stage: &Stage, token: &str) -> ClosingId {
    let asked = ask(stage, token).await;
    assert_eq!((asked.status, &asked.body["state"]), (StatusCode::ACCEPTED, &json!("asked")), "{}", asked.body);
    asked.text("id").parse().expect("an id")
}

async fn state(stage: &Stage, token: &str) -> String {
    stage.call(Method::GET, PATH).token(token).empty().await.text("state")
}

/// Every service agrees; tells whether one of them must open again.
pub(super) async fn agree(stage: &Stage, id: ClosingId) -> bool {
    let mut over = false;
    for service in OTHERS {
        over |= stage.identity.hear_closing((id, service), &[]).await.expect("heard");
    }
    over
}

/// Runs the jobs of closings, in two replicas at once, until they have no more to do.
pub(super) async fn erasure(stage: &Stage, holds: &str) {
    let shutdown = Shutdown::new();
    let running: Vec<_> = (0..2)
        .map(|_| {
            let identity = || stage.identity.clone();
            let jobs = Runner::new(&stage.context, SCHEMA)
                .on(closing::JOB, ErasureJob { identity: identity() })
                .on(closing::LAST_WORD_JOB, LastWordJob { identity: identity() });
            tokio::spawn(jobs.into_task().run(shutdown.clone()))
        })
        .collect();
    let sql = format!("SELECT count(*) FROM identity.{holds}");
    let rows = async || {
        let sql = sqlx::AssertSqlSafe(sql.clone());
        sqlx::query_scalar::<_, i64>(sql).fetch_one(&stage.admin()).await.expect("a query")
    };
    eventually(holds, async || rows().await == 1).await;
    shutdown.begin();
    for running in running {
        running.await.expect("no panic").expect("it ends by itself");
    }
}

#[tokio::test]
async fn what_stands_against_it_is_told_and_everything_opens_again() {
    let stage = Stage::new().await;
    let token = Phone::new().sign_in(&stage, NUMBER).await;
    let id = begun(&stage, &token).await;
    assert_eq!(stage.events::<ClosingRequested>().await.len(), 1);
    let objection = ["balance-not-zero".to_owned(), "payment-open".to_owned()];
    assert!(!stage.identity.hear_closing((id, "wallet"), &objection).await.expect("heard"), "all are waited for");
    assert!(!stage.identity.hear_closing((id, "reports"), &[]).await.expect("heard"));
    assert!(!stage.identity.hear_closing((id, "reports"), &objection).await.expect("heard"), "the first word counts");
    assert!(stage.identity.hear_closing((id, "notifications"), &[]).await.expect("heard"), "it is over");
    let refused = stage.call(Method::GET, PATH).token(&token).empty().await;
    assert_eq!(refused.body["state"], "refused");
    assert_eq!(stage.events::<ClosingEnded>().await[0].hindrances, objection, "the citizen is told why");
    let told: Vec<&str> =
        refused.body["hindrances"].as_array().expect("a list").iter().filter_map(|one| one["text"].as_str()).collect();
    assert_eq!(told, ["There is money in the wallet: spend it first.", "A top-up or a payment has not ended."]);
    let ended = stage.events::<ClosingEnded>().await;
    assert_eq!(ended.iter().map(|one| one.outcome.as_str()).collect::<Vec<_>>(), ["refused"]);
    assert!(agree(&stage, id).await, "whoever answers now must open again");
    assert_eq!(stage.count("job WHERE kind = 'closing'").await, 0, "nothing is erased");
    assert_ne!(begun(&stage, &token).await, id, "it may be asked for again");
}

#[tokio::test]
async fn it_is_asked_for_with_proof_and_only_once_at_a_time() {
    let stage = Stage::new().await;
    let phone = Phone::new();
    let token = phone.sign_in(&stage, NUMBER).await;
    let without = stage.call(Method::POST, PATH).token(&token).json(json!({})).await;
    assert_eq!((without.status.as_u16(), without.code()), (422, "pin-proof-required"));
    let wrong = stage.call(Method::POST, PATH).token(&token).json(json!({ "pin": "502918" })).await;
    assert_eq!(wrong.code(), "pin-wrong");
    stage.clock.advance(TimeDelta::minutes(5));
    let id = begun(&stage, &token).await;
    assert_eq!(ask(&stage, &token).await.text("id"), id.to_string());
    assert_eq!(stage.events::<ClosingRequested>().await.len(), 1);
    let other = Phone::new().sign_in(&stage, "0987654321").await;
    assert_eq!(stage.call(Method::GET, PATH).token(&other).empty().await.status, StatusCode::NOT_FOUND);
    assert_eq!(stage.call(Method::DELETE, PATH).token(&other).empty().await.code(), "closing-not-open");
    let malformed = stage.identity.hear_closing((id, "wallet"), &["Số dư".to_owned()]).await;
    assert!(malformed.is_err(), "codes only");
}

#[tokio::test]
async fn a_citizen_may_stay_until_the_erasure_begins() {
    let stage = Stage::new().await;
    let phone = Phone::new();
    let token = phone.sign_in(&stage, NUMBER).await;
    let first = begun(&stage, &token).await;
    assert_eq!(stage.call(Method::DELETE, PATH).token(&token).empty().await.status, StatusCode::NO_CONTENT);
    assert!(agree(&stage, first).await, "who closes too late opens again");
    let second = begun(&stage, &token).await;
    assert!(!agree(&stage, second).await);
    assert_eq!(state(&stage, &token).await, "cooling");
    assert_eq!(stage.events::<ClosingAgreed>().await.len(), 1);
    assert!(!agree(&stage, second).await, "an answer that comes again changes nothing");
    assert_eq!(stage.call(Method::DELETE, PATH).token(&token).empty().await.status, StatusCode::NO_CONTENT);
    let outcomes = stage.events::<ClosingEnded>().await;
    assert_eq!(outcomes.iter().map(|one| one.outcome.as_str()).collect::<Vec<_>>(), ["taken-back", "taken-back"]);
    stage.clock.advance(TimeDelta::days(3));
    erasure(&stage, "job WHERE kind = 'closing' AND state = 'done'").await;
    assert_eq!(stage.events::<ErasureDue>().await.len(), 0, "what was taken back is never erased");
    phone.sign_in(&stage, NUMBER).await;
    assert_eq!(stage.count("citizen WHERE erased_at IS NULL").await, 1);
}

#[tokio::test]
async fn in_the_end_nothing_but_an_id_is_left_and_the_number_is_free() {
    let stage = Stage::new().await;
    let phone = Phone::new();
    let token = phone.sign_in(&stage, NUMBER).await;
    stage
        .call(Method::PATCH, "/identity/v1/me")
        .token(&token)
        .json(json!({ "display_name": "Nguyễn Thị Hương" }))
        .await;
    stage.call(Method::POST, "/identity/v1/me/exports").token(&token).key("one").json(json!({})).await;
    let caller = stage.principal(&token).await;
    let user = CitizenId::from(caller.subject);
    let id = begun(&stage, &token).await;
    assert!(!agree(&stage, id).await);
    stage.clock.advance(TimeDelta::days(2));
    erasure(&stage, "closing WHERE state = 'erasing'").await;
    assert_eq!(stage.events::<ErasureDue>().await.len(), 1);
    assert_eq!(stage.events::<SessionRevoked>().await.len(), 1, "who was signed in is so no more");
    for table in ["device", "session", "pin", "archive", "archive_piece", "challenge", "sending"] {
        let rows: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT count(*) FROM identity.{table}")))
            .fetch_one(&stage.admin())
            .await
            .expect("a query");
        assert_eq!(rows, 0, "{table}");
    }
    assert_eq!(stage.count("citizen WHERE erased_at IS NOT NULL AND octet_length(data_key) = 0").await, 1);
    assert!(stage.identity.citizen(user).await.is_err(), "nobody finds them");
    let late = stage.identity.take_back_closing(&caller, Origin::default()).await;
    assert!(late.is_err(), "there is no way back");
    for _ in 0..2 {
        for service in OTHERS {
            stage.identity.hear_erasure(id, service).await.expect("written down");
        }
    }
    assert_eq!(stage.count("closing WHERE state = 'erased' AND ended_at IS NOT NULL").await, 1);
    assert_eq!(stage.count("audit WHERE action = 'closing.end'").await, 1, "once, however often it is told");
    let again = Phone::new().sign_in(&stage, NUMBER).await;
    assert_ne!(CitizenId::from(stage.principal(&again).await.subject), user, "a new account, for somebody new");
}

#[tokio::test]
async fn the_last_message_goes_out_before_the_number_is_forgotten_and_only_if_it_still_comes_to_that() {
    let stage = Stage::new().await;
    let phone = Phone::new();
    let token = phone.sign_in(&stage, NUMBER).await;
    let first = begun(&stage, &token).await;
    agree(&stage, first).await;
    assert_eq!(stage.call(Method::DELETE, PATH).token(&token).empty().await.status, StatusCode::NO_CONTENT);
    let second = begun(&stage, &token).await;
    agree(&stage, second).await;
    stage.clock.advance(TimeDelta::days(2) - TimeDelta::minutes(30));
    // Both last words have been looked at, also that of the closing which was taken back.
    let words = "SELECT count(*) FROM identity.job WHERE kind = 'closing-last-word' AND state = 'done'";
    erasure(&stage, &format!("closing WHERE state = 'cooling' AND 2 = ({words})")).await;
    let near = stage.events::<ErasureNear>().await;
    assert_eq!(near.iter().map(|one| one.closing_id.clone()).collect::<Vec<_>>(), [second.to_string()]);
    assert!(near[0].erase_at > stage.clock.now().timestamp(), "the number is still known");
    stage.clock.advance(TimeDelta::hours(1));
    erasure(&stage, "closing WHERE state = 'erasing'").await;
    assert_eq!(stage.events::<ErasureDue>().await.len(), 1);
    assert_eq!(stage.events::<ErasureNear>().await.len(), 1);
}

/// A job that comes again, as after a death before its end was written down, changes nothing.
#[tokio::test]
async fn an_erasure_that_comes_again_is_one_erasure() {
    let stage = Stage::new().await;
    let token = Phone::new().sign_in(&stage, NUMBER).await;
    let id = begun(&stage, &token).await;
    agree(&stage, id).await;
    stage.clock.advance(TimeDelta::days(2));
    erasure(&stage, "closing WHERE state = 'erasing'").await;
    let again = "UPDATE identity.job SET state = 'due', finished_at = NULL WHERE kind LIKE 'closing%'";
    sqlx::query(again).execute(&stage.admin()).await.expect("an update");
    erasure(&stage, "job WHERE kind = 'closing' AND state = 'done' AND attempts > 1").await;
    assert_eq!(stage.events::<ErasureDue>().await.len(), 1);
    assert_eq!(stage.count("audit WHERE action = 'closing.erase'").await, 1);
    for service in OTHERS {
        let answers = futures::future::join_all((0..3).map(|_| stage.identity.hear_erasure(id, service))).await;
        assert!(answers.iter().all(Result::is_ok), "{service}");
    }
    assert_eq!(stage.count("audit WHERE action = 'closing.end'").await, 1);
}

#[tokio::test]
async fn who_leaves_acts_for_nobody_any_more_and_the_other_side_is_told() {
    let stage = Stage::new().await;
    let (phone, path) = (Phone::new(), "/identity/v1/me/delegations");
    let token = phone.sign_in(&stage, NUMBER).await;
    let others = [("guardian", "0987654321"), ("dependent", "0987654322")];
    let mut ids = Vec::new();
    for (side, number) in others {
        let body = json!({
            "side": side, "phone": number, "kinds": ["bill"], "until": stage.clock.now() + TimeDelta::days(30),
            "limits": {"transaction": 200_000, "day": 500_000, "month": 2_000_000}, "pin": "502917",
        });
        let made = stage.call(Method::POST, path).token(&token).key(side).json(body).await;
        let other = Phone::new().sign_in(&stage, number).await;
        let id = made.text("id");
        let word = stage.call(Method::POST, &format!("{path}/{id}/confirmation")).token(&other);
        let confirmed = word.json(json!({ "pin": "502917" })).await;
        assert_eq!(confirmed.text("state"), "active", "{}", confirmed.body);
        ids.push((id, side));
    }
    let user = stage.principal(&token).await.subject.to_string();
    assert_eq!(stage.events::<DelegationBegan>().await.len(), 2);
    let copy = stage.call(Method::GET, "/identity/v1/me/export").token(&token).empty().await;
    let listed = copy.body["lists"]["delegations"].as_array().expect("a list").clone();
    let sides: Vec<_> = listed.iter().map(|one| (one["id"].clone(), one["as_guardian"].clone())).collect();
    assert_eq!(sides, [(json!(ids[1].0), json!(false)), (json!(ids[0].0), json!(true))], "the copy has both");

    let id = begun(&stage, &token).await;
    assert!(!agree(&stage, id).await, "delegations do not stand against it");
    assert_eq!(state(&stage, &token).await, "cooling");
    stage.clock.advance(TimeDelta::days(2));
    erasure(&stage, "closing WHERE state = 'erasing'").await;
    assert_eq!(stage.count("delegation WHERE ended_at IS NULL").await, 0);
    let mut told = stage.events::<DelegationEnded>().await;
    told.sort_by_key(|one| one.guardian_id != user);
    let said: Vec<_> = told.iter().map(|one| (one.delegation_id.clone(), one.ended_by.clone(), one.left)).collect();
    assert_eq!(said, [(ids[0].0.clone(), user.clone(), true), (ids[1].0.clone(), user.clone(), true)]);
    for ((id, _), (_, number)) in ids.iter().zip(others) {
        let refused: i64 = sqlx::query_scalar("SELECT count(*) FROM identity.revocation WHERE session_id = $1::uuid")
            .bind(id)
            .fetch_one(&stage.admin())
            .await
            .expect("a query");
        assert_eq!(refused, 1, "its tokens are refused");
        let other = Phone::new().sign_in(&stage, number).await;
        let list = stage.call(Method::GET, path).token(&other).empty().await;
        let item = &list.body["items"][0];
        assert_eq!((item["id"].clone(), item["state"].clone()), (json!(id), json!("ended")), "{}", list.body);
    }
}

#[tokio::test]
async fn a_pin_that_was_just_reset_closes_no_account() {
    let stage = Stage::new().await;
    let phone = Phone::new();
    let token = phone.sign_in(&stage, NUMBER).await;
    let caller = stage.principal(&token).await;
    let (challenge, code) = stage.code(NUMBER, phone.id, Purpose::PinReset).await;
    let pin = Pin::parse("271828").expect("six digits");
    stage.identity.set_pin(&caller, &pin, Proof::Code(challenge, code), None).await.expect("reset");
    let close = async |token: &str| {
        stage.call(Method::POST, "/identity/v1/me/closing").token(token).json(json!({ "pin": "271828" })).await
    };
    let refused = close(&token).await;
    assert_eq!((refused.status, refused.code()), (StatusCode::FORBIDDEN, "pin-cooling"));
    assert_eq!(stage.count("closing").await, 0);
    stage.clock.advance(TimeDelta::days(1));
    assert_eq!(close(&phone.sign_in(&stage, NUMBER).await).await.status, StatusCode::ACCEPTED);
}
