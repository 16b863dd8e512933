//! The model: it keeps events only, and adds them up anew for every question.

use chrono::{DateTime, Datelike as _, NaiveDate, Utc};
use ledger::fold::Verdict;
use ledger::hold::HoldSpec;
use ledger::limit::{Class, Lift, Limit, Period};
use ledger::transfer::{Fingerprint, RequestKey};
use ledger::{
    AccountId, AccountSpec, Action, Currency, Freeze, HoldId, Money, Outcome, Refusals, Reject, TransferId,
    TransferKind, UsedLimits,
};

use crate::world::{Asked, CALENDAR};

/// A transfer with the balances after it: id, debit balance, credit balance.
type Made = (TransferId, i64, i64);

/// What a request was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Fresh(Result<Vec<Made>, Reject>),
    Replayed(Result<Vec<Made>, Reject>),
    Conflict,
}

impl Said {
    pub(crate) fn of(verdict: &Verdict) -> Self {
        let plain = |outcome: &Outcome| match outcome {
            Outcome::Posted(posted) => Ok(posted
                .iter()
                .map(|posted| (posted.transfer, posted.debit_balance.minor(), posted.credit_balance.minor()))
                .collect()),
            Outcome::Rejected(reject) => Err(*reject),
        };
        match verdict {
            Verdict::Fresh(outcome) => Self::Fresh(plain(outcome)),
            Verdict::Replayed(outcome) => Self::Replayed(plain(outcome)),
            Verdict::Conflict => Self::Conflict,
        }
    }
}

#[derive(Clone, Debug)]
enum Event {
    Opened(AccountSpec),
    Moved {
        id: TransferId,
        debit: AccountId,
        credit: AccountId,
        amount: i64,
        currency: Currency,
    },
    Refunded {
        id: TransferId,
        of: TransferId,
        amount: i64,
        limits: UsedLimits,
    },
    /// What counts for limits.
    Spent {
        account: AccountId,
        class: Class,
        day: NaiveDate,
        amount: i64,
        by: SpentBy,
    },
    Held(HoldSpec),
    Asked(HoldId),
    /// With what was posted of it.
    Ended(HoldId, Reject, i64),
    Became(HoldId, TransferId),
    Frozen(AccountId, Freeze),
    Closed(AccountId),
}

/// By what something was spent.
#[derive(Clone, Copy, Debug)]
enum SpentBy {
    Transfer(TransferId),
    Hold(HoldId),
}

/// When something was spent, and by what.
struct Spending {
    day: NaiveDate,
    by: SpentBy,
}

/// All that happened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    events: Vec<Event>,
    answers: Vec<(RequestKey, Fingerprint, Result<Vec<Made>, Reject>)>,
}

impl Model {
    pub(crate) fn ask(&mut self, asked: &Asked, now: DateTime<Utc>) -> Said {
        if let Some((_, fingerprint, answer)) = self.answers.iter().find(|(key, ..)| *key == asked.key) {
            return if *fingerprint == asked.fingerprint { Said::Replayed(answer.clone()) } else { Said::Conflict };
        }
        // A trial on a copy: what fails leaves no trace.
        let mut trial = self.clone();
        let answer = trial.try_all(asked, now);
        if answer.is_ok() {
            *self = trial;
        } else if asked.refusals == Refusals::Forgotten || matches!(answer, Err(Reject::ProofRequired(_))) {
            return Said::Fresh(answer);
        }
        self.answers.push((asked.key, asked.fingerprint, answer.clone()));
        Said::Fresh(answer)
    }

    fn try_all(&mut self, asked: &Asked, now: DateTime<Utc>) -> Result<Vec<Made>, Reject> {
        let mut made = Vec::new();
        for spec in &asked.open {
            match self.account(spec.id) {
                Ok(there) if there == *spec => {}
                Ok(_) => return Err(Reject::AccountExists(spec.id)),
                Err(_) => self.events.push(Event::Opened(*spec)),
            }
        }
        let before = self.events.len();
        for action in &asked.actions {
            let place = u16::try_from(made.len()).expect("few actions");
            made.extend(self.try_one(action, asked.key.transfer(place), now)?);
        }
        for limit in &asked.limits {
            self.keeps(limit, before, CALENDAR.day(now).date())?;
        }
        Ok(made)
    }

