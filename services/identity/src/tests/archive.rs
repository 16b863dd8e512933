//! The copy of everything that all services keep of a citizen.

use chrono::TimeDelta;
use http::{Method, StatusCode};
use platform::job::Runner;
use platform::person::{PIECE_BYTES, unlisted};
use platform::task::Shutdown;
use proto::identity::v1::{ExportReady, ExportRequested};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::SCHEMA;
use crate::archive::{self, ArchiveId, OwnJob, Piece};
use crate::testing::{Stage, eventually};
use crate::tests::http::Answer;
use crate::tests::step_up::Phone;

const PATH: &str = "/identity/v1/me/exports";
const OTHERS: [&str; 3] = ["wallet", "reports", "notifications"];

async fn order(stage: &Stage, token: &str, key: &str) -> Answer {
    stage.call(Method::POST, PATH).token(token).key(key).json(json!({})).await
}

pub(super) async fn begun(stage: &Stage, token: &str) -> ArchiveId {
    let ordered = order(stage, token, "one").await;
    assert_eq!(ordered.status, StatusCode::ACCEPTED, "{}", ordered.body);
    ordered.text("id").parse().expect("an id")
}

fn piece<'a>(archive: ArchiveId, service: &'a str, attempt: Uuid, text: &'a str) -> Piece<'a> {
    Piece { archive, service, attempt, ordinal: 0, text: text.as_bytes(), last: true }
}

/// Runs identity's own job.
pub(super) async fn own(stage: &Stage, archive: ArchiveId) {
    let jobs = Runner::new(&stage.context, SCHEMA).on(archive::JOB, OwnJob { identity: stage.identity.clone() });
    let shutdown = Shutdown::new();
    let running = tokio::spawn(jobs.into_task().run(shutdown.clone()));
    let finished =
        format!("archive_part WHERE archive_id = '{archive}' AND service = 'identity' AND finished_at IS NOT NULL");
    let rows = async || {
        let sql = format!("SELECT count(*) FROM identity.{finished}");
        sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(sql)).fetch_one(&stage.admin()).await.expect("a query")
    };
    eventually("identity's own part is there", async || rows().await == 1).await;
    shutdown.begin();
    running.await.expect("no panic").expect("it ends by itself");
}

async fn document(stage: &Stage, token: &str, id: ArchiveId) -> Answer {
    stage.call(Method::GET, &format!("{PATH}/{id}/document")).token(token).empty().await
}

#[tokio::test]
async fn every_service_hands_over_its_part_and_the_citizen_reads_them_as_one() {
    let stage = Stage::new().await;
    let token = Phone::new().sign_in(&stage, "0912345678").await;
    let other = Phone::new().sign_in(&stage, "0987654321").await;
    stage
        .call(Method::PATCH, "/identity/v1/me")
        .token(&token)
        .json(json!({ "display_name": "Nguyễn Thị Hương" }))
        .await;
    let id = begun(&stage, &token).await;
    assert_eq!(stage.events::<ExportRequested>().await.len(), 1);
    let early = document(&stage, &token, id).await;
    assert_eq!((early.status.as_u16(), early.code()), (409, "export-not-ready"));
    own(&stage, id).await;
    let long = format!("{{\"top_ups\":[\"{}\"]}}", "tiền".repeat(60_000));
    let cut = long.char_indices().map(|(at, _)| at).take_while(|at| *at <= PIECE_BYTES).last().expect("long enough");
    let attempt = Uuid::now_v7();
    let (first, second) = long.split_at(cut);
    let first = Piece { last: false, ..piece(id, "wallet", attempt, first) };
    let second = Piece { ordinal: 1, ..piece(id, "wallet", attempt, second) };
    for _ in 0..2 {
        assert!(!stage.identity.take_piece(&first).await.expect("taken"), "a piece that comes again changes nothing");
    }
    assert!(stage.identity.take_piece(&second).await.expect("taken"));
    assert!(stage.identity.take_piece(&second).await.expect("taken"), "the answer was lost");
    assert!(stage.identity.take_piece(&piece(id, "reports", Uuid::now_v7(), "{}")).await.expect("taken"));
    let shown = stage.call(Method::GET, &format!("{PATH}/{id}")).token(&token).empty().await;
    assert_eq!(shown.body["state"], "gathering");
    let progress = json!([
        { "service": "identity", "done": true }, { "service": "wallet", "done": true },
        { "service": "reports", "done": true }, { "service": "notifications", "done": false },
    ]);
    assert_eq!(shown.body["services"], progress);
    assert!(
        stage
            .identity
            .take_piece(&piece(id, "notifications", Uuid::now_v7(), "{\"messages\":[]}"))
            .await
            .expect("taken")
    );
    assert_eq!(stage.events::<ExportReady>().await.len(), 1);
    let read = document(&stage, &token, id).await;
    assert_eq!(read.status, StatusCode::OK, "{}", read.body);
    let services = &read.body["services"];
    assert_eq!(services["wallet"], serde_json::from_str::<Value>(&long).expect("JSON"));
    assert_eq!(services["identity"]["profile"][0]["phone"], "+84912345678");
    assert_eq!(services["identity"]["profile"][0]["display_name"], "Nguyễn Thị Hương");
    assert_eq!(services["notifications"], json!({ "messages": [] }));
    let text = read.body.to_string();
    assert!(!text.contains("argon2id") && !text.contains("987654321"), "no secret, and nobody else");
    for path in [format!("{PATH}/{id}"), format!("{PATH}/{id}/document")] {
        let refused = stage.call(Method::GET, &path).token(&other).empty().await;
        assert_eq!((refused.status.as_u16(), refused.code()), (404, "not-found"), "another citizen's does not exist");
    }
}

