//! The key of a reporter ends, or the secret that seals it changes.

use std::collections::BTreeMap;

use http::Request;
use platform::http::HttpSettings;
use platform::person::{PersonConfig, PersonKeys};
use platform::task::Shutdown;
use reports::{Config, SCHEMA};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use tokio::task::JoinSet;
use tower::ServiceExt as _;
use uuid::Uuid;

use crate::erasure::{Office, ask, ask_for, process, reaches};
use crate::stage::{Stage, eventually, persons};
use crate::words::{
    ADDRESS, ALL, ANSWER, BODY, COMMENT, POLE, REASON, UNGUARDED, destroy, expect_gone, holding, lived, said, timeline,
};

/// What is stored with words in it.
const TABLES: [&str; 3] = ["report", "history", "rating"];

#[tokio::test(flavor = "multi_thread")]
async fn without_the_key_the_bytes_from_before_an_erasure_are_nothing() {
    let mut stage = Stage::new().await;
    stage.rests().await;
    let citizen = Uuid::now_v7();
    let report = lived(&stage, citizen).await;
    for table in TABLES {
        let kept = format!("CREATE TABLE kept_{table} AS SELECT * FROM reports.{table}");
        sqlx::query(AssertSqlSafe(kept)).execute(&stage.admin()).await.expect("a backup");
    }
    destroy(&stage, citizen).await;
    expect_gone(&stage, citizen, &report).await;
    let mut running = process(&stage, &Office::default()).await;
    ask(&stage, citizen).await;
    reaches(&stage, "reports.job WHERE kind = 'person-erase' AND state = 'done'").await;
    running.shutdown().await;
    for word in ALL {
        assert_eq!(holding(&stage, word).await, Vec::<String>::new());
    }
    for column in [
        "report WHERE num_nonnulls(body_sealed, address_sealed, answers_sealed) > 0",
        "history WHERE details_sealed IS NOT NULL",
        "rating WHERE comment_sealed IS NOT NULL",
    ] {
        assert_eq!(stage.count(&format!("reports.{column}")).await, 0, "the bytes went, too");
    }
    let mut tx = platform::db::begin(&stage.admin()).await.expect("a transaction");
    sqlx::query(UNGUARDED).execute(&mut *tx).await.expect("a setting");
    for table in TABLES {
        let back = format!("DELETE FROM reports.{table}; INSERT INTO reports.{table} SELECT * FROM kept_{table};");
        sqlx::raw_sql(AssertSqlSafe(back)).execute(&mut *tx).await.expect("a restore");
    }
    tx.commit().await.expect("a commit");
    assert_eq!(stage.count("reports.report WHERE erased_at IS NULL AND address_sealed IS NOT NULL").await, 1);
    expect_gone(&stage, citizen, &report).await;
    // Nor does the task make anything of them.
    let mut running = process(&stage, &Office::default()).await;
    ask_for(&stage, "person-export", citizen).await;
    reaches(&stage, "reports.job WHERE kind = 'person-export' AND state = 'done'").await;
    running.shutdown().await;
    expect_gone(&stage, citizen, &report).await;
}

