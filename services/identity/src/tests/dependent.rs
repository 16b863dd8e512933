//! People without a telephone: registered by an officer, confirmed by the guardian, who then acts for them; nobody else has a say.

use chrono::TimeDelta;
use futures::future::join_all;
use http::Method;
use platform::metrics::Metrics;
use platform::rpc::{CallMetrics, CallSettings, InboundLayer, in_process};
use proto::identity::v1::identity_service_client::IdentityServiceClient;
use proto::identity::v1::{CitizenRegistered, DelegationBegan, DependentBound, DependentRegistered, GetContactRequest};
use serde_json::{Value, json};
use tonic::Code;
use uuid::Uuid;

use super::http::Answer;
use super::officer::officer;
use crate::audit::{Action, Entry, Origin};
use crate::citizen::{self, CitizenId};
use crate::device::DeviceId;
use crate::ekyc::Source;
use crate::ekyc::number::CitizenNumber;
use crate::grpc;
use crate::session::Opened;
use crate::testing::Stage;

pub(super) const WARD: &str = "19753";
const OFFICES: &str = "/identity/v1/dependents";
pub(super) const MINE: &str = "/identity/v1/me/dependents";
const OFFICER: &str = "0912345670";
pub(super) const MOTHER: (&str, &str) = ("0912345671", "046190000001");
pub(super) const AUNT: (&str, &str) = ("0912345672", "046188000002");
const STRANGER: &str = "0912345673";
pub(super) const CHILD: &str = "046215000003";

pub(super) async fn someone(stage: &Stage, phone: &str) -> Opened {
    stage.sign_in(phone, DeviceId::generate()).await
}

/// Somebody who has proved their citizen number.
pub(super) async fn proved(stage: &Stage, (phone, number): (&str, &str)) -> Opened {
    let person = someone(stage, phone).await;
    let number = CitizenNumber::parse(number).expect("a number");
    let id = person.citizen.id;
    let mut tx = stage.identity.pool.begin().await.expect("a transaction");
    let row = citizen::lock(&mut tx, id).await.expect("read").expect("there");
    let key = row.key(&stage.identity.vault).expect("a key");
    let entry = Entry::of(id, Action::EkycDecide, "", &stage.identity.source(Origin::default()));
    let proof = (&number, "Nguyễn Thị Hương", Source::Ekyc);
    let done = stage.identity.prove_number(&mut tx, (id, &key), proof, &entry, stage.clock.now()).await;
    done.expect("written").expect("it is nobody else's");
    tx.commit().await.expect("committed");
    person
}

/// An officer of the ward's register: their token.
pub(super) async fn registrar(stage: &Stage) -> String {
    officer(stage, OFFICER, &format!("agency.officer:UBND-{WARD}")).await;
    someone(stage, OFFICER).await.tokens.access
}

pub(super) fn form(stage: &Stage, guardian: &str) -> Value {
    json!({
        "ward": WARD, "guardian_citizen_number": guardian, "citizen_number": CHILD, "full_name": "Nguyễn Minh An",
        "date_of_birth": "2015-03-26", "kinds": ["merchant", "fee"],
        "limits": {"transaction": 100_000, "day": 200_000, "month": 1_000_000},
        "until": stage.clock.now() + TimeDelta::days(300), "reason": "file 118/HT",
    })
}

pub(super) async fn register(stage: &Stage, officer: &str, body: Value) -> Answer {
    let key = Uuid::now_v7().to_string();
    stage.call(Method::POST, OFFICES).token(officer).key(&key).json(body).await
}

pub(super) async fn call(stage: &Stage, token: &str, method: Method, rest: &str) -> Answer {
    stage.call(method, &format!("{MINE}{rest}")).token(token).empty().await
}

/// A child for whom a guardian answers: the registration, and what it says.
pub(super) async fn bound(stage: &Stage, officer: &str, guardian: (&Opened, &str)) -> (String, Value) {
    let made = register(stage, officer, form(stage, guardian.1)).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let id = made.text("id");
    let token = &guardian.0.tokens.access;
    let confirmed = call(stage, token, Method::POST, &format!("/{id}/confirmation")).await;
    assert_eq!(
        (confirmed.status.as_u16(), confirmed.text("state")),
        (200, "confirmed".to_owned()),
        "{}",
        confirmed.body
    );
    (id, confirmed.body)
}

