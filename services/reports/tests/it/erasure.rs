//! What goes with a reporter who is erased, and what stays, however often the process that does it dies.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use chrono::TimeDelta;
use platform::metrics::Metrics;
use platform::rpc::{CallMetrics, CallSettings, InboundLayer};
use platform::task::Shutdown;
use proto::identity::v1::person_service_server::{PersonService, PersonServiceServer};
use proto::identity::v1::{
    AnswerClosingRequest, AnswerClosingResponse, ConfirmErasureRequest, ConfirmErasureResponse, PutExportPartRequest,
    PutExportPartResponse,
};
use reports::Deps;
use reports::config::PhotosConfig;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use tokio::task::JoinSet;
use tonic::service::Routes;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::s3::{S3, Trouble};
use crate::stage::{PLACE, Stage, eventually, jpeg};

/// A word that only the reporter wrote.
const WORD: &str = "Mốc-Riêng-Của-Tôi";

/// Identity, as far as it takes copies and hears that somebody was erased.
#[derive(Clone, Default)]
pub(crate) struct Office {
    pub(crate) copy: Arc<Mutex<Vec<u8>>>,
    heard: Arc<AtomicUsize>,
    silent: Arc<AtomicBool>,
}

#[tonic::async_trait]
impl PersonService for Office {
    async fn put_export_part(
        &self,
        request: Request<PutExportPartRequest>,
    ) -> Result<Response<PutExportPartResponse>, Status> {
        self.copy.lock().expect("not poisoned").extend(request.into_inner().text);
        Ok(Response::new(PutExportPartResponse { done: false }))
    }

    async fn answer_closing(
        &self,
        _: Request<AnswerClosingRequest>,
    ) -> Result<Response<AnswerClosingResponse>, Status> {
        Err(Status::unimplemented("nobody asked to leave"))
    }

    async fn confirm_erasure(
        &self,
        _: Request<ConfirmErasureRequest>,
    ) -> Result<Response<ConfirmErasureResponse>, Status> {
        self.heard.fetch_add(1, Ordering::SeqCst);
        if self.silent.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        Ok(Response::new(ConfirmErasureResponse {}))
    }
}

/// A process beside the one that answers.
pub(crate) async fn process(stage: &Stage, office: &Office) -> JoinSet<()> {
    let metrics = Metrics::new("identity", "one");
    let routes = Routes::new(PersonServiceServer::new(office.clone()));
    let calls = CallMetrics::new(&metrics);
    let identity =
        platform::rpc::in_process("reports", routes, InboundLayer::new(&metrics), &calls, CallSettings::default());
    let deps = Deps { context: stage.context.clone(), identity };
    let service = reports::build(stage.config.clone(), deps).await.expect("the city is sound");
    let (shutdown, mut running) = (Shutdown::new(), JoinSet::new());
    for task in service.tasks {
        let shutdown = shutdown.clone();
        running.spawn(async move {
            task.run(shutdown).await.ok();
        });
    }
    running
}

/// A street lamp that was reported in every way that takes words, with a photo, to its end.
async fn reported(stage: &Stage, citizen: Uuid) -> (String, PathBuf) {
    let body = json!({
        "category": "CS", "text": format!("Trụ đèn trước nhà {WORD}, gọi 0905 777 123"),
        "attributes": {"pole": WORD, "fault": "out"}, "address": format!("Kiệt {WORD}"),
        "position": {"lat": PLACE.0, "lon": PLACE.1},
    });
    let filed = stage.post(citizen, "/reports/v1/reports", &body).await.expect(201);
    let report = filed["id"].as_str().expect("an id").to_owned();
    let photo = stage.photo(citizen, &report, jpeg(64, 48)).await.expect(201);
    stage.act(stage.ioc, &report, json!({"action": "claim"})).await.expect(201);
    stage.act(stage.ioc, &report, json!({"action": "ask", "question": "Số nhà?"})).await.expect(201);
    stage.say(citizen, &report, "answers", json!({"text": format!("Nhà {WORD}")})).await.expect(201);
    let file = format!("{report}/{}.jpg", photo["id"].as_str().expect("an id"));
    (report, stage.config.photos.folder.join(file))
}

/// Asks for somebody's erasure.
pub(crate) async fn ask(stage: &Stage, person: Uuid) {
    ask_for(stage, "person-erase", person).await;
}

/// Asks for something about somebody, as identity does.
pub(crate) async fn ask_for(stage: &Stage, kind: &str, person: Uuid) {
    sqlx::query(
        "INSERT INTO reports.job (id, kind, key, state, due_at, payload, created_at)
         VALUES (gen_random_uuid(), $3, gen_random_uuid()::text, 'due', $1, jsonb_build_object('person', $2::text), $1)",
    )
    .bind(stage.clock.now())
    .bind(person.to_string())
    .bind(kind)
    .execute(&stage.admin())
    .await
    .expect("a row");
}

