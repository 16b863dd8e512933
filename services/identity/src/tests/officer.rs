//! Officers: roles given and taken, what tokens say of them, how fast a role ends, and what stays on record.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use futures::future::join_all;
use http::{Method, StatusCode};
use platform::auth::AuthError;
use platform::problem::Problem;
use serde_json::{Value, json};

use crate::Identity;
use crate::audit::{self, Action, OperatorAct, Origin, Reason, Verdict};
use crate::citizen::CitizenId;
use crate::device::DeviceId;
use crate::error::Error;
use crate::officer::{self, Appointment, Desk, Filter, Term};
use crate::session::Opened;
use crate::testing::Stage;
use crate::tests::closing::{agree, begun, erasure};
use crate::tests::step_up::Phone;
use crate::tests::token::of_another_role;

fn appointment(person: CitizenId, role: &str) -> Appointment {
    Appointment { user_id: person.uuid(), role: role.parse().expect("a role"), term: Term::default() }
}

fn desk(stage: &Stage) -> Desk<'_> {
    let Identity { pool, clock, config, organisations, .. } = &*stage.identity;
    Desk { pool, clock, lifetimes: &config.lifetimes, organisations }
}

fn why() -> (Origin, Reason) {
    (Origin::default(), "decision 118".parse().expect("a reason"))
}

fn act(action: Action) -> OperatorAct {
    let reason = "first of the city".parse().expect("a reason");
    OperatorAct { operator: "root".into(), host: "hue-1".into(), action, subject: None, object: String::new(), reason }
}

async fn someone(stage: &Stage, phone: &str) -> Opened {
    stage.sign_in(phone, DeviceId::generate()).await
}

/// Somebody with a role that an operator gave.
pub(super) async fn officer(stage: &Stage, phone: &str, role: &str) -> CitizenId {
    let person = someone(stage, phone).await.citizen.id;
    let (role, act) = (appointment(person, role), act(Action::RoleGrant));
    assert!(officer::grant_as_operator(desk(stage), &role, &act).await.expect("given"));
    person
}

async fn give(identity: &Identity, by: CitizenId, person: CitizenId, role: &str) -> Result<bool, Error> {
    Ok(identity.grant_role(by, &appointment(person, role), why()).await?.1)
}

async fn take(identity: &Identity, by: CitizenId, person: CitizenId, role: &str) -> Result<(), Error> {
    identity.revoke_role(by, &appointment(person, role), why()).await
}

#[tokio::test]
async fn tokens_say_the_roles_of_their_refresh_and_a_taken_role_makes_older_ones_stale() {
    let stage = Stage::new().await;
    let admin = officer(&stage, "0912345671", "admin").await;
    let person = someone(&stage, "0912345672").await;
    assert!(stage.principal(&person.tokens.access).await.roles.is_empty());

    assert!(give(&stage.identity, admin, person.citizen.id, "ioc.operator").await.expect("given"));
    assert!(give(&stage.identity, admin, person.citizen.id, "agency.officer:HEPCO").await.expect("given"));
    assert!(stage.principal(&person.tokens.access).await.roles.is_empty(), "a token says what was so at its issue");
    let first = stage.identity.refresh(&person.tokens.refresh, None).await.expect("alive");
    let principal = stage.principal(&first.access).await;
    assert_eq!(principal.roles, ["agency.officer:HEPCO", "ioc.operator"]);
    assert!(principal.has_role("ioc.operator") && !principal.has_role("agency.officer"));

    take(&stage.identity, admin, person.citizen.id, "ioc.operator").await.expect("taken");
    for token in [&person.tokens.access, &first.access] {
        assert_eq!(stage.context.verifier.verify(token).await, Err(AuthError::Stale));
    }
    let second = stage.identity.refresh(&first.refresh, None).await.expect("the session goes on");
    assert_eq!(stage.principal(&second.access).await.roles, ["agency.officer:HEPCO"]);
    let fresh = someone(&stage, "0912345672").await;
    assert_eq!(stage.principal(&fresh.tokens.access).await.roles, ["agency.officer:HEPCO"]);

    // Given again and taken again: each end counts.
    assert!(give(&stage.identity, admin, person.citizen.id, "ioc.operator").await.expect("given again"));
    let third = stage.identity.refresh(&second.refresh, None).await.expect("alive");
    take(&stage.identity, admin, person.citizen.id, "ioc.operator").await.expect("taken again");
    assert_eq!(stage.context.verifier.verify(&third.access).await, Err(AuthError::Stale));
    let repeated = stage.identity.refresh(&second.refresh, None).await.expect("the answer was lost");
    assert_eq!(stage.principal(&repeated.access).await.roles, ["agency.officer:HEPCO"], "a repeat says what is so now");
}

