//! Signed checkpoints: one per day with blocks, whoever makes them and whenever; nothing changed afterwards goes unseen.

use chrono::{DateTime, Days, FixedOffset, NaiveDate, TimeDelta, TimeZone as _, Utc};
use ledger::checkpoint::make::{self, MakeError, Maker};
use ledger::checkpoint::{self, Checkpoint, audit};
use ledger::note::{PublicKey, Signer};
use ledger::{AccountId, Request, book};
use sqlx::{AssertSqlSafe, PgPool};

use crate::support::*;

/// A city seven hours ahead whose day has just begun, with accounts to post between.
struct Diary {
    world: World,
    replica: Replica<()>,
    customers: Vec<AccountId>,
    /// The first day.
    day: NaiveDate,
}

fn zone() -> FixedOffset {
    FixedOffset::east_opt(7 * 3_600).expect("a zone")
}

fn maker() -> Maker<FixedOffset> {
    let signer = Signer::try_new(&"5a".repeat(32)).expect("a seed");
    Maker { name: "hue.example".to_owned(), shard: 1, zone: zone(), signer }
}

fn key() -> PublicKey {
    maker().public_key().expect("a name")
}

impl Diary {
    async fn new() -> Self {
        let world = World::new().await;
        let day = world.clock.now().with_timezone(&zone()).date_naive() + Days::new(1);
        let morning = zone().from_local_datetime(&day.and_hms_opt(8, 0, 0).expect("a time")).single().expect("one");
        world.clock.advance(morning.with_timezone(&Utc) - world.clock.now());
        let replica = world.engine();
        let (_, customers) = open(&replica.ledger, &[1_000_000, 0]).await;
        Self { world, replica, customers, day }
    }

    /// So many blocks, one after the other.
    async fn write(&self, blocks: usize) {
        for _ in 0..blocks {
            let request = Request::new(fresh_key()).transfer(posting(self.customers[0], self.customers[1], 1));
            posted(self.replica.ledger.post(request).await);
        }
    }

    fn sleep(&self, days: i64) {
        self.world.clock.advance(TimeDelta::days(days));
    }

    fn now(&self) -> DateTime<Utc> {
        self.world.clock.now()
    }

    fn day(&self, number: u64) -> NaiveDate {
        self.day + Days::new(number)
    }

    async fn made(&self) -> Vec<Checkpoint> {
        let rows = checkpoint::list(&self.world.pool(), 1, None, 100).await.expect("read");
        rows.iter().rev().map(|row| Checkpoint::open(&row.note, &key()).expect("signed by us")).collect()
    }
}

async fn change(admin: &PgPool, table: &str, statement: &str) {
    let sql = format!(
        "ALTER TABLE ledger.{table} DISABLE TRIGGER USER; {statement}; ALTER TABLE ledger.{table} ENABLE TRIGGER USER"
    );
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(admin).await.expect("the superuser may");
}

