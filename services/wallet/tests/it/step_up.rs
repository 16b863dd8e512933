//! Proofs for one transaction: what they let through, that they serve for nothing else, and only once.

use axum::body::Body;
use chrono::TimeDelta;
use futures::future::join_all;
use http::Request;
use platform::auth::{LocalIssuer, STEP_UP, Statement, StatementKind};
use platform::job::{self, NewJob};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::biller::pay_path;
use crate::stage::{Answer, BANK, Replica, Shop, Stage, dong, text};

const PAY: &str = "/wallet/v1/payments";
const RICH: &str = sandbox::RICH_ACCOUNTS[0];

/// A citizen with 20 million đồng, a merchant, and a payment that needs a proof.
struct Scene {
    stage: Stage,
    wallet: Replica,
    shop: Shop,
    user: Uuid,
    token: String,
    key: String,
}

impl Scene {
    async fn new() -> Self {
        let stage = Stage::new().await;
        let wallet = stage.start().await;
        let shop = wallet.shop(&stage).await;
        let user = stage.citizen(1).await;
        let token = stage.token(user);
        for _ in 0..2 {
            let id = wallet.top_up(&token, RICH, 10_000_000).await;
            wallet.reaches(&token, &id, "completed").await;
        }
        Self { stage, wallet, shop, user, token, key: Uuid::now_v7().to_string() }
    }

    fn order(&self) -> Value {
        json!({"till_id": self.shop.till, "amount": dong(6_000_000)})
    }

    fn transaction(&self) -> Value {
        json!({"kind": "payment", "payee": self.shop.till, "amount": dong(6_000_000), "nonce": self.key})
    }

    fn proof(&self, level: &str, transaction: &Value) -> String {
        let says = json!({"level": level, "transaction": transaction});
        self.stage.issuer.statement(STEP_UP, (self.user, self.user), says)
    }

    async fn pay(&self, wallet: &Replica, proof: Option<&str>) -> Answer {
        post(wallet, &self.token, PAY, &self.order(), (&self.key, proof)).await
    }

    async fn balance(&self) -> i64 {
        self.wallet.balance(&self.token).await
    }
}

pub(crate) async fn post(
    wallet: &Replica,
    token: &str,
    path: &str,
    body: &Value,
    (key, proof): (&str, Option<&str>),
) -> Answer {
    let mut request = Request::post(path)
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .header("accept-language", "en")
        .header("idempotency-key", key);
    if let Some(proof) = proof {
        request = request.header("step-up-token", proof);
    }
    wallet.call(request.body(Body::from(body.to_string())).expect("a request")).await
}

pub(crate) fn refused(answer: &Answer) -> (u16, String, Value) {
    (answer.status.as_u16(), answer.code(), answer.json()["reason"].clone())
}

