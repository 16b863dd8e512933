//! Verification finds one changed value anywhere and names the block.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use ledger::verify::{Fault, Options, Report, verify};
use ledger::{
    Action, Freeze, HoldId, HoldPosting, HoldSpec, Money, Posting, RefundSpec, Request, TransferKind, UsedLimits,
};
use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

use crate::support::*;

const REFUND: TransferKind = TransferKind::new(8, "refund");

/// Books of some blocks with everything in them.
async fn written() -> World {
    let world = World::new().await;
    let replica = world.engine();
    let ledger = &replica.ledger;
    let (nostro, customers) = open(ledger, &[1_000, 500, 0, 0, 0, 0]).await;
    for number in 0..12_usize {
        let (from, to) = (customers[number % 2], customers[2 + number % 3]);
        let hold = HoldSpec {
            id: HoldId::generate(),
            debit: from,
            credit: nostro,
            amount: Money::vnd(20),
            kind: PAYMENT,
            reference: Uuid::now_v7(),
            expires_at: Some(world.clock.now() + TimeDelta::minutes(5)),
        };
        let post = Action::Post(HoldPosting { hold: hold.id, amount: Some(Money::vnd(15)) });
        let request = |action| Request::new(fresh_key()).action(action);
        let chain = Request::new(fresh_key()).transfer(posting(from, to, 7)).transfer(posting(to, nostro, 2));
        let bought = posted(ledger.post(chain).await)[0].transfer;
        let back = RefundSpec {
            of: bought,
            amount: Money::vnd(3),
            kind: REFUND,
            reference: Uuid::now_v7(),
            limits: UsedLimits::GivenBack,
        };
        posted(ledger.post(request(Action::Refund(back))).await);
        posted(ledger.post(request(Action::Hold(hold))).await);
        match number % 4 {
            0 => drop(posted(ledger.post(request(post)).await)),
            1 => drop(posted(ledger.post(request(Action::Void(hold.id))).await)),
            2 => drop(posted(ledger.post(request(Action::Confirm(hold.id))).await)),
            _ => drop(posted(ledger.post(request(Action::Freeze(to, Freeze::Nothing))).await)),
        }
        let too_much = Posting { amount: Money::vnd(1_000_000), ..posting(from, to, 1) };
        rejected(ledger.post(Request::new(fresh_key()).transfer(too_much)).await);
    }
    // As many as bring a mark.
    let back_and_forth = (0..128).fold(Request::new(fresh_key()), |request, _| {
        request.transfer(posting(customers[0], nostro, 1)).transfer(posting(nostro, customers[0], 1))
    });
    posted(ledger.post(back_and_forth).await);
    posted(ledger.post(Request::new(fresh_key()).action(Action::Freeze(customers[4], Freeze::Out))).await);
    replica.stop().await;
    world
}

async fn report(pool: &PgPool) -> Report {
    verify(pool, Options::default()).await.expect("verified")
}

/// Changes something as the superuser with triggers and checks out of the way, verifies, and puts it back.
async fn tampered(world: &World, change: &str) -> (Report, u64) {
    let admin = world.database.admin_pool();
    let mut tx = admin.begin().await.expect("begun");
    sqlx::raw_sql("SET LOCAL session_replication_role = replica").execute(&mut *tx).await.expect("triggers off");
    let done = sqlx::raw_sql(AssertSqlSafe(change.to_owned()))
        .execute(&mut *tx)
        .await
        .unwrap_or_else(|error| panic!("{change}: {error}"));
    tx.commit().await.expect("committed");
    (report(&world.pool()).await, done.rows_affected())
}

/// One column and another value for it.
struct Column {
    name: String,
    kind: String,
}

async fn columns(pool: &PgPool, table: &str) -> Vec<Column> {
    let rows: Vec<(String, String)> = sqlx::query_as(
        "SELECT column_name::text, data_type::text FROM information_schema.columns
         WHERE table_schema = 'ledger' AND table_name = $1 ORDER BY ordinal_position",
    )
    .bind(table)
    .fetch_all(pool)
    .await
    .expect("columns");
    let kind = |kind: String| if kind == "ARRAY" { "bigint[]".to_owned() } else { kind };
    rows.into_iter().map(|(name, data_type)| Column { name, kind: kind(data_type) }).collect()
}

