//! Words that go with payments and refunds: both sides read them, the database never has them plain, and they end with the key of who
//! wrote them.

use futures::StreamExt as _;
use futures::future::join_all;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::closing::{CLOSE, ERASE, Leaver, Scene, owner};
use crate::stage::{Replica, Shop, Stage, dong, eventually, text};

const PAY: &str = "/wallet/v1/payments";
const TRANSACTIONS: &str = "/wallet/v1/transactions";
const NOTE: &str = "Cho mẹ Hương";
const REASON: &str = "Thối lại chị Lài";

fn order(shop: &Shop, amount: i64, note: Option<&str>) -> Value {
    json!({"till_id": shop.till, "amount": dong(amount), "note": note})
}

/// Pays with a note, gets a part back with a reason; says the ids of both.
async fn exchanged(wallet: &Replica, shop: &Shop, owner: &str, token: &str) -> [String; 2] {
    let paid = wallet.post(token, PAY, &order(shop, 50_000, Some(NOTE))).await.expect(201);
    assert_eq!(paid["note"], NOTE);
    let path = format!("{PAY}/{}/refunds", text(&paid, "id"));
    let body = json!({"amount": dong(1_000), "reason": REASON});
    let [first, again] = join_all(["k", "k"].map(|key| wallet.post_with_key(owner, &path, &body, key)))
        .await
        .try_into()
        .expect("two answers");
    assert_eq!(first.expect(201), again.expect(201));
    assert_eq!(first.json()["reason"], REASON);
    [text(&paid, "id"), text(&first.json(), "id")]
}

/// The words that a citizen reads: in the list and one by one, of the payment and of the refund.
async fn read(wallet: &Replica, token: &str, [payment, refund]: &[String; 2]) -> Vec<Value> {
    let list = wallet.get(token, TRANSACTIONS).await.expect(200);
    let listed = |id: &String| {
        list["items"].as_array().expect("a list").iter().find(|line| line["id"] == **id).expect("it")["note"].clone()
    };
    let mut words = vec![
        listed(payment),
        listed(refund),
        wallet.get(token, &format!("{PAY}/{payment}")).await.expect(200)["note"].clone(),
    ];
    for id in [payment, refund] {
        words.push(wallet.get(token, &format!("{TRANSACTIONS}/{id}")).await.expect(200)["note"].clone());
    }
    words
}

