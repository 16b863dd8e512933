//! Customers at billers while others lock, erase or know them under other secrets.

use serde_json::{Value, json};
use sqlx::{Postgres, Transaction};
use uuid::Uuid;

use crate::biller::{BILLER, COST, WATER, pay_path};
use crate::closing::{CLOSE, ERASE, Leaver, Scene};
use crate::stage::{Stage, eventually};

/// Those who wait for a row in this database.
const WAITING: &str = "pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";

async fn held(stage: &Stage) -> Transaction<'static, Postgres> {
    platform::db::begin(&stage.admin()).await.expect("a transaction")
}

async fn execute(tx: &mut Transaction<'static, Postgres>, statement: String) {
    sqlx::query(sqlx::AssertSqlSafe(statement.clone())).execute(&mut **tx).await.expect(&statement);
}

/// A link as an earlier version wrote it.
async fn plain_link(stage: &Stage, user: Uuid, (biller, code): (&str, &str)) {
    stage
        .run(&format!(
            "INSERT INTO wallet.bill_subscription (id, user_id, biller_code, customer_code, created_at)
             VALUES (gen_random_uuid(), '{user}', '{biller}', '{code}', now())"
        ))
        .await;
}

/// A bill as an earlier version wrote it.
async fn plain_bill(stage: &Stage, (biller, code): (&str, &str)) {
    stage
        .run(&format!(
            "INSERT INTO wallet.bill (id, biller_code, customer_code, kind, reference, period, amount, issued_on, due_on, details, status, updated_at)
             VALUES (gen_random_uuid(), '{biller}', '{code}', 'electricity', '{biller}-{code}', '2025-11', {COST}, '2025-11-01', '2025-11-11',
                     '{{\"usage\": 250}}', 'open', '{}')",
            stage.clock.now()
        ))
        .await;
}

/// What an upkeep brings over after the erasure has read whom the citizen has linked goes all the same.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_brought_over_at_the_moment_of_an_erasure_leave_nothing_behind() {
    let scene = Scene::new().await;
    let stage = &scene.stage;
    let _wallet = scene.replica("one").await;
    let leaver = Leaver::new(stage.citizen(1).await);
    scene.ask(CLOSE, leaver).await;
    scene.done(leaver, CLOSE).await;
    assert_eq!(scene.office.last(leaver.closing), Vec::<String>::new());
    let named = (BILLER, "PC12345678901");
    plain_link(stage, leaver.user, named).await;
    plain_bill(stage, named).await;
    // As the upkeep does, in its order.
    let mut upkeep = held(stage).await;
    let customer = Uuid::now_v7();
    for statement in [
        format!(
            "INSERT INTO wallet.bill_customer (id, biller_code, lookup, created_at)
             VALUES ('{customer}', '{BILLER}', decode(repeat('1d', 32), 'hex'), now())"
        ),
        format!("UPDATE wallet.bill_subscription SET customer_id = '{customer}' WHERE customer_id IS NULL"),
        format!("UPDATE wallet.bill SET customer_id = '{customer}', customer_code = NULL WHERE customer_id IS NULL"),
    ] {
        execute(&mut upkeep, statement).await;
    }
    scene.ask(ERASE, leaver).await;
    eventually("the erasure waits for the upkeep", async || stage.count(WAITING).await == 1).await;
    upkeep.commit().await.expect("brought over");
    scene.done(leaver, ERASE).await;
    assert_eq!(stage.count("wallet.bill_subscription").await, 0);
    assert_eq!(stage.count("wallet.bill_customer WHERE lookup IS NOT NULL").await, 0, "nobody finds the customer");
    assert_eq!(stage.count("wallet.bill WHERE details <> '{}'").await, 0);
}

/// The upkeep that waits for a customer holds no link that whoever holds the customer needs.
#[tokio::test(flavor = "multi_thread")]
async fn who_brings_customers_over_locks_no_link_before_all_customers() {
    let stage = Stage::new().await;
    let first = stage.start().await;
    let (one, other) = (stage.citizen(1).await, stage.citizen(1).await);
    let code = stage.biller.customer(&[("2025-11-01", 250)]).await;
    first.linked(&stage.token(one), &code).await;
    first.kill().await;
    // In the order of billers the water comes first; then the customer that is known already.
    plain_link(&stage, one, (WATER, "HW12345678")).await;
    plain_link(&stage, other, (BILLER, &code)).await;
    let mut erasure = held(&stage).await;
    execute(&mut erasure, "SELECT id FROM wallet.bill_customer FOR NO KEY UPDATE".to_owned()).await;
    let _wallet = stage.start().await;
    eventually("the upkeep waits for the customer", async || stage.count(WAITING).await == 1).await;
    let links =
        format!("SELECT id FROM wallet.bill_subscription WHERE user_id = '{one}' ORDER BY id FOR UPDATE NOWAIT");
    execute(&mut erasure, links).await;
    erasure.rollback().await.expect("a rollback");
    let plain = "wallet.bill_subscription WHERE customer_id IS NULL";
    eventually("all are brought over", async || stage.count(plain).await == 0).await;
    assert_eq!(stage.count("wallet.bill_customer").await, 2);
}