#[tokio::test]
async fn every_finished_day_with_blocks_gets_one_checkpoint_however_late() {
    let diary = Diary::new().await;
    let pool = diary.world.pool();
    diary.write(300).await;
    assert_eq!(make::due(&pool, &maker(), diary.now()).await.expect("asked"), [], "the day is not over");
    diary.sleep(2);
    diary.write(300).await;
    diary.sleep(3);
    diary.write(20).await;
    // The city was down for days. Three replicas come back at once.
    let (maker_a, maker_b, maker_c) = (maker(), maker(), maker());
    let now = diary.now();
    let (one, two, three) =
        tokio::join!(make::due(&pool, &maker_a, now), make::due(&pool, &maker_b, now), make::due(&pool, &maker_c, now));
    let mut days: Vec<NaiveDate> = [one, two, three].into_iter().flat_map(|made| made.expect("made")).collect();
    days.sort();
    assert_eq!(days, [diary.day(0), diary.day(2)], "each is made once; the last day is not over");
    assert_eq!(make::due(&pool, &maker(), now).await.expect("asked"), []);
    diary.sleep(1);
    assert_eq!(make::due(&pool, &maker(), diary.now()).await.expect("made"), [diary.day(5)]);

    let made = diary.made().await;
    let said: Vec<(NaiveDate, i64, i64)> = made.iter().map(|one| (one.day, one.blocks, one.last_sequence)).collect();
    assert_eq!(said, [(diary.day(0), 301, 301), (diary.day(2), 601, 601), (diary.day(5), 621, 621)]);
    assert_eq!(made[1].previous, made[0].hash());
    for block in [1, 255, 256, 257, 300, 301, 302, 512, 600, 601, 602, 621] {
        let (published, path) = checkpoint::covering(&pool, 1, block).await.expect("read").expect("covered");
        let checkpoint = Checkpoint::open(&published.note, &key()).expect("signed by us");
        assert!(checkpoint.blocks >= block && published.signer == key().to_string());
        let id = transfer_of(&pool, block).await;
        let (_, proof) = book::proof(&pool, id.into()).await.expect("read").expect("there");
        assert!(checkpoint.covers(block, proof.block_hash, &path), "block {block}");
        assert!(!checkpoint.covers(block + 1, proof.block_hash, &path));
    }
    assert_eq!(checkpoint::covering(&pool, 1, 622).await.expect("read"), None);
    let report = audit::verify(&pool).await.expect("read");
    assert_eq!((report.checkpoints, report.fault), (3, None));
    diary.replica.stop().await;
}

async fn transfer_of(pool: &PgPool, block: i64) -> uuid::Uuid {
    sqlx::query_scalar("SELECT id FROM ledger.transfer WHERE block = $1 ORDER BY sequence LIMIT 1")
        .bind(block)
        .fetch_one(pool)
        .await
        .expect("every block here has a transfer")
}

/// A replica whose clock is behind dates a block into a day that is closed already: the next checkpoint covers it.
#[tokio::test]
async fn a_block_dated_into_a_closed_day_belongs_to_the_next_checkpoint() {
    let diary = Diary::new().await;
    let pool = diary.world.pool();
    diary.write(1).await;
    let tomorrow = diary.now() + TimeDelta::days(1);
    assert_eq!(make::due(&pool, &maker(), tomorrow).await.expect("made"), [diary.day(0)]);
    diary.write(2).await;
    assert_eq!(make::due(&pool, &maker(), tomorrow).await.expect("asked"), []);
    let later = diary.now() + TimeDelta::days(2);
    assert_eq!(make::due(&pool, &maker(), later).await.expect("made"), [diary.day(1)]);
    assert_eq!(diary.made().await.last().map(|last| last.blocks), Some(4));
    assert_eq!(audit::verify(&pool).await.expect("read").fault, None);
    diary.replica.stop().await;
}

#[tokio::test]
async fn nothing_is_signed_over_a_chain_that_does_not_hold() {
    for statement in [
        "UPDATE ledger.block SET records = records + 1 WHERE number = 3",
        "UPDATE ledger.block SET previous_hash = transfer_root WHERE number = 3",
        "DELETE FROM ledger.block WHERE number = 3",
    ] {
        let diary = Diary::new().await;
        diary.write(5).await;
        diary.sleep(1);
        change(&diary.world.database.admin_pool(), "block", statement).await;
        let made = make::due(&diary.world.pool(), &maker(), diary.now()).await;
        assert!(matches!(made, Err(MakeError::Broken(3))), "{statement}: {made:?}");
        assert!(diary.made().await.is_empty());
        diary.replica.stop().await;
    }
}

