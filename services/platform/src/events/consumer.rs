//! The loop of a consumer: keep leases → find out what is pending → work it off → wait for more.
//!
//! One task does all of it, one step after the other: nothing of a consumer runs at the same time as its own renewal
//! of leases or its own effects. Whatever fails leads back to the beginning after a pause; each outage is logged once.

mod round;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};
use prometheus::{IntCounterVec, IntGaugeVec};
use tracing::{error, info, warn};

use super::dead::Death;
use super::effect::Effects;
use super::group::{Group, GroupError, RawEntry};
use super::lane::{Lane, MAX_HELD};
use super::{Event, Handler};
use crate::db::Schema;
use crate::lease::{Leased, Leases};
use crate::retry::Patience;
use crate::service::Context;
use crate::task::{Shutdown, Task};

/// How a consumer works; the defaults are production's.
#[derive(Clone, Debug)]
pub struct ConsumerSettings {
    /// How long a partition stays with a process that no longer renews its lease.
    pub lease: Duration,
    /// The most events handed to the handler at once.
    pub batch: usize,
    /// How often a failing event is tried.
    pub patience: Patience,
    /// How long it is remembered that an event was consumed; longer than any outbox keeps events.
    pub remember: TimeDelta,
}

impl Default for ConsumerSettings {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(10),
            batch: 500,
            patience: Patience { attempts: 14, first: Duration::from_millis(500), most: Duration::from_secs(300) },
            remember: TimeDelta::days(30),
        }
    }
}

/// The most entries read from one partition at once.
const READ_COUNT: usize = 128;
/// The longest wait for new entries; shutdown doesn't wait for it.
const BLOCK_MAX: Duration = Duration::from_secs(1);
/// A lease is renewed this many times in its length.
const RENEWALS: u32 = 4;
/// The most dead events tried again in one go.
const REDRIVES_MAX: usize = 100;
/// How often records of consumption are pruned and dead events counted.
const PRUNE_EVERY: Duration = Duration::from_secs(20);
/// The most batches pruned in one go.
const PRUNE_BATCHES: usize = 20;
/// Pauses after something failed that isn't an event.
const OUTAGE: Patience =
    Patience { attempts: u32::MAX, first: Duration::from_millis(50), most: Duration::from_secs(1) };
/// How long giving back the leases may take at shutdown.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);

/// Consumes one stream for one service.
pub struct Consumer {
    stream: &'static str,
    settings: ConsumerSettings,
    group: Group,
    leases: Leases,
    effects: Effects,
    lanes: BTreeMap<usize, Lane>,
    /// Failures in a row.
    failures: u32,
    begun: bool,
    upkeep_at: Instant,
    prune_at: Instant,
    consumed: IntCounterVec,
    retrying: IntGaugeVec,
    dead: IntGaugeVec,
}

impl fmt::Debug for Consumer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Consumer")
            .field("stream", &self.stream)
            .field("lanes", &self.lanes.len())
            .finish_non_exhaustive()
    }
}

