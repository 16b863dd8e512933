//! What an owner does with a shop before they leave, and what is left of somebody who has left.

use futures::future::join_all;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::closing::{CLOSE, ERASE, Leaver, Scene, owner};
use crate::stage::{Replica, dong, eventually, text};

const PAY: &str = "/wallet/v1/payments";

/// Pays the shop with a note.
async fn pay(scene: &Scene, wallet: &Replica, user: Uuid, (amount, note): (i64, &str)) -> Value {
    let order = json!({"till_id": scene.shop.till, "amount": dong(amount), "note": note});
    wallet.post(&scene.stage.token(user), PAY, &order).await.expect(201)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shop_that_is_closed_pays_out_its_owner_and_takes_nothing_more() {
    let scene = Scene::new().await;
    let wallet = scene.replica("one").await;
    let user = wallet.rich(&scene.stage, 90_000).await;
    let paid = pay(&scene, &wallet, user, (60_000, "Hai tô")).await;
    let shop = scene.stage.token(owner(&scene).await);
    assert_eq!(wallet.delete(&scene.stage.token(user), &scene.shop.path("")).await.code(), "not-found");
    assert_eq!(wallet.get(&shop, &scene.shop.path("")).await.expect(200)["closed_at"], Value::Null);
    for _ in 0..2 {
        assert_eq!(wallet.delete(&shop, &scene.shop.path("")).await.status, 204);
    }
    assert_eq!(wallet.balance(&shop).await, 60_000);
    assert!(wallet.get(&shop, &scene.shop.path("")).await.expect(200)["closed_at"].is_string());
    let lines = wallet.get(&shop, "/wallet/v1/transactions").await.expect(200);
    let line = &lines["items"][0];
    assert_eq!((&line["kind"], &line["direction"], &line["amount"]), (&json!("payout"), &json!("in"), &dong(60_000)));
    assert_eq!(line["counterparty"], json!("Bún bò Mệ Kéo"));
    wallet.get(&shop, &format!("/wallet/v1/transactions/{}/receipt", text(line, "id"))).await.expect(200);
    let order = json!({"till_id": scene.shop.till, "amount": dong(1_000)});
    assert_eq!(wallet.post(&scene.stage.token(user), PAY, &order).await.code(), "account-closed");
    let refunds = format!("{PAY}/{}/refunds", text(&paid, "id"));
    assert_eq!(wallet.post(&shop, &refunds, &json!({})).await.code(), "account-closed");
    let store = wallet.post(&shop, &scene.shop.path("/stores"), &json!({"name": "Mới"})).await;
    assert_eq!(store.code(), "account-closed");
    scene.stage.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn payments_that_come_while_a_shop_is_closed_are_refused_or_reach_its_owner() {
    let scene = Scene::new().await;
    let wallets = [scene.replica("one").await, scene.replica("two").await];
    let payers = join_all((0..6).map(|_| wallets[0].rich(&scene.stage, 50_000))).await;
    let shop = scene.stage.token(owner(&scene).await);
    let order = json!({"till_id": scene.shop.till, "amount": dong(7_000)});
    let payments = payers.iter().enumerate().map(|(turn, user)| {
        let (wallet, token, order) = (&wallets[turn % 2], scene.stage.token(*user), &order);
        async move {
            let mut paid = 0;
            for _ in 0..5 {
                let answer = wallet.post(&token, PAY, order).await;
                match answer.status.as_u16() {
                    201 => paid += 7_000,
                    _ => assert_eq!(answer.code(), "account-closed"),
                }
            }
            paid
        }
    });
    let closed = async {
        let all = wallets.iter().map(|wallet| async {
            // The busiest shop is asked to try again.
            eventually("the shop is closed", async || {
                let answer = wallet.delete(&shop, &scene.shop.path("")).await;
                assert!(answer.status == 204 || answer.code() == "merchant-busy", "{answer:?}");
                answer.status == 204
            })
            .await;
        });
        join_all(all).await;
    };
    let (paid, ()) = tokio::join!(join_all(payments), closed);
    assert_eq!(wallets[0].balance(&shop).await, paid.iter().sum::<i64>(), "no đồng is lost");
    assert_eq!(scene.stage.count("wallet.merchant WHERE closed_at IS NOT NULL").await, 1);
    scene.stage.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn words_go_with_who_wrote_them_and_money_stays() {
    let scene = Scene::new().await;
    let wallet = scene.replica("one").await;
    let user = wallet.rich(&scene.stage, 90_000).await;
    let paid = pay(&scene, &wallet, user, (50_000, "Cho mẹ Hương")).await;
    let other = wallet.rich(&scene.stage, 10_000).await;
    pay(&scene, &wallet, other, (10_000, "Của người khác")).await;
    let (keeper, shop) = (owner(&scene).await, scene.stage.token(owner(&scene).await));
    let refunds = format!("{PAY}/{}/refunds", text(&paid, "id"));
    wallet.post(&shop, &refunds, &json!({"amount": dong(1_000), "reason": "Thối lại chị Hương"})).await.expect(201);
    pay(&scene, &wallet, user, (41_000, "Hết tiền")).await;

    let leaver = Leaver::new(user);
    scene.ask(CLOSE, leaver).await;
    scene.done(leaver, CLOSE).await;
    assert_eq!(scene.office.last(leaver.closing), Vec::<String>::new());
    scene.ask(ERASE, leaver).await;
    scene.done(leaver, ERASE).await;
    let notes = "wallet.payment WHERE note_sealed IS NOT NULL";
    assert_eq!(scene.stage.count(notes).await, 1, "those of others stay");
    assert_eq!(scene.stage.count("wallet.refund WHERE reason_sealed IS NOT NULL").await, 1, "the shop's own word");

    // The shop's owner leaves, too, once the shop is closed and its money is spent elsewhere.
    let refused = Leaver::new(keeper);
    scene.ask(CLOSE, refused).await;
    scene.done(refused, CLOSE).await;
    assert_eq!(scene.office.last(refused.closing), ["has-merchants"]);
    assert_eq!(wallet.delete(&scene.stage.token(keeper), &scene.shop.path("")).await.status, 204);
    let elsewhere = wallet.shop(&scene.stage).await;
    let all = wallet.balance(&scene.stage.token(keeper)).await;
    let order = json!({"till_id": elsewhere.till, "amount": dong(all)});
    wallet.post(&scene.stage.token(keeper), PAY, &order).await.expect(201);
    let leaver = Leaver::new(keeper);
    scene.ask(CLOSE, leaver).await;
    scene.done(leaver, CLOSE).await;
    assert_eq!(scene.office.last(leaver.closing), Vec::<String>::new());
    scene.ask(ERASE, leaver).await;
    scene.done(leaver, ERASE).await;
    assert_eq!(scene.stage.count("wallet.refund WHERE reason_sealed IS NOT NULL").await, 0);
    let named = format!("wallet.merchant WHERE owner_user_id = '{keeper}' AND name LIKE '%Mệ Kéo%'");
    assert_eq!(scene.stage.count(&named).await, 0);
    assert_eq!(scene.stage.count("wallet.store WHERE name = 'Bạch Đằng'").await, 1, "the other shop's");
    for changed in ["note = 'x'", "note_sealed = 'x'", "amount = 1", "note = NULL, note_sealed = 'x'"] {
        let sql = format!("UPDATE wallet.payment SET {changed}");
        assert!(sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&scene.stage.admin()).await.is_err(), "{changed}");
    }
    scene.stage.audit().await;
}
