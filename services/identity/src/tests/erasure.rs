//! An erasure reaches every table that names a citizen: the catalogue of the database says which there are.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use http::Method;
use serde_json::json;
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::closing::{agree, begun, erasure};
use super::openid::Browser;
use super::step_up::Phone;
use crate::SCHEMA;
use crate::testing::Stage;

const NUMBER: &str = "0912345678";
/// What names somebody after their erasure, by an id that leads to nobody any more, and why.
const KEPT: [(&str, &str); 10] = [
    ("audit.subject", "who did what to whom is a chain, and holds ids only"),
    ("outbox.subject", "events pass through"),
    ("closing.citizen_id", "that they left, and when"),
    ("delegation.proposed_by", "who could pay for whom: the books name both"),
    ("delegation.guardian_id", "the same"),
    ("delegation.dependent_id", "the same"),
    ("delegation.ended_by", "the same"),
    ("dependent.guardian_id", "who stood for whom: the papers are wiped"),
    ("dependent.ended_by", "the same"),
    ("role_revocation.user_id", "tokens that say a role which was taken, until they have expired"),
];
/// What names people who act for the city, who give their roles back first, and dependents, who are erased as themselves.
const OTHERS: [(&str, &str); 8] = [
    ("client.created_by", "an admin"),
    ("role_grant.user_id", "an officer"),
    ("role_grant.granted_by", "an officer"),
    ("role_grant.revoked_by", "an officer"),
    ("dependent.registered_by", "an officer"),
    ("dependent.citizen_id", "somebody without a telephone, as themself"),
    ("dead_event.subject", "events of others that could not be taken: identity listens to none"),
    ("person_key.person", "identity's keys stand with their people"),
];

/// Columns that name a person.
async fn columns(stage: &Stage) -> BTreeSet<String> {
    let named: Vec<String> = sqlx::query_scalar(
        "SELECT table_name || '.' || column_name FROM information_schema.columns
        WHERE table_schema = $1 AND data_type = 'uuid' AND (column_name LIKE '%user_id' OR column_name LIKE '%\\_by'
            OR column_name IN ('citizen_id', 'subject', 'caller', 'owner', 'person', 'guardian_id', 'dependent_id'))",
    )
    .bind(SCHEMA.name())
    .fetch_all(&stage.admin())
    .await
    .expect("a catalogue");
    named.into_iter().collect()
}

/// Those in which a citizen stands.
async fn naming(stage: &Stage, user: Uuid) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for name in columns(stage).await {
        let (table, column) = name.split_once('.').expect("a table and a column");
        let sql = format!("SELECT EXISTS (SELECT FROM identity.{table} WHERE {column} = $1)");
        let stands: bool =
            sqlx::query_scalar(AssertSqlSafe(sql)).bind(user).fetch_one(&stage.admin()).await.expect("a look");
        if stands {
            found.insert(name);
        }
    }
    found
}

/// How many codes and pauses there are of the citizen's number.
async fn of_number(stage: &Stage) -> [i64; 2] {
    let digest = stage.identity.vault.phone_digest("+84912345678");
    let mut counts = [0; 2];
    for (table, count) in ["challenge", "sending"].into_iter().zip(&mut counts) {
        let sql = format!("SELECT count(*) FROM identity.{table} WHERE phone_digest = $1");
        *count =
            sqlx::query_scalar(AssertSqlSafe(sql)).bind(&digest[..]).fetch_one(&stage.admin()).await.expect("a count");
    }
    counts
}

