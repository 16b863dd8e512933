//! What callers ask of the ledger and what it answers.
//!
//! Pure: no I/O. A request is all or nothing: its actions are linked, and its rider takes effect only when they all hold.

mod reject;

use chrono::{DateTime, Utc};
use sha2::{Digest as _, Sha256};
use uuid::fmt::Hyphenated;
use uuid::{Uuid, Version};

pub use self::reject::Reject;
use crate::account::{AccountId, AccountSpec, Freeze};
use crate::hold::{HoldId, HoldPosting, HoldSpec};
use crate::limit::Limit;
use crate::money::Money;
use crate::refund::RefundSpec;
use crate::transfer::{Fingerprint, Front, Posting, RequestKey, TransferId, front_of, uuid_of};

/// The most actions in one request.
pub const MAX_ACTIONS: usize = 256;
/// The most accounts that one request opens.
pub const MAX_OPENINGS: usize = 64;
/// The most limits that one request brings.
pub const MAX_LIMITS: usize = 32;
/// The most bytes of an idempotency key.
pub const MAX_KEY_BYTES: usize = 255;

/// (caller, operation, idempotency key) and the fingerprint of what is asked.
///
/// Equal keys get the same answer; an equal key with another fingerprint is a conflict.
/// The fingerprint is of the client's own words, never of balances or anything else that changes by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Who asks: a user, a merchant, a saga.
    pub caller: Uuid,
    /// Which operation.
    pub operation: &'static str,
    /// The caller's idempotency key: 1 to 255 bytes.
    pub key: String,
    /// SHA-256 of what is asked.
    pub fingerprint: [u8; 32],
}

impl Key {
    /// The key as the ledger stores it: the start of its hash, after the time of the client's key if that is a UUIDv7.
    pub fn request_key(&self) -> RequestKey {
        let hash = Sha256::new()
            .chain_update(self.caller.as_bytes())
            .chain_update((self.operation.len() as u64).to_be_bytes())
            .chain_update(self.operation.as_bytes())
            .chain_update(self.key.as_bytes());
        RequestKey(uuid_of(hash, self.time()))
    }

    /// The time of the client's key, if that is a UUIDv7.
    fn time(&self) -> Option<Front> {
        let is_plain = self.key.len() == Hyphenated::LENGTH;
        let id = is_plain.then(|| Uuid::try_parse(&self.key).ok()).flatten()?;
        (id.get_version() == Some(Version::SortRand)).then(|| front_of(id))
    }

    /// The id of the transfer that a request with this key makes at `place`, counted from 0.
    pub fn transfer(&self, place: u16) -> TransferId {
        self.request_key().transfer(place)
    }

    /// The fingerprint as the ledger stores it.
    pub fn stored_fingerprint(&self) -> Fingerprint {
        let mut first = [0; 8];
        first.copy_from_slice(&self.fingerprint[..8]);
        Fingerprint(i64::from_be_bytes(first))
    }
}

/// One step of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Moves money at once.
    Transfer(Posting),
    /// Sets an amount aside.
    Hold(HoldSpec),
    /// Moves what a hold set aside, all or part; the rest is given back.
    Post(HoldPosting),
    /// Gives back what a hold set aside.
    Void(HoldId),
    /// Says that an outside party is about to be asked about a hold, which from now on doesn't expire.
    Confirm(HoldId),
    /// Gives back what a hold set aside because its time is over.
    Expire(HoldId),
    /// Gives back what a transfer moved, all or part.
    Refund(RefundSpec),
    /// Sets which way money may not move on an account.
    Freeze(AccountId, Freeze),
    /// Closes an empty account for good.
    Close(AccountId),
}

/// Whether a refusal by a rule of business is the final answer to its key.
///
/// One that asks for a proof ([`Reject::ProofRequired`]) never is: the proof names the key, and the same request comes again with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Refusals {
    /// It is: an equal request is refused again, whatever has changed. What people ask.
    #[default]
    Remembered,
    /// It leaves no trace, and the same request may be granted later. For money that has moved outside already and must arrive in the end.
    /// A rider is not told of it.
    Forgotten,
}

impl Refusals {
    /// Whether this refusal is remembered.
    pub(crate) fn remember(self, reject: Reject) -> bool {
        self == Self::Remembered && !matches!(reject, Reject::ProofRequired(_))
    }
}

/// What a caller asks: accounts to open, then actions in order, all or nothing.
#[derive(Clone, Debug)]
pub struct Request<R> {
    /// Who asks what, once.
    pub key: Key,
    /// Accounts to open first; those that are there already are left as they are.
    pub open: Vec<AccountSpec>,
    /// The steps, in order; they stand or fall together.
    pub actions: Vec<Action>,
    /// What the caller writes in the same transaction.
    pub rider: Option<R>,
    /// Whether a refusal is remembered.
    pub refusals: Refusals,
    /// What it must not spend more than, asked in this order after its steps.
    pub limits: Vec<Limit>,
}

