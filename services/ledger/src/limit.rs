//! Limits on spending: what an account has spent in its day and its month, by class, and how much it may.
//!
//! Pure: no I/O. The ledger knows nothing of people: a limit comes with the request that it bounds, and what is counted stands in the account's own row.
//!
//! Rules:
//! - A spending is a transfer or a hold whose kind has a [`Class`]; it counts for the debited account, at the local day on which it was granted.
//! - A later day starts from zero, and so does a later month.
//! - What a hold gives back, when it is posted in part, voided or expired, and what a refund gives back, counts down only while the account's day or month is still that of the spending.
//! - So the usage of an account is a function of its history: the last day on which it spent, and what was spent and kept on that day and in that month. [`verify`](crate::verify) recomputes it.
//! - A limit is checked after the actions of its request, and only if they spent something that it covers: whoever is over a limit that was lowered can still be given money back.

use chrono::{DateTime, Datelike as _, NaiveDate, Utc};

use crate::account::AccountId;

/// The most classes there are, so that an account's row stays small.
pub const MAX_CLASSES: usize = 8;
/// Numbers that the row has for each class: its code, the day's total, the month's.
const STRIDE: usize = 3;

/// A class of spending; the caller of the ledger declares its classes as constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Class(i16);

impl Class {
    /// The class of a code from 1 to [`MAX_CLASSES`], for constants.
    ///
    /// # Panics
    /// On any other code, when the constant is compiled.
    pub const fn new(code: i16) -> Self {
        assert!(code >= 1 && code as usize <= MAX_CLASSES, "a class has a code from 1 to 8");
        Self(code)
    }

    /// The class of a stored code.
    pub fn from_code(code: i16) -> Option<Self> {
        usize::try_from(code).is_ok_and(|code| (1..=MAX_CLASSES).contains(&code)).then_some(Self(code))
    }

    /// The number that the database stores.
    pub const fn code(self) -> i16 {
        self.0
    }
}

/// A set of classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Classes(u8);

impl Classes {
    /// The set of these classes.
    pub const fn of(classes: &[Class]) -> Self {
        let (mut bits, mut index) = (0, 0);
        while index < classes.len() {
            bits |= 1 << (classes[index].0 - 1);
            index += 1;
        }
        Self(bits)
    }

    /// Both sets.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether a class is in it.
    pub const fn contains(self, class: Class) -> bool {
        self.0 & (1 << (class.0 - 1)) != 0
    }

    /// Whether no class is in it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Where days begin and end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calendar(chrono_tz::Tz);

impl Default for Calendar {
    /// Days of universal time.
    fn default() -> Self {
        Self(chrono_tz::UTC)
    }
}

impl Calendar {
    /// The calendar of a zone.
    pub const fn new(zone: chrono_tz::Tz) -> Self {
        Self(zone)
    }

    /// The zone's name in the IANA database.
    pub fn zone_name(&self) -> &'static str {
        self.0.name()
    }

    /// The local day of a moment.
    pub fn day(&self, at: DateTime<Utc>) -> Day {
        Day(at.with_timezone(&self.0).date_naive())
    }
}

/// A local day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Day(NaiveDate);

impl Day {
    /// The day of a date.
    pub const fn new(date: NaiveDate) -> Self {
        Self(date)
    }

    /// The date.
    pub const fn date(self) -> NaiveDate {
        self.0
    }

    /// Whether both days are in one month.
    pub fn is_in_month_of(self, other: Self) -> bool {
        (self.0.year(), self.0.month()) == (other.0.year(), other.0.month())
    }

    /// Days since 1 January of the year 1, which is day 1.
    fn number(self) -> i64 {
        i64::from(self.0.num_days_from_ce())
    }

    fn from_number(number: i64) -> Option<Self> {
        NaiveDate::from_num_days_from_ce_opt(i32::try_from(number).ok()?).map(Self)
    }
}

/// What one class came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Total {
    class: Class,
    day: i64,
    month: i64,
}

/// What an account has spent, in minor units: on the last day on which it spent anything, and in that day's month.
///
/// Invariant: totals are in the order of their classes, never negative, and none is zero for both day and month.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    last: Option<Day>,
    totals: Vec<Total>,
}

/// A total would leave 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what was spent can't be counted in 64 bits")]
pub struct UsageOverflow;

/// A stored usage that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stored usage is not one that the ledger writes")]
pub struct UsageUnreadable;

impl Usage {
    /// Counts a spending of `amount` on `day`. A day before the last one counts as the last: no clock that goes back makes room.
    ///
    /// # Errors
    /// When a total would leave 64 bits; nothing is counted then.
    pub fn count(&mut self, class: Class, day: Day, amount: i64) -> Result<(), UsageOverflow> {
        self.begin(day);
        match self.totals.binary_search_by_key(&class, |total| total.class) {
            Ok(found) => {
                let total = &mut self.totals[found];
                // A month is never less than one of its days.
                let month = total.month.checked_add(amount).ok_or(UsageOverflow)?;
                total.day += amount;
                total.month = month;
            }
            Err(place) => self.totals.insert(place, Total { class, day: amount, month: amount }),
        }
        Ok(())
    }

