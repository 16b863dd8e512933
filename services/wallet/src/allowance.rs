//! Whether the city's dated rules let a citizen move an amount in one go.
//!
//! Pure but for the citizen's tier, which is read only for amounts that the lowest tier may not move.

use ledger::money::Money;
use uuid::Uuid;

use crate::Wallet;
use crate::account::CURRENCY;
use crate::citizen;
use crate::city::{Kind, LimitClass, Rules, TIERS};
use crate::error::{AmountFault, Error};

/// Refuses an amount above the maximum of one transaction for the citizen's tier, or above what goes without a further proof.
///
/// The proof itself is not taken here: without it, refusing is the safe side.
pub(crate) async fn check(wallet: &Wallet, user: Uuid, kind: Kind, amount: Money) -> Result<(), Error> {
    if amount.currency() != CURRENCY {
        return Err(AmountFault::Currency.into());
    }
    let day = wallet.place.day(wallet.clock.now());
    let lowest = maximum(&wallet.rules, day, TIERS[0])?;
    if amount.minor() > lowest {
        let tier = citizen::tier(&mut *wallet.pool.acquire().await?, user).await?;
        let most = maximum(&wallet.rules, day, tier)?;
        if amount.minor() > most {
            return Err(AmountFault::AboveLimit(Money::from_minor(most, CURRENCY)).into());
        }
    }
    match wallet.rules.step_up_threshold(kind, day) {
        Some(threshold) if amount.minor() > threshold => {
            Err(AmountFault::StepUp(Money::from_minor(threshold, CURRENCY)).into())
        }
        _ => Ok(()),
    }
}

fn maximum(rules: &Rules, day: chrono::NaiveDate, tier: u8) -> Result<i64, AmountFault> {
    rules.limits_on(day, tier, LimitClass::General).map(|limits| limits.transaction).ok_or(AmountFault::NoRule)
}