impl<R> Request<R> {
    /// A request that asks for nothing yet.
    pub fn new(key: Key) -> Self {
        Self {
            key,
            open: Vec::new(),
            actions: Vec::new(),
            rider: None,
            refusals: Refusals::Remembered,
            limits: Vec::new(),
        }
    }

    /// Opens an account first.
    #[must_use]
    pub fn open(mut self, spec: AccountSpec) -> Self {
        self.open.push(spec);
        self
    }

    /// Adds a step.
    #[must_use]
    pub fn action(mut self, action: Action) -> Self {
        self.actions.push(action);
        self
    }

    /// Adds a transfer.
    #[must_use]
    pub fn transfer(self, posting: Posting) -> Self {
        self.action(Action::Transfer(posting))
    }

    /// Attaches what the caller writes in the same transaction.
    #[must_use]
    pub fn rider(mut self, rider: R) -> Self {
        self.rider = Some(rider);
        self
    }

    /// Sets the limits that it must keep.
    #[must_use]
    pub fn limits(mut self, limits: Vec<Limit>) -> Self {
        self.limits = limits;
        self
    }

    /// Leaves no trace of a refusal.
    #[must_use]
    pub fn forget_refusal(mut self) -> Self {
        self.refusals = Refusals::Forgotten;
        self
    }

    /// Whether the request makes sense whatever the books say.
    ///
    /// # Errors
    /// Names what is wrong; such a request is never queued.
    pub fn check(&self) -> Result<(), Invalid> {
        if self.key.key.is_empty() || self.key.key.len() > MAX_KEY_BYTES {
            return Err(Invalid::Key);
        }
        if self.open.len() > MAX_OPENINGS || self.actions.len() > MAX_ACTIONS || self.limits.len() > MAX_LIMITS {
            return Err(Invalid::TooLarge);
        }
        if self.open.is_empty() && self.actions.is_empty() {
            return Err(Invalid::Empty);
        }
        self.actions.iter().try_for_each(check_action)
    }
}

fn check_action(action: &Action) -> Result<(), Invalid> {
    let check = |debit: AccountId, credit: AccountId, amount: Money| {
        if debit == credit {
            return Err(Invalid::SameAccount);
        }
        if amount.is_positive() { Ok(()) } else { Err(Invalid::Amount) }
    };
    match action {
        Action::Transfer(posting) => check(posting.debit, posting.credit, posting.amount),
        Action::Hold(hold) => check(hold.debit, hold.credit, hold.amount),
        Action::Refund(refund) if !refund.amount.is_positive() => Err(Invalid::Amount),
        Action::Refund(refund) if refund.kind.class.is_some() => Err(Invalid::Kind),
        Action::Post(HoldPosting { amount: Some(amount), .. }) if !amount.is_positive() => Err(Invalid::Amount),
        _ => Ok(()),
    }
}

/// Why a request makes no sense whatever the books say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// The idempotency key is empty or too long.
    #[error("the idempotency key must have 1 to {MAX_KEY_BYTES} bytes")]
    Key,
    /// Nothing is asked.
    #[error("the request asks for nothing")]
    Empty,
    /// Too many actions, openings or limits.
    #[error("the request is larger than {MAX_ACTIONS} actions, {MAX_OPENINGS} openings or {MAX_LIMITS} limits")]
    TooLarge,
    /// Money would go from an account to itself.
    #[error("debit and credit are the same account")]
    SameAccount,
    /// A kind's code, name or class is not what it was before, its name is not plain, or that of a refund spends.
    #[error("a kind has one code, one plain name and one class, and a refund's none")]
    Kind,
    /// An amount of zero or less.
    #[error("an amount must be greater than zero")]
    Amount,
}

/// The final answer to a request; the ledger remembers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything was done; one entry per transfer that was made, in order (transfers and posted holds).
    Posted(Vec<Posted>),
    /// Nothing was done: a rule of business refused it.
    Rejected(Reject),
}

/// An outcome, and whether it is that of an earlier equal request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The outcome.
    pub outcome: Outcome,
    /// Whether an earlier request with this key had brought it about.
    pub replayed: bool,
}

/// One transfer that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Posted {
    /// Its id.
    pub transfer: TransferId,
    /// Its place in the journal.
    pub sequence: i64,
    /// The block that seals it.
    pub block: i64,
    /// The debited account's balance after it.
    pub debit_balance: Money,
    /// The credited account's balance after it.
    pub credit_balance: Money,
    /// When it was posted.
    pub posted_at: DateTime<Utc>,
}
