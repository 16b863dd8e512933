//! A small world of accounts, keys and ids, so that random requests meet each other.

use chrono::{DateTime, TimeDelta, Utc};
use ledger::hold::HoldSpec;
use ledger::transfer::{Fingerprint, RequestKey};
use ledger::{
    AccountId, AccountKind, AccountSpec, Action, Currency, Floor, Freeze, HoldId, HoldPosting, Money, Posting,
    Refusals, TransferKind,
};
use proptest::prelude::*;
use uuid::Uuid;

const CUSTOMER: AccountKind = AccountKind { code: 1, name: "customer", floor: Floor::Zero };
const NOSTRO: AccountKind = AccountKind { code: 2, name: "nostro", floor: Floor::None };
const PAYMENT: TransferKind = TransferKind { code: 1, name: "payment" };

/// One random request.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) key: RequestKey,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) open: Vec<AccountSpec>,
    pub(crate) actions: Vec<Action>,
    pub(crate) refusals: Refusals,
}

fn id(space: u128, number: u8) -> Uuid {
    Uuid::from_u128(space << 64 | u128::from(number))
}

/// Accounts 0 and 1 are customers, 2 and 3 may go below zero, 4 and 5 hold dollars, 6 is opened late, 7 never.
fn spec(number: u8) -> AccountSpec {
    AccountSpec {
        id: AccountId::from(id(1, number)),
        owner: id(2, number),
        kind: if number.is_multiple_of(4) || number == 1 { CUSTOMER } else { NOSTRO },
        currency: if matches!(number, 4 | 5) { Currency::Usd } else { Currency::Vnd },
    }
}

fn account() -> impl Strategy<Value = AccountId> {
    prop_oneof![30 => 0_u8..4, 1 => 4_u8..8].prop_map(|number| AccountId::from(id(1, number)))
}

fn opening() -> impl Strategy<Value = AccountSpec> {
    (0_u8..7, prop::bool::weighted(0.03)).prop_map(|(number, other)| {
        let spec = spec(number);
        if other { AccountSpec { owner: Uuid::nil(), ..spec } } else { spec }
    })
}

fn hold() -> impl Strategy<Value = HoldId> {
    (0_u8..10).prop_map(|number| HoldId::from(id(4, number)))
}

fn amount() -> impl Strategy<Value = Money> {
    let minor = prop_oneof![40 => 1_i64..100, 1 => Just(i64::MAX - 500), 1 => Just(i64::MAX / 2)];
    (minor, prop::bool::weighted(0.02))
        .prop_map(|(minor, dollars)| Money::from_minor(minor, if dollars { Currency::Usd } else { Currency::Vnd }))
}

fn parties() -> impl Strategy<Value = (AccountId, AccountId)> {
    (account(), account()).prop_filter("money moves between two accounts", |(debit, credit)| debit != credit)
}

fn expiry() -> impl Strategy<Value = Option<DateTime<Utc>>> {
    prop::option::of((1_i64..8).prop_map(|minutes| DateTime::UNIX_EPOCH + TimeDelta::minutes(minutes)))
}

fn action() -> impl Strategy<Value = Action> {
    let kind = PAYMENT;
    let reference = Uuid::nil();
    prop_oneof![
        10 => (parties(), amount()).prop_map(move |((debit, credit), amount)| {
            Action::Transfer(Posting { debit, credit, amount, kind, reference })
        }),
        6 => (hold(), parties(), amount(), expiry()).prop_map(move |(id, (debit, credit), amount, expires_at)| {
            Action::Hold(HoldSpec { id, debit, credit, amount, kind, reference, expires_at })
        }),
        5 => (hold(), prop::option::of(amount())).prop_map(|(hold, amount)| Action::Post(HoldPosting { hold, amount })),
        2 => hold().prop_map(Action::Void),
        2 => hold().prop_map(Action::Confirm),
        2 => hold().prop_map(Action::Expire),
        1 => (account(), prop_oneof![4 => Just(Freeze::Nothing), 1 => Just(Freeze::In), 1 => Just(Freeze::Out), 1 => Just(Freeze::Both)])
            .prop_map(|(account, freeze)| Action::Freeze(account, freeze)),
        1 => account().prop_map(Action::Close),
    ]
}

/// The request that every run begins with: all accounts but the last are open, and customers have 500.
pub(crate) fn genesis() -> Asked {
    let fund = |number: u8| {
        let (kind, reference, amount) = (PAYMENT, Uuid::nil(), Money::vnd(500));
        let (debit, credit) = (spec(2).id, spec(number).id);
        Action::Transfer(Posting { debit, credit, amount, kind, reference })
    };
    Asked {
        key: RequestKey(id(8, 0)),
        fingerprint: Fingerprint(8),
        open: (0..6).map(spec).collect(),
        actions: vec![fund(0), fund(1)],
        refusals: Refusals::Remembered,
    }
}

/// A request with one step, between accounts that may go below zero: a hold, or a transfer.
pub(crate) fn huge(number: u8, (debit, credit): (u8, u8), minor: i64, held: bool) -> Asked {
    let (debit, credit, amount) = (spec(debit).id, spec(credit).id, Money::vnd(minor));
    let (kind, reference, expires_at) = (PAYMENT, Uuid::nil(), None);
    let action = if held {
        Action::Hold(HoldSpec { id: HoldId::from(id(9, number)), debit, credit, amount, kind, reference, expires_at })
    } else {
        Action::Transfer(Posting { debit, credit, amount, kind, reference })
    };
    Asked {
        key: RequestKey(id(9, number)),
        fingerprint: Fingerprint(9),
        open: Vec::new(),
        actions: vec![action],
        refusals: Refusals::Remembered,
    }
}

/// A random request: often under a fresh key, sometimes under one that was used.
pub(crate) fn asked() -> impl Strategy<Value = Asked> {
    let open = prop_oneof![9 => Just(Vec::new()), 1 => prop::collection::vec(opening(), 1..4)];
    let actions = prop_oneof![5 => prop::collection::vec(action(), 1..2), 2 => prop::collection::vec(action(), 0..5)];
    let refusals = prop_oneof![4 => Just(Refusals::Remembered), 1 => Just(Refusals::Forgotten)];
    (0_u8..250, prop::bool::weighted(0.1), open, actions, refusals).prop_map(|(key, other, open, actions, refusals)| {
        Asked { key: RequestKey(id(5, key)), fingerprint: Fingerprint(i64::from(other)), open, actions, refusals }
    })
}
