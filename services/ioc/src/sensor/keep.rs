//! What is measured of sensors and alarms, and what is removed.

use std::time::Duration;

use chrono::TimeDelta;
use platform::clock::Clock;
use platform::metrics::Metrics;
use platform::task::{Shutdown, Task};
use prometheus::{IntCounterVec, IntGaugeVec};
use sqlx::PgPool;
use tracing::warn;

use super::alarm::{HIGHEST, State, Step};
use super::plausible::Quality;
use crate::sql::{alarm, sensor};

/// How long readings stay.
const KEPT: TimeDelta = TimeDelta::days(731);
/// Readings that are removed at once.
const BATCH: i64 = 10_000;
/// How often open alarms are counted.
const COUNT_INTERVAL: Duration = Duration::from_secs(5);
/// How many counts lie between two looks for old readings.
const COUNTS_BETWEEN: u32 = 120;

/// The metrics of sensors and alarms. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct SensorMeter {
    observations: IntCounterVec,
    steps: IntCounterVec,
    open: IntGaugeVec,
    newest: IntGaugeVec,
}

impl SensorMeter {
    /// Registers with the role's metrics.
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self {
            observations: metrics.counter("observations_total", "Readings of sensors, by quality.", &["quality"]),
            steps: metrics.counter("alarm_steps_total", "Steps of alarms, by step and level.", &["step", "level"]),
            open: metrics.gauge(
                "alarms_open",
                "Open alarms without exercises, by state and level.",
                &["state", "level"],
            ),
            newest: metrics.gauge(
                "station_newest_reading_timestamp_seconds",
                "When the newest plausible reading of a station was measured, exercises apart, in Unix seconds; 0 before the first one of a station that is to send some.",
                &["station"],
            ),
        }
    }

    /// A station is to send readings: until its first one it is told of as silent since 1970, not left out.
    pub(crate) fn expect(&self, station: &str) {
        self.newest.with_label_values(&[station]).set(0);
    }

    /// A reading was kept.
    pub(crate) fn observed(&self, quality: Quality) {
        self.observations.with_label_values(&[quality.name()]).inc();
    }

    /// An alarm took a step.
    pub(crate) fn step(&self, step: Step, level: u8) {
        self.steps.with_label_values(&[step.name(), &level.to_string()]).inc();
    }

    /// The task that counts open alarms and removes old readings.
    pub(crate) fn task(&self, pool: PgPool, clock: Clock) -> Task {
        let meter = self.clone();
        Task::new("sensors", move |shutdown: Shutdown| async move {
            let mut counts = 0_u32;
            loop {
                if let Err(error) = meter.count(&pool).await {
                    warn!(%error, "open alarms were not counted");
                }
                if counts.is_multiple_of(COUNTS_BETWEEN)
                    && let Err(error) = forget(&pool, &clock, &shutdown).await
                {
                    warn!(%error, "old readings were not removed");
                }
                counts = counts.wrapping_add(1);
                tokio::select! {
                    () = tokio::time::sleep(COUNT_INTERVAL) => {}
                    () = shutdown.cancelled() => return Ok(()),
                }
            }
        })
    }

    async fn count(&self, pool: &PgPool) -> Result<(), sqlx::Error> {
        for (station, at) in sensor::newest(pool).await? {
            self.newest.with_label_values(&[&station]).set(at.timestamp());
        }
        let open = alarm::count(pool).await?;
        for state in [State::Raised, State::Acknowledged] {
            for level in 1..=HIGHEST {
                let found = open.iter().find(|(of, at, _)| of == state.name() && *at == i16::from(level));
                let count = found.map_or(0, |(_, _, count)| *count);
                self.open.with_label_values(&[state.name(), &level.to_string()]).set(count);
            }
        }
        Ok(())
    }
}

/// Removes all readings whose time is over, some at a time.
async fn forget(pool: &PgPool, clock: &Clock, shutdown: &Shutdown) -> Result<(), sqlx::Error> {
    let full = BATCH.unsigned_abs();
    while sensor::forget(pool, clock.now() - KEPT, BATCH).await? == full && !shutdown.token().is_cancelled() {}
    Ok(())
}
