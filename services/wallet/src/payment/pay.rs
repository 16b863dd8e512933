//! The use case: read the code, check the rules, post once.
//!
//! Round trips: one for the citizen's standing, then the posting, both shared with all payments of the moment; one more for a till that was not
//! paid lately, and one for a note, which is sealed under the payer's key.

use std::sync::Arc;

use ledger::money::{Money, PositiveMoney};
use ledger::{Action, Answer, Key, Outcome, Posted, Posting, Refusals, Reject, Request};
use platform::idempotency::{self, Claim};
use platform::outbox;
use platform::problem::{IDEMPOTENCY_KEY_REUSED, Problem};
use serde::Deserialize;
use utoipa::ToSchema;

use super::sql;
use crate::account::{self, CURRENCY};
use crate::allowance::{Allowance, Asked, Expense};
use crate::city::Kind;
use crate::delegate::{self, Spending};
use crate::error::{AmountFault, Error};
use crate::merchant::{self, Payee, TillId};
use crate::person::word::{self, PAYMENT_NOTE};
use crate::rider::{Rider, payment_rejected};
use crate::step_up::{Proven, Transaction};
use crate::text::Label;
use crate::{SCHEMA, Wallet, allowance, limit, qr};

/// The operation under which the ledger knows the postings.
const OPERATION: &str = "payment";
/// What it is called where a citizen proves it.
pub(crate) const KIND: &str = "payment";
/// The operation under which it is remembered that a refusal by a rule was told. The rule is asked anew each time.
const REFUSAL: &str = "payment.refusal";
/// The status that is remembered with it; nobody is answered from it.
const REFUSED_STATUS: u16 = 422;

/// A payment that a citizen makes.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPayment {
    /// What was scanned. Either this or `till_id`.
    #[schema(max_length = 512)]
    qr_payload: Option<String>,
    /// The till to pay. Either this or `qr_payload`.
    #[schema(value_type = Option<String>, format = Uuid)]
    till_id: Option<TillId>,
    /// How much; needed unless the code says it, and then it must be the same.
    #[schema(value_type = Option<Money>)]
    amount: Option<PositiveMoney>,
    /// A word to the merchant.
    #[schema(value_type = Option<String>, max_length = 140)]
    note: Option<Label<140>>,
}

/// A payment that was made.
#[derive(Debug)]
pub(crate) struct Paid {
    pub(crate) payee: Arc<Payee>,
    pub(crate) amount: Money,
    pub(crate) note: Option<String>,
    pub(crate) posted: Posted,
}

/// What a request comes to before any rule is asked.
struct Order {
    payee: Arc<Payee>,
    amount: Money,
}

/// Pays, once per key.
///
/// # Errors
/// A fault of the code, a rule about the amount, the ledger's refusal (remembered under the key), or that the outcome is not known.
pub(crate) async fn pay(wallet: &Wallet, asked: Asked<'_>, new: &NewPayment) -> Result<Paid, Error> {
    let order = order(wallet, new).await?;
    let transaction = Transaction::new(KIND, order.payee.till, order.amount, asked);
    let key = key(asked);
    let reference = key.transfer(0).uuid();
    let spending = Spending { reference, kind: delegate::Kind::Merchant, amount: order.amount.minor() };
    // What was answered before is answered again, whatever became of the delegation since.
    let new_for_guardian =
        asked.asker.acting.is_some() && sql::answered(&mut *wallet.pool.acquire().await?, &key).await?.is_none();
    if new_for_guardian {
        delegate::reserve(wallet, asked.asker, spending).await?;
    }
    let paid = settled(wallet, asked, &order, &transaction, new).await;
    if let (true, Err(Error::Rejected(_) | Error::Amount(_) | Error::Proof(_))) = (new_for_guardian, &paid) {
        delegate::release(wallet, spending).await?;
    }
    paid.map_err(|error| transaction.tell(error))
}

