//! What dies in the middle of a stream: Redis, its memory, part of its memory, PostgreSQL's latest history, processes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use platform::embedded::scratch::{self, TestFolder, TestRedis};
use platform::embedded::{Persistence, Redis, RedisOptions};
use platform::events::{Event, HandleError, Handler};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::stage::{Process, SENDER, Stage, send, until, write, writer};

/// Sends until there are `total` events of these subjects.
async fn send_up_to(pool: &PgPool, subjects: &[Uuid], total: usize) {
    let mut senders = tokio::task::JoinSet::new();
    let sent: i64 = sqlx::query_scalar("SELECT count(*) FROM sender.outbox").fetch_one(pool).await.expect("a query");
    let missing = total - usize::try_from(sent).expect("not negative");
    for sender in 0..5 {
        let (pool, subjects) = (pool.clone(), subjects.to_vec());
        senders.spawn(async move {
            for round in 0..missing / 50 {
                send(&pool, subjects[(round * 5 + sender) % subjects.len()], 10).await;
            }
        });
    }
    senders.join_all().await;
}

async fn flush(process: &Process) {
    let mut connection = process.context.redis.manager().expect("a connection");
    redis::cmd("FLUSHALL").query_async::<()>(&mut connection).await.expect("flushed");
}

async fn await_some(stage: &Stage, count: i64) {
    let pool = stage.database.admin_pool();
    until("some effects", async || {
        sqlx::query_scalar::<_, i64>("SELECT count(*) FROM receiver.effect").fetch_one(&pool).await.expect("a query")
            >= count
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wiping_and_killing_redis_and_processes_loses_and_doubles_nothing() {
    let redis = scratch::redis().await.expect("Redis is installed");
    let stage = Stage::new(redis.url()).await;
    let subjects: Vec<Uuid> = (0..40).map(|_| Uuid::now_v7()).collect();
    let pool = stage.database.pool(SENDER);
    let relays = [stage.relay("a"), stage.relay("b")];
    let consumers = [stage.consumer("c", writer()), stage.consumer("d", writer())];

    let sending = tokio::spawn({
        let (pool, subjects) = (pool.clone(), subjects.clone());
        async move { send_up_to(&pool, &subjects, 2_000).await }
    });
    await_some(&stage, 200).await;
    flush(&relays[0]).await;
    await_some(&stage, 600).await;
    flush(&relays[0]).await;
    sending.await.expect("sent");

    // Killed with all it held; events go on being written meanwhile.
    let sending = tokio::spawn({
        let (pool, subjects) = (pool.clone(), subjects.clone());
        async move { send_up_to(&pool, &subjects, 3_500).await }
    });
    redis.kill().await;
    sending.await.expect("writing doesn't wait for Redis");
    redis.restart().await.expect("it starts again");

    // A process of each sort dies, another one comes; one of them is the active relay.
    let sending = tokio::spawn({
        let (pool, subjects) = (pool.clone(), subjects.clone());
        async move { send_up_to(&pool, &subjects, 5_000).await }
    });
    relays[0].kill().await;
    consumers[0].kill().await;
    let _relay = stage.relay("e");
    await_some(&stage, 3_000).await;
    relays[1].kill().await;
    let _consumer = stage.consumer("f", writer());
    flush(&consumers[1]).await;
    sending.await.expect("sent");

    stage.await_effects(5_000).await;
    stage.assert_exactly_once_in_order().await;
    flush(&consumers[1]).await;
    stage.send(subjects[0], 1).await;
    stage.await_effects(5_001).await;
    stage.assert_exactly_once_in_order().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_without_redis_starts_and_counts_its_lag() {
    let redis = scratch::redis().await.expect("Redis is installed");
    let stage = Stage::new(redis.url()).await;
    redis.kill().await;
    let relay = stage.relay("a");
    let consumer = stage.consumer("b", writer());
    stage.send(Uuid::now_v7(), 25).await;
    stage.clock.advance(chrono::TimeDelta::minutes(5));
    until("the lag shows", async || {
        let metrics = relay.context.metrics.encode();
        let rows =
            metrics.lines().any(|line| line.starts_with("trangtien_sender_outbox_lag_rows") && line.ends_with(" 25"));
        let seconds = metrics.lines().find(|line| line.starts_with("trangtien_sender_outbox_lag_seconds"));
        rows && seconds
            .and_then(|line| line.rsplit(' ').next()?.parse::<i64>().ok())
            .is_some_and(|seconds| seconds >= 300)
    })
    .await;
    redis.restart().await.expect("it starts again");
    stage.await_effects(25).await;
    until("the lag is gone", async || {
        let metrics = relay.context.metrics.encode();
        metrics.lines().any(|line| line.starts_with("trangtien_sender_outbox_lag_rows") && line.ends_with(" 0"))
    })
    .await;
    stage.assert_exactly_once_in_order().await;
    consumer.stop().await;
    relay.stop().await;
}

/// Kills Redis inside the first effect, so that it is committed and can't be acknowledged.
struct Killing {
    redis: Arc<Redis>,
    first: AtomicBool,
}

#[async_trait]
impl Handler for Killing {
    async fn handle(&self, transaction: &mut PgConnection, events: &[Event]) -> Result<(), HandleError> {
        if self.first.swap(false, Ordering::SeqCst) {
            self.redis.kill().await;
        }
        write(transaction, events).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_killed_between_commit_and_acknowledgement_doubles_nothing() {
    let folder = TestFolder::new("redis").expect("a folder");
    let options = RedisOptions { persistence: Persistence::AppendOnly, ..RedisOptions::scratch() };
    let redis = Arc::new(Redis::start(folder.path(), options).await.expect("Redis is installed"));
    let stage = Stage::new(redis.url()).await;
    let relay = stage.relay("a");
    let handler = Arc::new(Killing { redis: redis.clone(), first: AtomicBool::new(true) });
    let consumer = stage.consumer("b", handler);
    stage.send(Uuid::now_v7(), 30).await;
    await_some(&stage, 1).await;
    consumer.kill().await;
    let committed = stage.effects().await.len();
    redis.restart().await.expect("it starts again");

    let mut connection = relay.context.redis.manager().expect("a connection");
    let mut pending = 0_usize;
    until("Redis answers", async || redis::cmd("PING").query_async::<String>(&mut connection).await.is_ok()).await;
    for partition in 0..16 {
        let key = format!("trangtien:{{sender}}:{partition}");
        let counts: Result<(usize, redis::Value, redis::Value, redis::Value), _> =
            redis::cmd("XPENDING").arg(key).arg("receiver").query_async(&mut connection).await;
        pending += counts.map_or(0, |(count, ..)| count);
    }
    assert!(pending >= committed && committed > 0, "{pending} pending of {committed} committed");

    let other = stage.consumer("c", writer());
    stage.await_effects(30).await;
    until("everything is acknowledged", async || {
        let metrics = other.context.metrics.encode();
        metrics.lines().any(|line| line.contains(r#"outcome="repeated""#))
    })
    .await;
    stage.assert_exactly_once_in_order().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_restored_from_an_older_state_gets_what_it_lacks() {
    let (redis, stage) = stage().await;
    let relay = stage.relay("a");
    let consumer = stage.consumer("b", writer());
    let subject = Uuid::now_v7();
    stage.send(subject, 100).await;
    stage.await_effects(100).await;
    consumer.stop().await;
    stage.send(subject, 100).await;
    let mut connection = relay.context.redis.manager().expect("a connection");
    let mut key = String::new();
    until("the second hundred is in the stream", async || {
        for partition in 0..16 {
            let candidate = format!("trangtien:{{sender}}:{partition}");
            let length: i64 = redis::cmd("XLEN").arg(&candidate).query_async(&mut connection).await.expect("answered");
            if length == 200 {
                key = candidate;
            }
        }
        !key.is_empty()
    })
    .await;
    await_cursor(&stage, 200).await;
    // The last fifty are as if they had never been added.
    let mut lose = redis::pipe();
    lose.atomic();
    for position in 151..=200 {
        lose.cmd("XDEL").arg(&key).arg(format!("{position}-0")).ignore();
    }
    lose.cmd("XSETID").arg(&key).arg("150-0").ignore();
    lose.exec_async(&mut connection).await.expect("lost");
    let _consumer = stage.consumer("b", writer());
    stage.await_effects(200).await;
    stage.assert_exactly_once_in_order().await;
    drop(redis);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_had_read_yet_survives_a_wipe() {
    let (redis, stage) = stage().await;
    let relay = stage.relay("a");
    let subjects: Vec<Uuid> = (0..10).map(|_| Uuid::now_v7()).collect();
    for subject in &subjects {
        stage.send(*subject, 20).await;
    }
    await_cursor(&stage, 200).await;
    flush(&relay).await;
    let _consumer = stage.consumer("b", writer());
    stage.await_effects(200).await;
    stage.assert_exactly_once_in_order().await;
    drop(redis);
}

/// Waits until the relay has saved that it came so far.
async fn await_cursor(stage: &Stage, position: i64) {
    let pool = stage.database.admin_pool();
    until("the cursor is saved", async || {
        let saved =
            sqlx::query_scalar::<_, i64>("SELECT position FROM sender.outbox_cursor").fetch_optional(&pool).await;
        saved.expect("a query") == Some(position)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_restored_from_an_older_state_sends_its_new_history() {
    let (redis, stage) = stage().await;
    let relay = stage.relay("a");
    let consumer = stage.consumer("b", writer());
    let subject = Uuid::now_v7();
    stage.send(subject, 50).await;
    stage.await_effects(50).await;
    relay.stop().await;
    // Back to the state after thirty; then other events get the positions that Redis has seen.
    stage
        .execute(
            "DELETE FROM sender.outbox WHERE position > 30; UPDATE sender.outbox_head SET position = 30;
             UPDATE sender.outbox_cursor SET position = 30, added = ARRAY(SELECT least(last, 30) FROM unnest(added) AS last);",
        )
        .await;
    stage.send(subject, 40).await;
    let _relay = stage.relay("a");
    stage.await_effects(90).await;
    let lost = "SELECT count(*) FROM sender.outbox WHERE event_id NOT IN (SELECT event_id FROM receiver.effect)";
    assert_eq!(stage.count(lost).await, 0);
    assert_eq!(stage.count("SELECT count(*) - count(DISTINCT event_id) FROM receiver.effect").await, 0);
    consumer.stop().await;
    drop(redis);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_database_doesn_t_mistake_the_events_of_another_for_its_own() {
    let (redis, former) = stage().await;
    let processes = [former.relay("a"), former.consumer("b", writer())];
    former.send(Uuid::now_v7(), 50).await;
    former.await_effects(50).await;
    for process in processes {
        process.stop().await;
    }
    let fresh = Stage::new(redis.url()).await;
    let _relay = fresh.relay("a");
    let _consumer = fresh.consumer("b", writer());
    fresh.send(Uuid::now_v7(), 30).await;
    fresh.await_effects(30).await;
    fresh.assert_exactly_once_in_order().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_adds_nothing_to_the_history_of_another_database() {
    let (redis, stage) = stage().await;
    let relay = stage.relay("a");
    let _consumer = stage.consumer("b", writer());
    let subject = Uuid::now_v7();
    stage.send(subject, 10).await;
    stage.await_effects(10).await;
    let mut connection = relay.context.redis.manager().expect("a connection");
    let key = "trangtien:{sender}:generation";
    redis::cmd("SET").arg(key).arg("foreign").query_async::<()>(&mut connection).await.expect("set");
    stage.send(subject, 10).await;
    stage.await_effects(20).await;
    stage.assert_exactly_once_in_order().await;
    let ours: Uuid = sqlx::query_scalar("SELECT generation FROM sender.outbox_cursor")
        .fetch_one(&stage.database.admin_pool())
        .await
        .expect("a query");
    let found: String = redis::cmd("GET").arg(key).query_async(&mut connection).await.expect("answered");
    assert_eq!(found, ours.to_string());
    drop(redis);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_to_the_database_interrupts_only() {
    let (redis, stage) = stage().await;
    let _relay = stage.relay("a");
    let _consumer = stage.consumer("b", writer());
    let subject = Uuid::now_v7();
    for _ in 0..5 {
        stage.send(subject, 20).await;
        stage
            .execute("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
            .await;
    }
    stage.await_effects(100).await;
    stage.assert_exactly_once_in_order().await;
    drop(redis);
}

async fn stage() -> (TestRedis, Stage) {
    let redis = scratch::redis().await.expect("Redis is installed");
    let stage = Stage::new(redis.url()).await;
    (redis, stage)
}