    /// Adds up what the limit is about, if the events since `before` spent anything of it.
    fn keeps(&self, limit: &Limit, before: usize, today: NaiveDate) -> Result<(), Reject> {
        let spent_now: i128 = self.events[before..]
            .iter()
            .map(|event| match event {
                Event::Spent { account, class, amount, .. }
                    if *account == limit.account && limit.classes.contains(*class) =>
                {
                    i128::from(*amount)
                }
                _ => 0,
            })
            .sum();
        let total = match limit.period {
            Period::Transaction => spent_now,
            Period::Day => self.kept(limit.account, |class, day| limit.classes.contains(class) && day == today),
            Period::Month => self.kept(limit.account, |class, day| {
                limit.classes.contains(class) && (day.year(), day.month()) == (today.year(), today.month())
            }),
        };
        match (limit.lift, limit.period) {
            _ if spent_now == 0 || total <= i128::from(limit.maximum) => Ok(()),
            (Lift::Proof, _) => Err(Reject::ProofRequired(limit.account)),
            (Lift::Never, Period::Transaction) => Err(Reject::LimitTransaction(limit.account)),
            (Lift::Never, Period::Day) => Err(Reject::LimitDay(limit.account)),
            (Lift::Never, Period::Month) => Err(Reject::LimitMonth(limit.account)),
        }
    }

    /// What was spent and not given back of an account.
    fn kept(&self, wanted: AccountId, counts: impl Fn(Class, NaiveDate) -> bool) -> i128 {
        let kept = self.events.iter().map(|event| match event {
            Event::Spent { account, class, day, amount, by } if *account == wanted && counts(*class, *day) => {
                let (left, transfer) = match by {
                    SpentBy::Transfer(id) => (*amount, Some(*id)),
                    SpentBy::Hold(id) => (self.ended(*id).map_or(*amount, |(_, posted)| posted), self.became(*id)),
                };
                i128::from(left) - transfer.map_or(0, |id| self.given_back(id))
            }
            _ => 0,
        });
        kept.sum()
    }

    /// The usage that the account's row should have.
    pub(crate) fn usage(&self, wanted: AccountId) -> Vec<u8> {
        let days = self.events.iter().filter_map(|event| match event {
            Event::Spent { account, day, .. } if *account == wanted => Some(*day),
            _ => None,
        });
        let Some(last) = days.max() else { return Vec::new() };
        let mut usage = vec![i64::from(last.num_days_from_ce())];
        for code in 1..=8 {
            let of = |counts: &dyn Fn(NaiveDate) -> bool| {
                let kept = self.kept(wanted, |class, day| class.code() == code && counts(day));
                i64::try_from(kept).expect("usage fits 64 bits")
            };
            let month = of(&|day| (day.year(), day.month()) == (last.year(), last.month()));
            if month > 0 {
                usage.extend([i64::from(code), of(&|day| day == last), month]);
            }
        }
        usage.into_iter().flat_map(i64::to_be_bytes).collect()
    }

    /// Notes a spending, unless it can't be counted.
    fn spend(&mut self, account: AccountId, kind: TransferKind, amount: Money, at: Spending) -> Result<(), Reject> {
        let Some(class) = kind.class else { return Ok(()) };
        let (day, by) = (at.day, at.by);
        let month = |_: Class, other: NaiveDate| (other.year(), other.month()) == (day.year(), day.month());
        let before = self.kept(account, |other, day| other == class && month(other, day));
        if before + i128::from(amount.minor()) > i128::from(i64::MAX) {
            return Err(Reject::BalanceOverflow(account));
        }
        self.events.push(Event::Spent { account, class, day, amount: amount.minor(), by });
        Ok(())
    }

