//! A bank: accounts, and collections that a partner pulls from them.
//!
//! `http` holds the routes; the rules live here and are pure but for time and references that are passed in.
//!
//! A collection is `processing`, then `succeeded` or `failed`, for ever.
//! Invariant: a request id takes money at most once.
//! Invariant: at most [`MAX_ACCOUNTS`] accounts and [`MAX_COLLECTIONS`] collections; the oldest collection is forgotten
//! first, and its request id with it.

mod http;

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::journal::Journal;
use crate::money::Dong;

pub(crate) use self::http::routes;

/// Accounts that have [`OPENING_BALANCE`] at the start.
pub const RICH_ACCOUNTS: [&str; 9] = [
    "1000000001",
    "1000000002",
    "1000000003",
    "1000000004",
    "1000000005",
    "1000000006",
    "1000000007",
    "1000000008",
    "1000000009",
];
/// An account from which every collection fails for lack of funds.
pub const POOR_ACCOUNT: &str = "2000000001";
/// An account that its holder closed; collections from it fail.
pub const CLOSED_ACCOUNT: &str = "3000000001";
/// What each rich account holds at the start, in đồng.
pub const OPENING_BALANCE: i64 = 1_000_000_000_000;

/// Accounts the bank keeps at most.
pub(crate) const MAX_ACCOUNTS: usize = 100_000;
/// Collections the bank remembers at most.
pub(crate) const MAX_COLLECTIONS: usize = 200_000;

/// Whether an account takes part in payments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Standing {
    Open,
    Closed,
}

/// One customer's account.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Account {
    pub(crate) balance: Dong,
    pub(crate) standing: Standing,
}

/// Where a collection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Status {
    Processing,
    Succeeded,
    Failed,
}

/// Why a collection failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Reason {
    AccountUnknown,
    AccountClosed,
    InsufficientFunds,
}

/// What a partner asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) request_id: Uuid,
    pub(crate) account: String,
    pub(crate) amount: Dong,
    pub(crate) callback_url: reqwest::Url,
}

/// One collection.
#[derive(Clone, Debug)]
pub(crate) struct Collection {
    pub(crate) order: Order,
    pub(crate) bank_reference: String,
    pub(crate) status: Status,
    pub(crate) reason: Option<Reason>,
    pub(crate) requested_at: DateTime<Utc>,
    pub(crate) settled_at: Option<DateTime<Utc>>,
}

/// What became of an order.
#[derive(Debug)]
pub(crate) enum Acceptance {
    /// A new collection, still to be settled.
    New(Collection),
    /// The same order came before.
    Known(Collection),
    /// Another order came before with this request id.
    Conflict,
}

/// The bank's books.
#[derive(Debug)]
pub(crate) struct Bank {
    accounts: HashMap<String, Account>,
    collections: Journal<Collection>,
}

impl Bank {
    /// A bank with the accounts that the documentation names.
    pub(crate) fn new() -> Self {
        let open = |balance| Account { balance: Dong::new(balance), standing: Standing::Open };
        let mut accounts: HashMap<_, _> =
            RICH_ACCOUNTS.iter().map(|number| ((*number).to_owned(), open(OPENING_BALANCE))).collect();
        accounts.insert(POOR_ACCOUNT.to_owned(), open(0));
        let closed = Account { balance: Dong::new(OPENING_BALANCE), standing: Standing::Closed };
        accounts.insert(CLOSED_ACCOUNT.to_owned(), closed);
        Self { accounts, collections: Journal::new(MAX_COLLECTIONS) }
    }

    /// Takes an order in, once per request id. No money moves yet.
    pub(crate) fn accept(&mut self, order: Order, bank_reference: String, now: DateTime<Utc>) -> Acceptance {
        if let Some(known) = self.collection(order.request_id) {
            return if known.order == order { Acceptance::Known(known.clone()) } else { Acceptance::Conflict };
        }
        let collection = Collection {
            order,
            bank_reference,
            status: Status::Processing,
            reason: None,
            requested_at: now,
            settled_at: None,
        };
        self.collections.add(collection.order.request_id, collection.clone());
        Acceptance::New(collection)
    }

