//! What a request in hand has done so far: listed when it is granted, taken back when it is refused.

use crate::account::{Account, AccountId};
use crate::hold::{Hold, HoldId};
use crate::refund::Paid;
use crate::transfer::{Origin, TransferId};

use super::step::Step;
use super::{Entry, Fold};

/// How many notes back it is looked whether an account is noted already.
const LOOK_BACK: usize = 2;

/// How to take back one step of a request that was refused later.
pub(super) enum Undo {
    Account(AccountId, Option<Account>),
    Hold(HoldId, Option<Hold>),
    Paid(TransferId, Option<Paid>),
}

/// Where the effects stood before a request.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    pub(super) sequence: i64,
    pub(super) transfers: usize,
    pub(super) opened: usize,
    pub(super) holds_opened: usize,
    pub(super) changes: usize,
    pub(super) marks: usize,
    pub(super) refunds: usize,
}

impl Step<'_> {
    /// An account that is about to be changed; how it was is noted.
    pub(super) fn changing(&mut self, id: AccountId) -> &mut Account {
        let account = self.state.accounts.get_mut(&id).expect("the account was checked");
        // A transfer changes an account a few times in a row; how it was before the first is enough.
        let noted = |undo: &Undo| matches!(undo, Undo::Account(noted, Some(_)) if *noted == id);
        if !self.fold.undo.iter().rev().take(LOOK_BACK).any(noted) {
            self.fold.undo.push(Undo::Account(id, Some(account.clone())));
        }
        account
    }

    pub(super) fn change_hold(&mut self, id: HoldId, change: impl FnOnce(&mut Hold)) {
        let hold = self.state.holds.get_mut(&id).expect("the hold was checked");
        self.fold.undo.push(Undo::Hold(id, Some(hold.clone())));
        change(hold);
    }

    /// Lists what a granted request changed, and puts the request on its first transfer.
    pub(super) fn keep(&mut self, entry: &Entry<'_>) {
        let Fold { effects, undo, listed_accounts, listed_holds, .. } = &mut *self.fold;
        listed_accounts.extend(&effects.opened[self.mark.opened..]);
        listed_holds.extend(&effects.holds_opened[self.mark.holds_opened..]);
        for undo in undo.drain(..) {
            match undo {
                Undo::Account(id, _) if listed_accounts.insert(id) => effects.touched.push(id),
                Undo::Hold(id, _) if listed_holds.insert(id) => effects.holds_moved.push(id),
                _ => {}
            }
        }
        let made = effects.transfers.len() - self.mark.transfers;
        if let Some(first) = effects.transfers.get_mut(self.mark.transfers) {
            let transfers = i16::try_from(made).expect("a request has few actions");
            first.request = Origin::First { fingerprint: entry.fingerprint, transfers };
        }
    }

    /// Undoes everything a refused request did.
    pub(super) fn take_back(&mut self) {
        let (fold, state, mark) = (&mut *self.fold, &mut *self.state, self.mark);
        while let Some(undo) = fold.undo.pop() {
            match undo {
                Undo::Account(id, Some(before)) => {
                    state.accounts.insert(id, before);
                }
                Undo::Account(id, None) => {
                    state.accounts.remove(&id);
                }
                Undo::Hold(id, Some(before)) => {
                    state.holds.insert(id, before);
                }
                Undo::Hold(id, None) => {
                    state.holds.remove(&id);
                }
                Undo::Paid(id, Some(before)) => {
                    state.paid.insert(id, before);
                }
                Undo::Paid(id, None) => {
                    state.paid.remove(&id);
                }
            }
        }
        state.sequence = mark.sequence;
        fold.effects.transfers.truncate(mark.transfers);
        fold.effects.opened.truncate(mark.opened);
        fold.effects.holds_opened.truncate(mark.holds_opened);
        fold.effects.changes.truncate(mark.changes);
        fold.effects.marks.truncate(mark.marks);
        fold.effects.refunds.truncate(mark.refunds);
        fold.counted.truncate(mark.transfers);
    }
}
