//! A bill paid with one touch: the saga and its state machine, which is pure.
//!
//! ```text
//! requested ──hold──▶ held ──about to ask──▶ confirming ──lost──▶ unknown
//!     │                │▲                      │  │ │ ▲             │ │ │
//!     │ refused        │└─────never seen───────┘  │ │ └─processing──┘ │ │
//!     │ by a rule      │ expired                  │ └──succeeded──┐   │ │
//!     ▼                ▼                          ▼              ▼   │ │
//!   failed ◀───────────┴────────── refused, failed            paid ◀─┘ │
//!     ▲                                                                │
//!     └───────────────────────── refused, failed ──────────────────────┘
//! ```
//!
//! What failed for want of a proof is `requested` again once it is proved.
//!
//! `begin.rs` saves the intent, `named.rs` seals what names the bill at the biller, `hold.rs` sets the money aside, `job.rs` talks to the
//! biller, `settle.rs` books what the biller says, `sql.rs` holds the statements. The biller's API is [`bill::biller`](crate::bill).
//!
//! Invariant: the state says `confirming` and the hold can't expire before anything is sent, so that a crash never hides that the biller may have been asked.
//! Invariant: from `confirming` and `unknown` the next step is a status query, never a blind repetition.
//! Invariant: only a batch of the ledger makes a payment `held` or `paid`, and only the batch that gives the money back makes one `failed` whose hold is open.
//! Invariant: what was decided before a proof came changes nothing of the payment that was proved.
//! Invariant: a bill has at most one payment that has not failed.

mod begin;
mod hold;
mod job;
pub(crate) mod named;
mod settle;
pub(crate) mod sql;
#[cfg(test)]
mod tests;

pub(crate) use begin::{NewBillPayment, pay};
pub(crate) use job::{BillPaymentJob, JOB};
pub(crate) use settle::settle;
pub(crate) use sql::BillPayment;

use crate::account;
use crate::city::BillerKind;
use crate::partner::Answer;

/// What the payment of a bill or a fee is called where a citizen proves it: as it is booked, so that neither's proof serves the other.
pub(crate) fn proof_kind(kind: BillerKind) -> &'static str {
    account::kind_of_bill(kind).name
}

platform::typed_id! {
    /// One payment of a bill; also the request id at the biller and the hold in the ledger.
    pub struct BillPaymentId;
}

/// Where the payment of a bill stands.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, sqlx::Type, utoipa::ToSchema,
)]
#[serde(rename_all = "kebab-case")]
#[sqlx(type_name = "text", rename_all = "kebab-case")]
#[schema(as = BillPaymentState)]
#[schema(as = BillPaymentState)]
pub enum State {
    /// Saved; no money is set aside.
    Requested,
    /// The money is set aside; the biller has not been asked, or says that it never was.
    Held,
    /// The biller is being asked.
    Confirming,
    /// The biller may have recorded the payment; its answer is not known.
    Unknown,
    /// The biller recorded the payment and has the money.
    Paid,
    /// The biller recorded nothing and the money is back.
    Failed,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 6] = [Self::Requested, Self::Held, Self::Confirming, Self::Unknown, Self::Paid, Self::Failed];

    /// The name in the database, in JSON and in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Held => "held",
            Self::Confirming => "confirming",
            Self::Unknown => "unknown",
            Self::Paid => "paid",
            Self::Failed => "failed",
        }
    }

    /// What the job does next.
    #[must_use]
    pub fn step(self) -> Step {
        match self {
            Self::Requested => Step::Hold,
            Self::Held => Step::Send,
            Self::Confirming | Self::Unknown => Step::Ask,
            Self::Paid | Self::Failed => Step::Rest,
        }
    }

    /// What an answer of the biller does, by callback, by status query or to the request itself.
    #[must_use]
    pub fn on(self, answer: Answer) -> Change {
        use Answer::{Failed, Lost, NeverSeen, Processing, Refused, Succeeded};
        match (self, answer) {
            (Self::Confirming, Lost) => Change::Move(Self::Unknown),
            (_, Lost) => Change::Stay,
            // Nobody was asked yet: who speaks of it is wrong.
            (Self::Requested, _) => Change::Contradiction,
            // A late answer to a request that was thought to have got lost finds the payment held again.
            (Self::Held | Self::Confirming | Self::Unknown, Succeeded) => Change::Charge,
            (Self::Held | Self::Confirming | Self::Unknown, Failed | Refused) => Change::GiveBack,
            (Self::Held | Self::Unknown, Processing) => Change::Move(Self::Confirming),
            (Self::Confirming | Self::Unknown, NeverSeen) => Change::Move(Self::Held),
            (Self::Held, NeverSeen) | (Self::Confirming, Processing) => Change::Stay,
            (Self::Paid, Succeeded | Processing) | (Self::Failed, Failed | Refused | NeverSeen | Processing) => {
                Change::Stay
            }
            // The money went where the biller's first word sent it; a person must look.
            (Self::Paid, Failed | Refused | NeverSeen) | (Self::Failed, Succeeded) => Change::Contradiction,
        }
    }
}

/// What a job does for a payment in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Set the money aside.
    Hold,
    /// Keep the hold from expiring, mark the payment `confirming`, then send the request.
    Send,
    /// Ask the biller for the status.
    Ask,
    /// Nothing is left to do.
    Rest,
}

/// What to do about an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    Stay,
    /// Go to another state.
    Move(State),
    /// Post the hold; the posting makes the payment `paid`.
    Charge,
    /// Void the hold; the voiding makes the payment `failed`.
    GiveBack,
    /// Change nothing, and tell a person: the biller contradicts itself.
    Contradiction,
}
