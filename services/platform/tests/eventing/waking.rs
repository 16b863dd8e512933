//! Who wakes a relay: transactions that append while it sleeps, and no others. And in which order events are numbered.

use std::time::Duration;

use platform::embedded::scratch;
use platform::outbox::RelaySettings;
use sqlx::PgPool;
use sqlx::postgres::PgListener;
use uuid::Uuid;

use crate::stage::{LIMIT, SENDER, Stage, append_numbered, send, until, writer};

/// Longer than any test: a relay that wasn't woken doesn't look by itself.
const NEVER: Duration = Duration::from_secs(3_600);
const END: &str = "end";

/// What was told on the outbox's channel until now.
async fn told(listener: &mut PgListener, pool: &PgPool) -> usize {
    sqlx::query("SELECT pg_notify('sender_outbox', $1)").bind(END).execute(pool).await.expect("told");
    let mut count = 0;
    loop {
        let next = tokio::time::timeout(LIMIT, listener.recv()).await.expect("told in time").expect("it listens");
        if next.payload() == END {
            return count;
        }
        count += 1;
    }
}

async fn rest(pool: &PgPool) -> bool {
    sqlx::query_scalar("SELECT sender.rest_relay('sender')").fetch_one(pool).await.expect("a query")
}

/// Gives positions to what is committed; subjects in the order of positions.
async fn numbered(pool: &PgPool) -> Vec<(i64, Uuid)> {
    sqlx::query("SELECT sender.number_event(1000)").execute(pool).await.expect("numbered");
    let numbered = "SELECT position, subject FROM sender.outbox WHERE position IS NOT NULL ORDER BY position";
    sqlx::query_as(numbered).fetch_all(pool).await.expect("a query")
}

#[tokio::test]
async fn only_appends_during_sleep_tell() {
    let stage = Stage::new("redis://localhost:1".to_owned()).await;
    let pool = stage.database.pool(SENDER);
    stage
        .execute(
            "INSERT INTO sender.outbox_cursor (stream, generation, position, added)
             VALUES ('sender', gen_random_uuid(), 0, array_fill(0::bigint, ARRAY[16]))",
        )
        .await;
    let mut listener = PgListener::connect_with(&pool).await.expect("a connection");
    listener.listen("sender_outbox").await.expect("it listens");
    let subject = Uuid::now_v7();
    for _ in 0..3 {
        assert!(rest(&pool).await, "nobody appends");
        assert!(rest(&pool).await, "asking again changes nothing");
        let mut rolled_back = pool.begin().await.expect("the database answers");
        append_numbered(&mut rolled_back, subject, 1).await;
        assert!(!rest(&pool).await, "somebody appends, who may not have seen a request");
        rolled_back.rollback().await.expect("rolled back");
        assert_eq!(told(&mut listener, &pool).await, 0, "nothing was written");
        // A transaction that appends twice tells once.
        let mut transaction = pool.begin().await.expect("the database answers");
        append_numbered(&mut transaction, subject, 2).await;
        append_numbered(&mut transaction, subject, 1).await;
        transaction.commit().await.expect("committed");
        assert_eq!(told(&mut listener, &pool).await, 1);
        stage.execute("UPDATE sender.outbox_cursor SET asleep = false").await;
        send(&pool, subject, 4).await;
        assert_eq!(told(&mut listener, &pool).await, 0, "whoever was woken reads on until there is nothing");
    }
    let positions: Vec<i64> = numbered(&pool).await.into_iter().map(|(position, _)| position).collect();
    assert_eq!(positions, (1..=21).collect::<Vec<i64>>(), "what was rolled back leaves no gap");
}

#[tokio::test]
async fn nobody_waits_for_a_transaction_that_appended() {
    let stage = Stage::new("redis://localhost:1".to_owned()).await;
    let pool = stage.database.pool(SENDER);
    let [slow, quick, later] = [Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7()];
    let mut open = pool.begin().await.expect("the database answers");
    append_numbered(&mut open, slow, 1).await;
    send(&pool, quick, 2).await;
    assert_eq!(numbered(&pool).await, [(1, quick), (2, quick)]);
    send(&pool, later, 1).await;
    open.commit().await.expect("committed");
    // It was written before the other, but what has a position keeps it.
    assert_eq!(numbered(&pool).await, [(1, quick), (2, quick), (3, slow), (4, later)]);
    assert_eq!(numbered(&pool).await.len(), 4, "numbering again changes nothing");
}

#[tokio::test]
async fn events_get_positions_while_a_relay_of_an_earlier_version_moves_them() {
    let stage = Stage::new("redis://localhost:1".to_owned()).await;
    let pool = stage.database.pool(SENDER);
    // All that is seen of it here: it holds the lock, and reads what has a position.
    let mut earlier = pool.acquire().await.expect("a connection");
    let locked: bool =
        sqlx::query_scalar("SELECT pg_try_advisory_lock(hashtextextended('trangtien relay sender sender', 0))")
            .fetch_one(&mut *earlier)
            .await
            .expect("a query");
    assert!(locked);
    let _waiting = stage.relay_with("a", RelaySettings { poll: Duration::from_millis(20), ..RelaySettings::default() });
    send(&pool, Uuid::now_v7(), 3).await;
    let waits = "SELECT count(*) FROM sender.outbox WHERE position IS NULL";
    until("all have a position", async || stage.count(waits).await == 0).await;
    earlier.close().await.expect("closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_event_waits_for_a_relay_that_fell_asleep_before_it() {
    let redis = scratch::redis().await.expect("Redis is installed");
    let stage = Stage::new(redis.url()).await;
    let _relay = stage.relay_with("a", RelaySettings { poll: NEVER, ..RelaySettings::default() });
    let _consumer = stage.consumer("b", writer());
    let pool = stage.database.pool(SENDER);
    let subjects: Vec<Uuid> = (0..3).map(|_| Uuid::now_v7()).collect();
    // Each round meets the relay elsewhere on its way to sleep.
    for round in 1..=30_u32 {
        let mut senders = tokio::task::JoinSet::new();
        for (subject, place) in subjects.clone().into_iter().zip(0..) {
            let pool = pool.clone();
            senders.spawn(async move {
                tokio::time::sleep(Duration::from_millis(u64::from(place * round))).await;
                send(&pool, subject, 1).await;
            });
        }
        senders.join_all().await;
        stage.await_effects(i64::from(round) * 3).await;
    }
    stage.assert_exactly_once_in_order().await;
}