pub(crate) async fn reaches(stage: &Stage, from: &str) {
    eventually(from, async || {
        stage.clock.advance(TimeDelta::seconds(1));
        stage.count(from).await > 0
    })
    .await;
}

/// No row of any table has the word, as text or as bytes.
async fn is_gone(stage: &Stage, word: &str) {
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'reports' AND table_type = 'BASE TABLE'",
    )
    .fetch_all(&stage.admin())
    .await
    .expect("a query");
    for table in tables {
        let hex: String = word.bytes().map(|byte| format!("{byte:02x}")).collect();
        let found = format!("reports.{table} AS row WHERE row::text LIKE '%{word}%' OR row::text LIKE '%{hex}%'");
        assert_eq!(stage.count(&found).await, 0, "{table} has {word}");
    }
}

async fn timeline(stage: &Stage, report: &str) -> Value {
    stage.get(Some(stage.ioc), &format!("/reports/v1/reports/{report}/timeline")).await.expect(200)
}

/// Where a process is held up, and how one sees that it has come there. `{user}`, `{second}`: of this round.
const STOPS: [(&str, &str); 4] = [
    (
        "LOCK TABLE reports.person_key IN ACCESS EXCLUSIVE MODE",
        "reports.job WHERE state = 'running' AND kind = 'person-erase'",
    ),
    ("LOCK TABLE reports.history IN SHARE MODE", "reports.person_key WHERE person = '{user}' AND key IS NULL"),
    (
        "SELECT 1 FROM reports.report WHERE id = '{second}' FOR UPDATE",
        "reports.reporter JOIN reports.report ON report.id = reporter.report_id WHERE user_id = '{user}' AND erased_at IS NOT NULL",
    ),
    // Nothing holds it up, but identity's answer is lost.
    ("SELECT 1", "reports.report WHERE id = '{second}' AND erased_at IS NOT NULL"),
];

