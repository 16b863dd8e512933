//! Photos whose request dies on its way: nothing is left in the store that no row names, and no row names what is not there.

use chrono::TimeDelta;
use platform::db;
use reports::config::PhotosConfig;
use sqlx::{AssertSqlSafe, Postgres, Transaction};
use uuid::Uuid;

use crate::erasure::{Office, ask, process, reaches};
use crate::s3::{S3, Trouble};
use crate::stage::{Answer, Stage, eventually, jpeg};

/// How long the store may take in these tests, in milliseconds.
const PATIENCE_MS: u64 = 3_000;
/// Longer than an upload may take.
const LONG: TimeDelta = TimeDelta::minutes(61);

/// Where an upload is held up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// It is announced, and the store has nothing yet.
    BeforeTheFile,
    /// The store has the file, and its answer does not come.
    BeforeTheAnswer,
    /// The file is stored, and nothing of the row is written.
    BeforeTheRow,
    /// The row is being written, and not committed.
    WithinTheRow,
}

/// Uploads that wait for a lock to write their row, each by itself: what is written with others waits for nobody so long.
const WAITING: &str = "pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
    AND query LIKE '-- Stored photos%' AND clock_timestamp() - query_start > interval '200 ms'";

const STOPS: [Stop; 4] = [Stop::BeforeTheFile, Stop::BeforeTheAnswer, Stop::BeforeTheRow, Stop::WithinTheRow];

struct Scene {
    s3: S3,
    stage: Stage,
    citizen: Uuid,
    report: String,
}

impl Scene {
    async fn new() -> Self {
        let s3 = S3::start().await;
        let photos = PhotosConfig { s3: Some(s3.settings()), timeout_ms: PATIENCE_MS, ..PhotosConfig::default() };
        let (stage, citizen) = (Stage::keeping_photos(photos).await, Uuid::now_v7());
        let report = stage.report(citizen).await;
        Self { s3, stage, citizen, report }
    }

    async fn upload(&self, key: &str) -> Answer {
        self.stage.photo_with_key(self.citizen, &self.report, jpeg(400, 300), key).await
    }

    /// Sees to it that uploads stop there, until the transaction ends and the store is well again.
    async fn hold(&self, stop: Stop) -> Transaction<'static, Postgres> {
        let mut held = db::begin(&self.stage.admin()).await.expect("a transaction");
        let lock = match stop {
            Stop::BeforeTheFile | Stop::BeforeTheAnswer => "SELECT".to_owned(),
            Stop::BeforeTheRow => format!("SELECT FROM reports.report WHERE id = '{}' FOR NO KEY UPDATE", self.report),
            Stop::WithinTheRow => "LOCK TABLE reports.idempotency_key IN SHARE MODE".to_owned(),
        };
        sqlx::query(AssertSqlSafe(lock)).execute(&mut *held).await.expect("a lock");
        self.s3.trouble(match stop {
            Stop::BeforeTheFile => Some(Trouble::Hangs),
            Stop::BeforeTheAnswer => Some(Trouble::LosesAnswers),
            Stop::BeforeTheRow | Stop::WithinTheRow => None,
        });
        held
    }

    /// Waits until an upload has come to where it stops.
    async fn is_there(&self, stop: Stop, asked: usize) {
        eventually(&format!("{stop:?}"), async || match stop {
            Stop::BeforeTheFile | Stop::BeforeTheAnswer => self.s3.asked() > asked,
            Stop::BeforeTheRow | Stop::WithinTheRow => self.stage.count(WAITING).await > 0,
        })
        .await;
    }

    /// An upload whose process dies there.
    async fn dies(&self, key: &str, stop: Stop) {
        let (mut held, asked) = (self.hold(stop).await, self.s3.asked());
        tokio::select! {
            answer = self.upload(key) => panic!("{stop:?} is passed: {answer:?}"),
            () = self.is_there(stop, asked) => {}
        }
        let end = format!("SELECT pg_terminate_backend(pid) FROM {WAITING}");
        sqlx::query(AssertSqlSafe(end)).execute(&mut *held).await.expect("its connections are cut");
        held.rollback().await.expect("a rollback");
        self.s3.trouble(None);
    }

    /// Files, rows that name one, and rows that announce one.
    async fn counts(&self) -> (usize, i64, i64) {
        let rows = (self.stage.count("reports.attachment").await, self.stage.count("reports.arrival").await);
        (self.s3.names().len(), rows.0, rows.1)
    }

    async fn comes_to(&self, counts: (usize, i64, i64)) {
        eventually(&format!("{counts:?}"), async || self.counts().await == counts).await;
    }
}

