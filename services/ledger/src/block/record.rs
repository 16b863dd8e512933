//! What a block seals beside transfers, and the leaf of each.

use uuid::Uuid;

use super::bytes::Bytes;
use super::{Hash, leaf_hash};
use crate::account::{Account, AccountChange};
use crate::fold::StoredRequest;
use crate::hold::{Ending, Hold};
use crate::limit::Class;
use crate::refund::Refund;

/// What a block seals beside transfers. The order of the variants is the order of the leaves; within one, the order is that of the ids (or of the changes).
#[derive(Clone, Copy, Debug)]
pub enum Record<'a> {
    /// The block's salt comes first: without it, whoever holds a receipt from the block could try out what the other records are.
    Salt(Uuid),
    /// A kind of account was named.
    AccountKind(i16, &'a str),
    /// A kind of transfer was named.
    TransferKind(i16, &'a str, Option<Class>),
    /// An account was opened.
    AccountOpened(&'a Account),
    /// An account was frozen, unfrozen or closed; with its place among the block's changes, from 1.
    AccountChanged(i32, &'a AccountChange),
    /// A hold was opened.
    HoldOpened(&'a Hold),
    /// An outside party was about to be asked about a hold.
    HoldConfirming(&'a Hold),
    /// A hold ended.
    HoldEnded(&'a Hold),
    /// A transfer gave back money of an earlier one.
    Refund(&'a Refund),
    /// A request that made no transfer was answered.
    Request(&'a StoredRequest),
}

impl Record<'_> {
    /// The leaf of this record in `block`.
    pub fn leaf(&self, shard: i16, block: i64) -> Hash {
        let tag = match self {
            Self::Salt(_) => b'N',
            Self::AccountKind(..) => b'K',
            Self::TransferKind(..) => b'k',
            Self::AccountOpened(_) => b'A',
            Self::AccountChanged(..) => b'a',
            Self::HoldOpened(_) => b'H',
            Self::HoldConfirming(_) => b'h',
            Self::HoldEnded(_) => b'E',
            Self::Refund(_) => b'r',
            Self::Request(_) => b'R',
        };
        let mut bytes = Bytes::new(tag, shard);
        bytes.long(block);
        match self {
            Self::Salt(salt) => bytes.id(*salt),
            Self::AccountKind(code, name) => bytes.short(*code).text(name),
            Self::TransferKind(code, name, class) => bytes.short(*code).class(*class).text(name),
            Self::AccountOpened(account) => bytes.account(account),
            Self::AccountChanged(ordinal, change) => bytes
                .long(i64::from(*ordinal))
                .id(change.account.uuid())
                .short(change.freeze.number())
                .short(i16::from(change.closed)),
            Self::HoldOpened(hold) => bytes.hold(hold),
            Self::HoldConfirming(hold) => bytes.id(hold.id.uuid()).optional_time(hold.confirming.map(|stamp| stamp.at)),
            Self::HoldEnded(hold) => bytes.ending(hold),
            Self::Refund(refund) => {
                bytes.long(refund.sequence).id(refund.of.uuid()).long(refund.amount).class(refund.class)
            }
            Self::Request(request) => bytes.request(request),
        };
        leaf_hash(&bytes.0)
    }
}

impl Bytes {
    fn account(&mut self, account: &Account) -> &mut Self {
        self.id(account.id.uuid())
            .id(account.owner)
            .short(account.kind)
            .short(account.currency.numeric())
            .optional_long(account.floor)
            .time(account.opened_at)
    }

    fn hold(&mut self, hold: &Hold) -> &mut Self {
        self.id(hold.id.uuid())
            .id(hold.debit.uuid())
            .id(hold.credit.uuid())
            .long(hold.amount)
            .short(hold.currency.numeric())
            .short(hold.kind)
            .class(hold.class)
            .id(hold.reference)
            .optional_time(hold.expires_at)
            .time(hold.opened.at)
    }

    fn ending(&mut self, hold: &Hold) -> &mut Self {
        self.id(hold.id.uuid()).optional_time(hold.ended.map(|(_, stamp)| stamp.at));
        match hold.ended.map(|(ending, _)| ending) {
            Some(Ending::Posted { transfer, amount }) => self.short(1).id(transfer.uuid()).long(amount),
            Some(Ending::Voided) => self.short(2),
            Some(Ending::Expired) => self.short(3),
            None => self.short(0),
        }
    }

    fn request(&mut self, request: &StoredRequest) -> &mut Self {
        self.id(request.key.0).long(request.fingerprint.0);
        match request.reject {
            Some(reject) => self.short(1).id(reject.subject()).text(reject.code()),
            None => self.short(0),
        }
    }
}
