//! One round of work: what a consumer holds goes to the handler, in batches while all is well, event by event where not.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use tracing::{error, warn};

use super::{Consumer, TurnError};
use crate::db;
use crate::events::dead::Death;
use crate::events::effect::EffectError;
use crate::events::{Event, HandleError};
use crate::lease::Leased;
use crate::task::Shutdown;

/// So many failures in a row, of different events, end a round of work: something bigger than an event is wrong.
const FAILURES_MAX: u32 = 8;

impl Consumer {
    /// Handles what is held: first failed events whose time has come, each alone, then the rest in batches.
    pub(super) async fn work(&mut self, shutdown: &Shutdown) -> Result<(), TurnError> {
        self.failures = 0;
        let due: Vec<Event> = self.lanes.values().flat_map(|lane| lane.due(Instant::now())).collect();
        for event in due {
            self.apply(vec![event]).await?;
            if shutdown.is_cancelled() || self.upkeep_at <= Instant::now() {
                return Ok(());
            }
        }
        loop {
            let mut batch: Vec<Event> = Vec::new();
            for lane in self.lanes.values() {
                batch.extend(lane.ready(self.settings.batch - batch.len()));
            }
            if batch.is_empty() || shutdown.is_cancelled() || self.upkeep_at <= Instant::now() {
                return Ok(());
            }
            self.apply(batch).await?;
        }
    }

    /// Handles a batch; splits it when it fails, until the faulty events are alone. Acknowledges what is finished.
    async fn apply(&mut self, batch: Vec<Event>) -> Result<(), TurnError> {
        let mut finished: BTreeMap<usize, Vec<i64>> = BTreeMap::new();
        let outcome = self.apply_parts(batch, &mut finished).await;
        if !finished.is_empty() {
            self.group.acknowledge(&Vec::from_iter(finished)).await?;
        }
        outcome
    }

    async fn apply_parts(
        &mut self,
        batch: Vec<Event>,
        finished: &mut BTreeMap<usize, Vec<i64>>,
    ) -> Result<(), TurnError> {
        let mut parts = vec![batch];
        while let Some(mut part) = parts.pop() {
            part.retain(|event| self.lanes.get(&event.partition()).is_some_and(|lane| !lane.is_blocked(event)));
            if part.is_empty() {
                continue;
            }
            let done = match self.effects.apply(&self.leased(&part), &part).await {
                Ok(new) => {
                    self.failures = 0;
                    self.count("applied", new);
                    self.count("repeated", part.len() - new);
                    true
                }
                Err(EffectError::Handler(error)) if !is_outage(&error) => {
                    if part.len() > 1 {
                        let second = part.split_off(part.len() / 2);
                        parts.extend([second, part]);
                        continue;
                    }
                    self.failures += 1;
                    self.fail(&part[0], &error).await?
                }
                Err(error) => return Err(error.into()),
            };
            for event in part.iter().filter(|_| done) {
                self.lanes.get_mut(&event.partition()).expect("its lane was there before the effect").finish(event);
                finished.entry(event.partition()).or_default().push(event.position);
            }
            if self.failures >= FAILURES_MAX {
                return Err(TurnError::Failing);
            }
        }
        Ok(())
    }

    /// An event failed alone: it waits for its next attempt, or dies. Says whether it is finished with.
    async fn fail(&mut self, event: &Event, error: &HandleError) -> Result<bool, TurnError> {
        let partition = event.partition();
        let lane = self.lanes.get_mut(&partition).expect("its lane was there before the effect");
        let attempts = lane.attempts(event) + 1;
        if matches!(error, HandleError::Retry(_)) && attempts < self.settings.patience.attempts {
            lane.retry_at(event, Instant::now() + self.settings.patience.pause(attempts));
            self.count("retried", 1);
            warn!(stream = self.stream, event.id = %event.id, event.kind, attempts, error = %error, "event failed and will be tried again");
            return Ok(false);
        }
        let leased = ((partition, lane.fence), self.stream);
        let death = Death { reason: error.to_string(), attempts };
        self.effects.bury(leased, event, &death).await?;
        self.count("dead", 1);
        error!(stream = self.stream, event.id = %event.id, event.kind, attempts, reason = death.reason, "event goes to the dead letters");
        Ok(true)
    }

    fn leased(&self, events: &[Event]) -> Vec<Leased> {
        let partitions: BTreeSet<usize> = events.iter().map(Event::partition).collect();
        partitions.into_iter().filter_map(|partition| Some((partition, self.lanes.get(&partition)?.fence))).collect()
    }
}

impl From<EffectError> for TurnError {
    fn from(error: EffectError) -> Self {
        match error {
            EffectError::LeaseLost => Self::LeaseLost,
            EffectError::Database(error) => Self::Database(error),
            // Only outages come here: everything else counts against the event.
            EffectError::Handler(_) => Self::Database(sqlx::Error::PoolTimedOut),
        }
    }
}

/// SQLSTATE codes of what took too long, as a statement or as a transaction: it may be this batch that is too much.
const TOO_LONG: [&str; 2] = ["57014", "25P03"];

/// Whether a handler failed for a reason of the database's that will pass and says nothing about the event.
fn is_outage(error: &HandleError) -> bool {
    let HandleError::Retry(source) = error else { return false };
    let Some(error) = source.downcast_ref::<sqlx::Error>() else { return false };
    let code = error.as_database_error().and_then(|error| error.code());
    db::is_passing(error) && !code.is_some_and(|code| TOO_LONG.contains(&code.as_ref()))
}
