//! The service's metrics: `trangtien_identity_…`. Labels are bounded sets; no person appears.

use platform::metrics::Metrics;
use prometheus::{IntCounterVec, IntGaugeVec};

/// Counters of the service.
pub(crate) struct Meter {
    otp_sent: IntCounterVec,
    otp_refused: IntCounterVec,
    otp_day: IntGaugeVec,
    otp_checks: IntCounterVec,
    sessions: IntCounterVec,
    sessions_ended: IntCounterVec,
    refreshes: IntCounterVec,
    pin_checks: IntCounterVec,
    step_ups: IntCounterVec,
    ekyc: IntCounterVec,
    key_rotations: IntCounterVec,
}

impl Meter {
    /// Registers them.
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self {
            otp_sent: metrics.counter("otp_sent_total", "One-time codes handed over for sending.", &["purpose"]),
            otp_refused: metrics.counter(
                "otp_refused_total",
                "Requests for a one-time code that were refused.",
                &["reason"],
            ),
            otp_day: metrics.gauge(
                "otp_day",
                "One-time codes of the last 24 hours as the budget counts them, and the budget.",
                &["of"],
            ),
            otp_checks: metrics.counter("otp_checks_total", "Answers to one-time codes.", &["purpose", "outcome"]),
            sessions: metrics.counter("sessions_issued_total", "Sessions started.", &["citizen"]),
            sessions_ended: metrics.counter("sessions_ended_total", "Sessions ended before their time.", &["reason"]),
            refreshes: metrics.counter("refreshes_total", "Uses of refresh tokens.", &["outcome"]),
            pin_checks: metrics.counter("pin_checks_total", "Checks of PINs.", &["outcome"]),
            ekyc: metrics.counter("ekyc_total", "Requests to the verifier that were decided.", &["outcome"]),
            step_ups: metrics.counter("step_ups_total", "Proofs asked for by citizens.", &["method", "outcome"]),
            key_rotations: metrics.counter("key_rotations_total", "Signing keys that took over.", &[]),
        }
    }

    /// A code was asked for and an event says so.
    pub(crate) fn otp_sent(&self, purpose: &str) {
        self.otp_sent.with_label_values(&[purpose]).inc();
    }

    /// A code was refused.
    pub(crate) fn otp_refused(&self, reason: &str) {
        self.otp_refused.with_label_values(&[reason]).inc();
    }

    /// What the budget is.
    pub(crate) fn otp_budget(&self, codes: u32) {
        self.otp_day.with_label_values(&["budget"]).set(codes.into());
    }

    /// What the budget has spent.
    pub(crate) fn otp_spent(&self, codes: u64) {
        self.otp_day.with_label_values(&["spent"]).set(i64::try_from(codes).unwrap_or(i64::MAX));
    }

    /// A code was answered.
    pub(crate) fn otp_check(&self, purpose: &str, outcome: &str) {
        self.otp_checks.with_label_values(&[purpose, outcome]).inc();
    }

    /// A session began, of a `new` or `known` citizen.
    pub(crate) fn session(&self, citizen: &str) {
        self.sessions.with_label_values(&[citizen]).inc();
    }

    /// Sessions were ended.
    pub(crate) fn sessions_ended(&self, reason: &str, count: usize) {
        self.sessions_ended.with_label_values(&[reason]).inc_by(count as u64);
    }

    /// A refresh token was used.
    pub(crate) fn refresh(&self, outcome: &str) {
        self.refreshes.with_label_values(&[outcome]).inc();
    }

    /// A PIN was checked.
    pub(crate) fn pin_check(&self, outcome: &str) {
        self.pin_checks.with_label_values(&[outcome]).inc();
    }

    /// A request to the verifier was decided: `verified`, or why not.
    pub(crate) fn ekyc(&self, outcome: &str) {
        self.ekyc.with_label_values(&[outcome]).inc();
    }

    /// A proof was asked for: `proved` or `refused`.
    pub(crate) fn step_up(&self, method: &str, outcome: &str) {
        self.step_ups.with_label_values(&[method, outcome]).inc();
    }

    /// A signing key took over.
    pub(crate) fn key_rotation(&self) {
        self.key_rotations.with_label_values::<&str>(&[]).inc();
    }
}