#[tokio::test(flavor = "multi_thread")]
async fn words_photos_and_places_go_with_who_gave_them_wherever_a_process_dies() {
    let mut stage = Stage::new().await;
    stage.rests().await;
    let office = Office::default();
    let other = stage.report(Uuid::now_v7()).await;
    let pool = stage.admin();
    for (lock, reached) in STOPS {
        let citizen = Uuid::now_v7();
        let (first, first_file) = reported(&stage, citizen).await;
        let (second, second_file) = reported(&stage, citizen).await;
        let before = timeline(&stage, &first).await;
        assert!(first_file.exists() && second_file.exists() && before.to_string().contains(WORD));
        let named = |text: &str| text.replace("{user}", &citizen.to_string()).replace("{second}", &second);

        let mut process_one = process(&stage, &office).await;
        let mut held = platform::db::begin(&pool).await.expect("a transaction");
        sqlx::query(AssertSqlSafe(named(lock))).execute(&mut *held).await.expect("a lock");
        office.silent.store(lock == "SELECT 1", Ordering::SeqCst);
        ask(&stage, citizen).await;
        reaches(&stage, &named(reached)).await;
        tokio::join!(process_one.shutdown(), async { held.rollback().await.expect("a rollback") });
        office.silent.store(false, Ordering::SeqCst);
        let passed =
            "UPDATE reports.job SET lease_until = clock_timestamp() - interval '1 second' WHERE state = 'running'";
        sqlx::query(passed).execute(&pool).await.expect("an update");
        let mut process_two = process(&stage, &office).await;
        eventually("nothing is left to do", async || {
            stage.clock.advance(TimeDelta::seconds(1));
            stage.count("reports.job WHERE kind = 'person-erase' AND state <> 'done'").await == 0
        })
        .await;
        process_two.shutdown().await;

        is_gone(&stage, WORD).await;
        assert!(!first_file.exists() && !second_file.exists(), "{lock}");
        for report in [&first, &second] {
            let seen = stage.get(Some(stage.ioc), &format!("/reports/v1/reports/{report}")).await.expect(200);
            assert_eq!((&seen["category"], &seen["ward"]["code"]), (&json!("CS"), &json!("19789")), "{seen}");
            assert_eq!((&seen["attributes"], &seen["address"]), (&json!({"fault": "out"}), &Value::Null), "{seen}");
            assert_ne!((seen["lat"].as_f64(), seen["lon"].as_f64()), (Some(PLACE.0), Some(PLACE.1)), "{seen}");
            assert_eq!(
                (seen["reporter"].is_null(), seen["photos"].as_array().map(Vec::len)),
                (true, Some(0)),
                "{seen}"
            );
            let after = timeline(&stage, report).await;
            assert_eq!(after["chain_holds"], true);
            let steps = |line: &Value| -> Vec<Value> {
                line["items"].as_array().expect("a list").iter().map(|item| item["action"].clone()).collect()
            };
            assert_eq!(steps(&after), steps(&before), "what was done stays");
            // The reporter is nobody to it any more.
            let late = json!({"text": WORD, "version": seen["version"]});
            stage.post(citizen, &format!("/reports/v1/reports/{report}/answers"), &late).await.expect(404);
            stage.photo(citizen, report, jpeg(16, 16)).await.expect(404);
        }
    }
    assert!(office.heard.load(Ordering::SeqCst) >= STOPS.len());
    let kept = stage.get(Some(stage.ioc), &format!("/reports/v1/reports/{other}")).await.expect(200);
    assert!(kept["lat"].as_f64() == Some(PLACE.0) && kept["reporter"].is_string(), "others' reports are as before");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_citys_figures_stay_and_the_work_goes_on() {
    let mut stage = Stage::new().await;
    stage.rests().await;
    let citizen = Uuid::now_v7();
    let (rated, open) = (stage.report(citizen).await, stage.report(citizen).await);
    stage.published(&rated).await;
    let rating = json!({"rating": "dissatisfied", "comment": format!("Chưa xong, {WORD}")});
    stage.say(citizen, &rated, "ratings", rating).await.expect(201);
    stage.say(citizen, &rated, "reopenings", json!({"reason": format!("Vẫn hỏng, {WORD}")})).await.expect(201);
    let figures = stage.get(None, "/reports/v1/statistics").await.expect(200);
    let evidence = stage.count("reports.attachment WHERE kind = 'evidence'").await;
    let mut process = process(&stage, &Office::default()).await;
    ask(&stage, citizen).await;
    reaches(&stage, "reports.job WHERE kind = 'person-erase' AND state = 'done'").await;
    process.shutdown().await;
    is_gone(&stage, WORD).await;
    assert_eq!(stage.get(None, "/reports/v1/statistics").await.expect(200), figures);
    assert_eq!(stage.count("reports.rating WHERE rating = 'dissatisfied' AND comment IS NULL").await, 1);
    assert_eq!(stage.count("reports.attachment WHERE kind = 'evidence'").await, evidence, "the agency's photos");
    // The agency mends it all the same, and nobody is told who is not there.
    let told = stage.count("reports.outbox WHERE stream = 'reports-private'").await;
    stage.published(&open).await;
    assert_eq!(stage.state(&open).await, "published");
    assert_eq!(stage.count("reports.outbox WHERE stream = 'reports-private'").await, told);
    let list = stage.get(None, "/reports/v1/reports").await.expect(200);
    assert!(list.to_string().contains("Removed at the request"), "{list}");
    for (table, change) in
        [("history", "details = 'x'"), ("rating", "rating = 'satisfied'"), ("attachment", "bytes = 1")]
    {
        let sql = format!("UPDATE reports.{table} SET {change}");
        assert!(sqlx::query(AssertSqlSafe(sql)).execute(&stage.admin()).await.is_err(), "{table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_waits_for_the_store_of_photos_and_removes_them_from_a_bucket() {
    let s3 = S3::start().await;
    let photos = PhotosConfig { s3: Some(s3.settings()), timeout_ms: 3_000, ..PhotosConfig::default() };
    let mut stage = Stage::keeping_photos(photos).await;
    stage.rests().await;
    let (citizen, other) = (Uuid::now_v7(), Uuid::now_v7());
    reported(&stage, citizen).await;
    let kept = stage.report(other).await;
    stage.photo(other, &kept, jpeg(16, 16)).await.expect(201);
    s3.trouble(Some(Trouble::Fails));
    let mut process = process(&stage, &Office::default()).await;
    ask(&stage, citizen).await;
    reaches(&stage, "reports.job WHERE kind = 'person-erase' AND attempts >= 2").await;
    assert_eq!(stage.count("reports.report WHERE erased_at IS NOT NULL").await, 0, "rows go after photos");
    assert_eq!(s3.names().len(), 2);
    s3.trouble(None);
    reaches(&stage, "reports.job WHERE kind = 'person-erase' AND state = 'done'").await;
    process.shutdown().await;
    assert!(matches!(&s3.names()[..], [left] if left.starts_with(&kept)), "{:?}", s3.names());
    assert_eq!((s3.forged(), stage.count("reports.attachment").await), (0, 1));
    is_gone(&stage, WORD).await;
}
