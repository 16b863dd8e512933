//! What a poster and those who drive it say to each other: one line per request, one line per answer.
//!
//! ```text
//! KEY move DEBIT CREDIT AMOUNT      one transfer
//! KEY hold DEBIT CREDIT AMOUNT      a hold that is voided again in the same request
//! KEY spend DEBIT CREDIT AMOUNT MAX one transfer, unless the debited account then spent more than MAX in the month
//! KEY posted SEQUENCE …             the answer, one sequence and both balances per transfer
//! KEY rejected CODE
//! KEY again CODE                    no answer yet: ask again
//! ```
//!
//! A request is made of its line alone, so that whoever asks again asks the same.

use anyhow::{Context as _, Result, bail};
use ledger::limit::{Class, Classes, Lift, Limit, Period};
use ledger::{
    AccountId, AccountKind, AccountSpec, Action, Currency, Floor, HoldId, HoldSpec, Key, Money, Outcome, Posting,
    Request, TransferKind,
};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// Somebody's wallet; it can't go below zero.
pub const CUSTOMER: AccountKind = AccountKind { code: 1, name: "customer", floor: Floor::Zero };
/// Where money comes from.
pub const NOSTRO: AccountKind = AccountKind { code: 2, name: "nostro", floor: Floor::None };
/// Transfers that no limit counts.
pub const PAYMENT: TransferKind = TransferKind::new(1, "payment");
/// Transfers that count for limits.
pub const PURCHASE: TransferKind = TransferKind::new(2, "purchase").spending(Class::new(1));
/// What purchases count as.
pub const SPENDING: Classes = Classes::of(&[Class::new(1)]);

/// What a poster says once it takes requests.
pub const READY: &str = "ready";

/// An account of a kind.
#[must_use]
pub fn account(kind: AccountKind) -> AccountSpec {
    AccountSpec { id: AccountId::generate(), owner: Uuid::now_v7(), kind, currency: Currency::Vnd }
}

/// A transfer.
#[must_use]
pub fn posting(sides: (AccountId, AccountId), dong: i64) -> Posting {
    let (debit, credit) = sides;
    Posting { debit, credit, amount: Money::vnd(dong), kind: PAYMENT, reference: Uuid::nil() }
}

/// The key of a request.
#[must_use]
pub fn key(text: &str) -> Key {
    Key {
        caller: Uuid::nil(),
        operation: "faults",
        key: text.to_owned(),
        fingerprint: Sha256::digest(text.as_bytes()).into(),
    }
}

fn derived(what: &str, key: &str) -> Uuid {
    let hash = Sha256::new().chain_update(what).chain_update([0]).chain_update(key).finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// The request of a line, and its key's text.
///
/// # Errors
/// When the line is none of ours.
pub fn request(line: &str) -> Result<(String, Request<()>)> {
    let words: Vec<&str> = line.split(' ').collect();
    let [name, what, debit, credit, dong, limit @ ..] = words.as_slice() else { bail!("not a request: {line}") };
    let sides = (debit.parse().context("debit")?, credit.parse().context("credit")?);
    let posting = posting(sides, dong.parse().context("amount")?);
    let request = Request::new(key(name));
    let request = match (*what, limit) {
        ("move", []) => request.transfer(posting),
        ("spend", [maximum]) => {
            let (account, maximum) = (posting.debit, maximum.parse().context("limit")?);
            let limit = Limit { account, classes: SPENDING, period: Period::Month, maximum, lift: Lift::Never };
            request.transfer(Posting { kind: PURCHASE, ..posting }).limits(vec![limit])
        }
        ("hold", []) => {
            let id = HoldId::from(derived("hold", name));
            let Posting { debit, credit, amount, kind, reference, .. } = posting;
            let spec = HoldSpec { id, debit, credit, amount, kind, reference, expires_at: None };
            request.action(Action::Hold(spec)).action(Action::Void(id))
        }
        _ => bail!("not a request: {line}"),
    };
    Ok(((*name).to_owned(), request))
}

/// An answer in words; the same answer is the same words.
#[must_use]
pub fn words(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Rejected(reject) => format!("rejected {}", reject.code()),
        Outcome::Posted(made) => made.iter().fold("posted".to_owned(), |words, posted| {
            let (debit, credit) = (posted.debit_balance.minor(), posted.credit_balance.minor());
            format!("{words} {} {debit} {credit}", posted.sequence)
        }),
    }
}