    /// Counts down what was spent on `day` and came back, in the day and the month that are still current.
    pub fn give_back(&mut self, class: Class, day: Day, amount: i64) {
        let Some(last) = self.last.filter(|last| day.is_in_month_of(*last)) else { return };
        let Ok(found) = self.totals.binary_search_by_key(&class, |total| total.class) else { return };
        let total = &mut self.totals[found];
        total.month = total.month.saturating_sub(amount).max(0);
        if day == last {
            total.day = total.day.saturating_sub(amount).max(0);
        }
        total.day = total.day.min(total.month);
        if *total == (Total { class, day: 0, month: 0 }) {
            self.totals.remove(found);
        }
    }

    /// What of these classes was spent in the period that `day` is in; of one transaction, usage knows nothing.
    pub fn spent(&self, classes: Classes, period: Period, day: Day) -> i64 {
        let Some(last) = self.last else { return 0 };
        let of = |part: fn(&Total) -> i64| {
            let totals = self.totals.iter().filter(|total| classes.contains(total.class));
            totals.map(part).fold(0, i64::saturating_add)
        };
        match period {
            Period::Day if day <= last => of(|total| total.day),
            Period::Month if day <= last || day.is_in_month_of(last) => of(|total| total.month),
            _ => 0,
        }
    }

    /// The last day on which anything was spent.
    pub fn last_day(&self) -> Option<Day> {
        self.last
    }

    /// As the account's row has it: the day, then code, day's total and month's total of each class; nothing if nothing was ever counted.
    /// Each number takes 8 bytes, the highest first.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.encode_to(&mut bytes);
        bytes
    }

    /// As [`encode`](Self::encode), after what is there already.
    pub fn encode_to(&self, bytes: &mut Vec<u8>) {
        let Some(last) = self.last else { return };
        bytes.extend(last.number().to_be_bytes());
        for total in &self.totals {
            let numbers = [i64::from(total.class.0), total.day, total.month];
            numbers.iter().for_each(|number| bytes.extend(number.to_be_bytes()));
        }
    }

    /// The usage that a row has.
    ///
    /// # Errors
    /// When [`encode`](Self::encode) never writes that.
    pub fn decode(stored: &[u8]) -> Result<Self, UsageUnreadable> {
        let (numbers, []) = stored.as_chunks() else { return Err(UsageUnreadable) };
        let numbers: Vec<i64> = numbers.iter().map(|number| i64::from_be_bytes(*number)).collect();
        let Some((day, rest)) = numbers.split_first() else { return Ok(Self::default()) };
        let (totals, []) = rest.as_chunks::<STRIDE>() else { return Err(UsageUnreadable) };
        let total = |[code, day, month]: &[i64; STRIDE]| {
            let class = i16::try_from(*code).ok().and_then(Class::from_code)?;
            (*month > 0 && (0..=*month).contains(day)).then_some(Total { class, day: *day, month: *month })
        };
        let totals = totals.iter().map(total).collect::<Option<Vec<Total>>>().ok_or(UsageUnreadable)?;
        if !totals.is_sorted_by(|one, other| one.class < other.class) {
            return Err(UsageUnreadable);
        }
        Ok(Self { last: Some(Day::from_number(*day).ok_or(UsageUnreadable)?), totals })
    }

    /// Moves on to a day that is later than the last.
    fn begin(&mut self, day: Day) {
        match self.last {
            Some(last) if day <= last => return,
            Some(last) if day.is_in_month_of(last) => self.totals.iter_mut().for_each(|total| total.day = 0),
            _ => self.totals.clear(),
        }
        self.last = Some(day);
    }
}

/// What a limit is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Period {
    /// All that one request spends.
    Transaction,
    /// A local day.
    Day,
    /// A local month.
    Month,
}

/// What lets a spending pass that is over a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lift {
    /// Nothing does.
    Never,
    /// A proof by the owner: the caller leaves the limit out of a request that comes with one.
    Proof,
}

/// How much an account may spend of some classes in a period; a request brings the limits that it must keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Whose spending is bounded.
    pub account: AccountId,
    /// Of which classes, taken together.
    pub classes: Classes,
    /// In which period.
    pub period: Period,
    /// The most, in minor units.
    pub maximum: i64,
    /// What lets more pass.
    pub lift: Lift,
}

/// A limit that a request does not keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Excess {
    /// Whose limit.
    pub account: AccountId,
    /// Of which period.
    pub period: Period,
    /// What lets it pass.
    pub lift: Lift,
}

/// What one request spends from one account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spending {
    /// From which account.
    pub account: AccountId,
    /// Of which class.
    pub class: Class,
    /// How much, in minor units.
    pub amount: i64,
}

impl Limit {
    /// Whether the limit is kept on `day` by a request with these spendings, which are counted in `usage` already.
    ///
    /// # Errors
    /// Says which limit is not kept.
    pub fn check(&self, usage: &Usage, day: Day, spendings: &[Spending]) -> Result<(), Excess> {
        let covered = |spending: &&Spending| spending.account == self.account && self.classes.contains(spending.class);
        let request = spendings.iter().filter(covered).fold(0_i64, |sum, next| sum.saturating_add(next.amount));
        let spent = match self.period {
            Period::Transaction => request,
            period => usage.spent(self.classes, period, day),
        };
        if request > 0 && spent > self.maximum {
            return Err(Excess { account: self.account, period: self.period, lift: self.lift });
        }
        Ok(())
    }

    /// What is left of it on `day`.
    pub fn left(&self, usage: &Usage, day: Day) -> i64 {
        self.maximum.saturating_sub(usage.spent(self.classes, self.period, day)).max(0)
    }
}

#[cfg(test)]
mod tests;
