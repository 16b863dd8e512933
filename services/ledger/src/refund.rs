//! Refunds: money goes back the way that a transfer brought it, all or part, and never more than came.
//!
//! Pure: no I/O.
//!
//! Rules:
//! - What was refunded of a transfer is what its refunds add up to; it is decided under the shard's lock, so that two refunds at once never pass what was paid.
//! - A refund is a transfer of its own, from the credited account to the debited one, and can't be refunded.
//! - It gives back used limits where its caller says so, in the day and month of the spending (see [`limit`](crate::limit)).

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::account::AccountId;
use crate::limit::Class;
use crate::money::{Currency, Money};
use crate::request::Reject;
use crate::transfer::{TransferId, TransferKind};

/// What a refund does to the limits that its payment used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UsedLimits {
    /// It gives them back: what came back was not spent.
    GivenBack,
    /// They stay used.
    Kept,
}

/// Money to be given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefundSpec {
    /// The transfer whose money it is.
    pub of: TransferId,
    /// How much of it; above zero.
    pub amount: Money,
    /// What the refund is for; a kind without class, since nothing is spent.
    pub kind: TransferKind,
    /// What it belongs to in the caller's world.
    pub reference: Uuid,
    /// Whether the limits that the payment used are given back.
    pub limits: UsedLimits,
}

/// A transfer that a refund is asked of, amounts in minor units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paid {
    /// The transfer.
    pub id: TransferId,
    /// The account that money left.
    pub debit: AccountId,
    /// The account that money reached.
    pub credit: AccountId,
    /// How much.
    pub amount: i64,
    /// The currency of both accounts.
    pub currency: Currency,
    /// What it counted for in the debited account's usage.
    pub class: Option<Class>,
    /// When it counted: at the opening of the hold that it was, else when it was posted.
    pub spent_at: DateTime<Utc>,
    /// What was refunded of it.
    pub refunded: i64,
    /// Whether it is a refund itself.
    pub role: Role,
}

/// Whether a transfer may be refunded at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It may.
    Payment,
    /// It is a refund.
    Refund,
}

/// A refund as history keeps it beside its transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refund {
    /// The sequence of its own transfer.
    pub sequence: i64,
    /// The transfer whose money it gave back.
    pub of: TransferId,
    /// How much, in minor units.
    pub amount: i64,
    /// The class in which it gave back used limits.
    pub class: Option<Class>,
}

impl Paid {
    /// Whether `amount` of it may be given back.
    pub(crate) fn may_refund(&self, amount: Money) -> Result<(), Reject> {
        if self.role == Role::Refund {
            return Err(Reject::NotRefundable(self.id));
        }
        if amount.currency() != self.currency {
            return Err(Reject::CurrencyMismatch(self.debit));
        }
        match self.refunded.checked_add(amount.minor()) {
            Some(refunded) if refunded <= self.amount => Ok(()),
            _ => Err(Reject::RefundExceedsPayment(self.id)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paid(refunded: i64, role: Role) -> Paid {
        Paid {
            id: TransferId::generate(),
            debit: AccountId::generate(),
            credit: AccountId::generate(),
            amount: 100,
            currency: Currency::Vnd,
            class: None,
            spent_at: DateTime::UNIX_EPOCH,
            refunded,
            role,
        }
    }

    #[test]
    fn never_more_than_was_paid_comes_back() {
        let fresh = paid(0, Role::Payment);
        assert_eq!(fresh.may_refund(Money::vnd(100)), Ok(()));
        assert_eq!(fresh.may_refund(Money::vnd(101)), Err(Reject::RefundExceedsPayment(fresh.id)));
        assert_eq!(fresh.may_refund(Money::vnd(i64::MAX)), Err(Reject::RefundExceedsPayment(fresh.id)));
        let part = paid(60, Role::Payment);
        assert_eq!(part.may_refund(Money::vnd(40)), Ok(()));
        assert_eq!(part.may_refund(Money::vnd(41)), Err(Reject::RefundExceedsPayment(part.id)));
        assert_eq!(part.may_refund(Money::from_minor(1, Currency::Usd)), Err(Reject::CurrencyMismatch(part.debit)));
    }

    #[test]
    fn a_refund_is_not_refunded() {
        let refund = paid(0, Role::Refund);
        assert_eq!(refund.may_refund(Money::vnd(1)), Err(Reject::NotRefundable(refund.id)));
    }
}
