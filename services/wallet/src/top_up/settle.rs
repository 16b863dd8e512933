//! What the bank says, booked: by its callback, its answer or its status. Every path comes through [`settle`].
//!
//! Safe to repeat and to run at the same time: a state changes only from the state that was decided on,
//! and the money has one key, under which the ledger posts it once.

use ledger::money::Money;
use ledger::{Action, Key, Outcome, Posting, Refusals, Request};
use platform::job::{self, NewJob};
use platform::outbox::{self, NewEvent};
use proto::wallet::v1::TopUpFailed;
use sha2::{Digest as _, Sha256};

use super::job::{JOB, again_key};
use super::sql::{self, Transition};
use super::{Change, State, TopUp, TopUpId, Word};
use crate::account::{self, CURRENCY};
use crate::error::Error;
use crate::partner::Report;
use crate::rider::Rider;
use crate::{SCHEMA, Wallet, event};

/// Rounds of "read, decide, write" when others write in between.
const MAX_ROUNDS: usize = 5;
/// The operation under which the ledger knows the postings.
const OPERATION: &str = "top-up";

/// What a report has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Settlement {
    /// Where the top-up stands now.
    pub(crate) state: State,
}

/// Brings a top-up to where a report leads, of the bank or of officers.
///
/// # Errors
/// `NotFound`; `CallbackAmount` when the bank speaks of another amount (nothing is booked, a person must look);
/// what the ledger or the database answered. All but `CallbackAmount` may pass: say it again later.
pub(crate) async fn settle(wallet: &Wallet, id: TopUpId, report: &Report, whose: Word) -> Result<Settlement, Error> {
    for _ in 0..MAX_ROUNDS {
        let top_up = sql::find(&mut *wallet.pool.acquire().await?, id).await?.ok_or(Error::NotFound)?;
        let amount = Money::from_minor(top_up.amount, CURRENCY);
        if !report.is_about(amount) {
            tracing::error!(top_up.id = %id, said = ?report.amount, expected = %amount, "bank speaks of another amount than was asked for");
            return Err(Error::CallbackAmount);
        }
        match top_up.on(report.answer, whose) {
            Change::Stay => return Ok(Settlement { state: top_up.state }),
            Change::Contradiction => {
                tracing::error!(top_up.id = %id, state = top_up.state.name(), answer = ?report.answer, "bank contradicts itself; nothing was changed");
                return Ok(Settlement { state: top_up.state });
            }
            Change::Move(to) => {
                if move_to(wallet, &top_up, to, report).await? {
                    return Ok(Settlement { state: to });
                }
            }
            Change::Credit => {
                let Err(error) = credit(wallet, &top_up, report).await else {
                    return Ok(Settlement { state: State::Completed });
                };
                // A word from before may be read next. When one was read meanwhile, this one is looked at once more.
                if sql::mark_taken(&mut *wallet.pool.acquire().await?, id, wallet.clock.now()).await? {
                    return Err(error);
                }
            }
            Change::CreditAfterContradiction => {
                tracing::error!(top_up.id = %id, "bank took money that it had said it did not take; it is credited");
                if reopen(wallet, &top_up, report).await? {
                    credit(wallet, &top_up, report).await?;
                    return Ok(Settlement { state: State::Completed });
                }
            }
        }
    }
    Err(Error::Unavailable("a top-up keeps changing".into()))
}

/// Marks that the bank is about to be asked; `false` when somebody else changed the top-up.
pub(super) async fn mark_sending(wallet: &Wallet, top_up: &TopUp) -> Result<bool, Error> {
    move_to(wallet, top_up, State::Unknown, &Report::lost()).await
}

/// Takes a failed top-up up again, with a job of its own: whatever happens to the posting that follows, the money is not forgotten.
/// `false` when somebody else changed the top-up.
async fn reopen(wallet: &Wallet, top_up: &TopUp, report: &Report) -> Result<bool, Error> {
    let now = wallet.clock.now();
    let change = Transition {
        of: top_up,
        to: State::Submitted,
        bank_reference: report.reference.as_deref(),
        reason: None,
        at: now,
    };
    let mut tx = platform::db::begin(&wallet.pool).await?;
    if !sql::transition(&mut tx, &change).await? {
        return Ok(false);
    }
    job::schedule(&mut tx, SCHEMA, now, NewJob::new(JOB, again_key(top_up.id), now)).await?;
    tx.commit().await?;
    wallet.metrics.top_up(State::Submitted);
    Ok(true)
}

async fn move_to(wallet: &Wallet, top_up: &TopUp, to: State, report: &Report) -> Result<bool, Error> {
    let now = wallet.clock.now();
    let reason = (to == State::Failed).then(|| report.reason.as_deref().unwrap_or("bank-failed"));
    let change = Transition { of: top_up, to, bank_reference: report.reference.as_deref(), reason, at: now };
    let mut tx = platform::db::begin(&wallet.pool).await?;
    if !sql::transition(&mut tx, &change).await? {
        return Ok(false);
    }
    if let Some(reason) = reason {
        let failed = TopUpFailed {
            top_up_id: top_up.id.to_string(),
            user_id: top_up.user_id.to_string(),
            amount: Some(event::money(Money::from_minor(top_up.amount, CURRENCY))),
            reason: reason.to_owned(),
        };
        outbox::append(&mut tx, SCHEMA, now, &[NewEvent::new(top_up.user_id, &failed)]).await?;
    }
    tx.commit().await?;
    wallet.metrics.top_up(to);
    Ok(true)
}

/// Posts the money. The batch that posts it marks the row completed.
///
/// The key is the top-up's own, so that the ledger posts it once. A refusal (a frozen account) is not remembered:
/// the bank has taken the money, and it must arrive once what stood in its way is over.
async fn credit(wallet: &Wallet, top_up: &TopUp, report: &Report) -> Result<(), Error> {
    match wallet.ledger.post(request(top_up, report)).await? {
        Outcome::Posted(_) => Ok(()),
        Outcome::Rejected(reject) => {
            tracing::error!(top_up.id = %top_up.id, code = reject.code(), "money that the bank took can't be credited");
            Err(Error::Rejected(reject))
        }
    }
}

fn request(top_up: &TopUp, report: &Report) -> Request<Rider> {
    let (bank, citizen) = (account::nostro(&top_up.bank_code), account::citizen(top_up.user_id));
    let posting = Posting {
        debit: bank.id,
        credit: citizen.id,
        amount: Money::from_minor(top_up.amount, CURRENCY),
        kind: account::TOP_UP,
        reference: top_up.id.uuid(),
    };
    let fingerprint =
        Sha256::new().chain_update(top_up.id.uuid()).chain_update(top_up.amount.to_be_bytes()).finalize().into();
    Request {
        key: Key { caller: top_up.user_id, operation: OPERATION, key: top_up.id.to_string(), fingerprint },
        open: vec![bank, citizen],
        actions: vec![Action::Transfer(posting)],
        rider: Some(Rider::TopUp { id: top_up.id, bank_reference: report.reference.clone() }),
        refusals: Refusals::Forgotten,
        limits: Vec::new(),
    }
}
