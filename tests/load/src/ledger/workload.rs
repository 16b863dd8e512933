//! Who pays whom in each scenario, and what callers ask.

use std::sync::{Arc, LazyLock};

use clap::ValueEnum;
use futures::StreamExt as _;
use ledger::limit::{Class, Classes, Lift, Limit, Period};
use ledger::{
    AccountId, AccountKind, AccountSpec, Action, Currency, Floor, HoldId, HoldPosting, HoldSpec, Key, Ledger, Money,
    Outcome, Posting, Reject, Request, TransferKind,
};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use uuid::Uuid;

use crate::place::Places;

/// How many accounts there are.
pub(super) const ACCOUNTS: usize = 10_000;
/// What each account begins with, in đồng: more than a run spends.
pub(super) const FUNDS: i64 = 1_000_000_000_000;
/// Accounts opened by one request.
const OPENED_AT_ONCE: usize = 50;
/// Requests under way while accounts are opened or the journal is preloaded.
const UNDER_WAY: usize = 4_096;

const CUSTOMER: AccountKind = AccountKind { code: 1, name: "customer", floor: Floor::Zero };
const NOSTRO: AccountKind = AccountKind { code: 2, name: "nostro", floor: Floor::None };
const TOP_UP: TransferKind = TransferKind::new(1, "top_up");
const PAYMENT: TransferKind = TransferKind::new(2, "payment").spending(GOODS);

/// What payments count as.
const GOODS: Class = Class::new(1);
/// The limits that each payment must keep, above what a run spends: one payment, a day, a month.
const LIMITS: [(Period, i64); 3] = [(Period::Transaction, FUNDS), (Period::Day, FUNDS), (Period::Month, FUNDS)];

/// What clients take for idempotency keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Keys {
    /// UUIDv7, as the program's own.
    #[default]
    Time,
    /// UUIDv4, which come in no order.
    Random,
}

impl Keys {
    /// A new key.
    pub(super) fn one(self) -> Key {
        let id = if self == Self::Time { Uuid::now_v7() } else { Uuid::new_v4() };
        Key { caller: Uuid::nil(), operation: "load", key: id.to_string(), fingerprint: [0; 32] }
    }
}

/// Who pays whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Shape {
    /// Any two accounts.
    Uniform,
    /// A few accounts take part in most transfers.
    Zipf,
    /// Every transfer reaches one account.
    Hot,
    /// As uniform, with 5% that the rules refuse and 10% holds.
    Mixed,
}

impl Shape {
    pub(super) const ALL: [Self; 4] = [Self::Uniform, Self::Zipf, Self::Hot, Self::Mixed];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Zipf => "zipf",
            Self::Hot => "hot",
            Self::Mixed => "mixed",
        }
    }
}

/// The weights are worked out once for all callers.
static ZIPF: LazyLock<Places> = LazyLock::new(|| Places::zipf(ACCOUNTS));

/// Picks two different places among the accounts.
#[derive(Clone, Debug)]
pub(super) struct Pick {
    shape: Shape,
    random: StdRng,
    places: Places,
}

impl Pick {
    pub(super) fn new(shape: Shape, seed: usize) -> Self {
        let places = if shape == Shape::Zipf { ZIPF.clone() } else { Places::equal(ACCOUNTS) };
        Self { shape, random: StdRng::seed_from_u64(seed as u64), places }
    }

    /// Whose money goes to whom.
    pub(super) fn pair(&mut self) -> (usize, usize) {
        let credit = if self.shape == Shape::Hot { 0 } else { self.places.one(&mut self.random) };
        loop {
            let debit = self.places.one(&mut self.random);
            if debit != credit {
                return (debit, credit);
            }
        }
    }

    fn percent(&mut self) -> u32 {
        self.random.random_range(0..100)
    }
}

/// The accounts of a run.
#[derive(Clone, Debug)]
pub(super) struct Accounts {
    ids: Arc<[AccountId]>,
    /// Has nothing, so that the rules refuse what it pays.
    empty: AccountId,
}

impl Accounts {
    /// Opens and funds them.
    pub(super) async fn open(ledger: &Ledger<()>) -> anyhow::Result<Self> {
        let (nostro, empty) = (spec(NOSTRO), spec(CUSTOMER));
        post(ledger, Request::new(Keys::Time.one()).open(nostro).open(empty)).await?;
        let specs: Vec<AccountSpec> = (0..ACCOUNTS).map(|_| spec(CUSTOMER)).collect();
        let requests = specs.chunks(OPENED_AT_ONCE).map(|chunk| {
            let opened = chunk.iter().fold(Request::new(Keys::Time.one()), |request, spec| request.open(*spec));
            let funded = chunk.iter().fold(opened, |request, spec| {
                request.transfer(Posting { kind: TOP_UP, ..posting(nostro.id, spec.id, FUNDS) })
            });
            post(ledger, funded)
        });
        for answer in futures::future::join_all(requests).await {
            answer?;
        }
        Ok(Self { ids: specs.iter().map(|spec| spec.id).collect(), empty: empty.id })
    }
}

