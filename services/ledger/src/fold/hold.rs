//! The steps that holds take in the fold: opened, posted, confirming, given back.

use crate::hold::{Ending, Hold, HoldId, HoldPosting, HoldSpec};
use crate::money::Money;
use crate::request::Reject;

use super::movement::Movement;
use super::step::Step;
use super::undo::Undo;

impl Step<'_> {
    pub(super) fn hold(&mut self, spec: &HoldSpec) -> Result<(), Reject> {
        if self.state.holds.contains_key(&spec.id) {
            return Err(Reject::HoldExists(spec.id));
        }
        self.known_account(spec.debit)?.may_hold(spec.amount)?;
        self.known_account(spec.credit)?.may_be_promised(spec.amount)?;
        self.spend(spec.debit, spec.kind.class, spec.amount.minor())?;
        self.changing(spec.debit).held += spec.amount.minor();
        self.changing(spec.credit).promised += spec.amount.minor();
        self.state.holds.insert(spec.id, Hold::open(spec, self.stamp()));
        self.fold.undo.push(Undo::Hold(spec.id, None));
        self.fold.effects.holds_opened.push(spec.id);
        Ok(())
    }

    pub(super) fn post(&mut self, posting: &HoldPosting) -> Result<(), Reject> {
        let hold = self.known_hold(posting.hold)?.clone();
        let amount = hold.may_post(posting.amount, self.stamp().at)?;
        self.give_back(hold.id, Ending::Posted { transfer: self.next_transfer(), amount });
        let row = Movement {
            debit: hold.debit,
            credit: hold.credit,
            amount: Money::from_minor(amount, hold.currency),
            kind: hold.kind,
            reference: hold.reference,
            counted: (hold.class, hold.opened.at),
        };
        self.move_money(row);
        Ok(())
    }

    pub(super) fn confirm(&mut self, id: HoldId) -> Result<(), Reject> {
        let stamp = self.stamp();
        self.known_hold(id)?.may_confirm(stamp.at)?;
        self.change_hold(id, |hold| {
            hold.confirming.get_or_insert(stamp);
        });
        Ok(())
    }

    /// Ends a hold and releases what it set aside; what is not posted of it was not spent.
    pub(super) fn give_back(&mut self, id: HoldId, ending: Ending) {
        let (stamp, calendar) = (self.stamp(), self.fold.calendar);
        let hold = &self.state.holds[&id];
        let (debit, credit, amount) = (hold.debit, hold.credit, hold.amount);
        let (class, opened) = (hold.class, hold.opened.at);
        let posted = match ending {
            Ending::Posted { amount, .. } => amount,
            Ending::Voided | Ending::Expired => 0,
        };
        self.change_hold(id, |hold| hold.ended = Some((ending, stamp)));
        let account = self.changing(debit);
        account.held -= amount;
        if let Some(class) = class {
            account.usage.give_back(class, calendar.day(opened), amount - posted);
        }
        self.changing(credit).promised -= amount;
    }

    pub(super) fn known_hold(&self, id: HoldId) -> Result<&Hold, Reject> {
        self.state.holds.get(&id).ok_or(Reject::HoldUnknown(id))
    }
}
