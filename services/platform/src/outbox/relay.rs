//! The loop that moves a source's entries to Redis.
//!
//! One relay per stream is active over all replicas: the one whose [`Wake`] holds the advisory lock. The lock saves
//! double work and no more: if two relays run for a moment, the scripts of `stream` keep the streams right.
//!
//! States: stand by → resume (ask the streams what they hold, decide from where to read) → move batches.
//! Whatever fails leads back to resume, after a pause that grows; each outage is logged once.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use prometheus::{IntCounterVec, IntGaugeVec};
use redis::RedisError;
use tracing::{error, info, warn};

use super::cursor::{Cursor, CursorTable, machine_time};
use super::rest::Rest;
use super::stream::{Acknowledged, Added, Held, Streams};
use super::{Entry, Source, SourceError, TableSource};
use crate::clock::Clock;
use crate::db::Schema;
use crate::events::{PARTITIONS, PerPartition};
use crate::redis::RedisLink;
use crate::service::Context;
use crate::task::{Shutdown, Task};
use crate::wake::Wake;

/// How a relay works; the defaults are production's.
#[derive(Clone, Debug)]
pub struct RelaySettings {
    /// The most entries moved at once.
    pub batch: i64,
    /// How often an idle relay looks for entries and for losses in Redis without being told.
    pub poll: Duration,
    /// How long a source and a stream keep entries.
    pub retention: TimeDelta,
    /// How many positions a stream keeps although every known group has acknowledged them, for groups that come later.
    pub keep_positions: i64,
    /// How often streams are trimmed, the source is pruned and the lag is measured.
    pub upkeep: Duration,
}

impl Default for RelaySettings {
    fn default() -> Self {
        Self {
            batch: 500,
            poll: Duration::from_secs(1),
            retention: TimeDelta::days(7),
            keep_positions: 160_000,
            upkeep: Duration::from_secs(10),
        }
    }
}

/// The first pause after a failure; it doubles.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
/// The longest pause between attempts.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// The most bytes of payload moved at once.
const BATCH_BYTES: usize = 1 << 20;
/// The most batches pruned in one upkeep.
const PRUNE_BATCHES: usize = 20;
/// How often a busy relay saves its cursor.
const SAVE_EVERY: Duration = Duration::from_secs(1);
/// How long closing the lock's connection may take at shutdown.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// How often in a row a history may turn out foreign before that counts as a failure.
const RESTARTS_MAX: usize = 2;

/// Moves one source to one stream.
pub struct Relay {
    source: Arc<dyn Source>,
    stream: &'static str,
    lock: String,
    table: CursorTable,
    streams: Streams,
    redis: RedisLink,
    clock: Clock,
    settings: RelaySettings,
    metrics: RelayMetrics,
    /// Groups that are known to be behind the retention.
    late: Mutex<BTreeSet<String>>,
}

impl fmt::Debug for Relay {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Relay").field("stream", &self.stream).finish_non_exhaustive()
    }
}

struct RelayMetrics {
    relayed: IntCounterVec,
    lag_rows: IntGaugeVec,
    lag_seconds: IntGaugeVec,
}

