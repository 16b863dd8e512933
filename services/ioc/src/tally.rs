//! From events to what is counted: pure, no I/O.
//!
//! Everything counted has a `kind` and an `outcome`, both from bounded sets, and an amount that is 0 for what is not money.
//! Nothing that names a person leaves this module: of a payment only its merchant's public name, its amount and its time.

use std::collections::BTreeMap;

use chrono::{DateTime, DurationRound as _, NaiveDate, TimeDelta, Utc};
use platform::events::Event;
use prost::{DecodeError, Message as _, Name};
use proto::identity::v1::{CitizenRegistered, OtpRequested, SessionRevoked, SessionStarted, TierChanged};
use proto::money::v1::Money;
use proto::notifications::v1::{MessageSettled, MessagesSettled};
use proto::wallet::v1::{
    BillPaid, BillPaymentFailed, MerchantPaidOut, PaymentCompleted, PaymentRejected, RefundCompleted, TopUpCompleted,
    TopUpFailed,
};
use uuid::Uuid;

use crate::city::City;
use crate::happening::Happening;

/// The stream of all that moved money; its positions are those of the wallet's books.
pub(crate) const JOURNAL: &str = "journal";
/// A journal entry of a type that this version does not know; it makes the books differ instead of vanishing.
const UNKNOWN: &str = "unknown";
/// Kinds of movement that a refusal may name; any other is counted as `other`.
const MOVEMENTS: [&str; 8] = ["payment", "top-up", "transfer", "withdrawal", "refund", "bill", "fee", "payout"];
/// What events say of a fee of a public service.
const FEE: &str = "fee";
/// Movements of every kind that did not come to be, by reason: refused by the ledger, or by the bank, the biller or the agency (`other`).
const REFUSAL: &str = "refusal";
/// Reasons of refusals that are told apart.
const REASONS: [&str; 6] =
    ["insufficient-funds", "limit-day", "limit-month", "account-frozen", "account-closed", "step-up-required"];
const LANES: [&str; 5] = ["emergency", "security", "payment", "service", "news"];
const CHANNELS: [&str; 4] = ["in-app", "push", "sms", "email"];
const OUTCOMES: [&str; 3] = ["delivered", "failed", "suppressed"];
pub(crate) const OTHER: &str = "other";

/// Why an event can't be counted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TallyError {
    /// The payload is not what its type says.
    #[error("the payload is malformed")]
    Malformed(#[from] DecodeError),
    /// An amount is missing, negative or in another currency than the city's books.
    #[error("the amount is not one of the city's currency")]
    Amount,
    /// A number of things that is none.
    #[error("a count is not at least 1")]
    Count,
    /// A sum left the range of 64 bits.
    #[error("a sum is too large")]
    Overflow,
}

/// What is counted together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Label {
    /// What it was.
    pub(crate) kind: String,
    /// How it ended.
    pub(crate) outcome: String,
}

/// How often, and for how much in minor units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    /// How often.
    pub(crate) count: i64,
    /// The sum of the amounts, in minor units.
    pub(crate) amount: i64,
}

/// A payment as the wall shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Payment {
    /// Its place in the journal.
    pub(crate) position: i64,
    /// When it was made.
    pub(crate) paid_at: DateTime<Utc>,
    /// The merchant's public name.
    pub(crate) merchant: String,
    /// In minor units.
    pub(crate) amount: i64,
}

/// An entry of the books.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its place in the journal.
    pub(crate) position: i64,
    /// The kind of transfer.
    pub(crate) kind: String,
    /// In minor units.
    pub(crate) amount: i64,
}

/// What a batch of events adds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Batch {
    /// By minute.
    pub(crate) minutes: BTreeMap<(DateTime<Utc>, Label), Sum>,
    /// By day of the city.
    pub(crate) days: BTreeMap<(NaiveDate, Label), Sum>,
    /// Payments among them, oldest first.
    pub(crate) payments: Vec<Payment>,
    /// Each of them, once for every label that it counts under.
    pub(crate) happenings: Vec<Happening>,
    /// Journal entries among them.
    pub(crate) entries: Vec<Entry>,
    /// The newest position of each partition.
    pub(crate) positions: BTreeMap<i16, i64>,
}

