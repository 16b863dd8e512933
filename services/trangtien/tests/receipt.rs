//! `trangtien ledger verify --receipt FILE --key PUBLIC` as a person runs it: what it says, and how it exits.

use std::path::Path;
use std::process::{Command, Output};

use chrono::{FixedOffset, TimeDelta};
use ledger::checkpoint::make::{self, Maker};
use ledger::note::Signer;
use ledger::receipt::{self, MAX_RECEIPT_BYTES};
use ledger::{
    AccountId, AccountKind, AccountSpec, Config, Currency, Engine, Floor, Key, MIGRATOR, Money, NoRiders, Outcome,
    Posting, Request, SCHEMA, TransferId, TransferKind,
};
use platform::clock::Clock;
use platform::db::PlatformTables;
use platform::embedded::scratch::{self, TestDatabase, TestFolder};
use platform::metrics::Metrics;
use platform::task::{Shutdown, Tasks};
use sqlx::PgPool;
use uuid::Uuid;

const KIND: AccountKind = AccountKind { code: 1, name: "any", floor: Floor::None };

/// Posts one transfer of 150,000 đồng.
async fn one_transfer(pool: &PgPool, clock: &Clock) -> TransferId {
    let metrics = Metrics::new("wallet", "test");
    let (ledger, tasks) = Engine::start::<()>(pool.clone(), clock.clone(), &metrics, Config::default(), NoRiders);
    let _running = Tasks::start(tasks, &Shutdown::new());
    let account = || AccountSpec { id: AccountId::generate(), owner: Uuid::nil(), kind: KIND, currency: Currency::Vnd };
    let (debit, credit) = (account(), account());
    let key = Key { caller: Uuid::nil(), operation: "test", key: "one".to_owned(), fingerprint: [1; 32] };
    let kind = TransferKind::new(1, "payment");
    let reference = Uuid::nil();
    let posting = Posting { debit: debit.id, credit: credit.id, amount: Money::vnd(150_000), kind, reference };
    match ledger.post(Request::new(key).open(debit).open(credit).transfer(posting)).await {
        Ok(Outcome::Posted(made)) => made[0].transfer,
        other => unreachable!("it can be posted: {other:?}"),
    }
}

/// A ledger with one transfer.
struct Books {
    database: TestDatabase,
    clock: Clock,
    transfer: TransferId,
}

impl Books {
    async fn new() -> Self {
        let database = scratch::database(&[(SCHEMA, &MIGRATOR, PlatformTables::NotWanted)]).await.expect("PostgreSQL");
        let clock = Clock::test();
        let transfer = one_transfer(&database.pool_as("trangtien_wallet"), &clock).await;
        Self { database, clock, transfer }
    }

    /// The bytes of the transfer's receipt.
    async fn receipt(&self) -> Vec<u8> {
        let pool = self.database.pool_as("trangtien_wallet");
        receipt::issue(&pool, self.transfer).await.expect("read").expect("there").to_json()
    }

    /// Signs the day; gives the public key.
    async fn sign(&self) -> String {
        let zone = FixedOffset::east_opt(7 * 3_600).expect("a zone");
        let signer = Signer::try_new(&"5a".repeat(32)).expect("a seed");
        let maker = Maker { name: "hue.example".to_owned(), shard: 1, zone, signer };
        let pool = self.database.pool_as("trangtien_wallet");
        make::due(&pool, &maker, self.clock.now() + TimeDelta::days(2)).await.expect("signed");
        maker.public_key().expect("a name").to_string()
    }
}

/// Runs the command on a file, with a key or without.
fn check(file: &Path, key: Option<&str>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trangtien"));
    command.args(["ledger", "verify", "--receipt"]).arg(file);
    command.args(key.iter().flat_map(|key| ["--key", key]));
    command.output().expect("the program runs")
}

/// What it said of a receipt that holds.
fn held(output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && error.is_empty(), "{:?}: {error}", output.status);
    String::from_utf8(output.stdout.clone()).expect("text")
}

/// What it said of one that it refused.
fn refused(output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && output.stdout.is_empty(), "{:?}: {error}", output.status);
    assert!(error.starts_with("error: ") && error.trim_end().lines().count() == 1, "{error}");
    error.into_owned()
}

#[tokio::test]
async fn a_good_receipt_exits_with_0_and_says_what_it_proves() {
    let books = Books::new().await;
    let folder = TestFolder::new("receipt").expect("a folder");
    let file = folder.path().join("receipt.json");
    std::fs::write(&file, books.receipt().await).expect("writable");
    let text = held(&check(&file, None));
    assert!(text.starts_with("this receipt holds") && text.contains("moved 150000 VND"), "{text}");
    assert!(text.contains("does not prove that the city stands by it"), "{text}");

    let key = books.sign().await;
    let unsigned = refused(&check(&file, Some(&key)));
    assert!(unsigned.contains("no signed checkpoint"), "{unsigned}");
    std::fs::write(&file, books.receipt().await).expect("writable");
    let unsure = held(&check(&file, None));
    assert!(unsure.contains("hue.example/ledger/1 signed") && unsure.contains(&key), "{unsure}");
    let sure = held(&check(&file, Some(&key)));
    assert!(sure.contains("hue.example/ledger/1 signed") && !sure.contains(&key), "{sure}");
}

#[tokio::test]
async fn a_changed_receipt_exits_with_1_and_says_why() {
    let books = Books::new().await;
    let folder = TestFolder::new("receipt").expect("a folder");
    let file = folder.path().join("receipt.json");
    let key = books.sign().await;
    let bytes = books.receipt().await;
    for place in [0, bytes.len() / 3, bytes.len() / 2, bytes.len() - 1] {
        let mut changed = bytes.clone();
        changed[place] ^= 1;
        std::fs::write(&file, changed).expect("writable");
        let text = refused(&check(&file, Some(&key)));
        assert!(text.contains("this receipt proves nothing"), "byte {place}: {text}");
    }
    let more = String::from_utf8(bytes.clone()).expect("text").replace("\"150000\"", "\"950000\"");
    std::fs::write(&file, more).expect("writable");
    assert!(refused(&check(&file, None)).contains("not the one that the block seals"));
    std::fs::write(&file, &bytes).expect("writable");
    let foreign = Signer::try_new(&"66".repeat(32)).expect("a seed").public_key("hue.example/ledger/1");
    let foreign = foreign.expect("a name").to_string();
    assert!(refused(&check(&file, Some(&foreign))).contains("not signed with the key that was given"));
    assert!(refused(&check(&file, Some("no key"))).contains("--key is no public key"));
}

#[test]
fn a_file_that_is_no_receipt_exits_with_1_and_names_it() {
    let folder = TestFolder::new("receipt").expect("a folder");
    let missing = folder.path().join("none.json");
    let text = refused(&check(&missing, None));
    assert!(
        text.contains("cannot read the receipt") && text.contains("none.json") && text.contains("No such file"),
        "{text}"
    );
    // Whoever runs this may read any file, but nobody reads a folder.
    let text = refused(&check(folder.path(), None));
    assert!(text.contains("cannot read the receipt") && text.contains(&*folder.path().to_string_lossy()), "{text}");
    let file = folder.path().join("other");
    for other in [Vec::new(), b"{}".to_vec(), vec![0xff; 64], vec![b' '; MAX_RECEIPT_BYTES * 2]] {
        std::fs::write(&file, other).expect("writable");
        assert!(refused(&check(&file, None)).contains("the file is not a receipt"));
    }
}