/// What the shop reads of the note: in its list, and of the payment alone.
async fn read_by_shop(wallet: &Replica, shop: &Shop, owner: &str, payment: &str) -> [Value; 2] {
    let list = wallet.get(owner, &shop.path("/payments")).await.expect(200);
    let listed =
        list["items"].as_array().expect("a list").iter().find(|line| line["id"] == payment).expect("it")["note"]
            .clone();
    [listed, wallet.get(owner, &format!("{PAY}/{payment}")).await.expect(200)["note"].clone()]
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_read_what_was_written_and_no_column_has_it() {
    let stage = Stage::new().await;
    let wallet = stage.start().await;
    let citizen = wallet.funded(&stage, 100_000).await;
    let shop = wallet.shop(&stage).await;
    let ids = exchanged(&wallet, &shop, &shop.token, &citizen).await;
    wallet.post(&citizen, PAY, &order(&shop, 2_000, None)).await.expect(201);
    let said = [NOTE, REASON, NOTE, NOTE, REASON].map(|word| json!(word));
    assert_eq!(read(&wallet, &citizen, &ids).await, said);
    assert_eq!(read_by_shop(&wallet, &shop, &shop.token, &ids[0]).await, [json!(NOTE), json!(NOTE)]);
    let request = http::Request::get(shop.path("/stream"))
        .header("authorization", format!("Bearer {}", shop.token))
        .header("last-event-id", "0");
    let stream = wallet.send(request.body(axum::body::Body::empty()).expect("a request")).await;
    let mut live = String::new();
    let mut parts = stream.into_body().into_data_stream();
    while !live.contains(NOTE) {
        let part = tokio::time::timeout(std::time::Duration::from_secs(20), parts.next()).await.expect("in time");
        live.push_str(&String::from_utf8_lossy(&part.expect("more").expect("bytes")));
    }
    assert_eq!(stage.plain(&[NOTE, REASON]).await, Vec::<String>::new());
    stage.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn words_from_before_are_read_as_they_were_and_sealed_beside() {
    let stage = Stage::new().await;
    let first = stage.start().await;
    let user = first.rich(&stage, 100_000).await;
    let citizen = stage.token(user);
    let shop = first.shop(&stage).await;
    let ids = exchanged(&first, &shop, &shop.token, &citizen).await;
    first.kill().await;
    for (table, column, word) in [("payment", "note", NOTE), ("refund", "reason", REASON)] {
        let plain = format!("UPDATE wallet.{table} SET {column} = '{word}', {column}_sealed = NULL");
        stage.run(&format!("SET session_replication_role = replica; {plain}; RESET session_replication_role")).await;
    }
    // Nothing is sealed yet.
    let mut held = platform::db::begin(&stage.admin()).await.expect("a transaction");
    sqlx::query("LOCK TABLE wallet.payment IN EXCLUSIVE MODE").execute(&mut *held).await.expect("a lock");
    let wallet = stage.start().await;
    let said = [NOTE, REASON, NOTE, NOTE, REASON].map(|word| json!(word));
    assert_eq!(read(&wallet, &citizen, &ids).await, said);
    held.rollback().await.expect("a rollback");
    eventually("they are sealed", async || stage.plain(&[NOTE, REASON]).await.is_empty()).await;
    assert_eq!(read(&wallet, &citizen, &ids).await, said);
    assert_eq!(read_by_shop(&wallet, &shop, &shop.token, &ids[0]).await, [json!(NOTE), json!(NOTE)]);
    stage.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destroyed_key_opens_no_word_whatever_rows_come_back() {
    let scene = Scene::new().await;
    let (stage, shop) = (&scene.stage, &scene.shop);
    let wallet = scene.replica("one").await;
    let user = wallet.rich(stage, 50_000).await;
    let keeper = owner(&scene).await;
    let ids = exchanged(&wallet, shop, &stage.token(keeper), &stage.token(user)).await;
    wallet.post(&stage.token(user), PAY, &order(shop, 1_000, None)).await.expect(201);
    stage.run("CREATE TABLE public.kept AS SELECT * FROM wallet.payment").await;
    let leaver = Leaver::new(user);
    scene.ask(CLOSE, leaver).await;
    scene.done(leaver, CLOSE).await;
    assert_eq!(scene.office.last(leaver.closing), Vec::<String>::new());
    scene.ask(ERASE, leaver).await;
    scene.done(leaver, ERASE).await;
    assert_eq!(stage.count("wallet.payment WHERE note_sealed IS NOT NULL").await, 0);
    let back = "UPDATE wallet.payment SET note_sealed = kept.note_sealed FROM public.kept WHERE kept.id = payment.id";
    stage.run(&format!("SET session_replication_role = replica; {back}; RESET session_replication_role")).await;
    let nothing = Value::Null;
    assert_eq!(read_by_shop(&wallet, shop, &stage.token(keeper), &ids[0]).await, [nothing.clone(), nothing.clone()]);
    let words = [nothing.clone(), json!(REASON), nothing.clone(), nothing, json!(REASON)];
    assert_eq!(read(&wallet, &stage.token(user), &ids).await, words, "what the shop wrote is the shop's");
    stage.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_have_a_copy_of_what_was_written_each_of_their_own_side() {
    let scene = Scene::new().await;
    let stage = &scene.stage;
    let wallet = scene.replica("one").await;
    let user = wallet.rich(stage, 50_000).await;
    let keeper = owner(&scene).await;
    let [_, refund] = exchanged(&wallet, &scene.shop, &stage.token(keeper), &stage.token(user)).await;
    let copy_of = async |person: Uuid| {
        let export = Leaver::new(person);
        scene.ask("person-export", export).await;
        scene.done(export, "person-export").await;
        scene.office.copy(export.closing).expect("a whole copy")
    };
    let copy = copy_of(keeper).await;
    let made = &copy["refunds_made"];
    assert_eq!((&made[0]["id"], &made[0]["reason"]), (&json!(refund), &json!(REASON)));
    assert_eq!((&made[0]["amount"], &made[0]["merchant_id"]), (&json!("1000"), &json!(scene.shop.merchant)));
    assert_eq!((made.as_array().map(Vec::len), &copy["refund_reasons"]), (Some(1), &json!([])));
    assert!(!copy.to_string().contains(NOTE), "the payer's word is the payer's");
    let copy = copy_of(user).await;
    assert_eq!(copy["refund_reasons"], json!([{"id": refund, "reason": REASON}]));
    assert_eq!(copy["refunds_made"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_note_at_the_moment_of_an_erasure_is_never_plain() {
    let scene = Scene::new().await;
    let wallet = scene.replica("one").await;
    for _ in 0..6 {
        let user = wallet.rich(&scene.stage, 5_000).await;
        let (leaver, token) = (Leaver::new(user), scene.stage.token(user));
        let body = order(&scene.shop, 5_000, Some(NOTE));
        let (paid, ()) = tokio::join!(wallet.post(&token, PAY, &body), async {
            // As if the closing had come to its end long ago.
            let gone =
                "INSERT INTO wallet.person_key (person, key, made_at, destroyed_at) VALUES ($1, NULL, now(), now())
                ON CONFLICT ON CONSTRAINT person_key_pk DO UPDATE SET key = NULL, destroyed_at = now()";
            sqlx::query(gone).bind(user).execute(&scene.stage.admin()).await.expect("destroyed");
        });
        let id: Uuid = text(&paid.expect(201), "id").parse().expect("an id");
        let seen = wallet.get(&scene.stage.token(leaver.user), &format!("{PAY}/{id}")).await.expect(200);
        assert_eq!(seen["note"], Value::Null, "without the key there is no word");
        wallet.get(&scene.stage.token(leaver.user), TRANSACTIONS).await.expect(200);
    }
    assert_eq!(scene.stage.plain(&[NOTE]).await, Vec::<String>::new());
    scene.stage.audit().await;
}