#[tokio::test]
async fn an_officer_and_the_guardian_make_an_account_that_nobody_signs_in_to() {
    let stage = Stage::new().await;
    let (officer, mother) = (registrar(&stage).await, proved(&stage, MOTHER).await);
    let stranger = someone(&stage, STRANGER).await.tokens.access;
    let token = &mother.tokens.access;
    let before = stage.count("citizen").await;
    let made = register(&stage, &officer, form(&stage, MOTHER.1)).await;
    assert_eq!((made.status.as_u16(), made.text("state")), (201, "proposed".to_owned()), "{}", made.body);
    assert!(!made.body.to_string().contains("An"), "no name comes back: {}", made.body);
    let id = made.text("id");
    assert_eq!(stage.events::<DependentRegistered>().await[0].guardian_id, mother.citizen.id.to_string());
    assert_eq!(stage.count("citizen").await, before, "there is no account before the guardian's word");
    let mine = call(&stage, token, Method::GET, "").await;
    assert_eq!(mine.body["items"][0]["full_name"], "Nguyễn Minh An", "{}", mine.body);
    for (method, rest) in [
        (Method::POST, "/confirmation"),
        (Method::DELETE, ""),
        (Method::POST, "/closing"),
        (Method::DELETE, "/closing"),
        (Method::POST, "/phone"),
    ] {
        let body = match rest {
            "/phone" => json!({"challenge_id": Uuid::now_v7(), "code": "123456"}),
            _ => json!({}),
        };
        let path = format!("{MINE}/{id}{rest}");
        for (who, code) in [(&stranger, "not-found"), (&officer, "not-found")] {
            assert_eq!(stage.call(method.clone(), &path).token(who).json(body.clone()).await.code(), code, "{rest}");
        }
    }
    assert_eq!(call(&stage, &stranger, Method::GET, "").await.body["items"], json!([]));

    // At once and again: one account.
    let confirmation = format!("/{id}/confirmation");
    let words = join_all((0..3).map(|_| call(&stage, token, Method::POST, &confirmation))).await;
    assert!(words.iter().all(|word| word.status == 200), "{:?}", words.iter().map(|one| &one.body).collect::<Vec<_>>());
    let child: CitizenId = words[0].text("dependent_id").parse().expect("an id");
    assert!(words.iter().all(|word| word.text("dependent_id") == child.to_string()));
    assert_eq!(
        (words[0].body["without_phone"].clone(), words[0].text("full_name")),
        (json!(true), "Nguyễn Minh An".into())
    );
    assert_eq!(stage.count("citizen").await, before + 1);
    let registered = stage.events::<CitizenRegistered>().await;
    let told: Vec<_> = registered.iter().filter(|one| one.user_id == child.to_string()).map(|one| one.tier).collect();
    assert_eq!(told, [1], "the wallet knows it by the same event as all others");
    assert_eq!((stage.events::<DependentBound>().await.len(), stage.events::<DelegationBegan>().await.len()), (1, 1));
    assert_eq!(stage.count("dependent WHERE claim IS NOT NULL OR number_digest IS NOT NULL").await, 0, "wiped");
    for action in ["dependent.register", "dependent.confirm", "delegation.confirm"] {
        let sql = "SELECT count(*) FROM identity.audit WHERE action = $1";
        let records: i64 = sqlx::query_scalar(sql).bind(action).fetch_one(&stage.admin()).await.expect("a count");
        assert_eq!(records, 1, "{action}");
    }

    let delegation = words[0].text("delegation_id");
    let acting = stage
        .call(Method::POST, &format!("/identity/v1/me/delegations/{delegation}/tokens"))
        .token(token)
        .empty()
        .await
        .text("access_token");
    let party = stage.context.verifier.verify_acting(&acting).await.expect("valid");
    assert_eq!(party.subject, child.uuid());
    assert_eq!(party.acting.map(|acts| acts.actor), Some(mother.citizen.id.uuid()));
    let list = stage.call(Method::GET, "/identity/v1/me/delegations").token(token).empty().await;
    assert_eq!(list.body["items"][0]["state"], "active", "{}", list.body);
    assert_eq!(contact(&stage, child).await, Err(Code::NotFound), "and nothing that breaks");
    let copy = stage.call(Method::GET, "/identity/v1/me/export").token(token).empty().await;
    assert_eq!(copy.body["lists"]["dependents"].as_array().map(Vec::len), Some(1), "{}", copy.body);
    let seen = stage.call(Method::GET, &format!("{OFFICES}/{id}")).token(&officer).empty().await;
    assert_eq!((seen.text("state"), seen.text("dependent_id")), ("confirmed".to_owned(), child.to_string()));
}

