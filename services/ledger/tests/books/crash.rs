//! PostgreSQL itself is killed in the middle of batches, again and again, while two replicas post.
//!
//! `TRANGTIEN_CRASHES=200` runs as many rounds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use ledger::{AccountId, Config, Key, Ledger, MIGRATOR, NoRiders, Outcome, PostError, Request, SCHEMA};
use platform::clock::Clock;
use platform::config::Secret;
use platform::db::{self, PlatformTables, Schema};
use platform::embedded::scratch::{self, TestPostgres};
use sqlx::PgPool;
use tokio::task::JoinSet;

use crate::support::*;

/// Rounds, unless others are asked for.
const CRASHES: i64 = 12;
const CALLERS: usize = 16;
/// How many answers lie between two crashes, at least.
const BETWEEN: i64 = 50;
/// The role that posts.
const WALLET: Schema = Schema::new("wallet");
const PASSWORD: &str = "of-this-test-alone";
const DATABASE: &str = "postgres";

/// A server of this test's own with the ledger's schema, and a pool as the role that posts.
async fn server() -> (TestPostgres, PgPool) {
    let server = scratch::postgres().await.expect("PostgreSQL is installed");
    let connect = async |url: String| db::connect(&Secret::new(url)).await.expect("connected");
    let mut admin = connect(server.superuser_url(DATABASE)).await;
    db::bootstrap(&mut admin, &[SCHEMA, WALLET], |_| PASSWORD.to_owned()).await.expect("roles and schemas");
    let mut owner = connect(server.url(&SCHEMA.owner_role(), PASSWORD, DATABASE)).await;
    db::migrate(&mut owner, SCHEMA, &MIGRATOR, PlatformTables::NotWanted).await.expect("migrated");
    let pool = PgPool::connect_lazy(&server.url(&WALLET.runtime_role(), PASSWORD, DATABASE)).expect("a URL");
    (server, pool)
}

/// What callers share.
struct Callers {
    ledgers: [Ledger<()>; 2],
    sides: (AccountId, AccountId),
    answered: AtomicI64,
    enough: AtomicBool,
}

impl Callers {
    /// Moves one đồng after the other, and asks for each, here or there, until it is answered. Gives the keys.
    async fn run(self: Arc<Self>, caller: usize) -> Vec<Key> {
        let mut keys = Vec::new();
        while !self.enough.load(Ordering::SeqCst) {
            let key = fresh_key();
            let request = Request::new(key.clone()).transfer(posting(self.sides.0, self.sides.1, 1));
            let mut ledger = caller;
            loop {
                match self.ledgers[ledger % 2].post(request.clone()).await {
                    Ok(Outcome::Posted(made)) => break assert_eq!(made.len(), 1),
                    Err(PostError::Unavailable(_) | PostError::OutcomeUnknown) => ledger += 1,
                    other => panic!("{other:?}"),
                }
            }
            self.answered.fetch_add(1, Ordering::SeqCst);
            keys.push(key);
        }
        keys
    }

    async fn until_answered(&self, least: i64) {
        tokio::time::timeout(PATIENCE, async {
            while self.answered.load(Ordering::SeqCst) < least {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("answers come again");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crashes_of_the_database_in_the_middle_of_batches_lose_and_double_nothing() {
    let crashes = std::env::var("TRANGTIEN_CRASHES").map_or(CRASHES, |crashes| crashes.parse().expect("a number"));
    let (server, pool) = server().await;
    let start = || Replica::start(pool.clone(), &Clock::system(), Config::default(), NoRiders);
    let replicas = [start(), start()];
    let (_, customers) = open(&replicas[0].ledger, &[1_000_000_000, 0]).await;
    let callers = Arc::new(Callers {
        ledgers: [replicas[0].ledger.clone(), replicas[1].ledger.clone()],
        sides: (customers[0], customers[1]),
        answered: AtomicI64::new(0),
        enough: AtomicBool::new(false),
    });
    let mut running: JoinSet<Vec<Key>> = (0..CALLERS).map(|caller| callers.clone().run(caller)).collect();
    for _ in 0..crashes {
        callers.until_answered(callers.answered.load(Ordering::SeqCst) + BETWEEN).await;
        server.kill().await;
        server.restart().await.expect("it recovers");
    }
    callers.until_answered(callers.answered.load(Ordering::SeqCst) + BETWEEN).await;
    callers.enough.store(true, Ordering::SeqCst);
    let mut keys = Vec::new();
    while let Some(done) = running.join_next().await {
        keys.extend(done.expect("no caller gave up"));
    }
    let answered = callers.answered.load(Ordering::SeqCst);
    assert!(answered >= BETWEEN * crashes, "{answered} answers");
    assert_eq!(balance(&replicas[0].ledger, customers[1]).await, answered);
    for replica in replicas {
        replica.stop().await;
    }
    // Each is known by its key, and the books hold no other.
    for chunk in keys.chunks(1_000) {
        let posted: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM ledger.transfer WHERE id = ANY($1)")
            .bind(chunk.iter().map(|key| key.transfer(0).uuid()).collect::<Vec<_>>())
            .fetch_one(&pool)
            .await
            .expect("read");
        assert_eq!(posted, i64::try_from(chunk.len()).expect("few"));
    }
    assert_eq!(assert_sound(&pool).await, answered + 1);
    assert_sound_at_rest(&pool).await;
    pool.close().await;
}