#[tokio::test]
async fn a_taken_role_ends_elsewhere_within_five_seconds_without_redis() {
    let stage = Stage::new().await;
    let lead = officer(&stage, "0912345671", "ioc.lead").await;
    let lead_token = someone(&stage, "0912345671").await.tokens.access;
    let (elsewhere, shutdown) = of_another_role(&stage);
    assert!(elsewhere.verify(&lead_token).await.expect("valid").has_role("ioc.lead"));
    stage.redis.kill().await;

    let taken = appointment(lead, "ioc.lead");
    let take =
        async || officer::revoke_as_operator(desk(&stage), &taken, &act(Action::RoleRevoke)).await.expect("an answer");
    assert!(take().await, "it was held");
    tokio::time::timeout(Duration::from_secs(5), async {
        while elsewhere.verify(&lead_token).await != Err(AuthError::Stale) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("every process knows within five seconds");
    assert!(!take().await, "there is nothing left to do");
    shutdown.begin();
}

#[tokio::test]
async fn two_replicas_and_double_clicks_change_a_role_once() {
    let stage = Stage::new().await;
    let admin = officer(&stage, "0912345671", "admin").await;
    let person = someone(&stage, "0912345672").await.citizen.id;
    let replicas = [stage.identity.clone(), stage.replica()];
    let at = |index: usize| Arc::clone(&replicas[index % 2]);

    let given = join_all((0..8).map(|index| async move { give(&at(index), admin, person, "ioc.lead").await })).await;
    let new = given.into_iter().map(|given| given.expect("given")).filter(|new| *new).count();
    assert_eq!((new, stage.count("role_grant WHERE role = 'ioc.lead'").await), (1, 1));
    let taken = join_all((0..8).map(|index| async move { take(&at(index), admin, person, "ioc.lead").await })).await;
    assert!(taken.iter().all(Result::is_ok));
    assert_eq!(stage.count("role_revocation").await, 1);
    assert_eq!(stage.count("audit WHERE action = 'role.grant'").await, 2);
    assert_eq!(stage.count("audit WHERE action = 'role.revoke'").await, 1);
    let named = "audit WHERE action = 'role.revoke' AND object = 'ioc.lead' AND reason = 'decision 118'
        AND subject IS NOT NULL AND actor <> subject::text";
    assert_eq!(stage.count(named).await, 1);
    let holds = audit::verify(&stage.identity.pool, None).await.expect("read");
    assert!(matches!(holds, Verdict::Holds(_)), "{holds:?}");
}

#[tokio::test]
async fn the_database_judges_who_asks_whatever_their_token_says() {
    let stage = Stage::new().await;
    let identity = &stage.identity;
    let admin = officer(&stage, "0912345671", "admin").await;
    let lead = officer(&stage, "0912345672", "ioc.lead").await;
    let head = officer(&stage, "0912345673", "agency.head:HEPCO").await;
    let person = someone(&stage, "0912345674").await.citizen.id;
    for (by, role, wanted) in [
        (lead, "ioc.operator", true),
        (lead, "ioc.lead", false),
        (lead, "agency.officer:HEPCO", false),
        (head, "agency.officer:HEPCO", true),
        (head, "agency.officer:HEPCO:19753", true),
        (head, "agency.officer:HUEWACO", false),
        (head, "agency.officer:TNDT", true),
        (head, "agency.head:HEPCO", false),
        (person, "ioc.operator", false),
        (person, "admin", false),
        (admin, "finance.approver", true),
    ] {
        let given = give(identity, by, person, role).await;
        assert_eq!(given.is_ok(), wanted, "{role}");
        assert!(wanted || matches!(given, Err(Error::Forbidden)), "{role}");
    }
    assert!(matches!(take(identity, lead, admin, "admin").await, Err(Error::Forbidden)));
    assert!(matches!(take(identity, admin, person, "ioc.lead").await, Err(Error::NotFound)), "never held");
    assert!(matches!(give(identity, admin, CitizenId::generate(), "admin").await, Err(Error::NotFound)));

    let below = someone(&stage, "0912345676").await.citizen.id;
    assert!(give(identity, head, below, "agency.head:TNDT:19753").await.expect("they lead what is above"));

    // What ends for who asks ends for what they may do, at once.
    take(identity, admin, lead, "ioc.lead").await.expect("taken");
    let late = give(identity, lead, someone(&stage, "0912345675").await.citizen.id, "ioc.operator").await;
    assert!(matches!(late, Err(Error::Forbidden)));

    let agency = identity.officers(head, &Filter::default(), None, 100).await.expect("their agency's");
    let theirs = |agency: Option<&str>| matches!(agency, Some("HEPCO" | "TNDT"));
    assert!(agency.len() == 5 && agency.iter().all(|grant| theirs(grant.agency.as_deref())), "{agency:?}");
    let own = Filter { user_id: Some(person.uuid()), ..Filter::default() };
    assert_eq!(identity.officers(person, &own, None, 100).await.expect("their own").len(), 5);
    assert!(matches!(identity.officers(person, &Filter::default(), None, 100).await, Err(Error::Forbidden)));
}

#[tokio::test]
async fn a_person_holds_a_bounded_number_and_history_stays() {
    let stage = Stage::new().await;
    let admin = officer(&stage, "0912345671", "admin").await;
    let person = someone(&stage, "0912345672").await.citizen.id;
    let wards: Vec<String> = stage
        .identity
        .organisations
        .after(Some("CA-"))
        .map(|one| format!("agency.officer:{}", one.code))
        .take(16)
        .collect();
    for role in &wards {
        give(&stage.identity, admin, person, role).await.expect("given");
    }
    assert!(matches!(give(&stage.identity, admin, person, "ioc.lead").await, Err(Error::RolesTooMany)));
    assert!(!give(&stage.identity, admin, person, &wards[0]).await.expect("held already"));
    let token = someone(&stage, "0912345672").await.tokens.access;
    assert_eq!(stage.principal(&token).await.roles.len(), 16, "tokens carry them all");

    take(&stage.identity, admin, person, &wards[0]).await.expect("taken");
    for sql in [
        "DELETE FROM identity.role_grant",
        "TRUNCATE identity.role_grant",
        "UPDATE identity.role_grant SET revoked_at = NULL WHERE revoked_at IS NOT NULL",
        "UPDATE identity.role_grant SET valid_until = '2099-01-01Z' WHERE revoked_at IS NULL",
        "UPDATE identity.role_grant SET agency = 'B' WHERE agency LIKE 'CA-%'",
    ] {
        assert!(sqlx::query(sql).execute(&stage.admin()).await.is_err(), "{sql}");
    }
    let ended = Filter { held: Some(false), ..Filter::default() };
    let history = officer::list(&stage.identity.pool, &ended, None, stage.clock.now()).await.expect("a list");
    assert_eq!(history.len(), 1);
    assert_eq!((history[0].granted_by, history[0].revoked_by), (Some(admin.uuid()), Some(admin.uuid())));

    stage.clock.advance(TimeDelta::seconds(700));
    stage.identity.prune().await.expect("pruned");
    assert_eq!((stage.count("role_revocation").await, stage.count("role_grant").await), (0, 17));
}

#[tokio::test]
async fn roles_are_listed_given_and_taken_over_http() {
    let stage = Stage::new().await;
    officer(&stage, "0912345671", "admin").await;
    let admin = someone(&stage, "0912345671").await;
    let person = someone(&stage, "0912345672").await;
    let (admin_token, token) = (admin.tokens.access.as_str(), person.tokens.access.as_str());
    let path = |role: &str| format!("/identity/v1/officers/{}/roles/{role}", person.citizen.id);
    let put = async |token: &str, role: &str, reason: &str| {
        stage.call(Method::PUT, &path(role)).token(token).json(json!({ "reason": reason })).await
    };
    let given = put(admin_token, "agency.officer:HEPCO", "decision 118").await;
    assert_eq!((given.status, given.text("name")), (StatusCode::CREATED, "agency.officer:HEPCO".to_owned()));
    assert_eq!(
        (given.text("role"), given.text("agency"), &given.body["ward"], given.text("granted_by")),
        ("agency.officer".to_owned(), "HEPCO".to_owned(), &Value::Null, admin.citizen.id.to_string())
    );
    let again = put(admin_token, "agency.officer:HEPCO", "decision 118").await;
    assert_eq!((again.status, again.text("id")), (StatusCode::OK, given.text("id")));
    for (token, role, reason, wanted) in [
        (admin_token, "mayor", "x", "role-unknown"),
        (admin_token, "agency.officer", "x", "role-scope-invalid"),
        (admin_token, "agency.officer:HEPKO", "x", "agency-unknown"),
        (admin_token, "agency.officer:HEPCO:99999", "x", "ward-unknown"),
        (admin_token, "agency.officer:KTHT-19753:19789", "x", "role-scope-invalid"),
        (admin_token, "ioc.lead", "asked by 0912345678", "invalid-body"),
        (token, "ioc.lead", "x", "forbidden"),
        ("nonsense", "ioc.lead", "x", "unauthenticated"),
    ] {
        assert_eq!(put(token, role, reason).await.code(), wanted, "{role}");
    }
    put(admin_token, "ioc.operator", "decision 119").await;

    let first = stage.call(Method::GET, "/identity/v1/officers?limit=2").token(admin_token).empty().await;
    let cursor = first.text("next_cursor");
    let rest = stage.call(Method::GET, &format!("/identity/v1/officers?limit=2&cursor={cursor}"));
    let rest = rest.token(admin_token).empty().await;
    let names = |body: &Value| {
        let items = body["items"].as_array().expect("a page");
        items.iter().filter_map(|item| item["name"].as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    assert_eq!(names(&first.body), ["admin", "agency.officer:HEPCO"]);
    assert_eq!((names(&rest.body), &rest.body["next_cursor"]), (vec!["ioc.operator".to_owned()], &Value::Null));
    let list = async |token: &str, query: &str| {
        stage.call(Method::GET, &format!("/identity/v1/officers?{query}")).token(token).empty().await
    };
    assert_eq!(names(&list(admin_token, "role=ioc.operator").await.body), ["ioc.operator"]);
    assert_eq!(names(&list(token, &format!("user_id={}", person.citizen.id)).await.body).len(), 2);
    assert_eq!(list(token, "").await.code(), "forbidden");
    assert_eq!(list(admin_token, "role=mayor").await.code(), "invalid-query");

    let take = async |token: &str, query: &str| {
        stage.call(Method::DELETE, &format!("{}{query}", path("ioc.operator"))).token(token).empty().await
    };
    assert_eq!(take(token, "").await.code(), "forbidden");
    assert_eq!(take(admin_token, "?reason=left").await.status, StatusCode::NO_CONTENT);
    assert_eq!(take(admin_token, "").await.status, StatusCode::NO_CONTENT, "taken before");
    let stale = list(token, &format!("user_id={}", person.citizen.id)).await;
    assert_eq!((stale.status, stale.text("reason")), (StatusCode::UNAUTHORIZED, "roles-changed".to_owned()));
    assert_eq!(names(&list(admin_token, "state=ended").await.body), ["ioc.operator"]);
}

#[tokio::test]
async fn who_leaves_or_has_left_is_given_no_role() {
    let stage = Stage::new().await;
    let admin = officer(&stage, "0987654321", "admin").await;
    let token = Phone::new().sign_in(&stage, "0912345678").await;
    let person = CitizenId::from(stage.principal(&token).await.subject);
    let code = |given: Result<bool, Problem>| given.map_err(|problem| problem.code().to_owned());
    let give = async || code(give(&stage.identity, admin, person, "ioc.operator").await.map_err(Problem::from));
    let closing = begun(&stage, &token).await;
    assert_eq!(give().await, Err("person-leaves".to_owned()));
    agree(&stage, closing).await;
    assert_eq!(give().await, Err("person-leaves".to_owned()));
    stage.clock.advance(TimeDelta::days(2));
    erasure(&stage, "closing WHERE state = 'erasing'").await;
    assert_eq!(give().await, Err("not-found".to_owned()));
    let (role, act) = (appointment(person, "admin"), act(Action::RoleGrant));
    let by_hand = officer::grant_as_operator(desk(&stage), &role, &act).await;
    assert_eq!(code(by_hand), Err("not-found".to_owned()));
    assert_eq!(stage.count("role_grant").await, 1, "the admin's own");
}