impl Column {
    /// The smallest change of a value, as SQL.
    fn flipped(&self) -> String {
        let name = &self.name;
        match self.kind.as_str() {
            // A high bit, so that no other row has the value already.
            "bigint" => format!("{name} # 1048576"),
            "integer" | "smallint" => format!("{name} # 1"),
            "uuid" => {
                format!("encode(set_byte(uuid_send({name}), 15, get_byte(uuid_send({name}), 15) # 1), 'hex')::uuid")
            }
            "bytea" => format!("set_byte({name}, 31, get_byte({name}, 31) # 1)"),
            "timestamp with time zone" => format!("{name} + interval '1 microsecond'"),
            "boolean" => format!("NOT {name}"),
            "bigint[]" => format!(
                "CASE CARDINALITY({name}) WHEN 0 THEN ARRAY[719163]::bigint[]
                 ELSE {name}[1:CARDINALITY({name}) - 1] || ({name}[CARDINALITY({name})] # 1) END"
            ),
            "text" => format!("overlay({name} placing chr(ascii({name}) # 1) from 1 for 1)"),
            other => panic!("no change is known for {other}"),
        }
    }
}

/// Checks would refuse some of the changes; who can switch off triggers can drop them too.
async fn drop_checks(pool: &PgPool) {
    let names: Vec<(String, String)> = sqlx::query_as(
        "SELECT c.conname::text, c.conrelid::regclass::text FROM pg_constraint AS c
         WHERE c.connamespace = 'ledger'::regnamespace AND c.contype = 'c'",
    )
    .fetch_all(pool)
    .await
    .expect("constraints");
    for (name, table) in names {
        sqlx::raw_sql(AssertSqlSafe(format!("ALTER TABLE {table} DROP CONSTRAINT {name}")))
            .execute(pool)
            .await
            .expect("dropped");
    }
}

#[tokio::test]
async fn one_changed_value_in_any_column_of_any_table_is_found() {
    let world = written().await;
    let admin = world.database.admin_pool();
    drop_checks(&admin).await;
    let before = report(&world.pool()).await;
    assert!(before.holds(), "sound before");
    assert_eq!(before.shards[0].recounted, 0, "holds and refunds are counted along the way");
    let mut tried = 0;
    for (table, block) in [
        ("transfer", "block"),
        ("block", "number"),
        ("request", "block"),
        ("account_change", "block"),
        ("refund", "block"),
        ("account_kind", "block"),
        ("transfer_kind", "block"),
        ("account", "opened_block"),
        ("hold", "opened_block"),
        ("account_mark", "sequence"),
    ] {
        for column in columns(&admin, table).await {
            if column.name == "shard" {
                continue;
            }
            tried += 1;
            found(&world, table, block, &column).await;
        }
    }
    assert!(tried >= 70, "{tried} columns were tried");
    assert!(report(&world.pool()).await.holds(), "sound again");
}

/// Flips a value in the middle row that has one, expects a finding in its block, and flips it back.
async fn found(world: &World, table: &str, block: &str, column: &Column) {
    let (name, admin) = (&column.name, world.database.admin_pool());
    let pick = format!(
        "SELECT ctid::text, {block}, {name}::text FROM (SELECT *, ctid, row_number() OVER (ORDER BY {block}, ctid) AS place,
                COUNT(*) OVER () AS total FROM ledger.{table} WHERE {name} IS NOT NULL) AS t WHERE place = total / 2 + 1"
    );
    let row: Option<(String, i64, String)> =
        sqlx::query_as(AssertSqlSafe(pick)).fetch_optional(&admin).await.expect("picked");
    let Some((ctid, sealed_in, before)) = row else { panic!("{table}.{name} is empty everywhere") };
    let change = format!("UPDATE ledger.{table} SET {name} = {} WHERE ctid = '{ctid}'", column.flipped());
    let (report, changed) = tampered(world, &change).await;
    assert_eq!(changed, 1, "{change}");
    let first = report.first().unwrap_or_else(|| panic!("{table}.{name} in block {sealed_in}: not found"));
    let is_state = matches!(
        (table, name.as_str()),
        ("account", "posted" | "held" | "promised" | "sequence" | "transfers" | "frozen" | "closed" | "usage" | "room")
            | ("account_mark", _)
    );
    let later_step = table == "hold"
        && !matches!(
            name.as_str(),
            "opened_block"
                | "id"
                | "debit"
                | "credit"
                | "amount"
                | "currency"
                | "kind"
                | "class"
                | "reference"
                | "expires_at"
                | "opened_at"
        );
    if is_state {
        assert!(first.account.is_some(), "{table}.{name}: {first}");
    } else if !later_step {
        assert_eq!(first.block, Some(sealed_in), "{table}.{name}: {first}");
    } else {
        assert!(first.block >= Some(sealed_in), "{table}.{name} of block {sealed_in}: {first}");
    }
    let kind = &column.kind;
    // The changed row is where the last change put it.
    let back = format!(
        "UPDATE ledger.{table} SET {name} = '{before}'::{kind} WHERE xmin::text::bigint = (SELECT MAX(xmin::text::bigint) FROM ledger.{table})"
    );
    let (report, restored) = tampered(world, &back).await;
    assert_eq!(restored, 1, "{back}");
    assert!(report.holds(), "{table}.{name} was put back: {:?}", report.first());
}

