//! More payments than the ledger can take now: 503 with the time to come again, and all that was accepted is answered.

use std::sync::Arc;

use serde_json::json;

use crate::stage::{Stage, dong, eventually};

/// Payments asked for while the database stands still.
const PAYMENTS: usize = 24;
/// Places in the ledger's queue.
const QUEUE: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_answers_503_with_retry_after_and_nothing_accepted_is_lost() {
    let stage = Stage::new().await;
    let wallet = stage.start().await;
    let (token, shop) = (wallet.funded(&stage, 100_000).await, wallet.shop(&stage).await);
    let mut config = stage.config();
    (config.ledger.queue, config.ledger.batch) = (QUEUE, QUEUE);
    // However slow this machine is, the database is waited for.
    config.ledger.deadline_ms = 60_000;
    let tiny = Arc::new(stage.replica_with("tiny", config).await);

    // Somebody holds the shard's lock, so that the batch under way waits.
    let admin = stage.admin();
    let mut holder = admin.acquire().await.expect("a connection");
    let lock = "BEGIN; SELECT sequence FROM ledger.shard WHERE shard = 1 FOR UPDATE";
    sqlx::raw_sql(lock).execute(&mut *holder).await.expect("locked");
    let mut payments = tokio::task::JoinSet::new();
    for number in 0..PAYMENTS {
        let (tiny, token, payload) = (tiny.clone(), token.clone(), shop.payload.clone());
        payments.spawn(async move {
            let body = json!({"qr_payload": payload, "amount": dong(1_000)});
            tiny.post_with_key(&token, "/wallet/v1/payments", &body, &format!("overload-{number}")).await
        });
    }
    let mut refused = 0;
    eventually("all that don't fit are turned away", async || {
        while let Some(answer) = payments.try_join_next() {
            let answer = answer.expect("answered");
            assert_eq!((answer.status.as_u16(), answer.code().as_str()), (503, "overloaded"), "{answer:?}");
            let wait: u64 = answer.headers["retry-after"].to_str().expect("text").parse().expect("seconds");
            assert!((1..=30).contains(&wait), "{wait}");
            refused += 1;
        }
        // The queue, and one batch of what was first.
        payments.len() <= 3 * QUEUE
    })
    .await;
    assert!(refused >= PAYMENTS - 3 * QUEUE, "{refused} refused");
    sqlx::raw_sql("ROLLBACK").execute(&mut *holder).await.expect("released");
    let mut accepted = 0;
    while let Some(answer) = payments.join_next().await {
        let answer = answer.expect("answered");
        if answer.status != 503 {
            answer.expect(201);
            accepted += 1;
        }
    }
    assert!(accepted >= QUEUE, "{accepted} accepted");
    assert_eq!(stage.count("wallet.payment").await, i64::try_from(accepted).expect("few"));
    // A refusal is not remembered.
    for number in 0..PAYMENTS {
        let body = json!({"qr_payload": shop.payload, "amount": dong(1_000)});
        tiny.post_with_key(&token, "/wallet/v1/payments", &body, &format!("overload-{number}")).await.expect(201);
    }
    assert_eq!(tiny.balance(&token).await, 100_000 - 1_000 * i64::try_from(PAYMENTS).expect("few"));
    stage.audit().await;
}
