//! Fees of public services: issued by an agency's client, paid beside the bills, told to the agency.

use chrono::TimeDelta;
use http::StatusCode;
use ledger::receipt::{Proven, Receipt};
use prost::Message as _;
use proto::wallet::v1::FeeNoticeIssued;
use serde_json::json;

use crate::agency::{AGENCY, FEE, NOTICES, Scene, Trouble};
use crate::biller::{COST, amount, pay_path};
use crate::stage::{Replica, dong, eventually, text};
use crate::step_up::{invalid, post, refused};
use crate::totals::totals;

/// A scene with a wallet and a citizen who has money in it.
async fn opened() -> (Scene, Replica) {
    let scene = Scene::new().await;
    let wallet = scene.start().await;
    scene.fund(&wallet, 1_000_000).await;
    (scene, wallet)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fee_is_noticed_paid_with_one_touch_proved_and_told() {
    let (scene, wallet) = opened().await;
    scene.agency.trouble(Some(Trouble::Refuses), 1);
    let issued = scene.issue(&wallet, &scene.notice("H57-1")).await.expect(201);
    assert_eq!((&issued["state"], &issued["agency"], &issued["amount"]), (&json!("open"), &json!(AGENCY), &dong(FEE)));
    assert!(issued.get("payer").is_none() && !issued.to_string().contains(&scene.user.to_string()));
    let bill = wallet.bills(&scene.citizen()).await.remove(0);
    assert_eq!((&bill["id"], &bill["kind"], &bill["state"]), (&issued["id"], &json!("fee"), &json!("open")));
    assert_eq!(
        (&bill["biller_code"], &bill["biller_name"]),
        (&json!("agency:PVHCC"), &json!("Trung tâm Phục vụ hành chính công"))
    );
    assert!(text(&bill["details"], "procedure_name").len() > 5);
    let (kind, data) = scene.stage.events().await.remove(0);
    let told = FeeNoticeIssued::decode(data.as_slice()).expect("its form");
    assert_eq!((kind.as_str(), told.user_id), ("trangtien.wallet.v1.FeeNoticeIssued", scene.user.to_string()));
    assert_eq!(
        (told.agency_name_en.as_str(), told.procedure.as_str()),
        ("Public Administration Service Centre", "1.000005")
    );

    let id = wallet.pay_bill(&scene.citizen(), &bill).await;
    wallet.bill_reaches(&scene.citizen(), &id, "paid").await;
    assert_eq!(wallet.funds(&scene.citizen()).await, (1_000_000 - FEE, 1_000_000 - FEE));
    let payment = wallet.bill_payment(&scene.citizen(), &id).await;
    let transaction = text(&payment, "transaction_id");
    let line = wallet.get(&scene.citizen(), &format!("/wallet/v1/transactions/{transaction}")).await.expect(200);
    assert_eq!((&line["kind"], &line["counterparty"]), (&json!("fee"), &json!("Trung tâm Phục vụ hành chính công")));
    let receipt = wallet.get(&scene.citizen(), &format!("/wallet/v1/transactions/{transaction}/receipt")).await;
    let receipt = Receipt::from_json(&receipt.bytes).expect("in its one form");
    assert_eq!((receipt.prove(None), receipt.transfer.amount.minor()), (Ok(Proven::Block), FEE));

    // The agency refused the first message, and hears the same again.
    scene.stage.clock.advance(TimeDelta::minutes(10));
    eventually("the agency heard it twice", async || scene.agency.heard().len() >= 2).await;
    let heard = scene.agency.heard();
    assert_eq!(heard[0].proved_id(), heard[1].proved_id(), "one message");
    assert_eq!((heard[0].taken, heard[1].taken), (false, true));
    for heard in &heard {
        let said = heard.said();
        assert_eq!((&said["type"], &said["data"]["reference"]), (&json!("fee.paid"), &json!("H57-1")));
        assert_eq!((&said["data"]["transaction_id"], &said["data"]["amount"]), (&json!(transaction), &dong(FEE)));
        assert!(!said.to_string().contains(&scene.user.to_string()), "not who paid: {said}");
    }
    let seen = scene.seen(&wallet, &issued).await;
    assert_eq!((&seen["state"], &seen["transaction_id"]), (&json!("paid"), &json!(transaction)));
    assert_eq!(scene.withdraw(&wallet, &text(&issued, "id")).await.code(), "bill-paid");
    let row = |kind: &str, amount: i64| (kind.to_owned(), 1, amount);
    let books = totals(&wallet, "ioc", 0).await.expect("the operations centre may ask");
    assert_eq!(books, (2, vec![row("top-up", 1_000_000), row("fee", FEE)]), "a kind of its own");
    assert_eq!(wallet.counted("payments_total", "fee"), 1);
    assert_eq!(wallet.counted("payments_total", "bill"), 0);
    scene.stage.audit().await;
}

/// Each is proved as what it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_proof_for_a_bill_serves_no_fee_and_one_for_a_fee_no_bill() {
    let (scene, wallet) = opened().await;
    scene.fund(&wallet, 9_000_000).await;
    let (token, shop) = (scene.citizen(), wallet.shop(&scene.stage).await);
    let spent = json!({"till_id": shop.till, "amount": dong(4_950_000)});
    wallet.post(&token, "/wallet/v1/payments", &spent).await.expect(201);
    scene.issue(&wallet, &scene.notice("H57-9")).await.expect(201);
    let fee = wallet.bills(&token).await.remove(0);
    let bill = wallet.bill(&scene.stage, &token).await;
    for (what, kind, other) in [(&fee, "fee", "bill"), (&bill, "bill", "fee")] {
        let (path, body) = (pay_path(what), json!({"amount": what["amount"]}));
        let ask = async |proof: Option<&str>| post(&wallet, &token, &path, &body, (kind, proof)).await;
        let asked = ask(None).await.expect(403);
        let transaction = json!({"kind": kind, "payee": what["id"], "amount": what["amount"], "nonce": kind});
        assert_eq!((&asked["code"], &asked["transaction"]), (&json!("step-up-required"), &transaction));
        let mut wrong = transaction.clone();
        wrong["kind"] = json!(other);
        assert_eq!(refused(&ask(Some(&scene.proof(&wrong))).await), invalid("other-transaction"), "{kind}");
        let accepted = ask(Some(&scene.proof(&transaction))).await.expect(202);
        let id = text(&accepted, "id");
        wallet.bill_reaches(&token, &id, "paid").await;
        let recorded = format!("wallet.proof WHERE kind = '{kind}' AND reference = '{id}'");
        assert_eq!(scene.stage.count(&recorded).await, 1);
    }
    let unseen = format!("/wallet/v1/bills/{}/payments", uuid::Uuid::now_v7());
    let huge = json!({"amount": dong(900_000_000)});
    assert_eq!(post(&wallet, &token, &unseen, &huge, ("unseen", None)).await.code(), "not-found");
    scene.stage.audit().await;
}