#[tokio::test]
async fn rows_that_are_taken_away_or_slipped_in_are_found() {
    let cases = BTreeMap::from([
        ("DELETE FROM ledger.transfer WHERE sequence = 9", Fault::Transfers),
        ("DELETE FROM ledger.block WHERE number = 5", Fault::BlockMissing),
        ("DELETE FROM ledger.block WHERE number = (SELECT MAX(number) FROM ledger.block)", Fault::BlockMissing),
        ("DELETE FROM ledger.request WHERE block = (SELECT MIN(block) FROM ledger.request)", Fault::Records),
        ("DELETE FROM ledger.hold WHERE ctid = (SELECT MIN(ctid) FROM ledger.hold)", Fault::Records),
        ("DELETE FROM ledger.account WHERE posted < 0", Fault::Records),
        ("UPDATE ledger.shard SET posted_at = posted_at + interval '1 year'", Fault::Head),
        ("UPDATE ledger.request SET block = 0 WHERE ctid = (SELECT MAX(ctid) FROM ledger.request)", Fault::Records),
        (
            "INSERT INTO ledger.account_change (block, shard, ordinal, frozen, account, closed)
             SELECT 1000000, 1, 1, 0, id, FALSE FROM ledger.account LIMIT 1",
            Fault::Stray,
        ),
        (
            "INSERT INTO ledger.request (block, shard, request_key, fingerprint) VALUES (0, 1, gen_random_uuid(), 1)",
            Fault::Stray,
        ),
        (
            "INSERT INTO ledger.request (block, shard, request_key, fingerprint) VALUES (1, 7, gen_random_uuid(), 1)",
            Fault::Stray,
        ),
        ("UPDATE ledger.shard SET sequence = sequence - 1", Fault::Head),
        ("UPDATE ledger.shard SET block = block - 1", Fault::Head),
        (
            "INSERT INTO ledger.request (block, shard, request_key, fingerprint)
             SELECT 3, 1, id, fingerprint FROM ledger.transfer WHERE sequence = 1 UNION ALL
             SELECT 3, 1, id, fingerprint FROM ledger.transfer WHERE request_size > 0 AND sequence > 4",
            Fault::Records,
        ),
        (
            "INSERT INTO ledger.account (posted, held, promised, sequence, transfers, opened_block, opened_at, frozen, shard, kind, currency, id, owner, closed)
             SELECT 0, 0, 0, 0, 0, 4, posted_at, 0, 1, 1, 704, gen_random_uuid(), gen_random_uuid(), FALSE FROM ledger.block WHERE number = 4",
            Fault::Records,
        ),
        (
            "INSERT INTO ledger.transfer (sequence, block, posted_at, amount, debit_balance, credit_balance, debit_previous, credit_previous, fingerprint, shard, currency, kind, request_size, id, debit, credit, reference)
             SELECT sequence + 1, block, posted_at, 1, 1, 1, 0, 0, 0, 1, 704, 1, 0, gen_random_uuid(), debit, credit, reference
             FROM ledger.transfer ORDER BY sequence DESC LIMIT 1",
            Fault::Head,
        ),
    ]);
    for (change, fault) in cases {
        let world = written().await;
        let (report, changed) = tampered(&world, change).await;
        assert!(changed > 0, "{change}");
        let faults: Vec<Fault> = report.shards[0].findings.iter().map(|finding| finding.fault).collect();
        assert!(faults.contains(&fault), "{change}: {faults:?}");
    }
}

/// Whoever forges a transfer together with its leaf, roots and hashes is found by the next block's chain.
#[tokio::test]
async fn a_forged_block_breaks_the_chain_after_it() {
    let world = written().await;
    let admin = world.database.admin_pool();
    let forged = "UPDATE ledger.block SET hash = sha256('forged') WHERE number = 6";
    let (report, _) = tampered(&world, forged).await;
    let found: Vec<_> = report.shards[0].findings.iter().map(|finding| (finding.block, finding.fault)).collect();
    assert_eq!(found, [(Some(6), Fault::BlockHash), (Some(7), Fault::Chain)]);
    admin.close().await;
}

#[tokio::test]
async fn many_accounts_are_verified_in_several_passes() {
    let world = written().await;
    let few = Options { accounts_per_pass: 2, ..Options::default() };
    let report = verify(&world.pool(), few).await.expect("verified");
    assert!(report.holds(), "{:?}", report.shards);
    assert_eq!((report.shards[0].accounts, report.shards[0].recounted), (7, 0));
    let (_, changed) = tampered(&world, "UPDATE ledger.account SET posted = posted + 1 WHERE posted > 0").await;
    let report = verify(&world.pool(), few).await.expect("verified");
    assert_eq!(report.shards[0].findings.len() as u64, changed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verification_runs_while_money_moves() {
    let world = World::new().await;
    let replica = world.engine();
    let (_, customers) = open(&replica.ledger, &[100_000, 0]).await;
    let ledger = replica.ledger.clone();
    let stop = platform::task::Shutdown::new();
    let stopping = stop.clone();
    let mover = tokio::spawn(async move {
        while !stopping.is_cancelled() {
            posted(ledger.post(Request::new(fresh_key()).transfer(posting(customers[0], customers[1], 1))).await);
        }
    });
    let pool = world.pool();
    let mut last = 0;
    for _ in 0..10 {
        let transfers = assert_sound(&pool).await;
        assert!(transfers >= last);
        last = transfers;
    }
    stop.begin();
    mover.await.expect("no panic");
    assert!(assert_sound(&pool).await > 1);
    replica.stop().await;
}
