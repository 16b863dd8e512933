//! Nothing that names a citizen stands readable in any column of identity's tables: the catalogue of the database says which there are.

use http::Method;
use serde_json::json;
use sqlx::AssertSqlSafe;

use super::archive;
use super::dependent::{AUNT, CHILD, form, proved, register, registrar};
use super::ekyc::{HUONG, Scene};
use super::openid::Browser;
use super::passkey;
use super::step_up::Phone;
use crate::challenge::Purpose;
use crate::device::DeviceId;
use crate::testing::{Stage, eventually, opening, wrong};

const NUMBER: &str = "0912345678";
const WAITING: &str = "0912345675";
const ELDER: &str = "0987654322";
const NAME: &str = "Tôn Nữ Hương Giang";
const LINKED: (&str, &str) = ("0912345676", "046199054321");

/// What must be readable nowhere. Of telephone numbers the part that every way of writing them has.
const PERSONAL: [&str; 13] = [
    "Điện thoại",
    "Khóa của An",
    "912345678",
    "912345675",
    "987654322",
    NAME,
    HUONG.0,
    HUONG.1,
    CHILD,
    "Nguyễn Minh An",
    "912345672",
    "912345676",
    LINKED.1,
];

/// The columns in which one of [`PERSONAL`] can be read, as text or in hexadecimal.
async fn readable(stage: &Stage) -> Vec<String> {
    let columns: Vec<(String, String, bool)> = sqlx::query_as(
        "SELECT c.table_name::text, c.column_name::text, c.data_type = 'bytea' FROM information_schema.columns c
        JOIN information_schema.tables t USING (table_schema, table_name)
        WHERE c.table_schema = 'identity' AND t.table_type = 'BASE TABLE'
            AND c.data_type IN ('text', 'character varying', 'json', 'jsonb', 'bytea', 'ARRAY') ORDER BY 1, 2",
    )
    .fetch_all(&stage.admin())
    .await
    .expect("a catalogue");
    assert!(columns.len() > 60, "the catalogue is read: {}", columns.len());
    let mut found = Vec::new();
    for (table, column, is_bytes) in columns {
        let holds = if is_bytes {
            format!("position(convert_to(n, 'UTF8') IN \"{column}\") > 0")
        } else {
            format!(
                "position(n IN \"{column}\"::text) > 0 OR position(encode(convert_to(n, 'UTF8'), 'hex') IN \"{column}\"::text) > 0"
            )
        };
        let sql = format!("SELECT DISTINCT n FROM identity.\"{table}\", unnest($1::text[]) AS n WHERE {holds}");
        let needles: Vec<String> = PERSONAL.map(str::to_owned).into();
        let read: Vec<String> =
            sqlx::query_scalar(AssertSqlSafe(sql)).bind(needles).fetch_all(&stage.admin()).await.expect("a look");
        found.extend(read.into_iter().map(|what| format!("{table}.{column}: {what}")));
    }
    found
}

/// Everything that a citizen tells identity of themself and of others.
async fn day(scene: &Scene) {
    let stage = &scene.stage;
    let phone = Phone::new();
    let token = phone.sign_in_and_confirm(stage, NUMBER).await;
    stage.call(Method::PATCH, "/identity/v1/me").token(&token).json(json!({ "display_name": NAME })).await;
    passkey::registered(stage, &token).await;
    passkey::begin(stage, &token).await;
    let asked = scene.ask(&token, "one", HUONG).await;
    assert_eq!(asked.status, 202, "{}", asked.body);
    eventually("the number is proved", async || stage.count("citizen_number").await == 1).await;
    scene.known(LINKED.1, "two").await;
    let linked = scene.token(LINKED.0).await;
    assert_eq!(scene.linked(&linked, LINKED.1).await.status, 200);
    scene.begin(&linked).await;
    let proposal = json!({
        "side": "guardian", "phone": ELDER, "kinds": ["bill"], "until": stage.clock.now() + chrono::TimeDelta::days(30),
        "limits": {"transaction": 200_000, "day": 500_000, "month": 2_000_000}, "pin": "502917",
    });
    let made = stage.call(Method::POST, "/identity/v1/me/delegations").token(&token).key("two").json(proposal).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let export = archive::begun(stage, &token).await;
    archive::own(stage, export).await;
    let app = stage.register(json!({})).await;
    Browser::default().code(stage, &app.ask(&[("login_hint", NUMBER)])).await;
    // Somebody for whom a guardian is to answer, a code that nobody has answered yet, and one that was answered wrongly.
    let officer = registrar(stage).await;
    proved(stage, AUNT).await;
    let made = register(stage, &officer, form(stage, AUNT.1)).await;
    assert_eq!(made.status, 201, "{}", made.body);
    stage.ask(WAITING, DeviceId::generate()).await.expect("a code is sent");
    let (challenge, code) = stage.code(NUMBER, phone.id, Purpose::SignIn).await;
    let refused = stage.identity.open_session(opening(challenge, wrong(&code))).await;
    assert!(refused.is_err());
    let refused =
        stage.call(Method::POST, "/identity/v1/me/closing").token(&token).json(json!({ "pin": "502918" })).await;
    assert_eq!(refused.code(), "pin-wrong");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_names_a_citizen_can_be_read_in_any_column() {
    let scene = Scene::new().await;
    day(&scene).await;
    let stage = &scene.stage;
    assert_eq!(readable(stage).await, Vec::<String>::new());
    assert!(stage.count("passkey WHERE name_sealed IS NOT NULL").await > 0);
    // What an earlier version writes is seen, so that the look is no look away; and then sealed.
    sqlx::query("UPDATE identity.device SET name = 'Điện thoại'").execute(&stage.admin()).await.expect("written");
    assert_eq!(readable(stage).await, ["device.name: Điện thoại"]);
    stage.identity.seal_names(&mut Vec::new()).await.expect("sealed");
    assert_eq!(readable(stage).await, Vec::<String>::new());
}