async fn settled(
    wallet: &Wallet,
    asked: Asked<'_>,
    order: &Order,
    transaction: &Transaction,
    new: &NewPayment,
) -> Result<Paid, Error> {
    let result = attempt(wallet, asked, order, transaction, new).await;
    count(wallet, &result);
    let (answer, allowance) = result?;
    match answer.outcome {
        Outcome::Posted(transfers) => {
            let posted =
                transfers.into_iter().next().ok_or_else(|| Error::Broken("a payment made no transfer".to_owned()))?;
            let note = new.note.as_ref().map(|note| note.as_str().to_owned());
            Ok(Paid { payee: order.payee.clone(), amount: order.amount, note, posted })
        }
        Outcome::Rejected(reject) => Err(match allowance {
            Some(allowance) => allowance.explain(wallet, reject),
            None => Error::Rejected(reject),
        }),
    }
}

/// Counts what did not come to an outcome. What the ledger decided is counted with its batch; refusals by a rule where they are told.
///
/// A payment whose outcome was not known to its caller counts here, and again as what it turns out to be.
fn count<T>(wallet: &Wallet, result: &Result<T, Error>) {
    if let Err(error) = result
        && !matches!(error, Error::KeyReused | Error::Amount(_))
    {
        wallet.metrics.payment(account::PAYMENT, error.name());
    }
}

/// Whom and how much, from the code or the till.
async fn order(wallet: &Wallet, new: &NewPayment) -> Result<Order, Error> {
    let given = new.amount.map(PositiveMoney::money);
    let (till, amount) = match (&new.qr_payload, new.till_id) {
        (Some(payload), None) => {
            let code = qr::decode(payload)?;
            let till = code.till().map(TillId::from).ok_or(Error::PayeeUnknown)?;
            (till, agreed(code.amount.map(|amount| Money::from_minor(amount, CURRENCY)), given)?)
        }
        (None, Some(till)) => (till, agreed(None, given)?),
        _ => return Err(Error::PayeeRequired),
    };
    if amount.currency() != CURRENCY {
        return Err(AmountFault::Currency.into());
    }
    let payee = payee(wallet, till).await?.ok_or(Error::PayeeUnknown)?;
    Ok(Order { payee, amount })
}

fn agreed(asked: Option<Money>, given: Option<Money>) -> Result<Money, AmountFault> {
    match (asked, given) {
        (Some(asked), Some(given)) if asked != given => Err(AmountFault::Mismatch(asked)),
        (Some(amount), _) | (None, Some(amount)) => Ok(amount),
        (None, None) => Err(AmountFault::Required),
    }
}

/// Tills never change, so what was read once stays right.
async fn payee(wallet: &Wallet, till: TillId) -> Result<Option<Arc<Payee>>, sqlx::Error> {
    if let Some(payee) = wallet.payees.get(&till) {
        return Ok(Some(payee));
    }
    let payee = merchant::sql::payee(&mut *wallet.pool.acquire().await?, till).await?.map(Arc::new);
    if let Some(payee) = &payee {
        wallet.payees.insert(till, payee.clone());
    }
    Ok(payee)
}

/// Checks the rules and posts, with the limits that the ledger decides on. A request that was answered before is answered the same, though rules may have changed since.
async fn attempt(
    wallet: &Wallet,
    asked: Asked<'_>,
    order: &Order,
    transaction: &Transaction,
    new: &NewPayment,
) -> Result<(Answer, Option<Allowance>), Error> {
    let key = key(asked);
    let error = match allowed(wallet, asked, order, transaction).await {
        Ok((allowance, proven)) => {
            let note = new.note.as_ref().map(Label::as_str);
            let note = word::sealed(wallet, key.caller, (PAYMENT_NOTE, key.transfer(0).uuid()), note).await?;
            let delegated = asked.asker.acting.is_some();
            let request = request(key.clone(), order, note, (proven, delegated)).limits(allowance.limits());
            let answer = wallet.ledger.answer(request).await?;
            if let Outcome::Rejected(reject @ Reject::ProofRequired(_)) = answer.outcome {
                // The ledger does not remember it, and hands over no rider that would tell of it.
                refused_by_rule(wallet, key, order.amount, Error::Rejected(reject).name()).await;
            }
            return Ok((answer, Some(allowance)));
        }
        Err(error) => error,
    };
    if let Error::Amount(_) | Error::Proof(_) = error {
        if let Some(outcome) = sql::answered(&mut *wallet.pool.acquire().await?, &key).await? {
            return Ok((Answer { outcome, replayed: true }, None));
        }
        if let Error::Amount(_) = error {
            refused_by_rule(wallet, key, order.amount, error.name()).await;
        }
    }
    Err(error)
}