/// Fees that were paid before they had a kind are booked as bills: nothing of them changes, and everything of them can be read.
#[tokio::test(flavor = "multi_thread")]
async fn a_fee_that_was_booked_as_a_bill_stays_one() {
    let (scene, wallet) = opened().await;
    let bill = wallet.bill(&scene.stage, &scene.citizen()).await;
    let id = wallet.pay_bill(&scene.citizen(), &bill).await;
    wallet.bill_reaches(&scene.citizen(), &id, "paid").await;
    // Such a row: the payment says fee, its transfer says bill.
    let changed = sqlx::query("UPDATE wallet.bill_payment SET kind = 'fee'").execute(&scene.stage.admin()).await;
    assert_eq!(changed.expect("a row").rows_affected(), 1);
    let listed = wallet.get(&scene.citizen(), "/wallet/v1/transactions").await.expect(200);
    assert_eq!(listed["items"][0]["kind"], "bill");
    let books = totals(&wallet, "ioc", 0).await.expect("the operations centre may ask");
    assert_eq!(books.1.last(), Some(&("bill".to_owned(), 1, COST)));
    scene.stage.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_reference_is_one_notice() {
    let (scene, wallet) = opened().await;
    let body = scene.notice("H57-2");
    let first = scene.issue(&wallet, &body).await.expect(201);
    assert_eq!(scene.issue(&wallet, &body).await.expect(201), first, "another key, the same notice");
    let mut other = body.clone();
    other["due_on"] = json!((scene.stage.clock.now() + TimeDelta::days(11)).date_naive());
    assert_eq!(scene.issue(&wallet, &other).await.code(), "fee-reference-used");
    let both =
        futures::future::join_all((0..6).map(|_| async { scene.issue(&wallet, &scene.notice("H57-3")).await })).await;
    let ids: std::collections::HashSet<String> = both.iter().map(|answer| text(&answer.expect(201), "id")).collect();
    assert_eq!((ids.len(), scene.stage.count("wallet.fee_notice").await), (1, 2));
    let token = scene.clerk();
    let listed = wallet.get(&token, &format!("{NOTICES}?reference=H57-2")).await.expect(200);
    assert_eq!(listed["items"], json!([first]));
    let page = wallet.get(&token, &format!("{NOTICES}?limit=1")).await.expect(200);
    assert!(page["items"][0]["reference"] == "H57-3" && page["next_cursor"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_that_is_taken_back_is_not_paid() {
    let (scene, wallet) = opened().await;
    let issued = scene.issue(&wallet, &scene.notice("H57-4")).await.expect(201);
    let bill = wallet.bills(&scene.citizen()).await.remove(0);
    for _ in 0..2 {
        assert_eq!(scene.withdraw(&wallet, &text(&issued, "id")).await.status, StatusCode::NO_CONTENT);
    }
    let refused = wallet.post(&scene.citizen(), &pay_path(&bill), &json!({"amount": bill["amount"]})).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (409, "bill-closed".to_owned()));
    let open = wallet.get(&scene.citizen(), "/wallet/v1/bills?state=open").await.expect(200);
    assert_eq!(open["items"], json!([]));
    assert_eq!(scene.seen(&wallet, &issued).await["state"], "cancelled");
    assert_eq!(wallet.funds(&scene.citizen()).await, (1_000_000, 1_000_000));
    assert_eq!(scene.agency.heard().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_and_what_is_wrong_is_refused() {
    let (scene, wallet) = opened().await;
    let body = scene.notice("H57-5");
    for token in [
        scene.citizen(),
        scene.client(Some(AGENCY), "tokens:introspect"),
        scene.client(None, "fees:write"),
        scene.client(Some("NOBODY"), "fees:write"),
    ] {
        assert_eq!(wallet.post(&token, NOTICES, &body).await.status, StatusCode::FORBIDDEN);
    }
    let client = scene.clerk();
    assert_eq!(wallet.get(&client, "/wallet/v1/bills").await.status, StatusCode::FORBIDDEN, "no citizen");
    for (field, value, code) in [
        ("procedure", json!("9.999999"), "procedure-unknown"),
        ("amount", dong(FEE + 1), "fee-not-listed"),
        ("channel", json!("counter"), "fee-not-listed"),
        ("due_on", json!("2020-01-01"), "fee-due-day"),
        ("payer", json!({"phone": "+84999999999"}), "payer-unknown"),
        ("reference", json!(""), "invalid-body"),
    ] {
        let mut wrong = body.clone();
        wrong[field] = value;
        let refused = scene.issue(&wallet, &wrong).await;
        assert_eq!((refused.status.as_u16(), refused.code()), (422, code.to_owned()), "{field}");
    }
    let issued = scene.issue(&wallet, &body).await.expect(201);
    let other = scene.client(Some("CVCX"), "fees:write");
    let place = format!("{NOTICES}/{}", text(&issued, "id"));
    assert_eq!(wallet.get(&other, &place).await.status, StatusCode::NOT_FOUND, "another agency's");
    assert_eq!(wallet.get(&other, NOTICES).await.expect(200)["items"], json!([]));
    let stranger = scene.stage.token(scene.stage.citizen(1).await);
    assert!(wallet.bills(&stranger).await.is_empty());
    let bill = wallet.bills(&scene.citizen()).await.remove(0);
    let theirs = wallet.post(&stranger, &pay_path(&bill), &json!({"amount": bill["amount"]})).await;
    assert_eq!(theirs.status, StatusCode::NOT_FOUND, "another citizen's");
    assert_eq!(amount(&bill["amount"]), FEE);
}
