//! A receipt goes to the two whose transaction it was, holds by itself, and is signed for once the day has ended.

use chrono::TimeDelta;
use ledger::note::PublicKey;
use ledger::receipt::{Proven, Receipt};
use serde_json::json;
use uuid::Uuid;

use crate::checkpoint::wait_for_morning;
use crate::stage::{Stage, dong, eventually, text};

#[tokio::test(flavor = "multi_thread")]
async fn payer_and_merchant_get_a_receipt_that_holds_by_itself() {
    let stage = Stage::new().await;
    wait_for_morning(&stage);
    let wallet = stage.start().await;
    let (payer, shop) = (stage.citizen(1).await, wallet.shop(&stage).await);
    let token = stage.token(payer);
    let top_up = wallet.top_up(&token, sandbox::RICH_ACCOUNTS[0], 100_000).await;
    wallet.reaches(&token, &top_up, "completed").await;
    let body = json!({"qr_payload": shop.payload, "amount": dong(30_000)});
    let payment = text(&wallet.post(&token, "/wallet/v1/payments", &body).await.expect(201), "id");
    let path = format!("/wallet/v1/transactions/{payment}/receipt");

    for token in [&token, &shop.token] {
        let answer = wallet.get(token, &path).await;
        answer.expect(200);
        let receipt = Receipt::from_json(&answer.bytes).expect("in its one form");
        assert_eq!(receipt.prove(None), Ok(Proven::Block));
        assert_eq!((receipt.transfer.id.to_string(), receipt.transfer.amount.minor()), (payment.clone(), 30_000));
    }
    let stranger = stage.token(stage.citizen(1).await);
    let other_shop = wallet.shop(&stage).await;
    for token in [&stranger, &other_shop.token] {
        assert_eq!(wallet.get(token, &path).await.status, 404, "another's transaction does not exist");
    }
    assert_eq!(wallet.get(&token, &format!("/wallet/v1/transactions/{}/receipt", Uuid::now_v7())).await.status, 404);
    assert_eq!(wallet.open_get(&path).await.status, 401);

    stage.clock.advance(TimeDelta::days(1));
    eventually("the day is signed", async || stage.count("ledger.checkpoint").await == 1).await;
    let key: PublicKey =
        text(&wallet.open_get("/wallet/v1/ledger/key").await.expect(200), "key").parse().expect("a public key");
    let answer = wallet.get(&stage.token(payer), &path).await;
    let receipt = Receipt::from_json(&answer.bytes).expect("in its one form");
    let proven = receipt.prove(Some(&key));
    assert!(matches!(&proven, Ok(Proven::Signed { key: signer, .. }) if *signer == key), "{proven:?}");
    stage.audit().await;
}
