//! Refunds over HTTP: who may, how much, once.

use futures::future::join_all;
use serde_json::{Value, json};

use crate::stage::{Stage, dong, text};

fn path(payment: &Value) -> String {
    format!("/wallet/v1/payments/{}/refunds", text(payment, "id"))
}

#[tokio::test(flavor = "multi_thread")]
async fn refunds_at_once_never_exceed_the_payment() {
    let stage = Stage::new().await;
    let (one, two) = (stage.start().await, stage.replica("two").await);
    let citizen = one.funded(&stage, 100_000).await;
    let shop = one.shop(&stage).await;
    let body = json!({"till_id": shop.till, "amount": dong(30_000)});
    let first = one.post(&citizen, "/wallet/v1/payments", &body).await.expect(201);
    one.post(&citizen, "/wallet/v1/payments", &body).await.expect(201);
    let (path, part) = (path(&first), json!({"amount": dong(8_000), "reason": "Hết món"}));
    let asks = (0..10).map(|turn| if turn % 2 == 0 { &one } else { &two }.post(&shop.token, &path, &part));
    let answers = join_all(asks).await;
    let (made, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status.as_u16() == 201);
    assert_eq!((made.len(), refused.len()), (3, 7));
    for answer in refused {
        let problem = answer.expect(422);
        assert_eq!(
            (text(&problem, "code"), &problem["refunded"]),
            ("refund-exceeds-payment".to_owned(), &dong(24_000))
        );
    }
    let view = made[0].json();
    assert_eq!(
        (&view["amount"], &view["payment_id"], &view["reason"]),
        (&dong(8_000), &first["id"], &json!("Hết món"))
    );
    let rest = json!({"amount": dong(6_000)});
    let key = "the-rest";
    let last = one.post_with_key(&shop.token, &path, &rest, key).await.expect(201);
    assert_eq!(two.post_with_key(&shop.token, &path, &rest, key).await.expect(201), last, "once per key");
    let other = json!({"amount": dong(5_000)});
    assert_eq!(one.post_with_key(&shop.token, &path, &other, key).await.code(), "idempotency-key-reused");
    assert_eq!(one.post(&shop.token, &path, &json!({"amount": dong(1)})).await.code(), "refund-exceeds-payment");
    assert_eq!(one.balance(&citizen).await, 70_000);
    let lines = one.get(&citizen, "/wallet/v1/transactions").await.expect(200);
    let line = &lines["items"][0];
    assert_eq!((&line["kind"], &line["direction"], &line["amount"]), (&json!("refund"), &json!("in"), &dong(6_000)));
    assert_eq!(line["counterparty"], json!("Bún bò Mệ Kéo"));
    assert_eq!(
        one.counted("payments_total", "refund-exceeds-payment")
            + two.counted("payments_total", "refund-exceeds-payment"),
        8
    );
    stage.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_merchant_refunds_and_limits_come_back() {
    let stage = Stage::new().await;
    let wallet = stage.start().await;
    let citizen = wallet.funded(&stage, 100_000).await;
    let shop = wallet.shop(&stage).await;
    let body = json!({"till_id": shop.till, "amount": dong(30_000)});
    let payment = wallet.post(&citizen, "/wallet/v1/payments", &body).await.expect(201);
    let used = async || {
        let view = wallet.get(&citizen, "/wallet/v1/wallet").await.expect(200);
        let lines = view["limits"].as_array().expect("a list").clone();
        let month = |line: &Value| line["class"] == "general" && line["period"] == "month";
        lines.into_iter().find(month).expect("a month's limit")["used"].clone()
    };
    assert_eq!(used().await, dong(30_000));
    let nobody = stage.token(stage.citizen(1).await);
    let part = json!({"amount": dong(10_000)});
    for stranger in [&citizen, &nobody] {
        assert_eq!(wallet.post(stranger, &path(&payment), &part).await.expect(404)["code"], "not-found");
    }
    let nowhere = format!("/wallet/v1/payments/{}/refunds", uuid::Uuid::now_v7());
    assert_eq!(wallet.post(&shop.token, &nowhere, &part).await.code(), "not-found");
    let dollars = json!({"amount": {"amount": "1.00", "currency": "USD"}});
    assert_eq!(wallet.post(&shop.token, &path(&payment), &dollars).await.code(), "currency-unsupported");
    wallet.post(&shop.token, &path(&payment), &part).await.expect(201);
    assert_eq!(used().await, dong(20_000), "the rule in force gives used limits back");
    assert_eq!(wallet.post(&shop.token, &path(&payment), &json!({})).await.code(), "refund-exceeds-payment");
    stage.audit().await;
}