#[tokio::test]
async fn an_attempt_that_broke_off_is_replaced_whole() {
    let stage = Stage::new().await;
    let token = Phone::new().sign_in(&stage, "0912345678").await;
    let id = begun(&stage, &token).await;
    let (broken, whole) = (Uuid::now_v7(), Uuid::now_v7());
    let begun = Piece { last: false, ..piece(id, "wallet", broken, "{\"old\":[1") };
    stage.identity.take_piece(&begun).await.expect("taken");
    let begun = Piece { last: false, ..piece(id, "wallet", whole, "{\"new\":[1") };
    stage.identity.take_piece(&begun).await.expect("taken");
    let late = Piece { ordinal: 1, ..piece(id, "wallet", broken, "]}") };
    assert!(stage.identity.take_piece(&late).await.is_err(), "pieces of two attempts are never mixed");
    let skipped = Piece { ordinal: 2, ..piece(id, "wallet", whole, "]}") };
    assert!(stage.identity.take_piece(&skipped).await.is_err(), "no piece is left out");
    let large = "x".repeat(PIECE_BYTES + 1);
    assert!(stage.identity.take_piece(&piece(id, "wallet", whole, &large)).await.is_err());
    assert!(stage.identity.take_piece(&Piece { ordinal: 1, ..piece(id, "wallet", whole, "]}") }).await.expect("taken"));
    own(&stage, id).await;
    for service in ["reports", "notifications"] {
        stage.identity.take_piece(&piece(id, service, Uuid::now_v7(), "{}")).await.expect("taken");
    }
    assert_eq!(document(&stage, &token, id).await.body["services"]["wallet"], json!({ "new": [1] }));
    let late = stage.identity.take_piece(&piece(id, "wallet", Uuid::now_v7(), "{}")).await;
    assert!(late.expect("taken"), "nothing more is wanted");
    let unknown = stage.identity.take_piece(&piece(ArchiveId::generate(), "wallet", whole, "{}")).await;
    assert!(unknown.expect("taken"), "an export that is over wants nothing");
}

#[tokio::test]
async fn an_export_is_asked_for_once_soon_after_signing_in_and_kept_for_a_week() {
    let stage = Stage::new().await;
    let phone = Phone::new();
    let token = phone.sign_in(&stage, "0912345678").await;
    let id = begun(&stage, &token).await;
    assert_eq!(order(&stage, &token, "one").await.text("id"), id.to_string(), "the same key is the same export");
    assert_eq!(order(&stage, &token, "two").await.text("id"), id.to_string(), "one is gathered at a time");
    assert_eq!(stage.events::<ExportRequested>().await.len(), 1);
    own(&stage, id).await;
    for service in OTHERS {
        stage.identity.take_piece(&piece(id, service, Uuid::now_v7(), "{}")).await.expect("taken");
    }
    stage.clock.advance(TimeDelta::seconds(900));
    let old = order(&stage, &token, "three").await;
    assert_ne!(old.status, StatusCode::ACCEPTED, "{}", old.body);
    let token = phone.sign_in(&stage, "0912345678").await;
    assert_eq!(document(&stage, &token, id).await.status, StatusCode::OK);
    stage.clock.advance(TimeDelta::days(7));
    stage.identity.prune().await.expect("pruned");
    assert_eq!((stage.count("archive").await, stage.count("archive_piece").await), (0, 0));
    let token = phone.sign_in(&stage, "0912345678").await;
    assert_eq!(document(&stage, &token, id).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn no_table_that_names_a_citizen_is_forgotten() {
    let stage = Stage::new().await;
    let elsewhere = [
        ("role_grant.granted_by", "what an officer did for the city: the audit has it"),
        ("client.created_by", "the same"),
    ];
    let missing = unlisted(&stage.admin(), SCHEMA, archive::SECTIONS, &elsewhere).await.expect("columns");
    assert_eq!(missing, Vec::<String>::new(), "in no section of archive::SECTIONS");
    let unknown = unlisted(&stage.admin(), SCHEMA, &[], &[]).await.expect("columns");
    assert!(unknown.contains(&"identity.device.citizen_id".to_owned()), "the test can fail: {unknown:?}");
}