    /// Debits the account of a collection that is processing; changes nothing when it was settled before.
    ///
    /// `None` when there is no such collection.
    pub(crate) fn settle(&mut self, request_id: Uuid, now: DateTime<Utc>) -> Option<Collection> {
        let collection = self.collections.get_mut(request_id)?;
        if collection.status == Status::Processing {
            collection.settled_at = Some(now);
            match debit(self.accounts.get_mut(&collection.order.account), collection.order.amount) {
                Ok(()) => collection.status = Status::Succeeded,
                Err(reason) => {
                    collection.status = Status::Failed;
                    collection.reason = Some(reason);
                }
            }
        }
        Some(collection.clone())
    }

    /// The collection with that request id.
    pub(crate) fn collection(&self, request_id: Uuid) -> Option<&Collection> {
        self.collections.get(request_id)
    }

    /// The account with that number.
    pub(crate) fn account(&self, number: &str) -> Option<Account> {
        self.accounts.get(number).copied()
    }

    /// Opens an account or replaces it; `false` when there is no room for another.
    pub(crate) fn put_account(&mut self, number: String, account: Account) -> bool {
        if self.accounts.len() == MAX_ACCOUNTS && !self.accounts.contains_key(&number) {
            return false;
        }
        self.accounts.insert(number, account);
        true
    }
}

fn debit(account: Option<&mut Account>, amount: Dong) -> Result<(), Reason> {
    let account = account.ok_or(Reason::AccountUnknown)?;
    if account.standing == Standing::Closed {
        return Err(Reason::AccountClosed);
    }
    account.balance = account.balance.less(amount).ok_or(Reason::InsufficientFunds)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(id: u128, account: &str, amount: i64) -> Order {
        Order {
            request_id: Uuid::from_u128(id),
            account: account.to_owned(),
            amount: Dong::new(amount),
            callback_url: "http://localhost/back".parse().expect("a URL"),
        }
    }

    fn balance(bank: &Bank, account: &str) -> i64 {
        bank.account(account).expect("exists").balance.amount()
    }

    #[test]
    fn a_request_takes_money_once() {
        let (mut bank, now) = (Bank::new(), Utc::now());
        let wanted = order(1, "1000000001", 500);
        assert!(matches!(bank.accept(wanted.clone(), "A".into(), now), Acceptance::New(_)));
        assert_eq!(balance(&bank, "1000000001"), OPENING_BALANCE);
        for _ in 0..3 {
            let settled = bank.settle(wanted.request_id, now).expect("known");
            assert_eq!(settled.status, Status::Succeeded);
        }
        assert_eq!(balance(&bank, "1000000001"), OPENING_BALANCE - 500);
        let again = bank.accept(wanted, "B".into(), now);
        assert!(matches!(again, Acceptance::Known(known) if known.bank_reference == "A"));
        assert!(matches!(bank.accept(order(1, "1000000001", 501), "C".into(), now), Acceptance::Conflict));
    }

    #[test]
    fn a_failed_collection_takes_nothing_and_says_why() {
        let (mut bank, now) = (Bank::new(), Utc::now());
        for (id, account, reason) in [
            (1, POOR_ACCOUNT, Reason::InsufficientFunds),
            (2, CLOSED_ACCOUNT, Reason::AccountClosed),
            (3, "9999999999", Reason::AccountUnknown),
        ] {
            bank.accept(order(id, account, 1), "R".into(), now);
            let settled = bank.settle(Uuid::from_u128(id), now).expect("known");
            assert_eq!((settled.status, settled.reason), (Status::Failed, Some(reason)));
        }
        assert_eq!(balance(&bank, CLOSED_ACCOUNT), OPENING_BALANCE);
    }
}
