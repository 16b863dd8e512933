//! What is measured: messages by what became of them, how long gateways take, how many messages wait.

use std::time::Duration;

use platform::metrics::{DURATION_BUCKETS, Metrics};
use platform::task::{Shutdown, Task};
use prometheus::{HistogramVec, IntCounterVec, IntGaugeVec};
use sqlx::PgPool;
use tracing::warn;

use crate::alert::Severity;
use crate::lane::{Channel, Lane};
use crate::message::{Made, State};
use crate::receipt::Fate;
use crate::sms::Cost;

/// How often waiting messages are counted.
const COUNT_INTERVAL: Duration = Duration::from_secs(5);
/// Counting stops here in each lane, so that a flood does not make the count itself a burden.
const COUNT_MAX: i64 = 100_000;

/// The role's metrics. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Meter {
    messages: IntCounterVec,
    durations: HistogramVec,
    waiting: IntGaugeVec,
    sms_parts: IntCounterVec,
    alerts: IntCounterVec,
    alert_recipients: IntCounterVec,
    climbed: IntCounterVec,
    receipts: IntCounterVec,
}

impl Meter {
    /// Registers with the role's metrics.
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self {
            messages: metrics.counter(
                "messages_total",
                "Messages that ended, by lane, channel and outcome.",
                &["lane", "channel", "outcome"],
            ),
            durations: metrics.histogram(
                "send_duration_seconds",
                "Time one attempt at a gateway took, by channel and answer.",
                &["channel", "answer"],
                DURATION_BUCKETS,
            ),
            waiting: metrics.gauge(
                "queue_messages",
                "Messages that wait for a worker or a retry, by lane (counted to 100,000).",
                &["lane"],
            ),
            sms_parts: metrics.counter(
                "sms_parts_total",
                "Parts of text messages that a gateway took, which is what is paid for, by lane and encoding.",
                &["lane", "encoding"],
            ),
            alerts: metrics.counter(
                "alerts_total",
                "Steps of alerts, by step (drafted, adopted, released, updated, cancelled, withdrawn) and severity.",
                &["step", "severity"],
            ),
            alert_recipients: metrics.counter(
                "alert_recipients_total",
                "Citizens for whom alerts were queued, by severity.",
                &["severity"],
            ),
            climbed: metrics.counter(
                "alert_climbs_total",
                "Text messages made because nothing else had reached a citizen in time, by severity.",
                &["severity"],
            ),
            receipts: metrics.counter(
                "sms_receipts_total",
                "What gateways said of text messages after they took them, by status; repetitions are not counted.",
                &["status"],
            ),
        }
    }

    /// A message was made; in-app and suppressed ones have ended with that.
    ///
    /// A transaction that is repeated after a failed commit counts twice.
    pub(crate) fn made(&self, made: &Made) {
        if made.state != State::Waiting {
            self.settled(made.lane, made.channel, made.state);
        }
    }

    /// A message ended.
    pub(crate) fn settled(&self, lane: Lane, channel: Channel, state: State) {
        self.messages.with_label_values(&[lane.name(), channel.name(), state.name()]).inc();
    }

    /// A gateway answered, or did not.
    pub(crate) fn attempted(&self, channel: Channel, answer: &str, took: Duration) {
        self.durations.with_label_values(&[channel.name(), answer]).observe(took.as_secs_f64());
    }

    /// A gateway took a text message.
    pub(crate) fn sms_taken(&self, lane: Lane, cost: Cost) {
        let parts = u64::try_from(cost.parts).unwrap_or(u64::MAX);
        self.sms_parts.with_label_values(&[lane.name(), cost.encoding.name()]).inc_by(parts);
    }

    /// A gateway said something new of a text message.
    pub(crate) fn receipt(&self, fate: Fate) {
        self.receipts.with_label_values(&[fate.name()]).inc();
    }

    /// An officer took a step with an alert.
    pub(crate) fn alert(&self, step: &str, severity: Severity) {
        self.alerts.with_label_values(&[step, severity.name()]).inc();
    }

    /// An alert was queued for so many citizens.
    pub(crate) fn warned(&self, severity: Severity, recipients: usize) {
        let recipients = u64::try_from(recipients).unwrap_or(u64::MAX);
        self.alert_recipients.with_label_values(&[severity.name()]).inc_by(recipients);
    }

    /// So many citizens whom an alert had not reached are sent a text message.
    pub(crate) fn climbed(&self, severity: Severity, citizens: usize) {
        let citizens = u64::try_from(citizens).unwrap_or(u64::MAX);
        self.climbed.with_label_values(&[severity.name()]).inc_by(citizens);
    }

    /// The task that counts waiting messages.
    pub(crate) fn task(&self, pool: PgPool) -> Task {
        let meter = self.clone();
        Task::new("queue-count", move |shutdown: Shutdown| async move {
            loop {
                if let Err(error) = meter.count(&pool).await {
                    warn!(%error, "cannot count waiting messages");
                }
                tokio::select! {
                    () = tokio::time::sleep(COUNT_INTERVAL) => {}
                    () = shutdown.cancelled() => return Ok(()),
                }
            }
        })
    }

    async fn count(&self, pool: &PgPool) -> Result<(), sqlx::Error> {
        for lane in Lane::ALL {
            let waiting = sqlx::query_scalar!(
                r#"SELECT count(*) AS "count!" FROM (
                       SELECT FROM notifications.message WHERE state = 'waiting' AND lane = $1 LIMIT $2) AS waiting"#,
                lane.name(),
                COUNT_MAX
            );
            self.waiting.with_label_values(&[lane.name()]).set(waiting.fetch_one(pool).await?);
        }
        Ok(())
    }
}
