//! Photos in a bucket: stored and shown as in a folder, and nothing half done when the store is away, slow, failing or refusing.

use platform::config::Secret;
use reports::config::PhotosConfig;
use uuid::Uuid;

use crate::s3::{S3, Trouble};
use crate::stage::{Answer, Stage, jpeg};

/// How long a store may take in these tests, in milliseconds.
const PATIENCE_MS: u64 = 3_000;

/// A city whose photos are in a bucket, and a report there.
struct Scene {
    stage: Stage,
    citizen: Uuid,
    report: String,
}

impl Scene {
    async fn with(settings: reports::config::S3Config) -> Self {
        let photos = PhotosConfig { s3: Some(settings), timeout_ms: PATIENCE_MS, ..PhotosConfig::default() };
        let (stage, citizen) = (Stage::keeping_photos(photos).await, Uuid::now_v7());
        let report = stage.report(citizen).await;
        Self { stage, citizen, report }
    }

    async fn add(&self, key: &str) -> Answer {
        self.stage.photo_with_key(self.citizen, &self.report, jpeg(400, 300), key).await
    }

    async fn kept(&self) -> i64 {
        self.stage.count("reports.attachment").await
    }

    fn path(&self, photo: &serde_json::Value) -> String {
        format!("/reports/v1/reports/{}/photos/{}", self.report, photo["id"].as_str().expect("an id"))
    }
}

#[tokio::test]
async fn a_photo_goes_to_the_bucket_and_comes_back_the_same() {
    let s3 = S3::start().await;
    let scene = Scene::with(s3.settings()).await;
    let photo = scene.add("one").await.expect(201);
    assert_eq!(scene.add("one").await.expect(201), photo, "sent again, it is the same photo");
    let name = format!("{}/{}.jpg", scene.report, photo["id"].as_str().expect("an id"));
    assert_eq!((s3.names(), s3.forged(), scene.kept().await), (vec![name], 0, 1));
    let shown = scene.stage.get(Some(scene.citizen), &scene.path(&photo)).await;
    assert_eq!((shown.status.as_u16(), &shown.bytes[..3]), (200, &b"\xFF\xD8\xFF"[..]));
}

#[tokio::test]
async fn trouble_of_the_store_is_told_and_leaves_nothing_half_done() {
    let s3 = S3::start().await;
    let scene = Scene::with(s3.settings()).await;
    let troubles = [Trouble::Fails, Trouble::Hangs, Trouble::Forbids, Trouble::LosesAnswers];
    for (number, trouble) in troubles.into_iter().enumerate() {
        let (key, before) = (format!("photo-{number}"), i64::try_from(number).expect("few"));
        s3.trouble(Some(trouble));
        let refused = scene.add(&key).await;
        assert_eq!(refused.refused(503), "photo-store-unavailable", "{trouble:?}");
        assert!(refused.headers.contains_key("retry-after"), "{trouble:?}");
        assert_eq!(scene.kept().await, before, "{trouble:?}: no photo is written down that is not kept");
        s3.trouble(None);
        let photo = scene.add(&key).await.expect(201);
        assert_eq!((scene.kept().await, s3.names().len()), (before + 1, number + 1), "{trouble:?}: kept once");
        let shown = scene.stage.get(Some(scene.citizen), &scene.path(&photo)).await;
        assert_eq!(shown.status.as_u16(), 200, "{trouble:?}");
    }
}

#[tokio::test]
async fn a_photo_that_can_not_be_fetched_is_told_so() {
    let s3 = S3::start().await;
    let scene = Scene::with(s3.settings()).await;
    let photo = scene.add("one").await.expect(201);
    for trouble in [Trouble::Fails, Trouble::Hangs, Trouble::Forbids] {
        s3.trouble(Some(trouble));
        let shown = scene.stage.get(Some(scene.citizen), &scene.path(&photo)).await;
        assert_eq!(shown.refused(503), "photo-store-unavailable", "{trouble:?}");
    }
    s3.trouble(None);
    s3.lose_all();
    let shown = scene.stage.get(Some(scene.citizen), &scene.path(&photo)).await;
    assert_eq!(shown.refused(500), "internal", "what was stored and is gone does not pass by waiting");
}

#[tokio::test]
async fn a_store_that_is_away_or_knows_another_secret_takes_no_photo() {
    let mut s3 = S3::start().await;
    let wrong = Scene::with(reports::config::S3Config { secret: Secret::new("another"), ..s3.settings() }).await;
    assert_eq!(wrong.add("one").await.refused(503), "photo-store-unavailable");
    assert!(s3.forged() > 0 && s3.names().is_empty());
    let elsewhere = Scene::with(reports::config::S3Config { bucket: "none".to_owned(), ..s3.settings() }).await;
    assert_eq!(elsewhere.add("one").await.refused(503), "photo-store-unavailable");
    let scene = Scene::with(s3.settings()).await;
    s3.go_away().await;
    assert_eq!(scene.add("one").await.refused(503), "photo-store-unavailable");
    assert_eq!(scene.kept().await, 0);
    scene.stage.get(None, "/reports/v1/categories").await.expect(200);
}
