//! A guardian who pays for somebody: what they may, how much of it is left, and who acted.
//!
//! | module | what lives there |
//! | --- | --- |
//! | `rule` | whether a payment keeps the limits of a delegation (pure) |
//! | `sql` | every statement |
//!
//! What a delegation allows is asked of identity for each payment, so that its end counts at once; what was spent is counted here,
//! in the turn of whose money it is, before any money moves: two payments through two processes never pass a limit together.
//! What is refused for good is released, once all requests with its key are that had counted it; a crash in between leaves it counted,
//! which is never too much for whose money it is. The batch that moves the money of a payment has it count for good.
//! The limits of the citizen's own tier are decided beside these, in the ledger's fold.
//!
//! Lock order: the citizen's turn, before anything else of the payment.
//! Invariant: who acts for somebody pays with that person's money by their own proof, and sees of theirs only what they may pay and
//! what they paid.

mod rule;
pub(crate) mod sql;

use chrono::Datelike as _;
use platform::auth::{Acting, Party};
use platform::problem::{IDEMPOTENCY_KEY_MISSING, NOT_FOUND, Problem};
use proto::identity::v1::GetDelegationRequest;
use proto::identity::v1::delegation_service_client::DelegationServiceClient;
use sqlx::PgConnection;
use uuid::Uuid;

pub(crate) use self::rule::{Kind, Spent, Terms};
use crate::Wallet;
use crate::allowance::Asker;
use crate::city::BillerKind;
use crate::error::{DelegationFault, Error};
use crate::turn::turn;

/// The longest key of who acts for somebody: the delegation stands before it.
const MAX_KEY: usize = 200;

/// A payment that is to be made for somebody.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spending {
    /// The payment's id.
    pub(crate) reference: Uuid,
    pub(crate) kind: Kind,
    pub(crate) amount: i64,
}

/// The kind of a bill.
pub(crate) fn kind_of(bill: BillerKind) -> Kind {
    if bill == BillerKind::Fee { Kind::Fee } else { Kind::Bill }
}

/// What the caller may do for the citizen; `None` for the citizen themself.
///
/// # Errors
/// `DelegationFault::Over…` never; `Ended` when it is not in force, or that identity does not answer.
pub(crate) async fn terms(wallet: &Wallet, user: Uuid, acting: Option<Acting>) -> Result<Option<Terms>, Error> {
    let Some(Acting { actor, delegation }) = acting else { return Ok(None) };
    let request = GetDelegationRequest {
        delegation_id: delegation.to_string(),
        guardian_id: actor.to_string(),
        dependent_id: user.to_string(),
    };
    let answer = DelegationServiceClient::new(wallet.identity.clone()).get_delegation(request).await;
    let allowed = answer.map_err(|status| {
        let problem = Problem::from_status(&status);
        if problem.code() == NOT_FOUND.code() { DelegationFault::Ended.into() } else { Error::Problem(problem) }
    })?;
    let allowed = allowed.into_inner();
    Ok(Some(Terms {
        kinds: allowed.kinds,
        transaction: allowed.transaction_maximum,
        day: allowed.day_maximum,
        month: allowed.month_maximum,
    }))
}

/// Counts a payment, in the citizen's turn, if it keeps the limits; nothing to do for the citizen themself.
pub(crate) async fn count(
    wallet: &Wallet,
    tx: &mut PgConnection,
    (asker, terms): (Asker, Option<&Terms>),
    spending: Spending,
) -> Result<(), Error> {
    let (Some(acting), Some(terms)) = (asker.acting, terms) else { return Ok(()) };
    let now = wallet.clock.now();
    let day = wallet.place.day(now);
    let first = day.with_day(1).expect("every month has a first day");
    let spent = sql::spent(tx, (acting.delegation, spending.reference), (first, day)).await?;
    terms.check((spending.kind, spending.amount), spent)?;
    if sql::book(tx, (asker.user, acting), &spending, (day, now)).await? { Ok(()) } else { Err(Error::KeyReused) }
}

/// Counts a payment that has no transaction of its own, for one request; nothing to do for the citizen themself.
pub(crate) async fn reserve(wallet: &Wallet, asker: Asker, spending: Spending) -> Result<(), Error> {
    if asker.acting.is_none() {
        return Ok(());
    }
    let terms = terms(wallet, asker.user, asker.acting).await?;
    let mut tx = platform::db::begin(&wallet.pool).await?;
    turn(&mut tx, asker.user).await?;
    count(wallet, &mut tx, (asker, terms.as_ref()), spending).await?;
    Ok(tx.commit().await?)
}

/// Takes back what a request counted that was refused for good.
pub(crate) async fn release(wallet: &Wallet, spending: Spending) -> Result<(), Error> {
    Ok(sql::release(&mut *wallet.pool.acquire().await?, spending.reference, wallet.clock.now()).await?)
}

/// Whether a payment may be shown to the caller: all of theirs to the citizen, to who acts for them what they paid.
pub(crate) async fn may_see(wallet: &Wallet, party: &Party, reference: Uuid) -> Result<(), Error> {
    let Some(acting) = party.acting else { return Ok(()) };
    let acted = sql::acting_in(&mut *wallet.pool.acquire().await?, reference).await?;
    if acted == Some(acting) { Ok(()) } else { Err(Error::NotFound) }
}

/// Who asks, as a token says.
pub(crate) fn asker(party: &Party) -> Asker {
    Asker { user: party.subject, session: party.session, acting: party.acting }
}

/// The key under which a request is known: those of who acts for a citizen are apart from the citizen's own.
pub(crate) fn key(party: &Party, key: String) -> Result<String, Error> {
    match party.acting {
        None => Ok(key),
        Some(_) if key.len() > MAX_KEY => Err(Error::Problem(Problem::new(IDEMPOTENCY_KEY_MISSING).detail(
            "Idempotency-Key có tối đa 200 ký tự khi hành động thay người khác.",
            "An Idempotency-Key of who acts for somebody has at most 200 characters.",
        ))),
        Some(acting) => Ok(format!("{}:{key}", acting.delegation)),
    }
}