/// One thing that an event counts as.
struct Counted {
    kind: String,
    outcome: &'static str,
    /// How many things it is.
    count: i64,
    amount: i64,
    merchant: Option<String>,
    /// The id of what it tells of, if it is one.
    reference: Option<Uuid>,
    /// As what it counts once more: a message by its lane, a refusal by its reason.
    also: Option<(String, &'static str)>,
}

impl Counted {
    fn new(kind: impl Into<String>, outcome: &'static str) -> Self {
        Self { kind: kind.into(), outcome, count: 1, amount: 0, merchant: None, reference: None, also: None }
    }

    /// Messages of one lane, channel and outcome.
    fn messages(lane: &str, channel: &str, outcome: &str, count: i64) -> Self {
        let kind = format!("message-{}", bounded(channel, &CHANNELS));
        let outcome = bounded(outcome, &OUTCOMES);
        let also = Some((format!("lane-{}", bounded(lane, &LANES)), outcome));
        Self { also, count, ..Self::new(kind, outcome) }
    }

    fn money(mut self, amount: i64) -> Self {
        self.amount = amount;
        self
    }

    /// Tells of the thing with this id; what is no id is left out.
    fn of(mut self, id: &str) -> Self {
        self.reference = id.parse().ok();
        self
    }

    /// Counts once more as refused for a reason.
    fn refused(mut self, reason: &str) -> Self {
        self.also = Some((REFUSAL.to_owned(), bounded(reason, &REASONS)));
        self
    }
}

impl Batch {
    /// Counts one event of `stream`.
    ///
    /// # Errors
    /// When the event can't be counted; the batch is then of no use.
    pub(crate) fn add(&mut self, stream: &str, city: &City, event: &Event) -> Result<(), TallyError> {
        let partition = i16::try_from(event.partition()).expect("there are sixteen partitions");
        let position = self.positions.entry(partition).or_default();
        *position = event.position.max(*position);
        let counted = count(event, &city.currency)?;
        if stream == JOURNAL {
            let (kind, amount) =
                counted.as_ref().map_or((UNKNOWN, 0), |counted| (counted.kind.as_str(), counted.amount));
            self.entries.push(Entry { position: event.position, kind: kind.to_owned(), amount });
        }
        let Some(counted) = counted else { return Ok(()) };
        if let Some(merchant) = counted.merchant {
            let paid_at = event.time;
            self.payments.push(Payment { position: event.position, paid_at, merchant, amount: counted.amount });
        }
        let minute = minute_of(event)?;
        for (kind, outcome) in [Some((counted.kind, counted.outcome)), counted.also].into_iter().flatten() {
            let label = Label { kind, outcome: outcome.to_owned() };
            let sum = Sum { count: counted.count, amount: counted.amount };
            self.happenings.push(Happening::of(event, (&label, sum), counted.reference));
            self.minutes.entry((minute, label.clone())).or_default().add_all(counted.count, counted.amount)?;
            self.days.entry((city.day(event.time), label)).or_default().add_all(counted.count, counted.amount)?;
        }
        Ok(())
    }
}

impl Sum {
    /// Adds one.
    pub(crate) fn add(&mut self, amount: i64) -> Result<(), TallyError> {
        self.add_all(1, amount)
    }