#[derive(Debug, thiserror::Error)]
enum RelayError {
    #[error("the database does not answer")]
    Database(#[from] sqlx::Error),
    #[error("the source can't be read")]
    Source(#[source] SourceError),
    #[error("redis does not answer")]
    Redis(#[from] RedisError),
    #[error("the source gave entries out of order")]
    Unordered,
    #[error("another database keeps writing this stream")]
    Contested,
}

impl Relay {
    /// A relay of the outbox of `schema`, for one of its streams.
    pub fn of_outbox(context: &Context, schema: Schema, stream: &'static str) -> Self {
        Self::new(context, schema, stream, TableSource::new(context.pool.clone(), schema, stream))
    }

    /// A relay of any source; `schema` is where the cursor is kept.
    pub fn new(context: &Context, schema: Schema, stream: &'static str, source: impl Source) -> Self {
        let metrics = &context.metrics;
        Self {
            source: Arc::new(source),
            stream,
            lock: format!("trangtien relay {schema} {stream}"),
            table: CursorTable { pool: context.pool.clone(), schema, stream },
            streams: Streams::new(stream),
            redis: context.redis.clone(),
            clock: context.clock.clone(),
            settings: RelaySettings::default(),
            late: Mutex::default(),
            metrics: RelayMetrics {
                relayed: metrics.counter("outbox_relayed_total", "Events moved to Redis.", &["stream"]),
                lag_rows: metrics.gauge("outbox_lag_rows", "Events that wait to be moved to Redis.", &["stream"]),
                lag_seconds: metrics.gauge(
                    "outbox_lag_seconds",
                    "Age of the oldest event that waits to be moved to Redis.",
                    &["stream"],
                ),
            },
        }
    }

    /// Replaces the settings.
    #[must_use]
    pub fn settings(mut self, settings: RelaySettings) -> Self {
        self.settings = settings;
        self
    }

    /// The relay as a task of its role.
    pub fn into_task(self) -> Task {
        Task::new("relay", move |shutdown| async move {
            self.run(&shutdown).await;
            Ok(())
        })
    }

    async fn run(self, shutdown: &Shutdown) {
        let mut wake = Wake::listen_alone(&self.table.pool, self.source.channel(), self.lock.clone());
        let mut outage = Outage { stream: self.stream, failures: 0, last_kind: None };
        while !shutdown.is_cancelled() {
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = wake.held() => {}
                () = tokio::time::sleep(self.settings.poll) => {
                    self.source.stand_by().await.ok();
                    continue;
                }
            }
            let Err(error) = self.lead(&wake, shutdown, &mut outage).await else { continue };
            let pause = outage.failed(&error);
            self.measure(self.table.load().await.ok().as_ref()).await;
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = tokio::time::sleep(pause) => {}
            }
        }
        if tokio::time::timeout(CLOSE_TIMEOUT, wake.close()).await.is_err() {
            warn!(stream = self.stream, "the relay's lock was not freed in time");
        }
    }

    /// Moves entries until the lock is lost, shutdown begins or something fails.
    async fn lead(&self, wake: &Wake, shutdown: &Shutdown, outage: &mut Outage) -> Result<(), RelayError> {
        let mut cursor = self.resume().await?;
        let (mut saved, mut saved_at) = (None, Instant::now());
        let mut upkeep_at = Instant::now();
        let mut rest = Rest::Woken;
        while wake.is_held() && !shutdown.is_cancelled() {
            let moved = self.step(&mut cursor).await?;
            outage.ended();
            if upkeep_at <= Instant::now() {
                self.upkeep(&cursor).await?;
                upkeep_at = Instant::now() + self.settings.upkeep;
            }
            if saved.as_ref() != Some(&cursor) && saved_at.elapsed() >= SAVE_EVERY {
                self.table.save(&cursor).await?;
                (saved, saved_at) = (Some(cursor.clone()), Instant::now());
            }
            rest = rest.after(moved, &*self.source).await.map_err(RelayError::Source)?;
            if i64::try_from(moved).is_ok_and(|moved| moved >= self.settings.batch) {
                continue;
            }
            rest = tokio::select! {
                rest = rest.wait(wake, self.settings.poll) => rest,
                () = shutdown.cancelled() => rest,
            };
        }
        self.table.save(&cursor).await?;
        self.measure(None).await;
        Ok(())
    }

    /// Moves one batch and says how many entries were read; an empty one checks that Redis lost nothing.
    async fn step(&self, cursor: &mut Cursor) -> Result<usize, RelayError> {
        let mut entries = self.source.read(cursor.position, self.settings.batch).await.map_err(RelayError::Source)?;
        let ascending = entries.windows(2).all(|pair| pair[0].position < pair[1].position);
        if !ascending || entries.first().is_some_and(|entry| entry.position <= cursor.position) {
            return Err(RelayError::Unordered);
        }
        entries.truncate(fitting(&entries));
        match self.streams.add(&mut self.redis.manager()?, cursor.generation, &cursor.added, &entries).await? {
            Added::Last(added) => {
                cursor.added = added;
                if let Some(last) = entries.last() {
                    cursor.position = last.position;
                    self.metrics.relayed.with_label_values(&[self.stream]).inc_by(entries.len() as u64);
                }
            }
            Added::Lost => {
                warn!(stream = self.stream, "redis lost events; they are added again");
                *cursor = self.resume().await?;
            }
        }
        Ok(entries.len())
    }

    /// Asks the streams what they hold and decides from where to read on.
    async fn resume(&self) -> Result<Cursor, RelayError> {
        for _ in 0..=RESTARTS_MAX {
            let saved = self.table.load().await?;
            let held = self.streams.begin(&mut self.redis.manager()?, saved.generation).await?;
            if self.is_our_history(&held).await? {
                let position = self.first_unread(&saved, &held).await?;
                return Ok(Cursor { generation: saved.generation, position, added: held.last });
            }
            warn!(stream = self.stream, "redis holds events that the database doesn't know; the stream begins anew");
            self.table.restart().await?;
        }
        Err(RelayError::Contested)
    }

    /// Whether the newest entry in Redis is one of the source's.
    ///
    /// It is not if the database was restored to a state before that entry. Since histories share a beginning, the
    /// newest entry decides for all. Streams are trimmed before the source is pruned, so that it can be looked up.
    async fn is_our_history(&self, held: &Held) -> Result<bool, RelayError> {
        let Some((position, id)) = &held.newest else { return Ok(true) };
        let found = self.source.read(position - 1, 1).await.map_err(RelayError::Source)?;
        Ok(found.first().is_some_and(|entry| entry.position == *position && entry.id.to_string() == *id))
    }

    /// The position after which to read: the saved one, or an earlier one for partitions that Redis lost entries of.
    ///
    /// What every known group has acknowledged, and what retention would have dropped, is not added again.
    async fn first_unread(&self, saved: &Cursor, held: &Held) -> Result<i64, RelayError> {
        let lost = |partition: &usize| held.last[*partition] < saved.added[*partition];
        if !(0..held.last.len()).any(|partition| lost(&partition)) {
            return Ok(saved.position);
        }
        let dispensable = self.dispensable(self.expired().await?).await?;
        let from = (0..held.last.len()).filter(lost).map(|partition| held.last[partition].max(dispensable[partition]));
        let position = from.fold(saved.position, i64::min);
        info!(stream = self.stream, after = position, until = saved.position, "events are added to redis again");
        Ok(position)
    }

    /// The position up to which entries are older than the retention.
    async fn expired(&self) -> Result<i64, RelayError> {
        self.source.position_before(machine_time() - self.settings.retention).await.map_err(RelayError::Source)
    }

    /// Up to which position of each partition a stream need not keep entries.
    async fn dispensable(&self, expired: i64) -> Result<PerPartition, RelayError> {
        let acknowledged = self.table.acknowledged_by_all().await?;
        Ok(acknowledged.map(|position| (position - self.settings.keep_positions).max(expired).max(0)))
    }

    /// Remembers what groups have acknowledged, trims the streams, prunes the source and measures the lag.
    async fn upkeep(&self, cursor: &Cursor) -> Result<(), RelayError> {
        let mut redis = self.redis.manager()?;
        let readers = self.streams.acknowledged(&mut redis).await?;
        self.table.remember(&readers).await?;
        let expired = self.expired().await?;
        self.report_late(&readers, cursor, expired);
        self.streams.trim(&mut redis, &self.dispensable(expired).await?).await?;
        for _ in 0..PRUNE_BATCHES {
            if self.source.prune(expired.min(cursor.position)).await.map_err(RelayError::Source)? == 0 {
                break;
            }
        }
        self.measure(Some(cursor)).await;
        Ok(())
    }

    /// Says once that a group has not read what is removed now because of its age.
    fn report_late(&self, readers: &[Acknowledged], cursor: &Cursor, expired: i64) {
        let mut late = self.late.lock().expect("nothing panics while it holds the lock");
        for reader in readers {
            let unread = |partition: usize| reader.positions[partition] < expired.min(cursor.added[partition]);
            if !(0..PARTITIONS).any(unread) {
                late.remove(&reader.group);
            } else if late.insert(reader.group.clone()) {
                error!(
                    stream = self.stream,
                    group = reader.group,
                    "events are removed before a group has read them; bring it back or forget it"
                );
            }
        }
    }

    /// Sets the lag gauges; without a cursor (another replica is active) to nothing.
    async fn measure(&self, cursor: Option<&Cursor>) {
        let backlog = match cursor {
            None => Ok(super::Backlog::default()),
            Some(cursor) => self.source.backlog(cursor.position).await,
        };
        let Ok(backlog) = backlog else { return };
        let seconds = backlog.oldest.map_or(0, |oldest| (self.clock.now() - oldest).num_seconds().max(0));
        self.metrics.lag_rows.with_label_values(&[self.stream]).set(backlog.rows);
        self.metrics.lag_seconds.with_label_values(&[self.stream]).set(seconds);
    }
}

/// How many of the first entries make one script call of a size that Redis answers in time; at least one.
fn fitting(entries: &[Entry]) -> usize {
    let mut bytes = 0;
    let fitting = entries.iter().take_while(|entry| {
        bytes += entry.data.len();
        bytes <= BATCH_BYTES
    });
    fitting.count().max(1)
}

/// Counts failures in a row: one line when they begin, one when they end.
struct Outage {
    stream: &'static str,
    failures: u32,
    last_kind: Option<std::mem::Discriminant<RelayError>>,
}

impl Outage {
    fn failed(&mut self, error: &RelayError) -> Duration {
        let kind = std::mem::discriminant(error);
        if self.last_kind.replace(kind) != Some(kind) {
            let source = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
            warn!(stream = self.stream, error = %error, source, "relay interrupted; events wait in the database");
        }
        let pause = PAUSE_FIRST.saturating_mul(1 << self.failures.min(10)).min(PAUSE_MAX);
        self.failures += 1;
        pause
    }

    fn ended(&mut self) {
        self.failures = 0;
        if self.last_kind.take().is_some() {
            info!(stream = self.stream, "relay goes on");
        }
    }
}
