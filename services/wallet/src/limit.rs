//! Which limits of the city's dated rules bound a citizen, as the ledger takes them and as the citizen sees them.
//!
//! Pure. The ledger decides, under its lock, from what the citizen's account has spent; here is only which limits go with a request.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use ledger::AccountId;
use ledger::limit::{self, Class, Classes, Lift, Limit};

use crate::city::{Alone, Kind, LimitClass, Maximum, Period, Proof, Rules};

/// Payments of goods and services that are not essential.
pub(crate) const GOODS: Class = Class::new(1);
/// Payments of the essential class.
pub(crate) const ESSENTIAL: Class = Class::new(2);
/// Transfers to other people.
const TRANSFER: Class = Class::new(3);
/// Money back to a bank.
const WITHDRAWAL: Class = Class::new(4);

/// Everything that counts for limits.
const EVERY: Classes = Classes::of(&[GOODS, ESSENTIAL, TRANSFER, WITHDRAWAL]);

/// How far a citizen is trusted, as the wallet itself knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// How well they are known.
    pub(crate) tier: u8,
    /// Since when the device is bound that they ask from; `None` while that is not known.
    pub(crate) bound_at: Option<DateTime<Utc>>,
    /// What they proved for this very transaction.
    pub(crate) proved: Option<Proof>,
}

/// The moment that limits are asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) now: DateTime<Utc>,
    /// The day in the city.
    pub(crate) day: NaiveDate,
}

/// What a limit is about, as the citizen reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// A class of payments.
    Class(LimitClass),
    /// A device bound a short while ago, until a time, if that is known.
    NewDevice(Option<DateTime<Utc>>),
    /// What may be moved without a further proof: this one.
    Unproved(Proof),
}

/// One limit and what it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bound {
    pub(crate) subject: Subject,
    pub(crate) limit: Limit,
}

/// Every limit of a citizen at a moment, those first that nothing lifts; `None` while no rule allows moving anything.
pub(crate) fn bounds(rules: &Rules, account: AccountId, standing: Standing, moment: Moment) -> Option<Vec<Bound>> {
    let maxima = rules.maxima(moment.day, standing.tier)?;
    let mut bounds: Vec<Bound> = maxima.iter().map(|maximum| of_class(account, maximum)).collect();
    for kind in [Kind::Goods, Kind::Transfer, Kind::Withdrawal] {
        let Some(cool_down) = rules.cool_down(kind, moment.day) else { continue };
        let over_at = standing.bound_at.map(|at| at + TimeDelta::hours(i64::from(cool_down.hours)));
        if over_at.is_none_or(|over_at| moment.now < over_at) {
            let limit = day_limit(account, cool_down.kinds, cool_down.day_maximum, Lift::Never);
            add(&mut bounds, Bound { subject: Subject::NewDevice(over_at), limit });
        }
    }
    for kind in [Kind::Goods, Kind::Transfer, Kind::Withdrawal] {
        let Some(unproved) = rules.unproved(kind, moment.day, standing.proved) else { continue };
        let limit = day_limit(account, unproved.kinds, unproved.day_maximum, Lift::Proof);
        add(&mut bounds, Bound { subject: Subject::Unproved(unproved.proof), limit });
    }
    Some(bounds)
}

/// One rule covers several kinds: it is one limit.
fn add(bounds: &mut Vec<Bound>, bound: Bound) {
    if !bound.limit.classes.is_empty() && !bounds.contains(&bound) {
        bounds.push(bound);
    }
}

fn of_class(account: AccountId, maximum: &Maximum) -> Bound {
    let own = match maximum.class {
        LimitClass::General => Classes::of(&[GOODS, TRANSFER, WITHDRAWAL]),
        LimitClass::Essential => Classes::of(&[ESSENTIAL]),
    };
    let classes = if maximum.alone == Alone::Yes { own } else { EVERY };
    let limit = Limit { account, classes, period: period(maximum.period), maximum: maximum.amount, lift: Lift::Never };
    Bound { subject: Subject::Class(maximum.class), limit }
}

fn day_limit(account: AccountId, kinds: &[Kind], maximum: i64, lift: Lift) -> Limit {
    let classes = kinds.iter().map(|kind| match kind {
        Kind::Goods => Classes::of(&[GOODS, ESSENTIAL]),
        Kind::Transfer => Classes::of(&[TRANSFER]),
        Kind::Withdrawal => Classes::of(&[WITHDRAWAL]),
        // Its money comes in.
        Kind::TopUp => Classes::default(),
    });
    let classes = classes.fold(Classes::default(), Classes::and);
    Limit { account, classes, period: limit::Period::Day, maximum, lift }
}

fn period(period: Period) -> limit::Period {
    match period {
        Period::Transaction => limit::Period::Transaction,
        Period::Day => limit::Period::Day,
        Period::Month => limit::Period::Month,
    }
}

