//! Money from a bank account into the wallet: the saga and its state machine, which is pure.
//!
//! ```text
//! requested ──sending──▶ unknown ──accepted──▶ submitted
//!     ▲                  │  │ │                  │  │
//!     └────never seen────┘  │ └──succeeded──┐    │  │
//!                           │               ▼    │  │
//!                           │          completed ◀──┘ (succeeded)
//!                           └──refused, failed──▶ failed ◀── failed
//! ```
//!
//! When a bank says that it took the money after it had said that it did not, a failed top-up is `submitted` again, with a new job.
//! From then on, as where the money can't be credited at once, only officers who have looked since can end it without the money:
//! a word of the bank from before may still be on its way.
//!
//! `begin.rs` saves the intent, `job.rs` talks to the bank, `settle.rs` books what the bank says, `bank.rs` is the bank's API,
//! `sql.rs` holds the statements; what is common to all partners is in [`partner`](crate::partner).
//!
//! Invariant: the state says `unknown` before anything is sent, so that a crash never hides that the bank may have been asked.
//! Invariant: from `unknown` the next step is a status query, never a blind repetition.
//! Invariant: only the posting itself makes a top-up `completed`, in the batch of the ledger.

mod bank;
mod begin;
mod job;
mod settle;
mod sql;
#[cfg(test)]
mod tests;

pub(crate) use bank::HttpBank;
pub use bank::{BankConnector, Collection};
pub(crate) use begin::{NewTopUp, begin};
pub(crate) use job::{JOB, TopUpJob};
pub(crate) use settle::settle;
pub(crate) use sql::{TopUp, banks_of, complete, count_open, count_open_of, find, find_own};

use chrono::{DateTime, Utc};

pub use crate::partner::{Answer, Report};

platform::typed_id! {
    /// One top-up; also the request id at the bank.
    pub struct TopUpId;
}

/// Where a top-up stands.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, sqlx::Type, utoipa::ToSchema,
)]
#[serde(rename_all = "kebab-case")]
#[sqlx(type_name = "text", rename_all = "kebab-case")]
#[schema(as = TopUpState)]
pub enum State {
    /// Saved; the bank has not been asked, or says that it never was.
    Requested,
    /// The bank may have been asked; its answer is not known.
    Unknown,
    /// The bank has accepted and is working on it.
    Submitted,
    /// The bank took the money and the wallet holds it.
    Completed,
    /// The bank took no money.
    Failed,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 5] = [Self::Requested, Self::Unknown, Self::Submitted, Self::Completed, Self::Failed];

    /// The name in the database, in JSON and in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Unknown => "unknown",
            Self::Submitted => "submitted",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }

    /// The state of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// What the job does next.
    #[must_use]
    pub fn step(self) -> Step {
        match self {
            Self::Requested => Step::Send,
            Self::Unknown | Self::Submitted => Step::Ask,
            Self::Completed | Self::Failed => Step::Rest,
        }
    }

    /// What an answer of the bank does, by callback, by status query or to the request itself.
    #[must_use]
    pub fn on(self, answer: Answer) -> Change {
        use Answer::{Failed, Lost, NeverSeen, Processing, Refused, Succeeded};
        match (self, answer) {
            // The bank has the money: the citizen gets it, whatever was said before.
            (Self::Failed, Succeeded) => Change::CreditAfterContradiction,
            (Self::Completed, Succeeded) => Change::Stay,
            (_, Succeeded) => Change::Credit,
            (Self::Requested | Self::Unknown, Processing) => Change::Move(Self::Submitted),
            // Its callback may overtake the answer to the request.
            (Self::Submitted | Self::Completed | Self::Failed, Processing) | (_, Lost) => Change::Stay,
            (Self::Requested | Self::Unknown | Self::Submitted, Failed) => Change::Move(Self::Failed),
            (Self::Requested | Self::Unknown, Refused) => Change::Move(Self::Failed),
            (Self::Failed, Failed | Refused | NeverSeen) | (Self::Requested, NeverSeen) => Change::Stay,
            (Self::Unknown, NeverSeen) => Change::Move(Self::Requested),
            (Self::Submitted, Refused | NeverSeen) | (Self::Completed, Failed | Refused | NeverSeen) => {
                Change::Contradiction
            }
        }
    }
}

/// Who says what became of the money.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// The bank, in whichever order its words come.
    Bank,
    /// Two officers, of whom one has asked the bank.
    Officers {
        /// When the officer said it.
        proposed_at: DateTime<Utc>,
    },
}

/// What a job does for a top-up in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Mark it `unknown`, then send the request.
    Send,
    /// Ask the bank for the status.
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
    /// Post the money; the posting completes the top-up.
    Credit,
    /// Post the money, and tell a person that the bank had said `failed` before.
    CreditAfterContradiction,
    /// Change nothing, and tell a person: the bank contradicts itself.
    Contradiction,
}