#[tokio::test]
async fn wherever_an_upload_dies_nothing_is_left_that_nobody_names() {
    let scene = Scene::new().await;
    for (number, stop) in STOPS.into_iter().enumerate() {
        let (files, rows) = (number, i64::try_from(number).expect("few"));
        let key = format!("photo-{number}");
        scene.dies(&key, stop).await;
        let left = if stop == Stop::BeforeTheFile { files } else { files + 1 };
        assert_eq!(scene.counts().await, (left, rows, 1), "{stop:?}: what is there is announced");
        scene.stage.clock.advance(LONG);
        scene.comes_to((files, rows, 0)).await;
        // The app sends it again, and again it dies, and is sent once more before the time has passed.
        scene.dies(&key, stop).await;
        let photo = scene.upload(&key).await.expect(201);
        assert_eq!(scene.counts().await, (files + 1, rows + 1, 1), "{stop:?}");
        assert_eq!(scene.upload(&key).await.expect(201), photo, "{stop:?}");
        scene.stage.clock.advance(LONG);
        scene.comes_to((files + 1, rows + 1, 0)).await;
        let path = format!("/reports/v1/reports/{}/photos/{}", scene.report, photo["id"].as_str().expect("an id"));
        assert_eq!(scene.stage.get(Some(scene.citizen), &path).await.status.as_u16(), 200, "{stop:?}");
    }
    let text = scene.stage.context.metrics.encode();
    let counted = "trangtien_reports_photos_total{outcome=\"unfinished\",";
    let count = text.lines().find(|line| line.starts_with(counted)).and_then(|line| line.split(' ').next_back());
    assert_eq!(count, Some(&*STOPS.len().to_string()), "{text}");
}

#[tokio::test]
async fn an_upload_that_outlasts_its_time_is_not_written_down() {
    let scene = Scene::new().await;
    for stop in [Stop::BeforeTheRow, Stop::WithinTheRow] {
        let (held, asked) = (scene.hold(stop).await, scene.s3.asked());
        let others = async {
            scene.is_there(stop, asked).await;
            scene.stage.clock.advance(LONG);
            if stop == Stop::BeforeTheRow {
                scene.comes_to((0, 0, 0)).await;
            } else {
                let waiting = "pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
                    AND query LIKE 'SELECT photo_id FROM reports.arrival WHERE photo_id%'";
                eventually("it is looked at", async || scene.stage.count(waiting).await > 0).await;
            }
            held.rollback().await.expect("a rollback");
        };
        let (answer, ()) = tokio::join!(scene.upload("one"), others);
        if stop == Stop::BeforeTheRow {
            assert_eq!(answer.refused(503), "overloaded", "the file is gone, and the app sends it again");
            assert_eq!(scene.counts().await, (0, 0, 0));
        } else {
            // Whoever writes it down is waited for, and the file stays.
            answer.expect(201);
            scene.comes_to((1, 1, 0)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_files_away_may_die_as_well() {
    let mut scene = Scene::new().await;
    scene.dies("one", Stop::BeforeTheRow).await;
    scene.s3.trouble(Some(Trouble::LosesAnswers));
    scene.stage.clock.advance(LONG);
    eventually("the file is gone, and nobody knows", async || scene.counts().await == (0, 0, 1)).await;
    scene.stage.rests().await;
    scene.s3.trouble(None);
    // Sent again meanwhile, it is stored again.
    let photo = scene.upload("one").await.expect(201);
    let mut other = process(&scene.stage, &Office::default()).await;
    scene.dies("two", Stop::BeforeTheRow).await;
    scene.stage.clock.advance(LONG);
    scene.comes_to((1, 1, 0)).await;
    assert!(scene.s3.names()[0].contains(photo["id"].as_str().expect("an id")));
    other.shutdown().await;
}

#[tokio::test]
async fn a_photo_that_is_refused_at_the_end_is_taken_away_at_once() {
    let scene = Scene::new().await;
    let (mut held, asked) = (scene.hold(Stop::BeforeTheRow).await, scene.s3.asked());
    let others = async {
        scene.is_there(Stop::BeforeTheRow, asked).await;
        let erased =
            "UPDATE reports.report SET body = NULL, body_sealed = NULL, address = NULL, erased_at = created_at";
        sqlx::query(erased).execute(&mut *held).await.expect("an update");
        assert_eq!(scene.s3.names().len(), 1);
        held.commit().await.expect("a commit");
    };
    let (answer, ()) = tokio::join!(scene.upload("one"), others);
    assert_eq!(answer.refused(404), "not-found", "whoever was erased is nobody to the report");
    assert_eq!(scene.counts().await, (0, 0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_takes_along_what_was_never_written_down() {
    let mut scene = Scene::new().await;
    scene.stage.rests().await;
    scene.dies("one", Stop::BeforeTheRow).await;
    assert_eq!(scene.counts().await, (1, 0, 1));
    let mut process = process(&scene.stage, &Office::default()).await;
    ask(&scene.stage, scene.citizen).await;
    reaches(&scene.stage, "reports.job WHERE kind = 'person-erase' AND state = 'done'").await;
    assert_eq!(scene.counts().await, (0, 0, 1));
    scene.stage.clock.advance(LONG);
    scene.comes_to((0, 0, 0)).await;
    process.shutdown().await;
}
