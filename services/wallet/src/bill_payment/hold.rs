//! What a payment asks of the ledger: to set the money aside, to keep it so, to post it or to give it back. Each under a key of its own,
//! derived from the payment, so that asking again gets the same answer.

use chrono::TimeDelta;
use ledger::money::Money;
use ledger::{Action, HoldId, HoldPosting, HoldSpec, Key, Outcome, Refusals, Reject};
use sha2::{Digest as _, Sha256};

use super::settle::{fail, wait_for_proof};
use super::{BillPayment, State};
use crate::Wallet;
use crate::account::{self, CURRENCY};
use crate::allowance::{self, Asker, Expense};
use crate::delegate;
use crate::error::{AmountFault, BillFault, Error, STEP_UP_REQUIRED};
use crate::payment;
use crate::rider::Rider;

/// How long a citizen counts on a payment that nobody outside has been asked about. Then the money is theirs again.
const HOLD_FOR: TimeDelta = TimeDelta::minutes(30);

const HOLD: &str = "bill.hold";
const CONFIRM: &str = "bill.confirm";
const POST: &str = "bill.post";
const VOID: &str = "bill.void";

/// Sets the money aside. The batch that does makes the payment `held`; the one that refuses makes it `failed`.
///
/// # Errors
/// What a rule or the ledger refused, also when it was before; what the ledger or the database can't do now.
pub(super) async fn hold(wallet: &Wallet, payment: &BillPayment) -> Result<(), Error> {
    match payment.state {
        State::Requested => {}
        State::Failed => return refused_before(wallet, payment).await,
        State::Held | State::Confirming | State::Unknown | State::Paid => return Ok(()),
    }
    if is_over(wallet, payment) {
        fail(wallet, payment, BillFault::Expired.name()).await?;
        return Err(BillFault::Expired.into());
    }
    let asker = asker(wallet, payment).await?;
    let allowance = match allowance::prepare(wallet, asker, expense(payment)).await {
        Ok(allowance) => allowance,
        Err(Error::Amount(fault)) => {
            let refusal = Error::Amount(fault);
            match fault {
                AmountFault::StepUp { .. } => wait_for_proof(wallet, payment).await?,
                _ => fail(wallet, payment, refusal.name()).await?,
            }
            return Err(refusal);
        }
        Err(error) => return Err(error),
    };
    let request = hold_request(payment).limits(allowance.limits());
    match wallet.ledger.post(request).await? {
        Outcome::Posted(_) => Ok(()),
        Outcome::Rejected(reject) => {
            if let Reject::ProofRequired(_) = reject {
                // The ledger does not remember it, and hands over no rider that would end the payment.
                wait_for_proof(wallet, payment).await?;
            }
            Err(allowance.explain(wallet, reject))
        }
    }
}

/// Whether a citizen counts no more on a payment that nobody outside has been asked about.
pub(super) fn is_over(wallet: &Wallet, payment: &BillPayment) -> bool {
    let unasked = matches!(payment.state, State::Requested | State::Held);
    unasked && wallet.clock.now() >= payment.requested_at + HOLD_FOR
}

/// Who asked for it.
async fn asker(wallet: &Wallet, payment: &BillPayment) -> Result<Asker, Error> {
    let acting = delegate::sql::acting_in(&mut *wallet.pool.acquire().await?, payment.id.uuid()).await?;
    Ok(Asker { user: payment.user_id, session: payment.session_id, acting })
}

/// Whether the money was refused when it was asked for: then the answer is that refusal again.
async fn refused_before(wallet: &Wallet, payment: &BillPayment) -> Result<(), Error> {
    let answered = payment::sql::answered(&mut *wallet.pool.acquire().await?, &key(payment, HOLD)).await?;
    let reject = match (answered, payment.reason.as_deref()) {
        (Some(Outcome::Rejected(reject)), _) => reject,
        (_, Some(reason)) if reason == BillFault::Expired.name() => return Err(BillFault::Expired.into()),
        (_, Some(reason)) if reason == STEP_UP_REQUIRED.code() => {
            Reject::ProofRequired(account::citizen(payment.user_id).id)
        }
        // The money was set aside; what became of it is told by the payment.
        _ => return Ok(()),
    };
    let asker = asker(wallet, payment).await?;
    match allowance::prepare(wallet, asker, expense(payment)).await {
        Ok(allowance) => Err(allowance.explain(wallet, reject)),
        Err(error) => Err(error),
    }
}

