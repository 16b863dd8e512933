//! Batches that were decided without a lock on what is no longer so: another replica's block came first, or a key had been answered before.

use ledger::{Action, Answer, Outcome, Reject, Request};
use sqlx::PgPool;

use crate::posting::scalar;
use crate::support::*;

/// How many batches are on their way and wait for the shard's lock.
const AT_THE_FENCE: &str = "SELECT COUNT(*) FROM pg_catalog.pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE 'SELECT ledger.post_batch%'";

/// Waits until so many batches wait for the shard's lock.
async fn until_at_the_fence(admin: &PgPool, batches: i64) {
    tokio::time::timeout(PATIENCE, async {
        while scalar(admin, AT_THE_FENCE).await < batches {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("they wait");
}

/// Both want most of the same money. Whoever is second must not have it, though it was decided that it has.
async fn one_of_two_loses(requests: impl Fn(ledger::Posting) -> [Request<()>; 2]) {
    let world = World::new().await;
    let first = world.engine();
    let (_, customers) = open(&first.ledger, &[100, 0]).await;
    first.stop().await;
    let admin = world.database.admin_pool();
    let blocks = scalar(&admin, "SELECT block FROM ledger.shard").await;
    let mut lock = platform::db::begin(&admin).await.expect("begun");
    sqlx::query("SELECT 1 FROM ledger.shard FOR UPDATE").execute(&mut *lock).await.expect("locked");
    // They have just started: each reads the books, which waits for nobody, and decides on the same head.
    let replicas = [world.engine(), world.engine()];
    let mut asks = Vec::new();
    for (replica, request) in replicas.iter().zip(requests(posting(customers[0], customers[1], 80))) {
        let ledger = replica.ledger.clone();
        asks.push(tokio::spawn(async move { ledger.post(request).await.expect("answered") }));
        until_at_the_fence(&admin, i64::try_from(asks.len()).expect("two")).await;
    }
    lock.rollback().await.expect("released");
    let mut answers = Vec::new();
    for ask in asks {
        answers.push(ask.await.expect("no panic"));
    }
    let refused = Outcome::Rejected(Reject::InsufficientFunds(customers[0]));
    assert_eq!(answers.iter().filter(|answer| **answer == refused).count(), 1, "{answers:?}");
    assert_eq!(answers.iter().filter(|answer| matches!(answer, Outcome::Posted(_))).count(), 1, "{answers:?}");
    for replica in replicas {
        replica.stop().await;
    }
    // A block with the transfer and one with the refusal; of the batch that lost, nothing.
    assert_eq!(scalar(&admin, "SELECT block FROM ledger.shard").await, blocks + 2);
    assert_eq!(assert_sound(&world.pool()).await, 2);
    assert_sound_at_rest(&world.pool()).await;
}

#[tokio::test]
async fn of_two_batches_on_one_head_the_second_writes_nothing_and_is_decided_anew() {
    one_of_two_loses(|made| [(); 2].map(|()| Request::new(fresh_key()).transfer(made))).await;
}

#[tokio::test]
async fn of_two_transactions_on_one_head_the_second_writes_nothing_and_is_decided_anew() {
    // More than a movement of money: several statements.
    one_of_two_loses(|made| [(); 2].map(|()| Request::new(fresh_key()).open(account(CUSTOMER)).transfer(made))).await;
}

/// A refusal or a grant is final, also for a replica that has never heard of it and would decide otherwise now.
#[tokio::test]
async fn what_another_replica_answered_is_found_though_the_batch_was_decided_otherwise() {
    let world = World::new().await;
    let other = world.engine();
    let (nostro, customers) = open(&other.ledger, &[100, 0]).await;
    let (debit, credit) = (customers[0], customers[1]);
    let chain = |key| Request::new(key).transfer(posting(debit, credit, 150)).transfer(posting(credit, nostro, 1));
    // Keys with a time lie among those of the batch, the plain one anywhere.
    let refused = [
        Request::new(fresh_key()).transfer(posting(debit, credit, 150)),
        Request::new(key("refused")).transfer(posting(debit, credit, 150)),
        chain(fresh_key()),
    ];
    for request in &refused {
        assert_eq!(rejected(other.ledger.post(request.clone()).await), Reject::InsufficientFunds(debit));
    }
    let granted = Request::new(key("granted")).transfer(posting(debit, credit, 100));
    let made = posted(other.ledger.post(granted.clone()).await);

    // There is nothing left now: a replica that has just started would refuse what was granted.
    let poor = world.engine();
    let again = poor.ledger.answer(granted).await.expect("answered");
    assert_eq!(again, Answer { outcome: Outcome::Posted(made), replayed: true });
    poor.stop().await;

    // There is plenty now: one that has just started would grant what was refused, in the middle of much that is new.
    posted(other.ledger.post(Request::new(fresh_key()).transfer(posting(nostro, debit, 10_000))).await);
    for known in refused {
        let rich = world.engine();
        let blocks = scalar(&world.database.admin_pool(), "SELECT block FROM ledger.shard").await;
        let request = |number: usize| match number {
            20 => known.clone(),
            _ => Request::new(fresh_key()).transfer(posting(debit, credit, 1)),
        };
        let answers = futures::future::join_all((0..40).map(|number| rich.ledger.answer(request(number)))).await;
        for (number, answer) in answers.into_iter().enumerate() {
            let answer = answer.expect("answered");
            assert_eq!(answer.replayed, number == 20);
            match number {
                20 => assert_eq!(answer.outcome, Outcome::Rejected(Reject::InsufficientFunds(debit))),
                _ => drop(posted(Ok(answer.outcome))),
            }
        }
        let written = scalar(&world.database.admin_pool(), "SELECT block FROM ledger.shard").await - blocks;
        assert!((1..40).contains(&written), "they shared batches: {written}");
        rich.stop().await;
    }
    assert_eq!(balance(&other.ledger, credit).await, 100 + 3 * 39);
    other.stop().await;
    assert_sound_at_rest(&world.pool()).await;
}

/// A refusal that opens, holds or changes nothing is found by a request that makes no transfer, too.
#[tokio::test]
async fn a_known_key_is_found_by_a_request_without_transfers() {
    let world = World::new().await;
    let (first, second) = (world.engine(), world.engine());
    let (_, customers) = open(&first.ledger, &[100]).await;
    let close = Request::new(key("close")).action(Action::Close(customers[0]));
    assert_eq!(rejected(first.ledger.post(close.clone()).await), Reject::AccountNotEmpty(customers[0]));
    let (nostro, _) = open(&first.ledger, &[]).await;
    posted(first.ledger.post(Request::new(fresh_key()).transfer(posting(customers[0], nostro, 100))).await);
    let again = second.ledger.answer(close).await.expect("answered");
    assert!(again.replayed);
    assert_eq!(again.outcome, Outcome::Rejected(Reject::AccountNotEmpty(customers[0])));
    first.stop().await;
    second.stop().await;
    assert_sound_at_rest(&world.pool()).await;
}

/// An empty block after `$1` with the hash `$2`, as a replica would write it, whose own hash is `$3`.
const EMPTY_BLOCK: &str = "SELECT ledger.post_batch(
        p_shard => 1::smallint, p_clock => CLOCK_TIMESTAMP(), p_ahead_ms => 0, p_last_block => $1, p_last_hash => $2,
        p_posted_at => CLOCK_TIMESTAMP(), p_first_sequence => s.sequence + 1, p_records => 0,
        p_transfer_root => s.hash, p_record_root => s.hash, p_balance_hash => s.hash, p_salt => gen_random_uuid(), p_hash => $3,
        p_request_key => '{}', p_account => '{}', p_posted => '{}', p_held => '{}', p_promised => '{}', p_sequence => '{}',
        p_transfers => '{}', p_frozen => '{}', p_closed => '{}', p_usage => '', p_usage_end => '{0}', p_id_from => NULL, p_id_to => NULL,
        p_id => '{}', p_debit => '{}', p_credit => '{}', p_reference => '{}', p_amount => '{}', p_debit_balance => '{}',
        p_credit_balance => '{}', p_debit_previous => '{}', p_credit_previous => '{}', p_fingerprint => '{}', p_currency => '{}',
        p_kind => '{}', p_request_size => '{}', p_mark_account => '{}', p_mark_sequence => '{}', p_channel => 'test')
    FROM ledger.shard AS s
    WHERE s.shard = 1";

/// Both the number and the hash of the head are the fence: each of them alone is not enough.
#[tokio::test]
async fn only_the_very_head_that_a_batch_was_decided_on_lets_it_pass() {
    let world = World::new().await;
    let replica = world.engine();
    open(&replica.ledger, &[100]).await;
    replica.stop().await;
    let pool = world.pool();
    let head = "SELECT block, hash FROM ledger.shard";
    let (block, hash): (i64, Vec<u8>) = sqlx::query_as(head).fetch_one(&pool).await.expect("read");
    let (other, next) = (vec![7; 32], vec![9; 32]);
    let attempts = [(block - 1, &hash, false), (block + 1, &hash, false), (block, &other, false), (block, &hash, true)];
    for (on, of, passes) in attempts {
        let mut tx = platform::db::begin(&pool).await.expect("begun");
        let call = sqlx::query_scalar(EMPTY_BLOCK).bind(on).bind(of).bind(&next);
        let posted: bool = call.fetch_one(&mut *tx).await.expect("answered");
        assert_eq!(posted, passes, "on block {on}");
        let after: (i64, Vec<u8>) = sqlx::query_as(head).fetch_one(&mut *tx).await.expect("read");
        assert_eq!(after, if passes { (block + 1, next.clone()) } else { (block, hash.clone()) });
        tx.rollback().await.expect("rolled back");
    }
    let short = sqlx::query_scalar::<_, bool>(EMPTY_BLOCK).bind(block).bind(&hash).bind(&next[..31]);
    let refused = short.fetch_one(&pool).await.expect_err("no block");
    assert_eq!(platform::db::violated(&refused), Some("block_well_formed"));
    assert_sound_at_rest(&pool).await;
}
