//! Usage against a slow model that counts again from a list of all spendings, and limits at their edges.

use chrono::{TimeDelta, TimeZone as _};
use proptest::prelude::*;

use super::*;

const FOOD: Class = Class::new(1);
const SCHOOL: Class = Class::new(2);
const EVERY: Classes = Classes::of(&[FOOD, SCHOOL, Class::new(8)]);

fn day(text: &str) -> Day {
    Day(text.parse().expect("the test writes a date"))
}

/// A spending as history has it.
#[derive(Clone, Copy, Debug)]
struct Spent {
    class: Class,
    day: Day,
    kept: i64,
}

/// Every spending there was, and nothing else.
#[derive(Debug, Default)]
struct History(Vec<Spent>);

impl History {
    /// Counts everything again.
    fn usage(&self) -> Usage {
        let Some(last) = self.0.iter().map(|spent| spent.day).max() else { return Usage::default() };
        let sum = |class: Class, counts: &dyn Fn(Day) -> bool| {
            self.0.iter().filter(|spent| spent.class == class && counts(spent.day)).map(|spent| spent.kept).sum()
        };
        let total = |code: i16| {
            let class = Class::new(code);
            let total = Total {
                class,
                day: sum(class, &|day| day == last),
                month: sum(class, &|day| day.is_in_month_of(last)),
            };
            (total.month > 0).then_some(total)
        };
        Usage { last: Some(last), totals: (1..=8).filter_map(total).collect() }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Spend { class: i16, amount: i64 },
    GiveBack { which: prop::sample::Index, percent: i64 },
    Wait { days: i64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..=8_i16, 1..1_000_000_i64).prop_map(|(class, amount)| Step::Spend { class, amount }),
        3 => (any::<prop::sample::Index>(), 1..=100_i64).prop_map(|(which, percent)| Step::GiveBack { which, percent }),
        2 => (0..40_i64).prop_map(|days| Step::Wait { days }),
    ]
}

proptest! {
    #[test]
    fn usage_is_what_a_recount_of_history_gives(steps in prop::collection::vec(step(), 1..60)) {
        let (mut usage, mut history, mut today) = (Usage::default(), History::default(), day("2026-01-20"));
        for step in steps {
            match step {
                Step::Spend { class, amount } => {
                    let class = Class::new(class);
                    prop_assert_eq!(usage.count(class, today, amount), Ok(()));
                    history.0.push(Spent { class, day: today, kept: amount });
                }
                Step::GiveBack { which, percent } if !history.0.is_empty() => {
                    let spent = which.get_mut(&mut history.0);
                    let back = spent.kept * percent / 100;
                    spent.kept -= back;
                    usage.give_back(spent.class, spent.day, back);
                }
                Step::GiveBack { .. } => {}
                Step::Wait { days } => today = Day(today.0 + TimeDelta::days(days)),
            }
            prop_assert_eq!(&usage, &history.usage());
            prop_assert_eq!(Usage::decode(&usage.encode()), Ok(usage.clone()));
            for period in [Period::Day, Period::Month] {
                let counts = |spent: &&Spent| EVERY.contains(spent.class) && match period {
                    Period::Day => spent.day == today,
                    _ => spent.day.is_in_month_of(today),
                };
                let slow: i64 = history.0.iter().filter(counts).map(|spent| spent.kept).sum();
                prop_assert_eq!(usage.spent(EVERY, period, today), slow);
            }
        }
    }

    #[test]
    fn whatever_is_stored_is_read_or_refused(stored in prop::collection::vec(any::<u8>(), 0..240)) {
        if let Ok(usage) = Usage::decode(&stored) {
            prop_assert_eq!(usage.encode(), stored);
        }
    }

    #[test]
    fn no_amounts_overflow(amounts in prop::collection::vec(1..=i64::MAX, 1..6)) {
        let (mut usage, today) = (Usage::default(), day("2026-01-20"));
        for amount in amounts {
            let before = usage.clone();
            if usage.count(FOOD, today, amount) == Err(UsageOverflow) {
                prop_assert_eq!(&usage, &before);
            }
            usage.count(SCHOOL, today, 1).ok();
            prop_assert!(usage.spent(EVERY, Period::Month, today) > 0);
            usage.give_back(SCHOOL, today, i64::MAX);
        }
    }
}

#[test]
fn a_later_day_and_a_later_month_start_from_zero() {
    let mut usage = Usage::default();
    usage.count(FOOD, day("2026-01-30"), 100).expect("it fits");
    usage.count(SCHOOL, day("2026-01-31"), 10).expect("it fits");
    let spent = |usage: &Usage, period, on| usage.spent(EVERY, period, day(on));
    assert_eq!((spent(&usage, Period::Day, "2026-01-31"), spent(&usage, Period::Month, "2026-01-31")), (10, 110));
    // Nothing was counted in February: what the row says is of January.
    assert_eq!((spent(&usage, Period::Day, "2026-02-01"), spent(&usage, Period::Month, "2026-02-01")), (0, 0));
    // The same month of another year is another month.
    assert_eq!(spent(&usage, Period::Month, "2027-01-31"), 0);
    usage.count(FOOD, day("2026-02-01"), 1).expect("it fits");
    assert_eq!((spent(&usage, Period::Day, "2026-02-01"), spent(&usage, Period::Month, "2026-02-01")), (1, 1));
}