/// Waits until so many of the service's statements wait for somebody's lock.
async fn waiting(stage: &Stage, count: i64) {
    eventually("statements wait", async || {
        // What is written with others waits for nobody so long.
        let waiting = "pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
            AND clock_timestamp() - query_start > interval '200 ms'";
        stage.count(waiting).await == count
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_erased_while_they_rate_or_answer_leaves_no_word_whichever_comes_first() {
    let mut stage = Stage::new().await;
    stage.rests().await;
    let deeds: [(&str, Value, &str); 2] = [
        ("answers", json!({"text": said(ANSWER)}), ANSWER),
        ("ratings", json!({"rating": "acceptable", "comment": said(COMMENT)}), COMMENT),
    ];
    for (path, body, word) in deeds {
        for first in ["erasure", "deed"] {
            let citizen = Uuid::now_v7();
            let report = stage.report(citizen).await;
            match path {
                "answers" => {
                    stage.act(stage.ioc, &report, json!({"action": "claim"})).await.expect(201);
                    stage.act(stage.ioc, &report, json!({"action": "ask", "question": "Ở đâu?"})).await.expect(201);
                }
                _ => stage.published(&report).await,
            }
            let before = stage.count("reports.history").await;
            let admin = stage.admin();
            let mut held = platform::db::begin(&admin).await.expect("a transaction");
            let keys = PersonKeys::try_new(SCHEMA, &persons()).expect("valid secrets");
            if first == "erasure" {
                // Its key is being destroyed: the deed has looked, and waits to hold the key.
                keys.destroy(&mut held, citizen, stage.clock.now()).await.expect("destroyed");
                let (deed, ()) = tokio::join!(stage.say(citizen, &report, path, body.clone()), async {
                    waiting(&stage, 1).await;
                    held.commit().await.expect("a commit");
                });
                assert_eq!(deed.refused(404), "not-found", "{path}");
                assert_eq!(stage.count("reports.history").await, before, "nothing was written");
            } else {
                // The deed holds the key and waits for the report's row: whoever destroys the key waits for the deed.
                let lock = format!("SELECT id FROM reports.report WHERE id = '{report}' FOR UPDATE");
                sqlx::query(AssertSqlSafe(lock)).execute(&mut *held).await.expect("a lock");
                let (deed, (), ()) = tokio::join!(
                    stage.say(citizen, &report, path, body.clone()),
                    async {
                        waiting(&stage, 1).await;
                        destroy(&stage, citizen).await;
                    },
                    async {
                        waiting(&stage, 2).await;
                        held.rollback().await.expect("a rollback");
                    }
                );
                deed.expect(201);
                assert_eq!(stage.count("reports.history").await, before + 1, "it came before");
            }
            assert_eq!(holding(&stage, word).await, Vec::<String>::new(), "{path} {first}");
            let mut running = process(&stage, &Office::default()).await;
            ask(&stage, citizen).await;
            reaches(&stage, &format!("reports.report WHERE id = '{report}' AND erased_at IS NOT NULL")).await;
            running.shutdown().await;
            let told = timeline(&stage, Some(stage.ioc), &report).await;
            assert!(told["chain_holds"] == true && !told.to_string().contains(word), "{told}");
        }
    }
    assert_eq!(stage.count("reports.history WHERE details_sealed IS NOT NULL").await, 0);
    assert_eq!(stage.count("reports.rating WHERE comment_sealed IS NOT NULL").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn words_outlive_a_change_of_the_configured_secret() {
    let stage = Stage::new().await;
    let citizen = Uuid::now_v7();
    let report = lived(&stage, citizen).await;
    let secret = platform::config::Secret::new("5e".repeat(32));
    let both = PersonConfig { encryption: secret.clone(), retired_encryption: vec![persons().encryption] };
    let seen = |persons: PersonConfig| {
        let (stage, report) = (&stage, report.clone());
        async move {
            let config = Config { persons, ..stage.config.clone() };
            let service = reports::build(config, stage.deps()).await.expect("the configuration is valid");
            let (router, _) = service.http.split_for_parts();
            let verifier = stage.context.verifier.clone();
            let router = platform::http::finish(router, HttpSettings::default(), verifier, Shutdown::new());
            let mut seen = BTreeMap::new();
            for part in ["", "/timeline"] {
                let request = Request::get(format!("/reports/v1/reports/{report}{part}"))
                    .header("authorization", format!("Bearer {}", stage.token(citizen)));
                let request = request.body(axum::body::Body::empty()).expect("a request");
                let response = router.clone().oneshot(request).await.expect("a router always answers");
                let status = response.status().as_u16();
                let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.expect("the body ends");
                seen.insert(part, (status, String::from_utf8_lossy(&bytes).into_owned()));
            }
            seen
        }
    };
    let whole = |seen: &BTreeMap<&str, (u16, String)>| {
        let (report, told) = (&seen[""].1, &seen["/timeline"].1);
        [BODY, ADDRESS, POLE].iter().all(|word| report.contains(&said(word)))
            && [ANSWER, COMMENT, REASON].iter().all(|word| told.contains(&said(word)))
            && told.contains("\"chain_holds\":true")
    };
    let before = seen(both.clone()).await;
    assert!(whole(&before), "the old secret still opens: {before:?}");
    let too_early = seen(PersonConfig { encryption: secret.clone(), ..PersonConfig::default() }).await;
    assert_eq!((too_early[""].0, too_early["/timeline"].0), (500, 500), "not taken for an erasure");
    let service = reports::build(Config { persons: both, ..stage.config.clone() }, stage.deps()).await;
    let shutdown = Shutdown::new();
    let mut running = JoinSet::new();
    for task in service.expect("the configuration is valid").tasks {
        running.spawn(task.run(shutdown.clone()));
    }
    eventually("keys are sealed under the new one", async || {
        whole(&seen(PersonConfig { encryption: secret.clone(), ..PersonConfig::default() }).await)
    })
    .await;
}