/// Where notifications would reach somebody.
async fn contact(stage: &Stage, citizen: CitizenId) -> Result<String, Code> {
    let metrics = Metrics::new("notifications", "test");
    let (layer, calls) = (InboundLayer::new(&metrics), CallMetrics::new(&metrics));
    let routes = grpc::routes(stage.identity.clone());
    let channel = in_process("notifications", routes, layer, &calls, CallSettings::default());
    let asked =
        IdentityServiceClient::new(channel).get_contact(GetContactRequest { user_id: citizen.to_string() }).await;
    asked.map(|answer| answer.into_inner().phone).map_err(|status| status.code())
}

#[tokio::test]
async fn only_an_officer_of_the_wards_register_and_never_for_themself() {
    let stage = Stage::new().await;
    let register_at = registrar(&stage).await;
    proved(&stage, MOTHER).await;
    let citizen = someone(&stage, STRANGER).await.tokens.access;
    let made = register(&stage, &register_at, form(&stage, MOTHER.1)).await.text("id");
    let mut others = vec![citizen];
    for (phone, role) in [
        ("0987654321", "agency.officer:UBND-19774"),
        ("0987654322", "agency.officer:KTHT-19753"),
        ("0987654323", "agency.head:HEPCO"),
        ("0987654324", "admin"),
    ] {
        officer(&stage, phone, role).await;
        others.push(someone(&stage, phone).await.tokens.access);
    }
    for other in &others {
        assert_eq!(register(&stage, other, form(&stage, MOTHER.1)).await.code(), "forbidden");
        let list = stage.call(Method::GET, &format!("{OFFICES}?ward={WARD}")).token(other).empty().await;
        assert_eq!(list.code(), "forbidden");
        let why = json!({"reason": "file 1"});
        for (method, rest) in [
            (Method::GET, ""),
            (Method::DELETE, "?reason=x"),
            (Method::POST, "/closing"),
            (Method::DELETE, "/closing?reason=x"),
        ] {
            let path = format!("{OFFICES}/{made}{rest}");
            assert_eq!(stage.call(method, &path).token(other).json(why.clone()).await.code(), "not-found", "{rest}");
        }
    }
    officer(&stage, "0987654325", &format!("agency.head:UBND-{WARD}")).await;
    let head = someone(&stage, "0987654325").await.tokens.access;
    let list = stage.call(Method::GET, &format!("{OFFICES}?ward={WARD}")).token(&head).empty().await;
    assert_eq!(list.body["items"][0]["id"], json!(made), "{}", list.body);
    let all = stage.call(Method::GET, OFFICES).token(&head).empty().await;
    assert_eq!(all.body, list.body, "of all wards that are theirs");
    assert_eq!(stage.call(Method::GET, OFFICES).token(&others[0]).empty().await.code(), "forbidden");

    // An officer who would be the guardian.
    officer(&stage, AUNT.0, &format!("agency.officer:UBND-{WARD}")).await;
    let aunt = proved(&stage, AUNT).await.tokens.access;
    let mut own = form(&stage, AUNT.1);
    own["citizen_number"] = json!("046215000009");
    assert_eq!(register(&stage, &aunt, own).await.code(), "forbidden");
}

#[tokio::test]
async fn what_can_not_be_is_said_and_a_key_is_one_registration() {
    let stage = Stage::new().await;
    let officer_token = registrar(&stage).await;
    proved(&stage, MOTHER).await;
    let change = |field: &str, value: Value| {
        let mut body = form(&stage, MOTHER.1);
        body[field] = value;
        body
    };
    let now = stage.clock.now();
    for (field, value, code) in [
        ("ward", json!("99999"), "ward-unknown"),
        ("guardian_citizen_number", json!("046190000077"), "guardian-not-verified"),
        ("guardian_citizen_number", json!(CHILD), "invalid-body"),
        ("guardian_citizen_number", json!("12"), "citizen-number-invalid"),
        ("citizen_number", json!(MOTHER.1), "citizen-number-invalid"),
        ("date_of_birth", json!("2014-03-26"), "citizen-number-invalid"),
        ("date_of_birth", json!("26/03/2015"), "invalid-body"),
        // The 18th birthday begins in Huế.
        ("until", json!("2033-03-25T17:00:00.000001Z"), "invalid-body"),
        ("until", json!("2033-03-26T00:00:00Z"), "invalid-body"),
        ("until", json!(now), "invalid-body"),
        ("kinds", json!([]), "invalid-body"),
        ("reason", json!("gọi 0912345678"), "invalid-body"),
    ] {
        let answer = register(&stage, &officer_token, change(field, value.clone())).await;
        assert_eq!(answer.code(), code, "{field} {value}: {}", answer.body);
    }
    assert_eq!(stage.count("dependent").await, 0);
    let body = change("until", json!("2033-03-26T00:00:00+07:00"));
    let again = async |body: Value| stage.call(Method::POST, OFFICES).token(&officer_token).key("one").json(body).await;
    let first = again(body.clone()).await;
    assert_eq!(first.status, 201, "{}", first.body);
    assert_eq!(again(body.clone()).await.text("id"), first.text("id"), "an answer that was lost is given again");
    assert_eq!(again(change("reason", json!("file 9"))).await.code(), "idempotency-key-reused");
    assert_eq!(stage.events::<DependentRegistered>().await.len(), 1);
    assert_eq!(register(&stage, &officer_token, body).await.code(), "dependent-registered");
}

