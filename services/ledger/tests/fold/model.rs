//! The model: it keeps events only, and adds them up anew for every question.

use chrono::{DateTime, Utc};
use ledger::fold::Verdict;
use ledger::hold::HoldSpec;
use ledger::transfer::{Fingerprint, RequestKey};
use ledger::{AccountId, AccountSpec, Action, Freeze, HoldId, Money, Outcome, Refusals, Reject, TransferId};

use crate::world::Asked;

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
    Moved { debit: AccountId, credit: AccountId, amount: i64 },
    Held(HoldSpec),
    Asked(HoldId),
    Ended(HoldId, Reject),
    Frozen(AccountId, Freeze),
    Closed(AccountId),
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
        } else if asked.refusals == Refusals::Forgotten {
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
        for action in &asked.actions {
            let place = u16::try_from(made.len()).expect("few actions");
            made.extend(self.try_one(action, asked.key.transfer(place), now)?);
        }
        Ok(made)
    }

    fn try_one(&mut self, action: &Action, id: TransferId, now: DateTime<Utc>) -> Result<Option<Made>, Reject> {
        match *action {
            Action::Transfer(posting) => {
                self.can_pay(posting.debit, posting.amount)?;
                self.can_receive(posting.credit, posting.amount)?;
                return Ok(Some(self.moved(id, posting.debit, posting.credit, posting.amount.minor())));
            }
            Action::Hold(spec) => {
                if self.hold(spec.id).is_ok() {
                    return Err(Reject::HoldExists(spec.id));
                }
                self.can_pay(spec.debit, spec.amount)?;
                self.has_room(spec.debit, self.held(spec.debit), spec.amount)?;
                self.can_receive(spec.credit, spec.amount)?;
                self.has_room(spec.credit, self.promised(spec.credit), spec.amount)?;
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
                self.events.push(Event::Ended(hold.id, Reject::HoldPosted(hold.id)));
                return Ok(Some(self.moved(id, hold.debit, hold.credit, amount.minor())));
            }
            Action::Void(id) => {
                self.hold(id)?;
                self.open(id)?;
                self.events.push(Event::Ended(id, Reject::HoldVoided(id)));
            }
            Action::Expire(id) => {
                let hold = self.hold(id)?;
                self.open(id)?;
                if self.in_time(&hold, now).is_ok() {
                    return Err(Reject::HoldNotDue(id));
                }
                self.events.push(Event::Ended(id, Reject::HoldExpired(id)));
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

    fn moved(&mut self, id: TransferId, debit: AccountId, credit: AccountId, amount: i64) -> Made {
        self.events.push(Event::Moved { debit, credit, amount });
        (id, self.balance(debit), self.balance(credit))
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
        let ended = self.events.iter().find_map(|event| match event {
            Event::Ended(id, reject) if *id == wanted => Some(*reject),
            _ => None,
        });
        ended.map_or(Ok(()), Err)
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