/// What no route of this crate's tests leaves behind in a moment.
const REST: [&str; 9] = [
    "INSERT INTO identity.passkey (id, citizen_id, credential_id, credential, name, created_at)
        VALUES (gen_random_uuid(), $1, '\\x01', '{}', 'Khóa của Hương', $2)",
    "INSERT INTO identity.passkey_challenge (id, citizen_id, session_id, state, expires_at)
        VALUES (gen_random_uuid(), $1, gen_random_uuid(), '{}', $2)",
    "INSERT INTO identity.ekyc (id, citizen_id, state, claim, asked_at) VALUES (gen_random_uuid(), $1, 'pending', '\\x01', $2)",
    "INSERT INTO identity.citizen_number (citizen_id, digest, number, full_name, source, proved_at)
        VALUES ($1, sha256('number'), '\\x01', '\\x01', 'ekyc', $2)",
    "INSERT INTO identity.vneid_link (citizen_id, digest, linked_at) VALUES ($1, sha256('account'), $2)",
    "INSERT INTO identity.vneid_attempt (digest, citizen_id, session_id, secret, expires_at)
        VALUES (sha256('state'), $1, gen_random_uuid(), '\\x01', $2)",
    "INSERT INTO identity.role_revocation (position, user_id, role_epoch, revoked_at, forget_at)
        VALUES (0, $1, 1, $2, $2 + interval '1 hour')",
    "INSERT INTO identity.dependent (id, ward, guardian_id, registered_by, claim, number_digest, kinds, transaction_maximum,
            day_maximum, month_maximum, valid_until, registered_at)
        SELECT gen_random_uuid(), '19753', $1, c.id, '\\x01', sha256('child'), '{bill}', 1, 1, 1, $2 + interval '1 day', $2
        FROM identity.citizen AS c WHERE c.id <> $1 LIMIT 1",
    "UPDATE identity.citizen SET display_name = '\\x01' WHERE id = $1 AND $2::timestamptz IS NOT NULL",
];

#[tokio::test]
async fn every_table_that_names_a_citizen_is_emptied_or_says_why_not() {
    let stage = Stage::new().await;
    let phone = Phone::new();
    let token = phone.sign_in(&stage, NUMBER).await;
    let user = stage.principal(&token).await.subject;
    let app = stage.register(json!({})).await;
    Browser::default().code(&stage, &app.ask(&[])).await;
    stage.call(Method::POST, "/identity/v1/me/exports").token(&token).key("one").json(json!({})).await;
    let other = Phone::new().sign_in(&stage, "0987654322").await;
    for side in ["guardian", "dependent"] {
        let body = json!({
            "side": side, "phone": "0987654322", "kinds": ["bill"], "until": stage.clock.now() + TimeDelta::days(30),
            "limits": {"transaction": 200_000, "day": 500_000, "month": 2_000_000}, "pin": "502917",
        });
        let path = "/identity/v1/me/delegations";
        let made = stage.call(Method::POST, path).token(&token).key(side).json(body).await;
        let confirmation = format!("{path}/{}/confirmation", made.text("id"));
        let word = stage.call(Method::POST, &confirmation).token(&other).json(json!({ "pin": "502917" })).await;
        assert_eq!(word.status, 200, "{}", word.body);
    }
    let id = begun(&stage, &token).await;
    for sql in REST {
        sqlx::query(sql).bind(user).bind(stage.identity.now()).execute(&stage.admin()).await.expect(sql);
    }
    let before = naming(&stage, user).await;
    let kept: BTreeSet<String> = KEPT.map(|(name, _)| name.to_owned()).into();
    let elsewhere: BTreeSet<String> = OTHERS.map(|(name, _)| name.to_owned()).into();
    let ends_by_it: BTreeSet<String> = ["delegation.ended_by", "dependent.ended_by"].map(str::to_owned).into();
    let missing: Vec<String> = columns(&stage)
        .await
        .into_iter()
        .filter(|name| ![&before, &elsewhere, &ends_by_it].iter().any(|set| set.contains(name)))
        .collect();
    assert_eq!(
        missing,
        Vec::<String>::new(),
        "nothing was put there, so nothing is shown: put a row there, or say why not"
    );

    assert!(of_number(&stage).await.iter().all(|rows| *rows > 0), "codes were sent to the number");
    assert!(!agree(&stage, id).await);
    stage.clock.advance(TimeDelta::days(2));
    erasure(&stage, "closing WHERE state = 'erasing'").await;
    let after = naming(&stage, user).await;
    let left: Vec<&String> = after.difference(&kept).collect();
    assert_eq!(left, Vec::<&String>::new(), "it still names who was erased, and does not say why");
    assert_eq!(kept.difference(&after).collect::<Vec<_>>(), Vec::<&String>::new(), "it is said to be kept, and is not");
    assert_eq!(of_number(&stage).await, [0, 0], "codes and pauses went with the number");
    // What is kept has lost its words, and what has no column for a citizen went with the copy.
    for gone in [
        "archive_piece",
        "citizen WHERE erased_at IS NOT NULL AND (display_name IS NOT NULL OR phone <> '' OR data_key <> '')",
        "delegation WHERE other_digest IS NOT NULL",
        "dependent WHERE claim IS NOT NULL OR number_digest IS NOT NULL",
    ] {
        assert_eq!(stage.count(gone).await, 0, "{gone}");
    }
}
