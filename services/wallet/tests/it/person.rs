//! What the wallet keeps of a citizen beside their money is sealed under a key of that citizen.

use uuid::Uuid;

use crate::stage::{Stage, eventually, text};

const ACCOUNT: &str = sandbox::RICH_ACCOUNTS[1];

#[tokio::test(flavor = "multi_thread")]
async fn an_account_number_at_a_bank_is_stored_sealed_and_still_reaches_the_bank() {
    let stage = Stage::new().await;
    let wallet = stage.start().await;
    let user = stage.citizen(1).await;
    let citizen = stage.token(user);
    let id = wallet.top_up(&citizen, ACCOUNT, 70_000).await;
    wallet.reaches(&citizen, &id, "completed").await;
    assert_eq!(stage.count("wallet.top_up WHERE account_sealed IS NOT NULL AND account IS NULL").await, 1);
    assert_eq!(stage.count(&format!("wallet.person_key WHERE person = '{user}' AND key IS NOT NULL")).await, 1);
    let stored: String = sqlx::query_scalar("SELECT encode(account_sealed, 'escape') FROM wallet.top_up")
        .fetch_one(&stage.admin())
        .await
        .expect("a row");
    assert!(!stored.contains(ACCOUNT), "{stored}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_top_up_from_before_account_numbers_were_sealed_goes_on_and_is_sealed() {
    let stage = Stage::new().await;
    let user = stage.citizen(1).await;
    let citizen = stage.token(user);
    let id = Uuid::now_v7();
    sqlx::query(
        "INSERT INTO wallet.top_up (id, user_id, idempotency_key, fingerprint, bank_code, account, amount, state, requested_at, updated_at)
         VALUES ($1, $2, 'before', decode(repeat('00', 32), 'hex'), $3, $4, 50000, 'requested', $5, $5)",
    )
    .bind(id)
    .bind(user)
    .bind(crate::stage::BANK)
    .bind(ACCOUNT)
    .bind(stage.clock.now())
    .execute(&stage.admin())
    .await
    .expect("a row");
    sqlx::query(
        "INSERT INTO wallet.job (id, kind, key, state, due_at, payload, created_at) VALUES ($1, 'top-up', $2, 'due', $3, '{}', $3)",
    )
    .bind(id)
    .bind(id.to_string())
    .bind(stage.clock.now())
    .execute(&stage.admin())
    .await
    .expect("a row");
    let wallet = stage.start().await;
    wallet.reaches(&citizen, &id.to_string(), "completed").await;
    eventually("the row is sealed", async || stage.count("wallet.top_up WHERE account IS NOT NULL").await == 0).await;
    assert_eq!(stage.count("wallet.top_up WHERE account_sealed IS NOT NULL").await, 1);
    assert_eq!(text(&wallet.top_up_state(&citizen, &id.to_string()).await, "id"), id.to_string());
}
