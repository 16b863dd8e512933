//! The way of an event when all servers are well: order, failures, dead letters, leases, retention.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use platform::embedded::scratch;
use platform::events::{ConsumerSettings, Event, HandleError, Handler, dead_events, redrive, redrive_all};
use platform::outbox::RelaySettings;
use sqlx::PgConnection;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::stage::{
    LIMIT, Process, RECEIVER, SENDER, Stage, append_numbered, quick, send, sequence, until, write, writer,
};

#[tokio::test(flavor = "multi_thread")]
async fn order_per_subject_holds_with_concurrent_transactions() {
    let redis = scratch::redis().await.expect("Redis is installed");
    let stage = Stage::new(redis.url()).await;
    let _relay = stage.relay("a");
    let _consumer = stage.consumer("b", writer());
    let subjects: Vec<Uuid> = (0..20).map(|_| Uuid::now_v7()).collect();
    let pool = stage.database.pool(SENDER);
    let mut senders = tokio::task::JoinSet::new();
    for sender in 0..12_usize {
        let (pool, subjects) = (pool.clone(), subjects.clone());
        senders.spawn(async move {
            for round in 0..25_usize {
                let subject = subjects[(sender * 7 + round) % subjects.len()];
                if round % 5 == 4 {
                    // What is rolled back is never sent, and leaves no gap that anyone waits for.
                    let mut transaction = pool.begin().await.expect("the database answers");
                    append_numbered(&mut transaction, subject, 2).await;
                    transaction.rollback().await.expect("rolled back");
                } else {
                    send(&pool, subject, 3).await;
                }
            }
        });
    }
    senders.join_all().await;
    stage.await_effects(12 * 20 * 3).await;
    stage.assert_exactly_once_in_order().await;
}

/// Fails for chosen events for a while, or for ever.
struct Moody {
    bad: Uuid,
    failures: AtomicU32,
    poison: AtomicBool,
}

