//! What citizens say and write to billers and merchants is stored sealed: nowhere in the database is it plain, rows from before are
//! brought over while everybody sees what they saw, and a destroyed key is the end of it, whatever rows come back from a backup.

use chrono::TimeDelta;
use futures::future::join_all;
use platform::config::Secret;
use platform::person::PersonConfig;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use crate::biller::{BILLER, COST, amount};
use crate::closing::{CLOSE, ERASE, Leaver, Scene};
use crate::stage::{Replica, Stage, eventually, text};

const LINKS: &str = "/wallet/v1/bill-subscriptions";
const LABEL: &str = "Nhà mẹ Hương";

impl Stage {
    pub(crate) async fn run(&self, statement: &str) {
        sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&self.admin()).await.expect(statement);
    }

    /// The columns of the wallet that hold one of the words in plain.
    pub(crate) async fn plain(&self, words: &[&str]) -> Vec<String> {
        let columns: Vec<(String, String, String)> = sqlx::query_as(
            "SELECT table_name::text, column_name::text, data_type::text FROM information_schema.columns
             WHERE table_schema = 'wallet' AND data_type IN ('text', 'character varying', 'jsonb', 'json', 'bytea', 'ARRAY')
             ORDER BY 1, 2",
        )
        .fetch_all(&self.admin())
        .await
        .expect("columns");
        assert!(columns.len() > 60, "all of them are looked at");
        let mut found = Vec::new();
        for (table, column, kind) in columns {
            for word in words {
                let holds = match kind.as_str() {
                    "bytea" => format!("position(convert_to('{word}', 'UTF8') IN {column}) > 0"),
                    _ => format!("position('{word}' IN {column}::text) > 0"),
                };
                if self.count(&format!("wallet.{table} WHERE {holds}")).await > 0 {
                    found.push(format!("{table}.{column}: {word}"));
                }
            }
        }
        found
    }
}

async fn links(wallet: &Replica, token: &str) -> Vec<Value> {
    wallet.get(token, LINKS).await.expect(200)["items"].as_array().expect("a list").clone()
}

fn new_link(customer: &str) -> Value {
    json!({"biller_code": BILLER, "customer_code": customer, "label": LABEL})
}

/// A link, but for when it was made.
fn named(link: &Value) -> [Value; 3] {
    ["id", "customer_code", "label"].map(|name| link[name].clone())
}