    /// Adds so many that come to an amount.
    fn add_all(&mut self, count: i64, amount: i64) -> Result<(), TallyError> {
        self.count = self.count.checked_add(count).ok_or(TallyError::Overflow)?;
        self.amount = self.amount.checked_add(amount).ok_or(TallyError::Overflow)?;
        Ok(())
    }
}

/// The minute that an event falls in.
pub(crate) fn minute_of(event: &Event) -> Result<DateTime<Utc>, TallyError> {
    event.time.duration_trunc(TimeDelta::minutes(1)).map_err(|_| TallyError::Overflow)
}

/// What an event counts as; `None` for types that the wall does not show.
fn count(event: &Event, currency: &str) -> Result<Option<Counted>, TallyError> {
    let is = |name: String| event.kind == name;
    let counted = if is(PaymentCompleted::full_name()) {
        let event = PaymentCompleted::decode(event.data.clone())?;
        let amount = minor_units(event.amount, currency)?;
        let counted = Counted::new("payment", "completed").of(&event.payment_id).money(amount);
        Counted { merchant: Some(event.merchant_name), ..counted }
    } else if is(TopUpCompleted::full_name()) {
        let event = TopUpCompleted::decode(event.data.clone())?;
        Counted::new("top-up", "completed").of(&event.top_up_id).money(minor_units(event.amount, currency)?)
    } else if is(BillPaid::full_name()) {
        let event = BillPaid::decode(event.data.clone())?;
        // As the books have it, so that both agree on fees from before they had a kind.
        let counted = Counted::new(bill_or_fee(&event.booked_as), "completed").of(&event.bill_payment_id);
        counted.money(minor_units(event.amount, currency)?)
    } else if is(BillPaymentFailed::full_name()) {
        let event = BillPaymentFailed::decode(event.data.clone())?;
        let counted = Counted::new(bill_or_fee(&event.kind), "failed").of(&event.bill_payment_id);
        counted.refused(&event.reason).money(minor_units(event.amount, currency)?)
    } else if is(RefundCompleted::full_name()) {
        let event = RefundCompleted::decode(event.data.clone())?;
        Counted::new("refund", "completed").of(&event.refund_id).money(minor_units(event.amount, currency)?)
    } else if is(MerchantPaidOut::full_name()) {
        let event = MerchantPaidOut::decode(event.data.clone())?;
        Counted::new("payout", "completed").of(&event.transfer_id).money(minor_units(event.amount, currency)?)
    } else if is(TopUpFailed::full_name()) {
        let event = TopUpFailed::decode(event.data.clone())?;
        let counted = Counted::new("top-up", "failed").of(&event.top_up_id);
        counted.refused(&event.reason).money(minor_units(event.amount, currency)?)
    } else if is(PaymentRejected::full_name()) {
        let event = PaymentRejected::decode(event.data.clone())?;
        let amount = minor_units(event.amount, currency)?;
        Counted::new(bounded(&event.kind, &MOVEMENTS), "rejected").refused(&event.code).money(amount)
    } else if is(SessionStarted::full_name()) {
        Counted::new("session", "started")
    } else if is(SessionRevoked::full_name()) {
        Counted::new("session", "revoked")
    } else if is(CitizenRegistered::full_name()) {
        Counted::new("citizen", "registered")
    } else if is(TierChanged::full_name()) {
        Counted::new("citizen", "tier-changed")
    } else if is(OtpRequested::full_name()) {
        Counted::new("otp", "requested")
    } else if is(MessageSettled::full_name()) {
        let event = MessageSettled::decode(event.data.clone())?;
        Counted::messages(&event.lane, &event.channel, &event.outcome, 1).of(&event.message_id)
    } else if is(MessagesSettled::full_name()) {
        let event = MessagesSettled::decode(event.data.clone())?;
        if event.count < 1 {
            return Err(TallyError::Count);
        }
        Counted::messages(&event.lane, &event.channel, &event.outcome, event.count)
    } else {
        return Ok(None);
    };
    Ok(Some(counted))
}

/// The kind of movement that the payment of a bill is.
fn bill_or_fee(word: &str) -> &'static str {
    if word == FEE { FEE } else { "bill" }
}

/// The word itself if it is one of the known ones, else [`OTHER`]: what other services say stays a bounded set.
pub(crate) fn bounded(word: &str, known: &[&'static str]) -> &'static str {
    known.iter().copied().find(|known| *known == word).unwrap_or(OTHER)
}

fn minor_units(money: Option<Money>, currency: &str) -> Result<i64, TallyError> {
    let money = money.ok_or(TallyError::Amount)?;
    if money.currency == currency && money.minor_units >= 0 { Ok(money.minor_units) } else { Err(TallyError::Amount) }
}

#[cfg(test)]
mod tests;
