//! Whether the city's dated rules let a citizen move an amount, as far as that can be said before the ledger is asked.
//!
//! What was spent in a day and a month is known only under the ledger's lock: [`Allowance`] brings the limits that a request must keep,
//! and says afterwards what the ledger's refusal means. Asked for here is only what one amount alone needs.
//!
//! Pure but for the citizen's standing, which one statement reads.

use chrono::NaiveDate;
use ledger::limit::{Class, Excess, Lift, Limit};
use ledger::money::Money;
use uuid::Uuid;

use crate::Wallet;
use crate::account::{self, CURRENCY};
use crate::citizen;
use crate::city::{Kind, LimitClass, Rules, TIERS};
use crate::error::{AmountFault, Error, OverLimit};
use crate::limit::{self, Bound, Moment};

/// Who asks: a citizen, in one of their sessions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker {
    pub(crate) user: Uuid,
    pub(crate) session: Uuid,
}

/// What a citizen spends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expense {
    pub(crate) kind: Kind,
    pub(crate) class: Class,
    pub(crate) amount: Money,
}

/// The limits that a request must keep.
#[derive(Clone, Debug)]
pub(crate) struct Allowance {
    bounds: Vec<Bound>,
    moment: Moment,
}

impl Allowance {
    /// The first limit that the amount alone is above.
    fn exceeded_by(&self, amount: Money) -> Option<Limit> {
        let mut limits = self.bounds.iter().map(|bound| bound.limit).filter(|limit| limit.lift == Lift::Never);
        limits.find(|limit| amount.minor() > limit.maximum)
    }

    /// What a limit that was not kept means to the citizen.
    pub(crate) fn fault(&self, wallet: &Wallet, excess: Excess) -> AmountFault {
        let is_it = |bound: &&Bound| bound.limit.period == excess.period && bound.limit.lift == excess.lift;
        let maximum = self.bounds.iter().find(is_it).map(|bound| Money::from_minor(bound.limit.maximum, CURRENCY));
        let next = limit::first_day_after(excess.period, self.moment.day);
        match (excess.lift, maximum) {
            (Lift::Proof, maximum) => AmountFault::StepUp(maximum.unwrap_or(Money::zero(CURRENCY))),
            (Lift::Never, maximum) => AmountFault::OverLimit(OverLimit {
                period: excess.period,
                maximum,
                resets_at: next.map(|day| wallet.place.start_of(day)),
            }),
        }
    }
}

/// Prepares the limits of an expense, and refuses what no limit need be counted for: another currency, no rule in force, an amount that needs a proof by itself.
///
/// The proof itself is not taken here: without it, refusing is the safe side.
pub(crate) async fn prepare(wallet: &Wallet, asker: Asker, expense: Expense) -> Result<Allowance, Error> {
    if expense.amount.currency() != CURRENCY {
        return Err(AmountFault::Currency.into());
    }
    let standing = citizen::standing(&mut *wallet.pool.acquire().await?, asker.user, asker.session).await?;
    let now = wallet.clock.now();
    let moment = Moment { now, day: wallet.place.day(now) };
    let account = account::citizen(asker.user).id;
    let mut bounds = limit::bounds(&wallet.rules, account, standing, moment).ok_or(AmountFault::NoRule)?;
    bounds.retain(|bound| bound.limit.classes.contains(expense.class));
    let allowance = Allowance { bounds, moment };
    match allowance.exceeded_by(expense.amount) {
        Some(limit) => Err(allowance.fault(wallet, excess(limit)).into()),
        None => needs_no_proof(&wallet.rules, expense.kind, expense.amount, moment).map(|()| allowance),
    }
}

/// Refuses a top-up above the maximum of one transaction for the citizen's tier, or above what goes without a further proof.
pub(crate) async fn check(wallet: &Wallet, user: Uuid, kind: Kind, amount: Money) -> Result<(), Error> {
    if amount.currency() != CURRENCY {
        return Err(AmountFault::Currency.into());
    }
    let now = wallet.clock.now();
    let moment = Moment { now, day: wallet.place.day(now) };
    let maximum = |tier| {
        let maximum = wallet.rules.transaction_maximum(moment.day, tier, LimitClass::General);
        maximum.ok_or(AmountFault::NoRule)
    };
    if amount.minor() > maximum(TIERS[0])? {
        let tier = citizen::tier(&mut *wallet.pool.acquire().await?, user).await?;
        let most = maximum(tier)?;
        if amount.minor() > most {
            let maximum = Some(Money::from_minor(most, CURRENCY));
            let period = ledger::limit::Period::Transaction;
            return Err(AmountFault::OverLimit(OverLimit { period, maximum, resets_at: None }).into());
        }
    }
    needs_no_proof(&wallet.rules, kind, amount, moment)
}

/// Refuses what is more in a day than goes without a further proof; `total` is all of the day, this one included.
pub(crate) fn check_day(wallet: &Wallet, day: NaiveDate, kind: Kind, total: i64) -> Result<(), Error> {
    match wallet.rules.unproved(kind, day) {
        Some(unproved) if total > unproved.day_maximum => {
            Err(AmountFault::StepUp(Money::from_minor(unproved.day_maximum, CURRENCY)).into())
        }
        _ => Ok(()),
    }
}

fn excess(limit: Limit) -> Excess {
    Excess { account: limit.account, period: limit.period, lift: limit.lift }
}

fn needs_no_proof(rules: &Rules, kind: Kind, amount: Money, moment: Moment) -> Result<(), Error> {
    match rules.step_up_threshold(kind, moment.day) {
        Some(threshold) if amount.minor() > threshold => {
            Err(AmountFault::StepUp(Money::from_minor(threshold, CURRENCY)).into())
        }
        _ => Ok(()),
    }
}