#[async_trait]
impl Handler for Moody {
    async fn handle(&self, transaction: &mut PgConnection, events: &[Event]) -> Result<(), HandleError> {
        if events.iter().any(|event| event.subject == self.bad && sequence(event) == 3) {
            if self.poison.load(Ordering::SeqCst) {
                return Err(HandleError::poison("a reason that operators read"));
            }
            let left = self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
            if left.is_ok() {
                return Err(HandleError::retry("not yet"));
            }
        }
        write(transaction, events).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_event_holds_back_its_subject_only() {
    let redis = scratch::redis().await.expect("Redis is installed");
    let stage = Stage::new(redis.url()).await;
    let (bad, good) = (Uuid::now_v7(), Uuid::now_v7());
    stage.send(bad, 10).await;
    stage.send(good, 10).await;
    // Splitting the batch takes a few failures; the rest are attempts at the event alone.
    let handler = Arc::new(Moody { bad, failures: AtomicU32::new(u32::MAX), poison: AtomicBool::new(false) });
    let _relay = stage.relay("a");
    let mut settings = quick();
    settings.patience.attempts = u32::MAX;
    let _consumer = stage.consumer_with("b", handler.clone(), settings);
    stage.await_effects(2 + 10).await;
    assert_eq!(
        stage.count("SELECT count(*) FROM receiver.effect WHERE sequence > 2").await,
        8,
        "only the good subject's"
    );
    handler.failures.store(2, Ordering::SeqCst);
    stage.await_effects(20).await;
    stage.assert_exactly_once_in_order().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_goes_to_the_dead_letters_and_comes_back_by_redrive() {
    let redis = scratch::redis().await.expect("Redis is installed");
    let stage = Stage::new(redis.url()).await;
    let bad = Uuid::now_v7();
    stage.send(bad, 10).await;
    let handler = Arc::new(Moody { bad, failures: AtomicU32::new(0), poison: AtomicBool::new(true) });
    let _relay = stage.relay("a");
    let consumer = stage.consumer("b", handler.clone());
    stage.await_effects(9).await;
    let pool = stage.database.pool(RECEIVER);
    let dead = dead_events(&pool, RECEIVER, None).await.expect("listed");
    assert_eq!(dead.len(), 1);
    assert_eq!((dead[0].reason.as_str(), dead[0].attempts), ("a reason that operators read", 1));
    assert!(dead_events(&pool, RECEIVER, dead.last()).await.expect("listed").is_empty());

    // Still poison: it stays dead, with one more attempt.
    let mut connection = pool.acquire().await.expect("a connection");
    assert!(redrive(&mut connection, RECEIVER, dead[0].event_id).await.expect("marked"));
    until("it was tried again", async || {
        let dead = dead_events(&pool, RECEIVER, None).await.expect("listed");
        dead[0].attempts == 2 && dead[0].redrive_at.is_none()
    })
    .await;

    handler.poison.store(false, Ordering::SeqCst);
    assert_eq!(redrive_all(&mut connection, RECEIVER, &dead[0].kind).await.expect("marked"), 1);
    stage.await_effects(10).await;
    let order: Vec<i64> = stage.effects().await.iter().map(|effect| effect.sequence).collect();
    assert_eq!(order, [1, 2, 4, 5, 6, 7, 8, 9, 10, 3], "once, and after what went on without it");
    assert!(!redrive(&mut connection, RECEIVER, dead[0].event_id).await.expect("asked"), "it is no longer dead");
    let metrics = consumer.context.metrics.encode();
    assert!(metrics.contains(r#"outcome="redriven""#) && metrics.contains(r#"outcome="dead""#), "{metrics}");
}

/// Poison that takes its time: says that it began, and goes on when it is told to.
#[derive(Default)]
struct SlowPoison {
    began: Notify,
    go_on: Notify,
}

#[async_trait]
impl Handler for SlowPoison {
    async fn handle(&self, _: &mut PgConnection, _: &[Event]) -> Result<(), HandleError> {
        self.began.notify_one();
        self.go_on.notified().await;
        Err(HandleError::poison("still"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_an_attempt_during_one_gets_another() {
    let redis = scratch::redis().await.expect("Redis is installed");
    let stage = Stage::new(redis.url()).await;
    stage.send(Uuid::now_v7(), 1).await;
    let handler = Arc::new(SlowPoison::default());
    let _relay = stage.relay("a");
    let _consumer = stage.consumer("b", handler.clone());
    let next = async || {
        tokio::time::timeout(LIMIT, handler.began.notified()).await.expect("an attempt");
    };
    next().await;
    handler.go_on.notify_one();
    let pool = stage.database.pool(RECEIVER);
    let dead = async || dead_events(&pool, RECEIVER, None).await.expect("listed");
    until("it is dead", async || dead().await.len() == 1).await;
    let event = dead().await[0].event_id;
    let ask = async || {
        let mut connection = pool.acquire().await.expect("a connection");
        redrive(&mut connection, RECEIVER, event).await.expect("answered")
    };
    assert!(ask().await);
    next().await;
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
    let (again, ()) = tokio::join!(ask(), async {
        until("the operator waits for the attempt", async || stage.count(waits).await == 1).await;
        handler.go_on.notify_one();
    });
    assert!(again);
    next().await;
    handler.go_on.notify_one();
    until("it was tried three times", async || {
        let dead = dead().await;
        dead[0].attempts == 3 && dead[0].redrive_at.is_none()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_keeps_failing_dies_after_its_last_attempt() {
    let redis = scratch::redis().await.expect("Redis is installed");
    let stage = Stage::new(redis.url()).await;
    let bad = Uuid::now_v7();
    stage.send(bad, 4).await;
    let handler = Arc::new(Moody { bad, failures: AtomicU32::new(u32::MAX), poison: AtomicBool::new(false) });
    let _relay = stage.relay("a");
    let mut settings = quick();
    settings.patience.attempts = 3;
    let _consumer = stage.consumer_with("b", handler, settings);
    stage.await_effects(3).await;
    let dead = dead_events(&stage.database.pool(RECEIVER), RECEIVER, None).await.expect("listed");
    assert_eq!((dead.len(), dead[0].attempts, dead[0].reason.as_str()), (1, 3, "not yet"));
}

/// Panics once, then swallows a failed statement once, then behaves.
struct Careless {
    calls: AtomicU32,
}

#[async_trait]
impl Handler for Careless {
    async fn handle(&self, transaction: &mut PgConnection, events: &[Event]) -> Result<(), HandleError> {
        match self.calls.fetch_add(1, Ordering::SeqCst) {
            0 => std::panic::resume_unwind(Box::new("a fault in a handler")),
            1 => {
                write(transaction, events).await?;
                // The error aborts the transaction, and the handler doesn't tell.
                let _ = sqlx::query("INSERT INTO receiver.once (id) VALUES (1), (1)").execute(transaction).await;
                Ok(())
            }
            _ => write(transaction, events).await,
        }
    }
}

/// Has the database fail with these codes, one after the other, and then for ever with the last if it is meant to.
struct Failing {
    codes: Mutex<Vec<&'static str>>,
    last: Option<&'static str>,
}

#[async_trait]
impl Handler for Failing {
    async fn handle(&self, transaction: &mut PgConnection, events: &[Event]) -> Result<(), HandleError> {
        let code = self.codes.lock().expect("not poisoned").pop().or(self.last);
        if let Some(code) = code {
            let raise = format!("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{code}', MESSAGE = 'staged'; END $$");
            sqlx::raw_sql(sqlx::AssertSqlSafe(raise)).execute(&mut *transaction).await?;
        }
        write(transaction, events).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_passes_by_itself_counts_against_no_event() {
    let redis = scratch::redis().await.expect("Redis is installed");
    let stage = Stage::new(redis.url()).await;
    stage.send(Uuid::now_v7(), 3).await;
    let _relay = stage.relay("a");
    let mut settings = quick();
    settings.patience.attempts = 1;
    // Deadlock, serialisation, no room for a connection, a lock, a restart, a primary that became a standby.
    let codes = Mutex::new(vec!["40P01", "40001", "53300", "55P03", "57P01", "25006"]);
    let _consumer = stage.consumer_with("b", Arc::new(Failing { codes, last: None }), settings);
    stage.await_effects(3).await;
    stage.assert_exactly_once_in_order().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_too_long_alone_dies() {
    let redis = scratch::redis().await.expect("Redis is installed");
    let stage = Stage::new(redis.url()).await;
    stage.send(Uuid::now_v7(), 1).await;
    let _relay = stage.relay("a");
    let mut settings = quick();
    settings.patience.attempts = 1;
    let handler = Failing { codes: Mutex::default(), last: Some("57014") };
    let _consumer = stage.consumer_with("b", Arc::new(handler), settings);
    let pool = stage.database.pool(RECEIVER);
    until("it is a dead letter", async || dead_events(&pool, RECEIVER, None).await.expect("listed").len() == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_or_a_swallowed_error_loses_no_event() {
    let redis = scratch::redis().await.expect("Redis is installed");
    let stage = Stage::new(redis.url()).await;
    stage.send(Uuid::now_v7(), 1).await;
    let _relay = stage.relay("a");
    let handler = Arc::new(Careless { calls: AtomicU32::new(0) });
    let _consumer = stage.consumer("b", handler.clone());
    stage.await_effects(1).await;
    stage.assert_exactly_once_in_order().await;
    assert_eq!(handler.calls.load(Ordering::SeqCst), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_are_shared_evenly_and_handed_over_at_once() {
    let redis = scratch::redis().await.expect("Redis is installed");
    let stage = Stage::new(redis.url()).await;
    let pool = stage.database.admin_pool();
    let holders = async || -> Vec<i64> {
        sqlx::query_scalar(
            "SELECT count(*) FROM receiver.event_lease WHERE lease_until > clock_timestamp()
             GROUP BY split_part(holder, '#', 1) ORDER BY 1",
        )
        .fetch_all(&pool)
        .await
        .expect("a query")
    };
    let settings = || ConsumerSettings { lease: Duration::from_secs(12), ..quick() };
    let first = stage.consumer_with("first", writer(), settings());
    until("one has all", async || holders().await == [16]).await;
    let second = stage.consumer_with("second", writer(), settings());
    until("two have half each", async || holders().await == [8, 8]).await;
    let _third = stage.consumer_with("third", writer(), settings());
    until("three share", async || {
        holders().await.len() == 3 && holders().await.iter().all(|count| (4..=6).contains(count))
    })
    .await;
    second.stop().await;
    until("two share again", async || holders().await == [8, 8]).await;
    // A killed process that is started again under its name doesn't wait for its own leases to pass.
    let of_first = "SELECT DISTINCT holder FROM receiver.event_lease WHERE split_part(holder, '#', 1) = 'first'";
    let before: String = sqlx::query_scalar(of_first).fetch_one(&pool).await.expect("a query");
    first.kill().await;
    let again = std::time::Instant::now();
    let _first = stage.consumer_with("first", writer(), settings());
    until("the restarted one has its share", async || {
        let ours =
            "SELECT count(*) FROM receiver.event_lease WHERE split_part(holder, '#', 1) = 'first' AND holder <> $1";
        let held: i64 = sqlx::query_scalar(ours).bind(&before).fetch_one(&pool).await.expect("a query");
        held == 8
    })
    .await;
    assert!(again.elapsed() < Duration::from_secs(9), "it waited for a lease of its own");
}

/// Waits inside the effect until told to go on.
struct Slow {
    entered: Notify,
    go_on: Notify,
    first: AtomicBool,
}

#[async_trait]
impl Handler for Slow {
    async fn handle(&self, transaction: &mut PgConnection, events: &[Event]) -> Result<(), HandleError> {
        if self.first.swap(false, Ordering::SeqCst) {
            self.entered.notify_one();
            self.go_on.notified().await;
        }
        write(transaction, events).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_effect_longer_than_the_lease_is_not_done_twice() {
    let redis = scratch::redis().await.expect("Redis is installed");
    let stage = Stage::new(redis.url()).await;
    stage.send(Uuid::now_v7(), 5).await;
    let _relay = stage.relay("a");
    let slow = Arc::new(Slow { entered: Notify::new(), go_on: Notify::new(), first: AtomicBool::new(true) });
    let _slow =
        stage.consumer_with("slow", slow.clone(), ConsumerSettings { lease: Duration::from_millis(400), ..quick() });
    tokio::time::timeout(LIMIT, slow.entered.notified()).await.expect("the effect began");
    let other = stage.consumer("other", writer());
    // The other one gets every partition but the one whose row the effect holds.
    let pool = stage.database.admin_pool();
    until("the others are taken over", async || {
        let held: i64 =
            sqlx::query_scalar("SELECT count(*) FROM receiver.event_lease WHERE split_part(holder, '#', 1) = 'other'")
                .fetch_one(&pool)
                .await
                .expect("a query");
        held == 15
    })
    .await;
    slow.go_on.notify_one();
    stage.await_effects(5).await;
    stage.send(Uuid::now_v7(), 5).await;
    stage.await_effects(10).await;
    stage.assert_exactly_once_in_order().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_whose_lease_was_taken_commits_nothing() {
    let redis = scratch::redis().await.expect("Redis is installed");
    let stage = Stage::new(redis.url()).await;
    let _relay = stage.relay("a");
    let _consumer = stage.consumer_with("b", writer(), ConsumerSettings { lease: Duration::from_secs(8), ..quick() });
    stage.send(Uuid::now_v7(), 5).await;
    stage.await_effects(5).await;
    // Somebody takes every lease; the holder renews only after 2 s and doesn't know.
    stage
        .execute("UPDATE receiver.event_lease SET holder = 'thief#1', fence = fence + 1, lease_until = clock_timestamp() + '1 s'")
        .await;
    stage.send(Uuid::now_v7(), 5).await;
    let pool = stage.database.admin_pool();
    until("the holder took its leases again", async || {
        let effects: i64 =
            sqlx::query_scalar("SELECT count(*) FROM receiver.effect").fetch_one(&pool).await.expect("a query");
        let held = "SELECT count(*) FROM receiver.event_lease WHERE holder = 'thief#1'";
        let thief: i64 = sqlx::query_scalar(held).fetch_one(&pool).await.expect("a query");
        assert!(thief == 0 || effects == 5, "an effect was committed without a lease");
        thief == 0
    })
    .await;
    stage.await_effects(10).await;
    stage.assert_exactly_once_in_order().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_stale_holder_took_is_handled_first() {
    let redis = scratch::redis().await.expect("Redis is installed");
    let stage = Stage::new(redis.url()).await;
    let _relay = stage.relay("a");
    let consumer = stage.consumer("b", writer());
    let subject = Uuid::now_v7();
    stage.send(subject, 1).await;
    stage.await_effects(1).await;
    // It reads as the same Redis consumer, as a process does that lost its lease and doesn't know yet.
    let mut stale = consumer.context.redis.dedicated().await.expect("a connection");
    let taken = tokio::spawn(async move {
        let mut read = redis::cmd("XREADGROUP");
        read.arg("GROUP").arg("receiver").arg("holder").arg("COUNT").arg(1).arg("BLOCK").arg(0).arg("STREAMS");
        read.arg((0..16).map(|partition| format!("trangtien:{{sender}}:{partition}")).collect::<Vec<_>>());
        read.arg([">"; 16].as_slice());
        read.query_async::<redis::Value>(&mut stale).await.expect("something was taken")
    });
    // Redis serves those who wait in the order of their coming; the consumer comes again every second.
    let mut sent = 1;
    while !taken.is_finished() {
        stage.send(subject, 1).await;
        sent += 1;
        let pool = stage.database.admin_pool();
        until("it is taken by one of them", async || {
            let effects: i64 =
                sqlx::query_scalar("SELECT count(*) FROM receiver.effect").fetch_one(&pool).await.expect("a query");
            effects == sent || taken.is_finished()
        })
        .await;
    }
    stage.send(subject, 1).await;
    stage.await_effects(sent + 1).await;
    stage.assert_exactly_once_in_order().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_carry_their_trace_on() {
    struct Tracing(Mutex<Vec<(Option<String>, Option<String>)>>);
    #[async_trait]
    impl Handler for Tracing {
        async fn handle(&self, transaction: &mut PgConnection, events: &[Event]) -> Result<(), HandleError> {
            let seen = (events[0].traceparent.clone(), platform::trace::current_traceparent());
            self.0.lock().expect("not poisoned").push(seen);
            write(transaction, events).await
        }
    }
    let redis = scratch::redis().await.expect("Redis is installed");
    let stage = Stage::new(redis.url()).await;
    let context = platform::trace::TraceContext::root();
    platform::trace::scope(context, stage.send(Uuid::now_v7(), 3)).await;
    let handler = Arc::new(Tracing(Mutex::default()));
    let _relay = stage.relay("a");
    let _consumer = stage.consumer("b", handler.clone());
    stage.await_effects(3).await;
    let seen = handler.0.lock().expect("not poisoned").clone();
    assert!(
        seen.iter().all(|(event, current)| event.as_deref() == Some(&context.to_string()) && current == event),
        "{seen:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn old_events_leave_the_outbox_and_the_stream() {
    let redis = scratch::redis().await.expect("Redis is installed");
    let stage = Stage::new(redis.url()).await;
    stage.send(Uuid::now_v7(), 200).await;
    let consumer = stage.consumer("b", writer());
    let relay = stage.relay("a");
    stage.await_effects(200).await;
    stage.execute("UPDATE sender.outbox SET recorded_at = recorded_at - interval '8 days' WHERE position <= 150").await;
    stage.execute("UPDATE receiver.consumed_event SET consumed_at = consumed_at - interval '31 days'").await;
    let pool = stage.database.admin_pool();
    until("old rows are removed", async || {
        let rows: i64 =
            sqlx::query_scalar("SELECT count(*) FROM sender.outbox").fetch_one(&pool).await.expect("a query");
        assert!(rows >= 50);
        rows == 50
    })
    .await;
    assert_eq!(entries(&relay).await, 50);
    // A relay that starts again trusts the trimmed stream and repeats nothing.
    relay.stop().await;
    let _relay = stage.relay("a");
    stage.send(Uuid::now_v7(), 1).await;
    stage.await_effects(201).await;
    consumer.stop().await;
    let _consumer = stage.consumer("b", writer());
    until("old records are removed", async || {
        sqlx::query_scalar::<_, i64>("SELECT count(*) FROM receiver.consumed_event")
            .fetch_one(&pool)
            .await
            .expect("a query")
            <= 1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_every_group_has_acknowledged_is_trimmed() {
    let redis = scratch::redis().await.expect("Redis is installed");
    let stage = Stage::new(redis.url()).await;
    let settings = RelaySettings { keep_positions: 10, upkeep: Duration::from_millis(100), ..RelaySettings::default() };
    let relay = stage.relay_with("a", settings);
    let _consumer = stage.consumer("b", writer());
    for _ in 0..50 {
        stage.send(Uuid::now_v7(), 20).await;
    }
    stage.await_effects(1_000).await;
    until("streams are trimmed", async || entries(&relay).await <= 16 * 10).await;
    assert_eq!(stage.count("SELECT count(*) FROM sender.outbox").await, 1_000, "the outbox keeps its week");
}

/// How many entries the partitions of the stream hold.
async fn entries(process: &Process) -> i64 {
    let mut connection = process.context.redis.manager().expect("a connection");
    let mut length = 0;
    for partition in 0..16 {
        let key = format!("trangtien:{{sender}}:{partition}");
        length += redis::cmd("XLEN").arg(key).query_async::<i64>(&mut connection).await.expect("answered");
    }
    length
}