/// A token may outlive its account for some minutes.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_was_erased_is_told_that_the_account_is_closed() {
    let stage = Stage::new().await;
    let wallet = stage.start().await;
    let user = wallet.rich(&stage, COST).await;
    let token = stage.token(user);
    let bill = wallet.bill(&stage, &token).await;
    let another = stage.biller.customer(&[("2025-11-01", 250)]).await;
    let destroyed = format!("UPDATE wallet.person_key SET key = NULL, destroyed_at = now() WHERE person = '{user}'");
    stage.run(&destroyed).await;
    let link = json!({"biller_code": BILLER, "customer_code": another});
    let answers = [
        wallet.post(&token, "/wallet/v1/bill-subscriptions", &link).await,
        wallet.post(&token, &pay_path(&bill), &json!({"amount": bill["amount"]})).await,
    ];
    for answer in answers {
        assert_eq!((answer.status.as_u16(), answer.code()), (422, "account-closed".to_owned()));
    }
}

const FOREIGN: &str = "UPDATE wallet.bill_customer SET lookup = decode(repeat('1d', 32), 'hex')";
const DUE: &str =
    "UPDATE wallet.job SET state = 'due', due_at = '2020-01-01' WHERE kind = 'bill-refresh' AND state = 'due'";
const FOUND: &str = "wallet.bill_customer WHERE lookup IS NOT NULL AND lookup <> decode(repeat('1d', 32), 'hex')";
/// Jobs that wait for their next regular time.
const REGULAR: &str =
    "wallet.job WHERE kind = 'bill-refresh' AND state = 'due' AND reason = 'bills are fetched regularly'";

#[tokio::test(flavor = "multi_thread")]
async fn bills_are_fetched_on_when_a_secret_was_changed_in_one_step() {
    let stage = Stage::new().await;
    let wallet = stage.start().await;
    let user = stage.citizen(1).await;
    let code = stage.biller.customer(&[("2025-10-01", 100)]).await;
    wallet.linked(&stage.token(user), &code).await;
    // As a process did that knew a newer secret only.
    stage.run(FOREIGN).await;
    stage.biller.read(&code, &[("2025-11-01", 250)]).await;
    stage.run(DUE).await;
    eventually("the new bill is there", async || wallet.bills(&stage.token(user)).await.len() == 2).await;
    assert_eq!(stage.count("wallet.bill_customer").await, 1);
    assert_eq!(stage.count(FOUND).await, 1);
    eventually("and it is fetched on", async || stage.count(REGULAR).await == 1).await;
}

/// Reference and state of bills as a citizen reads them.
fn read(bills: &[Value]) -> Vec<(Value, Value)> {
    let mut read: Vec<_> = bills.iter().map(|bill| (bill["reference"].clone(), bill["state"].clone())).collect();
    read.sort_by_key(|(reference, _)| reference.to_string());
    read
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_that_was_made_twice_is_one_again_and_no_bill_is_to_be_paid_twice() {
    let stage = Stage::new().await;
    // What is being paid is asked for again only when all has been linked.
    let patient = 3_000;
    let config = wallet::Config { first_status_query_ms: patient, last_status_query_ms: patient, ..stage.config() };
    let wallet = stage.replica_with("one", config).await;
    let (one, other) = (wallet.rich(&stage, 2 * COST).await, stage.citizen(1).await);
    let code = stage.biller.customer(&[("2025-10-01", 100), ("2025-11-01", 250)]).await;
    let bills = wallet.linked(&stage.token(one), &code).await;
    // The biller still asks for what is being paid.
    stage.biller.fault(json!({"error_rate": 1.0})).await;
    let paid = wallet.pay_bill(&stage.token(one), &bills[0]).await;
    stage.run(FOREIGN).await;
    stage.biller.heal().await;
    stage.biller.fault(json!({"error_rate": 1.0, "times": 1})).await;
    wallet.linked(&stage.token(other), &code).await;
    wallet.linked(&stage.token(one), &code).await;
    assert_eq!(stage.count("wallet.bill_customer").await, 2, "made twice");
    assert_eq!(stage.count("wallet.bill").await, 4, "and so are its bills");
    stage.run(DUE).await;
    eventually("it is one again", async || {
        stage.count("wallet.bill_subscription AS link JOIN wallet.bill_customer AS made ON made.id = link.customer_id WHERE made.lookup = decode(repeat('1d', 32), 'hex')").await == 0
    })
    .await;
    wallet.bill_reaches(&stage.token(one), &paid, "paid").await;
    let seen = read(&wallet.bills(&stage.token(one)).await);
    assert_eq!(seen.len(), 2, "each bill once: {seen:?}");
    assert_eq!(read(&wallet.bills(&stage.token(other)).await), seen);
    assert_eq!(seen.iter().filter(|(_, state)| state == "paid").count(), 1, "{seen:?}");
    assert_eq!(stage.count("wallet.bill_subscription").await, 2, "one link each");
    assert_eq!(stage.count(FOUND).await, 1);
    stage.audit().await;
}
