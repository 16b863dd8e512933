//! The first step: the intent and its job are saved in one transaction, before any money is set aside. Then the money is.
//!
//! Locks: the citizen's turn, so that a citizen has no more than [`MAX_OPEN`] under way; then the bill's row, so that one of all who ask pays it.

use ledger::money::{Money, PositiveMoney};
use platform::id;
use platform::job::{self, NewJob};
use serde::Deserialize;
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

use super::hold::hold;
use super::job::{JOB, again_key};
use super::{BillPayment, BillPaymentId, State, named, proof_kind, sql};
use crate::account::{self, CURRENCY};
use crate::allowance::{self, Asked};
use crate::bill::{self, BillId};
use crate::city::BillerKind;
use crate::delegate::{self, Spending};
use crate::error::{BillFault, Error};
use crate::person::refuse_closing;
use crate::step_up::{Proven, Transaction};
use crate::turn::turn;
use crate::{SCHEMA, Wallet};

/// Bill payments of one citizen that may wait for a biller at a time.
pub(crate) const MAX_OPEN: i64 = 20;

/// A bill to be paid.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewBillPayment {
    /// The amount that the citizen saw: exactly the bill's.
    #[schema(value_type = Money)]
    pub(crate) amount: PositiveMoney,
}

/// Saves the intent, or finds the one that this key saved before, and sets the money aside. A job does the rest.
///
/// # Errors
/// When there is no such bill, it can't be paid now, a rule or the ledger refuses the amount, or the key belongs to another request.
pub(crate) async fn pay(
    wallet: &Wallet,
    request: Asked<'_>,
    bill: BillId,
    new: &NewBillPayment,
) -> Result<BillPayment, Error> {
    let saved = sql::find_by_key(&mut *wallet.pool.acquire().await?, request.asker.user, request.key).await?;
    let kind = match &saved {
        Some(saved) => saved.kind,
        None => seen(wallet, request.asker.user, bill).await?,
    };
    let transaction = Transaction::new(proof_kind(kind), bill, new.amount.money(), request);
    let paid = async {
        let payment = match saved {
            Some(saved) => proved_now(wallet, request, &transaction, same(saved, request.fingerprint)?).await?,
            None => {
                let proven = transaction.proven(wallet, request).await?;
                begin(wallet, request, (bill, kind), (new, proven)).await?
            }
        };
        hold(wallet, &payment).await?;
        Ok(payment)
    };
    paid.await.map_err(|error| transaction.tell(error))
}

/// A payment that stopped because it needs a proof goes on when the proof has come.
async fn proved_now(
    wallet: &Wallet,
    request: Asked<'_>,
    transaction: &Transaction,
    saved: BillPayment,
) -> Result<BillPayment, Error> {
    if !saved.lacks_proof() || request.proof.is_none() {
        return Ok(saved);
    }
    let Some(proven) = transaction.proven(wallet, request).await? else { return Ok(saved) };
    let terms = delegate::terms(wallet, saved.user_id, request.asker.acting).await?;
    let now = wallet.clock.now();
    let mut tx = platform::db::begin(&wallet.pool).await?;
    turn(&mut tx, saved.user_id).await?;
    // As it stands now: another request with this key may have been faster.
    let saved = sql::find(&mut tx, saved.id).await?.ok_or(Error::NotFound)?;
    if !saved.lacks_proof() {
        return Ok(saved);
    }
    payable_now(wallet, &mut tx, (saved.user_id, saved.bill_id), Money::from_minor(saved.amount, CURRENCY)).await?;
    delegate::count(wallet, &mut tx, (request.asker, terms.as_ref()), spending(&saved)).await?;
    sql::resume(&mut tx, saved.id, (proven, request.asker.session), now).await?;
    job::schedule(&mut tx, SCHEMA, now, NewJob::new(JOB, again_key(saved.id), now)).await?;
    let again = sql::find(&mut tx, saved.id).await?.ok_or(Error::NotFound)?;
    tx.commit().await?;
    wallet.metrics.bill_payment(State::Requested);
    Ok(again)
}