/// What a citizen reads of their bills, but for when it was made.
fn words(bills: &[Value]) -> Vec<Value> {
    let fields = ["id", "customer_code", "label", "reference", "details", "state", "amount"];
    let mut read: Vec<Value> =
        bills.iter().map(|bill| fields.iter().map(|name| bill[*name].clone()).collect()).collect();
    read.sort_by_key(Value::to_string);
    read
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_day_of_bills_no_column_has_a_customer_code_or_what_citizens_call_it() {
    let stage = Stage::new().await;
    let wallet = stage.start().await;
    let citizen = wallet.funded(&stage, 2_000_000).await;
    let customer = stage.biller.customer(&[("2025-10-01", 100), ("2025-11-01", 250)]).await;
    let made = wallet.link(&citizen, &new_link(&customer), "k").await.expect(201);
    assert_eq!((&made["customer_code"], &made["label"]), (&json!(customer), &json!(LABEL)));
    assert_eq!(wallet.link(&citizen, &new_link(&customer), "k").await.expect(201), made, "asked again under its key");
    assert_eq!(wallet.link(&citizen, &new_link(&customer), "another").await.code(), "already-linked");
    assert_eq!(links(&wallet, &citizen).await.iter().map(named).collect::<Vec<_>>(), [named(&made)]);
    let bills = wallet.bills(&citizen).await;
    assert_eq!(bills.len(), 2);
    for bill in &bills {
        assert_eq!((&bill["customer_code"], &bill["label"]), (&json!(customer), &json!(LABEL)));
        assert_eq!(bill["reference"], format!("{BILLER}-{customer}-{}", text(bill, "period")), "as the biller says it");
        let id = wallet.pay_bill(&citizen, bill).await;
        wallet.bill_reaches(&citizen, &id, "paid").await;
        let paid = wallet.bill_payment(&citizen, &id).await;
        assert_eq!((&paid["customer_code"], &paid["reference"]), (&json!(customer), &bill["reference"]));
    }
    assert_eq!(stage.plain(&[&customer, &customer[2..], LABEL]).await, Vec::<String>::new());
    assert_eq!(stage.count("wallet.bill_customer").await, 1);
    stage.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_last_link_what_only_links_need_goes_and_a_new_link_shows_the_bills_again() {
    let stage = Stage::new().await;
    let wallet = stage.start().await;
    let (one, other) = (wallet.funded(&stage, 2_000_000).await, wallet.funded(&stage, 2_000_000).await);
    let customer = stage.biller.customer(&[("2025-10-01", 100), ("2025-11-01", 250)]).await;
    let first = wallet.link(&one, &new_link(&customer), "k").await.expect(201);
    let second = wallet.link(&other, &new_link(&customer), "k").await.expect(201);
    let unlink = async |token: &str, link: &Value| {
        let path = format!("/wallet/v1/bill-subscriptions/{}", text(link, "id"));
        assert_eq!(wallet.delete(token, &path).await.status, 204);
    };
    unlink(&one, &first).await;
    assert_eq!(stage.count("wallet.bill_customer WHERE lookup IS NOT NULL").await, 1, "the other has it linked");
    assert_eq!(wallet.bills(&other).await.len(), 2);
    unlink(&other, &second).await;
    assert_eq!(stage.count("wallet.bill_customer WHERE lookup IS NOT NULL").await, 0);
    assert_eq!(stage.count("wallet.bill WHERE details <> '{}'").await, 0);
    let again = wallet.link(&one, &new_link(&customer), "again").await.expect(201);
    let bills = wallet.bills(&one).await;
    assert_eq!(bills.len(), 2);
    let id = wallet.pay_bill(&one, &bills[0]).await;
    wallet.bill_reaches(&one, &id, "paid").await;
    unlink(&one, &again).await;
    assert_eq!(stage.count("wallet.bill_customer WHERE lookup IS NOT NULL").await, 1, "what was paid is known again");
    wallet.link(&one, &new_link(&customer), "once-more").await.expect(201);
    assert_eq!(wallet.bills(&one).await.len(), 2);
    stage.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destroyed_key_opens_no_bill_whatever_rows_come_back() {
    let scene = Scene::new().await;
    let stage = &scene.stage;
    let wallet = scene.replica("one").await;
    let user = wallet.rich(stage, COST).await;
    let customer = stage.biller.customer(&[("2025-11-01", 250)]).await;
    wallet.link(&stage.token(user), &new_link(&customer), "k").await.expect(201);
    let bill = wallet.bills(&stage.token(user)).await.remove(0);
    let id = wallet.pay_bill(&stage.token(user), &bill).await;
    eventually("paid", async || {
        stage.clock.advance(TimeDelta::seconds(1));
        wallet.bill_payment(&stage.token(user), &id).await["state"] == "paid"
    })
    .await;
    let tables = ["bill_customer", "bill", "bill_subscription", "bill_payment"];
    let said = "INSERT INTO wallet.bill_payment (id, user_id, session_id, idempotency_key, fingerprint, bill_id, biller_code, kind, customer_code_sealed,
            reference_sealed, period, amount, state, reason, requested_at, updated_at)
        SELECT gen_random_uuid(), user_id, session_id, said.reason, fingerprint, bill_id, biller_code, kind, customer_code_sealed, reference_sealed,
            period, amount, 'failed', said.reason, requested_at, updated_at
        FROM wallet.bill_payment, (VALUES ('bill-paid'), ('Nhà bà Hương đã dọn đi')) AS said (reason)";
    stage.run(said).await;
    let whole = "wallet.bill_payment WHERE state = 'paid' AND biller_reference IS NOT NULL AND period = '2025-11'";
    assert_eq!(stage.count(whole).await, 1);
    for table in tables {
        stage.run(&format!("CREATE TABLE public.kept_{table} AS SELECT * FROM wallet.{table}")).await;
    }
    let leaver = Leaver::new(user);
    scene.ask(CLOSE, leaver).await;
    scene.done(leaver, CLOSE).await;
    assert_eq!(scene.office.last(leaver.closing), Vec::<String>::new());
    scene.ask(ERASE, leaver).await;
    scene.done(leaver, ERASE).await;
    assert_eq!(stage.count("wallet.bill_customer WHERE lookup IS NOT NULL").await, 0);
    assert_eq!(stage.count("wallet.bill WHERE details <> '{}'").await, 0);
    assert_eq!(
        stage.count("wallet.bill_payment WHERE customer_code_sealed IS NOT NULL OR reference_sealed IS NOT NULL").await,
        0
    );

    assert_eq!(stage.count("wallet.bill_payment WHERE biller_reference IS NOT NULL OR period <> '-'").await, 0);
    assert_eq!(stage.count("wallet.bill WHERE reference <> id::text OR period <> '-'").await, 0);
    assert_eq!(stage.count("wallet.bill_payment WHERE reason = 'bill-paid'").await, 1, "a code names nobody");
    assert_eq!(stage.count("wallet.bill_payment WHERE reason = 'erased'").await, 1);

    for table in tables {
        let back = format!("DELETE FROM wallet.{table}; INSERT INTO wallet.{table} SELECT * FROM public.kept_{table}");
        stage.run(&format!("SET session_replication_role = replica; {back}; RESET session_replication_role")).await;
    }
    let token = stage.token(user);
    assert_eq!(links(&wallet, &token).await, Vec::<Value>::new());
    assert_eq!(wallet.bills(&token).await, Vec::<Value>::new());
    assert_eq!(wallet.get(&token, &format!("/wallet/v1/bills/{}", text(&bill, "id"))).await.code(), "not-found");
    let payment = wallet.bill_payment(&token, &id).await;
    assert_eq!(
        (&payment["customer_code"], &payment["reference"], amount(&payment["amount"])),
        (&json!(""), &json!(""), COST)
    );
    assert_eq!(stage.plain(&[&customer]).await, Vec::<String>::new());
    // The link that came back is fetched for no more.
    stage.run("UPDATE wallet.job SET state = 'due', due_at = '2020-01-01' WHERE kind = 'bill-refresh'").await;
    eventually("its job ends", async || {
        stage.count("wallet.job WHERE kind = 'bill-refresh' AND state = 'done'").await == 1
    })
    .await;
    // Whoever moves in has the biller's bills again, and nothing of who was there.
    let next = stage.token(stage.citizen(1).await);
    stage.run("UPDATE wallet.bill_customer SET lookup = NULL; DELETE FROM wallet.bill_subscription").await;
    wallet.link(&next, &new_link(&customer), "k").await.expect(201);
    assert_eq!(stage.count("wallet.bill_customer").await, 2);
}

/// Rows as an earlier version wrote them: two citizens with one customer and its two bills, one of them paid for, the other on its way.
async fn before(stage: &Stage, customer: &str) -> [Uuid; 2] {
    let users = [stage.citizen(1).await, stage.citizen(1).await];
    for (user, label) in users.iter().zip(["NULL", "'Nhà mẹ Hương'"]) {
        stage
            .run(&format!(
                "INSERT INTO wallet.bill_subscription (id, user_id, biller_code, customer_code, label, created_at)
                 VALUES (gen_random_uuid(), '{user}', '{BILLER}', '{customer}', {label}, now())"
            ))
            .await;
    }
    for (month, kwh) in [("2025-10", 1), ("2025-11", 2)] {
        stage
            .run(&format!(
                "INSERT INTO wallet.bill (id, biller_code, customer_code, kind, reference, period, amount, issued_on, due_on, details, status, updated_at)
                 VALUES (gen_random_uuid(), '{BILLER}', '{customer}', 'electricity', '{BILLER}-{customer}-{month}', '{month}', {COST}, '{month}-01',
                         '{month}-11', '{{\"usage\": {kwh}, \"of\": \"{customer}\"}}', 'open', '{}')",
                stage.clock.now() - TimeDelta::minutes(5)
            ))
            .await;
    }
    stage
        .run(&format!(
            "INSERT INTO wallet.bill_payment (id, user_id, session_id, idempotency_key, fingerprint, bill_id, biller_code, customer_code, kind,
                 reference, period, amount, state, reason, requested_at, updated_at)
             SELECT gen_random_uuid(), '{}', gen_random_uuid(), 'before', decode(repeat('00', 32), 'hex'), id, biller_code, customer_code, kind,
                 reference, period, amount, 'failed', 'bill-payment-expired', now(), now() FROM wallet.bill WHERE period = '2025-10' AND customer_code IS NOT NULL",
            users[0]
        ))
        .await;
    users
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_from_before_are_shown_and_paid_as_they_were_and_sealed_beside() {
    let stage = Stage::new().await;
    let customer = stage.biller.customer(&[("2025-11-01", 250)]).await;
    let users = before(&stage, &customer).await;
    // Nothing is brought over yet.
    let mut held = platform::db::begin(&stage.admin()).await.expect("a transaction");
    sqlx::query("LOCK TABLE wallet.bill_customer IN EXCLUSIVE MODE").execute(&mut *held).await.expect("a lock");
    let wallet = stage.start().await;
    let tokens = users.map(|user| stage.token(user));
    let seen = [words(&wallet.bills(&tokens[0]).await), words(&wallet.bills(&tokens[1]).await)];
    assert_eq!(seen.each_ref().map(Vec::len), [2, 2]);
    assert_eq!(seen[1][0][2], LABEL);
    assert_eq!(links(&wallet, &tokens[1]).await[0]["customer_code"], customer);
    assert_eq!(wallet.post(&tokens[0], LINKS, &new_link(&customer)).await.code(), "already-linked");
    let top_up = wallet.top_up(&tokens[1], sandbox::RICH_ACCOUNTS[0], COST).await;
    wallet.reaches(&tokens[1], &top_up, "completed").await;
    let open = wallet.bills(&tokens[1]).await;
    let november = open.iter().find(|bill| bill["period"] == "2025-11").expect("a bill");
    let id = wallet.pay_bill(&tokens[1], november).await;
    wallet.bill_reaches(&tokens[1], &id, "paid").await;
    let earlier: Uuid = sqlx::query_scalar("SELECT id FROM wallet.bill_payment WHERE idempotency_key = 'before'")
        .fetch_one(&stage.admin())
        .await
        .expect("a row");
    let shown = wallet.bill_payment(&tokens[0], &earlier.to_string()).await;
    assert_eq!((&shown["customer_code"], &shown["state"]), (&json!(customer), &json!("failed")));
    let seen = [words(&wallet.bills(&tokens[0]).await), words(&wallet.bills(&tokens[1]).await)];
    held.rollback().await.expect("a rollback");

    eventually("everything is brought over", async || stage.plain(&[&customer, LABEL]).await.is_empty()).await;
    assert_eq!(stage.count("wallet.bill_customer").await, 1);
    for (token, seen) in tokens.iter().zip(seen) {
        assert_eq!(words(&wallet.bills(token).await), seen, "what they saw is what they see");
    }
    assert_eq!(wallet.bill_payment(&tokens[0], &earlier.to_string()).await, shown);
    assert_eq!(links(&wallet, &tokens[1]).await[0]["label"], LABEL);
    assert_eq!(wallet.post(&tokens[0], LINKS, &new_link(&customer)).await.code(), "already-linked");
    stage.audit().await;
}

/// A process of an earlier version sees no sealed link: it makes a second one, and stores the customer's bills a second time.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_version_writes_a_second_time_is_there_once_in_the_end() {
    let stage = Stage::new().await;
    let wallet = stage.start().await;
    let user = stage.citizen(1).await;
    let token = stage.token(user);
    let customer = stage.biller.customer(&[("2025-10-01", 100), ("2025-11-01", 250)]).await;
    let made = wallet.link(&token, &new_link(&customer), "k").await.expect(201);
    let seen = words(&wallet.bills(&token).await);
    let [again, other] = before(&stage, &customer).await;
    stage.run(&format!("UPDATE wallet.bill_subscription SET user_id = '{user}' WHERE user_id = '{again}'")).await;
    // Whoever comes first brings them over: the task of a process that starts, or whoever links the customer.
    let next = stage.token(stage.citizen(1).await);
    wallet.link(&next, &new_link(&customer), "k").await.expect(201);
    assert_eq!(links(&wallet, &token).await.iter().map(named).collect::<Vec<_>>(), [named(&made)]);
    assert_eq!(words(&wallet.bills(&token).await), seen);
    assert_eq!(wallet.bills(&stage.token(other)).await.len(), 2);
    let _second = stage.replica("two").await;
    eventually("everything is brought over", async || stage.plain(&[&customer, LABEL]).await.is_empty()).await;
    assert_eq!(words(&wallet.bills(&token).await), seen);
    assert_eq!(links(&wallet, &stage.token(other)).await[0]["label"], LABEL);
    assert_eq!(stage.count("wallet.bill_customer").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_is_known_under_the_secret_before_and_then_under_the_new_one() {
    let stage = Stage::new().await;
    let wallet = stage.start().await;
    let token = stage.token(stage.citizen(1).await);
    let customer = stage.biller.customer(&[("2025-11-01", 250)]).await;
    wallet.link(&token, &new_link(&customer), "k").await.expect(201);
    let seen = words(&wallet.bills(&token).await);
    let known = async || -> Vec<u8> {
        sqlx::query_scalar("SELECT lookup FROM wallet.bill_customer").fetch_one(&stage.admin()).await.expect("one row")
    };
    let first = known().await;
    let (old, new) = (stage.config().persons.encryption, Secret::new("9e".repeat(32)));
    let accepts = PersonConfig { encryption: old.clone(), retired_encryption: vec![new.clone()] };
    let seals = PersonConfig { encryption: new.clone(), retired_encryption: vec![old] };
    let mut changing = Vec::new();
    for (instance, persons) in [("accepts", accepts), ("seals", seals)] {
        changing.push(stage.replica_with(instance, wallet::Config { persons, ..stage.config() }).await);
    }
    for replica in &changing {
        assert_eq!(replica.post(&token, LINKS, &new_link(&customer)).await.code(), "already-linked");
        assert_eq!(words(&replica.bills(&token).await), seen);
    }
    // Both make the same customer at once.
    let another = stage.biller.customer(&[("2025-11-01", 250)]).await;
    let citizens = join_all((0..6).map(|_| stage.citizen(1))).await;
    let asks = citizens.iter().enumerate().map(|(turn, user)| {
        let (replica, token) = (&changing[turn % 2], stage.token(*user));
        let body = new_link(&another);
        async move { replica.link(&token, &body, "k").await.expect(201) }
    });
    join_all(asks).await;
    assert_eq!(stage.count("wallet.bill_customer").await, 2);
    wallet.kill().await;
    changing.remove(0).kill().await;
    // The next fetch of the link's bills brings the digest over; then the old secret is needed no more.
    stage.run("UPDATE wallet.job SET state = 'due', due_at = '2020-01-01' WHERE kind = 'bill-refresh'").await;
    let under_old = format!("wallet.bill_customer WHERE lookup = decode('{}', 'hex')", hex::encode(&first));
    eventually("it is known under the new one", async || stage.count(&under_old).await == 0).await;
    let persons = PersonConfig { encryption: new, retired_encryption: Vec::new() };
    let last = stage.replica_with("last", wallet::Config { persons, ..stage.config() }).await;
    assert_eq!(last.post(&token, LINKS, &new_link(&customer)).await.code(), "already-linked");
    assert_eq!(words(&last.bills(&token).await), seen);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_that_many_link_at_once_is_one_and_nobody_links_it_twice() {
    let stage = Stage::new().await;
    let wallets = [stage.start().await, stage.replica("two").await];
    let users = join_all((0..4).map(|_| stage.citizen(1))).await;
    let customer = stage.biller.customer(&[("2025-11-01", 250)]).await;
    let asks = (0..16).map(|turn| {
        let (wallet, token) = (&wallets[turn % 2], stage.token(users[turn / 4]));
        let body = new_link(&customer);
        async move { wallet.link(&token, &body, &format!("key-{turn}")).await }
    });
    let answers = join_all(asks).await;
    let made = answers.iter().filter(|answer| answer.status == 201).count();
    assert_eq!(made, 4, "one each");
    assert!(answers.iter().all(|answer| answer.status == 201 || answer.code() == "already-linked"));
    assert_eq!(stage.count("wallet.bill_customer").await, 1);
    assert_eq!(stage.count("wallet.bill").await, 1);
    for user in users {
        assert_eq!(wallets[0].bills(&stage.token(user)).await.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_at_the_moment_of_an_erasure_leaves_nothing_behind() {
    let scene = Scene::new().await;
    let stage = &scene.stage;
    let wallets = [scene.replica("one").await, scene.replica("two").await];
    let customer = stage.biller.customer(&[("2025-11-01", 250)]).await;
    for turn in 0..6 {
        let leaver = Leaver::new(stage.citizen(1).await);
        let (body, token) = (new_link(&customer), stage.token(leaver.user));
        let (linked, ()) = tokio::join!(wallets[turn % 2].post(&token, LINKS, &body), scene.ask(CLOSE, leaver));
        assert!(linked.status == 201 || linked.code() == "account-frozen", "{linked:?}");
        scene.done(leaver, CLOSE).await;
        let stays = stage.citizen(1).await;
        let staying = stage.token(stays);
        let (other, ()) = tokio::join!(wallets[1].link(&staying, &body, "k"), scene.ask(ERASE, leaver));
        other.expect(201);
        scene.done(leaver, ERASE).await;
        assert_eq!(stage.count(&format!("wallet.bill_subscription WHERE user_id = '{}'", leaver.user)).await, 0);
        assert_eq!(wallets[0].post(&stage.token(leaver.user), LINKS, &body).await.code(), "account-frozen");
        let bills = wallets[0].bills(&stage.token(stays)).await;
        assert_eq!(
            (bills.len(), &bills[0]["customer_code"]),
            (1, &json!(customer)),
            "whoever stays sees what they saw"
        );
    }
    assert_eq!(stage.plain(&[&customer, LABEL]).await, Vec::<String>::new());
}
