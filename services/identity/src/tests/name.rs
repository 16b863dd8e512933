//! What citizens call their devices and passkeys: sealed, read in rows of earlier versions too, and gone with the citizen's key.

use chrono::{DateTime, TimeDelta, Utc};
use http::Method;
use platform::metrics::Metrics;
use platform::person::Renewal;
use platform::task::Shutdown;
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::closing::{agree, begun, erasure};
use super::passkey::registered;
use super::step_up::Phone;
use crate::citizen::{KEYS, data_key};
use crate::error::Error;
use crate::testing::Stage;
use crate::vault::{Place, Vault};
use crate::{Identity, device, passkey};

const NUMBER: &str = "0912345678";
/// What an earlier version would have written.
const EARLIER: [&str; 2] = [
    "UPDATE identity.device SET name = 'Máy cũ', name_sealed = NULL",
    "UPDATE identity.passkey SET name = 'Khóa cũ', name_sealed = NULL",
];

async fn run(stage: &Stage, sql: &str) {
    sqlx::query(AssertSqlSafe(sql.to_owned())).execute(&stage.admin()).await.expect("a statement");
}

/// The names of the caller's only device and only passkey.
async fn names(stage: &Stage, token: &str) -> [String; 2] {
    let mut names = [String::new(), String::new()];
    for (kind, name) in ["devices", "passkeys"].into_iter().zip(&mut names) {
        let listed = stage.call(Method::GET, &format!("/identity/v1/me/{kind}")).token(token).empty().await;
        listed.body["items"][0]["name"].as_str().expect("a name").clone_into(name);
        let exported = stage.call(Method::GET, "/identity/v1/me/export").token(token).empty().await;
        let item = &exported.body["lists"][kind][0];
        assert_eq!(item["name"], name.as_str(), "the export says the same");
        assert!(item.get("name_sealed").is_none(), "and nothing sealed");
    }
    names
}

async fn sealed_by(process: &Identity) -> Result<usize, Error> {
    process.seal_names(&mut Vec::new()).await
}

async fn plain(stage: &Stage) -> i64 {
    stage.count("device WHERE name IS NOT NULL").await + stage.count("passkey WHERE name IS NOT NULL").await
}

#[tokio::test]
async fn names_are_sealed_and_those_of_earlier_versions_are_read_and_sealed() {
    let stage = Stage::new().await;
    let phone = Phone::new();
    let token = phone.sign_in(&stage, NUMBER).await;
    registered(&stage, &token).await;
    assert_eq!(names(&stage, &token).await, ["Điện thoại", "Khóa của An"]);
    assert_eq!(plain(&stage).await, 0);
    for sql in EARLIER {
        run(&stage, sql).await;
    }
    assert_eq!(names(&stage, &token).await, ["Máy cũ", "Khóa cũ"], "rows of an earlier version are read");
    // A row that somebody holds waits for the next time.
    let mut held = stage.admin().begin().await.expect("a transaction");
    sqlx::query("SELECT 1 FROM identity.device FOR UPDATE").execute(&mut *held).await.expect("held");
    assert_eq!(sealed_by(&stage.identity).await.expect("sealed"), 1);
    held.rollback().await.expect("let go");
    let (one, two) = (stage.replica(), stage.identity.clone());
    let (one, two) = tokio::join!(sealed_by(&one), sealed_by(&two));
    assert_eq!(one.expect("sealed") + two.expect("sealed"), 1, "two replicas seal it once");
    assert_eq!((plain(&stage).await, sealed_by(&stage.identity).await.expect("sealed")), (0, 0));
    assert_eq!(names(&stage, &token).await, ["Máy cũ", "Khóa cũ"]);
    // An earlier version that still runs changes the name beside the sealed one.
    run(&stage, "UPDATE identity.device SET name = 'Máy mới'").await;
    assert_eq!(names(&stage, &token).await[0], "Máy mới");
    sealed_by(&stage.identity).await.expect("sealed");
    assert_eq!((names(&stage, &token).await[0].as_str(), plain(&stage).await), ("Máy mới", 0));
    let token = phone.sign_in(&stage, NUMBER).await;
    assert_eq!(names(&stage, &token).await[0], "Điện thoại", "who signs in again names the device anew");
}

