//! What the wallet counts. Labels are bounded sets: kinds, codes and states, never a person or an id.

use ledger::TransferKind;
use platform::metrics::Metrics;
use prometheus::{IntCounterVec, IntGaugeVec};

use crate::account::kind_name;
use crate::bill_payment;
use crate::top_up::State;

/// The wallet's own metrics; the ledger adds its own to the same registry.
#[derive(Clone, Debug)]
pub(crate) struct WalletMetrics {
    payments: IntCounterVec,
    top_ups: IntCounterVec,
    top_ups_open: IntGaugeVec,
    callbacks: IntCounterVec,
    bill_payments: IntCounterVec,
    bill_payments_open: IntGaugeVec,
    biller_callbacks: IntCounterVec,
    fee_notices: IntCounterVec,
    fee_events: IntCounterVec,
}

impl WalletMetrics {
    /// Registers the wallet's metrics.
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self {
            payments: metrics.counter(
                "payments_total",
                "Payments by kind and outcome: completed and the ledger's refusals as committed, other refusals as answered.",
                &["kind", "outcome"],
            ),
            top_ups: metrics.counter("top_ups_total", "Top-ups by the state that they reached.", &["state"]),
            top_ups_open: metrics.gauge("top_ups_open", "Top-ups that have not ended, by state.", &["state"]),
            callbacks: metrics.counter(
                "bank_callbacks_total",
                "Callbacks of connected banks that were answered: by bank, and the state that the top-up then had or why it was refused.",
                &["bank", "outcome"],
            ),
            bill_payments: metrics.counter(
                "bill_payments_total",
                "Payments of bills by the state that they reached.",
                &["state"],
            ),
            bill_payments_open: metrics.gauge(
                "bill_payments_open",
                "Payments of bills that have not ended, by state.",
                &["state"],
            ),
            biller_callbacks: metrics.counter(
                "biller_callbacks_total",
                "Callbacks of connected billers that were answered: by biller, and the state that the payment then had or why it was refused.",
                &["biller", "outcome"],
            ),
            fee_notices: metrics.counter("fee_notices_total", "Notices of fees issued and cancelled.", &["act"]),
            fee_events: metrics.counter(
                "fee_events_total",
                "Attempts to tell an agency that a fee was paid.",
                &["outcome"],
            ),
        }
    }

    /// A payment ended in some way. What the ledger decided is counted when its batch is committed, anything else when it is answered.
    pub(crate) fn payment(&self, kind: TransferKind, outcome: &str) {
        self.payments.with_label_values(&[name(kind), outcome]).inc();
    }

    /// A top-up reached a state.
    pub(crate) fn top_up(&self, state: State) {
        self.top_ups.with_label_values(&[state.name()]).inc();
    }

    /// A callback of a connected bank is answered. `outcome` is a state's name or a problem's code.
    pub(crate) fn callback(&self, bank: &str, outcome: &str) {
        self.callbacks.with_label_values(&[bank, outcome]).inc();
    }

    /// A payment of a bill reached a state.
    pub(crate) fn bill_payment(&self, state: bill_payment::State) {
        self.bill_payments.with_label_values(&[state.name()]).inc();
    }

    /// A notice of a fee was issued or cancelled.
    pub(crate) fn fee_notice(&self, act: &str) {
        self.fee_notices.with_label_values(&[act]).inc();
    }

    /// An attempt to tell an agency ended.
    pub(crate) fn fee_event(&self, outcome: &str) {
        self.fee_events.with_label_values(&[outcome]).inc();
    }

    /// A callback of a connected biller is answered. `outcome` is a state's name or a problem's code.
    pub(crate) fn biller_callback(&self, biller: &str, outcome: &str) {
        self.biller_callbacks.with_label_values(&[biller, outcome]).inc();
    }

    /// How many payments of bills have not ended; states that are not named have none.
    pub(crate) fn open_bill_payments(&self, counts: &[(bill_payment::State, i64)]) {
        let open = bill_payment::State::ALL.into_iter().filter(|state| state.step() != bill_payment::Step::Rest);
        for state in open {
            let count = counts.iter().find(|(named, _)| *named == state).map_or(0, |(_, count)| *count);
            self.bill_payments_open.with_label_values(&[state.name()]).set(count);
        }
    }

    /// How many top-ups have not ended; states that are not named have none.
    pub(crate) fn open_top_ups(&self, counts: &[(State, i64)]) {
        for state in [State::Requested, State::Unknown, State::Submitted] {
            let count = counts.iter().find(|(named, _)| *named == state).map_or(0, |(_, count)| *count);
            self.top_ups_open.with_label_values(&[state.name()]).set(count);
        }
    }
}

fn name(kind: TransferKind) -> &'static str {
    kind_name(kind.code).unwrap_or("other")
}