#[derive(Debug, thiserror::Error)]
enum TurnError {
    #[error("redis interrupted the consumer")]
    Group(#[from] GroupError),
    #[error("the database interrupted the consumer")]
    Database(#[from] sqlx::Error),
    #[error("a lease was lost")]
    LeaseLost,
    #[error("many events fail in a row")]
    Failing,
}

impl Consumer {
    /// A consumer of `stream` for the service of `schema`, whose name is also the consumer group's.
    pub fn new(context: &Context, schema: Schema, stream: &'static str, handler: Arc<dyn Handler>) -> Self {
        Self::with_settings(context, schema, stream, handler, ConsumerSettings::default())
    }

    /// A consumer with other settings.
    pub fn with_settings(
        context: &Context,
        schema: Schema,
        stream: &'static str,
        handler: Arc<dyn Handler>,
        settings: ConsumerSettings,
    ) -> Self {
        let name = schema.name().to_owned();
        let leases = Leases::new(context, schema, &name, stream, settings.lease);
        Self {
            stream,
            settings,
            group: Group::new(context.redis.clone(), stream, name.clone()),
            leases: leases.clone(),
            effects: Effects { pool: context.pool.clone(), schema, consumer: name, leases, handler },
            lanes: BTreeMap::new(),
            failures: 0,
            begun: false,
            upkeep_at: Instant::now(),
            prune_at: Instant::now(),
            consumed: context.metrics.counter(
                "events_consumed_total",
                "Events by what became of them.",
                &["stream", "outcome"],
            ),
            dead: context.metrics.gauge(
                "events_dead",
                "Events that were given up on and wait for an operator.",
                &["stream"],
            ),
            retrying: context.metrics.gauge(
                "events_retrying",
                "Subjects whose oldest event failed and waits for its next attempt.",
                &["stream"],
            ),
        }
    }

    /// The consumer as a task of its role.
    pub fn into_task(self) -> Task {
        Task::new("consumer", move |shutdown| async move {
            self.run(&shutdown).await;
            Ok(())
        })
    }

    async fn run(mut self, shutdown: &Shutdown) {
        let (mut outages, mut kind) = (0, None);
        while !shutdown.is_cancelled() {
            let Err(error) = self.turn(shutdown).await else {
                if kind.take().is_some() {
                    info!(stream = self.stream, "consumer goes on");
                }
                outages = 0;
                continue;
            };
            self.lanes.values_mut().for_each(|lane| lane.is_stale = true);
            if matches!(error, TurnError::LeaseLost) {
                self.upkeep_at = Instant::now();
            }
            if matches!(error, TurnError::Group(GroupError::Gone)) && self.make_groups().await {
                continue;
            }
            if kind.replace(std::mem::discriminant(&error)) != kind {
                let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                warn!(stream = self.stream, error = %error, source, "consumer interrupted; its events wait");
            }
            outages += 1;
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = tokio::time::sleep(OUTAGE.pause(outages)) => {}
            }
        }
        if !matches!(tokio::time::timeout(LEAVE_TIMEOUT, self.leases.leave()).await, Ok(Ok(()))) {
            warn!(stream = self.stream, "leases could not be given back; they expire");
        }
    }

    async fn turn(&mut self, shutdown: &Shutdown) -> Result<(), TurnError> {
        if self.upkeep_at <= Instant::now() {
            self.upkeep().await?;
        }
        self.refresh().await?;
        self.work(shutdown).await?;
        self.wait(shutdown).await
    }

    async fn make_groups(&self) -> bool {
        let partitions: Vec<usize> = self.lanes.keys().copied().collect();
        let made = self.group.ensure(&partitions).await.is_ok();
        if made {
            info!(stream = self.stream, partitions = partitions.len(), "consumer group made");
        }
        made
    }

    /// Renews leases, takes or gives back partitions for an even share, tries marked dead events, prunes.
    async fn upkeep(&mut self) -> Result<(), TurnError> {
        if !self.begun {
            self.leases.begin().await?;
            self.begun = true;
        }
        let standing = self.leases.renew().await?;
        self.lanes.retain(|partition, lane| standing.held.contains(&(*partition, lane.fence)));
        // A lease that was taken and whose answer was lost.
        for (partition, fence) in &standing.held {
            self.lanes.entry(*partition).or_insert_with(|| Lane::new(*fence));
        }
        if self.lanes.len() > standing.share {
            let surplus: Vec<usize> = self.lanes.keys().copied().skip(standing.share).collect();
            self.leases.release(&surplus).await?;
            self.lanes.retain(|partition, _| !surplus.contains(partition));
        } else if self.lanes.len() < standing.share {
            let taken = self.leases.take(standing.share - self.lanes.len()).await?;
            self.lanes.extend(taken.into_iter().map(|(partition, fence)| (partition, Lane::new(fence))));
        }
        self.upkeep_at = Instant::now() + self.settings.lease / RENEWALS;
        let retrying = self.lanes.values().map(Lane::retrying).sum::<usize>();
        self.retrying.with_label_values(&[self.stream]).set(i64::try_from(retrying).unwrap_or(i64::MAX));
        self.redrive().await?;
        if self.prune_at <= Instant::now() {
            for _ in 0..PRUNE_BATCHES {
                if self.effects.prune(Utc::now() - self.settings.remember).await? == 0 {
                    break;
                }
            }
            self.dead.with_label_values(&[self.stream]).set(self.effects.count_dead(self.stream).await?);
            self.prune_at = Instant::now() + PRUNE_EVERY;
        }
        Ok(())
    }

    async fn redrive(&self) -> Result<(), TurnError> {
        let leased: Vec<Leased> = self.lanes.iter().map(|(partition, lane)| (*partition, lane.fence)).collect();
        for _ in 0..REDRIVES_MAX {
            match self.effects.revive(self.stream, &leased).await {
                Ok(None) => break,
                Ok(Some(lives)) => self.count(if lives { "redriven" } else { "dead" }, 1),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Reads what is pending in partitions of which that isn't known.
    async fn refresh(&mut self) -> Result<(), TurnError> {
        let stale: Vec<usize> =
            self.lanes.iter().filter(|(_, lane)| lane.is_stale).map(|(partition, _)| *partition).collect();
        for partition in stale {
            let entries = self.group.read_pending(partition, MAX_HELD).await?;
            let whole = entries.len() < MAX_HELD;
            let events = self.receive(partition, entries).await?;
            if let Some(lane) = self.lanes.get_mut(&partition) {
                lane.replace(events);
                lane.is_stale = !whole;
            }
        }
        Ok(())
    }

    /// Turns entries into events. What was trimmed is acknowledged, what is malformed goes to the dead letters.
    async fn receive(&mut self, partition: usize, entries: Vec<RawEntry>) -> Result<Vec<Event>, TurnError> {
        let (mut events, mut finished) = (Vec::with_capacity(entries.len()), Vec::new());
        let fence = self.lanes.get(&partition).map_or(0, |lane| lane.fence);
        for entry in entries {
            match entry.event().filter(|event| event.partition() == partition) {
                Some(event) => events.push(event),
                None => {
                    if entry.is_trimmed() {
                        error!(
                            stream = self.stream,
                            position = entry.position,
                            "an event was trimmed before it was consumed"
                        );
                    } else {
                        let death = Death { reason: "the entry is malformed".to_owned(), attempts: 1 };
                        self.effects
                            .bury(((partition, fence), self.stream), &entry.salvage(self.stream), &death)
                            .await?;
                        self.count("dead", 1);
                    }
                    finished.push(entry.position);
                }
            }
        }
        if !finished.is_empty() {
            self.group.acknowledge(&[(partition, finished)]).await?;
        }
        Ok(events)
    }

    /// Waits for new entries, the next retry or the next upkeep.
    async fn wait(&mut self, shutdown: &Shutdown) -> Result<(), TurnError> {
        let now = Instant::now();
        let wake_at = self.lanes.values().filter_map(Lane::next_due).chain([self.upkeep_at, now + BLOCK_MAX]).min();
        let wait = wake_at.map_or(BLOCK_MAX, |at| at.saturating_duration_since(now));
        if shutdown.is_cancelled() || wait.is_zero() || self.lanes.values().any(|lane| !lane.ready(1).is_empty()) {
            return Ok(());
        }
        let open: Vec<usize> = self
            .lanes
            .iter()
            .filter(|(_, lane)| !lane.is_stale && lane.len() < MAX_HELD)
            .map(|(partition, _)| *partition)
            .collect();
        if open.is_empty() {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = shutdown.cancelled() => {}
            }
            return Ok(());
        }
        let read = tokio::select! {
            read = self.group.read_new(&open, READ_COUNT, wait) => read?,
            () = shutdown.cancelled() => return Ok(()),
        };
        let mut partitions = Vec::new();
        for (partition, entries) in read {
            let events = self.receive(partition, entries).await?;
            if let Some(lane) = self.lanes.get_mut(&partition) {
                lane.hold(events);
                partitions.push(partition);
            }
        }
        self.check_pending(&partitions).await
    }

    /// Finds partitions of which somebody else, who no longer holds the lease, took entries: they come first.
    async fn check_pending(&mut self, partitions: &[usize]) -> Result<(), TurnError> {
        if partitions.is_empty() {
            return Ok(());
        }
        let counts = self.group.pending_counts(partitions).await?;
        for (partition, count) in partitions.iter().zip(counts) {
            if let Some(lane) = self.lanes.get_mut(partition) {
                lane.is_stale = lane.is_stale || lane.len() != count;
            }
        }
        Ok(())
    }

    fn count(&self, outcome: &str, events: usize) {
        if events > 0 {
            self.consumed.with_label_values(&[self.stream, outcome]).inc_by(events as u64);
        }
    }
}
