//! The fold against a slow, obvious model: whatever batches a stream of requests is cut into, answers and books are the model's.

mod model;
mod store;
mod world;

use chrono::{DateTime, Utc};
use ledger::Currency;
use ledger::fold::{Effects, Verdict};
use ledger::hold::Stamp;
use model::{Model, Said};
use proptest::prelude::*;
use store::Store;
use world::Asked;

/// Requests that share a moment.
type Moment = Vec<Asked>;

fn at(moment: usize) -> DateTime<Utc> {
    world::at(i64::try_from(moment).expect("few moments"))
}

/// Runs the real fold over the moments, cutting each into batches of the given sizes in turn.
fn run(moments: &[Moment], sizes: &[usize]) -> (Vec<Verdict>, Store) {
    let mut store = Store::default();
    let (mut verdicts, mut block) = (Vec::new(), 0);
    let mut sizes = sizes.iter().copied().cycle();
    for (moment, requests) in moments.iter().enumerate() {
        let mut rest = requests.as_slice();
        while !rest.is_empty() {
            let size = sizes.next().expect("sizes repeat").clamp(1, rest.len());
            let (batch, later) = rest.split_at(size);
            rest = later;
            block += 1;
            let effects = store.put(batch, Stamp { block, at: at(moment) });
            check(&store, &effects);
            verdicts.extend(effects.verdicts);
        }
    }
    (verdicts, store)
}

/// What must hold after every batch.
fn check(store: &Store, effects: &Effects) {
    for currency in Currency::ALL {
        let accounts = store.accounts.values().filter(|account| account.currency == currency);
        let sum: i128 = accounts.map(|account| i128::from(account.posted)).sum();
        assert_eq!(sum, 0, "money of {currency} is conserved");
    }
    for account in store.accounts.values() {
        assert!(account.floor.is_none_or(|floor| account.available() >= floor), "floor of {account:?}");
        let open = |hold: &&ledger::hold::Hold| hold.ended.is_none();
        let held: i64 =
            store.holds.values().filter(open).filter(|hold| hold.debit == account.id).map(|hold| hold.amount).sum();
        let promised: i64 =
            store.holds.values().filter(open).filter(|hold| hold.credit == account.id).map(|hold| hold.amount).sum();
        assert_eq!((account.held, account.promised), (held, promised), "holds of {account:?}");
        let last = store.changes.iter().rev().find(|change| change.account == account.id);
        let (freeze, closed) = last.map_or_else(Default::default, |change| (change.freeze, change.closed));
        assert_eq!((account.freeze, account.closed), (freeze, closed), "history of {account:?}");
        let (touching, marks) = store.touching(account.id);
        assert_eq!(
            (store.chain(account), account.transfers),
            (touching.clone(), touching.len() as i64),
            "chain of {account:?}"
        );
        assert_eq!(store.marks_of(account.id), marks, "marks of {account:?}");
        assert!(!account.closed || (account.posted, held, promised) == (0, 0, 0), "closed {account:?}");
    }
    let first = store.sequence + 1 - effects.transfers.len() as i64;
    for (sequence, transfer) in (first..).zip(&effects.transfers) {
        assert_eq!(transfer.sequence, sequence, "sequences have no gap");
    }
}

/// Holds between accounts without floors add up past 64 bits on either side before any balance does.
#[test]
fn what_is_held_or_promised_stays_within_64_bits() {
    let half = i64::MAX / 2;
    let requests = vec![
        world::genesis(),
        world::huge(1, (3, 2), half, false),
        world::huge(2, (2, 3), half, true),
        world::huge(3, (2, 3), half, true),
        world::huge(4, (2, 3), half, true),
    ];
    let mut model = Model::default();
    let said: Vec<Said> = requests.iter().map(|request| model.ask(request, at(0))).collect();
    let (verdicts, _) = run(&[requests], &[2]);
    let answered: Vec<Said> = verdicts.iter().map(Said::of).collect();
    assert_eq!(answered, said);
    assert!(matches!(&said[4], Said::Fresh(Err(ledger::Reject::BalanceOverflow(_)))), "{:?}", said[4]);
}

/// The world's beginning, and then random requests at later and later moments.
fn moments() -> impl Strategy<Value = Vec<Moment>> {
    prop::collection::vec(prop::collection::vec(world::asked(), 0..30), 1..9).prop_map(|mut moments| {
        moments.insert(0, vec![world::genesis()]);
        moments
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn answers_and_books_are_those_of_the_model(
        moments in moments(),
        sizes in prop::collection::vec(1_usize..12, 1..6),
    ) {
        let (verdicts, store) = run(&moments, &sizes);
        let mut model = Model::default();
        let mut said = Vec::new();
        for (moment, requests) in moments.iter().enumerate() {
            for request in requests {
                said.push(model.ask(request, at(moment)));
            }
        }
        let answered: Vec<Said> = verdicts.iter().map(Said::of).collect();
        prop_assert_eq!(answered, said);
        for account in store.accounts.values() {
            prop_assert_eq!(account.posted, model.balance(account.id));
            prop_assert_eq!(account.held, model.held(account.id));
            prop_assert_eq!(account.usage.encode(), model.usage(account.id));
        }
        prop_assert_eq!(store.accounts.len(), model.accounts());
    }

    #[test]
    fn any_cut_into_batches_ends_the_same(
        moments in moments(),
        sizes in prop::collection::vec(1_usize..12, 1..6),
    ) {
        let (one_by_one, lone) = run(&moments, &[1]);
        let (together, batched) = run(&moments, &sizes);
        let said = |verdicts: &[Verdict]| verdicts.iter().map(Said::of).collect::<Vec<_>>();
        prop_assert_eq!(said(&one_by_one), said(&together));
        prop_assert_eq!(lone.without_blocks(), batched.without_blocks());
    }
}