#[tokio::test]
async fn destroying_the_key_is_enough_to_erase_a_name() {
    let stage = Stage::new().await;
    let token = Phone::new().sign_in(&stage, NUMBER).await;
    registered(&stage, &token).await;
    let user = stage.principal(&token).await.subject;
    let kept = async |sql: &'static str| -> (Uuid, Vec<u8>) {
        sqlx::query_as(sql).fetch_one(&stage.admin()).await.expect("a row")
    };
    let device = kept("SELECT id, name_sealed FROM identity.device").await;
    let passkey = kept("SELECT id, name_sealed FROM identity.passkey").await;
    let (_, key) = kept("SELECT id, data_key FROM identity.citizen").await;
    let opens = |key: &[u8]| {
        let opened = stage.identity.vault.personal_key(data_key(user.into()), key).ok()?;
        let name = |column, (row, sealed): &(Uuid, Vec<u8>)| opened.open_text(Place::new(column, *row), sealed).ok();
        Some((name(device::NAME, &device)?, name(passkey::NAME, &passkey)?))
    };
    assert_eq!(opens(&key), Some(("Điện thoại".to_owned(), "Khóa của An".to_owned())), "as long as the key is there");
    let id = begun(&stage, &token).await;
    assert!(!agree(&stage, id).await);
    stage.clock.advance(TimeDelta::days(2));
    erasure(&stage, "closing WHERE state = 'erasing'").await;
    // The rows come back, byte for byte, as from a backup of the tables alone.
    let now: DateTime<Utc> = stage.identity.now();
    for (sql, (row, sealed)) in [
        (
            "INSERT INTO identity.device (citizen_id, id, name_sealed, created_at, last_seen_at) VALUES ($1, $2, $3, $4, $4)",
            &device,
        ),
        (
            "INSERT INTO identity.passkey (citizen_id, id, name_sealed, credential_id, credential, created_at) VALUES ($1, $2, $3, '\\x01', '{}', $4)",
            &passkey,
        ),
    ] {
        sqlx::query(sql).bind(user).bind(row).bind(sealed).bind(now).execute(&stage.admin()).await.expect("put back");
    }
    let (_, key) = kept("SELECT id, data_key FROM identity.citizen").await;
    assert_eq!(opens(&key), None, "nothing opens them any more");
    assert!(
        stage.identity.devices(user.into()).await.is_err() && stage.identity.passkeys_of(user.into()).await.is_err()
    );
    run(&stage, EARLIER[0]).await;
    assert_eq!(
        sealed_by(&stage.identity).await.expect("sealed"),
        0,
        "nothing is sealed for who is gone, and nothing stops"
    );
}

#[tokio::test]
async fn a_citizen_whose_key_does_not_open_holds_up_no_other_citizens_names() {
    let stage = Stage::new().await;
    let mut citizens = Vec::new();
    for number in ["0912345671", "0912345672", "0912345673"] {
        let token = Phone::new().sign_in(&stage, number).await;
        registered(&stage, &token).await;
        citizens.push(stage.principal(&token).await.subject);
    }
    for sql in EARLIER {
        run(&stage, sql).await;
    }
    // The first in every batch.
    let damage = "UPDATE identity.citizen SET data_key = set_byte(data_key, 40, (get_byte(data_key, 40) + 1) % 256) WHERE id = $1";
    sqlx::query(damage).bind(citizens[0]).execute(&stage.admin()).await.expect("damaged");
    let mut passed_over = Vec::new();
    assert_eq!(stage.identity.seal_names(&mut passed_over).await.expect("sealed"), 5, "the passkey is not looked at");
    assert_eq!(passed_over, [citizens[0]]);
    assert_eq!(plain(&stage).await, 2, "theirs alone");
    assert_eq!(stage.identity.seal_names(&mut passed_over).await.expect("sealed"), 0, "and the round ends");
    assert_eq!((passed_over.len(), plain(&stage).await), (1, 2), "named once");
}

/// What the gauge says of keys under one kind of configured key.
fn gauge(metrics: &Metrics, under: &str) -> Option<String> {
    let label = format!("under=\"{under}\"");
    let text = metrics.encode();
    let line = text.lines().find(|line| line.contains("_person_keys{") && line.contains(&label))?;
    line.rsplit(' ').next().map(str::to_owned)
}

#[tokio::test]
async fn after_a_change_of_the_configured_key_the_earlier_one_is_needed_by_no_citizen() {
    let stage = Stage::new().await;
    let token = Phone::new().sign_in(&stage, NUMBER).await;
    let user = stage.principal(&token).await.subject;
    let earlier = stage.identity.config.keys.encryption.clone();
    let mut keys = stage.identity.config.keys.clone();
    keys.encryption = platform::config::Secret::new("another-encryption-0123456789abcdef0123456789abcdef");
    let alone = Vault::try_new(&keys).expect("valid keys");
    keys.retired_encryption = vec![earlier];
    let both = Vault::try_new(&keys).expect("valid keys");
    let opens = async |vault: &Vault| {
        let query = sqlx::query_as("SELECT data_key, phone FROM identity.citizen");
        let (key, phone): (Vec<u8>, Vec<u8>) = query.fetch_one(&stage.admin()).await.expect("a citizen");
        let key = vault.personal_key(data_key(user.into()), &key).ok()?;
        key.open_text(Place::new("citizen.phone", user), &phone).ok()
    };
    assert_eq!((opens(&both).await.as_deref(), opens(&alone).await), (Some("+84912345678"), None));
    let metrics = Metrics::new("identity", "test");
    let renewal = Renewal::new(KEYS, &metrics);
    renewal.round(both.ring(), &stage.identity.pool, &Shutdown::new()).await;
    assert_eq!(opens(&alone).await.as_deref(), Some("+84912345678"));
    assert_eq!(gauge(&metrics, "retired").as_deref(), Some("0"));
    // Who is erased has no key, and needs none.
    run(&stage, "UPDATE identity.citizen SET data_key = ''").await;
    renewal.round(both.ring(), &stage.identity.pool, &Shutdown::new()).await;
    assert_eq!(gauge(&metrics, "newest").as_deref(), Some("0"));
}
