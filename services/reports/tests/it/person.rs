//! A reporter's own words are sealed under their key; what everyone reads is not.

use platform::person::PersonKeys;
use platform::task::Shutdown;
use reports::{Config, SCHEMA};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::stage::{Stage, eventually, persons, road};

const WORDS: &str = "Ổ gà trước nhà tôi, gọi 0905 123 456";

async fn text(stage: &Stage, user: Uuid, report: &str) -> String {
    let seen = stage.get(Some(user), &format!("/reports/v1/reports/{report}")).await.expect(200);
    seen["text"].as_str().expect("a text").to_owned()
}

async fn mine(stage: &Stage, user: Uuid) -> String {
    let seen = stage.get(Some(user), "/reports/v1/reports?mine=true").await.expect(200);
    seen["items"][0]["text"].as_str().expect("a text").to_owned()
}

#[tokio::test]
async fn own_words_are_stored_sealed_and_read_by_those_who_may() {
    let stage = Stage::new().await;
    let citizen = Uuid::now_v7();
    let filed = stage.post(citizen, "/reports/v1/reports", &road(WORDS)).await.expect(201);
    let report = filed["id"].as_str().expect("an id").to_owned();
    assert_eq!(stage.count("reports.report WHERE body IS NULL AND body_sealed IS NOT NULL").await, 1);
    assert_eq!(text(&stage, citizen, &report).await, WORDS);
    assert_eq!(text(&stage, stage.ioc, &report).await, WORDS);
    assert_eq!(mine(&stage, citizen).await, WORDS);
    // Without the key the public text is all there is, for everyone.
    let keys = PersonKeys::try_new(SCHEMA, &persons()).expect("valid secrets");
    let mut connection = stage.context.pool.acquire().await.expect("a connection");
    keys.destroy(&mut connection, citizen, stage.clock.now()).await.expect("destroyed");
    for user in [citizen, stage.ioc] {
        let left = text(&stage, user, &report).await;
        assert!(left.starts_with("Ổ gà") && !left.contains("123 456"), "{left}");
    }
    assert!(!mine(&stage, citizen).await.contains("123 456"));
    let refused = stage.post(citizen, "/reports/v1/reports", &road("Lại nữa")).await;
    assert_eq!(refused.refused(403), "forbidden", "nobody who was erased reports anything");
}

#[tokio::test]
async fn a_report_from_before_words_were_sealed_is_read_as_before() {
    let stage = Stage::new().await;
    let citizen = Uuid::now_v7();
    let report = stage.report(citizen).await;
    let before = sqlx::query("UPDATE reports.report SET body = $1, body_sealed = NULL, sealed = FALSE").bind(WORDS);
    before.execute(&stage.admin()).await.expect("a row as before");
    assert_eq!(text(&stage, citizen, &report).await, WORDS);
    assert_eq!(mine(&stage, citizen).await, WORDS);
    let config = Config { persons: persons(), ..Config::default() };
    let replica = reports::build(config, stage.deps()).await.expect("the configuration is valid");
    let (shutdown, mut running) = (Shutdown::new(), JoinSet::new());
    for task in replica.tasks {
        running.spawn(task.run(shutdown.clone()));
    }
    eventually("the row is sealed", async || {
        stage.count("reports.report WHERE body IS NULL AND body_sealed IS NOT NULL").await == 1
    })
    .await;
    assert_eq!(text(&stage, citizen, &report).await, WORDS);
}