    fn try_one(&mut self, action: &Action, id: TransferId, now: DateTime<Utc>) -> Result<Option<Made>, Reject> {
        match *action {
            Action::Transfer(posting) => {
                self.can_pay(posting.debit, posting.amount)?;
                self.can_receive(posting.credit, posting.amount)?;
                let at = Spending { day: CALENDAR.day(now).date(), by: SpentBy::Transfer(id) };
                self.spend(posting.debit, posting.kind, posting.amount, at)?;
                return Ok(Some(self.moved(id, posting.debit, posting.credit, posting.amount)));
            }
            Action::Hold(spec) => {
                if self.hold(spec.id).is_ok() {
                    return Err(Reject::HoldExists(spec.id));
                }
                self.can_pay(spec.debit, spec.amount)?;
                self.has_room(spec.debit, self.held(spec.debit), spec.amount)?;
                self.can_receive(spec.credit, spec.amount)?;
                self.has_room(spec.credit, self.promised(spec.credit), spec.amount)?;
                let at = Spending { day: CALENDAR.day(now).date(), by: SpentBy::Hold(spec.id) };
                self.spend(spec.debit, spec.kind, spec.amount, at)?;
                self.events.push(Event::Held(spec));
            }
            Action::Post(posting) => {
                let hold = self.hold(posting.hold)?;
                self.open(hold.id)?;
                self.in_time(&hold, now)?;
                let amount = posting.amount.unwrap_or(hold.amount);
                if amount.currency() != hold.amount.currency() {
                    return Err(Reject::CurrencyMismatch(hold.debit));
                }
                if amount.minor() > hold.amount.minor() {
                    return Err(Reject::AmountExceedsHold(hold.id));
                }
                self.events.push(Event::Ended(hold.id, Reject::HoldPosted(hold.id), amount.minor()));
                self.events.push(Event::Became(hold.id, id));
                return Ok(Some(self.moved(id, hold.debit, hold.credit, amount)));
            }
            Action::Refund(spec) => {
                let (debit, credit, paid, currency) = self.transfer(spec.of)?;
                if self.refunds().any(|(id, ..)| id == spec.of) {
                    return Err(Reject::NotRefundable(spec.of));
                }
                if spec.amount.currency() != currency {
                    return Err(Reject::CurrencyMismatch(debit));
                }
                let before: i128 =
                    self.refunds().filter(|(_, of, ..)| *of == spec.of).map(|(.., amount, _)| i128::from(amount)).sum();
                if before + i128::from(spec.amount.minor()) > i128::from(paid) {
                    return Err(Reject::RefundExceedsPayment(spec.of));
                }
                self.can_pay(credit, spec.amount)?;
                self.can_receive(debit, spec.amount)?;
                let (of, amount, limits) = (spec.of, spec.amount.minor(), spec.limits);
                self.events.push(Event::Refunded { id, of, amount, limits });
                return Ok(Some(self.moved(id, credit, debit, spec.amount)));
            }
            Action::Void(id) => {
                self.hold(id)?;
                self.open(id)?;
                self.events.push(Event::Ended(id, Reject::HoldVoided(id), 0));
            }
            Action::Expire(id) => {
                let hold = self.hold(id)?;
                self.open(id)?;
                if self.in_time(&hold, now).is_ok() {
                    return Err(Reject::HoldNotDue(id));
                }
                self.events.push(Event::Ended(id, Reject::HoldExpired(id), 0));
            }
            Action::Confirm(id) => {
                let hold = self.hold(id)?;
                self.open(id)?;
                self.in_time(&hold, now)?;
                self.events.push(Event::Asked(id));
            }
            Action::Freeze(id, freeze) => {
                self.account(id)?;
                self.not_closed(id)?;
                self.events.push(Event::Frozen(id, freeze));
            }
            Action::Close(id) => {
                self.account(id)?;
                self.not_closed(id)?;
                if (self.balance(id), self.held(id), self.promised(id)) != (0, 0, 0) {
                    return Err(Reject::AccountNotEmpty(id));
                }
                self.events.push(Event::Closed(id));
            }
            _ => unreachable!("the world has no other actions"),
        }
        Ok(None)
    }

    fn moved(&mut self, id: TransferId, debit: AccountId, credit: AccountId, amount: Money) -> Made {
        let (amount, currency) = (amount.minor(), amount.currency());
        self.events.push(Event::Moved { id, debit, credit, amount, currency });
        (id, self.balance(debit), self.balance(credit))
    }

    fn transfer(&self, wanted: TransferId) -> Result<(AccountId, AccountId, i64, Currency), Reject> {
        let found = self.events.iter().find_map(|event| match event {
            Event::Moved { id, debit, credit, amount, currency } if *id == wanted => {
                Some((*debit, *credit, *amount, *currency))
            }
            _ => None,
        });
        found.ok_or(Reject::TransferUnknown(wanted))
    }

    fn refunds(&self) -> impl Iterator<Item = (TransferId, TransferId, i64, UsedLimits)> {
        self.events.iter().filter_map(|event| match event {
            Event::Refunded { id, of, amount, limits } => Some((*id, *of, *amount, *limits)),
            _ => None,
        })
    }

    /// What refunds gave back of the limits that a transfer used.
    fn given_back(&self, wanted: TransferId) -> i128 {
        let of = self.refunds().filter(|(_, of, _, limits)| *of == wanted && *limits == UsedLimits::GivenBack);
        of.map(|(.., amount, _)| i128::from(amount)).sum()
    }

    /// The transfer that a hold became.
    fn became(&self, wanted: HoldId) -> Option<TransferId> {
        self.events.iter().find_map(|event| match event {
            Event::Became(hold, transfer) if *hold == wanted => Some(*transfer),
            _ => None,
        })
    }

