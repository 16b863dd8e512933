//! Whether the city's dated rules let a citizen move an amount, as far as that can be said before the ledger is asked.
//!
//! What was spent in a day and a month is known only under the ledger's lock: [`Allowance`] brings the limits that a request must keep,
//! and says afterwards what the ledger's refusal means. Asked for here is only what one amount alone needs.
//!
//! Pure but for the citizen's standing, which one statement reads for all who ask at the same moment.

use chrono::NaiveDate;
use ledger::Reject;
use ledger::limit::{Class, Lift, Limit, Period};
use ledger::money::Money;
use platform::auth::Acting;
use uuid::Uuid;

use crate::Wallet;
use crate::account::{self, CURRENCY};
use crate::citizen;
use crate::city::{Ask, Kind, LimitClass, Proof, Rules, TIERS};
use crate::error::{AmountFault, Error, OverLimit};
use crate::limit::{self, Bound, Moment, Standing, Subject};

/// Who asks: a citizen in one of their sessions, or a guardian in one of theirs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker {
    /// Whose money it is.
    pub(crate) user: Uuid,
    pub(crate) session: Uuid,
    /// Who acts for them, if it is not themself.
    pub(crate) acting: Option<Acting>,
}

impl Asker {
    /// Who proves that they want it: the person themself who asks.
    pub(crate) fn proves(self) -> (Uuid, Uuid) {
        (self.acting.map_or(self.user, |acting| acting.actor), self.session)
    }
}

/// One request of a citizen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) asker: Asker,
    /// The key; the delegation stands before that of who acts for somebody.
    pub(crate) key: &'a str,
    pub(crate) fingerprint: &'a [u8; 32],
    /// The proof that came along, unchecked.
    pub(crate) proof: Option<&'a str>,
}

/// What a citizen spends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expense {
    pub(crate) kind: Kind,
    pub(crate) class: Class,
    pub(crate) amount: Money,
    /// What they proved for it.
    pub(crate) proved: Option<Proof>,
}

/// The limits that a request must keep.
#[derive(Clone, Debug)]
pub(crate) struct Allowance {
    bounds: Vec<Bound>,
    moment: Moment,
}

impl Allowance {
    /// Whether the amount alone is above a limit that no proof lifts.
    fn is_exceeded_by(&self, amount: Money) -> bool {
        let mut limits = self.bounds.iter().map(|bound| bound.limit).filter(|limit| limit.lift == Lift::Never);
        limits.any(|limit| amount.minor() > limit.maximum)
    }

    /// The limits, in the order in which the ledger asks them.
    pub(crate) fn limits(&self) -> Vec<Limit> {
        self.bounds.iter().map(|bound| bound.limit).collect()
    }

    /// What the ledger's refusal means to the citizen.
    pub(crate) fn explain(&self, wallet: &Wallet, reject: Reject) -> Error {
        let (lift, period) = match reject {
            Reject::LimitTransaction(_) => (Lift::Never, Some(Period::Transaction)),
            Reject::LimitDay(_) => (Lift::Never, Some(Period::Day)),
            Reject::LimitMonth(_) => (Lift::Never, Some(Period::Month)),
            Reject::ProofRequired(_) => (Lift::Proof, None),
            other => return Error::Rejected(other),
        };
        let is_it =
            |bound: &&Bound| bound.limit.lift == lift && period.is_none_or(|period| bound.limit.period == period);
        match self.bounds.iter().filter(is_it).min_by_key(|bound| bound.limit.maximum) {
            Some(bound) => self.fault(wallet, bound).into(),
            // The rules have changed since the refusal that is repeated.
            None => Error::Rejected(reject),
        }
    }

    /// What a limit that was not kept means to the citizen.
    fn fault(&self, wallet: &Wallet, bound: &Bound) -> AmountFault {
        let limit = bound.limit;
        let maximum = Money::from_minor(limit.maximum, CURRENCY);
        let next = limit::first_day_after(limit.period, self.moment.day);
        match limit.lift {
            Lift::Proof => {
                let Subject::Unproved(proof) = bound.subject else { return AmountFault::NoRule };
                AmountFault::StepUp { threshold: maximum, proof }
            }
            Lift::Never => AmountFault::OverLimit(OverLimit {
                period: limit.period,
                maximum,
                resets_at: next.map(|day| wallet.place.start_of(day)),
            }),
        }
    }
}