#[test]
fn what_comes_back_counts_in_the_day_and_month_of_the_spending() {
    let (hold, next_day, next_month) = (day("2026-01-30"), day("2026-01-31"), day("2026-02-01"));
    let mut usage = Usage::default();
    usage.count(FOOD, hold, 100).expect("it fits");
    usage.count(FOOD, next_day, 10).expect("it fits");
    usage.give_back(FOOD, hold, 40);
    assert_eq!((usage.spent(EVERY, Period::Day, next_day), usage.spent(EVERY, Period::Month, next_day)), (10, 70));
    usage.count(FOOD, next_month, 5).expect("it fits");
    usage.give_back(FOOD, hold, 60);
    assert_eq!(usage.spent(EVERY, Period::Month, next_month), 5, "the month of the hold is over");
}

#[test]
fn a_clock_that_goes_back_makes_no_room() {
    let (today, yesterday) = (day("2026-02-01"), day("2026-01-31"));
    let mut usage = Usage::default();
    usage.count(FOOD, today, 100).expect("it fits");
    usage.count(FOOD, yesterday, 10).expect("it fits");
    assert_eq!((usage.spent(EVERY, Period::Day, yesterday), usage.last_day()), (110, Some(today)));
}

#[test]
fn days_are_those_of_the_zone() {
    let calendar = Calendar::new(chrono_tz::Asia::Ho_Chi_Minh);
    let at = |hour, minute| Utc.with_ymd_and_hms(2026, 1, 31, hour, minute, 0).single().expect("a time");
    assert_eq!(calendar.day(at(16, 59)), day("2026-01-31"));
    assert_eq!(calendar.day(at(17, 0)), day("2026-02-01"));
}

#[test]
fn a_limit_is_kept_to_the_last_unit_and_covers_its_classes_only() {
    let (account, other, today) = (AccountId::generate(), AccountId::generate(), day("2026-01-20"));
    let limit = |period| Limit { account, classes: Classes::of(&[FOOD]), period, maximum: 100, lift: Lift::Never };
    let excess = |period| Err(Excess { account, period, lift: Lift::Never });
    let spend = |account, class, amount| Spending { account, class, amount };
    let mut usage = Usage::default();
    usage.count(FOOD, today, 60).expect("it fits");
    usage.count(FOOD, today, 40).expect("it fits");
    let last = [spend(account, FOOD, 40)];
    for period in [Period::Transaction, Period::Day, Period::Month] {
        assert_eq!(limit(period).check(&usage, today, &last), Ok(()));
    }
    assert_eq!(limit(Period::Day).left(&usage, today), 0);
    usage.count(FOOD, today, 1).expect("it fits");
    let next = [spend(account, FOOD, 1)];
    assert_eq!(limit(Period::Transaction).check(&usage, today, &next), Ok(()));
    assert_eq!(limit(Period::Day).check(&usage, today, &next), excess(Period::Day));
    assert_eq!(limit(Period::Month).check(&usage, today, &next), excess(Period::Month));
    // A transaction is all that its request spends.
    let parts = [spend(account, FOOD, 60), spend(other, FOOD, 90), spend(account, FOOD, 41)];
    assert_eq!(limit(Period::Transaction).check(&usage, today, &parts), excess(Period::Transaction));
    // Whoever spends something else, or nothing, is not held up.
    for free in [&[spend(account, SCHOOL, 500)][..], &[spend(other, FOOD, 500)], &[]] {
        assert_eq!(limit(Period::Month).check(&usage, today, free), Ok(()));
    }
}

#[test]
fn what_no_ledger_writes_is_refused() {
    let number = day("2026-01-20").number();
    assert_eq!(Usage::decode(&[]), Ok(Usage::default()));
    for wrong in [
        &[number, 1][..],
        &[number, 1, 5],
        &[number, 0, 1, 1],
        &[number, 9, 1, 1],
        &[number, 1, -1, 1],
        &[number, 1, 2, 1],
        &[number, 1, 0, 0],
        &[number, 2, 1, 1, 1, 1, 1],
        &[number, 1, 1, 1, 1, 1, 1],
        &[i64::MAX],
    ] {
        assert_eq!(Usage::decode(&stored(wrong)), Err(UsageUnreadable), "{wrong:?}");
    }
    let one_day = stored(&[number]);
    assert_eq!(Usage::decode(&one_day).map(|usage| usage.encode()), Ok(one_day.clone()));
    assert_eq!(Usage::decode(&one_day[1..]), Err(UsageUnreadable));
}

/// Numbers as a row has them.
fn stored(numbers: &[i64]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}

#[test]
fn classes_are_few() {
    assert_eq!((Class::from_code(0), Class::from_code(9)), (None, None));
    assert_eq!(Class::from_code(8).map(Class::code), Some(8));
    assert!(Classes::default().is_empty() && !EVERY.is_empty());
    assert!(Classes::of(&[FOOD]).and(Classes::of(&[SCHOOL])).contains(SCHOOL));
}
