//! A fresh database, engines on it, and short words for requests.

use std::time::Duration;

use ledger::limit::{Calendar, Class, Classes, Period};
use ledger::{
    AccountId, AccountKind, AccountSpec, Config, Currency, Engine, Floor, Key, Ledger, MIGRATOR, Money, NoRiders,
    Outcome, PostError, Posted, Posting, Reject, Request, Riders, SCHEMA, TransferKind,
};
use platform::clock::Clock;
use platform::db::PlatformTables;
use platform::embedded::scratch::{self, TestDatabase};
use platform::metrics::Metrics;
use platform::task::{Shutdown, Tasks};
use sqlx::PgPool;
use uuid::Uuid;

pub(crate) const CUSTOMER: AccountKind = AccountKind { code: 1, name: "customer", floor: Floor::Zero };
pub(crate) const NOSTRO: AccountKind = AccountKind { code: 2, name: "nostro", floor: Floor::None };
pub(crate) const TOP_UP: TransferKind = TransferKind::new(1, "top_up");
pub(crate) const PAYMENT: TransferKind = TransferKind::new(2, "payment").spending(Class::new(1));

/// The longest that anything in these tests is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A database with the ledger's schema, and a movable clock.
pub(crate) struct World {
    pub(crate) database: TestDatabase,
    pub(crate) clock: Clock,
}

impl World {
    pub(crate) async fn new() -> Self {
        let parts = [(SCHEMA, &MIGRATOR, PlatformTables::NotWanted)];
        let database = scratch::database(&parts).await.expect("a scratch database");
        Self { database, clock: Clock::test() }
    }

    /// A pool as the role that posts.
    pub(crate) fn pool(&self) -> PgPool {
        self.database.pool_as("trangtien_wallet")
    }

    pub(crate) fn engine(&self) -> Replica<()> {
        Replica::start(self.pool(), &self.clock, Config::default(), NoRiders)
    }
}

/// One engine, as one process would run it.
pub(crate) struct Replica<R> {
    pub(crate) ledger: Ledger<R>,
    pub(crate) metrics: Metrics,
    shutdown: Shutdown,
    tasks: Tasks,
}

impl<R: Send + Sync + 'static> Replica<R> {
    pub(crate) fn start(pool: PgPool, clock: &Clock, config: Config, riders: impl Riders<R>) -> Self {
        let metrics = Metrics::new("wallet", "test");
        let (ledger, tasks) = Engine::start(pool, clock.clone(), &metrics, config, riders);
        let shutdown = Shutdown::new();
        let tasks = Tasks::start(tasks, &shutdown);
        Self { ledger, metrics, shutdown, tasks }
    }

    /// Stops it as a process stops: what was accepted is answered first.
    pub(crate) async fn stop(self) {
        self.shutdown.begin();
        self.tasks.finish(PATIENCE).await;
    }
}

pub(crate) fn account(kind: AccountKind) -> AccountSpec {
    AccountSpec { id: AccountId::generate(), owner: Uuid::now_v7(), kind, currency: Currency::Vnd }
}

/// A key that nobody used, or, for the same `text`, the same key.
pub(crate) fn key(text: &str) -> Key {
    Key { caller: Uuid::nil(), operation: "test", key: text.to_owned(), fingerprint: [1; 32] }
}

pub(crate) fn fresh_key() -> Key {
    key(&Uuid::now_v7().to_string())
}

pub(crate) fn posting(debit: AccountId, credit: AccountId, dong: i64) -> Posting {
    Posting { debit, credit, amount: Money::vnd(dong), kind: PAYMENT, reference: Uuid::now_v7() }
}

/// Opens accounts: a nostro, and customers with so many đồng each.
pub(crate) async fn open<R: Send + Sync + 'static>(ledger: &Ledger<R>, dong: &[i64]) -> (AccountId, Vec<AccountId>) {
    let nostro = account(NOSTRO);
    let mut request = Request::new(fresh_key()).open(nostro);
    let mut customers = Vec::new();
    for dong in dong {
        let customer = account(CUSTOMER);
        request = request.open(customer);
        if *dong > 0 {
            request = request.transfer(Posting { kind: TOP_UP, ..posting(nostro.id, customer.id, *dong) });
        }
        customers.push(customer.id);
    }
    posted(ledger.post(request).await);
    (nostro.id, customers)
}

pub(crate) fn posted(answer: Result<Outcome, PostError>) -> Vec<Posted> {
    match answer {
        Ok(Outcome::Posted(posted)) => posted,
        other => panic!("not posted: {other:?}"),
    }
}

pub(crate) fn rejected(answer: Result<Outcome, PostError>) -> Reject {
    match answer {
        Ok(Outcome::Rejected(reject)) => reject,
        other => panic!("not rejected: {other:?}"),
    }
}

/// The balance of an account in đồng.
pub(crate) async fn balance<R: Send + Sync + 'static>(ledger: &Ledger<R>, id: AccountId) -> i64 {
    ledger.balance(id).await.expect("readable").expect("there").posted.minor()
}

/// The value of a counter or histogram count with these labels, whatever their order; 0 when there is none.
pub(crate) fn sample(metrics: &Metrics, name: &str, labels: &[(&str, &str)]) -> u64 {
    let text = metrics.encode();
    let full = format!("trangtien_wallet_{name}{{");
    let line = text.lines().find(|line| {
        line.starts_with(&full) && labels.iter().all(|(label, value)| line.contains(&format!("{label}=\"{value}\"")))
    });
    let value = line.and_then(|line| line.rsplit(' ').next());
    value.map_or(0, |value| value.parse().expect("a whole number"))
}

/// What an account spent of the one class, on the day and in the month of a moment.
pub(crate) async fn spent<R: Send + Sync + 'static>(
    ledger: &Ledger<R>,
    id: AccountId,
    at: chrono::DateTime<chrono::Utc>,
) -> (i64, i64) {
    let usage = ledger.account(id).await.expect("readable").expect("there").usage;
    let (classes, day) = (Classes::of(&[Class::new(1)]), Calendar::default().day(at));
    (usage.spent(classes, Period::Day, day), usage.spent(classes, Period::Month, day))
}

/// As [`assert_sound`], when nobody posts: what accounts spent came out along the way.
pub(crate) async fn assert_sound_at_rest(pool: &PgPool) {
    assert_sound(pool).await;
    let report = ledger::verify::verify(pool, ledger::verify::Options::default()).await.expect("verified");
    assert_eq!(report.shards[0].recounted, 0);
}

/// Everything holds, and debits equal credits. Gives how many transfers there are.
pub(crate) async fn assert_sound(pool: &PgPool) -> i64 {
    let report = ledger::verify::verify(pool, ledger::verify::Options::default()).await.expect("verified");
    assert!(report.holds(), "{:?}", report.shards);
    assert!(ledger::book::trial_balance(pool).await.expect("added up").is_balanced());
    report.shards[0].transfers
}