/// The limits that the payment must keep, and the proof that came for it.
async fn allowed(
    wallet: &Wallet,
    asked: Asked<'_>,
    order: &Order,
    transaction: &Transaction,
) -> Result<(Allowance, Option<Proven>), Error> {
    let proven = transaction.proven(wallet, asked).await?;
    let proved = proven.map(|proven| proven.level);
    let expense = Expense { kind: Kind::Goods, class: limit::GOODS, amount: order.amount, proved };
    Ok((allowance::prepare(wallet, asked.asker, expense).await?, proven))
}

fn key(asked: Asked<'_>) -> Key {
    let (key, fingerprint) = (asked.key.to_owned(), *asked.fingerprint);
    Key { caller: asked.asker.user, operation: OPERATION, key, fingerprint }
}

fn request(
    key: Key,
    order: &Order,
    note_sealed: Option<Vec<u8>>,
    (proven, delegated): (Option<Proven>, bool),
) -> Request<Rider> {
    let payer = key.caller;
    let (citizen, merchant) = (account::citizen(payer), account::merchant(order.payee.merchant));
    let posting = Posting {
        debit: citizen.id,
        credit: merchant.id,
        amount: order.amount,
        kind: account::PAYMENT,
        reference: key.transfer(0).uuid(),
    };
    Request {
        key,
        open: vec![citizen, merchant],
        actions: vec![Action::Transfer(posting)],
        rider: Some(Rider::Payment {
            payer,
            payee: order.payee.clone(),
            amount: order.amount.minor(),
            note_sealed,
            proven,
            delegated,
        }),
        refusals: Refusals::Remembered,
        limits: Vec::new(),
    }
}

/// Counts and tells the city that a rule refused a payment, once per key. The answer to the citizen does not depend on it.
async fn refused_by_rule(wallet: &Wallet, key: Key, amount: Money, code: &'static str) {
    match tell_rejected(wallet, key, amount, code).await {
        Ok(true) => wallet.metrics.payment(account::PAYMENT, code),
        Ok(false) => {}
        Err(error) => tracing::warn!(%error, code, "refusal of a payment was not told"),
    }
}

/// Writes the event with a claim on the key; `false` when the key has told already.
async fn tell_rejected(wallet: &Wallet, key: Key, amount: Money, code: &'static str) -> Result<bool, Problem> {
    let (payer, now) = (key.caller, wallet.clock.now());
    let claimed = idempotency::Key { caller: payer, operation: REFUSAL, key: key.key, fingerprint: key.fingerprint };
    let mut tx = platform::db::begin(&wallet.pool).await?;
    match idempotency::claim(&mut tx, SCHEMA, &claimed, now).await {
        Ok(Claim::New) => {}
        Ok(Claim::Replay(_)) => return Ok(false),
        Err(problem) if problem.code() == IDEMPOTENCY_KEY_REUSED.code() => return Ok(false),
        Err(problem) => return Err(problem),
    }
    outbox::append(&mut tx, SCHEMA, now, &[payment_rejected(payer, amount, code)]).await?;
    idempotency::store(&mut tx, SCHEMA, &claimed, REFUSED_STATUS, &code).await?;
    tx.commit().await?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use ledger::money::Money;

    use super::agreed;
    use crate::error::AmountFault;

    #[test]
    fn the_amount_of_the_code_is_the_amount() {
        let (ten, twenty) = (Money::vnd(10), Money::vnd(20));
        assert_eq!(agreed(Some(ten), None), Ok(ten));
        assert_eq!(agreed(Some(ten), Some(ten)), Ok(ten));
        assert_eq!(agreed(None, Some(twenty)), Ok(twenty));
        assert_eq!(agreed(Some(ten), Some(twenty)), Err(AmountFault::Mismatch(ten)));
        assert_eq!(agreed(None, None), Err(AmountFault::Required));
    }
}