/// The bill, locked, if the citizen may pay this amount for it now. In the citizen's turn.
async fn payable_now(
    wallet: &Wallet,
    tx: &mut PgConnection,
    (user, bill): (Uuid, BillId),
    amount: Money,
) -> Result<bill::sql::Payable, Error> {
    refuse_closing(tx, user).await?;
    if sql::count_open_of(tx, user).await? >= MAX_OPEN {
        return Err(BillFault::TooManyPayments(MAX_OPEN).into());
    }
    let payable = bill::sql::lock(tx, user, bill).await?.ok_or(Error::NotFound)?;
    match sql::live_state(tx, bill).await? {
        Some(State::Paid) => return Err(BillFault::Paid.into()),
        Some(_) => return Err(BillFault::BeingPaid.into()),
        None if !payable.open => return Err(BillFault::Closed.into()),
        None => {}
    }
    wallet.connector(&payable.biller_code)?;
    if amount.minor() != payable.amount {
        return Err(BillFault::AmountChanged(Money::from_minor(payable.amount, CURRENCY)).into());
    }
    Ok(payable)
}

/// What kind of bill it is, if the citizen sees it.
async fn seen(wallet: &Wallet, user: Uuid, bill: BillId) -> Result<BillerKind, Error> {
    bill::sql::kind_of(&mut *wallet.pool.acquire().await?, user, bill).await?.ok_or(Error::NotFound)
}

async fn begin(
    wallet: &Wallet,
    request: Asked<'_>,
    (bill, kind): (BillId, BillerKind),
    (new, proven): (&NewBillPayment, Option<Proven>),
) -> Result<BillPayment, Error> {
    let (user, amount) = (request.asker.user, new.amount.money());
    let terms = delegate::terms(wallet, user, request.asker.acting).await?;
    let expense = account::bill_expense(amount, proven.map(|proven| proven.level));
    if let Err(refusal) = allowance::prepare(wallet, request.asker, expense).await {
        if let Error::Amount(_) = refusal {
            wallet.metrics.payment(account::kind_of_bill(kind), refusal.name());
        }
        return Err(refusal);
    }
    let now = wallet.clock.now();
    let mut tx = platform::db::begin(&wallet.pool).await?;
    turn(&mut tx, user).await?;
    if let Some(saved) = sql::find_by_key(&mut tx, user, request.key).await? {
        return same(saved, request.fingerprint);
    }
    let payable = payable_now(wallet, &mut tx, (user, bill), amount).await?;
    let id = BillPaymentId::from(id::new());
    let name = named::of_payable(&wallet.persons, &mut tx, (user, id), &payable, now).await?;
    let payment = BillPayment {
        id,
        user_id: user,
        session_id: request.asker.session,
        fingerprint: request.fingerprint.to_vec(),
        bill_id: bill,
        biller_code: payable.biller_code,
        kind: payable.kind,
        customer_code: name.customer_code,
        customer_code_sealed: name.customer_code_sealed,
        reference: name.reference,
        reference_sealed: name.reference_sealed,
        period: payable.period,
        amount: payable.amount,
        state: State::Requested,
        biller_reference: None,
        reason: None,
        transfer_id: None,
        proof_id: proven.map(|proven| proven.id),
        proof_level: proven.map(|proven| proven.level),
        requested_at: now,
        updated_at: now,
    };
    delegate::count(wallet, &mut tx, (request.asker, terms.as_ref()), spending(&payment)).await?;
    sql::insert(&mut tx, request.key, &payment).await?;
    job::schedule(&mut tx, SCHEMA, now, NewJob::new(JOB, payment.id.to_string(), now)).await?;
    // As the database keeps it: the answer is the same, byte by byte, when it is read again.
    let saved = sql::find_by_key(&mut tx, user, request.key).await?;
    tx.commit().await?;
    wallet.metrics.bill_payment(State::Requested);
    saved.ok_or_else(|| Error::Broken("a bill payment just saved is not there".to_owned()))
}

/// As a delegation counts it.
fn spending(payment: &BillPayment) -> Spending {
    Spending { reference: payment.id.uuid(), kind: delegate::kind_of(payment.kind), amount: payment.amount }
}

fn same(saved: BillPayment, fingerprint: &[u8; 32]) -> Result<BillPayment, Error> {
    if saved.fingerprint == fingerprint { Ok(saved) } else { Err(Error::KeyReused) }
}
