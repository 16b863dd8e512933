//! Terms of office: roles that count from a time on and until another, and who may not give them.

use chrono::{DateTime, TimeDelta, Utc};
use http::{Method, StatusCode};
use platform::auth::AuthError;
use serde_json::json;
use uuid::Uuid;

use crate::device::DeviceId;
use crate::session::Opened;
use crate::testing::Stage;

async fn someone(stage: &Stage, phone: &str) -> Opened {
    stage.sign_in(phone, DeviceId::generate()).await
}

/// Somebody who holds a role as a row of the database.
async fn holder(stage: &Stage, phone: &str, role: &str) -> Opened {
    let person = someone(stage, phone).await;
    sqlx::query("INSERT INTO identity.role_grant (id, user_id, role, granted_at) VALUES ($1, $2, $3, $4)")
        .bind(Uuid::now_v7())
        .bind(person.citizen.id.uuid())
        .bind(role)
        .bind(stage.clock.now())
        .execute(&stage.admin())
        .await
        .expect("written");
    person
}

#[tokio::test]
async fn a_role_counts_in_its_term_and_no_token_outlives_it() {
    let stage = Stage::new().await;
    let admin = holder(&stage, "0912345671", "admin").await;
    let person = someone(&stage, "0912345672").await;
    let path = format!("/identity/v1/officers/{}/roles/ioc.operator", person.citizen.id);
    let put = async |from: Option<DateTime<Utc>>, until: Option<DateTime<Utc>>| {
        let body = json!({"reason": "decision 118", "from": from, "until": until});
        stage.call(Method::PUT, &path).token(&admin.tokens.access).json(body).await
    };
    let at = |minutes: i64| stage.clock.now() + TimeDelta::minutes(minutes);
    assert_eq!(put(None, Some(at(-1))).await.code(), "invalid-body");
    assert_eq!(put(Some(at(10)), Some(at(5))).await.code(), "invalid-body");

    let (from, until) = (Some(at(5)), Some(at(9)));
    let given = put(from, until).await;
    assert_eq!(given.status, StatusCode::CREATED);
    assert_eq!((put(from, until).await.status, stage.count("role_grant").await), (StatusCode::OK, 2));
    let early = stage.identity.refresh(&person.tokens.refresh, None).await.expect("alive");
    assert!(stage.principal(&early.access).await.roles.is_empty(), "it does not count yet");

    stage.clock.advance(TimeDelta::minutes(5));
    let now = stage.identity.refresh(&early.refresh, None).await.expect("alive");
    let principal = stage.principal(&now.access).await;
    assert_eq!(principal.roles, ["ioc.operator"]);
    // The clock goes on by itself, too.
    assert!((120..=240).contains(&now.expires_in_s), "{}", now.expires_in_s);
    stage.clock.advance(TimeDelta::seconds(246));
    assert_eq!(stage.context.verifier.verify(&now.access).await, Err(AuthError::Expired), "it ended with the role");
    let late = stage.identity.refresh(&now.refresh, None).await.expect("the session goes on");
    assert!(stage.principal(&late.access).await.roles.is_empty());
    assert!(late.expires_in_s > 240);

    // What is over is given anew, and kept as history.
    let again = put(None, None).await;
    assert_eq!(again.status, StatusCode::CREATED);
    assert_eq!(stage.count("role_grant WHERE role = 'ioc.operator' AND revoked_at = valid_until").await, 1);
    let fresh = stage.identity.refresh(&late.refresh, None).await.expect("alive");
    assert_eq!(stage.principal(&fresh.access).await.roles, ["ioc.operator"]);

    // Another term ends the former at once, in tokens too.
    let tomorrow = stage.clock.now() + TimeDelta::days(1);
    assert_eq!(put(Some(tomorrow), None).await.status, StatusCode::CREATED);
    assert_eq!(stage.context.verifier.verify(&fresh.access).await, Err(AuthError::Stale));
    let waiting = stage.identity.refresh(&fresh.refresh, None).await.expect("alive");
    assert!(stage.principal(&waiting.access).await.roles.is_empty());
    assert_eq!(stage.count("audit WHERE action = 'role.grant'").await, 3);
    assert_eq!(stage.count("audit WHERE action = 'role.revoke'").await, 1);
}

#[tokio::test]
async fn nobody_gives_a_role_to_themself_and_a_head_stays_below_their_own() {
    let stage = Stage::new().await;
    let admin = holder(&stage, "0912345671", "admin").await;
    let head = someone(&stage, "0912345672").await;
    let person = someone(&stage, "0912345673").await;
    let put = async |by: &Opened, whom: &Opened, role: &str| {
        let path = format!("/identity/v1/officers/{}/roles/{role}", whom.citizen.id);
        stage.call(Method::PUT, &path).token(&by.tokens.access).json(json!({"reason": "x"})).await
    };
    assert_eq!(put(&admin, &admin, "finance.approver").await.code(), "own-role");
    assert_eq!(put(&admin, &head, "agency.head:UBND-19753").await.status, StatusCode::CREATED);
    assert_eq!(put(&head, &head, "agency.officer:UBND-19753").await.code(), "own-role");
    for (role, wanted) in [
        ("agency.officer:UBND-19753", 201),
        ("agency.officer:KTHT-19753", 201),
        ("agency.head:KTHT-19753", 201),
        ("agency.head:UBND-19753", 403),
        ("agency.officer:KTHT-19789", 403),
        ("agency.officer:HEPCO:19753", 403),
        ("agency.officer:CA-19753", 403),
        ("ioc.operator", 403),
    ] {
        assert_eq!(put(&head, &person, role).await.status.as_u16(), wanted, "{role}");
    }
}

#[tokio::test]
async fn the_tree_of_agencies_is_shown_to_who_is_signed_in() {
    let stage = Stage::new().await;
    let person = someone(&stage, "0912345672").await;
    let get = async |path: &str| stage.call(Method::GET, path).token(&person.tokens.access).empty().await;
    let one = get("/identity/v1/organisations/UBND-19753").await;
    assert_eq!((&one.body["above"], &one.body["below"]), (&json!([]), &json!(["KTHT-19753"])));
    let office = get("/identity/v1/organisations/KTHT-19753").await;
    assert_eq!((office.text("parent"), office.text("ward")), ("UBND-19753".to_owned(), "19753".to_owned()));
    assert_eq!(office.body["above"], json!(["UBND-19753"]));
    assert_eq!(get("/identity/v1/organisations/KTHT").await.code(), "not-found");
    let below = get("/identity/v1/organisations?parent=HEPCO").await;
    assert_eq!(below.body["items"][0]["code"], "TNDT");

    let (mut seen, mut path) = (Vec::new(), "/identity/v1/organisations?limit=50".to_owned());
    loop {
        let page = get(&path).await;
        seen.extend(page.body["items"].as_array().expect("a page").iter().map(|one| one["code"].clone()));
        let Some(cursor) = page.body["next_cursor"].as_str() else { break };
        path = format!("/identity/v1/organisations?limit=50&cursor={cursor}");
    }
    assert_eq!(seen.len(), stage.identity.organisations.after(None).count());
    seen.dedup();
    assert_eq!(seen.len(), stage.identity.organisations.after(None).count(), "each once");
    let nobody = stage.call(Method::GET, "/identity/v1/organisations").empty().await;
    assert_eq!(nobody.code(), "unauthenticated");
}