#[tokio::test]
async fn two_officers_at_once_register_a_child_once() {
    let stage = Stage::new().await;
    let first = registrar(&stage).await;
    officer(&stage, "0987654321", &format!("agency.head:UBND-{WARD}")).await;
    let second = someone(&stage, "0987654321").await.tokens.access;
    proved(&stage, MOTHER).await;
    proved(&stage, AUNT).await;
    let (one, two) = tokio::join!(
        register(&stage, &first, form(&stage, MOTHER.1)),
        register(&stage, &second, form(&stage, AUNT.1)),
    );
    let mut said = [one.status.as_u16(), two.status.as_u16()];
    said.sort_unstable();
    assert_eq!(said, [201, 409], "{} {}", one.body, two.body);
    assert_eq!(stage.count("dependent WHERE claim IS NOT NULL").await, 1);
}

#[tokio::test]
async fn a_refusal_a_word_taken_back_and_silence_leave_nothing() {
    let stage = Stage::new().await;
    let (officer, mother) = (registrar(&stage).await, proved(&stage, MOTHER).await);
    let token = &mother.tokens.access;
    let refused = register(&stage, &officer, form(&stage, MOTHER.1)).await.text("id");
    for _ in 0..2 {
        assert_eq!(call(&stage, token, Method::DELETE, &format!("/{refused}")).await.status, 204);
    }
    assert_eq!(
        call(&stage, token, Method::POST, &format!("/{refused}/confirmation")).await.code(),
        "registration-over"
    );
    let withdrawn = register(&stage, &officer, form(&stage, MOTHER.1)).await.text("id");
    let path = format!("{OFFICES}/{withdrawn}?reason=file%20118");
    for _ in 0..2 {
        assert_eq!(stage.call(Method::DELETE, &path).token(&officer).empty().await.status, 204);
    }
    assert_eq!(
        call(&stage, token, Method::POST, &format!("/{withdrawn}/confirmation")).await.code(),
        "registration-over"
    );
    let silent = register(&stage, &officer, form(&stage, MOTHER.1)).await.text("id");
    stage.clock.advance(TimeDelta::days(7));
    let (officer, mother) = (someone(&stage, OFFICER).await, someone(&stage, MOTHER.0).await);
    let token = &mother.tokens.access;
    assert_eq!(call(&stage, token, Method::POST, &format!("/{silent}/confirmation")).await.code(), "registration-over");
    let newer = register(&stage, &officer.tokens.access, form(&stage, MOTHER.1)).await;
    assert_eq!(newer.status, 201, "what lapsed is in nobody's way: {}", newer.body);
    stage.clock.advance(TimeDelta::days(7));
    stage.identity.prune().await.expect("pruned");
    assert_eq!(stage.count("dependent WHERE claim IS NOT NULL").await, 0);
    let token = &someone(&stage, MOTHER.0).await.tokens.access;
    let list = call(&stage, token, Method::GET, "").await;
    let states: Vec<_> =
        list.body["items"].as_array().expect("a list").iter().map(|one| one["state"].clone()).collect();
    assert_eq!(states, ["lapsed", "lapsed", "ended", "ended"], "{}", list.body);
    assert!(!list.body.to_string().contains("Minh An"), "{}", list.body);
    assert_eq!(stage.events::<CitizenRegistered>().await.len(), 2, "no account but the officer's and the mother's");
}
