//! Which rule of business refused a request.

use uuid::Uuid;

use crate::account::AccountId;
use crate::hold::HoldId;
use crate::limit::{Excess, Lift, Period};
use crate::transfer::TransferId;

/// Which rule of business refused a request, and what it was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reject {
    /// The account's available balance would go below its floor.
    InsufficientFunds(AccountId),
    /// The account is frozen in the direction that money would move.
    AccountFrozen(AccountId),
    /// The account is closed.
    AccountClosed(AccountId),
    /// There is no such account.
    AccountUnknown(AccountId),
    /// An account with this id is there, with another owner, kind or currency.
    AccountExists(AccountId),
    /// The account can't be closed while anything is on it, held or promised.
    AccountNotEmpty(AccountId),
    /// The account holds another currency.
    CurrencyMismatch(AccountId),
    /// The account's balance, or what it spent in a month, would leave the range of 64 bits.
    BalanceOverflow(AccountId),
    /// The request spends more of the account than one may.
    LimitTransaction(AccountId),
    /// More would be spent of the account in the day than may be.
    LimitDay(AccountId),
    /// More would be spent of the account in the month than may be.
    LimitMonth(AccountId),
    /// More would be spent of the account than may be without a proof by its owner. Never remembered.
    ProofRequired(AccountId),
    /// Another request made a hold with this id.
    HoldExists(HoldId),
    /// There is no such hold.
    HoldUnknown(HoldId),
    /// The hold has been posted.
    HoldPosted(HoldId),
    /// The hold has been voided.
    HoldVoided(HoldId),
    /// The hold's time is over.
    HoldExpired(HoldId),
    /// The hold's time is not over, or an outside party has been asked about it.
    HoldNotDue(HoldId),
    /// More than the hold set aside.
    AmountExceedsHold(HoldId),
    /// There is no such transfer.
    TransferUnknown(TransferId),
    /// The transfer is a refund itself.
    NotRefundable(TransferId),
    /// More than was paid, less what was refunded before.
    RefundExceedsPayment(TransferId),
}

impl From<Excess> for Reject {
    fn from(excess: Excess) -> Self {
        match (excess.lift, excess.period) {
            (Lift::Proof, _) => Self::ProofRequired(excess.account),
            (Lift::Never, Period::Transaction) => Self::LimitTransaction(excess.account),
            (Lift::Never, Period::Day) => Self::LimitDay(excess.account),
            (Lift::Never, Period::Month) => Self::LimitMonth(excess.account),
        }
    }
}

impl Reject {
    /// The stable code.
    pub fn code(self) -> &'static str {
        self.parts().0
    }

    /// The account, hold or transfer it is about.
    pub fn subject(self) -> Uuid {
        self.parts().1
    }

    fn parts(self) -> (&'static str, Uuid) {
        match self {
            Self::InsufficientFunds(account) => ("insufficient-funds", account.uuid()),
            Self::AccountFrozen(account) => ("account-frozen", account.uuid()),
            Self::AccountClosed(account) => ("account-closed", account.uuid()),
            Self::AccountUnknown(account) => ("account-unknown", account.uuid()),
            Self::AccountExists(account) => ("account-exists", account.uuid()),
            Self::AccountNotEmpty(account) => ("account-not-empty", account.uuid()),
            Self::CurrencyMismatch(account) => ("currency-mismatch", account.uuid()),
            Self::BalanceOverflow(account) => ("balance-overflow", account.uuid()),
            Self::LimitTransaction(account) => ("limit-transaction", account.uuid()),
            Self::LimitDay(account) => ("limit-day", account.uuid()),
            Self::LimitMonth(account) => ("limit-month", account.uuid()),
            Self::ProofRequired(account) => ("proof-required", account.uuid()),
            Self::HoldExists(hold) => ("hold-exists", hold.uuid()),
            Self::HoldUnknown(hold) => ("hold-unknown", hold.uuid()),
            Self::HoldPosted(hold) => ("hold-posted", hold.uuid()),
            Self::HoldVoided(hold) => ("hold-voided", hold.uuid()),
            Self::HoldExpired(hold) => ("hold-expired", hold.uuid()),
            Self::HoldNotDue(hold) => ("hold-not-due", hold.uuid()),
            Self::AmountExceedsHold(hold) => ("amount-exceeds-hold", hold.uuid()),
            Self::TransferUnknown(transfer) => ("transfer-unknown", transfer.uuid()),
            Self::NotRefundable(transfer) => ("not-refundable", transfer.uuid()),
            Self::RefundExceedsPayment(transfer) => ("refund-exceeds-payment", transfer.uuid()),
        }
    }

    /// The reject that was stored as a code and a subject.
    pub fn from_stored(code: &str, subject: Uuid) -> Option<Self> {
        let (account, hold, transfer) = (AccountId::from(subject), HoldId::from(subject), TransferId::from(subject));
        let every = [
            Self::InsufficientFunds(account),
            Self::AccountFrozen(account),
            Self::AccountClosed(account),
            Self::AccountUnknown(account),
            Self::AccountExists(account),
            Self::AccountNotEmpty(account),
            Self::CurrencyMismatch(account),
            Self::BalanceOverflow(account),
            Self::LimitTransaction(account),
            Self::LimitDay(account),
            Self::LimitMonth(account),
            Self::ProofRequired(account),
            Self::HoldExists(hold),
            Self::HoldUnknown(hold),
            Self::HoldPosted(hold),
            Self::HoldVoided(hold),
            Self::HoldExpired(hold),
            Self::HoldNotDue(hold),
            Self::AmountExceedsHold(hold),
            Self::TransferUnknown(transfer),
            Self::NotRefundable(transfer),
            Self::RefundExceedsPayment(transfer),
        ];
        every.into_iter().find(|reject| reject.code() == code)
    }
}

impl std::fmt::Display for Reject {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.code())
    }
}