    fn can_pay(&self, id: AccountId, amount: Money) -> Result<(), Reject> {
        let spec = self.account(id)?;
        if spec.currency != amount.currency() {
            return Err(Reject::CurrencyMismatch(id));
        }
        self.not_closed(id)?;
        if self.freeze(id).stops_out() {
            return Err(Reject::AccountFrozen(id));
        }
        let after = i128::from(self.balance(id)) - i128::from(self.held(id)) - i128::from(amount.minor());
        if after < i128::from(i64::MIN) {
            return Err(Reject::BalanceOverflow(id));
        }
        if spec.kind.floor == ledger::Floor::Zero && after < 0 {
            return Err(Reject::InsufficientFunds(id));
        }
        Ok(())
    }

    fn can_receive(&self, id: AccountId, amount: Money) -> Result<(), Reject> {
        let spec = self.account(id)?;
        if spec.currency != amount.currency() {
            return Err(Reject::CurrencyMismatch(id));
        }
        self.not_closed(id)?;
        if self.freeze(id).stops_in() {
            return Err(Reject::AccountFrozen(id));
        }
        let after = i128::from(self.balance(id)) + i128::from(self.promised(id)) + i128::from(amount.minor());
        if after > i128::from(i64::MAX) { Err(Reject::BalanceOverflow(id)) } else { Ok(()) }
    }

    fn has_room(&self, id: AccountId, reserved: i64, amount: Money) -> Result<(), Reject> {
        if reserved > i64::MAX - amount.minor() { Err(Reject::BalanceOverflow(id)) } else { Ok(()) }
    }

    fn account(&self, wanted: AccountId) -> Result<AccountSpec, Reject> {
        let spec = self.events.iter().find_map(|event| match event {
            Event::Opened(spec) if spec.id == wanted => Some(*spec),
            _ => None,
        });
        spec.ok_or(Reject::AccountUnknown(wanted))
    }

    fn not_closed(&self, wanted: AccountId) -> Result<(), Reject> {
        let closed = self.events.iter().any(|event| matches!(event, Event::Closed(id) if *id == wanted));
        if closed { Err(Reject::AccountClosed(wanted)) } else { Ok(()) }
    }

    fn freeze(&self, wanted: AccountId) -> Freeze {
        let last = self.events.iter().rev().find_map(|event| match event {
            Event::Frozen(id, freeze) if *id == wanted => Some(*freeze),
            _ => None,
        });
        last.unwrap_or_default()
    }

    fn hold(&self, wanted: HoldId) -> Result<HoldSpec, Reject> {
        self.holds().find(|hold| hold.id == wanted).ok_or(Reject::HoldUnknown(wanted))
    }

    fn holds(&self) -> impl Iterator<Item = HoldSpec> {
        self.events.iter().filter_map(|event| match event {
            Event::Held(spec) => Some(*spec),
            _ => None,
        })
    }

    fn open(&self, wanted: HoldId) -> Result<(), Reject> {
        self.ended(wanted).map_or(Ok(()), |(reject, _)| Err(reject))
    }

    /// How a hold ended, and what was posted of it.
    fn ended(&self, wanted: HoldId) -> Option<(Reject, i64)> {
        self.events.iter().find_map(|event| match event {
            Event::Ended(id, reject, posted) if *id == wanted => Some((*reject, *posted)),
            _ => None,
        })
    }

    fn in_time(&self, hold: &HoldSpec, now: DateTime<Utc>) -> Result<(), Reject> {
        let asked = self.events.iter().any(|event| matches!(event, Event::Asked(id) if *id == hold.id));
        let over = hold.expires_at.is_some_and(|expires_at| expires_at <= now);
        if over && !asked { Err(Reject::HoldExpired(hold.id)) } else { Ok(()) }
    }

    pub(crate) fn balance(&self, id: AccountId) -> i64 {
        let sides = self.events.iter().map(|event| match event {
            Event::Moved { debit, amount, .. } if *debit == id => -i128::from(*amount),
            Event::Moved { credit, amount, .. } if *credit == id => i128::from(*amount),
            _ => 0,
        });
        i64::try_from(sides.sum::<i128>()).expect("balances fit 64 bits")
    }

    pub(crate) fn held(&self, id: AccountId) -> i64 {
        self.holds().filter(|hold| hold.debit == id && self.open(hold.id).is_ok()).map(|hold| hold.amount.minor()).sum()
    }

    fn promised(&self, id: AccountId) -> i64 {
        self.holds()
            .filter(|hold| hold.credit == id && self.open(hold.id).is_ok())
            .map(|hold| hold.amount.minor())
            .sum()
    }

    pub(crate) fn accounts(&self) -> usize {
        self.events.iter().filter(|event| matches!(event, Event::Opened(_))).count()
    }
}