/// Fills the journal with transfers between any two accounts.
pub(super) async fn preload(
    ledger: &Ledger<()>,
    accounts: &Accounts,
    keys: Keys,
    transfers: u64,
) -> anyhow::Result<()> {
    let mut pick = Pick::new(Shape::Uniform, 0);
    let requests = (0..transfers).map(|_| {
        let (debit, credit) = pick.pair();
        post(ledger, payment(keys.one(), accounts.ids[debit], accounts.ids[credit]))
    });
    let mut answers = futures::stream::iter(requests).buffer_unordered(UNDER_WAY);
    while let Some(answer) = answers.next().await {
        answer?;
    }
    Ok(())
}

async fn post(ledger: &Ledger<()>, request: Request<()>) -> anyhow::Result<()> {
    match ledger.post(request).await? {
        Outcome::Posted(_) => Ok(()),
        Outcome::Rejected(reject) => anyhow::bail!("rejected: {reject}"),
    }
}

/// One caller: it asks, waits, and asks again.
#[derive(Debug)]
pub(super) struct Caller {
    ledger: Ledger<()>,
    accounts: Accounts,
    pick: Pick,
    keys: Keys,
    /// Its open hold, which it posts the next time.
    hold: Option<HoldId>,
}

impl Caller {
    pub(super) fn new(pick: Pick, keys: Keys, accounts: &Accounts, ledger: &Ledger<()>) -> Self {
        Self { ledger: ledger.clone(), accounts: accounts.clone(), pick, keys, hold: None }
    }

    pub(super) async fn ask(mut self) -> (Self, anyhow::Result<()>) {
        let request = self.next();
        let answer = match self.ledger.post(request).await {
            Ok(Outcome::Posted(_)) => Ok(()),
            Ok(Outcome::Rejected(Reject::InsufficientFunds(account))) if account == self.accounts.empty => Ok(()),
            Ok(Outcome::Rejected(reject)) => Err(anyhow::anyhow!("rejected: {reject}")),
            Err(error) => Err(error.into()),
        };
        (self, answer)
    }

    fn next(&mut self) -> Request<()> {
        let (debit, credit) = self.pick.pair();
        let (debit, credit) = (self.accounts.ids[debit], self.accounts.ids[credit]);
        let percent = if self.pick.shape == Shape::Mixed { self.pick.percent() } else { 100 };
        match percent {
            0..5 => payment(self.keys.one(), self.accounts.empty, credit),
            5..15 => Request::new(self.keys.one()).action(self.hold(debit, credit)).limits(limits(debit)),
            _ => payment(self.keys.one(), debit, credit),
        }
    }

    /// Sets an amount aside, or moves what was set aside the last time.
    fn hold(&mut self, debit: AccountId, credit: AccountId) -> Action {
        if let Some(hold) = self.hold.take() {
            return Action::Post(HoldPosting { hold, amount: None });
        }
        let id = HoldId::generate();
        self.hold = Some(id);
        let (amount, kind, reference) = (Money::vnd(1), PAYMENT, id.uuid());
        Action::Hold(HoldSpec { id, debit, credit, amount, kind, reference, expires_at: None })
    }
}

fn spec(kind: AccountKind) -> AccountSpec {
    AccountSpec { id: AccountId::generate(), owner: Uuid::now_v7(), kind, currency: Currency::Vnd }
}

/// One đồng from one account to another, within limits.
fn payment(key: Key, debit: AccountId, credit: AccountId) -> Request<()> {
    Request::new(key).transfer(posting(debit, credit, 1)).limits(limits(debit))
}

fn limits(account: AccountId) -> Vec<Limit> {
    let limit =
        |(period, maximum)| Limit { account, classes: Classes::of(&[GOODS]), period, maximum, lift: Lift::Never };
    LIMITS.into_iter().map(limit).collect()
}

fn posting(debit: AccountId, credit: AccountId, dong: i64) -> Posting {
    Posting { debit, credit, amount: Money::vnd(dong), kind: PAYMENT, reference: Uuid::now_v7() }
}
