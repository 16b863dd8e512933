//! The export of what identity holds on a citizen.

use chrono::TimeDelta;
use http::{Method, StatusCode};
use serde_json::json;

use crate::device::DeviceId;
use crate::testing::Stage;
use crate::tests::step_up::Phone;

const PATH: &str = "/identity/v1/me/export";

#[tokio::test]
async fn a_citizen_gets_everything_that_is_theirs_and_nothing_else() {
    let stage = Stage::new().await;
    let phone = Phone::new();
    let token = phone.sign_in(&stage, "0912345678").await;
    let other = Phone::new().sign_in(&stage, "0987654321").await;
    let name = json!({ "display_name": "Nguyễn Thị Hương" });
    stage.call(Method::PATCH, "/identity/v1/me").token(&token).json(name).await;
    let exported = stage.call(Method::GET, PATH).token(&token).empty().await;
    assert_eq!(exported.status, StatusCode::OK, "{}", exported.body);
    let document = &exported.body;
    assert_eq!(
        (&document["profile"]["phone"], &document["profile"]["display_name"]),
        (&json!("+84912345678"), &json!("Nguyễn Thị Hương"))
    );
    let lists = &document["lists"];
    assert_eq!(lists["devices"][0]["id"], json!(phone.id));
    assert_eq!(
        (lists["sessions"].as_array().map(Vec::len), lists["devices"].as_array().map(Vec::len)),
        (Some(1), Some(1))
    );
    assert!(lists["pin"]["set_at"].is_string());
    let acts: Vec<&str> =
        lists["audit"].as_array().expect("a list").iter().filter_map(|act| act["action"].as_str()).collect();
    assert_eq!(acts.first(), Some(&"data.export"), "that it was exported is on record, too");
    assert!(acts.contains(&"citizen.register") && acts.contains(&"profile.edit"), "{acts:?}");
    let text = document.to_string();
    assert!(!text.contains("argon2id") && !text.contains("987654321"), "no secret, and nobody else");
    let theirs = stage.call(Method::GET, PATH).token(&other).empty().await;
    assert!(!theirs.body.to_string().contains("912345678"));
}

#[tokio::test]
async fn an_old_session_exports_nothing() {
    let stage = Stage::new().await;
    let opened = stage.sign_in("0912345678", DeviceId::generate()).await;
    stage.clock.advance(TimeDelta::seconds(900));
    let old = stage.identity.refresh(&opened.tokens.refresh, None).await.expect("refreshed").access;
    let refused = stage.call(Method::GET, PATH).token(&old).empty().await;
    assert_eq!((refused.status.as_u16(), refused.code()), (403, "session-not-fresh"));
}