/// Prepares the limits of an expense, and refuses what no limit need be counted for: another currency, no rule in force, an amount that by itself needs a
/// stronger proof than was given.
pub(crate) async fn prepare(wallet: &Wallet, asker: Asker, expense: Expense) -> Result<Allowance, Error> {
    if expense.amount.currency() != CURRENCY {
        return Err(AmountFault::Currency.into());
    }
    let known = standing(wallet, asker).await?;
    let standing = Standing { proved: expense.proved, ..known };
    let now = wallet.clock.now();
    let moment = Moment { now, day: wallet.place.day(now) };
    let account = account::citizen(asker.user).id;
    let mut bounds = limit::bounds(&wallet.rules, account, standing, moment).ok_or(AmountFault::NoRule)?;
    bounds.retain(|bound| bound.limit.classes.contains(expense.class));
    let allowance = Allowance { bounds, moment };
    // No proof is asked for what the ledger will refuse anyway.
    if !allowance.is_exceeded_by(expense.amount) {
        needs_no_more(&wallet.rules, expense, moment)?;
    }
    Ok(allowance)
}

/// How far who asks is trusted: the tier is that of whose money it is, the device that of who asks.
async fn standing(wallet: &Wallet, asker: Asker) -> Result<Standing, sqlx::Error> {
    let (who, session) = asker.proves();
    let standing = wallet.standings.ask((who, session)).await?;
    match asker.acting {
        None => Ok(standing),
        Some(_) => {
            let tier = citizen::tier(&mut *wallet.pool.acquire().await?, asker.user).await?;
            Ok(Standing { tier, ..standing })
        }
    }
}

/// Refuses a top-up above the maximum of one transaction for the citizen's tier, or above what goes without a stronger proof than was given.
pub(crate) async fn check(wallet: &Wallet, user: Uuid, top_up: Incoming) -> Result<(), Error> {
    let amount = top_up.amount;
    if amount.currency() != CURRENCY {
        return Err(AmountFault::Currency.into());
    }
    let now = wallet.clock.now();
    let day = wallet.place.day(now);
    let maximum = |tier| {
        let maximum = wallet.rules.transaction_maximum(day, tier, LimitClass::General);
        maximum.ok_or(AmountFault::NoRule)
    };
    if amount.minor() > maximum(TIERS[0])? {
        let tier = citizen::tier(&mut *wallet.pool.acquire().await?, user).await?;
        let most = maximum(tier)?;
        if amount.minor() > most {
            let (maximum, period) = (Money::from_minor(most, CURRENCY), Period::Transaction);
            return Err(AmountFault::OverLimit(OverLimit { period, maximum, resets_at: None }).into());
        }
    }
    lacking(wallet.rules.ladder(Kind::TopUp, day).lacking(top_up.proved, amount.minor()))
}

/// Money that is to come in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Incoming {
    pub(crate) amount: Money,
    /// What the citizen proved for it.
    pub(crate) proved: Option<Proof>,
}

/// Refuses what is more in a day than goes without a stronger proof than was given; `total` is all of the day, this one included.
pub(crate) fn check_day(wallet: &Wallet, day: NaiveDate, proved: Option<Proof>, total: i64) -> Result<(), Error> {
    lacking(wallet.rules.ladder(Kind::TopUp, day).day_maximum(proved).filter(|ask| total > ask.above))
}

fn needs_no_more(rules: &Rules, expense: Expense, moment: Moment) -> Result<(), Error> {
    lacking(rules.ladder(expense.kind, moment.day).lacking(expense.proved, expense.amount.minor()))
}

fn lacking(ask: Option<Ask>) -> Result<(), Error> {
    match ask {
        Some(Ask { proof, above }) => {
            Err(AmountFault::StepUp { threshold: Money::from_minor(above, CURRENCY), proof }.into())
        }
        None => Ok(()),
    }
}
