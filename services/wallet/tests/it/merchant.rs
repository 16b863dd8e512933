//! Merchants, stores, tills and their codes; and that another citizen's do not exist.

use serde_json::json;
use uuid::Uuid;

use crate::stage::{Stage, dong, eventually, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_merchant_is_made_once_per_key() {
    let stage = Stage::new().await;
    let wallet = stage.start().await;
    let owner = stage.token(stage.citizen(0).await);
    let body = json!({"name": "  Cà phê Vĩ Dạ ", "city": "Huế", "category": "5812"});
    let answers =
        futures::future::join_all((0..6).map(|_| wallet.post_with_key(&owner, "/wallet/v1/merchants", &body, "shop")))
            .await;
    let first = answers[0].expect(201);
    assert!(answers.iter().all(|answer| answer.expect(201) == first));
    assert_eq!((text(&first, "name"), text(&first, "city")), ("Cà phê Vĩ Dạ".to_owned(), "Huế".to_owned()));
    let account = text(&first["virtual_account"], "account");
    assert!(account.starts_with("TT") && account.len() == 13, "{account}");
    let listed = wallet.get(&owner, "/wallet/v1/merchants").await.expect(200);
    assert_eq!(listed["items"], json!([first]));
    assert_eq!(wallet.get(&owner, &format!("/wallet/v1/merchants/{}", text(&first, "id"))).await.expect(200), first);
    let named = wallet.post(&owner, "/wallet/v1/merchants", &json!({"name": "☕"})).await;
    assert_eq!(named.code(), "name-unprintable");
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_no_more_than_there_may_be_however_many_are_made_at_once() {
    let stage = Stage::new().await;
    let wallet = stage.start().await;
    let owner = stage.token(stage.citizen(0).await);
    let body = json!({"name": "Chè Hẻm"});
    let made = futures::future::join_all((0..60).map(|_| wallet.post(&owner, "/wallet/v1/merchants", &body))).await;
    let (made, refused): (Vec<_>, Vec<_>) = made.iter().partition(|answer| answer.status == 201);
    assert_eq!((made.len(), refused.len()), (50, 10));
    assert!(refused.iter().all(|answer| (answer.status.as_u16(), answer.code().as_str()) == (422, "too-many")));
    let stores = format!("/wallet/v1/merchants/{}/stores", text(&made[0].json(), "id"));
    let store = wallet.post(&owner, &stores, &json!({"name": "Huế"})).await.expect(201);
    let tills = format!("{stores}/{}/tills", text(&store, "id"));
    let made = (0..210).map(|_| wallet.post(&owner, &tills, &body));
    let made = futures::future::join_all(made).await;
    assert_eq!(made.iter().filter(|answer| answer.status == 201).count(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_till_has_its_code_in_three_forms() {
    let stage = Stage::new().await;
    let wallet = stage.start().await;
    let shop = wallet.shop(&stage).await;
    let tills = shop.path(&format!("/stores/{}/tills", shop.store));
    let till = wallet.get(&shop.token, &format!("{tills}/{}", shop.till)).await.expect(200);
    let svg = wallet.get(&shop.token, &text(&till["qr"], "svg")).await;
    assert_eq!(svg.headers["content-type"], "image/svg+xml");
    assert!(String::from_utf8_lossy(&svg.bytes).contains("<svg"));
    let png = wallet.get(&shop.token, &text(&till["qr"], "png")).await;
    assert_eq!(
        (&png.headers["content-type"], &png.bytes[1..4]),
        (&http::HeaderValue::from_static("image/png"), &b"PNG"[..])
    );
    let txt = wallet.get(&shop.token, &text(&till["qr"], "txt")).await;
    assert_eq!(txt.bytes, shop.payload.as_bytes());
    assert_eq!(wallet.get(&shop.token, &tills).await.expect(200)["items"], json!([till]));
    let stores = wallet.get(&shop.token, &shop.path("/stores")).await.expect(200);
    assert_eq!(stores["items"][0]["id"], shop.store.as_str());
    let code = wallet::qr::decode(&shop.payload).expect("our own code");
    assert_eq!(code.till().map(|till| till.to_string()), Some(shop.till.clone()));
    let vietqr = code.vietqr().expect("bank apps can pay it");
    assert_eq!((vietqr.bin.as_str(), code.category.as_deref()), ("970436", Some("5814")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_another_citizens_does_not_exist() {
    let stage = Stage::new().await;
    let wallet = stage.start().await;
    let shop = wallet.shop(&stage).await;
    let citizen = wallet.funded(&stage, 50_000).await;
    let paid = wallet
        .post(&citizen, "/wallet/v1/payments", &json!({"till_id": shop.till, "amount": dong(1_000)}))
        .await
        .expect(201);
    let top_up = wallet.top_up(&citizen, sandbox::RICH_ACCOUNTS[0], 1_000).await;
    let stranger = stage.token(stage.citizen(2).await);
    let own = wallet.shop(&stage).await;
    let paths = [
        shop.path(""),
        shop.path("/stores"),
        shop.path("/payments"),
        shop.path("/stream"),
        shop.path(&format!("/stores/{}/tills", shop.store)),
        shop.path(&format!("/stores/{}/tills/{}", shop.store, shop.till)),
        shop.path(&format!("/stores/{}/tills/{}/qr.svg", shop.store, shop.till)),
        shop.path(&format!("/stores/{}/tills/{}/qr.png", shop.store, shop.till)),
        shop.path(&format!("/stores/{}/tills/{}/qr.txt", shop.store, shop.till)),
        format!("/wallet/v1/payments/{}", text(&paid, "id")),
        format!("/wallet/v1/transactions/{}", text(&paid, "id")),
        format!("/wallet/v1/top-ups/{top_up}"),
        // Ids of two merchants mixed.
        own.path(&format!("/stores/{}/tills", shop.store)),
        own.path(&format!("/stores/{}/tills/{}", own.store, shop.till)),
    ];
    for path in &paths {
        let token = if path.starts_with(&own.path("")) { &own.token } else { &stranger };
        let answer = wallet.get(token, path).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (404, "not-found"), "{path}");
    }
    for path in [shop.path("/stores"), shop.path(&format!("/stores/{}/tills", shop.store))] {
        let answer = wallet.post(&stranger, &path, &json!({"name": "Mine"})).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (404, "not-found"), "{path}");
    }
    for path in ["/wallet/v1/merchants", "/wallet/v1/transactions"] {
        assert_eq!(wallet.get(&stranger, path).await.expect(200)["items"], json!([]), "{path}");
    }
    let missing = Uuid::now_v7();
    for path in [
        format!("/wallet/v1/merchants/{missing}"),
        format!("/wallet/v1/payments/{missing}"),
        "/wallet/v1/merchants/x".to_owned(),
    ] {
        assert_eq!(wallet.get(&stranger, &path).await.code(), "not-found", "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_to_old_keys_are_removed() {
    let stage = Stage::new().await;
    let wallet = stage.start().await;
    wallet.shop(&stage).await;
    let old = "UPDATE wallet.idempotency_key SET claimed_at = $1 WHERE operation <> 'merchant.create'";
    let at = stage.clock.now() - chrono::TimeDelta::days(8);
    let changed = sqlx::query(old).bind(at).execute(&stage.admin()).await.expect("a statement");
    assert_eq!(changed.rows_affected(), 2);
    let _other = stage.replica("two").await;
    eventually("old keys are gone", async || stage.count("wallet.idempotency_key").await == 1).await;
}
