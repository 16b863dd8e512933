//! Whose money stands where in the ledger: account ids derived from their owners, kinds of accounts and of transfers.
//!
//! Ids are derived, never looked up: a posting names the accounts of both sides and opens those that are not there yet.

use ledger::money::{Currency, Money};
use ledger::{AccountId, AccountKind, AccountSpec, Floor, TransferId, TransferKind};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::allowance::Expense;
use crate::city::{BillerKind, Kind, Proof};
use crate::limit;
use crate::merchant::MerchantId;

/// The one currency of the wallet.
pub(crate) const CURRENCY: Currency = Currency::Vnd;

/// A citizen's wallet.
const CITIZEN: AccountKind = AccountKind { code: 1, name: "citizen", floor: Floor::Zero };
/// What the city owes a merchant.
const MERCHANT: AccountKind = AccountKind { code: 2, name: "merchant", floor: Floor::Zero };
/// Our money at a bank, seen from the bank: it goes below zero as money comes in.
const NOSTRO: AccountKind = AccountKind { code: 3, name: "nostro", floor: Floor::None };

/// What the city owes a biller.
const BILLER: AccountKind = AccountKind { code: 4, name: "biller", floor: Floor::Zero };

/// Money from a bank account into a wallet.
pub(crate) const TOP_UP: TransferKind = TransferKind::new(1, "top_up");
/// A citizen pays a merchant.
pub(crate) const PAYMENT: TransferKind = TransferKind::new(2, "payment").spending(limit::GOODS);

/// A merchant gives a payment's money back, all or part.
pub(crate) const REFUND: TransferKind = TransferKind::new(3, "refund");

/// A citizen pays a bill of a utility.
pub(crate) const BILL: TransferKind = TransferKind::new(4, "bill").spending(limit::ESSENTIAL);

/// A citizen pays the fee of a public service. Essential as a bill is: the rules name the public-service portal in that class.
pub(crate) const FEE: TransferKind = TransferKind::new(5, "fee").spending(limit::ESSENTIAL);

/// What the city owes a merchant goes to its owner, when the merchant is closed.
pub(crate) const PAYOUT: TransferKind = TransferKind::new(6, "payout");

/// Every kind of transfer that the wallet makes, with its name in HTTP, gRPC and events.
const KIND_NAMES: [(TransferKind, &str); 6] =
    [(TOP_UP, "top-up"), (PAYMENT, "payment"), (REFUND, "refund"), (BILL, "bill"), (FEE, "fee"), (PAYOUT, "payout")];

/// The name of a kind in HTTP, gRPC and events.
pub(crate) fn kind_name(code: i16) -> Option<&'static str> {
    KIND_NAMES.into_iter().find(|(kind, _)| kind.code == code).map(|(_, name)| name)
}

/// The wallet of a citizen.
pub(crate) fn citizen(user: Uuid) -> AccountSpec {
    spec("citizen", user, CITIZEN)
}

/// What the city owes a merchant.
pub(crate) fn merchant(merchant: MerchantId) -> AccountSpec {
    spec("merchant", merchant.uuid(), MERCHANT)
}

/// Our account at a bank.
pub(crate) fn nostro(bank_code: &str) -> AccountSpec {
    spec("nostro", derive("bank", bank_code.as_bytes()), NOSTRO)
}

/// What the city owes a biller.
pub(crate) fn biller(biller_code: &str) -> AccountSpec {
    spec("biller", derive("biller", biller_code.as_bytes()), BILLER)
}

/// As what the payment of a bill is booked. Fees that were paid before they had a kind of their own are booked as bills, and stay so.
pub(crate) fn kind_of_bill(kind: BillerKind) -> TransferKind {
    match kind {
        BillerKind::Electricity | BillerKind::Water => BILL,
        BillerKind::Fee => FEE,
    }
}

/// A bill or a fee as the rules see it: essential.
pub(crate) fn bill_expense(amount: Money, proved: Option<Proof>) -> Expense {
    Expense { kind: Kind::Goods, class: limit::ESSENTIAL, amount, proved }
}

/// The id of the event that a transfer is.
pub(crate) fn event_of_transfer(transfer: TransferId) -> Uuid {
    derive("transfer-event", transfer.uuid().as_bytes())
}

fn spec(noun: &str, owner: Uuid, kind: AccountKind) -> AccountSpec {
    AccountSpec { id: AccountId::from(derive(noun, owner.as_bytes())), owner, kind, currency: CURRENCY }
}

/// A UUIDv8 (RFC 9562, section 5.8): the first 122 bits of a SHA-256 over noun and name.
fn derive(noun: &str, name: &[u8]) -> Uuid {
    let digest =
        Sha256::new().chain_update("trangtien\0").chain_update(noun).chain_update([0]).chain_update(name).finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::{KIND_NAMES, biller, citizen, kind_name, merchant, nostro};
    use crate::merchant::MerchantId;

    #[test]
    fn derived_ids_never_change_their_meaning() {
        // Written down once: books that exist depend on them.
        assert_eq!(citizen(Uuid::nil()).id.to_string(), "9cf6cd55-bd08-874b-890e-e7c550ff7ee9");
    }

    #[test]
    fn nouns_keep_ids_apart() {
        let one = Uuid::from_u128(1);
        assert_ne!(citizen(one).id, merchant(MerchantId::from(one)).id);
        assert_ne!(nostro("VCB").id, nostro("ACB").id);
        assert_ne!(nostro("VCB").id, biller("VCB").id);
        assert_eq!(citizen(one).id.uuid().get_version_num(), 8);
    }

    #[test]
    fn every_kind_has_a_name() {
        for (kind, name) in KIND_NAMES {
            assert_eq!((kind_name(kind.code), kind.name), (Some(name), &*name.replace('-', "_")));
        }
        assert_eq!(kind_name(0), None);
    }
}
