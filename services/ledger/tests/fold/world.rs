//! A small world of accounts, keys and ids, so that random requests meet each other.

use chrono::{DateTime, TimeDelta, Utc};
use ledger::hold::HoldSpec;
use ledger::limit::{Calendar, Class, Classes, Lift, Limit, Period};
use ledger::transfer::{Fingerprint, RequestKey};
use ledger::{
    AccountId, AccountKind, AccountSpec, Action, Currency, Floor, Freeze, HoldId, HoldPosting, Money, Posting,
    RefundSpec, Refusals, TransferId, TransferKind, UsedLimits,
};
use proptest::prelude::*;
use uuid::Uuid;

const CUSTOMER: AccountKind = AccountKind { code: 1, name: "customer", floor: Floor::Zero };
const NOSTRO: AccountKind = AccountKind { code: 2, name: "nostro", floor: Floor::None };
const FUNDING: TransferKind = TransferKind::new(1, "funding");
const PAYMENT: TransferKind = TransferKind::new(2, "payment").spending(Class::new(1));
const FEE: TransferKind = TransferKind::new(3, "fee").spending(Class::new(8));

const REFUND: TransferKind = TransferKind::new(4, "refund");

/// The zone in which days are counted.
pub(crate) const CALENDAR: Calendar = Calendar::new(chrono_tz::Asia::Ho_Chi_Minh);

/// The beginning of moment `moment`: some hours after the one before, so that days and a month pass.
pub(crate) fn at(moment: i64) -> DateTime<Utc> {
    let begin: DateTime<Utc> = "2026-01-30T02:00:00Z".parse().expect("a time");
    begin + TimeDelta::hours(7 * moment)
}

/// One random request.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) key: RequestKey,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) open: Vec<AccountSpec>,
    pub(crate) actions: Vec<Action>,
    pub(crate) refusals: Refusals,
    pub(crate) limits: Vec<Limit>,
}

/// How many keys are in use.
const KEYS: u8 = 150;

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

/// A transfer that one of the keys may have made.
fn transfer() -> impl Strategy<Value = TransferId> {
    (0_u8..KEYS, 0_u16..2).prop_map(|(key, place)| RequestKey(id(5, key)).transfer(place))
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
    prop::option::of((1_i64..8).prop_map(at))
}

fn kind() -> impl Strategy<Value = TransferKind> {
    prop_oneof![2 => Just(FUNDING), 5 => Just(PAYMENT), 2 => Just(FEE)]
}

fn limit() -> impl Strategy<Value = Limit> {
    let classes = prop_oneof![Just(vec![1]), Just(vec![8]), Just(vec![1, 8])].prop_map(|codes| {
        let classes: Vec<Class> = codes.into_iter().map(Class::new).collect();
        Classes::of(&classes)
    });
    let period = prop_oneof![Just(Period::Transaction), Just(Period::Day), Just(Period::Month)];
    let lift = prop_oneof![4 => Just(Lift::Never), 1 => Just(Lift::Proof)];
    (account(), classes, period, 0_i64..300, lift).prop_map(|(account, classes, period, maximum, lift)| Limit {
        account,
        classes,
        period,
        maximum,
        lift,
    })
}

fn action() -> impl Strategy<Value = Action> {
    let reference = Uuid::nil();
    prop_oneof![
        10 => (parties(), amount(), kind()).prop_map(move |((debit, credit), amount, kind)| {
            Action::Transfer(Posting { debit, credit, amount, kind, reference })
        }),
        6 => (hold(), parties(), amount(), kind(), expiry()).prop_map(move |(id, (debit, credit), amount, kind, expires_at)| {
            Action::Hold(HoldSpec { id, debit, credit, amount, kind, reference, expires_at })
        }),
        5 => (hold(), prop::option::of(amount())).prop_map(|(hold, amount)| Action::Post(HoldPosting { hold, amount })),
        5 => (transfer(), amount(), any::<bool>()).prop_map(move |(of, amount, keep)| {
            let limits = if keep { UsedLimits::Kept } else { UsedLimits::GivenBack };
            Action::Refund(RefundSpec { of, amount, kind: REFUND, reference, limits })
        }),
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
        let (kind, reference, amount) = (FUNDING, Uuid::nil(), Money::vnd(500));
        let (debit, credit) = (spec(2).id, spec(number).id);
        Action::Transfer(Posting { debit, credit, amount, kind, reference })
    };
    Asked {
        key: RequestKey(id(8, 0)),
        fingerprint: Fingerprint(8),
        open: (0..6).map(spec).collect(),
        actions: vec![fund(0), fund(1)],
        refusals: Refusals::Remembered,
        limits: Vec::new(),
    }
}

/// A request with one step, between accounts that may go below zero: a hold, or a transfer.
pub(crate) fn huge(number: u8, (debit, credit): (u8, u8), minor: i64, held: bool) -> Asked {
    let (debit, credit, amount) = (spec(debit).id, spec(credit).id, Money::vnd(minor));
    let (kind, reference, expires_at) = (FUNDING, Uuid::nil(), None);
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
        limits: Vec::new(),
    }
}

/// A random request: often under a fresh key, sometimes under one that was used.
pub(crate) fn asked() -> impl Strategy<Value = Asked> {
    let open = prop_oneof![9 => Just(Vec::new()), 1 => prop::collection::vec(opening(), 1..4)];
    let actions = prop_oneof![5 => prop::collection::vec(action(), 1..2), 2 => prop::collection::vec(action(), 0..5)];
    let refusals = prop_oneof![4 => Just(Refusals::Remembered), 1 => Just(Refusals::Forgotten)];
    let limits = prop_oneof![1 => Just(Vec::new()), 2 => prop::collection::vec(limit(), 1..4)];
    (0_u8..KEYS, prop::bool::weighted(0.1), open, actions, refusals, limits).prop_map(
        |(key, other, open, actions, refusals, limits)| Asked {
            key: RequestKey(id(5, key)),
            fingerprint: Fingerprint(i64::from(other)),
            open,
            actions,
            refusals,
            limits,
        },
    )
}