/// What became of a hold that was to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// It can't expire any more.
    Yes,
    /// Its time was over before.
    Expired,
}

/// Keeps the hold from expiring, because the biller is about to be asked.
pub(super) async fn confirm(wallet: &Wallet, payment: &BillPayment) -> Result<Kept, Error> {
    let request = request(payment, CONFIRM, Action::Confirm(hold_id(payment)));
    match wallet.ledger.post(request).await? {
        Outcome::Posted(_) => Ok(Kept::Yes),
        Outcome::Rejected(Reject::HoldExpired(_)) => Ok(Kept::Expired),
        Outcome::Rejected(reject) => Err(Error::Rejected(reject)),
    }
}

/// Posts the hold: the biller has recorded the payment. The batch makes the payment `paid`.
pub(super) async fn post(wallet: &Wallet, payment: &BillPayment, reference: Option<String>) -> Result<(), Error> {
    let posting = HoldPosting { hold: hold_id(payment), amount: None };
    let mut request = request(payment, POST, Action::Post(posting)).forget_refusal();
    request.rider = Some(Rider::BillPaid { payment: payment.id, kind: payment.kind, biller_reference: reference });
    granted(wallet, payment, request).await
}

/// Voids the hold: the biller has not recorded the payment and never will. The batch makes the payment `failed`.
pub(super) async fn void(wallet: &Wallet, payment: &BillPayment, reason: &str) -> Result<(), Error> {
    let mut request = request(payment, VOID, Action::Void(hold_id(payment))).forget_refusal();
    request.rider = Some(Rider::BillReturned { failed: payment.failed(reason) });
    granted(wallet, payment, request).await
}

async fn granted(wallet: &Wallet, payment: &BillPayment, request: ledger::Request<Rider>) -> Result<(), Error> {
    match wallet.ledger.post(request).await? {
        Outcome::Posted(_) => Ok(()),
        Outcome::Rejected(reject) => {
            tracing::error!(bill_payment.id = %payment.id, code = reject.code(), "hold of a bill payment can't be ended as the biller says");
            Err(Error::Rejected(reject))
        }
    }
}

fn hold_request(payment: &BillPayment) -> ledger::Request<Rider> {
    let (citizen, biller) = (account::citizen(payment.user_id), account::biller(&payment.biller_code));
    let spec = HoldSpec {
        id: hold_id(payment),
        debit: citizen.id,
        credit: biller.id,
        amount: amount(payment),
        kind: account::kind_of_bill(payment.kind),
        reference: payment.id.uuid(),
        expires_at: Some(payment.requested_at + HOLD_FOR),
    };
    let mut request = request(payment, HOLD, Action::Hold(spec)).open(citizen).open(biller);
    request.refusals = Refusals::Remembered;
    request.rider(Rider::BillHeld { failing: payment.failed(""), proven: payment.proven() })
}

fn request(payment: &BillPayment, operation: &'static str, action: Action) -> ledger::Request<Rider> {
    ledger::Request::new(key(payment, operation)).action(action)
}

fn key(payment: &BillPayment, operation: &'static str) -> Key {
    let fingerprint =
        Sha256::new().chain_update(payment.id.uuid()).chain_update(payment.amount.to_be_bytes()).finalize().into();
    Key { caller: payment.user_id, operation, key: payment.id.to_string(), fingerprint }
}

fn hold_id(payment: &BillPayment) -> HoldId {
    HoldId::from(payment.id.uuid())
}

/// The payment as the rules see it, with what was proved for it.
fn expense(payment: &BillPayment) -> Expense {
    account::bill_expense(amount(payment), payment.proof_level)
}

pub(super) fn amount(payment: &BillPayment) -> Money {
    Money::from_minor(payment.amount, CURRENCY)
}