#[tokio::test]
async fn what_is_changed_after_signing_is_found() {
    let diary = Diary::new().await;
    diary.write(600).await;
    diary.sleep(1);
    let (pool, admin) = (diary.world.pool(), diary.world.database.admin_pool());
    make::due(&pool, &maker(), diary.now()).await.expect("made");
    diary.write(3).await;
    diary.sleep(1);
    make::due(&pool, &maker(), diary.now()).await.expect("made");
    assert_eq!(audit::verify(&pool).await.expect("read").fault, None);
    let other = Signer::try_new(&"5b".repeat(32)).expect("a seed").public_key("hue.example/ledger/1").expect("a name");
    let forged_signer = format!("UPDATE ledger.checkpoint SET signer = '{other}' WHERE block > 601");
    for (table, statement) in [
        ("block", "UPDATE ledger.block SET hash = transfer_root WHERE number = 7"),
        ("block", "DELETE FROM ledger.block WHERE number = 603"),
        ("block", "UPDATE ledger.block SET posted_at = posted_at + interval '1 second' WHERE number = 601"),
        ("block_tree", "UPDATE ledger.block_tree SET hash = sha256(hash) WHERE place = 1"),
        ("block_tree", "DELETE FROM ledger.block_tree WHERE place = 0"),
        ("checkpoint", "UPDATE ledger.checkpoint SET day = day + 1 WHERE block > 601"),
        ("checkpoint", "UPDATE ledger.checkpoint SET note = replace(note, 'last-sequence 601', 'last-sequence 602')"),
        ("checkpoint", "DELETE FROM ledger.checkpoint WHERE block = 601"),
        ("checkpoint", &forged_signer),
    ] {
        let kept = format!("CREATE TABLE public.kept AS TABLE ledger.{table}");
        sqlx::raw_sql(AssertSqlSafe(kept)).execute(&admin).await.expect("the superuser may");
        change(&admin, table, statement).await;
        let report = audit::verify(&pool).await.expect("read");
        assert!(report.fault.is_some(), "{statement}");
        let restore =
            format!("DELETE FROM ledger.{table}; INSERT INTO ledger.{table} TABLE public.kept; DROP TABLE public.kept");
        change(&admin, table, &restore).await;
        assert_eq!(audit::verify(&pool).await.expect("read").fault, None, "put back: {statement}");
    }
    diary.replica.stop().await;
}

/// Somebody who may add rows puts a wrong inner node where the next checkpoint will look: nothing is signed over it.
#[tokio::test]
async fn a_node_that_was_planted_is_not_signed_over() {
    let diary = Diary::new().await;
    let pool = diary.world.pool();
    sqlx::query("INSERT INTO ledger.block_tree (shard, level, place, hash) VALUES (1, 1, 0, sha256('x'))")
        .execute(&pool)
        .await
        .expect("the role may add");
    diary.write(260).await;
    diary.sleep(1);
    let made = make::due(&pool, &maker(), diary.now()).await;
    assert!(matches!(made, Err(MakeError::Broken(256))), "{made:?}");
    diary.replica.stop().await;
}

#[tokio::test]
async fn checkpoints_are_history() {
    let diary = Diary::new().await;
    diary.write(260).await;
    diary.sleep(1);
    let (pool, admin) = (diary.world.pool(), diary.world.database.admin_pool());
    make::due(&pool, &maker(), diary.now()).await.expect("made");
    for table in ["checkpoint", "block_tree"] {
        for statement in [
            format!("UPDATE ledger.{table} SET shard = shard"),
            format!("DELETE FROM ledger.{table}"),
            format!("TRUNCATE ledger.{table}"),
        ] {
            let refused = sqlx::raw_sql(AssertSqlSafe(statement.clone())).execute(&pool).await.expect_err(&statement);
            let code = refused.as_database_error().and_then(|error| error.code()).map(|code| code.into_owned());
            assert_eq!(code.as_deref(), Some("42501"), "{statement}: {refused}");
            let refused = sqlx::raw_sql(AssertSqlSafe(statement.clone())).execute(&admin).await.expect_err(&statement);
            assert_eq!(platform::db::violated(&refused), Some("ledger_history_immutable"), "{statement}: {refused}");
        }
    }
    diary.replica.stop().await;
}
