//! From one version to the next: books of before are read, go on and are verified as one, and processes of both versions post side by side.

use std::sync::LazyLock;

use ledger::{
    AccountId, Action, Config, HoldPosting, MIGRATOR, NoRiders, Outcome, Reject, Request, SCHEMA, TransferKind, book,
};
use platform::clock::Clock;
use platform::config::Secret;
use platform::db::{self, PlatformTables};
use platform::embedded::scratch;
use sqlx::migrate::Migrator;
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

use crate::support::*;

/// The last migration of the version before.
const LAST_BEFORE: i64 = 3;
/// What its engine had written.
const BOOKS_BEFORE: &str = include_str!("before_0004.sql");
/// How many transfers these are.
const TRANSFERS_BEFORE: i64 = 41;
/// What a process of the version before calls itself here.
const BEFORE: &str = "before";
/// How many requests the two versions share.
const SHARED: usize = 200;

const REFUND: TransferKind = TransferKind::new(8, "refund");

static MIGRATOR_BEFORE: LazyLock<Migrator> = LazyLock::new(|| {
    let mut migrator = Migrator::with_migrations(
        MIGRATOR.iter().filter(|migration| migration.version <= LAST_BEFORE).cloned().collect(),
    );
    migrator.dangerous_set_table_name(MIGRATOR.table_name.clone());
    migrator
});

/// The nostro (0) and the customers of the books of before.
fn account_before(number: u128) -> AccountId {
    AccountId::from(Uuid::from_u128((0xa0 << 120) + number))
}

/// A database with the books of before, as they were left.
async fn world_before() -> World {
    let database = scratch::database(&[(SCHEMA, &*MIGRATOR_BEFORE, PlatformTables::NotWanted)]).await.expect("made");
    sqlx::raw_sql(BOOKS_BEFORE).execute(&database.admin_pool()).await.expect("filled");
    World { database, clock: Clock::test() }
}

/// Brings it up to date as its owner, as `trangtien migrate` does.
async fn upgrade(world: &World) {
    // Rights on a database don't come with its template.
    let may = format!("GRANT CREATE ON DATABASE {} TO {}", world.database.name(), SCHEMA.owner_role());
    sqlx::raw_sql(AssertSqlSafe(may)).execute(&world.database.admin_pool()).await.expect("granted");
    let mut owner = db::connect(&Secret::new(world.database.owner_url(SCHEMA))).await.expect("connected");
    db::migrate(&mut owner, SCHEMA, &MIGRATOR, PlatformTables::NotWanted).await.expect("migrated");
}

#[tokio::test]
async fn books_of_before_and_what_follows_are_verified_together() {
    let world = world_before().await;
    upgrade(&world).await;
    assert_eq!(assert_sound(&world.pool()).await, TRANSFERS_BEFORE);
    let [nostro, one, two, three] = [0, 1, 2, 3].map(account_before);

    let first = world.engine();
    posted(first.ledger.post(Request::new(fresh_key()).transfer(posting(nostro, two, 1_000))).await);
    first.stop().await;
    // The refusal of before stands, though the money would be there now, and an engine that has just started decides without reading it.
    let second = world.engine();
    let ledger = &second.ledger;
    let refused = Request::new(key("before/refused")).transfer(posting(two, three, 600));
    let again = ledger.answer(refused).await.expect("answered");
    assert_eq!((again.replayed, again.outcome), (true, Outcome::Rejected(Reject::InsufficientFunds(two))));
    let granted =
        Request::new(key("before/granted")).transfer(posting(one, three, 7)).transfer(posting(three, nostro, 2));
    let again = ledger.answer(granted).await.expect("answered");
    assert!(again.replayed);
    assert_eq!(posted(Ok(again.outcome)).iter().map(|made| made.sequence).collect::<Vec<_>>(), [3, 4]);

    // A hold of before is ended, a payment of before given back, and an account opened beside those of before.
    let holds: Vec<Uuid> = sqlx::query_scalar("SELECT id FROM ledger.hold WHERE ended_block IS NULL")
        .fetch_all(&world.pool())
        .await
        .expect("read");
    assert_eq!(holds.len(), 1);
    let whole = Action::Post(HoldPosting { hold: holds[0].into(), amount: None });
    posted(ledger.post(Request::new(fresh_key()).action(whole)).await);
    let back = ledger::RefundSpec {
        of: key("before/granted").transfer(0),
        amount: ledger::Money::vnd(7),
        kind: REFUND,
        reference: Uuid::nil(),
        limits: ledger::UsedLimits::GivenBack,
    };
    posted(ledger.post(Request::new(fresh_key()).action(Action::Refund(back))).await);
    let late = account(CUSTOMER);
    posted(ledger.post(Request::new(fresh_key()).open(late).transfer(posting(two, late.id, 50))).await);
    let asks = (0..40).map(|turn| {
        let made = if turn % 2 == 0 { posting(one, late.id, 2) } else { posting(late.id, one, 1) };
        ledger.post(Request::new(fresh_key()).transfer(made))
    });
    futures::future::join_all(asks).await.into_iter().for_each(|answer| drop(posted(answer)));
    assert_eq!(balance(ledger, late.id).await, 70);
    second.stop().await;
    assert_sound_at_rest(&world.pool()).await;
    assert_eq!(assert_sound(&world.pool()).await, TRANSFERS_BEFORE + 44);
    assert_eq!(book::open_holds(&world.pool(), 1).await.expect("counted"), 0);
}

