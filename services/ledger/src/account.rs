//! Accounts: whose money it is, how far down it may go, whether it moves.
//!
//! Pure: no I/O. **Sign convention of the whole crate**: `balance = credits − debits`.
//! A transfer *debits* the account that money leaves and *credits* the one it reaches,
//! so that a customer's wallet has a balance of zero or more, and the account that stands for the bank outside goes below zero as money comes in.
//! The balances of all accounts of one currency add up to zero.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::limit::Usage;
use crate::money::{Currency, Money};
use crate::request::Reject;

platform::typed_id! {
    /// One account of the ledger.
    pub struct AccountId;
}

/// How far down the available balance of an account may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Floor {
    /// Not below zero: whoever owns it spends only what is there.
    Zero,
    /// As far as 64 bits reach: accounts that stand for the outside world.
    None,
}

impl Floor {
    /// The smallest available balance in minor units, as SQL stores it.
    pub fn minor(self) -> Option<i64> {
        match self {
            Self::Zero => Some(0),
            Self::None => None,
        }
    }
}

/// What sort of account this is; the caller of the ledger declares its kinds as constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AccountKind {
    /// A small number that never changes its meaning; the database stores it.
    pub code: i16,
    /// The name in exports and metrics: lower-case letters, digits and `_`.
    pub name: &'static str,
    /// How far down accounts of this kind may go.
    pub floor: Floor,
}

/// An account to be opened.
///
/// Opening is idempotent by id: an account that is there with the same owner, kind and currency is left as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountSpec {
    /// The id, given by the caller.
    pub id: AccountId,
    /// Whose account it is, in the caller's world; it places the account on a shard.
    pub owner: Uuid,
    /// The sort of account.
    pub kind: AccountKind,
    /// The one currency it holds.
    pub currency: Currency,
}

/// Which way money may not move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Freeze {
    /// Money moves both ways.
    #[default]
    Nothing,
    /// Nothing comes in.
    In,
    /// Nothing goes out.
    Out,
    /// Nothing moves.
    Both,
}

impl Freeze {
    /// The number the database stores.
    pub fn number(self) -> i16 {
        match self {
            Self::Nothing => 0,
            Self::In => 1,
            Self::Out => 2,
            Self::Both => 3,
        }
    }

    /// The freeze of a stored number.
    pub fn from_number(number: i16) -> Option<Self> {
        [Self::Nothing, Self::In, Self::Out, Self::Both].into_iter().find(|freeze| freeze.number() == number)
    }

    /// Whether money may not come in.
    pub fn stops_in(self) -> bool {
        matches!(self, Self::In | Self::Both)
    }

    /// Whether money may not go out.
    pub fn stops_out(self) -> bool {
        matches!(self, Self::Out | Self::Both)
    }
}

/// One account as the ledger has it, amounts in minor units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The id.
    pub id: AccountId,
    /// Whose account it is.
    pub owner: Uuid,
    /// The code of its [`AccountKind`].
    pub kind: i16,
    /// Its currency.
    pub currency: Currency,
    /// The smallest available balance; `None` when there is none.
    pub floor: Option<i64>,
    /// The block it was opened in.
    pub opened_block: i64,
    /// When it was opened.
    pub opened_at: DateTime<Utc>,
    /// Credits less debits.
    pub posted: i64,
    /// What open holds have set aside of it.
    pub held: i64,
    /// What open holds have promised to it.
    pub promised: i64,
    /// Which way money may not move.
    pub freeze: Freeze,
    /// Whether it is closed for good.
    pub closed: bool,
    /// The last transfer that touched it; 0 when none has.
    pub sequence: i64,
    /// How many transfers have touched it.
    pub transfers: i64,
    /// What it spent in its day and month.
    pub usage: Usage,
}