/// When what was spent in a period no longer counts; `None` for one transaction.
pub(crate) fn first_day_after(period: limit::Period, day: NaiveDate) -> Option<NaiveDate> {
    use chrono::{Datelike as _, Months};
    match period {
        limit::Period::Transaction => None,
        limit::Period::Day => day.succ_opt(),
        limit::Period::Month => day.with_day(1)?.checked_add_months(Months::new(1)),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn rules() -> Rules {
        let city = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/city/hue");
        Rules::load(&city).expect("the rules are sound")
    }

    fn moment(text: &str) -> Moment {
        let now: DateTime<Utc> = text.parse().expect("the test writes a time");
        Moment { now, day: now.date_naive() }
    }

    fn shown(standing: Standing, at: &str) -> Vec<(Subject, limit::Period, i64, Vec<i16>, Lift)> {
        let bounds = bounds(&rules(), AccountId::generate(), standing, moment(at)).expect("rules are in force");
        let codes = |classes: Classes| {
            (1..=8).filter(|code| Class::from_code(*code).is_some_and(|class| classes.contains(class))).collect()
        };
        let line = |bound: Bound| {
            let Limit { classes, period, maximum, lift, .. } = bound.limit;
            (bound.subject, period, maximum, codes(classes), lift)
        };
        bounds.into_iter().map(line).collect()
    }

    const GENERAL: Subject = Subject::Class(LimitClass::General);
    const NOON: &str = "2026-01-10T05:00:00Z";

    fn bound_at(text: &str) -> Option<DateTime<Utc>> {
        Some(text.parse().expect("the test writes a time"))
    }

    #[test]
    fn a_known_citizen_on_a_settled_device_is_bound_by_class_and_ladder() {
        let standing = Standing { tier: 1, bound_at: bound_at("2026-01-09T05:00:00Z"), proved: None };
        assert_eq!(
            shown(standing, NOON),
            [
                (GENERAL, limit::Period::Transaction, 50_000_000, vec![1, 2, 3, 4], Lift::Never),
                (GENERAL, limit::Period::Month, 100_000_000, vec![1, 3, 4], Lift::Never),
                (Subject::Class(LimitClass::Essential), limit::Period::Month, 300_000_000, vec![2], Lift::Never),
                (Subject::Unproved(Proof::Pin), limit::Period::Day, 5_000_000, vec![1, 2], Lift::Proof),
                (Subject::Unproved(Proof::Biometric), limit::Period::Day, 20_000_000, vec![3, 4], Lift::Proof),
            ]
        );
    }

    #[test]
    fn a_class_without_a_rule_of_its_own_counts_for_the_general_one() {
        let month = |tier, at| {
            let lines = shown(Standing { tier, bound_at: None, proved: None }, at).into_iter();
            lines.filter(|line| line.1 == limit::Period::Month).map(|line| (line.2, line.3)).collect::<Vec<_>>()
        };
        assert_eq!(month(0, NOON), [(20_000_000, vec![1, 2, 3, 4])]);
        assert_eq!(month(1, "2025-11-04T05:00:00Z"), [(100_000_000, vec![1, 2, 3, 4])]);
    }

    #[test]
    fn a_proof_lifts_the_rungs_up_to_its_own() {
        let lines = |proved| {
            let standing = Standing { tier: 2, bound_at: bound_at("2020-01-01T00:00:00Z"), proved };
            let lines = shown(standing, NOON).into_iter();
            lines.filter(|line| line.4 == Lift::Proof).map(|line| (line.0, line.2)).collect::<Vec<_>>()
        };
        let (biometric, signature) = (Subject::Unproved(Proof::Biometric), Subject::Unproved(Proof::Signature));
        assert_eq!(lines(None), [(Subject::Unproved(Proof::Pin), 5_000_000), (biometric, 20_000_000)]);
        assert_eq!(lines(Some(Proof::Pin)), [(biometric, 100_000_000), (biometric, 20_000_000)]);
        assert_eq!(lines(Some(Proof::Biometric)), [(signature, 1_500_000_000)]);
        assert_eq!(lines(Some(Proof::Signature)), []);
    }

    #[test]
    fn a_new_device_may_move_less_until_its_time_is_over() {
        let cool = |bound_at| {
            let lines = shown(Standing { tier: 2, bound_at, proved: None }, NOON).into_iter();
            lines.filter(|line| matches!(line.0, Subject::NewDevice(_))).collect::<Vec<_>>()
        };
        let bound = bound_at("2026-01-09T05:00:01Z");
        let over_at = bound_at("2026-01-10T05:00:01Z");
        let line =
            |over_at| vec![(Subject::NewDevice(over_at), limit::Period::Day, 5_000_000, vec![1, 2, 3, 4], Lift::Never)];
        assert_eq!(cool(bound), line(over_at));
        assert_eq!(cool(bound_at("2026-01-09T05:00:00Z")), []);
        assert_eq!(cool(None), line(None), "a session that is not known is one on a new device");
    }

    #[test]
    fn before_any_rule_nothing_may_be_moved() {
        let early = moment("2024-07-16T05:00:00Z");
        assert_eq!(
            bounds(&rules(), AccountId::generate(), Standing { tier: 0, bound_at: None, proved: None }, early),
            None
        );
    }

    #[test]
    fn periods_begin_anew_on_the_next_day_and_month() {
        let day: NaiveDate = "2026-01-31".parse().expect("a date");
        let next = "2026-02-01".parse().ok();
        assert_eq!(first_day_after(limit::Period::Month, day), next);
        assert_eq!(first_day_after(limit::Period::Day, day), next);
        assert_eq!(first_day_after(limit::Period::Transaction, day), None);
    }
}
