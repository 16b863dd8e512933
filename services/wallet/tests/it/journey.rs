//! The journey: a citizen tops up, scans a till's code and pays; both sides see it.

use serde_json::json;

use crate::stage::{Stage, dong, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_citizen_tops_up_and_pays_by_scanning() {
    let stage = Stage::new().await;
    let wallet = stage.start().await;
    let citizen = stage.token(stage.citizen(0).await);
    let shop = wallet.shop(&stage).await;
    assert_eq!(wallet.balance(&citizen).await, 0);

    let top_up = wallet.top_up(&citizen, sandbox::RICH_ACCOUNTS[0], 500_000).await;
    wallet.reaches(&citizen, &top_up, "completed").await;
    assert_eq!(wallet.balance(&citizen).await, 500_000);

    let code = wallet.get(&shop.token, &shop.path(&format!("/stores/{}/tills/{}/qr.txt", shop.store, shop.till))).await;
    let payload = String::from_utf8(code.bytes).expect("text");
    assert_eq!(payload, shop.payload);
    let decoded = wallet.post("", "/wallet/v1/qr/decode", &json!({"payload": payload})).await;
    // A token that is not one of ours does not matter where none is needed.
    let decoded = decoded.expect(200);
    assert_eq!(decoded["till_id"], shop.till.as_str());
    assert_eq!(decoded["merchant_name"], "Bun bo Me Keo");
    assert_eq!(decoded["vietqr"]["bank_code"], "VCB");

    let body = json!({"qr_payload": payload, "amount": dong(45_000), "note": "hai tô"});
    let paid = wallet.post_with_key(&citizen, "/wallet/v1/payments", &body, "lunch").await;
    let first = paid.expect(201);
    assert_eq!((first["state"].as_str(), &first["balance"]), (Some("completed"), &dong(455_000)));
    assert_eq!(first["merchant"]["name"], "Bún bò Mệ Kéo");
    let again = wallet.post_with_key(&citizen, "/wallet/v1/payments", &body, "lunch").await.expect(201);
    assert_eq!(again, first);
    let other = json!({"qr_payload": shop.payload, "amount": dong(46_000)});
    let reused = wallet.post_with_key(&citizen, "/wallet/v1/payments", &other, "lunch").await;
    assert_eq!((reused.status.as_u16(), reused.code().as_str()), (422, "idempotency-key-reused"));

    assert_eq!(wallet.balance(&citizen).await, 455_000);
    let history = wallet.get(&citizen, "/wallet/v1/transactions").await.expect(200);
    let lines: Vec<_> = history["items"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|line| (text(line, "kind"), text(line, "direction"), text(line, "counterparty")))
        .collect();
    let line = |kind: &str, direction: &str, name: &str| (kind.to_owned(), direction.to_owned(), name.to_owned());
    assert_eq!(lines, [line("payment", "out", "Bún bò Mệ Kéo"), line("top-up", "in", "Vietcombank")]);
    assert_eq!(history["items"][0]["balance"], dong(455_000));
    let one = wallet.get(&citizen, &format!("/wallet/v1/transactions/{}", text(&first, "id"))).await.expect(200);
    assert_eq!(one, history["items"][0]);

    let taken = wallet.get(&shop.token, &shop.path("/payments")).await.expect(200);
    assert_eq!((&taken["items"][0]["amount"], &taken["items"][0]["note"]), (&dong(45_000), &json!("hai tô")));
    for token in [&citizen, &shop.token] {
        let seen = wallet.get(token, &format!("/wallet/v1/payments/{}", text(&first, "id"))).await.expect(200);
        assert_eq!(seen["amount"], dong(45_000));
    }
    let metrics = wallet.context.metrics.encode();
    let sample = |start: &str| {
        metrics.lines().find(|line| line.starts_with(start)).and_then(|line| line.split_whitespace().last())
    };
    for (start, value) in [
        (r#"trangtien_wallet_payments_total{kind="payment",outcome="completed""#, "1"),
        (r#"trangtien_wallet_top_ups_total{state="completed""#, "1"),
        (r#"trangtien_wallet_money_moved_total{currency="VND",kind="payment""#, "45000"),
        (r#"trangtien_wallet_money_moved_total{currency="VND",kind="top_up""#, "500000"),
    ] {
        assert_eq!(sample(start), Some(value), "{start}");
    }
    assert_eq!(metrics.matches("trangtien_wallet_payments_total{").count(), 1, "a reused key is no payment");
    stage.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_transactions_join_without_gap() {
    let stage = Stage::new().await;
    let wallet = stage.start().await;
    let citizen = wallet.funded(&stage, 100_000).await;
    let shop = wallet.shop(&stage).await;
    for amount in 1..=7 {
        wallet
            .post(&citizen, "/wallet/v1/payments", &json!({"till_id": shop.till, "amount": dong(amount)}))
            .await
            .expect(201);
    }
    for (token, base, expected) in [
        (&citizen, "/wallet/v1/transactions".to_owned(), vec![7, 6, 5, 4, 3, 2, 1, 100_000]),
        (&shop.token, shop.path("/payments"), vec![7, 6, 5, 4, 3, 2, 1]),
    ] {
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = wallet.get(token, &format!("{base}?limit=3{cursor}")).await.expect(200);
            let amounts = page["items"]
                .as_array()
                .expect("a list")
                .iter()
                .map(|item| text(&item["amount"], "amount").parse::<i64>().expect("a number"));
            seen.extend(amounts);
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(seen, expected);
    }
    stage.audit().await;
}