impl Account {
    /// The account that a spec describes, empty.
    pub fn open(spec: &AccountSpec, block: i64, at: DateTime<Utc>) -> Self {
        Self {
            id: spec.id,
            owner: spec.owner,
            kind: spec.kind.code,
            currency: spec.currency,
            floor: spec.kind.floor.minor(),
            opened_block: block,
            opened_at: at,
            posted: 0,
            held: 0,
            promised: 0,
            freeze: Freeze::Nothing,
            closed: false,
            sequence: 0,
            transfers: 0,
            usage: Usage::default(),
        }
    }

    /// Whether this is the account that a spec describes.
    pub fn matches(&self, spec: &AccountSpec) -> bool {
        self.owner == spec.owner && self.kind == spec.kind.code && self.currency == spec.currency
    }

    /// What the owner can spend: posted less held.
    pub fn available(&self) -> i64 {
        self.posted.checked_sub(self.held).expect("holds never set aside more than 64 bits")
    }

    /// The balance as the ledger shows it.
    pub fn balance(&self) -> Balance {
        Balance {
            posted: Money::from_minor(self.posted, self.currency),
            held: Money::from_minor(self.held, self.currency),
            available: Money::from_minor(self.available(), self.currency),
        }
    }

    /// Whether `amount` may leave: open, not frozen, right currency, above the floor afterwards.
    pub(crate) fn may_give(&self, amount: Money) -> Result<(), Reject> {
        self.may_move(amount)?;
        if self.freeze.stops_out() {
            return Err(Reject::AccountFrozen(self.id));
        }
        let after = self.available().checked_sub(amount.minor()).ok_or(Reject::BalanceOverflow(self.id))?;
        match self.floor {
            Some(floor) if after < floor => Err(Reject::InsufficientFunds(self.id)),
            _ => Ok(()),
        }
    }

    /// Whether `amount` may come in: open, not frozen, right currency, and room for it beside all that is promised.
    pub(crate) fn may_take(&self, amount: Money) -> Result<(), Reject> {
        self.may_move(amount)?;
        if self.freeze.stops_in() {
            return Err(Reject::AccountFrozen(self.id));
        }
        self.posted
            .checked_add(self.promised)
            .and_then(|full| full.checked_add(amount.minor()))
            .map(|_| ())
            .ok_or(Reject::BalanceOverflow(self.id))
    }

    /// Whether `amount` may be set aside: what [`Account::may_give`] asks, and room for it beside all that is held.
    pub(crate) fn may_hold(&self, amount: Money) -> Result<(), Reject> {
        self.may_give(amount)?;
        self.held.checked_add(amount.minor()).map(|_| ()).ok_or(Reject::BalanceOverflow(self.id))
    }

    /// Whether `amount` may be promised: what [`Account::may_take`] asks, and room for it beside all that is promised.
    pub(crate) fn may_be_promised(&self, amount: Money) -> Result<(), Reject> {
        self.may_take(amount)?;
        self.promised.checked_add(amount.minor()).map(|_| ()).ok_or(Reject::BalanceOverflow(self.id))
    }

    fn may_move(&self, amount: Money) -> Result<(), Reject> {
        if self.currency != amount.currency() {
            return Err(Reject::CurrencyMismatch(self.id));
        }
        if self.closed { Err(Reject::AccountClosed(self.id)) } else { Ok(()) }
    }

    /// Whether it may be closed: nothing on it, nothing held, nothing promised.
    pub(crate) fn may_close(&self) -> Result<(), Reject> {
        if self.posted != 0 || self.held != 0 || self.promised != 0 {
            return Err(Reject::AccountNotEmpty(self.id));
        }
        Ok(())
    }
}

/// What is on an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Balance {
    /// Credits less debits.
    pub posted: Money,
    /// What open holds have set aside.
    pub held: Money,
    /// What can be spent: posted less held.
    pub available: Money,
}

/// A freeze, unfreeze or closing of an account, as the history keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountChange {
    /// Which account.
    pub account: AccountId,
    /// Which way money may not move from now on.
    pub freeze: Freeze,
    /// Whether it is closed from now on.
    pub closed: bool,
}