/// Connections that call themselves [`BEFORE`] post by the function of the version before from now on, as its processes do; which one was called is counted.
async fn install_both_versions(admin: &PgPool) {
    let arguments =
        "SELECT pg_get_function_arguments(p.oid), p.proargnames FROM pg_catalog.pg_proc AS p WHERE p.oid = $1::regproc";
    let names = |function: &'static str| async move {
        let row: (String, Vec<String>) =
            sqlx::query_as(arguments).bind(function).fetch_one(admin).await.expect("there is one");
        row
    };
    let (signature, now) = names("ledger.post_batch").await;
    let (_, before) = names("ledger.post").await;
    // The version before has an element for each transfer.
    let each = |name: String| match name.as_str() {
        "p_currency" | "p_kind" | "p_request_size" => format!(
            "CASE CARDINALITY({name}) WHEN 1 THEN ARRAY_FILL({name}[1], ARRAY[CARDINALITY(p_id)]) ELSE {name} END"
        ),
        _ => name,
    };
    let before: Vec<String> = before.into_iter().map(each).collect();
    let sql = format!(
        "CREATE TABLE public.call (version text NOT NULL);
         GRANT INSERT ON public.call TO trangtien_wallet;
         ALTER FUNCTION ledger.post_batch RENAME TO post_batch_now;
         CREATE FUNCTION ledger.post_batch({signature}) RETURNS boolean LANGUAGE plpgsql AS $$
         DECLARE
             v_answer text;
         BEGIN
             INSERT INTO public.call (version) VALUES (current_setting('application_name'));
             IF current_setting('application_name') <> '{BEFORE}' THEN
                 RETURN ledger.post_batch_now({now});
             END IF;
             v_answer := ledger.post({before});
             IF v_answer = 'known' THEN
                 RAISE EXCEPTION 'known' USING ERRCODE = 'unique_violation', CONSTRAINT = 'request_pkey';
             END IF;
             RETURN v_answer = 'posted';
         END $$",
        now = now.join(", "),
        before = before.join(", "),
    );
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(admin).await.expect("installed");
}

#[tokio::test]
async fn processes_of_both_versions_post_side_by_side() {
    let world = world_before().await;
    upgrade(&world).await;
    let admin = world.database.admin_pool();
    install_both_versions(&admin).await;
    let options = (*world.pool().connect_options()).clone().application_name(BEFORE);
    let pool = PgPoolOptions::new().max_connections(4).connect_lazy_with(options);
    let replicas = [world.engine(), Replica::start(pool, &world.clock, Config::default(), NoRiders)];
    let [one, two, three] = [1, 2, 3].map(account_before);

    // Each request is asked of both; some want more than there is.
    let mut asks = Vec::new();
    for number in 0..SHARED {
        let accounts = [one, two, three];
        let (debit, credit) = (accounts[number % 3], accounts[(number + 1) % 3]);
        let made = posting(debit, credit, if number % 7 == 0 { 5_000 } else { 3 });
        for replica in &replicas {
            let ledger = replica.ledger.clone();
            let request = Request::new(key(&number.to_string())).transfer(made);
            asks.push(tokio::spawn(async move { (number, ledger.answer(request).await.expect("answered")) }));
        }
    }
    let mut answers: Vec<Vec<ledger::Answer>> = vec![Vec::new(); SHARED];
    for ask in asks {
        let (number, answer) = ask.await.expect("no panic");
        answers[number].push(answer);
    }
    let mut made = 0;
    for pair in &answers {
        assert_eq!(pair[0].outcome, pair[1].outcome);
        assert_eq!(pair.iter().filter(|answer| answer.replayed).count(), 1, "{pair:?}");
        made += i64::from(matches!(pair[0].outcome, Outcome::Posted(_)));
    }
    // Each posts once more by itself, so that both have written for certain.
    for replica in replicas {
        posted(replica.ledger.post(Request::new(fresh_key()).transfer(posting(two, one, 1))).await);
        replica.stop().await;
    }
    let versions: Vec<String> = sqlx::query_scalar("SELECT DISTINCT version FROM public.call ORDER BY version")
        .fetch_all(&admin)
        .await
        .expect("read");
    assert_eq!(versions.len(), 2, "{versions:?}");
    assert_eq!(assert_sound(&world.pool()).await, TRANSFERS_BEFORE + made + 2);
    assert_sound_at_rest(&world.pool()).await;
}