pub(crate) fn invalid(reason: &str) -> (u16, String, Value) {
    (403, "step-up-invalid".to_owned(), json!(reason))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_needs_a_proof_is_made_with_the_one_that_it_asks_for() {
    let scene = Scene::new().await;
    let asked = scene.pay(&scene.wallet, None).await;
    assert_eq!((asked.status.as_u16(), asked.code().as_str()), (403, "step-up-required"));
    let asked = asked.json();
    assert_eq!((&asked["proof"], &asked["threshold"]), (&json!("pin"), &dong(5_000_000)));
    assert_eq!(asked["transaction"], scene.transaction(), "what the citizen proves, as identity takes it");
    let proof = scene.proof("pin", &asked["transaction"]);
    let paid = scene.pay(&scene.wallet, Some(&proof)).await.expect(201);
    assert_eq!(scene.balance().await, 14_000_000);
    assert_eq!(scene.pay(&scene.wallet, None).await.expect(201), paid, "it is answered: no proof is asked for again");
    scene.stage.clock.advance(TimeDelta::minutes(4));
    assert_eq!(scene.pay(&scene.wallet, Some(&proof)).await.expect(201), paid, "nor looked at");
    let recorded =
        format!("wallet.proof WHERE reference = '{}' AND level = 'pin' AND kind = 'payment'", text(&paid, "id"));
    assert_eq!((scene.stage.count(&recorded).await, scene.stage.count("wallet.proof").await), (1, 1));
    scene.stage.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_for_one_payment_never_serves_another() {
    let scene = Scene::new().await;
    for (field, value) in [
        ("kind", json!("bill")),
        ("payee", json!(Uuid::now_v7())),
        ("amount", dong(6_000_001)),
        ("amount", json!({"amount": "6000000", "currency": "USD"})),
        ("nonce", json!("another")),
    ] {
        let mut other = scene.transaction();
        other[field] = value.clone();
        let answer = scene.pay(&scene.wallet, Some(&scene.proof("signature", &other))).await;
        assert_eq!(refused(&answer), invalid("other-transaction"), "{field} {value}");
    }
    assert_eq!((scene.balance().await, scene.stage.count("wallet.proof").await), (20_000_000, 0));
    // None of it spoilt the key.
    let proof = scene.proof("pin", &scene.transaction());
    scene.pay(&scene.wallet, Some(&proof)).await.expect(201);
    scene.stage.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_living_proof_of_this_citizen_is_refused() {
    let scene = Scene::new().await;
    let (stage, says) = (&scene.stage, json!({"level": "pin", "transaction": scene.transaction()}));
    let whose = (scene.user, scene.user);
    let stranger = LocalIssuer::new(stage.clock.clone());
    let mut eternal = Statement::new(STEP_UP, "http://localhost:8080", whose, says.clone(), stage.clock.now());
    eternal.exp += 3_600;
    let other_kind = StatementKind { typ: "at+jwt", ..STEP_UP };
    let other_audience = StatementKind { audience: "trangtien", ..STEP_UP };
    let bad = [
        ("another citizen's", stage.issuer.statement(STEP_UP, (Uuid::now_v7(), scene.user), &says)),
        ("of another session", stage.issuer.statement(STEP_UP, (scene.user, Uuid::now_v7()), &says)),
        ("forged", stranger.statement(STEP_UP, whose, &says)),
        ("of another type", stage.issuer.statement(other_kind, whose, &says)),
        ("for another audience", stage.issuer.statement(other_audience, whose, &says)),
        ("eternal", stage.issuer.sign(STEP_UP.typ, &eternal)),
        ("of an unknown level", scene.proof("oath", &scene.transaction())),
        ("an access token", scene.token.clone()),
        ("no token", "x".to_owned()),
    ];
    for (what, proof) in bad {
        assert_eq!(refused(&scene.pay(&scene.wallet, Some(&proof)).await), invalid("invalid"), "{what}");
    }
    let proof = scene.proof("pin", &scene.transaction());
    stage.clock.advance(TimeDelta::seconds(186));
    assert_eq!(refused(&scene.pay(&scene.wallet, Some(&proof)).await), invalid("expired"));
    // Also where none is needed.
    let small = json!({"till_id": scene.shop.till, "amount": dong(1_000)});
    assert_eq!(
        refused(&post(&scene.wallet, &scene.token, PAY, &small, ("small", Some(&proof))).await),
        invalid("expired")
    );
    assert_eq!(scene.balance().await, 20_000_000);
    stage.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_moves_money_once_whichever_replica_gets_it() {
    let scene = Scene::new().await;
    let other = scene.stage.replica("two").await;
    let proof = scene.proof("pin", &scene.transaction());
    let asks = (0..16).map(|turn| {
        let (scene, proof) = (&scene, proof.as_str());
        let replica = if turn % 2 == 0 { &scene.wallet } else { &other };
        let key = if turn % 4 < 2 { scene.key.clone() } else { format!("other-{turn}") };
        async move { (turn % 4 < 2, post(replica, &scene.token, PAY, &scene.order(), (&key, Some(proof))).await) }
    });
    for (own, answer) in join_all(asks).await {
        if own {
            answer.expect(201);
        } else {
            assert_eq!(refused(&answer), invalid("other-transaction"));
        }
    }
    assert_eq!((scene.balance().await, scene.stage.count("wallet.proof").await), (14_000_000, 1));
    scene.stage.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_that_is_recorded_already_moves_nothing() {
    let scene = Scene::new().await;
    let says = json!({"level": "pin", "transaction": scene.transaction()});
    let statement =
        Statement::new(STEP_UP, "http://localhost:8080", (scene.user, scene.user), says, scene.stage.clock.now());
    let proof = scene.stage.issuer.sign(STEP_UP.typ, &statement);
    sqlx::query("INSERT INTO wallet.proof (id, user_id, kind, level, reference, used_at) VALUES ($1, $2, 'payment', 'pin', $1, now())")
        .bind(statement.jti)
        .bind(scene.user)
        .execute(&scene.stage.admin())
        .await
        .expect("a row");
    assert_eq!(scene.pay(&scene.wallet, Some(&proof)).await.status.as_u16(), 500, "the books contradict it");
    assert_eq!(scene.balance().await, 20_000_000);
    let changed = sqlx::query("DELETE FROM wallet.proof").execute(&scene.stage.admin()).await;
    assert!(changed.is_err(), "what was used stays used");
    scene.stage.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_top_up_asks_for_the_proof_of_its_own_ladder() {
    let mut scene = Scene::new().await;
    let (key, body) = ("top-up", json!({"bank_code": BANK, "account": RICH, "amount": dong(12_000_000)}));
    // A day has 20 million without a proof, and they were asked for: so the next day.
    scene.stage.clock.advance(TimeDelta::days(1));
    scene.token = scene.stage.token(scene.user);
    let ask =
        async |proof: Option<&str>| post(&scene.wallet, &scene.token, "/wallet/v1/top-ups", &body, (key, proof)).await;
    let asked = ask(None).await.expect(403);
    assert_eq!((&asked["code"], &asked["proof"]), (&json!("step-up-required"), &json!("biometric")));
    let payee = format!("{BANK}:{RICH}");
    assert_eq!(
        asked["transaction"],
        json!({"kind": "top-up", "payee": payee, "amount": dong(12_000_000), "nonce": key})
    );
    let weak = ask(Some(&scene.proof("pin", &asked["transaction"]))).await;
    assert_eq!((weak.status.as_u16(), weak.code().as_str()), (403, "step-up-required"));
    let proof = scene.proof("biometric", &asked["transaction"]);
    let accepted = ask(Some(&proof)).await.expect(202);
    assert_eq!(ask(None).await.expect(202), accepted);
    scene.wallet.reaches(&scene.token, &text(&accepted, "id"), "completed").await;
    assert_eq!(scene.balance().await, 32_000_000);
    assert_eq!(scene.stage.count("wallet.proof WHERE kind = 'top-up' AND level = 'biometric'").await, 1);
    scene.stage.audit().await;
}

/// What a day comes to is known in the ledger only: a bill that stopped there goes on under its key once it is proved.
#[tokio::test(flavor = "multi_thread")]
async fn a_bill_that_stopped_for_a_proof_goes_on_with_it() {
    let scene = Scene::new().await;
    let (wallet, token) = (&scene.wallet, &scene.token);
    wallet.post(token, PAY, &json!({"till_id": scene.shop.till, "amount": dong(4_900_000)})).await.expect(201);
    let bill = wallet.bill(&scene.stage, token).await;
    let (path, body) = (pay_path(&bill), json!({"amount": bill["amount"]}));
    let ask = async |key: &str, proof: Option<&str>| post(wallet, token, &path, &body, (key, proof)).await;
    let asked = ask("bill", None).await.expect(403);
    let transaction = json!({"kind": "bill", "payee": bill["id"], "amount": bill["amount"], "nonce": "bill"});
    assert_eq!((&asked["proof"], &asked["transaction"]), (&json!("pin"), &transaction));
    assert_eq!(ask("bill", None).await.expect(403)["transaction"], transaction, "the same again");
    assert_eq!(wallet.bills(token).await[0]["state"], "open", "meanwhile it is nobody's");
    let mut other = transaction.clone();
    other["payee"] = json!(Uuid::now_v7());
    assert_eq!(refused(&ask("bill", Some(&scene.proof("pin", &other))).await), invalid("other-transaction"));
    let proof = scene.proof("pin", &transaction);
    let answers = join_all((0..6).map(|_| ask("bill", Some(&proof)))).await;
    let accepted = answers[0].expect(202);
    assert!(answers.iter().all(|answer| answer.expect(202) == accepted));
    let id = text(&accepted, "id");
    wallet.bill_reaches(token, &id, "paid").await;
    assert_eq!(ask("bill", None).await.expect(202), accepted);
    assert_eq!(scene.stage.count(&format!("wallet.proof WHERE kind = 'bill' AND reference = '{id}'")).await, 1);
    assert_eq!(scene.stage.biller.decided().await.len(), 1);
    scene.stage.audit().await;
}

/// Between question and proof the biller may ask for another amount, or for nothing any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_bill_that_stopped_for_a_proof_is_looked_at_again() {
    let scene = Scene::new().await;
    let (wallet, token) = (&scene.wallet, &scene.token);
    wallet.post(token, PAY, &json!({"till_id": scene.shop.till, "amount": dong(4_900_000)})).await.expect(201);
    let bill = wallet.bill(&scene.stage, token).await;
    let (path, body) = (pay_path(&bill), json!({"amount": bill["amount"]}));
    let asked = post(wallet, token, &path, &body, ("bill", None)).await.expect(403);
    let proof = scene.proof("pin", &asked["transaction"]);
    for (change, back, code) in [
        ("amount = amount + 1", "amount = amount - 1", "bill-amount-changed"),
        ("status = 'closed'", "status = 'open'", "bill-closed"),
    ] {
        let set = async |what: &str| {
            let sql = format!("UPDATE wallet.bill SET {what}");
            sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&scene.stage.admin()).await.expect("changed");
        };
        set(change).await;
        assert_eq!(post(wallet, token, &path, &body, ("bill", Some(&proof))).await.code(), code);
        set(back).await;
    }
    let paid = post(wallet, token, &path, &body, ("bill", Some(&proof))).await.expect(202);
    wallet.bill_reaches(token, &text(&paid, "id"), "paid").await;
    scene.stage.audit().await;
}

/// The process dies after the proof was saved with the intent: another goes on with it, though the token is long over.
#[tokio::test(flavor = "multi_thread")]
async fn a_proof_that_was_saved_holds_after_a_crash() {
    let scene = Scene::new().await;
    let (wallet, token) = (&scene.wallet, &scene.token);
    wallet.post(token, PAY, &json!({"till_id": scene.shop.till, "amount": dong(4_900_000)})).await.expect(201);
    let bill = wallet.bill(&scene.stage, token).await;
    let body = json!({"amount": bill["amount"]});
    assert_eq!(post(wallet, token, &pay_path(&bill), &body, ("bill", None)).await.status, 403);
    let proof = Uuid::now_v7();
    // What the dead process had committed: the intent with its proof, and the job.
    let mut tx = scene.stage.admin().begin().await.expect("a transaction");
    let id: Uuid = sqlx::query_scalar(
        "UPDATE wallet.bill_payment SET state = 'requested', reason = NULL, proof_id = $1, proof_level = 'pin' RETURNING id",
    )
    .bind(proof)
    .fetch_one(&mut *tx)
    .await
    .expect("one payment");
    scene.stage.clock.advance(TimeDelta::minutes(5));
    let now = scene.stage.clock.now();
    job::schedule(&mut tx, wallet::SCHEMA, now, NewJob::new("bill-payment", format!("{id}:again"), now))
        .await
        .expect("a job");
    tx.commit().await.expect("committed");
    scene.wallet.bill_reaches(token, &id.to_string(), "paid").await;
    assert_eq!(scene.stage.count(&format!("wallet.proof WHERE id = '{proof}' AND reference = '{id}'")).await, 1);
    scene.stage.audit().await;
}
